/* report.h: views and metrics as rows, for HTTP and the console. */
#pragma once
#include "org/engine/interaction.h"
#include "org/flow/metric.h"

/* Rows of any view, arrays in column order; nobody's access is checked here. */
int cl_view_all_rows(struct cl_interaction_context *context, const struct cl_view *view, struct cl_json **rows,
                     struct cl_err *e);
