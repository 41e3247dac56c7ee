/* date.h: the proleptic Gregorian calendar and FHIR's date, dateTime, instant and time texts. */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"

struct cl_date {
	int year;
	int month; /* 1-12 */
	int day; /* 1-31 */
};

/* Days since 1970-01-01, and back. */
int64_t cl_date_to_days(struct cl_date date);
struct cl_date cl_date_from_days(int64_t days);
/* 0 = Monday ... 6 = Sunday (ISO 8601 order). */
int cl_date_weekday(int64_t days);
bool cl_date_valid(struct cl_date date);
int cl_date_month_length(int year, int month);
/* Adds calendar months; the day is clipped to the month's length (31 January + 1 month = 28 or 29 February). */
struct cl_date cl_date_add_months(struct cl_date date, int months);

enum cl_precision { CL_YEAR = 1, CL_MONTH, CL_DAY_PRECISION, CL_MINUTE_PRECISION, CL_SECOND_PRECISION, CL_FRACTION };

/* A FHIR date/dateTime as the interval it stands for: lower bound inclusive, upper bound exclusive, UTC
 * microseconds. */
struct cl_moment {
	cl_instant lower, upper;
	enum cl_precision precision;
	bool has_zone;
};

/* YYYY, YYYY-MM, YYYY-MM-DD, or with Thh:mm[:ss[.f]] and zone (FHIR requires seconds and zone with a time in resources,
 * not in searches). `default_offset_seconds` is used for values without zone. Second 60 is the next minute's first. */
int cl_moment_parse(struct cl_str text, int32_t default_offset_seconds, struct cl_moment *out, struct cl_err *e);
/* Format checks of the FHIR primitives (ranges of month, day, hour included; 24:00 refused; second 60 allowed). */
bool cl_is_fhir_date(struct cl_str text);
bool cl_is_fhir_date_time(struct cl_str text);
bool cl_is_fhir_instant(struct cl_str text);
bool cl_is_fhir_time(struct cl_str text);
/* "2026-11-22T05:16:07.123Z" into `out` (at least 28 bytes); returns its length. Always three digits of
 * fraction; microseconds are cut off, years outside 0001-9999 clamped. */
size_t cl_instant_format(cl_instant instant, char out[28]);
struct cl_str cl_instant_text(struct cl_arena *arena, cl_instant instant);
