/* stage.h: `careloop organization --stage`: loads, checks and tests an organization's plugins in a process that
 * serves nobody, and leaves the archive that the running one may swap in. */
#pragma once
#include "base/text.h"
#include <event2/event.h>
#include <sys/types.h>

struct cl_stage;

/* `output` is what it printed (at most 16 KiB): the problems, one a line, when it failed. Called once; the stage is
 * gone then. */
typedef void (*cl_stage_done)(bool good, struct cl_str output, void *context);

/* NULL with errno when it cannot be started. Killed after 60 s. */
struct cl_stage *cl_stage_start(struct event_base *base, const char *executable, const char *config,
                                const char *organization, cl_stage_done done, void *context);
pid_t cl_stage_process(const struct cl_stage *stage);
/* The supervisor's SIGCHLD handler found its end: calls `done`. */
void cl_stage_reaped(struct cl_stage *stage, int wait_status);
/* Kills it; `done` is not called. */
void cl_stage_abandon(struct cl_stage *stage);
