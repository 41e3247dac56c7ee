/* relay.h: the supervisor's own connection to one organization, over which administrators' commands go there and
 * answers come back. Connects when first used; waits in the socket's backlog while the organization restarts. */
#pragma once
#include "wire/channel.h"

struct cl_relay;

/* Called once for each request, never from inside cl_relay_send. `response` is valid during the call. */
typedef void (*cl_relay_answer)(const struct cl_response *response, void *context);

/* `socket_path` is borrowed. */
struct cl_relay *cl_relay_new(struct event_base *base, const char *socket_path);
/* Open requests are answered with status 503 first. */
void cl_relay_free(struct cl_relay *relay);
/* Sends the body of a console request on behalf of the unix user `user`. *number identifies it for cl_relay_cancel.
 * CL_E_BUSY when 64 are open or nothing can be queued; then `answer` is not called. When the organization ends
 * first, or says nothing for 60 s, the answer has status 503 or 504 and a body that says so. */
int cl_relay_send(struct cl_relay *relay, const char *user, const char *organization, struct cl_str body,
                  cl_relay_answer answer, void *context, uint64_t *number, struct cl_err *e);
/* Tells the organization that nobody waits any more. `answer` is not called. */
void cl_relay_cancel(struct cl_relay *relay, uint64_t number);
