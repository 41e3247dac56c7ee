/* measure_total.c: cases become totals. The arithmetic of proportions is that of the eCQM logic guidance of CMS and FHIR's
 * measure-population codes: exclusions leave the denominator; exceptions do, unless the numerator was met. */
#include "org/flow/measure.h"
#include <math.h>
#include <stdlib.h>

static void *room_for(void *items, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return items;
	*capacity = *capacity ? *capacity * 2 : 16;
	items = realloc(items, *capacity * size);
	if (!items)
		cl_die("out of memory (measure)");
	return items;
}

static void add_value(struct cl_measure_totals *totals, double value)
{
	totals->values = room_for(totals->values, totals->value_count, &totals->value_capacity, sizeof *totals->values);
	totals->values[totals->value_count++] = value;
}

static void add_to(struct cl_measure_totals *totals, uint8_t scoring, const struct cl_measure_case *one)
{
	totals->initial++;
	if (!one->denominator)
		return;
	totals->denominator++;
	if (one->exclusion.n) {
		totals->exclusion++;
		return;
	}
	if (scoring == CL_SCORING_RATIO) {
		totals->numerator_sum += isnan(one->numerator_value) ? 0 : one->numerator_value;
		totals->denominator_sum += isnan(one->denominator_value) ? 0 : one->denominator_value;
	} else if (scoring == CL_SCORING_CONTINUOUS) {
		if (!isnan(one->value))
			add_value(totals, one->value);
	} else if (one->numerator) {
		totals->numerator++;
	} else if (one->exception.n) {
		totals->exception++;
	}
}

static struct cl_measure_totals *stratum_of(struct cl_measure_result *result, struct cl_arena *arena,
                                            struct cl_str name)
{
	for (size_t i = 0; i < result->stratum_count; i++)
		if (cl_str_equal(result->strata[i].stratum, name))
			return &result->strata[i];
	result->strata =
	        room_for(result->strata, result->stratum_count, &result->stratum_capacity, sizeof *result->strata);
	struct cl_measure_totals *stratum = &result->strata[result->stratum_count++];
	*stratum = (struct cl_measure_totals){.stratum = cl_arena_copy(arena, name)};
	return stratum;
}

static void add_reason(struct cl_measure_result *result, struct cl_arena *arena, struct cl_str text)
{
	for (size_t i = 0; i < result->reason_count; i++)
		if (cl_str_equal(result->reasons[i].text, text)) {
			result->reasons[i].count++;
			return;
		}
	result->reasons =
	        room_for(result->reasons, result->reason_count, &result->reason_capacity, sizeof *result->reasons);
	result->reasons[result->reason_count++] = (struct cl_measure_reason){cl_arena_copy(arena, text), 1};
}

void cl_measure_add(struct cl_measure_result *result, struct cl_arena *arena, const struct cl_measure_case *one)
{
	uint8_t scoring = result->measure->scoring;
	if (!one->initial)
		return;
	add_to(&result->all, scoring, one);
	for (size_t i = 0; i < one->stratum_count; i++)
		add_to(stratum_of(result, arena, one->strata[i]), scoring, one);
	if (one->denominator && one->exclusion.n)
		add_reason(result, arena, one->exclusion);
	else if (one->denominator && one->exception.n && !one->numerator && scoring == CL_SCORING_PROPORTION)
		add_reason(result, arena, one->exception);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

/* The middle one or the mean of the two; p90 by nearest rank. */
static double summarize(double *values, size_t n, uint8_t show)
{
	double sum = 0;
	if (!n)
		return show == CL_SHOW_COUNT || show == CL_SHOW_SUM ? 0 : NAN;
	qsort(values, n, sizeof *values, compare_numbers);
	if (show == CL_SHOW_MEDIAN)
		return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
	if (show == CL_SHOW_P90)
		return values[(n * 9 + 9) / 10 - 1];
	if (show == CL_SHOW_COUNT)
		return (double)n;
	for (size_t i = 0; i < n; i++)
		sum += values[i];
	return show == CL_SHOW_SUM ? sum : sum / (double)n;
}

static void settle(const struct cl_measure *measure, struct cl_measure_totals *totals)
{
	int64_t eligible = totals->denominator - totals->exclusion;
	totals->value = NAN;
	totals->of = eligible;
	if (measure->scoring == CL_SCORING_RATIO) {
		totals->n = eligible;
		if (totals->denominator_sum != 0)
			totals->value = measure->scale * totals->numerator_sum / totals->denominator_sum;
	} else if (measure->scoring == CL_SCORING_CONTINUOUS) {
		totals->n = (int64_t)totals->value_count;
		totals->value = summarize(totals->values, totals->value_count, measure->show);
	} else {
		totals->of = eligible - totals->exception;
		totals->n = totals->numerator;
		if (totals->of > 0)
			totals->value = measure->scale * (double)totals->numerator / (double)totals->of;
	}
}

static int compare_strata(const void *left, const void *right)
{
	const struct cl_measure_totals *a = left, *b = right;
	return cl_str_compare(a->stratum, b->stratum);
}

static int compare_reasons(const void *left, const void *right)
{
	const struct cl_measure_reason *a = left, *b = right;
	if (a->count != b->count)
		return a->count < b->count ? 1 : -1;
	return cl_str_compare(a->text, b->text);
}

void cl_measure_settle(struct cl_measure_result *result)
{
	settle(result->measure, &result->all);
	for (size_t i = 0; i < result->stratum_count; i++)
		settle(result->measure, &result->strata[i]);
	if (result->stratum_count)
		qsort(result->strata, result->stratum_count, sizeof *result->strata, compare_strata);
	if (result->reason_count)
		qsort(result->reasons, result->reason_count, sizeof *result->reasons, compare_reasons);
}

/* ---- small numbers ----------------------------------------------------------------------------------------------- */

static int64_t threshold(const struct cl_catalog *catalog, struct cl_str name, int64_t otherwise)
{
	int64_t value = otherwise;
	const struct cl_json *setting = cl_catalog_setting(catalog, CL_STR("measures"), name);
	return !setting || cl_json_integer(setting, &value) || value < 0 ? otherwise : value;
}

struct cl_measure_sharing cl_measure_sharing(const struct cl_catalog *catalog, bool shared)
{
	return (struct cl_measure_sharing){
	        .shared = shared,
	        .least = threshold(catalog, CL_STR("share_least"), 11),
	        .rate = threshold(catalog, CL_STR("share_rate_least"), 20),
	};
}

bool cl_measure_may_tell(const struct cl_measure_sharing *sharing, int64_t count)
{
	return !sharing->shared || count == 0 || count >= sharing->least;
}

/* A rate with a denominator that is told gives the numerator away, and its complement. */
bool cl_measure_may_rate(const struct cl_measure_sharing *sharing, const struct cl_measure_totals *totals)
{
	if (!sharing->shared)
		return true;
	return totals->of >= sharing->rate && cl_measure_may_tell(sharing, totals->n) &&
	       cl_measure_may_tell(sharing, totals->of - totals->n);
}
