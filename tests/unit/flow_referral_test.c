/* flow_referral_test.c: the referral machine of domain.md section 2.8 (BSeR harmonised with IHE 360X), all 34
 * transitions and the documented completion fix: every (state, event, side) is tried, legal ones move, the others are
 * refused and say what is legal and who may. */
#include "support/flow_fixture.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static const struct row {
	int tid;
	const char *by, *event, *from, *to;
} rows[] = {
        {1, "initiator", "send", "draft", "received"},
        {2, "recipient", "accept", "received", "accepted"},
        {3, "recipient", "decline", "received", "declined"},
        {4, "initiator", "request_cancel", "received", "cancel_requested"},
        {5, "recipient", "decline", "accepted", "declined"},
        {6, "recipient", "schedule", "accepted", "scheduled"},
        {7, "initiator", "request_cancel", "accepted", "cancel_requested"},
        {8, "recipient", "interim", "accepted", "visit_completed"},
        {9, "recipient", "outcome", "accepted", "completed"},
        {10, "recipient", "decline", "scheduled", "declined"},
        {11, "recipient", "reschedule", "scheduled", "scheduled"},
        {12, "recipient", "no_show", "scheduled", "no_show"},
        {13, "recipient", "appointment_cancel", "scheduled", "appointment_cancelled"},
        {14, "initiator", "request_cancel", "scheduled", "cancel_requested"},
        {15, "recipient", "interim", "scheduled", "visit_completed"},
        {16, "recipient", "outcome", "scheduled", "completed"},
        {17, "recipient", "decline", "no_show", "declined"},
        {18, "recipient", "reschedule", "no_show", "scheduled"},
        {19, "recipient", "appointment_cancel", "no_show", "appointment_cancelled"},
        {20, "initiator", "request_cancel", "no_show", "cancel_requested"},
        {21, "recipient", "schedule", "appointment_cancelled", "scheduled"},
        {22, "initiator", "request_cancel", "appointment_cancelled", "cancel_requested"},
        {23, "recipient", "confirm_cancel", "cancel_requested", "cancelled"},
        {24, "recipient", "outcome", "cancel_requested", "completed"},
        {25, "recipient", "decline", "visit_completed", "declined"},
        {26, "recipient", "schedule", "visit_completed", "scheduled"},
        {27, "recipient", "appointment_cancel", "visit_completed", "appointment_cancelled"},
        {28, "initiator", "request_cancel", "visit_completed", "cancel_requested"},
        {29, "recipient", "interim", "visit_completed", "visit_completed"},
        {30, "recipient", "outcome", "visit_completed", "completed"},
        {31, "recipient", "begin", "accepted", "active"},
        {32, "recipient", "progress", "accepted", "active"},
        {33, "recipient", "decline", "active", "declined"},
        {34, "initiator", "request_cancel", "active", "cancel_requested"},
        {0, "recipient", "outcome", "active", "completed"},
};
#define ROWS (sizeof rows / sizeof *rows)

static const struct {
	const char *name, *status, *owner, *within, *code;
} states[] = {
        {"draft", "draft", "initiator", "1 day", "1.0"},
        {"received", "requested", "recipient", "2 business days", "2.0"},
        {"accepted", "accepted", "recipient", "5 business days", "3.0"},
        {"active", "in-progress", "recipient", "14 days", "5.1"},
        {"scheduled", "in-progress", "recipient", "14 days", "5.1.1"},
        {"no_show", "in-progress", "recipient", "2 business days", "5.1.2"},
        {"appointment_cancelled", "in-progress", "recipient", "2 business days", "5.1.3"},
        {"visit_completed", "in-progress", "recipient", "14 days", "5.1.4"},
        {"cancel_requested", "in-progress", "recipient", "2 business days", "5.2"},
        {"declined", "rejected!", "", "", "4.0"},
        {"cancelled", "cancelled!", "", "", "6.0"},
        {"completed", "completed!", "", "", "7.0"},
};
#define STATES (sizeof states / sizeof *states)

static struct flow_fixture fixture, *f = &fixture;
static struct cl_workflow *w;

static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "referral_coordinator intake");
	w = flow_workflow(f, "referral", "ServiceRequest");
	flow_party(f, w, "initiator", "referral_coordinator");
	flow_party(f, w, "recipient", "intake");
	flow_recorders(f, w, "referral_coordinator");
	for (size_t i = 0; i < STATES; i++) {
		struct cl_state_rule *rule =
		        flow_state(f, w, states[i].name, states[i].status, states[i].owner, states[i].within);
		rule->business_system = CL_STR("http://hl7.org/fhir/us/bser/CodeSystem/TaskBusinessStatusCS");
		rule->business_code = cl_str_of(states[i].code);
	}
	for (size_t i = 0; i < ROWS; i++)
		flow_on(f, w, rows[i].from, rows[i].event, rows[i].to, rows[i].by);
	flow_words(f, "5.4", &w->states[8].accepts, &w->states[8].accept_count);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	flow_close(f);
	return 0;
}

static const struct row *find(const char *from, const char *event)
{
	for (size_t i = 0; i < ROWS; i++)
		if (!strcmp(rows[i].from, from) && !strcmp(rows[i].event, event))
			return &rows[i];
	return NULL;
}

static void the_machine_is_sound(void **state)
{
	struct cl_buf all;
	(void)state;
	cl_buf_init(&all, 0);
	int code = cl_catalog_check(&f->catalog, &all, &f->e);
	if (code)
		fail_msg("%.*s", (int)all.n, all.p);
	cl_buf_free(&all);
	/* Without recorders and clocks the initiator's side could be left waiting for ever in each state but the
	 * draft. */
	w->recorder_count = 0;
	cl_buf_init(&all, 0);
	assert_int_equal(cl_catalog_check(&f->catalog, &all, &f->e), CL_E_PLUGIN);
	flow_contains(cl_buf_str(&all), "state 'cancel_requested': the side 'initiator' cannot leave it alone");
	flow_contains(cl_buf_str(&all), "state 'draft': the side 'recipient' cannot leave it alone");
	cl_buf_free(&all);
}

/* The side fires it here, as a person of our own or as the partner. */
static void act_as(const char *side, const char *ours)
{
	if (!strcmp(side, ours))
		flow_as(f, "ana", "person", strcmp(side, "initiator") ? "intake" : "referral_coordinator");
	else
		flow_as(f, "lakeside", "partner", "");
}

static void refused_with_the_legal_ones(struct cl_str task, const char *from, const char *event)
{
	char words[64];
	flow_refuse(f, task, event, NULL, CL_E_RULE, from);
	snprintf(words, sizeof words, "where '%s' is no event; legal: ", event);
	flow_contains(cl_str_of(f->e.message), words);
	for (size_t i = 0; i < ROWS; i++)
		if (!strcmp(rows[i].from, from)) {
			snprintf(words, sizeof words, "%s (%s)", rows[i].event, rows[i].by);
			flow_contains(cl_str_of(f->e.message), words);
		}
}

/* One instance stays in the state through all refusals; each legal event moves a fresh one. */
static void try_state(const char *from, const char *ours, bool final)
{
	static const char *const sides[] = {"initiator", "recipient"};
	act_as(ours, ours);
	struct cl_str task = flow_start(f, "referral", from, ours, "lakeside");
	struct cl_str before = flow_text(f, cl_arena_cstring(f->arena, flow_instance(f, task).data));
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *row = find(from, rows[i].event);
		for (size_t s = 0; s < 2; s++) {
			act_as(sides[s], ours);
			if (final) {
				flow_refuse(f, task, rows[i].event, NULL, CL_E_RULE,
				            "which is final: nothing further happens");
			} else if (!row) {
				refused_with_the_legal_ones(task, from, rows[i].event);
			} else if (strcmp(row->by, sides[s])) {
				flow_refuse(f, task, row->event, NULL, CL_E_FORBIDDEN, row->by);
			} else {
				act_as(ours, ours);
				struct cl_str fresh = flow_start(f, "referral", from, ours, "lakeside");
				act_as(sides[s], ours);
				flow_move(f, fresh, row->event, NULL);
				flow_is_in(f, fresh, row->to);
				flow_valid(f, flow_read(f, CL_TYPE_TASK, fresh));
			}
		}
	}
	struct cl_stored_instance after = flow_instance(f, task);
	flow_text_is(after.state, from);
	assert_true(cl_str_equal(after.data, before));
	flow_text_is(cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, task), "meta", "versionId", NULL)), "1");
}

static void every_state_event_and_side_at_the_initiator(void **state)
{
	(void)state;
	for (size_t i = 0; i < STATES; i++)
		try_state(states[i].name, "initiator", w->states[i].final);
}

static void every_state_event_and_side_at_the_recipient(void **state)
{
	(void)state;
	for (size_t i = 0; i < STATES; i++)
		try_state(states[i].name, "recipient", w->states[i].final);
}

/* Each row once more, by the initiator's coordinator on the partner's behalf: most partners never log in. */
static void every_transition_of_the_recipient_can_be_recorded(void **state)
{
	(void)state;
	act_as("initiator", "initiator");
	for (size_t i = 0; i < ROWS; i++) {
		if (strcmp(rows[i].by, "recipient"))
			continue;
		struct cl_str task = flow_start(f, "referral", rows[i].from, "initiator", "");
		struct cl_unit *unit = flow_begin(f);
		struct cl_advance advance = {.task = task,
		                             .event = cl_str_of(rows[i].event),
		                             .on_behalf_of = CL_STR("recipient"),
		                             .source = CL_STR("fax")};
		if (cl_instance_advance(unit, &advance, NULL, &f->issues, &f->e))
			fail_msg("TID %d: %s", rows[i].tid, f->e.message);
		flow_commit(f);
		flow_is_in(f, task, rows[i].to);
	}
}

static void walk(const char *const *events, const char *end)
{
	act_as("initiator", "initiator");
	struct cl_str task = flow_start(f, "referral", "", "initiator", "lakeside");
	const char *at = "draft";
	for (; *events; events++) {
		const struct row *row = find(at, *events);
		if (!row)
			fail_msg("no %s from %s", *events, at);
		act_as(row->by, "initiator");
		f->now += CL_HOUR;
		flow_move(f, task, *events, NULL);
		at = row->to;
	}
	flow_is_in(f, task, end);
	flow_text_is(cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, task), "businessStatus", "coding", "0",
	                                       "code", NULL)),
	             !strcmp(end, "completed")   ? "7.0"
	             : !strcmp(end, "cancelled") ? "6.0"
	                                         : "4.0");
}

static void whole_stories(void **state)
{
	static const char *const kept[] = {"send",       "accept",  "schedule", "reschedule",         "no_show",
	                                   "reschedule", "interim", "schedule", "appointment_cancel", "schedule",
	                                   "outcome",    NULL};
	static const char *const cancelled[] = {"send", "accept", "request_cancel", "confirm_cancel", NULL};
	static const char *const race[] = {"send", "accept", "schedule", "request_cancel", "outcome", NULL};
	static const char *const late[] = {"send", "accept", "schedule", "no_show", "decline", NULL};
	static const char *const generic[] = {"send", "accept", "begin", "outcome", NULL};
	(void)state;
	walk(kept, "completed");
	walk(cancelled, "cancelled");
	walk(race, "completed");
	walk(late, "declined");
	walk(generic, "completed");
}

/* ---- the same by plain FHIR updates ---- */

static int put_business(struct cl_str task, const char *code, const char *status)
{
	struct cl_json *resource = flow_read(f, CL_TYPE_TASK, task);
	if (code) {
		struct cl_json *coding = cl_json_path(resource, "businessStatus", "coding", "0", NULL);
		cl_json_set_text(f->arena, coding, "code", cl_str_of(code));
	}
	if (status)
		cl_json_set_text(f->arena, resource, "status", cl_str_of(status));
	struct cl_json *copy = cl_json_copy(f->lasting, resource);
	struct cl_unit *unit = flow_begin(f);
	int result = cl_change_update(unit, copy, 0, NULL, &f->issues, &f->e);
	struct cl_err e = f->e;
	if (result)
		flow_rollback(f);
	else
		flow_commit(f);
	f->e = e;
	return result;
}

/* Every row whose target another row does not share: its businessStatus says it all. */
static void every_transition_by_business_status(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		size_t sharing = 0;
		for (size_t k = 0; k < ROWS; k++)
			sharing += !strcmp(rows[k].from, rows[i].from) && !strcmp(rows[k].to, rows[i].to);
		if (!strcmp(rows[i].from, rows[i].to))
			continue;
		act_as("initiator", "initiator");
		struct cl_str task = flow_start(f, "referral", rows[i].from, "initiator", "lakeside");
		const struct cl_state_rule *target = &w->states[cl_workflow_state(w, cl_str_of(rows[i].to))];
		act_as(rows[i].by, "initiator");
		int code = put_business(task, target->business_code.p, NULL);
		if (sharing > 1) {
			assert_int_equal(code, CL_E_RULE); /* 31 and 32 look the same from outside */
			flow_contains(cl_str_of(f->e.message), "'5.1' could mean several events");
			assert_string_equal(f->e.where, "Task.businessStatus");
			continue;
		}
		if (code)
			fail_msg("TID %d: %s [%s]", rows[i].tid, f->e.message, f->e.where);
		flow_is_in(f, task, rows[i].to);
		flow_text_is(cl_json_get_text(flow_read(f, CL_TYPE_TASK, task), "status"),
		             cl_arena_cstring(f->arena, target->status));
		/* Not by the wrong side. */
		act_as("initiator", "initiator");
		task = flow_start(f, "referral", rows[i].from, "initiator", "lakeside");
		act_as(strcmp(rows[i].by, "initiator") ? "initiator" : "recipient", "initiator");
		assert_int_equal(put_business(task, target->business_code.p, NULL), CL_E_FORBIDDEN);
		flow_contains(cl_str_of(f->e.message), rows[i].by);
	}
}

static void former_codes_are_understood(void **state)
{
	(void)state;
	act_as("initiator", "initiator");
	struct cl_str task = flow_start(f, "referral", "accepted", "initiator", "lakeside");
	assert_int_equal(put_business(task, "5.4", NULL), 0); /* STU1 */
	flow_is_in(f, task, "cancel_requested");
	flow_text_is(cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, task), "businessStatus", "coding", "0",
	                                       "code", NULL)),
	             "5.2");
}

static void by_status_alone(void **state)
{
	(void)state;
	act_as("initiator", "initiator");
	struct cl_str task = flow_start(f, "referral", "received", "initiator", "lakeside");
	act_as("recipient", "initiator");
	assert_int_equal(put_business(task, NULL, "accepted"), 0);
	flow_is_in(f, task, "accepted");
	/* in-progress could be scheduled, a visit, or work without details. */
	assert_int_equal(put_business(task, NULL, "in-progress"), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "'in-progress' could mean several events");
	flow_contains(cl_str_of(f->e.message), "schedule (recipient)");
	assert_string_equal(f->e.where, "Task.status");
	assert_int_equal(put_business(task, NULL, "on-hold"), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "'on-hold' follows from no event; legal: decline (recipient)");
	/* Both, and they disagree. */
	assert_int_equal(put_business(task, "5.1.1", "completed"), CL_E_RULE);
	assert_string_equal(f->e.where, "Task.businessStatus");
	assert_int_equal(put_business(task, "5.1.1", "in-progress"), 0);
	flow_is_in(f, task, "scheduled");
	assert_int_equal(put_business(task, NULL, "completed"), 0);
	flow_is_in(f, task, "completed");
	assert_int_equal(put_business(task, NULL, "in-progress"), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "which is final");
	/* The initiator alone cannot cancel: it may only ask. */
	act_as("initiator", "initiator");
	task = flow_start(f, "referral", "received", "initiator", "lakeside");
	assert_int_equal(put_business(task, NULL, "cancelled"), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "request_cancel (initiator)");
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(the_machine_is_sound),
	        TEST(every_state_event_and_side_at_the_initiator),
	        TEST(every_state_event_and_side_at_the_recipient),
	        TEST(every_transition_of_the_recipient_can_be_recorded),
	        TEST(whole_stories),
	        TEST(every_transition_by_business_status),
	        TEST(former_codes_are_understood),
	        TEST(by_status_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
