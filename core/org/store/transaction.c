/* transaction.c: begin, commit, savepoints, snapshots and checkpoints. */
#include "org/store/internal.h"
#include "base/log.h"
#include <stdlib.h>

void cl_store_forget(struct cl_store *store, bool to_savepoint)
{
	cl_symbols_drop(store, to_savepoint ? store->symbols_at_savepoint : store->symbols_at_begin);
	store->last_sequence_known = false;
	for (unsigned type = store->next_rows_low; store->next_rows && type <= store->next_rows_high; type++)
		store->next_rows[type] = 0;
	store->next_rows_low = UINT16_MAX;
	store->next_rows_high = 0;
	store->frontier = to_savepoint ? store->frontier_at_savepoint : store->frontier_at_begin;
	if (!to_savepoint)
		store->frontier_changed = false;
	store->subscription_generation += store->subscriptions_touched;
}

int cl_store_begin(struct cl_store *store, struct cl_err *e)
{
	if (!store->writer)
		return cl_fail(e, CL_E_INTERNAL, "this connection only reads");
	if (store->broken)
		return cl_fail(e, CL_E_IO, "%s: a commit ended in an unknown state; the process must start again",
		               store->path);
	if (store->transaction)
		return cl_fail(e, CL_E_INTERNAL, "transactions do not nest");
	int code = cl_run(store, cl_statement(store, cl_text_begin, e), e);
	if (code)
		return code;
	store->transaction = true;
	store->subscriptions_touched = false;
	store->savepoint = false;
	store->symbols_at_begin = store->symbols.next;
	store->frontier_at_begin = store->frontier;
	return 0;
}

int cl_store_commit(struct cl_store *store, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	if (store->savepoint)
		return cl_fail(e, CL_E_INTERNAL, "commit with an open savepoint");
	code = cl_audit_frontier_save(store, e);
	if (code) {
		cl_store_rollback(store);
		return code;
	}
	sqlite3_stmt *statement = cl_statement(store, cl_text_commit, e);
	if (!statement) {
		cl_store_rollback(store);
		return cl_unprepared(e);
	}
	sqlite3_step(statement);
	int result = sqlite3_reset(statement);
	if (result == SQLITE_OK) {
		store->transaction = false;
		return 0;
	}
	/* A full disk is certain: the commit record was not written whole. Anything else may have reached the disk
	 * after all (reliability.md decision 3), so this connection writes no more. */
	bool certain = (result & 0xff) == SQLITE_FULL;
	struct cl_err why = {0};
	cl_sqlite_fail(store, result, "commit", &why);
	cl_store_rollback(store);
	if (certain)
		return cl_fail(e, CL_E_FULL, "%s", why.message);
	store->broken = true;
	cl_log(CL_LOG_ERROR, "store-commit", "file=%s result=%d outcome=unknown", store->path, result);
	return cl_fail(e, why.code == CL_E_CORRUPT ? CL_E_CORRUPT : CL_E_IO, "%s; the outcome is unknown", why.message);
}

void cl_store_rollback(struct cl_store *store)
{
	struct cl_err why = {0};

	/* Even this may find no memory. A transaction that cannot be ended must not be taken for one that was. */
	for (unsigned tries = 0; tries < 3 && !sqlite3_get_autocommit(store->db); tries++)
		cl_run(store, cl_statement(store, cl_text_rollback, &why), &why);
	if (!sqlite3_get_autocommit(store->db)) {
		store->broken = true;
		cl_log(CL_LOG_ERROR, "store-rollback", "file=%s %s", store->path, why.message);
	}
	if (store->transaction) {
		store->transaction = false;
		store->savepoint = false;
		cl_store_forget(store, false);
	}
}

int cl_store_savepoint(struct cl_store *store, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	if (store->savepoint)
		return cl_fail(e, CL_E_INTERNAL, "savepoints do not nest");
	code = cl_run(store, cl_statement(store, cl_text_savepoint, e), e);
	if (code)
		return code;
	store->savepoint = true;
	store->symbols_at_savepoint = store->symbols.next;
	store->frontier_at_savepoint = store->frontier;
	return 0;
}

int cl_store_release(struct cl_store *store, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	if (!store->savepoint)
		return cl_fail(e, CL_E_INTERNAL, "no savepoint is open");
	code = cl_run(store, cl_statement(store, cl_text_release, e), e);
	if (!code)
		store->savepoint = false;
	return code;
}

int cl_store_rollback_to(struct cl_store *store, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	if (!store->savepoint)
		return cl_fail(e, CL_E_INTERNAL, "no savepoint is open");
	code = cl_run(store, cl_statement(store, cl_text_rollback_to, e), e);
	if (!code)
		cl_store_forget(store, true);
	return code;
}

bool cl_store_in_transaction(const struct cl_store *store)
{
	return store->transaction && !sqlite3_get_autocommit(store->db);
}

void cl_store_assert_idle(const struct cl_store *store)
{
	for (sqlite3_stmt *statement = sqlite3_next_stmt(store->db, NULL); statement;
	     statement = sqlite3_next_stmt(store->db, statement))
		if (sqlite3_stmt_busy(statement))
			cl_die("a statement was left busy: %s", sqlite3_sql(statement));
}

/* ---- the write-ahead log ---- */

int64_t cl_store_wal_size(const struct cl_store *store)
{
	return store->wal_frames * (store->page_size + 24);
}

int cl_store_checkpoint(struct cl_store *store, bool truncate, struct cl_err *e)
{
	int in_log = 0, copied = 0;

	if (!store->writer || store->transaction)
		return cl_fail(e, CL_E_INTERNAL, "only the writer checkpoints, between transactions");
	/* RESTART keeps the file, so that the next commits overwrite instead of growing it, which syncs faster;
	 * journal_size_limit cuts a log that has become far too large. */
	int mode = truncate ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE;
	int result = sqlite3_wal_checkpoint_v2(store->db, NULL, mode, &in_log, &copied);
	if (result != SQLITE_OK && result != SQLITE_BUSY) {
		/* The log still has everything; but after a failed sync nothing that is read back can be trusted to be
		 * on the disk, so the next process copies it again. */
		store->broken |= (result & 0xff) == SQLITE_IOERR;
		return cl_sqlite_fail(store, result, "checkpoint", e);
	}
	if (result == SQLITE_BUSY || in_log != copied)
		return cl_fail(e, CL_E_BUSY, "readers held the log: %d of %d frames copied", copied, in_log);
	store->wal_frames = 0;
	if (truncate)
		cl_ballast_fill(store);
	return 0;
}

/* ---- readers ---- */

int cl_store_snapshot_begin(struct cl_store *store, struct cl_err *e)
{
	if (store->writer || store->snapshot || !sqlite3_get_autocommit(store->db))
		return cl_fail(e, CL_E_INTERNAL, "snapshots are for readers and do not nest");
	bool opened;
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	/* BEGIN alone reads nothing: the first read fixes what is seen. */
	sqlite3_stmt *statement = cl_statement(store, "SELECT 1 FROM meta LIMIT 1", e);
	code = statement ? cl_step(store, statement, e) : cl_unprepared(e);
	if (code == 1) {
		sqlite3_reset(statement);
		code = 0;
	}
	if (code)
		cl_read_end(store, true);
	else
		store->snapshot = true;
	return code;
}

void cl_store_snapshot_end(struct cl_store *store)
{
	if (store->snapshot)
		cl_read_end(store, true);
	store->snapshot = false;
}

void cl_store_interrupt(struct cl_store *store)
{
	atomic_store_explicit(&store->interrupted, true, memory_order_relaxed);
	sqlite3_interrupt(store->db);
}

void cl_store_set_progress(struct cl_store *store, int (*progress)(void *context), void *context)
{
	store->progress = progress;
	store->progress_context = context;
}
