/* entry_measure.c: what a measure's function gets, and what becomes of the cases that it returns. */
#include "org/flow/measure.h"
#include "org/lua/internal.h"
#include <math.h>
#include <stdio.h>

#define CASES_MOST 1000 /* of one subject and measure */

struct asking {
	const struct cl_measure *measure;
	const struct cl_json *subject;
	const struct cl_measure_period *period;
	struct cl_measure_case *cases;
	size_t count;
};

static void set_day(lua_State *L, const struct cl_zone *zone, const char *name, cl_instant at)
{
	struct cl_date date = cl_zone_local(zone, at).date;
	char text[24];
	snprintf(text, sizeof text, "%04d-%02d-%02d", date.year, date.month, date.day);
	lua_pushstring(L, text);
	lua_setfield(L, -2, name);
}

static int push_subject(lua_State *L, struct cl_call *call)
{
	const struct asking *asking = call->context;
	const struct cl_zone *zone = call->unit->organization->calendar.zone;
	cl_push_view(L, asking->subject, CL_STR_NONE, 0);
	lua_createtable(L, 0, 5);
	cl_set_instant(L, "start", asking->period->from);
	cl_set_instant(L, "finish", asking->period->to);
	set_day(L, zone, "first", asking->period->from);
	set_day(L, zone, "last", asking->period->to - CL_SECOND);
	cl_set_str(L, "name", asking->period->name);
	return 2;
}

/* ---- one case ---- */

static const char *const case_fields[] = {"initial", "denominator", "numerator", "exclusion", "exception",
                                          "value",   "strata",      "facts",     "about",     NULL};

static struct cl_str text_field(lua_State *L, int at, struct cl_unit *unit, const char *name)
{
	struct cl_str out = CL_STR_NONE;
	int type = cl_ctx_field(L, at, name);
	if (type == LUA_TSTRING) {
		size_t n;
		const char *text = lua_tolstring(L, -1, &n);
		out = cl_unit_copy(unit, text, n);
	} else if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
		cl_raise_misuse(L, "a case's %s must be text", name);
	} else if (type == LUA_TBOOLEAN && lua_toboolean(L, -1)) {
		cl_raise_misuse(L, "a case's %s must say why, in words", name);
	}
	lua_pop(L, 1);
	return out;
}

static bool flag_field(lua_State *L, int at, const char *name, bool otherwise)
{
	int type = cl_ctx_field(L, at, name);
	bool value = type == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
	if (type != LUA_TNIL && type != LUA_TBOOLEAN)
		cl_raise_misuse(L, "a case's %s must be true or false", name);
	lua_pop(L, 1);
	return value;
}

static double number_field(lua_State *L, int at, const char *name)
{
	int type = cl_ctx_field(L, at, name);
	double value = type == LUA_TNUMBER ? lua_tonumber(L, -1) : NAN;
	if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1)) /* a case that is out has none */
		type = LUA_TNIL;
	if (type != LUA_TNIL && (type != LUA_TNUMBER || !isfinite(value)))
		cl_raise_misuse(L, "a case's %s must be a number", name);
	lua_pop(L, 1);
	return value;
}

static void read_strata(lua_State *L, int at, struct cl_unit *unit, struct cl_measure_case *one)
{
	int type = cl_ctx_field(L, at, "strata");
	lua_Integer count = type == LUA_TTABLE ? (lua_Integer)lua_rawlen(L, -1) : 0;
	if (type != LUA_TNIL && type != LUA_TTABLE)
		cl_raise_misuse(L, "a case's strata must be a list of names");
	if (count > 20)
		cl_raise_misuse(L, "a case is in at most 20 strata");
	one->strata = CL_NEW_ARRAY(unit->arena, struct cl_str, count + 1);
	for (lua_Integer i = 1; i <= count; i++) {
		lua_rawgeti(L, -1, i);
		if (lua_type(L, -1) != LUA_TSTRING)
			cl_raise_misuse(L, "a case's strata must be a list of names");
		size_t n;
		const char *text = lua_tolstring(L, -1, &n);
		one->strata[one->stratum_count++] = cl_unit_copy(unit, text, n);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* { { "Observation/x", "PHQ-9 of 14 on 2026-03-01" }, { "no assessment in the window" } } */
static void read_facts(lua_State *L, int at, struct cl_unit *unit, struct cl_measure_case *one)
{
	int type = cl_ctx_field(L, at, "facts");
	lua_Integer count = type == LUA_TTABLE ? (lua_Integer)lua_rawlen(L, -1) : 0;
	if (type != LUA_TNIL && type != LUA_TTABLE)
		cl_raise_misuse(L, "a case's facts must be a list of { reference, text }");
	if (count > 1000)
		count = 1000;
	one->facts = CL_NEW_ARRAY(unit->arena, struct cl_measure_fact, count + 1);
	for (lua_Integer i = 1; i <= count; i++) {
		struct cl_str parts[2] = {CL_STR_NONE, CL_STR_NONE};
		lua_rawgeti(L, -1, i);
		if (!lua_istable(L, -1))
			cl_raise_misuse(L, "a case's facts must be a list of { reference, text }");
		for (int p = 0; p < 2; p++) {
			size_t n = 0;
			lua_rawgeti(L, -1, p + 1);
			const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
			if (text)
				parts[p] = cl_unit_copy(unit, text, n);
			lua_pop(L, 1);
		}
		one->facts[one->fact_count++] = parts[1].n ? (struct cl_measure_fact){parts[0], parts[1]}
		                                           : (struct cl_measure_fact){CL_STR_NONE, parts[0]};
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_case(lua_State *L, int at, struct cl_unit *unit, const struct cl_measure *measure,
                      struct cl_measure_case *one)
{
	cl_ctx_fields(L, at, "a measure's case", case_fields);
	one->initial = flag_field(L, at, "initial", true);
	one->exclusion = text_field(L, at, unit, "exclusion");
	one->exception = text_field(L, at, unit, "exception");
	one->about = text_field(L, at, unit, "about");
	one->numerator_value = one->denominator_value = one->value = NAN;
	if (measure->scoring == CL_SCORING_RATIO) {
		one->numerator_value = number_field(L, at, "numerator");
		one->denominator_value = number_field(L, at, "denominator");
		one->denominator = one->initial;
	} else {
		one->denominator = one->initial && flag_field(L, at, "denominator", true);
		if (measure->scoring == CL_SCORING_CONTINUOUS)
			one->value = number_field(L, at, "value");
		else
			one->numerator = flag_field(L, at, "numerator", false);
	}
	read_strata(L, at, unit, one);
	read_facts(L, at, unit, one);
}

/* nil, one case, or a list of cases. */
static void take_cases(lua_State *L, struct cl_call *call)
{
	struct asking *asking = call->context;
	int at = lua_gettop(L);
	if (lua_isnil(L, at))
		return;
	if (!lua_istable(L, at))
		cl_raise_misuse(L, "a measure gives a case, a list of cases, or nil");
	lua_Integer count = (lua_Integer)lua_rawlen(L, at);
	lua_pushnil(L);
	bool empty = !lua_next(L, at);
	if (!empty)
		lua_pop(L, 2);
	if (empty)
		return;
	if (count > CASES_MOST)
		cl_raise_misuse(L, "a measure gives at most %d cases for one subject", CASES_MOST);
	asking->cases = CL_NEW_ARRAY(call->unit->arena, struct cl_measure_case, count ? count : 1);
	if (!count) {
		read_case(L, at, call->unit, asking->measure, &asking->cases[asking->count++]);
		return;
	}
	for (lua_Integer i = 1; i <= count; i++) {
		lua_rawgeti(L, at, i);
		if (!lua_istable(L, -1))
			cl_raise_misuse(L, "a measure gives a case, a list of cases, or nil");
		read_case(L, lua_gettop(L), call->unit, asking->measure, &asking->cases[asking->count++]);
		lua_pop(L, 1);
	}
}

int cl_entry_measure(void *context, struct cl_unit *unit, const struct cl_measure *measure,
                     const struct cl_json *subject, const struct cl_measure_period *period,
                     struct cl_measure_sink *sink, struct cl_err *e)
{
	struct cl_lua *lua = context;
	struct asking asking = {.measure = measure, .subject = subject, .period = period};
	struct cl_call call = {
	        .lua = lua,
	        .unit = unit,
	        .function = measure->function,
	        .type = CL_STR("measure"),
	        .instance = measure->name,
	        .read_only = true,
	        .results = 1,
	        .push = push_subject,
	        .take = take_cases,
	        .context = &asking,
	};
	/* What one subject's call broke is not the next one's; nested in another call, it is. */
	if (!lua->frame)
		cl_lua_unit_begin(lua, unit);
	int code = cl_call_run(&call, e);
	for (size_t i = 0; i < asking.count && !code; i++)
		sink->take(sink, &asking.cases[i]);
	return code;
}
