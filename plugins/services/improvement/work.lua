-- The work of coordination and what its gaps cost: touchpoints, minutes by role and activity (all of them, or a sample
-- of shifts), lost referrals, repeated tests, missed visits; and whether people use the new way or go back to paper.
local dates = require "lib/dates"
local proof = require "proof"
local resources = require "lib/resources"

local work = {}

work.activities = {
	"call", "manual scheduling", "chasing a referral", "fax", "prior authorization", "huddle", "documentation",
		"transport",
	"other",
}

local function required(ctx, input, names)
	local values = {}
	for _, name in ipairs(names) do
		values[name] = resources.parameter(input, name)
		if values[name] == nil or values[name] == "" then
			ctx:refuse("missing: " .. name, "Parameters.parameter")
		end
	end
	return values
end

local function answer_with(reference)
	return { resourceType = "Parameters", parameter = {
		{ name = "recorded", valueReference = { reference = reference } },
	} }
end

-- ---- minutes ----

-- `operation "$log-activity"`: role, activity, minutes; date (default today), patient, outcome, barrier, shift (of a
-- sample).
function work.log_activity(ctx, input)
	local facts = required(ctx, input, { "role", "activity", "minutes" })
	if not resources.contains(work.activities, facts.activity) then
		ctx:refuse("'" .. tostring(facts.activity) .. "' is none of " .. table.concat(work.activities, ", "),
			"Parameters.parameter")
	end
	facts.minutes = tonumber(facts.minutes)
	if not facts.minutes or facts.minutes <= 0 or facts.minutes > 480 then
		ctx:refuse("minutes-out-of-range: more than 0 and at most 480", "Parameters.parameter")
	end
	facts.date = resources.parameter(input, "date") or ctx:today()
	if facts.date > ctx:today() then
		ctx:refuse("the day lies in the future", "Parameters.parameter")
	end
	for _, name in ipairs { "outcome", "barrier", "shift" } do
		facts[name] = resources.parameter(input, name)
	end
	if facts.shift then
		local known = false
		proof.each(ctx, "shift", function (shift)
			known = known or shift.shift == facts.shift
		end)
		if not known then
			ctx:refuse("'" .. facts.shift .. "' is no shift of a sample ($sample-shifts)", "Parameters.parameter")
		end
	end
	local patient = resources.text_of(resources.parameter(input, "patient"))
	return answer_with(ctx:create(proof.make(ctx, "activity", facts, patient)))
end

-- What an hour of a role cost on a day: the rate card's latest entry from that day or before; nil when none is stated.
function work.rate(ctx, role, date)
	local best
	for _, rate in ipairs(ctx.setting.rate_card) do
		if rate.role == role and (rate.from or "0000") <= date
			and (not best or (rate.from or "0000") > (best.from or "0000")) then
			best = rate
		end
	end
	return best and tonumber(best.per_hour)
end

-- `operation "$sample-shifts"`: from, to (dates), shifts (how many), name. Draws them at random among the business
-- days' mornings and afternoons; on these everybody writes down everything.
function work.sample(ctx, input)
	local facts = required(ctx, input, { "name", "from", "to", "shifts" })
	local wanted = math.tointeger(tonumber(facts.shifts))
	if not wanted or wanted < 2 then
		ctx:refuse("a sample needs at least two shifts, or its spread cannot be told", "Parameters.parameter")
	end
	if not dates.days(facts.from) or not dates.days(facts.to) or dates.between(facts.from, facts.to) > 366 then
		ctx:refuse("from and to are dates at most a year apart", "Parameters.parameter")
	end
	local all = {}
	local day = facts.from
	while day <= facts.to do
		if ctx:between(dates.add_days(day, -1), day, "business days") >= 1 then
			all[#all + 1] = day .. " morning"
			all[#all + 1] = day .. " afternoon"
		end
		day = dates.add_days(day, 1)
	end
	if wanted > #all then
		ctx:refuse("there are only " .. #all .. " shifts from " .. facts.from .. " to " .. facts.to, "Parameters.parameter")
	end
	local answer = { resourceType = "Parameters", parameter = {} }
	local drawn = {}
	for number = 1, wanted do
		local at = math.random(number, #all)
		all[number], all[at] = all[at], all[number]
		drawn[number] = all[number]
	end
	table.sort(drawn)
	for _, shift in ipairs(drawn) do
		ctx:create(proof.make(ctx, "shift", {
			sample = facts.name, shift = facts.name .. ": " .. shift, from = facts.from, to = facts.to, drawn = wanted,
				of = #all,
		}))
		answer.parameter[#answer.parameter + 1] = { name = "shift", valueString = facts.name .. ": " .. shift }
	end
	return answer
end

-- Minutes and cost by role and activity in the last `minutes_days` days. Sampled minutes are extrapolated and say so,
-- with the interval of the estimate (95 %, simple random sample of shifts with finite population correction).
function work.minutes(ctx)
	local rows, order = {}, {}
	local from = dates.add_days(ctx:today(), -ctx.setting.minutes_days)
	local shifts = {}
	proof.each(ctx, "shift", function (facts)
		shifts[facts.shift] = facts
	end)
	proof.each(ctx, "activity", function (facts)
		if facts.date >= from then
			local sample = facts.shift and shifts[facts.shift].sample or ""
			local key = facts.role .. "|" .. facts.activity .. "|" .. sample
			local row = rows[key]
			if not row then
				row = {
					role = facts.role, activity = facts.activity, sample = sample ~= "" and sample or "all recorded", minutes = 0,
					entries = 0, cost = 0, by_shift = {}, shift = facts.shift,
				}
				rows[key] = row
				order[#order + 1] = key
			end
			local rate = work.rate(ctx, facts.role, facts.date)
			row.minutes, row.entries = row.minutes + facts.minutes, row.entries + 1
			row.cost = rate and row.cost and row.cost + facts.minutes / 60 * rate or nil
			if facts.shift then
				row.by_shift[facts.shift] = (row.by_shift[facts.shift] or 0) + facts.minutes
			end
		end
	end)
	table.sort(order)
	local result = {}
	for _, key in ipairs(order) do
		local row = rows[key]
		if row.shift then
			local design = shifts[row.shift]
			local n, all = design.drawn, design.of
			local average = row.minutes / n
			local squares, with_entries = 0, 0
			for _, minutes in pairs(row.by_shift) do
				squares = squares + (minutes - average) ^ 2
				with_entries = with_entries + 1
			end
			squares = squares + (n - with_entries) * average ^ 2 -- shifts without an entry took no minutes
			local half = 1.96 * all * math.sqrt(squares / (n - 1) / n * (1 - n / all))
			row.estimate = average * all
			row.interval = string.format("%.0f to %.0f", math.max(row.estimate - half, row.minutes), row.estimate + half)
			row.basis = string.format("sampled: %d of %d shifts", n, all)
			row.cost = row.cost and row.cost * all / n
		else
			row.estimate, row.basis = row.minutes, "all recorded"
		end
		row.cost_note = row.cost == nil and "no rate stated" or nil
		row.by_shift, row.shift = nil, nil
		result[#result + 1] = row
	end
	return result
end

-- ---- touchpoints ----

-- `operation "$record-touchpoint"`: step, from, to, channel, volume (a month), wait_median_days, wait_p90_days, fails
-- (words), failure_share (percent), evidence.
function work.record_touchpoint(ctx, input)
	local facts = required(ctx, input, { "step", "from", "to", "channel" })
	for _, name in ipairs { "volume", "wait_median_days", "wait_p90_days", "failure_share" } do
		local value = resources.parameter(input, name)
		if value ~= nil then
			facts[name] = tonumber(value)
			if not facts[name] or facts[name] < 0 or name == "failure_share" and facts[name] > 100 then
				ctx:refuse(name .. " is a number from 0" .. (name == "failure_share" and " to 100" or ""), "Parameters.parameter")
			end
		end
	end
	if facts.wait_median_days and facts.wait_p90_days and facts.wait_p90_days < facts.wait_median_days then
		ctx:refuse("the 90th percentile cannot be below the median", "Parameters.parameter")
	end
	facts.fails, facts.evidence = resources.parameter(input, "fails"), resources.parameter(input, "evidence")
	return answer_with(ctx:create(proof.make(ctx, "touchpoint", facts)))
end

-- The map: steps in the order they were recorded, the latest record of each.
function work.touchpoints(ctx)
	local latest, order = {}, {}
	proof.each(ctx, "touchpoint", function (facts)
		if not latest[facts.step] then
			order[#order + 1] = facts.step
		end
		latest[facts.step] = facts
	end)
	local rows = {}
	for _, step in ipairs(order) do
		local facts = latest[step]
		facts.lost_a_month = facts.volume and facts.failure_share and facts.volume * facts.failure_share / 100
		rows[#rows + 1] = facts
	end
	return rows
end

-- ---- what gaps cost ----

-- Gaps of the last `minutes_days` days, counted from the record; money only where the organization states a price.
function work.gaps(ctx)
	local from = dates.add_days(ctx:today(), -ctx.setting.minutes_days)
	local counts = { repeated_test = 0, missed_visit = 0, lost_referral = 0, denied_claim = 0, avoidable_day = 0 }
	for issue in ctx:each("DetectedIssue", { identified = "ge" .. from }) do
		if issue.code and issue.code.text == "repeat-of-recent-order" and issue.status ~= "entered-in-error" then
			counts.repeated_test = counts.repeated_test + 1
		end
	end
	for _ in ctx:each("Appointment", { status = "noshow", date = "ge" .. from .. "T00:00:00Z" }) do
		counts.missed_visit = counts.missed_visit + 1
	end
	for task in ctx:each("Task", { code = "referral", status = "failed", modified = "ge" .. from .. "T00:00:00Z" }) do
		counts.lost_referral = counts.lost_referral + (task.status == "failed" and 1 or 0)
	end
	for _ in ctx:each("ClaimResponse", { outcome = "error", created = "ge" .. from }) do
		counts.denied_claim = counts.denied_claim + 1
	end
	proof.each(ctx, "avoidable_days", function (facts)
		if facts.date >= from then
			counts.avoidable_day = counts.avoidable_day + facts.days
		end
	end)
	local rows = {}
	for _, gap in ipairs { "avoidable_day", "denied_claim", "lost_referral", "missed_visit", "repeated_test" } do
		local price = tonumber(ctx.setting.gap_prices[gap])
		rows[#rows + 1] = {
			gap = gap, count = counts[gap], price = price, cost = price and price * counts[gap],
			note = not price and "no price stated (setting gap_prices)" or nil,
		}
	end
	return rows
end

-- ---- adoption ----

local kinds = { "training", "use", "bypass to paper", "bypass by phone" }

-- `operation "$log-adoption"`: role, kind (training, use, bypass to paper, bypass by phone), count (default 1), note.
function work.log_adoption(ctx, input)
	local facts = required(ctx, input, { "role", "kind" })
	if not resources.contains(kinds, facts.kind) then
		ctx:refuse("'" .. tostring(facts.kind) .. "' is none of " .. table.concat(kinds, ", "), "Parameters.parameter")
	end
	facts.count = tonumber(resources.parameter(input, "count") or 1)
	if not facts.count or facts.count < 1 then
		ctx:refuse("count is a number from 1", "Parameters.parameter")
	end
	facts.note, facts.date = resources.parameter(input, "note"), ctx:today()
	return answer_with(ctx:create(proof.make(ctx, "adoption", facts)))
end

-- By role: trained, used, bypassed; the share of bypasses shows resistance, its note says why.
function work.adoption(ctx)
	local rows, order = {}, {}
	proof.each(ctx, "adoption", function (facts)
		local row = rows[facts.role]
		if not row then
			row = { role = facts.role, trained = 0, uses = 0, bypasses = 0 }
			rows[facts.role] = row
			order[#order + 1] = facts.role
		end
		local name = facts.kind == "training" and "trained" or facts.kind == "use" and "uses" or "bypasses"
		row[name] = row[name] + facts.count
		if name == "bypasses" and facts.note then
			row.last_reason = facts.note
		end
	end)
	table.sort(order)
	local result = {}
	for _, role in ipairs(order) do
		local row = rows[role]
		local all = row.uses + row.bypasses
		row.bypass_share = all > 0 and math.floor(1000 * row.bypasses / all + 0.5) / 10 or nil
		row.of = all
		result[#result + 1] = row
	end
	return result
end

return work
