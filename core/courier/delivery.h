/* delivery.h: sends letters over HTTPS with libcurl's multi interface on libevent. Knows nothing of organizations' sockets. */
#pragma once
#include "base/error.h"
#include "base/text.h"
#include <event2/event.h>

struct cl_delivery;

/* How it went. `problem` says why it did not arrive, in words that hold no health information. */
struct cl_delivery_result {
	long status; /* HTTP status, 0 when none came */
	long retry_after; /* seconds that the receiver asked for, 0 = none */
	const char *problem;
};
/* Called once for each letter that cl_delivery_send took. */
typedef void (*cl_delivery_done)(void *context, const struct cl_delivery_result *result);

struct cl_delivery_letter {
	struct cl_str url, method, body;
	struct cl_str *headers; /* "Name: value" */
	size_t header_count;
	const char *certificate, *key; /* PEM files of the sender; NULL = none is shown */
	const char
	        *authority; /* PEM file of authorities that the receiver may be vouched for by; NULL = the system's */
	bool system_authorities; /* those too, beside `authority` */
	bool http; /* an address without TLS may be called */
	bool outside_only; /* addresses of this machine and private networks are not called, whatever the name leads to */
	long seconds;
};

struct cl_delivery *cl_delivery_new(struct event_base *base);
void cl_delivery_free(struct cl_delivery *delivery);
/* Everything is copied. Redirects are not followed. CL_E_RULE for what cannot be sent. */
int cl_delivery_send(struct cl_delivery *delivery, const struct cl_delivery_letter *letter, cl_delivery_done done,
                     void *context, struct cl_err *e);
