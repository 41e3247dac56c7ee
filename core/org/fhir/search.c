/* search.c: the query string, and the parameters that say what to do with the results (R4 section 3.1.1.5). */
#include "org/fhir/search_internal.h"
#include "base/utf8.h"
#include "org/fhir/types.h"

/* Parameters in one query string; each may have many values. */
#define MOST_PARAMETERS 500

int cl_fhir_url_decode(struct cl_arena *arena, struct cl_str text, struct cl_str *out, struct cl_err *e)
{
	char *decoded = cl_arena_alloc(arena, text.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (c == '+') {
			c = ' ';
		} else if (c == '%') {
			int value = 0;
			for (size_t k = 1; k <= 2; k++) {
				char d = i + k < text.n ? text.p[i + k] : 0;
				int digit = d >= '0' && d <= '9'   ? d - '0'
				            : d >= 'a' && d <= 'f' ? d - 'a' + 10
				            : d >= 'A' && d <= 'F' ? d - 'A' + 10
				                                   : -1;
				if (digit < 0)
					return cl_fail(e, CL_E_INVALID,
					               "The query has a %% without two hexadecimal digits; write %%25 "
					               "for the sign.");
				value = value * 16 + digit;
			}
			c = (char)value;
			i += 2;
		}
		if (c == 0)
			return cl_fail(e, CL_E_INVALID, "The query must not contain U+0000.");
		decoded[n++] = c;
	}
	*out = (struct cl_str){decoded, n};
	if (!cl_utf8_valid(*out))
		return cl_fail(e, CL_E_INVALID, "The query is not UTF-8.");
	return 0;
}

/* ---- lists that grow in the arena ---- */

#define GROW(arena, items, count, type)                                                                                \
	do {                                                                                                           \
		if (((count) & ((count)-1)) == 0) {                                                                    \
			type *grown = CL_NEW_ARRAY(arena, type, (count) ? (count)*2 : 1);                              \
			if (count)                                                                                     \
				memcpy(grown, items, (count) * sizeof(type));                                          \
			(items) = grown;                                                                               \
		}                                                                                                      \
	} while (0)

struct parser {
	struct cl_search_reader reader;
	struct cl_fhir_search *out;
	struct cl_criterion *criteria;
	size_t criterion_count;
	struct cl_buf self;
	unsigned seen; /* bit per parameter that may come once */
	bool counted;
};

static int refuse(struct cl_err *e, struct cl_str name, const char *text)
{
	cl_fail(e, CL_E_INVALID, "Search parameter \"%.*s\": %s", (int)(name.n < 80 ? name.n : 80), name.p, text);
	cl_fail_at(e, "%.*s", CL_STR_ARGS(name));
	return CL_E_INVALID;
}

/* ---- _count, _sort, _total, _summary, _elements ---- */

static int read_count(struct parser *p, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	uint32_t count = 0;
	if (value.n == 0 || value.n > 9)
		return refuse(e, name, "use a whole number from 0 to 1000.");
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return refuse(e, name, "use a whole number from 0 to 1000.");
		count = count * 10 + (uint32_t)(value.p[i] - '0');
	}
	/* "The server SHALL not return more than requested, but may return less": larger pages are cut to ours. */
	p->out->query.limit = count < CL_FHIR_COUNT_MAXIMUM ? count : CL_FHIR_COUNT_MAXIMUM;
	if (count == 0)
		p->out->summary = CL_SUMMARY_COUNT;
	p->counted = true;
	return 0;
}

static int read_sort(struct parser *p, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	struct cl_query *query = &p->out->query;
	while (value.n) {
		size_t at = cl_search_find(value, ',');
		struct cl_str key = {value.p, at};
		value = (struct cl_str){value.p + at + (at < value.n), value.n - at - (at < value.n)};
		struct cl_sort sort = {0};
		if (key.n && key.p[0] == '-') {
			sort.descending = true;
			key = (struct cl_str){key.p + 1, key.n - 1};
		}
		if (cl_str_is(key, "_id")) {
			sort.by_id = true;
		} else if (p->reader.context->across && !cl_str_is(key, "_lastUpdated")) {
			return refuse(e, name, "searches of several types are sorted by _id and _lastUpdated only.");
		} else if (!cl_str_is(key, "_lastUpdated")) {
			const struct cl_fhir_parameter *parameter = cl_fhir_search_parameter(query->type, key);
			if (!parameter)
				return cl_search_unknown(&p->reader, query->type, key, e);
			sort.parameter = parameter->number;
			sort.kind = (uint8_t)cl_fhir_parameter_index_kind(parameter);
			if (sort.kind != CL_INDEX_DATE && sort.kind != CL_INDEX_STRING && sort.kind != CL_INDEX_TOKEN &&
			    sort.kind != CL_INDEX_NUMBER && sort.kind != CL_INDEX_QUANTITY)
				return refuse(e, name,
				              "only date, string, token, number and quantity parameters, _id and "
				              "_lastUpdated can be sorted by.");
		}
		if (query->sort_count == 8)
			return refuse(e, name, "eight keys at most.");
		GROW(p->reader.arena, query->sorts, query->sort_count, struct cl_sort);
		query->sorts[query->sort_count++] = sort;
	}
	return query->sort_count
	               ? 0
	               : refuse(e, name, "name a parameter to sort by, with - before it for descending order.");
}

static int read_total(struct parser *p, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	if (cl_str_is(value, "accurate") || cl_str_is(value, "estimate"))
		p->out->query.want_total = true;
	else if (!cl_str_is(value, "none"))
		return refuse(e, name, "use none, estimate or accurate.");
	return 0;
}

static int read_summary(struct parser *p, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	static const char *const words[] = {"false", "true", "text", "data", "count"};
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (cl_str_is(value, words[i])) {
			/* _count=0 already asked for the total alone. */
			if (p->out->summary != CL_SUMMARY_COUNT)
				p->out->summary = (enum cl_fhir_summary)i;
			return 0;
		}
	}
	return refuse(e, name, "use true, text, data, count or false.");
}

static int read_elements(struct parser *p, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	const struct cl_fhir_node *node = cl_fhir_type_node(p->out->query.type);
	while (value.n) {
		size_t at = cl_search_find(value, ',');
		struct cl_str element = {value.p, at};
		value = (struct cl_str){value.p + at + (at < value.n), value.n - at - (at < value.n)};
		const struct cl_fhir_element *known = NULL, *found = NULL;
		for (unsigned i = 0; !found && (known = cl_fhir_element_at(node, i)) != NULL; i++) {
			if (cl_str_equal(cl_fhir_element_base_name(known), element))
				found = known;
		}
		if (!found && !p->reader.context->lenient && !p->reader.context->across)
			return refuse(e, name, "name elements of the resource's first level, like id,status,code.");
		if (!found)
			continue;
		if (p->out->element_count > 200)
			return refuse(e, name, "200 elements at most.");
		GROW(p->reader.arena, p->out->elements, p->out->element_count, struct cl_str);
		p->out->elements[p->out->element_count++] = cl_fhir_element_base_name(found);
	}
	return 0;
}

/* ---- _include, _revinclude ---- */

static struct cl_str take(struct cl_str *rest)
{
	const char *colon = rest->n ? memchr(rest->p, ':', rest->n) : NULL;
	struct cl_str part = {rest->p, colon ? (size_t)(colon - rest->p) : rest->n};
	size_t taken = colon ? part.n + 1 : part.n;
	*rest = (struct cl_str){rest->p + taken, rest->n - taken};
	return part;
}

static int read_include(struct parser *p, struct cl_str name, bool reverse, bool iterate, struct cl_str value,
                        struct cl_err *e)
{
	struct cl_fhir_include include = {.reverse = reverse, .iterate = iterate};
	struct cl_str rest = value, source = take(&rest), code = take(&rest), target = take(&rest);
	if (p->out->include_count == 32)
		return refuse(e, name, "32 of these at most.");
	if (rest.n)
		return refuse(e, name, "write Type:parameter or Type:parameter:TargetType.");
	bool all = cl_str_is(source, "*");
	if (all && (code.n || reverse))
		return refuse(e, name,
		              reverse ? "write Type:parameter or Type:*, a bare * would read everything."
		                      : "write * alone, Type:*, or Type:parameter.");
	if (!all) {
		include.source = cl_fhir_type(source);
		if (!include.source)
			return refuse(e, name, "its first part must be a FHIR R4 resource type, as in Task:patient.");
		if (!cl_str_is(code, "*")) {
			const struct cl_fhir_parameter *parameter = cl_fhir_search_parameter(include.source, code);
			if (!parameter)
				return cl_search_unknown(&p->reader, include.source, code, e);
			if (parameter->kind != CL_SEARCH_REFERENCE || !parameter->indexed)
				return refuse(e, name, "only reference parameters lead to other resources.");
			include.parameter = parameter->number;
		}
		if (!reverse && !iterate && include.source != p->out->query.type && !p->reader.context->across)
			return refuse(
			        e, name,
			        "its type must be the one searched for; use :iterate to go on from what was included.");
	}
	include.target = cl_fhir_type(target);
	if (target.n && !include.target)
		return refuse(e, name, "its last part must be a FHIR R4 resource type.");
	GROW(p->reader.arena, p->out->includes, p->out->include_count, struct cl_fhir_include);
	p->out->includes[p->out->include_count++] = include;
	return 0;
}

/* ---- the query string ---- */

enum { SEEN_COUNT = 1, SEEN_SORT = 2, SEEN_TOTAL = 4, SEEN_SUMMARY = 8, SEEN_ELEMENTS = 16, SEEN_PAGE = 32 };

static int once(struct parser *p, unsigned bit, struct cl_str name, struct cl_err *e)
{
	if (p->seen & bit)
		return refuse(e, name, "it may be given once.");
	p->seen |= bit;
	return 0;
}

/* True when `name` was a parameter about results; then *code says how it went, and *keep whether it belongs to
 * `self`. */
static bool read_result_parameter(struct parser *p, struct cl_str name, struct cl_str value, bool *keep, int *code,
                                  struct cl_err *e)
{
	static const struct {
		const char *name;
		unsigned bit;
		int (*read)(struct parser *p, struct cl_str name, struct cl_str value, struct cl_err *e);
	} known[] = {
	        {"_count", SEEN_COUNT, read_count},          {"_sort", SEEN_SORT, read_sort},
	        {"_total", SEEN_TOTAL, read_total},          {"_summary", SEEN_SUMMARY, read_summary},
	        {"_elements", SEEN_ELEMENTS, read_elements},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		if (!cl_str_is(name, known[i].name))
			continue;
		*code = once(p, known[i].bit, name, e);
		if (!*code)
			*code = known[i].read(p, name, value, e);
		if (known[i].bit == SEEN_COUNT) {
			*keep = false; /* written as it was understood */
			cl_buf_printf(&p->self, "%s_count=%u", p->self.n ? "&" : "", (unsigned)p->out->query.limit);
		}
		return true;
	}
	struct cl_str plain = {name.p, 0};
	while (plain.n < name.n && name.p[plain.n] != ':')
		plain.n++;
	bool include = cl_str_is(plain, "_include"), reverse = cl_str_is(plain, "_revinclude");
	if (include || reverse) {
		struct cl_str modifier = {name.p + plain.n, name.n - plain.n};
		bool iterate = cl_str_is(modifier, ":iterate") || cl_str_is(modifier, ":recurse");
		*code = modifier.n && !iterate ? refuse(e, name, "the only modifier is :iterate.")
		                               : read_include(p, name, reverse, iterate, value, e);
		return true;
	}
	if (cl_str_is(name, "_page")) {
		*keep = false;
		*code = once(p, SEEN_PAGE, name, e);
		p->out->page = value;
		return true;
	}
	if (cl_str_is(name, "_format") || cl_str_is(name, "_pretty") || cl_str_is(name, "") ||
	    (cl_str_is(name, "_type") && p->reader.context->across)) {
		*keep = name.n > 0;
		*code = 0;
		return true;
	}
	return false;
}

static int read_pair(struct parser *p, struct cl_str pair, struct cl_err *e)
{
	const char *equals = memchr(pair.p, '=', pair.n);
	size_t n = equals ? (size_t)(equals - pair.p) : pair.n;
	struct cl_str name, value;
	int code = cl_fhir_url_decode(p->reader.arena, (struct cl_str){pair.p, n}, &name, e);
	if (!code)
		code = cl_fhir_url_decode(
		        p->reader.arena, equals ? (struct cl_str){equals + 1, pair.n - n - 1} : CL_STR_NONE, &value, e);
	if (code)
		return code;
	bool keep = true;
	p->reader.unknown = false;
	if (!read_result_parameter(p, name, value, &keep, &code, e)) {
		if (p->criterion_count == MOST_PARAMETERS)
			return cl_fail(e, CL_E_LIMIT, "A search may have %d parameters at most.", MOST_PARAMETERS);
		GROW(p->reader.arena, p->criteria, p->criterion_count, struct cl_criterion);
		code = cl_search_read(&p->reader, p->out->query.type, name, value, 0, &p->criteria[p->criterion_count],
		                      e);
		if (!code)
			p->criterion_count++;
	}
	if (code == CL_E_INVALID && p->reader.context->lenient && p->reader.unknown) {
		GROW(p->reader.arena, p->out->ignored, p->out->ignored_count, struct cl_str);
		p->out->ignored[p->out->ignored_count++] = pair;
		return 0;
	}
	if (!code && keep) {
		if (p->self.n)
			cl_buf_add_byte(&p->self, '&');
		cl_buf_add_str(&p->self, pair);
	}
	return code;
}

int cl_fhir_search_parse(struct cl_arena *arena, const struct cl_fhir_search_context *context, struct cl_str text,
                         struct cl_fhir_search *out, struct cl_err *e)
{
	struct parser p = {.reader = {.arena = arena, .context = context}, .out = out};
	size_t pairs = 0;
	int code = 0;
	*out = (struct cl_fhir_search){.query = {.type = context->type, .limit = CL_FHIR_COUNT_DEFAULT}};
	if (!cl_fhir_type_node(context->type))
		return cl_fail(e, CL_E_INTERNAL, "There is no resource type %u to search.", (unsigned)context->type);
	cl_buf_init(&p.self, 0);
	while (text.n && !code) {
		const char *and = memchr(text.p, '&', text.n);
		struct cl_str pair = {text.p, and? (size_t)(and-text.p) : text.n};
		size_t taken = and? pair.n + 1 : pair.n;
		text = (struct cl_str){text.p + taken, text.n - taken};
		if (pair.n == 0)
			continue;
		if (++pairs > MOST_PARAMETERS)
			code = cl_fail(e, CL_E_LIMIT, "A search may have %d parameters at most.", MOST_PARAMETERS);
		else
			code = read_pair(&p, pair, e);
	}
	if (!code) {
		if (p.criterion_count) {
			out->query.where = CL_NEW(arena, struct cl_criterion);
			*out->query.where = (struct cl_criterion){
			        .kind = CL_AND, .children = p.criteria, .child_count = p.criterion_count};
			if (p.criterion_count == 1)
				*out->query.where = p.criteria[0];
		}
		if (out->summary == CL_SUMMARY_COUNT) {
			out->query.limit = 0;
			out->query.want_total = true;
		}
		out->self = cl_arena_copy(arena, cl_buf_str(&p.self));
	}
	cl_buf_free(&p.self);
	return code;
}
