/* heads.c: an append-only, chained text file and the newest line of each organization in memory. */
#include "supervisor/heads.h"
#include "base/date.h"
#include "base/hash.h"
#include "base/json.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_MAXIMUM 1024
#define TORN_MAXIMUM ((size_t)1 << 20) /* bytes that are no heads, in a row */

struct cl_heads {
	int file;
	bool dirty; /* appended and not yet synced */
	bool torn; /* the file does not end with a newline */
	struct cl_buf last; /* the last head's line, and torn lines after it; empty before the first */
	struct cl_head *items;
	size_t count, room;
};

/* What the next head must give as `previous`. */
static void chain(const struct cl_heads *heads, char previous[65])
{
	uint8_t hash[CL_SHA256_SIZE] = {0};
	if (heads->last.n)
		cl_sha256_of(cl_buf_str(&heads->last), hash);
	cl_hex(hash, sizeof hash, previous);
}

static void add_head_line(struct cl_heads *heads, struct cl_str line)
{
	cl_buf_clear(&heads->last);
	cl_buf_add_str(&heads->last, line);
}

static void add_torn_line(struct cl_heads *heads, struct cl_str line)
{
	cl_buf_add_byte(&heads->last, '\n');
	cl_buf_add_str(&heads->last, line);
}

static struct cl_head *find(const struct cl_heads *heads, const char *organization)
{
	for (size_t i = 0; i < heads->count; i++)
		if (strcmp(heads->items[i].organization, organization) == 0)
			return &heads->items[i];
	return NULL;
}

static void remember(struct cl_heads *heads, const struct cl_head *head)
{
	struct cl_head *known = find(heads, head->organization);
	if (!known) {
		if (heads->count == heads->room) {
			heads->room = heads->room ? 2 * heads->room : 16;
			heads->items = realloc(heads->items, heads->room * sizeof *heads->items);
			if (!heads->items)
				abort();
		}
		known = &heads->items[heads->count++];
	}
	*known = *head;
}

/* False when the line is no head: torn, or written by something else. */
static bool parse(struct cl_str line, struct cl_head *head, char previous[65])
{
	struct cl_json *tree;
	int64_t size;
	struct cl_arena *arena = cl_arena_new(0);
	*head = (struct cl_head){0};
	bool good = cl_json_parse(arena, line, NULL, &tree, NULL) == CL_OK;
	if (good) {
		struct cl_str organization = cl_json_get_text(tree, "organization"), at = cl_json_get_text(tree, "at");
		struct cl_str root = cl_json_get_text(tree, "root"), before = cl_json_get_text(tree, "previous");
		good = organization.n > 0 && organization.n < sizeof head->organization && at.n < sizeof head->at &&
		       root.n == 64 && before.n == 64 && cl_unhex(root, head->root, 32) == CL_OK &&
		       cl_json_integer(cl_json_get(tree, "size"), &size) && size >= 0;
		if (good) {
			memcpy(head->organization, organization.p, organization.n);
			if (at.n)
				memcpy(head->at, at.p, at.n);
			memcpy(previous, before.p, 64);
			previous[64] = '\0';
			head->size = (uint64_t)size;
		}
	}
	cl_arena_free(arena);
	return good;
}

/* Reads what is there: the newest heads, the end of the chain, whether the last line lacks its newline. */
static int read_all(struct cl_heads *heads, FILE *stream, const char *path, struct cl_err *e)
{
	char *line = NULL, named[65], previous[65];
	size_t room = 0;
	ssize_t length;
	long number = 0;
	int result = CL_OK;
	while ((length = getline(&line, &room, stream)) > 0) {
		struct cl_head head;
		struct cl_str text = {line, (size_t)length};
		number++;
		heads->torn = text.p[text.n - 1] != '\n';
		text.n -= !heads->torn;
		bool is_head = text.n < LINE_MAXIMUM && parse(text, &head, named);
		if (!is_head) {
			add_torn_line(heads, text);
			continue;
		}
		chain(heads, previous);
		if (result == CL_OK && (heads->last.overflow || strcmp(named, previous) != 0)) {
			result = cl_fail(e, CL_E_CORRUPT,
			                 "line %ld does not follow from the line before it: the log was changed",
			                 number);
			cl_fail_at(e, "%s:%ld", path, number);
		}
		remember(heads, &head);
		add_head_line(heads, text);
	}
	if (ferror(stream) && result == CL_OK)
		result = cl_fail(e, CL_E_IO, "%s cannot be read: %s", path, strerror(errno));
	free(line);
	return result;
}

int cl_heads_open(const char *path, struct cl_heads **out, struct cl_err *e)
{
	*out = NULL;
	int file = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		return cl_fail(e, CL_E_IO, "%s cannot be opened: %s", path, strerror(errno));
	struct cl_heads *heads = calloc(1, sizeof *heads);
	int copy = fcntl(file, F_DUPFD_CLOEXEC, 0);
	FILE *stream = copy >= 0 ? fdopen(copy, "r") : NULL;
	if (!heads || !stream)
		abort();
	heads->file = file;
	cl_buf_init(&heads->last, TORN_MAXIMUM);
	rewind(stream);
	int result = read_all(heads, stream, path, e);
	fclose(stream);
	if (result && result != CL_E_CORRUPT) {
		cl_heads_close(heads);
		return result;
	}
	*out = heads;
	return result;
}

void cl_heads_close(struct cl_heads *heads)
{
	if (!heads)
		return;
	if (heads->dirty)
		fsync(heads->file);
	close(heads->file);
	free(heads->items);
	cl_buf_free(&heads->last);
	free(heads);
}

int cl_heads_append(struct cl_heads *heads, const struct cl_head *head, cl_instant now, struct cl_err *e)
{
	char root[65], previous[65], seen[28];
	int result = CL_OK;
	const struct cl_head *last = find(heads, head->organization);
	if (last && last->size == head->size && memcmp(last->root, head->root, sizeof head->root) == 0)
		return CL_OK;
	if (last && head->size <= last->size)
		result = cl_fail(e, CL_E_CORRUPT,
		                 "the audit log of %s had %llu leaves and now has %llu with another root: "
		                 "it was restored or changed",
		                 head->organization, (unsigned long long)last->size, (unsigned long long)head->size);
	cl_hex(head->root, sizeof head->root, root);
	chain(heads, previous);
	cl_instant_format(now, seen);
	struct cl_buf line;
	cl_buf_init(&line, LINE_MAXIMUM);
	cl_buf_add_cstring(&line, "{\"at\":");
	cl_json_write_text(&line, cl_str_of(head->at[0] ? head->at : seen));
	cl_buf_add_cstring(&line, ",\"organization\":");
	cl_json_write_text(&line, cl_str_of(head->organization));
	cl_buf_printf(&line, ",\"size\":%llu,\"root\":\"%s\",\"previous\":\"%s\"}\n", (unsigned long long)head->size,
	              root, previous);
	if (heads->torn && write(heads->file, "\n", 1) == 1)
		heads->torn = false;
	ssize_t written = line.overflow || heads->torn ? -1 : write(heads->file, line.p, line.n);
	if (written != (ssize_t)line.n) {
		result = cl_fail(e, CL_E_IO, "audit-heads.log cannot be written: %s",
		                 written < 0 ? strerror(errno) : "disk full");
		/* What was written of it stays as a torn line; the chain goes on from there. */
		if (written > 0) {
			add_torn_line(heads, (struct cl_str){line.p, (size_t)written});
			heads->torn = true;
		}
	} else {
		add_head_line(heads, (struct cl_str){line.p, line.n - 1});
		remember(heads, head);
		heads->dirty = true;
	}
	cl_buf_free(&line);
	return result;
}

int cl_heads_sync(struct cl_heads *heads, struct cl_err *e)
{
	if (!heads->dirty)
		return CL_OK;
	heads->dirty = false;
	if (fdatasync(heads->file))
		return cl_fail(e, CL_E_IO, "audit-heads.log cannot be made durable: %s", strerror(errno));
	return CL_OK;
}

size_t cl_heads_list(const struct cl_heads *heads, const struct cl_head **out)
{
	*out = heads->items;
	return heads->count;
}

int cl_heads_read(const char *path, const char *organization, struct cl_head *out, struct cl_err *e)
{
	struct cl_heads heads = {.file = -1};
	FILE *stream = fopen(path, "re");
	if (!stream)
		return cl_fail(e, errno == ENOENT ? CL_E_NOT_FOUND : CL_E_IO, "%s: %s", path, strerror(errno));
	cl_buf_init(&heads.last, TORN_MAXIMUM);
	int result = read_all(&heads, stream, path, e);
	fclose(stream);
	const struct cl_head *head = find(&heads, organization);
	if (head)
		*out = *head;
	else if (result == CL_OK)
		result = cl_fail(e, CL_E_NOT_FOUND, "%s has no head of %s", path, organization);
	free(heads.items);
	cl_buf_free(&heads.last);
	return result;
}
