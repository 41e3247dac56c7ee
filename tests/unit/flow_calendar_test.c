/* flow_calendar_test.c: durations, business days and hours, recurrences; both changes of the clocks; month ends; the
 * vectors of domain.md sections 2.5 and 2.22. */
#include "org/flow/calendar.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct cl_zone *zone;
static struct cl_arena *arena;
static int64_t holidays[3];
static struct cl_calendar calendar;

static int set_up(void **state)
{
	struct cl_err e = {0};
	(void)state;
	arena = cl_arena_new(0);
	assert_int_equal(cl_zone_open("America/Chicago", &zone, &e), 0);
	holidays[0] = cl_date_to_days((struct cl_date){2026, 11, 26});
	holidays[1] = cl_date_to_days((struct cl_date){2026, 12, 25});
	holidays[2] = cl_date_to_days((struct cl_date){2027, 1, 1});
	calendar = (struct cl_calendar){.zone = zone, .holidays = holidays, .holiday_count = 3};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cl_zone_free(zone);
	cl_arena_free(arena);
	return 0;
}

static cl_instant at(const char *text)
{
	struct cl_moment moment;
	struct cl_err e = {0};
	if (cl_moment_parse(cl_str_of(text), 0, &moment, &e))
		fail_msg("%s: %s", text, e.message);
	return moment.lower;
}

static struct cl_duration duration(const char *text)
{
	struct cl_duration out;
	struct cl_err e = {0};
	if (cl_duration_parse(cl_str_of(text), &out, &e))
		fail_msg("%s: %s", text, e.message);
	return out;
}

static void is_at(cl_instant is, const char *expected)
{
	if (is != at(expected))
		fail_msg("%.*s instead of %s", CL_STR_ARGS(cl_zone_text(arena, calendar.zone, is)), expected);
}

static void adds(const char *from, const char *amount, const char *expected)
{
	is_at(cl_calendar_add(&calendar, at(from), duration(amount)), expected);
}

static void durations_are_read(void **state)
{
	static const struct {
		const char *text;
		int32_t amount;
		enum cl_duration_unit unit;
		const char *written;
	} cases[] = {
	        {"15 minutes", 15, CL_MINUTES, "15 minutes"},
	        {"1 minute", 1, CL_MINUTES, "1 minute"},
	        {"4 hours", 4, CL_HOURS, "4 hours"},
	        {"2 business days", 2, CL_BUSINESS_DAYS, "2 business days"},
	        {" 1  business   day ", 1, CL_BUSINESS_DAYS, "1 business day"},
	        {"4 business hours", 4, CL_BUSINESS_HOURS, "4 business hours"},
	        {"60 days", 60, CL_DAYS, "60 days"},
	        {"1 week", 1, CL_WEEKS, "1 week"},
	        {"12 months", 12, CL_MONTHS, "12 months"},
	        {"100 years", 100, CL_YEARS, "100 years"},
	        {"-30 days", -30, CL_DAYS, "-30 days"},
	        {"0 days", 0, CL_DAYS, "0 days"},
	        {"1 days", 1, CL_DAYS, "1 day"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_duration is = duration(cases[i].text);
		assert_int_equal(is.amount, cases[i].amount);
		assert_int_equal(is.unit, cases[i].unit);
		assert_true(cl_str_is(cl_duration_text(arena, is), cases[i].written));
	}
}

static void wrong_durations_say_what_is_possible(void **state)
{
	static const struct {
		const char *text, *words;
	} cases[] = {
	        {"2 fortnights", "business days"},
	        {"2 dayz", "did you mean 'days'"},
	        {"2 buisness days", "did you mean 'business days'"},
	        {"two days", "whole number"},
	        {"1.5 hours", "whole number"},
	        {"", "whole number"},
	        {"days", "whole number"},
	        {"2days", "whole number"},
	        {"101 years", "at most 100 years"},
	        {"9999999999 days", "whole number"},
	        {"- 2 days", "whole number"},
	        {"2 ", "whole number"},
	        {"40000 days", "at most 36525 days"},
	        {"1 day 2 hours", "whole number"},
	        {"--1 day", "whole number"},
	        {"2 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	         "whole number"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_duration out;
		struct cl_err e = {0};
		assert_int_equal(cl_duration_parse(cl_str_of(cases[i].text), &out, &e), CL_E_INVALID);
		if (!strstr(e.message, cases[i].words))
			fail_msg("%s: %s", cases[i].text, e.message);
	}
}

/* Discharge Wednesday before Thanksgiving: contact within 2 business days, visit within 7 or 14 days, period of 30
 * days. */
static void transitional_care(void **state)
{
	(void)state;
	adds("2026-11-25T14:00:00-06:00", "2 business days", "2026-11-30T14:00:00-06:00");
	adds("2026-11-25T14:00:00-06:00", "7 days", "2026-12-02T14:00:00-06:00");
	adds("2026-11-25T14:00:00-06:00", "14 days", "2026-12-09T14:00:00-06:00");
	adds("2026-11-25T14:00:00-06:00", "29 days", "2026-12-24T14:00:00-06:00");
	adds("2026-11-20T10:15:00-06:00", "2 business days", "2026-11-24T10:15:00-06:00");
	adds("2026-12-23T16:45:00-06:00", "2 business days", "2026-12-28T16:45:00-06:00");
	/* After hours the day counts all the same: "regardless of practice hours". */
	adds("2026-11-25T23:30:00-06:00", "2 business days", "2026-11-30T23:30:00-06:00");
	adds("2026-12-31T12:00:00-06:00", "1 business day", "2027-01-04T12:00:00-06:00");
}

static void measurement_windows(void **state)
{
	(void)state;
	adds("2024-02-29T00:00:00-06:00", "12 months", "2025-02-28T00:00:00-06:00");
	adds("2025-02-28T00:00:00-06:00", "60 days", "2025-04-29T00:00:00-05:00");
	adds("2025-02-28T00:00:00-06:00", "-60 days", "2024-12-30T00:00:00-06:00");
	adds("2025-10-31T00:00:00-05:00", "60 days", "2025-12-30T00:00:00-06:00");
	adds("2025-10-31T00:00:00-05:00", "-60 days", "2025-09-01T00:00:00-05:00");
	adds("2025-03-03T00:00:00-06:00", "120 days", "2025-07-01T00:00:00-05:00");
	adds("2025-03-03T00:00:00-06:00", "240 days", "2025-10-29T00:00:00-05:00");
	adds("2025-01-01T00:00:00-06:00", "-14 months", "2023-11-01T00:00:00-05:00");
	adds("2025-01-01T00:00:00-06:00", "-2 months", "2024-11-01T00:00:00-05:00");
}

static void business_days_from_days_off(void **state)
{
	(void)state;
	/* From no business day counting starts at the next one's opening. */
	adds("2026-11-21T14:00:00-06:00", "1 business day", "2026-11-24T08:00:00-06:00");
	adds("2026-11-26T10:00:00-06:00", "1 business day", "2026-11-30T08:00:00-06:00");
	adds("2026-11-21T14:00:00-06:00", "-1 business day", "2026-11-19T17:00:00-06:00");
	adds("2026-11-23T14:00:00-06:00", "-1 business day", "2026-11-20T14:00:00-06:00");
	adds("2026-11-30T09:00:00-06:00", "-2 business days", "2026-11-25T09:00:00-06:00");
	/* 250 business days, three holidays: a little more than 50 weeks. */
	adds("2026-11-02T09:00:00-06:00", "250 business days", "2027-10-21T09:00:00-05:00");
}

static void business_hours(void **state)
{
	(void)state;
	adds("2026-11-20T15:00:00-06:00", "4 business hours", "2026-11-23T10:00:00-06:00");
	adds("2026-11-25T16:00:00-06:00", "4 business hours", "2026-11-27T11:00:00-06:00");
	adds("2026-11-22T12:00:00-06:00", "4 business hours", "2026-11-23T12:00:00-06:00");
	adds("2026-11-23T13:00:00-06:00", "4 business hours", "2026-11-23T17:00:00-06:00");
	adds("2026-11-23T17:00:00-06:00", "1 business hour", "2026-11-24T09:00:00-06:00");
	adds("2026-11-23T18:00:00-06:00", "1 business hour", "2026-11-24T09:00:00-06:00");
	adds("2026-11-23T05:00:00-06:00", "1 business hour", "2026-11-23T09:00:00-06:00");
	adds("2026-11-23T09:00:00-06:00", "-4 business hours", "2026-11-20T14:00:00-06:00");
	adds("2026-11-23T08:00:00-06:00", "-9 business hours", "2026-11-20T08:00:00-06:00");
	adds("2026-11-02T08:00:00-06:00", "90 business hours", "2026-11-13T17:00:00-06:00");
}

/* The other calendar: open on Saturdays, all day and night. */
static void other_hours(void **state)
{
	(void)state;
	calendar.workdays = 1 << 5 | 1 << 6;
	calendar.opens = 0;
	calendar.closes = 24 * 60;
	adds("2026-11-21T20:00:00-06:00", "6 business hours", "2026-11-22T02:00:00-06:00");
	adds("2026-11-22T20:00:00-06:00", "6 business hours", "2026-11-28T02:00:00-06:00");
	adds("2026-11-23T20:00:00-06:00", "1 business day", "2026-11-29T00:00:00-06:00");
	/* The Sunday when the clocks go back has 25 hours. */
	adds("2026-11-01T00:00:00-05:00", "25 business hours", "2026-11-02T00:00:00-06:00");
	assert_true(cl_calendar_is_business_day(&calendar, cl_date_to_days((struct cl_date){2026, 11, 21})));
	assert_false(cl_calendar_is_business_day(&calendar, cl_date_to_days((struct cl_date){2026, 11, 23})));
}

static void clocks_change(void **state)
{
	(void)state;
	/* Spring: a day is the same local time, 24 hours are 24 hours; the missing half past two moves forward. */
	adds("2026-03-07T09:00:00-06:00", "1 day", "2026-03-08T09:00:00-05:00");
	adds("2026-03-07T09:00:00-06:00", "24 hours", "2026-03-08T10:00:00-05:00");
	adds("2026-03-07T02:30:00-06:00", "1 day", "2026-03-08T03:30:00-05:00");
	adds("2026-03-06T09:00:00-06:00", "1 business day", "2026-03-09T09:00:00-05:00");
	adds("2026-03-01T02:30:00-06:00", "1 week", "2026-03-08T03:30:00-05:00");
	/* Autumn: of the two half past ones the first. */
	adds("2026-10-31T09:00:00-05:00", "1 day", "2026-11-01T09:00:00-06:00");
	adds("2026-10-31T09:00:00-05:00", "24 hours", "2026-11-01T08:00:00-06:00");
	adds("2026-10-31T01:30:00-05:00", "1 day", "2026-11-01T01:30:00-05:00");
	adds("2026-11-01T01:30:00-06:00", "30 minutes", "2026-11-01T02:00:00-06:00");
	adds("2026-11-01T01:30:00-06:00", "1 day", "2026-11-02T01:30:00-06:00");
}

static void months_end(void **state)
{
	(void)state;
	adds("2026-01-31T10:00:00-06:00", "1 month", "2026-02-28T10:00:00-06:00");
	adds("2024-01-31T10:00:00-06:00", "1 month", "2024-02-29T10:00:00-06:00");
	adds("2026-03-31T10:00:00-05:00", "-1 month", "2026-02-28T10:00:00-06:00");
	adds("2024-02-29T10:00:00-06:00", "1 year", "2025-02-28T10:00:00-06:00");
	adds("2026-12-31T10:00:00-06:00", "2 months", "2027-02-28T10:00:00-06:00");
	is_at(cl_calendar_month_start(&calendar, at("2026-11-01T04:59:59Z"), 0), "2026-10-01T00:00:00-05:00");
	is_at(cl_calendar_month_start(&calendar, at("2026-11-01T05:00:00Z"), 0), "2026-11-01T00:00:00-05:00");
	is_at(cl_calendar_month_start(&calendar, at("2026-11-15T12:00:00Z"), 1), "2026-12-01T00:00:00-06:00");
	is_at(cl_calendar_month_start(&calendar, at("2026-11-15T12:00:00Z"), -11), "2025-12-01T00:00:00-06:00");
}

static void fractions_and_nothing_are_kept(void **state)
{
	cl_instant from = at("2026-11-02T09:00:00-06:00") + 123456;
	(void)state;
	assert_int_equal(cl_calendar_add(&calendar, from, duration("1 day")) % CL_SECOND, 123456);
	assert_int_equal(cl_calendar_add(&calendar, from, duration("0 business days")), from);
	assert_int_equal(cl_calendar_add(&calendar, from, (struct cl_duration){0}), from);
	/* What code makes too large is cut, not wrapped. */
	assert_true(cl_calendar_add(&calendar, from, (struct cl_duration){INT32_MAX, CL_YEARS}) > from);
	assert_true(cl_calendar_add(&calendar, from, (struct cl_duration){INT32_MIN, CL_BUSINESS_DAYS}) < from);
}

static void near(double is, double expected)
{
	if (is - expected > 1e-9 || expected - is > 1e-9)
		fail_msg("%f instead of %f", is, expected);
}

static void counting_between(void **state)
{
	cl_instant from = at("2026-11-20T15:00:00-06:00"), to = at("2026-11-30T10:00:00-06:00");
	(void)state;
	assert_int_equal(cl_calendar_business_days(&calendar, from, to), 5);
	assert_int_equal(cl_calendar_business_days(&calendar, to, from), -5);
	assert_int_equal(cl_calendar_business_days(&calendar, from, from), 0);
	assert_int_equal(cl_calendar_business_days(&calendar, at("2026-01-01T12:00:00Z"), at("2027-01-01T12:00:00Z")),
	                 258);
	near(cl_calendar_between(&calendar, from, to, CL_DAYS), 9.0 + 19.0 / 24);
	near(cl_calendar_between(&calendar, from, to, CL_HOURS), 235);
	near(cl_calendar_between(&calendar, from, to, CL_MINUTES), 14100);
	near(cl_calendar_between(&calendar, to, from, CL_HOURS), -235);
	near(cl_calendar_between(&calendar, from, to, CL_BUSINESS_DAYS), 5);
	/* Friday 2, Monday to Wednesday 27, Friday 9, Monday 2. */
	near(cl_calendar_between(&calendar, from, to, CL_BUSINESS_HOURS), 40);
	near(cl_calendar_between(&calendar, at("2026-01-31T10:00:00-06:00"), at("2026-02-28T10:00:00-06:00"),
	                         CL_MONTHS),
	     1);
	near(cl_calendar_between(&calendar, at("2026-01-31T10:00:00-06:00"), at("2026-02-27T10:00:00-06:00"),
	                         CL_MONTHS),
	     0);
	near(cl_calendar_between(&calendar, at("2020-02-29T10:00:00-06:00"), at("2026-02-27T10:00:00-06:00"), CL_YEARS),
	     5);
	/* Adding what lies between comes back. */
	cl_instant later = cl_calendar_add(&calendar, from, duration("40 business hours"));
	near(cl_calendar_between(&calendar, from, later, CL_BUSINESS_HOURS), 40);
}

static void business_days_agree_with_counting_one_by_one(void **state)
{
	(void)state;
	cl_instant from = at("2026-11-18T12:00:00-06:00");
	int64_t first = cl_date_to_days(cl_zone_local(zone, from).date), count = 0;
	for (int64_t day = 1; day < 60; day++) {
		count += cl_calendar_is_business_day(&calendar, first + day);
		assert_int_equal(cl_calendar_business_days(&calendar, from, from + day * CL_DAY), count);
	}
}

/* ---- recurrences ---- */

static struct cl_recurrence recurrence(const char *time, const char *days)
{
	struct cl_recurrence out;
	struct cl_err e = {0};
	if (cl_recurrence_parse(cl_str_of(time), cl_str_of(days), &out, &e))
		fail_msg("%s %s: %s", time, days, e.message);
	return out;
}

static void comes(const char *time, const char *days, const char *after, const char *expected)
{
	struct cl_recurrence rule = recurrence(time, days);
	is_at(cl_recurrence_next(&calendar, &rule, at(after)), expected);
}

static void recurrences_come(void **state)
{
	(void)state;
	comes("07:00", "daily", "2026-11-20T06:59:59-06:00", "2026-11-20T07:00:00-06:00");
	comes("07:00", "daily", "2026-11-20T07:00:00-06:00", "2026-11-21T07:00:00-06:00");
	comes("7:00", "weekdays", "2026-11-20T07:00:00-06:00", "2026-11-23T07:00:00-06:00");
	comes("07:00", "weekdays", "2026-11-25T08:00:00-06:00", "2026-11-26T07:00:00-06:00");
	comes("07:00", "business days", "2026-11-25T08:00:00-06:00", "2026-11-27T07:00:00-06:00");
	comes("16:30", "monday", "2026-11-23T16:30:00-06:00", "2026-11-30T16:30:00-06:00");
	comes("16:30", "sunday", "2026-11-23T16:30:00-06:00", "2026-11-29T16:30:00-06:00");
	comes("00:00", "monthly", "2026-11-23T16:30:00-06:00", "2026-12-01T00:00:00-06:00");
	comes("00:00", "monthly 15", "2026-12-15T00:00:00-06:00", "2027-01-15T00:00:00-06:00");
	comes("23:59", "monthly 28", "2027-01-31T00:00:00-06:00", "2027-02-28T23:59:00-06:00");
}

static void recurrences_across_clock_changes(void **state)
{
	(void)state;
	/* Swallowed: at the gap's end. Twice: at the first. */
	comes("02:30", "daily", "2026-03-07T12:00:00-06:00", "2026-03-08T03:00:00-05:00");
	comes("02:30", "daily", "2026-03-08T03:00:00-05:00", "2026-03-09T02:30:00-05:00");
	comes("02:00", "daily", "2026-03-07T12:00:00-06:00", "2026-03-08T03:00:00-05:00");
	comes("02:59", "sunday", "2026-03-07T12:00:00-06:00", "2026-03-08T03:00:00-05:00");
	comes("01:30", "daily", "2026-10-31T12:00:00-05:00", "2026-11-01T01:30:00-05:00");
	comes("01:30", "daily", "2026-11-01T01:30:00-05:00", "2026-11-02T01:30:00-06:00");
	comes("01:30", "daily", "2026-11-01T01:30:00-06:00", "2026-11-02T01:30:00-06:00");
	comes("07:00", "daily", "2026-10-31T07:00:00-05:00", "2026-11-01T07:00:00-06:00");
}

/* A year of a daily recurrence at any minute of the night fires 365 times, whatever the clocks do. */
static void once_a_day_for_a_year(void **state)
{
	(void)state;
	for (int16_t minute = 0; minute < 240; minute += 7) {
		struct cl_recurrence rule = {.minute = minute, .days = CL_EVERY_DAY};
		cl_instant now = at("2026-01-01T12:00:00-06:00"), end = at("2027-01-01T12:00:00-06:00");
		int count = 0;
		while ((now = cl_recurrence_next(&calendar, &rule, now)) <= end)
			count++;
		assert_int_equal(count, 365);
	}
}

/* Havana changes at midnight. */
static void a_gap_at_midnight(void **state)
{
	struct cl_zone *havana;
	struct cl_err e = {0};
	(void)state;
	assert_int_equal(cl_zone_open("America/Havana", &havana, &e), 0);
	calendar.zone = havana;
	comes("00:30", "daily", "2026-03-07T12:00:00-05:00", "2026-03-08T01:00:00-04:00");
	comes("00:30", "daily", "2026-03-08T01:00:00-04:00", "2026-03-09T00:30:00-04:00");
	cl_zone_free(havana);
}

static void wrong_recurrences_say_what_is_possible(void **state)
{
	static const struct {
		const char *time, *days, *words;
	} cases[] = {
	        {"25:00", "daily", "no time of day"},
	        {"07:60", "daily", "no time of day"},
	        {"7", "daily", "no time of day"},
	        {"07:0", "daily", "no time of day"},
	        {"07:00:00", "daily", "no time of day"},
	        {"", "daily", "no time of day"},
	        {"07:00", "mondays", "did you mean 'monday'"},
	        {"07:00", "weekday", "did you mean 'weekdays'"},
	        {"07:00", "monthly 29", "monthly 15"},
	        {"07:00", "monthly 0", "monthly 15"},
	        {"07:00", "", "daily"},
	        {"07:00", "every other moon", "business days"},
	        {"07:00", "monthly x", "monthly"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_recurrence out;
		struct cl_err e = {0};
		assert_int_equal(cl_recurrence_parse(cl_str_of(cases[i].time), cl_str_of(cases[i].days), &out, &e),
		                 CL_E_INVALID);
		if (!strstr(e.message, cases[i].words))
			fail_msg("%s %s: %s", cases[i].time, cases[i].days, e.message);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(durations_are_read),
	        TEST(wrong_durations_say_what_is_possible),
	        TEST(transitional_care),
	        TEST(measurement_windows),
	        TEST(business_days_from_days_off),
	        TEST(business_hours),
	        TEST(other_hours),
	        TEST(clocks_change),
	        TEST(months_end),
	        TEST(fractions_and_nothing_are_kept),
	        TEST(counting_between),
	        TEST(business_days_agree_with_counting_one_by_one),
	        TEST(recurrences_come),
	        TEST(recurrences_across_clock_changes),
	        TEST(once_a_day_for_a_year),
	        TEST(a_gap_at_midnight),
	        TEST(wrong_recurrences_say_what_is_possible),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
