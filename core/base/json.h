/* json.h: strict JSON (RFC 8259) into an arena and back. Number text is kept, duplicate names are refused, depth and
 * node count are capped. Trees can be edited in place; edits allocate from the same arena. */
#pragma once
#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"

enum cl_json_kind {
	CL_JSON_NULL = 0,
	CL_JSON_FALSE,
	CL_JSON_TRUE,
	CL_JSON_NUMBER, /* `text` is the number exactly as written */
	CL_JSON_STRING, /* `text` is decoded UTF-8, without U+0000 (the reader refuses \u0000) */
	CL_JSON_ARRAY,
	CL_JSON_OBJECT,
};

struct cl_json_member;

struct cl_json {
	uint8_t kind; /* enum cl_json_kind */
	uint32_t offset; /* byte offset in the source text, for line and column; 0 for made nodes */
	uint32_t count; /* elements or members */
	uint32_t capacity; /* room in `items` or `members`, for edits */
	union {
		struct cl_str text;
		struct cl_json *items;
		struct cl_json_member *members; /* in source order */
	};
};

struct cl_json_member {
	struct cl_str name;
	struct cl_json value;
};

/* 0 means the default. */
struct cl_json_limits {
	uint32_t depth; /* containers within containers; default 64, at most CL_JSON_DEEPEST */
	uint32_t nodes; /* values in total; default 1,000,000 */
};
/* Trees are copied, compared and written by recursion. */
#define CL_JSON_DEEPEST 1000

/* Parses the whole of `text` (trailing white space allowed, byte order mark refused). Strings without escapes point
 * into `text`, so `text` must outlive the tree. NULL limits mean the defaults. On failure e has line and column. */
int cl_json_parse(struct cl_arena *arena, struct cl_str text, const struct cl_json_limits *limits, struct cl_json **out,
                  struct cl_err *e);
/* 1-based line and column of a byte offset. */
void cl_json_place(struct cl_str text, uint32_t offset, int *line, int *column);

/* NULL when absent or when `object` is NULL or no object. */
struct cl_json *cl_json_get(const struct cl_json *object, const char *name);
struct cl_json *cl_json_get_str(const struct cl_json *object, struct cl_str name);
/* Follows names and array indexes: cl_json_path(task, "code", "coding", "0", "code", NULL). NULL when any step is
 * absent. */
struct cl_json *cl_json_path(const struct cl_json *value, ...) __attribute__((sentinel));
/* The text of a string (or of a number), or an empty cl_str when absent or of another kind. */
struct cl_str cl_json_text(const struct cl_json *value);
struct cl_str cl_json_get_text(const struct cl_json *object, const char *name);
bool cl_json_is_true(const struct cl_json *value);
/* 1 and *out when the value is a number written as an integer that fits, otherwise 0 ("1.0" and "1e2" are decimals). */
int cl_json_integer(const struct cl_json *value, int64_t *out);
/* `otherwise` when it is no number, or one past the range of a double. */
double cl_json_double(const struct cl_json *value, double otherwise);

struct cl_json *cl_json_new(struct cl_arena *arena, enum cl_json_kind kind);
/* Adds or replaces; returns the value's place (null kind, to be filled). Name is copied by reference: it must live
 * in the arena or be static. Pointers to siblings may move when the object grows. */
struct cl_json *cl_json_set(struct cl_arena *arena, struct cl_json *object, struct cl_str name);
/* Those that take a text copy it into the arena. Set and append die when the value is of another kind. */
struct cl_json *cl_json_set_text(struct cl_arena *arena, struct cl_json *object, const char *name, struct cl_str text);
struct cl_json *cl_json_set_integer(struct cl_arena *arena, struct cl_json *object, const char *name, int64_t value);
struct cl_json *cl_json_set_boolean(struct cl_arena *arena, struct cl_json *object, const char *name, bool value);
struct cl_json *cl_json_set_object(struct cl_arena *arena, struct cl_json *object, const char *name);
struct cl_json *cl_json_set_array(struct cl_arena *arena, struct cl_json *object, const char *name);
bool cl_json_remove(struct cl_json *object, const char *name);
/* Appends a null-kind element and returns it. */
struct cl_json *cl_json_append(struct cl_arena *arena, struct cl_json *array);
struct cl_json *cl_json_append_text(struct cl_arena *arena, struct cl_json *array, struct cl_str text);
/* Deep copy into `arena`, texts included. */
struct cl_json *cl_json_copy(struct cl_arena *arena, const struct cl_json *value);
/* Same value: numbers by text, objects without regard to member order. */
bool cl_json_equal(const struct cl_json *a, const struct cl_json *b);

/* Compact output; member order as in the tree. Made texts must be valid UTF-8: they are not checked again here. */
void cl_json_write(struct cl_buf *out, const struct cl_json *value);
/* Two-space indented, for people. */
void cl_json_write_pretty(struct cl_buf *out, const struct cl_json *value);
/* A quoted, escaped JSON string. */
void cl_json_write_text(struct cl_buf *out, struct cl_str text);
