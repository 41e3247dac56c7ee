-- Transitional care management (CPT 99495, 99496): the windows after a discharge and which code a transition comes to.
-- Pure: no ctx; dates are local dates. Business days are Monday to Friday without `holidays`, whatever hours the
-- practice keeps and whenever it heard of the discharge (CMS, TCM FAQ).
local dates = require "lib/dates"

local tcm = {}

tcm.from = { inpatient = true, ["partial hospital"] = true, observation = true, ["skilled nursing"] = true }
tcm.to = { home = true, domiciliary = true, ["rest home"] = true, ["assisted living"] = true }

local function is_business_day(date, holidays)
	local weekday = (dates.days(date) + 4) % 7 -- 1970-01-01 was a Thursday; 0 is Sunday
	if weekday == 0 or weekday == 6 then
		return false
	end
	for _, each in ipairs(holidays or {}) do
		if each == date then
			return false
		end
	end
	return true
end

-- The last days: { contact (interactive, second business day), high (day 7), moderate (day 14), ends (day 29) }.
-- The day of discharge is day 0.
function tcm.windows(discharge, holidays)
	local contact, left = discharge, 2
	while left > 0 do
		contact = dates.add_days(contact, 1)
		left = left - (is_business_day(contact, holidays) and 1 or 0)
	end
	return {
		contact = contact, high = dates.add_days(discharge, 7), moderate = dates.add_days(discharge, 14),
		ends = dates.add_days(discharge, 29),
	}
end

local function contact_is_made(facts, windows)
	local attempts = 0
	for _, each in ipairs(facts.contacts or {}) do
		local timely = each.date >= facts.discharge and each.date <= windows.contact and each.interactive ~= false
		if timely and each.reached then
			return true
		end
		attempts = attempts + (timely and 1 or 0)
	end
	return attempts >= 2, attempts -- two timely attempts, documented, keep it eligible
end

-- `facts` = { discharge, from, to, holidays, contacts = { { date, reached, interactive } }, visit = { date, complexity
-- ("moderate", "high") }, reconciled (date of the medication reconciliation), died, readmitted (dates), reported (last
-- discharge that was billed) }. Gives { code or nil, missing = { words }, windows }.
function tcm.decide(facts)
	local windows, missing, code = tcm.windows(facts.discharge, facts.holidays), {}, nil
	local function lacks(words)
		missing[#missing + 1] = words
	end
	if not tcm.from[facts.from or "inpatient"] then
		lacks("a discharge from '" .. facts.from .. "' does not qualify")
	end
	if not tcm.to[facts.to or "home"] then
		lacks("a discharge to '" .. facts.to .. "' does not qualify")
	end
	if not contact_is_made(facts, windows) then
		lacks("no interactive contact, nor two attempts, by " .. windows.contact)
	end
	local visit = facts.visit
	if not visit then
		lacks("no visit by " .. windows.moderate)
	elseif visit.complexity == "high" and visit.date <= windows.high then
		code = "99496"
	elseif (visit.complexity == "high" or visit.complexity == "moderate") and visit.date <= windows.moderate then
		code = "99495"
	else
		lacks(visit.date > windows.moderate and "the visit came after " .. windows.moderate
			or "the visit was of low complexity")
	end
	if visit and (not facts.reconciled or facts.reconciled > visit.date) then
		lacks("medication was not reconciled by the day of the visit")
	end
	if facts.died and facts.died <= windows.ends then
		lacks("the patient died within the 30 days")
	end
	if facts.readmitted and facts.readmitted <= windows.ends then
		lacks("the patient was readmitted within the 30 days: the later discharge begins anew")
	end
	if facts.reported and dates.between(facts.reported, facts.discharge) < 30 then
		lacks("another transition of these 30 days was reported")
	end
	return { code = #missing == 0 and code or nil, missing = missing, windows = windows }
end

return tcm
