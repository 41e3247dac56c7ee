-- Depression: CMS159, CMS2, and follow-up, response and remission in the shape of HEDIS DRR-E. All from PHQ-9 totals
-- that may
-- feed measures: final, amended or corrected, and not prorated.
local cases = require "lib/cases"
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"

local fact, out = cases.fact, cases.out

-- Conditions that take a patient out of depression measures (CMS159v13 Denominator Exclusions).
local other_disorders = {
	{ "bipolar_disorder", "bipolar disorder" },
	{ "emotionally_labile_personality", "emotionally labile personality disorder" },
	{ "schizophrenia_or_psychosis", "schizophrenia or psychosis" },
	{ "pervasive_developmental_disorder", "pervasive developmental disorder" },
}

local depression_lists = {
	"depression", "bipolar_disorder", "emotionally_labile_personality", "schizophrenia_or_psychosis",
	"pervasive_developmental_disorder", "hospice", "palliative_care",
}

-- Disorders that begin on or before `until`, hospice or palliative care from `from` to `to`, death on or before `to`.
local function exclude(ctx, patient, case, from, to)
	for _, disorder in ipairs(other_disorders) do
		local condition = cases.condition(ctx, patient, disorder[1], nil, to)
		if condition then
			cases.exclude(case, condition, disorder[2], "began on or before %s", to)
		end
	end
	for _, care in ipairs { { "hospice", "hospice care" }, { "palliative_care", "palliative care" } } do
		local found = cases.anything(ctx, patient, care[1], from, to)
		if found then
			cases.exclude(case, found, care[2], "between %s and %s", from, to)
		end
	end
	local death = cases.death(ctx, patient)
	if death and death <= to then
		cases.exclude(case, patient, "death", "on or before %s", to)
	end
end

local function age_stratum(case, age)
	cases.stratum(case, age < 18 and "12 to 17 years" or "18 years and older")
end

-- A qualifying visit at which the score could have been the index: the score lies from 7 days before its start to its
-- end,
-- the visit ends within [from, to], and a confirmed depression overlaps it.
local function visit_of(ctx, patient, score, from, to)
	for _, encounter in ipairs(cases.encounters(ctx, patient)) do
		if score.date >= dates.add_days(encounter.first, -7) and score.date <= encounter.last and encounter.last >= from
			and encounter.last <= to and cases.is_qualifying(ctx, encounter) then
			local condition = cases.condition(ctx, patient, "depression", encounter.first, encounter.last, true)
			if condition then
				return encounter, condition
			end
		end
	end
	return nil
end

-- The first PHQ-9 above 9 that belongs to such a visit.
local function find_index(ctx, patient, case, from, to)
	local series = scores.series(ctx, "Patient/" .. patient.id, "phq9", { also = { "phq9m" }, measurable = true })
	local high
	for _, score in ipairs(series) do
		if score.value > 9 and score.date >= dates.add_days(from, -7) and score.date <= to then
			high = high or score
			local encounter, condition = visit_of(ctx, patient, score, from, to)
			if encounter then
				fact(case, score.reference, "index: PHQ-9 of %g on %s, the first above 9", score.value, score.date)
				fact(case, encounter.resource, "at or before a visit that ends on %s, within %s to %s", encounter.last, from, to)
				fact(case, condition, "with confirmed depression")
				return score, series
			end
		end
	end
	if high then
		out(case, high.reference, "a PHQ-9 of %g on %s, but no qualifying visit with confirmed depression that ends from "
			.. "%s to %s",
			high.value, high.date, from, to)
	else
		out(case, nil, "no PHQ-9 above 9 from %s to %s", from, to)
	end
	return nil
end

-- The last score of the window, or nil.
local function last_in(series, first, last)
	local found
	for _, score in ipairs(series) do
		if score.date >= first and score.date <= last then
			found = score
		end
	end
	return found
end

-- ---- CMS159: depression remission at twelve months ----

local function cms159(ctx, patient, period)
	local case = cases.new()
	local from, to = dates.add_months(period.first, -14), dates.add_days(dates.add_months(period.first, -2), -1)
	local index, series = find_index(ctx, patient, case, from, to)
	if not index then
		return case
	end
	local age = cases.age(patient, index.date)
	if not age or age < 12 then
		return out(case, patient, "younger than 12 at the index")
	end
	age_stratum(case, age)
	local first, last = scores.cms159_window(index.date)
	fact(case, nil, "the window is %s to %s: twelve months after the index, 60 days before and after", first, last)
	exclude(ctx, patient, case, from, last)
	local latest = last_in(series, first, last)
	if latest then
		case.numerator = scores.is_remission(latest.value)
		fact(case, latest.reference, "the last PHQ-9 of the window: %g on %s, %s", latest.value, latest.date,
			case.numerator and "below 5: remission" or "not below 5")
	else
		fact(case, nil, "no PHQ-9 in the window: not in the numerator")
	end
	return case
end

-- ---- DRR-E-shaped ----

-- Intake from eight months before the period to four months after its start; follow-up 120 to 240 days after the index.
local function drr(reach)
	return function (ctx, patient, period)
		local case = cases.new()
		local from = dates.add_months(period.first, -ctx.setting.drr_intake_before)
		local to = dates.add_days(dates.add_months(period.first, ctx.setting.drr_intake_after), -1)
		local index, series = find_index(ctx, patient, case, from, to)
		if not index then
			return case
		end
		local age = cases.age(patient, from)
		if not age or age < 12 then
			return out(case, patient, "younger than 12 when the intake period begins")
		end
		age_stratum(case, age)
		local first, last = scores.drr_window(index.date)
		fact(case, nil, "the follow-up window is %s to %s: 120 to 240 days after the index", first, last)
		exclude(ctx, patient, case, from, period.last)
		local latest = last_in(series, first, last)
		if latest then
			fact(case, latest.reference, "the last PHQ-9 of the window: %g on %s (index %g)", latest.value, latest.date,
				index.value)
			case.numerator = reach(index.value, latest.value)
		else
			fact(case, nil, "no PHQ-9 in the window: not in the numerator")
		end
		return case
	end
end

-- ---- CMS2: screening for depression and follow-up plan ----

local screens = {
	{ code = "73832-8", name = "adult screen", from = 17 }, { code = "73831-0", name = "adolescent screen", to = 17 },
}

-- The result of a screen: true = positive, false = negative, nil = it is none. By its coded result; by the total of a
-- PHQ-2
-- or PHQ-9 where the organization says that its totals count.
local function result_of(ctx, observation, age)
	for _, screen in ipairs(screens) do
		if resources.has_code(observation.code, screen.code, "http://loinc.org") and (not screen.from or age >= screen.from)
			and (not screen.to or age <= screen.to) then
			if ctx:code_in(observation.valueCodeableConcept, "screen_positive") then
				return true
			elseif ctx:code_in(observation.valueCodeableConcept, "screen_negative") then
				return false
			end
		end
	end
	if not ctx.setting.screen_totals or not scores.measurable(observation) then
		return nil
	end
	for _, kind in ipairs { "phq9", "phq9m", "phq2" } do
		local instrument = scores.instruments[kind]
		local value = cases.value(observation)
		if value and resources.has_code(observation.code, instrument.total, "http://loinc.org") then
			return value >= instrument.positive
		end
	end
	return nil
end

-- Screens that were dated up to 14 days before a visit of the period, the latest last: { observation, date, positive,
-- visits }.
local function find_screens(ctx, patient, visits, age)
	local found = {}
	for _, observation in ipairs(cases.all(ctx, "Observation", patient)) do
		local day = cases.span(ctx, observation)
		local positive
		if day and cases.is_final(observation) then
			positive = result_of(ctx, observation, age)
		end
		if positive ~= nil then
			local near = {}
			for _, visit in ipairs(visits) do
				local apart = dates.between(day, visit.first)
				if apart >= 0 and apart <= 14 then
					near[#near + 1] = visit
				end
			end
			if near[1] then
				found[#found + 1] = {
					observation = observation, date = day, positive = positive, visits = near,
					at = observation.effectiveDateTime or day,
				}
			end
		end
	end
	table.sort(found, function (a, b)
		return a.date < b.date or a.date == b.date and (a.at < b.at or a.at == b.at
			and a.observation.id < b.observation.id)
	end)
	return found
end

local active_or_completed = { active = true, completed = true }

-- A follow-up during one of the visits or until two days after its end.
local function find_follow_up(ctx, patient, visits)
	local function in_time(day)
		for _, visit in ipairs(visits) do
			if day and day >= visit.first and day <= dates.add_days(visit.last, 2) then
				return true
			end
		end
		return false
	end
	for _, request in ipairs(cases.all(ctx, "ServiceRequest", patient)) do
		if active_or_completed[request.status] and in_time(cases.date(ctx, request.authoredOn))
			and ctx:code_in(request.code, "depression_follow_up") then
			return request, "a referral or service"
		end
	end
	for _, request in ipairs(cases.all(ctx, "MedicationRequest", patient)) do
		if active_or_completed[request.status] and in_time(cases.date(ctx, request.authoredOn))
			and ctx:code_in(request.medicationCodeableConcept, "depression_medications") then
			return request, "a medication"
		end
	end
	for _, procedure in ipairs(cases.all(ctx, "Procedure", patient)) do
		if procedure.status == "completed" and in_time(cases.span(ctx, procedure))
			and ctx:code_in(procedure.code, "depression_follow_up") then
			return procedure, "a follow-up"
		end
	end
	return nil
end

local function cms2(ctx, patient, period)
	local case = cases.new()
	local age = cases.age(patient, period.first)
	if not age or age < 12 then
		return out(case, patient, "younger than 12 on %s", period.first)
	end
	local visits = {}
	for _, encounter in ipairs(cases.encounters(ctx, patient)) do
		if encounter.first >= period.first and encounter.last <= period.last and cases.is_qualifying(ctx, encounter) then
			visits[#visits + 1] = encounter
		end
	end
	if not visits[1] then
		return out(case, nil, "no qualifying visit from %s to %s", period.first, period.last)
	end
	fact(case, visits[1].resource, "%d qualifying visits, the first on %s", #visits, visits[1].first)
	local bipolar = cases.condition(ctx, patient, "bipolar_disorder", nil, visits[1].first)
	if bipolar then
		cases.exclude(case, bipolar, "bipolar disorder", "before the visit")
	end
	local found = find_screens(ctx, patient, visits, age)
	local screen = found[#found]
	if not screen then
		fact(case, nil, "no depression screen from 14 days before a visit to its day")
		for _, observation in ipairs(cases.all(ctx, "Observation", patient)) do
			local day = cases.span(ctx, observation)
			local reason = ctx:code_in(observation.dataAbsentReason, "screen_not_done_reasons")
				or ctx:code_in(observation.valueCodeableConcept, "screen_not_done_reasons")
			if reason and day and day >= period.first and day <= period.last
				and (resources.has_code(observation.code, "73832-8") or resources.has_code(observation.code, "73831-0")) then
				case.exception = "screen refused, or a medical reason against it"
				fact(case, observation, "not screened on %s, with a reason", day)
			end
		end
		return case
	end
	fact(case, screen.observation, "the latest screen, of %s, is %s", screen.date, screen.positive and "positive"
		or "negative")
	if not screen.positive then
		case.numerator = true
		return case
	end
	local follow_up, what = find_follow_up(ctx, patient, screen.visits)
	if follow_up then
		case.numerator = true
		fact(case, follow_up, "%s at the visit or within two days after it", what)
	else
		fact(case, nil, "no follow-up at the visit or within two days after it")
	end
	return case
end

-- ---- declarations ----

local cms159_source = "CMS159v13 (NQF 0710e), eCQI Resource Center, logic of the published CQL"
local drr_source = "In the shape of NCQA DRR-E (own code lists; not certified)"
local drr_initial = "Patients of 12 years and older with a first PHQ-9 above 9 at a visit with depression in the "
	.. "intake period"
local drr_exclusions = "bipolar, emotionally labile personality, psychotic or pervasive developmental disorder; "
	.. "hospice; "
	.. "palliative care; death"
local candidates = { "Observation?code=http://loinc.org|44261-6,http://loinc.org|89204-2" }

return {
	measure "cms159" {
		summary = "Depression in remission twelve months after", category = "outcomes", unit = "%", better = "higher",
		version = "13", source = cms159_source, period = "year", counts = "patients", candidates = candidates,
		needs_codes = depression_lists,
		initial = "12 years and older with a first PHQ-9 above 9, from 14 to 2 months before the period, at a qualifying "
			.. "visit "
			.. "with confirmed major depression or dysthymia",
		denominator = "the initial population",
		exclusions = "hospice or palliative care, death, bipolar, emotionally labile personality, psychotic or pervasive "
			.. "developmental disorder until the end of the window",
		numerator = "the last PHQ-9 from 60 days before to 60 days after twelve months is below 5",
		subject = cms159,
	},
	measure "cms2" {
		summary = "Screened for depression, with a follow-up plan when positive", category = "outcomes", unit = "%",
		better = "higher", version = "14", source = "CMS2v14 (NQF 0418e), eCQI Resource Center, logic of the published CQL",
		period = "year", counts = "patients", candidates = { "Encounter?status=finished" },
		needs_codes = {
			"bipolar_disorder", "screen_positive", "screen_negative", "screen_not_done_reasons", "depression_follow_up",
			"depression_medications",
		},
		initial = "12 years and older at the start of the period, with a qualifying visit in it",
		denominator = "the initial population", exclusions = "bipolar disorder before the visit",
		numerator = "the latest screen from 14 days before a visit to its day is negative, or positive with a follow-up at "
			.. "the "
			.. "visit or within two days after it",
		subject = cms2,
	},
	measure "drr_follow_up" {
		summary = "PHQ-9 repeated 120 to 240 days after depression was found", category = "outcomes", unit = "%",
		better = "higher", version = "2025", source = drr_source, period = "year", counts = "patients",
		candidates = candidates, needs_codes = depression_lists, initial = drr_initial, exclusions = drr_exclusions,
		numerator = "a PHQ-9 from 120 to 240 days after the index",
		subject = drr(function ()
			return true
		end),
	},
	measure "drr_response" {
		summary = "Depression halved after 120 to 240 days", category = "outcomes", unit = "%", better = "higher",
		version = "2025", source = drr_source, period = "year", counts = "patients", candidates = candidates,
		needs_codes = depression_lists, initial = drr_initial, exclusions = drr_exclusions,
		numerator = "the last PHQ-9 from 120 to 240 days after the index is at most half of it",
		subject = drr(scores.is_response),
	},
	measure "drr_remission" {
		summary = "Depression in remission after 120 to 240 days", category = "outcomes", unit = "%", better = "higher",
		version = "2025", source = drr_source, period = "year", counts = "patients", candidates = candidates,
		needs_codes = depression_lists, initial = drr_initial, exclusions = drr_exclusions,
		numerator = "the last PHQ-9 from 120 to 240 days after the index is below 5",
		subject = drr(function (_, latest)
			return scores.is_remission(latest)
		end),
	},
}
