-- Closed-loop referral between organizations. The machine is in machine.lua, the messages in messages.lua, the
-- measures in measures.lua. Rules: domain.md sections 0 (rows 1, 2, 13), 2.8, 2.18, 3.1; [d] marks values without
-- outside authority.
local resources = require "lib/resources"
local roles = require "lib/roles"
local team = require "lib/team"
local machine = require "machine"
local measures = require "measures"
local messages = require "messages"
local paper = require "paper"
local terms = require "terms"
local variants = require "variants"

-- ---- guards ----

local function count_events(moves, event)
	local count = 0
	for _, move in ipairs(moves) do
		if move.event == event then
			count = count + 1
		end
	end
	return count
end

-- Section 2.8: after a no-show a new time within 2 business days, twice at most.
local function new_time_allowed(ctx, task)
	local reference = "Task/" .. task.id
	local state = ctx:instance(reference).state
	if state ~= "no_show" and state ~= "appointment_cancelled" then
		return true
	end
	local missed = count_events(ctx:transitions(reference), "no_show")
	local maximum = ctx.setting.maximum_no_shows
	if missed > maximum then
		return false, string.format(
			"the patient missed %d visits and was given %d new times, the most allowed; decline, with the reason "
				.. "'repeated no-shows'", missed, maximum)
	end
	return true
end

-- Section 2.8: three contact attempts over ten business days, then unable to reach.
local function attempts_made(ctx, task)
	local count, first = 0, nil
	for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
		if move.event == "contact_attempt" and not (move.data and move.data.result == "reached") then
			count = count + 1
			first = first or move.at
		end
	end
	local wanted, days = ctx.setting.contact_attempts, ctx.setting.contact_business_days
	if count < wanted then
		return false, string.format("%d of %d contact attempts are recorded; try again first", count, wanted)
	end
	local passed = ctx:between(first, ctx:now(), "business days")
	if passed < days then
		return false, string.format(
			"the attempts must spread over %d business days; the first was %d business days ago", days, math.floor(passed))
	end
	return true
end

-- How long a step of this referral may take: the compact with the partner (on the side that sends), the kind of
-- referral, the setting.
local function time_for(ctx, task, name)
	local request = task.focus and task.focus.reference and ctx:read(task.focus.reference)
	local instance = task.id and ctx:instance("Task/" .. task.id) -- what is being started has neither yet
	local recipient
	if instance and instance.party ~= "recipient" then
		recipient = select(2, messages.recipient(ctx, task))
	end
	return terms.duration(ctx, request, recipient, name)
end

local function clock(name)
	return function (ctx, task)
		return time_for(ctx, task, name)
	end
end

-- When something last happened: a move, or a self-loop that is work (an attempt, a note); not a clock that started
-- again.
local function last_moved(moves)
	for number = #moves, 1, -1 do
		local move = moves[number]
		if move.from ~= move.to or machine.needs[move.event] then
			return move.at
		end
	end
	return nil
end

-- The appointment that a scheduled referral waits for.
local function last_start(ctx, reference)
	local start
	for _, move in ipairs(ctx:transitions(reference)) do
		start = move.data and move.data.start or start
	end
	return start
end

-- Only the side that waits may close on the other's silence, and not while the visit is still to come.
local function partner_is_silent(ctx, task)
	local reference = "Task/" .. task.id
	local instance = ctx:instance(reference)
	if instance.party == "recipient" then
		return false, "we are the ones who have to answer"
	end
	if instance.state == "scheduled" then
		local start = last_start(ctx, reference)
		if start and ctx:between(ctx:add(start, time_for(ctx, task, "report_within")), ctx:now(), "minutes") < 0 then
			return false, "the visit or its report is still to come"
		end
	end
	return true
end

-- ---- effects and handlers ----

local function send_cancel_request(ctx, task, data)
	messages.ask_to_cancel(ctx, "Task/" .. task.id, data.reason)
end

-- Section 2.8, coupling rule [d]: cancelled -> revoked, completed -> completed; declined or failed leaves the request
-- active, to be sent elsewhere.
local coupled = { cancelled = "revoked", completed = "completed" }

local function couple(ctx, change)
	local wanted = coupled[change.to]
	local instance = wanted and ctx:instance(change.reference)
	local request = instance and instance.subject and ctx:read(instance.subject)
	if request and (request.status == "active" or request.status == "on-hold") then
		request.status = wanted
		ctx:update(request)
	end
end

-- States in which the patient may be sent elsewhere, so that a silent partner is told to stop.
local stop_from = { received = true, accepted = true, no_show = true, appointment_cancelled = true }

local news_for_initiator = {
	declined = "The referral was declined: send it elsewhere",
	no_show = "The patient missed the visit",
	completed = "The outcome is back",
	cancelled = "The cancellation is confirmed",
	closed_unresponsive = "Closed because the partner did not answer: send the referral elsewhere",
}

local news_for_recipient = {
	received = "A new referral came in",
	cancel_requested = "The referring organization asks to cancel",
}

local function watch_urgent(ctx, reference)
	local task = ctx:read(reference)
	if messages.is_urgent(task.priority) then
		ctx:set_timer("urgent:accept:" .. task.id, time_for(ctx, task, "urgent_accept_within"), {
			task = reference, stage = "accept",
		})
		ctx:set_timer("urgent:visit:" .. task.id, ctx.setting.urgent_visit_within, { task = reference, stage = "visit" })
	end
end

-- Heard for every move, and also when a clock ran out and started again (then the state is the same as before).
local function moved(ctx, change)
	local instance = ctx:instance(change.reference)
	local new = change.from ~= change.to
	couple(ctx, change)
	if instance.party == "recipient" then
		if new or machine.needs[change.event] then
			messages.publish(ctx, change.reference)
		end
		if new and change.to == "accepted" then
			team.join(ctx, instance.patient, ctx.actor.reference) -- who takes the patient sees the chart
		end
		if new and news_for_recipient[change.to] then
			ctx:notify { to = "intake", about = change.reference, text = news_for_recipient[change.to] }
		end
	else
		if new and news_for_initiator[change.to] then
			ctx:notify { to = "referral_coordinator", about = change.reference, text = news_for_initiator[change.to] }
		end
		if change.to == "closed_unresponsive" and stop_from[change.from] then
			messages.ask_to_cancel(ctx, change.reference, "no answer within the agreed time; closed by the sender")
		end
	end
	if new and change.to == "received" then
		watch_urgent(ctx, change.reference)
	end
end

-- `operation "$referral-sheet"`: POST /fhir/Task/x/$referral-sheet. The same gate as for sending: paper discloses, too.
local function referral_sheet(ctx, _, target)
	local task = target and ctx:read(target)
	local instance = target and ctx:instance(target)
	if not instance or instance.workflow ~= "referral" or instance.party == "recipient" then
		ctx:refuse("$referral-sheet is asked of a referral that we send: POST /fhir/Task/[id]/$referral-sheet", "Parameters")
	end
	local prepared, why = messages.prepare(ctx, task)
	if not prepared then
		ctx:refuse(why, "Task")
	end
	local allowed, consents, part2 = messages.gate(ctx, prepared)
	if not allowed then
		ctx:refuse(consents, "Task.focus")
	end
	return paper.sheet(ctx, task, {
		patient = prepared.shown.patient, request = prepared.shown.request,
		notice = part2 and ctx.setting.part2_notice or nil,
	})
end

-- A timer of an urgent referral: tells both the people who act and those who watch.
local not_yet = {
	accept = { received = true },
	visit = {
		received = true, accepted = true, active = true, scheduled = true, no_show = true, appointment_cancelled = true,
	},
}

local function urgent_overdue(ctx, data)
	local instance = ctx:instance(data.task)
	if instance and not_yet[data.stage][instance.state] then
		local words = data.stage == "accept" and "An urgent referral was not answered in time"
			or "An urgently referred patient was not seen in time"
		ctx:notify { to = "referral_coordinator", about = data.task, priority = "urgent", text = words }
		if instance.party == "recipient" then
			ctx:notify { to = "intake", about = data.task, priority = "urgent", text = words }
		end
	end
end

-- Every business day: partners whose move is overdue are reminded, once a day.
local function remind_partners(ctx)
	if not ctx.setting.remind_partners then
		return
	end
	for name, state in pairs(machine.states) do
		if state.needs_partner then
			for _, instance in ipairs(ctx:instances("referral", { state = name, live = true })) do
				if instance.party == "initiator" and instance.partner and instance.partner ~= "" then
					local since = last_moved(ctx:transitions(instance.task))
					local time = since and time_for(ctx, ctx:read(instance.task), state.clock)
					if time and ctx:between(ctx:add(since, time), ctx:now(), "minutes") > 0 then
						messages.remind(ctx, instance.task)
					end
				end
			end
		end
	end
end

-- The requester withdrew the request itself: a draft is taken back, a sent referral is asked back (section 2.8).
local function request_revoked(ctx, change)
	for _, task in ipairs(ctx:search("Task", { focus = change.reference, code = "referral", _count = 20 })) do
		local reference = "Task/" .. task.id
		local instance = ctx:instance(reference)
		if instance and not instance.final and instance.party ~= "recipient" then
			if instance.state == "draft" then
				ctx:advance(reference, "discard", { reason = "the request was withdrawn" })
			elseif instance.state ~= "cancel_requested" then
				ctx:advance(reference, "request_cancel", { reason = "the request was withdrawn" })
			end
		end
	end
end

-- The recipient's own appointment book moves the referral, so that nobody types things twice.
local function appointment_changed(ctx, change)
	local appointment = change.resource
	for _, based_on in ipairs(appointment.basedOn or {}) do
		for _, task in ipairs(ctx:search("Task", { focus = based_on.reference, code = "referral", _count = 20 })) do
			local reference = "Task/" .. task.id
			local instance = ctx:instance(reference)
			local state = instance and instance.state
			if instance and not instance.final and instance.party == "recipient" then
				if appointment.status == "booked" and appointment.start then
					local data = { start = appointment.start, appointment = change.reference }
					if state == "accepted" or state == "appointment_cancelled" or state == "visit_completed" then
						ctx:advance(reference, "schedule", data)
					elseif state == "no_show" or state == "scheduled" and last_start(ctx, reference) ~= appointment.start then
						ctx:advance(reference, "reschedule", data)
					end
				elseif change.status ~= change.former_status then
					if appointment.status == "noshow" and state == "scheduled" then
						ctx:advance(reference, "no_show", {})
					elseif appointment.status == "cancelled"
						and (state == "scheduled" or state == "no_show" or state == "visit_completed") then
						local reason = resources.code(appointment.cancelationReason) or ""
						ctx:advance(reference, "appointment_cancel", {
							cancelled_by = string.sub(reason, 1, 3) == "pat" and "patient" or "clinic",
						})
					end
				end
			end
		end
	end
end

-- Section 0 row 2: revocation stops only what relied on that consent; what to tell the partner is for a person to
-- decide.
local function consent_changed(ctx, change)
	local document = change.resource
	if document.status == "active" or change.former_status ~= "active" then
		return
	end
	local patient = resources.reference(document.patient)
	for _, instance in ipairs(patient and ctx:instances("referral", { patient = patient, live = true }) or {}) do
		for _, input in ipairs(ctx:read(instance.task).input or {}) do
			if input.type.text == "consent" and resources.reference(input.valueReference) == change.reference then
				ctx:notify {
					to = "referral_coordinator", about = instance.task, priority = "urgent",
					text = "The consent that this referral rests on is no longer active: send nothing more under it",
				}
			end
		end
	end
end

-- ---- worklists ----

local live_states = {
	"draft", "received", "accepted", "active", "scheduled", "no_show", "appointment_cancelled", "visit_completed",
	"cancel_requested",
}

local function rows_of(ctx, party, states)
	local rows = {}
	for _, name in ipairs(states) do
		for _, instance in ipairs(ctx:instances("referral", { state = name, live = true })) do
			if instance.party == party then
				local patient = instance.patient and ctx:read(instance.patient)
				rows[#rows + 1] = {
					task = instance.task, patient = instance.patient, patient_name = patient and resources.name(patient) or nil,
					state = name, action = machine.states[name].action, partner = instance.partner, due = instance.due,
					overdue = instance.due ~= nil and ctx:between(instance.due, ctx:now(), "minutes") > 0,
					since = last_moved(ctx:transitions(instance.task)), start = last_start(ctx, instance.task),
				}
			end
		end
	end
	table.sort(rows, function (a, b)
		return (a.due or "") < (b.due or "")
	end)
	return rows
end

local function silent_partners(ctx)
	local found, order = {}, {}
	for _, name in ipairs(live_states) do
		for _, instance in ipairs(ctx:instances("referral", { state = name, live = true })) do
			if instance.party == "initiator" and name ~= "draft" then
				local partner = instance.partner and instance.partner ~= "" and instance.partner or "(no connection)"
				local row = found[partner]
				if not row then
					row = { partner = partner, open = 0, overdue = 0, longest_wait_days = 0, last_answer = nil }
					found[partner] = row
					order[#order + 1] = partner
				end
				row.open = row.open + 1
				local moves = ctx:transitions(instance.task)
				local since = last_moved(moves)
				local time = time_for(ctx, ctx:read(instance.task), machine.states[name].clock)
				if ctx:between(ctx:add(since, time), ctx:now(), "minutes") > 0 then
					row.overdue = row.overdue + 1
					row.longest_wait_days = math.max(row.longest_wait_days, math.floor(ctx:between(since, ctx:now(), "days")))
				end
				for _, move in ipairs(moves) do
					if move.event ~= "request_cancel" and move.from and move.from ~= "draft" and machine.needs[move.event]
						and (not row.last_answer or ctx:between(row.last_answer, move.at, "minutes") > 0) then
						row.last_answer = move.at
					end
				end
			end
		end
	end
	local rows = {}
	table.sort(order)
	for _, partner in ipairs(order) do
		if found[partner].overdue > 0 then
			rows[#rows + 1] = found[partner]
		end
	end
	return rows
end

local columns = { "patient_name", "state", "action", "partner", "due", "overdue", "since", "start", "task" }

local declaration = {
	name = "referral", api = 1, summary = "Closed-loop referral between care teams",

	settings = {
		send_within = { type = "duration", default = "1 business day", help = "Time to send a drafted referral" },
		accept_within = {
			type = "duration", default = "2 business days", source = "domain.md 2.8 [d]",
			help = "Time for the recipient to accept or decline",
		},
		schedule_within = {
			type = "duration", default = "5 business days", source = "domain.md 2.8 [d]",
			help = "Time from acceptance (or a cancelled appointment) to a scheduled visit",
		},
		visit_within = {
			type = "duration", default = "14 days", source = "domain.md 3.1 [d]", help = "Time from scheduling to a kept visit",
		},
		report_within = {
			type = "duration", default = "14 days", source = "domain.md 2.8 [d]",
			help = "Time from the visit to the outcome",
		},
		reschedule_within = {
			type = "duration", default = "2 business days", source = "domain.md 2.8 [d]",
			help = "Time from a no-show to a new time",
		},
		cancel_within = {
			type = "duration", default = "2 business days", help = "Time for the recipient to confirm a cancellation",
		},
		urgent_accept_within = {
			type = "duration", default = "4 hours", source = "domain.md 3.1 [d]",
			help = "Time to accept when the request's priority is urgent, asap or stat",
		},
		urgent_visit_within = {
			type = "duration", default = "24 hours", source = "domain.md 3.1 [d]", help = "Time to see an urgent patient",
		},
		maximum_no_shows = {
			type = "integer", default = 2, source = "domain.md 2.8 [d]", help = "New times given after a no-show",
		},
		contact_attempts = {
			type = "integer", default = 3, source = "domain.md 2.8 [d]", help = "Attempts before a patient is unable to reach",
		},
		contact_business_days = {
			type = "integer", default = 10, source = "domain.md 2.8 [d]",
			help = "Business days over which those attempts must spread",
		},
		silent_clocks = {
			type = "integer", default = 3, source = "domain.md 0 row 13 [d]",
			help = "How often an overdue partner is escalated before the referral is closed here",
		},
		remind_partners = {
			type = "boolean", default = true, help = "Send a reminder each business day that a move is overdue",
		},
		purpose = { type = "code", default = "TREAT", help = "Purpose of the disclosure (v3-ActReason)" },
		state_protected = {
			type = "table", default = {}, source = "domain.md 0 row 1",
			help = "Further labels that need consent, by state law: label = \"name of the rule\"",
		},
		part2_notice = {
			type = "string", default = "42 CFR part 2 prohibits unauthorized use or disclosure of these records.",
			source = "42 CFR 2.32", help = "Notice that goes with protected records",
		},
		consent_for_recipients = {
			type = "list", default = {}, source = "45 CFR 164.506(c)",
			help = "Kinds of organization (Organization.type) that need a consent naming them even for unlabelled records. None "
				.. "by default: disclosure for treatment, care coordination with a social agency included, needs no consent",
		},
		variants = {
			type = "table", default = {},
			help = "Own values for a kind of referral: social = { clocks = { accept_within = \"5 business days\" } }",
		},
		patient_fields = {
			type = "list", default = { "identifier", "name", "telecom", "gender", "birthDate", "address", "communication" },
			source = "domain.md 2.19", help = "What a recipient learns of the patient besides the request",
		},
		enclose = {
			type = "list", default = { "Observation", "Condition", "DocumentReference", "QuestionnaireResponse" },
			help = "Types that go with the request when it refers to them (reasonReference, supportingInfo)",
		},
		coordinator_hourly_rate = {
			type = "number", default = 40, help = "Cost of an hour of coordination; put your own rate here",
		},
		kept_visit_revenue = {
			type = "number", default = 0, help = "Average revenue of a kept referral visit; 0: the measure is not computed",
		},
	},

	roles = {
		referral_coordinator = roles.referral_coordinator,
		intake = roles.intake,
		clinician = {
			summary = "Refers patients and reads what comes back",
			allow = {
				{ "read search create update", types = { "Task" } },
				{ "create update", types = { "ServiceRequest" }, where = "care team" },
				{ "transition", types = { "Task" }, workflow = "referral" },
			},
		},
		manager = roles.manager,
	},

	workflow "referral" (machine.build {
		clock = clock, escalate = escalate, silent = setting "silent_clocks",
		guards = {
			send = messages.may_send, schedule = new_time_allowed, reschedule = new_time_allowed,
			unable_to_reach = attempts_made,
			partner_silent = partner_is_silent, outcome = variants.may_close,
		},
		effects = { send = messages.send_package, request_cancel = send_cancel_request },
	}),

	metric "loop_closed" {
		summary = "Referrals whose outcome came back within 60 days of sending", category = "operations", unit = "%",
		better = "higher", source = "domain.md 3.1, a variant of CMS50", version = "1",
		of = entered("referral", "received"), counts = reached("completed", { within = "60 days" }),
	},
	metric "days_to_accept" {
		summary = "Median business days from sending to acceptance", category = "operations", unit = "business days",
		better = "lower", source = "domain.md 2.8", version = "1",
		of = entered("referral", "received"), measure = elapsed("received", "accepted", "business days"), show = "median",
	},
	metric "referral_no_show" {
		summary = "Scheduled referrals with at least one missed visit", category = "operations", unit = "%", better = "lower",
		source = "domain.md 2.9; the denominator is booked referrals, not slots", version = "1",
		of = entered("referral", "scheduled"), counts = reached("no_show"),
	},
	metric "referrals_lost" {
		summary = "Referrals without an end within 60 days, or closed because the partner was silent",
		category = "operations",
		unit = "%", better = "lower", source = "domain.md 3.1", version = "1", value = measures.lost,
	},
	metric "referral_visit_kept" {
		summary = "Referred patients who were seen within 60 days (a proxy: access, not health)", category = "outcomes",
		unit = "%", better = "higher", source = "domain.md 3.1", version = "1",
		of = entered("referral", "received"), counts = reached({ "visit_completed", "completed" }, { within = "60 days" }),
	},
	metric "referral_phq9_response" {
		summary = "Referred patients with PHQ-9 of 10 or more whose score halved 120 to 240 days later",
		category = "outcomes",
		unit = "%", better = "higher", source = "DRR-E's response rule on referred patients; domain.md 2.1", version = "1",
		value = measures.response,
	},
	metric "coordination_cost" {
		summary = "Cost of coordination for each closed loop, from recorded minutes", category = "finance", unit = "USD",
		better = "lower", source = "minutes of the events times coordinator_hourly_rate", version = "1",
		value = measures.coordination_cost,
	},
	metric "kept_visit_revenue" {
		summary = "Revenue of kept referral visits, by the organization's average", category = "finance", unit = "USD",
		better = "higher", source = "setting kept_visit_revenue", version = "1", value = measures.kept_visit_revenue,
	},

	view "referral_board" {
		summary = "Referrals we sent, what is next and who has to do it", columns = columns,
		roles = { "referral_coordinator", "clinician", "manager" },
		rows = function (ctx)
			return rows_of(ctx, "initiator", live_states)
		end,
	},
	view "referral_inbox" {
		summary = "Referrals we received and have to move", columns = columns, roles = { "intake", "clinician", "manager" },
		rows = function (ctx)
			return rows_of(ctx, "recipient", live_states)
		end,
	},
	view "silent_partners" {
		summary = "Partners whose answers are overdue",
		columns = { "partner", "open", "overdue", "longest_wait_days", "last_answer" },
		roles = { "referral_coordinator", "manager" }, rows = silent_partners,
	},

	operation "$referral-sheet" {
		summary = "The referral on paper, with the code for the answer", roles = { "referral_coordinator", "clinician" },
		run = referral_sheet,
	},
	operation "$paper-answer" {
		summary = "A partner's answer on paper or by phone, by the code of the sheet", roles = { "referral_coordinator" },
		run = function (ctx, input)
			return paper.answer(ctx, input)
		end,
	},

	timer "urgent" (urgent_overdue),
	every("09:00", "business days", remind_partners),

	on "ServiceRequest.revoked" (request_revoked),
	on "Appointment.create" (appointment_changed),
	on "Appointment.update" (appointment_changed),
	on "Consent.update" (consent_changed),

	receive "referral.send" (messages.receive_package),
	receive "referral.update" (messages.receive_update),
	receive "referral.request-cancel" (messages.receive_cancel_request),
	receive "referral.reminder" (messages.receive_reminder),
}

for name in pairs(machine.states) do
	if name ~= "draft" and name ~= "discarded" then
		declaration[#declaration + 1] = on("referral." .. name)(moved)
	end
end

return plugin(declaration)
