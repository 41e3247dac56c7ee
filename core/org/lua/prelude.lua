-- prelude.lua: the words that plugins declare with. They record what was said and where; declarations.lua reads it,
-- merge.lua makes one set of rules of it. Embedded in the program; runs in the plugins' own sandbox. `core` are
-- functions of loader.c.
local core = ...

local words = {}

-- What one of the words made: table -> "setting", "escalate", "entry" ... Only ever looked up, so it has no order.
local kinds = {}

local function mark(kind, made)
	kinds[made] = kind
	return made
end

local function kind_of(value)
	return type(value) == "table" and kinds[value] or nil
end

local function entry(kind, name, body, file, line)
	return mark("entry", { kind = kind, name = name, body = body, file = file, line = line })
end

-- Text that can be shown: UTF-8 without NUL.
local function is_text(value)
	return type(value) == "string" and utf8.len(value) ~= nil and not string.find(value, "\0", 1, true)
end

local function is_name(value)
	return is_text(value) and #value > 0 and #value <= 100
end

-- word "name" body. `false` as a body takes away what the extended plugin declared.
local function named(kind, body_type, example)
	return function (name)
		local file, line = core.here()
		if not is_name(name) then
			core.raise(kind .. ": needs a name: " .. example)
		end
		return function (body)
			if type(body) ~= body_type and body ~= false then
				core.raise(kind .. ' "' .. name .. '": needs a ' .. body_type .. ": " .. example)
			end
			return entry(kind, name, body, file, line)
		end
	end
end

words.workflow = named("workflow", "table", 'workflow "callback" { start = "asked", ... }')
words.metric = named("metric", "table", 'metric "callback_done" { of = started "callback", ... }')
words.measure = named("measure", "table", 'measure "cms122" { subject = function (ctx, subject, period) ... end }')
words.codes = named("codes", "table", 'codes "diabetes" { { "http://hl7.org/fhir/sid/icd-10-cm", "E10*", "E11*" } }')
words.view = named("view", "table", 'view "callbacks" { of = instances "callback", ... }')
words.rule = named("rule", "table", 'rule "score_range" { of = "Basic?code=x", check = function ... end }')
words.operation = named("operation", "table", 'operation "$screen" { run = function (ctx, input, target) ... end }')
words.on = named("on", "function", 'on "callback.done" (function (ctx, change) ... end)')
words.timer = named("timer", "function", 'timer "key" (function (ctx, data) ... end)')
words.receive = named("receive", "function", 'receive "event" (function (ctx, message) ... end)')

function words.every(time, days, body)
	local file, line = core.here()
	if type(body) ~= "function" then
		core.raise('every: write every("07:00", "weekdays", function (ctx) ... end)')
	end
	return entry("every", nil, { time = time, days = days, body = body }, file, line)
end

function words.setting(name)
	local file, line = core.here()
	if not is_name(name) then
		core.raise('setting: needs a name: setting "call_within"')
	end
	return mark("setting", { name = name, file = file, line = line })
end

function words.escalate(to, options)
	if not is_name(to) or options ~= nil and type(options) ~= "table" then
		core.raise('escalate: write escalate("role", { again = "4 hours", times = 2, finally = "event" })')
	end
	return mark("escalate", { to = to, options = options or {} })
end

-- Clocks by the instance's data.
function words.due_from(field, options)
	if not is_name(field) or options ~= nil and type(options) ~= "table" then
		core.raise('due_from: write due_from("visit_at", { before = "1 day", otherwise = "2 days" })')
	end
	return mark("due_from", { field = field, options = options or {} })
end

function words.tier(field, times)
	if not is_name(field) or type(times) ~= "table" then
		core.raise('tier: write tier("urgency", { urgent = "4 hours", otherwise = "2 days" }), or with a setting')
	end
	return mark("tier", { field = field, times = times })
end

function words.fire(event)
	if not is_name(event) then
		core.raise('fire: needs an event: fire "give_up"')
	end
	return mark("fire", { event = event })
end

function words.started(workflow)
	if not is_name(workflow) then
		core.raise('started: needs a workflow: started "callback"')
	end
	return mark("cohort", { kind = "started", workflow = workflow })
end

function words.entered(workflow, state)
	if not is_name(workflow) or not is_name(state) then
		core.raise('entered: write entered("workflow", "state")')
	end
	return mark("cohort", { kind = "entered", workflow = workflow, state = state })
end

function words.reached(states, options)
	if not is_name(states) and type(states) ~= "table" or options ~= nil and type(options) ~= "table" then
		core.raise('reached: write reached("state", { within = "2 days" }), or a list of states')
	end
	return mark("reached", { states = states, options = options or {} })
end

function words.elapsed(from, to, unit)
	if not is_name(from) or not is_name(to) or not is_name(unit) then
		core.raise('elapsed: write elapsed("from_state", "to_state", "business days")')
	end
	return mark("elapsed", { from = from, to = to, unit = unit })
end

function words.instances(workflow)
	if not is_name(workflow) then
		core.raise('instances: needs a workflow: instances "callback"')
	end
	return mark("instances", { workflow = workflow })
end

function words.plugin(body)
	local file, line = core.here()
	if type(body) ~= "table" then
		core.raise('plugin: write return plugin { name = "callback", api = 1, ... }')
	end
	return mark("plugin", { body = body, file = file, line = line })
end

return { words = words, kind_of = kind_of, mark = mark, is_name = is_name, is_text = is_text }
