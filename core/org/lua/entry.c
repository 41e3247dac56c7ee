/* entry.c: what the engine and the machines call: guards, effects, metrics, handlers, timers, messages, operations, views. Each
 * says what the plugin's function gets and what becomes of what it returns. */
#include "org/lua/internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- guards, effects, metrics ---- */

struct event {
	const struct cl_json *task, *data;
	bool refused;
	char words[400];
};

static void push_data(lua_State *L, const struct cl_json *data)
{
	if (data && data->kind == CL_JSON_OBJECT)
		cl_push_view(L, data, CL_STR_NONE, 0);
	else
		lua_newtable(L);
}

static int64_t version_of(const struct cl_json *resource)
{
	return strtoll(cl_json_text(cl_json_path(resource, "meta", "versionId", NULL)).p ?: "0", NULL, 10);
}

static int push_event(lua_State *L, struct cl_call *call)
{
	const struct event *event = call->context;
	cl_push_view(L, event->task, CL_STR_NONE, version_of(event->task));
	push_data(L, event->data);
	return 2;
}

static void take_answer(lua_State *L, struct cl_call *call)
{
	struct event *event = call->context;
	event->refused = !lua_toboolean(L, -2);
	if (!event->refused)
		return;
	if (lua_type(L, -1) == LUA_TSTRING)
		snprintf(event->words, sizeof event->words, "%s", lua_tostring(L, -1));
	else
		snprintf(event->words, sizeof event->words, "the %.*s refuses it",
		         CL_STR_ARGS(call->lua->functions[call->function - 1].what));
	cl_clean_text(event->words);
}

static int run_event(struct cl_lua *lua, struct cl_unit *unit, int function, struct cl_str task, struct event *event,
                     bool guard, struct cl_err *e)
{
	struct cl_call call = {
	        .lua = lua,
	        .unit = unit,
	        .function = function,
	        .type = CL_STR("Task"),
	        .instance = task,
	        .read_only = guard,
	        .results = guard ? 2 : 0,
	        .push = push_event,
	        .take = guard ? take_answer : NULL,
	        .context = event,
	};
	int code = cl_call_run(&call, e);
	return !code && event->refused ? cl_fail(e, CL_E_RULE, "%s", event->words) : code;
}

static int run_guard(void *context, struct cl_unit *unit, int function, struct cl_str task,
                     const struct cl_json *resource, const struct cl_json *data, struct cl_err *e)
{
	struct event event = {.task = resource, .data = data};
	return run_event(context, unit, function, task, &event, true, e);
}

static int run_effect(void *context, struct cl_unit *unit, int function, struct cl_str task,
                      const struct cl_json *resource, const struct cl_json *data, struct cl_err *e)
{
	struct event event = {.task = resource, .data = data};
	return run_event(context, unit, function, task, &event, false, e);
}

/* ---- clocks ---- */

struct clock {
	struct event event;
	struct cl_str text;
};

static int push_clock(lua_State *L, struct cl_call *call)
{
	const struct clock *clock = call->context;
	cl_push_view(L, clock->event.task, CL_STR_NONE, 0);
	push_data(L, clock->event.data);
	return 2;
}

static void take_clock(lua_State *L, struct cl_call *call)
{
	struct clock *clock = call->context;
	if (lua_type(L, -1) != LUA_TSTRING)
		cl_raise_misuse(L, "a clock gives a duration, a dateTime or a date, not %s", luaL_typename(L, -1));
	clock->text = cl_ctx_text(L, lua_gettop(L), "a clock", "its result");
}

static int run_clock(void *context, struct cl_unit *unit, int function, struct cl_str task,
                     const struct cl_json *resource, const struct cl_json *data, struct cl_str *out, struct cl_err *e)
{
	struct clock clock = {.event = {.task = resource, .data = data}};
	struct cl_call call = {
	        .lua = context,
	        .unit = unit,
	        .function = function,
	        .type = CL_STR("Task"),
	        .instance = task,
	        .read_only = true,
	        .results = 1,
	        .push = push_clock,
	        .take = take_clock,
	        .context = &clock,
	};
	int code = cl_call_run(&call, e);
	*out = clock.text;
	return code;
}

/* ---- rules of right data ---- */

struct checking {
	const struct cl_json *resource, *former;
	struct cl_str words;
};

static int push_checked(lua_State *L, struct cl_call *call)
{
	const struct checking *checking = call->context;
	cl_push_view(L, checking->resource, CL_STR_NONE, 0);
	if (checking->former)
		cl_push_view(L, checking->former, CL_STR_NONE, 0);
	else
		lua_pushnil(L);
	return 2;
}

/* Nothing or true: right. Words, or false and words: wrong. */
static void take_words(lua_State *L, struct cl_call *call)
{
	struct checking *checking = call->context;
	int at = lua_type(L, -2) == LUA_TSTRING ? lua_gettop(L) - 1 : lua_gettop(L);
	if (lua_isnil(L, -2) || (lua_isboolean(L, -2) && lua_toboolean(L, -2)))
		return;
	if (lua_type(L, at) == LUA_TSTRING)
		checking->words = cl_ctx_optional_text(L, at, "rule", "words");
	else if (lua_isboolean(L, -2))
		checking->words = CL_STR("?");
	else
		cl_raise_misuse(L, "a rule's check gives nothing when the data are right, else words; not a %s",
		                luaL_typename(L, -2));
	if (!checking->words.n)
		checking->words = CL_STR("?");
}

static int run_check(void *context, struct cl_unit *unit, int function, uint16_t type, struct cl_str id,
                     const struct cl_json *resource, const struct cl_json *former, struct cl_str *words,
                     struct cl_err *e)
{
	struct checking checking = {.resource = resource, .former = former};
	struct cl_call call = {
	        .lua = context,
	        .unit = unit,
	        .function = function,
	        .type = cl_fhir_type_name(type),
	        .instance = id,
	        .read_only = true,
	        .results = 2,
	        .push = push_checked,
	        .take = take_words,
	        .context = &checking,
	};
	int code = cl_call_run(&call, e);
	*words = checking.words;
	return code;
}

struct month {
	cl_instant from, to;
	double numerator, denominator;
	int64_t cases;
};

static int push_month(lua_State *L, struct cl_call *call)
{
	const struct month *month = call->context;
	const struct cl_calendar *calendar = &call->unit->organization->calendar;
	bool week = month->to - month->from < 8 * CL_DAY;
	lua_createtable(L, 0, 3);
	cl_set_instant(L, "start", month->from);
	cl_set_instant(L, "finish", month->to);
	cl_set_str(L, "name",
	           week ? cl_calendar_week_name(call->unit->arena, calendar, month->from)
	                : cl_calendar_month_name(call->unit->arena, calendar, month->from));
	return 1;
}

static double number_field(lua_State *L, const char *name)
{
	double value = NAN;
	lua_pushstring(L, name);
	int type = lua_rawget(L, -2);
	if (type == LUA_TNUMBER)
		value = lua_tonumber(L, -1);
	else if (type != LUA_TNIL)
		cl_raise_misuse(L, "a metric's %s must be a number, not %s", name, lua_typename(L, type));
	lua_pop(L, 1);
	return value;
}

/* { numerator, denominator } or { value, n }; nil when it cannot be computed. */
static void take_measure(lua_State *L, struct cl_call *call)
{
	static const char *const known[] = {"numerator", "denominator", "value", "n", NULL};
	struct month *month = call->context;
	month->numerator = month->denominator = NAN;
	month->cases = -1;
	if (lua_isnil(L, -1))
		return;
	cl_ctx_fields(L, -1, "the metric's result", known);
	double value = number_field(L, "value"), numerator = number_field(L, "numerator");
	if (isnan(value) && isnan(numerator))
		cl_raise_misuse(L, "a metric gives { numerator =, denominator = }, { value =, n = } or nil");
	month->numerator = isnan(value) ? numerator : value;
	month->denominator = isnan(value) ? number_field(L, "denominator") : NAN;
	double cases = number_field(L, "n");
	month->cases = isnan(value) || isnan(cases) || cases < 0 || cases > 1e15 ? -1 : (int64_t)cases;
}

static int run_metric(void *context, struct cl_unit *unit, int function, cl_instant from, cl_instant to,
                      double *numerator, double *denominator, int64_t *cases, struct cl_err *e)
{
	struct month month = {.from = from, .to = to, .numerator = NAN, .denominator = NAN, .cases = -1};
	struct cl_call call = {
	        .lua = context,
	        .unit = unit,
	        .function = function,
	        .read_only = true,
	        .results = 1,
	        .push = push_month,
	        .take = take_measure,
	        .context = &month,
	};
	int code = cl_call_run(&call, e);
	*numerator = month.numerator;
	*denominator = month.denominator;
	*cases = month.cases;
	return code;
}

struct cl_script cl_entry_script(struct cl_lua *lua)
{
	return (struct cl_script){
	        .context = lua,
	        .guard = run_guard,
	        .effect = run_effect,
	        .clock = run_clock,
	        .check = run_check,
	        .metric = run_metric,
	        .measure = cl_entry_measure,
	};
}

/* ---- handlers ---- */

static const char *operation_name(uint8_t operation)
{
	return operation == CL_OP_CREATE ? "create" : operation == CL_OP_UPDATE ? "update" : "delete";
}

static bool hears(const struct cl_lua_hearing *hearing, const struct cl_change *change)
{
	bool undo = cl_str_is(change->event, "undo") && change->workflow.n;
	if (hearing->workflow.n && cl_str_is(hearing->word, "undo"))
		return undo && cl_str_equal(hearing->workflow, change->workflow);
	if (change->quiet) /* what an undo puts back has happened before */
		return false;
	if (!hearing->type)
		return change->workflow.n && cl_str_equal(hearing->workflow, change->workflow) &&
		       cl_str_equal(hearing->word, change->to);
	if (hearing->type != change->type)
		return false;
	if (hearing->operation)
		return hearing->operation == change->operation;
	return change->operation != CL_OP_DELETE && cl_str_equal(hearing->word, change->status) &&
	       !cl_str_equal(change->status, change->former_status);
}

static int push_change(lua_State *L, struct cl_call *call)
{
	const struct cl_change *change = call->context;
	lua_createtable(L, 0, 9);
	lua_pushlstring(L, call->type.p, call->type.n);
	lua_pushliteral(L, "/");
	lua_pushlstring(L, call->instance.p, call->instance.n);
	lua_concat(L, 3);
	lua_setfield(L, -2, "reference");
	if (change->resource) {
		cl_push_view(L, change->resource, CL_STR_NONE, change->version);
		lua_setfield(L, -2, "resource");
	}
	lua_pushstring(L, operation_name(change->operation));
	lua_setfield(L, -2, "operation");
	cl_set_str(L, "status", change->status);
	cl_set_str(L, "former_status", change->former_status);
	cl_set_str(L, "workflow", change->workflow);
	cl_set_str(L, "event", change->event);
	cl_set_str(L, "from", change->from);
	cl_set_str(L, "to", change->to);
	return 1;
}

int cl_lua_react(struct cl_lua *lua, struct cl_unit *unit, const struct cl_change *change, struct cl_err *e)
{
	int code = 0;
	for (size_t i = 0; i < lua->catalog.handler_count && !code; i++) {
		if (!hears(&lua->hearings[i], change))
			continue;
		struct cl_call call = {
		        .lua = lua,
		        .unit = unit,
		        .function = lua->catalog.handlers[i].function,
		        .type = cl_fhir_type_name(change->type),
		        .instance = change->id,
		        .push = push_change,
		        .context = (void *)(uintptr_t)change,
		};
		code = cl_call_run(&call, e);
	}
	return code;
}

int cl_lua_recur(struct cl_lua *lua, struct cl_unit *unit, const struct cl_recurring *recurring, struct cl_err *e)
{
	struct cl_call call = {.lua = lua, .unit = unit, .function = recurring->function};
	return cl_call_run(&call, e);
}

struct due {
	const struct cl_json *data;
	struct cl_str rest; /* of the key, after the first ":" */
};

static int push_due(lua_State *L, struct cl_call *call)
{
	const struct due *due = call->context;
	if (!due->data)
		lua_newtable(L);
	else if (due->data->kind >= CL_JSON_ARRAY)
		cl_push_view(L, due->data, CL_STR_NONE, 0);
	else
		cl_push_plain(L, due->data);
	cl_push_str(L, due->rest);
	return 2;
}

/* "set:<plugin>:<key>" */
int cl_lua_timer(struct cl_lua *lua, struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e)
{
	struct cl_str plugin = timer->name, key;
	struct cl_json *data = NULL;
	if (!cl_str_starts(timer->name, "set:"))
		return cl_fail(e, CL_E_INTERNAL, "timer '%.*s' belongs to no plugin", CL_STR_ARGS(timer->name));
	plugin.p += 4;
	plugin.n -= 4;
	const char *colon = memchr(plugin.p, ':', plugin.n);
	if (!colon)
		return cl_fail(e, CL_E_CORRUPT, "timer '%.*s' names no key", CL_STR_ARGS(timer->name));
	key = (struct cl_str){colon + 1, plugin.n - (size_t)(colon + 1 - plugin.p)};
	plugin.n = (size_t)(colon - plugin.p);
	struct cl_str head = key, rest = CL_STR_NONE;
	colon = memchr(key.p, ':', key.n);
	if (colon) {
		head.n = (size_t)(colon - key.p);
		rest = (struct cl_str){colon + 1, key.n - head.n - 1};
	}
	if (timer->data.n && cl_json_parse(unit->arena, timer->data, NULL, &data, e))
		return cl_fail(e, CL_E_CORRUPT, "the data of timer '%.*s' is no JSON", CL_STR_ARGS(timer->name));
	for (size_t i = 0; i < lua->catalog.timer_count; i++) {
		const struct cl_timer_handler *handler = &lua->catalog.timers[i];
		if (!cl_str_equal(handler->plugin, plugin) || !cl_str_equal(handler->key, head))
			continue;
		struct due due = {cl_json_get(data, "data"), rest};
		struct cl_call call = {
		        .lua = lua,
		        .unit = unit,
		        .function = handler->function,
		        .instance = timer->name,
		        .push = push_due,
		        .context = &due,
		};
		return cl_call_run(&call, e);
	}
	return cl_fail(e, CL_E_PLUGIN, "plugin '%.*s' has no timer '%.*s' any more", CL_STR_ARGS(plugin),
	               CL_STR_ARGS(head));
}

/* ---- messages ---- */

struct message {
	struct cl_str event, sender;
	const struct cl_json *bundle;
};

static int push_message(lua_State *L, struct cl_call *call)
{
	const struct message *message = call->context;
	const struct cl_json *entries = cl_json_get(message->bundle, "entry");
	lua_Integer count = 0;
	lua_createtable(L, 0, 4);
	cl_set_str(L, "event", message->event);
	cl_set_str(L, "sender", message->sender);
	cl_push_view(L, message->bundle, CL_STR_NONE, 0);
	lua_setfield(L, -2, "bundle");
	lua_newtable(L);
	for (uint32_t i = 0; entries && entries->kind == CL_JSON_ARRAY && i < entries->count; i++) {
		const struct cl_json *resource = cl_json_get(&entries->items[i], "resource");
		if (!resource || resource->kind != CL_JSON_OBJECT ||
		    cl_str_is(cl_json_get_text(resource, "resourceType"), "MessageHeader"))
			continue;
		cl_push_view(L, resource, CL_STR_NONE, 0);
		lua_rawseti(L, -2, ++count);
	}
	lua_setfield(L, -2, "resources");
	return 1;
}

int cl_lua_receive(struct cl_lua *lua, struct cl_unit *unit, struct cl_str sender, struct cl_json *bundle,
                   struct cl_err *e)
{
	const struct cl_json *header = cl_json_path(bundle, "entry", "0", "resource", NULL);
	struct message message = {cl_json_text(cl_json_path(header, "eventCoding", "code", NULL)), sender, bundle};
	bool heard = false;
	int code = 0;
	for (size_t i = 0; i < lua->catalog.receiver_count && !code; i++) {
		if (!cl_str_equal(lua->catalog.receivers[i].event, message.event))
			continue;
		struct cl_call call = {
		        .lua = lua,
		        .unit = unit,
		        .function = lua->catalog.receivers[i].function,
		        .instance = cl_json_get_text(bundle, "id"),
		        .push = push_message,
		        .context = &message,
		};
		heard = true;
		code = cl_call_run(&call, e);
	}
	if (heard)
		return code;
	cl_fail(e, CL_E_UNSUPPORTED, "no plugin of this organization receives the event '%.*s'",
	        CL_STR_ARGS(message.event));
	return cl_fail_at(e, "MessageHeader.eventCoding");
}

/* ---- operations and views ---- */

struct operation {
	const struct cl_json *input;
	struct cl_str target;
	struct cl_json *out;
};

static int push_input(lua_State *L, struct cl_call *call)
{
	const struct operation *operation = call->context;
	if (operation->input)
		cl_push_view(L, operation->input, CL_STR_NONE, 0);
	else
		lua_pushnil(L);
	cl_push_str(L, operation->target);
	return 2;
}

static void take_resource(lua_State *L, struct cl_call *call)
{
	struct operation *operation = call->context;
	if (lua_isnil(L, -1))
		return;
	operation->out = cl_take_json(L, -1, call->unit->arena, "the operation's result");
	if (!cl_fhir_type(cl_json_get_text(operation->out, "resourceType")))
		cl_raise_misuse(L, "an operation gives a resource or nil");
}

int cl_lua_operation(struct cl_lua *lua, struct cl_unit *unit, const struct cl_operation_rule *rule,
                     struct cl_json *input, struct cl_str target, struct cl_json **out, struct cl_err *e)
{
	struct operation operation = {.input = input, .target = target};
	struct cl_call call = {
	        .lua = lua,
	        .unit = unit,
	        .function = rule->function,
	        .instance = target,
	        .results = 1,
	        .push = push_input,
	        .take = take_resource,
	        .context = &operation,
	};
	int code = cl_call_run(&call, e);
	*out = code ? NULL : operation.out;
	return code;
}

static void take_rows(lua_State *L, struct cl_call *call)
{
	struct cl_json *rows;
	if (lua_isnil(L, -1))
		rows = cl_json_new(call->unit->arena, CL_JSON_ARRAY);
	else
		rows = cl_take_json(L, -1, call->unit->arena, "the view's rows");
	if (rows->kind == CL_JSON_OBJECT && rows->count == 0)
		rows->kind = CL_JSON_ARRAY;
	for (uint32_t i = 0; rows->kind == CL_JSON_ARRAY && i < rows->count; i++)
		if (rows->items[i].kind != CL_JSON_OBJECT)
			cl_raise_misuse(L, "row %u of the view is no table with names", i + 1);
	if (rows->kind != CL_JSON_ARRAY)
		cl_raise_misuse(L, "a view gives a list of rows: { { name = \"...\" }, ... }");
	*(struct cl_json **)call->context = rows;
}

int cl_lua_view(struct cl_lua *lua, struct cl_unit *unit, const struct cl_view *view, struct cl_json **rows,
                struct cl_err *e)
{
	struct cl_call call = {
	        .lua = lua,
	        .unit = unit,
	        .function = view->function,
	        .read_only = true,
	        .results = 1,
	        .take = take_rows,
	        .context = rows,
	};
	*rows = NULL;
	return cl_call_run(&call, e);
}
