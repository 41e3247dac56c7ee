/* settings.h: the gateway's part of the configuration file, checked and with defaults filled in.
 *
 *   listen = { { address = "127.0.0.1", port = 8443, client_certificates = "optional" } },   -- or "none"
 *   tls = { certificate = "server.pem", key = "server.key", client_authorities = { "ca.pem" }, crl = "crl.pem",
 *           certificates = { { certificate = "other.pem", key = "other.key" } } },           -- chosen by SNI
 *   domain = "localhost",                      -- an organization is <id>.<domain>
 *   data = "data",                             -- sockets are <data>/run/<id>.sock
 *   organizations = { "riverside", { id = "lakeside", hosts = { "care.lakeside.example" } } },
 *   organizations_folder = "orgs",             -- instead: every *.lua in it is an organization
 *   board = "board",                           -- static files served under /board/
 *   limits = { body = 16777216, connections = 10000, connections_per_address = 256, in_flight = 2048,
 *              in_flight_per_organization = 1024, handshakes_per_second = 1000, held = 268435456 },
 *   log = "info",                              -- or "debug", "warning", "error"
 *   timeouts = { handshake = 5, head = 10, idle = 75, body = 300, request = 30 },             -- seconds
 *
 * Paths are relative to the configuration file's folder. Other names belong to other processes and are ignored; unknown
 * names inside these tables are refused. */
#pragma once
#include "base/arena.h"
#include "base/error.h"
#include "base/log.h"
#include "gateway/limits.h"

struct cl_listen_settings {
	struct cl_str address; /* numeric IPv4 or IPv6 */
	uint16_t port; /* 0 lets the system choose (tests) */
	bool ask_certificate;
};

struct cl_certificate_settings {
	struct cl_str certificate, key; /* paths of PEM files */
};

struct cl_organization_settings {
	struct cl_str id;
	struct cl_str *hosts; /* lower case, beside <id>.<domain> */
	size_t host_count;
	struct cl_str socket; /* path, NUL-terminated */
};

struct cl_timeouts { /* microseconds */
	int64_t handshake, head, idle, body, request;
};

struct cl_settings {
	struct cl_listen_settings *listen;
	size_t listen_count;
	struct cl_certificate_settings *certificates; /* the first is the default */
	size_t certificate_count;
	struct cl_str *authorities; /* paths of PEM files */
	size_t authority_count;
	struct cl_str crl; /* path, or empty */
	struct cl_str domain;
	struct cl_organization_settings *organizations; /* sorted by id */
	size_t organization_count;
	struct cl_str board; /* folder, or empty */
	struct cl_limits_settings limits;
	size_t body_limit;
	uint32_t in_flight_per_organization;
	struct cl_timeouts timeouts;
	enum cl_log_level log;
};

/* Everything in *out lives in the arena. All paths are NUL-terminated. */
int cl_settings_load(struct cl_arena *arena, const char *path, struct cl_settings *out, struct cl_err *e);
/* Lower-case letters, digits and hyphens, at most 63, and none of the names that the gateway itself answers to. */
bool cl_organization_id_good(struct cl_str id);
