/* codes.c: looking a code list up and asking it. */
#include "org/flow/codes.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <stdlib.h>

#define CODES_MOST 200000 /* of one list */

struct kept {
	struct kept *next;
	struct cl_codes codes;
};

struct cl_codes_cache {
	struct cl_arena *arena;
	struct kept *first;
};

struct cl_codes_cache *cl_codes_cache_new(struct cl_arena *arena)
{
	struct cl_codes_cache *cache = CL_NEW(arena, struct cl_codes_cache);
	cache->arena = arena;
	return cache;
}

/* ---- gathering ---- */

struct gathering {
	struct cl_arena *arena;
	struct cl_coded *items; /* malloc */
	size_t count, capacity;
	struct cl_str problem;
};

static void gather(struct gathering *gathering, struct cl_str system, struct cl_str code)
{
	if (!code.n)
		return;
	if (gathering->count == CODES_MOST) {
		gathering->problem = CL_STR("has more codes than can be loaded");
		return;
	}
	if (gathering->count == gathering->capacity) {
		gathering->capacity = gathering->capacity ? 2 * gathering->capacity : 64;
		gathering->items = realloc(gathering->items, gathering->capacity * sizeof *gathering->items);
		if (!gathering->items)
			cl_die("out of memory (codes)");
	}
	bool prefix = code.p[code.n - 1] == '*';
	gathering->items[gathering->count++] = (struct cl_coded){
	        .system = cl_arena_copy(gathering->arena, system),
	        .code = cl_arena_copy(gathering->arena, (struct cl_str){code.p, code.n - prefix}),
	        .prefix = prefix,
	};
}

/* ValueSet.expansion.contains nests. */
static void gather_expansion(struct gathering *gathering, const struct cl_json *contains, int depth)
{
	for (uint32_t i = 0; contains && depth < 20 && i < contains->count; i++) {
		const struct cl_json *item = &contains->items[i];
		if (!cl_json_is_true(cl_json_get(item, "abstract")))
			gather(gathering, cl_json_get_text(item, "system"), cl_json_get_text(item, "code"));
		gather_expansion(gathering, cl_json_get(item, "contains"), depth + 1);
	}
}

/* An expansion says all; without one only what compose enumerates can be known. */
static void gather_value_set(struct gathering *gathering, const struct cl_json *set)
{
	const struct cl_json *contains = cl_json_path(set, "expansion", "contains", NULL);
	const struct cl_json *include = cl_json_path(set, "compose", "include", NULL);
	if (contains) {
		gather_expansion(gathering, contains, 0);
		return;
	}
	if (cl_json_path(set, "compose", "exclude", NULL))
		gathering->problem = CL_STR("is a ValueSet with exclusions; load its expansion");
	for (uint32_t i = 0; include && i < include->count; i++) {
		const struct cl_json *one = &include->items[i], *concepts = cl_json_get(one, "concept");
		if (!concepts)
			gathering->problem = CL_STR("is a ValueSet that enumerates no codes; load its expansion");
		for (uint32_t k = 0; concepts && k < concepts->count; k++)
			gather(gathering, cl_json_get_text(one, "system"),
			       cl_json_get_text(&concepts->items[k], "code"));
	}
}

static int find_value_set(struct cl_unit *unit, struct cl_arena *scratch, struct cl_str url, struct cl_json **out,
                          struct cl_err *e)
{
	struct cl_fhir_search_context context = {.type = cl_fhir_type(CL_STR("ValueSet")), .now = unit->now};
	struct cl_search_result result = {0};
	struct cl_criterion where = {0};
	struct cl_query query = {.type = context.type, .where = &where, .limit = 20, .bodies = true};
	*out = NULL;
	int code = cl_fhir_search_criterion(scratch, &context, CL_STR("url"), url, &where, e);
	if (!code)
		code = cl_store_search(unit->store, scratch, &query, &result, e);
	/* The newest that is in use. */
	for (size_t i = result.count; !code && !*out && i-- > 0;) {
		struct cl_json *set;
		code = cl_json_parse(scratch, result.items[i].body, NULL, &set, e);
		if (!code && !cl_str_is(cl_json_get_text(set, "status"), "retired"))
			*out = set;
	}
	return code;
}

/* ---- order ---- */

static int compare(const void *left, const void *right)
{
	const struct cl_coded *a = left, *b = right;
	if (a->prefix != b->prefix)
		return a->prefix - b->prefix;
	int order = cl_str_compare(a->code, b->code);
	return order ? order : cl_str_compare(a->system, b->system);
}

static void settle(struct cl_arena *arena, struct gathering *gathering, struct cl_codes *codes)
{
	if (gathering->count)
		qsort(gathering->items, gathering->count, sizeof *gathering->items, compare);
	codes->count = gathering->count;
	codes->items = CL_NEW_ARRAY(arena, struct cl_coded, gathering->count + 1);
	for (size_t i = 0; i < gathering->count; i++) {
		codes->items[i] = gathering->items[i];
		codes->whole += !gathering->items[i].prefix;
	}
	codes->problem = gathering->problem;
	if (!codes->count && !codes->problem.n)
		codes->problem = CL_STR("is not loaded");
	free(gathering->items);
}

int cl_codes_find(struct cl_unit *unit, struct cl_str name, const struct cl_codes **out, struct cl_err *e)
{
	if (!unit->codes)
		unit->codes = cl_codes_cache_new(unit->arena);
	struct cl_codes_cache *cache = unit->codes;
	for (struct kept *kept = cache->first; kept; kept = kept->next)
		if (cl_str_equal(kept->codes.name, name)) {
			*out = &kept->codes;
			return 0;
		}
	const struct cl_code_list *list = cl_catalog_code_list(unit->catalog, name);
	if (!list)
		return cl_fail(e, CL_E_NOT_FOUND, "no plugin declares a code list '%.*s'", CL_STR_ARGS(name));
	struct gathering gathering = {.arena = cache->arena};
	struct cl_arena *scratch = cl_arena_new(0);
	struct cl_json *set = NULL;
	int code = find_value_set(unit, scratch, list->url, &set, e);
	if (set)
		gather_value_set(&gathering, set);
	for (size_t i = 0; !set && i < list->count; i++)
		gather(&gathering, list->systems[i], list->codes[i]);
	cl_arena_free(scratch);
	if (code) {
		free(gathering.items);
		return code;
	}
	struct kept *kept = CL_NEW(cache->arena, struct kept);
	kept->codes.name = cl_arena_copy(cache->arena, name);
	settle(cache->arena, &gathering, &kept->codes);
	kept->next = cache->first;
	cache->first = kept;
	*out = &kept->codes;
	return 0;
}

/* ---- asking ---- */

static bool same_system(struct cl_str wanted, struct cl_str system)
{
	return !wanted.n || cl_str_equal(wanted, system);
}

bool cl_codes_have(const struct cl_codes *codes, struct cl_str system, struct cl_str code)
{
	size_t low = 0, high = codes->whole;
	if (!code.n)
		return false;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (cl_str_compare(codes->items[middle].code, code) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < codes->whole && cl_str_equal(codes->items[low].code, code); low++)
		if (same_system(codes->items[low].system, system))
			return true;
	for (size_t i = codes->whole; i < codes->count; i++) {
		const struct cl_coded *prefix = &codes->items[i];
		if (same_system(prefix->system, system) && code.n >= prefix->code.n &&
		    memcmp(code.p, prefix->code.p, prefix->code.n) == 0)
			return true;
	}
	return false;
}

struct cl_str cl_codes_match(const struct cl_codes *codes, const struct cl_json *concept)
{
	struct cl_str found = CL_STR_NONE;
	if (!concept)
		return found;
	if (concept->kind == CL_JSON_ARRAY) {
		for (uint32_t i = 0; i < concept->count && !found.n; i++)
			found = cl_codes_match(codes, &concept->items[i]);
		return found;
	}
	if (concept->kind != CL_JSON_OBJECT)
		return found;
	const struct cl_json *codings = cl_json_get(concept, "coding");
	if (codings)
		return codings->kind == CL_JSON_ARRAY ? cl_codes_match(codes, codings) : found;
	struct cl_str code = cl_json_get_text(concept, "code");
	return cl_codes_have(codes, cl_json_get_text(concept, "system"), code) ? code : found;
}
