-- Access: no-show in its variants, third next available, and times from first contact (in the shape of CCBHC I-SERV);
-- the
-- referral funnel and CMS50 (closing the loop).
local cases = require "lib/cases"
local dates = require "lib/dates"
local resources = require "lib/resources"

local fact, out = cases.fact, cases.out

-- ---- appointments ----

local kept = { fulfilled = true, ["checked-in"] = true, arrived = true }

-- The reason of a cancellation, and how long before the appointment it came, in hours; nil when nobody wrote it.
local function notice(ctx, appointment)
	for _, extension in ipairs(appointment.extension or {}) do
		if extension.url == "urn:careloop:appointment:cancelled-at" and appointment.start then
			return ctx:between(extension.valueDateTime, appointment.start, "hours")
		end
	end
	return nil
end

local function is_by_patient(appointment)
	local reason = appointment.cancelationReason
	return reason == nil or resources.has_code(reason, "pat")
		or string.sub(resources.code(reason) or "", 1, 4) == "pat-"
end

-- One case for each appointment of the period that has passed. Variants differ in what they are out of:
-- "booked" (kept and missed), "slots" (all that were offered: booked, free and blocked ones are the schedule's).
local function no_show(late_cancels)
	return function (ctx, patient, period)
		local found = {}
		local now = ctx:now()
		for _, appointment in ipairs(cases.all(ctx, "Appointment", patient)) do
			local day = cases.date(ctx, appointment.start)
			if day and day >= period.first and day <= period.last and appointment.start <= now then
				local case = cases.new(resources.of(appointment))
				local status = appointment.status
				local late = status == "cancelled" and is_by_patient(appointment) and notice(ctx, appointment)
				late = late and late < ctx.setting.late_cancel_hours
				if status == "noshow" then
					case.numerator = true
					fact(case, appointment, "missed on %s", day)
				elseif kept[status] then
					fact(case, appointment, "kept on %s", day)
				elseif late and late_cancels then
					case.numerator = true
					fact(case, appointment, "cancelled less than %g hours before %s", ctx.setting.late_cancel_hours, day)
				else
					out(case, appointment, "%s on %s: neither kept nor missed", status, day)
				end
				found[#found + 1] = case
			end
		end
		return found
	end
end

-- IHI: missed appointments out of the slots of a schedule. Subjects are Schedules.
local function no_show_of_slots(ctx, schedule, period)
	local case = cases.new()
	local slots, missed = 0, 0
	local reference = resources.of(schedule)
	for _, slot in ipairs(ctx:search("Slot", {
		schedule = reference, start = { "ge" .. period.first, "lt" .. dates.add_days(period.last, 2) }, _count = 1000,
	})) do
		local day = cases.date(ctx, slot.start)
		if day >= period.first and day <= period.last and slot.status ~= "entered-in-error"
			and slot.status ~= "busy-unavailable" then
			slots = slots + 1
			for _, appointment in ipairs(ctx:search("Appointment", { slot = resources.of(slot), _count = 20 })) do
				if appointment.status == "noshow" then
					missed = missed + 1
					fact(case, appointment, "missed on %s", day)
				end
			end
		end
	end
	if slots == 0 then
		return out(case, schedule, "no slot in the period")
	end
	fact(case, schedule, "%d slots", slots)
	case.numerator, case.denominator = missed, slots
	return case
end

-- ---- third next available ----

-- Days from the sampling day (the period's last, or today while it goes on) to the third open slot of a schedule. Held
-- and
-- blocked slots are not open. Sampled as the period ends: ask for weeks to have a point a week.
local function third_next(ctx, schedule, period)
	local case = cases.new()
	local today = ctx:today()
	local from = period.last < today and period.last or today
	if from < period.first then
		return out(case, schedule, "the period has not begun")
	elseif schedule.active == false then
		return out(case, schedule, "the schedule is not active")
	end
	local open = {}
	for _, slot in ipairs(ctx:search("Slot", {
		schedule = resources.of(schedule), status = "free", start = { "ge" .. from, "lt" .. dates.add_days(from, 200) },
		_sort = "start", _count = 20,
	})) do
		local day = cases.date(ctx, slot.start)
		local held = false
		for _, extension in ipairs(slot.extension or {}) do
			held = held or extension.url == "urn:careloop:slot:held"
		end
		if not held and day >= from and not (from == today and slot.start < ctx:now()) then
			open[#open + 1] = { slot = slot, day = day }
		end
	end
	if open[3] then
		case.value = dates.between(from, open[3].day)
		fact(case, open[3].slot, "the third open slot after %s is on %s", from, open[3].day)
	else
		fact(case, schedule, "%d open slots in 200 days after %s: no third", #open, from)
	end
	return case
end

-- ---- I-SERV ----

-- First contacts: ServiceRequests and Encounters with the code of list first_contact; they begin an episode of seeking
-- care.
local function contacts(ctx, patient)
	local found = {}
	for _, request in ipairs(cases.all(ctx, "ServiceRequest", patient)) do
		if request.status ~= "entered-in-error" and (ctx:code_in(request.code, "first_contact")
			or ctx:code_in(request.category, "first_contact")) and request.authoredOn then
			found[#found + 1] = { resource = request, at = request.authoredOn, crisis = ctx:code_in(request.code, "crisis")
				or ctx:code_in(request.category, "crisis") }
		end
	end
	for _, encounter in ipairs(cases.all(ctx, "Encounter", patient)) do
		if encounter.status ~= "entered-in-error" and encounter.period and encounter.period.start
			and ctx:code_in(encounter.type, "first_contact") then
			found[#found + 1] = { resource = encounter, at = encounter.period.start, crisis = ctx:code_in(encounter.type,
				"crisis") }
		end
	end
	table.sort(found, function (a, b)
		return a.at < b.at or a.at == b.at and a.resource.id < b.resource.id
	end)
	return found
end

local function time_to(list, unit, crisis)
	return function (ctx, patient, period)
		local found = {}
		for _, contact in ipairs(contacts(ctx, patient)) do
			local day = cases.date(ctx, contact.at)
			if day >= period.first and day <= period.last and (contact.crisis ~= nil) == crisis then
				local case = cases.new(resources.of(contact.resource))
				fact(case, contact.resource, "first contact on %s", day)
				local reached
				for _, encounter in ipairs(cases.encounters(ctx, patient)) do
					if not reached and ctx:code_in(encounter.resource.type, list) and encounter.first >= day
						and (crisis == false or encounter.start >= contact.at) then
						reached = encounter
					end
				end
				if not reached then
					fact(case, nil, "not reached yet")
				elseif unit == "business days" then
					case.value = ctx:between(day, reached.first, "business days")
					fact(case, reached.resource, "reached on %s, after %g business days", reached.first, case.value)
				elseif #contact.at > 10 and #reached.start > 10 then
					case.value = ctx:between(contact.at, reached.start, unit)
					fact(case, reached.resource, "reached after %.1f %s", case.value, unit)
				end
				cases.stratum(case, (cases.age(patient, day) or 18) < 18 and "younger than 18" or "18 years and older")
				found[#found + 1] = case
			end
		end
		return found
	end
end

-- ---- the referral funnel ----

-- Referral Tasks of the workflow "referral" that were sent in the period. Each step is shown over all that were sent;
-- the
-- stratum tells the kind of referral, when one is written.
local steps = {
	accepted = { "accepted", "active", "scheduled", "no_show", "appointment_cancelled", "visit_completed", "completed" },
	scheduled = { "scheduled", "no_show", "appointment_cancelled", "visit_completed", "completed" },
	kept = { "visit_completed", "completed" },
	reported = { "completed" },
}

local function funnel(step)
	local wanted = {}
	for _, state in ipairs(steps[step]) do
		wanted[state] = true
	end
	return function (ctx, patient, period)
		local found = {}
		for _, task in ipairs(cases.all(ctx, "Task", patient)) do
			if resources.has_code(task.code, "referral", "urn:careloop:workflow") then
				local sent, reached
				for _, move in ipairs(ctx:transitions(resources.of(task))) do
					local day = ctx:local_date(move.at)
					if move.to == "received" then
						sent = sent or day
					end
					if wanted[move.to] then
						reached = reached or day
					end
				end
				if sent and sent >= period.first and sent <= period.last then
					local case = cases.new(resources.of(task))
					fact(case, task, "sent on %s", sent)
					case.numerator = reached ~= nil
					fact(case, task, reached and "%s on %s" or "not %s yet%s", step, reached or "")
					found[#found + 1] = case
				end
			end
		end
		return found
	end
end

-- ---- CMS50 ----

local referral_status = { active = true, completed = true }

local function cms50(ctx, patient, period)
	local case = cases.new()
	local last_day = dates.add_days(dates.add_months(period.first, 10), -1)
	local first
	for _, request in ipairs(cases.all(ctx, "ServiceRequest", patient)) do
		local day = cases.date(ctx, request.authoredOn)
		if referral_status[request.status] and request.intent == "order" and day and day >= period.first and day <= last_day
			and (not first or request.authoredOn < first.authoredOn
				or request.authoredOn == first.authoredOn and request.id < first.id) then
			first = request
		end
	end
	if not first then
		return out(case, nil, "no referral ordered from %s to %s", period.first, last_day)
	end
	case.about = resources.of(first)
	fact(case, first, "the first referral, ordered on %s", cases.date(ctx, first.authoredOn))
	for _, task in ipairs(cases.all(ctx, "Task", patient)) do
		local based = false
		for _, reference in ipairs(task.basedOn or {}) do
			based = based or resources.reference(reference) == resources.of(first)
		end
		based = based or resources.reference(task.focus) == resources.of(first)
		local report = ctx:code_in(task.code, "consultation_report") ~= nil
		for _, output in ipairs(task.output or {}) do
			report = report or ctx:code_in(output.type, "consultation_report") ~= nil
		end
		local ended = task.executionPeriod and task.executionPeriod["end"]
		local day = cases.date(ctx, ended)
		if based and report and task.status == "completed" and day and ended > first.authoredOn and day <= period.last then
			case.numerator = true
			return fact(case, task, "the consultant's report came on %s", day)
		end
	end
	return fact(case, nil, "no consultant's report by %s", period.last)
end

local iserv = "In the shape of CCBHC I-SERV (SAMHSA 2024 specifications); holidays are the organization's"

local function no_show_measure(name, summary, subject)
	return measure(name) {
		summary = summary, category = "operations", unit = "%", better = "lower", version = "1",
		source = "missed / (kept + missed); the definition is a choice: see also no_show_slots", period = "month",
		counts = "appointments", candidates = { "Appointment" },
		initial = "appointments of the period that have passed", denominator = "kept or missed",
		numerator = "missed" .. (string.find(name, "late") and ", or cancelled late by the patient" or ""), subject = subject,
	}
end

local function funnel_measure(step, words)
	return measure("referral_" .. step) {
		summary = "Referrals " .. words .. ", of those sent", category = "operations", unit = "%", better = "higher",
		version = "1", source = "referral funnel: sent, accepted, scheduled, kept, report returned", period = "quarter",
		counts = "referrals", candidates = { "Task?code=referral" }, initial = "referrals sent in the period",
		numerator = words, subject = funnel(step),
	}
end

return {
	no_show_measure("no_show", "Missed appointments, of those kept or missed", no_show(false)),
	no_show_measure("no_show_with_late", "Missed and late-cancelled appointments, of those kept or missed", no_show(true)),
	measure "no_show_slots" {
		summary = "Missed appointments, of all slots", category = "operations", unit = "%", better = "lower", version = "1",
		source = "IHI: no-show appointments / total appointment slots x 100", period = "month", basis = "Schedule",
		scoring = "ratio", scale = 100, counts = "schedules", numerator = "missed appointments",
			denominator = "slots that were "
			.. "not blocked",
		subject = no_show_of_slots,
	},
	measure "third_next" {
		summary = "Days to the third next available appointment", category = "operations", unit = "days", better = "lower",
		version = "1", source = "IHI: third next available, weekends counted, held slots left out", period = "month",
		basis = "Schedule", scoring = "continuous", show = "mean", counts = "schedules",
		numerator = "days from the end of the period (or today) to the third open slot", subject = third_next,
	},
	measure "iserv_evaluation" {
		summary = "Business days from first contact to the initial evaluation", category = "operations",
			unit = "business days",
		better = "lower", version = "2024", source = iserv, period = "year", scoring = "continuous", show = "mean",
		counts = "first contacts", candidates = { "Encounter", "ServiceRequest" },
		needs_codes = { "first_contact", "crisis", "initial_evaluation" }, initial = "first contacts that are no crisis",
		numerator = "business days to the initial evaluation", subject = time_to("initial_evaluation", "business days",
			false),
	},
	measure "iserv_service" {
		summary = "Business days from first contact to the first clinical service", category = "operations",
		unit = "business days", better = "lower", version = "2024", source = iserv, period = "year", scoring = "continuous",
		show = "mean", counts = "first contacts", candidates = { "Encounter", "ServiceRequest" },
		needs_codes = { "first_contact", "crisis", "initial_service" }, initial = "first contacts that are no crisis",
		numerator = "business days to the first clinical service", subject = time_to("initial_service", "business days",
			false),
	},
	measure "iserv_crisis" {
		summary = "Hours from a crisis contact to being seen", category = "operations", unit = "hours", better = "lower",
		version = "2024", source = iserv, period = "year", scoring = "continuous", show = "mean", counts = "crisis contacts",
		candidates = { "Encounter", "ServiceRequest" }, needs_codes = { "first_contact", "crisis", "initial_service" },
		initial = "first contacts in a crisis", numerator = "hours to the first clinical service",
		subject = time_to("initial_service", "hours", true),
	},
	funnel_measure("accepted", "accepted"), funnel_measure("scheduled", "given an appointment"),
	funnel_measure("kept", "seen"), funnel_measure("reported", "whose report came back"),
	measure "cms50" {
		summary = "Closing the referral loop: the consultant's report came back", category = "outcomes", unit = "%",
		better = "higher", version = "13", source = "CMS50v13, logic of the published CQL, on Task and ServiceRequest",
		period = "year", counts = "patients", candidates = { "ServiceRequest" }, needs_codes = { "consultation_report" },
		initial = "patients with a referral ordered from January to October; the first one counts",
		numerator = "a completed Task with the consultant's report, based on that referral, that ended after it was "
			.. "ordered and "
			.. "in the period",
		subject = cms50,
	},
}
