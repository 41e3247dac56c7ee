-- Run charts, difference in differences (domain 4).
local runchart = require "lib/runchart"

local function kinds(values, median)
	local found = {}
	for _, signal in ipairs(runchart.read(values, median).signals) do
		found[#found + 1] = signal.kind .. " " .. signal.from .. "-" .. signal.to
			.. (signal.side and " " .. signal.side or "")
	end
	return table.concat(found, "; ")
end

test("domain 4: nine points say nothing, ten do", function (t)
	t:equal(runchart.read({ 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 0).state, "insufficient data")
	t:equal(runchart.read({ 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, 0).state, "signal")
end)

test("domain 4: a shift is six on one side, points on the median are skipped", function (t)
	t:equal(kinds({ 4, 6, 4, 6, 6, 6, 6, 6, 4, 6, 4, 6 }, 5), "", "five in a row are none")
	t:equal(kinds({ 4, 6, 4, 6, 6, 6, 5, 6, 6, 6, 4, 6 }, 5), "shift 4-10 above", "the fifth lies on the median")
	t:equal(kinds({ 4, 6, 4, 6, 6, 6, 5, 6, 6, 4, 4, 6 }, 5), "", "five and one on the median")
	t:equal(kinds({ 6, 4, 4, 4, 4, 4, 4, 6, 6, 4, 6, 4 }, 5), "shift 2-7 below")
end)

test("domain 4: a trend is five points all rising or falling, equal neighbours ignored", function (t)
	t:equal(kinds({ 5, 1, 2, 3, 4, 1, 6, 2, 7, 3 }, 3.5), "", "four points rise")
	t:equal(kinds({ 5, 1, 2, 3, 4, 6, 1, 6, 2, 7, 3 }, 3.5), "trend 2-6 rising")
	t:equal(kinds({ 5, 1, 2, 2, 3, 4, 6, 1, 6, 2, 7, 3 }, 3.5), "trend 2-7 rising", "a tie neither adds nor breaks")
	t:equal(kinds({ 1, 9, 7, 5, 4, 2, 6, 1, 6, 2, 7 }, 5), "trend 2-6 falling")
end)

test("domain 4: too few and too many runs about the median", function (t)
	t:equal(kinds({ 1, 1, 1, 1, 1, 9, 9, 9, 9, 9 }, 5), "too few runs 1-10", "two runs of ten points")
	t:equal(kinds({ 1, 9, 1, 9, 1, 9, 1, 9, 1, 9 }, 5), "too many runs 1-10", "ten runs of ten points")
	t:equal(kinds({ 1, 9, 1, 9, 1, 9, 1, 9, 9, 9 }, 5), "", "nine are the most that chance gives: eight are no signal")
end)

test("a frozen median is the baseline's, whatever comes later", function (t)
	local later = { 60, 61, 62, 60, 63, 61, 62, 60, 61, 62 }
	t:equal(runchart.read(later).state, "no signal")
	t:equal(runchart.read(later, 40).median, 40)
	t:ok(string.find(kinds(later, 40), "shift 1-10 above", 1, true))
	t:equal(runchart.median { 3, 1, 2 }, 2)
	t:equal(runchart.median { 4, 1, 2, 3 }, 2.5)
	t:equal(runchart.median {}, nil)
end)

test("domain 4: no effect without a comparison or with fewer than six points", function (t)
	local function value(number)
		return { value = number, n = 100 }
	end
	t:near(runchart.difference(value(30), value(50), value(32), value(37), 6), 15, 1e-9)
	local effect, why = runchart.difference(value(30), value(50), nil, nil, 12)
	t:equal(effect, nil)
	t:ok(string.find(why, "comparison", 1, true))
	effect, why = runchart.difference(value(30), value(50), value(32), value(37), 5)
	t:equal(effect, nil)
	t:ok(string.find(why, "six", 1, true))
end)
