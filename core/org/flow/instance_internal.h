/* instance_internal.h: what the files that drive instances share. Not for other rooms. */
#pragma once
#include "org/flow/instance.h"
#include "org/flow/unit_internal.h"

/* One instance about to move, or to start. */
struct cl_move {
	const struct cl_workflow *workflow;
	struct cl_stored_instance instance; /* as it is stored; cl_move_apply makes it what it becomes */
	struct cl_json *record; /* its data as a tree: grows by what the event brings */
	struct cl_version former; /* of the Task; version 0 when it starts */
	struct cl_json *task; /* the Task as it will be; until then as it was or as the client sent it */
	const struct cl_json *former_task; /* parsed former body when `task` is not it; else NULL */
	int from, target; /* states; from is -1 at the start or when the machine lost it */
	const struct cl_transition_rule *transition; /* NULL: start, overdue, forced, migrate */
	struct cl_str event;
	struct cl_json *data; /* object or NULL: what the event brought */
	struct cl_str on_behalf_of, source;
	cl_instant occurred;
	struct cl_duration clock; /* amount 0: what the target state says; cl_clock_find fills it in */
	cl_instant due; /* end of the clock, by cl_clock_find; 0 in a final state */
	bool keeps_clock; /* the former clock goes on */
	bool by_clock; /* a clock fired the event */
	bool by_link; /* a reply link did */
	bool imported; /* it began elsewhere, before it stood here */
	/* An undo: sequence of what it takes back, and the clock and entry of before. 0: it is none. */
	uint64_t undoes;
	cl_instant restored_due, restored_entered;
	bool bare; /* `data` stands in the history only: the record is as it will be */
	struct cl_str before; /* what an undo needs to come back (instance_advance.c) */
	uint64_t sequence; /* of the transition, once it is written */
	struct cl_str timer_data; /* JSON for the clock's timer; empty: "{}" */
	bool trusted; /* `task` holds nothing that a client sent */
	bool stays; /* the clock ran out and starts again: the state is not entered anew */
	bool quiet; /* neither effect nor enter runs: the machine moved, not the instance */
};

/* ---- instance.c ---- */
/* Finds instance, machine, state, Task. CL_E_NOT_FOUND when the Task is no instance; CL_E_RULE when its machine is
 * gone. */
int cl_move_load(struct cl_unit *unit, struct cl_str task, struct cl_move *move, struct cl_err *e);
struct cl_str cl_record_party(const struct cl_workflow *workflow, const struct cl_json *record);
struct cl_str cl_record_partner(const struct cl_json *record);
/* "Organization/lakeside" of a partner by the organization's configuration; empty when none is stated. */
struct cl_str cl_partner_reference(const struct cl_unit *unit, struct cl_str partner);
/* "Task/x (referral) is in state received": how every refusal begins. */
struct cl_str cl_move_place(struct cl_unit *unit, const struct cl_move *move);
/* The local roles that stand for a role or a party: the party's own when this organization is it, else those of its own
 * side, who have to ask the partner. At least one, unless the workflow names none. */
struct cl_roles {
	const struct cl_str *items;
	size_t count;
	bool is_partner; /* the name is the other side's */
};
struct cl_roles cl_local_roles(const struct cl_workflow *workflow, const struct cl_json *record,
                               const struct cl_str *name);
/* "recipient or clock" */
struct cl_str cl_transition_by(struct cl_arena *arena, const struct cl_state_rule *state,
                               const struct cl_transition_rule *transition);
/* CL_E_RULE that names the state and what is legal from it. */
int cl_move_refuse_event(struct cl_unit *unit, const struct cl_move *move, struct cl_err *e);

/* ---- instance_party.c ---- */
bool cl_move_may(const struct cl_unit *unit, const struct cl_move *move, const struct cl_transition_rule *transition);
int cl_move_refuse_actor(struct cl_unit *unit, const struct cl_move *move, const struct cl_transition_rule *transition,
                         struct cl_err *e);
/* ---- instance_data.c ---- */
int cl_needs_check(const struct cl_transition_rule *transition, const struct cl_json *data, struct cl_err *e);
/* The value[x] of a Task.input or Parameters.parameter; NULL when there is none. */
struct cl_json *cl_value_of(const struct cl_json *element);
/* As data holds it: a Reference becomes its text, a Coding or CodeableConcept its code. */
struct cl_json cl_plain_value(const struct cl_json *value);

/* ---- instance_advance.c ---- */
/* Checks everything that can be refused before anything is written: actor, data, guard. */
int cl_move_check(struct cl_unit *unit, struct cl_move *move, bool by_clock, struct cl_err *e);
/* Writes Task, instance, transition and timers, then runs effect and enter. */
int cl_move_apply(struct cl_unit *unit, struct cl_move *move, struct cl_version *out, struct cl_issues *issues,
                  struct cl_err *e);

/* An instance that should never have begun: the Task (as it stands in `move`) is written, the rest taken away. */
int cl_move_withdraw(struct cl_unit *unit, struct cl_move *move, struct cl_err *e);

/* ---- instance_task.c ---- */
/* Writes into the Task what the state says: status, businessStatus, owner, due, times. */
void cl_task_enter(struct cl_unit *unit, struct cl_move *move, cl_instant due);
/* A Task.restriction.period.end, or none for 0. */
void cl_task_set_due(struct cl_unit *unit, struct cl_json *task, cl_instant due);

/* ---- instance_clock.c ---- */
/* Finds out when the clock of the target state ends (move->due); the record holds what the event brought. CL_E_RULE when
 * it hangs on data that are not there. */
int cl_clock_find(struct cl_unit *unit, struct cl_move *move, struct cl_err *e);
/* Sets the clock and the reminders of the state that was entered, clears those of the former one. */
int cl_clock_set_timers(struct cl_unit *unit, struct cl_move *move, struct cl_err *e);
/* ---- instance_escalation.c ---- */
/* The clock has run out, `fired` times before: a Task for the role that is to look at it, and the clock starts again. */
int cl_escalate(struct cl_unit *unit, struct cl_move *move, int64_t fired, struct cl_err *e);
/* Completes the Tasks with these ids, which asked somebody to look at the instance, once it has moved. */
int cl_escalations_close(struct cl_unit *unit, const struct cl_move *move, const struct cl_json *ids, struct cl_err *e);

/* ---- instance_update.c ---- */
/* A plain FHIR update of an instance's Task. `resource` is what the client wants. */
int cl_instance_update(struct cl_unit *unit, struct cl_json *resource, struct cl_version *out, struct cl_issues *issues,
                       struct cl_err *e);
