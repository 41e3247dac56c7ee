/* timer.c: what is to happen when. A name keeps its row for ever, so that its generations only grow and each fires
 * once. */
#include "org/store/internal.h"

#define COLUMNS "name, generation, due, task, plugin, rule, data"

/* Setting lifts a quarantine: it is another rule or another plugin version that asks. */
int cl_store_timer_set(struct cl_store *store, struct cl_stored_timer *timer, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "INSERT INTO timer(name, generation, fired, due, task, plugin, rule, data, quarantine)"
	                     " VALUES(?1, 1, 0, ?2, ?3, ?4, ?5, ?6, NULL)"
	                     " ON CONFLICT(name) DO UPDATE SET generation = generation + 1, due = excluded.due, task = "
	                     "excluded.task,"
	                     " plugin = excluded.plugin, rule = excluded.rule, data = excluded.data, quarantine = NULL"
	                     " RETURNING generation",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, timer->name);
	sqlite3_bind_int64(statement, 2, timer->due);
	cl_bind_text(statement, 3, timer->task);
	cl_bind_text(statement, 4, timer->plugin);
	cl_bind_text(statement, 5, timer->rule);
	cl_bind_text(statement, 6, timer->data);
	code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_INTERNAL, "a timer was not set");
	timer->generation = sqlite3_column_int64(statement, 0);
	return cl_step(store, statement, e);
}

int cl_store_timer_clear(struct cl_store *store, struct cl_str name, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "UPDATE timer SET due = NULL, rule = '', data = '', quarantine = NULL"
	                                       " WHERE name = ?1 AND due IS NOT NULL",
	                                       e);
	if (statement)
		cl_bind_text(statement, 1, name);
	return cl_run(store, statement, e);
}

int cl_store_timers_clear_task(struct cl_store *store, struct cl_str task, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code || !task.n)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "UPDATE timer INDEXED BY timer_task SET due = NULL, rule = '', data = '',"
	                     " quarantine = NULL WHERE task = ?1 AND task <> '' AND due IS NOT NULL",
	                     e);
	if (statement)
		cl_bind_text(statement, 1, task);
	return cl_run(store, statement, e);
}

static int list(struct cl_store *store, struct cl_arena *arena, sqlite3_stmt *statement, struct cl_timer_list *out,
                struct cl_err *e)
{
	size_t capacity = 0;
	int code;

	while ((code = cl_step(store, statement, e)) == 1) {
		out->items = cl_arena_grow(arena, out->items, &capacity, out->count, sizeof(*out->items));
		out->items[out->count++] = (struct cl_stored_timer){
		        .name = cl_column(arena, statement, 0),
		        .generation = sqlite3_column_int64(statement, 1),
		        .due = sqlite3_column_int64(statement, 2),
		        .task = cl_column(arena, statement, 3),
		        .plugin = cl_column(arena, statement, 4),
		        .rule = cl_column(arena, statement, 5),
		        .data = cl_column(arena, statement, 6),
		};
	}
	return code;
}

int cl_store_timers_due(struct cl_store *store, struct cl_arena *arena, cl_instant until, uint32_t limit,
                        struct cl_timer_list *out, struct cl_err *e)
{
	*out = (struct cl_timer_list){0};
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "SELECT " COLUMNS " FROM timer INDEXED BY timer_due WHERE due <= ?1"
	                     " AND due IS NOT NULL AND quarantine IS NULL ORDER BY due, name LIMIT ?2",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, until);
	sqlite3_bind_int64(statement, 2, limit);
	return list(store, arena, statement, out, e);
}

int cl_store_timers(struct cl_store *store, struct cl_arena *arena, struct cl_str task, uint32_t limit,
                    struct cl_timer_list *out, struct cl_err *e)
{
	*out = (struct cl_timer_list){0};
	sqlite3_stmt *statement =
	        task.n ? cl_statement(store,
	                              "SELECT " COLUMNS
	                              " FROM timer INDEXED BY timer_task WHERE task = ?1 AND task <> ''"
	                              " AND due IS NOT NULL ORDER BY due, name LIMIT ?2",
	                              e)
	               : cl_statement(store,
	                              "SELECT " COLUMNS " FROM timer WHERE due IS NOT NULL AND ?1 = ''"
	                              " ORDER BY due, name LIMIT ?2",
	                              e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, task);
	sqlite3_bind_int64(statement, 2, limit);
	return list(store, arena, statement, out, e);
}

int cl_store_timer_get(struct cl_store *store, struct cl_arena *arena, struct cl_str name, struct cl_stored_timer *out,
                       struct cl_err *e)
{
	struct cl_timer_list found = {0};
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT " COLUMNS " FROM timer WHERE name = ?1 AND due IS NOT NULL", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, name);
	int code = list(store, arena, statement, &found, e);
	if (!code && !found.count)
		return cl_fail(e, CL_E_NOT_FOUND, "no timer '%.*s' is set", CL_STR_ARGS(name));
	if (!code)
		*out = found.items[0];
	return code;
}

cl_instant cl_store_timer_next(struct cl_store *store)
{
	cl_instant due = INT64_MAX;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT due FROM timer INDEXED BY timer_due WHERE due IS NOT NULL"
	                                       " AND quarantine IS NULL ORDER BY due LIMIT 1",
	                                       NULL);
	if (statement && cl_step(store, statement, NULL) == 1) {
		due = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
	}
	return due;
}

int cl_store_timer_fired(struct cl_store *store, struct cl_str name, int64_t generation, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "UPDATE timer SET due = NULL, fired = generation, rule = '', data = '',"
	                                       " quarantine = NULL WHERE name = ?1 AND generation = ?2"
	                                       " AND due IS NOT NULL AND fired < generation",
	                                       e);
	if (statement) {
		cl_bind_text(statement, 1, name);
		sqlite3_bind_int64(statement, 2, generation);
	}
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_CONFLICT, "timer %.*s #%lld has fired, was cleared or was set again",
		               CL_STR_ARGS(name), (long long)generation);
	return code;
}

int cl_store_timer_quarantine(struct cl_store *store, struct cl_str name, struct cl_str why, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store, "UPDATE timer SET quarantine = ?2 WHERE name = ?1 AND due IS NOT NULL", e);
	if (statement) {
		cl_bind_text(statement, 1, name);
		cl_bind_text(statement, 2, why);
	}
	code = cl_run(store, statement, e);
	if (!code && sqlite3_changes(store->db) != 1)
		code = cl_fail(e, CL_E_NOT_FOUND, "no timer %.*s is set", CL_STR_ARGS(name));
	return code;
}

int cl_store_timers_quarantined(struct cl_store *store, struct cl_arena *arena, uint32_t limit,
                                struct cl_timer_list *out, struct cl_err *e)
{
	*out = (struct cl_timer_list){0};
	/* `why` comes in the place of the rule. */
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "SELECT name, generation, due, task, plugin, quarantine, data FROM timer"
	                     " WHERE quarantine IS NOT NULL AND due IS NOT NULL ORDER BY due, name LIMIT ?1",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, limit);
	return list(store, arena, statement, out, e);
}
