/* flow_fixture.h: a real store in a temporary folder, a virtual clock, a catalog built in C, and a fake cl_script. */
#pragma once
#include "org/flow/instance.h"
#include "org/flow/metric.h"

#define FLOW_STATES 20
#define FLOW_TRANSITIONS 16

struct flow_fired {
	char name[96];
	cl_instant due, at;
};

/* What the fake script was asked, in order. */
struct flow_call {
	bool guard;
	int function;
	char task[40], status[24];
};

struct flow_fixture {
	char folder[64];
	struct cl_store *store;
	struct cl_arena *lasting; /* catalog, facts */
	struct cl_arena *arena; /* of the step; results live until the next flow_begin */
	struct cl_zone *zone;
	struct cl_catalog catalog;
	struct cl_organization_facts facts;
	struct cl_script script;
	struct cl_unit unit;
	struct cl_actor actor;
	struct cl_issues issues;
	struct cl_err e;
	cl_instant now;
	uint64_t inputs;

	struct flow_call calls[64];
	size_t call_count;
	int refusing_guard; /* this function says no */
	int failing_effect; /* this function fails */
	int updating_effect; /* this one writes a note into the Task */
	double metric_numerator, metric_denominator;
	struct flow_fired *fired;
	size_t fired_count, fired_capacity;
};

void flow_open(struct flow_fixture *f);
void flow_close(struct flow_fixture *f);
/* "2026-11-22T09:00:00-06:00" */
cl_instant flow_instant(const char *text);
void flow_at(struct flow_fixture *f, const char *text);
/* Roles separated by spaces. kind "person"; or "partner" with a reference Organization/<name>. */
void flow_as(struct flow_fixture *f, const char *name, const char *kind, const char *roles);
/* Each step of a test is a transaction: begin ... flow_commit, or flow_rollback after a refusal. */
struct cl_unit *flow_begin(struct flow_fixture *f);
void flow_commit(struct flow_fixture *f);
void flow_rollback(struct flow_fixture *f);
/* Goes to `until` and fires timers on the way, one by one, in the order that the store gives. */
void flow_advance_to(struct flow_fixture *f, cl_instant until);

/* ---- the catalog ---- */
struct cl_str flow_text(struct flow_fixture *f, const char *text);
void flow_roles(struct flow_fixture *f, const char *roles);
struct cl_workflow *flow_workflow(struct flow_fixture *f, const char *name, const char *subject);
/* within "" = none. A status of final states ends in '!'. */
struct cl_state_rule *flow_state(struct flow_fixture *f, struct cl_workflow *w, const char *name, const char *status,
                                 const char *owner, const char *within);
/* by "" = the owner; names separated by spaces. */
struct cl_transition_rule *flow_on(struct flow_fixture *f, struct cl_workflow *w, const char *from, const char *event,
                                   const char *to, const char *by);
struct cl_needed *flow_need(struct flow_fixture *f, struct cl_transition_rule *transition, const char *name,
                            const char *type);
void flow_party(struct flow_fixture *f, struct cl_workflow *w, const char *name, const char *roles);
void flow_recorders(struct flow_fixture *f, struct cl_workflow *w, const char *roles);
void flow_remind(struct flow_fixture *f, struct cl_workflow *w, const char *state, const char *before, const char *to);
struct cl_duration flow_duration(const char *text);
void flow_words(struct flow_fixture *f, const char *text, struct cl_str **out, size_t *count);

/* ---- steps: begin, do, commit; they fail the test when they are refused ---- */
/* Starts with a focus and patient "Patient/p"; gives the Task's id. */
struct cl_str flow_start(struct flow_fixture *f, const char *workflow, const char *state, const char *party,
                         const char *partner);
void flow_move(struct flow_fixture *f, struct cl_str task, const char *event, const char *data_json);
/* Must be refused with this code and these words, and leave the file as it was. */
void flow_refuse(struct flow_fixture *f, struct cl_str task, const char *event, const char *data_json, int code,
                 const char *words);
struct cl_stored_instance flow_instance(struct flow_fixture *f, struct cl_str task);
void flow_is_in(struct flow_fixture *f, struct cl_str task, const char *state);
struct cl_json *flow_read(struct flow_fixture *f, uint16_t type, struct cl_str id);
struct cl_json *flow_json(struct flow_fixture *f, const char *text);
/* How many live resources of a type there are whose text contains `words` (NULL = any). */
size_t flow_count(struct flow_fixture *f, uint16_t type, const char *words);
/* Validates against R4; fails the test with the first issue. */
void flow_valid(struct flow_fixture *f, const struct cl_json *resource);
void flow_contains(struct cl_str text, const char *words);
void flow_text_is(struct cl_str text, const char *expected);
