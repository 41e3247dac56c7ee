/* instance_escalation.c: who is told when a clock has run out: a Task for each, or one list when they are too many for a day. */
#include "base/date.h"
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

static struct cl_str escalation_words(struct cl_unit *unit, const struct cl_move *move)
{
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	const struct cl_zone *zone = unit->organization->calendar.zone;
	return cl_arena_printf(unit->arena, "Overdue: %.*s is in state %.*s since %.*s; next action of %.*s: %.*s",
	                       CL_STR_ARGS(move->workflow->name), CL_STR_ARGS(state->name),
	                       CL_STR_ARGS(cl_zone_text(unit->arena, zone, move->instance.entered)),
	                       CL_STR_ARGS(state->owner),
	                       CL_STR_ARGS(state->action.n ? state->action : CL_STR("move it")));
}

/* A Task for the role that is to look at it, until the clock runs out once more. */
static int create_escalation(struct cl_unit *unit, struct cl_move *move, struct cl_str id, cl_instant due,
                             struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	struct cl_json *task = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_str now = cl_zone_text(arena, unit->organization->calendar.zone, unit->now);
	cl_json_set_text(arena, task, "resourceType", CL_STR("Task"));
	cl_json_set_text(arena, task, "status", CL_STR("requested"));
	cl_json_set_text(arena, task, "intent", CL_STR("order"));
	cl_json_set_text(arena, task, "priority", CL_STR("urgent"));
	cl_fill_concept(arena, cl_json_set(arena, task, CL_STR("code")), CL_STR(CL_TASK_SYSTEM), CL_STR("escalation"),
	                CL_STR("Escalation"));
	cl_json_set_text(arena, task, "description", escalation_words(unit, move));
	cl_set_reference(arena, task, "focus", cl_arena_printf(arena, "Task/%.*s", CL_STR_ARGS(move->instance.task)));
	if (move->instance.patient.n)
		cl_set_reference(arena, task, "for",
		                 cl_arena_printf(arena, "Patient/%.*s", CL_STR_ARGS(move->instance.patient)));
	cl_json_set_text(arena, task, "authoredOn", now);
	cl_json_set_text(arena, task, "lastModified", now);
	struct cl_roles roles = cl_local_roles(move->workflow, move->record,
	                                       state->escalate_to.n ? &state->escalate_to : &state->owner);
	struct cl_json *types = cl_json_set_array(arena, task, "performerType");
	for (size_t i = 0; i < roles.count; i++)
		cl_fill_concept(arena, cl_json_append(arena, types), CL_STR(CL_ROLE_SYSTEM), roles.items[i],
		                CL_STR_NONE);
	if (!roles.count)
		cl_json_remove(task, "performerType");
	cl_task_set_due(unit, task, due);
	struct cl_version none = {.type = CL_TYPE_TASK};
	return cl_unit_put_over(unit, CL_OP_CREATE, CL_TYPE_TASK, id, task, CL_PUT_TRUSTED, &none, NULL, NULL, NULL, e);
}

/* ---- too many of them -------------------------------------------------------------------------------------------- */

/* What the house wants to see of one role on one day is the organization's `escalation_ceilings`; what comes beyond is grouped
 * in one Task that says how many and lists every one. The count stands in the file's small named values. */
static int ask_ceiling(struct cl_unit *unit, struct cl_str role, struct cl_str *id, bool *grouped, struct cl_err *e)
{
	int64_t ceiling = 0, count = 0;
	struct cl_arena *arena = unit->arena;
	struct cl_str text;
	struct cl_json *kept = NULL;
	struct cl_err problem = {0};
	const struct cl_json *ceilings = cl_json_get(unit->organization->config, "escalation_ceilings");
	if (!cl_json_integer(cl_json_get_str(ceilings, role), &ceiling) || ceiling < 1)
		return 0;
	const char *name = cl_arena_cstring(arena, cl_arena_printf(arena, "ceiling:%.*s", CL_STR_ARGS(role)));
	int code = cl_store_meta_get(unit->store, arena, name, &text, &problem);
	if (code && code != CL_E_NOT_FOUND) {
		*e = problem;
		return code;
	}
	struct cl_date date = cl_zone_local(unit->organization->calendar.zone, unit->now).date;
	struct cl_str today = cl_arena_printf(arena, "%04d-%02d-%02d", date.year, date.month, date.day);
	bool known = !code && text.n && !cl_json_parse(arena, text, NULL, &kept, &problem) &&
	             cl_str_equal(cl_json_get_text(kept, "day"), today);
	if (!known) {
		kept = cl_json_new(arena, CL_JSON_OBJECT);
		cl_json_set_text(arena, kept, "day", today);
	}
	cl_json_integer(cl_json_get(kept, "count"), &count);
	*grouped = count >= ceiling;
	if (*grouped && cl_json_get_text(kept, "group").n)
		*id = cl_json_get_text(kept, "group");
	else if (*grouped)
		cl_json_set_text(arena, kept, "group", *id);
	cl_json_set_integer(arena, kept, "count", count + 1);
	return cl_store_meta_set(unit->store, name, cl_json_arena_text(arena, kept), e);
}

static bool is_group(const struct cl_json *task)
{
	return cl_str_is(cl_concept_code(cl_json_get(task, "code"), CL_STR(CL_TASK_SYSTEM)), "escalations");
}

static bool is_listed(const struct cl_json *ids, struct cl_str id)
{
	for (uint32_t i = 0; i < ids->count; i++)
		if (cl_str_equal(cl_json_text(&ids->items[i]), id))
			return true;
	return false;
}

static bool is_of(const struct cl_json *input, struct cl_str reference)
{
	return cl_str_equal(cl_json_text(cl_json_path(input, "valueReference", "reference", NULL)), reference);
}

static void describe_group(struct cl_unit *unit, struct cl_json *task)
{
	const struct cl_json *inputs = cl_json_get(task, "input");
	cl_json_set_text(
	        unit->arena, task, "description",
	        cl_arena_printf(unit->arena, "%u more are overdue; the list is complete", inputs ? inputs->count : 0));
	cl_json_set_text(unit->arena, task, "lastModified",
	                 cl_zone_text(unit->arena, unit->organization->calendar.zone, unit->now));
}

/* Adds the instance to the day's list, which is made when it is the first. */
static int add_to_group(struct cl_unit *unit, struct cl_move *move, struct cl_str role, struct cl_str id,
                        struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_version former;
	struct cl_json *task;
	struct cl_str reference = cl_arena_printf(arena, "Task/%.*s", CL_STR_ARGS(move->instance.task));
	int code = cl_unit_current(unit, CL_TYPE_TASK, id, &former, e);
	if (code)
		return code;
	if (!former.version) {
		task = cl_json_new(arena, CL_JSON_OBJECT);
		cl_json_set_text(arena, task, "resourceType", CL_STR("Task"));
		cl_json_set_text(arena, task, "intent", CL_STR("order"));
		cl_json_set_text(arena, task, "priority", CL_STR("urgent"));
		cl_fill_concept(arena, cl_json_set(arena, task, CL_STR("code")), CL_STR(CL_TASK_SYSTEM),
		                CL_STR("escalations"), CL_STR("Escalations beyond the day's ceiling"));
		cl_json_set_text(arena, task, "authoredOn",
		                 cl_zone_text(arena, unit->organization->calendar.zone, unit->now));
		cl_fill_concept(arena, cl_json_append(arena, cl_json_set_array(arena, task, "performerType")),
		                CL_STR(CL_ROLE_SYSTEM), role, CL_STR_NONE);
	} else if (cl_json_parse(arena, former.body, NULL, &task, e)) {
		return CL_E_CORRUPT;
	}
	struct cl_json *inputs = cl_json_get(task, "input");
	if (!inputs || inputs->kind != CL_JSON_ARRAY)
		inputs = cl_json_set_array(arena, task, "input");
	for (uint32_t i = 0; i < inputs->count; i++)
		if (is_of(&inputs->items[i], reference))
			return 0;
	struct cl_json *input = cl_json_append(arena, inputs);
	input->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, cl_json_set_object(arena, input, "type"), "text", escalation_words(unit, move));
	cl_set_reference(arena, input, "valueReference", reference);
	cl_json_set_text(arena, task, "status", CL_STR("requested"));
	describe_group(unit, task);
	return cl_unit_put_over(unit, former.version ? CL_OP_UPDATE : CL_OP_CREATE, CL_TYPE_TASK, id, task,
	                        CL_PUT_TRUSTED, &former, NULL, NULL, NULL, e);
}

/* False when it was the last: then the list is done. */
static bool leave_group(struct cl_unit *unit, const struct cl_move *move, struct cl_json *task)
{
	struct cl_json *inputs = cl_json_get(task, "input"), left = {.kind = CL_JSON_ARRAY};
	struct cl_str reference = cl_arena_printf(unit->arena, "Task/%.*s", CL_STR_ARGS(move->instance.task));
	for (uint32_t i = 0; inputs && i < inputs->count; i++)
		if (!is_of(&inputs->items[i], reference))
			*cl_json_append(unit->arena, &left) = inputs->items[i];
	if (!left.count)
		return false;
	*inputs = left;
	describe_group(unit, task);
	return true;
}

/* ---- one of them -------------------------------------------------------------------------------------------------- */

static void raise_priority(struct cl_unit *unit, struct cl_json *task)
{
	struct cl_str priority = cl_json_get_text(task, "priority");
	if (!priority.n || cl_str_is(priority, "routine"))
		cl_json_set_text(unit->arena, task, "priority", CL_STR("urgent"));
}

int cl_escalate(struct cl_unit *unit, struct cl_move *move, int64_t fired, struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	struct cl_json *ids = cl_json_get(move->record, "escalations");
	struct cl_roles roles = cl_local_roles(move->workflow, move->record,
	                                       state->escalate_to.n ? &state->escalate_to : &state->owner);
	struct cl_str id = cl_unit_id(unit, CL_STR("escalation"));
	bool grouped = false;
	int code = roles.count ? ask_ceiling(unit, roles.items[0], &id, &grouped, e) : 0;
	if (code)
		return code;
	move->event = CL_STR("overdue");
	move->transition = NULL;
	move->data = NULL;
	move->target = move->from;
	move->stays = true;
	move->clock = state->again;
	move->timer_data = cl_arena_printf(unit->arena, "{\"fired\":%lld}", (long long)fired + 1);
	if (!ids || ids->kind != CL_JSON_ARRAY)
		ids = cl_json_set_array(unit->arena, move->record, "escalations");
	if (!is_listed(ids, id))
		cl_json_append_text(unit->arena, ids, id);
	raise_priority(unit, move->task);
	code = cl_move_apply(unit, move, NULL, NULL, e);
	if (!code && grouped)
		return add_to_group(unit, move, roles.items[0], id, e);
	return code ? code : create_escalation(unit, move, id, move->instance.due, e);
}

int cl_escalations_close(struct cl_unit *unit, const struct cl_move *move, const struct cl_json *ids, struct cl_err *e)
{
	for (uint32_t i = 0; i < ids->count; i++) {
		struct cl_json *task;
		struct cl_version former;
		struct cl_err ignored = {0};
		struct cl_str id = cl_json_text(&ids->items[i]);
		if (cl_unit_read(unit, CL_TYPE_TASK, id, &task, &former, &ignored))
			continue;
		struct cl_str status = cl_json_get_text(task, "status");
		if (cl_str_is(status, "completed") || cl_str_is(status, "cancelled") || cl_str_is(status, "rejected") ||
		    cl_str_is(status, "failed") || cl_str_is(status, "entered-in-error"))
			continue;
		if (is_group(task) && leave_group(unit, move, task)) {
			int code = cl_unit_put_over(unit, CL_OP_UPDATE, CL_TYPE_TASK, id, task, CL_PUT_TRUSTED, &former,
			                            NULL, NULL, NULL, e);
			if (code)
				return code;
			continue;
		}
		cl_json_set_text(unit->arena, task, "status", CL_STR("completed"));
		cl_json_set_text(unit->arena, cl_json_set_object(unit->arena, task, "statusReason"), "text",
		                 cl_arena_printf(unit->arena, "moved on: %.*s", CL_STR_ARGS(move->event)));
		cl_json_set_text(unit->arena, task, "lastModified",
		                 cl_zone_text(unit->arena, unit->organization->calendar.zone, unit->now));
		int code = cl_unit_put_over(unit, CL_OP_UPDATE, CL_TYPE_TASK, id, task, CL_PUT_TRUSTED, &former, NULL,
		                            NULL, NULL, e);
		if (code)
			return code;
	}
	return 0;
}
