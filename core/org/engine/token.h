/* token.h: the token endpoint (OAuth 2.0 client credentials, RFC 6749 section 4.4; SMART Backend Services): who asks is proved
 * on a thread of its own, because that costs time; the token is made by the writer. Answers are OAuth's JSON, never FHIR's. */
#pragma once
#include "org/engine/interaction.h"

#define CL_TOKEN_LIFE (5 * CL_MINUTE) /* SMART App Launch 2.0: should not exceed five minutes */

/* What cl_token_prove found out. Memory from the request's arena. */
struct cl_token_proof {
	bool made;
	/* A refusal, when `error` is not NULL: OAuth's word, for the client; `status` of HTTP. */
	const char *error;
	int status;
	unsigned retry_after; /* seconds, or 0 */
	struct cl_str description;
	/* Else who it is and what it may have. */
	struct cl_str client, principal;
	struct cl_str method; /* "private_key_jwt" ..., for the audit */
	struct cl_str scope; /* granted */
	struct cl_str bound; /* fingerprint of the certificate that the token is bound to, or empty */
	struct cl_str token; /* revocation: the token that is to go */
	bool has_assertion;
	uint8_t assertion[32]; /* hash of its id */
	cl_instant assertion_expires;
	/* For the console's `client secret`: a new secret and its argon2id hash. */
	struct cl_str secret, hash;
};

/* Any thread, one at a time. Refusals are audited in the tail at once and count against the address. */
void cl_token_prove(struct cl_organization *organization, const struct cl_rules *rules, struct cl_store *store,
                    struct cl_arena *arena, const struct cl_request *request, const struct cl_route *route,
                    struct cl_token_proof *out);
/* Makes the token (or revokes one) and the answer; on the writer, in its transaction. */
void cl_token_answer(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                     const struct cl_route *route, const struct cl_token_proof *proof, struct cl_outcome *out);
/* An answer of OAuth's form to what went wrong elsewhere. */
void cl_token_refuse(struct cl_arena *arena, const struct cl_err *problem, struct cl_response *response);
/* A new secret and its hash, which takes some 20 ms. */
void cl_token_make_secret(struct cl_arena *arena, struct cl_token_proof *out);
/* Does this console command need cl_token_make_secret? */
bool cl_token_makes_secret(struct cl_arena *arena, const struct cl_request *request);
