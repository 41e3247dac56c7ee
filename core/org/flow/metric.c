/* metric.c: one month of one measure, from the transitions that were recorded. Nothing is stored on the way: a month
 * whose cases may still arrive within their time is simply computed again. */
#include "org/flow/metric.h"
#include <math.h>
#include <stdlib.h>

/* An instance that the month counts, and the moment from which its time runs. */
struct counted {
	struct cl_str task;
	cl_instant at;
};

/* One state entered. */
struct entry {
	struct cl_str to;
	cl_instant at;
};

struct month {
	struct cl_unit *unit;
	const struct cl_metric *metric;
	cl_instant from, to;
	struct counted *cases; /* malloc */
	size_t count, capacity;
	struct entry *entries; /* of the case looked at; malloc */
	size_t entry_count, entry_capacity;
};

static void *room_for(void *items, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return items;
	*capacity = *capacity ? *capacity * 2 : 64;
	items = realloc(items, *capacity * size);
	if (!items)
		cl_die("out of memory (metric)");
	return items;
}

/* ---- the cohort -------------------------------------------------------------------------------------------------- */

/* A clock that ran out is no entry: the instance was there already. */
static bool is_entry(const struct cl_stored_transition *transition)
{
	return !(cl_str_is(transition->event, "overdue") && cl_str_equal(transition->from, transition->to));
}

static int visit_cohort(const struct cl_stored_transition *transition, void *context)
{
	struct month *month = context;
	const struct cl_metric *metric = month->metric;
	bool counts = metric->cohort == CL_COHORT_ENTERED
	                      ? is_entry(transition) && cl_str_equal(transition->to, metric->cohort_state)
	                      : cl_str_is(transition->event, "start") && !transition->from.n;
	if (!counts)
		return 0;
	month->cases = room_for(month->cases, month->count, &month->capacity, sizeof *month->cases);
	month->cases[month->count++] =
	        (struct counted){cl_arena_copy(month->unit->arena, transition->task), transition->at};
	return 0;
}

static int compare_cases(const void *left, const void *right)
{
	const struct counted *a = left, *b = right;
	int order = cl_str_compare(a->task, b->task);
	return order ? order : (a->at > b->at) - (a->at < b->at);
}

/* Each instance once, with its first moment of the month. */
static int find_cohort(struct month *month, struct cl_err *e)
{
	int code = cl_store_transitions(month->unit->store, month->metric->workflow, CL_STR_NONE, month->from,
	                                month->to, visit_cohort, month, e);
	if (code)
		return code;
	if (month->count)
		qsort(month->cases, month->count, sizeof *month->cases, compare_cases);
	size_t kept = 0;
	for (size_t i = 0; i < month->count; i++)
		if (!kept || !cl_str_equal(month->cases[kept - 1].task, month->cases[i].task))
			month->cases[kept++] = month->cases[i];
	month->count = kept;
	return 0;
}

/* ---- one case ---------------------------------------------------------------------------------------------------- */

static int visit_entry(const struct cl_stored_transition *transition, void *context)
{
	struct month *month = context;
	if (!is_entry(transition))
		return 0;
	month->entries = room_for(month->entries, month->entry_count, &month->entry_capacity, sizeof *month->entries);
	month->entries[month->entry_count++] =
	        (struct entry){cl_arena_copy(month->unit->arena, transition->to), transition->at};
	return 0;
}

static int load_entries(struct month *month, struct cl_str task, struct cl_err *e)
{
	month->entry_count = 0;
	return cl_store_transitions(month->unit->store, CL_STR_NONE, task, INT64_MIN, INT64_MAX, visit_entry, month, e);
}

/* First entry of the state at or after an instant; INT64_MAX when there is none. */
static cl_instant first_entry(const struct month *month, struct cl_str state, cl_instant since)
{
	for (size_t i = 0; i < month->entry_count; i++)
		if (month->entries[i].at >= since && cl_str_equal(month->entries[i].to, state))
			return month->entries[i].at;
	return INT64_MAX;
}

/* Who came into the state in an earlier month is counted there, and once only. */
static bool is_of_this_month(const struct month *month)
{
	return month->metric->cohort != CL_COHORT_ENTERED ||
	       first_entry(month, month->metric->cohort_state, INT64_MIN) >= month->from;
}

static bool has_reached(const struct month *month, const struct counted *one)
{
	const struct cl_metric *metric = month->metric;
	cl_instant until = metric->within.amount
	                           ? cl_calendar_add(&month->unit->organization->calendar, one->at, metric->within)
	                           : INT64_MAX - 1;
	for (size_t i = 0; i < metric->reached_count; i++)
		if (first_entry(month, metric->reached[i], one->at) <= until)
			return true;
	return false;
}

/* NAN when the case has not come from the one state to the other. */
static double elapsed(const struct month *month, const struct counted *one)
{
	const struct cl_metric *metric = month->metric;
	cl_instant from = metric->from_state.n ? first_entry(month, metric->from_state, one->at) : one->at;
	cl_instant to = from == INT64_MAX ? INT64_MAX : first_entry(month, metric->to_state, from);
	if (to == INT64_MAX)
		return NAN;
	return cl_calendar_between(&month->unit->organization->calendar, from, to, metric->elapsed_unit);
}

/* ---- the value --------------------------------------------------------------------------------------------------- */

static int compare_numbers(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;
	return (a > b) - (a < b);
}

/* The middle one or the mean of the two; p90 by nearest rank. `values` are sorted. */
static double summarize(const double *values, size_t n, uint8_t show)
{
	double sum = 0;
	if (!n)
		return NAN;
	if (show == CL_SHOW_MEDIAN || show == 0)
		return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
	if (show == CL_SHOW_P90)
		return values[(n * 9 + 9) / 10 - 1];
	if (show == CL_SHOW_COUNT)
		return (double)n;
	for (size_t i = 0; i < n; i++)
		sum += values[i];
	return show == CL_SHOW_SUM ? sum : sum / (double)n;
}

static double proportion(const struct cl_metric *metric, double numerator, double denominator)
{
	if (!(denominator > 0))
		return NAN;
	bool percent = metric->show == CL_SHOW_PERCENT || cl_str_is(metric->unit, "%");
	return percent ? 100 * numerator / denominator : numerator / denominator;
}

static int measure_cases(struct month *month, struct cl_metric_result *out, struct cl_err *e)
{
	const struct cl_metric *metric = month->metric;
	double *values = calloc(month->count + 1, sizeof *values);
	size_t cases = 0, reached = 0, measured = 0;
	int code = 0;
	if (!values)
		cl_die("out of memory (metric)");
	for (size_t i = 0; i < month->count && !code; i++) {
		code = load_entries(month, month->cases[i].task, e);
		if (code || !is_of_this_month(month))
			continue;
		cases++;
		if (metric->measure == CL_MEASURE_REACHED)
			reached += has_reached(month, &month->cases[i]);
		double value = metric->measure == CL_MEASURE_ELAPSED ? elapsed(month, &month->cases[i]) : NAN;
		if (!isnan(value))
			values[measured++] = value;
	}
	qsort(values, measured, sizeof *values, compare_numbers);
	if (metric->measure == CL_MEASURE_REACHED) {
		out->numerator = (double)reached;
		out->denominator = (double)cases;
		out->n = (int64_t)cases;
		out->value = metric->show == CL_SHOW_COUNT ? (double)reached
		                                           : proportion(metric, (double)reached, (double)cases);
	} else if (metric->measure == CL_MEASURE_ELAPSED) {
		out->n = (int64_t)measured;
		out->value = summarize(values, measured, metric->show);
		out->numerator = out->value;
	} else {
		out->n = (int64_t)cases;
		out->numerator = out->value = (double)cases;
	}
	free(values);
	return code;
}

static int ask_function(struct cl_unit *unit, const struct cl_metric *metric, struct cl_metric_result *out,
                        struct cl_err *e)
{
	if (!unit->script || !unit->script->metric)
		return cl_fail(e, CL_E_UNSUPPORTED,
		               "metric '%.*s' is computed by a plugin, which only the writer can ask",
		               CL_STR_ARGS(metric->name));
	int64_t cases = -1;
	int code = unit->script->metric(unit->script->context, unit, metric->function, out->from, out->to,
	                                &out->numerator, &out->denominator, &cases, e);
	if (code)
		return code;
	bool is_proportion = !isnan(out->denominator);
	out->value = is_proportion ? proportion(metric, out->numerator, out->denominator) : out->numerator;
	out->n = is_proportion ? (int64_t)out->denominator : cases >= 0 ? cases : !isnan(out->value);
	return 0;
}

/* `out` holds the period. */
static int compute(struct cl_unit *unit, const struct cl_metric *metric, struct cl_metric_result *out, struct cl_err *e)
{
	if (metric->measure == CL_MEASURE_FUNCTION)
		return ask_function(unit, metric, out, e);
	struct month month = {.unit = unit, .metric = metric, .from = out->from, .to = out->to};
	int code = find_cohort(&month, e);
	if (!code)
		code = measure_cases(&month, out, e);
	free(month.cases);
	free(month.entries);
	return code;
}

int cl_metric_month(struct cl_unit *unit, const struct cl_metric *metric, cl_instant at, struct cl_metric_result *out,
                    struct cl_err *e)
{
	const struct cl_calendar *calendar = &unit->organization->calendar;
	*out = (struct cl_metric_result){
	        .from = cl_calendar_month_start(calendar, at, 0),
	        .to = cl_calendar_month_start(calendar, at, 1),
	        .numerator = NAN,
	        .denominator = NAN,
	        .value = NAN,
	};
	return compute(unit, metric, out, e);
}

int cl_metric_week(struct cl_unit *unit, const struct cl_metric *metric, cl_instant at, struct cl_metric_result *out,
                   struct cl_err *e)
{
	const struct cl_calendar *calendar = &unit->organization->calendar;
	*out = (struct cl_metric_result){
	        .from = cl_calendar_week_start(calendar, at, 0),
	        .to = cl_calendar_week_start(calendar, at, 1),
	        .numerator = NAN,
	        .denominator = NAN,
	        .value = NAN,
	        .week = true,
	};
	return compute(unit, metric, out, e);
}

struct cl_str cl_metric_period(const struct cl_unit *unit, const struct cl_metric_result *result)
{
	const struct cl_calendar *calendar = &unit->organization->calendar;
	return result->week ? cl_calendar_week_name(unit->arena, calendar, result->from)
	                    : cl_calendar_month_name(unit->arena, calendar, result->from);
}
