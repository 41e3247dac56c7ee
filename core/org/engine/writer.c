/* writer.c: the writer thread: takes what has arrived, one transaction for all of it, answers after the commit (pitfalls 1-4, 6). */
#include "org/engine/engine.h"
#include "base/log.h"
#include "org/engine/run.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CL_FULL_PAUSE                                                                                                  \
	(100 * 1000) /* microseconds: timers that cannot be stored are tried again, but not in a busy loop */
#define CL_TAIL_LARGE (256 * 1024) /* bytes of read leaves that are folded without waiting for company */
#define CL_GATE_PATIENCE (50 * 1000) /* microseconds that a checkpoint waits for searches to end */
#define CL_GATE_SHUT (2 * CL_ENGINE_WAL) /* a log of this size stops those that have had their time (searcher.c) */
#define CL_PURGE_ROWS 1000 /* at most, of one cl_store_answers_purge */
#define CL_CHECKPOINT_TRIES 40
#define CL_CHECKPOINT_PAUSE 500 /* microseconds */
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
	if (!expired(job)) {
		cl_organization_run_proved(organization, job->arena, &job->request,
		                           job->proof.made ? &job->proof : NULL, &job->outcome);
		if (!job->link && job->outcome.response.status >= 300)
			cl_log(CL_LOG_WARNING, "measure-not-stored", "status=%d", job->outcome.response.status);
	}
	/* One that is sent again may have been run by the process that died. */
	else if (!cl_run_answered_before(organization, job->arena, &job->request, &job->outcome.response))
		answer_code(job, CL_E_BUSY, "the request waited longer than its time; it was not run");
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
				/* Also when SQLite has not: its savepoint may be left open. */
				cl_store_rollback(organization->store);
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
	bool stuck; /* a timer can neither fire nor be put off, or read leaves not be folded: tried again, but not in a busy loop */
};

/* All or nothing: leaves without the place up to which they were folded would be folded again. */
static int fold(struct cl_organization *organization, struct cl_err *e)
{
	struct cl_err ignored = {0};
	int code = cl_store_savepoint(organization->store, e);
	if (code)
		return code;
	code = cl_audit_tail_fold(organization->tail, organization->store, 2000, e);
	if (code)
		cl_store_rollback_to(organization->store, &ignored);
	int released = cl_store_release(organization->store, &ignored);
	return code ? code : released;
}

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
		tick->stuck = fired < 0;
		if (fired < 0)
			cl_log(CL_LOG_ERROR, "timers-stuck", "code=%s message=%s", cl_code_name(fired), e.message);
	}
	if (!tick->lost && cl_audit_tail_pending(organization->tail) > 0) {
		code = fold(organization, &e);
		tick->lost = code && !cl_store_in_transaction(organization->store);
		tick->stuck |= code != 0;
		if (code)
			cl_log(CL_LOG_ERROR, "audit-fold-failed", "code=%s", cl_code_name(code));
		tick->worked = true;
	}
}

/* At most once a second; also when nothing is to be done, or the last head would wait for the next request. */
static void note_head(struct cl_engine *engine, int64_t *at)
{
	struct cl_audit_head head;
	struct cl_err e = {0};
	int64_t now = cl_monotonic();
	if (now - *at < CL_SECOND || cl_audit_head(engine->organization->store, &head, &e))
		return;
	*at = now;
	pthread_mutex_lock(&engine->completed_lock);
	bool changed = engine->head.size != head.size;
	engine->head_new |= changed;
	engine->head = head;
	pthread_mutex_unlock(&engine->completed_lock);
	if (changed)
		cl_engine_poke(engine);
}

/* A long search must not hold up every write: the log may grow for a while. */
static bool shut_gate(struct cl_engine *engine, int64_t wal)
{
	struct timespec until;
	if (wal >= CL_GATE_SHUT) {
		atomic_store(&engine->gate_wanted, true);
		bool shut = !pthread_rwlock_wrlock(&engine->gate);
		atomic_store(&engine->gate_wanted, false);
		return shut;
	}
	int64_t end = cl_monotonic() + CL_GATE_PATIENCE;
	until = (struct timespec){end / CL_SECOND, end % CL_SECOND * 1000};
	return !pthread_rwlock_clockwrlock(&engine->gate, CLOCK_MONOTONIC, &until);
}

static void checkpoint(struct cl_engine *engine, int64_t *not_before)
{
	struct cl_err e = {0};
	int64_t wal = cl_store_wal_size(engine->organization->store), now = cl_monotonic();
	if (wal < CL_ENGINE_WAL || (now < *not_before && wal < CL_GATE_SHUT))
		return;
	if (!shut_gate(engine, wal)) {
		*not_before = now + CL_SECOND;
		return;
	}
	/* The gate holds searches off, not the loop's reads by id: those take microseconds, unless the machine is busy. */
	int code = CL_E_BUSY;
	for (int i = 0; i < CL_CHECKPOINT_TRIES && code == CL_E_BUSY; i++) {
		if (i)
			usleep(CL_CHECKPOINT_PAUSE);
		e = (struct cl_err){0};
		code = cl_store_checkpoint(engine->organization->store, true, &e);
	}
	pthread_rwlock_unlock(&engine->gate);
	if (code && code != CL_E_BUSY)
		cl_log(CL_LOG_WARNING, "checkpoint-failed", "code=%s message=%s", cl_code_name(code), e.message);
}

static int load_staged(struct cl_engine *engine, const char *file, struct cl_rules **rules, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *archive = NULL;
	struct cl_buf text;
	int code;
	cl_buf_init(&text, 64 * 1024 * 1024);
	FILE *in = fopen(cl_arena_printf(arena, "%s/%s", engine->folder, file).p, "re");
	if (!in) {
		code = cl_fail(e, CL_E_NOT_FOUND, "no staged plugins to load");
	} else {
		char block[65536];
		size_t n;
		while ((n = fread(block, 1, sizeof block, in)) > 0)
			cl_buf_add(&text, block, n);
		fclose(in);
		code = cl_json_parse(arena, cl_buf_str(&text), NULL, &archive, e);
		if (!code)
			code = cl_rules_new(archive, NULL, engine->organization->watch, rules, NULL, e);
	}
	cl_buf_free(&text);
	cl_arena_free(arena);
	return code;
}

static void take_reload(struct cl_engine *engine)
{
	struct cl_organization *organization = engine->organization;
	struct cl_err e = {0};
	struct cl_rules *rules = NULL, *unseen = NULL;
	char file[sizeof engine->reload_file];
	pthread_mutex_lock(&engine->reload_lock);
	memcpy(file, engine->reload_file, sizeof file);
	engine->reload_file[0] = 0;
	pthread_mutex_unlock(&engine->reload_lock);
	if (!file[0])
		return;
	cl_run_watch(organization, CL_WATCH_LOAD, CL_STR("reload"), "reload", cl_str_of(file));
	int code = load_staged(engine, file, &rules, &e);
	cl_run_watch_end(organization);
	if (!code)
		code = cl_store_begin(organization->store, &e);
	if (!code) {
		code = cl_organization_reload(organization, rules, &e);
		if (code)
			cl_store_rollback(organization->store);
		else if (cl_store_commit(organization->store, &e))
			die(&e);
	}
	pthread_mutex_lock(&engine->completed_lock);
	if (!code) {
		unseen = engine->published;
		engine->published = cl_rules_keep(rules);
	}
	engine->reload_problem = e;
	engine->reload_problem.code = code;
	engine->reload_done = true;
	pthread_mutex_unlock(&engine->completed_lock);
	cl_rules_release(unseen);
	cl_rules_release(rules);
	cl_engine_poke(engine);
}

/* Kept answers go as fast as they come, or they would fill the file. */
static void purge(struct cl_organization *organization, unsigned calls)
{
	struct cl_err e = {0};
	cl_instant clock = cl_clock_now(organization->clock);
	if (cl_store_begin(organization->store, &e))
		return;
	/* Request ids outlive every resend (minutes); clients' keys a day. */
	int code = 0;
	while (!code && calls--)
		code = cl_store_answers_purge(organization->store, clock - 10 * CL_MINUTE, clock - CL_DAY, &e);
	if (!code)
		code = cl_store_tokens_purge(organization->store, clock, &e);
	if (code)
		cl_store_rollback(organization->store);
	else if (cl_store_commit(organization->store, &e) == CL_E_IO)
		die(&e);
}

/* A job without a route: the measurer looks for reports that wait. */
static void tell_measurer(struct cl_engine *engine)
{
	struct cl_organization *organization = engine->organization;
	if (!organization->measures_pending)
		return;
	struct cl_job *job = calloc(1, sizeof *job);
	job->arena = cl_arena_new(0);
	job->rules = cl_rules_keep(organization->rules);
	organization->measures_pending = !cl_lane_push(&engine->measurer, job);
	if (!organization->measures_pending)
		return;
	cl_rules_release(job->rules);
	cl_arena_free(job->arena);
	free(job);
}

static int64_t wake_time(struct cl_engine *engine)
{
	int64_t now = cl_monotonic();
	if (atomic_load(&engine->stopping) || cl_audit_tail_pending(engine->organization->tail) > CL_TAIL_LARGE)
		return now;
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
	int64_t head_at = 0, purge_at = 0, checkpoint_at = 0;
	organization->measures_pending = true; /* those that waited when the process ended */
	unsigned kept = 0; /* answers since the last purge, at most: by its id and by the client's key */
	for (;;) {
		struct cl_tick tick = {.arena = arena};
		struct cl_err e = {0};
		/* Looked at before the lane is: what came before the end is answered (GOAWAY says so). */
		bool stopping = atomic_load(&engine->stopping);
		tick.jobs = cl_lane_take(&engine->writer, CL_ENGINE_TICK_JOBS, wake_time(engine));
		if (!tick.jobs && stopping)
			break;
		take_reload(engine);
		tell_measurer(engine);
		bool due = cl_store_timer_next(organization->store) <= cl_clock_now(organization->clock);
		if (!tick.jobs && !due && cl_audit_tail_pending(organization->tail) == 0) {
			note_head(engine, &head_at);
			continue;
		}
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
		note_head(engine, &head_at);
		for (const struct cl_job *job = tick.jobs; job; job = job->next)
			kept += 2;
		if (now - purge_at > CL_SECOND) {
			purge(organization, 1 + kept / CL_PURGE_ROWS);
			purge_at = now;
			kept = 0;
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
		/* What changed is told by names out of the catalog, which a reload may release before the loop has told it. */
		for (struct cl_job *job = tick.jobs; job; job = job->next) {
			cl_rules_release(job->rules);
			job->rules = cl_rules_keep(organization->rules);
		}
		cl_engine_complete(engine, tick.jobs);
		cl_arena_reset(arena);
		tell_measurer(engine);
		checkpoint(engine, &checkpoint_at);
		if (tick.stuck && !tick.lost)
			usleep(CL_FULL_PAUSE);
	}
	cl_arena_free(arena);
	return NULL;
}
