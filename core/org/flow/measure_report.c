/* measure_report.c: measures of a population as FHIR Measure and MeasureReport (R4), and as rows of GET /metrics. */
#include "org/flow/measure.h"
#include "org/fhir/types.h"
#include "org/flow/report_internal.h"
#include "org/flow/unit_internal.h"
#include <math.h>

/* ---- small pieces ------------------------------------------------------------------------------------------------ */

static struct cl_json *append_object(struct cl_arena *arena, struct cl_json *array)
{
	struct cl_json *object = cl_json_append(arena, array);
	object->kind = CL_JSON_OBJECT;
	return object;
}

static struct cl_json *add_extension(struct cl_arena *arena, struct cl_json *element, const char *url)
{
	struct cl_json *extensions = cl_json_get(element, "extension");
	struct cl_json *extension =
	        append_object(arena, extensions ? extensions : cl_json_set_array(arena, element, "extension"));
	cl_json_set_text(arena, extension, "url", cl_str_of(url));
	return extension;
}

static void add_text(struct cl_arena *arena, struct cl_json *element, const char *url, struct cl_str text)
{
	if (text.n)
		cl_json_set_text(arena, add_extension(arena, element, url), "valueString", text);
}

static void add_number(struct cl_arena *arena, struct cl_json *element, const char *url, double value)
{
	if (!isnan(value))
		cl_report_number(arena, add_extension(arena, element, url), "valueDecimal", value);
}

static struct cl_str canonical(struct cl_arena *arena, const struct cl_measure *measure, bool versioned)
{
	if (!versioned || !measure->version.n)
		return cl_arena_printf(arena, "urn:careloop:measure:%.*s", CL_STR_ARGS(measure->name));
	return cl_arena_printf(arena, "urn:careloop:measure:%.*s|%.*s", CL_STR_ARGS(measure->name),
	                       CL_STR_ARGS(measure->version));
}

static const char *scoring_code(uint8_t scoring)
{
	return scoring == CL_SCORING_RATIO        ? "ratio"
	       : scoring == CL_SCORING_CONTINUOUS ? "continuous-variable"
	                                          : "proportion";
}

/* ---- Measure ----------------------------------------------------------------------------------------------------- */

static void add_criteria(struct cl_arena *arena, struct cl_json *populations, const char *code, struct cl_str words)
{
	if (!words.n)
		return;
	struct cl_json *population = append_object(arena, populations);
	cl_fill_concept(arena, cl_json_set(arena, population, CL_STR("code")), CL_STR(POPULATION_SYSTEM),
	                cl_str_of(code), CL_STR_NONE);
	struct cl_json *criteria = cl_json_set_object(arena, population, "criteria");
	cl_json_set_text(arena, criteria, "language", CL_STR("text/plain"));
	cl_json_set_text(arena, criteria, "expression", words);
}

static void add_groups(struct cl_arena *arena, struct cl_json *resource, const struct cl_measure *measure)
{
	struct cl_json *group = append_object(arena, cl_json_set_array(arena, resource, "group"));
	struct cl_json *populations = cl_json_set_array(arena, group, "population");
	bool values = measure->scoring == CL_SCORING_CONTINUOUS;
	struct cl_str all = CL_STR("as the plugin's function says");
	add_criteria(arena, populations, "initial-population", measure->initial.n ? measure->initial : all);
	add_criteria(arena, populations, values ? "measure-population" : "denominator",
	             measure->denominator.n ? measure->denominator : all);
	add_criteria(arena, populations, values ? "measure-population-exclusion" : "denominator-exclusion",
	             measure->exclusions);
	add_criteria(arena, populations, values ? "measure-observation" : "numerator",
	             measure->numerator.n ? measure->numerator : all);
}

struct cl_json *cl_measure_resource(struct cl_unit *unit, const struct cl_measure *measure)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *resource = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, resource, "resourceType", CL_STR("Measure"));
	cl_json_set_text(arena, resource, "id", cl_report_id(arena, measure->name));
	add_text(arena, resource, "urn:careloop:measure:definition", measure->definition);
	add_number(arena, resource, "urn:careloop:metric:baseline", measure->baseline);
	add_number(arena, resource, "urn:careloop:metric:target", measure->target);
	cl_json_set_text(arena, resource, "url", canonical(arena, measure, false));
	if (measure->version.n)
		cl_json_set_text(arena, resource, "version", measure->version);
	cl_json_set_text(arena, resource, "name", cl_report_name(arena, measure->name));
	cl_json_set_text(arena, resource, "title", measure->summary.n ? measure->summary : measure->name);
	cl_json_set_text(arena, resource, "status", CL_STR("active"));
	cl_fill_concept(arena, cl_json_set(arena, resource, CL_STR("subjectCodeableConcept")),
	                CL_STR("http://hl7.org/fhir/resource-types"), cl_fhir_type_name(measure->basis), CL_STR_NONE);
	cl_fill_concept(arena, cl_json_append(arena, cl_json_set_array(arena, resource, "topic")),
	                CL_STR(CATEGORY_SYSTEM), measure->category, CL_STR_NONE);
	if (measure->source.n) {
		struct cl_json *source = append_object(arena, cl_json_set_array(arena, resource, "relatedArtifact"));
		cl_json_set_text(arena, source, "type", CL_STR("citation"));
		cl_json_set_text(arena, source, "citation", measure->source);
	}
	cl_fill_concept(arena, cl_json_set(arena, resource, CL_STR("scoring")), CL_STR(SCORING_SYSTEM),
	                cl_str_of(scoring_code(measure->scoring)), CL_STR_NONE);
	cl_report_improvement(arena, resource, measure->higher_is_better);
	add_groups(arena, resource, measure);
	return resource;
}

/* ---- MeasureReport ----------------------------------------------------------------------------------------------- */

enum member_kind { IN_INITIAL, IN_DENOMINATOR, IN_EXCLUSION, IN_EXCEPTION, IN_NUMERATOR };

static bool is_member(const struct cl_measure_case *one, enum member_kind kind, uint8_t scoring)
{
	bool counted = one->denominator && !one->exclusion.n;
	switch (kind) {
	case IN_INITIAL:
		return one->initial;
	case IN_DENOMINATOR:
		return one->initial && one->denominator;
	case IN_EXCLUSION:
		return one->initial && one->denominator && one->exclusion.n;
	case IN_EXCEPTION:
		return one->initial && counted && one->exception.n && !one->numerator &&
		       scoring == CL_SCORING_PROPORTION;
	case IN_NUMERATOR:
		break;
	}
	if (scoring == CL_SCORING_PROPORTION)
		return one->initial && counted && one->numerator;
	return one->initial && counted && (scoring == CL_SCORING_RATIO || !isnan(one->value));
}

/* A contained List of the subjects, each once. */
static void add_subjects(struct cl_arena *arena, struct cl_json *report, struct cl_json *population,
                         const struct cl_measure_result *result, enum member_kind kind, const char *code)
{
	struct cl_json *contained = cl_json_get(report, "contained");
	struct cl_json *entries = NULL;
	struct cl_str last = CL_STR_NONE;
	for (size_t i = 0; i < result->case_count; i++) {
		const struct cl_measure_case *one = &result->cases[i];
		if (!is_member(one, kind, result->measure->scoring) || cl_str_equal(last, one->subject))
			continue;
		last = one->subject;
		if (!entries) {
			struct cl_json *list = append_object(
			        arena, contained ? contained : cl_json_set_array(arena, report, "contained"));
			cl_json_set_text(arena, list, "resourceType", CL_STR("List"));
			cl_json_set_text(arena, list, "id", cl_str_of(code));
			cl_json_set_text(arena, list, "status", CL_STR("current"));
			cl_json_set_text(arena, list, "mode", CL_STR("snapshot"));
			entries = cl_json_set_array(arena, list, "entry");
			cl_set_reference(arena, population, "subjectResults", cl_arena_printf(arena, "#%s", code));
		}
		cl_set_reference(arena, append_object(arena, entries), "item", one->subject);
	}
}

struct report {
	struct cl_arena *arena;
	struct cl_json *resource;
	const struct cl_measure_result *result;
	const struct cl_measure_sharing *sharing;
	bool subjects; /* type subject-list */
};

static void add_population(const struct report *report, struct cl_json *populations, const char *code, int64_t count,
                           enum member_kind kind, bool whole)
{
	struct cl_arena *arena = report->arena;
	struct cl_json *population = append_object(arena, populations);
	cl_fill_concept(arena, cl_json_set(arena, population, CL_STR("code")), CL_STR(POPULATION_SYSTEM),
	                cl_str_of(code), CL_STR_NONE);
	if (!cl_measure_may_tell(report->sharing, count)) {
		/* A primitive without a value needs an extension that says why (R4 extensibility). */
		struct cl_json *reason = add_extension(arena, cl_json_set_object(arena, population, "_count"),
		                                       "http://hl7.org/fhir/StructureDefinition/data-absent-reason");
		cl_json_set_text(arena, reason, "valueCode", CL_STR("masked"));
		return;
	}
	cl_json_set_integer(arena, population, "count", count);
	if (report->subjects && whole)
		add_subjects(arena, report->resource, population, report->result, kind, code);
}

/* Of a group or a stratum. */
static void add_populations(const struct report *report, struct cl_json *group, const struct cl_measure_totals *totals,
                            bool whole)
{
	uint8_t scoring = report->result->measure->scoring;
	struct cl_json *populations = cl_json_set_array(report->arena, group, "population");
	if (report->sharing->shared) {
		/* Nothing from which a small number could be worked out by taking one from another. */
		bool told = cl_measure_may_tell(report->sharing, totals->of - totals->n);
		add_population(report, populations,
		               scoring == CL_SCORING_CONTINUOUS ? "measure-population" : "denominator", totals->of,
		               IN_DENOMINATOR, false);
		if (scoring == CL_SCORING_PROPORTION && told)
			add_population(report, populations, "numerator", totals->n, IN_NUMERATOR, false);
		return;
	}
	add_population(report, populations, "initial-population", totals->initial, IN_INITIAL, whole);
	if (scoring == CL_SCORING_CONTINUOUS) {
		add_population(report, populations, "measure-population", totals->denominator, IN_DENOMINATOR, whole);
		add_population(report, populations, "measure-population-exclusion", totals->exclusion, IN_EXCLUSION,
		               whole);
		add_population(report, populations, "measure-observation", totals->n, IN_NUMERATOR, whole);
		return;
	}
	add_population(report, populations, "denominator", totals->denominator, IN_DENOMINATOR, whole);
	add_population(report, populations, "denominator-exclusion", totals->exclusion, IN_EXCLUSION, whole);
	if (scoring == CL_SCORING_RATIO)
		return;
	add_population(report, populations, "denominator-exception", totals->exception, IN_EXCEPTION, whole);
	add_population(report, populations, "numerator", totals->numerator, IN_NUMERATOR, whole);
}

/* What a ratio is made of: FHIR counts populations only. */
static void add_sums(const struct report *report, struct cl_json *group, const struct cl_measure_totals *totals)
{
	if (report->result->measure->scoring != CL_SCORING_RATIO || !cl_measure_may_rate(report->sharing, totals))
		return;
	add_number(report->arena, group, "urn:careloop:measure:numerator", totals->numerator_sum);
	add_number(report->arena, group, "urn:careloop:measure:denominator", totals->denominator_sum);
}

/* One stratum that is too small could be worked out from the others: then none is told. */
static bool may_tell_strata(const struct cl_measure_result *result, const struct cl_measure_sharing *sharing)
{
	for (size_t i = 0; i < result->stratum_count; i++)
		if (!cl_measure_may_tell(sharing, result->strata[i].of) ||
		    !cl_measure_may_tell(sharing, result->strata[i].n))
			return false;
	return result->stratum_count > 0;
}

static void add_strata(const struct report *report, struct cl_json *group)
{
	struct cl_arena *arena = report->arena;
	const struct cl_measure_result *result = report->result;
	if (!may_tell_strata(result, report->sharing))
		return;
	struct cl_json *stratifier = append_object(arena, cl_json_set_array(arena, group, "stratifier"));
	struct cl_json *strata = cl_json_set_array(arena, stratifier, "stratum");
	for (size_t i = 0; i < result->stratum_count; i++) {
		struct cl_json *stratum = append_object(arena, strata);
		cl_json_set_text(arena, cl_json_set_object(arena, stratum, "value"), "text", result->strata[i].stratum);
		add_populations(report, stratum, &result->strata[i], false);
		add_sums(report, stratum, &result->strata[i]);
		if (cl_measure_may_rate(report->sharing, &result->strata[i]))
			cl_report_score(arena, stratum, result->measure->unit, result->strata[i].value);
	}
}

/* Every fact and rule that put the subject in or out, in order; and what they are about. */
static void add_facts(const struct report *report)
{
	struct cl_arena *arena = report->arena;
	const struct cl_measure_result *result = report->result;
	struct cl_json *evaluated = NULL;
	for (size_t i = 0; i < result->case_count; i++) {
		const struct cl_measure_case *one = &result->cases[i];
		struct cl_json *extension = add_extension(arena, report->resource, "urn:careloop:measure:case");
		add_text(arena, extension, "about", one->about.n ? one->about : one->subject);
		for (size_t f = 0; f < one->fact_count; f++) {
			struct cl_json *fact = add_extension(arena, extension, "fact");
			add_text(arena, fact, "text", one->facts[f].text);
			struct cl_str reference = one->facts[f].reference, id;
			uint16_t type;
			if (!reference.n || !cl_reference_parts(reference, &type, &id))
				continue;
			cl_set_reference(arena, add_extension(arena, fact, "reference"), "valueReference", reference);
			bool known = false;
			for (uint32_t k = 0; evaluated && k < evaluated->count; k++)
				known |= cl_str_equal(cl_json_get_text(&evaluated->items[k], "reference"), reference);
			if (known)
				continue;
			if (!evaluated)
				evaluated = cl_json_set_array(arena, report->resource, "evaluatedResource");
			cl_json_set_text(arena, append_object(arena, evaluated), "reference", reference);
		}
		if (!cl_json_get(extension, "extension"))
			add_text(arena, extension, "about", CL_STR("nothing"));
	}
}

struct cl_json *cl_measure_report(struct cl_unit *unit, const struct cl_measure_result *result, struct cl_str type,
                                  struct cl_str subject, const struct cl_measure_sharing *sharing)
{
	struct cl_arena *arena = unit->arena;
	const struct cl_measure *measure = result->measure;
	const struct cl_zone *zone = unit->organization->calendar.zone;
	struct cl_json *resource = cl_json_new(arena, CL_JSON_OBJECT);
	struct report report = {arena, resource, result, sharing, cl_str_is(type, "subject-list") && !sharing->shared};
	cl_json_set_text(arena, resource, "resourceType", CL_STR("MeasureReport"));
	add_text(arena, resource, "urn:careloop:measure:definition", measure->definition);
	add_text(arena, resource, "urn:careloop:measure:not-computable", result->missing);
	if (result->provisional)
		cl_json_set_boolean(arena, add_extension(arena, resource, "urn:careloop:measure:provisional"),
		                    "valueBoolean", true);
	cl_json_set_text(arena, resource, "status", result->missing.n ? CL_STR("error") : CL_STR("complete"));
	cl_json_set_text(arena, resource, "type", type);
	cl_json_set_text(arena, resource, "measure", canonical(arena, measure, true));
	if (subject.n)
		cl_set_reference(arena, resource, "subject", subject);
	cl_json_set_text(arena, resource, "date", cl_zone_text(arena, zone, unit->now));
	if (unit->organization->reference.n)
		cl_set_reference(arena, resource, "reporter", unit->organization->reference);
	struct cl_json *period = cl_json_set_object(arena, resource, "period");
	cl_json_set_text(arena, period, "start", cl_report_day(arena, zone, result->period.from));
	cl_json_set_text(arena, period, "end", cl_report_day(arena, zone, result->period.to - CL_SECOND));
	cl_report_improvement(arena, resource, measure->higher_is_better);
	if (result->missing.n)
		return resource;
	struct cl_json *group = append_object(arena, cl_json_set_array(arena, resource, "group"));
	add_populations(&report, group, &result->all, true);
	add_sums(&report, group, &result->all);
	if (cl_measure_may_rate(sharing, &result->all))
		cl_report_score(arena, group, measure->unit, result->all.value);
	add_strata(&report, group);
	if (cl_str_is(type, "individual"))
		add_facts(&report);
	return resource;
}

/* ---- rows of GET /metrics ---------------------------------------------------------------------------------------- */

static void set_count(struct cl_arena *arena, struct cl_json *row, const char *name, int64_t count,
                      const struct cl_measure_sharing *sharing)
{
	if (cl_measure_may_tell(sharing, count))
		cl_json_set_integer(arena, row, name, count);
	else
		cl_json_set_text(arena, row, name, cl_arena_printf(arena, "<%lld", (long long)sharing->least));
}

static void fill_totals(struct cl_arena *arena, struct cl_json *row, const struct cl_measure *measure,
                        const struct cl_measure_totals *totals, const struct cl_measure_sharing *sharing)
{
	bool rate = cl_measure_may_rate(sharing, totals);
	if (!isnan(totals->value) && rate)
		cl_report_number(arena, row, "value", totals->value);
	if (measure->scoring == CL_SCORING_RATIO && rate) {
		cl_report_number(arena, row, "numerator", totals->numerator_sum);
		cl_report_number(arena, row, "denominator", totals->denominator_sum);
	} else if (measure->scoring == CL_SCORING_PROPORTION) {
		if (cl_measure_may_tell(sharing, totals->of - totals->numerator))
			set_count(arena, row, "numerator", totals->numerator, sharing);
		set_count(arena, row, "denominator", totals->of, sharing);
	}
	set_count(arena, row, "n", measure->scoring == CL_SCORING_PROPORTION ? totals->of : totals->n, sharing);
	if (sharing->shared)
		return;
	set_count(arena, row, "initial", totals->initial, sharing);
	set_count(arena, row, "exclusions", totals->exclusion, sharing);
	if (measure->scoring == CL_SCORING_PROPORTION)
		set_count(arena, row, "exceptions", totals->exception, sharing);
}

struct cl_json *cl_measure_row(struct cl_unit *unit, const struct cl_measure_result *result,
                               const struct cl_measure_sharing *sharing)
{
	struct cl_arena *arena = unit->arena;
	const struct cl_zone *zone = unit->organization->calendar.zone;
	struct cl_json *row = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, row, "period", result->period.name);
	cl_json_set_text(arena, row, "start", cl_report_day(arena, zone, result->period.from));
	cl_json_set_text(arena, row, "end", cl_report_day(arena, zone, result->period.to - CL_SECOND));
	cl_json_set_boolean(arena, row, "provisional", result->provisional);
	if (result->missing.n) {
		cl_json_set_text(arena, row, "not_computable", result->missing);
		return row;
	}
	fill_totals(arena, row, result->measure, &result->all, sharing);
	if (!isnan(result->measure->baseline))
		cl_report_number(arena, row, "baseline", result->measure->baseline);
	if (!isnan(result->measure->target))
		cl_report_number(arena, row, "target", result->measure->target);
	struct cl_json *reasons =
	        result->reason_count && !sharing->shared ? cl_json_set_array(arena, row, "reasons") : NULL;
	for (size_t i = 0; reasons && i < result->reason_count; i++) {
		struct cl_json *reason = append_object(arena, reasons);
		cl_json_set_text(arena, reason, "why", result->reasons[i].text);
		set_count(arena, reason, "n", result->reasons[i].count, sharing);
	}
	struct cl_json *strata = may_tell_strata(result, sharing) ? cl_json_set_array(arena, row, "strata") : NULL;
	for (size_t i = 0; strata && i < result->stratum_count; i++) {
		struct cl_json *stratum = append_object(arena, strata);
		cl_json_set_text(arena, stratum, "stratum", result->strata[i].stratum);
		fill_totals(arena, stratum, result->measure, &result->strata[i], sharing);
	}
	return row;
}
