/* library_string.c: the string functions that need no patterns. What they make is bounded, because no hook runs in them. */
#include "org/lua/internal.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>

/* A place in a text as Lua counts: from 1, negative from the end; before the beginning is 1. */
static size_t first_place(lua_Integer place, size_t n)
{
	if (place > 0)
		return (size_t)place;
	if (place == 0 || place < -(lua_Integer)n)
		return 1;
	return n + (size_t)place + 1;
}

static size_t last_place(lua_Integer place, size_t n)
{
	if (place > (lua_Integer)n)
		return n;
	if (place >= 0)
		return (size_t)place;
	return place < -(lua_Integer)n ? 0 : n + (size_t)place + 1;
}

static int length(lua_State *L)
{
	size_t n;
	luaL_checklstring(L, 1, &n);
	lua_pushinteger(L, (lua_Integer)n);
	return 1;
}

static int sub(lua_State *L)
{
	size_t n;
	const char *text = luaL_checklstring(L, 1, &n);
	size_t first = first_place(luaL_checkinteger(L, 2), n), last = last_place(luaL_optinteger(L, 3, -1), n);
	if (first > last)
		lua_pushliteral(L, "");
	else
		lua_pushlstring(L, text + first - 1, last - first + 1);
	return 1;
}

static int each_byte(lua_State *L, int (*change)(int))
{
	size_t n;
	const char *text = luaL_checklstring(L, 1, &n);
	luaL_Buffer buffer;
	char *out = luaL_buffinitsize(L, &buffer, n);
	for (size_t i = 0; i < n; i++)
		out[i] = (char)change((unsigned char)text[i]);
	luaL_pushresultsize(&buffer, n);
	return 1;
}

/* ASCII letters only, whatever the process's locale. */
static int to_lower(int c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

static int to_upper(int c)
{
	return c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c;
}

static int lower(lua_State *L)
{
	return each_byte(L, to_lower);
}

static int upper(lua_State *L)
{
	return each_byte(L, to_upper);
}

static int reverse(lua_State *L)
{
	size_t n;
	const char *text = luaL_checklstring(L, 1, &n);
	luaL_Buffer buffer;
	char *out = luaL_buffinitsize(L, &buffer, n);
	for (size_t i = 0; i < n; i++)
		out[i] = text[n - 1 - i];
	luaL_pushresultsize(&buffer, n);
	return 1;
}

/* Attack: ("").rep("", 1 << 62) runs for ever without making a byte. */
static int repeat(lua_State *L)
{
	size_t n, between;
	const char *text = luaL_checklstring(L, 1, &n);
	lua_Integer count = luaL_checkinteger(L, 2);
	const char *separator = luaL_optlstring(L, 3, "", &between);
	if (count <= 0 || n + between == 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	if ((lua_Unsigned)count > CL_LUA_TEXT || (n + between) > CL_LUA_TEXT / (size_t)count)
		return cl_raise_misuse(L, "string.rep: the result would be larger than %zu bytes", CL_LUA_TEXT);
	size_t total = n * (size_t)count + between * (size_t)(count - 1);
	luaL_Buffer buffer;
	char *out = luaL_buffinitsize(L, &buffer, total);
	if (n)
		memcpy(out, text, n);
	if (count > 1 && between)
		memcpy(out + n, separator, between);
	/* What stands there is a whole number of periods: copied again and again it doubles. */
	for (size_t filled = n + between; count > 1 && filled < total; filled *= 2)
		memcpy(out + filled, out, filled < total - filled ? filled : total - filled);
	luaL_pushresultsize(&buffer, total);
	return 1;
}

static int byte(lua_State *L)
{
	size_t n;
	const char *text = luaL_checklstring(L, 1, &n);
	lua_Integer from = luaL_optinteger(L, 2, 1);
	size_t first = first_place(from, n), last = last_place(luaL_optinteger(L, 3, (lua_Integer)first), n);
	if (first > last)
		return 0;
	if (last - first >= CL_LUA_LIST)
		return cl_raise_misuse(L, "string.byte: more than %d bytes at once", CL_LUA_LIST);
	int count = (int)(last - first + 1);
	luaL_checkstack(L, count, "string.byte");
	for (size_t i = first; i <= last; i++)
		lua_pushinteger(L, (unsigned char)text[i - 1]);
	return count;
}

static int character(lua_State *L)
{
	int n = lua_gettop(L);
	luaL_Buffer buffer;
	char *out = luaL_buffinitsize(L, &buffer, (size_t)n);
	for (int i = 1; i <= n; i++) {
		lua_Integer code = luaL_checkinteger(L, i);
		luaL_argcheck(L, code >= 0 && code <= 255, i, "value out of range");
		out[i - 1] = (char)code;
	}
	luaL_pushresultsize(&buffer, (size_t)n);
	return 1;
}

/* ---- format ---- */

/* "%-08.3f" without its letter: flags, width, precision. */
struct specification {
	char text[16]; /* with room for "ll" and the letter */
	size_t n;
	bool has_precision, left;
	int width, precision;
};

static const char *two_digits(const char *at, const char *end, int *out)
{
	*out = 0;
	for (int i = 0; i < 2 && at < end && isdigit((unsigned char)*at); i++)
		*out = *out * 10 + (*at++ - '0');
	return at;
}

/* `at` after the "%". Returns the place of the letter. */
static const char *read_specification(lua_State *L, const char *at, const char *end, struct specification *out)
{
	const char *start = at;
	memset(out, 0, sizeof *out);
	while (at < end && *at && strchr("-+ #0", *at)) {
		out->left |= *at == '-';
		at++;
	}
	at = two_digits(at, end, &out->width);
	if (at < end && *at == '.') {
		out->has_precision = true;
		at = two_digits(at + 1, end, &out->precision);
	}
	out->n = (size_t)(at - start) + 1;
	if (out->n > 12 || at >= end)
		cl_raise_misuse(L, "string.format: '%%%.*s' is no complete conversion",
		                (int)(end - start > 12 ? 12 : end - start), start);
	out->text[0] = '%';
	memcpy(out->text + 1, start, out->n - 1);
	return at;
}

static void add_number(lua_State *L, luaL_Buffer *buffer, struct specification *s, char letter, int argument)
{
	/* The largest: %99.99f of -1.8e308. */
	char *out = luaL_prepbuffsize(buffer, 512);
	int n;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (strchr("diuoxX", letter)) {
		memcpy(s->text + s->n, "ll", 2);
		s->text[s->n + 2] = letter;
		n = snprintf(out, 512, s->text, (long long)luaL_checkinteger(L, argument));
	} else if (letter == 'c') {
		s->text[s->n] = letter;
		n = snprintf(out, 512, s->text, (int)(unsigned char)luaL_checkinteger(L, argument));
	} else {
		s->text[s->n] = letter;
		n = snprintf(out, 512, s->text, luaL_checknumber(L, argument));
	}
#pragma GCC diagnostic pop
	luaL_addsize(buffer, n < 0 ? 0 : (size_t)n < 512 ? (size_t)n : 511);
}

static void add_padding(luaL_Buffer *buffer, int width, size_t n)
{
	for (size_t i = n; i < (size_t)width; i++)
		luaL_addchar(buffer, ' ');
}

static void add_text(lua_State *L, luaL_Buffer *buffer, const struct specification *s, int argument)
{
	size_t n;
	cl_push_text(L, argument, &n);
	/* Below the text lies the buffer, which luaL_addvalue and friends want on top: the text goes into the argument's place. */
	lua_replace(L, argument);
	const char *text = lua_tolstring(L, argument, &n);
	if (s->has_precision && (size_t)s->precision < n)
		n = (size_t)s->precision;
	if (!s->left)
		add_padding(buffer, s->width, n);
	luaL_addlstring(buffer, text, n);
	if (s->left)
		add_padding(buffer, s->width, n);
}

static void add_quoted(lua_State *L, luaL_Buffer *buffer, int argument)
{
	size_t n;
	const char *text = luaL_checklstring(L, argument, &n);
	luaL_addchar(buffer, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '"' || c == '\\' || c == '\n') {
			luaL_addchar(buffer, '\\');
			luaL_addchar(buffer, (char)c);
		} else if (iscntrl(c)) {
			char code[8];
			bool digit_follows = i + 1 < n && isdigit((unsigned char)text[i + 1]);
			snprintf(code, sizeof code, digit_follows ? "\\%03d" : "\\%d", c);
			luaL_addstring(buffer, code);
		} else {
			luaL_addchar(buffer, (char)c);
		}
	}
	luaL_addchar(buffer, '"');
}

static int format(lua_State *L)
{
	size_t n;
	int arguments = lua_gettop(L), argument = 1;
	const char *at = luaL_checklstring(L, 1, &n), *end = at + n;
	luaL_Buffer buffer;
	luaL_buffinit(L, &buffer);
	while (at < end) {
		if (luaL_bufflen(&buffer) > CL_LUA_TEXT)
			return cl_raise_misuse(L, "string.format: the result is larger than %zu bytes", CL_LUA_TEXT);
		if (*at != '%') {
			luaL_addchar(&buffer, *at++);
			continue;
		}
		if (++at < end && *at == '%') {
			luaL_addchar(&buffer, *at++);
			continue;
		}
		struct specification specification;
		at = read_specification(L, at, end, &specification);
		char letter = *at++;
		if (++argument > arguments)
			return luaL_argerror(L, argument, "no value");
		if (letter == 's')
			add_text(L, &buffer, &specification, argument);
		else if (letter == 'q')
			add_quoted(L, &buffer, argument);
		else if (letter && strchr("diuoxXcaAeEfFgG", letter))
			add_number(L, &buffer, &specification, letter, argument);
		else
			return cl_raise_misuse(L, "string.format: there is no conversion '%%%c' here", letter);
	}
	luaL_pushresult(&buffer);
	return 1;
}

void cl_library_string(lua_State *L)
{
	static const luaL_Reg functions[] = {
	        {"len", length}, {"sub", sub},   {"lower", lower},    {"upper", upper},   {"reverse", reverse},
	        {"rep", repeat}, {"byte", byte}, {"char", character}, {"format", format}, {NULL, NULL},
	};
	luaL_newlib(L, functions);
	cl_library_match(L);
}
