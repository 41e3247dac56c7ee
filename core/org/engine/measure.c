/* measure.c: measures of a population over HTTP: Measure/$evaluate-measure (FHIR R4 measure-operation-evaluate-measure) and
 * their part of GET /metrics. */
#include "base/date.h"
#include "org/engine/report.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include "org/lua/lua_state.h"
#include <stdlib.h>

#define SLICE (20 * 1000) /* microseconds that one slice may hold the file */

/* ---- running ---- */

static bool is_late(const struct cl_interaction_context *context)
{
	return context->pause && context->request->deadline &&
	       context->request->deadline < cl_clock_now(&(struct cl_clock){0});
}

int cl_measure_evaluate(struct cl_interaction_context *context, struct cl_measure_run *run, struct cl_err *e)
{
	bool done = false;
	struct cl_unit unit;
	cl_reading_unit(context, &unit);
	while (!done) {
		int code =
		        cl_measure_run_step(run, &unit, context->pause ? cl_monotonic() + SLICE : INT64_MAX, &done, e);
		if (code)
			return code;
		if (is_late(context))
			return cl_fail(e, CL_E_BUSY,
			               "the measure took longer than the request may last; create a "
			               "MeasureReport with status pending, and it is filled in");
		if (!done && context->pause)
			context->pause(context->pausing);
	}
	return 0;
}

/* ---- parameters: of the address, or of a Parameters resource ---- */

struct asked {
	struct cl_str measure, start, end, subject, type, shared, period;
};

static struct cl_str *field_of(struct asked *asked, struct cl_str name)
{
	return cl_str_is(name, "measure")       ? &asked->measure
	       : cl_str_is(name, "periodStart") ? &asked->start
	       : cl_str_is(name, "periodEnd")   ? &asked->end
	       : cl_str_is(name, "subject")     ? &asked->subject
	       : cl_str_is(name, "reportType")  ? &asked->type
	       : cl_str_is(name, "shared")      ? &asked->shared
	       : cl_str_is(name, "period")      ? &asked->period
	                                        : NULL;
}

static int take_parameter(struct asked *asked, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	struct cl_str *field = field_of(asked, name);
	if (cl_str_is(name, "_format") || cl_str_is(name, "_pretty"))
		return 0;
	if (!field) {
		cl_fail(e, CL_E_INVALID,
		        "$evaluate-measure does not know '%.*s'; it takes measure, periodStart, periodEnd, period, "
		        "subject, reportType and shared",
		        CL_STR_ARGS(name));
		return cl_fail_at(e, "%.*s", CL_STR_ARGS(name));
	}
	if (field->n && !cl_str_equal(*field, value)) {
		cl_fail(e, CL_E_INVALID, "'%.*s' was given twice", CL_STR_ARGS(name));
		return cl_fail_at(e, "%.*s", CL_STR_ARGS(name));
	}
	*field = value;
	return 0;
}

static int read_query(struct cl_interaction_context *context, struct asked *asked, struct cl_err *e)
{
	struct cl_str rest = context->route->query;
	int code = 0;
	while (rest.n && !code) {
		const char *and = memchr(rest.p, '&', rest.n);
		struct cl_str pair = {rest.p, and? (size_t)(and-rest.p) : rest.n};
		const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		struct cl_str name = {pair.p, equals ? (size_t)(equals - pair.p) : pair.n}, value = CL_STR_NONE;
		if (equals)
			code = cl_fhir_url_decode(context->arena, (struct cl_str){equals + 1, pair.n - name.n - 1},
			                          &value, e);
		if (!code && name.n)
			code = take_parameter(asked, name, value, e);
		rest = (struct cl_str){rest.p + pair.n + (and != NULL), rest.n - pair.n - (and != NULL)};
	}
	return code;
}

static int read_body(struct cl_interaction_context *context, struct asked *asked, struct cl_err *e)
{
	struct cl_json *body;
	if (!context->request->body.n)
		return 0;
	int code = cl_interaction_body(context, &body, e);
	if (code)
		return code;
	if (!cl_str_is(cl_json_get_text(body, "resourceType"), "Parameters")) {
		cl_fail(e, CL_E_INVALID, "$evaluate-measure takes a Parameters resource");
		return cl_fail_at(e, "resourceType");
	}
	const struct cl_json *parameters = cl_json_get(body, "parameter");
	for (uint32_t i = 0; parameters && i < parameters->count && !code; i++) {
		const struct cl_json *one = &parameters->items[i];
		struct cl_str value = CL_STR_NONE;
		for (uint32_t m = 0; one->kind == CL_JSON_OBJECT && m < one->count; m++) {
			const struct cl_json *member = &one->members[m].value;
			if (cl_str_starts(one->members[m].name, "value"))
				value = member->kind == CL_JSON_STRING   ? member->text
				        : member->kind == CL_JSON_OBJECT ? cl_json_get_text(member, "reference")
				        : cl_json_is_true(member)        ? CL_STR("true")
				                                         : CL_STR("false");
		}
		code = take_parameter(asked, cl_json_get_text(one, "name"), value, e);
	}
	return code;
}

bool cl_measure_is_shared(const struct cl_interaction_context *context)
{
	static const char mark[] = "shared=true";
	struct cl_str query = context->route->query;
	bool found = cl_str_is(context->principal->kind, "partner");
	for (size_t i = 0; !found && i + sizeof mark - 1 <= query.n; i++)
		found = (i == 0 || query.p[i - 1] == '&') && memcmp(query.p + i, mark, sizeof mark - 1) == 0;
	return found;
}

static bool read_date(struct cl_str text, struct cl_date *out)
{
	struct cl_moment moment;
	struct cl_err ignored = {0};
	if (text.n < 10 || cl_moment_parse((struct cl_str){text.p, 10}, 0, &moment, &ignored))
		return false;
	*out = cl_date_from_days(moment.lower / CL_DAY);
	return true;
}

static int read_period(struct cl_interaction_context *context, const struct asked *asked,
                       const struct cl_measure *measure, struct cl_measure_period *out, struct cl_err *e)
{
	const struct cl_calendar *calendar = &context->rules->facts->calendar;
	struct cl_date first, last;
	if (asked->period.n)
		return cl_measure_period_parse(context->arena, calendar, asked->period, out, e);
	if (!asked->start.n && !asked->end.n) {
		*out = cl_measure_period(context->arena, calendar, measure->span, context->now, 0);
		return 0;
	}
	if (!read_date(asked->start, &first) || !read_date(asked->end, &last) ||
	    cl_date_to_days(first) > cl_date_to_days(last)) {
		cl_fail(e, CL_E_INVALID, "periodStart and periodEnd are two dates, the first not after the last");
		return cl_fail_at(e, "periodStart");
	}
	*out = cl_measure_period_between(context->arena, calendar, first, last);
	return 0;
}

/* ---- $evaluate-measure ---- */

/* Ids of the subjects that the principal may read, when not all: reports that name people name only those. */
static int restrict_to_readable(struct cl_interaction_context *context, struct cl_measure_run *run, uint16_t type,
                                struct cl_err *e)
{
	struct cl_query query = {.type = type, .limit = 1000};
	struct cl_str *ids = NULL;
	size_t count = 0;
	if (context->principal->console)
		return 0;
	int code = cl_access_predicate(context->rules->access, context->arena, context->principal, CL_ACCESS_READ, type,
	                               &query.access, &context->rule, e);
	if (code || !query.access)
		return code;
	for (;;) {
		struct cl_search_result page;
		code = cl_store_search(context->store, context->arena, &query, &page, e);
		if (code)
			break;
		struct cl_str *more = CL_NEW_ARRAY(context->arena, struct cl_str, count + page.count + 1);
		if (count)
			memcpy(more, ids, count * sizeof *ids);
		ids = more;
		for (size_t i = 0; i < page.count; i++)
			ids[count++] = page.items[i].id;
		if (!page.after.n)
			break;
		query.after = page.after;
	}
	run->only = ids ? ids : CL_NEW_ARRAY(context->arena, struct cl_str, 1);
	run->only_count = count;
	return code;
}

/* Facts quote resources: those that the principal may not read are left out, and that something was left out is said. */
static void hide_facts(struct cl_interaction_context *context, struct cl_measure_result *result)
{
	for (size_t c = 0; c < result->case_count && !context->principal->console; c++)
		for (size_t f = 0; f < result->cases[c].fact_count; f++) {
			struct cl_measure_fact *fact = &result->cases[c].facts[f];
			const char *slash =
			        fact->reference.n ? memchr(fact->reference.p, '/', fact->reference.n) : NULL;
			struct cl_err denied = {0};
			struct cl_version version;
			struct cl_str rule;
			if (!slash)
				continue;
			struct cl_str name = {fact->reference.p, (size_t)(slash - fact->reference.p)},
			              id = {slash + 1, fact->reference.n - name.n - 1};
			uint16_t type = cl_fhir_type(name);
			if (type && !cl_store_get(context->store, context->arena, type, id, &version, &denied) &&
			    !cl_access_decide_row(context->rules->access, context->store, context->arena,
			                          context->principal, CL_ACCESS_READ, type, version.row, &rule,
			                          &denied))
				continue;
			fact->text = CL_STR("a fact that you may not read");
			fact->reference = CL_STR_NONE;
		}
}

static int may_read_subject(struct cl_interaction_context *context, struct cl_str reference, uint16_t basis,
                            struct cl_str *id, struct cl_err *e)
{
	struct cl_str name = cl_fhir_type_name(basis);
	struct cl_version version;
	if (reference.n <= name.n + 1 || memcmp(reference.p, name.p, name.n) != 0 || reference.p[name.n] != '/') {
		cl_fail(e, CL_E_INVALID, "subject is a reference such as %.*s/x", CL_STR_ARGS(name));
		return cl_fail_at(e, "subject");
	}
	*id = (struct cl_str){reference.p + name.n + 1, reference.n - name.n - 1};
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, basis, &context->rule, e);
	if (!code)
		code = cl_store_get(context->store, context->arena, basis, *id, &version, e);
	if (code == CL_E_NOT_FOUND || code == CL_E_GONE || (!code && version.operation == CL_OP_DELETE)) {
		*e = (struct cl_err){0};
		cl_fail(e, CL_E_NOT_FOUND, "%.*s is not known here", CL_STR_ARGS(reference));
		return cl_fail_at(e, "subject");
	}
	if (code || context->principal->console)
		return code;
	return cl_access_decide_row(context->rules->access, context->store, context->arena, context->principal,
	                            CL_ACCESS_READ, basis, version.row, &context->rule, e);
}

/* The codes of R4's operation, and those of MeasureReport.type. */
static int read_type(const struct asked *asked, struct cl_str *out, struct cl_err *e)
{
	struct cl_str type = asked->type;
	*out = !type.n ? (asked->subject.n ? CL_STR("individual") : CL_STR("summary"))
	       : cl_str_is(type, "subject") || cl_str_is(type, "individual") ? CL_STR("individual")
	       : cl_str_is(type, "subject-list")                             ? CL_STR("subject-list")
	       : cl_str_is(type, "population") || cl_str_is(type, "summary") ? CL_STR("summary")
	                                                                     : CL_STR_NONE;
	if (!out->n) {
		cl_fail(e, CL_E_INVALID, "reportType is subject, subject-list or population");
		return cl_fail_at(e, "reportType");
	}
	if (cl_str_is(*out, "individual") != (asked->subject.n > 0)) {
		cl_fail(e, CL_E_INVALID, "reportType subject needs a subject, and the others have none");
		return cl_fail_at(e, "subject");
	}
	return 0;
}

static const struct cl_measure *find_measure(struct cl_interaction_context *context, const struct asked *asked)
{
	static const char prefix[] = "urn:careloop:measure:";
	struct cl_str name = context->route->id.n ? context->route->id : asked->measure;
	if (cl_str_starts(name, prefix))
		name = (struct cl_str){name.p + sizeof prefix - 1, name.n - (sizeof prefix - 1)};
	const char *bar = name.n ? memchr(name.p, '|', name.n) : NULL;
	if (bar)
		name.n = (size_t)(bar - name.p);
	if (cl_str_starts(name, "Measure/"))
		name = (struct cl_str){name.p + 8, name.n - 8};
	return cl_catalog_measure(context->rules->catalog, name);
}

int cl_interaction_measure(struct cl_interaction_context *context, struct cl_err *e)
{
	struct asked asked = {0};
	struct cl_measure_period period;
	struct cl_str type, id;
	context->target = CL_STR("Measure/$evaluate-measure");
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_METRICS, 0, &context->rule, e);
	if (!code)
		code = read_query(context, &asked, e);
	if (!code)
		code = read_body(context, &asked, e);
	if (code)
		return code;
	const struct cl_measure *measure = find_measure(context, &asked);
	if (!measure)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no such measure of a population; GET /metrics lists them");
	context->target = cl_arena_printf(context->arena, "measure/%.*s%s%.*s", CL_STR_ARGS(measure->name),
	                                  asked.subject.n ? " " : "", CL_STR_ARGS(asked.subject));
	code = read_type(&asked, &type, e);
	if (!code)
		code = read_period(context, &asked, measure, &period, e);
	if (code)
		return code;
	bool individual = cl_str_is(type, "individual"), list = cl_str_is(type, "subject-list");
	struct cl_measure_sharing sharing = cl_measure_sharing(
	        context->rules->catalog, cl_measure_is_shared(context) || cl_str_is(asked.shared, "true"));
	if (sharing.shared && (individual || list)) {
		cl_fail(e, CL_E_RULE, "what leaves the team names nobody: reportType is population");
		return cl_fail_at(e, "reportType");
	}
	struct cl_measure_run *run = cl_measure_run_new(context->arena, 1,
	                                                individual ? CL_KEEP_FACTS
	                                                : list     ? CL_KEEP_CASES
	                                                           : CL_KEEP_TOTALS);
	run->results[0].measure = measure;
	run->results[0].period = period;
	if (individual)
		code = may_read_subject(context, asked.subject, measure->basis, &id, e);
	else if (list)
		code = restrict_to_readable(context, run, measure->basis, e);
	if (!code && individual) {
		run->only = &id;
		run->only_count = 1;
	}
	if (!code)
		code = cl_measure_evaluate(context, run, e);
	if (!code) {
		struct cl_unit unit;
		cl_reading_unit(context, &unit);
		hide_facts(context, &run->results[0]);
		cl_interaction_answer_json(context, 200,
		                           cl_measure_report(&unit, &run->results[0], type, asked.subject, &sharing));
	}
	cl_measure_run_end(run);
	return code;
}

int cl_interaction_declared_measure(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_measure *measure = cl_catalog_measure(context->rules->catalog, context->route->id);
	struct cl_unit unit;
	*e = (struct cl_err){0};
	cl_reading_unit(context, &unit);
	cl_interaction_answer_json(context, 200, cl_measure_resource(&unit, measure));
	return 0;
}

/* ---- GET /metrics ---- */

static void describe(struct cl_arena *arena, struct cl_json *entry, const struct cl_measure *measure)
{
	struct {
		const char *name;
		struct cl_str text;
	} words[] = {
	        {"name", measure->name},
	        {"summary", measure->summary},
	        {"category", measure->category},
	        {"unit", measure->unit},
	        {"better", measure->higher_is_better ? CL_STR("higher") : CL_STR("lower")},
	        {"version", measure->version},
	        {"source", measure->source},
	        {"definition", measure->definition},
	        {"counts", measure->counts},
	        {"initial", measure->initial},
	        {"denominator", measure->denominator},
	        {"exclusions", measure->exclusions},
	        {"numerator", measure->numerator},
	};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (words[i].text.n)
			cl_json_set_text(arena, entry, words[i].name, words[i].text);
}

static long periods_of(const struct cl_measure *measure, long months)
{
	return measure->span == CL_SPAN_MONTH     ? months
	       : measure->span == CL_SPAN_QUARTER ? (months + 2) / 3
	                                          : (months + 11) / 12;
}

int cl_measure_entries(struct cl_interaction_context *context, struct cl_str name, long months, bool fhir,
                       struct cl_json *list, struct cl_err *e)
{
	const struct cl_catalog *catalog = context->rules->catalog;
	struct cl_arena *arena = context->arena;
	struct cl_measure_sharing sharing = cl_measure_sharing(catalog, cl_measure_is_shared(context));
	size_t count = 0;
	for (size_t i = 0; i < catalog->measure_count; i++)
		count += !name.n || cl_str_equal(catalog->measures[i].name, name)
		                 ? (size_t)periods_of(&catalog->measures[i], months)
		                 : 0;
	if (!count)
		return 0;
	struct cl_measure_run *run = cl_measure_run_new(arena, count, CL_KEEP_TOTALS);
	size_t at = 0;
	for (size_t i = 0; i < catalog->measure_count; i++) {
		const struct cl_measure *measure = &catalog->measures[i];
		for (long p = periods_of(measure, months) - 1; p >= 0 && (!name.n || cl_str_equal(measure->name, name));
		     p--) {
			run->results[at].measure = measure;
			run->results[at++].period = cl_measure_period(arena, &context->rules->facts->calendar,
			                                              measure->span, context->now, (int)p);
		}
	}
	int code = cl_measure_evaluate(context, run, e);
	struct cl_unit unit;
	struct cl_json *rows = NULL;
	cl_reading_unit(context, &unit);
	for (size_t r = 0; r < run->result_count && !code; r++) {
		if (fhir) {
			struct cl_json *item = cl_json_append(arena, list);
			*item = *cl_json_new(arena, CL_JSON_OBJECT);
			*cl_json_set(arena, item, CL_STR("resource")) =
			        *cl_measure_report(&unit, &run->results[r], CL_STR("summary"), CL_STR_NONE, &sharing);
			continue;
		}
		if (r == 0 || run->results[r].measure != run->results[r - 1].measure) {
			struct cl_json *entry = cl_json_append(arena, list);
			*entry = *cl_json_new(arena, CL_JSON_OBJECT);
			describe(arena, entry, run->results[r].measure);
			rows = cl_json_set_array(arena, entry, "periods");
		}
		*cl_json_append(arena, rows) = *cl_measure_row(&unit, &run->results[r], &sharing);
	}
	cl_measure_run_end(run);
	return code;
}
