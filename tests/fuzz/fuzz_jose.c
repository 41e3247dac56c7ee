/* fuzz_jose.c: any signed token and any key set is read or refused, never worse. The first line is the token, the rest the keys. A
 * token that is read, is read again from the parts it was taken apart into. */
#include "base/hash.h"
#include "jose/jws.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cl_arena *arena = cl_arena_new(0);
	const uint8_t *line = n ? memchr(data, '\n', n) : NULL;
	size_t length = line ? (size_t)(line - data) : n, rest = line ? n - length - 1 : 0;
	/* Copies without a byte to spare, so that the sanitizer sees a read past the end. */
	char *text = malloc(length ? length : 1), *more = malloc(rest ? rest : 1);
	if (length)
		memcpy(text, data, length);
	if (rest)
		memcpy(more, line + 1, rest);
	struct cl_jws token, again;
	struct cl_jwks keys = {0};
	struct cl_json *json;
	struct cl_err e = {0}, ignored = {0};
	int read = cl_jws_parse(arena, (struct cl_str){text, length}, &token, &e);
	if (read && (e.code != read || !e.message[0]))
		abort();
	if (!read) {
		struct cl_str parts = cl_arena_printf(arena, "%.*s.%.*s", CL_STR_ARGS(token.signed_text),
		                                      CL_STR_ARGS(cl_base64url(arena, token.signature)));
		/* One spelling for each token. */
		if (!cl_str_equal(parts, (struct cl_str){text, length}) || cl_jws_parse(arena, parts, &again, &e))
			abort();
	}
	int known = cl_json_parse(arena, (struct cl_str){more, rest}, NULL, &json, &ignored);
	if (!known)
		known = cl_jwks_parse(arena, json, &keys, &ignored);
	if (!known && (!keys.count || keys.count > CL_JWKS_MAX))
		abort();
	if (known && keys.count)
		abort();
	if (!read && !known)
		cl_jws_verify(&token, &keys, CL_JOSE_SMART, &ignored);
	cl_jwks_free(&keys);
	free(text);
	free(more);
	cl_arena_free(arena);
	return 0;
}
