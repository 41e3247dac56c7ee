/* instance_task.c: what a state looks like in the Task that FHIR clients see. */
#include "org/flow/instance_internal.h"
#include "base/date.h"

static struct cl_str local_text(struct cl_unit *unit, cl_instant at)
{
	return cl_zone_text(unit->arena, unit->organization->calendar.zone, at);
}

static struct cl_json *object_member(struct cl_arena *arena, struct cl_json *object, const char *name)
{
	struct cl_json *member = cl_json_get(object, name);
	return member && member->kind == CL_JSON_OBJECT ? member : cl_json_set_object(arena, object, name);
}

/* Takes a member out of an object that is a member itself; an object that becomes empty goes too (FHIR allows none). */
static void remove_inner(struct cl_json *object, const char *outer, const char *inner)
{
	struct cl_json *member = cl_json_get(object, outer);
	if (member && member->kind == CL_JSON_OBJECT && cl_json_remove(member, inner) && !member->count)
		cl_json_remove(object, outer);
}

void cl_task_set_due(struct cl_unit *unit, struct cl_json *task, cl_instant due)
{
	struct cl_json *restriction = cl_json_get(task, "restriction");
	if (due) {
		restriction = object_member(unit->arena, task, "restriction");
		cl_json_set_text(unit->arena, object_member(unit->arena, restriction, "period"), "end",
		                 local_text(unit, due));
	} else if (restriction && restriction->kind == CL_JSON_OBJECT) {
		remove_inner(restriction, "period", "end");
		if (!restriction->count)
			cl_json_remove(task, "restriction");
	}
}

static void append_role(struct cl_arena *arena, struct cl_json *types, struct cl_str role)
{
	cl_fill_concept(arena, cl_json_append(arena, types), CL_STR(CL_ROLE_SYSTEM), role, CL_STR_NONE);
}

/* The owner first; for a party that this organization is, also the local roles, so that each finds its work by search.
 * What clients put there with other systems stays. */
static void set_roles(struct cl_unit *unit, struct cl_move *move)
{
	const struct cl_state_rule *state = &move->workflow->states[move->target];
	struct cl_json former = {0}, *types = cl_json_get(move->task, "performerType");
	if (types && types->kind == CL_JSON_ARRAY)
		former = *types;
	types = cl_json_set_array(unit->arena, move->task, "performerType");
	if (!state->final) {
		append_role(unit->arena, types, state->owner);
		struct cl_roles roles = cl_local_roles(move->workflow, move->record, &state->owner);
		for (size_t i = 0; i < roles.count && !roles.is_partner; i++)
			if (!cl_str_equal(roles.items[i], state->owner))
				append_role(unit->arena, types, roles.items[i]);
	}
	for (uint32_t i = 0; i < former.count; i++)
		if (!cl_concept_code(&former.items[i], CL_STR(CL_ROLE_SYSTEM)).n)
			*cl_json_append(unit->arena, types) = former.items[i];
	if (!types->count)
		cl_json_remove(move->task, "performerType");
}

static void set_business_status(struct cl_unit *unit, struct cl_move *move, const struct cl_state_rule *state)
{
	struct cl_str system = state->business_system, code = state->business_code;
	if (!code.n) {
		system = cl_arena_printf(unit->arena, "urn:careloop:%.*s", CL_STR_ARGS(move->workflow->name));
		code = state->name;
	}
	cl_fill_concept(unit->arena, cl_json_set(unit->arena, move->task, CL_STR("businessStatus")), system, code,
	                state->business_display);
}

/* What the event brought and FHIR has a place for. A client's own Task says it in its own words already. */
static void set_words(struct cl_unit *unit, struct cl_move *move)
{
	struct cl_arena *arena = unit->arena;
	struct cl_str reason = cl_json_get_text(move->data, "reason"), note = cl_json_get_text(move->data, "note");
	if (reason.n)
		cl_json_set_text(arena, cl_json_set_object(arena, move->task, "statusReason"), "text", reason);
	else if (move->trusted)
		cl_json_remove(move->task, "statusReason");
	if (!note.n || !move->trusted)
		return;
	struct cl_json *notes = cl_json_get(move->task, "note");
	if (!notes || notes->kind != CL_JSON_ARRAY)
		notes = cl_json_set_array(arena, move->task, "note");
	struct cl_json *item = cl_json_append(arena, notes);
	item->kind = CL_JSON_OBJECT;
	if (unit->actor.reference.n)
		cl_set_reference(arena, item, "authorReference", unit->actor.reference);
	else
		cl_json_set_text(arena, item, "authorString", unit->actor.name);
	cl_json_set_text(arena, item, "time", local_text(unit, unit->now));
	cl_json_set_text(arena, item, "text", note);
}

void cl_task_enter(struct cl_unit *unit, struct cl_move *move, cl_instant due)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *task = move->task;
	const struct cl_state_rule *state = &move->workflow->states[move->target];
	cl_json_set_text(arena, task, "lastModified", local_text(unit, unit->now));
	cl_task_set_due(unit, task, due);
	if (move->stays)
		return;
	cl_json_set_text(arena, task, "status", state->status);
	set_business_status(unit, move, state);
	if (!move->quiet && move->instance.state.n) /* not at the start */
		set_words(unit, move);
	struct cl_str owner = cl_json_get_text(move->data, "owner");
	if (owner.n && (memchr(owner.p, '/', owner.n) || cl_str_starts(owner, "urn:")))
		cl_set_reference(arena, task, "owner", owner);
	set_roles(unit, move);
	if (state->final)
		cl_json_set_text(arena, object_member(arena, task, "executionPeriod"), "end",
		                 local_text(unit, move->occurred));
	else
		remove_inner(task, "executionPeriod", "end");
}
