-- Does it work? Baselines that nobody can change afterwards, run charts against them, pilots against a comparison.
local resources = require "lib/resources"
local runchart = require "lib/runchart"
local series = require "series"

local proof = {}

proof.kind_system = "urn:careloop:improvement:kind"
local facts_url = "urn:careloop:improvement:facts"

-- A Basic resource of ours and its facts: named values in one extension.
function proof.facts_of(resource)
	local facts = {}
	for _, part in ipairs((resources.extension(resource, facts_url) or {}).extension or {}) do
		local value = part.valueString or part.valueDate or part.valueDateTime or part.valueCode
		if value == nil then
			value = tonumber(part.valueDecimal or part.valueInteger)
		end
		if value == nil and part.valueBoolean ~= nil then
			value = part.valueBoolean
		end
		facts[part.url] = value
	end
	return facts
end

function proof.make(ctx, kind, facts, subject)
	local parts = {}
	local names = {}
	for name in pairs(facts) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local value = facts[name]
		local part = { url = name }
		if type(value) == "number" then
			if math.tointeger(value) then
				part.valueInteger = math.tointeger(value)
			else
				part.valueDecimal = value
			end
		elseif type(value) == "boolean" then
			part.valueBoolean = value
		else
			part.valueString = value
		end
		parts[#parts + 1] = part
	end
	return {
		resourceType = "Basic", code = { coding = { { system = proof.kind_system, code = kind } } }, created = ctx:today(),
		subject = subject and { reference = subject } or nil,
		author = ctx.actor.reference and ctx.actor.reference ~= "" and { reference = ctx.actor.reference } or nil,
		extension = #parts > 0 and { { url = facts_url, extension = parts } } or nil,
	}
end

function proof.is(resource, kind)
	return resource.resourceType == "Basic" and resources.has_code(resource.code, kind, proof.kind_system)
end

-- All of one kind: calls fn(facts, resource).
function proof.each(ctx, kind, fn)
	for resource in ctx:each("Basic", { code = proof.kind_system .. "|" .. kind }) do
		fn(proof.facts_of(resource), resource)
	end
end

-- ---- baseline ----

-- The latest baseline of a measure (and version of its definition) in a scope; nil when none was frozen.
function proof.baseline(ctx, measure, scope, version)
	local found
	proof.each(ctx, "baseline", function (facts, resource)
		if facts.measure == measure and facts.scope == (scope or "all") and (not version or facts.version == version)
			and (not found or resource.id > found.id) then
			facts.id, facts.reference = resource.id, "Basic/" .. resource.id
			found = facts
		end
	end)
	return found
end

-- `operation "$freeze-baseline"`: measure, from, to (periods), scope. The points and their median as they are now;
-- never changed.
function proof.freeze(ctx, input)
	local measure, scope = resources.parameter(input, "measure"), resources.parameter(input, "scope") or "all"
	local from, to = resources.parameter(input, "from"), resources.parameter(input, "to")
	if not measure or not from or not to then
		ctx:refuse("say which measure and which periods: measure, from, to", "Parameters.parameter")
	end
	local kind = string.find(from, "W", 1, true) and "week" or "month"
	local first, last = series.bounds(ctx, from), series.bounds(ctx, to)
	if not first or not last or first > last then
		ctx:refuse("from and to are periods such as 2025-11, the earlier one first", "Parameters.parameter")
	end
	local values, texts, version, numerator, denominator = {}, {}, nil, 0, 0
	for _, point in ipairs(series.points(ctx, measure, scope, kind)) do
		if point.first >= first and point.first <= last and point.value then
			if version and version ~= point.version then
				ctx:refuse("the definition changed within these periods (version " .. version .. " and " .. point.version
					.. "): freeze a baseline for each", "Parameters.parameter")
			end
			version = point.version
			values[#values + 1] = point.value
			numerator, denominator = numerator + (point.numerator or 0), denominator + (point.denominator or 0)
			texts[#texts + 1] = string.format("%s %g%s", point.period, point.value,
				point.denominator and string.format(" (%g/%g)", point.numerator or 0, point.denominator) or "")
		end
	end
	if #values == 0 then
		ctx:refuse("there is no point of " .. measure .. " from " .. from .. " to " .. to .. ": load the months before first "
			.. "($load-points)", "Parameters.parameter")
	end
	local reference = ctx:create(proof.make(ctx, "baseline", {
		measure = measure, version = version, scope = scope, from = from, to = to, points = #values,
		median = runchart.median(values), numerator = numerator, denominator = denominator, as_of = ctx:now(),
		frozen_by = ctx.actor.name, values = table.concat(texts, "; "),
	}))
	return plain(ctx:read(reference))
end

-- What the baseline's periods say now: late data moves this shadow, not the baseline.
function proof.shadow(ctx, baseline)
	local first, last = series.bounds(ctx, baseline.from), series.bounds(ctx, baseline.to)
	local values = {}
	for _, point in ipairs(series.points(ctx, baseline.measure, baseline.scope,
		string.find(baseline.from, "W", 1, true) and "week" or "month")) do
		if point.first >= first and point.first <= last and point.value and point.version == baseline.version then
			values[#values + 1] = point.value
		end
	end
	return runchart.median(values)
end

-- ---- run chart ----

-- The latest series (one version of the definition): points, median frozen at the baseline, signals after it.
function proof.chart(ctx, measure, scope, kind)
	local points = series.points(ctx, measure, scope, kind)
	local version = #points > 0 and points[#points].version or nil
	local baseline = version and proof.baseline(ctx, measure, scope, version)
	local after = baseline and series.bounds(ctx, baseline.to)
	local shown, values, former = {}, {}, 0
	for _, point in ipairs(points) do
		if point.version ~= version then
			former = former + 1
		elseif point.value then
			shown[#shown + 1] = point
			if not after or point.first > after then
				values[#values + 1] = point.value
			end
		end
	end
	local read = runchart.read(values, baseline and baseline.median)
	read.shown, read.baseline, read.version, read.former = shown, baseline, version, former
	read.offset = #shown - #values -- signals count from the first point after the baseline
	return read
end

-- `operation "$run-chart"`: measure, scope, kind (month or week).
function proof.run_chart(ctx, input)
	local measure = resources.parameter(input, "measure")
	if not measure then
		ctx:refuse("say which measure: the parameter measure", "Parameters.parameter")
	end
	local read = proof.chart(ctx, measure, resources.parameter(input, "scope"), resources.parameter(input, "kind"))
	local answer = { resourceType = "Parameters", parameter = { { name = "state", valueString = read.state } } }
	local function add(name, field, value)
		if value ~= nil then
			answer.parameter[#answer.parameter + 1] = { name = name, [field] = value }
		end
	end
	add("median", "valueDecimal", read.median)
	add("median-of", "valueString", read.baseline and "baseline " .. read.baseline.from .. " to " .. read.baseline.to
		or "the points themselves: no baseline is frozen")
	if read.baseline then
		local shadow = proof.shadow(ctx, read.baseline)
		if shadow ~= read.baseline.median then
			add("median-of-the-baseline's-months-today", "valueDecimal", shadow)
		end
	end
	add("definition", "valueString", read.version)
	if read.former > 0 then
		add("note", "valueString", read.former .. " points of a former definition are another series")
	end
	for _, point in ipairs(read.shown) do
		answer.parameter[#answer.parameter + 1] = { name = "point", part = {
			{ name = "period", valueString = point.period }, { name = "value", valueDecimal = point.value },
			{ name = "n", valueString = point.denominator and string.format("%g/%g", point.numerator or 0, point.denominator)
				or "not stated" },
			{ name = "source", valueString = point.source or "not stated" },
			point.restated and { name = "restated", valueBoolean = true } or nil,
		} }
	end
	for _, signal in ipairs(read.signals) do
		add("signal", "valueString", string.format("%s%s from %s to %s", signal.kind, signal.side and " " .. signal.side
			or "",
			read.shown[signal.from + read.offset].period, read.shown[signal.to + read.offset].period))
	end
	return answer
end

-- ---- pilots ----

local function mean(points, from, to)
	local total, weight, count = 0, 0, 0
	for _, point in ipairs(points) do
		if point.value and point.first >= from and point.first <= to then
			local n = point.denominator or 1
			total, weight, count = total + point.value * n, weight + n, count + 1
		end
	end
	return { value = weight > 0 and total / weight or nil, n = weight }, count
end

-- `operation "$difference"`: measure, pilot (scope), comparison (scope), start (the pilot's first period).
function proof.difference(ctx, input)
	local measure, start = resources.parameter(input, "measure"), resources.parameter(input, "start")
	local pilot, comparison = resources.parameter(input, "pilot"), resources.parameter(input, "comparison")
	local first = start and series.bounds(ctx, start)
	if not measure or not pilot or not first then
		ctx:refuse("say measure, pilot (scope), comparison (scope) and start (a period such as 2026-05)",
			"Parameters.parameter")
	end
	local pilot_points = series.points(ctx, measure, pilot)
	local comparison_points = comparison and series.points(ctx, measure, comparison) or {}
	local day_before = string.sub(ctx:add(first, "-1 day"), 1, 10)
	local before = mean(pilot_points, "0000", day_before)
	local after, count = mean(pilot_points, first, "9999")
	local other_before, other_after = mean(comparison_points, "0000", day_before), mean(comparison_points, first, "9999")
	local effect, why = runchart.difference(before, after, other_before, other_after, count)
	local answer = { resourceType = "Parameters", parameter = {} }
	for _, pair in ipairs {
		{ "pilot-before", before }, { "pilot-after", after }, { "comparison-before", other_before },
		{ "comparison-after", other_after },
	} do
		if pair[2].value then
			answer.parameter[#answer.parameter + 1] = { name = pair[1], part = {
				{ name = "value", valueDecimal = pair[2].value }, { name = "n", valueDecimal = pair[2].n },
			} }
		end
	end
	if effect then
		answer.parameter[#answer.parameter + 1] = { name = "effect", valueDecimal = effect }
	else
		answer.parameter[#answer.parameter + 1] = { name = "no-effect-declared", valueString = why }
	end
	return answer
end

return proof
