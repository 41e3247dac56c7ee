-- Chronic disease: CMS122 (diabetes poorly controlled) and CMS165 (blood pressure controlled), with their exclusions.
local cases = require "lib/cases"
local dates = require "lib/dates"
local resources = require "lib/resources"

local fact, out = cases.fact, cases.out

local exclusion_lists = { "hospice", "palliative_care", "frailty", "advanced_illness", "long_term_nursing" }

local function with(lists)
	local all = {}
	for _, name in ipairs(lists) do
		all[#all + 1] = name
	end
	for _, name in ipairs(exclusion_lists) do
		all[#all + 1] = name
	end
	return all
end

-- A visit of the period, or nil.
local function visit_in(ctx, patient, period)
	for _, encounter in ipairs(cases.encounters(ctx, patient)) do
		if encounter.first <= period.last and encounter.last >= period.first and cases.is_qualifying(ctx, encounter) then
			return encounter
		end
	end
	return nil
end

-- Hospice and palliative care in the period; frailty with advanced illness from 66 (and, for blood pressure, frailty
-- alone
-- from 81); long-term nursing home from 66.
local function exclude_common(ctx, patient, case, age, period, frail_alone_from)
	for _, care in ipairs { { "hospice", "hospice care" }, { "palliative_care", "palliative care" } } do
		local found = cases.anything(ctx, patient, care[1], period.first, period.last)
		if found then
			cases.exclude(case, found, care[2], "in the period")
		end
	end
	if age < 66 then
		return
	end
	local frail = cases.anything(ctx, patient, "frailty", period.first, period.last)
	if frail and frail_alone_from and age >= frail_alone_from then
		cases.exclude(case, frail, "frailty", "at %d years", age)
	elseif frail then
		local ill = cases.condition(ctx, patient, "advanced_illness", dates.add_months(period.first, -12), period.last)
		if ill then
			cases.exclude(case, frail, "frailty and advanced illness", "at %d years", age)
			fact(case, ill, "the advanced illness")
		end
	end
	local home = cases.anything(ctx, patient, "long_term_nursing", period.first, period.last)
	if home then
		cases.exclude(case, home, "long-term nursing home", "at %d years", age)
	end
end

-- ---- CMS122 ----

-- Of the most recent day with a value the lowest one; a test without a result on the most recent day counts as none.
local function latest_a1c(ctx, patient, period)
	local day, value, found, tested
	for _, observation in ipairs(cases.all(ctx, "Observation", patient)) do
		if cases.is_final(observation) and ctx:code_in(observation.code, "a1c") then
			local on = cases.span(ctx, observation)
			local number = cases.value(observation)
			if on and on >= period.first and on <= period.last and (not day or on >= day) then
				if on ~= day then
					day, value, found, tested = on, nil, nil, observation
				end
				if number and (not value or number < value) then
					value, found = number, observation
				end
			end
		end
	end
	return day, value, found or tested
end

local function cms122(ctx, patient, period)
	local case = cases.new()
	local age = cases.age(patient, period.last)
	if not age or age < 18 or age > 75 then
		return out(case, patient, "%s years old on %s, not 18 to 75", tostring(age), period.last)
	end
	local diabetes = cases.condition(ctx, patient, "diabetes", period.first, period.last)
	if not diabetes then
		return out(case, nil, "no diabetes in the period")
	end
	local visit = visit_in(ctx, patient, period)
	if not visit then
		return out(case, diabetes, "diabetes, but no qualifying visit in the period")
	end
	fact(case, diabetes, "diabetes")
	fact(case, visit.resource, "a qualifying visit on %s", visit.first)
	exclude_common(ctx, patient, case, age, period)
	local day, value, found = latest_a1c(ctx, patient, period)
	if not day then
		case.numerator = true
		fact(case, nil, "no A1c or GMI in the period: counts as poorly controlled")
	elseif not value then
		case.numerator = true
		fact(case, found, "the latest, of %s, has no result: counts as poorly controlled", day)
	else
		case.numerator = value > 9
		fact(case, found, "the latest, of %s, is %g (the lowest of that day): %s", day, value,
			case.numerator and "above 9, poorly controlled" or "not above 9")
	end
	return case
end

-- ---- CMS165 ----

local not_where = { EMER = true, IMP = true, ACUTE = true, NONAC = true, OBSENC = true, SS = true }

-- The values of systolic (8480-6) and diastolic (8462-4) pressure of one Observation: its components, or itself.
local function pressures(observation)
	local systolic, diastolic
	local function look(each)
		if resources.has_code(each.code, "8480-6", "http://loinc.org") then
			systolic = cases.value(each)
		elseif resources.has_code(each.code, "8462-4", "http://loinc.org") then
			diastolic = cases.value(each)
		end
	end
	look(observation)
	for _, component in ipairs(observation.component or {}) do
		look(component)
	end
	return systolic, diastolic
end

-- Readings in the emergency department or in hospital do not count.
local function taken_in_hospital(ctx, observation)
	local reference = resources.reference(observation.encounter)
	local encounter = reference and ctx:read(reference)
	return encounter and encounter.class and not_where[encounter.class.code]
end

local function lower(a, b)
	return b and (not a or b < a) and b or a
end

-- The last day of the period that has both, and its lowest systolic and lowest diastolic, each by itself.
local function latest_pressure(ctx, patient, period)
	local days = {}
	for _, observation in ipairs(cases.all(ctx, "Observation", patient)) do
		local systolic, diastolic = pressures(observation)
		if (systolic or diastolic) and cases.is_final(observation) then
			local on = cases.span(ctx, observation)
			if on and on >= period.first and on <= period.last and not taken_in_hospital(ctx, observation) then
				local day = days[on] or { observation = observation }
				days[on] = day
				day.systolic, day.diastolic = lower(day.systolic, systolic), lower(day.diastolic, diastolic)
			end
		end
	end
	local last
	for on, day in pairs(days) do
		if day.systolic and day.diastolic and (not last or on > last) then
			last = on
		end
	end
	return last, last and days[last]
end

local function cms165(ctx, patient, period)
	local case = cases.new()
	local age = cases.age(patient, period.last)
	if not age or age < 18 or age > 85 then
		return out(case, patient, "%s years old on %s, not 18 to 85", tostring(age), period.last)
	end
	local half = dates.add_days(dates.add_months(period.first, 6), -1)
	local hypertension = cases.condition(ctx, patient, "essential_hypertension", period.first, half)
	if not hypertension then
		return out(case, nil, "no essential hypertension between %s and %s", period.first, half)
	end
	local visit = visit_in(ctx, patient, period)
	if not visit then
		return out(case, hypertension, "essential hypertension, but no qualifying visit in the period")
	end
	fact(case, hypertension, "essential hypertension in the first six months")
	fact(case, visit.resource, "a qualifying visit on %s", visit.first)
	local kidney = cases.anything(ctx, patient, "kidney_exclusions", "0000-01-01", period.last)
	if kidney then
		cases.exclude(case, kidney, "kidney disease stage 5, dialysis or transplant", "on or before %s", period.last)
	end
	local pregnancy = cases.condition(ctx, patient, "pregnancy", period.first, period.last)
	if pregnancy then
		cases.exclude(case, pregnancy, "pregnancy", "in the period")
	end
	exclude_common(ctx, patient, case, age, period, 81)
	local day, reading = latest_pressure(ctx, patient, period)
	if not day then
		fact(case, nil, "no day of the period has both pressures, taken outside hospital: not controlled")
	else
		case.numerator = reading.systolic < 140 and reading.diastolic < 90
		fact(case, reading.observation, "the last day with both, %s: lowest systolic %g, lowest diastolic %g, %s", day,
			reading.systolic, reading.diastolic, case.numerator and "below 140 and below 90" or "not below 140 and 90")
	end
	return case
end

return {
	measure "cms122" {
		summary = "Diabetes poorly controlled: A1c or GMI above 9 %, or none", category = "outcomes", unit = "%",
			better = "lower",
		version = "13", source = "CMS122v13 (NQF 0059e), eCQI Resource Center, logic of the published CQL", period = "year",
		counts = "patients", candidates = { "Condition" }, needs_codes = with { "diabetes", "a1c" },
		initial = "18 to 75 years at the end of the period, diabetes and a qualifying visit in it",
			denominator = "the initial "
			.. "population",
		exclusions = "hospice, palliative care; from 66 years frailty with advanced illness, or a long-term nursing home",
		numerator = "the lowest value of the most recent day with an A1c or GMI is above 9 %, or has no result, or there "
			.. "is none",
		subject = cms122,
	},
	measure "cms165" {
		summary = "High blood pressure controlled: below 140/90", category = "outcomes", unit = "%", better = "higher",
		version = "13", source = "CMS165v13 (NQF 0018e), eCQI Resource Center, logic of the published CQL", period = "year",
		counts = "patients", candidates = { "Condition" },
		needs_codes = with { "essential_hypertension", "kidney_exclusions", "pregnancy" },
		initial = "18 to 85 years at the end of the period, essential hypertension in its first six months, a qualifying "
			.. "visit",
		denominator = "the initial population",
		exclusions = "end-stage kidney disease, dialysis, transplant, stage 5; pregnancy; hospice; palliative care; 66 to 80 "
			.. "frailty with advanced illness; from 81 frailty; from 66 a long-term nursing home",
		numerator = "on the last day with both, taken outside hospital, the lowest systolic is below 140 and the lowest "
			.. "diastolic below 90",
		subject = cms165,
	},
}
