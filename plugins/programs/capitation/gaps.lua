-- Gaps in care: a member who is in a measure's denominator and has not met it. Each is a workflow "care_gap" that ends
-- when
-- the evidence comes, or with the measure's year. Outreach for prevention is what its states ask for.
local facts = require "facts"
local ledger = require "ledger"

local gaps = {}

local key = "urn:careloop:capitation:gaps"
local at_once = 25

-- Asks for the list of each measure of the setting, for the present year.
function gaps.ask(ctx)
	local year = string.sub(ctx:today(), 1, 4)
	for _, name in ipairs(ctx.setting.gap_measures or {}) do
		local report = ledger.pending(name, year .. "-01-01", year .. "-12-31", key, name .. ":" .. year)
		report.type = "subject-list"
		ctx:create(report)
	end
end

local function list_of(report, code)
	local found = {}
	for _, contained in ipairs(report.contained or {}) do
		if contained.id == code then
			for _, entry in ipairs(contained.entry or {}) do
				found[#found + 1] = entry.item.reference
			end
		end
	end
	return found
end

local function as_set(list)
	local set = {}
	for _, each in ipairs(list) do
		set[each] = true
	end
	return set
end

-- Members with an open gap, in order; and all that were looked at.
function gaps.open_in(report, lower_is_better)
	local numerator = as_set(list_of(report, "numerator"))
	local left_out = as_set(list_of(report, "denominator-exclusion"))
	for reference in pairs(as_set(list_of(report, "denominator-exception"))) do
		left_out[reference] = true
	end
	local open, seen = {}, list_of(report, "denominator")
	for _, reference in ipairs(seen) do
		local met = numerator[reference] or false
		if lower_is_better then
			met = not met
		end
		if not met and not left_out[reference] then
			open[#open + 1] = reference
		end
	end
	return open, seen
end

-- A list came: work through it in pieces.
function gaps.listed(ctx, report)
	local what = ledger.identifier(report, key)
	if what then
		ctx:set_timer("gaps:" .. report.id, ctx:now(), { at = 1 })
	end
end

local function live_gap(ctx, patient, name)
	for _, instance in ipairs(ctx:instances("care_gap", { patient = patient, live = true })) do
		if instance.data.measure == name then
			return instance
		end
	end
	return nil
end

function gaps.go_on(ctx, data, id)
	local report = ctx:read("MeasureReport/" .. id)
	if not report or report.status ~= "complete" then
		return
	end
	local name, year = string.match(ledger.identifier(report, key) or "", "^(.+):(%d+)$")
	local lower = false
	for _, coding in ipairs(report.improvementNotation and report.improvementNotation.coding or {}) do
		lower = lower or coding.code == "decrease"
	end
	local open, seen = gaps.open_in(report, lower)
	local is_open = as_set(open)
	local at = math.tointeger(data.at)
	for i = at, math.min(#seen, at + at_once - 1) do
		local patient = seen[i]
		local live = live_gap(ctx, patient, name)
		if is_open[patient] and not live then
			ctx:start("care_gap", {
				focus = "MeasureReport/" .. id, patient = patient, data = { measure = name, ends = year .. "-12-31" },
			})
		elseif live and not is_open[patient] then
			ctx:advance(live.task, "evidence")
		end
	end
	if at + at_once <= #seen then
		ctx:set_timer("gaps:" .. id, ctx:now(), { at = at + at_once })
	end
end

-- The year is over: what is open ends with it.
function gaps.end_of_year(ctx)
	local today = ctx:today()
	for _, instance in ipairs(ctx:instances("care_gap", { live = true })) do
		if (instance.data.ends or "9999") < today then
			ctx:advance(instance.task, "year_over")
		end
	end
end

gaps.system = facts.system

return gaps
