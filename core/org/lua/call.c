/* call.c: the only place where Lua is entered from C, and what becomes of its errors. An entry may nest in another (an effect
 * advances a second instance, whose guard runs); the budget is that of the outermost. */
#include "base/clock.h"
#include "base/utf8.h"
#include "org/lua/internal.h"
#include <stdio.h>
#include <stdlib.h>

static const char raised_key;

/* ---- places ---- */

bool cl_lua_place(lua_State *L, int level, struct cl_str *file, int *line)
{
	lua_Debug activation;
	for (; lua_getstack(L, level, &activation); level++) {
		lua_getinfo(L, "Sl", &activation);
		if (activation.currentline > 0 && activation.source[0] == '@') {
			*file = cl_str_of(activation.source + 1);
			*line = activation.currentline;
			return true;
		}
	}
	*file = CL_STR_NONE;
	*line = 0;
	return false;
}

static struct cl_str plugin_name(const struct cl_lua *lua)
{
	if (lua->frame && lua->frame->plugin >= 0)
		return lua->plugins[lua->frame->plugin].name;
	return lua->files ? CL_STR("load") : CL_STR("console");
}

/* ---- stopping ---- */

/* What runs now, because it is the innermost entry that used too much: the outer ones only report it. */
static void note_stop(struct cl_lua *lua, struct cl_str file, int line)
{
	const struct cl_frame *frame = lua->frame;
	snprintf(lua->stop_file, sizeof lua->stop_file, "%.*s", CL_STR_ARGS(file));
	lua->stop_line = line;
	snprintf(lua->stop_plugin, sizeof lua->stop_plugin, "%.*s", CL_STR_ARGS(plugin_name(lua)));
	lua->stop_what[0] = 0;
	if (frame && frame->function)
		snprintf(lua->stop_what, sizeof lua->stop_what, "%.*s%s%.*s%s%.*s", CL_STR_ARGS(frame->function->what),
		         frame->instance.n ? ", " : "", CL_STR_ARGS(frame->type), frame->type.n ? "/" : "",
		         CL_STR_ARGS(frame->instance));
}

/* Called by the allocator: lua_getinfo with "S" and "l" allocates nothing. A collection may still make room; then this is
 * forgotten. */
void cl_note_memory(struct cl_lua *lua)
{
	struct cl_str file;
	int line;
	if (!lua->state || lua->stop != CL_STOP_NONE)
		return;
	if (cl_lua_place(lua->state, 0, &file, &line)) /* none: it is unwound already, and what was noted holds */
		note_stop(lua, file, line);
}

void cl_stop_for_memory(struct cl_lua *lua)
{
	if (lua->stop != CL_STOP_NONE)
		return;
	if (!lua->stop_what[0]) /* the system had none: nothing was noted */
		note_stop(lua, CL_STR_NONE, 0);
	lua->stop = CL_STOP_MEMORY;
}

static void stop(lua_State *L, enum cl_stop kind)
{
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_str file;
	int line;
	lua->stop = kind;
	cl_lua_place(L, 0, &file, &line);
	note_stop(lua, file, line);
}

int cl_raise_stop(lua_State *L)
{
	/* The reason is in cl_lua.stop; a constant needs little memory. */
	lua_pushliteral(L, "the call was stopped: it used too much");
	return lua_error(L);
}

/* Once the time is over, every instruction comes here until the outermost entry has ended, so that neither pcall nor a __close
 * nor an error handler goes on. */
void cl_budget_hook(lua_State *L, lua_Debug *activation)
{
	struct cl_lua *lua = cl_lua_of(L);
	(void)activation;
	if (lua->stop == CL_STOP_NONE) {
		if (!lua->budget.running) {
			lua_sethook(L, NULL, 0, 0);
			return;
		}
		if (!cl_budget_is_over(&lua->budget))
			return;
		stop(L, CL_STOP_CPU);
	}
	cl_raise_stop(L);
}

void cl_poll(lua_State *L)
{
	struct cl_lua *lua = cl_lua_of(L);
	if (lua->stop == CL_STOP_NONE && cl_budget_poll(&lua->budget))
		stop(L, CL_STOP_CPU);
	if (lua->stop != CL_STOP_NONE)
		cl_raise_stop(L);
}

/* "plugin callback at services/callback/plugin.lua:34 (on callback.done, Task/x)" */
static void describe(const struct cl_lua *lua, char *out, size_t size)
{
	char place[240] = "";
	if (lua->stop_file[0])
		snprintf(place, sizeof place, " at %s:%d", lua->stop_file, lua->stop_line);
	if (lua->stop_what[0])
		snprintf(out, size, "plugin %s%s (%s)", lua->stop_plugin, place, lua->stop_what);
	else
		snprintf(out, size, "%s%s", lua->files ? "loading the plugins" : "this line", lua->files ? "" : place);
}

static int explain_stop(struct cl_lua *lua, struct cl_err *e)
{
	char place[520];
	describe(lua, place, sizeof place);
	snprintf(lua->outcome, sizeof lua->outcome, "budget:%s:%s:%d", lua->stop_plugin, lua->stop_file,
	         lua->stop_line);
	switch (lua->stop) {
	case CL_STOP_MEMORY:
		cl_fail(e, CL_E_LIMIT,
		        "%s was stopped: it used %zu MiB of memory, all that the organization's plugins may have",
		        place, lua->limits.memory >> 20);
		break;
	case CL_STOP_RECORDED:
		cl_fail(e, CL_E_LIMIT, "%s was stopped, as it was when this was recorded", place);
		break;
	default:
		cl_fail(e, CL_E_LIMIT, "%s was stopped: it used %lld ms of CPU, all that %s may take", place,
		        (long long)(lua->budget.limit / 1000), lua->files ? "loading" : "one call");
	}
	return cl_fail_at(e, "%s:%d", lua->stop_file, lua->stop_line);
}

/* ---- errors raised by C ---- */

void cl_clean_text(char *text)
{
	cl_clean_bytes(text, strlen(text));
}

void cl_clean_bytes(char *text, size_t length)
{
	unsigned char *at = (unsigned char *)text, *end = at + length;
	while (at < end) {
		size_t n = cl_utf8_length(at, end);
		if (n == 0 || *at == 0)
			*at = '?';
		at += n ? n : 1;
	}
}

/* What failed while a plugin acted is no answer to what the request asked for: "not found" would be read as its own. */
static int code_for_request(int code)
{
	switch (code) {
	case CL_E_NOT_FOUND:
	case CL_E_GONE:
	case CL_E_INVALID:
	case CL_E_UNSUPPORTED:
	case CL_E_PRECONDITION:
	case CL_E_TOO_LARGE:
	case CL_E_UNAUTHENTICATED:
	case CL_E_MEDIA_TYPE:
	case CL_E_NOT_ACCEPTABLE:
		return CL_E_RULE;
	default:
		return code;
	}
}

static int raise_error(lua_State *L, const struct cl_err *e, bool plainly, bool for_good)
{
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_str file;
	int line;
	bool placed = cl_lua_place(L, 0, &file, &line);
	if (!placed && lua->frame && lua->frame->function) { /* what it returned is at fault */
		file = lua->frame->function->origin.file;
		line = lua->frame->function->origin.line;
		placed = true;
	}
	lua->raised = *e;
	lua->raised.code = code_for_request(e->code);
	if (!plainly && placed) {
		cl_fail(&lua->raised, lua->raised.code, "%s (plugin %.*s, %.*s:%d)", e->message,
		        CL_STR_ARGS(plugin_name(lua)), CL_STR_ARGS(file), line);
		lua->raised.line = lua->raised.column = 0;
		memcpy(lua->raised.where, e->where, sizeof lua->raised.where);
		if (!e->where[0])
			cl_fail_at(&lua->raised, "%.*s:%d", CL_STR_ARGS(file), line);
	}
	if (for_good && !lua->poison.code)
		lua->poison = lua->raised;
	/* What pcall sees looks like any error of Lua. */
	if (!plainly && placed) {
		lua_pushlstring(L, file.p, file.n);
		lua_pushfstring(L, "%s:%d: %s", lua_tostring(L, -1), line, e->message);
	} else {
		lua_pushstring(L, e->message);
	}
	lua_pushvalue(L, -1);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &raised_key);
	return lua_error(L);
}

int cl_raise(lua_State *L, const struct cl_err *e)
{
	return raise_error(L, e, false, false);
}

int cl_raise_plainly(lua_State *L, const struct cl_err *e)
{
	return raise_error(L, e, true, false);
}

int cl_raise_for_good(lua_State *L, const struct cl_err *e)
{
	return raise_error(L, e, false, true);
}

int cl_raise_refusal(lua_State *L, const struct cl_err *e)
{
	return raise_error(L, e, true, true);
}

int cl_raise_misuse(lua_State *L, const char *format, ...)
{
	char message[400];
	struct cl_err e = {0};
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	cl_clean_text(message);
	cl_fail(&e, CL_E_PLUGIN, "%s", message);
	return raise_error(L, &e, false, false);
}

/* ---- errors of Lua ---- */

/* Takes "file:12: " off the front of Lua's own messages. */
static const char *take_place(const char *message, char *where, size_t size)
{
	const char *colon = strchr(message, ':');
	while (colon) {
		char *end;
		long line = strtol(colon + 1, &end, 10);
		if (end > colon + 1 && line > 0 && end[0] == ':' && end[1] == ' ') {
			snprintf(where, size, "%.*s:%ld", (int)(colon - message), message, line);
			return end + 2;
		}
		colon = strchr(colon + 1, ':');
	}
	return message;
}

/* The error value is on top of the stack. Never calls back into Lua: a plugin's error object is not asked for its text
 * (attack: an endless __tostring). */
static int explain(struct cl_lua *lua, const struct cl_frame *frame, int status, struct cl_err *e)
{
	lua_State *L = lua->state;
	if (status == LUA_ERRMEM)
		cl_stop_for_memory(lua);
	if (lua->stop != CL_STOP_NONE)
		return explain_stop(lua, e);
	bool text = lua_type(L, -1) == LUA_TSTRING;
	if (text && lua->raised.code) {
		lua_rawgetp(L, LUA_REGISTRYINDEX, &raised_key);
		bool ours = lua_rawequal(L, -1, -2);
		lua_pop(L, 1);
		if (ours) {
			if (e)
				*e = lua->raised;
			return lua->raised.code;
		}
	}
	char where[240] = "", message[400];
	if (text)
		snprintf(message, sizeof message, "%s", take_place(lua_tostring(L, -1), where, sizeof where));
	else
		snprintf(message, sizeof message, "an error that is no text but a %s was raised", luaL_typename(L, -1));
	cl_clean_text(message);
	cl_clean_text(where);
	if (!where[0] && frame->function)
		snprintf(where, sizeof where, "%.*s:%d", CL_STR_ARGS(frame->function->origin.file),
		         frame->function->origin.line);
	if (frame->function)
		cl_fail(e, CL_E_PLUGIN, "plugin %.*s, %s: %.300s (%.*s%s%.*s%s%.*s)", CL_STR_ARGS(plugin_name(lua)),
		        where, message, CL_STR_ARGS(frame->function->what), frame->instance.n ? ", " : "",
		        CL_STR_ARGS(frame->type), frame->type.n ? "/" : "", CL_STR_ARGS(frame->instance));
	else
		cl_fail(e, CL_E_PLUGIN, "%s%s%s", where, where[0] ? ": " : "", message);
	return cl_fail_at(e, "%s", where);
}

/* ---- entries ---- */

struct watched {
	char plugin[sizeof((struct cl_watch *)0)->plugin], what[sizeof((struct cl_watch *)0)->what];
};

static void copy_text(char *out, size_t size, struct cl_str text)
{
	size_t n = text.n < size - 1 ? text.n : size - 1;
	memcpy(out, text.p, n);
	out[n] = 0;
}

/* The supervisor may look at any moment: it takes the texts for hints only. */
static void watch_begin(struct cl_lua *lua, struct cl_str what, struct watched *former)
{
	struct cl_watch *watch = lua->watch;
	memcpy(former->plugin, watch->plugin, sizeof former->plugin);
	memcpy(former->what, watch->what, sizeof former->what);
	copy_text(watch->plugin, sizeof watch->plugin, plugin_name(lua));
	if (!lua->frame->outer) {
		copy_text(watch->what, sizeof watch->what, what);
		atomic_fetch_add(&watch->lua_call, 1u);
		atomic_store(&watch->lua_since, cl_monotonic());
	}
}

static void watch_end(struct cl_lua *lua, const struct watched *former)
{
	struct cl_watch *watch = lua->watch;
	if (!lua->frame->outer) {
		atomic_store(&watch->lua_since, (int64_t)0);
		memcpy(watch->what, former->what, sizeof former->what);
	}
	memcpy(watch->plugin, former->plugin, sizeof former->plugin);
}

static void end_outermost(struct cl_lua *lua)
{
	cl_budget_end(&lua->budget);
	lua->generation++;
	if (lua->stop == CL_STOP_NONE)
		return;
	lua_sethook(lua->state, NULL, 0, 0);
	if (lua->stop == CL_STOP_MEMORY)
		lua_gc(lua->state, LUA_GCCOLLECT); /* what filled the memory is garbage now */
	lua->stop = CL_STOP_NONE;
}

/* Replay: the record says that a call of this plugin was stopped in this unit. The unit failed then and fails now, so that it
 * does not matter which of the plugin's calls it was. */
static bool stop_as_recorded(struct cl_lua *lua, const struct cl_frame *frame)
{
	static const char mark[] = "budget:";
	struct cl_str name = plugin_name(lua);
	const char *at = lua->expected + sizeof mark - 1;
	if (!frame->function || strncmp(lua->expected, mark, sizeof mark - 1) != 0 ||
	    strncmp(at, name.p, name.n) != 0 || at[name.n] != ':')
		return false;
	const char *file = at + name.n + 1, *colon = strrchr(file, ':');
	if (!colon)
		return false;
	note_stop(lua, (struct cl_str){file, (size_t)(colon - file)}, (int)strtol(colon + 1, NULL, 10));
	lua->stop = CL_STOP_RECORDED;
	lua->expected[0] = 0;
	return true;
}

/* A change failed in this unit, so the unit fails, whatever the plugin caught. */
static int poisoned(const struct cl_lua *lua, struct cl_err *e)
{
	if (e)
		*e = lua->poison;
	return lua->poison.code;
}

int cl_call_protected(struct cl_lua *lua, struct cl_frame *frame, int64_t cpu, struct cl_str what,
                      lua_CFunction function, void *context, struct cl_err *e)
{
	lua_State *L = lua->state;
	struct watched former;
	int depth = 0, code = 0, top = lua_gettop(L);
	frame->outer = lua->frame;
	for (const struct cl_frame *outer = frame->outer; outer; outer = outer->outer)
		depth++;
	if (depth >= CL_LUA_DEPTH)
		return cl_fail(e, CL_E_PLUGIN, "guards and effects call each other more than %d deep (%.*s)",
		               CL_LUA_DEPTH, CL_STR_ARGS(what));
	if (!lua_checkstack(L, 8))
		return cl_fail(e, CL_E_LIMIT, "no room on Lua's stack for %.*s", CL_STR_ARGS(what));
	if (depth == 0)
		code = cl_budget_begin(&lua->budget, lua->replaying ? 100 * cpu : cpu, e);
	if (code)
		return code;
	lua->frame = frame;
	if (depth == 0)
		lua->stop_file[0] = lua->stop_what[0] = 0; /* what an earlier call noted */
	if (lua->watch)
		watch_begin(lua, what, &former);
	if (lua->stop != CL_STOP_NONE || stop_as_recorded(lua, frame)) {
		code = explain_stop(lua, e);
	} else if (lua->poison.code && frame->function) {
		code = poisoned(lua, e);
	} else {
		lua_pushcfunction(L, function);
		lua_pushlightuserdata(L, context);
		int status = lua_pcall(L, 1, 0, 0);
		if (status != LUA_OK) {
			code = explain(lua, frame, status, e);
		} else if (lua->stop !=
		           CL_STOP_NONE) { /* a C function of ours ended normally after the time was over */
			code = explain_stop(lua, e);
		}
		if (lua->poison.code && lua->stop == CL_STOP_NONE)
			code = poisoned(lua, e);
	}
	lua_settop(L, top);
	if (lua->watch)
		watch_end(lua, &former);
	lua->frame = frame->outer;
	if (depth == 0)
		end_outermost(lua);
	return code;
}

static const char functions_key;

static int run_call(lua_State *L)
{
	struct cl_call *call = lua_touserdata(L, 1);
	lua_settop(L, 0);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key);
	lua_rawgeti(L, 1, call->function);
	cl_ctx_push(L, call->lua->frame->plugin);
	lua_remove(L, 1);
	int count = call->push ? call->push(L, call) : 0;
	lua_call(L, count + 1, call->results);
	if (call->take)
		call->take(L, call);
	return 0;
}

int cl_call_run(struct cl_call *call, struct cl_err *e)
{
	struct cl_lua *lua = call->lua;
	if (call->function <= 0 || call->function > lua->function_count)
		return cl_fail(e, CL_E_INTERNAL, "there is no plugin function %d", call->function);
	const struct cl_lua_function *function = &lua->functions[call->function - 1];
	struct cl_frame frame = {
	        .unit = call->unit,
	        .function = function,
	        .plugin = function->plugin,
	        .type = call->type,
	        .instance = call->instance,
	        .read_only = call->read_only || (lua->frame && lua->frame->read_only),
	};
	if (!lua->frame && (lua->unit != call->unit || lua->cause != call->unit->cause))
		cl_lua_unit_begin(lua, call->unit);
	struct cl_str former = call->unit->plugin;
	call->unit->plugin = lua->plugins[function->plugin].name;
	int code = cl_call_protected(lua, &frame, lua->limits.call_cpu, function->what, run_call, call, e);
	call->unit->plugin = former;
	return code;
}

int cl_call_register(lua_State *L, int plugin, struct cl_str what, const struct cl_origin *origin)
{
	struct cl_lua *lua = cl_lua_of(L);
	if (lua->function_count == lua->function_capacity) {
		int capacity = lua->function_capacity ? 2 * lua->function_capacity : 64;
		struct cl_lua_function *functions = CL_NEW_ARRAY(lua->arena, struct cl_lua_function, capacity);
		if (lua->function_count)
			memcpy(functions, lua->functions, (size_t)lua->function_count * sizeof *functions);
		lua->functions = functions;
		lua->function_capacity = capacity;
	}
	if (lua_rawgetp(L, LUA_REGISTRYINDEX, &functions_key) == LUA_TNIL) {
		lua_pop(L, 1);
		lua_newtable(L);
		lua_pushvalue(L, -1);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &functions_key);
	}
	lua_insert(L, -2);
	lua_rawseti(L, -2, lua->function_count + 1);
	lua_pop(L, 1);
	lua->functions[lua->function_count] = (struct cl_lua_function){plugin, what, *origin};
	return ++lua->function_count;
}
