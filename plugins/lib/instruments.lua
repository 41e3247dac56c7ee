-- Questionnaires as data: what is asked, in which languages, what the answers are worth, how totals are read. Scoring
-- is lib/scores.lua. An organization adds others (AUDIT-C, its own survey) in the setting `more` of the plugin
-- "instruments", in the same form; nothing else has to be written for them.
--
-- The texts of PHQ and GAD may be reproduced, translated and distributed without permission (phqscreeners.com).
local codes = require "lib/codes"
local resources = require "lib/resources"
local surveys = require "lib/surveys"

local instruments = {}

instruments.canonical = "urn:careloop:questionnaire:" -- Questionnaire.url: this, the kind, ":" and the language

-- LOINC answer list LL358-3.
local frequency = {
	{ value = 0, code = "LA6568-5", en = "Not at all", es = "Ningún día" },
	{ value = 1, code = "LA6569-3", en = "Several days", es = "Varios días" },
	{ value = 2, code = "LA6570-1", en = "More than half the days", es = "Más de la mitad de los días" },
	{ value = 3, code = "LA6571-9", en = "Nearly every day", es = "Casi todos los días" },
}

local two_weeks = {
	en = "Over the last 2 weeks, how often have you been bothered by any of the following problems?",
	es = "Durante las últimas 2 semanas, ¿con qué frecuencia le han molestado los siguientes problemas?",
}

-- From this total on, this severity (PHQ-9 and GAD-7 instruction manual).
local depression_bands = {
	{ 0, "minimal" }, { 5, "mild" }, { 10, "moderate" }, { 15, "moderately severe" }, { 20, "severe" },
}
local anxiety_bands = { { 0, "minimal" }, { 5, "mild" }, { 10, "moderate" }, { 15, "severe" } }

local depression_items = {
	{ link = "44250-9", en = "Little interest or pleasure in doing things", es = "Poco interés o placer en hacer cosas" },
	{
		link = "44255-8", en = "Feeling down, depressed, or hopeless",
		es = "Se ha sentido decaído(a), deprimido(a) o sin esperanzas",
	},
	{
		link = "44259-0", en = "Trouble falling or staying asleep, or sleeping too much",
		es = "Ha tenido dificultad para quedarse o permanecer dormido(a), o ha dormido demasiado",
	},
	{
		link = "44254-1", en = "Feeling tired or having little energy",
		es = "Se ha sentido cansado(a) o con poca energía",
	},
	{ link = "44251-7", en = "Poor appetite or overeating", es = "Sin apetito o ha comido en exceso" },
	{
		link = "44258-2",
		en = "Feeling bad about yourself, or that you are a failure or have let yourself or your family down",
		es = "Se ha sentido mal con usted mismo(a), o que es un fracaso o que ha quedado mal con usted mismo(a) o con su "
			.. "familia",
	},
	{
		link = "44252-5", en = "Trouble concentrating on things, such as reading the newspaper or watching television",
		es = "Ha tenido dificultad para concentrarse en ciertas actividades, tales como leer el periódico o ver la "
			.. "televisión",
	},
	{
		link = "44253-3",
		en = "Moving or speaking so slowly that other people could have noticed; or the opposite, being so fidgety or "
			.. "restless that you have been moving around a lot more than usual",
		es = "Se ha movido o hablado tan lento que otras personas podrían haberlo notado; o lo contrario, muy inquieto(a) "
			.. "o agitado(a) que ha estado moviéndose mucho más de lo normal",
	},
	{
		link = "44260-8", en = "Thoughts that you would be better off dead, or of hurting yourself in some way",
		es = "Pensamientos de que estaría mejor muerto(a) o de lastimarse de alguna manera",
	},
}

local anxiety_items = {
	{
		link = "69725-0", en = "Feeling nervous, anxious, or on edge",
		es = "Se ha sentido nervioso(a), ansioso(a) o con los nervios de punta",
	},
	{
		link = "68509-9", en = "Not being able to stop or control worrying",
		es = "No ha sido capaz de parar o controlar su preocupación",
	},
	{
		link = "69733-4", en = "Worrying too much about different things",
		es = "Se ha preocupado demasiado por motivos diferentes",
	},
	{ link = "69734-2", en = "Trouble relaxing", es = "Ha tenido dificultad para relajarse" },
	{
		link = "69735-9", en = "Being so restless that it is hard to sit still",
		es = "Se ha sentido tan inquieto(a) que no ha podido quedarse quieto(a)",
	},
	{ link = "69689-8", en = "Becoming easily annoyed or irritable", es = "Se ha molestado o irritado fácilmente" },
	{
		link = "69736-7", en = "Feeling afraid, as if something awful might happen",
		es = "Ha tenido miedo de que algo terrible fuera a pasar",
	},
}

-- The teen version words items 1 to 9 a little differently and in another order; own paraphrases. Its items have no
-- LOINC codes that were checked, its panel and total do (loinc.org/89204-2).
local teen_items = {
	{ link = "phq9m-1", en = "Feeling down, depressed, irritable, or hopeless" },
	{ link = "phq9m-2", en = "Little interest or pleasure in doing things" },
	{ link = "phq9m-3", en = "Trouble falling or staying asleep, or sleeping too much" },
	{ link = "phq9m-4", en = "Poor appetite, weight loss, or overeating" },
	{ link = "phq9m-5", en = "Feeling tired, or having little energy" },
	{ link = "phq9m-6", en = "Feeling bad about yourself, or that you let yourself or your family down" },
	{ link = "phq9m-7", en = "Trouble concentrating on things like school work, reading, or watching TV" },
	{ link = "phq9m-8", en = "Moving or speaking so slowly that others noticed; or being much more restless than usual" },
	{ link = "phq9m-9", en = "Thoughts that you would be better off dead, or of hurting yourself in some way" },
}

local function first(items, count)
	return table.move(items, 1, count, 1, {})
end

-- `may_miss`: how many items may be unanswered and the total still be prorated. The rule is stated for the PHQ-9 only.
-- `positive`: cut for further evaluation; `positive_of` = { female = 3 } says another one by Patient.gender.
-- `safety_item`: the item whose answer above 0 raises a safety alert, whatever the total.
-- `longer`: the questionnaire that follows when this one is positive; answers to the same links are carried over.
-- `core`: items of which one must be high for a depressive syndrome. `ages`: first and last year of age.
instruments.shipped = {
	phq9 = {
		name = "PHQ-9", title = { en = "Patient Health Questionnaire (PHQ-9)", es = "Cuestionario PHQ-9" }, version = "1",
		panel = codes.loinc.phq9_panel, total = codes.loinc.phq9_total, lead = two_weeks, answers = frequency,
		items = depression_items, may_miss = 2, bands = depression_bands, positive = 10, safety_item = 9, syndrome = true,
		ages = { 12, 200 },
	},
	phq9m = {
		name = "PHQ-9M", title = { en = "PHQ-9 modified for teens" }, version = "1", panel = codes.loinc.phq9m_panel,
		total = codes.loinc.phq9m_total, lead = two_weeks, answers = frequency, items = teen_items, may_miss = 2,
		bands = depression_bands, positive = 10, safety_item = 9, syndrome = true, ages = { 11, 17 },
	},
	phq2 = {
		name = "PHQ-2", title = { en = "Two questions about your mood (PHQ-2)", es = "Cuestionario PHQ-2" }, version = "1",
		panel = codes.loinc.phq2_panel, total = codes.loinc.phq2_total, lead = two_weeks, answers = frequency,
		accepts = { codes.loinc.phq2_assessment_form }, items = first(depression_items, 2), may_miss = 0, positive = 3,
		longer = "phq9",
	},
	gad7 = {
		name = "GAD-7", title = { en = "Anxiety questionnaire (GAD-7)", es = "Cuestionario GAD-7" }, version = "1",
		panel = codes.loinc.gad7_panel, total = codes.loinc.gad7_total, lead = two_weeks, answers = frequency,
		items = anxiety_items, may_miss = 0, bands = anxiety_bands, positive = 10,
	},
	gad2 = {
		-- No LOINC code of its own was checked: the total is kept under Careloop's own system.
		name = "GAD-2", title = { en = "Two questions about worrying (GAD-2)", es = "Cuestionario GAD-2" }, version = "1",
		panel = "gad-2", total = "gad-2", system = codes.system.score, lead = two_weeks, answers = frequency,
		items = first(anxiety_items, 2), may_miss = 0, positive = 3, longer = "gad7",
	},
	patient_experience = surveys.patient_experience, staff_experience = surveys.staff_experience,
}

-- Fills in what follows from the rest: the answers of each item, the lowest and highest total. Gives the instrument
-- or nil and what is wrong with it.
local function prepare(kind, instrument)
	local made = {}
	for name, value in pairs(instrument) do
		made[name] = value
	end
	made.kind = kind
	made.name = made.name or kind
	made.version = made.version or "1"
	made.may_miss = made.may_miss or 0
	made.total = made.total or kind
	made.panel = made.panel or kind
	made.system = made.system or made.total == kind and codes.system.score or codes.system.loinc
	made.title = made.title or { en = made.name }
	if not made.items or #made.items == 0 then
		return nil, "instrument '" .. kind .. "' asks nothing: items"
	end
	local lowest, highest, items = 0, 0, {}
	for number, item in ipairs(made.items) do
		local answers = item.answers or made.answers
		if not item.link or not answers or #answers == 0 then
			return nil, string.format("instrument '%s': item %d needs a link and answers", kind, number)
		end
		local low, high
		for _, answer in ipairs(answers) do
			if math.type(answer.value) ~= "integer" then
				return nil, string.format("instrument '%s': item %d: an answer's value is a whole number", kind, number)
			end
			low, high = math.min(low or answer.value, answer.value), math.max(high or answer.value, answer.value)
		end
		lowest, highest = lowest + low, highest + high
		items[number] = { link = item.link, text = item, answers = answers, lowest = low, highest = high }
	end
	made.items, made.minimum, made.maximum = items, lowest, highest
	return made
end

local ready = {}
for kind, instrument in pairs(instruments.shipped) do
	ready[kind] = assert(prepare(kind, instrument))
end

-- All instruments by kind: shipped ones and the organization's. Without ctx the shipped ones.
function instruments.all(ctx)
	local used, more = false, nil
	if ctx then
		used, more = pcall(ctx.setting_of, "instruments", "more") -- the plugin may not be in use
	end
	if not used then
		return ready
	end
	local all = {}
	for kind, instrument in pairs(ready) do
		all[kind] = instrument
	end
	for kind, instrument in pairs(more) do
		local made, why = prepare(kind, plain(instrument))
		if not made then
			ctx:refuse("setting instruments.more: " .. why, "Questionnaire")
		end
		all[kind] = made
	end
	return all
end

-- The instrument a canonical (QuestionnaireResponse.questionnaire) speaks of: by our own URL or by a panel code in it.
function instruments.of_canonical(all, canonical)
	if not canonical then
		return nil
	end
	local kind = string.match(canonical, "^" .. instruments.canonical .. "([%w_%-]+)")
	if kind then
		return all[kind]
	end
	local names = {}
	for name in pairs(all) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local instrument = all[name]
		if instrument.system == codes.system.loinc then
			for _, panel in ipairs(resources.with(instrument.accepts, instrument.panel)) do
				if string.find(canonical, panel, 1, true) then
					return instrument
				end
			end
		end
	end
	return nil
end

function instruments.url(kind, language)
	return instruments.canonical .. kind .. ":" .. language
end

-- Languages in which every item has a text, sorted.
function instruments.languages(instrument)
	local found = {}
	for name in pairs(instrument.title) do
		local whole = true
		for _, item in ipairs(instrument.items) do
			whole = whole and item.text[name] ~= nil
			for _, answer in ipairs(item.answers) do
				whole = whole and answer[name] ~= nil
			end
		end
		if whole then
			found[#found + 1] = name
		end
	end
	table.sort(found)
	return found
end

-- The Questionnaire resource of an instrument in a language.
function instruments.questionnaire(instrument, language)
	local items = {}
	if instrument.lead and instrument.lead[language] then
		items[1] = { linkId = "lead", type = "display", text = instrument.lead[language] }
	end
	for _, item in ipairs(instrument.items) do
		local options = {}
		for number, answer in ipairs(item.answers) do
			options[number] = { valueCoding = instruments.coding(instrument, answer, language) }
		end
		local is_loinc = string.match(item.link, "^%d+%-%d$")
		items[#items + 1] = {
			linkId = item.link, text = item.text[language], type = "choice", answerOption = options,
			code = is_loinc and { { system = codes.system.loinc, code = item.link } } or nil,
		}
	end
	return {
		resourceType = "Questionnaire", url = instruments.url(instrument.kind, language), version = instrument.version,
		name = (string.gsub(instrument.kind, "[^%w]", "_")), title = instrument.title[language], status = "active",
		language = language, subjectType = { instrument.about or "Patient" },
		code = { { system = instrument.system, code = instrument.panel } }, item = items,
	}
end

-- The Questionnaire of an instrument in a language, made or brought up to date. Gives its reference.
function instruments.publish(ctx, instrument, language)
	local made = instruments.questionnaire(instrument, language)
	local known = ctx:search("Questionnaire", { url = made.url, _count = 1 })[1]
	if not known then
		return ctx:create(made)
	end
	made.id = known.id
	ctx:update(made) -- without a difference no version is made
	return resources.of(known)
end

-- An answer as a Coding with its worth.
function instruments.coding(instrument, answer, language)
	return {
		system = answer.code and codes.system.loinc or codes.system.score,
		code = answer.code or instrument.kind .. "-" .. answer.value, display = answer[language or "en"],
		extension = { {
			url = "http://hl7.org/fhir/StructureDefinition/ordinalValue", valueDecimal = answer.value,
		} },
	}
end

return instruments
