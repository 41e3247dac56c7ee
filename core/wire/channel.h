/* channel.h: frames over one unix stream socket on a libevent base, with descriptors. Single-threaded: every call on the
 * base's own thread. */
#pragma once
#include "wire/frame.h"
#include <event2/event.h>

struct cl_channel;

struct cl_channel_callbacks {
	/* A whole frame. `payload` is valid during the call only. `descriptor` is -1 or owned by the callee, who closes it. */
	void (*frame)(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
	              int descriptor, void *context);
	/* The peer closed, sent garbage, or an I/O error came. Called once, never from inside cl_channel_send. The callee
	 * frees the channel. */
	void (*closed)(struct cl_channel *channel, const char *reason, void *context);
	/* The output queue fell below half its bound again after a send was refused. May be NULL. */
	void (*drained)(struct cl_channel *channel, void *context);
};

/* Takes ownership of `socket` (set non-blocking and close-on-exec here). HELLO is sent at once and checked by the channel:
 * a wrong version closes it. */
struct cl_channel *cl_channel_new(struct event_base *base, int socket, enum cl_role own_role,
                                  const struct cl_channel_callbacks *callbacks, void *context);
void cl_channel_free(struct cl_channel *channel);
/* Queues a frame. `descriptor` (or -1) is duplicated. CL_E_BUSY when the output queue's bound (8 MiB) is reached and the
 * frame is refused; the caller sheds load. */
int cl_channel_send(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                    int descriptor);
int cl_channel_send_request(struct cl_channel *channel, uint64_t id, const struct cl_request *request);
int cl_channel_send_response(struct cl_channel *channel, uint64_t id, const struct cl_response *response);
int cl_channel_send_event(struct cl_channel *channel, enum cl_frame_type type, uint64_t id,
                          const struct cl_event *event);
/* Role the peer said in its HELLO; 0 before it came. */
enum cl_role cl_channel_peer(const struct cl_channel *channel);
void *cl_channel_context(const struct cl_channel *channel);
size_t cl_channel_pending(const struct cl_channel *channel);
/* Connects to a unix socket; retries by the caller. CL_E_BUSY for a full backlog (EAGAIN), CL_E_CLOSED for refused/absent. */
int cl_channel_connect(const char *path, int *socket_out, struct cl_err *e);
