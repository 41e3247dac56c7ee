/* reply_link.c: making, finding, using and revoking one-time reply links. */
#include "org/flow/reply_link.h"
#include "base/hash.h"
#include "org/flow/unit_internal.h"
#include <stdio.h>

#define TOKEN_BYTES 20 /* 160 bits: nobody guesses one */

/* From the file's secret, so that a replay makes the same one, and nobody else can. */
static struct cl_str derive_token(struct cl_unit *unit)
{
	struct cl_sha256 hash;
	uint8_t bytes[CL_SHA256_SIZE];
	char hex[2 * CL_SHA256_SIZE + 1], ordinal[24];
	int n = snprintf(ordinal, sizeof ordinal, "\n%u", unit->ordinal++);
	cl_sha256_init(&hash);
	cl_sha256_add(&hash, "reply\n", 6);
	cl_sha256_add(&hash, cl_store_secret(unit->store), 32);
	cl_sha256_add(&hash, unit->key.p, unit->key.n);
	cl_sha256_add(&hash, ordinal, (size_t)n);
	cl_sha256_done(&hash, bytes);
	cl_sha256_of((struct cl_str){(const char *)bytes, sizeof bytes}, bytes);
	cl_hex(bytes, TOKEN_BYTES, hex);
	return cl_arena_copy(unit->arena, cl_str_of(hex));
}

int cl_reply_link_new(struct cl_unit *unit, const struct cl_reply_link *link, struct cl_str *url, struct cl_err *e)
{
	struct cl_str token = derive_token(unit), own = cl_json_get_text(unit->organization->config, "url");
	while (own.n && own.p[own.n - 1] == '/')
		own.n--;
	struct cl_stored_token stored = {
	        .principal = cl_arena_printf(unit->arena, CL_REPLY_PRINCIPAL "%.*s", CL_STR_ARGS(link->task)),
	        .scope = cl_json_arena_text(unit->arena, link->offer),
	        .expires = link->expires,
	};
	cl_sha256_of(token, stored.hash);
	int code = cl_store_token_put(unit->store, &stored, e);
	*url = cl_arena_printf(unit->arena, "%.*s/reply/%.*s", CL_STR_ARGS(own), CL_STR_ARGS(token));
	return code ? code
	            : cl_unit_audit(unit, CL_STR("reply-link"),
	                            cl_arena_printf(unit->arena, "Task/%.*s", CL_STR_ARGS(link->task)), e);
}

int cl_reply_link_find(struct cl_store *store, struct cl_arena *arena, struct cl_str token, cl_instant now,
                       struct cl_reply_link *out, struct cl_err *e)
{
	uint8_t hash[CL_SHA256_SIZE];
	struct cl_stored_token stored;
	struct cl_err problem = {0};
	cl_sha256_of(token, hash);
	int code = cl_store_token_get(store, arena, hash, &stored, &problem);
	if (code && code != CL_E_NOT_FOUND) {
		*e = problem;
		return code;
	}
	if (code || !cl_str_starts(stored.principal, CL_REPLY_PRINCIPAL) || stored.expires <= now)
		return cl_fail(e, CL_E_NOT_FOUND, "this link is not valid, or not any more");
	out->expires = stored.expires;
	out->task = (struct cl_str){stored.principal.p + sizeof CL_REPLY_PRINCIPAL - 1,
	                            stored.principal.n - sizeof CL_REPLY_PRINCIPAL + 1};
	return cl_json_parse(arena, stored.scope, NULL, &out->offer, e);
}

int cl_reply_link_use(struct cl_unit *unit, struct cl_str token, struct cl_err *e)
{
	uint8_t hash[CL_SHA256_SIZE];
	cl_sha256_of(token, hash);
	return cl_store_token_delete(unit->store, hash, e);
}

int cl_reply_links_revoke(struct cl_unit *unit, struct cl_str task, struct cl_err *e)
{
	return cl_store_tokens_delete_of(unit->store,
	                                 cl_arena_printf(unit->arena, CL_REPLY_PRINCIPAL "%.*s", CL_STR_ARGS(task)), e);
}
