-- What measures of a population share: the case with its facts, and a patient's chart with local dates. A case is what
-- a
-- measure's function gives back: { initial, denominator, numerator, exclusion, exception, value, strata, facts, about
-- }.
-- Searches are written alike in every measure, because the engine makes each search of one subject once.
local resources = require "lib/resources"

local cases = {}

-- ---- cases ----

function cases.new(about)
	return { initial = true, denominator = true, facts = {}, about = about }
end

-- `what`: a resource, a reference, or nil for a rule that no resource stands for.
function cases.fact(case, what, text, ...)
	local reference = type(what) == "string" and what or what and resources.of(what) or nil
	local words = select("#", ...) > 0 and string.format(text, ...) or text
	case.facts[#case.facts + 1] = reference and { reference, words } or { words }
	return case
end

-- Not in the initial population, and why.
function cases.out(case, what, text, ...)
	cases.fact(case, what, text, ...)
	case.initial, case.denominator, case.numerator = false, false, false
	return case
end

-- In the initial population, not in the denominator.
function cases.not_eligible(case, what, text, ...)
	cases.fact(case, what, text, ...)
	case.denominator = false
	return case
end

-- The first reason counts; later ones are facts.
function cases.exclude(case, what, reason, text, ...)
	cases.fact(case, what, "excluded, " .. reason .. ": " .. text, ...)
	case.exclusion = case.exclusion or reason
	return case
end

function cases.stratum(case, name)
	case.strata = case.strata or {}
	case.strata[#case.strata + 1] = name
	return case
end

-- ---- time ----

-- The local date of a date, dateTime or partial date ("2026-03" is its first day).
function cases.date(ctx, text)
	if text == nil then
		return nil
	elseif #text == 4 then
		return text .. "-01-01"
	elseif #text == 7 then
		return text .. "-01"
	end
	return #text == 10 and text or ctx:local_date(text)
end

-- First and last local date of what a resource says it happened; the last is nil while it goes on.
function cases.span(ctx, resource)
	local period = resource.effectivePeriod or resource.period or resource.performedPeriod or resource.onsetPeriod
		or resource.billablePeriod or resource.servicedPeriod or resource.executionPeriod
	local at = resource.effectiveDateTime or resource.effectiveInstant or resource.performedDateTime
		or resource.onsetDateTime or resource.authoredOn or resource.recordedDate or resource.issued
	if period then
		return cases.date(ctx, period.start or period["end"]), period["end"] and cases.date(ctx, period["end"])
	end
	local day = cases.date(ctx, at)
	return day, day
end

-- Whole years from the birth date to a date; born on February 29, a year is full on March 1.
function cases.age(patient, day)
	local birth = patient.birthDate
	if not birth then
		return nil
	elseif #birth == 4 then
		birth = birth .. "-01-01"
	elseif #birth == 7 then
		birth = birth .. "-01"
	end
	local years = tonumber(string.sub(day, 1, 4)) - tonumber(string.sub(birth, 1, 4))
	if string.sub(day, 6) < string.sub(birth, 6) then
		years = years - 1
	end
	return math.tointeger(years)
end

-- The date of death, or nil. "deceased" without a date is the day of nothing: it excludes at once.
function cases.death(ctx, patient)
	if patient.deceasedDateTime then
		return cases.date(ctx, patient.deceasedDateTime)
	end
	return patient.deceasedBoolean and "0001-01-01" or nil
end

-- ---- the chart ----

-- How many resources of one type one patient may have here.
local most = 1000

function cases.all(ctx, kind, patient)
	return ctx:search(kind, { patient = "Patient/" .. patient.id, _count = most })
end

function cases.is_valid(resource)
	return resource.status ~= "entered-in-error" and not (resource.verificationStatus
		and (resources.has_code(resource.verificationStatus, "entered-in-error")
			or resources.has_code(resource.verificationStatus, "refuted")))
end

local function clinical(condition)
	return resources.code(condition.clinicalStatus)
end

-- The local dates between which a condition holds: its onset (else when it was recorded), and its end, nil while it
-- holds.
function cases.condition_span(ctx, condition)
	local first = condition.onsetDateTime or condition.onsetPeriod and condition.onsetPeriod.start
		or condition.recordedDate
	local last = condition.abatementDateTime or condition.abatementPeriod and condition.abatementPeriod["end"]
		or condition.onsetPeriod and condition.onsetPeriod["end"]
	first, last = cases.date(ctx, first), cases.date(ctx, last)
	if not last and (clinical(condition) == "resolved" or clinical(condition) == "inactive"
		or clinical(condition) == "remission") then
		last = cases.date(ctx, condition.recordedDate) or first
	end
	return first, last
end

-- The first condition of a list that overlaps [from, to] (local dates, inclusive; nil = open), or nil. `confirmed`
-- wants
-- verificationStatus confirmed.
function cases.condition(ctx, patient, list, from, to, confirmed)
	local found, found_first
	for _, condition in ipairs(cases.all(ctx, "Condition", patient)) do
		if cases.is_valid(condition) and ctx:code_in(condition.code, list)
			and (not confirmed or resources.has_code(condition.verificationStatus, "confirmed")) then
			local first, last = cases.condition_span(ctx, condition)
			local starts = not to or first == nil or first <= to
			local ends = not from or last == nil or last >= from
			if starts and ends and (not found or (first or "") < found_first) then
				found, found_first = condition, first or ""
			end
		end
	end
	return found
end

-- What was done or ordered that is in a list and overlaps [from, to]: encounters (by type, reason or discharge),
-- procedures,
-- service requests, observations, conditions. Wherever it is written, it counts.
local carriers = {
	{ "Encounter", function (each) return each.type end },
	{ "Procedure", function (each) return each.code end },
	{ "ServiceRequest", function (each) return each.code end },
	{ "Observation", function (each) return each.code end },
}

function cases.anything(ctx, patient, list, from, to)
	local condition = cases.condition(ctx, patient, list, from, to)
	if condition then
		return condition
	end
	for _, carrier in ipairs(carriers) do
		for _, each in ipairs(cases.all(ctx, carrier[1], patient)) do
			local first, last = cases.span(ctx, each)
			if cases.is_valid(each) and each.status ~= "cancelled" and each.status ~= "not-done" and each.status ~= "revoked"
				and first and first <= to and (last or first) >= from then
				local matched = ctx:code_in(carrier[2](each), list)
					or carrier[1] == "Encounter" and (ctx:code_in(each.reasonCode, list)
						or ctx:code_in(each.hospitalization and each.hospitalization.dischargeDisposition, list))
				if matched then
					return each
				end
			end
		end
	end
	return nil
end

-- ---- encounters ----

-- Finished encounters with local dates, by start: { resource, first, last, class, start }.
function cases.encounters(ctx, patient)
	local found = {}
	for _, encounter in ipairs(cases.all(ctx, "Encounter", patient)) do
		local period = encounter.period
		if encounter.status == "finished" and period and period.start then
			local first = cases.date(ctx, period.start)
			found[#found + 1] = {
				resource = encounter, first = first, last = period["end"] and cases.date(ctx, period["end"]) or first,
				class = encounter.class and encounter.class.code, start = period.start, finish = period["end"],
			}
		end
	end
	table.sort(found, function (a, b)
		return a.first < b.first or a.first == b.first and a.resource.id < b.resource.id
	end)
	return found
end

local outpatient = { AMB = true, VR = true, HH = true, FLD = true }
local inpatient = { IMP = true, ACUTE = true, NONAC = true, SS = true, OBSENC = true }

function cases.is_outpatient(encounter)
	return outpatient[encounter.class] == true
end

function cases.is_inpatient(encounter)
	return inpatient[encounter.class] == true
end

function cases.is_emergency(encounter)
	return encounter.class == "EMER"
end

-- A visit of the kinds that published measures count: by the organization's list, when it loaded one; else by its
-- class.
function cases.is_qualifying(ctx, encounter)
	if ctx:has_codes("qualifying_visits") then
		return ctx:code_in(encounter.resource.type, "qualifying_visits") ~= nil
	end
	return cases.is_outpatient(encounter)
end

-- ---- values ----

-- A number of an Observation, or nil.
function cases.value(observation)
	local quantity = observation.valueQuantity
	return quantity and tonumber(quantity.value) or tonumber(observation.valueInteger)
end

function cases.is_final(observation)
	return observation.status == "final" or observation.status == "amended" or observation.status == "corrected"
end

return cases
