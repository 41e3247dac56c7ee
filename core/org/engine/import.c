/* import.c: Task/$import: instances that began before Careloop was there, each a Task whose businessStatus says the state,
 * authoredOn when it began and lastModified when it came into that state. */
#include "base/date.h"
#include "org/engine/interaction.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"
#include "org/flow/instance.h"

static struct cl_str code_in(const struct cl_json *concept, struct cl_str system)
{
	const struct cl_json *codings = cl_json_get(concept, "coding");
	for (uint32_t i = 0; codings && codings->kind == CL_JSON_ARRAY && i < codings->count; i++)
		if (!system.n || cl_str_equal(cl_json_get_text(&codings->items[i], "system"), system))
			return cl_json_get_text(&codings->items[i], "code");
	return CL_STR_NONE;
}

static bool means(const struct cl_state_rule *state, struct cl_str code)
{
	bool found = cl_str_equal(state->name, code) || cl_str_equal(state->business_code, code);
	for (size_t i = 0; i < state->accept_count && !found; i++)
		found = cl_str_equal(state->accepts[i], code);
	return found;
}

static int read_time(const struct cl_json *task, const char *name, cl_instant *out, struct cl_err *e)
{
	struct cl_moment moment;
	struct cl_str text = cl_json_get_text(task, name);
	if (!text.n) {
		cl_fail(e, CL_E_RULE,
		        "what is taken over says when it began (authoredOn) and came into its state (lastModified)");
		return cl_fail_at(e, "Task.%s", name);
	}
	if (cl_moment_parse(text, 0, &moment, e))
		return cl_fail_at(e, "Task.%s", name);
	*out = moment.lower;
	return 0;
}

static int take_in(struct cl_interaction_context *context, struct cl_json *task, struct cl_err *e)
{
	struct cl_start start = {
	        .workflow = code_in(cl_json_get(task, "code"), CL_STR(CL_WORKFLOW_SYSTEM)),
	        .task = task,
	        .id = cl_json_get_text(task, "id"),
	};
	struct cl_version version;
	const struct cl_workflow *workflow = cl_catalog_workflow(context->rules->catalog, start.workflow);
	struct cl_str code = code_in(cl_json_get(task, "businessStatus"), CL_STR_NONE);
	if (!cl_str_is(cl_json_get_text(task, "resourceType"), "Task")) {
		cl_fail(e, CL_E_RULE, "only Tasks can be taken over");
		return cl_fail_at(e, "resource.resourceType");
	}
	for (size_t s = 0; workflow && s < workflow->state_count && !start.state.n; s++)
		if (means(&workflow->states[s], code))
			start.state = workflow->states[s].name;
	if (workflow && !start.state.n) {
		cl_fail(e, CL_E_RULE, "'%.*s' is no state of %.*s", CL_STR_ARGS(code), CL_STR_ARGS(workflow->name));
		return cl_fail_at(e, "Task.businessStatus");
	}
	int failed = read_time(task, "authoredOn", &start.started, e);
	if (!failed)
		failed = read_time(task, "lastModified", &start.entered, e);
	return failed ? failed : cl_instance_start(context->unit, &start, &version, context->issues, e);
}

int cl_interaction_import(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_json *bundle;
	context->target = CL_STR("Task/$import");
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_ADMIN, 0, &context->rule, e);
	if (!code)
		code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_CREATE, CL_TYPE_TASK,
		                     &context->rule, e);
	if (!code)
		code = cl_interaction_body(context, &bundle, e);
	if (code)
		return code;
	if (!cl_str_is(cl_json_get_text(bundle, "resourceType"), "Bundle")) {
		cl_fail(e, CL_E_INVALID, "$import takes a Bundle of Tasks, of type collection");
		return cl_fail_at(e, "resourceType");
	}
	code = cl_fhir_validate(context->arena, bundle, context->request->body, context->issues);
	if (code)
		return cl_issues_first_error(context->issues, code, e);
	context->unit->rule = context->rule;
	const struct cl_json *entries = cl_json_get(bundle, "entry");
	uint32_t count = entries ? entries->count : 0;
	for (uint32_t i = 0; i < count; i++) {
		struct cl_json *task = cl_json_get(&entries->items[i], "resource");
		code = take_in(context, task ? task : bundle, e);
		if (code) {
			struct cl_err inner = *e;
			return cl_fail_at(e, "Bundle.entry[%u].%s", i, inner.where[0] ? inner.where : "resource");
		}
	}
	struct cl_json *answer = cl_json_new(context->arena, CL_JSON_OBJECT);
	cl_json_set_text(context->arena, answer, "resourceType", CL_STR("Parameters"));
	struct cl_json *parameter =
	        cl_json_append(context->arena, cl_json_set_array(context->arena, answer, "parameter"));
	parameter->kind = CL_JSON_OBJECT;
	cl_json_set_text(context->arena, parameter, "name", CL_STR("taken-over"));
	cl_json_set_integer(context->arena, parameter, "valueInteger", count);
	cl_interaction_answer_json(context, 200, answer);
	return 0;
}
