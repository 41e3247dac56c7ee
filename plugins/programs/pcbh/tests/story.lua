-- Brief visits from the request to the way back, up, or out (domain 2.7, 3.4).
local clinic = require "tests/clinic"

test("2.7: asked, seen the same day, told the same day, back after the second visit", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00") -- Monday
	local patient = clinic.patient(t, "Rivera")
	local medical = clinic.medical(t, patient)
	local task = clinic.ask(t, patient)
	t:equal(t:state(task), "asked")
	t:equal(clinic.sent(t, "behavioral_health_consultant", "today if possible"), 1)
	t:advance("40 minutes")
	t:equal(clinic.visit(t, task), "active")
	t:as("ehr")
	local encounters = t:search("Encounter", { patient = patient, type = "consultant-visit" })
	t:equal(#encounters, 1)
	t:equal(encounters[1].partOf.reference, medical, "on the day of the medical visit")
	t:equal(encounters[1].reasonCode[1].text, "sleep")
	t:equal(string.sub(encounters[1].period.start, 12, 16), "15:20", "twenty minutes before now")
	local score = t:search("Observation", { patient = patient, code = "function_0_10" })[1]
	t:equal(t:data("Observation/" .. score.id).valueQuantity.value, 5)
	-- Feedback is owed until 17:00 local time.
	local owed = clinic.task(t, "pcbh_visit", patient)
	t:equal(t:state(owed), "feedback")
	t:equal(t:instance(owed).due, "2026-11-02T23:00:00.000Z")
	t:at("2026-11-02T16:31:00-06:00")
	t:equal(clinic.sent(t, "behavioral_health_consultant", "due today"), 1)
	t:as("consultant")
	t:refused(function ()
		t:transition(owed, "give_feedback", {})
	end, "summary")
	t:equal(t:transition(owed, "give_feedback", { summary = "Sleep plan agreed" }), "told")
	t:equal(clinic.sent(t, "Practitioner/doctor", "Sleep plan agreed"), 1, "who asked is told")
	-- Two weeks later, and back.
	t:at("2026-11-16T09:00:00-06:00")
	t:equal(clinic.visit(t, task, { score = 8, summary = "Sleeps well", mode = "video" }), "active")
	t:equal(clinic.sent(t, "Practitioner/doctor", "Sleeps well"), 1)
	t:as("consultant")
	t:equal(t:transition(task, "back", { goal = "goal met" }), "returned")
	t:equal(clinic.sent(t, "Practitioner/doctor", "has ended: goal met"), 1)
	local improved = t:metric("pcbh_function_improved", "2026-11")
	t:equal(improved.numerator, 1)
	t:equal(improved.denominator, 1)
end)

test("2.7: 0 to 4 visits: advice without one; after the fourth one more needs a reason", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local none = clinic.ask(t, clinic.patient(t, "None"))
	t:as("consultant")
	t:equal(t:transition(none, "advise", { advice = "Reassure; see again in a month" }), "returned")
	t:equal(clinic.sent(t, "Practitioner/doctor", "advises without a visit"), 1)
	local task = clinic.ask(t, clinic.patient(t, "Rivera"))
	for number = 1, 4 do
		t:equal(clinic.sent(t, "behavioral_health_consultant", "Visit "), 0)
		t:advance("5 days")
		t:equal(clinic.visit(t, task, { summary = "visit " .. number }), "active")
	end
	t:equal(clinic.sent(t, "behavioral_health_consultant", "Visit 4 of 4"), 1)
	t:advance("5 days")
	t:refused(function ()
		clinic.visit(t, task)
	end, "rule pcbh.visits")
	t:equal(clinic.visit(t, task, { more = "waits for the psychiatrist" }), "active")
end)

test("up: to collaborative care when it is there, else a request; the provider hears why", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00", nil,
		{ programs = { "pcbh", "collaborative_care" }, services = { "referral" } })
	local patient = clinic.patient(t, "Rivera")
	local task = clinic.ask(t, patient)
	clinic.visit(t, task, { reason = "depression", intervention = "behavioral activation" })
	t:as("consultant")
	t:refused(function ()
		t:transition(task, "step_up", { to = "the moon", why = "x" })
	end, "collaborative care")
	local up = { to = "collaborative care", why = "PHQ-9 of 18 after two visits" }
	t:equal(t:transition(task, "step_up", up), "stepped_up")
	t:equal(t:state(clinic.task(t, "cocm", patient)), "identified")
	t:equal(clinic.sent(t, "Practitioner/doctor", "Stepped up to collaborative care: PHQ-9 of 18"), 1)
	local other = clinic.patient(t, "Other")
	local second = clinic.ask(t, other)
	t:as("consultant")
	t:equal(t:transition(second, "step_up", { to = "psychiatry", why = "mania" }), "stepped_up")
	t:as("ehr")
	local request = t:search("ServiceRequest", { patient = other })[1]
	t:equal(request.code.text, "psychiatry")
	t:equal(t:data(clinic.task(t, "referral", other)).focus.reference, "ServiceRequest/" .. request.id)
end)

test("nothing falls through: nobody sees the patient, no next visit, does not come, does not want", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local waiting, gone = clinic.ask(t, clinic.patient(t, "Waiting")), clinic.ask(t, clinic.patient(t, "Gone"))
	clinic.visit(t, gone)
	t:as("desk")
	local due = t:instance(waiting).due
	t:equal(due, "2026-11-03T15:00:00.000Z", "one business day")
	t:advance("2 hours")
	t:equal(t:transition(waiting, "no_show", {}), "asked")
	t:equal(t:instance(waiting).due, due, "not coming gives nobody more time")
	t:at("2026-11-03T09:01:00-06:00")
	t:as("ehr")
	t:equal(#t:search("Task", { code = "escalation", focus = waiting }), 1)
	t:at("2026-11-12T09:01:00-06:00")
	t:equal(t:state(waiting), "unreached")
	t:at("2026-12-31T09:00:00-06:00")
	t:equal(t:state(gone), "returned")
	t:equal(clinic.sent(t, "Practitioner/doctor", "has ended"), 2, "who asked hears both")
	local no = clinic.ask(t, clinic.patient(t, "No"))
	t:as("desk")
	t:equal(t:transition(no, "decline", { reason = "no time" }), "declined")
end)

test("what cannot have been is refused with the rule's name and changes nothing", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local patient = clinic.patient(t, "Rivera", { birthDate = "2026-11-01" })
	local task = clinic.ask(t, patient)
	local function no(rule, data)
		t:refused(function ()
			clinic.visit(t, task, data)
		end, "rule " .. rule)
	end
	no("pcbh.score", { score = 11 })
	no("pcbh.score", { score = -1 })
	no("pcbh.score", { score_kind = "unheard_of" })
	no("pcbh.score", { score = "none" })
	no("pcbh.minutes", { minutes = 0 })
	no("pcbh.minutes", { minutes = 61 })
	no("pcbh.future", { start = "2026-11-02T10:00:00-06:00" })
	no("pcbh.birth", { start = "2026-10-31T23:30:00-05:00" })
	t:refused(function ()
		clinic.visit(t, task, { reason = "gardening" })
	end, "reason")
	t:refused(function ()
		clinic.visit(t, task, { intervention = "surgery" })
	end, "intervention")
	t:as("ehr")
	t:equal(#t:search("Encounter", { patient = patient }), 0)
	t:equal(#t:search("ChargeItem", { patient = patient }), 0)
	t:equal(clinic.visit(t, task, { score = "none", no_score = "an infant" }), "active")
	local other = clinic.ask(t, clinic.patient(t, "Other"))
	t:refused(function ()
		clinic.visit(t, other, { minutes = 10 })
	end, "rule minutes.overlap")
end)

test("2.4: the same minutes are never counted in two programs", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00", nil, { programs = { "pcbh", "collaborative_care" } })
	local patient = clinic.patient(t, "Rivera")
	t:as("care")
	local other = clinic.patient(t, "Other")
	t:as("care")
	t:start("cocm", { focus = other, patient = other })
	local task = clinic.ask(t, patient)
	clinic.visit(t, task)
	t:as("care")
	local function enter(start)
		return t:operation("$minutes", { resourceType = "Parameters", parameter = {
			{ name = "action", valueString = "enter" }, { name = "minutes", valueInteger = 10 },
			{ name = "activity", valueString = "outreach" }, { name = "start", valueString = start },
		} }, other)
	end
	t:refused(function ()
		enter("2026-11-02T08:35:00-06:00")
	end, "rule minutes.overlap")
	enter("2026-11-02T08:30:00-06:00")
	local third = clinic.ask(t, clinic.patient(t, "Third"))
	t:refused(function ()
		clinic.visit(t, third, { minutes = 20, start = "2026-11-02T08:15:00-06:00" })
	end, "rule minutes.overlap")
end)

test("a visit that came by a warm handoff is written down, counted once, and its feedback is feedback", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local patient = clinic.patient(t, "Rivera")
	local medical = clinic.medical(t, patient)
	t:as("ehr")
	local schedule = t:create { resourceType = "Schedule", actor = { { reference = "Practitioner/consultant" } } }
	t:create {
		resourceType = "Slot", schedule = { reference = schedule }, status = "free", start = "2026-11-02T09:00:00-06:00",
		["end"] = "2026-11-02T09:15:00-06:00", serviceType = { { coding = { { code = "bhc" } } } },
	}
	t:as("doctor")
	local handoff = "Task/" .. t:operation("$handoff", {
		resourceType = "Parameters", parameter = { { name = "reason", valueString = "sleep" } },
	}, medical).id
	t:as("consultant")
	t:transition(handoff, "acknowledge", {})
	t:transition(handoff, "arrive", {})
	t:transition(handoff, "start_visit", { mode = "room" })
	t:advance("18 minutes")
	t:transition(handoff, "end_visit", { minutes = 18 })
	local owed = clinic.task(t, "pcbh_visit", patient)
	t:equal(t:state(owed), "document")
	t:as("consultant")
	t:transition(handoff, "give_feedback", { summary = "Sleep plan", plan = "consultant visit" })
	t:equal(t:transition(owed, "document", {
		reason = "sleep", intervention = "sleep habits", minutes = 18, score_kind = "duke", score = 60,
		initiated = "warm handoff",
	}), "told", "the handoff told the provider already")
	local episode = clinic.task(t, "pcbh", patient)
	t:equal(t:state(episode), "active")
	t:as("ehr")
	t:equal(#t:search("Encounter", { patient = patient, type = "consultant-visit" }), 1)
	t:equal(t:metric("pcbh_feedback_same_day", "2026-11").numerator, 1)
	-- One from the record system that was none.
	local stray = t:create {
		resourceType = "Encounter", status = "finished", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "VR" },
		type = { { coding = { { system = "urn:careloop:encounter", code = "consultant-visit" } } } },
		period = { start = t:now(), ["end"] = t:now() },
	}
	t:ok(stray)
	local second = clinic.task(t, "pcbh_visit", patient)
	t:as("consultant")
	t:equal(t:transition(second, "no_visit", { reason = "a note without a visit" }), "void")
end)

test("brief visits beside collaborative care are noticed, a step up is not", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00", nil, { programs = { "pcbh", "collaborative_care" } })
	local function score(patient)
		t:as("ehr")
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = "44261-6" } } }, valueQuantity = { value = 16 },
		}
	end
	local function treat(patient, task)
		score(patient)
		t:as("care")
		t:transition(task, "offer", {})
		t:transition(task, "consent", { mode = "verbal" })
		t:transition(task, "enrol", { treating = { reference = "Practitioner/doctor" } })
		t:equal(t:transition(task, "activate", {}), "active")
	end
	local function issues()
		t:as("ehr")
		local open = 0
		for _, issue in ipairs(t:search("DetectedIssue", { code = "cocm_two_programs" })) do
			open = open + (issue.status == "preliminary" and 1 or 0)
		end
		return open
	end
	local patient = clinic.patient(t, "Up")
	local episode = clinic.ask(t, patient)
	t:as("consultant")
	t:transition(episode, "step_up", { to = "collaborative care", why = "PHQ-9 of 16" })
	treat(patient, clinic.task(t, "cocm", patient))
	t:equal(issues(), 0)
	local both = clinic.patient(t, "Both")
	t:as("care")
	treat(both, t:start("cocm", { focus = both, patient = both }))
	local brief = clinic.ask(t, both)
	t:equal(issues(), 1)
	t:as("consultant")
	t:transition(brief, "advise", { advice = "The care manager sees to it" })
	t:equal(issues(), 0, "settled when one of them ends")
end)
