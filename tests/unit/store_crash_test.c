/* store_crash_test.c: what was acknowledged is there after a power cut at any moment, whole and once; a commit whose
 * outcome is unknown is there whole or not at all; and the test can tell, because without syncs it is not so.
 * CL_CRASH_SEEDS sets how many power cuts are tried, CL_CRASH_STRIDE how many positions of the fault test are left out
 * between two. */
#include "support/crash_vfs.h"
#include "support/store_fixture.h"
#include "base/hash.h"
#include "org/store/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct oracle {
	struct fixture fixture;
	struct dice dice;
	char acknowledged[65],
	        pending[65]; /* digests of the file's content: after the last commit that was acknowledged, and
					       as the commit under way would leave it */
	struct cl_audit_head head, pending_head;
	unsigned acknowledged_commits;
	uint64_t made;
};

/* ---- digests ---- */

static int add_line(struct cl_str json, void *context)
{
	cl_sha256_add(context, json.p, json.n);
	return 0;
}

/* Everything but what the commit itself writes. */
static int digest(struct oracle *o, char out[65])
{
	struct cl_sha256 hash;
	uint8_t bytes[32];
	cl_sha256_init(&hash);
	int code = cl_store_dump(o->fixture.store, "meta", add_line, &hash, &o->fixture.e);
	cl_sha256_done(&hash, bytes);
	cl_hex(bytes, 32, out);
	return code;
}

/* ---- a workload: what a tick of the engine does ---- */

static int one_request(struct oracle *o)
{
	static const struct cl_index none;
	struct cl_store *store = o->fixture.store;
	struct cl_err *e = &o->fixture.e;
	struct values values = {0};
	char id[16], key[24], body[3000];
	uint32_t which = dice_below(&o->dice, 30);
	size_t size = dice_below(&o->dice, 4) ? 100 : sizeof(body);

	memset(body, 'a' + (char)dice_below(&o->dice, 26), size);
	snprintf(id, sizeof(id), "r%u", which);
	snprintf(key, sizeof(key), "key %llu", (unsigned long long)o->made++);
	add_token(&values, P_IDENTIFIER, id, key);
	add_string(&values, P_NAME, key);
	add_date(&values, P_BIRTH, which, which + 5);
	struct cl_stored_event event = {.kind = CL_STR("request"), .key = cl_str_of(key), .plugins = CL_STR("hash")};
	int code = cl_store_event_append(store, &event, e);
	struct cl_version version = {.type = T_PATIENT,
	                             .id = cl_str_of(id),
	                             .operation = CL_OP_UPDATE,
	                             .sequence = event.sequence,
	                             .updated = (cl_instant)event.sequence,
	                             .body = {body, size}};
	if (!code && dice_below(&o->dice, 8) == 0) {
		version.operation = CL_OP_DELETE;
		code = cl_store_put(store, &version, &none, &none, e);
		if (code == CL_E_NOT_FOUND || code == CL_E_GONE)
			code = 0;
	} else if (!code) {
		code = cl_store_put(store, &version, &none, values_done(&values), e);
	}
	struct cl_stored_answer answer = {.key = cl_str_of(key), .status = 200};
	if (!code)
		code = cl_store_answer_put(store, &answer, e);
	struct cl_stored_timer timer = {.name = cl_str_of(id), .due = which};
	if (!code)
		code = cl_store_timer_set(store, &timer, e);
	if (!code && dice_below(&o->dice, 2))
		code = cl_store_timer_fired(store, timer.name, timer.generation, e);
	struct cl_audit_record record = {.target = cl_str_of(id), .request = cl_str_of(key)};
	return code ? code : cl_audit_append(store, &record, e);
}

static int one_tick(struct oracle *o)
{
	struct cl_store *store = o->fixture.store;
	struct cl_err *e = &o->fixture.e;

	strcpy(o->pending, o->acknowledged);
	o->pending_head = o->head;
	int code = cl_store_begin(store, e);
	for (uint32_t n = 1 + dice_below(&o->dice, 4); !code && n; n--) {
		code = cl_store_savepoint(store, e);
		if (!code)
			code = one_request(o);
		if (!code && dice_below(&o->dice, 5) == 0)
			code = cl_store_rollback_to(store, e);
		if (!code)
			code = cl_store_release(store, e);
	}
	if (!code)
		code = digest(o, o->pending);
	if (!code)
		code = cl_audit_head(store, &o->pending_head, e);
	if (!code)
		code = cl_store_commit(store, e);
	if (code) {
		cl_store_rollback(store);
		return code;
	}
	strcpy(o->acknowledged, o->pending);
	o->head = o->pending_head;
	o->acknowledged_commits++;
	if (dice_below(&o->dice, 5) == 0)
		code = cl_store_checkpoint(store, dice_below(&o->dice, 2), e);
	return code;
}

static int open_again(struct oracle *o)
{
	o->fixture.e = (struct cl_err){0};
	int code = cl_store_open(o->fixture.folder, "org", CL_STORE_WRITER, &o->fixture.store, &o->fixture.e);
	if (!code)
		code = cl_store_name_types(o->fixture.store, fixture_type_names(), T_END, &o->fixture.e);
	return code;
}

/* After whatever happened: sound, the audit log extends the last known head, and the content is one of the two. Fills
 * `why` when not. */
static bool recovered(struct oracle *o, char why[200])
{
	char now[65];
	int code = cl_store_check(o->fixture.store, true, &o->fixture.e);
	if (!code)
		code = cl_audit_verify(o->fixture.store, &o->head, NULL, &o->fixture.e);
	if (!code)
		code = digest(o, now);
	if (code) {
		snprintf(why, 200, "%.190s", o->fixture.e.message);
		return false;
	}
	if (strcmp(now, o->acknowledged) != 0 && strcmp(now, o->pending) != 0) {
		snprintf(why, 200,
		         "after %u acknowledged commits the content is neither the last one's nor the next one's",
		         o->acknowledged_commits);
		return false;
	}
	strcpy(o->acknowledged, now);
	return cl_audit_head(o->fixture.store, &o->head, &o->fixture.e) == 0;
}

static void start(struct oracle *o, uint64_t seed)
{
	*o = (struct oracle){.dice = {seed * 77}};
	crash_vfs_install(seed);
	snprintf(o->fixture.folder, sizeof(o->fixture.folder), "/tmp/clcr-XXXXXX");
	assert_non_null(mkdtemp(o->fixture.folder));
}

static void finish(struct oracle *o)
{
	cl_store_close(o->fixture.store);
	crash_vfs_remove();
	fixture_remove_folder(o->fixture.folder);
}

static void empty_state(struct oracle *o)
{
	struct cl_audit_head nothing = {0};
	assert_int_equal(digest(o, o->acknowledged), 0);
	strcpy(o->pending, o->acknowledged);
	cl_sha256_of(CL_STR_NONE, nothing.root);
	o->head = nothing;
}

/* ---- power cuts ---- */

/* Runs some cycles of work and power cut; true when every recovery was right. */
static bool survive(uint64_t seed, bool without_syncs, char why[200])
{
	struct oracle o;
	bool fine = true;

	start(&o, seed);
	/* The first cut may come while the file is being made. */
	if (dice_below(&o.dice, 4) == 0) {
		crash_vfs_arm(CRASH_POWER, 1 + dice_below(&o.dice, 150));
		if (open_again(&o) == 0) {
			cl_store_close(o.fixture.store);
			o.fixture.store = NULL;
		}
		crash_vfs_power_cut();
	}
	if (open_again(&o) != 0) {
		snprintf(why, 200, "opening: %.150s", o.fixture.e.message);
		finish(&o);
		return false;
	}
	empty_state(&o);
	crash_vfs_drop_syncs(without_syncs);
	for (unsigned cycle = 0; fine && cycle < 3; cycle++) {
		int code = 0;
		crash_vfs_arm(CRASH_POWER, 1 + dice_below(&o.dice, dice_below(&o.dice, 2) ? 60 : 600));
		for (unsigned tick = 0; !code && !crash_vfs_struck() && tick < 60; tick++) {
			code = one_tick(&o);
			if (!code && dice_below(&o.dice, 20) == 0) {
				cl_store_close(o.fixture.store);
				o.fixture.store = NULL;
				code = open_again(&o);
			}
		}
		cl_store_close(o.fixture.store);
		o.fixture.store = NULL;
		crash_vfs_power_cut();
		code = open_again(&o);
		if (code)
			snprintf(why, 200, "opening again: %.150s", o.fixture.e.message);
		fine = code == 0 && recovered(&o, why);
	}
	finish(&o);
	return fine;
}

static unsigned setting(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);
	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void test_power_cuts(void **state)
{
	(void)state;
	unsigned seeds = setting("CL_CRASH_SEEDS", 200);
	for (unsigned seed = 1; seed <= seeds; seed++) {
		char why[200] = "";
		if (!survive(seed, false, why))
			fail_msg("seed %u: %s", seed, why);
	}
}

/* The oracle can fail: a disk that lies about syncs loses what was acknowledged. */
static void test_lying_disk_is_noticed(void **state)
{
	unsigned noticed = 0;
	(void)state;
	for (unsigned seed = 1; seed <= 20; seed++) {
		char why[200] = "";
		noticed += !survive(seed, true, why);
	}
	assert_true(noticed >= 10);
}

/* So does synchronous=OFF. */
static void test_synchronous_off_is_noticed(void **state)
{
	unsigned noticed = 0;
	(void)state;
	for (unsigned seed = 1; seed <= 10; seed++) {
		struct oracle o;
		char why[200];
		start(&o, seed);
		assert_int_equal(open_again(&o), 0);
		empty_state(&o);
		assert_int_equal(sqlite3_exec(o.fixture.store->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL),
		                 SQLITE_OK);
		crash_vfs_arm(CRASH_POWER, 300);
		while (one_tick(&o) == 0)
			;
		cl_store_close(o.fixture.store);
		o.fixture.store = NULL;
		crash_vfs_power_cut();
		noticed += open_again(&o) != 0 || !recovered(&o, why);
		finish(&o);
	}
	assert_true(noticed >= 5);
}

/* ---- faults at each position, the power staying on ---- */

static void scenario_start(struct oracle *o, uint64_t seed)
{
	start(o, seed);
	assert_int_equal(open_again(o), 0);
	empty_state(o);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(one_tick(o), 0);
}

/* Runs until an error comes or the scenario is through. */
static int scenario(struct oracle *o)
{
	int code = 0;
	for (unsigned tick = 0; !code && tick < 25; tick++) {
		code = one_tick(o);
		if (code == CL_E_BUSY)
			code = 0;
	}
	return code;
}

static void after_fault(struct oracle *o, enum crash_fault fault, unsigned position, int code)
{
	char why[200] = "";
	bool full = fault == CRASH_WRITE_FULL || fault == CRASH_WRITE_SHORT;

	/* Every fault is reported, as what it is. */
	if (code != (full ? CL_E_FULL : CL_E_IO))
		fail_msg("fault %u at %u: %d %s", fault, position, code, o->fixture.e.message);
	crash_vfs_disarm();
	if (full) {
		/* Rolled back for certain, and it goes on without opening again. */
		char now[65];
		assert_int_equal(digest(o, now), 0);
		assert_string_equal(now, o->acknowledged);
		assert_int_equal(one_tick(o), 0);
		strcpy(o->pending, o->acknowledged);
	} else if (o->fixture.store->broken) {
		assert_int_equal(cl_store_begin(o->fixture.store, &o->fixture.e), CL_E_IO);
	}
	cl_store_assert_idle(o->fixture.store);
	cl_store_close(o->fixture.store);
	o->fixture.store = NULL;
	/* The process ends; with an unknown outcome the next one finds the commit whole or not at all. */
	if (dice_below(&o->dice, 2))
		crash_vfs_settle();
	else
		crash_vfs_power_cut();
	if (open_again(o) != 0)
		fail_msg("fault %u at %u: opening again: %s", fault, position, o->fixture.e.message);
	if (!recovered(o, why))
		fail_msg("fault %u at %u: %s", fault, position, why);
}

static void test_faults_at_each_position(void **state)
{
	(void)state;
	static const enum crash_fault faults[] = {CRASH_WRITE_EIO, CRASH_WRITE_SHORT, CRASH_WRITE_FULL, CRASH_SYNC_EIO};
#ifdef CL_SANITIZE
	unsigned stride = setting("CL_CRASH_STRIDE", 67);
#else
	unsigned stride = setting("CL_CRASH_STRIDE", 23);
#endif

	for (size_t kind = 0; kind < sizeof(faults) / sizeof(faults[0]); kind++) {
		struct oracle o;
		bool syncs = faults[kind] == CRASH_SYNC_EIO;
		scenario_start(&o, 99);
		crash_vfs_arm(CRASH_NONE, 0);
		assert_int_equal(scenario(&o), 0);
		unsigned positions = crash_vfs_operations(syncs), struck = 0;
		finish(&o);
		for (unsigned position = 1; position <= positions; position += syncs ? 1 : stride) {
			scenario_start(&o, 99);
			crash_vfs_arm(faults[kind], position);
			int code = scenario(&o);
			if (crash_vfs_struck()) {
				struck++;
				after_fault(&o, faults[kind], position, code);
			}
			finish(&o);
		}
		assert_true(struck > 10);
	}
}

/* ---- no memory, at each allocation of SQLite's ---- */

static sqlite3_mem_methods memory;
static unsigned allocations, failing;

static bool fails(void)
{
	return failing && ++allocations >= failing && allocations < failing + 2;
}

static void *failing_malloc(int n)
{
	return fails() ? NULL : memory.xMalloc(n);
}

static void *failing_realloc(void *p, int n)
{
	return fails() ? NULL : memory.xRealloc(p, n);
}

/* Before SQLite is used at all. */
static void install_memory(void)
{
	sqlite3_mem_methods own;
	sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory);
	own = memory;
	own.xMalloc = failing_malloc;
	own.xRealloc = failing_realloc;
	sqlite3_config(SQLITE_CONFIG_MALLOC, &own);
}

static int read_everything(struct oracle *o)
{
	struct fixture *f = &o->fixture;
	struct cl_sort sorts[] = {{.parameter = P_NAME, .kind = CL_INDEX_STRING}};
	struct cl_criterion where = {.kind = CL_DATE, .relation = CL_GE, .parameter = P_BIRTH, .lower = 3, .upper = 4};
	struct cl_query query = {.type = T_PATIENT,
	                         .where = &where,
	                         .sorts = sorts,
	                         .sort_count = 1,
	                         .limit = 5,
	                         .want_total = true,
	                         .bodies = true};
	struct cl_search_result result;
	struct cl_version_list list;
	struct cl_timer_list timers;
	int code = cl_store_search(f->store, f->arena, &query, &result, &f->e);
	if (!code)
		code = cl_store_history(f->store, f->arena, 0, CL_STR_NONE, INT64_MIN, 0, 20, &list, &f->e);
	if (!code)
		code = cl_store_timers_due(f->store, f->arena, 20, 10, &timers, &f->e);
	return code ? code : cl_audit_verify(f->store, NULL, NULL, &f->e);
}

static void test_no_memory(void **state)
{
	(void)state;
	unsigned last = 0;
	for (unsigned position = 1; position < 100000; position += 1 + position / 60) {
		struct oracle o;
		char now[65], why[200];
		start(&o, 3);
		o.fixture.arena = cl_arena_new(0);
		assert_int_equal(open_again(&o), 0);
		empty_state(&o);
		allocations = 0;
		failing = position;
		int code = one_tick(&o);
		if (!code)
			code = read_everything(&o);
		if (!code)
			code = one_tick(&o);
		bool through = allocations < position;
		failing = 0;
		cl_store_assert_idle(o.fixture.store);
		if (o.fixture.store->broken) {
			assert_int_equal(code, CL_E_IO);
			cl_store_close(o.fixture.store);
			crash_vfs_settle();
			assert_int_equal(open_again(&o), 0);
			if (!recovered(&o, why))
				fail_msg("allocation %u: %s", position, why);
		} else {
			if (code && code != CL_E_MEMORY)
				fail_msg("allocation %u: %d %s", position, code, o.fixture.e.message);
			assert_false(cl_store_in_transaction(o.fixture.store));
			assert_int_not_equal(sqlite3_get_autocommit(o.fixture.store->db), 0);
			assert_int_equal(digest(&o, now), 0);
			assert_string_equal(now, o.acknowledged);
		}
		assert_int_equal(one_tick(&o), 0);
		assert_int_equal(read_everything(&o), 0);
		assert_int_equal(cl_store_check(o.fixture.store, true, &o.fixture.e), 0);
		cl_arena_free(o.fixture.arena);
		finish(&o);
		last = position;
		if (through)
			break;
	}
	assert_true(last > 500);
}

/* Nothing of SQLite's goes to the system's temporary folder, even for large savepoints and sorts (pitfalls 8). */
static void test_no_temporary_files(void **state)
{
	(void)state;
	struct oracle o;
	start(&o, 5);
	assert_int_equal(open_again(&o), 0);
	empty_state(&o);
	assert_int_equal(cl_store_begin(o.fixture.store, &o.fixture.e), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(cl_store_savepoint(o.fixture.store, &o.fixture.e), 0);
		for (unsigned n = 0; n < 1500; n++)
			assert_int_equal(one_request(&o), 0);
		if (i == 1)
			assert_int_equal(cl_store_rollback_to(o.fixture.store, &o.fixture.e), 0);
		assert_int_equal(cl_store_release(o.fixture.store, &o.fixture.e), 0);
	}
	assert_int_equal(cl_store_commit(o.fixture.store, &o.fixture.e), 0);
	char text[65];
	assert_int_equal(digest(&o, text), 0);
	assert_int_equal(cl_store_check(o.fixture.store, true, &o.fixture.e), 0);
	assert_int_equal(sqlite3_exec(o.fixture.store->db,
	                              "SELECT count(*) FROM (SELECT DISTINCT key, detail, input, actor FROM event"
	                              " ORDER BY key DESC, sequence)",
	                              NULL, NULL, NULL),
	                 SQLITE_OK);
	assert_int_equal(crash_vfs_temporary_files(), 0);
	finish(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_power_cuts),
	        cmocka_unit_test(test_lying_disk_is_noticed),
	        cmocka_unit_test(test_synchronous_off_is_noticed),
	        cmocka_unit_test(test_faults_at_each_position),
	        cmocka_unit_test(test_no_memory),
	        cmocka_unit_test(test_no_temporary_files),
	};
	install_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
