/* evaluate.c: the console's Lua prompt: an expression, or else statements, with `ctx` in reach; and values as text for people. */
#include "org/lua/internal.h"
#include <stdio.h>

#define SHOWN_DEPTH 4
#define SHOWN_ELEMENTS 200

struct evaluation {
	struct cl_str text;
	struct cl_buf *out;
};

static void show(lua_State *L, int index, struct cl_buf *out, int depth);

static bool is_identifier(struct cl_str name)
{
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (c != '_' && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(i && c >= '0' && c <= '9'))
			return false;
	}
	return name.n > 0;
}

static void show_key(lua_State *L, int index, struct cl_buf *out)
{
	struct cl_str text;
	if (lua_type(L, index) == LUA_TSTRING) {
		text.p = lua_tolstring(L, index, &text.n);
		if (is_identifier(text)) {
			cl_buf_add_str(out, text);
			return;
		}
	}
	cl_buf_add_byte(out, '[');
	show(L, index, out, 1);
	cl_buf_add_byte(out, ']');
}

static void show_table(lua_State *L, int index, struct cl_buf *out, int depth)
{
	if (depth >= SHOWN_DEPTH) {
		cl_buf_add_cstring(out, "{...}");
		return;
	}
	luaL_checkstack(L, 8, NULL);
	lua_Integer count = cl_push_sorted_keys(L, index), array = (lua_Integer)lua_rawlen(L, index);
	int keys = lua_gettop(L);
	cl_buf_add_cstring(out, "{");
	for (lua_Integer i = 1; i <= count; i++) {
		cl_buf_add_cstring(out, i > 1 ? ", " : " ");
		if (i > SHOWN_ELEMENTS) {
			cl_buf_printf(out, "... (%lld more)", (long long)(count - SHOWN_ELEMENTS));
			break;
		}
		lua_rawgeti(L, keys, i);
		if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) < 1 || lua_tointeger(L, -1) > array) {
			show_key(L, lua_gettop(L), out);
			cl_buf_add_cstring(out, " = ");
		}
		lua_rawget(L, index);
		show(L, lua_gettop(L), out, depth + 1);
		lua_pop(L, 1);
	}
	cl_buf_add_cstring(out, count ? " }" : "}");
	lua_pop(L, 1);
}

/* Never calls back into Lua but for views, which are ours. */
static void show(lua_State *L, int index, struct cl_buf *out, int depth)
{
	struct cl_str text;
	char number[40];
	switch (lua_type(L, index)) {
	case LUA_TSTRING:
		text.p = lua_tolstring(L, index, &text.n);
		if (depth)
			cl_json_write_text(out, text);
		else
			cl_buf_add_str(out, text);
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, index))
			snprintf(number, sizeof number, "%lld", (long long)lua_tointeger(L, index));
		else
			snprintf(number, sizeof number, "%.14g", lua_tonumber(L, index));
		cl_buf_add_cstring(out, number);
		break;
	case LUA_TBOOLEAN:
		cl_buf_add_cstring(out, lua_toboolean(L, index) ? "true" : "false");
		break;
	case LUA_TTABLE:
		show_table(L, index, out, depth);
		break;
	default:
		if (!cl_is_view(L, index))
			cl_buf_add_cstring(out, luaL_typename(L, index));
		else if (depth)
			cl_json_write(out, cl_view_json(L, index));
		else
			cl_json_write_pretty(out, cl_view_json(L, index));
	}
}

/* The chunk's environment: ctx, what the chunk itself assigns, and everything that plugins see. */
static void push_environment(lua_State *L)
{
	lua_newtable(L);
	cl_ctx_push(L, -1);
	lua_setfield(L, -2, "ctx");
	lua_newtable(L);
	cl_sandbox_push_environment(L);
	lua_setfield(L, -2, "__index");
	lua_setmetatable(L, -2);
}

static bool ends_in_eof(const char *message)
{
	static const char mark[] = "<eof>";
	size_t n = message ? strlen(message) : 0;
	return n >= sizeof mark - 1 && strcmp(message + n - (sizeof mark - 1), mark) == 0;
}

static int run(lua_State *L)
{
	struct evaluation *evaluation = lua_touserdata(L, 1);
	struct cl_str text = evaluation->text;
	lua_settop(L, 0);
	lua_pushliteral(L, "return ");
	lua_pushlstring(L, text.p ? text.p : "", text.n);
	lua_concat(L, 2);
	size_t n;
	const char *expression = lua_tolstring(L, 1, &n);
	if (luaL_loadbufferx(L, expression, n, "@console", "t") != LUA_OK) {
		if (luaL_loadbufferx(L, text.p ? text.p : "", text.n, "@console", "t") != LUA_OK) {
			/* Which of the two was meant? The one that is only unfinished: the console asks for more lines then. */
			if (ends_in_eof(lua_tostring(L, 2)) && !ends_in_eof(lua_tostring(L, 3)))
				lua_pop(L, 1);
			return lua_error(L);
		}
		lua_replace(L, 2);
	}
	lua_remove(L, 1);
	push_environment(L);
	if (!lua_setupvalue(L, 1, 1))
		lua_pop(L, 1);
	lua_call(L, 0, LUA_MULTRET);
	int results = lua_gettop(L);
	for (int i = 1; i <= results; i++) {
		if (results > 1 || !lua_isnil(L, i)) {
			show(L, i, evaluation->out, 0);
			cl_buf_add_byte(evaluation->out, '\n');
		}
	}
	return 0;
}

int cl_lua_evaluate(struct cl_lua *lua, struct cl_unit *unit, struct cl_str text, bool write, struct cl_buf *out,
                    struct cl_err *e)
{
	struct evaluation evaluation = {text, out};
	struct cl_frame frame = {.unit = unit, .plugin = -1, .read_only = !write};
	struct cl_str former = unit->plugin;
	if (lua->unit != unit || lua->cause != unit->cause)
		cl_lua_unit_begin(lua, unit);
	unit->plugin = CL_STR("console");
	size_t before = out->n;
	lua->printed = out;
	int code = cl_call_protected(lua, &frame, lua->limits.call_cpu, CL_STR("console"), run, &evaluation, e);
	lua->printed = NULL;
	if (out->n > before)
		cl_clean_bytes(out->p + before, out->n - before);
	unit->plugin = former;
	return code;
}
