/* answer.c: answers kept, so that a request sent again is answered again and not done again (pitfalls 4). */
#include "org/store/internal.h"

#define PURGE_MOST 1000

int cl_store_answer_put(struct cl_store *store, const struct cl_stored_answer *answer, struct cl_err *e)
{
	bool keyed = answer->principal.n > 0;
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        keyed ? cl_statement(
	                        store,
	                        "INSERT INTO idempotency(key, body_hash, at, status, headers, body, type, id, version,"
	                        " principal) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	                        e)
	              : cl_statement(store,
	                             "INSERT INTO request(key, body_hash, at, status, headers, body, type, id, version)"
	                             " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	                             e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_blob(statement, 1, answer->key);
	cl_bind_blob(statement, 2, (struct cl_str){(const char *)answer->body_hash, sizeof(answer->body_hash)});
	sqlite3_bind_int64(statement, 3, answer->at);
	sqlite3_bind_int(statement, 4, answer->status);
	cl_bind_text(statement, 5, answer->headers);
	cl_bind_blob(statement, 6, answer->body);
	sqlite3_bind_int(statement, 7, answer->type);
	cl_bind_text(statement, 8, answer->id);
	sqlite3_bind_int64(statement, 9, answer->version);
	if (keyed)
		cl_bind_text(statement, 10, answer->principal);
	return cl_run(store, statement, e);
}

int cl_store_answer_get(struct cl_store *store, struct cl_arena *arena, struct cl_str principal, struct cl_str key,
                        struct cl_stored_answer *out, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        principal.n ? cl_statement(store,
	                                   "SELECT key, body_hash, at, status, headers, body, type, id, version"
	                                   " FROM idempotency WHERE principal = ?2 AND key = ?1",
	                                   e)
	                    : cl_statement(store,
	                                   "SELECT key, body_hash, at, status, headers, body, type, id, version"
	                                   " FROM request WHERE key = ?1",
	                                   e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_blob(statement, 1, key);
	if (principal.n)
		cl_bind_text(statement, 2, principal);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_NOT_FOUND, "no answer is kept for this request");
	*out = (struct cl_stored_answer){
	        .principal = principal.n ? cl_arena_copy(arena, principal) : CL_STR_NONE,
	        .key = cl_column(arena, statement, 0),
	        .at = sqlite3_column_int64(statement, 2),
	        .status = sqlite3_column_int(statement, 3),
	        .headers = cl_column(arena, statement, 4),
	        .body = cl_column(arena, statement, 5),
	        .type = (uint16_t)sqlite3_column_int(statement, 6),
	        .id = cl_column(arena, statement, 7),
	        .version = sqlite3_column_int64(statement, 8),
	};
	struct cl_str hash = cl_column_borrow(statement, 1);
	if (hash.n == sizeof(out->body_hash))
		memcpy(out->body_hash, hash.p, hash.n);
	sqlite3_reset(statement);
	return 0;
}

/* The oldest have the lowest numbers, so no index by time is needed. */
static int purge(struct cl_store *store, const char *text, cl_instant before, int most, int *purged, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, text, e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, before);
		sqlite3_bind_int(statement, 2, most);
	}
	int code = cl_run(store, statement, e);
	*purged = code ? 0 : sqlite3_changes(store->db);
	return code;
}

int cl_store_answers_purge(struct cl_store *store, cl_instant requests, cl_instant keys, struct cl_err *e)
{
	int purged, ignored;
	int code = cl_need_transaction(store, e);
	if (!code)
		code = purge(
		        store,
		        "DELETE FROM request WHERE at < ?1 AND number IN (SELECT number FROM request ORDER BY number"
		        " LIMIT ?2)",
		        requests, PURGE_MOST, &purged, e);
	if (!code && purged < PURGE_MOST)
		code = purge(store,
		             "DELETE FROM idempotency WHERE at < ?1 AND number IN (SELECT number FROM idempotency"
		             " ORDER BY number LIMIT ?2)",
		             keys, PURGE_MOST - purged, &ignored, e);
	return code;
}
