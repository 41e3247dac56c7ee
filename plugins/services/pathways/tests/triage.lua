-- Ways of care for one patient when several run at once (domain 2.3 benchmarks, 3.3).

local function clinic(t, more)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", reference = "Organization/clinic", model = "integrated",
		programs = { "collaborative_care" }, services = { "pathways", "referral" }, settings = { pathways = more or {} },
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			doctor = { kind = "person", roles = { "clinician", "care_manager" }, reference = "Practitioner/doctor" },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
		},
	}
	t:as("ehr")
end

local function patient_with(t, code, value)
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", active = true, name = { { family = "Rivera" } } }
	if value then
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = code } } }, valueQuantity = { value = value },
		}
	end
	t:as("doctor")
	return patient
end

local function proposed(t, patient, parameters)
	local list_of_parameters = {}
	for name, value in pairs(parameters or {}) do
		list_of_parameters[#list_of_parameters + 1] = { name = name, valueBoolean = value }
	end
	local answer = t:operation("$triage", #list_of_parameters > 0
		and { resourceType = "Parameters", parameter = list_of_parameters } or nil, patient)
	local found = {}
	for _, parameter in ipairs(answer.parameter) do
		found[parameter.name] = parameter.valueString or parameter.valueReference.reference
	end
	return found
end

test("the first rule that applies proposes, at its edge, and says why", function (t)
	clinic(t)
	t:equal(proposed(t, patient_with(t)).way, "watch")
	t:equal(proposed(t, patient_with(t, "44261-6", 4)).way, "watch")
	t:equal(proposed(t, patient_with(t, "44261-6", 5)).way, "brief_visits")
	t:equal(proposed(t, patient_with(t, "44261-6", 9)).way, "brief_visits")
	local found = proposed(t, patient_with(t, "44261-6", 10))
	t:equal(found.way, "collaborative_care")
	t:equal(found.why, "PHQ-9 of 10 or more")
	t:equal(proposed(t, patient_with(t, "70274-6", 10)).way, "collaborative_care")
	t:equal(proposed(t, patient_with(t, "44261-6", 20)).way, "collaborative_care", "severe, but nothing failed before")
	t:equal(proposed(t, patient_with(t, "44261-6", 20), { prior_treatment_failed = true }).way, "specialty")
	t:equal(proposed(t, patient_with(t, "44261-6", 12), { prefers_specialty = true }).way, "specialty")
	local bipolar = patient_with(t, "44261-6", 12)
	t:as("ehr")
	t:create {
		resourceType = "Condition", subject = { reference = bipolar },
		code = { coding = { { system = "http://hl7.org/fhir/sid/icd-10-cm", code = "F31.9" } } },
		clinicalStatus = { coding = { {
			system = "http://terminology.hl7.org/CodeSystem/condition-clinical", code = "active",
		} } },
	}
	t:as("doctor")
	t:equal(proposed(t, bipolar).way, "specialty")
end)

test("a person decides: the way begins; a second one beside it needs a reason", function (t)
	clinic(t)
	local patient = patient_with(t, "44261-6", 14)
	local task = proposed(t, patient).task
	t:refused(function ()
		t:transition(task, "decide", { way = "acupuncture" })
	end, "no way of care here")
	t:refused(function ()
		t:transition(task, "decide", { way = "brief_visits" })
	end, "does not offer it")
	t:equal(t:transition(task, "decide", { way = "collaborative_care" }), "decided")
	t:equal(#t:search("Task", { code = "cocm", patient = patient }), 1)

	local again = proposed(t, patient, { prefers_specialty = true })
	t:equal(again.way, "specialty")
	t:ok(string.find(again.under_way, "cocm", 1, true))
	t:refused(function ()
		t:transition(again.task, "decide", { way = "specialty" })
	end, "double-care")
	t:equal(#t:view("double_care"), 0)
	t:transition(again.task, "decide", { way = "specialty", beside = "neuropsychological testing only" })
	local doubles = t:view("double_care")
	t:equal(#doubles, 1)
	t:ok(string.find(doubles[1].ways, "collaborative_care", 1, true))
	local agreed = t:metric("triage_as_proposed", "2026-11")
	t:equal(agreed.numerator, 2)
	t:equal(agreed.denominator, 2)
end)

test("new facts make a new proposal in the same triage, and nobody forgets to decide", function (t)
	clinic(t)
	local patient = patient_with(t, "44261-6", 6)
	local first = proposed(t, patient)
	local due = t:instance(first.task).due
	local second = proposed(t, patient, { prefers_specialty = true })
	t:equal(second.task, first.task)
	t:equal(second.way, "specialty")
	t:equal(t:instance(first.task).due, due, "the clock goes on")
	t:advance("3 business days")
	t:as("boss")
	t:ok(#t:search("Task", { code = "escalation", focus = first.task }) > 0)
end)

test("rules and ways are an organization's own", function (t)
	clinic(t, {
		rules = { { name = "all", way = "group", because = "our group takes everybody" } },
		ways = { group = { title = "Open group" } },
	})
	local found = proposed(t, patient_with(t, "44261-6", 22))
	t:equal(found.way, "group")
	t:equal(t:transition(found.task, "decide", { way = "group" }), "decided")
end)
