-- Questionnaires in use: published as resources, handed out by age and language, sent only when somebody would see an
-- answer about self-harm, followed until they come back; surveys; instruments of the organization's own as data. What
-- is asked and how it is scored is in lib/instruments.lua and lib/scores.lua; the alert is the model's workflow
-- "safety".
local roles = require "lib/roles"
local forms = require "forms"

local declare = { setting = setting, escalate = escalate, fire = fire }
local staff = { "medical_assistant", "clinician", "front_desk" }

return plugin {
	name = "instruments", api = 1, summary = "Questionnaires: publish, hand out, follow, score; surveys",

	settings = {
		more = {
			type = "table", default = {},
			help = "Your own instruments and surveys as data: kind = { name, title = { en = }, "
				.. "items = { { link, en, answers } }, answers = { { value, code, en } }, panel, total, bands, positive, "
				.. "positive_of, safety_item, longer, ages, survey, top }",
		},
		adolescent_until = {
			type = "integer", default = 17,
			help = "Up to this age `depression` is the PHQ-9M, after it the PHQ-9 (CMS2: 17 either)",
		},
		channels = {
			type = "list", default = { "in person", "phone", "portal", "text message", "email" },
			help = "How forms go out; in person and by phone somebody is with the patient",
		},
		invitation = {
			type = "string", default = "We have a short form for you: %s. Please answer it before your next visit. If you are "
				.. "thinking of harming yourself, call or text 988 now, at any hour.",
			help = "What a patient is sent; %s is the form's title",
		},
		hand_out_within = { type = "duration", default = "1 business day", help = "Time to hand out a form that is due" },
		answer_within = { type = "duration", default = "7 days", help = "Time for the answer, before somebody asks" },
	},

	roles = {
		medical_assistant = {
			summary = "Hands out forms",
			allow = {
				{ "read search", types = roles.directory },
				{ "read search", types = { "Task", "Communication", "Questionnaire", "QuestionnaireResponse" } },
				{ "create update", types = { "QuestionnaireResponse" } },
				{ "transition", types = { "Task" }, workflow = "form" },
			},
		},
	},

	workflow "form" (forms.workflow(declare)),

	on "QuestionnaireResponse.create" (forms.came_back),
	on "QuestionnaireResponse.update" (forms.came_back),
	every("03:30", "daily", forms.publish_all),

	operation "$send-form" {
		summary = "Send or hand out a form to a patient: instrument, channel, language",
		roles = { "medical_assistant", "clinician", "front_desk", "ehr" }, run = forms.send,
	},
	operation "$publish-forms" {
		summary = "Make or bring up to date the Questionnaire of every instrument and language now",
		roles = { "manager", "ehr" }, run = forms.publish_now,
	},

	metric "forms_answered" {
		summary = "Forms asked for that came back within two weeks", category = "operations", unit = "%", better = "higher",
		version = "1", of = started "form", counts = reached("answered", { within = "14 days" }),
	},
	metric "self_harm_assessed" {
		summary = "Finished forms that ask about self-harm whose question was answered", category = "operations", unit = "%",
		better = "higher", version = "1", value = forms.harm_assessed,
	},
	metric "safety_taken_on_time" {
		summary = "Alerts about self-harm that somebody took within the time set", category = "operations", unit = "%",
		better = "higher", version = "1", value = forms.alerts_on_time("acknowledge", "safety_acknowledge_within"),
	},
	metric "safety_closed_on_time" {
		summary = "Alerts that were taken and closed with a disposition within the time set", category = "operations",
		unit = "%", better = "higher", version = "1", value = forms.alerts_on_time("close", "safety_assess_within"),
	},
	metric "patient_experience" {
		summary = "Answers of the patient survey that agree", category = "outcomes", unit = "%", better = "higher",
		version = "1", value = forms.survey "patient",
	},
	metric "staff_experience" {
		summary = "Answers of the staff survey that agree", category = "operations", unit = "%", better = "higher",
		version = "1", value = forms.survey "staff",
	},

	view "forms_out" {
		summary = "Forms to hand out, kept until opening, or out", of = instances "form", states = { "due", "held", "sent" },
		columns = { "patient_name", "data.instrument", "state", "action", "due", "overdue", "data.channel", "task" },
		roles = staff,
	},
	view "survey_results" {
		summary = "Surveys of the last twelve months, by question and language", rows = forms.survey_rows,
		columns = { "survey", "language", "question", "n", "mean", "good_share" }, roles = { "manager", "clinician" },
	},
}
