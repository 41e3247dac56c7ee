/* export_ask.c: the kick-off request of an export: what is asked, by whom, of what (Bulk Data Access 2.0, "Bulk Data Kick-off
 * Request"). */
#include "org/engine/export.h"
#include "base/date.h"
#include "base/id.h"
#include "org/fhir/reference.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"
#include <stdlib.h>

#define TEXTS_MAX 2000 /* values of one parameter */

struct asked {
	struct cl_interaction_context *context;
	bool lenient;
	struct cl_json *types, *elements, *filters, *patients, *notes; /* arrays of the description */
	struct cl_str since;
	bool has_patient;
};

static bool prefers(const struct cl_request *request, const char *what)
{
	struct cl_str prefer = cl_request_header(request, "prefer");
	return prefer.n && memmem(prefer.p, prefer.n, what, strlen(what));
}

static void add_note(struct asked *asked, const char *format, struct cl_str text)
{
	struct cl_arena *arena = asked->context->arena;
	char shown[200];
	size_t n = text.n < sizeof shown ? text.n : sizeof shown - 1;
	memcpy(shown, text.n ? text.p : "", n);
	shown[n] = 0;
	cl_json_append_text(arena, asked->notes, cl_arena_printf(arena, format, shown));
}

/* Refused, unless the client would rather have less than nothing. */
static int refuse(struct asked *asked, struct cl_str name, const char *format, struct cl_str text, struct cl_err *e)
{
	char shown[200];
	size_t n = text.n < sizeof shown ? text.n : sizeof shown - 1;
	if (asked->lenient) {
		add_note(asked, format, text);
		return 0;
	}
	memcpy(shown, text.n ? text.p : "", n);
	shown[n] = 0;
	cl_fail(e, CL_E_INVALID, format, shown);
	return cl_fail_at(e, "%.*s", CL_STR_ARGS(name));
}

/* ---- the parameters ---- */

static int add_type(struct asked *asked, struct cl_str name, struct cl_err *e)
{
	uint16_t type = cl_fhir_type(name);
	for (uint32_t i = 0; i < asked->types->count; i++)
		if (cl_str_equal(cl_json_text(&asked->types->items[i]), name))
			return 0;
	if (!type)
		return refuse(asked, CL_STR("_type"), "'%s' is no FHIR R4 resource type", name, e);
	cl_json_append_text(asked->context->arena, asked->types, name);
	return 0;
}

static int add_filter(struct asked *asked, struct cl_str text, struct cl_err *e)
{
	struct cl_arena *arena = asked->context->arena;
	const char *mark = text.n ? memchr(text.p, '?', text.n) : NULL;
	struct cl_str name = {text.p, mark ? (size_t)(mark - text.p) : 0};
	struct cl_str query = mark ? (struct cl_str){mark + 1, text.n - name.n - 1} : CL_STR_NONE;
	struct cl_criterion *ignored;
	struct cl_err problem = {0};
	uint16_t type = cl_fhir_type(name);
	if (!type)
		return refuse(asked, CL_STR("_typeFilter"),
		              "_typeFilter '%s' does not begin with a resource type and ?", text, e);
	if (cl_interaction_condition(asked->context, type, query, &ignored, &problem)) {
		if (!asked->lenient) {
			*e = problem;
			return e->code;
		}
		add_note(asked, "_typeFilter '%s' was not understood and left out", text);
		return 0;
	}
	struct cl_json *filter = cl_json_append(arena, asked->filters);
	filter->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, filter, "type", name);
	cl_json_set_text(arena, filter, "query", query);
	return 0;
}

static int add_patient(struct asked *asked, struct cl_str text, struct cl_err *e)
{
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	asked->has_patient = true;
	if (!cl_str_is(cl_fhir_type_name(reference.type), "Patient") || !cl_is_fhir_id(reference.id))
		return refuse(asked, CL_STR("patient"), "patient '%s' is no reference to a Patient here", text, e);
	cl_json_append_text(asked->context->arena, asked->patients, reference.id);
	return 0;
}

static int check_format(struct asked *asked, struct cl_str text, struct cl_err *e)
{
	static const char *const known[] = {"application/fhir+ndjson", "application/ndjson", "ndjson"};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (cl_str_is(text, known[i]))
			return 0;
	/* "+" that a client did not escape has become a space. */
	if (cl_str_is(text, "application/fhir ndjson"))
		return 0;
	return refuse(asked, CL_STR("_outputFormat"), "_outputFormat '%s' is not possible; application/fhir+ndjson is",
	              text, e);
}

/* Values of these come alone, several times, or with commas between them. */
static int each(struct asked *asked, struct cl_str text, int (*add)(struct asked *, struct cl_str, struct cl_err *),
                struct cl_err *e)
{
	while (text.n) {
		const char *comma = memchr(text.p, ',', text.n);
		struct cl_str one = {text.p, comma ? (size_t)(comma - text.p) : text.n};
		text = comma ? (struct cl_str){comma + 1, text.n - one.n - 1} : CL_STR_NONE;
		int code = one.n ? add(asked, one, e) : 0;
		if (code)
			return code;
	}
	return 0;
}

static int add_element(struct asked *asked, struct cl_str text, struct cl_err *e)
{
	(void)e;
	cl_json_append_text(asked->context->arena, asked->elements, text);
	return 0;
}

static int take(struct asked *asked, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	struct cl_moment moment;
	if (asked->types->count + asked->filters->count + asked->elements->count > TEXTS_MAX)
		return cl_fail(e, CL_E_LIMIT, "an export takes at most %d types, elements and filters", TEXTS_MAX);
	if (cl_str_is(name, "_type"))
		return each(asked, value, add_type, e);
	if (cl_str_is(name, "_elements"))
		return each(asked, value, add_element, e);
	if (cl_str_is(name, "_typeFilter"))
		return add_filter(asked, value, e);
	if (cl_str_is(name, "_outputFormat") || cl_str_is(name, "_format"))
		return cl_str_is(name, "_format") ? 0 : check_format(asked, value, e);
	if (cl_str_is(name, "patient"))
		return each(asked, value, add_patient, e);
	if (cl_str_is(name, "_since")) {
		if (cl_moment_parse(value, 0, &moment, e))
			return cl_fail_at(e, "_since");
		asked->since = value;
		return 0;
	}
	return refuse(asked, name,
	              "an export has no parameter '%s' here; _type, _since, _elements, _typeFilter, patient and "
	              "_outputFormat are known",
	              name, e);
}

static int take_query(struct asked *asked, struct cl_str query, struct cl_err *e)
{
	while (query.n) {
		const char *amp = memchr(query.p, '&', query.n);
		struct cl_str pair = {query.p, amp ? (size_t)(amp - query.p) : query.n}, name, value;
		query = amp ? (struct cl_str){amp + 1, query.n - pair.n - 1} : CL_STR_NONE;
		const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		if (!pair.n)
			continue;
		struct cl_str raw = {pair.p, equals ? (size_t)(equals - pair.p) : pair.n};
		struct cl_str rest = equals ? (struct cl_str){equals + 1, pair.n - raw.n - 1} : CL_STR_NONE;
		int code = cl_fhir_url_decode(asked->context->arena, raw, &name, e);
		if (!code)
			code = cl_fhir_url_decode(asked->context->arena, rest, &value, e);
		/* A zone's "+" that was not escaped. */
		if (!code && cl_str_is(name, "_since") && value.n && memchr(value.p, ' ', value.n)) {
			char *text = cl_arena_cstring(asked->context->arena, value);
			*strchr(text, ' ') = '+';
			value = cl_str_of(text);
		}
		if (!code)
			code = take(asked, name, value, e);
		if (code)
			return code;
	}
	return 0;
}

static int take_body(struct asked *asked, struct cl_err *e)
{
	struct cl_interaction_context *context = asked->context;
	struct cl_json *body;
	if (!context->request->body.n)
		return 0;
	int code = cl_interaction_body(context, &body, e);
	if (code)
		return code;
	if (!cl_str_is(cl_json_get_text(body, "resourceType"), "Parameters")) {
		cl_fail(e, CL_E_INVALID, "$export takes a Parameters resource, or nothing");
		return cl_fail_at(e, "resourceType");
	}
	if (cl_fhir_validate(context->arena, body, context->request->body, context->issues))
		return cl_issues_first_error(context->issues, CL_E_RULE, e);
	const struct cl_json *parameters = cl_json_get(body, "parameter");
	for (uint32_t i = 0; !code && parameters && i < parameters->count; i++) {
		const struct cl_json *parameter = &parameters->items[i], *value = NULL;
		for (uint32_t m = 0; m < parameter->count; m++)
			if (cl_str_starts(parameter->members[m].name, "value"))
				value = &parameter->members[m].value;
		struct cl_str text = value && value->kind == CL_JSON_OBJECT ? cl_json_get_text(value, "reference")
		                                                            : cl_json_text(value);
		code = take(asked, cl_json_get_text(parameter, "name"), text, e);
	}
	return code;
}

/* ---- of whom and what ---- */

static int compare_texts(const void *x, const void *y)
{
	return cl_str_compare(((const struct cl_json *)x)->text, ((const struct cl_json *)y)->text);
}

/* The members that are Patients of this organization and still count. */
static int read_group(struct asked *asked, struct cl_str id, struct cl_err *e)
{
	struct cl_interaction_context *context = asked->context;
	struct cl_version group;
	struct cl_json *resource;
	uint16_t type = context->route->type;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, type, &context->rule, e);
	if (!code)
		code = cl_store_get(context->store, context->arena, type, id, &group, e);
	if (code == CL_E_NOT_FOUND || (!code && group.operation == CL_OP_DELETE))
		return cl_fail(e, code ? CL_E_NOT_FOUND : CL_E_GONE, "there is no Group/%.*s here", CL_STR_ARGS(id));
	if (!code)
		code = cl_interaction_may_see(context->rules, context->store, context->arena, context->principal,
		                              CL_ACCESS_READ, &group, &group, &context->rule, e);
	if (!code)
		code = cl_json_parse(context->arena, group.body, NULL, &resource, e);
	if (code)
		return code;
	struct cl_json *members = cl_json_get(resource, "member"), *chosen = cl_json_new(context->arena, CL_JSON_ARRAY);
	for (uint32_t i = 0; members && i < members->count; i++) {
		struct cl_str text = cl_json_text(cl_json_path(&members->items[i], "entity", "reference", NULL));
		struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
		bool here = reference.form == CL_FHIR_REFERENCE_RELATIVE &&
		            cl_str_is(cl_fhir_type_name(reference.type), "Patient");
		if (!here || cl_json_is_true(cl_json_get(&members->items[i], "inactive")))
			continue;
		bool asked_for = !asked->has_patient;
		for (uint32_t p = 0; !asked_for && p < asked->patients->count; p++)
			asked_for = cl_str_equal(asked->patients->items[p].text, reference.id);
		if (asked_for)
			cl_json_append_text(context->arena, chosen, reference.id);
	}
	asked->patients = chosen;
	return 0;
}

/* All types that the level has and the principal may search; those that were named, with a note for what is left out. */
static int choose_types(struct asked *asked, enum cl_export_level level, struct cl_json *out, struct cl_err *e)
{
	struct cl_interaction_context *context = asked->context;
	struct cl_str rule;
	bool any = asked->types->count == 0;
	for (uint16_t type = 1; type <= cl_fhir_type_count(); type++) {
		struct cl_str name = cl_fhir_type_name(type);
		struct cl_err denied = {0};
		bool named = false;
		for (uint32_t i = 0; !any && i < asked->types->count; i++)
			named |= cl_str_equal(asked->types->items[i].text, name);
		if (!any && !named)
			continue;
		if (level != CL_EXPORT_SYSTEM && !cl_export_in_compartment(type)) {
			if (named)
				add_note(asked, "%s is not part of a patient's compartment: left out", name);
		} else if (!cl_access_may(context->rules->access, context->principal, CL_ACCESS_SEARCH, type, &rule,
		                          &denied)) {
			cl_json_append_text(context->arena, out, name);
			if (!context->rule.n)
				context->rule = rule;
		} else if (named && !asked->lenient) {
			*e = denied;
			return e->code;
		} else if (named) {
			add_note(asked, "you may not search %s: left out", name);
		}
	}
	if (any && !out->count)
		return cl_fail(e, CL_E_FORBIDDEN, "'%.*s' may search nothing that could be exported",
		               CL_STR_ARGS(context->principal->name));
	return 0;
}

static int note_time(const struct cl_stored_event *event, void *context)
{
	*(cl_instant *)context = event->at;
	return 0;
}

/* The audit's word for it: names only, values may be health information. */
static struct cl_str audit_target(struct cl_interaction_context *context)
{
	struct cl_str name = cl_fhir_type_name(context->route->type), id = context->route->id;
	return cl_arena_printf(context->arena, "%.*s%s%.*s%s$export", CL_STR_ARGS(name), id.n ? "/" : "",
	                       CL_STR_ARGS(id), name.n ? "/" : "");
}

/* ---- the description, and the answer ---- */

static int describe(struct asked *asked, enum cl_export_level level, const char *id, struct cl_json **out,
                    struct cl_err *e)
{
	struct cl_interaction_context *context = asked->context;
	struct cl_arena *arena = context->arena;
	struct cl_json *request = cl_json_new(arena, CL_JSON_OBJECT), *types = cl_json_new(arena, CL_JSON_ARRAY);
	struct cl_moment since;
	int code = choose_types(asked, level, types, e);
	if (code)
		return code;
	uint64_t sequence = cl_store_last_sequence(context->store);
	cl_instant shown = context->now;
	code = cl_store_events(context->store, sequence - 1, 1, note_time, &shown, e);
	if (code)
		return code;
	if (asked->patients->count)
		qsort(asked->patients->items, asked->patients->count, sizeof *asked->patients->items, compare_texts);
	cl_json_set_text(arena, request, "id", cl_str_of(id));
	cl_json_set_text(arena, request, "principal", context->principal->name);
	if (context->principal->scopes)
		cl_json_set_text(arena, request, "scope", context->principal->scope);
	cl_json_set_text(arena, request, "request",
	                 cl_arena_printf(arena, "%.*s%.*s", CL_STR_ARGS(context->request->base),
	                                 CL_STR_ARGS(context->request->target)));
	cl_json_set_text(arena, request, "base", context->request->base);
	cl_json_set_integer(arena, request, "level", level);
	cl_json_set_boolean(arena, request, "chosen", level == CL_EXPORT_GROUP || asked->has_patient);
	cl_json_set_boolean(arena, request, "bearer", context->request->credential.kind == CL_CREDENTIAL_BEARER);
	cl_json_set_integer(arena, request, "incarnation", (int64_t)cl_store_incarnation(context->store));
	cl_json_set_integer(arena, request, "sequence", (int64_t)sequence);
	cl_json_set_integer(arena, request, "shown", shown);
	cl_json_set_integer(arena, request, "begun", context->now);
	if (asked->since.n && !cl_moment_parse(asked->since, 0, &since, e))
		cl_json_set_integer(arena, request, "since", since.lower);
	*cl_json_set(arena, request, CL_STR("types")) = *types;
	*cl_json_set(arena, request, CL_STR("patients")) = *asked->patients;
	*cl_json_set(arena, request, CL_STR("elements")) = *asked->elements;
	*cl_json_set(arena, request, CL_STR("filters")) = *asked->filters;
	*cl_json_set(arena, request, CL_STR("notes")) = *asked->notes;
	*out = request;
	return 0;
}

/* Takes a place among those that run; 1 when this very request had one before. With the lock. */
static int take_place(struct cl_exports *exports, const char *id, struct cl_err *e)
{
	unsigned running = exports->beginning, kept = exports->beginning;
	for (const struct cl_export *other = exports->first; other; other = other->next) {
		if (cl_str_is(cl_str_of(other->id), id))
			return 1;
		running += other->state == CL_EXPORT_RUNNING;
		kept++;
	}
	if (running >= exports->settings.running)
		return cl_fail(e, CL_E_LIMIT,
		               "%u exports are under way, which is the most; try again when one is finished", running);
	if (kept >= CL_EXPORT_KEPT)
		return cl_fail(e, CL_E_LIMIT, "%u exports are kept, which is the most; delete those that were fetched",
		               kept);
	exports->beginning++;
	return 0;
}

static int begin(struct cl_exports *exports, const char *id, const struct cl_json *request, struct cl_err *e)
{
	struct cl_export *job = NULL;
	pthread_mutex_lock(&exports->lock);
	int code = take_place(exports, id, e);
	pthread_mutex_unlock(&exports->lock);
	if (code)
		return code < 0 ? code : 0;
	/* Without the lock: who asks how far another export is does not wait for the disk. */
	code = cl_export_store(exports->folder, id, request, e);
	if (!code)
		code = cl_export_read(request, &job, e);
	pthread_mutex_lock(&exports->lock);
	exports->beginning--;
	if (!code) {
		struct cl_export **end = &exports->first;
		while (*end)
			end = &(*end)->next;
		*end = job;
		pthread_cond_signal(&exports->wake);
	}
	pthread_mutex_unlock(&exports->lock);
	if (code == CL_E_FULL || code == CL_E_IO)
		cl_fail(e, code, "the export could not be written down: %s",
		        code == CL_E_FULL ? "the disk is full" : "the disk has a problem");
	return code;
}

int cl_export_ask(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_arena *arena = context->arena;
	struct asked asked = {.context = context,
	                      .lenient = prefers(context->request, "handling=lenient"),
	                      .types = cl_json_new(arena, CL_JSON_ARRAY),
	                      .elements = cl_json_new(arena, CL_JSON_ARRAY),
	                      .filters = cl_json_new(arena, CL_JSON_ARRAY),
	                      .patients = cl_json_new(arena, CL_JSON_ARRAY),
	                      .notes = cl_json_new(arena, CL_JSON_ARRAY)};
	struct cl_json *request;
	char id[27];
	struct cl_str key = cl_request_hex(arena, context->request);
	context->target = audit_target(context);
	if (route->type && !cl_str_is(cl_fhir_type_name(route->type), route->id.n ? "Group" : "Patient"))
		return cl_fail(e, CL_E_NOT_FOUND, "$export is for the whole system, for Patient and for Group/id");
	if (!context->exports)
		return cl_fail(e, CL_E_RULE, "$export cannot be part of a batch");
	if (!prefers(context->request, "respond-async"))
		return cl_fail(e, CL_E_INVALID, "an export takes a while: send the header 'Prefer: respond-async'");
	int code = take_query(&asked, route->query, e);
	if (!code)
		code = take_body(&asked, e);
	enum cl_export_level level = !route->type  ? CL_EXPORT_SYSTEM
	                             : route->id.n ? CL_EXPORT_GROUP
	                                           : CL_EXPORT_PATIENT;
	if (!code && level == CL_EXPORT_SYSTEM && asked.has_patient) {
		cl_fail(e, CL_E_INVALID, "'patient' is for exports of patients and groups");
		code = cl_fail_at(e, "patient");
	}
	if (!code && level == CL_EXPORT_GROUP)
		code = read_group(&asked, route->id, e);
	/* The same request, sent again, is the same export; nobody can guess its name. */
	cl_id_derive(cl_store_secret(context->store), 0, key, CL_STR("export"), 0, id);
	if (!code)
		code = describe(&asked, level, id, &request, e);
	if (!code)
		code = begin(context->exports, id, request, e);
	if (code)
		return code;
	struct cl_issues issues;
	struct cl_buf text;
	cl_issues_init(&issues, arena, 0);
	cl_issues_add(&issues, CL_SEVERITY_INFORMATION, "informational", CL_STR_NONE,
	              "The export has begun; ask the address in Content-Location how far it is");
	cl_buf_init(&text, 0);
	cl_outcome_write(&text, &issues);
	cl_interaction_answer_bytes(context, 202, "application/fhir+json; charset=utf-8",
	                            cl_arena_copy(arena, cl_buf_str(&text)));
	cl_buf_free(&text);
	cl_response_add_header(arena, context->response, "content-location",
	                       cl_arena_printf(arena, "%.*s/exports/%s", CL_STR_ARGS(context->request->base), id));
	return 0;
}
