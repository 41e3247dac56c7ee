-- schema.lua: kinds of values and tables with known fields, for declarations.lua: what is read is copied into tables
-- of our own, so that merging never touches a plugin's. Problems are noted with the line of the field; reading goes on.
local core, prelude = ...
local kind_of, mark, is_name = prelude.kind_of, prelude.mark, prelude.is_name

local schema = {}

-- ---- places: a plugin, a file, a line, and the outline of the literal table that stands there ----

local reading -- name of the plugin that is read

function schema.begin(plugin)
	reading = plugin
end

local function place(file, line, word, name)
	local lines, order, twice, found = core.outline(file, line, word, name)
	for _, path in ipairs(twice) do
		core.problem(file, lines[path], "'" .. string.match(path, "([^.]*)$") .. "' is written twice in one table")
	end
	return { plugin = reading, file = file, line = found, path = "", lines = lines, order = order }
end

local function below(at, key)
	local path = at.path .. "." .. tostring(key)
	return {
		plugin = at.plugin, file = at.file, line = at.lines[path] or at.line, path = path, lines = at.lines,
		order = at.order, rank = at.order[path],
	}
end

local function problem(at, text)
	core.problem(at.file, at.line, text)
end

local function did_you_mean(wanted, known)
	local closest = core.closest(wanted, known)
	return closest and "; did you mean '" .. closest .. "'?" or ""
end

local function names_of(fields)
	local names = {}
	for name in pairs(fields) do
		names[#names + 1] = name
	end
	return names
end

schema.problem, schema.did_you_mean, schema.names_of = problem, did_you_mean, names_of
schema.below, schema.place = below, place

-- The name of a value's kind for messages.
local function describe(value)
	local kind = kind_of(value)
	if kind then
		return kind == "entry" and value.kind or kind
	elseif type(value) == "string" then
		return "'" .. value .. "'"
	elseif type(value) == "nil" then
		return "nothing"
	end
	return "a " .. type(value)
end

-- ---- kinds of values: each takes (value, at, what) and gives the value read, or nil after noting a problem ----

local function expect(at, what, wanted, value)
	problem(at, what .. " must be " .. wanted .. ", not " .. describe(value))
	return nil
end

local function text(value, at, what)
	return prelude.is_text(value) and value ~= "" and value or expect(at, what, "text", value)
end

local function flag(value, at, what)
	if type(value) ~= "boolean" then
		return expect(at, what, "true or false", value)
	end
	return value
end

local function func(value, at, what)
	return type(value) == "function" and value or expect(at, what, "a function", value)
end

local function number(value, at, what)
	return type(value) == "number" and value or expect(at, what, "a number", value)
end

local function count(value, at, what)
	if math.type(value) ~= "integer" or value < 0 or value > 1000 then
		return expect(at, what, "a whole number from 0 to 1000", value)
	end
	return value
end

local function duration(value, at, what)
	if type(value) ~= "string" then
		return expect(at, what, 'a duration such as "2 business days"', value)
	end
	local why = core.duration(value)
	if why then
		return problem(at, what .. ": " .. why)
	end
	return value
end

local function is_list(value)
	if type(value) ~= "table" or kind_of(value) then
		return false
	end
	for key in pairs(value) do
		if math.type(key) ~= "integer" or key < 1 or key > #value then
			return false
		end
	end
	return true
end

-- One text or a list of them.
local function texts(value, at, what)
	if type(value) == "string" then
		value = { value }
	end
	if not is_list(value) then
		return expect(at, what, "a name or a list of names", value)
	end
	local read = {}
	for i, item in ipairs(value) do
		read[i] = text(item, at, what .. "[" .. i .. "]")
	end
	return read
end

local function one_of(...)
	local known = { ... }
	return function (value, at, what)
		for _, each in ipairs(known) do
			if each == value then
				return value
			end
		end
		local hint = type(value) == "string" and did_you_mean(value, known) or ""
		return problem(at, what .. " must be one of '" .. table.concat(known, "', '") .. "', not " .. describe(value) .. hint)
	end
end

local function made_by(kind, example)
	return function (value, at, what)
		return kind_of(value) == kind and value or expect(at, what, example, value)
	end
end

-- A value, or setting "x": then what is read is looked at again once the setting is known.
local function settable(check)
	return function (value, at, what)
		if kind_of(value) == "setting" then
			return mark("pending", { setting = value.name, check = check, at = at, what = what,
				file = value.file, line = value.line })
		end
		return check(value, at, what)
	end
end

-- ---- tables with known fields ----

-- Reads the named fields; `false` stays false (it takes the extended plugin's away). `others` (optional) is asked for
-- keys that are no fields and says true when it took them.
local function read_fields(body, fields, at, what, others)
	local read = { at = at }
	for key, value in pairs(body) do
		local check = type(key) == "string" and fields[key]
		local here = below(at, key)
		if check then
			if value == false then
				read[key] = false
			else
				read[key] = check(value, here, what .. ": '" .. key .. "'")
			end
		elseif not (others and others(key, value, here, read)) then
			if type(key) == "string" then
				problem(here, what .. ": unknown field '" .. key .. "'" .. did_you_mean(key, names_of(fields)))
			else
				problem(here, what .. ": field " .. tostring(key) .. " has no name")
			end
		end
	end
	return read
end

local function is_plain(value)
	return type(value) == "table" and not kind_of(value)
end

-- A table of things by name: each read by `read_one`, false kept.
local function by_name(limit, what_each, read_one)
	return function (value, at, what)
		if not is_plain(value) then
			return expect(at, what, "a table", value)
		end
		local read, n = {}, 0
		local owner = string.gsub(what, ": '[%w_]+'$", "") -- "workflow 'w': state 's': 'on'" without the last part
		local before = owner == "plugin" and "" or owner .. ": "
		for name, each in pairs(value) do
			local here = below(at, name)
			n = n + 1
			if n > limit then
				problem(at, what .. ": more than " .. limit)
				break
			elseif not is_name(name) then
				problem(here, what .. ": each has a name, not " .. describe(name))
			elseif each == false then
				read[name] = false
			else
				read[name] = read_one(each, here, before .. what_each .. " '" .. name .. "'", name)
			end
		end
		return read
	end
end

-- By where they stand in the source; what a function made, by name.
local function sorted_names(things)
	local names = {}
	for name, thing in pairs(things) do
		if thing then
			names[#names + 1] = name
		end
	end
	table.sort(names, function (a, b)
		local x, y = things[a].at, things[b].at
		if x.file == y.file and x.line ~= y.line then
			return x.line < y.line
		elseif x.file == y.file and x.rank and y.rank and x.rank ~= y.rank then
			return x.rank < y.rank
		end
		return a < b
	end)
	return names
end
schema.sorted_names = sorted_names

schema.kinds = {
	describe = describe, expect = expect, text = text, flag = flag, func = func, number = number, count = count,
	duration = duration, is_list = is_list, texts = texts, one_of = one_of, made_by = made_by, settable = settable,
	read_fields = read_fields, is_plain = is_plain, by_name = by_name,
}

return schema
