/* lua_hostile_test.c: every script of tests/lua/hostile (each row of reliability.md §2.4 and more) run as a plugin's function:
 * stopped with the right words within bounds, nothing changed in the store, the state of use afterwards, no memory left behind
 * (cl_lua_close aborts otherwise). */
#include "base/clock.h"
#include "org/fhir/types.h"
#include "support/lua_fixture.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define FOLDER "tests/lua/hostile"
#define CALL_CPU 50000 /* microseconds */
#ifdef CL_SANITIZE
#define CPU_BOUND 3000000
#else
#define CPU_BOUND 400000
#endif

static void open_script_within(struct lua_fixture *f, const char *text, int64_t cpu)
{
	script_open(f);
	f->limits = (struct cl_lua_limits){.memory = 16u << 20, .call_cpu = cpu};
	script_file(f, "services/hostile/plugin.lua",
	            cl_arena_printf(f->lasting,
	                            "return plugin { name = \"hostile\", api = 1, summary = \"An attack\",\n"
	                            "timer \"tick\" (function () end),\n"
	                            "every(\"07:00\", \"daily\", function (ctx)\n%s\nend) }\n",
	                            text)
	                    .p);
	script_load(f);
	script_store(f);
}

static void open_script(struct lua_fixture *f, const char *text)
{
	open_script_within(f, text, CALL_CPU);
}

static void run_script(const char *name)
{
	struct lua_fixture f;
	char path[300];
	snprintf(path, sizeof path, FOLDER "/%s", name);
	script_open(&f);
	const char *text = script_read_file(&f, path);
	static const char mark[] = "-- expect: ";
	assert_memory_equal(text, mark, sizeof mark - 1);
	const char *words = text + sizeof mark - 1;
	char expected[100];
	snprintf(expected, sizeof expected, "%.*s", (int)strcspn(words, "\n"), words);
	struct cl_arena *kept = f.lasting; /* holds `text` */
	f.lasting = cl_arena_new(0);
	script_close_all(&f);

	/* What is about memory must not meet the other limit first, on a machine that is slow to get there. */
	open_script_within(&f, text, strcmp(expected, "of memory") == 0 ? 4 * CALL_CPU : CALL_CPU);
	uint64_t sequence = cl_store_last_sequence(f.store);
	int64_t started = cl_thread_cpu();
	int code = script_recur(&f, 0);
	int64_t used = cl_thread_cpu() - started;
	if (strcmp(expected, "ok") == 0 ? code != 0 : code == 0 || !strstr(f.e.message, expected))
		fail_msg("%s: expected '%s', got %d %s [%s]", name, expected, code, f.e.message, f.e.where);
	if (used > CPU_BOUND)
		fail_msg("%s: took %lld us of CPU", name, (long long)used);
	if (code) {
		assert_int_equal(cl_store_last_sequence(f.store), sequence);
		if (strcmp(expected, "ms of CPU") == 0 || strcmp(expected, "of memory") == 0) {
			assert_int_equal(code, CL_E_LIMIT);
			script_contains(cl_lua_budget_outcome(f.lua).p, "budget:hostile:services/hostile/plugin.lua:");
			script_contains(f.e.message, "plugin hostile at services/hostile/plugin.lua:");
			script_contains(f.e.message, "every 07:00 daily");
		} else {
			assert_int_equal(cl_lua_budget_outcome(f.lua).n, 0);
		}
	}
	assert_true(cl_lua_memory(f.lua) <= 16u << 20);
	script_is(&f, "1 + 1", "2");
	script_is(&f, "string.find('abc', 'b')", "2\n2");
	script_is(&f, "#ctx:search('Basic')", "0");
	script_close_all(&f);
	cl_arena_free(kept);
}

static void test_scripts(void **state)
{
	(void)state;
	struct dirent **names;
	int count = scandir(FOLDER, &names, NULL, alphasort), scripts = 0;
	for (int i = 0; i < count; i++) {
		if (strstr(names[i]->d_name, ".lua")) {
			run_script(names[i]->d_name);
			scripts++;
		}
		free(names[i]);
	}
	free(names);
	assert_true(scripts >= 25);
}

/* A signal that comes late, for a call that ended in time, must not stop the next one. */
static void test_late_signal(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_script(&f, "local t = {} for i = 1, 200 do t[i] = i end");
	for (int i = 0; i < 3000; i++) {
		script_begin(&f);
		assert_int_equal(cl_lua_recur(f.lua, &f.unit, &cl_lua_catalog(f.lua)->recurring[0], &f.e), 0);
		script_rollback(&f);
	}
	script_close_all(&f);
}

/* Calls that together take longer than one may. */
static void test_budget_is_for_one_call(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_script(&f, "local n = 0 for i = 1, 150000 do n = n + i end");
	int64_t started = cl_thread_cpu();
	while (cl_thread_cpu() - started < 4 * CALL_CPU)
		assert_int_equal(script_recur(&f, 0), 0);
	script_close_all(&f);
}

/* Replay: what was stopped stops again at once, and what was not is not, whatever time it takes. */
static void test_replay(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_script(&f, "ctx:log('x')");
	f.expect = CL_STR("budget:hostile:services/hostile/plugin.lua:7");
	assert_int_equal(script_recur(&f, 0), CL_E_LIMIT);
	assert_string_equal(f.e.where, "services/hostile/plugin.lua:7");
	assert_true(cl_str_equal(cl_lua_budget_outcome(f.lua), f.expect));
	f.expect = CL_STR("budget:other:services/other/plugin.lua:7");
	assert_int_equal(script_recur(&f, 0), 0);
	f.expect = CL_STR("ok");
	assert_int_equal(script_recur(&f, 0), 0);
	assert_int_equal(cl_lua_budget_outcome(f.lua).n, 0);
	script_close_all(&f);

	open_script(&f, "local n = 0 for i = 1, 20000000 do n = n + i end");
	assert_int_equal(script_recur(&f, 0), CL_E_LIMIT);
	struct cl_str outcome = cl_arena_copy(f.lasting, cl_lua_budget_outcome(f.lua));
	f.expect = CL_STR("ok");
	assert_int_equal(script_recur(&f, 0), 0);
	f.expect = outcome;
	int64_t started = cl_thread_cpu();
	assert_int_equal(script_recur(&f, 0), CL_E_LIMIT);
	assert_true(cl_thread_cpu() - started < 20000);
	assert_true(cl_str_equal(cl_lua_budget_outcome(f.lua), outcome));
	script_close_all(&f);
}

/* The page that the supervisor watches tells what runs, only while it runs. */
static void test_watch(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_script(&f, "while true do end");
	uint32_t calls = atomic_load(&f.watch.lua_call);
	assert_int_equal(script_recur(&f, 0), CL_E_LIMIT);
	assert_int_equal(atomic_load(&f.watch.lua_call), calls + 1);
	assert_int_equal(atomic_load(&f.watch.lua_since), 0);
	assert_string_equal(f.watch.plugin, "");
	script_close_all(&f);
}

/* A plugin in quarantine is not loaded, nor what extends it; the others are. */
static void test_quarantine(void **state)
{
	(void)state;
	struct lua_fixture f;
	script_open(&f);
	script_file(&f, "services/bad/plugin.lua",
	            "return plugin { name = \"bad\", api = 1, summary = \"Crashes\", roles = { x = {} } }");
	script_file(&f, "services/more/plugin.lua",
	            "return plugin { name = \"more\", api = 1, summary = \"More\", extends = \"bad\" }");
	script_file(&f, "services/good/plugin.lua",
	            "return plugin { name = \"good\", api = 1, summary = \"Goes on\" }");
	strcpy(f.watch.quarantined_plugin[1], "bad");
	script_load(&f);
	assert_int_equal(cl_lua_catalog(f.lua)->plugin_count, 1);
	assert_true(cl_str_is(cl_lua_catalog(f.lua)->plugins[0].name, "good"));
	script_close_all(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_scripts),
	        cmocka_unit_test(test_late_signal),
	        cmocka_unit_test(test_budget_is_for_one_call),
	        cmocka_unit_test(test_replay),
	        cmocka_unit_test(test_watch),
	        cmocka_unit_test(test_quarantine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
