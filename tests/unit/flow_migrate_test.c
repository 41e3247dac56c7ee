/* flow_migrate_test.c: instances in flight when the plugins change. */
#include "support/flow_fixture.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct flow_fixture fixture, *f = &fixture;
static struct cl_catalog former;
static struct cl_str asked, calling, done;

static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "front_desk manager");
	struct cl_workflow *w = flow_workflow(f, "callback", "Patient");
	flow_state(f, w, "asked", "requested", "front_desk", "1 business day");
	flow_state(f, w, "calling", "in-progress", "front_desk", "1 business day");
	flow_state(f, w, "done", "completed!", "", "");
	flow_on(f, w, "asked", "call", "calling", "");
	flow_on(f, w, "calling", "reached", "done", "");
	flow_remind(f, w, "calling", "1 hour", "");
	asked = flow_start(f, "callback", "", "", "");
	calling = flow_start(f, "callback", "calling", "", "");
	done = flow_start(f, "callback", "done", "", "");
	former = f->catalog;
	f->catalog.hash = CL_STR("fedcba9876543210");
	f->catalog.workflows = CL_NEW_ARRAY(f->lasting, struct cl_workflow, 8);
	f->catalog.workflow_count = 0;
	f->now += CL_HOUR;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	flow_close(f);
	return 0;
}

/* The next version of the plugin: `calling` may be gone or be called something else. */
static struct cl_workflow *next_version(const char *second, const char *owner)
{
	struct cl_workflow *w = flow_workflow(f, "callback", "Patient");
	flow_state(f, w, "asked", "requested", owner, "1 week");
	flow_state(f, w, second, "in-progress", "front_desk", "3 days");
	flow_state(f, w, "done", "completed!", "", "");
	flow_on(f, w, "asked", "call", second, "");
	flow_on(f, w, second, "reached", "done", "");
	return w;
}

static int migrate(const struct cl_catalog *from)
{
	struct cl_unit *unit = flow_begin(f);
	int code = cl_instance_migrate(unit, from, &f->e);
	struct cl_err e = f->e;
	if (code)
		flow_rollback(f);
	else
		flow_commit(f);
	f->e = e;
	return code;
}

static struct cl_str version_of(struct cl_str task)
{
	return cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, task), "meta", "versionId", NULL));
}

static void what_stays_keeps_its_promise(void **state)
{
	(void)state;
	cl_instant due = flow_instance(f, asked).due;
	next_version("calling", "front_desk");
	assert_int_equal(migrate(&former), 0);
	flow_text_is(flow_instance(f, asked).plugins, "fedcba9876543210");
	flow_text_is(flow_instance(f, calling).plugins, "fedcba9876543210");
	assert_int_equal(flow_instance(f, asked).due, due); /* the clock that was promised */
	flow_text_is(version_of(asked), "1");
	/* Without the former machine the Tasks are compared themselves: they are the same. */
	f->catalog.hash = CL_STR("1111");
	assert_int_equal(migrate(NULL), 0);
	flow_text_is(version_of(asked), "1");
	flow_text_is(flow_instance(f, asked).plugins, "1111");
	flow_text_is(flow_instance(f, done).plugins, "0123456789abcdef"); /* what is over stays with its machine */
}

static void another_face(void **state)
{
	(void)state;
	next_version("calling", "manager");
	assert_int_equal(migrate(&former), 0);
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, asked);
	flow_valid(f, task);
	flow_text_is(cl_json_text(cl_json_path(task, "performerType", "0", "coding", "0", "code", NULL)), "manager");
	flow_text_is(cl_json_text(cl_json_path(task, "restriction", "period", "end", NULL)),
	             "2026-11-03T09:00:00-06:00");
	flow_text_is(flow_instance(f, asked).owner, "manager");
	flow_text_is(version_of(calling), "1");
}

static void stranded_ones_are_named(void **state)
{
	(void)state;
	next_version("phoning", "front_desk");
	assert_int_equal(migrate(&former), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "1 live instances would be stranded");
	char words[96];
	snprintf(words, sizeof words, "Task/%.*s (callback, calling)", CL_STR_ARGS(calling));
	flow_contains(cl_str_of(f->e.message), words);
	flow_text_is(flow_instance(f, asked).plugins, "0123456789abcdef");
	/* A workflow that is gone strands all. */
	f->catalog.workflow_count = 0;
	assert_int_equal(migrate(&former), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "2 live instances");
}

static int last_transition(const struct cl_stored_transition *t, void *context)
{
	snprintf(context, 96, "%.*s:%.*s>%.*s", CL_STR_ARGS(t->event), CL_STR_ARGS(t->from), CL_STR_ARGS(t->to));
	return 0;
}

static void the_map_moves_them(void **state)
{
	char moved[96];
	(void)state;
	struct cl_workflow *w = next_version("phoning", "front_desk");
	w->migrate[w->migrate_count++] = (struct cl_state_map){CL_STR("calling"), CL_STR("phoning")};
	w->states[1].enter = 9;
	assert_int_equal(migrate(&former), 0);
	assert_int_equal(f->call_count, 0); /* the machine moved, not the instance */
	flow_is_in(f, calling, "phoning");
	assert_int_equal(flow_instance(f, calling).due, f->now + 3 * CL_DAY);
	assert_int_equal(cl_store_transitions(f->store, CL_STR_NONE, calling, INT64_MIN, INT64_MAX, last_transition,
	                                      moved, &f->e),
	                 0);
	assert_string_equal(moved, "migrate:calling>phoning");
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, calling);
	flow_valid(f, task);
	flow_text_is(cl_json_text(cl_json_path(task, "businessStatus", "coding", "0", "code", NULL)), "phoning");
	/* The reminder of the lost state does not come. */
	struct cl_timer_list timers;
	assert_int_equal(cl_store_timers(f->store, f->arena, calling, 10, &timers, &f->e), 0);
	assert_int_equal(timers.count, 1);
	flow_move(f, calling, "reached", NULL);
	/* Again: nothing to do. */
	assert_int_equal(migrate(&former), 0);
}

static void into_an_end(void **state)
{
	(void)state;
	struct cl_workflow *w = next_version("phoning", "front_desk");
	w->migrate[w->migrate_count++] = (struct cl_state_map){CL_STR("calling"), CL_STR("done")};
	assert_int_equal(migrate(&former), 0);
	assert_true(flow_instance(f, calling).final);
	struct cl_timer_list timers;
	assert_int_equal(cl_store_timers(f->store, f->arena, calling, 10, &timers, &f->e), 0);
	assert_int_equal(timers.count, 0);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(what_stays_keeps_its_promise), TEST(another_face), TEST(stranded_ones_are_named),
	        TEST(the_map_moves_them),           TEST(into_an_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
