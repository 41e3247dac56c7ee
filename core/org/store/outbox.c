/* outbox.c: messages that go out, each destination's in order, and the keys of those that came in. */
#include "org/store/internal.h"

#define COLUMNS "number, key, destination, body, created, due, attempts, state, problem"

int cl_store_outbox_append(struct cl_store *store, struct cl_outgoing *message, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "INSERT INTO outbox(key, destination, body, created, due, attempts, state,"
	                     " problem) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
	                     e);
	if (statement) {
		cl_bind_text(statement, 1, message->key);
		cl_bind_text(statement, 2, message->destination);
		cl_bind_text(statement, 3, message->body);
		sqlite3_bind_int64(statement, 4, message->created);
		sqlite3_bind_int64(statement, 5, message->due);
		sqlite3_bind_int(statement, 6, message->attempts);
		cl_bind_text(statement, 7, message->state.n ? message->state : CL_STR("waiting"));
		cl_bind_text(statement, 8, message->problem);
	}
	code = cl_run(store, statement, e);
	if (!code)
		message->number = sqlite3_last_insert_rowid(store->db);
	return code;
}

static int list(struct cl_store *store, struct cl_arena *arena, sqlite3_stmt *statement, struct cl_outgoing_list *out,
                struct cl_err *e)
{
	size_t capacity = 0;
	int code;

	while ((code = cl_step(store, statement, e)) == 1) {
		out->items = cl_arena_grow(arena, out->items, &capacity, out->count, sizeof(*out->items));
		out->items[out->count++] = (struct cl_outgoing){
		        .number = sqlite3_column_int64(statement, 0),
		        .key = cl_column(arena, statement, 1),
		        .destination = cl_column(arena, statement, 2),
		        .body = cl_column(arena, statement, 3),
		        .created = sqlite3_column_int64(statement, 4),
		        .due = sqlite3_column_int64(statement, 5),
		        .attempts = sqlite3_column_int(statement, 6),
		        .state = cl_column(arena, statement, 7),
		        .problem = cl_column(arena, statement, 8),
		};
	}
	return code;
}

int cl_store_outbox_due(struct cl_store *store, struct cl_arena *arena, cl_instant now, uint32_t limit,
                        struct cl_outgoing_list *out, struct cl_err *e)
{
	*out = (struct cl_outgoing_list){0};
	/* From destination to destination by the index, however many messages wait for each. */
	sqlite3_stmt *statement = cl_statement(
	        store,
	        "WITH RECURSIVE one(name) AS (SELECT min(destination) FROM outbox WHERE state = 'waiting'"
	        " UNION ALL SELECT (SELECT min(destination) FROM outbox WHERE state = 'waiting' AND destination > "
	        "one.name)"
	        " FROM one WHERE one.name IS NOT NULL)"
	        " SELECT " COLUMNS " FROM one CROSS JOIN outbox ON number = (SELECT min(number) FROM outbox"
	        " WHERE destination = one.name AND state = 'waiting') WHERE one.name IS NOT NULL AND due <= ?1"
	        " ORDER BY due, number LIMIT ?2",
	        e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, now);
	sqlite3_bind_int64(statement, 2, limit);
	return list(store, arena, statement, out, e);
}

int cl_store_outbox_list(struct cl_store *store, struct cl_arena *arena, struct cl_str state, uint32_t limit,
                         struct cl_outgoing_list *out, struct cl_err *e)
{
	*out = (struct cl_outgoing_list){0};
	sqlite3_stmt *statement =
	        state.n ? cl_statement(store,
	                               "SELECT " COLUMNS " FROM outbox WHERE state = ?1 ORDER BY number LIMIT ?2", e)
	                : cl_statement(store, "SELECT " COLUMNS " FROM outbox WHERE ?1 = '' ORDER BY number LIMIT ?2",
	                               e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, state);
	sqlite3_bind_int64(statement, 2, limit);
	return list(store, arena, statement, out, e);
}

int cl_store_outbox_update(struct cl_store *store, int64_t number, struct cl_str state, int attempts, cl_instant due,
                           struct cl_str problem, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "UPDATE outbox SET state = ?2, attempts = ?3, due = ?4, problem = ?5"
	                                       " WHERE number = ?1",
	                                       e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, number);
		cl_bind_text(statement, 2, state);
		sqlite3_bind_int(statement, 3, attempts);
		sqlite3_bind_int64(statement, 4, due);
		cl_bind_text(statement, 5, problem);
	}
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_NOT_FOUND, "there is no outgoing message %lld", (long long)number);
	return code;
}

int cl_store_outbox_withdraw(struct cl_store *store, struct cl_arena *arena, struct cl_str key, cl_instant now,
                             bool *withdrawn, struct cl_str *destination, struct cl_err *e)
{
	struct cl_outgoing_list found = {0};
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "SELECT " COLUMNS " FROM outbox WHERE key = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, key);
	code = list(store, arena, statement, &found, e);
	if (!code && !found.count)
		code = cl_fail(e, CL_E_NOT_FOUND, "there is no outgoing message '%.*s'", CL_STR_ARGS(key));
	if (code)
		return code;
	/* One that was tried may have arrived although its answer was lost; one that is due may be on its way. */
	*withdrawn =
	        cl_str_is(found.items[0].state, "waiting") && found.items[0].attempts == 0 && found.items[0].due > now;
	*destination = found.items[0].destination;
	return *withdrawn ? cl_store_outbox_update(store, found.items[0].number, CL_STR("withdrawn"), 0,
	                                           found.items[0].due, CL_STR_NONE, e)
	                  : 0;
}

int cl_store_outbox_get(struct cl_store *store, struct cl_arena *arena, int64_t number, struct cl_outgoing *out,
                        struct cl_err *e)
{
	struct cl_outgoing_list found = {0};
	sqlite3_stmt *statement = cl_statement(store, "SELECT " COLUMNS " FROM outbox WHERE number = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, number);
	int code = list(store, arena, statement, &found, e);
	if (!code && !found.count)
		code = cl_fail(e, CL_E_NOT_FOUND, "there is no outgoing message %lld", (long long)number);
	if (!code)
		*out = found.items[0];
	return code;
}

int cl_store_outbox_remove(struct cl_store *store, int64_t number, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM outbox WHERE number = ?1", e);
	if (statement)
		sqlite3_bind_int64(statement, 1, number);
	return cl_run(store, statement, e);
}

int cl_store_outbox_move(struct cl_store *store, struct cl_str destination, struct cl_str from, struct cl_str to,
                         cl_instant due, struct cl_str problem, int64_t *count, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(
	        store,
	        "UPDATE outbox SET state = ?3, attempts = CASE WHEN ?3 = 'waiting' THEN 0 ELSE attempts END,"
	        " due = ?4, problem = ?5 WHERE destination = ?1 AND state = ?2",
	        e);
	if (statement) {
		cl_bind_text(statement, 1, destination);
		cl_bind_text(statement, 2, from);
		cl_bind_text(statement, 3, to);
		sqlite3_bind_int64(statement, 4, due);
		cl_bind_text(statement, 5, problem);
	}
	code = cl_run(store, statement, e);
	if (!code && count)
		*count = sqlite3_changes(store->db);
	return code;
}

int cl_store_outbox_count(struct cl_store *store, struct cl_str destination, struct cl_str state, int64_t *out,
                          struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT count(*) FROM outbox WHERE destination = ?1 AND state = ?2", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, destination);
	cl_bind_text(statement, 2, state);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
		code = 0;
	}
	return code;
}

int cl_store_inbox_add(struct cl_store *store, struct cl_str sender, struct cl_str key, cl_instant at, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT INTO inbox(sender, key, at) VALUES(?1, ?2, ?3)"
	                                       " ON CONFLICT DO NOTHING",
	                                       e);
	if (statement) {
		cl_bind_text(statement, 1, sender);
		cl_bind_text(statement, 2, key);
		sqlite3_bind_int64(statement, 3, at);
	}
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_CONFLICT, "this message was taken in before");
	return code;
}
