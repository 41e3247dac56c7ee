/* lua_state.c: opening and closing an organization's Lua; what belongs to a unit. */
#include "base/hash.h"
#include "org/lua/internal.h"
#include "org/lua/archive.h"
#include <stdio.h>

#define MIB ((size_t)1 << 20)

static struct cl_lua_limits with_defaults(const struct cl_lua_limits *given)
{
	struct cl_lua_limits limits = given ? *given : (struct cl_lua_limits){0};
	if (!limits.memory)
		limits.memory = 64 * MIB;
	if (!limits.call_cpu)
		limits.call_cpu = 100000;
	if (!limits.load_cpu)
		limits.load_cpu = 2000000;
	if (!limits.search_rows)
		limits.search_rows = 1000;
	if (!limits.pattern_steps)
		limits.pattern_steps = 1000000;
	return limits;
}

/* ---- opening ---- */

static int load(lua_State *L)
{
	struct cl_lua *lua = cl_lua_of(L);
	const struct cl_json *archive = lua_touserdata(L, 1);
	lua_settop(L, 0);
	cl_loader_run(L, archive);
	if (lua->problem_count == 0)
		cl_compile(L);
	if (lua->problem_count == 0)
		cl_ctx_open(L);
	return 0;
}

int cl_lua_open(const struct cl_json *archive, const struct cl_lua_limits *limits, struct cl_watch *watch,
                struct cl_lua **out, struct cl_buf *problems, struct cl_err *e)
{
	struct cl_err first = {0};
	*out = NULL;
	struct cl_arena *arena = cl_arena_new(0), *scratch = cl_arena_new(0);
	struct cl_lua *lua = CL_NEW(arena, struct cl_lua);
	lua->arena = arena;
	lua->watch = watch;
	lua->limits = with_defaults(limits);
	lua->problems = problems;
	lua->first_problem = &first;
	lua->script = cl_entry_script(lua);
	const struct cl_json *sorted = cl_archive_sorted(scratch, archive);
	lua->files = cl_json_get(sorted, "files");
	lua->catalog.hash = cl_lua_archive_hash(arena, archive);
	int code = cl_json_get(sorted, "organization") && lua->files && lua->files->kind == CL_JSON_OBJECT
	                   ? cl_sandbox_open(lua, e)
	                   : cl_fail(e, CL_E_INVALID,
	                             "this is no archive of plugins: organization, order and files are missing");
	if (code)
		goto done;
	cl_facts_read(lua, cl_json_get(sorted, "organization"));
	struct cl_frame frame = {.plugin = -1};
	code = cl_call_protected(lua, &frame, lua->limits.load_cpu, CL_STR("loading plugins"), load,
	                         (void *)(uintptr_t)sorted, &first);
	if (code) {
		if (problems)
			cl_buf_printf(problems, "%s%s%s\n", first.where, first.where[0] ? ": " : "", first.message);
		if (e)
			*e = first;
		goto done;
	}
	if (lua->problem_count) {
		if (e)
			*e = first;
		code = first.code;
		goto done;
	}
	/* What single declarations cannot show. */
	code = cl_catalog_check(&lua->catalog, problems, e);
	if (code)
		goto done;
	lua_gc(lua->state, LUA_GCCOLLECT); /* the declarations and what read them are garbage now */
	lua->files = NULL;
	lua->problems = NULL;
	lua->first_problem = NULL;
	*out = lua;
done:
	cl_arena_free(scratch);
	if (code)
		cl_lua_close(lua);
	return code;
}

void cl_lua_close(struct cl_lua *lua)
{
	if (!lua)
		return;
	cl_sandbox_close(lua);
	cl_zone_free(lua->zone);
	cl_arena_free(lua->arena); /* the struct itself lives there */
}

const struct cl_catalog *cl_lua_catalog(const struct cl_lua *lua)
{
	return &lua->catalog;
}

const struct cl_organization_facts *cl_lua_facts(const struct cl_lua *lua)
{
	return &lua->facts;
}

const struct cl_script *cl_lua_script(struct cl_lua *lua)
{
	return &lua->script;
}

size_t cl_lua_memory(const struct cl_lua *lua)
{
	return lua->memory;
}

/* ---- units and replay ---- */

void cl_lua_unit_begin(struct cl_lua *lua, const struct cl_unit *unit)
{
	lua->unit = unit;
	lua->cause = unit->cause;
	lua->outcome[0] = 0;
	lua->poison = (struct cl_err){0};
	lua->raised = (struct cl_err){0};
	lua->seeded = false;
}

struct cl_str cl_lua_budget_outcome(const struct cl_lua *lua)
{
	return cl_str_of(lua->outcome);
}

void cl_lua_expect_budget(struct cl_lua *lua, struct cl_str outcome)
{
	lua->replaying = true;
	snprintf(lua->expected, sizeof lua->expected, "%.*s", CL_STR_ARGS(outcome));
}
