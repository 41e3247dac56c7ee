/* base_json_test.c: what the JSON reader accepts, refuses and says; editing, comparing and writing. */
#include "base/clock.h"
#include "base/json.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct cl_arena *arena;
static struct cl_err error;

static int set_up(void **state)
{
	(void)state;
	arena = cl_arena_new(0);
	memset(&error, 0, sizeof error);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cl_arena_free(arena);
	return 0;
}

/* From a heap copy without a byte to spare, so that the sanitizer sees a read past the end. */
static int parse_exactly(struct cl_str text, const struct cl_json_limits *limits, struct cl_json **out)
{
	char *tight = malloc(text.n ? text.n : 1);
	if (text.n)
		memcpy(tight, text.p, text.n);
	int rc = cl_json_parse(arena, (struct cl_str){tight, text.n}, limits, out, &error);
	if (rc == 0)
		*out = cl_json_copy(arena, *out);
	free(tight);
	return rc;
}

static struct cl_json *parse(const char *text)
{
	struct cl_json *value;
	if (parse_exactly(cl_str_of(text), NULL, &value) != 0)
		fail_msg("%s: %s", text, error.message);
	return value;
}

static void refuse(const char *text, int code)
{
	struct cl_json *value;
	int rc = parse_exactly(cl_str_of(text), NULL, &value);
	if (rc != code)
		fail_msg("%s: %d instead of %d", text, rc, code);
	assert_null(value);
	assert_int_equal(error.code, code);
	assert_true(error.message[0] != 0);
}

static const char *written(const struct cl_json *value)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_write(&out, value);
	const char *text = cl_arena_cstring(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	return text;
}

static void assert_text(const struct cl_json *value, const char *expected)
{
	assert_non_null(value);
	assert_int_equal(value->kind, CL_JSON_STRING);
	assert_string_equal(cl_arena_cstring(arena, value->text), expected);
}

static void test_accepts(void **state)
{
	static const char *const texts[] = {
	        "null",
	        "true",
	        "false",
	        "0",
	        "-0",
	        "1.50",
	        "-12.5e+10",
	        "1E400",
	        "\"\"",
	        "[]",
	        "{}",
	        " [ ] ",
	        "\t{\r\n} ",
	        "[[],{}]",
	        "{\"\":0}",
	        "[1,2,3]",
	        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
	        "\"\\uD83D\\uDE00\"",
	        "\"\x7f\"",
	        "{\"a\":{\"a\":1},\"A\":2}",
	        "\"\xf4\x8f\xbf\xbf\"",
	        "\"\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\"",
	};
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		parse(texts[i]);
}

static void test_refuses(void **state)
{
	static const char *const texts[] = {
	        "",
	        " ",
	        "nul",
	        "True",
	        "NaN",
	        "Infinity",
	        "-",
	        "+1",
	        "01",
	        "-01",
	        "1.",
	        ".5",
	        "1.e1",
	        "1e",
	        "1e+",
	        "0x1",
	        "[",
	        "[1",
	        "[1,",
	        "[1,]",
	        "[,1]",
	        "[1 2]",
	        "]",
	        "{",
	        "{\"a\"",
	        "{\"a\":",
	        "{\"a\":1",
	        "{\"a\":1,",
	        "{\"a\":1,}",
	        "{a:1}",
	        "{'a':1}",
	        "{\"a\" 1}",
	        "{1:1}",
	        "{,}",
	        "[}",
	        "{]",
	        "1 2",
	        "{}{}",
	        "\"",
	        "\"a",
	        "\"\\",
	        "\"\\\"",
	        "\"\\x\"",
	        "\"\\u12\"",
	        "\"\\u12g4\"",
	        "\"\\u",
	        "\"\t\"",
	        "\"\n\"",
	        "// c\n1",
	        "1//",
	        "[1]\x0b",
	        "\xef\xbb\xbf{}",
	        "\xe2\x80\x83[]",
	        "'a'",
	        "\"\\uD800\"",
	        "\"\\uDC00\"",
	        "\"\\uD800\\uD800\"",
	        "\"\\uD800x\"",
	        "\"\\uD83D\\",
	        "\"\\uD83D\\uDE0\"",
	        "\"\\u0000\"",
	        "{\"\\u0000\":1}",
	        "\"\xff\"",
	        "\"\xc3\"",
	        "\"\xc0\x80\"",
	        "\"\xe0\x9f\xbf\"",
	        "\"\xed\xa0\x80\"",
	        "\"\xf0\x8f\xbf\xbf\"",
	        "\"\xf4\x90\x80\x80\"",
	        "\"\x80\"",
	        "\"\xe2\x82",
	        "\"12345678\xe2\x82\"",
	};
	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		refuse(texts[i], CL_E_INVALID);
	struct cl_json *value;
	assert_int_equal(parse_exactly((struct cl_str){"\"a\0b\"", 5}, NULL, &value), CL_E_INVALID);
	assert_int_equal(parse_exactly((struct cl_str){"[1]\0", 4}, NULL, &value), CL_E_INVALID);
	assert_int_equal(parse_exactly(CL_STR_NONE, NULL, &value), CL_E_INVALID);
}

static void test_truncations(void **state)
{
	const char *text = "{\"a\\u00e9\":[1.5e3,true,null,\"\xc3\xa9\\n\"],\"b\":{}}";
	struct cl_json *value;
	(void)state;
	parse(text);
	for (size_t n = 0; n < strlen(text); n++)
		assert_int_equal(parse_exactly((struct cl_str){text, n}, NULL, &value), CL_E_INVALID);
}

static void test_decodes(void **state)
{
	(void)state;
	assert_text(parse("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""), "\"\\/\b\f\n\r\t");
	assert_text(parse("\"a\\u00e9b\\u20AC\\uD83D\\uDE00\\u007f\\u0800\\uffff\""),
	            "a\xc3\xa9"
	            "b\xe2\x82\xac\xf0\x9f\x98\x80\x7f\xe0\xa0\x80\xef\xbf\xbf");
	/* Every place of the special byte within the eight that are looked at together. */
	for (int before = 0; before < 20; before++) {
		char text[64], expected[64];
		memset(text, 'x', sizeof text);
		text[0] = '"';
		memcpy(text + 1 + before, "\\n\xc3\xa9yz\"", 8);
		memset(expected, 'x', sizeof expected);
		memcpy(expected + before, "\n\xc3\xa9yz", 6);
		assert_text(parse(text), expected);
		text[1 + before] = '\x1f';
		refuse(text, CL_E_INVALID);
	}
}

static void test_tree(void **state)
{
	(void)state;
	struct cl_json *task = parse("{\"resourceType\":\"Task\",\"n\":12.50,\"ok\":true,\"no\":false,\"nil\":null,"
	                             "\"code\":{\"coding\":[{\"code\":\"a\"},{\"code\":\"b\"}]}}");
	assert_int_equal(task->count, 6);
	assert_string_equal(cl_arena_cstring(arena, task->members[0].name), "resourceType");
	assert_true(cl_str_is(cl_json_get_text(task, "resourceType"), "Task"));
	assert_true(cl_str_is(cl_json_get_text(task, "n"), "12.50"));
	assert_int_equal(cl_json_get_text(task, "ok").n, 0);
	assert_int_equal(cl_json_get_text(task, "absent").n, 0);
	assert_true(cl_json_is_true(cl_json_get(task, "ok")));
	assert_false(cl_json_is_true(cl_json_get(task, "no")));
	assert_false(cl_json_is_true(NULL));
	assert_int_equal(cl_json_get(task, "nil")->kind, CL_JSON_NULL);
	assert_text(cl_json_path(task, "code", "coding", "1", "code", NULL), "b");
	assert_null(cl_json_path(task, "code", "coding", "2", "code", NULL));
	assert_null(cl_json_path(task, "code", "coding", "x", NULL));
	assert_null(cl_json_path(task, "code", "coding", "", NULL));
	assert_null(cl_json_path(task, "n", "x", NULL));
	assert_ptr_equal(cl_json_path(task, NULL), task);
	assert_null(cl_json_path(NULL, "a", NULL));
	assert_null(cl_json_get(NULL, "a"));
	assert_null(cl_json_get(cl_json_get(task, "n"), "a"));
}

static void test_offsets(void **state)
{
	struct cl_str text = CL_STR("{\n  \"a\": 1,\n  \"\xc3\xa9\": [true, \"x\"]\n}");
	struct cl_json *root;
	int line, column;
	(void)state;
	assert_int_equal(cl_json_parse(arena, text, NULL, &root, &error), 0);
	cl_json_place(text, cl_json_path(root, "\xc3\xa9", "1", NULL)->offset, &line, &column);
	assert_int_equal(line, 3);
	assert_int_equal(column, 15); /* characters, not bytes */
	cl_json_place(text, root->offset, &line, &column);
	assert_int_equal(line, 1);
	assert_int_equal(column, 1);
	cl_json_place(text, 1000000, &line, &column);
	assert_int_equal(line, 4);
	/* Without escapes nothing is copied. */
	const char *name = root->members[0].name.p;
	assert_true(name > text.p && name < text.p + text.n);
}

static void test_messages(void **state)
{
	static const struct {
		const char *text;
		int line, column;
		const char *message;
	} cases[] = {
	        {"{\"a\":1x}", 1, 7, "unexpected character 'x' after an object member; expected ',' or '}'"},
	        {"[1,\n 2\n 3]", 3, 2, "unexpected character '3' after an array element; expected ',' or ']'"},
	        {"[1,]", 1, 4, "unexpected character ']' as an array element; expected a value"},
	        {"{\"a\":1,}", 1, 8,
	         "unexpected character '}' after ',' in an object; expected a member name in double quotes"},
	        {"{\"a\":1", 1, 7, "unexpected end of the text after an object member; expected ',' or '}'"},
	        {"[\"\xc3\xa9\", \xc3\xa9]", 1, 7,
	         "unexpected character '\xc3\xa9' as an array element; expected a value"},
	        {"\x01", 1, 1,
	         "unexpected byte 0x01 where a value should be; expected an object, array, string, number, true, false "
	         "or null"},
	        {"[01]", 1, 2, "a number must not begin with a superfluous zero"},
	        {"[\"abc", 1, 2, "a string that begins here is not closed"},
	        {"[\"a\tb\"]", 1, 4, "control character 0x09 in a string; write it as an escape (\\u0009)"},
	        {"{\"a\":1,\n\"b\":2,\"a\":3}", 2, 7, "the object has the member \"a\" twice"},
	        {"{\"a\":1,\"\\u0061\":3}", 1, 17, "the object has the member \"a\" twice"},
	        {"\xef\xbb\xbf{}", 1, 1, "the text begins with a byte order mark; send UTF-8 without one"},
	        {"[\"\\ud800\"]", 1, 3, "\\ud800 is half of a surrogate pair"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		refuse(cases[i].text, CL_E_INVALID);
		assert_string_equal(error.message, cases[i].message);
		assert_int_equal(error.line, cases[i].line);
		assert_int_equal(error.column, cases[i].column);
	}
	/* A report is optional. */
	struct cl_json *value;
	assert_int_equal(cl_json_parse(arena, CL_STR("[1,"), NULL, &value, NULL), CL_E_INVALID);
}

/* An object of `count` members named m0, m1, ...; when `twice` is not negative the last one has that number again. */
static struct cl_str numbered(int count, int twice, bool backwards)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_buf_add_byte(&out, '{');
	for (int i = 0; i < count; i++) {
		int number = backwards ? count - 1 - i : i;
		if (twice >= 0 && i == count - 1)
			number = twice;
		cl_buf_printf(&out, "%s\"m%d\":%d", i ? "," : "", number, number);
	}
	cl_buf_add_byte(&out, '}');
	struct cl_str text = cl_arena_copy(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	return text;
}

static void test_duplicates(void **state)
{
	struct cl_json *value;
	(void)state;
	for (int count = 2; count < 40; count++) {
		assert_int_equal(cl_json_parse(arena, numbered(count, -1, false), NULL, &value, &error), 0);
		assert_int_equal(value->count, count);
		for (int twice = 0; twice < count - 1; twice++) {
			struct cl_str text = numbered(count, twice, false);
			assert_int_equal(cl_json_parse(arena, text, NULL, &value, &error), CL_E_INVALID);
			/* Blamed is the second one. */
			assert_int_equal(error.column, (int)(strrchr(text.p, 'm') - text.p));
		}
	}
	refuse("{\"\":1,\"\":2}", CL_E_INVALID);
	refuse("[{\"a\":{\"b\":1,\"b\":2}}]", CL_E_INVALID);
	/* Of several the first in the text, however the names are sorted. */
	struct cl_buf many;
	cl_buf_init(&many, 0);
	for (int i = 0; i < 60; i++)
		cl_buf_printf(&many, "%c\"m%02d\":0", i ? ',' : '{', i % 30);
	cl_buf_add_byte(&many, '}');
	assert_int_equal(cl_json_parse(arena, cl_buf_str(&many), NULL, &value, &error), CL_E_INVALID);
	assert_string_equal(error.message, "the object has the member \"m00\" twice");
	assert_int_equal(error.column, 30 * 8 + 2);
	cl_buf_free(&many);
	/* 200,000 members must not take a quadratic time: that would be minutes. */
	int64_t start = cl_thread_cpu();
	assert_int_equal(cl_json_parse(arena, numbered(200000, -1, false), NULL, &value, &error), 0);
	assert_int_equal(cl_json_parse(arena, numbered(200000, 77777, false), NULL, &value, &error), CL_E_INVALID);
	assert_true(cl_thread_cpu() - start < 5 * CL_SECOND);
}

static void test_limits(void **state)
{
	struct cl_json *value;
	char text[300];
	(void)state;
	struct cl_json_limits limits = {.depth = 3, .nodes = 5};
	assert_int_equal(cl_json_parse(arena, CL_STR("[[[]]]"), &limits, &value, &error), 0);
	assert_int_equal(cl_json_parse(arena, CL_STR("[[[[]]]]"), &limits, &value, &error), CL_E_TOO_LARGE);
	assert_int_equal(error.column, 4);
	assert_int_equal(cl_json_parse(arena, CL_STR("[1,[],{\"a\":1}]"), &limits, &value, &error), 0);
	assert_int_equal(cl_json_parse(arena, CL_STR("[1,[],{\"a\":1},2]"), &limits, &value, &error), CL_E_TOO_LARGE);
	/* Siblings are not deeper than each other. */
	assert_int_equal(cl_json_parse(arena, CL_STR("[[1],[[2]]]"), &(struct cl_json_limits){3, 9}, &value, &error),
	                 0);
	/* Defaults, also for zero. */
	memset(text, '[', 65);
	memset(text + 65, ']', 65);
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text + 1, 128}, NULL, &value, &error), 0);
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text, 130}, NULL, &value, &error), CL_E_TOO_LARGE);
	limits = (struct cl_json_limits){0, 0};
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text, 130}, &limits, &value, &error), CL_E_TOO_LARGE);
}

static void test_flood(void **state)
{
	const size_t n = (size_t)16 << 20;
	char *text = malloc(n);
	struct cl_json *value;
	(void)state;
	text[0] = '[';
	for (size_t i = 1; i + 3 <= n; i += 3)
		memcpy(text + i, "{},", 3);
	int64_t start = cl_thread_cpu();
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text, n}, NULL, &value, &error), CL_E_TOO_LARGE);
	assert_true(cl_thread_cpu() - start < 2 * CL_SECOND);
	assert_true(cl_arena_used(arena) < 1024);
	/* Deep nesting, without closing brackets. */
	memset(text, '[', n);
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text, n}, NULL, &value, &error), CL_E_TOO_LARGE);
	/* One string of 16 MiB, and one of as many escapes. */
	memset(text, 'a', n);
	text[0] = text[n - 1] = '"';
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text, n}, NULL, &value, &error), 0);
	assert_true(cl_arena_used(arena) < 4096);
	for (size_t i = 1; i + 3 <= n; i += 2)
		memcpy(text + i, "\\n", 2);
	assert_int_equal(cl_json_parse(arena, (struct cl_str){text, n}, NULL, &value, &error), 0);
	assert_int_equal(value->text.n, (n - 2) / 2);
	free(text);
}

static void test_memory(void **state)
{
	struct cl_json *value;
	(void)state;
	/* 10,000 numbers: 32 bytes each and little more. */
	struct cl_buf out;
	cl_buf_init(&out, 0);
	for (int i = 0; i < 10000; i++)
		cl_buf_printf(&out, "%c%d", i ? ',' : '[', i);
	cl_buf_add_byte(&out, ']');
	assert_int_equal(cl_json_parse(arena, cl_buf_str(&out), NULL, &value, &error), 0);
	assert_int_equal(value->count, 10000);
	for (int i = 0; i < 10000; i++) {
		int64_t number;
		assert_int_equal(cl_json_integer(&value->items[i], &number), 1);
		assert_int_equal(number, i);
	}
	assert_in_range(cl_arena_used(arena), 320000, 330000);
	struct cl_arena *small = cl_arena_new(100000);
	assert_int_equal(cl_json_parse(small, cl_buf_str(&out), NULL, &value, &error), CL_E_TOO_LARGE);
	assert_null(value);
	cl_arena_free(small);
	cl_buf_free(&out);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		int fits;
		int64_t number;
	} cases[] = {
	        {"0", 1, 0},
	        {"-0", 1, 0},
	        {"-17", 1, -17},
	        {"9223372036854775807", 1, INT64_MAX},
	        {"-9223372036854775808", 1, INT64_MIN},
	        {"9223372036854775808", 0, 0},
	        {"-9223372036854775809", 0, 0},
	        {"99999999999999999999999", 0, 0},
	        {"1.0", 0, 0},
	        {"1e2", 0, 0},
	        {"\"1\"", 0, 0},
	        {"true", 0, 0},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int64_t number = 0;
		assert_int_equal(cl_json_integer(parse(cases[i].text), &number), cases[i].fits);
		assert_int_equal(number, cases[i].number);
	}
	int64_t unused;
	assert_int_equal(cl_json_integer(NULL, &unused), 0);
	assert_true(cl_json_double(parse("1.25e2"), 0) == 125.0);
	assert_true(
	        cl_json_double(parse("0.1000000000000000055511151231257827021181583404541015625000000000000000000000"),
	                       0) == 0.1);
	assert_true(cl_json_double(parse("1e999"), 7) == 7);
	assert_true(cl_json_double(parse("\"1\""), 7) == 7);
	assert_true(cl_json_double(NULL, 7) == 7);
}

static void test_edits(void **state)
{
	(void)state;
	struct cl_json *root = parse("{\"a\":1,\"b\":[1],\"c\":\"x\"}");
	cl_json_set_text(arena, root, "a", CL_STR("new"));
	cl_json_set_integer(arena, root, "d", INT64_MIN);
	cl_json_set_boolean(arena, root, "e", true);
	cl_json_set_boolean(arena, root, "f", false);
	cl_json_append_text(arena, cl_json_set_array(arena, root, "g"), CL_STR("y"));
	cl_json_set_text(arena, cl_json_set_object(arena, root, "h"), "i", CL_STR(""));
	cl_json_append(arena, cl_json_get(root, "b"));
	assert_string_equal(written(root),
	                    "{\"a\":\"new\",\"b\":[1,null],\"c\":\"x\",\"d\":-9223372036854775808,\"e\":true,"
	                    "\"f\":false,\"g\":[\"y\"],\"h\":{\"i\":\"\"}}");
	assert_true(cl_json_remove(root, "b"));
	assert_false(cl_json_remove(root, "b"));
	assert_true(cl_json_remove(root, "h"));
	assert_true(cl_json_remove(root, "a"));
	assert_false(cl_json_remove(cl_json_get(root, "c"), "x"));
	assert_string_equal(written(root),
	                    "{\"c\":\"x\",\"d\":-9223372036854775808,\"e\":true,\"f\":false,\"g\":[\"y\"]}");
	/* What cl_json_set returns is null, whatever stood there. */
	assert_int_equal(cl_json_set(arena, root, CL_STR("c"))->kind, CL_JSON_NULL);
	/* Texts are copied: the caller's may go. */
	char text[] = "short-lived";
	cl_json_set_text(arena, root, "t", cl_str_of(text));
	memset(text, 'z', sizeof text);
	assert_text(cl_json_get(root, "t"), "short-lived");

	struct cl_json *array = cl_json_new(arena, CL_JSON_ARRAY);
	for (int i = 0; i < 1000; i++)
		cl_json_append_text(arena, array, cl_arena_printf(arena, "%d", i));
	assert_int_equal(array->count, 1000);
	assert_text(&array->items[999], "999");
	struct cl_json *object = cl_json_new(arena, CL_JSON_OBJECT);
	for (int i = 0; i < 1000; i++)
		cl_json_set_integer(arena, object, cl_arena_printf(arena, "n%d", i).p, i);
	assert_int_equal(object->count, 1000);
	assert_true(cl_str_is(cl_json_get_text(object, "n998"), "998"));
}

static void test_copy(void **state)
{
	(void)state;
	struct cl_arena *other = cl_arena_new(0);
	const char *text = "{\"a\":[1,{\"b\":\"x\\ny\"}],\"c\":null,\"d\":{},\"e\":[],\"f\":\"\"}";
	char *source = strdup(text);
	struct cl_json *value, *copy;
	assert_int_equal(cl_json_parse(other, cl_str_of(source), NULL, &value, &error), 0);
	copy = cl_json_copy(arena, value);
	assert_true(cl_json_equal(copy, value));
	cl_json_set_text(arena, cl_json_get(copy, "d"), "x", CL_STR("y"));
	assert_int_equal(cl_json_get(value, "d")->count, 0);
	/* A copy has no room to spare, although what it was made of had. */
	struct cl_json *roomy = cl_json_new(arena, CL_JSON_ARRAY);
	cl_json_append_text(arena, roomy, CL_STR("x"));
	struct cl_json *tight = cl_json_copy(arena, roomy);
	struct cl_str neighbour = cl_arena_copy(arena, CL_STR("neighbour"));
	cl_json_append_text(arena, tight, CL_STR("y"));
	assert_string_equal(neighbour.p, "neighbour");
	assert_string_equal(written(tight), "[\"x\",\"y\"]");
	cl_arena_free(other);
	memset(source, 'z', strlen(source));
	free(source);
	assert_string_equal(written(copy),
	                    "{\"a\":[1,{\"b\":\"x\\ny\"}],\"c\":null,\"d\":{\"x\":\"y\"},\"e\":[],\"f\":\"\"}");
}

static void test_equal(void **state)
{
	static const struct {
		const char *a, *b;
		bool equal;
	} cases[] = {
	        {"1", "1", true},
	        {"1", "1.0", false},
	        {"1", "\"1\"", false},
	        {"\"\\u0041\"", "\"A\"", true},
	        {"[1,2]", "[1,2]", true},
	        {"[1,2]", "[2,1]", false},
	        {"[1]", "[1,2]", false},
	        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
	        {"{\"a\":1,\"b\":2}", "{\"b\":1,\"a\":2}", false},
	        {"{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}", false},
	        {"{\"a\":1}", "{\"a\":1,\"b\":2}", false},
	        {"null", "false", false},
	        {"{}", "[]", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(cl_json_equal(parse(cases[i].a), parse(cases[i].b)), cases[i].equal);
	assert_true(cl_json_equal(NULL, NULL));
	assert_false(cl_json_equal(parse("1"), NULL));
	/* Large objects in other orders, in less than quadratic time. */
	struct cl_json *a, *b;
	int64_t start = cl_thread_cpu();
	assert_int_equal(cl_json_parse(arena, numbered(100000, -1, false), NULL, &a, &error), 0);
	assert_int_equal(cl_json_parse(arena, numbered(100000, -1, true), NULL, &b, &error), 0);
	assert_true(cl_json_equal(a, b));
	cl_json_get(b, "m5")->kind = CL_JSON_TRUE;
	assert_false(cl_json_equal(a, b));
	assert_true(cl_thread_cpu() - start < 5 * CL_SECOND);
}

static void test_writes(void **state)
{
	(void)state;
	/* White space goes, everything else stays as written. */
	assert_string_equal(
	        written(parse(" { \"z\" : [ 1.50 , -0, 1E+2, true , false , null ] , \"a\" : { } , \"e\":[] } ")),
	        "{\"z\":[1.50,-0,1E+2,true,false,null],\"a\":{},\"e\":[]}");
	/* Only what must be escaped is. */
	assert_string_equal(written(parse("\"\\u0001\\b\\f\\n\\r\\t\\u001f\\\"\\\\\\/\\u00e9\\u007f\\u2028\"")),
	                    "\"\\u0001\\b\\f\\n\\r\\t\\u001f\\\"\\\\/\xc3\xa9\x7f\xe2\x80\xa8\"");
	for (int before = 0; before < 20; before++) {
		char text[32];
		memset(text, 'x', sizeof text);
		memcpy(text + before, "\xc3\xa9\"y\n", 6);
		struct cl_buf out;
		cl_buf_init(&out, 0);
		cl_json_write_text(&out, cl_str_of(text));
		struct cl_json *again;
		assert_int_equal(cl_json_parse(arena, cl_buf_str(&out), NULL, &again, &error), 0);
		assert_true(cl_str_is(again->text, text));
		assert_int_equal(out.n, strlen(text) + 4);
		cl_buf_free(&out);
	}
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_write_pretty(&out, parse("{\"a\":[1,{\"b\":2}],\"c\":{},\"d\":[]}"));
	assert_string_equal(cl_arena_cstring(arena, cl_buf_str(&out)), "{\n"
	                                                               "  \"a\": [\n"
	                                                               "    1,\n"
	                                                               "    {\n"
	                                                               "      \"b\": 2\n"
	                                                               "    }\n"
	                                                               "  ],\n"
	                                                               "  \"c\": {},\n"
	                                                               "  \"d\": []\n"
	                                                               "}");
	cl_buf_free(&out);
	cl_buf_init(&out, 10);
	cl_json_write(&out, parse("[\"longer than ten bytes\"]"));
	assert_true(out.overflow);
	assert_true(out.n <= 10);
	cl_buf_free(&out);
}

static struct cl_str read_whole(const char *path)
{
	FILE *file = fopen(path, "rb");
	assert_non_null(file);
	struct cl_buf text;
	cl_buf_init(&text, 0);
	for (size_t got; (got = fread(cl_buf_reserve(&text, 65536), 1, 65536, file)) > 0;)
		text.n += got;
	fclose(file);
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

/* JSONTestSuite leaves duplicate names and U+0000 to the application; Careloop refuses both (json.h). */
static bool refused_on_purpose(const char *name)
{
	return strcmp(name, "y_object_duplicated_key.json") == 0 ||
	       strcmp(name, "y_object_duplicated_key_and_value.json") == 0 ||
	       strcmp(name, "y_string_null_escape.json") == 0 || strcmp(name, "y_object_escaped_null_in_key.json") == 0;
}

static void test_suite(void **state)
{
	const char *folder = CL_SOURCE_DIR "/../shared/data/json-test-suite/test_parsing";
	DIR *directory = opendir(folder);
	int run = 0;
	(void)state;
	if (!directory)
		skip();
	for (struct dirent *entry; (entry = readdir(directory));) {
		char path[1024];
		struct cl_json *value;
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		int rc = parse_exactly(read_whole(path), NULL, &value);
		bool wanted = entry->d_name[0] == 'y' && !refused_on_purpose(entry->d_name);
		if (entry->d_name[0] != 'i' && (rc == 0) != wanted)
			fail_msg("%s: %d %s", entry->d_name, rc, error.message);
		if (rc == 0) {
			struct cl_json *again;
			assert_int_equal(cl_json_parse(arena, cl_str_of(written(value)), NULL, &again, &error), 0);
			assert_true(cl_json_equal(value, again));
		}
		run++;
	}
	closedir(directory);
	assert_true(run > 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_accepts, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_refuses, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_truncations, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_decodes, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_tree, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_offsets, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_messages, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_duplicates, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_flood, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_numbers, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_edits, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_copy, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_equal, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_writes, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_suite, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
