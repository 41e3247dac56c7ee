/* metric.h: measures of the workflows, computed by month or week from the transition history; results are MeasureReports. */
#pragma once
#include "org/flow/unit.h"

struct cl_metric_result {
	cl_instant from, to;
	double numerator, denominator; /* denominator NAN for values that are no proportion */
	double value; /* NAN when nothing can be said (no cases) */
	int64_t n; /* cases */
	bool week; /* not a month */
};
/* `month` is any instant of the month, in the organization's zone. */
int cl_metric_month(struct cl_unit *unit, const struct cl_metric *metric, cl_instant month,
                    struct cl_metric_result *out, struct cl_err *e);
/* The same for the week (Monday to Sunday) that contains the instant. */
int cl_metric_week(struct cl_unit *unit, const struct cl_metric *metric, cl_instant week, struct cl_metric_result *out,
                   struct cl_err *e);
/* "2026-11" or "2026-W48" */
struct cl_str cl_metric_period(const struct cl_unit *unit, const struct cl_metric_result *result);
/* FHIR R4 MeasureReport (summary) and Measure as JSON objects. */
struct cl_json *cl_metric_report(struct cl_unit *unit, const struct cl_metric *metric,
                                 const struct cl_metric_result *result);
struct cl_json *cl_metric_measure(struct cl_unit *unit, const struct cl_metric *metric);
/* Rows of a workflow view: array of arrays in column order. Columns: task, patient, patient_name, subject, state,
 * action, owner, due, overdue, age_days, started, and data.<name>. */
int cl_view_rows(struct cl_unit *unit, const struct cl_view *view, uint32_t limit, struct cl_json **rows,
                 struct cl_err *e);
