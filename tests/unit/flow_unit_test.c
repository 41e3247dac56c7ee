/* flow_unit_test.c: a change with its version, index, event, audit leaf and place in the queue; ids; plain create,
 * update and delete; messages and notices. */
#include "support/flow_fixture.h"
#include "base/id.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct flow_fixture fixture, *f = &fixture;

static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "front_desk");
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

static struct cl_version create(const char *text, const char *id)
{
	struct cl_version version;
	struct cl_unit *unit = flow_begin(f);
	right(cl_change_create(unit, flow_json(f, text), cl_str_of(id), &version, &f->issues, &f->e));
	flow_commit(f);
	return version;
}

static size_t found(uint16_t type, const char *query_text)
{
	struct cl_fhir_search_context context = {.type = type, .now = f->now};
	struct cl_fhir_search search;
	struct cl_search_result result;
	right(cl_fhir_search_parse(f->arena, &context, cl_str_of(query_text), &search, &f->e));
	right(cl_store_search(f->store, f->arena, &search.query, &result, &f->e));
	return result.count;
}

/* ---- what the log and the audit say ---- */

struct log {
	char lines[40][160];
	size_t count;
	uint64_t causes[40];
};

static int log_event(const struct cl_stored_event *event, void *context)
{
	struct log *log = context;
	log->causes[log->count] = event->cause;
	snprintf(log->lines[log->count++], sizeof log->lines[0], "%.*s %.*s/%.*s %lld by %.*s",
	         CL_STR_ARGS(event->kind), CL_STR_ARGS(cl_fhir_type_name(event->type)), CL_STR_ARGS(event->id),
	         (long long)event->version, CL_STR_ARGS(event->actor));
	return 0;
}

static int log_leaf(const struct cl_audit_record *record, void *context)
{
	struct log *log = context;
	snprintf(log->lines[log->count++], sizeof log->lines[0], "%.*s %.*s by %.*s (%.*s, %.*s)",
	         CL_STR_ARGS(record->action), CL_STR_ARGS(record->target), CL_STR_ARGS(record->principal),
	         CL_STR_ARGS(record->rule), CL_STR_ARGS(record->outcome));
	return 0;
}

static void a_change_is_whole(void **state)
{
	struct cl_version version;
	struct log log = {0};
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	uint64_t input = unit->cause;
	struct cl_json *patient =
	        flow_json(f, "{\"name\":[{\"family\":\"Rivera\"}],\"active\":true,\"resourceType\":\"Patient\","
	                     "\"id\":\"mine\",\"meta\":{\"versionId\":\"77\",\"tag\":[{\"code\":\"x\"}]}}");
	right(cl_unit_put(unit, CL_OP_CREATE, CL_TYPE_PATIENT, CL_STR("p"), patient, false, &version, &f->issues,
	                  &f->e));
	/* The head comes first, what the client said in meta stays, its version does not. */
	flow_text_is(version.body, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"versionId\":\"1\","
	                           "\"tag\":[{\"code\":\"x\"}],\"lastUpdated\":\"2026-11-02T15:00:00.000Z\"},"
	                           "\"name\":[{\"family\":\"Rivera\"}],\"active\":true}");
	assert_int_equal(version.version, 1);
	assert_int_equal(version.operation, CL_OP_CREATE);
	assert_int_equal(version.updated, f->now);
	/* In the queue. */
	struct cl_change *change = unit->changes;
	assert_non_null(change);
	assert_null(change->next);
	assert_int_equal(unit->change_count, 1);
	assert_int_equal(change->sequence, version.sequence);
	assert_int_equal(change->operation, CL_OP_CREATE);
	assert_int_equal(change->row, version.row);
	assert_ptr_equal(change->resource, patient);
	flow_commit(f);
	/* Stored and found. */
	struct cl_version stored;
	right(cl_store_get(f->store, f->arena, CL_TYPE_PATIENT, CL_STR("p"), &stored, &f->e));
	assert_true(cl_str_equal(stored.body, version.body));
	assert_int_equal(stored.sequence, version.sequence);
	assert_int_equal(found(CL_TYPE_PATIENT, "family=rivera"), 1);
	/* In the log, caused by the input, and in the audit. */
	right(cl_store_events(f->store, 0, 100, log_event, &log, &f->e));
	assert_int_equal(log.count, 2);
	assert_string_equal(log.lines[1], "create Patient/p 1 by desk");
	assert_int_equal(log.causes[1], input);
	log.count = 0;
	right(cl_audit_list(f->store, CL_STR_NONE, CL_STR_NONE, 10, log_leaf, &log, &f->e));
	assert_int_equal(log.count, 1);
	assert_string_equal(log.lines[0], "create Patient/p by desk (test, ok)");
}

static void versions_follow_each_other(void **state)
{
	struct cl_version version;
	struct log log = {0};
	(void)state;
	create("{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Rivera\"}]}", "p");
	f->now += CL_HOUR;
	struct cl_unit *unit = flow_begin(f);
	unit->plugin = CL_STR("referral");
	right(cl_change_update(
	        unit, flow_json(f, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"name\":[{\"family\":\"Stone\"}]}"), 1,
	        &version, &f->issues, &f->e));
	assert_int_equal(version.version, 2);
	assert_int_equal(version.operation, CL_OP_UPDATE);
	flow_commit(f);
	assert_int_equal(found(CL_TYPE_PATIENT, "family=rivera"), 0);
	assert_int_equal(found(CL_TYPE_PATIENT, "family=stone"), 1);
	unit = flow_begin(f);
	right(cl_change_delete(unit, CL_TYPE_PATIENT, CL_STR("p"), 2, &version, &f->e));
	assert_int_equal(version.version, 3);
	assert_int_equal(unit->changes->operation, CL_OP_DELETE);
	assert_null(unit->changes->resource);
	flow_commit(f);
	assert_int_equal(found(CL_TYPE_PATIENT, "family=stone"), 0);
	/* Made again under its id: versions go on. */
	unit = flow_begin(f);
	right(cl_change_create(unit, flow_json(f, "{\"resourceType\":\"Patient\"}"), CL_STR("p"), &version, &f->issues,
	                       &f->e));
	assert_int_equal(version.version, 4);
	assert_int_equal(version.operation, CL_OP_CREATE);
	flow_commit(f);
	right(cl_store_events(f->store, 0, 100, log_event, &log, &f->e));
	assert_string_equal(log.lines[3], "update Patient/p 2 by plugin referral for desk");
	assert_string_equal(log.lines[5], "delete Patient/p 3 by desk");
	assert_string_equal(log.lines[7], "create Patient/p 4 by desk");
}

static void an_update_that_changes_nothing_is_no_version(void **state)
{
	struct cl_version version;
	(void)state;
	create("{\"resourceType\":\"Patient\",\"meta\":{\"tag\":[{\"code\":\"x\"}]},\"active\":true,\"gender\":"
	       "\"female\"}",
	       "p");
	f->now += CL_HOUR;
	struct cl_unit *unit = flow_begin(f);
	/* Other order of members, another version and time in meta: the same. */
	right(cl_change_update(
	        unit,
	        flow_json(f, "{\"gender\":\"female\",\"id\":\"p\",\"resourceType\":\"Patient\",\"active\":true,"
	                     "\"meta\":{\"versionId\":\"9\",\"lastUpdated\":\"2020-01-01T00:00:00Z\","
	                     "\"tag\":[{\"code\":\"x\"}]}}"),
	        0, &version, &f->issues, &f->e));
	assert_int_equal(version.version, 1);
	assert_null(unit->changes);
	flow_contains(version.body, "\"versionId\":\"1\"");
	/* A tag more is a change. */
	right(cl_change_update(
	        unit,
	        flow_json(f, "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true,\"gender\":\"female\","
	                     "\"meta\":{\"tag\":[{\"code\":\"x\"},{\"code\":\"y\"}]}}"),
	        0, &version, &f->issues, &f->e));
	assert_int_equal(version.version, 2);
	/* So is a number written otherwise. */
	flow_commit(f);
	create("{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"text\":\"x\"},\"valueQuantity\":{"
	       "\"value\":7.20}}",
	       "o");
	unit = flow_begin(f);
	right(cl_change_update(
	        unit,
	        flow_json(f, "{\"resourceType\":\"Observation\",\"id\":\"o\",\"status\":\"final\",\"code\":{\"text\":"
	                     "\"x\"},\"valueQuantity\":{\"value\":7.2}}"),
	        0, &version, &f->issues, &f->e));
	assert_int_equal(version.version, 2);
	flow_rollback(f);
}

static void refused(const char *text, const char *id, bool update, int64_t expected, int code, const char *words,
                    const char *where)
{
	struct cl_version version;
	struct cl_unit *unit = flow_begin(f);
	uint64_t before = cl_store_last_sequence(f->store);
	int result = update ? cl_change_update(unit, flow_json(f, text), expected, &version, &f->issues, &f->e)
	                    : cl_change_create(unit, flow_json(f, text), cl_str_of(id), &version, &f->issues, &f->e);
	if (result != code)
		fail_msg("%s: %d instead of %d: %s", text, result, code, f->e.message);
	flow_contains(cl_str_of(f->e.message), words);
	flow_contains(cl_str_of(f->e.where), where);
	assert_int_equal(cl_store_last_sequence(f->store), before);
	assert_null(unit->changes);
	flow_rollback(f);
}

static void refusals_say_why(void **state)
{
	(void)state;
	create("{\"resourceType\":\"Patient\"}", "p");
	refused("{\"resourceType\":\"Pateint\"}", "", false, 0, CL_E_RULE, "'Pateint' is no resource type",
	        "resourceType");
	refused("{}", "", false, 0, CL_E_RULE, "resourceType is missing", "resourceType");
	refused("{\"resourceType\":\"Patient\",\"gender\":\"femal\"}", "", false, 0, CL_E_RULE, "femal",
	        "Patient.gender");
	refused("{\"resourceType\":\"Patient\",\"meta\":7}", "", false, 0, CL_E_RULE, "object", "Patient.meta");
	refused("{\"resourceType\":\"Patient\"}", "a b", false, 0, CL_E_INVALID, "no FHIR id", "");
	refused("{\"resourceType\":\"Patient\"}", "p", false, 0, CL_E_CONFLICT, "Patient/p exists already", "");
	refused("{\"resourceType\":\"Patient\"}", "", true, 0, CL_E_INVALID, "needs the resource's id", "Patient.id");
	refused("{\"resourceType\":\"Patient\",\"id\":\"p\"}", "", true, 7, CL_E_PRECONDITION, "at version 1, not 7",
	        "");
	refused("{\"resourceType\":\"Patient\",\"id\":\"q\"}", "", true, 7, CL_E_PRECONDITION, "is not there", "");
	refused("{\"resourceType\":\"Task\",\"status\":\"draft\",\"intent\":\"order\",\"code\":{\"coding\":[{"
	        "\"system\":"
	        "\"urn:careloop:workflow\",\"code\":\"referal\"}]}}",
	        "", false, 0, CL_E_RULE, "no workflow 'referal'", "Task.code");
	struct cl_unit *unit = flow_begin(f);
	assert_int_equal(cl_change_delete(unit, CL_TYPE_PATIENT, CL_STR("nobody"), 0, NULL, &f->e), CL_E_NOT_FOUND);
	right(cl_change_delete(unit, CL_TYPE_PATIENT, CL_STR("p"), 0, NULL, &f->e));
	assert_int_equal(cl_change_delete(unit, CL_TYPE_PATIENT, CL_STR("p"), 0, NULL, &f->e), CL_E_GONE);
	struct cl_json *gone;
	assert_int_equal(cl_unit_read(unit, CL_TYPE_PATIENT, CL_STR("p"), &gone, NULL, &f->e), CL_E_GONE);
	assert_int_equal(cl_unit_read(unit, CL_TYPE_PATIENT, CL_STR("x"), &gone, NULL, &f->e), CL_E_NOT_FOUND);
	flow_rollback(f);
}

static void issues_have_the_place_in_the_source(void **state)
{
	(void)state;
	struct cl_str text = CL_STR("{\n\"resourceType\":\"Patient\",\n  \"gender\":\"femal\"}");
	struct cl_json *patient;
	struct cl_unit *unit = flow_begin(f);
	right(cl_json_parse(f->arena, text, NULL, &patient, &f->e));
	unit->source_of = patient;
	unit->source = text;
	assert_int_equal(cl_change_create(unit, patient, CL_STR_NONE, NULL, &f->issues, &f->e), CL_E_RULE);
	assert_int_equal(f->issues.items[0].line, 3);
	flow_rollback(f);
}

static void an_update_of_nothing_creates(void **state)
{
	struct cl_version version;
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	right(cl_change_update(unit, flow_json(f, "{\"resourceType\":\"Patient\",\"id\":\"new\"}"), 0, &version,
	                       &f->issues, &f->e));
	assert_int_equal(version.version, 1);
	assert_int_equal(version.operation, CL_OP_CREATE);
	assert_int_equal(unit->changes->operation, CL_OP_CREATE);
	flow_commit(f);
}

/* A replay gives the same ids; another task more in the same event moves none of other events. */
static void ids_are_derived(void **state)
{
	char first[27], again[27];
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	unit->key = CL_STR("event");
	memcpy(first, cl_unit_id(unit, CL_STR("Task")).p, 27);
	assert_true(cl_is_fhir_id(cl_str_of(first)));
	assert_false(cl_str_equal(cl_unit_id(unit, CL_STR("Task")), cl_str_of(first)));
	unit->ordinal = 0;
	memcpy(again, cl_unit_id(unit, CL_STR("Task")).p, 27);
	assert_string_equal(first, again);
	unit->ordinal = 0;
	unit->key = CL_STR("other");
	assert_false(cl_str_equal(cl_unit_id(unit, CL_STR("Task")), cl_str_of(first)));
	flow_rollback(f);
}

static void changes_are_bounded(void **state)
{
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	unit->change_count = CL_UNIT_CHANGES;
	assert_int_equal(
	        cl_change_create(unit, flow_json(f, "{\"resourceType\":\"Patient\"}"), CL_STR_NONE, NULL, NULL, &f->e),
	        CL_E_LIMIT);
	flow_rollback(f);
}

static void changes_tell_the_status(void **state)
{
	(void)state;
	create("{\"resourceType\":\"Appointment\",\"status\":\"proposed\",\"participant\":[{\"status\":\"accepted\","
	       "\"actor\":{\"reference\":"
	       "\"Patient/p\"}}]}",
	       "a");
	struct cl_unit *unit = flow_begin(f);
	unit->depth = 3;
	right(cl_change_update(
	        unit,
	        flow_json(f,
	                  "{\"resourceType\":\"Appointment\",\"id\":\"a\",\"status\":\"cancelled\",\"participant\":[{"
	                  "\"status\":\"accepted\",\"actor\":{\"reference\":\"Patient/p\"}}]}"),
	        0, NULL, &f->issues, &f->e));
	flow_text_is(unit->changes->status, "cancelled");
	flow_text_is(unit->changes->former_status, "proposed");
	assert_int_equal(unit->changes->depth, 3);
	flow_rollback(f);
}

/* ---- messages and notices ---- */

static void messages_go_to_partners_only(void **state)
{
	struct cl_outgoing_list list;
	struct log log = {0};
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	struct cl_json *bundle = flow_json(f, "{\"resourceType\":\"Bundle\",\"type\":\"message\"}");
	assert_int_equal(cl_change_send(unit, CL_STR("lakesite"), CL_STR_NONE, bundle, &f->e), CL_E_RULE);
	flow_contains(cl_str_of(f->e.message), "known: lakeside, hillside");
	right(cl_change_send(unit, CL_STR("lakeside"), CL_STR("key"), bundle, &f->e));
	right(cl_change_send(unit, CL_STR("lakeside"), CL_STR_NONE, bundle, &f->e));
	assert_true(unit->outbox_changed);
	flow_commit(f);
	right(cl_store_outbox_list(f->store, f->arena, CL_STR("waiting"), 10, &list, &f->e));
	assert_int_equal(list.count, 2);
	char key[32];
	snprintf(key, sizeof key, "%llu-key", (unsigned long long)cl_store_incarnation(f->store));
	size_t keyed = cl_str_is(list.items[0].key, key) ? 0 : 1;
	flow_text_is(list.items[keyed].key, key);
	flow_text_is(list.items[keyed].destination, "lakeside");
	flow_text_is(list.items[keyed].body, "{\"resourceType\":\"Bundle\",\"type\":\"message\"}");
	right(cl_audit_list(f->store, CL_STR_NONE, CL_STR_NONE, 10, log_leaf, &log, &f->e));
	assert_int_equal(log.count, 2);
	flow_contains(cl_str_of(log.lines[0]), "send message/");
	flow_contains(cl_str_of(log.lines[0]), "to lakeside by desk");
}

static void notices_are_communications(void **state)
{
	(void)state;
	create("{\"resourceType\":\"Patient\"}", "p");
	create("{\"resourceType\":\"ServiceRequest\",\"status\":\"active\",\"intent\":\"order\",\"subject\":{"
	       "\"reference\":\"Patient/p\"}}",
	       "s");
	struct cl_unit *unit = flow_begin(f);
	right(cl_change_notify(unit, CL_STR("front_desk"), CL_STR("Please call"), CL_STR("ServiceRequest/s"),
	                       CL_STR("urgent"), &f->e));
	right(cl_change_notify(unit, CL_STR("Practitioner/ana"), CL_STR("Can you take this one? "), CL_STR_NONE,
	                       CL_STR_NONE, &f->e));
	struct cl_json *first = unit->changes->resource, *second = unit->changes->next->resource;
	flow_valid(f, first);
	flow_valid(f, second);
	flow_text_is(cl_json_get_text(first, "status"), "completed");
	flow_text_is(cl_json_get_text(second, "status"), "in-progress");
	flow_text_is(cl_json_get_text(cl_json_get(first, "subject"), "reference"), "Patient/p");
	flow_text_is(cl_json_text(cl_json_path(first, "recipient", "0", "identifier", "value", NULL)), "front_desk");
	flow_text_is(cl_json_text(cl_json_path(first, "about", "0", "reference", NULL)), "ServiceRequest/s");
	flow_text_is(cl_json_get_text(cl_json_get(first, "sender"), "reference"), "Practitioner/desk");
	flow_text_is(cl_json_text(cl_json_path(second, "recipient", "0", "reference", NULL)), "Practitioner/ana");
	flow_text_is(cl_json_get_text(second, "sent"), "2026-11-02T09:00:00-06:00");
	flow_commit(f);
	assert_int_equal(found(CL_TYPE_COMMUNICATION, "category=urn:careloop:role|front_desk"), 1);
	assert_int_equal(found(CL_TYPE_COMMUNICATION, "patient=Patient/p"), 1);
	unit = flow_begin(f);
	assert_int_equal(cl_change_notify(unit, CL_STR("nobody"), CL_STR("x"), CL_STR_NONE, CL_STR_NONE, &f->e),
	                 CL_E_RULE);
	assert_int_equal(cl_change_notify(unit, CL_STR_NONE, CL_STR("x"), CL_STR_NONE, CL_STR_NONE, &f->e), CL_E_RULE);
	assert_int_equal(cl_change_notify(unit, CL_STR("front_desk"), CL_STR("x"), CL_STR_NONE, CL_STR("soon"), &f->e),
	                 CL_E_RULE);
	flow_rollback(f);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(a_change_is_whole),
	        TEST(versions_follow_each_other),
	        TEST(an_update_that_changes_nothing_is_no_version),
	        TEST(refusals_say_why),
	        TEST(issues_have_the_place_in_the_source),
	        TEST(an_update_of_nothing_creates),
	        TEST(ids_are_derived),
	        TEST(changes_are_bounded),
	        TEST(changes_tell_the_status),
	        TEST(messages_go_to_partners_only),
	        TEST(notices_are_communications),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
