-- PHQ-9, PHQ-2, GAD-7, GAD-2 and their predicates: every threshold of domain.md 2.1 and the vectors of 2.22.
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/lib/"
package.path = here .. "../?.lua;" .. package.path
local scores = require "lib/scores"
local dates = require "lib/dates"
local codes = require "lib/codes"

local function all(value, count)
	local answers = {}
	for number = 1, count do
		answers[number] = value
	end
	return answers
end

-- Answers that add up to a total.
local function adding_up(total, count)
	local answers = {}
	for number = 1, count do
		local value = math.min(3, total)
		answers[number] = value
		total = total - value
	end
	return answers
end

test("2.22: all threes: 27, severe, safety", function (t)
	local score = scores.score("phq9", all(3, 9))
	t:equal(score.total, 27)
	t:equal(score.severity, "severe")
	t:equal(score.safety, "present")
	t:equal(score.prorated, false)
end)

test("2.22: only item 9 answered above 0: total 1, minimal, and an alert all the same", function (t)
	local answers = all(0, 9)
	answers[9] = 1
	local score = scores.score("phq9", answers)
	t:equal(score.total, 1)
	t:equal(score.severity, "minimal")
	t:equal(score.safety, "present")
	t:equal(score.item9, 1)
end)

test("2.22: items 1 to 7 at 2, items 8 and 9 missing: prorated 18, item 9 not assessed", function (t)
	local score = scores.score("phq9", all(2, 7))
	t:equal(score.total, 18)
	t:equal(score.prorated, true)
	t:equal(score.missing, 2)
	t:equal(score.severity, "moderately severe")
	t:equal(score.safety, "not assessed")
end)

test("2.1: three items missing: no total, never 0; the alert does not depend on it", function (t)
	local score = scores.score("phq9", all(0, 6))
	t:equal(score.total, nil)
	t:equal(score.severity, nil)
	t:equal(score.positive, nil)
	t:equal(score.safety, "not assessed")
	local partial = scores.score("phq9", { [9] = 2 })
	t:equal(partial.total, nil)
	t:equal(partial.safety, "present")
end)

test("2.1: severity bands of the PHQ-9", function (t)
	for total, severity in pairs {
		[0] = "minimal", [4] = "minimal", [5] = "mild", [9] = "mild", [10] = "moderate", [14] = "moderate",
		[15] = "moderately severe", [19] = "moderately severe", [20] = "severe", [27] = "severe",
	} do
		local score = scores.score("phq9", adding_up(total, 9))
		t:equal(score.total, total)
		t:equal(score.severity, severity, "PHQ-9 of " .. total)
		t:equal(score.positive, total >= 10, "PHQ-9 of " .. total)
	end
end)

test("2.1: severity bands of the GAD-7", function (t)
	for total, severity in pairs {
		[0] = "minimal", [4] = "minimal", [5] = "mild", [9] = "mild", [10] = "moderate", [14] = "moderate", [15] = "severe",
		[21] = "severe",
	} do
		local score = scores.score("gad7", adding_up(total, 7))
		t:equal(score.severity, severity, "GAD-7 of " .. total)
		t:equal(score.positive, total >= 10, "GAD-7 of " .. total)
	end
	t:equal(scores.score("gad7", all(3, 6)).total, nil, "no proration rule is stated for the GAD-7")
end)

test("2.1: the two-item screens are positive from 3 on", function (t)
	for total = 0, 6 do
		t:equal(scores.score("phq2", adding_up(total, 2)).positive, total >= 3)
		t:equal(scores.score("gad2", adding_up(total, 2)).positive, total >= 3)
	end
	t:equal(scores.score("phq2", { 3 }).total, nil)
	t:equal(scores.score("phq2", { 3, 3 }).safety, nil, "the PHQ-2 does not ask item 9")
end)

test("2.1: syndromes: five, or two to four, items at 2 or more with item 1 or 2 among them; item 9 from 1", function (t)
	t:equal(scores.syndrome { 2, 2, 2, 2, 2, 0, 0, 0, 0 }, "major")
	t:equal(scores.syndrome { 2, 2, 2, 2, 0, 0, 0, 0, 1 }, "major")
	t:equal(scores.syndrome { 2, 2, 2, 2, 1, 1, 1, 1, 0 }, "other")
	t:equal(scores.syndrome { 2, 2, 0, 0, 0, 0, 0, 0, 0 }, "other")
	t:equal(scores.syndrome { 2, 0, 0, 0, 0, 0, 0, 0, 0 }, nil)
	t:equal(scores.syndrome { 1, 1, 3, 3, 3, 3, 3, 3, 3 }, nil)
end)

-- ---- QuestionnaireResponse ----

local function response(kind, values, how)
	local items = {}
	for number, item in ipairs(scores.instruments[kind].items) do
		local code = item.link
		if values[number] then
			local answer
			if how == "integer" then
				answer = { valueInteger = values[number] }
			elseif how == "ordinal" then
				answer = { valueCoding = { code = "x", extension = { {
					url = "http://hl7.org/fhir/StructureDefinition/ordinalValue", valueDecimal = values[number],
				} } } }
			else
				answer = { valueCoding = { system = "http://loinc.org", code = codes.answer_code[values[number]] } }
			end
			items[#items + 1] = { linkId = (how == "integer" and "/" or "") .. code, answer = { answer } }
		end
	end
	return { resourceType = "QuestionnaireResponse", status = "completed", item = { { linkId = "group", item = items } } }
end

test("answers are read as LOINC codes, numbers or ordinals, in groups or not", function (t)
	local values = { 0, 1, 2, 3, 0, 1, 2, 3, 1 }
	for _, how in ipairs { "coded", "integer", "ordinal" } do
		local results = scores.of_response(response("phq9", values, how))
		t:equal(#results, 1, how)
		t:equal(results[1].instrument, "phq9")
		t:equal(results[1].total, 13, how)
		t:equal(results[1].item9, 1)
	end
end)

test("an answer that is none is missing, not 0", function (t)
	local made = response("phq9", all(1, 9), "integer")
	made.item[1].item[3].answer[1].valueInteger = 7
	local score = scores.of_response(made)[1]
	t:equal(score.missing, 1)
	t:equal(score.total, 9)
	t:equal(score.prorated, true)
end)

test("which instruments a response holds", function (t)
	local function kinds(made)
		return table.concat(scores.kinds(made), " ")
	end
	t:equal(kinds(response("phq9", all(1, 9))), "phq9")
	t:equal(kinds(response("phq2", all(1, 2))), "phq2")
	t:equal(kinds(response("gad7", all(1, 7))), "gad7")
	t:equal(kinds(response("gad2", all(1, 2))), "gad2")
	local partly = response("phq9", { 1, 1 })
	partly.questionnaire = "http://loinc.org/q/44249-1"
	t:equal(kinds(partly), "phq9", "the questionnaire says what the answers are to")
	t:equal(scores.of_response(partly)[1].total, nil)
	local variant = response("phq2", { 1, 1 })
	variant.questionnaire = "http://loinc.org/q/58120-7"
	t:equal(kinds(variant), "phq2", "the assessment-form variant is the PHQ-2")
	local both = response("phq2", all(1, 2))
	for _, item in ipairs(response("gad2", all(1, 2)).item) do
		both.item[#both.item + 1] = item
	end
	t:equal(kinds(both), "phq2 gad2")
end)

test("the Observation carries LOINC code, band and the mark of a prorated total", function (t)
	local about = { patient = "Patient/a", at = "2026-11-02T15:00:00Z" }
	local made = scores.observation(scores.score("phq9", all(2, 9)), about)
	t:equal(made.code.coding[1].code, "44261-6")
	t:equal(made.valueQuantity.value, 18)
	t:equal(made.interpretation[1].text, "moderately severe")
	t:ok(scores.measurable(made))
	local prorated = scores.observation(scores.score("phq9", all(2, 7)), { patient = "Patient/a", at = "2026-11-02" })
	t:equal(prorated.valueQuantity.value, 18)
	t:ok(not scores.measurable(prorated), "a prorated total feeds no quality measure")
	t:equal(scores.observation(scores.score("phq9", all(2, 5)), { patient = "Patient/a" }), nil)
	made.status = "entered-in-error"
	t:ok(not scores.measurable(made))
end)

-- ---- predicates and windows ----

test("2.1, 2.22: response, remission, five points, significant improvement are four things", function (t)
	-- CMS159 vectors of 2.22
	t:equal(scores.is_remission(10), false)
	t:equal(scores.is_response(12, 10), false)
	t:equal(scores.is_response(10, 5), true)
	t:equal(scores.is_remission(5), false)
	t:equal(scores.is_response(10, 4), true)
	t:equal(scores.is_remission(4), true)
	t:equal(scores.is_response(15, 7.5), true)
	t:equal(scores.is_response(15, 8), false)
	t:equal(scores.is_five_points_better(15, 10), true)
	t:equal(scores.is_five_points_better(15, 11), false)
	t:equal(scores.is_five_points_worse(10, 15), true)
	t:equal(scores.is_five_points_worse(10, 14), false)
	t:equal(scores.is_significant_improvement(12, 9), true, "below 10")
	t:equal(scores.is_significant_improvement(24, 12), true, "half")
	t:equal(scores.is_significant_improvement(24, 13), false)
	t:equal(scores.is_significant_improvement(9, 4), false, "the baseline must be 10 or more")
end)

test("2.1, 2.22: windows of the published measures", function (t)
	local function window(first, last)
		return first .. ".." .. last
	end
	t:equal(window(scores.cms159_window "2024-02-29"), "2024-12-30..2025-04-29")
	t:equal(window(scores.cms159_window "2024-10-31"), "2025-09-01..2025-12-30")
	t:equal(window(scores.cms159_identification "2025-01-01"), "2023-11-01..2024-11-01")
	t:equal(window(scores.drr_window "2025-03-03"), "2025-07-01..2025-10-29")
	t:equal(window(scores.mhip_window "2026-01-05"), "2026-01-05..2026-06-22")
end)

test("2.1: the last score within a window counts, both ends inclusive", function (t)
	local series = {
		{ date = "2025-03-03", value = 16 }, { date = "2025-06-30", value = 3 }, { date = "2025-07-01", value = 9 },
		{ date = "2025-10-29", value = 8 }, { date = "2025-10-30", value = 2 },
	}
	local latest = scores.last_in(series, scores.drr_window "2025-03-03")
	t:equal(latest.value, 8)
	t:equal(scores.last_in({}, "2025-01-01", "2025-12-31"), nil)
end)

test("dates: days, months, leap years", function (t)
	t:equal(dates.days "1970-01-01", 0)
	t:equal(dates.days "2000-03-01", 11017)
	t:equal(dates.text(11016), "2000-02-29")
	for day = -800, 40000, 97 do
		t:equal(dates.days(dates.text(day)), day)
	end
	t:equal(dates.add_months("2026-11-30", 3), "2027-02-28")
	t:equal(dates.add_months("2027-01-31", 1), "2027-02-28")
	t:equal(dates.add_months("2024-01-31", 1), "2024-02-29")
	t:equal(dates.add_months("2026-01-15", -14), "2024-11-15")
	t:equal(dates.between("2026-10-31", "2026-11-02"), 2)
end)
