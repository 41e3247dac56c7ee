-- Improvement: where we stand, what we want, who does it, and whether it works.
local project = require "project"
local proof = require "proof"
local series = require "series"
local work = require "work"

local declare = { setting = setting, escalate = escalate, due_from = due_from }
local leaders = { "manager", "project_manager", "improvement_lead" }
local everybody = {
	"manager", "project_manager", "improvement_lead", "clinician", "care_manager", "referral_coordinator", "front_desk",
	"behavioral_health_consultant", "nurse", "medical_assistant",
}

local lead = {
	summary = "Leads the improvement: baselines, objectives, pilots, gates",
	allow = {
		{ "metrics events", types = { "*" } },
		{
			"read search history create update",
			types = { "Goal", "Location", "CareTeam", "ResearchStudy", "ResearchSubject", "MeasureReport", "Basic" },
		},
		{ "read search create", types = { "Task" } },
	},
}
for _, workflow_name in ipairs { "objective", "milestone", "barrier", "meeting", "rollout", "pilot" } do
	lead.allow[#lead.allow + 1] = { "transition", types = { "Task" }, workflow = workflow_name }
end

return plugin {
	name = "improvement", api = 1, summary = "Baseline, objectives, pilots, and the proof that it works",

	settings = {
		team_roles = {
			type = "list", help = "Roles of the implementation team; an empty one shows",
			default = {
				"champion", "project manager", "technical lead", "behavioral health", "coordination", "operations",
			},
		},
		consecutive_months = { type = "integer", default = 3, help = "Months in a row that must meet a target" },
		gate_within = { type = "duration", default = "60 days", help = "Time to pass a gate" },
		barrier_within = { type = "duration", default = "10 business days", help = "Time to remove a barrier" },
		minutes_days = { type = "integer", default = 90, help = "Days that the views of minutes and gaps look back" },
		rate_card = {
			type = "list", default = {},
			help = "Loaded cost of an hour by role and day: { role = \"coordinator\", per_hour = 42, from = \"2026-01-01\" }",
		},
		gap_prices = {
			type = "table", default = {},
			help = "Your price of one: avoidable_day, denied_claim, lost_referral, missed_visit, repeated_test. None is shipped",
		},
	},

	roles = { manager = lead, project_manager = lead, improvement_lead = lead },

	rule "frozen-baseline" {
		of = "Basic?code=" .. proof.kind_system .. "|baseline", exclusive = true,
		summary = "a baseline is frozen by $freeze-baseline and never changed; freeze another one",
		check = function (_, _, former)
			return former == nil
		end,
	},

	workflow "objective" (project.objective_workflow(declare)),
	workflow "milestone" (project.milestone_workflow(declare)),
	workflow "barrier" (project.barrier_workflow(declare)),
	workflow "meeting" (project.meeting_workflow(declare)),
	workflow "rollout" (project.rollout_workflow(declare)),
	workflow "pilot" (project.pilot_workflow(declare)),

	operation "$load-points" { summary = "Points from before, or typed totals, with their source", roles = leaders,
		run = function (ctx, input)
		return series.load(ctx, input)
	end },
	operation "$record-points" {
		summary = "MeasureReports as points", roles = { "manager", "project_manager", "improvement_lead", "ehr" },
			run = series.record,
	},
	operation "$freeze-baseline" { summary = "The baseline, never changed", roles = leaders, run = proof.freeze },
	operation "$run-chart" { summary = "Points, frozen median, signals", roles = leaders, run = proof.run_chart },
	operation "$difference" { summary = "Pilot against comparison, before and after", roles = leaders,
		run = proof.difference },
	operation "$set-objective" { summary = "A target with owner and date", roles = leaders, run = project.set_objective },
	operation "$add-site" { summary = "A site on its way through the gates", roles = leaders, run = project.add_site },
	operation "$record-touchpoint" { summary = "A step of the way of care", roles = leaders,
		run = work.record_touchpoint },
	operation "$sample-shifts" { summary = "Draws the shifts of a time study", roles = leaders, run = work.sample },
	operation "$log-activity" { summary = "Minutes of coordination", roles = everybody, run = work.log_activity },
	operation "$log-adoption" { summary = "Training, use, bypasses to paper", roles = everybody, run = work.log_adoption },

	on "EpisodeOfCare.create" (project.enrol),
	every("07:30", "monday", project.watch),

	view "objectives" {
		summary = "Baseline, target, last point and progress of every objective",
		columns = {
			"measure", "scope", "baseline", "target", "last", "n", "period", "progress", "months_met", "state", "owner", "due",
			"overdue", "task",
		},
		rows = project.objective_rows, roles = leaders,
	},
	view "implementation_team" {
		summary = "Who is who in the project; an empty role shows", columns = { "role", "name", "empty" },
		rows = project.team_rows, roles = everybody,
	},
	view "barriers" {
		summary = "What stands in the way", of = instances "barrier",
		columns = { "subject", "data.what", "state", "owner", "due", "overdue", "task" }, roles = leaders,
	},
	view "milestones" {
		summary = "What must be reached by when", of = instances "milestone",
		columns = { "subject", "data.what", "owner", "due", "overdue", "task" }, roles = leaders,
	},
	view "rollouts" {
		summary = "Sites and the gate each stands at", of = instances "rollout",
		columns = { "subject", "state", "action", "due", "overdue", "task" }, roles = leaders,
	},
	view "pilots" {
		summary = "Pilots: who is in, who is compared, what changed beside",
		columns = {
			"pilot", "state", "in_pilot", "in_comparison", "treated_otherwise", "comparison", "stop_rules", "changes_beside",
			"ends", "task",
		},
		rows = project.pilot_rows, roles = leaders,
	},
	view "touchpoint_map" {
		summary = "The way of care, step by step, and where it breaks",
		columns = {
			"step", "from", "to", "channel", "volume", "wait_median_days", "wait_p90_days", "fails", "failure_share",
			"lost_a_month", "evidence",
		},
		rows = work.touchpoints, roles = leaders,
	},
	view "coordination_minutes" {
		summary = "Minutes of coordination by role and activity; samples say so",
		columns = { "role", "activity", "sample", "entries", "minutes", "estimate", "interval", "basis", "cost",
			"cost_note" },
		rows = work.minutes, roles = leaders,
	},
	view "gap_costs" {
		summary = "Gaps of care and, where you state a price, what they cost",
		columns = { "gap", "count", "price", "cost", "note" }, rows = work.gaps, roles = leaders,
	},
	view "adoption" {
		summary = "Training, use and bypasses by role",
		columns = { "role", "trained", "uses", "bypasses", "bypass_share", "of", "last_reason" }, rows = work.adoption,
		roles = leaders,
	},
}
