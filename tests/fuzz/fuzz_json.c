/* fuzz_json.c: what the reader accepts survives writing, indenting and copying; what it refuses it explains. */
#include "base/json.h"
#include "base/utf8.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_tree(const struct cl_json *value, size_t size)
{
	must(value->offset < size);
	must(value->kind <= CL_JSON_OBJECT);
	if (value->kind == CL_JSON_STRING)
		must(cl_utf8_valid(value->text) && !(value->text.n && memchr(value->text.p, 0, value->text.n)));
	for (uint32_t i = 0; value->kind == CL_JSON_ARRAY && i < value->count; i++)
		check_tree(&value->items[i], size);
	for (uint32_t i = 0; value->kind == CL_JSON_OBJECT && i < value->count; i++) {
		/* Found under its name, so the name is there once. */
		must(cl_json_get_str(value, value->members[i].name) == &value->members[i].value);
		check_tree(&value->members[i].value, size);
	}
}

static void check_same(struct cl_arena *arena, const struct cl_json *value, struct cl_buf *text)
{
	struct cl_json *again;
	struct cl_err error = {0};
	must(!text->overflow);
	must(cl_json_parse(arena, cl_buf_str(text), NULL, &again, &error) == 0);
	must(cl_json_equal(value, again) && cl_json_equal(again, value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cl_arena *arena = cl_arena_new((size_t)64 << 20);
	struct cl_json *value;
	struct cl_err error = {0};
	struct cl_buf out;

	cl_buf_init(&out, 0);
	int rc = cl_json_parse(arena, (struct cl_str){(const char *)data, size}, NULL, &value, &error);
	if (rc == 0) {
		check_tree(value, size);
		cl_json_write(&out, value);
		check_same(arena, value, &out);
		cl_buf_clear(&out);
		cl_json_write_pretty(&out, value);
		check_same(arena, value, &out);
		must(cl_json_equal(value, cl_json_copy(arena, value)));
		int64_t integer;
		cl_json_integer(value, &integer);
		cl_json_double(value, 0);
	} else {
		must(value == NULL && error.code == rc && error.line >= 1 && error.column >= 1);
		struct cl_str message = cl_str_of(error.message);
		must(message.n > 0 && cl_utf8_valid(message));
		for (size_t i = 0; i < message.n; i++)
			must((unsigned char)message.p[i] >= 0x20);
	}
	/* A little arena, few nodes: refused or accepted, never wrong. */
	struct cl_arena *small = cl_arena_new(512);
	struct cl_json_limits limits = {.depth = 4, .nodes = 20};
	if (cl_json_parse(small, (struct cl_str){(const char *)data, size}, &limits, &value, NULL) == 0)
		must(rc == 0);
	cl_arena_free(small);
	cl_buf_free(&out);
	cl_arena_free(arena);
	return 0;
}
