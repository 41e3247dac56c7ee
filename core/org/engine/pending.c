/* pending.c: filling in MeasureReports of status pending. */
#include "org/engine/pending.h"
#include "base/date.h"
#include "base/hash.h"
#include "org/engine/run.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <stdlib.h>
#include <string.h>

#define ROUNDS 20 /* results may ask for further measures, but not for ever */

int cl_pending_find(struct cl_store *store, struct cl_arena *arena, struct cl_search_result *out, struct cl_err *e)
{
	struct cl_fhir_search_context context = {.type = cl_fhir_type(CL_STR("MeasureReport"))};
	struct cl_criterion *where = CL_NEW(arena, struct cl_criterion);
	struct cl_query query = {.type = context.type, .where = where, .limit = CL_PENDING_MOST, .bodies = true};
	int code = cl_fhir_search_criterion(arena, &context, CL_STR("status"), CL_STR("pending"), where, e);
	return code ? code : cl_store_search(store, arena, &query, out, e);
}

/* ---- what is asked ---- */

/* "urn:careloop:measure:cms159|13" */
static const struct cl_measure *measure_of(const struct cl_catalog *catalog, const struct cl_json *report)
{
	static const char prefix[] = "urn:careloop:measure:";
	struct cl_str name = cl_json_get_text(report, "measure");
	if (!cl_str_starts(name, prefix))
		return NULL;
	name = (struct cl_str){name.p + sizeof prefix - 1, name.n - (sizeof prefix - 1)};
	const char *bar = memchr(name.p, '|', name.n);
	if (bar)
		name.n = (size_t)(bar - name.p);
	return cl_catalog_measure(catalog, name);
}

static bool read_day(const struct cl_calendar *calendar, struct cl_str text, struct cl_date *out)
{
	struct cl_moment moment;
	struct cl_err ignored = {0};
	if (!text.n || cl_moment_parse(text, cl_zone_offset(calendar->zone, 0), &moment, &ignored))
		return false;
	if (text.n <= 10) {
		if (cl_moment_parse(text, 0, &moment, &ignored))
			return false;
		*out = cl_date_from_days(moment.lower / CL_DAY);
	} else {
		*out = cl_zone_local(calendar->zone, moment.lower).date;
	}
	return true;
}

static int compare_ids(const void *left, const void *right)
{
	return cl_str_compare(*(const struct cl_str *)left, *(const struct cl_str *)right);
}

/* Only the members of a Group (FHIR R4), when the report's subject is one. */
static int restrict_to_group(struct cl_interaction_context *context, struct cl_measure_run *run,
                             struct cl_str reference, uint16_t basis, struct cl_err *e)
{
	struct cl_version version;
	struct cl_json *group;
	struct cl_str id = {reference.p + 6, reference.n - 6}, name = cl_fhir_type_name(basis);
	int code = cl_store_get(context->store, context->arena, cl_fhir_type(CL_STR("Group")), id, &version, e);
	if (code || version.operation == CL_OP_DELETE) {
		*e = (struct cl_err){0};
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s is not known here", CL_STR_ARGS(reference));
	}
	code = cl_json_parse(context->arena, version.body, NULL, &group, e);
	if (code)
		return code;
	const struct cl_json *members = cl_json_get(group, "member");
	run->only = CL_NEW_ARRAY(context->arena, struct cl_str, (members ? members->count : 0) + 1);
	for (uint32_t i = 0; members && i < members->count; i++) {
		struct cl_str entity = cl_json_text(cl_json_path(&members->items[i], "entity", "reference", NULL));
		if (!cl_json_is_true(cl_json_get(&members->items[i], "inactive")) && entity.n > name.n + 1 &&
		    memcmp(entity.p, name.p, name.n) == 0 && entity.p[name.n] == '/')
			run->only[run->only_count++] = (struct cl_str){entity.p + name.n + 1, entity.n - name.n - 1};
	}
	qsort(run->only, run->only_count, sizeof *run->only, compare_ids);
	return 0;
}

static bool wants_shared(const struct cl_json *report)
{
	const struct cl_json *extensions = cl_json_get(report, "extension");
	for (uint32_t i = 0; extensions && i < extensions->count; i++)
		if (cl_str_is(cl_json_get_text(&extensions->items[i], "url"), "urn:careloop:measure:shared"))
			return cl_json_is_true(cl_json_get(&extensions->items[i], "valueBoolean"));
	return false;
}

static int evaluate(struct cl_interaction_context *context, const struct cl_json *asked, struct cl_json **out,
                    struct cl_err *e)
{
	const struct cl_measure *measure = measure_of(context->rules->catalog, asked);
	const struct cl_calendar *calendar = &context->rules->facts->calendar;
	struct cl_str type = cl_json_get_text(asked, "type");
	struct cl_str subject = cl_json_text(cl_json_path(asked, "subject", "reference", NULL));
	const struct cl_json *period = cl_json_get(asked, "period");
	struct cl_date first, last;
	bool list = cl_str_is(type, "subject-list");
	if (!measure)
		return cl_fail(e, CL_E_NOT_FOUND, "no plugin declares the measure '%.*s'",
		               CL_STR_ARGS(cl_json_get_text(asked, "measure")));
	if (!list && !cl_str_is(type, "summary"))
		return cl_fail(e, CL_E_UNSUPPORTED,
		               "only summary and subject-list are filled in; ask $evaluate-measure for an individual");
	if (!read_day(calendar, cl_json_get_text(period, "start"), &first) ||
	    !read_day(calendar, cl_json_get_text(period, "end"), &last) ||
	    cl_date_to_days(first) > cl_date_to_days(last))
		return cl_fail(e, CL_E_INVALID, "period needs a start, and an end that is not before it");
	struct cl_measure_sharing sharing = cl_measure_sharing(context->rules->catalog, wants_shared(asked));
	if (list && sharing.shared)
		return cl_fail(e, CL_E_RULE, "what leaves the team names nobody");
	struct cl_measure_run *run = cl_measure_run_new(context->arena, 1, list ? CL_KEEP_CASES : CL_KEEP_TOTALS);
	run->results[0].measure = measure;
	run->results[0].period = cl_measure_period_between(context->arena, calendar, first, last);
	int code = 0;
	if (cl_str_starts(subject, "Group/"))
		code = restrict_to_group(context, run, subject, measure->basis, e);
	else if (subject.n)
		code = cl_fail(e, CL_E_INVALID, "subject is a Group, or not there");
	if (!code)
		code = cl_measure_evaluate(context, run, e);
	if (!code) {
		struct cl_unit unit;
		cl_reading_unit(context, &unit);
		*out = cl_measure_report(&unit, &run->results[0], type, subject, &sharing);
	}
	cl_measure_run_end(run);
	return code;
}

/* ---- the answer ---- */

static struct cl_json *append_extension(struct cl_arena *arena, struct cl_json *resource)
{
	struct cl_json *list = cl_json_get(resource, "extension");
	struct cl_json *extension =
	        cl_json_append(arena, list ? list : cl_json_set_array(arena, resource, "extension"));
	*extension = *cl_json_new(arena, CL_JSON_OBJECT);
	return extension;
}

/* What was asked stays (identifiers, extensions of one's own); what was computed comes to it. */
static void merge(struct cl_arena *arena, struct cl_json *into, const struct cl_json *computed)
{
	for (uint32_t i = 0; i < computed->count; i++) {
		struct cl_str name = computed->members[i].name;
		const struct cl_json *value = &computed->members[i].value;
		if (cl_str_is(name, "extension")) {
			for (uint32_t k = 0; k < value->count; k++)
				*append_extension(arena, into) = value->items[k];
		} else if (!cl_str_is(name, "id") && !cl_str_is(name, "period")) {
			*cl_json_set(arena, into, name) = *value;
		}
	}
}

/* Names of people are not for everybody who may see numbers: such a list is restricted by its label. */
static void label_list(struct cl_arena *arena, struct cl_json *report)
{
	struct cl_json *meta = cl_json_get(report, "meta");
	if (!cl_str_is(cl_json_get_text(report, "type"), "subject-list"))
		return;
	if (!meta)
		meta = cl_json_set_object(arena, report, "meta");
	if (cl_json_get(meta, "security"))
		return;
	struct cl_json *label = cl_json_append(arena, cl_json_set_array(arena, meta, "security"));
	*label = *cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, label, "system", CL_STR("http://terminology.hl7.org/CodeSystem/v3-Confidentiality"));
	cl_json_set_text(arena, label, "code", CL_STR("R"));
}

/* The same request for the same version, however often it is asked: the second one finds it done. */
static void name_request(struct cl_request *request, const struct cl_version *version)
{
	uint8_t bytes[CL_SHA256_SIZE];
	struct cl_sha256 hash;
	cl_sha256_init(&hash);
	cl_sha256_add(&hash, "measured", 8);
	cl_sha256_add(&hash, version->id.p, version->id.n);
	cl_sha256_add(&hash, &version->version, sizeof version->version);
	cl_sha256_done(&hash, bytes);
	memcpy(request->id, bytes, sizeof request->id);
}

int cl_pending_answer(struct cl_interaction_context *context, const struct cl_version *version, struct cl_request *out,
                      struct cl_err *e)
{
	struct cl_arena *arena = context->arena;
	struct cl_json *report, *computed = NULL;
	struct cl_err problem = {0};
	int code = cl_json_parse(arena, version->body, NULL, &report, e);
	if (code)
		return code;
	if (!evaluate(context, report, &computed, &problem)) {
		merge(arena, report, computed);
		label_list(arena, report);
	} else {
		struct cl_json *why = append_extension(arena, report);
		cl_json_set_text(arena, why, "url", CL_STR("urn:careloop:measure:not-computable"));
		cl_json_set_text(arena, why, "valueString", cl_arena_copy(arena, cl_str_of(problem.message)));
		cl_json_set_text(arena, report, "status", CL_STR("error"));
	}
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, report);
	*out = (struct cl_request){
	        .credential = {.kind = CL_CREDENTIAL_CONSOLE, .name = CL_STR("measures")},
	        .method = CL_STR("PUT"),
	        .target = cl_arena_printf(arena, "/fhir/MeasureReport/%.*s", CL_STR_ARGS(version->id)),
	        .base = CL_STR("urn:careloop:engine"),
	        .headers = CL_NEW_ARRAY(arena, struct cl_header, 2),
	        .header_count = 2,
	        .body = cl_arena_copy(arena, cl_buf_str(&text)),
	};
	cl_buf_free(&text);
	out->headers[0] = (struct cl_header){CL_STR("content-type"), CL_STR("application/fhir+json")};
	out->headers[1] = (struct cl_header){CL_STR("if-match"),
	                                     cl_arena_printf(arena, "W/\"%lld\"", (long long)version->version)};
	name_request(out, version);
	return 0;
}

/* ---- without threads ---- */

static int answer_alone(struct cl_organization *organization, struct cl_arena *arena, const struct cl_version *version,
                        struct cl_err *e)
{
	static const struct cl_route route = {.kind = CL_ROUTE_MEASURE};
	static const struct cl_principal engine = {.name = {"console", 7}, .kind = {"system", 6}, .console = true};
	struct cl_response response;
	struct cl_request request, asking = {0};
	struct cl_issues issues;
	cl_issues_init(&issues, arena, 0);
	struct cl_interaction_context context = {
	        .arena = arena,
	        .store = organization->store,
	        .rules = organization->rules,
	        .request = &asking,
	        .route = &route,
	        .principal = &engine,
	        .now = cl_clock_now(organization->clock),
	        .response = &response,
	        .issues = &issues,
	        .organization = organization,
	};
	/* Many requests may share a transaction that stands already. */
	bool own = !cl_store_in_transaction(organization->store);
	int code = own ? cl_store_begin(organization->store, e) : 0;
	if (code)
		return code;
	code = cl_pending_answer(&context, version, &request, e);
	if (own)
		cl_store_rollback(organization->store);
	if (code)
		return code;
	if (own) {
		cl_organization_execute(organization, arena, &request, &response);
	} else {
		struct cl_outcome outcome;
		cl_organization_run(organization, arena, &request, &outcome);
		response = outcome.response;
	}
	if (response.status >= 300)
		return cl_fail(e, CL_E_RULE, "the report %.*s could not be filled in: %.*s", CL_STR_ARGS(version->id),
		               (int)(response.body.n < 300 ? response.body.n : 300), response.body.p);
	return 0;
}

int cl_pending_run(struct cl_organization *organization, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	int code = 0;
	for (int round = 0; round < ROUNDS && !code; round++) {
		struct cl_search_result found = {0};
		code = cl_pending_find(organization->store, arena, &found, e);
		if (code || !found.count)
			break;
		for (size_t i = 0; i < found.count && !code; i++)
			code = answer_alone(organization, arena, &found.items[i], e);
	}
	cl_arena_free(arena);
	return code;
}
