/* transaction.c: transactions: all entries or none (FHIR R4 http.html section 3.1.0.11.2). */
#include "org/engine/bundle.h"
#include "org/fhir/reference.h"
#include "org/fhir/types.h"
#include <stdlib.h>

struct cl_resolution {
	struct cl_interaction_context *context;
	struct cl_entry *entries;
	uint32_t count;
	uint32_t *slots; /* open addressing over fullUrl: entry index + 1 */
	uint32_t slot_mask;
	bool named; /* there is a fullUrl at all */
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
			return cl_entry_error(e, i, ".fullUrl");
		}
		resolution->named = true;
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
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	struct cl_version found;
	size_t count;
	int code = cl_condition_find(context, reference.type, reference.id, &found, &count, e);
	if (code)
		return code;
	if (count != 1)
		return cl_fail(e, CL_E_PRECONDITION,
		               "the conditional reference '%.*s' matches %s resource; exactly one is needed",
		               (int)(text.n < 120 ? text.n : 120), text.p, count ? "more than one" : "no");
	*out = cl_arena_printf(context->arena, "%.*s/%.*s", CL_STR_ARGS(cl_fhir_type_name(reference.type)),
	                       CL_STR_ARGS(found.id));
	return 0;
}

/* The address that an entry's resource will have, when `text` is its fullUrl, or else empty. */
static struct cl_str address_of(struct cl_resolution *resolution, enum cl_fhir_link kind, struct cl_str text)
{
	struct cl_arena *arena = resolution->context->arena;
	/* A fragment of a contained resource after an entry's URL stays. */
	const char *hash = text.n ? memchr(text.p, '#', text.n) : NULL;
	struct cl_str bare = {text.p, hash ? (size_t)(hash - text.p) : text.n};
	struct cl_entry *target = bare.n ? find_full_url(resolution, bare) : NULL;
	/* A relative reference is one at the server that the entry itself came from (bundle.html, section 2.36.4.1). */
	if (!target && resolution->base.n && kind == CL_FHIR_LINK_REFERENCE &&
	    cl_fhir_reference_parse(bare).form == CL_FHIR_REFERENCE_RELATIVE)
		target = find_full_url(resolution, cl_arena_printf(arena, "%.*s/%.*s", CL_STR_ARGS(resolution->base),
		                                                   CL_STR_ARGS(bare)));
	if (!target || !target->write.id.n)
		return CL_STR_NONE;
	return cl_arena_printf(arena, "%.*s/%.*s%.*s", CL_STR_ARGS(cl_fhir_type_name(target->write.type)),
	                       CL_STR_ARGS(target->write.id), (int)(text.n - bare.n), text.p + bare.n);
}

/* <a href="urn:uuid:..."> and <img src="..."> in a narrative. */
static void resolve_narrative(struct cl_resolution *resolution, struct cl_json *value)
{
	static const char *const marks[] = {"href=\"", "href='", "src=\"", "src='"};
	struct cl_str rest = value->text;
	struct cl_buf out;
	bool changed = false;
	cl_buf_init(&out, 0);
	while (rest.n) {
		const char *first = NULL;
		size_t length = 0;
		for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
			const char *at = memmem(rest.p, rest.n, marks[i], strlen(marks[i]));
			if (at && (!first || at < first)) {
				first = at;
				length = strlen(marks[i]);
			}
		}
		if (!first)
			break;
		const char *begin = first + length;
		const char *end = memchr(begin, first[length - 1], (size_t)(rest.p + rest.n - begin));
		if (!end)
			break;
		struct cl_str address =
		        address_of(resolution, CL_FHIR_LINK_NARRATIVE, (struct cl_str){begin, (size_t)(end - begin)});
		cl_buf_add(&out, rest.p, (size_t)(begin - rest.p));
		if (address.n)
			cl_buf_add_str(&out, address);
		else
			cl_buf_add(&out, begin, (size_t)(end - begin));
		changed |= address.n > 0;
		rest = (struct cl_str){end, (size_t)(rest.p + rest.n - end)};
	}
	cl_buf_add_str(&out, rest);
	if (changed)
		value->text = cl_arena_copy(resolution->context->arena, cl_buf_str(&out));
	cl_buf_free(&out);
}

/* References, addresses and the narrative; canonical URLs are names and stay (http.html section 3.1.0.11.2). */
static int resolve_link(void *argument, enum cl_fhir_link kind, struct cl_json *value)
{
	struct cl_resolution *resolution = argument;
	struct cl_str text = cl_json_text(value);
	if (!text.n || kind == CL_FHIR_LINK_CANONICAL)
		return 0;
	if (kind == CL_FHIR_LINK_NARRATIVE) {
		if (resolution->named)
			resolve_narrative(resolution, value);
		return 0;
	}
	struct cl_str address = address_of(resolution, kind, text);
	if (address.n) {
		value->text = address;
		return 0;
	}
	if (kind != CL_FHIR_LINK_REFERENCE)
		return 0;
	if (cl_str_starts(text, "urn:uuid:"))
		return cl_fail(resolution->e, CL_E_RULE, "the reference '%.*s' is the fullUrl of no entry",
		               (int)(text.n < 120 ? text.n : 120), text.p);
	if (cl_fhir_reference_parse(text).form == CL_FHIR_REFERENCE_CONDITIONAL)
		return resolve_conditional(resolution->context, text, &value->text, resolution->e);
	return 0;
}

enum { RANK_READ = 3 };

/* Order of the standard: DELETE, POST, PUT and PATCH, then GET and HEAD. */
static int rank(struct cl_str method)
{
	if (cl_str_is(method, "DELETE"))
		return 0;
	if (cl_str_is(method, "POST"))
		return 1;
	return cl_str_is(method, "PUT") || cl_str_is(method, "PATCH") ? 2 : RANK_READ;
}

static int prepare_write(struct cl_interaction_context *context, struct cl_entry *entry, struct cl_err *e)
{
	struct cl_write *write = &entry->write;
	uint8_t kind = entry->route.kind;
	bool patch = kind == CL_ROUTE_PATCH;
	write->type = entry->route.type;
	write->id = entry->route.id;
	write->if_match = cl_request_header(&entry->request, "if-match");
	write->if_none_exist = cl_request_header(&entry->request, "if-none-exist");
	write->if_none_match = cl_request_header(&entry->request, "if-none-match");
	write->operation = kind == CL_ROUTE_CREATE            ? CL_OP_CREATE
	                   : kind == CL_ROUTE_UPDATE || patch ? CL_OP_UPDATE
	                                                      : CL_OP_DELETE;
	if (kind != CL_ROUTE_CREATE && kind != CL_ROUTE_UPDATE && kind != CL_ROUTE_DELETE && !patch) {
		cl_fail(e, CL_E_RULE, "a transaction can read, search, create, update, patch and delete; not %.*s %.*s",
		        CL_STR_ARGS(entry->method), (int)(entry->url.n < 120 ? entry->url.n : 120), entry->url.p);
		return cl_entry_error(e, entry->index, ".request.url");
	}
	if (patch) {
		struct cl_str text;
		int code = cl_entry_patch(context, entry, &text, e);
		if (code)
			return code;
		if (!cl_format_is(cl_request_header(&entry->request, "content-type"), "application/json-patch+json")) {
			cl_fail(e, CL_E_MEDIA_TYPE, "a patch is application/json-patch+json");
			return cl_entry_error(e, entry->index, ".resource.contentType");
		}
		code = cl_json_parse(context->arena, text, NULL, &write->patch, e);
		if (code)
			return cl_entry_error(e, entry->index, ".resource.data");
	} else if (write->operation != CL_OP_DELETE) {
		write->resource = cl_json_get(entry->entry, "resource");
		if (!write->resource || write->resource->kind != CL_JSON_OBJECT) {
			cl_fail(e, CL_E_INVALID, "%.*s needs a resource", CL_STR_ARGS(entry->method));
			return cl_entry_error(e, entry->index, ".resource");
		}
	}
	if (write->operation == CL_OP_CREATE)
		write->id = cl_unit_id(context->unit, cl_fhir_type_name(write->type));
	else if (!write->id.n)
		write->condition = entry->route.query;
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
	case CL_ROUTE_META:
		code = cl_interaction_meta(own, e);
		break;
	case CL_ROUTE_EVERYTHING:
		code = cl_interaction_everything(own, e);
		break;
	default:
		return cl_fail(e, CL_E_RULE, "a transaction can read, search, create, update, patch and delete");
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
		cl_interaction_answer_deletion(own, &write->version);
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
	own.modified = 0;
	int code = rank(entry->method) == RANK_READ ? run_read_entry(&own, entry, e) : run_write_entry(&own, entry, e);
	entry->modified = own.modified;
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

/* Conditions are looked at before anything is written, so that references know where they lead. A conditional create that finds
 * its resource is that resource for all references to it, and so is one whose condition an earlier entry has, too. */
static int foresee_condition(struct cl_interaction_context *context, struct cl_entry *entries, uint32_t i,
                             struct cl_err *e)
{
	struct cl_write *write = &entries[i].write;
	struct cl_version found;
	struct cl_err ignored = {0};
	size_t count;
	struct cl_str rule;
	if (write->condition.n) {
		int code = cl_access_may(context->rules->access, context->principal,
		                         write->operation == CL_OP_DELETE ? CL_ACCESS_DELETE : CL_ACCESS_UPDATE,
		                         write->type, &rule, e);
		if (!code)
			code = cl_condition_resolve(context, write, e);
		return code ? cl_entry_error(e, i, ".request.url") : 0;
	}
	if (write->operation != CL_OP_CREATE || !write->if_none_exist.n)
		return 0;
	/* What is wrong with it is said when it runs. */
	if (!cl_condition_find(context, write->type, write->if_none_exist, &found, &count, &ignored) && count == 1) {
		write->id = found.id;
		return 0;
	}
	for (uint32_t k = 0; k < i; k++)
		if (entries[k].write.operation == CL_OP_CREATE && entries[k].write.type == write->type &&
		    cl_str_equal(entries[k].write.if_none_exist, write->if_none_exist)) {
			write->id = entries[k].write.id;
			return 0;
		}
	return 0;
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
		if ((entries[i].write.operation == CL_OP_UPDATE || entries[i].write.operation == CL_OP_DELETE) &&
		    entries[i].write.id.n)
			sorted[n++] = &entries[i];
	qsort(sorted, n, sizeof *sorted, compare_targets);
	for (uint32_t i = 1; i < n; i++)
		if (sorted[i]->write.type == sorted[i - 1]->write.type &&
		    cl_str_equal(sorted[i]->write.id, sorted[i - 1]->write.id)) {
			cl_fail(e, CL_E_INVALID,
			        "two entries of a transaction may not change the same resource, %.*s/%.*s",
			        CL_STR_ARGS(cl_fhir_type_name(sorted[i]->write.type)),
			        CL_STR_ARGS(sorted[i]->write.id));
			return cl_entry_error(e, sorted[i]->index, ".request.url");
		}
	return 0;
}

int cl_interaction_transaction(struct cl_interaction_context *context, struct cl_json *bundle, struct cl_err *e)
{
	struct cl_arena *arena = context->arena;
	context->target = CL_STR("transaction");
	if (!cl_str_is(cl_json_get_text(bundle, "resourceType"), "Bundle") ||
	    !cl_str_is(cl_json_get_text(bundle, "type"), "transaction")) {
		cl_fail(e, CL_E_INVALID, "this address takes a Bundle of type 'batch' or 'transaction'");
		return cl_fail_at(e, "Bundle.type");
	}
	struct cl_json *json;
	int code = cl_entries_of(bundle, &json, e);
	if (code)
		return code;
	uint32_t count = json ? json->count : 0;
	struct cl_entry *entries = CL_NEW_ARRAY(arena, struct cl_entry, count + 1);
	struct cl_entry **ordered = CL_NEW_ARRAY(arena, struct cl_entry *, count + 1);
	for (uint32_t i = 0; i < count && !code; i++) {
		code = cl_entry_read(context, &json->items[i], i, &entries[i], e);
		ordered[i] = &entries[i];
		if (!code && rank(entries[i].method) < RANK_READ)
			code = prepare_write(context, &entries[i], e);
	}
	if (code)
		return code;
	struct cl_resolution resolution = {.context = context, .entries = entries, .count = count, .e = e};
	code = index_full_urls(&resolution, e);
	for (uint32_t i = 0; i < count && !code; i++)
		code = foresee_condition(context, entries, i, e);
	if (!code)
		code = refuse_overlaps(context, entries, count, e);
	for (uint32_t i = 0; i < count && !code; i++) {
		struct cl_write *write = &entries[i].write;
		if (!write->resource || rank(entries[i].method) == RANK_READ)
			continue;
		struct cl_fhir_reference own = cl_fhir_reference_parse(entries[i].full_url);
		resolution.base = own.form == CL_FHIR_REFERENCE_ABSOLUTE ? own.base : CL_STR_NONE;
		code = cl_fhir_visit_links(write->resource, resolve_link, &resolution);
		if (code)
			code = cl_entry_error(e, i, ".resource");
	}
	if (code)
		return code;
	qsort(ordered, count, sizeof *ordered, compare_entries);
	for (uint32_t i = 0; i < count; i++) {
		size_t known = context->issues->count;
		code = run_entry(context, ordered[i], e);
		place_issues(context->issues, known, ordered[i]->index);
		if (code)
			return cl_entry_error(e, ordered[i]->index, "");
	}
	cl_entries_answer(arena, "transaction-response", entries, count, context->response);
	context->target = cl_arena_printf(arena, "transaction of %u", count);
	return 0;
}
