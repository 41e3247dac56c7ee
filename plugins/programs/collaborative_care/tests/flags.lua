-- The rules of the flags alone, at every threshold of domain.md section 2.3 and section 0 row 8, without a server.
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/programs/collaborative_care/"
package.path = here .. "?.lua;" .. here .. "../../?.lua;" .. package.path
local caseload = require "caseload"
local dates = require "lib/dates"

local limits = {
	new_days = 14, stale_days = 28, disengaged_days = 60, score_days = 28, early_days = 28, response_days = 56,
	consult_days = 84,
}
local start = "2028-02-01" -- with a leap day on day 28

-- Scores as { day, value }; contact and consults as days. What is flagged on `day`?
local function judge(day, values, contact, more)
	local facts = { start = start, contact = contact and dates.add_days(start, contact), count = #values, consults = {} }
	local function entry(pair)
		return pair and { date = dates.add_days(start, pair[1]), value = pair[2] }
	end
	facts.index, facts.last = entry(values[1]), entry(values[#values])
	facts.previous = #values > 1 and entry(values[#values - 1]) or nil
	for name, value in pairs(more or {}) do
		facts[name] = value
	end
	for number, each in ipairs(more and more.consulted or {}) do
		facts.consults[number] = dates.add_days(start, each)
	end
	local found = {}
	for _, code in ipairs(caseload.flags) do
		if caseload.judge(facts, dates.add_days(start, day), limits)[code] then
			found[#found + 1] = code
		end
	end
	return table.concat(found, " ")
end

test("2.3: new for fourteen days; a score is due from the first day and every 28 days", function (t)
	t:equal(judge(0, {}, 0), "score-due new")
	t:equal(judge(14, { { 0, 12 } }, 14), "new")
	t:equal(judge(15, { { 0, 12 } }, 14), "")
	t:equal(judge(27, { { 0, 12 } }, 20), "")
	t:equal(judge(28, { { 0, 12 } }, 20), "score-due", "29 February")
end)

test("2.3 [d]: stale at 28 days without contact, disengaged at 60", function (t)
	t:equal(judge(27, { { 20, 12 } }, 0), "")
	t:equal(judge(28, { { 20, 12 } }, 0), "stale")
	t:equal(judge(59, { { 50, 4 } }, 0), "stale")
	t:equal(judge(60, { { 50, 4 } }, 0), "disengaged")
	t:equal(judge(60, { { 50, 4 } }), "disengaged", "never contacted: from the enrolment on")
end)

test("0 row 8: five points worse at once, against the first and against the one before", function (t)
	t:equal(judge(16, { { 0, 12 }, { 15, 16 } }, 15), "")
	t:equal(judge(16, { { 0, 12 }, { 15, 17 } }, 15), "worsening")
	t:equal(judge(20, { { 0, 12 }, { 10, 6 }, { 18, 11 } }, 15), "worsening")
end)

test("0 row 8: week 4 to 6, fewer than five points or less than 25 % better", function (t)
	t:equal(judge(27, { { 0, 16 }, { 25, 15 } }, 25), "")
	t:equal(judge(28, { { 0, 16 }, { 25, 12 } }, 25), "not-improving-early", "4 points")
	t:equal(judge(28, { { 0, 16 }, { 25, 11 } }, 25), "", "5 points, 31 %")
	t:equal(judge(28, { { 0, 24 }, { 25, 19 } }, 25), "not-improving-early", "5 points, 21 %")
	t:equal(judge(42, { { 0, 20 }, { 40, 15 } }, 40), "", "5 points, 25 %")
	t:equal(judge(42, { { 0, 8 }, { 40, 4 } }, 40), "", "in remission")
	t:equal(judge(55, { { 0, 16 }, { 50, 15 } }, 50), "not-improving-early")
end)

test("2.3: week 8, less than half and still ten or more; consulted by week 12", function (t)
	t:equal(judge(55, { { 0, 16 }, { 50, 15 } }, 50), "not-improving-early")
	t:equal(judge(56, { { 0, 16 }, { 50, 15 } }, 50), "not-improving")
	t:equal(judge(56, { { 0, 24 }, { 50, 12 } }, 50), "", "half")
	t:equal(judge(56, { { 0, 24 }, { 50, 13 } }, 50), "not-improving")
	t:equal(judge(56, { { 0, 16 }, { 50, 9 } }, 50), "", "below ten")
	t:equal(judge(84, { { 0, 16 }, { 80, 15 } }, 80), "not-improving", "the last day of week 12")
	t:equal(judge(85, { { 0, 16 }, { 80, 15 } }, 80), "consult-overdue not-improving")
	t:equal(judge(85, { { 0, 16 }, { 80, 15 } }, 80, { consulted = { 60 } }), "not-improving")
	t:equal(judge(85, { { 0, 16 }, { 80, 15 } }, 80, { consulted = { 40 } }), "consult-overdue not-improving")
end)

test("2.3 [d]: target reached on two scores in a row", function (t)
	t:equal(judge(40, { { 0, 16 }, { 39, 4 } }, 39), "", "once")
	t:equal(judge(40, { { 0, 16 }, { 25, 8 }, { 39, 4 } }, 39), "target-reached")
	t:equal(judge(40, { { 0, 16 }, { 25, 9 }, { 39, 4 } }, 39), "", "9 is not half of 16")
	t:equal(judge(40, { { 0, 22 }, { 25, 10 }, { 39, 8 } }, 39), "", "10 is not below 10")
end)

test("open alerts and open recommendations are on the list", function (t)
	t:equal(judge(20, { { 0, 12 } }, 19, { safety = true, open = true }), "safety recommendation-open")
end)
