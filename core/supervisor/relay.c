/* relay.c: see relay.h. */
#include "supervisor/relay.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include <stdlib.h>
#include <unistd.h>

#define OPEN_MAXIMUM 64
#define PATIENCE (60 * CL_SECOND)
#define BODY_MAXIMUM ((size_t)CL_BODY_MAX + 65536)

struct waiting {
	uint64_t number;
	int64_t until; /* monotonic */
	cl_relay_answer answer;
	void *context;
};

struct cl_relay {
	struct event_base *base;
	const char *socket_path;
	struct cl_channel *channel; /* NULL when not connected */
	struct event *sweep;
	struct waiting open[OPEN_MAXIMUM];
	int count;
	uint64_t last;
};

static void refuse(const struct waiting *waiting, int status, const char *problem)
{
	struct cl_buf body;
	cl_buf_init(&body, 1024);
	cl_buf_add_cstring(&body, "{\"ok\":false,\"error\":");
	cl_json_write_text(&body, cl_str_of(problem));
	cl_buf_add_cstring(&body, "}");
	struct cl_response response = {.status = status, .body = cl_buf_str(&body)};
	waiting->answer(&response, waiting->context);
	cl_buf_free(&body);
}

static bool take(struct cl_relay *relay, uint64_t number, struct waiting *out)
{
	for (int i = 0; i < relay->count; i++)
		if (relay->open[i].number == number) {
			*out = relay->open[i];
			relay->open[i] = relay->open[--relay->count];
			return true;
		}
	return false;
}

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_relay *relay = context;
	struct waiting waiting;
	(void)channel;
	if (type == CL_FRAME_RESPONSE && take(relay, id, &waiting)) {
		struct cl_response response;
		struct cl_arena *arena = cl_arena_new(BODY_MAXIMUM * 2);
		if (cl_response_decode(arena, payload, descriptor, &response, NULL))
			refuse(&waiting, 502, "the organization's answer cannot be read");
		else
			waiting.answer(&response, waiting.context);
		cl_arena_free(arena);
	}
	if (descriptor >= 0)
		close(descriptor);
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_relay *relay = context;
	struct waiting waiting;
	(void)reason;
	cl_channel_free(channel);
	relay->channel = NULL;
	while (relay->count && take(relay, relay->open[0].number, &waiting))
		refuse(&waiting, 503,
		       "the organization's process ended before it answered; whether the command took effect is "
		       "unknown. It restarts by itself: look before you repeat it");
}

static void on_sweep(evutil_socket_t socket, short what, void *context)
{
	struct cl_relay *relay = context;
	int64_t now = cl_monotonic();
	(void)socket;
	(void)what;
	for (int i = 0; i < relay->count;) {
		struct waiting waiting = relay->open[i];
		if (waiting.until > now) {
			i++;
			continue;
		}
		cl_relay_cancel(relay, waiting.number);
		refuse(&waiting, 504, "the organization did not answer within 60 seconds");
	}
	if (relay->count == 0)
		event_del(relay->sweep);
}

struct cl_relay *cl_relay_new(struct event_base *base, const char *socket_path)
{
	struct cl_relay *relay = calloc(1, sizeof *relay);
	if (!relay)
		abort();
	relay->base = base;
	relay->socket_path = socket_path;
	relay->sweep = event_new(base, -1, EV_PERSIST, on_sweep, relay);
	if (!relay->sweep)
		abort();
	return relay;
}

void cl_relay_free(struct cl_relay *relay)
{
	struct waiting waiting;
	if (!relay)
		return;
	while (relay->count && take(relay, relay->open[0].number, &waiting))
		refuse(&waiting, 503, "the organization is no longer served");
	cl_channel_free(relay->channel);
	event_free(relay->sweep);
	free(relay);
}

static int connect_relay(struct cl_relay *relay, struct cl_err *e)
{
	static const struct cl_channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};
	int socket;
	if (relay->channel)
		return CL_OK;
	int result = cl_channel_connect(relay->socket_path, &socket, e);
	if (result)
		return result;
	relay->channel = cl_channel_new(relay->base, socket, CL_ROLE_SUPERVISOR, &callbacks, relay);
	return CL_OK;
}

/* Sortable by time, as the gateway's are. */
static void request_id(uint8_t id[16])
{
	int64_t milliseconds = cl_clock_now(&(struct cl_clock){0}) / 1000;
	cl_random(id, 16);
	for (int i = 0; i < 6; i++)
		id[i] = (uint8_t)(milliseconds >> (40 - 8 * i));
}

int cl_relay_send(struct cl_relay *relay, const char *user, const char *organization, struct cl_str body,
                  cl_relay_answer answer, void *context, uint64_t *number, struct cl_err *e)
{
	if (relay->count == OPEN_MAXIMUM)
		return cl_fail(e, CL_E_BUSY, "too many commands wait for %s already", organization);
	int result = connect_relay(relay, e);
	if (result)
		return result;
	struct cl_request request = {
	        .deadline = cl_clock_now(&(struct cl_clock){0}) + PATIENCE,
	        .credential = {.kind = CL_CREDENTIAL_CONSOLE, .name = cl_str_of(user)},
	        .method = CL_STR("CONSOLE"),
	        .target = cl_str_of(organization),
	        .body = body,
	};
	request_id(request.id);
	result = cl_channel_send_request(relay->channel, ++relay->last, &request);
	if (result)
		return cl_fail(e, result, "the command cannot be sent to %s now", organization);
	relay->open[relay->count++] = (struct waiting){
	        .number = relay->last, .until = cl_monotonic() + PATIENCE, .answer = answer, .context = context};
	if (!event_pending(relay->sweep, EV_TIMEOUT, NULL))
		event_add(relay->sweep, &(struct timeval){1, 0});
	*number = relay->last;
	return CL_OK;
}

void cl_relay_cancel(struct cl_relay *relay, uint64_t number)
{
	struct waiting waiting;
	if (take(relay, number, &waiting) && relay->channel)
		cl_channel_send(relay->channel, CL_FRAME_CANCEL, number, CL_STR_NONE, -1);
}
