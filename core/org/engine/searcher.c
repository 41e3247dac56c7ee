/* searcher.c: a search thread: pure C on a read-only connection, behind the gate that keeps the log small (pitfalls 6). */
#include "org/engine/engine.h"
#include "base/log.h"
#include "org/engine/run.h"
#include <stdlib.h>
#include <sys/resource.h>

/* Microseconds that a search may run while the writer waits for the log to be free of readers. */
#define PATIENCE (2 * 1000 * 1000)

struct run {
	struct cl_engine *engine;
	struct cl_job *job;
};

/* Nobody waits for the answer any more, or writes wait for it: a search never holds those up for long. */
static int is_late(void *context)
{
	const struct run *run = context;
	const struct cl_job *job = run->job;
	if (atomic_load_explicit(&job->cancelled, memory_order_relaxed))
		return 1;
	if (atomic_load_explicit(&run->engine->gate_wanted, memory_order_relaxed) &&
	    cl_monotonic() - job->begun > PATIENCE)
		return 1;
	return job->request.deadline && job->request.deadline < cl_clock_now(&(struct cl_clock){0});
}

/* False for what looked like a batch of reads and is none: nothing was done. */
static bool run_search(struct cl_engine *engine, struct cl_store *store, struct cl_job *job)
{
	bool done = true;
	struct cl_err problem = {0};
	struct cl_issues issues;
	const struct cl_principal *principal;
	cl_issues_init(&issues, job->arena, 0);
	cl_instant now = cl_clock_now(engine->organization->clock);
	struct run run = {engine, job};
	if (atomic_load(&job->cancelled))
		cl_fail(&problem, CL_E_BUSY, "the request was taken back before it was run");
	else if (job->request.deadline && job->request.deadline < now)
		cl_fail(&problem, CL_E_BUSY, "the request waited longer than its time; it was not run");
	else
		cl_interaction_principal(job->rules, store, job->arena, &job->request, &job->route, now, &principal,
		                         &problem);
	if (problem.code == CL_E_UNAUTHENTICATED)
		cl_interaction_audit_stranger(engine->organization->tail, &job->request, &job->route, now);
	if (problem.code) {
		cl_interaction_answer_stranger(job->arena, &job->request, &problem, &job->outcome.response);
		return true;
	}
	struct cl_interaction_context context = {
	        .arena = job->arena,
	        .store = store,
	        .rules = job->rules,
	        .request = &job->request,
	        .route = &job->route,
	        .principal = principal,
	        .now = now,
	        .response = &job->outcome.response,
	        .issues = &issues,
	        .exports = engine->exports,
	};
	pthread_rwlock_rdlock(&engine->gate);
	cl_store_set_progress(store, is_late, &run);
	/* All that one answer tells is of one moment: matches, what is included, the total. */
	cl_store_snapshot_begin(store, &problem);
	if (job->route.kind == CL_ROUTE_BUNDLE)
		done = cl_batch_of_reads(&context, engine->organization->tail);
	else
		cl_interaction_run_read(&context, engine->organization->tail);
	cl_store_snapshot_end(store);
	cl_store_set_progress(store, NULL, NULL);
	pthread_rwlock_unlock(&engine->gate);
	return done;
}

/* To the writer after all; false when its lane is full. */
static bool pass_on(struct cl_engine *engine, struct cl_job *job)
{
	struct cl_err problem = {0};
	cl_rules_release(job->rules);
	job->rules = NULL;
	job->outcome = (struct cl_outcome){0};
	if (cl_lane_push(&engine->writer, job))
		return true;
	cl_fail(&problem, CL_E_BUSY, "the organization is busy; try again in a moment");
	cl_interaction_answer_error(job->arena, NULL, &problem, &job->outcome.response);
	return false;
}

void *cl_engine_searcher(void *argument)
{
	struct cl_engine *engine = argument;
	struct cl_store *store;
	struct cl_err e = {0};
	if (cl_store_open(engine->folder, engine->organization->id.p, CL_STORE_READER, &store, &e)) {
		cl_log(CL_LOG_ERROR, "searcher-open", "message=%s", e.message);
		abort();
	}
	/* The loop's reads and the writer come first where threads are more than cores. */
	setpriority(PRIO_PROCESS, 0, 10);
	while (!atomic_load(&engine->stopping)) {
		struct cl_job *job = cl_fair_take(&engine->searcher);
		if (!job)
			continue;
		bool done = run_search(engine, store, job);
		cl_fair_done(&engine->searcher, job);
		if (done || !pass_on(engine, job))
			cl_engine_complete(engine, job);
	}
	cl_store_close(store);
	return NULL;
}
