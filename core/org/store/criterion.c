/* criterion.c: the memory face of a criterion: does a resource with these index values satisfy it? Searches use it too,
 * on stored values, for what their index does not answer (search.c). */
#include "org/store/internal.h"
#include <stdlib.h>

#define CHUNK 64 /* rows taken at a time, so that a nested question can use the same statement */

int cl_scratch_enter(struct cl_store *store, struct cl_values **out, struct cl_err *e)
{
	if (store->scratch_depth >= CL_SCRATCH_DEPTH)
		return cl_fail(e, CL_E_LIMIT, "a question with more than %d chained resources", CL_SCRATCH_DEPTH);
	struct cl_values **place = &store->scratch[store->scratch_depth++];
	if (!*place && !(*place = calloc(1, sizeof(**place))))
		cl_die("no memory for index values");
	*out = *place;
	return 0;
}

void cl_scratch_leave(struct cl_store *store)
{
	store->scratch_depth--;
}

void cl_decider_free(struct cl_decider *decider)
{
	for (size_t i = 0; i < decider->team_capacity; i++)
		free((char *)decider->teams[i].patient.p);
	free(decider->teams);
	decider->teams = NULL;
	decider->team_count = decider->team_capacity = 0;
}

int cl_subject_id(struct cl_store *store, struct cl_subject *subject, struct cl_err *e)
{
	if (subject->has_id)
		return 0;
	sqlite3_stmt *statement = cl_statement(store, "SELECT id FROM resource WHERE row = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, subject->row);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_CORRUPT, "index rows without their resource");
	struct cl_str id = cl_column_borrow(statement, 0);
	if (id.n <= sizeof(subject->id_bytes)) {
		memcpy(subject->id_bytes, id.n ? id.p : "", id.n);
		subject->id = (struct cl_str){subject->id_bytes, id.n};
		subject->has_id = true;
	}
	sqlite3_reset(statement);
	return subject->has_id ? 0 : cl_fail(e, CL_E_CORRUPT, "a stored id is too long");
}

/* 1 = known, 0 = the resource is not stored. */
static int subject_updated(struct cl_store *store, struct cl_subject *subject, struct cl_err *e)
{
	if (subject->has_updated)
		return 1;
	int code = subject->row ? 1 : cl_resource_row(store, subject->type, subject->id, &subject->row, e);
	if (code != 1)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "SELECT updated FROM live WHERE row = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, subject->row);
	code = cl_step(store, statement, e);
	if (code == 1) {
		subject->updated = sqlite3_column_int64(statement, 0);
		subject->has_updated = true;
		sqlite3_reset(statement);
	}
	return code;
}

/* ---- one value ---- */

static bool text_starts(struct cl_str text, struct cl_str prefix)
{
	return text.n >= prefix.n && (prefix.n == 0 || memcmp(text.p, prefix.p, prefix.n) == 0);
}

static bool text_contains(struct cl_str text, struct cl_str part)
{
	return part.n == 0 || (text.n && memmem(text.p, text.n, part.p, part.n));
}

static bool token_holds(const struct cl_criterion *criterion, const struct cl_index_value *value)
{
	switch (criterion->match) {
	case CL_MATCH_CODE:
		return cl_str_equal(value->b, criterion->b);
	case CL_MATCH_SYSTEM_CODE:
		return cl_str_equal(value->b, criterion->b) && cl_str_equal(value->a, criterion->a);
	case CL_MATCH_NO_SYSTEM_CODE:
		return cl_str_equal(value->b, criterion->b) && value->a.n == 0;
	case CL_MATCH_SYSTEM:
		return cl_str_equal(value->a, criterion->a);
	default:
		return false;
	}
}

static bool value_holds(const struct cl_criterion *criterion, const struct cl_index_value *value)
{
	switch (criterion->kind) {
	case CL_TOKEN:
		return token_holds(criterion, value);
	case CL_STRING:
		return criterion->match == CL_MATCH_PREFIX     ? text_starts(value->a, criterion->a)
		       : criterion->match == CL_MATCH_CONTAINS ? text_contains(value->a, criterion->a)
		                                               : cl_str_equal(value->a, criterion->a);
	case CL_URI:
		return criterion->match == CL_MATCH_PREFIX ? text_starts(value->a, criterion->a)
		                                           : cl_str_equal(value->a, criterion->a);
	case CL_DATE:
		return cl_relation_holds(criterion->relation, criterion->lower, criterion->upper, value->lower,
		                         value->upper);
	case CL_REFERENCE:
		return cl_str_equal(value->b, criterion->b) &&
		       (!criterion->a.n || cl_str_equal(value->a, criterion->a));
	case CL_QUANTITY:
		if ((criterion->a.n && !cl_str_equal(value->a, criterion->a)) ||
		    (criterion->b.n && !cl_str_equal(value->b, criterion->b)))
			return false;
		/* fall through */
	case CL_NUMBER:
		return cl_relation_holds_number(criterion->relation, criterion->low, criterion->high, value->low,
		                                value->high);
	default:
		return false;
	}
}

static uint8_t index_kind(uint8_t criterion_kind)
{
	switch (criterion_kind) {
	case CL_TOKEN:
		return CL_INDEX_TOKEN;
	case CL_STRING:
		return CL_INDEX_STRING;
	case CL_DATE:
		return CL_INDEX_DATE;
	case CL_REFERENCE:
		return CL_INDEX_REFERENCE;
	case CL_NUMBER:
		return CL_INDEX_NUMBER;
	case CL_QUANTITY:
		return CL_INDEX_QUANTITY;
	default:
		return CL_INDEX_URI;
	}
}

static bool any_value_holds(const struct cl_criterion *criterion, const struct cl_index *values)
{
	const struct cl_index_value *value;
	bool exact = criterion->kind == CL_STRING && criterion->match == CL_MATCH_EXACT;
	size_t count = cl_values_find(values, exact ? CL_INDEX_EXACT : index_kind(criterion->kind),
	                              criterion->parameter, &value);
	for (size_t i = 0; i < count; i++)
		if (value_holds(criterion, &value[i]))
			return true;
	return false;
}

/* Does every child hold for a member of its part? `count` members of one group. */
static bool group_holds(const struct cl_criterion *criterion, const struct cl_index_value *members, size_t count)
{
	for (unsigned part = 0; part < criterion->child_count; part++) {
		const struct cl_criterion *child = &criterion->children[part];
		bool holds = false;
		for (size_t i = 0; !holds && i < count; i++)
			holds = CL_MEMBER_PART(members[i].upper) == part &&
			        (child->kind == CL_PRESENT ||
			         (CL_MEMBER_KIND(members[i].upper) == index_kind(child->kind) &&
			          value_holds(child, &members[i])));
		if (!holds)
			return false;
	}
	return true;
}

static bool any_group_holds(const struct cl_criterion *criterion, const struct cl_index *values)
{
	const struct cl_index_value *members;
	size_t count = cl_values_find(values, CL_INDEX_MEMBER, criterion->parameter, &members);
	for (size_t first = 0, end; first < count; first = end) {
		for (end = first + 1; end < count && members[end].lower == members[first].lower; end++)
			;
		if (group_holds(criterion, members + first, end - first))
			return true;
	}
	return false;
}

static bool present(const struct cl_criterion *criterion, const struct cl_index *values)
{
	for (size_t i = 0; i < values->count; i++)
		if (values->values[i].parameter == criterion->parameter &&
		    values->values[i].kind != CL_INDEX_COMPARTMENT)
			return true;
	return false;
}

static bool in_compartment(struct cl_str patient, const struct cl_index *values)
{
	const struct cl_index_value *value;
	size_t count = cl_values_find(values, CL_INDEX_COMPARTMENT, 0, &value);
	for (size_t i = 0; i < count; i++)
		if (cl_str_equal(value[i].b, patient))
			return true;
	return false;
}

/* ---- other resources ---- */

int cl_decide_row(struct cl_decider *decider, const struct cl_criterion *criterion, int64_t row, bool *out,
                  struct cl_err *e)
{
	struct cl_subject subject = {.row = row, .type = cl_row_type(row), .has_updated = true};
	struct cl_values *values;

	*out = false;
	int code = cl_work(decider->store, 2, e);
	if (!code)
		code = cl_scratch_enter(decider->store, &values, e);
	if (code)
		return code;
	code = cl_values_load(decider->store, row, values, &subject.updated, e);
	if (code == 1) {
		subject.values = &values->index;
		code = cl_decide(decider, criterion, &subject, out, e);
	}
	cl_scratch_leave(decider->store);
	return code;
}

static int decide_child(struct cl_decider *decider, const struct cl_criterion *criterion, int64_t row, bool *out,
                        struct cl_err *e)
{
	static const struct cl_criterion any = {.kind = CL_TRUE};
	return cl_decide_row(decider, criterion->child_count ? &criterion->children[0] : &any, row, out, e);
}

static int decide_chain(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_subject *subject,
                        bool *out, struct cl_err *e)
{
	const struct cl_index_value *value;
	size_t count = cl_values_find(subject->values, CL_INDEX_REFERENCE, criterion->parameter, &value);
	int code = 0;

	for (size_t i = 0; !code && !*out && i < count; i++) {
		uint16_t type = cl_type_number(decider->store, value[i].a);
		int64_t row;
		if (!type || (criterion->type && criterion->type != type))
			continue;
		code = cl_resource_row(decider->store, type, value[i].b, &row, e);
		if (code == 1)
			code = decide_child(decider, criterion, row, out, e);
	}
	return code;
}

/* Up to CHUNK rows after `after` that refer to (target_type, target). */
static int referring(struct cl_store *store, uint16_t parameter, struct cl_str target, int64_t target_type,
                     int64_t after, int64_t last, int64_t rows[CHUNK], size_t *count, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT row FROM index_reference WHERE parameter = ?1 AND target = ?2"
	                                       " AND target_type = ?3 AND row > ?4 AND row <= ?5 ORDER BY row",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	int code;
	*count = 0;
	sqlite3_bind_int(statement, 1, parameter);
	cl_bind_text(statement, 2, target);
	sqlite3_bind_int64(statement, 3, target_type);
	sqlite3_bind_int64(statement, 4, after);
	sqlite3_bind_int64(statement, 5, last);
	while ((code = cl_step(store, statement, e)) == 1 && *count < CHUNK)
		rows[(*count)++] = sqlite3_column_int64(statement, 0);
	sqlite3_reset(statement);
	return code < 0 ? code : 0;
}

static int decide_reverse(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_subject *subject,
                          bool *out, struct cl_err *e)
{
	int64_t rows[CHUNK], after = criterion->type ? cl_row_first(criterion->type) : 0, symbol;
	int64_t last = criterion->type ? cl_row_last(criterion->type) : INT64_MAX;
	size_t count = CHUNK;
	struct cl_str name = cl_type_name(decider->store, subject->type);

	if (!name.n)
		return cl_fail(e, CL_E_INTERNAL, "type %u has no name: cl_store_name_types was not called",
		               subject->type);
	int code = cl_subject_id(decider->store, subject, e);
	if (!code)
		code = cl_symbol_number(decider->store, name, false, &symbol, e);
	while (!code && !*out && count == CHUNK) {
		code = referring(decider->store, criterion->parameter, subject->id, symbol, after, last, rows, &count,
		                 e);
		for (size_t i = 0; !code && !*out && i < count; i++)
			code = decide_child(decider, criterion, rows[i], out, e);
		if (count)
			after = rows[count - 1];
	}
	return code;
}

bool cl_team_counts(const struct cl_criterion *criterion, const struct cl_index *team)
{
	const struct cl_index_value *value;
	bool active = false;

	size_t count = cl_values_find(team, CL_INDEX_TOKEN, criterion->status, &value);
	for (size_t i = 0; i < count; i++)
		active |= cl_str_is(value[i].b, "active");
	if (!active)
		return false;
	count = cl_values_find(team, CL_INDEX_REFERENCE, criterion->parameter, &value);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < criterion->member_count; j++) {
			struct cl_str member = criterion->members[j], type = value[i].a, id = value[i].b;
			if (type.n && member.n == type.n + 1 + id.n && text_starts(member, type) &&
			    member.p[type.n] == '/' && memcmp(member.p + type.n + 1, id.p, id.n) == 0)
				return true;
		}
	return false;
}

static int look_up_team(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_str patient,
                        bool *out, struct cl_err *e)
{
	struct cl_store *store = decider->store;
	int64_t rows[CHUNK], after = 0, symbol;
	size_t count = CHUNK;
	struct cl_values *values;

	int code = cl_symbol_number(store, CL_STR("Patient"), false, &symbol, e);
	if (!code)
		code = cl_scratch_enter(store, &values, e);
	if (code)
		return code;
	while (!code && !*out && count == CHUNK) {
		code = referring(store, criterion->other, patient, symbol, after, INT64_MAX, rows, &count, e);
		for (size_t i = 0; !code && !*out && i < count; i++) {
			code = cl_values_load(store, rows[i], values, NULL, e);
			if (code == 1) {
				*out = cl_team_counts(criterion, &values->index);
				code = 0;
			}
		}
		if (count)
			after = rows[count - 1];
	}
	cl_scratch_leave(store);
	return code;
}

static struct cl_team_answer *team_place(struct cl_decider *decider, const struct cl_criterion *criterion,
                                         struct cl_str patient, uint64_t hash)
{
	size_t mask = decider->team_capacity - 1, place = (size_t)(hash >> 16) & mask;
	while (decider->teams[place].criterion &&
	       (decider->teams[place].criterion != criterion || !cl_str_equal(decider->teams[place].patient, patient)))
		place = (place + 1) & mask;
	return &decider->teams[place];
}

static void team_grow(struct cl_decider *decider)
{
	struct cl_team_answer *former = decider->teams;
	size_t former_capacity = decider->team_capacity;

	decider->team_capacity = former_capacity ? former_capacity * 2 : 64;
	decider->teams = calloc(decider->team_capacity, sizeof(*decider->teams));
	if (!decider->teams)
		cl_die("no memory for care teams");
	for (size_t i = 0; i < former_capacity; i++)
		if (former[i].criterion)
			*team_place(decider, former[i].criterion, former[i].patient, former[i].hash) = former[i];
	free(former);
}

static int in_team(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_str patient, bool *out,
                   struct cl_err *e)
{
	uint64_t hash = (uintptr_t)criterion ^ 14695981039346656037u;
	for (size_t i = 0; i < patient.n; i++)
		hash = (hash ^ (unsigned char)patient.p[i]) * 1099511628211u;
	if (decider->team_count * 2 >= decider->team_capacity)
		team_grow(decider);
	struct cl_team_answer *answer = team_place(decider, criterion, patient, hash);
	if (answer->criterion) {
		*out = answer->member;
		return 0;
	}
	int code = look_up_team(decider, criterion, patient, out, e);
	if (code)
		return code;
	char *copy = malloc(patient.n + 1);
	if (!copy)
		cl_die("no memory for care teams");
	memcpy(copy, patient.n ? patient.p : "", patient.n);
	*answer = (struct cl_team_answer){criterion, hash, *out, {copy, patient.n}};
	decider->team_count++;
	return 0;
}

static int decide_care_team(struct cl_decider *decider, const struct cl_criterion *criterion,
                            struct cl_subject *subject, bool *out, struct cl_err *e)
{
	const struct cl_index_value *value;
	size_t count = cl_values_find(subject->values, CL_INDEX_COMPARTMENT, 0, &value);
	int code = 0;

	for (size_t i = 0; !code && !*out && i < count; i++)
		code = in_team(decider, criterion, value[i].b, out, e);
	if (!code && !*out && cl_str_is(cl_type_name(decider->store, subject->type), "Patient")) {
		code = cl_subject_id(decider->store, subject, e);
		if (!code)
			code = in_team(decider, criterion, subject->id, out, e);
	}
	return code;
}

/* ---- the tree ---- */

static int decide_all(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_subject *subject,
                      bool until, bool *out, struct cl_err *e)
{
	int code = 0;
	*out = !until;
	for (size_t i = 0; !code && *out != until && i < criterion->child_count; i++)
		code = cl_decide(decider, &criterion->children[i], subject, out, e);
	return code;
}

static int decide_kind(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_subject *subject,
                       bool *out, struct cl_err *e)
{
	int code;

	switch (criterion->kind) {
	case CL_TRUE:
		*out = true;
		return 0;
	case CL_FALSE:
		return 0;
	case CL_AND:
		return decide_all(decider, criterion, subject, false, out, e);
	case CL_OR:
		return decide_all(decider, criterion, subject, true, out, e);
	case CL_NOT:
		if (criterion->child_count != 1)
			return cl_fail(e, CL_E_INTERNAL, "NOT has %zu children", criterion->child_count);
		code = cl_decide(decider, &criterion->children[0], subject, out, e);
		*out = !code && !*out;
		return code;
	case CL_ID:
		code = cl_subject_id(decider->store, subject, e);
		*out = !code && cl_str_equal(subject->id, criterion->b);
		return code;
	case CL_UPDATED:
		/* An instant is an interval of one microsecond. */
		code = subject_updated(decider->store, subject, e);
		*out = code == 1 &&
		       cl_relation_holds(criterion->relation, criterion->lower, criterion->upper, subject->updated,
		                         subject->updated + (subject->updated < INT64_MAX));
		return code < 0 ? code : 0;
	case CL_TOKEN:
	case CL_STRING:
	case CL_DATE:
	case CL_REFERENCE:
	case CL_NUMBER:
	case CL_QUANTITY:
	case CL_URI:
		*out = any_value_holds(criterion, subject->values);
		return 0;
	case CL_GROUP:
		*out = any_group_holds(criterion, subject->values);
		return 0;
	case CL_PRESENT:
		*out = present(criterion, subject->values);
		return 0;
	case CL_COMPARTMENT:
		*out = in_compartment(criterion->b, subject->values);
		return 0;
	case CL_CHAIN:
		return decide_chain(decider, criterion, subject, out, e);
	case CL_REVERSE:
		return decide_reverse(decider, criterion, subject, out, e);
	case CL_CARE_TEAM:
		return decide_care_team(decider, criterion, subject, out, e);
	default:
		return cl_fail(e, CL_E_INTERNAL, "criterion of unknown kind %u", criterion->kind);
	}
}

int cl_decide(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_subject *subject, bool *out,
              struct cl_err *e)
{
	*out = false;
	if (decider->nesting >= CL_CRITERION_DEPTH)
		return cl_fail(e, CL_E_LIMIT, "a question nested deeper than %d", CL_CRITERION_DEPTH);
	decider->nesting++;
	int code = decide_kind(decider, criterion, subject, out, e);
	decider->nesting--;
	return code;
}

int cl_criterion_decide(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, struct cl_str id,
                        const struct cl_index *values, bool *out, struct cl_err *e)
{
	struct cl_subject subject = {.type = type, .id = id, .has_id = true, .values = values};
	struct cl_decider decider = {.store = store};
	bool opened;

	*out = false;
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	code = cl_decide(&decider, criterion, &subject, out, e);
	cl_read_end(store, opened);
	cl_decider_free(&decider);
	return code;
}

int cl_store_matches(struct cl_store *store, int64_t row, const struct cl_criterion *criterion, bool *out,
                     struct cl_err *e)
{
	struct cl_decider decider = {.store = store};
	bool opened;

	*out = false;
	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	code = cl_decide_row(&decider, criterion, row, out, e);
	cl_read_end(store, opened);
	cl_decider_free(&decider);
	return code;
}
