-- What happens when a patient endorses PHQ-9 item 9 (thoughts of self-harm), or the safety item of another instrument:
-- a workflow with short clocks that nobody can close without a disposition. Any answer above 0 counts, whatever the
-- total, in partial forms too; outside staffed hours the crisis line comes at once, and the one on call; a known risk
-- with a current safety plan rings no alarm. The clocks have no outside authority: they are settings.
local codes = require "lib/codes"
local dates = require "lib/dates"
local instruments = require "lib/instruments"
local minutes = require "lib/minutes"
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
			type = "duration", default = "15 minutes",
			help = "Time until somebody has taken a self-harm alert",
		},
		safety_assess_within = {
			type = "duration", default = "60 minutes",
			help = "Time for the risk assessment (C-SSRS) after the alert was taken",
		},
		safety_known_risk_within = {
			type = "duration", default = "4 hours",
			help = "Time to look at an unchanged answer of a patient whose risk is known and whose safety plan is current",
		},
		safety_plan_valid_days = {
			type = "integer", default = 90,
			help = "A safety plan counts as current for this many days",
		},
		staffed_from = { type = "string", default = "08:00", help = "From this local time on somebody answers alerts" },
		staffed_until = { type = "string", default = "17:00", help = "Until this local time somebody answers alerts" },
		on_call = {
			type = "boolean", default = false,
			help = "A clinician is on call outside those hours. Without one, PHQ-9 forms are not sent outside them",
		},
		crisis_text = {
			type = "string",
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

local function is_unstaffed(ctx)
	return not safety.staffed(ctx), "somebody is there"
end

-- The states. `roles` = { owner =, backup = }: who assesses, and to whom the clock runs out. `declare` carries the
-- declaration functions `setting`, `escalate` and `fire`.
function safety.workflow(roles, declare)
	local setting, escalate = declare.setting, declare.escalate
	local function opened(ctx, task)
		ctx:notify {
			to = roles.owner, about = "Task/" .. task.id, priority = "stat",
			text = "An answer about self-harm came while nobody was there: contact the patient now",
		}
	end
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
		shared = true, summary = "A patient endorsed thoughts of self-harm", start = "alert", single = true,
		alert = {
			status = "requested", owner = roles.owner, action = "Take this alert now: contact the patient",
			within = setting "safety_acknowledge_within",
			overdue = escalate(roles.backup, { again = "15 minutes" }),
			on = {
				acknowledge = { "assessing", by = everyone, help = "I am on it" },
				nobody = { "waiting", by = everyone, guard = is_unstaffed, help = "Nobody is there until opening" },
				to_on_call = { "on_call", by = everyone, help = "The day's team is gone: the one on call takes it" },
				known = {
					"known_risk", by = everyone, needs = { "reason" }, help = "The risk is known and the safety plan is current",
				},
			},
		},
		waiting = {
			status = "requested", owner = roles.owner, action = "Nobody was there: contact the patient first thing",
			within = safety.next_opening, overdue = declare.fire "opened",
			on = {
				acknowledge = { "assessing", by = everyone, help = "I am on it" },
				opened = { "alert", by = "clock", effect = opened, help = "Somebody is there again" },
			},
		},
		on_call = {
			status = "requested", owner = "on_call", action = "Outside staffed hours: contact the patient now",
			within = setting "safety_acknowledge_within",
			overdue = escalate(roles.backup, { again = "15 minutes" }),
			on = {
				acknowledge = { "assessing", by = everyone, help = "I am on it" },
				hand_over = { "alert", by = everyone, needs = { "reason" }, help = "The day's team takes it" },
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

-- The settings stand with the model, whoever asks.
local function setting_of(ctx, name)
	return ctx.setting_of(ctx.organization.model, name)
end

local function is_business_day(ctx, date)
	return ctx:between(dates.add_days(date, -1), date, "business days") >= 1
end

-- Is somebody there now? By the organization's calendar and the settings.
function safety.staffed(ctx)
	if not is_business_day(ctx, ctx:today()) then
		return false
	end
	local time = ctx:local_time(ctx:now())
	return time >= setting_of(ctx, "staffed_from") and time < setting_of(ctx, "staffed_until")
end

-- When somebody is there next: a dateTime later than now.
function safety.next_opening(ctx)
	for ahead = 0, 30 do
		local day = dates.add_days(ctx:today(), ahead)
		local opening = minutes.instant(ctx, day .. "T" .. setting_of(ctx, "staffed_from") .. ":00")
		if is_business_day(ctx, day) and ctx:between(ctx:now(), opening, "minutes") > 0 then
			return opening
		end
	end
	return ctx:add(ctx:now(), "1 business day")
end

-- May a form with a safety item be sent to a patient now?
function safety.may_send_form(ctx)
	if safety.staffed(ctx) or setting_of(ctx, "on_call") then
		return true
	end
	return false, "outside staffed hours a form that asks about self-harm is sent only with a clinician on call: nobody "
		.. "would see an alarm"
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
local function risk_is_known(ctx, patient, answer)
	if not current_plan(ctx, patient) then
		return false
	end
	for _, earlier in ipairs(ctx:instances("safety", { patient = patient })) do
		local known = earlier.data and tonumber(earlier.data.item9)
		if earlier.final and known and known >= answer then
			return true
		end
	end
	return false
end

local function add_note(ctx, reference, text)
	local task = plain(ctx:read(reference))
	task.note = resources.with(task.note, resources.note(ctx, text))
	ctx:update(task)
end

-- How long ago the answer was given, when that was not just now: a form that comes late raises its alert all the same.
local function lateness(ctx, at)
	local hours = at and #at > 10 and ctx:between(at, ctx:now(), "hours") or 0
	return hours >= 1 and string.format(" (answered %s at %s)", ctx:local_date(at), ctx:local_time(at)) or ""
end

-- The alert is open and something is to be said about it: once for each text.
local function add_to(ctx, open, text, roles)
	for _, note in ipairs(ctx:read(open.task).note or {}) do
		if note.text == text then
			return
		end
	end
	add_note(ctx, open.task, text)
	ctx:notify { to = roles.owner, about = open.task, priority = "stat", text = text }
end

-- Opens an alert for an answer above 0 in `source` (a QuestionnaireResponse or an Observation of the item alone), one
-- for each source; another answer while an alert is open is added to that alert. An answer that was corrected upwards
-- after its alert was closed opens a new one. Gives the Task's reference.
function safety.raise(ctx, source, answer, roles)
	local patient, about = resources.reference(source.subject), resources.of(source)
	if not patient or answer < 1 then
		return nil
	end
	local open = ctx:instances("safety", { patient = patient, live = true })[1]
	for _, instance in ipairs(ctx:instances("safety", { patient = patient })) do
		local known = instance.data and tonumber(instance.data.item9) or 0
		if instance.subject == about and answer <= known then
			return instance.task -- the same form, sent again
		end
	end
	if open then
		add_to(ctx, open, string.format("Another answer about self-harm: %d in %s", answer, about), roles)
		local before = open.data and tonumber(open.data.item9)
		if open.state == "known_risk" and (not before or answer > before) then
			ctx:advance(open.task, "worse")
		end
		return open.task
	end
	local staffed = safety.staffed(ctx)
	local known = risk_is_known(ctx, patient, answer)
	local called = not staffed and ctx.setting.on_call
	local task = ctx:start("safety", {
		focus = about, patient = patient,
		state = known and "known_risk" or called and "on_call" or staffed and "alert" or "waiting",
		data = { item9 = answer, staffed = staffed },
	})
	local words = (known and "Self-harm item endorsed again, risk known"
		or "Self-harm item endorsed: contact the patient now") .. lateness(ctx, source.authored or source.effectiveDateTime)
	local priority = known and "urgent" or "stat"
	ctx:notify { to = roles.owner, about = task, priority = priority, text = words }
	if roles.owner ~= "clinician" then
		ctx:notify { to = "clinician", about = task, priority = priority, text = words }
	end
	if not staffed then
		-- At once, whatever is known: the patient may be alone with the question.
		ctx:notify { to = patient, about = task, priority = "stat", text = ctx.setting.crisis_text }
		if called then
			ctx:notify { to = "on_call", about = task, priority = "stat", text = words }
		end
	end
	return task
end

-- A form that an alert came from says something else now. The alert stays: a person decides.
local function corrected(ctx, source, roles, text)
	local open = ctx:instances("safety", { patient = resources.reference(source.subject), live = true })[1]
	if open and open.subject == resources.of(source) then
		add_to(ctx, open, text, roles)
	end
end

local function refuse(ctx, fault)
	ctx:refuse(string.format("%s (rule %s)", fault.text, fault.rule), fault.where)
end

-- Where several models run at once the first one of the organization answers for scores and alerts.
local function answers_here(ctx, roles)
	local first = ctx.organization.model
	return not first or first == "" or not roles.model or roles.model == first
end

-- Scores a response, stores the totals and raises the alert; for the models' handlers of QuestionnaireResponse.create
-- and .update. An answer above 0 counts in partial forms too; forms entered in error raise nothing and their totals are
-- taken back. What no form can hold is refused with the rule's name.
function safety.screen(ctx, response, roles)
	if not answers_here(ctx, roles) then
		local over = response.status == "completed" or response.status == "amended"
		return over and scores.recorded(ctx, response) or {}
	end
	if response.status == "entered-in-error" then
		scores.withdraw(ctx, resources.of(response))
		corrected(ctx, response, roles, "The form was entered in error: " .. resources.of(response))
		return {}
	end
	local all = instruments.all(ctx)
	for _, fault in ipairs(scores.faults(response, all)) do
		refuse(ctx, fault)
	end
	local complete = response.status == "completed" or response.status == "amended"
	local results = complete and scores.record(ctx, response, all) or scores.of_response(response, all)
	for _, score in ipairs(results) do
		if score.safety == "present" then
			safety.raise(ctx, response, score.item9, roles)
		elseif score.safety then
			corrected(ctx, response, roles, "The answer was corrected to " .. (score.item9 or "none") .. " in "
				.. resources.of(response))
		end
	end
	return results
end

-- The form was deleted.
function safety.deleted(ctx, change, roles)
	if not answers_here(ctx, roles) then
		return
	end
	scores.withdraw(ctx, change.reference)
	for _, open in ipairs(ctx:instances("safety", { live = true })) do
		if open.subject == change.reference then
			add_to(ctx, open, "The form was deleted: " .. change.reference, roles)
		end
	end
end

-- An Observation from another system: an impossible total is refused, an endorsed safety item alone raises the alert.
function safety.observed(ctx, observation, roles)
	if not answers_here(ctx, roles) then
		return
	end
	local all = instruments.all(ctx)
	local fault = scores.observation_fault(observation, all)
	if fault then
		refuse(ctx, fault)
	end
	if observation.status == "entered-in-error" or observation.derivedFrom and #observation.derivedFrom > 0 then
		return
	end
	for _, instrument in pairs(all) do
		local item = instrument.safety_item and instrument.items[instrument.safety_item]
		if item and resources.has_code(observation.code, item.link, codes.system.loinc) then
			local value = scores.value(observation)
				or codes.answer_value[resources.code(observation.valueCodeableConcept, codes.system.loinc) or ""]
			if value and value >= 1 then
				safety.raise(ctx, observation, math.tointeger(value) or value, roles)
			end
			return
		end
	end
end

return safety
