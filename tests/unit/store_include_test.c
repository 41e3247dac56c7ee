/* store_include_test.c: what found resources refer to and what refers to them, within what may be seen. */
#include "support/store_fixture.h"
#include <stdio.h>
#include <stdlib.h>

static void make(struct fixture *f)
{
	struct values values;
	assert_ok(f, cl_store_begin(f->store, &f->e));
	put(f, T_PATIENT, "p1", CL_OP_CREATE, 1, 1, "p1", NULL);
	put(f, T_PATIENT, "p2", CL_OP_CREATE, 1, 2, "p2", NULL);
	put(f, T_PRACTITIONER, "p1", CL_OP_CREATE, 1, 3, "practitioner", NULL);
	put(f, T_PATIENT, "gone", CL_OP_CREATE, 1, 4, "gone", NULL);
	put(f, T_PATIENT, "gone", CL_OP_DELETE, 1, 5, "", NULL);
	for (unsigned i = 0; i < 600; i++) {
		char id[8];
		values = (struct values){0};
		snprintf(id, sizeof(id), "o%u", i);
		add_reference(&values, P_SUBJECT, "Patient", i % 3 ? "p1" : "p2");
		add_token(&values, P_CODE, "s", i % 2 ? "odd" : "even");
		put(f, T_OBSERVATION, id, CL_OP_CREATE, 1, 10 + i, id, values_done(&values));
	}
	values = (struct values){0};
	add_reference(&values, P_FOR, "Patient", "p1");
	add_reference(&values, P_OWNER, "Practitioner", "p1");
	add_reference(&values, P_FOCUS, "Observation", "o1");
	add_reference(&values, P_FOCUS, "Patient", "gone");
	add_reference(&values, P_FOCUS, "Patient", "never was");
	add_reference(&values, P_FOCUS, "", "http://elsewhere/Patient/p1");
	add_reference(&values, P_FOCUS, "Nonsense", "p1");
	put(f, T_TASK, "t", CL_OP_CREATE, 1, 999, "t", values_done(&values));
	values = (struct values){0};
	add_reference(&values, P_FOCUS, "Task", "t");
	add_reference(&values, P_FOCUS, "Task", "self");
	put(f, T_TASK, "self", CL_OP_CREATE, 1, 1000, "self", values_done(&values));
	assert_ok(f, cl_store_commit(f->store, &f->e));
}

static struct cl_version get(struct fixture *f, uint16_t type, const char *id)
{
	struct cl_version version;
	assert_ok(f, cl_store_get(f->store, f->arena, type, cl_str_of(id), &version, &f->e));
	return version;
}

static bool has(const struct cl_version_list *list, uint16_t type, const char *id)
{
	size_t times = 0;
	for (size_t i = 0; i < list->count; i++)
		times += list->items[i].type == type && cl_str_is(list->items[i].id, id);
	assert_true(times <= 1);
	return times == 1;
}

static void test_forward(void **state)
{
	struct fixture *f = *state;
	struct cl_version_list list;

	make(f);
	struct cl_version task = get(f, T_TASK, "t");
	assert_ok(f, cl_store_include(f->store, f->arena, &task, 1, false, 0, 0, 100, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 3);
	assert_true(has(&list, T_PATIENT, "p1") && has(&list, T_PRACTITIONER, "p1") && has(&list, T_OBSERVATION, "o1"));
	assert_str(list.items[0].type == T_OBSERVATION ? list.items[0].body : CL_STR("o1"), "o1");
	assert_ok(f, cl_store_include(f->store, f->arena, &task, 1, false, P_FOR, 0, 100, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 1);
	assert_ok(f, cl_store_include(f->store, f->arena, &task, 1, false, 0, T_PRACTITIONER, 100, NULL, NULL, &list,
	                              &f->e));
	assert_int_equal(list.count, 1);
	assert_true(has(&list, T_PRACTITIONER, "p1"));
	assert_ok(f, cl_store_include(f->store, f->arena, &task, 1, false, 0, 0, 2, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 2);
	assert_true(list.more);
	/* Each once, and none of the rows that were given. */
	struct cl_version rows[] = {task, get(f, T_TASK, "self"), get(f, T_OBSERVATION, "o4"),
	                            get(f, T_OBSERVATION, "o5")};
	assert_ok(f, cl_store_include(f->store, f->arena, rows, 4, false, 0, 0, 100, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 3);
	assert_false(has(&list, T_TASK, "t") || has(&list, T_TASK, "self"));
}

static void test_reverse(void **state)
{
	struct fixture *f = *state;
	struct cl_version_list list;

	make(f);
	struct cl_version patient = get(f, T_PATIENT, "p1");
	assert_ok(f, cl_store_include(f->store, f->arena, &patient, 1, true, P_SUBJECT, 0, 1000, NULL, NULL, &list,
	                              &f->e));
	assert_int_equal(list.count, 400);
	assert_false(list.more);
	assert_ok(f, cl_store_include(f->store, f->arena, &patient, 1, true, 0, 0, 1000, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 401);
	assert_true(has(&list, T_TASK, "t"));
	assert_ok(f,
	          cl_store_include(f->store, f->arena, &patient, 1, true, 0, T_TASK, 1000, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 1);
	assert_ok(f,
	          cl_store_include(f->store, f->arena, &patient, 1, true, P_SUBJECT, 0, 399, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 399);
	assert_true(list.more);
	/* The same id under another type is somebody else. */
	struct cl_version practitioner = get(f, T_PRACTITIONER, "p1");
	assert_ok(f,
	          cl_store_include(f->store, f->arena, &practitioner, 1, true, 0, 0, 1000, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 1);
	struct cl_version both[] = {patient, get(f, T_PATIENT, "p2")};
	assert_ok(f, cl_store_include(f->store, f->arena, both, 2, true, P_SUBJECT, T_OBSERVATION, 1000, NULL, NULL,
	                              &list, &f->e));
	assert_int_equal(list.count, 600);
	assert_ok(f, cl_store_include(f->store, f->arena, both, 0, true, 0, 0, 1000, NULL, NULL, &list, &f->e));
	assert_int_equal(list.count, 0);
}

struct rules {
	unsigned asked[T_END];
	struct cl_criterion odd;
};

static const struct cl_criterion *rule(uint16_t type, void *context)
{
	static const struct cl_criterion all = {.kind = CL_TRUE};
	struct rules *rules = context;
	rules->asked[type]++;
	return type == T_OBSERVATION ? &rules->odd : type == T_TASK ? NULL : &all;
}

static void test_access(void **state)
{
	struct fixture *f = *state;
	struct cl_version_list list;
	struct rules rules = {
	        .odd = {.kind = CL_TOKEN, .match = CL_MATCH_CODE, .parameter = P_CODE, .b = CL_STR("odd")}};

	make(f);
	struct cl_version patient = get(f, T_PATIENT, "p1"), task = get(f, T_TASK, "t");
	assert_ok(f, cl_store_include(f->store, f->arena, &patient, 1, true, 0, 0, 1000, rule, &rules, &list, &f->e));
	assert_int_equal(list.count, 200);
	assert_false(has(&list, T_TASK, "t"));
	assert_int_equal(rules.asked[T_OBSERVATION], 1);
	assert_int_equal(rules.asked[T_TASK], 1);
	/* Refused ones use up nothing of the limit. */
	assert_ok(f, cl_store_include(f->store, f->arena, &patient, 1, true, 0, 0, 200, rule, &rules, &list, &f->e));
	assert_int_equal(list.count, 200);
	assert_false(list.more);
	assert_ok(f, cl_store_include(f->store, f->arena, &task, 1, false, 0, 0, 100, rule, &rules, &list, &f->e));
	assert_int_equal(list.count, 3);
	rules.odd.b = CL_STR("even");
	assert_ok(f, cl_store_include(f->store, f->arena, &task, 1, false, 0, 0, 100, rule, &rules, &list, &f->e));
	assert_int_equal(list.count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_forward, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_reverse, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_access, fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
