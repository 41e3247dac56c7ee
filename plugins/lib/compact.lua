-- Care compacts: what one partner agreed with us (who answers, how soon, by which channel, what it may see). A compact
-- is a completed form: a QuestionnaireResponse whose subject is the partner's Organization. Its values become the
-- clocks of the referrals to that partner. The form's shape follows the collaborative care agreements of the
-- patient-centered medical neighborhood (ACP, 2010); the values are the two organizations' own.
local compact = {}

compact.questionnaire = "urn:careloop:questionnaire:care-compact"

-- linkId -> what it is. "duration" values are durations of this server ("2 business days"); lists repeat their answer.
compact.items = {
	{ "answers_by", "string", "Who answers at the partner (name and phone)" },
	{ "channel", "choice", "How the partner answers", { "connected", "reply link", "phone", "fax", "letter" } },
	{ "accept_within", "duration", "Time to accept or decline" },
	{ "urgent_accept_within", "duration", "Time to accept or decline an urgent referral" },
	{ "schedule_within", "duration", "Time from acceptance to a booked visit" },
	{ "visit_within", "duration", "Time from booking to a kept visit" },
	{ "reschedule_within", "duration", "Time from a missed visit to a new time" },
	{ "report_within", "duration", "Time from the visit to the report" },
	{ "cancel_within", "duration", "Time to confirm a cancellation" },
	{ "valid_from", "date", "In force from" },
	{ "valid_until", "date", "In force until" },
	{ "patient_fields", "list", "Elements of Patient that the partner may see" },
	{ "enclose", "list", "Types of record that may go with a request" },
}

local kinds = {}
for _, item in ipairs(compact.items) do
	kinds[item[1]] = item
end

-- The value of an answer, whatever its type.
local function value_of(answer)
	for key, value in pairs(answer) do
		if string.sub(key, 1, 5) == "value" then
			return value
		end
	end
	return nil
end

-- Values of a form by name, or nil and what is wrong with it, where.
function compact.read(ctx, response)
	local values = {}
	for number, item in ipairs(response.item or {}) do
		local known = kinds[item.linkId]
		local place = "QuestionnaireResponse.item[" .. (number - 1) .. "]"
		if not known then
			return nil, "a care compact has no entry '" .. tostring(item.linkId) .. "'", place .. ".linkId"
		end
		local first = item.answer and item.answer[1] and value_of(item.answer[1])
		if known[2] == "list" then
			local list_of_values = {}
			for _, answer in ipairs(item.answer or {}) do
				list_of_values[#list_of_values + 1] = value_of(answer)
			end
			values[known[1]] = list_of_values
		elseif first ~= nil then
			if known[2] == "duration" then
				local fine, due = pcall(ctx.add, ctx, ctx:now(), first)
				if not fine or not due or ctx:between(ctx:now(), due, "minutes") <= 0 then
					return nil, known[1] .. ": '" .. tostring(first) .. "' is no duration; say for example \"2 business days\"",
						place .. ".answer[0]"
				end
			elseif known[2] == "choice" then
				local allowed = false
				for _, choice in ipairs(known[4]) do
					allowed = allowed or choice == first
				end
				if not allowed then
					return nil, known[1] .. ": '" .. tostring(first) .. "' is none of " .. table.concat(known[4], ", "),
						place .. ".answer[0]"
				end
			end
			values[known[1]] = first
		end
	end
	if values.valid_from and values.valid_until and values.valid_until < values.valid_from then
		return nil, "the compact ends before it begins", "QuestionnaireResponse.item"
	end
	return values
end

-- The compact in force with a partner today: its values and its reference, or nil. The latest one that is in force
-- counts.
function compact.current(ctx, organization)
	if not organization then
		return nil
	end
	local today = ctx:today()
	local forms = ctx:search("QuestionnaireResponse", {
		questionnaire = compact.questionnaire, subject = organization, status = "completed,amended", _sort = "-authored",
		_count = 20,
	})
	for _, form in ipairs(forms) do
		local values = compact.read(ctx, form)
		if values and (not values.valid_from or values.valid_from <= today)
			and (not values.valid_until or values.valid_until >= today) then
			return values, "QuestionnaireResponse/" .. form.id
		end
	end
	return nil
end

-- The form to fill in, as a Questionnaire.
function compact.form()
	local form = {
		resourceType = "Questionnaire", id = "care-compact", url = compact.questionnaire, version = "1", status = "active",
		title = "Care compact with a partner", subjectType = { "Organization" }, item = {},
	}
	for _, item in ipairs(compact.items) do
		local question = {
			linkId = item[1], text = item[3], type = item[2] == "duration" and "string" or item[2],
		}
		if item[2] == "list" then
			question.type = "string"
			question.repeats = true
		elseif item[2] == "choice" then
			question.answerOption = {}
			for _, choice in ipairs(item[4]) do
				question.answerOption[#question.answerOption + 1] = { valueString = choice }
			end
		end
		form.item[#form.item + 1] = question
	end
	return form
end

-- A filled form of these values; for tests, seeds and other plugins.
function compact.make(organization, authored, values)
	local response = {
		resourceType = "QuestionnaireResponse", status = "completed", questionnaire = compact.questionnaire,
		subject = { reference = organization }, authored = authored, item = {},
	}
	for _, item in ipairs(compact.items) do
		local value = values[item[1]]
		if value ~= nil then
			local answers = {}
			if item[2] == "list" then
				for _, one in ipairs(value) do
					answers[#answers + 1] = { valueString = one }
				end
			elseif item[2] == "date" then
				answers[1] = { valueDate = value }
			else
				answers[1] = { valueString = value }
			end
			response.item[#response.item + 1] = { linkId = item[1], answer = answers }
		end
	end
	return response
end

return compact
