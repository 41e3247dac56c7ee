/* measurer.c: the measure thread: metrics and measures, on a read-only connection and with a Lua of its own, so that what takes
 * seconds holds up neither writes nor searches. Between slices it lets go of the file, or the log could not be restarted
 * (pitfalls 6). */
#include "org/engine/engine.h"
#include "base/log.h"
#include "org/engine/pending.h"
#include <stdlib.h>

struct measurer {
	struct cl_engine *engine;
	struct cl_store *store;
	struct cl_rules *rules; /* those that `lua` was made of */
	struct cl_lua *lua;
};

/* The same plugins as the rules have, in a state that this thread alone uses. */
static int take_rules(struct measurer *measurer, struct cl_rules *rules, struct cl_err *e)
{
	if (measurer->rules == rules)
		return 0;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *archive;
	struct cl_lua *lua = NULL;
	int code = cl_json_parse(arena, rules->archive_text, NULL, &archive, e);
	if (!code)
		code = cl_lua_open(archive, NULL, NULL, &lua, NULL, e);
	cl_arena_free(arena);
	if (code)
		return code;
	cl_lua_close(measurer->lua);
	cl_rules_release(measurer->rules);
	measurer->lua = lua;
	measurer->rules = cl_rules_keep(rules);
	return 0;
}

static void open_gate(struct measurer *measurer)
{
	struct cl_err ignored = {0};
	pthread_rwlock_rdlock(&measurer->engine->gate);
	cl_store_snapshot_begin(measurer->store, &ignored);
}

static void close_gate(struct measurer *measurer)
{
	cl_store_snapshot_end(measurer->store);
	pthread_rwlock_unlock(&measurer->engine->gate);
}

static void pause_work(void *context)
{
	close_gate(context);
	open_gate(context);
}

static void run_job(struct measurer *measurer, struct cl_job *job)
{
	struct cl_engine *engine = measurer->engine;
	struct cl_err problem = {0};
	struct cl_issues issues;
	const struct cl_principal *principal;
	cl_issues_init(&issues, job->arena, 0);
	cl_instant now = cl_clock_now(engine->organization->clock);
	if (job->request.deadline && job->request.deadline < now)
		cl_fail(&problem, CL_E_BUSY, "the request waited longer than its time; it was not run");
	else if (!take_rules(measurer, job->rules, &problem))
		cl_interaction_principal(job->rules, measurer->store, job->arena, &job->request, &job->route, now,
		                         &principal, &problem);
	if (problem.code) {
		cl_interaction_answer_error(job->arena, NULL, &problem, &job->outcome.response);
		return;
	}
	struct cl_interaction_context context = {
	        .arena = job->arena,
	        .store = measurer->store,
	        .rules = job->rules,
	        .request = &job->request,
	        .route = &job->route,
	        .principal = principal,
	        .now = now,
	        .response = &job->outcome.response,
	        .issues = &issues,
	        .lua = measurer->lua,
	        .pause = pause_work,
	        .pausing = measurer,
	};
	open_gate(measurer);
	cl_interaction_run_read(&context, engine->organization->tail);
	close_gate(measurer);
}

/* One pending report: computed here, stored by the writer. */
static void fill_in(struct measurer *measurer, const struct cl_version *version, struct cl_rules *rules)
{
	static const struct cl_route route = {.kind = CL_ROUTE_MEASURE};
	static const struct cl_principal itself = {.name = {"console", 7}, .kind = {"system", 6}, .console = true};
	struct cl_engine *engine = measurer->engine;
	struct cl_err problem = {0};
	struct cl_issues issues;
	struct cl_job *job = calloc(1, sizeof *job);
	job->arena = cl_arena_new(0);
	cl_issues_init(&issues, job->arena, 0);
	struct cl_request nothing = {0};
	struct cl_interaction_context context = {
	        .arena = job->arena,
	        .store = measurer->store,
	        .rules = rules,
	        .request = &nothing,
	        .route = &route,
	        .principal = &itself,
	        .now = cl_clock_now(engine->organization->clock),
	        .response = &job->outcome.response,
	        .issues = &issues,
	        .lua = measurer->lua,
	        .pause = pause_work,
	        .pausing = measurer,
	};
	open_gate(measurer);
	int code = cl_pending_answer(&context, version, &job->request, &problem);
	close_gate(measurer);
	job->outcome = (struct cl_outcome){0};
	if (!code && !cl_route_find(job->arena, &job->request, &job->route, &problem) &&
	    cl_lane_push(&engine->writer, job))
		return;
	cl_log(CL_LOG_WARNING, "measure-not-filled-in", "code=%s", cl_code_name(problem.code));
	cl_arena_free(job->arena);
	free(job);
}

static void fill_in_pending(struct measurer *measurer, struct cl_job *job)
{
	struct cl_search_result found = {0};
	struct cl_err problem = {0};
	open_gate(measurer);
	int code = cl_pending_find(measurer->store, job->arena, &found, &problem);
	close_gate(measurer);
	if (!code && found.count)
		code = take_rules(measurer, job->rules, &problem);
	for (size_t i = 0; i < found.count && !code && !atomic_load(&measurer->engine->stopping); i++)
		fill_in(measurer, &found.items[i], job->rules);
	if (code)
		cl_log(CL_LOG_WARNING, "measures-pending", "code=%s", cl_code_name(code));
}

void *cl_engine_measurer(void *argument)
{
	struct measurer measurer = {.engine = argument};
	struct cl_engine *engine = argument;
	struct cl_err e = {0};
	if (cl_store_open(engine->folder, engine->organization->id.p, CL_STORE_READER, &measurer.store, &e)) {
		cl_log(CL_LOG_ERROR, "measurer-open", "message=%s", e.message);
		abort();
	}
	while (!atomic_load(&engine->stopping)) {
		struct cl_job *job = cl_lane_take(&engine->measurer, 1, INT64_MAX);
		if (!job)
			continue;
		if (job->route.kind == CL_ROUTE_NONE)
			fill_in_pending(&measurer, job);
		else
			run_job(&measurer, job);
		cl_engine_complete(engine, job);
	}
	cl_lua_close(measurer.lua);
	cl_rules_release(measurer.rules);
	cl_store_close(measurer.store);
	return NULL;
}
