/* flow_update_test.c: FHIR clients that know nothing of workflows: plain updates of an instance's Task. */
#include "support/flow_fixture.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct flow_fixture fixture, *f = &fixture;
static struct cl_workflow *w;
static struct cl_str id;

static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "front_desk manager");
	w = flow_workflow(f, "callback", "Patient");
	flow_state(f, w, "asked", "requested", "front_desk", "1 business day");
	flow_state(f, w, "calling", "in-progress", "front_desk", "1 business day");
	flow_state(f, w, "done", "completed!", "", "");
	flow_state(f, w, "declined", "rejected!", "", "");
	flow_on(f, w, "asked", "call", "calling", "");
	struct cl_transition_rule *decline = flow_on(f, w, "asked", "decline", "declined", "manager");
	flow_need(f, decline, "reason", "string")->help = CL_STR("Why not");
	struct cl_transition_rule *reached = flow_on(f, w, "calling", "reached", "done", "");
	flow_need(f, reached, "start", "dateTime");
	flow_need(f, reached, "who", "reference")->optional = true;
	flow_need(f, reached, "count", "integer")->optional = true;
	flow_on(f, w, "asked", "drop", "declined", "clock");
	flow_need(f, flow_on(f, w, "calling", "hand_over", "asked", ""), "owner", "reference");
	id = flow_start(f, "callback", "", "", "");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	flow_close(f);
	return 0;
}

/* The Task as it is with some members replaced (null removes), put back. */
static int put(const char *members_json)
{
	struct cl_json *task = cl_json_copy(f->lasting, flow_read(f, CL_TYPE_TASK, id));
	struct cl_unit *unit = flow_begin(f);
	struct cl_json *members = flow_json(f, members_json);
	for (uint32_t i = 0; i < members->count; i++) {
		if (members->members[i].value.kind == CL_JSON_NULL)
			cl_json_remove(task, cl_arena_cstring(f->arena, members->members[i].name));
		else
			*cl_json_set(f->arena, task, members->members[i].name) = members->members[i].value;
	}
	uint64_t before = cl_store_last_sequence(f->store);
	int code = cl_change_update(unit, task, 0, NULL, &f->issues, &f->e);
	struct cl_err e = f->e;
	if (code) {
		assert_int_equal(cl_store_last_sequence(f->store), before);
		flow_rollback(f);
	} else {
		flow_commit(f);
	}
	f->e = e;
	return code;
}

static void accepts(const char *members_json)
{
	if (put(members_json))
		fail_msg("%s: %d %s [%s]", members_json, f->e.code, f->e.message, f->e.where);
}

static void refuses(const char *members_json, int code, const char *words, const char *where)
{
	int result = put(members_json);
	if (result != code)
		fail_msg("%s: %d instead of %d: %s", members_json, result, code, f->e.message);
	flow_contains(cl_str_of(f->e.message), words);
	assert_string_equal(f->e.where, where);
}

static void other_parts_are_the_clients(void **state)
{
	(void)state;
	cl_instant due = flow_instance(f, id).due;
	f->now += CL_HOUR;
	accepts("{\"description\":\"Knee\",\"priority\":\"urgent\",\"note\":[{\"text\":\"prefers mornings\"}]}");
	flow_is_in(f, id, "asked");
	assert_int_equal(flow_instance(f, id).due, due);
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, id);
	flow_text_is(cl_json_get_text(task, "description"), "Knee");
	flow_text_is(cl_json_text(cl_json_path(task, "meta", "versionId", NULL)), "2");
	refuses("{\"priority\":\"soon\"}", CL_E_RULE, "soon", "Task.priority");
	/* The same once more is no version. */
	accepts("{}");
	flow_text_is(cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, id), "meta", "versionId", NULL)), "2");
}

static void what_the_machine_owns(void **state)
{
	(void)state;
	static const struct {
		const char *members, *where;
	} cases[] = {
	        {"{\"owner\":{\"reference\":\"Practitioner/ana\"}}", "Task.owner"},
	        {"{\"restriction\":{\"period\":{\"end\":\"2027-01-01\"}}}", "Task.restriction.period.end"},
	        {"{\"restriction\":null}", "Task.restriction.period.end"},
	        {"{\"code\":{\"text\":\"other\"}}", "Task.code"},
	        {"{\"focus\":{\"reference\":\"Patient/q\"}}", "Task.focus"},
	        {"{\"for\":{\"reference\":\"Patient/q\"}}", "Task.for"},
	        {"{\"performerType\":null}", "Task.performerType"},
	        {"{\"businessStatus\":null}", "Task.businessStatus"},
	        {"{\"owner\":{\"reference\":\"Practitioner/ana\"},\"status\":\"in-progress\"}", "Task.owner"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		refuses(cases[i].members, CL_E_RULE, "is set by the workflow", cases[i].where);
		flow_contains(cl_str_of(f->e.message),
		              "is in state asked; legal: call (front_desk), decline (manager; needs reason)");
	}
	/* Repetitions belong to nobody. */
	struct cl_str end =
	        cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, id), "restriction", "period", "end", NULL));
	accepts(cl_arena_cstring(f->lasting, cl_arena_printf(f->lasting,
	                                                     "{\"restriction\":{\"repetitions\":3,\"period\":{\"end\":"
	                                                     "\"%.*s\"}}}",
	                                                     CL_STR_ARGS(end))));
	accepts("{\"status\":\"in-progress\"}");
	assert_int_equal(flow_count(f, CL_TYPE_TASK, "\"repetitions\":3"), 1);
}

static void a_status_is_an_event(void **state)
{
	(void)state;
	f->now += CL_HOUR;
	accepts("{\"status\":\"in-progress\",\"description\":\"and a word\",\"note\":[{\"text\":\"ringing\"}]}");
	flow_is_in(f, id, "calling");
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, id);
	flow_valid(f, task);
	flow_text_is(cl_json_get_text(task, "description"), "and a word");
	flow_text_is(cl_json_text(cl_json_path(task, "businessStatus", "coding", "0", "code", NULL)), "calling");
	flow_text_is(cl_json_text(cl_json_path(task, "restriction", "period", "end", NULL)),
	             "2026-11-03T10:00:00-06:00");
	assert_int_equal(cl_json_get(task, "note")->count, 1);
	flow_text_is(flow_instance(f, id).data, "{\"note\":\"ringing\"}");
}

static void reasons_and_inputs_are_data(void **state)
{
	(void)state;
	flow_as(f, "mia", "person", "manager");
	refuses("{\"status\":\"rejected\"}", CL_E_RULE, "'decline' needs reason (Why not)", "data.reason");
	accepts("{\"status\":\"rejected\",\"statusReason\":{\"text\":\"moved away\"}}");
	flow_is_in(f, id, "declined");
	flow_text_is(flow_instance(f, id).data, "{\"reason\":\"moved away\"}");
	flow_text_is(cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, id), "statusReason", "text", NULL)),
	             "moved away");
	flow_as(f, "desk", "person", "front_desk");
	id = flow_start(f, "callback", "calling", "", "");
	refuses("{\"status\":\"completed\"}", CL_E_RULE, "'reached' needs start", "data.start");
	refuses("{\"status\":\"completed\",\"input\":[{\"type\":{\"text\":\"start\"},\"valueString\":\"soon\"}]}",
	        CL_E_RULE, "start must be a dateTime", "data.start");
	accepts("{\"status\":\"completed\",\"input\":[{\"type\":{\"text\":\"start\"},\"valueDateTime\":\"2026-11-09T09:"
	        "00:00-06:00\"},"
	        "{\"type\":{\"text\":\"who\"},\"valueReference\":{\"reference\":\"Practitioner/ana\"}},"
	        "{\"type\":{\"text\":\"count\"},\"valueInteger\":3},{\"type\":{\"text\":\"other\"},\"valueString\":"
	        "\"kept in the Task\"}]}");
	flow_is_in(f, id, "done");
	flow_text_is(flow_instance(f, id).data,
	             "{\"start\":\"2026-11-09T09:00:00-06:00\",\"who\":\"Practitioner/ana\",\"count\":3}");
}

static void an_event_may_bring_the_owner(void **state)
{
	(void)state;
	id = flow_start(f, "callback", "calling", "", "");
	refuses("{\"status\":\"requested\"}", CL_E_RULE, "'hand_over' needs owner", "data.owner");
	accepts("{\"status\":\"requested\",\"owner\":{\"reference\":\"Practitioner/ben\"}}");
	flow_is_in(f, id, "asked");
	flow_text_is(cl_json_text(cl_json_path(flow_read(f, CL_TYPE_TASK, id), "owner", "reference", NULL)),
	             "Practitioner/ben");
}

static void who_may_not_is_told_who_may(void **state)
{
	(void)state;
	refuses("{\"status\":\"rejected\",\"statusReason\":{\"text\":\"x\"}}", CL_E_FORBIDDEN,
	        "who may: ", "Task.status");
	flow_as(f, "mia", "person", "manager");
	refuses("{\"status\":\"in-progress\"}", CL_E_FORBIDDEN, "who may: front_desk", "Task.status");
}

static void no_event_leads_there(void **state)
{
	(void)state;
	refuses("{\"status\":\"completed\"}", CL_E_RULE,
	        "where 'completed' follows from no event; legal: call (front_desk)", "Task.status");
	refuses("{\"status\":\"nonsense\"}", CL_E_RULE, "'nonsense'", "Task.status");
	refuses("{\"businessStatus\":{\"coding\":[{\"code\":\"done\"}]}}", CL_E_RULE, "'done' follows from no event",
	        "Task.businessStatus");
}

/* Status and businessStatus dropped: not the same as unchanged, and FHIR wants a status. */
static void a_task_without_status(void **state)
{
	(void)state;
	refuses("{\"status\":null}", CL_E_RULE, "follows from no event", "Task.status");
	/* A client that sends status alone means it. */
	accepts("{\"status\":\"in-progress\",\"businessStatus\":null}");
	flow_is_in(f, id, "calling");
}

static void final_ones_take_notes_only(void **state)
{
	(void)state;
	id = flow_start(f, "callback", "done", "", "");
	accepts("{\"output\":[{\"type\":{\"text\":\"report\"},\"valueString\":\"late\"}]}");
	refuses("{\"status\":\"requested\"}", CL_E_RULE, "is in state done, which is final", "Task.status");
}

static void an_ordinary_task_is_left_alone(void **state)
{
	struct cl_version version;
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	assert_int_equal(
	        cl_change_create(unit,
	                         flow_json(f, "{\"resourceType\":\"Task\",\"status\":\"draft\",\"intent\":\"order\"}"),
	                         CL_STR("plain"), &version, &f->issues, &f->e),
	        0);
	assert_int_equal(
	        cl_change_update(unit,
	                         flow_json(f, "{\"resourceType\":\"Task\",\"id\":\"plain\",\"status\":\"completed\","
	                                      "\"intent\":\"order\"}"),
	                         0, &version, &f->issues, &f->e),
	        0);
	assert_int_equal(version.version, 2);
	assert_int_equal(unit->changes->next->workflow.n, 0);
	/* It does not become an instance behind the machine's back. */
	assert_int_equal(
	        cl_change_update(unit,
	                         flow_json(f, "{\"resourceType\":\"Task\",\"id\":\"plain\",\"status\":\"requested\","
	                                      "\"intent\":\"order\",\"code\":{\"coding\":[{\"system\":\"urn:careloop:"
	                                      "workflow\",\"code\":\"callback\"}]}}"),
	                         0, &version, &f->issues, &f->e),
	        CL_E_RULE);
	assert_string_equal(f->e.where, "Task.code");
	flow_rollback(f);
}

static void an_update_under_a_new_id_starts(void **state)
{
	struct cl_version version;
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	assert_int_equal(
	        cl_change_update(unit,
	                         flow_json(f,
	                                   "{\"resourceType\":\"Task\",\"id\":\"mine\",\"status\":\"draft\",\"intent\":"
	                                   "\"order\",\"for\":{\"reference\":\"Patient/p\"},\"code\":{\"coding\":[{"
	                                   "\"system\":\"urn:careloop:workflow\",\"code\":\"callback\"}]}}"),
	                         0, &version, &f->issues, &f->e),
	        0);
	flow_commit(f);
	flow_is_in(f, CL_STR("mine"), "asked");
}

static void versions_are_checked_first(void **state)
{
	(void)state;
	struct cl_json *task = cl_json_copy(f->lasting, flow_read(f, CL_TYPE_TASK, id));
	struct cl_unit *unit = flow_begin(f);
	cl_json_set_text(f->arena, task, "status", CL_STR("in-progress"));
	assert_int_equal(cl_change_update(unit, task, 7, NULL, &f->issues, &f->e), CL_E_PRECONDITION);
	assert_int_equal(cl_change_update(unit, task, 1, NULL, &f->issues, &f->e), 0);
	flow_commit(f);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(other_parts_are_the_clients),
	        TEST(what_the_machine_owns),
	        TEST(a_status_is_an_event),
	        TEST(reasons_and_inputs_are_data),
	        TEST(an_event_may_bring_the_owner),
	        TEST(who_may_not_is_told_who_may),
	        TEST(no_event_leads_there),
	        TEST(a_task_without_status),
	        TEST(final_ones_take_notes_only),
	        TEST(an_ordinary_task_is_left_alone),
	        TEST(an_update_under_a_new_id_starts),
	        TEST(versions_are_checked_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
