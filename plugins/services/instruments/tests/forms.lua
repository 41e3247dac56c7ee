-- Handing out, holding, coming back, carrying over; own instruments and surveys as data (domain 2.1, 0 rows 9, 10).
local clinic = {}

function clinic.open(t, at, more, own)
	t:at(at)
	local model = { staffed_from = "08:00", staffed_until = "17:00" }
	for name, value in pairs(more or {}) do
		model[name] = value
	end
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", reference = "Organization/test", model = "colocated",
		services = { "instruments" }, holidays = { "2026-11-26" },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			assistant = { kind = "person", roles = { "medical_assistant" }, reference = "Practitioner/assistant" },
			consultant = { kind = "person", roles = { "behavioral_health_consultant" }, reference = "Practitioner/consultant" },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
		},
		settings = { colocated = model, instruments = own or {} },
	}
end

local function patient(t, more)
	t:as("ehr")
	local resource = { resourceType = "Patient", name = { { family = "Rivera" } }, birthDate = "1980-05-01" }
	for name, value in pairs(more or {}) do
		resource[name] = value
	end
	return t:create(resource)
end

local function send(t, to, instrument, channel, language)
	t:as("assistant")
	local parameters = { { name = "instrument", valueString = instrument } }
	if channel then
		parameters[#parameters + 1] = { name = "channel", valueString = channel }
	end
	if language then
		parameters[#parameters + 1] = { name = "language", valueString = language }
	end
	local task = t:operation("$send-form", { resourceType = "Parameters", parameter = parameters }, to)
	return "Task/" .. task.id
end

local function form_of(t, task)
	t:as("ehr")
	return t:data(t:data(task).focus.reference)
end

local function answer(t, to, kind, values, more)
	local instruments = require "lib/instruments"
	local items = {}
	for number, item in ipairs(instruments.all()[kind].items) do
		if values[number] then
			items[#items + 1] = { linkId = item.link, answer = { { valueInteger = values[number] } } }
		end
	end
	local response = {
		resourceType = "QuestionnaireResponse", status = "completed", subject = to and { reference = to } or nil,
		questionnaire = instruments.url(kind, "en") .. "|1", authored = t:now(), item = items,
	}
	for name, value in pairs(more or {}) do
		response[name] = value
	end
	t:as("ehr")
	return t:create(response)
end

local function sent_to(t, whom)
	t:as("ehr")
	local found = {}
	for _, communication in ipairs(t:search("Communication", { _count = 500 })) do
		for _, recipient in ipairs(communication.recipient or {}) do
			if recipient.reference == whom or recipient.identifier and recipient.identifier.value == whom then
				found[#found + 1] = communication.payload[1].contentString
			end
		end
	end
	return found
end

test("0 row 9: by day a form goes out; after hours it is kept until somebody is there, past a holiday", function (t)
	clinic.open(t, "2026-11-25T16:30:00-06:00") -- Wednesday before Thanksgiving
	local first, second = patient(t), patient(t)
	local now = send(t, first, "phq9", "portal")
	t:equal(t:state(now), "sent")
	t:ok(string.find(sent_to(t, first)[1], "PHQ-9", 1, true))
	t:at("2026-11-25T17:00:00-06:00")
	local later = send(t, second, "phq9", "portal")
	t:equal(t:state(later), "held")
	t:equal(#sent_to(t, second), 0)
	t:equal(t:instance(later).due, "2026-11-27T14:00:00.000Z", "Friday at eight")
	t:at("2026-11-27T08:01:00-06:00")
	t:equal(t:state(later), "sent")
	t:equal(#sent_to(t, second), 1)
end)

test("0 row 9: with somebody beside the patient, or without such a question, it goes at once", function (t)
	clinic.open(t, "2026-11-28T12:00:00-06:00") -- Saturday
	t:equal(t:state(send(t, patient(t), "phq9", "in person")), "sent")
	t:equal(t:state(send(t, patient(t), "phq9", "phone")), "sent")
	t:equal(t:state(send(t, patient(t), "gad7", "portal")), "sent")
	t:equal(t:state(send(t, patient(t, { birthDate = "2012-03-01" }), "phq9m", "email")), "held")
end)

test("0 row 9: on call means sent", function (t)
	clinic.open(t, "2026-11-28T12:00:00-06:00", { on_call = true })
	t:equal(t:state(send(t, patient(t), "phq9", "portal")), "sent")
end)

test("a form that is due cannot be sent by hand after hours either", function (t)
	clinic.open(t, "2026-11-27T16:00:00-06:00")
	local who = patient(t)
	answer(t, who, "phq2", { 2, 2 })
	t:as("ehr")
	local due = "Task/" .. t:search("Task", { code = "form", patient = who })[1].id
	t:at("2026-11-27T18:00:00-06:00")
	t:as("assistant")
	t:refused(function ()
		t:transition(due, "send", { channel = "portal" })
	end, "nobody would see")
	t:equal(t:transition(due, "send", { channel = "in person" }), "sent")
	t:refused(function ()
		t:transition(due, "send", { channel = "pigeon" })
	end)
end)

test("2.1: a positive PHQ-2 opens the PHQ-9 with its two answers; a negative one, or a second, does not", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local who = patient(t)
	answer(t, who, "phq2", { 1, 1 })
	t:as("ehr")
	t:equal(#t:search("QuestionnaireResponse", { patient = who }), 1, "2 is negative")
	local short = answer(t, who, "phq2", { 1, 2 })
	t:as("ehr")
	local begun = t:search("QuestionnaireResponse", { patient = who, status = "in-progress" })[1]
	t:equal(#begun.item, 2)
	t:equal(begun.item[1].linkId, "44250-9")
	t:equal(begun.item[1].answer[1].valueCoding.code, "LA6569-3")
	t:equal(begun.item[2].answer[1].valueCoding.code, "LA6570-1")
	t:equal(begun.extension[1].valueReference.reference, short)
	t:ok(string.find(sent_to(t, "medical_assistant")[1], "PHQ-2 is positive", 1, true))
	answer(t, who, "phq2", { 3, 3 })
	t:as("ehr")
	t:equal(#t:search("QuestionnaireResponse", { patient = who, status = "in-progress" }), 1)
	-- It is finished in place: scored, and no longer asked for.
	local task = "Task/" .. t:search("Task", { code = "form", patient = who })[1].id
	t:equal(t:state(task), "due")
	for number = 3, 9 do
		begun.item[number] = {
			linkId = require "lib/scores".instruments.phq9.items[number].link, answer = { { valueInteger = 1 } },
		}
	end
	begun.status = "completed"
	t:update(begun)
	t:equal(t:state(task), "answered")
	local total = t:search("Observation", { patient = who, code = "44261-6" })[1]
	t:equal(t:data("Observation/" .. total.id).valueQuantity.value, 10, "1 + 2 carried over, 7 more")
	t:equal(#t:search("Task", { code = "safety", patient = who }), 1, "item 9 was among them")
end)

test("by age: PHQ-9M to 17, PHQ-9 from 18; the birthday itself counts; a leap day's child too", function (t)
	clinic.open(t, "2026-02-28T09:00:00-06:00")
	local function chosen(birth)
		return t:instance(send(t, patient(t, { birthDate = birth }), "depression")).data.instrument
	end
	t:equal(chosen("2008-02-29"), "phq9m", "still 17")
	t:equal(chosen("2008-02-28"), "phq9", "18 today")
	t:equal(chosen("2013-01-01"), "phq9m")
	t:at("2026-03-01T09:00:00-06:00")
	t:equal(chosen("2008-02-29"), "phq9")
	t:refused(function ()
		chosen("2016-01-01")
	end, "rule form.age")
	t:refused(function ()
		send(t, patient(t), "phq9m")
	end, "PHQ-9M is for 11 to 17 years")
end)

test("by language: what was asked for, else the patient's, else English; never half a form", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local spanish = { communication = { { language = { coding = { { code = "es-MX" } } }, preferred = true } } }
	t:equal(form_of(t, send(t, patient(t, spanish), "phq9")).language, "es")
	t:equal(form_of(t, send(t, patient(t), "phq9")).language, "en")
	t:equal(form_of(t, send(t, patient(t), "gad7", "in person", "es")).language, "es")
	t:refused(function ()
		send(t, patient(t), "phq9", "in person", "fr")
	end, "exists in: en, es")
	t:equal(form_of(t, send(t, patient(t, { birthDate = "2012-01-01", communication = spanish.communication }), "phq9m"))
		.language, "en", "no Spanish text was checked for the PHQ-9M")
end)

test("what is asked twice, by nobody's channel, or of the dead, is refused", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local who = patient(t)
	send(t, who, "phq9")
	t:refused(function ()
		send(t, who, "phq9")
	end, "rule form.twice")
	t:refused(function ()
		send(t, who, "gad7", "pigeon")
	end, "channel is one of")
	t:refused(function ()
		send(t, who, "mmpi")
	end, "depression, or one of")
	t:refused(function ()
		send(t, patient(t, { deceasedDateTime = "2026-11-01" }), "phq9")
	end, "died")
end)

test("a form that does not come back is asked about, reminded of, then over", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local who = patient(t)
	local task = send(t, who, "gad7", "portal")
	t:advance("6 days")
	t:as("assistant")
	local due = t:instance(task).due
	t:equal(t:transition(task, "remind", {}), "sent")
	t:equal(t:instance(task).due, due, "a reminder gives no more time")
	t:equal(#sent_to(t, who), 2)
	t:advance("20 days")
	t:equal(t:state(task), "expired")
	t:equal(t:metric("forms_answered", "2026-11").numerator, 0)
end)

test("forms are published at night, in every whole language, and brought up to date", function (t)
	clinic.open(t, "2026-11-02T03:00:00-06:00")
	t:advance("1 hour")
	t:as("ehr")
	t:equal(#t:search("Questionnaire", { url = "urn:careloop:questionnaire:phq9:es" }), 1)
	t:equal(#t:search("Questionnaire", { url = "urn:careloop:questionnaire:phq9m:es" }), 0)
	local count = #t:search("Questionnaire", { _count = 100 })
	t:as("boss")
	local listed = t:operation("$publish-forms", { resourceType = "Parameters" })
	t:equal(#listed.parameter, count)
	t:as("ehr")
	t:equal(t:search("Questionnaire", { url = "urn:careloop:questionnaire:phq9:es" })[1].meta.versionId, "1", "unchanged")
end)

local drinking = {
	{ value = 0, en = "Never" }, { value = 1, en = "Monthly or less" }, { value = 2, en = "2 to 4 times a month" },
	{ value = 3, en = "2 to 3 times a week" }, { value = 4, en = "4 or more times a week" },
}
local own = { more = { audit_c = {
	name = "AUDIT-C", panel = "72109-2", total = "75626-2", title = { en = "Three questions about drinking" },
	answers = drinking, positive = 4, positive_of = { female = 3 }, bands = { { 0, "low" }, { 4, "risk" }, { 8, "high" } },
	items = { { link = "68518-0", en = "How often" }, { link = "68519-8", en = "How much" },
		{ link = "68520-6", en = "Six or more" } },
} } }

test("another instrument is data alone: AUDIT-C is published, handed out, scored, with a cut by sex", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00", nil, own)
	local function score(gender, values)
		local who = patient(t, { gender = gender })
		t:equal(form_of(t, send(t, who, "audit_c")).title, "Three questions about drinking")
		local items = {}
		for number, value in ipairs(values) do
			items[number] = { linkId = own.more.audit_c.items[number].link, answer = { { valueInteger = value } } }
		end
		t:as("ehr")
		t:create {
			resourceType = "QuestionnaireResponse", status = "completed", subject = { reference = who },
			questionnaire = "urn:careloop:questionnaire:audit_c:en|1", authored = t:now(), item = items,
		}
		return t:search("Observation", { patient = who, code = "http://loinc.org|75626-2" })[1], who
	end
	local found, who = score("male", { 4, 4, 4 })
	t:equal(t:data("Observation/" .. found.id).valueQuantity.value, 12)
	t:equal(found.interpretation[1].text, "high")
	t:equal(t:state("Task/" .. t:search("Task", { code = "form", patient = who })[1].id), "answered")
	t:refused(function ()
		score("male", { 4, 4, 5 })
	end, "rule audit_c.answer")
	t:refused(function ()
		t:create {
			resourceType = "Observation", status = "final", subject = { reference = who }, effectiveDateTime = t:now(),
			code = { coding = { { system = "http://loinc.org", code = "75626-2" } } }, valueQuantity = { value = 13 },
		}
	end, "rule audit_c.total")
	t:equal(score("female", { 1, 1 }), nil, "no rule for missing items was given: no total")
end)

test("surveys of patients and staff, by language; n is shown", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	t:equal(t:metric("patient_experience", "2026-11").value, nil)
	local who = patient(t)
	answer(t, who, "patient_experience", { 5, 4, 3, 1 })
	answer(t, who, "patient_experience", { 5 }, { questionnaire = "urn:careloop:questionnaire:patient_experience:es|1" })
	answer(t, nil, "staff_experience", { 2, 4, 5 }, { author = { reference = "Practitioner/assistant" } })
	t:equal(#t:search("Observation", { patient = who }), 0, "a survey has no score")
	local found = t:metric("patient_experience", "2026-11")
	t:equal(found.numerator, 3)
	t:equal(found.denominator, 5)
	t:equal(t:metric("staff_experience", "2026-11").numerator, 2)
	t:as("boss")
	local rows = t:view("survey_results")
	t:equal(#rows, 8)
	t:equal(rows[1].language, "en")
	t:equal(rows[5].language, "es")
	t:equal(rows[5].n, 1)
	t:ok(string.find(rows[5].question, "sabían", 1, true))
	t:refused(function ()
		answer(t, who, "patient_experience", { 6 })
	end, "rule patient_experience.answer")
end)

test("2.1: item 9 left out shows in a measure; alerts are timed", function (t)
	clinic.open(t, "2026-11-02T09:00:00-06:00")
	local who, other = patient(t), patient(t)
	answer(t, who, "phq9", { 1, 1, 1, 1, 1, 1, 1 })
	answer(t, other, "phq9", { 1, 1, 1, 1, 1, 1, 1, 1, 1 })
	local assessed = t:metric("self_harm_assessed", "2026-11")
	t:equal(assessed.numerator, 1)
	t:equal(assessed.denominator, 2)
	t:as("ehr")
	local alert = "Task/" .. t:search("Task", { code = "safety", patient = other })[1].id
	t:advance("15 minutes")
	t:as("consultant")
	t:transition(alert, "acknowledge", {})
	t:equal(t:metric("safety_taken_on_time", "2026-11").numerator, 1, "at the fifteenth minute")
	t:advance("61 minutes")
	t:transition(alert, "close", { disposition = "no acute risk", risk = "low" })
	t:equal(t:metric("safety_closed_on_time", "2026-11").numerator, 0, "a minute late")
	t:equal(t:metric("safety_closed_on_time", "2026-11").denominator, 1)
end)
