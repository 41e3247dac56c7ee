/* operations.h: what the supervisor itself answers on the admin socket: status, processes, quarantine, heads and so
 * on. */
#pragma once
#include "supervisor/tree.h"

/* Answers a call now or later. */
void cl_operations_run(struct cl_supervisor *supervisor, struct cl_admin_call *call);
/* A gateway's {"do":"status","id":N,...}. */
void cl_operations_answered(struct cl_supervisor *supervisor, const struct cl_child *child,
                            const struct cl_json *message);
/* The supervisor ends: forgets questions under way. */
void cl_operations_abandon(struct cl_supervisor *supervisor);
