/* calendar_period.c: weeks and months of the local calendar: where they begin, what they are called. */
#include "org/flow/calendar.h"

static cl_instant midnight(const struct cl_calendar *calendar, struct cl_date date)
{
	return cl_zone_instant(calendar->zone, date, 0, 0, 0);
}

cl_instant cl_calendar_month_start(const struct cl_calendar *calendar, cl_instant at, int months)
{
	struct cl_date date = cl_zone_local(calendar->zone, at).date;
	date.day = 1;
	return midnight(calendar, cl_date_add_months(date, months));
}

static int64_t monday_of(int64_t day)
{
	return day - cl_date_weekday(day);
}

cl_instant cl_calendar_week_start(const struct cl_calendar *calendar, cl_instant at, int weeks)
{
	int64_t day = cl_date_to_days(cl_zone_local(calendar->zone, at).date);
	return midnight(calendar, cl_date_from_days(monday_of(day) + (int64_t)7 * weeks));
}

/* ISO 8601: week 1 is the one with the year's first Thursday. */
static int64_t first_monday(int year)
{
	return monday_of(cl_date_to_days((struct cl_date){year, 1, 4}));
}

struct cl_str cl_calendar_week_name(struct cl_arena *arena, const struct cl_calendar *calendar, cl_instant at)
{
	int64_t monday = monday_of(cl_date_to_days(cl_zone_local(calendar->zone, at).date));
	int year = cl_date_from_days(monday + 3).year;
	return cl_arena_printf(arena, "%04d-W%02d", year, (int)((monday - first_monday(year)) / 7 + 1));
}

struct cl_str cl_calendar_month_name(struct cl_arena *arena, const struct cl_calendar *calendar, cl_instant at)
{
	struct cl_date date = cl_zone_local(calendar->zone, at).date;
	return cl_arena_printf(arena, "%04d-%02d", date.year, date.month);
}

static int two_digits(const char *text)
{
	if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9')
		return -1;
	return 10 * (text[0] - '0') + text[1] - '0';
}

int cl_calendar_period_parse(const struct cl_calendar *calendar, struct cl_str text, cl_instant *at, bool *week,
                             struct cl_err *e)
{
	static const char what[] = "'%.*s' is neither a month (2026-11) nor a week (2026-W48)";
	*week = text.n == 8 && text.p[5] == 'W';
	if ((text.n != 7 && !*week) || text.p[4] != '-')
		return cl_fail(e, CL_E_INVALID, what, CL_STR_ARGS(text));
	int century = two_digits(text.p), year = two_digits(text.p + 2), number = two_digits(text.p + text.n - 2);
	if (century < 0 || year < 0 || number < 1 || number > (*week ? 53 : 12))
		return cl_fail(e, CL_E_INVALID, what, CL_STR_ARGS(text));
	year += 100 * century;
	struct cl_date middle = {year, number, 15};
	if (*week)
		middle = cl_date_from_days(first_monday(year) + 7 * (number - 1) + 3);
	*at = cl_zone_instant(calendar->zone, middle, 12, 0, 0);
	return 0;
}
