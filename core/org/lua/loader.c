/* loader.c: runs the prelude, then each plugin's file, then the merge, in the sandbox and within the budget for loading. */
#include "base/closest.h"
#include "base/log.h"
#include "org/fhir/types.h"
#include "org/lua/internal.h"
#include "org/lua/declarations_lua.h"
#include "org/lua/merge_lua.h"
#include "org/lua/overlay_lua.h"
#include "org/lua/prelude_lua.h"
#include "org/lua/schema_lua.h"
#include <stdio.h>
#include <stdlib.h>

static const char loaded_key;

/* ---- problems ---- */

void cl_problem(struct cl_lua *lua, struct cl_str file, int line, const char *format, ...)
{
	char text[440], place[40] = "";
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	cl_clean_text(text);
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < ' ')
			*at = ' ';
	if (line > 0)
		snprintf(place, sizeof place, ":%d", line);
	if (lua->problems)
		cl_buf_printf(lua->problems, "%.*s%s: %s\n", CL_STR_ARGS(file), place, text);
	if (lua->problem_count++ == 0) {
		cl_fail(lua->first_problem, CL_E_PLUGIN, "%s", text);
		cl_fail_at(lua->first_problem, "%.*s%s", CL_STR_ARGS(file), place);
		if (lua->first_problem)
			lua->first_problem->line = line;
	}
}

/* "file:12: message" as Lua writes it. */
static void problem_of_error(struct cl_lua *lua, struct cl_str file, const char *message)
{
	for (const char *colon = strchr(message, ':'); colon; colon = strchr(colon + 1, ':')) {
		char *end;
		long line = strtol(colon + 1, &end, 10);
		if (end > colon + 1 && line > 0 && end[0] == ':' && end[1] == ' ') {
			cl_problem(lua, (struct cl_str){message, (size_t)(colon - message)}, (int)line, "%s", end + 2);
			return;
		}
	}
	cl_problem(lua, file, 0, "%s", message);
}

/* ---- what the prelude may ask ---- */

static struct cl_str argument(lua_State *L, int index)
{
	struct cl_str text;
	text.p = luaL_checklstring(L, index, &text.n);
	return text;
}

static int core_here(lua_State *L)
{
	struct cl_str file;
	int line;
	if (!cl_lua_of(L)->files)
		return cl_raise_misuse(L, "declarations stand in plugin.lua; functions that run later cannot declare");
	/* After `return plugin { ... }`, a tail call, the file has left the stack. */
	if (!cl_lua_place(L, 1, &file, &line))
		file = cl_lua_of(L)->loading;
	lua_pushlstring(L, file.p ? file.p : "?", file.p ? file.n : 1);
	lua_pushinteger(L, line);
	return 2;
}

static int core_raise(lua_State *L)
{
	return cl_raise_misuse(L, "%s", luaL_checkstring(L, 1));
}

static int core_problem(lua_State *L)
{
	cl_problem(cl_lua_of(L), argument(L, 1), (int)luaL_checkinteger(L, 2), "%s", luaL_checkstring(L, 3));
	return 0;
}

static int core_outline(lua_State *L)
{
	struct cl_str text = cl_json_text(cl_json_get_str(cl_lua_of(L)->files, argument(L, 1)));
	cl_push_outline(L, text, (int)luaL_checkinteger(L, 2), argument(L, 3), argument(L, 4));
	return 4;
}

static int core_closest(lua_State *L)
{
	struct cl_closest closest = {.wanted = argument(L, 1)};
	lua_Integer n = (lua_Integer)lua_rawlen(L, 2);
	for (lua_Integer i = 1; i <= n; i++) {
		lua_rawgeti(L, 2, i);
		if (lua_type(L, -1) == LUA_TSTRING)
			cl_closest_offer(&closest, lua_tostring(L, -1)); /* the table keeps it alive */
		lua_pop(L, 1);
	}
	lua_pushstring(L, closest.best);
	return 1;
}

static int core_duration(lua_State *L)
{
	struct cl_duration duration;
	struct cl_err e = {0};
	if (cl_duration_parse(argument(L, 1), &duration, &e) == 0 && duration.amount > 0)
		return 0;
	lua_pushstring(L, e.message[0] ? e.message : "a duration must be longer than nothing");
	return 1;
}

static int core_duration_unit(lua_State *L)
{
	lua_pushboolean(L, cl_ctx_duration_unit(argument(L, 1)) != 0);
	return 1;
}

static int core_recurrence(lua_State *L)
{
	struct cl_recurrence rule;
	struct cl_err e = {0};
	if (lua_type(L, 1) != LUA_TSTRING || lua_type(L, 2) != LUA_TSTRING) {
		lua_pushliteral(L, "write every(\"07:00\", \"weekdays\", function (ctx) ... end)");
		return 1;
	}
	if (cl_recurrence_parse(argument(L, 1), argument(L, 2), &rule, &e) == 0)
		return 0;
	lua_pushstring(L, e.message);
	return 1;
}

static int core_is_type(lua_State *L)
{
	lua_pushboolean(L, cl_fhir_type(argument(L, 1)) != 0);
	return 1;
}

static int core_types(lua_State *L)
{
	uint16_t count = cl_fhir_type_count();
	lua_createtable(L, count, 0);
	for (uint16_t type = 1; type <= count; type++) {
		struct cl_str name = cl_fhir_type_name(type);
		lua_pushlstring(L, name.p, name.n);
		lua_rawseti(L, -2, type);
	}
	return 1;
}

/* Why a resource of the type never has this status; nothing when it may. */
static int core_no_status(lua_State *L)
{
	struct cl_str type = argument(L, 1), status = argument(L, 2);
	const struct cl_fhir_element *element =
	        cl_fhir_element(cl_fhir_type_node(cl_fhir_type(type)), CL_STR("status"));
	char known[300];
	if (!element) {
		lua_pushfstring(L, "%s has no status; write \"%s.create\", \"%s.update\" or \"%s.delete\"", type.p,
		                type.p, type.p, type.p);
		return 1;
	}
	if (cl_fhir_code_allowed(element->codes, status))
		return 0;
	cl_fhir_codes_list(element->codes, known, sizeof known);
	lua_pushfstring(L, "'%s' is no status of %s; it can be %s (or create, update, delete)", status.p, type.p,
	                known);
	return 1;
}

static int core_is_quarantined(lua_State *L)
{
	const struct cl_watch *watch = cl_lua_of(L)->watch;
	struct cl_str name = argument(L, 1);
	bool found = false;
	for (size_t i = 0; watch && i < sizeof watch->quarantined_plugin / sizeof *watch->quarantined_plugin; i++)
		found |= name.n &&
		         strncmp(watch->quarantined_plugin[i], name.p, sizeof watch->quarantined_plugin[i]) == 0;
	lua_pushboolean(L, found);
	return 1;
}

static int core_log(lua_State *L)
{
	cl_log(CL_LOG_WARNING, luaL_checkstring(L, 1), "%s", luaL_checkstring(L, 2));
	return 0;
}

static const luaL_Reg core_functions[] = {
        {"here", core_here},
        {"raise", core_raise},
        {"problem", core_problem},
        {"outline", core_outline},
        {"closest", core_closest},
        {"duration", core_duration},
        {"duration_unit", core_duration_unit},
        {"recurrence", core_recurrence},
        {"is_type", core_is_type},
        {"types", core_types},
        {"no_status", core_no_status},
        {"is_quarantined", core_is_quarantined},
        {"log", core_log},
        {NULL, NULL},
};

/* ---- files ---- */

/* Loads text as a chunk whose globals are the sandbox's; text only, never bytecode. Pushes the function, or an error's text. */
static int load_chunk(lua_State *L, const char *text, size_t n, const char *name)
{
	int status = luaL_loadbufferx(L, text, n, name, "t");
	if (status == LUA_OK) {
		cl_sandbox_push_environment(L);
		if (!lua_setupvalue(L, -2, 1))
			lua_pop(L, 1);
	}
	return status;
}

/* "services/referral" of "services/referral/plugin.lua": the plugin's folder, which may have folders itself. */
static struct cl_str folder_of(const struct cl_lua *lua, struct cl_str file)
{
	struct cl_str folder = {file.p, 0};
	for (size_t i = 0; i < file.n; i++) {
		if (file.p[i] != '/')
			continue;
		struct cl_buf name;
		cl_buf_init(&name, 300);
		cl_buf_printf(&name, "%.*s/plugin.lua", (int)i, file.p);
		if (cl_json_get_str(lua->files, cl_buf_str(&name)))
			folder.n = i;
		cl_buf_free(&name);
	}
	return folder;
}

static bool is_file_name(struct cl_str name)
{
	if (!name.n || name.n > 150 || name.p[0] == '/' || memmem(name.p, name.n, "..", 2))
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/", name.p[i]))
			return false;
	return true;
}

/* Only what is in the archive exists, and only while plugins load: a file that was required before stays at hand. */
static int require_file(lua_State *L)
{
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_str name = argument(L, 1), file, folder;
	char path[400];
	int line;
	if (!is_file_name(name))
		return cl_raise_misuse(
		        L,
		        "require: '%.100s' is no name of a file; write require \"messages\" or require \"lib/scores\"",
		        name.p);
	if (!lua->files)
		return cl_raise_misuse(
		        L, "require: write it at the top of the file; nothing is loaded while events are handled");
	cl_lua_place(L, 1, &file, &line);
	folder = folder_of(lua, file);
	if (cl_str_starts(name, "lib/"))
		snprintf(path, sizeof path, "@%.*s.lua", CL_STR_ARGS(name));
	else
		snprintf(path, sizeof path, "@%.*s/%.*s.lua", CL_STR_ARGS(folder), CL_STR_ARGS(name));
	lua_settop(L, 0);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &loaded_key);
	lua_getfield(L, 1, path);
	if (lua_islightuserdata(L, -1))
		return cl_raise_misuse(L, "require: '%s' is being loaded already: files require each other in a circle",
		                       path + 1);
	if (!lua_isnil(L, -1))
		return 1;
	struct cl_str text = cl_json_text(cl_json_get(lua->files, path + 1));
	if (!text.p)
		return cl_raise_misuse(L, "require: there is no file '%s'", path + 1);
	lua_pushlightuserdata(L, lua);
	lua_setfield(L, 1, path);
	if (load_chunk(L, text.p, text.n, path) != LUA_OK)
		return lua_error(L);
	lua_call(L, 0, 1);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		lua_pushboolean(L, 1);
	}
	lua_pushvalue(L, -1);
	lua_setfield(L, 1, path);
	return 1;
}

void cl_library_require(lua_State *L)
{
	lua_newtable(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &loaded_key);
	lua_pushcfunction(L, require_file);
	cl_sandbox_set(L, "require");
}

/* ---- loading ---- */

/* Our own Lua, in the order in which it runs. */
static const struct own_file {
	const char *name;
	const unsigned char *text;
	size_t n;
} own_files[] = {
        {"=prelude", cl_prelude_lua, sizeof cl_prelude_lua},
        {"=schema", cl_schema_lua, sizeof cl_schema_lua},
        {"=declarations", cl_declarations_lua, sizeof cl_declarations_lua},
        {"=overlay", cl_overlay_lua, sizeof cl_overlay_lua},
        {"=merge", cl_merge_lua, sizeof cl_merge_lua},
};
enum { OVERLAY = 3, MERGE = 4 }; /* places in it */

/* Gives it everything from `core` on and leaves its one result. */
static void run_own(lua_State *L, const struct own_file *file, int core)
{
	int count = lua_gettop(L) - core + 1;
	if (load_chunk(L, (const char *)file->text, file->n, file->name) != LUA_OK)
		lua_error(L);
	for (int i = 0; i < count; i++)
		lua_pushvalue(L, core + i);
	lua_call(L, count, 1);
}

/* The names that prelude.lua declares become names of the environment, or after loading functions that refuse. */
static void set_words(lua_State *L, int prelude)
{
	lua_getfield(L, prelude, "words");
	for (lua_pushnil(L); lua_next(L, -2);) {
		const char *name = lua_tostring(L, -2);
		cl_sandbox_set(L, name);
	}
	lua_pop(L, 1);
}

static int declare_too_late(lua_State *L)
{
	return cl_raise_misuse(L, "%s: declarations stand in plugin.lua; functions that run later cannot declare",
	                       lua_tostring(L, lua_upvalueindex(1)));
}

static void unset_words(lua_State *L, int prelude)
{
	lua_getfield(L, prelude, "words");
	for (lua_pushnil(L); lua_next(L, -2);) {
		const char *name = lua_tostring(L, -2);
		lua_pop(L, 1);
		lua_pushvalue(L, -1);
		lua_pushcclosure(L, declare_too_late, 1);
		cl_sandbox_set(L, name);
	}
	lua_pop(L, 1);
}

/* Loads and runs a plugin's file; its value goes to overlay.add. A plugin that fails is a problem, the others go on. */
static void load_plugin(lua_State *L, int add, struct cl_str folder)
{
	struct cl_lua *lua = cl_lua_of(L);
	char name[300];
	int top = lua_gettop(L);
	snprintf(name, sizeof name, "@%.*s/plugin.lua", CL_STR_ARGS(folder));
	struct cl_str file = cl_str_of(name + 1), text = cl_json_text(cl_json_get(lua->files, name + 1));
	if (!text.p) {
		cl_problem(lua, file, 0, "there is no such file");
		return;
	}
	lua_pushvalue(L, add);
	lua_pushlstring(L, folder.p, folder.n);
	lua_pushlstring(L, file.p, file.n);
	lua->loading = file;
	int status = load_chunk(L, text.p, text.n, name);
	if (status == LUA_OK)
		status = lua_pcall(L, 0, 1, 0);
	if (status == LUA_ERRMEM)
		cl_stop_for_memory(lua);
	if (lua->stop != CL_STOP_NONE)
		cl_raise_stop(L);
	if (status == LUA_OK)
		lua_call(L, 3, 0);
	else
		problem_of_error(lua, file,
		                 lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
		                                                : "an error that is no text was raised");
	lua->loading = CL_STR_NONE;
	lua_settop(L, top);
}

void cl_loader_run(lua_State *L, const struct cl_json *archive)
{
	struct cl_lua *lua = cl_lua_of(L);
	const struct cl_json *order = cl_json_get(archive, "order"),
	                     *organization = cl_json_get(archive, "organization");
	luaL_newlib(L, core_functions);
	int core = lua_gettop(L);
	lua_pushfstring(L, "%s.lua", cl_arena_cstring(lua->arena, cl_json_get_text(organization, "id")));
	lua_setfield(L, core, "configuration");
	/* Each of our files gets core and what the files before it gave. */
	for (size_t i = 0; i < sizeof own_files / sizeof *own_files; i++)
		run_own(L, &own_files[i], core);
	int prelude = core + 1, overlay = core + OVERLAY + 1, merge = core + MERGE + 1;
	lua_getfield(L, overlay, "add");
	int add = lua_gettop(L);
	set_words(L, prelude);
	for (uint32_t i = 0; order && order->kind == CL_JSON_ARRAY && i < order->count; i++) {
		struct cl_str folder = cl_json_text(&order->items[i]);
		if (!cl_str_starts(folder, "lib/"))
			load_plugin(L, add, folder);
	}
	unset_words(L, prelude);
	lua_getfield(L, merge, "finish");
	cl_push_plain(L, cl_json_get(organization, "settings"));
	cl_push_plain(L, cl_json_get(organization, "metrics"));
	lua_call(L, 2, 1);
	lua_replace(L, core);
	lua_settop(L, core);
}
