/* fuzz_command.c: console lines and answers: parsed, completed and printed without harm to memory or to the
 * terminal. */
#include "base/utf8.h"
#include "console/line.h"
#include "console/table.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_line(struct cl_arena *arena, struct cl_str text)
{
	static const char *const organizations[] = {"lakeside", "riverside"};
	struct cl_completion completion;
	struct cl_words words;
	struct cl_line line;
	struct cl_err e = {0};
	struct cl_buf out;
	if (cl_line_split(arena, text, &words, &e) == CL_OK)
		for (size_t i = 0; i < words.count; i++)
			must(words.items[i].start < words.items[i].end && words.items[i].end <= text.n &&
			     words.items[i].text.n <= words.items[i].end - words.items[i].start);
	if (cl_line_parse(arena, text, CL_STR("riverside"), &line, &e) == CL_OK) {
		must(line.arguments->kind == CL_JSON_OBJECT);
		cl_buf_init(&out, 0);
		cl_json_write(&out, line.arguments);
		must(cl_utf8_valid(cl_buf_str(&out)));
		cl_buf_free(&out);
	} else {
		must(e.message[0] != '\0');
	}
	cl_line_complete(arena, text, organizations, 2, &completion);
	for (size_t i = 0; i < completion.count; i++)
		must(strlen(completion.items[i]) >= completion.begun);
	cl_line_has_secret(text);
}

/* No control character but the end of a line gets out of a table. */
static void check_answer(struct cl_arena *arena, struct cl_str text)
{
	static const int widths[] = {0, 20, 80};
	const struct cl_json_limits limits = {.depth = 32, .nodes = 10000};
	struct cl_json *answer;
	struct cl_buf out;
	if (cl_json_parse(arena, text, &limits, &answer, NULL))
		return;
	for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
		cl_buf_init(&out, 0);
		cl_table_print(&out, answer, &(struct cl_table_style){.width = widths[i]});
		for (size_t k = 0; k < out.n; k++)
			must((unsigned char)out.p[k] >= ' ' || out.p[k] == '\n' || out.p[k] == '\t');
		must(cl_utf8_valid(cl_buf_str(&out)));
		cl_buf_free(&out);
	}
	cl_buf_init(&out, 0);
	cl_table_json(&out, answer);
	cl_table_csv(&out, answer);
	cl_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str text = {(const char *)data, size};
	check_line(arena, text);
	check_answer(arena, text);
	cl_arena_free(arena);
	return 0;
}
