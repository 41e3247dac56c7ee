/* scenario_json.c: JSON as plain Lua tables and back, for scenarios. */
#include "org/engine/scenario.h"
#include <lauxlib.h>
#include <stdlib.h>

/* ---- JSON both ways, plain tables ---- */

void cl_scenario_push_json(lua_State *L, const struct cl_json *value)
{
	luaL_checkstack(L, 4, "JSON too deep");
	switch (value ? value->kind : CL_JSON_NULL) {
	case CL_JSON_FALSE:
	case CL_JSON_TRUE:
		lua_pushboolean(L, value->kind == CL_JSON_TRUE);
		break;
	case CL_JSON_NUMBER:
		lua_pushlstring(L, value->text.p, value->text.n);
		lua_stringtonumber(L, lua_tostring(L, -1));
		lua_remove(L, -2);
		break;
	case CL_JSON_STRING:
		lua_pushlstring(L, value->text.p, value->text.n);
		break;
	case CL_JSON_ARRAY:
		lua_createtable(L, (int)value->count, 0);
		for (uint32_t i = 0; i < value->count; i++) {
			cl_scenario_push_json(L, &value->items[i]);
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
		break;
	case CL_JSON_OBJECT:
		lua_createtable(L, 0, (int)value->count);
		for (uint32_t i = 0; i < value->count; i++) {
			lua_pushlstring(L, value->members[i].name.p, value->members[i].name.n);
			cl_scenario_push_json(L, &value->members[i].value);
			lua_rawset(L, -3);
		}
		break;
	default:
		lua_pushnil(L);
	}
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void cl_scenario_write_json(lua_State *L, int index, struct cl_buf *out)
{
	index = lua_absindex(L, index);
	luaL_checkstack(L, 6, "table too deep");
	size_t n;
	switch (lua_type(L, index)) {
	case LUA_TBOOLEAN:
		cl_buf_add_cstring(out, lua_toboolean(L, index) ? "true" : "false");
		return;
	case LUA_TNUMBER:
		if (lua_isinteger(L, index)) {
			cl_buf_printf(out, "%lld", (long long)lua_tointeger(L, index));
		} else {
			char text[40];
			for (int digits = 6; digits <= 17; digits++) {
				snprintf(text, sizeof text, "%.*g", digits, lua_tonumber(L, index));
				if (strtod(text, NULL) == lua_tonumber(L, index))
					break;
			}
			cl_buf_add_cstring(out, text);
		}
		return;
	case LUA_TSTRING: {
		const char *text = lua_tolstring(L, index, &n);
		cl_json_write_text(out, (struct cl_str){text, n});
		return;
	}
	case LUA_TTABLE:
		break;
	default:
		cl_buf_add_cstring(out, "null");
		return;
	}
	lua_Integer length = (lua_Integer)lua_rawlen(L, index);
	if (length) {
		cl_buf_add_byte(out, '[');
		for (lua_Integer i = 1; i <= length; i++) {
			if (i > 1)
				cl_buf_add_byte(out, ',');
			lua_rawgeti(L, index, i);
			cl_scenario_write_json(L, -1, out);
			lua_pop(L, 1);
		}
		cl_buf_add_byte(out, ']');
		return;
	}
	char *names[512];
	size_t count = 0;
	lua_pushnil(L);
	while (lua_next(L, index)) {
		lua_pop(L, 1);
		if (lua_type(L, -1) == LUA_TSTRING && count < 512)
			names[count++] = strdup(lua_tostring(L, -1));
	}
	qsort(names, count, sizeof *names, compare_names);
	cl_buf_add_byte(out, '{');
	for (size_t i = 0; i < count; i++) {
		if (i)
			cl_buf_add_byte(out, ',');
		cl_json_write_text(out, cl_str_of(names[i]));
		cl_buf_add_byte(out, ':');
		lua_getfield(L, index, names[i]);
		cl_scenario_write_json(L, -1, out);
		lua_pop(L, 1);
		free(names[i]);
	}
	cl_buf_add_byte(out, '}');
}

/* A configuration as the Lua table that files hold. */
void cl_scenario_write_lua(const struct cl_json *value, FILE *out)
{
	struct cl_buf text;
	switch (value->kind) {
	case CL_JSON_OBJECT:
		fputc('{', out);
		for (uint32_t i = 0; i < value->count; i++) {
			cl_buf_init(&text, 0);
			cl_json_write_text(&text, value->members[i].name);
			fprintf(out, "[%.*s]=", (int)text.n, text.p);
			cl_buf_free(&text);
			cl_scenario_write_lua(&value->members[i].value, out);
			fputc(',', out);
		}
		fputc('}', out);
		break;
	case CL_JSON_ARRAY:
		fputc('{', out);
		for (uint32_t i = 0; i < value->count; i++) {
			cl_scenario_write_lua(&value->items[i], out);
			fputc(',', out);
		}
		fputc('}', out);
		break;
	default:
		cl_buf_init(&text, 0);
		cl_json_write(&text, value);
		fprintf(out, "%.*s", (int)text.n, text.p);
		cl_buf_free(&text);
	}
}
