/* base_timezone_test.c: zones with gaps, overlaps, odd offsets, and rules beyond a file's last transition. */
#include "base/timezone.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static struct cl_zone *zone_of(const char *name)
{
	struct cl_zone *zone;
	struct cl_err error = {0};
	if (cl_zone_open(name, &zone, &error) != 0)
		fail_msg("%s: %s", name, error.message);
	assert_string_equal(cl_zone_name(zone), name);
	return zone;
}

static cl_instant utc(const char *text)
{
	struct cl_moment moment;
	assert_int_equal(cl_moment_parse(cl_str_of(text), 0, &moment, NULL), 0);
	return moment.lower;
}

/* A local time, the instant it must become, and that instant shown in the zone. */
static void assert_instant(const char *name, const char *local, const char *expected, const char *shown)
{
	struct cl_zone *zone = zone_of(name);
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_date date;
	int hour, minute, second;
	assert_int_equal(
	        sscanf(local, "%d-%d-%dT%d:%d:%d", &date.year, &date.month, &date.day, &hour, &minute, &second), 6);
	cl_instant instant = cl_zone_instant(zone, date, hour, minute, second);
	assert_string_equal(cl_instant_text(arena, instant).p, expected);
	assert_string_equal(cl_zone_text(arena, zone, instant).p, shown);
	cl_arena_free(arena);
	cl_zone_free(zone);
}

static void test_offsets(void **state)
{
	static const struct {
		const char *zone, *instant;
		int32_t offset;
	} cases[] = {
	        {"America/Chicago", "2026-01-15T12:00:00Z", -6 * 3600},
	        {"America/Chicago", "2026-07-15T12:00:00Z", -5 * 3600},
	        {"America/Chicago", "2026-03-08T07:59:59Z", -6 * 3600},
	        {"America/Chicago", "2026-03-08T08:00:00Z", -5 * 3600},
	        {"America/Chicago", "2026-11-01T06:59:59Z", -5 * 3600},
	        {"America/Chicago", "2026-11-01T07:00:00Z", -6 * 3600},
	        {"America/Chicago", "1974-01-15T12:00:00Z", -5 * 3600}, /* summer time all through that winter */
	        {"America/Chicago", "2060-01-15T12:00:00Z", -6 * 3600},
	        {"America/Chicago", "2060-03-14T07:59:59Z", -6 * 3600},
	        {"America/Chicago", "2060-03-14T08:00:00Z", -5 * 3600},
	        {"America/Chicago", "2060-11-07T07:00:00Z", -6 * 3600},
	        {"Europe/Berlin", "2026-03-29T00:59:59Z", 3600},
	        {"Europe/Berlin", "2026-03-29T01:00:00Z", 7200},
	        {"Europe/Berlin", "2060-07-01T00:00:00Z", 7200},
	        {"Europe/Berlin", "2060-10-31T01:00:00Z", 3600},
	        {"Asia/Kolkata", "2026-07-01T00:00:00Z", 19800},
	        {"Asia/Kolkata", "2060-07-01T00:00:00Z", 19800},
	        {"Australia/Lord_Howe", "2026-01-01T00:00:00Z", 11 * 3600},
	        {"Australia/Lord_Howe", "2026-07-01T00:00:00Z", 10 * 3600 + 1800}, /* half an hour of summer time */
	        {"Australia/Lord_Howe", "2060-01-01T00:00:00Z", 11 * 3600},
	        {"Australia/Lord_Howe", "2060-07-01T00:00:00Z", 10 * 3600 + 1800},
	        {"UTC", "2026-07-01T00:00:00Z", 0},
	        {"Etc/GMT+5", "2026-07-01T00:00:00Z", -5 * 3600},
	        {"Asia/Kathmandu", "2026-07-01T00:00:00Z", 20700},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_zone *zone = zone_of(cases[i].zone);
		if (cl_zone_offset(zone, utc(cases[i].instant)) != cases[i].offset)
			fail_msg("%s at %s: %d", cases[i].zone, cases[i].instant,
			         cl_zone_offset(zone, utc(cases[i].instant)));
		cl_zone_free(zone);
	}
}

static void test_instants(void **state)
{
	(void)state;
	assert_instant("America/Chicago", "2026-11-22T00:16:07", "2026-11-22T06:16:07.000Z",
	               "2026-11-22T00:16:07-06:00");
	assert_instant("Asia/Kolkata", "2026-01-01T00:00:00", "2025-12-31T18:30:00.000Z", "2026-01-01T00:00:00+05:30");
	/* Gaps: forward by their length. */
	assert_instant("America/Chicago", "2026-03-08T01:59:59", "2026-03-08T07:59:59.000Z",
	               "2026-03-08T01:59:59-06:00");
	assert_instant("America/Chicago", "2026-03-08T02:00:00", "2026-03-08T08:00:00.000Z",
	               "2026-03-08T03:00:00-05:00");
	assert_instant("America/Chicago", "2026-03-08T02:30:00", "2026-03-08T08:30:00.000Z",
	               "2026-03-08T03:30:00-05:00");
	assert_instant("America/Chicago", "2026-03-08T03:00:00", "2026-03-08T08:00:00.000Z",
	               "2026-03-08T03:00:00-05:00");
	assert_instant("America/Chicago", "2060-03-14T02:30:00", "2060-03-14T08:30:00.000Z",
	               "2060-03-14T03:30:00-05:00");
	assert_instant("Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T01:30:00.000Z", "2026-03-29T03:30:00+02:00");
	assert_instant("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:45:00.000Z",
	               "2026-10-04T02:45:00+11:00");
	/* Samoa had no 30 December 2011. */
	assert_instant("Pacific/Apia", "2011-12-30T12:00:00", "2011-12-30T22:00:00.000Z", "2011-12-31T12:00:00+14:00");
	/* Overlaps: the first. */
	assert_instant("America/Chicago", "2026-11-01T01:30:00", "2026-11-01T06:30:00.000Z",
	               "2026-11-01T01:30:00-05:00");
	assert_instant("America/Chicago", "2026-11-01T02:00:00", "2026-11-01T08:00:00.000Z",
	               "2026-11-01T02:00:00-06:00");
	assert_instant("America/Chicago", "2060-11-07T01:30:00", "2060-11-07T06:30:00.000Z",
	               "2060-11-07T01:30:00-05:00");
	assert_instant("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00.000Z", "2026-10-25T02:30:00+02:00");
	assert_instant("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-04T14:45:00.000Z",
	               "2026-04-05T01:45:00+11:00");
	/* Leap days, the year's end, and before the zone's first transition, where offsets have seconds. */
	assert_instant("America/Chicago", "2024-02-29T23:59:59", "2024-03-01T05:59:59.000Z",
	               "2024-02-29T23:59:59-06:00");
	assert_instant("Europe/Berlin", "2096-02-29T12:00:00", "2096-02-29T11:00:00.000Z", "2096-02-29T12:00:00+01:00");
	assert_instant("Europe/Berlin", "2060-12-31T23:59:59", "2060-12-31T22:59:59.000Z", "2060-12-31T23:59:59+01:00");
	assert_instant("America/Chicago", "1850-01-01T00:00:00", "1850-01-01T05:50:36.000Z",
	               "1850-01-01T00:00:36-05:50");
}

static void test_local(void **state)
{
	(void)state;
	struct cl_zone *zone = zone_of("America/Chicago");
	struct cl_local local = cl_zone_local(zone, utc("2026-11-23T05:16:07.999Z"));
	assert_int_equal(local.date.year, 2026);
	assert_int_equal(local.date.month, 11);
	assert_int_equal(local.date.day, 22);
	assert_int_equal(local.hour, 23);
	assert_int_equal(local.minute, 16);
	assert_int_equal(local.second, 7);
	assert_int_equal(local.weekday, 6);
	/* Extremes must not trap. */
	cl_zone_local(zone, INT64_MAX);
	cl_zone_local(zone, INT64_MIN);
	cl_zone_instant(zone, (struct cl_date){INT32_MAX, 12, 31}, 23, 59, 59);
	cl_zone_instant(zone, (struct cl_date){INT32_MIN, 1, 1}, 0, 0, 0);
	cl_zone_free(zone);
}

/* libc is the oracle: it knows one zone a process, which is enough for a test. */
static void test_agrees_with_libc(void **state)
{
	static const char *const names[] = {
	        "America/Chicago",  "America/New_York", "Europe/Berlin",       "Europe/Dublin",     "Asia/Kolkata",
	        "America/St_Johns", "Pacific/Apia",     "Australia/Lord_Howe", "Africa/Casablanca", "America/Nuuk",
	        "Asia/Gaza",        "Asia/Tehran",      "America/Sao_Paulo",   "Antarctica/Troll",  "UTC",
	};
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct cl_zone *zone = zone_of(names[i]);
		setenv("TZ", names[i], 1);
		tzset();
		/* From 1800 to 2200, at steps that fall on every hour of the week. */
		for (time_t time = -5364662400; time < 7258118400; time += 361 * 3607) {
			struct tm parts;
			localtime_r(&time, &parts);
			struct cl_local local = cl_zone_local(zone, time * CL_SECOND);
			if (cl_zone_offset(zone, time * CL_SECOND) != parts.tm_gmtoff || local.hour != parts.tm_hour ||
			    local.date.day != parts.tm_mday || local.weekday != (parts.tm_wday + 6) % 7)
				fail_msg("%s at %lld", names[i], (long long)time);
			/* Back again, unless this is the second of two equal local times. */
			cl_instant back = cl_zone_instant(zone, local.date, local.hour, local.minute, local.second);
			struct cl_local again = cl_zone_local(zone, back);
			assert_true(back <= time * CL_SECOND);
			assert_true(again.hour == local.hour && again.minute == local.minute &&
			            again.date.day == local.date.day);
		}
		cl_zone_free(zone);
	}
}

static void refuse(const char *name, int code)
{
	struct cl_zone *zone;
	struct cl_err error = {0};
	int rc = cl_zone_open(name, &zone, &error);
	if (rc != code)
		fail_msg("%s: %d", name ? name : "(null)", rc);
	assert_null(zone);
	assert_true(error.message[0] != 0);
}

static void test_names(void **state)
{
	char longest[200];
	(void)state;
	memset(longest, 'a', sizeof longest);
	longest[199] = 0;
	refuse("", CL_E_INVALID);
	refuse(NULL, CL_E_INVALID);
	refuse("../../../etc/passwd", CL_E_INVALID);
	refuse("America/../UTC", CL_E_INVALID);
	refuse("/usr/share/zoneinfo/UTC", CL_E_INVALID);
	refuse("America//Chicago", CL_E_INVALID);
	refuse("America/", CL_E_INVALID);
	refuse("UTC\n", CL_E_INVALID);
	refuse("tzdata.zi", CL_E_INVALID);
	refuse("Z\xc3\xbcrich", CL_E_INVALID);
	refuse(longest, CL_E_INVALID);
	refuse("America", CL_E_NOT_FOUND);
	refuse("Atlantis/Capital", CL_E_NOT_FOUND);
	refuse("UTC/Chicago", CL_E_NOT_FOUND);
	refuse("leapseconds", CL_E_CORRUPT);
}

/* A TZif file of version 2 in memory: two types (0 and `offset`), transitions as given, and a rule. */
static struct cl_str make_file(char *out, int32_t offset, const int64_t *at, int transitions, const char *rule)
{
	char *p = out;
	for (int block = 0; block < 2; block++) {
		int times = block ? transitions : 0;
		memset(p, 0, 44);
		memcpy(p, "TZif2", 5);
		p[35] = (char)times;
		p[39] = 2;
		p[43] = 4;
		p += 44;
		for (int i = 0; i < times; i++)
			for (int k = 0; k < 8; k++)
				*p++ = (char)((uint64_t)at[i] >> (56 - 8 * k));
		for (int i = 0; i < times; i++)
			*p++ = (char)(1 - i % 2);
		memset(p, 0, 12);
		for (int k = 0; k < 4; k++)
			p[6 + k] = (char)((uint32_t)offset >> (24 - 8 * k));
		p += 12;
		memcpy(p, "XYZ", 4);
		p += 4;
	}
	p += sprintf(p, "\n%s\n", rule);
	return (struct cl_str){out, (size_t)(p - out)};
}

static int parse(struct cl_str bytes, struct cl_zone **zone)
{
	char *tight = malloc(bytes.n ? bytes.n : 1);
	if (bytes.n)
		memcpy(tight, bytes.p, bytes.n);
	int rc = cl_zone_parse("Test/Zone", (struct cl_str){tight, bytes.n}, zone, NULL);
	free(tight);
	return rc;
}

static int32_t rule_offset(const char *rule, const char *instant)
{
	char file[512];
	struct cl_zone *zone;
	if (parse(make_file(file, 0, NULL, 0, rule), &zone) != 0)
		fail_msg("%s", rule);
	int32_t offset = cl_zone_offset(zone, utc(instant));
	cl_zone_free(zone);
	return offset;
}

static void test_rules(void **state)
{
	(void)state;
	assert_int_equal(rule_offset("EST5", "2026-07-01T00:00:00Z"), -18000);
	assert_int_equal(rule_offset("<-03>3", "2026-07-01T00:00:00Z"), -10800);
	assert_int_equal(rule_offset("<+0530>-5:30", "2026-07-01T00:00:00Z"), 19800);
	assert_int_equal(rule_offset("LMT-0:01:15", "2026-07-01T00:00:00Z"), 75);
	/* Southern: summer across the new year. */
	assert_int_equal(rule_offset("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-12-31T23:00:00Z"), 39600);
	assert_int_equal(rule_offset("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-04-04T15:59:59Z"), 39600);
	assert_int_equal(rule_offset("AEST-10AEDT,M10.1.0,M4.1.0/3", "2026-04-04T16:00:00Z"), 36000);
	/* Dublin: winter time is the exception. */
	assert_int_equal(rule_offset("IST-1GMT0,M10.5.0,M3.5.0/1", "2026-01-01T00:00:00Z"), 0);
	assert_int_equal(rule_offset("IST-1GMT0,M10.5.0,M3.5.0/1", "2026-07-01T00:00:00Z"), 3600);
	/* Julian days, with and without leap day: 1 March both times. */
	assert_int_equal(rule_offset("AAA0BBB,J60/0,J300", "2024-02-29T23:59:59Z"), 0);
	assert_int_equal(rule_offset("AAA0BBB,J60/0,J300", "2024-03-01T00:00:00Z"), 3600);
	assert_int_equal(rule_offset("AAA0BBB,J60/0,J300", "2023-03-01T00:00:00Z"), 3600);
	assert_int_equal(rule_offset("AAA0BBB,60/0,300", "2024-02-29T23:59:59Z"), 0);
	assert_int_equal(rule_offset("AAA0BBB,60/0,300", "2024-03-01T00:00:00Z"), 3600);
	assert_int_equal(rule_offset("AAA0BBB,60/0,300", "2023-03-01T23:59:59Z"), 0);
	/* Times outside the day: Nuuk changes on the Saturday before. */
	assert_int_equal(rule_offset("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T00:59:59Z"), -7200);
	assert_int_equal(rule_offset("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "2026-03-29T01:00:00Z"), -3600);
	assert_int_equal(rule_offset("AAA0BBB,J1/-167,J100", "2025-12-25T01:00:00Z"), 3600);
	assert_int_equal(rule_offset("AAA0BBB,J100,J365/167", "2026-01-06T21:59:59Z"), 3600);
	assert_int_equal(rule_offset("AAA0BBB,J100,J365/167", "2026-01-06T22:00:00Z"), 0);
	/* Summer time all year. */
	assert_int_equal(rule_offset("XXX3EDT4,0/0,J365/23", "2026-01-01T03:59:59Z"), -14400);
	assert_int_equal(rule_offset("XXX3EDT4,0/0,J365/23", "2026-01-01T03:00:00Z"), -14400);
	assert_int_equal(rule_offset("XXX3EDT4,0/0,J365/23", "2026-07-01T00:00:00Z"), -14400);
}

static void test_refused_rules(void **state)
{
	static const char *const rules[] = {
	        "E5",
	        "EST",
	        "5",
	        "EST25",
	        "EST5EDT",
	        "EST5EDT,M3.2.0",
	        "EST5EDT,M13.1.0,M11.1.0",
	        "EST5EDT,M3.6.0,M11.1.0",
	        "EST5EDT,M3.2.7,M11.1.0",
	        "EST5EDT,J0,J1",
	        "EST5EDT,J366,J1",
	        "EST5EDT,366,1",
	        "EST5EDT,M3.2.0,M11.1.0,",
	        "EST5EDT,M3.2.0/168,M11.1.0",
	        "<-033",
	        "EST5x",
	        "EST5:60",
	        "EST99999999999999",
	};
	char file[512];
	struct cl_zone *zone;
	(void)state;
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		if (parse(make_file(file, 0, NULL, 0, rules[i]), &zone) != CL_E_CORRUPT)
			fail_msg("%s", rules[i]);
}

static void test_files(void **state)
{
	static const int64_t ascending[] = {1000, 2000, 3000}, equal[] = {1000, 1000}, descending[] = {2000, 1000};
	char file[1024];
	struct cl_zone *zone;
	(void)state;
	struct cl_str good = make_file(file, 3600, ascending, 3, "");
	assert_int_equal(parse(good, &zone), 0);
	/* Before the first transition, between them, and without a rule after the last. */
	static const int32_t expected[] = {0, 0, 3600, 3600, 0, 0, 3600, 3600};
	static const int64_t times[] = {-1, 999, 1000, 1999, 2000, 2999, 3000, INT64_MAX / CL_SECOND};
	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		assert_int_equal(cl_zone_offset(zone, times[i] * CL_SECOND), expected[i]);
	cl_zone_free(zone);
	/* A gap at the file's last transition, which the rule knows nothing of. */
	assert_int_equal(parse(make_file(file, 3600, ascending, 1, "XYZ-1"), &zone), 0);
	assert_int_equal(cl_zone_instant(zone, (struct cl_date){1970, 1, 1}, 0, 20, 0), 1200 * CL_SECOND);
	assert_int_equal(cl_zone_instant(zone, (struct cl_date){1970, 1, 1}, 0, 10, 0), 600 * CL_SECOND);
	assert_int_equal(cl_zone_instant(zone, (struct cl_date){1970, 1, 1}, 1, 20, 0), 1200 * CL_SECOND);
	cl_zone_free(zone);
	good = make_file(file, 3600, ascending, 3, "");
	/* No part of a file is a file. */
	for (size_t n = 0; n < good.n; n++)
		assert_int_equal(parse((struct cl_str){file, n}, &zone), CL_E_CORRUPT);
	assert_int_equal(parse(make_file(file, 3600, equal, 2, ""), &zone), CL_E_CORRUPT);
	assert_int_equal(parse(make_file(file, 3600, descending, 2, ""), &zone), CL_E_CORRUPT);
	assert_int_equal(parse(make_file(file, 100000, ascending, 3, ""), &zone), CL_E_CORRUPT);
	assert_int_equal(parse(make_file(file, INT32_MIN, ascending, 3, ""), &zone), CL_E_CORRUPT);
	good = make_file(file, 3600, ascending, 3, "");
	file[4] = 0; /* version 1 */
	assert_int_equal(parse(good, &zone), CL_E_CORRUPT);
	good = make_file(file, 3600, ascending, 3, "");
	memset(file + 20, 0xff, 24); /* enormous counts */
	assert_int_equal(parse(good, &zone), CL_E_CORRUPT);
	good = make_file(file, 3600, ascending, 3, "");
	file[60 + 44 + 24] = 2; /* a transition to a type that is not there */
	assert_int_equal(parse(good, &zone), CL_E_CORRUPT);
	refuse("right/UTC", CL_E_CORRUPT); /* with leap seconds */
}

static void test_version(void **state)
{
	const char *version = cl_zone_data_version();
	int year;
	char letter;
	(void)state;
	assert_int_equal(sscanf(version, "%4d%c", &year, &letter), 2);
	assert_in_range(year, 2020, 2100);
	assert_in_range(letter, 'a', 'z');
	assert_ptr_equal(version, cl_zone_data_version());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_offsets),       cmocka_unit_test(test_instants),
	        cmocka_unit_test(test_local),         cmocka_unit_test(test_agrees_with_libc),
	        cmocka_unit_test(test_names),         cmocka_unit_test(test_rules),
	        cmocka_unit_test(test_refused_rules), cmocka_unit_test(test_files),
	        cmocka_unit_test(test_version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
