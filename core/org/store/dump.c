/* dump.c: every row as a line of JSON, in an order that depends on nothing but the rows. */
#include "org/store/internal.h"
#include "base/hash.h"
#include "base/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool skipped(const char *skip, struct cl_str table)
{
	while (skip && *skip) {
		size_t n = strcspn(skip, ",");
		if (cl_str_equal((struct cl_str){skip, n}, table))
			return true;
		skip += n + (skip[n] == ',');
	}
	return false;
}

static int names_of_tables(struct cl_store *store, struct cl_arena *arena, struct cl_str **out, size_t *count,
                           struct cl_err *e)
{
	size_t capacity = 0;
	int code;

	*out = NULL;
	*count = 0;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT name FROM sqlite_schema WHERE type = 'table'"
	                                       " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	while ((code = cl_step(store, statement, e)) == 1) {
		*out = cl_arena_grow(arena, *out, &capacity, *count, sizeof(**out));
		(*out)[(*count)++] = cl_column(arena, statement, 0);
	}
	return code;
}

static void write_column(struct cl_arena *arena, struct cl_buf *line, sqlite3_stmt *statement, int i)
{
	double real;

	cl_buf_add_byte(line, ',');
	cl_json_write_text(line, cl_str_of(sqlite3_column_name(statement, i)));
	cl_buf_add_byte(line, ':');
	switch (sqlite3_column_type(statement, i)) {
	case SQLITE_INTEGER:
		cl_buf_printf(line, "%lld", (long long)sqlite3_column_int64(statement, i));
		break;
	case SQLITE_FLOAT:
		real = sqlite3_column_double(statement, i);
		cl_buf_printf(line, isfinite(real) ? "%.17g" : "\"%g\"", real);
		break;
	case SQLITE_TEXT:
		cl_json_write_text(line, cl_column_borrow(statement, i));
		break;
	case SQLITE_BLOB:
		cl_buf_add_cstring(line, "{\"base64\":\"");
		cl_buf_add_str(line, cl_base64(arena, cl_column_borrow(statement, i)));
		cl_buf_add_cstring(line, "\"}");
		break;
	default:
		cl_buf_add_cstring(line, "null");
	}
}

/* The first columns of every table are its key, in its order. */
static sqlite3_stmt *prepare(struct cl_store *store, struct cl_str table, struct cl_err *e)
{
	sqlite3_stmt *statement = NULL;
	int columns = 0, result = SQLITE_OK;

	for (int pass = 0; pass < 2 && result == SQLITE_OK; pass++) {
		struct cl_buf text;
		cl_buf_init(&text, 0);
		cl_buf_printf(&text, "SELECT * FROM \"%.*s\"", CL_STR_ARGS(table));
		for (int i = 1; i <= columns && i <= 6; i++)
			cl_buf_printf(&text, "%s %d", i == 1 ? " ORDER BY" : ",", i);
		sqlite3_finalize(statement);
		result = sqlite3_prepare_v2(store->db, text.p, (int)text.n, &statement, NULL);
		columns = sqlite3_column_count(statement);
		cl_buf_free(&text);
	}
	if (result != SQLITE_OK)
		cl_sqlite_fail(store, result, "reading a table", e);
	return statement;
}

static int dump_table(struct cl_store *store, struct cl_str table, int (*line)(struct cl_str json, void *context),
                      void *context, bool *stopped, struct cl_err *e)
{
	struct cl_buf text;
	int code;

	sqlite3_stmt *statement = prepare(store, table, e);
	if (!statement)
		return cl_unprepared(e);
	bool is_meta = cl_str_is(table, "meta");
	struct cl_arena *arena = cl_arena_new(0);
	cl_buf_init(&text, 0);
	while ((code = cl_step(store, statement, e)) == 1) {
		/* The secret leaves the file only with the file. */
		if (is_meta && cl_str_is(cl_column_borrow(statement, 0), "secret"))
			continue;
		cl_buf_clear(&text);
		cl_arena_reset(arena);
		cl_buf_add_cstring(&text, "{\"table\":");
		cl_json_write_text(&text, table);
		for (int i = 0; i < sqlite3_column_count(statement); i++)
			write_column(arena, &text, statement, i);
		cl_buf_add_byte(&text, '}');
		if (line(cl_buf_str(&text), context)) {
			*stopped = true;
			break;
		}
		if ((code = cl_work(store, 1, e)) != 0)
			break;
	}
	sqlite3_finalize(statement);
	cl_buf_free(&text);
	cl_arena_free(arena);
	return code == 1 ? 0 : code;
}

int cl_store_dump(struct cl_store *store, const char *skip, int (*line)(struct cl_str json, void *context),
                  void *context, struct cl_err *e)
{
	struct cl_str *tables;
	size_t count;
	bool opened, stopped = false;

	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	struct cl_arena *arena = cl_arena_new(0);
	code = names_of_tables(store, arena, &tables, &count, e);
	for (size_t i = 0; !code && !stopped && i < count; i++)
		if (!skipped(skip, tables[i]))
			code = dump_table(store, tables[i], line, context, &stopped, e);
	cl_arena_free(arena);
	cl_read_end(store, opened);
	return code;
}

static int count_table(struct cl_store *store, struct cl_str table, int64_t *out, struct cl_err *e)
{
	char text[200];
	sqlite3_stmt *statement;

	snprintf(text, sizeof(text), "SELECT count(*) FROM \"%.*s\"", CL_STR_ARGS(table));
	int result = sqlite3_prepare_v2(store->db, text, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return cl_sqlite_fail(store, result, "counting", e);
	int code = cl_step(store, statement, e);
	if (code == 1)
		*out = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return code < 0 ? code : 0;
}

int cl_store_counts(struct cl_store *store, struct cl_buf *json, struct cl_err *e)
{
	struct cl_str *tables;
	size_t count;
	bool opened;

	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	struct cl_arena *arena = cl_arena_new(0);
	code = names_of_tables(store, arena, &tables, &count, e);
	cl_buf_add_byte(json, '{');
	for (size_t i = 0; !code && i < count; i++) {
		int64_t rows = 0;
		code = count_table(store, tables[i], &rows, e);
		if (i)
			cl_buf_add_byte(json, ',');
		cl_json_write_text(json, tables[i]);
		cl_buf_printf(json, ":%lld", (long long)rows);
	}
	cl_buf_add_byte(json, '}');
	cl_arena_free(arena);
	cl_read_end(store, opened);
	return code;
}
