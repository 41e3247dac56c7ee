-- The rules of the flags alone, at every threshold, without a server.
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/models/integrated/"
package.path = here .. "../../?.lua;" .. package.path
local registry = require "models/integrated/registry"
local dates = require "lib/dates"

local limits = {
	new_days = 14, stale_days = 28, disengaged_days = 60, first_score_days = 7, score_days = 28, early_days = 28,
	response_days = 56,
}

local start = "2026-01-05"

-- Scores as { day, value }; contact as day. What is flagged on `day`?
local function judge(day, values, contact, safety)
	local facts = { start = start, contact = contact and dates.add_days(start, contact), count = #values, safety = safety }
	local function entry(pair)
		return pair and { date = dates.add_days(start, pair[1]), value = pair[2] }
	end
	facts.index, facts.last = entry(values[1]), entry(values[#values])
	facts.previous = #values > 1 and entry(values[#values - 1]) or nil
	local found = {}
	for _, code in ipairs(registry.flags) do
		if registry.judge(facts, dates.add_days(start, day), limits)[code] then
			found[#found + 1] = code
		end
	end
	return table.concat(found, " ")
end

test("new for fourteen days; the first PHQ-9 within seven", function (t)
	t:equal(judge(0, {}, 0), "new")
	t:equal(judge(6, {}, 6), "new")
	t:equal(judge(7, {}, 7), "score-due new")
	t:equal(judge(14, { { 0, 12 } }, 14), "new")
	t:equal(judge(15, { { 0, 12 } }, 14), "")
end)

test("no contact: yellow at 28 days, outreach at 60", function (t)
	t:equal(judge(27, { { 20, 12 } }, 0), "")
	t:equal(judge(28, { { 20, 12 } }, 0), "stale")
	t:equal(judge(59, { { 50, 4 } }, 0), "stale")
	t:equal(judge(60, { { 50, 4 } }, 0), "disengaged")
end)

test("the PHQ-9 is repeated every 28 days", function (t)
	t:equal(judge(27, { { 0, 12 } }, 20), "")
	t:equal(judge(28, { { 0, 12 } }, 20), "score-due")
end)

test("worse by five, at once: against the one before and against the first", function (t)
	t:equal(judge(16, { { 0, 12 }, { 15, 16 } }, 15), "")
	t:equal(judge(16, { { 0, 12 }, { 15, 17 } }, 15), "worsening")
	t:equal(judge(20, { { 0, 12 }, { 10, 6 }, { 18, 11 } }, 15), "worsening")
end)

test("week four: fewer than five points or less than a quarter better", function (t)
	t:equal(judge(27, { { 0, 16 }, { 25, 15 } }, 25), "", "not before day 28")
	t:equal(judge(28, { { 0, 16 }, { 25, 12 } }, 25), "not-improving-early", "4 points")
	t:equal(judge(28, { { 0, 16 }, { 25, 11 } }, 25), "", "5 points, 31 %")
	t:equal(judge(28, { { 0, 24 }, { 25, 19 } }, 25), "not-improving-early", "5 points, 21 %")
	t:equal(judge(28, { { 0, 20 }, { 25, 15 } }, 25), "", "5 points, 25 %")
	t:equal(judge(28, { { 0, 8 }, { 25, 4 } }, 25), "", "in remission")
	t:equal(judge(55, { { 0, 16 }, { 50, 15 } }, 50), "not-improving-early")
end)

test("week eight: no response is less than half and still ten or more", function (t)
	t:equal(judge(56, { { 0, 16 }, { 50, 15 } }, 50), "not-improving")
	t:equal(judge(56, { { 0, 24 }, { 50, 12 } }, 50), "", "half")
	t:equal(judge(56, { { 0, 24 }, { 50, 13 } }, 50), "not-improving")
	t:equal(judge(56, { { 0, 16 }, { 50, 9 } }, 50), "", "below ten")
	t:equal(judge(90, { { 0, 16 }, { 80, 10 } }, 80), "not-improving")
end)

test("an open alert is first", function (t)
	t:equal(judge(1, { { 0, 12 } }, 0, true), "safety new")
end)
