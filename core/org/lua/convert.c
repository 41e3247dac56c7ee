/* convert.c: JSON to Lua values and back. What comes back must be what FHIR can hold: no functions, no holes, no NaN. */
#include "base/utf8.h"
#include "org/lua/internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char list_key;

/* ---- JSON to Lua ---- */

static void push_plain(lua_State *L, const struct cl_json *value, int depth)
{
	int64_t integer;
	switch (value->kind) {
	case CL_JSON_FALSE:
	case CL_JSON_TRUE:
		lua_pushboolean(L, value->kind == CL_JSON_TRUE);
		return;
	case CL_JSON_NUMBER:
		if (cl_json_integer(value, &integer))
			lua_pushinteger(L, integer);
		else
			lua_pushnumber(L, cl_json_double(value, 0));
		return;
	case CL_JSON_STRING:
		lua_pushlstring(L, value->text.p ? value->text.p : "", value->text.n);
		return;
	case CL_JSON_ARRAY:
	case CL_JSON_OBJECT:
		break;
	default:
		lua_pushnil(L);
		return;
	}
	if (depth >= CL_LUA_JSON_DEPTH)
		cl_raise_misuse(L, "this is nested more than %d deep", CL_LUA_JSON_DEPTH);
	luaL_checkstack(L, 4, NULL);
	bool array = value->kind == CL_JSON_ARRAY;
	lua_createtable(L, array ? (int)value->count : 0, array ? 0 : (int)value->count);
	for (uint32_t i = 0; i < value->count; i++) {
		if ((i & 0xfff) == 0xfff)
			cl_poll(L);
		if (array) {
			push_plain(L, &value->items[i], depth + 1);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		} else {
			lua_pushlstring(L, value->members[i].name.p, value->members[i].name.n);
			push_plain(L, &value->members[i].value, depth + 1);
			lua_rawset(L, -3);
		}
	}
}

void cl_push_plain(lua_State *L, const struct cl_json *value)
{
	if (value)
		push_plain(L, value, 0);
	else
		lua_pushnil(L);
}

int cl_lua_plain(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_settop(L, 1);
	if (cl_is_view(L, 1))
		cl_push_plain(L, cl_view_json(L, 1));
	return 1;
}

/* An empty table says nothing about what it is; this one is an array. */
int cl_lua_list(lua_State *L)
{
	if (lua_isnone(L, 1))
		lua_newtable(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	if (lua_getmetatable(L, 1))
		return cl_raise_misuse(L, "list: this table has a metatable already");
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_createtable(L, 0, 1);
		lua_pushboolean(L, 0);
		lua_setfield(L, -2, "__metatable");
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &list_key);
	}
	lua_setmetatable(L, 1);
	return 1;
}

static bool is_list(lua_State *L, int index)
{
	if (!lua_getmetatable(L, index))
		return false;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &list_key);
	bool list = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return list;
}

/* ---- Lua to JSON ---- */

size_t cl_number_text(double number, char out[32])
{
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(out, 32, "%.*g", digits, number);
		if (strtod(out, NULL) == number)
			break;
	}
	/* "1e+20" is JSON; "-0" is a number that FHIR has no use for. */
	if (strcmp(out, "-0") == 0)
		memcpy(out, "0", 2);
	return strlen(out);
}

struct taking {
	struct cl_arena *arena;
	const char *name; /* of the whole, for messages */
	uint32_t nodes;
	const struct step *last;
};

struct step {
	const struct step *up;
	const char *name; /* NULL for an element */
	lua_Integer index;
};

static void print_way(const struct step *step, char *out, size_t size)
{
	if (!step)
		return;
	print_way(step->up, out, size);
	size_t n = strlen(out);
	if (step->name)
		snprintf(out + n, size - n, ".%s", step->name);
	else
		snprintf(out + n, size - n, "[%lld]", (long long)step->index);
}

static _Noreturn void refuse(lua_State *L, const struct taking *taking, const struct step *step, const char *problem)
{
	char way[200] = "";
	snprintf(way, sizeof way, "%s", taking->name);
	print_way(step, way, sizeof way);
	cl_raise_misuse(L, "%s %s", way, problem);
	abort();
}

static void take(lua_State *L, int index, struct taking *taking, const struct step *step, int depth,
                 struct cl_json *out);

static struct cl_str take_text(lua_State *L, int index, struct taking *taking, const struct step *step)
{
	struct cl_str text;
	text.p = lua_tolstring(L, index, &text.n);
	if (!cl_utf8_valid(text) || memchr(text.p, 0, text.n))
		refuse(L, taking, step, "is no UTF-8 text");
	return cl_arena_copy(taking->arena, text);
}

/* resourceType first, then id: people read the text. */
static int rank(struct cl_str name)
{
	return cl_str_is(name, "resourceType") ? 0 : cl_str_is(name, "id") ? 1 : 2;
}

static int compare_members(const void *a, const void *b)
{
	struct cl_str x = ((const struct cl_json_member *)a)->name, y = ((const struct cl_json_member *)b)->name;
	int order = rank(x) - rank(y);
	return order ? order : cl_str_compare(x, y);
}

static void take_table(lua_State *L, int index, struct taking *taking, const struct step *step, int depth,
                       struct cl_json *out)
{
	uint32_t named = 0, numbered = 0;
	if (depth >= CL_LUA_JSON_DEPTH)
		refuse(L, taking, step, "is nested too deep (or contains itself)");
	luaL_checkstack(L, 6, NULL);
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		if (lua_type(L, -2) == LUA_TSTRING)
			named++;
		else if (lua_isinteger(L, -2))
			numbered++;
		else
			refuse(L, taking, step, "has a key that is neither text nor a whole number");
		if (named + numbered > CL_LUA_JSON_NODES)
			refuse(L, taking, step, "has too many elements");
	}
	if (named && numbered)
		refuse(L, taking, step, "mixes names and positions: it is neither object nor list");
	taking->nodes += named + numbered;
	if (taking->nodes > CL_LUA_JSON_NODES)
		refuse(L, taking, step, "makes the whole have more than 100000 values");
	out->count = out->capacity = named + numbered;
	if (numbered || is_list(L, index)) {
		if ((lua_Unsigned)numbered != lua_rawlen(L, index))
			refuse(L, taking, step, "is a list with holes");
		out->kind = CL_JSON_ARRAY;
		out->items = numbered ? CL_NEW_ARRAY(taking->arena, struct cl_json, numbered) : NULL;
		for (uint32_t i = 0; i < numbered; i++) {
			struct step next = {step, NULL, (lua_Integer)i + 1};
			lua_rawgeti(L, index, next.index);
			take(L, lua_gettop(L), taking, &next, depth + 1, &out->items[i]);
			lua_pop(L, 1);
		}
		return;
	}
	out->kind = CL_JSON_OBJECT;
	out->members = named ? CL_NEW_ARRAY(taking->arena, struct cl_json_member, named) : NULL;
	uint32_t i = 0;
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		struct cl_json_member *member = &out->members[i++];
		member->name = take_text(L, lua_gettop(L) - 1, taking, step);
		struct step next = {step, member->name.p, 0};
		take(L, lua_gettop(L), taking, &next, depth + 1, &member->value);
	}
	if (named)
		qsort(out->members, named, sizeof *out->members, compare_members);
}

static void take(lua_State *L, int index, struct taking *taking, const struct step *step, int depth,
                 struct cl_json *out)
{
	char text[32];
	*out = (struct cl_json){0};
	switch (lua_type(L, index)) {
	case LUA_TBOOLEAN:
		out->kind = lua_toboolean(L, index) ? CL_JSON_TRUE : CL_JSON_FALSE;
		return;
	case LUA_TNUMBER:
		out->kind = CL_JSON_NUMBER;
		if (lua_isinteger(L, index)) {
			out->text = cl_arena_printf(taking->arena, "%lld", (long long)lua_tointeger(L, index));
		} else {
			if (!isfinite(lua_tonumber(L, index)))
				refuse(L, taking, step, "is no finite number");
			cl_number_text(lua_tonumber(L, index), text);
			out->text = cl_arena_copy(taking->arena, cl_str_of(text));
		}
		return;
	case LUA_TSTRING:
		out->kind = CL_JSON_STRING;
		out->text = take_text(L, index, taking, step);
		return;
	case LUA_TTABLE:
		if ((taking->nodes & 0xff) == 0)
			cl_poll(L);
		take_table(L, index, taking, step, depth, out);
		return;
	case LUA_TUSERDATA:
		if (cl_is_view(L, index)) {
			*out = *cl_json_copy(taking->arena, cl_view_json(L, index));
			return;
		}
		/* fall through */
	default: {
		char problem[60];
		snprintf(problem, sizeof problem, "is a %s, which no resource can hold", luaL_typename(L, index));
		refuse(L, taking, step, problem);
	}
	}
}

void cl_take_json_into(lua_State *L, int index, struct cl_arena *arena, const char *name, struct cl_json *out)
{
	struct taking taking = {.arena = arena, .name = name};
	take(L, lua_absindex(L, index), &taking, NULL, 0, out);
}

struct cl_json *cl_take_json(lua_State *L, int index, struct cl_arena *arena, const char *name)
{
	struct cl_json *out = CL_NEW(arena, struct cl_json);
	cl_take_json_into(L, index, arena, name, out);
	return out;
}
