-- What may leave: the gate looks at the label of the data, the recipient and the purpose.

local function practice(t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization("riverside")
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	return patient
end

local function refer(t, patient, labels, supporting)
	local security
	if labels then
		security = {}
		for _, label in ipairs(labels) do
			security[#security + 1] = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = label }
		end
	end
	t:as("ehr")
	local request = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		code = { text = "Continue medication-assisted treatment" }, meta = security and { security = security } or nil,
		supportingInfo = supporting and { { reference = supporting } } or nil,
	}
	t:as("coordinator")
	return t:start("referral", { focus = request, patient = patient, party = "initiator", partner = "lakeside" })
end

local function consent(t, patient, fields)
	fields = fields or {}
	local provision = {
		type = "permit", period = fields.period,
		actor = { {
			role = { text = "information recipient" }, reference = { reference = fields.recipient or "Organization/lakeside" },
		} },
		purpose = { { system = "http://terminology.hl7.org/CodeSystem/v3-ActReason", code = fields.purpose or "TREAT" } },
	}
	if fields.label then
		provision.securityLabel = { { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = fields.label } }
	end
	t:as("ehr")
	local reference = t:create {
		resourceType = "Consent", status = fields.status or "active", patient = { reference = patient },
		scope = { coding = { { system = "http://terminology.hl7.org/CodeSystem/consentscope", code = "patient-privacy" } } },
		category = { { coding = { { system = "http://loinc.org", code = "59284-0" } } } },
		policyRule = { text = "42 CFR Part 2 consent" }, provision = provision,
	}
	t:as("coordinator")
	return reference
end

-- Messages to people about a Task (Communication.about has no search parameter).
local function told(t, task)
	local count = 0
	for _, communication in ipairs(t:search("Communication", { _count = 200 })) do
		for _, about in ipairs(communication.about or {}) do
			if about.reference == task then
				count = count + 1
			end
		end
	end
	return count
end

test("a plain referral for treatment needs no consent", function (t)
	local patient = practice(t)
	local task = refer(t, patient)
	t:equal(t:transition(task, "send", {}), "received")
end)

test("a Part 2 record does not leave without consent, and the words say what is missing", function (t)
	local patient = practice(t)
	local task = refer(t, patient, { "ETH" })
	t:refused(function ()
		t:transition(task, "send", {})
	end, "42 CFR Part 2")
	t:equal(t:state(task), "draft")
	t:equal(#t:outbox(), 0)
	consent(t, patient, { recipient = "Organization/somewhere-else" })
	t:refused(function ()
		t:transition(task, "send", {})
	end, "does not name Organization/lakeside")
	consent(t, patient, { status = "inactive" })
	t:refused(function ()
		t:transition(task, "send", {})
	end)
	consent(t, patient, { period = { start = "2025-01-01", ["end"] = "2026-10-31" } })
	t:refused(function ()
		t:transition(task, "send", {})
	end)
	consent(t, patient, { purpose = "HMARKT" })
	t:refused(function ()
		t:transition(task, "send", {})
	end)
	consent(t, patient)
	t:equal(t:transition(task, "send", {}), "received")
end)

test("the disclosure carries the consent and the notice, and both arrive", function (t)
	local patient = practice(t)
	local lakeside = t:also("lakeside")
	local task = refer(t, patient, { "42CFRPart2" })
	consent(t, patient)
	t:transition(task, "send", {})
	t:deliver()
	lakeside:as("ehr")
	t:equal(#lakeside:search("Consent", {}), 1)
	local theirs = lakeside:search("Task", { code = "referral" })[1]
	t:ok(string.find(lakeside:data("Task/" .. theirs.id).note[1].text, "42 CFR part 2", 1, true))
	local request = lakeside:search("ServiceRequest", {})[1]
	t:equal(lakeside:data("ServiceRequest/" .. request.id).meta.security[1].code, "42CFRPart2", "the label travels")
end)

test("a general consent does not cover counselling notes", function (t)
	local patient = practice(t)
	t:as("ehr")
	local note = t:create {
		resourceType = "DocumentReference", status = "current", subject = { reference = patient },
		content = { { attachment = { contentType = "text/plain", title = "Session 3" } } },
		meta = { security = { { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "SUDNOTE" } } },
	}
	local task = refer(t, patient, nil, note)
	consent(t, patient)
	t:refused(function ()
		t:transition(task, "send", {})
	end, "SUDNOTE")
	consent(t, patient, { label = "SUDNOTE" })
	t:equal(t:transition(task, "send", {}), "received")
end)

test("a state's rule is a setting", function (t)
	t:organization {
		name = "Practice", zone = "America/Chicago", model = "coordinated", services = { "referral" },
		reference = "Organization/practice",
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			coordinator = { kind = "person", roles = { "referral_coordinator" } },
		},
		settings = { referral = { state_protected = { HIV = "state HIV confidentiality act" } } },
	}
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local task = refer(t, patient, { "HIV" })
	t:refused(function ()
		t:transition(task, "send", {})
	end, "state HIV confidentiality act")
end)

test("when a consent ends, whoever follows the referral that rests on it hears of it", function (t)
	local patient = practice(t)
	local task = refer(t, patient, { "ETH" })
	local document = consent(t, patient)
	t:transition(task, "send", {})
	local before = told(t, task)
	t:as("ehr")
	local ended = t:data(document)
	ended.status = "inactive"
	t:update(ended)
	t:as("coordinator")
	t:ok(told(t, task) > before)
	t:equal(t:state(task), "received", "what went out went out")
end)

test("a referral without an active request, or about another patient, is not sent", function (t)
	local patient = practice(t)
	local other = t:create { resourceType = "Patient", name = { { family = "Other" } } }
	local request = t:create {
		resourceType = "ServiceRequest", status = "draft", intent = "order", subject = { reference = patient },
	}
	t:as("coordinator")
	local task = t:start("referral", { focus = request, patient = patient, party = "initiator", partner = "lakeside" })
	t:refused(function ()
		t:transition(task, "send", {})
	end, "active")
	local foreign = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = other },
	}
	local wrong = t:start("referral", { focus = foreign, patient = patient, party = "initiator", partner = "lakeside" })
	t:refused(function ()
		t:transition(wrong, "send", {})
	end, "another patient")
end)
