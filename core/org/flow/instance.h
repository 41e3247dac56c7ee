/* instance.h: workflow instances: Tasks that a machine drives (design §5; FHIR R4 Task). */
#pragma once
#include "org/flow/unit.h"

#define CL_WORKFLOW_SYSTEM "urn:careloop:workflow" /* Task.code.coding.system; code = workflow name */
#define CL_ROLE_SYSTEM "urn:careloop:role" /* Task.performerType.coding.system: role or party with the next action */
#define CL_TASK_SYSTEM "urn:careloop:task" /* Task.code.coding.system of Tasks the core makes: "escalation" */

/* An instance's data (cl_stored_instance.data) is one flat JSON object: what events brought, by name, and three names
 * of the core's own: "party" (which one this organization is), "partner" (id of the other one) and "escalations" (ids
 * of the Tasks that still ask somebody to look at it).
 *
 * A Task that a client creates starts in the start state; its status may be that state's, "draft" or "requested". Its
 * input whose type.text is a name becomes data of that name, "party" and "partner" included; without a partner the
 * organization's partner whose reference is the Task's owner or requester is taken. */

struct cl_start {
	struct cl_str workflow;
	struct cl_str state; /* empty = the machine's start; imports and messages may start elsewhere */
	struct cl_json *task; /* NULL, or the Task a client sent */
	struct cl_str id; /* empty = made */
	struct cl_str focus, patient, requester, owner; /* references, may be empty */
	struct cl_str party; /* which party this organization is; empty = the first */
	struct cl_str partner; /* id of the partner that is the other party */
	struct cl_json *data; /* object or NULL */
	/* Taken over from elsewhere: when it really began and came into `state`; 0 = now. The history says so by these dates.
	 * A clock that would be over already ends on one of the next business days (the organization's `import_spread`). */
	cl_instant started, entered;
};
int cl_instance_start(struct cl_unit *unit, const struct cl_start *start, struct cl_version *out,
                      struct cl_issues *issues, struct cl_err *e);

struct cl_advance {
	struct cl_str task; /* id */
	struct cl_str event;
	struct cl_json *data; /* object or NULL; checked against `needs` */
	struct cl_str on_behalf_of; /* party or partner for whom it is recorded; needs `source` and a recorder */
	struct cl_str source; /* "phone" "fax" "letter" "message" ... */
	bool by_link; /* by whoever holds a reply link that offers the event (reply_link.h): no role check */
	bool by_clock; /* fired by a timer: only transitions by "clock" or an overdue event */
	bool forced; /* a newer version of the authoritative side (message): no role check, any target */
	struct cl_str forced_state;
	cl_instant occurred; /* 0 = now; when it happened, if it is recorded later */
};
/* CL_E_RULE names the state, the event and the legal ones; CL_E_FORBIDDEN names who may. Missing or wrong data: one
 * error that names every piece with its help, `where` = "data.reason". A plugin's own function (unit->plugin) and the
 * console (actor of kind "system") act for the organization: they may fire every event of the local side and of the
 * clock, and the other party's with on_behalf_of and source. */
int cl_instance_advance(struct cl_unit *unit, const struct cl_advance *advance, struct cl_version *out,
                        struct cl_issues *issues, struct cl_err *e);
struct cl_undo {
	struct cl_str task; /* id */
	struct cl_str reason;
	struct cl_str event; /* that it must be; empty = whatever the last one is */
};
/* Takes back the last event (undo.c). `left` gets an array of texts that name what could not be reversed. */
int cl_instance_undo(struct cl_unit *unit, const struct cl_undo *wish, struct cl_json **left, struct cl_err *e);
/* Changes what the instance knows, without an event: `data` is laid over it, `removed` (an array of names, or NULL) is taken
 * away. The core's own names are refused. Running clocks stay as they are. */
int cl_instance_set_data(struct cl_unit *unit, struct cl_str task, const struct cl_json *data,
                         const struct cl_json *removed, struct cl_err *e);
/* Events legal from the instance's state, for people: "accept (recipient), decline (recipient; needs reason)". */
struct cl_str cl_instance_legal(struct cl_arena *arena, const struct cl_workflow *workflow, int state);
/* Does the actor play one of the transition's `by`? */
bool cl_instance_may(const struct cl_unit *unit, const struct cl_workflow *workflow,
                     const struct cl_stored_instance *instance, const struct cl_transition_rule *transition);
/* A due timer of kind clock or reminder. */
int cl_instance_timer(struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e);
/* The history of one instance as JSON rows for the console. */
int cl_instance_trace(struct cl_unit *unit, struct cl_str task, struct cl_buf *json, struct cl_err *e);
/* After a reload: live instances whose state the new machine lacks and does not map. CL_E_RULE lists them; otherwise
 * moves them, in the unit. Clocks of those that stay run on as they were promised. `former` may be NULL when the
 * catalog before is not at hand (after a start with other plugins). */
int cl_instance_migrate(struct cl_unit *unit, const struct cl_catalog *former, struct cl_err *e);
