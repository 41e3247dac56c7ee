/* delivery.h: sends messages over HTTPS with libcurl's multi interface on libevent. Knows nothing of organizations' sockets. */
#pragma once
#include "base/error.h"
#include "base/text.h"
#include <event2/event.h>

struct cl_delivery;

/* Called once for each message given to cl_delivery_send. `status` is the HTTP status, 0 when none came; `problem` says why
 * in words that hold no health information. */
typedef void (*cl_delivery_done)(void *context, long status, const char *problem);

struct cl_delivery_identity {
	const char *certificate, *key; /* PEM files of the sending organization */
	const char
	        *authority; /* PEM file of the authorities that partners' servers are trusted by; NULL = the system's */
};

struct cl_delivery *cl_delivery_new(struct event_base *base);
void cl_delivery_free(struct cl_delivery *delivery);
/* POSTs `body` (copied) to `url`, which must be https. Everything else is copied too. CL_E_RULE for a URL of another scheme. */
int cl_delivery_send(struct cl_delivery *delivery, struct cl_str url, struct cl_str key, struct cl_str body,
                     const struct cl_delivery_identity *identity, cl_delivery_done done, void *context,
                     struct cl_err *e);
size_t cl_delivery_running(const struct cl_delivery *delivery);
