-- Working time as it is kept in all programs: a ChargeItem with person and period. Somebody's time is spent once,
-- for one patient and one program; whoever writes such an item asks here first.
local dates = require "lib/dates"
local resources = require "lib/resources"

local minutes = {}

-- Seconds that really passed, whatever the clocks were set to in between.
function minutes.seconds(ctx, from, to)
	return math.floor(ctx:between(from, to, "minutes") * 60 + 0.5)
end

-- A dateTime with zone for a local one.
function minutes.instant(ctx, text)
	return ctx:add(ctx:add(text, "1 minute"), "-1 minutes")
end

-- Another entry of the person at that time, in any program, or nil; and words for people.
function minutes.overlap(ctx, person, start, finish)
	local from = ctx:local_date(start)
	for _, item in ipairs(ctx:search("ChargeItem", {
		["performer-actor"] = person, _count = 1000,
		occurrence = { "ge" .. dates.add_days(from, -2), "le" .. dates.add_days(from, 2) },
	})) do
		local period = item.occurrencePeriod
		if period and period.start and period["end"] and item.status ~= "entered-in-error"
			and minutes.seconds(ctx, start, period["end"]) > 0 and minutes.seconds(ctx, period.start, finish) > 0 then
			return item, string.format("minutes overlap: %s has %s to %s in %s already; the same time is never counted twice "
				.. "(rule minutes.overlap)", person, ctx:local_time(period.start), ctx:local_time(period["end"]),
				resources.of(item))
		end
	end
	return nil
end

return minutes
