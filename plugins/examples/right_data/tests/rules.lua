-- What plugins/README.md says of `rule`.
local function clinic(t)
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", plugins = { "right_data" },
		principals = {
			desk = { kind = "person", roles = { "desk" } }, steward = { kind = "person", roles = { "steward" } },
		},
	}
	t:at("2026-11-02T09:00:00-06:00")
	t:as("desk")
	return t:create { resourceType = "Patient", name = { { family = "Rivera" } }, birthDate = "1980-05-01" }
end

local function observation(patient, code, value)
	return {
		resourceType = "Observation", status = "final", subject = { reference = patient }, valueInteger = value,
		code = { coding = { { system = "http://loinc.org", code = code } } },
	}
end

local function encounter(patient, from, to)
	return {
		resourceType = "Encounter", status = "finished", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "AMB" },
		period = { start = from, ["end"] = to },
	}
end

test("a score of 30 is refused with the rule's name, and nothing is written", function (t)
	local patient = clinic(t)
	t:refused(function ()
		t:create(observation(patient, "44261-6", 30))
	end, "422 rule phq9_range (right_data): A PHQ-9 total is a whole number from 0 to 27")
	t:equal(#t:search("Observation"), 0)
	local good = t:create(observation(patient, "44261-6", 27))
	local changed = t:read(good)
	changed.valueInteger = -1
	t:refused(function ()
		t:update(changed)
	end, "phq9_range")
	t:create(observation(patient, "44249-1", 30)) -- another code is none of the rule's business
end)

test("two open episodes are refused, one after the other is not", function (t)
	local patient = clinic(t)
	local function episode(status)
		return {
			resourceType = "EpisodeOfCare", status = status, patient = { reference = patient },
			period = { start = "2026-01-05" },
		}
	end
	local first = t:create(episode("active"))
	t:refused(function ()
		t:create(episode("active"))
	end, "one_open_episode (right_data): " .. first .. " is open already")
	t:create(episode("planned"))
	local closed = t:read(first)
	closed.status = "finished"
	t:update(closed)
	t:create(episode("active"))
end)

test("a visit before birth is taken in, flagged, asked about, and settled when it is put right", function (t)
	local patient = clinic(t)
	local visit = t:create(encounter(patient, "1979-01-05T09:00:00-06:00", "1979-01-05T09:30:00-06:00"))
	local rows = t:view("data_issues")
	t:equal(#rows, 1)
	t:equal(rows[1].rule, "visit_before_birth")
	t:equal(rows[1].severity, "high")
	t:equal(rows[1].resource, visit)
	t:equal(rows[1].patient, patient)
	t:equal(rows[1].detail, "the visit on 1979-01-05 lies before the birth on 1980-05-01")
	local issue = t:read(rows[1].issue)
	t:equal(issue.status, "preliminary")
	local task = t:search("Task", { code = "data-issue" })[1]
	t:equal(task.performerType[1].coding[1].code, "desk")
	t:equal(task.focus.reference, visit)

	local changed = t:read(visit)
	changed.period.start = "1979-01-05T09:10:00-06:00"
	t:update(changed)
	t:equal(#t:view("data_issues"), 1, "the same words again are the same issue")
	t:equal(#t:search("Task", { code = "data-issue" }), 1)

	changed = t:read(visit)
	changed.period = { start = "2026-01-05T09:10:00-06:00", ["end"] = "2026-01-05T09:30:00-06:00" }
	t:update(changed)
	t:equal(#t:view("data_issues"), 0)
	issue = t:read(rows[1].issue)
	t:equal(issue.status, "final")
	t:equal(issue.mitigation[1].action.text, "The data were put right")

	changed = t:read(visit)
	changed.period.start = "1979-01-05T09:10:00-06:00"
	t:update(changed)
	t:equal(#t:view("data_issues"), 1, "wrong again is open again")
	t:delete(visit)
	t:equal(#t:view("data_issues"), 0, "what is gone is not wrong")
end)

test("visits that overlap are flagged, those that touch are not; what a person settled stays settled", function (t)
	local patient = clinic(t)
	t:create(encounter(patient, "2026-11-02T09:00:00-06:00", "2026-11-02T09:30:00-06:00"))
	t:create(encounter(patient, "2026-11-02T09:30:00-06:00", "2026-11-02T10:00:00-06:00"))
	t:equal(#t:view("data_issues"), 0)
	local third = t:create(encounter(patient, "2026-11-02T09:15:00-06:00", "2026-11-02T09:20:00-06:00"))
	t:equal(t:view("data_issues")[1].rule, "visits_overlap")
	local issue = t:read(t:view("data_issues")[1].issue)
	issue.status = "final"
	t:update(issue)
	local changed = t:read(third)
	changed.reasonCode = { { text = "short question" } }
	t:update(changed)
	t:equal(#t:view("data_issues"), 0)
end)

test("only the plugin that declares it, and a role it names, writes what is exclusive", function (t)
	local patient = clinic(t)
	t:refused(function ()
		t:create(observation(patient, "69737-5", 3))
	end, "rule score_is_computed (right_data): The GAD-7 total is computed from the answers, never entered")
	t:operation("$score", nil, patient)
	local computed = t:search("Observation", { code = "69737-5" })[1]
	t:refused(function ()
		t:delete("Observation/" .. computed.id)
	end, "score_is_computed")
	-- Nor does it become another by an update.
	computed.code.coding[1].code = "44249-1"
	t:refused(function ()
		t:update(computed)
	end, "score_is_computed")
	t:as("steward")
	t:create(observation(patient, "69737-5", 3))
	t:equal(#t:search("Observation", { code = "69737-5" }), 2)
end)
