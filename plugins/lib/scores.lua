-- PHQ-9, PHQ-2, GAD-7 and GAD-2: scoring and the named predicates over scores. Rules: domain.md sections 2.1, 2.2,
-- 2.21, 2.22.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"

local scores = {}

scores.prorated_url = "urn:careloop:score:prorated" -- extension on an Observation: must not feed quality measures

-- `may_miss`: how many items may be unanswered and the total still be prorated. The rule is stated for the PHQ-9 only.
-- `bands`: from this total on, this severity. `positive`: cut for further evaluation.
scores.instruments = {
	phq9 = {
		name = "PHQ-9", panel = codes.loinc.phq9_panel, total = codes.loinc.phq9_total, maximum = 27, may_miss = 2,
		items = {
			"44250-9", "44255-8", "44259-0", "44254-1", "44251-7", "44258-2", "44252-5", "44253-3", "44260-8",
		},
		bands = { -- [S54]
			{ 0, "minimal" }, { 5, "mild" }, { 10, "moderate" }, { 15, "moderately severe" }, { 20, "severe" },
		},
		positive = 10, -- [S54]
		safety_item = 9,
	},
	phq2 = {
		name = "PHQ-2", panel = codes.loinc.phq2_panel, total = codes.loinc.phq2_total, maximum = 6, may_miss = 0,
		items = { "44250-9", "44255-8" },
		positive = 3, -- [S57]
	},
	gad7 = {
		name = "GAD-7", panel = codes.loinc.gad7_panel, total = codes.loinc.gad7_total, maximum = 21, may_miss = 0,
		items = { "69725-0", "68509-9", "69733-4", "69734-2", "69735-9", "69689-8", "69736-7" },
		bands = { { 0, "minimal" }, { 5, "mild" }, { 10, "moderate" }, { 15, "severe" } }, -- [S54][S61]
		positive = 10,
	},
	gad2 = {
		-- No LOINC code of its own was checked: the total is kept under Careloop's own system.
		name = "GAD-2", panel = "gad-2", total = "gad-2", system = codes.system.score, maximum = 6, may_miss = 0,
		items = { "69725-0", "68509-9" },
		positive = 3, -- [S54]
	},
}

local function severity_of(instrument, total)
	local found
	for _, band in ipairs(instrument.bands or {}) do
		if total >= band[1] then
			found = band[2]
		end
	end
	return found
end

-- Scores answers: a table from item number to 0..3, unanswered items absent. Returns
-- { instrument, total or nil, answered, missing, prorated, complete, severity, positive, safety, item9 }.
-- The total is nil, never 0, when too much is missing. `safety` is "present", "absent" or "not assessed" (PHQ-9 only).
function scores.score(kind, answers)
	local instrument = scores.instruments[kind]
	local count = #instrument.items
	local sum, answered = 0, 0
	for number = 1, count do
		local value = answers[number]
		if value then
			sum = sum + value
			answered = answered + 1
		end
	end
	local missing = count - answered
	local result = {
		instrument = kind, answered = answered, missing = missing, complete = missing == 0, prorated = false,
	}
	if missing == 0 then
		result.total = sum
	elseif missing <= instrument.may_miss then
		result.total = math.floor(sum / answered * count + 0.5)
		result.prorated = true
	end
	if result.total then
		result.severity = severity_of(instrument, result.total)
		result.positive = result.total >= instrument.positive
	end
	if instrument.safety_item then
		local item = answers[instrument.safety_item]
		result.item9 = item
		result.safety = item == nil and "not assessed" or item >= 1 and "present" or "absent"
	end
	return result
end

-- "major", "other" or nil from PHQ-9 answers [S55]: five (or two to four) items at 2 or more with item 1 or 2 among
-- them; item 9 counts from 1 on.
function scores.syndrome(answers)
	local high = 0
	for number = 1, 9 do
		local value = answers[number] or 0
		if value >= 2 or number == 9 and value >= 1 then
			high = high + 1
		end
	end
	if (answers[1] or 0) < 2 and (answers[2] or 0) < 2 then
		return nil
	end
	return high >= 5 and "major" or high >= 2 and "other" or nil
end

-- ---- QuestionnaireResponse ----

local function whole(value)
	local number = math.tointeger(tonumber(value))
	return number and number >= 0 and number <= 3 and number or nil
end

-- Coded by LL358-3, by an ordinal extension, or as a number.
local function answer_value(answer)
	local coding = answer.valueCoding
	if coding then
		local value = codes.answer_value[coding.code]
		if value then
			return value
		end
		for _, extension in ipairs(coding.extension or {}) do
			if extension.url == "http://hl7.org/fhir/StructureDefinition/ordinalValue"
				or extension.url == "http://hl7.org/fhir/StructureDefinition/itemWeight" then
				return whole(extension.valueDecimal)
			end
		end
		return whole(coding.code)
	end
	return whole(answer.valueInteger or answer.valueDecimal)
end

-- linkIds are the LOINC codes, alone or at the end of a path ("/44250-9").
local function collect(items, found)
	for _, item in ipairs(items or {}) do
		local code = string.match(item.linkId or "", "(%d+%-%d)$")
		if code and item.answer and item.answer[1] then
			found[code] = answer_value(item.answer[1])
		end
		if code then
			found.asked[code] = true
		end
		collect(item.item, found)
		for _, answer in ipairs(item.answer or {}) do
			collect(answer.item, found)
		end
	end
	return found
end

-- Answers of one instrument in a QuestionnaireResponse, by item number.
function scores.answers(response, kind)
	local found = collect(response.item, { asked = {} })
	local answers = {}
	for number, code in ipairs(scores.instruments[kind].items) do
		answers[number] = found[code]
	end
	return answers
end

-- Which instruments a response holds: by its questionnaire's code, else by the items asked.
function scores.kinds(response)
	local questionnaire = response.questionnaire or ""
	local found = collect(response.item, { asked = {} })
	local kinds = {}
	local function asked(from, to, kind)
		for number = from, to do
			if found.asked[scores.instruments[kind].items[number]] then
				return true
			end
		end
		return false
	end
	local short_depression = string.find(questionnaire, codes.loinc.phq2_panel, 1, true)
		or string.find(questionnaire, codes.loinc.phq2_assessment_form, 1, true)
	if not short_depression and (string.find(questionnaire, codes.loinc.phq9_panel, 1, true) or asked(3, 9, "phq9")) then
		kinds[#kinds + 1] = "phq9"
	elseif short_depression or asked(1, 2, "phq2") then
		kinds[#kinds + 1] = "phq2"
	end
	if string.find(questionnaire, codes.loinc.gad7_panel, 1, true) or asked(3, 7, "gad7") then
		kinds[#kinds + 1] = "gad7"
	elseif asked(1, 2, "gad2") then
		kinds[#kinds + 1] = "gad2"
	end
	return kinds
end

-- Every score of a response, in order.
function scores.of_response(response)
	local results = {}
	for _, kind in ipairs(scores.kinds(response)) do
		results[#results + 1] = scores.score(kind, scores.answers(response, kind))
	end
	return results
end

-- ---- Observation ----

-- The total as an Observation; nil when there is no total. `about` has patient, response, at, encounter (references,
-- dateTime).
function scores.observation(score, about)
	if not score.total then
		return nil
	end
	local instrument = scores.instruments[score.instrument]
	local observation = {
		resourceType = "Observation", status = "final",
		category = { resources.concept(codes.system.observation_category, "survey", "Survey") },
		code = {
			coding = { { system = instrument.system or codes.system.loinc, code = instrument.total } },
			text = instrument.name .. " total",
		},
		subject = { reference = about.patient },
		effectiveDateTime = about.at,
		valueQuantity = { value = score.total, unit = "score", system = "http://unitsofmeasure.org", code = "{score}" },
		derivedFrom = about.response and { { reference = about.response } } or nil,
		encounter = about.encounter and { reference = about.encounter } or nil,
	}
	if score.severity then
		observation.interpretation = { { text = score.severity } }
	end
	if score.prorated then
		observation.extension = { { url = scores.prorated_url, valueBoolean = true } }
		observation.note = { {
			text = "Prorated: " .. score.missing .. " of " .. #instrument.items .. " items unanswered. "
				.. "Not for quality measures.",
		} }
	end
	return observation
end

-- Stores the scores of a QuestionnaireResponse as Observations, once each: a corrected response corrects its
-- Observation. Returns the scores; each with `observation`, its reference, when it has a total.
function scores.record(ctx, response)
	local patient = resources.reference(response.subject)
	local response_reference = resources.of(response)
	local results = scores.of_response(response)
	if not patient then
		return results
	end
	for _, score in ipairs(results) do
		local observation = scores.observation(score, {
			patient = patient, response = response_reference, at = response.authored or ctx:now(),
			encounter = resources.reference(response.encounter),
		})
		local known
		for _, candidate in ipairs(ctx:search("Observation", { ["derived-from"] = response_reference, _count = 20 })) do
			if resources.has_code(candidate.code, scores.instruments[score.instrument].total) then
				known = candidate
			end
		end
		if observation and known then
			observation.id = known.id
			score.observation = resources.of(known)
			if known.status ~= "final" or known.valueQuantity.value ~= score.total then
				observation.status = "corrected"
				ctx:update(observation)
			end
		elseif observation then
			score.observation = ctx:create(observation)
			score.new = true
		elseif known then -- the correction took the total away
			local withdrawn = plain(known)
			withdrawn.status = "entered-in-error"
			ctx:update(withdrawn)
		end
	end
	return results
end

-- May this Observation feed CMS159, DRR-E or another published measure? A prorated total must not (section 0 row 10).
function scores.measurable(observation)
	if resources.extension(observation, scores.prorated_url) then
		return false
	end
	return observation.status == "final" or observation.status == "amended" or observation.status == "corrected" -- [S64]
end

-- A patient's totals of one instrument, oldest first: { value, at, date, reference, prorated }.
-- `options.measurable` leaves out what must not feed measures.
function scores.series(ctx, patient, kind, options)
	local instrument = scores.instruments[kind]
	local found = {}
	for _, observation in ipairs(ctx:search("Observation", {
		patient = patient, code = (instrument.system or codes.system.loinc) .. "|" .. instrument.total,
		status = "final,amended,corrected", _sort = "date", _count = 500,
	})) do
		local value = observation.valueQuantity and tonumber(observation.valueQuantity.value)
			or observation.valueInteger and tonumber(observation.valueInteger)
		local at = observation.effectiveDateTime or observation.issued
		if value and at and (not (options and options.measurable) or scores.measurable(observation)) then
			found[#found + 1] = {
				value = math.tointeger(value) or value, at = at, date = dates.local_date(ctx, at),
				reference = resources.of(observation),
				prorated = resources.extension(observation, scores.prorated_url) ~= nil,
			}
		end
	end
	return found
end

-- ---- Named predicates. Each has its own rule and its own window; they are never merged. ----

-- At least 50 % lower than the index (DRR-E [S62][S63]).
function scores.is_response(index, latest)
	return latest <= index * 0.5
end

-- Below 5 (DRR-E and CMS159 [S62][S64]).
function scores.is_remission(latest)
	return latest < 5
end

-- Minimal clinically important change: 5 points ([k], section 2.1).
function scores.is_five_points_better(index, latest)
	return index - latest >= 5
end

function scores.is_five_points_worse(index, latest)
	return latest - index >= 5
end

-- Clinically significant improvement in the MHIP study [S65]: from 10 or more to below 10, or at least 50 % lower.
function scores.is_significant_improvement(baseline, latest)
	return baseline >= 10 and (latest < 10 or latest <= baseline * 0.5)
end

-- ---- Windows, as first and last date, both inclusive ----

-- DRR-E: 120 to 240 days after the index [S62][S63].
function scores.drr_window(index_date)
	return dates.add_days(index_date, 120), dates.add_days(index_date, 240)
end

-- CMS159, MIPS 370, 0710e: twelve months after the index, 60 days either way [S64].
function scores.cms159_window(index_date)
	local anniversary = dates.add_months(index_date, 12)
	return dates.add_days(anniversary, -60), dates.add_days(anniversary, 60)
end

-- CMS159: index events count from the first date up to, not including, the second [S64].
function scores.cms159_identification(period_start)
	return dates.add_months(period_start, -14), dates.add_months(period_start, -2)
end

-- MHIP: by 24 weeks after the baseline [S65].
function scores.mhip_window(index_date)
	return index_date, dates.add_days(index_date, 24 * 7)
end

-- The last total within a window of dates, or nil.
function scores.last_in(series, first, last)
	local found
	for _, entry in ipairs(series) do
		if entry.date >= first and entry.date <= last then
			found = entry
		end
	end
	return found
end

return scores
