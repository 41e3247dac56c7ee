/* tls.c: OpenSSL contexts and the reading of client certificates. */
#include "gateway/tls.h"
#include "base/hash.h"
#include "base/id.h"
#include "base/log.h"
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

#define CHAIN_DEPTH 4
#define TICKET_KEY_LIFETIME (60 * CL_MINUTE)
#define TICKET_LIFETIME_SECONDS 7200 /* of the ticket: never longer than two keys live */

struct ticket_key {
	unsigned char name[16], cipher[32], mac[32];
	int64_t made; /* monotonic; 0 = none */
};

struct identity {
	X509 *certificate; /* borrowed from the context */
	SSL_CTX *contexts[2]; /* [1] asks the client for a certificate */
};

struct cl_tls {
	unsigned references;
	struct ticket_key keys[2]; /* newest first */
	size_t count;
	struct identity identities[];
};

/* The newest reason that OpenSSL gives. */
static const char *openssl_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	return reason ? reason : "no reason given";
}

/* Tickets */

static struct ticket_key *current_key(struct cl_tls *tls)
{
	int64_t now = cl_monotonic();
	if (tls->keys[0].made && now - tls->keys[0].made < TICKET_KEY_LIFETIME)
		return &tls->keys[0];
	tls->keys[1] = tls->keys[0];
	cl_random(&tls->keys[0], sizeof tls->keys[0]);
	tls->keys[0].made = now;
	return &tls->keys[0];
}

static struct ticket_key *key_named(struct cl_tls *tls, const unsigned char name[16])
{
	int64_t now = cl_monotonic();
	for (int i = 0; i < 2; i++)
		if (tls->keys[i].made && now - tls->keys[i].made < 2 * TICKET_KEY_LIFETIME &&
		    memcmp(tls->keys[i].name, name, sizeof tls->keys[i].name) == 0)
			return &tls->keys[i];
	return NULL;
}

/* OpenSSL's contract: 1 = sealed or opened, 2 = opened but renew, 0 = no ticket, -1 = error. */
static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int seal)
{
	struct cl_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	if (seal && SSL_get0_peer_certificate(ssl))
		return 0;
	struct ticket_key *key = seal ? current_key(tls) : key_named(tls, name);
	if (!key)
		return 0;
	if (seal) {
		memcpy(name, key->name, sizeof key->name);
		if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
			return -1;
	}
	char digest[] = "SHA256";
	OSSL_PARAM parameters[] = {
	        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof key->mac),
	        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	        OSSL_PARAM_construct_end(),
	};
	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv, seal) != 1 ||
	    EVP_MAC_CTX_set_params(mac, parameters) != 1)
		return -1;
	return !seal && key != &tls->keys[0] ? 2 : 1;
}

/* Names */

static int on_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *offered,
                       unsigned n, void *context)
{
	static const unsigned char own[] = "\x08http/1.1";
	unsigned char *chosen;
	(void)ssl;
	(void)context;
	if (SSL_select_next_proto(&chosen, out_n, own, sizeof own - 1, offered, n) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int on_server_name(SSL *ssl, int *alert, void *context)
{
	(void)alert;
	(void)context;
	struct cl_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	if (!name)
		return SSL_TLSEXT_ERR_NOACK;
	int asks = SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
	for (size_t i = 0; i < tls->count; i++)
		if (X509_check_host(tls->identities[i].certificate, name, 0, 0, NULL) == 1) {
			SSL_set_SSL_CTX(ssl, tls->identities[i].contexts[asks]);
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_OK; /* the default certificate; the host name is judged with the request */
}

/* Client certificates */

static bool name_good(const unsigned char *bytes, int n)
{
	if (n <= 0 || n > 240)
		return false;
	for (int i = 0; i < n; i++)
		if (bytes[i] <= 0x20 || bytes[i] >= 0x7f)
			return false;
	return true;
}

/* The first alternative name of that type. False when there is one that cannot be a name, so that it is not passed over. */
static bool alternative_name(const GENERAL_NAMES *names, int type, const unsigned char **out, int *n)
{
	*out = NULL;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		if (name->type != type)
			continue;
		*out = ASN1_STRING_get0_data(name->d.ia5);
		*n = ASN1_STRING_length(name->d.ia5);
		return name_good(*out, *n);
	}
	return true;
}

/* False when the certificate has no usable name. A URI that looks like one of our prefixes could pass for another name. */
static bool certificate_name(const X509 *certificate, char out[256])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	const unsigned char *uri = NULL, *dns = NULL;
	int uri_n = 0, dns_n = 0;
	bool good = alternative_name(names, GEN_URI, &uri, &uri_n) && alternative_name(names, GEN_DNS, &dns, &dns_n);
	out[0] = 0;
	if (good && uri)
		snprintf(out, 256, "%.*s", uri_n, (const char *)uri);
	else if (good && dns)
		snprintf(out, 256, "dns:%.*s", dns_n, (const char *)dns);
	if (good && uri && (strncasecmp(out, "dns:", 4) == 0 || strncasecmp(out, "cn:", 3) == 0))
		good = false;
	GENERAL_NAMES_free(names);
	if (!good || out[0])
		return good;
	const X509_NAME *subject = X509_get_subject_name(certificate);
	int place = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	if (place < 0)
		return false;
	unsigned char *text = NULL;
	int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, place)));
	good = n > 0 && n <= 240;
	for (int i = 0; good && i < n; i++)
		good = text[i] >= 0x20 && text[i] != 0x7f;
	if (good)
		snprintf(out, 256, "cn:%.*s", n, (const char *)text);
	OPENSSL_free(text);
	return good;
}

/* OpenSSL has judged the chain; a client's own certificate must also say that it is one, and have a name. */
static int on_verify(int good, X509_STORE_CTX *context)
{
	if (!good || X509_STORE_CTX_get_error_depth(context) != 0)
		return good;
	X509 *leaf = X509_STORE_CTX_get_current_cert(context);
	char name[256];
	bool for_clients =
	        X509_get_extension_flags(leaf) & EXFLAG_XKUSAGE && X509_get_extended_key_usage(leaf) & XKU_SSL_CLIENT;
	if (for_clients && certificate_name(leaf, name)) {
		/* TLS 1.3 sends its tickets after this; for TLS 1.2 on_ticket refuses. */
		SSL_set_num_tickets(X509_STORE_CTX_get_ex_data(context, SSL_get_ex_data_X509_STORE_CTX_idx()), 0);
		return 1;
	}
	X509_STORE_CTX_set_error(context,
	                         for_clients ? X509_V_ERR_APPLICATION_VERIFICATION : X509_V_ERR_INVALID_PURPOSE);
	return 0;
}

static bool hex_digest(const X509 *certificate, char out[65])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	if (X509_digest(certificate, EVP_sha256(), digest, &n) != 1 || n != CL_SHA256_SIZE)
		return false;
	cl_hex(digest, n, out);
	return true;
}

bool cl_tls_peer_of(SSL *ssl, struct cl_tls_peer *out)
{
	*out = (struct cl_tls_peer){0};
	const X509 *leaf = SSL_get0_peer_certificate(ssl);
	const STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	if (!leaf || !chain || sk_X509_num(chain) < 1 || SSL_get_verify_result(ssl) != X509_V_OK)
		return false;
	if (hex_digest(sk_X509_value(chain, sk_X509_num(chain) - 1), out->anchor) &&
	    hex_digest(leaf, out->fingerprint) && certificate_name(leaf, out->name))
		return true;
	*out = (struct cl_tls_peer){0};
	return false;
}

void cl_tls_server_name(SSL *ssl, char out[256])
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	size_t n = 0;
	for (; name && name[n] && n < 255; n++)
		out[n] = name[n] >= 'A' && name[n] <= 'Z' ? (char)(name[n] + ('a' - 'A')) : name[n];
	out[n] = 0;
}

/* Making */

static int use_certificate(SSL_CTX *context, const struct cl_certificate_settings *settings, struct cl_err *e)
{
	struct stat status;
	if (SSL_CTX_use_certificate_chain_file(context, settings->certificate.p) != 1)
		return cl_fail(e, CL_E_INVALID, "tls: cannot use the certificate in %s: %s", settings->certificate.p,
		               openssl_reason());
	if (stat(settings->key.p, &status) == 0 && status.st_mode & S_IRWXO)
		return cl_fail(e, CL_E_INVALID, "tls: everybody can read the key in %s; run chmod 600 on it",
		               settings->key.p);
	if (SSL_CTX_use_PrivateKey_file(context, settings->key.p, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(context) != 1)
		return cl_fail(e, CL_E_INVALID, "tls: cannot use the key in %s for %s: %s", settings->key.p,
		               settings->certificate.p, openssl_reason());
	return 0;
}

static int trust_authorities(SSL_CTX *context, const struct cl_settings *settings, struct cl_err *e)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
	SSL_CTX_set_client_CA_list(context, names); /* owns them */
	for (size_t i = 0; i < settings->authority_count; i++) {
		const char *file = settings->authorities[i].p;
		if (!file || X509_STORE_load_file(store, file) != 1 ||
		    SSL_add_file_cert_subjects_to_stack(names, file) != 1)
			return cl_fail(e, CL_E_INVALID, "tls: cannot read the client authority in %s: %s",
			               file ? file : "\"\"", openssl_reason());
	}
	if (settings->crl.n) {
		X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
		if (!lookup || X509_load_crl_file(lookup, settings->crl.p, X509_FILETYPE_PEM) <= 0)
			return cl_fail(e, CL_E_INVALID, "tls: cannot read the revocation list in %s: %s",
			               settings->crl.p, openssl_reason());
		/* A client whose issuer has no list, or an outdated one, is refused from then on. */
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
	}
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE, on_verify);
	SSL_CTX_set_verify_depth(context, CHAIN_DEPTH);
	return 0;
}

static int set_policy(SSL_CTX *context, struct cl_err *e)
{
	static const unsigned char session_context[] = "careloop-gateway";
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
	                                     SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(context, TICKET_LIFETIME_SECONDS);
	SSL_CTX_set_num_tickets(context, 1);
	SSL_CTX_set_read_ahead(context, 1); /* one system call a record: see drain in connection.c */
	SSL_CTX_set_security_level(context, 2);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket);
	SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
	SSL_CTX_set_alpn_select_cb(context, on_protocol, NULL);
	if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1) != 1 ||
	    SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") != 1 ||
	    SSL_CTX_set_ciphersuites(
	            context, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1 ||
	    SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:!SRP") != 1)
		return cl_fail(e, CL_E_INTERNAL, "tls: OpenSSL refuses the policy: %s", openssl_reason());
	return 0;
}

static int make_context(struct cl_tls *tls, const struct cl_settings *settings, size_t index, bool ask, SSL_CTX **out,
                        struct cl_err *e)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	if (!context)
		return cl_fail(e, CL_E_MEMORY, "tls: no memory for a context");
	SSL_CTX_set_app_data(context, tls);
	*out = context;
	int code = set_policy(context, e);
	if (!code)
		code = use_certificate(context, &settings->certificates[index], e);
	if (!code && ask)
		code = trust_authorities(context, settings, e);
	return code;
}

int cl_tls_new(const struct cl_settings *settings, struct cl_tls **out, struct cl_err *e)
{
	struct cl_tls *tls = calloc(1, sizeof *tls + settings->certificate_count * sizeof *tls->identities);
	if (!tls)
		cl_die("out of memory (tls)");
	tls->references = 1;
	ERR_clear_error();
	int code = 0;
	for (size_t i = 0; !code && i < settings->certificate_count; i++) {
		struct identity *identity = &tls->identities[tls->count++];
		/* Without authorities no certificate could be proven: then none is asked for. */
		for (int ask = 0; !code && ask < 2; ask++)
			code = make_context(tls, settings, i, ask && settings->authority_count,
			                    &identity->contexts[ask], e);
		if (!code)
			identity->certificate = SSL_CTX_get0_certificate(identity->contexts[0]);
	}
	if (code) {
		cl_tls_release(tls);
		return code;
	}
	*out = tls;
	return 0;
}

struct cl_tls *cl_tls_hold(struct cl_tls *tls)
{
	tls->references++;
	return tls;
}

void cl_tls_release(struct cl_tls *tls)
{
	if (!tls || --tls->references > 0)
		return;
	for (size_t i = 0; i < tls->count; i++) {
		SSL_CTX_free(tls->identities[i].contexts[0]);
		SSL_CTX_free(tls->identities[i].contexts[1]);
	}
	OPENSSL_cleanse(tls->keys, sizeof tls->keys);
	free(tls);
}

SSL *cl_tls_session(struct cl_tls *tls, bool ask_certificate)
{
	return SSL_new(tls->identities[0].contexts[ask_certificate]);
}
