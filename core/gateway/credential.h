/* credential.h: which credential a request shows. The gateway says only what was presented and what TLS proved; who that
 * is, and whether a token or session is good, the organization decides (pitfalls 16). */
#pragma once
#include "gateway/http_parser.h"
#include "gateway/tls.h"

/* The browser's session. The prefix makes browsers tie it to one host, TLS and the path "/". */
#define CL_SESSION_COOKIE "__Host-careloop"

/* In this order: bearer token, client certificate, session cookie. What the certificate proved is filled in beside a bearer
 * token too, so that the organization can check that the token is bound to it (RFC 8705). `peer` may be NULL. Cookies are
 * looked at only when `cookies` is set: not where several organizations share an origin. Texts point into the arguments. */
void cl_credential_of(const struct cl_http_request *request, const struct cl_tls_peer *peer, const char *address,
                      bool cookies, struct cl_credential *out);
/* HTTP Basic, which is taken at the token endpoint only (RFC 6749 section 2.3.1): it takes the place of the certificate. */
void cl_credential_basic(const struct cl_http_request *request, struct cl_credential *out);
