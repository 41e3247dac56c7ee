/* conflict.h: workflows of one patient that must not run beside each other unseen, as their plugins declare (`conflicts`). */
#pragma once
#include "org/flow/instance_internal.h"

#define CL_CONFLICT_SYSTEM "urn:careloop:conflict" /* DetectedIssue.code.coding.system; code = the conflict's name */

/* A conflict that was found and does not stop the move: kept once it is written. */
struct cl_conflict_found {
	struct cl_conflict_found *next;
	const struct cl_conflict *conflict;
	struct cl_str other; /* Task id */
	struct cl_str reason; /* why it was overridden, or empty */
};

/* Before anything is written: is there another live instance that this one, coming into its target state, conflicts with?
 * CL_E_CONFLICT names the conflict and the other Task. A clock and the other side's copy (`move->by_clock`, forced) are never
 * refused: what would refuse or ask warns then. */
int cl_conflicts_find(struct cl_unit *unit, const struct cl_move *move, struct cl_conflict_found **found,
                      struct cl_err *e);
/* After it is written: DetectedIssues for those found; those of an instance that has ended are settled. */
int cl_conflicts_keep(struct cl_unit *unit, const struct cl_move *move, const struct cl_conflict_found *found,
                      struct cl_err *e);
