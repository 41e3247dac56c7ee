/* pattern.h: Lua's patterns, matched within a budget of steps: what string.find, match, gmatch and gsub are made of. Plain C
 * that never raises an error, so that it can be fuzzed alone. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CL_PATTERN_CAPTURES 32
#define CL_PATTERN_DEPTH 200 /* nested decisions: bounds the C stack */
#define CL_PATTERN_TEXT (64 * 1024) /* bytes of text that a pattern may be tried on */
#define CL_PATTERN_LENGTH 256 /* bytes of a pattern */

#define CL_CAPTURE_OPEN (-1) /* "(" without its ")" so far */
#define CL_CAPTURE_POSITION (-2) /* "()": stands for a place */

struct cl_capture {
	const char *start;
	ptrdiff_t length; /* or one of the two above */
};

/* Borrows text and pattern. Set those and `steps`, zero the rest. */
struct cl_pattern {
	const char *text, *text_end;
	const char *pattern, *pattern_end; /* without the anchor "^" */
	int64_t steps; /* left; about one for each character looked at */
	const char *
	        problem; /* why matching stopped for good: a sentence with at most one %d for `problem_number`; NULL so far */
	int problem_number;
	bool exhausted; /* the problem is that the steps were used up */
	unsigned depth;
	unsigned level; /* captures so far */
	struct cl_capture captures[CL_PATTERN_CAPTURES];
};

/* Tries to match right at `at`; the end of the match, or NULL when there is none or `problem` was set. Call
 * cl_pattern_restart before the next try on the same text. */
const char *cl_pattern_match(struct cl_pattern *pattern, const char *at);
void cl_pattern_restart(struct cl_pattern *pattern);
/* True when the text is a plain one: none of ^$*+?.([%- in it. */
bool cl_pattern_is_plain(const char *pattern, size_t n);
