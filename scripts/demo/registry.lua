-- Hillside: a registry of patients in depression care, shared plans, the daily huddle, patients who were lost sight of.
-- luacheck: read globals demo
local tools, hillside = ...
local random, between, chance, pick, weighted, instant = tools.random, tools.between, tools.chance, tools.pick,
	tools.weighted, tools.instant
local is_open, clock, open_day, at, now, coding = tools.is_open, tools.clock, tools.open_day, tools.at, tools.now,
	tools.coding
local bundle, questionnaire, encounter, furnish, people_of, pacific = tools.bundle, tools.questionnaire,
	tools.encounter, tools.furnish, tools.people_of, tools.pacific
local DAY, MINUTE, start, first_day, answer_alert = tools.DAY, tools.MINUTE, tools.start, tools.first_day,
	tools.answer_alert

-- How the PHQ-9 goes over the weeks: starts at `first`, ends near first * share after `weeks`.
local ways = {
	{ 22, { share = 0.2, weeks = 18 } }, { 28, { share = 0.4, weeks = 14 } }, { 20, { share = 0.6, weeks = 16 } },
	{ 14, { share = 0.95, weeks = 20 } }, { 6, { share = 1.3, weeks = 12 } },
	{ 10, { share = 0.7, weeks = 10, quiet = true } },
}

local function score_at(member, seconds)
	local weeks = math.max(0, (seconds - member.enrolled) / (7 * DAY))
	local share = 1 + (member.way.share - 1) * math.min(1, weeks / member.way.weeks)
	return math.max(0, math.min(24, math.floor(member.first * share + between(-1, 1) + 0.5)))
end

local function local_day(seconds)
	return (seconds - pacific(seconds // DAY)) // DAY
end

local function hillside_time(day)
	return clock(pacific, day, between(9 * 60, 16 * 60))
end

-- One contact after another, some by phone; a PHQ-9 about every four weeks.
local function contact(member, day)
	at(hillside_time(day), function ()
		local length = between(15, 40) * MINUTE
		hillside:as("coordinator")
		hillside:create(encounter(member.patient, now() - length, now(), chance(0.5) and "VR" or "AMB"))
		if now() - member.scored > 24 * DAY or member.count < 2 and now() - member.scored > 13 * DAY then
			local alarming = chance(0.02)
			hillside:create(questionnaire(member.patient, score_at(member, now()), now(), { item9 = alarming and 1 or 0 }))
			member.scored, member.count = now(), member.count + 1
			if alarming then
				answer_alert(hillside, member.patient)
			end
		end
		if not (member.way.quiet and now() > member.enrolled + 6 * 7 * DAY) then
			contact(member, open_day(local_day(now()) + between(6, 18), 0))
		end
	end)
end

local function edit_section(member, principal, section, text)
	hillside:as("ehr")
	local plan
	for _, candidate in ipairs(hillside:search("CarePlan", { patient = member.patient, status = "active" })) do
		plan = "CarePlan/" .. candidate.id
	end
	if not plan then
		return
	end
	hillside:as(principal)
	hillside:operation("$edit-section", {
		resourceType = "Parameters", parameter = {
			{ name = "section", valueString = section }, { name = "text", valueString = text }, { name = "revision",
				valueInteger = 0 },
		},
	}, plan)
end

local function enroll(member)
	hillside:as("ehr")
	member.episode = hillside:create {
		resourceType = "EpisodeOfCare", status = "active", patient = { reference = member.patient },
		type = { coding("urn:careloop:episode", "depression-care", "Depression care") }, period = {
			start = instant(member.enrolled) },
		careManager = { reference = "Practitioner/hillside-coordinator" },
	}
	hillside:create {
		resourceType = "CareTeam", status = "active", name = "Whole team", subject = { reference = member.patient },
		participant = {
			{ member = { reference = "Practitioner/hillside-clinician" } }, { member = {
				reference = "Practitioner/hillside-coordinator" } },
		},
	}
	-- What was written before the demonstration begins: contacts and scores since the enrolment.
	local history = {}
	member.scored, member.count = 0, 0
	local moment = member.enrolled
	while moment < now() do
		history[#history + 1] = encounter(member.patient, moment, moment + 30 * MINUTE)
		if moment - member.scored > 27 * DAY then
			history[#history + 1] = questionnaire(member.patient, member.count == 0 and member.first or score_at(member,
				moment), moment)
			member.scored, member.count = moment, member.count + 1
		end
		if member.way.quiet and moment > member.enrolled + 6 * 7 * DAY then
			break
		end
		moment = moment + between(10, 20) * DAY
	end
	if member.count == 0 then
		history[#history + 1] = questionnaire(member.patient, member.first, now())
		member.scored, member.count = now(), 1
	end
	hillside:as("ehr")
	bundle(hillside, history)
	if chance(0.7) then
		edit_section(member, "coordinator", "goals", pick { "Sleep through the night", "Back to work by spring",
			"Play with the children" })
	end
	if chance(0.5) then
		edit_section(member, "clinician", "behavioral", "Behavioral activation, weekly; problem solving from week 4")
	end
	contact(member, open_day(local_day(now()) + between(1, 12), 0))
end

-- Who must be called, whose plan is due: some of it each day, as in life.
local function daily_work(day)
	at(clock(pacific, day, 13 * 60), function ()
		hillside:as("coordinator")
		for _, task in ipairs(hillside:search("Task", { code = "outreach", status = "requested", _count = 50 })) do
			if chance(0.35) then
				local event = chance(0.45) and "reached" or "attempt"
				hillside:transition(task.id, event, event == "attempt" and { channel = pick { "phone", "text", "letter" } } or {})
			end
		end
		for _, task in ipairs(hillside:search("Task", { code = "plan_review", status = "requested", _count = 50 })) do
			if chance(0.25) then
				hillside:transition(task.id, chance(0.8) and "reviewed" or "reviewed_high_risk", {
					note = "Reviewed with the patient" })
			end
		end
	end)
end

local function huddle(day)
	if chance(0.12) then
		return -- nobody held it: the clock says so
	end
	at(clock(pacific, day, 7 * 60 + between(20, 120)), function ()
		hillside:as("coordinator")
		local prepared = hillside:search("Task", { code = "huddle", status = "ready" })[1]
		if not prepared then
			return
		end
		hillside:transition(prepared.id, "open", {})
		at(now() + between(10, 25) * MINUTE, function ()
			hillside:as("coordinator")
			if hillside:state(prepared.id) == "in_session" then
				hillside:transition(prepared.id, "close", { present = "care manager, clinician, consultant",
					note = "Short list today" })
			end
			for _, task in ipairs(hillside:search("Task", { code = "huddle_item", status = "requested,on-hold",
				_count = 50 })) do
				at(now() + between(30, 8 * 60) * MINUTE, function ()
					hillside:as("coordinator")
					local state = hillside:state(task.id)
					if state == "open" or state == "carried" then
						local roll = random()
						if roll < 0.7 then
							hillside:transition(task.id, "done", { result = pick { "Called; next visit booked", "Medication discussed",
								"Score taken", "Left a message" } })
						elseif roll < 0.78 then
							hillside:transition(task.id, "drop", { reason = "seen yesterday" })
						elseif roll < 0.88 and state == "open" then
							hillside:transition(task.id, "carry_over", { reason = "not reached today" })
						end
					end
				end)
			end
		end)
	end)
end

local function plan()
	furnish(hillside, "Hillside Integrated Care", { coordinator = "Caremanager", clinician = "Clinician",
		manager = "Manager" })
	local patients = people_of(hillside, "hillside", 40)
	for number = 1, 32 do
		local member = { patient = patients[number], first = between(11, 22), way = weighted(ways) }
		if number <= 12 then -- long in care: their 240th day falls into these two months
			member.enrolled = start - between(184, 236) * DAY
		elseif number <= 22 then
			member.enrolled = start - between(7, 60) * DAY
		else
			member.enrolled = start + between(1, 45) * DAY
		end
		if member.enrolled < start then
			enroll(member)
		else
			at(hillside_time(open_day(local_day(member.enrolled), 0)), function ()
				member.enrolled = now()
				enroll(member)
			end)
		end
	end
	local charges = {}
	for _, patient in ipairs(patients) do
		for month = -1, 1 do
			for _ = 1, between(1, 3) do
				charges[#charges + 1] = {
					resourceType = "ChargeItem", status = "billable", code = { text = "Service" }, subject = { reference = patient },
					occurrenceDateTime = instant(start + (month * 30 + between(1, 28)) * DAY),
					priceOverride = { value = between(40, 420), currency = "USD" },
				}
			end
		end
	end
	hillside:as("ehr")
	bundle(hillside, charges)
	for day = first_day, first_day + 56 do
		if is_open(day) then
			huddle(day)
			daily_work(day)
		end
	end
end

plan()
