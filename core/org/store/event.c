/* event.c: the log of what came from outside and what it changed, one row each, in commit order. */
#include "org/store/internal.h"

static int last_sequence(struct cl_store *store, uint64_t *out, struct cl_err *e)
{
	*out = store->last_sequence;
	if (store->last_sequence_known)
		return 0;
	sqlite3_stmt *statement = cl_statement(store, "SELECT max(sequence) FROM event", e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code;
	*out = (uint64_t)sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	/* Only inside its own transaction does this connection know that nobody adds. */
	if (store->transaction) {
		store->last_sequence = *out;
		store->last_sequence_known = true;
	}
	return 0;
}

uint64_t cl_store_last_sequence(struct cl_store *store)
{
	uint64_t sequence = 0;
	return last_sequence(store, &sequence, NULL) ? 0 : sequence;
}

int cl_store_event_append(struct cl_store *store, struct cl_stored_event *event, struct cl_err *e)
{
	int64_t plugins;
	uint64_t last;

	int code = cl_need_transaction(store, e);
	if (!code)
		code = last_sequence(store, &last, e);
	if (!code)
		code = cl_symbol_number(store, event->plugins, true, &plugins, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "INSERT INTO event(sequence, cause, at, kind, actor, key, type, id, version,"
	                     " detail, input, outcome, plugins, zone_data)"
	                     " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, (int64_t)last + 1);
	sqlite3_bind_int64(statement, 2, (int64_t)event->cause);
	sqlite3_bind_int64(statement, 3, event->at);
	cl_bind_text(statement, 4, event->kind);
	cl_bind_text(statement, 5, event->actor);
	cl_bind_blob(statement, 6, event->key);
	sqlite3_bind_int(statement, 7, event->type);
	cl_bind_text(statement, 8, event->id);
	sqlite3_bind_int64(statement, 9, event->version);
	cl_bind_text(statement, 10, event->detail);
	cl_bind_blob(statement, 11, event->input);
	cl_bind_text(statement, 12, event->outcome);
	sqlite3_bind_int64(statement, 13, plugins);
	cl_bind_text(statement, 14, event->zone_data);
	code = cl_run(store, statement, e);
	if (!code)
		event->sequence = store->last_sequence = last + 1;
	return code;
}

int cl_store_event_outcome(struct cl_store *store, uint64_t sequence, struct cl_str outcome, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "UPDATE event SET outcome = ?2 WHERE sequence = ?1", e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, (int64_t)sequence);
		cl_bind_text(statement, 2, outcome);
	}
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_NOT_FOUND, "there is no event %llu", (unsigned long long)sequence);
	return code;
}

int cl_store_events(struct cl_store *store, uint64_t after, uint32_t limit, cl_event_visitor visit, void *context,
                    struct cl_err *e)
{
	int code = 0;

	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "SELECT sequence, cause, at, kind, actor, key, type, id, version, detail,"
	                     " input, outcome, s.text, zone_data FROM event LEFT JOIN symbol s"
	                     " ON s.number = plugins WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	if (sqlite3_stmt_busy(statement))
		return cl_fail(e, CL_E_INTERNAL, "events are being visited already");
	sqlite3_bind_int64(statement, 1, after > INT64_MAX ? INT64_MAX : (int64_t)after);
	sqlite3_bind_int64(statement, 2, limit);
	while ((code = cl_step(store, statement, e)) == 1) {
		struct cl_stored_event event = {
		        .sequence = (uint64_t)sqlite3_column_int64(statement, 0),
		        .cause = (uint64_t)sqlite3_column_int64(statement, 1),
		        .at = sqlite3_column_int64(statement, 2),
		        .kind = cl_column_borrow(statement, 3),
		        .actor = cl_column_borrow(statement, 4),
		        .key = cl_column_borrow(statement, 5),
		        .type = (uint16_t)sqlite3_column_int(statement, 6),
		        .id = cl_column_borrow(statement, 7),
		        .version = sqlite3_column_int64(statement, 8),
		        .detail = cl_column_borrow(statement, 9),
		        .input = cl_column_borrow(statement, 10),
		        .outcome = cl_column_borrow(statement, 11),
		        .plugins = cl_column_borrow(statement, 12),
		        .zone_data = cl_column_borrow(statement, 13),
		};
		if (visit(&event, context))
			break;
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}
