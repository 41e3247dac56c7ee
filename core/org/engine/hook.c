/* hook.c: the letters of subscriptions (FHIR R4 section 2.46; signed as Standard Webhooks 1.0 says). */
#include "org/engine/hook.h"
#include "base/date.h"
#include "base/destination.h"
#include "base/hash.h"
#include "org/fhir/types.h"
#include "org/flow/subscription.h"
#include <stdio.h>

#define CL_HOOK_ATTEMPTS 16 /* of one notification: four and a half hours; then the subscription is in error */
#define CL_HOOK_HANDSHAKES 10 /* attempts: four minutes */
#define CL_HOOK_FAILURES 10 /* notifications refused for good in a row, after which it is in error */
#define CL_HOOK_LONGEST_WAIT CL_HOUR /* that a receiver may ask for */

/* ---- what is sent ---- */

static void add_header(struct cl_arena *arena, struct cl_json *headers, const char *name, struct cl_str value)
{
	cl_json_append_text(arena, headers, cl_arena_printf(arena, "%s: %.*s", name, CL_STR_ARGS(value)));
}

/* "<id>.<timestamp>.<body>" under the subscription's key. */
static struct cl_str sign(struct cl_interaction_context *context, struct cl_str id, struct cl_str key, int64_t seconds,
                          struct cl_str body)
{
	uint8_t secret[32], digest[CL_SHA256_SIZE];
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_buf_printf(&text, "%.*s.%lld.", CL_STR_ARGS(key), (long long)seconds);
	cl_buf_add_str(&text, body);
	cl_subscription_key(context->store, id, secret);
	cl_hmac_sha256(secret, sizeof secret, cl_buf_str(&text), digest);
	cl_buf_free(&text);
	return cl_base64(context->arena, (struct cl_str){(const char *)digest, sizeof digest});
}

static struct cl_json *append_parameter(struct cl_arena *arena, struct cl_json *list, const char *name,
                                        const char *kind, struct cl_str value)
{
	struct cl_json *parameter = cl_json_append(arena, list);
	*parameter = *cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, parameter, "name", cl_str_of(name));
	if (kind && !strcmp(kind, "valueReference"))
		cl_json_set_text(arena, cl_json_set_object(arena, parameter, kind), "reference", value);
	else if (kind)
		cl_json_set_text(arena, parameter, kind, value);
	return parameter;
}

/* The id-only notification of the Subscriptions R5 Backport for R4: a history Bundle with the subscription's status. */
static struct cl_str status_bundle(struct cl_interaction_context *context, const struct cl_stored_subscription *row,
                                   const struct cl_outgoing *letter, struct cl_str focus)
{
	struct cl_arena *arena = context->arena;
	uint8_t hash[CL_SHA256_SIZE];
	char hex[33];
	cl_sha256_of(letter->key, hash);
	cl_hex(hash, 16, hex);
	struct cl_str reference = cl_arena_printf(arena, "Subscription/%.*s", CL_STR_ARGS(row->id));
	struct cl_str count = cl_arena_printf(arena, "%lld", (long long)(row->delivered + (focus.n > 0)));
	struct cl_str created = cl_instant_text(arena, letter->created);
	struct cl_json *bundle = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, bundle, "resourceType", CL_STR("Bundle"));
	cl_json_set_text(arena, bundle, "type", CL_STR("history"));
	cl_json_set_text(arena, bundle, "timestamp", created);
	struct cl_json *entry = cl_json_append(arena, cl_json_set_array(arena, bundle, "entry"));
	*entry = *cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, entry, "fullUrl",
	                 cl_arena_printf(arena, "urn:uuid:%.8s-%.4s-4%.3s-8%.3s-%.12s", hex, hex + 8, hex + 13,
	                                 hex + 17, hex + 20));
	struct cl_json *status = cl_json_set_object(arena, entry, "resource");
	cl_json_set_text(arena, status, "resourceType", CL_STR("Parameters"));
	struct cl_json *list = cl_json_set_array(arena, status, "parameter");
	append_parameter(arena, list, "subscription", "valueReference", reference);
	append_parameter(arena, list, "status", "valueCode", row->state);
	append_parameter(arena, list, "type", "valueCode",
	                 focus.n ? CL_STR("event-notification") : CL_STR("handshake"));
	append_parameter(arena, list, "events-since-subscription-start", "valueString", count);
	if (focus.n) {
		struct cl_json *event = append_parameter(arena, list, "notification-event", NULL, CL_STR_NONE);
		struct cl_json *parts = cl_json_set_array(arena, event, "part");
		append_parameter(arena, parts, "event-number", "valueString", count);
		append_parameter(arena, parts, "timestamp", "valueInstant", created);
		append_parameter(arena, parts, "focus", "valueReference", focus);
	}
	struct cl_json *request = cl_json_set_object(arena, entry, "request");
	cl_json_set_text(arena, request, "method", CL_STR("GET"));
	cl_json_set_text(arena, request, "url", cl_arena_printf(arena, "%.*s/$status", CL_STR_ARGS(reference)));
	cl_json_set_text(arena, cl_json_set_object(arena, entry, "response"), "status", CL_STR("200"));
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, bundle);
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

/* [endpoint]/Task/x: a full resource is sent as the update of a FHIR client. */
static struct cl_str below(struct cl_arena *arena, struct cl_str endpoint, struct cl_str reference)
{
	struct cl_destination destination;
	if (cl_destination_read(endpoint, &destination, NULL))
		return endpoint;
	size_t end = endpoint.n - (destination.query.n ? destination.query.n + 1 : 0);
	struct cl_str before = {endpoint.p, end};
	while (before.n && before.p[before.n - 1] == '/')
		before.n--;
	return cl_arena_printf(arena, "%.*s/%.*s%.*s", CL_STR_ARGS(before), CL_STR_ARGS(reference),
	                       (int)(endpoint.n - end), endpoint.p + end);
}

static void write_entry(struct cl_interaction_context *context, const struct cl_stored_subscription *row,
                        const struct cl_outgoing *letter, struct cl_str event, struct cl_str reference,
                        struct cl_str resource, struct cl_json *entry)
{
	struct cl_arena *arena = context->arena;
	const struct cl_subscription_facts *facts = &context->rules->facts->subscriptions;
	bool full = cl_str_is(row->payload, "full-resource") && resource.n;
	struct cl_str body = full                                 ? resource
	                     : cl_str_is(row->payload, "id-only") ? status_bundle(context, row, letter, reference)
	                                                          : CL_STR_NONE;
	int64_t seconds = context->now / CL_SECOND;
	struct cl_json *kept;
	struct cl_err ignored = {0};
	cl_json_set_text(arena, entry, "url", full ? below(arena, row->endpoint, reference) : row->endpoint);
	cl_json_set_text(arena, entry, "method", full ? CL_STR("PUT") : CL_STR("POST"));
	cl_json_set_text(arena, entry, "body", body);
	cl_json_set_boolean(arena, entry, "hook", true);
	cl_json_set_boolean(arena, entry, "http", facts->http);
	cl_json_set_boolean(arena, entry, "private_addresses", facts->private_addresses);
	struct cl_json *headers = cl_json_set_array(arena, entry, "headers");
	if (body.n)
		add_header(arena, headers, "Content-Type", CL_STR("application/fhir+json"));
	add_header(arena, headers, "webhook-id", letter->key);
	add_header(arena, headers, "webhook-timestamp", cl_arena_printf(arena, "%lld", (long long)seconds));
	add_header(arena, headers, "webhook-signature",
	           cl_arena_printf(arena, "v1,%.*s", CL_STR_ARGS(sign(context, row->id, letter->key, seconds, body))));
	add_header(arena, headers, "careloop-event", event);
	add_header(arena, headers, "careloop-subscription",
	           cl_arena_printf(arena, "Subscription/%.*s", CL_STR_ARGS(row->id)));
	if (!cl_json_parse(arena, row->headers, NULL, &kept, &ignored) && kept->kind == CL_JSON_ARRAY)
		for (uint32_t i = 0; i < kept->count; i++)
			cl_json_append_text(arena, headers, cl_json_text(&kept->items[i]));
}

static void withhold(struct cl_interaction_context *context, struct cl_json *entry, const char *why,
                     enum cl_hook_verdict *verdict)
{
	cl_json_set_text(context->arena, entry, "withheld", cl_str_of(why));
	*verdict = CL_HOOK_WITHHOLD;
}

/* The letter names a version; its principal must be allowed to see that one and what the resource says now. */
static int read_event(struct cl_interaction_context *context, const struct cl_stored_subscription *row,
                      const struct cl_json *body, struct cl_str *resource, const char **refused, struct cl_err *e)
{
	struct cl_version current, version;
	struct cl_str rule;
	struct cl_err denied = {0};
	int64_t number = 0;
	uint16_t type = cl_fhir_type(cl_json_get_text(body, "type"));
	struct cl_str id = cl_json_get_text(body, "id");
	const struct cl_principal *principal = cl_access_principal(context->rules->access, row->principal);
	*refused = "who made the subscription is no principal any more";
	if (!principal)
		return 0;
	cl_json_integer(cl_json_get(body, "version"), &number);
	int code = cl_store_get(context->store, context->arena, type, id, &current, e);
	if (!code)
		code = cl_store_get_version(context->store, context->arena, type, id, number, &version, e);
	if (code)
		return code;
	*refused = "the resource was deleted";
	if (current.operation == CL_OP_DELETE)
		return 0;
	*refused = "who made the subscription may not read the resource now";
	code = cl_interaction_may_see(context->rules, context->store, context->arena, principal, CL_ACCESS_READ,
	                              &current, &version, &rule, &denied);
	if (code == CL_E_FORBIDDEN)
		return 0;
	if (code) {
		*e = denied;
		return code;
	}
	*refused = NULL;
	*resource = version.body;
	return 0;
}

int cl_hook_letter(struct cl_interaction_context *context, const struct cl_outgoing *letter, struct cl_json *entry,
                   enum cl_hook_verdict *verdict, struct cl_err *e)
{
	struct cl_stored_subscription row;
	struct cl_json *body;
	struct cl_str resource = CL_STR_NONE;
	struct cl_err absent = {0};
	const char *refused = NULL;
	bool handshake;
	struct cl_arena *arena = context->arena;
	*verdict = CL_HOOK_SEND;
	cl_json_set_integer(arena, entry, "number", letter->number);
	cl_json_set_integer(arena, entry, "attempts", letter->attempts);
	struct cl_str id = cl_subscription_of(letter->destination, &handshake);
	int code = cl_store_subscription_get(context->store, arena, id, &row, &absent);
	if (!code)
		code = cl_json_parse(arena, letter->body, NULL, &body, e);
	if (code && code != CL_E_NOT_FOUND)
		return code;
	bool requested = !code && cl_str_is(row.state, "requested");
	if (code || (row.until && row.until <= context->now) || (!requested && !cl_str_is(row.state, "active")) ||
	    (handshake && !requested)) {
		withhold(context, entry, "the subscription does not run any more", verdict);
		return 0;
	}
	if (!handshake && requested) {
		*verdict = CL_HOOK_LATER;
		return 0;
	}
	if (handshake) {
		if (!cl_access_principal(context->rules->access, row.principal))
			withhold(context, entry, "who made the subscription is no principal any more", verdict);
		else
			write_entry(context, &row, letter, CL_STR("handshake"), CL_STR_NONE, CL_STR_NONE, entry);
		return 0;
	}
	code = read_event(context, &row, body, &resource, &refused, e);
	if (code)
		return code;
	if (refused) {
		withhold(context, entry, refused, verdict);
		return 0;
	}
	struct cl_str reference = cl_arena_printf(arena, "%.*s/%.*s", CL_STR_ARGS(cl_json_get_text(body, "type")),
	                                          CL_STR_ARGS(cl_json_get_text(body, "id")));
	write_entry(context, &row, letter, cl_json_get_text(body, "event"), reference, resource, entry);
	return 0;
}

/* ---- what became of it ---- */

cl_instant cl_courier_back_off(int64_t attempts)
{
	int shift = attempts < 16 ? (int)attempts : 16;
	cl_instant wait = ((cl_instant)1 << shift) * (CL_SECOND / 4);
	return wait > 4 * CL_HOUR ? 4 * CL_HOUR : wait;
}

/* Up to a fifth more or less, so that those who failed together do not come back together. From the key, so that a replay
 * finds the same. */
static cl_instant jitter(const struct cl_outgoing *letter, int64_t attempts, cl_instant wait)
{
	uint8_t hash[CL_SHA256_SIZE];
	char text[400];
	int n = snprintf(text, sizeof text, "%.*s#%lld", CL_STR_ARGS(letter->key), (long long)attempts);
	cl_sha256_of((struct cl_str){text, n < (int)sizeof text ? (size_t)n : sizeof text - 1}, hash);
	return wait + (wait / 5) * (hash[0] - 128) / 128;
}

static int again(struct cl_interaction_context *context, const struct cl_outgoing *letter,
                 const struct cl_hook_report *report, int64_t attempts, struct cl_err *e)
{
	cl_instant wait = jitter(letter, attempts, cl_courier_back_off(attempts));
	cl_instant asked = report->retry_after * CL_SECOND;
	if (asked > CL_HOOK_LONGEST_WAIT)
		asked = CL_HOOK_LONGEST_WAIT;
	return cl_store_outbox_update(context->store, letter->number, CL_STR("waiting"), (int)attempts,
	                              context->now + (wait > asked ? wait : asked), report->problem, e);
}

/* What left the house is accounted for, by whose right and to whom. */
static int audit_disclosure(struct cl_interaction_context *context, const struct cl_stored_subscription *row,
                            const struct cl_json *body, struct cl_err *e)
{
	struct cl_audit_record record = {
	        .at = context->now,
	        .principal = row->principal,
	        .action = CL_STR("notify"),
	        .target = cl_arena_printf(context->arena, "%.*s/%.*s", CL_STR_ARGS(cl_json_get_text(body, "type")),
	                                  CL_STR_ARGS(cl_json_get_text(body, "id"))),
	        .rule = cl_arena_printf(context->arena, "Subscription/%.*s", CL_STR_ARGS(row->id)),
	        .outcome = CL_STR("ok"),
	        .request = cl_request_hex(context->arena, context->request),
	};
	return cl_audit_append(context->store, &record, e);
}

static int settle_success(struct cl_interaction_context *context, struct cl_stored_subscription *row,
                          const struct cl_outgoing *letter, const struct cl_json *body, bool handshake,
                          struct cl_err *e)
{
	int64_t version = 0;
	/* The table counts it; its row would only fill the file. */
	int code = cl_store_outbox_remove(context->store, letter->number, e);
	if (code || !row->id.n)
		return code;
	if (!handshake) {
		code = cl_store_subscription_note(context->store, row->id, true, context->now, CL_STR_NONE, e);
		return code ? code : audit_disclosure(context, row, body, e);
	}
	cl_json_integer(cl_json_get(body, "version"), &version);
	if (!cl_str_is(row->state, "requested") || version > row->version)
		return 0;
	/* Notifications of an earlier time may have waited for this. */
	context->unit->outbox_changed = true;
	return cl_subscription_set(context->unit, row, "active", CL_STR_NONE, e);
}

static bool is_final(int64_t status)
{
	return status >= 300 && status < 500 && status != 401 && status != 403 && status != 408 && status != 421 &&
	       status != 425 && status != 429;
}

static int settle_failure(struct cl_interaction_context *context, struct cl_stored_subscription *row,
                          const struct cl_outgoing *letter, const struct cl_hook_report *report, bool handshake,
                          struct cl_err *e)
{
	int64_t attempts = letter->attempts + 1;
	bool final = is_final(report->status);
	bool tired = attempts >= (handshake ? CL_HOOK_HANDSHAKES : CL_HOOK_ATTEMPTS);
	if (!final && !tired)
		return again(context, letter, report, attempts, e);
	int code = cl_store_outbox_update(context->store, letter->number, CL_STR("dead"), (int)attempts, context->now,
	                                  report->problem, e);
	if (!code && row->id.n && !handshake)
		code = cl_store_subscription_note(context->store, row->id, false, context->now, report->problem, e);
	if (code || !row->id.n)
		return code;
	/* 410 Gone is for ever (RFC 9110 section 15.5.11). */
	bool off = tired || handshake || report->status == 410 || row->failures + 1 >= CL_HOOK_FAILURES;
	if (!off) {
		context->unit->outbox_changed = true;
		return 0;
	}
	struct cl_str why =
	        cl_arena_printf(context->arena, "%s after %lld attempt%s: %.*s",
	                        handshake ? "the endpoint did not accept the handshake" : "notifications failed",
	                        (long long)attempts, attempts == 1 ? "" : "s", CL_STR_ARGS(report->problem));
	return cl_subscription_set(context->unit, row, "error", why, e);
}

int cl_hook_settle(struct cl_interaction_context *context, const struct cl_outgoing *letter,
                   const struct cl_hook_report *report, struct cl_err *e)
{
	struct cl_stored_subscription row;
	struct cl_json *body;
	struct cl_err problem = {0};
	bool handshake;
	/* Settled meanwhile: its subscription was turned off while it was on its way. */
	if (!cl_str_is(letter->state, "waiting"))
		return 0;
	struct cl_str id = cl_subscription_of(letter->destination, &handshake);
	int code = cl_store_subscription_get(context->store, context->arena, id, &row, &problem);
	if (code == CL_E_NOT_FOUND)
		row = (struct cl_stored_subscription){0};
	else if (code)
		return cl_fail(e, code, "%s", problem.message);
	code = cl_json_parse(context->arena, letter->body, NULL, &body, e);
	if (code)
		return code;
	if (report->withheld) {
		context->unit->outbox_changed = true;
		return cl_store_outbox_update(context->store, letter->number, CL_STR("withheld"), letter->attempts,
		                              context->now, report->problem, e);
	}
	return report->status >= 200 && report->status < 300
	               ? settle_success(context, &row, letter, body, handshake, e)
	               : settle_failure(context, &row, letter, report, handshake, e);
}
