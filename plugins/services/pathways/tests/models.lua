-- Two models in one house: patients are triaged between them, and what both bring along exists once (domain 2.3, 3).

local function house(t)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test House", zone = "America/Chicago", reference = "Organization/house",
			model = { "integrated", "colocated" },
		programs = { "collaborative_care" }, services = { "pathways", "referral", "instruments" },
		partners = { lakeside = { name = "Lakeside", reference = "Organization/lakeside" } },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			doctor = { kind = "person", roles = { "clinician", "care_manager" }, reference = "Practitioner/doctor" },
			consultant = { kind = "person", roles = { "behavioral_health_consultant" }, reference = "Practitioner/consultant" },
		},
	}
	t:as("ehr")
end

local phq9 = { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8" }

local function screen(t, patient, values)
	local items = {}
	for number, link in ipairs(phq9) do
		items[number] = { linkId = link, answer = { { valueInteger = values[number] or 0 } } }
	end
	t:as("ehr")
	return t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = t:now(), item = items,
	}
end

test("one form is scored once, raises one alert, and offers one handoff, whatever models run", function (t)
	house(t)
	local patient = t:create { resourceType = "Patient", active = true, name = { { family = "Rivera" } } }
	screen(t, patient, { 2, 2, 2, 2, 2, 2, 0, 0, 1 })
	local totals = t:search("Observation", { patient = patient, code = "44261-6" })
	t:equal(#totals, 1)
	t:equal(#totals, 1)
	t:equal(#t:search("Task", { code = "safety", patient = patient }), 1)
	t:equal(#t:search("Task", { code = "handoff", patient = patient }), 1)
	t:as("doctor")
	t:equal(#t:view("safety_alerts"), 1)
end)

test("triage sends patients different ways within one house", function (t)
	house(t)
	local function way(total)
		t:as("ehr")
		local patient = t:create { resourceType = "Patient", active = true, name = { { family = "Rivera" } } }
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = "44261-6" } } }, valueQuantity = { value = total },
		}
		t:as("doctor")
		local task, proposed
		for _, parameter in ipairs(t:operation("$triage", nil, patient).parameter) do
			if parameter.name == "task" then
				task = parameter.valueReference.reference
			elseif parameter.name == "way" then
				proposed = parameter.valueString
			end
		end
		t:equal(t:transition(task, "decide", { way = proposed }), "decided")
		return patient
	end
	t:equal(#t:search("Task", { code = "handoff", patient = way(7) }), 1)
	t:equal(#t:search("Task", { code = "cocm", patient = way(14) }), 1)
end)
