/* fuzz_patch.c: a document, a line feed, a patch: what comes out is JSON of a bounded size, and a failure explains itself. */
#include "base/json_patch.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *feed = size ? memchr(data, '\n', size) : NULL;
	struct cl_json *document, *patch, *again;
	struct cl_err e = {0};
	if (!feed)
		return 0;
	struct cl_arena *arena = cl_arena_new((size_t)64 << 20);
	struct cl_str first = {(const char *)data, (size_t)(feed - data)};
	struct cl_str second = {(const char *)feed + 1, size - first.n - 1};
	if (!cl_json_parse(arena, first, NULL, &document, NULL) && !cl_json_parse(arena, second, NULL, &patch, NULL)) {
		int code = cl_json_patch(arena, document, patch, &e);
		must(!code || (e.code == code && e.message[0]));
		must(!code || code == CL_E_INVALID || code == CL_E_RULE || code == CL_E_TOO_LARGE);
		if (!code) {
			struct cl_buf text;
			cl_buf_init(&text, 0);
			cl_json_patch_prune(arena, document, patch);
			cl_json_write(&text, document);
			must(!cl_json_parse(arena, cl_buf_str(&text), NULL, &again, NULL));
			must(cl_json_equal(document, again));
			cl_buf_free(&text);
		}
		/* A pointer into it gives a place or none. */
		cl_json_pointer(arena, document, second);
	}
	cl_arena_free(arena);
	return 0;
}
