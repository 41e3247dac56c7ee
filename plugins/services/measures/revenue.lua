-- Money: collections, receivables, denials, cost per member and month, and what a programme saves. From Claim,
-- ClaimResponse and ExplanationOfBenefit (FHIR R4), patient by patient; amounts in the organization's currency.
--
-- What a ClaimResponse says of a claim: `payment.amount` (negative: taken back) on `payment.date`; `total` (or
-- `adjudication` of its items, when there is no total) by category: "contractual" = adjustment that the contract wants,
-- "writeoff" = given up, "credit" = refunded, "denied" = refused. The last three and "contractual" are codes of
-- urn:careloop:adjudication: FHIR's own (submitted, eligible, benefit ...) do not tell them apart.
local cases = require "lib/cases"
local dates = require "lib/dates"
local membership = require "lib/membership"
local resources = require "lib/resources"

local fact, out = cases.fact, cases.out

local function amount(money)
	return money and tonumber(money.value) or 0
end

local own_categories = "urn:careloop:adjudication"

local function add_categories(sums, list)
	local any = false
	for _, each in ipairs(list or {}) do
		local code = resources.code(each.category, own_categories)
		if code then
			sums[code] = (sums[code] or 0) + amount(each.amount)
			any = true
		end
	end
	return any
end

-- { paid, credit, contractual, writeoff, denied, date } of one ClaimResponse.
local function adjudicated(ctx, response)
	local sums = {}
	if not add_categories(sums, response.total) then
		for _, item in ipairs(response.item or {}) do
			add_categories(sums, item.adjudication)
		end
	end
	sums.paid = response.payment and amount(response.payment.amount) or 0
	sums.date = cases.date(ctx, response.payment and response.payment.date or response.created)
	return sums
end

local function payer_of(resource)
	return resources.reference(resource.insurer) or "no payer"
end

-- The patient's claims by day of service: { claim, day, charge, answers }; cancelled, drafted and mistaken ones are
-- none.
local function claims_of(ctx, patient)
	local found, by_reference = {}, {}
	for _, claim in ipairs(cases.all(ctx, "Claim", patient)) do
		local day = cases.span(ctx, claim) or cases.date(ctx, claim.created)
		if claim.status == "active" and claim.use == "claim" and day then
			local entry = {
				claim = claim, day = day, charge = amount(claim.total), answers = {}, submitted = cases.date(ctx, claim.created),
			}
			found[#found + 1] = entry
			by_reference[resources.of(claim)] = entry
		end
	end
	for _, response in ipairs(cases.all(ctx, "ClaimResponse", patient)) do
		local entry = by_reference[resources.reference(response.request) or ""]
		if entry and response.status == "active" then
			entry.answers[#entry.answers + 1] = { response = response, sums = adjudicated(ctx, response) }
		end
	end
	table.sort(found, function (a, b)
		return a.day < b.day or a.day == b.day and a.claim.id < b.claim.id
	end)
	return found
end

-- Of a claim, until a day (nil = all): paid, credit, contractual, writeoff.
local function settled(entry, day)
	local sums = { paid = 0, credit = 0, contractual = 0, writeoff = 0 }
	for _, answer in ipairs(entry.answers) do
		if not day or (answer.sums.date or "") <= day then
			for name in pairs(sums) do
				sums[name] = sums[name] + (answer.sums[name] or 0)
			end
		end
	end
	return sums
end

-- ---- adjusted (net) collection ----

-- (payments - credits) / (charges - contractual adjustments) of the services of the period, by payer.
local function net_collection(ctx, patient, period)
	local by_payer, order = {}, {}
	for _, entry in ipairs(claims_of(ctx, patient)) do
		if entry.day >= period.first and entry.day <= period.last then
			local payer = payer_of(entry.claim)
			local case = by_payer[payer]
			if not case then
				case = cases.new()
				cases.stratum(case, payer)
				case.numerator, case.denominator = 0, 0
				by_payer[payer] = case
				order[#order + 1] = case
			end
			local sums = settled(entry)
			case.numerator = case.numerator + sums.paid - sums.credit
			case.denominator = case.denominator + entry.charge - sums.contractual
			fact(case, entry.claim, "service of %s: charged %.2f, contractual %.2f, paid %.2f, credited %.2f", entry.day,
				entry.charge, sums.contractual, sums.paid, sums.credit)
		end
	end
	return order
end

-- ---- days in accounts receivable ----

-- Receivables at the end of the period over average daily charges of the days before it. Gross: charges less credits;
-- net:
-- charges less contractual adjustments, and of what no payer has answered yet only the share that contracts leave.
local function receivable_days(net)
	return function (ctx, patient, period)
		local case = cases.new()
		local days = ctx.setting.receivable_days
		local today = ctx:today()
		local on = period.last < today and period.last or today
		local from = dates.add_days(on, 1 - days)
		local owed, revenue, any = 0, 0, false
		for _, entry in ipairs(claims_of(ctx, patient)) do
			if entry.day <= on then
				local sums = settled(entry, on)
				local expected = 0
				local answered = false
				for _, answer in ipairs(entry.answers) do
					answered = answered or (answer.sums.date or "") <= on
				end
				if net and not answered then
					expected = entry.charge * ctx.setting.expected_contractual_share
				end
				local open = entry.charge - sums.paid + sums.credit - sums.contractual - sums.writeoff - expected
				owed = owed + open
				any = any or open ~= 0
				if entry.day >= from then
					revenue = revenue + entry.charge - (net and sums.contractual + expected or sums.credit)
					any = true
				end
				if math.abs(open) > 0.004 then
					fact(case, entry.claim, "service of %s: %.2f open on %s", entry.day, open, on)
				end
			end
		end
		if not any then
			return out(case, patient, "nothing charged from %s to %s, and nothing open", from, on)
		end
		case.numerator, case.denominator = owed, revenue / days
		return fact(case, nil, "%.2f owed; %.2f a day over %d days", owed, revenue / days, days)
	end
end

-- ---- denials ----

-- Claims submitted in the period; denied when an answer refuses an amount, or the outcome is "error".
local function denials(by_amount)
	return function (ctx, patient, period)
		local found = {}
		for _, entry in ipairs(claims_of(ctx, patient)) do
			if entry.submitted and entry.submitted >= period.first and entry.submitted <= period.last then
				local case = cases.new(resources.of(entry.claim))
				local denied, refused = 0, nil
				for _, answer in ipairs(entry.answers) do
					local part = answer.sums.denied or 0
					if answer.response.outcome == "error" and part == 0 then
						part = entry.charge
					end
					if part > 0 then
						denied, refused = math.max(denied, part), answer.response
					end
				end
				cases.stratum(case, payer_of(entry.claim))
				fact(case, entry.claim, "submitted on %s: %.2f", entry.submitted, entry.charge)
				if refused then
					fact(case, refused, "%.2f denied", denied)
				end
				if by_amount then
					case.numerator, case.denominator = math.min(denied, entry.charge), entry.charge
				else
					case.numerator = refused ~= nil
				end
				found[#found + 1] = case
			end
		end
		return found
	end
end

-- ---- cost ----

-- What was paid for the patient's care, by day of service: ExplanationOfBenefit, by its payment, else its total
-- "benefit".
local function cost_between(ctx, patient, from, to, case)
	local sum = 0
	for _, benefit in ipairs(cases.all(ctx, "ExplanationOfBenefit", patient)) do
		local day = cases.span(ctx, benefit) or cases.date(ctx, benefit.created)
		if benefit.status == "active" and benefit.use == "claim" and day and day >= from and day <= to then
			local paid = benefit.payment and benefit.payment.amount and amount(benefit.payment.amount)
			for _, total in ipairs(not paid and benefit.total or {}) do
				if resources.has_code(total.category, "benefit") then
					paid = (paid or 0) + amount(total.amount)
				end
			end
			sum = sum + (paid or 0)
			if case then
				fact(case, benefit, "%.2f for %s", paid or 0, day)
			end
		end
	end
	return sum
end

local function pmpm(ctx, patient, period)
	local case = cases.new()
	local months = membership.months(ctx, patient, period.first, period.last, ctx.setting.member_month_rule)
	local cost = cost_between(ctx, patient, period.first, period.last, case)
	if #months == 0 then
		return out(case, patient, cost ~= 0 and "cost of %.2f, but no member-month in the period" or "no member-month%s",
			cost ~= 0 and cost or "")
	end
	case.numerator, case.denominator = cost, #months
	return fact(case, nil, "%d member-months, %.2f", #months, cost)
end

-- For patients who entered a programme `savings_months` ago, in the period: cost a month before less cost a month
-- after, less
-- what the programme costs. Without a comparison group this shows regression to the mean, too: say so beside it.
local function savings(ctx, patient, period)
	local found = {}
	local span = ctx.setting.savings_months
	for _, episode in ipairs(cases.all(ctx, "EpisodeOfCare", patient)) do
		local start = episode.period and cases.date(ctx, episode.period.start)
		local after_last = start and dates.add_days(dates.add_months(start, span), -1)
		if start and episode.status ~= "entered-in-error" and after_last >= period.first and after_last <= period.last then
			local case = cases.new(resources.of(episode))
			local before_first, before_last = dates.add_months(start, -span), dates.add_days(start, -1)
			local before = membership.months(ctx, patient, before_first, before_last, "any_day")
			local after = membership.months(ctx, patient, start, after_last, "any_day")
			fact(case, episode, "entered on %s: %d months before and after", start, span)
			if #before < span or #after < span then
				cases.exclude(case, nil, "not a member throughout", "%d of %d months before, %d after", #before, span, #after)
			else
				local was, is = cost_between(ctx, patient, before_first, before_last, case),
					cost_between(ctx, patient, start, after_last, case)
				local programme = ctx.setting.programme_cost_per_month * span
				case.value = was - is - programme
				fact(case, nil, "%.2f before, %.2f after, %.2f for the programme: %.2f saved", was, is, programme, case.value)
			end
			found[#found + 1] = case
		end
	end
	return found
end

local claims = { "Claim" }

return {
	measure "net_collection" {
		summary = "Adjusted collection rate", category = "finance", unit = "%", better = "higher", version = "1",
		source = "AAFP: (payments - credits) / (charges - contractual adjustments); by day of service", period = "quarter",
		scoring = "ratio", counts = "patients and payers", candidates = claims, numerator = "payments less credits",
		denominator = "charges less contractual adjustments", subject = net_collection, target = 95,
	},
	measure "days_in_receivables" {
		summary = "Days in accounts receivable, gross", category = "finance", unit = "days", better = "lower", version = "1",
		source = "AAFP: receivables / average daily charges (charges less credits)", period = "month", scoring = "ratio",
		counts = "patients", candidates = claims, numerator = "receivables at the end of the period",
		denominator = "average daily charges less credits", subject = receivable_days(false), target = 50,
	},
	measure "days_in_receivables_net" {
		summary = "Days in accounts receivable, net", category = "finance", unit = "days", better = "lower", version = "1",
		source = "HFMA MAP: net receivables / average daily net patient service revenue", period = "month", scoring = "ratio",
		counts = "patients", candidates = claims, numerator = "net receivables at the end of the period",
		denominator = "average daily net revenue", subject = receivable_days(true),
	},
	measure "denial_dollars" {
		summary = "Denied, of what was submitted, by amount", category = "finance", unit = "%", better = "lower",
			version = "1",
		source = "amount denied / amount submitted", period = "quarter", scoring = "ratio", counts = "claims",
		candidates = claims, numerator = "amount denied", denominator = "amount submitted", subject = denials(true),
		target = 5,
	},
	measure "denial_count" {
		summary = "Denied claims, of those submitted", category = "finance", unit = "%", better = "lower", version = "1",
		source = "claims with an amount denied / claims submitted", period = "quarter", counts = "claims",
			candidates = claims,
		numerator = "claims of which an amount was denied", denominator = "claims submitted", subject = denials(false),
	},
	measure "pmpm" {
		summary = "Cost per member and month", category = "finance", unit = "USD", better = "lower", version = "1",
		source = "total cost / member-months", period = "rolling year", scoring = "ratio", counts = "members",
		candidates = { "Coverage" }, numerator = "what was paid for care", denominator = "member-months", subject = pmpm,
	},
	measure "saved_per_patient" {
		summary = "Cost saved per patient, net of the programme's cost", category = "finance", unit = "USD",
			better = "higher",
		version = "1", source = "own: before less after less programme; show it beside a comparison group",
			period = "quarter",
		scoring = "continuous", show = "mean", counts = "patients of a programme", candidates = { "EpisodeOfCare" },
		initial = "episodes whose months after entering end in the period", exclusions = "not a member throughout",
		numerator = "cost before less cost after less programme cost", subject = savings,
	},
}
