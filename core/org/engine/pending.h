/* pending.h: MeasureReports that somebody created with status "pending": the engine fills them in. So a plugin, or a client that
 * does not want to wait, asks for a measure, and hears of the result as of any other change (`on "MeasureReport.complete"`). */
#pragma once
#include "org/engine/report.h"

#define CL_PENDING_MOST 1000 /* of one look */

/* Versions of the pending reports, oldest first. */
int cl_pending_find(struct cl_store *store, struct cl_arena *arena, struct cl_search_result *out, struct cl_err *e);
/* Evaluates one and makes the request that completes it: an update of that version by the engine itself. Whatever cannot be
 * computed becomes a report with status "error" that says why. */
int cl_pending_answer(struct cl_interaction_context *context, const struct cl_version *version, struct cl_request *out,
                      struct cl_err *e);
/* Without threads: fills in what is pending, and what that brings about. Tests, the demonstration. */
int cl_pending_run(struct cl_organization *organization, struct cl_err *e);
