/* server.h: what all connections of one gateway process share. */
#pragma once
#include "gateway/limits.h"
#include "gateway/organization.h"
#include "gateway/route.h"
#include "gateway/settings.h"
#include "gateway/static.h"
#include "gateway/tls.h"
#include <sys/queue.h>

struct cl_connection;
struct cl_exchange;
struct cl_parser_slot;

TAILQ_HEAD(cl_connection_list, cl_connection);
SLIST_HEAD(cl_exchange_pool, cl_exchange);
SLIST_HEAD(cl_parser_pool, cl_parser_slot);

struct cl_server {
	struct event_base *base;
	int index;
	struct cl_arena *settings_arena;
	struct cl_settings settings;
	struct cl_limits *limits;
	struct cl_tls *tls;
	struct cl_router *router;
	struct cl_organization **organizations; /* as settings.organizations; in settings_arena */
	struct cl_board *board;

	struct cl_arena *frame_arena; /* an organization's frame while it is handled */
	struct cl_arena *arena; /* a client's request while it is handled */
	struct cl_buf output; /* an answer while it is put together */

	struct cl_connection_list connections, dead;
	struct event *reaper; /* frees the dead, once per loop turn */
	struct cl_exchange_pool exchanges;
	struct cl_parser_pool parsers;
	unsigned pooled_exchanges, pooled_parsers;

	uint64_t id_prefix, id_counter; /* of request ids */
	uint64_t requests, streams; /* so far; open now */
	int64_t now; /* monotonic, as of the last sweep: exact enough for timeouts of seconds */
	char date[32];
	bool stopping;
};
