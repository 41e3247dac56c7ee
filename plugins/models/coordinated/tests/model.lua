-- The coordinated model: directory, worklist, roles. The referral itself is tested with the service.

local function practice(t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Practice", zone = "America/Chicago", reference = "Organization/practice", model = "coordinated",
		services = { "referral" },
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			coordinator = { kind = "person", roles = { "referral_coordinator" }, reference = "Practitioner/coordinator" },
			doctor = { kind = "person", roles = { "clinician" }, reference = "Practitioner/doctor" },
			manager = { kind = "person", roles = { "manager" }, reference = "Practitioner/manager" },
		},
	}
end

test("the directory tells who is connected and who gets a fax", function (t)
	practice(t)
	t:as("ehr")
	t:create { resourceType = "Organization", active = true, name = "Fax Clinic" }
	local fax = t:search("Organization", { name = "Fax Clinic" })[1]
	t:request("PUT", "/fhir/Organization/lakeside", { resourceType = "Organization", id = "lakeside", name = "Lakeside" })
	t:create {
		resourceType = "HealthcareService", active = true, name = "Counseling",
		providedBy = { reference = "Organization/" .. fax.id }, type = { { text = "therapy" } },
	}
	t:create {
		resourceType = "HealthcareService", active = true, name = "Psychiatry",
		providedBy = { reference = "Organization/lakeside" },
	}
	t:as("coordinator")
	local rows = t:view("partner_directory")
	t:equal(#rows, 2)
	t:equal(rows[1].organization, "Fax Clinic")
	t:equal(rows[1].connected, "no: fax or letter")
	t:equal(rows[2].connected, "lakeside")
end)

test("the worklist holds drafts and escalations", function (t)
	practice(t)
	t:as("coordinator")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local request = t:create {
		resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
	}
	t:start("referral", { focus = request, patient = patient, party = "initiator", partner = "lakeside" })
	local rows = t:view("coordinator_worklist")
	t:equal(#rows, 1)
	t:equal(rows[1].kind, "draft")
	t:equal(rows[1].patient_name, "Rivera")
	t:advance("2 business days")
	local kinds = {}
	for _, row in ipairs(t:view("coordinator_worklist")) do
		kinds[row.kind] = true
	end
	t:ok(kinds.escalation and kinds.draft, "a draft that nobody sends is escalated")
end)

test("a manager sees measures and worklists, no charts", function (t)
	practice(t)
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local condition = t:create {
		resourceType = "Condition", subject = { reference = patient }, code = { text = "Depression" },
		clinicalStatus = { coding = { {
			system = "http://terminology.hl7.org/CodeSystem/condition-clinical", code = "active",
		} } },
	}
	t:as("manager")
	t:refused(function ()
		t:read(condition)
	end)
	t:equal(#t:view("coordinator_worklist"), 0)
	t:as("doctor")
	t:refused(function ()
		t:read(condition)
	end)
	t:as("ehr")
	t:create {
		resourceType = "CareTeam", status = "active", subject = { reference = patient },
		participant = { { member = { reference = "Practitioner/doctor" } } },
	}
	t:as("doctor")
	t:equal(t:read(condition).code.text, "Depression")
end)

test("a partner sees the Tasks that are its own and nothing else", function (t)
	practice(t)
	t:as("coordinator")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	t:as("lakeside")
	t:refused(function ()
		t:read(patient)
	end)
	t:refused(function ()
		t:create { resourceType = "Task", status = "draft", intent = "order" }
	end)
	t:equal(#t:search("Task", {}), 0)
end)

test("a screen is scored here too, and item 9 raises the alarm, after hours with the crisis line", function (t)
	practice(t)
	t:at("2026-11-02T20:00:00-06:00")
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = t:now(),
		item = { { linkId = "44260-8", answer = { { valueInteger = 2 } } } },
	}
	t:equal(#t:search("Task", { code = "safety" }), 1)
	local crisis = 0
	for _, communication in ipairs(t:search("Communication", { _count = 100 })) do
		if communication.recipient[1].reference == patient then
			t:ok(string.find(communication.payload[1].contentString, "988", 1, true))
			crisis = crisis + 1
		end
	end
	t:equal(crisis, 1)
end)
