/* fake_organization.c: stands in for an organization's process when the gateway is tested or measured.
 *
 *   fake_organization SOCKET [--once]
 *
 * A parent keeps the listening socket and forks a child that serves; when the child dies another takes its place, as under
 * the supervisor. --once serves in the first process. What it does is said by the request's path: see `routes`. */
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "wire/channel.h"
#include <errno.h>
#include <event2/listener.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENT_EVERY_US 20000

struct later {
	struct cl_channel *channel;
	uint64_t id;
	struct event *timer;
	uint64_t sequence; /* of a stream */
	unsigned burst; /* events at a time */
	struct later *next;
};

static struct event_base *base;
static struct cl_arena *arena;
static struct later *all_later;
static char *big;

static void respond(struct cl_channel *channel, uint64_t id, int status, const char *type, struct cl_str body)
{
	struct cl_response response = {.status = status, .body = body};
	if (type)
		cl_response_add_header(arena, &response, "content-type", cl_str_of(type));
	cl_channel_send_response(channel, id, &response);
}

static void forget(struct later *later)
{
	struct later **link = &all_later;
	while (*link != later)
		link = &(*link)->next;
	*link = later->next;
	event_free(later->timer);
	free(later);
}

static void on_time(evutil_socket_t none, short what, void *context)
{
	struct later *later = context;
	(void)none;
	(void)what;
	if (!later->sequence) {
		respond(later->channel, later->id, 200, "application/json", CL_STR("{\"slow\":true}"));
		forget(later);
		return;
	}
	for (unsigned i = 0; i < later->burst; i++) {
		char id[32];
		int n = snprintf(id, sizeof id, "p%llu", (unsigned long long)later->sequence);
		struct cl_event event = {.sequence = later->sequence++,
		                         .incarnation = 7,
		                         .kind = CL_STR("update"),
		                         .type = CL_STR("Patient"),
		                         .id = {id, (size_t)n}};
		cl_channel_send_event(later->channel, CL_FRAME_EVENT, later->id, &event);
	}
}

static struct later *add_later(struct cl_channel *channel, uint64_t id, int64_t us, bool again)
{
	struct later *later = calloc(1, sizeof *later);
	struct timeval time = {us / CL_SECOND, us % CL_SECOND};
	later->channel = channel;
	later->id = id;
	later->timer = event_new(base, -1, again ? EV_PERSIST : 0, on_time, later);
	later->next = all_later;
	all_later = later;
	event_add(later->timer, &time);
	return later;
}

static long argument(struct cl_str target)
{
	char text[300];
	snprintf(text, sizeof text, "%.*s", CL_STR_ARGS(target));
	char *equals = strchr(text, '=');
	return equals ? strtol(equals + 1, NULL, 10) : 0;
}

/* The request as JSON. */
static void echo(struct cl_channel *channel, uint64_t id, const struct cl_request *request)
{
	static const char *const kinds[] = {"none", "certificate", "bearer", "session", "console", "courier"};
	struct cl_json *root = cl_json_new(arena, CL_JSON_OBJECT);
	char hex[33];
	cl_hex(request->id, 16, hex);
	cl_json_set_text(arena, root, "method", request->method);
	cl_json_set_text(arena, root, "target", request->target);
	cl_json_set_text(arena, root, "base", request->base);
	cl_json_set_text(arena, root, "id", cl_str_of(hex));
	cl_json_set_boolean(arena, root, "resent", request->resent);
	cl_json_set_integer(arena, root, "length", (int64_t)request->body.n);
	cl_json_set_integer(arena, root, "process", getpid());
	if (request->body.n < 4096)
		cl_json_set_text(arena, root, "body", request->body);
	struct cl_json *credential = cl_json_set_object(arena, root, "credential");
	cl_json_set_text(arena, credential, "kind", cl_str_of(kinds[request->credential.kind]));
	cl_json_set_text(arena, credential, "anchor", request->credential.anchor);
	cl_json_set_text(arena, credential, "name", request->credential.name);
	cl_json_set_text(arena, credential, "fingerprint", request->credential.fingerprint);
	cl_json_set_text(arena, credential, "token", request->credential.token);
	cl_json_set_text(arena, credential, "address", request->credential.address);
	struct cl_json *headers = cl_json_set_object(arena, root, "headers");
	for (size_t i = 0; i < request->header_count; i++) {
		struct cl_json *value = cl_json_set(arena, headers, request->headers[i].name);
		value->kind = CL_JSON_STRING;
		value->text = request->headers[i].value;
	}
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, root);
	respond(channel, id, 200, "application/json", cl_buf_str(&text));
	cl_buf_free(&text);
}

static void open_stream(struct cl_channel *channel, uint64_t id, const struct cl_request *request)
{
	struct cl_response response = {.status = 200, .stream = true};
	cl_response_add_header(arena, &response, "content-type", CL_STR("text/event-stream"));
	cl_channel_send_response(channel, id, &response);
	char position[64];
	unsigned long long incarnation, sequence = 0;
	snprintf(position, sizeof position, "%.*s", CL_STR_ARGS(cl_request_header(request, "last-event-id")));
	if (position[0] && (sscanf(position, "%llu-%llu", &incarnation, &sequence) != 2 || incarnation != 7)) {
		struct cl_event event = {.sequence = 1, .incarnation = 7, .kind = CL_STR("resync")};
		cl_channel_send_event(channel, CL_FRAME_RESYNC, id, &event);
		sequence = 1;
	}
	struct later *later = add_later(channel, id, EVENT_EVERY_US, true);
	later->sequence = sequence + 1;
	later->burst = cl_str_starts(request->target, "/flood") ? 2000 : 1;
}

static void odd_headers(struct cl_channel *channel, uint64_t id)
{
	struct cl_response response = {.status = 200, .body = CL_STR("<script>alert(1)</script>")};
	cl_response_add_header(arena, &response, "content-type", CL_STR("text/html"));
	cl_response_add_header(arena, &response, "x-bad", CL_STR("a\r\nSet-Cookie: stolen=1"));
	cl_response_add_header(arena, &response, "Bad Name", CL_STR("a"));
	cl_response_add_header(arena, &response, "content-length", CL_STR("3"));
	cl_response_add_header(arena, &response, "transfer-encoding", CL_STR("chunked"));
	cl_response_add_header(arena, &response, "access-control-allow-origin", CL_STR("*"));
	cl_response_add_header(arena, &response, "set-cookie", CL_STR("__Host-careloop=x; Secure; Path=/"));
	cl_response_add_header(arena, &response, "etag", CL_STR("W/\"3\""));
	cl_channel_send_response(channel, id, &response);
}

/* GET /fixed: 1,676 bytes of JSON.  /slow?ms=N: after N ms.  /hang: never.  /big?n=N: N bytes.  /die: the process dies
 * unless the request was resent.  /die-always.  /goaway: answers, says GOAWAY, goes.  /goaway-lost: says GOAWAY for what was
 * before, goes.  /garbled.  /events, /flood: streams.  /odd: headers it may not set.  /status?n=N.  Else the request. */
static void serve(struct cl_channel *channel, uint64_t id, const struct cl_request *request)
{
	static char fixed[1676];
	struct cl_str target = request->target;
	if (!fixed[0]) {
		memset(fixed, 'x', sizeof fixed);
		memcpy(fixed, "{\"resourceType\":\"Patient\",\"text\":\"", 34);
		memcpy(fixed + sizeof fixed - 2, "\"}", 2);
	}
	if (cl_str_starts(target, "/fixed")) {
		struct cl_response response = {.status = 200, .body = {fixed, sizeof fixed}};
		struct cl_header headers[] = {{CL_STR("content-type"), CL_STR("application/fhir+json; charset=utf-8")},
		                              {CL_STR("etag"), CL_STR("W/\"1\"")},
		                              {CL_STR("last-modified"), CL_STR("Sun, 22 Nov 2026 05:16:07 GMT")}};
		response.headers = headers;
		response.header_count = 3;
		cl_channel_send_response(channel, id, &response);
	} else if (cl_str_starts(target, "/slow")) {
		add_later(channel, id, argument(target) * 1000, false);
	} else if (cl_str_starts(target, "/hang")) {
		return;
	} else if (cl_str_starts(target, "/big")) {
		size_t n = (size_t)argument(target);
		if (!big)
			big = memset(malloc(CL_BODY_MAX), 'b', CL_BODY_MAX);
		respond(channel, id, 200, "text/plain", (struct cl_str){big, n < CL_BODY_MAX ? n : CL_BODY_MAX});
	} else if (cl_str_starts(target, "/die-always") || (cl_str_starts(target, "/die") && !request->resent)) {
		_exit(3);
	} else if (cl_str_starts(target, "/goaway")) {
		bool lost = cl_str_starts(target, "/goaway-lost");
		if (lost && request->resent) {
			echo(channel, id, request);
			return;
		}
		if (!lost)
			echo(channel, id, request);
		cl_channel_send(channel, CL_FRAME_GOAWAY, lost ? id - 1 : id, CL_STR_NONE, -1);
		struct timeval soon = {0, 100000};
		event_base_loopexit(base, &soon);
	} else if (cl_str_starts(target, "/garbled")) {
		cl_channel_send(channel, CL_FRAME_RESPONSE, id, CL_STR("nonsense"), -1);
	} else if (cl_str_starts(target, "/events") || cl_str_starts(target, "/flood")) {
		open_stream(channel, id, request);
	} else if (cl_str_starts(target, "/odd")) {
		odd_headers(channel, id);
	} else if (cl_str_starts(target, "/status")) {
		respond(channel, id, (int)argument(target), NULL, CL_STR_NONE);
	} else {
		echo(channel, id, request);
	}
}

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_request request;
	struct cl_err e = {0};
	(void)context;
	cl_arena_reset(arena);
	if (type == CL_FRAME_REQUEST) {
		if (cl_request_decode(arena, payload, descriptor, &request, &e))
			fprintf(stderr, "fake_organization: %s\n", e.message);
		else
			serve(channel, id, &request);
	}
	if (type == CL_FRAME_CANCEL)
		for (struct later *later = all_later, *next; later; later = next) {
			next = later->next;
			if (later->channel == channel && later->id == id)
				forget(later);
		}
	if (descriptor >= 0)
		close(descriptor);
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	(void)reason;
	(void)context;
	for (struct later *later = all_later, *next; later; later = next) {
		next = later->next;
		if (later->channel == channel)
			forget(later);
	}
	cl_channel_free(channel);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t socket, struct sockaddr *address, int n,
                      void *context)
{
	static const struct cl_channel_callbacks callbacks = {on_frame, on_closed, NULL};
	(void)listener;
	(void)address;
	(void)n;
	(void)context;
	cl_channel_new(base, socket, CL_ROLE_ORGANIZATION, &callbacks, NULL);
}

static void serve_all(int socket)
{
	base = event_base_new();
	arena = cl_arena_new(0);
	evutil_make_socket_nonblocking(socket);
	evconnlistener_new(base, on_accept, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, socket);
	event_base_dispatch(base);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (argc < 2 || strlen(argv[1]) >= sizeof address.sun_path)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	strcpy(address.sun_path, argv[1]);
	unlink(argv[1]);
	int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listening, (struct sockaddr *)&address, sizeof address) < 0 || listen(listening, 128) < 0) {
		perror(argv[1]);
		return 1;
	}
	if (argc > 2 && strcmp(argv[2], "--once") == 0) {
		serve_all(listening);
		return 0;
	}
	pid_t parent = getpid();
	for (;;) {
		pid_t child = fork();
		if (child == 0) {
			/* Not outliving the test. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				return 1;
			serve_all(listening);
			return 0;
		}
		waitpid(child, NULL, 0);
	}
}
