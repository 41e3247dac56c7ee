/* page.c: the order of a search, its best few rows, and the opaque place where the next page begins. A place is the
 * last row's sort keys and number, and the moment of the first page (moved.c). */
#include "org/store/internal.h"
#include "base/hash.h"
#include <stdlib.h>

#define PLACE_VERSION 2
#define KEY_TEXT_MAXIMUM 256 /* of a sort key within a place; longer ones are read from the row again */

/* ---- order ---- */

int cl_key_compare(const struct cl_key *x, const struct cl_key *y, bool descending)
{
	int order;

	if (x->missing || y->missing)
		return x->missing - y->missing;
	if (x->form == 'i')
		order = (x->integer > y->integer) - (x->integer < y->integer);
	else if (x->form == 'r')
		order = (x->real > y->real) - (x->real < y->real);
	else
		order = cl_str_compare(x->text, y->text);
	return descending ? -order : order;
}

/* Equal keys are ordered by row, in the direction of the first sort: then the reversed walk of an index has this order.
 * */
static int compare_entries(const struct cl_query *query, int64_t x_row, const struct cl_key *x,
                           const struct cl_entry *y)
{
	for (size_t i = 0; i < query->sort_count; i++) {
		int order = cl_key_compare(&x[i], &y->keys[i], query->sorts[i].descending);
		if (order)
			return order;
	}
	int order = (x_row > y->row) - (x_row < y->row);
	return query->sort_count && query->sorts[0].descending ? -order : order;
}

/* ---- keys ---- */

static struct cl_key key_of(const struct cl_index_value *value)
{
	switch (value->kind) {
	case CL_INDEX_DATE:
		return (struct cl_key){.form = 'i', .integer = value->lower};
	case CL_INDEX_NUMBER:
	case CL_INDEX_QUANTITY:
		return (struct cl_key){.form = 'r', .real = value->low};
	case CL_INDEX_TOKEN:
	case CL_INDEX_REFERENCE:
		return (struct cl_key){.form = 't', .text = value->b};
	default:
		return (struct cl_key){.form = 't', .text = value->a};
	}
}

static struct cl_key best_key(const struct cl_index *values, const struct cl_sort *sort)
{
	const struct cl_index_value *value;
	size_t count = cl_values_find(values, sort->kind, sort->parameter, &value);
	struct cl_key best = {.missing = true, .form = 't'};

	for (size_t i = 0; i < count; i++) {
		struct cl_key key = key_of(&value[i]);
		if (cl_key_compare(&key, &best, sort->descending) < 0)
			best = key;
	}
	return best;
}

int cl_page_keys(struct cl_page *page, struct cl_subject *subject, struct cl_key *keys, struct cl_err *e)
{
	for (size_t i = 0; i < page->query->sort_count; i++) {
		const struct cl_sort *sort = &page->query->sorts[i];
		if (sort->by_id) {
			int code = cl_subject_id(page->store, subject, e);
			if (code)
				return code;
			keys[i] = (struct cl_key){.form = 't', .text = subject->id};
		} else if (!sort->parameter) {
			keys[i] = (struct cl_key){.form = 'i', .integer = subject->updated};
		} else {
			keys[i] = best_key(subject->values, sort);
		}
	}
	return 0;
}

/* ---- the best rows ---- */

static bool worse(const struct cl_page *page, size_t x, size_t y)
{
	return compare_entries(page->query, page->entries[x].row, page->entries[x].keys, &page->entries[y]) > 0;
}

static void swap(struct cl_page *page, size_t x, size_t y)
{
	struct cl_entry entry = page->entries[x];
	page->entries[x] = page->entries[y];
	page->entries[y] = entry;
}

static void sink(struct cl_page *page, size_t i, size_t count)
{
	for (;;) {
		size_t worst = i;
		for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
			if (worse(page, child, worst))
				worst = child;
		if (worst == i)
			return;
		swap(page, i, worst);
		i = worst;
	}
}

static void copy_keys(struct cl_page *page, struct cl_entry *entry, const struct cl_key *keys)
{
	for (size_t i = 0; i < page->query->sort_count; i++) {
		entry->keys[i] = keys[i];
		if (keys[i].form == 't' && !keys[i].missing)
			entry->keys[i].text = cl_arena_copy(page->arena, keys[i].text);
	}
}

void cl_page_offer(struct cl_page *page, int64_t row, int64_t version, const struct cl_key *keys)
{
	if (row > page->last_row || (page->has_after && compare_entries(page->query, row, keys, &page->after) <= 0))
		return;
	if (page->count < page->most) {
		size_t before = page->capacity;
		page->entries = cl_grow(page->entries, &page->capacity, page->count + 1, sizeof(*page->entries));
		memset(page->entries + before, 0, (page->capacity - before) * sizeof(*page->entries));
		struct cl_entry *entry = &page->entries[page->count];
		entry->row = row;
		entry->version = version;
		if (!entry->keys && page->query->sort_count)
			entry->keys = CL_NEW_ARRAY(page->arena, struct cl_key, page->query->sort_count);
		copy_keys(page, entry, keys);
		for (size_t i = page->count++; i && worse(page, i, (i - 1) / 2); i = (i - 1) / 2)
			swap(page, i, (i - 1) / 2);
	} else if (page->most && compare_entries(page->query, row, keys, &page->entries[0]) < 0) {
		page->entries[0].row = row;
		page->entries[0].version = version;
		copy_keys(page, &page->entries[0], keys);
		sink(page, 0, page->count);
	}
}

bool cl_page_has(const struct cl_page *page, int64_t row)
{
	for (size_t i = 0; i < page->count; i++)
		if (page->entries[i].row == row)
			return true;
	return false;
}

bool cl_page_full(const struct cl_page *page)
{
	return page->count >= page->most;
}

void cl_page_finish(struct cl_page *page)
{
	for (size_t end = page->count; end > 1; end--) {
		swap(page, 0, end - 1);
		sink(page, 0, end - 1);
	}
}

/* ---- places ---- */

static void put_bytes(struct cl_buf *out, const void *bytes, size_t n)
{
	cl_buf_add(out, bytes, n);
}

/* What the place must agree with: the search's type, order and question, and the incarnation of the file. */
static void put_head(struct cl_buf *out, const struct cl_page *page)
{
	const struct cl_query *query = page->query;
	uint64_t incarnation = page->store->incarnation;
	uint8_t count = (uint8_t)query->sort_count, version = PLACE_VERSION, question[CL_SHA256_SIZE];
	uint16_t type = query->across ? 0 : query->type;

	cl_sha256_of(query->question, question);
	put_bytes(out, &version, 1);
	put_bytes(out, &incarnation, 8);
	put_bytes(out, &type, 2);
	put_bytes(out, question, 8);
	put_bytes(out, &count, 1);
	for (size_t i = 0; i < query->sort_count; i++) {
		uint8_t flags = (uint8_t)((query->sorts[i].by_id ? 1 : 0) | (query->sorts[i].descending ? 2 : 0));
		put_bytes(out, &query->sorts[i].parameter, 2);
		put_bytes(out, &query->sorts[i].kind, 1);
		put_bytes(out, &flags, 1);
	}
}

static void put_key(struct cl_buf *out, const struct cl_key *key)
{
	uint8_t head = key->missing ? '-' : key->form;
	bool cut = key->text.n > KEY_TEXT_MAXIMUM;
	uint16_t n = (uint16_t)(cut ? KEY_TEXT_MAXIMUM : key->text.n);

	if (head == 't' && cut)
		head = 'T';
	put_bytes(out, &head, 1);
	if (head == 'i')
		put_bytes(out, &key->integer, 8);
	else if (head == 'r')
		put_bytes(out, &key->real, 8);
	else if (head == 't' || head == 'T') {
		put_bytes(out, &n, 2);
		put_bytes(out, n ? key->text.p : "", n);
	}
}

static int newest_row(struct cl_page *page, int64_t *out, struct cl_err *e)
{
	if (page->has_after || page->query->across) {
		*out = page->last_row;
		return 0;
	}
	*out = cl_row_first(page->query->type);
	sqlite3_stmt *statement =
	        cl_statement(page->store, "SELECT row FROM resource WHERE row <= ?1 ORDER BY row DESC LIMIT 1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, cl_row_last(page->query->type));
	int code = cl_step(page->store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
	}
	return code < 0 ? code : 0;
}

/* The moment of the first page: what is newer was changed since. */
static int newest_sequence(struct cl_page *page, uint64_t *out, struct cl_err *e)
{
	if (page->has_after || page->query->across) {
		*out = page->has_after ? page->sequence : cl_store_last_sequence(page->store);
		return 0;
	}
	sqlite3_stmt *statement = cl_statement(page->store, "SELECT max(sequence) FROM resource WHERE type = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, page->query->type);
	int code = cl_step(page->store, statement, e);
	*out = code == 1 ? (uint64_t)sqlite3_column_int64(statement, 0) : 0;
	sqlite3_reset(statement);
	return code < 0 ? code : 0;
}

int cl_page_place(struct cl_page *page, const struct cl_entry *entry, struct cl_str *out, struct cl_err *e)
{
	int64_t last_row;
	uint64_t sequence;
	struct cl_buf plain;

	int code = newest_row(page, &last_row, e);
	if (!code)
		code = newest_sequence(page, &sequence, e);
	if (code)
		return code;
	cl_buf_init(&plain, 0);
	put_head(&plain, page);
	put_bytes(&plain, &sequence, 8);
	put_bytes(&plain, &last_row, 8);
	put_bytes(&plain, &entry->row, 8);
	for (size_t i = 0; i < page->query->sort_count; i++)
		put_key(&plain, &entry->keys[i]);
	*out = cl_store_seal(page->store, page->arena, cl_buf_str(&plain));
	cl_buf_free(&plain);
	return 0;
}

struct cursor {
	const char *p;
	size_t n;
	bool bad;
};

static void get_bytes(struct cursor *in, void *out, size_t n)
{
	if (in->n < n) {
		in->bad = true;
		return;
	}
	memcpy(out, in->p, n);
	in->p += n;
	in->n -= n;
}

static void get_key(struct cl_page *page, struct cursor *in, struct cl_key *key, bool *cut)
{
	uint8_t head = 0;
	uint16_t n = 0;

	get_bytes(in, &head, 1);
	*key = (struct cl_key){.missing = head == '-', .form = head == '-' || head == 'T' ? 't' : head};
	*cut |= head == 'T';
	if (head == 'i') {
		get_bytes(in, &key->integer, 8);
	} else if (head == 'r') {
		get_bytes(in, &key->real, 8);
	} else if (head == 't' || head == 'T') {
		get_bytes(in, &n, 2);
		if (in->bad || in->n < n) {
			in->bad = true;
			return;
		}
		key->text = cl_arena_copy(page->arena, (struct cl_str){in->p, n});
		in->p += n;
		in->n -= n;
	} else if (head != '-') {
		in->bad = true;
	}
}

/* A long key was cut in the place: the row still has it, unless it was changed since; then the page begins at the cut.
 * */
static int restore_keys(struct cl_page *page, struct cl_err *e)
{
	struct cl_key keys[CL_SORT_MAXIMUM];
	struct cl_subject subject = {.row = page->after.row, .type = page->query->type, .has_updated = true};
	struct cl_values *values;

	int code = cl_scratch_enter(page->store, &values, e);
	if (code)
		return code;
	code = cl_values_load(page->store, subject.row, values, &subject.updated, e);
	if (code == 1) {
		subject.values = &values->index;
		code = cl_page_keys(page, &subject, keys, e);
		for (size_t i = 0; !code && i < page->query->sort_count; i++) {
			struct cl_key *cut = &page->after.keys[i];
			if (cut->form == 't' && !cut->missing && !keys[i].missing && keys[i].text.n > cut->text.n &&
			    cut->text.n == KEY_TEXT_MAXIMUM && memcmp(keys[i].text.p, cut->text.p, cut->text.n) == 0)
				cut->text = cl_arena_copy(page->arena, keys[i].text);
		}
	}
	cl_scratch_leave(page->store);
	return code;
}

static int open_place(struct cl_page *page, struct cl_err *e)
{
	static const char refusal[] = "this page link is not valid for this search; start the search again";
	struct cl_str plain;
	struct cl_buf head;
	bool cut = false;

	if (!cl_store_unseal(page->store, page->arena, page->query->after, &plain))
		return cl_fail(e, CL_E_INVALID, refusal);
	cl_buf_init(&head, 0);
	put_head(&head, page);
	bool same = plain.n >= head.n && memcmp(plain.p, head.p, head.n) == 0;
	struct cursor in = {plain.p + head.n, same ? plain.n - head.n : 0, false};
	cl_buf_free(&head);
	if (!same)
		return cl_fail(e, CL_E_INVALID, refusal);
	get_bytes(&in, &page->sequence, 8);
	get_bytes(&in, &page->last_row, 8);
	get_bytes(&in, &page->after.row, 8);
	page->after.keys = CL_NEW_ARRAY(page->arena, struct cl_key, page->query->sort_count + 1);
	for (size_t i = 0; i < page->query->sort_count; i++)
		get_key(page, &in, &page->after.keys[i], &cut);
	if (in.bad || in.n)
		return cl_fail(e, CL_E_INVALID, refusal);
	page->has_after = true;
	return cut ? restore_keys(page, e) : 0;
}

int cl_page_open(struct cl_page *page, struct cl_store *store, struct cl_arena *arena, const struct cl_query *query,
                 struct cl_err *e)
{
	*page = (struct cl_page){.store = store, .arena = arena, .query = query, .last_row = INT64_MAX};
	if (query->sort_count > CL_SORT_MAXIMUM)
		return cl_fail(e, CL_E_LIMIT, "at most %d sort keys", CL_SORT_MAXIMUM);
	page->most = query->limit ? (size_t)query->limit + 1 : 0;
	return query->after.n ? open_place(page, e) : 0;
}

void cl_page_free(struct cl_page *page)
{
	free(page->entries);
	page->entries = NULL;
	page->count = page->capacity = 0;
}
