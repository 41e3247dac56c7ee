-- Transitional care: the vectors of domain 2.22 and every window of 2.5.
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/lib/"
package.path = here .. "../?.lua;" .. package.path
local tcm = require "lib/tcm"

local holidays = { "2026-11-26", "2026-12-25" }

test("2.22: discharge on a Wednesday before a holiday, on a Friday, before Christmas", function (t)
	local found = tcm.windows("2026-11-25", holidays)
	t:equal(found.contact, "2026-11-30")
	t:equal(found.high, "2026-12-02")
	t:equal(found.moderate, "2026-12-09")
	t:equal(found.ends, "2026-12-24")
	t:equal(tcm.windows("2026-11-20", holidays).contact, "2026-11-24")
	t:equal(tcm.windows("2026-12-23", holidays).contact, "2026-12-28")
end)

test("2.5: weekends, leap day, a holiday that is not stated is a business day", function (t)
	t:equal(tcm.windows("2026-11-28", holidays).contact, "2026-12-01", "Saturday")
	t:equal(tcm.windows("2026-11-25", {}).contact, "2026-11-27")
	t:equal(tcm.windows("2028-02-25", {}).contact, "2028-02-29")
	t:equal(tcm.windows("2028-02-01", {}).ends, "2028-03-01", "day 29 of a month with a leap day")
end)

local function decide(more)
	local facts = {
		discharge = "2026-11-20", holidays = holidays, contacts = { { date = "2026-11-24", reached = true } },
		visit = { date = "2026-11-27", complexity = "high" }, reconciled = "2026-11-27",
	}
	for name, value in pairs(more or {}) do
		facts[name] = value ~= "none" and value or nil
	end
	local result = tcm.decide(facts)
	return result.code, table.concat(result.missing, "; ")
end

local function visit(date, complexity)
	return { visit = { date = date, complexity = complexity }, reconciled = date }
end

test("2.5: day 7 and high complexity, day 14 and at least moderate", function (t)
	t:equal(decide(visit("2026-11-27", "high")), "99496")
	t:equal(decide(visit("2026-11-28", "high")), "99495", "high on day 8 to 14")
	t:equal(decide(visit("2026-11-27", "moderate")), "99495")
	t:equal(decide(visit("2026-12-04", "moderate")), "99495")
	local code, why = decide(visit("2026-12-05", "high"))
	t:equal(code, nil)
	t:equal(why, "the visit came after 2026-12-04")
	code, why = decide(visit("2026-11-24", "low"))
	t:equal(code, nil)
	t:equal(why, "the visit was of low complexity")
	t:equal(select(2, decide { visit = "none" }), "no visit by 2026-12-04")
end)

test("2.5: contact within two business days, by a person; two timely attempts keep it", function (t)
	local function with(...)
		return decide { contacts = { ... } }
	end
	t:equal(with { date = "2026-11-20", reached = true }, "99496", "on the day of discharge")
	t:equal(with { date = "2026-11-25", reached = true }, nil, "a day late")
	t:equal(with({ date = "2026-11-23" }, { date = "2026-11-24" }), "99496")
	t:equal(with { date = "2026-11-23" }, nil, "one attempt")
	t:equal(with({ date = "2026-11-23" }, { date = "2026-11-25" }), nil, "one of them late")
	t:equal(with { date = "2026-11-23", reached = true, interactive = false }, nil, "a chatbot is nobody")
end)

test("2.5: reconciled by the visit; from where, to where; once in thirty days; death, readmission", function (t)
	t:equal(decide { reconciled = "2026-11-28" }, nil)
	t:equal(decide { reconciled = "none" }, nil)
	t:equal(decide { reconciled = "2026-11-21" }, "99496")
	t:equal(decide { from = "emergency" }, nil)
	t:equal(decide { from = "skilled nursing", to = "assisted living" }, "99496")
	t:equal(decide { to = "skilled nursing" }, nil)
	t:equal(decide { reported = "2026-10-22" }, nil, "29 days before")
	t:equal(decide { reported = "2026-10-21" }, "99496")
	t:equal(decide { died = "2026-12-19" }, nil)
	t:equal(decide { died = "2026-12-20" }, "99496", "after the period")
	t:equal(decide { readmitted = "2026-12-19" }, nil)
	t:equal(decide { readmitted = "2026-12-20" }, "99496")
end)
