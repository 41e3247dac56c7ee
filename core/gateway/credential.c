/* credential.c: headers to credentials. */
#include "gateway/credential.h"
#include <strings.h>

/* The token of "<scheme> <token>", or nothing. */
static struct cl_str token_of(struct cl_str value, const char *scheme)
{
	size_t n = strlen(scheme);
	if (value.n < n + 2 || strncasecmp(value.p, scheme, n) != 0 || value.p[n] != ' ')
		return CL_STR_NONE;
	struct cl_str token = {value.p + n + 1, value.n - n - 1};
	while (token.n && token.p[0] == ' ')
		token.p++, token.n--;
	for (size_t i = 0; i < token.n; i++)
		if (token.p[i] <= 0x20 || token.p[i] >= 0x7f)
			return CL_STR_NONE;
	return token;
}

/* The value of our cookie; nothing when it is absent, empty or there twice. */
static struct cl_str session_cookie(struct cl_str value)
{
	static const char name[] = CL_SESSION_COOKIE "=";
	struct cl_str found = CL_STR_NONE;
	const char *at = value.p, *end = value.p + value.n;
	while (at < end) {
		while (at < end && *at == ' ')
			at++;
		const char *semicolon = memchr(at, ';', (size_t)(end - at));
		const char *stop = semicolon ? semicolon : end;
		if ((size_t)(stop - at) > sizeof name - 1 && memcmp(at, name, sizeof name - 1) == 0) {
			if (found.n)
				return CL_STR_NONE;
			found = (struct cl_str){at + sizeof name - 1, (size_t)(stop - at) - (sizeof name - 1)};
		}
		at = stop + 1;
	}
	return found;
}

void cl_credential_of(const struct cl_http_request *request, const struct cl_tls_peer *peer, const char *address,
                      bool cookies, struct cl_credential *out)
{
	*out = (struct cl_credential){.kind = CL_CREDENTIAL_NONE, .address = cl_str_of(address)};
	if (peer) {
		out->kind = CL_CREDENTIAL_CERTIFICATE;
		out->anchor = cl_str_of(peer->anchor);
		out->name = cl_str_of(peer->name);
		out->fingerprint = cl_str_of(peer->fingerprint);
	}
	struct cl_str token = token_of(cl_http_header(request, "authorization"), "Bearer");
	if (token.n) {
		out->kind = CL_CREDENTIAL_BEARER;
		out->token = token;
		return;
	}
	if (out->kind != CL_CREDENTIAL_NONE || !cookies)
		return;
	token = session_cookie(cl_http_header(request, "cookie"));
	if (token.n) {
		out->kind = CL_CREDENTIAL_SESSION;
		out->token = token;
	}
}

void cl_credential_basic(const struct cl_http_request *request, struct cl_credential *out)
{
	struct cl_str token = token_of(cl_http_header(request, "authorization"), "Basic");
	if (!token.n)
		return;
	out->kind = CL_CREDENTIAL_BASIC;
	out->token = token;
}
