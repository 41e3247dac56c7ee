-- overlay.lua: extensions are laid over what they extend. Rules: plugins/README.md, "Extending".
local core, prelude, schema, declarations = ...
local kind_of = prelude.kind_of
local problem, did_you_mean, names_of = schema.problem, schema.did_you_mean, schema.names_of

local overlay = {}
local plugins, known = {}, {} -- in the order they were loaded; by name
overlay.plugins, overlay.known = plugins, known

function overlay.add(folder, file, value)
	if kind_of(value) ~= "plugin" then
		core.problem(file, 1, "a plugin's file ends with: return plugin { name = ..., api = 1, ... }")
		return
	end
	if value.file == "?" then -- "return plugin { ... }" is a tail call: the chunk whose place it was is gone by then
		value.file, value.line = file, 1
	end
	local read = declarations.read_plugin(value)
	if not read then
		return
	elseif known[read.name] then
		problem(read.at, "there is a plugin '" .. read.name .. "' already, in " .. known[read.name].folder)
	elseif core.is_quarantined(read.name) then
		core.log("plugin-quarantined", read.name)
	elseif read.extends and core.is_quarantined(read.extends) then
		core.log("plugin-quarantined", read.name .. " extends " .. read.extends)
	else
		read.folder = folder
		plugins[#plugins + 1] = read
		known[read.name] = read
	end
end

-- ---- who extends whom ----

-- The plugin at the end of the chain, and how long the chain is.
local function root_of(plugin)
	local depth, at = 0, plugin
	while at.extends do
		local next_one = known[at.extends]
		if not next_one then
			problem(schema.below(at.at, "extends"), "plugin '" .. at.name .. "' extends '" .. at.extends
				.. "', which this organization does not use" .. did_you_mean(at.extends, names_of(known)))
			return nil
		end
		at, depth = next_one, depth + 1
		if depth > #plugins then
			problem(schema.below(plugin.at, "extends"), "plugin '" .. plugin.name .. "' extends itself in the end")
			return nil
		end
	end
	return at, depth
end

function overlay.find_roots()
	for i, plugin in ipairs(plugins) do
		plugin.position = i
		plugin.root, plugin.depth = root_of(plugin)
	end
end

-- Extensions of one plugin, those of extensions after them.
local function layers_of(root)
	local layers = {}
	for _, plugin in ipairs(plugins) do
		if plugin.root == root then
			layers[#layers + 1] = plugin
		end
	end
	table.sort(layers, function (a, b)
		return a.depth < b.depth or a.depth == b.depth and a.position < b.position
	end)
	return layers
end

-- ---- laying one thing over another ----

local function take_away_false(thing)
	for key, value in pairs(thing) do
		if value == false then
			thing[key] = nil
		end
	end
	return thing
end

local function replace_fields(base, layer)
	for key, value in pairs(layer) do
		if key ~= "at" then
			base[key] = value
		end
	end
	return take_away_false(base)
end

local function lay_named(base, layer, what, lay, at)
	for name, value in pairs(layer or {}) do
		if value == false then
			if base[name] == nil then
				problem(schema.below(at, name), what .. " '" .. name .. "' is taken away, but is not there"
					.. did_you_mean(name, names_of(base)))
			end
			base[name] = nil
		else
			base[name] = lay(base[name], value)
		end
	end
	return base
end

local function lay_transition(base, layer)
	if base then
		replace_fields(base, layer)
		base.at = layer.at
		return base
	end
	return take_away_false(layer)
end

local function lay_state(base, layer)
	local on = layer.on
	layer.on = nil
	base = base and replace_fields(base, layer) or take_away_false(layer)
	if on == false then
		base.on = {}
	else
		base.on = lay_named(base.on or {}, on, "event", lay_transition, schema.below(layer.at, "on"))
	end
	return base
end

local function lay_over(_, layer)
	return layer
end

local function lay_fields(base, layer)
	return base and replace_fields(base, layer) or take_away_false(layer)
end

local function lay_workflow(base, layer)
	local states, parties, migrate, conflicts = layer.states, layer.parties, layer.migrate, layer.conflicts
	layer.states, layer.parties, layer.migrate, layer.conflicts = nil, nil, nil, nil
	base = base and replace_fields(base, layer) or take_away_false(layer)
	base.states = lay_named(base.states or {}, states, "state", lay_state, layer.at)
	base.parties = lay_named(base.parties or {}, parties, "party", lay_over, schema.below(layer.at, "parties"))
	base.conflicts = lay_named(base.conflicts or {}, conflicts, "conflict", lay_fields,
		schema.below(layer.at, "conflicts"))
	base.migrate = lay_named(base.migrate or {}, migrate, "migrated state", lay_over, schema.below(layer.at, "migrate"))
	return base
end

local function append(list, more)
	for _, each in ipairs(more or {}) do
		list[#list + 1] = each
	end
	return list
end

local function lay_role(base, layer)
	if not base then
		layer.allow = append({}, layer.allow)
		return take_away_false(layer)
	end
	append(base.allow, layer.allow)
	base.summary = layer.summary or base.summary
	return base
end

-- `default = false` is a value, not a removal.
local function lay_setting(base, layer)
	base = base or { at = layer.at }
	for key, value in pairs(layer) do
		if key ~= "at" then
			base[key] = value
			base.default_at = key == "default" and schema.below(layer.at, "default") or base.default_at
		end
	end
	return base
end

local lay_kind = {
	workflow = lay_workflow, metric = lay_fields, view = lay_fields, operation = lay_fields, rule = lay_fields,
	measure = lay_fields, codes = lay_fields,
}

-- One plugin and its extensions: named things by kind, handlers and recurrences in lists.
function overlay.lay_plugin(root)
	local whole = {
		workflow = {}, metric = {}, measure = {}, codes = {}, view = {}, operation = {}, rule = {}, timer = {}, receive = {},
		on = {}, every = {}, roles = {}, settings = {},
	}
	for _, layer in ipairs(layers_of(root)) do
		local recurring = 0
		lay_named(whole.roles, layer.roles, "role", lay_role, schema.below(layer.at, "roles"))
		lay_named(whole.settings, layer.settings, "setting", lay_setting, schema.below(layer.at, "settings"))
		for _, entry in ipairs(layer.entries) do
			local kind, name, body = entry.kind, entry.name, entry.body
			entry.plugin = layer.name
			if kind == "every" then
				recurring = recurring + 1
				entry.number = recurring
				whole.every[#whole.every + 1] = entry
			elseif kind == "on" and body then
				whole.on[#whole.on + 1] = entry
			elseif kind == "on" then
				for i = #whole.on, 1, -1 do
					if whole.on[i].name == name then
						table.remove(whole.on, i)
					end
				end
			elseif body == false then
				if not whole[kind][name] then
					problem(entry.at, kind .. " '" .. name .. "' is taken away, but is not there"
						.. did_you_mean(name, names_of(whole[kind])))
				end
				whole[kind][name] = nil
			elseif lay_kind[kind] then
				local mentioned = whole[kind][name]
				if mentioned and mentioned.by == layer.name then
					problem(entry.at, kind .. " '" .. name .. "' is declared twice")
				end
				whole[kind][name] = lay_kind[kind](mentioned, body)
				whole[kind][name].by = layer.name
			else
				if whole[kind][name] and whole[kind][name].plugin == layer.name then
					problem(entry.at, kind .. " '" .. name .. "' is declared twice")
				end
				whole[kind][name] = entry
			end
		end
	end
	return whole
end

overlay.append = append
return overlay
