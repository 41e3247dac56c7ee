/* compile.c: from merged tables to the catalog: the plugins, and what every other part needs to read its fields. */
#include "org/lua/compile.h"
#include "base/hash.h"
#include <math.h>
#include <stdio.h>

struct cl_str cl_field_text(lua_State *L, int index, const char *name)
{
	struct cl_str text = CL_STR_NONE;
	if (lua_getfield(L, index, name) == LUA_TSTRING) {
		text.p = lua_tolstring(L, -1, &text.n);
		text = cl_arena_copy(cl_lua_of(L)->arena, text);
	}
	lua_pop(L, 1);
	return text;
}

lua_Integer cl_field_integer(lua_State *L, int index, const char *name, lua_Integer otherwise)
{
	lua_Integer value = otherwise;
	if (lua_getfield(L, index, name) == LUA_TNUMBER)
		value = lua_tointeger(L, -1);
	lua_pop(L, 1);
	return value;
}

double cl_field_number(lua_State *L, int index, const char *name, double otherwise)
{
	double value = otherwise;
	if (lua_getfield(L, index, name) == LUA_TNUMBER)
		value = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return value;
}

bool cl_field_flag(lua_State *L, int index, const char *name)
{
	lua_getfield(L, index, name);
	bool value = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return value;
}

size_t cl_push_list(lua_State *L, int index, const char *name)
{
	if (lua_getfield(L, index, name) == LUA_TTABLE)
		return (size_t)lua_rawlen(L, -1);
	lua_pop(L, 1);
	lua_newtable(L);
	return 0;
}

struct cl_str *cl_field_texts(lua_State *L, int index, const char *name, size_t *count)
{
	*count = cl_push_list(L, index, name);
	struct cl_str *texts = *count ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_str, *count) : NULL;
	for (size_t i = 0; i < *count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		if (lua_type(L, -1) == LUA_TSTRING) {
			struct cl_str text;
			text.p = lua_tolstring(L, -1, &text.n);
			texts[i] = cl_arena_copy(cl_lua_of(L)->arena, text);
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return texts;
}

struct cl_duration cl_field_duration(lua_State *L, int index, const char *name)
{
	struct cl_duration duration = {0};
	struct cl_str text = cl_field_text(L, index, name);
	if (text.n && cl_duration_parse(text, &duration, NULL))
		duration.amount = 0; /* schema.lua has refused it */
	return duration;
}

struct cl_origin cl_field_origin(lua_State *L, int index)
{
	struct cl_origin origin = {0};
	if (lua_getfield(L, index, "at") == LUA_TTABLE) {
		origin.plugin = cl_field_text(L, lua_gettop(L), "plugin");
		origin.file = cl_field_text(L, lua_gettop(L), "file");
		origin.line = (int)cl_field_integer(L, lua_gettop(L), "line", 0);
	}
	lua_pop(L, 1);
	return origin;
}

int cl_plugin_index(const struct cl_lua *lua, struct cl_str name)
{
	for (int i = 0; i < lua->plugin_count; i++)
		if (cl_str_equal(lua->plugins[i].name, name))
			return i;
	return -1;
}

/* The plugin in whose folder the file lies; -1 for shared files. */
static int plugin_of_file(const struct cl_lua *lua, struct cl_str file)
{
	int best = -1;
	for (int i = 0; i < lua->plugin_count; i++) {
		struct cl_str folder = lua->plugins[i].folder;
		if (file.n > folder.n && memcmp(file.p, folder.p, folder.n) == 0 && file.p[folder.n] == '/' &&
		    (best < 0 || folder.n > lua->plugins[best].folder.n))
			best = i;
	}
	return best;
}

int cl_field_function(lua_State *L, int index, const char *name, const struct cl_origin *declared, const char *what,
                      ...)
{
	struct cl_lua *lua = cl_lua_of(L);
	if (lua_getfield(L, index, name) != LUA_TFUNCTION) {
		lua_pop(L, 1);
		return CL_NO_FUNCTION;
	}
	va_list arguments;
	va_start(arguments, what);
	struct cl_str label = cl_arena_vprintf(lua->arena, what, arguments);
	va_end(arguments);
	struct cl_origin origin = *declared;
	lua_Debug function;
	lua_pushvalue(L, -1);
	lua_getinfo(L, ">S", &function);
	if (function.source[0] == '@') {
		origin.file = cl_arena_copy(lua->arena, cl_str_of(function.source + 1));
		origin.line = function.linedefined;
	}
	/* An extension may have replaced only this function: it acts in the name of its own plugin. */
	int plugin = plugin_of_file(lua, origin.file);
	if (plugin < 0)
		plugin = cl_plugin_index(lua, declared->plugin);
	if (plugin >= 0)
		origin.plugin = lua->plugins[plugin].name;
	return cl_call_register(L, plugin, label, &origin);
}

/* SHA-256 over the names and texts of the files in the folder. */
static struct cl_str folder_hash(struct cl_lua *lua, struct cl_str folder)
{
	struct cl_sha256 hash;
	uint8_t bytes[CL_SHA256_SIZE];
	char hex[2 * CL_SHA256_SIZE + 1];
	cl_sha256_init(&hash);
	for (uint32_t i = 0; i < lua->files->count; i++) { /* sorted by name: cl_lua_open saw to that */
		struct cl_str name = lua->files->members[i].name, text = cl_json_text(&lua->files->members[i].value);
		if (name.n <= folder.n || memcmp(name.p, folder.p, folder.n) != 0 || name.p[folder.n] != '/')
			continue;
		char length[40];
		int n = snprintf(length, sizeof length, "%zu %zu ", name.n, text.n);
		cl_sha256_add(&hash, length, (size_t)n);
		cl_sha256_add(&hash, name.p, name.n);
		cl_sha256_add(&hash, text.p, text.n);
	}
	cl_sha256_done(&hash, bytes);
	cl_hex(bytes, sizeof bytes, hex);
	return cl_arena_copy(lua->arena, cl_str_of(hex));
}

static void compile_plugins(lua_State *L, int index)
{
	struct cl_lua *lua = cl_lua_of(L);
	size_t count = cl_push_list(L, index, "plugins");
	lua->plugins = count ? CL_NEW_ARRAY(lua->arena, struct cl_lua_plugin, count) : NULL;
	lua->plugin_count = (int)count;
	lua->catalog.plugins = count ? CL_NEW_ARRAY(lua->arena, struct cl_plugin_info, count) : NULL;
	lua->catalog.plugin_count = count;
	for (size_t i = 0; i < count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		int plugin = lua_gettop(L);
		lua->plugins[i] = (struct cl_lua_plugin){
		        .name = cl_field_text(L, plugin, "name"),
		        .folder = cl_field_text(L, plugin, "folder"),
		        .scope = (int)cl_field_integer(L, plugin, "scope", (lua_Integer)i + 1) - 1,
		};
		lua->catalog.plugins[i] = (struct cl_plugin_info){
		        .name = lua->plugins[i].name,
		        .summary = cl_field_text(L, plugin, "summary"),
		        .folder = lua->plugins[i].folder,
		        .hash = folder_hash(lua, lua->plugins[i].folder),
		        .api = (int)cl_field_integer(L, plugin, "api", 0),
		};
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

void cl_compile(lua_State *L)
{
	int index = lua_gettop(L);
	compile_plugins(L, index);
	cl_compile_settings(L, index);
	cl_compile_workflows(L, index);
	cl_compile_metrics(L, index);
	cl_compile_codes(L, index);
	cl_compile_measures(L, index);
	cl_compile_views(L, index);
	cl_compile_data_rules(L, index);
	cl_compile_handlers(L, index);
	cl_compile_roles(L, index);
}
