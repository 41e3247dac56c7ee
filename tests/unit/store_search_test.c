/* store_search_test.c: the two faces of a criterion agree on random data, whatever plan the search takes; pages are
 * complete, ordered and stable; relations follow R4. */
#include "support/store_fixture.h"
#include "org/store/internal.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- a random world, remembered as it was put ---- */

struct known {
	uint16_t type;
	char id[12];
	int64_t row;
	cl_instant updated;
	bool live;
	int body; /* its text is the number of the values it was put with, among `bodies` */
	struct values values;
};

static struct values *bodies[4096];
static int body_count;
struct world {
	struct fixture *fixture;
	struct dice dice;
	struct known *items;
	size_t count;
	uint64_t sequence;
};

static const char *const names[] = {
        "", "an", "ana", "anna", "b", "bob", "boba", "\xf4\x8f\xbf\xbf", "an\xf4\x8f\xbf\xbf", "z"};
/* Each written form folds to the name at the same place. */
static const char *const written[] = {
        "", "AN", "Ana", "\xc3\x81nna", "B", "bob", "BOBA", "\xf4\x8f\xbf\xbf", "An\xf4\x8f\xbf\xbf", "Z"};
static const char *const written_too[] = {
        "", "an", "\xc3\xa1na", "ANNA", "b", "Bob", "boba", "\xf4\x8f\xbf\xbf", "an\xf4\x8f\xbf\xbf", "z"};
static const char *const systems[] = {"", "http://loinc.org", "urn:s", "x"};
static const char *const codes[] = {"", "a", "b", "c", "active", "8480-6"};
static const char *const uris[] = {"", "http://a", "http://a/b", "http://ab", "urn:x"};
static const char *const patients[] = {"p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p99"};
static const char *const people[] = {"d0", "d1", "d2"};
#define PICK(world, list) list[dice_below(&(world)->dice, sizeof(list) / sizeof(list[0]))]

static int64_t random_time(struct world *world)
{
	switch (dice_below(&world->dice, 12)) {
	case 0:
		return INT64_MIN;
	case 1:
		return INT64_MAX;
	default:
		return (int64_t)dice_below(&world->dice, 12) * CL_HOUR * 7;
	}
}

static void random_interval(struct world *world, int64_t *lower, int64_t *upper)
{
	*lower = random_time(world);
	*upper = dice_below(&world->dice, 3) ? random_time(world) : *lower;
	if (dice_below(&world->dice, 12) && *lower > *upper) {
		int64_t swap = *lower;
		*lower = *upper;
		*upper = swap;
	}
}

static void random_number(struct world *world, double *low, double *high)
{
	*low = (double)dice_below(&world->dice, 9) - 4;
	*high = *low + (dice_below(&world->dice, 3) ? 0.5 * dice_below(&world->dice, 4) : 0);
	if (dice_below(&world->dice, 20) == 0)
		*low = -__builtin_inf();
	if (dice_below(&world->dice, 20) == 0)
		*high = __builtin_inf();
	if (*low == 0 && dice_below(&world->dice, 2))
		*low = -0.0;
}

#define P_PAIR 50 /* groups of an identifier and a weight */

/* Some groups whose members have rows of their own parameters, as a composite's have. */
static void random_groups(struct world *world, struct values *values)
{
	for (int64_t group = 1 + dice_below(&world->dice, 3); group > 1; group--) {
		struct cl_index_value token = {.kind = CL_INDEX_TOKEN}, quantity = {.kind = CL_INDEX_QUANTITY};
		token.a = cl_str_of(PICK(world, systems));
		token.b = cl_str_of(PICK(world, codes));
		quantity.a = cl_str_of(PICK(world, systems));
		quantity.b = cl_str_of(PICK(world, codes));
		random_number(world, &quantity.low, &quantity.high);
		add_token(values, P_IDENTIFIER, token.a.p, token.b.p);
		add_quantity(values, P_WEIGHT, quantity.low, quantity.high, quantity.a.p, quantity.b.p);
		add_member(values, P_PAIR, group, 0, &token);
		if (dice_below(&world->dice, 6))
			add_member(values, P_PAIR, group, 1, &quantity);
	}
}

static void random_patient(struct world *world, struct values *values)
{
	int64_t lower, upper;
	double low, high;
	for (uint32_t n = dice_below(&world->dice, 3); n; n--)
		add_string(values, P_NAME, PICK(world, names));
	for (uint32_t n = dice_below(&world->dice, 3); n; n--) {
		uint32_t i = dice_below(&world->dice, sizeof(names) / sizeof(names[0]));
		add_written(values, P_NAME, dice_below(&world->dice, 2) ? written[i] : written_too[i], names[i]);
	}
	random_groups(world, values);
	for (uint32_t n = dice_below(&world->dice, 3); n; n--) {
		random_interval(world, &lower, &upper);
		add_date(values, P_BIRTH, lower, upper);
	}
	for (uint32_t n = dice_below(&world->dice, 3); n; n--)
		add_token(values, P_IDENTIFIER, PICK(world, systems), PICK(world, codes));
	for (uint32_t n = dice_below(&world->dice, 2); n; n--)
		add_uri(values, P_HOME, PICK(world, uris));
	for (uint32_t n = dice_below(&world->dice, 3); n; n--) {
		random_number(world, &low, &high);
		add_quantity(values, P_WEIGHT, low, high, PICK(world, systems), PICK(world, codes));
		random_number(world, &low, &high);
		add_number(values, P_HEIGHT, low, high);
	}
	for (uint32_t n = dice_below(&world->dice, 2); n; n--)
		add_reference(values, P_LINK, "Patient", PICK(world, patients));
	if (dice_below(&world->dice, 2))
		add_compartment(values, PICK(world, patients));
}

static void random_observation(struct world *world, struct values *values)
{
	int64_t lower, upper;
	const char *patient = PICK(world, patients);
	add_reference(values, P_SUBJECT, dice_below(&world->dice, 8) ? "Patient" : "Practitioner", patient);
	add_compartment(values, patient);
	add_token(values, P_CODE, PICK(world, systems), PICK(world, codes));
	random_interval(world, &lower, &upper);
	add_date(values, P_DATE, lower, upper);
	if (dice_below(&world->dice, 4) == 0)
		add_reference(values, P_DERIVED, "", "http://elsewhere/Observation/1");
	if (dice_below(&world->dice, 4) == 0)
		add_reference(values, P_DERIVED, "Observation", "o3");
	if (dice_below(&world->dice, 9) == 0)
		add_reference(values, P_DERIVED, "Nonsense", "o3");
}

static void random_team(struct world *world, struct values *values)
{
	if (dice_below(&world->dice, 8))
		add_reference(values, P_TEAM_PATIENT, dice_below(&world->dice, 9) ? "Patient" : "Group",
		              PICK(world, patients));
	add_token(values, P_TEAM_STATUS, "s", dice_below(&world->dice, 3) ? "active" : "inactive");
	for (uint32_t n = 1 + dice_below(&world->dice, 2); n; n--)
		add_reference(values, P_PARTICIPANT, dice_below(&world->dice, 5) ? "Practitioner" : "Patient",
		              PICK(world, people));
}

static const char *remember(struct known *known)
{
	static char text[16];
	known->body = body_count++ % 4096;
	if (!bodies[known->body])
		bodies[known->body] = malloc(sizeof(struct values));
	*bodies[known->body] = known->values;
	values_done(bodies[known->body]);
	snprintf(text, sizeof(text), "%d", known->body);
	return text;
}

static int extract(struct cl_arena *arena, uint16_t type, struct cl_str body, struct cl_index *out, struct cl_err *e)
{
	(void)type;
	(void)e;
	*out = bodies[atoi(cl_arena_cstring(arena, body))]->index;
	return 0;
}

static void store_known(struct world *world, struct known *known, enum cl_operation operation)
{
	known->values = (struct values){0};
	if (operation != CL_OP_DELETE) {
		if (known->type == T_PATIENT)
			random_patient(world, &known->values);
		else if (known->type == T_OBSERVATION)
			random_observation(world, &known->values);
		else
			random_team(world, &known->values);
	}
	known->updated = (cl_instant)(world->sequence++ / 3);
	known->live = operation != CL_OP_DELETE;
	known->row = put(world->fixture, known->type, known->id, operation, known->updated, world->sequence,
	                 remember(known), values_done(&known->values));
}

static void make_world(struct world *world, struct fixture *fixture, uint64_t seed)
{
	static const struct {
		uint16_t type;
		char letter;
		unsigned count;
	} kinds[] = {{T_PATIENT, 'p', 30}, {T_OBSERVATION, 'o', 60}, {T_CARE_TEAM, 'c', 12}};

	*world = (struct world){.fixture = fixture, .dice = {seed}};
	world->items = calloc(102, sizeof(*world->items));
	assert_ok(fixture, cl_store_begin(fixture->store, &fixture->e));
	for (size_t kind = 0; kind < 3; kind++)
		for (unsigned i = 0; i < kinds[kind].count; i++) {
			struct known *known = &world->items[world->count++];
			known->type = kinds[kind].type;
			snprintf(known->id, sizeof(known->id), "%c%u", kinds[kind].letter, i);
			store_known(world, known, CL_OP_CREATE);
		}
	for (unsigned i = 0; i < 60; i++) {
		struct known *known = &world->items[dice_below(&world->dice, (uint32_t)world->count)];
		store_known(world, known,
		            !known->live                  ? CL_OP_CREATE
		            : dice_below(&world->dice, 4) ? CL_OP_UPDATE
		                                          : CL_OP_DELETE);
	}
	assert_ok(fixture, cl_store_commit(fixture->store, &fixture->e));
}

/* ---- random questions ---- */

static struct cl_criterion random_criterion(struct world *world, uint16_t type, unsigned depth)
{
	struct cl_arena *arena = world->fixture->arena;
	struct cl_criterion c = {0};
	uint32_t kind = dice_below(&world->dice, depth ? 22 : 16);
	/* The two kinds of the end are leaves, too. */
	kind = kind >= (depth ? 20u : 14u) ? kind - (depth ? 20 : 14) + 20 : kind;

	c.relation = (uint8_t)(CL_EQ + dice_below(&world->dice, 9));
	c.match = (uint8_t)(CL_MATCH_CODE + dice_below(&world->dice, 7));
	switch (kind) {
	case 0:
		c.kind = CL_ID;
		c.b = cl_str_of(type == T_PATIENT ? PICK(world, patients) : "o3");
		break;
	case 1:
		c.kind = CL_UPDATED;
		c.lower = dice_below(&world->dice, 60);
		c.upper = c.lower + dice_below(&world->dice, 9);
		if (dice_below(&world->dice, 8) == 0)
			c.upper = INT64_MAX;
		if (dice_below(&world->dice, 8) == 0)
			c.lower = INT64_MIN;
		break;
	case 2:
	case 3:
		c.kind = CL_TOKEN;
		c.parameter = type == T_PATIENT ? P_IDENTIFIER : type == T_OBSERVATION ? P_CODE : P_TEAM_STATUS;
		c.a = cl_str_of(PICK(world, systems));
		c.b = cl_str_of(PICK(world, codes));
		break;
	case 4:
		c.kind = CL_STRING;
		c.parameter = P_NAME;
		c.a = cl_str_of(PICK(world, names));
		break;
	case 5:
	case 6:
		c.kind = CL_DATE;
		c.parameter = type == T_PATIENT ? P_BIRTH : P_DATE;
		random_interval(world, &c.lower, &c.upper);
		break;
	case 7:
		c.kind = CL_REFERENCE;
		c.parameter = type == T_PATIENT ? P_LINK : type == T_OBSERVATION ? P_SUBJECT : P_TEAM_PATIENT;
		c.a = cl_str_of(dice_below(&world->dice, 2) ? "Patient" : dice_below(&world->dice, 2) ? "" : "Unknown");
		c.b = cl_str_of(PICK(world, patients));
		break;
	case 8:
		c.kind = CL_NUMBER;
		c.parameter = P_HEIGHT;
		random_number(world, &c.low, &c.high);
		break;
	case 9:
		c.kind = CL_QUANTITY;
		c.parameter = P_WEIGHT;
		random_number(world, &c.low, &c.high);
		c.a = cl_str_of(dice_below(&world->dice, 2) ? PICK(world, systems) : "");
		c.b = cl_str_of(dice_below(&world->dice, 2) ? PICK(world, codes) : "");
		break;
	case 10:
		c.kind = CL_URI;
		c.parameter = P_HOME;
		c.a = cl_str_of(PICK(world, uris));
		break;
	case 11:
		c.kind = CL_PRESENT;
		c.parameter = (uint16_t)(dice_below(&world->dice, 2) ? 1 + dice_below(&world->dice, 8)
		                                                     : 20 + dice_below(&world->dice, 6));
		break;
	case 12:
		c.kind = CL_COMPARTMENT;
		c.b = cl_str_of(PICK(world, patients));
		break;
	case 13:
		c.kind = dice_below(&world->dice, 2) ? CL_TRUE : CL_FALSE;
		break;
	case 14:
	case 15:
		c.kind = dice_below(&world->dice, 2) ? CL_AND : CL_OR;
		c.child_count = dice_below(&world->dice, 4);
		break;
	case 16:
		c.kind = CL_NOT;
		c.child_count = 1;
		break;
	case 17:
		c.kind = CL_CHAIN;
		c.parameter = type == T_PATIENT ? P_LINK : type == T_OBSERVATION ? P_SUBJECT : P_TEAM_PATIENT;
		c.type = dice_below(&world->dice, 4) ? T_PATIENT : 0;
		c.child_count = 1;
		break;
	case 18:
		c.kind = CL_REVERSE;
		c.type = type == T_PATIENT && dice_below(&world->dice, 2) ? T_OBSERVATION
		         : type == T_PATIENT                              ? T_PATIENT
		                                                          : T_OBSERVATION;
		c.parameter = c.type == T_PATIENT ? P_LINK : type == T_PATIENT ? P_SUBJECT : P_DERIVED;
		c.child_count = 1;
		break;
	case 20: {
		uint32_t i = dice_below(&world->dice, sizeof(names) / sizeof(names[0]));
		c.kind = CL_STRING;
		c.match = CL_MATCH_EXACT;
		c.parameter = P_NAME;
		c.a = cl_str_of(dice_below(&world->dice, 2) ? written[i] : written_too[i]);
		c.b = cl_str_of(names[i]);
		break;
	}
	case 21:
		c.kind = CL_GROUP;
		c.parameter = P_PAIR;
		c.children = CL_NEW_ARRAY(arena, struct cl_criterion, 2);
		c.child_count = 2;
		for (unsigned part = 0; part < 2; part++) {
			struct cl_criterion *child = &c.children[part];
			child->kind = part ? CL_QUANTITY : dice_below(&world->dice, 9) ? CL_TOKEN : CL_PRESENT;
			child->parameter = !dice_below(&world->dice, 4) ? 0 : part ? P_WEIGHT : P_IDENTIFIER;
			child->match = (uint8_t)(CL_MATCH_CODE + dice_below(&world->dice, 4));
			child->relation = (uint8_t)(CL_EQ + dice_below(&world->dice, 9));
			child->a = cl_str_of(dice_below(&world->dice, 3) ? "" : PICK(world, systems));
			child->b = cl_str_of(dice_below(&world->dice, 3) ? PICK(world, codes) : "");
			random_number(world, &child->low, &child->high);
		}
		return c;
	default:
		c.kind = CL_CARE_TEAM;
		c.parameter = P_PARTICIPANT;
		c.other = P_TEAM_PATIENT;
		c.status = P_TEAM_STATUS;
		c.member_count = 1 + dice_below(&world->dice, 2);
		c.members = CL_NEW_ARRAY(arena, struct cl_str, c.member_count);
		for (size_t i = 0; i < c.member_count; i++)
			c.members[i] = dice_below(&world->dice, 9)
			                       ? cl_arena_printf(arena, "Practitioner/%s", PICK(world, people))
			                       : CL_STR("no slash");
	}
	c.children = CL_NEW_ARRAY(arena, struct cl_criterion, c.child_count + 1);
	uint16_t child_type = c.kind == CL_CHAIN ? T_PATIENT : c.kind == CL_REVERSE ? c.type : type;
	for (size_t i = 0; i < c.child_count; i++)
		c.children[i] = random_criterion(world, child_type, depth - 1);
	return c;
}

/* ---- expectation: the memory face on the values as they were put, ordered independently of the store ---- */

struct expected {
	const struct known *known;
	const struct cl_query *query;
};

static int compare_key(const struct cl_sort *sort, const struct known *x, const struct known *y)
{
	const struct known *both[2] = {x, y};
	struct cl_key keys[2];
	for (int side = 0; side < 2; side++) {
		struct cl_key *key = &keys[side];
		*key = (struct cl_key){.missing = true};
		if (sort->by_id)
			*key = (struct cl_key){.form = 't', .text = cl_str_of(both[side]->id)};
		else if (!sort->parameter)
			*key = (struct cl_key){.form = 'i', .integer = both[side]->updated};
		else
			for (size_t i = 0; i < both[side]->values.index.count; i++) {
				const struct cl_index_value *value = &both[side]->values.index.values[i];
				struct cl_key here = {.form = 't', .text = value->a};
				if (value->kind != sort->kind || value->parameter != sort->parameter)
					continue;
				if (sort->kind == CL_INDEX_TOKEN || sort->kind == CL_INDEX_REFERENCE)
					here.text = value->b;
				if (sort->kind == CL_INDEX_DATE)
					here = (struct cl_key){.form = 'i', .integer = value->lower};
				if (sort->kind == CL_INDEX_NUMBER || sort->kind == CL_INDEX_QUANTITY)
					here = (struct cl_key){.form = 'r', .real = value->low};
				int order = key->missing ? -1
				            : here.form == 'i'
				                    ? (here.integer > key->integer) - (here.integer < key->integer)
				            : here.form == 'r' ? (here.real > key->real) - (here.real < key->real)
				                               : cl_str_compare(here.text, key->text);
				if (key->missing || (sort->descending ? order > 0 : order < 0))
					*key = here;
			}
	}
	if (keys[0].missing || keys[1].missing)
		return keys[0].missing - keys[1].missing;
	int order = keys[0].form == 'i'   ? (keys[0].integer > keys[1].integer) - (keys[0].integer < keys[1].integer)
	            : keys[0].form == 'r' ? (keys[0].real > keys[1].real) - (keys[0].real < keys[1].real)
	                                  : cl_str_compare(keys[0].text, keys[1].text);
	return sort->descending ? -order : order;
}

static int compare_expected(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;
	const struct cl_query *query = x->query;
	for (size_t i = 0; i < query->sort_count; i++) {
		int order = compare_key(&query->sorts[i], x->known, y->known);
		if (order)
			return order;
	}
	int order = (x->known->row > y->known->row) - (x->known->row < y->known->row);
	return query->sort_count && query->sorts[0].descending ? -order : order;
}

static bool decide(struct world *world, const struct known *known, const struct cl_criterion *criterion)
{
	bool by_memory, by_row;
	struct fixture *f = world->fixture;
	if (!criterion)
		return true;
	assert_ok(f, cl_criterion_decide(f->store, criterion, known->type, cl_str_of(known->id), &known->values.index,
	                                 &by_memory, &f->e));
	assert_ok(f, cl_store_matches(f->store, known->row, criterion, &by_row, &f->e));
	assert_int_equal(by_memory, by_row);
	return by_memory;
}

static void random_sorts(struct world *world, struct cl_query *query, struct cl_sort *sorts)
{
	static const struct cl_sort patient[] = {
	        {.by_id = true},
	        {.parameter = 0},
	        {.parameter = P_NAME, .kind = CL_INDEX_STRING},
	        {.parameter = P_BIRTH, .kind = CL_INDEX_DATE},
	        {.parameter = P_IDENTIFIER, .kind = CL_INDEX_TOKEN},
	        {.parameter = P_HOME, .kind = CL_INDEX_URI},
	        {.parameter = P_WEIGHT, .kind = CL_INDEX_QUANTITY},
	        {.parameter = P_HEIGHT, .kind = CL_INDEX_NUMBER},
	        {.parameter = P_LINK, .kind = CL_INDEX_REFERENCE},
	};
	static const struct cl_sort other[] = {
	        {.by_id = true},
	        {.parameter = 0},
	        {.parameter = P_DATE, .kind = CL_INDEX_DATE},
	        {.parameter = P_CODE, .kind = CL_INDEX_TOKEN},
	        {.parameter = P_SUBJECT, .kind = CL_INDEX_REFERENCE},
	};
	query->sorts = sorts;
	query->sort_count = dice_below(&world->dice, 2) ? dice_below(&world->dice, 4) : 0;
	for (size_t i = 0; i < query->sort_count; i++) {
		sorts[i] = query->type == T_PATIENT ? PICK(world, patient) : PICK(world, other);
		sorts[i].descending = dice_below(&world->dice, 2);
	}
}

/* Reads page after page; the rows must be the expected ones in their order. */
static void check_pages(struct world *world, struct cl_query *query, const struct expected *expected, size_t count)
{
	struct fixture *f = world->fixture;
	struct cl_search_result result;
	size_t seen = 0;

	query->after = CL_STR_NONE;
	do {
		query->want_total = dice_below(&world->dice, 3) == 0;
		assert_ok(f, cl_store_search(f->store, f->arena, query, &result, &f->e));
		assert_int_equal(result.total, query->want_total ? (int64_t)count : -1);
		assert_true(result.count <= query->limit);
		for (size_t i = 0; i < result.count; i++, seen++) {
			assert_true(seen < count);
			assert_int_equal(result.items[i].row, expected[seen].known->row);
			assert_str(result.items[i].id, expected[seen].known->id);
		}
		assert_int_equal(result.after.n > 0, seen < count);
		query->after = result.after;
	} while (result.after.n);
	assert_int_equal(seen, count);
}

static void check_question(struct world *world)
{
	struct fixture *f = world->fixture;
	struct cl_sort sorts[4];
	struct expected expected[128];
	size_t count = 0;
	uint16_t type = (uint16_t)(T_PATIENT + dice_below(&world->dice, 3));
	struct cl_criterion where = random_criterion(world, type, 3), access = random_criterion(world, type, 2);
	struct cl_query query = {
	        .type = type,
	        .where = dice_below(&world->dice, 6) ? &where : NULL,
	        .access = dice_below(&world->dice, 2) ? &access : NULL,
	        .limit = 1 + dice_below(&world->dice, 12),
	        .bodies = dice_below(&world->dice, 2),
	};

	random_sorts(world, &query, sorts);
	for (size_t i = 0; i < world->count; i++)
		if (world->items[i].live && world->items[i].type == type &&
		    decide(world, &world->items[i], query.where) && decide(world, &world->items[i], query.access))
			expected[count++] = (struct expected){&world->items[i], &query};
	qsort(expected, count, sizeof(*expected), compare_expected);
	f->store->plan.first_look = dice_below(&world->dice, 3) ? 64 : dice_below(&world->dice, 3);
	f->store->plan.few = dice_below(&world->dice, 3) ? 4096 : dice_below(&world->dice, 8);
	f->store->plan.walk_first = dice_below(&world->dice, 2) ? 20000 : dice_below(&world->dice, 60);
	check_pages(world, &query, expected, count);
}

/* Some writes between two pages. */
static void disturb(struct world *world)
{
	assert_ok(world->fixture, cl_store_begin(world->fixture->store, &world->fixture->e));
	for (uint32_t n = dice_below(&world->dice, 8); n; n--) {
		struct known *known = &world->items[dice_below(&world->dice, (uint32_t)world->count)];
		store_known(world, known,
		            !known->live                  ? CL_OP_CREATE
		            : dice_below(&world->dice, 5) ? CL_OP_UPDATE
		                                          : CL_OP_DELETE);
	}
	assert_ok(world->fixture, cl_store_commit(world->fixture->store, &world->fixture->e));
}

/* The pages show what was there when the first one was read, but for what may no longer be seen. */
static void check_pages_while_writing(struct world *world)
{
	struct fixture *f = world->fixture;
	static struct known then[128];
	struct cl_sort sorts[4];
	struct expected expected[128];
	struct cl_search_result result;
	size_t count = 0, next = 0;
	uint16_t type = (uint16_t)(T_PATIENT + dice_below(&world->dice, 3));
	struct cl_criterion where = random_criterion(world, type, 0), access = random_criterion(world, type, 0);
	struct cl_query query = {.type = type,
	                         .where = dice_below(&world->dice, 3) ? NULL : &where,
	                         .access = dice_below(&world->dice, 2) ? &access : NULL,
	                         .limit = 1 + dice_below(&world->dice, 7),
	                         .bodies = true,
	                         .extract = extract};

	random_sorts(world, &query, sorts);
	memcpy(then, world->items, world->count * sizeof(*then));
	for (size_t i = 0; i < world->count; i++) {
		values_done(&then[i].values);
		if (then[i].live && then[i].type == type && decide(world, &world->items[i], query.where) &&
		    decide(world, &world->items[i], query.access))
			expected[count++] = (struct expected){&then[i], &query};
	}
	qsort(expected, count, sizeof(*expected), compare_expected);
	do {
		query.want_total = dice_below(&world->dice, 3) == 0;
		assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
		for (size_t i = 0; i < result.count; i++, next++) {
			/* What was deleted, or may no longer be seen, is gone. */
			for (; next < count && result.items[i].row != expected[next].known->row; next++) {
				const struct known *now = &world->items[expected[next].known - then];
				assert_true(!now->live || !decide(world, now, query.access));
			}
			assert_true(next < count);
			assert_int_equal(atoi(cl_arena_cstring(f->arena, result.items[i].body)),
			                 expected[next].known->body);
		}
		query.after = result.after;
		if (result.after.n)
			disturb(world);
	} while (result.after.n);
	for (; next < count; next++) {
		const struct known *now = &world->items[expected[next].known - then];
		assert_true(!now->live || !decide(world, now, query.access));
	}
}

static void run_world(struct fixture *f, uint64_t seed, unsigned questions)
{
	struct world world;
	make_world(&world, f, seed);
	for (unsigned i = 0; i < questions; i++) {
		check_question(&world);
		if (i % 10 == 0)
			check_pages_while_writing(&world);
		cl_store_assert_idle(f->store);
		if (i % 50 == 49)
			cl_arena_reset(f->arena);
	}
	free(world.items);
}

static void test_faces_agree(void **state)
{
	(void)state;
	const char *seeds = getenv("CL_STORE_SEEDS");
	uint64_t last = seeds ? strtoull(seeds, NULL, 10) : 12;
	for (uint64_t seed = 1; seed <= last; seed++) {
		struct fixture f;
		fixture_open(&f, "clse");
		if (seed % 3 == 0)
			f.store->symbols.most = 3; /* nearly nothing is cached */
		run_world(&f, seed, 250);
		assert_ok(&f, cl_store_check(f.store, true, &f.e));
		fixture_close(&f);
	}
}

/* ---- relations, by the text of R4 3.1.1.4.6 ---- */

static bool text_of_standard(uint8_t relation, int64_t sl, int64_t su, int64_t l, int64_t u)
{
	/* "the range of the search value fully contains the range of the target value" */
	bool contains = sl <= l && u <= su;
	/* "the range above the search value intersects the range of the target value" */
	bool above = u > su, below = l < sl, overlaps = l < su && u > sl;
	switch (relation) {
	case CL_EQ:
		return contains;
	case CL_NE:
		return !contains;
	case CL_GT:
		return above;
	case CL_LT:
		return below;
	case CL_GE:
		return above || contains;
	case CL_LE:
		return below || contains;
	case CL_SA:
		return l >= su;
	case CL_EB:
		return u <= sl;
	default:
		return overlaps;
	}
}

static void test_relations(void **state)
{
	(void)state;
	for (uint8_t relation = CL_EQ; relation <= CL_AP; relation++)
		for (int64_t sl = 0; sl < 6; sl++)
			for (int64_t su = sl; su < 6; su++)
				for (int64_t l = 0; l < 6; l++)
					for (int64_t u = l; u < 6; u++) {
						bool expected = text_of_standard(relation, sl, su, l, u);
						assert_int_equal(cl_relation_holds(relation, sl, su, l, u), expected);
						if (relation != CL_AP)
							assert_int_equal(cl_relation_holds_number(relation, (double)sl,
							                                          (double)su, (double)l,
							                                          (double)u),
							                 expected);
					}
	/* ap: a tenth wider. 100 means 90 to 110. */
	assert_true(cl_relation_holds_number(CL_AP, 99.5, 100.5, 90.5, 91.5));
	assert_true(cl_relation_holds_number(CL_AP, 99.5, 100.5, 109, 109));
	assert_false(cl_relation_holds_number(CL_AP, 99.5, 100.5, 111, 112));
	assert_true(cl_relation_holds_number(CL_AP, -100, -100, -110, -109));
	assert_true(cl_relation_holds(CL_AP, 1000, 2000, 2050, 2060));
	assert_false(cl_relation_holds(CL_AP, 1000, 2000, 2100, 2200));
	assert_true(cl_relation_holds(CL_AP, INT64_MIN, INT64_MAX, 5, 6));
	/* Ends of time. */
	assert_true(cl_relation_holds(CL_GT, 5, 6, 0, INT64_MAX));
	assert_false(cl_relation_holds(CL_GT, 5, INT64_MAX, 0, INT64_MAX));
	assert_false(cl_relation_holds(CL_LT, INT64_MIN, 6, INT64_MIN, 7));
	assert_true(cl_relation_holds(CL_LT, 0, 6, INT64_MIN, 7));
	assert_false(cl_relation_holds(99, 0, 6, 1, 2));
}

/* ---- what each criterion means, by example ---- */

static void expect_matches(struct fixture *f, uint16_t type, struct cl_criterion criterion, const char *expected)
{
	struct cl_query query = {.type = type, .where = &criterion, .limit = 50};
	struct cl_search_result result;
	char text[200] = "";
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	for (size_t i = 0; i < result.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s", i ? " " : "",
		         CL_STR_ARGS(result.items[i].id));
	assert_string_equal(text, expected);
}

static void make_examples(struct fixture *f)
{
	static const struct {
		const char *patient, *status, *member_type, *member;
	} teams[] = {{"p1", "active", "Practitioner", "ana"},
	             {"p2", "inactive", "Practitioner", "ana"},
	             {"p3", "active", "Patient", "ana"},
	             {"p4", "active", "Practitioner", "bob"},
	             {"p3", "proposed", "Practitioner", "ana"}};
	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 1; i <= 4; i++) {
		struct values values = {0};
		char id[8];
		snprintf(id, sizeof(id), "p%u", i);
		add_string(&values, P_NAME, i == 1 ? "anna lee" : i == 2 ? "lee" : i == 3 ? "leeroy" : "ann");
		if (i < 4)
			add_token(&values, P_IDENTIFIER, i == 1 ? "mrn" : i == 2 ? "" : "ssn", "7");
		add_uri(&values, P_HOME, i < 3 ? "http://a/b" : "http://a/bc");
		add_quantity(&values, P_WEIGHT, i * 10.0, i * 10.0 + 1, i % 2 ? "ucum" : "", i % 2 ? "kg" : "lb");
		add_date(&values, P_BIRTH, i * CL_DAY, (i + 1) * CL_DAY);
		if (i == 4)
			add_reference(&values, P_LINK, "Patient", "p1");
		if (i == 3)
			add_reference(&values, P_LINK, "", "p1");
		put(f, T_PATIENT, id, CL_OP_CREATE, i * 100, i, "{}", values_done(&values));
	}
	for (unsigned i = 0; i < 5; i++) {
		struct values values = {0};
		char id[8];
		snprintf(id, sizeof(id), "c%u", i);
		add_reference(&values, P_TEAM_PATIENT, "Patient", teams[i].patient);
		add_token(&values, P_TEAM_STATUS, "s", teams[i].status);
		add_reference(&values, P_PARTICIPANT, teams[i].member_type, teams[i].member);
		put(f, T_CARE_TEAM, id, CL_OP_CREATE, 1, 10 + i, "{}", values_done(&values));
	}
	for (unsigned i = 1; i <= 4; i++) {
		struct values values = {0};
		char id[8], patient[8];
		snprintf(id, sizeof(id), "o%u", i);
		snprintf(patient, sizeof(patient), "p%u", i);
		add_reference(&values, P_SUBJECT, i == 4 ? "Practitioner" : "Patient", patient);
		add_compartment(&values, patient);
		add_token(&values, P_CODE, "s", i % 2 ? "odd" : "even");
		put(f, T_OBSERVATION, id, CL_OP_CREATE, 1, 20 + i, "{}", values_done(&values));
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
}

#define IS(...) ((struct cl_criterion){__VA_ARGS__})
#define ONE(...) (struct cl_criterion[]){{__VA_ARGS__}}, .child_count = 1

static void test_meanings(void **state)
{
	struct fixture *f = *state;
	struct cl_str ana = CL_STR("Practitioner/ana"), nobody = CL_STR("Practitioner/an"),
	              as_patient = CL_STR("Patient/ana");
	struct cl_criterion team = {.kind = CL_CARE_TEAM,
	                            .parameter = P_PARTICIPANT,
	                            .other = P_TEAM_PATIENT,
	                            .status = P_TEAM_STATUS,
	                            .members = &ana,
	                            .member_count = 1};

	make_examples(f);
	expect_matches(f, T_PATIENT, IS(.kind = CL_TRUE), "p1 p2 p3 p4");
	expect_matches(f, T_PATIENT, IS(.kind = CL_FALSE), "");
	expect_matches(f, T_PATIENT, IS(.kind = CL_AND), "p1 p2 p3 p4");
	expect_matches(f, T_PATIENT, IS(.kind = CL_OR), "");
	expect_matches(f, T_PATIENT, IS(.kind = CL_ID, .b = CL_STR("p3")), "p3");
	expect_matches(f, T_PATIENT, IS(.kind = CL_UPDATED, .relation = CL_EQ, .lower = 200, .upper = 300), "p2");
	expect_matches(f, T_PATIENT, IS(.kind = CL_UPDATED, .relation = CL_GE, .lower = 200, .upper = 201), "p2 p3 p4");
	expect_matches(f, T_PATIENT, IS(.kind = CL_UPDATED, .relation = CL_GT, .lower = 200, .upper = 201), "p3 p4");
	expect_matches(f, T_PATIENT, IS(.kind = CL_UPDATED, .relation = CL_LT, .lower = 200, .upper = 201), "p1");
	expect_matches(f, T_PATIENT, IS(.kind = CL_UPDATED, .relation = CL_NE, .lower = 200, .upper = 201), "p1 p3 p4");
#define TOKEN .kind = CL_TOKEN, .parameter = P_IDENTIFIER
	expect_matches(f, T_PATIENT, IS(TOKEN, .match = CL_MATCH_CODE, .b = CL_STR("7")), "p1 p2 p3");
	expect_matches(f, T_PATIENT, IS(TOKEN, .match = CL_MATCH_SYSTEM_CODE, .a = CL_STR("mrn"), .b = CL_STR("7")),
	               "p1");
	expect_matches(f, T_PATIENT, IS(TOKEN, .match = CL_MATCH_NO_SYSTEM_CODE, .a = CL_STR("mrn"), .b = CL_STR("7")),
	               "p2");
	expect_matches(f, T_PATIENT, IS(TOKEN, .match = CL_MATCH_SYSTEM, .a = CL_STR("ssn"), .b = CL_STR("8")), "p3");
	expect_matches(f, T_PATIENT,
	               IS(.kind = CL_NOT, .children = ONE(TOKEN, .match = CL_MATCH_CODE, .b = CL_STR("7"))), "p4");
	expect_matches(f, T_PATIENT, IS(.kind = CL_PRESENT, .parameter = P_IDENTIFIER), "p1 p2 p3");
#define NAME .kind = CL_STRING, .parameter = P_NAME
	expect_matches(f, T_PATIENT, IS(NAME, .match = CL_MATCH_PREFIX, .a = CL_STR("lee")), "p2 p3");
	expect_matches(f, T_PATIENT, IS(NAME, .match = CL_MATCH_CONTAINS, .a = CL_STR("lee")), "p1 p2 p3");
	expect_matches(f, T_PATIENT, IS(NAME, .match = CL_MATCH_WHOLE, .a = CL_STR("lee")), "p2");
#define HOME .kind = CL_URI, .parameter = P_HOME
	expect_matches(f, T_PATIENT, IS(HOME, .match = CL_MATCH_WHOLE, .a = CL_STR("http://a/b")), "p1 p2");
	expect_matches(f, T_PATIENT, IS(HOME, .match = CL_MATCH_PREFIX, .a = CL_STR("http://a/b")), "p1 p2 p3 p4");
#define WEIGHT .kind = CL_QUANTITY, .parameter = P_WEIGHT, .relation = CL_GT, .low = 15, .high = 15
	expect_matches(f, T_PATIENT, IS(WEIGHT), "p2 p3 p4");
	expect_matches(f, T_PATIENT, IS(WEIGHT, .a = CL_STR("ucum"), .b = CL_STR("kg")), "p3");
	expect_matches(f, T_PATIENT, IS(WEIGHT, .b = CL_STR("lb")), "p2 p4");
#define LINK .kind = CL_REFERENCE, .parameter = P_LINK, .b = CL_STR("p1")
	expect_matches(f, T_PATIENT, IS(LINK), "p3 p4");
	expect_matches(f, T_PATIENT, IS(LINK, .a = CL_STR("Patient")), "p4");
	expect_matches(f, T_OBSERVATION, IS(.kind = CL_COMPARTMENT, .b = CL_STR("p2")), "o2");
	expect_matches(f, T_PATIENT, IS(.kind = CL_COMPARTMENT, .b = CL_STR("p2")), "");
	/* Observation?patient.name=lee; only a Patient counts, and o4's subject is none. */
	expect_matches(f, T_OBSERVATION,
	               IS(.kind = CL_CHAIN, .parameter = P_SUBJECT, .type = T_PATIENT,
	                  .children = ONE(NAME, .match = CL_MATCH_CONTAINS, .a = CL_STR("ee"))),
	               "o1 o2 o3");
	expect_matches(
	        f, T_OBSERVATION,
	        IS(.kind = CL_CHAIN, .parameter = P_SUBJECT, .type = T_PATIENT, .children = ONE(.kind = CL_TRUE)),
	        "o1 o2 o3");
	/* Patient?_has:Observation:patient:code=odd */
	expect_matches(
	        f, T_PATIENT,
	        IS(.kind = CL_REVERSE, .parameter = P_SUBJECT, .type = T_OBSERVATION,
	           .children = ONE(.kind = CL_TOKEN, .parameter = P_CODE, .match = CL_MATCH_CODE, .b = CL_STR("odd"))),
	        "p1 p3");
	/* Only an active team with this very member counts; the patient itself and what is in its compartment. */
	expect_matches(f, T_PATIENT, team, "p1");
	expect_matches(f, T_OBSERVATION, team, "o1");
	team.members = &as_patient;
	expect_matches(f, T_OBSERVATION, team, "o3");
	team.members = &nobody;
	expect_matches(f, T_OBSERVATION, team, "");
	team.member_count = 0;
	expect_matches(f, T_OBSERVATION, team, "");
}

/* ---- paging ---- */

static struct cl_str next_page(struct fixture *f, struct cl_query *query, int64_t *rows, size_t *count)
{
	struct cl_search_result result;
	assert_ok(f, cl_store_search(f->store, f->arena, query, &result, &f->e));
	for (size_t i = 0; i < result.count; i++)
		rows[(*count)++] = result.items[i].row;
	return result.after;
}

/* Pages go on while others write: nothing that was there and stays is missed or doubled, nothing new appears. */
static void test_paging_while_writing(void **state)
{
	struct fixture *f = *state;
	struct dice dice = {3};
	struct cl_sort sorts[] = {{.parameter = P_NAME, .kind = CL_INDEX_STRING}};
	unsigned new_ones = 0;

	for (unsigned with_sort = 0; with_sort < 2; with_sort++) {
		int64_t all[400], rows[800];
		size_t count = 0, made = 0;
		struct cl_query query = {.type = T_PATIENT, .limit = 7, .sorts = sorts, .sort_count = with_sort};
		char id[16];
		assert_ok(f, cl_store_begin(f->store, &f->e));
		for (unsigned i = 0; i < 200; i++) {
			struct values values = {0};
			char name[16];
			snprintf(id, sizeof(id), "w%u-%u", with_sort, i);
			snprintf(name, sizeof(name), "n%u", dice_below(&dice, 50));
			if (i % 9)
				add_string(&values, P_NAME, name);
			all[made++] = put(f, T_PATIENT, id, CL_OP_CREATE, i, i + 1, "{}", values_done(&values));
		}
		assert_ok(f, cl_store_commit(f->store, &f->e));
		if (with_sort) {
			/* Leave the first round's out of the way. */
			assert_ok(f, cl_store_begin(f->store, &f->e));
			for (unsigned i = 0; i < 200; i++) {
				snprintf(id, sizeof(id), "w0-%u", i);
				put(f, T_PATIENT, id, CL_OP_DELETE, 1, 900 + i, "", NULL);
			}
			for (unsigned i = 0; i < new_ones; i++) {
				snprintf(id, sizeof(id), "new0-%u", i);
				put(f, T_PATIENT, id, CL_OP_DELETE, 1, 1200 + i, "", NULL);
			}
			assert_ok(f, cl_store_commit(f->store, &f->e));
		}
		for (unsigned page = 0;; page++) {
			query.after = next_page(f, &query, rows, &count);
			if (!query.after.n)
				break;
			struct values values = {0};
			new_ones = page + 1;
			snprintf(id, sizeof(id), "new%u-%u", with_sort, page);
			add_string(&values, P_NAME, page % 2 ? "a first" : "z last");
			put_one(f, T_PATIENT, id, CL_OP_CREATE, 1, 500 + page, "{}", values_done(&values));
		}
		assert_int_equal(count, made);
		for (size_t i = 0; i < made; i++) {
			size_t times = 0;
			for (size_t j = 0; j < count; j++)
				times += rows[j] == all[i];
			assert_int_equal(times, 1);
		}
	}
}

static void test_places_are_checked(void **state)
{
	struct fixture *f = *state;
	struct cl_sort sorts[] = {{.parameter = P_NAME, .kind = CL_INDEX_STRING}};
	struct cl_query query = {.type = T_PATIENT, .limit = 2, .sorts = sorts, .sort_count = 1};
	struct cl_search_result result;
	char id[8];

	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 0; i < 5; i++) {
		struct values values = {0};
		snprintf(id, sizeof(id), "x%u", i);
		add_string(&values, P_NAME, "secret name");
		put(f, T_PATIENT, id, CL_OP_CREATE, 1, i + 1, "{}", values_done(&values));
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	struct cl_str good = result.after;
	assert_true(good.n > 0);
	for (size_t i = 0; i < good.n; i++)
		assert_true((good.p[i] >= '0' && good.p[i] <= '9') || (good.p[i] >= 'A' && good.p[i] <= 'Z') ||
		            (good.p[i] >= 'a' && good.p[i] <= 'z') || good.p[i] == '-' || good.p[i] == '_');
	/* Any change is noticed. */
	for (size_t i = 0; i < good.n; i++) {
		struct cl_str bad = cl_arena_copy(f->arena, good);
		((char *)bad.p)[i] = bad.p[i] == 'A' ? 'B' : 'A';
		query.after = bad;
		int code = cl_store_search(f->store, f->arena, &query, &result, &f->e);
		assert_true(code == CL_E_INVALID);
	}
	static const char *const nonsense[] = {"x", "!!!", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	for (size_t i = 0; i < 4; i++) {
		query.after = cl_str_of(nonsense[i]);
		assert_code(CL_E_INVALID, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	}
	/* So is another search, and another incarnation of the file. */
	query.after = good;
	query.type = T_TASK;
	assert_code(CL_E_INVALID, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	query.type = T_PATIENT;
	sorts[0].descending = true;
	assert_code(CL_E_INVALID, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	sorts[0].descending = false;
	query.sort_count = 0;
	assert_code(CL_E_INVALID, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	query.sort_count = 1;
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	assert_int_equal(result.count, 2);
	fixture_reopen(f);
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	assert_ok(f, cl_store_raise_incarnation(f->store, &f->e));
	assert_code(CL_E_INVALID, cl_store_search(f->store, f->arena, &query, &result, &f->e));
}

/* Sort keys longer than what a place holds. */
static void test_long_keys(void **state)
{
	struct fixture *f = *state;
	struct cl_sort sorts[] = {{.parameter = P_NAME, .kind = CL_INDEX_STRING}};
	char text[1000];
	char id[8];

	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 0; i < 20; i++) {
		struct values values = {0};
		memset(text, 'k', sizeof(text));
		snprintf(text + 900, sizeof(text) - 900, "%02u", (i * 7) % 20);
		snprintf(id, sizeof(id), "x%u", i);
		add_string(&values, P_NAME, text);
		put(f, T_PATIENT, id, CL_OP_CREATE, 1, i + 1, "{}", values_done(&values));
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
	for (unsigned descending = 0; descending < 2; descending++) {
		int64_t rows[40];
		size_t count = 0;
		struct cl_query query = {.type = T_PATIENT, .limit = 3, .sorts = sorts, .sort_count = 1};
		sorts[0].descending = descending;
		do {
			query.after = next_page(f, &query, rows, &count);
			assert_true(query.after.n < 600);
		} while (query.after.n);
		assert_int_equal(count, 20);
		for (size_t i = 0; i < 20; i++) {
			unsigned which = (unsigned)(rows[i] & 0xffff) - 1;
			assert_int_equal((which * 7) % 20, descending ? 19 - i : i);
		}
	}
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	struct cl_search_result result;
	struct cl_sort sorts[CL_SORT_MAXIMUM + 1] = {0};
	struct cl_query query = {.type = T_PATIENT, .limit = 0, .want_total = true};

	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 1, 1, "{}", NULL);
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	assert_int_equal(result.total, 1);
	assert_int_equal(result.count, 0);
	assert_int_equal(result.after.n, 0);
	query.limit = UINT32_MAX;
	query.bodies = true;
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	assert_int_equal(result.count, 1);
	assert_str(result.items[0].body, "{}");
	query.sorts = sorts;
	query.sort_count = CL_SORT_MAXIMUM + 1;
	assert_code(CL_E_LIMIT, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	query.sort_count = 0;
	query.type = 0;
	assert_code(CL_E_UNSUPPORTED, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	/* A question nested without end is refused, by both faces. */
	struct cl_criterion nested[300];
	for (size_t i = 0; i < 300; i++)
		nested[i] = (struct cl_criterion){
		        .kind = i == 299 ? CL_PRESENT : CL_NOT, .children = &nested[i + 1], .child_count = i < 299};
	query.type = T_PATIENT;
	query.where = nested;
	assert_code(CL_E_LIMIT, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	for (size_t i = 0; i < 300; i++)
		nested[i].kind = i == 299 ? CL_TRUE : CL_AND;
	assert_code(CL_E_LIMIT, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	struct cl_criterion unknown = {.kind = 77};
	query.where = &unknown;
	assert_code(CL_E_INTERNAL, cl_store_search(f->store, f->arena, &query, &result, &f->e));
}

static int stop_at_third(void *context)
{
	return ++*(int *)context >= 3;
}

static void test_progress_stops(void **state)
{
	struct fixture *f = *state;
	struct cl_search_result result;
	struct cl_criterion contains = {
	        .kind = CL_STRING, .match = CL_MATCH_CONTAINS, .parameter = P_NAME, .a = CL_STR("nowhere")};
	struct cl_query query = {.type = T_PATIENT, .where = &contains, .limit = 10};
	int calls = 0;
	char id[16], name[20];

	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 0; i < 20000; i++) {
		struct values values = {0};
		snprintf(id, sizeof(id), "x%u", i);
		snprintf(name, sizeof(name), "name %u", i);
		add_string(&values, P_NAME, name);
		put(f, T_PATIENT, id, CL_OP_CREATE, 1, i + 1, "{}", values_done(&values));
	}
	cl_store_set_progress(f->store, stop_at_third, &calls);
	assert_code(CL_E_LIMIT, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	assert_int_equal(calls, 3);
	/* The transaction is still there, and a write is never stopped. */
	assert_true(cl_store_in_transaction(f->store));
	put(f, T_PATIENT, "after", CL_OP_CREATE, 1, 30000, "{}", NULL);
	cl_store_set_progress(f->store, NULL, NULL);
	assert_ok(f, cl_store_commit(f->store, &f->e));
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	assert_int_equal(result.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_faces_agree),
	        cmocka_unit_test(test_relations),
	        cmocka_unit_test_setup_teardown(test_meanings, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_paging_while_writing, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_places_are_checked, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_long_keys, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_limits, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_progress_stops, fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
