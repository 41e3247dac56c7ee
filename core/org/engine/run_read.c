/* run_read.c: a read-only interaction from permission to answer, with its audit leaf before the reply (pitfalls 2). */
#include "org/engine/export.h"
#include "org/fhir/types.h"

static int open_events(struct cl_interaction_context *context, struct cl_err *e)
{
	context->target = CL_STR("events");
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_EVENTS, 0, &context->rule, e);
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
	case CL_ROUTE_EVENTS:
		return open_events(context, e);
	default:
		return cl_fail(e, CL_E_INTERNAL, "route %d does not read", context->route->kind);
	}
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
	if ((code && !refused) || context->route->kind == CL_ROUTE_CAPABILITY ||
	    context->route->kind == CL_ROUTE_EXPORT_STATUS)
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
	if (route->kind == CL_ROUTE_CAPABILITY) {
		*out = &anybody;
		return 0;
	}
	return cl_access_resolve(rules->access, store, arena, &request->credential, now, out, e);
}
