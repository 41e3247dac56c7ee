-- What the programme counts: member-months by contract, and cost by contract and pool.
local cases = require "lib/cases"
local contracts = require "contracts"
local membership = require "lib/membership"
local resources = require "lib/resources"

-- By contract: the member's spans. Two spans of one contract count a month once.
local function spans_by_contract(ctx, patient)
	local by_contract, ids = {}, {}
	for _, span in ipairs(membership.spans(ctx, patient)) do
		local id = contracts.of_coverage(span.coverage)
		if id and contracts.find(ctx, id) then
			if not by_contract[id] then
				by_contract[id] = {}
				ids[#ids + 1] = id
			end
			table.insert(by_contract[id], span)
		end
	end
	table.sort(ids)
	return by_contract, ids
end

local function months_in(ctx, id, spans, period)
	local contract = contracts.find(ctx, id)
	local from, to = period.first, period.last
	if contract.from and contract.from > from then
		from = contract.from
	end
	if contract.to and contract.to < to then
		to = contract.to
	end
	return membership.months_of(spans, from, to, contract.rule or ctx.setting.member_month_rule)
end

local function member_months(ctx, patient, period)
	local found = {}
	local by_contract, ids = spans_by_contract(ctx, patient)
	for _, id in ipairs(ids) do
		local months = months_in(ctx, id, by_contract[id], period)
		if #months > 0 then
			local case = cases.stratum(cases.new(), id)
			case.value = #months
			found[#found + 1] = cases.fact(case, by_contract[id][1].coverage, "%d member-months of %s", #months, id)
		end
	end
	return found
end

local function paid(benefit)
	return benefit.payment and benefit.payment.amount and tonumber(benefit.payment.amount.value) or 0
end

-- Calls fn(contract, months, benefits) for each of the patient's contracts; benefits are { resource, amount, kind, day
-- } of
-- days on which the contract covered the patient.
local function each_contract(ctx, patient, period, fn)
	local by_contract, ids = spans_by_contract(ctx, patient)
	for _, id in ipairs(ids) do
		local benefits = {}
		for _, benefit in ipairs(cases.all(ctx, "ExplanationOfBenefit", patient)) do
			local day = cases.span(ctx, benefit) or cases.date(ctx, benefit.created)
			local covered = false
			for _, span in ipairs(by_contract[id]) do
				covered = covered or day and span.first <= day and (not span.last or span.last >= day)
			end
			if covered and benefit.status == "active" and benefit.use == "claim" and day >= period.first
				and day <= period.last then
				benefits[#benefits + 1] = {
					resource = benefit, amount = paid(benefit), day = day,
					kind = benefit.type and benefit.type.coding and benefit.type.coding[1].code or "other",
				}
			end
		end
		fn(id, months_in(ctx, id, by_contract[id], period), benefits, by_contract[id][1].coverage)
	end
end

-- Cost and member-months, by contract.
local function cost(ctx, patient, period)
	local found = {}
	each_contract(ctx, patient, period, function (id, months, benefits, coverage)
		local case = cases.stratum(cases.new(), id)
		case.numerator, case.denominator = 0, #months
		cases.fact(case, coverage, "%d member-months of %s", #months, id)
		for _, benefit in ipairs(benefits) do
			case.numerator = case.numerator + benefit.amount
			cases.fact(case, benefit.resource, "%.2f (%s) on %s", benefit.amount, benefit.kind, benefit.day)
		end
		if #months > 0 or #benefits > 0 then
			found[#found + 1] = case
		end
	end)
	return found
end

-- Cost by contract and kind of claim ("ma-2026/pharmacy"): what is spent of each pool.
local function pools(ctx, patient, period)
	local found = {}
	each_contract(ctx, patient, period, function (id, _, benefits)
		for _, benefit in ipairs(benefits) do
			local case = cases.stratum(cases.new(resources.of(benefit.resource)), id .. "/" .. benefit.kind)
			case.value = benefit.amount
			found[#found + 1] = cases.fact(case, benefit.resource, "%.2f on %s", benefit.amount, benefit.day)
		end
	end)
	return found
end

return {
	measure "member_months" {
		summary = "Member-months", category = "finance", unit = "months", better = "higher", version = "1",
		source = "enrolled on the day of the month that the contract names", period = "month", scoring = "continuous",
		show = "sum", counts = "members and contracts", candidates = { "Coverage" }, numerator = "months of membership",
		subject = member_months,
	},
	measure "capitation_cost" {
		summary = "Cost per member and month, by contract", category = "finance", unit = "USD", better = "lower",
		version = "1", source = "paid for days on which the contract covered the member / member-months", period = "year",
		scoring = "ratio", counts = "members and contracts", candidates = { "Coverage" }, numerator = "what was paid",
		denominator = "member-months", subject = cost,
	},
	measure "capitation_pool" {
		summary = "What was spent, by contract and kind of claim", category = "finance", unit = "USD", better = "lower",
		version = "1", source = "paid for days on which the contract covered the member, by type of claim", period = "year",
		scoring = "continuous", show = "sum", counts = "claims", candidates = { "Coverage" }, numerator = "what was paid",
		subject = pools,
	},
}
