/* supervisor_watchdog_test.c: what the supervisor decides from a watch page, and its record of audit heads. */
#include "base/hash.h"
#include "supervisor/child.h"
#include "supervisor/heads.h"
#include "supervisor/watchdog.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define STEP INT64_C(50000)
#define LIMIT INT64_C(2000000)

/* Looks every 50 ms for `seconds`; returns how often each verdict came. */
struct verdicts {
	int stalled, stuck;
	int64_t stuck_after;
};

static struct verdicts look_for(struct cl_watchdog *watchdog, struct cl_watch *page, int64_t *now, double seconds)
{
	struct verdicts verdicts = {0};
	int64_t begun = *now, end = *now + (int64_t)(seconds * 1e6);
	while (*now < end) {
		*now += STEP;
		enum cl_watchdog_verdict verdict = cl_watchdog_look(watchdog, page, *now, LIMIT);
		verdicts.stalled += verdict == CL_WATCHDOG_STALLED;
		if (verdict == CL_WATCHDOG_STUCK && verdicts.stuck++ == 0)
			verdicts.stuck_after = *now - begun;
	}
	return verdicts;
}

static void one_long_call_is_stuck(void **state)
{
	struct cl_watchdog watchdog = {0};
	struct cl_watch page = {0};
	int64_t now = 1000000000;
	(void)state;
	assert_int_equal(look_for(&watchdog, &page, &now, 10).stuck, 0);
	atomic_store(&page.kind, (uint32_t)CL_WATCH_REQUEST);
	atomic_store(&page.lua_call, 1u);
	atomic_store(&page.lua_since, now);
	struct verdicts verdicts = look_for(&watchdog, &page, &now, 3);
	assert_true(verdicts.stuck > 0);
	assert_in_range(verdicts.stuck_after, LIMIT, LIMIT + 3 * STEP);
}

static void many_short_calls_are_not(void **state)
{
	struct cl_watchdog watchdog = {0};
	struct cl_watch page = {0};
	int64_t now = 1000000000;
	(void)state;
	atomic_store(&page.kind, (uint32_t)CL_WATCH_REQUEST);
	for (int i = 0; i < 1000; i++) {
		atomic_store(&page.lua_call, (uint32_t)i);
		atomic_store(&page.lua_since, now - 10 * LIMIT); /* an old time read beside a new number */
		assert_int_equal(look_for(&watchdog, &page, &now, 0.05).stuck, 0);
	}
}

static void a_suspended_machine_is_not(void **state)
{
	struct cl_watchdog watchdog = {0};
	struct cl_watch page = {0};
	int64_t now = 1000000000;
	(void)state;
	atomic_store(&page.kind, (uint32_t)CL_WATCH_REQUEST);
	atomic_store(&page.lua_call, 5u);
	atomic_store(&page.lua_since, now);
	assert_int_equal(look_for(&watchdog, &page, &now, 0.5).stuck, 0);
	now += 3600 * INT64_C(1000000);
	assert_int_equal(look_for(&watchdog, &page, &now, 1).stuck, 0);
	assert_true(look_for(&watchdog, &page, &now, 1).stuck > 0);
}

static void a_stalled_disk_is_warned_about(void **state)
{
	struct cl_watchdog watchdog = {0};
	struct cl_watch page = {0};
	int64_t now = 1000000000;
	(void)state;
	atomic_store(&page.kind, (uint32_t)CL_WATCH_REQUEST);
	assert_int_equal(look_for(&watchdog, &page, &now, 4).stalled, 0);
	assert_int_equal(look_for(&watchdog, &page, &now, 2).stalled, 1);
	assert_int_equal(look_for(&watchdog, &page, &now, 25).stalled, 0);
	assert_int_equal(look_for(&watchdog, &page, &now, 60).stalled, 2);
	assert_int_equal(look_for(&watchdog, &page, &now, 65).stuck, 0);
	/* Commits go on: busy, not stalled. */
	for (int i = 0; i < 100; i++) {
		atomic_fetch_add(&page.ticks, 1);
		assert_int_equal(look_for(&watchdog, &page, &now, 1).stalled, 0);
	}
}

static struct cl_watchdog_scene scene_of(enum cl_watch_kind kind, uint8_t subject, const char *plugin)
{
	struct cl_watchdog_scene scene = {.kind = kind};
	memset(scene.subject.bytes, subject, sizeof scene.subject.bytes);
	snprintf(scene.plugin, sizeof scene.plugin, "%s", plugin);
	return scene;
}

static void the_second_crash_is_quarantined(void **state)
{
	struct cl_watchdog_memory memory = {0};
	struct cl_watchdog_scene first = scene_of(CL_WATCH_TIMER, 1, "a"), other = scene_of(CL_WATCH_REQUEST, 2, "b");
	struct cl_watch page = {0};
	(void)state;
	assert_int_equal(cl_watchdog_crashed(&memory, &first), CL_WATCHDOG_SUSPECT);
	assert_int_equal(cl_watchdog_crashed(&memory, &other), CL_WATCHDOG_SUSPECT);
	assert_int_equal(cl_watchdog_crashed(&memory, &first), CL_WATCHDOG_QUARANTINED);
	assert_int_equal(cl_watchdog_crashed(&memory, &first), CL_WATCHDOG_QUARANTINED);
	assert_int_equal(memory.quarantined_count, 1);
	struct cl_watchdog_scene idle = scene_of(CL_WATCH_IDLE, 3, "");
	assert_int_equal(cl_watchdog_crashed(&memory, &idle), CL_WATCHDOG_NOTHING);
	assert_int_equal(cl_watchdog_crashed(&memory, &idle), CL_WATCHDOG_NOTHING);
	atomic_store(&page.kind, 7u);
	atomic_store(&page.quarantine_count, 9u);
	cl_watchdog_prepare(&memory, &page);
	assert_int_equal(atomic_load(&page.kind), CL_WATCH_IDLE);
	assert_int_equal(atomic_load(&page.quarantine_count), 1);
	assert_memory_equal(&page.quarantine[0], &first.subject, sizeof first.subject);
	assert_int_equal(cl_watchdog_forgive(&memory), 1);
	assert_int_equal(cl_watchdog_crashed(&memory, &first), CL_WATCHDOG_SUSPECT);
}

static void quarantine_lets_the_oldest_go(void **state)
{
	struct cl_watchdog_memory memory = {0};
	struct cl_watch page = {0};
	(void)state;
	for (int i = 0; i < CL_WATCH_QUARANTINE + 8; i++)
		for (int twice = 0; twice < 2; twice++) {
			struct cl_watchdog_scene scene = scene_of(CL_WATCH_REQUEST, (uint8_t)(i + 1), "");
			cl_watchdog_crashed(&memory, &scene);
		}
	cl_watchdog_prepare(&memory, &page);
	assert_int_equal(atomic_load(&page.quarantine_count), CL_WATCH_QUARANTINE);
	assert_int_equal(page.quarantine[0].bytes[0], 9);
	assert_int_equal(page.quarantine[CL_WATCH_QUARANTINE - 1].bytes[0], CL_WATCH_QUARANTINE + 8);
	for (int i = 0; i < CL_WATCHDOG_PLUGINS + 2; i++) {
		char name[16];
		snprintf(name, sizeof name, "p%d", i);
		struct cl_watchdog_scene scene = scene_of(CL_WATCH_LOAD, 0, name);
		assert_int_equal(cl_watchdog_crashed(&memory, &scene), CL_WATCHDOG_SUSPECT);
		assert_int_equal(cl_watchdog_crashed(&memory, &scene), CL_WATCHDOG_QUARANTINED);
	}
	cl_watchdog_prepare(&memory, &page);
	assert_string_equal(page.quarantined_plugin[0], "p2");
	assert_string_equal(page.quarantined_plugin[3], "p5");
}

static void a_corrupt_page_does_no_harm(void **state)
{
	struct cl_watch page;
	struct cl_watchdog_scene scene;
	(void)state;
	memset(&page, 0xff, sizeof page);
	cl_watchdog_scene(&page, &scene);
	assert_int_equal(scene.kind, CL_WATCH_IDLE);
	assert_int_equal(strlen(scene.plugin), sizeof scene.plugin - 1);
	assert_int_equal(strlen(scene.what), sizeof scene.what - 1);
	for (size_t i = 0; scene.what[i]; i++)
		assert_int_equal(scene.what[i], '?');
}

static void back_off_doubles_to_ten_seconds(void **state)
{
	static const int64_t expected[] = {0,       100000,  200000,  400000,   800000,
	                                   1600000, 3200000, 6400000, 10000000, 10000000};
	(void)state;
	for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++)
		assert_int_equal(cl_child_back_off(i), expected[i]);
	assert_int_equal(cl_child_back_off(1000000), 10000000);
}

static struct cl_head head_of(const char *organization, uint64_t size, uint8_t root)
{
	struct cl_head head = {.size = size};
	snprintf(head.organization, sizeof head.organization, "%s", organization);
	memset(head.root, root, sizeof head.root);
	return head;
}

static void change_byte(const char *path, long offset)
{
	FILE *file = fopen(path, "r+");
	assert_non_null(file);
	fseek(file, offset, SEEK_SET);
	int c = fgetc(file);
	fseek(file, offset, SEEK_SET);
	fputc(c ^ 1, file);
	fclose(file);
}

static void heads_are_chained(void **state)
{
	char path[] = "/tmp/careloop-heads-XXXXXX";
	struct cl_heads *heads;
	struct cl_err e = {0};
	struct cl_head head, found;
	const struct cl_head *list;
	(void)state;
	int file = mkstemp(path);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(cl_heads_open(path, &heads, &e), CL_OK);
	head = head_of("riverside", 1, 1);
	assert_int_equal(cl_heads_append(heads, &head, 0, &e), CL_OK);
	assert_int_equal(cl_heads_append(heads, &head, 0, &e), CL_OK); /* the same again: not written */
	head = head_of("lakeside", 7, 2);
	assert_int_equal(cl_heads_append(heads, &head, 0, &e), CL_OK);
	head = head_of("riverside", 4, 3);
	assert_int_equal(cl_heads_append(heads, &head, 0, &e), CL_OK);
	head = head_of("riverside", 4, 4);
	assert_int_equal(cl_heads_append(heads, &head, 0, &e), CL_E_CORRUPT);
	head = head_of("riverside", 3, 3);
	assert_int_equal(cl_heads_append(heads, &head, 0, &e), CL_E_CORRUPT);
	assert_int_equal(cl_heads_sync(heads, &e), CL_OK);
	assert_int_equal(cl_heads_list(heads, &list), 2);
	assert_int_equal(list[1].size, 7);
	cl_heads_close(heads);

	assert_int_equal(cl_heads_read(path, "riverside", &found, &e), CL_OK);
	assert_int_equal(found.size, 3);
	assert_int_equal(cl_heads_read(path, "hillside", &found, &e), CL_E_NOT_FOUND);
	assert_int_equal(cl_heads_read("/nonexistent", "riverside", &found, &e), CL_E_NOT_FOUND);

	/* Torn, then continued. */
	FILE *torn = fopen(path, "a");
	fputs("{\"at\":\"20", torn);
	fclose(torn);
	assert_int_equal(cl_heads_open(path, &heads, &e), CL_OK);
	head = head_of("riverside", 9, 9);
	assert_int_equal(cl_heads_append(heads, &head, 0, &e), CL_OK);
	cl_heads_close(heads);
	assert_int_equal(cl_heads_read(path, "riverside", &found, &e), CL_OK);
	assert_int_equal(found.size, 9);

	/* Every byte but those of the last line is held by the chain. */
	FILE *whole = fopen(path, "r");
	char text[8192];
	size_t n = fread(text, 1, sizeof text - 1, whole);
	fclose(whole);
	text[n] = '\0';
	text[n - 1] = '\0';
	long last = strrchr(text, '\n') - text;
	for (long i = 0; i < last; i += 3) {
		change_byte(path, i);
		if (cl_heads_read(path, "riverside", &found, &e) != CL_E_CORRUPT)
			fail_msg("byte %ld may be changed", i);
		change_byte(path, i);
	}
	assert_int_equal(cl_heads_read(path, "riverside", &found, &e), CL_OK);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(one_long_call_is_stuck),
	        cmocka_unit_test(many_short_calls_are_not),
	        cmocka_unit_test(a_suspended_machine_is_not),
	        cmocka_unit_test(a_stalled_disk_is_warned_about),
	        cmocka_unit_test(the_second_crash_is_quarantined),
	        cmocka_unit_test(quarantine_lets_the_oldest_go),
	        cmocka_unit_test(a_corrupt_page_does_no_harm),
	        cmocka_unit_test(back_off_doubles_to_ten_seconds),
	        cmocka_unit_test(heads_are_chained),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
