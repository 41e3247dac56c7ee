/* hash.h: SHA-256, HMAC, hex and base64, over OpenSSL. */
#pragma once
#include "base/arena.h"
#include "base/error.h"
#include <stdint.h>

#define CL_SHA256_SIZE 32

struct cl_sha256 {
	void *context; /* EVP_MD_CTX, owned until cl_sha256_done */
};
void cl_sha256_init(struct cl_sha256 *hash);
void cl_sha256_add(struct cl_sha256 *hash, const void *bytes, size_t n);
void cl_sha256_done(struct cl_sha256 *hash, uint8_t out[CL_SHA256_SIZE]);

void cl_sha256_of(struct cl_str text, uint8_t out[CL_SHA256_SIZE]);
void cl_hmac_sha256(const uint8_t *key, size_t key_n, struct cl_str text, uint8_t out[CL_SHA256_SIZE]);
/* Lower-case hex with a terminating NUL; out holds 2n+1 bytes. */
void cl_hex(const uint8_t *bytes, size_t n, char *out);
int cl_unhex(struct cl_str text, uint8_t *out, size_t n);
struct cl_str cl_base64(struct cl_arena *arena, struct cl_str bytes);
struct cl_str cl_base64url(struct cl_arena *arena, struct cl_str bytes); /* no padding */
/* Both alphabets, with or without padding. White space and stray bits at the end are refused (FHIR allows white space in
 * base64Binary: take it out first). */
int cl_base64_decode(struct cl_arena *arena, struct cl_str text, struct cl_str *out, struct cl_err *e);
/* Constant time. */
bool cl_equal_secret(const void *a, const void *b, size_t n);
