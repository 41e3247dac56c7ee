/* lua_ctx_test.c: every call of ctx: what it gives, what it refuses and in which words, and that a failed change is final. */
#include "org/fhir/types.h"
#include "org/fhir/validate.h"
#include "support/lua_fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define TEXT(f, ...) (cl_arena_printf((f)->lasting, __VA_ARGS__).p)

static const char plugin[] =
        "settings = { wait = { type = 'duration', default = '1 day' }, flags = { type = 'list', default = { 'a', 'b' } "
        "},\n"
        "	deep = { type = 'table', default = { x = { y = 1 } } }, none = { type = 'string' } },\n"
        "roles = { front_desk = { summary = 'Desk' }, intake = { summary = 'Intake' } },\n"
        "workflow 'callback' { subject = 'Patient', start = 'asked',\n"
        "	parties = { initiator = { 'front_desk' }, recipient = { 'intake' } }, recorders = { 'front_desk' },\n"
        "	asked = { status = 'requested', owner = 'initiator', within = '1 day', action = 'Call', overdue = "
        "escalate('front_desk'),\n"
        "		on = {\n"
        "			reached = { 'done', needs = { result = 'string' }, effect = function (ctx, task, "
        "data)\n"
        "				ctx:create { resourceType = 'Basic', code = { text = task.status .. ' ' .. "
        "data.result } }\n"
        "				if data.result == 'fail' then error('the effect fails') end\n"
        "				if data.result == 'refuse' then ctx:refuse('not today', 'Task.input[0]') end\n"
        "			end },\n"
        "			later = { 'asked', guard = function (ctx, task, data)\n"
        "				if data.try == 'change' then ctx:create { resourceType = 'Basic' } end\n"
        "				if data.try == 'refuse' then ctx:refuse('the guard says no') end\n"
        "				if data.try == 'words' then return false, 'come back tomorrow' end\n"
        "				return data.try == nil\n"
        "			end },\n"
        "			answered = { 'done', by = 'recipient' },\n"
        "		} },\n"
        "	done = { status = 'completed', final = true } },\n"
        "timer 'tick' (function (ctx, data, rest)\n"
        "	ctx:create { resourceType = 'Basic', code = { text = 'tick ' .. tostring(rest) .. ' ' .. "
        "tostring(data.n) .. ' ' .. ctx:today() } }\n"
        "end),\n"
        "operation '$do' { run = function (ctx, input, target)\n"
        "	local what = input and input.code.text\n"
        "	if what == 'settings' then\n"
        "		local out = ctx.setting.wait .. #ctx.setting.flags .. ctx.setting.flags[2] .. "
        "ctx.setting.deep.x.y .. tostring(ctx.setting.none)\n"
        "		ctx.setting.flags[3] = 'mine'\n"
        "		for name in pairs(ctx.setting) do out = out .. ' ' .. name end\n"
        "		return { resourceType = 'Basic', code = { text = out .. #ctx.setting.flags .. "
        "ctx.setting_of('probe', 'wait') } }\n"
        "	elseif what == 'misspelt' then return ctx.setting.weit\n"
        "	elseif what == 'timer' then\n"
        "		ctx:set_timer('tick:a:b', '2 hours', { n = 5 })\n"
        "		ctx:set_timer('tick', '2026-11-03T09:00:00-06:00')\n"
        "		ctx:set_timer('tick:gone', '1 day')\n"
        "		ctx:clear_timer('tick:gone')\n"
        "	elseif what == 'bad timer' then ctx:set_timer('tock', '1 day')\n"
        "	elseif what == 'bad when' then ctx:set_timer('tick', 'soon')\n"
        "	elseif what == 'target' then return { resourceType = 'Basic', code = { text = tostring(target) } }\n"
        "	elseif what == 'echo' then return input\n"
        "	elseif what == 'no resource' then return { a = 1 }\n"
        "	end\n"
        "end },\n"
        "view 'rows' { rows = function (ctx) return { { a = 1, b = ctx:today() }, { a = 2 } } end, columns = { 'a', "
        "'b' } },\n"
        "view 'none' { rows = function (ctx) end, columns = { 'a' } },\n"
        "view 'wrong' { rows = function (ctx) return { 5 } end, columns = { 'a' } },\n"
        "view 'writes' { rows = function (ctx) ctx:create { resourceType = 'Basic' } end, columns = { 'a' } },\n"
        "metric 'm' { category = 'operations', unit = '%', value = function (ctx, month)\n"
        "	if month.name == '2026-10' then return nil end\n"
        "	if month.name == '2026-09' then return { value = 12.5, n = 4 } end\n"
        "	if month.name == '2026-08' then return { numerater = 1 } end\n"
        "	assert(month.name == '2026-11' and month.start == '2026-11-01T05:00:00.000Z' and month.finish == "
        "'2026-12-01T06:00:00.000Z')\n"
        "	return { numerator = 3, denominator = 10 }\n"
        "end },\n"
        "receive 'hello' (function (ctx, message)\n"
        "	ctx:create { resourceType = 'Basic', code = { text = message.event .. ' ' .. message.sender .. ' ' .. "
        "#message.resources .. ' '\n"
        "		.. message.resources[1].resourceType .. ' ' .. message.bundle.id } }\n"
        "end),\n";

static void open_ctx(struct lua_fixture *f)
{
	script_open(f);
	script_probe(f, plugin);
	script_load(f);
	script_store(f);
}

static const char *make_patient(struct lua_fixture *f)
{
	return script_do(f, "ctx:create { resourceType = 'Patient', name = { { family = 'Rivera' } }, active = true }");
}

/* ---- resources ---- */

static void test_resources(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	const char *p = make_patient(&f);
	script_is(&f, TEXT(&f, "ctx:read('%s').name[1].family", p), "Rivera");
	script_is(&f, TEXT(&f, "ctx:read { reference = '%s' }.id == '%s'", p, p + 8), "true");
	script_is(&f, "ctx:read('Patient/none')", "");
	script_is(&f, "ctx:read('https://elsewhere.example/fhir/Patient/1')", "");
	script_is(&f,
	          TEXT(&f,
	               "local p = ctx:read('%s') p.name[1].family = 'New' local r = ctx:update(p) return r, "
	               "ctx:read(r).name[1].family, "
	               "ctx:read(r).meta.versionId",
	               p),
	          TEXT(&f, "%s\nNew\n2", p));
	/* Twice from one view; but not over what another has changed. */
	script_is(&f,
	          TEXT(&f,
	               "local p = ctx:read('%s') p.active = false ctx:update(p) p.active = true ctx:update(p) return "
	               "ctx:read('%s').meta.versionId",
	               p, p),
	          "4");
	script_refused(&f,
	               TEXT(&f,
	                    "local a, b = ctx:read('%s'), ctx:read('%s') a.active = false ctx:update(a) b.gender = "
	                    "'female' ctx:update(b)",
	                    p, p),
	               "version");
	script_is(&f,
	          TEXT(&f,
	               "local p = plain(ctx:read('%s')) p.gender = 'female' ctx:update(p) return ctx:read('%s').gender",
	               p, p),
	          "female");
	script_is(&f, TEXT(&f, "ctx:delete('%s')", p), p);
	script_is(&f, TEXT(&f, "ctx:read('%s')", p), "");
	/* Creating chooses the id. */
	script_is(&f, "ctx:create { resourceType = 'Basic', id = 'mine', code = { text = 'x' } } == 'Basic/mine'",
	          "false");
	static const char *const refused[][2] = {
	        {"ctx:read(5)", "ctx:read: `reference` must be a reference such as \"Patient/x\", not number"},
	        {"ctx:read('nonsense')", "ctx:read: 'nonsense' is no reference such as \"Patient/x\""},
	        {"ctx:create()", "ctx:create: expected a resource (a table, or what ctx:read gave), not no value"},
	        {"ctx:create {}", "ctx:create: the resource has no resourceType"},
	        {"ctx:create { resourceType = 'Pateint' }", "ctx:create: 'Pateint' is no type of FHIR R4"},
	        {"ctx:create { resourceType = 'Patient', activ = true }", "activ"},
	        {"ctx:create { resourceType = 'Patient', gender = 'x' }", "(plugin console, console:1)"},
	        {"ctx:update { resourceType = 'Patient' }",
	         "ctx:update: the resource has no id; ctx:create makes new ones"},
	        {"ctx:update { 1 }", "a list is no resource"},
	        {"ctx:delete('Patient/none')", "Patient/none is not known here"},
	        {"ctx:delete('x')", "no reference such as"},
	        {"ctx.create({ resourceType = 'Patient' })", "write it with a colon"},
	        {"ctx:notify { to = 'front_desk' }", "ctx:notify: needs `to` (a role or a reference) and `text`"},
	        {"ctx:notify { to = 'front_desk', txt = 'x' }",
	         "ctx:notify: unknown field 'txt'; did you mean 'text'?"},
	        {"ctx:notify { to = 'nobody', text = 'x' }", "'nobody' is no role that a plugin declares"},
	        {"ctx:notify('x')", "ctx:notify: expected a table of fields, not string"},
	};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		script_refused(&f, refused[i][0], refused[i][1]);
	const char *note = script_do(&f, "ctx:notify { to = 'front_desk', text = 'Look', priority = 'urgent' }");
	script_contains(note, "Communication/");
	script_is(&f, TEXT(&f, "ctx:read('%s').payload[1].contentString", note), "Look");
	script_close_all(&f);
}

static void test_search(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	f.limits.search_rows = 20;
	cl_lua_close(f.lua);
	script_load(&f);
	script_is(&f,
	          "for i = 1, 15 do ctx:create { resourceType = 'Patient', name = { { family = 'Rivera ' .. i } }, "
	          "active = i > 10 } end",
	          "");
	script_is(&f, "#ctx:search('Patient')", "15");
	script_is(&f, "#ctx:search('Patient', { active = true })", "5");
	script_is(&f, "#ctx:search('Patient', 'active=true&_count=2')", "2");
	script_is(&f, "#ctx:search('Patient', { _count = 3, _sort = 'family' })", "3");
	script_is(&f, "ctx:search('Patient', { family = 'Rivera 12' })[1].name[1].family", "Rivera 12");
	script_is(&f, "#ctx:search('Patient', { family = { 'Rivera 1', 'Rivera 12' } })", "1");
	script_is(&f, "#ctx:search('Patient', { ['family:exact'] = 'Rivera 1,Rivera 2' })", "2");
	script_is(&f,
	          "local p = ctx:search('Patient', { family = 'Rivera 7' })[1] p.gender = 'male' ctx:update(p) return "
	          "#ctx:search('Patient', "
	          "'gender=male')",
	          "1");
	script_do(&f, "for i = 1, 10 do ctx:create { resourceType = 'Patient' } end");
	script_refused(&f, "ctx:search('Patient')",
	               "ctx:search finds more than 20; narrow it, or say with _count that the first ones are enough");
	assert_int_equal(f.e.code, CL_E_LIMIT);
	script_refused(&f, "pcall(ctx.search, ctx, 'Patient')", "finds more than 20");
	script_is(&f, "#ctx:search('Patient', { _count = 1000 })", "20");
	static const char *const refused[][2] = {
	        {"ctx:search('Pateint')", "ctx:search: 'Pateint' is no type of FHIR R4"},
	        {"ctx:search('Patient', { famly = 'x' })", "famly"},
	        {"ctx:search('Patient', { family = print })",
	         "ctx:search: the value of 'family' is a function, not text"},
	        {"ctx:search('Patient', { ['a&b'] = 1 })", "'a&b' is no name of a parameter"},
	        {"ctx:search('Patient', { 'x' })", "parameters have names"},
	        {"ctx:search('Patient', '_include=Patient:organization')", "gives whole resources"},
	        {"ctx:search('Patient', { family = ('x'):rep(2000) })", "is longer than 1000 bytes"},
	};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		script_refused(&f, refused[i][0], refused[i][1]);
	script_close_all(&f);
}

/* ---- workflows ---- */

static const char *start(struct lua_fixture *f, const char *more)
{
	const char *p = make_patient(f);
	return script_do(f, TEXT(f, "ctx:start('callback', { focus = '%s', patient = '%s'%s })", p, p, more));
}

static void test_workflow(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	const char *task = start(&f, ", partner = 'lakeside', data = { channel = 'phone' }");
	script_is(&f,
	          TEXT(&f,
	               "local i = ctx:instance('%s') return i.workflow, i.state, i.party, i.partner, i.data.channel, "
	               "i.final, i.due",
	               task),
	          "callback\nasked\ninitiator\nlakeside\nphone\nfalse\n2026-11-03T15:00:00.000Z");
	script_is(&f, TEXT(&f, "ctx:instance('%s').patient == ctx:instance('%s').subject", task, task), "true");
	script_is(&f, "ctx:instance('Task/none')", "");
	script_is(&f,
	          "#ctx:instances('callback'), #ctx:instances('callback', { state = 'done' }), "
	          "#ctx:instances('callback', { live = true })",
	          "1\n0\n1");
	script_is(&f, TEXT(&f, "ctx:instances('callback', { patient = ctx:instance('%s').patient })[1].task", task),
	          task);
	script_is(&f, TEXT(&f, "ctx:advance('%s', 'reached', { result = 'fine' })", task), "done");
	script_is(&f, "ctx:search('Basic')[1].code.text", "completed fine");
	script_is(&f,
	          TEXT(&f,
	               "local t = ctx:transitions('%s') return #t, t[2].event, t[2].from, t[2].to, t[2].data.result, "
	               "t[2].at",
	               task),
	          "2\nreached\nasked\ndone\nfine\n2026-11-02T15:00:00.000Z");
	const char *other = start(&f, ", partner = 'lakeside'");
	script_is(&f,
	          TEXT(&f, "ctx:advance('%s', 'answered', nil, { on_behalf_of = 'lakeside', source = 'fax' })", other),
	          "done");
	script_is(&f, TEXT(&f, "ctx:transitions(ctx:read('%s'))[2].source", other), "fax");
	const char *copied = start(&f, "");
	script_is(&f,
	          TEXT(&f,
	               "ctx:copy_state('%s', 'done', { event = 'answered', data = { a = 1 }, at = "
	               "'2026-11-02T14:30:00Z' })",
	               copied),
	          "done");
	script_is(&f, TEXT(&f, "ctx:transitions('%s')[2].at", copied), "2026-11-02T14:30:00.000Z");
	static const char *const refused[][2] = {
	        {"ctx:start('callbak', {})", "callbak"},
	        {"ctx:start('callback', { patint = 'x' })",
	         "ctx:start: unknown field 'patint'; did you mean 'patient'?"},
	        {"ctx:start('callback', { data = 5 })", "ctx:start: `data` must be a table, not number"},
	        {"ctx:start('callback', { data = { 1 } })", "`data` must have names, not positions"},
	        {"ctx:start()", "ctx:start: `workflow` must be text, not no value"},
	        {"ctx:advance('Patient/x', 'go')", "ctx:advance: 'Patient/x' is no reference to a Task (\"Task/x\")"},
	        {"ctx:advance('Task/x')", "ctx:advance: `event` must be text, not no value"},
	        {"ctx:advance('Task/none', 'reached')", "none"},
	        {"ctx:advance('Task/x', 'go', {}, { sorce = 'x' })", "unknown field 'sorce'; did you mean 'source'?"},
	        {"ctx:instances('nothing')", "there is no workflow 'nothing'"},
	        {"ctx:instances('callback', { state = 'askd' })", "workflow 'callback' has no state 'askd'"},
	        {"ctx:instance(5)", "`task` must be a reference"},
	};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		script_refused(&f, refused[i][0], refused[i][1]);
	script_close_all(&f);
}

/* Guards look only; their refusals are answers, not faults. */
static void test_guards(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	const char *task = start(&f, "");
	script_is(&f, TEXT(&f, "ctx:advance('%s', 'later')", task), "asked");
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'later', { try = 'words' })", task), "come back tomorrow");
	assert_int_equal(f.e.code, CL_E_RULE);
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'later', { try = 'nothing' })", task),
	               "the guard of callback.asked.later refuses it");
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'later', { try = 'refuse' })", task), "the guard says no");
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'later', { try = 'change' })", task),
	               "ctx:create: nothing can be changed here; guards, metrics and views only look");
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'reached')", task), "'reached' needs result");
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'reached', { result = 'fail' })", task),
	               "services/probe/plugin.lua:11: the effect fails");
	assert_int_equal(f.e.code, CL_E_PLUGIN);
	script_is(&f, "#ctx:search('Basic')", "0");
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'reached', { result = 'refuse' })", task), "not today");
	assert_int_equal(f.e.code, CL_E_RULE);
	assert_string_equal(f.e.message, "not today");
	assert_string_equal(f.e.where, "Task.input[0]");
	script_close_all(&f);
}

/* Whatever a plugin catches: a change that failed fails the unit. */
static void test_failed_change_is_final(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	const char *task = start(&f, "");
	script_refused(&f,
	               TEXT(&f, "pcall(ctx.advance, ctx, '%s', 'reached', { result = 'fail' }) return 'went on'", task),
	               "the effect fails");
	script_refused(&f,
	               "pcall(ctx.create, ctx, { resourceType = 'Patient', gender = 'x' }) ctx:create { resourceType = "
	               "'Basic' }",
	               "gender");
	script_refused(&f, "error('\\xff broken \\xe2\\x82')", "? broken ??");
	script_refused(&f, "ctx:notify { to = 'front_desk', text = '\\xff' }", "ctx:notify: `text` is no UTF-8 text");
	script_refused(&f, "pcall(ctx.refuse, ctx, 'no') return 1", "no");
	/* A mistake in a call changed nothing and may be caught. */
	script_is(&f, "select('#', pcall(ctx.create, ctx, {}))", "2");
	script_is(&f, "pcall(ctx.read, ctx, 5)",
	          "false\nconsole:1: ctx:read: `reference` must be a reference such as \"Patient/x\", not number");
	script_is(&f, "#ctx:search('Basic')", "0");
	script_close_all(&f);
}

/* Effects that go on for ever, by looping or by calling themselves, are stopped in the middle of everything. */
static void test_endless_effects(void **state)
{
	(void)state;
	struct lua_fixture f;
	script_open(&f);
	f.limits.call_cpu = 30000;
	script_probe(&f, "roles = { front_desk = { summary = 'D' } },\n"
	                 "workflow 'w' { start = 's', s = { status = 'requested', owner = 'front_desk', within = '1 "
	                 "day', on = {\n"
	                 "	again = { 's', effect = function (ctx, task) ctx:advance(task, 'again') end },\n"
	                 "	loop = { 's', effect = function () while true do end end },\n"
	                 "	guarded = { 's', guard = function () while true do end end },\n"
	                 "	stop = 't' } }, t = { status = 'completed', final = true } }");
	script_load(&f);
	script_store(&f);
	const char *task = script_do(&f, "ctx:start('w', {})");
	script_refused(&f, TEXT(&f, "ctx:advance('%s', 'again')", task),
	               "guards and effects call each other more than 16 deep");
	script_refused(&f, TEXT(&f, "pcall(ctx.advance, ctx, '%s', 'loop') return 1", task), "ms of CPU");
	script_contains(f.e.message, "plugin probe at services/probe/plugin.lua:5 (effect of w.s.loop, Task/");
	assert_int_equal(f.e.code, CL_E_LIMIT);
	script_contains(cl_lua_budget_outcome(f.lua).p, "budget:probe:services/probe/plugin.lua:5");
	script_refused(&f, TEXT(&f, "while true do pcall(ctx.advance, ctx, '%s', 'guarded') end", task), "ms of CPU");
	script_is(&f, TEXT(&f, "#ctx:transitions('%s')", task), "1");
	script_is(&f, TEXT(&f, "ctx:advance('%s', 'stop')", task), "t");
	script_close_all(&f);
}

/* ---- time ---- */

static void test_time(void **state)
{
	(void)state;
	static const char *const given[][2] = {
	        {"ctx:now()", "2026-11-02T15:00:00.000Z"},
	        {"ctx:today()", "2026-11-02"},
	        {"ctx:local_date('2026-11-03T04:00:00Z'), ctx:local_time('2026-11-03T04:00:00Z')", "2026-11-02\n22:00"},
	        {"ctx:local_date('2026-11-03'), ctx:local_time('2026-11-03T10:30:00-06:00')", "2026-11-03\n10:30"},
	        {"ctx:add('2026-11-25', '1 business day')", "2026-11-27"},
	        {"ctx:add('2026-11-02', '2 weeks'), ctx:add('2026-01-31', '1 month'), ctx:add('2026-11-02', '1 year')",
	         "2026-11-16\n2026-02-28\n2027-11-02"},
	        {"ctx:add('2026-11-02T15:00:00Z', '30 minutes')", "2026-11-02T15:30:00.000Z"},
	        {"ctx:add('2026-11-01T05:30:00Z', '1 day')", "2026-11-02T06:30:00.000Z"}, /* the clocks went back */
	        {"ctx:between('2026-11-02', '2026-11-09', 'days'), ctx:between('2026-11-02', '2026-11-09', 'weeks')",
	         "7\n1"},
	        {"ctx:between('2026-10-31', '2026-11-02', 'days')", "2"}, /* whatever the clocks did */
	        {"ctx:between('2026-11-23', '2026-11-30', 'business days')", "4"},
	        {"ctx:between('2026-11-02T15:00:00Z', '2026-11-02T16:30:00Z', 'hours')", "1.5"},
	        {"ctx:between('2026-11-02T15:00:00Z', '2026-11-02T14:00:00Z', 'minutes')", "-60"},
	        {"ctx:between('2026-01-15', '2026-11-14', 'months'), ctx:between('2020-01-15', '2026-11-14', 'years')",
	         "9\n6"},
	};
	static const char *const refused[][2] = {
	        {"ctx:add('2026-11-02', '4 hours')",
	         "ctx:add: hours and minutes are added to a dateTime, not to a date"},
	        {"ctx:add('tomorrow', '4 hours')",
	         "ctx:add: `from` is 'tomorrow', neither a date (2026-11-22) nor a dateTime"},
	        {"ctx:add('2026', '4 days')", "neither a date"},
	        {"ctx:add('2026-11-02', '4 dais')", "ctx:add: "},
	        {"ctx:add('2026-11-02')", "ctx:add: `duration` must be text, not no value"},
	        {"ctx:between('2026-11-02', '2026-11-03', 'moons')",
	         "`unit` is 'moons'; it can be minutes, hours, business hours"},
	        {"ctx:local_date(5)", "`dateTime` must be text, not number"},
	        {"ctx:set_timer('tick', '1 day')", "ctx:set_timer: only plugins have timers"},
	};
	struct lua_fixture f;
	open_ctx(&f);
	for (size_t i = 0; i < sizeof given / sizeof *given; i++)
		script_is(&f, given[i][0], given[i][1]);
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		script_refused(&f, refused[i][0], refused[i][1]);
	script_close_all(&f);
}

/* ---- what runs as a plugin ---- */

static int operate(struct lua_fixture *f, const char *what, const char *target, struct cl_json **out)
{
	struct cl_json *input =
	        script_json(f, TEXT(f, "{\"resourceType\":\"Basic\",\"code\":{\"text\":\"%s\"}}", what));
	script_begin(f);
	int code = cl_lua_operation(f->lua, &f->unit, &cl_lua_catalog(f->lua)->operations[0], input, cl_str_of(target),
	                            out, &f->e);
	if (!code && *out)
		*out = cl_json_copy(f->lasting, *out);
	if (code)
		script_rollback(f);
	else
		script_commit(f);
	return code;
}

static void operation_gives(struct lua_fixture *f, const char *what, const char *target, const char *expected)
{
	struct cl_json *out = NULL;
	if (operate(f, what, target, &out))
		fail_msg("%s: %s", what, f->e.message);
	struct cl_str text = cl_json_text(cl_json_path(out, "code", "text", NULL));
	if (!cl_str_is(text, expected))
		fail_msg("%s gives '%.*s', not '%s'", what, CL_STR_ARGS(text), expected);
}

static void operation_fails(struct lua_fixture *f, const char *what, const char *words)
{
	struct cl_json *out = NULL;
	assert_true(operate(f, what, "", &out) != 0);
	assert_null(out);
	script_contains(f->e.message, words);
	script_contains(f->e.message, "services/probe/plugin.lua:");
}

static void test_settings(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	operation_gives(&f, "settings", "", "1 day2b1nil deep flags wait21 day");
	operation_fails(&f, "misspelt", "plugin probe has no setting 'weit'; did you mean 'wait'?");
	operation_gives(&f, "target", "Patient/1", "Patient/1");
	operation_gives(&f, "target", "", "nil");
	operation_gives(&f, "echo", "", "echo");
	operation_fails(&f, "no resource", "an operation gives a resource or nil");
	struct cl_json *out = NULL;
	assert_int_equal(operate(&f, "nothing", "", &out), 0);
	assert_null(out);
	script_refused(&f, "ctx.setting.wait = '2 days'", "cannot be changed");
	script_refused(&f, "ctx.setting_of('prob', 'wait')", "this organization uses no plugin 'prob'");
	script_is(&f, "ctx:setting_of('probe', 'wait')", "1 day");
	script_close_all(&f);
}

static void test_timers(void **state)
{
	(void)state;
	struct lua_fixture f;
	struct cl_json *out;
	open_ctx(&f);
	assert_int_equal(operate(&f, "timer", "", &out), 0);
	assert_true(f.unit.timers_changed);
	operation_fails(&f, "bad timer", "ctx:set_timer: no `timer \"tock\"` is declared to hear of it");
	operation_fails(&f, "bad when",
	                "ctx:set_timer: `when` is 'soon', neither a dateTime nor a duration such as \"4 hours\"");
	script_advance_to(&f, "2026-11-02T12:00:00-06:00");
	script_is(&f, "ctx:search('Basic')[1].code.text", "tick a:b 5 2026-11-02");
	script_advance_to(&f, "2026-11-05T12:00:00-06:00");
	script_is(&f, "#ctx:search('Basic'), ctx:search('Basic', '_sort=_lastUpdated')[2].code.text",
	          "2\ntick nil nil 2026-11-03");
	script_close_all(&f);
}

static void test_actor_and_organization(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	script_as(&f, "ana", "front_desk intake");
	script_is(&f, "ctx.actor.name, ctx.actor.kind, ctx.actor.reference, table.concat(ctx.actor.roles, ',')",
	          "ana\nperson\nPractitioner/ana\nfront_desk,intake");
	script_is(&f, "ctx.organization.id, ctx.organization.name, ctx.organization.zone, ctx.organization.reference",
	          "riverside\nRiverside\nAmerica/Chicago\nOrganization/riverside");
	script_is(&f, "ctx.organization.partners.lakeside.reference, ctx.organization.partners.lakeside.url",
	          "Organization/lakeside\nnil");
	script_refused(&f, "ctx.acter", "ctx has no 'acter'; did you mean 'actor'?");
	script_close_all(&f);
}

/* ---- messages ---- */

static void test_messages(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_ctx(&f);
	const char *p = make_patient(&f);
	const char *id = script_do(&f, TEXT(&f,
	                                    "ctx:send('lakeside', 'hello', { ctx:read('%s'), { resourceType = 'Basic', "
	                                    "code = { text = 'x' } } })",
	                                    p));
	assert_int_equal(strlen(id), 26);
	struct cl_outgoing_list list;
	assert_int_equal(cl_store_outbox_list(f.store, f.lasting, CL_STR("waiting"), 10, &list, &f.e), 0);
	assert_int_equal(list.count, 1);
	assert_true(cl_str_is(list.items[0].destination, "lakeside"));
	script_contains(list.items[0].key.p, id);
	struct cl_json *bundle;
	assert_int_equal(cl_json_parse(f.lasting, list.items[0].body, NULL, &bundle, &f.e), 0);
	struct cl_issues issues;
	cl_issues_init(&issues, f.lasting, 0);
	if (cl_fhir_validate(f.lasting, bundle, list.items[0].body, &issues))
		fail_msg("%.*s: %.*s", CL_STR_ARGS(issues.items[0].expression),
		         CL_STR_ARGS(issues.items[0].diagnostics));
	assert_true(cl_str_is(cl_json_get_text(bundle, "type"), "message") &&
	            cl_str_is(cl_json_get_text(bundle, "id"), id));
	assert_true(cl_str_is(cl_json_get_text(bundle, "timestamp"), "2026-11-02T15:00:00.000Z"));
	const struct cl_json *header = cl_json_path(bundle, "entry", "0", "resource", NULL);
	assert_true(cl_str_is(cl_json_text(cl_json_path(header, "eventCoding", "code", NULL)), "hello"));
	assert_true(cl_str_is(cl_json_text(cl_json_path(header, "eventCoding", "system", NULL)), "urn:careloop:event"));
	assert_true(cl_str_is(cl_json_text(cl_json_path(header, "source", "endpoint", NULL)),
	                      "urn:careloop:organization:riverside"));
	assert_true(cl_str_is(cl_json_text(cl_json_path(header, "destination", "0", "endpoint", NULL)),
	                      "urn:careloop:organization:lakeside"));
	assert_true(cl_str_equal(cl_json_text(cl_json_path(header, "focus", "0", "reference", NULL)),
	                         cl_json_text(cl_json_path(bundle, "entry", "1", "fullUrl", NULL))));
	script_contains(cl_json_text(cl_json_path(bundle, "entry", "1", "fullUrl", NULL)).p, p);
	script_contains(cl_json_text(cl_json_path(bundle, "entry", "2", "fullUrl", NULL)).p, "urn:uuid:");
	/* The same input makes the same message again. */
	static const char *const refused[][2] = {
	        {"ctx:send('nobody', 'hello', {})", "'nobody' is no partner of this organization"},
	        {"ctx:send('lakeside', 'hello', { 5 })", "ctx:send: element 1 of the list is no resource"},
	        {"ctx:send('lakeside', 'hello', { resourceType = 'Basic' })", "the resources are a list"},
	        {"ctx:send('lakeside', 'hello')", "ctx:send: expected a list of resources, not no value"},
	        {"ctx:send('lakeside')", "`event` must be text"},
	};
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		script_refused(&f, refused[i][0], refused[i][1]);

	script_begin(&f);
	if (cl_lua_receive(f.lua, &f.unit, CL_STR("lakeside"), bundle, &f.e))
		fail_msg("%s", f.e.message);
	script_commit(&f);
	script_is(&f, "ctx:search('Basic')[1].code.text", TEXT(&f, "hello lakeside 2 Patient %s", id));
	cl_json_set_text(f.lasting, cl_json_get(cl_json_path(bundle, "entry", "0", "resource", NULL), "eventCoding"),
	                 "code", CL_STR("bye"));
	script_begin(&f);
	assert_int_equal(cl_lua_receive(f.lua, &f.unit, CL_STR("lakeside"), bundle, &f.e), CL_E_UNSUPPORTED);
	script_rollback(&f);
	script_close_all(&f);
}

/* ---- views and metrics ---- */

static void test_views_and_metrics(void **state)
{
	(void)state;
	struct lua_fixture f;
	struct cl_json *rows;
	open_ctx(&f);
	const struct cl_catalog *catalog = cl_lua_catalog(f.lua);
	script_begin(&f);
	assert_int_equal(cl_lua_view(f.lua, &f.unit, cl_catalog_view(catalog, CL_STR("rows")), &rows, &f.e), 0);
	assert_true(rows->kind == CL_JSON_ARRAY && rows->count == 2);
	assert_true(cl_str_is(cl_json_get_text(&rows->items[0], "b"), "2026-11-02"));
	assert_int_equal(cl_lua_view(f.lua, &f.unit, cl_catalog_view(catalog, CL_STR("none")), &rows, &f.e), 0);
	assert_true(rows->kind == CL_JSON_ARRAY && rows->count == 0);
	assert_int_equal(cl_lua_view(f.lua, &f.unit, cl_catalog_view(catalog, CL_STR("wrong")), &rows, &f.e),
	                 CL_E_PLUGIN);
	script_contains(f.e.message, "row 1 of the view is no table with names");
	assert_int_equal(cl_lua_view(f.lua, &f.unit, cl_catalog_view(catalog, CL_STR("writes")), &rows, &f.e),
	                 CL_E_PLUGIN);
	script_contains(f.e.message, "only look");
	script_rollback(&f);

	static const struct {
		const char *at;
		double value;
		int code;
	} months[] = {{"2026-11-15T12:00:00Z", 30, 0},
	              {"2026-09-15T12:00:00Z", 12.5, 0},
	              {"2026-08-15T12:00:00Z", 0, CL_E_PLUGIN}};
	const struct cl_metric *metric = cl_catalog_metric(catalog, CL_STR("m"));
	for (size_t i = 0; i < sizeof months / sizeof *months; i++) {
		struct cl_metric_result result;
		script_begin(&f);
		script_at(&f, months[i].at);
		int code = cl_metric_month(&f.unit, metric, f.now, &result, &f.e);
		assert_int_equal(code, months[i].code);
		if (!code)
			assert_true(result.value == months[i].value);
		else
			script_contains(f.e.message, "unknown field 'numerater'; did you mean 'numerator'?");
		script_rollback(&f);
	}
	struct cl_metric_result result;
	script_begin(&f);
	script_at(&f, "2026-10-15T12:00:00Z");
	assert_int_equal(cl_metric_month(&f.unit, metric, f.now, &result, &f.e), 0);
	assert_true(result.value != result.value);
	script_rollback(&f);
	script_close_all(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_resources),
	        cmocka_unit_test(test_search),
	        cmocka_unit_test(test_workflow),
	        cmocka_unit_test(test_guards),
	        cmocka_unit_test(test_failed_change_is_final),
	        cmocka_unit_test(test_endless_effects),
	        cmocka_unit_test(test_time),
	        cmocka_unit_test(test_settings),
	        cmocka_unit_test(test_timers),
	        cmocka_unit_test(test_actor_and_organization),
	        cmocka_unit_test(test_messages),
	        cmocka_unit_test(test_views_and_metrics),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
