-- What happens when a patient endorses PHQ-9 item 9 (thoughts of self-harm): a workflow with short clocks that nobody
-- can close without a disposition. Rules: domain.md section 2.1 (any answer above 0, whatever the total, partial
-- questionnaires too) and section 0 row 9 (after hours; known risk). The clocks have no outside authority: they are
-- settings.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"

local safety = {}

safety.dispositions = {
	"no acute risk", "safety plan made", "safety plan reviewed", "same-day visit", "crisis service",
	"emergency department",
	"welfare check requested",
}

-- Settings for the plugin that uses this: put them into its own `settings`.
function safety.settings(settings)
	local added = {
		safety_acknowledge_within = {
			type = "duration", default = "15 minutes", source = "domain.md 2.1 [d]",
			help = "Time until somebody has taken a self-harm alert",
		},
		safety_assess_within = {
			type = "duration", default = "60 minutes", source = "domain.md 2.1 [d]",
			help = "Time for the risk assessment (C-SSRS) after the alert was taken",
		},
		safety_known_risk_within = {
			type = "duration", default = "4 hours", source = "domain.md 0 row 9 [d]",
			help = "Time to look at an unchanged answer of a patient whose risk is known and whose safety plan is current",
		},
		safety_plan_valid_days = {
			type = "integer", default = 90, source = "domain.md 0 row 9 [d]",
			help = "A safety plan counts as current for this many days",
		},
		staffed_from = { type = "string", default = "08:00", help = "From this local time on somebody answers alerts" },
		staffed_until = { type = "string", default = "17:00", help = "Until this local time somebody answers alerts" },
		on_call = {
			type = "boolean", default = false,
			help = "A clinician is on call outside those hours. Without one, PHQ-9 forms are not sent outside them",
		},
		crisis_text = {
			type = "string", source = "domain.md 0 row 9",
			default = "If you are thinking of harming yourself, call or text 988 now, at any hour. In danger, call 911. "
				.. "We have seen your answer and will contact you.",
			help = "What a patient is sent at once when item 9 is endorsed outside staffed hours",
		},
	}
	for name, value in pairs(added) do
		settings[name] = value
	end
	return settings
end

local function author_is_a_person(ctx)
	if ctx.actor.kind == "person" then
		return true
	end
	return false, "a disposition needs a person as its author"
end

-- The states. `roles` = { owner =, backup = }: who assesses, and to whom the clock runs out. `declare` carries the
-- declaration functions `setting` and `escalate`.
function safety.workflow(roles, declare)
	local setting, escalate = declare.setting, declare.escalate
	local everyone = { roles.owner, roles.backup, "clinician", "on_call" }
	local close = {
		"closed", by = everyone, guard = author_is_a_person,
		needs = {
			disposition = { "choice", table.unpack(safety.dispositions) },
			risk = { "choice", "low", "moderate", "high", "not assessed" },
			note = { "string", optional = true, help = "What was found and agreed" },
			safety_plan = { "reference", optional = true, help = "CarePlan/… of the safety plan" },
		},
		help = "Record what was decided; there is no other way to close this",
	}
	return {
		summary = "A patient endorsed thoughts of self-harm", subject = "QuestionnaireResponse", start = "alert",
		single = true,
		alert = {
			status = "requested", owner = roles.owner, action = "Take this alert now: contact the patient",
			within = setting "safety_acknowledge_within",
			overdue = escalate(roles.backup, { again = "15 minutes" }),
			on = {
				acknowledge = { "assessing", by = everyone, help = "I am on it" },
				known = {
					"known_risk", by = everyone, needs = { "reason" }, help = "The risk is known and the safety plan is current",
				},
			},
		},
		known_risk = {
			status = "requested", owner = roles.owner, action = "Known risk, current safety plan: look at it today",
			within = setting "safety_known_risk_within",
			overdue = escalate(roles.backup, { again = "1 hour" }),
			on = {
				acknowledge = { "assessing", by = everyone },
				worse = { "alert", by = everyone, help = "The risk is higher than known" },
			},
		},
		assessing = {
			status = "in-progress", owner = roles.owner, action = "Assess the risk (C-SSRS) and record a disposition",
			within = setting "safety_assess_within",
			overdue = escalate(roles.backup, { again = "30 minutes" }),
			on = {
				close = close,
				hand_over = { "alert", by = everyone, needs = { "reason" }, help = "Somebody else has to take it" },
			},
		},
		closed = { status = "completed", final = true },
	}
end

-- Is somebody there now? By the organization's calendar and the settings.
function safety.staffed(ctx)
	local today = ctx:today()
	if ctx:between(dates.add_days(today, -1), today, "business days") < 1 then
		return false
	end
	local time = ctx:local_time(ctx:now())
	return time >= ctx.setting.staffed_from and time < ctx.setting.staffed_until
end

-- May a form with item 9 be sent to a patient now (section 0 row 9)?
function safety.may_send_form(ctx)
	if safety.staffed(ctx) or ctx.setting.on_call then
		return true
	end
	return false, "outside staffed hours a PHQ-9 is sent only with a clinician on call: nobody would see an alarm"
end

local function current_plan(ctx, patient)
	local today = ctx:today()
	for _, plan in ipairs(ctx:search("CarePlan", { patient = patient, status = "active", _count = 100 })) do
		if resources.any_has_code(plan.category, "safety", codes.system.plan) then
			local at = plan.created or plan.period and plan.period.start
			if at and dates.between(dates.local_date(ctx, at), today) <= ctx.setting.safety_plan_valid_days then
				return plan
			end
		end
	end
	return nil
end

-- Known risk: a current safety plan, and an earlier alert, closed, whose answer was not lower than this one.
local function risk_is_known(ctx, patient, item9)
	if not current_plan(ctx, patient) then
		return false
	end
	for _, earlier in ipairs(ctx:instances("safety", { patient = patient })) do
		local known = earlier.data and tonumber(earlier.data.item9)
		if earlier.final and known and known >= item9 then
			return true
		end
	end
	return false
end

-- Called with the PHQ-9 score of a response whose item 9 is above 0. Opens one alert for each response; a further
-- response while an alert is open is added to that alert. Returns the Task's reference.
function safety.raise(ctx, response, score, roles)
	local patient = resources.reference(response.subject)
	local about = resources.of(response)
	if not patient or score.safety ~= "present" then
		return nil
	end
	for _, instance in ipairs(ctx:instances("safety", { patient = patient })) do
		if instance.subject == about then
			return instance.task -- the same form, updated
		end
	end
	local open = ctx:instances("safety", { patient = patient, live = true })[1]
	if open then
		local task = ctx:read(open.task)
		local note = resources.note(ctx, "Another answer: item 9 = " .. score.item9 .. " in " .. about)
		task.note = resources.with(plain(task).note, note)
		ctx:update(task)
		ctx:notify {
			to = roles.owner, about = open.task, priority = "stat", text = "Another answer about self-harm came in",
		}
		local before = open.data and tonumber(open.data.item9)
		if open.state == "known_risk" and (not before or score.item9 > before) then
			ctx:advance(open.task, "worse")
		end
		return open.task
	end
	local staffed = safety.staffed(ctx)
	local known = risk_is_known(ctx, patient, score.item9)
	local task = ctx:start("safety", {
		focus = about, patient = patient, state = known and "known_risk" or "alert",
		data = { item9 = score.item9, staffed = staffed },
	})
	local words = known and "Self-harm item endorsed again, risk known"
		or "Self-harm item endorsed: contact the patient now"
	ctx:notify { to = roles.owner, about = task, priority = known and "urgent" or "stat", text = words }
	if roles.owner ~= "clinician" then
		ctx:notify { to = "clinician", about = task, priority = known and "urgent" or "stat", text = words }
	end
	if not staffed then
		-- At once, whatever is known: the patient may be alone with the question.
		ctx:notify { to = patient, about = task, priority = "stat", text = ctx.setting.crisis_text }
		if ctx.setting.on_call then
			ctx:notify { to = "on_call", about = task, priority = "stat", text = words }
		end
	end
	return task
end

-- Scores a response, stores the totals and raises the alert; for the models' handlers of QuestionnaireResponse.create
-- and .update. An item 9 above 0 counts in partial forms too; forms entered in error raise nothing.
function safety.screen(ctx, response, roles)
	if response.status == "entered-in-error" then
		return {}
	end
	local complete = response.status == "completed" or response.status == "amended"
	local results = complete and scores.record(ctx, response) or scores.of_response(response)
	for _, score in ipairs(results) do
		if score.safety == "present" then
			safety.raise(ctx, response, score, roles)
		end
	end
	return results
end

return safety
