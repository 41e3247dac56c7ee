-- Shares over depression screens and consultants' visits that several models and programs report.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"

local screens = {}

local consultant_types = { ["consultant-visit"] = true, ["consultant-call"] = true }

-- "consultant-visit", "consultant-call" or nil.
function screens.consultant_type(encounter)
	for _, concept in ipairs(encounter.type or {}) do
		local code = resources.code(concept, codes.system.encounter)
		if consultant_types[code] then
			return code
		end
	end
	return nil
end

function screens.start_of(encounter)
	return encounter.period and encounter.period.start
end

local void = { cancelled = true, planned = true, ["entered-in-error"] = true }

-- A visit that the primary care provider had: ambulatory, took place, is no consultant's.
function screens.is_medical(encounter)
	return not void[encounter.status] and not screens.consultant_type(encounter)
		and resources.reference(encounter.subject) ~= nil and screens.start_of(encounter) ~= nil
end

-- Calls fn(encounter, patient, local day) for every medical visit of a month.
function screens.each_medical(ctx, month, fn)
	resources.each_of_month(ctx, month, "Encounter", "date", "class=AMB", screens.start_of, function (encounter)
		if screens.is_medical(encounter) then
			fn(encounter, resources.reference(encounter.subject), dates.local_date(ctx, screens.start_of(encounter)))
		end
	end)
end

local screen_codes = codes.loinc.phq9_total .. "," .. codes.loinc.phq9m_total .. "," .. codes.loinc.phq2_total

local counts = { final = true, amended = true, corrected = true }

-- Medical visits whose patient has a depression screen of that day or of the 14 days before (the 14 days are CMS2's).
-- The screens are gone through once: a search for each visit is too much for a large clinic's month.
function screens.screened(ctx, month)
	local window = { start = ctx:add(month.start, "-15 days"), finish = month.finish }
	local taken = {}
	resources.each_of_month(ctx, window, "Observation", "date", "code=" .. screen_codes, function (observation)
		return observation.effectiveDateTime
	end, function (observation)
		local patient = resources.reference(observation.subject)
		if patient and counts[observation.status] then
			taken[patient] = taken[patient] or {}
			table.insert(taken[patient], dates.local_date(ctx, observation.effectiveDateTime))
		end
	end)
	local screened, visits = 0, 0
	screens.each_medical(ctx, month, function (_, patient, day)
		visits = visits + 1
		for _, date in ipairs(taken[patient] or {}) do
			if date <= day and dates.between(date, day) <= 14 then
				screened = screened + 1
				return
			end
		end
	end)
	if visits == 0 then
		return nil
	end
	return { numerator = screened, denominator = visits }
end

-- "Patient/x 2026-11-02" = true for every day of the month with a consultant's visit or call.
local function contact_days(ctx, month)
	local days = {}
	resources.each_of_month(ctx, month, "Encounter", "date", "type=consultant-visit,consultant-call", screens.start_of,
		function (encounter)
			local patient = resources.reference(encounter.subject)
			if patient and screens.consultant_type(encounter) and not void[encounter.status] then
				days[patient .. " " .. dates.local_date(ctx, screens.start_of(encounter))] = true
			end
		end)
	return days
end

-- Positive screens whose patient had contact with a consultant on the same day. `cuts` = { phq9 =, phq2 = }.
function screens.positive_contacted(ctx, month, cuts)
	local contacted, positive, counted, days = 0, 0, {}, contact_days(ctx, month)
	resources.each_of_month(ctx, month, "Observation", "date", "code=" .. screen_codes, function (observation)
		return observation.effectiveDateTime
	end, function (observation)
		local patient, value = resources.reference(observation.subject), scores.value(observation)
		local short = resources.has_code(observation.code, codes.loinc.phq2_total)
		local day = dates.local_date(ctx, observation.effectiveDateTime)
		local key = (patient or "") .. " " .. day
		if not patient or not value or observation.status == "entered-in-error" or counted[key]
			or value < (short and cuts.phq2 or cuts.phq9) then
			return
		end
		counted[key] = true -- a PHQ-2 and the PHQ-9 that followed are one screen
		positive = positive + 1
		contacted = contacted + (days[key] and 1 or 0)
	end)
	if positive == 0 then
		return nil
	end
	return { numerator = contacted, denominator = positive }
end

return screens
