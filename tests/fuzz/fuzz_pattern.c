/* fuzz_pattern.c: any pattern on any text ends within its steps, and what it finds lies within the text. First byte: length of
 * the pattern, which comes next; the rest is text. */
#include "org/lua/pattern.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_captures(const struct cl_pattern *m)
{
	must(m->level <= CL_PATTERN_CAPTURES);
	for (unsigned i = 0; i < m->level; i++) {
		const struct cl_capture *capture = &m->captures[i];
		must(capture->start >= m->text && capture->start <= m->text_end);
		must(capture->length >= CL_CAPTURE_POSITION && capture->length <= m->text_end - capture->start);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	size_t length = data[0] < size ? data[0] : size - 1;
	/* Copies, so that a byte too far is seen. */
	char *pattern = malloc(length + 1), *text = malloc(size - 1 - length + 1);
	for (size_t i = 0; i < length; i++)
		pattern[i] = (char)data[1 + i];
	size_t n = size - 1 - length;
	for (size_t i = 0; i < n; i++)
		text[i] = (char)data[1 + length + i];
	char *exact_pattern = realloc(pattern, length ? length : 1), *exact_text = realloc(text, n ? n : 1);
	struct cl_pattern m = {
	        .text = exact_text,
	        .text_end = exact_text + n,
	        .pattern = exact_pattern,
	        .pattern_end = exact_pattern + length,
	        .steps = 20000,
	};
	for (const char *at = m.text; at <= m.text_end && !m.problem; at++) {
		cl_pattern_restart(&m);
		const char *end = cl_pattern_match(&m, at);
		must(m.problem ? end == NULL : m.steps >= 0);
		if (end) {
			must(end >= at && end <= m.text_end);
			check_captures(&m);
		}
		must(m.depth == 0 || m.problem);
	}
	cl_pattern_is_plain(exact_pattern, length);
	free(exact_pattern);
	free(exact_text);
	return 0;
}
