/* lua_fixture.h: an archive of plugins made of texts, an organization's Lua loaded from it, and a small engine around a real
 * store with a virtual clock: one transaction a step, handlers after it, timers one by one. */
#pragma once
#include "org/flow/instance.h"
#include "org/flow/metric.h"
#include "org/lua/lua_state.h"

struct lua_fixture {
	struct cl_arena *lasting; /* the archive, names */
	struct cl_json *archive;
	struct cl_lua_limits limits;
	struct cl_watch watch;
	struct cl_lua *lua;
	struct cl_buf problems;
	struct cl_err e;

	char folder[64]; /* of the store; empty until script_store */
	struct cl_store *store;
	struct cl_arena *arena; /* of the step; results live until the next script_begin */
	struct cl_unit unit;
	struct cl_actor actor;
	struct cl_issues issues;
	cl_instant now;
	uint64_t inputs;
	struct cl_str expect; /* given to cl_lua_expect_budget before each step, when not NULL */
};

/* An archive without plugins: organization "riverside", zone America/Chicago, partner lakeside, Thanksgiving off. */
void script_open(struct lua_fixture *f);
void script_close_all(struct lua_fixture *f);
/* Adds a file; "plugin.lua" files are loaded in the order in which they were added. */
void script_file(struct lua_fixture *f, const char *path, const char *text);
/* One plugin "probe" in services/probe whose declarations are `entries`: fields and positional ones of plugin { ... }. */
void script_probe(struct lua_fixture *f, const char *entries);
/* Merges a JSON object into the organization's configuration. */
void script_configure(struct lua_fixture *f, const char *json);
/* Loads; fails the test with the problems. */
void script_load(struct lua_fixture *f);
/* Must not load: `words` among the problems. */
void script_load_fails(struct lua_fixture *f, const char *words);
/* Opens a store in a temporary folder. */
void script_store(struct lua_fixture *f);

void script_at(struct lua_fixture *f, const char *date_time);
void script_as(struct lua_fixture *f, const char *name, const char *roles);
/* A step: begin, work, then commit (which runs handlers) or rollback. */
struct cl_unit *script_begin(struct lua_fixture *f);
int script_react(struct lua_fixture *f); /* handlers of everything that changed; script_commit calls it */
void script_commit(struct lua_fixture *f);
void script_rollback(struct lua_fixture *f);
/* Evaluates at the console in a step of its own, committed when it succeeded. The output without its last newline. */
const char *script_do(struct lua_fixture *f, const char *text);
void script_is(struct lua_fixture *f, const char *text, const char *expected);
/* Must fail with these words; the code is in f->e. */
void script_refused(struct lua_fixture *f, const char *text, const char *words);
/* Goes there and fires timers on the way, recurrences included when script_recur_from was called. */
void script_advance_to(struct lua_fixture *f, const char *date_time);
/* Runs a recurrence now. */
int script_recur(struct lua_fixture *f, size_t number);
struct cl_json *script_json(struct lua_fixture *f, const char *text);
void script_contains(const char *text, const char *words);
/* Text of a file of the source tree, in `lasting`. */
const char *script_read_file(struct lua_fixture *f, const char *path);
