/* measure.h: measures of a population. A run goes over the subjects one by one, in slices, so that no thread is held for long;
 * for each subject it asks every measure's function and adds what it says to the totals. The order of subjects is that of
 * their ids and nothing but resources decides, so the same file gives the same result. */
#pragma once
#include "org/flow/codes.h"

/* A part of the calendar, in the organization's time zone. */
struct cl_measure_period {
	cl_instant from, to; /* to is exclusive */
	struct cl_str name; /* "2026", "2026-Q3", "2026-11", or "2026-01-01..2026-03-31" */
};

struct cl_measure_fact {
	struct cl_str reference; /* "Observation/x" or empty */
	struct cl_str text; /* the fact, or the rule that it met or missed */
};

/* One thing counted: a patient, or one of a patient's discharges. */
struct cl_measure_case {
	struct cl_str subject; /* "Patient/x" */
	struct cl_str about; /* "Encounter/x": what is counted, when it is not the subject itself */
	bool initial, denominator, numerator; /* CL_SCORING_PROPORTION */
	struct cl_str exclusion, exception; /* why; empty = none */
	double numerator_value, denominator_value; /* CL_SCORING_RATIO */
	double value; /* CL_SCORING_CONTINUOUS; NAN = not measured */
	struct cl_str *strata;
	size_t stratum_count;
	struct cl_measure_fact *facts;
	size_t fact_count;
};

struct cl_measure_sink {
	void (*take)(struct cl_measure_sink *sink, const struct cl_measure_case *one);
};

struct cl_measure_reason {
	struct cl_str text;
	int64_t count;
};

struct cl_measure_totals {
	struct cl_str stratum; /* empty for all */
	int64_t initial, denominator, exclusion, exception,
	        numerator; /* numerator: of those neither excluded nor excepted */
	double numerator_sum, denominator_sum;
	double *values; /* malloc; CL_SCORING_CONTINUOUS */
	size_t value_count, value_capacity;
	double value; /* NAN when nothing can be said */
	int64_t n,
	        of; /* what is shown as n/N: numerator and those who could have been in it; cases measured and all of them */
};

struct cl_measure_result {
	const struct cl_measure *measure;
	struct cl_measure_period period;
	bool provisional; /* the period is not over */
	struct cl_str missing; /* not computable: which list is missing, and why. Empty = computed */
	struct cl_measure_totals all, *strata; /* strata sorted by name; malloc */
	size_t stratum_count, stratum_capacity;
	struct cl_measure_reason *reasons; /* why cases were excluded or excepted, most frequent first; malloc */
	size_t reason_count, reason_capacity;
	struct cl_measure_case *cases; /* when the run keeps them; malloc, their texts in the run's arena */
	size_t case_count, case_capacity;
};

enum cl_measure_keep { CL_KEEP_TOTALS, CL_KEEP_CASES, CL_KEEP_FACTS };

struct cl_measure_run {
	struct cl_arena *arena;
	struct cl_measure_result *results; /* what is asked: measure and period */
	size_t result_count;
	enum cl_measure_keep keep;
	struct cl_str *only; /* ids of the subjects, sorted; NULL = all */
	size_t only_count;
	struct cl_measure_place *place; /* where it stands */
};

/* The period that contains `at`, `back` periods before. */
struct cl_measure_period cl_measure_period(struct cl_arena *arena, const struct cl_calendar *calendar,
                                           enum cl_measure_span span, cl_instant at, int back);
/* From a first to a last local date, both within it. */
struct cl_measure_period cl_measure_period_between(struct cl_arena *arena, const struct cl_calendar *calendar,
                                                   struct cl_date first, struct cl_date last);
/* `cl_measure_period` of "2026", "2026-Q3", "2026-11" or "2026-01-01..2026-03-31". */
int cl_measure_period_parse(struct cl_arena *arena, const struct cl_calendar *calendar, struct cl_str text,
                            struct cl_measure_period *out, struct cl_err *e);

/* `run` lives in `arena`, cl_measure_run_end frees the rest. `unit` gives store, rules and time; it may be another one, with
 * another connection, at each step. */
struct cl_measure_run *cl_measure_run_new(struct cl_arena *arena, size_t result_count, enum cl_measure_keep keep);
/* Works until `deadline` (cl_monotonic) or the end. */
int cl_measure_run_step(struct cl_measure_run *run, struct cl_unit *unit, int64_t deadline, bool *done,
                        struct cl_err *e);
void cl_measure_run_end(struct cl_measure_run *run);

/* measure_total.c */
void cl_measure_add(struct cl_measure_result *result, struct cl_arena *arena, const struct cl_measure_case *one);
void cl_measure_settle(struct cl_measure_result *result);

/* Small numbers in what leaves the team: fewer than `least` cases are not told, nor a rate of fewer than `rate`. */
struct cl_measure_sharing {
	bool shared;
	int64_t least, rate;
};
/* The thresholds: settings share_least and share_rate_least of the plugin "measures" (default 11 and 20). */
struct cl_measure_sharing cl_measure_sharing(const struct cl_catalog *catalog, bool shared);
/* May this number of cases be told? 0 may. */
bool cl_measure_may_tell(const struct cl_measure_sharing *sharing, int64_t count);
/* May the rate be told? */
bool cl_measure_may_rate(const struct cl_measure_sharing *sharing, const struct cl_measure_totals *totals);

/* measure_report.c. FHIR R4 Measure, and MeasureReport of type summary, subject-list (a run that kept cases) or individual (one
 * subject, a run that kept facts). */
struct cl_json *cl_measure_resource(struct cl_unit *unit, const struct cl_measure *measure);
struct cl_json *cl_measure_report(struct cl_unit *unit, const struct cl_measure_result *result, struct cl_str type,
                                  struct cl_str subject, const struct cl_measure_sharing *sharing);
/* One period as Careloop's own JSON, for GET /metrics. */
struct cl_json *cl_measure_row(struct cl_unit *unit, const struct cl_measure_result *result,
                               const struct cl_measure_sharing *sharing);
