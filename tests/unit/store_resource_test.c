/* store_resource_test.c: versions, history, and that index tables always say what the resources say. */
#include "support/store_fixture.h"
#include <stdio.h>
#include <stdlib.h>

static void test_create_read_update_delete(void **state)
{
	struct fixture *f = *state;
	struct cl_version version;
	struct values values = {0};

	add_string(&values, P_NAME, "smith");
	int64_t row = put_one(f, T_PATIENT, "a", CL_OP_CREATE, 1000, 1, "{\"v\":1}", values_done(&values));
	assert_ok(f, cl_store_get(f->store, f->arena, T_PATIENT, CL_STR("a"), &version, &f->e));
	assert_int_equal(version.row, row);
	assert_int_equal(version.type, T_PATIENT);
	assert_str(version.id, "a");
	assert_int_equal(version.version, 1);
	assert_int_equal(version.operation, CL_OP_CREATE);
	assert_int_equal(version.updated, 1000);
	assert_int_equal(version.sequence, 1);
	assert_str(version.body, "{\"v\":1}");

	assert_int_equal(put_one(f, T_PATIENT, "a", CL_OP_UPDATE, 2000, 2, "{\"v\":2}", values_done(&values)), row);
	assert_int_equal(put_one(f, T_PATIENT, "a", CL_OP_DELETE, 3000, 3, "ignored", NULL), row);
	assert_ok(f, cl_store_get(f->store, f->arena, T_PATIENT, CL_STR("a"), &version, &f->e));
	assert_int_equal(version.operation, CL_OP_DELETE);
	assert_int_equal(version.version, 3);
	assert_int_equal(version.body.n, 0);
	/* It comes back with its number, and the versions go on. */
	assert_int_equal(put_one(f, T_PATIENT, "a", CL_OP_CREATE, 4000, 4, "{\"v\":4}", values_done(&values)), row);
	for (int64_t i = 1; i <= 4; i++) {
		assert_ok(f, cl_store_get_version(f->store, f->arena, T_PATIENT, CL_STR("a"), i, &version, &f->e));
		assert_int_equal(version.version, i);
		assert_int_equal(version.row, row);
		assert_int_equal(version.updated, i * 1000);
		assert_int_equal(version.operation, i == 2 ? CL_OP_UPDATE : i == 3 ? CL_OP_DELETE : CL_OP_CREATE);
	}
	assert_code(CL_E_NOT_FOUND,
	            cl_store_get_version(f->store, f->arena, T_PATIENT, CL_STR("a"), 5, &version, &f->e));
	assert_code(CL_E_NOT_FOUND,
	            cl_store_get_version(f->store, f->arena, T_PATIENT, CL_STR("b"), 1, &version, &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_get(f->store, f->arena, T_TASK, CL_STR("a"), &version, &f->e));
	assert_ok(f, cl_store_check(f->store, true, &f->e));
}

static void test_refusals(void **state)
{
	struct fixture *f = *state;
	static const struct cl_index none;
	struct cl_version version = {.type = T_PATIENT, .id = CL_STR("a"), .operation = CL_OP_CREATE};

	assert_code(CL_E_INTERNAL, cl_store_put(f->store, &version, &none, &none, &f->e)); /* no transaction */
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_ok(f, cl_store_put(f->store, &version, &none, &none, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_put(f->store, &version, &none, &none, &f->e));
	assert_true(cl_store_in_transaction(f->store));
	version.operation = CL_OP_DELETE;
	assert_ok(f, cl_store_put(f->store, &version, &none, &none, &f->e));
	assert_code(CL_E_GONE, cl_store_put(f->store, &version, &none, &none, &f->e));
	version.id = CL_STR("never");
	assert_code(CL_E_NOT_FOUND, cl_store_put(f->store, &version, &none, &none, &f->e));
	version.operation = CL_OP_UPDATE; /* update as create */
	assert_ok(f, cl_store_put(f->store, &version, &none, &none, &f->e));
	assert_int_equal(version.version, 1);
	version.id = CL_STR("12345678901234567890123456789012345678901234567890123456789012345");
	assert_code(CL_E_INVALID, cl_store_put(f->store, &version, &none, &none, &f->e));
	version.id = CL_STR_NONE;
	assert_code(CL_E_INTERNAL, cl_store_put(f->store, &version, &none, &none, &f->e));
	version.id = CL_STR("n");
	version.operation = 0;
	assert_code(CL_E_INTERNAL, cl_store_put(f->store, &version, &none, &none, &f->e));
	version.operation = CL_OP_CREATE;
	struct cl_index_value disordered[2] = {{.kind = CL_INDEX_STRING, .parameter = 2, .a = CL_STR("b")},
	                                       {.kind = CL_INDEX_STRING, .parameter = 2, .a = CL_STR("a")}};
	struct cl_index bad = {disordered, 2};
	assert_code(CL_E_INTERNAL, cl_store_put(f->store, &version, &none, &bad, &f->e));
	disordered[0] =
	        (struct cl_index_value){.kind = CL_INDEX_NUMBER, .parameter = 2, .low = __builtin_nan(""), .high = 1};
	bad.count = 1;
	assert_code(CL_E_INVALID, cl_store_put(f->store, &version, &none, &bad, &f->e));
	disordered[0].kind = 99;
	assert_code(CL_E_INTERNAL, cl_store_put(f->store, &version, &none, &bad, &f->e));
	cl_store_rollback(f->store);
	assert_code(CL_E_NOT_FOUND, cl_store_get(f->store, f->arena, T_PATIENT, CL_STR("a"), &version, &f->e));
}

static void test_hostile_texts(void **state)
{
	struct fixture *f = *state;
	static const struct cl_index none;
	char *huge = malloc(3 << 20);
	memset(huge, 'x', 3 << 20);
	const struct cl_str texts[] = {
	        CL_STR("'; DROP TABLE resource; --"),
	        CL_STR("\"quoted\""),
	        CL_STR("nul\0inside"),
	        CL_STR("\xff\xfe\x80 not UTF-8"),
	        CL_STR(""),
	        CL_STR("?1 :a @b $c [d]"),
	        {huge, 3 << 20},
	        CL_STR("%s%n"),
	};

	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct cl_index_value items[] = {
		        {.kind = CL_INDEX_TOKEN, .parameter = P_IDENTIFIER, .a = texts[i], .b = texts[i]},
		        {.kind = CL_INDEX_STRING, .parameter = P_NAME, .a = texts[i]},
		        {.kind = CL_INDEX_URI, .parameter = P_HOME, .a = texts[i]},
		        {.kind = CL_INDEX_REFERENCE, .parameter = P_LINK, .a = texts[i], .b = texts[i]},
		        {.kind = CL_INDEX_QUANTITY,
		         .parameter = P_WEIGHT,
		         .a = texts[i],
		         .b = texts[i],
		         .low = 1,
		         .high = 2},
		        {.kind = CL_INDEX_COMPARTMENT, .b = texts[i]},
		};
		struct cl_index index = {items, 6};
		cl_index_normalize(&index);
		char id[16];
		snprintf(id, sizeof(id), "h%zu", i);
		struct cl_version version = {
		        .type = T_PATIENT, .id = cl_str_of(id), .operation = CL_OP_CREATE, .body = texts[i]};
		assert_ok(f, cl_store_put(f->store, &version, &none, &index, &f->e));
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char id[16];
		struct cl_version version;
		snprintf(id, sizeof(id), "h%zu", i);
		assert_ok(f, cl_store_get(f->store, f->arena, T_PATIENT, cl_str_of(id), &version, &f->e));
		assert_true(cl_str_equal(version.body, texts[i]));
		struct cl_criterion where = {
		        .kind = CL_STRING, .match = CL_MATCH_WHOLE, .parameter = P_NAME, .a = texts[i]};
		struct cl_query query = {.type = T_PATIENT, .where = &where, .limit = 5};
		struct cl_search_result result;
		assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
		assert_int_equal(result.count, 1);
		assert_str(result.items[0].id, id);
	}
	assert_ok(f, cl_store_check(f->store, true, &f->e));
	/* Ids are texts like others. */
	struct cl_version version;
	assert_code(CL_E_NOT_FOUND,
	            cl_store_get(f->store, f->arena, T_PATIENT, CL_STR("h1' OR '1'='1"), &version, &f->e));
	put_one(f, T_PATIENT, "h1' OR '1'='1", CL_OP_CREATE, 1, 99, "{}", NULL);
	assert_ok(f, cl_store_get(f->store, f->arena, T_PATIENT, CL_STR("h1' OR '1'='1"), &version, &f->e));
	free(huge);
}

static void random_values(struct dice *dice, struct values *values)
{
	static const char *const words[] = {"", "a", "b", "ab", "abc", "zz", "http://loinc.org", "urn:x"};
	*values = (struct values){0};
	for (uint32_t n = dice_below(dice, 24); n; n--) {
		const char *word = words[dice_below(dice, 8)], *other = words[dice_below(dice, 8)];
		uint16_t parameter = (uint16_t)(1 + dice_below(dice, 3));
		double low = dice_below(dice, 5) - 2.0;
		int64_t lower = dice_below(dice, 9) ? (int64_t)dice_below(dice, 1000) : INT64_MIN;
		switch (dice_below(dice, 8)) {
		case 0:
			add_token(values, parameter, word, other);
			break;
		case 1:
			add_string(values, parameter, word);
			break;
		case 2:
			add_date(values, parameter, lower, dice_below(dice, 9) ? lower / 2 + 2000 : INT64_MAX);
			break;
		case 3:
			add_reference(values, parameter, word, other);
			break;
		case 4:
			add_number(values, parameter, low, low + 1);
			break;
		case 5:
			add_quantity(values, parameter, low, low + 1, word, other);
			break;
		case 6:
			add_uri(values, parameter, word);
			break;
		default:
			add_compartment(values, word);
			break;
		}
	}
	values_done(values);
}

/* Whatever sequence of writes: the index tables hold exactly the values of live resources. */
static void test_differences(void **state)
{
	struct fixture *f = *state;
	struct dice dice = {7};
	bool live[20] = {false};
	uint64_t sequence = 0;

	for (unsigned round = 0; round < 60; round++) {
		assert_ok(f, cl_store_begin(f->store, &f->e));
		for (unsigned i = 0; i < 10; i++) {
			struct values values;
			uint32_t which = dice_below(&dice, 20);
			char id[8];
			snprintf(id, sizeof(id), "r%u", which);
			random_values(&dice, &values);
			enum cl_operation operation =
			        live[which] ? (dice_below(&dice, 4) ? CL_OP_UPDATE : CL_OP_DELETE) : CL_OP_CREATE;
			sequence++;
			put(f, T_PATIENT, id, operation, (cl_instant)sequence, sequence, "{}", &values.index);
			live[which] = operation != CL_OP_DELETE;
		}
		if (dice_below(&dice, 5) == 0) {
			cl_store_rollback(f->store);
			/* What was live before is not known here any more: ask. */
			for (unsigned i = 0; i < 20; i++) {
				char id[8];
				struct cl_version version;
				snprintf(id, sizeof(id), "r%u", i);
				live[i] = cl_store_get(f->store, f->arena, T_PATIENT, cl_str_of(id), &version, &f->e) ==
				                  0 &&
				          version.operation != CL_OP_DELETE;
			}
		} else {
			assert_ok(f, cl_store_commit(f->store, &f->e));
		}
		assert_ok(f, cl_store_check(f->store, true, &f->e));
		if (round % 10 == 9)
			fixture_reopen(f);
	}
}

static void assert_history(struct fixture *f, struct cl_version_list *list, const uint64_t *sequences, size_t count)
{
	assert_int_equal(list->count, count);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(list->items[i].sequence, sequences[i]);
	(void)f;
}

static void test_history(void **state)
{
	struct fixture *f = *state;
	struct cl_version_list list;
	const struct cl_str none = CL_STR_NONE;

	assert_ok(f, cl_store_history(f->store, f->arena, 0, none, INT64_MIN, 0, 10, &list, &f->e));
	assert_int_equal(list.count, 0);
	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 10 * CL_DAY, 1, "1", NULL);
	put_one(f, T_TASK, "t", CL_OP_CREATE, 20 * CL_DAY, 2, "2", NULL);
	put_one(f, T_PATIENT, "b", CL_OP_CREATE, 30 * CL_DAY, 3, "3", NULL);
	put_one(f, T_PATIENT, "a", CL_OP_UPDATE, 40 * CL_DAY, 4, "4", NULL);
	put_one(f, T_TASK, "t", CL_OP_DELETE, 50 * CL_DAY, 5, "", NULL);
	put_one(f, T_PATIENT, "a", CL_OP_UPDATE, 60 * CL_DAY, 6, "6", NULL);

	assert_ok(f, cl_store_history(f->store, f->arena, 0, none, INT64_MIN, 0, 10, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){6, 5, 4, 3, 2, 1}, 6);
	assert_false(list.more);
	assert_str(list.items[0].body, "6");
	assert_str(list.items[2].body, "4");
	assert_int_equal(list.items[1].operation, CL_OP_DELETE);
	assert_int_equal(list.items[1].type, T_TASK);
	assert_ok(f, cl_store_history(f->store, f->arena, 0, none, INT64_MIN, 0, 4, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){6, 5, 4, 3}, 4);
	assert_true(list.more);
	assert_ok(f, cl_store_history(f->store, f->arena, 0, none, INT64_MIN, 3, 4, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){2, 1}, 2);
	assert_false(list.more);
	assert_ok(f, cl_store_history(f->store, f->arena, 0, none, 30 * CL_DAY, 6, 4, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){5, 4, 3}, 3);
	assert_ok(f, cl_store_history(f->store, f->arena, T_PATIENT, none, INT64_MIN, 0, 3, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){6, 4, 3}, 3);
	assert_true(list.more);
	assert_ok(f, cl_store_history(f->store, f->arena, T_PATIENT, CL_STR("a"), INT64_MIN, 0, 10, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){6, 4, 1}, 3);
	assert_int_equal(list.items[2].version, 1);
	assert_str(list.items[2].body, "1");
	assert_ok(f, cl_store_history(f->store, f->arena, T_PATIENT, CL_STR("a"), 40 * CL_DAY, 0, 10, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){6, 4}, 2);
	assert_ok(f, cl_store_history(f->store, f->arena, T_PATIENT, CL_STR("a"), INT64_MIN, 0, 0, &list, &f->e));
	assert_int_equal(list.count, 0);
	assert_true(list.more);
	assert_ok(f, cl_store_history(f->store, f->arena, T_TASK, CL_STR("t"), INT64_MIN, 5, 10, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){2}, 1);
	assert_str(list.items[0].body, "2");
	assert_code(CL_E_NOT_FOUND, cl_store_history(f->store, f->arena, T_TASK, CL_STR("a"), 0, 0, 10, &list, &f->e));
}

/* A clock that was set back by an hour hides nothing from _since. */
static void test_history_clock_back(void **state)
{
	struct fixture *f = *state;
	struct cl_version_list list;

	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 100 * CL_DAY, 1, "{}", NULL);
	put_one(f, T_PATIENT, "b", CL_OP_CREATE, 100 * CL_DAY - CL_HOUR, 2, "{}", NULL);
	put_one(f, T_PATIENT, "c", CL_OP_CREATE, 100 * CL_DAY + CL_HOUR, 3, "{}", NULL);
	assert_ok(f, cl_store_history(f->store, f->arena, T_PATIENT, CL_STR_NONE, 100 * CL_DAY, 0, 10, &list, &f->e));
	assert_history(f, &list, (uint64_t[]){3, 1}, 2);
}

/* New extraction rules: what they did not make is found in batches and made anew, in several runs if need be. */
static void test_reindex(void **state)
{
	struct fixture *f = *state;
	struct cl_version_list list;
	struct cl_version version;
	unsigned done = 0;

	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 0; i < 50; i++) {
		struct values values = {0};
		char id[8];
		snprintf(id, sizeof(id), "s%u", i);
		add_string(&values, P_NAME, "old rules");
		add_token(&values, P_IDENTIFIER, "s", id);
		put(f, i % 2 ? T_PATIENT : T_TASK, id, CL_OP_CREATE, i, i + 1, id, values_done(&values));
	}
	put(f, T_PATIENT, "s1", CL_OP_DELETE, 90, 90, "", NULL);
	assert_ok(f, cl_store_commit(f->store, &f->e));
	assert_ok(f, cl_store_stale(f->store, f->arena, 0, 10, &list, &f->e));
	assert_int_equal(list.count, 0);
	cl_store_set_index_version(f->store, 7);
	for (int64_t after = 0;;) {
		assert_ok(f, cl_store_stale(f->store, f->arena, after, 8, &list, &f->e));
		if (!list.count)
			break;
		assert_ok(f, cl_store_begin(f->store, &f->e));
		for (size_t i = 0; i < list.count; i++, done++) {
			struct values values = {0};
			add_string(&values, P_NAME, "new rules");
			add_token(&values, P_IDENTIFIER, "s", cl_arena_cstring(f->arena, list.items[i].body));
			assert_ok(f, cl_store_reindex(f->store, list.items[i].row, values_done(&values), &f->e));
			after = list.items[i].row;
		}
		assert_ok(f, cl_store_commit(f->store, &f->e));
		if (done == 24) { /* interrupted: the next run begins from the start and finds the rest */
			fixture_reopen(f);
			cl_store_set_index_version(f->store, 7);
			after = 0;
		}
	}
	assert_int_equal(done, 49);
	assert_ok(f, cl_store_check(f->store, true, &f->e));
	assert_ok(f, cl_store_get(f->store, f->arena, T_TASK, CL_STR("s4"), &version, &f->e));
	assert_int_equal(version.version, 1);
	assert_int_equal(version.updated, 4);
	struct cl_criterion is_new = {
	        .kind = CL_STRING, .match = CL_MATCH_WHOLE, .parameter = P_NAME, .a = CL_STR("new rules")};
	struct cl_query query = {.type = T_PATIENT, .where = &is_new, .want_total = true};
	struct cl_search_result result;
	assert_ok(f, cl_store_search(f->store, f->arena, &query, &result, &f->e));
	assert_int_equal(result.total, 24);
	static const struct cl_index none;
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_reindex(f->store, 12345, &none, &f->e));
	cl_store_rollback(f->store);
}

static void test_index_order(void **state)
{
	(void)state;
	struct values values = {0};

	add_date(&values, 2, 5, 6);
	add_string(&values, 1, "b");
	add_string(&values, 1, "a");
	add_string(&values, 1, "b");
	add_compartment(&values, "p");
	add_compartment(&values, "p");
	add_token(&values, 3, "s", "c");
	const struct cl_index *index = values_done(&values);
	assert_int_equal(index->count, 5);
	for (size_t i = 1; i < index->count; i++)
		assert_true(cl_index_compare(&index->values[i - 1], &index->values[i]) < 0);
	/* Fields that the kind does not use do not count. */
	struct cl_index_value x = {.kind = CL_INDEX_STRING, .parameter = 1, .a = CL_STR("a"), .lower = 1, .low = 3},
	                      y = x;
	y.lower = 9;
	y.b = CL_STR("other");
	assert_int_equal(cl_index_compare(&x, &y), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_create_read_update_delete, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_refusals, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_hostile_texts, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_differences, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_history, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_history_clock_back, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_reindex, fixture_setup, fixture_teardown),
	        cmocka_unit_test(test_index_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
