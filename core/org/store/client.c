/* client.c: clients that administrators registered, and the assertions they have used. */
#include "org/store/internal.h"

int cl_store_client_put(struct cl_store *store, const struct cl_stored_client *client, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "INSERT INTO client(id, principal, keys, secret, scope, created) VALUES(?1, ?2, ?3, ?4,"
	                     " ?5, ?6) ON CONFLICT(id) DO UPDATE SET principal = excluded.principal, keys ="
	                     " excluded.keys, secret = excluded.secret, scope = excluded.scope",
	                     e);
	if (statement) {
		cl_bind_text(statement, 1, client->id);
		cl_bind_text(statement, 2, client->principal);
		cl_bind_text(statement, 3, client->keys);
		cl_bind_text(statement, 4, client->secret);
		cl_bind_text(statement, 5, client->scope);
		sqlite3_bind_int64(statement, 6, client->created);
	}
	return cl_run(store, statement, e);
}

static struct cl_stored_client read_row(struct cl_arena *arena, sqlite3_stmt *statement)
{
	return (struct cl_stored_client){
	        .id = cl_column(arena, statement, 0),
	        .principal = cl_column(arena, statement, 1),
	        .keys = cl_column(arena, statement, 2),
	        .secret = cl_column(arena, statement, 3),
	        .scope = cl_column(arena, statement, 4),
	        .created = sqlite3_column_int64(statement, 5),
	};
}

int cl_store_client_get(struct cl_store *store, struct cl_arena *arena, struct cl_str id, struct cl_stored_client *out,
                        struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT id, principal, keys, secret, scope, created FROM client WHERE id = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, id);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_NOT_FOUND, "no such client is registered");
	*out = read_row(arena, statement);
	sqlite3_reset(statement);
	return 0;
}

int cl_store_client_delete(struct cl_store *store, struct cl_str id, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM client WHERE id = ?1", e);
	if (statement)
		cl_bind_text(statement, 1, id);
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_NOT_FOUND, "no such client is registered");
	return code;
}

int cl_store_clients(struct cl_store *store, struct cl_arena *arena, struct cl_client_list *out, struct cl_err *e)
{
	size_t capacity = 0;
	int code;
	*out = (struct cl_client_list){0};
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT id, principal, keys, secret, scope, created FROM client ORDER BY id", e);
	if (!statement)
		return cl_unprepared(e);
	while ((code = cl_step(store, statement, e)) == 1) {
		out->items = cl_arena_grow(arena, out->items, &capacity, out->count, sizeof *out->items);
		out->items[out->count++] = read_row(arena, statement);
	}
	sqlite3_reset(statement);
	return code;
}

int cl_store_assertion_use(struct cl_store *store, struct cl_str client, const uint8_t hash[32], cl_instant expires,
                           const uint8_t request[16], struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "INSERT INTO assertion(client, hash, expires, request) VALUES(?1, ?2, ?3, ?4) ON"
	                     " CONFLICT(client, hash) DO UPDATE SET request = excluded.request WHERE request ="
	                     " excluded.request",
	                     e);
	if (statement) {
		cl_bind_text(statement, 1, client);
		cl_bind_blob(statement, 2, (struct cl_str){(const char *)hash, 32});
		sqlite3_bind_int64(statement, 3, expires);
		cl_bind_blob(statement, 4, (struct cl_str){(const char *)request, 16});
	}
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_CONFLICT, "the assertion was used before");
	return code;
}
