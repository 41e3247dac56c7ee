-- Same-day rules: every shape of domain 2.6, dates, and what is not known.
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/lib/"
package.path = here .. "../?.lua;" .. package.path
local same_day = require "lib/same_day"

-- Visits as { category, provider, location, diagnoses, new illness }, numbered; what is paid as "1 2/59", what not.
local function decide(shape, visits, site)
	local list = {}
	for number, visit in ipairs(visits) do
		list[number] = {
			id = number, category = visit[1], provider = visit[2] or "p" .. number, location = visit[3] or "main",
			diagnoses = visit[4] or { "F32." .. number }, new_illness = visit[5], service = visit.service,
		}
	end
	local result = same_day.decide(type(shape) == "string" and same_day.shapes[shape] or shape, list, site or "fqhc")
	local paid, denied = {}, {}
	for number, each in ipairs(result.billable) do
		paid[number] = each.id .. (each.modifier and "/" .. each.modifier or "")
	end
	for number, each in ipairs(result.denied) do
		denied[number] = each.id .. ": " .. each.reason
	end
	return table.concat(paid, " "), table.concat(denied, "; "), result
end

local function check(t, shape, visits, paid, denied, site)
	local got_paid, got_denied, result = decide(shape, visits, site)
	t:equal(got_paid, paid)
	t:equal(got_denied, denied or "")
	t:equal(#result.billable + #result.denied + #result.undecided, #visits, "no visit is lost")
	return result
end

test("2.6 federal: one visit a day and location, three exceptions", function (t)
	check(t, "federal", { { "medical" }, { "medical" } }, "1", "2: one medical visit a day and location")
	check(t, "federal", { { "medical" }, { "behavioral" } }, "1 2")
	check(t, "federal", { { "behavioral" }, { "behavioral" } }, "1", "2: one behavioral visit a day and location")
	check(t, "federal", { { "preventive" }, { "medical" } }, "1 2")
	check(t, "federal", { { "preventive" }, { "medical" }, { "behavioral" } }, "1 2 3")
	local later = check(t, "federal", { { "medical" }, { "medical", nil, nil, nil, true } }, "1 2")
	t:equal(later.billable[2].note, "a later illness or injury")
	check(t, "federal", { { "medical" }, { "medical", nil, "annex" } }, "1 2", "")
	check(t, "federal", { { "medical" }, { "dental" } }, "1", "2: no dental visit is paid")
end)

test("2.6 one of each: physical, behavioral, dental", function (t)
	check(t, "one_each", { { "medical" }, { "behavioral" }, { "dental" } }, "1 2 3")
	check(t, "one_each", { { "medical" }, { "medical", nil, nil, nil, true } }, "1", "2: one medical visit a day")
	check(t, "one_each", { { "medical" }, { "preventive" } }, "1", "2: one medical visit a day")
	check(t, "one_each", { { "behavioral" }, { "behavioral", nil, "annex" } }, "1", "2: one behavioral visit a day")
end)

test("2.6 capped: the same provider is one visit; two a day in a rural clinic, three in a health center", function (t)
	check(t, "capped", { { "medical", "a" }, { "behavioral", "b" }, { "dental", "c" } }, "1 2/59 3/59", "", "fqhc")
	check(t, "capped", { { "medical", "a" }, { "behavioral", "b" }, { "dental", "c" } }, "1 2/59",
		"3: at most 2 visits a day", "rhc")
	check(t, "capped", { { "medical", "a" }, { "behavioral", "a" } }, "1", "2: visits of one provider are one visit")
	check(t, "capped", { { "medical", "a" }, { "behavioral", "a" }, { "dental", "c" } }, "1 3/59",
		"2: visits of one provider are one visit")
end)

test("2.6 distinct diagnoses: and seldom; medical beside behavioral needs none", function (t)
	local same, other = { "E11.9" }, { "J06.9" }
	local excepted = check(t, "distinct", { { "medical", "a", "m", same }, { "behavioral", "b", "m", same } }, "1 2/59")
	t:equal(excepted.review, "several visits on one day must stay infrequent")
	check(t, "distinct", { { "medical", "a", "m", same }, { "medical", "b", "m", same } }, "1",
		"2: one medical visit a day without diagnoses of its own")
	check(t, "distinct", { { "medical", "a", "m", same }, { "medical", "b", "m", other } }, "1 2/59")
	check(t, "distinct", { { "medical", "a", "m", same }, { "dental", "b", "m", same } }, "1",
		"2: a further visit needs diagnoses of its own")
	check(t, "distinct", { { "medical", "a", "m", same }, { "medical", "b", "m", {} } }, "1",
		"2: one medical visit a day without diagnoses of its own")
	t:equal(check(t, "distinct", { { "medical" } }, "1").review, nil, "one visit needs no look")
end)

test("2.6 a single encounter, and a dental one", function (t)
	check(t, "single", { { "medical" }, { "behavioral" } }, "1", "2: one visit a day")
	check(t, "single", { { "behavioral" }, { "dental" }, { "dental" } }, "1 2", "3: one dental visit a day")
end)

test("2.6 by service: behavior assessment and collaborative care beside the visit, from 1 July 2025", function (t)
	local rows = { { payer = "co", like = "by_service" } }
	local shape = same_day.find(rows, { payer = "co", date = "2025-07-01" })
	local visits = { { "medical" }, { "behavioral", service = "behavior_assessment" }, { "behavioral" } }
	local result = check(t, shape, visits, "1 2", "3: one visit a day")
	t:equal(result.billable[2].note, "paid by service, beside the visit")
	t:equal(same_day.find(rows, { payer = "co", date = "2025-06-30" }), nil, "the day before")
end)

test("2.6 inputs: payer, state, kind of site and day choose the row; the first that speaks of them", function (t)
	local rows = {
		{ payer = "plan", from = "2026-01-01", to = "2026-12-31", like = "single", source = "contract 4" },
		{ payer = "medicaid", state = "ID", site = "rhc", like = "capped", most = { rhc = 1 } },
		{ payer = "medicaid", state = "ID", like = "capped" },
		{ payer = "medicaid", state = "AL", like = "one_each" },
		{ payer = "medicare", like = "federal" }, { payer = "odd", like = "unheard_of" },
	}
	local function source(payer, date, state, site)
		local shape, why = same_day.find(rows, { payer = payer, date = date, state = state, site = site })
		return shape and shape.source or why
	end
	t:equal(source("plan", "2026-12-31"), "contract 4")
	t:equal(source("plan", "2027-01-01"), "no same-day rule for payer 'plan' on 2027-01-01")
	t:equal(source("medicaid", "2026-02-28", "AL"), "Alabama Medicaid, health centers")
	t:equal(same_day.find(rows, { payer = "medicaid", date = "2026-01-01", state = "ID", site = "rhc" }).most.rhc, 1)
	t:equal(same_day.find(rows, { payer = "medicaid", date = "2026-01-01", state = "ID", site = "fqhc" }).most.fqhc, 3)
	t:equal(source("odd", "2026-01-01"), "there is no published shape 'unheard_of'")
	local paid, denied, result = decide(false, { { "medical" }, { "behavioral" } })
	t:equal(paid .. denied, "")
	t:equal(#result.undecided, 2, "nothing is guessed")
	t:equal(result.reason, "no same-day rule")
end)
