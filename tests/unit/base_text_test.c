/* base_text_test.c: UTF-8 validation and folding, cl_str, and the log's one safe line an event. */
#include "base/date.h"
#include "base/log.h"
#include "base/utf8.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static void test_strings(void **state)
{
	(void)state;
	assert_true(cl_str_equal(CL_STR_NONE, CL_STR("")));
	assert_true(cl_str_is(CL_STR("abc"), "abc"));
	assert_false(cl_str_is(CL_STR("abc"), "ab"));
	assert_true(cl_str_starts(CL_STR("abc"), "ab"));
	assert_false(cl_str_starts(CL_STR("a"), "ab"));
	assert_true(cl_str_compare(CL_STR("a"), CL_STR("ab")) < 0);
	assert_true(cl_str_compare(CL_STR("b"), CL_STR("ab")) > 0);
	assert_true(cl_str_compare(CL_STR("\xff"), CL_STR("a")) > 0);
	assert_int_equal(cl_str_compare(CL_STR("ab"), CL_STR("ab")), 0);
}

static bool valid(const char *bytes, size_t n)
{
	char *tight = malloc(n ? n : 1);
	memcpy(tight, bytes, n);
	bool result = cl_utf8_valid((struct cl_str){tight, n});
	free(tight);
	return result;
}

/* What UTF-8 is, by its definition. */
static size_t encode(uint32_t c, char *out)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}

static void test_valid_utf8(void **state)
{
	char text[32];
	(void)state;
	assert_true(cl_utf8_valid(CL_STR_NONE));
	for (uint32_t c = 0; c < 0x120000; c++) {
		size_t n = encode(c, text);
		bool expected = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
		if (cl_utf8_valid((struct cl_str){text, n}) != expected)
			fail_msg("U+%04X", c);
	}
	/* All pairs of bytes: exactly ASCII pairs and the two-byte characters are valid. */
	for (int a = 0; a < 256; a++)
		for (int b = 0; b < 256; b++) {
			text[0] = (char)a;
			text[1] = (char)b;
			bool expected = (a < 0x80 && b < 0x80) || (a >= 0xc2 && a < 0xe0 && b >= 0x80 && b < 0xc0);
			assert_int_equal(cl_utf8_valid((struct cl_str){text, 2}), expected);
		}
	/* Overlong forms of U+0000 and U+007F and U+FFFF. */
	assert_false(valid("\xc0\x80", 2));
	assert_false(valid("\xc1\xbf", 2));
	assert_false(valid("\xe0\x80\x80", 3));
	assert_false(valid("\xe0\x9f\xbf", 3));
	assert_false(valid("\xf0\x8f\xbf\xbf", 4));
	assert_false(valid("\xf8\x88\x80\x80\x80", 5));
	/* A wrong byte or a cut character at every place around the eight that are looked at together. */
	for (size_t before = 0; before < 20; before++) {
		memset(text, 'x', sizeof text);
		assert_true(valid(text, before + 4));
		text[before] = '\x80';
		assert_false(valid(text, before + 4));
		memcpy(text + before, "\xf0\x9f\x98\x80", 4);
		assert_true(valid(text, before + 4));
		for (size_t cut = 1; cut < 4; cut++)
			assert_false(valid(text, before + cut));
	}
}

static void assert_fold(const char *text, const char *expected)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str folded = cl_utf8_fold(arena, cl_str_of(text));
	if (!cl_str_is(folded, expected))
		fail_msg("\"%s\" became \"%.*s\", not \"%s\"", text, CL_STR_ARGS(folded), expected);
	assert_true(cl_utf8_valid(folded));
	/* Folding what is folded changes nothing. */
	assert_true(cl_str_equal(cl_utf8_fold(arena, folded), folded));
	cl_arena_free(arena);
}

static void test_folding(void **state)
{
	(void)state;
	assert_fold("", "");
	assert_fold("Smith", "smith");
	assert_fold("  Mary \t\n Ann  ", "mary ann");
	assert_fold("Ñandú  X", "nandu x");
	assert_fold("N\xcc\x83"
	            "andu", /* combining tilde */
	            "nandu");
	assert_fold("Łukasz Ørsted Đorđević", "lukasz orsted dordevic");
	assert_fold("Weiß STRASSE", "weiss strasse");
	assert_fold("ΣΊΣΥΦΟΣ", "σισυφοσ");
	assert_fold("Ёлкин", "елкин");
	assert_fold("İstanbul", "istanbul");
	assert_fold("ﬁne", "fine");
	assert_fold("Ａｎｎ", "ann");
	assert_fold("a\u00a0\u2003b\u3000", "a b");
	assert_fold("Nguyễn Thị Hồng", "nguyen thi hong");
	assert_fold(" \u00a0\u00c9 ", "e");
	assert_fold("soft\u00adhyphen", "softhyphen");
	/* Vowel signs are letters' other halves, not accents: these two names differ. */
	assert_fold("हिन्दी", "हिन्दी");
	assert_fold("مُحَمَّد", "محمد");
	assert_fold("\xff"
	            "A\xc3",
	            "\xef\xbf\xbd"
	            "a\xef\xbf\xbd");
	struct cl_arena *arena = cl_arena_new(0);
	assert_int_equal(cl_utf8_fold(arena, CL_STR_NONE).n, 0);
	assert_true(cl_str_equal(cl_utf8_fold(arena, (struct cl_str){"A\0B", 3}), (struct cl_str){"a\0b", 3}));
	/* The longest decomposition there is. */
	assert_true(cl_utf8_fold(arena, CL_STR("\xef\xb7\xba")).n > 20);
	cl_arena_free(arena);
}

/* What `write_lines` sends to standard error. The caller frees it. */
static char *captured(void (*write_lines)(void))
{
	char path[] = "/tmp/careloop-log-test-XXXXXX";
	int file = mkstemp(path), standard_error = dup(STDERR_FILENO);
	assert_true(file >= 0);
	unlink(path);
	dup2(file, STDERR_FILENO);
	write_lines();
	dup2(standard_error, STDERR_FILENO);
	close(standard_error);
	off_t n = lseek(file, 0, SEEK_END);
	char *text = calloc(1, (size_t)n + 1);
	assert_int_equal(pread(file, text, (size_t)n, 0), n);
	close(file);
	return text;
}

static void write_some(void)
{
	char longest[2000];
	cl_log_start("org/riverside", CL_LOG_INFO);
	cl_log(CL_LOG_DEBUG, "hidden", "x=%d", 1);
	errno = ENOENT;
	cl_log(CL_LOG_INFO, "listening", "port=%d", 8443);
	assert_int_equal(errno, ENOENT);
	cl_log(CL_LOG_ERROR, "bare", NULL);
	cl_log(CL_LOG_WARNING, "forged", "id=%s", "a\n2026-01-01T00:00:00.000Z info fake\r\t\x1b[31m\x7f\xc2\x9b");
	cl_log(CL_LOG_INFO, "name", "text=%s", "\xc3\xa9");
	memset(longest, 'y', sizeof longest);
	memcpy(longest + 1990, "", 1);
	cl_log(CL_LOG_INFO, "long", "%s", longest);
	cl_log_set_level(CL_LOG_DEBUG);
	cl_log(CL_LOG_DEBUG, "shown", NULL);
	cl_log_set_level(CL_LOG_INFO);
}

static void test_log(void **state)
{
	static const char *const expected[] = {
	        "info org/riverside listening port=8443",
	        "error org/riverside bare",
	        "warning org/riverside forged id=a\\n2026-01-01T00:00:00.000Z info fake\\r\\t\\x1b[31m\\x7f\\x9b",
	        "info org/riverside name text=\xc3\xa9",
	        NULL, /* the long one */
	        "debug org/riverside shown",
	};
	(void)state;
	char *text = captured(write_some), *line = text;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		char *end = strchr(line, '\n');
		assert_non_null(end);
		*end = 0;
		assert_true(cl_is_fhir_instant((struct cl_str){line, 24}));
		assert_int_equal(line[24], ' ');
		if (expected[i])
			assert_string_equal(line + 25, expected[i]);
		else
			assert_int_equal(end + 1 - line, 1000);
		line = end + 1;
	}
	assert_string_equal(line, "");
	free(text);
	/* Also when nobody listens, errno is the caller's. */
	int standard_error = dup(STDERR_FILENO);
	close(STDERR_FILENO);
	errno = ENOENT;
	cl_log(CL_LOG_ERROR, "lost", NULL);
	int after = errno;
	dup2(standard_error, STDERR_FILENO);
	close(standard_error);
	assert_int_equal(after, ENOENT);
}

static void *write_many(void *letter)
{
	for (int i = 0; i < 200; i++)
		cl_log(CL_LOG_INFO, "many", "%s=%d", (const char *)letter, i);
	return NULL;
}

static void write_from_threads(void)
{
	pthread_t threads[4];
	static char letters[4][2] = {"a", "b", "c", "d"};
	int flags = fcntl(STDERR_FILENO, F_GETFL);
	fcntl(STDERR_FILENO, F_SETFL, flags | O_APPEND);
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, write_many, letters[i]);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static void test_log_threads(void **state)
{
	(void)state;
	char *text = captured(write_from_threads), *line = text;
	int lines = 0;
	for (char *end; (end = strchr(line, '\n')); line = end + 1, lines++)
		assert_memory_equal(line + 24, " info org/riverside many ", 25);
	assert_int_equal(lines, 800);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_strings), cmocka_unit_test(test_valid_utf8),  cmocka_unit_test(test_folding),
	        cmocka_unit_test(test_log),     cmocka_unit_test(test_log_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
