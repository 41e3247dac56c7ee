-- From minutes to codes alone, without a server: every threshold of domain.md sections 2.4, 2.21 and 2.22.
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/programs/collaborative_care/"
package.path = here .. "?.lua;" .. package.path
local payers = require "payers"

local function code(minutes, first, more)
	local facts = { minutes = minutes, first = first, pathway = "collaborative", missing = {}, payer = "medicare" }
	local exceptions, day = {}, "2026-11-01"
	for name, value in pairs(more or {}) do
		if name == "exceptions" then
			exceptions = value
		elseif name == "day" then
			day = value
		else
			facts[name] = value
		end
	end
	return payers.work_out(facts, payers.find(payers.tables, exceptions, facts.payer, day))
end

local function expect(t, first, vectors, more)
	for _, vector in ipairs(vectors) do
		t:equal(code(vector[1], first, more).text, vector[2], vector[1] .. " minutes")
	end
end

test("2.22: first month under the CPT midpoint", function (t)
	expect(t, true, {
		{ 0, "" }, { 15, "" }, { 16, "G2214" }, { 35, "G2214" }, { 36, "99492" }, { 85, "99492" },
		{ 86, "99492 + 99494" }, { 115, "99492 + 99494" }, { 116, "99492 + 2 x 99494" },
		{ 145, "99492 + 2 x 99494" }, { 146, "99492 + 3 x 99494" }, -- 2.4
	})
end)

test("2.22: later months under the CPT midpoint", function (t)
	expect(t, false, {
		{ 15, "" }, { 16, "G2214" }, { 30, "G2214" }, { 31, "99493" }, { 75, "99493" }, { 76, "99493 + 99494" },
		{ 105, "99493 + 99494" }, { 106, "99493 + 2 x 99494" }, { 135, "99493 + 2 x 99494" },
		{ 136, "99493 + 3 x 99494" }, -- 2.4
	})
end)

local full = {
	{
		payer = "blue", like = "medicare", from = "2026-01-01", source = "2.21 [S68]",
		collaborative = {
			first = { code = "99492", from = 36, base = 70 }, later = { code = "99493", from = 31, base = 60 },
			add_on = { code = "99494", policy = "full 30", each = 30 }, short = { code = "G2214", from = 16 },
		},
	},
}

test("2.22: the policy of full 30 minutes", function (t)
	expect(t, false, { { 76, "99493" }, { 90, "99493" }, { 91, "99493 + 99494" }, { 120, "99493 + 99494" },
		{ 121, "99493 + 2 x 99494" } }, { payer = "blue", exceptions = full })
	expect(t, true, { { 100, "99492" }, { 101, "99492 + 99494" } }, { payer = "blue", exceptions = full })
end)

test("2.4: G0512 ended on 1 January 2026; in a practice it never was", function (t)
	local function at(day, site, minutes, first)
		local row = payers.find(payers.tables, {}, "medicare", day, site)
		return payers.work_out({
			minutes = minutes, first = first, pathway = "collaborative", missing = {}, payer = "medicare",
		}, row).text
	end
	t:equal(at("2025-12-31", "fqhc", 69, true), "")
	t:equal(at("2025-12-31", "fqhc", 70, true), "G0512")
	t:equal(at("2025-12-31", "rhc", 60, false), "G0512")
	t:equal(at("2026-01-01", "fqhc", 70, true), "99492")
	t:equal(at("2026-01-01", "rhc", 60, false), "99493")
	t:equal(at("2025-12-31", "practice", 70, true), "")
end)

test("2.4: what excludes what in a month", function (t)
	local row = payers.find(payers.tables, {}, "medicare", "2026-11-01", "practice")
	local function excludes(pathway, wanted)
		for _, each in ipairs(payers.exclusive(row, pathway)) do
			if each == wanted then
				return true
			end
		end
		return false
	end
	t:ok(excludes("collaborative", "99484"))
	t:ok(excludes("collaborative", "G0568"))
	t:ok(excludes("general", "99492"))
	t:ok(excludes("general", "G2214"))
	t:ok(not excludes("collaborative", "99492"))
	t:ok(not excludes("general", "99484"))
end)

test("0 row 7: 99484 at 20; at 11 only where a named payer's dated exception says so", function (t)
	local general = { pathway = "general" }
	expect(t, false, { { 19, "" }, { 20, "99484" }, { 200, "99484" } }, general)
	local exceptions = {
		{
			payer = "michigan", like = "medicare", from = "2026-01-01", to = "2026-12-31", source = "2.4 [S74]",
			general = { code = "99484", from = 11 },
		},
	}
	local named = { pathway = "general", payer = "michigan", exceptions = exceptions }
	expect(t, false, { { 10, "" }, { 11, "99484" } }, named)
	t:equal(code(31, false, { payer = "michigan", exceptions = exceptions }).text, "99493", "the rest is like Medicare's")
	t:equal(code(11, false, { pathway = "general", exceptions = exceptions }).text, "", "not for others")
	named.day = "2027-01-01"
	local over = code(11, false, named)
	t:equal(over.billable, false)
	t:equal(over.reason, "no dated table for payer 'michigan'", "the exception has ended")
end)

test("2.4: G0323 at 20", function (t)
	expect(t, true, { { 19, "" }, { 20, "G0323" } }, { pathway = "own" })
end)

test("2.4: APCM add-ons have no minute threshold and stand instead of the minute codes", function (t)
	expect(t, true, { { 0, "" }, { 1, "G0568" }, { 90, "G0568" } }, { apcm = true })
	expect(t, false, { { 1, "G0569" }, { 90, "G0569" } }, { apcm = true })
	expect(t, false, { { 1, "G0570" }, { 90, "G0570" } }, { apcm = true, pathway = "general" })
end)

test("2.4: before its date a table says nothing, and that is said", function (t)
	local early = code(40, true, { day = "2025-12-01" })
	t:equal(early.billable, false)
	t:equal(early.reason, "no dated table for payer 'medicare'")
	t:equal(code(40, true, { payer = "unheard of" }).billable, false)
end)

test("2.4: minutes with a missing element are not billable, and why; the code is still shown", function (t)
	local result = code(40, true, { missing = { "no caseload review was held" } })
	t:equal(result.text, "99492")
	t:equal(result.billable, false)
	t:equal(result.reason, "no caseload review was held")
	t:equal(result.because[#result.because], "not billable: no caseload review was held")
end)

test("the next threshold is known before it is reached", function (t)
	local result = code(30, false)
	t:equal(result.next.text, "99493")
	t:equal(result.next.lacking, 1)
	t:equal(code(70, true).next.lacking, 16)
	t:equal(code(0, true).next.text, "G2214")
	t:equal(code(20, false, { pathway = "general" }).next, nil)
end)
