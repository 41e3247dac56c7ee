-- Which model fits this practice? A cascade of yes and no questions in the manner of the IPAT (Integrated Practice
-- Assessment Tool, SAMHSA-HRSA Center for Integrated Health Solutions, 2013) places it on the six levels of
-- integration; the organization's facts then say what it can carry. The words are our own. Answers are kept, so that
-- it can be asked again in a year.
local resources = require "lib/resources"

local selection = {}

selection.questionnaire = "urn:careloop:questionnaire:model-selection"

-- The cascade: { linkId, words }. Later questions count only when the earlier ones were answered as the path asks.
selection.questions = {
	{ "same_site", "boolean", "Do behavioral health and primary care staff work in the same building?" },
	{ "same_space", "boolean", "Do they share the same rooms, so that they meet in the hall?" },
	{ "talk_regularly", "boolean", "Do they talk about shared patients regularly, by phone, message or in person?" },
	{ "same_record", "boolean", "Do they write in the same record?" },
	{ "shared_plan", "boolean", "Is there one treatment plan that all of them change?" },
	{ "all_patients", "boolean", "Is every patient of the practice served as one population, whatever the problem?" },
	{ "behavioral_fte", "decimal", "Behavioral health full-time equivalents" },
	{ "primary_care_fte", "decimal", "Primary care full-time equivalents" },
	{ "monthly_referrals", "integer", "Patients a month who need behavioral health care" },
	{ "rooms_available", "boolean", "Is there a room near the exam rooms?" },
	{ "psychiatrist_available", "boolean", "Can a psychiatric consultant be had, remotely too?" },
	{ "capitated_share", "decimal", "Share of patients paid by capitation, percent" },
	{ "same_day_paid", "boolean", "Do the main payers pay two visits on one day?" },
	{ "record_access", "boolean", "Can partners look into your record?" },
}

function selection.form()
	local form = {
		resourceType = "Questionnaire", id = "model-selection", url = selection.questionnaire, version = "1",
		status = "active",
		title = "Which model of integration fits us", subjectType = { "Organization" }, item = {},
	}
	for _, question in ipairs(selection.questions) do
		form.item[#form.item + 1] = { linkId = question[1], type = question[2], text = question[3], required = true }
	end
	return form
end

function selection.answers(ctx, response)
	local kinds, answers, missing = {}, {}, {}
	for _, question in ipairs(selection.questions) do
		kinds[question[1]] = question[2]
	end
	for number, item in ipairs(response.item or {}) do
		local place = "QuestionnaireResponse.item[" .. (number - 1) .. "]"
		local answer = item.answer and item.answer[1]
		if not kinds[item.linkId] then
			ctx:refuse("the form has no question '" .. tostring(item.linkId) .. "'", place .. ".linkId")
		end
		local value
		if answer and kinds[item.linkId] == "boolean" then
			value = answer.valueBoolean
		elseif answer then
			value = tonumber(answer.valueDecimal or answer.valueInteger)
			if value and value < 0 then
				ctx:refuse("a count or a share cannot be negative", place .. ".answer[0]")
			end
		end
		answers[item.linkId] = value
	end
	for _, question in ipairs(selection.questions) do
		if answers[question[1]] == nil then
			missing[#missing + 1] = question[1]
		end
	end
	if #missing > 0 then
		ctx:refuse("not answered: " .. table.concat(missing, ", "), "QuestionnaireResponse.item")
	end
	return answers
end

-- The level of integration today, 1 to 6 (SAMHSA-HRSA), by the cascade; and the words of each step.
function selection.level(answers)
	if not answers.same_site then
		if answers.talk_regularly then
			return 2, "separate sites that talk regularly"
		end
		return 1, "separate sites that talk rarely"
	end
	if not answers.same_space then
		if answers.talk_regularly and answers.same_record then
			return 4, "one site, regular talk, one record"
		end
		return 3, "one site, separate rooms"
	end
	if not (answers.same_record and answers.shared_plan) then
		return 4, "shared rooms, but not one record and one plan"
	end
	if answers.all_patients then
		return 6, "one team for all patients"
	end
	return 5, "one team with one plan for some patients"
end

-- The recommendation: model, programs, reasons, and what stands in the way of the next step. `limits` are settings.
function selection.recommend(answers, limits)
	local reasons, programs, missing = {}, {}, {}
	local level, words = selection.level(answers)
	reasons[1] = "today level " .. level .. " of 6: " .. words
	local model
	local coverage = answers.primary_care_fte > 0 and answers.behavioral_fte / answers.primary_care_fte or 0
	if answers.shared_plan and answers.same_record or answers.capitated_share >= limits.capitated_share then
		model = "integrated"
		if answers.capitated_share >= limits.capitated_share then
			reasons[#reasons + 1] = string.format("%g %% of patients are paid by capitation: prevention pays here",
				answers.capitated_share)
			programs[#programs + 1] = "capitation"
		end
		if not (answers.shared_plan and answers.same_record) then
			missing[#missing + 1] = "one record and one shared plan"
		end
	elseif (answers.same_space or answers.rooms_available) and answers.behavioral_fte >= limits.colocated_fte then
		model = "colocated"
		reasons[#reasons + 1] = string.format("%g behavioral health full-time equivalents and a room near the patients",
			answers.behavioral_fte)
		if not answers.same_record then
			missing[#missing + 1] = "one record for both"
		end
		if not answers.shared_plan then
			missing[#missing + 1] = "one plan that all change"
		end
	else
		model = "coordinated"
		reasons[#reasons + 1] = "no shared rooms, or too few behavioral health staff for warm handoffs"
		if answers.behavioral_fte < limits.colocated_fte then
			missing[#missing + 1] = string.format("%g behavioral health full-time equivalents", limits.colocated_fte)
		end
		if not answers.rooms_available then
			missing[#missing + 1] = "a room near the exam rooms"
		end
	end
	if model ~= "coordinated" and coverage > 0 and coverage >= limits.pcbh_share then
		programs[#programs + 1] = "pcbh"
		reasons[#reasons + 1] = string.format(
			"one behavioral health position for %.1f in primary care: brief visits reach many", 1 / coverage)
	end
	if answers.psychiatrist_available and answers.monthly_referrals >= limits.collaborative_referrals then
		programs[#programs + 1] = "collaborative_care"
		reasons[#reasons + 1] = string.format("%d patients a month and a psychiatric consultant: a caseload can be kept",
			math.tointeger(answers.monthly_referrals) or 0)
	elseif not answers.psychiatrist_available then
		missing[#missing + 1] = "a psychiatric consultant, for collaborative care"
	end
	if model == "colocated" and not answers.same_day_paid then
		reasons[#reasons + 1] = "payers do not pay two visits on one day: expect unpaid handoffs and count them"
	end
	if model == "coordinated" and not answers.record_access then
		missing[#missing + 1] = "partners who can read the record, or reply links and paper"
	end
	return { level = level, model = model, programs = programs, reasons = reasons, missing = missing }
end

selection.result_url = "urn:careloop:model-selection:result"

-- `operation "$recommend-model"`: the filled-in form; it is stored with the result, and the result is the answer.
function selection.run(ctx, input)
	if not input or input.resourceType ~= "QuestionnaireResponse" or input.questionnaire ~= selection.questionnaire then
		ctx:refuse("$recommend-model takes the filled-in form ($model-selection-form), a QuestionnaireResponse of "
			.. selection.questionnaire, "QuestionnaireResponse.questionnaire")
	end
	local result = selection.recommend(selection.answers(ctx, input), {
		capitated_share = ctx.setting.capitated_share, colocated_fte = ctx.setting.colocated_fte,
		pcbh_share = ctx.setting.pcbh_share, collaborative_referrals = ctx.setting.collaborative_referrals,
	})
	local kept = plain(input)
	kept.id = nil
	kept.status = "completed"
	kept.authored = ctx:now()
	kept.extension = resources.with_extension(kept, {
		url = selection.result_url, valueString = string.format("level %d; %s%s", result.level, result.model,
			#result.programs > 0 and " with " .. table.concat(result.programs, ", ") or ""),
	})
	local reference = ctx:create(kept)
	local answer = { resourceType = "Parameters", parameter = {
		{ name = "model", valueString = result.model }, { name = "level", valueInteger = result.level },
		{ name = "answers", valueReference = { reference = reference } },
	} }
	for _, pair in ipairs {
		{ "program", result.programs }, { "because", result.reasons }, { "missing", result.missing },
	} do
		for _, text in ipairs(pair[2]) do
			answer.parameter[#answer.parameter + 1] = { name = pair[1], valueString = text }
		end
	end
	return answer
end

return selection
