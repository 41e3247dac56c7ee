-- The shared plan: one CarePlan for each patient with sections, each with the role that owns it. Sections are edited
-- one by one; who edits says which revision was read, so that two edits of the same section cannot overwrite each
-- other unseen.
local codes = require "lib/codes"
local resources = require "lib/resources"

local plan = {}

local owner_url, revision_url = "urn:careloop:plan:owner", "urn:careloop:plan:revision"
local edited_url, editor_url = "urn:careloop:plan:edited", "urn:careloop:plan:editor"
local reviewed_url = "urn:careloop:plan:reviewed"

function plan.find(ctx, patient)
	for _, candidate in ipairs(ctx:search("CarePlan", { patient = patient, status = "active", _count = 50 })) do
		if resources.any_has_code(candidate.category, "shared", codes.system.plan) then
			return candidate
		end
	end
	return nil
end

-- Makes the patient's plan with the sections of the setting, unless there is one; starts its review clock.
function plan.ensure(ctx, patient)
	local existing = plan.find(ctx, patient)
	local reference = existing and resources.of(existing)
	if not existing then
		local activity = {}
		for _, section in ipairs(ctx.setting.plan_sections) do
			activity[#activity + 1] = {
				id = section.name,
				extension = { { url = owner_url, valueCode = section.owner }, { url = revision_url, valueInteger = 0 } },
				detail = { status = "not-started", code = { text = section.title } },
			}
		end
		reference = ctx:create {
			resourceType = "CarePlan", status = "active", intent = "plan", title = "Shared plan",
			category = { resources.concept(codes.system.plan, "shared", "Shared plan") },
			subject = { reference = patient }, created = ctx:now(), period = { start = ctx:today() }, activity = activity,
		}
	end
	if #ctx:instances("plan_review", { patient = patient, live = true }) == 0 then
		ctx:start("plan_review", { focus = reference, patient = patient })
	end
	return reference
end

local function value_of(activity, url, field)
	local extension = resources.extension(activity, url)
	return extension and extension[field] or nil
end

-- POST /fhir/CarePlan/<id>/$edit-section with section, text, revision (the one that was read).
function plan.edit(ctx, input, target)
	local current = target and ctx:read(target)
	if not current or current.resourceType ~= "CarePlan" then
		ctx:refuse("edit a section of a plan: POST /fhir/CarePlan/<id>/$edit-section", "CarePlan")
	end
	if current.status ~= "active" then
		ctx:refuse("the plan is " .. current.status, "CarePlan.status")
	end
	local name, text = resources.parameter(input, "section"), resources.parameter(input, "text")
	local read_revision = tonumber(resources.parameter(input, "revision"))
	if not name or not text or not read_revision then
		ctx:refuse("say which section, its text and the revision that you read: section, text, revision",
			"Parameters.parameter")
	end
	local changed = plain(current)
	local section, known = nil, {}
	for _, activity in ipairs(changed.activity or {}) do
		known[#known + 1] = activity.id
		if activity.id == name then
			section = activity
		end
	end
	if not section then
		ctx:refuse("the plan has no section '" .. name .. "'; it has: " .. table.concat(known, ", "), "Parameters.parameter")
	end
	local owner = value_of(section, owner_url, "valueCode")
	if owner and not resources.contains(ctx.actor.roles, owner) then
		ctx:refuse("the section '" .. name .. "' belongs to " .. owner .. "; ask them, or send them a message",
			"CarePlan.activity")
	end
	local revision = tonumber(value_of(section, revision_url, "valueInteger") or 0)
	if revision ~= read_revision then
		ctx:refuse(string.format(
			"conflict: '%s' was changed by %s at %s since you read it (revision %d, you read %d); read it again and repeat "
				.. "your change",
			name, value_of(section, editor_url, "valueString") or "somebody",
			value_of(section, edited_url, "valueDateTime") or "an unknown time", math.tointeger(revision) or 0,
			math.tointeger(read_revision) or 0), "CarePlan.activity")
	end
	section.detail.description = text
	section.detail.status = text == "" and "not-started" or "in-progress"
	section.extension = {
		{ url = owner_url, valueCode = owner }, { url = revision_url, valueInteger = math.tointeger(revision) + 1 },
		{ url = edited_url, valueDateTime = ctx:now() }, { url = editor_url, valueString = ctx.actor.name },
	}
	ctx:update(changed)
	return plain(ctx:read(target))
end

-- The plan's review was done: the plan says when.
function plan.reviewed(ctx, task)
	local reference = resources.reference(task.focus)
	local current = reference and ctx:read(reference)
	if current then
		local changed = plain(current)
		changed.extension = resources.with_extension(changed, { url = reviewed_url, valueDateTime = ctx:now() })
		ctx:update(changed)
	end
end

-- The machine of the review clock.
function plan.workflow(declare)
	local setting, escalate, fire = declare.setting, declare.escalate, declare.fire
	local team = { "care_manager", "clinician", "behavioral_health_consultant" }
	local function with(more)
		local events = {
			reviewed = {
				"current", by = team, effect = plan.reviewed, needs = { note = { "string", optional = true } },
				help = "Reviewed with patient and team",
			},
			reviewed_high_risk = {
				"high_risk", by = team, effect = plan.reviewed, needs = { note = { "string", optional = true } },
				help = "Reviewed; the patient is at high risk, review again sooner",
			},
			finish = { "ended", by = team, needs = { "reason" }, help = "The episode of care ended" },
		}
		for event, transition in pairs(more) do
			events[event] = transition
		end
		return events
	end
	local fall_due = { "due", by = "clock" }
	return {
		summary = "The shared plan is reviewed on time", subject = "CarePlan", start = "current", single = true,
		current = {
			status = "ready", owner = "care_manager", action = "Review the plan before the date",
			within = setting "plan_review_within",
			overdue = fire "fall_due", reminders = { "7 days" }, on = with { fall_due = fall_due },
		},
		high_risk = {
			status = "ready", owner = "care_manager", action = "Review the plan before the date",
			within = setting "plan_review_high_risk_within", overdue = fire "fall_due", reminders = { "7 days" },
			on = with { fall_due = fall_due },
		},
		due = {
			status = "requested", owner = "care_manager", action = "The review is overdue: do it now", within = "1 week",
			overdue = escalate("manager"), on = with {},
		},
		ended = { status = "completed", final = true },
	}
end

function plan.finish(ctx, patient)
	for _, instance in ipairs(ctx:instances("plan_review", { patient = patient, live = true })) do
		ctx:advance(instance.task, "finish", { reason = "the episode of care ended" })
	end
end

return plan
