-- Measures of the program: from facts; `nil` where nothing can be said.
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

-- The PHQ-9 course of an episode, without prorated totals.
local function course_of(ctx, found)
	local start, course = dates.local_date(ctx, found.period.start), {}
	local series = scores.series(ctx, found.patient.reference, "phq9", { measurable = true, also = { "phq9m" } })
	for _, entry in ipairs(series) do
		if entry.date >= dates.add_days(start, -14) then
			course[#course + 1] = entry
		end
	end
	return course
end

-- Calls fn(index, series, episode) for every episode whose index PHQ-9 is 10 or more and whose `days`th day after it
-- falls into the month: what is reported once does not change any more. A prorated total counts nowhere.
local function each_index(ctx, month, days, fn)
	local first = dates.add_days(ctx:local_date(month.start), -days)
	local past = dates.add_days(ctx:local_date(month.finish), -days)
	for _, found in ipairs(episodes(ctx, first, dates.add_days(past, 14))) do
		local kept = caseload.row_value(found, "first-date")
		if kept and dates.between(first, kept) >= -31 and dates.between(kept, past) >= -31 then
			local series = course_of(ctx, found)
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

-- Non-responders of week 8 with a psychiatric recommendation between week 8 and 12, in the month of
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
		local series = scores.series(ctx, patient, "phq9", episode.scales.phq9)
		return scores.last_in(series, dates.add_days(day, -28), day) ~= nil
	end)
end

-- Local days of a patient's contacts.
local function contact_days(ctx, patient)
	local days = {}
	for _, instance in ipairs(ctx:instances("cocm_contact", { patient = patient })) do
		for _, move in ipairs(ctx:transitions(instance.task)) do
			if move.event == "contact" then
				days[#days + 1] = ctx:local_date(move.at)
			end
		end
	end
	return days
end

function measures.two_contacts(ctx, month)
	local first, past = ctx:local_date(month.start), ctx:local_date(month.finish)
	return at_end(ctx, month, function (patient)
		local count = 0
		for _, day in ipairs(contact_days(ctx, patient)) do
			count = count + (day >= first and day < past and 1 or 0)
		end
		return count >= 2
	end)
end

local function patients_of(ctx, month)
	local seen, list = {}, {}
	for _, found in ipairs(episodes(ctx, ctx:local_date(month.start), ctx:local_date(month.finish))) do
		local patient = found.patient.reference
		if not seen[patient] then
			seen[patient] = true
			list[#list + 1] = patient
		end
	end
	return list
end

-- A score up to three days before or after the contact is one at the contact.
function measures.scored_contacts(ctx, month)
	local first, past = ctx:local_date(month.start), ctx:local_date(month.finish)
	local scored, total = 0, 0
	for _, patient in ipairs(patients_of(ctx, month)) do
		local series = scores.series(ctx, patient, "phq9", { also = { "phq9m", "gad7" } })
		for _, day in ipairs(contact_days(ctx, patient)) do
			if day >= first and day < past then
				total = total + 1
				scored = scored + (scores.last_in(series, dates.add_days(day, -3), dates.add_days(day, 3)) and 1 or 0)
			end
		end
	end
	return rate(scored, total)
end

function measures.days_to_improvement(ctx, month)
	local first, past, days = ctx:local_date(month.start), ctx:local_date(month.finish), {}
	for _, found in ipairs(episodes(ctx, first, past)) do
		local course = course_of(ctx, found)
		for _, entry in ipairs(course) do
			if scores.is_significant_improvement(course[1].value, entry.value) then
				if entry.date >= first and entry.date < past then
					days[#days + 1] = dates.between(course[1].date, entry.date)
				end
				break
			end
		end
	end
	table.sort(days)
	local middle = #days // 2
	local median = #days % 2 == 1 and days[middle + 1] or #days > 0 and (days[middle] + days[middle + 1]) / 2 or nil
	return median and { value = median, n = #days }
end

function measures.mean_change(ctx, month)
	local sum, count, past = 0, 0, ctx:local_date(month.finish)
	for _, found in ipairs(episodes(ctx, ctx:local_date(month.start), past)) do
		local course, last = course_of(ctx, found), nil
		for _, entry in ipairs(course) do
			last = entry.date < past and entry or last
		end
		if found.status ~= "finished" and last and last ~= course[1] then
			sum, count = sum + last.value - course[1].value, count + 1
		end
	end
	return count > 0 and { value = sum / count, n = count } or nil
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
