-- The kinds of referral, what each partner may see, and paper (domain 0 rows 2 and 13, 2.8, 2.19, 3.1).
local compact = require "lib/compact"

local function practice(t, settings)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Practice", zone = "America/Chicago", reference = "Organization/practice", model = "coordinated",
		services = { "referral", "network" }, settings = { referral = settings or {} },
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			coordinator = { kind = "person", roles = { "referral_coordinator" }, reference = "Practitioner/coordinator" },
		},
	}
	t:as("ehr")
	t:request("PUT", "/fhir/Organization/lakeside", { resourceType = "Organization", id = "lakeside", name = "Lakeside" })
	t:request("PUT", "/fhir/Organization/pantry", {
		resourceType = "Organization", id = "pantry", name = "Food Pantry",
		type = { { coding = { { system = "http://terminology.hl7.org/CodeSystem/organization-type", code = "cg" } } } },
	})
end

local function refer(t, kind, more, organization)
	t:as("ehr")
	local patient = t:create {
		resourceType = "Patient", name = { { family = "Rivera", given = { "Ana" } } }, birthDate = "1980-05-01",
		gender = "female", telecom = { { system = "phone", value = "+1 555 0100" } },
	}
	local observation = t:create {
		resourceType = "Observation", status = "final", subject = { reference = patient }, code = { text = "PHQ-9" },
		valueInteger = 16,
	}
	local request = {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		category = kind and { { coding = { { system = "urn:careloop:referral:variant", code = kind } } } } or nil,
		supportingInfo = { { reference = observation } },
		performer = organization and { { reference = organization } } or nil,
	}
	for key, value in pairs(more or {}) do
		request[key] = value
	end
	local focus = t:create(request)
	t:as("coordinator")
	return t:start("referral", {
		focus = focus, patient = patient, party = "initiator", partner = not organization and "lakeside" or nil,
	}), focus, patient
end

local by_phone = { on_behalf_of = "recipient", source = "phone" }

test("a specialty referral asks for reason and question, and closes only with the report (CMS50)", function (t)
	practice(t)
	local task, request = refer(t, "specialty")
	t:refused(function ()
		t:transition(task, "send", {})
	end, "the question for the specialist")
	local asked = t:data(request)
	asked.reasonCode = { { text = "Palpitations" } }
	asked.note = { { text = "Is a Holter needed?" } }
	t:update(asked)
	t:transition(task, "send", {})
	t:transition(task, "accept", {}, by_phone)
	t:refused(function ()
		t:transition(task, "outcome", { summary = "fine" }, by_phone)
	end, "the consult report is missing")
	local report = t:create {
		resourceType = "DocumentReference", status = "current", content = { { attachment = { title = "Consult note" } } },
	}
	t:equal(t:transition(task, "outcome", { summary = "no arrhythmia", document = report }, by_phone), "completed")
end)

test("a behavioural referral closes when somebody saw the patient", function (t)
	practice(t)
	local task = refer(t, "behavioural", { reasonCode = { { text = "PHQ-9 of 16" } } })
	t:transition(task, "send", {})
	t:transition(task, "accept", {}, by_phone)
	t:refused(function ()
		t:transition(task, "outcome", { summary = "letter" }, by_phone)
	end, "no visit is recorded")
	t:equal(t:transition(task, "outcome", { summary = "intake done", seen_on = "2026-11-02" }, by_phone), "completed")
end)

test("a social referral says whether the need was met; the pantry learns no clinical record (domain 2.19)", function (t)
	practice(t)
	local task = refer(t, "social", {
		code = { text = "Food for a family of four" }, reasonCode = { { text = "depression, lost job" } },
	}, "Organization/pantry")
	t:transition(task, "send", {})
	local sheet = t:operation("$referral-sheet", nil, task)
	local text, code
	for _, parameter in ipairs(sheet.parameter) do
		if parameter.name == "sheet" then
			text = parameter.valueString
		else
			code = parameter.valueString
		end
	end
	t:ok(string.find(text, "Ana Rivera", 1, true) and string.find(text, "555 0100", 1, true))
	t:ok(string.find(text, "Food for a family", 1, true))
	t:ok(not string.find(text, "depression", 1, true), "the clinical reason stays here")
	t:ok(not string.find(text, "1980", 1, true), "nor do they need the birth date")

	local function answer(parameters)
		return t:operation("$paper-answer", { resourceType = "Parameters", parameter = parameters })
	end
	local wrong = string.sub(code, 1, 7) .. tostring((tonumber(string.sub(code, 8)) + 1) % 10)
	t:refused(function ()
		answer { { name = "code", valueString = wrong }, { name = "event", valueString = "accept" } }
	end, "mistyped")
	answer { { name = "code", valueString = string.sub(code, 1, 4) .. "-" .. string.sub(code, 5) },
		{ name = "event", valueString = "accept" }, { name = "source", valueString = "letter" } }
	t:equal(t:state(task), "accepted")
	local moves = t:history(task)
	t:equal(moves[#moves].source, "letter")
	t:refused(function ()
		answer { { name = "code", valueString = code }, { name = "event", valueString = "outcome" },
			{ name = "summary", valueString = "box" } }
	end, "whether the need was met")
	answer { { name = "code", valueString = code }, { name = "event", valueString = "outcome" },
		{ name = "summary", valueString = "weekly box" }, { name = "result", valueString = "need met" } }
	t:equal(t:state(task), "completed")
end)

test("what leaves is what the variant and the compact allow, field by field", function (t)
	practice(t)
	local function sent(task)
		t:transition(task, "send", {})
		local waiting = t:outbox()
		local found = {}
		for _, entry in ipairs(waiting[#waiting].body.entry) do
			found[entry.resource.resourceType] = entry.resource
		end
		return found
	end
	local plainly = sent((refer(t, nil)))
	t:equal(plainly.Patient.birthDate, "1980-05-01")
	t:ok(plainly.Observation, "the score it refers to goes along")
	t:as("coordinator")
	t:create(compact.make("Organization/lakeside", t:now(), { patient_fields = { "name" }, enclose = { "Condition" } }))
	local agreed = sent((refer(t, nil)))
	t:equal(agreed.Patient.birthDate, nil)
	t:equal(agreed.Patient.name[1].family, "Rivera")
	t:equal(agreed.Observation, nil)
end)

test("the gate looks at the kind of recipient where the organization says so", function (t)
	practice(t, { consent_for_recipients = { "cg" } })
	local task, _, patient = refer(t, "social", { code = { text = "Food" } }, "Organization/pantry")
	t:refused(function ()
		t:transition(task, "send", {})
	end, "recipients of the kind cg")
	t:as("ehr")
	t:create {
		resourceType = "Consent", status = "active", patient = { reference = patient },
		scope = { text = "patient privacy" }, category = { { text = "consent" } }, policyRule = { text = "verbal, noted" },
		provision = {
			type = "permit", purpose = { { code = "TREAT" } },
			actor = { { role = { text = "recipient" }, reference = { reference = "Organization/pantry" } } },
		},
	}
	t:as("coordinator")
	t:equal(t:transition(task, "send", {}), "received")
end)

test("Luhn's check digit finds every single wrong digit", function (t)
	local check_digit = require("paper").check_digit
	t:equal(check_digit("7992739871"), "3")
	t:equal(check_digit("0000000"), "0")
	local code = "4821913"
	for place = 1, 7 do
		for digit = 0, 9 do
			local other = string.sub(code, 1, place - 1) .. digit .. string.sub(code, place + 1)
			if other ~= code then
				t:ok(check_digit(other) ~= check_digit(code), other)
			end
		end
	end
end)

test("clocks: the compact goes before the kind of referral, the kind before the setting", function (t)
	practice(t, { variants = { social = { clocks = { accept_within = "4 business days" } } } })
	local function due(task)
		t:transition(task, "send", {})
		return string.sub(t:instance(task).due, 1, 10)
	end
	t:equal(due((refer(t, nil))), "2026-11-04", "the setting: two business days from Monday")
	local social = { code = { text = "Food" } }
	t:equal(due((refer(t, "social", social, "Organization/pantry"))), "2026-11-06", "the organization's own four")
	t:as("coordinator")
	t:create(compact.make("Organization/pantry", t:now(), { accept_within = "1 business day", channel = "phone" }))
	t:equal(due((refer(t, "social", social, "Organization/pantry"))), "2026-11-03", "the compact's one")
	t:as("coordinator")
	t:at("2026-11-02T10:00:00-06:00")
	t:create(compact.make("Organization/pantry", t:now(), {
		accept_within = "9 business days", channel = "phone", valid_from = "2026-12-01",
	}))
	t:equal(due((refer(t, "social", social, "Organization/pantry"))), "2026-11-03", "not in force yet")
end)

test("a specialty visit has ten business days to be booked; silence is told by the same clock", function (t)
	practice(t)
	local task = refer(t, "specialty", { reasonCode = { { text = "Murmur" } }, note = { { text = "Echo?" } } })
	t:transition(task, "send", {})
	t:transition(task, "accept", {}, by_phone)
	t:equal(string.sub(t:instance(task).due, 1, 10), "2026-11-16")
	t:advance("9 business days")
	t:equal(#t:view("silent_partners"), 0)
	t:advance("2 business days")
	t:equal(#t:view("silent_partners"), 1)
end)
