/* flow_clock_test.c: clocks, reminders and escalations under the virtual clock; eight weeks with a hundred
 * instances. */
#include "support/flow_fixture.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { GUARD = 7 };

static struct flow_fixture fixture, *f = &fixture;
static struct cl_workflow *w;
static struct cl_state_rule *asked;

/* asked: 2 business days, reminders, two escalations four hours apart, then given up. */
static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "front_desk manager nurse");
	w = flow_workflow(f, "callback", "Patient");
	asked = flow_state(f, w, "asked", "requested", "front_desk", "2 business days");
	flow_state(f, w, "done", "completed!", "", "");
	flow_state(f, w, "unreached", "failed!", "", "");
	flow_on(f, w, "asked", "reached", "done", "");
	flow_on(f, w, "asked", "no_answer", "asked", "");
	flow_need(f, flow_on(f, w, "asked", "give_up", "unreached", "clock"), "reason", "string");
	asked->action = CL_STR("Call the patient");
	asked->escalate_to = CL_STR("manager");
	asked->again = flow_duration("4 hours");
	asked->times = 2;
	asked->finally_event = CL_STR("give_up");
	flow_remind(f, w, "asked", "1 day", "");
	flow_remind(f, w, "asked", "4 hours", "nurse");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	flow_close(f);
	return 0;
}

static void right(int code)
{
	if (code)
		fail_msg("%d: %s [%s]", code, f->e.message, f->e.where);
}

static void to(const char *text)
{
	flow_advance_to(f, flow_instant(text));
}

static size_t open_escalations(void)
{
	size_t all = flow_count(f, CL_TYPE_TASK, "\"code\":\"escalation\"");
	return all - flow_count(f, CL_TYPE_TASK, "moved on: ");
}

static int log_transition(const struct cl_stored_transition *t, void *context)
{
	struct cl_buf *out = context;
	struct cl_local at = cl_zone_local(f->zone, t->at);
	cl_buf_printf(out, "%d/%d %02d:%02d %.*s:%.*s>%.*s by %.*s;", at.date.month, at.date.day, at.hour, at.minute,
	              CL_STR_ARGS(t->event), CL_STR_ARGS(t->from), CL_STR_ARGS(t->to), CL_STR_ARGS(t->actor));
	return 0;
}

static void went(struct cl_str task, const char *expected)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	right(cl_store_transitions(f->store, CL_STR_NONE, task, INT64_MIN, INT64_MAX, log_transition, &out, &f->e));
	flow_text_is(cl_buf_str(&out), expected);
	cl_buf_free(&out);
}

static struct cl_json *the_escalation(struct cl_str task)
{
	struct cl_stored_instance instance = flow_instance(f, task);
	struct cl_json *data;
	right(cl_json_parse(f->arena, instance.data, NULL, &data, &f->e));
	struct cl_json *ids = cl_json_get(data, "escalations");
	assert_non_null(ids);
	return flow_read(f, CL_TYPE_TASK, cl_json_text(&ids->items[ids->count - 1]));
}

static void escalated_twice_then_given_up(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-04T08:59:59-06:00");
	assert_int_equal(open_escalations(), 0);
	to("2026-11-04T09:00:00-06:00");
	assert_int_equal(open_escalations(), 1);
	/* The instance: urgent, its clock runs again, still where it was since it came. */
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, id);
	flow_valid(f, task);
	flow_text_is(cl_json_get_text(task, "status"), "requested");
	flow_text_is(cl_json_get_text(task, "priority"), "urgent");
	flow_text_is(cl_json_text(cl_json_path(task, "restriction", "period", "end", NULL)),
	             "2026-11-04T13:00:00-06:00");
	struct cl_stored_instance instance = flow_instance(f, id);
	assert_int_equal(instance.entered, flow_instant("2026-11-02T09:00:00-06:00"));
	assert_int_equal(instance.due, flow_instant("2026-11-04T13:00:00-06:00"));
	/* The Task that asks somebody to look. */
	struct cl_json *escalation = the_escalation(id);
	flow_valid(f, escalation);
	flow_text_is(cl_json_get_text(escalation, "status"), "requested");
	flow_text_is(cl_json_text(cl_json_path(escalation, "code", "coding", "0", "system", NULL)),
	             "urn:careloop:task");
	flow_text_is(cl_json_text(cl_json_path(escalation, "code", "coding", "0", "code", NULL)), "escalation");
	flow_text_is(cl_json_text(cl_json_path(escalation, "performerType", "0", "coding", "0", "code", NULL)),
	             "manager");
	flow_text_is(cl_json_text(cl_json_path(escalation, "focus", "reference", NULL)),
	             cl_arena_cstring(f->arena, cl_arena_printf(f->arena, "Task/%.*s", CL_STR_ARGS(id))));
	flow_text_is(cl_json_text(cl_json_path(escalation, "for", "reference", NULL)), "Patient/p");
	flow_text_is(cl_json_text(cl_json_path(escalation, "restriction", "period", "end", NULL)),
	             "2026-11-04T13:00:00-06:00");
	flow_contains(cl_json_get_text(escalation, "description"), "next action of front_desk: Call the patient");
	to("2026-11-04T13:00:00-06:00");
	assert_int_equal(open_escalations(), 2);
	to("2026-11-04T16:59:59-06:00");
	flow_is_in(f, id, "asked");
	to("2026-11-04T17:00:00-06:00");
	flow_is_in(f, id, "unreached");
	flow_text_is(flow_instance(f, id).data, "{\"reason\":\"expired\"}");
	assert_int_equal(open_escalations(), 0);
	went(id, "11/2 09:00 start:>asked by desk;11/4 09:00 overdue:asked>asked by clock;11/4 13:00 "
	         "overdue:asked>asked by clock;"
	         "11/4 17:00 give_up:asked>unreached by clock;");
	assert_int_equal(cl_store_timer_next(f->store), INT64_MAX);
}

static void a_move_answers_the_escalation(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-04T14:00:00-06:00");
	assert_int_equal(open_escalations(), 2);
	struct cl_json *escalation = the_escalation(id);
	struct cl_str escalation_id = flow_text(f, cl_arena_cstring(f->arena, cl_json_get_text(escalation, "id")));
	flow_move(f, id, "no_answer", NULL);
	assert_int_equal(open_escalations(), 0);
	escalation = flow_read(f, CL_TYPE_TASK, escalation_id);
	flow_valid(f, escalation);
	flow_text_is(cl_json_get_text(escalation, "status"), "completed");
	flow_text_is(cl_json_text(cl_json_path(escalation, "statusReason", "text", NULL)), "moved on: no_answer");
	flow_text_is(flow_instance(f, id).data, "{}");
	/* The count starts anew with the new clock. */
	to("2026-11-06T14:00:00-06:00");
	to("2026-11-06T18:00:00-06:00");
	flow_is_in(f, id, "asked");
	assert_int_equal(open_escalations(), 2);
	to("2026-11-06T22:00:00-06:00");
	flow_is_in(f, id, "unreached");
}

static void what_somebody_closed_stays_closed(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-04T10:00:00-06:00");
	struct cl_json *escalation = cl_json_copy(f->lasting, the_escalation(id));
	struct cl_unit *unit = flow_begin(f);
	cl_json_set_text(f->arena, escalation, "status", CL_STR("rejected"));
	right(cl_change_update(unit, escalation, 0, NULL, &f->issues, &f->e));
	flow_commit(f);
	flow_move(f, id, "reached", NULL);
	assert_int_equal(flow_count(f, CL_TYPE_TASK, "\"rejected\""), 1);
	assert_int_equal(flow_count(f, CL_TYPE_TASK, "moved on"), 0);
}

static void without_end(void **state)
{
	(void)state;
	asked->times = 0;
	asked->finally_event = CL_STR_NONE;
	asked->again = (struct cl_duration){0}; /* then `within` */
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-16T10:00:00-06:00");
	flow_is_in(f, id, "asked");
	assert_int_equal(open_escalations(), 5); /* 4, 6, 10, 12, 16 November */
	assert_int_equal(flow_instance(f, id).due, flow_instant("2026-11-18T09:00:00-06:00"));
}

static void the_clock_fires_an_event(void **state)
{
	(void)state;
	asked->overdue_event = CL_STR("give_up");
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-04T09:00:00-06:00");
	flow_is_in(f, id, "unreached");
	assert_int_equal(open_escalations(), 0);
	went(id, "11/2 09:00 start:>asked by desk;11/4 09:00 give_up:asked>unreached by clock;");
}

/* A clock's event that its guard refuses must not leave the instance without a clock. */
static void a_refusing_guard_escalates(void **state)
{
	(void)state;
	asked->transitions[2].guard = GUARD;
	f->refusing_guard = GUARD;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-05T00:00:00-06:00");
	flow_is_in(f, id, "asked");
	assert_int_equal(open_escalations(), 4); /* 9, 13, and refused at 17 and 21 o'clock */
	f->refusing_guard = 0;
	to("2026-11-05T01:00:00-06:00");
	flow_is_in(f, id, "unreached");
}

/* ---- reminders ---- */

static void reminders_come_in_order(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-03T08:59:59-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 0);
	to("2026-11-03T09:00:00-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 1);
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, "\"value\":\"front_desk\""), 1);
	assert_int_equal(
	        flow_count(f, CL_TYPE_COMMUNICATION, "Call the patient, due 2026-11-04T09:00:00-06:00 (callback)"), 1);
	to("2026-11-04T05:00:00-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, "\"value\":\"nurse\""), 1);
	to("2026-11-04T12:00:00-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 2); /* four hours are over before they begin */
	char name[96];
	snprintf(name, sizeof name, "remind:%.*s:1#1", CL_STR_ARGS(id));
	assert_string_equal(f->fired[0].name, name);
	snprintf(name, sizeof name, "remind:%.*s:2#1", CL_STR_ARGS(id));
	assert_string_equal(f->fired[1].name, name);
	snprintf(name, sizeof name, "clock:%.*s#1", CL_STR_ARGS(id));
	assert_string_equal(f->fired[2].name, name);
}

static void a_move_takes_the_reminders_along(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	to("2026-11-03T08:00:00-06:00");
	flow_move(f, id, "no_answer", NULL);
	to("2026-11-04T07:59:00-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 0);
	to("2026-11-04T08:00:00-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 1);
	flow_move(f, id, "reached", NULL);
	to("2026-12-04T08:00:00-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 1);
	assert_int_equal(f->fired_count, 1);
}

static void into_a_state_with_fewer_reminders(void **state)
{
	(void)state;
	flow_state(f, w, "paused", "on-hold", "front_desk", "1 month");
	flow_on(f, w, "asked", "pause", "paused", "");
	flow_on(f, w, "paused", "resume", "asked", "");
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_move(f, id, "pause", NULL);
	to("2026-11-20T08:00:00-06:00");
	assert_int_equal(f->fired_count, 0);
}

static void who_waits_for_the_partner_is_reminded_here(void **state)
{
	(void)state;
	flow_party(f, w, "asker", "front_desk manager");
	flow_party(f, w, "caller", "nurse");
	asked->owner = CL_STR("caller");
	asked->reminder_count = 1;
	asked->escalate_to = CL_STR_NONE; /* to the owner: the partner, so whoever waits for it here */
	struct cl_str id = flow_start(f, "callback", "", "asker", "lakeside");
	to("2026-11-03T10:00:00-06:00");
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, "Waiting for lakeside: Call the patient, due"), 2);
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, "\"value\":\"manager\""), 1);
	to("2026-11-04T10:00:00-06:00");
	struct cl_json *types = cl_json_get(the_escalation(id), "performerType");
	assert_int_equal(types->count, 2);
	flow_text_is(cl_json_text(cl_json_path(types, "0", "coding", "0", "code", NULL)), "front_desk");
}

/* ---- what the engine may do to a timer ---- */

static struct cl_stored_timer timer_named(const char *prefix, struct cl_str task)
{
	struct cl_timer_list list;
	right(cl_store_timers(f->store, f->arena, task, 100, &list, &f->e));
	for (size_t i = 0; i < list.count; i++)
		if (cl_str_starts(list.items[i].name, prefix))
			return list.items[i];
	fail_msg("no timer %s", prefix);
	return (struct cl_stored_timer){0};
}

static void timers_know_their_rule(void **state)
{
	(void)state;
	asked->within_setting = CL_STR("call_within");
	struct cl_str id = flow_start(f, "callback", "", "", "");
	struct cl_stored_timer clock = timer_named("clock:", id);
	flow_text_is(
	        clock.rule,
	        "{\"anchor\":\"2026-11-02T15:00:00.000Z\",\"duration\":\"2 business days\",\"setting\":\"call_within\","
	        "\"zone\":\"America/Chicago\"}");
	flow_text_is(timer_named("remind:", id).rule,
	             "{\"anchor\":\"2026-11-02T15:00:00.000Z\",\"duration\":\"2 business days\","
	             "\"before\":\"1 day\",\"setting\":\"call_within\",\"zone\":\"America/Chicago\"}");
}

static void fire(const struct cl_stored_timer *timer)
{
	struct cl_unit *unit = flow_begin(f);
	right(cl_instance_timer(unit, timer, &f->e));
	flow_commit(f);
}

/* One that was taken from the list before the instance moved, or put off after a failure, does no harm. */
static void stale_timers_say_nothing(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	struct cl_stored_timer clock = timer_named("clock:", id), reminder = timer_named("remind:", id);
	clock.name = flow_text(f, cl_arena_cstring(f->arena, clock.name));
	clock.data = flow_text(f, "{\"fired\":0,\"failures\":1}");
	reminder.name = flow_text(f, cl_arena_cstring(f->arena, reminder.name));
	reminder.data = flow_text(f, cl_arena_cstring(f->arena, reminder.data));
	clock.task = reminder.task = id;
	f->now += CL_HOUR;
	flow_move(f, id, "no_answer", NULL);
	fire(&clock);
	fire(&reminder);
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 0);
	assert_int_equal(flow_count(f, CL_TYPE_TASK, NULL), 1);
	/* Late, because it was put off: it counts all the same. */
	f->now = flow_instant("2026-11-04T10:05:00-06:00");
	fire(&clock);
	assert_int_equal(open_escalations(), 1);
	flow_move(f, id, "reached", NULL);
	fire(&clock);
	fire(&reminder);
	assert_int_equal(open_escalations(), 0);
}

/* The server was away for a week: everything is late, nothing is lost, clocks start again from now. */
static void after_a_week_away(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_at(f, "2026-11-10T09:00:00-06:00");
	to("2026-11-10T09:00:00-06:00");
	assert_int_equal(f->fired_count, 3);
	assert_int_equal(flow_count(f, CL_TYPE_COMMUNICATION, NULL), 2);
	assert_int_equal(open_escalations(), 1);
	assert_int_equal(flow_instance(f, id).due, flow_instant("2026-11-10T13:00:00-06:00"));
}

/* ---- eight weeks ---- */

#define INSTANCES 100
#define EXPECTED 8000

static int by_due(const void *left, const void *right)
{
	const struct flow_fired *a = left, *b = right;
	if (a->due != b->due)
		return a->due < b->due ? -1 : 1;
	return strcmp(a->name, b->name);
}

static void expect(struct flow_fired *expected, size_t *count, const char *prefix, struct cl_str task,
                   const char *suffix, int generation, cl_instant due)
{
	assert_true(*count < EXPECTED);
	struct flow_fired *one = &expected[(*count)++];
	*one = (struct flow_fired){.due = due, .at = due};
	snprintf(one->name, sizeof one->name, "%s:%.*s%s#%d", prefix, CL_STR_ARGS(task), suffix, generation);
}

/* Against a schedule that is computed beside the machine: each timer once, at its time, in the order of due. */
static void a_hundred_instances_for_eight_weeks(void **state)
{
	struct flow_fired *expected = calloc(EXPECTED, sizeof *expected);
	const struct cl_calendar *calendar = &f->facts.calendar;
	size_t count = 0;
	(void)state;
	asked->times = 0;
	asked->finally_event = CL_STR_NONE;
	asked->again = flow_duration("1 business day");
	asked->reminders[1].before = flow_duration("1 business day");
	cl_instant end = f->now + 56 * CL_DAY;
	for (int i = 0; i < INSTANCES; i++) {
		/* At all hours, weekends included; some at the same moment. */
		flow_advance_to(f, flow_instant("2026-11-02T09:00:00-06:00") + (i / 3) * 7 * CL_HOUR);
		struct cl_str id = flow_start(f, "callback", "", "", "");
		cl_instant due = cl_calendar_add(calendar, f->now, asked->within);
		cl_instant first = cl_calendar_add(calendar, due, flow_duration("-1 day"));
		cl_instant second = cl_calendar_add(calendar, due, flow_duration("-1 business day"));
		int generations[2] = {0};
		if (first > f->now)
			expect(expected, &count, "remind", id, ":1", ++generations[0], first);
		if (second > f->now)
			expect(expected, &count, "remind", id, ":2", ++generations[1], second);
		for (int generation = 1; due <= end; generation++) {
			expect(expected, &count, "clock", id, "", generation, due);
			cl_instant next = cl_calendar_add(calendar, due, asked->again);
			first = cl_calendar_add(calendar, next, flow_duration("-1 day"));
			/* Over a weekend a day before comes two days after the clock began. */
			if (first > due && first <= end)
				expect(expected, &count, "remind", id, ":1", ++generations[0], first);
			due = next;
		}
	}
	flow_advance_to(f, end);
	assert_true(f->fired_count > 3000);
	for (size_t i = 0; i < f->fired_count; i++) {
		assert_int_equal(f->fired[i].at, f->fired[i].due);
		if (i)
			assert_true(f->fired[i - 1].due <= f->fired[i].due);
	}
	assert_int_equal(f->fired_count, count);
	qsort(expected, count, sizeof *expected, by_due);
	qsort(f->fired, f->fired_count, sizeof *f->fired, by_due);
	for (size_t i = 0; i < count; i++) {
		assert_string_equal(f->fired[i].name, expected[i].name);
		assert_int_equal(f->fired[i].due, expected[i].due);
	}
	free(expected);
}

/* People move instances at any time. Whatever they do: no timer twice, none late, and every live instance has its
 * clock. */
static void nothing_falls_through(void **state)
{
	struct cl_str ids[INSTANCES];
	struct cl_instance_list live;
	uint64_t random = 42;
	(void)state;
	flow_state(f, w, "paused", "on-hold", "nurse", "3 days");
	flow_on(f, w, "asked", "pause", "paused", "");
	flow_on(f, w, "paused", "resume", "asked", "nurse clock");
	w->states[3].overdue_event = CL_STR("resume");
	flow_remind(f, w, "paused", "1 day", "");
	flow_as(f, "desk", "person", "front_desk nurse");
	for (int i = 0; i < INSTANCES; i++)
		ids[i] = flow_start(f, "callback", i % 2 ? "paused" : "", "", "");
	for (int step = 0; step < 1500; step++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		flow_advance_to(f, f->now + (cl_instant)(random >> 40) % (50 * CL_MINUTE));
		struct cl_str id = ids[(random >> 33) % INSTANCES];
		struct cl_stored_instance instance = flow_instance(f, id);
		if (instance.final || (random >> 20) % 7 == 0)
			continue;
		bool paused = cl_str_is(instance.state, "paused");
		flow_move(f, id, paused ? "resume" : (random >> 25) % 5 == 0 ? "pause" : "no_answer", NULL);
	}
	flow_advance_to(f, flow_instant("2026-12-28T09:00:00-06:00"));
	for (size_t i = 1; i < f->fired_count; i++)
		assert_true(f->fired[i - 1].due <= f->fired[i].due && f->fired[i].at == f->fired[i].due);
	size_t fired = f->fired_count;
	qsort(f->fired, fired, sizeof *f->fired, by_due);
	for (size_t i = 1; i < fired; i++)
		assert_string_not_equal(f->fired[i - 1].name, f->fired[i].name);
	right(cl_store_instances(f->store, f->arena, CL_STR("callback"), CL_STR_NONE, CL_STR_NONE, true, 1000, &live,
	                         &f->e));
	for (size_t i = 0; i < live.count; i++) {
		assert_true(live.items[i].owner.n > 0);
		assert_true(live.items[i].due > f->now);
		assert_int_equal(timer_named("clock:", live.items[i].task).due, live.items[i].due);
	}
	/* What is over has no timer. */
	for (int i = 0; i < INSTANCES; i++) {
		struct cl_timer_list timers;
		right(cl_store_timers(f->store, f->arena, ids[i], 10, &timers, &f->e));
		assert_true(flow_instance(f, ids[i]).final == (timers.count == 0));
	}
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(escalated_twice_then_given_up),
	        TEST(a_move_answers_the_escalation),
	        TEST(what_somebody_closed_stays_closed),
	        TEST(without_end),
	        TEST(the_clock_fires_an_event),
	        TEST(a_refusing_guard_escalates),
	        TEST(reminders_come_in_order),
	        TEST(a_move_takes_the_reminders_along),
	        TEST(into_a_state_with_fewer_reminders),
	        TEST(who_waits_for_the_partner_is_reminded_here),
	        TEST(timers_know_their_rule),
	        TEST(stale_timers_say_nothing),
	        TEST(after_a_week_away),
	        TEST(a_hundred_instances_for_eight_weeks),
	        TEST(nothing_falls_through),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
