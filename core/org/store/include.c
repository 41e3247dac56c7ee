/* include.c: the resources that found ones refer to, and those that refer to them (_include, _revinclude). */
#include "org/store/internal.h"
#include <stdlib.h>

#define CHUNK 256

struct rule {
	uint16_t type;
	const struct cl_criterion *criterion; /* NULL = nothing of the type may be seen */
};

struct include {
	struct cl_store *store;
	struct cl_arena *arena;
	struct cl_decider decider;
	const struct cl_version *rows;
	size_t row_count;
	cl_access_for_type access;
	void *context;
	struct rule *rules;
	size_t rule_count, rule_capacity;
	uint32_t limit;
	struct cl_version_list *out;
	size_t capacity; /* of out->items, which are moved into the arena at the end */
	int64_t *seen; /* open addressing; 0 = free */
	size_t seen_count, seen_capacity;
};

static bool see(struct include *include, int64_t row)
{
	if ((include->seen_count + 1) * 2 > include->seen_capacity) {
		size_t former_capacity = include->seen_capacity;
		int64_t *former = include->seen;
		include->seen_capacity = former_capacity ? former_capacity * 2 : 256;
		include->seen = calloc(include->seen_capacity, sizeof(*include->seen));
		if (!include->seen)
			cl_die("no memory for included rows");
		include->seen_count = 0;
		for (size_t i = 0; i < former_capacity; i++)
			if (former[i])
				see(include, former[i]);
		free(former);
	}
	size_t place = ((uint64_t)row * 0x9E3779B97F4A7C15u >> 20) & (include->seen_capacity - 1);
	for (; include->seen[place]; place = (place + 1) & (include->seen_capacity - 1))
		if (include->seen[place] == row)
			return false;
	include->seen[place] = row;
	include->seen_count++;
	return true;
}

/* Asked once a type: the answer is built anew each time. */
static const struct cl_criterion *rule_for(struct include *include, uint16_t type)
{
	for (size_t i = 0; i < include->rule_count; i++)
		if (include->rules[i].type == type)
			return include->rules[i].criterion;
	include->rules =
	        cl_grow(include->rules, &include->rule_capacity, include->rule_count + 1, sizeof(*include->rules));
	include->rules[include->rule_count++] = (struct rule){type, include->access(type, include->context)};
	return include->rules[include->rule_count - 1].criterion;
}

static int add(struct include *include, int64_t row, struct cl_err *e)
{
	struct cl_version_list *out = include->out;
	bool allowed = true;

	int code = cl_work(include->store, 2, e);
	if (code || out->more || !see(include, row))
		return code;
	if (include->access) {
		const struct cl_criterion *rule = rule_for(include, cl_row_type(row));
		allowed = false;
		if (rule)
			code = cl_decide_row(&include->decider, rule, row, &allowed, e);
		if (code || !allowed)
			return code;
	}
	if (out->count >= include->limit) {
		out->more = true;
		return 0;
	}
	out->items = cl_grow(out->items, &include->capacity, out->count + 1, sizeof(*out->items));
	code = cl_resource_by_row(include->store, include->arena, row, true, &out->items[out->count], e);
	if (code != 1)
		return code;
	/* An index row for a deleted resource would be a defect; it is never shown. */
	if (out->items[out->count].operation != CL_OP_DELETE)
		out->count++;
	return 0;
}

static int forward(struct include *include, const struct cl_version *from, uint16_t parameter, uint16_t type,
                   struct cl_err *e)
{
	struct cl_values *values;
	int code = cl_scratch_enter(include->store, &values, e);
	if (code)
		return code;
	code = cl_values_load(include->store, from->row, values, NULL, e);
	for (size_t i = 0; code == 1 && !include->out->more && i < values->index.count; i++) {
		const struct cl_index_value *value = &values->index.values[i];
		int64_t row;
		if (value->kind != CL_INDEX_REFERENCE || (parameter && value->parameter != parameter))
			continue;
		uint16_t target = cl_type_number(include->store, value->a);
		if (!target || (type && type != target))
			continue;
		int found = cl_resource_row(include->store, target, value->b, &row, e);
		if (found == 1)
			found = add(include, row, e);
		if (found < 0)
			code = found;
	}
	cl_scratch_leave(include->store);
	return code < 0 ? code : 0;
}

/* The next reference parameter that occurs at all. */
static int next_parameter(struct cl_store *store, uint16_t after, uint16_t *out, struct cl_err *e)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT min(parameter) FROM index_reference WHERE parameter > ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, after);
	int code = cl_step(store, statement, e);
	*out = code == 1 ? (uint16_t)sqlite3_column_int(statement, 0) : 0;
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}

/* Up to CHUNK rows after `after` that refer to the resource. */
static int referring(struct cl_store *store, const struct cl_version *to, uint16_t parameter, int64_t after,
                     int64_t last, struct cl_rows *rows, struct cl_err *e)
{
	int64_t symbol;
	struct cl_str name = cl_type_name(store, to->type);

	rows->count = 0;
	if (!name.n)
		return cl_fail(e, CL_E_INTERNAL, "type %u has no name: cl_store_name_types was not called", to->type);
	int code = cl_symbol_number(store, name, false, &symbol, e);
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT row FROM index_reference WHERE parameter = ?1 AND target = ?2"
	                                       " AND target_type = ?3 AND row > ?4 AND row <= ?5 ORDER BY row",
	                                       e);
	if (code || symbol < 0)
		return code;
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, parameter);
	cl_bind_text(statement, 2, to->id);
	sqlite3_bind_int64(statement, 3, symbol);
	sqlite3_bind_int64(statement, 4, after);
	sqlite3_bind_int64(statement, 5, last);
	while (rows->count < CHUNK && (code = cl_step(store, statement, e)) == 1)
		cl_rows_add(rows, sqlite3_column_int64(statement, 0));
	sqlite3_reset(statement);
	return code < 0 ? code : 0;
}

static int backward(struct include *include, const struct cl_version *to, uint16_t parameter, uint16_t type,
                    struct cl_err *e)
{
	int64_t after = type ? cl_row_first(type) : 0, last = type ? cl_row_last(type) : INT64_MAX;
	struct cl_rows rows = {0};
	int code;

	do {
		code = referring(include->store, to, parameter, after, last, &rows, e);
		for (size_t i = 0; !code && !include->out->more && i < rows.count; i++)
			code = add(include, rows.items[i], e);
		if (rows.count)
			after = rows.items[rows.count - 1];
	} while (!code && !include->out->more && rows.count == CHUNK);
	cl_rows_free(&rows);
	return code;
}

static int run(struct include *include, bool reverse, uint16_t parameter, uint16_t type, struct cl_err *e)
{
	int code = 0;
	uint16_t each = 0;

	for (size_t i = 0; i < include->row_count; i++)
		see(include, include->rows[i].row);
	if (!reverse || parameter) {
		for (size_t i = 0; !code && !include->out->more && i < include->row_count; i++)
			code = reverse ? backward(include, &include->rows[i], parameter, type, e)
			               : forward(include, &include->rows[i], parameter, type, e);
		return code;
	}
	do {
		code = next_parameter(include->store, each, &each, e);
		for (size_t i = 0; !code && each && !include->out->more && i < include->row_count; i++)
			code = backward(include, &include->rows[i], each, type, e);
	} while (!code && each && !include->out->more);
	return code;
}

int cl_store_include(struct cl_store *store, struct cl_arena *arena, const struct cl_version *rows, size_t row_count,
                     bool reverse, uint16_t parameter, uint16_t type, uint32_t limit, cl_access_for_type access,
                     void *context, struct cl_version_list *out, struct cl_err *e)
{
	struct include include = {
	        .store = store,
	        .arena = arena,
	        .decider = {.store = store},
	        .rows = rows,
	        .row_count = row_count,
	        .access = access,
	        .context = context,
	        .limit = limit,
	        .out = out,
	};
	bool opened;

	*out = (struct cl_version_list){0};
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	code = run(&include, reverse, parameter, type, e);
	cl_read_end(store, opened);
	cl_decider_free(&include.decider);
	free(include.seen);
	free(include.rules);
	struct cl_version *found = out->items;
	out->items = CL_NEW_ARRAY(arena, struct cl_version, out->count + 1);
	if (out->count)
		memcpy(out->items, found, out->count * sizeof(*found));
	free(found);
	return code;
}
