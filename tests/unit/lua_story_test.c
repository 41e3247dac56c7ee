/* lua_story_test.c: the plugin of plugins/README.md, taken out of it and lived through on a real store with a virtual clock:
 * what the page promises is tested. */
#include "org/fhir/types.h"
#include "support/lua_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The n-th block of Lua (from 0) of the README that begins with `beginning`. */
static const char *block(struct lua_fixture *f, const char *beginning, int number)
{
	const char *at = script_read_file(f, "plugins/README.md");
	while ((at = strstr(at, "```lua\n"))) {
		at += 7;
		if (strncmp(at, beginning, strlen(beginning)) == 0 && number-- == 0) {
			const char *end = strstr(at, "```");
			return cl_arena_cstring(f->lasting, (struct cl_str){at, (size_t)(end - at)});
		}
	}
	fail_msg("plugins/README.md has no such block");
	return NULL;
}

#define TEXT(f, ...) (cl_arena_printf((f)->lasting, __VA_ARGS__).p)

static void open_callback(struct lua_fixture *f, bool extended)
{
	script_open(f);
	script_file(f, "services/callback/plugin.lua", block(f, "return plugin", 0));
	if (extended)
		script_file(f, "orgs/riverside/local/plugin.lua", block(f, "return plugin", 1));
	script_load(f);
	script_store(f);
}

static const char *ask_to_call(struct lua_fixture *f)
{
	const char *patient = script_do(
	        f, "ctx:create { resourceType = 'Patient', name = { { family = 'Rivera', given = { 'Ana' } } } }");
	return script_do(f, TEXT(f, "ctx:start('callback', { focus = '%s', patient = '%s' })", patient, patient));
}

static const char *state_of(struct lua_fixture *f, const char *task)
{
	return script_do(f, TEXT(f, "ctx:instance('%s').state", task));
}

static int move(struct lua_fixture *f, const char *task, const char *event, const char *data)
{
	struct cl_advance advance = {
	        .task = cl_str_of(task + 5),
	        .event = cl_str_of(event),
	        .data = data ? script_json(f, data) : NULL,
	};
	struct cl_version version;
	script_begin(f);
	int code = cl_instance_advance(&f->unit, &advance, &version, &f->issues, &f->e);
	if (code)
		script_rollback(f);
	else
		script_commit(f);
	return code;
}

/* Asked, reached, done: needs are checked, the handler writes its notice, the view and the metric tell. */
static void test_reached(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_callback(&f, false);
	const char *task = ask_to_call(&f);
	assert_string_equal(state_of(&f, task), "asked");
	script_is(&f, TEXT(&f, "ctx:read('%s').status, ctx:read('%s').code.coding[1].code", task, task),
	          "requested\ncallback");
	/* Monday 9:00 and one business day. */
	script_is(&f, TEXT(&f, "ctx:instance('%s').due", task), "2026-11-03T15:00:00.000Z");

	struct cl_json *rows;
	script_begin(&f);
	assert_int_equal(
	        cl_view_rows(&f.unit, cl_catalog_view(cl_lua_catalog(f.lua), CL_STR("callbacks")), 10, &rows, &f.e), 0);
	assert_int_equal(rows->count, 1);
	script_contains(cl_json_text(&rows->items[0].items[0]).p, "Rivera");
	script_rollback(&f);

	assert_int_equal(move(&f, task, "reached", NULL), CL_E_RULE);
	script_contains(f.e.message, "result");
	script_as(&f, "guest", "visitor");
	assert_int_equal(move(&f, task, "reached", "{\"result\":\"fine\"}"), CL_E_FORBIDDEN);
	script_as(&f, "desk", "front_desk");
	assert_int_equal(move(&f, task, "no_answer", NULL), 0);
	assert_string_equal(state_of(&f, task), "asked");
	assert_int_equal(move(&f, task, "reached", "{\"result\":\"fine\"}"), 0);
	assert_string_equal(state_of(&f, task), "done");
	script_is(&f, "#ctx:search('Communication'), ctx:search('Communication')[1].payload[1].contentString",
	          "1\nPatient reached");
	script_is(&f, TEXT(&f, "ctx:search('Communication')[1].about[1].reference == '%s'", task), "true");
	assert_int_equal(move(&f, task, "reached", "{\"result\":\"again\"}"), CL_E_RULE);
	script_contains(f.e.message, "done");

	struct cl_metric_result result;
	script_begin(&f);
	assert_int_equal(cl_metric_month(&f.unit, cl_catalog_metric(cl_lua_catalog(f.lua), CL_STR("callback_done")),
	                                 f.now, &result, &f.e),
	                 0);
	assert_true(result.numerator == 1 && result.denominator == 1);
	script_rollback(&f);
	assert_int_equal(script_recur(&f, 0), 0); /* every morning: a line in the log */
	script_close_all(&f);
}

/* The README's own test, by hand: a callback nobody makes is escalated, then given up. */
static void test_given_up(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_callback(&f, false);
	const char *task = ask_to_call(&f);
	script_advance_to(&f, "2026-11-03T09:00:00-06:00");
	script_is(&f, "#ctx:search('Task', { code = 'escalation' })", "1");
	assert_string_equal(state_of(&f, task), "asked");
	script_advance_to(&f, "2026-11-06T09:00:00-06:00");
	assert_string_equal(state_of(&f, task), "unreached");
	script_is(&f, TEXT(&f, "ctx:read('%s').status", task), "failed");
	script_close_all(&f);
}

/* With the organization's own plugin on top: shorter clock, one more event. */
static void test_extended(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_callback(&f, true);
	const char *task = ask_to_call(&f);
	script_is(&f, TEXT(&f, "ctx:instance('%s').due", task), "2026-11-02T19:00:00.000Z");
	assert_int_equal(move(&f, task, "wrong_number", NULL), 0);
	assert_string_equal(state_of(&f, task), "unreached");
	script_close_all(&f);
}

/* Every block of the README that is a whole plugin is used above; a new one must be added here. */
static void test_no_block_is_forgotten(void **state)
{
	(void)state;
	struct lua_fixture f;
	script_open(&f);
	int count = 0;
	for (const char *at = script_read_file(&f, "plugins/README.md"); (at = strstr(at, "```lua\nreturn plugin"));
	     at++)
		count++;
	assert_int_equal(count, 2);
	script_close_all(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_reached),
	        cmocka_unit_test(test_given_up),
	        cmocka_unit_test(test_extended),
	        cmocka_unit_test(test_no_block_is_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
