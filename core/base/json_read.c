/* json_read.c: the JSON reader, without recursion.
 *
 * The reader keeps the children of every open container on one temporary stack, as they will lie in the tree, and
 * copies them into the arena when their container closes: arrays in the tree are contiguous and as large as needed.
 * The node of an open container holds the stack offset of the container around it, so that no second stack is
 * needed. */
#include "base/json_inside.h"
#include "base/utf8.h"
#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_DEPTH 64
#define DEFAULT_NODES 1000000
#define FIRST_STACK 8192 /* bytes; enough for most requests without malloc */
#define NONE ((size_t)-1) /* no container is open */

static inline bool is_space(unsigned char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const unsigned char *skip_space(const unsigned char *p, const unsigned char *end)
{
	if (p != end && p[0] > 0x20)
		return p;
	while (p < end && is_space(*p)) {
		uint64_t eight;
		p++;
		while (end - p >= 8 && (memcpy(&eight, p, 8), eight == CL_JSON_ONES * 0x20)) /* indentation */
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
	char *stack; /* open containers' children; `first` until it is too small, then from malloc */
	size_t top, capacity; /* bytes */
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
	int32_t second =
	        unit < 0xdc00 && r->end - p >= 12 && p[6] == '\\' && p[7] == 'u' ? hex_unit(p + 8, r->end) : -1;
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

/* Decodes a checked string, [p, end) being what stands between the quotes. The result is never longer than the
 * source. */
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
		p += cl_json_plain_run(p, end, true);
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
			return FAIL(r, p, CL_E_INVALID,
			            "control character 0x%02x in a string; write it as an escape (\\u%04x)", *p, *p);
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

/* The first member whose name an earlier one has, NULL when there is none. -1 in *failed without memory. */
static const struct cl_json_member *find_duplicate(const struct cl_json_member *members, uint32_t count, int *failed)
{
	*failed = 0;
	if (count <= CL_JSON_FEW_MEMBERS) {
		/* A bit for each length and outer letters: nearly always enough to tell names apart. */
		uint64_t seen = 0;
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
	struct cl_json_named *names = cl_json_sort_names(members, count);
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

/* Where a member's name stands: a name without escapes points into the source, one with escapes is sought from the
 * value. */
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
	size_t at = 0; /* stack offset of the node to be read */
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
		return unexpected(r, p, "where a value should be",
		                  "an object, array, string, number, true, false or null");
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
		return FAIL(&r, r.start, CL_E_INVALID,
		            "the text begins with a byte order mark; send UTF-8 without one");
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
