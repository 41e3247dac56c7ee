/* report_internal.h: what metric_report.c and measure_report.c share: pieces of Measure and MeasureReport (FHIR R4). */
#pragma once
#include "org/flow/unit.h"

#define POPULATION_SYSTEM "http://terminology.hl7.org/CodeSystem/measure-population"
#define SCORING_SYSTEM "http://terminology.hl7.org/CodeSystem/measure-scoring"
#define CATEGORY_SYSTEM "urn:careloop:metric-category"

/* ids have no underscores. */
struct cl_str cl_report_id(struct cl_arena *arena, struct cl_str name);
/* "loop_closed" -> "LoopClosed": a name that programs can use (invariant mea-0). */
struct cl_str cl_report_name(struct cl_arena *arena, struct cl_str name);
/* At most four decimals, no trailing zeros. */
void cl_report_number(struct cl_arena *arena, struct cl_json *object, const char *name, double value);
void cl_report_improvement(struct cl_arena *arena, struct cl_json *resource, bool higher_is_better);
/* Quantity measureScore with the UCUM code of the unit, when it has one. NAN sets none. */
void cl_report_score(struct cl_arena *arena, struct cl_json *group, struct cl_str unit, double value);
/* The local date. */
struct cl_str cl_report_day(struct cl_arena *arena, const struct cl_zone *zone, cl_instant at);
