/* ctx_read.c: ctx:read, ctx:search, ctx:instance, ctx:instances, ctx:transitions. */
#include "org/fhir/reference.h"
#include "org/fhir/search.h"
#include "org/flow/instance.h"
#include "org/lua/internal.h"
#include <ctype.h>

/* ---- one resource ---- */

static int read_resource(lua_State *L)
{
	static const char call[] = "ctx:read";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_str text = cl_ctx_reference(L, 2, call, "reference");
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	struct cl_version version = {0};
	struct cl_json *resource = NULL;
	struct cl_err e = {0};
	if (!reference.type || !reference.id.n)
		return cl_raise_misuse(L, "%s: '%.80s' is no reference such as \"Patient/x\"", call, text.p);
	if (reference.form != CL_FHIR_REFERENCE_RELATIVE) { /* it lives elsewhere */
		lua_pushnil(L);
		return 1;
	}
	int code = cl_unit_read(unit, reference.type, reference.id, &resource, &version, &e);
	if (code == CL_E_NOT_FOUND || code == CL_E_GONE)
		lua_pushnil(L);
	else if (code)
		return cl_raise_for_good(L, &e);
	else
		cl_push_view(L, resource, CL_STR_NONE, version.version);
	return 1;
}

/* ---- search ---- */

#define VALUE_MAXIMUM 1000 /* bytes */

/* `out` has three bytes for each of the text. */
static size_t encode(struct cl_str text, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (isalnum(c) || (c && strchr("-._~:/|,$", c))) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	return n;
}

/* Replaces the value on top of the stack by "name=value", encoded. */
static void make_parameter(lua_State *L, const char *name)
{
	struct cl_str text;
	char encoded[3 * VALUE_MAXIMUM];
	if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER && lua_type(L, -1) != LUA_TBOOLEAN)
		cl_raise_misuse(L, "ctx:search: the value of '%s' is a %s, not text", name, luaL_typename(L, -1));
	text.p = luaL_tolstring(L, -1, &text.n);
	if (text.n > VALUE_MAXIMUM)
		cl_raise_misuse(L, "ctx:search: the value of '%s' is longer than %d bytes", name, VALUE_MAXIMUM);
	size_t n = encode(text, encoded);
	lua_pop(L, 2);
	lua_pushfstring(L, "%s=", name);
	lua_pushlstring(L, encoded, n);
	lua_concat(L, 2);
}

/* Pushes the query text of the table at `index`: parameters sorted by name; a list is one parameter several times, which all
 * must hold. */
static void push_query(lua_State *L, int index, bool *counted)
{
	lua_newtable(L);
	int parts = lua_gettop(L);
	lua_Integer count = 0, names = cl_push_sorted_keys(L, index);
	int keys = lua_gettop(L);
	for (lua_Integer i = 1; i <= names; i++) {
		lua_rawgeti(L, keys, i);
		if (lua_type(L, -1) != LUA_TSTRING)
			cl_raise_misuse(L, "ctx:search: parameters have names");
		const char *name = lua_tostring(L, -1);
		if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:.-") != strlen(name))
			cl_raise_misuse(L, "ctx:search: '%.60s' is no name of a parameter", name);
		*counted |= strcmp(name, "_count") == 0;
		lua_pushvalue(L, -1);
		lua_rawget(L, index);
		if (lua_type(L, -1) == LUA_TTABLE) {
			lua_Integer values = (lua_Integer)lua_rawlen(L, -1);
			for (lua_Integer k = 1; k <= values; k++) {
				lua_rawgeti(L, -1, k);
				make_parameter(L, name);
				lua_rawseti(L, parts, ++count);
			}
			lua_pop(L, 1);
		} else {
			make_parameter(L, name);
			lua_rawseti(L, parts, ++count);
		}
		lua_pop(L, 1);
	}
	luaL_Buffer query;
	luaL_buffinit(L, &query);
	for (lua_Integer i = 1; i <= count; i++) {
		if (i > 1)
			luaL_addchar(&query, '&');
		lua_rawgeti(L, parts, i);
		luaL_addvalue(&query);
	}
	luaL_pushresult(&query);
}

static bool mentions_count(struct cl_str query)
{
	static const char name[] = "_count=";
	for (size_t i = 0; i + sizeof name - 1 <= query.n; i++)
		if ((i == 0 || query.p[i - 1] == '&') && memcmp(query.p + i, name, sizeof name - 1) == 0)
			return true;
	return false;
}

/* The hook does not fire inside SQLite; this does (pitfalls 10). */
static int progress(void *context)
{
	struct cl_lua *lua = context;
	return cl_budget_poll(&lua->budget);
}

/* Everything that can fail, without Lua. */
static int run_search(struct cl_lua *lua, struct cl_unit *unit, uint16_t type, struct cl_str query, bool counted,
                      struct cl_search_result *out, struct cl_err *e)
{
	struct cl_fhir_search search = {0};
	struct cl_fhir_search_context context = {.type = type, .now = unit->now};
	uint32_t most = lua->limits.search_rows;
	int code = cl_fhir_search_parse(unit->arena, &context, query, &search, e);
	if (code)
		return code;
	if (search.include_count || search.element_count || search.summary != CL_SUMMARY_FALSE || search.page.n)
		return cl_fail(e, CL_E_RULE,
		               "ctx:search gives whole resources: no _include, _elements, _summary or _page");
	if (!counted || search.query.limit > most)
		search.query.limit = most;
	search.query.bodies = true;
	search.query.want_total = false;
	cl_store_set_progress(unit->store, progress, lua);
	code = cl_store_search(unit->store, unit->arena, &search.query, out, e);
	cl_store_set_progress(unit->store, NULL, NULL);
	if (!code && !counted && out->after.n)
		return cl_fail(
		        e, CL_E_LIMIT,
		        "ctx:search finds more than %u; narrow it, or say with _count that the first ones are enough",
		        most);
	return code;
}

static int search(lua_State *L)
{
	static const char call[] = "ctx:search";
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_search_result result = {0};
	struct cl_err e = {0};
	struct cl_str name = cl_ctx_text(L, 2, call, "type"), query = CL_STR_NONE;
	bool counted = false;
	uint16_t type = cl_fhir_type(name);
	if (!type)
		return cl_raise_misuse(L, "%s: '%.60s' is no type of FHIR R4", call, name.p);
	if (cl_is_view(L, 3)) {
		cl_push_plain(L, cl_view_json(L, 3));
		lua_replace(L, 3);
	}
	if (lua_istable(L, 3)) {
		push_query(L, 3, &counted);
		query = cl_ctx_optional_text(L, -1, call, "query");
	} else if (!lua_isnoneornil(L, 3)) {
		query = cl_ctx_optional_text(L, 3, call, "query");
		counted = mentions_count(query);
	}
	int code = run_search(lua, unit, type, query, counted, &result, &e);
	cl_poll(L);
	if (code == CL_E_INVALID || code == CL_E_RULE) { /* the plugin's question was wrong, not the request */
		e.code = CL_E_PLUGIN;
		return cl_raise(L, &e);
	}
	if (code)
		return cl_raise_for_good(L, &e);
	lua_createtable(L, (int)result.count, 0);
	for (size_t i = 0; i < result.count; i++) {
		cl_push_view(L, NULL, result.items[i].body, result.items[i].version);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

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

static int instances(lua_State *L)
{
	static const char call[] = "ctx:instances";
	static const char *const known[] = {"state", "patient", "live", NULL};
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_str workflow = cl_ctx_text(L, 2, call, "workflow"), state = CL_STR_NONE, patient = CL_STR_NONE;
	struct cl_instance_list list = {0};
	struct cl_err e = {0};
	bool live = false;
	const struct cl_workflow *machine = cl_catalog_workflow(unit->catalog, workflow);
	if (!machine)
		return cl_raise_misuse(L, "%s: there is no workflow '%.60s'", call, workflow.p);
	if (!lua_isnoneornil(L, 3)) {
		cl_ctx_fields(L, 3, call, known);
		state = cl_ctx_field_text(L, 3, "state", call);
		patient = cl_ctx_field_reference(L, 3, "patient", call);
		cl_ctx_field(L, 3, "live");
		live = lua_toboolean(L, -1);
		lua_pop(L, 1);
	}
	if (state.n && cl_workflow_state(machine, state) < 0)
		return cl_raise_misuse(L, "%s: workflow '%.60s' has no state '%.60s'", call, workflow.p, state.p);
	if (cl_str_starts(patient, "Patient/"))
		patient = (struct cl_str){patient.p + 8, patient.n - 8};
	cl_store_set_progress(unit->store, progress, lua);
	int code = cl_store_instances(unit->store, unit->arena, workflow, state, patient, live,
	                              lua->limits.search_rows + 1, &list, &e);
	cl_store_set_progress(unit->store, NULL, NULL);
	cl_poll(L);
	if (!code && list.count > lua->limits.search_rows)
		code = cl_fail(&e, CL_E_LIMIT, "%s finds more than %u; narrow it", call, lua->limits.search_rows);
	if (code)
		return cl_raise_for_good(L, &e);
	lua_createtable(L, (int)list.count, 0);
	for (size_t i = 0; i < list.count; i++) {
		push_instance(L, unit, &list.items[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
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

const luaL_Reg cl_ctx_read_calls[] = {
        {"read", read_resource},  {"search", search},           {"instance", instance},
        {"instances", instances}, {"transitions", transitions}, {NULL, NULL},
};
