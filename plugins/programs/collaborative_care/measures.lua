-- Measures of the program (domain.md section 3.5): from facts; `nil` where nothing can be said.
local codes = require "lib/codes"
local dates = require "lib/dates"
local resources = require "lib/resources"
local scores = require "lib/scores"
local caseload = require "caseload"
local episode = require "episode"

local measures = {}

local function rate(numerator, denominator)
	return denominator > 0 and { numerator = numerator, denominator = denominator } or nil
end

-- Episodes whose period touches the days.
local function episodes(ctx, from, to)
	return ctx:search("EpisodeOfCare", {
		type = codes.system.episode .. "|" .. episode.type, date = { "ge" .. from, "le" .. to }, _count = 1000,
	})
end

-- Calls fn(index, series, episode) for every episode whose index PHQ-9 is 10 or more and whose `days`th day after it
-- falls into the month: what is reported once does not change any more. A prorated total counts nowhere (section 0 row
-- 10).
local function each_index(ctx, month, days, fn)
	local first = dates.add_days(ctx:local_date(month.start), -days)
	local past = dates.add_days(ctx:local_date(month.finish), -days)
	for _, found in ipairs(episodes(ctx, first, dates.add_days(past, 14))) do
		local kept, start = caseload.row_value(found, "first-date"), dates.local_date(ctx, found.period.start)
		if kept and dates.between(first, kept) >= -31 and dates.between(kept, past) >= -31 then
			local series = {}
			for _, entry in ipairs(scores.series(ctx, found.patient.reference, "phq9", { measurable = true })) do
				if entry.date >= dates.add_days(start, -14) then
					series[#series + 1] = entry
				end
			end
			local index = series[1]
			if index and index.value > 9 and index.date >= first and index.date < past then
				fn(index, series, found)
			end
		end
	end
end

local function share(days, window, good)
	return function (ctx, month)
		local numerator, denominator = 0, 0
		each_index(ctx, month, days, function (index, series)
			denominator = denominator + 1
			local latest = scores.last_in(series, window(index.date))
			if latest and latest ~= index and good(index.value, latest.value) then
				numerator = numerator + 1
			end
		end)
		return rate(numerator, denominator)
	end
end

local function remission(_, latest)
	return scores.is_remission(latest)
end

measures.response = share(240, scores.drr_window, scores.is_response)
measures.remission = share(240, scores.drr_window, remission)
measures.remission_12_months = share(427, scores.cms159_window, remission) -- after its end
measures.improvement = share(168, scores.mhip_window, scores.is_significant_improvement)
measures.scored = share(240, scores.drr_window, function ()
	return true
end)

-- Non-responders of week 8 with a psychiatric recommendation between week 8 and 12 (section 2.3 [S65]), in the month of
-- week 12.
function measures.consult_on_time(ctx, month)
	local on_time, total = 0, 0
	each_index(ctx, month, ctx.setting.consult_days + 1, function (index, series, found)
		local from = dates.add_days(index.date, ctx.setting.response_days)
		local to = dates.add_days(index.date, ctx.setting.consult_days)
		local latest = scores.last_in(series, dates.add_days(index.date, 1), from)
		if not latest or scores.is_response(index.value, latest.value) or latest.value < 10 then
			return
		end
		total = total + 1
		for _, move in ipairs(ctx:transitions(episode.task_of(found))) do
			local date = ctx:local_date(move.at)
			if move.event == "recommend" and date >= from and date <= to then
				on_time = on_time + 1
				return
			end
		end
	end)
	return rate(on_time, total)
end

-- Episodes in force at the month's end, or now while it runs; those on hold are in force too.
local function at_end(ctx, month, good)
	local at = ctx:between(month.finish, ctx:now(), "minutes") > 0 and ctx:add(month.finish, "-1 minutes") or ctx:now()
	local day, numerator, denominator = ctx:local_date(at), 0, 0
	for _, found in ipairs(episodes(ctx, day, day)) do
		if resources.in_period(ctx, found.period, at) then
			denominator = denominator + 1
			numerator = numerator + (good(found.patient.reference, day) and 1 or 0)
		end
	end
	return rate(numerator, denominator)
end

function measures.contacted(ctx, month)
	return at_end(ctx, month, function (patient, day)
		for _, instance in ipairs(ctx:instances("cocm_contact", { patient = patient })) do
			for _, move in ipairs(ctx:transitions(instance.task)) do
				local date = ctx:local_date(move.at)
				if move.event == "contact" and date <= day and dates.between(date, day) <= 30 then
					return true
				end
			end
		end
		return false
	end)
end

function measures.phq_current(ctx, month)
	return at_end(ctx, month, function (patient, day)
		return scores.last_in(scores.series(ctx, patient, "phq9"), dates.add_days(day, -28), day) ~= nil
	end)
end

-- Episodes that ended in the month because nobody reached the patient.
function measures.lost(ctx, month)
	local lost, ended = 0, 0
	for _, found in ipairs(episodes(ctx, ctx:local_date(month.start), ctx:local_date(month.finish))) do
		if found.status == "finished" and resources.in_month(ctx, month, found.period["end"]) then
			local instance = ctx:instance(episode.task_of(found))
			ended = ended + 1
			if instance.state == "closed"
				and (instance.data.reason == "expired" or instance.data.reason == "lost to follow-up") then
				lost = lost + 1
			end
		end
	end
	return rate(lost, ended)
end

return measures
