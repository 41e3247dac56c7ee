/* base_json_patch_test.c: JSON Patch: RFC 6902's appendix, the third-party cases, and what a hostile patch may not do. */
#include "base/json_patch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static struct cl_arena *arena;
static struct cl_err error;

static int set_up(void **state)
{
	(void)state;
	arena = cl_arena_new(0);
	memset(&error, 0, sizeof error);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cl_arena_free(arena);
	return 0;
}

/* In single quotes, for reading's sake. */
static struct cl_json *parse(const char *text)
{
	struct cl_json *value;
	char *copy = cl_arena_cstring(arena, cl_str_of(text));
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	if (cl_json_parse(arena, cl_str_of(copy), NULL, &value, &error))
		fail_msg("%s: %s", text, error.message);
	return value;
}

static const char *text_of(const struct cl_json *value)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_write(&out, value);
	const char *text = cl_arena_cstring(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	return text;
}

static void gives(const char *document, const char *patch, const char *expected)
{
	struct cl_json *value = parse(document);
	if (cl_json_patch(arena, value, parse(patch), &error))
		fail_msg("%s %s: %s %s", document, patch, error.where, error.message);
	assert_string_equal(text_of(value), text_of(parse(expected)));
}

static void refuses(const char *document, const char *patch, int code, const char *where)
{
	int rc = cl_json_patch(arena, parse(document), parse(patch), &error);
	if (rc != code)
		fail_msg("%s %s: %d instead of %d", document, patch, rc, code);
	assert_string_equal(error.where, where);
	assert_true(error.message[0] != 0);
}

static void operations(void **state)
{
	(void)state;
	gives("{'a':1}", "[{'op':'add','path':'/b','value':[1.10,2]}]", "{'a':1,'b':[1.10,2]}");
	gives("{'a':1}", "[{'op':'add','path':'/a','value':2}]", "{'a':2}");
	gives("{'a':[1,3]}", "[{'op':'add','path':'/a/1','value':2}]", "{'a':[1,2,3]}");
	gives("{'a':[1]}", "[{'op':'add','path':'/a/-','value':2},{'op':'add','path':'/a/2','value':3}]",
	      "{'a':[1,2,3]}");
	gives("{'a':[1,2]}", "[{'op':'remove','path':'/a/0'}]", "{'a':[2]}");
	gives("{'a':1,'b':2}", "[{'op':'remove','path':'/a'}]", "{'b':2}");
	gives("{'a':1.50}", "[{'op':'replace','path':'/a','value':1.500}]", "{'a':1.500}");
	gives("{'a':[1,2,3,4]}", "[{'op':'move','from':'/a/1','path':'/a/3'}]", "{'a':[1,3,4,2]}");
	gives("{'a':{'b':1}}", "[{'op':'move','from':'/a/b','path':'/c'}]", "{'a':{},'c':1}");
	gives("{'a':{'b':1}}", "[{'op':'copy','from':'/a','path':'/a/c'}]", "{'a':{'b':1,'c':{'b':1}}}");
	gives("{'a':1}", "[{'op':'replace','path':'','value':{'b':2}}]", "{'b':2}");
	gives("{'a':1}", "[]", "{'a':1}");
	gives("{'a':1}", "[{'op':'move','from':'/a','path':'/a'}]", "{'a':1}");
	/* A copy is one: changing it leaves the first. */
	gives("{'a':{'b':1}}", "[{'op':'copy','from':'/a','path':'/c'},{'op':'replace','path':'/c/b','value':2}]",
	      "{'a':{'b':1},'c':{'b':2}}");
}

static void pointers(void **state)
{
	(void)state;
	gives("{'a/b':1,'m~n':2,'':3}",
	      "[{'op':'test','path':'/a~1b','value':1},{'op':'test','path':'/m~0n','value':2},"
	      "{'op':'test','path':'/','value':3}]",
	      "{'a/b':1,'m~n':2,'':3}");
	gives("{'~1':1}", "[{'op':'replace','path':'/~01','value':2}]", "{'~1':2}");
	refuses("{'a':1}", "[{'op':'remove','path':'a'}]", CL_E_INVALID, "[0].path");
	refuses("{'a':1}", "[{'op':'remove','path':'/a~2'}]", CL_E_INVALID, "[0].path");
	refuses("{'a':1}", "[{'op':'remove','path':'/a~'}]", CL_E_INVALID, "[0].path");
	refuses("{'a':[1]}", "[{'op':'remove','path':'/a/00'}]", CL_E_RULE, "[0].path");
	refuses("{'a':[1]}", "[{'op':'remove','path':'/a/-'}]", CL_E_RULE, "[0].path");
	refuses("{'a':[1]}", "[{'op':'remove','path':'/a/1'}]", CL_E_RULE, "[0].path");
	refuses("{'a':[1]}", "[{'op':'add','path':'/a/2','value':1}]", CL_E_RULE, "[0].path");
	refuses("{'a':[1]}", "[{'op':'add','path':'/a/4294967296','value':1}]", CL_E_RULE, "[0].path");
	refuses("{'a':'x'}", "[{'op':'add','path':'/a/b','value':1}]", CL_E_RULE, "[0].path");
	struct cl_json *document = parse("{'a':[{'b':5}]}");
	assert_string_equal(text_of(cl_json_pointer(arena, document, CL_STR("/a/0/b"))), "5");
	assert_null(cl_json_pointer(arena, document, CL_STR("/a/1/b")));
	assert_ptr_equal(cl_json_pointer(arena, document, CL_STR("")), document);
}

static void tests_compare_values(void **state)
{
	(void)state;
	static const char *const equal[][2] = {{"1", "1.0"},
	                                       {"100", "1e2"},
	                                       {"1.5", "15E-1"},
	                                       {"0", "-0.00"},
	                                       {"0e5", "0"},
	                                       {"123456789012345678901234567890", "12345678901234567890123456789e1"},
	                                       {"{'a':1,'b':2}", "{'b':2,'a':1}"}};
	static const char *const other[][2] = {{"1", "1.01"},     {"1", "-1"},
	                                       {"1", "'1'"},      {"[1,2]", "[2,1]"},
	                                       {"{}", "[]"},      {"123456789012345678901", "123456789012345678902"},
	                                       {"null", "false"}, {"{'a':1}", "{'a':1,'b':1}"}};
	char document[200], patch[200];
	for (size_t i = 0; i < sizeof equal / sizeof *equal; i++) {
		snprintf(document, sizeof document, "{'x':%s}", equal[i][0]);
		snprintf(patch, sizeof patch, "[{'op':'test','path':'/x','value':%s}]", equal[i][1]);
		gives(document, patch, document);
	}
	for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
		snprintf(document, sizeof document, "{'x':%s}", other[i][0]);
		snprintf(patch, sizeof patch, "[{'op':'test','path':'/x','value':%s}]", other[i][1]);
		refuses(document, patch, CL_E_RULE, "[0].path");
	}
}

static void what_is_no_patch(void **state)
{
	(void)state;
	refuses("{}", "{'op':'add'}", CL_E_INVALID, "");
	refuses("{}", "[1]", CL_E_INVALID, "[0]");
	refuses("{}", "[{'path':'/a'}]", CL_E_INVALID, "[0]");
	refuses("{}", "[{'op':'add','value':1}]", CL_E_INVALID, "[0]");
	refuses("{}", "[{'op':'add','path':1,'value':1}]", CL_E_INVALID, "[0].path");
	refuses("{}", "[{'op':'add','path':'/a'}]", CL_E_INVALID, "[0]");
	refuses("{'a':1}", "[{'op':'test','path':'/a','value':1},{'op':'append','path':'/a','value':1}]", CL_E_INVALID,
	        "[1].op");
	refuses("{'a':1}", "[{'op':'move','path':'/b'}]", CL_E_INVALID, "[0]");
	refuses("{'a':1}", "[{'op':'copy','from':'/c','path':'/b'}]", CL_E_RULE, "[0].from");
	refuses("{'a':{'b':1}}", "[{'op':'move','from':'/a','path':'/a/b/c'}]", CL_E_RULE, "[0].path");
	refuses("{'a':1}", "[{'op':'remove','path':''}]", CL_E_RULE, "[0].path");
	refuses("{'a':1}", "[{'op':'move','from':'','path':'/a'}]", CL_E_RULE, "[0].path");
}

static void growth_is_bounded(void **state)
{
	(void)state;
	struct cl_buf patch;
	struct cl_json *operations, *document = parse("{'a':['aaaaaaaaaaaaaaaa']}");
	/* The array doubles with every pair of operations. */
	cl_buf_init(&patch, 0);
	cl_buf_add_cstring(&patch, "[");
	for (int i = 0; i < 100; i++)
		cl_buf_printf(&patch, "%s{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/a/-\"}", i ? "," : "");
	cl_buf_add_cstring(&patch, "]");
	assert_int_equal(cl_json_parse(arena, cl_buf_str(&patch), NULL, &operations, &error), 0);
	assert_int_equal(cl_json_patch(arena, document, operations, &error), CL_E_TOO_LARGE);
	cl_buf_clear(&patch);
	/* Deeper with every one. */
	cl_buf_add_cstring(&patch, "[");
	for (int i = 0; i < 100; i++)
		cl_buf_printf(&patch,
		              "%s{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/b\"},{\"op\":\"add\",\"path\":\"/"
		              "a\",\"value\":{}},"
		              "{\"op\":\"move\",\"from\":\"/b\",\"path\":\"/a/c\"}",
		              i ? "," : "");
	cl_buf_add_cstring(&patch, "]");
	assert_int_equal(cl_json_parse(arena, cl_buf_str(&patch), NULL, &operations, &error), 0);
	assert_int_equal(cl_json_patch(arena, parse("{'a':1}"), operations, &error), CL_E_TOO_LARGE);
	cl_buf_clear(&patch);
	cl_buf_add_cstring(&patch, "[");
	for (int i = 0; i <= CL_JSON_PATCH_OPERATIONS; i++)
		cl_buf_printf(&patch, "%s{\"op\":\"test\",\"path\":\"/a\",\"value\":1}", i ? "," : "");
	cl_buf_add_cstring(&patch, "]");
	assert_int_equal(cl_json_parse(arena, cl_buf_str(&patch), NULL, &operations, &error), 0);
	assert_int_equal(cl_json_patch(arena, parse("{'a':1}"), operations, &error), CL_E_TOO_LARGE);
	cl_buf_free(&patch);
}

static void what_removals_empty_goes(void **state)
{
	(void)state;
	struct cl_json *document = parse("{'a':[{'b':{'c':1}}],'d':{},'e':[1,2]}");
	struct cl_json *patch = parse("[{'op':'remove','path':'/a/0/b/c'},{'op':'remove','path':'/e/0'}]");
	assert_int_equal(cl_json_patch(arena, document, patch, &error), 0);
	assert_string_equal(text_of(document), text_of(parse("{'a':[{'b':{}}],'d':{},'e':[2]}")));
	cl_json_patch_prune(arena, document, patch);
	assert_string_equal(text_of(document), text_of(parse("{'d':{},'e':[2]}")));
}

/* An array of { comment, doc, patch, expected | error }. */
static void third_party_cases(void **state)
{
	(void)state;
	static const char path[] = CL_SOURCE_DIR "/../shared/data/fhir-test-cases/r4/patch/json-patch-tests.json";
	if (access(path, R_OK)) {
		print_message("skipped: ../shared/data is not here\n");
		skip();
	}
	static char text[1 << 16];
	FILE *in = fopen(path, "re");
	size_t n = fread(text, 1, sizeof text, in), run = 0;
	fclose(in);
	struct cl_json *cases;
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text, n}, NULL, &cases, &error), 0);
	for (uint32_t i = 0; i < cases->count; i++) {
		struct cl_json *one = &cases->items[i], *document = cl_json_get(one, "doc");
		struct cl_json *expected = cl_json_get(one, "expected");
		struct cl_str comment = cl_json_get_text(one, "comment");
		int code = cl_json_patch(arena, document, cl_json_get(one, "patch"), &error);
		if ((code == 0) != (expected != NULL))
			fail_msg("%.*s: %d %s", CL_STR_ARGS(comment), code, error.message);
		if (expected && !cl_json_equal(document, expected))
			fail_msg("%.*s: %s", CL_STR_ARGS(comment), text_of(document));
		run++;
	}
	assert_true(run >= 16);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(operations),        TEST(pointers),          TEST(tests_compare_values),
	        TEST(what_is_no_patch),  TEST(growth_is_bounded), TEST(what_removals_empty_goes),
	        TEST(third_party_cases),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
