/* instance_update.c: a FHIR client that knows nothing of workflows updates a Task: which event did it mean? */
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

/* ---- what belongs to the machine --------------------------------------------------------------------------------- */

static const struct cl_json *period_end(const struct cl_json *task)
{
	return cl_json_path(task, "restriction", "period", "end", NULL);
}

static int refuse_owned(struct cl_unit *unit, const struct cl_move *move, const char *where, struct cl_err *e)
{
	cl_fail(e, CL_E_RULE, "%.*s is set by the workflow; move the instance instead. %.*s; legal: %.*s",
	        (int)strlen(where), where, CL_STR_ARGS(cl_move_place(unit, move)),
	        CL_STR_ARGS(move->from < 0 ? CL_STR("none")
	                                   : cl_instance_legal(unit->arena, move->workflow, move->from)));
	return cl_fail_at(e, "%s", where);
}

static bool takes_owner(const struct cl_move *move)
{
	for (size_t i = 0; move->transition && i < move->transition->need_count; i++)
		if (cl_str_is(move->transition->needs[i].name, "owner"))
			return true;
	return false;
}

static int check_owned(struct cl_unit *unit, const struct cl_move *move, struct cl_err *e)
{
	static const struct {
		const char *name, *where;
	} owned[] = {{"code", "Task.code"},
	             {"focus", "Task.focus"},
	             {"for", "Task.for"},
	             {"performerType", "Task.performerType"}};
	const struct cl_json *is = move->former_task, *wanted = move->task;
	for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
		if (!cl_json_equal(cl_json_get(is, owned[i].name), cl_json_get(wanted, owned[i].name)))
			return refuse_owned(unit, move, owned[i].where, e);
	if (!cl_json_equal(cl_json_get(is, "owner"), cl_json_get(wanted, "owner")) && !takes_owner(move))
		return refuse_owned(unit, move, "Task.owner", e);
	if (!cl_json_equal(period_end(is), period_end(wanted)))
		return refuse_owned(unit, move, "Task.restriction.period.end", e);
	return 0;
}

/* ---- which event? ------------------------------------------------------------------------------------------------ */

struct wish {
	bool business; /* businessStatus changed: it says more than status */
	bool status; /* status changed */
	struct cl_str code; /* of the businessStatus wanted */
	struct cl_str wanted_status;
};

/* The first coding that is in the present one's system, or else the first. */
static struct cl_str business_code(const struct cl_json *concept, const struct cl_json *present)
{
	struct cl_str system = cl_json_text(cl_json_path(present, "coding", "0", "system", NULL));
	struct cl_str code = system.n ? cl_concept_code(concept, system) : CL_STR_NONE;
	return code.n ? code : cl_json_text(cl_json_path(concept, "coding", "0", "code", NULL));
}

static bool means(const struct cl_state_rule *state, struct cl_str code)
{
	if (cl_str_equal(state->business_code.n ? state->business_code : state->name, code))
		return true;
	for (size_t i = 0; i < state->accept_count; i++)
		if (cl_str_equal(state->accepts[i], code))
			return true;
	return false;
}

static bool fits(const struct cl_move *move, const struct wish *wish, const struct cl_transition_rule *transition)
{
	const struct cl_state_rule *target = &move->workflow->states[transition->target];
	if (wish->business && !means(target, wish->code))
		return false;
	return !wish->status || cl_str_equal(target->status, wish->wanted_status);
}

/* The one event that the client may fire and that leads where it points. */
static int find_event(struct cl_unit *unit, struct cl_move *move, const struct wish *wish, struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	const struct cl_transition_rule *refused = NULL;
	const char *where = wish->business ? "Task.businessStatus" : "Task.status";
	size_t found = 0;
	for (size_t i = 0; i < state->transition_count; i++) {
		const struct cl_transition_rule *transition = &state->transitions[i];
		if (!fits(move, wish, transition))
			continue;
		if (!cl_move_may(unit, move, transition)) {
			refused = transition;
			continue;
		}
		move->transition = transition;
		found++;
	}
	if (found == 1) {
		move->event = move->transition->event;
		move->target = move->transition->target;
		return 0;
	}
	move->transition = NULL;
	if (!found && refused) {
		cl_move_refuse_actor(unit, move, refused, e);
		return cl_fail_at(e, "%s", where);
	}
	struct cl_str wanted = wish->business ? wish->code : wish->wanted_status;
	cl_fail(e, CL_E_RULE, "%.*s, where '%.*s' %s; legal: %.*s", CL_STR_ARGS(cl_move_place(unit, move)),
	        CL_STR_ARGS(wanted),
	        found ? "could mean several events: use businessStatus or $transition" : "follows from no event",
	        CL_STR_ARGS(cl_instance_legal(unit->arena, move->workflow, move->from)));
	return cl_fail_at(e, "%s", where);
}

/* ---- what it brings ---------------------------------------------------------------------------------------------- */

static bool needs(const struct cl_transition_rule *transition, struct cl_str name)
{
	for (size_t i = 0; i < transition->need_count; i++)
		if (cl_str_equal(transition->needs[i].name, name))
			return true;
	return false;
}

static struct cl_str last_note(const struct cl_json *task)
{
	const struct cl_json *notes = cl_json_get(task, "note");
	if (!notes || notes->kind != CL_JSON_ARRAY || !notes->count)
		return CL_STR_NONE;
	return cl_json_get_text(&notes->items[notes->count - 1], "text");
}

static void gather_data(struct cl_unit *unit, struct cl_move *move)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *data = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_str reason = cl_json_get_text(cl_json_get(move->task, "statusReason"), "text");
	struct cl_str former_reason = cl_json_get_text(cl_json_get(move->former_task, "statusReason"), "text");
	struct cl_str note = last_note(move->task);
	const struct cl_json *inputs = cl_json_get(move->task, "input");
	if (reason.n && (needs(move->transition, CL_STR("reason")) || !cl_str_equal(reason, former_reason)))
		cl_json_set_text(arena, data, "reason", reason);
	if (note.n && !cl_json_equal(cl_json_get(move->task, "note"), cl_json_get(move->former_task, "note")))
		cl_json_set_text(arena, data, "note", note);
	for (uint32_t i = 0; inputs && inputs->kind == CL_JSON_ARRAY && i < inputs->count; i++) {
		struct cl_str name = cl_json_get_text(cl_json_get(&inputs->items[i], "type"), "text");
		const struct cl_json *value = cl_value_of(&inputs->items[i]);
		if (value && needs(move->transition, name))
			*cl_json_set(arena, data, name) = cl_plain_value(value);
	}
	struct cl_str owner = cl_json_get_text(cl_json_get(move->task, "owner"), "reference");
	if (owner.n && takes_owner(move) && !cl_json_get(data, "owner"))
		cl_json_set_text(arena, data, "owner", owner);
	move->data = data;
}

/* ---- the update -------------------------------------------------------------------------------------------------- */

/* Notes, outputs, identifiers ... of an instance that stays where it is; a final one's too. */
static int edit(struct cl_unit *unit, struct cl_move *move, struct cl_version *out, struct cl_issues *issues,
                struct cl_err *e)
{
	return cl_unit_put_over(unit, CL_OP_UPDATE, CL_TYPE_TASK, move->instance.task, move->task, 0, &move->former,
	                        move->former_task, out, issues, e);
}

int cl_instance_update(struct cl_unit *unit, struct cl_json *resource, struct cl_version *out, struct cl_issues *issues,
                       struct cl_err *e)
{
	struct cl_move move;
	int code = cl_move_load(unit, cl_json_get_text(resource, "id"), &move, e);
	if (code)
		return code;
	move.former_task = move.task;
	move.task = resource;
	move.trusted = false;
	const struct cl_json *is = cl_json_get(move.former_task, "businessStatus"),
	                     *wanted = cl_json_get(resource, "businessStatus");
	struct wish wish = {
	        .code = business_code(wanted, is),
	        .wanted_status = cl_json_get_text(resource, "status"),
	};
	wish.business = wish.code.n && !cl_str_equal(wish.code, business_code(is, is));
	wish.status = !cl_str_equal(wish.wanted_status, cl_json_get_text(move.former_task, "status"));
	if (!wish.business && !wish.status) {
		code = cl_json_equal(is, wanted) ? check_owned(unit, &move, e)
		                                 : refuse_owned(unit, &move, "Task.businessStatus", e);
		return code ? code : edit(unit, &move, out, issues, e);
	}
	if (move.from < 0 || move.workflow->states[move.from].final) {
		cl_move_refuse_event(unit, &move, e);
		return cl_fail_at(e, wish.business ? "Task.businessStatus" : "Task.status");
	}
	code = find_event(unit, &move, &wish, e);
	if (!code)
		code = check_owned(unit, &move, e);
	if (code)
		return code;
	gather_data(unit, &move);
	code = cl_move_check(unit, &move, false, e);
	return code ? code : cl_move_apply(unit, &move, out, issues, e);
}
