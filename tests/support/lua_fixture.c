/* lua_fixture.c: see lua_fixture.h. */
#include "support/lua_fixture.h"
#include "base/date.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void fail_with(struct lua_fixture *f, const char *what)
{
	fail_msg("%s: code %d: %s [%s]\n%.*s", what, f->e.code, f->e.message, f->e.where,
	         CL_STR_ARGS(cl_buf_str(&f->problems)));
}

struct cl_json *script_json(struct lua_fixture *f, const char *text)
{
	struct cl_json *json;
	if (cl_json_parse(f->lasting, cl_arena_copy(f->lasting, cl_str_of(text)), NULL, &json, &f->e))
		fail_msg("%s: %s", text, f->e.message);
	return json;
}

void script_contains(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("expected '%s' in: %s", words, text);
}

/* ---- archive ---- */

void script_open(struct lua_fixture *f)
{
	*f = (struct lua_fixture){0};
	f->lasting = cl_arena_new(0);
	f->arena = cl_arena_new(0);
	cl_buf_init(&f->problems, 0);
	f->archive = script_json(
	        f, "{\"organization\":{\"id\":\"riverside\",\"name\":\"Riverside\",\"zone\":\"America/Chicago\","
	           "\"holidays\":[\"2026-11-26\"],\"reference\":\"Organization/riverside\",\"partners\":{\"lakeside\":{"
	           "\"name\":\"Lakeside\",\"url\":\"https://lakeside.localhost:8443\","
	           "\"reference\":\"Organization/lakeside\"}}},\"order\":[],\"files\":{}}");
	script_at(f, "2026-11-02T09:00:00-06:00");
	script_as(f, "desk", "front_desk");
}

void script_close_all(struct lua_fixture *f)
{
	char command[128];
	cl_lua_close(f->lua); /* aborts when the Lua state left memory behind */
	cl_store_close(f->store);
	cl_buf_free(&f->problems);
	cl_arena_free(f->arena);
	cl_arena_free(f->lasting);
	if (f->folder[0]) {
		snprintf(command, sizeof command, "rm -rf %s", f->folder);
		assert_int_equal(system(command), 0);
	}
}

void script_file(struct lua_fixture *f, const char *path, const char *text)
{
	static const char plugin[] = "/plugin.lua";
	size_t n = strlen(path);
	struct cl_str name = cl_arena_copy(f->lasting, cl_str_of(path));
	struct cl_json *file = cl_json_set(f->lasting, cl_json_get(f->archive, "files"), name);
	file->kind = CL_JSON_STRING;
	file->text = cl_arena_copy(f->lasting, cl_str_of(text));
	if (n > sizeof plugin && strcmp(path + n - sizeof plugin + 1, plugin) == 0)
		cl_json_append_text(f->lasting, cl_json_get(f->archive, "order"),
		                    (struct cl_str){name.p, n - sizeof plugin + 1});
}

void script_probe(struct lua_fixture *f, const char *entries)
{
	script_file(f, "services/probe/plugin.lua",
	            cl_arena_printf(f->lasting,
	                            "return plugin { name = \"probe\", api = 1, summary = \"A probe\",\n%s\n}\n",
	                            entries)
	                    .p);
}

void script_configure(struct lua_fixture *f, const char *json)
{
	struct cl_json *more = script_json(f, json), *organization = cl_json_get(f->archive, "organization");
	for (uint32_t i = 0; i < more->count; i++)
		*cl_json_set(f->lasting, organization, more->members[i].name) = more->members[i].value;
}

void script_load(struct lua_fixture *f)
{
	cl_buf_clear(&f->problems);
	f->e = (struct cl_err){0};
	if (cl_lua_open(f->archive, &f->limits, &f->watch, &f->lua, &f->problems, &f->e))
		fail_with(f, "load");
}

void script_load_fails(struct lua_fixture *f, const char *words)
{
	cl_buf_clear(&f->problems);
	f->e = (struct cl_err){0};
	int code = cl_lua_open(f->archive, &f->limits, NULL, &f->lua, &f->problems, &f->e);
	cl_buf_add_byte(&f->problems, 0);
	if (code == 0)
		fail_msg("it loads, but '%s' was expected", words);
	assert_null(f->lua);
	assert_int_equal(code, f->e.code);
	const char *text = cl_arena_printf(f->lasting, "%s%s: %s", f->problems.p, f->e.where, f->e.message).p;
	script_contains(text, words);
}

const char *script_read_file(struct lua_fixture *f, const char *path)
{
	FILE *file = fopen(path, "r"); /* tests run in the source tree */
	if (!file)
		fail_msg("%s cannot be opened", path);
	fseek(file, 0, SEEK_END);
	size_t n = (size_t)ftell(file);
	rewind(file);
	char *text = cl_arena_alloc(f->lasting, n + 1);
	assert_int_equal(fread(text, 1, n, file), n);
	fclose(file);
	return text;
}

/* ---- store and steps ---- */

void script_store(struct lua_fixture *f)
{
	struct cl_str names[256] = {{0}};
	uint16_t count = cl_fhir_type_count();
	strcpy(f->folder, "/tmp/careloop-lua-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	for (uint16_t type = 1; type <= count && type < 256; type++)
		names[type] = cl_fhir_type_name(type);
	if (cl_store_open(f->folder, "org", CL_STORE_WRITER, &f->store, &f->e) ||
	    cl_store_name_types(f->store, names, (size_t)count + 1, &f->e))
		fail_with(f, "store");
}

void script_at(struct lua_fixture *f, const char *date_time)
{
	struct cl_moment moment;
	if (cl_moment_parse(cl_str_of(date_time), 0, &moment, &f->e))
		fail_with(f, date_time);
	f->now = moment.lower;
}

void script_as(struct lua_fixture *f, const char *name, const char *roles)
{
	f->actor = (struct cl_actor){
	        .name = cl_arena_copy(f->lasting, cl_str_of(name)),
	        .kind = CL_STR("person"),
	        .reference = cl_arena_printf(f->lasting, "Practitioner/%s", name),
	        .roles = CL_NEW_ARRAY(f->lasting, struct cl_str, 16),
	};
	while (*roles) {
		size_t n = strcspn(roles, " ");
		f->actor.roles[f->actor.role_count++] = cl_arena_copy(f->lasting, (struct cl_str){roles, n});
		roles += n + (roles[n] == ' ');
	}
}

static void begin_unit(struct lua_fixture *f, struct cl_str kind, struct cl_str key)
{
	struct cl_stored_event event = {
	        .at = f->now, .kind = kind, .actor = f->actor.name, .key = key, .outcome = CL_STR("ok")};
	if (cl_store_event_append(f->store, &event, &f->e))
		fail_with(f, "event");
	cl_unit_begin(&f->unit, f->store, f->arena, cl_lua_catalog(f->lua), cl_lua_facts(f->lua), cl_lua_script(f->lua),
	              f->now);
	f->unit.actor = f->actor;
	f->unit.key = key;
	f->unit.cause = event.sequence;
	f->unit.rule = CL_STR("test");
	cl_issues_init(&f->issues, f->arena, 0);
	if (f->expect.p)
		cl_lua_expect_budget(f->lua, f->expect);
	cl_lua_unit_begin(f->lua, &f->unit);
}

struct cl_unit *script_begin(struct lua_fixture *f)
{
	f->e = (struct cl_err){0};
	cl_arena_reset(f->arena);
	if (cl_store_begin(f->store, &f->e))
		fail_with(f, "begin");
	begin_unit(f, CL_STR("request"), cl_arena_printf(f->arena, "request-%llu", (unsigned long long)++f->inputs));
	return &f->unit;
}

int script_react(struct lua_fixture *f)
{
	int code = 0;
	for (struct cl_change *change = f->unit.changes; change && !code; change = change->next) {
		if (change->depth >= CL_UNIT_DEPTH)
			return cl_fail(&f->e, CL_E_PLUGIN, "handlers of handlers go too deep");
		f->unit.depth = change->depth + 1;
		code = cl_lua_react(f->lua, &f->unit, change, &f->e);
		f->unit.depth = 0;
	}
	return code;
}

void script_commit(struct lua_fixture *f)
{
	if (script_react(f) || cl_store_commit(f->store, &f->e))
		fail_with(f, "commit");
	cl_store_assert_idle(f->store);
}

void script_rollback(struct lua_fixture *f)
{
	cl_store_rollback(f->store);
	cl_store_assert_idle(f->store);
}

static int evaluate(struct lua_fixture *f, const char *text, char **out)
{
	struct cl_buf buffer;
	cl_buf_init(&buffer, 0);
	script_begin(f);
	int code = cl_lua_evaluate(f->lua, &f->unit, cl_str_of(text), true, &buffer, &f->e);
	if (!code)
		code = script_react(f);
	while (buffer.n && buffer.p[buffer.n - 1] == '\n')
		buffer.n--;
	*out = cl_arena_cstring(f->lasting, cl_buf_str(&buffer));
	cl_buf_free(&buffer);
	if (code)
		script_rollback(f);
	else
		script_commit(f);
	return code;
}

const char *script_do(struct lua_fixture *f, const char *text)
{
	char *out;
	if (evaluate(f, text, &out))
		fail_with(f, text);
	return out;
}

void script_is(struct lua_fixture *f, const char *text, const char *expected)
{
	const char *out = script_do(f, text);
	if (strcmp(out, expected))
		fail_msg("%s gives '%s', not '%s'", text, out, expected);
}

void script_refused(struct lua_fixture *f, const char *text, const char *words)
{
	char *out;
	if (!evaluate(f, text, &out))
		fail_msg("%s gives '%s', but '%s' was expected", text, out, words);
	script_contains(f->e.message, words);
}

void script_advance_to(struct lua_fixture *f, const char *date_time)
{
	struct cl_actor actor = f->actor;
	cl_instant start = f->now, until;
	script_at(f, date_time);
	until = f->now;
	f->now = start;
	f->actor = (struct cl_actor){.name = CL_STR("clock"), .kind = CL_STR("system")};
	for (cl_instant next; (next = cl_store_timer_next(f->store)) <= until;) {
		struct cl_timer_list due;
		f->now = next > f->now ? next : f->now;
		cl_arena_reset(f->arena);
		f->e = (struct cl_err){0};
		if (cl_store_begin(f->store, &f->e) || cl_store_timers_due(f->store, f->arena, f->now, 1, &due, &f->e))
			fail_with(f, "timers");
		struct cl_stored_timer *timer = &due.items[0];
		begin_unit(
		        f, CL_STR("timer"),
		        cl_arena_printf(f->arena, "%.*s#%lld", CL_STR_ARGS(timer->name), (long long)timer->generation));
		int code = cl_store_timer_fired(f->store, timer->name, timer->generation, &f->e);
		if (!code)
			code = cl_str_starts(timer->name, "set:") ? cl_lua_timer(f->lua, &f->unit, timer, &f->e)
			                                          : cl_instance_timer(&f->unit, timer, &f->e);
		if (code)
			fail_with(f, "timer");
		script_commit(f);
	}
	f->now = until;
	f->actor = actor;
}

int script_recur(struct lua_fixture *f, size_t number)
{
	script_begin(f);
	int code = cl_lua_recur(f->lua, &f->unit, &cl_lua_catalog(f->lua)->recurring[number], &f->e);
	if (code)
		script_rollback(f);
	else
		script_commit(f);
	return code;
}
