/* token.c: bearer tokens by their SHA-256; the token itself is never stored. Table `bearer`. */
#include "org/store/internal.h"

static struct cl_str hash_bytes(const uint8_t hash[32])
{
	return (struct cl_str){(const char *)hash, 32};
}

int cl_store_token_put(struct cl_store *store, const uint8_t hash[32], struct cl_str principal, cl_instant expires,
                       struct cl_str scope, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store, "INSERT INTO bearer(hash, principal, expires, scope) VALUES(?1, ?2, ?3, ?4)", e);
	if (statement) {
		cl_bind_blob(statement, 1, hash_bytes(hash));
		cl_bind_text(statement, 2, principal);
		sqlite3_bind_int64(statement, 3, expires);
		cl_bind_text(statement, 4, scope);
	}
	return cl_run(store, statement, e);
}

int cl_store_token_get(struct cl_store *store, struct cl_arena *arena, const uint8_t hash[32], struct cl_str *principal,
                       cl_instant *expires, struct cl_str *scope, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT principal, expires, scope FROM bearer WHERE hash = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_blob(statement, 1, hash_bytes(hash));
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_NOT_FOUND, "no such token");
	*principal = cl_column(arena, statement, 0);
	*expires = sqlite3_column_int64(statement, 1);
	*scope = cl_column(arena, statement, 2);
	sqlite3_reset(statement);
	return 0;
}

int cl_store_token_delete(struct cl_store *store, const uint8_t hash[32], struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM bearer WHERE hash = ?1", e);
	if (statement)
		cl_bind_blob(statement, 1, hash_bytes(hash));
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_NOT_FOUND, "no such token");
	return code;
}

int cl_store_tokens_delete_of(struct cl_store *store, struct cl_str principal, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM bearer WHERE principal = ?1", e);
	if (statement)
		cl_bind_text(statement, 1, principal);
	return cl_run(store, statement, e);
}
