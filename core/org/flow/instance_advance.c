/* instance_advance.c: one event moves one instance: everything that can be refused first, then everything that is
 * written. */
#include "org/flow/conflict.h"
#include "org/fhir/types.h"

/* ---- what can be refused ----------------------------------------------------------------------------------------- */

static bool is_own_name(struct cl_str name)
{
	return cl_str_is(name, "party") || cl_str_is(name, "partner") || cl_str_is(name, "escalations");
}

/* Data as it will be kept: references and codes as texts, without names of the core's own. */
static int take_data(struct cl_unit *unit, struct cl_move *move, const struct cl_json *data, struct cl_err *e)
{
	move->data = cl_json_new(unit->arena, CL_JSON_OBJECT);
	if (!data || data->kind == CL_JSON_NULL || (data->kind == CL_JSON_ARRAY && !data->count))
		return 0;
	if (data->kind != CL_JSON_OBJECT) {
		cl_fail(e, CL_E_INVALID, "an event's data is an object with named values");
		return cl_fail_at(e, "data");
	}
	for (uint32_t i = 0; i < data->count; i++) {
		const struct cl_json_member *member = &data->members[i];
		if (is_own_name(member->name)) {
			cl_fail(e, CL_E_RULE, "'%.*s' cannot be changed by an event", CL_STR_ARGS(member->name));
			return cl_fail_at(e, "data.%.*s", CL_STR_ARGS(member->name));
		}
		*cl_json_set(unit->arena, move->data, member->name) = cl_plain_value(&member->value);
	}
	return 0;
}

static void grow_record(struct cl_unit *unit, struct cl_move *move)
{
	for (uint32_t i = 0; move->data && i < move->data->count; i++)
		*cl_json_set(unit->arena, move->record, move->data->members[i].name) = move->data->members[i].value;
}

int cl_instance_set_data(struct cl_unit *unit, struct cl_str task, const struct cl_json *data,
                         const struct cl_json *removed, struct cl_err *e)
{
	struct cl_move move;
	int code = cl_move_load(unit, task, &move, e);
	if (!code)
		code = take_data(unit, &move, data, e);
	if (code)
		return code;
	for (uint32_t i = 0; removed && i < removed->count; i++) {
		struct cl_str name = cl_json_text(&removed->items[i]);
		if (is_own_name(name))
			return cl_fail(e, CL_E_RULE, "'%.*s' cannot be taken away", CL_STR_ARGS(name));
		cl_json_remove(move.record, cl_arena_cstring(unit->arena, name));
	}
	grow_record(unit, &move);
	move.instance.data = cl_json_arena_text(unit->arena, move.record);
	return cl_store_instance_put(unit->store, &move.instance, e);
}

/* Expiry always says why it came (domain.md section 2.8). */
static void fill_reason(struct cl_unit *unit, struct cl_move *move)
{
	for (size_t i = 0; i < move->transition->need_count; i++)
		if (cl_str_is(move->transition->needs[i].name, "reason") && !cl_json_get(move->data, "reason"))
			cl_json_set_text(unit->arena, move->data, "reason", CL_STR("expired"));
}

static bool is_by_clock(const struct cl_move *move)
{
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	for (size_t i = 0; i < move->transition->by_count; i++)
		if (cl_str_is(move->transition->by[i], "clock"))
			return true;
	return cl_state_clock_fires(state, move->event);
}

static int check_actor(struct cl_unit *unit, struct cl_move *move, bool by_clock, struct cl_err *e)
{
	if (by_clock)
		return is_by_clock(move) ? 0
		                         : cl_fail(e, CL_E_RULE, "%.*s, where '%.*s' is not for the clock",
		                                   CL_STR_ARGS(cl_move_place(unit, move)), CL_STR_ARGS(move->event));
	if (move->on_behalf_of.n && !move->source.n) {
		cl_fail(e, CL_E_RULE,
		        "an event recorded on behalf of '%.*s' needs its source: phone, fax, letter, message ...",
		        CL_STR_ARGS(move->on_behalf_of));
		return cl_fail_at(e, "source");
	}
	return move->by_link || cl_move_may(unit, move, move->transition)
	               ? 0
	               : cl_move_refuse_actor(unit, move, move->transition, e);
}

static int check_occurred(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	const char *why = NULL;
	/* People write minutes; the instance came into its state at some second of one. */
	if (move->occurred < move->instance.entered && move->instance.entered - move->occurred < CL_MINUTE)
		move->occurred = move->instance.entered;
	if (move->occurred > unit->now)
		why = "lies in the future";
	else if (move->occurred < move->instance.entered)
		why = "lies before the instance came into its present state";
	if (!why)
		return 0;
	cl_fail(e, CL_E_RULE, "'occurred' %s", why);
	return cl_fail_at(e, "occurred");
}

static int ask_guard(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	if (move->transition->guard == CL_NO_FUNCTION)
		return 0;
	if (!unit->script || !unit->script->guard)
		return cl_fail(e, CL_E_INTERNAL, "no plugins are loaded to ask the guard of '%.*s'",
		               CL_STR_ARGS(move->event));
	return unit->script->guard(unit->script->context, unit, move->transition->guard, move->instance.task,
	                           move->former_task ? move->former_task : move->task, move->data, e);
}

int cl_move_check(struct cl_unit *unit, struct cl_move *move, bool by_clock, struct cl_err *e)
{
	int code = check_actor(unit, move, by_clock, e);
	if (!code)
		code = check_occurred(unit, move, e);
	if (!code)
		code = take_data(unit, move, move->data, e);
	if (!code && by_clock)
		fill_reason(unit, move);
	if (!code)
		code = cl_needs_check(move->transition, move->data, e);
	return code ? code : ask_guard(unit, move, e);
}

/* ---- what is written --------------------------------------------------------------------------------------------- */

/* Back to the state that it is in while the clock goes on: the state is not entered anew. */
static bool is_same_stay(const struct cl_move *move)
{
	return move->keeps_clock && move->target == move->from;
}

static int write_instance(struct cl_unit *unit, struct cl_move *move, const struct cl_version *version,
                          struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->target];
	struct cl_stored_instance *instance = &move->instance;
	instance->row = version->row;
	instance->state = state->name;
	instance->plugins = unit->catalog->hash;
	instance->owner = state->final ? CL_STR_NONE : state->owner;
	if (move->undoes)
		instance->entered = move->restored_entered;
	else if (!move->stays && !is_same_stay(move))
		instance->entered = move->occurred;
	instance->due = move->due;
	instance->final = state->final;
	instance->data = cl_json_arena_text(unit->arena, move->record);
	return cl_store_instance_put(unit->store, instance, e);
}

static struct cl_str transition_detail(struct cl_unit *unit, const struct cl_move *move, struct cl_str event,
                                       struct cl_str from, struct cl_str to)
{
	struct cl_json *detail = cl_json_new(unit->arena, CL_JSON_OBJECT);
	cl_json_set_text(unit->arena, detail, "workflow", move->workflow->name);
	cl_json_set_text(unit->arena, detail, "event", event);
	cl_json_set_text(unit->arena, detail, "from", from);
	cl_json_set_text(unit->arena, detail, "to", to);
	if (unit->origin)
		cl_json_set_integer(unit->arena, detail, "by", (int64_t)unit->origin);
	return cl_json_arena_text(unit->arena, detail);
}

/* One row of the history: the event that the move is, or the start that an import had elsewhere. */
static int write_row(struct cl_unit *unit, struct cl_move *move, const struct cl_version *version,
                     struct cl_str event_name, struct cl_str from, struct cl_str to, cl_instant at, struct cl_err *e)
{
	struct cl_stored_event event = {
	        .cause = unit->cause,
	        .at = unit->now,
	        .kind = CL_STR("transition"),
	        .actor = cl_unit_principal(unit),
	        .type = CL_TYPE_TASK,
	        .id = version->id,
	        .version = version->version,
	        .detail = transition_detail(unit, move, event_name, from, to),
	        .outcome = CL_STR("ok"),
	};
	int code = cl_store_event_append(unit->store, &event, e);
	if (code)
		return code;
	struct cl_stored_transition transition = {
	        .sequence = event.sequence,
	        .task = move->instance.task,
	        .workflow = move->workflow->name,
	        .event = event_name,
	        .from = from,
	        .to = to,
	        .at = at,
	        .actor = event.actor,
	        .on_behalf_of = move->on_behalf_of,
	        .source = move->source,
	        .data = move->data ? cl_json_arena_text(unit->arena, move->data) : CL_STR("{}"),
	        .plugins = unit->catalog->hash,
	        .former = move->before,
	        .undone = move->undoes,
	};
	if (move->before.n)
		transition.former = cl_arena_printf(unit->arena, "%.*s,\"made\":%lld}", CL_STR_ARGS(move->before),
		                                    (long long)version->version);
	move->sequence = event.sequence;
	return cl_store_transition_append(unit->store, &transition, e);
}

static int write_transition(struct cl_unit *unit, struct cl_move *move, const struct cl_version *version,
                            struct cl_str from, struct cl_err *e)
{
	struct cl_str to = move->workflow->states[move->target].name;
	struct cl_str first = move->workflow->states[move->workflow->start].name;
	if (!move->imported)
		return write_row(unit, move, version, move->event, from, to, move->occurred, e);
	int code = write_row(unit, move, version, move->event, from, first, move->instance.started, e);
	return code || cl_str_equal(first, to)
	               ? code
	               : write_row(unit, move, version, CL_STR("import"), first, to, move->occurred, e);
}

/* The change that carries the Task's new version is also the transition: handlers hear of both at once. */
static struct cl_change *tell(struct cl_unit *unit, const struct cl_move *move, struct cl_str from)
{
	/* Rules of right data may have added an issue after it. */
	struct cl_change *change = unit->changes;
	for (struct cl_change *each = change; each; each = each->next)
		if (each->type == CL_TYPE_TASK && cl_str_equal(each->id, move->instance.task))
			change = each;
	change->workflow = move->workflow->name;
	change->event = move->event;
	change->from = from;
	change->to = move->workflow->states[move->target].name;
	return change;
}

/* What an undo needs to come back to here, without its end: write_row adds the version that was made. */
static struct cl_str remember(struct cl_unit *unit, const struct cl_move *move)
{
	const struct cl_stored_instance *instance = &move->instance;
	if (!instance->state.n || move->stays || move->undoes)
		return CL_STR_NONE;
	return cl_arena_printf(unit->arena, "{\"entered\":%lld,\"due\":%lld,\"version\":%lld,\"data\":%.*s",
	                       (long long)instance->entered, (long long)instance->due, (long long)move->former.version,
	                       CL_STR_ARGS(instance->data.n ? instance->data : CL_STR("{}")));
}

static int run_effect(struct cl_unit *unit, struct cl_move *move, int function, struct cl_err *e)
{
	if (function == CL_NO_FUNCTION)
		return 0;
	if (!unit->script || !unit->script->effect)
		return cl_fail(e, CL_E_INTERNAL, "no plugins are loaded to run the effect of '%.*s'",
		               CL_STR_ARGS(move->event));
	return unit->script->effect(unit->script->context, unit, function, move->instance.task, move->task, move->data,
	                            e);
}

static int run_functions(struct cl_unit *unit, struct cl_move *move, struct cl_version *out, struct cl_err *e)
{
	int effect = move->transition ? move->transition->effect : CL_NO_FUNCTION;
	int enter = is_same_stay(move) ? CL_NO_FUNCTION : move->workflow->states[move->target].enter;
	/* What a state asks for when it is entered has been done where it was entered. */
	if (move->quiet || move->stays || move->imported || (effect == CL_NO_FUNCTION && enter == CL_NO_FUNCTION))
		return 0;
	int code = run_effect(unit, move, effect, e);
	if (!code)
		code = run_effect(unit, move, enter, e);
	/* They may have changed the Task again. */
	return code ? code : cl_unit_current(unit, CL_TYPE_TASK, move->instance.task, out, e);
}

int cl_move_apply(struct cl_unit *unit, struct cl_move *move, struct cl_version *out, struct cl_issues *issues,
                  struct cl_err *e)
{
	struct cl_version version;
	struct cl_str from = move->instance.state; /* empty at the start */
	unsigned flags = CL_PUT_ALWAYS | (move->trusted ? CL_PUT_TRUSTED : 0);
	struct cl_json open = {0};
	struct cl_conflict_found *conflicts;
	move->before = remember(unit, move);
	if (!move->bare)
		grow_record(unit, move);
	int code = cl_conflicts_find(unit, move, &conflicts, e);
	if (!code)
		code = cl_clock_find(unit, move, e);
	if (code)
		return code;
	struct cl_json *escalations =
	        move->stays || move->undoes || is_same_stay(move) ? NULL : cl_json_get(move->record, "escalations");
	if (escalations) {
		open = *escalations;
		cl_json_remove(move->record, "escalations");
	}
	cl_task_enter(unit, move, move->due);
	code = cl_unit_put_over(unit, move->former.version ? CL_OP_UPDATE : CL_OP_CREATE, CL_TYPE_TASK,
	                        move->instance.task, move->task, flags, &move->former, move->former_task, &version,
	                        issues, e);
	if (code)
		return code;
	struct cl_change *change = tell(unit, move, from);
	code = write_instance(unit, move, &version, e);
	if (!code)
		code = write_transition(unit, move, &version, from, e);
	/* From here on, what is changed is changed by this transition. */
	uint64_t outer = unit->origin;
	change->origin = unit->origin = move->sequence;
	if (!code)
		code = cl_clock_set_timers(unit, move, e);
	if (!code)
		code = cl_conflicts_keep(unit, move, conflicts, e);
	if (!code && open.count)
		code = cl_escalations_close(unit, move, &open, e);
	if (!code)
		code = run_functions(unit, move, &version, e);
	unit->origin = outer;
	if (!code && out)
		*out = version;
	return code;
}

int cl_move_withdraw(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	struct cl_version version;
	struct cl_str from = move->instance.state;
	int code = cl_unit_put_over(unit, CL_OP_UPDATE, CL_TYPE_TASK, move->instance.task, move->task,
	                            CL_PUT_TRUSTED | CL_PUT_ALWAYS, &move->former, NULL, &version, NULL, e);
	if (code)
		return code;
	struct cl_change *change = tell(unit, move, from);
	change->to = CL_STR_NONE;
	code = write_row(unit, move, &version, move->event, from, CL_STR_NONE, move->occurred, e);
	if (!code)
		code = cl_store_timers_clear_task(unit->store, move->instance.task, e);
	unit->timers_changed = true;
	return code ? code : cl_store_instance_delete(unit->store, move->instance.task, e);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

static struct cl_str state_names(struct cl_unit *unit, const struct cl_workflow *workflow)
{
	struct cl_buf names;
	cl_buf_init(&names, 300);
	for (size_t i = 0; i < workflow->state_count; i++)
		cl_buf_printf(&names, "%s%.*s", i ? ", " : "", CL_STR_ARGS(workflow->states[i].name));
	struct cl_str out = cl_arena_copy(unit->arena, cl_buf_str(&names));
	cl_buf_free(&names);
	return out;
}

/* The other side's copy is the truth: this one follows, from wherever it is. */
static int follow(struct cl_unit *unit, struct cl_move *move, const struct cl_advance *advance, struct cl_version *out,
                  struct cl_issues *issues, struct cl_err *e)
{
	move->target = cl_workflow_state(move->workflow, advance->forced_state);
	if (move->target < 0)
		return cl_fail(e, CL_E_RULE, "%.*s has no state '%.*s'; states: %.*s",
		               CL_STR_ARGS(move->workflow->name), CL_STR_ARGS(advance->forced_state),
		               CL_STR_ARGS(state_names(unit, move->workflow)));
	if (!move->event.n)
		move->event = CL_STR("follow");
	/* Clocks of two organizations differ a little. */
	if (move->occurred > unit->now)
		move->occurred = unit->now;
	int code = take_data(unit, move, advance->data, e);
	return code ? code : cl_move_apply(unit, move, out, issues, e);
}

int cl_instance_advance(struct cl_unit *unit, const struct cl_advance *advance, struct cl_version *out,
                        struct cl_issues *issues, struct cl_err *e)
{
	struct cl_move move;
	int code = cl_move_load(unit, advance->task, &move, e);
	if (code)
		return code;
	move.event = advance->event;
	move.data = advance->data;
	move.on_behalf_of = advance->on_behalf_of;
	move.source = advance->source;
	move.by_link = advance->by_link;
	if (advance->occurred)
		move.occurred = advance->occurred;
	if (advance->forced)
		return follow(unit, &move, advance, out, issues, e);
	if (move.from >= 0)
		move.transition = cl_state_transition(&move.workflow->states[move.from], move.event);
	if (!move.transition)
		return cl_move_refuse_event(unit, &move, e);
	move.target = move.transition->target;
	code = cl_move_check(unit, &move, advance->by_clock, e);
	return code ? code : cl_move_apply(unit, &move, out, issues, e);
}
