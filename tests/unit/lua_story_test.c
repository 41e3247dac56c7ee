/* lua_story_test.c: the plugin of plugins/README.md, taken out of it and lived through on a real store with a virtual clock:
 * what the page promises is tested. */
#include "org/fhir/types.h"
#include "support/lua_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
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

static void open_callback(struct lua_fixture *f, bool extended)
{
	script_open(f);
	script_file(f, "services/callback/plugin.lua", block(f, "return plugin", 0));
	if (extended)
		script_file(f, "orgs/riverside/local/plugin.lua", block(f, "return plugin", 1));
	script_load(f);
	script_store(f);
}

static void test_story(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_callback(&f, false);
	const char *patient = script_do(&f, "ctx:create { resourceType = \"Patient\", name = { { family = \"Rivera\" } } }");
	script_contains(patient, "Patient/");
	const char *start = cl_arena_printf(f.lasting, "ctx:start(\"callback\", { focus = \"%s\", patient = \"%s\" })", patient, patient).p;
	const char *task = script_do(&f, start);
	script_contains(task, "Task/");
	script_is(&f, cl_arena_printf(f.lasting, "ctx:instance(\"%s\").state", task).p, "asked");
	script_close_all(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_story),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
