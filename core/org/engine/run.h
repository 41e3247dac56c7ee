/* run.h: how one input (a request, a timer) is run inside the writer's transaction; shared by the files of this room. */
#pragma once
#include "org/engine/interaction.h"

/* In the detail of an input event whose body is the version it made. */
#define CL_BY_REFERENCE "\"by_reference\":true"

/* Runs the plugins' handlers for every change of the unit, and for the changes those make, in order. */
int cl_run_reactions(struct cl_organization *organization, struct cl_unit *unit, struct cl_err *e);
/* Runs a request as a principal that is known already. `key` is unique for the input: derived ids hang on it. */
void cl_run_as(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
               const struct cl_principal *principal, struct cl_str key, struct cl_outcome *out);
/* The entries of a batch, each as a request of its own. True when one of them may have changed something. */
bool cl_run_batch(struct cl_organization *organization, struct cl_arena *arena, const struct cl_request *request,
                  const struct cl_principal *principal, struct cl_str key, struct cl_json *bundle,
                  struct cl_outcome *out);
/* Larger batches are the writer's without being looked at. */
#define CL_BATCH_LOOKED_AT (1024 * 1024)
/* A quick look at the text: may it be a batch that only reads? */
bool cl_batch_may_be_reads(struct cl_str body);
/* Runs a batch that only reads on any connection, each entry with its audit leaf. False when it is something else: then nothing
 * was done. */
bool cl_batch_of_reads(struct cl_interaction_context *context, struct cl_audit_tail *tail);
int cl_organization_fire_one(struct cl_organization *organization, struct cl_arena *arena,
                             const struct cl_stored_timer *timer, struct cl_change **changes, struct cl_err *e);
/* Quarantines a timer whose run crashed the process twice, and says so in the event log, whose outcome this is. */
#define CL_SET_ASIDE "quarantined"
int cl_organization_set_aside(struct cl_organization *organization, struct cl_arena *arena,
                              const struct cl_stored_timer *timer, struct cl_err *e);
/* A MeasureReport among the changes waits to be filled in: noted for whoever runs the organization. */
void cl_run_note_pending(struct cl_organization *organization, const struct cl_change *changes);
/* Fills the response of a request that is sent again with the answer that was kept, if there is one. */
bool cl_run_answered_before(struct cl_organization *organization, struct cl_arena *arena,
                            const struct cl_request *request, struct cl_response *response);
/* Says on the shared page what runs, so that a crash can be blamed on it (pitfalls 9). */
void cl_run_watch(struct cl_organization *organization, enum cl_watch_kind kind, struct cl_str subject,
                  const char *what, struct cl_str detail);
void cl_run_watch_end(struct cl_organization *organization);
/* Is the input with this key on the supervisor's list of those that crashed the process twice? */
bool cl_run_quarantined(const struct cl_organization *organization, struct cl_str key);
