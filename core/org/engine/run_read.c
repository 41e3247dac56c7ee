/* run_read.c: a read-only interaction from permission to answer, with its audit leaf before the reply (pitfalls 2). */
#include "org/engine/export.h"
#include "base/log.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include "org/flow/subscription.h"
#include <pthread.h>

/* Of a Subscription that the principal may see and that runs. */
static int watch_subscription(struct cl_interaction_context *context, struct cl_str id, struct cl_err *e)
{
	struct cl_version version;
	struct cl_stored_subscription row;
	struct cl_err absent = {0};
	int code = cl_store_get(context->store, context->arena, CL_TYPE_SUBSCRIPTION, id, &version, &absent);
	if (!code)
		code = cl_interaction_may_see(context->rules, context->store, context->arena, context->principal,
		                              CL_ACCESS_READ, &version, &version, &context->rule, &absent);
	if (!code)
		code = cl_store_subscription_get(context->store, context->arena, id, &row, &absent);
	if (code)
		return cl_fail(e, code == CL_E_FORBIDDEN ? CL_E_FORBIDDEN : CL_E_NOT_FOUND,
		               "there is no Subscription/%.*s that you may read", (int)(id.n < 80 ? id.n : 80), id.p);
	if (!cl_str_is(row.state, "active") && !cl_str_is(row.state, "requested"))
		return cl_fail(e, CL_E_RULE, "Subscription/%.*s is %.*s", CL_STR_ARGS(id), CL_STR_ARGS(row.state));
	context->subscription = row.id;
	context->watched = cl_arena_printf(context->arena, "%.*s?%.*s", CL_STR_ARGS(cl_fhir_type_name(row.type)),
	                                   CL_STR_ARGS(row.criteria));
	return 0;
}

/* /events?criteria=Task%3Fstatus%3Drequested, /events?subscription=01k9 */
static int read_watched(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_str rest = context->route->query, query, rule;
	struct cl_criterion *where;
	uint16_t type;
	int code = 0;
	while (!code && rest.n) {
		const char *end = memchr(rest.p, '&', rest.n);
		struct cl_str pair = {rest.p, end ? (size_t)(end - rest.p) : rest.n}, value;
		rest = end ? (struct cl_str){end + 1, rest.n - pair.n - 1} : CL_STR_NONE;
		if (!pair.n)
			continue;
		bool criteria = cl_str_starts(pair, "criteria=");
		size_t skip = criteria ? sizeof "criteria=" - 1 : sizeof "subscription=" - 1;
		if ((!criteria && !cl_str_starts(pair, "subscription=")) || context->watched.n)
			return cl_fail(e, CL_E_INVALID,
			               "/events takes one of criteria=... and subscription=..., or nothing");
		code = cl_fhir_url_decode(context->arena, (struct cl_str){pair.p + skip, pair.n - skip}, &value, e);
		if (!code && criteria)
			context->watched = value;
		if (!code && (!criteria || !value.n))
			code = criteria
			               ? cl_fail(e, CL_E_INVALID, "criteria are a search such as Task?status=requested")
			               : watch_subscription(context, value, e);
	}
	if (code || !context->watched.n)
		return code;
	code = cl_subscription_criteria(context->arena, context->watched, context->now, &type, &where, &query, e);
	return code ? code : cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, type, &rule, e);
}

static int open_events(struct cl_interaction_context *context, struct cl_err *e)
{
	context->target = CL_STR("events");
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_EVENTS, 0, &context->rule, e);
	if (!code)
		code = read_watched(context, e);
	context->streams = !code;
	return code;
}

static int dispatch(struct cl_interaction_context *context, struct cl_err *e)
{
	switch (context->route->kind) {
	case CL_ROUTE_READ:
	case CL_ROUTE_VREAD:
		return cl_interaction_read(context, e);
	case CL_ROUTE_HISTORY:
		return cl_interaction_history(context, e);
	case CL_ROUTE_SEARCH:
		return cl_interaction_search(context, e);
	case CL_ROUTE_META:
		return cl_interaction_meta(context, e);
	case CL_ROUTE_VALIDATE:
		return cl_interaction_validate(context, e);
	case CL_ROUTE_CAPABILITY:
		return cl_interaction_capability(context, e);
	case CL_ROUTE_SMART:
		return cl_interaction_smart(context, e);
	case CL_ROUTE_VIEWS:
		return cl_interaction_views(context, e);
	case CL_ROUTE_METRICS:
		return cl_interaction_metrics(context, e);
	case CL_ROUTE_EVERYTHING:
		return cl_interaction_everything(context, e);
	case CL_ROUTE_EXPORT:
		return cl_export_ask(context, e);
	case CL_ROUTE_EXPORT_STATUS:
		return cl_export_status(context, e);
	case CL_ROUTE_EXPORT_CANCEL:
		return cl_export_cancel(context, e);
	case CL_ROUTE_EXPORT_FILE:
		return cl_export_fetch(context, e);
	case CL_ROUTE_MEASURE:
		return cl_interaction_measure(context, e);
	case CL_ROUTE_EVENTS:
		return open_events(context, e);
	default:
		/* What an entry of a batch may name, but not ask for. */
		return cl_fail(e, CL_E_NOT_FOUND, "there is nothing to read at this path");
	}
}

/* What anybody may ask for, and what is no one's data. */
static bool is_public(const struct cl_route *route)
{
	return route->kind == CL_ROUTE_CAPABILITY || route->kind == CL_ROUTE_SMART;
}

static const char *action_of(const struct cl_route *route)
{
	switch (route->kind) {
	case CL_ROUTE_SEARCH:
		return "search";
	case CL_ROUTE_HISTORY:
		return "history";
	case CL_ROUTE_VIEWS:
		return "view";
	case CL_ROUTE_METRICS:
	case CL_ROUTE_MEASURE:
		return "metric";
	case CL_ROUTE_EVENTS:
		return "stream";
	case CL_ROUTE_EXPORT:
	case CL_ROUTE_EXPORT_FILE:
		return "export";
	case CL_ROUTE_EXPORT_CANCEL:
		return "export-delete";
	case CL_ROUTE_OPERATION:
	case CL_ROUTE_VALIDATE:
	case CL_ROUTE_EVERYTHING:
		return "operation";
	default:
		return "read";
	}
}

int cl_interaction_audit_read(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_audit_record record = {
	        .at = context->now,
	        .principal = context->principal->name,
	        .action = cl_str_of(action_of(context->route)),
	        .target = context->target,
	        .rule = context->rule,
	        .outcome = CL_STR("ok"),
	        .request = cl_request_hex(context->arena, context->request),
	};
	return cl_audit_append(context->store, &record, e);
}

void cl_interaction_run_read(struct cl_interaction_context *context, struct cl_audit_tail *tail)
{
	struct cl_err problem = {0}, audit_problem = {0};
	int code = dispatch(context, &problem);
	bool refused = code == CL_E_FORBIDDEN || code == CL_E_UNAUTHENTICATED;
	if (code)
		cl_interaction_answer_error(context->arena, context->issues, &problem, context->response);
	/* What could not be read because it is not there is no access; metadata and how far an export is are no one's data. */
	if ((code && !refused) || is_public(context->route) || context->route->kind == CL_ROUTE_EXPORT_STATUS)
		return;
	struct cl_audit_record record = {
	        .at = context->now,
	        .principal = context->principal->name,
	        .action = refused ? CL_STR("denied") : cl_str_of(action_of(context->route)),
	        .target = context->target,
	        .rule = context->rule,
	        .outcome = cl_str_of(refused ? cl_code_name(code) : "ok"),
	        .request = cl_request_hex(context->arena, context->request),
	};
	if (cl_audit_tail_append(tail, &record, &audit_problem)) {
		context->streams = false;
		cl_interaction_answer_error(context->arena, NULL, &audit_problem, context->response);
	}
}

static const char *shown_by(const struct cl_request *request)
{
	switch (request->credential.kind) {
	case CL_CREDENTIAL_CERTIFICATE:
		return "certificate";
	case CL_CREDENTIAL_BEARER:
		return "bearer token";
	case CL_CREDENTIAL_SESSION:
		return "session";
	default:
		return "no credential";
	}
}

void cl_interaction_audit_stranger(struct cl_audit_tail *tail, const struct cl_request *request,
                                   const struct cl_route *route, cl_instant now)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static cl_instant begun;
	static unsigned logged, more;
	struct cl_err problem = {0};
	unsigned before = 0;
	pthread_mutex_lock(&lock);
	if (now - begun >= CL_MINUTE || now < begun) {
		begun = now;
		logged = 0;
	}
	bool write = logged < CL_STRANGERS_LOGGED;
	if (write) {
		logged++;
		before = more;
		more = 0;
	} else {
		more++;
	}
	pthread_mutex_unlock(&lock);
	if (!write)
		return;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str name = request->credential.name, type = cl_fhir_type_name(route->type);
	struct cl_buf target;
	cl_buf_init(&target, 400);
	cl_buf_printf(&target, "%.*s%s%.*s", CL_STR_ARGS(request->method), type.n ? " " : "", CL_STR_ARGS(type));
	if (request->credential.address.n)
		cl_buf_printf(&target, " from %.*s", CL_STR_ARGS(request->credential.address));
	if (before)
		cl_buf_printf(&target, " (and %u more before)", before);
	struct cl_audit_record record = {
	        .at = now,
	        .principal = CL_STR("-"),
	        .action = CL_STR("denied"),
	        .target = cl_buf_str(&target),
	        .rule = cl_arena_printf(arena, "%s%s%.*s", shown_by(request), name.n ? " " : "",
	                                (int)(name.n < 120 ? name.n : 120), name.n ? name.p : ""),
	        .outcome = cl_str_of(cl_code_name(CL_E_UNAUTHENTICATED)),
	        .request = cl_request_hex(arena, request),
	};
	if (cl_audit_tail_append(tail, &record, &problem))
		cl_log(CL_LOG_ERROR, "audit-failed", "code=%s", cl_code_name(problem.code));
	cl_buf_free(&target);
	cl_arena_free(arena);
}

int cl_interaction_principal(const struct cl_rules *rules, struct cl_store *store, struct cl_arena *arena,
                             const struct cl_request *request, const struct cl_route *route, cl_instant now,
                             const struct cl_principal **out, struct cl_err *e)
{
	static const struct cl_principal anybody = {.name = {"-", 1}, .kind = {"anybody", 7}};
	static const struct cl_principal reply = {.name = {"reply-link", 10}, .kind = {"link", 4}};
	if (route->kind == CL_ROUTE_REPLY) { /* the token in the path is all there is, and all that it may */
		*out = &reply;
		return 0;
	}
	if (is_public(route)) {
		*out = &anybody;
		return 0;
	}
	return cl_access_resolve(rules->access, store, arena, &request->credential, now, out, e);
}
