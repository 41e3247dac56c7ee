/* journal.h: <data>/admin.log: which administrator ran which of the supervisor's own commands, and how it ended.
 * Append-only, one JSON object a line. Commands for organizations are in their own audit logs, unless they could not
 * be passed on. */
#pragma once
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include <sys/types.h>

struct cl_journal;

struct cl_journal_entry {
	cl_instant at;
	const char *user; /* unix user name of the peer */
	pid_t pid; /* of the peer */
	struct cl_str organization; /* empty for the supervisor's own commands */
	struct cl_str command; /* "log level" */
	struct cl_str arguments; /* JSON object, or empty */
	const char *outcome; /* "ok", "failed", "refused" */
	const char *detail; /* the error; may be NULL */
};

int cl_journal_open(const char *path, struct cl_journal **out, struct cl_err *e);
void cl_journal_close(struct cl_journal *journal);
/* One write and one fdatasync: commands are few. */
int cl_journal_write(struct cl_journal *journal, const struct cl_journal_entry *entry, struct cl_err *e);
