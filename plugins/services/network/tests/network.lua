-- The network of partners: directory, credentials, compacts, routing, scorecards (domain 2.20, 3.1).
local compact = require "lib/compact"

local function practice(t, more)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Practice", zone = "America/Chicago", reference = "Organization/practice", model = "coordinated",
		services = { "referral", "network" }, settings = { network = more or {} },
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			coordinator = { kind = "person", roles = { "referral_coordinator" }, reference = "Practitioner/coordinator" },
			manager = { kind = "person", roles = { "manager" }, reference = "Practitioner/manager" },
		},
	}
	t:as("ehr")
	t:request("PUT", "/fhir/Organization/lakeside", {
		resourceType = "Organization", id = "lakeside", name = "Lakeside", active = true,
	})
	t:request("PUT", "/fhir/Organization/fax", {
		resourceType = "Organization", id = "fax", name = "Fax Clinic", active = true,
	})
end

local function service(t, id, organization, more)
	local resource = {
		resourceType = "HealthcareService", id = id, active = true, name = more.name or id,
		providedBy = { reference = "Organization/" .. organization }, type = { { text = more.kind or "therapy" } },
		extension = {},
	}
	for _, payer in ipairs(more.payers or {}) do
		resource.extension[#resource.extension + 1] = { url = "urn:careloop:network:payer", valueString = payer }
	end
	if more.places then
		resource.extension[#resource.extension + 1] = {
			url = "urn:careloop:network:capacity",
			extension = {
				{ url = "places", valueInteger = more.places }, { url = "wait_days", valueInteger = more.wait },
				{ url = "as_of", valueDate = more.as_of or "2026-11-01" },
			},
		}
	end
	if #resource.extension == 0 then
		resource.extension = nil
	end
	if more.language then
		resource.communication = { { coding = { { system = "urn:ietf:bcp:47", code = more.language } } } }
	end
	local answer = t:request("PUT", "/fhir/HealthcareService/" .. id, resource)
	t:ok(answer.status < 300, answer.body)
end

local function credential(t, organization, kind, expires, state)
	return t:create {
		resourceType = "VerificationResult", status = "validated",
		target = { { reference = "Organization/" .. organization } },
		validationType = { coding = { { system = "urn:careloop:network:credential", code = kind } } },
		extension = {
			{ url = "urn:careloop:network:validity", valuePeriod = { ["end"] = expires } },
			state and { url = "urn:careloop:network:state", valueCode = state } or nil,
		},
	}
end

local function request_for(t, more)
	local patient = t:create {
		resourceType = "Patient", name = { { family = "Rivera" } }, address = { { state = "IL" } },
		communication = { { preferred = true, language = { coding = { { system = "urn:ietf:bcp:47", code = "es" } } } } },
	}
	t:create {
		resourceType = "Coverage", status = "active", beneficiary = { reference = patient },
		payor = { { display = "Acme Health" } },
	}
	local request = {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
		code = { text = "therapy" },
	}
	for key, value in pairs(more or {}) do
		request[key] = value
	end
	return t:create(request), patient
end

-- Parameters -> { candidate = { names in order }, excluded = { name = first reason } }
local function routed(answer)
	local found = { candidate = {}, excluded = {} }
	for _, parameter in ipairs(answer.parameter or {}) do
		local name, because
		for _, part in ipairs(parameter.part) do
			if part.name == "service" then
				name = string.match(part.valueReference.reference, "/(.*)")
			elseif part.name == "because" then
				because = because or part.valueString
			end
		end
		if parameter.name == "candidate" then
			found.candidate[#found.candidate + 1] = name
		else
			found.excluded[name] = because
		end
	end
	return found
end

test("routing weighs kind, insurance, language, places and credentials, and says why not", function (t)
	practice(t, { required_credentials = { "license" } })
	service(t, "good", "lakeside", { payers = { "Acme Health" }, language = "es", places = 3, wait = 10 })
	service(t, "full", "lakeside", { payers = { "Acme Health" }, language = "es", places = 0, wait = 0 })
	service(t, "other", "lakeside", { kind = "podiatry" })
	service(t, "payer", "lakeside", { payers = { "Other Plan" }, places = 1, wait = 1 })
	service(t, "tongue", "lakeside", { language = "fr", places = 1, wait = 1 })
	service(t, "bare", "fax", {})
	credential(t, "lakeside", "license", "2027-06-30", "IL")
	credential(t, "fax", "license", "2026-11-01", "IL")
	local request = request_for(t)
	t:as("coordinator")
	local found = routed(t:operation("$route", nil, request))
	t:equal(table.concat(found.candidate, " "), "good")
	t:ok(string.find(found.excluded.full, "no free place", 1, true))
	t:ok(string.find(found.excluded.other, "does not offer therapy", 1, true))
	t:ok(string.find(found.excluded.payer, "insurance", 1, true))
	t:ok(string.find(found.excluded.tongue, "speaks no es", 1, true))
	t:ok(string.find(found.excluded.bare, "credential-expired", 1, true), "a licence that ended yesterday")
end)

test("a licence counts on its last day, only in its state, and only when it was validated (domain 2.20)", function (t)
	practice(t, { required_credentials = { "license" } })
	service(t, "one", "lakeside", {})
	local request = request_for(t)
	t:as("coordinator")
	t:ok(string.find(routed(t:operation("$route", nil, request)).excluded.one or "", "credential-missing", 1, true) == 1)
	credential(t, "lakeside", "license", "2027-06-30", "WI")
	t:ok(routed(t:operation("$route", nil, request)).excluded.one, "a licence of another state does not count")
	credential(t, "lakeside", "license", "2026-11-02", "IL")
	t:equal(#routed(t:operation("$route", nil, request)).candidate, 1, "today is its last day")
	t:at("2026-11-03T09:00:00-06:00")
	t:ok(string.find(routed(t:operation("$route", nil, request)).excluded.one, "credential-expired", 1, true))
end)

test("the shorter wait wins, then who got fewer referrals; the choice is written on the request", function (t)
	practice(t)
	service(t, "slow", "lakeside", { places = 2, wait = 20 })
	service(t, "quick", "fax", { places = 2, wait = 5 })
	local request = request_for(t)
	t:as("coordinator")
	t:equal(table.concat(routed(t:operation("$route", nil, request)).candidate, " "), "quick slow")
	t:refused(function ()
		t:operation("$route", {
			resourceType = "Parameters", parameter = { { name = "choose", valueString = "HealthcareService/nothing" } },
		}, request)
	end, "no active service")
	t:operation("$route", {
		resourceType = "Parameters", parameter = { { name = "choose", valueString = "HealthcareService/quick" } },
	}, request)
	local written = t:data(request)
	t:equal(written.performer[1].reference, "Organization/fax")
	t:ok(string.find(written.note[1].text, "number 1 of 2", 1, true))
end)

test("a compact with a wrong value is refused with its place", function (t)
	practice(t)
	t:as("coordinator")
	local form = compact.make("Organization/fax", t:now(), { channel = "fax", accept_within = "soon" })
	t:refused(function ()
		t:create(form)
	end, "no duration")
	form.item[2].answer[1].valueString = "3 business days"
	form.item[1].answer[1].valueString = "pigeon"
	t:refused(function ()
		t:create(form)
	end, "none of connected")
	t:refused(function ()
		t:create(compact.make("Patient/x", t:now(), { channel = "fax" }))
	end)
	t:create(compact.make("Organization/fax", t:now(), {
		channel = "fax", accept_within = "3 business days", answers_by = "Ms. Ito, +1 555 0142",
	}))
end)

test("the directory shows the compact in force, and an ended one no longer", function (t)
	practice(t)
	service(t, "one", "fax", { places = 1, wait = 3 })
	t:as("coordinator")
	t:create(compact.make("Organization/fax", t:now(), {
		channel = "phone", accept_within = "3 business days", valid_until = "2026-11-30",
	}))
	local row = t:view("network_directory")[1]
	t:equal(row.channel, "phone")
	t:equal(row.answers_within, "3 business days")
	t:at("2026-12-01T09:00:00-06:00")
	t:equal(t:view("network_directory")[1].answers_within, "(no compact)")
end)

test("people hear of credentials 60, 30 and 7 days before they end, and when they ended", function (t)
	practice(t)
	credential(t, "lakeside", "insurance", "2027-01-11")
	local function told()
		local count = 0
		for _, communication in ipairs(t:search("Communication", { _count = 100 })) do
			if string.find(communication.payload[1].contentString, "insurance", 1, true) then
				count = count + 1
			end
		end
		return count
	end
	local seen = {}
	for _, day in ipairs {
		"2026-11-11", "2026-11-12", "2026-11-13", "2026-12-12", "2027-01-04", "2027-01-12", "2027-02-20",
	} do
		t:at(day .. "T06:59:00-06:00")
		t:advance("2 minutes")
		seen[#seen + 1] = told()
	end
	t:equal(table.concat(seen, " "), "0 1 1 2 3 4 4")
end)

test("the scorecard counts answers against the compact, those by phone as well", function (t)
	practice(t)
	t:as("coordinator")
	t:create(compact.make("Organization/lakeside", t:now(), { channel = "connected", accept_within = "3 business days" }))
	local tasks = {}
	for number = 1, 3 do
		t:as("ehr")
		local request, patient = request_for(t)
		t:as("coordinator")
		tasks[number] = t:start("referral", { focus = request, patient = patient, party = "initiator", partner = "lakeside" })
		t:transition(tasks[number], "send", {})
	end
	t:advance("1 business day")
	t:transition(tasks[1], "accept", {}, { on_behalf_of = "recipient", source = "phone" })
	t:advance("3 business days")
	t:transition(tasks[2], "decline", { reason = "no capacity" }, { on_behalf_of = "recipient", source = "fax" })
	local row = t:view("partner_scorecard")[1]
	t:equal(row.partner, "lakeside")
	t:equal(row.sent, 3)
	t:equal(row.answered, 2)
	t:equal(row.on_time, 1)
	t:equal(row.accepted, 1)
	t:equal(row.by_hand, 2)
	t:near(row.answered_on_time, 33.3, 0.01)
end)
