/* ctx_flow.c: ctx:start, ctx:advance, ctx:copy_state, ctx:set_data. */
#include "org/flow/instance.h"
#include "org/lua/internal.h"

/* An object, or NULL for nil. */
static struct cl_json *take_data(lua_State *L, int index, struct cl_unit *unit, const char *call)
{
	if (lua_isnoneornil(L, index))
		return NULL;
	if (!lua_istable(L, index) && !cl_is_view(L, index))
		cl_raise_misuse(L, "%s: `data` must be a table, not %s", call, luaL_typename(L, index));
	struct cl_json *data = cl_take_json(L, index, unit->arena, "data");
	if (data->kind == CL_JSON_ARRAY && data->count)
		cl_raise_misuse(L, "%s: `data` must have names, not positions", call);
	return data;
}

static struct cl_json *take_field_data(lua_State *L, int index, struct cl_unit *unit, const char *call)
{
	cl_ctx_field(L, index, "data");
	struct cl_json *data = take_data(L, lua_gettop(L), unit, call);
	lua_pop(L, 1);
	return data;
}

/* 0 for nil. */
static cl_instant take_field_instant(lua_State *L, int index, const char *name, const char *call)
{
	cl_instant at = 0;
	if (cl_ctx_field(L, index, name) != LUA_TNIL)
		at = cl_ctx_instant(L, lua_gettop(L), call, name);
	lua_pop(L, 1);
	return at;
}

static int start(lua_State *L)
{
	static const char call[] = "ctx:start";
	static const char *const known[] = {
	        "focus", "patient", "requester", "owner",   "party", "partner",
	        "state", "data",    "started",   "entered", NULL,
	};
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_version version = {0};
	struct cl_issues issues;
	struct cl_err e = {0};
	struct cl_start fields = {.workflow = cl_ctx_text(L, 2, call, "workflow")};
	if (!lua_isnoneornil(L, 3)) {
		cl_ctx_fields(L, 3, call, known);
		fields.focus = cl_ctx_field_reference(L, 3, "focus", call);
		fields.patient = cl_ctx_field_reference(L, 3, "patient", call);
		fields.requester = cl_ctx_field_reference(L, 3, "requester", call);
		fields.owner = cl_ctx_field_reference(L, 3, "owner", call);
		fields.party = cl_ctx_field_text(L, 3, "party", call);
		fields.partner = cl_ctx_field_text(L, 3, "partner", call);
		fields.state = cl_ctx_field_text(L, 3, "state", call);
		fields.data = take_field_data(L, 3, unit, call);
		fields.started = take_field_instant(L, 3, "started", call);
		fields.entered = take_field_instant(L, 3, "entered", call);
	}
	cl_issues_init(&issues, unit->arena, 0);
	if (cl_instance_start(unit, &fields, &version, &issues, &e))
		return cl_ctx_failed(L, &e, &issues);
	lua_pushfstring(L, "Task/%s", cl_arena_cstring(unit->arena, version.id));
	return 1;
}

/* Moves, then pushes the state that the instance came into. */
static int move(lua_State *L, struct cl_unit *unit, const struct cl_advance *advance)
{
	struct cl_stored_instance stored = {0};
	struct cl_version version = {0};
	struct cl_issues issues;
	struct cl_err e = {0};
	cl_issues_init(&issues, unit->arena, 0);
	int code = cl_instance_advance(unit, advance, &version, &issues, &e);
	if (code)
		return cl_ctx_failed(L, &e, &issues);
	if (cl_store_instance_get(unit->store, unit->arena, advance->task, &stored, &e))
		return cl_ctx_failed(L, &e, NULL);
	cl_push_str(L, stored.state);
	return 1;
}

static int advance(lua_State *L)
{
	static const char call[] = "ctx:advance";
	static const char *const known[] = {"on_behalf_of", "source", "at", NULL};
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_advance fields = {
	        .task = cl_ctx_task(L, 2, call),
	        .event = cl_ctx_text(L, 3, call, "event"),
	        .data = take_data(L, 4, unit, call),
	};
	if (!lua_isnoneornil(L, 5)) {
		cl_ctx_fields(L, 5, call, known);
		fields.on_behalf_of = cl_ctx_field_text(L, 5, "on_behalf_of", call);
		fields.source = cl_ctx_field_text(L, 5, "source", call);
		cl_ctx_field(L, 5, "at");
		if (!lua_isnil(L, -1))
			fields.occurred = cl_ctx_instant(L, lua_gettop(L), call, "at");
		lua_pop(L, 1);
	}
	return move(L, unit, &fields);
}

static int copy_state(lua_State *L)
{
	static const char call[] = "ctx:copy_state";
	static const char *const known[] = {"event", "data", "at", NULL};
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_advance fields = {
	        .task = cl_ctx_task(L, 2, call),
	        .forced = true,
	        .forced_state = cl_ctx_text(L, 3, call, "state"),
	        .source = CL_STR("message"),
	};
	if (!lua_isnoneornil(L, 4)) {
		cl_ctx_fields(L, 4, call, known);
		fields.event = cl_ctx_field_text(L, 4, "event", call);
		fields.data = take_field_data(L, 4, unit, call);
		cl_ctx_field(L, 4, "at");
		if (!lua_isnil(L, -1))
			fields.occurred = cl_ctx_instant(L, lua_gettop(L), call, "at");
		lua_pop(L, 1);
	}
	return move(L, unit, &fields);
}

static int set_data(lua_State *L)
{
	static const char call[] = "ctx:set_data";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_err e = {0};
	struct cl_str task = cl_ctx_task(L, 2, call);
	struct cl_json *data = take_data(L, 3, unit, call), *removed = NULL;
	if (!lua_isnoneornil(L, 4)) {
		removed = cl_take_json(L, 4, unit->arena, "removed");
		if (removed->kind == CL_JSON_OBJECT && !removed->count)
			removed->kind = CL_JSON_ARRAY;
		if (removed->kind != CL_JSON_ARRAY)
			return cl_raise_misuse(L, "%s: what is taken away is a list of names", call);
	}
	return cl_instance_set_data(unit, task, data, removed, &e) ? cl_ctx_failed(L, &e, NULL) : 0;
}

const luaL_Reg cl_ctx_flow_calls[] = {
        {"set_data", set_data}, {"start", start}, {"advance", advance}, {"copy_state", copy_state}, {NULL, NULL},
};
