/* history.c: earlier versions, newest first: of one resource, of a type, of everything. */
#include "org/store/internal.h"
#include <stdlib.h>

/* Sequence numbers order the versions; their times follow the same order but for a clock that was set back. A walk ends
 * once it is this far before the time that was asked for. */
#define CLOCK_SLACK CL_DAY

struct place {
	int64_t row, version;
	uint64_t sequence;
	bool current;
};
struct places {
	struct place *items;
	size_t count, capacity;
};

struct wanted {
	cl_instant since, at_lower, at_upper;
	int64_t before;
	size_t most;
};

/* Was the version current at some time within? It was from its own time until the next version's. */
static int was_current(struct cl_store *store, const struct wanted *wanted, const struct place *place,
                       cl_instant updated, bool *out, struct cl_err *e)
{
	*out = updated < wanted->at_upper;
	if (!*out || place->current || updated >= wanted->at_lower || wanted->at_lower == INT64_MIN)
		return 0;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT updated FROM history WHERE row = ?1 AND version = ?2 UNION ALL"
	                                       " SELECT updated FROM resource WHERE row = ?1 AND version = ?2",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, place->row);
	sqlite3_bind_int64(statement, 2, place->version + 1);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0) > wanted->at_lower;
		sqlite3_reset(statement);
	}
	return code < 0 ? code : 0;
}

/* Runs a statement whose columns are row, version, sequence, updated, newest first; ?1 is bound already, ?2 is the
 * bound. */
static int collect(struct cl_store *store, sqlite3_stmt *statement, const struct wanted *wanted, bool current,
                   struct places *out, struct cl_err *e)
{
	size_t found = 0;
	int code;

	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 2, wanted->before);
	while ((code = cl_step(store, statement, e)) == 1) {
		cl_instant updated = sqlite3_column_int64(statement, 3);
		if (updated >= wanted->since) {
			struct place place = {
			        .row = sqlite3_column_int64(statement, 0),
			        .version = sqlite3_column_int64(statement, 1),
			        .sequence = (uint64_t)sqlite3_column_int64(statement, 2),
			        .current = current,
			};
			bool within;
			if ((code = was_current(store, wanted, &place, updated, &within, e)) != 0)
				break;
			if (within) {
				out->items = cl_grow(out->items, &out->capacity, out->count + 1, sizeof(*out->items));
				out->items[out->count++] = place;
				if (++found >= wanted->most)
					break;
			}
		} else if (updated < wanted->since - CLOCK_SLACK) {
			break;
		}
		if ((code = cl_work(store, 1, e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}

static int collect_type(struct cl_store *store, uint16_t type, const struct wanted *wanted, struct places *out,
                        struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT row, version, sequence, updated FROM resource"
	                                       " WHERE type = ?1 AND sequence < ?2 ORDER BY sequence DESC",
	                                       e);
	if (statement)
		sqlite3_bind_int(statement, 1, type);
	int code = collect(store, statement, wanted, true, out, e);
	if (code)
		return code;
	statement = cl_statement(store,
	                         "SELECT row, version, sequence, updated FROM history"
	                         " WHERE type = ?1 AND sequence < ?2 ORDER BY sequence DESC",
	                         e);
	if (statement)
		sqlite3_bind_int(statement, 1, type);
	return collect(store, statement, wanted, false, out, e);
}

static int collect_resource(struct cl_store *store, uint16_t type, struct cl_str id, const struct wanted *wanted,
                            struct places *out, struct cl_err *e)
{
	int64_t row = 0;
	sqlite3_stmt *statement = cl_statement(store, "SELECT row FROM resource WHERE type = ?1 AND id = ?2", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, type);
	cl_bind_text(statement, 2, id);
	int code = cl_step(store, statement, e);
	if (code == 0)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no resource with this id");
	if (code < 0)
		return code;
	row = sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	statement = cl_statement(
	        store, "SELECT row, version, sequence, updated FROM resource WHERE row = ?1 AND sequence < ?2", e);
	if (statement)
		sqlite3_bind_int64(statement, 1, row);
	code = collect(store, statement, wanted, true, out, e);
	if (code)
		return code;
	statement = cl_statement(store,
	                         "SELECT row, version, sequence, updated FROM history"
	                         " WHERE row = ?1 AND sequence < ?2 ORDER BY version DESC",
	                         e);
	if (statement)
		sqlite3_bind_int64(statement, 1, row);
	return collect(store, statement, wanted, false, out, e);
}

/* The next type that has resources; 0 at the end. */
static int next_type(struct cl_store *store, uint16_t after, uint16_t *out, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, "SELECT min(type) FROM resource WHERE type > ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, after);
	int code = cl_step(store, statement, e);
	*out = code == 1 ? (uint16_t)sqlite3_column_int(statement, 0) : 0;
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}

static int newest_first(const void *x, const void *y)
{
	const struct place *a = x, *b = y;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? 1 : -1;
	if (a->row != b->row)
		return a->row < b->row ? 1 : -1;
	return (a->version < b->version) - (a->version > b->version);
}

static int fetch(struct cl_store *store, struct cl_arena *arena, const struct place *place, struct cl_version *out,
                 struct cl_err *e)
{
	if (!place->current)
		return cl_history_version(store, arena, place->row, place->version, true, out, e);
	int code = cl_resource_by_row(store, arena, place->row, true, out, e);
	return code == 1 ? 0 : code ? code : cl_fail(e, CL_E_CORRUPT, "a version vanished while it was read");
}

int cl_history_version(struct cl_store *store, struct cl_arena *arena, int64_t row, int64_t version, bool body,
                       struct cl_version *out, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT row, type, id, version, operation, updated, sequence, body"
	                                       " FROM history WHERE row = ?1 AND version = ?2",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, row);
	sqlite3_bind_int64(statement, 2, version);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_CORRUPT, "a version vanished while it was read");
	cl_version_fill(arena, statement, body, out);
	sqlite3_reset(statement);
	return 0;
}

int cl_store_history(struct cl_store *store, struct cl_arena *arena, uint16_t type, struct cl_str id, cl_instant since,
                     uint64_t before_sequence, uint32_t limit, struct cl_version_list *out, struct cl_err *e)
{
	struct cl_history_query query = {type, id, since, INT64_MIN, INT64_MAX, before_sequence, limit};
	return cl_store_history_query(store, arena, &query, out, e);
}

int cl_store_history_query(struct cl_store *store, struct cl_arena *arena, const struct cl_history_query *query,
                           struct cl_version_list *out, struct cl_err *e)
{
	uint16_t type = query->type;
	struct cl_str id = query->id;
	uint64_t before = query->before_sequence;
	uint32_t limit = query->limit;
	struct wanted wanted = {.since =
	                                query->since < INT64_MIN + CLOCK_SLACK ? INT64_MIN + CLOCK_SLACK : query->since,
	                        .at_lower = query->at_lower,
	                        .at_upper = query->at_upper,
	                        .before = before && before <= INT64_MAX ? (int64_t)before : INT64_MAX,
	                        .most = (size_t)limit + 1};
	struct places places = {0};
	bool opened;

	*out = (struct cl_version_list){0};
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	if (id.n) {
		code = collect_resource(store, type, id, &wanted, &places, e);
	} else if (type) {
		code = collect_type(store, type, &wanted, &places, e);
	} else {
		uint16_t next = 0;
		do {
			code = next_type(store, next, &next, e);
			if (!code && next)
				code = collect_type(store, next, &wanted, &places, e);
		} while (!code && next);
	}
	if (!code && places.count) {
		qsort(places.items, places.count, sizeof(*places.items), newest_first);
		size_t count = places.count < limit ? places.count : limit;
		out->more = places.count > limit;
		out->items = CL_NEW_ARRAY(arena, struct cl_version, count ? count : 1);
		for (size_t i = 0; !code && i < count; i++)
			if ((code = fetch(store, arena, &places.items[i], &out->items[i], e)) == 0)
				out->count++;
	}
	free(places.items);
	cl_read_end(store, opened);
	return code;
}
