/* base_identity_test.c: identifiers, random and derived; hashes against published vectors; hex and base64. */
#include "base/hash.h"
#include "base/id.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static const cl_instant now = 1795324567123456;

static void test_new_ids(void **state)
{
	enum { COUNT = 2000 };
	static char ids[COUNT][27];
	(void)state;
	for (int i = 0; i < COUNT; i++) {
		cl_id_new(now + i * 1000, ids[i]);
		assert_int_equal(strlen(ids[i]), 26);
		assert_int_equal(strspn(ids[i], "0123456789abcdefghjkmnpqrstvwxyz"), 26);
		assert_true(cl_is_fhir_id(cl_str_of(ids[i])));
		if (i) /* one millisecond later sorts later */
			assert_true(strcmp(ids[i - 1], ids[i]) < 0);
	}
	/* At one time: the time's ten characters are equal, the rest is not. */
	char a[27], b[27];
	cl_id_new(now, a);
	cl_id_new(now, b);
	assert_memory_equal(a, b, 10);
	assert_string_not_equal(a, b);
	/* The time is written in Crockford base 32: 48 bits in ten characters. */
	cl_id_new(0, a);
	assert_memory_equal(a, "0000000000", 10);
	cl_id_new(-5, a);
	assert_memory_equal(a, "0000000000", 10);
	cl_id_new(1000, a);
	assert_memory_equal(a, "0000000001", 10);
	cl_id_new(32 * 1000, a);
	assert_memory_equal(a, "0000000010", 10);
	cl_id_new(((INT64_C(1) << 48) - 1) * 1000, a);
	assert_memory_equal(a, "7zzzzzzzzz", 10);
	cl_id_new(INT64_C(1469918176385) * 1000, a); /* the ULID specification's example */
	assert_memory_equal(a, "01aryz6s41", 10);
}

static void test_derived_ids(void **state)
{
	uint8_t secret[32] = {1, 2, 3}, other[32] = {1, 2, 4};
	char id[27], again[27];
	(void)state;
	cl_id_derive(secret, now, CL_STR("event-1"), CL_STR("task"), 0, id);
	assert_true(cl_is_fhir_id(cl_str_of(id)));
	assert_int_equal(strlen(id), 26);
	/* Stable, also across releases: this text is in databases and must stay. */
	assert_string_equal(id, "01m80txqjkxjxmdyjtr3kdrdcv");
	cl_id_derive(secret, now, CL_STR("event-1"), CL_STR("task"), 0, again);
	assert_string_equal(id, again);
	/* Each part matters. */
	cl_id_derive(other, now, CL_STR("event-1"), CL_STR("task"), 0, again);
	assert_string_not_equal(id, again);
	cl_id_derive(secret, now, CL_STR("event-2"), CL_STR("task"), 0, again);
	assert_string_not_equal(id, again);
	cl_id_derive(secret, now, CL_STR("event-1"), CL_STR("task2"), 0, again);
	assert_string_not_equal(id, again);
	cl_id_derive(secret, now, CL_STR("event-1"), CL_STR("task"), 1, again);
	assert_string_not_equal(id, again);
	cl_id_derive(secret, now + 1000, CL_STR("event-1"), CL_STR("task"), 0, again);
	assert_string_not_equal(id, again);
	assert_string_equal(id + 10, again + 10); /* the time changes its own characters only */
	/* The parts cannot run into each other. */
	cl_id_derive(secret, now, CL_STR("event-1t"), CL_STR("ask"), 0, again);
	assert_string_not_equal(id, again);
	cl_id_derive(secret, now, CL_STR("event-1"), CL_STR(""), 0, again);
	assert_string_not_equal(id, again);
	/* A key longer than any fixed room. */
	char key[1000];
	memset(key, 'k', sizeof key);
	cl_id_derive(secret, now, CL_STR("e"), (struct cl_str){key, 1000}, 0, id);
	key[999] = 'l';
	cl_id_derive(secret, now, CL_STR("e"), (struct cl_str){key, 1000}, 0, again);
	assert_string_not_equal(id, again);
}

static void test_fhir_ids(void **state)
{
	char longest[66];
	(void)state;
	memset(longest, 'a', sizeof longest);
	assert_true(cl_is_fhir_id(CL_STR("a")));
	assert_true(cl_is_fhir_id(CL_STR("A-z.0-9")));
	assert_true(cl_is_fhir_id((struct cl_str){longest, 64}));
	assert_false(cl_is_fhir_id((struct cl_str){longest, 65}));
	assert_false(cl_is_fhir_id(CL_STR("")));
	assert_false(cl_is_fhir_id(CL_STR_NONE));
	assert_false(cl_is_fhir_id(CL_STR("a_b")));
	assert_false(cl_is_fhir_id(CL_STR("a/b")));
	assert_false(cl_is_fhir_id(CL_STR("a b")));
	assert_false(cl_is_fhir_id(CL_STR("a\n")));
	assert_false(cl_is_fhir_id(CL_STR("\xc3\xa9")));
	assert_false(cl_is_fhir_id((struct cl_str){"a\0b", 3}));
}

static void test_uuids(void **state)
{
	char a[37], b[37];
	(void)state;
	for (int i = 0; i < 100; i++) {
		cl_uuid_new(a);
		cl_uuid_new(b);
		assert_string_not_equal(a, b);
		assert_int_equal(strlen(a), 36);
		for (int k = 0; k < 36; k++)
			if (k == 8 || k == 13 || k == 18 || k == 23)
				assert_int_equal(a[k], '-');
			else
				assert_non_null(strchr("0123456789abcdef", a[k]));
		assert_int_equal(a[14], '4');
		assert_non_null(strchr("89ab", a[19]));
	}
}

static void assert_hex(const uint8_t *bytes, const char *expected)
{
	char hex[65];
	cl_hex(bytes, 32, hex);
	assert_string_equal(hex, expected);
}

static void test_sha256(void **state)
{
	uint8_t out[CL_SHA256_SIZE];
	struct cl_sha256 hash;
	(void)state;
	cl_sha256_of(CL_STR("abc"), out);
	assert_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	cl_sha256_of(CL_STR_NONE, out);
	assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	cl_sha256_init(&hash);
	cl_sha256_add(&hash, "abcdbcdecdefdefgefghfghig", 25);
	cl_sha256_add(&hash, NULL, 0);
	cl_sha256_add(&hash, "hijhijkijkljklmklmnlmnomnopnopq", 31);
	cl_sha256_done(&hash, out);
	assert_hex(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	cl_sha256_init(&hash);
	for (int i = 0; i < 1000; i++) {
		char thousand[1000];
		memset(thousand, 'a', sizeof thousand);
		cl_sha256_add(&hash, thousand, sizeof thousand);
	}
	cl_sha256_done(&hash, out);
	assert_hex(out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_hmac(void **state)
{
	uint8_t key[131], out[CL_SHA256_SIZE];
	(void)state;
	/* RFC 4231, cases 1, 2 and 6. */
	memset(key, 0x0b, 20);
	cl_hmac_sha256(key, 20, CL_STR("Hi There"), out);
	assert_hex(out, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	cl_hmac_sha256((const uint8_t *)"Jefe", 4, CL_STR("what do ya want for nothing?"), out);
	assert_hex(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, 131);
	cl_hmac_sha256(key, 131, CL_STR("Test Using Larger Than Block-Size Key - Hash Key First"), out);
	assert_hex(out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	cl_hmac_sha256(NULL, 0, CL_STR_NONE, out);
	assert_hex(out, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_hex(void **state)
{
	uint8_t out[3];
	char text[7];
	(void)state;
	cl_hex((const uint8_t *)"\x00\x9f\xff", 3, text);
	assert_string_equal(text, "009fff");
	assert_int_equal(cl_unhex(CL_STR("009FfF"), out, 3), 0);
	assert_memory_equal(out, "\x00\x9f\xff", 3);
	assert_int_equal(cl_unhex(CL_STR("009ff"), out, 3), CL_E_INVALID);
	assert_int_equal(cl_unhex(CL_STR("009fff"), out, 2), CL_E_INVALID);
	assert_int_equal(cl_unhex(CL_STR("009ffg"), out, 3), CL_E_INVALID);
	assert_int_equal(cl_unhex(CL_STR("0x9fff"), out, 3), CL_E_INVALID);
	assert_int_equal(cl_unhex(CL_STR_NONE, out, 0), 0);
}

static void test_base64(void **state)
{
	static const char *const vectors[][2] = {
	        {"", ""},
	        {"f", "Zg=="},
	        {"fo", "Zm8="},
	        {"foo", "Zm9v"},
	        {"foob", "Zm9vYg=="},
	        {"fooba", "Zm9vYmE="},
	        {"foobar", "Zm9vYmFy"},
	        {"\xfb\xff\xbf", "+/+/"},
	};
	static const char *const wrong[] = {
	        "Z",      "Zg=",  "Zg===", "Zg==Zg==", "=",  "==", "====",  "Zm9vYg=", "Zm 9v",
	        "Zm9v\n", "Zm9*", "Zh==",  "Zm9=",     "Zh", "A",  "AAAAA", "Z===",    "Zm=v",
	};
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str out;
	struct cl_err error = {0};
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		struct cl_str plain = cl_str_of(vectors[i][0]), encoded = cl_base64(arena, plain);
		assert_string_equal(encoded.p, vectors[i][1]);
		assert_int_equal(encoded.n, strlen(encoded.p));
		assert_int_equal(cl_base64_decode(arena, encoded, &out, &error), 0);
		assert_true(cl_str_equal(out, plain));
		struct cl_str url = cl_base64url(arena, plain);
		assert_null(strpbrk(url.p, "+/="));
		assert_int_equal(cl_base64_decode(arena, url, &out, &error), 0);
		assert_true(cl_str_equal(out, plain));
	}
	assert_string_equal(cl_base64url(arena, CL_STR("\xfb\xff\xbf")).p, "-_-_");
	assert_string_equal(cl_base64url(arena, CL_STR("f")).p, "Zg");
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		if (cl_base64_decode(arena, cl_str_of(wrong[i]), &out, &error) != CL_E_INVALID)
			fail_msg("%s", wrong[i]);
	/* Every byte, at every place in a group. */
	char bytes[259];
	for (int i = 0; i < 259; i++)
		bytes[i] = (char)i;
	for (size_t n = 250; n < 259; n++) {
		struct cl_str encoded = cl_base64(arena, (struct cl_str){bytes + 259 - n, n});
		assert_int_equal(cl_base64_decode(arena, encoded, &out, &error), 0);
		assert_int_equal(out.n, n);
		assert_memory_equal(out.p, bytes + 259 - n, n);
	}
	cl_arena_free(arena);
	char large[400];
	memset(large, 'A', sizeof large);
	arena = cl_arena_new(64);
	assert_int_equal(cl_base64_decode(arena, (struct cl_str){large, sizeof large}, &out, &error), CL_E_TOO_LARGE);
	cl_arena_free(arena);
}

static void test_secrets(void **state)
{
	(void)state;
	assert_true(cl_equal_secret("secret", "secret", 6));
	assert_false(cl_equal_secret("secret", "secreT", 6));
	assert_true(cl_equal_secret("secret", "secreT", 5));
	assert_true(cl_equal_secret(NULL, NULL, 0));
	uint8_t a[64] = {0}, b[64] = {0};
	cl_random(a, sizeof a);
	cl_random(b, sizeof b);
	assert_false(cl_equal_secret(a, b, sizeof a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_new_ids), cmocka_unit_test(test_derived_ids), cmocka_unit_test(test_fhir_ids),
	        cmocka_unit_test(test_uuids),   cmocka_unit_test(test_sha256),      cmocka_unit_test(test_hmac),
	        cmocka_unit_test(test_hex),     cmocka_unit_test(test_base64),      cmocka_unit_test(test_secrets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
