/* connection.h: one client's TLS connection: bytes to requests, answers in order, patience with an end. */
#pragma once
#include "gateway/http_parser.h"
#include "gateway/server.h"
#include <event2/bufferevent.h>
#include <netinet/in.h>

enum cl_connection_phase {
	CL_CONNECTION_HANDSHAKE,
	CL_CONNECTION_OPEN,
	CL_CONNECTION_STREAM, /* an event stream is open: nothing is read any more */
	CL_CONNECTION_LINGER, /* all was said; what the client still sends is thrown away until it closes */
};

TAILQ_HEAD(cl_exchange_list, cl_exchange);

/* Parsers are lent to connections while a request comes in: an idle connection costs little. */
struct cl_parser_slot {
	struct cl_http_parser parser;
	SLIST_ENTRY(cl_parser_slot) entry;
};

struct cl_connection {
	struct cl_server *server;
	struct bufferevent *bev;
	SSL *ssl; /* of bev */
	struct cl_tls *tls;
	enum cl_connection_phase phase;
	bool closing; /* no further request is read; the end comes when all answers are out */
	bool paused; /* reading waits for answers to leave */
	bool dead; /* closed; freed by the reaper */
	bool processing; /* process_input is on the stack */
	bool head_done; /* of the request that is coming in */
	bool continue_owed; /* "100 Continue", as soon as earlier answers are out */
	bool loopback;
	unsigned pipeline_count;
	struct cl_exchange_list pipeline; /* in the order of the requests */
	struct cl_parser_slot *parser; /* NULL between requests */
	size_t held; /* bytes of the incoming body, counted by limits */
	int64_t idle_since, request_since; /* monotonic; request_since 0 between requests */
	int64_t heartbeat; /* when the next is due */
	int64_t window_start; /* of the minimum rates */
	uint64_t window_read, window_written;
	size_t window_output;
	struct cl_tls_peer *peer; /* NULL without a client certificate */
	char *server_name; /* NULL without SNI */
	struct sockaddr_in6 address; /* or sockaddr_in */
	char address_text[INET6_ADDRSTRLEN];
	TAILQ_ENTRY(cl_connection) entry;
};

/* Takes over an accepted socket, whatever comes of it. */
void cl_connection_accept(struct cl_server *server, evutil_socket_t socket, const struct sockaddr *address,
                          bool ask_certificate);
/* Timeouts, minimum rates, heartbeats: a few times a second. */
void cl_connections_sweep(struct cl_server *server);
/* Ends what is idle at once; the rest ends with its next answer. */
void cl_connections_stop(struct cl_server *server);
/* Frees what was closed. To be called from the event loop itself, never from a connection's callback. */
void cl_connections_reap(struct cl_server *server);
/* Closes everything at once. */
void cl_connections_end(struct cl_server *server);

/* For exchange.c. None of these frees the connection before the loop turn ends. */

/* Sends now, or as soon as the client reads. */
void cl_connection_write(struct cl_connection *connection, struct cl_str bytes);
struct evbuffer *cl_connection_output(struct cl_connection *connection);
/* An exchange has become ready: sends what is now in order, reads on, ends what is to end. */
void cl_connection_advance(struct cl_connection *connection);
void cl_connection_close(struct cl_connection *connection);
/* As above for who does not read: the kernel drops what it still holds. `why` is the event that is logged. */
void cl_connection_cut(struct cl_connection *connection, const char *why);
