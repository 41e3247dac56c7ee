/* resource.c: the current version of each resource, and the index rows that find it. */
#include "org/store/internal.h"
#include <math.h>
#include <stdlib.h>

/* ---- reading ---- */

#define HEAD "row, type, id, version, operation, updated, sequence"

void cl_version_fill(struct cl_arena *arena, sqlite3_stmt *statement, bool body, struct cl_version *out)
{
	out->row = sqlite3_column_int64(statement, 0);
	out->type = (uint16_t)sqlite3_column_int(statement, 1);
	out->id = cl_column(arena, statement, 2);
	out->version = sqlite3_column_int64(statement, 3);
	out->operation = (uint8_t)sqlite3_column_int(statement, 4);
	out->updated = sqlite3_column_int64(statement, 5);
	out->sequence = (uint64_t)sqlite3_column_int64(statement, 6);
	out->body = body ? cl_column(arena, statement, 7) : CL_STR_NONE;
}

int cl_store_get(struct cl_store *store, struct cl_arena *arena, uint16_t type, struct cl_str id,
                 struct cl_version *out, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT " HEAD ", body FROM resource WHERE type = ?1 AND id = ?2", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, type);
	cl_bind_text(statement, 2, id);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		cl_version_fill(arena, statement, true, out);
		sqlite3_reset(statement);
		return 0;
	}
	return code ? code : cl_fail(e, CL_E_NOT_FOUND, "there is no resource with this id");
}

int cl_store_get_version(struct cl_store *store, struct cl_arena *arena, uint16_t type, struct cl_str id,
                         int64_t version, struct cl_version *out, struct cl_err *e)
{
	bool opened;
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	code = cl_store_get(store, arena, type, id, out, e);
	if (!code && out->version != version) {
		sqlite3_stmt *statement =
		        cl_statement(store, "SELECT " HEAD ", body FROM history WHERE row = ?1 AND version = ?2", e);
		if (statement) {
			sqlite3_bind_int64(statement, 1, out->row);
			sqlite3_bind_int64(statement, 2, version);
			code = cl_step(store, statement, e);
			if (code == 1) {
				cl_version_fill(arena, statement, true, out);
				sqlite3_reset(statement);
				code = 0;
			} else if (code == 0) {
				code = cl_fail(e, CL_E_NOT_FOUND, "there is no version %lld of this resource",
				               (long long)version);
			}
		} else {
			code = cl_unprepared(e);
		}
	}
	cl_read_end(store, opened);
	return code;
}

int cl_resource_row(struct cl_store *store, uint16_t type, struct cl_str id, int64_t *row, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT row FROM resource WHERE type = ?1 AND id = ?2 AND operation <> 3", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, type);
	cl_bind_text(statement, 2, id);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*row = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
	}
	return code;
}

int cl_resource_by_row(struct cl_store *store, struct cl_arena *arena, int64_t row, bool body, struct cl_version *out,
                       struct cl_err *e)
{
	sqlite3_stmt *statement = body ? cl_statement(store, "SELECT " HEAD ", body FROM resource WHERE row = ?1", e)
	                               : cl_statement(store, "SELECT " HEAD " FROM resource WHERE row = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, row);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		cl_version_fill(arena, statement, body, out);
		sqlite3_reset(statement);
	}
	return code;
}

/* ---- index rows ---- */

static const char *const insert_value[] = {
        [CL_INDEX_TOKEN] = "INSERT INTO index_token(parameter, code, system, row) VALUES(?1, ?2, ?3, ?4)",
        [CL_INDEX_STRING] = "INSERT INTO index_string(parameter, folded, row) VALUES(?1, ?2, ?4)",
        [CL_INDEX_DATE] = "INSERT INTO index_date(parameter, lower, upper, row) VALUES(?1, ?2, ?3, ?4)",
        [CL_INDEX_REFERENCE] =
                "INSERT INTO index_reference(parameter, target, target_type, row) VALUES(?1, ?2, ?3, ?4)",
        [CL_INDEX_NUMBER] = "INSERT INTO index_number(parameter, low, high, row) VALUES(?1, ?2, ?3, ?4)",
        [CL_INDEX_QUANTITY] =
                "INSERT INTO index_quantity(parameter, low, high, row, code, system) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
        [CL_INDEX_URI] = "INSERT INTO index_uri(parameter, uri, row) VALUES(?1, ?2, ?4)",
        [CL_INDEX_COMPARTMENT] = "INSERT INTO compartment(patient, row) VALUES(?2, ?4)",
};
static const char *const delete_value[] = {
        [CL_INDEX_TOKEN] = "DELETE FROM index_token WHERE parameter = ?1 AND code = ?2 AND system = ?3 AND row = ?4",
        [CL_INDEX_STRING] = "DELETE FROM index_string WHERE parameter = ?1 AND folded = ?2 AND row = ?4",
        [CL_INDEX_DATE] = "DELETE FROM index_date WHERE parameter = ?1 AND lower = ?2 AND upper = ?3 AND row = ?4",
        [CL_INDEX_REFERENCE] =
                "DELETE FROM index_reference WHERE parameter = ?1 AND target = ?2 AND target_type = ?3 AND row = ?4",
        [CL_INDEX_NUMBER] = "DELETE FROM index_number WHERE parameter = ?1 AND low = ?2 AND high = ?3 AND row = ?4",
        [CL_INDEX_QUANTITY] = "DELETE FROM index_quantity WHERE parameter = ?1 AND low = ?2 AND high = ?3 AND code = ?5"
                              " AND system = ?6 AND row = ?4",
        [CL_INDEX_URI] = "DELETE FROM index_uri WHERE parameter = ?1 AND uri = ?2 AND row = ?4",
        [CL_INDEX_COMPARTMENT] = "DELETE FROM compartment WHERE patient = ?2 AND row = ?4",
};

int cl_bind_value(struct cl_store *store, sqlite3_stmt *statement, const struct cl_index_value *value, int64_t row,
                  struct cl_err *e)
{
	int64_t symbol = 0;
	if (value->kind == CL_INDEX_TOKEN || value->kind == CL_INDEX_REFERENCE || value->kind == CL_INDEX_QUANTITY) {
		int code = cl_symbol_number(store, value->a, store->transaction, &symbol, e);
		if (code)
			return code;
	}
	if (value->kind != CL_INDEX_COMPARTMENT)
		sqlite3_bind_int(statement, 1, value->parameter);
	sqlite3_bind_int64(statement, 4, row);
	switch (value->kind) {
	case CL_INDEX_TOKEN:
	case CL_INDEX_REFERENCE:
		cl_bind_text(statement, 2, value->b);
		sqlite3_bind_int64(statement, 3, symbol);
		break;
	case CL_INDEX_DATE:
		sqlite3_bind_int64(statement, 2, value->lower);
		sqlite3_bind_int64(statement, 3, value->upper);
		break;
	case CL_INDEX_NUMBER:
	case CL_INDEX_QUANTITY:
		sqlite3_bind_double(statement, 2, value->low);
		sqlite3_bind_double(statement, 3, value->high);
		if (value->kind == CL_INDEX_QUANTITY) {
			cl_bind_text(statement, 5, value->b);
			sqlite3_bind_int64(statement, 6, symbol);
		}
		break;
	case CL_INDEX_COMPARTMENT:
		cl_bind_text(statement, 2, value->b);
		break;
	default:
		cl_bind_text(statement, 2, value->a);
	}
	return 0;
}

static int write_value(struct cl_store *store, const char *const *texts, const struct cl_index_value *value,
                       int64_t row, struct cl_err *e)
{
	if (value->kind > CL_INDEX_COMPARTMENT) /* kept beside the resource only */
		return 0;
	sqlite3_stmt *statement = cl_statement(store, texts[value->kind], e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_bind_value(store, statement, value, row, e);
	return code ? code : cl_run(store, statement, e);
}

/* Both are sorted: one pass, two b-tree operations for a value that changed. */
static int write_difference(struct cl_store *store, int64_t row, const struct cl_index *before,
                            const struct cl_index *after, struct cl_err *e)
{
	size_t i = 0, j = 0;
	int code = 0;

	while (!code && (i < before->count || j < after->count)) {
		int order = i == before->count  ? 1
		            : j == after->count ? -1
		                                : cl_index_compare(&before->values[i], &after->values[j]);
		if (order == 0) {
			i++;
			j++;
		} else if (order < 0) {
			code = write_value(store, delete_value, &before->values[i++], row, e);
		} else {
			code = write_value(store, insert_value, &after->values[j++], row, e);
		}
	}
	return code;
}

static int check_index(const struct cl_index *index, struct cl_err *e)
{
	for (size_t i = 0; i < index->count; i++) {
		const struct cl_index_value *value = &index->values[i];
		if (value->kind < CL_INDEX_TOKEN || value->kind > CL_INDEX_MEMBER)
			return cl_fail(e, CL_E_INTERNAL, "index value of unknown kind %u", value->kind);
		if ((value->kind == CL_INDEX_NUMBER || value->kind == CL_INDEX_QUANTITY ||
		     value->kind == CL_INDEX_MEMBER) &&
		    (isnan(value->low) || isnan(value->high)))
			return cl_fail(e, CL_E_INVALID, "a number to be indexed is not a number");
		if (i && cl_index_compare(value - 1, value) >= 0)
			return cl_fail(e, CL_E_INTERNAL, "index values are not normalized (parameter %u)",
			               value->parameter);
	}
	return 0;
}

/* ---- writing ---- */

/* Numbers of a type follow each other; a deleted resource keeps its own, so a replay gives the same ones. */
static int next_row(struct cl_store *store, uint16_t type, int64_t *out, struct cl_err *e)
{
	if (!store->next_rows) {
		store->next_rows = calloc(UINT16_MAX + 1, sizeof(*store->next_rows));
		if (!store->next_rows)
			cl_die("no memory for row numbers");
		store->next_rows_low = UINT16_MAX;
		store->next_rows_high = 0;
	}
	if (!store->next_rows[type]) {
		sqlite3_stmt *statement = cl_statement(store,
		                                       "SELECT row FROM resource WHERE row BETWEEN ?1 AND ?2"
		                                       " ORDER BY row DESC LIMIT 1",
		                                       e);
		if (!statement)
			return cl_unprepared(e);
		sqlite3_bind_int64(statement, 1, cl_row_first(type));
		sqlite3_bind_int64(statement, 2, cl_row_last(type));
		int code = cl_step(store, statement, e);
		if (code < 0)
			return code;
		store->next_rows[type] = cl_row_first(type) + 1;
		if (code == 1) {
			store->next_rows[type] = sqlite3_column_int64(statement, 0) + 1;
			sqlite3_reset(statement);
		}
		if (type < store->next_rows_low)
			store->next_rows_low = type;
		if (type > store->next_rows_high)
			store->next_rows_high = type;
	}
	if (store->next_rows[type] > cl_row_last(type))
		return cl_fail(e, CL_E_FULL, "no more resources of this type fit into one organization");
	*out = store->next_rows[type]++;
	return 0;
}

static int write_live(struct cl_store *store, const char *text, const struct cl_version *version,
                      const struct cl_index *after, struct cl_err *e)
{
	int code = cl_values_encode(store, after, &store->buffer, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, text, e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, version->row);
	sqlite3_bind_int(statement, 2, version->type);
	sqlite3_bind_int64(statement, 3, version->updated);
	sqlite3_bind_int(statement, 4, store->index_version);
	cl_bind_blob(statement, 5, cl_buf_str(&store->buffer));
	return cl_run(store, statement, e);
}

static const char insert_live[] = "INSERT INTO live(row, type, updated, indexed, content) VALUES(?1, ?2, ?3, ?4, ?5)";
static const char update_live[] =
        "UPDATE live SET updated = ?3, indexed = ?4, content = ?5 WHERE row = ?1 AND type = ?2";

/* 1 = created, 0 = the id is taken. */
static int insert_resource(struct cl_store *store, struct cl_version *version, const struct cl_index *after,
                           struct cl_err *e)
{
	int64_t row = 0;
	int code = next_row(store, version->type, &row, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT INTO resource(" HEAD ", body)"
	                                       " VALUES(?1, ?2, ?3, 1, ?4, ?5, ?6, ?7)",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, row);
	sqlite3_bind_int(statement, 2, version->type);
	cl_bind_text(statement, 3, version->id);
	sqlite3_bind_int(statement, 4, version->operation);
	sqlite3_bind_int64(statement, 5, version->updated);
	sqlite3_bind_int64(statement, 6, (int64_t)version->sequence);
	cl_bind_text(statement, 7, version->body);
	sqlite3_step(statement);
	int result = sqlite3_reset(statement);
	if (result == SQLITE_CONSTRAINT_UNIQUE) {
		store->next_rows[version->type] = row;
		return 0;
	}
	if (result != SQLITE_OK)
		return cl_sqlite_fail(store, result, "storing a resource", e);
	version->row = row;
	version->version = 1;
	code = write_live(store, insert_live, version, after, e);
	for (size_t i = 0; !code && i < after->count; i++)
		code = write_value(store, insert_value, &after->values[i], row, e);
	return code ? code : 1;
}

static int move_to_history(struct cl_store *store, int64_t row, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT INTO history(" HEAD ", body) SELECT " HEAD ", body"
	                                       " FROM resource WHERE row = ?1",
	                                       e);
	if (statement)
		sqlite3_bind_int64(statement, 1, row);
	return cl_run(store, statement, e);
}

static int update_resource(struct cl_store *store, const struct cl_version *version, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store,
	                                       "UPDATE resource SET version = ?2, operation = ?3, updated = ?4,"
	                                       " sequence = ?5, body = ?6 WHERE row = ?1",
	                                       e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, version->row);
		sqlite3_bind_int64(statement, 2, version->version);
		sqlite3_bind_int(statement, 3, version->operation);
		sqlite3_bind_int64(statement, 4, version->updated);
		sqlite3_bind_int64(statement, 5, (int64_t)version->sequence);
		cl_bind_text(statement, 6, version->operation == CL_OP_DELETE ? CL_STR_NONE : version->body);
	}
	return cl_run(store, statement, e);
}

static int delete_live(struct cl_store *store, int64_t row, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM live WHERE row = ?1", e);
	if (statement)
		sqlite3_bind_int64(statement, 1, row);
	return cl_run(store, statement, e);
}

/* The former index values are those stored beside the former version, whatever the caller believes they were: a changed
 * extractor can then leave no stray rows behind. */
static int replace(struct cl_store *store, struct cl_version *version, const struct cl_version *former,
                   const struct cl_index *after, struct cl_err *e)
{
	static const struct cl_index none;
	struct cl_values *values;
	bool was_live = former->operation != CL_OP_DELETE, is_live = version->operation != CL_OP_DELETE;

	version->row = former->row;
	version->version = former->version + 1;
	int code = move_to_history(store, version->row, e);
	if (!code)
		code = update_resource(store, version, e);
	if (!code)
		code = cl_scratch_enter(store, &values, e);
	if (code)
		return code;
	values->index.count = 0;
	if (was_live) {
		code = cl_values_load(store, version->row, values, NULL, e);
		code = code == 1   ? 0
		       : code == 0 ? cl_fail(e, CL_E_CORRUPT, "a resource has no stored index values")
		                   : code;
	}
	if (!code)
		code = write_difference(store, version->row, was_live ? &values->index : &none, is_live ? after : &none,
		                        e);
	if (!code && is_live)
		code = write_live(store, was_live ? update_live : insert_live, version, after, e);
	else if (!code && was_live)
		code = delete_live(store, version->row, e);
	cl_scratch_leave(store);
	return code;
}

void cl_store_set_index_version(struct cl_store *store, int version)
{
	store->index_version = version;
}

int cl_store_reindex(struct cl_store *store, int64_t row, const struct cl_index *after, struct cl_err *e)
{
	struct cl_version version = {.row = row, .type = cl_row_type(row)};
	struct cl_values *values;

	int code = cl_need_transaction(store, e);
	if (!code)
		code = check_index(after, e);
	if (!code)
		code = cl_scratch_enter(store, &values, e);
	if (code)
		return code;
	code = cl_values_load(store, row, values, &version.updated, e);
	if (code == 0)
		code = cl_fail(e, CL_E_NOT_FOUND, "row %lld is not live", (long long)row);
	else if (code == 1)
		code = write_difference(store, row, &values->index, after, e);
	if (!code)
		code = write_live(store, update_live, &version, after, e);
	cl_scratch_leave(store);
	return code;
}

int cl_store_stale(struct cl_store *store, struct cl_arena *arena, int64_t after, uint32_t limit,
                   struct cl_version_list *out, struct cl_err *e)
{
	size_t capacity = 0;
	int code;

	*out = (struct cl_version_list){0};
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "SELECT r.row, r.type, r.id, r.version, r.operation, r.updated, r.sequence, r.body"
	                     " FROM live l CROSS JOIN resource r ON r.row = l.row"
	                     " WHERE l.row > ?1 AND l.indexed <> ?2 ORDER BY l.row",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, after);
	sqlite3_bind_int(statement, 2, store->index_version);
	while ((code = cl_step(store, statement, e)) == 1) {
		if (out->count == limit) {
			out->more = true;
			break;
		}
		out->items = cl_arena_grow(arena, out->items, &capacity, out->count, sizeof(*out->items));
		cl_version_fill(arena, statement, true, &out->items[out->count++]);
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}

static int find_former(struct cl_store *store, const struct cl_version *version, struct cl_version *former,
                       struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT row, version, operation FROM resource WHERE type = ?1 AND id = ?2", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, version->type);
	cl_bind_text(statement, 2, version->id);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		former->row = sqlite3_column_int64(statement, 0);
		former->version = sqlite3_column_int64(statement, 1);
		former->operation = (uint8_t)sqlite3_column_int(statement, 2);
		sqlite3_reset(statement);
	}
	return code;
}

int cl_store_put(struct cl_store *store, struct cl_version *version, const struct cl_index *before,
                 const struct cl_index *after, struct cl_err *e)
{
	static const struct cl_index none;
	struct cl_version former = {0};

	(void)before;
	if (!after)
		after = &none;
	int code = cl_need_transaction(store, e);
	if (!code)
		code = check_index(after, e);
	if (!code && (!version->type || !version->id.n || version->operation < CL_OP_CREATE ||
	              version->operation > CL_OP_DELETE))
		code = cl_fail(e, CL_E_INTERNAL, "a version without type, id or operation");
	if (!code && version->id.n > CL_ID_MAXIMUM)
		code = cl_fail(e, CL_E_INVALID, "an id has at most %d characters", CL_ID_MAXIMUM);
	if (code)
		return code;
	/* Most writes are creations of new ids: try that first, the unique index tells otherwise. */
	if (version->operation == CL_OP_CREATE) {
		code = insert_resource(store, version, after, e);
		if (code)
			return code < 0 ? code : 0;
	}
	code = find_former(store, version, &former, e);
	if (code < 0)
		return code;
	bool exists = code == 1, live = exists && former.operation != CL_OP_DELETE;
	if (version->operation == CL_OP_CREATE && live)
		return cl_fail(e, CL_E_CONFLICT, "a resource with this id exists already; update it instead");
	if (version->operation == CL_OP_DELETE && !live)
		return exists ? cl_fail(e, CL_E_GONE, "the resource was deleted before")
		              : cl_fail(e, CL_E_NOT_FOUND, "there is no resource with this id");
	if (exists)
		return replace(store, version, &former, after, e);
	code = insert_resource(store, version, after, e);
	if (code == 0)
		code = cl_fail(e, CL_E_INTERNAL, "an id is neither free nor taken");
	return code < 0 ? code : 0;
}
