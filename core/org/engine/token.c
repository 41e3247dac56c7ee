/* token.c: the token endpoint and revocation (RFC 7009). */
#include "org/engine/token.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/log.h"
#include "org/access/scope.h"
#include "org/engine/token_client.h"
#include "org/engine/throttle.h"
#include <strings.h>

/* ---- answers ---- */

static void answer(struct cl_arena *arena, int status, const struct cl_json *body, struct cl_response *out)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, body);
	*out = (struct cl_response){.status = status, .body = cl_arena_copy(arena, cl_buf_str(&text))};
	cl_buf_free(&text);
	cl_response_add_header(arena, out, "content-type", CL_STR("application/json"));
	/* RFC 6749 section 5.1. */
	cl_response_add_header(arena, out, "cache-control", CL_STR("no-store"));
}

static void answer_refusal(struct cl_arena *arena, const struct cl_request *request, const struct cl_token_proof *proof,
                           struct cl_response *out)
{
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, body, "error", cl_str_of(proof->error));
	if (proof->description.n)
		cl_json_set_text(arena, body, "error_description", proof->description);
	answer(arena, proof->status, body, out);
	/* RFC 6749 section 5.2: to who tried the Authorization header. */
	if (proof->status == 401 && request)
		cl_response_add_header(arena, out, "www-authenticate", CL_STR("Basic realm=\"careloop\""));
	if (proof->status == 405)
		cl_response_add_header(arena, out, "allow", CL_STR("POST"));
	if (proof->retry_after)
		cl_response_add_header(arena, out, "retry-after", cl_arena_printf(arena, "%u", proof->retry_after));
}

void cl_token_refuse(struct cl_arena *arena, const struct cl_err *problem, struct cl_response *response)
{
	struct cl_token_proof proof = {
	        .error = problem->code == CL_E_BUSY || problem->code == CL_E_FULL ? "temporarily_unavailable"
	                                                                          : "server_error",
	        .status = cl_code_http_status(problem->code),
	        .retry_after = problem->code == CL_E_BUSY || problem->code == CL_E_FULL ? 1 : 0,
	        .description = cl_arena_copy(arena, cl_str_of(problem->message)),
	};
	answer_refusal(arena, NULL, &proof, response);
}

/* ---- proof ---- */

static void refuse(struct cl_arena *arena, struct cl_token_proof *out, int status, const char *error, const char *text)
{
	/* RFC 6749 section 5.2: printable ASCII without quotes and backslashes. */
	char *copy = cl_arena_cstring(arena, cl_str_of(text));
	for (char *p = copy; *p; p++)
		if (*p == '"' || *p == '\\' || (unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '\'';
	out->status = status;
	out->error = error;
	out->description = cl_str_of(copy);
}

static bool is_form(struct cl_str type)
{
	static const char form[] = "application/x-www-form-urlencoded";
	const size_t n = sizeof form - 1;
	return type.n >= n && !strncasecmp(type.p, form, n) && (type.n == n || type.p[n] == ';' || type.p[n] == ' ');
}

/* What it asks for (or else everything), of what it is registered for, of what its roles could ever allow. */
static void grant(const struct cl_token_asking *asking, const struct cl_token_form *form,
                  const struct cl_client *client, struct cl_token_proof *out)
{
	struct cl_arena *arena = asking->arena;
	struct cl_scopes asked, registered, granted;
	struct cl_err e = {0};
	struct cl_str everything = CL_STR("system/*.cruds");
	int code = cl_scopes_parse(arena, form->scope.n ? form->scope : everything, &asked, &e);
	if (!code)
		code = cl_scopes_parse(arena, client->scope.n ? client->scope : everything, &registered, &e);
	if (!code)
		code = cl_scopes_meet(arena, &asked, &registered, &granted, &e);
	if (!code) {
		cl_scopes_trim(&granted, asking->rules->access, client->principal);
		if (!granted.count)
			code = cl_fail(&e, CL_E_INVALID,
			               "nothing of the scope can be granted to this client; ask for system/Type.cruds");
	}
	if (code)
		refuse(arena, out, 400, "invalid_scope", e.message);
	else
		out->scope = cl_scopes_text(arena, &granted);
}

static void prove(const struct cl_token_asking *asking, bool revocation, struct cl_client *client,
                  struct cl_token_proof *out)
{
	struct cl_token_form form;
	struct cl_err e = {0};
	struct cl_arena *arena = asking->arena;
	if (!cl_str_is(asking->request->method, "POST")) {
		refuse(arena, out, 405, "invalid_request", "this address takes POST only");
		return;
	}
	if (!is_form(cl_request_header(asking->request, "content-type"))) {
		refuse(arena, out, 400, "invalid_request", "send application/x-www-form-urlencoded");
		return;
	}
	if (cl_token_form(arena, asking->request->body, &form, &e)) {
		refuse(arena, out, 400, "invalid_request", e.message);
		return;
	}
	if (!revocation && !cl_str_is(form.grant_type, "client_credentials")) {
		refuse(arena, out, 400, form.grant_type.n ? "unsupported_grant_type" : "invalid_request",
		       "grant_type is client_credentials");
		return;
	}
	int code = cl_token_client(asking, &form, client, out, &e);
	if (code) {
		bool wrong = code == CL_E_CONFLICT;
		refuse(arena, out, wrong ? 400 : 401, wrong ? "invalid_request" : "invalid_client", e.message);
		return;
	}
	/* Copies: the rules that hold the names may be replaced before the writer has the job. */
	out->client = cl_arena_copy(arena, client->id);
	out->principal = cl_arena_copy(arena, client->principal->name);
	out->token = form.token;
	if (!revocation)
		grant(asking, &form, client, out);
	else if (!form.token.n)
		refuse(arena, out, 400, "invalid_request", "token is missing");
}

/* Who failed may be anybody: only a client that is known is named. */
static struct cl_audit_record record_of(struct cl_arena *arena, const struct cl_request *request,
                                        const struct cl_client *client, const struct cl_token_proof *proof,
                                        cl_instant now)
{
	return (struct cl_audit_record){
	        .at = now,
	        .principal = client->id.n ? client->principal->name : CL_STR("-"),
	        .action = CL_STR("token"),
	        .target = cl_arena_printf(arena, "client/%.*s", CL_STR_ARGS(client->id)),
	        .rule = proof->method.n ? proof->method : CL_STR("-"),
	        .outcome = proof->error ? cl_str_of(proof->error) : CL_STR("ok"),
	        .request = cl_request_hex(arena, request),
	};
}

void cl_token_prove(struct cl_organization *organization, const struct cl_rules *rules, struct cl_store *store,
                    struct cl_arena *arena, const struct cl_request *request, const struct cl_route *route,
                    struct cl_token_proof *out)
{
	struct cl_token_asking asking = {.rules = rules,
	                                 .store = store,
	                                 .arena = arena,
	                                 .request = request,
	                                 .now = cl_clock_now(organization->clock)};
	struct cl_client client = {0};
	struct cl_err e = {0};
	*out = (struct cl_token_proof){.made = true};
	out->retry_after = cl_throttle_wait(organization->throttle, request->credential.address, asking.now);
	if (out->retry_after) {
		refuse(arena, out, 429, "temporarily_unavailable", "too many failures from this address; wait");
		return;
	}
	prove(&asking, route->kind == CL_ROUTE_REVOKE, &client, out);
	if (!out->error)
		return;
	cl_throttle_failed(organization->throttle, request->credential.address, asking.now);
	cl_log(CL_LOG_INFO, "token-refused", "client=%.*s error=%s", CL_STR_ARGS(client.id), out->error);
	struct cl_audit_record record = record_of(arena, request, &client, out, asking.now);
	if (cl_audit_tail_append(organization->tail, &record, &e))
		cl_log(CL_LOG_ERROR, "audit-failed", "code=%s", cl_code_name(e.code));
}

/* ---- the writer's part ---- */

static int make_token(const struct cl_organization *organization, struct cl_arena *arena,
                      const struct cl_token_proof *proof, cl_instant now, struct cl_response *out, struct cl_err *e)
{
	uint8_t secret[32];
	struct cl_stored_token stored = {
	        .principal = proof->principal,
	        .client = proof->client,
	        .scope = proof->scope,
	        .bound = proof->bound,
	        .expires = now + CL_TOKEN_LIFE,
	};
	/* Not in a form that a client could take for a JWT and look into. */
	cl_random(secret, sizeof secret);
	struct cl_str token = cl_base64url(arena, (struct cl_str){(const char *)secret, sizeof secret});
	cl_sha256_of(token, stored.hash);
	int code = cl_store_token_put(organization->store, &stored, e);
	if (code)
		return code;
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, body, "access_token", token);
	cl_json_set_text(arena, body, "token_type", CL_STR("bearer"));
	cl_json_set_integer(arena, body, "expires_in", CL_TOKEN_LIFE / CL_SECOND);
	cl_json_set_text(arena, body, "scope", proof->scope);
	answer(arena, 200, body, out);
	return 0;
}

/* RFC 7009 section 2.2: a token that is not known, or another's, is as good as revoked for this client. */
static int revoke(struct cl_store *store, struct cl_arena *arena, const struct cl_token_proof *proof,
                  struct cl_response *out, struct cl_err *e)
{
	uint8_t hash[CL_SHA256_SIZE];
	struct cl_stored_token stored;
	cl_sha256_of(proof->token, hash);
	int code = cl_store_token_get(store, arena, hash, &stored, e);
	if (!code && cl_str_equal(stored.client, proof->client))
		code = cl_store_token_delete(store, hash, e);
	if (code == CL_E_NOT_FOUND) {
		*e = (struct cl_err){0};
		code = 0;
	}
	if (!code)
		answer(arena, 200, cl_json_new(arena, CL_JSON_OBJECT), out);
	return code;
}

void cl_token_answer(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                     const struct cl_route *route, const struct cl_token_proof *proof, struct cl_outcome *out)
{
	struct cl_store *store = organization->store;
	struct cl_token_proof made = *proof;
	struct cl_client client = {0};
	struct cl_err e = {0}, ignored = {0};
	cl_instant now = cl_clock_now(organization->clock);
	*out = (struct cl_outcome){0};
	if (proof->error) {
		answer_refusal(arena, request, proof, &out->response);
		return;
	}
	int code = cl_store_savepoint(store, &e);
	/* The client may have been revoked since it was proved. */
	if (!code && cl_access_client(organization->rules->access, store, arena, proof->client, &client, &ignored)) {
		refuse(arena, &made, 401, "invalid_client", "the client is not registered here any more");
		client = (struct cl_client){0};
	} else if (!code && proof->has_assertion) {
		code = cl_store_assertion_use(store, proof->client, proof->assertion, proof->assertion_expires,
		                              request->id, &e);
		if (code == CL_E_CONFLICT) {
			code = 0;
			refuse(arena, &made, 401, "invalid_client",
			       "the assertion was used before: each needs a new jti");
		}
	}
	if (!code && made.error)
		answer_refusal(arena, request, &made, &out->response);
	else if (!code)
		code = route->kind == CL_ROUTE_REVOKE ? revoke(store, arena, proof, &out->response, &e)
		                                      : make_token(organization, arena, proof, now, &out->response, &e);
	if (!code) {
		struct cl_audit_record record = record_of(arena, request, &client, &made, now);
		if (route->kind == CL_ROUTE_REVOKE)
			record.action = CL_STR("token revoke");
		code = cl_audit_append(store, &record, &e);
	}
	if (!code)
		code = cl_store_release(store, &e);
	if (!code)
		return;
	out->lost = !cl_store_in_transaction(store) || cl_store_rollback_to(store, &ignored) ||
	            cl_store_release(store, &ignored);
	cl_token_refuse(arena, &e, &out->response);
}

bool cl_token_makes_secret(struct cl_arena *arena, const struct cl_request *request)
{
	struct cl_json *body;
	struct cl_err ignored = {0};
	return cl_str_is(request->method, "CONSOLE") && !cl_json_parse(arena, request->body, NULL, &body, &ignored) &&
	       cl_str_is(cl_json_get_text(body, "command"), "client secret");
}
