/* instance_clock_due.c: when the clock of a state ends: the same for every instance, by the instance's data, or as a plugin's
 * function says. */
#include "base/date.h"
#include "org/flow/instance_internal.h"

static int refuse_field(const struct cl_move *move, const char *why, struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->target];
	cl_fail(e, CL_E_RULE, "the clock of state %.*s hangs on '%.*s', which %s", CL_STR_ARGS(state->name),
	        CL_STR_ARGS(state->clock.field), why);
	return cl_fail_at(e, "data.%.*s", CL_STR_ARGS(state->clock.field));
}

/* A date means its local midnight, a dateTime without a zone local time. */
static int read_moment(struct cl_unit *unit, struct cl_str text, cl_instant *out)
{
	struct cl_moment moment;
	struct cl_err ignored = {0};
	if (cl_moment_parse(text, 0, &moment, &ignored) || moment.precision < CL_DAY_PRECISION)
		return CL_E_INVALID;
	*out = moment.lower;
	if (moment.has_zone)
		return 0;
	int64_t day = moment.lower / CL_DAY - (moment.lower % CL_DAY < 0);
	int64_t second = (moment.lower - day * CL_DAY) / CL_SECOND;
	*out = cl_zone_instant(unit->organization->calendar.zone, cl_date_from_days(day), (int)(second / 3600),
	                       (int)(second / 60 % 60), (int)(second % 60));
	return 0;
}

/* A duration counts from the move; otherwise it is the end itself. */
static int read_end(struct cl_unit *unit, struct cl_move *move, struct cl_str text)
{
	struct cl_err ignored = {0};
	struct cl_duration duration;
	if (!cl_duration_parse(text, &duration, &ignored) && duration.amount > 0) {
		move->clock = duration;
		move->due = cl_calendar_add(&unit->organization->calendar, move->occurred, duration);
		return 0;
	}
	return read_moment(unit, text, &move->due);
}

static int by_otherwise(struct cl_unit *unit, struct cl_move *move, const char *why, struct cl_err *e)
{
	const struct cl_clock_rule *clock = &move->workflow->states[move->target].clock;
	if (!clock->otherwise.amount)
		return refuse_field(move, why, e);
	move->clock = clock->otherwise;
	move->due = cl_calendar_add(&unit->organization->calendar, move->occurred, clock->otherwise);
	return 0;
}

static int by_field(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	const struct cl_clock_rule *clock = &move->workflow->states[move->target].clock;
	struct cl_str text = cl_json_text(cl_json_get_str(move->record, clock->field));
	if (!text.n)
		return by_otherwise(unit, move, "is not stated", e);
	if (read_end(unit, move, text))
		return by_otherwise(unit, move, "is no date, dateTime or duration", e);
	if (clock->offset.amount) {
		move->due = cl_calendar_add(&unit->organization->calendar, move->due, clock->offset);
		move->clock = (struct cl_duration){0};
	}
	return 0;
}

static int by_tier(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	const struct cl_clock_rule *clock = &move->workflow->states[move->target].clock;
	struct cl_str value = cl_json_text(cl_json_get_str(move->record, clock->field));
	for (size_t i = 0; i < clock->tier_count; i++)
		if (cl_str_equal(clock->tiers[i].value, value)) {
			move->clock = clock->tiers[i].within;
			move->due = cl_calendar_add(&unit->organization->calendar, move->occurred, move->clock);
			return 0;
		}
	return by_otherwise(unit, move, value.n ? "has a value without a time" : "is not stated", e);
}

static int by_function(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->target];
	struct cl_str text = CL_STR_NONE;
	if (!unit->script || !unit->script->clock)
		return cl_fail(e, CL_E_INTERNAL, "no plugins are loaded to ask for the clock of '%.*s'",
		               CL_STR_ARGS(state->name));
	int code = unit->script->clock(unit->script->context, unit, state->clock.function, move->instance.task,
	                               move->former_task ? move->former_task : move->task, move->record, &text, e);
	if (!code && read_end(unit, move, text))
		code = cl_fail(e, CL_E_PLUGIN,
		               "the clock of state %.*s must be a duration, a dateTime or a date, not '%.*s'",
		               CL_STR_ARGS(state->name), CL_STR_ARGS(text));
	return code;
}

/* What was taken over must not be overdue all at once on the first day. Which day it is follows from the Task's id. */
static void spread(struct cl_unit *unit, struct cl_move *move)
{
	const struct cl_calendar *calendar = &unit->organization->calendar;
	struct cl_duration over = {10, CL_BUSINESS_DAYS};
	struct cl_str setting = cl_json_get_text(unit->organization->config, "import_spread");
	struct cl_err ignored = {0};
	uint32_t hash = 2166136261u; /* FNV-1a */
	if (setting.n)
		cl_duration_parse(setting, &over, &ignored);
	cl_instant last = cl_calendar_add(calendar, unit->now, over);
	int64_t days = cl_calendar_business_days(calendar, unit->now, last);
	for (size_t i = 0; i < move->instance.task.n; i++)
		hash = (hash ^ (uint8_t)move->instance.task.p[i]) * 16777619u;
	move->clock = (struct cl_duration){days > 1 ? 1 + (int32_t)(hash % (uint32_t)days) : 1, CL_BUSINESS_DAYS};
	move->due = cl_calendar_add(calendar, unit->now, move->clock);
}

int cl_clock_find(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	const struct cl_state_rule *state = &move->workflow->states[move->target];
	const struct cl_calendar *calendar = &unit->organization->calendar;
	int code = 0;
	move->due = 0;
	if (state->final)
		return 0;
	if (move->undoes) {
		move->due = move->restored_due;
		return 0;
	}
	move->keeps_clock = move->transition && move->transition->keep_clock && move->instance.due;
	if (move->keeps_clock) {
		move->due = move->instance.due;
		return 0;
	}
	if (move->clock.amount <= 0 && state->clock.kind == CL_CLOCK_FIXED)
		move->clock = state->within;
	if (move->clock.amount > 0)
		move->due = cl_calendar_add(calendar, move->occurred, move->clock);
	else if (state->clock.kind == CL_CLOCK_FIELD)
		code = by_field(unit, move, e);
	else if (state->clock.kind == CL_CLOCK_TIER)
		code = by_tier(unit, move, e);
	else
		code = by_function(unit, move, e);
	if (!code && move->imported && move->due <= unit->now)
		spread(unit, move);
	/* A day that has passed cannot be waited for again, or clocks would fire each other for ever: whoever is told of it
	 * has until the next business day. */
	if (!code && (move->stays || move->by_clock) && move->due <= unit->now) {
		move->clock = (struct cl_duration){1, CL_BUSINESS_DAYS};
		move->due = cl_calendar_add(calendar, unit->now, move->clock);
	}
	return code;
}
