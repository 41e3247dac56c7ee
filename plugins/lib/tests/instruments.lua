-- Instruments as data: Questionnaires, languages, PHQ-9M, what no form can hold (domain 2.1, 0 row 10).
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/lib/"
package.path = here .. "../?.lua;" .. package.path
local instruments = require "lib/instruments"
local scores = require "lib/scores"

local function form(kind, values, more)
	local items = {}
	for number, item in ipairs(scores.instruments[kind].items) do
		if values[number] then
			items[#items + 1] = { linkId = item.link, answer = { { valueInteger = values[number] } } }
		end
	end
	local made = {
		resourceType = "QuestionnaireResponse", status = "completed", item = items,
		questionnaire = instruments.url(kind, "en") .. "|1",
	}
	for name, value in pairs(more or {}) do
		made[name] = value
	end
	return made
end

local function all(value, count)
	local values = {}
	for number = 1, count do
		values[number] = value
	end
	return values
end

test("0 row 10: panels, totals and items have the codes that were checked", function (t)
	local expected = {
		phq9 = { "44249-1", "44261-6", 9, 27 }, phq9m = { "89206-7", "89204-2", 9, 27 },
		phq2 = { "55757-9", "55758-7", 2, 6 }, gad7 = { "69737-5", "70274-6", 7, 21 }, gad2 = { "gad-2", "gad-2", 2, 6 },
	}
	for kind, wanted in pairs(expected) do
		local instrument = scores.instruments[kind]
		t:equal(instrument.panel, wanted[1], kind)
		t:equal(instrument.total, wanted[2], kind)
		t:equal(#instrument.items, wanted[3], kind)
		t:equal(instrument.maximum, wanted[4], kind)
		t:equal(instrument.minimum, 0, kind)
	end
	local links = {}
	for number, item in ipairs(scores.instruments.phq9.items) do
		links[number] = item.link
	end
	t:equal(table.concat(links, " "),
		"44250-9 44255-8 44259-0 44254-1 44251-7 44258-2 44252-5 44253-3 44260-8")
end)

test("a Questionnaire carries texts of its language, codes and the worth of each answer", function (t)
	for _, language in ipairs(instruments.languages(scores.instruments.phq9)) do
		local made = instruments.questionnaire(scores.instruments.phq9, language)
		t:equal(made.url, "urn:careloop:questionnaire:phq9:" .. language)
		t:equal(made.language, language)
		t:equal(#made.item, 10, "the lead and nine items")
		t:equal(made.item[1].type, "display")
		t:equal(made.item[10].linkId, "44260-8")
		local last = made.item[10].answerOption[4].valueCoding
		t:equal(last.code, "LA6571-9")
		t:equal(last.extension[1].valueDecimal, 3)
	end
	t:equal(table.concat(instruments.languages(scores.instruments.phq9), " "), "en es")
	t:equal(table.concat(instruments.languages(scores.instruments.phq9m), " "), "en", "no text, no form")
	t:equal(instruments.questionnaire(scores.instruments.gad7, "es").item[2].text,
		"Se ha sentido nervioso(a), ansioso(a) o con los nervios de punta")
end)

test("2.1: PHQ-9M is scored like the PHQ-9 and asks item 9 too", function (t)
	local made = form("phq9m", { 2, 2, 2, 2, 2, 0, 0, 0, 1 })
	local score = scores.of_response(made)[1]
	t:equal(score.instrument, "phq9m")
	t:equal(score.total, 11)
	t:equal(score.severity, "moderate")
	t:equal(score.safety, "present")
	t:equal(score.syndrome, "major", "five at 2 and item 9 at 1")
	t:equal(scores.observation(score, { patient = "Patient/a" }).code.coding[1].code, "89204-2")
	t:equal(scores.of_response(form("phq9m", all(2, 7)))[1].total, 18, "prorated by the PHQ-9's rule")
end)

test("the questionnaire says which form it is, by our URL or by the panel's code", function (t)
	t:equal(scores.kinds(form("phq9", { 1, 1 }))[1], "phq9")
	t:equal(scores.kinds(form("phq2", { 1, 1 }))[1], "phq2")
	t:equal(scores.kinds(form("phq9m", { 1 }, { questionnaire = "http://loinc.org/q/89206-7" }))[1], "phq9m")
	t:equal(#scores.kinds(form("gad7", { 1 }, { questionnaire = "urn:careloop:questionnaire:unheard-of" })), 1,
		"an unknown one is read by its items")
end)

test("2.1, 2.22: the Observation says severity, prorating, item 9 not assessed, syndrome, each answer", function (t)
	local prorated = scores.observation(scores.of_response(form("phq9", all(2, 7)))[1], { patient = "Patient/a" })
	t:equal(prorated.valueQuantity.value, 18)
	t:equal(#prorated.component, 7)
	t:equal(prorated.note[1].text, "Prorated: 2 of 9 items unanswered. Not for quality measures.")
	t:equal(prorated.note[2].text, "Item 9 (self-harm) not assessed.")
	t:equal(prorated.note[3], nil, "no syndrome from an incomplete form")
	local severe = scores.observation(scores.of_response(form("phq9", all(3, 9)))[1], { patient = "Patient/a" })
	t:equal(severe.component[9].code.coding[1].code, "44260-8")
	t:equal(severe.component[9].valueInteger, 3)
	t:ok(string.find(severe.note[1].text, "suggest a major depressive syndrome", 1, true))
	local calm = scores.observation(scores.of_response(form("phq9", all(0, 9)))[1], { patient = "Patient/a" })
	t:equal(calm.valueQuantity.value, 0)
	t:equal(calm.note, nil)
end)

test("what no form can hold is named by rule and place", function (t)
	local made = form("phq9", all(1, 9))
	made.item[3].answer[1].valueInteger = 7
	local fault = scores.faults(made)[1]
	t:equal(fault.rule, "phq9.answer")
	t:equal(fault.where, "QuestionnaireResponse.item[2].answer[0]")
	made = form("phq9", all(1, 9))
	made.item[10] = { linkId = "/44261-6", answer = { { valueDecimal = 30 } } }
	t:equal(scores.faults(made)[1].rule, "phq9.total")
	made.item[10].answer[1].valueDecimal = 8
	t:equal(scores.faults(made)[1].rule, "phq9.sum")
	made.item[10].answer[1].valueDecimal = 9
	t:equal(#scores.faults(made), 0)
	made.item[1].answer[1] = { valueCoding = { system = "http://loinc.org", code = "LA1-1" } }
	t:equal(scores.faults(made)[1].rule, "phq9.answer", "a code of another answer list")
	made.item[1].answer[1] = { valueString = "would not say" }
	t:equal(#scores.faults(made), 0, "words are no answer, and no lie")
	t:equal(scores.of_response(made)[1].missing, 1)
	for value, wrong in pairs { [27] = false, [28] = true, [30] = true, [-1] = true, [4.5] = true, [0] = false } do
		local fault_of = scores.observation_fault {
			status = "final", valueQuantity = { value = value },
			code = { coding = { { system = "http://loinc.org", code = "44261-6" } } },
		}
		t:equal(fault_of ~= nil, wrong, "PHQ-9 of " .. value)
		t:equal(fault_of and fault_of.rule, wrong and "phq9.total" or nil)
	end
end)
