/* fuzz_scope.c: what a stranger sends to the token endpoint: scopes, forms and Basic credentials are read or refused, never worse.
 * Scopes that are read are written and read again to the same; what two of them have in common is within both. */
#include "org/access/scope.h"
#include "org/engine/token_client.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_scopes(struct cl_arena *arena, struct cl_str text)
{
	struct cl_scopes scopes, again, met;
	struct cl_err e = {0};
	int code = cl_scopes_parse(arena, text, &scopes, &e);
	if (code) {
		if (e.code != code || !e.message[0])
			abort();
		return;
	}
	struct cl_str written = cl_scopes_text(arena, &scopes);
	if (cl_scopes_parse(arena, written, &again, &e) || again.count != scopes.count ||
	    !cl_str_equal(cl_scopes_text(arena, &again), written))
		abort();
	if (cl_scopes_meet(arena, &scopes, &again, &met, &e))
		return;
	for (uint16_t type = 1; type <= 3; type++)
		if (cl_scopes_cover(&met, CL_ACCESS_READ, type) && !cl_scopes_cover(&scopes, CL_ACCESS_READ, type))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_token_form form;
	struct cl_str id, secret;
	struct cl_err e = {0};
	char *copy = malloc(n ? n : 1);
	if (n)
		memcpy(copy, data, n);
	struct cl_str text = {copy, n};
	check_scopes(arena, text);
	if (!cl_token_form(arena, text, &form, &e))
		check_scopes(arena, form.scope);
	else if (!e.message[0])
		abort();
	cl_token_basic(arena, text, &id, &secret);
	free(copy);
	cl_arena_free(arena);
	return 0;
}
