/* destination_test.c: which addresses may be called: the reader, the lists, inside and outside; and the courier's last look. */
#include "base/destination.h"
#include "courier/delivery.h"
#include <arpa/inet.h>
#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static bool reads(const char *url)
{
	struct cl_destination out;
	struct cl_err e = {0};
	return !cl_destination_read(cl_str_of(url), &out, &e);
}

static bool allowed(const char *url, const char *pattern)
{
	struct cl_destination out;
	assert_int_equal(cl_destination_read(cl_str_of(url), &out, NULL), 0);
	return cl_destination_allowed(&out, cl_str_of(pattern));
}

static bool is_private(const char *url)
{
	struct cl_destination out;
	assert_int_equal(cl_destination_read(cl_str_of(url), &out, NULL), 0);
	return cl_destination_is_private(&out);
}

static void addresses_are_read_strictly(void **state)
{
	static const char *const good[] = {"https://a.example",         "https://a.example:8443/x/y?z=%20&q",
	                                   "http://192.0.2.7/",         "https://[2001:db8::1]:8443/",
	                                   "https://a.example/x.y/..z", "https://xn--bcher-kva.example"};
	static const char *const bad[] = {"",
	                                  "https://",
	                                  "https:///x",
	                                  "ftp://a.example",
	                                  "HTTPS://a.example",
	                                  "https://a@b.example",
	                                  "https://a.example#x",
	                                  "https://a.example/x y",
	                                  "https://a.example/\\x",
	                                  "https://a.example/../x",
	                                  "https://a.example/x/..",
	                                  "https://a.example/./x",
	                                  "https://a.example/%2e%2e/x",
	                                  "https://a.example/x%2Fy",
	                                  "https://a.example:0/",
	                                  "https://a.example:99999/",
	                                  "https://a.example:/",
	                                  "https://a..example",
	                                  "https://.example",
	                                  "https://2130706433/",
	                                  "https://127.1/",
	                                  "https://0x7f.0.0.1.0x1",
	                                  "https://127.0.0.01/",
	                                  "https://[::1",
	                                  "https://[::1]x",
	                                  "https://[1.2.3.4]/",
	                                  "https://*.example/",
	                                  "https://a.example/%",
	                                  "https://a.example/\xc3\xa9",
	                                  "https://a.example/\n",
	                                  "https://a.example?x#y"};
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		if (!reads(good[i]))
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (reads(bad[i]))
			fail_msg("taken: %s", bad[i]);
}

static void lists_are_held_to_whole_parts(void **state)
{
	(void)state;
	assert_true(allowed("https://a.example/x", "https://a.example"));
	assert_true(allowed("https://A.EXAMPLE:443/x", "https://a.example/"));
	assert_true(allowed("https://a.example/x?y", "https://a.example/x"));
	assert_true(allowed("https://a.example/x/y", "https://a.example/x"));
	assert_false(allowed("https://a.example/xy", "https://a.example/x"));
	assert_false(allowed("https://a.example/", "https://a.example/x"));
	assert_false(allowed("http://a.example/", "https://a.example"));
	assert_false(allowed("https://a.example:444/", "https://a.example"));
	assert_true(allowed("https://a.example:444/", "https://a.example:*"));
	assert_true(allowed("https://b.a.example/", "https://*.a.example"));
	assert_true(allowed("https://c.b.a.example/", "https://*.a.example"));
	assert_false(allowed("https://a.example/", "https://*.a.example"));
	assert_false(allowed("https://xa.example/", "https://*.a.example"));
	assert_false(allowed("https://a.example.evil.example/", "https://a.example"));
	assert_false(allowed("https://a.example/", "nonsense"));
	assert_int_equal(cl_destination_check_pattern(CL_STR("https://*.example:*/x"), NULL), 0);
	assert_int_not_equal(cl_destination_check_pattern(CL_STR("https://a.example/?x"), NULL), 0);
	assert_int_not_equal(cl_destination_check_pattern(CL_STR("https://*"), NULL), 0);
}

static void inside_is_told_from_outside(void **state)
{
	static const char *const inside[] = {"https://127.0.0.1",
	                                     "https://10.1.2.3",
	                                     "https://172.31.0.1",
	                                     "https://192.168.1.1",
	                                     "https://169.254.169.254",
	                                     "https://100.64.0.1",
	                                     "https://0.0.0.0",
	                                     "https://224.0.0.1",
	                                     "https://255.255.255.255",
	                                     "https://[::1]",
	                                     "https://[::]",
	                                     "https://[fe80::1]",
	                                     "https://[fd00::1]",
	                                     "https://[::ffff:10.0.0.1]",
	                                     "https://[64:ff9b::7f00:1]",
	                                     "https://[2002:7f00:1::]",
	                                     "https://[ff02::1]",
	                                     "https://localhost",
	                                     "https://a.localhost",
	                                     "https://printer",
	                                     "https://db.internal"};
	static const char *const outside[] = {"https://8.8.8.8", "https://172.32.0.1", "https://[2606:4700::1111]",
	                                      "https://a.example", "https://[::ffff:8.8.8.8]"};
	(void)state;
	for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
		if (!is_private(inside[i]))
			fail_msg("taken for outside: %s", inside[i]);
	for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
		if (is_private(outside[i]))
			fail_msg("taken for inside: %s", outside[i]);
}

static void origins_are_one_text(void **state)
{
	struct cl_destination out;
	struct cl_arena *arena = cl_arena_new(0);
	(void)state;
	assert_int_equal(cl_destination_read(CL_STR("https://A.example/x"), &out, NULL), 0);
	assert_true(cl_str_is(cl_destination_origin(arena, &out), "https://a.example:443"));
	assert_int_equal(cl_destination_read(CL_STR("http://[2001:DB8::1]:81"), &out, NULL), 0);
	assert_true(cl_str_is(cl_destination_origin(arena, &out), "http://[2001:db8::1]:81"));
	cl_arena_free(arena);
}

/* ---- the courier: what a name leads to is looked at when it is called ---- */

struct outcome {
	struct event_base *base;
	char problem[300];
	bool done;
};

static void on_done(void *context, const struct cl_delivery_result *result)
{
	struct outcome *outcome = context;
	assert_int_equal(result->status, 0);
	snprintf(outcome->problem, sizeof outcome->problem, "%s", result->problem);
	outcome->done = true;
	event_base_loopbreak(outcome->base);
}

static const char *call(struct outcome *outcome, bool outside_only)
{
	struct cl_err e = {0};
	struct cl_delivery *delivery = cl_delivery_new(outcome->base);
	struct cl_delivery_letter letter = {.url = CL_STR("https://localhost:1/x"),
	                                    .method = CL_STR("POST"),
	                                    .outside_only = outside_only,
	                                    .seconds = 5};
	outcome->done = false;
	assert_int_equal(cl_delivery_send(delivery, &letter, on_done, outcome, &e), 0);
	event_base_dispatch(outcome->base);
	assert_true(outcome->done);
	cl_delivery_free(delivery);
	return outcome->problem;
}

static void names_that_lead_inside_are_not_called(void **state)
{
	struct outcome outcome = {.base = event_base_new()};
	struct cl_err e = {0};
	struct cl_str line = CL_STR("X: a\r\nHost: b");
	struct cl_delivery_letter letter = {
	        .url = CL_STR("https://a.example"), .method = CL_STR("POST"), .headers = &line, .header_count = 1};
	(void)state;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	assert_string_equal(call(&outcome, true), "the name leads to an address of this machine or its own network");
	assert_null(strstr(call(&outcome, false), "own network"));
	struct cl_delivery *delivery = cl_delivery_new(outcome.base);
	assert_int_equal(cl_delivery_send(delivery, &letter, on_done, &outcome, &e), CL_E_RULE);
	letter.url = CL_STR("http://a.example");
	letter.header_count = 0;
	assert_int_equal(cl_delivery_send(delivery, &letter, on_done, &outcome, &e), CL_E_RULE);
	cl_delivery_free(delivery);
	event_base_free(outcome.base);
	curl_global_cleanup();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(addresses_are_read_strictly),
	        cmocka_unit_test(lists_are_held_to_whole_parts),
	        cmocka_unit_test(inside_is_told_from_outside),
	        cmocka_unit_test(origins_are_one_text),
	        cmocka_unit_test(names_that_lead_inside_are_not_called),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
