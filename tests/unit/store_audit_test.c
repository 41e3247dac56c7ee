/* store_audit_test.c: the Merkle log is RFC 6962's, and no change to it goes unnoticed; the tail of read leaves is
 * folded exactly once, whatever dies when. */
#include "support/store_fixture.h"
#include "base/hash.h"
#include "org/store/internal.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

static void append(struct fixture *f, unsigned from, unsigned until)
{
	assert_ok(f, cl_store_begin(f->store, &f->e));
	for (unsigned i = from; i < until; i++) {
		char target[32];
		snprintf(target, sizeof(target), "Patient/%u", i);
		struct cl_audit_record record = {.at = i,
		                                 .principal = i % 2 ? CL_STR("ana") : CL_STR("bob\"\0\x01"),
		                                 .action = CL_STR("read"),
		                                 .target = cl_str_of(target),
		                                 .rule = CL_STR("r#1"),
		                                 .outcome = CL_STR("ok"),
		                                 .request = CL_STR("00ff")};
		assert_ok(f, cl_audit_append(f->store, &record, &f->e));
		assert_int_equal(record.sequence, i);
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
}

/* ---- the definition, computed naively: MTH of RFC 6962 section 2.1 ---- */

static void naive_root(const uint8_t (*leaves)[32], size_t n, uint8_t out[32])
{
	char bytes[65] = {1};
	if (n == 1) {
		memcpy(out, leaves[0], 32);
		return;
	}
	size_t k = 1;
	while (k * 2 < n)
		k *= 2;
	naive_root(leaves, k, (uint8_t *)bytes + 1);
	naive_root(leaves + k, n - k, (uint8_t *)bytes + 33);
	cl_sha256_of((struct cl_str){bytes, 65}, out);
}

static void test_root_is_rfc_6962(void **state)
{
	struct fixture *f = *state;
	uint8_t leaves[40][32], expected[32];
	struct cl_audit_head head;

	assert_ok(f, cl_audit_head(f->store, &head, &f->e));
	assert_int_equal(head.size, 0);
	cl_sha256_of(CL_STR_NONE, expected);
	assert_memory_equal(head.root, expected, 32);
	for (unsigned i = 0; i < 40; i++) {
		char text[200];
		append(f, i, i + 1);
		/* The canonical text, written out. */
		int n = snprintf(
		        text + 1, sizeof(text) - 1,
		        i % 2 ? "[%u,%u,\"ana\",\"read\",\"Patient/%u\",\"r#1\",\"ok\",\"00ff\"]"
		              : "[%u,%u,\"bob\\\"\\u0000\\u0001\",\"read\",\"Patient/%u\",\"r#1\",\"ok\",\"00ff\"]",
		        i, i, i);
		text[0] = 0;
		cl_sha256_of((struct cl_str){text, (size_t)n + 1}, leaves[i]);
		naive_root((const uint8_t(*)[32])leaves, i + 1, expected);
		assert_ok(f, cl_audit_head(f->store, &head, &f->e));
		assert_int_equal(head.size, i + 1);
		assert_memory_equal(head.root, expected, 32);
		if (i % 10 == 5)
			fixture_reopen(f);
	}
	struct cl_store *reader = fixture_reader(f);
	struct cl_audit_head seen;
	assert_ok(f, cl_audit_head(reader, &seen, &f->e));
	assert_memory_equal(&seen, &head, sizeof(head));
	assert_ok(f, cl_audit_verify(reader, &head, &seen, &f->e));
	assert_memory_equal(&seen, &head, sizeof(head));
	cl_store_close(reader);
}

/* ---- tampering ---- */

static void tamper(struct fixture *f, const char *sql)
{
	char *message = NULL;
	if (sqlite3_exec(f->store->db, sql, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", sql, message);
}

static void test_tampering_is_noticed(void **state)
{
	(void)state;
	static const struct {
		const char *sql, *says;
	} tries[] = {
	        {"UPDATE audit SET outcome = 'denied' WHERE leaf = 7", "leaf 7 "},
	        {"UPDATE audit SET at = at + 1 WHERE leaf = 0", "leaf 0 "},
	        {"UPDATE audit SET principal = rule, rule = principal WHERE leaf = 19", "leaf 19 "},
	        {"UPDATE audit SET hash = zeroblob(32) WHERE leaf = 3", "leaf 3 "},
	        {"UPDATE audit SET hash = x'00' WHERE leaf = 3", "leaf 3 "},
	        {"DELETE FROM audit WHERE leaf = 5", "leaf 5 "},
	        {"DELETE FROM audit WHERE leaf = 0", "leaf 0 "},
	        {"DELETE FROM audit WHERE leaf >= 15", "leaf 15 "},
	        {"DELETE FROM audit", "leaf 0 "},
	        /* Reordered: leaves 4 and 5 change places, hashes and all. */
	        {"UPDATE audit SET leaf = -1 WHERE leaf = 4; UPDATE audit SET leaf = 4 WHERE leaf = 5; UPDATE audit "
	         "SET leaf = 5 WHERE leaf = -1",
	         "leaf 4 "},
	        /* One too many, a copy of another. */
	        {"INSERT INTO audit SELECT 20, at, principal, action, target, rule, outcome, request, hash FROM audit "
	         "WHERE leaf = 19",
	         "leaf 20 "},
	        {"DELETE FROM meta WHERE name = 'audit.frontier'", "leaf 0 "},
	        {"UPDATE meta SET value = zeroblob(8) WHERE name = 'audit.frontier'", ""},
	        {"UPDATE meta SET value = x'01' WHERE name = 'audit.frontier'", "frontier"},
	        {"UPDATE meta SET value = zeroblob(72) WHERE name = 'audit.frontier'", "frontier"},
	};
	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		struct fixture f;
		fixture_open(&f, "clau");
		append(&f, 0, 20);
		assert_ok(&f, cl_audit_verify(f.store, NULL, NULL, &f.e));
		tamper(&f, tries[i].sql);
		int code = cl_audit_verify(f.store, NULL, NULL, &f.e);
		if (code != CL_E_CORRUPT || !strstr(f.e.message, tries[i].says))
			fail_msg("%s: %d %s", tries[i].sql, code, f.e.message);
		fixture_close(&f);
	}
}

/* Whoever owns the file can compute every hash anew; then a head that somebody else kept tells. */
static void test_known_heads(void **state)
{
	struct fixture *f = *state;
	struct cl_audit_head at_7, at_20, forged;

	append(f, 0, 7);
	assert_ok(f, cl_audit_head(f->store, &at_7, &f->e));
	append(f, 7, 20);
	assert_ok(f, cl_audit_head(f->store, &at_20, &f->e));
	assert_ok(f, cl_audit_verify(f->store, &at_7, NULL, &f->e));
	assert_ok(f, cl_audit_verify(f->store, &at_20, NULL, &f->e));
	struct cl_audit_head nothing = {0};
	cl_sha256_of(CL_STR_NONE, nothing.root);
	assert_ok(f, cl_audit_verify(f->store, &nothing, NULL, &f->e));
	forged = at_7;
	forged.root[9] ^= 1;
	assert_code(CL_E_CORRUPT, cl_audit_verify(f->store, &forged, NULL, &f->e));
	forged = at_20;
	forged.size = 21;
	assert_code(CL_E_CORRUPT, cl_audit_verify(f->store, &forged, NULL, &f->e));

	/* An older copy of the file is put in place, and the log grows on: an honest log, but not this one's
	 * continuation. */
	struct fixture copy;
	fixture_open(&copy, "clau");
	append(&copy, 0, 3);
	assert_ok(f, cl_store_begin(copy.store, &copy.e));
	for (unsigned i = 3; i < 25; i++) {
		struct cl_audit_record record = {.at = i, .principal = CL_STR("other")};
		assert_ok(f, cl_audit_append(copy.store, &record, &copy.e));
	}
	assert_ok(f, cl_store_commit(copy.store, &copy.e));
	assert_ok(f, cl_audit_verify(copy.store, NULL, NULL, &copy.e));
	assert_code(CL_E_CORRUPT, cl_audit_verify(copy.store, &at_7, NULL, &copy.e));
	assert_code(CL_E_CORRUPT, cl_audit_verify(copy.store, &at_20, NULL, &copy.e));
	fixture_close(&copy);
}

struct listed {
	char text[300];
	unsigned stop_after, count;
};

static int list_one(const struct cl_audit_record *record, void *context)
{
	struct listed *listed = context;
	snprintf(listed->text + strlen(listed->text), sizeof(listed->text) - strlen(listed->text), "%llu ",
	         (unsigned long long)record->sequence);
	return ++listed->count == listed->stop_after;
}

static void expect_list(struct fixture *f, const char *principal, const char *target, uint32_t limit, unsigned stop,
                        const char *text)
{
	struct listed listed = {.stop_after = stop};
	assert_ok(f, cl_audit_list(f->store, cl_str_of(principal), cl_str_of(target), limit, list_one, &listed, &f->e));
	assert_string_equal(listed.text, text);
}

static void test_list(void **state)
{
	struct fixture *f = *state;
	append(f, 0, 10);
	expect_list(f, "", "", 3, 0, "9 8 7 ");
	expect_list(f, "ana", "", 3, 0, "9 7 5 ");
	expect_list(f, "", "Patient/4", 3, 0, "4 ");
	expect_list(f, "ana", "Patient/4", 3, 0, "");
	expect_list(f, "", "", 10, 2, "9 8 ");
}

/* ---- the tail ---- */

static struct cl_audit_record read_of(char *target, size_t size, unsigned number)
{
	snprintf(target, size, "Patient/%u", number);
	return (struct cl_audit_record){.at = number,
	                                .principal = CL_STR("p"),
	                                .action = CL_STR("read"),
	                                .target = cl_str_of(target),
	                                .rule = CL_STR(""),
	                                .outcome = CL_STR("ok"),
	                                .request = CL_STR("1234")};
}

static void tail_append(struct fixture *f, struct cl_audit_tail *tail, unsigned number)
{
	char target[32];
	struct cl_audit_record record = read_of(target, sizeof(target), number);
	assert_ok(f, cl_audit_tail_append(tail, &record, &f->e));
}

static void fold(struct fixture *f, struct cl_audit_tail *tail, uint32_t limit, bool commit)
{
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_ok(f, cl_audit_tail_fold(tail, f->store, limit, &f->e));
	if (!commit) {
		cl_store_rollback(f->store);
		return;
	}
	assert_ok(f, cl_store_commit(f->store, &f->e));
	assert_ok(f, cl_audit_tail_folded(tail, f->store, &f->e));
}

struct numbers {
	unsigned times[20000];
	unsigned count;
};

static int count_number(const struct cl_audit_record *record, void *context)
{
	struct numbers *numbers = context;
	char text[40];
	snprintf(text, sizeof(text), "%.*s", CL_STR_ARGS(record->target));
	unsigned number = (unsigned)atoi(text + 8);
	assert_true(number < 20000);
	assert_int_equal(record->at, number);
	numbers->times[number]++;
	numbers->count++;
	return 0;
}

static void expect_folded(struct fixture *f, unsigned count)
{
	struct numbers *numbers = calloc(1, sizeof(*numbers));
	assert_ok(f, cl_audit_list(f->store, CL_STR_NONE, CL_STR_NONE, UINT32_MAX, count_number, numbers, &f->e));
	for (unsigned i = 0; i < count; i++)
		if (numbers->times[i] != 1)
			fail_msg("read %u was folded %u times", i, numbers->times[i]);
	assert_int_equal(numbers->count, count);
	free(numbers);
	assert_ok(f, cl_audit_verify(f->store, NULL, NULL, &f->e));
}

static void test_tail(void **state)
{
	struct fixture *f = *state;
	struct cl_audit_tail *tail;
	unsigned number = 0;

	assert_ok(f, cl_audit_tail_open(f->folder, "org", &tail, &f->e));
	for (; number < 10; number++)
		tail_append(f, tail, number);
	assert_true(cl_audit_tail_pending(tail) > 0);
	assert_code(CL_E_INTERNAL, cl_audit_tail_fold(tail, f->store, 5, &f->e));
	fold(f, tail, 4, true);
	expect_folded(f, 4);
	assert_true(cl_audit_tail_pending(tail) > 0);
	fold(f, tail, 100, false);
	expect_folded(f, 4);
	fold(f, tail, 0, true);
	fold(f, tail, 100, true);
	expect_folded(f, 10);
	assert_int_equal(cl_audit_tail_pending(tail), 0);
	fold(f, tail, 100, true);
	expect_folded(f, 10);
	char *huge = calloc(1, 100000);
	struct cl_audit_record large = {.target = {huge, 100000}};
	assert_code(CL_E_TOO_LARGE, cl_audit_tail_append(tail, &large, &f->e));
	struct cl_audit_record big = read_of(huge, 40, number++);
	struct cl_str empty = {huge + 50, 30000};
	big.principal = empty;
	assert_ok(f, cl_audit_tail_append(tail, &big, &f->e));
	free(huge);
	fold(f, tail, 1, true);
	expect_folded(f, 11);
	cl_audit_tail_close(tail);
	assert_code(CL_E_IO, cl_audit_tail_open("/nowhere/at/all", "org", &tail, &f->e));
}

/* Random appends, folds, rollbacks, process deaths (reopening without folding), power cuts (the unsynced end is lost:
 * what was folded stays folded, what was not is gone). */
static void test_tail_exactly_once(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct fixture f;
		struct dice dice = {seed};
		struct cl_audit_tail *tail;
		unsigned next = 0; /* number of the next read */
		struct stat status;

		fixture_open(&f, "clta");
		char *path = fixture_path(&f, ".reads");
		assert_ok(&f, cl_audit_tail_open(f.folder, "org", &tail, &f.e));
		assert_int_equal(stat(path, &status), 0);
		off_t synced = status.st_size;
		unsigned lost[2000] = {0};
		struct numbers *numbers = calloc(1, sizeof(*numbers));
		for (unsigned step = 0; step < 80; step++) {
			switch (dice_below(&dice, 7)) {
			case 0:
			case 1:
			case 2:
				for (unsigned n = dice_below(&dice, 6); n; n--)
					tail_append(&f, tail, next++);
				break;
			case 3:
				fold(&f, tail, dice_below(&dice, 5), dice_below(&dice, 3) != 0);
				break;
			case 4:
				/* Dies between the commit and what follows it. */
				assert_ok(&f, cl_store_begin(f.store, &f.e));
				assert_ok(&f, cl_audit_tail_fold(tail, f.store, dice_below(&dice, 9), &f.e));
				assert_ok(&f, cl_store_commit(f.store, &f.e));
				/* fall through */
			case 5:
				cl_audit_tail_close(tail);
				assert_ok(&f, cl_audit_tail_open(f.folder, "org", &tail, &f.e));
				assert_int_equal(stat(path, &status), 0);
				synced = status.st_size;
				break;
			default:
				/* Power cut: the file ends somewhere after the last sync, perhaps in the midst of a
				 * record. */
				cl_audit_tail_close(tail);
				assert_int_equal(stat(path, &status), 0);
				if (status.st_size > synced)
					assert_int_equal(
					        truncate(path,
					                 synced + (off_t)dice_below(
					                                  &dice,
					                                  (uint32_t)(status.st_size - synced) + 1)),
					        0);
				assert_ok(&f, cl_audit_tail_open(f.folder, "org", &tail, &f.e));
				assert_int_equal(stat(path, &status), 0);
				synced = status.st_size;
				/* What is neither folded nor in the file is lost; it must not come back. */
				fold(&f, tail, 10000, true);
				memset(numbers, 0, sizeof(*numbers));
				assert_ok(&f, cl_audit_list(f.store, CL_STR_NONE, CL_STR_NONE, UINT32_MAX, count_number,
				                            numbers, &f.e));
				for (unsigned i = 0; i < next; i++)
					lost[i] = numbers->times[i] == 0;
			}
		}
		fold(&f, tail, 10000, true);
		assert_int_equal(cl_audit_tail_pending(tail), 0);
		memset(numbers, 0, sizeof(*numbers));
		assert_ok(&f,
		          cl_audit_list(f.store, CL_STR_NONE, CL_STR_NONE, UINT32_MAX, count_number, numbers, &f.e));
		for (unsigned i = 0; i < next; i++)
			if (numbers->times[i] != !lost[i])
				fail_msg("seed %llu: read %u was folded %u times%s", (unsigned long long)seed, i,
				         numbers->times[i], lost[i] ? ", was lost" : "");
		assert_ok(&f, cl_audit_verify(f.store, NULL, NULL, &f.e));
		free(numbers);
		cl_audit_tail_close(tail);
		fixture_close(&f);
	}
}

/* A large file that is wholly folded is replaced; a crash at any point of it changes nothing. */
static void test_tail_replaced(void **state)
{
	struct fixture *f = *state;
	struct cl_audit_tail *tail;
	struct stat before, after;
	unsigned number = 0;
	char *path = fixture_path(f, ".reads");

	assert_ok(f, cl_audit_tail_open(f->folder, "org", &tail, &f->e));
	for (; number < 19000; number++)
		tail_append(f, tail, number);
	assert_int_equal(stat(path, &before), 0);
	assert_true(before.st_size > 1 << 20);
	fold(f, tail, 10000, true);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_ino, before.st_ino);
	/* Folded and committed, but died before the file was replaced. */
	assert_ok(f, cl_store_begin(f->store, &f->e));
	assert_ok(f, cl_audit_tail_fold(tail, f->store, 14000, &f->e));
	assert_ok(f, cl_store_commit(f->store, &f->e));
	cl_audit_tail_close(tail);
	FILE *half = fopen(fixture_path(f, ".reads.new"), "w");
	fputs("half of a new file", half);
	fclose(half);
	assert_ok(f, cl_audit_tail_open(f->folder, "org", &tail, &f->e));
	fold(f, tail, 14000, true);
	expect_folded(f, 19000);
	assert_int_equal(stat(path, &after), 0);
	assert_int_not_equal(after.st_ino, before.st_ino);
	assert_true(after.st_size < 100);
	for (; number < 19010; number++)
		tail_append(f, tail, number);
	/* Died right after the replacement. */
	cl_audit_tail_close(tail);
	assert_ok(f, cl_audit_tail_open(f->folder, "org", &tail, &f->e));
	fold(f, tail, 14000, true);
	expect_folded(f, 19010);
	cl_audit_tail_close(tail);
}

struct appender {
	struct cl_audit_tail *tail;
	atomic_bool done;
	unsigned count;
};

static void *append_many(void *argument)
{
	struct appender *appender = argument;
	struct cl_err e = {0};
	for (; appender->count < 19000; appender->count++) {
		char target[32];
		struct cl_audit_record record = read_of(target, sizeof(target), appender->count);
		if (cl_audit_tail_append(appender->tail, &record, &e))
			break;
	}
	atomic_store(&appender->done, true);
	return NULL;
}

/* One thread appends while the other folds and replaces. */
static void test_tail_two_threads(void **state)
{
	struct fixture *f = *state;
	struct appender appender = {0};
	pthread_t thread;

	assert_ok(f, cl_audit_tail_open(f->folder, "org", &appender.tail, &f->e));
	assert_int_equal(pthread_create(&thread, NULL, append_many, &appender), 0);
	while (!atomic_load(&appender.done))
		fold(f, appender.tail, 1000, true);
	pthread_join(thread, NULL);
	assert_int_equal(appender.count, 19000);
	while (cl_audit_tail_pending(appender.tail))
		fold(f, appender.tail, 1000, true);
	expect_folded(f, 19000);
	cl_audit_tail_close(appender.tail);
}

/* A full disk refuses the read and leaves a sound file. */
static void test_tail_full(void **state)
{
	struct fixture *f = *state;
	struct cl_audit_tail *tail;
	struct stat status;
	struct rlimit former, limit;
	unsigned number = 0;

	assert_ok(f, cl_audit_tail_open(f->folder, "org", &tail, &f->e));
	for (; number < 5; number++)
		tail_append(f, tail, number);
	assert_int_equal(stat(fixture_path(f, ".reads"), &status), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &former), 0);
	limit = former;
	limit.rlim_cur = (rlim_t)status.st_size + 30; /* room for half a record */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	char target[32];
	struct cl_audit_record record = read_of(target, sizeof(target), number);
	assert_code(CL_E_FULL, cl_audit_tail_append(tail, &record, &f->e));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &former), 0);
	struct stat after;
	assert_int_equal(stat(fixture_path(f, ".reads"), &after), 0);
	assert_int_equal(after.st_size, status.st_size);
	for (; number < 10; number++)
		tail_append(f, tail, number);
	fold(f, tail, 100, true);
	expect_folded(f, 10);
	cl_audit_tail_close(tail);
}

/* Killed while appending: what was answered is there. */
static void test_tail_survives_kill(void **state)
{
	struct fixture *f = *state;
	struct cl_audit_tail *tail;
	int answered[2];

	assert_int_equal(pipe(answered), 0);
	pid_t child = fork();
	if (child == 0) {
		struct cl_err e = {0};
		if (cl_audit_tail_open(f->folder, "org", &tail, &e))
			_exit(1);
		for (unsigned i = 0; i < 19000; i++) {
			char target[32];
			struct cl_audit_record record = read_of(target, sizeof(target), i);
			if (cl_audit_tail_append(tail, &record, &e) || write(answered[1], &i, sizeof(i)) != sizeof(i))
				_exit(1);
		}
		pause();
	}
	close(answered[1]);
	unsigned last = 0, number;
	while (last < 3000 && read(answered[0], &number, sizeof(number)) == sizeof(number))
		last = number;
	kill(child, SIGKILL);
	while (read(answered[0], &number, sizeof(number)) == sizeof(number))
		last = number;
	close(answered[0]);
	waitpid(child, NULL, 0);
	assert_ok(f, cl_audit_tail_open(f->folder, "org", &tail, &f->e));
	fold(f, tail, 19001, true);
	struct numbers *numbers = calloc(1, sizeof(*numbers));
	assert_ok(f, cl_audit_list(f->store, CL_STR_NONE, CL_STR_NONE, UINT32_MAX, count_number, numbers, &f->e));
	for (unsigned i = 0; i <= last; i++)
		assert_int_equal(numbers->times[i], 1);
	free(numbers);
	cl_audit_tail_close(tail);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_root_is_rfc_6962, fixture_setup, fixture_teardown),
	        cmocka_unit_test(test_tampering_is_noticed),
	        cmocka_unit_test_setup_teardown(test_known_heads, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_list, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_tail, fixture_setup, fixture_teardown),
	        cmocka_unit_test(test_tail_exactly_once),
	        cmocka_unit_test_setup_teardown(test_tail_replaced, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_tail_two_threads, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_tail_full, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_tail_survives_kill, fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
