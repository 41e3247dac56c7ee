/* check.c: is the file sound, and do its index tables say what its resources say? */
#include "org/store/internal.h"

static int check_pages(struct cl_store *store, bool thorough, struct cl_err *e)
{
	sqlite3_stmt *statement = thorough ? cl_statement(store, "PRAGMA integrity_check(1)", e)
	                                   : cl_statement(store, "PRAGMA quick_check(1)", e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		struct cl_str text = cl_column_borrow(statement, 0);
		code = cl_str_is(text, "ok") ? 0
		                             : cl_fail(e, CL_E_CORRUPT, "the file is damaged: %.*s", CL_STR_ARGS(text));
	}
	sqlite3_reset(statement);
	return code;
}

static const char *const find_value[] = {
        [CL_INDEX_TOKEN] = "SELECT 1 FROM index_token WHERE parameter = ?1 AND code = ?2 AND system = ?3 AND row = ?4",
        [CL_INDEX_STRING] = "SELECT 1 FROM index_string WHERE parameter = ?1 AND folded = ?2 AND row = ?4",
        [CL_INDEX_DATE] = "SELECT 1 FROM index_date WHERE parameter = ?1 AND lower = ?2 AND upper = ?3 AND row = ?4",
        [CL_INDEX_REFERENCE] =
                "SELECT 1 FROM index_reference WHERE parameter = ?1 AND target = ?2 AND target_type = ?3 AND row = ?4",
        [CL_INDEX_NUMBER] = "SELECT 1 FROM index_number WHERE parameter = ?1 AND low = ?2 AND high = ?3 AND row = ?4",
        [CL_INDEX_QUANTITY] =
                "SELECT 1 FROM index_quantity WHERE parameter = ?1 AND low = ?2 AND high = ?3 AND code = ?5"
                " AND system = ?6 AND row = ?4",
        [CL_INDEX_URI] = "SELECT 1 FROM index_uri WHERE parameter = ?1 AND uri = ?2 AND row = ?4",
        [CL_INDEX_COMPARTMENT] = "SELECT 1 FROM compartment WHERE patient = ?2 AND row = ?4",
};
static const char *const count_values[] = {
        [CL_INDEX_TOKEN] = "SELECT count(*) FROM index_token",
        [CL_INDEX_STRING] = "SELECT count(*) FROM index_string",
        [CL_INDEX_DATE] = "SELECT count(*) FROM index_date NOT INDEXED",
        [CL_INDEX_REFERENCE] = "SELECT count(*) FROM index_reference",
        [CL_INDEX_NUMBER] = "SELECT count(*) FROM index_number",
        [CL_INDEX_QUANTITY] = "SELECT count(*) FROM index_quantity",
        [CL_INDEX_URI] = "SELECT count(*) FROM index_uri",
        [CL_INDEX_COMPARTMENT] = "SELECT count(*) FROM compartment",
};

static int count(struct cl_store *store, const char *text, int64_t *out, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, text, e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
	}
	return code < 0 ? code : 0;
}

static int check_value(struct cl_store *store, int64_t row, const struct cl_index_value *value, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, find_value[value->kind], e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_bind_value(store, statement, value, row, e);
	if (code)
		return code;
	code = cl_step(store, statement, e);
	sqlite3_reset(statement);
	if (code == 0)
		return cl_fail(e, CL_E_CORRUPT, "resource row %lld is missing from an index (kind %u, parameter %u)",
		               (long long)row, value->kind, value->parameter);
	return code < 0 ? code : 0;
}

/* Every stored value has its index row, and there are no others; every live resource has its values, and only those. */
static int check_index(struct cl_store *store, struct cl_err *e)
{
	int64_t expected[CL_INDEX_COMPARTMENT + 1] = {0}, found, live = 0, rows = 0;
	struct cl_values *values;
	int code = cl_scratch_enter(store, &values, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT l.row, l.content FROM live l JOIN resource r ON r.row = l.row"
	                                       " WHERE r.operation <> 3 AND r.type = l.type AND r.updated = l.updated",
	                                       e);
	if (!statement)
		code = cl_unprepared(e);
	while (statement && (code = cl_step(store, statement, e)) == 1) {
		live++;
		if ((code = cl_values_decode(store, cl_column_borrow(statement, 1), values, e)) != 0)
			break;
		for (size_t i = 0; !code && i < values->index.count; i++) {
			if (values->index.values[i].kind > CL_INDEX_COMPARTMENT)
				continue;
			expected[values->index.values[i].kind]++;
			code = check_value(store, sqlite3_column_int64(statement, 0), &values->index.values[i], e);
		}
		if (code || (code = cl_work(store, 10, e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	cl_scratch_leave(store);
	if (!code)
		code = count(store, "SELECT count(*) FROM resource WHERE operation <> 3", &rows, e);
	if (!code && rows != live)
		return cl_fail(e, CL_E_CORRUPT, "%lld live resources, %lld with index values", (long long)rows,
		               (long long)live);
	if (!code)
		code = count(store, "SELECT count(*) FROM live", &rows, e);
	if (!code && rows != live)
		return cl_fail(e, CL_E_CORRUPT, "index values of %lld resources that are not live",
		               (long long)(rows - live));
	for (unsigned kind = CL_INDEX_TOKEN; !code && kind <= CL_INDEX_COMPARTMENT; kind++) {
		code = count(store, count_values[kind], &found, e);
		if (!code && found != expected[kind])
			return cl_fail(e, CL_E_CORRUPT, "index kind %u has %lld rows, resources have %lld values", kind,
			               (long long)found, (long long)expected[kind]);
	}
	return code;
}

int cl_store_check(struct cl_store *store, bool thorough, struct cl_err *e)
{
	bool opened;
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	code = check_pages(store, thorough, e);
	if (!code && thorough)
		code = check_index(store, e);
	cl_read_end(store, opened);
	return code;
}
