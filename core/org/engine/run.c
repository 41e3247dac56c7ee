/* run.c: one request inside the writer's transaction: who, may they, was it answered before, do it, react, remember. */
#include "org/engine/run.h"
#include "base/hash.h"
#include "base/log.h"
#include "org/engine/console.h"
#include "org/engine/subscribe.h"
#include "org/engine/token.h"
#include "org/fhir/types.h"
#include <stdio.h>

#define CL_TARGET_SHOWN 200

static struct cl_watch_subject subject_of(struct cl_str key)
{
	uint8_t hash[CL_SHA256_SIZE];
	struct cl_watch_subject subject;
	cl_sha256_of(key, hash);
	memcpy(subject.bytes, hash, sizeof subject.bytes);
	return subject;
}

void cl_run_watch(struct cl_organization *organization, enum cl_watch_kind kind, struct cl_str subject,
                  const char *what, struct cl_str detail)
{
	struct cl_watch *watch = organization->watch;
	watch->subject = subject_of(subject);
	watch->plugin[0] = 0;
	snprintf(watch->what, sizeof watch->what, "%s %.*s", what, CL_STR_ARGS(detail));
	atomic_store(&watch->kind, (uint32_t)kind);
}

void cl_run_watch_end(struct cl_organization *organization)
{
	atomic_store(&organization->watch->kind, (uint32_t)CL_WATCH_IDLE);
}

bool cl_run_quarantined(const struct cl_organization *organization, struct cl_str key)
{
	uint32_t count = atomic_load(&organization->watch->quarantine_count);
	if (!count)
		return false;
	struct cl_watch_subject subject = subject_of(key);
	for (uint32_t i = 0; i < count && i < CL_WATCH_QUARANTINE; i++)
		if (!memcmp(&organization->watch->quarantine[i], &subject, sizeof subject))
			return true;
	return false;
}

int cl_run_reactions(struct cl_organization *organization, struct cl_unit *unit, struct cl_err *e)
{
	size_t handled = 0;
	for (struct cl_change *change = unit->changes; change; change = change->next) {
		if (++handled > CL_UNIT_CHANGES)
			return cl_fail(e, CL_E_LIMIT, "one request may change at most %d resources", CL_UNIT_CHANGES);
		if (change->depth >= CL_UNIT_DEPTH)
			return cl_fail(
			        e, CL_E_PLUGIN,
			        "handlers of handlers of '%.*s' go more than %d deep; do two plugins answer "
			        "each other?",
			        CL_STR_ARGS(change->workflow.n ? change->workflow : cl_fhir_type_name(change->type)),
			        CL_UNIT_DEPTH);
		unit->depth = change->depth + 1;
		unit->origin = change->origin;
		int code = cl_lua_react(organization->rules->lua, unit, change, e);
		unit->depth = 0;
		unit->origin = 0;
		if (code)
			return code;
	}
	return cl_subscribers_tell(organization, unit, e);
}

struct cl_str cl_request_hex(struct cl_arena *arena, const struct cl_request *request)
{
	char hex[33];
	cl_hex(request->id, sizeof request->id, hex);
	return cl_arena_copy(arena, (struct cl_str){hex, 32});
}

/* ---- answers given before (pitfalls 4) ---- */

static void request_hash(const struct cl_request *request, uint8_t out[CL_SHA256_SIZE])
{
	struct cl_sha256 hash;
	cl_sha256_init(&hash);
	cl_sha256_add(&hash, request->method.p, request->method.n);
	cl_sha256_add(&hash, "\n", 1);
	cl_sha256_add(&hash, request->target.p, request->target.n);
	cl_sha256_add(&hash, "\n", 1);
	cl_sha256_add(&hash, request->body.p, request->body.n);
	cl_sha256_done(&hash, out);
}

static void restore_headers(struct cl_arena *arena, struct cl_str lines, struct cl_response *response)
{
	while (lines.n) {
		const char *end = memchr(lines.p, '\n', lines.n);
		size_t n = end ? (size_t)(end - lines.p) : lines.n;
		const char *colon = memchr(lines.p, ':', n);
		if (colon) {
			struct cl_str name = {lines.p, (size_t)(colon - lines.p)};
			struct cl_str value = {colon + 2, n - name.n - 2};
			cl_response_add_header(arena, response, cl_arena_cstring(arena, name),
			                       cl_arena_copy(arena, value));
		}
		lines = end ? (struct cl_str){end + 1, lines.n - n - 1} : CL_STR_NONE;
	}
}

/* True when the request was answered before (or must be refused for its key): the response is filled. */
static bool answered_before(struct cl_organization *organization, struct cl_arena *arena, struct cl_str principal,
                            struct cl_str key, const struct cl_request *request, struct cl_response *response)
{
	struct cl_stored_answer answer;
	struct cl_err problem = {0};
	uint8_t hash[CL_SHA256_SIZE];
	int code = cl_store_answer_get(organization->store, arena, principal, key, &answer, &problem);
	if (code == CL_E_NOT_FOUND)
		return false;
	if (!code && principal.n) {
		request_hash(request, hash);
		if (memcmp(hash, answer.body_hash, sizeof hash))
			code = cl_fail(&problem, CL_E_RULE,
			               "this Idempotency-Key was used for another request; use a new key");
	}
	struct cl_version version;
	if (!code && answer.type)
		code = cl_store_get_version(organization->store, arena, answer.type, answer.id, answer.version,
		                            &version, &problem);
	if (code) {
		cl_interaction_answer_error(arena, NULL, &problem, response);
		return true;
	}
	*response = (struct cl_response){.status = answer.status, .body = answer.type ? version.body : answer.body};
	restore_headers(arena, answer.headers, response);
	return true;
}

static int keep_answer(struct cl_interaction_context *context, struct cl_str principal, struct cl_str key,
                       struct cl_err *e)
{
	struct cl_arena *arena = context->arena;
	struct cl_buf headers;
	cl_buf_init(&headers, 0);
	for (size_t i = 0; i < context->response->header_count; i++)
		cl_buf_printf(&headers, "%.*s: %.*s\n", CL_STR_ARGS(context->response->headers[i].name),
		              CL_STR_ARGS(context->response->headers[i].value));
	struct cl_stored_answer answer = {
	        .principal = principal,
	        .key = key,
	        .at = context->now,
	        .status = context->response->status,
	        .headers = cl_arena_copy(arena, cl_buf_str(&headers)),
	};
	cl_buf_free(&headers);
	if (principal.n)
		request_hash(context->request, answer.body_hash);
	/* With "Prefer: return=OperationOutcome" the body is another. */
	if (context->answer && context->response->body.n && context->response->body.p == context->answer->body.p) {
		answer.type = context->answer->type;
		answer.id = context->answer->id;
		answer.version = context->answer->version;
	} else {
		answer.body = context->response->body;
	}
	return cl_store_answer_put(context->store, &answer, e);
}

#define CL_KEY_LONGEST 255

static struct cl_str raw_id(const struct cl_request *request)
{
	return (struct cl_str){(const char *)request->id, sizeof request->id};
}

bool cl_run_answered_before(struct cl_organization *organization, struct cl_arena *arena,
                            const struct cl_request *request, struct cl_response *response)
{
	return request->resent && answered_before(organization, arena, CL_STR_NONE, raw_id(request), request, response);
}

/* A key is the principal's, but a narrower token does not get the answer that a wider one was given. */
static struct cl_str key_holder(const struct cl_interaction_context *context)
{
	const struct cl_principal *principal = context->principal;
	return principal->scopes ? cl_arena_printf(context->arena, "%.*s %.*s", CL_STR_ARGS(principal->name),
	                                           CL_STR_ARGS(principal->scope))
	                         : principal->name;
}

/* Was the request answered before, by its own id or by the client's key? Then the response is filled. */
static bool answered_already(struct cl_interaction_context *context)
{
	struct cl_organization *organization = context->organization;
	const struct cl_request *request = context->request;
	struct cl_str client_key = cl_request_header(request, "idempotency-key");
	struct cl_err problem = {0};
	if (cl_run_answered_before(organization, context->arena, request, context->response))
		return true;
	if (client_key.n > CL_KEY_LONGEST) {
		cl_fail(&problem, CL_E_INVALID, "an Idempotency-Key has at most %d bytes", CL_KEY_LONGEST);
		cl_interaction_answer_error(context->arena, NULL, &problem, context->response);
		return true;
	}
	return client_key.n && answered_before(organization, context->arena, key_holder(context), client_key, request,
	                                       context->response);
}

static int keep_answers(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_str client_key = cl_request_header(context->request, "idempotency-key");
	int code = keep_answer(context, CL_STR_NONE, raw_id(context->request), e);
	return code || !client_key.n ? code : keep_answer(context, key_holder(context), client_key, e);
}

/* ---- the input event ---- */

static void add_header(struct cl_arena *arena, struct cl_json *headers, const struct cl_request *request,
                       const char *name)
{
	struct cl_str value = cl_request_header(request, name);
	if (value.n)
		cl_json_set_text(arena, headers, name, value);
}

/* Creates and updates whose version is the input itself keep it by reference. Tasks are rewritten by their machines,
 * and a Subscription's status and secrets by the server. */
static bool input_by_reference(const struct cl_route *route)
{
	return (route->kind == CL_ROUTE_CREATE || (route->kind == CL_ROUTE_UPDATE && route->id.n)) &&
	       route->type != CL_TYPE_TASK && route->type != CL_TYPE_SUBSCRIPTION;
}

/* Administrators' questions and the courier's are asked on the writer but change nothing: they are no events. Nor is $secret. */
static bool changes_something(const struct cl_interaction_context *context)
{
	if (context->route->kind == CL_ROUTE_CONSOLE)
		return cl_console_changes(context->arena, context->request->body);
	if (context->route->kind == CL_ROUTE_REPLY)
		return cl_str_is(context->request->method, "POST");
	if (context->route->kind == CL_ROUTE_OPERATION)
		return !cl_str_is(context->route->operation, "$secret");
	return context->route->kind != CL_ROUTE_COURIER || !cl_str_is(context->request->target, "/outbox");
}

static int append_input(struct cl_interaction_context *context, struct cl_str key, struct cl_stored_event *event,
                        struct cl_err *e)
{
	struct cl_arena *arena = context->arena;
	struct cl_json *detail = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, detail, "method", context->request->method);
	cl_json_set_text(arena, detail, "target", context->request->target);
	cl_json_set_text(arena, detail, "base", context->request->base);
	if (input_by_reference(context->route))
		cl_json_set_boolean(arena, detail, "by_reference", true);
	struct cl_json *headers = cl_json_set_object(arena, detail, "headers");
	add_header(arena, headers, context->request, "if-match");
	add_header(arena, headers, context->request, "if-none-exist");
	if (!input_by_reference(context->route)) {
		/* How the body is to be read, when it is no resource as such. */
		if (!cl_format_is(cl_request_header(context->request, "content-type"), "application/fhir+json"))
			add_header(arena, headers, context->request, "content-type");
		add_header(arena, headers, context->request, "x-security-context");
	}
	if (context->principal->scopes)
		cl_json_set_text(arena, detail, "scope", context->principal->scope);
	if (context->principal->kind.n && cl_str_is(context->principal->kind, "partner"))
		add_header(arena, headers, context->request, "idempotency-key");
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, detail);
	*event = (struct cl_stored_event){
	        .at = context->now,
	        .kind = CL_STR("request"),
	        .actor = context->principal->name,
	        .key = key,
	        .detail = cl_arena_copy(arena, cl_buf_str(&text)),
	        .input = input_by_reference(context->route) ? CL_STR_NONE : context->request->body,
	        .outcome = CL_STR("ok"),
	        .plugins = context->rules->catalog->hash,
	        .zone_data = cl_str_of(cl_zone_data_version()),
	};
	cl_buf_free(&text);
	return cl_store_event_append(context->store, event, e);
}

/* ---- running ---- */

static int dispatch(struct cl_interaction_context *context, struct cl_err *e)
{
	switch (context->route->kind) {
	case CL_ROUTE_CREATE:
		return cl_interaction_create(context, e);
	case CL_ROUTE_UPDATE:
	case CL_ROUTE_PATCH:
		return cl_interaction_update(context, e);
	case CL_ROUTE_DELETE:
		return cl_interaction_delete(context, e);
	case CL_ROUTE_OPERATION:
		return cl_interaction_operation(context, e);
	case CL_ROUTE_CONSOLE:
		return cl_interaction_console(context, e);
	case CL_ROUTE_COURIER:
		return cl_interaction_courier(context, e);
	case CL_ROUTE_REPLY:
		return cl_interaction_reply(context, e);
	case CL_ROUTE_BUNDLE: {
		struct cl_json *bundle;
		int code = cl_interaction_body(context, &bundle, e);
		return code ? code : cl_interaction_transaction(context, bundle, e);
	}
	default:
		return cl_fail(e, CL_E_INTERNAL, "route %d does not write", context->route->kind);
	}
}

static void audit_refusal(struct cl_interaction_context *context, const struct cl_err *problem)
{
	struct cl_err ignored = {0};
	bool console = context->route->kind == CL_ROUTE_CONSOLE && context->principal->console;
	struct cl_audit_record record = {
	        .at = context->now,
	        .principal = console ? cl_arena_printf(context->arena, "console:%.*s",
	                                               CL_STR_ARGS(context->request->credential.name))
	                             : context->principal->name,
	        .action = console ? CL_STR("console") : CL_STR("denied"),
	        .target = context->target.n
	                          ? context->target
	                          : cl_arena_printf(context->arena, "%.*s %.*s", CL_STR_ARGS(context->request->method),
	                                            CL_STR_ARGS(cl_fhir_type_name(context->route->type))),
	        .rule = context->rule,
	        .outcome = cl_str_of(cl_code_name(problem->code)),
	        .request = cl_request_hex(context->arena, context->request),
	};
	if (cl_audit_append(context->store, &record, &ignored))
		cl_log(CL_LOG_ERROR, "audit-failed", "code=%s", cl_code_name(ignored.code));
}

static void fail_request(struct cl_interaction_context *context, struct cl_outcome *out, struct cl_err *problem)
{
	struct cl_err e = {0};
	struct cl_store *store = context->store;
	if (!cl_store_in_transaction(store)) {
		out->lost = true;
	} else if (cl_store_rollback_to(store, &e) || cl_store_release(store, &e)) {
		out->lost = true;
	} else if (problem->code == CL_E_FORBIDDEN || problem->code == CL_E_UNAUTHENTICATED ||
	           context->route->kind == CL_ROUTE_CONSOLE) {
		/* What administrators try is in the log even if it fails. */
		audit_refusal(context, problem);
		out->lost = !cl_store_in_transaction(store);
	}
	if (problem->code == CL_E_PLUGIN || problem->code == CL_E_INTERNAL)
		cl_log(CL_LOG_ERROR, "request-failed", "code=%s where=%s", cl_code_name(problem->code), problem->where);
	out->changes = NULL;
	if (context->route->kind == CL_ROUTE_REPLY)
		cl_reply_answer_error(context->arena, problem, &out->response);
	else
		cl_interaction_answer_error(context->arena, context->issues, problem, &out->response);
}

void cl_run_note_pending(struct cl_organization *organization, const struct cl_change *changes)
{
	uint16_t report = cl_fhir_type(CL_STR("MeasureReport"));
	for (const struct cl_change *change = changes; change; change = change->next)
		organization->measures_pending |= change->type == report && cl_str_is(change->status, "pending");
}

static void run_write(struct cl_organization *organization, struct cl_interaction_context *context, struct cl_str key,
                      bool keep, struct cl_outcome *out)
{
	struct cl_store *store = organization->store;
	struct cl_arena *arena = context->arena;
	struct cl_err problem = {0};
	struct cl_unit unit;
	struct cl_stored_event event = {0};
	bool changes = changes_something(context);
	keep = keep && changes;
	if (keep && answered_already(context))
		return;
	if (cl_run_quarantined(organization, key)) {
		cl_fail(&problem, CL_E_INTERNAL,
		        "this request crashed the organization's process twice and is not tried again");
		cl_interaction_answer_error(arena, NULL, &problem, &out->response);
		return;
	}
	cl_run_watch(organization, CL_WATCH_REQUEST, key, "request", context->request->method);
	int code = cl_store_savepoint(store, &problem);
	if (!code && changes)
		code = append_input(context, key, &event, &problem);
	if (!code) {
		cl_unit_begin(&unit, store, arena, context->rules->catalog, context->rules->facts,
		              cl_lua_script(organization->rules->lua), context->now);
		unit.actor = cl_access_actor(context->principal);
		unit.request = cl_request_hex(arena, context->request);
		unit.cause = event.sequence;
		unit.key = key;
		context->unit = &unit;
		cl_lua_unit_begin(organization->rules->lua, &unit);
		code = dispatch(context, &problem);
	}
	if (!code)
		code = cl_run_reactions(organization, &unit, &problem);
	if (!code && keep)
		code = keep_answers(context, &problem);
	if (!code)
		code = cl_store_release(store, &problem);
	cl_run_watch_end(organization);
	if (code) {
		fail_request(context, out, &problem);
		return;
	}
	out->changes = unit.changes;
	out->modified = context->modified;
	cl_run_note_pending(organization, unit.changes);
	organization->timers_changed |= unit.timers_changed;
	organization->outbox_changed |= unit.outbox_changed;
}

static bool is_batch(struct cl_interaction_context *context, struct cl_json **bundle, struct cl_err *problem)
{
	return context->route->kind == CL_ROUTE_BUNDLE && !cl_interaction_body(context, bundle, problem) &&
	       cl_str_is(cl_json_get_text(*bundle, "resourceType"), "Bundle") &&
	       cl_str_is(cl_json_get_text(*bundle, "type"), "batch");
}

/* The entries share the batch's request id, so the batch as a whole is remembered by it: sent again, none runs twice. */
static void run_batch(struct cl_interaction_context *context, struct cl_str key, struct cl_json *bundle, bool keep,
                      struct cl_outcome *out)
{
	struct cl_err problem = {0}, ignored = {0};
	struct cl_store *store = context->store;
	if (keep && answered_already(context))
		return;
	bool wrote = cl_run_batch(context->organization, context->arena, context->request, context->principal, key,
	                          bundle, out);
	if (!wrote || !keep || out->lost)
		return;
	int code = cl_store_savepoint(store, &problem);
	if (!code)
		code = keep_answers(context, &problem);
	if (!code)
		code = cl_store_release(store, &problem);
	if (!code)
		return;
	/* Rather not done than done twice. */
	cl_store_rollback_to(store, &ignored);
	cl_log(CL_LOG_ERROR, "batch-not-kept", "code=%s", cl_code_name(code));
	out->lost = true;
	out->changes = NULL;
	cl_interaction_answer_error(context->arena, NULL, &problem, &out->response);
}

static void run_as(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                   const struct cl_principal *principal, struct cl_str key, const struct cl_token_proof *proof,
                   struct cl_outcome *out)
{
	struct cl_route route;
	struct cl_issues issues;
	struct cl_err problem = {0};
	*out = (struct cl_outcome){0};
	cl_issues_init(&issues, arena, 0);
	struct cl_interaction_context context = {
	        .arena = arena,
	        .store = organization->store,
	        .rules = organization->rules,
	        .request = request,
	        .route = &route,
	        .principal = principal,
	        .now = cl_clock_now(organization->clock),
	        .response = &out->response,
	        .issues = &issues,
	        .organization = organization,
	        .proof = proof,
	};
	if (cl_route_find(arena, request, &route, &problem)) {
		cl_interaction_answer_error(arena, NULL, &problem, &out->response);
		return;
	}
	struct cl_json *bundle = NULL;
	bool own_id = cl_str_equal(key, cl_request_hex(arena, request));
	if (is_batch(&context, &bundle, &problem)) {
		run_batch(&context, key, bundle, own_id, out);
		return;
	}
	issues.count = issues.errors = 0;
	if (cl_route_lane(&route, organization->rules) != CL_LANE_WRITER || route.kind == CL_ROUTE_VIEWS ||
	    route.kind == CL_ROUTE_METRICS) {
		cl_interaction_run_read(&context, organization->tail);
		out->modified = context.modified;
		/* Even reading can lose the transaction: SQLite may have to write to read on (pitfalls 3). */
		out->lost = !cl_store_in_transaction(organization->store);
		return;
	}
	run_write(organization, &context, key,
	          own_id && route.kind != CL_ROUTE_CONSOLE && route.kind != CL_ROUTE_COURIER, out);
}

void cl_run_as(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
               const struct cl_principal *principal, struct cl_str key, struct cl_outcome *out)
{
	run_as(organization, arena, request, principal, key, NULL, out);
}

void cl_organization_run(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                         struct cl_outcome *out)
{
	cl_organization_run_proved(organization, arena, request, NULL, out);
}

/* Without another thread the proof is made here. */
static void run_token(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                      const struct cl_route *route, const struct cl_token_proof *proof, struct cl_outcome *out)
{
	struct cl_token_proof made = {0};
	if (!proof)
		cl_token_prove(organization, organization->rules, organization->store, arena, request, route, &made);
	cl_token_answer(organization, arena, request, route, proof ? proof : &made, out);
}

void cl_organization_run_proved(struct cl_organization *organization, struct cl_arena *arena,
                                const struct cl_request *request, const struct cl_token_proof *proof,
                                struct cl_outcome *out)
{
	const struct cl_principal *principal;
	struct cl_route route = {0};
	struct cl_err problem = {0};
	*out = (struct cl_outcome){0};
	if (cl_route_find(arena, request, &route, &problem)) {
		cl_interaction_answer_error(arena, NULL, &problem, &out->response);
		return;
	}
	if (route.kind == CL_ROUTE_TOKEN || route.kind == CL_ROUTE_REVOKE) {
		run_token(organization, arena, request, &route, proof, out);
		return;
	}
	if (cl_interaction_principal(organization->rules, organization->store, arena, request, &route,
	                             cl_clock_now(organization->clock), &principal, &problem)) {
		if (problem.code == CL_E_UNAUTHENTICATED)
			cl_interaction_audit_stranger(organization->tail, request, &route,
			                              cl_clock_now(organization->clock));
		cl_interaction_answer_stranger(arena, request, &problem, &out->response);
		return;
	}
	run_as(organization, arena, request, principal, cl_request_hex(arena, request), proof, out);
}
