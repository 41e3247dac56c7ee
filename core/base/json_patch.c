/* json_patch.c: the six operations of RFC 6902. Work and growth are bounded: a short patch may copy the document into itself
 * again and again. */
#include "base/json_patch.h"

#define CL_PATCH_NODES 1000000 /* that copies may add: as many as the reader takes */
#define CL_PATCH_WORK 50000000 /* values moved or looked at */
#define CL_PATCH_DEPTH 64 /* the reader's, too */

struct cl_patching {
	struct cl_arena *arena;
	struct cl_json *document;
	uint64_t nodes, work;
	uint32_t index; /* of the operation at hand */
	struct cl_err *e;
};

/* Where an operation works: `parent` and the token in it; parent is NULL for the whole document. */
struct cl_place {
	struct cl_json *parent;
	struct cl_str token;
	struct cl_json *value; /* what is there, or NULL */
	uint32_t depth; /* containers above the value */
};

static int fail_at(struct cl_patching *patching, const char *member)
{
	return cl_fail_at(patching->e, "[%u]%s%s", patching->index, member[0] ? "." : "", member);
}

/* ---- pointers (RFC 6901) ---- */

/* Cuts the next token off; false when an escape is neither ~0 nor ~1. */
static bool next_token(struct cl_arena *arena, struct cl_str *pointer, struct cl_str *token)
{
	struct cl_str rest = {pointer->p + 1, pointer->n - 1};
	const char *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
	struct cl_str raw = {rest.p, slash ? (size_t)(slash - rest.p) : rest.n};
	*pointer = (struct cl_str){rest.p + raw.n, rest.n - raw.n};
	*token = raw;
	if (!raw.n || !memchr(raw.p, '~', raw.n))
		return true;
	char *text = cl_arena_alloc(arena, raw.n);
	size_t n = 0;
	for (size_t i = 0; i < raw.n; i++) {
		if (raw.p[i] != '~') {
			text[n++] = raw.p[i];
			continue;
		}
		if (++i == raw.n || (raw.p[i] != '0' && raw.p[i] != '1'))
			return false;
		text[n++] = raw.p[i] == '0' ? '~' : '/';
	}
	*token = (struct cl_str){text, n};
	return true;
}

/* An array index as RFC 6901 section 4 writes it: no sign, no leading zero. -1 when it is none. */
static int64_t index_of(struct cl_str token)
{
	int64_t index = 0;
	if (token.n == 0 || token.n > 9 || (token.n > 1 && token.p[0] == '0'))
		return -1;
	for (size_t i = 0; i < token.n; i++) {
		if (token.p[i] < '0' || token.p[i] > '9')
			return -1;
		index = index * 10 + (token.p[i] - '0');
	}
	return index;
}

static struct cl_json *child(struct cl_json *parent, struct cl_str token)
{
	if (parent->kind == CL_JSON_OBJECT)
		return cl_json_get_str(parent, token);
	if (parent->kind != CL_JSON_ARRAY)
		return NULL;
	int64_t index = index_of(token);
	return index >= 0 && index < parent->count ? &parent->items[index] : NULL;
}

/* Everything above the place must be there; the place itself need not be. 0, CL_E_INVALID or CL_E_NOT_FOUND. */
static int walk(struct cl_arena *arena, struct cl_json *document, struct cl_str pointer, struct cl_place *place)
{
	*place = (struct cl_place){.value = document};
	if (pointer.n && pointer.p[0] != '/')
		return CL_E_INVALID;
	while (pointer.n) {
		struct cl_json *parent = place->value;
		if (!parent || (parent->kind != CL_JSON_OBJECT && parent->kind != CL_JSON_ARRAY))
			return CL_E_NOT_FOUND;
		if (!next_token(arena, &pointer, &place->token))
			return CL_E_INVALID;
		place->parent = parent;
		place->value = child(parent, place->token);
		place->depth++;
	}
	return 0;
}

struct cl_json *cl_json_pointer(struct cl_arena *arena, struct cl_json *document, struct cl_str pointer)
{
	struct cl_place place;
	return walk(arena, document, pointer, &place) ? NULL : place.value;
}

static int find(struct cl_patching *patching, struct cl_str pointer, const char *member, bool must_exist,
                struct cl_place *place)
{
	int code = walk(patching->arena, patching->document, pointer, place);
	int shown = (int)(pointer.n < 120 ? pointer.n : 120);
	if (!code && must_exist && !place->value)
		code = CL_E_NOT_FOUND;
	if (!code)
		return 0;
	if (code == CL_E_INVALID)
		cl_fail(patching->e, code, "'%.*s' is no JSON Pointer: it starts with '/', and '~' is written '~0'",
		        shown, pointer.p);
	else
		cl_fail(patching->e, CL_E_RULE, "there is nothing at '%.*s'", shown, pointer.p);
	return fail_at(patching, member);
}

/* ---- budgets ---- */

static uint64_t size_of(const struct cl_json *value, uint32_t *deepest, uint32_t depth)
{
	uint64_t nodes = 1;
	if (depth > *deepest)
		*deepest = depth;
	if (value->kind == CL_JSON_ARRAY)
		for (uint32_t i = 0; i < value->count; i++)
			nodes += size_of(&value->items[i], deepest, depth + 1);
	if (value->kind == CL_JSON_OBJECT)
		for (uint32_t i = 0; i < value->count; i++)
			nodes += size_of(&value->members[i].value, deepest, depth + 1);
	return nodes;
}

static int spend(struct cl_patching *patching, uint64_t nodes, uint64_t work)
{
	patching->nodes += nodes;
	patching->work += work;
	if (patching->nodes <= CL_PATCH_NODES && patching->work <= CL_PATCH_WORK)
		return 0;
	cl_fail(patching->e, CL_E_TOO_LARGE, "the patch is too much work; send the whole resource instead");
	return fail_at(patching, "");
}

/* A copy of `value` that may stand at `depth`. */
static int take(struct cl_patching *patching, const struct cl_json *value, uint32_t depth, struct cl_json *out)
{
	uint32_t deepest = 0;
	uint64_t nodes = size_of(value, &deepest, 0);
	int code = spend(patching, nodes, nodes);
	if (code)
		return code;
	if (depth + deepest > CL_PATCH_DEPTH) {
		cl_fail(patching->e, CL_E_TOO_LARGE, "the patch nests values deeper than %d", CL_PATCH_DEPTH);
		return fail_at(patching, "path");
	}
	*out = *cl_json_copy(patching->arena, value);
	return 0;
}

/* ---- operations ---- */

static int insert(struct cl_patching *patching, const struct cl_place *place, struct cl_json value)
{
	struct cl_json *parent = place->parent;
	if (!parent) {
		*patching->document = value;
		return 0;
	}
	if (parent->kind == CL_JSON_OBJECT) {
		int code = spend(patching, 0, parent->count);
		if (!code)
			*cl_json_set(patching->arena, parent, place->token) = value;
		return code;
	}
	int64_t index = cl_str_is(place->token, "-") ? parent->count : index_of(place->token);
	if (index < 0 || index > parent->count) {
		cl_fail(patching->e, CL_E_RULE, "'%.*s' is no place in an array of %u; '-' is its end",
		        (int)(place->token.n < 40 ? place->token.n : 40), place->token.p, parent->count);
		return fail_at(patching, "path");
	}
	int code = spend(patching, 0, parent->count - (uint64_t)index);
	if (code)
		return code;
	cl_json_append(patching->arena, parent);
	memmove(&parent->items[index + 1], &parent->items[index],
	        (size_t)(parent->count - 1 - index) * sizeof *parent->items);
	parent->items[index] = value;
	return 0;
}

static void cut(struct cl_json *parent, struct cl_json *value)
{
	if (parent->kind == CL_JSON_ARRAY) {
		size_t index = (size_t)(value - parent->items);
		memmove(value, value + 1, (parent->count - index - 1) * sizeof *value);
	} else {
		struct cl_json_member *member =
		        (struct cl_json_member *)(void *)((char *)value - offsetof(struct cl_json_member, value));
		size_t index = (size_t)(member - parent->members);
		memmove(member, member + 1, (parent->count - index - 1) * sizeof *member);
	}
	parent->count--;
}

static int remove_at(struct cl_patching *patching, const struct cl_place *place, const char *member)
{
	if (!place->parent) {
		cl_fail(patching->e, CL_E_RULE, "a patch cannot remove the whole document");
		return fail_at(patching, member);
	}
	int code = spend(patching, 0, place->parent->count);
	if (!code)
		cut(place->parent, place->value);
	return code;
}

/* Digits without leading and trailing zeros, and the power of ten of the last one: the same for 1.50, 15e-1 and 1.5. */
struct cl_decimal {
	bool negative;
	struct cl_str digits; /* in the arena; empty for zero */
	int64_t exponent;
};

static struct cl_decimal decimal_of(struct cl_arena *arena, struct cl_str text)
{
	struct cl_decimal out = {0};
	char *digits = cl_arena_alloc(arena, text.n + 1);
	size_t n = 0, i = 0;
	bool fraction = false;
	if (text.n && text.p[0] == '-') {
		out.negative = true;
		i++;
	}
	for (; i < text.n && text.p[i] != 'e' && text.p[i] != 'E'; i++) {
		if (text.p[i] == '.') {
			fraction = true;
			continue;
		}
		if (n || text.p[i] != '0')
			digits[n++] = text.p[i];
		out.exponent -= fraction;
	}
	if (i < text.n) {
		bool below = text.p[++i] == '-';
		int64_t exponent = 0;
		for (i += text.p[i] == '-' || text.p[i] == '+'; i < text.n && exponent < INT64_C(1000000000000); i++)
			exponent = exponent * 10 + (text.p[i] - '0');
		out.exponent += below ? -exponent : exponent;
	}
	while (n && digits[n - 1] == '0') {
		n--;
		out.exponent++;
	}
	out.digits = (struct cl_str){digits, n};
	if (!n)
		out = (struct cl_decimal){0};
	return out;
}

static bool same_number(struct cl_patching *patching, struct cl_str a, struct cl_str b)
{
	if (cl_str_equal(a, b))
		return true;
	patching->nodes += (a.n + b.n) / sizeof(struct cl_json);
	if (patching->nodes > CL_PATCH_NODES)
		return false;
	struct cl_decimal x = decimal_of(patching->arena, a), y = decimal_of(patching->arena, b);
	return x.negative == y.negative && x.exponent == y.exponent && cl_str_equal(x.digits, y.digits);
}

/* RFC 6902 section 4.6: numbers are equal when their values are, whatever their text. Too much work is no equality: the caller
 * looks at the budget. */
static bool same(struct cl_patching *patching, const struct cl_json *a, const struct cl_json *b)
{
	if (a->kind != b->kind || ++patching->work > CL_PATCH_WORK)
		return false;
	switch (a->kind) {
	case CL_JSON_NUMBER:
		return same_number(patching, a->text, b->text);
	case CL_JSON_ARRAY:
		for (uint32_t i = 0; a->count == b->count && i < a->count; i++)
			if (!same(patching, &a->items[i], &b->items[i]))
				return false;
		return a->count == b->count;
	case CL_JSON_OBJECT:
		for (uint32_t i = 0; a->count == b->count && i < a->count; i++) {
			const struct cl_json *other = cl_json_get_str(b, a->members[i].name);
			patching->work += b->count;
			if (!other || !same(patching, &a->members[i].value, other))
				return false;
		}
		return a->count == b->count;
	default:
		return cl_json_equal(a, b);
	}
}

static int test(struct cl_patching *patching, const struct cl_place *place, const struct cl_json *value)
{
	bool equal = same(patching, place->value, value);
	int code = spend(patching, 0, 0);
	if (code || equal)
		return code;
	cl_fail(patching->e, CL_E_RULE, "the test fails: something else stands there, so nothing was changed");
	return fail_at(patching, "path");
}

/* ---- reading an operation ---- */

static int member_text(struct cl_patching *patching, const struct cl_json *operation, const char *name,
                       struct cl_str *out)
{
	const struct cl_json *value = cl_json_get(operation, name);
	if (value && value->kind == CL_JSON_STRING) {
		*out = value->text.p ? value->text : CL_STR("");
		return 0;
	}
	cl_fail(patching->e, CL_E_INVALID, "the operation needs '%s', a string", name);
	return fail_at(patching, value ? name : "");
}

/* "/a/b" begins with "/a". */
static bool lies_within(struct cl_str path, struct cl_str from)
{
	return path.n > from.n && (!from.n || memcmp(path.p, from.p, from.n) == 0) && path.p[from.n] == '/';
}

static int apply_from(struct cl_patching *patching, const struct cl_json *operation, struct cl_str path, bool move)
{
	struct cl_place from, to;
	struct cl_str pointer;
	struct cl_json value;
	int code = member_text(patching, operation, "from", &pointer);
	if (!code)
		code = find(patching, pointer, "from", true, &from);
	if (code)
		return code;
	if (move && cl_str_equal(pointer, path))
		return 0;
	if (move && lies_within(path, pointer)) {
		cl_fail(patching->e, CL_E_RULE, "a value cannot be moved into itself");
		return fail_at(patching, "path");
	}
	code = take(patching, from.value, 0, &value);
	if (!code && move)
		code = remove_at(patching, &from, "from");
	/* After the removal: an array's indexes are those without it (RFC 6902 section 4.4). */
	if (!code)
		code = find(patching, path, "path", false, &to);
	uint32_t deepest = 0;
	if (!code && size_of(&value, &deepest, 0) && to.depth + deepest > CL_PATCH_DEPTH) {
		cl_fail(patching->e, CL_E_TOO_LARGE, "the patch nests values deeper than %d", CL_PATCH_DEPTH);
		code = fail_at(patching, "path");
	}
	return code ? code : insert(patching, &to, value);
}

static int apply(struct cl_patching *patching, const struct cl_json *operation)
{
	struct cl_str name, path;
	struct cl_place place;
	struct cl_json value;
	if (operation->kind != CL_JSON_OBJECT) {
		cl_fail(patching->e, CL_E_INVALID, "an operation is an object");
		return fail_at(patching, "");
	}
	int code = member_text(patching, operation, "op", &name);
	if (!code)
		code = member_text(patching, operation, "path", &path);
	if (code)
		return code;
	if (cl_str_is(name, "move") || cl_str_is(name, "copy"))
		return apply_from(patching, operation, path, cl_str_is(name, "move"));
	bool add = cl_str_is(name, "add"), cuts = cl_str_is(name, "remove"), replace = cl_str_is(name, "replace");
	if (!add && !cuts && !replace && !cl_str_is(name, "test")) {
		cl_fail(patching->e, CL_E_INVALID, "'op' is add, remove, replace, move, copy or test");
		return fail_at(patching, "op");
	}
	const struct cl_json *given = cl_json_get(operation, "value");
	if (!given && !cuts) {
		cl_fail(patching->e, CL_E_INVALID, "the operation needs 'value'");
		return fail_at(patching, "");
	}
	code = find(patching, path, "path", !add, &place);
	if (code || cuts)
		return code ? code : remove_at(patching, &place, "path");
	if (!add && !replace)
		return test(patching, &place, given);
	code = take(patching, given, place.depth, &value);
	if (code)
		return code;
	if (replace) {
		*place.value = value;
		return 0;
	}
	return insert(patching, &place, value);
}

int cl_json_patch(struct cl_arena *arena, struct cl_json *document, const struct cl_json *patch, struct cl_err *e)
{
	struct cl_patching patching = {.arena = arena, .document = document, .e = e};
	int code = 0;
	if (patch->kind != CL_JSON_ARRAY)
		return cl_fail(e, CL_E_INVALID, "a JSON Patch is an array of operations");
	if (patch->count > CL_JSON_PATCH_OPERATIONS)
		return cl_fail(e, CL_E_TOO_LARGE, "a patch may have at most %d operations; this one has %u",
		               CL_JSON_PATCH_OPERATIONS, patch->count);
	for (; !code && patching.index < patch->count; patching.index++)
		code = apply(&patching, &patch->items[patching.index]);
	return code;
}

static bool is_empty(const struct cl_json *value)
{
	return (value->kind == CL_JSON_ARRAY || value->kind == CL_JSON_OBJECT) && !value->count;
}

void cl_json_patch_prune(struct cl_arena *arena, struct cl_json *document, const struct cl_json *patch)
{
	for (uint32_t i = 0; patch->kind == CL_JSON_ARRAY && i < patch->count; i++) {
		struct cl_str name = cl_json_get_text(&patch->items[i], "op");
		struct cl_str path = cl_json_get_text(&patch->items[i], cl_str_is(name, "move") ? "from" : "path");
		if (!cl_str_is(name, "move") && !cl_str_is(name, "remove"))
			continue;
		/* From the removed value's parent upwards, as long as there is nothing in it. */
		for (;;) {
			while (path.n && path.p[path.n - 1] != '/')
				path.n--;
			path.n -= path.n > 0;
			struct cl_place place;
			if (!path.n || walk(arena, document, path, &place) || !place.value || !place.parent ||
			    !is_empty(place.value))
				break;
			cut(place.parent, place.value);
		}
	}
}
