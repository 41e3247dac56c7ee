/* route.c: which interaction a method and a target are (FHIR R4 http.html, section 3.1). */
#include "org/engine/interaction.h"
#include "base/id.h"
#include "org/fhir/types.h"
#include <stdlib.h>

#define CL_SEGMENTS 8

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int decode_segment(struct cl_arena *arena, struct cl_str raw, struct cl_str *out)
{
	if (!raw.n || !memchr(raw.p, '%', raw.n)) {
		*out = raw;
		return 0;
	}
	char *text = cl_arena_alloc(arena, raw.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < raw.n; i++) {
		if (raw.p[i] != '%') {
			text[n++] = raw.p[i];
			continue;
		}
		if (i + 2 >= raw.n || hex_digit(raw.p[i + 1]) < 0 || hex_digit(raw.p[i + 2]) < 0)
			return CL_E_INVALID;
		text[n++] = (char)(hex_digit(raw.p[i + 1]) * 16 + hex_digit(raw.p[i + 2]));
		i += 2;
	}
	*out = (struct cl_str){text, n};
	return 0;
}

struct cl_path {
	struct cl_str segments[CL_SEGMENTS];
	size_t count;
	struct cl_str query;
};

static int split(struct cl_arena *arena, struct cl_str target, struct cl_path *path, struct cl_err *e)
{
	const char *mark = target.n ? memchr(target.p, '?', target.n) : NULL;
	struct cl_str rest = {target.p, mark ? (size_t)(mark - target.p) : target.n};
	path->count = 0;
	path->query = mark ? (struct cl_str){mark + 1, target.n - rest.n - 1} : CL_STR_NONE;
	while (rest.n) {
		if (rest.p[0] == '/') {
			rest = (struct cl_str){rest.p + 1, rest.n - 1};
			continue;
		}
		const char *slash = memchr(rest.p, '/', rest.n);
		struct cl_str raw = {rest.p, slash ? (size_t)(slash - rest.p) : rest.n};
		if (path->count == CL_SEGMENTS || decode_segment(arena, raw, &path->segments[path->count]))
			return cl_fail(e, CL_E_NOT_FOUND, "there is nothing at this path");
		path->count++;
		rest = (struct cl_str){rest.p + raw.n, rest.n - raw.n};
	}
	return 0;
}

/* `allowed` is static: it becomes the Allow header (RFC 9110 section 15.5.6). */
static int not_allowed(struct cl_err *e, struct cl_str method, const char *allowed)
{
	cl_fail(e, CL_E_UNSUPPORTED, "%.*s is not possible here; allowed: %s", CL_STR_ARGS(method), allowed);
	if (e)
		e->allow = allowed;
	return CL_E_UNSUPPORTED;
}

static int need_type(struct cl_str name, uint16_t *type, struct cl_err *e)
{
	*type = cl_fhir_type(name);
	if (*type)
		return 0;
	return cl_fail(e, CL_E_NOT_FOUND, "'%.*s' is no FHIR R4 resource type", CL_STR_ARGS(name));
}

static int need_id(struct cl_str text, struct cl_str *id, struct cl_err *e)
{
	if (!cl_is_fhir_id(text))
		return cl_fail(e, CL_E_INVALID, "'%.*s' is no FHIR id: letters, digits, '-' and '.', at most 64",
		               (int)(text.n < 80 ? text.n : 80), text.p);
	*id = text;
	return 0;
}

/* POST .../_search. Parameters of the address count, too (http.html section 3.1.0.9). */
static int route_form(struct cl_arena *arena, const struct cl_request *request, struct cl_route *out, struct cl_err *e)
{
	out->kind = CL_ROUTE_SEARCH;
	out->query = !out->query.n ? request->body
	             : !request->body.n
	                     ? out->query
	                     : cl_arena_printf(arena, "%.*s&%.*s", CL_STR_ARGS(out->query), CL_STR_ARGS(request->body));
	cl_format_cut(arena, out);
	return cl_str_is(request->method, "POST") ? 0 : not_allowed(e, request->method, "POST");
}

static int route_operation(struct cl_str method, struct cl_str name, struct cl_route *out, struct cl_err *e)
{
	bool meta = cl_str_is(name, "$meta") && out->id.n;
	/* Asks and changes nothing: by GET, too (FHIR R4 measure-operation-evaluate-measure). */
	bool measure = cl_str_is(name, "$evaluate-measure") && out->type == cl_fhir_type(CL_STR("Measure"));
	out->kind = meta                           ? CL_ROUTE_META
	            : measure                      ? CL_ROUTE_MEASURE
	            : cl_str_is(name, "$validate") ? CL_ROUTE_VALIDATE
	                                           : CL_ROUTE_OPERATION;
	out->operation = name;
	if (cl_str_is(method, "POST") || ((meta || measure) && (cl_str_is(method, "GET") || cl_str_is(method, "HEAD"))))
		return 0;
	return not_allowed(e, method, meta || measure ? "GET, HEAD, POST" : "POST");
}

/* [base] and [base]/Type: what is left after "/fhir". */
static int route_system(struct cl_arena *arena, struct cl_str method, const struct cl_path *path,
                        const struct cl_request *request, struct cl_route *out, struct cl_err *e)
{
	bool get = cl_str_is(method, "GET") || cl_str_is(method, "HEAD");
	if (path->count == 1) {
		out->kind = get ? CL_ROUTE_SEARCH : CL_ROUTE_BUNDLE;
		return get || cl_str_is(method, "POST") ? 0 : not_allowed(e, method, "GET, HEAD, POST");
	}
	struct cl_str first = path->segments[1];
	if (cl_str_is(first, "_search"))
		return route_form(arena, request, out, e);
	if (cl_str_is(first, "metadata") || cl_str_is(first, "_history")) {
		if (!get)
			return not_allowed(e, method, "GET, HEAD");
		out->kind = cl_str_is(first, "metadata") ? CL_ROUTE_CAPABILITY : CL_ROUTE_HISTORY;
		return 0;
	}
	if (cl_str_is(first, "$export")) {
		out->kind = CL_ROUTE_EXPORT;
		return get || cl_str_is(method, "POST") ? 0 : not_allowed(e, method, "GET, POST");
	}
	if (first.p[0] == '$')
		return route_operation(method, first, out, e);
	return CL_E_NOT_FOUND;
}

static int route_type(struct cl_arena *arena, struct cl_str method, const struct cl_path *path,
                      const struct cl_request *request, struct cl_route *out, struct cl_err *e)
{
	bool get = cl_str_is(method, "GET") || cl_str_is(method, "HEAD");
	if (path->count == 2) {
		/* Without a condition these would mean every resource of the type. */
		bool conditional = out->query.n > 0;
		out->kind = get                                          ? CL_ROUTE_SEARCH
		            : cl_str_is(method, "POST")                  ? CL_ROUTE_CREATE
		            : conditional && cl_str_is(method, "PUT")    ? CL_ROUTE_UPDATE
		            : conditional && cl_str_is(method, "PATCH")  ? CL_ROUTE_PATCH
		            : conditional && cl_str_is(method, "DELETE") ? CL_ROUTE_DELETE
		                                                         : CL_ROUTE_NONE;
		return out->kind ? 0 : not_allowed(e, method, "GET, HEAD, POST");
	}
	struct cl_str second = path->segments[2];
	if (cl_str_is(second, "_search") && path->count == 3)
		return route_form(arena, request, out, e);
	if (cl_str_is(second, "_history") && path->count == 3) {
		out->kind = CL_ROUTE_HISTORY;
		return get ? 0 : not_allowed(e, method, "GET, HEAD");
	}
	if (cl_str_is(second, "$export") && path->count == 3) {
		out->kind = CL_ROUTE_EXPORT;
		return get || cl_str_is(method, "POST") ? 0 : not_allowed(e, method, "GET, POST");
	}
	if (second.p[0] == '$' && path->count == 3)
		return route_operation(method, second, out, e);
	return CL_E_NOT_FOUND;
}

/* [base]/Patient/id/Type, [base]/Patient/id/ * and the same with _search. */
static int route_compartment(struct cl_arena *arena, const struct cl_path *path, const struct cl_request *request,
                             struct cl_route *out, struct cl_err *e)
{
	bool get = cl_str_is(request->method, "GET") || cl_str_is(request->method, "HEAD");
	bool form = path->count == 5 && cl_str_is(path->segments[4], "_search");
	uint16_t compartment = out->type;
	if ((compartment != CL_TYPE_PATIENT && compartment != CL_TYPE_PRACTITIONER &&
	     compartment != CL_TYPE_RELATED_PERSON && compartment != CL_TYPE_ENCOUNTER &&
	     compartment != CL_TYPE_DEVICE) ||
	    (path->count != 4 && !form))
		return cl_fail(e, CL_E_NOT_FOUND, "there is nothing at this path");
	if (!get && !form)
		return not_allowed(e, request->method, "GET");
	out->compartment_type = compartment;
	out->compartment = out->id;
	out->id = CL_STR_NONE;
	out->type = 0;
	out->kind = CL_ROUTE_SEARCH;
	int code = cl_str_is(path->segments[3], "*") ? 0 : need_type(path->segments[3], &out->type, e);
	return code || !form ? code : route_form(arena, request, out, e);
}

static int route_instance(struct cl_arena *arena, struct cl_str method, const struct cl_path *path,
                          const struct cl_request *request, struct cl_route *out, struct cl_err *e)
{
	bool get = cl_str_is(method, "GET") || cl_str_is(method, "HEAD");
	int code = need_id(path->segments[2], &out->id, e);
	if (code)
		return code;
	if (path->count == 3) {
		out->kind = get                           ? CL_ROUTE_READ
		            : cl_str_is(method, "PUT")    ? CL_ROUTE_UPDATE
		            : cl_str_is(method, "PATCH")  ? CL_ROUTE_PATCH
		            : cl_str_is(method, "DELETE") ? CL_ROUTE_DELETE
		                                          : CL_ROUTE_NONE;
		return out->kind ? 0 : not_allowed(e, method, "GET, HEAD, PUT, PATCH, DELETE");
	}
	struct cl_str third = path->segments[3];
	if (cl_str_is(third, "_history")) {
		if (!get)
			return not_allowed(e, method, "GET, HEAD");
		out->kind = path->count == 4 ? CL_ROUTE_HISTORY : CL_ROUTE_VREAD;
		if (path->count == 4)
			return 0;
		if (path->count > 5 || path->segments[4].n > 18)
			return cl_fail(e, CL_E_NOT_FOUND, "there is nothing at this path");
		for (size_t i = 0; i < path->segments[4].n; i++) {
			if (path->segments[4].p[i] < '0' || path->segments[4].p[i] > '9')
				return cl_fail(e, CL_E_NOT_FOUND, "versions of this server are numbers");
			out->version = out->version * 10 + (path->segments[4].p[i] - '0');
		}
		return 0;
	}
	bool everything = cl_str_is(third, "$everything") && cl_str_is(path->segments[1], "Patient");
	if ((everything || cl_str_is(third, "$export")) && path->count == 4) {
		out->kind = everything ? CL_ROUTE_EVERYTHING : CL_ROUTE_EXPORT;
		return get || cl_str_is(method, "POST") ? 0 : not_allowed(e, method, "GET, POST");
	}
	if (third.p[0] == '$' && path->count == 4)
		return route_operation(method, third, out, e);
	return route_compartment(arena, path, request, out, e);
}

static int route_fhir(struct cl_arena *arena, struct cl_path *path, const struct cl_request *request,
                      struct cl_route *out, struct cl_err *e)
{
	/* /fhir/R4/... is the same as /fhir/... (conformance.md section 3, item 3). */
	if (path->count > 1 && cl_str_is(path->segments[1], "R4")) {
		for (size_t i = 2; i < path->count; i++)
			path->segments[i - 1] = path->segments[i];
		path->count--;
	}
	cl_format_cut(arena, out);
	int code = path->count <= 2 ? route_system(arena, request->method, path, request, out, e) : CL_E_NOT_FOUND;
	if (code != CL_E_NOT_FOUND || out->kind)
		return code;
	code = need_type(path->segments[1], &out->type, e);
	if (code)
		return code;
	code = path->count <= 3 ? route_type(arena, request->method, path, request, out, e) : CL_E_NOT_FOUND;
	if (code != CL_E_NOT_FOUND || out->kind)
		return code;
	return route_instance(arena, request->method, path, request, out, e);
}

int cl_route_find(struct cl_arena *arena, const struct cl_request *request, struct cl_route *out, struct cl_err *e)
{
	struct cl_path path;
	*out = (struct cl_route){0};
	if (cl_str_is(request->method, "CONSOLE")) {
		out->kind = CL_ROUTE_CONSOLE;
		return 0;
	}
	if (cl_str_is(request->method, "COURIER")) {
		out->kind = CL_ROUTE_COURIER;
		return 0;
	}
	int code = split(arena, request->target, &path, e);
	if (code)
		return code;
	bool get = cl_str_is(request->method, "GET") || cl_str_is(request->method, "HEAD");
	out->query = path.query;
	out->head = cl_str_is(request->method, "HEAD");
	struct cl_str first = path.count ? path.segments[0] : CL_STR("");
	/* At the host's root and under both spellings of the FHIR base (SMART App Launch 2.0 section 2.1.1). */
	size_t known = 0;
	if (cl_str_is(first, "fhir"))
		known = path.count > 1 && cl_str_is(path.segments[1], "R4") ? 2 : 1;
	if (path.count == known + 2 && cl_str_is(path.segments[known], ".well-known")) {
		out->kind = CL_ROUTE_SMART;
		if (!cl_str_is(path.segments[known + 1], "smart-configuration"))
			return cl_fail(e, CL_E_NOT_FOUND, "there is nothing at this path; known: smart-configuration");
		return get ? 0 : not_allowed(e, request->method, "GET");
	}
	if (path.count == 2 && cl_str_is(first, "oauth2")) {
		out->kind = cl_str_is(path.segments[1], "token")    ? CL_ROUTE_TOKEN
		            : cl_str_is(path.segments[1], "revoke") ? CL_ROUTE_REVOKE
		                                                    : CL_ROUTE_NONE;
		if (out->kind)
			return 0;
	}
	if (cl_str_is(first, "fhir")) {
		code = route_fhir(arena, &path, request, out, e);
		return code ? code : cl_format_check(request, out, e);
	}
	if (cl_str_is(first, "views") || cl_str_is(first, "metrics")) {
		out->kind = cl_str_is(first, "views") ? CL_ROUTE_VIEWS : CL_ROUTE_METRICS;
		out->name = path.count > 1 ? path.segments[1] : CL_STR_NONE;
		if (path.count > 2)
			return cl_fail(e, CL_E_NOT_FOUND, "there is nothing at this path");
		return get ? 0 : not_allowed(e, request->method, "GET, HEAD");
	}
	if (cl_str_is(first, "exports") && (path.count == 2 || path.count == 3)) {
		bool delete = cl_str_is(request->method, "DELETE") && path.count == 2;
		out->kind = path.count == 3 ? CL_ROUTE_EXPORT_FILE
		            : delete        ? CL_ROUTE_EXPORT_CANCEL
		                            : CL_ROUTE_EXPORT_STATUS;
		out->name = path.segments[1];
		out->file = path.count == 3 ? path.segments[2] : CL_STR_NONE;
		return get || delete ? 0 : not_allowed(e, request->method, path.count == 2 ? "GET, DELETE" : "GET");
	}
	if (cl_str_is(first, "reply") && path.count == 2) {
		out->kind = CL_ROUTE_REPLY;
		out->name = path.segments[1];
		return get || cl_str_is(request->method, "POST") ? 0
		                                                 : not_allowed(e, request->method, "GET, HEAD, POST");
	}
	if (cl_str_is(first, "events") && path.count == 1) {
		out->kind = CL_ROUTE_EVENTS;
		return get ? 0 : not_allowed(e, request->method, "GET, HEAD");
	}
	return cl_fail(e, CL_E_NOT_FOUND, "there is nothing at this path; the FHIR interface is at /fhir");
}

enum cl_lane cl_route_lane(const struct cl_route *route, const struct cl_rules *rules)
{
	switch (route->kind) {
	case CL_ROUTE_READ:
	case CL_ROUTE_VREAD:
		/* A Binary is taken apart for its content, which may be long. */
		return cl_str_is(cl_fhir_type_name(route->type), "Binary") ? CL_LANE_SEARCH : CL_LANE_LOOP;
	case CL_ROUTE_EVENTS:
	case CL_ROUTE_EXPORT_STATUS:
	case CL_ROUTE_EXPORT_CANCEL:
	case CL_ROUTE_EXPORT_FILE:
		return CL_LANE_LOOP;
	case CL_ROUTE_HISTORY:
	case CL_ROUTE_SEARCH:
	case CL_ROUTE_CAPABILITY:
	case CL_ROUTE_META:
	case CL_ROUTE_VALIDATE:
	case CL_ROUTE_EVERYTHING:
	case CL_ROUTE_EXPORT:
	case CL_ROUTE_SMART:
		return CL_LANE_SEARCH;
	case CL_ROUTE_TOKEN:
	case CL_ROUTE_REVOKE:
		return CL_LANE_PROVER;
	case CL_ROUTE_VIEWS: {
		/* Views that a plugin computes need Lua, and Lua belongs to the writer. */
		const struct cl_view *view = route->name.n ? cl_catalog_view(rules->catalog, route->name) : NULL;
		return view && view->function != CL_NO_FUNCTION ? CL_LANE_WRITER : CL_LANE_SEARCH;
	}
	case CL_ROUTE_METRICS:
		/* Those that plugins compute need Lua: the measurer has its own. */
		for (size_t i = 0; i < rules->catalog->metric_count; i++)
			if (rules->catalog->metrics[i].function != CL_NO_FUNCTION)
				return CL_LANE_MEASURE;
		return rules->catalog->measure_count ? CL_LANE_MEASURE : CL_LANE_SEARCH;
	case CL_ROUTE_MEASURE:
		return CL_LANE_MEASURE;
	default:
		return CL_LANE_WRITER;
	}
}
