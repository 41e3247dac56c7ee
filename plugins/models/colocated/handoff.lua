-- The warm handoff (domain.md section 2.7): from the primary care clinician's request to feedback and follow-up, in
-- minutes. The clocks have no outside authority [d]: they are settings. Evidence on handoffs is mixed; they are
-- measured, not assumed.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"
local screens = require "lib/screens"
local scrub = require "scrub"
local team = require "lib/team"

local handoff = {}

local function minutes()
	return { "integer", optional = true, help = "Minutes spent" }
end

-- The machine. `declare` carries `setting`, `escalate` and `fire`.
function handoff.workflow(declare)
	local setting, escalate, fire = declare.setting, declare.escalate, declare.fire
	local consultant, clinic = "behavioral_health_consultant", { "clinician", "medical_assistant", "front_desk" }
	local anybody = { "clinician", "medical_assistant", "front_desk", consultant }
	local decline = {
		"declined", by = anybody, needs = { note = { "string", optional = true } }, help = "The patient does not want it",
	}
	local withdraw = { "withdrawn", by = clinic, needs = { "reason" }, help = "Asked for by mistake, or no longer needed" }
	local nobody_free = {
		"fallback", by = { consultant, "front_desk", "clock" }, help = "No consultant can come in time",
	}
	return {
		summary = "A patient is handed over to a behavioral health consultant during the visit", start = "offered",
		single = true,
		offered = {
			status = "ready", owner = "clinician", action = "Offer the patient a meeting with the consultant now",
			within = setting "offer_within",
			overdue = escalate("medical_assistant", { again = "30 minutes", times = 2, finally = "no_offer" }),
			on = {
				request = {
					"requested", by = clinic, needs = { reason = { "string", optional = true } }, help = "Call the consultant",
				},
				decline = decline, withdraw = withdraw,
				no_offer = { "phone_due", by = "clock", help = "Nobody offered it; the patient is called" },
			},
		},
		requested = {
			status = "requested", owner = consultant, action = "Answer: can you come?", within = setting "acknowledge_within",
			overdue = escalate("front_desk", { again = "5 minutes", times = 1, finally = "nobody_free" }),
			on = {
				acknowledge = { "acknowledged", by = consultant, help = "I am coming" },
				nobody_free = nobody_free, decline = decline, withdraw = withdraw,
			},
		},
		acknowledged = {
			status = "accepted", owner = consultant, action = "Go to the room, or join the video",
			within = setting "arrive_within",
			overdue = escalate("front_desk", { again = "10 minutes", times = 1, finally = "nobody_free" }),
			on = {
				arrive = {
					"arrived", by = { consultant, "front_desk", "medical_assistant" }, help = "The consultant is with the patient",
				},
				nobody_free = nobody_free, decline = decline, withdraw = withdraw,
			},
		},
		arrived = {
			status = "in-progress", owner = consultant, action = "Be introduced in front of the patient, then begin",
			within = setting "introduce_within", overdue = escalate(consultant),
			on = {
				start_visit = {
					"visit", by = consultant, needs = { mode = { "choice", "room", "video", optional = true } },
					help = "Introduced; the primary care clinician leaves",
				},
				decline = decline,
			},
		},
		visit = {
			status = "in-progress", owner = consultant, action = "Brief visit", within = setting "visit_within",
			overdue = escalate(consultant),
			on = { end_visit = { "feedback", by = consultant, needs = { minutes = minutes() }, help = "The visit is over" } },
		},
		feedback = {
			status = "in-progress", owner = consultant, action = "Tell the primary care clinician what was found and agreed",
			within = setting "feedback_within", overdue = escalate(consultant),
			on = {
				give_feedback = {
					"follow_up", by = consultant,
					needs = {
						summary = { "string", help = "What was found and agreed, for the primary care clinician" },
						plan = { "choice", "consultant visit", "primary care", "referral", "collaborative care", "none" },
						minutes = minutes(),
					},
					help = "Feedback goes to the primary care clinician today",
				},
			},
		},
		follow_up = {
			status = "in-progress", owner = "front_desk", action = "Book what was agreed", within = setting "follow_up_within",
			overdue = escalate("front_desk"),
			on = {
				booked = { "completed", by = anybody, needs = { start = "dateTime" }, help = "The next visit has a time" },
				handed_on = { "completed", by = anybody, needs = { to = "string" }, help = "Referred or enrolled elsewhere" },
				nothing_to_book = { "completed", by = anybody, help = "No further visit was agreed" },
			},
		},
		fallback = {
			status = "on-hold", owner = "front_desk", action = "Offer a slot today, else promise a call within a day",
			within = setting "fallback_within", overdue = fire "call_later",
			on = {
				acknowledge = { "acknowledged", by = consultant, help = "Somebody has become free" },
				book_slot = {
					"slot_booked", by = { "front_desk", "medical_assistant" }, needs = { slot = "reference" },
					guard = handoff.slot_is_today, help = "A slot later today",
				},
				call_later = { "phone_due", by = { "front_desk", "clock" }, help = "The patient is called within a day" },
				decline = decline, withdraw = withdraw,
			},
		},
		slot_booked = {
			status = "on-hold", owner = consultant, action = "See the patient in today's slot", within = setting "slot_within",
			overdue = fire "missed",
			on = {
				arrive = { "arrived", by = { consultant, "front_desk", "medical_assistant" } },
				missed = {
					"phone_due", by = { consultant, "front_desk", "clock" }, help = "It did not come about; the patient is called",
				},
				decline = decline,
			},
		},
		phone_due = {
			status = "on-hold", owner = consultant, action = "Call the patient", within = setting "phone_within",
			overdue = escalate("clinician", { again = "1 business day", times = 3, finally = "give_up" }),
			on = {
				reached = { "feedback", by = consultant, needs = { minutes = minutes() }, help = "Spoke with the patient" },
				no_answer = { "phone_due", by = { consultant, "front_desk" }, help = "Tried; nobody answered" },
				give_up = { "unreached", by = { consultant, "clock" }, guard = handoff.tried_enough },
				decline = decline,
			},
		},
		completed = { status = "completed", final = true },
		declined = { status = "rejected", final = true },
		withdrawn = { status = "cancelled", final = true },
		unreached = { status = "failed", final = true },
	}
end

-- ---- slots ----

local function slot_query(ctx, from, to, kind)
	return "status=free&service-type=" .. (kind or ctx.setting.consultant_slot) .. "&start=ge" .. from .. "&start=le" .. to
		.. "&_sort=start&_count=50"
end

-- A free slot that covers now or begins before the consultant would have to be there.
-- `kind`: the service type, by default that of the consultants in the house.
function handoff.free_now(ctx, kind)
	local now = ctx:now()
	local query = slot_query(ctx, ctx:add(now, "-60 minutes"), ctx:add(now, ctx.setting.arrive_within), kind)
	for _, slot in ipairs(ctx:search("Slot", query)) do
		if ctx:between(now, slot["end"], "minutes") > 0 then
			return slot
		end
	end
	return nil
end

-- Free slots until the end of today.
function handoff.free_today(ctx)
	local now, today = ctx:now(), ctx:today()
	local found = {}
	for _, slot in ipairs(ctx:search("Slot", slot_query(ctx, now, ctx:add(now, "1 day")))) do
		if ctx:local_date(slot.start) == today then
			found[#found + 1] = slot
		end
	end
	return found
end

function handoff.slot_is_today(ctx, _, data)
	local reference = resources.text_of(data.slot)
	local slot = reference and ctx:read(reference)
	if not slot or slot.resourceType ~= "Slot" then
		return false, "there is no such slot"
	end
	if slot.status ~= "free" then
		return false, "this slot is " .. slot.status
	end
	if ctx:local_date(slot.start) ~= ctx:today() or ctx:between(ctx:now(), slot["end"], "minutes") <= 0 then
		return false, "the slot must lie later today"
	end
	return true
end

-- "give_up" by hand needs the calls; the clock has waited long enough.
function handoff.tried_enough(ctx, task)
	if ctx.actor.name == "clock" then
		return true
	end
	local tried = 0
	for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
		tried = tried + (move.event == "no_answer" and 1 or 0)
	end
	if tried < ctx.setting.phone_attempts then
		return false, string.format("%d of %d calls are recorded; try again first", tried, ctx.setting.phone_attempts)
	end
	return true
end

local function held_slot(task)
	local item = resources.item(task.input, "slot")
	return item and item.valueReference.reference or nil
end

local function set_slot(ctx, reference, status, from)
	local slot = reference and ctx:read(reference)
	if slot and (not from or from[slot.status]) then
		slot.status = status
		ctx:update(slot)
	end
end

local function hold(ctx, task_reference, slot_reference, status)
	set_slot(ctx, slot_reference, status)
	local task = plain(ctx:read(task_reference))
	local input = {}
	for _, item in ipairs(task.input or {}) do
		if not (item.type and item.type.text == "slot") then
			input[#input + 1] = item
		end
	end
	input[#input + 1] = { type = { text = "slot" }, valueReference = { reference = slot_reference } }
	task.input = input
	ctx:update(task)
end

-- ---- what happens at the states ----

-- Who asked: the requester when a person, else everybody in the role.
local function tell_requester(ctx, reference, text)
	local task = ctx:read(reference)
	local requester = resources.reference(task.requester)
	local type_name = resources.parse(requester)
	local person = type_name == "Practitioner" or type_name == "PractitionerRole"
	ctx:notify { to = person and requester or "clinician", about = reference, text = text }
end

local function release(ctx, change)
	set_slot(ctx, held_slot(ctx:read(change.reference)), "free", { ["busy-tentative"] = true })
end

-- Asked: is a consultant free by the slots? If so the slot is held; if not nobody waits in vain.
function handoff.requested(ctx, change)
	team.join(ctx, ctx:instance(change.reference).patient, ctx.actor.reference, "primary care clinician")
	local slot, by_video = handoff.free_now(ctx), false
	if not slot then
		slot, by_video = handoff.free_now(ctx, ctx.setting.telehealth_slot), true
	end
	if not slot then
		ctx:advance(change.reference, "nobody_free")
		return
	end
	hold(ctx, change.reference, resources.of(slot), "busy-tentative")
	local focus = ctx:instance(change.reference).subject
	local room = scrub.room(ctx, focus and ctx:read(focus))
	ctx:set_data(change.reference, { room = room, by_video = by_video })
	ctx:notify {
		to = "behavioral_health_consultant", about = change.reference, priority = "urgent",
		text = "A warm handoff is asked for" .. (room and " in " .. room or "")
			.. (by_video and ": can you join by video?" or ": can you come?"),
	}
end

function handoff.acknowledged(ctx, change)
	team.join(ctx, ctx:instance(change.reference).patient, ctx.actor.reference, "behavioral health consultant")
end

function handoff.fallback(ctx, change)
	release(ctx, change)
	local slots = handoff.free_today(ctx)
	local words = #slots > 0 and #slots .. " slots are free later today" or "no slot is free today: promise a call"
	ctx:notify {
		to = "front_desk", about = change.reference, priority = "urgent", text = "No consultant can come now; " .. words,
	}
	tell_requester(ctx, change.reference, "No consultant can come now; the front desk offers the patient another way")
end

function handoff.slot_booked(ctx, change)
	local moves = ctx:transitions(change.reference)
	local slot = resources.text_of(moves[#moves].data.slot)
	hold(ctx, change.reference, slot, "busy")
end

function handoff.phone_due(ctx, change)
	release(ctx, change)
	if change.from == "slot_booked" then
		set_slot(ctx, held_slot(ctx:read(change.reference)), "free", { busy = true })
	end
end

local function visit_encounter(task, patient, mode)
	local medical = task.encounter and task.encounter.reference or task.focus and task.focus.reference
	return {
		resourceType = "Encounter", subject = { reference = patient },
		class = { system = codes.system.act_code, code = mode == "room" and "AMB" or "VR" },
		type = { resources.concept(codes.system.encounter, "consultant-visit", "Behavioral health consultant visit") },
		partOf = resources.parse(medical) == "Encounter" and { reference = medical } or nil,
	}
end

local function participant(ctx)
	return ctx.actor.reference and resources.parse(ctx.actor.reference)
		and { { individual = { reference = ctx.actor.reference } } } or nil
end

local function remember_encounter(ctx, reference, encounter)
	local task = plain(ctx:read(reference))
	task.output = resources.with(task.output, { type = { text = "visit" }, valueReference = { reference = encounter } })
	ctx:update(task)
end

function handoff.visit_started(ctx, change)
	local task = ctx:read(change.reference)
	set_slot(ctx, held_slot(task), "busy")
	local moves = ctx:transitions(change.reference)
	local mode = moves[#moves].data and moves[#moves].data.mode or "room"
	local encounter = visit_encounter(task, ctx:instance(change.reference).patient, mode)
	encounter.status = "in-progress"
	encounter.period = { start = ctx:now() }
	encounter.participant = participant(ctx)
	remember_encounter(ctx, change.reference, ctx:create(encounter))
end

-- The visit is over, or the patient was reached by phone.
function handoff.visit_ended(ctx, change)
	local task = ctx:read(change.reference)
	if change.from == "visit" then
		local item = resources.item(task.output, "visit")
		local encounter = item and ctx:read(item.valueReference.reference)
		if encounter and encounter.status ~= "finished" then
			local ended = plain(encounter)
			ended.status = "finished"
			ended.period["end"] = ctx:now()
			ctx:update(ended)
		end
	elseif change.from == "phone_due" then
		local encounter = visit_encounter(task, ctx:instance(change.reference).patient, "phone")
		encounter.type = { resources.concept(codes.system.encounter, "consultant-call", "Behavioral health consultant call") }
		encounter.status = "finished"
		encounter.period = { start = ctx:now(), ["end"] = ctx:now() }
		encounter.participant = participant(ctx)
		remember_encounter(ctx, change.reference, ctx:create(encounter))
	end
end

function handoff.feedback_given(ctx, change)
	local moves = ctx:transitions(change.reference)
	local data = moves[#moves].data or {}
	tell_requester(ctx, change.reference, "Feedback of the consultant: " .. (data.summary or "")
		.. (data.plan and " Plan: " .. data.plan .. "." or ""))
end

function handoff.over(ctx, change)
	release(ctx, change)
	if change.to == "declined" then
		tell_requester(ctx, change.reference, "The patient declined the meeting with the consultant")
	elseif change.to == "unreached" then
		tell_requester(ctx, change.reference, "The consultant could not reach the patient by phone")
	end
end

-- Half an hour before closing: feedback is due the same day.
function handoff.feedback_before_closing(ctx)
	for _, instance in ipairs(ctx:instances("handoff", { state = "feedback", live = true })) do
		ctx:notify {
			to = "behavioral_health_consultant", about = instance.task, priority = "urgent",
			text = "Feedback to the primary care clinician is due today",
		}
	end
end

-- ---- measures ----

local start_of = screens.start_of

-- Same-day completion = consultant visits on the day of the request / handoffs requested (section 3.2).
function handoff.same_day(ctx, month)
	local completed, requested = 0, 0
	resources.each_of_month(ctx, month, "Task", "authored-on", "code=handoff", function (task)
		return task.authoredOn
	end, function (task)
		local asked, seen
		for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
			if move.to == "requested" and not asked then
				asked = ctx:local_date(move.at)
			elseif move.to == "visit" and asked and ctx:local_date(move.at) == asked then
				seen = true
			end
		end
		if asked then
			requested = requested + 1
			completed = completed + (seen and 1 or 0)
		end
	end)
	if requested == 0 then
		return nil
	end
	return { numerator = completed, denominator = requested }
end

handoff.screened = screens.screened

function handoff.positive_contacted(ctx, month)
	return screens.positive_contacted(ctx, month,
		{ phq9 = ctx.setting.offer_at_phq9, phq2 = ctx.setting.offer_at_phq2 })
end

-- The payer's rule for a consultant visit on the day of a medical one (section 2.6: a rule per payer, never a guess).
function handoff.same_day_rule(ctx, patient)
	for _, coverage in ipairs(ctx:search("Coverage", { beneficiary = patient, status = "active", _count = 20 })) do
		for _, payor in ipairs(coverage.payor or {}) do
			local rule = payor.reference and ctx.setting.same_day_rules[payor.reference]
			if rule then
				return rule
			end
		end
	end
	return nil
end

-- Consultant visits with a medical visit on the same day that the payer's rule pays. Not computed without rules.
function handoff.billable(ctx, month)
	local billable, visits = 0, 0
	local any_rule = false
	for _ in pairs(ctx.setting.same_day_rules) do
		any_rule = true
	end
	if not any_rule then
		return nil
	end
	resources.each_of_month(ctx, month, "Encounter", "date", "type=consultant-visit", start_of, function (encounter)
		local medical = encounter.partOf and ctx:read(encounter.partOf.reference)
		if encounter.status ~= "finished" or not medical or not start_of(medical)
			or dates.local_date(ctx, start_of(medical)) ~= dates.local_date(ctx, start_of(encounter)) then
			return
		end
		visits = visits + 1
		local rule = handoff.same_day_rule(ctx, resources.reference(encounter.subject))
		if rule and rule.billable then
			billable = billable + 1
		end
	end)
	if visits == 0 then
		return nil
	end
	return { numerator = billable, denominator = visits }
end

return handoff
