/* lua_bench.c: what crossing into a plugin costs: a guard and an effect on a Task of 1.7 KB, handlers that do not hear, loading,
 * and the memory of a state. Run in the source tree; prints one line a measure. */
#include "base/clock.h"
#include "org/lua/lua_state.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char plugin[] =
        "return plugin { name = 'bench', api = 1, summary = 'Bench',\n"
        "roles = { x = { summary = 'X' } },\n"
        "workflow 'w' { start = 's', s = { status = 'requested', owner = 'x', within = '1 day', on = { go = { 't',\n"
        "	guard = function (ctx, task, data) return task.status == 'requested' and task.code.coding[1].code == "
        "'w' and data.n == 1 end,\n"
        "	effect = function (ctx, task, data) local id = task.id end } } }, t = { status = 'completed', final = "
        "true } },\n"
        "on 'Appointment.noshow' (function () end), on 'w.t' (function (ctx, change) local state = change.to end) }";

static void must(int code, const struct cl_err *e)
{
	if (code) {
		fprintf(stderr, "%s [%s]\n", e->message, e->where);
		exit(1);
	}
}

static struct cl_json *make_archive(struct cl_arena *arena, const char *text, struct cl_err *e)
{
	struct cl_json *archive;
	must(cl_json_parse(arena,
	                   CL_STR("{\"organization\":{\"id\":\"bench\",\"zone\":\"UTC\"},\"order\":[\"services/"
	                          "bench\"],\"files\":{}}"),
	                   NULL, &archive, e),
	     e);
	cl_json_set_text(arena, cl_json_get(archive, "files"), "services/bench/plugin.lua", cl_str_of(text));
	return archive;
}

static struct cl_json *make_task(struct cl_arena *arena, struct cl_err *e)
{
	struct cl_buf text;
	struct cl_json *task;
	cl_buf_init(&text, 0);
	cl_buf_add_cstring(&text, "{\"resourceType\":\"Task\",\"id\":\"x\",\"meta\":{\"versionId\":\"3\","
	                          "\"lastUpdated\":\"2026-11-02T15:00:00.000Z\"},"
	                          "\"status\":\"requested\",\"intent\":\"order\",\"code\":{\"coding\":[{\"system\":"
	                          "\"urn:careloop:workflow\",\"code\":\"w\"}]},"
	                          "\"for\":{\"reference\":\"Patient/p\"},\"input\":[");
	for (int i = 0; i < 9; i++)
		cl_buf_printf(&text, "%s{\"type\":{\"text\":\"part %d of what was said\"},\"valueString\":\"%0100d\"}",
		              i ? "," : "", i, i);
	cl_buf_add_cstring(&text, "]}");
	fprintf(stderr, "task of %zu bytes\n", text.n);
	must(cl_json_parse(arena, cl_arena_copy(arena, cl_buf_str(&text)), NULL, &task, e), e);
	cl_buf_free(&text);
	return task;
}

static char *read_readme(struct cl_arena *arena)
{
	static char text[100000];
	FILE *file = fopen("plugins/README.md", "r");
	size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
	if (file)
		fclose(file);
	text[n] = 0;
	char *start = strstr(text, "```lua\nreturn plugin"), *end = start ? strstr(start + 7, "```") : NULL;
	return end ? cl_arena_cstring(arena, (struct cl_str){start + 7, (size_t)(end - start - 7)}) : NULL;
}

int main(void)
{
	enum { CALLS = 200000 };
	struct cl_arena *lasting = cl_arena_new(0), *arena = cl_arena_new(0);
	struct cl_err e = {0};
	struct cl_lua *lua;
	must(cl_lua_open(make_archive(lasting, plugin, &e), NULL, NULL, &lua, NULL, &e), &e);
	struct cl_json *task = make_task(lasting, &e), *data;
	must(cl_json_parse(lasting, CL_STR("{\"n\":1}"), NULL, &data, &e), &e);
	const struct cl_transition_rule *go = &cl_lua_catalog(lua)->workflows[0].states[0].transitions[0];
	const struct cl_script *script = cl_lua_script(lua);
	struct cl_unit unit;
	cl_unit_begin(&unit, NULL, arena, cl_lua_catalog(lua), cl_lua_facts(lua), script, 0);
	unit.key = CL_STR("bench");
	cl_lua_unit_begin(lua, &unit);

	int64_t start = cl_thread_cpu();
	for (int i = 0; i < CALLS; i++) {
		must(script->guard(script->context, &unit, go->guard, CL_STR("x"), task, data, &e), &e);
		must(script->effect(script->context, &unit, go->effect, CL_STR("x"), task, data, &e), &e);
		if (i % 100 == 99)
			cl_arena_reset(arena);
	}
	printf("guard and effect      %.2f us\n", (double)(cl_thread_cpu() - start) / CALLS);

	struct cl_change change = {.operation = CL_OP_UPDATE, .type = 1, .id = CL_STR("x"), .resource = task};
	start = cl_thread_cpu();
	for (int i = 0; i < CALLS; i++)
		must(cl_lua_react(lua, &unit, &change, &e), &e);
	printf("nobody hears          %.3f us\n", (double)(cl_thread_cpu() - start) / CALLS);
	cl_lua_close(lua);

	char *readme = read_readme(lasting);
	if (!readme)
		return 0;
	start = cl_thread_cpu();
	must(cl_lua_open(make_archive(lasting, readme, &e), NULL, NULL, &lua, NULL, &e), &e);
	printf("load README's plugin  %.1f ms, %zu bytes held\n", (double)(cl_thread_cpu() - start) / 1000,
	       cl_lua_memory(lua));
	cl_lua_close(lua);
	return 0;
}
