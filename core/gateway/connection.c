/* connection.c: bufferevent_openssl with two short cuts that save system calls: records that OpenSSL has read ahead are
 * taken from it directly, and answers are written directly while the client reads as fast as we write. */
#include "gateway/connection.h"
#include "base/log.h"
#include "gateway/exchange.h"
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <stdlib.h>

#define PIPELINE_MAX 16
#define OUTPUT_PAUSE ((size_t)256 * 1024) /* unsent bytes from which on no request is read */
#define OUTPUT_MAX ((size_t)32 * 1024 * 1024) /* unsent bytes at which a slow reader is cut off */
#define DIRECT_MAX ((size_t)64 * 1024) /* what is written without going through the evbuffer */
#define READ_SIZE 16384 /* one record */
#define READS_PER_TURN 16 /* of them, before other connections have their turn */
#define LINGER_TIME (3 * CL_SECOND)
#define WINDOW (20 * CL_SECOND) /* over which the minimum rate is measured */
#define WINDOW_BYTES ((uint64_t)20 * 1024) /* and how much must pass in it */
#define POOLED_PARSERS 256

static void process_input(struct cl_connection *connection);

/* Parsers */

static struct cl_http_parser *parser_of(struct cl_connection *connection)
{
	struct cl_server *server = connection->server;
	if (connection->parser)
		return &connection->parser->parser;
	struct cl_parser_slot *slot = SLIST_FIRST(&server->parsers);
	if (slot) {
		SLIST_REMOVE_HEAD(&server->parsers, entry);
		server->pooled_parsers--;
	} else {
		slot = malloc(sizeof *slot);
		if (!slot)
			cl_die("out of memory (parser)");
		cl_http_parser_init(&slot->parser, server->settings.body_limit);
	}
	connection->parser = slot;
	return &slot->parser;
}

static void give_parser_back(struct cl_connection *connection)
{
	struct cl_server *server = connection->server;
	struct cl_parser_slot *slot = connection->parser;
	if (!slot)
		return;
	connection->parser = NULL;
	if (server->pooled_parsers >= POOLED_PARSERS || slot->parser.body_limit != server->settings.body_limit) {
		cl_http_parser_free(&slot->parser);
		free(slot);
		return;
	}
	cl_http_parser_reset(&slot->parser);
	SLIST_INSERT_HEAD(&server->parsers, slot, entry);
	server->pooled_parsers++;
}

/* Ends */

static void release_held(struct cl_connection *connection)
{
	cl_limits_release(connection->server->limits, connection->held);
	connection->held = 0;
}

void cl_connection_close(struct cl_connection *connection)
{
	struct cl_server *server = connection->server;
	if (connection->dead)
		return;
	connection->dead = true;
	bufferevent_disable(connection->bev, EV_READ | EV_WRITE);
	struct cl_exchange *exchange;
	while ((exchange = TAILQ_FIRST(&connection->pipeline)))
		cl_exchange_drop(exchange);
	if (connection->phase == CL_CONNECTION_STREAM)
		server->streams--;
	give_parser_back(connection);
	release_held(connection);
	cl_limits_disconnect(server->limits, (struct sockaddr *)&connection->address);
	TAILQ_REMOVE(&server->connections, connection, entry);
	TAILQ_INSERT_TAIL(&server->dead, connection, entry);
	event_active(server->reaper, EV_TIMEOUT, 1);
}

void cl_connection_cut(struct cl_connection *connection, const char *why)
{
	static const struct linger at_once = {1, 0};
	cl_log(CL_LOG_INFO, why, "address=%s", connection->address_text);
	setsockopt(bufferevent_getfd(connection->bev), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	cl_connection_close(connection);
}

static void say_goodbye(struct cl_connection *connection)
{
	if (connection->phase == CL_CONNECTION_HANDSHAKE)
		return;
	ERR_clear_error();
	SSL_shutdown(connection->ssl);
	ERR_clear_error();
}

static void close_politely(struct cl_connection *connection)
{
	say_goodbye(connection);
	cl_connection_close(connection);
}

/* All answers are out: what the client still sends is read and dropped for a while, so that a reset does not take the
 * answer away from it. */
static void finish_when_flushed(struct cl_connection *connection)
{
	if (!connection->closing || connection->phase == CL_CONNECTION_LINGER || connection->dead ||
	    !TAILQ_EMPTY(&connection->pipeline) || evbuffer_get_length(cl_connection_output(connection)) > 0)
		return;
	if (connection->phase == CL_CONNECTION_STREAM)
		connection->server->streams--;
	connection->phase = CL_CONNECTION_LINGER;
	connection->idle_since = connection->server->now;
	say_goodbye(connection);
	shutdown(bufferevent_getfd(connection->bev), SHUT_WR);
	give_parser_back(connection);
	connection->paused = false;
	bufferevent_enable(connection->bev, EV_READ);
}

/* Writing */

struct evbuffer *cl_connection_output(struct cl_connection *connection)
{
	return bufferevent_get_output(connection->bev);
}

static void free_rest(const void *bytes, size_t n, void *rest)
{
	(void)bytes;
	(void)n;
	free(rest);
}

void cl_connection_write(struct cl_connection *connection, struct cl_str bytes)
{
	if (connection->dead || bytes.n == 0)
		return;
	struct evbuffer *output = cl_connection_output(connection);
	if (evbuffer_get_length(output) == 0 && bytes.n <= DIRECT_MAX) {
		ERR_clear_error();
		while (bytes.n) {
			int n = SSL_write(connection->ssl, bytes.p, (int)bytes.n);
			if (n <= 0)
				break;
			bytes.p += n;
			bytes.n -= (size_t)n;
		}
		if (bytes.n == 0)
			return;
	}
	/* In one piece: a record that OpenSSL has begun must be offered again at its full length. Errors come back there. */
	void *rest = malloc(bytes.n);
	if (!rest)
		cl_die("out of memory (output)");
	memcpy(rest, bytes.p, bytes.n);
	evbuffer_add_reference(output, rest, bytes.n, free_rest, rest);
}

static bool must_pause(struct cl_connection *connection)
{
	return connection->pipeline_count >= PIPELINE_MAX ||
	       evbuffer_get_length(cl_connection_output(connection)) > OUTPUT_PAUSE;
}

static void resume(struct cl_connection *connection)
{
	if (!connection->paused || connection->closing || connection->dead || must_pause(connection))
		return;
	connection->paused = false;
	bufferevent_enable(connection->bev, EV_READ);
	process_input(connection);
}

static void pay_continue(struct cl_connection *connection)
{
	if (!connection->continue_owed || !TAILQ_EMPTY(&connection->pipeline))
		return;
	connection->continue_owed = false;
	cl_connection_write(connection, CL_STR("HTTP/1.1 100 Continue\r\n\r\n"));
}

void cl_connection_advance(struct cl_connection *connection)
{
	struct cl_exchange *exchange;
	if (connection->dead)
		return;
	while ((exchange = TAILQ_FIRST(&connection->pipeline))) {
		if (exchange->answer) {
			evbuffer_add_buffer(cl_connection_output(connection), exchange->answer);
			evbuffer_free(exchange->answer);
			exchange->answer = NULL;
		}
		if (!exchange->ready && exchange->file >= 0) {
			cl_exchange_send_file(exchange);
			if (connection->dead)
				return;
		}
		if (!exchange->ready)
			break;
		bool close = exchange->close;
		cl_exchange_drop(exchange);
		if (!close)
			continue;
		connection->closing = true;
		while ((exchange = TAILQ_FIRST(&connection->pipeline)))
			cl_exchange_drop(exchange);
	}
	if (evbuffer_get_length(cl_connection_output(connection)) > OUTPUT_MAX) {
		cl_connection_cut(connection, "slow-reader");
		return;
	}
	if (TAILQ_EMPTY(&connection->pipeline)) {
		connection->idle_since = connection->server->now;
		pay_continue(connection);
		finish_when_flushed(connection);
	}
	resume(connection);
}

/* Reading */

static void refuse(struct cl_connection *connection, int status, const char *reason, unsigned retry_after)
{
	connection->continue_owed = false;
	connection->closing = true;
	connection->request_since = 0;
	cl_exchange_refuse(connection, status, reason, retry_after);
}

static void on_head(struct cl_connection *connection, const struct cl_http_request *request)
{
	const char *reason;
	bool body = request->chunked || request->content_length > 0;
	connection->head_done = true;
	connection->request_since = connection->server->now;
	connection->window_start = 0;
	int status = body ? cl_exchange_admit(connection, request, &reason) : 0;
	if (status) {
		refuse(connection, status, reason, status == 503 ? 1 : 0);
		return;
	}
	connection->continue_owed = request->expects_continue;
	pay_continue(connection);
}

static void on_request(struct cl_connection *connection, struct cl_http_parser *parser)
{
	connection->head_done = false;
	connection->continue_owed = false;
	connection->request_since = 0;
	if (!parser->request.keep_alive || connection->server->stopping)
		connection->closing = true;
	cl_exchange_run(connection, &parser->request);
	if (connection->parser)
		cl_http_parser_reset(&connection->parser->parser);
	if (!connection->dead && must_pause(connection)) {
		connection->paused = true;
		bufferevent_disable(connection->bev, EV_READ);
	}
}

/* One step of the parser with what there is. False when it needs more. */
static bool feed(struct cl_connection *connection, struct evbuffer *input)
{
	struct evbuffer_iovec piece = {NULL, 0};
	evbuffer_peek(input, -1, NULL, &piece, 1);
	if (piece.iov_len == 0 && !connection->head_done)
		return false;
	struct cl_http_parser *parser = parser_of(connection);
	if (connection->request_since == 0)
		connection->request_since = connection->server->now;
	size_t consumed, before = (size_t)parser->received;
	enum cl_http_step step = cl_http_parser_feed(parser, piece.iov_base, piece.iov_len, &consumed);
	size_t body = (size_t)parser->received - before;
	evbuffer_drain(input, consumed);
	if (body && !cl_limits_hold(connection->server->limits, body)) {
		refuse(connection, 503, "the server holds too many large requests; try again soon", 2);
		return true;
	}
	connection->held += body;
	switch (step) {
	case CL_HTTP_HEADERS:
		on_head(connection, &parser->request);
		return true;
	case CL_HTTP_DONE:
		on_request(connection, parser);
		return true;
	case CL_HTTP_REFUSED:
		refuse(connection, parser->status, parser->reason, 0);
		return true;
	default:
		return consumed > 0;
	}
}

/* What OpenSSL has read from the socket and libevent has not asked for. False when there is nothing, or the end came. */
static bool read_ahead(struct cl_connection *connection, struct evbuffer *input)
{
	if (!SSL_has_pending(connection->ssl))
		return false;
	struct evbuffer_iovec space;
	if (evbuffer_reserve_space(input, READ_SIZE, &space, 1) != 1)
		return false;
	ERR_clear_error();
	int n = SSL_read(connection->ssl, space.iov_base, READ_SIZE);
	if (n > 0) {
		space.iov_len = (size_t)n;
		evbuffer_commit_space(input, &space, 1);
		return true;
	}
	int problem = SSL_get_error(connection->ssl, n);
	if (problem != SSL_ERROR_WANT_READ && problem != SSL_ERROR_WANT_WRITE)
		cl_connection_close(connection);
	return false;
}

static void process_input(struct cl_connection *connection)
{
	if (connection->processing)
		return;
	connection->processing = true;
	struct evbuffer *input = bufferevent_get_input(connection->bev);
	int turns = 0;
	do {
		while (!connection->dead && !connection->closing && !connection->paused && feed(connection, input))
			;
		/* Neither a stream nor an end wants input; while paused it stays where it is. */
		if (!connection->dead && connection->closing)
			evbuffer_drain(input, evbuffer_get_length(input));
	} while (!connection->dead && !connection->paused && turns++ < READS_PER_TURN && read_ahead(connection, input));
	/* The socket will not say that there is more in OpenSSL's buffer. */
	if (!connection->dead && turns > READS_PER_TURN)
		bufferevent_trigger(connection->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	connection->processing = false;
	if (!connection->dead && connection->parser && cl_http_parser_idle(&connection->parser->parser))
		give_parser_back(connection);
}

static void on_read(struct bufferevent *bev, void *context)
{
	struct cl_connection *connection = context;
	(void)bev;
	if (!connection->dead)
		process_input(connection);
}

/* The output is empty. */
static void on_written(struct bufferevent *bev, void *context)
{
	struct cl_connection *connection = context;
	(void)bev;
	if (connection->dead || connection->phase == CL_CONNECTION_HANDSHAKE)
		return;
	struct cl_exchange *first = TAILQ_FIRST(&connection->pipeline);
	if (first && first->file >= 0) {
		cl_connection_advance(connection);
		return;
	}
	finish_when_flushed(connection);
	resume(connection);
}

static void on_open(struct cl_connection *connection)
{
	char name[256];
	struct cl_tls_peer peer;
	connection->phase = CL_CONNECTION_OPEN;
	connection->idle_since = connection->server->now;
	cl_tls_server_name(connection->ssl, name);
	if (name[0])
		connection->server_name = strdup(name);
	if (cl_tls_peer_of(connection->ssl, &peer)) {
		connection->peer = malloc(sizeof peer);
		if (connection->peer)
			*connection->peer = peer;
	}
	process_input(connection);
}

static void on_event(struct bufferevent *bev, short what, void *context)
{
	struct cl_connection *connection = context;
	if (connection->dead)
		return;
	if (what & BEV_EVENT_CONNECTED) {
		on_open(connection);
		return;
	}
	unsigned long problem = bufferevent_get_openssl_error(bev);
	if (connection->phase == CL_CONNECTION_HANDSHAKE && problem)
		cl_log(CL_LOG_DEBUG, "handshake-failed", "address=%s why=\"%s\"", connection->address_text,
		       ERR_reason_error_string(problem) ? ERR_reason_error_string(problem) : "unknown");
	cl_connection_close(connection);
}

/* Beginning */

static void write_address(struct cl_connection *connection)
{
	const struct sockaddr_in6 *six = &connection->address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)six;
	if (six->sin6_family == AF_INET) {
		inet_ntop(AF_INET, &four->sin_addr, connection->address_text, sizeof connection->address_text);
		connection->loopback = ntohl(four->sin_addr.s_addr) >> 24 == 127;
	} else if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], connection->address_text,
		          sizeof connection->address_text);
		connection->loopback = six->sin6_addr.s6_addr[12] == 127;
	} else {
		inet_ntop(AF_INET6, &six->sin6_addr, connection->address_text, sizeof connection->address_text);
		connection->loopback = IN6_IS_ADDR_LOOPBACK(&six->sin6_addr);
	}
}

void cl_connection_accept(struct cl_server *server, evutil_socket_t socket, const struct sockaddr *address,
                          bool ask_certificate)
{
	if (server->stopping || !cl_limits_connect(server->limits, address)) {
		evutil_closesocket(socket);
		return;
	}
	struct cl_connection *connection = calloc(1, sizeof *connection);
	SSL *ssl = connection ? cl_tls_session(server->tls, ask_certificate) : NULL;
	if (!ssl)
		cl_die("out of memory (connection)");
	connection->server = server;
	connection->tls = cl_tls_hold(server->tls);
	connection->ssl = ssl;
	connection->idle_since = server->now;
	TAILQ_INIT(&connection->pipeline);
	memcpy(&connection->address, address,
	       address->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
	write_address(connection);
	connection->bev = bufferevent_openssl_socket_new(server->base, socket, ssl, BUFFEREVENT_SSL_ACCEPTING,
	                                                 BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (!connection->bev)
		cl_die("out of memory (connection)");
	TAILQ_INSERT_TAIL(&server->connections, connection, entry);
	bufferevent_setcb(connection->bev, on_read, on_written, on_event, connection);
	bufferevent_enable(connection->bev, EV_READ | EV_WRITE);
}

/* Patience */

/* Whether less than the minimum rate went either way since the window began, while there was something to move. */
static bool too_slow(struct cl_connection *connection)
{
	int64_t now = connection->server->now;
	size_t output = evbuffer_get_length(cl_connection_output(connection));
	bool sending = connection->head_done && !connection->paused && !connection->continue_owed;
	uint64_t read = BIO_number_read(SSL_get_rbio(connection->ssl));
	uint64_t written = BIO_number_written(SSL_get_wbio(connection->ssl));
	if ((!sending && output == 0) || connection->window_start == 0) {
		connection->window_start = now;
	} else if (now - connection->window_start < WINDOW) {
		return false;
	} else if (sending && read - connection->window_read < WINDOW_BYTES) {
		return true;
	} else if (output && written - connection->window_written < WINDOW_BYTES &&
	           written - connection->window_written < connection->window_output) {
		return true;
	}
	connection->window_start = now;
	connection->window_read = read;
	connection->window_written = written;
	connection->window_output = output;
	return false;
}

/* Whether the request that is coming in took too long. */
static bool overdue(const struct cl_connection *connection)
{
	const struct cl_timeouts *timeouts = &connection->server->settings.timeouts;
	if (connection->request_since == 0 || connection->paused || connection->continue_owed)
		return false;
	return connection->server->now - connection->request_since >
	       (connection->head_done ? timeouts->body : timeouts->head);
}

/* The stream is the last of the pipeline: earlier answers may still be owed. It may also be over, and not yet sent. */
static void beat(struct cl_connection *connection)
{
	struct cl_exchange *stream = TAILQ_LAST(&connection->pipeline, cl_exchange_list);
	if (stream)
		cl_exchange_heartbeat(stream);
}

static void sweep(struct cl_connection *connection)
{
	struct cl_server *server = connection->server;
	int64_t idle = server->now - connection->idle_since;
	switch (connection->phase) {
	case CL_CONNECTION_HANDSHAKE:
		if (idle > server->settings.timeouts.handshake)
			cl_connection_close(connection);
		return;
	case CL_CONNECTION_LINGER:
		if (idle > LINGER_TIME)
			cl_connection_close(connection);
		return;
	case CL_CONNECTION_STREAM:
		if (too_slow(connection))
			cl_connection_cut(connection, "too-slow");
		else if (server->now >= connection->heartbeat)
			beat(connection);
		return;
	default:
		if (too_slow(connection))
			cl_connection_cut(connection, "too-slow");
		else if (overdue(connection))
			refuse(connection, 408, "the request did not arrive in time", 0);
		else if (idle > server->settings.timeouts.idle && connection->request_since == 0 &&
		         TAILQ_EMPTY(&connection->pipeline))
			close_politely(connection);
	}
}

void cl_connections_sweep(struct cl_server *server)
{
	struct cl_connection *connection, *next;
	for (connection = TAILQ_FIRST(&server->connections); connection; connection = next) {
		next = TAILQ_NEXT(connection, entry);
		sweep(connection);
	}
}

void cl_connections_stop(struct cl_server *server)
{
	struct cl_connection *connection, *next;
	for (connection = TAILQ_FIRST(&server->connections); connection; connection = next) {
		next = TAILQ_NEXT(connection, entry);
		bool busy = connection->phase == CL_CONNECTION_OPEN &&
		            (connection->request_since || !TAILQ_EMPTY(&connection->pipeline) ||
		             evbuffer_get_length(cl_connection_output(connection)) > 0);
		if (!busy && connection->phase != CL_CONNECTION_LINGER)
			close_politely(connection);
	}
}

void cl_connections_reap(struct cl_server *server)
{
	struct cl_connection *connection;
	while ((connection = TAILQ_FIRST(&server->dead))) {
		TAILQ_REMOVE(&server->dead, connection, entry);
		bufferevent_free(connection->bev); /* the session and the socket too */
		cl_tls_release(connection->tls);
		free(connection->peer);
		free(connection->server_name);
		free(connection);
	}
}

void cl_connections_end(struct cl_server *server)
{
	struct cl_connection *connection;
	while ((connection = TAILQ_FIRST(&server->connections)))
		close_politely(connection);
}
