/* lua_view_test.c: resources as plugins see them: reading, private copies, values that move under views, and back to JSON. */
#include "org/lua/internal.h"
#include "support/lua_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* Every expression is run with `r`, a view of this. */
static const char resource[] = "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":true,\"multipleBirthInteger\":3,"
                               "\"name\":[{\"family\":\"Rivera\",\"given\":["
                               "\"Ana\",\"Lu\"]},{\"family\":\"R\"}],\"extension\":[{\"url\":\"u\",\"valueDecimal\":7."
                               "20},{\"url\":\"v\",\"valueDecimal\":1e2}],"
                               "\"_birthDate\":{\"id\":\"b\"},\"contact\":[]}";

struct room {
	struct lua_fixture f;
	struct cl_json *input;
};

static void open_room(struct room *room)
{
	script_open(&room->f);
	script_probe(&room->f, "roles = { x = {} }, operation '$try' { run = function (ctx, r) return nil end }");
	script_load(&room->f);
	script_store(&room->f);
	room->input = script_json(&room->f, resource);
}

struct trial {
	const struct cl_json *input;
	const char *text;
	char out[2000];
	struct cl_json *result;
};

/* Runs "local r = ... <text>" on a view of the input. The result becomes text; a view or table becomes JSON. */
static int run_trial(lua_State *L)
{
	struct trial *trial = lua_touserdata(L, 1);
	char chunk[2000];
	snprintf(chunk, sizeof chunk, "local r = ... %s", trial->text);
	if (luaL_loadbufferx(L, chunk, strlen(chunk), "@trial", "t"))
		return lua_error(L);
	cl_sandbox_push_environment(L);
	lua_setupvalue(L, -2, 1);
	cl_push_view(L, trial->input, CL_STR_NONE, 0);
	lua_call(L, 1, 1);
	if (lua_istable(L, -1) || cl_is_view(L, -1)) {
		struct cl_buf text;
		trial->result = cl_take_json(L, -1, cl_lua_of(L)->frame->unit->arena, "result");
		cl_buf_init(&text, 0);
		cl_json_write(&text, trial->result);
		snprintf(trial->out, sizeof trial->out, "%.*s", (int)text.n, text.p);
		cl_buf_free(&text);
	} else {
		snprintf(trial->out, sizeof trial->out, "%s", cl_push_text(L, -1, NULL));
	}
	return 0;
}

static int try_out(struct room *room, const char *text, struct trial *trial)
{
	*trial = (struct trial){.input = room->input, .text = text};
	script_begin(&room->f);
	struct cl_frame frame = {.unit = &room->f.unit, .plugin = -1};
	int code = cl_call_protected(room->f.lua, &frame, 1000000, CL_STR("trial"), run_trial, trial, &room->f.e);
	script_rollback(&room->f);
	return code;
}

static void gives(struct room *room, const char *text, const char *expected)
{
	struct trial trial;
	if (try_out(room, text, &trial))
		fail_msg("%s: %s", text, room->f.e.message);
	if (strcmp(trial.out, expected))
		fail_msg("%s gives %s, not %s", text, trial.out, expected);
}

static void fails(struct room *room, const char *text, const char *words)
{
	struct trial trial;
	if (!try_out(room, text, &trial))
		fail_msg("%s gives %s, but '%s' was expected", text, trial.out, words);
	script_contains(room->f.e.message, words);
}

/* What the engine holds must look the same after anything a plugin does. */
static void unchanged(struct room *room)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, room->input);
	cl_buf_add_byte(&text, 0);
	assert_string_equal(text.p, resource);
	cl_buf_free(&text);
}

static void test_reading(void **state)
{
	(void)state;
	struct room room;
	open_room(&room);
	gives(&room, "return r.name[1].given[2]", "Lu");
	gives(&room, "return r.multipleBirthInteger + 1", "4");
	gives(&room, "return math.type(r.multipleBirthInteger)", "integer");
	gives(&room, "return r.active and r.missing == nil and r.name[3] == nil and r.name[0] == nil", "true");
	gives(&room, "return #r.name + #r.name[1].given + #r.contact + #r", "4");
	gives(&room, "return r.extension[1].valueDecimal", "7.2");
	gives(&room, "return r.extension[2].valueDecimal", "100.0");
	gives(&room, "return tostring(r)", "Patient/p");
	gives(&room, "return tostring(r.name)", "part of a resource");
	gives(&room, "return type(r) .. type(r.name) .. type(r.id)", "tabletablestring");
	gives(&room, "return r.name == r.name and r.name[1] == r.name[1] and r.name[1] ~= r.name[2] and r ~= r.name",
	      "true");
	gives(&room, "local o = '' for i, n in ipairs(r.name) do o = o .. i .. n.family end return o", "1Rivera2R");
	gives(&room, "local o = '' for i, n in pairs(r.name) do o = o .. i .. n.family end return o", "1Rivera2R");
	gives(&room, "local o = '' for k in pairs(r) do o = o .. k .. ' ' end return o",
	      "_birthDate active contact extension id multipleBirthInteger name resourceType ");
	gives(&room, "local o = '' for k, v in pairs(r.name[1]) do o = o .. k .. type(v) end return o",
	      "familystringgiventable");
	gives(&room, "return table.concat(r.name[1].given, ' ')", "Ana Lu");
	gives(&room, "return select('#', table.unpack(r.name[1].given))", "2");
	gives(&room, "local p = plain(r) p.name[1].family = 'X' return p.name[1].family .. r.name[1].family",
	      "XRivera");
	gives(&room, "return getmetatable(r)", "false");
	gives(&room, "return r[true] == nil and r[1] == nil and r[{}] == nil and r.name.x == nil", "true");
	fails(&room, "return r.name .. 'x'", "attempt to concatenate");
	fails(&room, "return r.missing.x", "attempt to index a nil value (field 'missing')");
	unchanged(&room);
	script_close_all(&room.f);
}

static void test_assigning(void **state)
{
	(void)state;
	struct room room;
	open_room(&room);
	gives(&room, "r.active = false r.name[1].family = 'Y' r.birthDate = '1980-01-01' return r",
	      "{\"resourceType\":\"Patient\",\"id\":\"p\",\"active\":false,\"multipleBirthInteger\":3,\"name\":[{"
	      "\"family\":\"Y\",\"given\":["
	      "\"Ana\",\"Lu\"]},{\"family\":\"R\"}],\"extension\":[{\"url\":\"u\",\"valueDecimal\":7.20},{\"url\":"
	      "\"v\",\"valueDecimal\":"
	      "1e2}],\"_birthDate\":{\"id\":\"b\"},\"contact\":[],\"birthDate\":\"1980-01-01\"}");
	/* Numbers keep their written form unless assigned. */
	gives(&room, "r.extension[2].valueDecimal = r.extension[1].valueDecimal return r.extension",
	      "[{\"url\":\"u\",\"valueDecimal\":7.20},{\"url\":\"v\",\"valueDecimal\":7.2}]");
	gives(&room, "r.extension[2] = r.extension[1] return r.extension",
	      "[{\"url\":\"u\",\"valueDecimal\":7.20},{\"url\":\"u\",\"valueDecimal\":7.20}]");
	gives(&room, "r.name[#r.name + 1] = { family = 'N' } return r.name[3].family .. #r.name", "N3");
	gives(&room, "r.name[2] = nil return #r.name", "1");
	gives(&room, "r.name = nil return r.name == nil", "true");
	gives(&room,
	      "table.insert(r.name, { family = 'Z' }) table.insert(r.name, 1, { family = 'A' }) local o = '' for _, n "
	      "in ipairs(r.name) do "
	      "o = o .. n.family end return o",
	      "ARiveraRZ");
	gives(&room, "local n = table.remove(r.name, 1) return n.family .. #r.name .. r.name[1].family", "Rivera1R");
	gives(&room, "return table.remove(r.contact) == nil", "true");
	gives(&room, "r.contact[1] = { gender = 'female' } return r.contact", "[{\"gender\":\"female\"}]");
	/* {} may become either. */
	gives(&room, "r.note = {} r.note[1] = { text = 'x' } r.more = {} r.more.a = 1 return { r.note, r.more }",
	      "[[{\"text\":\"x\"}],{\"a\":1}]");
	fails(&room, "r.name[5] = { family = 'x' }",
	      "[5] cannot be assigned: the list has 2 elements and grows at its end");
	fails(&room, "r.name[1] = nil", "lists have no holes; use table.remove(list, 1)");
	fails(&room, "r.name.family = 'x'", "'family' cannot be assigned: this is a list, its elements have numbers");
	fails(&room, "r[1] = 'x'", "[1] cannot be assigned: this is no list");
	fails(&room, "r.x = print", "x is a function, which no resource can hold");
	fails(&room, "r[true] = 1", "elements of a resource have names or numbers from 1");
	unchanged(&room);
	script_close_all(&room.f);
}

/* A view keeps showing its value wherever edits move it, as a Lua table would. */
static void test_moving(void **state)
{
	(void)state;
	struct room room;
	open_room(&room);
	gives(&room,
	      "local second = r.name[2] table.insert(r.name, 1, { family = 'A' }) second.family = 'moved' return "
	      "r.name",
	      "[{\"family\":\"A\"},{\"family\":\"Rivera\",\"given\":[\"Ana\",\"Lu\"]},{\"family\":\"moved\"}]");
	gives(&room, "local second = r.name[2] table.remove(r.name, 1) second.family = 'moved' return r.name",
	      "[{\"family\":\"moved\"}]");
	gives(&room, "local first = r.name[1] table.remove(r.name, 1) first.family = 'gone' return { r.name, first }",
	      "[[{\"family\":\"R\"}],{\"family\":\"gone\",\"given\":[\"Ana\",\"Lu\"]}]");
	gives(&room,
	      "local given = r.name[1].given r.name[1] = { family = 'new' } given[1] = 'old' return { r.name[1], given "
	      "}",
	      "[{\"family\":\"new\"},[\"old\",\"Lu\"]]");
	gives(&room,
	      "local name = r.name[1] for i = 1, 40 do r['x' .. i] = { i } name['y' .. i] = i end name.family = 'kept' "
	      "return r.name[1].family .. name.y40 .. r.x40[1]",
	      "kept4040");
	gives(&room,
	      "local views = {} for i = 1, 60 do r.name[#r.name + 1] = { family = 'n' .. i } views[i] = "
	      "r.name[#r.name] end "
	      "for i = 1, 60 do views[i].family = views[i].family .. '!' end table.remove(r.name, 2) return "
	      "r.name[61].family .. "
	      "views[60].family .. r.name[2].family",
	      "n60!n60!n1!");
	gives(&room,
	      "local name = r.name r.name = nil name[1].family = 'apart' return name[1].family .. tostring(r.name)",
	      "apartnil");
	gives(&room, "for k in pairs(r) do r[k] = nil end return r", "{}");
	gives(&room, "r.self = r r.self.self = r return r.self.self.self.id .. tostring(r.self.self.self.self)",
	      "pnil");
	unchanged(&room);
	script_close_all(&room.f);
}

static void test_back_to_json(void **state)
{
	(void)state;
	struct room room;
	open_room(&room);
	gives(&room, "return { b = 1, a = 'x', id = 'i', resourceType = 'T' }",
	      "{\"resourceType\":\"T\",\"id\":\"i\",\"a\":\"x\",\"b\":1}");
	gives(&room, "return { 1, 2.5, 3.0, 1e300, -0.0, 0.1, 1/3, 123456789012345678, 2^53, true, false }",
	      "[1,2.5,3,1e+300,0,0.1,0.3333333333333333,123456789012345678,9007199254740992,true,false]");
	gives(&room, "return { list {}, {}, list { 1 }, { list { list {} } } }", "[[],{},[1],[[[]]]]");
	gives(&room, "return { r.name, r.name[1], r.id }",
	      "[[{\"family\":\"Rivera\",\"given\":[\"Ana\",\"Lu\"]},{\"family\":\"R\"}],{\"family\":\"Rivera\","
	      "\"given\":[\"Ana\",\"Lu\"]},\"p\"]");
	gives(&room, "local shared = { 1 } return { shared, shared }", "[[1],[1]]");
	fails(&room, "return { 1, nil, 3 }", "result is a list with holes");
	fails(&room, "return { 1, x = 2 }", "result mixes names and positions");
	fails(&room, "return { a = { { b = print } } }", "result.a[1].b is a function, which no resource can hold");
	fails(&room, "return { [1.5] = 1 }", "has a key that is neither text nor a whole number");
	fails(&room, "return { '\\xff' }", "result[1] is no UTF-8 text");
	fails(&room, "return { ['a\\0'] = 1 }", "is no UTF-8 text");
	fails(&room, "return { 1/0 }", "result[1] is no finite number");
	fails(&room, "return { ctx = print }", "result.ctx is a function");
	fails(&room, "local t = {} t.t = t return t", "nested too deep (or contains itself)");
	fails(&room, "return list(setmetatable({}, {}))", "has a metatable already");
	unchanged(&room);
	script_close_all(&room.f);
}

/* A view that outlives its call is refused, not read. */
static void test_generation(void **state)
{
	(void)state;
	struct lua_fixture f;
	script_open(&f);
	script_file(&f, "services/probe/kept.lua", "return {}");
	script_file(&f, "services/probe/plugin.lua",
	            "local kept = require 'kept'\n"
	            "return plugin { name = 'probe', api = 1, summary = 'x', every('07:00', 'daily', function (ctx)\n"
	            "	if kept.patient then return kept.patient.name end\n"
	            "	kept.patient = ctx:read(ctx:create { resourceType = 'Patient', name = { { family = 'x' } } })\n"
	            "	assert(kept.patient.name[1].family == 'x')\n"
	            "end) }");
	script_load(&f);
	script_store(&f);
	assert_int_equal(script_recur(&f, 0), 0);
	assert_int_equal(script_recur(&f, 0), CL_E_PLUGIN);
	script_contains(f.e.message, "this resource was used after its request ended");
	script_contains(f.e.where, "services/probe/plugin.lua:3");
	script_close_all(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_reading),      cmocka_unit_test(test_assigning),  cmocka_unit_test(test_moving),
	        cmocka_unit_test(test_back_to_json), cmocka_unit_test(test_generation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
