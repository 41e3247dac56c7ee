-- Scoring of the questionnaires of lib/instruments.lua, and the named predicates over scores.
local codes = require "lib/codes"
local dates = require "lib/dates"
local instruments = require "lib/instruments"
local resources = require "lib/resources"

local scores = {}

scores.prorated_url = "urn:careloop:score:prorated" -- extension on an Observation: must not feed quality measures
scores.instruments = instruments.all() -- the shipped ones; with ctx, instruments.all(ctx) has the organization's too

local function severity_of(instrument, total)
	local found
	for _, band in ipairs(instrument.bands or {}) do
		if total >= band[1] then
			found = band[2]
		end
	end
	return found
end

-- The band of a total, or nil.
function scores.severity(kind, total)
	return severity_of(scores.instruments[kind], total)
end

-- Scores answers: a table from item number to its value, unanswered items absent. Returns
-- { instrument, total or nil, answered, missing, prorated, complete, severity, positive, safety, item9, syndrome }.
-- The total is nil, never 0, when too much is missing. `safety` is "present", "absent" or "not assessed" (instruments
-- with a safety item only). `gender` (optional) is Patient.gender, for cuts that depend on it.
function scores.score(kind, answers, all, gender)
	local instrument = (all or scores.instruments)[kind]
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
		answers = answers,
	}
	if instrument.survey then
		result.survey = instrument.survey -- a survey has answers, no total
	elseif missing == 0 then
		result.total = sum
	elseif missing <= instrument.may_miss and answered > 0 then
		result.total = math.floor(sum / answered * count + 0.5)
		result.prorated = true
	end
	if result.total then
		local cut = instrument.positive_of and gender and instrument.positive_of[gender] or instrument.positive
		result.severity = severity_of(instrument, result.total)
		result.positive = cut and result.total >= cut or false
	end
	if instrument.safety_item then
		local item = answers[instrument.safety_item]
		result.item9 = item
		result.safety = item == nil and "not assessed" or item >= 1 and "present" or "absent"
	end
	if instrument.syndrome and result.complete then
		result.syndrome = scores.syndrome(answers)
	end
	return result
end

-- "major", "other" or nil from the answers to PHQ-9 or PHQ-9M (PHQ instruction manual): five (or two to four) items at
-- 2 or more with item 1 or 2 among them; item 9 counts from 1 on.
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

local ordinal_urls = {
	["http://hl7.org/fhir/StructureDefinition/ordinalValue"] = true,
	["http://hl7.org/fhir/StructureDefinition/itemWeight"] = true,
}

-- The number an answer states, before it is known which item it is to: by an ordinal extension or as a number.
local function stated(answer)
	for _, extension in ipairs(answer.valueCoding and answer.valueCoding.extension or {}) do
		if ordinal_urls[extension.url] then
			return tonumber(extension.valueDecimal)
		end
	end
	return tonumber(answer.valueInteger or answer.valueDecimal or answer.valueCoding and answer.valueCoding.code)
end

-- The value of an answer to an item: one of the item's answers by code or by worth. Else nil and, when it claims to be
-- one, true.
local function value_of(instrument, item, answer)
	local coding, number = answer.valueCoding, stated(answer)
	for _, each in ipairs(item.answers) do
		if number == each.value or coding and (coding.code == each.code
			or coding.code == instrument.kind .. "-" .. each.value) then
			return each.value
		end
	end
	return nil, number ~= nil or coding ~= nil and coding.system == codes.system.loinc
end

-- linkIds are the items' links, alone or at the end of a path ("/44250-9"). found[link] = { answer, where }; an item
-- that was asked and not answered has no answer.
local function collect(items, place, found)
	for number, item in ipairs(items or {}) do
		local where = string.format("%s.item[%d]", place, number - 1)
		local link = string.match(item.linkId or "", "(%d+%-%d)$") or string.match(item.linkId or "", "([^/]+)$")
		if link and not (found[link] and found[link].answer) then
			found[link] = { answer = item.answer and item.answer[1], where = where .. ".answer[0]" }
		end
		collect(item.item, where, found)
		for at, answer in ipairs(item.answer or {}) do
			collect(answer.item, string.format("%s.answer[%d]", where, at - 1), found)
		end
	end
	return found
end

local function asked_of(response)
	return collect(response.item, "QuestionnaireResponse", {})
end

-- Answers to one instrument by item number, and what is impossible among them: a list of { rule, where, text }.
local function read_answers(instrument, asked)
	local answers, faults = {}, {}
	local function fault(rule, where, ...)
		faults[#faults + 1] = { rule = instrument.kind .. "." .. rule, where = where, text = string.format(...) }
	end
	local sum, whole = 0, true
	for number, item in ipairs(instrument.items) do
		local found = asked[item.link]
		local value, wrong
		if found and found.answer then
			value, wrong = value_of(instrument, item, found.answer)
		end
		if wrong then
			fault("answer", found.where, "%s: an answer to item %d is worth %d to %d", instrument.name, number, item.lowest,
				item.highest)
		end
		answers[number] = value
		sum, whole = sum + (value or 0), whole and value ~= nil
	end
	local stated_total = asked[instrument.total]
	local total = stated_total and stated_total.answer and stated(stated_total.answer)
	if total and (total < instrument.minimum or total > instrument.maximum) then
		fault("total", stated_total.where, "%s: a total lies between %d and %d", instrument.name, instrument.minimum,
			instrument.maximum)
	elseif total and whole and total ~= sum then
		fault("sum", stated_total.where, "%s: the answers add up to %d, not %s", instrument.name, sum, tostring(total))
	end
	return answers, faults
end

-- Which instruments a response holds: what its questionnaire says, else by the items asked, the longest form that has
-- them.
function scores.kinds(response, all)
	all = all or scores.instruments
	local asked, kinds = asked_of(response), {}
	local named = instruments.of_canonical(all, response.questionnaire)
	local function holds(kind, from)
		for number = from, #all[kind].items do
			if asked[all[kind].items[number].link] then
				return true
			end
		end
		return false
	end
	if named then
		kinds[1] = named.kind
	end
	for _, pair in ipairs { { "phq9", "phq2" }, { "gad7", "gad2" } } do
		local long, short = pair[1], pair[2]
		if not (named and (named.kind == long or named.kind == short)) then
			if holds(long, 3) then
				kinds[#kinds + 1] = long
			elseif holds(short, 1) then
				kinds[#kinds + 1] = short
			end
		end
	end
	return kinds
end

-- Answers of one instrument in a QuestionnaireResponse, by item number.
function scores.answers(response, kind, all)
	return (read_answers((all or scores.instruments)[kind], asked_of(response)))
end

-- Every score of a response, in order.
function scores.of_response(response, all, gender)
	local results = {}
	for _, kind in ipairs(scores.kinds(response, all)) do
		results[#results + 1] = scores.score(kind, scores.answers(response, kind, all), all, gender)
	end
	return results
end

-- What no form can hold: answers and totals outside their range, a total that is not the sum.
function scores.faults(response, all)
	all = all or scores.instruments
	local found, asked = {}, asked_of(response)
	for _, kind in ipairs(scores.kinds(response, all)) do
		local _, faults = read_answers(all[kind], asked)
		table.move(faults, 1, #faults, #found + 1, found)
	end
	return found
end

-- ---- Observation ----

local function text_notes(instrument, score)
	local texts = {}
	if score.prorated then
		texts[#texts + 1] = "Prorated: " .. score.missing .. " of " .. #instrument.items .. " items unanswered. "
			.. "Not for quality measures."
	end
	if score.safety == "not assessed" then
		texts[#texts + 1] = "Item " .. instrument.safety_item .. " (self-harm) not assessed."
	end
	if score.syndrome then
		texts[#texts + 1] = "The answers suggest " .. (score.syndrome == "major" and "a major" or "another")
			.. " depressive syndrome; a diagnosis is the clinician's."
	end
	return texts
end

-- The total as an Observation with the answers as components; nil when there is no total. `about` has patient,
-- response, at, encounter (references, dateTime).
function scores.observation(score, about, all)
	if not score.total then
		return nil
	end
	local instrument = (all or scores.instruments)[score.instrument]
	local observation = {
		resourceType = "Observation", status = "final",
		category = { resources.concept(codes.system.observation_category, "survey", "Survey") },
		code = {
			coding = { { system = instrument.system, code = instrument.total } },
			text = instrument.name .. " total",
		},
		subject = about.patient and { reference = about.patient } or nil,
		effectiveDateTime = about.at,
		valueQuantity = { value = score.total, unit = "score", system = "http://unitsofmeasure.org", code = "{score}" },
		derivedFrom = about.response and { { reference = about.response } } or nil,
		encounter = about.encounter and { reference = about.encounter } or nil,
		component = {}, note = {},
	}
	for number, item in ipairs(instrument.items) do
		local is_loinc = string.match(item.link, "^%d+%-%d$")
		if score.answers[number] then
			observation.component[#observation.component + 1] = {
				code = { coding = { { system = is_loinc and codes.system.loinc or codes.system.score, code = item.link } } },
				valueInteger = score.answers[number],
			}
		end
	end
	for _, text in ipairs(text_notes(instrument, score)) do
		observation.note[#observation.note + 1] = { text = text }
	end
	if #observation.note == 0 then
		observation.note = nil
	end
	if score.severity then
		observation.interpretation = { { text = score.severity } }
	end
	if score.prorated then
		observation.extension = { { url = scores.prorated_url, valueBoolean = true } }
	end
	return observation
end

local function same_answers(known, made)
	if #(known.component or {}) ~= #made.component or tonumber(known.valueQuantity.value) ~= made.valueQuantity.value then
		return false
	end
	for number, component in ipairs(made.component) do
		local other = known.component[number]
		if other.code.coding[1].code ~= component.code.coding[1].code
			or tonumber(other.valueInteger) ~= component.valueInteger then
			return false
		end
	end
	return true
end

local function derived(ctx, response_reference)
	return ctx:search("Observation", { ["derived-from"] = response_reference, _count = 50 })
end

local function take_back(ctx, observation)
	if observation.status ~= "entered-in-error" then
		local withdrawn = plain(observation)
		withdrawn.status = "entered-in-error"
		ctx:update(withdrawn)
	end
end

-- The form was entered in error or deleted: its totals count no more.
function scores.withdraw(ctx, response_reference)
	for _, observation in ipairs(derived(ctx, response_reference)) do
		take_back(ctx, observation)
	end
end

-- What another plugin recorded of this response in the same transaction: results as of `record`, nothing is written.
function scores.recorded(ctx, response, all)
	all = all or instruments.all(ctx)
	local results = scores.of_response(response, all)
	local before = derived(ctx, resources.of(response))
	for _, score in ipairs(results) do
		for _, candidate in ipairs(before) do
			if resources.has_code(candidate.code, all[score.instrument].total) then
				score.observation, score.new = resources.of(candidate), candidate.meta.versionId == "1"
			end
		end
	end
	return results
end

-- Stores the scores of a QuestionnaireResponse as Observations, once each: a corrected response corrects its
-- Observation. Returns the scores; each with `observation`, its reference, when it has a total.
function scores.record(ctx, response, all)
	all = all or instruments.all(ctx)
	local patient = resources.reference(response.subject)
	local response_reference = resources.of(response)
	local person = patient and ctx:read(patient)
	local results = scores.of_response(response, all, person and person.gender)
	if not patient then
		return results
	end
	local before = derived(ctx, response_reference)
	for _, score in ipairs(results) do
		local observation = scores.observation(score, {
			patient = patient, response = response_reference, at = response.authored or ctx:now(),
			encounter = resources.reference(response.encounter),
		}, all)
		local known
		for _, candidate in ipairs(before) do
			if resources.has_code(candidate.code, all[score.instrument].total) then
				known = candidate
			end
		end
		if observation and known then
			observation.id = known.id
			score.observation = resources.of(known)
			if known.status == "entered-in-error" or not same_answers(known, observation) then
				observation.status = "corrected"
				ctx:update(observation)
			end
		elseif observation then
			score.observation = ctx:create(observation)
			score.new = true
		elseif known then -- the correction took the total away
			take_back(ctx, known)
		end
	end
	return results
end

-- The number an Observation states, or nil.
function scores.value(observation)
	return tonumber(observation.valueQuantity and observation.valueQuantity.value or observation.valueInteger)
end

-- What no total or answer can be: { rule, where, text } or nil. A score of 30 on the PHQ-9 breaks "phq9.total".
function scores.observation_fault(observation, all)
	local value = scores.value(observation)
	if not value or observation.status == "entered-in-error" then
		return nil
	end
	for kind, instrument in pairs(all or scores.instruments) do
		if resources.has_code(observation.code, instrument.total, instrument.system)
			and (value < instrument.minimum or value > instrument.maximum or value ~= math.floor(value)) then
			return {
				rule = kind .. ".total", where = "Observation.valueQuantity.value",
				text = string.format("%s: a total is a whole number from %d to %d, not %s", instrument.name, instrument.minimum,
					instrument.maximum, tostring(value)),
			}
		end
	end
	return nil
end

-- May this Observation feed CMS159, DRR-E or another published measure? A prorated total must not.
function scores.measurable(observation)
	if resources.extension(observation, scores.prorated_url) then
		return false
	end
	return observation.status == "final" or observation.status == "amended" or observation.status == "corrected" -- CMS159
end

-- A patient's totals of one instrument, oldest first: { value, at, date, reference, prorated }.
-- `options.measurable` leaves out what must not feed measures; `options.also` names instruments on the same scale (a
-- course that began with the PHQ-9M goes on with the PHQ-9, as CMS159 allows).
function scores.series(ctx, patient, kind, options)
	local all, wanted, found = scores.instruments, {}, {}
	if not all[kind] then
		all = instruments.all(ctx)
	end
	for number, each in ipairs(resources.with(options and options.also, kind)) do
		wanted[number] = all[each].system .. "|" .. all[each].total
	end
	for _, observation in ipairs(ctx:search("Observation", {
		patient = patient, code = table.concat(wanted, ","), status = "final,amended,corrected", _sort = "date",
		_count = 500,
	})) do
		local value = scores.value(observation)
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

-- At least 50 % lower than the index (DRR-E).
function scores.is_response(index, latest)
	return latest <= index * 0.5
end

-- Below 5 (DRR-E and CMS159).
function scores.is_remission(latest)
	return latest < 5
end

-- Minimal clinically important change: 5 points.
function scores.is_five_points_better(index, latest)
	return index - latest >= 5
end

function scores.is_five_points_worse(index, latest)
	return latest - index >= 5
end

-- Clinically significant improvement in the MHIP study: from 10 or more to below 10, or at least 50 % lower.
function scores.is_significant_improvement(baseline, latest)
	return baseline >= 10 and (latest < 10 or latest <= baseline * 0.5)
end

-- ---- Windows, as first and last date, both inclusive ----

-- DRR-E: 120 to 240 days after the index.
function scores.drr_window(index_date)
	return dates.add_days(index_date, 120), dates.add_days(index_date, 240)
end

-- CMS159, MIPS 370, 0710e: twelve months after the index, 60 days either way.
function scores.cms159_window(index_date)
	local anniversary = dates.add_months(index_date, 12)
	return dates.add_days(anniversary, -60), dates.add_days(anniversary, 60)
end

-- CMS159: index events count from the first date up to, not including, the second.
function scores.cms159_identification(period_start)
	return dates.add_months(period_start, -14), dates.add_months(period_start, -2)
end

-- MHIP: by 24 weeks after the baseline.
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
