-- From minutes to a monthly code, and why. Pure: no ctx. What a payer pays is data, dated, in
-- settings. Code numbers and own paraphrases only.
local payers = {}

-- Shipped rows. `from` is the first service date that a row speaks of, `to` (optional) the last one. A row may be
-- `like` another payer's and say only what differs. `sites` (optional): the kinds of site it speaks of. `exclusive`:
-- codes that nobody may have charged for the same patient and month besides.
payers.tables = {
	{
		-- Rural and federally qualified health centers billed one code for the whole month until the end of 2025; from
		-- then on the codes of the row below.
		payer = "medicare", sites = { "rhc", "fqhc" }, from = "2018-01-01", to = "2025-12-31",
		source = "42 CFR 405.2464; ended by the Medicare physician fee schedule 2026",
		collaborative = {
			first = { code = "G0512", from = 70, base = 70 }, later = { code = "G0512", from = 60, base = 60 },
		},
		exclusive = { "G0511" },
	},
	{
		payer = "medicare", from = "2026-01-01", source = "Medicare physician fee schedule 2026; CPT midpoint rule",
		collaborative = {
			first = { code = "99492", from = 36, base = 70 }, -- the first calendar month of an episode
			later = { code = "99493", from = 31, base = 60 }, -- every later one
			-- "midpoint": a unit from 16 minutes past the base on; "full 30": only past 30 whole minutes
			add_on = { code = "99494", policy = "midpoint", each = 30 },
			short = { code = "G2214", from = 16 }, -- only when the code above is not met
		},
		general = { code = "99484", from = 20 }, -- "at least 20" means 20
		own = { code = "G0323", from = 20 }, -- psychologist, social worker, counsellor on their own
		exclusive = {
			collaborative = { "99484", "G0323", "G0512", "G0568", "G0569", "G0570" },
			general = { "99492", "99493", "99494", "G2214", "G0323", "G0512", "G0568", "G0569", "G0570" },
			own = { "99492", "99493", "99494", "G2214", "99484", "G0512" },
		},
		-- Add-ons without minutes, in the month of an APCM base code of the same practitioner
		apcm = { bases = { "G0556", "G0557", "G0558" }, first = "G0568", later = "G0569", general = "G0570" },
	},
}

local past_base = { midpoint = 16, ["full 30"] = 31 } -- 76 or 91 in a later month

local function at_site(row, site)
	for _, each in ipairs(row.sites or {}) do
		if each == site then
			return true
		end
	end
	return row.sites == nil
end

local function applies(row, payer, day, site)
	return row.payer == payer and day >= row.from and (not row.to or day <= row.to) and at_site(row, site)
end

-- The row in force for a payer on a day at a kind of site; exceptions first. nil: nothing is known of this payer then.
function payers.find(tables, exceptions, payer, day, site)
	for _, rows in ipairs { exceptions, tables } do
		for _, row in ipairs(rows) do
			if applies(row, payer, day, site) then
				if not row.like or row.like == payer then
					return row
				end
				local base = payers.find(tables, {}, row.like, day, site)
				local merged = {}
				for name, value in pairs(base or {}) do
					merged[name] = value
				end
				for name, value in pairs(row) do
					merged[name] = value
				end
				return base and merged
			end
		end
	end
	return nil
end

-- Thresholds of a pathway, lowest first: { from minutes, codes as { code, units } }, up to `most` minutes.
local function steps(row, pathway, first, most)
	if pathway ~= "collaborative" then
		local rule = row[pathway]
		return rule and { { from = rule.from, codes = { { code = rule.code, units = 1 } } } } or {}
	end
	local rules = row.collaborative
	if not rules then
		return {}
	end
	local main, found = first and rules.first or rules.later, {}
	if rules.short then
		found[1] = { from = rules.short.from, codes = { { code = rules.short.code, units = 1 } } }
	end
	found[#found + 1] = { from = main.from, codes = { { code = main.code, units = 1 } } }
	if not rules.add_on then
		return found
	end
	local units, from = 1, main.base + past_base[rules.add_on.policy]
	repeat
		found[#found + 1] = {
			from = from, codes = { { code = main.code, units = 1 }, { code = rules.add_on.code, units = units } },
		}
		units, from = units + 1, from + rules.add_on.each
	until found[#found].from > most
	return found
end

-- Codes that exclude what a pathway would bill.
function payers.exclusive(row, pathway)
	local codes = row and row.exclusive
	return codes and (codes[pathway] or #codes > 0 and codes) or {}
end

function payers.text(codes)
	local parts = {}
	for number, each in ipairs(codes) do
		parts[number] = each.units > 1 and each.units .. " x " .. each.code or each.code
	end
	return table.concat(parts, " + ")
end

-- `facts` = { minutes, first, pathway ("collaborative", "general", "own"), apcm (a base code was charged), payer,
-- missing (list of words) }, `row` from `find` or nil. Returns { codes, text, billable, reason, because, next }:
-- `next` = { text, at, lacking } is the threshold that comes next.
function payers.work_out(facts, row)
	local because = {}
	local function say(...)
		because[#because + 1] = string.format(...)
	end
	local result = { codes = {}, text = "", billable = false, because = because }
	say("%d whole minutes counted", facts.minutes)
	if not row then
		result.reason = facts.payer and "no dated table for payer '" .. facts.payer .. "'"
			or "no coverage on record: the payer is not known"
		say("not billable: %s", result.reason)
		return result
	end
	say("table: %s from %s (%s)", row.payer, row.from, row.source or "no source given")
	if facts.pathway == "collaborative" then
		say(facts.first and "first month of the episode" or "a later month of the episode")
	end
	local apcm = facts.apcm and row.apcm
	if apcm and facts.pathway ~= "own" then
		local code = facts.pathway == "general" and apcm.general or facts.first and apcm.first or apcm.later
		if facts.minutes > 0 then
			result.codes = { { code = code, units = 1 } }
			say("the same practitioner charged the APCM base code: %s instead of the minute codes, no minute threshold", code)
		end
	else
		for _, step in ipairs(steps(row, facts.pathway, facts.first, facts.minutes)) do
			if facts.minutes >= step.from then
				result.codes = step.codes
				say("%s from %d minutes: reached", payers.text(step.codes), step.from)
			else
				result.next = { text = payers.text(step.codes), at = step.from, lacking = step.from - facts.minutes }
				say("%s from %d minutes: %d more", result.next.text, step.from, result.next.lacking)
				break
			end
		end
	end
	result.text = payers.text(result.codes)
	if #result.codes == 0 then
		result.reason = result.next and string.format("%d minutes; %s begins at %d", facts.minutes, result.next.text,
			result.next.at) or "the payer has no code for this"
	elseif #facts.missing > 0 then
		result.reason = table.concat(facts.missing, "; ")
	else
		result.billable = true
		return result
	end
	say("not billable: %s", result.reason)
	return result
end

return payers
