/* lua_state.h: one organization's Lua: sandboxed, budgeted, deterministic, replaceable between any two events. The only room
 * that includes Lua's headers besides base/config.c. Every entry from C is a protected call here; nobody else calls Lua. */
#pragma once
#include "org/flow/unit.h"
#include "wire/watch.h"

struct cl_lua;

struct cl_lua_limits {
	size_t memory; /* bytes for the whole state; default 64 MiB */
	int64_t call_cpu; /* microseconds of thread CPU time a call; default 100,000 */
	int64_t load_cpu; /* for loading all plugins; default 2,000,000 */
	uint32_t search_rows; /* default 1,000 */
	uint32_t pattern_steps; /* default 1,000,000 */
};

/* Everything an organization's Lua is made of, as one JSON object that can be hashed, stored and loaded again:
 * { "organization": {configuration}, "order": ["lib/…", "models/coordinated", …], "files": { "models/coordinated/plugin.lua": "text", … } }.
 * Reads <organizations_folder>/<id>.lua, the plugins it names (model, programs, services, plugins) from `plugins_folder`,
 * and the organization's own plugins from <organizations_folder>/<id>/. */
int cl_lua_archive(struct cl_arena *arena, const char *organizations_folder, const char *plugins_folder, const char *id,
                   struct cl_json **out, struct cl_err *e);
/* The same from a configuration that was read already (tests, staging). `own_folder` holds the organization's own plugins, NULL
 * when it has none; a name in `plugins` that is not there may also be a shipped plugin. */
int cl_lua_archive_of(struct cl_arena *arena, const struct cl_json *config, struct cl_str id, const char *own_folder,
                      const char *plugins_folder, struct cl_json **out, struct cl_err *e);
/* Lower-case hex SHA-256 over the canonical text of the archive. */
struct cl_str cl_lua_archive_hash(struct cl_arena *arena, const struct cl_json *archive);

/* Loads, merges, checks (cl_workflow_check among others) and compiles. Errors name plugin, file and line. `watch` may be NULL.
 * `problems` (may be NULL) gets every problem found, one a line. The archive is copied. */
int cl_lua_open(const struct cl_json *archive, const struct cl_lua_limits *limits, struct cl_watch *watch,
                struct cl_lua **out, struct cl_buf *problems, struct cl_err *e);
void cl_lua_close(struct cl_lua *lua);
const struct cl_catalog *cl_lua_catalog(const struct cl_lua *lua);
const struct cl_organization_facts *cl_lua_facts(const struct cl_lua *lua);
const struct cl_script *cl_lua_script(struct cl_lua *lua);
size_t cl_lua_memory(const struct cl_lua *lua);

/* Runs every `on` handler that hears of the change, in order. */
int cl_lua_react(struct cl_lua *lua, struct cl_unit *unit, const struct cl_change *change, struct cl_err *e);
int cl_lua_recur(struct cl_lua *lua, struct cl_unit *unit, const struct cl_recurring *recurring, struct cl_err *e);
int cl_lua_timer(struct cl_lua *lua, struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e);
/* A FHIR message Bundle from a partner; CL_E_UNSUPPORTED when no plugin receives its event. */
int cl_lua_receive(struct cl_lua *lua, struct cl_unit *unit, struct cl_str sender, struct cl_json *bundle,
                   struct cl_err *e);
int cl_lua_operation(struct cl_lua *lua, struct cl_unit *unit, const struct cl_operation_rule *operation,
                     struct cl_json *input, struct cl_str target, struct cl_json **out, struct cl_err *e);
/* Rows of a function view: array of objects. */
int cl_lua_view(struct cl_lua *lua, struct cl_unit *unit, const struct cl_view *view, struct cl_json **rows,
                struct cl_err *e);
/* The console's Lua prompt: expression first, then statement. With `write` false every changing call of ctx is refused. */
int cl_lua_evaluate(struct cl_lua *lua, struct cl_unit *unit, struct cl_str text, bool write, struct cl_buf *out,
                    struct cl_err *e);
/* Runs the plugin's tests (from the archive) inside this engine with a virtual clock: see plugin_test.h in engine. */

/* Budget outcome of the last unit: empty, or "budget:<plugin>:<file>:<line>" when a call was stopped. Replay passes what was
 * recorded to cl_lua_expect_budget before it runs the unit: the same call then stops at once, whatever its CPU time. */
struct cl_str cl_lua_budget_outcome(const struct cl_lua *lua);
void cl_lua_expect_budget(struct cl_lua *lua, struct cl_str outcome);
/* Clears per-unit state (budget outcome, random seed from unit->key). Call before each input. */
void cl_lua_unit_begin(struct cl_lua *lua, const struct cl_unit *unit);
