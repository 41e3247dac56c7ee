/* reply_link.h: one-time links by which somebody without an account answers for one instance. The token is known to whoever got
 * the link; the file has its hash (table of tokens, principal "reply:<Task id>", which no principal can be called). */
#pragma once
#include "org/flow/unit.h"

#define CL_REPLY_PRINCIPAL "reply:"

struct cl_reply_link {
	struct cl_str task; /* id */
	struct cl_json *offer; /* { events, title, note, show = { { label, value } }, on_behalf_of } */
	cl_instant expires;
};

/* Makes one: `url` is "<the organization's url>/reply/<token>". */
int cl_reply_link_new(struct cl_unit *unit, const struct cl_reply_link *link, struct cl_str *url, struct cl_err *e);
/* CL_E_NOT_FOUND for a token that is unknown, used, revoked or expired. */
int cl_reply_link_find(struct cl_store *store, struct cl_arena *arena, struct cl_str token, cl_instant now,
                       struct cl_reply_link *out, struct cl_err *e);
/* It is worth nothing from now on. */
int cl_reply_link_use(struct cl_unit *unit, struct cl_str token, struct cl_err *e);
/* All links of the Task. */
int cl_reply_links_revoke(struct cl_unit *unit, struct cl_str task, struct cl_err *e);
