/* token.c: bearer tokens by the hash of their secret. */
#include "org/store/internal.h"

#define PURGE_MOST 1000

static struct cl_str hash_bytes(const uint8_t hash[32])
{
	return (struct cl_str){(const char *)hash, 32};
}

int cl_store_token_put(struct cl_store *store, const struct cl_stored_token *token, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT INTO bearer(hash, principal, expires, scope, client, bound)"
	                                       " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	                                       e);
	if (statement) {
		cl_bind_blob(statement, 1, hash_bytes(token->hash));
		cl_bind_text(statement, 2, token->principal);
		sqlite3_bind_int64(statement, 3, token->expires);
		cl_bind_text(statement, 4, token->scope);
		cl_bind_text(statement, 5, token->client);
		cl_bind_text(statement, 6, token->bound);
	}
	return cl_run(store, statement, e);
}

int cl_store_token_get(struct cl_store *store, struct cl_arena *arena, const uint8_t hash[32],
                       struct cl_stored_token *out, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT principal, expires, scope, client, bound FROM bearer WHERE hash = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_blob(statement, 1, hash_bytes(hash));
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_NOT_FOUND, "no such token");
	*out = (struct cl_stored_token){
	        .principal = cl_column(arena, statement, 0),
	        .expires = sqlite3_column_int64(statement, 1),
	        .scope = cl_column(arena, statement, 2),
	        .client = cl_column(arena, statement, 3),
	        .bound = cl_column(arena, statement, 4),
	};
	memcpy(out->hash, hash, sizeof out->hash);
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

int cl_store_tokens_delete(struct cl_store *store, struct cl_str client, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM bearer WHERE client = ?1", e);
	if (statement)
		cl_bind_text(statement, 1, client);
	return cl_run(store, statement, e);
}

static int purge(struct cl_store *store, const char *text, cl_instant now, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, text, e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, now);
		sqlite3_bind_int(statement, 2, PURGE_MOST);
	}
	return cl_run(store, statement, e);
}

int cl_store_tokens_purge(struct cl_store *store, cl_instant now, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (!code)
		code = purge(store,
		             "DELETE FROM bearer WHERE hash IN (SELECT hash FROM bearer WHERE expires < ?1 LIMIT ?2)",
		             now, e);
	if (!code)
		code = purge(store,
		             "DELETE FROM assertion WHERE (client, hash) IN (SELECT client, hash FROM assertion WHERE"
		             " expires < ?1 LIMIT ?2)",
		             now, e);
	return code;
}
