/* export_job.c: the folder of one export: what was asked, how far it has come, its files. */
#include "org/engine/export.h"
#include "base/id.h"
#include "org/fhir/types.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTION_MAX ((off_t)64 << 20) /* of request.json and progress.json */

/* ---- files ---- */

static int disk_problem(struct cl_err *e, const char *doing, const char *path)
{
	int code = errno == ENOSPC || errno == EDQUOT ? CL_E_FULL : CL_E_IO;
	return cl_fail(e, code, "%s %s: %s", doing, path, strerror(errno));
}

static int write_at(int descriptor, struct cl_str bytes, uint64_t at)
{
	while (bytes.n) {
		ssize_t n = pwrite(descriptor, bytes.p, bytes.n, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (n == 0)
				errno = ENOSPC;
			return -1;
		}
		bytes = (struct cl_str){bytes.p + n, bytes.n - (size_t)n};
		at += (uint64_t)n;
	}
	return 0;
}

static int sync_folder(const char *path)
{
	int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int code = descriptor < 0 ? -1 : fsync(descriptor);
	if (descriptor >= 0)
		close(descriptor);
	return code;
}

/* Whole or not at all: under another name first. */
static int replace_file(const char *path, struct cl_str text, bool durable, struct cl_err *e)
{
	char fresh[4200];
	snprintf(fresh, sizeof fresh, "%s.new", path);
	int descriptor = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (descriptor < 0 || write_at(descriptor, text, 0) || (durable && fsync(descriptor)) || rename(fresh, path)) {
		int code = disk_problem(e, "cannot write", path);
		if (descriptor >= 0)
			close(descriptor);
		return code;
	}
	close(descriptor);
	return 0;
}

static int read_json(struct cl_arena *arena, const char *path, struct cl_json **out, struct cl_err *e)
{
	struct stat status;
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (descriptor < 0)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no %s", path);
	if (fstat(descriptor, &status) || !S_ISREG(status.st_mode) || status.st_size > DESCRIPTION_MAX) {
		close(descriptor);
		return cl_fail(e, CL_E_CORRUPT, "%s is no description of an export", path);
	}
	struct cl_str text = {cl_arena_alloc(arena, (size_t)status.st_size + 1), 0};
	while (text.n < (size_t)status.st_size) {
		ssize_t n = read(descriptor, (char *)text.p + text.n, (size_t)status.st_size - text.n);
		if (n <= 0)
			break;
		text.n += (size_t)n;
	}
	close(descriptor);
	return cl_json_parse(arena, text, &(struct cl_json_limits){.nodes = 4000000}, out, e);
}

struct cl_str cl_export_file_name(const struct cl_export *job, size_t index, char out[80])
{
	struct cl_str type = index < job->type_count    ? cl_fhir_type_name(job->types[index])
	                     : index == job->type_count ? CL_STR("deleted")
	                                                : CL_STR("errors");
	int n = snprintf(out, 80, "%.*s.ndjson", CL_STR_ARGS(type));
	return (struct cl_str){out, (size_t)n};
}

const struct cl_export_file *cl_export_file_of(const struct cl_export *job, size_t index)
{
	return index < job->type_count ? &job->files[index] : index == job->type_count ? &job->deleted : &job->errors;
}

int cl_export_append(const char *folder, const struct cl_export *job, struct cl_str name, uint64_t at,
                     struct cl_str bytes, struct cl_err *e)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s/%.*s", folder, job->id, CL_STR_ARGS(name));
	int descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	int code = 0;
	if (descriptor < 0 || write_at(descriptor, bytes, at))
		code = disk_problem(e, "cannot write", path);
	if (descriptor >= 0)
		close(descriptor);
	return code;
}

int cl_export_settle(const char *folder, const struct cl_export *job, struct cl_err *e)
{
	char path[4096], name[80];
	int code = 0;
	for (size_t i = 0; !code && i < job->type_count + 2; i++) {
		const struct cl_export_file *file = cl_export_file_of(job, i);
		if (!file->count)
			continue;
		struct cl_str text = cl_export_file_name(job, i, name);
		snprintf(path, sizeof path, "%s/%s/%.*s", folder, job->id, CL_STR_ARGS(text));
		int descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (descriptor < 0 || ftruncate(descriptor, (off_t)file->bytes) || fsync(descriptor))
			code = disk_problem(e, "cannot finish", path);
		if (descriptor >= 0)
			close(descriptor);
	}
	return code;
}

void cl_export_discard(const char *folder, const struct cl_export *job)
{
	char path[4096], name[80];
	for (size_t i = 0; i < job->type_count + 2; i++) {
		struct cl_str text = cl_export_file_name(job, i, name);
		snprintf(path, sizeof path, "%s/%s/%.*s", folder, job->id, CL_STR_ARGS(text));
		unlink(path);
	}
}

void cl_export_remove(const char *folder, const char *id)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", folder, id);
	DIR *listing = opendir(path);
	const struct dirent *entry;
	while (listing && (entry = readdir(listing))) {
		if (cl_str_is(cl_str_of(entry->d_name), ".") || cl_str_is(cl_str_of(entry->d_name), ".."))
			continue;
		snprintf(path, sizeof path, "%s/%s/%s", folder, id, entry->d_name);
		unlink(path);
	}
	if (listing)
		closedir(listing);
	snprintf(path, sizeof path, "%s/%s", folder, id);
	rmdir(path);
}

/* ---- what was asked ---- */

static struct cl_str *read_texts(struct cl_arena *arena, const struct cl_json *array, size_t *count)
{
	*count = 0;
	struct cl_str *out = CL_NEW_ARRAY(arena, struct cl_str, array ? array->count + 1 : 1);
	for (uint32_t i = 0; array && array->kind == CL_JSON_ARRAY && i < array->count; i++)
		out[(*count)++] = cl_arena_copy(arena, cl_json_text(&array->items[i]));
	return out;
}

static int64_t integer_of(const struct cl_json *object, const char *name, int64_t otherwise)
{
	int64_t value;
	return cl_json_integer(cl_json_get(object, name), &value) ? value : otherwise;
}

int cl_export_read(const struct cl_json *request, struct cl_export **out, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_export *job = CL_NEW(arena, struct cl_export);
	struct cl_str id = cl_json_get_text(request, "id");
	const struct cl_json *types = cl_json_get(request, "types"), *filters = cl_json_get(request, "filters");
	job->arena = arena;
	snprintf(job->id, sizeof job->id, "%.*s", CL_STR_ARGS(id));
	job->principal = cl_arena_copy(arena, cl_json_get_text(request, "principal"));
	job->scope = cl_arena_copy(arena, cl_json_get_text(request, "scope"));
	job->request = cl_arena_copy(arena, cl_json_get_text(request, "request"));
	job->base = cl_arena_copy(arena, cl_json_get_text(request, "base"));
	job->level = (enum cl_export_level)integer_of(request, "level", 0);
	job->chosen = cl_json_is_true(cl_json_get(request, "chosen"));
	job->bearer = cl_json_is_true(cl_json_get(request, "bearer"));
	job->patients = read_texts(arena, cl_json_get(request, "patients"), &job->patient_count);
	job->elements = read_texts(arena, cl_json_get(request, "elements"), &job->element_count);
	job->notes = read_texts(arena, cl_json_get(request, "notes"), &job->note_count);
	job->since = integer_of(request, "since", INT64_MIN);
	job->sequence = (uint64_t)integer_of(request, "sequence", 0);
	job->incarnation = (uint64_t)integer_of(request, "incarnation", 0);
	job->shown = integer_of(request, "shown", 0);
	job->begun = integer_of(request, "begun", 0);
	job->types = CL_NEW_ARRAY(arena, uint16_t, types ? types->count + 1 : 1);
	job->files = CL_NEW_ARRAY(arena, struct cl_export_file, types ? types->count + 1 : 1);
	job->filters = CL_NEW_ARRAY(arena, struct cl_export_filter, filters ? filters->count + 1 : 1);
	bool good = cl_is_fhir_id(id) && id.n < sizeof job->id && job->principal.n && job->sequence &&
	            job->level >= CL_EXPORT_SYSTEM && job->level <= CL_EXPORT_GROUP;
	for (uint32_t i = 0; types && types->kind == CL_JSON_ARRAY && i < types->count; i++) {
		uint16_t type = cl_fhir_type(cl_json_text(&types->items[i]));
		good &= type != 0;
		job->types[job->type_count++] = type;
	}
	for (uint32_t i = 0; filters && filters->kind == CL_JSON_ARRAY && i < filters->count; i++) {
		struct cl_export_filter *filter = &job->filters[job->filter_count++];
		filter->type = cl_fhir_type(cl_json_get_text(&filters->items[i], "type"));
		filter->query = cl_arena_copy(arena, cl_json_get_text(&filters->items[i], "query"));
	}
	job->state = CL_EXPORT_RUNNING;
	if (!good) {
		cl_arena_free(arena);
		return cl_fail(e, CL_E_CORRUPT, "this is no description of an export");
	}
	*out = job;
	return 0;
}

void cl_export_free(struct cl_export *job)
{
	if (job)
		cl_arena_free(job->arena);
}

/* ---- how far it has come ---- */

static const char *const states[] = {[CL_EXPORT_RUNNING] = "running",
                                     [CL_EXPORT_DONE] = "done",
                                     [CL_EXPORT_FAILED] = "failed",
                                     [CL_EXPORT_CANCELLED] = "cancelled"};

int cl_export_save(const char *folder, struct cl_export *job, bool durable, struct cl_err *e)
{
	char path[4096];
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *progress = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_buf text;
	cl_json_set_text(arena, progress, "state", cl_str_of(states[job->state]));
	cl_json_set_integer(arena, progress, "at", (int64_t)job->at);
	cl_json_set_integer(arena, progress, "after", job->after);
	cl_json_set_integer(arena, progress, "resources", (int64_t)job->resources);
	cl_json_set_integer(arena, progress, "ended", job->ended);
	if (job->problem.code) {
		cl_json_set_integer(arena, progress, "code", job->problem.code);
		cl_json_set_text(arena, progress, "problem", cl_str_of(job->problem.message));
	}
	struct cl_json *files = cl_json_set_array(arena, progress, "files");
	for (size_t i = 0; i < job->type_count + 2; i++) {
		const struct cl_export_file *file = cl_export_file_of(job, i);
		struct cl_json *entry = cl_json_append(arena, files);
		entry->kind = CL_JSON_OBJECT;
		cl_json_set_integer(arena, entry, "count", (int64_t)file->count);
		cl_json_set_integer(arena, entry, "bytes", (int64_t)file->bytes);
	}
	cl_buf_init(&text, 0);
	cl_json_write(&text, progress);
	snprintf(path, sizeof path, "%s/%s/progress.json", folder, job->id);
	int code = replace_file(path, cl_buf_str(&text), durable, e);
	if (!code && durable) {
		snprintf(path, sizeof path, "%s/%s", folder, job->id);
		if (sync_folder(path))
			code = disk_problem(e, "cannot write", path);
	}
	job->saved = cl_monotonic();
	cl_buf_free(&text);
	cl_arena_free(arena);
	return code;
}

/* The files hold at least what was noted, unless the power failed. */
static bool files_are_there(const char *folder, const struct cl_export *job)
{
	char path[4096], name[80];
	struct stat status;
	for (size_t i = 0; i < job->type_count + 2; i++) {
		const struct cl_export_file *file = cl_export_file_of(job, i);
		if (!file->bytes)
			continue;
		struct cl_str text = cl_export_file_name(job, i, name);
		snprintf(path, sizeof path, "%s/%s/%.*s", folder, job->id, CL_STR_ARGS(text));
		if (lstat(path, &status) || !S_ISREG(status.st_mode) || (uint64_t)status.st_size < file->bytes)
			return false;
	}
	return true;
}

static void begin_again(struct cl_export *job)
{
	job->at = 0;
	job->after = 0;
	job->resources = 0;
	memset(job->files, 0, sizeof *job->files * job->type_count);
	job->deleted = job->errors = (struct cl_export_file){0};
}

static void read_progress(struct cl_export *job, const struct cl_json *progress)
{
	const struct cl_json *files = cl_json_get(progress, "files");
	struct cl_str state = cl_json_get_text(progress, "state");
	for (int i = CL_EXPORT_RUNNING; i <= CL_EXPORT_CANCELLED; i++)
		if (cl_str_is(state, states[i]))
			job->state = (enum cl_export_state)i;
	if (!files || files->kind != CL_JSON_ARRAY || files->count != job->type_count + 2)
		return;
	job->at = (size_t)integer_of(progress, "at", 0);
	job->at = job->at > job->type_count ? job->type_count : job->at;
	job->after = integer_of(progress, "after", 0);
	job->resources = (uint64_t)integer_of(progress, "resources", 0);
	job->ended = integer_of(progress, "ended", 0);
	int64_t code = integer_of(progress, "code", 0);
	if (code)
		cl_fail(&job->problem, (int)code, "%.*s", CL_STR_ARGS(cl_json_get_text(progress, "problem")));
	for (uint32_t i = 0; i < files->count; i++) {
		struct cl_export_file *file = i < job->type_count    ? &job->files[i]
		                              : i == job->type_count ? &job->deleted
		                                                     : &job->errors;
		file->count = (uint64_t)integer_of(&files->items[i], "count", 0);
		file->bytes = (uint64_t)integer_of(&files->items[i], "bytes", 0);
	}
}

int cl_export_load(const char *folder, const char *id, struct cl_export **out, struct cl_err *e)
{
	char path[4096];
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *request, *progress;
	struct cl_err none = {0};
	snprintf(path, sizeof path, "%s/%s/request.json", folder, id);
	int code = read_json(arena, path, &request, e);
	if (!code && !cl_str_is(cl_json_get_text(request, "id"), id))
		code = cl_fail(e, CL_E_CORRUPT, "%s describes another export", path);
	if (!code)
		code = cl_export_read(request, out, e);
	if (!code) {
		snprintf(path, sizeof path, "%s/%s/progress.json", folder, id);
		if (!read_json(arena, path, &progress, &none))
			read_progress(*out, progress);
		if (!files_are_there(folder, *out)) {
			begin_again(*out);
			(*out)->state = (*out)->state == CL_EXPORT_DONE ? CL_EXPORT_RUNNING : (*out)->state;
		}
	}
	cl_arena_free(arena);
	return code;
}

int cl_export_store(const char *folder, const char *id, const struct cl_json *request, struct cl_err *e)
{
	char path[4096];
	struct cl_buf text;
	snprintf(path, sizeof path, "%s/%s", folder, id);
	if (mkdir(path, 0700) && errno != EEXIST)
		return disk_problem(e, "cannot make", path);
	cl_buf_init(&text, 0);
	cl_json_write(&text, request);
	snprintf(path, sizeof path, "%s/%s/request.json", folder, id);
	int code = replace_file(path, cl_buf_str(&text), true, e);
	cl_buf_free(&text);
	snprintf(path, sizeof path, "%s/%s", folder, id);
	if (!code && (sync_folder(path) || sync_folder(folder)))
		code = disk_problem(e, "cannot write", path);
	if (code)
		cl_export_remove(folder, id);
	return code;
}
