/* organization.c: calls, links, and what happens to the first when the second break. */
#include "gateway/organization.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLOT_BITS 20 /* low bits of a frame id; the rest counts up, so that later frames have higher ids (GOAWAY) */
#define FIRST_WAIT_US 20000
#define LONGEST_WAIT_US 250000
#define LOSSES_ALLOWED 3
#define FAILURE_REMEMBERED (5 * CL_SECOND)
#define KEEP_PAYLOAD_CAPACITY ((size_t)8 * 1024)

/* One channel. The current one takes new calls; one that said GOAWAY lives on until its last answer came. */
struct cl_link {
	struct cl_organization *organization;
	struct cl_channel *channel;
	struct cl_call_list sent;
	bool draining;
	unsigned depth; /* of functions on the stack that use it after calling back */
	LIST_ENTRY(cl_link) entry;
};

struct cl_organization {
	struct cl_organization_options options;
	char id[64];
	char *socket_path;
	struct cl_link *current;
	LIST_HEAD(, cl_link) links;
	struct cl_call_list waiting;
	struct cl_call_list doomed; /* to be failed as soon as no list is being walked */
	struct event *connect_timer;
	bool connecting; /* the timer is set */
	bool full; /* the channel refused a call */
	int64_t failed; /* monotonic: the last attempt failed, or ended before the process said HELLO; 0 = it did not */
	bool closing;
	int64_t wait; /* before the next attempt, microseconds */
	uint32_t in_flight;
	uint64_t sequence;
	struct cl_call **slots;
	uint32_t *free_slots;
	uint32_t slot_count, free_count;
};

static void connect_soon(struct cl_organization *organization, int64_t wait);

/* Slots and lists */

static void take_slot(struct cl_organization *organization, struct cl_call *call)
{
	if (organization->free_count == 0) {
		uint32_t more = organization->slot_count ? organization->slot_count * 2 : 64;
		organization->slots = realloc(organization->slots, more * sizeof *organization->slots);
		organization->free_slots = realloc(organization->free_slots, more * sizeof *organization->free_slots);
		if (!organization->slots || !organization->free_slots || more > 1u << SLOT_BITS)
			cl_die("out of memory (organization)");
		for (uint32_t slot = more; slot-- > organization->slot_count;) {
			organization->slots[slot] = NULL;
			organization->free_slots[organization->free_count++] = slot;
		}
		organization->slot_count = more;
	}
	call->slot = organization->free_slots[--organization->free_count];
	organization->slots[call->slot] = call;
}

static void move_call(struct cl_call *call, struct cl_call_list *to, struct cl_link *link)
{
	if (call->list)
		TAILQ_REMOVE(call->list, call, entry);
	TAILQ_INSERT_TAIL(to, call, entry);
	call->list = to;
	call->link = link;
}

/* Takes the call out of everything. Its payload stays until it is released or used again. */
static void end_call(struct cl_call *call)
{
	struct cl_organization *organization = call->organization;
	organization->slots[call->slot] = NULL;
	organization->free_slots[organization->free_count++] = call->slot;
	TAILQ_REMOVE(call->list, call, entry);
	if (call->counted) {
		organization->in_flight--;
		cl_limits_end(organization->options.limits);
	}
	if (call->descriptor >= 0)
		close(call->descriptor);
	call->descriptor = -1;
	call->link = NULL;
	call->list = NULL;
	call->active = call->counted = false;
}

static void fail_call(struct cl_call *call, enum cl_call_failure failure)
{
	end_call(call);
	call->callbacks->failed(call, call->stream ? CL_CALL_ENDED : failure);
}

static void close_link(struct cl_link *link)
{
	struct cl_organization *organization = link->organization;
	if (organization->current == link)
		organization->current = NULL;
	LIST_REMOVE(link, entry);
	cl_channel_free(link->channel);
	free(link);
}

static void close_when_drained(struct cl_link *link)
{
	if (link->draining && link->depth == 0 && TAILQ_EMPTY(&link->sent))
		close_link(link);
}

/* Sending */

/* Writes the request anew with what a second sending changes. */
static int rewrite(struct cl_call *call)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_request request;
	char position[48];
	int descriptor = -1,
	    code = cl_request_decode(arena, cl_buf_str(&call->payload), call->descriptor, &request, NULL);
	if (!code && call->has_position) {
		int n = snprintf(position, sizeof position, "%llu-%llu", (unsigned long long)call->incarnation,
		                 (unsigned long long)call->sequence);
		size_t count = 0;
		struct cl_header *headers = CL_NEW_ARRAY(arena, struct cl_header, request.header_count + 1);
		for (size_t i = 0; i < request.header_count; i++)
			if (!cl_str_is(request.headers[i].name, "last-event-id"))
				headers[count++] = request.headers[i];
		headers[count++] = (struct cl_header){CL_STR("last-event-id"), {position, (size_t)n}};
		request.headers = headers;
		request.header_count = count;
	}
	if (!code) {
		struct cl_buf payload;
		request.resent = true;
		cl_buf_init(&payload, 0);
		code = cl_request_encode(&payload, &request, &descriptor, NULL);
		cl_buf_free(&call->payload);
		call->payload = payload;
		if (call->descriptor >= 0)
			close(call->descriptor);
		call->descriptor = descriptor;
	}
	cl_arena_free(arena);
	return code;
}

/* Puts a waiting call on the current link. */
static int send_call(struct cl_organization *organization, struct cl_call *call)
{
	struct cl_link *link = organization->current;
	call->frame_id = ++organization->sequence << SLOT_BITS | call->slot;
	int code = cl_channel_send(link->channel, CL_FRAME_REQUEST, call->frame_id, cl_buf_str(&call->payload),
	                           call->descriptor);
	if (code) {
		organization->full = code == CL_E_BUSY;
		return code;
	}
	move_call(call, &link->sent, link);
	call->sends++;
	return 0;
}

/* As many as the channel takes; the rest goes when it has drained. */
static void send_waiting(struct cl_organization *organization)
{
	struct cl_call *call;
	while (organization->current && (call = TAILQ_FIRST(&organization->waiting)))
		if (send_call(organization, call))
			break;
}

/* The link that carried the call is gone, or will not answer it. Does not call back: see fail_doomed. */
static void wait_again(struct cl_call *call, bool lost)
{
	struct cl_organization *organization = call->organization;
	if (call->stream && call->deadline == 0)
		call->deadline = cl_monotonic() + organization->options.request_time;
	bool too_often = lost && !call->stream && ++call->losses > LOSSES_ALLOWED;
	move_call(call, too_often || rewrite(call) ? &organization->doomed : &organization->waiting, NULL);
}

static void fail_doomed(struct cl_organization *organization)
{
	struct cl_call *call;
	while ((call = TAILQ_FIRST(&organization->doomed)))
		fail_call(call, CL_CALL_LOST);
}

/* Receiving */

static struct cl_call *call_of(struct cl_link *link, uint64_t id)
{
	struct cl_organization *organization = link->organization;
	uint64_t slot = id & ((1u << SLOT_BITS) - 1);
	struct cl_call *call = slot < organization->slot_count ? organization->slots[slot] : NULL;
	return call && call->frame_id == id && call->link == link ? call : NULL;
}

static void on_stream_open(struct cl_call *call, const struct cl_response *response)
{
	struct cl_organization *organization = call->organization;
	call->stream = true;
	call->deadline = 0;
	if (call->counted) {
		organization->in_flight--;
		cl_limits_end(organization->options.limits);
		call->counted = false;
	}
	/* Where the stream begins, for the case that it is lost before its first event. */
	struct cl_str position = cl_response_header(response, "last-event-id");
	char text[48];
	unsigned long long incarnation, sequence;
	if (position.n == 0 || position.n >= sizeof text)
		return;
	memcpy(text, position.p, position.n);
	text[position.n] = 0;
	if (sscanf(text, "%llu-%llu", &incarnation, &sequence) == 2) {
		call->incarnation = incarnation;
		call->sequence = sequence;
		call->has_position = true;
	}
}

static void on_response(struct cl_link *link, struct cl_call *call, struct cl_str payload, int descriptor)
{
	struct cl_response response;
	struct cl_arena *owned = descriptor >= 0 ? cl_arena_new(0) : NULL;
	struct cl_arena *arena = owned ? owned : link->organization->options.scratch;
	struct cl_err e = {0};
	cl_arena_reset(arena);
	if (cl_response_decode(arena, payload, descriptor, &response, &e) || response.status < 200) {
		cl_log(CL_LOG_ERROR, "response-garbled", "organization=%s why=\"%s\"", link->organization->id,
		       e.message);
		fail_call(call, CL_CALL_GARBLED);
	} else if (call->stream) {
		/* The answer to opening it again is not for the client. */
		if (response.stream)
			on_stream_open(call, &response);
		else
			fail_call(call, CL_CALL_ENDED);
	} else {
		if (response.stream)
			on_stream_open(call, &response);
		else
			end_call(call);
		call->callbacks->answered(call, &response, owned);
		owned = NULL;
	}
	cl_arena_free(owned);
}

static void on_event(struct cl_link *link, struct cl_call *call, enum cl_frame_type type, struct cl_str payload)
{
	struct cl_event event;
	cl_arena_reset(link->organization->options.scratch);
	if (!call->stream || cl_event_decode(link->organization->options.scratch, payload, &event, NULL)) {
		fail_call(call, CL_CALL_GARBLED);
		return;
	}
	call->incarnation = event.incarnation;
	call->sequence = event.sequence;
	call->has_position = true;
	call->callbacks->event(call, type, &event);
}

/* The process will answer what it has up to `last` and then go. Open streams move at once. */
static void on_go_away(struct cl_link *link, uint64_t last)
{
	struct cl_organization *organization = link->organization;
	link->draining = true;
	if (organization->current == link)
		organization->current = NULL;
	struct cl_call *call, *next;
	for (call = TAILQ_FIRST(&link->sent); call; call = next) {
		next = TAILQ_NEXT(call, entry);
		if (call->frame_id > last || call->stream)
			wait_again(call, false);
	}
	fail_doomed(organization);
	if (!TAILQ_EMPTY(&organization->waiting))
		connect_soon(organization, 0);
}

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_link *link = context;
	struct cl_organization *organization = link->organization;
	(void)channel;
	organization->failed = 0;
	organization->wait = FIRST_WAIT_US;
	link->depth++;
	struct cl_call *call = call_of(link, id);
	switch (type) {
	case CL_FRAME_RESPONSE:
		if (call)
			on_response(link, call, payload, descriptor);
		break;
	case CL_FRAME_EVENT:
	case CL_FRAME_RESYNC:
		if (call)
			on_event(link, call, type, payload);
		break;
	case CL_FRAME_CANCEL:
		if (call)
			fail_call(call, CL_CALL_LATE);
		break;
	case CL_FRAME_GOAWAY:
		on_go_away(link, id);
		break;
	default:
		break;
	}
	if (descriptor >= 0)
		close(descriptor);
	link->depth--;
	close_when_drained(link);
}

/* Connecting */

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_link *link = context;
	struct cl_organization *organization = link->organization;
	bool spoke = cl_channel_peer(channel) != 0;
	if (!organization->failed && (!link->draining || !TAILQ_EMPTY(&link->sent)))
		cl_log(CL_LOG_WARNING, "organization-lost", "organization=%s why=\"%s\"", organization->id, reason);
	struct cl_call *call;
	while ((call = TAILQ_FIRST(&link->sent)))
		wait_again(call, spoke);
	close_link(link);
	if (!spoke)
		organization->failed = cl_monotonic();
	fail_doomed(organization);
	if (!TAILQ_EMPTY(&organization->waiting) && !organization->current)
		connect_soon(organization, spoke ? 0 : organization->wait);
}

static void on_drained(struct cl_channel *channel, void *context)
{
	struct cl_link *link = context;
	(void)channel;
	if (link->organization->current != link)
		return;
	link->organization->full = false;
	send_waiting(link->organization);
}

static const struct cl_channel_callbacks link_callbacks = {on_frame, on_closed, on_drained};

static void on_connect_time(evutil_socket_t none, short what, void *context)
{
	struct cl_organization *organization = context;
	int socket;
	struct cl_err e = {0};
	(void)none;
	(void)what;
	organization->connecting = false;
	if (organization->current || TAILQ_EMPTY(&organization->waiting))
		return;
	int64_t wait = organization->wait;
	organization->wait = wait * 2 < LONGEST_WAIT_US ? wait * 2 : LONGEST_WAIT_US;
	if (cl_channel_connect(organization->socket_path, &socket, &e)) {
		if (!organization->failed)
			cl_log(CL_LOG_WARNING, "organization-unreachable", "organization=%s why=\"%s\"",
			       organization->id, e.message);
		organization->failed = cl_monotonic();
		connect_soon(organization, wait);
		return;
	}
	struct cl_link *link = calloc(1, sizeof *link);
	if (!link)
		cl_die("out of memory (organization)");
	link->organization = organization;
	TAILQ_INIT(&link->sent);
	link->channel = cl_channel_new(organization->options.base, socket, CL_ROLE_GATEWAY, &link_callbacks, link);
	LIST_INSERT_HEAD(&organization->links, link, entry);
	organization->current = link;
	organization->full = false;
	send_waiting(organization);
}

static void connect_soon(struct cl_organization *organization, int64_t wait)
{
	if (organization->connecting || organization->closing)
		return;
	organization->connecting = true;
	struct timeval time = {wait / CL_SECOND, wait % CL_SECOND};
	event_add(organization->connect_timer, &time);
}

/* Calls */

int cl_organization_call(struct cl_organization *organization, struct cl_call *call, const struct cl_request *request)
{
	if (organization->closing || organization->full || organization->in_flight >= organization->options.in_flight)
		return CL_E_BUSY;
	call->descriptor = -1;
	cl_buf_clear(&call->payload);
	int code = cl_request_encode(&call->payload, request, &call->descriptor, NULL);
	if (code)
		return code;
	if (!cl_limits_begin(organization->options.limits)) {
		if (call->descriptor >= 0)
			close(call->descriptor);
		return CL_E_BUSY;
	}
	call->write = !cl_str_is(request->method, "GET");
	call->stream = call->has_position = false;
	call->active = call->counted = true;
	call->sends = call->losses = 0;
	call->organization = organization;
	call->deadline = cl_monotonic() + organization->options.request_time;
	organization->in_flight++;
	take_slot(organization, call);
	move_call(call, &organization->waiting, NULL);
	if (!organization->current) {
		connect_soon(organization, 0);
		return 0;
	}
	code = send_call(organization, call);
	if (!code || code == CL_E_CLOSED)
		return 0; /* a channel that has just broken is replaced soon */
	end_call(call);
	return code;
}

void cl_call_cancel(struct cl_call *call)
{
	if (!call->active)
		return;
	struct cl_link *link = call->link;
	if (link)
		cl_channel_send(link->channel, CL_FRAME_CANCEL, call->frame_id, CL_STR_NONE, -1);
	end_call(call);
	if (link)
		close_when_drained(link);
}

void cl_call_release(struct cl_call *call)
{
	if (call->payload.capacity > KEEP_PAYLOAD_CAPACITY)
		cl_buf_free(&call->payload);
}

void cl_organization_sweep(struct cl_organization *organization, int64_t now)
{
	/* Callbacks may begin and end other calls: slots are looked at one by one. */
	for (uint32_t slot = 0; slot < organization->slot_count; slot++) {
		struct cl_call *call = organization->slots[slot];
		if (!call || call->deadline == 0 || call->deadline > now)
			continue;
		if (call->link)
			cl_channel_send(call->link->channel, CL_FRAME_CANCEL, call->frame_id, CL_STR_NONE, -1);
		struct cl_link *link = call->link;
		if (link)
			link->depth++;
		fail_call(call, call->sends ? CL_CALL_LATE : CL_CALL_NOT_RUN);
		if (link) {
			link->depth--;
			close_when_drained(link);
		}
	}
}

/* Life */

struct cl_organization *cl_organization_new(const struct cl_organization_options *options, struct cl_str id,
                                            struct cl_str socket_path)
{
	struct cl_organization *organization = calloc(1, sizeof *organization);
	if (!organization)
		cl_die("out of memory (organization)");
	organization->options = *options;
	organization->wait = FIRST_WAIT_US;
	snprintf(organization->id, sizeof organization->id, "%.*s", CL_STR_ARGS(id));
	organization->socket_path = strndup(socket_path.p, socket_path.n);
	organization->connect_timer = event_new(options->base, -1, 0, on_connect_time, organization);
	if (!organization->socket_path || !organization->connect_timer)
		cl_die("out of memory (organization)");
	TAILQ_INIT(&organization->waiting);
	TAILQ_INIT(&organization->doomed);
	LIST_INIT(&organization->links);
	return organization;
}

void cl_organization_free(struct cl_organization *organization)
{
	if (!organization)
		return;
	organization->closing = true;
	for (uint32_t slot = 0; slot < organization->slot_count; slot++)
		if (organization->slots[slot])
			fail_call(organization->slots[slot],
			          organization->slots[slot]->sends ? CL_CALL_LOST : CL_CALL_NOT_RUN);
	while (!LIST_EMPTY(&organization->links))
		close_link(LIST_FIRST(&organization->links));
	event_free(organization->connect_timer);
	free(organization->slots);
	free(organization->free_slots);
	free(organization->socket_path);
	free(organization);
}

void cl_organization_set(struct cl_organization *organization, uint32_t in_flight, int64_t request_time)
{
	organization->options.in_flight = in_flight;
	organization->options.request_time = request_time;
}

enum cl_organization_state cl_organization_state(const struct cl_organization *organization)
{
	struct stat status;
	if (organization->current && cl_channel_peer(organization->current->channel))
		return CL_ORGANIZATION_CONNECTED;
	bool failed = organization->failed && cl_monotonic() - organization->failed < FAILURE_REMEMBERED;
	if (failed || stat(organization->socket_path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return CL_ORGANIZATION_UNREACHABLE;
	return CL_ORGANIZATION_IDLE;
}

struct cl_str cl_organization_id(const struct cl_organization *organization)
{
	return cl_str_of(organization->id);
}

uint32_t cl_organization_in_flight(const struct cl_organization *organization)
{
	return organization->in_flight;
}
