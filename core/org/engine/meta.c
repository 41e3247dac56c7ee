/* meta.c: $meta, $meta-add and $meta-delete of one resource (FHIR R4 resource-operations.html): its profiles, tags and security
 * labels. Labels decide who may see what, so a change of them is an update like any other: a version, a permission, an event. */
#include "org/engine/interaction.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"

static const char *const lists[] = {"profile", "security", "tag"};

static void answer(struct cl_interaction_context *context, const struct cl_version *version, const struct cl_json *meta)
{
	struct cl_arena *arena = context->arena;
	struct cl_json *out = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, out, "resourceType", CL_STR("Parameters"));
	struct cl_json *parameter = cl_json_append(arena, cl_json_set_array(arena, out, "parameter"));
	parameter->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, parameter, "name", CL_STR("return"));
	*cl_json_set(arena, parameter, CL_STR("valueMeta")) = *meta;
	context->modified = version->updated;
	cl_interaction_answer_json(context, 200, out);
	cl_response_add_header(arena, context->response, "etag",
	                       cl_arena_printf(arena, "W/\"%lld\"", (long long)version->version));
}

static int find(struct cl_interaction_context *context, struct cl_version *current, struct cl_json **resource,
                struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_str name = cl_fhir_type_name(route->type);
	context->target = cl_arena_printf(context->arena, "%.*s/%.*s", CL_STR_ARGS(name), CL_STR_ARGS(route->id));
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, route->type,
	                         &context->rule, e);
	if (!code)
		code = cl_store_get(context->store, context->arena, route->type, route->id, current, e);
	if (code == CL_E_NOT_FOUND)
		return cl_fail(e, code, "%.*s is not known here", CL_STR_ARGS(context->target));
	if (!code)
		code = cl_interaction_may_see(context->rules, context->store, context->arena, context->principal,
		                              CL_ACCESS_READ, current, current, &context->rule, e);
	if (!code && current->operation == CL_OP_DELETE)
		code = cl_fail(e, CL_E_GONE, "%.*s was deleted", CL_STR_ARGS(context->target));
	return code ? code : cl_json_parse(context->arena, current->body, NULL, resource, e);
}

int cl_interaction_meta(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_version current;
	struct cl_json *resource;
	int code = find(context, &current, &resource, e);
	if (!code)
		answer(context, &current, cl_json_get(resource, "meta"));
	return code;
}

/* Labels are the same by system and code, profiles by their text. */
static bool is_same(const struct cl_json *a, const struct cl_json *b)
{
	if (a->kind == CL_JSON_STRING || b->kind == CL_JSON_STRING)
		return cl_json_equal(a, b);
	return cl_str_equal(cl_json_get_text(a, "system"), cl_json_get_text(b, "system")) &&
	       cl_str_equal(cl_json_get_text(a, "code"), cl_json_get_text(b, "code"));
}

static void merge(struct cl_arena *arena, struct cl_json *meta, const char *list, const struct cl_json *given, bool add)
{
	struct cl_json *present = cl_json_get(meta, list);
	for (uint32_t i = 0; given && given->kind == CL_JSON_ARRAY && i < given->count; i++) {
		uint32_t k = 0;
		while (present && k < present->count && !is_same(&present->items[k], &given->items[i]))
			k++;
		bool found = present && k < present->count;
		if (add && !found) {
			if (!present)
				present = cl_json_set_array(arena, meta, list);
			*cl_json_append(arena, present) = *cl_json_copy(arena, &given->items[i]);
		} else if (!add && found) {
			memmove(&present->items[k], &present->items[k + 1],
			        (present->count - k - 1) * sizeof *present->items);
			present->count--;
		}
	}
	if (present && !present->count)
		cl_json_remove(meta, list);
}

int cl_interaction_meta_change(struct cl_interaction_context *context, bool add, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_json *body, *resource, *given = NULL;
	struct cl_version current;
	struct cl_str rule;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_UPDATE, route->type, &rule, e);
	if (!code)
		code = cl_interaction_body(context, &body, e);
	if (code)
		return code;
	struct cl_json *parameters = cl_json_get(body, "parameter");
	if (cl_str_is(cl_json_get_text(body, "resourceType"), "Parameters") &&
	    cl_fhir_validate(context->arena, body, context->request->body, context->issues))
		return cl_issues_first_error(context->issues, CL_E_RULE, e);
	for (uint32_t i = 0; parameters && parameters->kind == CL_JSON_ARRAY && i < parameters->count; i++)
		if (cl_str_is(cl_json_get_text(&parameters->items[i], "name"), "meta"))
			given = cl_json_get(&parameters->items[i], "valueMeta");
	if (!given) {
		cl_fail(e, CL_E_INVALID, "%.*s takes a Parameters with the parameter 'meta' (valueMeta)",
		        CL_STR_ARGS(route->operation));
		return cl_fail_at(e, "Parameters.parameter");
	}
	code = find(context, &current, &resource, e);
	if (code)
		return code;
	struct cl_json *meta = cl_json_get(resource, "meta");
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
		merge(context->arena, meta, lists[i], cl_json_get(given, lists[i]), add);
	struct cl_write write = {
	        .operation = CL_OP_UPDATE,
	        .type = route->type,
	        .id = route->id,
	        .resource = resource,
	        .if_match = cl_request_header(context->request, "if-match"),
	};
	code = cl_write_run(context, &write, e);
	if (!code)
		code = cl_json_parse(context->arena, write.version.body, NULL, &resource, e);
	if (!code)
		answer(context, &write.version, cl_json_get(resource, "meta"));
	return code;
}
