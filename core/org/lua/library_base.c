/* library_base.c: the basic functions. pcall that cannot swallow a budget, pairs in a fixed order, tostring without addresses. */
#include "base/log.h"
#include "org/lua/internal.h"
#include "org/lua/sort.h"
#include <lualib.h>

/* ---- errors ---- */

/* An error was caught: a limit is not for plugins to catch (attack: a loop of pcall around a loop). */
static void let_limits_pass(lua_State *L, int status)
{
	struct cl_lua *lua = cl_lua_of(L);
	if (status == LUA_ERRMEM)
		cl_stop_for_memory(lua);
	if (lua->stop != CL_STOP_NONE)
		cl_raise_stop(L);
}

static int guarded_pcall(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushboolean(L, 1);
	lua_insert(L, 1);
	int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
	if (status == LUA_OK)
		return lua_gettop(L);
	let_limits_pass(L, status);
	lua_pushboolean(L, 0);
	lua_insert(L, -2);
	return 2;
}

/* The handler runs after unwinding, where hooks run (attack: xpcall with a looping message handler, for which Lua turns hooks
 * off). */
static int guarded_xpcall(lua_State *L)
{
	luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_pushboolean(L, 1);
	lua_pushvalue(L, 1);
	lua_rotate(L, 3, 2); /* f, handler, true, f, arguments */
	int status = lua_pcall(L, lua_gettop(L) - 4, LUA_MULTRET, 0);
	if (status == LUA_OK)
		return lua_gettop(L) - 2;
	let_limits_pass(L, status);
	lua_pushvalue(L, 2);
	lua_insert(L, -2);
	lua_call(L, 1, LUA_MULTRET);
	lua_pushboolean(L, 0);
	lua_replace(L, 3);
	return lua_gettop(L) - 2;
}

/* ---- metatables ---- */

static int guarded_setmetatable(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	if (!lua_isnil(L, 2))
		luaL_checktype(L, 2, LUA_TTABLE);
	if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
		return cl_raise_misuse(L, "setmetatable: this table's metatable is protected");
	if (lua_istable(L, 2)) {
		/* Finalizers run with hooks off: an endless one could not be stopped. */
		lua_pushliteral(L, "__gc");
		if (lua_rawget(L, 2) != LUA_TNIL)
			return cl_raise_misuse(L, "setmetatable: __gc is not available to plugins");
		/* What a weak table holds depends on when memory is collected. */
		lua_pushliteral(L, "__mode");
		if (lua_rawget(L, 2) != LUA_TNIL)
			return cl_raise_misuse(
			        L, "setmetatable: weak tables (__mode) are not available to plugins: what they hold "
			           "cannot be replayed");
		lua_pop(L, 2);
	}
	lua_settop(L, 2);
	lua_setmetatable(L, 1);
	return 1;
}

static int guarded_rawset(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkany(L, 2);
	luaL_checkany(L, 3);
	lua_settop(L, 3);
	if (cl_sandbox_is_locked(L, 1))
		return cl_raise_misuse(L, "rawset: this table cannot be changed");
	lua_rawset(L, 1);
	return 1;
}

/* ---- text ---- */

const char *cl_push_text(lua_State *L, int index, size_t *n)
{
	int type = lua_type(L, index);
	if (type == LUA_TTABLE || type == LUA_TUSERDATA) {
		if (luaL_getmetafield(L, index, "__tostring") == LUA_TNIL) {
			lua_pushstring(L, lua_typename(L, type));
		} else {
			lua_pop(L, 1);
			luaL_tolstring(L, index, NULL); /* calls __tostring; not __name, which would add an address */
		}
	} else if (type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER || type == LUA_TSTRING) {
		luaL_tolstring(L, index, NULL);
	} else {
		lua_pushstring(L, lua_typename(L, type)); /* an address would differ on replay */
	}
	return lua_tolstring(L, -1, n);
}

static int text_of(lua_State *L)
{
	luaL_checkany(L, 1);
	cl_push_text(L, 1, NULL);
	return 1;
}

static int type_of(lua_State *L)
{
	luaL_checkany(L, 1);
	lua_pushstring(L, cl_is_view(L, 1) ? "table" : luaL_typename(L, 1));
	return 1;
}

static int print(lua_State *L)
{
	struct cl_lua *lua = cl_lua_of(L);
	int count = lua_gettop(L);
	luaL_Buffer buffer;
	luaL_buffinit(L, &buffer);
	for (int i = 1; i <= count; i++) {
		if (i > 1)
			luaL_addchar(&buffer, '\t');
		cl_push_text(L, i, NULL);
		luaL_addvalue(&buffer);
	}
	luaL_pushresult(&buffer);
	if (lua->printed) {
		size_t n;
		const char *text = lua_tolstring(L, -1, &n);
		cl_buf_add(lua->printed, text, n);
		cl_buf_add_byte(lua->printed, '\n');
	} else {
		int plugin = lua->frame ? lua->frame->plugin : -1;
		cl_log(CL_LOG_DEBUG, "print", "plugin=%.*s text=%.200s",
		       CL_STR_ARGS(plugin >= 0 ? lua->plugins[plugin].name : CL_STR("-")), lua_tostring(L, -1));
	}
	return 0;
}

/* ---- pairs ---- */

enum { KEY_NUMBER, KEY_TEXT, KEY_BOOLEAN };

struct key {
	int kind;
	lua_Integer place; /* in the table of keys as they came */
	long double number; /* holds every integer and every float exactly */
	struct cl_str text;
};

static bool key_less(lua_State *L, void *context, uint32_t a, uint32_t b)
{
	(void)L;
	const struct key *x = (struct key *)context + a, *y = (struct key *)context + b;
	if (x->kind != y->kind)
		return x->kind < y->kind;
	return x->kind == KEY_TEXT ? cl_str_compare(x->text, y->text) < 0 : x->number < y->number;
}

static void describe_key(lua_State *L, struct key *key)
{
	switch (lua_type(L, -1)) {
	case LUA_TSTRING:
		key->kind = KEY_TEXT;
		key->text.p = lua_tolstring(L, -1, &key->text.n); /* a string already: converts nothing */
		return;
	case LUA_TNUMBER:
		key->kind = KEY_NUMBER;
		key->number =
		        lua_isinteger(L, -1) ? (long double)lua_tointeger(L, -1) : (long double)lua_tonumber(L, -1);
		return;
	case LUA_TBOOLEAN:
		key->kind = KEY_BOOLEAN;
		key->number = lua_toboolean(L, -1);
		return;
	default:
		cl_raise_misuse(L, "pairs: a key of this table is a %s; only text, numbers and booleans have an order",
		                luaL_typename(L, -1));
	}
}

/* Keys 1, 2, 3 ... without a gap. */
static lua_Integer array_part(lua_State *L, int index)
{
	lua_Integer n = 0;
	while (lua_rawgeti(L, index, n + 1) != LUA_TNIL) {
		lua_pop(L, 1);
		n++;
		if ((n & 0xfff) == 0)
			cl_poll(L);
	}
	lua_pop(L, 1);
	return n;
}

/* Pushes an array of the keys outside the array part, sorted; nil when there are none. Returns how many. */
static lua_Integer push_other_keys(lua_State *L, int index, lua_Integer array)
{
	lua_Integer total = 0, others = 0;
	luaL_checkstack(L, 8, "pairs");
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
		if ((++total & 0xfff) == 0)
			cl_poll(L);
	others = total - array;
	if (others <= 0) {
		lua_pushnil(L);
		return 0;
	}
	struct key few[16], *keys = few;
	uint32_t few_places[32], *places = few_places;
	uint32_t n = (uint32_t)others;
	if (n > 16) { /* the stack keeps them */
		keys = lua_newuserdatauv(L, n * sizeof *keys, 0);
		places = lua_newuserdatauv(L, 2 * n * sizeof *places, 0);
	} else {
		lua_pushnil(L);
		lua_pushnil(L);
	}
	lua_createtable(L, (int)n, 0); /* keeps the texts alive while they are compared */
	int raw = lua_gettop(L);
	uint32_t count = 0;
	for (lua_pushnil(L); lua_next(L, index);) {
		lua_pop(L, 1);
		if (lua_isinteger(L, -1) && lua_tointeger(L, -1) >= 1 && lua_tointeger(L, -1) <= array)
			continue;
		describe_key(L, &keys[count]);
		keys[count].place = (lua_Integer)count + 1;
		places[count] = count;
		lua_pushvalue(L, -1);
		lua_rawseti(L, raw, (lua_Integer)++count);
	}
	cl_sort(L, places, places + n, count, key_less, keys);
	lua_createtable(L, (int)count, 0);
	for (uint32_t i = 0; i < count; i++) {
		lua_rawgeti(L, raw, keys[places[i]].place);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_replace(L, raw - 2);
	lua_settop(L, raw - 2);
	return count;
}

lua_Integer cl_push_sorted_keys(lua_State *L, int index)
{
	index = lua_absindex(L, index);
	lua_Integer array = array_part(L, index);
	lua_createtable(L, (int)(array < CL_LUA_LIST ? array : CL_LUA_LIST), 0);
	for (lua_Integer i = 1; i <= array; i++) {
		lua_pushinteger(L, i);
		lua_rawseti(L, -2, i);
	}
	lua_Integer others = push_other_keys(L, index, array);
	for (lua_Integer i = 1; i <= others; i++) {
		lua_rawgeti(L, -1, i);
		lua_rawseti(L, -3, array + i);
	}
	lua_pop(L, 1);
	return array + others;
}

/* Upvalues: length of the array part, the other keys or nil, how far it has come. Values that were removed on the way are left
 * out, new ones are not visited. */
static int pairs_step(lua_State *L)
{
	lua_Integer array = lua_tointeger(L, lua_upvalueindex(1)), at = lua_tointeger(L, lua_upvalueindex(3));
	lua_settop(L, 1);
	for (;;) {
		at++;
		if (at <= array) {
			lua_pushinteger(L, at);
		} else if (lua_isnil(L, lua_upvalueindex(2)) ||
		           lua_rawgeti(L, lua_upvalueindex(2), at - array) == LUA_TNIL) {
			lua_pushnil(L);
			return 1;
		}
		lua_pushvalue(L, -1);
		if (lua_rawget(L, 1) != LUA_TNIL)
			break;
		lua_pop(L, 2);
		if ((at & 0xfff) == 0)
			cl_poll(L);
	}
	lua_pushinteger(L, at);
	lua_replace(L, lua_upvalueindex(3));
	return 2;
}

int cl_push_pairs(lua_State *L, int index)
{
	lua_pushvalue(L, index);
	int table = lua_gettop(L);
	if (cl_is_view(L, table))
		return cl_view_pairs(L, table);
	if (luaL_getmetafield(L, table, "__pairs") != LUA_TNIL) {
		lua_pushvalue(L, table);
		lua_call(L, 1, 3);
		return 3;
	}
	if (!lua_istable(L, table))
		return cl_raise_misuse(L, "pairs: expected a table, not %s", luaL_typename(L, table));
	lua_Integer array = array_part(L, table);
	lua_pushinteger(L, array);
	push_other_keys(L, table, array);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, pairs_step, 3);
	lua_pushvalue(L, table);
	lua_pushnil(L);
	return 3;
}

static int pairs(lua_State *L)
{
	luaL_checkany(L, 1);
	return cl_push_pairs(L, 1);
}

/* ---- the table of names, on top of the stack ---- */

void cl_library_base(lua_State *L)
{
	static const char *const as_they_are[] = {
	        "assert", "error", "ipairs", "select", "tonumber", "rawequal", "rawget", "rawlen", "getmetatable",
	};
	static const luaL_Reg own[] = {
	        {"pcall", guarded_pcall},
	        {"xpcall", guarded_xpcall},
	        {"setmetatable", guarded_setmetatable},
	        {"rawset", guarded_rawset},
	        {"tostring", text_of},
	        {"type", type_of},
	        {"print", print},
	        {"pairs", pairs},
	        {"list", cl_lua_list},
	        {"plain", cl_lua_plain},
	        {NULL, NULL},
	};
	lua_pushcfunction(L, luaopen_base);
	lua_call(L, 0, 1);
	for (size_t i = 0; i < sizeof as_they_are / sizeof *as_they_are; i++) {
		lua_getfield(L, -1, as_they_are[i]);
		lua_setfield(L, -3, as_they_are[i]);
	}
	lua_pop(L, 1);
	luaL_setfuncs(L, own, 0);
}
