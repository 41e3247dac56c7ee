-- Points of a measure over time. A point is a MeasureReport (summary): what Careloop computed, and what was there
-- before it, from a file, another FHIR system or somebody's count, each with its source. A changed definition starts a
-- new series.
local resources = require "lib/resources"

local series = {}

series.measure_url = "urn:careloop:measure:" -- canonical: this, the name, "|" and the version of the definition
-- Identifier of a point: this and the measure's name as system, "version|scope|period" as value: one point each.
series.point_system = "urn:careloop:improvement:point:"
series.source_url = "urn:careloop:improvement:source"
series.scope_url = "urn:careloop:improvement:scope"
series.restated_url = "urn:careloop:improvement:restated"
local population_system = "http://terminology.hl7.org/CodeSystem/measure-population"

-- First and last day of "2025-11" or "2025-W48"; nil when it is neither.
function series.bounds(ctx, period)
	local year, month = string.match(period or "", "^(%d%d%d%d)%-(%d%d)$")
	if year and tonumber(month) >= 1 and tonumber(month) <= 12 then
		local bounds = ctx:month(period .. "-01")
		return bounds.first, bounds.last
	end
	local week_year, week = string.match(period or "", "^(%d%d%d%d)%-W(%d%d)$")
	if not week_year then
		return nil
	end
	-- Week 1 is the one with January 4 (ISO 8601).
	local first = ctx:week(week_year .. "-01-04")
	local start = string.sub(ctx:add(first.first, 7 * (tonumber(week) - 1) .. " days"), 1, 10)
	local bounds = ctx:week(start)
	if bounds.name ~= period then
		return nil
	end
	return bounds.first, bounds.last
end

local function population(code, count)
	return { code = { coding = { { system = population_system, code = code } } }, count = count }
end

local function whole(number)
	return math.tointeger(number) or number
end

-- Puts one point. `point` = { measure, version, period, scope, numerator, denominator, value, source }. Gives its
-- reference and what happened: "new", "same" or "restated". `place` says where it came from, for refusals.
function series.put(ctx, point, place)
	local function refuse(words)
		ctx:refuse(words .. (place and " (" .. place .. ")" or ""), "MeasureReport")
	end
	if not string.match(point.measure or "", "^[%w_%.%-]+$") then
		refuse("a point needs the name of a measure")
	end
	local first, last = series.bounds(ctx, point.period)
	if not first then
		refuse("'" .. tostring(point.period) .. "' is no period: write 2025-11 or 2025-W48")
	end
	if first > ctx:today() then
		refuse(point.period .. " lies in the future")
	end
	local numerator, denominator, value = point.numerator, point.denominator, point.value
	if numerator and (not denominator or numerator < 0 or denominator < 0) then
		refuse("counts cannot be negative, and a numerator needs its denominator")
	end
	if not value and numerator and numerator > denominator then
		refuse("more in the numerator than in the denominator")
	end
	if not value and numerator and denominator > 0 then
		value = 100 * numerator / denominator
	end
	if not value and denominator ~= 0 then
		refuse("a point needs numerator and denominator, or a value")
	end
	if not point.source or point.source == "" then
		refuse("say where the numbers come from: source")
	end
	local scope = point.scope or "all"
	local system = series.point_system .. point.measure
	local key = (point.version or "1") .. "|" .. scope .. "|" .. point.period
	local report = {
		resourceType = "MeasureReport", status = "complete", type = "summary",
		measure = series.measure_url .. point.measure .. "|" .. (point.version or "1"),
		identifier = { { system = system, value = key } }, date = ctx:now(),
		period = { start = first, ["end"] = last },
		extension = {
			{ url = series.source_url, valueString = point.source }, { url = series.scope_url, valueString = scope },
		},
		group = { {
			population = numerator and {
				population("numerator", whole(numerator)), population("denominator", whole(denominator)),
			} or denominator and { population("denominator", whole(denominator)) } or nil,
			measureScore = value and { value = value } or nil,
		} },
	}
	if not report.group[1].population and not report.group[1].measureScore then
		report.group = nil
	end
	local known = ctx:search("MeasureReport", { identifier = system .. "|" .. key, _count = 2 })[1]
	if not known then
		return ctx:create(report), "new"
	end
	local before = series.of(known)
	if before.value == value and before.numerator == numerator and before.denominator == denominator then
		return "MeasureReport/" .. known.id, "same"
	end
	-- The former numbers stay in the resource's history, and what they were stands on the point itself.
	report.id = known.id
	report.meta = plain(known.meta)
	report.extension[#report.extension + 1] = {
		url = series.restated_url,
		valueString = string.format("%s: was %s%s", ctx:today(), before.value and string.format("%g", before.value)
			or "nothing",
			before.denominator and string.format(" (%g of %g)", before.numerator or 0, before.denominator) or ""),
	}
	return ctx:update(report), "restated"
end

-- A point's facts from its resource.
function series.of(report)
	local group = report.group and report.group[1]
	local point = {
		reference = "MeasureReport/" .. report.id, first = report.period and report.period.start,
		value = group and group.measureScore and tonumber(group.measureScore.value),
		version = string.match(report.measure or "", "|(.*)$") or "1",
	}
	for _, one in ipairs(group and group.population or {}) do
		local code = resources.code(one.code)
		if code == "numerator" or code == "denominator" then
			point[code] = tonumber(one.count)
		end
	end
	for _, identifier in ipairs(report.identifier or {}) do
		if string.sub(identifier.system or "", 1, #series.point_system) == series.point_system then
			point.period = string.match(identifier.value, "|([^|]*)$")
		end
	end
	local source, scope = resources.extension(report, series.source_url), resources.extension(report, series.scope_url)
	point.source, point.scope = source and source.valueString, scope and scope.valueString or "all"
	point.restated = resources.extension(report, series.restated_url) ~= nil
	return point
end

-- All points of a measure in one scope, oldest first; weeks or months, as `kind` says ("month" by default).
function series.points(ctx, measure, scope, kind)
	local points = {}
	for report in ctx:each("MeasureReport", { identifier = series.point_system .. measure .. "|" }) do
		if report.status == "complete" then
			local point = series.of(report)
			local is_week = string.find(point.period or "", "W", 1, true) ~= nil
			if point.scope == (scope or "all") and is_week == (kind == "week") then
				points[#points + 1] = point
			end
		end
	end
	table.sort(points, function (a, b)
		return a.first < b.first
	end)
	return points
end

-- ---- loading what was before ----

local function split(line)
	local fields, field, quoted = {}, "", false
	local at = 1
	while at <= #line do
		local letter = string.sub(line, at, at)
		if quoted and letter == '"' and string.sub(line, at + 1, at + 1) == '"' then
			field = field .. '"'
			at = at + 1
		elseif letter == '"' then
			quoted = not quoted
		elseif letter == "," and not quoted then
			fields[#fields + 1] = field
			field = ""
		else
			field = field .. letter
		end
		at = at + 1
	end
	fields[#fields + 1] = field
	return fields, quoted
end

local columns = { measure = true, version = true, period = true, scope = true, numerator = true, denominator = true,
	value = true }

local function number_of(ctx, text, place)
	if text == nil or text == "" then
		return nil
	end
	local number = tonumber(text)
	if not number then
		ctx:refuse("'" .. text .. "' is no number (" .. place .. ")", "Parameters.parameter")
	end
	return number
end

-- CSV (RFC 4180) with the header measure,period,numerator,denominator[,value][,scope][,version]. All lines or none.
local function load_csv(ctx, text, source, count)
	local header
	local number = 0
	for line in string.gmatch(text .. "\n", "([^\n]*)\r?\n") do
		number = number + 1
		local place = "line " .. number
		line = string.gsub(line, "\r$", "")
		if line ~= "" then
			local fields, open = split(line)
			if open then
				ctx:refuse("a quotation mark is not closed (" .. place .. ")", "Parameters.parameter")
			end
			if not header then
				header = fields
				for _, name in ipairs(header) do
					if not columns[name] then
						ctx:refuse("the column '" .. name
							.. "' is unknown; known: measure, version, period, scope, numerator, denominator, "
							.. "value (" .. place .. ")", "Parameters.parameter")
					end
				end
			else
				if #fields ~= #header then
					ctx:refuse(#fields .. " fields where the header has " .. #header .. " (" .. place .. ")", "Parameters.parameter")
				end
				local row = {}
				for position, name in ipairs(header) do
					row[name] = fields[position] ~= "" and fields[position] or nil
				end
				for _, name in ipairs { "numerator", "denominator", "value" } do
					row[name] = number_of(ctx, row[name], place)
				end
				row.source = source
				local _, what = series.put(ctx, row, place)
				count[what] = count[what] + 1
			end
		end
	end
end

-- `operation "$load-points"`: the months before Careloop. Parameters: source (words, required) and either csv
-- (valueString) or one typed point (measure, period, numerator, denominator, value, scope).
function series.load(ctx, input)
	local source = resources.parameter(input, "source")
	if not source or source == "" then
		ctx:refuse("say where the numbers come from: the parameter source", "Parameters.parameter")
	end
	local count = { new = 0, same = 0, restated = 0 }
	local csv = resources.parameter(input, "csv")
	if csv then
		load_csv(ctx, csv, source, count)
	else
		local point = { source = source }
		for _, name in ipairs { "measure", "version", "period", "scope" } do
			point[name] = resources.parameter(input, name)
		end
		for _, name in ipairs { "numerator", "denominator", "value" } do
			point[name] = tonumber(resources.parameter(input, name))
		end
		local _, what = series.put(ctx, point)
		count[what] = count[what] + 1
	end
	return { resourceType = "Parameters", parameter = {
		{ name = "new", valueInteger = count.new }, { name = "same", valueInteger = count.same },
		{ name = "restated", valueInteger = count.restated },
	} }
end

-- `operation "$record-points"`: MeasureReports as $evaluate-measure gives them (one, or a Bundle of them) become
-- points. Also the way in for another FHIR system's reports: their period must be a month or a week.
function series.record(ctx, input)
	local reports = {}
	if input and input.resourceType == "MeasureReport" then
		reports[1] = input
	elseif input and input.resourceType == "Bundle" then
		for _, entry in ipairs(input.entry or {}) do
			reports[#reports + 1] = entry.resource
		end
	end
	if #reports == 0 then
		ctx:refuse("$record-points takes a MeasureReport or a Bundle of them", "MeasureReport")
	end
	local count = { new = 0, same = 0, restated = 0 }
	for number, report in ipairs(reports) do
		local place = #reports > 1 and "Bundle.entry[" .. (number - 1) .. "]" or nil
		if report.resourceType ~= "MeasureReport" then
			ctx:refuse(report.resourceType .. " is no MeasureReport", place)
		end
		local name, version = string.match(report.measure or "", "([%w_%.%-]+)|?([^|/]*)$")
		local start = report.period and string.sub(report.period.start or "", 1, 10)
		local finish = report.period and string.sub(report.period["end"] or "", 1, 10)
		local month, week = ctx:month(start), ctx:week(start)
		local period
		for _, bounds in ipairs { month, week } do
			if bounds.first == start and bounds.last == finish then
				period = bounds.name
			end
		end
		if not name or not period then
			ctx:refuse("the report needs a measure, and a whole month or week as its period", place or "MeasureReport.period")
		end
		local point = { measure = name, version = version ~= "" and version or "1", period = period }
		local group = report.group and report.group[1]
		for _, one in ipairs(group and group.population or {}) do
			local code = resources.code(one.code)
			if code == "numerator" or code == "denominator" then
				point[code] = tonumber(one.count)
			end
		end
		point.value = group and group.measureScore and tonumber(group.measureScore.value)
		point.source = "report of " .. (report.reporter and (report.reporter.display or report.reporter.reference)
			or "this server")
		if point.value or point.denominator then
			local _, what = series.put(ctx, point, place)
			count[what] = count[what] + 1
		end
	end
	return { resourceType = "Parameters", parameter = {
		{ name = "new", valueInteger = count.new }, { name = "same", valueInteger = count.same },
		{ name = "restated", valueInteger = count.restated },
	} }
end

return series
