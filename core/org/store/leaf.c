/* leaf.c: the SQL face of a criterion that one index answers. All texts are constants; values are bound. */
#include "org/store/internal.h"
#include <stdlib.h>

/* As in the partial index index_date_long (schema.c): the text must be the same for SQLite to use it. */
#define LONG 90000000000
#define LONG_TEXT "90000000000"

void cl_rows_add(struct cl_rows *rows, int64_t row)
{
	rows->items = cl_grow(rows->items, &rows->capacity, rows->count + 1, sizeof(*rows->items));
	rows->items[rows->count++] = row;
}

void cl_rows_free(struct cl_rows *rows)
{
	free(rows->items);
	*rows = (struct cl_rows){0};
}

static int compare_rows(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
	return (a > b) - (a < b);
}

void cl_rows_normalize(struct cl_rows *rows)
{
	bool sorted = true;
	size_t kept = 0;

	for (size_t i = 1; sorted && i < rows->count; i++)
		sorted = rows->items[i - 1] < rows->items[i];
	if (sorted)
		return;
	qsort(rows->items, rows->count, sizeof(*rows->items), compare_rows);
	for (size_t i = 1; i < rows->count; i++)
		if (rows->items[kept] != rows->items[i])
			rows->items[++kept] = rows->items[i];
	rows->count = kept + 1;
}

bool cl_leaf_listable(const struct cl_criterion *criterion)
{
	switch (criterion->kind) {
	case CL_ID:
	case CL_TOKEN:
	case CL_STRING:
	case CL_DATE:
	case CL_REFERENCE:
	case CL_NUMBER:
	case CL_QUANTITY:
	case CL_URI:
	case CL_COMPARTMENT:
	case CL_UPDATED:
		return true;
	default:
		return false;
	}
}

bool cl_leaf_exact(const struct cl_criterion *criterion)
{
	switch (criterion->kind) {
	case CL_TOKEN:
		return criterion->match == CL_MATCH_SYSTEM_CODE || criterion->match == CL_MATCH_NO_SYSTEM_CODE;
	case CL_STRING:
		return criterion->match != CL_MATCH_PREFIX && criterion->match != CL_MATCH_CONTAINS &&
		       criterion->match != CL_MATCH_EXACT;
	case CL_URI:
		return criterion->match != CL_MATCH_PREFIX;
	case CL_REFERENCE:
		return criterion->a.n > 0;
	case CL_COMPARTMENT:
		return true;
	default:
		return false;
	}
}

/* ---- exact ones ---- */

#define TOKEN_KEY " FROM index_token WHERE parameter = ?1 AND code = ?2 AND system = ?3 AND row > ?4 AND row <= ?5"
#define STRING_KEY " FROM index_string WHERE parameter = ?1 AND folded = ?2 AND row > ?4 AND row <= ?5"
#define URI_KEY " FROM index_uri WHERE parameter = ?1 AND uri = ?2 AND row > ?4 AND row <= ?5"
#define REFERENCE_KEY                                                                                                  \
	" FROM index_reference WHERE parameter = ?1 AND target = ?2 AND target_type = ?3 AND row > ?4 AND row <= ?5"
#define COMPARTMENT_KEY " FROM compartment WHERE patient = ?2 AND row > ?4 AND row <= ?5"

/* Binds all but the row range. *out is NULL when the code system or type name is not known here: then nothing matches.
 * */
static int exact_statement(struct cl_store *store, const struct cl_criterion *criterion, bool count, sqlite3_stmt **out,
                           struct cl_err *e)
{
	int64_t symbol = 0;
	const char *text;
	bool with_symbol = false;
	struct cl_str value = criterion->a;

	*out = NULL;
	switch (criterion->kind) {
	case CL_TOKEN:
		text = count ? "SELECT count(*)" TOKEN_KEY : "SELECT row" TOKEN_KEY " ORDER BY row";
		with_symbol = true;
		value = criterion->b;
		break;
	case CL_REFERENCE:
		text = count ? "SELECT count(*)" REFERENCE_KEY : "SELECT row" REFERENCE_KEY " ORDER BY row";
		with_symbol = true;
		value = criterion->b;
		break;
	case CL_COMPARTMENT:
		text = count ? "SELECT count(*)" COMPARTMENT_KEY : "SELECT row" COMPARTMENT_KEY " ORDER BY row";
		value = criterion->b;
		break;
	case CL_STRING:
		text = count ? "SELECT count(*)" STRING_KEY : "SELECT row" STRING_KEY " ORDER BY row";
		break;
	default:
		text = count ? "SELECT count(*)" URI_KEY : "SELECT row" URI_KEY " ORDER BY row";
	}
	bool empty_system = criterion->kind == CL_TOKEN && criterion->match == CL_MATCH_NO_SYSTEM_CODE;
	if (with_symbol && !empty_system) {
		int code = cl_symbol_number(store, criterion->a, false, &symbol, e);
		if (code || symbol < 0)
			return code;
	}
	sqlite3_stmt *statement = cl_statement(store, text, e);
	if (!statement)
		return cl_unprepared(e);
	if (criterion->kind != CL_COMPARTMENT)
		sqlite3_bind_int(statement, 1, criterion->parameter);
	cl_bind_text(statement, 2, value);
	if (with_symbol)
		sqlite3_bind_int64(statement, 3, symbol);
	*out = statement;
	return 0;
}

int cl_leaf_next(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, int64_t after,
                 size_t most, struct cl_rows *out, struct cl_err *e)
{
	sqlite3_stmt *statement;
	size_t found = 0;
	int code = exact_statement(store, criterion, false, &statement, e);
	if (code || !statement || !most)
		return code;
	sqlite3_bind_int64(statement, 4, after > cl_row_first(type) ? after : cl_row_first(type));
	sqlite3_bind_int64(statement, 5, cl_row_last(type));
	while ((code = cl_step(store, statement, e)) == 1) {
		cl_rows_add(out, sqlite3_column_int64(statement, 0));
		if (++found >= most || (code = cl_work(store, 1, e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}

int cl_leaf_has(struct cl_store *store, const struct cl_criterion *criterion, int64_t row, bool *out, struct cl_err *e)
{
	sqlite3_stmt *statement;
	*out = false;
	int code = exact_statement(store, criterion, false, &statement, e);
	if (code || !statement)
		return code;
	sqlite3_bind_int64(statement, 4, row - 1);
	sqlite3_bind_int64(statement, 5, row);
	code = cl_step(store, statement, e);
	*out = code == 1;
	sqlite3_reset(statement);
	return code < 0 ? code : 0;
}

int cl_leaf_count(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, int64_t *out,
                  struct cl_err *e)
{
	sqlite3_stmt *statement;
	*out = 0;
	int code = exact_statement(store, criterion, true, &statement, e);
	if (code || !statement)
		return code;
	sqlite3_bind_int64(statement, 4, cl_row_first(type));
	sqlite3_bind_int64(statement, 5, cl_row_last(type));
	code = cl_step(store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
	}
	return code < 0 ? code : 0;
}

/* ---- scans: a run of one index, with a look at each of its rows ---- */

struct scan {
	struct cl_store *store;
	struct cl_rows *out;
	size_t left; /* index rows that may still be looked at */
	bool complete;
};

/* `keep` decides on a row of the statement, whose column 0 is the resource's row; NULL keeps all. */
static int run_scan(struct scan *scan, sqlite3_stmt *statement,
                    bool (*keep)(sqlite3_stmt *statement, const void *context), const void *context, struct cl_err *e)
{
	int code = 1;

	if (!statement)
		return cl_unprepared(e);
	while (scan->complete && (code = cl_step(scan->store, statement, e)) == 1) {
		if (!scan->left) {
			scan->complete = false;
			break;
		}
		scan->left--;
		if (!keep || keep(statement, context))
			cl_rows_add(scan->out, sqlite3_column_int64(statement, 0));
		if ((code = cl_work(scan->store, 1, e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}

static int scan_id(struct scan *scan, const struct cl_criterion *criterion, uint16_t type, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(scan->store, "SELECT row FROM resource WHERE type = ?1 AND id = ?2 AND operation <> 3", e);
	if (statement) {
		sqlite3_bind_int(statement, 1, type);
		cl_bind_text(statement, 2, criterion->b);
	}
	return run_scan(scan, statement, NULL, NULL, e);
}

static int scan_token(struct scan *scan, const struct cl_criterion *criterion, struct cl_err *e)
{
	int64_t symbol = 0;
	sqlite3_stmt *statement;

	if (criterion->match == CL_MATCH_SYSTEM) {
		int code = cl_symbol_number(scan->store, criterion->a, false, &symbol, e);
		if (code || symbol < 0)
			return code;
		statement = cl_statement(scan->store,
		                         "SELECT row FROM index_token WHERE parameter = ?1 AND system = ?2", e);
		if (statement)
			sqlite3_bind_int64(statement, 2, symbol);
	} else {
		if (criterion->match != CL_MATCH_CODE)
			return 0;
		statement =
		        cl_statement(scan->store, "SELECT row FROM index_token WHERE parameter = ?1 AND code = ?2", e);
		if (statement)
			cl_bind_text(statement, 2, criterion->b);
	}
	if (statement)
		sqlite3_bind_int(statement, 1, criterion->parameter);
	return run_scan(scan, statement, NULL, NULL, e);
}

static bool keep_containing(sqlite3_stmt *statement, const void *context)
{
	const struct cl_str *part = context;
	struct cl_str text = cl_column_borrow(statement, 1);
	return part->n == 0 || (text.n && memmem(text.p, text.n, part->p, part->n));
}

static int scan_prefix(struct scan *scan, const struct cl_criterion *criterion, bool uri, struct cl_err *e)
{
	struct cl_buf end;
	cl_buf_init(&end, 0);
	bool bounded = cl_prefix_end(&end, criterion->a);
	const char *text;
	if (uri)
		text = bounded ? "SELECT row FROM index_uri WHERE parameter = ?1 AND uri >= ?2 AND uri < ?3"
		               : "SELECT row FROM index_uri WHERE parameter = ?1 AND uri >= ?2";
	else
		text = bounded ? "SELECT row FROM index_string WHERE parameter = ?1 AND folded >= ?2 AND folded < ?3"
		               : "SELECT row FROM index_string WHERE parameter = ?1 AND folded >= ?2";
	sqlite3_stmt *statement = cl_statement(scan->store, text, e);
	if (statement) {
		sqlite3_bind_int(statement, 1, criterion->parameter);
		cl_bind_text(statement, 2, criterion->a);
		if (bounded)
			cl_bind_text(statement, 3, cl_buf_str(&end));
	}
	int code = run_scan(scan, statement, NULL, NULL, e);
	cl_buf_free(&end);
	return code;
}

static int scan_text(struct scan *scan, const struct cl_criterion *criterion, struct cl_err *e)
{
	if (criterion->kind == CL_URI || criterion->match == CL_MATCH_PREFIX)
		return scan_prefix(scan, criterion, criterion->kind == CL_URI, e);
	sqlite3_stmt *statement;
	if (criterion->match == CL_MATCH_EXACT) {
		statement = cl_statement(scan->store,
		                         "SELECT row FROM index_string WHERE parameter = ?1 AND folded = ?2", e);
		if (statement) {
			sqlite3_bind_int(statement, 1, criterion->parameter);
			cl_bind_text(statement, 2, criterion->b);
		}
		return run_scan(scan, statement, NULL, NULL, e);
	}
	statement = cl_statement(scan->store, "SELECT row, folded FROM index_string WHERE parameter = ?1", e);
	if (statement)
		sqlite3_bind_int(statement, 1, criterion->parameter);
	return run_scan(scan, statement, keep_containing, &criterion->a, e);
}

/* ---- intervals ---- */

struct interval_filter {
	struct cl_box box;
	bool short_only;
};

static bool keep_interval(sqlite3_stmt *statement, const void *context)
{
	const struct interval_filter *filter = context;
	int64_t lower = sqlite3_column_int64(statement, 1), upper = sqlite3_column_int64(statement, 2), length;

	if (lower > upper || lower < filter->box.lower_least || lower > filter->box.lower_most ||
	    upper < filter->box.upper_least || upper > filter->box.upper_most)
		return false;
	return !filter->short_only || (!__builtin_sub_overflow(upper, lower, &length) && length <= LONG);
}

/* By the beginning, from..to. */
static int scan_beginnings(struct scan *scan, uint16_t parameter, int64_t from, int64_t to,
                           const struct interval_filter *filter, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(scan->store,
	                                       "SELECT row, lower, upper FROM index_date NOT INDEXED"
	                                       " WHERE parameter = ?1 AND lower >= ?2 AND lower <= ?3",
	                                       e);
	if (statement) {
		sqlite3_bind_int(statement, 1, parameter);
		sqlite3_bind_int64(statement, 2, from);
		sqlite3_bind_int64(statement, 3, to);
	}
	return run_scan(scan, statement, keep_interval, filter, e);
}

/* An interval that ends at or after some time begins at most LONG before it, or is among the long ones, which have an
 * index by their end: so that "after last week" does not look at everything that ever began. */
static int scan_box(struct scan *scan, uint16_t parameter, const struct cl_box *box, struct cl_err *e)
{
	struct interval_filter filter = {.box = *box};
	int64_t to = box->lower_most < box->upper_most ? box->lower_most : box->upper_most;

	if (box->lower_least > INT64_MIN || box->upper_least < INT64_MIN + LONG + 1)
		return scan_beginnings(scan, parameter, box->lower_least, to, &filter, e);
	sqlite3_stmt *statement = cl_statement(scan->store,
	                                       "SELECT row, lower, upper FROM index_date INDEXED BY index_date_long"
	                                       " WHERE parameter = ?1 AND upper >= ?2 AND upper <= ?3"
	                                       " AND upper - lower > " LONG_TEXT,
	                                       e);
	if (statement) {
		sqlite3_bind_int(statement, 1, parameter);
		sqlite3_bind_int64(statement, 2, box->upper_least);
		sqlite3_bind_int64(statement, 3, box->upper_most);
	}
	int code = run_scan(scan, statement, keep_interval, &filter, e);
	if (code)
		return code;
	filter.short_only = true;
	return scan_beginnings(scan, parameter, box->upper_least - LONG, to, &filter, e);
}

static int scan_date(struct scan *scan, const struct cl_criterion *criterion, struct cl_err *e)
{
	struct cl_box boxes[2];
	unsigned n = cl_relation_boxes(criterion->relation, criterion->lower, criterion->upper, boxes);
	int code = 0;
	for (unsigned i = 0; !code && i < n; i++)
		code = scan_box(scan, criterion->parameter, &boxes[i], e);
	return code;
}

static int scan_updated(struct scan *scan, const struct cl_criterion *criterion, uint16_t type, struct cl_err *e)
{
	struct cl_box boxes[2];
	unsigned n = cl_relation_boxes(criterion->relation, criterion->lower, criterion->upper, boxes);
	int code = 0;
	/* The stored interval is [t, t + 1): both bounds of the box are bounds of t. */
	for (unsigned i = 0; !code && i < n; i++) {
		int64_t from = boxes[i].lower_least, to = boxes[i].lower_most;
		if (boxes[i].upper_least > INT64_MIN && boxes[i].upper_least - 1 > from)
			from = boxes[i].upper_least - 1;
		if (boxes[i].upper_most < INT64_MAX && boxes[i].upper_most > INT64_MIN && boxes[i].upper_most - 1 < to)
			to = boxes[i].upper_most - 1;
		if (boxes[i].upper_most == INT64_MIN)
			continue;
		sqlite3_stmt *statement = cl_statement(scan->store,
		                                       "SELECT row FROM live WHERE type = ?1 AND updated >= ?2"
		                                       " AND updated <= ?3",
		                                       e);
		if (statement) {
			sqlite3_bind_int(statement, 1, type);
			sqlite3_bind_int64(statement, 2, from);
			sqlite3_bind_int64(statement, 3, to);
		}
		code = run_scan(scan, statement, NULL, NULL, e);
	}
	return code;
}

static bool keep_number(sqlite3_stmt *statement, const void *context)
{
	const struct cl_number_box *box = context;
	double high = sqlite3_column_double(statement, 1);
	return high >= box->high_least && high <= box->high_most;
}

static int scan_number(struct scan *scan, const struct cl_criterion *criterion, struct cl_err *e)
{
	struct cl_number_box boxes[2];
	unsigned n = cl_relation_number_boxes(criterion->relation, criterion->low, criterion->high, boxes);
	bool quantity = criterion->kind == CL_QUANTITY;
	int64_t symbol = 0;
	int code = 0;

	if (quantity && criterion->a.n) {
		code = cl_symbol_number(scan->store, criterion->a, false, &symbol, e);
		if (code || symbol < 0)
			return code;
	}
	const char *text =
	        !quantity ? "SELECT row, high FROM index_number WHERE parameter = ?1 AND low >= ?2 AND low <= ?3"
	                  : "SELECT row, high FROM index_quantity WHERE parameter = ?1 AND low >= ?2 AND low <= ?3"
	                    " AND (?4 = 0 OR system = ?4) AND (?5 = '' OR code = ?5)";
	for (unsigned i = 0; !code && i < n; i++) {
		sqlite3_stmt *statement = cl_statement(scan->store, text, e);
		if (statement) {
			sqlite3_bind_int(statement, 1, criterion->parameter);
			sqlite3_bind_double(statement, 2, boxes[i].low_least);
			sqlite3_bind_double(statement, 3, boxes[i].low_most);
			if (quantity) {
				sqlite3_bind_int64(statement, 4, symbol);
				cl_bind_text(statement, 5, criterion->b);
			}
		}
		code = run_scan(scan, statement, keep_number, &boxes[i], e);
	}
	return code;
}

static int scan_reference(struct scan *scan, const struct cl_criterion *criterion, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(scan->store, "SELECT row FROM index_reference WHERE parameter = ?1 AND target = ?2", e);
	if (statement) {
		sqlite3_bind_int(statement, 1, criterion->parameter);
		cl_bind_text(statement, 2, criterion->b);
	}
	return run_scan(scan, statement, NULL, NULL, e);
}

int cl_leaf_list(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, size_t most,
                 struct cl_rows *out, bool *complete, struct cl_err *e)
{
	struct scan scan = {.store = store, .out = out, .left = most, .complete = true};
	int code;

	if (cl_leaf_exact(criterion)) {
		size_t before = out->count;
		code = cl_leaf_next(store, criterion, type, 0, most == SIZE_MAX ? most : most + 1, out, e);
		*complete = out->count - before <= most;
		return code;
	}
	switch (criterion->kind) {
	case CL_ID:
		code = scan_id(&scan, criterion, type, e);
		break;
	case CL_TOKEN:
		code = scan_token(&scan, criterion, e);
		break;
	case CL_STRING:
	case CL_URI:
		code = scan_text(&scan, criterion, e);
		break;
	case CL_DATE:
		code = scan_date(&scan, criterion, e);
		break;
	case CL_UPDATED:
		code = scan_updated(&scan, criterion, type, e);
		break;
	case CL_NUMBER:
	case CL_QUANTITY:
		code = scan_number(&scan, criterion, e);
		break;
	case CL_REFERENCE:
		code = scan_reference(&scan, criterion, e);
		break;
	default:
		code = cl_fail(e, CL_E_INTERNAL, "criterion kind %u has no index", criterion->kind);
	}
	*complete = scan.complete;
	return code;
}
