/* search.c: how a search is answered. The term with the fewest rows gives candidates from its index; the other terms
 * are decided on the candidates' stored values; the page keeps the best. When every term has many rows, the rows are
 * walked in the order of the search instead, which fills a page early unless matches are rare. */
#include "org/store/search_internal.h"
#include <stdlib.h>

#define CHUNK 1024 /* rows of one key taken at a time */

/* ---- one candidate ---- */

/* `decided`: bits of the terms that were decided before. */
static int decide_terms(struct cl_search *search, struct cl_subject *subject, uint32_t decided, bool *out,
                        struct cl_err *e)
{
	int code = 0;
	*out = true;
	for (size_t i = 0; !code && *out && i < search->term_count; i++)
		if (i != search->driver && (i >= 32 || !(decided >> i & 1)))
			code = cl_decide(&search->decider, search->terms[i], subject, out, e);
	return code;
}

/* Asks the indexes of exact terms about a row whose values are not read yet. *undecided: some term needs them. */
static int ask_indexes(struct cl_search *search, int64_t row, bool values_needed, uint32_t *decided, bool *undecided,
                       bool *out, struct cl_err *e)
{
	int code = 0;
	*out = true;
	*decided = 0;
	*undecided = false;
	for (size_t i = 0; i < search->term_count; i++)
		if (i != search->driver && (i >= 32 || !cl_leaf_exact(search->terms[i])))
			*undecided = true;
	for (size_t i = 0; !code && *out && i < search->term_count && i < 32; i++) {
		uint32_t asked = search->asked[i].asked, held = search->asked[i].held;
		if (i == search->driver || !cl_leaf_exact(search->terms[i]))
			continue;
		/* Nearly every row holds, and its values are read anyway. */
		if ((values_needed || *undecided) && asked >= 64 && held > asked / 10 * 7) {
			*undecided = true;
			continue;
		}
		code = cl_leaf_has(search->store, search->terms[i], row, out, e);
		search->asked[i].asked++;
		search->asked[i].held += *out;
		*decided |= 1u << i;
	}
	return code;
}

static int judge(struct cl_search *search, struct cl_subject *subject, uint32_t decided, const struct cl_key *at,
                 bool missing_only, struct cl_err *e)
{
	struct cl_key keys[CL_SORT_MAXIMUM];
	bool holds;

	int code = 0;
	if (at || missing_only) {
		code = cl_page_keys(&search->page, subject, keys, e);
		if (code)
			return code;
		if (missing_only ? !keys[0].missing : keys[0].missing || cl_key_compare(&keys[0], at, false) != 0)
			return 0;
	}
	code = decide_terms(search, subject, decided, &holds, e);
	if (!code && holds && !at && !missing_only)
		code = cl_page_keys(&search->page, subject, keys, e);
	if (code || !holds)
		return code;
	search->total++;
	cl_page_offer(&search->page, subject->row, 0, keys);
	return 0;
}

int cl_search_accept_values(struct cl_search *search, int64_t row, cl_instant updated, struct cl_str content,
                            bool missing_only, struct cl_err *e)
{
	struct cl_subject subject = {.row = row, .type = search->query->type, .has_updated = true, .updated = updated};
	struct cl_values *values;

	int code = cl_work(search->store, 1, e);
	if (code || cl_moved_has(&search->moved, row))
		return code;
	code = cl_scratch_enter(search->store, &values, e);
	if (code)
		return code;
	code = cl_values_decode(search->store, content, values, e);
	subject.values = &values->index;
	if (!code)
		code = judge(search, &subject, 0, NULL, missing_only, e);
	cl_scratch_leave(search->store);
	return code;
}

int cl_search_accept(struct cl_search *search, int64_t row, const struct cl_key *known, const struct cl_key *at,
                     bool missing_only, struct cl_err *e)
{
	struct cl_subject subject = {.row = row, .type = search->query->type, .has_updated = true};
	struct cl_values *values;

	/* A parameter of another type was asked for. */
	if (cl_row_type(row) != search->query->type || cl_moved_has(&search->moved, row))
		return 0;
	/* Is the row's only sort key at hand? */
	bool keyed = !search->query->sort_count || (search->query->sort_count == 1 && known), undecided, holds = false;
	uint32_t decided;
	int code = cl_work(search->store, 2, e);
	if (!code)
		code = ask_indexes(search, row, !keyed || at || missing_only, &decided, &undecided, &holds, e);
	if (code || !holds)
		return code;
	if (keyed && !undecided && !at && !missing_only) {
		search->total++;
		cl_page_offer(&search->page, row, 0, known);
		return 0;
	}
	code = cl_scratch_enter(search->store, &values, e);
	if (code)
		return code;
	code = cl_values_load(search->store, row, values, &subject.updated, e);
	if (code == 1) {
		subject.values = &values->index;
		code = judge(search, &subject, decided, at, missing_only, e);
	}
	cl_scratch_leave(search->store);
	return code;
}

/* ---- candidates ---- */

static bool may_stop(const struct cl_search *search)
{
	return !search->counting && !search->query->sort_count && cl_page_full(&search->page);
}

static int look_at(struct cl_search *search, const struct cl_rows *rows, struct cl_err *e)
{
	int code = 0;
	bool by_row = !search->query->sort_count && !search->counting && search->page.has_after;
	for (size_t i = 0; !code && i < rows->count && !may_stop(search); i++)
		if (!by_row || rows->items[i] > search->page.after.row)
			code = cl_search_accept(search, rows->items[i], NULL, NULL, false, e);
	return code;
}

/* Rows of one key come in the order of a search without sorts. Looks at no more than `most`. */
static int look_at_exact(struct cl_search *search, const struct cl_criterion *term, size_t most, bool *complete,
                         struct cl_err *e)
{
	struct cl_rows rows = {0};
	int64_t after = search->page.has_after ? search->page.after.row : 0;
	int code;

	do {
		rows.count = 0;
		code = cl_leaf_next(search->store, term, search->query->type, after, CHUNK, &rows, e);
		if (!code)
			code = look_at(search, &rows, e);
		if (rows.count)
			after = rows.items[rows.count - 1];
		*complete = rows.count < CHUNK || may_stop(search);
		most = most > rows.count ? most - rows.count : 0;
	} while (!code && !*complete && most);
	cl_rows_free(&rows);
	return code;
}

/* Every row of the smallest term, or of the type when no term has an index. */
static int look_at_all(struct cl_search *search, size_t most, bool *complete, struct cl_err *e)
{
	struct cl_rows rows = {0};

	int code = cl_rows_pick(&search->decider, search->terms, search->term_count, search->query->type, most, &rows,
	                        &search->driver, complete, e);
	if (!code && *complete)
		code = look_at(search, &rows, e);
	else if (!code && search->driver >= search->term_count && most == SIZE_MAX)
		code = cl_walk_type(search, SIZE_MAX, false, complete, e);
	cl_rows_free(&rows);
	return code;
}

/* ---- in the order of the search ---- */

static int walk(struct cl_search *search, size_t most, bool *complete, struct cl_err *e)
{
	const struct cl_query *query = search->query;
	size_t driver = search->driver;
	int code = 0;

	/* Here the index of the order gives the rows, so every term is decided. */
	search->driver = search->term_count;
	if (!query->sort_count) {
		code = cl_walk_type(search, most, false, complete, e);
	} else {
		code = cl_walk_keys(search, most, complete, e);
		if (!code && *complete && !cl_page_full(&search->page) && query->sorts[0].parameter &&
		    !query->sorts[0].by_id)
			code = cl_walk_type(search, most, true, complete, e);
	}
	search->driver = driver;
	return code;
}

static int answer(struct cl_search *search, struct cl_err *e)
{
	bool complete = false;

	int code = look_at_all(search, search->store->plan.few, &complete, e);
	if (code || complete)
		return code;
	bool listable = search->driver < search->term_count;
	if (!search->counting) {
		const struct cl_criterion *term = listable ? search->terms[search->driver] : NULL;
		size_t most = listable ? search->store->plan.walk_first : SIZE_MAX;
		if (term && !search->query->sort_count && cl_leaf_exact(term))
			code = look_at_exact(search, term, search->term_count == 1 ? SIZE_MAX : most, &complete, e);
		else
			code = walk(search, most, &complete, e);
		if (code || complete)
			return code;
		search->page.count = 0;
	}
	return look_at_all(search, SIZE_MAX, &complete, e);
}

/* ---- totals ---- */

static int count_type(struct cl_store *store, uint16_t type, int64_t *out, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT count(*) FROM live INDEXED BY live_updated WHERE type = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, type);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
	}
	return code < 0 ? code : 0;
}

/* Some totals need no look at the matches. */
static int count_ahead(struct cl_search *search, struct cl_search_result *out, struct cl_err *e)
{
	search->counting = false;
	if (search->term_count == 0)
		return count_type(search->store, search->query->type, &out->total, e);
	if (search->term_count == 1 && cl_leaf_exact(search->terms[0]))
		return cl_leaf_count(search->store, search->terms[0], search->query->type, &out->total, e);
	search->counting = true;
	return 0;
}

/* ---- the whole ---- */

/* Takes AND apart. False when nothing can match. */
static bool add_terms(struct cl_search *search, const struct cl_criterion *criterion, size_t *capacity, unsigned depth)
{
	if (!criterion || criterion->kind == CL_TRUE)
		return true;
	if (criterion->kind == CL_FALSE)
		return false;
	if (criterion->kind == CL_AND && depth < CL_CRITERION_DEPTH) {
		for (size_t i = 0; i < criterion->child_count; i++)
			if (!add_terms(search, &criterion->children[i], capacity, depth + 1))
				return false;
		return true;
	}
	search->terms = cl_grow(search->terms, capacity, search->term_count + 1, sizeof(*search->terms));
	search->terms[search->term_count++] = criterion;
	return true;
}

static int fetch(struct cl_search *search, const struct cl_entry *entry, struct cl_version *out, struct cl_err *e)
{
	bool bodies = search->query->bodies;
	if (entry->version)
		return cl_history_version(search->store, search->arena, entry->row, entry->version, bodies, out, e);
	int code = cl_resource_by_row(search->store, search->arena, entry->row, bodies, out, e);
	return code == 1 ? 0 : code ? code : cl_fail(e, CL_E_CORRUPT, "index rows without their resource");
}

static int fill_result(struct cl_search *search, struct cl_search_result *out, struct cl_err *e)
{
	struct cl_page *page = &search->page;
	size_t limit = search->query->limit;
	int code = 0;

	cl_page_finish(page);
	size_t count = page->count < limit ? page->count : limit;
	out->items = CL_NEW_ARRAY(search->arena, struct cl_version, count ? count : 1);
	if (search->query->across)
		out->places = CL_NEW_ARRAY(search->arena, struct cl_str, count + 1);
	for (size_t i = 0; !code && i < count; i++) {
		code = fetch(search, &page->entries[i], &out->items[i], e);
		if (!code && out->places)
			code = cl_page_place(page, &page->entries[i], &out->places[i], e);
		if (!code)
			out->count++;
	}
	if (!code && page->count > limit && limit)
		code = cl_page_place(page, &page->entries[limit - 1], &out->after, e);
	return code;
}

static int run(struct cl_search *search, bool possible, struct cl_search_result *out, struct cl_err *e)
{
	int code = cl_page_open(&search->page, search->store, search->arena, search->query, e);
	if (!code)
		code = cl_moved_load(search, e);
	if (code)
		return code;
	if (search->query->want_total) {
		out->total = 0;
		if (possible)
			code = count_ahead(search, out, e);
	}
	if (!code && possible && (search->query->limit || search->counting))
		code = answer(search, e);
	if (!code && possible)
		code = cl_moved_offer(search, e);
	if (!code && search->counting)
		out->total = search->total;
	return code ? code : fill_result(search, out, e);
}

int cl_store_search(struct cl_store *store, struct cl_arena *arena, const struct cl_query *query,
                    struct cl_search_result *out, struct cl_err *e)
{
	struct cl_search search = {.store = store, .arena = arena, .query = query, .decider = {.store = store}};
	size_t capacity = 0;
	bool opened;

	*out = (struct cl_search_result){.total = -1};
	if (!query->type)
		return cl_fail(e, CL_E_UNSUPPORTED, "a search needs a resource type");
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	bool possible =
	        add_terms(&search, query->where, &capacity, 0) && add_terms(&search, query->access, &capacity, 0);
	search.driver = search.term_count;
	code = run(&search, possible, out, e);
	cl_page_free(&search.page);
	cl_moved_free(&search.moved);
	cl_read_end(store, opened);
	cl_decider_free(&search.decider);
	free(search.terms);
	return code;
}
