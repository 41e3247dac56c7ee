/* search.c: searches of a type, a compartment or everything. Rows come from the store with the access predicate in
 * the same SQL. */
#include "org/engine/search_page.h"
#include "org/fhir/index.h"
#include "org/fhir/types.h"

int cl_interaction_condition(struct cl_interaction_context *context, uint16_t type, struct cl_str text,
                             struct cl_criterion **out, struct cl_err *e)
{
	struct cl_fhir_search search;
	struct cl_fhir_search_context parse = {
	        .type = type,
	        .base = cl_arena_printf(context->arena, "%.*s/fhir", CL_STR_ARGS(context->request->base)),
	        .now = context->now};
	int code = cl_fhir_search_parse(context->arena, &parse, text, &search, e);
	*out = code ? NULL : search.query.where;
	cl_access_guard(context->rules->access, context->arena, context->principal, *out);
	return code;
}

/* What was searched for, without the values: those may be health information. The body of a POST may hold any bytes. */
static struct cl_str audit_target(struct cl_interaction_context *context, struct cl_str query)
{
	struct cl_buf text;
	cl_buf_init(&text, 400);
	cl_buf_add_str(&text, cl_fhir_type_name(context->route->type));
	bool in_value = false;
	for (size_t i = 0; i < query.n; i++) {
		if (i == 0)
			cl_buf_add_byte(&text, '?');
		if (query.p[i] == '&')
			in_value = false;
		if (!in_value)
			cl_buf_add_byte(&text, query.p[i] > ' ' && query.p[i] < 0x7f ? query.p[i] : '?');
		if (query.p[i] == '=')
			in_value = true;
	}
	struct cl_str copy = cl_arena_copy(context->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

static bool lenient(const struct cl_request *request)
{
	struct cl_str prefer = cl_request_header(request, "prefer");
	return prefer.n && memmem(prefer.p, prefer.n, "handling=lenient", 16);
}

static int check_form(const struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_str type = cl_request_header(context->request, "content-type");
	if (!cl_str_is(context->request->method, "POST") || cl_str_starts(type, "application/x-www-form-urlencoded"))
		return 0;
	return cl_fail(e, CL_E_MEDIA_TYPE, "_search takes application/x-www-form-urlencoded");
}

/* ---- what is searched ---- */

static void add_criterion(struct cl_arena *arena, struct cl_criterion **where, struct cl_criterion more)
{
	struct cl_criterion *both = CL_NEW(arena, struct cl_criterion);
	*both = (struct cl_criterion){.kind = CL_AND, .children = CL_NEW_ARRAY(arena, struct cl_criterion, 2)};
	both->children[both->child_count++] = more;
	if (*where)
		both->children[both->child_count++] = **where;
	*where = both;
}

/* What is in the compartment (R4 section 2.2 "compartments"). False when the type never is. A patient's has index values of its
 * own, because access asks for it too; the others are what the references say. */
static bool in_compartment(struct cl_arena *arena, const struct cl_route *route, uint16_t type,
                           struct cl_criterion *out)
{
	unsigned count;
	if (route->compartment_type == CL_TYPE_PATIENT) {
		*out = (struct cl_criterion){.kind = CL_COMPARTMENT, .b = route->compartment};
		return true;
	}
	const uint16_t *parameters = cl_fhir_compartment(route->compartment_type, type, &count);
	*out = (struct cl_criterion){.kind = CL_OR, .children = CL_NEW_ARRAY(arena, struct cl_criterion, count + 1)};
	for (unsigned i = 0; i < count; i++)
		out->children[out->child_count++] =
		        parameters[i] ? (struct cl_criterion){.kind = CL_REFERENCE,
		                                              .parameter = parameters[i],
		                                              .a = cl_fhir_type_name(route->compartment_type),
		                                              .b = route->compartment}
		                      : (struct cl_criterion){.kind = CL_ID, .b = route->compartment};
	return count > 0;
}

static struct cl_str path_of(const struct cl_interaction_context *context)
{
	const struct cl_route *route = context->route;
	struct cl_str base = context->request->base, name = cl_fhir_type_name(route->type);
	if (route->compartment.n)
		return cl_arena_printf(context->arena, "%.*s/fhir/%.*s/%.*s/%.*s", CL_STR_ARGS(base),
		                       CL_STR_ARGS(cl_fhir_type_name(route->compartment_type)),
		                       CL_STR_ARGS(route->compartment), CL_STR_ARGS(route->type ? name : CL_STR("*")));
	return cl_arena_printf(context->arena, "%.*s/fhir%s%.*s", CL_STR_ARGS(base), route->type ? "/" : "",
	                       CL_STR_ARGS(name));
}

/* One type's part of the search: read, guarded by what the principal may see, bound to its compartment. CL_E_FORBIDDEN when
 * nothing of the type may be searched; *possible is false when nothing of it can match. */
static int prepare(struct cl_interaction_context *context, uint16_t type, bool across, struct cl_fhir_search *search,
                   bool *possible, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_criterion compartment;
	struct cl_fhir_search_context parse = {
	        .type = type,
	        .base = cl_arena_printf(context->arena, "%.*s/fhir", CL_STR_ARGS(context->request->base)),
	        .now = context->now,
	        .lenient = lenient(context->request),
	        .across = across};
	*possible = true;
	int code = cl_fhir_search_parse(context->arena, &parse, route->query, search, e);
	if (!code)
		code = cl_access_predicate(context->rules->access, context->arena, context->principal, CL_ACCESS_SEARCH,
		                           type, &search->query.access, &context->rule, e);
	if (code)
		return code;
	cl_access_guard(context->rules->access, context->arena, context->principal, search->query.where);
	if (route->compartment.n) {
		*possible = in_compartment(context->arena, route, type, &compartment);
		add_criterion(context->arena, &search->query.where, compartment);
	}
	search->query.bodies = search->summary != CL_SUMMARY_COUNT && search->query.limit;
	search->query.want_total |= !search->query.bodies;
	search->query.after = search->page;
	search->query.question =
	        cl_arena_printf(context->arena, "%.*s?%.*s", CL_STR_ARGS(path_of(context)), CL_STR_ARGS(search->self));
	search->query.extract = cl_fhir_index_text;
	search->query.across = across;
	return 0;
}

static int search_type(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_fhir_search search;
	struct cl_search_result result = {0};
	bool possible;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_SEARCH, context->route->type,
	                         &context->rule, e);
	if (!code)
		code = prepare(context, context->route->type, false, &search, &possible, e);
	if (!code && !possible)
		code = cl_fail(e, CL_E_INVALID, "a %.*s is in no %.*s compartment",
		               CL_STR_ARGS(cl_fhir_type_name(context->route->type)),
		               CL_STR_ARGS(cl_fhir_type_name(context->route->compartment_type)));
	if (!code)
		code = cl_store_search(context->store, context->arena, &search.query, &result, e);
	if (code)
		return code;
	struct cl_search_page page = {.context = context,
	                              .search = &search,
	                              .path = path_of(context),
	                              .items = result.items,
	                              .count = result.count,
	                              .after = result.after,
	                              .total = result.total};
	return cl_search_page_write(&page, e);
}

/* ---- several types: one query each, merged ---- */

struct across {
	struct cl_interaction_context *context;
	struct cl_fhir_search first; /* how the whole is shown */
	bool begun;
	struct cl_version *items;
	struct cl_str *places;
	size_t count, capacity;
	bool more;
	int64_t total;
};

static int search_one_of(struct across *across, uint16_t type, struct cl_err *e)
{
	struct cl_interaction_context *context = across->context;
	struct cl_fhir_search search;
	struct cl_search_result result = {0};
	bool possible;
	int code = prepare(context, type, true, &search, &possible, e);
	if (code)
		return code;
	if (!across->begun)
		across->first = search;
	across->begun = true;
	if (!possible || (!search.query.want_total && across->more && !search.query.sort_count))
		return 0;
	code = cl_store_search(context->store, context->arena, &search.query, &result, e);
	if (code)
		return code;
	across->more |= result.after.n > 0;
	across->total += result.total > 0 ? result.total : 0;
	if (across->count + result.count > across->capacity) {
		size_t capacity = (across->count + result.count) * 2;
		struct cl_version *items = CL_NEW_ARRAY(context->arena, struct cl_version, capacity);
		struct cl_str *places = CL_NEW_ARRAY(context->arena, struct cl_str, capacity);
		if (across->count) {
			memcpy(items, across->items, across->count * sizeof *items);
			memcpy(places, across->places, across->count * sizeof *places);
		}
		across->items = items;
		across->places = places;
		across->capacity = capacity;
	}
	for (size_t i = 0; i < result.count; i++, across->count++) {
		across->items[across->count] = result.items[i];
		across->places[across->count] = result.places[i];
	}
	across->more |= across->count > across->first.query.limit;
	return 0;
}

/* The order of the store (store.h): ties go by row, in the direction of the first sort. */
static int compare_across(const struct cl_query *query, const struct cl_version *x, const struct cl_version *y)
{
	int order = 0;
	for (size_t i = 0; i < query->sort_count && !order; i++) {
		order = query->sorts[i].by_id ? cl_str_compare(x->id, y->id)
		                              : (x->updated > y->updated) - (x->updated < y->updated);
		order = query->sorts[i].descending ? -order : order;
	}
	if (order)
		return order;
	order = (x->row > y->row) - (x->row < y->row);
	return query->sort_count && query->sorts[0].descending ? -order : order;
}

static void sort_across(struct across *across)
{
	/* Few at a time, and most of them in order: by insertion. */
	for (size_t i = 1; i < across->count; i++) {
		struct cl_version item = across->items[i];
		struct cl_str place = across->places[i];
		size_t k = i;
		for (; k && compare_across(&across->first.query, &item, &across->items[k - 1]) < 0; k--) {
			across->items[k] = across->items[k - 1];
			across->places[k] = across->places[k - 1];
		}
		across->items[k] = item;
		across->places[k] = place;
	}
	size_t limit = across->first.query.limit;
	if (across->count > limit)
		across->count = limit;
}

/* The value of _type; empty when there is none. */
static int find_types(struct cl_interaction_context *context, struct cl_str *out, struct cl_err *e)
{
	struct cl_str rest = context->route->query, name, value;
	*out = CL_STR_NONE;
	while (rest.n) {
		const char *and = memchr(rest.p, '&', rest.n);
		struct cl_str pair = {rest.p, and? (size_t)(and-rest.p) : rest.n};
		rest = and? (struct cl_str){and+1, rest.n - pair.n - 1} : CL_STR_NONE;
		const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		size_t n = equals ? (size_t)(equals - pair.p) : pair.n;
		int code = cl_fhir_url_decode(context->arena, (struct cl_str){pair.p, n}, &name, e);
		if (code || !equals || !cl_str_is(name, "_type"))
			continue;
		code = cl_fhir_url_decode(context->arena, (struct cl_str){equals + 1, pair.n - n - 1}, &value, e);
		if (code)
			return code;
		if (out->n)
			return cl_fail(e, CL_E_INVALID, "_type may be given once, with commas between the types");
		*out = value;
	}
	return 0;
}

static int search_across(struct cl_interaction_context *context, struct cl_err *e)
{
	struct across across = {.context = context};
	struct cl_str types = CL_STR_NONE, rule = CL_STR_NONE;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_SEARCH, 0, &rule, e);
	if (!code)
		code = find_types(context, &types, e);
	bool named = !code && types.n > 0, wanted[CL_TYPE_END] = {false};
	while (!code && types.n) {
		const char *comma = memchr(types.p, ',', types.n);
		struct cl_str name = {types.p, comma ? (size_t)(comma - types.p) : types.n};
		types = comma ? (struct cl_str){comma + 1, types.n - name.n - 1} : CL_STR_NONE;
		uint16_t type = cl_fhir_type(name);
		wanted[type] = type > 0;
		code = type ? 0
		            : cl_fail(e, CL_E_INVALID, "_type: '%.*s' is no FHIR R4 resource type",
		                      (int)(name.n < 60 ? name.n : 60), name.p);
	}
	/* In the order of their rows, which is the order of a search without sorts. */
	for (uint16_t type = 1; !code && type < CL_TYPE_END; type++) {
		struct cl_err problem = {0};
		if (!named || wanted[type])
			code = search_one_of(&across, type, &problem);
		/* What nobody asked for by name is passed over when it may not be searched. */
		if (code == CL_E_FORBIDDEN && !named)
			code = 0;
		else if (code)
			*e = problem;
	}
	if (code)
		return code;
	if (!across.begun)
		return cl_fail(e, CL_E_FORBIDDEN, "no role allows a search of any type");
	sort_across(&across);
	struct cl_search_page page = {.context = context,
	                              .search = &across.first,
	                              .path = path_of(context),
	                              .items = across.items,
	                              .count = across.count,
	                              .after = across.more && across.count ? across.places[across.count - 1]
	                                                                   : CL_STR_NONE,
	                              .total = across.first.query.want_total ? across.total : -1};
	return cl_search_page_write(&page, e);
}

int cl_interaction_search(struct cl_interaction_context *context, struct cl_err *e)
{
	context->target = audit_target(context, context->route->query);
	int code = check_form(context, e);
	if (code)
		return code;
	return context->route->type ? search_type(context, e) : search_across(context, e);
}
