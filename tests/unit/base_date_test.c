/* base_date_test.c: the calendar, and FHIR's date, dateTime, instant and time texts. */
#include "base/date.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static struct cl_date date(int year, int month, int day)
{
	return (struct cl_date){year, month, day};
}

static void assert_date(struct cl_date actual, int year, int month, int day)
{
	assert_int_equal(actual.year, year);
	assert_int_equal(actual.month, month);
	assert_int_equal(actual.day, day);
}

static void test_days(void **state)
{
	(void)state;
	assert_int_equal(cl_date_to_days(date(1970, 1, 1)), 0);
	assert_int_equal(cl_date_to_days(date(1969, 12, 31)), -1);
	assert_int_equal(cl_date_to_days(date(2000, 2, 29)), 11016);
	assert_int_equal(cl_date_to_days(date(2026, 11, 22)), 20779);
	assert_int_equal(cl_date_to_days(date(1, 1, 1)), -719162);
	assert_int_equal(cl_date_to_days(date(9999, 12, 31)), 2932896);
	assert_date(cl_date_from_days(-719162), 1, 1, 1);
	assert_date(cl_date_from_days(2932896), 9999, 12, 31);
	/* Every day of ten thousand years is the one after the day before it. */
	struct cl_date expected = date(1, 1, 1);
	for (int64_t days = -719162; days <= 2932896; days++) {
		struct cl_date actual = cl_date_from_days(days);
		if (actual.year != expected.year || actual.month != expected.month || actual.day != expected.day ||
		    cl_date_to_days(actual) != days)
			fail_msg("day %lld is %d-%d-%d", (long long)days, actual.year, actual.month, actual.day);
		if (++expected.day > cl_date_month_length(expected.year, expected.month)) {
			expected.day = 1;
			if (++expected.month > 12) {
				expected.month = 1;
				expected.year++;
			}
		}
	}
	/* Numbers that are no real day must not trap. */
	cl_date_from_days(INT64_MAX);
	cl_date_from_days(INT64_MIN);
}

static void test_weekday(void **state)
{
	(void)state;
	assert_int_equal(cl_date_weekday(0), 3); /* Thursday */
	assert_int_equal(cl_date_weekday(cl_date_to_days(date(2026, 11, 22))), 6); /* Sunday */
	assert_int_equal(cl_date_weekday(cl_date_to_days(date(2026, 11, 23))), 0);
	assert_int_equal(cl_date_weekday(-1), 2);
	assert_int_equal(cl_date_weekday(cl_date_to_days(date(1900, 1, 1))), 0);
	for (int64_t days = -20; days < 20; days++)
		assert_int_equal(cl_date_weekday(days + 1), (cl_date_weekday(days) + 1) % 7);
}

static void test_months(void **state)
{
	(void)state;
	assert_int_equal(cl_date_month_length(2024, 2), 29);
	assert_int_equal(cl_date_month_length(2023, 2), 28);
	assert_int_equal(cl_date_month_length(1900, 2), 28);
	assert_int_equal(cl_date_month_length(2000, 2), 29);
	assert_int_equal(cl_date_month_length(2023, 4), 30);
	assert_int_equal(cl_date_month_length(2023, 13), 0);
	assert_int_equal(cl_date_month_length(2023, 0), 0);
	assert_date(cl_date_add_months(date(2023, 1, 31), 1), 2023, 2, 28);
	assert_date(cl_date_add_months(date(2024, 1, 31), 1), 2024, 2, 29);
	assert_date(cl_date_add_months(date(2024, 2, 29), 12), 2025, 2, 28);
	assert_date(cl_date_add_months(date(2024, 11, 30), 3), 2025, 2, 28);
	assert_date(cl_date_add_months(date(2024, 3, 31), -1), 2024, 2, 29);
	assert_date(cl_date_add_months(date(2024, 1, 15), -13), 2022, 12, 15);
	assert_date(cl_date_add_months(date(2024, 12, 15), 0), 2024, 12, 15);
	assert_date(cl_date_add_months(date(2024, 12, 31), 1), 2025, 1, 31);
	assert_true(cl_date_valid(date(2024, 2, 29)));
	assert_false(cl_date_valid(date(2023, 2, 29)));
	assert_false(cl_date_valid(date(2023, 13, 1)));
	assert_false(cl_date_valid(date(2023, 1, 0)));
}

/* Which of FHIR's formats a text has: d date, t dateTime, i instant, m time. */
static const struct {
	const char *text, *formats;
} formats[] = {
        {"2026", "dt"},
        {"2026-11", "dt"},
        {"2026-11-22", "dt"},
        {"2024-02-29", "dt"},
        {"0001-01-01", "dt"},
        {"9999-12-31", "dt"},
        {"2026-11-22T05:16:07Z", "ti"},
        {"2026-11-22T05:16:07.1Z", "ti"},
        {"2026-11-22T05:16:07.123456789+05:30", "ti"},
        {"2026-11-22T23:59:60-14:00", "ti"},
        {"2026-11-22T00:00:00-00:00", "ti"},
        {"05:16:07", "m"},
        {"23:59:60.999", "m"},
        {"", ""},
        {"202", ""},
        {"20261", ""},
        {"0000", ""},
        {"0000-01-01", ""},
        {"2026-", ""},
        {"2026-1", ""},
        {"2026-00", ""},
        {"2026-13", ""},
        {"2026-11-", ""},
        {"2026-11-00", ""},
        {"2026-11-31", ""},
        {"2023-02-29", ""},
        {"2026-11-2", ""},
        {"2026-11-22 ", ""},
        {" 2026-11-22", ""},
        {"-2026-11-22", ""},
        {"+2026", ""},
        {"2026/11/22", ""},
        {"20261122", ""},
        {"2026-11-22T", ""},
        {"2026-11T05:16:07Z", ""},
        {"2026-11-22T05", ""},
        {"2026-11-22T05:16", ""},
        {"2026-11-22T05:16Z", ""},
        {"2026-11-22T05:16:07", ""},
        {"2026-11-22T05:16:07.Z", ""},
        {"2026-11-22T24:00:00Z", ""},
        {"2026-11-22T05:60:00Z", ""},
        {"2026-11-22T05:16:61Z", ""},
        {"2026-11-22t05:16:07z", ""},
        {"2026-11-22T05:16:07+14:01", ""},
        {"2026-11-22T05:16:07+15:00", ""},
        {"2026-11-22T05:16:07+05", ""},
        {"2026-11-22T05:16:07+0530", ""},
        {"2026-11-22T05:16:07ZZ", ""},
        {"2026-11-22T05:16:07Z+01:00", ""},
        {"05:16", ""},
        {"5:16:07", ""},
        {"24:00:00", ""},
        {"05:16:07Z", ""},
        {"05:16:07.", ""},
};

static void test_formats(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
		/* A tight heap copy, so that the sanitizer sees a read past the end. */
		size_t n = strlen(formats[i].text);
		char *tight = malloc(n ? n : 1);
		memcpy(tight, formats[i].text, n);
		struct cl_str text = {tight, n};
		bool found[] = {cl_is_fhir_date(text), cl_is_fhir_date_time(text), cl_is_fhir_instant(text),
		                cl_is_fhir_time(text)};
		for (int k = 0; k < 4; k++)
			if (found[k] != (strchr(formats[i].formats, "dtim"[k]) != NULL))
				fail_msg("\"%s\" and format %c", formats[i].text, "dtim"[k]);
		free(tight);
	}
	assert_false(cl_is_fhir_date(CL_STR_NONE));
	assert_false(cl_is_fhir_time(CL_STR_NONE));
	assert_false(cl_is_fhir_date((struct cl_str){"2026\0", 5}));
}

static void assert_moment(const char *text, int32_t offset, const char *lower, const char *upper, int precision,
                          bool zone)
{
	struct cl_err error = {0};
	struct cl_moment moment;
	char shown[28];
	if (cl_moment_parse(cl_str_of(text), offset, &moment, &error) != 0)
		fail_msg("%s: %s", text, error.message);
	cl_instant_format(moment.lower, shown);
	assert_string_equal(shown, lower);
	cl_instant_format(moment.upper, shown);
	assert_string_equal(shown, upper);
	assert_int_equal(moment.precision, precision);
	assert_int_equal(moment.has_zone, zone);
}

static void test_moments(void **state)
{
	(void)state;
	assert_moment("2026", 0, "2026-01-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z", CL_YEAR, false);
	assert_moment("2026", -6 * 3600, "2026-01-01T06:00:00.000Z", "2027-01-01T06:00:00.000Z", CL_YEAR, false);
	assert_moment("2026-12", 0, "2026-12-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z", CL_MONTH, false);
	assert_moment("2024-02", 3600, "2024-01-31T23:00:00.000Z", "2024-02-29T23:00:00.000Z", CL_MONTH, false);
	assert_moment("2024-02-29", 0, "2024-02-29T00:00:00.000Z", "2024-03-01T00:00:00.000Z", CL_DAY_PRECISION, false);
	assert_moment("2026-11-22T05:16", 0, "2026-11-22T05:16:00.000Z", "2026-11-22T05:17:00.000Z",
	              CL_MINUTE_PRECISION, false);
	assert_moment("2026-11-22T05:16:07", 19800, "2026-11-21T23:46:07.000Z", "2026-11-21T23:46:08.000Z",
	              CL_SECOND_PRECISION, false);
	/* A zone in the text wins over the default. */
	assert_moment("2026-11-22T05:16:07-05:00", 19800, "2026-11-22T10:16:07.000Z", "2026-11-22T10:16:08.000Z",
	              CL_SECOND_PRECISION, true);
	assert_moment("2026-11-22T05:16Z", 19800, "2026-11-22T05:16:00.000Z", "2026-11-22T05:17:00.000Z",
	              CL_MINUTE_PRECISION, true);
	assert_moment("2026-11-22T05:16:07.5Z", 0, "2026-11-22T05:16:07.500Z", "2026-11-22T05:16:07.600Z", CL_FRACTION,
	              true);
	assert_moment("2026-11-22T05:16:07.123Z", 0, "2026-11-22T05:16:07.123Z", "2026-11-22T05:16:07.124Z",
	              CL_FRACTION, true);
	assert_moment("2016-12-31T23:59:60Z", 0, "2017-01-01T00:00:00.000Z", "2017-01-01T00:00:01.000Z",
	              CL_SECOND_PRECISION, true);
	assert_moment("1969-12-31T23:59:59.250Z", 0, "1969-12-31T23:59:59.250Z", "1969-12-31T23:59:59.251Z",
	              CL_FRACTION, true);

	struct cl_moment moment;
	struct cl_err error = {0};
	assert_int_equal(cl_moment_parse(CL_STR("1970-01-01T00:00:00.0000019Z"), 0, &moment, &error), 0);
	assert_int_equal(moment.lower, 1);
	assert_int_equal(moment.upper, 2);
	assert_int_equal(cl_moment_parse(CL_STR("2026-02-30"), 0, &moment, &error), CL_E_INVALID);
	assert_string_equal(error.message, "\"2026-02-30\" is no date or time: the month has no such day");
	assert_int_equal(cl_moment_parse(CL_STR_NONE, 0, &moment, &error), CL_E_INVALID);
	assert_int_equal(cl_moment_parse(CL_STR("2026-11-22T05:16:07 05:00"), 0, &moment, NULL), CL_E_INVALID);
}

static void test_instants(void **state)
{
	char text[28];
	(void)state;
	assert_int_equal(cl_instant_format(0, text), 24);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	cl_instant_format(-1, text); /* rounds down */
	assert_string_equal(text, "1969-12-31T23:59:59.999Z");
	cl_instant_format(1000999, text);
	assert_string_equal(text, "1970-01-01T00:00:01.000Z");
	cl_instant_format(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59.999Z");
	cl_instant_format(INT64_MIN, text);
	assert_string_equal(text, "0001-01-01T00:00:00.000Z");
	/* Round trip, and agreement with libc. */
	for (int64_t i = -2000; i < 3000; i++) {
		cl_instant instant = i * 1234567891234567;
		if (instant < -62135596800 * CL_SECOND || instant > 253402300799 * CL_SECOND)
			continue;
		size_t n = cl_instant_format(instant, text);
		struct cl_moment moment;
		assert_true(cl_is_fhir_instant((struct cl_str){text, n}));
		assert_int_equal(cl_moment_parse((struct cl_str){text, n}, 0, &moment, NULL), 0);
		assert_true(moment.lower <= instant && instant < moment.upper);
		time_t seconds = (time_t)(moment.lower / CL_SECOND - (moment.lower % CL_SECOND < 0));
		struct tm parts;
		char expected[32];
		gmtime_r(&seconds, &parts);
		strftime(expected, sizeof expected, "%m-%dT%H:%M:%S", &parts);
		assert_memory_equal(text + 5, expected, 14);
	}
	struct cl_arena *arena = cl_arena_new(0);
	assert_true(cl_str_is(cl_instant_text(arena, 1795324567123456), "2026-11-22T05:16:07.123Z"));
	cl_arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_days),    cmocka_unit_test(test_weekday), cmocka_unit_test(test_months),
	        cmocka_unit_test(test_formats), cmocka_unit_test(test_moments), cmocka_unit_test(test_instants),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
