/* console_measure.c: commands about measures of the population. */
#include "org/engine/console.h"
#include "org/engine/report.h"
#include "org/fhir/types.h"
#include <math.h>

static const char *span_words(uint8_t span)
{
	return span == CL_SPAN_MONTH     ? "month"
	       : span == CL_SPAN_QUARTER ? "quarter"
	       : span == CL_SPAN_YEAR    ? "year"
	                                 : "rolling year";
}

/* What the lists that are not loaded are; empty when it can be computed. */
static int missing_lists(struct cl_console *c, const struct cl_measure *measure, struct cl_str *out, struct cl_err *e)
{
	struct cl_buf text;
	int code = 0;
	cl_buf_init(&text, 0);
	for (size_t i = 0; i < measure->code_count && !code; i++) {
		const struct cl_codes *codes;
		code = cl_codes_find(c->unit, measure->codes[i], &codes, e);
		if (!code && codes->problem.n)
			cl_buf_printf(&text, "%s%.*s %.*s", text.n ? "; " : "", CL_STR_ARGS(measure->codes[i]),
			              CL_STR_ARGS(codes->problem));
	}
	*out = cl_arena_copy(c->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return code;
}

int cl_console_measures(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"measure",    "category", "version", "period", "unit",
	                                      "definition", "missing",  "summary", NULL};
	const struct cl_catalog *catalog = c->context->rules->catalog;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < catalog->measure_count; i++) {
		const struct cl_measure *measure = &catalog->measures[i];
		struct cl_str missing;
		int code = missing_lists(c, measure, &missing, e);
		if (code)
			return code;
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, measure->name);
		cl_console_cell(c, row, measure->category);
		cl_console_cell(c, row, measure->version);
		cl_console_cell(c, row, cl_str_of(span_words(measure->span)));
		cl_console_cell(c, row, measure->unit);
		cl_console_cell(c, row, (struct cl_str){measure->definition.p, 12});
		cl_console_cell(c, row, missing);
		cl_console_cell(c, row, measure->summary);
	}
	return 0;
}

static struct cl_str outcome_words(struct cl_arena *arena, const struct cl_measure *measure,
                                   const struct cl_measure_case *one)
{
	if (!one->initial)
		return CL_STR("not in the initial population");
	if (!one->denominator)
		return CL_STR("in the initial population, not in the denominator");
	if (one->exclusion.n)
		return cl_arena_printf(arena, "excluded: %.*s", CL_STR_ARGS(one->exclusion));
	if (measure->scoring == CL_SCORING_RATIO)
		return cl_arena_printf(arena, "numerator %.6g, denominator %.6g", one->numerator_value,
		                       one->denominator_value);
	if (measure->scoring == CL_SCORING_CONTINUOUS)
		return isnan(one->value) ? CL_STR("counted, not measured")
		                         : cl_arena_printf(arena, "value %.6g", one->value);
	if (one->numerator)
		return CL_STR("in the numerator");
	if (one->exception.n)
		return cl_arena_printf(arena, "exception: %.*s", CL_STR_ARGS(one->exception));
	return CL_STR("in the denominator, not in the numerator");
}

static void show_case(struct cl_console *c, const struct cl_measure *measure, const struct cl_measure_case *one)
{
	struct cl_str about = one->about.n ? one->about : one->subject;
	for (size_t f = 0; f < one->fact_count; f++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, about);
		cl_console_cell(c, row, one->facts[f].reference);
		cl_console_cell(c, row, one->facts[f].text);
	}
	for (size_t s = 0; s < one->stratum_count; s++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, about);
		cl_console_cell(c, row, CL_STR(""));
		cl_console_cell(c, row, cl_arena_printf(c->arena, "stratum: %.*s", CL_STR_ARGS(one->strata[s])));
	}
	struct cl_json *row = cl_console_row(c);
	cl_console_cell(c, row, about);
	cl_console_cell(c, row, CL_STR(""));
	cl_console_cell(c, row,
	                cl_arena_printf(c->arena, "=> %.*s", CL_STR_ARGS(outcome_words(c->arena, measure, one))));
}

int cl_console_explain_measure(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"about", "resource", "fact", NULL};
	struct cl_str name, subject, period = cl_console_argument(c, "period");
	const struct cl_calendar *calendar = &c->context->rules->facts->calendar;
	int code = cl_console_need(c, "name", &name, e);
	if (!code)
		code = cl_console_need(c, "subject", &subject, e);
	if (code)
		return code;
	const struct cl_measure *measure = cl_catalog_measure(c->context->rules->catalog, name);
	if (!measure)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no measure '%.*s'; see: measures", CL_STR_ARGS(name));
	struct cl_str id = cl_console_id(subject);
	struct cl_measure_run *run = cl_measure_run_new(c->arena, 1, CL_KEEP_FACTS);
	struct cl_measure_result *result = &run->results[0];
	result->measure = measure;
	run->only = &id;
	run->only_count = 1;
	if (period.n)
		code = cl_measure_period_parse(c->arena, calendar, period, &result->period, e);
	else
		result->period = cl_measure_period(c->arena, calendar, measure->span, c->context->now, 0);
	if (!code)
		code = cl_measure_evaluate(c->context, run, e);
	if (!code) {
		cl_console_columns(c, columns);
		for (size_t i = 0; i < result->case_count; i++)
			show_case(c, measure, &result->cases[i]);
		cl_buf_printf(&c->text, "%.*s %.*s, %.*s; source: %.*s", CL_STR_ARGS(measure->name),
		              CL_STR_ARGS(measure->version), CL_STR_ARGS(result->period.name),
		              CL_STR_ARGS(measure->source));
		if (result->missing.n)
			cl_buf_printf(&c->text, "\nnot computable: %.*s", CL_STR_ARGS(result->missing));
		else if (!result->case_count)
			cl_buf_printf(&c->text, "\n%.*s/%.*s is not in the initial population, and no rule says why",
			              CL_STR_ARGS(cl_fhir_type_name(measure->basis)), CL_STR_ARGS(id));
	}
	cl_measure_run_end(run);
	return code;
}
