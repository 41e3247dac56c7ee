/* read.c: read, vread and history. The stored bytes go out as they are; access decides on the row (design §4). */
#include "org/engine/interaction.h"
#include "base/date.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <stdlib.h>

#define CL_HISTORY_DEFAULT 50
#define CL_HISTORY_MAXIMUM 1000

/* RFC 9110 section 13.1: If-None-Match wins over If-Modified-Since. */
static bool not_modified(const struct cl_interaction_context *context, const struct cl_version *version)
{
	struct cl_str match = cl_request_header(context->request, "if-none-match");
	if (match.n)
		return cl_etag_version(match) == version->version || cl_str_is(match, "*");
	return false;
}

int cl_interaction_read(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_version version, current;
	struct cl_str name = cl_fhir_type_name(route->type);
	context->target = cl_arena_printf(context->arena, "%.*s/%.*s", CL_STR_ARGS(name), CL_STR_ARGS(route->id));
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, route->type, &context->rule, e);
	if (code)
		return code;
	code = cl_store_get(context->store, context->arena, route->type, route->id, &current, e);
	if (code == CL_E_NOT_FOUND)
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s is not known here", CL_STR_ARGS(context->target));
	if (code)
		return code;
	/* Who may not read it learns as much as if it were not there. A deleted one has no values to decide on: like the type. */
	if (current.operation != CL_OP_DELETE) {
		code = cl_access_decide_row(context->rules->access, context->store, context->arena, context->principal,
					    CL_ACCESS_READ, route->type, current.row, &context->rule, e);
		if (code)
			return code;
	}
	version = current;
	if (route->kind == CL_ROUTE_VREAD && route->version != current.version) {
		code = cl_store_get_version(context->store, context->arena, route->type, route->id, route->version, &version, e);
		if (code == CL_E_NOT_FOUND)
			return cl_fail(e, CL_E_NOT_FOUND, "%.*s has no version %lld", CL_STR_ARGS(context->target),
				       (long long)route->version);
		if (code)
			return code;
	}
	if (version.operation == CL_OP_DELETE)
		return cl_fail(e, CL_E_GONE, "%.*s was deleted", CL_STR_ARGS(context->target));
	if (not_modified(context, &version)) {
		cl_interaction_answer_version(context, 304, &version, false);
		context->response->body = CL_STR_NONE;
		return 0;
	}
	cl_interaction_answer_version(context, 200, &version, false);
	return 0;
}

/* One entry of a history Bundle, as text around the stored bytes. */
static void write_history_entry(struct cl_buf *out, struct cl_arena *arena, struct cl_str base, const struct cl_version *v)
{
	static const char *const methods[] = {"", "POST", "PUT", "DELETE"};
	static const char *const statuses[] = {"", "201", "200", "204"};
	struct cl_str name = cl_fhir_type_name(v->type);
	struct cl_str at = cl_instant_text(arena, v->updated);
	cl_buf_printf(out, "{\"fullUrl\":\"%.*s/fhir/%.*s/%.*s\",", CL_STR_ARGS(base), CL_STR_ARGS(name), CL_STR_ARGS(v->id));
	if (v->operation != CL_OP_DELETE) {
		cl_buf_add_cstring(out, "\"resource\":");
		cl_buf_add_str(out, v->body);
		cl_buf_add_byte(out, ',');
	}
	cl_buf_printf(out, "\"request\":{\"method\":\"%s\",\"url\":\"%.*s", methods[v->operation], CL_STR_ARGS(name));
	if (v->operation != CL_OP_CREATE)
		cl_buf_printf(out, "/%.*s", CL_STR_ARGS(v->id));
	cl_buf_printf(out, "\"},\"response\":{\"status\":\"%s\",\"etag\":\"W/\\\"%lld\\\"\",\"lastModified\":\"%.*s\"}}",
		      statuses[v->operation], (long long)v->version, CL_STR_ARGS(at));
}

struct cl_history_query {
	cl_instant since;
	uint64_t before;
	uint32_t count;
};

static int parse_history(struct cl_str query, struct cl_history_query *out, struct cl_err *e)
{
	*out = (struct cl_history_query){.since = INT64_MIN, .count = CL_HISTORY_DEFAULT};
	while (query.n) {
		const char *amp = memchr(query.p, '&', query.n);
		struct cl_str pair = {query.p, amp ? (size_t)(amp - query.p) : query.n};
		query = amp ? (struct cl_str){amp + 1, query.n - pair.n - 1} : CL_STR_NONE;
		const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		if (!equals)
			continue;
		struct cl_str name = {pair.p, (size_t)(equals - pair.p)};
		struct cl_str value = {equals + 1, pair.n - name.n - 1};
		char digits[24] = "";
		if (value.n < sizeof digits)
			memcpy(digits, value.p, value.n);
		if (cl_str_is(name, "_count")) {
			long long n = atoll(digits);
			if (n < 0)
				return cl_fail(e, CL_E_INVALID, "_count is a whole number, 0 to %d", CL_HISTORY_MAXIMUM);
			out->count = n > CL_HISTORY_MAXIMUM ? CL_HISTORY_MAXIMUM : (uint32_t)n;
		} else if (cl_str_is(name, "_since")) {
			struct cl_moment moment;
			char text[64];
			size_t n = 0;
			for (size_t i = 0; i < value.n && n + 1 < sizeof text; i++) {
				if (value.p[i] == '%' && i + 2 < value.n) {
					char hex[3] = {value.p[i + 1], value.p[i + 2], 0};
					text[n++] = (char)strtol(hex, NULL, 16);
					i += 2;
				} else {
					text[n++] = value.p[i] == ' ' ? '+' : value.p[i];
				}
			}
			int code = cl_moment_parse((struct cl_str){text, n}, 0, &moment, e);
			if (code)
				return code;
			out->since = moment.lower;
		} else if (cl_str_is(name, "_before")) {
			out->before = strtoull(digits, NULL, 10);
		}
	}
	return 0;
}

int cl_interaction_history(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_arena *arena = context->arena;
	struct cl_history_query query;
	struct cl_version_list list;
	context->target = route->id.n ? cl_arena_printf(arena, "%.*s/%.*s/_history", CL_STR_ARGS(cl_fhir_type_name(route->type)),
							CL_STR_ARGS(route->id))
				      : cl_arena_printf(arena, "%.*s/_history", CL_STR_ARGS(cl_fhir_type_name(route->type)));
	int code = parse_history(route->query, &query, e);
	if (!code && route->type)
		code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_HISTORY, route->type, &context->rule, e);
	if (code)
		return code;
	if (route->id.n) {
		struct cl_version current;
		code = cl_store_get(context->store, arena, route->type, route->id, &current, e);
		if (code)
			return code == CL_E_NOT_FOUND ? cl_fail(e, code, "%.*s is not known here", CL_STR_ARGS(context->target)) : code;
		if (current.operation != CL_OP_DELETE)
			code = cl_access_decide_row(context->rules->access, context->store, arena, context->principal,
						    CL_ACCESS_HISTORY, route->type, current.row, &context->rule, e);
		if (code)
			return code;
	}
	code = cl_store_history(context->store, arena, route->type, route->id, query.since, query.before, query.count, &list, e);
	if (code)
		return code;
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_buf_add_cstring(&out, "{\"resourceType\":\"Bundle\",\"type\":\"history\",\"link\":[{\"relation\":\"self\",\"url\":\"");
	cl_buf_printf(&out, "%.*s", CL_STR_ARGS(context->request->base));
	cl_buf_add_str(&out, context->request->target);
	cl_buf_add_cstring(&out, "\"}");
	if (list.more && list.count) {
		const char *mark = memchr(context->request->target.p, '?', context->request->target.n);
		size_t path = mark ? (size_t)(mark - context->request->target.p) : context->request->target.n;
		cl_buf_printf(&out, ",{\"relation\":\"next\",\"url\":\"%.*s%.*s?_count=%u&_before=%llu\"}",
			      CL_STR_ARGS(context->request->base), (int)path, context->request->target.p, query.count,
			      (unsigned long long)list.items[list.count - 1].sequence);
	}
	cl_buf_add_byte(&out, ']');
	bool first = true;
	for (size_t i = 0; i < list.count; i++) {
		struct cl_str rule;
		struct cl_err denied = {0};
		/* Type and system histories show what the principal may read; of deleted ones, those of types open to it. */
		if (!route->id.n &&
		    (list.items[i].operation == CL_OP_DELETE
			     ? cl_access_may(context->rules->access, context->principal, CL_ACCESS_HISTORY, list.items[i].type,
					     &rule, &denied)
			     : cl_access_decide_row(context->rules->access, context->store, arena, context->principal,
						    CL_ACCESS_HISTORY, list.items[i].type, list.items[i].row, &rule, &denied)))
			continue;
		cl_buf_add_cstring(&out, first ? ",\"entry\":[" : ",");
		first = false;
		write_history_entry(&out, arena, context->request->base, &list.items[i]);
	}
	cl_buf_add_cstring(&out, first ? "}" : "]}");
	cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8", cl_arena_copy(arena, cl_buf_str(&out)));
	cl_buf_free(&out);
	return 0;
}
