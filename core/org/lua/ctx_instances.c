/* ctx_instances.c: ctx:instance, ctx:instances, ctx:each_instance, ctx:transitions. */
#include "org/flow/instance.h"
#include "org/lua/internal.h"

/* ---- instances ---- */

/* `data` without the names that are the core's own; those become fields. */
static void set_record(lua_State *L, struct cl_unit *unit, struct cl_str text)
{
	struct cl_json *record = NULL;
	struct cl_err e = {0};
	if (text.n && cl_json_parse(unit->arena, text, NULL, &record, &e))
		cl_raise_for_good(L, &e);
	cl_set_str(L, "party", cl_json_get_text(record, "party"));
	cl_set_str(L, "partner", cl_json_get_text(record, "partner"));
	lua_newtable(L);
	for (uint32_t i = 0; record && record->kind == CL_JSON_OBJECT && i < record->count; i++) {
		struct cl_str name = record->members[i].name;
		if (cl_str_is(name, "party") || cl_str_is(name, "partner") || cl_str_is(name, "escalations"))
			continue;
		lua_pushlstring(L, name.p, name.n);
		cl_push_plain(L, &record->members[i].value);
		lua_rawset(L, -3);
	}
	lua_setfield(L, -2, "data");
}

static void push_instance(lua_State *L, struct cl_unit *unit, const struct cl_stored_instance *instance)
{
	lua_createtable(L, 0, 14);
	lua_pushfstring(L, "Task/%s", cl_arena_cstring(unit->arena, instance->task));
	lua_setfield(L, -2, "task");
	cl_set_str(L, "workflow", instance->workflow);
	cl_set_str(L, "state", instance->state);
	cl_set_str(L, "subject", instance->subject);
	cl_set_str(L, "owner", instance->owner);
	if (instance->patient.n) {
		lua_pushfstring(L, "Patient/%s", cl_arena_cstring(unit->arena, instance->patient));
		lua_setfield(L, -2, "patient");
	}
	cl_set_instant(L, "due", instance->due);
	cl_set_instant(L, "started", instance->started);
	cl_set_instant(L, "entered", instance->entered);
	lua_pushboolean(L, instance->final);
	lua_setfield(L, -2, "final");
	set_record(L, unit, instance->data);
}

static int instance(lua_State *L)
{
	static const char call[] = "ctx:instance";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_str task = cl_ctx_task(L, 2, call);
	struct cl_stored_instance stored = {0};
	struct cl_err e = {0};
	int code = cl_store_instance_get(unit->store, unit->arena, task, &stored, &e);
	if (code == CL_E_NOT_FOUND)
		lua_pushnil(L);
	else if (code)
		return cl_raise_for_good(L, &e);
	else
		push_instance(L, unit, &stored);
	return 1;
}

struct wanted {
	struct cl_str workflow, state, patient;
	bool live;
};

/* The workflow at 2 and { state =, patient =, live = } at 3. */
static struct wanted take_wanted(lua_State *L, struct cl_unit *unit, const char *call)
{
	static const char *const known[] = {"state", "patient", "live", NULL};
	struct wanted wanted = {.workflow = cl_ctx_text(L, 2, call, "workflow")};
	const struct cl_workflow *machine = cl_catalog_workflow(unit->catalog, wanted.workflow);
	if (!machine)
		cl_raise_misuse(L, "%s: there is no workflow '%.60s'", call, wanted.workflow.p);
	if (!lua_isnoneornil(L, 3)) {
		cl_ctx_fields(L, 3, call, known);
		wanted.state = cl_ctx_field_text(L, 3, "state", call);
		wanted.patient = cl_ctx_field_reference(L, 3, "patient", call);
		cl_ctx_field(L, 3, "live");
		wanted.live = lua_toboolean(L, -1);
		lua_pop(L, 1);
	}
	if (wanted.state.n && cl_workflow_state(machine, wanted.state) < 0)
		cl_raise_misuse(L, "%s: workflow '%.60s' has no state '%.60s'", call, wanted.workflow.p,
		                wanted.state.p);
	if (cl_str_starts(wanted.patient, "Patient/"))
		wanted.patient = (struct cl_str){wanted.patient.p + 8, wanted.patient.n - 8};
	return wanted;
}

static void push_list(lua_State *L, struct cl_unit *unit, const struct cl_instance_list *list)
{
	lua_createtable(L, (int)list->count, 0);
	for (size_t i = 0; i < list->count; i++) {
		push_instance(L, unit, &list->items[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static int instances(lua_State *L)
{
	static const char call[] = "ctx:instances";
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_instance_list list = {0};
	struct cl_err e = {0};
	struct wanted wanted = take_wanted(L, unit, call);
	cl_store_set_progress(unit->store, cl_ctx_progress, lua);
	int code = cl_store_instances(unit->store, unit->arena, wanted.workflow, wanted.state, wanted.patient,
	                              wanted.live, lua->limits.search_rows + 1, &list, &e);
	cl_store_set_progress(unit->store, NULL, NULL);
	cl_poll(L);
	if (!code && list.count > lua->limits.search_rows)
		code = cl_fail(&e, CL_E_LIMIT, "%s finds more than %u; narrow it, or use ctx:each_instance", call,
		               lua->limits.search_rows);
	if (code)
		return cl_raise_for_good(L, &e);
	push_list(L, unit, &list);
	return 1;
}

/* ---- all of them, page by page ---- */

#define PAGE 200

/* Upvalues of the iterator. */
enum { EACH_CTX = 1, EACH_WORKFLOW, EACH_FIELDS, EACH_AFTER, EACH_ROWS, EACH_PLACE };

static int each_next(lua_State *L)
{
	static const char call[] = "ctx:each_instance";
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_err e = {0};
	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(EACH_CTX));
	lua_pushvalue(L, lua_upvalueindex(EACH_WORKFLOW));
	lua_pushvalue(L, lua_upvalueindex(EACH_FIELDS));
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	lua_Integer place = lua_tointeger(L, lua_upvalueindex(EACH_PLACE)) + 1;
	lua_pushvalue(L, lua_upvalueindex(EACH_ROWS));
	if (place > (lua_Integer)lua_rawlen(L, -1)) {
		struct cl_instance_list list = {0};
		if (lua_isnil(L, lua_upvalueindex(EACH_AFTER)))
			return 0;
		struct wanted wanted = take_wanted(L, unit, call);
		struct cl_str after = cl_ctx_optional_text(L, lua_upvalueindex(EACH_AFTER), call, "place");
		cl_store_set_progress(unit->store, cl_ctx_progress, lua);
		int code = cl_store_instances_after(unit->store, unit->arena, wanted.workflow, wanted.state,
		                                    wanted.patient, wanted.live, after, PAGE, &list, &e);
		cl_store_set_progress(unit->store, NULL, NULL);
		cl_poll(L);
		if (code)
			return cl_raise_for_good(L, &e);
		push_list(L, unit, &list);
		lua_copy(L, -1, lua_upvalueindex(EACH_ROWS));
		cl_push_str(L, list.count == PAGE ? list.items[list.count - 1].task : CL_STR_NONE);
		lua_replace(L, lua_upvalueindex(EACH_AFTER));
		place = 1;
	}
	lua_pushinteger(L, place);
	lua_replace(L, lua_upvalueindex(EACH_PLACE));
	lua_rawgeti(L, -1, place);
	return 1;
}

/* for one in ctx:each_instance("referral", { live = true }) do ... end, by Task id. */
static int each_instance(lua_State *L)
{
	static const char call[] = "ctx:each_instance";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	lua_settop(L, 3);
	take_wanted(L, unit, call);
	lua_pushliteral(L, "");
	lua_newtable(L);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, each_next, 6);
	return 1;
}

/* ---- transitions ---- */

struct gathering {
	struct cl_arena *arena;
	struct cl_stored_transition *items;
	size_t count, capacity;
};

static int gather(const struct cl_stored_transition *transition, void *context)
{
	struct gathering *gathering = context;
	if (gathering->count == gathering->capacity) {
		gathering->capacity = gathering->capacity ? 2 * gathering->capacity : 16;
		struct cl_stored_transition *items =
		        CL_NEW_ARRAY(gathering->arena, struct cl_stored_transition, gathering->capacity);
		if (gathering->count)
			memcpy(items, gathering->items, gathering->count * sizeof *items);
		gathering->items = items;
	}
	struct cl_stored_transition *copy = &gathering->items[gathering->count++];
	copy->event = cl_arena_copy(gathering->arena, transition->event);
	copy->from = cl_arena_copy(gathering->arena, transition->from);
	copy->to = cl_arena_copy(gathering->arena, transition->to);
	copy->actor = cl_arena_copy(gathering->arena, transition->actor);
	copy->on_behalf_of = cl_arena_copy(gathering->arena, transition->on_behalf_of);
	copy->source = cl_arena_copy(gathering->arena, transition->source);
	copy->data = cl_arena_copy(gathering->arena, transition->data);
	copy->at = transition->at;
	return gathering->count >= 10000;
}

static int transitions(lua_State *L)
{
	static const char call[] = "ctx:transitions";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_str task = cl_ctx_task(L, 2, call);
	struct gathering gathering = {.arena = unit->arena};
	struct cl_err e = {0};
	if (cl_store_transitions(unit->store, CL_STR_NONE, task, INT64_MIN, INT64_MAX, gather, &gathering, &e))
		return cl_raise_for_good(L, &e);
	lua_createtable(L, (int)gathering.count, 0);
	for (size_t i = 0; i < gathering.count; i++) {
		const struct cl_stored_transition *transition = &gathering.items[i];
		struct cl_json *data = NULL;
		lua_createtable(L, 0, 8);
		cl_set_str(L, "event", transition->event);
		cl_set_str(L, "from", transition->from);
		cl_set_str(L, "to", transition->to);
		cl_set_str(L, "actor", transition->actor);
		cl_set_str(L, "on_behalf_of", transition->on_behalf_of);
		cl_set_str(L, "source", transition->source);
		cl_set_instant(L, "at", transition->at);
		if (transition->data.n && cl_json_parse(unit->arena, transition->data, NULL, &data, &e))
			return cl_raise_for_good(L, &e);
		if (data)
			cl_push_plain(L, data);
		else
			lua_newtable(L);
		lua_setfield(L, -2, "data");
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

const luaL_Reg cl_ctx_instance_calls[] = {
        {"instance", instance},
        {"instances", instances},
        {"each_instance", each_instance},
        {"transitions", transitions},
        {NULL, NULL},
};
