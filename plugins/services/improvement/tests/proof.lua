-- From baseline to proof (domain 4).

local function clinic(t, more)
	t:at("2026-11-02T09:00:00-06:00")
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", reference = "Organization/clinic", model = "integrated",
		services = { "improvement" }, settings = { improvement = more or {} },
		principals = {
			ehr = { kind = "client", roles = { "ehr" } },
			boss = { kind = "person", roles = { "manager" }, reference = "Practitioner/boss" },
			nurse = { kind = "person", roles = { "nurse" }, reference = "Practitioner/nurse" },
		},
	}
	t:as("ehr")
	t:request("PUT", "/fhir/Organization/clinic", { resourceType = "Organization", id = "clinic", name = "Clinic" })
	t:as("boss")
end

local function parameters(values)
	local input = { resourceType = "Parameters", parameter = {} }
	local names = {}
	for name in pairs(values) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local value = values[name]
		local parameter = { name = name }
		if type(value) == "number" then
			parameter[math.tointeger(value) and "valueInteger" or "valueDecimal"] = value
		else
			parameter.valueString = value
		end
		input.parameter[#input.parameter + 1] = parameter
	end
	return input
end

local function answers(resource)
	local found = {}
	for _, parameter in ipairs(resource.parameter) do
		for key, value in pairs(parameter) do
			if key ~= "name" then
				found[parameter.name] = found[parameter.name] or value
			end
		end
	end
	return found
end

local function load(t, csv)
	return answers(t:operation("$load-points", parameters { source = "chart review of 2026", csv = csv }))
end

local before = "measure,period,numerator,denominator\n"
	.. "loop_closed,2026-01,10,30\nloop_closed,2026-02,12,30\nloop_closed,2026-03,9,30\n"

test("the months before come from a file, all lines or none, with line numbers in what is refused", function (t)
	clinic(t)
	t:equal(load(t, before).new, 3)
	local again = load(t, before)
	t:equal(again.new, 0)
	t:equal(again.same, 3, "the same numbers twice are the same points")
	t:equal(load(t, "measure,period,numerator,denominator\nloop_closed,2026-02,13,30\n").restated, 1)
	for text, words in pairs {
		["measure,period,numerator,denominator\nx,2026-04,1,30\nx,2026-13,1,30\n"] = "line 3",
		["measure,period,numerator,denominator\nx,2026-04,31,30\n"] = "more in the numerator",
		["measure,period,numerator,denominator\nx,2026-04,-1,30\n"] = "negative",
		["measure,period,numerator,denominator\nx,2027-04,1,30\n"] = "future",
		["measure,period,numerator,denominator\nx,2026-04,one,30\n"] = "no number",
		["measure,month\nx,2026-04\n"] = "column 'month'",
		["measure,period,value\nx,2026-04\n"] = "2 fields",
		["measure,period,value\n\"x,2026-04,1\n"] = "quotation mark",
	} do
		t:refused(function ()
			load(t, text)
		end, words)
	end
	t:equal(#t:search("MeasureReport", { _count = 100 }), 3, "what was refused left nothing")
	t:refused(function ()
		t:operation("$load-points", parameters { measure = "x", period = "2026-04", value = 5 })
	end, "where the numbers come from")
	t:equal(answers(t:operation("$load-points", parameters {
		source = "phone survey", measure = "wait", period = "2026-W40", value = 21.5,
	})).new, 1)
end)

test("a baseline is frozen: late data moves its shadow, nobody moves the baseline", function (t)
	clinic(t)
	load(t, before)
	t:refused(function ()
		t:operation("$freeze-baseline", parameters { measure = "loop_closed", from = "2025-01", to = "2025-06" })
	end, "there is no point")
	local baseline = t:operation("$freeze-baseline", parameters { measure = "loop_closed", from = "2026-01",
		to = "2026-03" })
	load(t, "measure,period,numerator,denominator\nloop_closed,2026-01,15,30\n")
	local chart = answers(t:operation("$run-chart", parameters { measure = "loop_closed" }))
	t:near(chart.median, 100 * 10 / 30, 1e-9)
	t:near(chart["median-of-the-baseline's-months-today"], 40, 1e-9)
	local changed = t:data("Basic/" .. baseline.id)
	changed.created = "2026-01-01"
	t:as("ehr")
	t:refused(function ()
		t:update(changed)
	end, "frozen-baseline")
	t:refused(function ()
		t:delete("Basic/" .. baseline.id)
	end, "frozen-baseline")
end)

test("the run chart waits for ten points, then tells a shift above the frozen median", function (t)
	clinic(t)
	load(t, before)
	t:operation("$freeze-baseline", parameters { measure = "loop_closed", from = "2026-01", to = "2026-03" })
	local lines = "measure,period,numerator,denominator\n"
	for month = 4, 10 do
		lines = lines .. string.format("loop_closed,2026-%02d,20,30\n", month)
	end
	load(t, lines)
	t:equal(answers(t:operation("$run-chart", parameters { measure = "loop_closed" })).state, "insufficient data",
		"seven points after the baseline")
	t:at("2027-02-02T09:00:00-06:00")
	load(t, "measure,period,numerator,denominator\nloop_closed,2026-11,21,30\nloop_closed,2026-12,20,30\n"
		.. "loop_closed,2027-01,22,30\n")
	local chart = t:operation("$run-chart", parameters { measure = "loop_closed" })
	local found = answers(chart)
	t:equal(found.state, "signal")
	t:equal(found.signal, "shift above from 2026-04 to 2027-01")
	local points, last = 0, nil
	for _, parameter in ipairs(chart.parameter) do
		if parameter.name == "point" then
			points = points + 1
			last = parameter.part
		end
	end
	t:equal(points, 13)
	t:equal(last[3].valueString, "22/30", "n/N is always shown inside the team")
end)

test("a changed definition starts a new series", function (t)
	clinic(t)
	load(t, before)
	load(t, "measure,version,period,numerator,denominator\nloop_closed,2,2026-04,20,30\nloop_closed,2,2026-05,20,30\n")
	local chart = answers(t:operation("$run-chart", parameters { measure = "loop_closed" }))
	t:equal(chart.definition, "2")
	t:ok(string.find(chart.note, "3 points of a former definition", 1, true))
	t:refused(function ()
		t:operation("$freeze-baseline", parameters { measure = "loop_closed", from = "2026-01", to = "2026-05" })
	end, "the definition changed")
end)

test("reports of a server become points; a period that is no month is refused", function (t)
	clinic(t)
	local function report(first, last, score)
		return {
			resourceType = "MeasureReport", status = "complete", type = "summary", measure = "urn:x:Measure/cms122|13",
			period = { start = first, ["end"] = last }, group = { {
				population = {
					{ code = { coding = { { code = "numerator" } } }, count = 7 },
					{ code = { coding = { { code = "denominator" } } }, count = 70 },
				},
				measureScore = { value = score },
			} },
		}
	end
	t:equal(answers(t:operation("$record-points", report("2026-10-01", "2026-10-31", 10))).new, 1)
	t:equal(answers(t:operation("$record-points", report("2026-10-01", "2026-10-31", 10))).same, 1)
	t:refused(function ()
		t:operation("$record-points", report("2026-10-01", "2026-10-30", 10))
	end, "whole month or week")
	local chart = answers(t:operation("$run-chart", parameters { measure = "cms122" }))
	t:equal(chart.definition, "13")
end)

test("an objective needs a baseline, an owner and a better target; met three months in a row it is achieved",
	function (t)
	clinic(t)
	load(t, before)
	local wish = { measure = "loop_closed", target = 60, due = "2027-06-30", owner = "Practitioner/boss" }
	t:refused(function ()
		t:operation("$set-objective", parameters(wish))
	end, "no baseline")
	t:operation("$freeze-baseline", parameters { measure = "loop_closed", from = "2026-01", to = "2026-03" })
	wish.target = 30
	t:refused(function ()
		t:operation("$set-objective", parameters(wish))
	end, "not better")
	wish.target = 60
	local task = answers(t:operation("$set-objective", parameters(wish))).task.reference
	load(t, "measure,period,numerator,denominator\nloop_closed,2026-08,18,30\nloop_closed,2026-09,17,30\n"
		.. "loop_closed,2026-10,18,30\n")
	local row = t:view("objectives")[1]
	t:equal(row.last, 60)
	t:equal(row.n, "18/30")
	t:equal(row.months_met, 1, "September was below")
	t:equal(row.progress, 100)
	t:at("2027-01-05T09:00:00-06:00")
	load(t, "measure,period,numerator,denominator\nloop_closed,2026-11,19,30\nloop_closed,2026-12,18,30\n")
	t:advance("7 days")
	t:equal(t:state(task), "achieved")
	t:equal(t:view("objectives")[1].state, "achieved")
end)

test("difference in differences needs a comparison and six points; with them it says the effect", function (t)
	clinic(t)
	local lines = "measure,scope,period,numerator,denominator\n"
	for month = 1, 9 do
		lines = lines .. string.format("kept,north,2026-%02d,%d,100\n", month, month < 4 and 40 or 60)
			.. string.format("kept,south,2026-%02d,%d,100\n", month, month < 4 and 42 or 47)
	end
	load(t, lines)
	local wish = { measure = "kept", pilot = "north", start = "2026-04" }
	t:ok(string.find(answers(t:operation("$difference", parameters(wish)))["no-effect-declared"], "comparison", 1, true))
	wish.comparison = "south"
	local found = answers(t:operation("$difference", parameters(wish)))
	t:near(found.effect, 15, 1e-9)
	wish.start = "2026-05"
	t:ok(string.find(answers(t:operation("$difference", parameters(wish)))["no-effect-declared"], "six", 1, true))
end)
