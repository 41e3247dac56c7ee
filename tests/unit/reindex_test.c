/* reindex_test.c: rows of former extraction rules are indexed again, from where a pass was stopped. */
#include "support/store_fixture.h"
#include "org/engine/reindex.h"
#include "org/fhir/search.h"
#include <stdio.h>

#define COUNT 1200
#define PATIENT CL_TYPE_PATIENT

static void name_types(struct fixture *f)
{
	struct cl_str names[256] = {{0}};
	uint16_t count = cl_fhir_type_count();
	for (uint16_t type = 1; type <= count; type++)
		names[type] = cl_fhir_type_name(type);
	assert_ok(f, cl_store_name_types(f->store, names, (size_t)count + 1, &f->e));
}

static int64_t found(struct fixture *f, const char *query)
{
	struct cl_fhir_search_context context = {.type = PATIENT};
	struct cl_fhir_search search;
	struct cl_search_result result;
	assert_ok(f, cl_fhir_search_parse(f->arena, &context, cl_str_of(query), &search, &f->e));
	search.query.want_total = true;
	assert_ok(f, cl_store_search(f->store, f->arena, &search.query, &result, &f->e));
	return result.total;
}

static void set_meta(struct fixture *f, const char *name, int64_t value)
{
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_ok(f, cl_store_meta_set(f->store, name, cl_arena_printf(f->arena, "%lld", (long long)value), &f->e));
	assert_ok(f, cl_store_commit(f->store, &f->e));
}

static void test_reindex(void **state)
{
	struct fixture own = *(struct fixture *)*state, *f = &own;
	int64_t middle = 0;
	assert_ok(f, cl_store_open(f->folder, "other", CL_STORE_WRITER, &f->store, &f->e));
	name_types(f);
	cl_store_set_index_version(f->store, 1);
	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 0; i < COUNT; i++) {
		char id[16], body[200];
		snprintf(id, sizeof(id), "p%u", i);
		snprintf(body, sizeof(body),
		         "{\"resourceType\":\"Patient\",\"id\":\"%s\",\"name\":[{\"family\":\"%s\"}]}", id,
		         i % 2 ? "Lee" : "LEE");
		int64_t row = put(f, PATIENT, id, CL_OP_CREATE, i, i + 1, body, NULL);
		middle = i == COUNT / 2 ? row : middle;
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
	assert_int_equal(found(f, "family=lee"), 0);

	/* As after a pass that was stopped in the middle: it goes on behind it. */
	set_meta(f, "index_row", middle);
	assert_ok(f, cl_reindex(f->store, &f->e));
	assert_int_equal(found(f, "family=lee"), COUNT / 2 - 1);

	/* The file is of this version now: nothing is looked at. */
	assert_ok(f, cl_reindex(f->store, &f->e));
	assert_int_equal(found(f, "family=lee"), COUNT / 2 - 1);

	set_meta(f, "index_version", 1);
	assert_ok(f, cl_reindex(f->store, &f->e));
	assert_int_equal(found(f, "family=lee"), COUNT);
	assert_int_equal(found(f, "family:exact=Lee"), COUNT / 2);
	assert_ok(f, cl_store_check(f->store, true, &f->e));
	cl_store_close(f->store);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_reindex, fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
