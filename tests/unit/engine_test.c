/* engine_test.c: one organization under a virtual clock: what a request, a timer, a reload and a replay do to its file. */
#include "engine_support.h"

/* ---- tests ---- */

static void a_resource_lives(void **state)
{
	struct fixture *f = *state;
	struct cl_response created =
	        send(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\",\"active\":true}", 201);
	struct cl_str id = cl_json_get_text(parse(f, created.body), "id");
	char target[128], body[256];
	assert_true(cl_str_is(cl_response_header(&created, "etag"), "W/\"1\""));
	snprintf(target, sizeof target, "/fhir/Patient/%.*s", CL_STR_ARGS(id));
	assert_true(cl_str_equal(send(f, "GET", target, "", 200).body, created.body));
	snprintf(body, sizeof body, "{\"resourceType\":\"Patient\",\"id\":\"%.*s\",\"active\":false}", CL_STR_ARGS(id));
	send(f, "PUT", target, body, 200);
	struct cl_response same = send(f, "PUT", target, body, 200);
	assert_true(cl_str_is(cl_response_header(&same, "etag"), "W/\"2\""));
	send(f, "DELETE", target, "", 204);
	send(f, "GET", target, "", 410);
	strcat(target, "/_history/1");
	send(f, "GET", target, "", 200);
	assert_int_equal(total(f, "Patient"), 0);
}

static void a_resent_request_is_answered_once(void **state)
{
	struct fixture *f = *state;
	struct cl_response first, second;
	struct cl_request made = request(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\"}");
	cl_organization_execute(f->organization, f->arena, &made, &first);
	assert_int_equal(first.status, 201);
	made.resent = true;
	cl_organization_execute(f->organization, f->arena, &made, &second);
	assert_int_equal(second.status, 201);
	assert_true(cl_str_equal(first.body, second.body));
	assert_true(cl_str_equal(cl_response_header(&first, "location"), cl_response_header(&second, "location")));
	assert_int_equal(total(f, "Patient"), 1);
}

static void idempotency_keys_belong_to_their_principal_and_body(void **state)
{
	struct fixture *f = *state;
	struct cl_response response;
	for (int i = 0; i < 2; i++) {
		struct cl_request made = request(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\"}");
		made.headers[made.header_count++] = (struct cl_header){CL_STR("idempotency-key"), CL_STR("k1")};
		cl_organization_execute(f->organization, f->arena, &made, &response);
		assert_int_equal(response.status, 201);
	}
	assert_int_equal(total(f, "Patient"), 1);
	struct cl_request other = request(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\",\"active\":true}");
	other.headers[other.header_count++] = (struct cl_header){CL_STR("idempotency-key"), CL_STR("k1")};
	cl_organization_execute(f->organization, f->arena, &other, &response);
	assert_int_equal(response.status, 422);
	other.credential.name = CL_STR("urn:other");
	other.id[0] = 1;
	cl_organization_execute(f->organization, f->arena, &other, &response);
	assert_int_equal(response.status, 201);
	assert_int_equal(total(f, "Patient"), 2);
}

static void a_refusing_handler_changes_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t before = cl_store_last_sequence(f->organization->store);
	struct cl_response refused =
	        send(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\",\"gender\":\"other\"}", 422);
	assert_non_null(memmem(refused.body.p, refused.body.n, "no such patients", 16));
	assert_non_null(memmem(refused.body.p, refused.body.n, "Patient.gender", 14));
	assert_int_equal(cl_store_last_sequence(f->organization->store), before);
	send(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\",\"gender\":\"female\"}", 201);
	assert_int_equal(total(f, "Flag"), 1);
}

static void transactions_are_all_or_nothing(void **state)
{
	struct fixture *f = *state;
	static const char good[] = "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
	                           "{\"fullUrl\":\"urn:uuid:11111111-1111-4111-8111-111111111111\",\"resource\":{"
	                           "\"resourceType\":\"Observation\","
	                           "\"status\":\"final\",\"code\":{\"text\":\"x\"},\"subject\":{\"reference\":\"urn:"
	                           "uuid:22222222-2222-4222-8222-222222222222\"}},"
	                           "\"request\":{\"method\":\"POST\",\"url\":\"Observation\"}},"
	                           "{\"fullUrl\":\"urn:uuid:22222222-2222-4222-8222-222222222222\",\"resource\":{"
	                           "\"resourceType\":\"Patient\","
	                           "\"gender\":\"female\"},\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}}]}";
	static const char bad[] =
	        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
	        "{\"resource\":{\"resourceType\":\"Patient\"},\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}},"
	        "{\"resource\":{\"resourceType\":\"Patient\",\"gender\":\"nonsense\"},\"request\":{\"method\":\"POST\","
	        "\"url\":\"Patient\"}}]}";
	struct cl_json *answer = parse(f, send(f, "POST", "/fhir", good, 200).body);
	struct cl_str subject =
	        cl_json_text(cl_json_path(answer, "entry", "0", "resource", "subject", "reference", NULL));
	struct cl_str id = cl_json_text(cl_json_path(answer, "entry", "1", "resource", "id", NULL));
	assert_true(cl_str_starts(subject, "Patient/"));
	assert_true(cl_str_equal((struct cl_str){subject.p + 8, subject.n - 8}, id));
	assert_int_equal(total(f, "Flag"), 1);
	struct cl_response refused = send(f, "POST", "/fhir", bad, 422);
	assert_non_null(memmem(refused.body.p, refused.body.n, "gender", 6));
	assert_int_equal(total(f, "Patient"), 1);
}

static void batch_entries_stand_alone(void **state)
{
	struct fixture *f = *state;
	static const char batch[] =
	        "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":["
	        "{\"resource\":{\"resourceType\":\"Patient\"},\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}},"
	        "{\"resource\":{\"resourceType\":\"Patient\",\"gender\":\"other\"},\"request\":{\"method\":\"POST\","
	        "\"url\":\"Patient\"}},"
	        "{\"request\":{\"method\":\"GET\",\"url\":\"Patient?_summary=count\"}}]}";
	struct cl_json *answer = parse(f, send(f, "POST", "/fhir", batch, 200).body);
	assert_true(cl_str_is(cl_json_text(cl_json_path(answer, "entry", "0", "response", "status", NULL)), "201"));
	assert_true(cl_str_is(cl_json_text(cl_json_path(answer, "entry", "1", "response", "status", NULL)), "422"));
	assert_true(cl_str_is(cl_json_text(cl_json_path(answer, "entry", "2", "response", "status", NULL)), "200"));
	assert_int_equal(total(f, "Patient"), 1);
}

static struct cl_str start_callback(struct fixture *f)
{
	struct cl_json *patient =
	        parse(f, send(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\"}", 201).body);
	char body[400];
	snprintf(
	        body, sizeof body,
	        "{\"resourceType\":\"Task\",\"status\":\"draft\",\"intent\":\"order\",\"code\":{\"coding\":[{"
	        "\"system\":"
	        "\"urn:careloop:workflow\",\"code\":\"callback\"}]},\"focus\":{\"reference\":\"Patient/%.*s\"},\"for\":"
	        "{\"reference\":\"Patient/%.*s\"}}",
	        CL_STR_ARGS(cl_json_get_text(patient, "id")), CL_STR_ARGS(cl_json_get_text(patient, "id")));
	return cl_json_get_text(parse(f, send(f, "POST", "/fhir/Task", body, 201).body), "id");
}

static struct cl_str state_of(struct fixture *f, struct cl_str task)
{
	struct cl_stored_instance instance;
	struct cl_err e = {0};
	assert_int_equal(cl_store_instance_get(f->organization->store, f->arena, task, &instance, &e), 0);
	return instance.state;
}

static void eight_weeks_pass_in_order(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	struct cl_str tasks[20];
	for (int i = 0; i < 20; i++) {
		tasks[i] = start_callback(f);
		assert_true(cl_organization_advance(f->organization, f->clock.now + CL_HOUR, &e) >= 0);
	}
	int64_t fired = cl_organization_advance(f->organization, f->clock.now + 56 * CL_DAY, &e);
	if (fired < 0)
		fail_msg("%s %s", e.message, e.where);
	for (int i = 0; i < 20; i++)
		assert_true(cl_str_is(state_of(f, tasks[i]), "unreached"));
	/* From Monday 2 November 09:00 plus 20 hours on: every weekday's 07:00 once, for eight weeks. */
	int64_t lists = total(f, "List");
	assert_true(lists >= 40 && lists <= 41);
	/* Each clock: escalated twice, then given up. */
	assert_int_equal(total(f, "Task?code=escalation"), 40);
}

static void a_poison_timer_is_put_aside(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	struct cl_str task = start_callback(f);
	send(f, "POST", "/fhir/$poison", "", 204);
	assert_true(cl_organization_advance(f->organization, f->clock.now + 5 * CL_DAY, &e) >= 0);
	struct cl_timer_list timers;
	assert_int_equal(cl_store_timers_due(f->organization->store, f->arena, INT64_MAX, 1000, &timers, &e), 0);
	for (size_t i = 0; i < timers.count; i++)
		assert_false(cl_str_starts(timers.items[i].name, "set:"));
	/* Its neighbours went on. */
	assert_true(cl_str_is(state_of(f, task), "unreached"));
}

static void reload_moves_or_refuses_instances(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	char text[sizeof plugin_text + 200];
	struct cl_str task = start_callback(f);
	/* The state that the instance stands in goes away: refused, nothing changed. */
	snprintf(text, sizeof text, "%s", plugin_text);
	for (char *place; (place = strstr(text, "asked"));)
		memcpy(place, "asket", 5);
	struct cl_rules *rules = load(f, text);
	assert_int_equal(cl_store_begin(f->organization->store, &e), 0);
	assert_int_equal(cl_organization_reload(f->organization, rules, &e), CL_E_RULE);
	assert_non_null(strstr(e.message, "asked"));
	cl_store_rollback(f->organization->store);
	cl_rules_release(rules);
	assert_true(cl_str_is(state_of(f, task), "asked"));
	/* With a map it moves. */
	char mapped[sizeof text + 100];
	char *place = strstr(text, "start = 'asket',");
	assert_non_null(place);
	snprintf(mapped, sizeof mapped, "%.*sstart = 'asket', migrate = { asked = 'asket' },%s", (int)(place - text),
	         text, place + strlen("start = 'asket',"));
	rules = load(f, mapped);
	assert_int_equal(cl_store_begin(f->organization->store, &e), 0);
	if (cl_organization_reload(f->organization, rules, &e))
		fail_msg("%s %s", e.message, e.where);
	assert_int_equal(cl_store_commit(f->organization->store, &e), 0);
	cl_rules_release(rules);
	assert_true(cl_str_is(state_of(f, task), "asket"));
}

static void transitions_check_what_they_need(void **state)
{
	struct fixture *f = *state;
	char target[128];
	struct cl_str task = start_callback(f);
	snprintf(target, sizeof target, "/fhir/Task/%.*s/$transition", CL_STR_ARGS(task));
	struct cl_response refused = send(
	        f, "POST", target,
	        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"event\",\"valueString\":\"reached\"}]}",
	        422);
	assert_non_null(memmem(refused.body.p, refused.body.n, "result", 6));
	refused = send(
	        f, "POST", target,
	        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"event\",\"valueString\":\"finish\"}]}",
	        422);
	assert_non_null(memmem(refused.body.p, refused.body.n, "reached", 7));
	struct cl_json *moved = parse(
	        f,
	        send(f, "POST", target,
	             "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"event\",\"valueString\":\"reached\"},"
	             "{\"name\":\"result\",\"valueString\":\"fine\"}]}",
	             200)
	                .body);
	assert_true(cl_str_is(cl_json_get_text(moved, "status"), "completed"));
	assert_true(cl_str_is(state_of(f, task), "done"));
	refused = send(
	        f, "POST", target,
	        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"event\",\"valueString\":\"reached\"}]}",
	        422);
}

static void plain_updates_move_instances_too(void **state)
{
	struct fixture *f = *state;
	char target[128];
	struct cl_err e = {0};
	struct cl_str task = start_callback(f);
	snprintf(target, sizeof target, "/fhir/Task/%.*s", CL_STR_ARGS(task));
	struct cl_json *resource = parse(f, send(f, "GET", target, "", 200).body);
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_set_text(f->arena, resource, "status", CL_STR("rejected"));
	cl_json_write(&text, resource);
	cl_buf_add_byte(&text, 0);
	struct cl_response refused = send(f, "PUT", target, text.p, 422);
	assert_non_null(memmem(refused.body.p, refused.body.n, "reached", 7));
	assert_true(cl_str_is(state_of(f, task), "asked"));
	cl_buf_free(&text);
	(void)e;
}

static void strangers_and_bad_input_are_refused(void **state)
{
	struct fixture *f = *state;
	struct cl_response response;
	struct cl_request made = request(f, "GET", "/fhir/Patient/x", "");
	made.credential.name = CL_STR("urn:nobody");
	cl_organization_execute(f->organization, f->arena, &made, &response);
	assert_int_equal(response.status, 401);
	send(f, "GET", "/fhir/Patient/unknown", "", 404);
	send(f, "GET", "/fhir/Patent/x", "", 404);
	send(f, "DELETE", "/fhir/Patient/x/_history", "", 405);
	struct cl_response broken =
	        send(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\",\n  \"active\": tru}", 400);
	assert_non_null(memmem(broken.body.p, broken.body.n, "ine 2", 5));
	send(f, "POST", "/fhir/Patient", "{\"resourceType\":\"Patient\",\"shoe\":1}", 422);
	send(f, "GET", "/fhir/Patient?shoe=1", "", 400);
	assert_int_equal(total(f, "Patient"), 0);
}

static void commands_of_others_are_refused(void **state)
{
	struct fixture *f = *state;
	static const char batch[] =
	        "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":["
	        "{\"resource\":{\"command\":\"token create\",\"arguments\":{\"principal\":\"ehr\"}},"
	        "\"request\":{\"method\":\"CONSOLE\",\"url\":\"x\"}},"
	        "{\"resource\":{\"command\":\"principals\"},\"request\":{\"method\":\"CONSOLE\",\"url\":\"x\"}},"
	        "{\"request\":{\"method\":\"COURIER\",\"url\":\"outbox\"}}]}";
	struct cl_json *answer = parse(f, send(f, "POST", "/fhir", batch, 200).body);
	for (int i = 0; i < 3; i++) {
		char entry[2] = {(char)('0' + i), 0};
		assert_true(cl_str_is(status_of(answer, entry), "400"));
	}
	send(f, "CONSOLE", "test", "{\"command\":\"token create\",\"arguments\":{\"principal\":\"ehr\"}}", 403);
	send(f, "COURIER", "/outbox", "", 403);
	send(f, "COURIER", "/outbox/report", "{\"number\":1,\"attempts\":0,\"status\":200}", 403);
}

static void what_administrators_fail_at_is_audited(void **state)
{
	struct fixture *f = *state;
	struct cl_response response;
	struct cl_request made =
	        request(f, "CONSOLE", "test", "{\"command\":\"token create\",\"arguments\":{\"principal\":\"no\"}}");
	made.credential = (struct cl_credential){.kind = CL_CREDENTIAL_CONSOLE, .name = CL_STR("root")};
	cl_organization_execute(f->organization, f->arena, &made, &response);
	assert_int_equal(response.status, 404);
	assert_int_equal(leaves(f, "token create principal=no"), 1);
}

static void a_resent_batch_runs_once(void **state)
{
	struct fixture *f = *state;
	struct cl_response first, second;
	struct cl_request made = request(
	        f, "POST", "/fhir",
	        "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":["
	        "{\"resource\":{\"resourceType\":\"Patient\"},\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}},"
	        "{\"request\":{\"method\":\"GET\",\"url\":\"Patient\"}}]}");
	made.headers[made.header_count++] = (struct cl_header){CL_STR("idempotency-key"), CL_STR("batch")};
	cl_organization_execute(f->organization, f->arena, &made, &first);
	made.resent = true;
	cl_organization_execute(f->organization, f->arena, &made, &second);
	assert_int_equal(second.status, 200);
	assert_true(cl_str_equal(first.body, second.body));
	made.resent = false;
	made.id[0] = 1;
	cl_organization_execute(f->organization, f->arena, &made, &second);
	assert_true(cl_str_equal(first.body, second.body));
	assert_int_equal(total(f, "Patient"), 1);
}

static void old_versions_are_decided_on_their_own(void **state)
{
	struct fixture *f = *state;
	static const char labelled[] = "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"security\":[{\"code\":"
	                               "\"R\"}]},\"active\":true}";
	send(f, "PUT", "/fhir/Patient/p", labelled, 201);
	send(f, "PUT", "/fhir/Patient/p",
	     "{\"resourceType\":\"Patient\",\"id\":\"p\",\"meta\":{\"security\":[]},\"active\":false}", 422);
	send(f, "PUT", "/fhir/Patient/p", "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":false}", 200);
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p", "", NULL, NULL, 200);
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p/_history/1", "", NULL, NULL, 403);
	send(f, "GET", "/fhir/Patient/p/_history/1", "", 200);
	static const char *const histories[] = {"/fhir/Patient/p/_history", "/fhir/Patient/_history", "/fhir/_history"};
	for (size_t i = 0; i < 3; i++) {
		struct cl_json *all = parse(f, send(f, "GET", histories[i], "", 200).body);
		struct cl_json *some =
		        parse(f, send_as(f, "urn:limited", "GET", histories[i], "", NULL, NULL, 200).body);
		assert_int_equal(cl_json_get(all, "entry")->count, 2);
		assert_int_equal(cl_json_get(some, "entry")->count, 1);
	}
	/* What was deleted is decided by what it said last. */
	send(f, "DELETE", "/fhir/Patient/p", "", 204);
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p", "", NULL, NULL, 410);
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p/_history/1", "", NULL, NULL, 403);
	send(f, "PUT", "/fhir/Patient/p", labelled, 201);
	send(f, "DELETE", "/fhir/Patient/p", "", 204);
	send(f, "GET", "/fhir/Patient/p", "", 410);
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p", "", NULL, NULL, 403);
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p/_history/2", "", NULL, NULL, 403);
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p/_history", "", NULL, NULL, 403);
	assert_null(cl_json_get(
	        parse(f, send_as(f, "urn:limited", "GET", "/fhir/Patient/_history", "", NULL, NULL, 200).body),
	        "entry"));
}

static int64_t found_by(struct fixture *f, const char *certificate, const char *target)
{
	struct cl_json *bundle = parse(f, send_as(f, certificate, "GET", target, "", NULL, NULL, 200).body);
	struct cl_json *entries = cl_json_get(bundle, "entry");
	return entries ? entries->count : 0;
}

static void searches_do_not_tell_what_is_hidden(void **state)
{
	struct fixture *f = *state;
	send(f, "PUT", "/fhir/Patient/hidden",
	     "{\"resourceType\":\"Patient\",\"id\":\"hidden\",\"meta\":{\"security\":[{\"code\":\"R\"}]},\"active\":"
	     "true}",
	     201);
	send(f, "PUT", "/fhir/Patient/open", "{\"resourceType\":\"Patient\",\"id\":\"open\",\"active\":true}", 201);
	send(f, "POST", "/fhir/Observation",
	     "{\"resourceType\":\"Observation\",\"status\":\"final\",\"code\":{\"coding\":[{\"code\":\"a\"}]},"
	     "\"subject\":"
	     "{\"reference\":\"Patient/hidden\"}}",
	     201);
	send(f, "POST", "/fhir/Observation",
	     "{\"resourceType\":\"Observation\",\"meta\":{\"security\":[{\"code\":\"R\"}]},\"status\":\"final\","
	     "\"code\":{\"coding\":"
	     "[{\"code\":\"b\"}]},\"subject\":{\"reference\":\"Patient/open\"}}",
	     201);
	static const char *const searches[] = {"/fhir/Observation?code=a&subject:Patient.active=true",
	                                       "/fhir/Patient?_has:Observation:patient:code=b"};
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(found_by(f, "urn:ehr", searches[i]), 1);
		assert_int_equal(found_by(f, "urn:limited", searches[i]), 0);
	}
	/* Nor do conditions tell which version there is. */
	send_as(f, "urn:limited", "PUT", "/fhir/Patient/hidden", "{\"resourceType\":\"Patient\",\"id\":\"hidden\"}",
	        "if-match", "W/\"7\"", 403);
	send_as(f, "urn:limited", "PUT", "/fhir/Patient/open", "{\"resourceType\":\"Patient\",\"id\":\"open\"}",
	        "if-match", "W/\"7\"", 412);
	send_as(f, "urn:limited", "PUT", "/fhir/Patient/open", "{\"resourceType\":\"Patient\",\"id\":\"open\"}",
	        "if-none-match", "*", 412);
	send_as(f, "urn:limited", "PUT", "/fhir/Patient/open", "{\"resourceType\":\"Patient\",\"id\":\"open\"}",
	        "if-match", "*", 200);
	send_as(f, "urn:limited", "PUT", "/fhir/Patient/new", "{\"resourceType\":\"Patient\",\"id\":\"new\"}",
	        "if-none-match", "*", 201);
}

static void reads_inside_writes_are_audited(void **state)
{
	struct fixture *f = *state;
	static const char body[] = "{\"resourceType\":\"Patient\",\"identifier\":[{\"system\":\"s\",\"value\":\"v\"}]}";
	send(f, "PUT", "/fhir/Patient/p",
	     "{\"resourceType\":\"Patient\",\"id\":\"p\",\"identifier\":[{\"system\":\"s\",\"value\":\"v\"}]}", 201);
	int before = leaves(f, "Patient/p");
	send_as(f, "urn:ehr", "POST", "/fhir/Patient", body, "if-none-exist", "identifier=s|v", 200);
	assert_int_equal(leaves(f, "Patient/p"), before + 1);
	send(f, "POST", "/fhir",
	     "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"request\":{\"method\":\"GET\","
	     "\"url\":\"Patient/p\"}}]}",
	     200);
	assert_int_equal(leaves(f, "Patient/p"), before + 2);
}

static void transactions_keep_their_promises(void **state)
{
	struct fixture *f = *state;
	static const char overlapping[] = "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
	                                  "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"p\"},\"request\":{"
	                                  "\"method\":\"PUT\",\"url\":\"Patient/p\"}},"
	                                  "{\"request\":{\"method\":\"DELETE\",\"url\":\"Patient/p\"}}]}";
	/* One condition twice: one resource, and both references lead to it. */
	static const char same[] =
	        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
	        "{\"fullUrl\":\"urn:uuid:a\",\"resource\":{\"resourceType\":\"Patient\",\"identifier\":[{\"value\":"
	        "\"v\"}]},"
	        "\"request\":{\"method\":\"POST\",\"url\":\"Patient\",\"ifNoneExist\":\"identifier=v\"}},"
	        "{\"fullUrl\":\"urn:uuid:b\",\"resource\":{\"resourceType\":\"Patient\",\"identifier\":[{\"value\":"
	        "\"v\"}]},"
	        "\"request\":{\"method\":\"POST\",\"url\":\"Patient\",\"ifNoneExist\":\"identifier=v\"}},"
	        "{\"resource\":{\"resourceType\":\"Basic\",\"code\":{\"text\":\"x\"},\"subject\":{\"reference\":\"urn:"
	        "uuid:b\"}},"
	        "\"request\":{\"method\":\"POST\",\"url\":\"Basic\"}}]}";
	/* A relative reference of an entry from elsewhere is to the entry from there. */
	static const char elsewhere[] =
	        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
	        "{\"fullUrl\":\"https://there.example/fhir/Patient/"
	        "1\",\"resource\":{\"resourceType\":\"Patient\",\"id\":\"1\"},"
	        "\"request\":{\"method\":\"POST\",\"url\":\"Patient\"}},"
	        "{\"fullUrl\":\"https://there.example/fhir/Basic/"
	        "1\",\"resource\":{\"resourceType\":\"Basic\",\"code\":{\"text\":\"x\"},"
	        "\"subject\":{\"reference\":\"Patient/1\"}},\"request\":{\"method\":\"POST\",\"url\":\"Basic\"}}]}";
	send(f, "POST", "/fhir", overlapping, 400);
	struct cl_json *answer = parse(f, send(f, "POST", "/fhir", same, 200).body);
	assert_true(cl_str_is(status_of(answer, "0"), "201"));
	assert_true(cl_str_is(status_of(answer, "1"), "200"));
	struct cl_str id = cl_json_text(cl_json_path(answer, "entry", "0", "resource", "id", NULL));
	struct cl_str subject =
	        cl_json_text(cl_json_path(answer, "entry", "2", "resource", "subject", "reference", NULL));
	assert_true(subject.n == 8 + id.n && !memcmp(subject.p + 8, id.p, id.n));
	assert_int_equal(total(f, "Patient"), 1);
	answer = parse(f, send(f, "POST", "/fhir", elsewhere, 200).body);
	id = cl_json_text(cl_json_path(answer, "entry", "0", "resource", "id", NULL));
	subject = cl_json_text(cl_json_path(answer, "entry", "1", "resource", "subject", "reference", NULL));
	assert_true(subject.n == 8 + id.n && !memcmp(subject.p + 8, id.p, id.n));
	/* Prefer goes for every entry. */
	answer = parse(f, send_as(f, "urn:ehr", "POST", "/fhir", elsewhere, "prefer", "return=minimal", 200).body);
	assert_true(cl_str_is(status_of(answer, "0"), "201"));
	assert_null(cl_json_path(answer, "entry", "0", "resource", NULL));
}

static void validating_is_no_event(void **state)
{
	struct fixture *f = *state;
	uint64_t before = cl_store_last_sequence(f->organization->store);
	send(f, "POST", "/fhir/Patient/$validate", "{\"resourceType\":\"Patient\",\"gender\":\"female\"}", 200);
	assert_int_equal(cl_store_last_sequence(f->organization->store), before);
}

/* The replay at the end takes the times as they were. */
static void a_clock_that_was_set_back_can_be_replayed(void **state)
{
	struct fixture *f = *state;
	send(f, "PUT", "/fhir/Patient/a", "{\"resourceType\":\"Patient\",\"id\":\"a\"}", 201);
	f->clock.now -= CL_HOUR;
	send(f, "PUT", "/fhir/Patient/b", "{\"resourceType\":\"Patient\",\"id\":\"b\"}", 201);
	f->clock.now += CL_DAY;
	send(f, "PUT", "/fhir/Patient/a", "{\"resourceType\":\"Patient\",\"id\":\"a\",\"active\":true}", 200);
}

static void a_timer_that_crashed_the_process_is_set_aside(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	uint8_t hash[CL_SHA256_SIZE];
	send(f, "POST", "/fhir/$poison", "", 204);
	cl_sha256_of(CL_STR("set:own:poison:1#1"), hash);
	memcpy(f->organization->watch->quarantine[0].bytes, hash, sizeof f->organization->watch->quarantine[0].bytes);
	atomic_store(&f->organization->watch->quarantine_count, 1u);
	assert_true(cl_organization_advance(f->organization, f->clock.now + 2 * CL_HOUR, &e) >= 0);
	assert_int_equal(f->organization->failed_timers, 0);
	assert_int_equal(cl_store_timer_next(f->organization->store) > f->clock.now, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_resource_lives),
	        TEST(a_resent_request_is_answered_once),
	        TEST(idempotency_keys_belong_to_their_principal_and_body),
	        TEST(a_refusing_handler_changes_nothing),
	        TEST(transactions_are_all_or_nothing),
	        TEST(batch_entries_stand_alone),
	        TEST(eight_weeks_pass_in_order),
	        TEST(a_poison_timer_is_put_aside),
	        TEST(reload_moves_or_refuses_instances),
	        TEST(transitions_check_what_they_need),
	        TEST(plain_updates_move_instances_too),
	        TEST(strangers_and_bad_input_are_refused),
	        TEST(commands_of_others_are_refused),
	        TEST(what_administrators_fail_at_is_audited),
	        TEST(a_resent_batch_runs_once),
	        TEST(old_versions_are_decided_on_their_own),
	        TEST(searches_do_not_tell_what_is_hidden),
	        TEST(reads_inside_writes_are_audited),
	        TEST(transactions_keep_their_promises),
	        TEST(validating_is_no_event),
	        TEST(a_clock_that_was_set_back_can_be_replayed),
	        TEST(a_timer_that_crashed_the_process_is_set_aside),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
