/* library_match.c: string.find, match, gmatch and gsub over the budgeted matcher. */
#include "org/lua/internal.h"
#include "org/lua/pattern.h"

/* Prepares a matcher on the texts at the two indexes. */
static void prepare(lua_State *L, struct cl_pattern *m, const char *function, int text, int pattern)
{
	size_t n, length;
	*m = (struct cl_pattern){.steps = cl_lua_of(L)->limits.pattern_steps};
	m->text = luaL_checklstring(L, text, &n);
	m->text_end = m->text + n;
	m->pattern = luaL_checklstring(L, pattern, &length);
	m->pattern_end = m->pattern + length;
	if (length > CL_PATTERN_LENGTH)
		cl_raise_misuse(L, "string.%s: the pattern is longer than %d bytes", function, CL_PATTERN_LENGTH);
}

static void check_text(lua_State *L, const struct cl_pattern *m, const char *function)
{
	if (m->text_end - m->text <= CL_PATTERN_TEXT)
		return;
	struct cl_err e = {0};
	cl_fail(&e, CL_E_LIMIT,
	        "string.%s: the text has more than %d KiB; cut it into parts (string.find with plain = true and "
	        "string.sub know no limit)",
	        function, CL_PATTERN_TEXT / 1024);
	cl_raise_for_good(L, &e);
}

static void raise_problem(lua_State *L, const struct cl_pattern *m, const char *function)
{
	if (m->exhausted) {
		struct cl_err e = {0};
		cl_fail(&e, CL_E_LIMIT, "string.%s used %u steps: %s", function, cl_lua_of(L)->limits.pattern_steps,
		        m->problem);
		cl_raise_for_good(L, &e);
	}
	char problem[100];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(problem, sizeof problem, m->problem, m->problem_number);
#pragma GCC diagnostic pop
	cl_raise_misuse(L, "string.%s: %s", function, problem);
}

/* The end of a match at `at`, or NULL; raises. */
static const char *try_at(lua_State *L, struct cl_pattern *m, const char *at, const char *function)
{
	cl_pattern_restart(m);
	const char *end = cl_pattern_match(m, at);
	if (!end && m->problem)
		raise_problem(L, m, function);
	return end;
}

static void push_capture(lua_State *L, const struct cl_pattern *m, unsigned i, const char *start, const char *end,
                         const char *function)
{
	if (i >= m->level) {
		if (i != 0)
			cl_raise_misuse(L, "string.%s: invalid capture index %%%d", function, (int)i + 1);
		lua_pushlstring(L, start, (size_t)(end - start));
	} else if (m->captures[i].length == CL_CAPTURE_POSITION) {
		lua_pushinteger(L, m->captures[i].start - m->text + 1);
	} else if (m->captures[i].length == CL_CAPTURE_OPEN) {
		cl_raise_misuse(L, "string.%s: unfinished capture", function);
	} else {
		lua_pushlstring(L, m->captures[i].start, (size_t)m->captures[i].length);
	}
}

/* All captures, or the whole match when there are none and `whole` is wanted. */
static int push_captures(lua_State *L, const struct cl_pattern *m, const char *start, const char *end, bool whole,
                         const char *function)
{
	int count = m->level == 0 && whole ? 1 : (int)m->level;
	luaL_checkstack(L, count, "too many captures");
	for (int i = 0; i < count; i++)
		push_capture(L, m, (unsigned)i, start, end, function);
	return count;
}

/* Where to begin, 0-based; past the end when there is nothing to look at. */
static size_t begin_at(lua_Integer place, size_t n)
{
	if (place > 0)
		return (size_t)place - 1;
	if (place == 0 || place < -(lua_Integer)n)
		return 0;
	return n - (size_t)-place;
}

static bool strip_anchor(struct cl_pattern *m)
{
	if (m->pattern == m->pattern_end || *m->pattern != '^')
		return false;
	m->pattern++;
	return true;
}

static int find_or_match(lua_State *L, bool find)
{
	const char *function = find ? "find" : "match";
	struct cl_pattern m;
	prepare(L, &m, function, 1, 2);
	size_t n = (size_t)(m.text_end - m.text), pattern_n = (size_t)(m.pattern_end - m.pattern);
	size_t begin = begin_at(luaL_optinteger(L, 3, 1), n);
	if (begin > n) {
		lua_pushnil(L);
		return 1;
	}
	if (find && (lua_toboolean(L, 4) || cl_pattern_is_plain(m.pattern, pattern_n))) {
		const char *found =
		        pattern_n ? memmem(m.text + begin, n - begin, m.pattern, pattern_n) : m.text + begin;
		if (!found) {
			lua_pushnil(L);
			return 1;
		}
		lua_pushinteger(L, found - m.text + 1);
		lua_pushinteger(L, found - m.text + (lua_Integer)pattern_n);
		return 2;
	}
	check_text(L, &m, function);
	bool anchored = strip_anchor(&m);
	for (const char *at = m.text + begin; at <= m.text_end; at++) {
		const char *end = try_at(L, &m, at, function);
		if (end && find) {
			lua_pushinteger(L, at - m.text + 1);
			lua_pushinteger(L, end - m.text);
			return push_captures(L, &m, at, end, false, function) + 2;
		}
		if (end)
			return push_captures(L, &m, at, end, true, function);
		if (anchored)
			break;
	}
	lua_pushnil(L);
	return 1;
}

static int find(lua_State *L)
{
	return find_or_match(L, true);
}

static int match(lua_State *L)
{
	return find_or_match(L, false);
}

/* Upvalues: text, pattern, where to go on (0-based), end of the last match (-1 at first). */
static int gmatch_step(lua_State *L)
{
	struct cl_pattern m;
	prepare(L, &m, "gmatch", lua_upvalueindex(1), lua_upvalueindex(2));
	lua_Integer from = lua_tointeger(L, lua_upvalueindex(3)), last = lua_tointeger(L, lua_upvalueindex(4));
	for (const char *at = m.text + from; at <= m.text_end; at++) {
		const char *end = try_at(L, &m, at, "gmatch");
		if (!end || end - m.text == last)
			continue;
		lua_pushinteger(L, end - m.text);
		lua_copy(L, -1, lua_upvalueindex(3));
		lua_replace(L, lua_upvalueindex(4));
		return push_captures(L, &m, at, end, true, "gmatch");
	}
	return 0;
}

static int gmatch(lua_State *L)
{
	struct cl_pattern m;
	prepare(L, &m, "gmatch", 1, 2);
	check_text(L, &m, "gmatch");
	size_t n = (size_t)(m.text_end - m.text), begin = begin_at(luaL_optinteger(L, 3, 1), n);
	lua_settop(L, 2);
	lua_pushinteger(L, (lua_Integer)(begin > n ? n + 1 : begin));
	lua_pushinteger(L, -1);
	lua_pushcclosure(L, gmatch_step, 4);
	return 1;
}

/* ---- gsub ---- */

/* The replacement is a text: %0 to %9 are captures, %% a percent sign. */
static void add_template(lua_State *L, struct cl_pattern *m, luaL_Buffer *buffer, const char *start, const char *end)
{
	size_t n;
	const char *at = lua_tolstring(L, 3, &n), *template_end = at + n;
	while (at < template_end) {
		const char *percent = memchr(at, '%', (size_t)(template_end - at));
		if (!percent)
			percent = template_end;
		luaL_addlstring(buffer, at, (size_t)(percent - at));
		if (percent == template_end)
			break;
		at = percent + 1;
		char c = at < template_end ? *at : 0;
		if (c == '%') {
			luaL_addchar(buffer, '%');
		} else if (c == '0') {
			luaL_addlstring(buffer, start, (size_t)(end - start));
		} else if (c >= '1' && c <= '9') {
			push_capture(L, m, (unsigned)(c - '1'), start, end, "gsub");
			luaL_tolstring(L, -1, NULL); /* a position becomes text */
			lua_remove(L, -2);
			luaL_addvalue(buffer);
		} else {
			cl_raise_misuse(
			        L,
			        "string.gsub: invalid use of '%%' in the replacement; write %%%% for a percent sign");
		}
		at++;
	}
}

/* Adds what stands for the match [start, end). */
static void add_replacement(lua_State *L, struct cl_pattern *m, luaL_Buffer *buffer, const char *start, const char *end)
{
	switch (lua_type(L, 3)) {
	case LUA_TFUNCTION: {
		lua_pushvalue(L, 3);
		int count = push_captures(L, m, start, end, true, "gsub");
		lua_call(L, count, 1);
		break;
	}
	case LUA_TTABLE:
		push_capture(L, m, 0, start, end, "gsub");
		lua_gettable(L, 3);
		break;
	default:
		add_template(L, m, buffer, start, end);
		return;
	}
	if (!lua_toboolean(L, -1)) {
		lua_pop(L, 1);
		luaL_addlstring(buffer, start, (size_t)(end - start));
		return;
	}
	if (!lua_isstring(L, -1))
		cl_raise_misuse(L, "string.gsub: the replacement is a %s, not text", luaL_typename(L, -1));
	luaL_addvalue(buffer);
}

static int gsub(lua_State *L)
{
	struct cl_pattern m;
	prepare(L, &m, "gsub", 1, 2);
	int kind = lua_type(L, 3);
	if (kind != LUA_TNUMBER && kind != LUA_TSTRING && kind != LUA_TTABLE && kind != LUA_TFUNCTION)
		return cl_raise_misuse(L, "string.gsub: the replacement must be text, a table or a function, not %s",
		                       luaL_typename(L, 3));
	if (kind == LUA_TNUMBER) {
		luaL_tolstring(L, 3, NULL);
		lua_replace(L, 3);
	}
	lua_Integer most = luaL_optinteger(L, 4, m.text_end - m.text + 1), count = 0;
	check_text(L, &m, "gsub");
	bool anchored = strip_anchor(&m);
	const char *at = m.text, *last = NULL;
	luaL_Buffer buffer;
	luaL_buffinit(L, &buffer);
	while (count < most) {
		const char *end = try_at(L, &m, at, "gsub");
		if (end && end != last) {
			count++;
			add_replacement(L, &m, &buffer, at, end);
			at = last = end;
			if (luaL_bufflen(&buffer) > CL_LUA_TEXT)
				return cl_raise_misuse(L, "string.gsub: the result is larger than %zu bytes",
				                       CL_LUA_TEXT);
			cl_poll(L);
		} else if (at < m.text_end) {
			luaL_addchar(&buffer, *at++);
		} else {
			break;
		}
		if (anchored)
			break;
	}
	luaL_addlstring(&buffer, at, (size_t)(m.text_end - at));
	luaL_pushresult(&buffer);
	lua_pushinteger(L, count);
	return 2;
}

void cl_library_match(lua_State *L)
{
	static const luaL_Reg functions[] = {
	        {"find", find}, {"match", match}, {"gmatch", gmatch}, {"gsub", gsub}, {NULL, NULL},
	};
	luaL_setfuncs(L, functions, 0);
}
