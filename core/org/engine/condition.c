/* condition.c: what conditional interactions mean (FHIR R4 http.html sections 3.1.0.4.3, 3.1.0.6.1, 3.1.0.7.1 and 3.1.0.8.1), and
 * the entity tags and times that guard others (RFC 9110 section 13.1). */
#include "org/engine/interaction.h"
#include "base/date.h"
#include "base/id.h"
#include "org/fhir/types.h"
#include "org/flow/unit.h"
#include <stdio.h>
#include <time.h>

int cl_condition_find(struct cl_interaction_context *context, uint16_t type, struct cl_str search,
                      struct cl_version *found, size_t *count, struct cl_err *e)
{
	struct cl_query query = {.type = type, .limit = 2, .bodies = true};
	struct cl_search_result result;
	struct cl_str rule;
	*count = 0;
	if (search.n && search.p[0] == '?')
		search = (struct cl_str){search.p + 1, search.n - 1};
	int code = cl_interaction_condition(context, type, search, &query.where, e);
	if (!code && !query.where)
		code = cl_fail(e, CL_E_INVALID, "a condition needs at least one search parameter");
	/* What may not be seen matches nothing: else the answer would tell that it is there. */
	if (!code)
		code = cl_access_predicate(context->rules->access, context->arena, context->principal, CL_ACCESS_SEARCH,
		                           type, &query.access, &rule, e);
	if (!code)
		code = cl_store_search(context->store, context->arena, &query, &result, e);
	if (code)
		return code;
	*count = result.count;
	if (result.count)
		*found = result.items[0];
	return 0;
}

static int ambiguous(struct cl_err *e)
{
	return cl_fail(e, CL_E_PRECONDITION, "several resources match the condition; make it narrower");
}

static void set_id(struct cl_interaction_context *context, struct cl_write *write, struct cl_str id)
{
	write->id = id;
	if (write->resource)
		cl_json_set_text(context->arena, write->resource, "id", id);
}

static int no_match(struct cl_interaction_context *context, struct cl_write *write, struct cl_str given,
                    struct cl_err *e)
{
	struct cl_version current;
	struct cl_str name = cl_fhir_type_name(write->type);
	if (write->operation == CL_OP_DELETE)
		return 0;
	if (write->patch)
		return cl_fail(e, CL_E_NOT_FOUND, "no %.*s matches the condition", CL_STR_ARGS(name));
	if (!given.n) {
		set_id(context, write, cl_unit_id(context->unit, name));
		return 0;
	}
	if (!cl_is_fhir_id(given)) {
		cl_fail(e, CL_E_INVALID, "'%.*s' is no FHIR id: letters, digits, '-' and '.', at most 64",
		        (int)(given.n < 80 ? given.n : 80), given.p);
		return cl_fail_at(e, "%.*s.id", CL_STR_ARGS(name));
	}
	int code = cl_store_get(context->store, context->arena, write->type, given, &current, e);
	if (code == CL_E_NOT_FOUND || (!code && current.operation == CL_OP_DELETE)) {
		*e = (struct cl_err){0};
		write->id = given;
		return 0;
	}
	if (code)
		return code;
	cl_fail(e, CL_E_CONFLICT, "%.*s/%.*s is there but does not match the condition", CL_STR_ARGS(name),
	        CL_STR_ARGS(given));
	return cl_fail_at(e, "%.*s.id", CL_STR_ARGS(name));
}

int cl_condition_resolve(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e)
{
	struct cl_version found;
	struct cl_str given = cl_json_get_text(write->resource, "id");
	size_t count;
	int code = cl_condition_find(context, write->type, write->condition, &found, &count, e);
	if (code)
		return code;
	if (count > 1)
		return ambiguous(e);
	if (write->resolved) {
		/* What was decided before the first entry of a transaction ran must still hold. */
		if (count && !cl_str_equal(found.id, write->id))
			return cl_fail(e, CL_E_PRECONDITION,
			               "another entry of this transaction makes what this one's condition finds; "
			               "use one entry for both");
		return 0;
	}
	write->resolved = true;
	if (!count)
		return no_match(context, write, given, e);
	if (given.n && !cl_str_equal(given, found.id)) {
		cl_fail(e, CL_E_INVALID, "the condition finds another resource than the one with this id");
		return cl_fail_at(e, "%.*s.id", CL_STR_ARGS(cl_fhir_type_name(write->type)));
	}
	set_id(context, write, found.id);
	return 0;
}

/* ---- versions ---- */

int64_t cl_etag_version(struct cl_str etag)
{
	if (cl_str_starts(etag, "W/"))
		etag = (struct cl_str){etag.p + 2, etag.n - 2};
	if (etag.n < 3 || etag.n > 20 || etag.p[0] != '"' || etag.p[etag.n - 1] != '"')
		return 0;
	int64_t version = 0;
	for (size_t i = 1; i + 1 < etag.n; i++) {
		if (etag.p[i] < '0' || etag.p[i] > '9')
			return 0;
		version = version * 10 + (etag.p[i] - '0');
	}
	return version;
}

bool cl_etag_matches(struct cl_str list, int64_t version)
{
	while (list.n) {
		const char *comma = memchr(list.p, ',', list.n);
		struct cl_str one = {list.p, comma ? (size_t)(comma - list.p) : list.n};
		list = comma ? (struct cl_str){comma + 1, list.n - one.n - 1} : CL_STR_NONE;
		while (one.n && one.p[0] == ' ')
			one = (struct cl_str){one.p + 1, one.n - 1};
		while (one.n && one.p[one.n - 1] == ' ')
			one.n--;
		if (cl_str_is(one, "*") || (version && cl_etag_version(one) == version))
			return true;
	}
	return false;
}

struct cl_str cl_http_date(struct cl_arena *arena, cl_instant at)
{
	char text[40];
	struct tm parts;
	time_t seconds = (time_t)(at / CL_SECOND);
	gmtime_r(&seconds, &parts);
	size_t n = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
	return cl_arena_copy(arena, (struct cl_str){text, n});
}

bool cl_unmodified_since(struct cl_str since, cl_instant updated)
{
	/* RFC 9110 section 5.6.7: the form in use, and the two old ones. */
	static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
	                                    "%a %b %d %H:%M:%S %Y"};
	struct cl_moment moment;
	struct cl_err ignored = {0};
	char text[48];
	if (!since.n || since.n >= sizeof text)
		return false;
	/* Entries of Bundles give an instant. */
	if (!cl_moment_parse(since, 0, &moment, &ignored))
		return updated < moment.upper;
	memcpy(text, since.p, since.n);
	text[since.n] = 0;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct tm parts = {0};
		const char *end = strptime(text, forms[i], &parts);
		if (end && !*end)
			return updated / CL_SECOND <= (cl_instant)timegm(&parts);
	}
	return false;
}
