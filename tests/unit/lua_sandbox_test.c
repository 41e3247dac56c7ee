/* lua_sandbox_test.c: the library that plugins see, its fixed order and its determinism, the console, and what happens when
 * memory ends anywhere. */
#include "org/lua/internal.h"
#include "support/lua_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void open_plain(struct lua_fixture *f)
{
	script_open(f);
	script_load(f);
	script_store(f);
}

struct expectation {
	const char *text, *expected;
};

static void check_all(struct lua_fixture *f, const struct expectation *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		script_is(f, list[i].text, list[i].expected);
}

#define CHECK(fixture, list) check_all(fixture, list, sizeof list / sizeof *list)

static void test_pairs(void **state)
{
	(void)state;
	static const struct expectation list[] = {
	        {"local o = '' for k in pairs { 10, 20, z = 1, a = 2, [2.5] = 3, [-1] = 4, [true] = 5, [false] = 6, "
	         "[4] = 7, m = 8 } do "
	         "o = o .. tostring(k) .. ' ' end return o",
	         "1 2 -1 2.5 4 a m z false true "},
	        {"local o = '' for k, v in pairs { 'a', 'b', nil, 'd' } do o = o .. k .. v end return o", "1a2b4d"},
	        /* Removing on the way is allowed; what comes new is not visited. */
	        {"local t, o = { a = 1, b = 2, c = 3 }, '' for k in pairs(t) do o = o .. k t.b = nil t.d = 4 end "
	         "return o",
	         "ac"},
	        {"local t, o = { 1, 2, 3, 4 }, '' for k in pairs(t) do o = o .. k t[3] = nil end return o", "124"},
	        {"local n = 0 for _ in pairs {} do n = n + 1 end return n", "0"},
	        {"local t = setmetatable({}, { __pairs = function () return function (_, k) return not k and 1 or nil, "
	         "'v' end, {}, nil "
	         "end }) local o = '' for k, v in pairs(t) do o = o .. k .. v end return o",
	         "1v"},
	        {"pcall(pairs, nil)", "false\nconsole:1: pairs: expected a table, not nil"},
	        /* Bytewise, whatever the language. */
	        {"local o = '' for k in pairs { ['\\xc3\\xa4'] = 1, z = 1, Z = 1, [''] = 1, a = 1, aa = 1 } do o = o "
	         ".. k .. ',' end return o",
	         ",Z,a,aa,z,\xc3\xa4,"},
	        {"local t = {} for i = 1, 1000 do t['k' .. i] = i end local last, ok = '', true for k in pairs(t) do "
	         "ok = ok and last < k "
	         "last = k end return ok",
	         "true"},
	        {"local o = '' for k in pairs(math) do o = o .. k:sub(1, 1) end return #o > 20", "true"},
	};
	struct lua_fixture f;
	open_plain(&f);
	CHECK(&f, list);
	script_close_all(&f);
}

static void test_basics(void **state)
{
	(void)state;
	static const struct expectation list[] = {
	        {"tostring(1.5), tostring(10), tostring(1e15), tostring(-0.0), tostring(nil), tostring(true)",
	         "1.5\n10\n1e+15\n-0.0\nnil\ntrue"},
	        {"tostring({}), tostring(print), tostring(ctx)", "table\nfunction\nctx"},
	        {"tostring(setmetatable({}, { __tostring = function () return 'me' end }))", "me"},
	        {"type({}), type(1), type('x'), type(nil), type(print), type(ctx)",
	         "table\nnumber\nstring\nnil\nfunction\nuserdata"},
	        {"select('#', pcall(error))", "2"},
	        {"pcall(error, { code = 1 })", "false\n{ code = 1 }"},
	        {"pcall(function () error('x', 0) end)", "false\nx"},
	        {"pcall(function () error('x') end)", "false\nconsole:1: x"},
	        {"xpcall(function (a, b) return a + b end, print, 1, 2)", "true\n3"},
	        {"xpcall(error, function (e) return 'seen ' .. e, 2 end, 'x')", "false\nseen x\n2"},
	        {"select(2, pcall(function () local x <close> = setmetatable({}, { __close = function () "
	         "error('closing', 0) end }) end))",
	         "closing"},
	        {"rawget({ a = 1 }, 'a'), rawlen { 1, 2 }, rawequal('a', 'a'), #rawset({}, 1, 'x')", "1\n2\ntrue\n1"},
	        {"tonumber('0x10'), tonumber('z', 36), tonumber('x')", "16\n35\nnil"},
	        {"getmetatable('')", "false"},
	        {"('x'):rep(3, ','), ('abc'):upper(), ('ABC'):lower(), ('abc'):reverse(), ('abc'):sub(-2), "
	         "('abc'):len()",
	         "x,x,x\nABC\nabc\ncba\nbc\n3"},
	        {"('abc'):byte(1, -1)", "97\n98\n99"},
	        {"('abc'):byte(10)", ""},
	        {"string.char(), string.char(72, 105)", "\nHi"},
	        {"('abc'):sub(2, 100), ('abc'):sub(0), ('abc'):sub(3, 2), ('abc'):sub(math.mininteger, "
	         "math.maxinteger)",
	         "bc\nabc\n\nabc"},
	        {"('ab'):rep(0), ('ab'):rep(-1), ('ab'):rep(1, 'x'), ('ab'):rep(2, 'xy')", "\n\nab\nabxyab"},
	        {"math.floor(2.7), math.max(1, 5, 3), math.tointeger(3.0), math.type(1), 7 // 2, 7 % 3, 2 ^ 10",
	         "2\n5\n3\ninteger\n3\n1\n1024"},
	        {"utf8.len('\\xc3\\xa4x'), utf8.char(228)", "2\n\xc3\xa4"},
	        {"table.concat({ 1, 'b', 2.5 }, '-'), table.concat({}, 'x'), table.concat({ 1, 2, 3 }, ',', 2, 3)",
	         "1-b-2.5\n\n2,3"},
	        {"local t = { 1, 2 } table.insert(t, 3) table.insert(t, 1, 0) return table.concat(t, ' '), "
	         "table.remove(t), table.remove(t, 1), #t",
	         "0 1 2 3\n3\n0\n2"},
	        {"table.unpack({ 1, 2, 3 }, 2)", "2\n3"},
	        {"table.pack(1, nil, 3).n, select('#', table.unpack({ n = 3 }, 1, 3))", "3\n3"},
	        {"table.concat(table.move({ 1, 2, 3, 4 }, 1, 3, 2), ' ')", "1 1 2 3"},
	        {"table.concat(table.move({ 1, 2, 3, 4 }, 2, 4, 1), ' ')", "2 3 4 4"},
	        {"local t = { 3, 1, 2 } table.sort(t) return table.concat(t, ' ')", "1 2 3"},
	        {"local t = { 'b', 'a', 'c' } table.sort(t, function (a, b) return a > b end) return table.concat(t, ' "
	         "')",
	         "c b a"},
	        /* Stable. */
	        {"local t = {} for i = 1, 100 do t[i] = { i % 3, i } end table.sort(t, function (a, b) return a[1] < "
	         "b[1] end) "
	         "local ok = true for i = 2, 100 do ok = ok and (t[i - 1][1] < t[i][1] or t[i - 1][2] < t[i][2]) end "
	         "return ok",
	         "true"},
	        {"pcall(table.sort, { 1, 'x' })", "false\nattempt to compare string with number"},
	        {"select('#', 1, 2, 3), select(-1, 1, 2, 3)", "3\n3"},
	        {"plain { 1 }[1], plain(5), plain('x')", "1\n5\nx"},
	        {"1, nil, 'x'", "1\nnil\nx"},
	        {"{ 1, 2, { a = 'b', ['c d'] = 1.5 } }", "{ 1, 2, { a = \"b\", [\"c d\"] = 1.5 } }"},
	        {"local x = 1", ""},
	        {"for i = 1, 2 do print('line', i) end", "line\t1\nline\t2"},
	};
	struct lua_fixture f;
	open_plain(&f);
	CHECK(&f, list);
	script_close_all(&f);
}

static void test_format(void **state)
{
	(void)state;
	static const struct expectation list[] = {
	        {"string.format('%d %5d|%-5d|%05d %+d', 1, 2, 3, 4, 5)", "1     2|3    |00004 +5"},
	        {"string.format('%d', 3.0)", "3"},
	        {"string.format('%s %10s|%-10s|%.2s', 'a', 'b', 'c', 'defg')", "a          b|c         |de"},
	        {"string.format('%.2f %g %e %a', 1.005, 0.1, 12345.678, 1)", "1.00 0.1 1.234568e+04 0x1p+0"},
	        {"string.format('%x %X %o %c %i %u', 255, 255, 8, 65, 7, 8)", "ff FF 10 A 7 8"},
	        {"string.format('%q', 'a\"b\\nc\\0d')", "\"a\\\"b\\\nc\\0d\""},
	        {"string.format('%% %s %s', {}, nil)", "% table nil"},
	        {"string.format('%5.1f|%-8.3f|', 3.14159, 2.5)", "  3.1|2.500   |"},
	        {"pcall(string.format, '%d', 1.5)",
	         "false\nbad argument #2 to '?' (number has no integer representation)"},
	        {"pcall(string.format, '%d')", "false\nbad argument #2 to '?' (no value)"},
	        {"pcall(string.format, '%')", "false\nconsole:1: string.format: '%' is no complete conversion"},
	        {"pcall(string.format, '%100d', 1)",
	         "false\nconsole:1: string.format: there is no conversion '%0' here"},
	        {"#string.format('%99.99f', -1.7e308)", "410"},
	};
	struct lua_fixture f;
	open_plain(&f);
	CHECK(&f, list);
	script_close_all(&f);
}

static void test_random(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_plain(&f);
	script_is(
	        &f,
	        "local ok = true for i = 1, 1000 do local x = math.random() ok = ok and x >= 0 and x < 1 end return ok",
	        "true");
	script_is(&f, "local seen = {} for i = 1, 1000 do seen[math.random(6)] = true end return #seen", "6");
	script_is(&f,
	          "math.random(3, 3), math.type(math.random(0)), math.random(math.mininteger, math.maxinteger) ~= nil",
	          "3\ninteger\ntrue");
	/* Another event, other numbers; the same event again, the same ones. */
	const char *first = script_do(&f, "math.random(1 << 40)"), *second = script_do(&f, "math.random(1 << 40)");
	assert_string_not_equal(first, second);
	f.inputs -= 2;
	assert_string_equal(script_do(&f, "math.random(1 << 40)"), first);
	script_close_all(&f);
}

/* What depends on the order of keys, on ids and on random numbers, 40 times in fresh states. */
static const char unordered[] =
        "every('07:00', 'daily', function (ctx)\n"
        "	local bag, out = {}, {}\n"
        "	for i = 1, 50 do bag['key' .. math.random(1000)] = i end\n"
        "	bag[1.5], bag[true], bag[7] = 'x', 'y', 'z'\n"
        "	for key, value in pairs(bag) do out[#out + 1] = tostring(key) .. tostring(value) .. tostring(print) .. "
        "tostring({}) end\n"
        "	table.sort(out, function (a, b) return #a < #b end)\n"
        "	local reference = ctx:create { resourceType = 'Basic', code = { text = table.concat(out, ' ') } }\n"
        "	ctx:refuse(reference .. ' ' .. ctx:read(reference).code.text)\n"
        "end)";

static void test_determinism(void **state)
{
	(void)state;
	struct lua_fixture f;
	char first[sizeof f.e.message] = "";
	script_open(&f);
	script_probe(&f, unordered);
	script_store(&f);
	for (int i = 0; i < 40; i++) {
		script_load(&f);
		f.inputs = 0;
		assert_int_equal(script_recur(&f, 0), CL_E_RULE);
		if (i == 0)
			memcpy(first, f.e.message, sizeof first);
		assert_string_equal(f.e.message, first);
		cl_lua_close(f.lua);
		f.lua = NULL;
	}
	script_contains(first, "Basic/");
	script_close_all(&f);
}

/* What the console assigned is gone with the line; what it refuses says where. */
static void test_console(void **state)
{
	(void)state;
	struct lua_fixture f;
	struct cl_buf out;
	open_plain(&f);
	script_is(&f, "x = 5 return x", "5");
	script_refused(&f, "return x", "unknown name 'x'");
	script_refused(&f, "1 +", "unexpected symbol near <eof>");
	script_refused(&f, "nonsense nonsense", "syntax error");
	script_refused(&f, "ctx:reed('Patient/x')", "ctx has no 'reed'; did you mean 'read'?");
	cl_buf_init(&out, 0);
	script_begin(&f);
	assert_int_equal(
	        cl_lua_evaluate(f.lua, &f.unit, CL_STR("ctx:create { resourceType = 'Basic' }"), false, &out, &f.e),
	        CL_E_PLUGIN);
	script_contains(f.e.message, "nothing can be changed here");
	script_rollback(&f);
	cl_buf_free(&out);
	script_is(&f, "ctx:log('seen')", "seen");
	script_close_all(&f);
}

/* Memory ends at every place of loading and of running: nothing leaks, nothing crashes, and the message says so. */
static void test_memory_ends_anywhere(void **state)
{
	(void)state;
	size_t step = 2 * 1024, loads = 0, limit;
	for (limit = 4 * 1024; loads < 3 && limit < 4u << 20; limit += step) {
		struct lua_fixture f;
		script_open(&f);
		f.limits.memory = limit;
		script_probe(
		        &f,
		        "settings = { a = { type = 'duration', default = '1 day' } },\n"
		        "roles = { x = { summary = 'X', allow = { { 'read', types = { 'Patient' } } } } },\n"
		        "workflow 'w' { start = 's', s = { status = 'requested', owner = 'x', within = setting 'a',\n"
		        "on = { e = 't' } }, t = { status = 'completed', final = true } },\n"
		        "every('07:00', 'daily', function (ctx) local t = {} for i = 1, 200 do t['k' .. i] = { i } "
		        "end\n"
		        "for k, v in pairs(t) do t[k] = k .. v[1] end end)");
		int code = cl_lua_open(f.archive, &f.limits, NULL, &f.lua, &f.problems, &f.e);
		if (code == 0) {
			loads++;
		} else {
			assert_true(code == CL_E_LIMIT || code == CL_E_MEMORY);
			assert_null(f.lua);
		}
		script_close_all(&f);
	}
	assert_true(loads == 3);
	/* And while a function runs, with little left above what the plugins hold. */
	size_t finished = 0;
	for (size_t spare = 0; finished < 3 && spare < 512 * 1024; spare += 400) {
		struct lua_fixture f;
		script_open(&f);
		script_probe(
		        &f,
		        "every('07:00', 'daily', function (ctx) local t = {} for i = 1, 100 do t['k' .. i] = { i } "
		        "end\n"
		        "for k, v in pairs(t) do t[k] = k .. v[1] end\n"
		        "local p = ctx:create { resourceType = 'Patient', name = { { family = ('x'):rep(3000) } } }\n"
		        "local r = ctx:read(p) r.name[1].given = { 'a', 'b' } ctx:update(r)\n"
		        "pcall(ctx.search, ctx, 'Patient', { name = 'x' }) end)");
		script_load(&f);
		script_store(&f);
		f.lua->limits.memory = cl_lua_memory(f.lua) + spare;
		int code = script_recur(&f, 0);
		if (code && code != CL_E_LIMIT)
			fail_msg("%d %s", code, f.e.message);
		finished += code == 0;
		assert_true(cl_lua_memory(f.lua) <= f.lua->limits.memory);
		f.lua->limits.memory = 64u << 20;
		script_is(&f, "1 + 1", "2");
		script_close_all(&f);
	}
	assert_true(finished == 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pairs),
	        cmocka_unit_test(test_basics),
	        cmocka_unit_test(test_format),
	        cmocka_unit_test(test_random),
	        cmocka_unit_test(test_determinism),
	        cmocka_unit_test(test_console),
	        cmocka_unit_test(test_memory_ends_anywhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
