-- What the integrated team has beside the registry: strata and panels, protocols in force, joint review, repeats of
-- orders (domain 3.3).

local function house(t, more)
	t:at("2026-11-02T09:00:00-08:00")
	local settings = { integrated = more or {} }
	t:organization {
		name = "Test Integrated Care", zone = "America/Los_Angeles", reference = "Organization/test", model = "integrated",
		services = { "governance" }, settings = settings,
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			care = { kind = "person", roles = { "care_manager" }, reference = "Practitioner/care" },
			doctor = { kind = "person", roles = { "clinician" }, reference = "Practitioner/doctor" },
			medical = { kind = "person", roles = { "clinical_lead" }, reference = "Practitioner/medical" },
			behavioral = { kind = "person", roles = { "behavioral_lead" }, reference = "Practitioner/behavioral" },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
		},
	}
	t:as("ehr")
end

local function patient_of(t, family)
	return t:create {
		resourceType = "Patient", active = true, name = { { family = family } },
		generalPractitioner = { { reference = "Practitioner/doctor" } },
	}
end

local function emergency(t, patient, at)
	return t:create {
		resourceType = "Encounter", status = "finished", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "EMER" },
		period = { start = at, ["end"] = at },
	}
end

test("strata: the sum of points at its edges, with the facts behind it", function (t)
	house(t)
	local patient = patient_of(t, "Edge")
	local function stratum()
		t:as("care")
		local risk = t:operation("$stratify", nil, patient)
		t:as("ehr")
		return risk.prediction[1].qualitativeRisk.coding[1].code, risk.prediction[1].rationale
	end
	t:equal((stratum()), "low")
	emergency(t, patient, "2025-11-02T12:00:00Z") -- twelve months ago to the day
	t:equal((stratum()), "low", "one visit is below the rule's two")
	emergency(t, patient, "2026-10-01T12:00:00Z")
	local name, why = stratum()
	t:equal(name, "rising")
	t:ok(string.find(why, "emergency visits in 12 months: 2 (+2)", 1, true), why)
	for number = 1, 3 do
		t:create {
			resourceType = "Condition", subject = { reference = patient }, code = { text = "condition " .. number },
			clinicalStatus = { coding = { {
				system = "http://terminology.hl7.org/CodeSystem/condition-clinical", code = "active",
			} } },
		}
	end
	t:equal((stratum()), "rising", "three points")
	t:create {
		resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
		code = { coding = { { system = "http://loinc.org", code = "44261-6" } } }, valueQuantity = { value = 15 },
	}
	t:equal((stratum()), "high", "five points")
	t:at("2026-11-03T13:00:00Z") -- the older visit is twelve months and a day old now
	t:equal((stratum()), "rising")
end)

test("the monthly run tells the care manager whose stratum changed, and panels carry minutes, not heads", function (t)
	house(t)
	local quiet, busy = patient_of(t, "Quiet"), patient_of(t, "Busy")
	t:at("2026-11-30T22:00:00-08:00")
	t:advance("12 hours")
	emergency(t, busy, "2026-11-20T12:00:00Z")
	emergency(t, busy, "2026-11-21T12:00:00Z")
	t:at("2027-01-02T09:00:00-08:00")
	t:as("care")
	local row = t:view("panels")[1]
	t:equal(row.patients, 2)
	t:equal(row.low, 1)
	t:equal(row.rising, 1)
	t:equal(row.minutes, 35)
	t:equal(row.over_capacity, false)
	local told = 0
	t:as("ehr")
	for _, communication in ipairs(t:search("Communication", { _count = 100 })) do
		if string.find(communication.payload[1].contentString, "from low to rising", 1, true) then
			t:equal(communication.about[1].reference, busy)
			told = told + 1
		end
	end
	t:equal(told, 1)
	t:equal(#t:search("RiskAssessment", { patient = quiet }), 1, "nothing changed: no second assessment")
end)

test("a protocol changes the registry's numbers only when its owners approved it", function (t)
	house(t)
	local patient = patient_of(t, "Quiet")
	t:create {
		resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient },
		type = { { coding = { { system = "urn:careloop:episode", code = "depression-care" } } } },
		period = { start = t:now() },
	}
	local function flags()
		local found = {}
		t:as("ehr")
		for _, flag in ipairs(t:search("Flag", { patient = patient, _count = 50 })) do
			if flag.status == "active" then
				found[#found + 1] = flag.code.coding[1].code
			end
		end
		table.sort(found)
		return table.concat(found, " ")
	end
	t:as("medical")
	local draft = t:create {
		resourceType = "PlanDefinition", status = "draft", url = "urn:careloop:protocol:depression", version = "2",
		extension = { {
			url = "urn:careloop:protocol:value",
			extension = { { url = "name", valueCode = "stale_days" }, { url = "value", valueInteger = 20 } },
		} },
	}
	t:at("2026-11-23T09:00:00-08:00") -- day 21
	t:equal(flags(), "score-due", "a draft changes nothing: stale is still 28 days")
	t:as("medical")
	local task = "Task/" .. t:search("Task", { code = "approval" })[1].id
	t:transition(task, "submit", {})
	t:transition(task, "approve", { role = "clinical_lead", version = t:data(draft).meta.versionId })
	t:as("behavioral")
	t:transition(task, "approve", { role = "behavioral_lead", version = t:data(draft).meta.versionId })
	t:transition(task, "go_live", {})
	t:at("2026-11-24T09:00:00-08:00")
	t:equal(flags(), "score-due stale")
end)

test("a joint review ends in tasks with an owner and a day, or says why not", function (t)
	house(t)
	local patient = patient_of(t, "Talk")
	t:as("care")
	local review = t:start("case_review", { focus = patient, patient = patient })
	t:refused(function ()
		t:start("case_review", { focus = patient, patient = patient })
	end)
	t:transition(review, "schedule", { on = "2026-11-05T12:00:00-08:00" })
	t:transition(review, "begin", { present = "care manager, doctor" })
	t:refused(function ()
		t:transition(review, "close", { summary = "talked" })
	end, "no decision is recorded")
	t:transition(review, "decide", { text = "Call the patient's sister" })
	t:transition(review, "close", { summary = "One step agreed" })
	local tasks = t:view("team_tasks")
	t:equal(#tasks, 1)
	t:equal(tasks[1]["data.text"], "Call the patient's sister")
	t:equal(tasks[1].patient_name, "Talk")
	t:equal(string.sub(t:instance(tasks[1].task).due, 1, 10), "2026-11-09", "five business days from Monday")
	t:transition(tasks[1].task, "done", { result = "She will come along" })
	t:equal(#t:view("team_tasks"), 0)
end)

test("a review that is not held goes back to find another day, and is escalated", function (t)
	house(t)
	local patient = patient_of(t, "Later")
	t:as("care")
	local review = t:start("case_review", { focus = patient, patient = patient })
	t:transition(review, "schedule", { on = "2026-11-05T12:00:00-08:00" })
	t:advance("20 business days")
	t:equal(t:state(review), "proposed")
end)

test("a repeat of a recent order is shown; a person says why, a record system's is written down", function (t)
	house(t)
	local patient = patient_of(t, "Twice")
	t:create {
		resourceType = "CareTeam", status = "active", subject = { reference = patient },
		participant = { { member = { reference = "Practitioner/doctor" } } },
	}
	local function order(code, more)
		local request = {
			resourceType = "ServiceRequest", status = "active", intent = "order", subject = { reference = patient },
			authoredOn = t:now(), code = { coding = { { system = "http://loinc.org", code = code } } },
		}
		for key, value in pairs(more or {}) do
			request[key] = value
		end
		return request
	end
	t:create {
		resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
		code = { coding = { { system = "http://loinc.org", code = "4548-4" } } }, valueQuantity = { value = 8.1, unit = "%" },
	}
	t:as("doctor")
	local answer = t:operation("$repeat-check", order("4548-4"), "ServiceRequest")
	t:equal(answer.parameter[#answer.parameter].valueBoolean, true)
	t:ok(string.find(answer.parameter[1].part[2].valueString, "result 8.1 % 2026-11-02", 1, true))
	t:refused(function ()
		t:create(order("4548-4"))
	end, "repeat-of-recent-order: result 8.1")
	t:create(order("4548-4", {
		extension = { { url = "urn:careloop:order:repeat-reason", valueString = "the sample was haemolysed" } },
	}))
	t:create(order("2345-7"))
	t:as("ehr")
	t:create(order("2345-7"))
	local issues = t:search("DetectedIssue", { patient = patient })
	t:equal(#issues, 1)
	t:equal(issues[1].code.text, "repeat-of-recent-order")
	-- Day 90 still counts for HbA1c, day 91 no longer.
	t:at("2027-01-31T09:00:00-08:00")
	t:as("doctor")
	t:refused(function ()
		t:create(order("4548-4"))
	end, "repeat-of-recent-order")
	t:at("2027-02-02T10:00:00-08:00")
	t:create(order("4548-4"))
end)

test("condition registries follow the record: poor control and what is due come first", function (t)
	house(t)
	local function with(family, code, test_code, value, at)
		local patient = patient_of(t, family)
		t:create {
			resourceType = "Condition", subject = { reference = patient },
			code = { coding = { { system = "http://snomed.info/sct", code = code } } },
			clinicalStatus = { coding = { {
				system = "http://terminology.hl7.org/CodeSystem/condition-clinical", code = "active",
			} } },
		}
		if value then
			t:create {
				resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = at,
				code = { coding = { { system = "http://loinc.org", code = test_code } } }, valueQuantity = { value = value },
			}
		end
	end
	with("Fine", "44054006", "4548-4", 6.8, "2026-10-01")
	with("Poor", "44054006", "4548-4", 9.1, "2026-10-01")
	with("Nine", "44054006", "4548-4", 9.0, "2026-10-01")
	with("Never", "44054006")
	with("Old", "38341003", "8480-6", 128, "2026-05-06") -- 180 days ago
	t:as("care")
	local names = {}
	for _, row in ipairs(t:view("condition_registries")) do
		names[#names + 1] = row.patient_name .. (row.poor_control and "!" or "") .. (row.due and "?" or "")
	end
	t:equal(names[1], "Poor!")
	t:equal(#names, 5)
	local rest = table.concat(names, " ")
	t:ok(string.find(rest, "Never?", 1, true) and string.find(rest, "Old?", 1, true), rest)
	t:ok(string.find(rest, "Nine", 1, true) and not string.find(rest, "Nine!", 1, true), "9.0 is not above 9")
end)
