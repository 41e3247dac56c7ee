-- declarations.lua: reads what one plugin declared: workflows, metrics, views, handlers, roles, settings, operations.
local core, prelude, schema = ...
local kind_of, is_name = prelude.kind_of, prelude.is_name
local problem, did_you_mean, below, place = schema.problem, schema.did_you_mean, schema.below, schema.place
local sorted_names = schema.sorted_names
local kinds = schema.kinds
local describe, expect, text, flag, func = kinds.describe, kinds.expect, kinds.text, kinds.flag, kinds.func
local number = kinds.number
local count, duration, is_list, texts, one_of = kinds.count, kinds.duration, kinds.is_list, kinds.texts, kinds.one_of
local made_by, settable, read_fields, is_plain = kinds.made_by, kinds.settable, kinds.read_fields, kinds.is_plain
local by_name = kinds.by_name

local declarations = {}

local most = { states = 200, events = 100, entries = 500, roles = 200, settings = 500, needs = 100, grants = 200 }

-- ---- workflows ----

local need_types = { "string", "date", "dateTime", "integer", "number", "boolean", "reference", "choice", "code" }
local need_type = one_of(table.unpack(need_types))

-- The choices of a need: texts, or what a setting lists.
local function choice_list(value, at, what)
	local read = {}
	if type(value) ~= "table" then
		return expect(at, what, "a list of texts", value)
	end
	for i, each in ipairs(value) do
		read[i] = text(type(each) == "table" and each.code or each, at, what .. "[" .. i .. "]")
	end
	if #read == 0 then
		problem(at, what .. ": lists nothing that can be chosen")
	end
	return read
end

local function read_need(value, at, what, name)
	if type(value) == "string" then
		value = { value }
	end
	if not is_plain(value) then
		return expect(at, what, 'a type such as "string", or { "choice", "a", "b" }', value)
	end
	local kind = need_type(value[1], at, what)
	local read = { name = name, type = kind, choices = {}, at = at }
	for key, each in pairs(value) do
		if key == "optional" then
			read.optional = flag(each, at, what .. ": 'optional'")
		elseif key == "help" then
			read.help = text(each, at, what .. ": 'help'")
		elseif math.type(key) ~= "integer" then
			key = tostring(key)
			problem(at, what .. ": unknown field '" .. key .. "'" .. did_you_mean(key, { "optional", "help" }))
		elseif key > 1 and kind == "choice" and kind_of(each) == "setting" then
			read.choices[#read.choices + 1] = settable(choice_list)(each, at, what .. "[" .. key .. "]")
		elseif key > 1 and kind == "choice" then
			read.choices[#read.choices + 1] = text(each, at, what .. "[" .. key .. "]")
		elseif key > 1 and kind then
			problem(at, what .. ": '" .. kind .. "' has no choices; write { \"choice\", ... }")
		end
	end
	if kind == "choice" and #read.choices == 0 then
		problem(at, what .. ": a choice needs what can be chosen: { \"choice\", \"a\", \"b\" }")
	end
	return kind and read
end

local function needs(value, at, what)
	if type(value) == "string" then
		value = { value }
	end
	if not is_plain(value) then
		return expect(at, what, 'a list such as { "reason" } or { start = "dateTime" }', value)
	end
	local read, named = {}, {}
	for key, each in pairs(value) do
		if math.type(key) == "integer" then
			if is_name(each) then
				read[#read + 1] = { name = each, type = "string", choices = {}, at = at }
			else
				problem(at, what .. ": a name, not " .. describe(each))
			end
		elseif is_name(key) then
			named[key] = read_need(each, below(at, key), what .. " '" .. key .. "'", key)
		end
	end
	for _, name in ipairs(sorted_names(named)) do
		read[#read + 1] = named[name]
	end
	if #read > most.needs then
		problem(at, what .. ": more than " .. most.needs)
	end
	return read
end

local transition_fields = {
	by = texts, needs = needs, guard = func, effect = func, help = text, rule = text, keep_clock = flag,
}

local function read_transition(value, at, what)
	if type(value) == "string" then
		return { target = value, at = at }
	elseif not is_plain(value) then
		return expect(at, what, 'a state, or { "state", by =, needs =, guard =, effect = }', value)
	end
	return read_fields(value, transition_fields, at, what, function (key, each, here, read)
		if key == 1 then
			read.target = text(each, here, what .. ": the state it leads to")
		end
		return key == 1
	end)
end

local escalation_fields = { again = settable(duration), times = settable(count), finally = settable(text) }

-- Both become the same fields of the state, so that an extension replaces the whole.
local function overdue(value, at, what)
	local kind = kind_of(value)
	if kind == "fire" then
		return { event = value.event, at = at }
	elseif kind == "escalate" then
		local read = read_fields(value.options, escalation_fields, at, what .. ": escalate")
		read.to = value.to
		return read
	end
	return expect(at, what, 'escalate("role", ...) or fire "event"', value)
end

local reminder_fields = {
	before = settable(duration), after = settable(duration), to = text, text = text,
	fire = function (value, at, what)
		return kind_of(value) == "fire" and value.event or text(value, at, what)
	end,
}

local function reminders(value, at, what)
	if type(value) == "string" or kind_of(value) == "setting" then
		value = { value }
	end
	if not is_list(value) then
		return expect(at, what, 'a list such as { "1 day", { before = "4 hours", to = "role" } }', value)
	end
	local read = {}
	for i, each in ipairs(value) do
		local name = what .. "[" .. i .. "]"
		if is_plain(each) then
			local reminder = read_fields(each, reminder_fields, below(at, i), name)
			if (reminder.before == nil) == (reminder.after == nil) then
				problem(below(at, i), name .. ": needs 'before' (the clock ends) or 'after' (it is entered), a duration")
			elseif reminder.fire and (reminder.to or reminder.text) then
				problem(below(at, i), name .. ": either tells somebody or fires an event")
			end
			read[#read + 1] = reminder
		else
			read[#read + 1] = { before = settable(duration)(each, at, name), at = at }
		end
	end
	return read
end

-- ---- clocks ----

local due_from_fields = { before = settable(duration), after = settable(duration), otherwise = settable(duration) }

local function tiers(value, at, what)
	if not is_plain(value) or #value > 0 then
		return expect(at, what, 'a table such as { urgent = "4 hours", otherwise = "2 days" }', value)
	end
	local read, names = { at = at }, schema.names_of(value)
	table.sort(names, function (a, b)
		return tostring(a) < tostring(b)
	end)
	if #names == 0 then
		problem(at, what .. ": names no time")
	end
	for _, name in ipairs(names) do
		if type(name) ~= "string" then
			problem(at, what .. ": each time stands under a value, not under " .. tostring(name))
		else
			read[#read + 1] = {
				value = name, within = settable(duration)(value[name], below(at, name), what .. "." .. name),
			}
		end
	end
	return read
end

-- One duration for every instance, or one that the instance's data decide.
local function clock(value, at, what)
	local kind = kind_of(value)
	if type(value) == "function" then
		return { clock = "function", run = value, at = at }
	elseif kind == "due_from" then
		local read = read_fields(value.options, due_from_fields, at, what .. ": due_from")
		if read.before and read.after then
			problem(at, what .. ": due_from is either before or after")
		end
		read.clock, read.field = "due_from", value.field
		return read
	elseif kind == "tier" then
		return { clock = "tier", field = value.field, tiers = settable(tiers)(value.times, at, what .. ": tier"), at = at }
	end
	return settable(duration)(value, at, what)
end

local business_fields = { system = text, code = text, display = text }

local function business(value, at, what)
	if type(value) == "string" then
		return { code = value, at = at }
	elseif not is_plain(value) then
		return expect(at, what, 'a code, or { system =, code =, display = }', value)
	end
	local read = read_fields(value, business_fields, at, what)
	if not read.code then
		problem(at, what .. ": needs 'code'")
	end
	return read
end

local state_fields = {
	status = text, business = business, accepts = texts, owner = text, action = text, within = clock,
	overdue = overdue, reminders = reminders, on = by_name(most.events, "event", read_transition), enter = func,
	final = flag,
}

local function read_state(value, at, what)
	return read_fields(value, state_fields, at, what)
end

local conflict_fields = {
	with = text, summary = text, states = texts, action = one_of("refuse", "warn", "ask"), tell = text, when = func,
}

local function read_conflict(value, at, what)
	if not is_plain(value) then
		return expect(at, what, '{ with = "workflow", action = "refuse" }', value)
	end
	return read_fields(value, conflict_fields, at, what)
end

local workflow_fields = {
	conflicts = by_name(most.events, "conflict", read_conflict),
	summary = text, subject = text, start = text, single = flag, shared = flag, recorders = texts,
	parties = by_name(20, "party", function (value, at, what)
		return { roles = texts(value, at, what), at = at }
	end),
	migrate = by_name(most.states, "migrated state", text),
}

local function check_plain_name(name, at, what)
	if not string.match(name, "^[%a][%w_-]*$") then
		problem(at, what .. ": a name of letters, digits, _ and - is needed")
	end
end

local function read_workflow(body, at, what, workflow_name)
	local states, n = {}, 0
	check_plain_name(workflow_name, at, what)
	local read = read_fields(body, workflow_fields, at, what, function (key, value, here)
		if type(key) ~= "string" or (value ~= false and not is_plain(value)) then
			return false
		end
		n = n + 1
		check_plain_name(key, here, what .. ": state '" .. key .. "'")
		if value == false then
			states[key] = false
		else
			states[key] = read_state(value, here, what .. ": state '" .. key .. "'")
		end
		return true
	end)
	if n > most.states then
		problem(at, what .. ": more than " .. most.states .. " states")
	end
	read.states = states
	return read
end

-- ---- metrics and views ----

local reached_fields = { within = settable(duration) }

local metric_fields = {
	summary = text, category = one_of("outcomes", "operations", "finance"), unit = text,
	better = one_of("higher", "lower"),
	source = text, version = text, baseline = settable(number), target = settable(number), value = func,
	show = one_of("median", "mean", "p90", "count"),
	of = made_by("cohort", 'started "workflow" or entered("workflow", "state")'),
	measure = function (value, at, what)
		local read = made_by("elapsed", 'elapsed("from_state", "to_state", "business days")')(value, at, what)
		if read and not core.duration_unit(read.unit) then
			problem(at, what .. ": '" .. read.unit
				.. "' is no unit; write \"days\", \"business days\", \"hours\" or \"minutes\"")
		end
		return read
	end,
	counts = function (value, at, what)
		if kind_of(value) ~= "reached" then
			return expect(at, what, 'reached("state", { within = "2 days" })', value)
		end
		local read = read_fields(value.options, reached_fields, at, what .. ": reached")
		read.states = texts(value.states, at, what .. ": the states reached")
		return read
	end,
}

local function read_metric(body, at, what, name)
	check_plain_name(name, at, what)
	return read_fields(body, metric_fields, at, what)
end

local measure_fields = {
	summary = text, category = one_of("outcomes", "operations", "finance"), unit = text,
	better = one_of("higher", "lower"), source = text, version = text, baseline = settable(number),
	target = settable(number), scoring = one_of("proportion", "ratio", "continuous"),
	show = one_of("median", "mean", "p90", "count", "sum"), period = one_of("month", "quarter", "year", "rolling year"),
	basis = text, scale = number, counts = text, candidates = texts, needs_codes = texts, subject = func,
	initial = text, denominator = text, exclusions = text, numerator = text,
}

local function read_measure(body, at, what, name)
	check_plain_name(name, at, what)
	return read_fields(body, measure_fields, at, what)
end

local code_fields = { summary = text, source = text, version = text, url = text }

-- Groups of a system and its codes: { "http://loinc.org", "4548-4", ... }; none = the organization loads them.
local function read_codes(body, at, what, name)
	check_plain_name(name, at, what)
	local read = { pairs = {} }
	local fields = read_fields(body, code_fields, at, what, function (key, value, here)
		if math.type(key) ~= "integer" then
			return false
		end
		local group = texts(value, here, what .. "[" .. key .. "]")
		if group and #group < 2 then
			problem(here, what .. ': a group is a system and its codes: { "http://loinc.org", "4548-4" }')
		end
		for i = 2, group and #group or 0 do
			read.pairs[#read.pairs + 1] = { system = group[1], code = group[i] }
		end
		return true
	end)
	fields.pairs = read.pairs
	return fields
end

local columns = {
	"task", "patient", "patient_name", "subject", "state", "action", "owner", "due", "overdue", "age_days", "started",
}

local view_fields = {
	summary = text, of = made_by("instances", 'instances "workflow"'), states = texts, rows = func, roles = texts,
	columns = texts, shared = flag,
}

local function read_view(body, at, what, name)
	check_plain_name(name, at, what)
	return read_fields(body, view_fields, at, what)
end

-- Known once it is merged whether the rows are instances.
function declarations.check_columns(view, name)
	local known = {}
	for _, column in ipairs(columns) do
		known[column] = true
	end
	for _, column in ipairs(view.columns or {}) do
		if view.of and not known[column] and string.sub(column, 1, 5) ~= "data." then
			problem(below(view.at, "columns"), "view '" .. name .. "': unknown column '" .. column .. "'"
				.. did_you_mean(column, columns))
		end
	end
end

-- ---- the rest ----

local interactions = {
	"read", "search", "history", "create", "update", "delete", "transition", "undo", "message", "events", "metrics",
	"admin",
}
local interaction = one_of(table.unpack(interactions))

local grant_fields = { types = texts, workflow = text, where = text, except_labels = texts }

local function read_grant(value, at, what)
	if not is_plain(value) then
		return expect(at, what, '{ "read search", types = { "Patient" } }', value)
	end
	local read = read_fields(value, grant_fields, at, what, function (key, each, here, read)
		if key == 1 then
			read.interactions = text(each, here, what .. ": what it allows")
		end
		return key == 1
	end)
	if not read.interactions then
		problem(at, what .. ": begins with words: { \"read search\", types = ... }")
		return nil
	end
	for word in string.gmatch(read.interactions, "%S+") do
		interaction(word, at, what)
	end
	for _, name in ipairs(read.types or {}) do
		if name ~= "*" and not core.is_type(name) then
			problem(at, what .. ": '" .. name .. "' is no type of FHIR R4" .. did_you_mean(name, core.types()))
		end
	end
	return read
end

local role_fields = {
	summary = text,
	allow = function (value, at, what)
		if not is_list(value) then
			return expect(at, what, 'a list such as { { "read search", types = { "Patient" } } }', value)
		end
		if #value > most.grants then
			problem(at, what .. ": more than " .. most.grants)
		end
		local read = {}
		for i, each in ipairs(value) do
			read[#read + 1] = read_grant(each, below(at, i), what .. "[" .. i .. "]")
		end
		return read
	end,
}

local setting_types = { "duration", "number", "integer", "string", "boolean", "choice", "list", "table", "code" }

local function anything(value, at, what)
	return kind_of(value) and expect(at, what, "a value", value) or value
end

local setting_fields = {
	type = one_of(table.unpack(setting_types)), default = anything, help = text, source = text, choices = texts,
}

local operation_fields = { summary = text, roles = texts, run = func }

local function read_operation(body, at, what, name)
	if not string.match(name, "^%$[%l%u][%w%-]*$") then
		problem(at, what .. ": its name begins with $ and has letters, digits and - only")
	end
	local read = read_fields(body, operation_fields, at, what)
	if not read.run then
		problem(at, what .. ": needs run = function (ctx, input, target) ... end")
	end
	return read
end

-- "Observation?code=x": compile_rules.c reads the search.
local function searched(value, at, what)
	local type_name = prelude.is_text(value) and string.match(value, "^(%a+)%f[?%z]")
	if not type_name or not core.is_type(type_name) then
		return expect(at, what, 'a type of FHIR R4, perhaps with a search: "Observation?code=x"', value)
	end
	return value
end

local function flag_or_texts(value, at, what)
	return value == true or texts(value, at, what)
end

local rule_fields = {
	of = searched, summary = text, source = text, check = func, exclusive = flag_or_texts,
	severity = one_of("high", "moderate", "low"),
	flag = function (value, at, what)
		return value == true or text(value, at, what)
	end,
}

local function read_rule(body, at, what, name)
	check_plain_name(name, at, what)
	return read_fields(body, rule_fields, at, what)
end

local readers = {
	rule = read_rule, workflow = read_workflow, metric = read_metric, measure = read_measure,
	codes = read_codes, view = read_view, operation = read_operation,
}

-- What the parts must be together is looked at after merging.
local plugin_fields = {
	name = text, api = number, summary = text, extends = text, after = text,
	settings = by_name(most.settings, "setting", function (value, at, what)
		return is_plain(value) and read_fields(value, setting_fields, at, what) or expect(at, what, "a table", value)
	end),
	roles = by_name(most.roles, "role", function (value, at, what)
		return is_plain(value) and read_fields(value, role_fields, at, what) or expect(at, what, "a table", value)
	end),
}

local function read_entry(value, at)
	if kind_of(value) ~= "entry" then
		problem(at, "plugin: " .. describe(value)
			.. " stands where a declaration (workflow, metric, view, on, every ...) belongs"
			.. (type(value) == "function" and "; is its { } or ( ) missing?" or ""))
		return nil
	end
	local reader, body = readers[value.kind], value.body
	local read = { kind = value.kind, name = value.name, body = body, file = value.file, line = value.line }
	local what = value.kind .. (value.name and " '" .. value.name .. "'" or "")
	read.at = place(value.file, value.line, value.kind, value.name or "")
	if value.kind == "every" then
		local why = core.recurrence(body.time, body.days)
		if why then
			problem(read.at, "every: " .. why)
		end
	elseif reader and body then
		read.body = reader(body, read.at, what, value.name)
	end
	return read
end

-- What `plugin { ... }` gave. nil when it cannot be used at all.
function declarations.read_plugin(record)
	schema.begin(is_name(record.body.name) and record.body.name or "?")
	local body, at = record.body, place(record.file, record.line, "plugin", "")
	local entries = {}
	local read = read_fields(body, plugin_fields, at, "plugin", function (key, value, here)
		if math.type(key) == "integer" then
			entries[#entries + 1] = read_entry(value, here)
			return true
		end
		return false
	end)
	if #entries > most.entries then
		problem(at, "plugin: more than " .. most.entries .. " declarations")
		return nil
	end
	if not read.name or not string.match(read.name, "^[%l][%l%d_.]*$") or #read.name > 60 then
		problem(below(at, "name"), "plugin: needs a name of lower-case letters, digits, _ and .")
		return nil
	end
	if read.api ~= 1 then
		problem(below(at, "api"), "plugin '" .. read.name
			.. "': needs api = 1, the version of the interface it is written for")
	end
	if not read.summary then
		problem(at, "plugin '" .. read.name .. "': needs a summary, one line for people")
	end
	read.entries, read.file, read.line = entries, record.file, record.line
	return read
end

return declarations
