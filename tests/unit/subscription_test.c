/* subscription_test.c: subscriptions of one organization under a virtual clock: what may be asked for, who hears of what, how
 * letters end. Every test ends with a replay of its event log. */
#include "org/engine/organization.h"
#include "base/hash.h"
#include "org/engine/run.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define CONFIG(principals)                                                                                             \
	"return { name = 'Test Clinic', zone = 'America/Chicago', plugins = { 'own' }, reference = "                   \
	"'Organization/test',\n"                                                                                       \
	"  subscriptions = { destinations = { 'https://hooks.example.org/in', 'https://*.partner.example' }, most = "  \
	"300 },\n"                                                                                                     \
	"  principals = { ehr = { kind = 'client', roles = { 'all' }, certificate = 'urn:ehr' },\n"                    \
	"    other = { kind = 'client', roles = { 'all' }, certificate = 'urn:other' },\n" principals                  \
	"    none = { kind = 'person', roles = { 'none' }, certificate = 'urn:none' } } }\n"
#define LIMITED "    limited = { kind = 'person', roles = { 'limited' }, certificate = 'urn:limited' },\n"

static const char plugin_text[] =
        "return plugin { name = 'own', api = 1, summary = 'test',\n"
        "  roles = { all = { summary = 'everything', allow = { { 'read search history create update delete events', "
        "types = "
        "'*', except_labels = {} } } },\n"
        "    none = { summary = 'may subscribe, to nothing', allow = { { 'create', types = { 'Subscription' } } } },\n"
        "    limited = { summary = 'nothing labelled, final observations', allow = {\n"
        "      { 'read search', types = { 'Observation' }, where = 'status=final,amended', except_labels = { 'R' } },\n"
        "      { 'read search history create update', types = { 'Subscription', 'Patient' }, except_labels = { 'R' } } "
        "} "
        "} } }\n";

struct fixture {
	char folder[64], plugins[128], organizations[128];
	struct cl_clock clock;
	struct cl_arena *arena;
	struct cl_organization *organization;
	uint64_t requests;
	bool open; /* a transaction is: several requests are one commit */
};

static void write_text(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static struct cl_rules *load(struct fixture *f, const char *config)
{
	char path[256];
	struct cl_json *archive;
	struct cl_rules *rules;
	struct cl_err e = {0};
	snprintf(path, sizeof path, "%s/test.lua", f->organizations);
	write_text(path, config);
	if (cl_lua_archive(f->arena, f->organizations, f->plugins, "test", &archive, &e) ||
	    cl_rules_new(archive, NULL, NULL, &rules, NULL, &e))
		fail_msg("%s %s", e.where, e.message);
	return rules;
}

static int set_up(void **state)
{
	static const char *const folders[] = {"plugins", "orgs", "orgs/test", "orgs/test/own"};
	struct fixture *f = calloc(1, sizeof *f);
	char path[256];
	struct cl_err e = {0};
	snprintf(f->folder, sizeof f->folder, "/tmp/careloop-subscription-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		snprintf(path, sizeof path, "%s/%s", f->folder, folders[i]);
		mkdir(path, 0700);
	}
	snprintf(f->plugins, sizeof f->plugins, "%s/plugins", f->folder);
	snprintf(f->organizations, sizeof f->organizations, "%s/orgs", f->folder);
	snprintf(path, sizeof path, "%s/orgs/test/own/plugin.lua", f->folder);
	write_text(path, plugin_text);
	f->arena = cl_arena_new(0);
	f->clock = (struct cl_clock){.is_virtual = true, .now = (cl_instant)1793631600 * CL_SECOND};
	struct cl_rules *rules = load(f, CONFIG(LIMITED));
	if (cl_organization_open(f->folder, "test", rules, &f->clock, NULL, &f->organization, &e))
		fail_msg("%s %s", e.where, e.message);
	cl_rules_release(rules);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128], replay[128];
	struct cl_err e = {0};
	snprintf(replay, sizeof replay, "%s/replay", f->folder);
	mkdir(replay, 0700);
	int code = cl_organization_replay(f->organization->store, replay, "test", &e);
	if (code)
		print_error("replay: %s %s\n", e.message, e.where);
	cl_organization_close(f->organization);
	cl_arena_free(f->arena);
	snprintf(command, sizeof command, "rm -rf %s", f->folder);
	if (system(command))
		code = -1;
	free(f);
	return code;
}

/* ---- requests ---- */

static struct cl_response send_as(struct fixture *f, const char *who, const char *method, const char *target,
                                  const char *body, int status)
{
	struct cl_response response;
	static struct cl_header headers[1];
	headers[0] = (struct cl_header){CL_STR("content-type"), CL_STR("application/fhir+json")};
	struct cl_request request = {
	        .method = cl_str_of(method),
	        .target = cl_str_of(target),
	        .base = CL_STR("https://test.localhost"),
	        .body = cl_arena_copy(f->arena, cl_str_of(body)),
	        .credential = {.kind = CL_CREDENTIAL_CERTIFICATE, .name = cl_arena_printf(f->arena, "urn:%s", who)},
	        .headers = headers,
	        .header_count = 1,
	};
	f->requests++;
	for (int i = 0; i < 8; i++)
		request.id[15 - i] = (uint8_t)(f->requests >> (8 * i));
	if (!strcmp(method, "COURIER"))
		request.credential = (struct cl_credential){.kind = CL_CREDENTIAL_COURIER};
	if (!strcmp(method, "CONSOLE"))
		request.credential = (struct cl_credential){.kind = CL_CREDENTIAL_CONSOLE, .name = CL_STR("root")};
	if (f->open) {
		struct cl_outcome outcome;
		cl_organization_run(f->organization, f->arena, &request, &outcome);
		response = outcome.response;
	} else {
		cl_organization_execute(f->organization, f->arena, &request, &response);
	}
	if (response.status != status)
		fail_msg("%s %s: %d instead of %d: %.*s", method, target, response.status, status,
		         CL_STR_ARGS(response.body));
	return response;
}

static struct cl_json *parse(struct fixture *f, struct cl_str text)
{
	struct cl_json *json;
	struct cl_err e = {0};
	if (cl_json_parse(f->arena, text, NULL, &json, &e))
		fail_msg("%s in %.*s", e.message, CL_STR_ARGS(text));
	return json;
}

static const char *subscription(struct fixture *f, const char *id, const char *status, const char *criteria,
                                const char *channel)
{
	return cl_arena_printf(f->arena,
	                       "{\"resourceType\":\"Subscription\",\"id\":\"%s\",\"status\":\"%s\",\"reason\":\"r\","
	                       "\"criteria\":\"%s\",\"channel\":{\"type\":\"rest-hook\",%s}}",
	                       id, status, criteria, channel)
	        .p;
}

#define PING "\"endpoint\":\"https://hooks.example.org/in/a?x=1\""
#define FULL PING ",\"payload\":\"application/fhir+json\""

static struct cl_response put(struct fixture *f, const char *who, const char *id, const char *text, int status)
{
	char target[128];
	snprintf(target, sizeof target, "/fhir/Subscription/%s", id);
	return send_as(f, who, "PUT", target, text, status);
}

static struct cl_str status_of(struct fixture *f, const char *id)
{
	char target[128];
	snprintf(target, sizeof target, "/fhir/Subscription/%s", id);
	return cl_json_get_text(parse(f, send_as(f, "ehr", "GET", target, "", 200).body), "status");
}

/* ---- the courier's side ---- */

static struct cl_json *outbox(struct fixture *f)
{
	return cl_json_get(parse(f, send_as(f, "", "COURIER", "/outbox", "", 200).body), "messages");
}

static struct cl_str header(const struct cl_json *letter, const char *name)
{
	const struct cl_json *headers = cl_json_get(letter, "headers");
	size_t n = strlen(name);
	for (uint32_t i = 0; headers && i < headers->count; i++) {
		struct cl_str line = cl_json_text(&headers->items[i]);
		if (cl_str_starts(line, name) && line.p[n] == ':')
			return (struct cl_str){line.p + n + 2, line.n - n - 2};
	}
	return CL_STR_NONE;
}

static void report(struct fixture *f, const struct cl_json *letter, int status, const char *more)
{
	int64_t number = 0, attempts = 0;
	cl_json_integer(cl_json_get(letter, "number"), &number);
	cl_json_integer(cl_json_get(letter, "attempts"), &attempts);
	send_as(f, "", "COURIER", "/outbox/report",
	        cl_arena_printf(f->arena,
	                        "{\"number\":%lld,\"attempts\":%lld,\"status\":%d,\"problem\":\"it answered %d\"%s}",
	                        (long long)number, (long long)attempts, status, status, more)
	                .p,
	        204);
}

/* Delivers or withholds all that is due until nothing is; returns how many were sent. */
static int deliver_all(struct fixture *f)
{
	int sent = 0;
	for (struct cl_json *due = outbox(f); due->count; due = outbox(f))
		for (uint32_t i = 0; i < due->count; i++) {
			bool withheld = cl_json_get(&due->items[i], "withheld") != NULL;
			report(f, &due->items[i], withheld ? 0 : 200, withheld ? ",\"withheld\":true" : "");
			sent += !withheld;
		}
	return sent;
}

static void activate(struct fixture *f, const char *who, const char *id, const char *criteria, const char *channel)
{
	put(f, who, id, subscription(f, id, "requested", criteria, channel), 201);
	deliver_all(f);
	assert_true(cl_str_is(status_of(f, id), "active"));
}

static void observation(struct fixture *f, const char *id, const char *status, const char *more, int answer)
{
	char target[128];
	snprintf(target, sizeof target, "/fhir/Observation/%s", id);
	send_as(f, "ehr", "PUT", target,
	        cl_arena_printf(f->arena,
	                        "{\"resourceType\":\"Observation\",\"id\":\"%s\",\"status\":\"%s\",\"code\":{"
	                        "\"coding\":[{\"system\":"
	                        "\"http://loinc.org\",\"code\":\"1975-2\"}]}%s}",
	                        id, status, more)
	                .p,
	        answer);
}

/* ---- tests ---- */

static void a_subscription_is_asked_then_told(void **state)
{
	struct fixture *f = *state;
	struct cl_json *made = parse(
	        f, put(f, "ehr", "s", subscription(f, "s", "active", "Observation?status=final", FULL), 201).body);
	assert_true(cl_str_is(cl_json_get_text(made, "status"), "requested"));
	/* Not before the endpoint has said yes. */
	observation(f, "early", "final", "", 201);
	struct cl_json *due = outbox(f);
	assert_int_equal(due->count, 1);
	struct cl_json *letter = &due->items[0];
	assert_true(cl_str_is(cl_json_get_text(letter, "method"), "POST"));
	assert_true(cl_str_is(cl_json_get_text(letter, "url"), "https://hooks.example.org/in/a?x=1"));
	assert_true(cl_str_is(cl_json_get_text(letter, "body"), ""));
	assert_true(cl_str_is(header(letter, "careloop-event"), "handshake"));
	report(f, letter, 200, "");
	assert_true(cl_str_is(status_of(f, "s"), "active"));
	assert_int_equal(outbox(f)->count, 0);

	observation(f, "one", "preliminary", "", 201);
	assert_int_equal(outbox(f)->count, 0);
	observation(f, "one", "final", "", 200);
	due = outbox(f);
	assert_int_equal(due->count, 1);
	letter = &due->items[0];
	assert_true(cl_str_is(cl_json_get_text(letter, "method"), "PUT"));
	assert_true(cl_str_is(cl_json_get_text(letter, "url"), "https://hooks.example.org/in/a/Observation/one?x=1"));
	assert_true(cl_str_is(header(letter, "careloop-event"), "update"));
	assert_true(cl_str_is(header(letter, "Content-Type"), "application/fhir+json"));
	struct cl_str body = cl_json_get_text(letter, "body");
	assert_true(cl_str_equal(body, send_as(f, "ehr", "GET", "/fhir/Observation/one", "", 200).body));

	/* The signature is that of Standard Webhooks, under the key that $secret gives to who made it, and to nobody else. */
	send_as(f, "other", "POST", "/fhir/Subscription/s/$secret", "", 403);
	struct cl_json *answer = parse(f, send_as(f, "ehr", "POST", "/fhir/Subscription/s/$secret", "", 200).body);
	struct cl_str secret = cl_json_text(cl_json_path(answer, "parameter", "0", "valueString", NULL)), key;
	uint8_t digest[32];
	struct cl_err e = {0};
	assert_true(cl_str_starts(secret, "whsec_"));
	assert_int_equal(cl_base64_decode(f->arena, (struct cl_str){secret.p + 6, secret.n - 6}, &key, &e), 0);
	struct cl_str signed_text =
	        cl_arena_printf(f->arena, "%.*s.%.*s.%.*s", CL_STR_ARGS(header(letter, "webhook-id")),
	                        CL_STR_ARGS(header(letter, "webhook-timestamp")), CL_STR_ARGS(body));
	cl_hmac_sha256((const uint8_t *)key.p, key.n, signed_text, digest);
	struct cl_str expected = cl_base64(f->arena, (struct cl_str){(const char *)digest, 32});
	assert_true(cl_str_equal(header(letter, "webhook-signature"),
	                         cl_arena_printf(f->arena, "v1,%.*s", CL_STR_ARGS(expected))));

	/* In order, one at a time, and the same id until it arrived. */
	observation(f, "one", "amended", "", 200);
	observation(f, "two", "final", "", 201);
	struct cl_str id = header(letter, "webhook-id");
	report(f, letter, 503, "");
	f->clock.now += CL_MINUTE;
	due = outbox(f);
	assert_int_equal(due->count, 1);
	assert_true(cl_str_equal(header(&due->items[0], "webhook-id"), id));
	assert_int_equal(deliver_all(f), 2);
	/* Deletions are not told. */
	send_as(f, "ehr", "DELETE", "/fhir/Observation/two", "", 204);
	assert_int_equal(outbox(f)->count, 0);
}

static void what_may_not_be_asked_for_is_refused(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *criteria, *channel, *where, *words;
	} refused[] = {
	        {"Observation?shoesize=3", PING, "Subscription.criteria", "shoesize"},
	        {"Observation?status:near=final", PING, "Subscription.criteria", "near"},
	        {"Shoe?size=3", PING, "Subscription.criteria", "Shoe"},
	        {"http://example.org/SubscriptionTopic/admission", PING, "Subscription.criteria", "topics"},
	        {"Observation?_sort=date", PING, "Subscription.criteria", "_sort"},
	        {"Observation", "\"endpoint\":\"https://elsewhere.example.org/in\"", "Subscription.channel.endpoint",
	         "destinations"},
	        {"Observation", "\"endpoint\":\"https://hooks.example.org/inside\"", "Subscription.channel.endpoint",
	         "destinations"},
	        {"Observation", "\"endpoint\":\"https://hooks.example.org:444/in\"", "Subscription.channel.endpoint",
	         "destinations"},
	        {"Observation", "\"endpoint\":\"http://hooks.example.org/in\"", "Subscription.channel.endpoint",
	         "https"},
	        {"Observation", "\"endpoint\":\"https://hooks.example.org/in/../x\"", "Subscription.channel.endpoint",
	         "'..'"},
	        {"Observation", "\"endpoint\":\"https://a@hooks.example.org/in\"", "Subscription.channel.endpoint",
	         "user name"},
	        {"Observation", "\"endpoint\":\"https://partner.example/\"", "Subscription.channel.endpoint",
	         "destinations"},
	        {"Observation", "\"header\":[\"X\"]", "Subscription.channel.header[0]", "Name: value"},
	        {"Observation", PING ",\"header\":[\"A: b\",\"Host: x\"]", "Subscription.channel.header[1]", "Host"},
	        {"Observation", PING ",\"header\":[\"A: b\\nC: d\"]", "Subscription.channel.header[0]", "line break"},
	        {"Observation", PING ",\"header\":[\"webhook-id: 7\"]", "Subscription.channel.header[0]", "webhook-id"},
	        {"Observation", PING ",\"header\":[\"Authorization: [hidden]\"]", "Subscription.channel.header[0]",
	         "again"},
	        {"Observation", PING ",\"payload\":\"application/fhir+xml\"", "Subscription.channel.payload", "json"},
	};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct cl_response answer = put(
		        f, "ehr", "s", subscription(f, "s", "requested", refused[i].criteria, refused[i].channel), 422);
		struct cl_json *issue = cl_json_path(parse(f, answer.body), "issue", "0", NULL);
		struct cl_str where = cl_json_text(cl_json_path(issue, "expression", "0", NULL));
		struct cl_str words = cl_json_get_text(issue, "diagnostics");
		if (!cl_str_is(where, refused[i].where) ||
		    !memmem(words.p, words.n, refused[i].words, strlen(refused[i].words)))
			fail_msg("%s %s: %.*s at %.*s", refused[i].criteria, refused[i].channel, CL_STR_ARGS(words),
			         CL_STR_ARGS(where));
	}
	struct cl_response answer = put(
	        f, "ehr", "s",
	        cl_arena_printf(f->arena, "{\"resourceType\":\"Subscription\",\"id\":\"s\",\"status\":\"requested\","
	                                  "\"reason\":\"r\",\"criteria\":\"Task\",\"channel\":{\"type\":"
	                                  "\"websocket\"}}")
	                .p,
	        422);
	assert_non_null(memmem(answer.body.p, answer.body.n, "/events?criteria", 16));
	/* Who may not search the type may not have it searched. */
	send_as(f, "none", "POST", "/fhir/Subscription", subscription(f, "x", "requested", "Observation", PING), 403);
	send_as(f, "ehr", "GET", "/fhir/Subscription/s", "", 404);
	assert_int_equal(outbox(f)->count, 0);
	/* One that is past its end, or off, is a record of something: kept as it is, and nothing follows. */
	char past[700];
	snprintf(past, sizeof past, "%s", subscription(f, "old", "active", "http://example.org/Topic", PING));
	strcpy(strrchr(past, '}'), ",\"end\":\"2020-12-31T12:00:00Z\"}");
	put(f, "ehr", "old", past, 201);
	put(f, "ehr", "quiet", subscription(f, "quiet", "off", "http://example.org/Topic", PING), 201);
	assert_true(cl_str_is(status_of(f, "old"), "active"));
	assert_int_equal(outbox(f)->count, 0);
}

static void secrets_are_shown_to_nobody(void **state)
{
	struct fixture *f = *state;
	static const char *const places[] = {"/fhir/Subscription/s", "/fhir/Subscription?_id=s",
	                                     "/fhir/Subscription/s/_history", "/fhir/Subscription/s/_history/1"};
	activate(f, "ehr", "s", "Observation",
	         PING ",\"header\":[\"X-Tenant: 5\",\"Authorization: Bearer Zanzibar\",\"X-Api-Key: Zanzibar\"]");
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct cl_str body = send_as(f, "ehr", "GET", places[i], "", 200).body;
		assert_null(memmem(body.p, body.n, "Zanzibar", 8));
		assert_non_null(memmem(body.p, body.n, "X-Tenant: 5", 11));
	}
	/* What was read may be written back: the secret is still sent. */
	struct cl_json *read = parse(f, send_as(f, "ehr", "GET", "/fhir/Subscription/s", "", 200).body);
	cl_json_set_text(f->arena, read, "reason", CL_STR("another"));
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, read);
	put(f, "ehr", "s", cl_arena_cstring(f->arena, cl_buf_str(&text)), 200);
	cl_buf_free(&text);
	assert_true(cl_str_is(status_of(f, "s"), "active"));
	observation(f, "one", "final", "", 201);
	struct cl_json *letter = &outbox(f)->items[0];
	assert_true(cl_str_is(header(letter, "Authorization"), "Bearer Zanzibar"));
	assert_true(cl_str_is(header(letter, "X-Api-Key"), "Zanzibar"));
	/* It acts with its maker's rights: another may turn it off, not turn it elsewhere. */
	put(f, "other", "s", subscription(f, "s", "requested", "Patient", PING), 403);
	put(f, "other", "s", subscription(f, "s", "off", "Observation", PING), 200);
	assert_int_equal(deliver_all(f), 0);
	put(f, "other", "s", subscription(f, "s", "requested", "Observation", PING), 403);
}

static void rights_are_looked_at_when_it_is_sent(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	activate(f, "limited", "s", "Observation", PING);
	observation(f, "seen", "final", "", 201);
	observation(f, "draft", "preliminary", "", 201);
	observation(f, "labelled", "final",
	            ",\"meta\":{\"security\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
	            "v3-Confidentiality\",\"code\":\"R\"}]}",
	            201);
	assert_int_equal(deliver_all(f), 1);
	/* Queued while it could be read; then it is labelled. */
	observation(f, "seen", "amended", "", 200);
	observation(f, "seen", "amended",
	            ",\"meta\":{\"security\":[{\"system\":\"http://terminology.hl7.org/CodeSystem/"
	            "v3-Confidentiality\",\"code\":\"R\"}]}",
	            200);
	struct cl_json *due = outbox(f);
	assert_int_equal(due->count, 1);
	assert_non_null(cl_json_get(&due->items[0], "withheld"));
	assert_null(cl_json_get(&due->items[0], "body"));
	assert_int_equal(deliver_all(f), 0);
	/* Queued while its maker had a role; then the maker is gone. */
	observation(f, "last", "final", "", 201);
	struct cl_rules *rules = load(f, CONFIG(""));
	assert_int_equal(cl_store_begin(f->organization->store, &e), 0);
	assert_int_equal(cl_organization_reload(f->organization, rules, &e), 0);
	assert_int_equal(cl_store_commit(f->organization->store, &e), 0);
	cl_rules_release(rules);
	assert_int_equal(deliver_all(f), 0);
	observation(f, "later", "final", "", 201);
	assert_int_equal(outbox(f)->count, 0);
}

/* "The access predicate of a search equals the decision on each row", of subscriptions too: whoever is told of a change would
 * find the resource by the criteria, and the other way round. */
static void told_is_what_a_search_finds(void **state)
{
	struct fixture *f = *state;
	static const char *const criteria[] = {"Observation?status=final",
	                                       "Observation?code=http://loinc.org|1975-2",
	                                       "Observation?code=9999-9,1975-2",
	                                       "Observation?patient=Patient/p1",
	                                       "Observation?subject=Patient/p2&status=final",
	                                       "Observation?patient.active=true",
	                                       "Observation?patient.name=labelled",
	                                       "Observation?status:not=final",
	                                       "Observation?date=gt2026-11-02",
	                                       "Observation?value-quantity=gt5",
	                                       "Observation?subject:missing=true",
	                                       "Observation?_tag=a,b",
	                                       "Observation?status=final&status=amended",
	                                       "Observation?_id=o3",
	                                       "Observation",
	                                       "Patient?name=some",
	                                       "Observation?status=final,preliminary&patient=Patient/p0,Patient/p1"};
	static const char *const who[] = {"ehr", "limited"};
	static const char *const statuses[] = {"final", "preliminary", "amended", "registered"};
	enum { KINDS = sizeof criteria / sizeof *criteria, SUBSCRIPTIONS = KINDS * 2 };
	unsigned seed = 7;
	int told = 0;
	for (int p = 0; p < 3; p++)
		send_as(f, "ehr", "PUT", cl_arena_printf(f->arena, "/fhir/Patient/p%d", p).p,
		        cl_arena_printf(f->arena,
		                        "{\"resourceType\":\"Patient\",\"id\":\"p%d\",\"active\":%s,\"name\":[{"
		                        "\"family\":\"%s\"}]%s}",
		                        p, p ? "true" : "false", p == 2 ? "labelled" : "some",
		                        p == 2 ? ",\"meta\":{\"security\":[{\"code\":\"R\"}]}" : "")
		                .p,
		        201);
	struct cl_err e = {0};
	assert_int_equal(cl_store_begin(f->organization->store, &e), 0);
	f->open = true;
	for (int s = 0; s < SUBSCRIPTIONS; s++) {
		char id[16];
		snprintf(id, sizeof id, "s%d", s);
		put(f, who[s % 2], id, subscription(f, id, "requested", criteria[s / 2], PING), 201);
	}
	deliver_all(f);
	for (int round = 0; round < 120; round++) {
		bool heard[SUBSCRIPTIONS] = {false};
		char id[16], more[400] = "";
		unsigned r = (unsigned)rand_r(&seed);
		f->clock.now += CL_HOUR;
		snprintf(id, sizeof id, "o%u", r % 8);
		if (r & 256)
			snprintf(more, sizeof more, ",\"subject\":{\"reference\":\"Patient/p%u\"}", (r >> 9) % 3);
		if (r & 4096)
			snprintf(more + strlen(more), sizeof more - strlen(more), ",\"valueQuantity\":{\"value\":%u}",
			         (r >> 13) % 10);
		if (r & 65536)
			snprintf(more + strlen(more), sizeof more - strlen(more),
			         ",\"effectiveDateTime\":\"2026-11-0%u\"", 1 + (r >> 17) % 4);
		if (r & (1u << 20))
			snprintf(more + strlen(more), sizeof more - strlen(more),
			         ",\"meta\":{%s\"tag\":[{\"code\":\"%c\"}]}",
			         r & (1u << 21) ? "\"security\":[{\"code\":\"R\"}]," : "", 'a' + (int)((r >> 22) % 3));
		struct cl_version before = {0};
		cl_store_get(f->organization->store, f->arena, CL_TYPE_OBSERVATION, cl_str_of(id), &before, &e);
		observation(f, id, statuses[(r >> 4) % 4], more, before.version ? 200 : 201);
		struct cl_version after = {0};
		cl_store_get(f->organization->store, f->arena, CL_TYPE_OBSERVATION, cl_str_of(id), &after, &e);
		if (after.version == before.version)
			continue; /* it said what it had said: nobody is told */
		for (struct cl_json *due = outbox(f); due->count; due = outbox(f))
			for (uint32_t i = 0; i < due->count; i++) {
				struct cl_str name = header(&due->items[i], "careloop-subscription");
				assert_null(cl_json_get(&due->items[i], "withheld"));
				heard[strtol(name.p + sizeof "Subscription/s" - 1, NULL, 10)] = true;
				report(f, &due->items[i], 200, "");
				told++;
			}
		for (int s = 0; s < SUBSCRIPTIONS; s++) {
			const char *text = criteria[s / 2];
			bool own = !strncmp(text, "Observation", 11);
			char target[300];
			snprintf(target, sizeof target, "/fhir/%s%c_id=%s&_summary=count", text,
			         strchr(text, '?') ? '&' : '?', id);
			int64_t total = 0;
			if (own)
				cl_json_integer(
				        cl_json_get(parse(f, send_as(f, who[s % 2], "GET", target, "", 200).body),
				                    "total"),
				        &total);
			if ((total == 1) != heard[s])
				fail_msg("round %d: %s %s %s: a search finds %lld, the subscription was %stold", round,
				         who[s % 2], id, text, (long long)total, heard[s] ? "" : "not ");
		}
	}
	assert_true(told > 300);
	f->open = false;
	assert_int_equal(cl_store_commit(f->organization->store, &e), 0);
}

static void letters_end(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	activate(f, "ehr", "s", "Observation", PING);
	/* One that is refused for good does not hold up the next. */
	observation(f, "one", "final", "", 201);
	observation(f, "two", "final", "", 201);
	report(f, &outbox(f)->items[0], 422, "");
	assert_int_equal(deliver_all(f), 1);
	assert_true(cl_str_is(status_of(f, "s"), "active"));
	/* What the receiver asks for is honoured, within limits. */
	observation(f, "three", "final", "", 201);
	observation(f, "four", "final", "", 201);
	report(f, &outbox(f)->items[0], 429, ",\"retry_after\":600");
	f->clock.now += 500 * CL_SECOND;
	assert_int_equal(outbox(f)->count, 0);
	f->clock.now += 110 * CL_SECOND;
	assert_int_equal(outbox(f)->count, 1);
	/* Down for good: the subscription is in error and says why; nothing is lost. */
	for (int attempt = 0; attempt < 40 && cl_str_is(status_of(f, "s"), "active"); attempt++) {
		f->clock.now += 5 * CL_HOUR;
		struct cl_json *due = outbox(f);
		assert_int_equal(due->count, 1);
		report(f, &due->items[0], 500, "");
	}
	struct cl_json *read = parse(f, send_as(f, "ehr", "GET", "/fhir/Subscription/s", "", 200).body);
	struct cl_str error = cl_json_get_text(read, "error");
	assert_true(cl_str_is(cl_json_get_text(read, "status"), "error"));
	assert_non_null(memmem(error.p, error.n, "16 attempts", 11));
	observation(f, "five", "final", "", 201);
	assert_int_equal(outbox(f)->count, 0);
	int64_t dead = 0;
	assert_int_equal(
	        cl_store_outbox_count(f->organization->store, CL_STR("subscription:s"), CL_STR("dead"), &dead, &e), 0);
	assert_int_equal(dead, 3);
	/* An administrator has it asked again; what had been given up follows, in order. */
	send_as(f, "", "CONSOLE", "test", "{\"command\":\"outbox replay\",\"arguments\":{\"number\":\"2\"}}", 422);
	struct cl_response answer = send_as(f, "", "CONSOLE", "test",
	                                    "{\"command\":\"subscription restart\",\"arguments\":{\"id\":\"s\"}}", 200);
	assert_non_null(memmem(answer.body.p, answer.body.n, "3 notifications", 15));
	assert_int_equal(deliver_all(f), 4);
	assert_true(cl_str_is(status_of(f, "s"), "active"));
	/* 410 is for ever. */
	observation(f, "six", "final", "", 201);
	report(f, &outbox(f)->items[0], 410, "");
	assert_true(cl_str_is(status_of(f, "s"), "error"));
	/* A handshake that is refused. */
	put(f, "ehr", "t", subscription(f, "t", "requested", "Observation", PING), 201);
	report(f, &outbox(f)->items[0], 404, "");
	assert_true(cl_str_is(status_of(f, "t"), "error"));
}

static void its_end_comes(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	char text[700];
	snprintf(text, sizeof text, "%s", subscription(f, "s", "requested", "Observation", PING));
	strcpy(strrchr(text, '}'), ",\"end\":\"2026-11-03T12:00:00Z\"}");
	put(f, "ehr", "s", text, 201);
	deliver_all(f);
	observation(f, "one", "final", "", 201);
	assert_int_equal(deliver_all(f), 1);
	observation(f, "two", "final", "", 201);
	assert_true(cl_organization_advance(f->organization, f->clock.now + 2 * CL_DAY, &e) >= 1);
	assert_true(cl_str_is(status_of(f, "s"), "off"));
	assert_int_equal(outbox(f)->count, 0);
	observation(f, "three", "final", "", 201);
	assert_int_equal(outbox(f)->count, 0);
}

static void a_change_that_is_taken_back_is_not_told(void **state)
{
	struct fixture *f = *state;
	activate(f, "ehr", "s", "Observation", PING);
	/* The second entry fails the transaction; so does the Subscription in it. */
	send_as(f, "ehr", "POST", "/fhir",
	        cl_arena_printf(f->arena,
	                        "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"resource\":%s,"
	                        "\"request\":{\"method\":"
	                        "\"PUT\",\"url\":\"Subscription/"
	                        "t\"}},{\"resource\":{\"resourceType\":\"Observation\",\"id\":\"x\",\"status\":"
	                        "\"final\",\"code\":{\"text\":\"x\"}},\"request\":{\"method\":\"PUT\",\"url\":"
	                        "\"Observation/x\"}},{\"resource\":"
	                        "{\"resourceType\":\"Observation\",\"status\":\"nonsense\"},\"request\":{\"method\":"
	                        "\"POST\",\"url\":"
	                        "\"Observation\"}}]}",
	                        subscription(f, "t", "requested", "Observation", PING))
	                .p,
	        422);
	assert_int_equal(outbox(f)->count, 0);
	observation(f, "one", "final", "", 201);
	assert_int_equal(outbox(f)->count, 1);
	send_as(f, "ehr", "DELETE", "/fhir/Subscription/s", "", 204);
	assert_int_equal(deliver_all(f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_subscription_is_asked_then_told, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(what_may_not_be_asked_for_is_refused, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(secrets_are_shown_to_nobody, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(rights_are_looked_at_when_it_is_sent, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(told_is_what_a_search_finds, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(letters_end, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(its_end_comes, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_change_that_is_taken_back_is_not_told, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
