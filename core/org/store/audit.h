/* audit.h: the tamper-evident log of who did what: an RFC 6962 Merkle tree of leaves in the organization's file, with
 * read leaves appended to a tail file first (pitfalls 2). */
#pragma once
#include "org/store/store.h"

struct cl_audit_record {
	uint64_t sequence; /* out: 0-based leaf number */
	cl_instant at;
	struct cl_str principal;
	struct cl_str action; /* "read" "search" "create" ... "console" "denied" */
	struct cl_str target; /* "Patient/x" or "Task?owner=..." with values removed; ids, never content */
	struct cl_str rule; /* name of the access rule that decided */
	struct cl_str outcome; /* "ok" or an error code's name */
	struct cl_str request; /* hex request id */
};

struct cl_audit_head {
	uint64_t size;
	uint8_t root[32];
};

/* Appends inside the writer's transaction. */
int cl_audit_append(struct cl_store *store, struct cl_audit_record *record, struct cl_err *e);
int cl_audit_head(struct cl_store *store, struct cl_audit_head *out, struct cl_err *e);
/* Recomputes every leaf hash and the root; with `known` (may be NULL) also checks that the tree is an extension of that
 * older head. CL_E_CORRUPT names the first bad leaf. */
int cl_audit_verify(struct cl_store *store, const struct cl_audit_head *known, struct cl_audit_head *out,
                    struct cl_err *e);
/* Newest first, for the console. Empty principal/target = any. */
typedef int (*cl_audit_visitor)(const struct cl_audit_record *record, void *context);
int cl_audit_list(struct cl_store *store, struct cl_str principal, struct cl_str target, uint32_t limit,
                  cl_audit_visitor visit, void *context, struct cl_err *e);

/* The tail file of read leaves: <folder>/<name>.reads. The loop thread appends with write() before it replies (survives
 * SIGKILL); the writer folds it into the log with its next commit. */
struct cl_audit_tail;
int cl_audit_tail_open(const char *folder, const char *name, struct cl_audit_tail **out, struct cl_err *e);
void cl_audit_tail_close(struct cl_audit_tail *tail);
/* Thread-safe; one write() call. CL_E_IO / CL_E_FULL: the read must be refused. */
int cl_audit_tail_append(struct cl_audit_tail *tail, const struct cl_audit_record *record, struct cl_err *e);
/* Bytes appended and not yet folded. */
int64_t cl_audit_tail_pending(const struct cl_audit_tail *tail);
/* Folds what is there inside the writer's transaction, exactly once whatever crashed before; the place is kept in meta. After
 * the commit call cl_audit_tail_folded, which starts a new file when the old one is large and wholly folded. */
int cl_audit_tail_fold(struct cl_audit_tail *tail, struct cl_store *store, uint32_t limit, struct cl_err *e);
int cl_audit_tail_folded(struct cl_audit_tail *tail, struct cl_store *store, struct cl_err *e);
