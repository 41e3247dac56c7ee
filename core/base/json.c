/* json.c: a reader without recursion, edits in place, a writer.
 *
 * The reader keeps the children of every open container on one temporary stack, as they will lie in the tree, and copies
 * them into the arena when their container closes: arrays in the tree are contiguous and as large as needed. The node of
 * an open container holds the stack offset of the container around it, so that no second stack is needed. */
#include "base/json.h"
#include "base/utf8.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_DEPTH 64
#define DEFAULT_NODES 1000000
#define FEW_MEMBERS 16	    /* up to here names are compared in pairs, beyond they are sorted */
#define FIRST_STACK 8192    /* bytes; enough for most requests without malloc */
#define NONE ((size_t)-1)   /* no container is open */

_Static_assert(sizeof(struct cl_json) == 32, "memory per node");
_Static_assert(sizeof(struct cl_json_member) == 48, "memory per member");

/* ---- scanning ---------------------------------------------------------------------------------------------------- */

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* High bits of the bytes that need a look in a string: quote, backslash, control, and with `non_ascii` also 0x80-0xff.
 * Bits above the lowest one set may be wrong (borrows), the lowest is exact. */
static inline uint64_t special_bytes(uint64_t eight, bool non_ascii)
{
	uint64_t quote = eight ^ (ONES * '"'), backslash = eight ^ (ONES * '\\');
	uint64_t found = ((eight - ONES * 0x20) | (quote - ONES) | (backslash - ONES)) & ~eight;
	return (non_ascii ? found | eight : found) & HIGHS;
}

/* Length of the run that has no such byte. */
static inline size_t plain_run(const unsigned char *p, const unsigned char *end, bool non_ascii)
{
	const unsigned char *start = p;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	while (end - p >= 8) {
		uint64_t eight;
		memcpy(&eight, p, 8);
		uint64_t found = special_bytes(eight, non_ascii);
		if (found)
			return (size_t)(p - start) + (size_t)__builtin_ctzll(found) / 8;
		p += 8;
	}
#endif
	while (p < end && *p >= 0x20 && *p != '"' && *p != '\\' && !(non_ascii && *p >= 0x80))
		p++;
	return (size_t)(p - start);
}

static inline bool is_space(unsigned char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const unsigned char *skip_space(const unsigned char *p, const unsigned char *end)
{
	if (p < end && *p > 0x20)
		return p;
	while (p < end && is_space(*p)) {
		uint64_t eight;
		p++;
		while (end - p >= 8 && (memcpy(&eight, p, 8), eight == ONES * 0x20)) /* indentation */
			p += 8;
	}
	return p;
}

static int hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Four hex digits at p, or -1. */
static int32_t hex_unit(const unsigned char *p, const unsigned char *end)
{
	int32_t unit = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);
		if (digit < 0)
			return -1;
		unit = unit << 4 | digit;
	}
	return unit;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

struct reader {
	struct cl_arena *arena;
	struct cl_str text;
	const unsigned char *start, *end;
	char *stack;           /* open containers' children; `first` until it is too small, then from malloc */
	size_t top, capacity;  /* bytes */
	uint32_t nodes_left;
	struct cl_err *e;
	_Alignas(16) char first[FIRST_STACK];
};

void cl_json_place(struct cl_str text, uint32_t offset, int *line, int *column)
{
	size_t n = offset < text.n ? offset : text.n, line_start = 0;
	int lines = 1, characters = 1;

	for (const char *at; (at = n > line_start ? memchr(text.p + line_start, '\n', n - line_start) : NULL);) {
		line_start = (size_t)(at - text.p) + 1;
		lines++;
	}
	for (size_t i = line_start; i < n; i++)
		characters += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	*line = lines;
	*column = characters;
}

/* Adds the place to a filled report. */
static int fail_here(struct reader *r, const unsigned char *p, int code)
{
	if (r->e)
		cl_json_place(r->text, (uint32_t)(p - r->start), &r->e->line, &r->e->column);
	return code;
}

#define FAIL(r, p, code, ...) (cl_fail((r)->e, (code), __VA_ARGS__), fail_here((r), (p), (code)))

/* Cold: "unexpected character 'x' after an object member; expected ',' or '}'". */
static __attribute__((noinline)) int unexpected(struct reader *r, const unsigned char *p, const char *where,
						const char *expected)
{
	char what[32];
	size_t n = cl_utf8_length(p, r->end);

	if (p == r->end)
		snprintf(what, sizeof what, "end of the text");
	else if (n == 0 || *p < 0x20 || *p == 0x7f)
		snprintf(what, sizeof what, "byte 0x%02x", *p);
	else
		snprintf(what, sizeof what, "character '%.*s'", (int)n, (const char *)p);
	return FAIL(r, p, CL_E_INVALID, "unexpected %s %s; expected %s", what, where, expected);
}

static __attribute__((noinline)) int arena_full(struct reader *r, const unsigned char *p)
{
	return FAIL(r, p, CL_E_TOO_LARGE, "the JSON text needs more memory than is allowed here; send less at once");
}

static __attribute__((noinline)) int grow_stack(struct reader *r)
{
	size_t capacity = r->capacity * 2;
	char *bigger = realloc(r->stack == r->first ? NULL : r->stack, capacity);

	if (!bigger)
		return cl_fail(r->e, CL_E_MEMORY, "out of memory while reading JSON");
	if (r->stack == r->first)
		memcpy(bigger, r->first, r->top);
	r->stack = bigger;
	r->capacity = capacity;
	return 0;
}

/* Checks one escape sequence; p is at its backslash. Returns its length in the source, or the error. */
static int check_escape(struct reader *r, const unsigned char *p)
{
	if (r->end - p < 2)
		return FAIL(r, r->end, CL_E_INVALID, "the text ends inside a string");
	if (memchr("\"\\/bfnrt", p[1], 8))
		return 2;
	if (p[1] != 'u')
		return unexpected(r, p + 1, "after a backslash", "one of \" \\ / b f n r t u");
	int32_t unit = hex_unit(p + 2, r->end);
	if (unit < 0)
		return FAIL(r, p, CL_E_INVALID, "\\u in a string needs four hexadecimal digits");
	if (unit == 0)
		return FAIL(r, p, CL_E_INVALID, "\\u0000 is not accepted in strings");
	if (unit < 0xd800 || unit > 0xdfff)
		return 6;
	int32_t second = unit < 0xdc00 && r->end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex_unit(p + 8, r->end) : -1;
	if (second < 0xdc00 || second > 0xdfff)
		return FAIL(r, p, CL_E_INVALID, "\\u%.4s is half of a surrogate pair", (const char *)p + 2);
	return 12;
}

static char *put_character(char *out, int32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*out++ = (char)(0xe0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	} else {
		*out++ = (char)(0xf0 | c >> 18);
		*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	}
	return out;
}

/* Decodes a checked string, [p, end) being what stands between the quotes. The result is never longer than the source. */
static size_t decode(const unsigned char *p, const unsigned char *end, char *out)
{
	char *start = out;

	while (p < end) {
		const unsigned char *backslash = memchr(p, '\\', (size_t)(end - p));
		size_t n = (size_t)((backslash ? backslash : end) - p);
		memcpy(out, p, n);
		out += n;
		p += n;
		if (!backslash)
			break;
		switch (p[1]) {
		case 'b':
			*out++ = '\b';
			break;
		case 'f':
			*out++ = '\f';
			break;
		case 'n':
			*out++ = '\n';
			break;
		case 'r':
			*out++ = '\r';
			break;
		case 't':
			*out++ = '\t';
			break;
		case 'u': {
			int32_t c = hex_unit(p + 2, end);
			if (c >= 0xd800 && c <= 0xdfff) {
				c = 0x10000 + ((c - 0xd800) << 10) + (hex_unit(p + 8, end) - 0xdc00);
				p += 6;
			}
			out = put_character(out, c);
			p += 4;
			break;
		}
		default:
			*out++ = (char)p[1];
		}
		p += 2;
	}
	return (size_t)(out - start);
}

/* *at is at the opening quote and moves past the closing one. */
static int read_string(struct reader *r, const unsigned char **at, struct cl_str *out)
{
	const unsigned char *begin = *at + 1, *p = begin, *end = r->end;
	bool escapes = false;

	for (;;) {
		p += plain_run(p, end, true);
		if (p == end)
			return FAIL(r, *at, CL_E_INVALID, "a string that begins here is not closed");
		if (*p == '"')
			break;
		if (*p >= 0x80) {
			size_t n = cl_utf8_length(p, end);
			if (n == 0)
				return FAIL(r, p, CL_E_INVALID, "byte 0x%02x in a string is not valid UTF-8", *p);
			p += n;
		} else if (*p == '\\') {
			int n = check_escape(r, p);
			if (n < 0)
				return n;
			p += n;
			escapes = true;
		} else {
			return FAIL(r, p, CL_E_INVALID, "control character 0x%02x in a string; write it as an escape (\\u%04x)",
				    *p, *p);
		}
	}
	*at = p + 1;
	size_t n = (size_t)(p - begin);
	if (!escapes) {
		*out = (struct cl_str){(const char *)begin, n};
		return 0;
	}
	char *decoded = cl_arena_try(r->arena, n);
	if (!decoded)
		return arena_full(r, begin);
	*out = (struct cl_str){decoded, decode(begin, p, decoded)};
	return 0;
}

static inline bool is_digit(const unsigned char *p, const unsigned char *end)
{
	return p < end && *p >= '0' && *p <= '9';
}

static int read_number(struct reader *r, const unsigned char **at, struct cl_str *out)
{
	const unsigned char *p = *at, *end = r->end;

	if (*p == '-')
		p++;
	if (!is_digit(p, end))
		return unexpected(r, p, "after '-'", "a digit");
	if (*p == '0') {
		p++;
		if (is_digit(p, end))
			return FAIL(r, *at, CL_E_INVALID, "a number must not begin with a superfluous zero");
	} else {
		while (is_digit(p, end))
			p++;
	}
	if (p < end && *p == '.') {
		p++;
		if (!is_digit(p, end))
			return unexpected(r, p, "after a decimal point", "a digit");
		while (is_digit(p, end))
			p++;
	}
	if (p < end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if (!is_digit(p, end))
			return unexpected(r, p, "in an exponent", "a digit");
		while (is_digit(p, end))
			p++;
	}
	*out = (struct cl_str){(const char *)*at, (size_t)(p - *at)};
	*at = p;
	return 0;
}

/* ---- duplicate names --------------------------------------------------------------------------------------------- */

struct named {
	uint64_t hash;
	const struct cl_json_member *member;
};

static uint64_t hash_name(struct cl_str name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ name.n;

	for (size_t i = 0; i < name.n; i++)
		hash = (hash ^ (unsigned char)name.p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* By hash for speed, then by the name itself: colliding hashes, made on purpose or not, cost a comparison and no more. */
static int compare_named(const void *left, const void *right)
{
	const struct named *a = left, *b = right;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return cl_str_compare(a->member->name, b->member->name);
}

/* Sorted by name in some order that is the same for equal sets of names; free() it. NULL without memory. */
static struct named *sort_names(const struct cl_json_member *members, uint32_t count)
{
	struct named *names = malloc(sizeof *names * count);
	if (!names)
		return NULL;
	for (uint32_t i = 0; i < count; i++)
		names[i] = (struct named){hash_name(members[i].name), &members[i]};
	qsort(names, count, sizeof *names, compare_named);
	return names;
}

/* The first member whose name an earlier one has, NULL when there is none. -1 in *failed without memory. */
static const struct cl_json_member *find_duplicate(const struct cl_json_member *members, uint32_t count, int *failed)
{
	*failed = 0;
	if (count <= FEW_MEMBERS) {
		uint64_t seen = 0; /* a bit for each length and outer letters: nearly always enough to tell names apart */
		for (uint32_t i = 0; i < count; i++) {
			struct cl_str name = members[i].name;
			unsigned key = (unsigned)name.n;
			if (name.n)
				key += (unsigned char)name.p[0] * 7u + (unsigned char)name.p[name.n - 1] * 31u;
			uint64_t bit = UINT64_C(1) << (key & 63);
			if (seen & bit)
				for (uint32_t k = 0; k < i; k++)
					if (cl_str_equal(members[k].name, name))
						return &members[i];
			seen |= bit;
		}
		return NULL;
	}
	struct named *names = sort_names(members, count);
	if (!names) {
		*failed = -1;
		return NULL;
	}
	const struct cl_json_member *first = NULL;
	for (uint32_t i = 1; i < count; i++)
		if (names[i - 1].hash == names[i].hash &&
		    cl_str_equal(names[i - 1].member->name, names[i].member->name)) {
			const struct cl_json_member *a = names[i - 1].member, *b = names[i].member;
			const struct cl_json_member *later = a > b ? a : b;
			if (!first || later < first)
				first = later;
		}
	free(names);
	return first;
}

/* Where a member's name stands: a name without escapes points into the source, one with escapes is sought from the value. */
static const unsigned char *name_place(struct reader *r, const struct cl_json_member *member)
{
	const unsigned char *p = (const unsigned char *)member->name.p;
	if (member->name.n && p > r->start && p < r->end)
		return p - 1;
	return r->start + member->value.offset;
}

static int check_duplicates(struct reader *r, const struct cl_json_member *members, uint32_t count)
{
	int failed;
	const struct cl_json_member *member = find_duplicate(members, count, &failed);

	if (failed)
		return cl_fail(r->e, CL_E_MEMORY, "out of memory while reading JSON");
	if (!member)
		return 0;
	size_t n = member->name.n < 60 ? member->name.n : 60;
	while (n < member->name.n && n > 0 && ((unsigned char)member->name.p[n] & 0xc0) == 0x80)
		n--;
	return FAIL(r, name_place(r, member), CL_E_INVALID, "the object has the member \"%.*s%s\" twice", (int)n,
		    member->name.p ? member->name.p : "", n < member->name.n ? "..." : "");
}

/* ---- the reader's loop ------------------------------------------------------------------------------------------- */

static inline int make_room(struct reader *r, size_t size)
{
	return size <= r->capacity - r->top ? 0 : grow_stack(r);
}

static inline struct cl_json *node_at(struct reader *r, size_t at)
{
	return (struct cl_json *)(void *)(r->stack + at);
}

/* Moves the children of the container at stack offset `open` into the arena. Returns 0 or the error. */
static int close_container(struct reader *r, size_t open, const unsigned char *p)
{
	struct cl_json *node = node_at(r, open);
	char *children = (char *)(node + 1);
	size_t size = (size_t)(r->stack + r->top - children);
	bool object = node->kind == CL_JSON_OBJECT;
	uint32_t count = (uint32_t)(size / (object ? sizeof(struct cl_json_member) : sizeof(struct cl_json)));

	if (object && count > 1) {
		int rc = check_duplicates(r, (const struct cl_json_member *)(void *)children, count);
		if (rc)
			return rc;
	}
	void *place = cl_arena_try(r->arena, size);
	if (!place)
		return arena_full(r, p);
	memcpy(place, children, size);
	node->count = node->capacity = count;
	node->items = place;
	r->top -= size;
	return 0;
}

static bool is_word(const unsigned char *p, const unsigned char *end, const char *word, size_t n)
{
	return (size_t)(end - p) >= n && memcmp(p, word, n) == 0;
}

static int read_tree(struct reader *r, uint32_t depth_left)
{
	const unsigned char *p = r->start, *end = r->end;
	size_t open = NONE; /* stack offset of the innermost open container's node */
	size_t at = 0;	    /* stack offset of the node to be read */
	struct cl_json *node;
	int rc;

	r->top = sizeof *node;

value:
	p = skip_space(p, end);
	if (r->nodes_left-- == 0)
		return FAIL(r, p, CL_E_TOO_LARGE, "the JSON text has too many values; send less at once");
	node = node_at(r, at);
	node->offset = (uint32_t)(p - r->start);
	node->count = node->capacity = 0;
	node->text = CL_STR_NONE;
	switch (p < end ? *p : 0) {
	case '"':
		node->kind = CL_JSON_STRING;
		if ((rc = read_string(r, &p, &node->text)))
			return rc;
		break;
	case '{':
	case '[':
		node->kind = *p == '{' ? CL_JSON_OBJECT : CL_JSON_ARRAY;
		if (depth_left == 0)
			return FAIL(r, p, CL_E_TOO_LARGE, "the JSON text is nested too deeply");
		p = skip_space(p + 1, end);
		if (p < end && *p == (node->kind == CL_JSON_OBJECT ? '}' : ']')) {
			p++;
			break;
		}
		depth_left--;
		node->text.n = open;
		open = at;
		if (node->kind == CL_JSON_OBJECT) {
			if (p == end || *p != '"')
				return unexpected(r, p, "after '{'", "a member name in double quotes or '}'");
			goto member;
		}
		goto element;
	case 't':
		if (!is_word(p, end, "true", 4))
			goto no_value;
		node->kind = CL_JSON_TRUE;
		p += 4;
		break;
	case 'f':
		if (!is_word(p, end, "false", 5))
			goto no_value;
		node->kind = CL_JSON_FALSE;
		p += 5;
		break;
	case 'n':
		if (!is_word(p, end, "null", 4))
			goto no_value;
		node->kind = CL_JSON_NULL;
		p += 4;
		break;
	case '-':
	case '0':
	case '1':
	case '2':
	case '3':
	case '4':
	case '5':
	case '6':
	case '7':
	case '8':
	case '9':
		node->kind = CL_JSON_NUMBER;
		if ((rc = read_number(r, &p, &node->text)))
			return rc;
		break;
	default:
		goto no_value;
	}

after_value:
	p = skip_space(p, end);
	if (open == NONE)
		return p == end ? 0 : unexpected(r, p, "after the value", "the end of the text");
	node = node_at(r, open);
	if (node->kind == CL_JSON_OBJECT) {
		if (p < end && *p == ',') {
			p = skip_space(p + 1, end);
			if (p == end || *p != '"')
				return unexpected(r, p, "after ',' in an object", "a member name in double quotes");
			goto member;
		}
		if (p == end || *p != '}')
			return unexpected(r, p, "after an object member", "',' or '}'");
	} else {
		if (p < end && *p == ',') {
			p++;
			goto element;
		}
		if (p == end || *p != ']')
			return unexpected(r, p, "after an array element", "',' or ']'");
	}
	at = open;
	open = node->text.n;
	if ((rc = close_container(r, at, p)))
		return rc;
	depth_left++;
	p++;
	goto after_value;

element:
	if ((rc = make_room(r, sizeof *node)))
		return rc;
	at = r->top;
	r->top += sizeof *node;
	goto value;

member:
	if ((rc = make_room(r, sizeof(struct cl_json_member))))
		return rc;
	at = r->top + offsetof(struct cl_json_member, value);
	struct cl_json_member *member = (struct cl_json_member *)(void *)(r->stack + r->top);
	r->top += sizeof *member;
	if ((rc = read_string(r, &p, &member->name)))
		return rc;
	p = skip_space(p, end);
	if (p == end || *p != ':')
		return unexpected(r, p, "after a member name", "':'");
	p++;
	goto value;

no_value:
	if (open == NONE)
		return unexpected(r, p, "where a value should be", "an object, array, string, number, true, false or null");
	if (node_at(r, open)->kind == CL_JSON_OBJECT)
		return unexpected(r, p, "as the value of a member", "a value");
	return unexpected(r, p, "as an array element", "a value");
}

int cl_json_parse(struct cl_arena *arena, struct cl_str text, const struct cl_json_limits *limits, struct cl_json **out,
		  struct cl_err *e)
{
	uint32_t depth = limits && limits->depth ? limits->depth : DEFAULT_DEPTH;
	struct reader r; /* not cleared: most of it is the stack */

	r.arena = arena;
	r.text = text;
	r.start = (const unsigned char *)(text.p ? text.p : "");
	r.end = r.start + text.n;
	r.stack = r.first;
	r.top = 0;
	r.capacity = sizeof r.first;
	r.nodes_left = limits && limits->nodes ? limits->nodes : DEFAULT_NODES;
	r.e = e;
	*out = NULL;
	if (text.n >= UINT32_MAX)
		return cl_fail(e, CL_E_TOO_LARGE, "a JSON text of 4 GiB or more cannot be read");
	if (text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0)
		return FAIL(&r, r.start, CL_E_INVALID, "the text begins with a byte order mark; send UTF-8 without one");
	int rc = read_tree(&r, depth < CL_JSON_DEEPEST ? depth : CL_JSON_DEEPEST);
	if (rc == 0) {
		struct cl_json *root = cl_arena_try(arena, sizeof *root);
		if (root) {
			*root = *node_at(&r, 0);
			*out = root;
		} else {
			rc = arena_full(&r, r.start);
		}
	}
	if (r.stack != r.first)
		free(r.stack);
	return rc;
}

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

/* Members of two large objects whose orders differ, in n log n. */
static bool equal_sorted(const struct cl_json *a, const struct cl_json *b, uint32_t from)
{
	uint32_t count = a->count - from;
	struct named *left = sort_names(a->members + from, count), *right = sort_names(b->members + from, count);

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
	if (a->count - i > FEW_MEMBERS)
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
	const unsigned char *p = (const unsigned char *)text.p, *end = p + text.n;
	size_t run = text.n ? plain_run(p, end, false) : 0;

	if (run == text.n) {
		char *place = cl_buf_reserve(out, text.n + 2);
		if (!place)
			return;
		place[0] = '"';
		if (text.n)
			memcpy(place + 1, text.p, text.n);
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
		run = plain_run(p, end, false);
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
