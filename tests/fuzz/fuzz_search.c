/* fuzz_search.c: any query string is read or refused, never worse; what was read as `self` reads again. The first byte
 * chooses the resource type, the second whether handling is lenient and whether several
 * types are searched. */
#include "org/fhir/search.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(const struct cl_criterion *criterion, int depth)
{
	if (depth > 20 || criterion->kind < CL_TRUE || criterion->kind > CL_GROUP)
		abort();
	for (size_t i = 0; i < criterion->child_count; i++)
		check(&criterion->children[i], depth + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n < 2)
		return 0;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_fhir_search_context context = {
	        .type = (uint16_t)(data[0] % cl_fhir_type_count() + 1),
	        .base = CL_STR("https://here.example/fhir"),
	        .now = 1795305600 * CL_SECOND,
	        .lenient = data[1] & 1,
	        .across = data[1] & 2,
	};
	/* A copy without a byte to spare, so that the sanitizer sees a read past the end. */
	char *text = malloc(n - 2 ? n - 2 : 1);
	memcpy(text, data + 2, n - 2);
	struct cl_fhir_search search, again;
	struct cl_err e = {0};
	int code = cl_fhir_search_parse(arena, &context, (struct cl_str){text, n - 2}, &search, &e);
	if (code == 0) {
		if (search.query.where)
			check(search.query.where, 0);
		if (cl_fhir_search_parse(arena, &context, search.self, &again, &e))
			abort();
	} else if (e.code != code || !e.message[0]) {
		abort();
	}
	free(text);
	cl_arena_free(arena);
	return 0;
}
