/* report.h: views and metrics as rows, for HTTP and the console. */
#pragma once
#include "org/engine/interaction.h"
#include "org/flow/measure.h"
#include "org/flow/metric.h"

/* Rows of any view, arrays in column order; nobody's access is checked here. */
int cl_view_all_rows(struct cl_interaction_context *context, const struct cl_view *view, struct cl_json **rows,
                     struct cl_err *e);

/* A unit that only reads, with whatever Lua this thread may use. */
void cl_reading_unit(const struct cl_interaction_context *context, struct cl_unit *unit);

/* ---- measure.c ---- */

/* Runs to the end, letting others at the file between slices. CL_E_BUSY when the request's time is over. */
int cl_measure_evaluate(struct cl_interaction_context *context, struct cl_measure_run *run, struct cl_err *e);
/* Entries of the declared measures (all, or the one named) for GET /metrics: the periods that end in the last `months`; as
 * MeasureReports for a Bundle, or as rows. */
int cl_measure_entries(struct cl_interaction_context *context, struct cl_str name, long months, bool fhir,
                       struct cl_json *list, struct cl_err *e);
/* What leaves the team: `shared=true` asked for it, or a partner asks. */
bool cl_measure_is_shared(const struct cl_interaction_context *context);
