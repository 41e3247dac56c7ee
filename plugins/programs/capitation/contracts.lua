-- Contracts with payers: what they pay, what they expect, and where a contract stands. A contract is data in the
-- setting
-- `contracts`; each has { name, from, to, pmpm, benchmark, withhold, share, loss_share, minimum_saving, gates, pools }.
local facts = require "facts"

local contracts = {}

function contracts.find(ctx, id)
	return id and (ctx.setting.contracts or {})[id] or nil
end

function contracts.ids(ctx)
	local ids = {}
	for id in pairs(ctx.setting.contracts or {}) do
		ids[#ids + 1] = id
	end
	table.sort(ids)
	return ids
end

-- The contract that a Coverage belongs to: its class of type "group".
function contracts.of_coverage(coverage)
	for _, class in ipairs(coverage.class or {}) do
		for _, coding in ipairs(class.type and class.type.coding or {}) do
			if coding.code == "group" then
				return class.value
			end
		end
	end
	return nil
end

-- ---- what was received ----

-- PaymentReconciliations of the contract (identifier urn:careloop:capitation|<contract>), by day of payment.
function contracts.received(ctx, id, from, to)
	local sum, count = 0, 0
	for payment in ctx:each("PaymentReconciliation", { identifier = facts.system .. "|" .. id, status = "active" }) do
		local day = payment.paymentDate
		if day and day >= from and day <= to then
			sum = sum + (tonumber(payment.paymentAmount and payment.paymentAmount.value) or 0)
			count = count + 1
		end
	end
	return sum, count
end

-- ---- the position ----

-- A gate is met, missed, or unknown while its measure has no result: { at_least = 65 } or { at_most = 20 }.
function contracts.gate(bound, value)
	if value == nil then
		return "unknown"
	end
	local met = (not bound.at_least or value >= bound.at_least) and (not bound.at_most or value <= bound.at_most)
	return met and "met" or "missed"
end

-- `have`: { months, cost, received, gates = { name = value } }. Savings are shared when every gate is met and the
-- saving
-- reaches the minimum share of the benchmark; a loss is borne by `loss_share`. A withhold comes back when the gates are
-- met.
function contracts.position(contract, have)
	local out = { months = have.months, cost = have.cost, received = have.received, gates = {} }
	out.pmpm = have.months > 0 and have.cost / have.months or nil
	out.expected = have.months * (contract.pmpm or 0)
	out.benchmark = have.months * (contract.benchmark or 0)
	out.saving = contract.benchmark and out.benchmark - have.cost or nil
	local all_met, any_unknown = true, false
	for name, bound in pairs(contract.gates or {}) do
		local value = have.gates[name]
		local state = contracts.gate(bound, value)
		out.gates[#out.gates + 1] = { name = name, value = value, state = state }
		all_met = all_met and state == "met"
		any_unknown = any_unknown or state == "unknown"
	end
	table.sort(out.gates, function (a, b)
		return a.name < b.name
	end)
	out.gates_met = all_met
	out.gates_unknown = any_unknown
	out.shared = 0
	if out.saving and out.saving > 0 and all_met and out.saving >= (contract.minimum_saving or 0) * out.benchmark then
		out.shared = out.saving * (contract.share or 0)
	elseif out.saving and out.saving < 0 then
		out.shared = out.saving * (contract.loss_share or 0)
	end
	out.withheld = out.expected * (contract.withhold or 0)
	out.withhold_due = all_met and out.withheld or 0
	out.due = out.expected - out.withheld + out.withhold_due
	out.margin = have.received + out.shared - have.cost
	return out
end

return contracts
