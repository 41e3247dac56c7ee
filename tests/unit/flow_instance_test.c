/* flow_instance_test.c: a machine of three states: starting, moving, data, who may, sides, recorders, plugins,
 * functions. */
#include "support/flow_fixture.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

enum { GUARD = 7, EFFECT = 8, ENTER = 9 };

static struct flow_fixture fixture, *f = &fixture;
static struct cl_workflow *w;

static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "front_desk manager nurse");
	w = flow_workflow(f, "callback", "Patient");
	flow_state(f, w, "asked", "requested", "front_desk", "1 business day")->action = CL_STR("Call the patient");
	flow_state(f, w, "done", "completed!", "", "");
	flow_state(f, w, "unreached", "failed!", "", "");
	struct cl_transition_rule *reached = flow_on(f, w, "asked", "reached", "done", "front_desk nurse");
	flow_need(f, reached, "result", "string")->help = CL_STR("What was agreed");
	struct cl_needed *channel = flow_need(f, reached, "channel", "choice");
	flow_words(f, "phone text", &channel->choices, &channel->choice_count);
	channel->optional = true;
	flow_on(f, w, "asked", "no_answer", "asked", "");
	flow_on(f, w, "asked", "give_up", "unreached", "clock manager");
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

static void where_is(const char *where)
{
	assert_string_equal(f->e.where, where);
}

/* ---- starting ---- */

static void a_start_is_a_task(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, id);
	flow_valid(f, task);
	flow_text_is(cl_json_get_text(task, "status"), "requested");
	flow_text_is(cl_json_get_text(task, "intent"), "order");
	flow_text_is(cl_json_get_text(task, "authoredOn"), "2026-11-02T09:00:00-06:00");
	flow_text_is(cl_json_get_text(task, "lastModified"), "2026-11-02T09:00:00-06:00");
	flow_text_is(cl_json_text(cl_json_path(task, "restriction", "period", "end", NULL)),
	             "2026-11-03T09:00:00-06:00");
	flow_text_is(cl_json_text(cl_json_path(task, "code", "coding", "0", "system", NULL)), "urn:careloop:workflow");
	flow_text_is(cl_json_text(cl_json_path(task, "code", "coding", "0", "code", NULL)), "callback");
	flow_text_is(cl_json_text(cl_json_path(task, "businessStatus", "coding", "0", "code", NULL)), "asked");
	flow_text_is(cl_json_text(cl_json_path(task, "performerType", "0", "coding", "0", "system", NULL)),
	             "urn:careloop:role");
	flow_text_is(cl_json_text(cl_json_path(task, "performerType", "0", "coding", "0", "code", NULL)), "front_desk");
	flow_text_is(cl_json_text(cl_json_path(task, "focus", "reference", NULL)), "Patient/p");
	flow_text_is(cl_json_text(cl_json_path(task, "for", "reference", NULL)), "Patient/p");
	struct cl_stored_instance instance = flow_instance(f, id);
	flow_text_is(instance.workflow, "callback");
	flow_text_is(instance.state, "asked");
	flow_text_is(instance.subject, "Patient/p");
	flow_text_is(instance.patient, "p");
	flow_text_is(instance.owner, "front_desk");
	flow_text_is(instance.plugins, "0123456789abcdef");
	assert_int_equal(instance.started, f->now);
	assert_int_equal(instance.due, flow_instant("2026-11-03T09:00:00-06:00"));
	assert_false(instance.final);
	assert_int_equal(cl_store_timer_next(f->store), instance.due);
}

static struct cl_version post(const char *members, int code, const char *words, const char *where)
{
	struct cl_version version = {0};
	struct cl_unit *unit = flow_begin(f);
	struct cl_str text = cl_arena_printf(f->arena,
	                                     "{\"resourceType\":\"Task\",\"code\":{\"coding\":[{\"system\":"
	                                     "\"urn:careloop:workflow\",\"code\":\"callback\"}]}%s%s}",
	                                     *members ? "," : "", members);
	int result = cl_change_create(unit, flow_json(f, cl_arena_cstring(f->arena, text)), CL_STR_NONE, &version,
	                              &f->issues, &f->e);
	if (result != code)
		fail_msg("%s: %d instead of %d: %s [%s]", members, result, code, f->e.message, f->e.where);
	if (code) {
		struct cl_err e = f->e;
		flow_contains(cl_str_of(e.message), words);
		assert_string_equal(e.where, where);
		assert_null(unit->changes);
		flow_rollback(f);
	} else {
		version.id = flow_text(f, cl_arena_cstring(f->arena, version.id));
		flow_commit(f);
	}
	return version;
}

static void a_client_creates_its_task(void **state)
{
	(void)state;
	struct cl_version version =
	        post("\"status\":\"draft\",\"intent\":\"plan\",\"for\":{\"reference\":\"Patient/p\"},"
	             "\"description\":\"Knee\",\"input\":[{\"type\":{\"text\":\"phone\"},\"valueString\":\"555\"},"
	             "{\"type\":{\"text\":\"attempts\"},\"valueInteger\":2},{\"type\":{\"text\":\"by\"},"
	             "\"valueReference\":{\"reference\":\"Practitioner/x\"}}]",
	             0, "", "");
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, version.id);
	flow_valid(f, task);
	/* The machine says where it starts; what it does not own stays. The focus of a machine about patients is the
	 * patient. */
	flow_text_is(cl_json_get_text(task, "status"), "requested");
	flow_text_is(cl_json_get_text(task, "intent"), "plan");
	flow_text_is(cl_json_get_text(task, "description"), "Knee");
	flow_text_is(cl_json_text(cl_json_path(task, "focus", "reference", NULL)), "Patient/p");
	flow_text_is(flow_instance(f, version.id).data, "{\"phone\":\"555\",\"attempts\":2,\"by\":\"Practitioner/x\"}");
	post("\"status\":\"requested\",\"for\":{\"reference\":\"Patient/p\"}", 0, "", "");
}

static void starts_that_are_refused(void **state)
{
	(void)state;
	post("\"status\":\"completed\",\"for\":{\"reference\":\"Patient/p\"}", CL_E_RULE,
	     "create its Task with status 'requested'", "Task.status");
	post("\"status\":\"draft\"", CL_E_RULE, "is about a Patient", "Task.focus");
	post("\"status\":\"draft\",\"focus\":{\"reference\":\"Encounter/e\"}", CL_E_RULE, "is about a Patient",
	     "Task.focus");
	post("\"status\":\"draft\",\"focus\":{\"reference\":\"Patient/p\"},\"priority\":\"soon\"", CL_E_RULE, "soon",
	     "Task.priority");
	post("\"status\":\"draft\",\"focus\":{\"reference\":\"Patient/"
	     "p\"},\"input\":[{\"type\":{\"text\":\"partner\"},\"valueString\":"
	     "\"nobody\"}]",
	     CL_E_RULE, "'nobody' is no partner", "partner");
	post("\"status\":\"draft\",\"focus\":{\"reference\":\"Patient/"
	     "p\"},\"input\":[{\"type\":{\"text\":\"party\"},\"valueString\":"
	     "\"us\"}]",
	     CL_E_RULE, "'us' is no party of callback", "party");
	struct cl_unit *unit = flow_begin(f);
	struct cl_start start = {.workflow = CL_STR("callbak")};
	assert_int_equal(cl_instance_start(unit, &start, NULL, NULL, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "did you mean 'callback'?");
	start = (struct cl_start){.workflow = CL_STR("callback"), .state = CL_STR("calling")};
	assert_int_equal(cl_instance_start(unit, &start, NULL, NULL, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "no state 'calling'");
	flow_rollback(f);
}

static void one_at_a_time(void **state)
{
	(void)state;
	w->single = true;
	struct cl_version first = post("\"status\":\"draft\",\"for\":{\"reference\":\"Patient/p\"}", 0, "", "");
	post("\"status\":\"draft\",\"for\":{\"reference\":\"Patient/p\"}", CL_E_CONFLICT,
	     "there is a live callback already: Task/", "");
	post("\"status\":\"draft\",\"for\":{\"reference\":\"Patient/q\"}", 0, "", "");
	flow_move(f, first.id, "reached", "{\"result\":\"ok\"}");
	post("\"status\":\"draft\",\"for\":{\"reference\":\"Patient/p\"}", 0, "", "");
}

static void the_patient_comes_from_the_focus(void **state)
{
	(void)state;
	w->subject = CL_STR("ServiceRequest");
	struct cl_unit *unit = flow_begin(f);
	right(cl_change_create(
	        unit,
	        flow_json(f, "{\"resourceType\":\"ServiceRequest\",\"status\":\"active\",\"intent\":\"order\","
	                     "\"subject\":{\"reference\":\"Patient/p\"}}"),
	        CL_STR("s"), NULL, &f->issues, &f->e));
	flow_commit(f);
	struct cl_version version =
	        post("\"status\":\"draft\",\"focus\":{\"reference\":\"ServiceRequest/s\"}", 0, "", "");
	flow_text_is(flow_instance(f, version.id).patient, "p");
	flow_text_is(flow_instance(f, version.id).subject, "ServiceRequest/s");
}

static void imports_start_elsewhere(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "unreached", "", "");
	struct cl_stored_instance instance = flow_instance(f, id);
	assert_true(instance.final);
	assert_int_equal(instance.due, 0);
	assert_int_equal(cl_store_timer_next(f->store), INT64_MAX);
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, id);
	flow_valid(f, task);
	assert_null(cl_json_get(task, "restriction"));
	assert_null(cl_json_get(task, "performerType"));
	flow_text_is(cl_json_text(cl_json_path(task, "executionPeriod", "end", NULL)), "2026-11-02T09:00:00-06:00");
}

/* ---- moving ---- */

static int log_transition(const struct cl_stored_transition *t, void *context)
{
	struct cl_buf *out = context;
	cl_buf_printf(out, "%.*s:%.*s>%.*s by %.*s for %.*s via %.*s %.*s;", CL_STR_ARGS(t->event),
	              CL_STR_ARGS(t->from), CL_STR_ARGS(t->to), CL_STR_ARGS(t->actor), CL_STR_ARGS(t->on_behalf_of),
	              CL_STR_ARGS(t->source), CL_STR_ARGS(t->data));
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

static void a_move_is_written_everywhere(void **state)
{
	struct cl_version version;
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	f->now += 2 * CL_HOUR;
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance advance = {
	        .task = id,
	        .event = CL_STR("reached"),
	        .data = flow_json(f, "{\"result\":\"comes tomorrow\",\"channel\":\"phone\",\"note\":\"was glad\","
	                             "\"reason\":\"reached\",\"owner\":{\"reference\":\"Practitioner/ana\"}}")};
	right(cl_instance_advance(unit, &advance, &version, &f->issues, &f->e));
	assert_int_equal(version.version, 2);
	/* One change that is update and transition. */
	assert_int_equal(unit->change_count, 1);
	flow_text_is(unit->changes->workflow, "callback");
	flow_text_is(unit->changes->event, "reached");
	flow_text_is(unit->changes->from, "asked");
	flow_text_is(unit->changes->to, "done");
	flow_text_is(unit->changes->former_status, "requested");
	flow_text_is(unit->changes->status, "completed");
	assert_true(unit->timers_changed);
	flow_commit(f);
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, id);
	flow_valid(f, task);
	flow_text_is(cl_json_get_text(task, "status"), "completed");
	flow_text_is(cl_json_text(cl_json_path(task, "statusReason", "text", NULL)), "reached");
	flow_text_is(cl_json_text(cl_json_path(task, "note", "0", "text", NULL)), "was glad");
	flow_text_is(cl_json_text(cl_json_path(task, "note", "0", "authorReference", "reference", NULL)),
	             "Practitioner/desk");
	flow_text_is(cl_json_text(cl_json_path(task, "owner", "reference", NULL)), "Practitioner/ana");
	flow_text_is(cl_json_text(cl_json_path(task, "executionPeriod", "end", NULL)), "2026-11-02T11:00:00-06:00");
	flow_text_is(cl_json_text(cl_json_path(task, "businessStatus", "coding", "0", "code", NULL)), "done");
	assert_null(cl_json_get(task, "restriction"));
	assert_null(cl_json_get(task, "performerType"));
	struct cl_stored_instance instance = flow_instance(f, id);
	assert_true(instance.final);
	flow_text_is(
	        instance.data,
	        "{\"result\":\"comes tomorrow\",\"channel\":\"phone\",\"note\":\"was glad\",\"reason\":\"reached\","
	        "\"owner\":\"Practitioner/ana\"}");
	assert_int_equal(cl_store_timer_next(f->store), INT64_MAX);
	went(id, "start:>asked by desk for  via  {};reached:asked>done by desk for  via  {\"result\":\"comes "
	         "tomorrow\",\"channel\":"
	         "\"phone\",\"note\":\"was glad\",\"reason\":\"reached\",\"owner\":\"Practitioner/ana\"};");
}

static void a_circle_starts_the_clock_again(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	f->now += 2 * CL_HOUR;
	flow_move(f, id, "no_answer", "{\"reason\":\"voice mail\"}");
	struct cl_stored_instance instance = flow_instance(f, id);
	flow_is_in(f, id, "asked");
	assert_int_equal(instance.due, flow_instant("2026-11-03T11:00:00-06:00"));
	assert_int_equal(instance.entered, f->now);
	assert_int_equal(instance.started, f->now - 2 * CL_HOUR);
	/* At the same moment again: nothing in the Task differs but it is a transition all the same. */
	flow_move(f, id, "no_answer", "{\"reason\":\"voice mail\"}");
	flow_move(f, id, "no_answer", NULL);
	assert_null(cl_json_get(flow_read(f, CL_TYPE_TASK, id), "statusReason"));
	went(id,
	     "start:>asked by desk for  via  {};no_answer:asked>asked by desk for  via  {\"reason\":\"voice mail\"};"
	     "no_answer:asked>asked by desk for  via  {\"reason\":\"voice mail\"};no_answer:asked>asked by desk for  "
	     "via  {};");
}

static void unknown_events_name_the_legal_ones(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_refuse(f, id, "vanish", NULL, CL_E_RULE,
	            "is in state asked, where 'vanish' is no event; legal: reached (front_desk or nurse; needs "
	            "result), no_answer "
	            "(front_desk), give_up (clock or manager)");
	flow_refuse(f, CL_STR("nothing"), "reached", NULL, CL_E_NOT_FOUND, "Task/nothing is no workflow instance");
	flow_move(f, id, "reached", "{\"result\":\"ok\"}");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_RULE, "is in state done, which is final");
}

static void missing_data_is_named_with_its_help(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_refuse(f, id, "reached", NULL, CL_E_RULE, "'reached' needs result (What was agreed)");
	where_is("data.result");
	flow_refuse(f, id, "reached", "{\"result\":\"  \"}", CL_E_RULE, "result must be a text (What was agreed)");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\",\"channel\":\"fax\"}", CL_E_RULE,
	            "channel must be one of: phone, text");
	where_is("data.channel");
	flow_refuse(f, id, "reached", "{\"channel\":\"fax\"}", CL_E_RULE,
	            "result (What was agreed); channel must be one of");
	where_is("data.result");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\",\"partner\":\"x\"}", CL_E_RULE,
	            "'partner' cannot be changed");
	where_is("data.partner");
	flow_refuse(f, id, "reached", "[1]", CL_E_INVALID, "an object");
	flow_move(f, id, "reached", "{\"result\":\"ok\",\"more\":[1,2]}");
}

static void types_of_data(void **state)
{
	static const struct {
		const char *type, *right[4], *wrong[6];
	} cases[] = {
	        {"string", {"\"x\""}, {"7", "true", "\"\"", "{\"a\":1}"}},
	        {"", {"\"x\""}, {"7"}},
	        {"date", {"\"2026-11-22\"", "\"2026-11\""}, {"\"22.11.2026\"", "\"2026-02-30\"", "7"}},
	        {"dateTime",
	         {"\"2026-11-22T09:00:00-06:00\"", "\"2026-11-22\""},
	         {"\"2026-11-22T09:00\"", "\"tomorrow\""}},
	        {"integer", {"7", "-7", "0"}, {"\"7\"", "7.5", "1e3", "true"}},
	        {"number", {"7", "7.5"}, {"\"7\""}},
	        {"boolean", {"true", "false"}, {"\"true\"", "1"}},
	        {"reference",
	         {"\"Patient/x\"", "{\"reference\":\"Patient/x\"}", "\"urn:uuid:a\""},
	         {"\"Patient\"", "\"Foo/x\"", "7"}},
	        {"code",
	         {"\"no-show\"", "{\"coding\":[{\"code\":\"x\"}]}", "{\"system\":\"s\",\"code\":\"x\"}"},
	         {"\"no show\"", "7"}},
	};
	(void)state;
	struct cl_needed *need = &w->states[0].transitions[0].needs[0];
	struct cl_str id = flow_start(f, "callback", "", "", "");
	char data[128];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		need->type = cl_str_of(cases[i].type);
		for (size_t k = 0; k < 6 && cases[i].wrong[k]; k++) {
			snprintf(data, sizeof data, "{\"result\":%s}", cases[i].wrong[k]);
			flow_refuse(f, id, "reached", data, CL_E_RULE, "result must be ");
		}
		for (size_t k = 0; k < 4 && cases[i].right[k]; k++) {
			struct cl_str other = flow_start(f, "callback", "", "", "");
			snprintf(data, sizeof data, "{\"result\":%s}", cases[i].right[k]);
			flow_move(f, other, "reached", data);
		}
	}
}

static void help_that_does_not_fit_is_left_out(void **state)
{
	(void)state;
	struct cl_needed *need = &w->states[0].transitions[0].needs[0];
	char help[900];
	for (size_t i = 0; i < sizeof help - 1; i += 2)
		memcpy(help + i, "\xc3\xa4", 2);
	need->help = (struct cl_str){help, sizeof help - 2};
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_refuse(f, id, "reached", NULL, CL_E_RULE, "'reached' needs result");
}

/* ---- who may ---- */

static void only_who_may(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_as(f, "mia", "person", "manager");
	flow_refuse(f, id, "no_answer", NULL, CL_E_FORBIDDEN, "mia may not fire 'no_answer' here; who may: front_desk");
	flow_as(f, "nora", "person", "cook nurse");
	flow_refuse(f, id, "no_answer", NULL, CL_E_FORBIDDEN, "front_desk");
	flow_refuse(f, id, "give_up", NULL, CL_E_FORBIDDEN, "who may: clock, manager");
	flow_move(f, id, "reached", "{\"result\":\"ok\"}");
	id = flow_start(f, "callback", "", "", "");
	flow_as(f, "mia", "person", "manager");
	flow_move(f, id, "give_up", NULL);
	flow_is_in(f, id, "unreached");
}

static void the_clock_fires_its_own_only(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance advance = {.task = id, .event = CL_STR("no_answer"), .by_clock = true};
	assert_int_equal(cl_instance_advance(unit, &advance, NULL, NULL, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "not for the clock");
	flow_need(f, &w->states[0].transitions[2], "reason", "string");
	advance.event = CL_STR("give_up");
	right(cl_instance_advance(unit, &advance, NULL, NULL, &f->e));
	flow_commit(f);
	flow_is_in(f, id, "unreached");
	flow_text_is(flow_instance(f, id).data, "{\"reason\":\"expired\"}");
}

static void plugins_act_for_the_organization(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_as(f, "ehr", "client", "");
	flow_refuse(f, id, "give_up", NULL, CL_E_FORBIDDEN, "clock");
	struct cl_unit *unit = flow_begin(f);
	unit->plugin = CL_STR("callback");
	struct cl_advance advance = {.task = id, .event = CL_STR("give_up")};
	right(cl_instance_advance(unit, &advance, NULL, NULL, &f->e));
	flow_commit(f);
	went(id, "start:>asked by desk for  via  {};give_up:asked>unreached by plugin callback for ehr for  via  {};");
}

static void so_does_the_console(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_as(f, "console", "system", "");
	flow_move(f, id, "no_answer", NULL);
	flow_move(f, id, "give_up", NULL);
	flow_is_in(f, id, "unreached");
}

/* ---- two sides ---- */

static void two_sides(void)
{
	flow_party(f, w, "asker", "front_desk");
	flow_party(f, w, "caller", "nurse");
	flow_recorders(f, w, "manager");
	w->states[0].owner = CL_STR("caller");
	flow_words(f, "caller", &w->states[0].transitions[0].by, &w->states[0].transitions[0].by_count);
	flow_words(f, "asker", &w->states[0].transitions[2].by, &w->states[0].transitions[2].by_count);
}

static void move_for(struct cl_str task, const char *event, const char *whom, const char *source, int code,
                     const char *words)
{
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance advance = {.task = task,
	                             .event = cl_str_of(event),
	                             .on_behalf_of = cl_str_of(whom),
	                             .source = cl_str_of(source),
	                             .data = flow_json(f, "{\"result\":\"ok\"}")};
	int result = cl_instance_advance(unit, &advance, NULL, &f->issues, &f->e);
	if (result != code)
		fail_msg("%d instead of %d: %s", result, code, f->e.message);
	if (code) {
		flow_contains(cl_str_of(f->e.message), words);
		struct cl_err e = f->e;
		flow_rollback(f);
		f->e = e;
	} else {
		flow_commit(f);
	}
}

static void each_side_fires_its_own(void **state)
{
	(void)state;
	two_sides();
	struct cl_str id = flow_start(f, "callback", "", "asker", "lakeside");
	flow_text_is(flow_instance(f, id).data, "{\"party\":\"asker\",\"partner\":\"lakeside\"}");
	/* The next action is the partner's: only the side is named. */
	struct cl_json *types = cl_json_get(flow_read(f, CL_TYPE_TASK, id), "performerType");
	assert_int_equal(types->count, 1);
	flow_text_is(cl_json_text(cl_json_path(types, "0", "coding", "0", "code", NULL)), "caller");
	/* Local roles of the other side do not play it here. */
	flow_as(f, "nora", "person", "nurse");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_FORBIDDEN,
	            "who may: caller (lakeside; on its behalf, with a source: manager)");
	flow_refuse(f, id, "give_up", NULL, CL_E_FORBIDDEN, "who may: asker (here: front_desk)");
	/* Nor does another partner, nor the partner our side. */
	flow_as(f, "hillside", "partner", "");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_FORBIDDEN, "caller");
	flow_as(f, "lakeside", "partner", "front_desk");
	flow_refuse(f, id, "give_up", NULL, CL_E_FORBIDDEN, "asker");
	flow_move(f, id, "reached", "{\"result\":\"ok\"}");
	/* By its reference as well. */
	id = flow_start(f, "callback", "", "asker", "lakeside");
	flow_as(f, "gateway7", "partner", "");
	f->actor.reference = CL_STR("Organization/lakeside");
	flow_move(f, id, "reached", "{\"result\":\"ok\"}");
	/* We ourselves. */
	flow_as(f, "desk", "person", "front_desk");
	id = flow_start(f, "callback", "", "asker", "lakeside");
	flow_move(f, id, "give_up", NULL);
	flow_is_in(f, id, "unreached");
}

static void the_other_side_here(void **state)
{
	(void)state;
	two_sides();
	struct cl_str id = flow_start(f, "callback", "", "caller", "lakeside");
	struct cl_json *types = cl_json_get(flow_read(f, CL_TYPE_TASK, id), "performerType");
	assert_int_equal(types->count, 2);
	flow_text_is(cl_json_text(cl_json_path(types, "0", "coding", "0", "code", NULL)), "caller");
	flow_text_is(cl_json_text(cl_json_path(types, "1", "coding", "0", "code", NULL)), "nurse");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_FORBIDDEN, "caller (here: nurse)");
	flow_as(f, "lakeside", "partner", "");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_FORBIDDEN, "caller (here: nurse)");
	flow_as(f, "nora", "person", "nurse");
	flow_move(f, id, "reached", "{\"result\":\"ok\"}");
}

static void recorders_need_a_source(void **state)
{
	(void)state;
	two_sides();
	struct cl_str id = flow_start(f, "callback", "", "asker", "lakeside");
	flow_as(f, "mia", "person", "manager");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_FORBIDDEN, "caller");
	move_for(id, "reached", "caller", "", CL_E_RULE, "needs its source: phone, fax");
	where_is("source");
	move_for(id, "reached", "asker", "phone", CL_E_FORBIDDEN, "caller");
	move_for(id, "reached", "hillside", "phone", CL_E_FORBIDDEN, "caller");
	move_for(id, "give_up", "asker", "phone", CL_E_FORBIDDEN, "asker"); /* nobody records for oneself */
	flow_as(f, "nora", "person", "nurse");
	move_for(id, "reached", "caller", "phone", CL_E_FORBIDDEN, "manager");
	flow_as(f, "mia", "person", "manager");
	move_for(id, "reached", "lakeside", "fax", 0, "");
	went(id, "start:>asked by desk for  via  {\"party\":\"asker\",\"partner\":\"lakeside\"};"
	         "reached:asked>done by mia for lakeside via fax {\"result\":\"ok\"};");
	id = flow_start(f, "callback", "", "asker", "");
	move_for(id, "reached", "caller", "letter", 0, "");
}

static void the_partner_is_found_by_its_reference(void **state)
{
	(void)state;
	two_sides();
	struct cl_version version =
	        post("\"status\":\"draft\",\"for\":{\"reference\":\"Patient/p\"},\"owner\":{\"reference\":"
	             "\"Organization/lakeside\"}",
	             0, "", "");
	flow_text_is(flow_instance(f, version.id).data, "{\"party\":\"asker\",\"partner\":\"lakeside\"}");
	version = post(
	        "\"status\":\"draft\",\"for\":{\"reference\":\"Patient/p\"},\"requester\":{\"reference\":"
	        "\"Organization/hillside\"},\"input\":[{\"type\":{\"text\":\"party\"},\"valueString\":\"caller\"}]",
	        0, "", "");
	flow_text_is(flow_instance(f, version.id).data, "{\"party\":\"caller\",\"partner\":\"hillside\"}");
}

/* ---- the authoritative side ---- */

static void a_copy_follows(void **state)
{
	(void)state;
	two_sides();
	flow_state(f, w, "paused", "on-hold", "asker", "2 days");
	flow_on(f, w, "asked", "pause", "paused", "caller");
	flow_on(f, w, "paused", "resume", "asked", "caller");
	struct cl_str id = flow_start(f, "callback", "", "asker", "lakeside");
	flow_as(f, "lakeside", "partner", "");
	f->now += 3 * CL_HOUR;
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance advance = {.task = id,
	                             .event = CL_STR("pause"),
	                             .forced = true,
	                             .forced_state = CL_STR("paused"),
	                             .occurred = f->now - CL_HOUR,
	                             .data = flow_json(f, "{\"reason\":\"away\"}")};
	right(cl_instance_advance(unit, &advance, NULL, NULL, &f->e));
	flow_commit(f);
	flow_is_in(f, id, "paused");
	assert_int_equal(flow_instance(f, id).entered, f->now - CL_HOUR);
	assert_int_equal(flow_instance(f, id).due, f->now - CL_HOUR + 2 * CL_DAY);
	/* Even from an end, and without a word about the event. */
	unit = flow_begin(f);
	advance = (struct cl_advance){.task = id, .forced = true, .forced_state = CL_STR("done")};
	right(cl_instance_advance(unit, &advance, NULL, NULL, &f->e));
	flow_commit(f);
	assert_true(flow_instance(f, id).final);
	unit = flow_begin(f);
	advance = (struct cl_advance){
	        .task = id, .forced = true, .forced_state = CL_STR("asked"), .occurred = f->now + CL_DAY};
	right(cl_instance_advance(unit, &advance, NULL, NULL, &f->e));
	flow_commit(f);
	assert_int_equal(flow_instance(f, id).entered, f->now);
	struct cl_json *task = flow_read(f, CL_TYPE_TASK, id);
	assert_null(cl_json_get(task, "executionPeriod"));
	flow_valid(f, task);
	unit = flow_begin(f);
	advance.forced_state = CL_STR("lost");
	assert_int_equal(cl_instance_advance(unit, &advance, NULL, NULL, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "no state 'lost'; states: asked, done, unreached, paused");
	flow_rollback(f);
}

static void recorded_later(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	cl_instant begun = f->now;
	f->now += 5 * CL_HOUR;
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance advance = {.task = id, .event = CL_STR("no_answer"), .occurred = f->now + CL_SECOND};
	assert_int_equal(cl_instance_advance(unit, &advance, NULL, NULL, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "future");
	advance.occurred = begun - CL_MINUTE;
	assert_int_equal(cl_instance_advance(unit, &advance, NULL, NULL, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "before");
	where_is("occurred");
	advance.occurred = begun + CL_HOUR;
	right(cl_instance_advance(unit, &advance, NULL, NULL, &f->e));
	flow_commit(f);
	/* The clock counts from when it happened. */
	assert_int_equal(flow_instance(f, id).due, flow_instant("2026-11-03T10:00:00-06:00"));
}

/* ---- functions ---- */

static void functions_run_in_order(void **state)
{
	(void)state;
	w->states[0].transitions[0].guard = GUARD;
	w->states[0].transitions[0].effect = EFFECT;
	w->states[1].enter = ENTER;
	w->states[0].enter = ENTER + 1;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	assert_int_equal(f->call_count, 1); /* entering the first state */
	flow_move(f, id, "reached", "{\"result\":\"ok\"}");
	assert_int_equal(f->call_count, 4);
	assert_true(f->calls[1].guard);
	assert_int_equal(f->calls[1].function, GUARD);
	assert_string_equal(f->calls[1].status, "requested"); /* as it is */
	assert_int_equal(f->calls[2].function, EFFECT);
	assert_string_equal(f->calls[2].status, "completed"); /* as it became */
	assert_int_equal(f->calls[3].function, ENTER);
	flow_text_is(id, f->calls[2].task);
}

static void a_guard_refuses_before_anything(void **state)
{
	(void)state;
	w->states[0].transitions[0].guard = GUARD;
	w->states[0].transitions[0].effect = EFFECT;
	f->refusing_guard = GUARD;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_RULE, "the guard says no");
	assert_int_equal(f->call_count, 1);
	/* It is not even asked when the data is wrong. */
	flow_refuse(f, id, "reached", NULL, CL_E_RULE, "needs result");
	assert_int_equal(f->call_count, 1);
}

static void an_effect_that_fails_fails_all(void **state)
{
	(void)state;
	w->states[0].transitions[0].effect = EFFECT;
	f->failing_effect = EFFECT;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance advance = {
	        .task = id, .event = CL_STR("reached"), .data = flow_json(f, "{\"result\":\"ok\"}")};
	assert_int_equal(cl_instance_advance(unit, &advance, NULL, NULL, &f->e), CL_E_PLUGIN);
	flow_rollback(f);
	flow_is_in(f, id, "asked");
}

static void an_effect_may_write_the_task_again(void **state)
{
	struct cl_version version;
	(void)state;
	w->states[0].transitions[0].effect = EFFECT;
	f->updating_effect = EFFECT;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance advance = {
	        .task = id, .event = CL_STR("reached"), .data = flow_json(f, "{\"result\":\"ok\"}")};
	right(cl_instance_advance(unit, &advance, &version, NULL, &f->e));
	assert_int_equal(version.version, 3);
	flow_contains(version.body, "written by an effect");
	flow_commit(f);
	flow_is_in(f, id, "done");
}

static void without_plugins_functions_are_errors(void **state)
{
	(void)state;
	w->states[0].transitions[0].guard = GUARD;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	f->script.guard = NULL;
	flow_refuse(f, id, "reached", "{\"result\":\"ok\"}", CL_E_INTERNAL, "no plugins are loaded");
}

/* ---- the end, and the story ---- */

static void live_ones_cannot_be_deleted(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	struct cl_unit *unit = flow_begin(f);
	assert_int_equal(cl_change_delete(unit, CL_TYPE_TASK, id, 0, NULL, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message),
	              "cannot be deleted while it runs; end it with: reached (front_desk or nurse), give_up");
	flow_rollback(f);
	flow_move(f, id, "reached", "{\"result\":\"ok\"}");
	unit = flow_begin(f);
	right(cl_change_delete(unit, CL_TYPE_TASK, id, 0, NULL, &f->e));
	flow_commit(f);
}

static void the_trace_tells_the_story(void **state)
{
	struct cl_buf out;
	(void)state;
	two_sides();
	struct cl_str id = flow_start(f, "callback", "", "asker", "lakeside");
	flow_as(f, "mia", "person", "manager");
	move_for(id, "reached", "caller", "phone", 0, "");
	struct cl_unit *unit = flow_begin(f);
	cl_buf_init(&out, 0);
	right(cl_instance_trace(unit, id, &out, &f->e));
	cl_buf_add_byte(&out, 0);
	struct cl_json *rows = flow_json(f, out.p);
	cl_buf_free(&out);
	assert_int_equal(rows->count, 2);
	flow_text_is(cl_json_text(cl_json_path(rows, "0", "event", NULL)), "start");
	flow_text_is(cl_json_text(cl_json_path(rows, "1", "from", NULL)), "asked");
	flow_text_is(cl_json_text(cl_json_path(rows, "1", "to", NULL)), "done");
	flow_text_is(cl_json_text(cl_json_path(rows, "1", "on_behalf_of", NULL)), "caller");
	flow_text_is(cl_json_text(cl_json_path(rows, "1", "source", NULL)), "phone");
	flow_text_is(cl_json_text(cl_json_path(rows, "1", "at", NULL)), "2026-11-02T15:00:00.000Z");
	flow_text_is(cl_json_text(cl_json_path(rows, "1", "data", "result", NULL)), "ok");
	cl_buf_init(&out, 0);
	assert_int_equal(cl_instance_trace(unit, CL_STR("none"), &out, &f->e), CL_E_NOT_FOUND);
	cl_buf_free(&out);
	flow_rollback(f);
}

static void a_lost_workflow_says_so(void **state)
{
	(void)state;
	struct cl_str id = flow_start(f, "callback", "", "", "");
	w->name = CL_STR("phoning");
	flow_refuse(f, id, "reached", NULL, CL_E_RULE,
	            "follows the workflow 'callback', which no plugin declares any more");
	w->name = CL_STR("callback");
	w->states[0].name = CL_STR("open");
	flow_refuse(f, id, "reached", NULL, CL_E_RULE, "is in state asked, which no plugin declares any more");
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(a_start_is_a_task),
	        TEST(a_client_creates_its_task),
	        TEST(starts_that_are_refused),
	        TEST(one_at_a_time),
	        TEST(the_patient_comes_from_the_focus),
	        TEST(imports_start_elsewhere),
	        TEST(a_move_is_written_everywhere),
	        TEST(a_circle_starts_the_clock_again),
	        TEST(unknown_events_name_the_legal_ones),
	        TEST(missing_data_is_named_with_its_help),
	        TEST(types_of_data),
	        TEST(help_that_does_not_fit_is_left_out),
	        TEST(only_who_may),
	        TEST(the_clock_fires_its_own_only),
	        TEST(plugins_act_for_the_organization),
	        TEST(so_does_the_console),
	        TEST(each_side_fires_its_own),
	        TEST(the_other_side_here),
	        TEST(recorders_need_a_source),
	        TEST(the_partner_is_found_by_its_reference),
	        TEST(a_copy_follows),
	        TEST(recorded_later),
	        TEST(functions_run_in_order),
	        TEST(a_guard_refuses_before_anything),
	        TEST(an_effect_that_fails_fails_all),
	        TEST(an_effect_may_write_the_task_again),
	        TEST(without_plugins_functions_are_errors),
	        TEST(live_ones_cannot_be_deleted),
	        TEST(the_trace_tells_the_story),
	        TEST(a_lost_workflow_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
