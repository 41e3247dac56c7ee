/* flow_machine_test.c: every defect of a machine is found and named with its place; the diagram. */
#include "support/flow_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct flow_fixture fixture, *f = &fixture;
static struct cl_workflow *w;

/* asked -> done, or given up by the clock. */
static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "front_desk manager");
	w = flow_workflow(f, "callback", "Patient");
	struct cl_state_rule *asked = flow_state(f, w, "asked", "requested", "front_desk", "1 business day");
	flow_state(f, w, "done", "completed!", "", "");
	flow_state(f, w, "unreached", "failed!", "", "");
	flow_need(f, flow_on(f, w, "asked", "reached", "done", ""), "result", "string");
	flow_on(f, w, "asked", "no_answer", "asked", "");
	flow_on(f, w, "asked", "give_up", "unreached", "clock");
	asked->escalate_to = CL_STR("manager");
	asked->again = flow_duration("4 hours");
	asked->times = 2;
	asked->finally_event = CL_STR("give_up");
	asked->action = CL_STR("Call the patient; today");
	flow_remind(f, w, "asked", "4 hours", "");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	flow_close(f);
	return 0;
}

/* The check of the whole catalog finds exactly `count` defects, one with these words, at this line (0 = any). */
static void finds(size_t count, const char *words, int line)
{
	struct cl_buf all;
	struct cl_err e = {0};
	cl_buf_init(&all, 0);
	int code = cl_catalog_check(&f->catalog, &all, &e);
	size_t lines = 0;
	for (size_t i = 0; i < all.n; i++)
		lines += all.p[i] == '\n';
	if (lines != count)
		fail_msg("%zu defects instead of %zu:\n%.*s", lines, count, (int)all.n, all.p ? all.p : "");
	assert_int_equal(code, count ? CL_E_PLUGIN : 0);
	if (count) {
		flow_contains(cl_buf_str(&all), words);
		flow_contains(cl_buf_str(&all), "plugin callback, plugin.lua:");
		assert_int_equal(e.code, CL_E_PLUGIN);
		if (count == 1) {
			flow_contains(cl_str_of(e.message), words);
			flow_contains(cl_str_of(e.where), "plugin.lua:");
		}
	}
	if (line && count == 1)
		assert_int_equal(e.line, line);
	cl_buf_free(&all);
}

static void a_sound_machine_passes(void **state)
{
	struct cl_err e = {0};
	(void)state;
	finds(0, "", 0);
	assert_int_equal(cl_workflow_check(w, NULL, &e), 0);
	assert_int_equal(cl_catalog_check(&f->catalog, NULL, NULL), 0);
}

static void unreachable_state(void **state)
{
	(void)state;
	flow_state(f, w, "lost", "on-hold", "front_desk", "1 day");
	flow_on(f, w, "lost", "back", "done", "");
	finds(1, "state 'lost': cannot be reached from 'asked'", 40);
}

static void dead_end(void **state)
{
	(void)state;
	flow_state(f, w, "waiting", "on-hold", "front_desk", "1 day");
	flow_on(f, w, "asked", "wait", "waiting", "");
	flow_on(f, w, "waiting", "still", "waiting", "");
	finds(1, "state 'waiting': is a dead end", 40);
}

static void a_circle_without_end(void **state)
{
	(void)state;
	flow_state(f, w, "one", "on-hold", "front_desk", "1 day");
	flow_state(f, w, "two", "on-hold", "front_desk", "1 day");
	flow_on(f, w, "asked", "wait", "one", "");
	flow_on(f, w, "one", "on", "two", "");
	flow_on(f, w, "two", "back", "one", "");
	finds(2, "state 'two': is a dead end", 0);
}

static void no_owner(void **state)
{
	(void)state;
	w->states[0].owner = CL_STR_NONE;
	w->states[0].transitions[0].by = w->states[0].transitions[2].by;
	w->states[0].transitions[0].by_count = 1;
	w->states[0].transitions[0].need_count = 0;
	finds(1, "state 'asked': no owner", 10);
}

static void no_clock(void **state)
{
	(void)state;
	w->states[0].within = (struct cl_duration){0};
	finds(1, "state 'asked': no clock", 10);
}

static void a_clock_that_runs_backwards(void **state)
{
	(void)state;
	w->states[0].within = (struct cl_duration){-1, CL_DAYS};
	finds(1, "no clock", 10);
}

static void unknown_names(void **state)
{
	(void)state;
	w->states[0].owner = CL_STR("front_dask");
	finds(1, "owner 'front_dask' is neither a role nor a party", 10);
	w->states[0].owner = CL_STR("front_desk");
	w->states[0].escalate_to = CL_STR("boss");
	finds(1, "escalation to 'boss'", 10);
	w->states[0].escalate_to = CL_STR("manager");
	w->states[0].reminders[0].to = CL_STR("nobody");
	finds(1, "reminder to 'nobody'", 10);
	w->states[0].reminders[0].to = CL_STR_NONE;
	flow_on(f, w, "asked", "cancel", "unreached", "manager chief");
	finds(1, "`by` 'chief'", 14);
	/* One machine alone does not know the roles. */
	assert_int_equal(cl_workflow_check(w, NULL, NULL), 0);
}

static void clock_events(void **state)
{
	(void)state;
	w->states[0].finally_event = CL_STR("surrender");
	finds(1, "fires 'surrender', which is no event of the state", 10);
	w->states[0].finally_event = CL_STR("reached");
	finds(1, "the clock fires 'reached' and cannot give its 'result'", 11);
	w->states[0].finally_event = CL_STR_NONE;
	finds(1, "say `finally`", 10);
	w->states[0].finally_event = CL_STR("give_up");
	w->states[0].times = 0;
	finds(1, "say `times`", 10);
	/* A reason is filled in. */
	w->states[0].times = 2;
	flow_need(f, &w->states[0].transitions[2], "reason", "string");
	finds(0, "", 0);
	w->states[0].transitions[2].needs[0].type = CL_STR("choice");
	finds(1, "cannot give its 'reason'", 13);
}

static void overdue_event(void **state)
{
	(void)state;
	w->states[0].overdue_event = CL_STR("give_up");
	w->states[0].finally_event = CL_STR_NONE;
	w->states[0].times = 0;
	finds(0, "", 0);
	w->states[0].overdue_event = CL_STR("vanish");
	finds(1, "the clock fires 'vanish'", 10);
}

static void final_states_have_no_events(void **state)
{
	(void)state;
	flow_on(f, w, "done", "reopen", "asked", "front_desk");
	finds(1, "state 'done': is final and has events", 20);
}

static void wrong_status(void **state)
{
	(void)state;
	w->states[0].status = CL_STR("waiting");
	finds(1, "status 'waiting' is no status of a FHIR R4 Task", 10);
}

static void twice(void **state)
{
	(void)state;
	flow_on(f, w, "asked", "reached", "unreached", "");
	finds(1, "event 'reached' is declared twice", 14);
	w->states[0].transition_count--;
	flow_state(f, w, "done", "failed!", "", "");
	flow_on(f, w, "asked", "again", "done", "");
	w->states[0].transitions[3].target = 3;
	finds(1, "state 'done': declared twice", 40);
}

static void no_start_and_no_target(void **state)
{
	(void)state;
	w->start = 7;
	finds(1, "no start", 1);
	w->start = 0;
	w->states[0].transitions[0].target = 9;
	finds(1, "event 'reached' leads to a state that does not exist", 11);
	w->state_count = 0;
	finds(1, "no start", 1);
}

static void own_names(void **state)
{
	(void)state;
	flow_need(f, &w->states[0].transitions[0], "partner", "string");
	finds(1, "data named 'partner' is the core's own", 11);
}

static void reminders_come_before(void **state)
{
	(void)state;
	w->states[0].reminders[0].before = (struct cl_duration){0};
	finds(1, "a reminder must come before the clock ends", 10);
}

static void migration_to_nowhere(void **state)
{
	(void)state;
	w->migrate[w->migrate_count++] = (struct cl_state_map){CL_STR("old"), CL_STR("new")};
	finds(1, "migrates 'old' to 'new'", 1);
}

/* Two sides: each must be able to leave every state without the other. */
static void sides_that_cannot_leave_alone(void **state)
{
	(void)state;
	flow_party(f, w, "us", "front_desk");
	flow_party(f, w, "them", "front_desk");
	w->states[0].owner = CL_STR("them");
	finds(0, "", 0); /* the clock gives up for both */
	w->states[0].finally_event = CL_STR_NONE;
	w->states[0].times = 0;
	w->states[0].transitions[2].by[0] = CL_STR("them");
	finds(1, "the side 'us' cannot leave it alone", 10);
	/* An event that stays in the state is no way out. */
	flow_on(f, w, "asked", "note", "asked", "us");
	finds(1, "the side 'us' cannot leave it alone", 10);
	flow_recorders(f, w, "manager");
	finds(0, "", 0);
	w->recorder_count = 0;
	flow_on(f, w, "asked", "stop", "unreached", "us");
	finds(0, "", 0);
}

static void metrics_and_views_name_what_exists(void **state)
{
	(void)state;
	struct cl_metric *metric = &f->catalog.metrics[f->catalog.metric_count++];
	*metric = (struct cl_metric){.name = CL_STR("m"),
	                             .workflow = CL_STR("callback"),
	                             .measure = CL_MEASURE_COUNT,
	                             .origin = {CL_STR("callback"), CL_STR("plugin.lua"), 70}};
	finds(0, "", 0);
	metric->workflow = CL_STR("callbacks");
	finds(1, "metric 'm': there is no workflow 'callbacks'", 70);
	metric->workflow = CL_STR("callback");
	metric->to_state = CL_STR("finished");
	finds(1, "workflow 'callback' has no state 'finished'", 70);
	metric->measure = CL_MEASURE_FUNCTION;
	finds(0, "", 0);
	struct cl_view *view = &f->catalog.views[f->catalog.view_count++];
	*view = (struct cl_view){.name = CL_STR("v"),
	                         .workflow = CL_STR("callback"),
	                         .origin = {CL_STR("callback"), CL_STR("plugin.lua"), 80}};
	flow_words(f, "asked open", &view->states, &view->state_count);
	finds(1, "view 'v': workflow 'callback' has no state 'open'", 80);
}

static void every_defect_is_listed(void **state)
{
	(void)state;
	w->states[0].owner = CL_STR_NONE;
	w->states[0].within = (struct cl_duration){0};
	w->states[0].status = CL_STR_NONE;
	flow_state(f, w, "lost", "on-hold", "", "");
	finds(7, "state 'lost': no owner", 0);
}

static void the_diagram_shows_it(void **state)
{
	struct cl_buf out;
	(void)state;
	flow_state(f, w, "5.1", "in-progress", "front_desk", "2 days");
	w->states[3].overdue_event = CL_STR("finish");
	flow_on(f, w, "asked", "go", "5.1", "front_desk manager");
	flow_on(f, w, "5.1", "finish", "done", "");
	cl_buf_init(&out, 0);
	cl_workflow_diagram(w, &out);
	static const char *const lines[] = {
	        "stateDiagram-v2\n",
	        "    state \"5.1\" as s5_1\n",
	        "    [*] --> asked\n",
	        "    asked --> done : reached (front_desk)\n",
	        "    asked --> asked : no_answer (front_desk)\n",
	        "    asked --> unreached : give_up (clock)\n",
	        "    asked --> s5_1 : go (front_desk, manager)\n",
	        "    done --> [*]\n",
	        "    s5_1 --> done : finish (front_desk)\n",
	        "front_desk, Call the patient, today\n",
	        "within 1 business day, then escalate to manager (2 times), finally give_up\n",
	        "within 2 days, then finish\n",
	};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		flow_contains(cl_buf_str(&out), lines[i]);
	cl_buf_free(&out);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(a_sound_machine_passes),
	        TEST(unreachable_state),
	        TEST(dead_end),
	        TEST(a_circle_without_end),
	        TEST(no_owner),
	        TEST(no_clock),
	        TEST(a_clock_that_runs_backwards),
	        TEST(unknown_names),
	        TEST(clock_events),
	        TEST(overdue_event),
	        TEST(final_states_have_no_events),
	        TEST(wrong_status),
	        TEST(twice),
	        TEST(no_start_and_no_target),
	        TEST(own_names),
	        TEST(reminders_come_before),
	        TEST(migration_to_nowhere),
	        TEST(sides_that_cannot_leave_alone),
	        TEST(metrics_and_views_name_what_exists),
	        TEST(every_defect_is_listed),
	        TEST(the_diagram_shows_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
