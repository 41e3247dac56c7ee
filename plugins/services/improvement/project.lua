-- The project: who does it, by when, what stands in the way, and the gates that a site passes on its way to live.

local proof = require "proof"
local resources = require "lib/resources"
local series = require "series"

local project = {}

local leaders = { "manager", "project_manager", "improvement_lead" }

-- ---- the implementation team: a CareTeam of category "implementation" ----

project.team_code = { system = "urn:careloop:improvement:team", code = "implementation" }

function project.team(ctx)
	local found = {}
	for team in ctx:each("CareTeam", { status = "active", category = project.team_code.system .. "|"
		.. project.team_code.code }) do
		for _, participant in ipairs(team.participant or {}) do
			for _, role in ipairs(participant.role or {}) do
				local name = role.text or resources.code(role)
				local person = resources.reference(participant.member)
				if name and participant.member and not (participant.period and participant.period["end"]
					and participant.period["end"] < ctx:today()) then
					local resource = person and ctx:read(person)
					found[name] = participant.member.display or resource and resources.name(resource) or person
				end
			end
		end
	end
	return found
end

function project.team_rows(ctx)
	local named, rows = project.team(ctx), {}
	for _, role in ipairs(ctx.setting.team_roles) do
		rows[#rows + 1] = { role = role, name = named[role] or "EMPTY: name somebody", empty = named[role] == nil }
	end
	return rows
end

-- Mondays: an empty role is told until somebody is named.
function project.watch(ctx)
	local empty = {}
	for _, row in ipairs(project.team_rows(ctx)) do
		if row.empty then
			empty[#empty + 1] = row.role
		end
	end
	local begun = #ctx:instances("rollout", { live = true }) > 0
	if begun and #empty > 0 then
		ctx:notify { to = "manager", text = "Nobody is named in the implementation team as " .. table.concat(empty, ", ") }
	end
	project.check_objectives(ctx)
end

-- ---- objectives ----

-- `operation "$set-objective"`: measure, target, owner, due (date); scope, baseline is the frozen one. Makes a Goal
-- and its clock.
function project.set_objective(ctx, input)
	local measure, target = resources.parameter(input, "measure"), tonumber(resources.parameter(input, "target"))
	local due, owner = resources.parameter(input, "due"), resources.text_of(resources.parameter(input, "owner"))
	local better = resources.parameter(input, "better") or "higher"
	local scope = resources.parameter(input, "scope") or "all"
	if not measure or not target or not due or not owner then
		ctx:refuse("an objective needs measure, target, owner and due", "Parameters.parameter")
	end
	if better ~= "higher" and better ~= "lower" then
		ctx:refuse("better is higher or lower", "Parameters.parameter")
	end
	if due <= ctx:today() then
		ctx:refuse("due lies in the past", "Parameters.parameter")
	end
	local baseline = proof.baseline(ctx, measure, scope)
	if not baseline then
		ctx:refuse("no baseline of " .. measure
			.. " is frozen: without one nobody can say whether it worked ($freeze-baseline)",
			"Parameters.parameter")
	end
	if better == "higher" and target <= baseline.median or better == "lower" and target >= baseline.median then
		ctx:refuse(string.format("the target %g is not better than the baseline's %g", target, baseline.median),
			"Parameters.parameter")
	end
	local goal = ctx:create {
		resourceType = "Goal", lifecycleStatus = "active", subject = { reference = ctx.organization.reference },
		description = { text = measure .. " " .. (better == "higher" and "at least " or "at most ")
			.. string.format("%g", target) },
		startDate = ctx:today(), target = { { dueDate = due } }, expressedBy = string.find(owner, "/", 1, true)
			and { reference = owner } or nil,
	}
	local task = ctx:start("objective", {
		focus = goal, owner = string.find(owner, "/", 1, true) and owner or nil,
		data = {
			measure = measure, target = target, better = better, due = due, scope = scope, baseline = baseline.reference,
			owner = owner,
		},
	})
	return { resourceType = "Parameters", parameter = {
		{ name = "goal", valueReference = { reference = goal } }, { name = "task", valueReference = { reference = task } },
	} }
end

local function meets(point, data)
	if data.better == "lower" then
		return point.value <= tonumber(data.target)
	end
	return point.value >= tonumber(data.target)
end

-- Where an objective stands: the last points since the baseline, how many in a row meet the target.
function project.standing(ctx, data)
	local baseline = ctx:read(data.baseline)
	local facts = baseline and proof.facts_of(baseline) or {}
	local after = facts.to and select(2, series.bounds(ctx, facts.to))
	local last, row = nil, 0
	for _, point in ipairs(series.points(ctx, data.measure, data.scope)) do
		if point.value and point.version == facts.version and (not after or point.first > after) then
			last = point
			row = meets(point, data) and row + 1 or 0
		end
	end
	local progress
	if last and facts.median and tonumber(data.target) ~= facts.median then
		progress = 100 * (last.value - facts.median) / (tonumber(data.target) - facts.median)
	end
	return { last = last, row = row, baseline = facts.median, progress = progress }
end

-- Achieved: the target met for k consecutive months (setting consecutive_months).
function project.check_objectives(ctx)
	for _, instance in ipairs(ctx:instances("objective", { live = true })) do
		local standing = project.standing(ctx, instance.data)
		if standing.row >= ctx.setting.consecutive_months then
			ctx:advance(instance.task, "achieve", { value = standing.last.value, period = standing.last.period })
		end
	end
end

function project.objective_rows(ctx)
	local rows = {}
	for instance in ctx:each_instance("objective", {}) do
		local data = instance.data
		local standing = project.standing(ctx, data)
		local last = standing.last
		rows[#rows + 1] = {
			measure = data.measure, scope = data.scope, baseline = standing.baseline, target = tonumber(data.target),
			last = last and last.value, period = last and last.period,
			n = last and last.denominator and string.format("%g/%g", last.numerator or 0, last.denominator) or nil,
			progress = standing.progress and math.max(0, math.min(100, math.floor(standing.progress + 0.5))),
			months_met = standing.row, state = instance.state, owner = data.owner, due = data.due,
			overdue = not instance.final and data.due < ctx:today(), task = instance.task,
		}
	end
	return rows
end

-- ---- machines ----

function project.objective_workflow(declare)
	return {
		summary = "A target that somebody answers for", subject = "Goal", start = "active",
		active = {
			status = "in-progress", owner = "manager", action = "Reach the target by the date",
			within = declare.due_from("due", { otherwise = "365 days" }),
			overdue = declare.escalate("manager", { again = "1 month" }), reminders = { "30 days" },
			on = {
				achieve = {
					"achieved", by = leaders, needs = { value = "number", period = "string" },
					help = "Fired by the server when the target was met for the agreed number of months in a row",
				},
				move_date = { "active", by = leaders, needs = { due = "date", reason = "string" } },
				give_up = { "given_up", by = leaders, needs = { "reason" } },
			},
		},
		achieved = { status = "completed", final = true },
		given_up = { status = "failed", final = true },
	}
end

function project.milestone_workflow(declare)
	return {
		summary = "Something that must be done by a day", subject = "Location", start = "planned",
		planned = {
			status = "requested", owner = "project_manager", action = "Reach the milestone",
			within = declare.due_from("due", { otherwise = "30 days" }),
			overdue = declare.escalate("project_manager", { again = "1 week" }), reminders = { "7 days" },
			on = {
				reach = { "reached", by = leaders, needs = { evidence = "string" } },
				move_date = { "planned", by = leaders, needs = { due = "date", reason = "string" } },
				drop = { "dropped", by = leaders, needs = { "reason" } },
			},
		},
		reached = { status = "completed", final = true },
		dropped = { status = "cancelled", final = true },
	}
end

function project.barrier_workflow(declare)
	return {
		summary = "Something that stands in the way", subject = "Location", start = "open",
		open = {
			status = "requested", owner = "project_manager", action = "Remove the barrier, or find who can",
			within = declare.due_from("due", { otherwise = declare.setting "barrier_within" }),
			overdue = declare.escalate("manager", { again = "1 week" }),
			on = {
				hand_over = { "open", by = leaders, needs = { owner = "reference", due = { "date", optional = true } } },
				remove = { "removed", by = leaders, needs = { how = "string" } },
				accept = { "accepted", by = { "manager" }, needs = { "reason" }, help = "We live with it, and why" },
			},
		},
		removed = { status = "completed", final = true },
		accepted = { status = "completed", final = true },
	}
end

function project.meeting_workflow(declare)
	return {
		summary = "A meeting of the implementation team", subject = "CareTeam", start = "planned",
		planned = {
			status = "accepted", owner = "project_manager", action = "Hold the meeting", within = declare.due_from("at", {
				otherwise = "7 days",
			}),
			overdue = declare.escalate("project_manager", { again = "1 day", times = 3, finally = "not_held" }),
			on = {
				held = {
					"held", by = leaders, needs = {
						present = "string", decisions = { "string", help = "What was decided, one a line" },
						agenda = { "string", optional = true },
					},
				},
				move = { "planned", by = leaders, needs = { at = "dateTime" } },
				not_held = { "missed", by = { "clock", "project_manager", "manager" } },
			},
		},
		held = { status = "completed", final = true },
		missed = { status = "failed", final = true },
	}
end

-- ---- gates ----

project.gates = { "assess", "objectives", "team", "infrastructure", "pilot", "review" }

local evidence = {}

function evidence.assess(ctx)
	local any = false
	proof.each(ctx, "touchpoint", function ()
		any = true
	end)
	return any, "no touchpoint is recorded ($record-touchpoint)"
end

function evidence.objectives(ctx)
	local baselines = 0
	proof.each(ctx, "baseline", function ()
		baselines = baselines + 1
	end)
	if baselines == 0 then
		return false, "no baseline is frozen ($freeze-baseline)"
	end
	return #ctx:instances("objective", { live = true }) > 0, "no objective is set ($set-objective)"
end

function evidence.team(ctx)
	local empty = {}
	for _, row in ipairs(project.team_rows(ctx)) do
		if row.empty then
			empty[#empty + 1] = row.role
		end
	end
	return #empty == 0, "the implementation team lacks " .. table.concat(empty, ", ")
end

function evidence.infrastructure(ctx)
	local open = 0
	for _, instance in ipairs(ctx:instances("barrier", { live = true })) do
		local due = instance.data and instance.data.due
			or ctx:local_date(ctx:add(instance.started, ctx.setting.barrier_within))
		open = open + (due < ctx:today() and 1 or 0)
	end
	return open == 0, open .. " barriers are overdue"
end

function evidence.pilot(ctx)
	return #ctx:instances("pilot", { state = "finished" }) > 0, "no pilot is finished"
end

function evidence.review()
	return true
end

-- Guard of "pass": what the gate asks for is on record, and a person decides.
function project.may_pass(ctx, task)
	if ctx.actor.kind ~= "person" then
		return false, "a gate is passed by a person's decision"
	end
	local gate = ctx:instance("Task/" .. task.id).state
	local there, words = evidence[gate](ctx)
	if not there then
		return false, "the gate '" .. gate .. "' is not passed: " .. words
	end
	return true
end

function project.rollout_workflow(declare)
	local workflow = {
		summary = "A site on its way to the new model", subject = "Location", start = "assess",
		live = { status = "completed", final = true }, stopped = { status = "cancelled", final = true },
	}
	local actions = {
		assess = "Map the touchpoints", objectives = "Freeze baselines and set objectives", team = "Name the team",
		infrastructure = "Remove what stands in the way", pilot = "Run the pilot", review = "Decide on the roll-out",
	}
	for number, gate in ipairs(project.gates) do
		workflow[gate] = {
			status = "in-progress", owner = "project_manager", action = actions[gate], within = declare.setting "gate_within",
			overdue = declare.escalate("manager", { again = "2 weeks" }),
			on = {
				pass = {
					project.gates[number + 1] or "live", by = leaders, guard = project.may_pass,
					needs = { decision = { "string", help = "What was decided and why" }, evidence = "string" },
					help = "The evidence is there; who decides stands in the record",
				},
				back = number > 1 and { project.gates[number - 1], by = leaders, needs = { "reason" } } or nil,
				stop = { "stopped", by = { "manager" }, needs = { "reason" } },
			},
		}
	end
	return workflow
end

-- `operation "$add-site"`: name, like (Location/x, optional). A site is data: a Location, its way through the gates, a
-- scope of points.
function project.add_site(ctx, input)
	local name = resources.parameter(input, "name")
	if not name or name == "" then
		ctx:refuse("a site needs a name", "Parameters.parameter")
	end
	local site = ctx:create {
		resourceType = "Location", status = "active", name = name, mode = "instance",
		managingOrganization = { reference = ctx.organization.reference },
	}
	local task = ctx:start("rollout", { focus = site })
	return { resourceType = "Parameters", parameter = {
		{ name = "site", valueReference = { reference = site } }, { name = "task", valueReference = { reference = task } },
	} }
end

-- ---- pilots ----

function project.pilot_workflow(declare)
	return {
		summary = "A pilot restricted to a place or a population", subject = "ResearchStudy", start = "planned",
		planned = {
			status = "draft", owner = "project_manager", action = "Agree on scope, comparison and stop rules; start",
			within = "30 days",
			on = {
				start = {
					"running", by = leaders, needs = {
						comparison = { "string", help = "Who is compared: another site or group" },
						stop_rules = { "string", help = "What would end the pilot early" },
						ends = { "date", help = "When it is looked at" },
						location = { "reference", optional = true }, age_from = { "integer", optional = true },
						age_to = { "integer", optional = true }, condition = { "code", optional = true },
					},
				},
				drop = { "dropped", by = leaders, needs = { "reason" } },
			},
		},
		running = {
			status = "in-progress", owner = "project_manager", action = "Run the pilot to its date, then review it",
			within = declare.due_from("ends", { otherwise = "180 days" }),
			overdue = declare.escalate("manager", { again = "1 week" }),
			on = {
				change = { "running", by = leaders, keep_clock = true, needs = { what = "string" },
					help = "A change at the same time: it is listed beside the effect" },
				stop_early = { "stopped", by = leaders, needs = { "reason" } },
				finish = { "finished", by = leaders, needs = { summary = "string" } },
			},
		},
		finished = { status = "completed", final = true },
		stopped = { status = "failed", final = true },
		dropped = { status = "cancelled", final = true },
	}
end

local function age_on(birth, day)
	local years = tonumber(string.sub(day, 1, 4)) - tonumber(string.sub(birth, 1, 4))
	return string.sub(day, 6) < string.sub(birth, 6) and years - 1 or years
end

-- Is this episode in the pilot's arm? By the pilot's own words when it began: place, age, condition.
function project.in_scope(ctx, data, episode, patient)
	if data.location then
		local place = resources.text_of(data.location)
		local here = false
		for _, extension in ipairs(episode.extension or {}) do
			here = here or extension.url == "urn:careloop:location" and resources.reference(extension.valueReference) == place
		end
		if not here then
			return false
		end
	end
	if data.age_from or data.age_to then
		if not patient or not patient.birthDate or #patient.birthDate < 10 then
			return false
		end
		local age = age_on(patient.birthDate, ctx:today())
		if age < tonumber(data.age_from or 0) or age > tonumber(data.age_to or 200) then
			return false
		end
	end
	if data.condition then
		local found = ctx:search("Condition", {
			patient = resources.of(patient), code = data.condition, ["clinical-status"] = "active", _count = 1,
		})
		if #found == 0 then
			return false
		end
	end
	return true
end

-- An episode begins: its arm in every running pilot is decided now and kept (intention to treat); who moves later
-- keeps it.
function project.enrol(ctx, change)
	local episode = change.resource
	local patient_reference = resources.reference(episode.patient)
	local patient = patient_reference and ctx:read(patient_reference)
	if not patient or episode.status ~= "active" then
		return
	end
	for _, instance in ipairs(ctx:instances("pilot", { state = "running", live = true })) do
		local known = ctx:search("ResearchSubject", { study = instance.subject, individual = patient_reference, _count = 1 })
		if #known == 0 then
			local arm = project.in_scope(ctx, instance.data, episode, patient) and "pilot" or "comparison"
			ctx:create {
				resourceType = "ResearchSubject", status = "on-study", study = { reference = instance.subject },
				individual = { reference = patient_reference }, assignedArm = arm, actualArm = arm,
				period = { start = ctx:today() },
			}
		end
	end
end

-- The arms as they are: enrolled, and how many are treated otherwise by now.
function project.pilot_rows(ctx)
	local rows = {}
	for instance in ctx:each_instance("pilot", {}) do
		local study = ctx:read(instance.subject)
		local row = {
			pilot = study and study.title or instance.subject, state = instance.state, comparison = instance.data.comparison,
			stop_rules = instance.data.stop_rules, ends = instance.data.ends, in_pilot = 0, in_comparison = 0,
			treated_otherwise = 0, task = instance.task,
		}
		local changes = {}
		for _, move in ipairs(ctx:transitions(instance.task)) do
			if move.event == "change" then
				changes[#changes + 1] = ctx:local_date(move.at) .. " " .. move.data.what
			end
		end
		row.changes_beside = #changes > 0 and table.concat(changes, "; ") or nil
		for subject in ctx:each("ResearchSubject", { study = instance.subject }) do
			local name = subject.assignedArm == "pilot" and "in_pilot" or "in_comparison"
			row[name] = row[name] + 1
			row.treated_otherwise = row.treated_otherwise + (subject.actualArm ~= subject.assignedArm and 1 or 0)
		end
		rows[#rows + 1] = row
	end
	return rows
end


return project
