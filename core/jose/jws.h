/* jws.h: signed tokens in compact form (RFC 7515 section 7.1): taken apart strictly, verified with keys that are known already,
 * never with what the token itself brings. */
#pragma once
#include "jose/jwk.h"

#define CL_JWS_MAX (16 * 1024) /* bytes of a whole token */

struct cl_jws {
	struct cl_json *header;
	unsigned algorithm; /* 0 when it is none of cl_jose_algorithm */
	struct cl_str key_id; /* "kid" or empty */
	struct cl_str payload; /* decoded; nobody has vouched for it before cl_jws_verify */
	struct cl_str signature; /* decoded */
	struct cl_str signed_text; /* what the signature covers; points into the text */
};

/* `text` must outlive the result. CL_E_INVALID: not three parts of base64url, a header that is no JSON object, has a name
 * twice, or asks for an extension ("crit"): this reader knows none. */
int cl_jws_parse(struct cl_arena *arena, struct cl_str text, struct cl_jws *out, struct cl_err *e);
/* The algorithm must be one of `allowed`, and one that the key is for. A token that names no key is tried with each.
 * CL_E_UNAUTHENTICATED, with a reason for whoever set the client up. */
int cl_jws_verify(const struct cl_jws *token, const struct cl_jwks *keys, unsigned allowed, struct cl_err *e);
