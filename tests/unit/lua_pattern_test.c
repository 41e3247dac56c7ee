/* lua_pattern_test.c: our matcher against the stock string library: the same results, captures and refusals on random patterns
 * and texts; and its budget of steps. */
#include "org/lua/internal.h"
#include "org/lua/pattern.h"
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t dice = 88172645463325252u;

static unsigned throw_dice(unsigned n)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)(dice % n);
}

struct pair {
	lua_State *stock;
	struct cl_lua ours;
};

static void open_pair(struct pair *pair)
{
	struct cl_err e = {0};
	*pair = (struct pair){.stock = luaL_newstate()};
	luaL_openlibs(pair->stock);
	pair->ours.limits = (struct cl_lua_limits){.memory = 64u << 20, .pattern_steps = 1000000};
	assert_int_equal(cl_sandbox_open(&pair->ours, &e), 0);
	/* The sandbox's string library as a global, as in the stock state. */
	cl_sandbox_push_environment(pair->ours.state);
	lua_getfield(pair->ours.state, -1, "string");
	lua_setglobal(pair->ours.state, "string");
	lua_getfield(pair->ours.state, -1, "pcall");
	lua_setglobal(pair->ours.state, "pcall");
	lua_getfield(pair->ours.state, -1, "tostring");
	lua_setglobal(pair->ours.state, "tostring");
	lua_pop(pair->ours.state, 1);
}

static void close_pair(struct pair *pair)
{
	lua_close(pair->stock);
	cl_sandbox_close(&pair->ours);
}

/* Everything that the four functions give for a text and a pattern, as one text. Errors become "!". */
static const char probe[] =
        "local text, pattern, init, plain, replacement = ...\n"
        "local out = {}\n"
        "local function add(...)\n"
        "	local n = 0\n"
        "	for _, value in ipairs { ... } do n = n + 1 end\n"
        "	out[#out + 1] = '|'\n"
        "	local args = { ... }\n"
        "	for i = 1, 40 do if args[i] == nil then break end out[#out + 1] = tostring(args[i]) .. ',' end\n"
        "	if args[1] == false then out[#out] = '!' end\n"
        "end\n"
        "add(pcall(string.find, text, pattern, init, plain))\n"
        "add(pcall(string.match, text, pattern, init))\n"
        "add(pcall(string.gsub, text, pattern, replacement))\n"
        "add(pcall(string.gsub, text, pattern, replacement, 2))\n"
        "add(pcall(string.gsub, text, pattern, function (a, b) if b then return b end return a and a ~= '' and '<' .. "
        "a .. '>' end))\n"
        "add(pcall(string.gsub, text, pattern, { a = 'A', b = 1, ab = false }))\n"
        "add(pcall(function ()\n"
        "	local n = 0\n"
        "	for a, b, c in string.gmatch(text, pattern) do\n"
        "		add(true, a, b or 'nil', c or 'nil')\n"
        "		n = n + 1\n"
        "		if n > 60 then break end\n"
        "	end\n"
        "end))\n"
        "local all = ''\n"
        "for i = 1, #out do all = all .. out[i] end\n"
        "return all\n";

static void load_probe(lua_State *L)
{
	/* ipairs and tostring are in both. */
	if (L && luaL_loadbufferx(L, probe, sizeof probe - 1, "=probe", "t"))
		fail_msg("%s", lua_tostring(L, -1));
	lua_setglobal(L, "probe");
}

static const char *ask(lua_State *L, const char *text, size_t n, const char *pattern, size_t pattern_n, int init,
                       bool plain, const char *replacement)
{
	lua_settop(L, 0);
	lua_getglobal(L, "probe");
	lua_pushlstring(L, text, n);
	lua_pushlstring(L, pattern, pattern_n);
	lua_pushinteger(L, init);
	lua_pushboolean(L, plain);
	lua_pushstring(L, replacement);
	if (lua_pcall(L, 5, 1, 0))
		fail_msg("%s (pattern %.*s)", lua_tostring(L, -1), (int)pattern_n, pattern);
	return lua_tostring(L, -1);
}

static const char *const pieces[] = {
        "a",      "b",
        "c",      ".",
        "%a",     "%d",
        "%w",     "%s",
        "%A",     "%p",
        "%.",     "%%",
        "%z",     "[ab]",
        "[^a]",   "[a-c]",
        "[%a_]",  "[]]",
        "[^]]",   "[a-]",
        "[%]]",   "[-a]",
        "*",      "+",
        "-",      "?",
        "(",      ")",
        "()",     "^",
        "$",      "%1",
        "%2",     "%b()",
        "%bab",   "%f[%a]",
        "%f[^a]", "[",
        "%",      "%f",
        "%b",     "x",
        "1",      " ",
        "[%d-]",  "(a*(.)%w(%s*))",
        "[a-%a]",
};
static const char alphabet[] = "aabbcab() 1x.-]%";

static size_t make_pattern(char *out)
{
	size_t n = 0;
	unsigned count = 1 + throw_dice(7);
	for (unsigned i = 0; i < count; i++) {
		const char *piece = pieces[throw_dice(sizeof pieces / sizeof *pieces)];
		memcpy(out + n, piece, strlen(piece));
		n += strlen(piece);
		if (throw_dice(3) == 0)
			out[n++] = "*+-?"[throw_dice(4)];
	}
	if (throw_dice(50) == 0)
		out[throw_dice((unsigned)n)] = 0;
	return n;
}

static void test_same_as_stock(void **state)
{
	(void)state;
	static const char *const replacements[] = {"<%0>", "%1", "x", "%2%1", "%", "%%", "%9", ""};
	struct pair pair;
	open_pair(&pair);
	/* What the probe uses besides. */
	cl_sandbox_push_environment(pair.ours.state);
	lua_getfield(pair.ours.state, -1, "ipairs");
	lua_setglobal(pair.ours.state, "ipairs");
	lua_pop(pair.ours.state, 1);
	load_probe(pair.stock);
	load_probe(pair.ours.state);
#ifdef CL_SANITIZE
	const int cases = 20000;
#else
	const int cases = 60000;
#endif
	for (int i = 0; i < cases; i++) {
		char pattern[200], text[24];
		size_t n = throw_dice(14), pattern_n = make_pattern(pattern);
		for (size_t k = 0; k < n; k++)
			text[k] = throw_dice(60) == 0 ? 0 : alphabet[throw_dice(sizeof alphabet - 1)];
		int init = (int)throw_dice(8) - 3;
		bool plain = throw_dice(10) == 0;
		const char *replacement = replacements[throw_dice(sizeof replacements / sizeof *replacements)];
		const char *stock = ask(pair.stock, text, n, pattern, pattern_n, init, plain, replacement);
		const char *ours = ask(pair.ours.state, text, n, pattern, pattern_n, init, plain, replacement);
		if (strcmp(stock, ours))
			fail_msg("pattern '%.*s' text '%.*s' init %d replacement '%s':\nstock %s\nours  %s",
			         (int)pattern_n, pattern, (int)n, text, init, replacement, stock, ours);
	}
	close_pair(&pair);
}

static void test_steps(void **state)
{
	(void)state;
	char text[2500];
	memset(text, 'a', sizeof text);
	static const char pattern[] = "(.-)(.-)(.-)b";
	struct cl_pattern m = {
	        .text = text,
	        .text_end = text + sizeof text,
	        .pattern = pattern,
	        .pattern_end = pattern + sizeof pattern - 1,
	        .steps = 1000000,
	};
	assert_null(cl_pattern_match(&m, text));
	assert_true(m.exhausted);
	assert_non_null(m.problem);
	assert_true(m.steps < 0);
	/* A linear one over the longest text is far below the budget. */
	static char long_text[CL_PATTERN_TEXT];
	memset(long_text, 'x', sizeof long_text);
	static const char linear[] = "[%w ]*$";
	m = (struct cl_pattern){
	        .text = long_text,
	        .text_end = long_text + sizeof long_text,
	        .pattern = linear,
	        .pattern_end = linear + sizeof linear - 1,
	        .steps = 1000000,
	};
	assert_ptr_equal(cl_pattern_match(&m, long_text), long_text + sizeof long_text);
}

static void test_plain(void **state)
{
	(void)state;
	assert_true(cl_pattern_is_plain("abc def]", 8));
	assert_true(cl_pattern_is_plain("a\0b", 3));
	assert_false(cl_pattern_is_plain("a.b", 3));
	assert_false(cl_pattern_is_plain("a\0%", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_same_as_stock),
	        cmocka_unit_test(test_steps),
	        cmocka_unit_test(test_plain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
