/* scan.c: a walk over the rows of one type. A row that changed since is taken from the history; each row is met once, whatever
 * is written between two slices, because rows keep their numbers. */
#include "org/store/scan.h"
#include "org/store/internal.h"

#define HEAD "row, type, id, version, operation, updated, sequence, body"

static void borrow(sqlite3_stmt *statement, struct cl_version *out)
{
	*out = (struct cl_version){
	        .row = sqlite3_column_int64(statement, 0),
	        .type = (uint16_t)sqlite3_column_int(statement, 1),
	        .id = cl_column_borrow(statement, 2),
	        .version = sqlite3_column_int64(statement, 3),
	        .operation = (uint8_t)sqlite3_column_int(statement, 4),
	        .updated = sqlite3_column_int64(statement, 5),
	        .sequence = (uint64_t)sqlite3_column_int64(statement, 6),
	};
}

/* The newest version up to the sequence; nothing when the resource was made later. */
static int visit_former(struct cl_store *store, struct cl_scan *scan, int64_t row, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT " HEAD " FROM history WHERE row = ?1 AND sequence <= ?2"
	                                       " ORDER BY version DESC LIMIT 1",
	                                       e);
	struct cl_version version;
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, row);
	sqlite3_bind_int64(statement, 2, (int64_t)scan->sequence);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code;
	borrow(statement, &version);
	version.body = cl_column_borrow(statement, 7);
	code = scan->visit(&version, NULL, scan->context);
	sqlite3_reset(statement);
	return code;
}

static int visit_current(struct cl_store *store, struct cl_scan *scan, struct cl_decider *decider,
                         sqlite3_stmt *statement, struct cl_version *version, struct cl_err *e)
{
	static const struct cl_index none = {0};
	struct cl_values *values;
	bool allowed = true;
	if (version->operation == CL_OP_DELETE)
		return scan->visit(version, &none, scan->context);
	int code = cl_scratch_enter(store, &values, e);
	if (code)
		return code;
	code = cl_values_load(store, version->row, values, NULL, e);
	if (code == 0) {
		code = cl_fail(e, CL_E_CORRUPT, "a live resource has no index values");
	} else if (code == 1) {
		code = 0;
		if (scan->wanted && !scan->wanted(&values->index, scan->context))
			allowed = false;
		if (allowed && scan->where) {
			struct cl_subject subject = {.row = version->row,
			                             .type = version->type,
			                             .has_id = true,
			                             .has_updated = true,
			                             .id = version->id,
			                             .updated = version->updated,
			                             .values = &values->index};
			code = cl_decide(decider, scan->where, &subject, &allowed, e);
		}
		if (!code && allowed) {
			/* Only now: long texts lie on pages of their own. */
			version->body = cl_column_borrow(statement, 7);
			code = scan->visit(version, &values->index, scan->context);
		}
	}
	cl_scratch_leave(store);
	return code;
}

int cl_store_scan(struct cl_store *store, struct cl_scan *scan, uint32_t limit, struct cl_err *e)
{
	struct cl_decider decider = {.store = store};
	uint32_t looked = 0;
	int code = 0;
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT " HEAD " FROM resource WHERE row > ?1 AND row <= ?2 ORDER BY row", e);
	if (!statement)
		return cl_unprepared(e);
	int64_t after = scan->after > cl_row_first(scan->type) ? scan->after : cl_row_first(scan->type);
	sqlite3_bind_int64(statement, 1, after);
	sqlite3_bind_int64(statement, 2, cl_row_last(scan->type));
	scan->done = false;
	while (!code && looked < limit) {
		struct cl_version version;
		code = cl_step(store, statement, e);
		if (code != 1) {
			scan->done = code == 0;
			break;
		}
		borrow(statement, &version);
		looked++;
		code = version.sequence <= scan->sequence ? visit_current(store, scan, &decider, statement, &version, e)
		                                          : visit_former(store, scan, version.row, e);
		if (code >= 0)
			scan->after = version.row;
	}
	sqlite3_reset(statement);
	cl_decider_free(&decider);
	return code < 0 ? code : 0;
}
