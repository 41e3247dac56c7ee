/* hook.h: the letters of subscriptions: whether and how one is sent now, and what follows from how that went. */
#pragma once
#include "org/engine/interaction.h"

enum cl_hook_verdict { CL_HOOK_SEND, CL_HOOK_LATER, CL_HOOK_WITHHOLD };

/* Fills `entry` for the courier: url, method, headers (signed), body. Whether the subscription still runs and its principal may
 * still read the resource is decided here, at each attempt. CL_HOOK_WITHHOLD: `entry` says why in "withheld". */
int cl_hook_letter(struct cl_interaction_context *context, const struct cl_outgoing *letter, struct cl_json *entry,
                   enum cl_hook_verdict *verdict, struct cl_err *e);
/* What the courier reported. `status` is the HTTP status or 0. */
struct cl_hook_report {
	int64_t status, retry_after; /* retry_after: seconds the receiver asked for, 0 = none */
	struct cl_str problem;
	bool withheld;
};
int cl_hook_settle(struct cl_interaction_context *context, const struct cl_outgoing *letter,
                   const struct cl_hook_report *report, struct cl_err *e);
/* Half a second, one, two, four ... at most four hours: a receiver that restarts is not kept waiting, one that is down is not
 * pestered. */
cl_instant cl_courier_back_off(int64_t attempts);
