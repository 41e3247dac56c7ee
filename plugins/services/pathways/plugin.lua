-- Pathways: which model fits the organization, and which way of care fits the patient, when several run at once.
local resources = require "lib/resources"
local selection = require "selection"
local triage = require "triage"

local deciding = {
	summary = "Decides with the patient which way of care to take",
	allow = {
		{ "read search", types = { "Patient", "Task" } },
		{ "transition", types = { "Task" }, workflow = "triage" },
	},
}

return plugin {
	name = "pathways", api = 1, summary = "Which model fits us, which way of care fits the patient",

	settings = {
		rules = {
			type = "list", source = "Penn Integrated Care triage; Kaiser Permanente Northern California's exclusions",
			help = "In order; the first that applies proposes: name, when (at_least, below, is, condition), way, because",
			default = {
				{
					name = "crisis", when = { is = { safety = true } }, way = "safety",
					because = "an alert about self-harm is open: that comes first",
				},
				{
					name = "serious mental illness", when = { condition = { "F20", "F25", "F30", "F31", "58214004", "13746004" } },
					way = "specialty", because = "schizophrenia or bipolar disorder: outside collaborative care's evidence",
				},
				{
					name = "patient's wish", when = { is = { prefers_specialty = true } }, way = "specialty",
					because = "the patient wants specialty care",
				},
				{
					name = "severe depression after treatment",
					when = { at_least = { phq9 = 20 }, is = { prior_treatment_failed = true } }, way = "specialty",
					because = "severe symptoms after a treatment that failed",
				},
				{
					name = "moderate depression", when = { at_least = { phq9 = 10 } }, way = "collaborative_care",
					because = "PHQ-9 of 10 or more",
				},
				{
					name = "moderate anxiety", when = { at_least = { gad7 = 10 } }, way = "collaborative_care",
					because = "GAD-7 of 10 or more",
				},
				{
					name = "mild symptoms", when = { at_least = { phq9 = 5 } }, way = "brief_visits",
					because = "mild symptoms: brief visits in primary care",
				},
			},
		},
		otherwise = { type = "string", default = "watch", help = "What is proposed when no rule applies" },
		ways = {
			type = "table", help = "Ways of care by name: title, the workflow that begins, and what it is about",
			default = {
				safety = { title = "Answer the safety alert" },
				watch = { title = "Watch and screen again" },
				collaborative_care = { title = "Collaborative care", workflow = "cocm" },
				brief_visits = { title = "Brief visits in primary care", workflow = "handoff" },
				specialty = {
					title = "Specialty behavioral health", workflow = "referral", subject = "ServiceRequest", party = "initiator",
					category = "behavioural",
				},
			},
		},
		decide_within = { type = "duration", default = "2 business days", help = "Time to decide" },
		capitated_share = { type = "number", default = 50, help = "Percent by capitation that speaks for integration" },
		colocated_fte = { type = "number", default = 0.5, help = "Behavioral health positions that a warm handoff needs" },
		pcbh_share = { type = "number", default = 0.1, help = "Behavioral health positions for one in primary care" },
		collaborative_referrals = { type = "integer", default = 15, help = "Patients a month that fill a caseload" },
	},

	roles = {
		clinician = deciding,
		care_manager = deciding,
		behavioral_health_consultant = deciding,
		referral_coordinator = deciding,
		manager = {
			summary = "Chooses the model",
			allow = {
				{
					"read search create", types = { "QuestionnaireResponse" },
					where = "questionnaire=" .. selection.questionnaire,
				},
			},
		},
	},

	workflow "triage" (triage.workflow { setting = setting, escalate = escalate }),

	operation "$triage" {
		summary = "Which way of care is proposed for this patient, and why",
		roles = { "clinician", "care_manager", "behavioral_health_consultant", "referral_coordinator" }, run = triage.run,
	},
	operation "$model-selection-form" {
		summary = "The questions about the organization (Questionnaire)", roles = { "manager" },
		run = function ()
			return selection.form()
		end,
	},
	operation "$recommend-model" {
		summary = "The model that fits, with reasons; the answers are kept", roles = { "manager" }, run = selection.run,
	},

	metric "triage_as_proposed" {
		summary = "Decisions that took the proposed way", category = "operations", unit = "%", better = "higher",
		version = "1",
		source = "own; many other decisions ask for other rules",
		value = function (ctx, month)
			local same, all = 0, 0
			for instance in ctx:each_instance("triage", { state = "decided" }) do
				local proposed
				for _, move in ipairs(ctx:transitions(instance.task)) do
					if move.event == "decide" then
						if resources.in_month(ctx, month, move.at) then
							all = all + 1
							same = same + (move.data.way == proposed and 1 or 0)
						end
					elseif move.data and move.data.way then
						proposed = move.data.way
					end
				end
			end
			if all == 0 then
				return nil
			end
			return { numerator = same, denominator = all }
		end,
	},

	view "triage_open" {
		summary = "Patients whose way is not decided yet", of = instances "triage",
		columns = { "patient_name", "data.way", "data.why", "data.under_way", "due", "overdue", "task" },
		roles = { "clinician", "care_manager", "behavioral_health_consultant", "referral_coordinator", "manager" },
	},
	view "double_care" {
		summary = "Patients in two ways of care at once: double minutes, double outreach",
		columns = { "patient_name", "ways", "tasks", "patient" }, rows = triage.doubles,
		roles = { "clinician", "care_manager", "manager" },
	},
}
