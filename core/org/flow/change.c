/* change.c: what requests and plugins call to create, update and delete: plain resources here, instances to their
 * machines. */
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"
#include "base/id.h"

static struct cl_str workflow_code(uint16_t type, const struct cl_json *resource)
{
	return type == CL_TYPE_TASK ? cl_concept_code(cl_json_get(resource, "code"), CL_STR(CL_WORKFLOW_SYSTEM))
	                            : CL_STR_NONE;
}

static int type_of(const struct cl_json *resource, uint16_t *type, struct cl_err *e)
{
	struct cl_str name = cl_json_get_text(resource, "resourceType");
	*type = cl_fhir_type(name);
	if (*type)
		return 0;
	if (name.n)
		cl_fail(e, CL_E_RULE, "'%.*s' is no resource type of FHIR R4", CL_STR_ARGS(name));
	else
		cl_fail(e, CL_E_RULE, "resourceType is missing");
	return cl_fail_at(e, "resourceType");
}

int cl_change_create(struct cl_unit *unit, struct cl_json *resource, struct cl_str id, struct cl_version *out,
                     struct cl_issues *issues, struct cl_err *e)
{
	uint16_t type;
	int code = type_of(resource, &type, e);
	if (code)
		return code;
	if (id.n && !cl_is_fhir_id(id))
		return cl_fail(e, CL_E_INVALID, "'%.*s' is no FHIR id: letters, digits, '-' and '.', at most 64",
		               CL_STR_ARGS(id));
	struct cl_str workflow = workflow_code(type, resource);
	if (workflow.n) {
		struct cl_start start = {.workflow = workflow, .task = resource, .id = id};
		return cl_instance_start(unit, &start, out, issues, e);
	}
	if (id.n)
		return cl_unit_put(unit, CL_OP_CREATE, type, id, resource, false, out, issues, e);
	/* A derived id is new: nothing needs to be looked up. */
	struct cl_version none = {.type = type};
	return cl_unit_put_over(unit, CL_OP_CREATE, type, cl_unit_id(unit, cl_fhir_type_name(type)), resource, 0, &none,
	                        NULL, out, issues, e);
}

static int check_expected(struct cl_str name, struct cl_str id, const struct cl_version *current, bool exists,
                          int64_t expected, struct cl_err *e)
{
	if (!expected || (exists && current->version == expected))
		return 0;
	if (!exists)
		return cl_fail(e, CL_E_PRECONDITION, "%.*s/%.*s is not there, but version %lld was expected",
		               CL_STR_ARGS(name), CL_STR_ARGS(id), (long long)expected);
	return cl_fail(e, CL_E_PRECONDITION,
	               "%.*s/%.*s is at version %lld, not %lld; read it again and repeat your change",
	               CL_STR_ARGS(name), CL_STR_ARGS(id), (long long)current->version, (long long)expected);
}

/* Is the Task an instance? */
static int find_instance(struct cl_unit *unit, uint16_t type, struct cl_str id, struct cl_stored_instance *instance,
                         bool *found, struct cl_err *e)
{
	struct cl_err problem = {0};
	*found = false;
	if (type != CL_TYPE_TASK)
		return 0;
	int code = cl_store_instance_get(unit->store, unit->arena, id, instance, &problem);
	*found = code == 0;
	if (code && code != CL_E_NOT_FOUND) {
		if (e)
			*e = problem;
		return code;
	}
	return 0;
}

int cl_change_update(struct cl_unit *unit, struct cl_json *resource, int64_t expected_version, struct cl_version *out,
                     struct cl_issues *issues, struct cl_err *e)
{
	struct cl_version current;
	struct cl_stored_instance instance;
	bool is_instance;
	uint16_t type;
	int code = type_of(resource, &type, e);
	if (code)
		return code;
	struct cl_str name = cl_fhir_type_name(type), id = cl_json_get_text(resource, "id");
	if (!cl_is_fhir_id(id)) {
		cl_fail(e, CL_E_INVALID, "an update needs the resource's id");
		return cl_fail_at(e, "%.*s.id", CL_STR_ARGS(name));
	}
	code = cl_unit_current(unit, type, id, &current, e);
	if (code)
		return code;
	bool exists = current.version && current.operation != CL_OP_DELETE;
	code = check_expected(name, id, &current, exists, expected_version, e);
	if (code)
		return code;
	struct cl_str workflow = workflow_code(type, resource);
	if (!exists && workflow.n)
		return cl_change_create(unit, resource, id, out, issues, e);
	code = exists ? find_instance(unit, type, id, &instance, &is_instance, e) : 0;
	if (code)
		return code;
	if (exists && is_instance)
		return cl_instance_update(unit, resource, out, issues, e);
	if (workflow.n) {
		cl_fail(e, CL_E_RULE,
		        "Task/%.*s is no workflow instance and cannot become one: create a new Task with this code",
		        CL_STR_ARGS(id));
		return cl_fail_at(e, "Task.code");
	}
	return cl_unit_put_over(unit, CL_OP_UPDATE, type, id, resource, 0, &current, NULL, out, issues, e);
}

/* The events that end it; all legal ones when none does at once. */
static struct cl_str ending_events(struct cl_arena *arena, const struct cl_workflow *workflow, int state)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	const struct cl_state_rule *rule = &workflow->states[state];
	for (size_t i = 0; i < rule->transition_count; i++)
		if (workflow->states[rule->transitions[i].target].final)
			cl_buf_printf(&text, "%s%.*s (%.*s)", text.n ? ", " : "",
			              CL_STR_ARGS(rule->transitions[i].event),
			              CL_STR_ARGS(cl_transition_by(arena, rule, &rule->transitions[i])));
	struct cl_str out =
	        text.n ? cl_arena_copy(arena, cl_buf_str(&text)) : cl_instance_legal(arena, workflow, state);
	cl_buf_free(&text);
	return out;
}

static int refuse_live(struct cl_unit *unit, const struct cl_stored_instance *instance, struct cl_err *e)
{
	const struct cl_workflow *workflow = cl_catalog_workflow(unit->catalog, instance->workflow);
	int state = workflow ? cl_workflow_state(workflow, instance->state) : -1;
	if (state < 0)
		return cl_fail(e, CL_E_RULE,
		               "Task/%.*s is a %.*s that still runs, but no plugin declares its state any more",
		               CL_STR_ARGS(instance->task), CL_STR_ARGS(instance->workflow));
	return cl_fail(e, CL_E_RULE,
	               "Task/%.*s is a %.*s in state %.*s and cannot be deleted while it runs; end it with: %.*s",
	               CL_STR_ARGS(instance->task), CL_STR_ARGS(instance->workflow), CL_STR_ARGS(instance->state),
	               CL_STR_ARGS(ending_events(unit->arena, workflow, state)));
}

int cl_change_delete(struct cl_unit *unit, uint16_t type, struct cl_str id, int64_t expected_version,
                     struct cl_version *out, struct cl_err *e)
{
	struct cl_version current;
	struct cl_stored_instance instance;
	bool is_instance;
	struct cl_str name = cl_fhir_type_name(type);
	int code = cl_unit_current(unit, type, id, &current, e);
	if (code)
		return code;
	if (!current.version)
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s/%.*s is not known here", CL_STR_ARGS(name), CL_STR_ARGS(id));
	if (current.operation == CL_OP_DELETE)
		return cl_fail(e, CL_E_GONE, "%.*s/%.*s was deleted", CL_STR_ARGS(name), CL_STR_ARGS(id));
	code = check_expected(name, id, &current, true, expected_version, e);
	if (!code)
		code = find_instance(unit, type, id, &instance, &is_instance, e);
	if (!code && is_instance && !instance.final)
		code = refuse_live(unit, &instance, e);
	if (code)
		return code;
	return cl_unit_put_over(unit, CL_OP_DELETE, type, id, NULL, 0, &current, NULL, out, NULL, e);
}
