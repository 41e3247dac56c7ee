/* archive.c: reads the files that an organization's Lua is made of. */
#include "org/lua/archive.h"
#include "base/config.h"
#include "base/hash.h"
#include "base/utf8.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAXIMUM ((size_t)1 << 20) /* bytes of one file */
#define TOTAL_MAXIMUM ((size_t)24 << 20) /* bytes of all */
#define FILES_MAXIMUM 400 /* in one folder and those below */
#define DEPTH_MAXIMUM 3 /* folders below a plugin's */

struct reading {
	struct cl_arena *arena;
	struct cl_json *files, *order;
	size_t total;
	struct cl_err *e;
};

/* ---- files ---- */

static int read_file(struct reading *reading, int folder, const char *name, const char *path, struct cl_str *out)
{
	struct stat status;
	int code = 0, file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file < 0)
		return cl_fail(reading->e, CL_E_IO, "%s cannot be opened: %s", path, strerror(errno));
	if (fstat(file, &status) || !S_ISREG(status.st_mode)) {
		code = cl_fail(reading->e, CL_E_IO, "%s is no regular file", path);
		goto done;
	}
	reading->total += (size_t)status.st_size;
	if ((uint64_t)status.st_size > FILE_MAXIMUM || reading->total > TOTAL_MAXIMUM) {
		code = cl_fail(reading->e, CL_E_LIMIT, "%s: plugins are too large (1 MiB a file, 24 MiB in all)", path);
		goto done;
	}
	size_t size = (size_t)status.st_size, have = 0;
	char *bytes = cl_arena_alloc(reading->arena, size + 1);
	while (have < size) {
		ssize_t n = read(file, bytes + have, size - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			code = cl_fail(reading->e, CL_E_IO, "%s cannot be read: %s", path, strerror(errno));
			goto done;
		}
		if (n == 0)
			break;
		have += (size_t)n;
	}
	*out = (struct cl_str){bytes, have};
	if (!cl_utf8_valid(*out) || memchr(bytes, 0, have))
		code = cl_fail(reading->e, CL_E_INVALID, "%s is no UTF-8 text", path);
done:
	close(file);
	return code;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in the folder, sorted; hidden ones left out. */
static int list_folder(struct reading *reading, int folder, const char *path, char ***out, size_t *count)
{
	int copy = dup(folder);
	DIR *stream = copy < 0 ? NULL : fdopendir(copy);
	if (!stream) {
		if (copy >= 0)
			close(copy);
		return cl_fail(reading->e, CL_E_IO, "%s cannot be listed: %s", path, strerror(errno));
	}
	char **names = CL_NEW_ARRAY(reading->arena, char *, FILES_MAXIMUM);
	*count = 0;
	for (struct dirent *entry; (entry = readdir(stream));) {
		if (entry->d_name[0] == '.')
			continue;
		if (*count == FILES_MAXIMUM) {
			closedir(stream);
			return cl_fail(reading->e, CL_E_LIMIT, "%s has more than %d files", path, FILES_MAXIMUM);
		}
		names[(*count)++] = cl_arena_cstring(reading->arena, cl_str_of(entry->d_name));
	}
	closedir(stream);
	if (*count)
		qsort(names, *count, sizeof *names, compare_names);
	*out = names;
	return 0;
}

static bool is_lua(const char *name)
{
	size_t n = strlen(name);
	return n > 4 && strcmp(name + n - 4, ".lua") == 0;
}

/* Every .lua file below `path` as `key`/name. */
static int read_folder(struct reading *reading, const char *path, const char *key, int depth)
{
	char **names = NULL;
	size_t count = 0;
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return cl_fail(reading->e, errno == ENOENT || errno == ENOTDIR ? CL_E_NOT_FOUND : CL_E_IO,
		               "%s cannot be opened: %s", path, strerror(errno));
	int code = list_folder(reading, folder, path, &names, &count);
	for (size_t i = 0; i < count && !code; i++) {
		const char *below = cl_arena_printf(reading->arena, "%s/%s", path, names[i]).p;
		struct cl_str name = cl_arena_printf(reading->arena, "%s/%s", key, names[i]);
		struct stat status;
		if (fstatat(folder, names[i], &status, 0))
			continue; /* it went in between, or a link leads nowhere */
		if (S_ISDIR(status.st_mode) && depth < DEPTH_MAXIMUM) {
			code = read_folder(reading, below, name.p, depth + 1);
		} else if (S_ISREG(status.st_mode) && is_lua(names[i])) {
			struct cl_str text = CL_STR_NONE;
			code = read_file(reading, folder, names[i], below, &text);
			if (!code) {
				struct cl_json *value = cl_json_set(reading->arena, reading->files, name);
				value->kind = CL_JSON_STRING;
				value->text = text.p ? text : CL_STR("");
			}
		}
	}
	close(folder);
	return code;
}

/* ---- what an organization names ---- */

/* Letters, digits, _ and -: no way out of the folder. */
static bool is_folder_name(struct cl_str name)
{
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_' &&
		    c != '-')
			return false;
	}
	return name.n > 0 && name.n <= 60;
}

static bool is_folder(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static int add_plugin(struct reading *reading, const char *path, const char *key)
{
	for (uint32_t i = 0; i < reading->order->count; i++)
		if (cl_str_is(cl_json_text(&reading->order->items[i]), key))
			return 0; /* named twice */
	cl_json_append_text(reading->arena, reading->order, cl_str_of(key));
	return read_folder(reading, path, key, 0);
}

static int add_named(struct reading *reading, const char *plugins_folder, const char *kind, const struct cl_json *value,
                     const char *field)
{
	struct cl_str name = cl_json_text(value);
	if (value->kind != CL_JSON_STRING || !is_folder_name(name))
		return cl_fail(reading->e, CL_E_INVALID, "%s must name plugins by letters, digits, _ and -", field);
	const char *key = cl_arena_printf(reading->arena, "%s/%.*s", kind, CL_STR_ARGS(name)).p;
	const char *path = cl_arena_printf(reading->arena, "%s/%s", plugins_folder, key).p;
	if (!is_folder(path))
		return cl_fail(reading->e, CL_E_NOT_FOUND, "%s: there is no plugin '%.*s' (no folder %s)", field,
		               CL_STR_ARGS(name), path);
	return add_plugin(reading, path, key);
}

static int add_list(struct reading *reading, const char *plugins_folder, const char *kind, const struct cl_json *config,
                    const char *field)
{
	const struct cl_json *list = cl_json_get(config, field);
	int code = 0;
	if (!list || list->count == 0)
		return 0;
	if (list->kind != CL_JSON_ARRAY)
		return cl_fail(reading->e, CL_E_INVALID, "%s must be a list of names", field);
	for (uint32_t i = 0; i < list->count && !code; i++)
		code = add_named(reading, plugins_folder, kind, &list->items[i], field);
	return code;
}

static const char *const kinds[] = {"models", "programs", "services", "connectors"};

/* The organization's own plugins; a name that it does not have itself may be a shipped one. */
static int add_own(struct reading *reading, const char *plugins_folder, const char *own_folder, struct cl_str id,
                   const struct cl_json *value)
{
	struct cl_str name = cl_json_text(value);
	if (value->kind != CL_JSON_STRING || !is_folder_name(name))
		return cl_fail(reading->e, CL_E_INVALID, "plugins must name plugins by letters, digits, _ and -");
	const char *path =
	        cl_arena_printf(reading->arena, "%s/%.*s", own_folder ? own_folder : "", CL_STR_ARGS(name)).p;
	if (own_folder && is_folder(path))
		return add_plugin(
		        reading, path,
		        cl_arena_printf(reading->arena, "orgs/%.*s/%.*s", CL_STR_ARGS(id), CL_STR_ARGS(name)).p);
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		const char *key = cl_arena_printf(reading->arena, "%s/%.*s", kinds[i], CL_STR_ARGS(name)).p;
		const char *shipped = cl_arena_printf(reading->arena, "%s/%s", plugins_folder, key).p;
		if (is_folder(shipped))
			return add_plugin(reading, shipped, key);
	}
	return cl_fail(reading->e, CL_E_NOT_FOUND, "plugins: there is no plugin '%.*s' in %s nor in %s",
	               CL_STR_ARGS(name), own_folder ? own_folder : "the organization's folder", plugins_folder);
}

static int add_shared(struct reading *reading, const char *plugins_folder)
{
	const char *path = cl_arena_printf(reading->arena, "%s/lib", plugins_folder).p;
	if (!is_folder(path))
		return 0;
	int code = read_folder(reading, path, "lib", 0);
	for (uint32_t i = 0; i < reading->files->count && !code; i++) {
		struct cl_str name = reading->files->members[i].name;
		cl_json_append_text(reading->arena, reading->order, (struct cl_str){name.p, name.n - 4});
	}
	return code;
}

int cl_lua_archive_of(struct cl_arena *arena, const struct cl_json *config, struct cl_str id, const char *own_folder,
                      const char *plugins_folder, struct cl_json **out, struct cl_err *e)
{
	struct cl_json *archive = cl_json_new(arena, CL_JSON_OBJECT), *organization;
	struct reading reading = {.arena = arena, .e = e};
	*out = NULL;
	if (config->kind != CL_JSON_OBJECT)
		return cl_fail(e, CL_E_INVALID, "an organization's configuration is a table with names");
	organization = cl_json_set(arena, archive, CL_STR("organization"));
	*organization = *cl_json_copy(arena, config);
	cl_json_set_text(arena, organization, "id", id);
	config = organization = cl_json_get(archive, "organization");
	cl_json_set_array(arena, archive, "order");
	cl_json_set_object(arena, archive, "files");
	reading.order = cl_json_get(archive, "order");
	reading.files = cl_json_get(archive, "files");
	int code = add_shared(&reading, plugins_folder);
	/* One model, or a list of them: the first is the house's own, whose settings and roles answer alerts. */
	const struct cl_json *model = cl_json_get(config, "model");
	if (!code && model && model->kind == CL_JSON_ARRAY)
		code = add_list(&reading, plugins_folder, "models", config, "model");
	else if (!code && model)
		code = add_named(&reading, plugins_folder, "models", model, "model");
	for (size_t i = 1; i < sizeof kinds / sizeof *kinds && !code; i++)
		code = add_list(&reading, plugins_folder, kinds[i], config, kinds[i]);
	const struct cl_json *own = cl_json_get(config, "plugins");
	if (!code && own && own->count && own->kind != CL_JSON_ARRAY)
		code = cl_fail(e, CL_E_INVALID, "plugins must be a list of names");
	for (uint32_t i = 0; own && i < own->count && !code; i++)
		code = add_own(&reading, plugins_folder, own_folder, id, &own->items[i]);
	if (!code)
		*out = archive;
	return code;
}

int cl_lua_archive(struct cl_arena *arena, const char *organizations_folder, const char *plugins_folder, const char *id,
                   struct cl_json **out, struct cl_err *e)
{
	struct cl_json *config;
	*out = NULL;
	if (!is_folder_name(cl_str_of(id)))
		return cl_fail(e, CL_E_INVALID, "'%s' is no id of an organization", id);
	const char *path = cl_arena_printf(arena, "%s/%s.lua", organizations_folder, id).p;
	int code = cl_config_load(arena, path, &config, e);
	if (code)
		return code;
	code = cl_lua_archive_of(arena, config, cl_arena_copy(arena, cl_str_of(id)),
	                         cl_arena_printf(arena, "%s/%s", organizations_folder, id).p, plugins_folder, out, e);
	if (code && e && !e->where[0])
		cl_fail_at(e, "%s", path);
	return code;
}

/* ---- canonical form ---- */

static int compare_members(const void *a, const void *b)
{
	return cl_str_compare(((const struct cl_json_member *)a)->name, ((const struct cl_json_member *)b)->name);
}

static void sort_members(struct cl_json *value)
{
	if (value->kind == CL_JSON_ARRAY) {
		for (uint32_t i = 0; i < value->count; i++)
			sort_members(&value->items[i]);
	} else if (value->kind == CL_JSON_OBJECT && value->count) {
		for (uint32_t i = 0; i < value->count; i++)
			sort_members(&value->members[i].value);
		qsort(value->members, value->count, sizeof *value->members, compare_members);
	}
}

struct cl_json *cl_archive_sorted(struct cl_arena *arena, const struct cl_json *archive)
{
	struct cl_json *copy = cl_json_copy(arena, archive);
	sort_members(copy);
	return copy;
}

struct cl_str cl_lua_archive_hash(struct cl_arena *arena, const struct cl_json *archive)
{
	struct cl_arena *scratch = cl_arena_new(0);
	struct cl_buf text;
	uint8_t hash[CL_SHA256_SIZE];
	char hex[2 * CL_SHA256_SIZE + 1];
	cl_buf_init(&text, 0);
	cl_json_write(&text, cl_archive_sorted(scratch, archive));
	cl_sha256_of(cl_buf_str(&text), hash);
	cl_hex(hash, sizeof hash, hex);
	cl_buf_free(&text);
	cl_arena_free(scratch);
	return cl_arena_copy(arena, cl_str_of(hex));
}
