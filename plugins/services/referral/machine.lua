-- The referral machine: BSeR harmonised with IHE 360X, as published in HL7/bser (domain.md section 2.8), as data.
-- Each row is { TID, who, event, from, to }. `build` folds the rows into the states that `workflow "referral"` wants.
local codes = require "lib/codes"

local machine = {}

-- The 34 published transitions.
machine.published = {
	{ 1, "initiator", "send", "draft", "received" },
	{ 2, "recipient", "accept", "received", "accepted" },
	{ 3, "recipient", "decline", "received", "declined" },
	{ 4, "initiator", "request_cancel", "received", "cancel_requested" },
	{ 5, "recipient", "decline", "accepted", "declined" },
	{ 6, "recipient", "schedule", "accepted", "scheduled" },
	{ 7, "initiator", "request_cancel", "accepted", "cancel_requested" },
	{ 8, "recipient", "interim", "accepted", "visit_completed" },
	{ 9, "recipient", "outcome", "accepted", "completed" },
	{ 10, "recipient", "decline", "scheduled", "declined" },
	{ 11, "recipient", "reschedule", "scheduled", "scheduled" },
	{ 12, "recipient", "no_show", "scheduled", "no_show" },
	{ 13, "recipient", "appointment_cancel", "scheduled", "appointment_cancelled" },
	{ 14, "initiator", "request_cancel", "scheduled", "cancel_requested" },
	{ 15, "recipient", "interim", "scheduled", "visit_completed" },
	{ 16, "recipient", "outcome", "scheduled", "completed" },
	{ 17, "recipient", "decline", "no_show", "declined" },
	{ 18, "recipient", "reschedule", "no_show", "scheduled" },
	{ 19, "recipient", "appointment_cancel", "no_show", "appointment_cancelled" },
	{ 20, "initiator", "request_cancel", "no_show", "cancel_requested" },
	{ 21, "recipient", "schedule", "appointment_cancelled", "scheduled" },
	{ 22, "initiator", "request_cancel", "appointment_cancelled", "cancel_requested" },
	{ 23, "recipient", "confirm_cancel", "cancel_requested", "cancelled" },
	{ 24, "recipient", "outcome", "cancel_requested", "completed" }, -- the race: the work was done already
	{ 25, "recipient", "decline", "visit_completed", "declined" },
	{ 26, "recipient", "schedule", "visit_completed", "scheduled" },
	{ 27, "recipient", "appointment_cancel", "visit_completed", "appointment_cancelled" },
	{ 28, "initiator", "request_cancel", "visit_completed", "cancel_requested" },
	{ 29, "recipient", "interim", "visit_completed", "visit_completed" },
	{ 30, "recipient", "outcome", "visit_completed", "completed" },
	-- 31 to 34: systems that know no sub-states of "in progress".
	{ 31, "recipient", "begin", "accepted", "active" }, -- schedule information without details
	{ 32, "recipient", "progress", "accepted", "active" }, -- interim note without details
	{ 33, "recipient", "decline", "active", "declined" },
	{ 34, "initiator", "request_cancel", "active", "cancel_requested" },
}

-- What the published table leaves out, each with its reason.
machine.added = {
	-- A system with the generic 5.1 only could never complete; the diagram's arrow 5 -> 7 supports it (section 2.8,
	-- "Gap").
	{ "5.1 -> 7 (documented completion fix)", "recipient", "outcome", "active", "completed" },
	-- 5.1.3 lies inside 5.1, whose row 33 declines; without it a patient who gave up could not be told back.
	{ "BSeR TID 33 (5.1 includes 5.1.3)", "recipient", "decline", "appointment_cancelled", "declined" },
	-- The same arrows under the name that says why: the recipient reached nobody (section 2.8, default clocks).
	{ "BSeR TID 05 (reason: unable to reach)", "recipient", "unable_to_reach", "accepted", "declined" },
	{ "BSeR TID 17 (reason: unable to reach)", "recipient", "unable_to_reach", "no_show", "declined" },
	{ "BSeR TID 33 (reason: unable to reach)", "recipient", "unable_to_reach", "appointment_cancelled", "declined" },
	-- Attempts to reach the patient: no state of BSeR changes, the clock starts again, the partner sees the work.
	{ "local: contact attempt", "recipient", "contact_attempt", "accepted", "accepted" },
	{ "local: contact attempt", "recipient", "contact_attempt", "no_show", "no_show" },
	{ "local: contact attempt", "recipient", "contact_attempt", "appointment_cancelled", "appointment_cancelled" },
	-- A draft has no cancel row: it is taken back where it is (section 2.8, "Traps").
	{ "local: draft taken back", "initiator", "discard", "draft", "discarded" },
	-- Section 0 row 13: every state has an exit that a clock can fire alone. Guarded: on the initiator's side only.
	{ "local: partner silent", "clock", "partner_silent", "received", "closed_unresponsive" },
	{ "local: partner silent", "clock", "partner_silent", "accepted", "closed_unresponsive" },
	{ "local: partner silent", "clock", "partner_silent", "active", "closed_unresponsive" },
	{ "local: partner silent", "clock", "partner_silent", "scheduled", "closed_unresponsive" },
	{ "local: partner silent", "clock", "partner_silent", "no_show", "closed_unresponsive" },
	{ "local: partner silent", "clock", "partner_silent", "appointment_cancelled", "closed_unresponsive" },
	{ "local: partner silent", "clock", "partner_silent", "visit_completed", "closed_unresponsive" },
	{ "local: partner silent", "clock", "partner_silent", "cancel_requested", "closed_unresponsive" },
}

local function bser(code, display)
	return { system = codes.system.bser, code = code, display = display }
end

-- Displays as in TaskBusinessStatusCS. `accepts`: codes of STU1 (5.4, 5.x) and bare numbers, on input only.
-- `clock` names the setting. `needs_partner`: work is expected of the partner, so a silent one is reminded.
machine.states = {
	draft = {
		status = "draft", owner = "initiator", action = "Complete the referral and send it", clock = "send_within",
	},
	received = {
		status = "requested", business = bser("2.0", "Service Request Created"), accepts = { "2" },
		owner = "recipient", action = "Accept or decline the referral", clock = "accept_within", needs_partner = true,
	},
	accepted = {
		status = "accepted", business = bser("3.0", "Service Request Accepted"), accepts = { "3" },
		owner = "recipient", action = "Reach the patient and schedule the first visit", clock = "schedule_within",
		needs_partner = true,
	},
	active = {
		status = "in-progress", business = bser("5.1", "Service Request Fulfillment Active"), accepts = { "5", "5.x" },
		owner = "recipient", action = "Report the outcome", clock = "report_within", needs_partner = true,
	},
	scheduled = {
		status = "in-progress", business = bser("5.1.1", "Service Request Event Scheduled"),
		owner = "recipient", action = "See the patient and say whether the visit was kept", clock = "visit_within",
	},
	no_show = {
		status = "in-progress", business = bser("5.1.2", "Scheduled Service Request Event Unattended"),
		owner = "recipient", action = "Reach the patient and give a new time, or decline", clock = "reschedule_within",
		needs_partner = true,
	},
	appointment_cancelled = {
		status = "in-progress", business = bser("5.1.3", "Scheduled Service Request Event Cancelled"),
		owner = "recipient", action = "Give the patient a new time, or decline", clock = "schedule_within",
		needs_partner = true,
	},
	visit_completed = {
		status = "in-progress", business = bser("5.1.4", "Service Request Event Completed"),
		owner = "recipient", action = "Send the outcome, or schedule the next visit", clock = "report_within",
		needs_partner = true,
	},
	cancel_requested = {
		status = "in-progress", business = bser("5.2", "Service Request Cancellation Requested"), accepts = { "5.4" },
		owner = "recipient", action = "Confirm the cancellation, or send the outcome if the work was done",
		clock = "cancel_within", needs_partner = true,
	},
	declined = {
		status = "rejected", business = bser("4.0", "Service Request Declined"), accepts = { "4" }, final = true,
	},
	cancelled = {
		status = "cancelled", business = bser("6.0", "Service Request Fulfillment Cancelled"), accepts = { "6" },
		final = true,
	},
	completed = {
		status = "completed", business = bser("7.0", "Service Request Fulfillment Completed"), accepts = { "7" },
		final = true,
	},
	closed_unresponsive = {
		status = "failed", final = true,
		business = { system = codes.system.referral, code = "closed_unresponsive", display = "Closed, partner unresponsive" },
	},
	discarded = {
		status = "entered-in-error", final = true,
		business = { system = codes.system.referral, code = "discarded", display = "Draft taken back" },
	},
}

-- The state that a businessStatus means, by its code or one it accepts; nil when unknown.
function machine.state_of(business_status)
	for _, coding in ipairs(business_status and business_status.coding or {}) do
		for name, state in pairs(machine.states) do
			if state.business then
				if state.business.code == coding.code then
					return name
				end
				for _, accepted in ipairs(state.accepts or {}) do
					if accepted == coding.code then
						return name
					end
				end
			end
		end
	end
	return nil
end

machine.decline_reasons = {
	"no capacity", "not eligible", "insurance not taken", "service not offered", "incomplete information",
	"patient declined",
	"unable to reach", "repeated no-shows", "seen elsewhere", "other",
}

local function minutes()
	return { "integer", optional = true, help = "Minutes of coordination work, for the cost measure" }
end

-- What each event brings.
machine.needs = {
	send = { minutes = minutes() },
	discard = { reason = "string" },
	accept = { minutes = minutes(), note = { "string", optional = true } },
	decline = {
		reason = { "choice", table.unpack(machine.decline_reasons) }, note = { "string", optional = true },
		minutes = minutes(),
	},
	schedule = {
		start = "dateTime", location = { "string", optional = true }, appointment = { "reference", optional = true },
		minutes = minutes(),
	},
	reschedule = {
		start = "dateTime", location = { "string", optional = true }, appointment = { "reference", optional = true },
		minutes = minutes(),
	},
	no_show = { minutes = minutes(), note = { "string", optional = true } },
	appointment_cancel = { cancelled_by = { "choice", "patient", "clinic" }, minutes = minutes() },
	request_cancel = { reason = "string", minutes = minutes() },
	confirm_cancel = { minutes = minutes(), note = { "string", optional = true } },
	interim = {
		summary = { "string", help = "What happened at the visit, for the referring clinician" },
		document = { "reference", optional = true, help = "DocumentReference/… of the note" }, minutes = minutes(),
	},
	outcome = {
		summary = { "string", help = "Findings and recommendations, for the referring clinician" },
		document = { "reference", optional = true, help = "DocumentReference/… of the report" },
		seen_on = { "date", optional = true, help = "The day the patient was seen, when no visit is on record" },
		result = { "choice", "need met", "partly met", "not met", "patient declined", optional = true },
		minutes = minutes(),
	},
	begin = { minutes = minutes() },
	progress = { note = { "string", optional = true }, minutes = minutes() },
	contact_attempt = {
		channel = { "choice", "phone", "text", "letter", "portal", "in person" },
		result = { "choice", "no answer", "left message", "will call back", "reached" }, minutes = minutes(),
	},
	unable_to_reach = { note = { "string", optional = true }, minutes = minutes() },
	partner_silent = nil,
}

machine.help = {
	send = "Send the package to the partner (or print it for a partner without a connection)",
	discard = "Take the draft back",
	accept = "We take this patient",
	decline = "We cannot help; legal late as well",
	schedule = "A visit is booked",
	reschedule = "The visit has a new time",
	no_show = "The patient did not come",
	appointment_cancel = "The appointment was cancelled, not the referral",
	request_cancel = "Ask the partner to stop; only the partner can confirm",
	confirm_cancel = "Stopped as asked",
	interim = "The visit took place; a note goes back",
	outcome = "The work is done; the outcome goes back and the loop is closed",
	begin = "Work has begun (for systems without sub-states)",
	progress = "Work goes on (for systems without sub-states)",
	contact_attempt = "Tried to reach the patient",
	unable_to_reach = "The patient could not be reached after the agreed number of attempts",
	partner_silent = "The partner did not answer; closed here, a late answer is attached",
}

-- `parts`: clock (setting name -> what `within` takes), escalate (declaration function) and guards, effects by event
-- name, `silent` the number (or setting) of escalations.
function machine.build(parts)
	local workflow = {
		summary = "A referral to another care team, until its outcome is back", subject = "ServiceRequest", start = "draft",
		parties = {
			initiator = { "referral_coordinator", "clinician" },
			recipient = { "intake", "clinician" },
		},
		recorders = { "referral_coordinator", "intake" },
	}
	for name, state in pairs(machine.states) do
		local built = {
			status = state.status, business = state.business, accepts = state.accepts, owner = state.owner,
			action = state.action, final = state.final,
		}
		if not state.final then
			built.within = parts.clock(state.clock)
			built.on = {}
			if name == "draft" then
				built.overdue = parts.escalate("referral_coordinator")
			else
				built.overdue = parts.escalate("referral_coordinator", { times = parts.silent, finally = "partner_silent" })
			end
		end
		workflow[name] = built
	end
	local function add(row, rule)
		local event, from = row[3], row[4]
		workflow[from].on[event] = {
			row[5], by = row[2], rule = rule, needs = machine.needs[event], help = machine.help[event],
			guard = parts.guards[event], effect = parts.effects[event],
		}
	end
	for _, row in ipairs(machine.published) do
		add(row, string.format("BSeR TID %02d", row[1]))
	end
	for _, row in ipairs(machine.added) do
		add(row, row[1])
	end
	return workflow
end

return machine
