/* organization.h: the gateway's side of one organization's process: a channel, and the requests under way on it.
 *
 * The channel is opened when there is something to say, so that an organization that nobody asks may sleep. When it dies,
 * or the process says GOAWAY, what was not answered is sent again on a new one, marked as resent: the request's id makes
 * the organization answer once. Streams are opened again from the last event that came through. Single-threaded. */
#pragma once
#include "gateway/limits.h"
#include "wire/channel.h"
#include <sys/queue.h>

struct cl_organization;
struct cl_call;
TAILQ_HEAD(cl_call_list, cl_call);

enum cl_call_failure {
	CL_CALL_NOT_RUN, /* the organization could not be reached in time; nothing was sent */
	CL_CALL_LATE, /* sent, and not answered within the deadline */
	CL_CALL_LOST, /* sent again as often as is allowed, and lost again */
	CL_CALL_GARBLED, /* the answer cannot be read */
	CL_CALL_ENDED, /* a stream is over */
};

struct cl_call_callbacks {
	/* Texts live during the call; when `owned` is not NULL they live in it, and the callee frees it. Unless
	 * response->stream is set the call is over. */
	void (*answered)(struct cl_call *call, const struct cl_response *response, struct cl_arena *owned);
	/* Of a stream: CL_FRAME_EVENT or CL_FRAME_RESYNC. */
	void (*event)(struct cl_call *call, enum cl_frame_type type, const struct cl_event *event);
	/* The call is over. */
	void (*failed)(struct cl_call *call, enum cl_call_failure failure);
};

/* Owned by the caller, zeroed before its first use; it may be used again when it is over. All members are private but
 * `callbacks` (set before), `write`, `stream` and `active` (to be read). */
struct cl_call {
	const struct cl_call_callbacks *callbacks;
	bool write; /* may have changed something */
	bool stream; /* answered with a stream that is open */
	bool active; /* between cl_organization_call and its end */
	bool counted;
	bool has_position;
	unsigned sends, losses;
	uint32_t slot;
	uint64_t frame_id;
	uint64_t incarnation, sequence; /* of the last event */
	int64_t deadline; /* monotonic; 0 for open streams */
	struct cl_organization *organization;
	struct cl_link *link; /* NULL while it waits for one */
	struct cl_call_list *list; /* the one that it is in */
	struct cl_buf payload;
	int descriptor;
	TAILQ_ENTRY(cl_call) entry;
};

struct cl_organization_options {
	struct event_base *base;
	struct cl_limits *limits; /* outlives the organization */
	struct cl_arena *scratch; /* reset with every frame */
	uint32_t in_flight; /* at most; open streams do not count */
	int64_t request_time; /* microseconds a request may take */
};

/* `id` and `socket_path` are copied. Never NULL. */
struct cl_organization *cl_organization_new(const struct cl_organization_options *options, struct cl_str id,
                                            struct cl_str socket_path);
/* Calls that are active fail. */
void cl_organization_free(struct cl_organization *organization);
void cl_organization_set(struct cl_organization *organization, uint32_t in_flight, int64_t request_time);

/* Sends the request as soon as there is a channel. CL_E_BUSY when there are too many, CL_E_TOO_LARGE when it does not fit
 * a frame; then the call is not active and no callback comes. Never calls back from inside. The request is not kept. */
int cl_organization_call(struct cl_organization *organization, struct cl_call *call, const struct cl_request *request);
/* Nobody waits for the answer any more: the organization is told, no callback comes. Harmless when not active. */
void cl_call_cancel(struct cl_call *call);
/* Gives the memory of a call back that is not active. */
void cl_call_release(struct cl_call *call);
/* Fails what is past its deadline. To be called a few times a second with the monotonic time. */
void cl_organization_sweep(struct cl_organization *organization, int64_t now);

enum cl_organization_state { CL_ORGANIZATION_IDLE, CL_ORGANIZATION_CONNECTED, CL_ORGANIZATION_UNREACHABLE };
/* Whether requests are answered; an organization that sleeps counts as reachable while its socket is there. */
enum cl_organization_state cl_organization_state(const struct cl_organization *organization);
struct cl_str cl_organization_id(const struct cl_organization *organization);
uint32_t cl_organization_in_flight(const struct cl_organization *organization);
