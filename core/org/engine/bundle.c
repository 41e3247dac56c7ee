/* bundle.c: batch and transaction (FHIR R4 http.html section 3.1.0.11). */
#include "org/engine/run.h"
#include "base/id.h"
#include "org/fhir/reference.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"
#include <stdio.h>
#include <stdlib.h>

#define CL_BUNDLE_ENTRIES 5000 /* conformance.md section 4, stated limit */

struct cl_entry {
	struct cl_json *entry;
	struct cl_str full_url;
	struct cl_str method;
	struct cl_str url;
	struct cl_request request; /* for reads and batches: as if it had come alone */
	struct cl_route route;
	struct cl_write write;
	struct cl_response response;
	uint32_t index;
};

static int entry_error(struct cl_err *e, uint32_t index, const char *element)
{
	char inner[240];
	snprintf(inner, sizeof inner, "%s", e->where);
	return cl_fail_at(e, "Bundle.entry[%u]%s%s%s", index, element, inner[0] ? "." : "", inner);
}

/* The methods of HTTP and no others: administrators' commands and the courier's requests are told by theirs. */
static bool is_http_method(struct cl_str method)
{
	static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (cl_str_is(method, known[i]))
			return true;
	return false;
}

static int read_entry(struct cl_interaction_context *context, struct cl_json *json, uint32_t index,
                      struct cl_entry *out, struct cl_err *e)
{
	struct cl_arena *arena = context->arena;
	struct cl_json *request = cl_json_get(json, "request");
	*out = (struct cl_entry){.entry = json, .index = index};
	out->full_url = cl_json_get_text(json, "fullUrl");
	out->method = cl_json_get_text(request, "method");
	out->url = cl_json_get_text(request, "url");
	if (!out->method.n || !out->url.n) {
		cl_fail(e, CL_E_INVALID, "an entry of a batch or transaction needs request.method and request.url");
		return entry_error(e, index, ".request");
	}
	if (!is_http_method(out->method)) {
		cl_fail(e, CL_E_INVALID, "request.method is GET, HEAD, POST, PUT, PATCH or DELETE");
		return entry_error(e, index, ".request.method");
	}
	out->request = *context->request;
	out->request.method = out->method;
	out->request.body = CL_STR_NONE;
	out->request.headers = CL_NEW_ARRAY(arena, struct cl_header, 6);
	out->request.header_count = 0;
	static const struct {
		const char *member, *header;
	} conditions[] = {{"ifMatch", "if-match"}, {"ifNoneMatch", "if-none-match"}, {"ifNoneExist", "if-none-exist"}};
	for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
		struct cl_str value = cl_json_get_text(request, conditions[i].member);
		if (value.n)
			out->request.headers[out->request.header_count++] =
			        (struct cl_header){cl_str_of(conditions[i].header), value};
	}
	out->request.headers[out->request.header_count++] =
	        (struct cl_header){CL_STR("content-type"), CL_STR("application/fhir+json")};
	struct cl_str prefer = cl_request_header(context->request, "prefer");
	if (prefer.n)
		out->request.headers[out->request.header_count++] = (struct cl_header){CL_STR("prefer"), prefer};
	struct cl_str url = out->url;
	struct cl_str base = context->request->base;
	if (url.n > base.n && !memcmp(url.p, base.p, base.n))
		out->request.target = (struct cl_str){url.p + base.n, url.n - base.n};
	else
		out->request.target =
		        cl_arena_printf(arena, "/fhir%s%.*s", url.p[0] == '/' ? "" : "/", CL_STR_ARGS(url));
	int code = cl_route_find(arena, &out->request, &out->route, e);
	if (code)
		return entry_error(e, index, ".request.url");
	return 0;
}

static struct cl_json *entries_of(struct cl_json *bundle, struct cl_err *e, int *code)
{
	struct cl_json *entries = cl_json_get(bundle, "entry");
	*code = 0;
	if (entries && entries->kind != CL_JSON_ARRAY)
		*code = cl_fail(e, CL_E_INVALID, "Bundle.entry is an array");
	if (!*code && entries && entries->count > CL_BUNDLE_ENTRIES)
		*code = cl_fail(e, CL_E_TOO_LARGE, "a Bundle may have at most %d entries; this one has %u",
		                CL_BUNDLE_ENTRIES, entries->count);
	return entries;
}

/* ---- answers ---- */

static void write_response_entry(struct cl_buf *out, const struct cl_response *response)
{
	struct cl_str location = cl_response_header(response, "location");
	struct cl_str etag = cl_response_header(response, "etag");
	bool success = response->status < 300;
	cl_buf_add_byte(out, '{');
	if (success && response->body.n) {
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
	if (!success && response->body.n) {
		cl_buf_add_cstring(out, ",\"outcome\":");
		cl_buf_add_str(out, response->body);
	}
	cl_buf_add_cstring(out, "}}");
}

static void answer_entries(struct cl_arena *arena, const char *type, const struct cl_entry *entries, uint32_t count,
                           struct cl_response *response)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_buf_printf(&out, "{\"resourceType\":\"Bundle\",\"type\":\"%s\"", type);
	for (uint32_t i = 0; i < count; i++) {
		cl_buf_add_cstring(&out, i ? "," : ",\"entry\":[");
		write_response_entry(&out, &entries[i].response);
	}
	cl_buf_add_cstring(&out, count ? "]}" : "}");
	response->status = 200;
	response->body = cl_arena_copy(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	cl_response_add_header(arena, response, "content-type", CL_STR("application/fhir+json; charset=utf-8"));
}

/* ---- batch: every entry stands alone ---- */

bool cl_run_batch(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                  const struct cl_principal *principal, struct cl_str key, struct cl_json *bundle,
                  struct cl_outcome *out)
{
	bool wrote = false;
	struct cl_err problem = {0};
	struct cl_interaction_context context = {.arena = arena, .request = request};
	struct cl_change **end = &out->changes;
	int code;
	struct cl_json *json = entries_of(bundle, &problem, &code);
	if (code) {
		cl_interaction_answer_error(arena, NULL, &problem, &out->response);
		return false;
	}
	uint32_t count = json ? json->count : 0;
	struct cl_entry *entries = CL_NEW_ARRAY(arena, struct cl_entry, count + 1);
	for (uint32_t i = 0; i < count; i++) {
		struct cl_outcome outcome;
		problem = (struct cl_err){0};
		if (read_entry(&context, &json->items[i], i, &entries[i], &problem)) {
			cl_interaction_answer_error(arena, NULL, &problem, &entries[i].response);
			continue;
		}
		if (entries[i].route.kind == CL_ROUTE_BUNDLE || entries[i].route.kind == CL_ROUTE_EVENTS) {
			cl_fail(&problem, CL_E_UNSUPPORTED, "a batch cannot contain a batch or a stream");
			cl_interaction_answer_error(arena, NULL, &problem, &entries[i].response);
			continue;
		}
		struct cl_json *resource = cl_json_get(&json->items[i], "resource");
		if (resource) {
			struct cl_buf text;
			cl_buf_init(&text, 0);
			cl_json_write(&text, resource);
			entries[i].request.body = cl_arena_copy(arena, cl_buf_str(&text));
			cl_buf_free(&text);
		}
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
		*end = outcome.changes;
		while (*end)
			end = &(*end)->next;
	}
	answer_entries(arena, "batch-response", entries, count, &out->response);
	return wrote;
}

/* ---- transaction: all or nothing ---- */

struct cl_resolution {
	struct cl_interaction_context *context;
	struct cl_entry *entries;
	uint32_t count;
	uint32_t *slots; /* open addressing over fullUrl: entry index + 1 */
	uint32_t slot_mask;
	struct cl_str base; /* of the fullUrl of the entry that is looked at, when it is an address of a server */
	struct cl_err *e;
};

static uint32_t hash_text(struct cl_str text)
{
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < text.n; i++)
		hash = (hash ^ (unsigned char)text.p[i]) * 16777619u;
	return hash;
}

static struct cl_entry *find_full_url(struct cl_resolution *resolution, struct cl_str url)
{
	for (uint32_t i = hash_text(url) & resolution->slot_mask; resolution->slots[i];
	     i = (i + 1) & resolution->slot_mask)
		if (cl_str_equal(resolution->entries[resolution->slots[i] - 1].full_url, url))
			return &resolution->entries[resolution->slots[i] - 1];
	return NULL;
}

static int index_full_urls(struct cl_resolution *resolution, struct cl_err *e)
{
	uint32_t size = 16;
	while (size < resolution->count * 2)
		size *= 2;
	resolution->slots = CL_NEW_ARRAY(resolution->context->arena, uint32_t, size);
	resolution->slot_mask = size - 1;
	for (uint32_t i = 0; i < resolution->count; i++) {
		struct cl_str url = resolution->entries[i].full_url;
		if (!url.n)
			continue;
		if (find_full_url(resolution, url)) {
			cl_fail(e, CL_E_INVALID, "two entries have the same fullUrl");
			return entry_error(e, i, ".fullUrl");
		}
		uint32_t slot = hash_text(url) & resolution->slot_mask;
		while (resolution->slots[slot])
			slot = (slot + 1) & resolution->slot_mask;
		resolution->slots[slot] = i + 1;
	}
	return 0;
}

/* "Patient?identifier=x": exactly one must match. */
static int resolve_conditional(struct cl_interaction_context *context, struct cl_str text, struct cl_str *out,
                               struct cl_err *e)
{
	const char *mark = memchr(text.p, '?', text.n);
	struct cl_str name = {text.p, (size_t)(mark - text.p)};
	struct cl_query query = {.type = cl_fhir_type(name), .limit = 2};
	struct cl_search_result result;
	struct cl_str rule;
	if (!query.type)
		return cl_fail(e, CL_E_INVALID, "'%.*s' is no resource type", CL_STR_ARGS(name));
	int code = cl_interaction_condition(context, query.type, (struct cl_str){mark + 1, text.n - name.n - 1},
	                                    &query.where, e);
	if (!code && !query.where)
		code = cl_fail(e, CL_E_INVALID, "the condition '%.*s' needs at least one search parameter",
		               CL_STR_ARGS(text));
	if (!code)
		code = cl_access_predicate(context->rules->access, context->arena, context->principal, CL_ACCESS_SEARCH,
		                           query.type, &query.access, &rule, e);
	if (!code)
		code = cl_store_search(context->store, context->arena, &query, &result, e);
	if (code)
		return code;
	if (result.count != 1)
		return cl_fail(e, CL_E_PRECONDITION,
		               "the conditional reference '%.*s' matches %s resource; exactly one is needed",
		               CL_STR_ARGS(text), result.count ? "more than one" : "no");
	*out = cl_arena_printf(context->arena, "%.*s/%.*s", CL_STR_ARGS(name), CL_STR_ARGS(result.items[0].id));
	return 0;
}

static int resolve_reference(void *argument, enum cl_fhir_link kind, struct cl_json *value)
{
	struct cl_resolution *resolution = argument;
	struct cl_str text = cl_json_text(value);
	int code = 0;
	if (!text.n)
		return 0;
	/* A fragment of a contained resource after an entry's URL stays. */
	const char *hash = memchr(text.p, '#', text.n);
	struct cl_str bare = {text.p, hash ? (size_t)(hash - text.p) : text.n};
	struct cl_entry *target = bare.n ? find_full_url(resolution, bare) : NULL;
	/* A relative reference is one at the server that the entry itself came from (bundle.html, section 2.36.4.1). */
	if (!target && resolution->base.n && kind == CL_FHIR_LINK_REFERENCE &&
	    cl_fhir_reference_parse(bare).form == CL_FHIR_REFERENCE_RELATIVE)
		target = find_full_url(resolution, cl_arena_printf(resolution->context->arena, "%.*s/%.*s",
		                                                   CL_STR_ARGS(resolution->base), CL_STR_ARGS(bare)));
	if (target && target->write.id.n) {
		value->text = cl_arena_printf(resolution->context->arena, "%.*s/%.*s%.*s",
		                              CL_STR_ARGS(cl_fhir_type_name(target->write.type)),
		                              CL_STR_ARGS(target->write.id), (int)(text.n - bare.n), text.p + bare.n);
	} else if (kind == CL_FHIR_LINK_REFERENCE && cl_str_starts(text, "urn:uuid:")) {
		code = cl_fail(resolution->e, CL_E_RULE, "the reference '%.*s' is the fullUrl of no entry",
		               CL_STR_ARGS(text));
	} else if (kind == CL_FHIR_LINK_REFERENCE &&
	           cl_fhir_reference_parse(text).form == CL_FHIR_REFERENCE_CONDITIONAL) {
		code = resolve_conditional(resolution->context, text, &value->text, resolution->e);
	}
	return code;
}

/* Order of the standard: DELETE, POST, PUT, then reads. */
static int rank(struct cl_str method)
{
	if (cl_str_is(method, "DELETE"))
		return 0;
	if (cl_str_is(method, "POST"))
		return 1;
	return cl_str_is(method, "PUT") ? 2 : 3;
}

static int prepare_write(struct cl_interaction_context *context, struct cl_entry *entry, struct cl_err *e)
{
	struct cl_write *write = &entry->write;
	write->type = entry->route.type;
	write->id = entry->route.id;
	write->if_match = cl_request_header(&entry->request, "if-match");
	write->if_none_exist = cl_request_header(&entry->request, "if-none-exist");
	write->if_none_match = cl_request_header(&entry->request, "if-none-match");
	write->resource = cl_json_get(entry->entry, "resource");
	write->operation = entry->route.kind == CL_ROUTE_CREATE   ? CL_OP_CREATE
	                   : entry->route.kind == CL_ROUTE_UPDATE ? CL_OP_UPDATE
	                                                          : CL_OP_DELETE;
	if (entry->route.kind != CL_ROUTE_CREATE && entry->route.kind != CL_ROUTE_UPDATE &&
	    entry->route.kind != CL_ROUTE_DELETE) {
		cl_fail(e, CL_E_UNSUPPORTED, "a transaction can read, search, create, update and delete; not %.*s %.*s",
		        CL_STR_ARGS(entry->method), CL_STR_ARGS(entry->url));
		return entry_error(e, entry->index, ".request.url");
	}
	if (write->operation != CL_OP_DELETE && !write->resource) {
		cl_fail(e, CL_E_INVALID, "%.*s needs a resource", CL_STR_ARGS(entry->method));
		return entry_error(e, entry->index, "");
	}
	if (write->operation == CL_OP_CREATE)
		write->id = cl_unit_id(context->unit, cl_fhir_type_name(write->type));
	return 0;
}

static int run_read_entry(struct cl_interaction_context *own, const struct cl_entry *entry, struct cl_err *e)
{
	int code;
	own->unit = NULL;
	switch (entry->route.kind) {
	case CL_ROUTE_READ:
	case CL_ROUTE_VREAD:
		code = cl_interaction_read(own, e);
		break;
	case CL_ROUTE_SEARCH:
		code = cl_interaction_search(own, e);
		break;
	case CL_ROUTE_HISTORY:
		code = cl_interaction_history(own, e);
		break;
	case CL_ROUTE_EVERYTHING:
		code = cl_interaction_everything(own, e);
		break;
	default:
		return cl_fail(e, CL_E_UNSUPPORTED, "a transaction can read, search, create, update and delete");
	}
	return code ? code : cl_interaction_audit_read(own, e);
}

static int run_write_entry(struct cl_interaction_context *own, struct cl_entry *entry, struct cl_err *e)
{
	struct cl_write *write = &entry->write;
	struct cl_str promised = write->id;
	int code = cl_write_run(own, write, e);
	if (code)
		return code;
	if (write->operation == CL_OP_DELETE) {
		entry->response.status = 204;
		return 0;
	}
	/* References to it were written with the id that it was to have. */
	if (write->operation == CL_OP_CREATE && write->existed && !cl_str_equal(write->version.id, promised))
		return cl_fail(e, CL_E_PRECONDITION,
		               "another entry of this transaction makes what this one's condition finds; "
		               "use one entry for both");
	int status = write->operation == CL_OP_CREATE ? (write->existed ? 200 : 201) : (write->created ? 201 : 200);
	cl_interaction_answer_version(own, status, &write->version, true);
	return 0;
}

static int run_entry(struct cl_interaction_context *context, struct cl_entry *entry, struct cl_err *e)
{
	struct cl_interaction_context own = *context;
	own.request = &entry->request;
	own.route = &entry->route;
	own.response = &entry->response;
	own.answer = NULL;
	int code = rank(entry->method) == 3 ? run_read_entry(&own, entry, e) : run_write_entry(&own, entry, e);
	/* A refusal is audited for what was refused. */
	if (code) {
		context->target = own.target;
		context->rule = own.rule;
	}
	return code;
}

static int compare_entries(const void *a, const void *b)
{
	const struct cl_entry *x = *(struct cl_entry *const *)a, *y = *(struct cl_entry *const *)b;
	int order = rank(x->method) - rank(y->method);
	return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* What was found wrong with an entry's resource is said as a place in the Bundle: "Bundle.entry[1].resource.gender". */
static void place_issues(struct cl_issues *issues, size_t first, uint32_t index)
{
	for (size_t i = first; i < issues->count; i++) {
		struct cl_str place = issues->items[i].expression;
		const char *dot = place.n ? memchr(place.p, '.', place.n) : NULL;
		size_t type = dot ? (size_t)(dot - place.p) : place.n;
		issues->items[i].expression = cl_arena_printf(issues->arena, "Bundle.entry[%u].resource%.*s", index,
		                                              (int)(place.n - type), place.n ? place.p + type : "");
	}
}

/* A conditional create that finds its resource is that resource for all references to it, and so is one whose condition an
 * earlier entry has, too. */
static void foresee_condition(struct cl_interaction_context *context, struct cl_entry *entries, uint32_t i)
{
	struct cl_write *write = &entries[i].write;
	struct cl_str name = cl_fhir_type_name(write->type), condition = write->if_none_exist, found;
	struct cl_err ignored = {0};
	if (condition.p[0] == '?')
		condition = (struct cl_str){condition.p + 1, condition.n - 1};
	struct cl_str text = cl_arena_printf(context->arena, "%.*s?%.*s", CL_STR_ARGS(name), CL_STR_ARGS(condition));
	if (!resolve_conditional(context, text, &found, &ignored)) {
		write->id = (struct cl_str){found.p + name.n + 1, found.n - name.n - 1};
		return;
	}
	for (uint32_t k = 0; k < i; k++)
		if (entries[k].write.operation == CL_OP_CREATE && entries[k].write.type == write->type &&
		    cl_str_equal(entries[k].write.if_none_exist, write->if_none_exist)) {
			write->id = entries[k].write.id;
			return;
		}
}

static int compare_targets(const void *a, const void *b)
{
	const struct cl_entry *x = *(struct cl_entry *const *)a, *y = *(struct cl_entry *const *)b;
	int order = (x->write.type > y->write.type) - (x->write.type < y->write.type);
	if (!order)
		order = cl_str_compare(x->write.id, y->write.id);
	return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* No resource may be updated or deleted by two entries (http.html section 3.1.0.11.2). */
static int refuse_overlaps(struct cl_interaction_context *context, struct cl_entry *entries, uint32_t count,
                           struct cl_err *e)
{
	struct cl_entry **sorted = CL_NEW_ARRAY(context->arena, struct cl_entry *, count + 1);
	uint32_t n = 0;
	for (uint32_t i = 0; i < count; i++)
		if (entries[i].write.operation == CL_OP_UPDATE || entries[i].write.operation == CL_OP_DELETE)
			sorted[n++] = &entries[i];
	qsort(sorted, n, sizeof *sorted, compare_targets);
	for (uint32_t i = 1; i < n; i++)
		if (sorted[i]->write.type == sorted[i - 1]->write.type &&
		    cl_str_equal(sorted[i]->write.id, sorted[i - 1]->write.id)) {
			cl_fail(e, CL_E_INVALID,
			        "two entries of a transaction may not change the same resource, %.*s/%.*s",
			        CL_STR_ARGS(cl_fhir_type_name(sorted[i]->write.type)),
			        CL_STR_ARGS(sorted[i]->write.id));
			return entry_error(e, sorted[i]->index, ".request.url");
		}
	return 0;
}

int cl_interaction_transaction(struct cl_interaction_context *context, struct cl_json *bundle, struct cl_err *e)
{
	struct cl_arena *arena = context->arena;
	int code;
	context->target = CL_STR("transaction");
	if (!cl_str_is(cl_json_get_text(bundle, "resourceType"), "Bundle") ||
	    !cl_str_is(cl_json_get_text(bundle, "type"), "transaction")) {
		cl_fail(e, CL_E_INVALID, "this address takes a Bundle of type 'batch' or 'transaction'");
		return cl_fail_at(e, "Bundle.type");
	}
	struct cl_json *json = entries_of(bundle, e, &code);
	if (code)
		return code;
	uint32_t count = json ? json->count : 0;
	struct cl_entry *entries = CL_NEW_ARRAY(arena, struct cl_entry, count + 1);
	struct cl_entry **ordered = CL_NEW_ARRAY(arena, struct cl_entry *, count + 1);
	for (uint32_t i = 0; i < count && !code; i++) {
		code = read_entry(context, &json->items[i], i, &entries[i], e);
		ordered[i] = &entries[i];
		if (!code && rank(entries[i].method) < 3)
			code = prepare_write(context, &entries[i], e);
	}
	if (code)
		return code;
	struct cl_resolution resolution = {.context = context, .entries = entries, .count = count, .e = e};
	code = index_full_urls(&resolution, e);
	if (!code)
		code = refuse_overlaps(context, entries, count, e);
	for (uint32_t i = 0; i < count && !code; i++)
		if (entries[i].write.operation == CL_OP_CREATE && entries[i].write.if_none_exist.n)
			foresee_condition(context, entries, i);
	for (uint32_t i = 0; i < count && !code; i++) {
		struct cl_write *write = &entries[i].write;
		if (!write->resource || rank(entries[i].method) > 2)
			continue;
		struct cl_fhir_reference own = cl_fhir_reference_parse(entries[i].full_url);
		resolution.base = own.form == CL_FHIR_REFERENCE_ABSOLUTE ? own.base : CL_STR_NONE;
		code = cl_fhir_visit_links(write->resource, resolve_reference, &resolution);
		if (code)
			code = entry_error(e, i, ".resource");
	}
	if (code)
		return code;
	qsort(ordered, count, sizeof *ordered, compare_entries);
	for (uint32_t i = 0; i < count; i++) {
		size_t known = context->issues->count;
		code = run_entry(context, ordered[i], e);
		place_issues(context->issues, known, ordered[i]->index);
		if (code)
			return entry_error(e, ordered[i]->index, "");
	}
	answer_entries(arena, "transaction-response", entries, count, context->response);
	context->target = cl_arena_printf(arena, "transaction of %u", count);
	return 0;
}
