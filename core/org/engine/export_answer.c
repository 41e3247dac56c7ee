/* export_answer.c: how far an export is, its manifest, its files, its end (Bulk Data Access 2.0, "Bulk Data Status Request"). Only
 * who asked for an export learns that there is one. */
#include "org/engine/export.h"
#include "base/date.h"
#include "org/fhir/types.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* With the lock. */
static struct cl_export *find(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_exports *exports = context->exports;
	for (struct cl_export *job = exports ? exports->first : NULL; job; job = job->next)
		/* A token narrowed to something else does not get at it; one that is not narrowed at all does. */
		if (cl_str_is(context->route->name, job->id) &&
		    cl_str_equal(job->principal, context->principal->name) &&
		    (!context->principal->scopes || cl_str_equal(job->scope, context->principal->scope)) &&
		    job->state != CL_EXPORT_CANCELLED)
			return job;
	cl_fail(e, CL_E_NOT_FOUND, "there is no such export of yours; it may have expired or been deleted");
	return NULL;
}

static struct cl_str http_date(struct cl_arena *arena, cl_instant at)
{
	char text[40] = "";
	struct tm parts;
	time_t seconds = (time_t)(at / CL_SECOND);
	gmtime_r(&seconds, &parts);
	return cl_arena_copy(arena,
	                     (struct cl_str){text, strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)});
}

static void add_file(struct cl_arena *arena, struct cl_json *list, const struct cl_export *job, size_t index)
{
	const struct cl_export_file *file = cl_export_file_of(job, index);
	char name[80];
	if (!file->count)
		return;
	struct cl_str text = cl_export_file_name(job, index, name);
	struct cl_json *entry = cl_json_append(arena, list);
	entry->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, entry, "type",
	                 index < job->type_count    ? cl_fhir_type_name(job->types[index])
	                 : index == job->type_count ? CL_STR("Bundle")
	                                            : CL_STR("OperationOutcome"));
	cl_json_set_text(
	        arena, entry, "url",
	        cl_arena_printf(arena, "%.*s/exports/%s/%.*s", CL_STR_ARGS(job->base), job->id, CL_STR_ARGS(text)));
	cl_json_set_integer(arena, entry, "count", (int64_t)file->count);
}

static void answer_manifest(struct cl_interaction_context *context, const struct cl_export *job)
{
	struct cl_arena *arena = context->arena;
	struct cl_json *manifest = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, manifest, "transactionTime", cl_instant_text(arena, job->shown));
	cl_json_set_text(arena, manifest, "request", job->request);
	cl_json_set_boolean(arena, manifest, "requiresAccessToken", job->bearer);
	struct cl_json *list = cl_json_set_array(arena, manifest, "output");
	for (size_t i = 0; i < job->type_count; i++)
		add_file(arena, list, job, i);
	list = cl_json_set_array(arena, manifest, "deleted");
	add_file(arena, list, job, job->type_count);
	list = cl_json_set_array(arena, manifest, "error");
	add_file(arena, list, job, job->type_count + 1);
	cl_interaction_answer_json(context, 200, manifest);
	/* No resource: plain JSON. */
	for (size_t i = 0; i < context->response->header_count; i++)
		if (cl_str_is(context->response->headers[i].name, "content-type"))
			context->response->headers[i].value = CL_STR("application/json");
	cl_response_add_header(arena, context->response, "expires",
	                       http_date(arena, job->ended + context->exports->settings.keep));
}

static void answer_progress(struct cl_interaction_context *context, const struct cl_export *job)
{
	struct cl_arena *arena = context->arena;
	struct cl_str type = job->at < job->type_count ? cl_fhir_type_name(job->types[job->at]) : CL_STR("finishing");
	/* What has taken long will take longer. */
	cl_instant wait = (context->now - job->begun) / (10 * CL_SECOND);
	wait = wait < 1 ? 1 : wait > 60 ? 60 : wait;
	context->response->status = 202;
	cl_response_add_header(arena, context->response, "x-progress",
	                       cl_arena_printf(arena, "%llu resources, %zu of %zu types, now %.*s",
	                                       (unsigned long long)job->resources, job->at, job->type_count,
	                                       CL_STR_ARGS(type)));
	cl_response_add_header(arena, context->response, "retry-after",
	                       cl_arena_printf(arena, "%lld", (long long)wait));
}

int cl_export_status(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_exports *exports = context->exports;
	int code = 0;
	context->target = cl_arena_printf(context->arena, "exports/%.*s", CL_STR_ARGS(context->route->name));
	if (exports)
		pthread_mutex_lock(&exports->lock);
	const struct cl_export *job = find(context, e);
	if (!job)
		code = e->code;
	else if (job->state == CL_EXPORT_DONE)
		answer_manifest(context, job);
	else if (job->state == CL_EXPORT_FAILED)
		code = cl_fail(e, job->problem.code, "%s", job->problem.message);
	else
		answer_progress(context, job);
	if (exports)
		pthread_mutex_unlock(&exports->lock);
	return code;
}

int cl_export_cancel(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_exports *exports = context->exports;
	context->target = cl_arena_printf(context->arena, "exports/%.*s", CL_STR_ARGS(context->route->name));
	if (exports)
		pthread_mutex_lock(&exports->lock);
	struct cl_export *job = find(context, e);
	if (job) {
		job->state = CL_EXPORT_CANCELLED;
		pthread_cond_signal(&exports->wake);
	}
	if (exports)
		pthread_mutex_unlock(&exports->lock);
	if (!job)
		return e->code;
	struct cl_issues issues;
	struct cl_buf text;
	cl_issues_init(&issues, context->arena, 0);
	cl_issues_add(&issues, CL_SEVERITY_INFORMATION, "informational", CL_STR_NONE,
	              "The export ends, and its files are deleted");
	cl_buf_init(&text, 0);
	cl_outcome_write(&text, &issues);
	cl_interaction_answer_bytes(context, 202, "application/fhir+json; charset=utf-8",
	                            cl_arena_copy(context->arena, cl_buf_str(&text)));
	cl_buf_free(&text);
	return 0;
}

/* The file goes to the gateway as a descriptor: this process reads none of it. */
int cl_export_fetch(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_exports *exports = context->exports;
	const struct cl_route *route = context->route;
	char path[4096], name[80];
	uint64_t size = 0;
	bool found = false;
	context->target = cl_arena_printf(context->arena, "exports/%.*s/%.*s", CL_STR_ARGS(route->name),
	                                  CL_STR_ARGS(route->file));
	if (exports)
		pthread_mutex_lock(&exports->lock);
	const struct cl_export *job = find(context, e);
	for (size_t i = 0; job && job->state == CL_EXPORT_DONE && i < job->type_count + 2; i++) {
		struct cl_str text = cl_export_file_name(job, i, name);
		if (!cl_str_equal(text, route->file) || !cl_export_file_of(job, i)->count)
			continue;
		snprintf(path, sizeof path, "%s/%s/%.*s", exports->folder, job->id, CL_STR_ARGS(text));
		size = cl_export_file_of(job, i)->bytes;
		found = true;
	}
	if (exports)
		pthread_mutex_unlock(&exports->lock);
	if (!job)
		return e->code;
	if (!found)
		return cl_fail(e, CL_E_NOT_FOUND, "this export has no such file, or is not finished");
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (descriptor < 0)
		return errno == ENOENT ? cl_fail(e, CL_E_NOT_FOUND, "this file has just been deleted")
		                       : cl_fail(e, CL_E_BUSY, "the file cannot be opened now; try again");
	struct cl_body_file *file = CL_NEW(context->arena, struct cl_body_file);
	*file = (struct cl_body_file){descriptor, size};
	context->response->status = 200;
	context->response->file = file;
	cl_response_add_header(context->arena, context->response, "content-type", CL_STR("application/fhir+ndjson"));
	return 0;
}
