/* token_client.h: proof of a client at the token endpoint; shared by the files of the endpoint only. */
#pragma once
#include "org/engine/token.h"

/* RFC 6749 section 4.4.2, RFC 7521 section 4.2, RFC 7009 section 2.1. What else the form holds is passed over. */
struct cl_token_form {
	struct cl_str grant_type, scope, client_id, client_secret, assertion_type, assertion, token;
};
int cl_token_form(struct cl_arena *arena, struct cl_str body, struct cl_token_form *out, struct cl_err *e);
int cl_token_basic(struct cl_arena *arena, struct cl_str encoded, struct cl_str *id, struct cl_str *secret);

struct cl_token_asking {
	const struct cl_rules *rules;
	struct cl_store *store;
	struct cl_arena *arena;
	const struct cl_request *request;
	cl_instant now;
};

/* 0: it is `client`. CL_E_CONFLICT: the request itself is wrong; else the proof is. `client` is filled in as soon as it is known,
 * for the audit; otherwise its id is empty. */
int cl_token_client(const struct cl_token_asking *asking, const struct cl_token_form *form, struct cl_client *client,
                    struct cl_token_proof *out, struct cl_err *e);
