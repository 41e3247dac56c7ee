/* write.c: create, update, patch and delete: permission before and after parsing, conditions, the change, its answer. */
#include "org/engine/interaction.h"
#include "base/json_patch.h"
#include "org/fhir/index.h"
#include "org/fhir/types.h"
#include "org/flow/instance.h"

/* Who may not search a type cannot subscribe to it. What of it they may see is decided for each resource. */
static int decide_watching(struct cl_interaction_context *context, const struct cl_json *resource, struct cl_err *e)
{
	struct cl_str criteria = cl_json_get_text(resource, "criteria"), status = cl_json_get_text(resource, "status");
	const char *mark = criteria.n ? memchr(criteria.p, '?', criteria.n) : NULL;
	uint16_t type = cl_fhir_type((struct cl_str){criteria.p, mark ? (size_t)(mark - criteria.p) : criteria.n});
	if (!type || (!cl_str_is(status, "requested") && !cl_str_is(status, "active")))
		return 0;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_SEARCH, type, &context->rule, e);
	if (!code)
		code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, type, &context->rule,
		                     e);
	if (code)
		cl_fail_at(e, "Subscription.criteria");
	return code;
}

int cl_write_decide(struct cl_interaction_context *context, enum cl_interaction interaction, uint16_t type,
                    struct cl_str id, const struct cl_json *resource, struct cl_err *e)
{
	struct cl_index values;
	if (context->principal->console)
		return 0;
	int code = type == CL_TYPE_SUBSCRIPTION ? decide_watching(context, resource, e) : 0;
	if (!code)
		code = cl_fhir_index(context->arena, type, resource, &values, e);
	if (code)
		return code;
	return cl_access_decide(context->rules->access, context->store, context->arena, context->principal, interaction,
	                        type, id, &values, &context->rule, e);
}

static bool is_matched(struct cl_str if_match, const struct cl_version *current)
{
	return !if_match.n || cl_etag_matches(if_match, current->version);
}

static int refuse_version(const struct cl_write *write, const struct cl_version *current, struct cl_err *e)
{
	return cl_fail(e, CL_E_PRECONDITION,
	               "%.*s/%.*s is at version %lld, not %.*s; read it again and repeat your change",
	               CL_STR_ARGS(cl_fhir_type_name(write->type)), CL_STR_ARGS(write->id), (long long)current->version,
	               (int)(write->if_match.n < 60 ? write->if_match.n : 60), write->if_match.p);
}

static int write_create(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	size_t count = 0;
	if (write->if_none_exist.n) {
		int code = cl_condition_find(context, write->type, write->if_none_exist, &write->version, &count, e);
		if (code)
			return code;
		if (count > 1)
			return cl_fail(e, CL_E_PRECONDITION,
			               "several resources match If-None-Exist; make the condition narrower");
		write->existed = count == 1;
		/* The answer holds the resource: that is a read. */
		if (count) {
			context->target = cl_arena_printf(context->arena, "%.*s/%.*s",
			                                  CL_STR_ARGS(cl_fhir_type_name(write->type)),
			                                  CL_STR_ARGS(write->version.id));
			return cl_interaction_audit_read(context, e);
		}
	}
	int code = cl_write_decide(context, CL_ACCESS_CREATE, write->type, write->id, write->resource, e);
	if (code)
		return code;
	context->unit->rule = context->rule;
	return cl_change_create(context->unit, write->resource, write->id, &write->version, context->issues, e);
}

static bool differs(const struct cl_json *a, const struct cl_json *b, const char *name)
{
	const struct cl_json *x = cl_json_get(a, name), *y = cl_json_get(b, name);
	return (x == NULL) != (y == NULL) || (x && !cl_json_equal(x, y));
}

/* A plain update of a Task that is a workflow instance moves it when its status changes: that needs the right to transition too. */
static int decide_move(struct cl_interaction_context *context, const struct cl_write *write,
                       const struct cl_version *current, struct cl_err *e)
{
	struct cl_stored_instance instance;
	struct cl_json *former;
	struct cl_err none = {0};
	if (context->principal->console || !cl_str_is(cl_fhir_type_name(write->type), "Task") ||
	    cl_store_instance_get(context->store, context->arena, write->id, &instance, &none))
		return 0;
	int code = cl_json_parse(context->arena, current->body, NULL, &former, e);
	if (code ||
	    (!differs(former, write->resource, "status") && !differs(former, write->resource, "businessStatus")))
		return code;
	return cl_access_transition(context->rules->access, context->store, context->arena, context->principal,
	                            write->type, current->row, instance.workflow, &context->rule, e);
}

/* What stands there as an update makes it of the patch: FHIR's rules for updates hold for the result (http.html section 3.1.0.6). */
static int apply_patch(struct cl_interaction_context *context, struct cl_write *write, const struct cl_version *current,
                       struct cl_err *e)
{
	struct cl_str name = cl_fhir_type_name(write->type);
	struct cl_json *resource;
	int code = cl_json_parse(context->arena, current->body, NULL, &resource, e);
	if (!code)
		code = cl_json_patch(context->arena, resource, write->patch, e);
	if (code)
		return code;
	cl_json_patch_prune(context->arena, resource, write->patch);
	if (!cl_str_equal(cl_json_get_text(resource, "resourceType"), name) ||
	    !cl_str_equal(cl_json_get_text(resource, "id"), write->id)) {
		cl_fail(e, CL_E_RULE, "a patch cannot change what the resource is: resourceType and id stay");
		return cl_fail_at(e, "%.*s.id", CL_STR_ARGS(name));
	}
	write->resource = resource;
	return 0;
}

static int update_new(struct cl_interaction_context *context, struct cl_write *write, const struct cl_version *current,
                      struct cl_err *e)
{
	struct cl_str name = cl_fhir_type_name(write->type);
	if (write->patch)
		return cl_fail(e, current->version ? CL_E_GONE : CL_E_NOT_FOUND, "%.*s/%.*s %s", CL_STR_ARGS(name),
		               CL_STR_ARGS(write->id), current->version ? "was deleted" : "is not known here");
	write->created = true;
	int code = cl_write_decide(context, CL_ACCESS_CREATE, write->type, write->id, write->resource, e);
	if (!code && write->if_match.n)
		code = cl_fail(e, CL_E_PRECONDITION, "%.*s/%.*s is not there, so it has no version %.*s",
		               CL_STR_ARGS(name), CL_STR_ARGS(write->id),
		               (int)(write->if_match.n < 60 ? write->if_match.n : 60), write->if_match.p);
	context->unit->rule = context->rule;
	return code ? code
	            : cl_change_create(context->unit, write->resource, write->id, &write->version, context->issues, e);
}

static int write_update(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	struct cl_version current = {0};
	struct cl_str given = cl_json_get_text(write->resource, "id");
	struct cl_str name = cl_fhir_type_name(write->type);
	if (!write->patch && (!given.n || !cl_str_equal(given, write->id))) {
		cl_fail(e, CL_E_INVALID, "the resource's id must be '%.*s', as in the address", CL_STR_ARGS(write->id));
		return cl_fail_at(e, "%.*s.id", CL_STR_ARGS(name));
	}
	int code = cl_store_get(context->store, context->arena, write->type, write->id, &current, e);
	if (code && code != CL_E_NOT_FOUND)
		return code;
	bool exists = !code && current.operation != CL_OP_DELETE;
	*e = (struct cl_err){0};
	if (!exists)
		return update_new(context, write, &current, e);
	/* Permission first: the conditions' answers tell which version there is. */
	code = cl_access_decide_row(context->rules->access, context->store, context->arena, context->principal,
	                            CL_ACCESS_UPDATE, write->type, current.row, &context->rule, e);
	if (!code && write->patch) {
		/* A patch depends on what it patches: a stale one is not even tried. */
		code = is_matched(write->if_match, &current) ? apply_patch(context, write, &current, e)
		                                             : refuse_version(write, &current, e);
	}
	if (!code)
		code = cl_write_decide(context, CL_ACCESS_UPDATE, write->type, write->id, write->resource, e);
	if (!code && !is_matched(write->if_match, &current))
		code = refuse_version(write, &current, e);
	if (!code && write->if_none_match.n && cl_etag_matches(write->if_none_match, current.version))
		code = cl_fail(e, CL_E_PRECONDITION, "%.*s/%.*s is there already, at version %lld", CL_STR_ARGS(name),
		               CL_STR_ARGS(write->id), (long long)current.version);
	if (!code)
		code = decide_move(context, write, &current, e);
	if (code)
		return code;
	context->unit->rule = context->rule;
	code = cl_change_update(context->unit, write->resource, write->if_match.n ? current.version : 0,
	                        &write->version, context->issues, e);
	write->existed = !code && write->version.version == current.version;
	return code;
}

static int write_delete(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	struct cl_version current;
	int code = write->id.n ? cl_store_get(context->store, context->arena, write->type, write->id, &current, e)
	                       : CL_E_NOT_FOUND;
	if (code == CL_E_NOT_FOUND || (!code && current.operation == CL_OP_DELETE)) {
		/* Deleting what is not there succeeds (http.html 3.1.0.7.1). */
		*e = (struct cl_err){0};
		write->existed = true;
		return 0;
	}
	if (code)
		return code;
	code = cl_access_decide_row(context->rules->access, context->store, context->arena, context->principal,
	                            CL_ACCESS_DELETE, write->type, current.row, &context->rule, e);
	if (code)
		return code;
	if (!is_matched(write->if_match, &current))
		return refuse_version(write, &current, e);
	context->unit->rule = context->rule;
	return cl_change_delete(context->unit, write->type, write->id, write->if_match.n ? current.version : 0,
	                        &write->version, e);
}

int cl_write_run(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	struct cl_str name = cl_fhir_type_name(write->type);
	enum cl_interaction wanted = write->operation == CL_OP_CREATE   ? CL_ACCESS_CREATE
	                             : write->operation == CL_OP_UPDATE ? CL_ACCESS_UPDATE
	                                                                : CL_ACCESS_DELETE;
	context->target = cl_arena_printf(context->arena, "%.*s%s%.*s", CL_STR_ARGS(name), write->id.n ? "/" : "",
	                                  CL_STR_ARGS(write->id));
	int code = cl_access_may(context->rules->access, context->principal, wanted, write->type, &context->rule, e);
	if (code)
		return code;
	if (write->operation != CL_OP_DELETE && !write->patch) {
		struct cl_str given = cl_json_get_text(write->resource, "resourceType");
		if (!cl_str_equal(given, name)) {
			cl_fail(e, CL_E_INVALID, "resourceType is '%.*s'; this address takes %.*s", CL_STR_ARGS(given),
			        CL_STR_ARGS(name));
			return cl_fail_at(e, "resourceType");
		}
	}
	if (write->condition.n) {
		code = cl_condition_resolve(context, write, e);
		context->target = cl_arena_printf(context->arena, "%.*s%s%.*s", CL_STR_ARGS(name),
		                                  write->id.n ? "/" : "", CL_STR_ARGS(write->id));
		if (code)
			return code;
	}
	switch (write->operation) {
	case CL_OP_CREATE:
		return write_create(context, write, e);
	case CL_OP_UPDATE:
		return write_update(context, write, e);
	default:
		return write_delete(context, write, e);
	}
}

static int read_patch(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	struct cl_str type = cl_request_header(context->request, "content-type");
	if (!cl_format_is(type, "application/json-patch+json"))
		return cl_fail(e, CL_E_MEDIA_TYPE, "PATCH takes application/json-patch+json; '%.*s' is not understood",
		               (int)(type.n < 80 ? type.n : 80), type.p);
	return cl_json_parse(context->arena, context->request->body, NULL, &write->patch, e);
}

static int read_body(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	if (context->route->kind == CL_ROUTE_PATCH)
		return read_patch(context, write, e);
	if (cl_binary_is_raw(context))
		return cl_binary_wrap(context, &write->resource, e);
	/* So that what is wrong with it is shown with line and column. */
	int code = cl_interaction_body(context, &write->resource, e);
	context->unit->source = context->request->body;
	context->unit->source_of = code ? NULL : write->resource;
	return code;
}

static int run_single(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	struct cl_str rule;
	/* Before parsing: a stranger's body is not read. */
	enum cl_interaction wanted = write->operation == CL_OP_CREATE ? CL_ACCESS_CREATE : CL_ACCESS_UPDATE;
	int code = 0;
	if (write->operation != CL_OP_DELETE) {
		code = cl_access_may(context->rules->access, context->principal, wanted, write->type, &rule, e);
		if (!code)
			code = read_body(context, write, e);
	}
	if (code)
		return code;
	if (!write->id.n && write->operation != CL_OP_CREATE)
		write->condition = context->route->query;
	write->if_match = cl_request_header(context->request, "if-match");
	write->if_none_match = cl_request_header(context->request, "if-none-match");
	code = cl_write_run(context, write, e);
	if (code)
		return code;
	context->answer = CL_NEW(context->arena, struct cl_version);
	*context->answer = write->version;
	return 0;
}

int cl_interaction_create(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_write write = {
	        .operation = CL_OP_CREATE,
	        .type = context->route->type,
	        .if_none_exist = cl_request_header(context->request, "if-none-exist"),
	};
	int code = run_single(context, &write, e);
	if (!code)
		cl_interaction_answer_version(context, write.existed ? 200 : 201, &write.version, true);
	return code;
}

int cl_interaction_update(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_write write = {.operation = CL_OP_UPDATE, .type = context->route->type, .id = context->route->id};
	int code = run_single(context, &write, e);
	if (!code)
		cl_interaction_answer_version(context, write.created ? 201 : 200, &write.version, true);
	return code;
}

int cl_interaction_delete(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_write write = {.operation = CL_OP_DELETE, .type = context->route->type, .id = context->route->id};
	int code = run_single(context, &write, e);
	if (code)
		return code;
	context->answer = NULL;
	cl_interaction_answer_deletion(context, &write.version);
	return 0;
}
