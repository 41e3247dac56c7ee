/* ctx_time.c: the engine's clock and the organization's calendar: ctx:now, today, add, between, local_date, local_time,
 * set_timer, clear_timer. */
#include "base/date.h"
#include "base/timezone.h"
#include "org/lua/internal.h"
#include <stdio.h>

/* A date or dateTime as a plugin gave it. */
struct moment {
	cl_instant at; /* of a date: its local midnight */
	bool is_date;
};

static struct moment take_moment(lua_State *L, int index, const char *call, const char *name)
{
	struct cl_unit *unit = cl_lua_of(L)->frame->unit;
	const struct cl_zone *zone = unit->organization->calendar.zone;
	struct cl_str text = cl_ctx_text(L, index, call, name);
	struct cl_moment moment;
	struct cl_err e = {0};
	if (cl_moment_parse(text, 0, &moment, &e) || moment.precision < CL_DAY_PRECISION)
		cl_raise_misuse(
		        L, "%s: `%s` is '%.60s', neither a date (2026-11-22) nor a dateTime (2026-11-22T09:00:00Z)",
		        call, name, text.p);
	if (moment.has_zone)
		return (struct moment){moment.lower, false};
	/* Read as UTC so far; what was meant is local. */
	int64_t day = moment.lower / CL_DAY - (moment.lower % CL_DAY < 0);
	int64_t second = (moment.lower - day * CL_DAY) / CL_SECOND;
	cl_instant at = cl_zone_instant(zone, cl_date_from_days(day), (int)(second / 3600), (int)(second / 60 % 60),
	                                (int)(second % 60));
	return (struct moment){at, moment.precision == CL_DAY_PRECISION};
}

cl_instant cl_ctx_instant(lua_State *L, int index, const char *call, const char *name)
{
	return take_moment(L, index, call, name).at;
}

static void push_instant(lua_State *L, cl_instant at)
{
	char text[28];
	lua_pushlstring(L, text, cl_instant_format(at, text));
}

static void push_local_date(lua_State *L, const struct cl_unit *unit, cl_instant at)
{
	struct cl_local local = cl_zone_local(unit->organization->calendar.zone, at);
	char text[40];
	snprintf(text, sizeof text, "%04d-%02d-%02d", local.date.year, local.date.month, local.date.day);
	lua_pushstring(L, text);
}

static int now(lua_State *L)
{
	push_instant(L, cl_ctx_unit(L, "ctx:now", false)->now);
	return 1;
}

static int today(lua_State *L)
{
	const struct cl_unit *unit = cl_ctx_unit(L, "ctx:today", false);
	push_local_date(L, unit, unit->now);
	return 1;
}

static int local_date(lua_State *L)
{
	const struct cl_unit *unit = cl_ctx_unit(L, "ctx:local_date", false);
	push_local_date(L, unit, cl_ctx_instant(L, 2, "ctx:local_date", "dateTime"));
	return 1;
}

static int local_time(lua_State *L)
{
	const struct cl_unit *unit = cl_ctx_unit(L, "ctx:local_time", false);
	struct cl_local local =
	        cl_zone_local(unit->organization->calendar.zone, cl_ctx_instant(L, 2, "ctx:local_time", "dateTime"));
	char text[24];
	snprintf(text, sizeof text, "%02d:%02d", local.hour, local.minute);
	lua_pushstring(L, text);
	return 1;
}

/* ctx:month(): that of now; of a whole number: so many later (negative: earlier); of a date or dateTime: that of it. */
static int push_period(lua_State *L, const char *call, bool week)
{
	const struct cl_unit *unit = cl_ctx_unit(L, call, false);
	const struct cl_calendar *calendar = &unit->organization->calendar;
	cl_instant at = unit->now;
	int offset = 0;
	if (lua_isinteger(L, 2)) {
		lua_Integer given = lua_tointeger(L, 2);
		if (given < -5000 || given > 5000)
			return cl_raise_misuse(L, "%s: %lld is too far away", call, (long long)given);
		offset = (int)given;
	} else if (!lua_isnoneornil(L, 2)) {
		at = cl_ctx_instant(L, 2, call, "date");
	}
	cl_instant start =
	        week ? cl_calendar_week_start(calendar, at, offset) : cl_calendar_month_start(calendar, at, offset);
	cl_instant finish =
	        week ? cl_calendar_week_start(calendar, start, 1) : cl_calendar_month_start(calendar, start, 1);
	lua_createtable(L, 0, 5);
	cl_set_instant(L, "start", start);
	cl_set_instant(L, "finish", finish);
	push_local_date(L, unit, start);
	lua_setfield(L, -2, "first");
	push_local_date(L, unit, finish - CL_SECOND);
	lua_setfield(L, -2, "last");
	cl_set_str(L, "name",
	           week ? cl_calendar_week_name(unit->arena, calendar, start)
	                : cl_calendar_month_name(unit->arena, calendar, start));
	return 1;
}

static int month(lua_State *L)
{
	return push_period(L, "ctx:month", false);
}

static int week(lua_State *L)
{
	return push_period(L, "ctx:week", true);
}

static struct cl_duration take_duration(lua_State *L, int index, const char *call)
{
	struct cl_str text = cl_ctx_text(L, index, call, "duration");
	struct cl_duration duration;
	struct cl_err e = {0};
	if (cl_duration_parse(text, &duration, &e))
		cl_raise_misuse(L, "%s: %s", call, e.message);
	return duration;
}

static bool is_part_of_a_day(struct cl_duration duration)
{
	return duration.unit == CL_MINUTES || duration.unit == CL_HOURS || duration.unit == CL_BUSINESS_HOURS;
}

/* A date stays a date, a dateTime a dateTime. */
static int add(lua_State *L)
{
	static const char call[] = "ctx:add";
	const struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct moment moment = take_moment(L, 2, call, "from");
	struct cl_duration duration = take_duration(L, 3, call);
	if (moment.is_date && is_part_of_a_day(duration))
		return cl_raise_misuse(L, "%s: hours and minutes are added to a dateTime, not to a date", call);
	cl_instant at = cl_calendar_add(&unit->organization->calendar, moment.at, duration);
	if (moment.is_date)
		push_local_date(L, unit, at);
	else
		push_instant(L, at);
	return 1;
}

static const struct {
	const char *name;
	enum cl_duration_unit unit;
} units[] = {
        {"minutes", CL_MINUTES},
        {"hours", CL_HOURS},
        {"days", CL_DAYS},
        {"business days", CL_BUSINESS_DAYS},
        {"business hours", CL_BUSINESS_HOURS},
        {"weeks", CL_WEEKS},
        {"months", CL_MONTHS},
        {"years", CL_YEARS},
};

int cl_ctx_duration_unit(struct cl_str name)
{
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (cl_str_is(name, units[i].name))
			return (int)units[i].unit;
	return 0;
}

static int between(lua_State *L)
{
	static const char call[] = "ctx:between";
	const struct cl_unit *unit = cl_ctx_unit(L, call, false);
	const struct cl_calendar *calendar = &unit->organization->calendar;
	struct moment from = take_moment(L, 2, call, "from"), to = take_moment(L, 3, call, "to");
	struct cl_str name = cl_ctx_text(L, 4, call, "unit");
	int duration_unit = cl_ctx_duration_unit(name);
	double value;
	if (!duration_unit)
		return cl_raise_misuse(
		        L,
		        "%s: `unit` is '%.40s'; it can be minutes, hours, business hours, days, business days, weeks, "
		        "months or years",
		        call, name.p);
	if (from.is_date && to.is_date && (duration_unit == CL_DAYS || duration_unit == CL_WEEKS)) {
		/* Dates are whole days apart, whatever the clocks did in between. */
		int64_t days = cl_date_to_days(cl_zone_local(calendar->zone, to.at).date) -
		               cl_date_to_days(cl_zone_local(calendar->zone, from.at).date);
		value = duration_unit == CL_DAYS ? (double)days : (double)days / 7;
	} else {
		value = cl_calendar_between(calendar, from.at, to.at, (enum cl_duration_unit)duration_unit);
	}
	lua_Integer whole;
	if (lua_numbertointeger(value, &whole) && (double)whole == value)
		lua_pushinteger(L, whole);
	else
		lua_pushnumber(L, value);
	return 1;
}

/* ---- timers ---- */

/* "set:<plugin>:<key>", after a check that the plugin declares `timer` for the part before the first colon. */
static struct cl_str timer_name(lua_State *L, struct cl_unit *unit, const char *call)
{
	struct cl_lua *lua = cl_lua_of(L);
	int plugin = lua->frame->plugin;
	if (plugin < 0)
		cl_raise_misuse(L, "%s: only plugins have timers", call);
	struct cl_str key = cl_ctx_text(L, 2, call, "key"), scope = lua->plugins[lua->plugins[plugin].scope].name,
	              head = key;
	const char *colon = memchr(key.p, ':', key.n);
	if (colon)
		head.n = (size_t)(colon - key.p);
	if (key.n > 200)
		cl_raise_misuse(L, "%s: the key is longer than 200 bytes", call);
	for (size_t i = 0; i < lua->catalog.timer_count; i++)
		if (cl_str_equal(lua->catalog.timers[i].plugin, scope) &&
		    cl_str_equal(lua->catalog.timers[i].key, head))
			return cl_arena_printf(unit->arena, "set:%.*s:%.*s", CL_STR_ARGS(scope), CL_STR_ARGS(key));
	cl_raise_misuse(L, "%s: no `timer \"%.*s\"` is declared to hear of it", call, CL_STR_ARGS(head));
	return CL_STR_NONE;
}

static struct cl_str json_text(struct cl_arena *arena, const struct cl_json *value)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, value);
	struct cl_str out = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return out;
}

/* What was set before, so that an undo can bring it back. */
static int remember_timer(struct cl_unit *unit, struct cl_str name, struct cl_err *e)
{
	struct cl_stored_timer former;
	struct cl_err ignored = {0};
	if (!unit->origin)
		return 0;
	struct cl_json *detail = cl_json_new(unit->arena, CL_JSON_OBJECT);
	cl_json_set_integer(unit->arena, detail, "by", (int64_t)unit->origin);
	cl_json_set_text(unit->arena, detail, "name", name);
	if (!cl_store_timer_get(unit->store, unit->arena, name, &former, &ignored)) {
		struct cl_json *object = cl_json_set_object(unit->arena, detail, "former");
		cl_json_set_integer(unit->arena, object, "due", former.due);
		cl_json_set_text(unit->arena, object, "plugin", former.plugin);
		cl_json_set_text(unit->arena, object, "rule", former.rule);
		cl_json_set_text(unit->arena, object, "data", former.data);
	}
	struct cl_stored_event event = {
	        .cause = unit->cause,
	        .at = unit->now,
	        .kind = CL_STR("timer-set"),
	        .actor = unit->actor.name,
	        .detail = json_text(unit->arena, detail),
	        .outcome = CL_STR("ok"),
	};
	return cl_store_event_append(unit->store, &event, e);
}

static int set_timer(lua_State *L)
{
	static const char call[] = "ctx:set_timer";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_stored_timer timer = {
	        .name = timer_name(L, unit, call),
	        .plugin = lua->plugins[lua->plugins[lua->frame->plugin].scope].name,
	};
	struct cl_json *rule = cl_json_new(unit->arena, CL_JSON_OBJECT),
	               *data = cl_json_new(unit->arena, CL_JSON_OBJECT);
	struct cl_str when = cl_ctx_text(L, 3, call, "when");
	struct cl_duration duration;
	struct cl_err e = {0}, ignored = {0};
	if (cl_duration_parse(when, &duration, &ignored) == 0) {
		timer.due = cl_calendar_add(&unit->organization->calendar, unit->now, duration);
		cl_json_set_text(unit->arena, rule, "anchor", cl_instant_text(unit->arena, unit->now));
		cl_json_set_text(unit->arena, rule, "duration", cl_duration_text(unit->arena, duration));
		cl_json_set_text(unit->arena, rule, "zone", cl_str_of(cl_zone_name(unit->organization->calendar.zone)));
	} else if (when.p[0] >= '0' && when.p[0] <= '9' && memchr(when.p, '-', when.n)) {
		timer.due = cl_ctx_instant(L, 3, call, "when");
		cl_json_set_text(unit->arena, rule, "at", when);
	} else {
		return cl_raise_misuse(L,
		                       "%s: `when` is '%.60s', neither a dateTime nor a duration such as \"4 hours\"",
		                       call, when.p);
	}
	if (!lua_isnoneornil(L, 4))
		*cl_json_set(unit->arena, data, CL_STR("data")) = *cl_take_json(L, 4, unit->arena, "data");
	timer.rule = json_text(unit->arena, rule);
	timer.data = json_text(unit->arena, data);
	if (remember_timer(unit, timer.name, &e) || cl_store_timer_set(unit->store, &timer, &e))
		return cl_ctx_failed(L, &e, NULL);
	unit->timers_changed = true;
	push_instant(L, timer.due);
	return 1;
}

static int clear_timer(lua_State *L)
{
	static const char call[] = "ctx:clear_timer";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_err e = {0};
	struct cl_str name = timer_name(L, unit, call);
	int code = remember_timer(unit, name, &e);
	if (!code)
		code = cl_store_timer_clear(unit->store, name, &e);
	if (code && code != CL_E_NOT_FOUND)
		return cl_ctx_failed(L, &e, NULL);
	unit->timers_changed = true;
	return 0;
}

const luaL_Reg cl_ctx_time_calls[] = {
        {"now", now},
        {"today", today},
        {"add", add},
        {"between", between},
        {"month", month},
        {"week", week},
        {"local_date", local_date},
        {"local_time", local_time},
        {"set_timer", set_timer},
        {"clear_timer", clear_timer},
        {NULL, NULL},
};
