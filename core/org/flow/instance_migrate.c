/* instance_migrate.c: instances in flight when the plugins change: kept where they are, moved by the map that the new
 * machine states, or named as stranded. */
#include "org/flow/instance_internal.h"
#include "org/fhir/types.h"

#define NAMED_MAXIMUM 360 /* bytes of stranded instances that fit into one message */

struct destination {
	const struct cl_workflow *workflow;
	int state; /* -1: stranded */
	bool mapped;
};

static struct destination find_destination(const struct cl_catalog *catalog, const struct cl_stored_instance *instance)
{
	struct destination to = {cl_catalog_workflow(catalog, instance->workflow), -1, false};
	if (!to.workflow)
		return to;
	to.state = cl_workflow_state(to.workflow, instance->state);
	for (size_t i = 0; to.state < 0 && i < to.workflow->migrate_count; i++)
		if (cl_str_equal(to.workflow->migrate[i].from, instance->state)) {
			to.state = cl_workflow_state(to.workflow, to.workflow->migrate[i].to);
			to.mapped = true;
		}
	return to;
}

static int refuse_stranded(const struct cl_catalog *catalog, const struct cl_instance_list *list, struct cl_err *e)
{
	struct cl_buf names;
	size_t count = 0;
	cl_buf_init(&names, NAMED_MAXIMUM);
	for (size_t i = 0; i < list->count; i++) {
		const struct cl_stored_instance *instance = &list->items[i];
		if (find_destination(catalog, instance).state >= 0)
			continue;
		count++;
		if (names.n + instance->task.n + instance->workflow.n + instance->state.n + 16 < NAMED_MAXIMUM)
			cl_buf_printf(&names, "%sTask/%.*s (%.*s, %.*s)", names.n ? ", " : "",
			              CL_STR_ARGS(instance->task), CL_STR_ARGS(instance->workflow),
			              CL_STR_ARGS(instance->state));
	}
	if (count)
		cl_fail(e, CL_E_RULE, "%zu live instances would be stranded: say `migrate` for their states: %.*s",
		        count, CL_STR_ARGS(cl_buf_str(&names)));
	cl_buf_free(&names);
	return count ? CL_E_RULE : 0;
}

/* Would the Task of an instance in this state look the same under both machines? */
static bool looks_the_same(const struct cl_catalog *former, const struct cl_stored_instance *instance,
                           const struct cl_state_rule *now)
{
	const struct cl_workflow *workflow = former ? cl_catalog_workflow(former, instance->workflow) : NULL;
	int state = workflow ? cl_workflow_state(workflow, instance->state) : -1;
	if (state < 0)
		return false;
	const struct cl_state_rule *then = &workflow->states[state];
	return cl_str_equal(then->status, now->status) && cl_str_equal(then->business_system, now->business_system) &&
	       cl_str_equal(then->business_code, now->business_code) && cl_str_equal(then->owner, now->owner) &&
	       then->final == now->final;
}

/* The same state with another face: the Task is written anew, the clock runs on as it was promised. A Task that comes
 * out the same, but for the time of writing, is left alone. */
static int refresh(struct cl_unit *unit, const struct cl_stored_instance *instance, struct cl_err *e)
{
	struct cl_move move;
	struct cl_json *before;
	int code = cl_move_load(unit, instance->task, &move, e);
	if (!code)
		code = cl_json_parse(unit->arena, move.former.body, NULL, &before, e);
	if (code)
		return code;
	move.quiet = true;
	cl_task_enter(unit, &move, move.instance.due);
	struct cl_str modified = cl_json_get_text(move.task, "lastModified");
	cl_json_set_text(unit->arena, before, "lastModified", modified);
	if (!cl_json_equal(before, move.task)) {
		struct cl_version version;
		code = cl_unit_put_over(unit, CL_OP_UPDATE, CL_TYPE_TASK, instance->task, move.task, CL_PUT_TRUSTED,
		                        &move.former, NULL, &version, NULL, e);
	}
	if (code)
		return code;
	move.instance.plugins = unit->catalog->hash;
	move.instance.owner = move.workflow->states[move.target].owner;
	return cl_store_instance_put(unit->store, &move.instance, e);
}

static int move_to(struct cl_unit *unit, const struct cl_stored_instance *instance, int state, struct cl_err *e)
{
	struct cl_move move;
	int code = cl_move_load(unit, instance->task, &move, e);
	if (code)
		return code;
	move.event = CL_STR("migrate");
	move.target = state;
	move.quiet = true;
	return cl_move_apply(unit, &move, NULL, NULL, e);
}

int cl_instance_migrate(struct cl_unit *unit, const struct cl_catalog *former, struct cl_err *e)
{
	struct cl_instance_list list = {0};
	int code = cl_store_instances(unit->store, unit->arena, CL_STR_NONE, CL_STR_NONE, CL_STR_NONE, true, UINT32_MAX,
	                              &list, e);
	if (!code)
		code = refuse_stranded(unit->catalog, &list, e);
	for (size_t i = 0; i < list.count && !code; i++) {
		struct cl_stored_instance *instance = &list.items[i];
		struct destination to = find_destination(unit->catalog, instance);
		const struct cl_state_rule *rule = &to.workflow->states[to.state];
		if (cl_str_equal(instance->plugins, unit->catalog->hash) && !to.mapped)
			continue;
		if (to.mapped || rule->final) {
			code = move_to(unit, instance, to.state, e);
		} else if (looks_the_same(former, instance, rule)) {
			instance->plugins = unit->catalog->hash;
			code = cl_store_instance_put(unit->store, instance, e);
		} else {
			code = refresh(unit, instance, e);
		}
	}
	return code;
}
