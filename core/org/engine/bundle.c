/* bundle.c: the entries of a batch or transaction, and batches (FHIR R4 http.html section 3.1.0.11). */
#include "org/engine/bundle.h"
#include "base/date.h"
#include "org/fhir/reference.h"
#include "org/fhir/types.h"
#include <stdio.h>

int cl_entry_error(struct cl_err *e, uint32_t index, const char *element)
{
	char inner[240];
	snprintf(inner, sizeof inner, "%s", e->where);
	return cl_fail_at(e, "Bundle.entry[%u]%s%s%s", index, element, inner[0] && inner[0] != '[' ? "." : "", inner);
}

int cl_entries_of(struct cl_json *bundle, struct cl_json **out, struct cl_err *e)
{
	struct cl_json *entries = cl_json_get(bundle, "entry");
	*out = entries;
	if (entries && entries->kind != CL_JSON_ARRAY) {
		cl_fail(e, CL_E_INVALID, "Bundle.entry is an array");
		return cl_fail_at(e, "Bundle.entry");
	}
	if (entries && entries->count > CL_BUNDLE_ENTRIES) {
		cl_fail(e, CL_E_TOO_LARGE, "a Bundle may have at most %d entries; this one has %u: send it in parts",
		        CL_BUNDLE_ENTRIES, entries->count);
		return cl_fail_at(e, "Bundle.entry");
	}
	return 0;
}

/* ---- reading an entry ---- */

/* The methods of HTTP and no others: administrators' commands and the courier's requests are told by theirs. */
static bool is_http_method(struct cl_str method)
{
	static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (cl_str_is(method, known[i]))
			return true;
	return false;
}

/* A misspelled condition that is passed over would be a write without one. */
static int check_members(const struct cl_json *object, const char *const *known, const char *element, uint32_t index,
                         struct cl_err *e)
{
	if (!object || object->kind != CL_JSON_OBJECT) {
		cl_fail(e, CL_E_INVALID, "an entry of a batch or transaction needs request.method and request.url");
		return cl_entry_error(e, index, element);
	}
	for (uint32_t i = 0; i < object->count; i++) {
		struct cl_str name = object->members[i].name;
		size_t k = 0;
		if (name.n && name.p[0] == '_')
			name = (struct cl_str){name.p + 1, name.n - 1};
		while (known[k] && !cl_str_is(name, known[k]))
			k++;
		if (known[k])
			continue;
		cl_fail(e, CL_E_RULE, "'%.*s' is no element of Bundle.entry%s", (int)(name.n < 60 ? name.n : 60),
		        name.p, element);
		return cl_entry_error(e, index, element);
	}
	return 0;
}

/* bundle.html section 2.36.4 and invariant bdl-8: not of one version, and of the resource that is in the entry. */
static int check_full_url(const struct cl_json *resource, struct cl_str full_url, uint32_t index, struct cl_err *e)
{
	struct cl_fhir_reference url = cl_fhir_reference_parse(full_url);
	struct cl_str id = cl_json_get_text(resource, "id");
	if (!full_url.n)
		return 0;
	if (url.version.n)
		cl_fail(e, CL_E_RULE, "fullUrl cannot name a version of a resource");
	else if (url.form == CL_FHIR_REFERENCE_ABSOLUTE && url.id.n && id.n && !cl_str_equal(url.id, id))
		cl_fail(e, CL_E_RULE, "fullUrl and the resource's id do not agree");
	else if (url.form == CL_FHIR_REFERENCE_ABSOLUTE && url.type && resource &&
	         !cl_str_equal(cl_fhir_type_name(url.type), cl_json_get_text(resource, "resourceType")))
		cl_fail(e, CL_E_RULE, "fullUrl and the resource's type do not agree");
	else
		return 0;
	return cl_entry_error(e, index, ".fullUrl");
}

static void add_header(struct cl_entry *entry, const char *name, struct cl_str value)
{
	entry->request.headers[entry->request.header_count++] = (struct cl_header){cl_str_of(name), value};
}

int cl_entry_read(struct cl_interaction_context *context, struct cl_json *json, uint32_t index, struct cl_entry *out,
                  struct cl_err *e)
{
	static const char *const of_entry[] = {
	        "link", "fullUrl",   "resource",          "search", "request", "response",
	        "id",   "extension", "modifierExtension", NULL};
	static const char *const of_request[] = {"method",      "url", "ifNoneMatch", "ifModifiedSince",   "ifMatch",
	                                         "ifNoneExist", "id",  "extension",   "modifierExtension", NULL};
	static const struct {
		const char *member, *header;
	} conditions[] = {{"ifMatch", "if-match"},
	                  {"ifNoneMatch", "if-none-match"},
	                  {"ifModifiedSince", "if-modified-since"},
	                  {"ifNoneExist", "if-none-exist"}};
	struct cl_arena *arena = context->arena;
	struct cl_json *request = cl_json_get(json, "request"), *resource = cl_json_get(json, "resource");
	*out = (struct cl_entry){.entry = json, .index = index};
	int code = check_members(json, of_entry, "", index, e);
	if (!code)
		code = check_members(request, of_request, ".request", index, e);
	if (code)
		return code;
	out->full_url = cl_json_get_text(json, "fullUrl");
	out->method = cl_json_get_text(request, "method");
	out->url = cl_json_get_text(request, "url");
	if (!out->method.n || !out->url.n) {
		cl_fail(e, CL_E_INVALID, "an entry of a batch or transaction needs request.method and request.url");
		return cl_entry_error(e, index, ".request");
	}
	if (!is_http_method(out->method)) {
		cl_fail(e, CL_E_INVALID, "request.method is GET, HEAD, POST, PUT, PATCH or DELETE");
		return cl_entry_error(e, index, ".request.method");
	}
	code = check_full_url(resource, out->full_url, index, e);
	if (code)
		return code;
	out->request = *context->request;
	out->request.method = out->method;
	out->request.body = CL_STR_NONE;
	out->request.headers = CL_NEW_ARRAY(arena, struct cl_header, 8);
	out->request.header_count = 0;
	add_header(out, "content-type", CL_STR("application/fhir+json"));
	add_header(out, "accept", CL_STR("application/fhir+json"));
	for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
		const struct cl_json *value = cl_json_get(request, conditions[i].member);
		if (value && (value->kind != CL_JSON_STRING || !value->text.n)) {
			cl_fail(e, CL_E_INVALID, "request.%s is a string", conditions[i].member);
			return cl_entry_error(e, index, ".request");
		}
		if (value)
			add_header(out, conditions[i].header, value->text);
	}
	struct cl_str prefer = cl_request_header(context->request, "prefer");
	if (prefer.n)
		add_header(out, "prefer", prefer);
	struct cl_str url = out->url, base = context->request->base;
	if (url.n > base.n && base.n && !memcmp(url.p, base.p, base.n))
		out->request.target = (struct cl_str){url.p + base.n, url.n - base.n};
	else
		out->request.target =
		        cl_arena_printf(arena, "/fhir%s%.*s", url.p[0] == '/' ? "" : "/", CL_STR_ARGS(url));
	code = cl_route_find(arena, &out->request, &out->route, e);
	return code ? cl_entry_error(e, index, ".request.url") : 0;
}

int cl_entry_patch(struct cl_interaction_context *context, struct cl_entry *entry, struct cl_str *out, struct cl_err *e)
{
	struct cl_json *resource = cl_json_get(entry->entry, "resource");
	struct cl_str type = cl_json_get_text(resource, "contentType");
	if (!cl_str_is(cl_json_get_text(resource, "resourceType"), "Binary") || !type.n) {
		cl_fail(e, CL_E_INVALID,
		        "PATCH needs its patch as a Binary with contentType application/json-patch+json");
		return cl_entry_error(e, entry->index, ".resource");
	}
	int code = cl_binary_content(context->arena, cl_json_get_text(resource, "data"), out, e);
	if (code)
		return cl_entry_error(e, entry->index, ".resource.data");
	entry->request.headers[0].value = type;
	return 0;
}

/* ---- answers ---- */

static bool is_write(const struct cl_route *route)
{
	return route->kind == CL_ROUTE_CREATE || route->kind == CL_ROUTE_UPDATE || route->kind == CL_ROUTE_PATCH ||
	       route->kind == CL_ROUTE_DELETE;
}

static void write_response_entry(struct cl_buf *out, struct cl_arena *arena, const struct cl_entry *entry)
{
	const struct cl_response *response = &entry->response;
	struct cl_str location = cl_response_header(response, "location");
	struct cl_str etag = cl_response_header(response, "etag");
	bool has_body = response->body.n && !entry->route.head &&
	                cl_format_is_json(cl_response_header(response, "content-type"));
	/* "Prefer: return=OperationOutcome" gives what is about the write, not what was written. */
	bool outcome =
	        response->status >= 300 ||
	        (is_write(&entry->route) && !cl_str_is(cl_fhir_type_name(entry->route.type), "OperationOutcome") &&
	         cl_str_starts(response->body, "{\"resourceType\":\"OperationOutcome\""));
	cl_buf_add_byte(out, '{');
	if (!outcome && has_body) {
		cl_buf_add_cstring(out, "\"resource\":");
		cl_buf_add_str(out, response->body);
		cl_buf_add_byte(out, ',');
	}
	cl_buf_printf(out, "\"response\":{\"status\":\"%d\"", response->status);
	if (location.n) {
		cl_buf_add_cstring(out, ",\"location\":");
		cl_json_write_text(out, location);
	}
	if (etag.n) {
		cl_buf_add_cstring(out, ",\"etag\":");
		cl_json_write_text(out, etag);
	}
	if (entry->modified)
		cl_buf_printf(out, ",\"lastModified\":\"%.*s\"", CL_STR_ARGS(cl_instant_text(arena, entry->modified)));
	if (outcome && has_body) {
		cl_buf_add_cstring(out, ",\"outcome\":");
		cl_buf_add_str(out, response->body);
	}
	cl_buf_add_cstring(out, "}}");
}

void cl_entries_answer(struct cl_arena *arena, const char *type, const struct cl_entry *entries, uint32_t count,
                       struct cl_response *response)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_buf_printf(&out, "{\"resourceType\":\"Bundle\",\"type\":\"%s\"", type);
	for (uint32_t i = 0; i < count; i++) {
		cl_buf_add_cstring(&out, i ? "," : ",\"entry\":[");
		write_response_entry(&out, arena, &entries[i]);
	}
	cl_buf_add_cstring(&out, count ? "]}" : "}");
	response->status = 200;
	response->body = cl_arena_copy(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	cl_response_add_header(arena, response, "content-type", CL_STR("application/fhir+json; charset=utf-8"));
}

/* ---- batch: every entry stands alone ---- */

/* False when the entry is refused: its response is filled. */
static bool prepare(struct cl_interaction_context *context, struct cl_json *json, uint32_t index,
                    struct cl_entry *entry)
{
	struct cl_err problem = {0};
	if (!cl_entry_read(context, json, index, entry, &problem) &&
	    (entry->route.kind == CL_ROUTE_BUNDLE || entry->route.kind == CL_ROUTE_EVENTS)) {
		cl_fail(&problem, CL_E_RULE, "a batch cannot contain a batch, a transaction or a stream");
		cl_entry_error(&problem, index, ".request.url");
	}
	if (!problem.code && entry->route.kind == CL_ROUTE_MEASURE) {
		cl_fail(&problem, CL_E_UNSUPPORTED,
		        "what is computed over a population is asked alone: in a batch it would hold up others");
		cl_entry_error(&problem, index, ".request.url");
	}
	struct cl_json *resource = cl_json_get(json, "resource");
	if (!problem.code && entry->route.kind == CL_ROUTE_PATCH) {
		cl_entry_patch(context, entry, &entry->request.body, &problem);
	} else if (!problem.code && resource) {
		struct cl_buf text;
		cl_buf_init(&text, 0);
		cl_json_write(&text, resource);
		entry->request.body = cl_arena_copy(context->arena, cl_buf_str(&text));
		cl_buf_free(&text);
	}
	if (problem.code)
		cl_interaction_answer_error(context->arena, NULL, &problem, &entry->response);
	return !problem.code;
}

bool cl_run_batch(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                  const struct cl_principal *principal, struct cl_str key, struct cl_json *bundle,
                  struct cl_outcome *out)
{
	bool wrote = false;
	struct cl_err problem = {0};
	struct cl_interaction_context context = {.arena = arena, .request = request};
	struct cl_change **end = &out->changes;
	struct cl_json *json;
	if (cl_entries_of(bundle, &json, &problem)) {
		cl_interaction_answer_error(arena, NULL, &problem, &out->response);
		return false;
	}
	uint32_t count = json ? json->count : 0;
	struct cl_entry *entries = CL_NEW_ARRAY(arena, struct cl_entry, count + 1);
	for (uint32_t i = 0; i < count; i++) {
		struct cl_outcome outcome;
		if (!prepare(&context, &json->items[i], i, &entries[i]))
			continue;
		struct cl_str entry_key = cl_arena_printf(arena, "%.*s.%u", CL_STR_ARGS(key), i);
		cl_run_as(organization, arena, &entries[i].request, principal, entry_key, &outcome);
		if (outcome.lost) {
			out->lost = true;
			out->changes = NULL;
			out->response = outcome.response;
			return true;
		}
		wrote |= cl_route_lane(&entries[i].route, organization->rules) == CL_LANE_WRITER;
		entries[i].response = outcome.response;
		entries[i].modified = outcome.modified;
		*end = outcome.changes;
		while (*end)
			end = &(*end)->next;
	}
	cl_entries_answer(arena, "batch-response", entries, count, &out->response);
	return wrote;
}

bool cl_batch_may_be_reads(struct cl_str body)
{
	static const char *const writes[] = {"\"POST\"", "\"PUT\"", "\"PATCH\"", "\"DELETE\""};
	if (body.n > CL_BATCH_LOOKED_AT || !body.n || !memmem(body.p, body.n, "\"batch\"", 7))
		return false;
	for (size_t i = 0; i < sizeof writes / sizeof *writes; i++)
		if (memmem(body.p, body.n, writes[i], strlen(writes[i])))
			return false;
	return true;
}

bool cl_batch_of_reads(struct cl_interaction_context *context, struct cl_audit_tail *tail)
{
	struct cl_json *bundle, *json;
	struct cl_err problem = {0};
	if (cl_interaction_body(context, &bundle, &problem) ||
	    !cl_str_is(cl_json_get_text(bundle, "resourceType"), "Bundle") ||
	    !cl_str_is(cl_json_get_text(bundle, "type"), "batch") || cl_entries_of(bundle, &json, &problem))
		return false;
	uint32_t count = json ? json->count : 0;
	struct cl_entry *entries = CL_NEW_ARRAY(context->arena, struct cl_entry, count + 1);
	for (uint32_t i = 0; i < count; i++)
		if (prepare(context, &json->items[i], i, &entries[i]) &&
		    cl_route_lane(&entries[i].route, context->rules) == CL_LANE_WRITER)
			return false;
	for (uint32_t i = 0; i < count; i++) {
		struct cl_issues issues;
		struct cl_interaction_context own = *context;
		if (entries[i].response.status)
			continue;
		cl_issues_init(&issues, context->arena, 0);
		own.request = &entries[i].request;
		own.route = &entries[i].route;
		own.response = &entries[i].response;
		own.issues = &issues;
		own.exports = NULL;
		cl_interaction_run_read(&own, tail);
		entries[i].modified = own.modified;
	}
	cl_entries_answer(context->arena, "batch-response", entries, count, context->response);
	return true;
}
