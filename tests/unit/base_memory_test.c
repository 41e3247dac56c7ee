/* base_memory_test.c: arena and buffer, the memory that everything else stands on; error reports and the clock. */
#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static bool all_zero(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static void test_arena_allocations(void **state)
{
	enum { COUNT = 3000 };
	static char *places[COUNT];
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < COUNT; i++) {
			size_t n = (size_t)(i * 7919 % 3001);
			places[i] = cl_arena_alloc(arena, n);
			assert_non_null(places[i]);
			assert_int_equal((uintptr_t)places[i] % 16, 0);
			assert_true(all_zero(places[i], n));
			memset(places[i], i | 1, n);
		}
		/* None overlaps another. */
		for (int i = 0; i < COUNT; i++) {
			size_t n = (size_t)(i * 7919 % 3001);
			for (size_t k = 0; k < n; k++)
				if (places[i][k] != (char)(i | 1))
					fail_msg("allocation %d was overwritten", i);
		}
		assert_true(cl_arena_used(arena) >= 4000000);
		cl_arena_reset(arena);
		assert_int_equal(cl_arena_used(arena), 0);
	}
	cl_arena_free(arena);
	cl_arena_free(NULL);
}

static void test_arena_reset_keeps_first_block(void **state)
{
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	char *first = cl_arena_alloc(arena, 100);
	memset(first, 'x', 100);
	cl_arena_reset(arena);
	char *again = cl_arena_alloc(arena, 100);
	assert_ptr_equal(first, again);
	assert_true(all_zero(again, 100));
	cl_arena_free(arena);
}

static void test_arena_large(void **state)
{
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	char *small = cl_arena_alloc(arena, 16);
	char *large = cl_arena_alloc(arena, 50000000);
	assert_true(all_zero(large, 50000000));
	memset(large, 'x', 50000000);
	/* A large one does not waste what is left of the block. */
	char *next = cl_arena_alloc(arena, 16);
	assert_true(next > small && next < small + 100);
	assert_true(all_zero(next, 16));
	cl_arena_free(arena);
}

static void test_arena_limit(void **state)
{
	(void)state;
	struct cl_arena *arena = cl_arena_new(1000);
	assert_non_null(cl_arena_try(arena, 600));
	assert_null(cl_arena_try(arena, 600));
	assert_non_null(cl_arena_try(arena, 300));
	assert_null(cl_arena_try(arena, 200));
	assert_null(cl_arena_try(arena, SIZE_MAX));
	assert_null(cl_arena_try(arena, SIZE_MAX - 15));
	/* What a limit elsewhere bounds is always given, and counts. */
	assert_non_null(cl_arena_alloc(arena, 2000));
	assert_null(cl_arena_try(arena, 1));
	cl_arena_reset(arena);
	assert_non_null(cl_arena_try(arena, 1000));
	cl_arena_free(arena);
	arena = cl_arena_new(0);
	assert_null(cl_arena_try(arena, SIZE_MAX));
	assert_non_null(cl_arena_try(arena, 10000000));
	cl_arena_free(arena);
}

static void test_arena_texts(void **state)
{
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	char source[] = "careloop";
	struct cl_str copy = cl_arena_copy(arena, (struct cl_str){source, 4});
	memset(source, 'z', sizeof source);
	assert_int_equal(copy.n, 4);
	assert_string_equal(copy.p, "care");
	assert_string_equal(cl_arena_copy(arena, CL_STR_NONE).p, "");
	assert_string_equal(cl_arena_cstring(arena, CL_STR("loop")), "loop");
	struct cl_str text = cl_arena_printf(arena, "%d-%s", 7, "x");
	assert_string_equal(text.p, "7-x");
	assert_int_equal(text.n, 3);
	for (int n = 500; n < 530; n++) { /* around the size that is formatted in one go */
		text = cl_arena_printf(arena, "%*d", n, 42);
		assert_int_equal(text.n, n);
		assert_string_equal(text.p + n - 3, " 42");
	}
	cl_arena_free(arena);
}

/* Runs `function` in a child and says whether it aborted. */
static bool aborts(void (*function)(void))
{
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(1);
		function();
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void allocate_absurdly(void)
{
	cl_arena_alloc(cl_arena_new(0), SIZE_MAX - 100);
}

static void run_backwards(void)
{
	struct cl_clock clock = {.is_virtual = true, .now = 10};
	cl_clock_set(&clock, 9);
}

static void set_real_clock(void)
{
	struct cl_clock clock = {.is_virtual = false};
	cl_clock_set(&clock, 9);
}

static void test_aborts(void **state)
{
	(void)state;
	assert_true(aborts(allocate_absurdly));
	assert_true(aborts(run_backwards));
	assert_true(aborts(set_real_clock));
}

static void test_buffer_grows(void **state)
{
	struct cl_buf buffer;
	(void)state;
	cl_buf_init(&buffer, 0);
	assert_int_equal(cl_buf_str(&buffer).n, 0);
	for (int i = 0; i < 100000; i++)
		cl_buf_add_byte(&buffer, (char)i);
	assert_int_equal(buffer.n, 100000);
	for (int i = 0; i < 100000; i++)
		assert_true(buffer.p[i] == (char)i);
	cl_buf_clear(&buffer);
	assert_int_equal(buffer.n, 0);
	cl_buf_add_cstring(&buffer, "ab");
	cl_buf_add_str(&buffer, CL_STR("cd"));
	cl_buf_add(&buffer, "e", 1);
	cl_buf_add(&buffer, NULL, 0);
	cl_buf_add_str(&buffer, CL_STR_NONE);
	cl_buf_printf(&buffer, "%d", 42);
	assert_true(cl_str_is(cl_buf_str(&buffer), "abcde42"));
	assert_false(buffer.overflow);
	cl_buf_consume(&buffer, 0);
	cl_buf_consume(&buffer, 2);
	assert_true(cl_str_is(cl_buf_str(&buffer), "cde42"));
	cl_buf_consume(&buffer, 5);
	assert_int_equal(buffer.n, 0);
	memcpy(cl_buf_reserve(&buffer, 1000), "xyz", 3);
	assert_int_equal(buffer.n, 0);
	buffer.n += 3;
	assert_true(cl_str_is(cl_buf_str(&buffer), "xyz"));
	cl_buf_free(&buffer);
	assert_null(buffer.p);
	cl_buf_add_cstring(&buffer, "usable again");
	assert_int_equal(buffer.n, 12);
	cl_buf_free(&buffer);
}

static void test_buffer_printf(void **state)
{
	struct cl_buf buffer;
	(void)state;
	for (int n = 0; n < 600; n += 7) {
		cl_buf_init(&buffer, 0);
		cl_buf_add_cstring(&buffer, ">");
		cl_buf_printf(&buffer, "%*s", n, "");
		cl_buf_printf(&buffer, "%s", "<");
		assert_int_equal(buffer.n, n + 2);
		assert_int_equal(buffer.p[n + 1], '<');
		cl_buf_free(&buffer);
	}
}

static void test_buffer_maximum(void **state)
{
	struct cl_buf buffer;
	(void)state;
	for (size_t maximum = 1; maximum < 600; maximum += 13) {
		cl_buf_init(&buffer, maximum);
		for (size_t i = 0; i < maximum; i++)
			cl_buf_add_byte(&buffer, 'x');
		assert_int_equal(buffer.n, maximum);
		assert_false(buffer.overflow);
		cl_buf_add_byte(&buffer, 'x');
		assert_true(buffer.overflow);
		assert_int_equal(buffer.n, maximum);
		cl_buf_free(&buffer);
	}
	cl_buf_init(&buffer, 10);
	cl_buf_add_cstring(&buffer, "12345678");
	cl_buf_add_cstring(&buffer, "9abc");
	assert_true(buffer.overflow);
	/* Nothing may follow a hole, even if it would fit. */
	cl_buf_add_cstring(&buffer, "z");
	cl_buf_printf(&buffer, "z");
	cl_buf_add_byte(&buffer, 'z');
	assert_null(cl_buf_reserve(&buffer, 1));
	assert_true(cl_str_is(cl_buf_str(&buffer), "12345678"));
	cl_buf_clear(&buffer);
	assert_false(buffer.overflow);
	cl_buf_printf(&buffer, "%s", "exactly 10");
	assert_false(buffer.overflow);
	assert_true(cl_str_is(cl_buf_str(&buffer), "exactly 10"));
	cl_buf_clear(&buffer);
	cl_buf_printf(&buffer, "%s", "more than 10");
	assert_true(buffer.overflow);
	assert_int_equal(buffer.n, 0);
	cl_buf_clear(&buffer);
	assert_null(cl_buf_reserve(&buffer, SIZE_MAX));
	cl_buf_free(&buffer);
}

static void test_errors(void **state)
{
	struct cl_err error = {0};
	char longest[600];
	(void)state;
	assert_int_equal(cl_fail(&error, CL_E_RULE, "%s\nsecond\tline", "first"), CL_E_RULE);
	assert_int_equal(error.code, CL_E_RULE);
	assert_string_equal(error.message, "first second line");
	error.line = 7;
	assert_int_equal(cl_fail_at(&error, "Task.code[%d]", 1), CL_E_RULE);
	assert_string_equal(error.where, "Task.code[1]");
	assert_int_equal(error.line, 7);
	/* A new report leaves nothing of the old one, and may quote it. */
	cl_fail(&error, CL_E_INVALID, "while reading: %s", error.message);
	assert_string_equal(error.message, "while reading: first second line");
	assert_string_equal(error.where, "");
	assert_int_equal(error.line, 0);
	assert_int_equal(cl_fail(NULL, CL_E_BUSY, "%d", 1), CL_E_BUSY);
	/* Cut between characters. */
	for (size_t shift = 0; shift < 4; shift++) {
		for (size_t i = 0; i + 4 < sizeof longest; i += 4)
			memcpy(longest + i, "\xf0\x9f\x98\x80", 5);
		memset(longest, 'x', shift);
		longest[596] = 0;
		cl_fail(&error, CL_E_RULE, "%s%s", shift ? "x" : "", longest + shift / 4);
		size_t n = strlen(error.message), characters = 0;
		assert_true(n > 470);
		for (size_t i = 0; i < n; i++)
			if (((unsigned char)error.message[i] & 0xc0) != 0x80)
				characters = i;
		if ((unsigned char)error.message[characters] >= 0xf0)
			assert_int_equal(n - characters, 4);
	}
	errno = ENOENT;
	cl_fail(&error, CL_E_IO, "%m");
	assert_string_equal(error.message, strerror(ENOENT));
	assert_int_equal(errno, ENOENT);

	assert_int_equal(cl_code_http_status(CL_OK), 200);
	assert_int_equal(cl_code_http_status(CL_E_NOT_FOUND), 404);
	assert_int_equal(cl_code_http_status(CL_E_RULE), 422);
	assert_int_equal(cl_code_http_status(CL_E_FULL), 507);
	assert_int_equal(cl_code_http_status(-9999), 500);
	assert_string_equal(cl_code_name(CL_E_NOT_FOUND), "not-found");
	/* Every code has a status of an error and a name of its own. */
	for (int code = CL_E_INVALID; code >= CL_E_CLOSED; code--) {
		assert_in_range(cl_code_http_status(code), 400, 599);
		assert_string_not_equal(cl_code_name(code), "unknown");
		for (int other = CL_E_INVALID; other > code; other--)
			assert_string_not_equal(cl_code_name(code), cl_code_name(other));
	}
}

static void test_clock(void **state)
{
	struct cl_clock clock = {.is_virtual = true, .now = 5};
	(void)state;
	assert_int_equal(cl_clock_now(&clock), 5);
	cl_clock_set(&clock, 5);
	cl_clock_set(&clock, 6 * CL_DAY);
	assert_int_equal(cl_clock_now(&clock), 518400000000);
	struct cl_clock real = {.is_virtual = false, .now = 5};
	assert_true(cl_clock_now(&real) > 1700000000 * CL_SECOND);
	int64_t monotonic = cl_monotonic(), cpu = cl_thread_cpu();
	usleep(20000);
	assert_true(cl_monotonic() - monotonic >= 20000);
	assert_true(cl_thread_cpu() - cpu < 20000); /* sleeping is not working */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_arena_allocations),
	        cmocka_unit_test(test_arena_reset_keeps_first_block),
	        cmocka_unit_test(test_arena_large),
	        cmocka_unit_test(test_arena_limit),
	        cmocka_unit_test(test_arena_texts),
	        cmocka_unit_test(test_aborts),
	        cmocka_unit_test(test_buffer_grows),
	        cmocka_unit_test(test_buffer_printf),
	        cmocka_unit_test(test_buffer_maximum),
	        cmocka_unit_test(test_errors),
	        cmocka_unit_test(test_clock),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
