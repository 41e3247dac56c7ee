-- Member-months: counted by the measure member_months, month by month, and kept in a ledger that is only added to. The
-- first
-- count of a month stays; a later one, after a retroactive change, stands beside it.
local contracts = require "contracts"
local dates = require "lib/dates"
local facts = require "facts"

local ledger = {}

local month_key = "urn:careloop:capitation:month"
local position_key = "urn:careloop:capitation:position"

local function pending(measure, first, last, system, value)
	return {
		resourceType = "MeasureReport", status = "pending", type = "summary", measure = "urn:careloop:measure:" .. measure,
		identifier = { { system = system, value = value } }, period = { start = first, ["end"] = last },
	}
end

ledger.pending = pending

-- Counts every month from `since` to the present one again.
function ledger.restate(ctx, since, why)
	local month, today = string.sub(since, 1, 7) .. "-01", ctx:today()
	local oldest = dates.add_months(string.sub(today, 1, 7) .. "-01", -ctx.setting.restate_months)
	if month < oldest then
		month = oldest
	end
	while month <= today do
		local report = pending("member_months", month, dates.add_days(dates.add_months(month, 1), -1), month_key,
			string.sub(month, 1, 7))
		report.extension = { { url = facts.system .. ":why", valueString = why } }
		ctx:create(report)
		month = dates.add_months(month, 1)
	end
end

local function identifier(report, system)
	for _, each in ipairs(report.identifier or {}) do
		if each.system == system then
			return each.value
		end
	end
	return nil
end

ledger.identifier = identifier

-- By stratum: { score, count }.
local function strata(report)
	local found = {}
	local group = report.group and report.group[1]
	for _, stratifier in ipairs(group and group.stratifier or {}) do
		for _, stratum in ipairs(stratifier.stratum or {}) do
			found[stratum.value.text] = {
				score = stratum.measureScore and tonumber(stratum.measureScore.value),
				values = stratum,
			}
		end
	end
	return found
end

ledger.strata = strata

-- A count came: it is written down when it is the first of its month, or another than the last one.
function ledger.counted(ctx, report)
	local month = identifier(report, month_key)
	if not month then
		return
	end
	local counts = strata(report)
	local why
	for _, extension in ipairs(report.extension or {}) do
		why = extension.url == facts.system .. ":why" and extension.valueString or why
	end
	for _, id in ipairs(contracts.ids(ctx)) do
		local count = counts[id] and counts[id].score or 0
		local key = id .. ":" .. month
		local known = facts.of(ctx, "member-months", key)
		local last = known[#known]
		if not last and count > 0 or last and last.values.count ~= count then
			ctx:create(facts.make("member-months", key, nil, {
				contract = { "text", id }, month = { "text", month }, count = { "number", count }, why = { "text", why },
				at = { "at", ctx:now() },
			}))
		end
	end
end

-- First and restated months of every contract, for the view.
function ledger.rows(ctx)
	local by_key, keys = {}, {}
	for basic in ctx:each("Basic", { code = facts.system .. "|member-months" }) do
		local values = facts.values(basic)
		local key = values.contract .. ":" .. values.month
		local row = by_key[key]
		if not row then
			row = { contract = values.contract, month = values.month, first = values.count, restatements = -1 }
			by_key[key] = row
			keys[#keys + 1] = key
		end
		row.restated = values.count
		row.restatements = row.restatements + 1
	end
	table.sort(keys)
	local rows = {}
	for i, key in ipairs(keys) do
		local row = by_key[key]
		local contract = contracts.find(ctx, row.contract)
		row.difference = row.restated - row.first
		row.capitation = contract and contract.pmpm and row.restated * contract.pmpm or nil
		rows[i] = row
	end
	return rows
end

-- ---- the position ----

-- Asks for what the position of each contract rests on: cost and months since it began, and its quality gates.
function ledger.ask_positions(ctx)
	local today = ctx:today()
	for _, id in ipairs(contracts.ids(ctx)) do
		local contract = contracts.find(ctx, id)
		if contract.from <= today then
			local last = contract.to and contract.to < today and contract.to or today
			ctx:create(pending("capitation_cost", contract.from, last, position_key, id))
			ctx:create(pending("capitation_pool", contract.from, last, position_key, id .. "/pools"))
			for name in pairs(contract.gates or {}) do
				local report = pending(name, contract.from, contract.to or last, position_key, id .. ":" .. name)
				report.subject = contract.group and { reference = contract.group } or nil
				ctx:create(report)
			end
		end
	end
end

local function latest(ctx, value)
	local found
	for _, report in ipairs(ctx:search("MeasureReport", {
		identifier = position_key .. "|" .. value, status = "complete", _count = 1000,
	})) do
		found = report
	end
	return found
end

local function extension_number(element, url)
	for _, extension in ipairs(element and element.extension or {}) do
		if extension.url == url then
			return tonumber(extension.valueDecimal)
		end
	end
	return nil
end

-- The position of a contract as far as it is known, or nil.
function ledger.position(ctx, id)
	local contract = contracts.find(ctx, id)
	local cost = latest(ctx, id)
	if not cost then
		return nil
	end
	local have = { months = 0, cost = 0, received = 0, gates = {}, as_of = cost.period["end"], by_pool = {} }
	local whole = strata(cost)[id]
	if whole then
		have.months = extension_number(whole.values, "urn:careloop:measure:denominator") or 0
		have.cost = extension_number(whole.values, "urn:careloop:measure:numerator") or 0
	end
	for name, stratum in pairs(strata(latest(ctx, id .. "/pools") or {})) do
		if string.sub(name, 1, #id + 1) == id .. "/" then
			have.by_pool[string.sub(name, #id + 2)] = stratum.score or 0
		end
	end
	for name in pairs(contract.gates or {}) do
		local report = latest(ctx, id .. ":" .. name)
		local group = report and report.group and report.group[1]
		have.gates[name] = group and group.measureScore and tonumber(group.measureScore.value) or nil
	end
	have.received = contracts.received(ctx, id, contract.from, have.as_of)
	return contracts.position(contract, have), have
end

-- A row for each contract, for the view.
function ledger.position_rows(ctx)
	local rows = {}
	for _, id in ipairs(contracts.ids(ctx)) do
		local position, have = ledger.position(ctx, id)
		local gates = {}
		for _, gate in ipairs(position and position.gates or {}) do
			gates[#gates + 1] = gate.name .. " " .. gate.state .. (gate.value and string.format(" (%.1f)", gate.value) or "")
		end
		rows[#rows + 1] = position and {
			contract = id, name = contracts.find(ctx, id).name, as_of = have.as_of, member_months = position.months,
			received = position.received, cost = position.cost, cost_pmpm = position.pmpm, benchmark = position.benchmark,
			saving = position.saving, gates = table.concat(gates, "; "), shared = position.shared,
			withheld = position.withheld, withhold_due = position.withhold_due, margin = position.margin,
		} or { contract = id, name = contracts.find(ctx, id).name, gates = "not computed yet" }
	end
	return rows
end

-- Pools: a share of what was received, and what was spent of it, by kind of claim.
function ledger.pool_rows(ctx)
	local rows = {}
	for _, id in ipairs(contracts.ids(ctx)) do
		local contract = contracts.find(ctx, id)
		local position, have = ledger.position(ctx, id)
		local names = {}
		for name in pairs(contract.pools or {}) do
			names[#names + 1] = name
		end
		table.sort(names)
		for _, name in ipairs(position and names or {}) do
			local budget, spent = position.received * contract.pools[name], have.by_pool[name] or 0
			rows[#rows + 1] = { contract = id, pool = name, budget = budget, spent = spent, left = budget - spent }
		end
	end
	return rows
end

return ledger
