/* lua_loader_test.c: bad plugin text and the words that refuse it, with file and line; extending; settings; the organization's
 * configuration; what the compiler makes of it all. */
#include "support/lua_fixture.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* ---- refusals ---- */

struct bad {
	const char *entries, *words;
};

/* A sound workflow that parts are broken of: three lines. */
#define ROLE "roles = { x = { summary = 'X', allow = { { 'read', types = { 'Patient' } } } } },\n"
#define FLOW(state)                                                                                                    \
	ROLE "workflow 'w' { start = 's',\n"                                                                           \
	     "s = { status = 'requested', owner = 'x', within = '1 day', " state " on = { go = 't' } },\n"             \
	     "t = { status = 'completed', final = true } },\n"

#define CLOCK(within)                                                                                                  \
	ROLE "workflow 'w' { start = 's',\n"                                                                           \
	     "s = { status = 'requested', owner = 'x', within = " within ", on = { go = 't' } },\n"                    \
	     "t = { status = 'completed', final = true } },\n"

static const struct bad bad_entries[] = {
        /* plugin */
        {"sumary = 'x'", "services/probe/plugin.lua:2: plugin: unknown field 'sumary'; did you mean 'summary'?"},
        {"extends = 'nobody'",
         "services/probe/plugin.lua:2: plugin 'probe' extends 'nobody', which this organization does not use"},
        {"5", ":2: plugin: a number stands where a declaration (workflow, metric, view, on, every ...) belongs"},
        {"workflow 'w'", "plugin: a function stands where a declaration (workflow, metric, view, on, every ...) "
                         "belongs; is its { } or ( ) "
                         "missing?"},
        {"settings = 5", "plugin: 'settings' must be a table, not a number"},
        {"[true] = 1", "field true has no name"},
        {"summary = 'twice'", ":2: 'summary' is written twice in one table"},
        /* words */
        {"workflow {}", ":2: workflow: needs a name: workflow \"callback\" { start = \"asked\", ... }"},
        {"on 'x.y' {}", "on \"x.y\": needs a function"},
        {"every('07:00', 'weekdays')", "every: write every(\"07:00\", \"weekdays\", function (ctx) ... end)"},
        {"every('25:00', 'weekdays', function () end)", ":2: every: "},
        {"every('07:00', 'sometimes', function () end)", ":2: every: "},
        {"setting 'x'", "plugin: setting stands where a declaration"},
        {"setting()", "setting: needs a name"},
        {"escalate(5)", "escalate: write escalate("},
        {"metric 'm' { of = started() }", "started: needs a workflow"},
        {"timer '' (function () end)", "timer: needs a name"},
        {"unknown_word 'x' {}", ":2: unknown name 'unknown_word'"},
        {"x = os.time()", "there is no 'os' here: time comes from ctx:now() and ctx:today()"},
        /* rules */
        {"rule 'r' {}", "rule 'r': needs of = "},
        {"rule 'r' { of = 'Patient' }", "rule 'r': needs check = function"},
        {"rule 'r' { of = 'Patiens', check = function () end }", "'of' must be a type of FHIR R4"},
        {"rule 'r' { of = 'Patient?nonsense=1', check = function () end }",
         "services/probe/plugin.lua:2: rule 'r': of: "},
        {"rule 'r' { of = 'Patient?_sort=name', check = function () end }", "only what a resource is like counts"},
        {"rule 'r' { of = 'Patient', exclusive = true, flag = true }", "flag belongs to a check"},
        {"rule 'r' { of = 'Patient', check = function () end, severity = 'awful' }", "'severity' must be one of"},
        {"rule 'r' { of = 'Patient', check = function () end, flag = 'nobody' }", "rule 'r': 'nobody' is no role"},
        /* settings */
        {"settings = { a = {} }", "setting 'a': needs a type"},
        {"settings = { a = { type = 'durration' } }",
         "setting 'a': 'type' must be one of 'duration', 'number', 'integer', 'string', 'boolean', 'choice', 'list', "
         "'table', 'code', not "
         "'durration'; did you mean 'duration'?"},
        {"settings = {\n\na = { type = 'duration', default = '2 busy days' } }", ":4: setting 'a': its default "},
        {"settings = { a = { type = 'number', default = '5' } }", "setting 'a': its default must be a number"},
        {"settings = { a = { type = 'integer', default = 1.5 } }", "setting 'a': its default must be a whole number"},
        {"settings = { a = { type = 'string', default = 5 } }", "its default must be text"},
        {"settings = { a = { type = 'boolean', default = 'yes' } }", "its default must be true or false"},
        {"settings = { a = { type = 'choice', default = 'c', choices = { 'a', 'b' } } }",
         "its default must be one of 'a', 'b'"},
        {"settings = { a = { type = 'choice' } }", "setting 'a': a choice needs 'choices'"},
        {"settings = { a = { type = 'list', default = { x = 1 } } }", "its default must be a list"},
        {"settings = { a = { type = 'table', default = { 1 } } }", "its default must be a table with names"},
        {"settings = { a = { type = 'code', default = ' ' } }", "its default must be a code"},
        {"settings = { a = { type = 'table', default = { x = print } } }",
         "setting 'a': the value.x is a function, which no resource can hold"},
        {"settings = { a = { typ = 'list' } }", "setting 'a': unknown field 'typ'; did you mean 'type'?"},
        /* roles */
        {"roles = { x = { allow = { { 'reed' } } } }", "role 'x': 'allow'[1] must be one of 'read', 'search', "
                                                       "'history', 'create', 'update', 'delete', 'transition', 'undo', "
                                                       "'message', 'events', "
                                                       "'metrics', 'admin', not 'reed'; did you mean 'read'?"},
        {"roles = { x = { allow = { { 'read', types = { 'Pateint' } } } } }",
         "'Pateint' is no type of FHIR R4; did you mean 'Patient'?"},
        {"roles = { x = { allow = { {} } } }", "begins with words"},
        {"roles = { x = { allow = { { 'read', typs = {} } } } }", "unknown field 'typs'; did you mean 'types'?"},
        /* workflows */
        {"workflow 'w' { s = { status = 'requested', ownr = 'x' } }",
         ":2: workflow 'w': state 's': unknown field 'ownr'; did you mean 'owner'?"},
        {"workflow 'w' { sumary = 'x' }", "workflow 'w': unknown field 'sumary'; did you mean 'summary'?"},
        {"workflow 'w' { s = { status = 'completed', final = true } }",
         "workflow 'w': needs start, the state it begins in"},
        {"workflow 'w' { start = 'a', asked = { status = 'completed', final = true } }",
         "workflow 'w': starts in 'a', which is no state"},
        {"workflow 'w w' { start = 's', s = { status = 'completed', final = true } }",
         "a name of letters, digits, _ and - is needed"},
        {"workflow 'w' { start = 's', s = { status = 'completed', final = true }, subject = 'Pacient' }",
         "subject 'Pacient' is no type of FHIR R4; did you mean 'Patient'?"},
        {FLOW("on = { away = 'nowhere' },"), "'on' is written twice"},
        {ROLE "workflow 'w' { start = 's',\ns = { status = 'requested', owner = 'x', within = '1 day', on = {\ngo = "
              "'gone' } },\n"
              "done = { status = 'completed', final = true } },",
         ":5: workflow 'w': state 's': event 'go' leads to 'gone', which is no state; did you mean 'done'?"},
        {FLOW("owner2 = 1,"), ":4: workflow 'w': state 's': unknown field 'owner2'; did you mean 'owner'?"},
        {FLOW("within = '1 fortnight',"), ":4: 'within' is written twice"},
        {"workflow 'w' { start = 's', s = { status = 'requested', within = '1 fortnight' } }", "state 's': 'within': "},
        {"workflow 'w' { start = 's', s = { status = 'requested', within = 5 } }",
         "'within' must be a duration such as \"2 business days\", not a number"},
        {"workflow 'w' { start = 's', s = { status = 'requested', within = setting 'nope' } }",
         ":2: workflow 'w': state 's': 'within': there is no setting 'nope'"},
        {"settings = { wait = { type = 'duration' } }, workflow 'w' { start = 's', s = { status = 'requested', within "
         "= setting 'wait' } }",
         "setting 'wait' has no value; give it a default, or say settings.probe.wait in the organization's file"},
        {"settings = { wait = { type = 'number', default = 5 } }, workflow 'w' { start = 's', s = { within = setting "
         "'wait' } }",
         "'within' (setting 'wait') must be a duration such as \"2 business days\", not a number"},
        {"settings = { wait = { type = 'duration', default = '1 day' } }, workflow 'w' { start = 's', s = { within = "
         "setting 'wayt' } }",
         "there is no setting 'wayt'; did you mean 'wait'?"},
        {FLOW("overdue = 'x',"), "'overdue' must be escalate(\"role\", ...) or fire \"event\", not 'x'"},
        {FLOW("overdue = escalate('x', { agan = '1 day' }),"), "unknown field 'agan'; did you mean 'again'?"},
        {FLOW("overdue = escalate('x', { times = 1.5 }),"), "'times' must be a whole number from 0 to 1000"},
        {FLOW("overdue = fire 'away',"), "fires 'away', which is no event of the state"},
        {FLOW("overdue = escalate('nobody'),"), "escalation to 'nobody' is neither a role nor a party"},
        {FLOW("reminders = { { to = 'x' } },"), "needs 'before' (the clock ends) or 'after' (it is entered)"},
        {FLOW("reminders = { { before = '1 hour', after = '1 hour' } },"),
         "needs 'before' (the clock ends) or 'after'"},
        {FLOW("reminders = { { after = '1 hour', fire = 'away' } },"), "a reminder fires 'away', which is no event"},
        {FLOW("reminders = { { after = '1 hour', fire = 'go', to = 'x' } },"),
         "either tells somebody or fires an event"},
        {FLOW("overdue = tier('x', {}),"), "escalate(\"role\", ...) or fire \"event\", not tier"},
        {CLOCK("tier('urgency', { now = 'soon' })"), "'within': tier.now: "},
        {CLOCK("tier('urgency', {})"), "'within': tier: names no time"},
        {CLOCK("tier('urgency', { now = '-1 hour' })"), "tier.now: a duration must be longer than nothing"},
        {CLOCK("tier('urgency', setting 'none')"), "there is no setting 'none'"},
        {CLOCK("tier('urgency')"), "tier: write tier("},
        {CLOCK("due_from('at', { before = '1 day', after = '1 day' })"), "due_from is either before or after"},
        {CLOCK("due_from('at', { bevor = '1 day' })"), "unknown field 'bevor'; did you mean 'before'?"},
        {CLOCK("due_from(5)"), "due_from: write due_from("},
        {ROLE
         "workflow 'w' { start = 's', s = { status = 'requested', owner = 'x', within = '1 day', on = { go = { 't', "
         "keep_clock = true } } }, t = { status = 'completed', final = true } },",
         "event 'go': a final state has no clock to keep"},
        {"settings = { why = { type = 'list', default = {} } }, " ROLE
         "workflow 'w' { start = 's', s = { status = 'requested', owner = 'x', within = '1 day', on = { go = { 't', "
         "needs = { why = { 'choice', setting 'why' } } } } }, t = { status = 'completed', final = true } },",
         "lists nothing that can be chosen"},
        {FLOW("reminders = { 'soon' },"), "'reminders'[1]: "},
        {FLOW("business = { system = 'x' },"), "'business': needs 'code'"},
        {FLOW("final = 'yes',"), "'final' must be true or false, not 'yes'"},
        {FLOW("enter = 'x',"), "'enter' must be a function, not 'x'"},
        {FLOW("") "workflow 'v' { start = 's', s = { status = 'requested', owner = 'x', within = '1 day' } }",
         "workflow 'v', state 's': is a dead end"},
        {ROLE
         "workflow 'v' { start = 's', s = { status = 'requestet', owner = 'x', within = '1 day', on = { go = 't' } },\n"
         "t = { status = 'completed', final = true } }",
         ":3: workflow 'v', state 's': status 'requestet' is no status of a FHIR R4 Task"},
        {ROLE "workflow 'v' { start = 's', s = { status = 'requested', on = { go = 't' } },\n t = { status = "
              "'completed', final = true } }",
         "no owner: who has the next action?"},
        {FLOW("") "workflow 'w' { start = 's', s = { status = 'completed', final = true } }",
         ":6: workflow 'w' is declared twice"},
        {ROLE
         "workflow 'v' { start = 's', s = { status = 'requested', owner = 'x', within = '1 day', on = { go = { 't',\n"
         "needs = { a = 'strng' } } } }, t = { status = 'completed', final = true } }",
         ":4: workflow 'v': state 's': event 'go': 'needs' 'a' must be one of"},
        {ROLE "workflow 'v' { start = 's', s = { on = { go = { needs = { a = { 'choice' } } } } } }",
         "a choice needs what can be chosen"},
        {ROLE "workflow 'v' { start = 's', s = { on = { go = { needs = { a = { 'string', 'x' } } } } } }",
         "'string' has no choices"},
        {ROLE "workflow 'v' { start = 's', s = { on = { go = { needs = { a = { 'string', optinal = true } } } } } }",
         "unknown field 'optinal'; did you mean 'optional'?"},
        {ROLE "workflow 'v' { start = 's', s = { on = { go = { by = 'x' } } } }",
         "event 'go': the state it leads to is missing"},
        {ROLE "workflow 'v' { start = 's', s = { on = { go = { 's', gaurd = print } } } }",
         "unknown field 'gaurd'; did you mean 'guard'?"},
        {ROLE "workflow 'v' { start = 's', migrate = { old = 'nowhere' }, s = { status = 'completed', final = true } }",
         "migrate.old: workflow 'v' has no state 'nowhere'"},
        /* metrics */
        {FLOW("") "metric 'm' { category = 'outcomes', of = started 'w', counts = reached('tt') }",
         "metric 'm': workflow 'w' has no state 'tt'; did you mean 't'?"},
        {FLOW("") "metric 'm' { category = 'outcomes', of = started 'ww', counts = reached('t') }",
         "there is no workflow 'ww'"},
        {FLOW("") "metric 'm' { category = 'outcome', of = started 'w', counts = reached('t') }",
         "must be one of 'outcomes', 'operations', 'finance', not 'outcome'; did you mean 'outcomes'?"},
        {FLOW("") "metric 'm' { category = 'outcomes', of = started 'w' }",
         "needs counts = reached(...), measure = elapsed(...)"},
        {FLOW("") "metric 'm' { category = 'outcomes', counts = reached('t') }", "needs of = started \"workflow\""},
        {FLOW("") "metric 'm' { category = 'outcomes', of = started 'w', counts = reached('t'), value = print }",
         "say one of counts, measure and value"},
        {FLOW("") "metric 'm' { category = 'outcomes', of = started 'w', measure = elapsed('s', 't', 'moons') }",
         "'moons' is no unit"},
        {FLOW("") "metric 'm' { category = 'outcomes', of = 'w', counts = reached('t') }", "'of' must be started"},
        {FLOW("") "metric 'm' { category = 'outcomes', of = started 'w', counts = reached('t', { within = '1 dy' }) }",
         "'within': "},
        /* views */
        {FLOW("") "view 'v' { of = instances 'w', columns = { 'patient_nam' } }",
         "view 'v': unknown column 'patient_nam'; did you mean 'patient_name'?"},
        {FLOW("") "view 'v' { of = instances 'w', states = { 'q' }, columns = { 'state' } }",
         "workflow 'w' has no state 'q'"},
        {FLOW("") "view 'v' { columns = { 'a' } }",
         "view 'v': needs either of = instances \"workflow\" or rows = function"},
        {FLOW("") "view 'v' { of = instances 'w' }", "view 'v': needs columns"},
        /* handlers */
        {"on 'Appointment.noshw' (function () end)",
         ":2: on 'Appointment.noshw': 'noshw' is no status of Appointment; it can be "},
        {"on 'Appointmnt.noshow' (function () end)",
         "is neither a workflow nor a type of FHIR R4; did you mean 'Appointment'?"},
        {"on 'Patient.active' (function () end)", "Patient has no status; write \"Patient.create\""},
        {FLOW("") "on 'w.u' (function () end)", "on 'w.u': workflow 'w' has no state 'u'"},
        {"on 'everything' (function () end)", "write \"Type.create\", \"Type.status\" or \"workflow.state\""},
        {"timer 'a' (function () end), timer 'a' (function () end)", "timer 'a' is declared twice"},
        {"operation 'screen' { run = function () end }", "its name begins with $"},
        {"operation '$screen' {}", "needs run = function (ctx, input, target) ... end"},
        {"on 'Task.create' (false)", NULL},
        {"timer 'a' (false)", "timer 'a' is taken away, but is not there"},
};

static void test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_entries / sizeof *bad_entries; i++) {
		struct lua_fixture f;
		script_open(&f);
		script_probe(&f, bad_entries[i].entries);
		if (bad_entries[i].words)
			script_load_fails(&f, bad_entries[i].words);
		else
			script_load(&f);
		script_close_all(&f);
	}
}

static const struct bad bad_files[] = {
        {"return plugin { name = 'a', api = 1, summary = 'A' ", "services/bad/plugin.lua:1: '}' expected near <eof>"},
        {"return plugin { name = 'a', api = 1,\n\n summary = 'A' + }",
         "services/bad/plugin.lua:3: unexpected symbol near '}'"},
        {"return 5",
         "services/bad/plugin.lua:1: a plugin's file ends with: return plugin { name = ..., api = 1, ... }"},
        {"", "a plugin's file ends with"},
        {"return plugin {}", "plugin: needs a name of lower-case letters, digits, _ and ."},
        {"return plugin { name = 'Upper', api = 1, summary = 'x' }", "needs a name of lower-case letters"},
        {"return plugin { name = 'a', summary = 'x' }",
         "plugin 'a': needs api = 1, the version of the interface it is written for"},
        {"return plugin { name = 'a', api = 2, summary = 'x' }", "plugin 'a': needs api = 1"},
        {"return plugin { name = 'a', api = 1 }", "plugin 'a': needs a summary, one line for people"},
        {"return plugin { name = 'probe', api = 1, summary = 'x' }",
         "there is a plugin 'probe' already, in services/probe"},
        {"\n\nerror('at load')", "services/bad/plugin.lua:3: at load"},
        {"error({})", "services/bad/plugin.lua: an error that is no text was raised"},
        {"local x = nil\nreturn x.y", "services/bad/plugin.lua:2: attempt to index a nil value (local 'x')"},
        {"require 'nowhere'", "services/bad/plugin.lua:1: require: there is no file 'services/bad/nowhere.lua'"},
        {"require 'lib/nowhere'", "require: there is no file 'lib/nowhere.lua'"},
        {"require '../probe/plugin'", "is no name of a file"},
        {"require(5 .. '/etc')", "there is no file"},
        {"require 'one'", "files require each other in a circle"},
        {"require 'broken'", "services/bad/broken.lua:2: <eof> expected near ')'"},
        {"while true do end", "services/bad/plugin.lua:1: loading the plugins was stopped: it used 100 ms of CPU, all "
                              "that loading may take"},
        {"return plugin(setmetatable({}, { __pairs = function () while true do end end }))", "ms of CPU"},
        {"\033Lua", "attempt to load a binary chunk"},
        {"helper = 5", "'helper' cannot be assigned: write local helper"},
        {"function helper() end", "'helper' cannot be assigned"},
        {"return plugin { name = 'a', api = 1, summary = 'x', after = 'prob' }",
         "after 'prob', which this organization does not use; did you "
         "mean 'probe'?"},
        {"return plugin { name = 'a', api = 1, summary = 'x', extends = 'a' }", "plugin 'a' extends itself in the end"},
        {"return plugin { name = 'a', api = 1, summary = 'x', extends = 'prob' }", "did you mean 'probe'?"},
        {"return plugin { name = 'a', api = 1, summary = 'x', after = 'b' }", "'after' goes in a circle"},
        {"return plugin { name = 'a', api = 1, summary = 'x', timer 'x' (function (ctx) workflow 'w' {} end) }", NULL},
};

static void test_bad_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
		struct lua_fixture f;
		script_open(&f);
		f.limits.load_cpu = 100000;
		script_probe(&f, "");
		script_file(&f, "services/b/plugin.lua",
		            "return plugin { name = 'b', api = 1, summary = 'x', after = 'a' }");
		script_file(&f, "services/bad/plugin.lua", bad_files[i].entries);
		script_file(&f, "services/bad/one.lua", "return require 'two'");
		script_file(&f, "services/bad/two.lua", "return require 'one'");
		script_file(&f, "services/bad/broken.lua", "return 1\n)");
		if (bad_files[i].words)
			script_load_fails(&f, bad_files[i].words);
		else
			script_load(&f);
		script_close_all(&f);
	}
}

/* Every problem is told, not only the first; loading goes on past a plugin that cannot be read. */
static void test_all_problems(void **state)
{
	(void)state;
	struct lua_fixture f;
	script_open(&f);
	script_file(&f, "services/a/plugin.lua", "return plugin { nam = 'a',\napi = 1 }");
	script_file(&f, "services/b/plugin.lua", "syntax error here");
	script_probe(&f, "roles = { x = {\nsumary = 'X' } },\nsettings = { a = { type = 'list', default = 5 } }");
	script_configure(&f, "{\"zone\":\"Mars/Olympus\",\"settings\":{\"prob\":{}},\"partnrs\":{}}");
	script_load_fails(&f, "riverside.lua: unknown field 'partnrs'; did you mean 'partners'?");
	static const char *const expected[] = {
	        "riverside.lua: zone 'Mars/Olympus': ",
	        "services/a/plugin.lua:1: plugin: unknown field 'nam'; did you mean 'name'?",
	        "services/a/plugin.lua:1: plugin: needs a name",
	        "services/b/plugin.lua:1: syntax error near 'error'",
	        "services/probe/plugin.lua:3: role 'x': unknown field 'sumary'; did you mean 'summary'?",
	        "services/probe/plugin.lua:4: setting 'a': its default must be a list",
	        "riverside.lua: settings.prob: the organization uses no such plugin; did you mean 'probe'?",
	};
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		script_contains(f.problems.p, expected[i]);
	script_contains(f.e.where, "riverside.lua");
	script_close_all(&f);
}

/* ---- the organization's configuration ---- */

static const struct bad bad_configuration[] = {
        {"{\"zone\":5}", "riverside.lua: zone must be text"},
        {"{\"holidays\":\"2026-01-01\"}", "holidays must be a list of dates"},
        {"{\"holidays\":[\"2026-01-01\",\"2026-13-01\"]}", "holidays[2]: '2026-13-01' is no date such as 2026-11-26"},
        {"{\"hours\":{\"opens\":\"8:00\"}}", "hours.opens must be a time such as \"08:00\""},
        {"{\"hours\":{\"opens\":\"18:00\",\"closes\":\"08:00\"}}", "hours.opens must be before hours.closes"},
        {"{\"hours\":{\"days\":[\"monday\",\"tuesdy\"]}}", "hours.days[2]: 'tuesdy' is no day of the week"},
        {"{\"hours\":{\"open\":\"08:00\"}}", "unknown field 'hours.open'"},
        {"{\"partners\":[\"lakeside\"]}", "partners must be a table by id"},
        {"{\"partners\":{\"lakeside\":5}}", "partners.lakeside must be a table"},
        {"{\"settings\":5}", "settings must be a table"},
        {"{\"settings\":{\"probe\":5}}", "settings.probe must be a table of settings"},
        {"{\"settings\":{\"probe\":{\"wayt\":\"1 day\"}}}",
         "settings.probe.wayt: plugin 'probe' has no such setting; did you mean 'wait'?"},
        {"{\"settings\":{\"probe\":{\"wait\":\"1 dy\"}}}", "settings.probe.wait "},
        {"{\"settings\":{\"probe\":{\"wait\":5}}}", "settings.probe.wait must be a duration"},
        {"{\"metrics\":{\"n\":{}}}", "metrics.n: there is no such metric"},
        {"{\"metrics\":{\"m\":5}}", "metrics.m must be a table"},
        {"{\"metrics\":{\"m\":{\"basline\":5}}}", "metrics.m: unknown field 'basline'; did you mean 'baseline'?"},
        {"{\"metrics\":{\"m\":{\"baseline\":\"x\"}}}", "metrics.m.baseline must be a number"},
        {"{\"settings\":{\"probe\":{\"wait\":\"2 "
         "days\"}},\"metrics\":{\"m\":{\"baseline\":34,\"target\":70.5}},\"holidays\":[]}",
         NULL},
};

static void test_configuration(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_configuration / sizeof *bad_configuration; i++) {
		struct lua_fixture f;
		script_open(&f);
		script_probe(&f, "settings = { wait = { type = 'duration', default = '1 day' } },\n" FLOW(
		                         "") "metric 'm' { category = "
		                             "'outcomes', of = started 'w', counts = reached('t'), baseline = 1 }");
		script_configure(&f, bad_configuration[i].entries);
		if (bad_configuration[i].words) {
			script_load_fails(&f, bad_configuration[i].words);
		} else {
			script_load(&f);
			const struct cl_catalog *catalog = cl_lua_catalog(f.lua);
			assert_true(catalog->metrics[0].baseline == 34 && catalog->metrics[0].target == 70.5);
			assert_true(cl_str_is(cl_json_text(catalog->settings[0].value), "2 days"));
			assert_true(cl_str_is(cl_json_text(catalog->settings[0].standard), "1 day"));
		}
		script_close_all(&f);
	}
}

static void test_facts(void **state)
{
	(void)state;
	struct lua_fixture f;
	script_open(&f);
	script_configure(&f, "{\"holidays\":[\"2027-01-01\",\"2026-11-26\"],\"hours\":{\"opens\":\"07:30\",\"closes\":"
	                     "\"16:00\",\"days\":["
	                     "\"sunday\",\"monday\"]},\"model\":\"coordinated\"}");
	script_load(&f);
	const struct cl_organization_facts *facts = cl_lua_facts(f.lua);
	assert_true(cl_str_is(facts->id, "riverside") && cl_str_is(facts->name, "Riverside"));
	assert_true(cl_str_is(facts->reference, "Organization/riverside") && cl_str_is(facts->model, "coordinated"));
	assert_string_equal(cl_zone_name(facts->calendar.zone), "America/Chicago");
	assert_int_equal(facts->calendar.holiday_count, 2);
	assert_true(facts->calendar.holidays[0] < facts->calendar.holidays[1]);
	assert_int_equal(facts->calendar.opens, 450);
	assert_int_equal(facts->calendar.closes, 960);
	assert_int_equal(facts->calendar.workdays, 0x41);
	assert_int_equal(facts->partner_count, 1);
	assert_true(cl_str_is(facts->partners[0], "lakeside"));
	script_close_all(&f);
}

/* ---- what the compiler makes ---- */

static const char whole[] =
        "settings = {\n"
        "	wait = { type = 'duration', default = '2 business days', help = 'How long', source = 'nobody' },\n"
        "	times = { type = 'integer', default = 3 }, aim = { type = 'number', default = 80 },\n"
        "	flags = { type = 'list', default = {} }, more = { type = 'table', default = {} }, unset = { type = "
        "'string' },\n"
        "},\n"
        "roles = { x = { summary = 'X', allow = { { 'read search', types = { 'Patient', 'Task' }, where = 'care team' "
        "},\n"
        "	{ 'transition', workflow = 'w', types = 'Task', except_labels = {} } } }, y = { summary = 'Y' } },\n"
        "workflow 'w' {\n"
        "	summary = 'W', subject = 'Patient', start = 'second', single = true, recorders = 'y', migrate = { old "
        "= 'first' },\n"
        "	parties = { mine = { 'x' }, theirs = { 'y' } },\n"
        "	second = {\n"
        "		status = 'requested', business = '2.0', accepts = { '2' }, owner = 'mine', action = 'Do', "
        "within = setting 'wait',\n"
        "		overdue = escalate('x', { again = '4 hours', times = setting 'times', finally = 'give_up' }),\n"
        "		reminders = { '1 day', { before = '4 hours', to = 'y' } },\n"
        "		on = {\n"
        "			go = { 'first', by = { 'x', 'theirs' }, needs = { 'reason', kind = { 'choice', 'a', "
        "'b', optional = true },\n"
        "				start = 'dateTime' }, help = 'Go', rule = 'R 1',\n"
        "				guard = function () return true end, effect = function () end },\n"
        "			give_up = { 'third', by = 'clock' },\n"
        "		},\n"
        "		enter = function () end,\n"
        "	},\n"
        "	first = {\n"
        "		status = 'in-progress', business = { system = 'urn:s', code = 'c', display = 'D' }, owner = "
        "'y', within = '1 week',\n"
        "		overdue = fire 'stop', on = { stop = 'third' },\n"
        "	},\n"
        "	third = { status = 'completed', final = true },\n"
        "},\n"
        "metric 'm1' { summary = 'M', category = 'outcomes', unit = '%', better = 'lower', of = started 'w',\n"
        "	counts = reached({ 'first', 'third' }, { within = setting 'wait' }), target = setting 'aim' },\n"
        "metric 'm2' { category = 'finance', of = entered('w', 'first'), measure = elapsed('second', 'first', "
        "'business days'), show = 'p90' },\n"
        "metric 'm3' { category = 'operations', of = started 'w', show = 'count' },\n"
        "metric 'm4' { category = 'operations', unit = '%', value = function () end },\n"
        "view 'v1' { summary = 'V', of = instances 'w', states = { 'first' }, columns = { 'patient', 'data.reason' }, "
        "roles = { 'x' } },\n"
        "view 'v2' { rows = function () end, columns = { 'anything' } },\n"
        "on 'w.first' (function () end), on 'Appointment.noshow' (function () end), on 'Task.create' (function () "
        "end),\n"
        "every('07:00', 'weekdays', function () end), every('08:30', 'monthly 15', function () end),\n"
        "timer 'tick' (function () end), receive 'referral' (function () end),\n"
        "operation '$screen' { summary = 'O', roles = { 'x' }, run = function () end },\n";

static void check_states(const struct cl_workflow *w)
{
	assert_int_equal(w->state_count, 3);
	assert_int_equal(w->start, 0); /* in the order of the source */
	const struct cl_state_rule *second = &w->states[0], *first = &w->states[1];
	assert_true(cl_str_is(second->name, "second") && cl_str_is(first->name, "first") && w->states[2].final);
	assert_int_equal(second->origin.line, 12);
	assert_true(cl_str_is(second->business_system, "urn:careloop:w") && cl_str_is(second->business_code, "2.0"));
	assert_true(cl_str_is(first->business_system, "urn:s") && cl_str_is(first->business_display, "D"));
	assert_true(second->within.amount == 2 && second->within.unit == CL_BUSINESS_DAYS);
	assert_true(cl_str_is(second->within_setting, "wait") && first->within_setting.n == 0);
	assert_true(cl_str_is(second->escalate_to, "x") && second->times == 3 &&
	            cl_str_is(second->finally_event, "give_up"));
	assert_true(second->again.amount == 4 && second->again.unit == CL_HOURS);
	assert_true(cl_str_is(first->overdue_event, "stop"));
	assert_int_equal(second->reminder_count, 2);
	assert_true(second->reminders[0].before.unit == CL_DAYS && cl_str_is(second->reminders[1].to, "y"));
	assert_true(second->enter != CL_NO_FUNCTION && first->enter == CL_NO_FUNCTION);
	assert_int_equal(second->transition_count, 2);
	const struct cl_transition_rule *go = &second->transitions[0];
	assert_true(cl_str_is(go->event, "go") && go->target == 1 && go->by_count == 2 && go->origin.line == 17);
	assert_true(go->guard && go->effect && go->guard != go->effect);
	assert_true(cl_str_is(go->help, "Go") && cl_str_is(go->rule, "R 1"));
	assert_int_equal(go->need_count, 3);
	assert_true(cl_str_is(go->needs[0].name, "reason") && cl_str_is(go->needs[0].type, "string"));
	assert_true(cl_str_is(go->needs[1].name, "kind") && go->needs[1].choice_count == 2 && go->needs[1].optional);
	assert_true(cl_str_is(go->needs[2].name, "start") && cl_str_is(go->needs[2].type, "dateTime"));
	assert_true(cl_str_is(second->transitions[1].by[0], "clock"));
}

static void check_measures(const struct cl_catalog *catalog)
{
	assert_int_equal(catalog->metric_count, 4);
	const struct cl_metric *m = catalog->metrics;
	assert_true(m[0].measure == CL_MEASURE_REACHED && m[0].show == CL_SHOW_PERCENT && m[0].reached_count == 2);
	assert_true(m[0].within.amount == 2 && m[0].target == 80 && isnan(m[0].baseline) && !m[0].higher_is_better);
	assert_true(m[1].measure == CL_MEASURE_ELAPSED && m[1].show == CL_SHOW_P90 &&
	            m[1].elapsed_unit == CL_BUSINESS_DAYS);
	assert_true(m[1].cohort == CL_COHORT_ENTERED && cl_str_is(m[1].cohort_state, "first") && m[1].higher_is_better);
	assert_true(m[2].measure == CL_MEASURE_COUNT && m[2].show == CL_SHOW_COUNT && m[2].cohort == CL_COHORT_STARTED);
	assert_true(m[3].measure == CL_MEASURE_FUNCTION && m[3].function != CL_NO_FUNCTION);
	assert_int_equal(catalog->view_count, 2);
	assert_true(cl_str_is(catalog->views[0].workflow, "w") && catalog->views[0].column_count == 2);
	assert_true(catalog->views[1].function != CL_NO_FUNCTION && catalog->views[1].workflow.n == 0);
}

static void test_compiled(void **state)
{
	(void)state;
	struct lua_fixture f;
	script_open(&f);
	script_probe(&f, whole);
	script_load(&f);
	const struct cl_catalog *catalog = cl_lua_catalog(f.lua);
	assert_int_equal(catalog->hash.n, 64);
	assert_true(cl_str_equal(catalog->hash, cl_lua_archive_hash(f.lasting, f.archive)));
	assert_int_equal(catalog->plugin_count, 1);
	assert_true(cl_str_is(catalog->plugins[0].folder, "services/probe") && catalog->plugins[0].hash.n == 64);
	assert_int_equal(catalog->workflow_count, 1);
	const struct cl_workflow *w = &catalog->workflows[0];
	assert_true(w->single && w->recorder_count == 1 && w->party_count == 2 && w->migrate_count == 1);
	assert_true(cl_str_is(w->parties[0].name, "mine") && cl_str_is(w->subject, "Patient"));
	check_states(w);
	check_measures(catalog);
	assert_int_equal(catalog->role_count, 2);
	const struct cl_grant *grants = catalog->roles[0].grants;
	assert_true(cl_str_is(grants[0].name, "x#1") && cl_str_is(grants[0].where, "care team") &&
	            grants[0].type_count == 2);
	assert_int_equal(grants[0].except_count, 5);
	assert_true(cl_str_is(grants[0].except_labels[0], "R") && cl_str_is(grants[0].except_labels[4], "ETH"));
	assert_true(grants[1].except_count == 0 && cl_str_is(grants[1].workflow, "w"));
	assert_int_equal(catalog->setting_count, 6);
	for (size_t i = 0; i < catalog->setting_count; i++) {
		const struct cl_setting *setting = &catalog->settings[i];
		if (cl_str_is(setting->name, "flags"))
			assert_int_equal(setting->value->kind, CL_JSON_ARRAY);
		if (cl_str_is(setting->name, "more"))
			assert_int_equal(setting->value->kind, CL_JSON_OBJECT);
		if (cl_str_is(setting->name, "unset"))
			assert_int_equal(setting->value->kind, CL_JSON_NULL);
	}
	assert_int_equal(catalog->handler_count, 3);
	assert_int_equal(catalog->recurring_count, 2);
	assert_true(catalog->recurring[1].number == 2 && catalog->recurring[1].rule.day == 15);
	assert_int_equal(catalog->timer_count, 1);
	assert_int_equal(catalog->receiver_count, 1);
	assert_true(cl_str_is(catalog->operations[0].name, "$screen") && catalog->operations[0].role_count == 1);
	script_close_all(&f);
}

/* ---- extending ---- */

#define BASE                                                                                                           \
	"return plugin { name = 'base', api = 1, summary = 'Base',\n"                                                  \
	"settings = { wait = { type = 'duration', default = '1 day', help = 'H' }, on_call = { type = 'boolean', "     \
	"default = true } },\n"                                                                                        \
	"roles = { x = { summary = 'X', allow = { { 'read', types = { 'Patient' } } } }, gone = { summary = 'G' } "    \
	"},\n"                                                                                                         \
	"workflow 'w' { start = 's', summary = 'Base',\n"                                                              \
	"	s = { status = 'requested', owner = 'x', within = setting 'wait', action = 'Act', on = {\n"                  \
	"		go = { 't', needs = { 'reason', 'more' }, guard = function () return false, 'base' end, help "              \
	"= 'Base' },\n"                                                                                                \
	"		away = 'u', stay = { 's', by = 'x' } } },\n"                                                                \
	"	t = { status = 'completed', final = true }, u = { status = 'failed', final = true } },\n"                    \
	"metric 'm' { category = 'outcomes', of = started 'w', counts = reached('t') },\n"                             \
	"metric 'n' { category = 'outcomes', of = started 'w', counts = reached('t') },\n"                             \
	"view 'v' { of = instances 'w', columns = { 'patient', 'due' } },\n"                                           \
	"on 'w.t' (function (ctx) ctx:log('base') end), timer 'tick' (function () end),\n"                             \
	"receive 'hello' (function () end) }"

static void open_extended(struct lua_fixture *f, const char *extension)
{
	script_open(f);
	script_file(f, "services/base/plugin.lua", BASE);
	script_file(f, "orgs/riverside/own/plugin.lua",
	            cl_arena_printf(f->lasting,
	                            "return plugin { name = 'own', api = 1, summary = 'Own', extends = 'base',\n%s }",
	                            extension)
	                    .p);
}

static void test_extension(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_extended(&f, "settings = { wait = { default = '4 business hours' }, on_call = { default = false }, added "
	                  "= { type = 'string' } },\n"
	                  "roles = { x = { allow = { { 'search', types = { 'Task' } } } }, y = { summary = 'Y' }, gone "
	                  "= false },\n"
	                  "workflow 'w' { summary = 'Own',\n"
	                  "	s = { action = false, on = { go = { needs = { 'other' }, guard = function () return "
	                  "true end }, away = false,\n"
	                  "		stay = 't', extra = { 'v', help = 'E' } } },\n"
	                  "	u = false, v = { status = 'cancelled', final = true } },\n"
	                  "metric 'm' { target = 5 }, metric 'n' (false), view 'v' { columns = { 'state' } },\n"
	                  "on 'w.t' (function () end), timer 'tick' (function () end)");
	script_load(&f);
	const struct cl_catalog *catalog = cl_lua_catalog(f.lua);
	const struct cl_workflow *w = &catalog->workflows[0];
	assert_true(cl_str_is(w->summary, "Own") && cl_str_is(w->origin.plugin, "base"));
	assert_int_equal(w->state_count, 3); /* s, t, v */
	const struct cl_state_rule *s = &w->states[0];
	assert_true(cl_str_is(s->name, "s") && s->action.n == 0 && s->within.amount == 4 &&
	            s->within.unit == CL_BUSINESS_HOURS);
	assert_int_equal(s->transition_count, 3);
	const struct cl_transition_rule *go = cl_state_transition(s, CL_STR("go"));
	assert_true(go->need_count == 1 && cl_str_is(go->needs[0].name, "other") && cl_str_is(go->help, "Base"));
	assert_true(cl_str_is(go->origin.plugin, "own") && cl_str_is(go->origin.file, "orgs/riverside/own/plugin.lua"));
	assert_int_equal(go->origin.line, 5);
	const struct cl_transition_rule *stay = cl_state_transition(s, CL_STR("stay"));
	assert_true(cl_str_is(w->states[stay->target].name, "t") && stay->by_count == 1);
	assert_null(cl_state_transition(s, CL_STR("away")));
	assert_int_equal(catalog->metric_count, 1);
	assert_true(catalog->metrics[0].target == 5 && catalog->metrics[0].reached_count == 1);
	assert_true(catalog->views[0].column_count == 1 && cl_str_is(catalog->views[0].columns[0], "state"));
	assert_int_equal(catalog->role_count, 2);
	assert_true(cl_str_is(catalog->roles[0].name, "x") && catalog->roles[0].grant_count == 2);
	assert_true(cl_str_is(catalog->roles[0].grants[1].origin.plugin, "own"));
	assert_int_equal(catalog->setting_count, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_true(cl_str_is(catalog->settings[i].plugin, "base"));
		if (cl_str_is(catalog->settings[i].name, "on_call"))
			assert_int_equal(catalog->settings[i].value->kind, CL_JSON_FALSE);
		if (cl_str_is(catalog->settings[i].name, "wait"))
			assert_true(cl_str_is(catalog->settings[i].help, "H"));
	}
	/* Handlers add up, timers are replaced. */
	assert_int_equal(catalog->handler_count, 2);
	assert_true(cl_str_is(catalog->handlers[0].plugin, "base") && cl_str_is(catalog->handlers[1].plugin, "own"));
	assert_int_equal(catalog->timer_count, 1);
	assert_true(cl_str_is(catalog->timers[0].plugin, "base") && cl_str_is(catalog->timers[0].origin.plugin, "own"));
	script_close_all(&f);
}

static const struct bad bad_extensions[] = {
        {"workflow 'w' { s = { on = { awy = false } } }",
         "orgs/riverside/own/plugin.lua:2: event 'awy' is taken away, but is not there; did "
         "you mean 'away'?"},
        {"workflow 'w' { u = false }", "event 'away' leads to 'u', which is no state"},
        {"workflow 'w' { x = false }", "state 'x' is taken away, but is not there"},
        {"metric 'o' (false)", "metric 'o' is taken away, but is not there"},
        {"settings = { wait = { default = 5 } }",
         "orgs/riverside/own/plugin.lua:2: setting 'wait': its default must be a duration"},
        {"settings = { wait = false }", "there is no setting 'wait'"},
        {"metric 'm' { measure = elapsed('s', 't', 'days') }",
         "say one of counts, measure and value; an extension takes the other away with "
         "false"},
        {"metric 'm' { counts = false, measure = elapsed('s', 't', 'days') }", NULL},
        {"on 'w.t' (false), receive 'hello' (false)", NULL},
        {"workflow 'w' { s = { within = '3 days' } }", NULL},
};

static void test_bad_extensions(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bad_extensions / sizeof *bad_extensions; i++) {
		struct lua_fixture f;
		open_extended(&f, bad_extensions[i].entries);
		if (bad_extensions[i].words)
			script_load_fails(&f, bad_extensions[i].words);
		else
			script_load(&f);
		script_close_all(&f);
	}
}

/* An extension of an extension; the same name without extending; one role from several plugins; the order of handlers. */
static void test_layers(void **state)
{
	(void)state;
	struct lua_fixture f;
	open_extended(&f, "workflow 'w' { s = { within = '2 days' } }, on 'w.t' (function () end)");
	script_file(&f, "orgs/riverside/more/plugin.lua",
	            "return plugin { name = 'more', api = 1, summary = 'More', extends = 'own', after = 'last',\n"
	            "workflow 'w' { s = { within = '3 days' } }, on 'w.t' (function () end) }");
	script_file(&f, "services/last/plugin.lua",
	            "return plugin { name = 'last', api = 1, summary = 'L', after = 'absent',\n"
	            "roles = { x = { allow = { { 'history', types = '*' } } } }, on 'w.t' (function () end) }");
	script_load(&f);
	const struct cl_catalog *catalog = cl_lua_catalog(f.lua);
	assert_int_equal(catalog->workflows[0].states[0].within.amount, 3);
	static const char *const order[] = {"base", "own", "last", "more"};
	assert_int_equal(catalog->handler_count, 4);
	for (size_t i = 0; i < 4; i++)
		assert_true(cl_str_is(catalog->handlers[i].plugin, order[i]));
	assert_true(catalog->roles[0].grant_count == 2 && cl_str_is(catalog->roles[0].grants[1].origin.plugin, "last"));
	script_close_all(&f);

	open_extended(&f, "");
	script_probe(&f, "workflow 'w' { start = 't', t = { status = 'completed', final = true } }");
	script_load_fails(&f, "services/probe/plugin.lua:2: workflow 'w' is declared by plugin 'base' already; to "
	                      "change it, say extends = "
	                      "\"base\"");
	script_close_all(&f);
}

/* ---- archives ---- */

static void test_archive(void **state)
{
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *archive, *copy;
	struct cl_err e = {0};
	if (cl_lua_archive(arena, "config/orgs", "plugins", "riverside", &archive, &e))
		fail_msg("%s [%s]", e.message, e.where);
	assert_true(cl_str_is(cl_json_get_text(cl_json_get(archive, "organization"), "id"), "riverside"));
	assert_non_null(cl_json_get(cl_json_get(archive, "files"), "models/coordinated/plugin.lua"));
	assert_non_null(cl_json_get(cl_json_get(archive, "files"), "orgs/riverside/local/plugin.lua"));
	/* The hash depends on what is said, not on the order in which files were found. */
	struct cl_str hash = cl_lua_archive_hash(arena, archive);
	copy = cl_json_copy(arena, archive);
	struct cl_json *files = cl_json_get(copy, "files");
	struct cl_json_member first = files->members[0];
	files->members[0] = files->members[1];
	files->members[1] = first;
	assert_true(cl_str_equal(hash, cl_lua_archive_hash(arena, copy)));
	files->members[0].value.text = CL_STR("return 5");
	assert_false(cl_str_equal(hash, cl_lua_archive_hash(arena, copy)));
	/* What is missing or tries to get out. */
	assert_int_equal(cl_lua_archive(arena, "config/orgs", "plugins", "nobody", &archive, &e), CL_E_NOT_FOUND);
	assert_int_equal(cl_lua_archive(arena, "config/orgs", "plugins", "../riverside", &archive, &e), CL_E_INVALID);
	struct cl_json *config = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, config, "model", CL_STR("../services/referral"));
	assert_int_equal(cl_lua_archive_of(arena, config, CL_STR("x"), NULL, "plugins", &archive, &e), CL_E_INVALID);
	cl_json_set_text(arena, config, "model", CL_STR("dreamed"));
	assert_int_equal(cl_lua_archive_of(arena, config, CL_STR("x"), NULL, "plugins", &archive, &e), CL_E_NOT_FOUND);
	script_contains(e.message, "model: there is no plugin 'dreamed'");
	cl_json_remove(config, "model");
	cl_json_append_text(arena, cl_json_set_array(arena, config, "plugins"), CL_STR("referral"));
	assert_int_equal(cl_lua_archive_of(arena, config, CL_STR("x"), NULL, "plugins", &archive, &e), 0);
	assert_non_null(cl_json_get(cl_json_get(archive, "files"), "services/referral/plugin.lua"));
	cl_arena_free(arena);
}

/* The organizations that are shipped load. */
static void test_shipped(void **state)
{
	(void)state;
	static const char *const ids[] = {"riverside", "lakeside", "hillside"};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		struct cl_arena *arena = cl_arena_new(0);
		struct cl_json *archive = NULL;
		struct cl_lua *lua = NULL;
		struct cl_err e = {0};
		struct cl_buf problems;
		cl_buf_init(&problems, 0);
		if (cl_lua_archive(arena, "config/orgs", "plugins", ids[i], &archive, &e) ||
		    cl_lua_open(archive, NULL, NULL, &lua, &problems, &e))
			fail_msg("%s: %s [%s]\n%.*s", ids[i], e.message, e.where, CL_STR_ARGS(cl_buf_str(&problems)));
		cl_lua_close(lua);
		cl_buf_free(&problems);
		cl_arena_free(arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_bad_files),
	        cmocka_unit_test(test_all_problems), cmocka_unit_test(test_configuration),
	        cmocka_unit_test(test_facts),        cmocka_unit_test(test_compiled),
	        cmocka_unit_test(test_extension),    cmocka_unit_test(test_bad_extensions),
	        cmocka_unit_test(test_layers),       cmocka_unit_test(test_archive),
	        cmocka_unit_test(test_shipped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
