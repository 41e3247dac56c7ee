/* static.c: a sorted table of files. */
#include "gateway/static.h"
#include "base/hash.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 4000
#define BYTES_MAX ((size_t)64 * 1024 * 1024)
#define DEPTH_MAX 8

struct file {
	struct cl_str path; /* "/assets/app.js" */
	struct cl_str content;
	const char *type;
	char tag[24]; /* quoted */
};

struct cl_board {
	unsigned references;
	struct cl_arena *arena;
	struct file *files;
	size_t count, bytes;
};

static const char *type_of(const char *name)
{
	static const struct {
		const char *ending, *type;
	} types[] = {
	        {".html", "text/html; charset=utf-8"},
	        {".js", "text/javascript; charset=utf-8"},
	        {".mjs", "text/javascript; charset=utf-8"},
	        {".css", "text/css; charset=utf-8"},
	        {".json", "application/json"},
	        {".svg", "image/svg+xml"},
	        {".png", "image/png"},
	        {".ico", "image/x-icon"},
	        {".webp", "image/webp"},
	        {".woff2", "font/woff2"},
	        {".txt", "text/plain; charset=utf-8"},
	        {".webmanifest", "application/manifest+json"},
	        {".map", "application/json"},
	};
	const char *dot = strrchr(name, '.');
	for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
		if (strcmp(dot, types[i].ending) == 0)
			return types[i].type;
	return NULL;
}

static int read_all(struct cl_board *board, int descriptor, size_t size, struct cl_str *out)
{
	char *bytes = cl_arena_alloc(board->arena, size);
	for (size_t done = 0; done < size;) {
		ssize_t n = read(descriptor, bytes + done, size - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		done += (size_t)n;
	}
	*out = (struct cl_str){bytes, size};
	return 0;
}

static int add_file(struct cl_board *board, int folder, const char *name, struct cl_str below, struct cl_err *e)
{
	const char *type = type_of(name);
	struct stat status;
	int descriptor = type ? openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	if (descriptor < 0)
		return 0;
	int code = 0;
	if (fstat(descriptor, &status) < 0 || !S_ISREG(status.st_mode))
		goto done;
	size_t size = (size_t)status.st_size;
	if (board->count == FILES_MAX || size > BYTES_MAX - board->bytes) {
		code = cl_fail(e, CL_E_LIMIT, "board: more than %d files or %zu bytes in the board's folder", FILES_MAX,
		               BYTES_MAX);
		goto done;
	}
	struct file *file = &board->files[board->count];
	file->path = cl_arena_printf(board->arena, "%.*s/%s", CL_STR_ARGS(below), name);
	file->type = type;
	if (read_all(board, descriptor, size, &file->content)) {
		code = cl_fail(e, CL_E_IO, "board: cannot read %s", file->path.p);
		goto done;
	}
	uint8_t digest[CL_SHA256_SIZE];
	char hex[2 * 8 + 1];
	cl_sha256_of(file->content, digest);
	cl_hex(digest, 8, hex);
	snprintf(file->tag, sizeof file->tag, "\"%s\"", hex);
	board->bytes += size;
	board->count++;
done:
	close(descriptor);
	return code;
}

/* Takes ownership of the descriptor. */
static int add_folder(struct cl_board *board, int folder, struct cl_str below, int depth, struct cl_err *e)
{
	DIR *listing = fdopendir(folder);
	if (!listing) {
		close(folder);
		return cl_fail(e, CL_E_IO, "board: cannot list a folder: %s", strerror(errno));
	}
	int code = 0;
	const struct dirent *entry;
	while (!code && (entry = readdir(listing))) {
		if (entry->d_name[0] == '.')
			continue;
		int inner = openat(folder, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (inner < 0)
			code = add_file(board, folder, entry->d_name, below, e);
		else if (depth < DEPTH_MAX)
			code = add_folder(board, inner,
			                  cl_arena_printf(board->arena, "%.*s/%s", CL_STR_ARGS(below), entry->d_name),
			                  depth + 1, e);
		else
			close(inner);
	}
	closedir(listing);
	return code;
}

static int compare_files(const void *a, const void *b)
{
	const struct file *left = a, *right = b;
	return cl_str_compare(left->path, right->path);
}

int cl_board_load(const char *folder, struct cl_board **out, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_board *board = CL_NEW(arena, struct cl_board);
	board->references = 1;
	board->arena = arena;
	board->files = CL_NEW_ARRAY(arena, struct file, FILES_MAX);
	int descriptor = folder && folder[0] ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int code = descriptor < 0 ? 0 : add_folder(board, descriptor, CL_STR(""), 0, e);
	if (code) {
		cl_board_release(board);
		return code;
	}
	if (board->count)
		qsort(board->files, board->count, sizeof *board->files, compare_files);
	*out = board;
	return 0;
}

struct cl_board *cl_board_hold(struct cl_board *board)
{
	board->references++;
	return board;
}

void cl_board_release(struct cl_board *board)
{
	if (board && --board->references == 0)
		cl_arena_free(board->arena);
}

static const struct file *find(const struct cl_board *board, struct cl_str path)
{
	struct file wanted = {.path = path};
	return board->count ? bsearch(&wanted, board->files, board->count, sizeof wanted, compare_files) : NULL;
}

static const struct file *file_for(const struct cl_board *board, struct cl_str path)
{
	const struct file *file = find(board, path);
	if (file)
		return file;
	const char *slash = memrchr(path.p, '/', path.n);
	if (memchr(slash, '.', (size_t)(path.p + path.n - slash)))
		return NULL;
	return find(board, CL_STR("/index.html"));
}

int cl_board_answer(const struct cl_board *board, struct cl_arena *arena, struct cl_str path,
                    struct cl_str if_none_match, struct cl_response *out)
{
	*out = (struct cl_response){.status = 200};
	if (path.n == 0) {
		out->status = 308;
		cl_response_add_header(arena, out, "location", CL_STR("/board/"));
		return out->status;
	}
	const struct file *file = file_for(board, path);
	if (!file) {
		out->status = 404;
		out->body = CL_STR("The board has no such file.\n");
		cl_response_add_header(arena, out, "content-type", CL_STR("text/plain; charset=utf-8"));
		return out->status;
	}
	/* Build tools put a hash into the names of what is in assets/: those never change. */
	bool unchanging = cl_str_starts(file->path, "/assets/");
	cl_response_add_header(arena, out, "content-type", cl_str_of(file->type));
	cl_response_add_header(arena, out, "etag", cl_str_of(file->tag));
	cl_response_add_header(arena, out, "cache-control",
	                       unchanging ? CL_STR("public, max-age=31536000, immutable") : CL_STR("no-cache"));
	out->body = file->content;
	if (if_none_match.n &&
	    (memmem(if_none_match.p, if_none_match.n, file->tag, strlen(file->tag)) || cl_str_is(if_none_match, "*"))) {
		out->status = 304;
		out->body = CL_STR_NONE;
	}
	return out->status;
}
