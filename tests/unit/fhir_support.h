/* fhir_support.h: what the tests of core/org/fhir share: an arena for each test, fixtures, JSON written with ' for
 * ". */
#pragma once
#include "base/date.h"
#include "base/json.h"
#include "org/fhir/issue.h"
#include "org/fhir/types.h"
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#ifndef CL_SOURCE_DIR
#define CL_SOURCE_DIR "."
#endif

static struct cl_arena *arena;
static struct cl_err error;

static inline int set_up(void **state)
{
	(void)state;
	arena = cl_arena_new(0);
	memset(&error, 0, sizeof error);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	cl_arena_free(arena);
	return 0;
}

/* The whole output of a command, or of a file with `cat`; empty when it cannot be run. */
static inline struct cl_str slurp(FILE *file)
{
	struct cl_buf buffer;
	cl_buf_init(&buffer, 0);
	for (;;) {
		char *room = cl_buf_reserve(&buffer, 65536);
		size_t n = fread(room, 1, 65536, file);
		if (n == 0)
			break;
		buffer.n += n;
	}
	struct cl_str text = cl_arena_copy(arena, cl_buf_str(&buffer));
	cl_buf_free(&buffer);
	return text;
}

static inline struct cl_str read_path(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		return CL_STR_NONE;
	struct cl_str text = slurp(file);
	fclose(file);
	return text;
}

static inline struct cl_json *parse_text(struct cl_str text)
{
	struct cl_json *value = NULL;
	if (cl_json_parse(arena, text, NULL, &value, &error))
		fail_msg("%s in %.80s", error.message, text.p);
	return value;
}

/* A copy of `quoted` with every ' turned into ". */
static inline struct cl_str quotes(const char *quoted)
{
	char *text = cl_arena_cstring(arena, cl_str_of(quoted));
	for (char *p = text; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	return cl_str_of(text);
}

static inline struct cl_json *parse(const char *quoted)
{
	return parse_text(quotes(quoted));
}

static inline struct cl_json *fixture(const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s/tests/unit/fixtures/fhir/%s.json", CL_SOURCE_DIR, name);
	struct cl_str text = read_path(path);
	assert_true(text.n > 0);
	return parse_text(text);
}

static inline void assert_text(struct cl_str found, const char *expected)
{
	if (!cl_str_is(found, expected))
		fail_msg("expected \"%s\", found \"%.*s\"", expected, CL_STR_ARGS(found));
}
