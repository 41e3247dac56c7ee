-- Item 9 (thoughts of self-harm): clocks, disposition, after hours, known risk.

local function team(t, at, more)
	t:at(at)
	local settings = { staffed_from = "08:00", staffed_until = "17:00" }
	for key, value in pairs(more or {}) do
		settings[key] = value
	end
	t:organization {
		name = "Test Integrated Care", zone = "America/Los_Angeles", reference = "Organization/test", model = "integrated",
		holidays = { "2026-11-26" },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			manager_of_care = { kind = "person", roles = { "care_manager" }, reference = "Practitioner/care-manager" },
			consultant = { kind = "person", roles = { "behavioral_health_consultant" }, reference = "Practitioner/consultant" },
			night = { kind = "person", roles = { "on_call" }, reference = "Practitioner/night" },
		},
		settings = { integrated = settings },
	}
	t:as("ehr")
	return t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
end

local function answer(t, patient, value, status)
	t:as("ehr")
	return t:create {
		resourceType = "QuestionnaireResponse", status = status or "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = t:now(),
		item = { { linkId = "44260-8", answer = { { valueInteger = value } } } },
	}
end

local function alerts(t)
	t:as("ehr")
	local found = {}
	for _, task in ipairs(t:search("Task", { code = "safety", _sort = "authored-on" })) do
		found[#found + 1] = "Task/" .. task.id
	end
	return found
end

-- Texts that were sent to somebody: a reference, or a role.
local function sent_to(t, whom)
	t:as("ehr")
	local found = {}
	for _, communication in ipairs(t:search("Communication", { _count = 200 })) do
		for _, recipient in ipairs(communication.recipient or {}) do
			if recipient.reference == whom or recipient.identifier and recipient.identifier.value == whom then
				found[#found + 1] = communication.payload[1].contentString
			end
		end
	end
	return found
end

local function close(t, alert, disposition)
	t:as("consultant")
	if t:state(alert) ~= "assessing" then
		t:transition(alert, "acknowledge", {})
	end
	return t:transition(alert, "close", { disposition = disposition, risk = "moderate" })
end

test("in staffed hours: consultant and clinician are called; after fifteen minutes the next in line", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	answer(t, patient, 1)
	local alert = alerts(t)[1]
	t:equal(t:state(alert), "alert")
	t:equal(#sent_to(t, "behavioral_health_consultant"), 1)
	t:equal(#sent_to(t, "clinician"), 1)
	t:equal(#sent_to(t, patient), 0, "somebody is there to speak with the patient")
	t:advance("14 minutes")
	t:equal(#t:search("Task", { code = "escalation" }), 0)
	t:advance("2 minutes")
	t:equal(#t:search("Task", { code = "escalation" }), 1)
	t:as("consultant")
	t:transition(alert, "acknowledge", {})
	t:advance("59 minutes")
	t:as("ehr")
	t:equal(#t:search("Task", { code = "escalation" }), 1)
	t:advance("2 minutes")
	t:equal(#t:search("Task", { code = "escalation" }), 2, "the assessment is due within the hour")
	t:advance("30 days")
	t:equal(t:state(alert), "assessing", "it is never closed by a clock")
	t:as("consultant")
	t:refused(function ()
		t:transition(alert, "close", { risk = "low", disposition = "seems fine" })
	end, "disposition")
	t:equal(close(t, alert, "safety plan made"), "closed")
end)

test("a flag stands as long as the alert is open", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	t:create {
		resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient },
		type = { { coding = { { system = "urn:careloop:episode", code = "depression-care" } } } },
		period = { start = t:now() },
	}
	local function flagged()
		t:as("ehr")
		for _, flag in ipairs(t:search("Flag", { patient = patient })) do
			if flag.status == "active" and flag.code.coding[1].code == "safety" then
				return true
			end
		end
		return false
	end
	answer(t, patient, 2)
	t:ok(flagged())
	close(t, alerts(t)[1], "same-day visit")
	t:ok(not flagged())
end)

test("after hours with a clinician on call: the crisis line at once, and the one on call", function (t)
	local patient = team(t, "2026-11-02T19:00:00-08:00", { on_call = true })
	answer(t, patient, 1)
	t:ok(string.find(sent_to(t, patient)[1], "988", 1, true))
	t:equal(#sent_to(t, "on_call"), 1)
	local alert = alerts(t)[1]
	t:as("night")
	t:equal(t:transition(alert, "acknowledge", {}), "assessing")
	t:equal(t:transition(alert, "close", { disposition = "crisis service", risk = "high" }), "closed")
end)

test("after hours without one: the crisis line still, and the alert waits for the opening, past a holiday", function (t)
	local patient = team(t, "2026-11-25T18:00:00-08:00") -- the evening before Thanksgiving
	answer(t, patient, 1)
	t:equal(#sent_to(t, patient), 1)
	t:equal(#sent_to(t, "on_call"), 0)
	local alert = alerts(t)[1]
	t:equal(t:state(alert), "waiting")
	t:equal(t:instance(alert).due, "2026-11-27T16:00:00.000Z", "Friday at eight")
	t:at("2026-11-27T07:59:00-08:00")
	t:equal(t:state(alert), "waiting")
	t:at("2026-11-27T08:01:00-08:00")
	t:equal(t:state(alert), "alert")
	t:equal(sent_to(t, "behavioral_health_consultant")[2] ~= nil, true, "called again at opening")
	t:at("2026-11-27T08:16:00-08:00")
	t:as("ehr")
	t:equal(#t:search("Task", { code = "escalation" }), 1, "now the clock of the day runs")
end)

test("a holiday is after hours", function (t)
	local patient = team(t, "2026-11-26T12:00:00-08:00") -- Thanksgiving, a Thursday
	answer(t, patient, 1)
	t:equal(#sent_to(t, patient), 1)
end)

test("answers of 0 and forms that say nothing raise nothing", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	answer(t, patient, 0)
	answer(t, patient, 3, "entered-in-error")
	t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = t:now(),
		item = { { linkId = "44250-9", answer = { { valueInteger = 3 } } } },
	}
	t:equal(#alerts(t), 0)
	answer(t, patient, 1, "in-progress")
	t:equal(#alerts(t), 1, "an unfinished form does")
end)

test("a second form while the alert is open is added to it", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	answer(t, patient, 1)
	answer(t, patient, 3)
	t:equal(#alerts(t), 1)
	t:equal(#t:data(alerts(t)[1]).note, 1)
end)

test("known risk with a current safety plan: looked at today, no alarm; a higher answer rings", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	local function safety_plan(created)
		t:as("ehr")
		t:create {
			resourceType = "CarePlan", status = "active", intent = "plan", subject = { reference = patient }, created = created,
			category = { { coding = { { system = "urn:careloop:plan", code = "safety" } } } },
		}
	end
	answer(t, patient, 1)
	close(t, alerts(t)[1], "safety plan made")
	t:advance("7 days")
	answer(t, patient, 1)
	t:equal(t:state(alerts(t)[2]), "alert", "without a plan on file the risk is not handled")
	close(t, alerts(t)[2], "safety plan made")
	safety_plan("2026-11-09")
	t:advance("7 days")
	answer(t, patient, 1)
	local third = alerts(t)[3]
	t:equal(t:state(third), "known_risk")
	answer(t, patient, 2)
	t:equal(t:state(third), "alert", "worse than known")
	close(t, third, "safety plan reviewed")
	t:advance("120 days")
	answer(t, patient, 1)
	t:equal(t:state(alerts(t)[4]), "alert", "the plan is too old")
end)

-- ---- late, amended, deleted; from another system (domain 0 row 9, 2.1) ----

local function amend(t, response, value, status)
	t:as("ehr")
	local form = t:data(response)
	form.status = status or "amended"
	if value then
		form.item[1].answer[1].valueInteger = value
	end
	t:update(form)
end

test("0 row 9: after hours the one on call has the next action, and the day's team is next in line", function (t)
	local patient = team(t, "2026-11-02T19:00:00-08:00", { on_call = true })
	answer(t, patient, 1)
	local alert = alerts(t)[1]
	t:equal(t:state(alert), "on_call")
	t:equal(t:instance(alert).owner, "on_call")
	t:advance("16 minutes")
	t:equal(#t:search("Task", { code = "escalation" }), 1)
	t:as("night")
	t:equal(t:transition(alert, "hand_over", { reason = "asleep; called the daughter; by day" }), "alert")
end)

test("an alert of the day that nobody took can be handed to the one on call", function (t)
	local patient = team(t, "2026-11-02T16:55:00-08:00", { on_call = true })
	answer(t, patient, 1)
	local alert = alerts(t)[1]
	t:equal(t:state(alert), "alert")
	t:at("2026-11-02T17:05:00-08:00")
	t:as("consultant")
	t:equal(t:transition(alert, "to_on_call", {}), "on_call")
end)

test("a form that comes late raises its alert and says when it was answered", function (t)
	local patient = team(t, "2026-11-05T10:00:00-08:00")
	t:as("ehr")
	t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = "2026-11-03T21:30:00-08:00",
		item = { { linkId = "44260-8", answer = { { valueInteger = 2 } } } },
	}
	t:equal(#alerts(t), 1)
	t:ok(string.find(sent_to(t, "behavioral_health_consultant")[1], "answered 2026-11-03 at 21:30", 1, true))
end)

test("amended: to more opens one again, to less or to an error is noted and closes nothing", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	local response = answer(t, patient, 1)
	amend(t, response, 0)
	local alert = alerts(t)[1]
	t:equal(t:state(alert), "alert", "a person decides")
	t:ok(string.find(t:data(alert).note[1].text, "corrected to 0", 1, true))
	close(t, alert, "no acute risk")
	amend(t, response, 1)
	t:equal(#alerts(t), 1, "what was looked at is not raised again")
	amend(t, response, 3)
	t:equal(#alerts(t), 2, "more than was known is")
	amend(t, response, nil, "entered-in-error")
	t:equal(t:state(alerts(t)[2]), "alert")
	t:ok(string.find(t:data(alerts(t)[2]).note[1].text, "entered in error", 1, true))
	local late = answer(t, patient, 0)
	amend(t, late, 1)
	t:equal(#alerts(t), 2, "added to the open one")
end)

test("a form in error or deleted takes its total back", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	t:as("ehr")
	local function full(value)
		local items = {}
		for number, link in ipairs { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3",
			"44260-8" } do
			items[number] = { linkId = link, answer = { { valueInteger = value } } }
		end
		return t:create {
			resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
			subject = { reference = patient }, authored = t:now(), item = items,
		}
	end
	local function standing()
		t:as("ehr")
		return #t:search("Observation", { patient = patient, code = "44261-6", status = "final,corrected" })
	end
	local first, second = full(1), full(2)
	t:equal(standing(), 2)
	amend(t, first, nil, "entered-in-error")
	t:equal(standing(), 1)
	t:as("ehr")
	t:delete(second)
	t:equal(standing(), 0)
	local notes = t:data(alerts(t)[1]).note
	t:equal(#notes, 2, "another answer; the form of the alert was an error")
	t:ok(string.find(notes[2].text, "entered in error", 1, true))
	t:equal(t:state(alerts(t)[1]), "alert")
end)

test("item 9 alone, as an Observation of another system, raises the alert once", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	local function item(value)
		return {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = "44260-8" } } },
			valueCodeableConcept = { coding = { { system = "http://loinc.org", code = value } } },
		}
	end
	t:as("ehr")
	t:create(item("LA6568-5"))
	t:equal(#alerts(t), 0)
	t:create(item("LA6569-3"))
	t:equal(#alerts(t), 1)
end)

test("a score of 30 and an answer of 4 are refused with the rule's name, and change nothing", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	t:refused(function ()
		answer(t, patient, 4)
	end, "rule phq9.answer")
	t:refused(function ()
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = "44261-6" } } }, valueQuantity = { value = 30 },
		}
	end, "rule phq9.total")
	t:equal(#alerts(t), 0)
	t:equal(#t:search("QuestionnaireResponse", { patient = patient }), 0)
end)

test("nobody closes an alert around its machine: not by a plain update, not without a person", function (t)
	local patient = team(t, "2026-11-02T10:00:00-08:00")
	answer(t, patient, 1)
	local alert = alerts(t)[1]
	t:as("ehr")
	t:refused(function ()
		local task = t:data(alert)
		task.status = "completed"
		t:update(task)
	end)
	t:refused(function ()
		t:transition(alert, "acknowledge", {})
		t:transition(alert, "close", { disposition = "no acute risk", risk = "low" })
	end)
	t:as("consultant")
	t:refused(function ()
		t:transition(alert, "close", { disposition = "no acute risk" })
	end)
end)
