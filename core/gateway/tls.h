/* tls.h: the server's certificates and policy, and what a client's certificate proves.
 *
 * TLS 1.2 and 1.3 with AEAD and ECDHE only, security level 2, no renegotiation, no compression, ALPN http/1.1. Tickets are
 * sealed with keys that change every hour and are never given to a client that showed a certificate: a resumed session
 * has no proven chain, so who shows a certificate proves it anew with each connection. */
#pragma once
#include "base/error.h"
#include "gateway/settings.h"
#include <openssl/ssl.h>

/* Contexts for every certificate, with and without asking the client for one. Counted: connections keep the one that they
 * began with when the files are read again. */
struct cl_tls;

/* Reads all files. Errors name the file and what to do. The result has one reference. */
int cl_tls_new(const struct cl_settings *settings, struct cl_tls **out, struct cl_err *e);
struct cl_tls *cl_tls_hold(struct cl_tls *tls);
void cl_tls_release(struct cl_tls *tls);
/* A server-side session; the caller owns it and keeps a reference to `tls` until it is freed. NULL when memory is short. */
SSL *cl_tls_session(struct cl_tls *tls, bool ask_certificate);

/* What the handshake proved. All texts are NUL-terminated and short; empty when nothing was proved. */
struct cl_tls_peer {
	char anchor[65]; /* hex SHA-256 of the root of the proven chain */
	char fingerprint[65]; /* hex SHA-256 of the client's certificate */
	char name[256]; /* first SAN URI, else "dns:" + first SAN DNS name, else "cn:" + common name */
};
/* After the handshake. False when the client showed no certificate; a bad one has already failed the handshake. */
bool cl_tls_peer_of(SSL *ssl, struct cl_tls_peer *out);
/* The host name that the client asked for, lower case, at most 255 bytes; empty when none. */
void cl_tls_server_name(SSL *ssl, char out[256]);
