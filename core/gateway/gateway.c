/* gateway.c: begins, listens, obeys the supervisor, ends. */
#include "gateway/gateway.h"
#include "base/json.h"
#include "base/log.h"
#include "gateway/answer.h"
#include "gateway/exchange.h"
#include <arpa/inet.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SWEEP_US 250000
#define STOP_TIME (5 * CL_SECOND)
#define BACKLOG 1024
#define PAUSE_AFTER_SHORTAGE_US 100000

struct listener {
	struct gateway *gateway;
	struct evconnlistener *listener;
	bool ask_certificate;
	char name[64]; /* "127.0.0.1:8443" */
};

struct gateway {
	struct cl_server server; /* first */
	const char *config;
	struct listener *listeners;
	size_t listener_count;
	struct event *sweep, *listen_again, *signals[3];
	struct cl_channel *control;
	int64_t stop_at; /* monotonic; 0 while serving */
};

/* Settings */

/* Everything that the settings say and that can change. On failure nothing has changed. */
static int configure(struct cl_server *server, const char *file, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_settings settings;
	struct cl_tls *tls = NULL;
	struct cl_board *board = NULL;
	int code = cl_settings_load(arena, file, &settings, e);
	if (!code)
		code = cl_tls_new(&settings, &tls, e);
	if (!code)
		code = cl_board_load(settings.board.p, &board, e);
	if (code) {
		cl_tls_release(tls);
		cl_arena_free(arena);
		return code;
	}
	if (!server->limits)
		server->limits = cl_limits_new(&settings.limits);
	cl_limits_set(server->limits, &settings.limits);
	cl_log_set_level(settings.log);

	struct cl_settings old = server->settings;
	struct cl_organization **old_organizations = server->organizations;
	struct cl_organization **organizations =
	        CL_NEW_ARRAY(arena, struct cl_organization *, settings.organization_count);
	const struct cl_organization_options options = {server->base, server->limits, server->frame_arena,
	                                                settings.in_flight_per_organization, settings.timeouts.request};
	for (size_t i = 0; i < settings.organization_count; i++) {
		const struct cl_organization_settings *one = &settings.organizations[i];
		for (size_t j = 0; j < old.organization_count; j++)
			if (old_organizations[j] && cl_str_equal(old.organizations[j].id, one->id) &&
			    cl_str_equal(old.organizations[j].socket, one->socket)) {
				organizations[i] = old_organizations[j];
				old_organizations[j] = NULL;
				cl_organization_set(organizations[i], options.in_flight, options.request_time);
			}
		if (!organizations[i])
			organizations[i] = cl_organization_new(&options, one->id, one->socket);
	}
	struct cl_arena *old_arena = server->settings_arena;
	cl_router_free(server->router);
	cl_tls_release(server->tls);
	cl_board_release(server->board);
	server->router = cl_router_new(&settings, organizations);
	server->tls = tls;
	server->board = board;
	server->settings = settings;
	server->settings_arena = arena;
	server->organizations = organizations;
	for (size_t j = 0; j < old.organization_count; j++)
		cl_organization_free(old_organizations[j]); /* no longer served: its calls fail */
	cl_arena_free(old_arena);
	return 0;
}

static int reload(struct gateway *gateway, struct cl_err *e)
{
	int code = configure(&gateway->server, gateway->config, e);
	if (code)
		cl_log(CL_LOG_ERROR, "reload-refused", "where=\"%s\" why=\"%s\"", e->where, e->message);
	else
		cl_log(CL_LOG_INFO, "reloaded", "organizations=%zu", gateway->server.settings.organization_count);
	return code;
}

/* Listening */

static void pause_listening(struct gateway *gateway, int64_t microseconds)
{
	struct timeval time = {microseconds / CL_SECOND, microseconds % CL_SECOND};
	for (size_t i = 0; i < gateway->listener_count; i++)
		evconnlistener_disable(gateway->listeners[i].listener);
	event_add(gateway->listen_again, &time);
}

static void on_listen_again(evutil_socket_t none, short what, void *context)
{
	struct gateway *gateway = context;
	(void)none;
	(void)what;
	for (size_t i = 0; i < gateway->listener_count && !gateway->stop_at; i++)
		evconnlistener_enable(gateway->listeners[i].listener);
}

static void on_accept(struct evconnlistener *none, evutil_socket_t socket, struct sockaddr *address, int n,
                      void *context)
{
	struct listener *listener = context;
	struct gateway *gateway = listener->gateway;
	(void)none;
	(void)n;
	cl_connection_accept(&gateway->server, socket, address, listener->ask_certificate);
	/* A flood of handshakes waits in the kernel's queue; open connections do not notice. */
	int64_t wait = cl_limits_handshake(gateway->server.limits, cl_monotonic());
	if (wait)
		pause_listening(gateway, wait);
}

static void on_accept_error(struct evconnlistener *none, void *context)
{
	struct listener *listener = context;
	(void)none;
	cl_log(CL_LOG_WARNING, "accept-failed", "listener=%s why=\"%s\"", listener->name,
	       evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
	pause_listening(listener->gateway, PAUSE_AFTER_SHORTAGE_US);
}

static void name_listener(struct listener *listener, struct cl_str address)
{
	struct sockaddr_in6 bound = {0};
	socklen_t n = sizeof bound;
	getsockname(evconnlistener_get_fd(listener->listener), (struct sockaddr *)&bound, &n);
	bool six = bound.sin6_family == AF_INET6; /* the port is at the same place in both */
	snprintf(listener->name, sizeof listener->name, six ? "[%.*s]:%u" : "%.*s:%u", CL_STR_ARGS(address),
	         ntohs(bound.sin6_port));
}

static int listen_on(struct gateway *gateway, const struct cl_listen_settings *settings, struct listener *out)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(settings->port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(settings->port)};
	bool is_four = inet_pton(AF_INET, settings->address.p, &four.sin_addr) == 1;
	if (!is_four)
		inet_pton(AF_INET6, settings->address.p, &six.sin6_addr);
	out->gateway = gateway;
	out->ask_certificate = settings->ask_certificate;
	out->listener = evconnlistener_new_bind(gateway->server.base, on_accept, out,
	                                        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE |
	                                                LEV_OPT_REUSEABLE_PORT,
	                                        BACKLOG, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six,
	                                        is_four ? (int)sizeof four : (int)sizeof six);
	if (!out->listener) {
		cl_log(CL_LOG_ERROR, "cannot-listen", "address=%.*s port=%u why=\"%s\"", CL_STR_ARGS(settings->address),
		       settings->port, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
		return CL_E_IO;
	}
	/* Accepted sockets inherit it. Without it answers wait for delayed acknowledgements. */
	int yes = 1;
	setsockopt(evconnlistener_get_fd(out->listener), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	evconnlistener_set_error_cb(out->listener, on_accept_error);
	name_listener(out, settings->address);
	cl_log(CL_LOG_INFO, "listening", "address=%s client_certificates=%s", out->name,
	       out->ask_certificate ? "optional" : "none");
	return 0;
}

static int listen_all(struct gateway *gateway)
{
	const struct cl_settings *settings = &gateway->server.settings;
	gateway->listeners = calloc(settings->listen_count, sizeof *gateway->listeners);
	if (!gateway->listeners)
		cl_die("out of memory (gateway)");
	for (size_t i = 0; i < settings->listen_count; i++) {
		if (listen_on(gateway, &settings->listen[i], &gateway->listeners[i]))
			return CL_E_IO;
		gateway->listener_count++;
	}
	return 0;
}

/* Ending */

static void stop(struct gateway *gateway, const char *why)
{
	if (gateway->stop_at)
		return;
	cl_log(CL_LOG_INFO, "stopping", "why=\"%s\" in_flight=%u", why, cl_limits_in_flight(gateway->server.limits));
	gateway->stop_at = cl_monotonic() + STOP_TIME;
	gateway->server.stopping = true;
	for (size_t i = 0; i < gateway->listener_count; i++)
		evconnlistener_free(gateway->listeners[i].listener);
	gateway->listener_count = 0;
	cl_connections_stop(&gateway->server);
}

static void on_sweep(evutil_socket_t none, short what, void *context)
{
	struct gateway *gateway = context;
	struct cl_server *server = &gateway->server;
	static const struct cl_clock clock;
	(void)none;
	(void)what;
	server->now = cl_monotonic();
	cl_answer_date(cl_clock_now(&clock), server->date);
	cl_connections_sweep(server);
	for (size_t i = 0; i < server->settings.organization_count; i++)
		cl_organization_sweep(server->organizations[i], server->now);
	if (gateway->stop_at && (server->now >= gateway->stop_at || TAILQ_EMPTY(&server->connections)))
		event_base_loopbreak(server->base);
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
	struct gateway *gateway = context;
	struct cl_err e = {0};
	(void)what;
	if (number == SIGHUP)
		reload(gateway, &e);
	else
		stop(gateway, "signal");
}

/* The supervisor */

static void say(struct gateway *gateway, uint64_t id, const struct cl_json *message)
{
	struct cl_buf text;
	if (!gateway->control)
		return;
	cl_buf_init(&text, CL_FRAME_PAYLOAD_MAX);
	cl_json_write(&text, message);
	if (!text.overflow)
		cl_channel_send(gateway->control, CL_FRAME_CONTROL, id, cl_buf_str(&text), -1);
	cl_buf_free(&text);
}

static void add_status(struct cl_server *server, struct cl_arena *arena, struct cl_json *out)
{
	static const char *const names[] = {"idle", "connected", "unreachable"};
	cl_json_set_integer(arena, out, "connections", cl_limits_connections(server->limits));
	cl_json_set_integer(arena, out, "in_flight", cl_limits_in_flight(server->limits));
	cl_json_set_integer(arena, out, "streams", (int64_t)server->streams);
	cl_json_set_integer(arena, out, "held", (int64_t)cl_limits_held(server->limits));
	cl_json_set_integer(arena, out, "requests", (int64_t)server->requests);
	cl_json_set_integer(arena, out, "refused", (int64_t)cl_limits_refused(server->limits));
	struct cl_json *list = cl_json_set_object(arena, out, "organizations");
	for (size_t i = 0; i < server->settings.organization_count; i++) {
		struct cl_json *value = cl_json_set(arena, list, server->settings.organizations[i].id);
		value->kind = CL_JSON_STRING;
		value->text = cl_str_of(names[cl_organization_state(server->organizations[i])]);
	}
}

/* Every order is answered with {"do":..,"id":..(as asked),"ok":true|false}. */
static void on_control(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                       int descriptor, void *context)
{
	struct gateway *gateway = context;
	struct cl_json *order = NULL;
	enum cl_log_level level;
	struct cl_err e = {0};
	(void)channel;
	if (descriptor >= 0)
		close(descriptor);
	if (type != CL_FRAME_CONTROL)
		return;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *reply = cl_json_new(arena, CL_JSON_OBJECT);
	int code = cl_json_parse(arena, payload, NULL, &order, &e);
	struct cl_str what = cl_json_get_text(order, "do");
	const struct cl_json *name = cl_json_get(order, "id");
	cl_json_set_text(arena, reply, "do", what);
	if (name)
		*cl_json_set(arena, reply, CL_STR("id")) = *name;
	if (code)
		;
	else if (cl_str_is(what, "reload"))
		code = reload(gateway, &e);
	else if (cl_str_is(what, "stop"))
		stop(gateway, "the supervisor says so");
	else if (cl_str_is(what, "status"))
		add_status(&gateway->server, arena, reply);
	else if (cl_str_is(what, "log") && cl_log_level_of(cl_json_get_text(order, "level"), &level))
		cl_log_set_level(level);
	else
		code = cl_fail(&e, CL_E_UNSUPPORTED, "the gateway knows reload, stop, status, and log with a level");
	cl_json_set_boolean(arena, reply, "ok", !code);
	if (code) {
		cl_json_set_text(arena, reply, "error", cl_str_of(e.message));
		cl_json_set_text(arena, reply, "where", cl_str_of(e.where));
	}
	say(gateway, id, reply);
	cl_arena_free(arena);
}

static void on_control_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct gateway *gateway = context;
	(void)reason;
	gateway->control = NULL;
	cl_channel_free(channel);
	stop(gateway, "the supervisor is gone");
}

static void say_ready(struct gateway *gateway)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *message = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, message, "do", CL_STR("ready"));
	struct cl_json *list = cl_json_set_array(arena, message, "listen");
	for (size_t i = 0; i < gateway->listener_count; i++)
		cl_json_append_text(arena, list, cl_str_of(gateway->listeners[i].name));
	say(gateway, 0, message);
	cl_arena_free(arena);
}

/* The process */

static void on_reap(evutil_socket_t none, short what, void *context)
{
	(void)none;
	(void)what;
	cl_connections_reap(context);
}

static void on_event_log(int severity, const char *message)
{
	cl_log(severity >= EVENT_LOG_WARN ? CL_LOG_WARNING : CL_LOG_DEBUG, "libevent", "%s", message);
}

static void protect_process(void)
{
	struct rlimit files;
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0); /* the TLS key stays out of core files and debuggers */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static struct event_base *make_base(void)
{
	struct event_config *config = event_config_new();
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	if (!base)
		cl_die("no event loop");
	return base;
}

static int begin(struct gateway *gateway, int control)
{
	struct cl_server *server = &gateway->server;
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	static const struct cl_clock clock;
	static const struct timeval often = {0, SWEEP_US};
	static const struct cl_channel_callbacks control_callbacks = {on_control, on_control_closed, NULL};
	struct cl_err e = {0};

	server->base = make_base();
	server->frame_arena = cl_arena_new(0);
	server->arena = cl_arena_new(0);
	server->now = cl_monotonic();
	/* Request ids: sortable, and never the same from two gateways or two lives of one. */
	server->id_prefix = (uint64_t)cl_clock_now(&clock) << 8 | (uint64_t)(server->index & 0xff);
	cl_answer_date(cl_clock_now(&clock), server->date);
	TAILQ_INIT(&server->connections);
	TAILQ_INIT(&server->dead);
	server->reaper = event_new(server->base, -1, 0, on_reap, server);
	gateway->sweep = event_new(server->base, -1, EV_PERSIST, on_sweep, gateway);
	gateway->listen_again = event_new(server->base, -1, 0, on_listen_again, gateway);
	event_add(gateway->sweep, &often);
	for (size_t i = 0; i < 3; i++) {
		gateway->signals[i] = evsignal_new(server->base, numbers[i], on_signal, gateway);
		event_add(gateway->signals[i], NULL);
	}
	if (configure(server, gateway->config, &e)) {
		cl_log(CL_LOG_ERROR, "cannot-begin", "where=\"%s\" why=\"%s\"", e.where, e.message);
		if (control >= 0)
			close(control);
		return 1;
	}
	if (control >= 0)
		gateway->control = cl_channel_new(server->base, control, CL_ROLE_GATEWAY, &control_callbacks, gateway);
	if (listen_all(gateway))
		return 1;
	say_ready(gateway);
	return 0;
}

static void end(struct gateway *gateway)
{
	struct cl_server *server = &gateway->server;
	for (size_t i = 0; i < gateway->listener_count; i++)
		evconnlistener_free(gateway->listeners[i].listener);
	free(gateway->listeners);
	cl_connections_end(server);
	cl_connections_reap(server);
	for (size_t i = 0; i < server->settings.organization_count; i++)
		cl_organization_free(server->organizations[i]);
	cl_channel_free(gateway->control);
	cl_exchange_pool_free(server);
	struct cl_parser_slot *slot;
	while ((slot = SLIST_FIRST(&server->parsers))) {
		SLIST_REMOVE_HEAD(&server->parsers, entry);
		cl_http_parser_free(&slot->parser);
		free(slot);
	}
	cl_router_free(server->router);
	cl_tls_release(server->tls);
	cl_board_release(server->board);
	cl_limits_free(server->limits);
	cl_buf_free(&server->output);
	cl_arena_free(server->frame_arena);
	cl_arena_free(server->arena);
	cl_arena_free(server->settings_arena);
	for (size_t i = 0; i < 3; i++)
		event_free(gateway->signals[i]);
	event_free(server->reaper);
	event_free(gateway->sweep);
	event_free(gateway->listen_again);
	event_base_free(server->base);
}

/* A number that fits an argument; -1 when it is none. */
static int small_number(const char *text)
{
	char *rest;
	long number = strtol(text, &rest, 10);
	return *text && !*rest && number >= 0 && number <= 65535 ? (int)number : -1;
}

int cl_gateway_main(int argc, char **argv)
{
	struct gateway gateway = {0};
	int control = -1;
	bool good = true;
	for (int i = 1; i < argc && good; i += 2) {
		good = i + 1 < argc;
		if (good && strcmp(argv[i], "--config") == 0)
			gateway.config = argv[i + 1];
		else if (good && strcmp(argv[i], "--index") == 0)
			good = (gateway.server.index = small_number(argv[i + 1])) >= 0;
		else if (good && strcmp(argv[i], "--control-fd") == 0)
			good = (control = small_number(argv[i + 1])) >= 0;
		else
			good = false;
	}
	if (!good || !gateway.config) {
		fprintf(stderr, "careloop gateway --config FILE [--index N] [--control-fd N]\n");
		return 2;
	}
	char name[32];
	snprintf(name, sizeof name, "gateway/%d", gateway.server.index);
	cl_log_start(name, CL_LOG_INFO);
	event_set_log_callback(on_event_log);
	protect_process();
	int status = begin(&gateway, control);
	if (status == 0)
		event_base_dispatch(gateway.server.base);
	end(&gateway);
	return status;
}
