/* hash.c: the algorithms are fetched once, because OpenSSL 3 looks them up by name under a lock each time otherwise. */
#include "base/hash.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>

static EVP_MD *sha256;
static EVP_MAC *hmac;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (!sha256 || !hmac)
		cl_die("OpenSSL has no SHA-256 or no HMAC");
}

void cl_sha256_init(struct cl_sha256 *hash)
{
	pthread_once(&fetched, fetch);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (!context || EVP_DigestInit_ex2(context, sha256, NULL) != 1)
		cl_die("SHA-256 failed");
	hash->context = context;
}

void cl_sha256_add(struct cl_sha256 *hash, const void *bytes, size_t n)
{
	if (n && EVP_DigestUpdate(hash->context, bytes, n) != 1)
		cl_die("SHA-256 failed");
}

void cl_sha256_done(struct cl_sha256 *hash, uint8_t out[CL_SHA256_SIZE])
{
	if (EVP_DigestFinal_ex(hash->context, out, NULL) != 1)
		cl_die("SHA-256 failed");
	EVP_MD_CTX_free(hash->context);
	hash->context = NULL;
}

void cl_sha256_of(struct cl_str text, uint8_t out[CL_SHA256_SIZE])
{
	pthread_once(&fetched, fetch);
	if (EVP_Digest(text.p ? text.p : "", text.n, out, NULL, sha256, NULL) != 1)
		cl_die("SHA-256 failed");
}

void cl_hmac_sha256(const uint8_t *key, size_t key_n, struct cl_str text, uint8_t out[CL_SHA256_SIZE])
{
	char digest[] = "SHA256";
	OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0), OSSL_PARAM_construct_end()};
	static const uint8_t empty[1];
	size_t n;

	pthread_once(&fetched, fetch);
	EVP_MAC_CTX *context = EVP_MAC_CTX_new(hmac);
	if (!context || EVP_MAC_init(context, key_n ? key : empty, key_n, parameters) != 1 ||
	    (text.n && EVP_MAC_update(context, (const uint8_t *)text.p, text.n) != 1) ||
	    EVP_MAC_final(context, out, &n, CL_SHA256_SIZE) != 1)
		cl_die("HMAC-SHA-256 failed");
	EVP_MAC_CTX_free(context);
}

void cl_hex(const uint8_t *bytes, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int cl_unhex(struct cl_str text, uint8_t *out, size_t n)
{
	if (text.n % 2 || text.n / 2 != n)
		return CL_E_INVALID;
	for (size_t i = 0; i < n; i++) {
		int high = hex_value(text.p[2 * i]), low = hex_value(text.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return CL_E_INVALID;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static struct cl_str encode(struct cl_arena *arena, struct cl_str bytes, const char *alphabet, bool padded)
{
	size_t groups = bytes.n / 3, rest = bytes.n % 3;
	size_t n = groups * 4 + (rest ? padded ? 4 : rest + 1 : 0);
	char *out = cl_arena_alloc(arena, n + 1), *p = out;
	const uint8_t *in = (const uint8_t *)bytes.p;

	for (size_t i = 0; i < groups; i++, in += 3) {
		uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
		*p++ = alphabet[bits >> 18];
		*p++ = alphabet[bits >> 12 & 63];
		*p++ = alphabet[bits >> 6 & 63];
		*p++ = alphabet[bits & 63];
	}
	if (rest) {
		uint32_t bits = (uint32_t)in[0] << 16 | (rest == 2 ? (uint32_t)in[1] << 8 : 0);
		*p++ = alphabet[bits >> 18];
		*p++ = alphabet[bits >> 12 & 63];
		if (rest == 2)
			*p++ = alphabet[bits >> 6 & 63];
		while (padded && p < out + n)
			*p++ = '=';
	}
	return (struct cl_str){out, n};
}

struct cl_str cl_base64(struct cl_arena *arena, struct cl_str bytes)
{
	return encode(arena, bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", true);
}

struct cl_str cl_base64url(struct cl_arena *arena, struct cl_str bytes)
{
	return encode(arena, bytes, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", false);
}

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

int cl_base64_decode(struct cl_arena *arena, struct cl_str text, struct cl_str *out, struct cl_err *e)
{
	size_t n = text.n;

	/* Padding may be left out, but where it is present it must be right. */
	if (n && text.p[n - 1] == '=') {
		if (n % 4)
			return cl_fail(e, CL_E_INVALID, "base64 with padding must have a length that 4 divides");
		n -= text.p[n - 2] == '=' ? 2 : 1;
	}
	if (n % 4 == 1)
		return cl_fail(e, CL_E_INVALID, "base64 text ends in the middle of a byte");
	size_t size = n / 4 * 3 + (n % 4 ? n % 4 - 1 : 0);
	uint8_t *bytes = cl_arena_try(arena, size + 1);
	if (!bytes)
		return cl_fail(e, CL_E_TOO_LARGE, "base64 text of %zu bytes is too large here", text.n);
	uint32_t bits = 0;
	unsigned held = 0;
	size_t written = 0;
	for (size_t i = 0; i < n; i++) {
		int value = base64_value(text.p[i]);
		if (value < 0)
			return cl_fail(e, CL_E_INVALID, "byte %zu of a base64 text is not of its alphabet", i + 1);
		bits = bits << 6 | (uint32_t)value;
		held += 6;
		if (held >= 8) {
			held -= 8;
			bytes[written++] = (uint8_t)(bits >> held);
		}
	}
	/* A second spelling of the same bytes would let a signed token be altered. */
	if (bits & ((1u << held) - 1))
		return cl_fail(e, CL_E_INVALID, "base64 text has stray bits at its end");
	*out = (struct cl_str){(const char *)bytes, size};
	return 0;
}

bool cl_equal_secret(const void *a, const void *b, size_t n)
{
	return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}
