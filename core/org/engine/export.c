/* export.c: all exports of one organization: whose turn it is, what becomes of a slice, what is old enough to go. */
#include "org/engine/export.h"
#include "base/id.h"
#include "base/log.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define SAVE_EVERY CL_SECOND /* of progress, while an export runs */
#define LOOK_EVERY (60 * CL_SECOND) /* for what has expired */

/* ---- life ---- */

static void add_job(struct cl_exports *exports, struct cl_export *job)
{
	struct cl_export **end = &exports->first;
	while (*end)
		end = &(*end)->next;
	*end = job;
}

static void find_jobs(struct cl_exports *exports)
{
	DIR *listing = opendir(exports->folder);
	const struct dirent *entry;
	while (listing && (entry = readdir(listing))) {
		struct cl_export *job;
		struct cl_err problem = {0};
		if (entry->d_name[0] == '.')
			continue;
		if (!cl_is_fhir_id(cl_str_of(entry->d_name)) ||
		    cl_export_load(exports->folder, entry->d_name, &job, &problem)) {
			cl_log(CL_LOG_WARNING, "export-unreadable", "id=%s message=\"%s\"", entry->d_name,
			       problem.message);
			cl_export_remove(exports->folder, entry->d_name);
			continue;
		}
		add_job(exports, job);
		if (job->state == CL_EXPORT_RUNNING)
			cl_log(CL_LOG_INFO, "export-resumed", "id=%s resources=%llu", job->id,
			       (unsigned long long)job->resources);
	}
	if (listing)
		closedir(listing);
}

int cl_exports_open(const char *folder, const struct cl_export_settings *settings, struct cl_rules *rules,
                    struct cl_exports **out, struct cl_err *e)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/exports", folder);
	if (mkdir(path, 0700) && errno != EEXIST)
		return cl_fail(e, CL_E_IO, "cannot make %s: %s", path, strerror(errno));
	struct cl_exports *exports = calloc(1, sizeof *exports);
	if (!exports)
		cl_die("out of memory (exports)");
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&exports->lock, NULL);
	pthread_cond_init(&exports->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	exports->folder = strdup(path);
	exports->settings = *settings;
	exports->rules = cl_rules_keep(rules);
	find_jobs(exports);
	*out = exports;
	return 0;
}

void cl_exports_close(struct cl_exports *exports)
{
	struct cl_export *next;
	if (!exports)
		return;
	for (struct cl_export *job = exports->first; job; job = next) {
		next = job->next;
		if (job->state == CL_EXPORT_RUNNING)
			cl_export_save(exports->folder, job, false, NULL);
		cl_export_free(job);
	}
	cl_rules_release(exports->rules);
	pthread_mutex_destroy(&exports->lock);
	pthread_cond_destroy(&exports->wake);
	free(exports->folder);
	free(exports);
}

void cl_exports_stop(struct cl_exports *exports)
{
	pthread_mutex_lock(&exports->lock);
	exports->stop = true;
	pthread_cond_signal(&exports->wake);
	pthread_mutex_unlock(&exports->lock);
}

void cl_exports_set_rules(struct cl_exports *exports, struct cl_rules *rules)
{
	pthread_mutex_lock(&exports->lock);
	struct cl_rules *former = exports->rules;
	exports->rules = cl_rules_keep(rules);
	pthread_mutex_unlock(&exports->lock);
	cl_rules_release(former);
}

/* ---- one step ---- */

static bool is_old(const struct cl_exports *exports, const struct cl_export *job, cl_instant now)
{
	return job->state == CL_EXPORT_CANCELLED ||
	       (job->state != CL_EXPORT_RUNNING && job->ended + exports->settings.keep <= now);
}

/* After the one that had the last slice, so that a large export does not hold up a small one. With the lock. */
static struct cl_export *choose(struct cl_exports *exports, cl_instant now)
{
	struct cl_export *first = NULL, *later = NULL;
	bool past = false;
	for (struct cl_export *job = exports->first; job; job = job->next) {
		if (is_old(exports, job, now))
			return job;
		if (job->state == CL_EXPORT_RUNNING) {
			if (!first)
				first = job;
			if (past && !later)
				later = job;
		}
		past |= job == exports->turn;
	}
	return later ? later : first;
}

static void remove_job(struct cl_exports *exports, struct cl_export *job)
{
	cl_export_remove(exports->folder, job->id);
	pthread_mutex_lock(&exports->lock);
	for (struct cl_export **place = &exports->first; *place; place = &(*place)->next)
		if (*place == job) {
			*place = job->next;
			break;
		}
	if (exports->turn == job)
		exports->turn = NULL;
	pthread_mutex_unlock(&exports->lock);
	cl_log(CL_LOG_INFO, "export-removed", "id=%s", job->id);
	cl_export_free(job);
}

/* The files are of no use; what went wrong is kept for who asks. Not more than that: paths are for the log. */
static void fail_job(struct cl_exports *exports, struct cl_export *job, const struct cl_err *problem, cl_instant now)
{
	cl_log(CL_LOG_ERROR, "export-failed", "id=%s code=%s message=\"%s\"", job->id, cl_code_name(problem->code),
	       problem->message);
	cl_export_discard(exports->folder, job);
	pthread_mutex_lock(&exports->lock);
	if (job->state == CL_EXPORT_RUNNING) {
		job->state = CL_EXPORT_FAILED;
		job->ended = now;
		job->problem = *problem;
		if (problem->code == CL_E_FULL)
			cl_fail(&job->problem, CL_E_FULL,
			        "the export was stopped because the disk is nearly full; its files were removed");
		else if (problem->code == CL_E_IO)
			cl_fail(&job->problem, CL_E_IO, "the export's files could not be written");
	}
	pthread_mutex_unlock(&exports->lock);
	cl_export_save(exports->folder, job, true, NULL);
}

static int check_disk(const struct cl_exports *exports, size_t more, struct cl_err *e)
{
	struct statvfs status;
	if (statvfs(exports->folder, &status))
		return 0;
	uint64_t left = (uint64_t)status.f_bavail * status.f_frsize;
	if (left < (uint64_t)exports->settings.reserve + more)
		return cl_fail(e, CL_E_FULL, "%llu MiB of the disk are left, %lld are to stay free",
		               (unsigned long long)(left >> 20), (long long)(exports->settings.reserve >> 20));
	return 0;
}

static int append(struct cl_exports *exports, struct cl_export *job, size_t index, struct cl_str bytes, uint64_t count,
                  struct cl_err *e)
{
	char name[80];
	struct cl_export_file *file = (struct cl_export_file *)cl_export_file_of(job, index);
	if (!bytes.n)
		return 0;
	int code = cl_export_append(exports->folder, job, cl_export_file_name(job, index, name), file->bytes, bytes, e);
	if (code)
		return code;
	pthread_mutex_lock(&exports->lock);
	file->bytes += bytes.n;
	file->count += count;
	pthread_mutex_unlock(&exports->lock);
	return 0;
}

/* What was asked and could not be given, as OperationOutcomes. */
static int write_notes(struct cl_exports *exports, struct cl_export *job, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_buf text;
	cl_buf_init(&text, 0);
	for (size_t i = 0; i < job->note_count; i++) {
		struct cl_issues issues;
		cl_issues_init(&issues, arena, 0);
		cl_issues_add(&issues, CL_SEVERITY_WARNING, "not-supported", CL_STR_NONE, "%.*s",
		              CL_STR_ARGS(job->notes[i]));
		cl_outcome_write(&text, &issues);
		cl_buf_add_byte(&text, '\n');
	}
	pthread_mutex_lock(&exports->lock);
	job->errors = (struct cl_export_file){0};
	pthread_mutex_unlock(&exports->lock);
	int code = append(exports, job, job->type_count + 1, cl_buf_str(&text), job->note_count, e);
	cl_buf_free(&text);
	cl_arena_free(arena);
	return code;
}

/* Only what has left its trace, and stands on the disk, is handed out. */
static int finish_job(struct cl_exports *exports, struct cl_export *job, struct cl_audit_tail *tail, cl_instant now,
                      struct cl_err *e)
{
	char target[120];
	snprintf(target, sizeof target, "exports/%s %llu resources", job->id, (unsigned long long)job->resources);
	struct cl_audit_record record = {.at = now,
	                                 .principal = job->principal,
	                                 .action = CL_STR("export"),
	                                 .target = cl_str_of(target),
	                                 .outcome = CL_STR("ok")};
	int code = write_notes(exports, job, e);
	if (!code)
		code = cl_export_settle(exports->folder, job, e);
	if (!code && tail)
		code = cl_audit_tail_append(tail, &record, e);
	if (code)
		return code;
	pthread_mutex_lock(&exports->lock);
	bool cancelled = job->state != CL_EXPORT_RUNNING;
	if (!cancelled) {
		job->state = CL_EXPORT_DONE;
		job->ended = now;
	}
	pthread_mutex_unlock(&exports->lock);
	cl_log(CL_LOG_INFO, "export-done", "id=%s resources=%llu", job->id, (unsigned long long)job->resources);
	return cl_export_save(exports->folder, job, true, e);
}

static int run_slice(struct cl_exports *exports, struct cl_export *job, struct cl_store *store,
                     const struct cl_rules *rules, pthread_rwlock_t *gate, struct cl_audit_tail *tail, cl_instant now,
                     struct cl_err *e)
{
	if (job->at >= job->type_count)
		return finish_job(exports, job, tail, now, e);
	struct cl_export_slice slice;
	cl_buf_init(&slice.out, 0);
	cl_buf_init(&slice.deleted, 0);
	if (gate)
		pthread_rwlock_rdlock(gate);
	int code = cl_export_slice(job, store, rules, now, &slice, e);
	if (gate)
		pthread_rwlock_unlock(gate);
	bool through = code == 1;
	code = code < 0 ? code : check_disk(exports, slice.out.n + slice.deleted.n, e);
	if (!code)
		code = append(exports, job, job->at, cl_buf_str(&slice.out), slice.found, e);
	if (!code)
		code = append(exports, job, job->type_count, cl_buf_str(&slice.deleted), slice.found_deleted, e);
	if (!code) {
		pthread_mutex_lock(&exports->lock);
		job->resources += slice.found;
		job->after = through ? 0 : slice.after;
		job->at += through;
		pthread_mutex_unlock(&exports->lock);
		if (cl_monotonic() - job->saved >= SAVE_EVERY)
			code = cl_export_save(exports->folder, job, false, e);
	}
	cl_buf_free(&slice.out);
	cl_buf_free(&slice.deleted);
	return code;
}

int64_t cl_exports_work(struct cl_exports *exports, struct cl_store *store, pthread_rwlock_t *gate,
                        struct cl_audit_tail *tail, cl_instant now)
{
	struct cl_err problem = {0};
	pthread_mutex_lock(&exports->lock);
	struct cl_export *job = choose(exports, now);
	bool old = job && is_old(exports, job, now);
	struct cl_rules *rules = cl_rules_keep(exports->rules);
	if (job && !old)
		exports->turn = job;
	int64_t wait = exports->first ? LOOK_EVERY : INT64_MAX;
	pthread_mutex_unlock(&exports->lock);
	if (old)
		remove_job(exports, job);
	else if (job && run_slice(exports, job, store, rules, gate, tail, now, &problem))
		fail_job(exports, job, &problem, now);
	cl_rules_release(rules);
	return job ? 0 : wait;
}
