-- Cadence by severity, scores at contacts, corrected and deleted scores, teenagers, caseload measures (domain 2.1, 2.3,
-- 2.4, 3.5).
local clinic = require "tests/clinic"

local function due(t, patient)
	return string.sub(t:instance(clinic.task(t, "cocm_contact", patient)).due, 1, 10)
end

test("2.3: contacts come by phase, and by the latest score's band where the clinic says so", function (t)
	clinic.open(t, "2026-03-02T09:00:00-08:00", { contact_by_severity = { severe = "7 days", mild = "21 days" } })
	local patient = clinic.enrol(t, "Rivera", 20)
	clinic.contact(t, patient)
	t:equal(due(t, patient), "2026-03-09", "severe: a week, over the change of clocks")
	t:at("2026-03-09T09:00:00-07:00")
	clinic.score(t, patient, 19)
	clinic.contact(t, patient)
	t:equal(due(t, patient), "2026-03-23", "moderately severe: as for everybody")
	t:at("2026-03-23T09:00:00-07:00")
	clinic.score(t, patient, 9)
	clinic.contact(t, patient)
	t:equal(due(t, patient), "2026-04-13", "mild: three weeks")
end)

test("2.3: a contact asks for the score where the service hands out forms, unless it is fresh", function (t)
	clinic.open(t, "2026-03-02T09:00:00-08:00", nil, nil, { services = { "instruments" } })
	local patient = clinic.enrol(t, "Rivera", 16)
	clinic.contact(t, patient)
	t:as("ehr")
	t:equal(#t:search("Task", { code = "form", patient = patient }), 0, "scored today")
	t:at("2026-03-09T09:00:00-07:00")
	clinic.contact(t, patient)
	t:as("ehr")
	local form = t:search("Task", { code = "form", patient = patient })
	t:equal(#form, 1)
	t:equal(t:instance("Task/" .. form[1].id).data.instrument, "phq9")
	clinic.contact(t, patient)
	t:as("ehr")
	t:equal(#t:search("Task", { code = "form", patient = patient }), 1, "once")
	clinic.score(t, patient, 12)
	t:equal(t:state("Task/" .. form[1].id), "answered")
end)

test("a score that was deleted or entered in error counts no more, at once", function (t)
	clinic.open(t, "2026-03-02T09:00:00-08:00")
	local patient, task = clinic.enrol(t, "Rivera", 12)
	t:advance("7 days")
	clinic.score(t, patient, 18)
	t:equal(t:state(task), "not_improving", "six points worse")
	t:as("ehr")
	local last = t:search("Observation", { patient = patient, code = "44261-6", _sort = "-date" })[1]
	t:delete("Observation/" .. last.id)
	t:advance("30 minutes")
	t:equal(t:state(task), "active")
	t:equal(clinic.row(t, "Rivera").last, 12)
	clinic.score(t, patient, 18)
	t:as("ehr")
	local response = t:search("QuestionnaireResponse", { patient = patient, _sort = "-authored" })[1]
	response.status = "entered-in-error"
	t:update(response)
	t:equal(t:state(task), "active", "its form was an error")
	-- One of last week that comes late counts by its date.
	t:as("ehr")
	t:create {
		resourceType = "Observation", status = "final", subject = { reference = patient },
		effectiveDateTime = "2026-03-05T09:00:00-08:00", valueQuantity = { value = 14 },
		code = { coding = { { system = "http://loinc.org", code = "44261-6" } } },
	}
	local row = clinic.row(t, "Rivera")
	t:equal(row.last, 14)
	t:equal(row.last_score, "2026-03-05")
end)

test("2.1: a teenager's course begins with the PHQ-9M and goes on with the PHQ-9", function (t)
	clinic.open(t, "2026-03-02T09:00:00-08:00")
	local patient = clinic.patient(t, "Teen")
	local function total(code, value)
		t:as("ehr")
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = code } } }, valueQuantity = { value = value },
		}
	end
	local task = clinic.identify(t, patient)
	t:transition(task, "offer", {})
	t:transition(task, "consent", { mode = "written" })
	t:transition(task, "enrol", { treating = { reference = "Practitioner/doctor" } })
	total("89204-2", 17)
	t:as("care")
	t:equal(t:transition(task, "activate", {}), "active", "the PHQ-9M is a validated scale")
	t:advance("20 days")
	total("44261-6", 8)
	local row = clinic.row(t, "Teen")
	t:equal(row.first, 17)
	t:equal(row.last, 8)
end)

test("3.5: contacts, scores at contacts, days to improvement, mean change, answers to recommendations", function (t)
	clinic.open(t, "2026-03-02T09:00:00-08:00")
	local good, bad = clinic.enrol(t, "Good", 16), clinic.enrol(t, "Bad", 16)
	t:equal(t:metric("cocm_scored_contacts", "2026-03").value, nil, "no contact, no share")
	t:equal(t:metric("cocm_mean_change", "2026-03").value, nil)
	t:equal(t:metric("cocm_days_to_improvement", "2026-03").value, nil)
	t:at("2026-03-10T09:00:00-07:00")
	clinic.contact(t, good) -- eight days after the score
	t:at("2026-03-20T09:00:00-07:00")
	clinic.contact(t, good)
	clinic.contact(t, bad)
	t:at("2026-03-23T09:00:00-07:00")
	clinic.score(t, good, 9) -- three days after the contact
	t:at("2026-03-24T09:00:00-07:00")
	clinic.score(t, bad, 18) -- four
	local function rate(name, numerator, denominator)
		local found = t:metric(name, "2026-03")
		t:equal(found.numerator, numerator, name)
		t:equal(found.denominator, denominator, name)
	end
	rate("cocm_two_contacts", 1, 2)
	rate("cocm_scored_contacts", 1, 3)
	local days = t:metric("cocm_days_to_improvement", "2026-03")
	t:equal(days.value, 21)
	t:equal(days.n, 1, "n stands beside it")
	local change = t:metric("cocm_mean_change", "2026-03")
	t:near(change.value, (-7 + 2) / 2)
	t:equal(change.n, 2)
	-- Two recommendations: one answered within three business days, one not.
	t:at("2026-03-25T09:00:00-07:00") -- Wednesday
	for _, patient in ipairs { good, bad } do
		t:as("psychiatrist")
		t:transition(clinic.task(t, "cocm", patient), "recommend", { recommendation = "Change" })
	end
	t:at("2026-03-30T08:59:00-07:00")
	t:as("doctor")
	t:transition(clinic.task(t, "cocm_recommendation", good), "accept", {})
	t:at("2026-03-31T09:00:00-07:00")
	t:as("doctor")
	t:transition(clinic.task(t, "cocm_recommendation", bad), "accept", {})
	rate("cocm_recommendations_answered", 1, 2)
	t:equal(t:metric("cocm_billable_months", "2026-W13").value, nil, "a week has no statement")
end)

test("2.4: from 2026 on a health center bills the component codes", function (t)
	clinic.open(t, "2026-01-05T09:00:00-08:00", { site = "fqhc" })
	local patient = clinic.enrol(t, "Rivera")
	t:advance("4 hours")
	t:as("care")
	t:equal(clinic.minutes(t, patient, { action = "enter", minutes = 70, activity = "intervention" }).codes, "99492")
end)

test("2.4: not in the month of a code that somebody else charged for the same patient", function (t)
	clinic.open(t, "2026-11-02T09:00:00-08:00")
	local patient = clinic.enrol(t, "Rivera")
	t:as("ehr")
	local item = {
		resourceType = "ChargeItem", status = "billed", subject = { reference = patient },
		code = { coding = { { code = "99484" } } }, occurrenceDateTime = "2026-11-01",
		performer = { { actor = { reference = "Practitioner/else" } } },
	}
	local charged = t:create(item)
	t:advance("4 hours")
	t:as("care")
	local found = clinic.minutes(t, patient, { action = "enter", minutes = 40, activity = "intervention" })
	t:equal(found.codes, "99492")
	t:equal(found.billable, false)
	t:ok(string.find(found.reason, "99484 was charged for the same month already", 1, true))
	t:as("ehr")
	item.id, item.status = string.sub(charged, 12), "entered-in-error"
	t:update(item)
	t:as("care")
	t:ok(not string.find(clinic.minutes(t, patient, { action = "show" }).reason or "", "99484", 1, true))
end)
