/* token_client.c: who asks for a token: a signed assertion, a secret, or a certificate. */
#include "org/engine/token_client.h"
#include "base/hash.h"
#include "base/id.h"
#include "jose/jws.h"
#include "org/fhir/search.h"
#include <sodium.h>

#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define ASSERTION_LIFE (5 * CL_MINUTE) /* SMART App Launch 2.0: the most between now and exp */
#define ASSERTION_SKEW (10 * CL_SECOND) /* how far a client's clock may be off */
#define ASSERTION_ID_MAX 255
/* OWASP's least for argon2id: two passes over 19 MiB. The secrets are ours, 256 random bits: this guards against a stolen file. */
#define SECRET_PASSES 2
#define SECRET_MEMORY ((size_t)19 * 1024 * 1024)
#define SECRET_MAX 512

/* ---- the form ---- */

static int decode(struct cl_arena *arena, struct cl_str raw, struct cl_str *out)
{
	struct cl_err ignored = {0};
	return cl_fhir_url_decode(arena, raw, out, &ignored);
}

int cl_token_form(struct cl_arena *arena, struct cl_str body, struct cl_token_form *out, struct cl_err *e)
{
	struct {
		const char *name;
		struct cl_str *value;
	} fields[] = {
	        {"grant_type", &out->grant_type},
	        {"scope", &out->scope},
	        {"client_id", &out->client_id},
	        {"client_secret", &out->client_secret},
	        {"client_assertion_type", &out->assertion_type},
	        {"client_assertion", &out->assertion},
	        {"token", &out->token},
	};
	*out = (struct cl_token_form){0};
	struct cl_str rest = body;
	bool seen[sizeof fields / sizeof *fields] = {false};
	while (rest.n) {
		const char *end = memchr(rest.p, '&', rest.n);
		struct cl_str pair = {rest.p, end ? (size_t)(end - rest.p) : rest.n}, name, value;
		rest = end ? (struct cl_str){end + 1, rest.n - pair.n - 1} : CL_STR_NONE;
		const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		if (!pair.n)
			continue;
		name = (struct cl_str){pair.p, equals ? (size_t)(equals - pair.p) : pair.n};
		value = equals ? (struct cl_str){equals + 1, pair.n - name.n - 1} : CL_STR_NONE;
		if (decode(arena, name, &name) || decode(arena, value, &value))
			return cl_fail(e, CL_E_INVALID, "the form is not encoded as application/x-www-form-urlencoded");
		for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
			if (!cl_str_is(name, fields[i].name))
				continue;
			/* RFC 6749 section 3.2: none may be there twice. */
			if (seen[i])
				return cl_fail(e, CL_E_INVALID, "the parameter '%s' is there twice", fields[i].name);
			seen[i] = true;
			*fields[i].value = value;
		}
	}
	return 0;
}

/* RFC 6749 section 2.3.1: both parts are form-encoded before they are joined. */
int cl_token_basic(struct cl_arena *arena, struct cl_str encoded, struct cl_str *id, struct cl_str *secret)
{
	struct cl_str text;
	struct cl_err ignored = {0};
	if (encoded.n > 4 * SECRET_MAX || cl_base64_decode(arena, encoded, &text, &ignored))
		return CL_E_INVALID;
	const char *colon = text.n ? memchr(text.p, ':', text.n) : NULL;
	if (!colon)
		return CL_E_INVALID;
	*id = (struct cl_str){text.p, (size_t)(colon - text.p)};
	*secret = (struct cl_str){colon + 1, text.n - id->n - 1};
	return decode(arena, *id, id) || decode(arena, *secret, secret) ? CL_E_INVALID : 0;
}

/* ---- assertions (RFC 7523 section 3) ---- */

static bool names_audience(const struct cl_json *audience, struct cl_str url)
{
	if (audience && audience->kind == CL_JSON_STRING)
		return cl_str_equal(audience->text, url);
	for (uint32_t i = 0; audience && audience->kind == CL_JSON_ARRAY && i < audience->count; i++)
		if (audience->items[i].kind == CL_JSON_STRING && cl_str_equal(audience->items[i].text, url))
			return true;
	return false;
}

/* Seconds, possibly with a fraction (RFC 7519 section 2, NumericDate); 0 when it is none of the next centuries. */
static cl_instant numeric_date(const struct cl_json *value)
{
	double seconds = value && value->kind == CL_JSON_NUMBER ? cl_json_double(value, 0) : 0;
	return seconds > 0 && seconds < 1e11 ? (cl_instant)(seconds * CL_SECOND) : 0;
}

static int judge_claims(const struct cl_json *claims, struct cl_str client, struct cl_str url, cl_instant now,
                        struct cl_token_proof *out, struct cl_err *e)
{
	struct cl_str id = cl_json_get_text(claims, "jti");
	const struct cl_json *expires = cl_json_get(claims, "exp"), *before = cl_json_get(claims, "nbf");
	const struct cl_json *issued = cl_json_get(claims, "iat");
	cl_instant end = numeric_date(expires);
	if (!cl_str_equal(cl_json_get_text(claims, "iss"), client) ||
	    !cl_str_equal(cl_json_get_text(claims, "sub"), client))
		return cl_fail(e, CL_E_INVALID, "iss and sub of the assertion are the client's id");
	if (!names_audience(cl_json_get(claims, "aud"), url))
		return cl_fail(e, CL_E_INVALID, "aud of the assertion is not this token endpoint, %.*s",
		               (int)(url.n < 300 ? url.n : 300), url.p);
	if (!end || end <= now)
		return cl_fail(e, CL_E_INVALID, "the assertion has expired, or has no exp");
	if (end > now + ASSERTION_LIFE + ASSERTION_SKEW)
		return cl_fail(e, CL_E_INVALID, "exp of the assertion is more than five minutes away");
	if ((before && (!numeric_date(before) || numeric_date(before) > now + ASSERTION_SKEW)) ||
	    (issued && (!numeric_date(issued) || numeric_date(issued) > now + ASSERTION_SKEW)))
		return cl_fail(e, CL_E_INVALID, "the assertion is not valid yet (nbf, iat); is a clock wrong?");
	if (!cl_json_get(claims, "jti") || cl_json_get(claims, "jti")->kind != CL_JSON_STRING || !id.n ||
	    id.n > ASSERTION_ID_MAX)
		return cl_fail(e, CL_E_INVALID, "the assertion needs a jti, a text of at most %d bytes",
		               ASSERTION_ID_MAX);
	out->has_assertion = true;
	out->assertion_expires = end;
	cl_sha256_of(id, out->assertion);
	return 0;
}

/* Whose assertion it claims to be, before anything is proved. */
static int claimed_client(struct cl_arena *arena, const struct cl_token_form *form, struct cl_jws *token,
                          struct cl_json **claims, struct cl_err *e)
{
	static const struct cl_json_limits limits = {.depth = 8, .nodes = 1000};
	if (!cl_str_is(form->assertion_type, ASSERTION_TYPE))
		return cl_fail(e, CL_E_INVALID, "client_assertion_type is " ASSERTION_TYPE);
	int code = cl_jws_parse(arena, form->assertion, token, e);
	if (!code)
		code = cl_json_parse(arena, token->payload, &limits, claims, e);
	if (!code && (*claims)->kind != CL_JSON_OBJECT)
		code = cl_fail(e, CL_E_INVALID, "the claims of an assertion are a JSON object");
	if (!code && !token->key_id.n)
		code = cl_fail(e, CL_E_INVALID, "the header of an assertion names its key (\"kid\")");
	if (!code && form->client_id.n && !cl_str_equal(form->client_id, cl_json_get_text(*claims, "iss")))
		code = cl_fail(e, CL_E_INVALID, "client_id is not the iss of the assertion");
	return code;
}

static int prove_assertion(const struct cl_token_asking *asking, const struct cl_token_form *form,
                           struct cl_client *client, struct cl_token_proof *out, struct cl_err *e)
{
	struct cl_jws token;
	struct cl_jwks keys;
	struct cl_json *claims;
	struct cl_arena *arena = asking->arena;
	out->method = CL_STR("private_key_jwt");
	int code = claimed_client(arena, form, &token, &claims, e);
	if (code)
		return code;
	struct cl_err unknown = {0};
	struct cl_str id = cl_json_get_text(claims, "iss");
	if (cl_access_client(asking->rules->access, asking->store, arena, id, client, &unknown) || !client->keys) {
		*client = (struct cl_client){0};
		return cl_fail(e, CL_E_INVALID, "no key of that \"kid\" is registered");
	}
	code = cl_jwks_parse(arena, client->keys, &keys, e);
	if (code)
		return code;
	code = cl_jws_verify(&token, &keys, CL_JOSE_SMART, e);
	cl_jwks_free(&keys);
	struct cl_str url = cl_arena_printf(arena, "%.*s/oauth2/token", CL_STR_ARGS(asking->request->base));
	return code ? code : judge_claims(claims, id, url, asking->now, out, e);
}

/* ---- secrets ---- */

/* An unknown client costs as much time as a known one: nothing tells them apart. */
static const char nobody[crypto_pwhash_STRBYTES] = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$"
                                                   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static int prove_secret(const struct cl_token_asking *asking, struct cl_str id, struct cl_str secret,
                        struct cl_client *client, struct cl_err *e)
{
	struct cl_err unknown = {0};
	bool known = !cl_access_client(asking->rules->access, asking->store, asking->arena, id, client, &unknown) &&
	             client->secret.n;
	char hash[crypto_pwhash_STRBYTES] = {0};
	struct cl_str stored = known && client->secret.n < sizeof hash ? client->secret : cl_str_of(nobody);
	memcpy(hash, stored.p, stored.n);
	bool good = secret.n <= SECRET_MAX && crypto_pwhash_str_verify(hash, secret.p ? secret.p : "", secret.n) == 0;
	if (known && good)
		return 0;
	if (!known)
		*client = (struct cl_client){0};
	return cl_fail(e, CL_E_UNAUTHENTICATED, "the client is not registered here, or its secret is another");
}

static int prove_certificate(const struct cl_token_asking *asking, struct cl_str id, struct cl_client *client,
                             struct cl_token_proof *out, struct cl_err *e)
{
	const struct cl_principal *principal;
	struct cl_err unknown = {0};
	out->method = CL_STR("tls_client_auth");
	if (asking->request->credential.kind != CL_CREDENTIAL_CERTIFICATE)
		return cl_fail(
		        e, CL_E_UNAUTHENTICATED,
		        "prove who you are: client_assertion, client_secret, HTTP Basic, or a client certificate");
	if (cl_access_client(asking->rules->access, asking->store, asking->arena, id, client, &unknown) ||
	    cl_access_resolve(asking->rules->access, asking->store, asking->arena, &asking->request->credential,
	                      asking->now, &principal, &unknown) ||
	    !cl_str_equal(principal->name, client->principal->name)) {
		*client = (struct cl_client){0};
		return cl_fail(e, CL_E_UNAUTHENTICATED, "the certificate is not the one of that client");
	}
	out->bound = asking->request->credential.fingerprint;
	return 0;
}

int cl_token_client(const struct cl_token_asking *asking, const struct cl_token_form *form, struct cl_client *client,
                    struct cl_token_proof *out, struct cl_err *e)
{
	const struct cl_credential *credential = &asking->request->credential;
	bool basic = credential->kind == CL_CREDENTIAL_BASIC, assertion = form->assertion.n || form->assertion_type.n;
	struct cl_str id, secret;
	*client = (struct cl_client){0};
	/* RFC 6749 section 2.3: one method a request. */
	if (basic + assertion + (form->client_secret.n > 0) > 1)
		return cl_fail(e, CL_E_CONFLICT, "more than one way to prove the client; use one");
	if (credential->kind == CL_CREDENTIAL_BEARER || credential->kind == CL_CREDENTIAL_SESSION)
		return cl_fail(e, CL_E_UNAUTHENTICATED, "a token is no proof of a client");
	if (assertion)
		return prove_assertion(asking, form, client, out, e);
	if (basic) {
		out->method = CL_STR("client_secret_basic");
		if (cl_token_basic(asking->arena, credential->token, &id, &secret) ||
		    (form->client_id.n && !cl_str_equal(form->client_id, id)))
			return cl_fail(e, CL_E_INVALID, "the Basic credential cannot be read, or names another client");
		return prove_secret(asking, id, secret, client, e);
	}
	if (!form->client_id.n)
		return cl_fail(e, CL_E_CONFLICT, "client_id is missing");
	if (form->client_secret.n) {
		out->method = CL_STR("client_secret_post");
		return prove_secret(asking, form->client_id, form->client_secret, client, e);
	}
	return prove_certificate(asking, form->client_id, client, out, e);
}

void cl_token_make_secret(struct cl_arena *arena, struct cl_token_proof *out)
{
	uint8_t bytes[32];
	char *hash = cl_arena_alloc(arena, crypto_pwhash_STRBYTES);
	cl_random(bytes, sizeof bytes);
	out->secret = cl_base64url(arena, (struct cl_str){(const char *)bytes, sizeof bytes});
	if (crypto_pwhash_str_alg(hash, out->secret.p, out->secret.n, SECRET_PASSES, SECRET_MEMORY,
	                          crypto_pwhash_ALG_ARGON2ID13))
		cl_die("out of memory (argon2id)");
	out->hash = cl_str_of(hash);
	sodium_memzero(bytes, sizeof bytes);
}
