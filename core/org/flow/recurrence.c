/* recurrence.c: when something that comes again and again comes next. */
#include "org/flow/calendar.h"

#define FARTHEST_DAYS 36600 /* a calendar without any business day ends the search */

static bool falls_on(const struct cl_calendar *calendar, const struct cl_recurrence *recurrence, int64_t day)
{
	switch (recurrence->days) {
	case CL_WEEKDAYS:
		return cl_date_weekday(day) < 5;
	case CL_EVERY_BUSINESS_DAY:
		return cl_calendar_is_business_day(calendar, day);
	case CL_WEEKLY:
		return cl_date_weekday(day) == recurrence->weekday;
	case CL_MONTHLY:
		return cl_date_from_days(day).day == recurrence->day;
	default:
		return true;
	}
}

/* Local wall time as a number, for comparing only. */
static int64_t wall_seconds(const struct cl_local *local)
{
	return ((cl_date_to_days(local->date) * 24 + local->hour) * 60 + local->minute) * 60 + local->second;
}

/* `moved` is where cl_zone_instant put a local time that lies in a gap: as far behind the gap's end as the time lies
 * behind its beginning. The end is the first second with the later offset. */
static cl_instant gap_end(const struct cl_zone *zone, cl_instant moved, int64_t missing_seconds)
{
	int32_t after = cl_zone_offset(zone, moved);
	cl_instant low = moved - missing_seconds * CL_SECOND, high = moved; /* the end lies in (low, high] */
	while (high - low > CL_SECOND) {
		cl_instant middle = low + (high - low) / CL_SECOND / 2 * CL_SECOND;
		if (cl_zone_offset(zone, middle) == after)
			high = middle;
		else
			low = middle;
	}
	return high;
}

static cl_instant on_day(const struct cl_calendar *calendar, const struct cl_recurrence *recurrence, int64_t day)
{
	struct cl_local wanted = {
	        .date = cl_date_from_days(day), .hour = recurrence->minute / 60, .minute = recurrence->minute % 60};
	cl_instant at = cl_zone_instant(calendar->zone, wanted.date, wanted.hour, wanted.minute, 0);
	struct cl_local is = cl_zone_local(calendar->zone, at);
	int64_t missing = wall_seconds(&is) - wall_seconds(&wanted);
	return missing > 0 ? gap_end(calendar->zone, at, missing) : at;
}

cl_instant cl_recurrence_next(const struct cl_calendar *calendar, const struct cl_recurrence *recurrence,
                              cl_instant after)
{
	/* From the day before: a gap around midnight can move its time past the day's end. */
	int64_t day = cl_date_to_days(cl_zone_local(calendar->zone, after).date) - 1;
	cl_instant at = INT64_MAX;
	for (int i = 0; i < FARTHEST_DAYS; i++, day++) {
		if (!falls_on(calendar, recurrence, day))
			continue;
		at = on_day(calendar, recurrence, day);
		if (at > after)
			return at;
	}
	return INT64_MAX;
}
