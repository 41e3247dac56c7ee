-- Measures that need more than the history of states. All from facts; `nil` where nothing can be said.
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"

local measures = {}

-- Calls fn(task, instance, transitions, sent_at) for every referral created in the month and sent by or to us.
local function each_sent(ctx, month, fn)
	resources.each_of_month(ctx, month, "Task", "authored-on", "code=referral", function (task)
		return task.authoredOn
	end, function (task)
		local reference = "Task/" .. task.id
		local moves = ctx:transitions(reference)
		for _, move in ipairs(moves) do
			if move.to == "received" then
				fn(task, ctx:instance(reference), moves, move.at)
				return
			end
		end
	end)
end

-- No terminal state within 60 days (section 3.1); a referral closed because the partner was silent counts as lost too.
function measures.lost(ctx, month)
	local lost, sent = 0, 0
	each_sent(ctx, month, function (_, _, moves, sent_at)
		local deadline = ctx:add(sent_at, "60 days")
		local ended = false
		for _, move in ipairs(moves) do
			if (move.to == "completed" or move.to == "declined" or move.to == "cancelled")
				and ctx:between(move.at, deadline, "minutes") >= 0 then
				ended = true
			end
		end
		if ended then
			sent = sent + 1
		elseif ctx:between(deadline, ctx:now(), "minutes") > 0 or moves[#moves].to == "closed_unresponsive" then
			sent = sent + 1
			lost = lost + 1
		end -- still within its 60 days: counted later
	end)
	if sent == 0 then
		return nil
	end
	return { numerator = lost, denominator = sent }
end

-- PHQ-9 response (at least 50 % lower, latest score 120 to 240 days after the index; DRR-E's shape) of referred
-- patients whose index score, the last one up to 30 days before sending, was 10 or more. No later score counts as no
-- response.
function measures.response(ctx, month)
	local responded, total = 0, 0
	local seen = {}
	each_sent(ctx, month, function (_, instance, _, sent_at)
		local patient = instance and instance.patient
		if not patient or seen[patient] then
			return
		end
		seen[patient] = true
		local series = scores.series(ctx, patient, "phq9", { measurable = true })
		local sent_date = ctx:local_date(sent_at)
		local index
		for _, entry in ipairs(series) do
			if entry.date <= sent_date and dates.between(entry.date, sent_date) <= 30 then
				index = entry
			end
		end
		if not index or index.value < 10 then
			return
		end
		local first, last = scores.drr_window(index.date)
		if ctx:today() <= last then
			return -- the window is open: counted when it has closed
		end
		total = total + 1
		local latest = scores.last_in(series, first, last)
		if latest and scores.is_response(index.value, latest.value) then
			responded = responded + 1
		end
	end)
	if total == 0 then
		return nil
	end
	return { numerator = responded, denominator = total }
end

-- Minutes recorded with the events of the month's referrals, at the coordinator's rate, for each loop that was closed.
function measures.coordination_cost(ctx, month)
	local minutes, closed = 0, 0
	each_sent(ctx, month, function (_, _, moves)
		local done = false
		for _, move in ipairs(moves) do
			minutes = minutes + (tonumber(move.data and move.data.minutes) or 0)
			done = done or move.to == "completed"
		end
		closed = closed + (done and 1 or 0)
	end)
	if closed == 0 or minutes == 0 then
		return nil -- nobody recorded minutes, or nothing was closed: not computable, which is not 0
	end
	return { numerator = minutes / 60 * ctx.setting.coordinator_hourly_rate, denominator = closed }
end

-- What kept visits bring in, by the organization's own average; nil until it states one.
function measures.kept_visit_revenue(ctx, month)
	local each = ctx.setting.kept_visit_revenue
	if each <= 0 then
		return nil
	end
	local kept = 0
	each_sent(ctx, month, function (_, instance, moves)
		for _, move in ipairs(moves) do
			if instance and instance.party == "recipient" and (move.event == "interim" or move.event == "outcome") then
				kept = kept + 1
				return
			end
		end
	end)
	if kept == 0 then
		return nil
	end
	return { value = kept * each, n = kept }
end

return measures
