/* calendar.c: counting in local time, in business days and in opening hours. */
#include "org/flow/calendar.h"

#define DEFAULT_WORKDAYS 0x1f /* Monday to Friday */
#define DEFAULT_OPENS (8 * 60)
#define DEFAULT_CLOSES (17 * 60)
#define DAY_MINUTES (24 * 60)
#define FARTHEST_DAYS 36600 /* a little more than 100 years: bounds every loop over days, whatever the amount */

/* ---- parts of a local time --------------------------------------------------------------------------------------- */

static int64_t local_day(const struct cl_calendar *calendar, cl_instant at)
{
	return cl_date_to_days(cl_zone_local(calendar->zone, at).date);
}

static cl_instant fraction_of(cl_instant at)
{
	cl_instant rest = at % CL_SECOND;
	return rest < 0 ? rest + CL_SECOND : rest;
}

/* `minute` may be a whole day's: midnight of the next. */
static cl_instant at_minute(const struct cl_calendar *calendar, int64_t day, int minute)
{
	struct cl_date date = cl_date_from_days(day + minute / DAY_MINUTES);
	minute %= DAY_MINUTES;
	return cl_zone_instant(calendar->zone, date, minute / 60, minute % 60, 0);
}

static cl_instant same_time_on(const struct cl_calendar *calendar, cl_instant from, struct cl_date date)
{
	struct cl_local local = cl_zone_local(calendar->zone, from);
	return cl_zone_instant(calendar->zone, date, local.hour, local.minute, local.second) + fraction_of(from);
}

static uint8_t workdays_of(const struct cl_calendar *calendar)
{
	uint8_t days = calendar->workdays & 0x7f;
	return days ? days : DEFAULT_WORKDAYS;
}

static cl_instant opening(const struct cl_calendar *calendar, int64_t day)
{
	return at_minute(calendar, day, calendar->closes > calendar->opens ? calendar->opens : DEFAULT_OPENS);
}

static cl_instant closing(const struct cl_calendar *calendar, int64_t day)
{
	return at_minute(calendar, day, calendar->closes > calendar->opens ? calendar->closes : DEFAULT_CLOSES);
}

/* ---- business days ----------------------------------------------------------------------------------------------- */

/* Index of the first holiday that is not before `day`. */
static size_t holidays_before(const struct cl_calendar *calendar, int64_t day)
{
	size_t low = 0, high = calendar->holiday_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (calendar->holidays[middle] < day)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_workday(const struct cl_calendar *calendar, int64_t day)
{
	return workdays_of(calendar) >> cl_date_weekday(day) & 1;
}

bool cl_calendar_is_business_day(const struct cl_calendar *calendar, int64_t day)
{
	size_t i = holidays_before(calendar, day);
	return is_workday(calendar, day) && !(i < calendar->holiday_count && calendar->holidays[i] == day);
}

/* Business days in [from, to). */
static int64_t count_business_days(const struct cl_calendar *calendar, int64_t from, int64_t to)
{
	int64_t weeks = (to - from) / 7;
	int64_t count = weeks * __builtin_popcount(workdays_of(calendar));
	for (int64_t day = from + weeks * 7; day < to; day++)
		count += is_workday(calendar, day);
	int64_t last = INT64_MIN; /* a holiday given twice counts once */
	for (size_t i = holidays_before(calendar, from); i < calendar->holiday_count && calendar->holidays[i] < to;
	     i++) {
		count -= calendar->holidays[i] != last && is_workday(calendar, calendar->holidays[i]);
		last = calendar->holidays[i];
	}
	return count;
}

int64_t cl_calendar_business_days(const struct cl_calendar *calendar, cl_instant from, cl_instant to)
{
	int64_t first = local_day(calendar, from), last = local_day(calendar, to);
	return first <= last ? count_business_days(calendar, first + 1, last + 1)
	                     : -count_business_days(calendar, last + 1, first + 1);
}

/* The next business day after `day`, or with step -1 the one before. */
static int64_t next_business_day(const struct cl_calendar *calendar, int64_t day, int step)
{
	for (int i = 0; i < FARTHEST_DAYS; i++) {
		day += step;
		if (cl_calendar_is_business_day(calendar, day))
			break;
	}
	return day;
}

static cl_instant add_business_days(const struct cl_calendar *calendar, cl_instant from, int32_t amount)
{
	int step = amount < 0 ? -1 : 1;
	int64_t day = local_day(calendar, from);
	if (!cl_calendar_is_business_day(calendar, day)) {
		day = next_business_day(calendar, day, step);
		from = step > 0 ? opening(calendar, day) : closing(calendar, day);
	}
	for (int32_t i = 0; i != amount; i += step)
		day = next_business_day(calendar, day, step);
	return same_time_on(calendar, from, cl_date_from_days(day));
}

/* ---- business hours ---------------------------------------------------------------------------------------------- */

static cl_instant add_open_time(const struct cl_calendar *calendar, cl_instant from, cl_instant left)
{
	int64_t day = local_day(calendar, from);
	for (;; day = next_business_day(calendar, day, 1)) {
		if (!cl_calendar_is_business_day(calendar, day))
			continue;
		cl_instant opens = opening(calendar, day), closes = closing(calendar, day);
		if (from < opens)
			from = opens;
		if (from >= closes)
			continue;
		if (left <= closes - from)
			return from + left;
		left -= closes - from;
	}
}

static cl_instant subtract_open_time(const struct cl_calendar *calendar, cl_instant from, cl_instant left)
{
	int64_t day = local_day(calendar, from);
	for (;; day = next_business_day(calendar, day, -1)) {
		if (!cl_calendar_is_business_day(calendar, day))
			continue;
		cl_instant opens = opening(calendar, day), closes = closing(calendar, day);
		if (from > closes)
			from = closes;
		if (from <= opens)
			continue;
		if (left <= from - opens)
			return from - left;
		left -= from - opens;
	}
}

/* How much of [from, to] lies within the opening hours of one day. */
static cl_instant open_time_on(const struct cl_calendar *calendar, int64_t day, cl_instant from, cl_instant to)
{
	if (!cl_calendar_is_business_day(calendar, day))
		return 0;
	cl_instant opens = opening(calendar, day), closes = closing(calendar, day);
	cl_instant begin = from > opens ? from : opens, end = to < closes ? to : closes;
	return end > begin ? end - begin : 0;
}

/* Days between the first and the last count with their nominal length: clocks change outside opening hours, or the day
 * is counted as people would. */
static cl_instant open_time_between(const struct cl_calendar *calendar, cl_instant from, cl_instant to)
{
	int64_t first = local_day(calendar, from), last = local_day(calendar, to);
	if (first == last)
		return open_time_on(calendar, first, from, to);
	bool stated = calendar->closes > calendar->opens;
	int minutes = stated ? calendar->closes - calendar->opens : DEFAULT_CLOSES - DEFAULT_OPENS;
	return open_time_on(calendar, first, from, to) + open_time_on(calendar, last, from, to) +
	       count_business_days(calendar, first + 1, last) * minutes * CL_MINUTE;
}

/* ---- durations --------------------------------------------------------------------------------------------------- */

int32_t cl_duration_most(enum cl_duration_unit unit)
{
	static const int32_t most[] = {
	        [CL_MINUTES] = 52596000,     [CL_HOURS] = 876600, [CL_DAYS] = 36525,  [CL_BUSINESS_DAYS] = 26000,
	        [CL_BUSINESS_HOURS] = 26000, [CL_WEEKS] = 5217,   [CL_MONTHS] = 1200, [CL_YEARS] = 100,
	};
	return (size_t)unit < sizeof most / sizeof *most ? most[unit] : 0;
}

/* Texts were bounded when they were parsed; amounts that code makes are cut. */
static int32_t bounded(struct cl_duration duration)
{
	int32_t most = cl_duration_most(duration.unit);
	if (duration.amount > most)
		return most;
	return duration.amount < -most ? -most : duration.amount;
}

cl_instant cl_calendar_add(const struct cl_calendar *calendar, cl_instant from, struct cl_duration duration)
{
	int32_t amount = bounded(duration);
	if (amount == 0)
		return from;
	struct cl_date date = cl_zone_local(calendar->zone, from).date;
	switch (duration.unit) {
	case CL_MINUTES:
		return from + amount * CL_MINUTE;
	case CL_HOURS:
		return from + amount * CL_HOUR;
	case CL_DAYS:
		return same_time_on(calendar, from, cl_date_from_days(cl_date_to_days(date) + amount));
	case CL_WEEKS:
		return same_time_on(calendar, from, cl_date_from_days(cl_date_to_days(date) + 7 * (int64_t)amount));
	case CL_MONTHS:
		return same_time_on(calendar, from, cl_date_add_months(date, amount));
	case CL_YEARS:
		return same_time_on(calendar, from, cl_date_add_months(date, 12 * amount));
	case CL_BUSINESS_DAYS:
		return add_business_days(calendar, from, amount);
	case CL_BUSINESS_HOURS:
		return amount > 0 ? add_open_time(calendar, from, amount * CL_HOUR)
		                  : subtract_open_time(calendar, from, -amount * CL_HOUR);
	default:
		return from;
	}
}

/* Whole months from the earlier to the later: the day of the month must have been reached, or the month be at its
 * end. */
static int months_between(const struct cl_calendar *calendar, cl_instant from, cl_instant to)
{
	struct cl_date first = cl_zone_local(calendar->zone, from).date, last = cl_zone_local(calendar->zone, to).date;
	int months = (last.year - first.year) * 12 + last.month - first.month;
	if (months > 0 && same_time_on(calendar, from, cl_date_add_months(first, months)) > to)
		months--;
	return months;
}

double cl_calendar_between(const struct cl_calendar *calendar, cl_instant from, cl_instant to,
                           enum cl_duration_unit unit)
{
	double elapsed = (double)(to - from);
	if (to < from)
		return -cl_calendar_between(calendar, to, from, unit);
	switch (unit) {
	case CL_MINUTES:
		return elapsed / (double)CL_MINUTE;
	case CL_HOURS:
		return elapsed / (double)CL_HOUR;
	case CL_DAYS:
		return elapsed / (double)CL_DAY;
	case CL_WEEKS:
		return elapsed / (double)(7 * CL_DAY);
	case CL_BUSINESS_DAYS:
		return (double)cl_calendar_business_days(calendar, from, to);
	case CL_BUSINESS_HOURS:
		return (double)open_time_between(calendar, from, to) / (double)CL_HOUR;
	case CL_MONTHS:
		return months_between(calendar, from, to);
	case CL_YEARS:
		return months_between(calendar, from, to) / 12;
	}
	return 0;
}
