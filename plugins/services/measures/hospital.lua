-- Hospital: stays, readmission within 30 days, emergency visits, length of stay, discharge coordination; and follow-up
-- after a
-- stay or emergency visit for mental illness in the shape of HEDIS FUH and FUM.
local cases = require "lib/cases"
local dates = require "lib/dates"
local membership = require "lib/membership"
local resources = require "lib/resources"

local fact, out = cases.fact, cases.out

-- ---- stays ----

local function is_planned(ctx, encounter)
	local hospitalization = encounter.resource.hospitalization
	return ctx:code_in(encounter.resource.type, "planned_admission") or ctx:code_in(encounter.resource.reasonCode,
		"planned_admission") or ctx:code_in(hospitalization and hospitalization.admitSource, "planned_admission")
end

local function died(encounter)
	local hospitalization = encounter.resource.hospitalization
	return resources.has_code(hospitalization and hospitalization.dischargeDisposition, "exp")
end

-- Reasons of a stay: its reasonCode, and the Conditions that it names as diagnosis (the first by rank is the principal
-- one).
local function principal(ctx, encounter)
	local concepts, best, rank = {}, nil, nil
	for _, concept in ipairs(encounter.resource.reasonCode or {}) do
		concepts[#concepts + 1] = concept
	end
	for _, diagnosis in ipairs(encounter.resource.diagnosis or {}) do
		local at = tonumber(diagnosis.rank) or 1
		local condition = resources.reference(diagnosis.condition) and ctx:read(diagnosis.condition.reference)
		if condition and (not rank or at < rank) then
			best, rank = condition.code, at
		end
	end
	if best then
		concepts[#concepts + 1] = best
	end
	return concepts
end

local function has_reason(ctx, encounter, list)
	for _, concept in ipairs(principal(ctx, encounter)) do
		if ctx:code_in(concept, list) then
			return true
		end
	end
	return false
end

local acute = { IMP = true, ACUTE = true, OBSENC = true }

-- Acute stays that ended, by admission; those that follow within `gap` days with a direct transfer are one stay: that
-- of the
-- last discharge, admitted with the first.
local function stays(ctx, patient, gap)
	local found = {}
	for _, encounter in ipairs(cases.encounters(ctx, patient)) do
		if acute[encounter.class] and encounter.finish then
			local last = found[#found]
			if last and dates.between(last.last, encounter.first) < gap and dates.between(last.last, encounter.first) >= 0
				and resources.has_code(last.encounter.resource.hospitalization
					and last.encounter.resource.hospitalization.dischargeDisposition, "other-hcf") then
				last.last, last.encounter = encounter.last, encounter
				last.parts = last.parts + 1
			else
				found[#found + 1] = { first = encounter.first, last = encounter.last, encounter = encounter, admitted = encounter,
					parts = 1 }
			end
		end
	end
	return found
end

-- ---- readmission ----

local function readmission(ctx, patient, period)
	local found, all = {}, stays(ctx, patient, 2)
	local last_index_day = dates.add_days(period.last, -30)
	for i, stay in ipairs(all) do
		if stay.last >= period.first and stay.last <= last_index_day then
			local case = cases.new(resources.of(stay.encounter.resource))
			fact(case, stay.encounter.resource, "stay from %s to %s%s", stay.first, stay.last,
				stay.parts > 1 and ", joined after a direct transfer" or "")
			local age = cases.age(patient, stay.last)
			if not age or age < ctx.setting.readmission_age_from then
				out(case, patient, "younger than %d at discharge", ctx.setting.readmission_age_from)
			elseif died(stay.encounter) then
				cases.exclude(case, stay.encounter.resource, "death in the stay", "discharge disposition")
			elseif has_reason(ctx, stay.admitted, "pregnancy") then
				cases.exclude(case, stay.admitted.resource, "pregnancy", "the principal diagnosis")
			elseif stay.first == stay.last then
				cases.exclude(case, stay.encounter.resource, "same-day stay", "admitted and discharged on %s", stay.first)
			end
			if ctx.setting.readmission_needs_enrolment and not membership.covers(ctx, patient, dates.add_days(stay.last, -365),
				dates.add_days(stay.last, 30)) then
				cases.exclude(case, nil, "not enrolled throughout", "from 365 days before to 30 days after the discharge")
			end
			for k = i + 1, #all do
				local next_stay = all[k]
				local apart = dates.between(stay.last, next_stay.first)
				if apart >= 0 and apart <= 30 and not case.numerator then
					local planned = is_planned(ctx, next_stay.admitted)
						or apart == 0 and ctx.setting.readmission_same_day == "planned"
					if planned then
						fact(case, next_stay.admitted.resource, "admitted again on %s, planned", next_stay.first)
					else
						fact(case, next_stay.admitted.resource, "admitted again on %s, %d days after, unplanned", next_stay.first, apart)
						case.numerator = true
					end
				end
			end
			if not case.numerator then
				fact(case, nil, "no unplanned admission within 30 days")
			end
			found[#found + 1] = case
		end
	end
	return found
end

-- ---- emergency visits ----

local function emergency(ctx, patient, period)
	local months = membership.months(ctx, patient, period.first, period.last, ctx.setting.member_month_rule)
	local case = cases.new()
	local visits, admitted = 0, 0
	if #months == 0 then
		return out(case, patient, "no member-month in the period")
	end
	local all = stays(ctx, patient, 2)
	for _, encounter in ipairs(cases.encounters(ctx, patient)) do
		if cases.is_emergency(encounter) and encounter.first >= period.first and encounter.first <= period.last then
			local led_to_stay = false
			for _, stay in ipairs(all) do
				local apart = dates.between(encounter.last, stay.first)
				led_to_stay = led_to_stay or apart == 0 or apart == 1
			end
			if led_to_stay and ctx.setting.emergency_without_admissions then
				admitted = admitted + 1
				fact(case, encounter.resource, "emergency visit on %s, admitted: not counted", encounter.first)
			else
				visits = visits + 1
				fact(case, encounter.resource, "emergency visit on %s", encounter.first)
			end
		end
	end
	fact(case, nil, "%d member-months, %d visits, %d that led to a stay", #months, visits, admitted)
	case.numerator, case.denominator = visits, #months
	return case
end

-- ---- length of stay ----

local function length_of_stay(ctx, patient, period)
	local found = {}
	for _, stay in ipairs(stays(ctx, patient, 2)) do
		if stay.last >= period.first and stay.last <= period.last then
			local case = cases.new(resources.of(stay.encounter.resource))
			case.value = math.max(1, dates.between(stay.first, stay.last))
			found[#found + 1] = fact(case, stay.encounter.resource, "%d days from %s to %s", case.value, stay.first, stay.last)
		end
	end
	return found
end

-- ---- discharge coordination ----

-- Hours from "medically ready" (an Observation urn:careloop:discharge|medically-ready of the stay, else that time in
-- its
-- statusHistory) to the end of the stay.
local function ready_at(ctx, patient, encounter)
	for _, observation in ipairs(cases.all(ctx, "Observation", patient)) do
		if cases.is_final(observation) and resources.has_code(observation.code, "medically-ready", "urn:careloop:discharge")
			and resources.reference(observation.encounter) == resources.of(encounter.resource) then
			return observation.valueDateTime or observation.effectiveDateTime, observation
		end
	end
	return nil
end

local function discharge_hours(ctx, patient, period)
	local found = {}
	for _, encounter in ipairs(cases.encounters(ctx, patient)) do
		if acute[encounter.class] and encounter.finish and encounter.last >= period.first
			and encounter.last <= period.last then
			local case = cases.new(resources.of(encounter.resource))
			local at, observation = ready_at(ctx, patient, encounter)
			if at and #at > 10 and #encounter.finish > 10 then
				case.value = ctx:between(at, encounter.finish, "hours")
				fact(case, observation, "medically ready %s, departed %s", at, encounter.finish)
			else
				fact(case, encounter.resource, "stay until %s; nobody wrote when the patient was medically ready", encounter.last)
			end
			found[#found + 1] = case
		end
	end
	return found
end

-- ---- FUH, FUM ----

local function follow_up_visit(ctx, patient, from, to)
	for _, encounter in ipairs(cases.encounters(ctx, patient)) do
		if cases.is_outpatient(encounter) and encounter.first >= from and encounter.first <= to
			and has_reason(ctx, encounter, "mental_illness") then
			return encounter
		end
	end
	return nil
end

local function is_mental(ctx, encounter)
	return has_reason(ctx, encounter, "mental_illness") or has_reason(ctx, encounter, "self_harm")
end

local function hospice_in(ctx, patient, case, period)
	local found = cases.anything(ctx, patient, "hospice", period.first, period.last)
	if found then
		cases.exclude(case, found, "hospice care", "in the period")
	end
end

-- After a stay: the days after the discharge, not the day itself. A readmission within 30 days: only the last
-- discharge.
local function fuh(days)
	return function (ctx, patient, period)
		local found, all = {}, stays(ctx, patient, 2)
		local last_day = dates.add_days(period.last, -30)
		for i, stay in ipairs(all) do
			if stay.last >= period.first and stay.last <= last_day and is_mental(ctx, stay.encounter) then
				local case = cases.new(resources.of(stay.encounter.resource))
				fact(case, stay.encounter.resource, "stay for mental illness or self-harm, discharged on %s", stay.last)
				local age = cases.age(patient, stay.last)
				local again = all[i + 1]
				if not age or age < 6 then
					out(case, patient, "younger than 6 at discharge")
				elseif again and dates.between(stay.last, again.first) <= 30 then
					out(case, again.encounter.resource, "admitted again on %s: only the last discharge counts", again.first)
				else
					hospice_in(ctx, patient, case, period)
					local from, to = dates.add_days(stay.last, 1), dates.add_days(stay.last, days)
					local visit = follow_up_visit(ctx, patient, from, to)
					case.numerator = visit ~= nil
					fact(case, visit and visit.resource, visit and "seen for mental illness on %s, by %s" or "%sno visit for mental "
						.. "illness by %s", visit and visit.first or "", to)
				end
				found[#found + 1] = case
			end
		end
		return found
	end
end

-- After an emergency visit: the day itself counts, unless it ended in a stay.
local function fum(days)
	return function (ctx, patient, period)
		local found, all = {}, stays(ctx, patient, 2)
		local last_day, before = dates.add_days(period.last, -30), nil
		for _, encounter in ipairs(cases.encounters(ctx, patient)) do
			if cases.is_emergency(encounter) and encounter.last >= period.first and encounter.last <= last_day
				and is_mental(ctx, encounter) and (not before or dates.between(before, encounter.last) > 30) then
				before = encounter.last
				local case = cases.new(resources.of(encounter.resource))
				fact(case, encounter.resource, "emergency visit for mental illness or self-harm on %s", encounter.last)
				local age = cases.age(patient, encounter.last)
				local stay
				for _, each in ipairs(all) do
					local apart = dates.between(encounter.last, each.first)
					stay = stay or apart >= 0 and apart <= 30 and each or nil
				end
				if not age or age < 6 then
					out(case, patient, "younger than 6")
				elseif stay then
					out(case, stay.encounter.resource, "admitted on %s, within 30 days", stay.first)
				else
					hospice_in(ctx, patient, case, period)
					local to = dates.add_days(encounter.last, days)
					local visit = follow_up_visit(ctx, patient, encounter.last, to)
					case.numerator = visit ~= nil
					fact(case, visit and visit.resource, visit and "seen for mental illness on %s, by %s" or "%sno visit for mental "
						.. "illness by %s", visit and visit.first or "", to)
				end
				found[#found + 1] = case
			end
		end
		return found
	end
end

local stay_candidates = { "Encounter?class=IMP,ACUTE,OBSENC" }
local mental_lists = { "mental_illness", "self_harm", "hospice" }

local function follow_up(name, kind, days)
	local after = kind == "fuh" and "a stay" or "an emergency visit"
	return measure(name) {
		summary = "Seen within " .. days .. " days after " .. after .. " for mental illness", category = "outcomes",
			unit = "%",
		better = "higher", version = "2025",
		source = "In the shape of NCQA " .. string.upper(kind) .. " 2025: any provider with a mental-health diagnosis (own "
			.. "code "
			.. "lists; not certified)",
		period = "year", counts = kind == "fuh" and "discharges" or "emergency visits",
		candidates = kind == "fuh" and stay_candidates or { "Encounter?class=EMER" }, needs_codes = mental_lists,
		initial = "6 years and older, " .. (kind == "fuh" and "discharged from an acute stay" or "emergency visit")
			.. " for mental illness or self-harm until 30 days before the end of the period",
		exclusions = "hospice",
		numerator = "an outpatient visit with a mental illness " .. (kind == "fuh" and "1 to " or "0 to ") .. days
			.. " days after",
		subject = (kind == "fuh" and fuh or fum)(days),
	}
end

return {
	measure "readmission_30" {
		summary = "Admitted again within 30 days, unplanned", category = "outcomes", unit = "%", better = "lower",
			version = "2025",
		source = "In the shape of NCQA PCR and CMS HWR, observed rate", period = "year", counts = "discharges",
		candidates = stay_candidates, needs_codes = { "pregnancy", "planned_admission" },
		initial = "acute and observation stays discharged until 30 days before the end of the period; transfers joined",
		exclusions = "death in the stay, pregnancy, same-day stays, not enrolled throughout (setting)",
		numerator = "an unplanned stay for any cause within 30 days of the discharge", subject = readmission,
	},
	measure "ed_per_1000" {
		summary = "Emergency visits per 1,000 member-years", category = "operations", unit = "per 1,000 member-years",
		better = "lower", version = "1", source = "visits / member-months x 12,000; visits that led to a stay left out "
			.. "(setting)",
		period = "rolling year", scoring = "ratio", scale = 12000, counts = "members", candidates = { "Coverage" },
		numerator = "emergency visits", denominator = "member-months", subject = emergency,
	},
	measure "average_stay" {
		summary = "Average length of stay", category = "operations", unit = "days", better = "lower", version = "1",
		source = "discharge date less admission date, at least 1", period = "rolling year", scoring = "continuous",
			show = "mean",
		counts = "discharges", candidates = stay_candidates, numerator = "days of each stay", subject = length_of_stay,
	},
	measure "discharge_hours" {
		summary = "Hours from medically ready to departed", category = "operations", unit = "hours", better = "lower",
		version = "1", source = "elapsed time from the milestone 'medically ready' to the end of the stay",
			period = "quarter",
		scoring = "continuous", show = "median", counts = "discharges", candidates = stay_candidates,
		numerator = "hours of stays for which readiness was written down", subject = discharge_hours,
	},
	follow_up("fuh_7", "fuh", 7), follow_up("fuh_30", "fuh", 30), follow_up("fum_7", "fum", 7), follow_up("fum_30", "fum",
		30),
}
