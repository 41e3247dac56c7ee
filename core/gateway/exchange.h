/* exchange.h: one request and its answer: where it goes, what becomes of it. */
#pragma once
#include "gateway/connection.h"

struct cl_exchange {
	struct cl_call call; /* first: the organization's callbacks get this */
	struct cl_connection *connection;
	uint8_t id[16];
	char id_text[33]; /* hex */
	bool head_only; /* HEAD: the body stays here */
	bool close; /* the connection ends after the answer */
	bool alias; /* the path named the organization */
	bool ready; /* the answer is complete */
	bool streaming;
	size_t held; /* bytes of the request's body, counted by limits */
	bool page; /* /reply/: the answer is a page of the server's own */
	int file; /* the body, when it is a file that is read as the client takes it; else -1 */
	uint64_t file_at, file_size;
	struct evbuffer *answer; /* what cannot be sent yet because earlier answers are not out */
	TAILQ_ENTRY(cl_exchange) entry;
	SLIST_ENTRY(cl_exchange) free_entry;
};

/* Judges a request by its head, before its body is read. 0, or the status to refuse it with. */
int cl_exchange_admit(struct cl_connection *connection, const struct cl_http_request *request, const char **reason);
/* Takes a whole request on: it joins the pipeline and is answered at once or later. */
void cl_exchange_run(struct cl_connection *connection, const struct cl_http_request *request);
/* Answers with a refusal, after which the connection ends. `retry_after` in seconds or 0. */
void cl_exchange_refuse(struct cl_connection *connection, int status, const char *reason, unsigned retry_after);
void cl_exchange_heartbeat(struct cl_exchange *exchange);
/* Takes it out of the pipeline; cancels its call. */
void cl_exchange_drop(struct cl_exchange *exchange);
/* Reads the next piece of the file into the connection's output; `ready` once it was the last. Its turn must have come. The
 * connection is dead afterwards when the file was shorter than promised. */
void cl_exchange_send_file(struct cl_exchange *exchange);
void cl_exchange_pool_free(struct cl_server *server);
