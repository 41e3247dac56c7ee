/* smart.c: what SMART App Launch 2.0 (section 2.1, conformance) wants to be told about authorization. Without an authorization
 * endpoint: a person's login from an app is not offered, and nothing here says that it is. */
#include "base/hash.h"
#include "org/engine/interaction.h"

static void set_list(struct cl_arena *arena, struct cl_json *body, const char *name, const char *const *items)
{
	struct cl_json *list = cl_json_set_array(arena, body, name);
	for (; *items; items++)
		cl_json_append_text(arena, list, cl_str_of(*items));
}

int cl_interaction_smart(struct cl_interaction_context *context, struct cl_err *e)
{
	static const char *const grants[] = {"client_credentials", NULL};
	static const char *const methods[] = {"private_key_jwt", "client_secret_basic", "client_secret_post",
	                                      "tls_client_auth", NULL};
	static const char *const algorithms[] = {"RS384", "ES384", NULL};
	static const char *const scopes[] = {"system/*.cruds", "system/*.rs", "system/*.read", NULL};
	static const char *const capabilities[] = {"client-confidential-asymmetric", "client-confidential-symmetric",
	                                           "permission-v1", "permission-v2", NULL};
	struct cl_arena *arena = context->arena;
	struct cl_str base = context->request->base;
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_buf text;
	uint8_t hash[CL_SHA256_SIZE];
	char hex[2 * CL_SHA256_SIZE + 1];
	(void)e;
	cl_json_set_text(arena, body, "token_endpoint", cl_arena_printf(arena, "%.*s/oauth2/token", CL_STR_ARGS(base)));
	cl_json_set_text(arena, body, "revocation_endpoint",
	                 cl_arena_printf(arena, "%.*s/oauth2/revoke", CL_STR_ARGS(base)));
	set_list(arena, body, "grant_types_supported", grants);
	set_list(arena, body, "token_endpoint_auth_methods_supported", methods);
	set_list(arena, body, "token_endpoint_auth_signing_alg_values_supported", algorithms);
	cl_json_set_boolean(arena, body, "tls_client_certificate_bound_access_tokens", true);
	set_list(arena, body, "scopes_supported", scopes);
	set_list(arena, body, "capabilities", capabilities);
	cl_buf_init(&text, 0);
	cl_json_write(&text, body);
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	cl_sha256_of(copy, hash);
	cl_hex(hash, 16, hex);
	struct cl_str tag = cl_arena_printf(arena, "\"%s\"", hex);
	bool same = cl_str_equal(cl_request_header(context->request, "if-none-match"), tag);
	if (same)
		context->response->status = 304;
	else
		cl_interaction_answer_bytes(context, 200, "application/json", copy);
	cl_response_add_header(arena, context->response, "etag", tag);
	cl_response_add_header(arena, context->response, "cache-control", CL_STR("public, max-age=3600"));
	return 0;
}
