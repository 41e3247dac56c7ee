/* fuzz_config.c: whatever a configuration file holds, it is read within bounds or refused with a place, and what is
 * read is JSON. */
#include "base/config.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_offsets(const struct cl_json *value, size_t size)
{
	must(value->offset <= size);
	for (uint32_t i = 0; value->kind == CL_JSON_ARRAY && i < value->count; i++)
		check_offsets(&value->items[i], size);
	for (uint32_t i = 0; value->kind == CL_JSON_OBJECT && i < value->count; i++)
		check_offsets(&value->members[i].value, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *tree, *again;
	struct cl_err e = {0};
	struct cl_buf text;
	if (cl_config_load_text(arena, "fuzz.lua", (struct cl_str){(const char *)data, size}, &tree, &e)) {
		must(e.code < 0 && e.message[0] && strncmp(e.where, "fuzz.lua", 8) == 0 && !tree);
	} else {
		check_offsets(tree, size);
		cl_buf_init(&text, 0);
		cl_json_write(&text, tree);
		must(cl_json_parse(arena, cl_buf_str(&text), NULL, &again, &e) == CL_OK && cl_json_equal(tree, again));
		cl_buf_free(&text);
	}
	cl_arena_free(arena);
	return 0;
}
