/* sandbox.c: a Lua state that holds nothing but what plugins may use: an accounting allocator and an environment of allowed
 * names that nobody can change. reliability.md §2.4 lists the attacks; each wrapper says which it answers. */
#include "org/lua/internal.h"
#include <lualib.h>
#include <stdlib.h>

static const char environment_key, real_key, locked_mark;

/* When `old` is NULL, `old_size` is a type tag. Shrinking never fails. */
static void *allocate(void *context, void *old, size_t old_size, size_t size)
{
	struct cl_lua *lua = context;
	size_t before = old ? old_size : 0;
	if (size == 0) {
		free(old);
		lua->memory -= before;
		return NULL;
	}
	if (size > before && lua->growing) {
		bool too_long = !old && old_size == LUA_TSTRING && size > CL_LUA_STRING;
		if (too_long || size - before > lua->limits.memory ||
		    lua->memory > lua->limits.memory - (size - before)) {
			cl_note_memory(lua);
			return NULL;
		}
	}
	void *block = realloc(old, size);
	if (!block)
		return size <= before ? old : NULL;
	lua->memory += size - before;
	return block;
}

/* What people write out of habit, and what to write instead. */
static const struct {
	const char *name, *instead;
} absent[] = {
        {"os", "time comes from ctx:now() and ctx:today()"},
        {"io", "plugins have no files; ctx:log writes a line"},
        {"debug", "it is not available to plugins"},
        {"package", "files of the own folder come by require \"name\", shared ones by require \"lib/name\""},
        {"coroutine", "nothing waits in a plugin; a timer or an event goes on later"},
        {"load", "text is not run as code"},
        {"loadstring", "text is not run as code"},
        {"loadfile", "files of the own folder come by require \"name\""},
        {"dofile", "files of the own folder come by require \"name\""},
        {"collectgarbage", "memory is looked after"},
        {"next", "its order is not defined; use pairs, whose order is"},
        {"unpack", "it is table.unpack"},
        {"_G", "there are no globals"},
};

static int unknown_name(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
		if (strcmp(name, absent[i].name) == 0)
			return cl_raise_misuse(L, "there is no '%s' here: %s", name, absent[i].instead);
	return cl_raise_misuse(L, "unknown name '%s'; a local one must be declared above this line", name);
}

static int refuse_assignment(lua_State *L)
{
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	return cl_raise_misuse(L, "'%s' cannot be assigned: write local %s, or a field of a table of your own", name,
	                       name);
}

static int locked_pairs(lua_State *L)
{
	return cl_push_pairs(L, lua_upvalueindex(1));
}

void cl_sandbox_push_locked(lua_State *L, int index)
{
	index = lua_absindex(L, index);
	lua_newtable(L);
	lua_createtable(L, 0, 5);
	lua_pushvalue(L, index);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, refuse_assignment);
	lua_setfield(L, -2, "__newindex");
	lua_pushvalue(L, index);
	lua_pushcclosure(L, locked_pairs, 1);
	lua_setfield(L, -2, "__pairs");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushboolean(L, 1);
	lua_rawsetp(L, -2, &locked_mark);
	lua_setmetatable(L, -2);
}

bool cl_sandbox_is_locked(lua_State *L, int index)
{
	if (!lua_getmetatable(L, index))
		return false;
	bool locked = lua_rawgetp(L, -1, &locked_mark) == LUA_TBOOLEAN;
	lua_pop(L, 2);
	return locked;
}

void cl_sandbox_push_environment(lua_State *L)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &environment_key);
}

void cl_sandbox_set(lua_State *L, const char *name)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &real_key);
	lua_insert(L, -2);
	lua_pushstring(L, name);
	lua_insert(L, -2);
	lua_rawset(L, -3);
	lua_pop(L, 1);
}

/* The library's table on top of the stack becomes a locked name of the environment below it. */
static void add_library(lua_State *L, int environment, const char *name)
{
	cl_sandbox_push_locked(L, -1);
	lua_setfield(L, environment, name);
	lua_pop(L, 1);
}

/* Method calls on text (("x"):upper()) read the library itself; its metatable cannot be had (attack: getmetatable("").__index). */
static void lock_strings(lua_State *L)
{
	lua_pushliteral(L, "");
	lua_createtable(L, 0, 2);
	lua_pushvalue(L, -3);
	lua_setfield(L, -2, "__index");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_setmetatable(L, -2);
	lua_pop(L, 1);
}

static int build(lua_State *L)
{
	lua_newtable(L);
	int real = lua_gettop(L);
	lua_pushvalue(L, real);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &real_key);
	cl_library_base(L);
	lua_newtable(L); /* what luaopen_base left in the globals goes */
	lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
	cl_library_string(L);
	lock_strings(L);
	add_library(L, real, "string");
	cl_library_table(L);
	add_library(L, real, "table");
	cl_library_math(L);
	add_library(L, real, "math");
	cl_library_utf8(L);
	add_library(L, real, "utf8");
	cl_library_require(L);
	cl_view_open(L);

	lua_createtable(L, 0, 2);
	lua_pushcfunction(L, unknown_name);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, real);
	cl_sandbox_push_locked(L, real);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &environment_key);
	return 0;
}

int cl_sandbox_open(struct cl_lua *lua, struct cl_err *e)
{
	lua->growing = true;
	lua_State *L = lua_newstate(allocate, lua);
	if (!L)
		return cl_fail(e, CL_E_MEMORY, "no memory for a Lua state within %zu bytes", lua->limits.memory);
	*(struct cl_lua **)lua_getextraspace(L) = lua;
	lua->state = L;
	cl_budget_init(&lua->budget, L, cl_budget_hook);
	lua_pushcfunction(L, build);
	if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
		const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "no memory";
		return cl_fail(e, CL_E_MEMORY, "cannot build the plugins' environment: %s", message);
	}
	return 0;
}

void cl_sandbox_close(struct cl_lua *lua)
{
	if (!lua->state)
		return;
	cl_budget_close(&lua->budget);
	lua_close(lua->state);
	lua->state = NULL;
	if (lua->memory != 0)
		cl_die("a Lua state was closed and left memory behind");
}
