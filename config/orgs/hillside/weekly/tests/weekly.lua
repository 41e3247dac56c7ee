-- What Hillside changed for itself, and that nothing else changed (domain 2.3).
local phq9 = { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8" }

local function score(t, patient, total)
	local items = {}
	for number = 1, 8 do
		local value = math.min(3, total)
		total = total - value
		items[number] = { linkId = phq9[number], answer = { { valueInteger = value } } }
	end
	items[9] = { linkId = phq9[9], answer = { { valueInteger = 0 } } }
	t:as("ehr")
	t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = t:now(), item = items,
	}
end

local function contact_task(t, patient)
	t:as("ehr")
	return "Task/" .. t:search("Task", { code = "cocm_contact", patient = patient })[1].id
end

local function contact(t, patient)
	local task = contact_task(t, patient)
	t:as("coordinator")
	t:transition(task, "contact", { channel = "phone" })
	return string.sub(t:instance(task).due, 1, 10)
end

test("Hillside contacts the severe every week, judges response at week 10, has a reason of its own", function (t)
	t:at("2026-03-02T09:00:00-08:00")
	t:organization "hillside"
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	t:as("coordinator")
	local task = t:start("cocm", { focus = patient, patient = patient })
	t:transition(task, "offer", {})
	t:transition(task, "consent", { mode = "verbal" })
	t:transition(task, "enrol", { treating = { reference = "Practitioner/hillside-clinician" } })
	score(t, patient, 20)
	t:as("coordinator")
	t:transition(task, "activate", {})
	t:equal(contact(t, patient), "2026-03-09", "severe: a week")
	t:at("2026-03-30T09:00:00-07:00")
	score(t, patient, 14)
	t:equal(contact(t, patient), "2026-04-13", "moderate: two weeks, as shipped")
	t:at("2026-04-13T09:00:00-07:00")
	contact(t, patient)
	t:at("2026-04-27T09:00:00-07:00")
	contact(t, patient)
	score(t, patient, 13)
	t:at("2026-05-10T12:00:00-07:00") -- day 69: as shipped it would have been flagged on day 56
	t:equal(t:state(task), "active")
	t:at("2026-05-11T12:00:00-07:00") -- day 70
	t:equal(t:state(task), "not_improving")
	t:as("coordinator")
	t:refused(function ()
		t:transition(task, "close", { reason = "because" })
	end, "treated by the county")
	t:equal(t:transition(task, "close", { reason = "treated by the county" }), "closed")
end)
