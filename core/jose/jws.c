/* jws.c: compact signed tokens. */
#include "jose/jws.h"
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

static const EVP_MD *digest_of(unsigned algorithm)
{
	if (algorithm & (CL_JOSE_RS256 | CL_JOSE_PS256 | CL_JOSE_ES256))
		return EVP_sha256();
	if (algorithm & (CL_JOSE_RS384 | CL_JOSE_PS384 | CL_JOSE_ES384))
		return EVP_sha384();
	return EVP_sha512();
}

static size_t coordinate_bytes(unsigned algorithm)
{
	return algorithm == CL_JOSE_ES256 ? 32 : algorithm == CL_JOSE_ES384 ? 48 : algorithm == CL_JOSE_ES512 ? 66 : 0;
}

static int take_part(struct cl_str *rest, struct cl_str *out, bool last)
{
	const char *dot = rest->n ? memchr(rest->p, '.', rest->n) : NULL;
	if ((dot != NULL) == last)
		return CL_E_INVALID;
	*out = (struct cl_str){rest->p, dot ? (size_t)(dot - rest->p) : rest->n};
	if (dot)
		*rest = (struct cl_str){dot + 1, rest->n - out->n - 1};
	return 0;
}

int cl_jws_parse(struct cl_arena *arena, struct cl_str text, struct cl_jws *out, struct cl_err *e)
{
	static const struct cl_json_limits limits = {.depth = 8, .nodes = 200};
	struct cl_str rest = text, header, payload, signature, decoded;
	*out = (struct cl_jws){0};
	if (text.n > CL_JWS_MAX)
		return cl_fail(e, CL_E_INVALID, "a signed token has at most %d bytes", CL_JWS_MAX);
	if (take_part(&rest, &header, false) || take_part(&rest, &payload, false) || take_part(&rest, &signature, true))
		return cl_fail(e, CL_E_INVALID, "a signed token is header.payload.signature in base64url");
	int code = cl_jose_decode(arena, header, &decoded, e);
	if (!code)
		code = cl_json_parse(arena, decoded, &limits, &out->header, e);
	if (!code)
		code = cl_jose_decode(arena, payload, &out->payload, e);
	if (!code)
		code = cl_jose_decode(arena, signature, &out->signature, e);
	if (code)
		return code;
	if (out->header->kind != CL_JSON_OBJECT)
		return cl_fail(e, CL_E_INVALID, "the header of a signed token is a JSON object");
	/* RFC 7515 section 4.1.11: what is critical and not understood makes the token invalid. RFC 7797's "b64" is such. */
	if (cl_json_get(out->header, "crit") || cl_json_get(out->header, "b64"))
		return cl_fail(e, CL_E_INVALID, "extensions of signed tokens (\"crit\") are not understood here");
	const struct cl_json *algorithm = cl_json_get(out->header, "alg"), *id = cl_json_get(out->header, "kid");
	if (!algorithm || algorithm->kind != CL_JSON_STRING || (id && id->kind != CL_JSON_STRING))
		return cl_fail(e, CL_E_INVALID, "the header of a signed token has \"alg\", and \"kid\", as texts");
	out->algorithm = cl_jose_algorithm(algorithm->text);
	out->key_id = id ? id->text : CL_STR_NONE;
	out->signed_text = (struct cl_str){text.p, header.n + 1 + payload.n};
	return 0;
}

/* RFC 7518 section 3.4: R and S side by side, each of full length. OpenSSL wants them in DER. */
static int ecdsa_to_der(const struct cl_jws *token, unsigned char **der)
{
	size_t half = coordinate_bytes(token->algorithm);
	if (token->signature.n != 2 * half)
		return 0;
	const unsigned char *bytes = (const unsigned char *)token->signature.p;
	ECDSA_SIG *signature = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(bytes, (int)half, NULL), *s = BN_bin2bn(bytes + half, (int)half, NULL);
	if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) != 1)
		cl_die("out of memory (signature)");
	int n = i2d_ECDSA_SIG(signature, der);
	ECDSA_SIG_free(signature);
	return n > 0 ? n : 0;
}

static bool verifies(const struct cl_jws *token, EVP_PKEY *key)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *options = NULL;
	unsigned char *der = NULL;
	const unsigned char *signature = (const unsigned char *)token->signature.p;
	size_t n = token->signature.n;
	bool elliptic = coordinate_bytes(token->algorithm) > 0;
	if (elliptic) {
		n = (size_t)ecdsa_to_der(token, &der);
		signature = der;
	}
	bool good = context && n > 0 &&
	            EVP_DigestVerifyInit(context, &options, digest_of(token->algorithm), NULL, key) == 1;
	if (good && token->algorithm & (CL_JOSE_PS256 | CL_JOSE_PS384 | CL_JOSE_PS512))
		good = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1 &&
		       EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1;
	else if (good && !elliptic)
		good = EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PADDING) == 1;
	good = good && EVP_DigestVerify(context, signature, n, (const unsigned char *)token->signed_text.p,
	                                token->signed_text.n) == 1;
	OPENSSL_free(der);
	EVP_MD_CTX_free(context);
	return good;
}

int cl_jws_verify(const struct cl_jws *token, const struct cl_jwks *keys, unsigned allowed, struct cl_err *e)
{
	bool known = false;
	if (!token->algorithm || !(token->algorithm & allowed))
		return cl_fail(e, CL_E_UNAUTHENTICATED, "the signature's algorithm is not one that is accepted here");
	for (size_t i = 0; i < keys->count; i++) {
		const struct cl_jwk *key = &keys->keys[i];
		if (token->key_id.n && !cl_str_equal(token->key_id, key->id))
			continue;
		known = true;
		if (key->algorithms & token->algorithm && verifies(token, key->key))
			return 0;
	}
	return cl_fail(e, CL_E_UNAUTHENTICATED, "%s",
	               known ? "the signature is not one of the registered key"
	                     : "no key of that \"kid\" is registered");
}
