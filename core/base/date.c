/* date.c: calendar arithmetic (after Howard Hinnant's days_from_civil) and one reader for FHIR's four formats. */
#include "base/date.h"
#include <stdio.h>

#define DAYS_PER_ERA 146097 /* 400 years */
#define FARTHEST_DAY INT64_C(700000000000) /* keeps the year within an int */

int64_t cl_date_to_days(struct cl_date date)
{
	/* Years that begin in March put the leap day last. */
	int64_t year = (int64_t)date.year - (date.month <= 2);
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	int64_t year_of_era = year - era * 400;
	int64_t month = date.month + (date.month > 2 ? -3 : 9);
	int64_t day_of_year = (153 * month + 2) / 5 + date.day - 1;
	int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
	return era * DAYS_PER_ERA + day_of_era - 719468;
}

struct cl_date cl_date_from_days(int64_t days)
{
	if (days > FARTHEST_DAY)
		days = FARTHEST_DAY;
	if (days < -FARTHEST_DAY)
		days = -FARTHEST_DAY;
	days += 719468;
	int64_t era = (days >= 0 ? days : days - (DAYS_PER_ERA - 1)) / DAYS_PER_ERA;
	int64_t day_of_era = days - era * DAYS_PER_ERA;
	int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t month = (5 * day_of_year + 2) / 153;
	struct cl_date date = {.day = (int)(day_of_year - (153 * month + 2) / 5 + 1),
	                       .month = (int)(month < 10 ? month + 3 : month - 9)};
	date.year = (int)(year_of_era + era * 400 + (date.month <= 2));
	return date;
}

int cl_date_weekday(int64_t days)
{
	int weekday = (int)((days % 7 + 3) % 7); /* 1970-01-01 was a Thursday */
	return weekday < 0 ? weekday + 7 : weekday;
}

int cl_date_month_length(int year, int month)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (month < 1 || month > 12)
		return 0;
	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	return lengths[month - 1];
}

bool cl_date_valid(struct cl_date date)
{
	return date.day >= 1 && date.day <= cl_date_month_length(date.year, date.month);
}

struct cl_date cl_date_add_months(struct cl_date date, int months)
{
	int64_t total = (int64_t)date.year * 12 + date.month - 1 + months;
	int64_t year = (total >= 0 ? total : total - 11) / 12;

	date.year = (int)year;
	date.month = (int)(total - year * 12) + 1;
	int length = cl_date_month_length(date.year, date.month);
	if (date.day > length)
		date.day = length;
	return date;
}

/* ---- FHIR texts -------------------------------------------------------------------------------------------------- */

/* What stands in a text, before any arithmetic. */
struct parts {
	struct cl_date date;
	int hour, minute, second;
	int microsecond, digits; /* digits of the fraction as written; beyond six they are cut off */
	int32_t offset; /* seconds east of UTC, with has_zone */
	bool has_zone;
	enum cl_precision precision;
};

struct cursor {
	const char *p, *end;
};

static struct cursor cursor_of(struct cl_str text)
{
	const char *p = text.p ? text.p : "";
	return (struct cursor){p, p + text.n};
}

/* `width` digits as a number, or -1. Moves past them only on success. */
static int digits(struct cursor *c, int width)
{
	int value = 0;

	if (c->end - c->p < width)
		return -1;
	for (int i = 0; i < width; i++) {
		if (c->p[i] < '0' || c->p[i] > '9')
			return -1;
		value = value * 10 + (c->p[i] - '0');
	}
	c->p += width;
	return value;
}

static bool take(struct cursor *c, char wanted)
{
	if (c->p == c->end || *c->p != wanted)
		return false;
	c->p++;
	return true;
}

/* Two digits between `least` and `most`. */
static bool two(struct cursor *c, int least, int most, int *out)
{
	*out = digits(c, 2);
	return *out >= least && *out <= most;
}

/* The readers below return NULL, or what is wrong. */

static const char *read_date(struct cursor *c, struct parts *out)
{
	out->precision = CL_YEAR;
	out->date = (struct cl_date){digits(c, 4), 1, 1};
	if (out->date.year < 1)
		return "a date begins with a year of four digits, 0001 or later";
	if (!take(c, '-'))
		return NULL;
	out->precision = CL_MONTH;
	if (!two(c, 1, 12, &out->date.month))
		return "the month must be two digits, 01 to 12";
	if (!take(c, '-'))
		return NULL;
	out->precision = CL_DAY_PRECISION;
	if (!two(c, 1, 31, &out->date.day))
		return "the day must be two digits, 01 to 31";
	if (!cl_date_valid(out->date))
		return "the month has no such day";
	return NULL;
}

static const char *read_time(struct cursor *c, struct parts *out)
{
	out->precision = CL_MINUTE_PRECISION;
	if (!two(c, 0, 23, &out->hour))
		return "the hour must be two digits, 00 to 23";
	if (!take(c, ':') || !two(c, 0, 59, &out->minute))
		return "the hour must be followed by ':' and a minute of two digits, 00 to 59";
	if (!take(c, ':'))
		return NULL;
	out->precision = CL_SECOND_PRECISION;
	if (!two(c, 0, 60, &out->second))
		return "the second must be two digits, 00 to 60";
	if (!take(c, '.'))
		return NULL;
	out->precision = CL_FRACTION;
	for (int digit; (digit = digits(c, 1)) >= 0;)
		if (out->digits < 6) {
			out->microsecond = out->microsecond * 10 + digit;
			out->digits++;
		}
	if (out->digits == 0)
		return "a decimal point must be followed by digits";
	for (int i = out->digits; i < 6; i++)
		out->microsecond *= 10;
	return NULL;
}

/* Z, or an offset of at most 14:00 as FHIR has it; or nothing. */
static const char *read_zone(struct cursor *c, struct parts *out)
{
	int hour, minute;

	if (take(c, 'Z')) {
		out->has_zone = true;
		return NULL;
	}
	bool west = take(c, '-');
	if (!west && !take(c, '+'))
		return NULL;
	if (!two(c, 0, 14, &hour) || !take(c, ':') || !two(c, 0, hour == 14 ? 0 : 59, &minute))
		return "the time zone must be Z or an offset such as -05:00, at most 14:00";
	out->has_zone = true;
	out->offset = (hour * 60 + minute) * (west ? -60 : 60);
	return NULL;
}

static const char *read_date_time(struct cursor *c, struct parts *out)
{
	const char *wrong = read_date(c, out);

	if (!wrong && out->precision == CL_DAY_PRECISION && take(c, 'T')) {
		wrong = read_time(c, out);
		if (!wrong)
			wrong = read_zone(c, out);
	}
	if (!wrong && c->p != c->end)
		wrong = "unexpected characters at its end";
	return wrong;
}

bool cl_is_fhir_date(struct cl_str text)
{
	struct parts parts = {.digits = 0};
	struct cursor cursor = cursor_of(text);
	return !read_date(&cursor, &parts) && cursor.p == cursor.end;
}

bool cl_is_fhir_date_time(struct cl_str text)
{
	struct parts parts = {.digits = 0};
	struct cursor cursor = cursor_of(text);
	return !read_date_time(&cursor, &parts) &&
	       (parts.precision <= CL_DAY_PRECISION || (parts.precision >= CL_SECOND_PRECISION && parts.has_zone));
}

bool cl_is_fhir_instant(struct cl_str text)
{
	struct parts parts = {.digits = 0};
	struct cursor cursor = cursor_of(text);
	return !read_date_time(&cursor, &parts) && parts.precision >= CL_SECOND_PRECISION && parts.has_zone;
}

bool cl_is_fhir_time(struct cl_str text)
{
	struct parts parts = {.digits = 0};
	struct cursor cursor = cursor_of(text);
	return !read_time(&cursor, &parts) && parts.precision >= CL_SECOND_PRECISION && cursor.p == cursor.end;
}

int cl_moment_parse(struct cl_str text, int32_t default_offset_seconds, struct cl_moment *out, struct cl_err *e)
{
	struct parts parts = {.digits = 0};
	struct cursor cursor = cursor_of(text);
	const char *wrong = read_date_time(&cursor, &parts);

	if (wrong) {
		struct cl_str shown = {text.p, text.n < 40 ? text.n : 40};
		return cl_fail(e, CL_E_INVALID, "\"%.*s\" is no date or time: %s", CL_STR_ARGS(shown), wrong);
	}
	cl_instant lower = cl_date_to_days(parts.date) * CL_DAY + parts.hour * CL_HOUR + parts.minute * CL_MINUTE +
	                   parts.second * CL_SECOND + parts.microsecond;
	cl_instant upper = lower;
	struct cl_date next = parts.date;
	switch (parts.precision) {
	case CL_YEAR:
		next.year++;
		upper = cl_date_to_days(next) * CL_DAY;
		break;
	case CL_MONTH:
		upper = cl_date_to_days(cl_date_add_months(next, 1)) * CL_DAY;
		break;
	case CL_DAY_PRECISION:
		upper += CL_DAY;
		break;
	case CL_MINUTE_PRECISION:
		upper += CL_MINUTE;
		break;
	case CL_SECOND_PRECISION:
		upper += CL_SECOND;
		break;
	case CL_FRACTION: {
		cl_instant width = 1;
		for (int i = parts.digits; i < 6; i++)
			width *= 10;
		upper += width;
	}
	}
	cl_instant offset = (parts.has_zone ? parts.offset : default_offset_seconds) * CL_SECOND;
	*out = (struct cl_moment){lower - offset, upper - offset, parts.precision, parts.has_zone};
	return 0;
}

static char *put_number(char *p, int value, int width)
{
	for (int i = width - 1; i >= 0; i--) {
		p[i] = (char)('0' + value % 10);
		value /= 10;
	}
	return p + width;
}

size_t cl_instant_format(cl_instant instant, char out[28])
{
	/* FHIR has four digits for a year. */
	const cl_instant first = -719162 * CL_DAY, last = 2932897 * CL_DAY - 1;
	if (instant < first)
		instant = first;
	if (instant > last)
		instant = last;
	int64_t days = (instant >= 0 ? instant : instant - (CL_DAY - 1)) / CL_DAY;
	int milliseconds = (int)((instant - days * CL_DAY) / 1000);
	struct cl_date date = cl_date_from_days(days);
	char *p = put_number(out, date.year, 4);
	*p++ = '-';
	p = put_number(p, date.month, 2);
	*p++ = '-';
	p = put_number(p, date.day, 2);
	*p++ = 'T';
	p = put_number(p, milliseconds / 3600000, 2);
	*p++ = ':';
	p = put_number(p, milliseconds / 60000 % 60, 2);
	*p++ = ':';
	p = put_number(p, milliseconds / 1000 % 60, 2);
	*p++ = '.';
	p = put_number(p, milliseconds % 1000, 3);
	*p++ = 'Z';
	*p = 0;
	return (size_t)(p - out);
}

struct cl_str cl_instant_text(struct cl_arena *arena, cl_instant instant)
{
	char text[28];
	size_t n = cl_instant_format(instant, text);
	return cl_arena_copy(arena, (struct cl_str){text, n});
}
