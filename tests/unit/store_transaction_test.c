/* store_transaction_test.c: what is undone, what is noticed, what a full disk does, what readers see. */
#include "support/store_fixture.h"
#include "org/store/internal.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool exists(struct fixture *f, struct cl_store *store, const char *id)
{
	struct cl_version version;
	int code = cl_store_get(store, f->arena, T_PATIENT, cl_str_of(id), &version, &f->e);
	assert_true(code == 0 || code == CL_E_NOT_FOUND);
	return code == 0;
}

static void test_order_of_calls(void **state)
{
	struct fixture *f = *state;

	assert_false(cl_store_in_transaction(f->store));
	assert_code(CL_E_INTERNAL, cl_store_commit(f->store, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_savepoint(f->store, &f->e));
	cl_store_rollback(f->store);
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_true(cl_store_in_transaction(f->store));
	assert_code(CL_E_INTERNAL, cl_store_begin(f->store, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_release(f->store, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_rollback_to(f->store, &f->e));
	assert_ok(f, cl_store_savepoint(f->store, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_savepoint(f->store, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_commit(f->store, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_checkpoint(f->store, false, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_backup(f->store, "/tmp/never", &f->e));
	assert_ok(f, cl_store_release(f->store, &f->e));
	assert_ok(f, cl_store_commit(f->store, &f->e));
	struct cl_store *reader = fixture_reader(f);
	assert_code(CL_E_INTERNAL, cl_store_begin(reader, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_checkpoint(reader, false, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_snapshot_begin(f->store, &f->e));
	cl_store_close(reader);
}

/* Everything that is cached follows: row numbers, sequences, symbols, the audit frontier. */
static void test_rollback_forgets(void **state)
{
	struct fixture *f = *state;
	struct cl_audit_head before, after;
	struct cl_audit_record record = {.principal = CL_STR("p")};
	struct cl_stored_event event = {.kind = CL_STR("request"), .plugins = CL_STR("hash one")};
	struct values values = {0};

	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 1, 1, "{}", NULL);
	assert_ok(f, cl_audit_head(f->store, &before, &f->e));
	for (unsigned kind = 0; kind < 2; kind++) {
		assert_ok(f, cl_store_begin(f->store, &f->e));
		if (kind)
			assert_ok(f, cl_store_savepoint(f->store, &f->e));
		add_token(&values, P_IDENTIFIER, kind ? "new system" : "other system", "x");
		int64_t row = put(f, T_PATIENT, "b", CL_OP_CREATE, 1, 1, "{}", values_done(&values));
		assert_int_equal(row & 0xffff, 2);
		assert_ok(f, cl_store_event_append(f->store, &event, &f->e));
		assert_int_equal(event.sequence, 1);
		assert_ok(f, cl_audit_append(f->store, &record, &f->e));
		if (kind) {
			assert_ok(f, cl_store_rollback_to(f->store, &f->e));
			assert_ok(f, cl_store_release(f->store, &f->e));
			assert_ok(f, cl_store_commit(f->store, &f->e));
		} else {
			cl_store_rollback(f->store);
		}
		assert_int_equal(cl_store_last_sequence(f->store), 0);
		assert_ok(f, cl_audit_head(f->store, &after, &f->e));
		assert_int_equal(before.size, after.size);
		assert_memory_equal(before.root, after.root, 32);
		int64_t number;
		assert_ok(f, cl_symbol_number(f->store, kind ? CL_STR("new system") : CL_STR("other system"), false,
		                              &number, &f->e));
		assert_int_equal(number, -1);
		assert_false(exists(f, f->store, "b"));
	}
	/* The same numbers are given again, so a replay that does not see the refused request makes the same file. */
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_int_equal(put(f, T_PATIENT, "b", CL_OP_CREATE, 1, 1, "{}", values_done(&values)) & 0xffff, 2);
	assert_ok(f, cl_store_event_append(f->store, &event, &f->e));
	assert_int_equal(event.sequence, 1);
	assert_ok(f, cl_audit_append(f->store, &record, &f->e));
	assert_int_equal(record.sequence, 0);
	assert_ok(f, cl_store_commit(f->store, &f->e));
	assert_ok(f, cl_audit_verify(f->store, NULL, NULL, &f->e));
	assert_ok(f, cl_store_check(f->store, true, &f->e));
}

static void test_savepoints(void **state)
{
	struct fixture *f = *state;

	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 0; i < 20; i++) {
		char id[8];
		struct values values = {0};
		struct cl_audit_record record = {.target = cl_str_of(id)};
		snprintf(id, sizeof(id), "x%u", i);
		add_token(&values, P_IDENTIFIER, id, id);
		assert_ok(f, cl_store_savepoint(f->store, &f->e));
		put(f, T_PATIENT, id, CL_OP_CREATE, 1, i, "{}", values_done(&values));
		assert_ok(f, cl_audit_append(f->store, &record, &f->e));
		if (i % 3 == 0)
			assert_ok(f, cl_store_rollback_to(f->store, &f->e));
		assert_ok(f, cl_store_release(f->store, &f->e));
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
	for (unsigned i = 0; i < 20; i++) {
		char id[8];
		snprintf(id, sizeof(id), "x%u", i);
		assert_int_equal(exists(f, f->store, id), i % 3 != 0);
	}
	struct cl_audit_head head;
	assert_ok(f, cl_audit_verify(f->store, NULL, &head, &f->e));
	assert_int_equal(head.size, 13);
	assert_ok(f, cl_store_check(f->store, true, &f->e));
}

/* Writes until the file may not grow any more. Returns the error that came. */
static int write_until_full(struct fixture *f, unsigned *written)
{
	static const struct cl_index none;
	char *body = malloc(20000);
	memset(body, 'x', 20000);
	int code = 0;
	for (*written = 0; !code && *written < 500; ++*written) {
		char id[16];
		snprintf(id, sizeof(id), "full%u", *written);
		struct cl_version version = {
		        .type = T_PATIENT, .id = cl_str_of(id), .operation = CL_OP_CREATE, .body = {body, 20000}};
		code = cl_store_savepoint(f->store, &f->e);
		if (!code)
			code = cl_store_put(f->store, &version, &none, &none, &f->e);
		if (!code)
			code = cl_store_release(f->store, &f->e);
	}
	free(body);
	return code;
}

static void limit_pages(struct fixture *f, int64_t more)
{
	char text[80];
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_prepare_v2(f->store->db, "PRAGMA page_count", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	snprintf(text, sizeof(text), "PRAGMA max_page_count=%lld",
	         more < 0 ? 1000000000LL : (long long)(sqlite3_column_int64(statement, 0) + more));
	sqlite3_finalize(statement);
	assert_int_equal(sqlite3_exec(f->store->db, text, NULL, NULL, NULL), SQLITE_OK);
}

/* Pitfall 3: a SAVEPOINT is not isolation. The first request of the tick is gone too, and that is noticed. */
static void test_whole_rollback_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct stat status;
	unsigned written;
	struct cl_audit_head before, after;
	struct cl_audit_record record = {.principal = CL_STR("p")};

	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 1, 1, "{}", NULL);
	assert_ok(f, cl_audit_head(f->store, &before, &f->e));
	limit_pages(f, 40);
	assert_int_equal(stat(fixture_path(f, ".ballast"), &status), 0);
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_ok(f, cl_audit_append(f->store, &record, &f->e));
	assert_code(CL_E_FULL, write_until_full(f, &written));
	assert_true(written > 1);
	/* page_count limits do not roll back by themselves in this SQLite; a full disk does: both must end well. */
	if (cl_store_in_transaction(f->store))
		cl_store_rollback(f->store);
	assert_false(cl_store_in_transaction(f->store));
	assert_code(CL_E_INTERNAL, cl_store_commit(f->store, &f->e));
	assert_int_equal(stat(fixture_path(f, ".ballast"), &status), -1);
	assert_false(exists(f, f->store, "full0"));
	assert_ok(f, cl_audit_head(f->store, &after, &f->e));
	assert_memory_equal(&before, &after, sizeof(before));
	cl_store_assert_idle(f->store);
	/* Reads go on; once there is room, so do writes, without opening again. */
	assert_true(exists(f, f->store, "a"));
	limit_pages(f, -1);
	put_one(f, T_PATIENT, "b", CL_OP_CREATE, 1, 2, "{}", NULL);
	assert_true(exists(f, f->store, "b"));
	assert_ok(f, cl_store_checkpoint(f->store, true, &f->e));
	assert_int_equal(stat(fixture_path(f, ".ballast"), &status), 0);
	assert_ok(f, cl_store_check(f->store, true, &f->e));
}

/* SQLite itself ends the transaction: simulated by the statement that does it. */
static void test_lost_transaction(void **state)
{
	struct fixture *f = *state;
	static const struct cl_index none;
	struct cl_version version = {.type = T_PATIENT, .id = CL_STR("x"), .operation = CL_OP_CREATE};

	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_ok(f, cl_store_savepoint(f->store, &f->e));
	put(f, T_PATIENT, "lost", CL_OP_CREATE, 1, 1, "{}", NULL);
	assert_int_equal(sqlite3_exec(f->store->db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	assert_false(cl_store_in_transaction(f->store));
	/* Nothing can slip into a commit of its own. */
	assert_code(CL_E_INTERNAL, cl_store_put(f->store, &version, &none, &none, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_release(f->store, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_commit(f->store, &f->e));
	cl_store_rollback(f->store);
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_int_equal(put(f, T_PATIENT, "again", CL_OP_CREATE, 1, 1, "{}", NULL) & 0xffff, 1);
	assert_ok(f, cl_store_commit(f->store, &f->e));
}

static void test_snapshots(void **state)
{
	struct fixture *f = *state;
	struct cl_store *reader = fixture_reader(f);

	assert_false(exists(f, reader, "a"));
	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 1, 1, "{}", NULL);
	assert_true(exists(f, reader, "a"));
	assert_ok(f, cl_store_snapshot_begin(reader, &f->e));
	assert_code(CL_E_INTERNAL, cl_store_snapshot_begin(reader, &f->e));
	put_one(f, T_PATIENT, "b", CL_OP_CREATE, 1, 2, "{}", NULL);
	assert_false(exists(f, reader, "b"));
	/* It holds the log. */
	assert_code(CL_E_BUSY, cl_store_checkpoint(f->store, true, &f->e));
	cl_store_snapshot_end(reader);
	cl_store_snapshot_end(reader);
	assert_true(exists(f, reader, "b"));
	assert_ok(f, cl_store_checkpoint(f->store, true, &f->e));
	cl_store_assert_idle(reader);
	cl_store_close(reader);
}

/* A reader's symbols come from what was committed, in whatever order it asks. */
static void test_reader_sees_new_symbols(void **state)
{
	struct fixture *f = *state;
	struct cl_store *reader = fixture_reader(f);
	char system[40];
	bool found;

	for (unsigned i = 0; i < 100; i++) {
		struct values values = {0};
		char id[8];
		snprintf(id, sizeof(id), "s%u", i);
		snprintf(system, sizeof(system), "http://system/%u", i);
		add_token(&values, P_IDENTIFIER, system, "c");
		int64_t row = put_one(f, T_PATIENT, id, CL_OP_CREATE, 1, i + 1, "{}", values_done(&values));
		struct cl_criterion is = {.kind = CL_TOKEN,
		                          .match = CL_MATCH_SYSTEM_CODE,
		                          .parameter = P_IDENTIFIER,
		                          .a = cl_str_of(system),
		                          .b = CL_STR("c")};
		assert_ok(f, cl_store_matches(reader, row, &is, &found, &f->e));
		assert_true(found);
		if (i % 7 == 0) {
			/* One that is rolled back; its number goes to another text. */
			struct values other = {0};
			add_token(&other, P_IDENTIFIER, "rolled back", "c");
			assert_ok(f, cl_store_begin(f->store, &f->e));
			put(f, T_PATIENT, "gone", CL_OP_CREATE, 1, 1, "{}", values_done(&other));
			cl_store_rollback(f->store);
		}
	}
	assert_ok(f, cl_store_check(reader, true, &f->e));
	cl_store_close(reader);
}

static void test_write_ahead_log(void **state)
{
	struct fixture *f = *state;
	struct stat status;
	char id[16];

	assert_true(cl_store_wal_size(f->store) < 50 * 4096);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(id, sizeof(id), "w%u", i);
		put_one(f, T_PATIENT, id, CL_OP_CREATE, 1, i, "{}", NULL);
	}
	int64_t size = cl_store_wal_size(f->store);
	assert_int_equal(stat(fixture_path(f, ".db-wal"), &status), 0);
	assert_true(size > 50 * 4096 && size <= status.st_size);
	assert_ok(f, cl_store_checkpoint(f->store, false, &f->e));
	assert_ok(f, cl_store_checkpoint(f->store, true, &f->e));
	assert_int_equal(cl_store_wal_size(f->store), 0);
	put_one(f, T_PATIENT, "one more", CL_OP_CREATE, 1, 99, "{}", NULL);
	assert_true(cl_store_wal_size(f->store) < size);
	/* The file is overwritten, not grown. */
	assert_int_equal(stat(fixture_path(f, ".db-wal"), &status), 0);
	int64_t before = status.st_size;
	put_one(f, T_PATIENT, "and more", CL_OP_CREATE, 1, 99, "{}", NULL);
	assert_int_equal(stat(fixture_path(f, ".db-wal"), &status), 0);
	assert_int_equal(status.st_size, before);
}

struct endless {
	struct cl_store *store;
	atomic_bool started;
	int code;
};

static void *search_long(void *argument)
{
	struct endless *endless = argument;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_err e = {0};
	struct cl_criterion contains = {
	        .kind = CL_STRING, .match = CL_MATCH_CONTAINS, .parameter = P_NAME, .a = CL_STR("nowhere")};
	struct cl_query query = {.type = T_PATIENT, .where = &contains, .limit = 10};
	endless->code = 0;
	for (unsigned i = 0; i < 100000 && !endless->code; i++) {
		struct cl_search_result result;
		endless->code = cl_store_search(endless->store, arena, &query, &result, &e);
		atomic_store(&endless->started, true);
		cl_arena_reset(arena);
	}
	cl_arena_free(arena);
	return NULL;
}

static void test_interrupt(void **state)
{
	struct fixture *f = *state;
	struct endless endless = {.store = fixture_reader(f)};
	pthread_t thread;
	char id[16], name[32];

	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = 0; i < 20000; i++) {
		struct values values = {0};
		snprintf(id, sizeof(id), "i%u", i);
		snprintf(name, sizeof(name), "some name %u", i);
		add_string(&values, P_NAME, name);
		put(f, T_PATIENT, id, CL_OP_CREATE, 1, i, "{}", values_done(&values));
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
	assert_int_equal(pthread_create(&thread, NULL, search_long, &endless), 0);
	while (!atomic_load(&endless.started))
		usleep(100);
	for (unsigned i = 0; i < 50; i++) {
		cl_store_interrupt(endless.store);
		usleep(1000);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(endless.code, CL_E_LIMIT);
	/* The connection goes on. */
	assert_true(exists(f, endless.store, "i5"));
	cl_store_assert_idle(endless.store);
	cl_store_close(endless.store);
}

/* Many readers beside one writer that commits and checkpoints. Run it under ThreadSanitizer too. */
struct beside {
	struct fixture *fixture;
	atomic_bool stop;
	atomic_int problems;
};

static void *read_beside(void *argument)
{
	struct beside *beside = argument;
	struct cl_err e = {0};
	struct cl_store *reader;
	if (cl_store_open(beside->fixture->folder, "org", CL_STORE_READER, &reader, &e)) {
		atomic_fetch_add(&beside->problems, 1);
		return NULL;
	}
	struct cl_arena *arena = cl_arena_new(0);
	while (!atomic_load(&beside->stop)) {
		/* Each commit raises both counters: a search must see them equal. */
		struct cl_query query = {.type = T_PATIENT, .limit = 1000, .bodies = true, .want_total = true};
		struct cl_search_result result;
		if (cl_store_search(reader, arena, &query, &result, &e) || (size_t)result.total != result.count ||
		    result.count % 2)
			atomic_fetch_add(&beside->problems, 1);
		cl_arena_reset(arena);
	}
	cl_arena_free(arena);
	cl_store_close(reader);
	return NULL;
}

static void test_readers_beside_writer(void **state)
{
	struct fixture *f = *state;
	struct beside beside = {.fixture = f};
	pthread_t threads[3];

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_beside, &beside), 0);
	for (unsigned i = 0; i < 300; i++) {
		char id[16];
		assert_ok(f, cl_store_begin(f->store, &f->e));
		for (unsigned half = 0; half < 2; half++) {
			struct values values = {0};
			snprintf(id, sizeof(id), "b%u-%u", i, half);
			add_token(&values, P_IDENTIFIER, id, "x");
			put(f, T_PATIENT, id, CL_OP_CREATE, i, i, "{}", values_done(&values));
		}
		assert_ok(f, cl_store_commit(f->store, &f->e));
		if (i % 10 == 0) {
			int code = cl_store_checkpoint(f->store, i % 20 == 0, &f->e);
			assert_true(code == 0 || code == CL_E_BUSY);
		}
	}
	atomic_store(&beside.stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&beside.problems), 0);
	assert_ok(f, cl_store_check(f->store, true, &f->e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_order_of_calls, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_rollback_forgets, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_savepoints, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_whole_rollback_is_noticed, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_lost_transaction, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_snapshots, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_reader_sees_new_symbols, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_write_ahead_log, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_interrupt, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_readers_beside_writer, fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
