-- Dates as text ("2026-11-22"), reckoned without a clock. What depends on an organization's calendar is ctx:add and
-- ctx:between.
local dates = {}

-- Days since 1970-01-01 of a date; of a dateTime, those of its date part.
function dates.days(text)
	local year, month, day = string.match(text or "", "^(%d%d%d%d)%-(%d%d)%-(%d%d)")
	if not year then
		return nil
	end
	year, month, day = math.tointeger(year), math.tointeger(month), math.tointeger(day)
	local shifted = month <= 2 and year - 1 or year -- the year begins in March: the leap day is its last
	local era = shifted // 400
	local year_of_era = shifted - era * 400
	local day_of_year = (153 * (month + (month > 2 and -3 or 9)) + 2) // 5 + day - 1
	return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
end

function dates.text(days)
	local shifted = days + 719468
	local era = shifted // 146097
	local day_of_era = shifted - era * 146097
	local year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
	local day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
	local shifted_month = (5 * day_of_year + 2) // 153
	local day = day_of_year - (153 * shifted_month + 2) // 5 + 1
	local month = shifted_month + (shifted_month < 10 and 3 or -9)
	local year = year_of_era + era * 400 + (month <= 2 and 1 or 0)
	return string.format("%04d-%02d-%02d", year, month, day)
end

function dates.add_days(text, count)
	return dates.text(dates.days(text) + count)
end

local month_lengths = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function month_length(year, month)
	if month == 2 and (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) then
		return 29
	end
	return month_lengths[month]
end

-- The same day of a later (or earlier) month, clipped to its length: 2024-02-29 and 12 months make 2025-02-28.
function dates.add_months(text, count)
	local year, month, day = string.match(text, "^(%d%d%d%d)%-(%d%d)%-(%d%d)")
	local months = math.tointeger(year) * 12 + math.tointeger(month) - 1 + count
	year, month = months // 12, months % 12 + 1
	return string.format("%04d-%02d-%02d", year, month, math.min(math.tointeger(day), month_length(year, month)))
end

-- Whole days from one date to another; of dateTimes the date parts count, so give local dates.
function dates.between(from, to)
	return dates.days(to) - dates.days(from)
end

-- The local date of a date or dateTime.
function dates.local_date(ctx, text)
	if text == nil or #text <= 10 then
		return text
	end
	return ctx:local_date(text)
end

return dates
