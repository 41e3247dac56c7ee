/* operation.c: $transition, $process-message, $secret, and the operations that plugins declare. */
#include "org/engine/interaction.h"
#include "base/date.h"
#include "base/hash.h"
#include "org/access/scope.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"
#include "org/flow/instance.h"
#include "org/flow/subscription.h"

/* ---- $transition: an event for a workflow instance ---- */

/* The value of one Parameters.parameter, whatever its type: the member whose name starts with "value". */
static struct cl_json *parameter_value(struct cl_json *parameter)
{
	for (uint32_t i = 0; i < parameter->count; i++)
		if (cl_str_starts(parameter->members[i].name, "value") ||
		    cl_str_is(parameter->members[i].name, "resource"))
			return &parameter->members[i].value;
	return NULL;
}

static int read_event(struct cl_interaction_context *context, struct cl_json *body, struct cl_advance *advance,
                      struct cl_err *e)
{
	struct cl_json *parameters = cl_json_get(body, "parameter");
	if (!cl_str_is(cl_json_get_text(body, "resourceType"), "Parameters")) {
		cl_fail(e, CL_E_INVALID, "$transition takes a Parameters resource with at least the parameter 'event'");
		return cl_fail_at(e, "resourceType");
	}
	int code = cl_fhir_validate(context->arena, body, context->request->body, context->issues);
	if (code)
		return cl_issues_first_error(context->issues, code, e);
	advance->data = cl_json_new(context->arena, CL_JSON_OBJECT);
	for (uint32_t i = 0; parameters && i < parameters->count; i++) {
		struct cl_str name = cl_json_get_text(&parameters->items[i], "name");
		struct cl_json *value = parameter_value(&parameters->items[i]);
		if (!value) {
			cl_fail(e, CL_E_INVALID, "parameter '%.*s' has no value", CL_STR_ARGS(name));
			return cl_fail_at(e, "Parameters.parameter[%u]", i);
		}
		if (cl_str_is(name, "event")) {
			advance->event = cl_json_text(value);
		} else if (cl_str_is(name, "on-behalf-of")) {
			advance->on_behalf_of = cl_json_text(value);
		} else if (cl_str_is(name, "source")) {
			advance->source = cl_json_text(value);
		} else if (cl_str_is(name, "occurred")) {
			struct cl_moment moment;
			code = cl_moment_parse(cl_json_text(value), 0, &moment, e);
			if (code)
				return cl_fail_at(e, "Parameters.parameter[%u]", i);
			if (moment.lower > context->now) {
				cl_fail(e, CL_E_RULE, "'occurred' lies in the future");
				return cl_fail_at(e, "Parameters.parameter[%u]", i);
			}
			advance->occurred = moment.lower;
		} else {
			*cl_json_set(context->arena, advance->data, name) = *value;
		}
	}
	if (!advance->event.n) {
		cl_fail(e, CL_E_INVALID, "the parameter 'event' is missing");
		return cl_fail_at(e, "Parameters.parameter");
	}
	return 0;
}

static int transition(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_advance advance = {.task = context->route->id};
	struct cl_stored_instance instance;
	struct cl_version current, version;
	struct cl_json *body;
	context->target = cl_arena_printf(context->arena, "Task/%.*s", CL_STR_ARGS(context->route->id));
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_TRANSITION, context->route->type,
	                         &context->rule, e);
	if (!code)
		code = cl_interaction_body(context, &body, e);
	if (!code)
		code = read_event(context, body, &advance, e);
	if (!code)
		code = cl_store_get(context->store, context->arena, context->route->type, advance.task, &current, e);
	if (code == CL_E_NOT_FOUND)
		return cl_fail(e, code, "%.*s is not known here", CL_STR_ARGS(context->target));
	if (!code)
		code = cl_access_decide_row(context->rules->access, context->store, context->arena, context->principal,
		                            CL_ACCESS_TRANSITION, context->route->type, current.row, &context->rule, e);
	if (!code && cl_store_instance_get(context->store, context->arena, advance.task, &instance, e)) {
		*e = (struct cl_err){0};
		code = cl_fail(e, CL_E_RULE, "%.*s is not a workflow instance", CL_STR_ARGS(context->target));
	}
	if (!code)
		code = cl_access_transition(context->rules->access, context->store, context->arena, context->principal,
		                            context->route->type, current.row, instance.workflow, &context->rule, e);
	struct cl_str match = cl_request_header(context->request, "if-match");
	if (!code && match.n && !cl_str_is(match, "*") && cl_etag_version(match) != current.version)
		code = cl_fail(e, CL_E_PRECONDITION, "%.*s is at version %lld, not %.*s", CL_STR_ARGS(context->target),
		               (long long)current.version, CL_STR_ARGS(match));
	if (code)
		return code;
	context->unit->rule = context->rule;
	code = cl_instance_advance(context->unit, &advance, &version, context->issues, e);
	if (code)
		return code;
	context->answer = CL_NEW(context->arena, struct cl_version);
	*context->answer = version;
	cl_interaction_answer_version(context, 200, &version, false);
	return 0;
}

/* ---- $undo: the last event of an instance is taken back ---- */

static int read_undo(struct cl_interaction_context *context, const struct cl_json *body, struct cl_undo *wish,
                     struct cl_err *e)
{
	struct cl_json *parameters = cl_json_get(body, "parameter");
	if (!cl_str_is(cl_json_get_text(body, "resourceType"), "Parameters")) {
		cl_fail(e, CL_E_INVALID, "$undo takes a Parameters resource with the parameter 'reason'");
		return cl_fail_at(e, "resourceType");
	}
	int code = cl_fhir_validate(context->arena, body, context->request->body, context->issues);
	if (code)
		return cl_issues_first_error(context->issues, code, e);
	for (uint32_t i = 0; parameters && i < parameters->count; i++) {
		struct cl_str name = cl_json_get_text(&parameters->items[i], "name");
		struct cl_str text = cl_json_text(parameter_value(&parameters->items[i]));
		if (cl_str_is(name, "reason")) {
			wish->reason = text;
		} else if (cl_str_is(name, "event")) {
			wish->event = text;
		} else {
			cl_fail(e, CL_E_INVALID, "$undo knows 'reason' and 'event', not '%.*s'", CL_STR_ARGS(name));
			return cl_fail_at(e, "Parameters.parameter[%u]", i);
		}
	}
	return 0;
}

static void answer_undo(struct cl_interaction_context *context, struct cl_str task, const struct cl_json *left)
{
	struct cl_arena *arena = context->arena;
	struct cl_stored_instance instance = {0};
	struct cl_err ignored = {0};
	struct cl_json *answer = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, answer, "resourceType", CL_STR("Parameters"));
	struct cl_json *parameters = cl_json_set_array(arena, answer, "parameter");
	if (!cl_store_instance_get(context->store, arena, task, &instance, &ignored)) {
		struct cl_json *item = cl_json_append(arena, parameters);
		item->kind = CL_JSON_OBJECT;
		cl_json_set_text(arena, item, "name", CL_STR("state"));
		cl_json_set_text(arena, item, "valueString", instance.state);
	}
	for (uint32_t i = 0; i < left->count; i++) {
		struct cl_json *item = cl_json_append(arena, parameters);
		item->kind = CL_JSON_OBJECT;
		cl_json_set_text(arena, item, "name", CL_STR("not-reversed"));
		cl_json_set_text(arena, item, "valueString", cl_json_text(&left->items[i]));
	}
	if (!parameters->count)
		cl_json_remove(answer, "parameter");
	cl_interaction_answer_json(context, 200, answer);
}

static int undo(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_undo wish = {.task = context->route->id};
	struct cl_stored_instance instance;
	struct cl_version current;
	struct cl_json *body, *left;
	context->target = cl_arena_printf(context->arena, "Task/%.*s", CL_STR_ARGS(wish.task));
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_UNDO, context->route->type,
	                         &context->rule, e);
	if (!code)
		code = cl_interaction_body(context, &body, e);
	if (!code)
		code = read_undo(context, body, &wish, e);
	if (!code)
		code = cl_store_get(context->store, context->arena, context->route->type, wish.task, &current, e);
	if (code == CL_E_NOT_FOUND)
		return cl_fail(e, code, "%.*s is not known here", CL_STR_ARGS(context->target));
	if (!code)
		code = cl_access_decide_row(context->rules->access, context->store, context->arena, context->principal,
		                            CL_ACCESS_UNDO, context->route->type, current.row, &context->rule, e);
	if (!code && cl_store_instance_get(context->store, context->arena, wish.task, &instance, e)) {
		*e = (struct cl_err){0};
		code = cl_fail(e, CL_E_RULE, "%.*s is not a workflow instance", CL_STR_ARGS(context->target));
	}
	if (!code)
		code = cl_access_undo(context->rules->access, context->store, context->arena, context->principal,
		                      context->route->type, current.row, instance.workflow, &context->rule, e);
	struct cl_str match = cl_request_header(context->request, "if-match");
	if (!code && match.n && !cl_str_is(match, "*") && cl_etag_version(match) != current.version)
		code = cl_fail(e, CL_E_PRECONDITION, "%.*s is at version %lld, not %.*s", CL_STR_ARGS(context->target),
		               (long long)current.version, CL_STR_ARGS(match));
	if (code)
		return code;
	context->unit->rule = context->rule;
	code = cl_instance_undo(context->unit, &wish, &left, e);
	if (!code)
		answer_undo(context, wish.task, left);
	return code;
}

/* ---- $process-message: a partner's message, taken in once (FHIR R4 messaging.html) ---- */

static int process_message(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_json *bundle;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_MESSAGE, 0, &context->rule, e);
	if (!code)
		code = cl_interaction_body(context, &bundle, e);
	if (code)
		return code;
	struct cl_json *header = cl_json_path(bundle, "entry", "0", "resource", NULL);
	if (!cl_str_is(cl_json_get_text(bundle, "type"), "message") ||
	    !cl_str_is(cl_json_get_text(header, "resourceType"), "MessageHeader")) {
		cl_fail(e, CL_E_INVALID,
		        "$process-message takes a Bundle of type 'message' whose first entry is a MessageHeader");
		return cl_fail_at(e, "Bundle.type");
	}
	code = cl_fhir_validate(context->arena, bundle, context->request->body, context->issues);
	if (code)
		return cl_issues_first_error(context->issues, code, e);
	struct cl_str key = cl_json_get_text(bundle, "id");
	if (!key.n)
		key = cl_request_header(context->request, "idempotency-key");
	if (!key.n) {
		cl_fail(e, CL_E_INVALID, "a message needs Bundle.id, so that it is taken in once");
		return cl_fail_at(e, "Bundle.id");
	}
	context->target = cl_arena_printf(context->arena, "message/%.*s", CL_STR_ARGS(key));
	context->unit->rule = context->rule;
	code = cl_store_inbox_add(context->store, context->principal->name, key, context->now, e);
	if (code == CL_E_CONFLICT) {
		*e = (struct cl_err){0};
		code = 0;
	} else if (!code) {
		code = cl_lua_receive(context->organization->rules->lua, context->unit, context->principal->name,
		                      bundle, e);
	}
	if (code)
		return code;
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_outcome_write(&text, context->issues);
	cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8",
	                            cl_arena_copy(context->arena, cl_buf_str(&text)));
	cl_buf_free(&text);
	return 0;
}

/* ---- $secret: what verifies the notifications of a subscription, for who made it ---- */

static int subscription_secret(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_stored_subscription row = {0};
	struct cl_err absent = {0};
	uint8_t key[32];
	struct cl_arena *arena = context->arena;
	context->target = cl_arena_printf(arena, "Subscription/%.*s/$secret", CL_STR_ARGS(context->route->id));
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, CL_TYPE_SUBSCRIPTION,
	                         &context->rule, e);
	if (code)
		return code;
	cl_store_subscription_get(context->store, arena, context->route->id, &row, &absent);
	/* Whether somebody else's exists is not told either. */
	if (!row.id.n || !cl_str_equal(row.principal, context->principal->name))
		return cl_fail(e, CL_E_FORBIDDEN, "only who made a Subscription may have its secret");
	cl_subscription_key(context->store, row.id, key);
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, body, "resourceType", CL_STR("Parameters"));
	struct cl_json *parameter = cl_json_append(arena, cl_json_set_array(arena, body, "parameter"));
	*parameter = *cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, parameter, "name", CL_STR("secret"));
	cl_json_set_text(
	        arena, parameter, "valueString",
	        cl_arena_printf(arena, "whsec_%.*s",
	                        CL_STR_ARGS(cl_base64(arena, (struct cl_str){(const char *)key, sizeof key}))));
	cl_interaction_answer_json(context, 200, body);
	return cl_interaction_audit_read(context, e);
}

/* ---- operations of plugins ---- */

static bool plays_role(const struct cl_principal *principal, const struct cl_operation_rule *operation)
{
	if (principal->console)
		return true;
	for (size_t i = 0; i < operation->role_count; i++)
		for (size_t r = 0; r < principal->role_count; r++)
			if (cl_str_equal(operation->roles[i], principal->roles[r]))
				return true;
	return false;
}

static int plugin_operation(struct cl_interaction_context *context, const struct cl_operation_rule *operation,
                            struct cl_err *e)
{
	struct cl_json *input = NULL, *out = NULL;
	struct cl_str target = CL_STR_NONE;
	context->rule = operation->name;
	context->target = operation->name;
	/* What a plugin does may be anything. */
	if (!cl_scopes_cover_all(context->principal->scopes, CL_SCOPE_ALL))
		return cl_fail(e, CL_E_FORBIDDEN, "%.*s needs the scope system/*.cruds, which this token has not",
		               CL_STR_ARGS(operation->name));
	if (!plays_role(context->principal, operation))
		return cl_fail(e, CL_E_FORBIDDEN, "'%.*s' may not use %.*s: none of its roles allows it",
		               CL_STR_ARGS(context->principal->name), CL_STR_ARGS(operation->name));
	if (context->request->body.n) {
		int code = cl_interaction_body(context, &input, e);
		if (!code && cl_fhir_validate(context->arena, input, context->request->body, context->issues))
			code = cl_issues_first_error(context->issues, CL_E_RULE, e);
		if (code)
			return code;
	}
	if (context->route->id.n)
		target = cl_arena_printf(context->arena, "%.*s/%.*s",
		                         CL_STR_ARGS(cl_fhir_type_name(context->route->type)),
		                         CL_STR_ARGS(context->route->id));
	context->unit->rule = operation->name;
	int code =
	        cl_lua_operation(context->organization->rules->lua, context->unit, operation, input, target, &out, e);
	/* What it answers may be what it read: its changes alone would not show that. */
	context->target = cl_arena_printf(context->arena, "%.*s%s%.*s", CL_STR_ARGS(operation->name),
	                                  target.n ? " " : "", CL_STR_ARGS(target));
	if (!code)
		code = cl_interaction_audit_read(context, e);
	if (code)
		return code;
	if (out)
		cl_interaction_answer_json(context, 200, out);
	else
		context->response->status = 204;
	return 0;
}

int cl_interaction_operation(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	const struct cl_catalog *catalog = context->rules->catalog;
	context->target = route->operation;
	if (cl_str_is(route->operation, "$transition") && route->id.n &&
	    cl_str_is(cl_fhir_type_name(route->type), "Task"))
		return transition(context, e);
	if (cl_str_is(route->operation, "$undo") && route->id.n && route->type == CL_TYPE_TASK)
		return undo(context, e);
	if (cl_str_is(route->operation, "$import") && !route->id.n && route->type == CL_TYPE_TASK)
		return cl_interaction_import(context, e);
	if (cl_str_is(route->operation, "$process-message") && !route->type)
		return process_message(context, e);
	if (route->id.n && (cl_str_is(route->operation, "$meta-add") || cl_str_is(route->operation, "$meta-delete")))
		return cl_interaction_meta_change(context, cl_str_is(route->operation, "$meta-add"), e);
	if (cl_str_is(route->operation, "$secret") && route->id.n && route->type == CL_TYPE_SUBSCRIPTION)
		return subscription_secret(context, e);
	for (size_t i = 0; i < catalog->operation_count; i++)
		if (cl_str_equal(catalog->operations[i].name, route->operation))
			return plugin_operation(context, &catalog->operations[i], e);
	return cl_fail(e, CL_E_NOT_FOUND, "there is no operation '%.*s' here", CL_STR_ARGS(route->operation));
}
