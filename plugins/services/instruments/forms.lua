-- Handing out forms: which one, in which language, when it may be sent, and that it comes back.
local instruments = require "lib/instruments"
local resources = require "lib/resources"
local safety = require "lib/safety"
local scores = require "lib/scores"

local forms = {}

local staff = { "medical_assistant", "clinician", "front_desk" }
local carried_url = "urn:careloop:questionnaire:carried-from" -- extension of a form that another one opened

-- ---- Questionnaires ----

function forms.publish_all(ctx)
	for _, instrument in pairs(instruments.all(ctx)) do
		for _, language in ipairs(instruments.languages(instrument)) do
			instruments.publish(ctx, instrument, language)
		end
	end
end

-- POST /fhir/$publish-forms: at once, instead of tonight.
function forms.publish_now(ctx)
	forms.publish_all(ctx)
	local entries = {}
	for _, questionnaire in ipairs(ctx:search("Questionnaire", { status = "active", _sort = "name", _count = 200 })) do
		entries[#entries + 1] = { name = questionnaire.url, valueString = resources.of(questionnaire) }
	end
	return { resourceType = "Parameters", parameter = entries }
end

-- ---- which form ----

local function age_of(ctx, person)
	local today, birth = ctx:today(), person.birthDate
	if not birth or #birth < 10 then
		return nil
	end
	local years = tonumber(string.sub(today, 1, 4)) - tonumber(string.sub(birth, 1, 4))
	return math.tointeger(string.sub(today, 6) < string.sub(birth, 6) and years - 1 or years)
end

-- "depression" is the PHQ-9M up to `adolescent_until` years of age, the PHQ-9 after.
local function choose(ctx, person, wanted)
	local age = age_of(ctx, person)
	local kind = wanted
	if wanted == "depression" then
		kind = age and age <= ctx.setting.adolescent_until and "phq9m" or "phq9"
	end
	local all = instruments.all(ctx)
	local instrument, names = all[kind or ""], {}
	for name in pairs(all) do
		names[#names + 1] = name
	end
	table.sort(names)
	if not instrument then
		ctx:refuse("instrument is depression, or one of: " .. table.concat(names, ", "), "Parameters.parameter")
	elseif instrument.ages and age and (age < instrument.ages[1] or age > instrument.ages[2]) then
		ctx:refuse(string.format("%s is for %d to %d years of age; the patient is %d (rule form.age)", instrument.name,
			instrument.ages[1], instrument.ages[2], age), "Parameters.parameter")
	end
	return instrument
end

-- The language asked for, else the patient's, else English; one in which the whole form exists.
local function language_of(ctx, person, instrument, asked)
	local languages = instruments.languages(instrument)
	if asked and not resources.contains(languages, asked) then
		ctx:refuse(string.format("%s exists in: %s", instrument.name, table.concat(languages, ", ")), "Parameters.parameter")
	end
	local preferred
	for _, each in ipairs(person.communication or {}) do
		local code = string.match(resources.code(each.language) or "", "^%a+")
		if resources.contains(languages, code) and (each.preferred or not preferred) then
			preferred = code
		end
	end
	return asked or preferred or resources.contains(languages, "en") and "en" or languages[1]
end

-- ---- sending ----

local function asks_about_harm(ctx, data)
	local instrument = instruments.all(ctx)[data.instrument or ""]
	return instrument ~= nil and instrument.safety_item ~= nil
end

local function in_hand(channel)
	return channel == "in person" or channel == "phone" -- somebody is with the patient
end

-- A form that asks about self-harm leaves the house only when somebody would see the answer.
local function may_leave(ctx, task, data)
	local known = ctx:instance("Task/" .. task.id).data
	if in_hand(data.channel or known.channel) or not asks_about_harm(ctx, known) then
		return true
	end
	return safety.may_send_form(ctx)
end

local function tell_patient(ctx, task, data)
	local known = ctx:instance("Task/" .. task.id).data
	if not in_hand(data.channel or known.channel) then
		local questionnaire = ctx:read(task.focus.reference)
		ctx:notify {
			to = task["for"].reference, about = task.focus.reference,
			text = string.format(ctx.setting.invitation, questionnaire.title or "a short form"),
		}
	end
end

-- POST /fhir/Patient/<id>/$send-form: instrument, channel, optional language. Sends it, or keeps it until somebody is
-- there.
function forms.send(ctx, input, target)
	local person = target and ctx:read(target)
	if not person or person.resourceType ~= "Patient" then
		ctx:refuse("a form goes to a patient: POST /fhir/Patient/<id>/$send-form", "Patient")
	elseif person.deceasedDateTime or person.deceasedBoolean then
		ctx:refuse("the patient has died", "Patient.deceased")
	end
	local channel = resources.parameter(input, "channel") or "in person"
	if not resources.contains(ctx.setting.channels, channel) then
		ctx:refuse("channel is one of: " .. table.concat(ctx.setting.channels, ", "), "Parameters.parameter")
	end
	local instrument = choose(ctx, person, resources.parameter(input, "instrument"))
	local language = language_of(ctx, person, instrument, resources.parameter(input, "language"))
	for _, open in ipairs(ctx:instances("form", { patient = target, live = true })) do
		if open.data.instrument == instrument.kind then
			ctx:refuse(instrument.name .. " is asked for already: " .. open.task .. " (rule form.twice)", "Patient")
		end
	end
	local task = ctx:start("form", {
		focus = instruments.publish(ctx, instrument, language), patient = target, requester = ctx.actor.reference,
		data = { instrument = instrument.kind, channel = channel },
	})
	local may = in_hand(channel) or not instrument.safety_item or safety.may_send_form(ctx)
	ctx:advance(task, may and "send" or "hold", { channel = channel })
	return plain(ctx:read(task))
end

-- ---- coming back ----

-- A finished form answers what was asked for; a positive short one opens the long one.
function forms.came_back(ctx, change)
	local response = change.resource
	local patient = resources.reference(response.subject)
	local done = response.status == "completed" or response.status == "amended"
	if not patient or not done or change.former_status == "completed" or change.former_status == "amended" then
		return
	end
	local all = instruments.all(ctx)
	for _, kind in ipairs(scores.kinds(response, all)) do
		for _, open in ipairs(ctx:instances("form", { patient = patient, live = true })) do
			if open.data.instrument == kind then
				ctx:advance(open.task, "answered", { response = change.reference })
			end
		end
	end
	local person = ctx:read(patient)
	for _, score in ipairs(scores.of_response(response, all, person and person.gender)) do
		local longer = score.positive and all[all[score.instrument].longer or ""]
		if longer then
			forms.open_longer(ctx, response, score, longer)
		end
	end
end

-- The long form begins with the answers that the short one has already.
function forms.open_longer(ctx, response, score, longer)
	local patient = response.subject.reference
	for _, open in ipairs(ctx:instances("form", { patient = patient, live = true })) do
		if open.data.instrument == longer.kind then
			return
		end
	end
	local items, short = {}, instruments.all(ctx)[score.instrument]
	for number, item in ipairs(short.items) do
		for _, other in ipairs(longer.items) do
			if other.link == item.link then
				for _, answer in ipairs(other.answers) do
					if answer.value == score.answers[number] then
						items[#items + 1] = { linkId = item.link, answer = { { valueCoding = instruments.coding(longer, answer) } } }
					end
				end
			end
		end
	end
	local language = string.match(response.questionnaire or "", ":(%a%a)|?[^:]*$")
	language = resources.contains(instruments.languages(longer), language) and language or "en"
	local begun = ctx:create {
		resourceType = "QuestionnaireResponse", status = "in-progress", subject = { reference = patient },
		questionnaire = instruments.url(longer.kind, language) .. "|" .. longer.version, authored = ctx:now(),
		encounter = response.encounter and plain(response.encounter) or nil, item = items,
		extension = { { url = carried_url, valueReference = { reference = resources.of(response) } } },
	}
	local task = ctx:start("form", {
		focus = instruments.publish(ctx, longer, language), patient = patient,
		data = { instrument = longer.kind, channel = "in person", begun = begun },
	})
	ctx:notify {
		to = "medical_assistant", about = task,
		text = string.format("%s is positive: go on with the %s, begun in %s", short.name, longer.name, begun),
	}
end

-- ---- the machine ----

function forms.workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local answered = {
		"answered", by = staff, needs = { response = { "reference", optional = true } }, help = "The form came back",
	}
	local cancel = { "cancelled", by = staff, needs = { "reason" } }
	local expire = { "expired", by = "clock", help = "It did not come back" }
	local channel = { channel = { "choice", setting "channels" } }
	return {
		summary = "A form is handed out or sent, and comes back", subject = "Questionnaire", start = "due",
		due = {
			status = "requested", owner = "medical_assistant", action = "Hand out or send the form",
			within = setting "hand_out_within",
			overdue = escalate("medical_assistant", { again = "1 business day", times = 5, finally = "expire" }),
			on = {
				send = { "sent", by = staff, needs = channel, guard = may_leave, effect = tell_patient },
				hold = { "held", by = staff, needs = channel, help = "Nobody would see the answer now; it goes at opening" },
				answered = answered, cancel = cancel, expire = expire,
			},
		},
		held = {
			status = "on-hold", owner = "medical_assistant", action = "It is sent when somebody is there",
			within = safety.next_opening, overdue = declare.fire "open",
			on = {
				open = { "sent", by = { "clock", "medical_assistant" }, guard = may_leave, effect = tell_patient },
				answered = answered, cancel = cancel,
			},
		},
		sent = {
			status = "in-progress", owner = "medical_assistant", action = "See that it comes back",
			within = setting "answer_within",
			overdue = escalate("medical_assistant", { again = "3 days", times = 2, finally = "expire" }),
			on = {
				remind = { "sent", by = staff, keep_clock = true, guard = may_leave, effect = tell_patient },
				answered = answered, cancel = cancel, expire = expire,
			},
		},
		answered = { status = "completed", final = true },
		expired = { status = "failed", final = true },
		cancelled = { status = "cancelled", final = true },
	}
end

-- ---- measures ----

local function each_form(ctx, month, fn)
	local all = instruments.all(ctx)
	resources.each_of_month(ctx, month, "QuestionnaireResponse", "authored", "", function (response)
		return response.authored
	end, function (response)
		if response.status == "completed" or response.status == "amended" then
			for _, kind in ipairs(scores.kinds(response, all)) do
				fn(all[kind], scores.score(kind, scores.answers(response, kind, all), all), response)
			end
		end
	end)
end

-- Finished forms with a safety item whose safety item was answered.
function forms.harm_assessed(ctx, month)
	local answered, total = 0, 0
	each_form(ctx, month, function (_, score)
		if score.safety then
			total, answered = total + 1, answered + (score.safety ~= "not assessed" and 1 or 0)
		end
	end)
	return total > 0 and { numerator = answered, denominator = total } or nil
end

-- Answers to a survey that are good / answers given.
function forms.survey(whom)
	return function (ctx, month)
		local good, total = 0, 0
		each_form(ctx, month, function (instrument, score)
			if instrument.survey == whom then
				for _, value in pairs(score.answers) do
					total, good = total + 1, good + (value >= instrument.top and 1 or 0)
				end
			end
		end)
		return total > 0 and { numerator = good, denominator = total } or nil
	end
end

-- The last twelve months of the surveys, question by question and language by language. n is always shown.
function forms.survey_rows(ctx)
	local sums, order = {}, {}
	for ahead = -11, 0 do
		local month = ctx:month(ahead)
		each_form(ctx, month, function (instrument, score, response)
			if instrument.survey then
				local language = string.match(response.questionnaire or "", ":(%a%a)|?[^:]*$") or "en"
				for number, value in pairs(score.answers) do
					local key = instrument.kind .. " " .. language .. " " .. number
					local sum = sums[key]
					if not sum then
						sum = {
							survey = instrument.name, language = language, n = 0, total = 0, good = 0,
							question = instrument.items[number].text[language] or instrument.items[number].link,
						}
						sums[key], order[#order + 1] = sum, key
					end
					sum.n, sum.total = sum.n + 1, sum.total + value
					sum.good = sum.good + (value >= instrument.top and 1 or 0)
				end
			end
		end)
	end
	table.sort(order)
	local rows = {}
	for number, key in ipairs(order) do
		local sum = sums[key]
		sum.mean, sum.good_share = sum.total / sum.n, sum.good / sum.n * 100
		rows[number] = sum
	end
	return rows
end

-- Alerts about self-harm of a month: taken, or closed, within the model's time.
function forms.alerts_on_time(event, setting)
	return function (ctx, month)
		local on_time, total = 0, 0
		local within = ctx.setting_of(ctx.organization.model, setting)
		resources.each_of_month(ctx, month, "Task", "authored-on", "code=safety", function (task)
			return task.authoredOn
		end, function (task)
			local from = event == "acknowledge" and task.authoredOn or nil
			local done
			for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
				from = from or move.event == "acknowledge" and move.at or nil
				done = done or move.event == event and move.at or nil
			end
			if from then
				total = total + 1
				on_time = on_time + (done and ctx:between(done, ctx:add(from, within), "minutes") >= 0 and 1 or 0)
			end
		end)
		return total > 0 and { numerator = on_time, denominator = total } or nil
	end
end

return forms
