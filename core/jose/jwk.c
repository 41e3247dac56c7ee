/* jwk.c: JSON Web Keys to OpenSSL's. */
#include "jose/jwk.h"
#include "base/hash.h"
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#define RSA_BITS_LEAST 2048 /* RFC 7518 section 3.3 */
#define RSA_BITS_MOST 8192 /* a larger one would make each verification a burden */
#define RSA_ANY (CL_JOSE_RS256 | CL_JOSE_RS384 | CL_JOSE_RS512 | CL_JOSE_PS256 | CL_JOSE_PS384 | CL_JOSE_PS512)

static const struct {
	const char *name;
	unsigned bit;
} algorithms[] = {
        {"RS256", CL_JOSE_RS256}, {"RS384", CL_JOSE_RS384}, {"RS512", CL_JOSE_RS512},
        {"PS256", CL_JOSE_PS256}, {"PS384", CL_JOSE_PS384}, {"PS512", CL_JOSE_PS512},
        {"ES256", CL_JOSE_ES256}, {"ES384", CL_JOSE_ES384}, {"ES512", CL_JOSE_ES512},
};

static const struct {
	const char *name, *group;
	size_t bytes; /* of a coordinate */
	unsigned algorithm;
} curves[] = {
        {"P-256", "P-256", 32, CL_JOSE_ES256},
        {"P-384", "P-384", 48, CL_JOSE_ES384},
        {"P-521", "P-521", 66, CL_JOSE_ES512},
};

unsigned cl_jose_algorithm(struct cl_str name)
{
	for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
		if (cl_str_is(name, algorithms[i].name))
			return algorithms[i].bit;
	return 0;
}

int cl_jose_decode(struct cl_arena *arena, struct cl_str text, struct cl_str *out, struct cl_err *e)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '+' || text.p[i] == '/' || text.p[i] == '=')
			return cl_fail(e, CL_E_INVALID, "base64url has no '+', '/' or '='");
	return cl_base64_decode(arena, text, out, e);
}

/* A member that is base64url of at least one byte. */
static int need_bytes(struct cl_arena *arena, const struct cl_json *json, const char *name, struct cl_str *out,
                      struct cl_err *e)
{
	const struct cl_json *value = cl_json_get(json, name);
	if (!value || value->kind != CL_JSON_STRING || !value->text.n)
		return cl_fail(e, CL_E_INVALID, "the member \"%s\" of a key is missing or no text", name);
	return cl_jose_decode(arena, value->text, out, e);
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *parts)
{
	EVP_PKEY *key = NULL;
	OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(parts);
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	if (!parameters || !context || EVP_PKEY_fromdata_init(context) != 1 ||
	    EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
		key = NULL;
	EVP_PKEY_CTX_free(context);
	OSSL_PARAM_free(parameters);
	return key;
}

/* A point that is not on its curve would make signatures guessable. */
static bool is_sound(EVP_PKEY *key)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool sound = context && EVP_PKEY_public_check(context) == 1;
	EVP_PKEY_CTX_free(context);
	return sound;
}

static int parse_ec(struct cl_arena *arena, const struct cl_json *json, struct cl_jwk *out, struct cl_err *e)
{
	struct cl_str name = cl_json_get_text(json, "crv"), x, y;
	size_t c = 0;
	while (c < sizeof curves / sizeof *curves && !cl_str_is(name, curves[c].name))
		c++;
	if (c == sizeof curves / sizeof *curves)
		return cl_fail(e, CL_E_INVALID, "the curve of a key is P-256, P-384 or P-521");
	int code = need_bytes(arena, json, "x", &x, e);
	if (!code)
		code = need_bytes(arena, json, "y", &y, e);
	if (code)
		return code;
	/* RFC 7518 section 6.2.1.2: always of full length. */
	if (x.n != curves[c].bytes || y.n != curves[c].bytes)
		return cl_fail(e, CL_E_INVALID, "the coordinates of a key on %s have %zu bytes", curves[c].name,
		               curves[c].bytes);
	unsigned char point[1 + 2 * 66] = {4};
	memcpy(point + 1, x.p, x.n);
	memcpy(point + 1 + x.n, y.p, y.n);
	OSSL_PARAM_BLD *parts = OSSL_PARAM_BLD_new();
	if (parts && OSSL_PARAM_BLD_push_utf8_string(parts, OSSL_PKEY_PARAM_GROUP_NAME, curves[c].group, 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(parts, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * x.n) == 1)
		out->key = make_key("EC", parts);
	OSSL_PARAM_BLD_free(parts);
	out->algorithms = curves[c].algorithm;
	if (out->key && is_sound(out->key))
		return 0;
	return cl_fail(e, CL_E_INVALID, "a key's coordinates are no point of %s", curves[c].name);
}

/* Keys of one maker's chips can be factored (CVE-2017-15361). They betray themselves: their modulus is a power of 65537 modulo
 * each of the first primes. The chance that another key does so is below 2^-27. */
static bool is_roca(const BIGNUM *modulus)
{
	static const unsigned primes[] = {3,   5,   7,   11,  13,  17,  19,  23,  29,  31,  37,  41,  43,
	                                  47,  53,  59,  61,  67,  71,  73,  79,  83,  89,  97,  101, 103,
	                                  107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167};
	for (size_t i = 0; i < sizeof primes / sizeof *primes; i++) {
		unsigned prime = primes[i], power = 1 % prime, wanted = (unsigned)BN_mod_word(modulus, prime);
		bool found = false;
		for (unsigned n = 0; n < prime && !found; n++) {
			found = power == wanted;
			power = power * (65537 % prime) % prime;
		}
		if (!found)
			return false;
	}
	return true;
}

static int judge_rsa(const BIGNUM *modulus, const BIGNUM *exponent, struct cl_err *e)
{
	int bits = BN_num_bits(modulus);
	if (bits < RSA_BITS_LEAST || bits > RSA_BITS_MOST)
		return cl_fail(e, CL_E_INVALID, "an RSA key has %d to %d bits; this one has %d", RSA_BITS_LEAST,
		               RSA_BITS_MOST, bits);
	if (!BN_is_odd(modulus) || !BN_is_odd(exponent) || BN_is_one(exponent) || BN_num_bits(exponent) > 64)
		return cl_fail(e, CL_E_INVALID, "the numbers of an RSA key are none that a key can have");
	if (is_roca(modulus))
		return cl_fail(e, CL_E_INVALID, "this RSA key can be factored (CVE-2017-15361); make a new one");
	return 0;
}

static int parse_rsa(struct cl_arena *arena, const struct cl_json *json, struct cl_jwk *out, struct cl_err *e)
{
	struct cl_str n, exponent;
	int code = need_bytes(arena, json, "n", &n, e);
	if (!code)
		code = need_bytes(arena, json, "e", &exponent, e);
	if (code)
		return code;
	if (n.n > RSA_BITS_MOST / 8 + 1 || exponent.n > 16)
		return cl_fail(e, CL_E_INVALID, "the numbers of an RSA key are too large");
	BIGNUM *modulus = BN_bin2bn((const unsigned char *)n.p, (int)n.n, NULL);
	BIGNUM *power = BN_bin2bn((const unsigned char *)exponent.p, (int)exponent.n, NULL);
	OSSL_PARAM_BLD *parts = OSSL_PARAM_BLD_new();
	if (!modulus || !power || !parts)
		cl_die("out of memory (key)");
	code = judge_rsa(modulus, power, e);
	if (!code && OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_N, modulus) == 1 &&
	    OSSL_PARAM_BLD_push_BN(parts, OSSL_PKEY_PARAM_RSA_E, power) == 1)
		out->key = make_key("RSA", parts);
	OSSL_PARAM_BLD_free(parts);
	BN_free(modulus);
	BN_free(power);
	out->algorithms = RSA_ANY;
	if (code || out->key)
		return code;
	return cl_fail(e, CL_E_INVALID, "the numbers of an RSA key are none that a key can have");
}

static bool has_text(const struct cl_json *array, const char *wanted)
{
	for (uint32_t i = 0; i < array->count; i++)
		if (cl_str_is(cl_json_text(&array->items[i]), wanted))
			return true;
	return false;
}

static int parse_key(struct cl_arena *arena, const struct cl_json *json, struct cl_jwk *out, struct cl_err *e)
{
	static const char *const private[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
	*out = (struct cl_jwk){0};
	if (json->kind != CL_JSON_OBJECT)
		return cl_fail(e, CL_E_INVALID, "a key is a JSON object");
	for (size_t i = 0; i < sizeof private / sizeof *private; i++)
		if (cl_json_get(json, private[i]))
			return cl_fail(e, CL_E_INVALID,
			               "this is a private or secret key (\"%s\"): register the public part only, and "
			               "treat this key as lost",
			               private[i]);
	struct cl_str use = cl_json_get_text(json, "use"), type = cl_json_get_text(json, "kty");
	const struct cl_json *operations = cl_json_get(json, "key_ops"), *algorithm = cl_json_get(json, "alg");
	if (cl_json_get(json, "use") && !cl_str_is(use, "sig"))
		return cl_fail(e, CL_E_INVALID, "a key's \"use\" is \"sig\"");
	if (operations && (operations->kind != CL_JSON_ARRAY || !has_text(operations, "verify")))
		return cl_fail(e, CL_E_INVALID, "a key's \"key_ops\" include \"verify\"");
	out->id = cl_arena_copy(arena, cl_json_get_text(json, "kid"));
	int code = cl_str_is(type, "EC")    ? parse_ec(arena, json, out, e)
	           : cl_str_is(type, "RSA") ? parse_rsa(arena, json, out, e)
	                                    : cl_fail(e, CL_E_INVALID, "a key's \"kty\" is \"EC\" or \"RSA\"");
	if (!code && algorithm) {
		out->algorithms &= cl_jose_algorithm(cl_json_text(algorithm));
		if (!out->algorithms)
			code = cl_fail(e, CL_E_INVALID, "a key's \"alg\" does not fit its type and curve");
	}
	return code;
}

int cl_jwks_parse(struct cl_arena *arena, const struct cl_json *json, struct cl_jwks *out, struct cl_err *e)
{
	const struct cl_json *list = cl_json_get(json, "keys");
	const struct cl_json *items = list && list->kind == CL_JSON_ARRAY ? list->items : json;
	size_t count = list && list->kind == CL_JSON_ARRAY ? list->count : 1;
	*out = (struct cl_jwks){0};
	if (!json || json->kind != CL_JSON_OBJECT || (list && list->kind != CL_JSON_ARRAY))
		return cl_fail(e, CL_E_INVALID, "keys are a JSON Web Key Set: {\"keys\": [...]}");
	if (!count || count > CL_JWKS_MAX)
		return cl_fail(e, CL_E_INVALID, "a key set has 1 to %d keys", CL_JWKS_MAX);
	out->keys = CL_NEW_ARRAY(arena, struct cl_jwk, count);
	int code = 0;
	for (size_t i = 0; i < count && !code; i++) {
		struct cl_jwk *key = &out->keys[out->count++];
		code = parse_key(arena, &items[i], key, e);
		if (!code && count > 1 && !key->id.n)
			code = cl_fail(e, CL_E_INVALID, "each key of a set needs a \"kid\"");
		for (size_t j = 0; j < i && !code; j++)
			if (cl_str_equal(out->keys[j].id, key->id))
				code = cl_fail(e, CL_E_INVALID, "two keys of the set have the same \"kid\"");
		if (code)
			cl_fail_at(e, "keys[%zu]", i);
	}
	if (code) {
		cl_jwks_free(out);
		*out = (struct cl_jwks){0};
	}
	return code;
}

void cl_jwks_free(struct cl_jwks *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		EVP_PKEY_free(keys->keys[i].key);
	keys->count = 0;
}
