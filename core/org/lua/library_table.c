/* library_table.c: the table functions, on raw tables and on lists inside resources. Raw length only: a table that says it had
 * 2^53 elements (__len) would keep table.insert busy for ever, and no hook runs in C. */
#include "org/lua/internal.h"
#include "org/lua/sort.h"

/* The list at argument 1: its length. Resources count (their lists are views). */
static lua_Integer list_length(lua_State *L, const char *function, bool changing)
{
	if (cl_is_view(L, 1))
		return cl_view_length(L, 1);
	if (!lua_istable(L, 1))
		cl_raise_misuse(L, "table.%s: expected a table, not %s", function, luaL_typename(L, 1));
	if (changing && cl_sandbox_is_locked(L, 1))
		cl_raise_misuse(L, "table.%s: this table cannot be changed", function);
	return (lua_Integer)lua_rawlen(L, 1);
}

static int push_element(lua_State *L, lua_Integer i)
{
	if (!cl_is_view(L, 1))
		return lua_rawgeti(L, 1, i);
	cl_view_push_element(L, 1, i);
	return lua_type(L, -1);
}

static void poll_at(lua_State *L, lua_Integer i)
{
	if ((i & 0xfff) == 0)
		cl_poll(L);
}

static int concat(lua_State *L)
{
	lua_Integer n = list_length(L, "concat", false);
	size_t between;
	const char *separator = luaL_optlstring(L, 2, "", &between);
	lua_Integer from = luaL_optinteger(L, 3, 1), to = luaL_optinteger(L, 4, n);
	luaL_Buffer buffer;
	luaL_buffinit(L, &buffer);
	for (lua_Integer i = from; i <= to; i++) {
		push_element(L, i);
		if (!lua_isstring(L, -1))
			return cl_raise_misuse(L, "table.concat: element %lld is a %s, not text", (long long)i,
			                       luaL_typename(L, -1));
		luaL_addvalue(&buffer);
		if (i != to)
			luaL_addlstring(&buffer, separator, between);
		if (luaL_bufflen(&buffer) > CL_LUA_TEXT)
			return cl_raise_misuse(L, "table.concat: the result is larger than %zu bytes", CL_LUA_TEXT);
		poll_at(L, i);
		if (i == LUA_MAXINTEGER)
			break;
	}
	luaL_pushresult(&buffer);
	return 1;
}

static int insert(lua_State *L)
{
	lua_Integer n = list_length(L, "insert", true), place = n + 1;
	int arguments = lua_gettop(L);
	if (arguments != 2 && arguments != 3)
		return cl_raise_misuse(L, "table.insert: takes a list, perhaps a place, and a value");
	if (arguments == 3) {
		place = luaL_checkinteger(L, 2);
		if (place < 1 || place > n + 1)
			return cl_raise_misuse(L, "table.insert: place %lld is not in 1 to %lld", (long long)place,
			                       (long long)n + 1);
	}
	if (cl_is_view(L, 1)) {
		cl_view_insert(L, 1, place);
		return 0;
	}
	for (lua_Integer i = n; i >= place; i--) {
		lua_rawgeti(L, 1, i);
		lua_rawseti(L, 1, i + 1);
		poll_at(L, i);
	}
	lua_rawseti(L, 1, place);
	return 0;
}

static int take_out(lua_State *L)
{
	lua_Integer n = list_length(L, "remove", true), place = luaL_optinteger(L, 2, n);
	if (lua_gettop(L) >= 2 && (place < 1 || place > n + 1) && !(n == 0 && place == 0))
		return cl_raise_misuse(L, "table.remove: place %lld is not in 1 to %lld", (long long)place,
		                       (long long)n + 1);
	push_element(L, place);
	if (cl_is_view(L, 1)) {
		if (place >= 1 && place <= n)
			cl_view_remove(L, 1, place);
		return 1;
	}
	for (lua_Integer i = place; i < n; i++) {
		lua_rawgeti(L, 1, i + 1);
		lua_rawseti(L, 1, i);
		poll_at(L, i);
	}
	if (place <= n) {
		lua_pushnil(L);
		lua_rawseti(L, 1, n > place ? n : place);
	}
	return 1;
}

/* Attack: table.move({}, 1, 1 << 53, 2). */
static int move(lua_State *L)
{
	lua_Integer from = luaL_checkinteger(L, 2), to = luaL_checkinteger(L, 3), target = luaL_checkinteger(L, 4);
	int into = lua_isnoneornil(L, 5) ? 1 : 5;
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, into, LUA_TTABLE);
	if (cl_sandbox_is_locked(L, into))
		return cl_raise_misuse(L, "table.move: this table cannot be changed");
	if (to >= from) {
		if (from <= 0 && to >= CL_LUA_LIST + from)
			return cl_raise_misuse(L, "table.move: more than %d elements", CL_LUA_LIST);
		lua_Integer count = to - from + 1;
		if (count > CL_LUA_LIST || target > LUA_MAXINTEGER - count)
			return cl_raise_misuse(L, "table.move: more than %d elements", CL_LUA_LIST);
		bool forward = target > to || target <= from || (into != 1 && !lua_rawequal(L, 1, into));
		for (lua_Integer k = 0; k < count; k++) {
			lua_Integer i = forward ? k : count - 1 - k;
			lua_rawgeti(L, 1, from + i);
			lua_rawseti(L, into, target + i);
			poll_at(L, k);
		}
	}
	lua_pushvalue(L, into);
	return 1;
}

static int pack(lua_State *L)
{
	int n = lua_gettop(L);
	lua_createtable(L, n, 1);
	lua_insert(L, 1);
	for (int i = n; i >= 1; i--)
		lua_rawseti(L, 1, i);
	lua_pushinteger(L, n);
	lua_setfield(L, 1, "n");
	return 1;
}

static int unpack(lua_State *L)
{
	lua_Integer n = list_length(L, "unpack", false);
	lua_Integer from = luaL_optinteger(L, 2, 1), to = luaL_optinteger(L, 3, n);
	if (from > to)
		return 0;
	if (from < 0 ? to >= CL_LUA_LIST + from : to - from >= CL_LUA_LIST)
		return cl_raise_misuse(L, "table.unpack: more than %d elements", CL_LUA_LIST);
	int count = (int)(to - from + 1);
	luaL_checkstack(L, count, "table.unpack: too many elements");
	for (lua_Integer i = from; i <= to; i++) {
		push_element(L, i);
		poll_at(L, i);
	}
	return count;
}

/* ---- sort ---- */

/* Table at 1, comparison or nil at 2. */
static bool element_less(lua_State *L, void *context, uint32_t a, uint32_t b)
{
	bool less;
	(void)context;
	if (lua_isnil(L, 2)) {
		lua_rawgeti(L, 1, (lua_Integer)a);
		lua_rawgeti(L, 1, (lua_Integer)b);
		less = lua_compare(L, -2, -1, LUA_OPLT);
		lua_pop(L, 2);
	} else {
		lua_pushvalue(L, 2);
		lua_rawgeti(L, 1, (lua_Integer)a);
		lua_rawgeti(L, 1, (lua_Integer)b);
		lua_call(L, 2, 1);
		less = lua_toboolean(L, -1);
		lua_pop(L, 1);
	}
	return less;
}

/* Stable, unlike Lua's own, so that equal elements have one order. Places are sorted, then the elements are moved: a
 * comparison that changes the table can spoil its own result only. */
static int sort(lua_State *L)
{
	if (cl_is_view(L, 1))
		return cl_raise_misuse(L, "table.sort: make an ordinary table of it first, with plain(list)");
	lua_Integer n = list_length(L, "sort", true);
	if (!lua_isnoneornil(L, 2))
		luaL_checktype(L, 2, LUA_TFUNCTION);
	lua_settop(L, 2);
	if (n > CL_LUA_LIST)
		return cl_raise_misuse(L, "table.sort: %lld elements; at most %d can be sorted", (long long)n,
		                       CL_LUA_LIST);
	if (n < 2)
		return 0;
	uint32_t *places = lua_newuserdatauv(L, 2 * (size_t)n * sizeof *places, 0);
	for (lua_Integer i = 0; i < n; i++)
		places[i] = (uint32_t)i + 1;
	cl_sort(L, places, places + n, (uint32_t)n, element_less, NULL);
	lua_createtable(L, (int)n, 0);
	for (lua_Integer i = 0; i < n; i++) {
		lua_rawgeti(L, 1, (lua_Integer)places[i]);
		lua_rawseti(L, -2, i + 1);
	}
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, -1, i);
		lua_rawseti(L, 1, i);
	}
	return 0;
}

void cl_library_table(lua_State *L)
{
	static const luaL_Reg functions[] = {
	        {"concat", concat}, {"insert", insert}, {"remove", take_out}, {"move", move},
	        {"pack", pack},     {"unpack", unpack}, {"sort", sort},       {NULL, NULL},
	};
	luaL_newlib(L, functions);
}
