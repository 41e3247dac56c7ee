-- merge.lua: fills in settings and hands what the plugins declare to the compiler, in lists.
local core, prelude, schema, declarations, overlay = ...
local kind_of = prelude.kind_of
local problem, did_you_mean, names_of = schema.problem, schema.did_you_mean, schema.names_of
local sorted_names = schema.sorted_names
local plugins, known, append = overlay.plugins, overlay.known, overlay.append

local merge = {}

-- ---- settings ----

local function is_sequence(value)
	return type(value) == "table" and (#value > 0 or #names_of(value) == 0)
end

local setting_checks = {
	duration = function (value)
		return type(value) ~= "string" and 'must be a duration such as "2 business days"' or core.duration(value)
	end,
	number = function (value)
		return type(value) ~= "number" and "must be a number" or nil
	end,
	integer = function (value)
		return math.type(value) ~= "integer" and "must be a whole number" or nil
	end,
	string = function (value)
		return type(value) ~= "string" and "must be text" or nil
	end,
	boolean = function (value)
		return type(value) ~= "boolean" and "must be true or false" or nil
	end,
	choice = function (value, setting)
		for _, choice in ipairs(setting.choices or {}) do
			if choice == value then
				return nil
			end
		end
		return "must be one of '" .. table.concat(setting.choices or {}, "', '") .. "'"
	end,
	list = function (value)
		return not is_sequence(value) and "must be a list" or nil
	end,
	table = function (value)
		return (type(value) ~= "table" or #value > 0) and "must be a table with names" or nil
	end,
	code = function (value)
		local code = type(value) == "table" and value.code or value
		if type(code) == "string" and string.find(code, "%S") then
			return nil
		end
		return "must be a code, or { system =, code =, display = }"
	end,
}

local function check_setting(setting, name, plugin)
	local what = "setting '" .. name .. "'"
	if not setting.type then
		problem(setting.at, what .. ": needs a type")
	elseif setting.type == "choice" and not setting.choices then
		problem(setting.at, what .. ": a choice needs 'choices'")
	elseif setting.default ~= nil then
		local why = setting_checks[setting.type](setting.default, setting)
		if why then
			problem(setting.default_at, what .. ": its default " .. why)
		end
	end
	setting.plugin, setting.name, setting.value = plugin, name, setting.default
end

-- The organization's own values. `given` = { plugin = { name = value } }.
local function override_settings(given, wholes)
	if given ~= nil and type(given) ~= "table" then
		core.problem(core.configuration, 0, "settings must be a table: settings = { plugin = { name = value } }")
		return
	end
	for plugin, values in pairs(given or {}) do
		local target = known[plugin]
		local what = "settings." .. tostring(plugin)
		if not target then
			core.problem(core.configuration, 0, what .. ": the organization uses no such plugin"
				.. did_you_mean(tostring(plugin), names_of(known)))
		elseif type(values) ~= "table" then
			core.problem(core.configuration, 0, what .. " must be a table of settings")
		elseif target.root then
			local settings = wholes[target.root.name].settings
			for name, value in pairs(values) do
				local setting = settings[name]
				local why = setting and setting.type and setting_checks[setting.type](value, setting)
				if not setting then
					core.problem(core.configuration, 0, what .. "." .. tostring(name) .. ": plugin '" .. plugin
						.. "' has no such setting" .. did_you_mean(tostring(name), names_of(settings)))
				elseif why then
					core.problem(core.configuration, 0, what .. "." .. name .. " " .. why)
				else
					setting.value = value
				end
			end
		end
	end
end

-- What `setting "x"` in a declaration stands for.
local function resolve(value, settings)
	if kind_of(value) ~= "pending" then
		return value
	end
	local setting = settings[value.setting]
	if not setting then
		core.problem(value.file, value.line, value.what .. ": there is no setting '" .. value.setting .. "'"
			.. did_you_mean(value.setting, names_of(settings)))
		return nil
	elseif setting.value == nil then
		core.problem(value.file, value.line, value.what .. ": setting '" .. value.setting
			.. "' has no value; give it a default, or say settings." .. setting.plugin .. "." .. value.setting
			.. " in the organization's file")
		return nil
	end
	return value.check(setting.value, value.at, value.what .. " (setting '" .. value.setting .. "')"), value.setting
end

-- ---- making lists of it ----

local function check_state(workflow, state, at, what)
	if not workflow.states[state] then
		problem(at, what .. ": workflow '" .. workflow.name .. "' has no state '" .. tostring(state) .. "'"
			.. did_you_mean(tostring(state), names_of(workflow.states)))
	end
end

local function find_workflow(all, name, at, what)
	local workflow = all[name]
	if not workflow then
		problem(at, what .. ": there is no workflow '" .. name .. "'" .. did_you_mean(name, names_of(all)))
	end
	return workflow
end

-- Choices that a setting lists stand where the setting was named.
local function resolve_choices(needs, settings)
	for _, need in ipairs(needs) do
		local choices = {}
		for _, choice in ipairs(need.choices) do
			if kind_of(choice) == "pending" then
				append(choices, resolve(choice, settings))
			else
				choices[#choices + 1] = choice
			end
		end
		need.choices = choices
	end
end

local clock_kinds = { due_from = 1, tier = 2, ["function"] = 3 } -- enum cl_clock_kind

-- `otherwise` of a tier is one of its times.
local function finish_clock(clock, settings)
	clock.kind = clock_kinds[clock.clock]
	clock.before, clock.after = resolve(clock.before, settings), resolve(clock.after, settings)
	clock.otherwise = resolve(clock.otherwise, settings)
	local times = {}
	for _, tier in ipairs(resolve(clock.tiers, settings) or {}) do
		tier.within = resolve(tier.within, settings)
		if tier.value == "otherwise" then
			clock.otherwise = tier.within
		else
			times[#times + 1] = tier
		end
	end
	clock.tiers = times
end

local function list_transitions(workflow, state, numbers, what, settings)
	local list = {}
	for _, event in ipairs(sorted_names(state.on)) do
		local transition = state.on[event]
		local name = what .. ": event '" .. event .. "'"
		if not transition.target then
			problem(transition.at, name .. ": the state it leads to is missing")
		elseif not workflow.states[transition.target] then
			problem(transition.at, name .. " leads to '" .. transition.target .. "', which is no state"
				.. did_you_mean(transition.target, names_of(workflow.states)))
		end
		transition.event, transition.number = event, numbers[transition.target]
		transition.needs = transition.needs or {}
		resolve_choices(transition.needs, settings)
		if transition.keep_clock and workflow.states[transition.target] and workflow.states[transition.target].final then
			problem(transition.at, name .. ": a final state has no clock to keep")
		end
		list[#list + 1] = transition
	end
	return list
end

local function finish_state(workflow, state, numbers, settings)
	local what = "workflow '" .. workflow.name .. "': state '" .. state.name .. "'"
	state.transitions = list_transitions(workflow, state, numbers, what, settings)
	local business = state.business or {}
	state.business_system = business.system or "urn:careloop:" .. workflow.name
	state.business_code = business.code or state.name
	state.business_display = business.display
	if type(state.within) == "table" and state.within.clock then
		finish_clock(state.within, settings)
		state.clock, state.within = state.within, nil
	else
		state.within, state.within_setting = resolve(state.within, settings)
	end
	local overdue = state.overdue or {}
	state.overdue_event, state.escalate_to = overdue.event, overdue.to
	state.again, state.times = resolve(overdue.again, settings), resolve(overdue.times, settings)
	state.finally_event = resolve(overdue.finally, settings)
	for _, reminder in ipairs(state.reminders or {}) do
		reminder.before, reminder.after = resolve(reminder.before, settings), resolve(reminder.after, settings)
	end
end

local conflict_actions = { refuse = 1, warn = 2, ask = 3 } -- enum cl_conflict_action

-- The other workflow may be of a plugin that this organization does not use: then there is nothing to conflict with.
local function finish_conflicts(workflow, what)
	workflow.conflict_list = {}
	for _, name in ipairs(sorted_names(workflow.conflicts)) do
		local conflict = workflow.conflicts[name]
		local mine = what .. ": conflict '" .. name .. "'"
		conflict.name, conflict.workflow = name, workflow.name
		conflict.number = conflict_actions[conflict.action or "refuse"]
		if not conflict.with then
			problem(conflict.at, mine .. ": needs with = \"workflow\"")
		end
		for _, state in ipairs(conflict.states or {}) do
			check_state(workflow, state, conflict.at, mine)
		end
		workflow.conflict_list[#workflow.conflict_list + 1] = conflict
	end
end

local function finish_workflow(workflow, settings)
	local what = "workflow '" .. workflow.name .. "'"
	local names, numbers = sorted_names(workflow.states), {}
	workflow.state_list, workflow.party_list, workflow.migrations = {}, {}, {}
	for i, name in ipairs(names) do
		numbers[name] = i - 1
		workflow.states[name].name = name
		workflow.state_list[i] = workflow.states[name]
	end
	if not workflow.start then
		problem(workflow.at, what .. ": needs start, the state it begins in")
	elseif not workflow.states[workflow.start] then
		problem(schema.below(workflow.at, "start"), what .. ": starts in '" .. workflow.start .. "', which is no state"
			.. did_you_mean(workflow.start, names))
	end
	workflow.start_number = numbers[workflow.start]
	if workflow.subject and not core.is_type(workflow.subject) then
		problem(schema.below(workflow.at, "subject"), what .. ": subject '" .. workflow.subject .. "' is no type of FHIR R4"
			.. did_you_mean(workflow.subject, core.types()))
	end
	for i, state in ipairs(workflow.state_list) do
		finish_state(workflow, state, numbers, settings)
		workflow.state_list[i] = state
	end
	finish_conflicts(workflow, what)
	for i, name in ipairs(sorted_names(workflow.parties)) do
		workflow.party_list[i] = { name = name, roles = workflow.parties[name].roles }
	end
	for from, to in pairs(workflow.migrate) do
		check_state(workflow, to, workflow.at, what .. ": migrate." .. from)
		workflow.migrations[#workflow.migrations + 1] = { from = from, to = to }
	end
end

local function finish_metric(metric, workflows, settings)
	local what = "metric '" .. metric.name .. "'"
	local ways = 0
	for _, way in ipairs { "counts", "measure", "value" } do
		ways = ways + (metric[way] and 1 or 0)
	end
	metric.baseline, metric.target = resolve(metric.baseline, settings), resolve(metric.target, settings)
	if ways > 1 then
		problem(metric.at, what .. ": say one of counts, measure and value; an extension takes the other away with false")
	elseif ways == 0 and metric.show ~= "count" then
		problem(metric.at, what
			.. ": needs counts = reached(...), measure = elapsed(...), value = function, or show = \"count\"")
	elseif not metric.value and not metric.of then
		problem(metric.at, what .. ": needs of = started \"workflow\": whom a month counts")
	end
	if not metric.category then
		problem(metric.at, what .. ": needs category, one of 'outcomes', 'operations', 'finance'")
	end
	if not metric.of then
		return
	end
	local workflow = find_workflow(workflows, metric.of.workflow, metric.at, what)
	if workflow and metric.of.state then
		check_state(workflow, metric.of.state, metric.at, what)
	end
	if workflow and metric.counts then
		for _, state in ipairs(metric.counts.states or {}) do
			check_state(workflow, state, metric.counts.at, what)
		end
	end
	if workflow and metric.measure then
		check_state(workflow, metric.measure.from, metric.at, what)
		check_state(workflow, metric.measure.to, metric.at, what)
	end
	if metric.counts then
		metric.counts.within = resolve(metric.counts.within, settings)
	end
end

local function finish_measure(measure, lists, settings)
	local what = "measure '" .. measure.name .. "'"
	measure.baseline, measure.target = resolve(measure.baseline, settings), resolve(measure.target, settings)
	if not measure.subject then
		problem(measure.at, what .. ": needs subject = function (ctx, subject, period) ... end")
	end
	if not measure.category then
		problem(measure.at, what .. ": needs category, one of 'outcomes', 'operations', 'finance'")
	end
	if measure.scoring == "continuous" and not measure.show then
		problem(measure.at, what .. ": needs show, one of 'median', 'mean', 'p90', 'count', 'sum'")
	end
	for _, name in ipairs(measure.needs_codes or {}) do
		if not lists[name] then
			problem(schema.below(measure.at, "needs_codes"), what .. ": there is no code list '" .. name .. "'"
				.. did_you_mean(name, names_of(lists)))
		end
	end
end

local function finish_view(view, workflows)
	local what = "view '" .. view.name .. "'"
	if (view.of ~= nil) == (view.rows ~= nil) then
		problem(view.at, what .. ": needs either of = instances \"workflow\" or rows = function (ctx) ... end")
	end
	if view.states and not view.of then
		problem(view.at, what .. ": 'states' belongs to of = instances \"workflow\"")
	end
	local workflow = view.of and find_workflow(workflows, view.of.workflow, view.at, what)
	if workflow then
		for _, state in ipairs(view.states or {}) do
			check_state(workflow, state, schema.below(view.at, "states"), what)
		end
	end
	if not view.columns then
		problem(view.at, what .. ": needs columns")
	end
	declarations.check_columns(view, view.name)
end

local function finish_rule(rule)
	local what = "rule '" .. rule.name .. "'"
	if not rule.of then
		problem(rule.at, what .. ": needs of = \"Type\" or \"Type?search\": what it is about")
	end
	if not rule.check and not rule.exclusive then
		problem(rule.at, what .. ": needs check = function (ctx, resource, former) ... end, or exclusive = true")
	elseif rule.flag and not rule.check then
		problem(rule.at, what .. ": flag belongs to a check")
	end
	rule.tell = type(rule.flag) == "string" and rule.flag or nil
	rule.flags = rule.flag and true or false
	rule.roles = type(rule.exclusive) == "table" and rule.exclusive or {}
	rule.exclusive = rule.exclusive and true or false
	rule.writers = {}
	for _, plugin in ipairs(plugins) do
		if plugin.root and plugin.root.name == rule.scope then
			append(rule.writers, { plugin.name })
		end
	end
end

-- Who looks for wrong data finds it in one place, whichever plugin's rule it was.
local function add_issues_view(views, list, rules)
	if views.data_issues then
		return
	end
	for _, rule in ipairs(rules) do
		if rule.flags then
			list[#list + 1] = {
				name = "data_issues", scope = rule.scope, at = rule.at, by = rule.by,
				summary = "Wrong data that rules have found and nobody has put right",
				columns = { "rule", "severity", "patient", "resource", "detail", "since", "issue" },
				rows = function (ctx)
					local rows = {}
					for issue in ctx:each("DetectedIssue", { code = "urn:careloop:rule|" }) do
						if issue.status == "preliminary" then
							rows[#rows + 1] = {
								rule = issue.code.coding[1].code, severity = issue.severity,
								patient = issue.patient and issue.patient.reference,
								resource = issue.implicated[1].reference, detail = issue.detail,
								since = issue.identifiedDateTime, issue = "DetectedIssue/" .. issue.id,
							}
						end
					end
					return rows
				end,
			}
			return
		end
	end
end

local operations = { create = 1, update = 2, delete = 3 } -- enum cl_operation

-- "Appointment.noshow", "Task.create", "callback.done"
local function finish_handler(handler, workflows)
	local what = "on '" .. handler.name .. "'"
	local subject, word = string.match(handler.name, "^(.*)%.([^.]+)$")
	if not subject then
		problem(handler.at, what .. ": write \"Type.create\", \"Type.status\" or \"workflow.state\"")
		return
	end
	handler.word = word
	if core.is_type(subject) then
		handler.type, handler.operation = subject, operations[word] or 0
		local why = handler.operation == 0 and core.no_status(subject, word)
		if why then
			problem(handler.at, what .. ": " .. why)
		end
	elseif workflows[subject] then
		handler.workflow = subject
		if word ~= "undo" then
			check_state(workflows[subject], word, handler.at, what)
		end
	else
		local names = names_of(workflows)
		append(names, core.types())
		problem(handler.at, what .. ": '" .. subject .. "' is neither a workflow nor a type of FHIR R4"
			.. did_you_mean(subject, names))
	end
end

-- Plugins in the order in which their handlers run: as loaded, but after those named by `after` and those they extend.
local function handler_order()
	local order, placed = {}, {}
	local function ready(plugin)
		local first = { plugin.after, plugin.extends }
		for i = 1, 2 do
			if first[i] and known[first[i]] and not placed[first[i]] then
				return false
			end
		end
		return true
	end
	for _, plugin in ipairs(plugins) do
		if plugin.after and not known[plugin.after] and core.closest(plugin.after, names_of(known)) then
			problem(schema.below(plugin.at, "after"), "plugin '" .. plugin.name .. "': after '" .. plugin.after
				.. "', which this organization does not use" .. did_you_mean(plugin.after, names_of(known)))
		end
	end
	while #order < #plugins do
		local chosen
		for _, plugin in ipairs(plugins) do
			if not placed[plugin.name] and ready(plugin) then
				chosen = plugin
				break
			end
		end
		if not chosen then
			for _, plugin in ipairs(plugins) do
				if not placed[plugin.name] then
					problem(schema.below(plugin.at, "after"), "plugin '" .. plugin.name .. "': 'after' goes in a circle")
					break
				end
			end
			return order
		end
		placed[chosen.name] = true
		order[#order + 1] = chosen.name
	end
	return order
end

-- Things of one kind from all plugins; a name belongs to one plugin. What two plugins both call shared (the same
-- workflow that two models bring along) is the first one's.
local function gather(wholes, kind)
	local all, list = {}, {}
	for _, plugin in ipairs(plugins) do
		local whole = wholes[plugin.name]
		for _, name in ipairs(whole and sorted_names(whole[kind]) or {}) do
			local thing = whole[kind][name]
			thing.name, thing.scope = name, plugin.name
			if all[name] and all[name].shared and thing.shared then
				thing.scope = all[name].scope
			elseif all[name] then
				problem(thing.at, kind .. " '" .. name .. "' is declared by plugin '" .. all[name].scope
					.. "' already; to change it, say extends = \"" .. all[name].scope .. '"')
			else
				all[name] = thing
				list[#list + 1] = thing
			end
		end
	end
	return all, list
end

-- Several plugins may give to one role.
local function gather_roles(wholes)
	local all, list = {}, {}
	for _, plugin in ipairs(plugins) do
		local whole = wholes[plugin.name]
		for _, name in ipairs(whole and sorted_names(whole.roles) or {}) do
			local role = whole.roles[name]
			if all[name] then
				append(all[name].allow, role.allow)
				all[name].summary = all[name].summary or role.summary
			else
				role.name, all[name] = name, role
				list[#list + 1] = role
			end
		end
	end
	return list
end

local function override_metrics(given, metrics, measures)
	if given ~= nil and type(given) ~= "table" then
		core.problem(core.configuration, 0, "metrics must be a table: metrics = { name = { baseline = 34, target = 70 } }")
		return
	end
	for name, values in pairs(given or {}) do
		local what = "metrics." .. tostring(name)
		local metric = metrics[name] or measures[name]
		if not metric then
			core.problem(core.configuration, 0, what .. ": there is no such metric"
				.. did_you_mean(tostring(name), names_of(metrics)))
		elseif type(values) ~= "table" then
			core.problem(core.configuration, 0, what .. " must be a table")
		else
			for field, value in pairs(values) do
				if field ~= "baseline" and field ~= "target" then
					core.problem(core.configuration, 0, what .. ": unknown field '" .. tostring(field) .. "'"
						.. did_you_mean(tostring(field), { "baseline", "target" }))
				elseif type(value) ~= "number" then
					core.problem(core.configuration, 0, what .. "." .. field .. " must be a number")
				else
					metric[field] = value
				end
			end
		end
	end
end

-- `settings` and `metrics` of the organization's configuration. Gives what compile_*.c reads.
function merge.finish(given_settings, given_metrics)
	local wholes, out = {}, { plugins = {}, settings = {}, handlers = {}, recurring = {}, timers = {}, receivers = {} }
	overlay.find_roots()
	for i, plugin in ipairs(plugins) do
		out.plugins[i] = {
			name = plugin.name, summary = plugin.summary, folder = plugin.folder, api = plugin.api,
			scope = plugin.root and plugin.root.position,
		}
		if plugin.root == plugin then
			wholes[plugin.name] = overlay.lay_plugin(plugin)
		end
	end
	for _, plugin in ipairs(plugins) do
		local whole = wholes[plugin.name]
		for _, name in ipairs(whole and sorted_names(whole.settings) or {}) do
			check_setting(whole.settings[name], name, plugin.name)
			out.settings[#out.settings + 1] = whole.settings[name]
		end
	end
	override_settings(given_settings, wholes)
	local workflows, metrics, _
	workflows, out.workflows = gather(wholes, "workflow")
	metrics, out.metrics = gather(wholes, "metric")
	local views
	views, out.views = gather(wholes, "view")
	_, out.rules = gather(wholes, "rule")
	_, out.operations = gather(wholes, "operation")
	local measures, lists
	measures, out.measures = gather(wholes, "measure")
	lists, out.codes = gather(wholes, "codes")
	for name, measure in pairs(measures) do
		if metrics[name] then
			problem(measure.at, "measure '" .. name .. "': there is a metric of that name")
		end
	end
	override_metrics(given_metrics, metrics, measures)
	for _, workflow in ipairs(out.workflows) do
		finish_workflow(workflow, wholes[workflow.scope].settings)
	end
	for _, metric in ipairs(out.metrics) do
		finish_metric(metric, workflows, wholes[metric.scope].settings)
	end
	for _, rule in ipairs(out.rules) do
		finish_rule(rule)
	end
	add_issues_view(views, out.views, out.rules)
	for _, measure in ipairs(out.measures) do
		finish_measure(measure, lists, wholes[measure.scope].settings)
	end
	for _, view in ipairs(out.views) do
		finish_view(view, workflows)
	end
	out.roles = gather_roles(wholes)
	for _, name in ipairs(handler_order()) do
		for _, plugin in ipairs(plugins) do
			for _, handler in ipairs(wholes[plugin.name] and wholes[plugin.name].on or {}) do
				if handler.plugin == name then
					finish_handler(handler, workflows)
					handler.after = known[name].after
					out.handlers[#out.handlers + 1] = handler
				end
			end
		end
	end
	for _, plugin in ipairs(plugins) do
		local whole = wholes[plugin.name]
		append(out.recurring, whole and whole.every)
		for _, kind in ipairs { "timer", "receive" } do
			for _, name in ipairs(whole and sorted_names(whole[kind]) or {}) do
				local list = kind == "timer" and out.timers or out.receivers
				whole[kind][name].scope = plugin.name
				list[#list + 1] = whole[kind][name]
			end
		end
	end
	return out
end

return merge
