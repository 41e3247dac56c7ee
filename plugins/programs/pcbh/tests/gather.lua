-- The GATHER measures, letter by letter, and same-day billing (domain 2.6, 2.7, 3.4).
local clinic = require "tests/clinic"

local function rate(t, name, month, numerator, denominator)
	local found = t:metric(name, month)
	t:equal(found.numerator, numerator, name)
	t:equal(found.denominator, denominator, name)
end

-- A medical visit now, asked for and seen `wait` minutes later.
local function seen(t, family, wait, more)
	local patient = clinic.patient(t, family)
	clinic.medical(t, patient)
	local task = clinic.ask(t, patient)
	t:advance(wait .. " minutes")
	clinic.visit(t, task, more)
	return patient, task
end

test("2.7: nothing to count is no value, not zero", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	for _, name in ipairs { "general", "reasons_seen", "first_same_day", "requests_same_day", "minutes_to_visit",
		"third_next_available", "provider_initiated", "feedback_same_day", "huddles_attended", "reach", "visits_a_day",
		"teaching", "self_rating", "screened", "positive_same_day", "same_day_paid", "function_improved" } do
		t:equal(t:metric("pcbh_" .. name, "2026-11").value, nil, name)
	end
end)

test("2.7 G, A, T, H: over a month", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local first, task = seen(t, "First", 30, { summary = "told" })
	seen(t, "Second", 50, { reason = "anxiety", intervention = "relaxation", initiated = "patient" })
	t:advance("2 days")
	clinic.visit(t, task, { reason = "diabetes", intervention = "goal setting", initiated = "none", summary = "told" })
	local third = clinic.ask(t, clinic.patient(t, "Third"))
	t:advance("1 day")
	clinic.visit(t, third, { reason = "depression", intervention = "education" }) -- no medical visit that day
	local fourth = clinic.patient(t, "Fourth")
	clinic.medical(t, fourth)
	rate(t, "pcbh_general", "2026-11", 2, 4)
	t:equal(t:metric("pcbh_reasons_seen", "2026-11").value, 4)
	rate(t, "pcbh_first_same_day", "2026-11", 2, 3)
	rate(t, "pcbh_requests_same_day", "2026-11", 2, 3)
	t:near(t:metric("pcbh_minutes_to_visit", "2026-11").value, 50, 0.01)
	rate(t, "pcbh_provider_initiated", "2026-11", 2, 3)
	rate(t, "pcbh_feedback_same_day", "2026-11", 2, 4)
	rate(t, "pcbh_reach", "2026-11", 2, 3)
	t:equal(t:metric("pcbh_visits_a_day", "2026-11").value, nil, "off unless the clinic wants it")
	-- A visit entered in error counts nowhere.
	t:as("ehr")
	local encounter = t:search("Encounter", { patient = first, type = "consultant-visit", _sort = "date" })[1]
	encounter.status = "entered-in-error"
	t:update(encounter)
	rate(t, "pcbh_general", "2026-11", 1, 3)
end)

test("3.4: productivity is shown where it is asked for", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00", { show_productivity = true })
	seen(t, "First", 30)
	seen(t, "Second", 30)
	t:advance("1 day")
	seen(t, "Third", 30)
	rate(t, "pcbh_visits_a_day", "2026-11", 3, 2)
end)

test("2.7 A: the third free slot, sampled on Mondays", function (t)
	clinic.open(t, "2026-11-01T09:00:00-06:00") -- Sunday
	t:as("ehr")
	local schedule = t:create { resourceType = "Schedule", actor = { { reference = "Practitioner/consultant" } } }
	for _, day in ipairs { "02", "04", "05", "20" } do
		t:create {
			resourceType = "Slot", schedule = { reference = schedule }, status = day == "04" and "busy" or "free",
			start = "2026-11-" .. day .. "T10:00:00-06:00", ["end"] = "2026-11-" .. day .. "T10:15:00-06:00",
			serviceType = { { coding = { { code = "bhc" } } } },
		}
	end
	t:at("2026-11-02T12:00:00-06:00")
	local found = t:metric("pcbh_third_next_available", "2026-11")
	t:equal(found.value, 18, "2, 5 and 20 November")
	t:equal(found.n, 1)
	t:at("2026-11-09T12:00:00-06:00")
	t:equal(t:metric("pcbh_third_next_available", "2026-11").n, 1, "without a third slot nothing is sampled")
end)

test("2.7 T, E: huddles, consults, trainings and self-ratings are counted by hand, within their range", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	t:as("consultant")
	local function log(kind, value)
		return t:operation("$pcbh-log", { resourceType = "Parameters", parameter = {
			{ name = "kind", valueString = kind }, value and { name = "value", valueInteger = value } or nil,
		} })
	end
	log("huddle", 1)
	log("huddle", 0)
	log("huddle", 1)
	log("consult")
	log("training")
	log("self-rating", 7)
	log("self-rating", 8)
	t:refused(function ()
		log("self-rating", 11)
	end, "rule pcbh.log")
	t:refused(function ()
		log("lunch")
	end, "kind is")
	rate(t, "pcbh_huddles_attended", "2026-11", 2, 3)
	t:equal(t:metric("pcbh_teaching", "2026-11").value, 2)
	t:near(t:metric("pcbh_self_rating", "2026-11").value, 7.5)
end)

test("2.7 R: screened visits; positive screens with contact the same day", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local function screen(patient, total)
		t:as("ehr")
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = patient }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = "44261-6" } } }, valueQuantity = { value = total },
		}
	end
	local patient = seen(t, "First", 30)
	screen(patient, 10)
	local other = clinic.patient(t, "Other")
	clinic.medical(t, other)
	screen(other, 15)
	local calm = clinic.patient(t, "Calm")
	clinic.medical(t, calm)
	screen(calm, 9)
	clinic.medical(t, clinic.patient(t, "Never"))
	rate(t, "pcbh_screened", "2026-11", 3, 4)
	rate(t, "pcbh_positive_same_day", "2026-11", 1, 2)
end)

test("months end in the practice's zone, over the change of clocks and a leap day", function (t)
	clinic.open(t, "2026-10-31T23:30:00-05:00")
	local late = clinic.ask(t, clinic.patient(t, "Late"))
	t:advance("25 minutes")
	clinic.visit(t, late) -- 31 October here, 1 November in UTC
	t:at("2026-11-01T02:30:00-06:00") -- after the hour that came twice
	local early = clinic.ask(t, clinic.patient(t, "Early"))
	clinic.visit(t, early, { minutes = 60, start = "2026-11-01T01:00:00-05:00" }) -- the first of both
	rate(t, "pcbh_general", "2026-10", 1, 1)
	rate(t, "pcbh_general", "2026-11", 1, 1)
	t:at("2028-02-29T23:50:00-06:00")
	clinic.visit(t, clinic.ask(t, clinic.patient(t, "Leap")))
	rate(t, "pcbh_general", "2028-02", 1, 1)
	t:equal(t:metric("pcbh_general", "2028-03").value, nil)
end)

test("2.7: feedback after midnight is not of the same day", function (t)
	clinic.open(t, "2026-11-02T16:55:00-06:00")
	local patient = seen(t, "Rivera", 10) -- ended at 17:05
	local owed = clinic.task(t, "pcbh_visit", patient)
	t:equal(t:instance(owed).due, "2026-11-03T00:05:00.000Z", "after closing: within the hour")
	t:at("2026-11-03T00:10:00-06:00")
	t:as("consultant")
	t:transition(owed, "give_feedback", { summary = "late" })
	rate(t, "pcbh_feedback_same_day", "2026-11", 0, 1)
end)

test("2.6: same-day billing by dated rules of the payer; without a rule it is said, not guessed", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00", {
		site = "fqhc", payer_names = { ["Organization/state"] = "medicaid" },
		same_day_rules = {
			{ payer = "medicaid", like = "capped", from = "2026-01-01", source = "manual" },
			{ payer = "Organization/plan", like = "single" },
		},
	})
	local function covered(family, payor)
		local patient = seen(t, family, 30)
		t:as("ehr")
		t:create {
			resourceType = "Coverage", status = "active", beneficiary = { reference = patient },
			payor = { { reference = payor } },
		}
	end
	covered("Paid", "Organization/state")
	covered("Not", "Organization/plan")
	covered("Unknown", "Organization/else")
	seen(t, "Nobody", 30)
	clinic.visit(t, clinic.ask(t, clinic.patient(t, "Alone")), { start = "2026-11-02T08:00:00-06:00" })
	rate(t, "pcbh_same_day_paid", "2026-11", 1, 2)
	t:as("consultant")
	local rows = {}
	for _, row in ipairs(t:view("pcbh_same_day")) do
		rows[row.patient_name] = row
	end
	t:equal(rows.Paid.decision, "paid")
	t:equal(rows.Paid.modifier, "59")
	t:equal(rows.Not.decision, "not paid")
	t:equal(rows.Not.reason, "one visit a day")
	t:equal(rows.Unknown.decision, "no rule")
	t:equal(rows.Nobody.reason, "no same-day rule for payer '(none)' on 2026-11-02")
	t:equal(rows.Alone, nil, "no medical visit that day")
end)

test("outcome: the last score against the first, by the change that counts, the way round that it is read", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local function course(kind, from, to)
		local task = clinic.ask(t, clinic.patient(t, kind .. from))
		clinic.visit(t, task, { score_kind = kind, score = from })
		t:advance("7 days")
		clinic.visit(t, task, { score_kind = kind, score = to })
		t:as("consultant")
		t:transition(task, "back", { goal = "goal met" })
		t:advance("1 hour")
	end
	course("function_0_10", 4, 6) -- 2 counts
	course("function_0_10", 5, 6) -- 1 does not
	course("interference", 8, 6) -- lower is better
	local once = clinic.ask(t, clinic.patient(t, "Once"))
	t:advance("1 hour")
	clinic.visit(t, once)
	t:as("consultant")
	t:transition(once, "back", { goal = "goal met" })
	rate(t, "pcbh_function_improved", "2026-11", 2, 3)
end)
