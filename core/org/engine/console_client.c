/* console_client.c: commands about clients, their keys and secrets, and tokens. They leave no event, because an event keeps its
 * input: tokens, secrets and clients are no part of a replay. The audit log has them all, without the secrets. */
#include "org/engine/console.h"
#include "base/hash.h"
#include "base/id.h"
#include "jose/jwk.h"
#include "org/access/scope.h"
#include "org/engine/token.h"

static int read_scopes(struct cl_console *c, struct cl_str *out, struct cl_err *e)
{
	struct cl_scopes scopes;
	struct cl_str text = cl_console_argument(c, "scopes");
	*out = CL_STR_NONE;
	int code = text.n ? cl_scopes_parse(c->arena, text, &scopes, e) : 0;
	if (code || !text.n)
		return code;
	/* Words that ask for no data would leave nothing, and nothing means everything. */
	if (!scopes.count)
		return cl_fail(e, CL_E_INVALID, "scopes are system/Type.cruds, with spaces between them");
	*out = cl_scopes_text(c->arena, &scopes);
	return 0;
}

/* ---- clients ---- */

static int need_client(struct cl_console *c, struct cl_stored_client *out, struct cl_err *e)
{
	struct cl_str id;
	int code = cl_console_need(c, "client", &id, e);
	if (!code)
		code = cl_store_client_get(c->context->store, c->arena, id, out, e);
	if (code != CL_E_NOT_FOUND || !cl_access_principal(c->context->rules->access, id))
		return code;
	return cl_fail(e, code, "'%.*s' is a client of the configuration: change it in config/orgs", CL_STR_ARGS(id));
}

static int client_add(struct cl_console *c, struct cl_err *e)
{
	const struct cl_principal *principal;
	struct cl_stored_client client = {.created = c->context->now}, known;
	struct cl_err absent = {0};
	int code = cl_console_need(c, "client", &client.id, e);
	if (!code)
		code = cl_console_need_principal(c, &principal, e);
	if (!code)
		code = read_scopes(c, &client.scope, e);
	if (code)
		return code;
	if (!cl_is_fhir_id(client.id))
		return cl_fail(e, CL_E_INVALID, "a client's id is letters, digits, '-' and '.', at most 64");
	if (cl_access_principal(c->context->rules->access, client.id) ||
	    !cl_store_client_get(c->context->store, c->arena, client.id, &known, &absent))
		return cl_fail(e, CL_E_CONFLICT, "there is a principal or client '%.*s' already",
		               CL_STR_ARGS(client.id));
	client.principal = principal->name;
	code = cl_store_client_put(c->context->store, &client, e);
	if (!code)
		cl_buf_printf(&c->text,
		              "%.*s may now get a proof: client key %.*s {\"kty\":...}, or client secret %.*s",
		              CL_STR_ARGS(client.id), CL_STR_ARGS(client.id), CL_STR_ARGS(client.id));
	return code;
}

static int client_key(struct cl_console *c, struct cl_err *e)
{
	struct cl_stored_client client;
	struct cl_str text;
	struct cl_json *json;
	struct cl_jwks keys;
	int code = need_client(c, &client, e);
	if (!code)
		code = cl_console_need(c, "key", &text, e);
	if (!code)
		code = cl_json_parse(c->arena, text, NULL, &json, e);
	if (!code)
		code = cl_jwks_parse(c->arena, json, &keys, e);
	if (code)
		return code;
	size_t count = 0;
	for (size_t i = 0; i < keys.count; i++)
		count += keys.keys[i].id.n && keys.keys[i].algorithms & CL_JOSE_SMART;
	size_t all = keys.count;
	cl_jwks_free(&keys);
	if (count != all)
		return cl_fail(e, CL_E_INVALID,
		               "each key needs a \"kid\", and is one for ES384 (curve P-384) or RS384 (RSA)");
	client.keys = text;
	code = cl_store_client_put(c->context->store, &client, e);
	if (!code)
		cl_buf_printf(&c->text, "%zu key%s registered; those before are worthless now", count,
		              count == 1 ? "" : "s");
	return code;
}

static int client_secret(struct cl_console *c, struct cl_err *e)
{
	struct cl_stored_client client;
	struct cl_token_proof made = {0};
	const struct cl_token_proof *proof = c->context->proof;
	int code = need_client(c, &client, e);
	if (code)
		return code;
	/* The engine has made it on another thread: the writer has no time for that. */
	if (!proof || !proof->hash.n) {
		cl_token_make_secret(c->arena, &made);
		proof = &made;
	}
	client.secret = proof->hash;
	code = cl_store_client_put(c->context->store, &client, e);
	if (!code)
		cl_buf_printf(&c->text, "%.*s", CL_STR_ARGS(proof->secret));
	return code;
}

static void list_client(struct cl_console *c, struct cl_str id, struct cl_str principal, const char *proofs,
                        struct cl_str scope, cl_instant created)
{
	struct cl_json *row = cl_console_row(c);
	cl_console_cell(c, row, id);
	cl_console_cell(c, row, principal);
	cl_console_cell(c, row, cl_str_of(proofs));
	cl_console_cell(c, row, scope.n ? scope : CL_STR("(what its roles allow)"));
	cl_console_cell_time(c, row, created);
}

static int client_list(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"client", "principal", "proof", "scopes", "registered", NULL};
	const struct cl_principal *principals;
	struct cl_client_list list;
	int code = cl_store_clients(c->context->store, c->arena, &list, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	size_t count = cl_access_principals(c->context->rules->access, &principals);
	for (size_t i = 0; i < count; i++)
		if (principals[i].keys || principals[i].certificate.n)
			list_client(c, principals[i].name, principals[i].name,
			            !principals[i].keys           ? "certificate"
			            : principals[i].certificate.n ? "keys, certificate"
			                                          : "keys",
			            principals[i].registered, 0);
	for (size_t i = 0; i < list.count; i++) {
		const struct cl_stored_client *one = &list.items[i];
		list_client(c, one->id, one->principal,
		            one->keys.n && one->secret.n ? "keys, secret"
		            : one->keys.n                ? "keys"
		            : one->secret.n              ? "secret"
		                                         : "none yet",
		            one->scope, one->created);
	}
	return 0;
}

static int client_revoke(struct cl_console *c, struct cl_err *e)
{
	struct cl_str id;
	struct cl_err absent = {0};
	int code = cl_console_need(c, "client", &id, e);
	if (!code)
		code = cl_store_tokens_delete(c->context->store, id, e);
	if (code)
		return code;
	code = cl_store_client_delete(c->context->store, id, &absent);
	if (!code) {
		cl_buf_add_cstring(&c->text, "revoked, with every token it had");
		return 0;
	}
	if (code == CL_E_NOT_FOUND && cl_access_principal(c->context->rules->access, id)) {
		cl_buf_add_cstring(&c->text,
		                   "its tokens are revoked; take its keys out of config/orgs and reload, or it "
		                   "gets new ones");
		return 0;
	}
	*e = absent;
	return code;
}

/* ---- tokens ---- */

static int token_create(struct cl_console *c, struct cl_err *e)
{
	const struct cl_principal *principal;
	struct cl_stored_token stored = {0};
	uint8_t secret[32];
	int64_t hours = cl_console_number(c, "hours", 24);
	int code = cl_console_need_principal(c, &principal, e);
	if (!code && (hours < 1 || hours > 24 * 366))
		code = cl_fail(e, CL_E_INVALID, "hours is 1 to %d", 24 * 366);
	if (!code)
		code = read_scopes(c, &stored.scope, e);
	if (code)
		return code;
	cl_random(secret, sizeof secret);
	struct cl_str token = cl_base64url(c->arena, (struct cl_str){(const char *)secret, sizeof secret});
	cl_sha256_of(token, stored.hash);
	stored.principal = principal->name;
	stored.expires = c->context->now + hours * CL_HOUR;
	code = cl_store_token_put(c->context->store, &stored, e);
	if (!code)
		cl_buf_printf(&c->text, "%.*s", CL_STR_ARGS(token));
	return code;
}

static int token_revoke(struct cl_console *c, struct cl_err *e)
{
	struct cl_str token;
	uint8_t hash[CL_SHA256_SIZE];
	int code = cl_console_need(c, "token", &token, e);
	if (code)
		return code;
	cl_sha256_of(token, hash);
	code = cl_store_token_delete(c->context->store, hash, e);
	if (!code)
		cl_buf_add_cstring(&c->text, "revoked");
	return code;
}

const struct cl_console_command cl_console_client_commands[] = {
        {"client add", client_add, false},       {"client key", client_key, false},
        {"client secret", client_secret, false}, {"client list", client_list, false},
        {"client revoke", client_revoke, false}, {"token create", token_create, false},
        {"token revoke", token_revoke, false},   {NULL, NULL, false},
};
