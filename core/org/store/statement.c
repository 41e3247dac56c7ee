/* statement.c: prepared statements, their results, and what SQLite's errors mean here. */
#include "org/store/internal.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>

#define WORK_BETWEEN_LOOKS 1000

void *cl_grow(void *array, size_t *capacity, size_t needed, size_t element)
{
	if (needed <= *capacity)
		return array;
	size_t wanted = *capacity ? *capacity : 16;
	while (wanted < needed)
		wanted *= 2;
	array = reallocarray(array, wanted, element);
	if (!array)
		cl_die("no memory for %zu elements of %zu bytes", wanted, element);
	*capacity = wanted;
	return array;
}

void *cl_arena_grow(struct cl_arena *arena, void *array, size_t *capacity, size_t count, size_t element)
{
	if (count < *capacity)
		return array;
	*capacity = *capacity ? *capacity * 2 : 8;
	void *larger = cl_arena_alloc(arena, *capacity * element);
	if (count)
		memcpy(larger, array, count * element);
	return larger;
}

/* SQLite rolls the whole transaction back by itself on FULL, NOMEM, IOERR (pitfalls 3): then every cache is stale. */
static void notice_rollback(struct cl_store *store)
{
	if (store->transaction && sqlite3_get_autocommit(store->db)) {
		store->transaction = false;
		store->savepoint = false;
		cl_store_forget(store, false);
	}
}

int cl_sqlite_fail(struct cl_store *store, int result, const char *doing, struct cl_err *e)
{
	const char *message = store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(result);
	char why[200];

	/* The message names tables, columns and files, never values. It is copied because the clean-up below replaces
	 * it. */
	snprintf(why, sizeof(why), "%s", message);
	notice_rollback(store);
	switch (result & 0xff) {
	case SQLITE_FULL:
		cl_ballast_release(store);
		return cl_fail(e, CL_E_FULL, "%s: the disk is full; free space and try again", doing);
	case SQLITE_IOERR:
		if (result == SQLITE_IOERR_NOMEM)
			return cl_fail(e, CL_E_MEMORY, "%s: out of memory", doing);
		return cl_fail(e, CL_E_IO, "%s: reading or writing failed (%d: %s)", doing, result, why);
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
	case SQLITE_READONLY:
		return cl_fail(e, CL_E_IO, "%s: %s (%d)", doing, why, result);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return cl_fail(e, CL_E_CORRUPT, "%s: the file is damaged (%d: %s); restore it from a backup", doing,
		               result, why);
	case SQLITE_NOMEM:
		return cl_fail(e, CL_E_MEMORY, "%s: out of memory", doing);
	case SQLITE_INTERRUPT:
		return cl_fail(e, CL_E_LIMIT, "%s: stopped because it took too long; ask for less", doing);
	case SQLITE_CONSTRAINT:
		return cl_fail(e, CL_E_CONFLICT, "%s: %s", doing, why);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return cl_fail(e, CL_E_BUSY, "%s: the file is in use (%s)", doing, why);
	case SQLITE_TOOBIG:
		return cl_fail(e, CL_E_TOO_LARGE, "%s: a value is too large", doing);
	default:
		return cl_fail(e, CL_E_INTERNAL, "%s: %s (%d)", doing, why, result);
	}
}

sqlite3_stmt *cl_statement(struct cl_store *store, const char *text, struct cl_err *e)
{
	size_t mask = CL_STATEMENT_SLOTS - 1, slot = ((((uintptr_t)text >> 3) * 0x9E3779B97F4A7C15u) >> 40) & mask;

	for (;; slot = (slot + 1) & mask) {
		if (store->statements[slot].text == text)
			return store->statements[slot].statement;
		if (!store->statements[slot].text)
			break;
	}
	if (store->statement_count + 1 >= CL_STATEMENT_SLOTS)
		cl_die("more statements than the cache was made for");
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v3(store->db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL);
	if (result != SQLITE_OK) {
		cl_sqlite_fail(store, result, "preparing a statement", e);
		return NULL;
	}
	store->statements[slot].text = text;
	store->statements[slot].statement = statement;
	store->statement_count++;
	return statement;
}

const char cl_text_begin[] = "BEGIN IMMEDIATE";
const char cl_text_begin_read[] = "BEGIN";
const char cl_text_commit[] = "COMMIT";
const char cl_text_rollback[] = "ROLLBACK";
const char cl_text_savepoint[] = "SAVEPOINT request";
const char cl_text_release[] = "RELEASE request";
const char cl_text_rollback_to[] = "ROLLBACK TO request";

int cl_statements_open(struct cl_store *store, struct cl_err *e)
{
	const char *const texts[] = {cl_text_begin,     cl_text_begin_read, cl_text_commit,     cl_text_rollback,
	                             cl_text_savepoint, cl_text_release,    cl_text_rollback_to};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (!cl_statement(store, texts[i], e))
			return cl_unprepared(e);
	return 0;
}

int cl_step(struct cl_store *store, sqlite3_stmt *statement, struct cl_err *e)
{
	store->selecting = sqlite3_stmt_readonly(statement);
	int result = sqlite3_step(statement);
	store->selecting = false;
	if (result == SQLITE_ROW)
		return 1;
	result = sqlite3_reset(statement);
	return result == SQLITE_OK ? 0 : cl_sqlite_fail(store, result, "using the store", e);
}

int cl_run(struct cl_store *store, sqlite3_stmt *statement, struct cl_err *e)
{
	if (!statement)
		return cl_unprepared(e);
	sqlite3_step(statement);
	int result = sqlite3_reset(statement);
	return result == SQLITE_OK ? 0 : cl_sqlite_fail(store, result, "writing", e);
}

int cl_execute(struct cl_store *store, const char *text, struct cl_err *e)
{
	int result = sqlite3_exec(store->db, text, NULL, NULL, NULL);
	return result == SQLITE_OK ? 0 : cl_sqlite_fail(store, result, "preparing the file", e);
}

void cl_bind_text(sqlite3_stmt *statement, int place, struct cl_str text)
{
	sqlite3_bind_text64(statement, place, text.p ? text.p : "", text.n, SQLITE_STATIC, SQLITE_UTF8);
}

void cl_bind_blob(sqlite3_stmt *statement, int place, struct cl_str bytes)
{
	sqlite3_bind_blob64(statement, place, bytes.p ? bytes.p : "", bytes.n, SQLITE_STATIC);
}

struct cl_str cl_column_borrow(sqlite3_stmt *statement, int place)
{
	/* Blob access works for texts too and never converts. */
	const char *p = sqlite3_column_blob(statement, place);
	return (struct cl_str){p, p ? (size_t)sqlite3_column_bytes(statement, place) : 0};
}

struct cl_str cl_column(struct cl_arena *arena, sqlite3_stmt *statement, int place)
{
	struct cl_str borrowed = cl_column_borrow(statement, place);
	return borrowed.n ? cl_arena_copy(arena, borrowed) : CL_STR_NONE;
}

int cl_work(struct cl_store *store, unsigned units, struct cl_err *e)
{
	store->work += units;
	if (store->work < WORK_BETWEEN_LOOKS)
		return 0;
	store->work = 0;
	if (atomic_load_explicit(&store->interrupted, memory_order_relaxed) ||
	    (store->progress && store->progress(store->progress_context)))
		return cl_fail(e, CL_E_LIMIT, "reading was stopped because it took too long; ask for less");
	return 0;
}

int cl_read_begin(struct cl_store *store, bool *opened, struct cl_err *e)
{
	*opened = false;
	atomic_store_explicit(&store->interrupted, false, memory_order_relaxed);
	if (!sqlite3_get_autocommit(store->db))
		return 0;
	sqlite3_stmt *statement = cl_statement(store, cl_text_begin_read, e);
	int code = cl_run(store, statement, e);
	*opened = code == 0;
	return code;
}

void cl_read_end(struct cl_store *store, bool opened)
{
	if (!opened || sqlite3_get_autocommit(store->db))
		return;
	struct cl_err why = {0};
	if (cl_run(store, cl_statement(store, cl_text_commit, &why), &why) == 0)
		return;
	cl_log(CL_LOG_ERROR, "store-read-end", "%s", why.message);
	if (!sqlite3_get_autocommit(store->db))
		cl_run(store, cl_statement(store, cl_text_rollback, NULL), NULL);
}

int cl_need_transaction(struct cl_store *store, struct cl_err *e)
{
	if (!store->writer)
		return cl_fail(e, CL_E_INTERNAL, "this connection only reads");
	if (!store->transaction || sqlite3_get_autocommit(store->db))
		return cl_fail(e, CL_E_INTERNAL, "a write outside a transaction");
	return 0;
}
