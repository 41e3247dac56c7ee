/* exchange.c: requests to organizations and to the gateway's own few answers; answers back in order. */
#include "gateway/exchange.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "gateway/answer.h"
#include "gateway/credential.h"
#include "gateway/stream.h"
#include <event2/buffer.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define REFERENCE_MIN ((size_t)16 * 1024) /* bodies from this size on are sent without a copy */
#define POOLED_EXCHANGES 1024
#define FILE_PIECE ((size_t)128 * 1024) /* of a file's bytes, read at once */
#define FILE_AHEAD ((size_t)256 * 1024) /* of them, in memory for one client */

/* The pipeline */

/* The server's life and a count: what is asked later sorts later, and no two are the same. */
#define CL_REPLY_POLICY "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

static void give_id(struct cl_server *server, struct cl_exchange *exchange)
{
	uint64_t counter = ++server->id_counter;
	for (int i = 0; i < 8; i++) {
		exchange->id[i] = (uint8_t)(server->id_prefix >> (56 - 8 * i));
		exchange->id[8 + i] = (uint8_t)(counter >> (56 - 8 * i));
	}
	cl_hex(exchange->id, sizeof exchange->id, exchange->id_text);
}

static struct cl_exchange *begin(struct cl_connection *connection)
{
	struct cl_server *server = connection->server;
	struct cl_exchange *exchange = SLIST_FIRST(&server->exchanges);
	if (exchange) {
		SLIST_REMOVE_HEAD(&server->exchanges, free_entry);
		server->pooled_exchanges--;
	} else if (!(exchange = calloc(1, sizeof *exchange))) {
		cl_die("out of memory (exchange)");
	}
	exchange->connection = connection;
	exchange->file = -1;
	exchange->head_only = exchange->close = exchange->alias = exchange->ready = exchange->streaming = false;
	give_id(server, exchange);
	exchange->held = connection->held;
	connection->held = 0;
	TAILQ_INSERT_TAIL(&connection->pipeline, exchange, entry);
	connection->pipeline_count++;
	return exchange;
}

void cl_exchange_drop(struct cl_exchange *exchange)
{
	struct cl_connection *connection = exchange->connection;
	struct cl_server *server = connection->server;
	cl_call_cancel(&exchange->call);
	TAILQ_REMOVE(&connection->pipeline, exchange, entry);
	connection->pipeline_count--;
	cl_limits_release(server->limits, exchange->held);
	exchange->held = 0;
	if (exchange->answer)
		evbuffer_free(exchange->answer);
	exchange->answer = NULL;
	if (exchange->file >= 0)
		close(exchange->file);
	exchange->file = -1;
	cl_call_release(&exchange->call);
	if (server->pooled_exchanges < POOLED_EXCHANGES) {
		SLIST_INSERT_HEAD(&server->exchanges, exchange, free_entry);
		server->pooled_exchanges++;
		return;
	}
	cl_buf_free(&exchange->call.payload);
	free(exchange);
}

void cl_exchange_pool_free(struct cl_server *server)
{
	struct cl_exchange *exchange;
	while ((exchange = SLIST_FIRST(&server->exchanges))) {
		SLIST_REMOVE_HEAD(&server->exchanges, free_entry);
		cl_buf_free(&exchange->call.payload);
		free(exchange);
	}
	server->pooled_exchanges = 0;
}

/* Answers */

static bool in_turn(const struct cl_exchange *exchange)
{
	return TAILQ_FIRST(&exchange->connection->pipeline) == exchange && !exchange->answer;
}

/* Where bytes go that are not written at once. */
static struct evbuffer *queue_of(struct cl_exchange *exchange)
{
	if (in_turn(exchange))
		return cl_connection_output(exchange->connection);
	if (!exchange->answer && !(exchange->answer = evbuffer_new()))
		cl_die("out of memory (answer)");
	return exchange->answer;
}

static void put(struct cl_exchange *exchange, struct cl_str bytes)
{
	if (in_turn(exchange))
		cl_connection_write(exchange->connection, bytes);
	else
		evbuffer_add(queue_of(exchange), bytes.p, bytes.n);
}

/* Keeps what a body points into until the client has it. */
struct owner {
	struct cl_limits *limits;
	struct cl_arena *arena; /* or */
	struct cl_board *board;
	size_t n;
};

static void release_owner(const void *bytes, size_t n, void *context)
{
	struct owner *owner = context;
	(void)bytes;
	(void)n;
	cl_limits_release(owner->limits, owner->n);
	cl_arena_free(owner->arena);
	cl_board_release(owner->board);
	free(owner);
}

static struct cl_answer_style style_of(struct cl_exchange *exchange)
{
	struct cl_server *server = exchange->connection->server;
	exchange->close |= server->stopping;
	return (struct cl_answer_style){.request_id = exchange->id_text,
	                                .date = server->date,
	                                .close = exchange->close,
	                                .no_cookies = exchange->alias};
}

/* Sends head (already in server->output) and body. `arena` (or NULL) is what the body lives in; it is taken over. */
static void send_answer(struct cl_exchange *exchange, const struct cl_response *response, struct cl_arena *arena,
                        struct cl_board *board)
{
	struct cl_connection *connection = exchange->connection;
	struct cl_server *server = connection->server;
	struct cl_str body =
	        exchange->head_only || !cl_answer_has_body(response->status) ? CL_STR_NONE : response->body;
	bool reference = (arena || board) && body.n >= REFERENCE_MIN;
	if (!reference)
		cl_buf_add_str(&server->output, body);
	put(exchange, cl_buf_str(&server->output));
	if (reference) {
		struct owner *owner = malloc(sizeof *owner);
		if (!owner)
			cl_die("out of memory (answer)");
		*owner = (struct owner){server->limits, arena, board ? cl_board_hold(board) : NULL, arena ? body.n : 0};
		cl_limits_force(server->limits, owner->n);
		arena = NULL;
		evbuffer_add_reference(queue_of(exchange), body.p, body.n, release_owner, owner);
	}
	cl_arena_free(arena);
	exchange->ready = true;
	cl_connection_advance(connection);
}

static void answer(struct cl_exchange *exchange, const struct cl_response *response, struct cl_arena *arena)
{
	struct cl_server *server = exchange->connection->server;
	struct cl_answer_style style = style_of(exchange);
	cl_buf_clear(&server->output);
	if (exchange->page)
		cl_answer_file_head(&server->output, response, CL_REPLY_POLICY, &style);
	else
		cl_answer_head(&server->output, response, &style);
	send_answer(exchange, response, arena, NULL);
}

static void refuse(struct cl_exchange *exchange, int status, const char *text, unsigned retry_after)
{
	struct cl_response response;
	struct cl_server *server = exchange->connection->server;
	cl_arena_reset(server->arena);
	cl_answer_refusal(server->arena, &response, status, text, retry_after);
	if (status == 405)
		cl_response_add_header(server->arena, &response, "allow",
		                       CL_STR("GET, HEAD, POST, PUT, PATCH, DELETE"));
	answer(exchange, &response, NULL);
}

void cl_exchange_refuse(struct cl_connection *connection, int status, const char *reason, unsigned retry_after)
{
	struct cl_exchange *exchange = begin(connection);
	exchange->close = true;
	refuse(exchange, status, reason, retry_after);
}

/* What the organization says */

static void open_stream(struct cl_exchange *exchange, const struct cl_response *response)
{
	struct cl_connection *connection = exchange->connection;
	struct cl_server *server = connection->server;
	exchange->close = true;
	struct cl_answer_style style = style_of(exchange);
	cl_buf_clear(&server->output);
	cl_answer_head(&server->output, response, &style);
	if (!exchange->head_only)
		cl_stream_opening(&server->output, cl_response_header(response, "last-event-id"));
	/* Nothing can follow a stream. */
	connection->closing = true;
	for (struct cl_exchange *later; (later = TAILQ_NEXT(exchange, entry));)
		cl_exchange_drop(later);
	exchange->streaming = true;
	if (exchange->head_only) {
		cl_call_cancel(&exchange->call);
		exchange->ready = true;
	} else {
		connection->phase = CL_CONNECTION_STREAM;
		connection->heartbeat = server->now + CL_STREAM_HEARTBEAT;
		server->streams++;
	}
	put(exchange, cl_buf_str(&server->output));
	cl_connection_advance(connection);
}

void cl_exchange_send_file(struct cl_exchange *exchange)
{
	struct cl_connection *connection = exchange->connection;
	struct evbuffer *output = cl_connection_output(connection);
	while (exchange->file_at < exchange->file_size && evbuffer_get_length(output) < FILE_AHEAD) {
		struct evbuffer_iovec space;
		uint64_t rest = exchange->file_size - exchange->file_at;
		size_t piece = rest < FILE_PIECE ? (size_t)rest : FILE_PIECE;
		if (evbuffer_reserve_space(output, (ev_ssize_t)piece, &space, 1) != 1)
			cl_die("out of memory (file)");
		ssize_t n = pread(exchange->file, space.iov_base, piece, (off_t)exchange->file_at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			/* The head promised more: an answer that just ends would look whole. */
			cl_connection_cut(connection, "file-cut-short");
			return;
		}
		space.iov_len = (size_t)n;
		evbuffer_commit_space(output, &space, 1);
		exchange->file_at += (uint64_t)n;
	}
	exchange->ready = exchange->file_at == exchange->file_size;
}

/* The descriptor in the response is lent for the time of the call. */
static void answer_file(struct cl_exchange *exchange, const struct cl_response *response)
{
	struct cl_connection *connection = exchange->connection;
	struct cl_server *server = connection->server;
	int file = exchange->head_only ? -1 : fcntl(response->file->descriptor, F_DUPFD_CLOEXEC, 0);
	if (file < 0 && !exchange->head_only) {
		refuse(exchange, 503, "too many files are open; try again soon", 2);
		return;
	}
	struct cl_answer_style style = style_of(exchange);
	cl_buf_clear(&server->output);
	cl_answer_head(&server->output, response, &style);
	put(exchange, cl_buf_str(&server->output));
	exchange->file = file;
	exchange->file_at = 0;
	exchange->file_size = response->file->size;
	exchange->ready = file < 0;
	cl_connection_advance(connection);
}

static void on_answered(struct cl_call *call, const struct cl_response *response, struct cl_arena *owned)
{
	struct cl_exchange *exchange = (struct cl_exchange *)call;
	if (response->file) {
		answer_file(exchange, response);
		cl_arena_free(owned);
		return;
	}
	if (!response->stream) {
		answer(exchange, response, owned);
		return;
	}
	open_stream(exchange, response);
	cl_arena_free(owned);
}

static void send_to_stream(struct cl_exchange *exchange)
{
	struct cl_connection *connection = exchange->connection;
	put(exchange, cl_buf_str(&connection->server->output));
	if (evbuffer_get_length(queue_of(exchange)) > CL_STREAM_OUTPUT_MAX)
		cl_connection_cut(connection, "slow-subscriber");
}

static void on_stream_event(struct cl_call *call, enum cl_frame_type type, const struct cl_event *event)
{
	struct cl_exchange *exchange = (struct cl_exchange *)call;
	struct cl_buf *out = &exchange->connection->server->output;
	cl_buf_clear(out);
	cl_stream_event(out, type, event);
	send_to_stream(exchange);
}

void cl_exchange_heartbeat(struct cl_exchange *exchange)
{
	struct cl_connection *connection = exchange->connection;
	struct cl_buf *out = &connection->server->output;
	connection->heartbeat = connection->server->now + CL_STREAM_HEARTBEAT;
	cl_buf_clear(out);
	cl_stream_heartbeat(out);
	send_to_stream(exchange);
}

static void on_failed(struct cl_call *call, enum cl_call_failure failure)
{
	struct cl_exchange *exchange = (struct cl_exchange *)call;
	if (exchange->streaming) {
		exchange->ready = exchange->close = true;
		cl_connection_advance(exchange->connection);
		return;
	}
	switch (failure) {
	case CL_CALL_NOT_RUN:
		refuse(exchange, 503, "the organization could not be reached in time; nothing was done; try again", 2);
		break;
	case CL_CALL_GARBLED:
		refuse(exchange, 500, "the organization's answer could not be read; this is a defect of the server", 0);
		break;
	default:
		if (call->write)
			refuse(exchange, 503,
			       "the organization did not answer in time; the outcome is unknown: read before you "
			       "repeat the request",
			       5);
		else
			refuse(exchange, 503, "the organization did not answer in time; try again", 2);
	}
}

static const struct cl_call_callbacks callbacks = {on_answered, on_stream_event, on_failed};

/* What the client asks */

/* The headers that an organization may see. What is a list may come in several lines and is joined. */
static size_t forward_headers(struct cl_arena *arena, const struct cl_http_request *request, struct cl_header *out)
{
	size_t count = 0;
	for (size_t i = 0; i < request->header_count; i++) {
		const struct cl_header *header = &request->headers[i];
		if (!cl_request_header_known(header->name))
			continue;
		size_t at = 0;
		while (at < count && !cl_str_equal(out[at].name, header->name))
			at++;
		if (at == count)
			out[count++] = *header;
		else
			out[at].value = cl_arena_printf(arena, "%.*s, %.*s", CL_STR_ARGS(out[at].value),
			                                CL_STR_ARGS(header->value));
	}
	return count;
}

static void ask_organization(struct cl_exchange *exchange, const struct cl_http_request *request,
                             const struct cl_route *route)
{
	struct cl_connection *connection = exchange->connection;
	struct cl_server *server = connection->server;
	struct cl_header headers[CL_HTTP_HEADERS_MAX];
	char base[400];
	struct cl_request out = {.headers = headers};
	static const struct cl_clock clock;

	cl_arena_reset(server->arena);
	memcpy(out.id, exchange->id, sizeof out.id);
	out.deadline = cl_clock_now(&clock) + server->settings.timeouts.request;
	cl_credential_of(request, connection->peer, connection->address_text, !exchange->alias, &out.credential);
	if (cl_str_starts(route->target, "/oauth2/"))
		cl_credential_basic(request, &out.credential);
	/* HEAD is a GET whose body stays here. */
	out.method = exchange->head_only ? CL_STR("GET") : request->method_name;
	out.target = route->target;
	/* A page for people without an account: no cookie goes in or out, and it may do nothing but send its form back. */
	exchange->page = cl_str_starts(route->target, "/reply/");
	if (exchange->page)
		out.credential = (struct cl_credential){.kind = CL_CREDENTIAL_NONE, .address = out.credential.address};
	size_t n = sizeof "https://" - 1;
	memcpy(base, "https://", n);
	memcpy(base + n, route->host.p, route->host.n); /* at most 261 bytes: see read_host */
	n += route->host.n;
	if (route->alias.n) {
		base[n++] = '/';
		memcpy(base + n, route->alias.p, route->alias.n); /* at most 63 bytes */
		n += route->alias.n;
	}
	out.base = (struct cl_str){base, n};
	out.header_count = forward_headers(server->arena, request, headers);
	out.body = request->body;
	exchange->call.callbacks = &callbacks;
	int code = cl_organization_call(route->organization, &exchange->call, &out);
	if (code == CL_E_TOO_LARGE)
		refuse(exchange, 431, "the request's headers are too large to be passed on", 0);
	else if (code)
		refuse(exchange, 503, "too many requests are under way; nothing was done; try again soon", 1);
}

static void answer_board(struct cl_exchange *exchange, const struct cl_http_request *request, struct cl_str path)
{
	struct cl_server *server = exchange->connection->server;
	struct cl_response response;
	cl_arena_reset(server->arena);
	cl_board_answer(server->board, server->arena, path, cl_http_header(request, "if-none-match"), &response);
	struct cl_answer_style style = style_of(exchange);
	cl_buf_clear(&server->output);
	cl_answer_file_head(&server->output, &response, CL_BOARD_POLICY, &style);
	send_answer(exchange, &response, NULL, server->board);
}

static void answer_text(struct cl_exchange *exchange, int status, struct cl_str text)
{
	struct cl_server *server = exchange->connection->server;
	struct cl_response response = {.status = status, .body = text};
	cl_response_add_header(server->arena, &response, "content-type", CL_STR("application/json"));
	answer(exchange, &response, NULL);
}

/* Who asks from elsewhere learns only whether all is well, not who is served here. */
static void answer_ready(struct cl_exchange *exchange)
{
	struct cl_connection *connection = exchange->connection;
	struct cl_server *server = connection->server;
	static const char *const names[] = {"idle", "connected", "unreachable"};
	cl_arena_reset(server->arena);
	struct cl_json *root = cl_json_new(server->arena, CL_JSON_OBJECT), *list = NULL;
	bool ready = !server->stopping;
	cl_json_set(server->arena, root, CL_STR("status")); /* first */
	if (connection->loopback)
		list = cl_json_set_object(server->arena, root, "organizations");
	for (size_t i = 0; i < server->settings.organization_count; i++) {
		enum cl_organization_state state = cl_organization_state(server->organizations[i]);
		ready &= state != CL_ORGANIZATION_UNREACHABLE;
		if (list) {
			struct cl_json *value = cl_json_set(server->arena, list, server->settings.organizations[i].id);
			value->kind = CL_JSON_STRING;
			value->text = cl_str_of(names[state]);
		}
	}
	cl_json_set_text(server->arena, root, "status", ready ? CL_STR("ready") : CL_STR("not ready"));
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, root);
	struct cl_str copy = cl_arena_copy(server->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	answer_text(exchange, ready ? 200 : 503, copy);
}

static void find_route(const struct cl_connection *connection, const struct cl_http_request *request,
                       struct cl_route *out)
{
	cl_route(connection->server->router, request, cl_str_of(connection->server_name), out);
}

int cl_exchange_admit(struct cl_connection *connection, const struct cl_http_request *request, const char **reason)
{
	struct cl_server *server = connection->server;
	struct cl_route route;
	find_route(connection, request, &route);
	*reason = route.reason;
	if (route.kind == CL_ROUTE_REFUSED)
		return route.status;
	if (route.kind != CL_ROUTE_ORGANIZATION || request->method == CL_HTTP_OPTIONS) {
		*reason = "this address does not take a body";
		return 405;
	}
	if (cl_organization_in_flight(route.organization) >= server->settings.in_flight_per_organization ||
	    cl_limits_in_flight(server->limits) >= server->settings.limits.in_flight) {
		*reason = "too many requests are under way; nothing was done; try again soon";
		return 503;
	}
	return 0;
}

void cl_exchange_run(struct cl_connection *connection, const struct cl_http_request *request)
{
	struct cl_server *server = connection->server;
	struct cl_exchange *exchange = begin(connection);
	struct cl_route route;
	server->requests++;
	exchange->head_only = request->method == CL_HTTP_HEAD;
	exchange->close = !request->keep_alive;
	find_route(connection, request, &route);
	exchange->alias = route.alias.n > 0;
	bool reading = request->method == CL_HTTP_GET || exchange->head_only;
	if (route.kind == CL_ROUTE_REFUSED)
		refuse(exchange, route.status, route.reason, 0);
	else if (request->method == CL_HTTP_OPTIONS || (route.kind != CL_ROUTE_ORGANIZATION && !reading))
		refuse(exchange, 405, "this method is not served here", 0);
	else if (route.kind == CL_ROUTE_ORGANIZATION)
		ask_organization(exchange, request, &route);
	else if (route.kind == CL_ROUTE_BOARD)
		answer_board(exchange, request, route.target);
	else if (route.kind == CL_ROUTE_READY)
		answer_ready(exchange);
	else
		answer_text(exchange, 200, CL_STR("{\"status\":\"ok\"}"));
}
