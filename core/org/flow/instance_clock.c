/* instance_clock.c: every live instance has a running clock. Its timers, and what happens when they are due. */
#include "base/date.h"
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

/* ---- setting ----------------------------------------------------------------------------------------------------- */

static struct cl_str clock_name(struct cl_unit *unit, struct cl_str task)
{
	return cl_arena_printf(unit->arena, "clock:%.*s", CL_STR_ARGS(task));
}

static struct cl_str reminder_name(struct cl_unit *unit, struct cl_str task, size_t number)
{
	return cl_arena_printf(unit->arena, "remind:%.*s:%zu", CL_STR_ARGS(task), number);
}

/* Enough to compute `due` again, should the calendar or the zone's rules change (pitfalls 14). */
static struct cl_str rule_text(struct cl_unit *unit, const struct cl_move *move, struct cl_duration before)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *rule = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_str setting = move->workflow->states[move->target].within_setting;
	cl_json_set_text(arena, rule, "anchor", cl_instant_text(arena, move->occurred));
	if (move->clock.amount)
		cl_json_set_text(arena, rule, "duration", cl_duration_text(arena, move->clock));
	else
		cl_json_set_text(arena, rule, "at", cl_instant_text(arena, move->due));
	if (before.amount)
		cl_json_set_text(arena, rule, "before", cl_duration_text(arena, before));
	if (setting.n && !move->stays)
		cl_json_set_text(arena, rule, "setting", setting);
	cl_json_set_text(arena, rule, "zone", cl_str_of(cl_zone_name(unit->organization->calendar.zone)));
	return cl_json_arena_text(arena, rule);
}

static int set_clock(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	struct cl_stored_timer timer = {
	        .name = clock_name(unit, move->instance.task),
	        .due = move->instance.due,
	        .task = move->instance.task,
	        .rule = rule_text(unit, move, (struct cl_duration){0}),
	        .data = move->timer_data.n ? move->timer_data : CL_STR("{}"),
	};
	return cl_store_timer_set(unit->store, &timer, e);
}

/* A reminder knows for which clock it was set: one that comes late, after the instance has moved, says nothing. */
static struct cl_str reminder_data(struct cl_unit *unit, const struct cl_move *move)
{
	struct cl_json *data = cl_json_new(unit->arena, CL_JSON_OBJECT);
	cl_json_set_text(unit->arena, data, "state", move->instance.state);
	cl_json_set_integer(unit->arena, data, "clock", move->instance.due);
	return cl_json_arena_text(unit->arena, data);
}

static cl_instant reminder_due(struct cl_unit *unit, const struct cl_move *move, const struct cl_reminder *reminder)
{
	const struct cl_calendar *calendar = &unit->organization->calendar;
	if (reminder->after.amount)
		return cl_calendar_add(calendar, move->instance.entered, reminder->after);
	struct cl_duration back = {-reminder->before.amount, reminder->before.unit};
	return cl_calendar_add(calendar, move->instance.due, back);
}

/* Those whose time has passed already are left out: the clock is about to run out anyway. */
static int set_reminders(struct cl_unit *unit, struct cl_move *move, size_t former_count, struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->target];
	int code = 0;
	for (size_t i = 0; i < state->reminder_count && !code; i++) {
		struct cl_stored_timer timer = {
		        .name = reminder_name(unit, move->instance.task, i + 1),
		        .due = reminder_due(unit, move, &state->reminders[i]),
		        .task = move->instance.task,
		};
		if (timer.due > unit->now) {
			timer.rule = rule_text(unit, move, state->reminders[i].before);
			timer.data = reminder_data(unit, move);
			code = cl_store_timer_set(unit->store, &timer, e);
		} else if (i < former_count) {
			code = cl_store_timer_clear(unit->store, timer.name, e);
		}
	}
	for (size_t i = state->reminder_count; i < former_count && !code; i++)
		code = cl_store_timer_clear(unit->store, reminder_name(unit, move->instance.task, i + 1), e);
	return code;
}

/* How many reminders the state that is left may have set. Of a state that the machine lost, those that are set. */
static int former_reminders(struct cl_unit *unit, const struct cl_move *move, size_t *count, struct cl_err *e)
{
	struct cl_timer_list timers;
	*count = 0;
	if (!move->former.version)
		return 0;
	if (move->from >= 0) {
		*count = move->workflow->states[move->from].reminder_count;
		return 0;
	}
	int code = cl_store_timers(unit->store, unit->arena, move->instance.task, 1000, &timers, e);
	for (size_t i = 0; !code && i < timers.count; i++)
		*count += cl_str_starts(timers.items[i].name, "remind:");
	return code;
}

int cl_clock_set_timers(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	size_t former;
	unit->timers_changed = true;
	if (move->instance.final)
		return cl_store_timers_clear_task(unit->store, move->instance.task, e);
	if (move->keeps_clock && move->target == move->from)
		return 0;
	int code = former_reminders(unit, move, &former, e);
	if (!code && !move->keeps_clock)
		code = set_clock(unit, move, e);
	return code ? code : set_reminders(unit, move, former, e);
}

/* ---- what timers know -------------------------------------------------------------------------------------------------- */

static int64_t data_integer(struct cl_unit *unit, struct cl_str text, const char *name)
{
	struct cl_json *data = NULL;
	struct cl_err ignored = {0};
	int64_t number = 0;
	if (text.n && !cl_json_parse(unit->arena, text, NULL, &data, &ignored))
		cl_json_integer(cl_json_get(data, name), &number);
	return number;
}

/* ---- due --------------------------------------------------------------------------------------------------------- */

/* Fires an event of the state. `refused` tells that its guard said no: nothing was written. */
static int fire(struct cl_unit *unit, struct cl_move *move, struct cl_str event, bool *refused, struct cl_err *e)
{
	struct cl_err problem = {0};
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	move->event = event;
	move->transition = cl_state_transition(state, event);
	*refused = true;
	if (!move->transition)
		return 0;
	move->target = move->transition->target;
	move->by_clock = true;
	int code = cl_move_check(unit, move, true, &problem);
	if (code == CL_E_RULE)
		return 0;
	*refused = false;
	if (!code)
		return cl_move_apply(unit, move, NULL, NULL, e);
	if (e)
		*e = problem;
	return code;
}

static int clock_ran_out(struct cl_unit *unit, struct cl_move *move, const struct cl_stored_timer *timer,
                         struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	int64_t fired = data_integer(unit, timer->data, "fired");
	struct cl_str event = state->overdue_event;
	bool refused = true;
	if (!event.n && state->times > 0 && fired >= state->times)
		event = state->finally_event;
	int code = event.n ? fire(unit, move, event, &refused, e) : 0;
	return code || !refused ? code : cl_escalate(unit, move, fired, e);
}

static struct cl_str reminder_words(struct cl_unit *unit, const struct cl_move *move, struct cl_str words,
                                    bool waits_for_partner)
{
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	struct cl_str due = cl_zone_text(unit->arena, unit->organization->calendar.zone, move->instance.due);
	struct cl_str partner = cl_record_partner(move->record);
	struct cl_str action = state->action.n ? state->action : state->name;
	if (words.n)
		return cl_arena_printf(unit->arena, "%.*s, due %.*s (%.*s)", CL_STR_ARGS(words), CL_STR_ARGS(due),
		                       CL_STR_ARGS(move->workflow->name));
	if (waits_for_partner)
		return cl_arena_printf(unit->arena, "Waiting for %.*s: %.*s, due %.*s (%.*s)",
		                       CL_STR_ARGS(partner.n ? partner : state->owner), CL_STR_ARGS(action),
		                       CL_STR_ARGS(due), CL_STR_ARGS(move->workflow->name));
	return cl_arena_printf(unit->arena, "%.*s, due %.*s (%.*s)", CL_STR_ARGS(action), CL_STR_ARGS(due),
	                       CL_STR_ARGS(move->workflow->name));
}

/* "remind:<task>:2" -> 2; ids of Tasks have no colon. */
static size_t reminder_number(struct cl_str name)
{
	size_t number = 0, start = name.n;
	while (start && name.p[start - 1] >= '0' && name.p[start - 1] <= '9' && name.n - start < 6)
		start--;
	for (; start < name.n; start++)
		number = number * 10 + (size_t)(name.p[start] - '0');
	return number;
}

static int remind(struct cl_unit *unit, struct cl_move *move, const struct cl_stored_timer *timer, struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->from];
	size_t place = reminder_number(timer->name);
	if (place < 1 || place > state->reminder_count)
		return 0;
	const struct cl_reminder *reminder = &state->reminders[place - 1];
	bool refused;
	if (reminder->event.n)
		return fire(unit, move, reminder->event, &refused, e);
	struct cl_roles roles =
	        cl_local_roles(move->workflow, move->record, reminder->to.n ? &reminder->to : &state->owner);
	struct cl_str about = cl_arena_printf(unit->arena, "Task/%.*s", CL_STR_ARGS(move->instance.task));
	int code = 0;
	for (size_t i = 0; i < roles.count && !code; i++)
		code = cl_change_notify(unit, roles.items[i],
		                        reminder_words(unit, move, reminder->text, roles.is_partner), about,
		                        cl_json_get_text(move->task, "priority"), e);
	return code;
}

static bool is_for_this_clock(struct cl_unit *unit, const struct cl_move *move, const struct cl_stored_timer *timer)
{
	struct cl_json *data = NULL;
	struct cl_err ignored = {0};
	int64_t clock = 0;
	return !cl_json_parse(unit->arena, timer->data.n ? timer->data : CL_STR("{}"), NULL, &data, &ignored) &&
	       cl_str_equal(cl_json_get_text(data, "state"), move->instance.state) &&
	       cl_json_integer(cl_json_get(data, "clock"), &clock) && clock == move->instance.due;
}

int cl_instance_timer(struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e)
{
	struct cl_move move;
	int code = cl_move_load(unit, timer->task, &move, e);
	if (code)
		return code;
	if (move.instance.final)
		return 0;
	if (move.from < 0)
		return cl_move_refuse_event(unit, &move, e);
	/* One that was put off, or taken from the list before the instance moved, may come when its clock runs anew. */
	if (cl_str_starts(timer->name, "clock:"))
		return move.instance.due > unit->now ? 0 : clock_ran_out(unit, &move, timer, e);
	if (cl_str_starts(timer->name, "remind:"))
		return is_for_this_clock(unit, &move, timer) ? remind(unit, &move, timer, e) : 0;
	return cl_fail(e, CL_E_INTERNAL, "'%.*s' is no timer of an instance", CL_STR_ARGS(timer->name));
}
