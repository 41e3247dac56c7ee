-- Lakeside: screens, warm handoffs within the hour, brief visits, feedback; calls the next day when nobody was free.
-- luacheck: read globals demo
local tools, lakeside = ...
local between, chance, pick, instant, weekday, is_open = tools.between, tools.chance, tools.pick, tools.instant,
	tools.weekday, tools.is_open
local clock, open_day, at, now, coding, bundle = tools.clock, tools.open_day, tools.at, tools.now, tools.coding,
	tools.bundle
local questionnaire, encounter, furnish, people_of, put, central = tools.questionnaire, tools.encounter, tools.furnish,
	tools.people_of, tools.put, tools.central
local MINUTE, first_day, answer_alert = tools.MINUTE, tools.first_day, tools.answer_alert
local work_time, today = tools.work_time, tools.today

local lakeside_patients
local in_handoff = {}

local function handoff_event(task, principal, state, event, data)
	lakeside:as(principal)
	if lakeside:state(task) ~= state then
		return false
	end
	lakeside:transition(task, event, data or {})
	return true
end

-- Reason, intervention and score of a brief visit; now and then back to primary care.
local function document(patient, before)
	lakeside:as("ehr")
	for _, owed in ipairs(lakeside:search("Task", { code = "pcbh_visit", patient = patient, status = "in-progress" })) do
		local task = "Task/" .. owed.id
		if lakeside:state(task) == "document" then
			lakeside:as("clinician")
			-- One person plays all consultants here: two visits at one time are refused, and stay to be sorted out.
			local written = pcall(lakeside.transition, lakeside, task, "document", {
				reason = pick { "sleep", "anxiety", "depression", "diabetes", "pain", "stress", "tobacco", "sleep" },
				intervention = pick { "sleep habits", "relaxation", "behavioral activation", "goal setting", "education" },
				minutes = between(14, 28), score_kind = "function_0_10", score = math.min(10, between(2, 6) + before),
				initiated = pick { "warm handoff", "warm handoff", "screening" }, more = "still waits for specialty care",
			})
			if not written then
				lakeside:transition(task, "no_visit", { reason = "written down with the other patient's" })
			elseif chance(0.35) then
				for _, episode in ipairs(lakeside:search("Task", { code = "pcbh", patient = patient, status = "in-progress" })) do
					lakeside:transition("Task/" .. episode.id, "back", { goal = pick { "goal met", "goal partly met" } })
				end
			end
		end
	end
end

local function after_visit(task, patient)
	at(now() + between(91, 150) * MINUTE, function ()
		document(patient, between(0, 4))
	end)
	at(now() + between(5, 90) * MINUTE, function ()
		handoff_event(task, "clinician", "feedback", "give_feedback", {
			summary = pick { "Low mood after a loss; two further visits.", "Sleep plan agreed.",
				"Panic explained; breathing practised.",
				"Needs more than brief visits." },
			plan = pick { "consultant visit", "primary care", "none", "consultant visit" }, minutes = between(2, 6),
		})
		at(now() + between(10, 60 * 20) * MINUTE, function ()
			in_handoff[patient] = nil
			if tools.near_end() and chance(0.6) then
				return -- still to be booked
			end
			if chance(0.7) then
				handoff_event(task, "coordinator", "follow_up", "booked", { start = instant(clock(central, open_day(today(), 7),
					9 * 60)) })
			else
				handoff_event(task, "coordinator", "follow_up", "nothing_to_book")
			end
		end)
	end)
end

local function consultant_visit(task, patient)
	at(now() + between(1, 4) * MINUTE, function ()
		if handoff_event(task, "clinician", "arrived", "start_visit", { mode = chance(0.85) and "room" or "video" }) then
			at(now() + between(14, 28) * MINUTE, function ()
				if handoff_event(task, "clinician", "visit", "end_visit", { minutes = between(14, 28) }) then
					after_visit(task, patient)
				end
			end)
		end
	end)
end

local function call_later(task, patient, attempts)
	at(work_time(open_day(today() + 1, 0)), function ()
		if attempts > 0 and chance(0.4) then
			if handoff_event(task, "clinician", "phone_due", "no_answer") then
				call_later(task, patient, attempts - 1)
			end
		elseif handoff_event(task, "clinician", "phone_due", "reached", { minutes = between(6, 15) }) then
			after_visit(task, patient)
		end
	end)
end

local function fall_back(task, patient)
	at(now() + between(2, 8) * MINUTE, function ()
		lakeside:as("coordinator")
		if lakeside:state(task) ~= "fallback" then
			return
		end
		handoff_event(task, "coordinator", "fallback", "call_later")
		call_later(task, patient, 2)
	end)
end

local function answer_handoff(task, patient)
	if chance(0.15) then -- nobody answers: the clock calls the front desk, then offers another way
		at(now() + 12 * MINUTE, function ()
			fall_back(task, patient)
		end)
		return
	end
	at(now() + between(1, 4) * MINUTE, function ()
		if handoff_event(task, "clinician", "requested", "acknowledge") then
			at(now() + between(2, 12) * MINUTE, function ()
				if handoff_event(task, "clinician", "acknowledged", "arrive") then
					consultant_visit(task, patient)
				end
			end)
		else
			fall_back(task, patient)
		end
	end)
end

local function lakeside_visit(moment)
	at(moment, function ()
		local patient = pick(lakeside_patients)
		if in_handoff[patient] then
			return
		end
		in_handoff[patient] = true
		lakeside:as("ehr")
		local visit = lakeside:create(encounter(patient, now()))
		local began = now()
		at(now() + between(35, 55) * MINUTE, function ()
			lakeside:as("ehr")
			local finished = encounter(patient, began, now())
			finished.id = visit:match("/(.*)$")
			lakeside:update(finished)
		end)
		if not chance(0.82) then -- not screened; now and then the clinician asks all the same
			if chance(0.15) then
				at(now() + between(8, 20) * MINUTE, function ()
					lakeside:as("clinician")
					local task = lakeside:operation("$handoff", {
						resourceType = "Parameters", parameter = { { name = "reason", valueString = "tearful, not sleeping" } },
					}, visit)
					answer_handoff("Task/" .. task.id, patient)
				end)
			else
				in_handoff[patient] = nil
			end
			return
		end
		at(now() + between(3, 8) * MINUTE, function ()
			local alarming = chance(0.03)
			lakeside:as("coordinator")
			lakeside:create(questionnaire(patient, chance(0.62) and between(0, 9) or between(10, 21), now(),
				{ encounter = visit, item9 = alarming and 1 or 0 }))
			if alarming then
				answer_alert(lakeside, patient)
			end
			local offered = lakeside:search("Task", { code = "handoff", patient = patient, status = "ready" })[1]
			if not offered then
				in_handoff[patient] = nil
				return
			end
			local task = "Task/" .. offered.id
			at(now() + between(3, 18) * MINUTE, function ()
				if chance(0.13) then
					handoff_event(task, "clinician", "offered", "decline", { note = "Not today" })
					in_handoff[patient] = nil
				elseif handoff_event(task, "clinician", "offered", "request", { reason = "positive screen" }) then
					answer_handoff(task, patient)
				else
					in_handoff[patient] = nil
				end
			end)
		end)
	end)
end

-- The consultants' free quarters of an hour, a week ahead: at every full and half hour.
local function slots_of_week(schedule, monday)
	local slots = {}
	for day = monday, monday + 4 do
		for half = 0, 15 do
			local from = clock(central, day, 9 * 60 + half * 30)
			if is_open(day) and half ~= 6 and half ~= 7 and from > now() then -- not at lunch
				slots[#slots + 1] = {
					resourceType = "Slot", status = chance(0.12) and "busy" or "free", schedule = { reference = schedule },
					serviceType = { coding("urn:careloop:slot", "bhc", "Behavioral health consultant") },
					start = instant(from), ["end"] = instant(from + 15 * MINUTE),
				}
			end
		end
	end
	lakeside:as("ehr")
	if #slots > 0 then
		bundle(lakeside, slots)
	end
end

local function plan()
	furnish(lakeside, "Lakeside Behavioral Health", { coordinator = "Coordinator", clinician = "Consultant",
		manager = "Manager" })
	put(lakeside, { resourceType = "Organization", id = "riverside", active = true, name = "Riverside Family Practice" })
	lakeside_patients = people_of(lakeside, "lakeside", 40)
	local schedule = lakeside:create {
		resourceType = "Schedule", active = true,
		actor = { { reference = "Practitioner/lakeside-clinician", display = "Consultant of the day" } },
	}
	local monday = first_day - weekday(first_day)
	for week = 0, 8 do
		at(clock(central, monday + week * 7 - 3, 6 * 60), function ()
			slots_of_week(schedule, monday + week * 7)
		end)
	end
	for day = first_day, first_day + 56 do
		if is_open(day) then
			for _ = 1, between(4, 7) do
				lakeside_visit(clock(central, day, between(9 * 60, 15 * 60 + 30)))
			end
		end
	end
end

plan()
