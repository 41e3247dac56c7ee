/* store_backup_test.c: dumps are stable, backups equal, damage is found. */
#include "support/store_fixture.h"
#include "base/json.h"
#include "org/store/internal.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int add_line(struct cl_str json, void *context)
{
	cl_buf_add_str(context, json);
	cl_buf_add_byte(context, '\n');
	return 0;
}

static int parse_line(struct cl_str json, void *context)
{
	struct fixture *f = context;
	struct cl_json *tree;
	assert_ok(f, cl_json_parse(f->arena, json, NULL, &tree, &f->e));
	assert_true(cl_json_get_text(tree, "table").n > 0);
	return 0;
}

static struct cl_buf dump(struct fixture *f, struct cl_store *store, const char *skip)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	assert_ok(f, cl_store_dump(store, skip, add_line, &text, &f->e));
	cl_buf_add_byte(&text, 0);
	return text;
}

/* The same story in any file: what a replay would do. */
static void tell(struct fixture *f, unsigned rollbacks)
{
	struct dice dice = {5};
	for (unsigned i = 0; i < 60; i++) {
		char id[16], name[16];
		struct values values = {0};
		struct cl_stored_event event = {.kind = CL_STR("request"), .plugins = CL_STR("hash"), .at = i};
		struct cl_audit_record record = {.at = i, .principal = CL_STR("p")};
		if (rollbacks && i % rollbacks == 0) {
			assert_ok(f, cl_store_begin(f->store, &f->e));
			add_token(&values, P_IDENTIFIER, "refused system", "x");
			put(f, T_PATIENT, "refused", CL_OP_CREATE, 1, 1, "{}", values_done(&values));
			assert_ok(f, cl_store_event_append(f->store, &event, &f->e));
			cl_store_rollback(f->store);
			values = (struct values){0};
		}
		snprintf(id, sizeof(id), "x%u", dice_below(&dice, 40));
		snprintf(name, sizeof(name), "n%u", dice_below(&dice, 9));
		add_string(&values, P_NAME, name);
		add_token(&values, P_IDENTIFIER, name, id);
		add_number(&values, P_HEIGHT, i % 7 ? i / 3.0 : -__builtin_inf(), 1e300);
		add_date(&values, P_BIRTH, i, i % 5 ? i + 5 : INT64_MAX);
		assert_ok(f, cl_store_begin(f->store, &f->e));
		assert_ok(f, cl_store_event_append(f->store, &event, &f->e));
		put(f, T_PATIENT, id, CL_OP_UPDATE, i, event.sequence, "{\"a\":\"\\u0001\"}", values_done(&values));
		assert_ok(f, cl_audit_append(f->store, &record, &f->e));
		assert_ok(f, cl_store_commit(f->store, &f->e));
	}
}

static void test_dump(void **state)
{
	struct fixture *f = *state;
	struct fixture other;

	tell(f, 0);
	fixture_open(&other, "cldu");
	tell(&other, 3);
	struct cl_buf one = dump(f, f->store, "meta"), two = dump(&other, other.store, "meta");
	assert_string_equal(one.p, two.p);
	assert_non_null(strstr(one.p, "{\"table\":\"audit\",\"leaf\":0,"));
	cl_buf_free(&one);
	one = dump(f, f->store, "audit,request,event");
	assert_null(strstr(one.p, "\"table\":\"audit\""));
	assert_null(strstr(one.p, "\"table\":\"event\""));
	assert_non_null(strstr(one.p, "\"table\":\"resource\""));
	assert_null(strstr(one.p, "secret"));
	cl_buf_free(&one);
	cl_buf_free(&two);
	assert_ok(f, cl_store_dump(f->store, NULL, parse_line, f, &f->e));
	/* Restarting changes nothing but the log's place. */
	one = dump(f, f->store, "");
	fixture_reopen(f);
	two = dump(f, f->store, "");
	assert_string_equal(one.p, two.p);
	cl_buf_free(&one);
	cl_buf_free(&two);
	fixture_close(&other);
}

static int stop_at_once(struct cl_str json, void *context)
{
	(void)json;
	return ++*(unsigned *)context == 3;
}

static void test_dump_stops(void **state)
{
	struct fixture *f = *state;
	unsigned lines = 0;
	tell(f, 0);
	assert_ok(f, cl_store_dump(f->store, NULL, stop_at_once, &lines, &f->e));
	assert_int_equal(lines, 3);
}

struct writing {
	struct fixture *fixture;
	atomic_bool stop;
	unsigned written;
};

static void *write_on(void *argument)
{
	struct writing *writing = argument;
	static const struct cl_index none;
	struct cl_store *store = writing->fixture->store;
	struct cl_err e = {0};
	while (!atomic_load(&writing->stop)) {
		char id[16];
		snprintf(id, sizeof(id), "on%u", writing->written++);
		struct cl_version version = {.type = T_TASK, .id = cl_str_of(id), .operation = CL_OP_CREATE};
		if (cl_store_begin(store, &e) || cl_store_put(store, &version, &none, &none, &e) ||
		    cl_store_commit(store, &e))
			return NULL;
	}
	return writing;
}

static void test_backup(void **state)
{
	struct fixture *f = *state;
	struct fixture copy = {0};
	char path[100], name[120];
	struct stat status;

	tell(f, 0);
	struct cl_store *reader = fixture_reader(f);
	snprintf(copy.folder, sizeof(copy.folder), "%.50s.copy", f->folder);
	assert_int_equal(mkdir(copy.folder, 0700), 0);
	snprintf(path, sizeof(path), "%s/org.db", copy.folder);
	struct cl_buf original = dump(f, f->store, "");
	assert_ok(f, cl_store_backup(reader, path, &f->e));
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 077, 0);
	snprintf(name, sizeof(name), "%s.part", path);
	assert_int_equal(stat(name, &status), -1);
	copy.arena = cl_arena_new(0);
	assert_ok(f, cl_store_open(copy.folder, "org", CL_STORE_WRITER, &copy.store, &copy.e));
	struct cl_buf copied = dump(&copy, copy.store, "");
	assert_string_equal(original.p, copied.p);
	assert_ok(f, cl_store_check(copy.store, true, &copy.e));
	assert_ok(f, cl_audit_verify(copy.store, NULL, NULL, &copy.e));
	cl_store_close(copy.store);
	cl_buf_free(&original);
	cl_buf_free(&copied);

	/* Beside a writer: one commit's state, whole. */
	struct writing writing = {.fixture = f};
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, write_on, &writing), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_ok(f, cl_store_backup(reader, path, &f->e));
		assert_ok(f, cl_store_open(copy.folder, "org", CL_STORE_WRITER, &copy.store, &copy.e));
		assert_ok(f, cl_store_check(copy.store, true, &copy.e));
		cl_store_close(copy.store);
	}
	atomic_store(&writing.stop, true);
	void *result;
	pthread_join(thread, &result);
	assert_ptr_equal(result, &writing);
	assert_code(CL_E_IO, cl_store_backup(reader, "/nowhere/at/all/copy.db", &f->e));
	cl_store_assert_idle(reader);
	cl_store_close(reader);
	cl_arena_free(copy.arena);
	fixture_remove_folder(copy.folder);
}

static void test_counts(void **state)
{
	struct fixture *f = *state;
	struct cl_buf json;
	struct cl_json *tree;
	int64_t count;

	tell(f, 0);
	cl_buf_init(&json, 0);
	assert_ok(f, cl_store_counts(f->store, &json, &f->e));
	assert_ok(f, cl_json_parse(f->arena, cl_buf_str(&json), NULL, &tree, &f->e));
	assert_true(cl_json_integer(cl_json_get(tree, "event"), &count));
	assert_int_equal(count, 60);
	assert_true(cl_json_integer(cl_json_get(tree, "audit"), &count));
	assert_int_equal(count, 60);
	cl_buf_free(&json);
}

/* The thorough check compares the index tables with the resources. */
static void test_check_finds_stray_rows(void **state)
{
	(void)state;
	static const char *const damages[] = {
	        "DELETE FROM index_string WHERE row = (SELECT min(row) FROM index_string)",
	        "INSERT INTO index_token VALUES(3, 'stray', 0, 4294967297)",
	        "UPDATE live SET content = x'0203' WHERE row = (SELECT min(row) FROM live)",
	        "DELETE FROM live WHERE row = (SELECT min(row) FROM live)",
	        "UPDATE resource SET operation = 3 WHERE row = (SELECT min(row) FROM live)",
	        "UPDATE live SET updated = updated + 1 WHERE row = (SELECT min(row) FROM live)",
	        "UPDATE index_date SET upper = upper - 1 WHERE row = (SELECT min(row) FROM index_date)",
	};
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct fixture f;
		fixture_open(&f, "clck");
		tell(&f, 0);
		assert_ok(&f, cl_store_check(f.store, true, &f.e));
		assert_int_equal(sqlite3_exec(f.store->db, damages[i], NULL, NULL, NULL), SQLITE_OK);
		assert_ok(&f, cl_store_check(f.store, false, &f.e));
		if (cl_store_check(f.store, true, &f.e) != CL_E_CORRUPT)
			fail_msg("%s was not noticed", damages[i]);
		cl_store_assert_idle(f.store);
		fixture_close(&f);
	}
}

/* Any byte of the file may be wrong: an error, never a crash; and what is read from resources is what was written, or
 * an error. (Pages hold free space too, so not every flip can be seen.) */
static void test_flipped_bytes(void **state)
{
	struct fixture *f = *state;
	struct dice dice = {17};
	struct stat status;

	tell(f, 0);
	cl_store_close(f->store);
	f->store = NULL;
	char *path = fixture_path(f, ".db");
	assert_int_equal(stat(path, &status), 0);
	char *good = malloc((size_t)status.st_size), *bad = malloc((size_t)status.st_size);
	int file = open(path, O_RDWR);
	assert_int_equal(pread(file, good, (size_t)status.st_size, 0), status.st_size);
	unsigned refused = 0;
	for (unsigned i = 0; i < 150; i++) {
		memcpy(bad, good, (size_t)status.st_size);
		for (unsigned flips = 1 + dice_below(&dice, 3); flips; flips--)
			bad[dice_below(&dice, (uint32_t)status.st_size)] ^= (char)(1 << dice_below(&dice, 8));
		assert_int_equal(ftruncate(file, 0), 0);
		assert_int_equal(pwrite(file, bad, (size_t)status.st_size, 0), status.st_size);
		struct cl_store *store;
		struct cl_err e = {0};
		int code = cl_store_open(f->folder, "org", CL_STORE_WRITER, &store, &e);
		if (!code) {
			struct cl_query query = {.type = T_PATIENT, .limit = 100, .bodies = true, .want_total = true};
			struct cl_search_result result;
			struct cl_buf text;
			cl_buf_init(&text, 0);
			code = cl_store_search(store, f->arena, &query, &result, &e);
			if (!code)
				code = cl_store_dump(store, "", add_line, &text, &e);
			if (!code)
				code = cl_audit_verify(store, NULL, NULL, &e);
			if (!code)
				code = cl_store_check(store, true, &e);
			cl_buf_free(&text);
			cl_store_assert_idle(store);
			cl_store_close(store);
		}
		refused += code != 0;
		char wal[120];
		snprintf(wal, sizeof(wal), "%s-wal", path);
		unlink(wal);
	}
	assert_true(refused > 20);
	close(file);
	free(good);
	free(bad);
}

static int teardown_closed(void **state)
{
	struct fixture *f = *state;
	fixture_close(f);
	free(f);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_dump, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_dump_stops, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_backup, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_counts, fixture_setup, fixture_teardown),
	        cmocka_unit_test(test_check_finds_stray_rows),
	        cmocka_unit_test_setup_teardown(test_flipped_bytes, fixture_setup, teardown_closed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
