/* writer.c: the writer thread: takes what has arrived, one transaction for all of it, answers after the commit (pitfalls 1-4, 6). */
#include "org/engine/engine.h"
#include "base/log.h"
#include <stdlib.h>
#include <unistd.h>

#define CL_FULL_PAUSE (100 * 1000) /* microseconds: timers that cannot be stored are tried again, but not in a busy loop */
#define CL_EXIT_COMMIT_FAILED 75 /* the supervisor starts the process again; what was in flight is sent again */

static bool expired(const struct cl_job *job)
{
	return job->request.deadline && job->request.deadline < cl_clock_now(&(struct cl_clock){0});
}

static void answer_code(struct cl_job *job, int code, const char *message)
{
	struct cl_err e = {0};
	cl_fail(&e, code, "%s", message);
	cl_interaction_answer_error(job->arena, NULL, &e, &job->outcome.response);
}

static void die(const struct cl_err *e)
{
	cl_log(CL_LOG_ERROR, "commit-failed", "code=%s message=%s", cl_code_name(e->code), e->message);
	_exit(CL_EXIT_COMMIT_FAILED);
}

static void run_job(struct cl_organization *organization, struct cl_job *job)
{
	if (expired(job))
		answer_code(job, CL_E_BUSY, "the request waited longer than its time; it was not run");
	else
		cl_organization_run(organization, job->arena, &job->request, &job->outcome);
}

/* After a lost transaction each request stands alone, so that only the guilty one fails (pitfalls 3). */
static void rerun_alone(struct cl_organization *organization, struct cl_job *first)
{
	for (struct cl_job *job = first; job; job = job->next) {
		struct cl_err e = {0};
		int code = cl_store_begin(organization->store, &e);
		job->outcome = (struct cl_outcome){0};
		if (!code) {
			run_job(organization, job);
			if (job->outcome.lost) {
				job->outcome.changes = NULL;
				continue;
			}
			code = cl_store_commit(organization->store, &e);
			if (code && code != CL_E_FULL)
				die(&e);
		}
		if (code) {
			job->outcome.changes = NULL;
			answer_code(job, code, "storage is full; nothing was changed");
		}
	}
}

struct cl_tick {
	struct cl_job *jobs;
	struct cl_arena *arena;
	struct cl_change *timer_changes;
	bool lost, worked;
};

static void run_tick(struct cl_engine *engine, struct cl_tick *tick)
{
	struct cl_organization *organization = engine->organization;
	struct cl_err e = {0};
	int code = cl_store_begin(organization->store, &e);
	if (code)
		die(&e);
	int64_t begun = cl_monotonic();
	struct cl_job *job = tick->jobs;
	for (; job && !tick->lost; job = job->next) {
		run_job(organization, job);
		tick->lost = job->outcome.lost;
		/* Long work commits what it has; the rest goes back to the front and waits for the next tick. */
		if (job->next && cl_monotonic() - begun > CL_ENGINE_TICK_TIME) {
			struct cl_job *rest = job->next, *last = rest;
			job->next = NULL;
			pthread_mutex_lock(&engine->writer.lock);
			for (engine->writer.count++; last->next; last = last->next)
				engine->writer.count++;
			last->next = engine->writer.first;
			if (!engine->writer.first)
				engine->writer.end = &last->next;
			engine->writer.first = rest;
			pthread_mutex_unlock(&engine->writer.lock);
			break;
		}
	}
	tick->worked = tick->jobs != NULL;
	if (!tick->lost && cl_store_timer_next(organization->store) <= cl_clock_now(organization->clock)) {
		int fired = cl_organization_fire(organization, tick->arena, 64, &tick->timer_changes, &e);
		tick->lost = fired < 0 && !cl_store_in_transaction(organization->store);
		tick->worked |= fired != 0;
	}
	if (!tick->lost && cl_audit_tail_pending(organization->tail) > 0) {
		code = cl_audit_tail_fold(organization->tail, organization->store, 2000, &e);
		tick->lost = code && !cl_store_in_transaction(organization->store);
		if (code)
			cl_log(CL_LOG_ERROR, "audit-fold-failed", "code=%s", cl_code_name(code));
		tick->worked = true;
	}
}

static void note_head(struct cl_engine *engine)
{
	struct cl_audit_head head;
	struct cl_err e = {0};
	if (cl_audit_head(engine->organization->store, &head, &e))
		return;
	pthread_mutex_lock(&engine->completed_lock);
	engine->head_new = engine->head.size != head.size;
	engine->head = head;
	pthread_mutex_unlock(&engine->completed_lock);
}

static void checkpoint(struct cl_engine *engine)
{
	struct cl_err e = {0};
	if (cl_store_wal_size(engine->organization->store) < CL_ENGINE_WAL)
		return;
	pthread_rwlock_wrlock(&engine->gate);
	int code = cl_store_checkpoint(engine->organization->store, true, &e);
	pthread_rwlock_unlock(&engine->gate);
	if (code && code != CL_E_BUSY)
		cl_log(CL_LOG_WARNING, "checkpoint-failed", "code=%s message=%s", cl_code_name(code), e.message);
}

static void take_reload(struct cl_engine *engine)
{
	struct cl_err e = {0};
	pthread_mutex_lock(&engine->reload_lock);
	struct cl_rules *rules = engine->reload;
	engine->reload = NULL;
	pthread_mutex_unlock(&engine->reload_lock);
	if (!rules)
		return;
	int code = cl_store_begin(engine->organization->store, &e);
	if (!code) {
		code = cl_organization_reload(engine->organization, rules, &e);
		if (code)
			cl_store_rollback(engine->organization->store);
		else if (cl_store_commit(engine->organization->store, &e))
			die(&e);
	}
	pthread_mutex_lock(&engine->completed_lock);
	if (!code)
		engine->published = cl_rules_keep(rules);
	engine->reload_problem = e;
	engine->reload_problem.code = code;
	engine->reload_done = true;
	pthread_mutex_unlock(&engine->completed_lock);
	cl_rules_release(rules);
	cl_engine_poke(engine);
}

static int64_t wake_time(struct cl_engine *engine)
{
	int64_t now = cl_monotonic();
	cl_instant next = cl_store_timer_next(engine->organization->store);
	cl_instant clock = cl_clock_now(engine->organization->clock);
	int64_t wake = now + 60 * CL_SECOND;
	if (next < clock + 60 * CL_SECOND)
		wake = now + (next > clock ? next - clock : 0);
	if (wake > now + CL_ENGINE_FOLD)
		wake = now + CL_ENGINE_FOLD;
	return wake;
}

void *cl_engine_writer(void *argument)
{
	struct cl_engine *engine = argument;
	struct cl_organization *organization = engine->organization;
	struct cl_arena *arena = cl_arena_new(0);
	int64_t head_at = 0, purge_at = 0;
	while (!atomic_load(&engine->stopping)) {
		struct cl_tick tick = {.arena = arena};
		struct cl_err e = {0};
		tick.jobs = cl_lane_take(&engine->writer, CL_ENGINE_TICK_JOBS, wake_time(engine));
		take_reload(engine);
		bool due = cl_store_timer_next(organization->store) <= cl_clock_now(organization->clock);
		if (!tick.jobs && !due && cl_audit_tail_pending(organization->tail) == 0)
			continue;
		run_tick(engine, &tick);
		if (tick.lost) {
			cl_log(CL_LOG_WARNING, "transaction-lost", "rerun=alone");
			cl_store_rollback(organization->store);
			tick.timer_changes = NULL;
			rerun_alone(organization, tick.jobs);
			usleep(CL_FULL_PAUSE);
		} else {
			int code = cl_store_commit(organization->store, &e);
			if (code == CL_E_FULL) {
				tick.timer_changes = NULL;
				rerun_alone(organization, tick.jobs);
				usleep(CL_FULL_PAUSE);
			} else if (code) {
				die(&e);
			}
		}
		cl_store_assert_idle(organization->store);
		if (cl_audit_tail_folded(organization->tail, organization->store, &e))
			cl_log(CL_LOG_ERROR, "audit-tail", "code=%s", cl_code_name(e.code));
		atomic_fetch_add(&organization->watch->ticks, 1);
		int64_t now = cl_monotonic();
		if (now - head_at > CL_SECOND) {
			head_at = now;
			note_head(engine);
		}
		if (now - purge_at > 60 * CL_SECOND) {
			purge_at = now;
			cl_instant clock = cl_clock_now(organization->clock);
			if (!cl_store_begin(organization->store, &e)) {
				/* Request ids outlive every resend (minutes); clients' keys a day. */
				if (cl_store_answers_purge(organization->store, clock - 10 * CL_MINUTE, clock - CL_DAY, &e))
					cl_store_rollback(organization->store);
				else if (cl_store_commit(organization->store, &e) == CL_E_IO)
					die(&e);
			}
		}
		if (organization->outbox_changed) {
			pthread_mutex_lock(&engine->completed_lock);
			engine->outbox_new = true;
			pthread_mutex_unlock(&engine->completed_lock);
			organization->outbox_changed = false;
		}
		if (tick.timer_changes) {
			/* Changes of timers travel back as a job without a request: the loop tells the streams. */
			struct cl_job *job = calloc(1, sizeof *job);
			job->arena = arena;
			job->outcome.changes = tick.timer_changes;
			job->next = tick.jobs;
			tick.jobs = job;
			arena = cl_arena_new(0);
		}
		cl_engine_complete(engine, tick.jobs);
		cl_arena_reset(arena);
		checkpoint(engine);
	}
	cl_arena_free(arena);
	return NULL;
}
