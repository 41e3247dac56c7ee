/* validation.c: $validate (FHIR R4 resource-operation-validate.html): what would be said if a resource were created, updated or
 * deleted. It changes nothing and leaves nothing in the event log; what was found is the answer, not a failure. */
#include "org/engine/interaction.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"

#define CL_BASE_PROFILES "http://hl7.org/fhir/StructureDefinition/"

struct cl_validation {
	struct cl_json *resource; /* NULL: none was given */
	struct cl_str mode, profile;
};

static bool is_wrapper(const struct cl_json *body)
{
	const struct cl_json *parameters = cl_json_get(body, "parameter");
	if (!cl_str_is(cl_json_get_text(body, "resourceType"), "Parameters") || !parameters ||
	    parameters->kind != CL_JSON_ARRAY)
		return false;
	for (uint32_t i = 0; i < parameters->count; i++) {
		struct cl_str name = cl_json_get_text(&parameters->items[i], "name");
		if (cl_str_is(name, "resource") || cl_str_is(name, "mode") || cl_str_is(name, "profile"))
			return true;
	}
	return false;
}

static void unwrap(struct cl_interaction_context *context, const struct cl_json *body, struct cl_validation *out)
{
	const struct cl_json *parameters = cl_json_get(body, "parameter");
	for (uint32_t i = 0; i < parameters->count; i++) {
		const struct cl_json *one = &parameters->items[i];
		struct cl_str name = cl_json_get_text(one, "name");
		if (cl_str_is(name, "resource")) {
			out->resource = cl_json_get(one, "resource");
		} else if (cl_str_is(name, "mode")) {
			out->mode = cl_json_get_text(one, "valueCode");
			if (!out->mode.n)
				out->mode = cl_json_get_text(one, "valueString");
		} else if (cl_str_is(name, "profile")) {
			out->profile = cl_json_get_text(one, "valueUri");
			if (!out->profile.n)
				out->profile = cl_json_get_text(one, "valueCanonical");
		} else {
			cl_issues_add(context->issues, CL_SEVERITY_WARNING, "not-supported",
			              cl_arena_printf(context->arena, "Parameters.parameter[%u]", i),
			              "The parameter '%.*s' is not known to $validate and was left out of account.",
			              (int)(name.n < 60 ? name.n : 60), name.p);
		}
	}
}

static int read_input(struct cl_interaction_context *context, struct cl_validation *out, struct cl_err *e)
{
	static const char *const modes[] = {"create", "update", "delete", "profile"};
	struct cl_json *body;
	*out = (struct cl_validation){0};
	int code = cl_interaction_body(context, &body, e);
	if (code)
		return code;
	if (is_wrapper(body))
		unwrap(context, body, out);
	else
		out->resource = body;
	bool known = !out->mode.n;
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		known |= cl_str_is(out->mode, modes[i]);
	if (!known)
		return cl_fail(e, CL_E_INVALID, "mode is create, update, delete or profile");
	bool needs_id = cl_str_is(out->mode, "update") || cl_str_is(out->mode, "delete");
	if (needs_id && !context->route->id.n)
		return cl_fail(e, CL_E_INVALID, "mode %.*s needs the address of a resource: Type/id/$validate",
		               CL_STR_ARGS(out->mode));
	if (cl_str_is(out->mode, "create") && context->route->id.n)
		return cl_fail(e, CL_E_INVALID, "mode create needs an address without an id: Type/$validate");
	if (!out->resource && !cl_str_is(out->mode, "delete"))
		return cl_fail(e, CL_E_INVALID,
		               "give the resource as the body, or as the parameter 'resource' of a Parameters");
	if (cl_str_is(out->mode, "profile") && !out->profile.n)
		return cl_fail(e, CL_E_INVALID, "mode profile needs the parameter 'profile'");
	return 0;
}

/* The whole of R4 is looked at anyway; other profiles are not known here, and that is said. */
static void check_profile(struct cl_interaction_context *context, const struct cl_validation *validation)
{
	struct cl_str type = cl_json_get_text(validation->resource, "resourceType"), profile = validation->profile;
	size_t n = sizeof CL_BASE_PROFILES - 1;
	if (!profile.n)
		return;
	if (!cl_str_starts(profile, CL_BASE_PROFILES) || !cl_fhir_type((struct cl_str){profile.p + n, profile.n - n}))
		cl_issues_add(context->issues, CL_SEVERITY_WARNING, "not-supported", CL_STR_NONE,
		              "The profile '%.*s' is not known here; the resource was validated against FHIR R4 alone.",
		              (int)(profile.n < 200 ? profile.n : 200), profile.p);
	else if (!cl_str_equal((struct cl_str){profile.p + n, profile.n - n}, type))
		cl_issues_add(context->issues, CL_SEVERITY_ERROR, "invalid", type,
		              "The resource is of another type than the profile '%.*s'.", CL_STR_ARGS(profile));
}

static void check_address(struct cl_interaction_context *context, const struct cl_validation *validation)
{
	const struct cl_route *route = context->route;
	struct cl_str type = cl_json_get_text(validation->resource, "resourceType"),
	              name = cl_fhir_type_name(route->type);
	struct cl_str id = cl_json_get_text(validation->resource, "id");
	if (!validation->resource || !route->type)
		return;
	if (!cl_str_equal(type, name)) {
		cl_issues_add(context->issues, CL_SEVERITY_ERROR, "invalid", CL_STR("resourceType"),
		              "This address validates %.*s.", CL_STR_ARGS(name));
		return;
	}
	if (cl_str_is(validation->mode, "update") && !cl_str_equal(id, route->id))
		cl_issues_add(context->issues, CL_SEVERITY_ERROR, id.n ? "invalid" : "required",
		              cl_arena_printf(context->arena, "%.*s.id", CL_STR_ARGS(name)),
		              "An update needs the id of its address, '%.*s'.", CL_STR_ARGS(route->id));
}

/* Would the principal be let? */
static int check_permission(struct cl_interaction_context *context, const struct cl_validation *validation,
                            struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_version current;
	struct cl_err problem = {0};
	struct cl_stored_instance instance;
	bool deletes = cl_str_is(validation->mode, "delete"), updates = cl_str_is(validation->mode, "update");
	enum cl_interaction wanted = deletes ? CL_ACCESS_DELETE : updates ? CL_ACCESS_UPDATE : CL_ACCESS_CREATE;
	if (!route->type || !validation->mode.n || cl_str_is(validation->mode, "profile"))
		return 0;
	int code = cl_access_may(context->rules->access, context->principal, wanted, route->type, &context->rule,
	                         &problem);
	bool exists = false;
	if (!code && (deletes || updates)) {
		code = cl_store_get(context->store, context->arena, route->type, route->id, &current, &problem);
		exists = !code && current.operation != CL_OP_DELETE;
		if (code == CL_E_NOT_FOUND)
			code = 0;
		if (!code && exists)
			code = cl_access_decide_row(context->rules->access, context->store, context->arena,
			                            context->principal, wanted, route->type, current.row,
			                            &context->rule, &problem);
	}
	if (!code && deletes && !exists)
		cl_issues_add(context->issues, CL_SEVERITY_INFORMATION, "not-found", CL_STR_NONE,
		              "There is nothing at this address; deleting it would change nothing.");
	if (!code && exists && deletes && cl_str_is(cl_fhir_type_name(route->type), "Task") &&
	    !cl_store_instance_get(context->store, context->arena, route->id, &instance, &problem) && !instance.final)
		cl_issues_add(context->issues, CL_SEVERITY_ERROR, "business-rule", CL_STR("Task"),
		              "It is a %.*s in state %.*s and cannot be deleted while it runs.",
		              CL_STR_ARGS(instance.workflow), CL_STR_ARGS(instance.state));
	if (!code && !deletes && validation->resource)
		code = cl_write_decide(context, wanted, route->type, route->id, validation->resource, &problem);
	if (code != CL_E_FORBIDDEN && code != CL_E_UNAUTHENTICATED) {
		if (code)
			*e = problem;
		return code;
	}
	cl_issues_add_error(context->issues, &problem);
	return 0;
}

int cl_interaction_validate(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_validation validation;
	context->target = CL_STR("$validate");
	int code = read_input(context, &validation, e);
	if (code)
		return code;
	if (validation.resource) {
		cl_fhir_validate(context->arena, validation.resource, context->request->body, context->issues);
		check_profile(context, &validation);
	}
	check_address(context, &validation);
	/* Values are looked at only when they can be read. */
	if (!context->issues->errors || cl_str_is(validation.mode, "delete"))
		code = check_permission(context, &validation, e);
	if (code)
		return code;
	if (validation.resource)
		cl_fhir_validate_limits(validation.resource, context->issues);
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_outcome_write(&text, context->issues);
	cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8",
	                            cl_arena_copy(context->arena, cl_buf_str(&text)));
	cl_buf_free(&text);
	return 0;
}
