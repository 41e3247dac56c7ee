-- Joint case review: the team talks about one patient, decides, and each decision is a task with an owner and a day.
-- The huddle's decisions go the same way.
local resources = require "lib/resources"

local review = {}

local team = {
	"care_manager", "clinician", "behavioral_health_consultant", "nurse", "medical_assistant", "psychiatric_consultant",
}

-- Effect of "decide": data.text, data.owner (a role or a Practitioner; default care_manager), data.days.
function review.decide(ctx, task, data)
	local patient = resources.text_of(data.patient) or resources.reference(task["for"])
	ctx:start("team_task", {
		focus = resources.of(task), patient = patient, owner = resources.text_of(data.owner),
		data = { text = data.text, decided_at = ctx:now(), decided_by = ctx.actor.name },
	})
end

review.decision = {
	text = { "string", help = "What is to be done" },
	owner = { "reference", optional = true, help = "Who does it; nobody named: the care manager" },
	patient = { "reference", optional = true, help = "For whom, when the list is about several patients" },
}

local function decided(ctx, task)
	for _, move in ipairs(ctx:transitions("Task/" .. task.id)) do
		if move.event == "decide" then
			return true
		end
	end
	return false, "no decision is recorded: record one (decide), or close with 'nothing_to_do' and the reason"
end

function review.workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	local cancel = { "cancelled", by = team, needs = { "reason" }, help = "The review is no longer needed" }
	return {
		summary = "The team's joint review of one patient", subject = "Patient", start = "proposed", single = true,
		proposed = {
			status = "requested", owner = "care_manager", action = "Find a day for the review and invite the team",
			within = setting "case_review_plan_within", overdue = escalate("manager"),
			on = {
				schedule = {
					"scheduled", by = team,
					needs = { on = "dateTime", present = { "string", optional = true, help = "Who is invited" } },
				},
				cancel = cancel,
			},
		},
		scheduled = {
			status = "accepted", owner = "care_manager", action = "Hold the review", within = setting "case_review_within",
			overdue = escalate("care_manager", { again = "1 business day", times = 3, finally = "not_held" }),
			on = {
				begin = { "discussing", by = team, needs = { present = "string" } },
				schedule = { "scheduled", by = team, needs = { on = "dateTime" }, help = "Another day" },
				not_held = { "proposed", by = { "clock", "care_manager" }, help = "There was no review; find another day" },
				cancel = cancel,
			},
		},
		discussing = {
			status = "in-progress", owner = "care_manager", action = "Record the decisions and close", within = "2 hours",
			overdue = escalate("care_manager", { again = "1 business day" }),
			on = {
				decide = { "discussing", by = team, needs = review.decision, effect = review.decide },
				close = { "closed", by = team, guard = decided, needs = { summary = "string" } },
				nothing_to_do = { "closed", by = team, needs = { "reason" } },
			},
		},
		closed = { status = "completed", final = true },
		cancelled = { status = "cancelled", final = true },
	}
end

function review.task_workflow(declare)
	local setting, escalate = declare.setting, declare.escalate
	return {
		summary = "Something that the team decided to do for a patient", subject = "Task", start = "open",
		open = {
			status = "requested", owner = "care_manager", action = "Do what was decided", within = setting "decision_within",
			overdue = escalate("care_manager", { again = "1 business day" }), reminders = { "1 day" },
			on = {
				assign = { "open", by = team, needs = { owner = "reference" }, help = "Somebody else does it" },
				done = { "done", by = team, needs = { result = "string" } },
				drop = { "dropped", by = team, needs = { "reason" } },
			},
		},
		done = { status = "completed", final = true },
		dropped = { status = "cancelled", final = true },
	}
end

-- Proposes a review of a patient whom the registry flags as not improving, once.
function review.propose(ctx, patient, why)
	if #ctx:instances("case_review", { patient = patient, live = true }) == 0 then
		return ctx:start("case_review", { focus = patient, patient = patient, data = { why = why } })
	end
	return nil
end

return review
