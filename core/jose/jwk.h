/* jwk.h: public keys of clients as JSON Web Keys (RFC 7517, RFC 7518 section 6). Only what verifies signatures; a set with a
 * private or symmetric key, or two keys of one id, is refused as a whole (RFC 8725). */
#pragma once
#include "base/json.h"

struct evp_pkey_st;

/* Signature algorithms (RFC 7518 section 3.1), as bits. "none" and HMAC are not among them: they cannot be asked for. */
enum cl_jose_algorithm {
	CL_JOSE_RS256 = 1u << 0,
	CL_JOSE_RS384 = 1u << 1,
	CL_JOSE_RS512 = 1u << 2,
	CL_JOSE_PS256 = 1u << 3,
	CL_JOSE_PS384 = 1u << 4,
	CL_JOSE_PS512 = 1u << 5,
	CL_JOSE_ES256 = 1u << 6,
	CL_JOSE_ES384 = 1u << 7,
	CL_JOSE_ES512 = 1u << 8,
};
#define CL_JOSE_SMART (CL_JOSE_RS384 | CL_JOSE_ES384) /* SMART App Launch 2.0, client-confidential-asymmetric */

struct cl_jwk {
	struct cl_str id; /* "kid"; may be empty */
	unsigned algorithms; /* that it can verify: by its type and curve, and by its "alg" */
	struct evp_pkey_st *key;
};

struct cl_jwks {
	struct cl_jwk *keys; /* in the arena; their OpenSSL parts are freed by cl_jwks_free */
	size_t count;
};

#define CL_JWKS_MAX 16 /* keys of one client: enough for a rotation */

/* `json` is a set ({"keys": [...]}) or one key. CL_E_INVALID with what is wrong with which key; then nothing is to be freed. */
int cl_jwks_parse(struct cl_arena *arena, const struct cl_json *json, struct cl_jwks *out, struct cl_err *e);
void cl_jwks_free(struct cl_jwks *keys);
/* 0 when the name is none of ours. */
unsigned cl_jose_algorithm(struct cl_str name);
/* RFC 7515 section 2: the URL-safe alphabet without padding, white space or stray bits; one spelling for each text. */
int cl_jose_decode(struct cl_arena *arena, struct cl_str text, struct cl_str *out, struct cl_err *e);
