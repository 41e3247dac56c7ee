/* organization.h: one organization without threads or sockets: its file, its rules, its clock. Everything that decides what
 * happens stands at or below this header, so that tests run it under a virtual clock and replay it. */
#pragma once
#include "org/access/access.h"
#include "org/lua/lua_state.h"
#include "org/store/audit.h"
#include "wire/frame.h"
#include <pthread.h>
#include <stdatomic.h>

#define CL_STATEMENTS 8

/* The rules in force: plugins, roles, principals. Immutable, shared by the threads, replaced as a whole on reload. The Lua
 * state inside is used by the writer only. */
struct cl_rules {
	_Atomic int references;
	struct cl_lua *lua;
	const struct cl_catalog *catalog;
	const struct cl_organization_facts *facts;
	struct cl_access *access;
	struct cl_str archive_text; /* for the plugin-text table; owned */
	cl_instant loaded; /* wall clock: since when what the organization can do is as it is */
	/* CapabilityStatements that were asked for, by address (capability.c). */
	pthread_mutex_t statement_lock;
	struct cl_statement {
		char *base;
		struct cl_str text;
		char tag[40]; /* as an ETag */
	} statements[CL_STATEMENTS];
};

/* Takes the archive (cl_lua_archive, with `anchor` of every principal filled in); `watch` may be NULL. */
int cl_rules_new(const struct cl_json *archive, const struct cl_lua_limits *limits, struct cl_watch *watch,
                 struct cl_rules **out, struct cl_buf *problems, struct cl_err *e);
struct cl_rules *cl_rules_keep(struct cl_rules *rules);
void cl_rules_release(struct cl_rules *rules);
void cl_statements_free(struct cl_rules *rules);

struct cl_organization {
	struct cl_str id;
	const char *folder; /* borrowed from the caller of cl_organization_open */
	struct cl_store *store; /* writer connection */
	struct cl_audit_tail *tail;
	struct cl_subscribers
	        *subscribers; /* the writer's: active subscriptions, compiled (subscribe.c); NULL before the first */
	struct cl_rules *rules; /* the writer's; published to other threads by the engine */
	struct cl_clock *clock;
	struct cl_watch *watch; /* never NULL: a private page when there is no supervisor */
	struct cl_watch own_watch;
	bool measures_pending; /* a MeasureReport waits to be filled in: whoever runs the organization sees to it and clears this */
	/* What the last tick did, for the engine: cleared by cl_organization_tick_begin. */
	bool timers_changed, outbox_changed;
	struct cl_throttle *throttle; /* of failed proofs at the token endpoint; the thread's that proves */
	struct cl_exports *exports; /* the engine's, for the console; NULL without one */
	long failed_timers; /* runs that failed since it was opened */
	int64_t reply_minute; /* of reply links that do not exist: the minute, and how many were asked for in it */
	int reply_misses;
};

/* Opens or creates <folder>/<id>.db and loads the rules; records the plugin texts and, when their hash is new, a "load" event;
 * sets the recurring timers. */
int cl_organization_open(const char *folder, const char *id, struct cl_rules *rules, struct cl_clock *clock,
                         struct cl_watch *watch, struct cl_organization **out, struct cl_err *e);
void cl_organization_close(struct cl_organization *organization);

/* ---- inside the writer's transaction (cl_store_begin ... cl_store_commit by the caller) ---- */

/* What a request's run left behind. Memory from the arena passed. */
struct cl_outcome {
	struct cl_response response;
	struct cl_change *changes; /* for event streams; published after the commit only */
	cl_instant modified; /* of the version that the response is about; 0 when there is none */
	bool lost; /* SQLite rolled the whole transaction back: rerun alone (pitfalls 3) */
};

/* Runs one request in its own SAVEPOINT, whatever it is. Never fails: refusals become responses. */
void cl_organization_run(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                         struct cl_outcome *out);
struct cl_token_proof;
/* The same with what another thread has proved already; NULL = nothing. */
void cl_organization_run_proved(struct cl_organization *organization, struct cl_arena *arena,
                                const struct cl_request *request, const struct cl_token_proof *proof,
                                struct cl_outcome *out);
/* Fires timers due by the clock's now, in order of due, at most `limit`, each in its own SAVEPOINT. A timer that fails is put
 * off and, failing again and again, quarantined. Returns how many fired, or a negative code when the transaction is lost. */
int cl_organization_fire(struct cl_organization *organization, struct cl_arena *arena, uint32_t limit,
                         struct cl_change **changes, struct cl_err *e);
/* Replaces the rules: migrates instances in flight; the old rules are released. On error nothing changed. */
int cl_organization_reload(struct cl_organization *organization, struct cl_rules *rules, struct cl_err *e);

/* ---- whole steps with their own transactions, for tests and tools ---- */

/* One request: begin, run, commit. */
void cl_organization_execute(struct cl_organization *organization, struct cl_arena *arena,
                             const struct cl_request *request, struct cl_response *response);
/* Virtual clocks only: goes to `until`, stopping at every due timer on the way. Returns how many fired. In the transaction that is
 * open, or in its own. */
int64_t cl_organization_advance(struct cl_organization *organization, cl_instant until, struct cl_err *e);

/* Replays the event log of `from` into the fresh file of `into` (same secret): every row must come out equal. */
int cl_organization_replay(struct cl_store *from, const char *folder, const char *id, struct cl_err *e);
