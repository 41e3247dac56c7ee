-- Three patients over eight weeks and more: flags, huddles, plan and measures.

local phq9 = { "44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8" }

local function team(t, at)
	t:at(at)
	t:organization {
		name = "Test Integrated Care", zone = "America/Los_Angeles", reference = "Organization/test",
		hours = { opens = "08:00", closes = "17:00", days = { "monday", "tuesday", "wednesday", "thursday", "friday" } },
		holidays = { "2026-09-07", "2026-10-12", "2026-11-11", "2026-11-26", "2026-12-25", "2027-01-01" },
		model = "integrated",
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			manager_of_care = { kind = "person", roles = { "care_manager" }, reference = "Practitioner/care-manager" },
			doctor = { kind = "person", roles = { "clinician" }, reference = "Practitioner/doctor" },
			consultant = { kind = "person", roles = { "behavioral_health_consultant" }, reference = "Practitioner/consultant" },
			psychiatrist = { kind = "person", roles = { "psychiatric_consultant" }, reference = "Practitioner/psychiatrist" },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
		},
	}
	t:as("ehr")
end

local function enrol(t, family)
	t:as("ehr")
	local patient = t:create { resourceType = "Patient", name = { { family = family } } }
	local episode = t:create {
		resourceType = "EpisodeOfCare", status = "active", patient = { reference = patient },
		type = { { coding = { { system = "urn:careloop:episode", code = "depression-care" } } } },
		careManager = { reference = "Practitioner/care-manager" }, period = { start = t:now() },
	}
	return patient, episode
end

-- A PHQ-9 with this total, item 9 at 0.
local function score(t, patient, total)
	local items = {}
	for number = 1, 8 do
		local value = math.min(3, total)
		total = total - value
		items[number] = { linkId = phq9[number], answer = { { valueInteger = value } } }
	end
	items[9] = { linkId = phq9[9], answer = { { valueInteger = 0 } } }
	t:as("ehr")
	return t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = t:now(), item = items,
	}
end

local function contact(t, patient)
	t:as("ehr")
	t:create {
		resourceType = "Encounter", status = "finished", subject = { reference = patient },
		class = { system = "http://terminology.hl7.org/CodeSystem/v3-ActCode", code = "VR" },
		period = { start = t:now(), ["end"] = t:now() },
	}
end

-- Active flags as a text: "new worsening".
local function flags(t, patient)
	t:as("ehr")
	local found = {}
	for _, flag in ipairs(t:search("Flag", { patient = patient, _count = 100 })) do
		if flag.status == "active" then
			found[#found + 1] = flag.code.coding[1].code
		end
	end
	table.sort(found)
	return table.concat(found, " ")
end

local function row(t, family)
	t:as("manager_of_care")
	for _, each in ipairs(t:view("registry")) do
		if each.patient_name == family then
			return each
		end
	end
end

test("eight weeks: who improves, who does not, who gets worse, who disappears", function (t)
	team(t, "2026-09-14T09:00:00-07:00") -- Monday, day 0
	local better = enrol(t, "Better")
	local same = enrol(t, "Same")
	local worse = enrol(t, "Worse")
	t:equal(flags(t, better), "new")
	score(t, better, 16)
	score(t, same, 15)
	score(t, worse, 12)

	t:at("2026-09-28T09:00:00-07:00") -- day 14
	contact(t, better)
	contact(t, same)
	contact(t, worse)
	score(t, worse, 17)
	t:equal(flags(t, worse), "new worsening", "five points worse is flagged at once")
	t:equal(row(t, "Worse").delta, 5)
	t:as("manager_of_care")
	t:equal(t:view("registry")[1].patient_name, "Worse", "the most urgent first")

	t:at("2026-10-12T09:00:00-07:00") -- day 28, week 4
	t:equal(flags(t, better), "score-due", "no longer new; the PHQ-9 is due")
	score(t, better, 11)
	score(t, same, 13)
	contact(t, better)
	contact(t, same)
	t:equal(flags(t, better), "", "5 points and 31 % better")
	t:equal(flags(t, same), "not-improving-early", "2 points better after four weeks")

	t:at("2026-10-27T09:00:00-07:00") -- day 43
	t:equal(flags(t, worse), "not-improving-early score-due stale worsening", "no contact for 28 days")

	t:at("2026-11-09T09:00:00-08:00") -- day 56, week 8, after the clocks changed
	score(t, better, 7)
	score(t, same, 12)
	contact(t, better)
	contact(t, same)
	t:equal(flags(t, better), "", "response: 7 is less than half of 16")
	t:equal(flags(t, same), "not-improving", "week 8 without response")
	t:equal(row(t, "Better").first, 16)
	t:equal(row(t, "Better").last, 7)
	t:equal(row(t, "Better").delta, -9)
	t:equal(row(t, "Better").weeks, 8)
	t:equal(row(t, "Better").last_contact, "2026-11-09")

	t:at("2026-11-30T09:00:00-08:00") -- day 77
	t:equal(flags(t, worse), "disengaged not-improving score-due worsening", "63 days after the last contact")
	t:as("ehr")
	local outreach = t:search("Task", { code = "outreach" })
	t:equal(#outreach, 1)
	t:as("manager_of_care")
	local task = "Task/" .. outreach[1].id
	t:refused(function ()
		t:transition(task, "give_up", {})
	end, "0 of 3")
	t:transition(task, "attempt", { channel = "phone" })
	t:equal(t:transition(task, "reached", { note = "wants to come back" }), "reached")
	t:equal(flags(t, worse), "not-improving score-due worsening", "reaching her is a contact")

	t:at("2026-12-01T09:00:00-08:00")
	local contacted = t:metric("contacted_30_days", "2026-11")
	t:equal(contacted.numerator, 3, "the third was reached on the last day")
	t:equal(contacted.denominator, 3)
	local early = t:metric("phq9_five_points_9_weeks", "2026-11")
	t:equal(early.numerator, 1)
	t:equal(early.denominator, 3)
	t:equal(t:metric("phq9_response", "2026-11").denominator, nil, "no 240th day yet: nothing is said")
end)

test("response and remission are counted in the month of the 240th day", function (t)
	team(t, "2026-09-14T09:00:00-07:00")
	local first = enrol(t, "First")
	local second = enrol(t, "Second")
	local third = enrol(t, "Third")
	local mild = enrol(t, "Mild")
	score(t, first, 16)
	score(t, second, 15)
	score(t, third, 12)
	score(t, mild, 9)
	t:at("2027-02-15T09:00:00-08:00") -- day 154
	score(t, first, 6)
	score(t, second, 4)
	score(t, mild, 2)
	t:at("2027-06-01T09:00:00-07:00")
	score(t, third, 3) -- day 260: too late
	local response = t:metric("phq9_response", "2027-05")
	t:equal(response.numerator, 2)
	t:equal(response.denominator, 3, "an index of 9 does not count")
	local remission = t:metric("phq9_remission", "2027-05")
	t:equal(remission.numerator, 1)
	t:equal(remission.denominator, 3)
end)

test("a prorated score shows in the registry and feeds no outcome", function (t)
	team(t, "2026-09-14T09:00:00-07:00")
	local patient = enrol(t, "Prorated")
	local items = {}
	for number = 1, 7 do
		items[number] = { linkId = phq9[number], answer = { { valueInteger = 2 } } }
	end
	t:create {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = "http://loinc.org/q/44249-1",
		subject = { reference = patient }, authored = t:now(), item = items,
	}
	t:equal(row(t, "Prorated").first, 18)
	t:at("2026-12-01T09:00:00-08:00")
	t:equal(t:metric("phq9_five_points_9_weeks", "2026-11").denominator, nil)
end)

test("when the episode ends, flags, plan review and outreach end with it", function (t)
	team(t, "2026-09-14T09:00:00-07:00")
	local patient, episode = enrol(t, "Done")
	score(t, patient, 15)
	t:at("2026-12-01T09:00:00-08:00")
	t:ok(flags(t, patient) ~= "")
	local ended = t:data(episode)
	ended.status = "finished"
	ended.period["end"] = "2026-12-01"
	t:update(ended)
	t:equal(flags(t, patient), "")
	t:as("ehr")
	for _, code in ipairs { "plan_review", "outreach" } do
		for _, task in ipairs(t:search("Task", { code = code })) do
			t:ok(task.status == "completed" or task.status == "cancelled", code .. " is over")
		end
	end
	t:as("manager_of_care")
	t:equal(#t:view("registry"), 0)
end)

-- ---- huddle ----

local function huddles(t)
	t:as("ehr")
	local dates = {}
	for _, each in ipairs(t:search("List", { _count = 200 })) do
		dates[string.sub(each.date, 1, 16)] = each
	end
	return dates
end

test("the huddle is made at seven local time on business days, through the clock change of autumn", function (t)
	team(t, "2026-10-30T06:00:00-07:00") -- Friday, daylight time
	t:advance("59 minutes")
	t:equal(next(huddles(t)), nil)
	t:advance("2 minutes")
	t:ok(huddles(t)["2026-10-30T14:00"], "07:00 daylight time is 14:00 UTC")
	t:advance("3 days") -- Monday, standard time
	local found = huddles(t)
	t:ok(found["2026-11-02T15:00"], "07:00 standard time is 15:00 UTC")
	local count = 0
	for _ in pairs(found) do
		count = count + 1
	end
	t:equal(count, 2, "none on the weekend")
	t:advance("10 days")
	for date in pairs(huddles(t)) do
		t:ok(string.sub(date, 1, 10) ~= "2026-11-11", "none on a holiday")
	end
end)

test("and in spring", function (t)
	team(t, "2027-03-12T06:00:00-08:00") -- Friday, standard time
	t:advance("3 days")
	t:advance("2 hours") -- Monday, daylight time
	local found = huddles(t)
	t:ok(found["2027-03-12T15:00"])
	t:ok(found["2027-03-15T14:00"])
end)

test("the huddle's patients become tasks of the day; what is not done is escalated, not lost", function (t)
	team(t, "2026-11-02T06:00:00-08:00")
	local patient = enrol(t, "Rivera")
	t:at("2026-11-02T07:30:00-08:00")
	t:as("ehr")
	local made = t:search("List", {})[1]
	t:equal(made.entry[1].item.reference, patient)
	t:equal(made.entry[1].flag.text, "new")
	local huddle = "Task/" .. t:search("Task", { code = "huddle" })[1].id
	local item = "Task/" .. t:search("Task", { code = "huddle_item" })[1].id
	t:equal(t:state(huddle), "prepared")
	t:equal(t:state(item), "open")
	t:as("manager_of_care")
	t:transition(huddle, "open", {})
	t:transition(item, "assign", { owner = { reference = "Practitioner/consultant" } })
	t:equal(t:data(item).owner.reference, "Practitioner/consultant")
	t:equal(t:transition(huddle, "close", { present = "all" }), "closed")
	t:at("2026-11-02T20:00:00-08:00")
	t:as("ehr")
	t:equal(#t:search("Task", { code = "escalation" }), 1)
	t:at("2026-11-03T09:00:00-08:00")
	t:equal(#t:search("Task", { code = "huddle_item" }), 1, "the open task is not made twice")
	t:equal(#t:search("List", {}), 2)
	t:as("consultant")
	t:refused(function ()
		t:transition(item, "done", {})
	end, "result")
	t:equal(t:transition(item, "done", { result = "called; first visit booked" }), "done")
end)

test("a huddle that is not held is said to be missed; its tasks stay", function (t)
	team(t, "2026-11-02T06:00:00-08:00")
	enrol(t, "Rivera")
	t:advance("17 hours")
	t:as("ehr")
	local huddle = "Task/" .. t:search("Task", { code = "huddle" })[1].id
	t:equal(t:state(huddle), "missed")
	t:equal(t:search("Task", { code = "huddle_item" })[1].status, "requested")
end)

-- ---- the shared plan ----

local function edit(t, plan, section, text, revision)
	return t:operation("$edit-section", {
		resourceType = "Parameters", parameter = {
			{ name = "section", valueString = section }, { name = "text", valueString = text },
			{ name = "revision", valueInteger = revision },
		},
	}, plan)
end

local function plan_of(t, patient)
	t:as("ehr")
	local found = t:search("CarePlan", { patient = patient })
	t:equal(#found, 1)
	return "CarePlan/" .. found[1].id
end

local function section_of(t, plan, name)
	t:as("ehr")
	for _, activity in ipairs(t:data(plan).activity) do
		if activity.id == name then
			return activity
		end
	end
end

test("sections belong to roles; two edits of one section do not overwrite each other", function (t)
	team(t, "2026-11-02T09:00:00-08:00")
	local patient = enrol(t, "Rivera")
	local plan = plan_of(t, patient)
	t:as("doctor")
	edit(t, plan, "medication", "Sertraline 50 mg", 0)
	t:equal(section_of(t, plan, "medication").detail.description, "Sertraline 50 mg")
	t:as("doctor")
	t:refused(function ()
		edit(t, plan, "behavioral", "not mine", 0)
	end, "belongs to behavioral_health_consultant")
	-- The consultant read the plan before the doctor wrote: another section is no conflict.
	t:as("consultant")
	edit(t, plan, "behavioral", "Weekly activation plan", 0)
	t:as("doctor")
	t:refused(function ()
		edit(t, plan, "medication", "Sertraline 100 mg", 0)
	end, "conflict")
	t:equal(section_of(t, plan, "medication").detail.description, "Sertraline 50 mg")
	t:as("doctor")
	edit(t, plan, "medication", "Sertraline 100 mg", 1)
	t:equal(section_of(t, plan, "medication").detail.description, "Sertraline 100 mg")
	t:as("doctor")
	t:refused(function ()
		edit(t, plan, "diet", "x", 0)
	end, "medication")
end)

test("plans are reviewed every 90 days, at high risk every 30", function (t)
	team(t, "2026-09-14T09:00:00-07:00")
	local patient = enrol(t, "Rivera")
	enrol(t, "Other")
	t:as("ehr")
	local review
	for _, task in ipairs(t:search("Task", { code = "plan_review" })) do
		if task["for"].reference == patient then
			review = "Task/" .. task.id
		end
	end
	t:as("doctor")
	t:equal(t:transition(review, "reviewed_high_risk", {}), "high_risk")
	t:at("2026-10-15T09:00:00-07:00")
	t:equal(t:state(review), "due")
	local october = t:metric("plan_reviewed_on_time", "2026-10")
	t:equal(october.numerator, 1)
	t:equal(october.denominator, 2)
	t:as("boss")
	t:equal(#t:view("plans_due"), 1)
	t:as("doctor")
	t:equal(t:transition(review, "reviewed", {}), "current")
	t:equal(t:metric("plan_reviewed_on_time", "2026-10").numerator, 2)
	t:at("2027-01-14T09:00:00-08:00")
	t:equal(t:state(review), "due", "ninety days later")
end)

test("Hillside, as shipped, loads and works", function (t)
	t:at("2026-11-02T06:30:00-08:00")
	t:organization("hillside")
	local patient = enrol(t, "Rivera")
	score(t, patient, 14)
	t:as("coordinator")
	t:equal(t:view("registry")[1].first, 14)
	t:advance("1 hour")
	t:equal(#t:view("huddle_today"), 1)
	t:as("manager")
	t:equal(#t:view("plans_due"), 0)
end)

-- ---- money ----

test("cost for each member and month comes from charges and coverages", function (t)
	team(t, "2026-11-02T09:00:00-08:00")
	local function member(period)
		local patient = t:create { resourceType = "Patient", name = { { family = "Member" } } }
		t:create {
			resourceType = "Coverage", status = "active", beneficiary = { reference = patient },
			payor = { { reference = "Organization/plan" } }, period = period,
		}
		return patient
	end
	local function charge(patient, amount, on, status)
		t:create {
			resourceType = "ChargeItem", status = status or "billable", code = { text = "visit" },
			subject = { reference = patient },
			occurrenceDateTime = on, priceOverride = { value = amount, currency = "USD" },
		}
	end
	local patient = member { start = "2026-01-01" }
	member { start = "2026-11-15" }
	member { start = "2026-11-16" } -- not yet on the 15th
	member { start = "2026-01-01", ["end"] = "2026-11-14" } -- no longer
	t:equal(t:metric("cost_pmpm", "2026-11").value, nil, "without charges nothing is said")
	charge(patient, 150.50, "2026-11-01")
	charge(patient, 49.50, "2026-11-30T10:00:00-08:00")
	charge(patient, 999, "2026-10-31T23:00:00-07:00")
	charge(patient, 999, "2026-11-10", "entered-in-error")
	local cost = t:metric("cost_pmpm", "2026-11")
	t:near(cost.value, 100, 0.001)
	t:equal(cost.n, 2)
	t:equal(t:metric("capitation_margin_pmpm", "2026-11").value, nil, "no capitation is stated")
end)
