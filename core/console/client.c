/* client.c: see client.h. */
#include "console/client.h"
#include "base/clock.h"
#include "wire/channel.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct cl_client {
	char *socket_path;
	struct event_base *base;
	struct cl_channel *channel; /* NULL when not connected */
	uint64_t asked; /* number of the last question */
	bool waiting, lost, interrupted;
	struct event *held; /* catches Ctrl-C over several questions, or NULL */
	struct cl_arena *arena; /* where the answer goes */
	struct cl_response response;
	int problem;
};

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_client *client = context;
	(void)channel;
	if (type == CL_FRAME_RESPONSE && client->waiting && id == client->asked) {
		client->problem = cl_response_decode(client->arena, payload, descriptor, &client->response, NULL);
		client->waiting = false;
		event_base_loopbreak(client->base);
	}
	if (descriptor >= 0)
		close(descriptor);
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_client *client = context;
	(void)reason;
	cl_channel_free(channel);
	client->channel = NULL;
	client->lost = true;
	event_base_loopbreak(client->base);
}

static void on_interrupt(evutil_socket_t number, short what, void *context)
{
	struct cl_client *client = context;
	(void)number;
	(void)what;
	client->interrupted = true;
	event_base_loopbreak(client->base);
}

static void on_wake(evutil_socket_t socket, short what, void *context)
{
	(void)socket;
	(void)what;
	event_base_loopbreak(context);
}

struct cl_client *cl_client_new(const char *socket_path)
{
	struct cl_client *client = calloc(1, sizeof *client);
	if (!client)
		abort();
	client->socket_path = strdup(socket_path);
	client->base = event_base_new();
	if (!client->socket_path || !client->base)
		abort();
	return client;
}

void cl_client_free(struct cl_client *client)
{
	if (!client)
		return;
	cl_channel_free(client->channel);
	cl_client_hold(client, false);
	event_base_free(client->base);
	free(client->socket_path);
	free(client);
}

static int connect_client(struct cl_client *client, struct cl_err *e)
{
	static const struct cl_channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};
	int socket;
	if (client->channel)
		return CL_OK;
	if (access(client->socket_path, F_OK) == 0 && access(client->socket_path, R_OK | W_OK) && errno == EACCES)
		return cl_fail(e, CL_E_FORBIDDEN, "%s may only be opened by root and by the server's own user",
		               client->socket_path);
	int result = cl_channel_connect(client->socket_path, &socket, e);
	if (result == CL_E_INVALID)
		return result;
	if (result)
		return cl_fail(e, CL_E_UNAUTHENTICATED,
		               "no server answers at %s; is it running, with this data folder?", client->socket_path);
	/* The role says "neither gateway nor organization"; administrators are known by the socket's peer. */
	client->channel = cl_channel_new(client->base, socket, CL_ROLE_TEST, &callbacks, client);
	client->lost = false;
	return CL_OK;
}

/* NULL when Ctrl-C is held already. */
static struct event *catch_interrupt(struct cl_client *client)
{
	if (client->held)
		return NULL;
	struct event *interrupt = evsignal_new(client->base, SIGINT, on_interrupt, client);
	if (!interrupt || event_add(interrupt, NULL))
		abort();
	client->interrupted = false;
	return interrupt;
}

static void let_go(struct event *interrupt)
{
	if (interrupt)
		event_free(interrupt);
}

int cl_client_ask(struct cl_client *client, struct cl_arena *arena, struct cl_str organization, struct cl_str body,
                  int *status, struct cl_json **answer, struct cl_err *e)
{
	*answer = NULL;
	if (!client->held)
		client->interrupted = false;
	/* Reads an end of the connection that came since the last question. */
	if (client->channel)
		event_base_loop(client->base, EVLOOP_NONBLOCK);
	int result = connect_client(client, e);
	if (result)
		return result;
	const struct cl_request request = {.method = CL_STR("CONSOLE"), .target = organization, .body = body};
	result = cl_channel_send_request(client->channel, ++client->asked, &request);
	if (result)
		return cl_fail(e, result, "the command cannot be sent");
	client->waiting = true;
	client->arena = arena;
	client->problem = CL_OK;
	struct event *interrupt = catch_interrupt(client);
	while (client->waiting && !client->lost && !client->interrupted)
		if (event_base_dispatch(client->base) < 0)
			break;
	let_go(interrupt);
	bool answered = !client->waiting;
	client->waiting = false;
	if (client->interrupted && !answered) {
		if (client->channel) {
			cl_channel_send(client->channel, CL_FRAME_CANCEL, client->asked, CL_STR_NONE, -1);
			event_base_loop(client->base, EVLOOP_NONBLOCK);
		}
		return cl_fail(e, CL_E_CLOSED, "cancelled");
	}
	if (!answered)
		return cl_fail(e, CL_E_CLOSED, "the server ended the connection before it answered");
	if (client->problem)
		return cl_fail(e, client->problem, "the server's answer cannot be read");
	*status = client->response.status;
	return cl_json_parse(arena, client->response.body, NULL, answer, e);
}

bool cl_client_interrupted(const struct cl_client *client)
{
	return client->interrupted;
}

void cl_client_hold(struct cl_client *client, bool hold)
{
	if (hold && !client->held) {
		client->held = catch_interrupt(client);
	} else if (!hold && client->held) {
		event_free(client->held);
		client->held = NULL;
	}
}

bool cl_client_sleep(struct cl_client *client, int64_t microseconds)
{
	struct event *interrupt = catch_interrupt(client);
	struct event *wake = event_new(client->base, -1, 0, on_wake, client->base);
	int64_t until = cl_monotonic() + microseconds, left;
	if (!wake)
		abort();
	while (!client->interrupted && (left = until - cl_monotonic()) > 0) {
		struct timeval time = {left / CL_SECOND, left % CL_SECOND};
		event_add(wake, &time);
		event_base_dispatch(client->base);
	}
	event_free(wake);
	let_go(interrupt);
	return !client->interrupted;
}
