/* metric_report.c: results as FHIR MeasureReports, definitions as FHIR Measures (R4). */
#include "base/date.h"
#include "org/flow/metric.h"
#include "org/flow/report_internal.h"
#include "org/flow/unit_internal.h"
#include <math.h>

#define IMPROVEMENT_SYSTEM "http://terminology.hl7.org/CodeSystem/measure-improvement-notation"

/* UCUM codes of the units that metrics speak of; others have words only. */
static const struct {
	const char *word, *code;
} ucum[] = {
        {"%", "%"},      {"minutes", "min"}, {"hours", "h"}, {"days", "d"},    {"business days", "{business_day}"},
        {"weeks", "wk"}, {"months", "mo"},   {"years", "a"}, {"USD", "[USD]"},
};

/* ids have no underscores. */
struct cl_str cl_report_id(struct cl_arena *arena, struct cl_str name)
{
	char *id = cl_arena_cstring(arena, name);
	for (char *p = id; *p; p++)
		if (*p == '_')
			*p = '-';
	return cl_str_of(id);
}

/* "loop_closed" -> "LoopClosed": a name that programs can use (invariant mea-0). */
struct cl_str cl_report_name(struct cl_arena *arena, struct cl_str name)
{
	char *out = cl_arena_alloc(arena, name.n + 1);
	size_t n = 0;
	bool capital = true;
	for (size_t i = 0; i < name.n; i++) {
		char c = name.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (letter)
			out[n++] = capital && c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
		capital = !letter;
	}
	return (struct cl_str){out, n};
}

static struct cl_str canonical(struct cl_arena *arena, const struct cl_metric *metric, bool versioned)
{
	if (!versioned || !metric->version.n)
		return cl_arena_printf(arena, "urn:careloop:metric:%.*s", CL_STR_ARGS(metric->name));
	return cl_arena_printf(arena, "urn:careloop:metric:%.*s|%.*s", CL_STR_ARGS(metric->name),
	                       CL_STR_ARGS(metric->version));
}

/* At most four decimals, no trailing zeros. */
void cl_report_number(struct cl_arena *arena, struct cl_json *object, const char *name, double value)
{
	struct cl_str text = cl_arena_printf(arena, "%.4f", value);
	while (text.p[text.n - 1] == '0')
		text.n--;
	if (text.p[text.n - 1] == '.')
		text.n--;
	if (cl_str_is(text, "-0"))
		text = CL_STR("0");
	struct cl_json *number = cl_json_set(arena, object, cl_str_of(name));
	number->kind = CL_JSON_NUMBER;
	number->text = text;
}

void cl_report_improvement(struct cl_arena *arena, struct cl_json *resource, bool higher_is_better)
{
	cl_fill_concept(arena, cl_json_set(arena, resource, CL_STR("improvementNotation")), CL_STR(IMPROVEMENT_SYSTEM),
	                higher_is_better ? CL_STR("increase") : CL_STR("decrease"), CL_STR_NONE);
}

static struct cl_json *append_object(struct cl_arena *arena, struct cl_json *array)
{
	struct cl_json *object = cl_json_append(arena, array);
	object->kind = CL_JSON_OBJECT;
	return object;
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

static void add_population(struct cl_arena *arena, struct cl_json *populations, const char *code, double count)
{
	struct cl_json *population = append_object(arena, populations);
	cl_fill_concept(arena, cl_json_set(arena, population, CL_STR("code")), CL_STR(POPULATION_SYSTEM),
	                cl_str_of(code), CL_STR_NONE);
	cl_json_set_integer(arena, population, "count", (int64_t)llround(count));
}

static bool is_whole(double value)
{
	return isfinite(value) && fabs(value) < 2147483647.0 && value == floor(value);
}

void cl_report_score(struct cl_arena *arena, struct cl_json *group, struct cl_str unit, double value)
{
	if (isnan(value))
		return;
	struct cl_json *score = cl_json_set_object(arena, group, "measureScore");
	cl_report_number(arena, score, "value", value);
	if (!unit.n)
		return;
	cl_json_set_text(arena, score, "unit", unit);
	for (size_t i = 0; i < sizeof ucum / sizeof *ucum; i++)
		if (cl_str_is(unit, ucum[i].word)) {
			cl_json_set_text(arena, score, "system", CL_STR("http://unitsofmeasure.org"));
			cl_json_set_text(arena, score, "code", cl_str_of(ucum[i].code));
		}
}

struct cl_str cl_report_day(struct cl_arena *arena, const struct cl_zone *zone, cl_instant at)
{
	struct cl_date date = cl_zone_local(zone, at).date;
	return cl_arena_printf(arena, "%04d-%02d-%02d", date.year, date.month, date.day);
}

struct cl_json *cl_metric_report(struct cl_unit *unit, const struct cl_metric *metric,
                                 const struct cl_metric_result *result)
{
	struct cl_arena *arena = unit->arena;
	const struct cl_zone *zone = unit->organization->calendar.zone;
	struct cl_str first = cl_report_day(arena, zone, result->from),
	              last = cl_report_day(arena, zone, result->to - CL_SECOND);
	struct cl_json *report = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, report, "resourceType", CL_STR("MeasureReport"));
	cl_json_set_text(arena, report, "id",
	                 cl_arena_printf(arena, "%.*s-%.*s", CL_STR_ARGS(cl_report_id(arena, metric->name)),
	                                 CL_STR_ARGS(cl_metric_period(unit, result))));
	cl_json_set_text(arena, report, "status", CL_STR("complete"));
	cl_json_set_text(arena, report, "type", CL_STR("summary"));
	cl_json_set_text(arena, report, "measure", canonical(arena, metric, true));
	cl_json_set_text(arena, report, "date", cl_zone_text(arena, zone, unit->now));
	if (unit->organization->reference.n)
		cl_set_reference(arena, report, "reporter", unit->organization->reference);
	struct cl_json *period = cl_json_set_object(arena, report, "period");
	cl_json_set_text(arena, period, "start", first);
	cl_json_set_text(arena, period, "end", last);
	cl_report_improvement(arena, report, metric->higher_is_better);
	struct cl_json *group = append_object(arena, cl_json_set_array(arena, report, "group"));
	struct cl_json *populations = cl_json_set_array(arena, group, "population");
	if (isnan(result->denominator)) {
		add_population(arena, populations, "measure-population", (double)result->n);
	} else if (is_whole(result->numerator) && is_whole(result->denominator)) {
		add_population(arena, populations, "denominator", result->denominator);
		add_population(arena, populations, "numerator", result->numerator);
	} else {
		cl_json_remove(group, "population");
	}
	cl_report_score(arena, group, metric->unit, result->value);
	if (!group->count)
		cl_json_remove(report, "group");
	return report;
}

/* ---- the definition ---------------------------------------------------------------------------------------------- */

static struct cl_str cohort_words(struct cl_arena *arena, const struct cl_metric *metric)
{
	if (metric->measure == CL_MEASURE_FUNCTION)
		return CL_STR("as the plugin's function counts");
	if (metric->cohort == CL_COHORT_ENTERED)
		return cl_arena_printf(arena, "%.*s that first came into state %.*s in the month",
		                       CL_STR_ARGS(metric->workflow), CL_STR_ARGS(metric->cohort_state));
	return cl_arena_printf(arena, "%.*s started in the month", CL_STR_ARGS(metric->workflow));
}

static struct cl_str measure_words(struct cl_arena *arena, const struct cl_metric *metric)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	if (metric->measure == CL_MEASURE_FUNCTION) {
		cl_buf_add_cstring(&text, "as the plugin's function computes");
	} else if (metric->measure == CL_MEASURE_ELAPSED) {
		cl_buf_printf(&text, "time from %.*s to first coming into state %.*s",
		              CL_STR_ARGS(metric->from_state.n ? metric->from_state : CL_STR("its start")),
		              CL_STR_ARGS(metric->to_state));
	} else if (metric->measure == CL_MEASURE_COUNT) {
		cl_buf_add_cstring(&text, "their number");
	} else {
		for (size_t i = 0; i < metric->reached_count; i++)
			cl_buf_printf(&text, "%s%.*s", i ? " or " : "reached ", CL_STR_ARGS(metric->reached[i]));
		if (metric->within.amount)
			cl_buf_printf(&text, " within %.*s", CL_STR_ARGS(cl_duration_text(arena, metric->within)));
	}
	struct cl_str out = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return out;
}

static void add_criteria(struct cl_arena *arena, struct cl_json *populations, const char *code, struct cl_str words)
{
	struct cl_json *population = append_object(arena, populations);
	cl_fill_concept(arena, cl_json_set(arena, population, CL_STR("code")), CL_STR(POPULATION_SYSTEM),
	                cl_str_of(code), CL_STR_NONE);
	struct cl_json *criteria = cl_json_set_object(arena, population, "criteria");
	cl_json_set_text(arena, criteria, "language", CL_STR("text/plain"));
	cl_json_set_text(arena, criteria, "expression", words);
}

static void add_extension(struct cl_arena *arena, struct cl_json *measure, const char *url, double value)
{
	if (isnan(value))
		return;
	struct cl_json *extensions = cl_json_get(measure, "extension");
	struct cl_json *extension =
	        append_object(arena, extensions ? extensions : cl_json_set_array(arena, measure, "extension"));
	cl_json_set_text(arena, extension, "url", cl_str_of(url));
	cl_report_number(arena, extension, "valueDecimal", value);
}

static void add_groups(struct cl_arena *arena, struct cl_json *measure, const struct cl_metric *metric,
                       bool is_proportion)
{
	struct cl_json *group = append_object(arena, cl_json_set_array(arena, measure, "group"));
	struct cl_json *populations = cl_json_set_array(arena, group, "population");
	struct cl_str cohort = cohort_words(arena, metric), words = measure_words(arena, metric);
	add_criteria(arena, populations, "initial-population", cohort);
	add_criteria(arena, populations, is_proportion ? "denominator" : "measure-population", cohort);
	add_criteria(arena, populations, is_proportion ? "numerator" : "measure-observation", words);
}

struct cl_json *cl_metric_measure(struct cl_unit *unit, const struct cl_metric *metric)
{
	struct cl_arena *arena = unit->arena;
	bool is_proportion = metric->measure == CL_MEASURE_REACHED ||
	                     (metric->measure == CL_MEASURE_FUNCTION && cl_str_is(metric->unit, "%"));
	struct cl_json *measure = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, measure, "resourceType", CL_STR("Measure"));
	cl_json_set_text(arena, measure, "id", cl_report_id(arena, metric->name));
	add_extension(arena, measure, "urn:careloop:metric:baseline", metric->baseline);
	add_extension(arena, measure, "urn:careloop:metric:target", metric->target);
	cl_json_set_text(arena, measure, "url", canonical(arena, metric, false));
	if (metric->version.n)
		cl_json_set_text(arena, measure, "version", metric->version);
	cl_json_set_text(arena, measure, "name", cl_report_name(arena, metric->name));
	cl_json_set_text(arena, measure, "title", metric->summary.n ? metric->summary : metric->name);
	cl_json_set_text(arena, measure, "status", CL_STR("active"));
	if (metric->category.n)
		cl_fill_concept(arena, cl_json_append(arena, cl_json_set_array(arena, measure, "topic")),
		                CL_STR(CATEGORY_SYSTEM), metric->category, CL_STR_NONE);
	if (metric->source.n) {
		struct cl_json *source = append_object(arena, cl_json_set_array(arena, measure, "relatedArtifact"));
		cl_json_set_text(arena, source, "type", CL_STR("citation"));
		cl_json_set_text(arena, source, "citation", metric->source);
	}
	cl_fill_concept(arena, cl_json_set(arena, measure, CL_STR("scoring")), CL_STR(SCORING_SYSTEM),
	                is_proportion ? CL_STR("proportion") : CL_STR("continuous-variable"), CL_STR_NONE);
	cl_report_improvement(arena, measure, metric->higher_is_better);
	add_groups(arena, measure, metric, is_proportion);
	return measure;
}
