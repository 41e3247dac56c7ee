/* admin.h: the socket of administrators. Accepts root and the server's own user, reads commands, gives them to the
 * supervisor, sends its answers. */
#pragma once
#include "base/json.h"
#include "supervisor/journal.h"
#include "wire/channel.h"

struct cl_admin;
struct cl_relay;

/* One command under way. Belongs to the admin socket until it is answered; its answer may come later, after the
 * administrator went away too. */
struct cl_admin_call {
	struct cl_arena *arena; /* lives as long as the call */
	char user[64]; /* unix user name */
	pid_t pid;
	struct cl_str organization; /* empty: a command of the supervisor */
	struct cl_str command;
	struct cl_json *arguments; /* object, or NULL */
	struct cl_str body; /* the whole request, as it came */

	struct cl_admin *admin; /* private from here on */
	struct cl_admin_client *client; /* NULL when gone */
	uint64_t request;
	struct cl_relay *relay;
	uint64_t relay_number;
	struct cl_admin_call *next;
};

/* Listens on `path` (0600). `command` must answer each call exactly once, now or later. */
int cl_admin_open(struct event_base *base, const char *path, struct cl_journal *journal,
                  void (*command)(struct cl_admin_call *call, void *context), void *context, struct cl_admin **out,
                  struct cl_err *e);
/* Ends every connection; calls that are not answered yet are dropped. Removes the socket. */
void cl_admin_close(struct cl_admin *admin);

/* Answers with {"ok":true} and what is in `answer` (an object, or NULL), writes the journal, frees the call. "failed":
 * true in it says that what it shows was not all good. */
void cl_admin_answer(struct cl_admin_call *call, const struct cl_json *answer);
/* Answers {"ok":false,"error":...}. `status` as in HTTP: 400 usage, 403 refused, 404, 409, 500, 503. */
void cl_admin_fail(struct cl_admin_call *call, int status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* The answer is whatever the organization answers over its relay. */
void cl_admin_forward(struct cl_admin_call *call, struct cl_relay *relay);

/* Helpers for tables: an answer object with "columns" and empty "rows", and one more row (an array to append to). */
struct cl_json *cl_admin_table(struct cl_admin_call *call, const char *const *columns);
struct cl_json *cl_admin_row(struct cl_admin_call *call, struct cl_json *answer);
void cl_admin_cell_text(struct cl_admin_call *call, struct cl_json *row, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
void cl_admin_cell_number(struct cl_admin_call *call, struct cl_json *row, int64_t number);
