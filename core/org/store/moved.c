/* moved.c: pages that stay what they were while writes go on. A later page leaves out the rows changed since the first
 * one, and looks at the versions that were current then instead: their index values are made from their text again. */
#include "org/store/search_internal.h"
#include <stdlib.h>

#define MOST 20000 /* versions that one page looks at; about a second */

static int compare(const void *x, const void *y)
{
	int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
	return (a > b) - (a < b);
}

int cl_moved_load(struct cl_search *search, struct cl_err *e)
{
	struct cl_moved *moved = &search->moved;
	const struct cl_page *page = &search->page;
	int code;

	if (!page->has_after || !search->query->extract)
		return 0;
	sqlite3_stmt *statement = cl_statement(search->store,
	                                       "SELECT row FROM resource INDEXED BY resource_sequence"
	                                       " WHERE type = ?1 AND sequence > ?2 AND row <= ?3",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, search->query->type);
	sqlite3_bind_int64(statement, 2, (int64_t)page->sequence);
	sqlite3_bind_int64(statement, 3, page->last_row);
	while ((code = cl_step(search->store, statement, e)) == 1) {
		moved->rows = cl_grow(moved->rows, &moved->capacity, moved->count + 1, sizeof(*moved->rows));
		moved->rows[moved->count++] = sqlite3_column_int64(statement, 0);
		if ((code = cl_work(search->store, 1, e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	if (moved->count)
		qsort(moved->rows, moved->count, sizeof(*moved->rows), compare);
	return code == 1 ? 0 : code;
}

bool cl_moved_has(const struct cl_moved *moved, int64_t row)
{
	return moved->count && bsearch(&row, moved->rows, moved->count, sizeof(row), compare);
}

struct then {
	int64_t version;
	cl_instant updated;
	struct cl_str body;
};

/* 1 = there was one, 0 = made or deleted since. */
static int version_then(struct cl_search *search, struct cl_arena *arena, int64_t row, struct then *out,
                        struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(search->store,
	                                       "SELECT version, operation, updated, body FROM history"
	                                       " WHERE row = ?1 AND sequence <= ?2 ORDER BY version DESC LIMIT 1",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, row);
	sqlite3_bind_int64(statement, 2, (int64_t)search->page.sequence);
	int code = cl_step(search->store, statement, e);
	if (code != 1)
		return code;
	bool deleted = sqlite3_column_int(statement, 1) == CL_OP_DELETE;
	out->version = sqlite3_column_int64(statement, 0);
	out->updated = sqlite3_column_int64(statement, 2);
	out->body = cl_column(arena, statement, 3);
	sqlite3_reset(statement);
	return !deleted;
}

static int judge_then(struct cl_search *search, int64_t row, const struct then *then, const struct cl_index *values,
                      struct cl_err *e)
{
	struct cl_subject subject = {.row = row,
	                             .type = search->query->type,
	                             .has_updated = true,
	                             .updated = then->updated,
	                             .values = values};
	static const struct cl_criterion any = {.kind = CL_TRUE};
	struct cl_key keys[CL_SORT_MAXIMUM];
	bool holds = true;
	int code = 0;

	for (size_t i = 0; !code && holds && i < search->term_count; i++)
		code = cl_decide(&search->decider, search->terms[i], &subject, &holds, e);
	/* What it says now does not open what it said then, nor the other way round; what is deleted is gone. */
	if (!code && holds)
		code = cl_decide_row(&search->decider, search->query->access ? search->query->access : &any, row,
		                     &holds, e);
	if (!code && holds)
		code = cl_page_keys(&search->page, &subject, keys, e);
	if (code || !holds)
		return code;
	search->total++;
	cl_page_offer(&search->page, row, then->version, keys);
	return 0;
}

int cl_moved_offer(struct cl_search *search, struct cl_err *e)
{
	struct cl_arena *arena = search->moved.count ? cl_arena_new(0) : NULL;
	size_t looked = 0;
	int code = 0;

	for (size_t i = 0; !code && i < search->moved.count; i++) {
		struct then then = {0};
		struct cl_index values;
		cl_arena_reset(arena);
		code = cl_work(search->store, 2, e);
		if (!code)
			code = version_then(search, arena, search->moved.rows[i], &then, e);
		if (code != 1)
			continue;
		code = ++looked > MOST ? cl_fail(e, CL_E_GONE,
		                                 "more than %d resources were changed since the first page; start the "
		                                 "search again",
		                                 MOST)
		                       : cl_work(search->store, 20, e);
		if (!code)
			code = search->query->extract(arena, search->query->type, then.body, &values, e);
		if (!code)
			code = judge_then(search, search->moved.rows[i], &then, &values, e);
	}
	if (arena)
		cl_arena_free(arena);
	return code;
}

void cl_moved_free(struct cl_moved *moved)
{
	free(moved->rows);
	*moved = (struct cl_moved){0};
}
