-- Run charts and comparisons, as numbers only. Rules of the run chart: Perla, Provost, Murray, "The run chart: a simple
-- analytical tool for learning from variation in healthcare processes", BMJ Quality & Safety 2011;20:46-51.
local runchart = {}

-- At least so many points before anything is said; fewer give "insufficient data".
runchart.enough = 10

function runchart.median(values)
	local sorted = {}
	for _, value in ipairs(values) do
		sorted[#sorted + 1] = value
	end
	if #sorted == 0 then
		return nil
	end
	table.sort(sorted)
	local middle = #sorted // 2
	if #sorted % 2 == 1 then
		return sorted[middle + 1]
	end
	return (sorted[middle] + sorted[middle + 1]) / 2
end

-- Fewest and most runs that chance gives (5 %), by the number of points off the median: Swed and Eisenhart 1943, as
-- printed by Perla et al. for 10 to 30 points; beyond, the normal approximation of the same test.
local few_and_many = {
	[10] = { 3, 9 }, [11] = { 3, 10 }, [12] = { 3, 11 }, [13] = { 4, 11 }, [14] = { 4, 12 }, [15] = { 5, 12 },
	[16] = { 5, 13 }, [17] = { 5, 13 }, [18] = { 6, 14 }, [19] = { 6, 15 }, [20] = { 6, 16 }, [21] = { 7, 16 },
	[22] = { 7, 17 }, [23] = { 7, 17 }, [24] = { 8, 18 }, [25] = { 8, 18 }, [26] = { 9, 19 }, [27] = { 10, 19 },
	[28] = { 10, 20 }, [29] = { 10, 20 }, [30] = { 11, 21 },
}

local function run_limits(count)
	if few_and_many[count] then
		return few_and_many[count][1], few_and_many[count][2]
	end
	local half = count / 2
	local mean = half + 1
	local deviation = math.sqrt(half * (half - 1) / (count - 1))
	return math.ceil(mean - 1.96 * deviation), math.floor(mean + 1.96 * deviation)
end

-- What the points say against a median that was frozen before them (or, without one, their own). Returns { state =
-- "insufficient data" | "no signal" | "signal", median, points, signals = { { kind, from, to, side } } }.   shift: six
-- or more points in a row on one side; points on the median are skipped, they neither add nor break.   trend: five or
-- more in a row all rising or all falling; equal neighbours are ignored.   runs: too few or too many runs about the
-- median.
function runchart.read(values, frozen)
	local median = frozen or runchart.median(values)
	local result = { median = median, points = #values, signals = {} }
	if #values < runchart.enough then
		result.state = "insufficient data"
		return result
	end
	local function tell(kind, from, to, side)
		result.signals[#result.signals + 1] = { kind = kind, from = from, to = to, side = side }
	end

	local side, from, last, length, runs, useful = nil, nil, nil, 0, 0, 0
	local function end_of_run()
		if length >= 6 then
			tell("shift", from, last, side)
		end
	end
	for number, value in ipairs(values) do
		if value ~= median then
			useful = useful + 1
			local now = value > median and "above" or "below"
			if now == side then
				length = length + 1
			else
				end_of_run()
				side, from, length = now, number, 1
				runs = runs + 1
			end
			last = number
		end
	end
	end_of_run()

	local direction, begin, steps, previous = nil, 1, 1, values[1]
	local function end_of_trend(at)
		if steps >= 5 then
			tell("trend", begin, at, direction)
		end
	end
	local at = 1
	for number = 2, #values do
		local value = values[number]
		if value ~= previous then
			local now = value > previous and "rising" or "falling"
			if now == direction then
				steps = steps + 1
			else
				end_of_trend(at)
				direction, begin, steps = now, at, 2
			end
			previous = value
			at = number
		end
	end
	end_of_trend(at)

	if useful >= 10 then
		local fewest, most = run_limits(useful)
		if runs < fewest then
			tell("too few runs", 1, #values)
		elseif runs > most then
			tell("too many runs", 1, #values)
		end
	end
	result.state = #result.signals > 0 and "signal" or "no signal"
	return result
end

-- Difference in differences of two proportions or means: (after - before) of the pilot less that of the comparison.
-- Each is { value =, n = }. Without a comparison, or with fewer than six points after the start, no effect is
-- declared: nil and why.
function runchart.difference(pilot_before, pilot_after, comparison_before, comparison_after, points_after)
	for _, one in ipairs { pilot_before, pilot_after } do
		if not one.value then
			return nil, "the pilot has no value before or after its start"
		end
	end
	if not (comparison_before and comparison_before.value and comparison_after and comparison_after.value) then
		return nil, "without a comparison group no effect is declared"
	end
	if (points_after or 0) < 6 then
		return nil, "fewer than six points after the start: no effect is declared"
	end
	return (pilot_after.value - pilot_before.value) - (comparison_after.value - comparison_before.value)
end

return runchart
