/* rows.c: the rows of whole criteria: intersections, unions, chains, care teams, put together from the leaves. */
#include "org/store/internal.h"

bool cl_rows_listable(const struct cl_criterion *criterion)
{
	switch (criterion->kind) {
	case CL_FALSE:
		return true;
	case CL_AND:
		for (size_t i = 0; i < criterion->child_count; i++)
			if (cl_rows_listable(&criterion->children[i]))
				return true;
		return false;
	case CL_OR:
		for (size_t i = 0; i < criterion->child_count; i++)
			if (!cl_rows_listable(&criterion->children[i]))
				return false;
		return true;
	case CL_CHAIN:
	case CL_REVERSE:
		return criterion->type && criterion->child_count == 1 && cl_rows_listable(&criterion->children[0]);
	case CL_GROUP:
		for (size_t i = 0; i < criterion->child_count; i++)
			if (criterion->children[i].parameter && cl_leaf_listable(&criterion->children[i]))
				return true;
		return false;
	case CL_CARE_TEAM:
		return true;
	default:
		return cl_leaf_listable(criterion);
	}
}

/* Drops the rows for which the criterion does not hold. */
static int keep_holding(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_rows *rows,
                        struct cl_err *e)
{
	size_t kept = 0;
	int code = 0;

	for (size_t i = 0; !code && i < rows->count; i++) {
		bool holds;
		code = cl_decide_row(decider, criterion, rows->items[i], &holds, e);
		if (!code && holds)
			rows->items[kept++] = rows->items[i];
	}
	rows->count = kept;
	return code;
}

/* One look at every term, at `look` index rows of each; keeps the smallest of those that ended. */
static int look_at_each(struct cl_decider *decider, const struct cl_criterion *const *terms, size_t count,
                        uint16_t type, size_t look, struct cl_rows *out, size_t *chosen, bool *complete,
                        struct cl_err *e)
{
	struct cl_rows rows = {0};
	int code = 0;

	for (size_t i = 0; !code && i < count && !(*complete && !out->count); i++) {
		bool whole = false;
		if (!cl_rows_listable(terms[i]))
			continue;
		/* Only a smaller one is of use. */
		size_t most = *complete && out->count < look ? out->count : look;
		code = cl_rows_list(decider, terms[i], type, most, &rows, &whole, e);
		if (!code && whole && (!*complete || rows.count < out->count)) {
			struct cl_rows former = *out;
			*out = rows;
			rows = former;
			*chosen = i;
			*complete = true;
		}
	}
	cl_rows_free(&rows);
	return code;
}

int cl_rows_pick(struct cl_decider *decider, const struct cl_criterion *const *terms, size_t count, uint16_t type,
                 size_t most, struct cl_rows *out, size_t *chosen, bool *complete, struct cl_err *e)
{
	size_t fallback = count, look = decider->store->plan.first_look, few = decider->store->plan.few;

	*complete = false;
	*chosen = count;
	for (size_t i = 0; i < count; i++)
		if (cl_rows_listable(terms[i]) &&
		    (fallback == count || (cl_leaf_exact(terms[i]) && !cl_leaf_exact(terms[fallback]))))
			fallback = i;
	if (fallback == count)
		return 0;
	/* Each round looks eight times as far, so the large terms cost little beside the smallest one's own size. */
	for (;;) {
		if (look > most)
			look = most;
		int code = look_at_each(decider, terms, count, type, look, out, chosen, complete, e);
		if (code || *complete)
			return code;
		if (look == most)
			break;
		look = look < few ? few : look > SIZE_MAX / 8 - 1 ? SIZE_MAX : look * 8 + 1;
	}
	*chosen = fallback;
	return 0;
}

static int list_all(struct cl_decider *decider, const struct cl_criterion *criterion, uint16_t type, size_t most,
                    struct cl_rows *out, bool *complete, struct cl_err *e)
{
	const struct cl_criterion *terms[CL_CRITERION_DEPTH];
	size_t count = 0, chosen;
	bool group = criterion->kind == CL_GROUP;

	for (size_t i = 0; i < criterion->child_count && count < CL_CRITERION_DEPTH; i++)
		if ((!group || criterion->children[i].parameter) && cl_rows_listable(&criterion->children[i]))
			terms[count++] = &criterion->children[i];
	int code = cl_rows_pick(decider, terms, count, type, most, out, &chosen, complete, e);
	return code || !*complete ? code : keep_holding(decider, criterion, out, e);
}

/* A string as written: its folded form has the rows. */
static int list_exact(struct cl_decider *decider, const struct cl_criterion *criterion, uint16_t type, size_t most,
                      struct cl_rows *out, bool *complete, struct cl_err *e)
{
	int code = cl_leaf_list(decider->store, criterion, type, most, out, complete, e);
	return code || !*complete ? code : keep_holding(decider, criterion, out, e);
}

static int list_any(struct cl_decider *decider, const struct cl_criterion *criterion, uint16_t type, size_t most,
                    struct cl_rows *out, bool *complete, struct cl_err *e)
{
	struct cl_rows rows = {0};
	int code = 0;

	for (size_t i = 0; !code && *complete && i < criterion->child_count; i++) {
		code = cl_rows_list(decider, &criterion->children[i], type, most, &rows, complete, e);
		for (size_t j = 0; !code && j < rows.count; j++)
			cl_rows_add(out, rows.items[j]);
		if (most != SIZE_MAX && out->count > most)
			*complete = false;
	}
	cl_rows_free(&rows);
	return code;
}

/* ---- chains ---- */

/* Adds the rows that refer to the resource `target` by the parameter. */
static int add_referring(struct cl_store *store, uint16_t parameter, int64_t target, struct cl_rows *out,
                         struct cl_err *e)
{
	int64_t symbol;
	int code = cl_symbol_number(store, cl_type_name(store, cl_row_type(target)), false, &symbol, e);
	if (code || symbol <= 0)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "SELECT row FROM index_reference WHERE parameter = ?1"
	                     " AND target = (SELECT id FROM resource WHERE row = ?2) AND target_type = ?3",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int(statement, 1, parameter);
	sqlite3_bind_int64(statement, 2, target);
	sqlite3_bind_int64(statement, 3, symbol);
	while ((code = cl_step(store, statement, e)) == 1) {
		cl_rows_add(out, sqlite3_column_int64(statement, 0));
		if ((code = cl_work(store, 1, e)) != 0) {
			sqlite3_reset(statement);
			return code;
		}
	}
	return code;
}

static int list_chain(struct cl_decider *decider, const struct cl_criterion *criterion, size_t most,
                      struct cl_rows *out, bool *complete, struct cl_err *e)
{
	struct cl_rows targets = {0};
	int code = cl_rows_list(decider, &criterion->children[0], criterion->type, most, &targets, complete, e);

	for (size_t i = 0; !code && *complete && i < targets.count; i++) {
		code = add_referring(decider->store, criterion->parameter, targets.items[i], out, e);
		if (most != SIZE_MAX && out->count > most)
			*complete = false;
	}
	cl_rows_free(&targets);
	return code;
}

/* Adds the live resources of `type` that `row` refers to by the parameter. */
static int add_targets(struct cl_store *store, uint16_t parameter, uint16_t type, int64_t row, struct cl_rows *out,
                       struct cl_err *e)
{
	struct cl_str name = cl_type_name(store, type);
	const struct cl_index_value *value;
	struct cl_values *values;

	int code = cl_work(store, 2, e);
	if (!code)
		code = cl_scratch_enter(store, &values, e);
	if (code)
		return code;
	code = cl_values_load(store, row, values, NULL, e);
	size_t count = code == 1 ? cl_values_find(&values->index, CL_INDEX_REFERENCE, parameter, &value) : 0;
	for (size_t i = 0; code >= 0 && i < count; i++) {
		int64_t target;
		if (!cl_str_equal(value[i].a, name))
			continue;
		code = cl_resource_row(store, type, value[i].b, &target, e);
		if (code == 1)
			cl_rows_add(out, target);
	}
	cl_scratch_leave(store);
	return code < 0 ? code : 0;
}

static int list_reverse(struct cl_decider *decider, const struct cl_criterion *criterion, uint16_t type, size_t most,
                        struct cl_rows *out, bool *complete, struct cl_err *e)
{
	struct cl_rows sources = {0};
	int code = cl_rows_list(decider, &criterion->children[0], criterion->type, most, &sources, complete, e);

	if (!code && !cl_type_name(decider->store, type).n)
		code = cl_fail(e, CL_E_INTERNAL, "type %u has no name: cl_store_name_types was not called", type);
	for (size_t i = 0; !code && *complete && i < sources.count; i++)
		code = add_targets(decider->store, criterion->parameter, type, sources.items[i], out, e);
	cl_rows_free(&sources);
	return code;
}

/* ---- care teams ---- */

/* Adds the rows of the type in the compartments of the team's patients, if the team counts. */
static int add_team(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, int64_t team,
                    size_t most, struct cl_rows *out, struct cl_err *e)
{
	bool patients = cl_str_is(cl_type_name(store, type), "Patient");
	const struct cl_index_value *value;
	struct cl_values *values;

	int code = cl_scratch_enter(store, &values, e);
	if (code)
		return code;
	code = cl_values_load(store, team, values, NULL, e);
	size_t count = code == 1 && cl_team_counts(criterion, &values->index)
	                       ? cl_values_find(&values->index, CL_INDEX_REFERENCE, criterion->other, &value)
	                       : 0;
	for (size_t i = 0; code >= 0 && i < count; i++) {
		struct cl_criterion compartment = {.kind = CL_COMPARTMENT, .b = value[i].b};
		int64_t row;
		if (!cl_str_is(value[i].a, "Patient"))
			continue;
		code = cl_leaf_next(store, &compartment, type, 0, most, out, e);
		if (!code && patients) {
			code = cl_resource_row(store, type, value[i].b, &row, e);
			if (code == 1)
				cl_rows_add(out, row);
		}
	}
	cl_scratch_leave(store);
	return code < 0 ? code : 0;
}

static int list_care_team(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, size_t most,
                          struct cl_rows *out, bool *complete, struct cl_err *e)
{
	struct cl_rows teams = {0};
	uint16_t team_type = cl_type_number(store, CL_STR("CareTeam"));
	int code = team_type ? 0 : cl_fail(e, CL_E_INTERNAL, "types have no names: cl_store_name_types was not called");

	for (size_t i = 0; !code && i < criterion->member_count; i++) {
		struct cl_str member = criterion->members[i];
		const char *slash = member.n ? memchr(member.p, '/', member.n) : NULL;
		if (!slash)
			continue;
		size_t n = (size_t)(slash - member.p);
		struct cl_criterion participant = {
		        .kind = CL_REFERENCE,
		        .parameter = criterion->parameter,
		        .a = {member.p, n},
		        .b = {slash + 1, member.n - n - 1},
		};
		if (n)
			code = cl_leaf_next(store, &participant, team_type, 0, SIZE_MAX, &teams, e);
	}
	cl_rows_normalize(&teams);
	for (size_t i = 0; !code && *complete && i < teams.count; i++) {
		code = add_team(store, criterion, type, teams.items[i], most == SIZE_MAX ? most : most + 1, out, e);
		if (most != SIZE_MAX && out->count > most)
			*complete = false;
	}
	cl_rows_free(&teams);
	return code;
}

/* ---- the tree ---- */

static int list(struct cl_decider *decider, const struct cl_criterion *criterion, uint16_t type, size_t most,
                struct cl_rows *out, bool *complete, struct cl_err *e)
{
	switch (criterion->kind) {
	case CL_FALSE:
		return 0;
	case CL_STRING:
		if (criterion->match != CL_MATCH_EXACT)
			return cl_leaf_list(decider->store, criterion, type, most, out, complete, e);
		return list_exact(decider, criterion, type, most, out, complete, e);
	case CL_AND:
	case CL_GROUP:
		return list_all(decider, criterion, type, most, out, complete, e);
	case CL_OR:
		return list_any(decider, criterion, type, most, out, complete, e);
	case CL_CHAIN:
		return list_chain(decider, criterion, most, out, complete, e);
	case CL_REVERSE:
		return list_reverse(decider, criterion, type, most, out, complete, e);
	case CL_CARE_TEAM:
		return list_care_team(decider->store, criterion, type, most, out, complete, e);
	default:
		return cl_leaf_list(decider->store, criterion, type, most, out, complete, e);
	}
}

int cl_rows_list(struct cl_decider *decider, const struct cl_criterion *criterion, uint16_t type, size_t most,
                 struct cl_rows *out, bool *complete, struct cl_err *e)
{
	size_t kept = 0;

	*complete = true;
	out->count = 0;
	if (decider->nesting >= CL_CRITERION_DEPTH)
		return cl_fail(e, CL_E_LIMIT, "a question nested deeper than %d", CL_CRITERION_DEPTH);
	decider->nesting++;
	int code = list(decider, criterion, type, most, out, complete, e);
	decider->nesting--;
	if (code || !*complete)
		return code;
	for (size_t i = 0; i < out->count; i++)
		if (cl_row_type(out->items[i]) == type)
			out->items[kept++] = out->items[i];
	out->count = kept;
	cl_rows_normalize(out);
	return 0;
}
