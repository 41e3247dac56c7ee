/* json.c: looking into, editing, comparing and writing JSON trees. Reading is json_read.c's. */
#include "base/json_inside.h"
#include <math.h>
#include <stdlib.h>

_Static_assert(sizeof(struct cl_json) == 32, "memory per node");
_Static_assert(sizeof(struct cl_json_member) == 48, "memory per member");

/* ---- looking ----------------------------------------------------------------------------------------------------- */

struct cl_json *cl_json_get_str(const struct cl_json *object, struct cl_str name)
{
	if (!object || object->kind != CL_JSON_OBJECT)
		return NULL;
	for (uint32_t i = 0; i < object->count; i++)
		if (cl_str_equal(object->members[i].name, name))
			return &object->members[i].value;
	return NULL;
}

struct cl_json *cl_json_get(const struct cl_json *object, const char *name)
{
	return cl_json_get_str(object, cl_str_of(name));
}

static struct cl_json *get_element(const struct cl_json *array, const char *index)
{
	uint64_t i = 0;

	if (!*index)
		return NULL;
	for (; *index; index++) {
		if (*index < '0' || *index > '9')
			return NULL;
		i = i * 10 + (uint64_t)(*index - '0');
		if (i >= array->count)
			return NULL;
	}
	return &array->items[i];
}

struct cl_json *cl_json_path(const struct cl_json *value, ...)
{
	struct cl_json *at = (struct cl_json *)(uintptr_t)value; /* const is the caller's, as with strchr */
	const char *step;
	va_list steps;

	va_start(steps, value);
	while (at && (step = va_arg(steps, const char *)))
		at = at->kind == CL_JSON_ARRAY ? get_element(at, step) : cl_json_get(at, step);
	va_end(steps);
	return at;
}

struct cl_str cl_json_text(const struct cl_json *value)
{
	if (!value || (value->kind != CL_JSON_STRING && value->kind != CL_JSON_NUMBER))
		return CL_STR_NONE;
	return value->text;
}

struct cl_str cl_json_get_text(const struct cl_json *object, const char *name)
{
	return cl_json_text(cl_json_get(object, name));
}

bool cl_json_is_true(const struct cl_json *value)
{
	return value && value->kind == CL_JSON_TRUE;
}

int cl_json_integer(const struct cl_json *value, int64_t *out)
{
	if (!value || value->kind != CL_JSON_NUMBER)
		return 0;
	const char *p = value->text.p, *end = p + value->text.n;
	bool negative = p < end && *p == '-';
	uint64_t n = 0, most = (uint64_t)INT64_MAX + negative;

	p += negative;
	if (p == end)
		return 0;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return 0;
		uint64_t digit = (uint64_t)(*p - '0');
		if (n > (most - digit) / 10)
			return 0;
		n = n * 10 + digit;
	}
	*out = negative ? (int64_t)(0 - n) : (int64_t)n;
	return 1;
}

double cl_json_double(const struct cl_json *value, double otherwise)
{
	char small[64], *text = small;

	if (!value || value->kind != CL_JSON_NUMBER)
		return otherwise;
	if (value->text.n >= sizeof small && !(text = malloc(value->text.n + 1)))
		cl_die("out of memory (json)");
	memcpy(text, value->text.p, value->text.n);
	text[value->text.n] = 0;
	double number = strtod(text, NULL);
	if (text != small)
		free(text);
	return isfinite(number) ? number : otherwise;
}

/* ---- editing ----------------------------------------------------------------------------------------------------- */

struct cl_json *cl_json_new(struct cl_arena *arena, enum cl_json_kind kind)
{
	struct cl_json *value = CL_NEW(arena, struct cl_json);
	value->kind = (uint8_t)kind;
	return value;
}

/* Room for one more child of `size` bytes. */
static void grow(struct cl_arena *arena, struct cl_json *container, size_t size)
{
	if (container->count < container->capacity)
		return;
	uint32_t capacity = container->capacity < 4 ? 4 : container->capacity * 2;
	if (capacity <= container->count)
		cl_die("a JSON container has too many children");
	void *children = cl_arena_alloc(arena, size * capacity);
	if (container->count)
		memcpy(children, container->items, size * container->count);
	container->items = children;
	container->capacity = capacity;
}

struct cl_json *cl_json_set(struct cl_arena *arena, struct cl_json *object, struct cl_str name)
{
	struct cl_json *value = cl_json_get_str(object, name);

	if (!value) {
		if (object->kind != CL_JSON_OBJECT)
			cl_die("a member is set in a JSON value that is no object");
		grow(arena, object, sizeof *object->members);
		struct cl_json_member *member = &object->members[object->count++];
		member->name = name;
		value = &member->value;
	}
	*value = (struct cl_json){.kind = CL_JSON_NULL};
	return value;
}

static struct cl_json *fill_text(struct cl_arena *arena, struct cl_json *value, struct cl_str text)
{
	value->kind = CL_JSON_STRING;
	value->text = cl_arena_copy(arena, text);
	return value;
}

struct cl_json *cl_json_set_text(struct cl_arena *arena, struct cl_json *object, const char *name, struct cl_str text)
{
	return fill_text(arena, cl_json_set(arena, object, cl_str_of(name)), text);
}

struct cl_json *cl_json_set_integer(struct cl_arena *arena, struct cl_json *object, const char *name, int64_t number)
{
	struct cl_json *value = cl_json_set(arena, object, cl_str_of(name));
	value->kind = CL_JSON_NUMBER;
	value->text = cl_arena_printf(arena, "%lld", (long long)number);
	return value;
}

struct cl_json *cl_json_set_boolean(struct cl_arena *arena, struct cl_json *object, const char *name, bool truth)
{
	struct cl_json *value = cl_json_set(arena, object, cl_str_of(name));
	value->kind = truth ? CL_JSON_TRUE : CL_JSON_FALSE;
	return value;
}

struct cl_json *cl_json_set_object(struct cl_arena *arena, struct cl_json *object, const char *name)
{
	struct cl_json *value = cl_json_set(arena, object, cl_str_of(name));
	value->kind = CL_JSON_OBJECT;
	return value;
}

struct cl_json *cl_json_set_array(struct cl_arena *arena, struct cl_json *object, const char *name)
{
	struct cl_json *value = cl_json_set(arena, object, cl_str_of(name));
	value->kind = CL_JSON_ARRAY;
	return value;
}

bool cl_json_remove(struct cl_json *object, const char *name)
{
	struct cl_json *value = cl_json_get(object, name);
	if (!value)
		return false;
	struct cl_json_member *member =
	        (struct cl_json_member *)(void *)((char *)value - offsetof(struct cl_json_member, value));
	struct cl_json_member *end = object->members + object->count;
	memmove(member, member + 1, (size_t)(end - member - 1) * sizeof *member);
	object->count--;
	return true;
}

struct cl_json *cl_json_append(struct cl_arena *arena, struct cl_json *array)
{
	if (array->kind != CL_JSON_ARRAY)
		cl_die("an element is appended to a JSON value that is no array");
	grow(arena, array, sizeof *array->items);
	struct cl_json *value = &array->items[array->count++];
	*value = (struct cl_json){.kind = CL_JSON_NULL};
	return value;
}

struct cl_json *cl_json_append_text(struct cl_arena *arena, struct cl_json *array, struct cl_str text)
{
	return fill_text(arena, cl_json_append(arena, array), text);
}

static void copy_into(struct cl_arena *arena, struct cl_json *to, const struct cl_json *from)
{
	*to = *from;
	to->capacity = from->count;
	switch (from->kind) {
	case CL_JSON_NUMBER:
	case CL_JSON_STRING:
		to->text = cl_arena_copy(arena, from->text);
		break;
	case CL_JSON_ARRAY:
		to->items = from->count ? CL_NEW_ARRAY(arena, struct cl_json, from->count) : NULL;
		for (uint32_t i = 0; i < from->count; i++)
			copy_into(arena, &to->items[i], &from->items[i]);
		break;
	case CL_JSON_OBJECT:
		to->members = from->count ? CL_NEW_ARRAY(arena, struct cl_json_member, from->count) : NULL;
		for (uint32_t i = 0; i < from->count; i++) {
			to->members[i].name = cl_arena_copy(arena, from->members[i].name);
			copy_into(arena, &to->members[i].value, &from->members[i].value);
		}
		break;
	default:
		break;
	}
}

struct cl_json *cl_json_copy(struct cl_arena *arena, const struct cl_json *value)
{
	struct cl_json *copy = CL_NEW(arena, struct cl_json);
	copy_into(arena, copy, value);
	return copy;
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static uint64_t hash_name(struct cl_str name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ name.n;

	for (size_t i = 0; i < name.n; i++)
		hash = (hash ^ (unsigned char)name.p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* By hash for speed, then by the name itself: colliding hashes, made on purpose or not, cost a comparison and no
 * more. */
static int compare_named(const void *left, const void *right)
{
	const struct cl_json_named *a = left, *b = right;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return cl_str_compare(a->member->name, b->member->name);
}

struct cl_json_named *cl_json_sort_names(const struct cl_json_member *members, uint32_t count)
{
	struct cl_json_named *names = malloc(sizeof *names * count);
	if (!names)
		return NULL;
	for (uint32_t i = 0; i < count; i++)
		names[i] = (struct cl_json_named){hash_name(members[i].name), &members[i]};
	qsort(names, count, sizeof *names, compare_named);
	return names;
}

/* Members of two large objects whose orders differ, in n log n. */
static bool equal_sorted(const struct cl_json *a, const struct cl_json *b, uint32_t from)
{
	uint32_t count = a->count - from;
	struct cl_json_named *left = cl_json_sort_names(a->members + from, count);
	struct cl_json_named *right = cl_json_sort_names(b->members + from, count);

	if (!left || !right)
		cl_die("out of memory (json)");
	bool equal = true;
	for (uint32_t i = 0; i < count && equal; i++)
		equal = cl_str_equal(left[i].member->name, right[i].member->name) &&
		        cl_json_equal(&left[i].member->value, &right[i].member->value);
	free(left);
	free(right);
	return equal;
}

static bool equal_objects(const struct cl_json *a, const struct cl_json *b)
{
	uint32_t i = 0;

	if (a->count != b->count)
		return false;
	for (; i < a->count && cl_str_equal(a->members[i].name, b->members[i].name); i++)
		if (!cl_json_equal(&a->members[i].value, &b->members[i].value))
			return false;
	if (a->count - i > CL_JSON_FEW_MEMBERS)
		return equal_sorted(a, b, i);
	for (; i < a->count; i++) {
		const struct cl_json *other = cl_json_get_str(b, a->members[i].name);
		if (!other || !cl_json_equal(&a->members[i].value, other))
			return false;
	}
	return true;
}

bool cl_json_equal(const struct cl_json *a, const struct cl_json *b)
{
	if (!a || !b)
		return a == b;
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case CL_JSON_NUMBER:
	case CL_JSON_STRING:
		return cl_str_equal(a->text, b->text);
	case CL_JSON_ARRAY:
		if (a->count != b->count)
			return false;
		for (uint32_t i = 0; i < a->count; i++)
			if (!cl_json_equal(&a->items[i], &b->items[i]))
				return false;
		return true;
	case CL_JSON_OBJECT:
		return equal_objects(a, b);
	default:
		return true;
	}
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void write_escape(struct cl_buf *out, unsigned char c)
{
	static const char hex[] = "0123456789abcdef";
	char escape[6] = {'\\', (char)c};
	size_t n = 2;

	switch (c) {
	case '"':
	case '\\':
		break;
	case '\b':
		escape[1] = 'b';
		break;
	case '\f':
		escape[1] = 'f';
		break;
	case '\n':
		escape[1] = 'n';
		break;
	case '\r':
		escape[1] = 'r';
		break;
	case '\t':
		escape[1] = 't';
		break;
	default:
		memcpy(escape + 1, "u00", 3);
		escape[4] = hex[c >> 4];
		escape[5] = hex[c & 15];
		n = 6;
	}
	cl_buf_add(out, escape, n);
}

void cl_json_write_text(struct cl_buf *out, struct cl_str text)
{
	const unsigned char *p = (const unsigned char *)(text.p ? text.p : ""), *end = p + text.n;
	size_t run = cl_json_plain_run(p, end, false);

	if (run == text.n) {
		char *place = cl_buf_reserve(out, text.n + 2);
		if (!place)
			return;
		place[0] = '"';
		memcpy(place + 1, p, text.n);
		place[text.n + 1] = '"';
		out->n += text.n + 2;
		return;
	}
	cl_buf_add_byte(out, '"');
	for (;;) {
		cl_buf_add(out, p, run);
		p += run;
		if (p == end)
			break;
		write_escape(out, *p++);
		run = cl_json_plain_run(p, end, false);
	}
	cl_buf_add_byte(out, '"');
}

static void write_scalar(struct cl_buf *out, const struct cl_json *value)
{
	switch (value->kind) {
	case CL_JSON_FALSE:
		cl_buf_add(out, "false", 5);
		break;
	case CL_JSON_TRUE:
		cl_buf_add(out, "true", 4);
		break;
	case CL_JSON_NUMBER:
		cl_buf_add_str(out, value->text);
		break;
	case CL_JSON_STRING:
		cl_json_write_text(out, value->text);
		break;
	default:
		cl_buf_add(out, "null", 4);
	}
}

void cl_json_write(struct cl_buf *out, const struct cl_json *value)
{
	if (value->kind == CL_JSON_OBJECT) {
		char before = '{';
		for (uint32_t i = 0; i < value->count; i++) {
			cl_buf_add_byte(out, before);
			cl_json_write_text(out, value->members[i].name);
			cl_buf_add_byte(out, ':');
			cl_json_write(out, &value->members[i].value);
			before = ',';
		}
		if (value->count == 0)
			cl_buf_add_byte(out, '{');
		cl_buf_add_byte(out, '}');
	} else if (value->kind == CL_JSON_ARRAY) {
		char before = '[';
		for (uint32_t i = 0; i < value->count; i++) {
			cl_buf_add_byte(out, before);
			cl_json_write(out, &value->items[i]);
			before = ',';
		}
		if (value->count == 0)
			cl_buf_add_byte(out, '[');
		cl_buf_add_byte(out, ']');
	} else {
		write_scalar(out, value);
	}
}

static void new_line(struct cl_buf *out, size_t depth)
{
	char *p = cl_buf_reserve(out, 1 + 2 * depth);
	if (!p)
		return;
	*p = '\n';
	memset(p + 1, ' ', 2 * depth);
	out->n += 1 + 2 * depth;
}

static void write_pretty(struct cl_buf *out, const struct cl_json *value, size_t depth)
{
	bool object = value->kind == CL_JSON_OBJECT;

	if ((!object && value->kind != CL_JSON_ARRAY) || value->count == 0) {
		cl_json_write(out, value);
		return;
	}
	for (uint32_t i = 0; i < value->count; i++) {
		cl_buf_add_byte(out, i ? ',' : object ? '{' : '[');
		new_line(out, depth + 1);
		if (object) {
			cl_json_write_text(out, value->members[i].name);
			cl_buf_add(out, ": ", 2);
		}
		write_pretty(out, object ? &value->members[i].value : &value->items[i], depth + 1);
	}
	new_line(out, depth);
	cl_buf_add_byte(out, object ? '}' : ']');
}

void cl_json_write_pretty(struct cl_buf *out, const struct cl_json *value)
{
	write_pretty(out, value, 0);
}
