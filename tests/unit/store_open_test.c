/* store_open_test.c: opening, identity, the lock, migrations, named values, named types. */
#include "support/store_fixture.h"
#include "org/store/internal.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t pragma(struct cl_store *store, const char *text)
{
	sqlite3_stmt *statement;
	int64_t value = -1;
	assert_int_equal(sqlite3_prepare_v2(store->db, text, -1, &statement, NULL), SQLITE_OK);
	if (sqlite3_step(statement) == SQLITE_ROW)
		value = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return value;
}

static void test_settings(void **state)
{
	struct fixture *f = *state;
	struct stat status;

	assert_int_equal(pragma(f->store, "PRAGMA synchronous"), 2);
	assert_int_equal(pragma(f->store, "PRAGMA wal_autocheckpoint"), 0);
	assert_int_equal(pragma(f->store, "PRAGMA foreign_keys"), 1);
	assert_int_equal(pragma(f->store, "PRAGMA cell_size_check"), 1);
	assert_int_equal(pragma(f->store, "PRAGMA trusted_schema"), 0);
	assert_int_equal(pragma(f->store, "PRAGMA temp_store"), 2);
	assert_int_equal(pragma(f->store, "PRAGMA mmap_size"), 0);
	assert_int_equal(pragma(f->store, "PRAGMA auto_vacuum"), 0);
	assert_int_equal(pragma(f->store, "PRAGMA user_version"), cl_migrations[cl_migration_count - 1].version);
	int defensive = 0;
	sqlite3_db_config(f->store->db, SQLITE_DBCONFIG_DEFENSIVE, -1, &defensive);
	assert_int_equal(defensive, 1);
	assert_int_equal(sqlite3_exec(f->store->db, "SELECT \"no such column\"", NULL, NULL, NULL), SQLITE_ERROR);

	struct cl_store *reader = fixture_reader(f);
	int quiet = 0;
	sqlite3_db_config(reader->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, -1, &quiet);
	assert_int_equal(quiet, 1);
	assert_int_equal(sqlite3_exec(reader->db, "DELETE FROM meta", NULL, NULL, NULL), SQLITE_READONLY);
	cl_store_close(reader);

	static const char *const files[] = {".db", ".db-wal", ".db-shm", ".lock", ".ballast"};
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(stat(fixture_path(f, files[i]), &status), 0);
		assert_int_equal(status.st_mode & 077, 0);
	}
	assert_int_equal(status.st_size, CL_BALLAST_SIZE);
	char folder[100];
	snprintf(folder, sizeof(folder), "%s/tmp", f->folder);
	assert_int_equal(stat(folder, &status), 0);
}

static void test_identity_stays(void **state)
{
	struct fixture *f = *state;
	uint8_t secret[32];
	struct cl_str uuid = cl_arena_copy(f->arena, cl_store_uuid(f->store));

	assert_int_equal(uuid.n, 36);
	memcpy(secret, cl_store_secret(f->store), 32);
	assert_int_equal(cl_store_incarnation(f->store), 1);
	fixture_reopen(f);
	assert_true(cl_str_equal(uuid, cl_store_uuid(f->store)));
	assert_memory_equal(secret, cl_store_secret(f->store), 32);
	assert_ok(f, cl_store_raise_incarnation(f->store, &f->e));
	assert_int_equal(cl_store_incarnation(f->store), 2);
	struct cl_store *reader = fixture_reader(f);
	assert_true(cl_str_equal(uuid, cl_store_uuid(reader)));
	assert_int_equal(cl_store_incarnation(reader), 2);
	assert_memory_equal(secret, cl_store_secret(reader), 32);
	assert_code(CL_E_INTERNAL, cl_store_raise_incarnation(reader, &f->e));
	cl_store_close(reader);

	struct fixture other;
	fixture_open(&other, "clso");
	assert_false(cl_str_equal(uuid, cl_store_uuid(other.store)));
	assert_memory_not_equal(secret, cl_store_secret(other.store), 32);
	/* A replay takes over the identity of the original. */
	assert_ok(f, cl_store_begin(other.store, &other.e));
	assert_ok(f, cl_store_meta_set(other.store, "uuid", uuid, &other.e));
	assert_ok(f, cl_store_meta_set(other.store, "secret", (struct cl_str){(char *)secret, 32}, &other.e));
	assert_ok(f, cl_store_commit(other.store, &other.e));
	assert_true(cl_str_equal(uuid, cl_store_uuid(other.store)));
	assert_memory_equal(secret, cl_store_secret(other.store), 32);
	fixture_close(&other);
}

static void test_two_writers_refused(void **state)
{
	struct fixture *f = *state;
	struct cl_store *second = (struct cl_store *)1;

	assert_code(CL_E_BUSY, cl_store_open(f->folder, "org", CL_STORE_WRITER, &second, &f->e));
	assert_null(second);
	/* Nor in another process. */
	pid_t child = fork();
	if (child == 0) {
		struct cl_err e = {0};
		_exit(cl_store_open(f->folder, "org", CL_STORE_WRITER, &second, &e) == CL_E_BUSY ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	/* The refused attempts left the first one working. */
	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 1, 1, "{}", NULL);
	fixture_reopen(f);
}

static void test_refused_opens(void **state)
{
	struct fixture *f = *state;
	struct cl_store *store;
	static const char *const bad[] = {"", ".", "..", "../x", "a/b", ".hidden"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_code(CL_E_INVALID, cl_store_open(f->folder, bad[i], CL_STORE_WRITER, &store, &f->e));
	assert_code(CL_E_INVALID, cl_store_open(f->folder, NULL, CL_STORE_WRITER, &store, &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_open(f->folder, "absent", CL_STORE_READER, &store, &f->e));
	assert_code(CL_E_IO, cl_store_open("/nowhere/at/all", "org", CL_STORE_WRITER, &store, &f->e));
	/* Not a database; somebody else's database. */
	char path[120];
	snprintf(path, sizeof(path), "%s/junk.db", f->folder);
	FILE *file = fopen(path, "w");
	fputs("this is not a database, although it is long enough to have had a header of one hundred bytes if it were "
	      "one",
	      file);
	fclose(file);
	assert_code(CL_E_CORRUPT, cl_store_open(f->folder, "junk", CL_STORE_WRITER, &store, &f->e));
	assert_code(CL_E_CORRUPT, cl_store_open(f->folder, "junk", CL_STORE_READER, &store, &f->e));
	sqlite3 *db;
	snprintf(path, sizeof(path), "%s/foreign.db", f->folder);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	assert_code(CL_E_CORRUPT, cl_store_open(f->folder, "foreign", CL_STORE_WRITER, &store, &f->e));
	assert_code(CL_E_CORRUPT, cl_store_open(f->folder, "foreign", CL_STORE_READER, &store, &f->e));
	/* From a later careloop. */
	assert_int_equal(sqlite3_exec(f->store->db, "PRAGMA user_version=999", NULL, NULL, NULL), SQLITE_OK);
	assert_code(CL_E_UNSUPPORTED, cl_store_open(f->folder, "org", CL_STORE_READER, &store, &f->e));
	cl_store_close(f->store);
	assert_code(CL_E_UNSUPPORTED, cl_store_open(f->folder, "org", CL_STORE_WRITER, &f->store, &f->e));
}

static void test_migrations(void **state)
{
	struct fixture *f = *state;
	static const struct cl_migration broken[] = {
	        {1, ""}, {2, "CREATE TABLE second(x INTEGER); CREATE TABLE second(x INTEGER)"}};
	static const struct cl_migration good[] = {{1, ""},
	                                           {2, "CREATE TABLE second(x INTEGER) STRICT"},
	                                           {3, "INSERT INTO second SELECT version FROM resource"}};
	struct stat status;

	put_one(f, T_PATIENT, "a", CL_OP_CREATE, 1, 1, "{}", NULL);
	assert_int_equal(sqlite3_exec(f->store->db, "PRAGMA user_version=1", NULL, NULL, NULL), SQLITE_OK);
	/* One that fails changes nothing, and can be tried again. */
	assert_int_not_equal(cl_schema_migrate(f->store, broken, 2, &f->e), 0);
	assert_int_equal(pragma(f->store, "PRAGMA user_version"), 1);
	assert_int_equal(pragma(f->store, "SELECT count(*) FROM sqlite_schema WHERE name = 'second'"), 0);
	assert_int_equal(stat(fixture_path(f, ".db.before-2"), &status), 0);
	assert_ok(f, cl_schema_migrate(f->store, good, 3, &f->e));
	assert_int_equal(pragma(f->store, "PRAGMA user_version"), 3);
	assert_int_equal(pragma(f->store, "SELECT x FROM second"), 1);
	assert_int_equal(stat(fixture_path(f, ".db.before-3"), &status), 0);
	assert_int_equal(status.st_mode & 077, 0);
	assert_ok(f, cl_schema_migrate(f->store, good, 3, &f->e));
	assert_int_equal(pragma(f->store, "SELECT count(*) FROM second"), 1);
	/* The backup is the file before. */
	sqlite3 *db;
	sqlite3_stmt *statement;
	assert_int_equal(sqlite3_open_v2(fixture_path(f, ".db.before-3"), &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT id FROM resource", -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	sqlite3_finalize(statement);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT * FROM second", -1, &statement, NULL), SQLITE_ERROR);
	sqlite3_close(db);
}

/* A reader refuses a file that the writer has not migrated yet. */
static void test_reader_of_older_file(void **state)
{
	struct fixture *f = *state;
	struct cl_store *reader;

	assert_int_equal(sqlite3_exec(f->store->db, "PRAGMA user_version=0", NULL, NULL, NULL), SQLITE_OK);
	assert_code(CL_E_BUSY, cl_store_open(f->folder, "org", CL_STORE_READER, &reader, &f->e));
	assert_int_equal(sqlite3_exec(f->store->db, "PRAGMA user_version=1", NULL, NULL, NULL), SQLITE_OK);
}

static void test_named_values(void **state)
{
	struct fixture *f = *state;
	struct cl_str value;

	assert_ok(f, cl_store_meta_get(f->store, f->arena, "nothing", &value, &f->e));
	assert_int_equal(value.n, 0);
	assert_code(CL_E_INTERNAL, cl_store_meta_set(f->store, "a", CL_STR("x"), &f->e));
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_ok(f, cl_store_meta_set(f->store, "a", CL_STR("x\0y"), &f->e));
	assert_ok(f, cl_store_meta_set(f->store, "a", CL_STR("z\0y"), &f->e));
	assert_ok(f, cl_store_commit(f->store, &f->e));
	struct cl_store *reader = fixture_reader(f);
	assert_ok(f, cl_store_meta_get(reader, f->arena, "a", &value, &f->e));
	assert_true(cl_str_equal(value, CL_STR("z\0y")));
	assert_code(CL_E_INTERNAL, cl_store_meta_set(reader, "a", value, &f->e));
	cl_store_close(reader);
}

static void test_named_types(void **state)
{
	struct fixture *f = *state;
	struct cl_str names[T_END + 1];

	memcpy(names, fixture_type_names(), T_END * sizeof(names[0]));
	assert_ok(f, cl_store_name_types(f->store, names, T_END, &f->e));
	fixture_reopen(f);
	assert_ok(f, cl_store_name_types(f->store, names, T_END, &f->e));
	assert_str(cl_type_name(f->store, T_TASK), "Task");
	assert_int_equal(cl_type_number(f->store, CL_STR("Task")), T_TASK);
	assert_int_equal(cl_type_number(f->store, CL_STR("task")), 0);
	assert_int_equal(cl_type_number(f->store, CL_STR_NONE), 0);
	assert_int_equal(cl_type_name(f->store, 500).n, 0);
	/* New numbers may come; known ones may not change. */
	names[T_END] = CL_STR("Appointment");
	assert_ok(f, cl_store_name_types(f->store, names, T_END + 1, &f->e));
	struct cl_store *reader = fixture_reader(f);
	assert_str(cl_type_name(reader, T_END), "Appointment");
	cl_store_close(reader);
	names[T_TASK] = CL_STR("Patient2");
	assert_code(CL_E_CORRUPT, cl_store_name_types(f->store, names, T_END + 1, &f->e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_settings, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_identity_stays, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_two_writers_refused, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_refused_opens, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_migrations, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_reader_of_older_file, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_named_values, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_named_types, fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
