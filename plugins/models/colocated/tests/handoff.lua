-- The co-located day in minutes: screen, offer, handoff, visit, feedback; nobody free; declines.

local phq9 = { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8" }

local function clinic(t)
	t:at("2026-11-02T09:00:00-06:00") -- Monday
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", holidays = { "2026-11-26" }, reference = "Organization/clinic",
		model = "colocated",
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			doctor = { kind = "person", roles = { "clinician" }, reference = "Practitioner/doctor" },
			consultant = { kind = "person", roles = { "behavioral_health_consultant" }, reference = "Practitioner/consultant" },
			assistant = { kind = "person", roles = { "medical_assistant" }, reference = "Practitioner/assistant" },
			desk = { kind = "person", roles = { "front_desk" }, reference = "Practitioner/desk" },
			manager = { kind = "person", roles = { "manager" }, reference = "Practitioner/manager" },
		},
		settings = { colocated = { same_day_rules = {
			["Organization/medicaid"] = { billable = true, modifier = "59", source = "test" },
			["Organization/plan"] = { billable = false, reason = "one visit a day", source = "test" },
		} } },
	}
	t:as("ehr")
	local schedule = t:create {
		resourceType = "Schedule", active = true,
		actor = { { reference = "Practitioner/consultant", display = "Consultant" } },
	}
	return schedule
end

local function slot(t, schedule, start, finish, status)
	t:as("ehr")
	return t:create {
		resourceType = "Slot", schedule = { reference = schedule }, status = status or "free", start = start,
		["end"] = finish,
		serviceType = { { coding = { { system = "urn:careloop:slot", code = "bhc" } } } },
	}
end

local function visit(t)
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera", given = { "Ana" } } } }
	local encounter = t:create {
		resourceType = "Encounter", status = "in-progress", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "AMB" },
		period = { start = t:now() },
	}
	return patient, encounter
end

local function answer(t, patient, encounter, values, status)
	local items = {}
	for number, value in pairs(values) do
		items[#items + 1] = { linkId = phq9[number], answer = { { valueInteger = value } } }
	end
	return t:create {
		resourceType = "QuestionnaireResponse", status = status or "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, encounter = { reference = encounter }, authored = t:now(), item = items,
	}
end

local function ask(t, encounter)
	t:as("doctor")
	local task = t:operation("$handoff", {
		resourceType = "Parameters", parameter = { { name = "reason", valueString = "low mood, poor sleep" } },
	}, encounter)
	return "Task/" .. task.id
end

local function only_handoff(t)
	local found = t:search("Task", { code = "handoff" })
	t:equal(#found, 1)
	return "Task/" .. found[1].id
end

test("screen, offer, handoff, visit, feedback, follow-up: within the hour", function (t)
	local schedule = clinic(t)
	local held = slot(t, schedule, "2026-11-02T09:15:00-06:00", "2026-11-02T09:30:00-06:00")
	local patient, encounter = visit(t)
	t:as("assistant")
	local response = answer(t, patient, encounter, { 2, 2, 2, 2, 2, 2, 2, 0, 0 })
	t:as("ehr")
	local observation = t:search("Observation", { patient = patient })[1]
	t:equal(t:data("Observation/" .. observation.id).valueQuantity.value, 14)
	t:equal(t:data("Observation/" .. observation.id).derivedFrom[1].reference, response)

	local task = only_handoff(t)
	t:equal(t:state(task), "offered")
	t:advance("5 minutes")
	t:as("doctor")
	t:equal(t:transition(task, "request", { reason = "screen" }), "requested")
	t:as("ehr")
	t:equal(t:data(held).status, "busy-tentative", "the slot is held")

	t:advance("3 minutes")
	t:as("consultant")
	t:equal(t:transition(task, "acknowledge", {}), "acknowledged")
	t:advance("6 minutes")
	t:equal(t:transition(task, "arrive", {}), "arrived")
	t:advance("2 minutes")
	t:equal(t:transition(task, "start_visit", { mode = "room" }), "visit")
	t:as("ehr")
	local visits = t:search("Encounter", { patient = patient, type = "consultant-visit" })
	t:equal(#visits, 1)
	t:equal(visits[1].status, "in-progress")
	t:equal(visits[1].partOf.reference, encounter)
	t:equal(t:data(held).status, "busy")
	t:advance("20 minutes")
	t:as("consultant")
	t:equal(t:transition(task, "end_visit", { minutes = 20 }), "feedback")
	t:as("ehr")
	t:equal(t:data("Encounter/" .. visits[1].id).status, "finished")
	t:as("consultant")
	t:refused(function ()
		t:transition(task, "give_feedback", { plan = "none" })
	end, "summary")
	t:transition(task, "give_feedback", { summary = "Moderate depression; sleep plan agreed", plan = "consultant visit" })
	t:equal(t:state(task), "follow_up")
	t:as("desk")
	t:equal(t:transition(task, "booked", { start = "2026-11-09T15:00:00Z" }), "completed")

	local minutes = t:metric("handoff_minutes", "2026-11")
	t:near(minutes.value, 9, 0.01)
	local same_day = t:metric("handoff_same_day", "2026-11")
	t:equal(same_day.numerator, 1)
	t:equal(same_day.denominator, 1)
	local screened = t:metric("screened_share", "2026-11")
	t:equal(screened.numerator, 1)
	t:equal(screened.denominator, 1)
	local contacted = t:metric("positive_same_day_contact", "2026-11")
	t:equal(contacted.numerator, 1)
	t:equal(contacted.denominator, 1)
end)

test("the consultant and the clinician see the chart once they care for the patient, not before", function (t)
	local schedule = clinic(t)
	slot(t, schedule, "2026-11-02T09:00:00-06:00", "2026-11-02T09:15:00-06:00")
	local patient, encounter = visit(t)
	t:as("ehr")
	local condition = t:create {
		resourceType = "Condition", subject = { reference = patient }, code = { text = "Insomnia" },
		clinicalStatus = { coding = { {
			system = "http://terminology.hl7.org/CodeSystem/condition-clinical", code = "active",
		} } },
	}
	t:as("consultant")
	t:refused(function ()
		t:read(condition)
	end)
	local task = ask(t, encounter)
	t:as("consultant")
	t:transition(task, "acknowledge", {})
	t:equal(t:read(condition).code.text, "Insomnia")
end)

test("nobody free by the slots: the fallback begins at once, a slot today is booked and kept", function (t)
	local schedule = clinic(t)
	slot(t, schedule, "2026-11-02T09:00:00-06:00", "2026-11-02T09:15:00-06:00", "busy")
	local later = slot(t, schedule, "2026-11-02T14:00:00-06:00", "2026-11-02T14:15:00-06:00")
	local tomorrow = slot(t, schedule, "2026-11-03T09:00:00-06:00", "2026-11-03T09:15:00-06:00")
	local _, encounter = visit(t)
	local task = ask(t, encounter)
	t:equal(t:state(task), "fallback")
	t:as("desk")
	t:refused(function ()
		t:transition(task, "book_slot", { slot = { reference = tomorrow } })
	end, "today")
	t:equal(t:transition(task, "book_slot", { slot = { reference = later } }), "slot_booked")
	t:as("ehr")
	t:equal(t:data(later).status, "busy")
	t:at("2026-11-02T14:00:00-06:00")
	t:as("consultant")
	t:equal(t:transition(task, "arrive", {}), "arrived")
	t:equal(t:transition(task, "start_visit", {}), "visit")
	t:equal(t:metric("handoff_same_day", "2026-11").numerator, 1)
end)

test("no answer in five minutes: the front desk is called; after ten the patient gets another way", function (t)
	local schedule = clinic(t)
	local held = slot(t, schedule, "2026-11-02T09:00:00-06:00", "2026-11-02T09:30:00-06:00")
	local _, encounter = visit(t)
	local task = ask(t, encounter)
	t:equal(t:state(task), "requested")
	t:advance("4 minutes")
	t:as("ehr")
	t:equal(#t:search("Task", { code = "escalation" }), 0)
	t:advance("2 minutes")
	t:equal(#t:search("Task", { code = "escalation" }), 1)
	t:equal(t:state(task), "requested")
	t:advance("5 minutes")
	t:equal(t:state(task), "fallback")
	t:equal(t:data(held).status, "free", "the slot is given back")
	t:advance("16 minutes")
	t:equal(t:state(task), "phone_due", "nobody promised anything: the patient is called within a day")
end)

test("acknowledged but not arrived in fifteen minutes: the fallback", function (t)
	local schedule = clinic(t)
	slot(t, schedule, "2026-11-02T09:00:00-06:00", "2026-11-02T09:30:00-06:00")
	local _, encounter = visit(t)
	local task = ask(t, encounter)
	t:as("consultant")
	t:transition(task, "acknowledge", {})
	t:advance("14 minutes")
	t:equal(t:state(task), "acknowledged")
	t:advance("12 minutes")
	t:equal(t:state(task), "fallback")
	t:as("consultant")
	t:equal(t:transition(task, "acknowledge", {}), "acknowledged", "free after all")
end)

test("called within a day: reached, or not reached and told to the clinician", function (t)
	clinic(t)
	local _, encounter = visit(t)
	local task = ask(t, encounter)
	t:as("desk")
	t:equal(t:transition(task, "call_later", {}), "phone_due")
	t:as("consultant")
	t:transition(task, "no_answer", {})
	t:equal(t:transition(task, "reached", { minutes = 8 }), "feedback")
	t:as("ehr")
	t:equal(#t:search("Encounter", { type = "consultant-call" }), 1)

	local _, second = visit(t)
	local other = ask(t, second)
	t:as("desk")
	t:transition(other, "call_later", {})
	t:as("consultant")
	t:transition(other, "no_answer", {})
	t:refused(function ()
		t:transition(other, "give_up", {})
	end, "1 of 3")
	t:advance("30 days")
	t:equal(t:state(other), "unreached")
	t:equal(t:state(task), "feedback", "feedback is never given up")
end)

test("the patient declines: at the offer, at the door, at the slot", function (t)
	local schedule = clinic(t)
	local held = slot(t, schedule, "2026-11-02T09:00:00-06:00", "2026-11-02T10:30:00-06:00")
	local patient, encounter = visit(t)
	t:as("assistant")
	answer(t, patient, encounter, { 2, 2, 2, 2, 2, 2, 2, 0, 0 })
	local offered = only_handoff(t)
	t:as("doctor")
	t:equal(t:transition(offered, "decline", { note = "not today" }), "declined")

	local task = ask(t, encounter)
	t:as("consultant")
	t:transition(task, "acknowledge", {})
	t:transition(task, "arrive", {})
	t:equal(t:transition(task, "decline", {}), "declined")
	t:as("ehr")
	t:equal(t:data(held).status, "free", "the slot is free again")
	local same_day = t:metric("handoff_same_day", "2026-11")
	t:equal(same_day.numerator, 0)
	t:equal(same_day.denominator, 1, "an offer that was declined was never asked for")
end)

test("an offer that nobody makes ends in a call", function (t)
	clinic(t)
	local patient, encounter = visit(t)
	t:as("assistant")
	answer(t, patient, encounter, { 2, 2, 2, 2, 2, 2, 2, 0, 0 })
	local task = only_handoff(t)
	t:advance("2 hours")
	t:equal(t:state(task), "phone_due")
end)

test("one handoff at a time, and a corrected form corrects its score", function (t)
	clinic(t)
	local patient, encounter = visit(t)
	t:as("assistant")
	local response = answer(t, patient, encounter, { 2, 2, 2, 2, 2, 2, 2, 0, 0 })
	answer(t, patient, encounter, { 3, 3, 3, 3, 3, 3, 3, 0, 0 })
	local task = only_handoff(t)
	local corrected = t:data(response)
	corrected.item[1].answer[1].valueInteger = 1
	t:update(corrected)
	t:as("ehr")
	local totals = {}
	for _, observation in ipairs(t:search("Observation", { patient = patient })) do
		totals[observation.valueQuantity.value] = observation.status
	end
	t:equal(totals[21], "final")
	t:ok(totals[13] == "corrected" or totals[12] == "corrected" or totals[14] == nil, "the first score was corrected")
	t:as("doctor")
	t:transition(task, "request", {})
	t:refused(function ()
		ask(t, encounter)
	end, "under way")
end)

test("a negative screen offers nothing; a positive PHQ-2 offers, and asks for the PHQ-9", function (t)
	clinic(t)
	local patient, encounter = visit(t)
	t:as("assistant")
	answer(t, patient, encounter, { 1, 1, 1, 1, 1, 1, 1, 0, 0 })
	t:equal(#t:search("Task", { code = "handoff" }), 0)
	local other, second = visit(t)
	t:as("assistant")
	t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/55757-9",
		subject = { reference = other }, encounter = { reference = second }, authored = t:now(), item = {
			{ linkId = "44250-9", answer = { { valueCoding = { system = "http://loinc.org", code = "LA6570-1" } } } },
			{ linkId = "44255-8", answer = { { valueCoding = { system = "http://loinc.org", code = "LA6569-3" } } } },
		},
	}
	local task = only_handoff(t)
	t:equal(t:instance(task).data.instrument, "phq2")
end)

test("feedback that is still owed is called for before closing", function (t)
	local schedule = clinic(t)
	t:at("2026-11-02T15:30:00-06:00")
	slot(t, schedule, "2026-11-02T15:30:00-06:00", "2026-11-02T15:45:00-06:00")
	local _, encounter = visit(t)
	local task = ask(t, encounter)
	t:as("consultant")
	t:transition(task, "acknowledge", {})
	t:transition(task, "arrive", {})
	t:transition(task, "start_visit", {})
	t:transition(task, "end_visit", {})
	local function owed()
		local count = 0
		for _, communication in ipairs(t:search("Communication", { _count = 200 })) do
			if string.find(communication.payload[1].contentString, "due today", 1, true) then
				count = count + 1
			end
		end
		return count
	end
	t:equal(owed(), 0)
	t:at("2026-11-02T16:31:00-06:00")
	t:equal(owed(), 1)
end)

test("what a payer pays on one day is its rule, and without a rule it does not count as paid", function (t)
	local schedule = clinic(t)
	local payers = { "Organization/medicaid", "Organization/plan", "Organization/unknown" }
	for number, payer in ipairs(payers) do
		slot(t, schedule, t:now(), "2026-11-02T12:00:00-06:00")
		local patient, encounter = visit(t)
		t:as("ehr")
		t:create {
			resourceType = "Coverage", status = "active", beneficiary = { reference = patient },
			payor = { { reference = payer } },
		}
		local task = ask(t, encounter)
		t:as("consultant")
		t:transition(task, "acknowledge", {})
		t:transition(task, "arrive", {})
		t:transition(task, "start_visit", {})
		t:advance("15 minutes")
		t:transition(task, "end_visit", {})
		t:equal(t:state(task), "feedback", "visit " .. number)
	end
	local billable = t:metric("same_day_billable", "2026-11")
	t:equal(billable.numerator, 1)
	t:equal(billable.denominator, 3)
end)

test("item 9 above 0 opens an alert, in a form that is not finished too, and only a disposition closes it", function (t)
	clinic(t)
	local patient, encounter = visit(t)
	t:as("assistant")
	local response = answer(t, patient, encounter, { [9] = 1 }, "in-progress")
	t:as("ehr")
	t:equal(#t:search("Observation", { patient = patient }), 0, "an unfinished form has no total")
	local alert = "Task/" .. t:search("Task", { code = "safety" })[1].id
	t:equal(t:state(alert), "alert")
	local finished = t:data(response)
	finished.status = "completed"
	t:update(finished)
	t:equal(#t:search("Task", { code = "safety" }), 1, "the same form is one alert")
	t:advance("16 minutes")
	t:equal(#t:search("Task", { code = "escalation" }), 1)
	t:as("consultant")
	t:equal(t:transition(alert, "acknowledge", {}), "assessing")
	t:refused(function ()
		t:transition(alert, "close", { risk = "low" })
	end, "disposition")
	t:as("ehr")
	t:refused(function ()
		t:transition(alert, "close", { risk = "low", disposition = "no acute risk" })
	end)
	t:as("consultant")
	t:equal(t:transition(alert, "close", { risk = "low", disposition = "safety plan made" }), "closed")
end)
