/* subscription.c: the table behind Subscription resources: criteria, whose rights count, secrets of the channel, counts. */
#include "org/store/internal.h"

#define COLUMNS                                                                                                        \
	"id, version, state, type, criteria, principal, made, until, endpoint, payload, headers, failures, delivered," \
	" delivered_at, problem"

static void touch(struct cl_store *store)
{
	store->subscription_generation++;
	store->subscriptions_touched = true;
}

uint64_t cl_store_subscription_generation(const struct cl_store *store)
{
	return store->subscription_generation;
}

int cl_store_subscription_put(struct cl_store *store, const struct cl_stored_subscription *subscription,
                              struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "INSERT OR REPLACE INTO subscription(" COLUMNS
	                     ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
	                     e);
	if (statement) {
		cl_bind_text(statement, 1, subscription->id);
		sqlite3_bind_int64(statement, 2, subscription->version);
		cl_bind_text(statement, 3, subscription->state);
		sqlite3_bind_int(statement, 4, subscription->type);
		cl_bind_text(statement, 5, subscription->criteria);
		cl_bind_text(statement, 6, subscription->principal);
		sqlite3_bind_int64(statement, 7, subscription->made);
		sqlite3_bind_int64(statement, 8, subscription->until);
		cl_bind_text(statement, 9, subscription->endpoint);
		cl_bind_text(statement, 10, subscription->payload);
		cl_bind_text(statement, 11, subscription->headers);
		sqlite3_bind_int64(statement, 12, subscription->failures);
		sqlite3_bind_int64(statement, 13, subscription->delivered);
		sqlite3_bind_int64(statement, 14, subscription->delivered_at);
		cl_bind_text(statement, 15, subscription->problem);
	}
	code = cl_run(store, statement, e);
	touch(store);
	return code;
}

static void fill(struct cl_arena *arena, sqlite3_stmt *statement, struct cl_stored_subscription *out)
{
	*out = (struct cl_stored_subscription){
	        .id = cl_column(arena, statement, 0),
	        .version = sqlite3_column_int64(statement, 1),
	        .state = cl_column(arena, statement, 2),
	        .type = (uint16_t)sqlite3_column_int(statement, 3),
	        .criteria = cl_column(arena, statement, 4),
	        .principal = cl_column(arena, statement, 5),
	        .made = sqlite3_column_int64(statement, 6),
	        .until = sqlite3_column_int64(statement, 7),
	        .endpoint = cl_column(arena, statement, 8),
	        .payload = cl_column(arena, statement, 9),
	        .headers = cl_column(arena, statement, 10),
	        .failures = sqlite3_column_int64(statement, 11),
	        .delivered = sqlite3_column_int64(statement, 12),
	        .delivered_at = sqlite3_column_int64(statement, 13),
	        .problem = cl_column(arena, statement, 14),
	};
}

int cl_store_subscription_get(struct cl_store *store, struct cl_arena *arena, struct cl_str id,
                              struct cl_stored_subscription *out, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, "SELECT " COLUMNS " FROM subscription WHERE id = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, id);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_NOT_FOUND, "Subscription/%.*s is not known here", CL_STR_ARGS(id));
	fill(arena, statement, out);
	sqlite3_reset(statement);
	return 0;
}

int cl_store_subscription_remove(struct cl_store *store, struct cl_str id, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM subscription WHERE id = ?1", e);
	if (statement)
		cl_bind_text(statement, 1, id);
	code = cl_run(store, statement, e);
	touch(store);
	return code;
}

int cl_store_subscriptions(struct cl_store *store, struct cl_arena *arena, struct cl_str state,
                           struct cl_subscription_list *out, struct cl_err *e)
{
	size_t capacity = 0;
	int code;
	*out = (struct cl_subscription_list){0};
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT " COLUMNS " FROM subscription WHERE ?1 = '' OR state = ?1 ORDER BY id", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, state);
	while ((code = cl_step(store, statement, e)) == 1) {
		out->items = cl_arena_grow(arena, out->items, &capacity, out->count, sizeof(*out->items));
		fill(arena, statement, &out->items[out->count++]);
	}
	return code;
}

int cl_store_subscription_count(struct cl_store *store, int64_t *active, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT count(*) FROM subscription WHERE state IN ('active', 'requested')", e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*active = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
		code = 0;
	}
	return code;
}

int cl_store_subscription_note(struct cl_store *store, struct cl_str id, bool delivered, cl_instant at,
                               struct cl_str problem, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(
	        store,
	        "UPDATE subscription SET delivered = delivered + ?2, delivered_at = CASE ?2 WHEN 1 THEN ?3 ELSE"
	        " delivered_at END, failures = CASE ?2 WHEN 1 THEN 0 ELSE failures + 1 END, problem = ?4"
	        " WHERE id = ?1",
	        e);
	if (statement) {
		cl_bind_text(statement, 1, id);
		sqlite3_bind_int(statement, 2, delivered);
		sqlite3_bind_int64(statement, 3, at);
		cl_bind_text(statement, 4, problem);
	}
	return cl_run(store, statement, e);
}
