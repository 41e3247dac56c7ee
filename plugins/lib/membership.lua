-- Who is a member when: Coverages (FHIR R4) and member-months by the rule of the contract.
local cases = require "lib/cases"
local dates = require "lib/dates"

local membership = {}

-- Spans of active coverage, by their start: { first, last, coverage }; `last` nil = open. `plan`: only those whose type
-- or
-- class or payor is it (text or nil).
function membership.spans(ctx, patient, plan)
	local found = {}
	for _, coverage in ipairs(ctx:search("Coverage", { patient = "Patient/" .. patient.id, _count = 1000 })) do
		local period = coverage.period or {}
		local first, last = cases.date(ctx, period.start), cases.date(ctx, period["end"])
		local kept = plan == nil
		for _, class in ipairs(plan and coverage.class or {}) do
			kept = kept or class.value == plan
		end
		if coverage.status == "active" and first and kept and (not last or last >= first) then
			found[#found + 1] = { first = first, last = last, coverage = coverage }
		end
	end
	table.sort(found, function (a, b)
		return a.first < b.first or a.first == b.first and a.coverage.id < b.coverage.id
	end)
	return found
end

-- The months (first days, as text) of [from, to] in which the spans make the patient a member. Rules: "mid_month" = on
-- the
-- 15th; "first_day" = on the first; "any_day" = on any day. A month counts once, however many spans cover it.
function membership.months_of(spans, from, to, rule)
	local months = {}
	local month = string.sub(from, 1, 7) .. "-01"
	while month <= to do
		local last_day = dates.add_days(dates.add_months(month, 1), -1)
		local first, last = month, last_day
		if rule == "mid_month" then
			first = string.sub(month, 1, 8) .. "15"
			last = first
		elseif rule == "first_day" then
			last = month
		end
		if first < from then
			first = rule == "any_day" and from or first
		end
		if last > to then
			last = rule == "any_day" and to or last
		end
		local member = false
		for _, span in ipairs(spans) do
			member = member or first >= from and last <= to and span.first <= last and (not span.last or span.last >= first)
		end
		if member then
			months[#months + 1] = month
		end
		month = dates.add_months(month, 1)
	end
	return months
end

function membership.months(ctx, patient, from, to, rule, plan)
	return membership.months_of(membership.spans(ctx, patient, plan), from, to, rule)
end

-- Enrolled on every day of [from, to], in one span or in several without a gap.
function membership.covers(ctx, patient, from, to)
	local day = from
	for _, span in ipairs(membership.spans(ctx, patient)) do
		if span.first <= day and (not span.last or span.last >= day) then
			if not span.last or span.last >= to then
				return true
			end
			day = dates.add_days(span.last, 1)
		end
	end
	return false
end

return membership
