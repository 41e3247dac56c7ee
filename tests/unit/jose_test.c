/* jose_test.c: JSON Web Keys and signed tokens against Wycheproof's vectors (when they are there) and our own. */
#include "jose/jws.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define EVERY 0x1ffu /* every algorithm that the room knows */

static struct cl_json *read_json(struct cl_arena *arena, const char *path)
{
	FILE *file = fopen(path, "rb");
	struct cl_json *json;
	struct cl_err e = {0};
	if (!file)
		return NULL;
	fseek(file, 0, SEEK_END);
	size_t n = (size_t)ftell(file);
	char *text = cl_arena_alloc(arena, n + 1);
	rewind(file);
	assert_int_equal(fread(text, 1, n, file), n);
	fclose(file);
	if (cl_json_parse(arena, (struct cl_str){text, n}, NULL, &json, &e))
		fail_msg("%s: %s", path, e.message);
	return json;
}

/* Whether a token is accepted with a key or a key set, as the token endpoint would look at it. */
static bool accepted(struct cl_str token, const struct cl_json *keys_json, unsigned allowed)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_jws jws;
	struct cl_jwks keys = {0};
	struct cl_err e = {0};
	/* A copy without a byte to spare, so that the sanitizer sees a read past the end. */
	char *copy = malloc(token.n ? token.n : 1);
	memcpy(copy, token.p ? token.p : "", token.n);
	int code = cl_jws_parse(arena, (struct cl_str){copy, token.n}, &jws, &e);
	if (!code)
		code = cl_jwks_parse(arena, keys_json, &keys, &e);
	if (!code)
		code = cl_jws_verify(&jws, &keys, allowed, &e);
	assert_true(!code || (e.code == code && e.message[0]));
	cl_jwks_free(&keys);
	free(copy);
	cl_arena_free(arena);
	return !code;
}

/* RFC 7520's figures with keys whose "alg" is another one than the token's, or none ("ES521"). The other file of vectors wants
 * the latter refused (19, 20), and so do we the former: a key is for what it says. */
static bool contradicts_itself(const struct cl_json *test)
{
	int64_t number;
	return cl_json_integer(cl_json_get(test, "tcId"), &number) &&
	       (number == 346 || number == 347 || number == 350 || number == 351) &&
	       cl_str_starts(cl_json_get_text(test, "comment"), "Figure2");
}

/* Returns how many vectors there were; those of secret keys (HMAC, AES) are refused whatever they say. */
static size_t run_vectors(const char *path, size_t *valid)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *root = read_json(arena, path), *groups = cl_json_get(root, "testGroups");
	size_t count = 0;
	for (uint32_t g = 0; groups && g < groups->count; g++) {
		struct cl_json *group = &groups->items[g], *tests = cl_json_get(group, "tests");
		struct cl_json *keys = cl_json_get(group, "public");
		bool secret = !keys;
		if (secret)
			keys = cl_json_get(group, "private");
		for (uint32_t t = 0; t < tests->count; t++, count++) {
			struct cl_json *test = &tests->items[t];
			bool expected = !secret && cl_str_is(cl_json_get_text(test, "result"), "valid") &&
			                !contradicts_itself(test);
			struct cl_str token = cl_json_get_text(test, "jws");
			if (!token.n)
				token = cl_json_get_text(test, "jwt");
			if (accepted(token, keys, EVERY) != expected)
				fail_msg("%s, test %.*s: %.*s", path, CL_STR_ARGS(cl_json_get_text(test, "tcId")),
				         CL_STR_ARGS(cl_json_get_text(test, "comment")));
			*valid += expected;
		}
	}
	cl_arena_free(arena);
	return count;
}

static void wycheproof(void **state)
{
	(void)state;
	size_t valid = 0;
	size_t signatures =
	        run_vectors(CL_SOURCE_DIR "/../shared/data/jose-vectors/json_web_signature_test.json", &valid);
	size_t keys = run_vectors(CL_SOURCE_DIR "/../shared/data/jose-vectors/json_web_key_test.json", &valid);
	if (!signatures && !keys) {
		print_message("skipped: ../shared/data/jose-vectors is not there\n");
		skip();
	}
	print_message("%zu signature and %zu key vectors, %zu of them valid\n", signatures, keys, valid);
	assert_int_equal(signatures, 401);
	assert_int_equal(keys, 26);
	assert_true(valid > 15);
}

static void own_vectors(void **state)
{
	(void)state;
	size_t valid = 0;
	size_t count = run_vectors(CL_SOURCE_DIR "/tests/unit/fixtures/jose-vectors.json", &valid);
	assert_true(count >= 30);
	assert_true(valid >= 4);
}

/* What SMART does not name is not accepted, however well it is signed. */
static void only_the_allowed_algorithms(void **state)
{
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *root = read_json(arena, CL_SOURCE_DIR "/tests/unit/fixtures/jose-vectors.json");
	struct cl_json *groups = cl_json_get(root, "testGroups");
	size_t good[2] = {0};
	for (uint32_t g = 0; g < groups->count; g++) {
		struct cl_json *tests = cl_json_get(&groups->items[g], "tests");
		struct cl_str name = cl_json_get_text(&groups->items[g], "comment");
		bool smart = cl_str_starts(name, "ES384") || cl_str_starts(name, "RS384");
		for (uint32_t t = 0; t < tests->count; t++)
			if (cl_str_is(cl_json_get_text(&tests->items[t], "result"), "valid")) {
				assert_int_equal(accepted(cl_json_get_text(&tests->items[t], "jws"),
				                          cl_json_get(&groups->items[g], "public"), CL_JOSE_SMART),
				                 smart);
				good[smart]++;
			}
	}
	assert_true(good[0] >= 2 && good[1] >= 2);
	cl_arena_free(arena);
}

static void keys_that_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *text, *word;
	} cases[] = {
	        {"[]", "JSON Web Key Set"},
	        {"{\"keys\":[]}", "1 to 16"},
	        {"{\"keys\":{}}", "JSON Web Key Set"},
	        {"{\"keys\":[1]}", "JSON object"},
	        {"{}", "kty"},
	        {"{\"kty\":\"oct\",\"k\":\"AAAA\"}", "secret"},
	        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"d\":\"AAAA\"}", "private"},
	        {"{\"kty\":\"EC\",\"crv\":\"secp256k1\"}", "curve"},
	        {"{\"kty\":\"EC\",\"crv\":\"P-384\"}", "\"x\""},
	        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", "48 bytes"},
	        {"{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA==\",\"y\":\"AAAA\"}", "base64url"},
	        {"{\"kty\":\"RSA\",\"n\":\"AAAA\",\"e\":\"AQAB\"}", "bits"},
	        {"{\"kty\":\"RSA\",\"e\":\"AQAB\"}", "\"n\""},
	        {"{\"kty\":\"EC\",\"use\":\"enc\"}", "use"},
	        {"{\"kty\":\"EC\",\"key_ops\":[\"sign\"]}", "key_ops"},
	        {"{\"kty\":\"EC\",\"key_ops\":\"verify\"}", "key_ops"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_arena *arena = cl_arena_new(0);
		struct cl_json *json;
		struct cl_jwks keys;
		struct cl_err e = {0};
		assert_int_equal(cl_json_parse(arena, cl_str_of(cases[i].text), NULL, &json, &e), 0);
		assert_int_equal(cl_jwks_parse(arena, json, &keys, &e), CL_E_INVALID);
		if (!strstr(e.message, cases[i].word))
			fail_msg("%s: %s", cases[i].text, e.message);
		assert_int_equal(keys.count, 0);
		cl_arena_free(arena);
	}
}

static void one_spelling(void **state)
{
	(void)state;
	static const char *const bad[] = {"AA==", "A+AA", "A/AA", "A A", "AB", "A", "AAA\n", "=", "AAAA="};
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str out;
	struct cl_err e = {0};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(cl_jose_decode(arena, cl_str_of(bad[i]), &out, &e), CL_E_INVALID);
	assert_int_equal(cl_jose_decode(arena, CL_STR("-_8A"), &out, &e), 0);
	assert_memory_equal(out.p, "\xfb\xff\x00", 3);
	cl_arena_free(arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(wycheproof),
	        cmocka_unit_test(own_vectors),
	        cmocka_unit_test(only_the_allowed_algorithms),
	        cmocka_unit_test(keys_that_are_refused),
	        cmocka_unit_test(one_spelling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
