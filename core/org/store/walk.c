/* walk.c: the rows of a type in the order of one sort key, from the index that has this order. */
#include "org/store/internal.h"
#include "org/store/search_internal.h"
#include <math.h>

struct order {
	const char *ascending, *descending;
	uint8_t form;
};

/* ?1 = parameter or type, ?2 = the first key wanted. Columns: row, key. */
#define WALK(columns, condition, key, order_up, order_down)                                                            \
	"SELECT " columns " WHERE " condition " AND " key " >= ?2 ORDER BY " order_up,                                 \
	        "SELECT " columns " WHERE " condition " AND " key " <= ?2 ORDER BY " order_down

static const struct order by_updated = {WALK("row, updated FROM live INDEXED BY live_updated", "type = ?1", "updated",
                                             "updated, row", "updated DESC, row DESC"),
                                        'i'};
static const struct order by_id = {
        WALK("row, id FROM resource INDEXED BY resource_id", "type = ?1", "id", "id", "id DESC"), 't'};
static const struct order by_kind[] = {
        [CL_INDEX_TOKEN] = {WALK("row, code FROM index_token", "parameter = ?1", "code", "code, system, row",
                                 "code DESC, system DESC, row DESC"),
                            't'},
        [CL_INDEX_STRING] = {WALK("row, folded FROM index_string", "parameter = ?1", "folded", "folded, row",
                                  "folded DESC, row DESC"),
                             't'},
        [CL_INDEX_DATE] = {WALK("row, lower FROM index_date NOT INDEXED", "parameter = ?1", "lower",
                                "lower, upper, row", "lower DESC, upper DESC, row DESC"),
                           'i'},
        [CL_INDEX_REFERENCE] = {WALK("row, target FROM index_reference", "parameter = ?1", "target",
                                     "target, target_type, row", "target DESC, target_type DESC, row DESC"),
                                't'},
        [CL_INDEX_NUMBER] = {WALK("row, low FROM index_number", "parameter = ?1", "low", "low, high, row",
                                  "low DESC, high DESC, row DESC"),
                             'r'},
        [CL_INDEX_QUANTITY] = {WALK("row, low FROM index_quantity", "parameter = ?1", "low",
                                    "low, high, code, system, row",
                                    "low DESC, high DESC, code DESC, system DESC, row DESC"),
                               'r'},
        [CL_INDEX_URI] = {WALK("row, uri FROM index_uri", "parameter = ?1", "uri", "uri, row", "uri DESC, row DESC"),
                          't'},
};

static const struct order *order_of(const struct cl_sort *sort)
{
	if (sort->by_id)
		return &by_id;
	if (!sort->parameter)
		return &by_updated;
	return sort->kind >= CL_INDEX_TOKEN && sort->kind <= CL_INDEX_URI ? &by_kind[sort->kind] : NULL;
}

/* Do rows with equal keys come in the final order too? Then the walk can end in the midst of them. */
static bool is_final_order(const struct cl_query *query)
{
	const struct cl_sort *sort = &query->sorts[0];
	return query->sort_count == 1 &&
	       (sort->by_id || !sort->parameter || sort->kind == CL_INDEX_STRING || sort->kind == CL_INDEX_URI);
}

static void bind_start(sqlite3_stmt *statement, const struct order *order, bool descending, const struct cl_key *from)
{
	if (order->form == 'i')
		sqlite3_bind_int64(statement, 2, from ? from->integer : descending ? INT64_MAX : INT64_MIN);
	else if (order->form == 'r')
		sqlite3_bind_double(statement, 2, from ? from->real : descending ? INFINITY : -INFINITY);
	else if (!from && descending)
		cl_bind_blob(statement, 2, CL_STR_NONE); /* every text is less than any blob */
	else
		cl_bind_text(statement, 2, from ? from->text : CL_STR_NONE);
}

static struct cl_key column_key(sqlite3_stmt *statement, uint8_t form)
{
	struct cl_key key = {.form = form};
	if (form == 'i')
		key.integer = sqlite3_column_int64(statement, 1);
	else if (form == 'r')
		key.real = sqlite3_column_double(statement, 1);
	else
		key.text = cl_column_borrow(statement, 1);
	return key;
}

/* A row with several values is found at each of them; it belongs to the one that is its sort key. */
static int visit(struct cl_search *search, const struct cl_key *at, int64_t row, struct cl_err *e)
{
	const struct cl_sort *sort = &search->query->sorts[0];
	bool single = sort->by_id || !sort->parameter;
	if (!single && cl_page_has(&search->page, row))
		return 0;
	/* The index of ids has deleted resources, too: their values tell. */
	return cl_search_accept(search, row, single && !sort->by_id ? at : NULL, single ? NULL : at, false, e);
}

int cl_walk_keys(struct cl_search *search, size_t most, bool *complete, struct cl_err *e)
{
	const struct cl_query *query = search->query;
	const struct cl_sort *sort = &query->sorts[0];
	const struct order *order = order_of(sort);
	struct cl_page *page = &search->page;
	const struct cl_key *from = page->has_after ? &page->after.keys[0] : NULL;
	bool final_order = is_final_order(query);
	struct cl_key last;
	struct cl_buf last_text;
	int code = 1;

	*complete = true;
	if (!order)
		return cl_fail(e, CL_E_INTERNAL, "sort by index of unknown kind %u", sort->kind);
	if (from && from->missing)
		return 0;
	sqlite3_stmt *statement =
	        cl_statement(search->store, sort->descending ? order->descending : order->ascending, e);
	if (!statement)
		return cl_unprepared(e);
	cl_buf_init(&last_text, 0);
	sqlite3_bind_int(statement, 1, sort->by_id || !sort->parameter ? query->type : sort->parameter);
	bind_start(statement, order, sort->descending, from);
	bool started = false;
	while ((code = cl_step(search->store, statement, e)) == 1) {
		struct cl_key key = column_key(statement, order->form);
		bool full = cl_page_full(page);
		/* The page is known once it is full and no row with an equal first key can follow. */
		if (full && (final_order || (started && cl_key_compare(&key, &last, false) != 0)))
			break;
		if (!most--) {
			*complete = false;
			break;
		}
		last = key;
		if (order->form == 't') {
			cl_buf_clear(&last_text);
			cl_buf_add_str(&last_text, key.text);
			last.text = cl_buf_str(&last_text);
		}
		started = true;
		if ((code = visit(search, &last, sqlite3_column_int64(statement, 0), e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	cl_buf_free(&last_text);
	return code == 1 ? 0 : code;
}

int cl_walk_type(struct cl_search *search, size_t most, bool missing_only, bool *complete, struct cl_err *e)
{
	struct cl_page *page = &search->page;
	const struct cl_query *query = search->query;
	bool descending = query->sort_count && query->sorts[0].descending;
	bool by_row = !query->sort_count || (missing_only && query->sort_count == 1);
	int64_t low = cl_row_first(query->type), high = cl_row_last(query->type);
	int code;

	*complete = true;
	if (by_row && !search->counting && page->has_after && (!missing_only || page->after.keys[0].missing)) {
		if (descending)
			high = page->after.row - 1 < high ? page->after.row - 1 : high;
		else
			low = page->after.row > low ? page->after.row : low;
	}
	sqlite3_stmt *statement = cl_statement(
	        search->store,
	        descending ? "SELECT row, updated, content FROM live WHERE row > ?1 AND row <= ?2 ORDER BY row DESC"
	                   : "SELECT row, updated, content FROM live WHERE row > ?1 AND row <= ?2 ORDER BY row",
	        e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, low);
	sqlite3_bind_int64(statement, 2, high);
	while ((code = cl_step(search->store, statement, e)) == 1) {
		if (by_row && !search->counting && cl_page_full(page))
			break;
		if (!most--) {
			*complete = false;
			break;
		}
		if ((code = cl_search_accept_values(search, sqlite3_column_int64(statement, 0),
		                                    sqlite3_column_int64(statement, 1), cl_column_borrow(statement, 2),
		                                    missing_only, e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}
