/* config.c: one Lua state without libraries for each file, thrown away when its table has become a tree. */
#include "base/config.h"
#include "base/config_locate.h"
#include "base/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lua.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAXIMUM ((size_t)1 << 20) /* bytes of source */
#define MEMORY_MAXIMUM ((size_t)32 << 20) /* bytes in the Lua state */
#define STEPS_MAXIMUM 20000000 /* Lua instructions: well below a second */
#define STEPS_BETWEEN_CHECKS 10000
#define DEPTH_MAXIMUM 32 /* tables within tables */
#define NODES_MAXIMUM 200000
#define TEXT_MAXIMUM ((size_t)8 << 20) /* bytes of names and strings in the tree */

struct evaluation {
	struct cl_arena *arena;
	const char *name;
	struct cl_str text;
	struct cl_json *root;
	struct cl_err *e;
	int code; /* set before lua_error when `e` is filled already */
	size_t memory;
	bool out_of_memory;
	int64_t steps;
	size_t nodes, text_size;
};

/* The way from the root to the value at hand. */
struct trail {
	const struct trail *parent;
	const void *table; /* identity of the table that holds the value */
	const char *name; /* NULL for an array element */
	lua_Integer index;
};

static void set_where(struct cl_err *e, const char *name, int line)
{
	if (!e)
		return;
	e->line = line;
	if (line > 0)
		snprintf(e->where, sizeof e->where, "%s:%d", name, line);
	else
		snprintf(e->where, sizeof e->where, "%s", name);
}

static void *allocate(void *context, void *old, size_t old_size, size_t size)
{
	struct evaluation *evaluation = context;
	size_t before = old ? old_size : 0;
	if (size == 0) {
		free(old);
		evaluation->memory -= before;
		return NULL;
	}
	if (size > before && evaluation->memory + (size - before) > MEMORY_MAXIMUM) {
		evaluation->out_of_memory = true;
		return NULL;
	}
	void *block = realloc(old, size);
	if (block)
		evaluation->memory += size - before;
	return block;
}

static struct evaluation *evaluation_of(lua_State *lua)
{
	void *context;
	lua_getallocf(lua, &context);
	return context;
}

static void count_steps(lua_State *lua, lua_Debug *activation)
{
	struct evaluation *evaluation = evaluation_of(lua);
	evaluation->steps += STEPS_BETWEEN_CHECKS;
	if (evaluation->steps < STEPS_MAXIMUM)
		return;
	lua_getinfo(lua, "l", activation);
	evaluation->code = cl_fail(evaluation->e, CL_E_LIMIT,
	                           "runs too long; a configuration file describes, it does not compute");
	set_where(evaluation->e, evaluation->name, activation->currentline);
	lua_pushnil(lua);
	lua_error(lua);
}

/* "listen[1].port" */
static void print_trail(struct cl_buf *out, const struct trail *trail)
{
	if (trail->parent)
		print_trail(out, trail->parent);
	if (trail->name)
		cl_buf_printf(out, "%s%s", out->n ? "." : "", trail->name);
	else if (trail->parent)
		cl_buf_printf(out, "[%lld]", (long long)trail->index);
}

static _Noreturn void refuse(lua_State *lua, const struct trail *trail, int code, int line, const char *problem)
{
	struct evaluation *evaluation = evaluation_of(lua);
	struct cl_buf place;
	cl_buf_init(&place, 200);
	print_trail(&place, trail);
	if (place.n == 0)
		cl_buf_add_cstring(&place, "the table");
	for (size_t i = 0; i < place.n; i++)
		if ((unsigned char)place.p[i] < ' ')
			place.p[i] = '?';
	evaluation->code = cl_fail(evaluation->e, code, "%.*s %s", CL_STR_ARGS(cl_buf_str(&place)), problem);
	cl_buf_free(&place);
	set_where(evaluation->e, evaluation->name, line);
	lua_pushnil(lua);
	lua_error(lua);
	abort();
}

static struct cl_str take_text(lua_State *lua, int index, const struct trail *trail)
{
	struct evaluation *evaluation = evaluation_of(lua);
	size_t size;
	const char *bytes = lua_tolstring(lua, index, &size);
	struct cl_str text = {bytes, size};
	evaluation->text_size += size;
	if (evaluation->text_size > TEXT_MAXIMUM)
		refuse(lua, trail, CL_E_LIMIT, 0, "makes the file hold more than 8 MiB of text");
	if (!cl_utf8_valid(text) || memchr(bytes, 0, size))
		refuse(lua, trail, CL_E_INVALID, 0, "is no UTF-8 text");
	return cl_arena_copy(evaluation->arena, text);
}

static struct cl_str number_text(lua_State *lua, const struct trail *trail)
{
	struct evaluation *evaluation = evaluation_of(lua);
	if (lua_isinteger(lua, -1))
		return cl_arena_printf(evaluation->arena, "%lld", (long long)lua_tointeger(lua, -1));
	double number = lua_tonumber(lua, -1);
	if (!isfinite(number))
		refuse(lua, trail, CL_E_INVALID, 0, "is not a finite number");
	char text[40];
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, number);
		if (strtod(text, NULL) == number)
			break;
	}
	return cl_arena_copy(evaluation->arena, cl_str_of(text));
}

static int compare_members(const void *a, const void *b)
{
	return cl_str_compare(((const struct cl_json_member *)a)->name, ((const struct cl_json_member *)b)->name);
}

static void convert(lua_State *lua, struct cl_json *out, const struct trail *trail, int depth);

static void convert_array(lua_State *lua, struct cl_json *out, const struct trail *trail, const void *table, int depth)
{
	out->kind = CL_JSON_ARRAY;
	out->items = out->count ? CL_NEW_ARRAY(evaluation_of(lua)->arena, struct cl_json, out->count) : NULL;
	for (uint32_t i = 0; i < out->count; i++) {
		struct trail step = {.parent = trail, .table = table, .index = (lua_Integer)i + 1};
		if (lua_rawgeti(lua, -1, step.index) == LUA_TNIL)
			refuse(lua, &step, CL_E_INVALID, 0, "is missing: sequences may have no holes");
		convert(lua, &out->items[i], &step, depth);
		lua_pop(lua, 1);
	}
}

static void convert_object(lua_State *lua, struct cl_json *out, const struct trail *trail, const void *table, int depth)
{
	out->kind = CL_JSON_OBJECT;
	out->members = CL_NEW_ARRAY(evaluation_of(lua)->arena, struct cl_json_member, out->count);
	uint32_t i = 0;
	for (lua_pushnil(lua); lua_next(lua, -2); lua_pop(lua, 1)) {
		struct cl_json_member *member = &out->members[i++];
		member->name = take_text(lua, -2, trail);
		struct trail step = {.parent = trail, .table = table, .name = member->name.p};
		convert(lua, &member->value, &step, depth);
	}
	qsort(out->members, out->count, sizeof *out->members, compare_members);
}

static void convert_table(lua_State *lua, struct cl_json *out, const struct trail *trail, int depth)
{
	struct evaluation *evaluation = evaluation_of(lua);
	const void *table = lua_topointer(lua, -1);
	for (const struct trail *up = trail; up; up = up->parent)
		if (up->table == table)
			refuse(lua, trail, CL_E_INVALID, 0, "contains itself");
	if (depth >= DEPTH_MAXIMUM)
		refuse(lua, trail, CL_E_LIMIT, 0, "is nested more than 32 tables deep");
	luaL_checkstack(lua, 4, NULL);
	size_t named = 0, numbered = 0;
	for (lua_pushnil(lua); lua_next(lua, -2); lua_pop(lua, 1)) {
		if (lua_type(lua, -2) == LUA_TSTRING)
			named++;
		else if (lua_isinteger(lua, -2))
			numbered++;
		else
			refuse(lua, trail, CL_E_INVALID, 0, "has a name that is neither text nor a whole number");
	}
	if (named && numbered)
		refuse(lua, trail, CL_E_INVALID, 0, "mixes names and positions; write two tables");
	evaluation->nodes += named + numbered;
	if (evaluation->nodes > NODES_MAXIMUM)
		refuse(lua, trail, CL_E_LIMIT, 0, "makes the file hold more than 200,000 values");
	out->count = out->capacity = (uint32_t)(named + numbered);
	if (named)
		convert_object(lua, out, trail, table, depth + 1);
	else
		convert_array(lua, out, trail, table, depth + 1);
}

/* The value on top of the stack, which stays there. */
static void convert(lua_State *lua, struct cl_json *out, const struct trail *trail, int depth)
{
	switch (lua_type(lua, -1)) {
	case LUA_TBOOLEAN:
		out->kind = lua_toboolean(lua, -1) ? CL_JSON_TRUE : CL_JSON_FALSE;
		break;
	case LUA_TNUMBER:
		out->kind = CL_JSON_NUMBER;
		out->text = number_text(lua, trail);
		break;
	case LUA_TSTRING:
		out->kind = CL_JSON_STRING;
		out->text = take_text(lua, -1, trail);
		break;
	case LUA_TTABLE:
		convert_table(lua, out, trail, depth);
		break;
	case LUA_TFUNCTION: {
		lua_Debug function;
		lua_pushvalue(lua, -1);
		lua_getinfo(lua, ">S", &function);
		refuse(lua, trail, CL_E_INVALID, function.linedefined, "is a function; only data may be configured");
	}
	default:
		refuse(lua, trail, CL_E_INVALID, 0, "is of a kind that cannot be configured");
	}
}

/* Runs protected: errors of Lua, of memory and of `refuse` end here. */
static int evaluate(lua_State *lua)
{
	struct evaluation *evaluation = lua_touserdata(lua, 1);
	if (luaL_loadbufferx(lua, evaluation->text.p ? evaluation->text.p : "", evaluation->text.n, "=c", "t"))
		lua_error(lua);
	lua_newtable(lua);
	lua_setupvalue(lua, -2, 1);
	lua_sethook(lua, count_steps, LUA_MASKCOUNT, STEPS_BETWEEN_CHECKS);
	lua_call(lua, 0, LUA_MULTRET);
	lua_sethook(lua, NULL, 0, 0);
	const struct trail root = {0};
	if (lua_gettop(lua) != 2 || !lua_istable(lua, 2)) {
		evaluation->code = cl_fail(evaluation->e, CL_E_INVALID, "the file must end with: return { ... }");
		set_where(evaluation->e, evaluation->name, 0);
		lua_pushnil(lua);
		lua_error(lua);
	}
	evaluation->root = cl_json_new(evaluation->arena, CL_JSON_ARRAY);
	convert(lua, evaluation->root, &root, 0);
	return 0;
}

/* Turns Lua's "c:12: unexpected symbol" into message, line and where. */
static int explain(struct evaluation *evaluation, const char *message)
{
	int line = 0;
	if (evaluation->out_of_memory) {
		cl_fail(evaluation->e, CL_E_LIMIT,
		        "needs more than 32 MiB of memory; a configuration file describes, it does not compute");
		set_where(evaluation->e, evaluation->name, 0);
		return CL_E_LIMIT;
	}
	if (strncmp(message, "c:", 2) == 0) {
		char *end;
		long number = strtol(message + 2, &end, 10);
		if (*end == ':') {
			line = (int)number;
			message = end + 1 + (end[1] == ' ');
		}
	}
	int code = strstr(message, "stack overflow") || strstr(message, "too many") ? CL_E_LIMIT : CL_E_INVALID;
	const char *hint = strstr(message, "(global '") ? "; configuration files have no functions or globals" : "";
	cl_fail(evaluation->e, code, "%s%s", message, hint);
	set_where(evaluation->e, evaluation->name, line);
	return code;
}

int cl_config_load_text(struct cl_arena *arena, const char *name, struct cl_str text, struct cl_json **out,
                        struct cl_err *e)
{
	*out = NULL;
	if (text.n > FILE_MAXIMUM) {
		cl_fail(e, CL_E_LIMIT, "is larger than 1 MiB");
		set_where(e, name, 0);
		return CL_E_LIMIT;
	}
	struct evaluation evaluation = {.arena = arena, .name = name, .text = text, .e = e};
	lua_State *lua = lua_newstate(allocate, &evaluation);
	if (!lua)
		return cl_fail(e, CL_E_MEMORY, "no memory to read %s", name);
	lua_pushcfunction(lua, evaluate);
	lua_pushlightuserdata(lua, &evaluation);
	int result = CL_OK;
	if (lua_pcall(lua, 1, 0, 0) != LUA_OK) {
		const char *message = lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : "cannot be read";
		result = evaluation.code ? evaluation.code : explain(&evaluation, message);
	}
	lua_close(lua);
	if (result)
		return result;
	result = cl_config_locate(text, evaluation.root, e);
	if (result) {
		set_where(e, name, e ? e->line : 0);
		return result;
	}
	*out = evaluation.root;
	return CL_OK;
}

/* Reads a regular file of at most FILE_MAXIMUM + 1 bytes. */
static int read_file(struct cl_arena *arena, const char *path, struct cl_str *out, struct cl_err *e)
{
	struct stat status;
	int result = CL_OK;
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file < 0) {
		result =
		        cl_fail(e, errno == ENOENT ? CL_E_NOT_FOUND : CL_E_IO, "cannot be opened: %s", strerror(errno));
		goto done;
	}
	if (fstat(file, &status) || !S_ISREG(status.st_mode)) {
		result = cl_fail(e, CL_E_IO, "is no regular file");
		goto done;
	}
	if ((uint64_t)status.st_size > FILE_MAXIMUM) {
		result = cl_fail(e, CL_E_LIMIT, "is larger than 1 MiB");
		goto done;
	}
	size_t size = (size_t)status.st_size, have = 0;
	char *bytes = cl_arena_alloc(arena, size + 1);
	while (have < size) {
		ssize_t n = read(file, bytes + have, size - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			result = cl_fail(e, CL_E_IO, "cannot be read: %s", strerror(errno));
			goto done;
		}
		if (n == 0)
			break;
		have += (size_t)n;
	}
	*out = (struct cl_str){bytes, have};
done:
	if (file >= 0)
		close(file);
	if (result)
		set_where(e, path, 0);
	return result;
}

int cl_config_load(struct cl_arena *arena, const char *path, struct cl_json **out, struct cl_err *e)
{
	struct cl_str text;
	*out = NULL;
	int result = read_file(arena, path, &text, e);
	return result ? result : cl_config_load_text(arena, path, text, out, e);
}

int cl_config_line(const char *path, const struct cl_json *value)
{
	int line = 0, column;
	struct cl_str text;
	if (!value || !value->offset)
		return 0;
	struct cl_arena *arena = cl_arena_new(0);
	if (!read_file(arena, path, &text, NULL) && value->offset < text.n)
		cl_json_place(text, value->offset, &line, &column);
	cl_arena_free(arena);
	return line;
}
