/* calendar.h: durations as clinics say them ("2 business days"), counted in an organization's time zone and
 * holidays. */
#pragma once
#include "base/date.h"
#include "base/timezone.h"

struct cl_calendar {
	const struct cl_zone *zone;
	const int64_t *holidays; /* days since 1970, ascending */
	size_t holiday_count;
	uint8_t workdays; /* bit 0 = Monday; default Monday to Friday */
	int16_t opens,
	        closes; /* minutes after local midnight; business hours count within these. Default 08:00 to 17:00 */
};

enum cl_duration_unit {
	CL_MINUTES = 1,
	CL_HOURS,
	CL_DAYS,
	CL_BUSINESS_DAYS,
	CL_BUSINESS_HOURS,
	CL_WEEKS,
	CL_MONTHS,
	CL_YEARS
};

struct cl_duration {
	int32_t amount; /* 0 = none */
	uint8_t unit; /* enum cl_duration_unit */
};

/* The largest amount of a unit, about 100 years: longer ones are slips of the pen, and instants stay in range. */
int32_t cl_duration_most(enum cl_duration_unit unit);
/* "15 minutes", "4 hours", "2 business days", "60 days", "1 week", "12 months", "4 business hours"; singular and
 * plural; a minus before the number counts backwards. CL_E_INVALID says what is possible. */
int cl_duration_parse(struct cl_str text, struct cl_duration *out, struct cl_err *e);
struct cl_str cl_duration_text(struct cl_arena *arena, struct cl_duration duration);
/* Minutes, hours: elapsed time. Days, weeks, months, years: the same local time on the later date (clipped to the
 * month's length; in a DST gap moved forward). Business days: the same local time on the n-th following business day;
 * when `from` lies on no business day, counting starts at the next one's opening. Negative amounts count backwards. */
cl_instant cl_calendar_add(const struct cl_calendar *calendar, cl_instant from, struct cl_duration duration);
bool cl_calendar_is_business_day(const struct cl_calendar *calendar, int64_t day);
/* Whole business days from one local date to another (exclusive of the first, inclusive of the last). */
int64_t cl_calendar_business_days(const struct cl_calendar *calendar, cl_instant from, cl_instant to);
/* How much of a unit lies between two instants; negative when `to` is the earlier. Minutes, hours, days and weeks:
 * elapsed time with fractions. Business hours: elapsed within opening hours, with fractions. Business days: whole, as
 * above. Months and years: whole ones of the local calendar. */
double cl_calendar_between(const struct cl_calendar *calendar, cl_instant from, cl_instant to,
                           enum cl_duration_unit unit);
/* Start of the local month that contains the instant, and of the one `months` later. */
cl_instant cl_calendar_month_start(const struct cl_calendar *calendar, cl_instant at, int months);

/* The same for weeks, which begin on Mondays (ISO 8601). */
cl_instant cl_calendar_week_start(const struct cl_calendar *calendar, cl_instant at, int weeks);
/* "2026-W48" of the local week and "2026-11" of the local month that contain the instant. */
struct cl_str cl_calendar_week_name(struct cl_arena *arena, const struct cl_calendar *calendar, cl_instant at);
struct cl_str cl_calendar_month_name(struct cl_arena *arena, const struct cl_calendar *calendar, cl_instant at);
/* Reads either: an instant in the middle of it. CL_E_INVALID for anything else. */
int cl_calendar_period_parse(const struct cl_calendar *calendar, struct cl_str text, cl_instant *at, bool *week,
                             struct cl_err *e);

/* A recurrence: at a local time on the days named. */
enum cl_recurrence_days { CL_EVERY_DAY = 1, CL_WEEKDAYS, CL_EVERY_BUSINESS_DAY, CL_WEEKLY, CL_MONTHLY };
struct cl_recurrence {
	int16_t minute; /* after local midnight */
	uint8_t days; /* enum cl_recurrence_days */
	uint8_t weekday; /* CL_WEEKLY: 0 = Monday */
	uint8_t day; /* CL_MONTHLY: 1-28 */
};
/* time "07:00"; days "daily", "weekdays", "business days", "monday" ... "sunday", "monthly" or "monthly 15". */
int cl_recurrence_parse(struct cl_str time, struct cl_str days, struct cl_recurrence *out, struct cl_err *e);
/* First instant strictly after `after`. A local time that a DST gap swallows happens at the gap's end; one that happens
 * twice fires at the first. */
cl_instant cl_recurrence_next(const struct cl_calendar *calendar, const struct cl_recurrence *recurrence,
                              cl_instant after);
