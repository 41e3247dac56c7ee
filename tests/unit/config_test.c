/* config_test.c: configuration files: what is read, what is refused, and where it stands. */
#include "base/config.h"
#include "supervisor/settings.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct fixture {
	struct cl_arena *arena;
	char folder[64];
};

static int set_up(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);
	fixture->arena = cl_arena_new(0);
	strcpy(fixture->folder, "/tmp/careloop-config-XXXXXX");
	*state = fixture;
	return mkdtemp(fixture->folder) ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *fixture = *state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", fixture->folder);
	int result = system(command);
	cl_arena_free(fixture->arena);
	free(fixture);
	return result;
}

static const char *write_file(struct fixture *fixture, const char *name, const char *text)
{
	const char *path = cl_arena_printf(fixture->arena, "%s/%s", fixture->folder, name).p;
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return path;
}

static void expect_tree(struct fixture *fixture, const char *text, const char *json)
{
	struct cl_json *tree;
	struct cl_err e = {0};
	struct cl_buf out;
	int result = cl_config_load_text(fixture->arena, "test.lua", cl_str_of(text), &tree, &e);
	if (result)
		fail_msg("%s: %s: %s", text, e.where, e.message);
	cl_buf_init(&out, 0);
	cl_json_write(&out, tree);
	cl_buf_add_byte(&out, '\0');
	assert_string_equal(out.p, json);
	cl_buf_free(&out);
}

static void expect_refusal(struct fixture *fixture, const char *text, int code, const char *where, const char *message)
{
	struct cl_json *tree;
	struct cl_err e = {0};
	int result = cl_config_load_text(fixture->arena, "test.lua", cl_str_of(text), &tree, &e);
	assert_null(tree);
	if (result != code || strcmp(e.where, where) != 0 || !strstr(e.message, message))
		fail_msg("%.80s: %d at %s: %s", text, result, e.where, e.message);
}

static void reads_tables(void **state)
{
	expect_tree(*state, "return {}", "[]");
	expect_tree(*state, "return { b = 1, a = 'x', c = true, d = false }",
	            "{\"a\":\"x\",\"b\":1,\"c\":true,\"d\":false}");
	expect_tree(*state, "return { 1, 2.5, -3, 1e100, 0x10, 2^53 }", "[1,2.5,-3,1e+100,16,9007199254740992]");
	expect_tree(*state, "return { list = { { port = 1 }, { port = 2 } } }",
	            "{\"list\":[{\"port\":1},{\"port\":2}]}");
	expect_tree(*state, "local function person(n) return { name = n } end\nreturn { person('a'), person 'b' }",
	            "[{\"name\":\"a\"},{\"name\":\"b\"}]");
	expect_tree(*state, "return { ['a b'] = [[long\n]], c = \"\\u{e9}\" .. 'x', d = nil }",
	            "{\"a b\":\"long\\n\",\"c\":\"\xc3\xa9x\"}");
	expect_tree(*state, "local shared = { 1 }\nreturn { a = shared, b = shared }", "{\"a\":[1],\"b\":[1]}");
}

static void names_the_place_of_syntax_errors(void **state)
{
	expect_refusal(*state, "return {\n\ta = 1\n\tb = 2,\n}", CL_E_INVALID, "test.lua:3", "'}' expected");
	expect_refusal(*state, "return {", CL_E_INVALID, "test.lua:1", "<eof>");
	expect_refusal(*state, "x = ", CL_E_INVALID, "test.lua:1", "unexpected symbol");
	expect_refusal(*state, "return 1", CL_E_INVALID, "test.lua", "return { ... }");
	expect_refusal(*state, "local x = {}", CL_E_INVALID, "test.lua", "return { ... }");
	expect_refusal(*state, "return {}, {}", CL_E_INVALID, "test.lua", "return { ... }");
	expect_refusal(*state, "\x1bLua", CL_E_INVALID, "test.lua", "binary");
	expect_refusal(*state, "return {\n a = 1,\n b = 2,\n a = 3,\n}", CL_E_INVALID, "test.lua:4",
	               "\"a\" is given twice in one table; the first is on line 2");
}

static void has_no_globals(void **state)
{
	expect_refusal(*state, "return { a = os.getenv('HOME') }", CL_E_INVALID, "test.lua:1",
	               "no functions or globals");
	expect_refusal(*state, "\nreturn { a = tostring(1) }", CL_E_INVALID, "test.lua:2", "no functions or globals");
	expect_refusal(*state, "return { a = ('x'):rep(1000) }", CL_E_INVALID, "test.lua:1", "index a string value");
	expect_tree(*state, "return { a = _G, b = print, c = _ENV.x }", "[]");
}

static void refuses_what_is_no_data(void **state)
{
	expect_refusal(*state, "return {\n a = {\n  b = function() end } }", CL_E_INVALID, "test.lua:3",
	               "a.b is a function");
	expect_refusal(*state, "return { { 1, x = 2 } }", CL_E_INVALID, "test.lua", "[1] mixes names and positions");
	expect_refusal(*state, "return { 1, nil, 3 }", CL_E_INVALID, "test.lua", "[2] is missing");
	expect_refusal(*state, "return { x = { [1.5] = 1 } }", CL_E_INVALID, "test.lua", "x has a name");
	expect_refusal(*state, "return { x = 0/0 }", CL_E_INVALID, "test.lua", "x is not a finite number");
	expect_refusal(*state, "return { x = { 1/0 } }", CL_E_INVALID, "test.lua", "x[1] is not a finite number");
	expect_refusal(*state, "return { x = '\\xff' }", CL_E_INVALID, "test.lua", "x is no UTF-8 text");
	expect_refusal(*state, "return { x = 'a\\0b' }", CL_E_INVALID, "test.lua", "x is no UTF-8 text");
	expect_refusal(*state, "local t = {} t.a = { b = t } return t", CL_E_INVALID, "test.lua",
	               "a.b contains itself");
}

static void stops_what_runs_too_long(void **state)
{
	expect_refusal(*state, "local x\nwhile true do end", CL_E_LIMIT, "test.lua:2", "runs too long");
	expect_refusal(*state, "for i = 1, 1e12 do end return {}", CL_E_LIMIT, "test.lua:1", "runs too long");
	expect_refusal(*state, "local function f() f() end\n::again:: goto again", CL_E_LIMIT, "test.lua:2",
	               "runs too long");
}

static void stops_what_is_too_deep(void **state)
{
	struct fixture *fixture = *state;
	char *deep = cl_arena_alloc(fixture->arena, 100001);
	expect_refusal(fixture, "local function f(n) return 1 + f(n + 1) end\nreturn { f(1) }", CL_E_LIMIT, "test.lua",
	               "32 MiB");
	memset(deep, '{', 100000);
	memcpy(deep, "return ", 7);
	expect_refusal(fixture, deep, CL_E_LIMIT, "test.lua", "stack overflow");
	expect_refusal(fixture, "local t = {} for i = 1, 10000 do t = { t } end return t", CL_E_LIMIT, "test.lua",
	               "nested more than 32 tables deep");
}

static void stops_what_takes_much_memory(void **state)
{
	expect_refusal(*state, "local s = 'x' for i = 1, 40 do s = s .. s end return { s }", CL_E_LIMIT, "test.lua",
	               "32 MiB");
	expect_refusal(*state, "local t = {} for i = 1, 1e9 do t[i] = i end return t", CL_E_LIMIT, "test.lua",
	               "32 MiB");
	/* Little in Lua, much in the tree. */
	expect_refusal(*state, "local t = { 1 } for i = 1, 30 do t = { t, t } end return t", CL_E_LIMIT, "test.lua",
	               "200,000 values");
	expect_refusal(*state,
	               "local s = 'x' for i = 1, 20 do s = s .. s end\n"
	               "local t = {} for i = 1, 1000 do t[i] = s end return t",
	               CL_E_LIMIT, "test.lua", "8 MiB of text");
}

static void reads_files(void **state)
{
	struct fixture *fixture = *state;
	struct cl_json *tree;
	struct cl_err e = {0};
	const char *path = write_file(
	        fixture, "good.lua",
	        "-- comment\nreturn {\n\tdata = \"x\",\n\tlisten = {\n\t\t{ port = 1 },\n"
	        "\t\t{ port = 2 },\n\t},\n\tsum = 1 + 1, computed = (function() return { y = 1 } end)(),\n}\n");
	assert_int_equal(cl_config_load(fixture->arena, path, &tree, &e), CL_OK);
	assert_int_equal(cl_config_line(path, cl_json_get(tree, "data")), 3);
	assert_int_equal(cl_config_line(path, cl_json_get(tree, "listen")), 4);
	assert_int_equal(cl_config_line(path, cl_json_path(tree, "listen", "1", "port", NULL)), 6);
	assert_int_equal(cl_config_line(path, cl_json_get(tree, "computed")), 8);
	assert_int_equal(cl_config_line(path, cl_json_path(tree, "computed", "y", NULL)), 0);
	assert_int_equal(cl_config_load(fixture->arena, "/nonexistent.lua", &tree, &e), CL_E_NOT_FOUND);
	assert_string_equal(e.where, "/nonexistent.lua");
	assert_int_equal(cl_config_load(fixture->arena, fixture->folder, &tree, &e), CL_E_IO);
	assert_int_equal(cl_config_load(fixture->arena, "/dev/zero", &tree, &e), CL_E_IO);
}

static void settings_are_checked(void **state)
{
	struct fixture *fixture = *state;
	struct cl_server_settings settings;
	struct cl_server_problem *problems;
	struct cl_err e = {0};
	mkdir(cl_arena_printf(fixture->arena, "%s/orgs", fixture->folder).p, 0700);
	write_file(fixture, "orgs/riverside.lua", "return {}");
	write_file(fixture, "orgs/lakeside.lua", "broken");
	write_file(fixture, "orgs/.hidden.lua", "");
	write_file(fixture, "orgs/notes.txt", "");
	const char *good = write_file(fixture, "good.lua",
	                              "return { data = 'data', listen = { {} },\n"
	                              "tls = { certificate = 'a', key = 'b' }, gateways = 3, log = 'debug' }");
	assert_int_equal(cl_server_settings_load(fixture->arena, good, &settings, NULL, &e), CL_OK);
	assert_string_equal(settings.data, cl_arena_printf(fixture->arena, "%s/data", fixture->folder).p);
	assert_int_equal(settings.gateways, 3);
	assert_int_equal(settings.log, CL_LOG_DEBUG);
	assert_int_equal(settings.lua_limit, 2000000);
	assert_int_equal(settings.organization_count, 2);
	assert_string_equal(settings.organizations[0], "lakeside");
	/* The same path before and after the folder exists. */
	mkdir(settings.data, 0700);
	const char *before = settings.data;
	assert_int_equal(cl_server_settings_load(fixture->arena, good, &settings, NULL, &e), CL_OK);
	assert_string_equal(settings.data, before);

	const char *bad = write_file(fixture, "bad.lua",
	                             "return { data = 1,\nlsten = {},\nlisten = { { port = 70000 } },\n"
	                             "tls = { certificate = 'a' },\nlog = 'loud',\nwatchdog = 5,\n"
	                             "organizations = { 'Riverside', 'a', 'a' } }");
	assert_int_equal(cl_server_settings_load(fixture->arena, bad, &settings, &problems, &e), CL_E_INVALID);
	static const struct {
		int line;
		const char *message;
	} expected[] = {
	        {2, "unknown setting \"lsten\" (did you mean \"listen\"?)"},
	        {1, "data must be a path in quotes"},
	        {3, "listen[1].port must be between 0 and 65535"},
	        {4, "tls.key is missing"},
	        {6, "watchdog must be a table"},
	        {5, "log must be one of"},
	        {7, "\"Riverside\" cannot be an organization's id"},
	        {7, "the organization \"a\" is there twice"},
	};
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++, problems = problems->next) {
		assert_non_null(problems);
		assert_non_null(strstr(problems->message, expected[i].message));
		assert_string_equal(strrchr(problems->where, ':'),
		                    cl_arena_printf(fixture->arena, ":%d", expected[i].line).p);
	}
	assert_null(problems);
	assert_int_equal(cl_server_settings_load(fixture->arena, bad, &settings, NULL, &e), CL_E_INVALID);
	assert_int_equal(e.code, CL_E_INVALID);
}

static void shipped_configuration_is_good(void **state)
{
	struct fixture *fixture = *state;
	struct cl_server_settings settings;
	struct cl_err e = {0};
	if (cl_server_settings_load(fixture->arena, CL_SOURCE_DIR "/config/careloop.lua", &settings, NULL, &e))
		fail_msg("%s: %s", e.where, e.message);
	for (size_t i = 0; i < settings.organization_count; i++) {
		struct cl_json *tree;
		const char *path = cl_arena_printf(fixture->arena, "%s/%s.lua", settings.organizations_folder,
		                                   settings.organizations[i])
		                           .p;
		if (cl_config_load(fixture->arena, path, &tree, &e))
			fail_msg("%s: %s", e.where, e.message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(reads_tables),
	        cmocka_unit_test(names_the_place_of_syntax_errors),
	        cmocka_unit_test(has_no_globals),
	        cmocka_unit_test(refuses_what_is_no_data),
	        cmocka_unit_test(stops_what_runs_too_long),
	        cmocka_unit_test(stops_what_is_too_deep),
	        cmocka_unit_test(stops_what_takes_much_memory),
	        cmocka_unit_test(reads_files),
	        cmocka_unit_test(settings_are_checked),
	        cmocka_unit_test(shipped_configuration_is_good),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
