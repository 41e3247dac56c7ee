/* machine_check.c: principle 5: nothing falls through. Every defect of a machine is named with its place in the
 * plugin. */
#include "org/flow/catalog.h"
#include <stdio.h>
#include <stdlib.h>

/* FHIR R4 value set task-status. */
static const char *const task_statuses[] = {
        "draft",     "requested",   "received", "accepted", "rejected",  "ready",
        "cancelled", "in-progress", "on-hold",  "failed",   "completed", "entered-in-error",
};

struct report {
	struct cl_buf *all;
	struct cl_err *e;
	bool failed;
};

static void report_problem(struct report *report, const struct cl_origin *origin, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static void report_problem(struct report *report, const struct cl_origin *origin, const char *format, ...)
{
	char text[400];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (report->all)
		cl_buf_printf(report->all, "plugin %.*s, %.*s:%d: %s\n", CL_STR_ARGS(origin->plugin),
		              CL_STR_ARGS(origin->file), origin->line, text);
	if (report->failed)
		return;
	report->failed = true;
	cl_fail(report->e, CL_E_PLUGIN, "plugin %.*s: %s", CL_STR_ARGS(origin->plugin), text);
	cl_fail_at(report->e, "%.*s:%d", CL_STR_ARGS(origin->file), origin->line);
	if (report->e)
		report->e->line = origin->line;
}

/* ---- what one state says ----------------------------------------------------------------------------------------- */

struct checked {
	struct report *report;
	const struct cl_catalog *catalog; /* NULL: names of roles are not looked at */
	const struct cl_workflow *workflow;
	const struct cl_state_rule *state;
};

#define AT "workflow '%.*s', state '%.*s': "
#define AT_ARGS(c) CL_STR_ARGS((c)->workflow->name), CL_STR_ARGS((c)->state->name)

static bool is_known_name(const struct checked *c, struct cl_str name)
{
	return !c->catalog || cl_workflow_party(c->workflow, name) || cl_catalog_has_role(c->catalog, name);
}

static void check_name(const struct checked *c, const struct cl_origin *origin, const char *what, struct cl_str name)
{
	if (name.n && !is_known_name(c, name))
		report_problem(c->report, origin, AT "%s '%.*s' is neither a role nor a party", AT_ARGS(c), what,
		               CL_STR_ARGS(name));
}

static bool is_fired_by_clock(const struct cl_state_rule *state, const struct cl_transition_rule *transition)
{
	for (size_t i = 0; i < transition->by_count; i++)
		if (cl_str_is(transition->by[i], "clock"))
			return true;
	return cl_state_clock_fires(state, transition->event);
}

static bool can_be_filled_in(const struct cl_needed *need)
{
	return need->optional || (cl_str_is(need->name, "reason") &&
	                          (!need->type.n || cl_str_is(need->type, "string") || cl_str_is(need->type, "code")));
}

/* The event that a clock fires must exist and need nothing that only a person knows. */
static void check_clock_event(const struct checked *c, const char *what, struct cl_str event)
{
	if (!event.n)
		return;
	const struct cl_transition_rule *transition = cl_state_transition(c->state, event);
	if (!transition) {
		report_problem(c->report, &c->state->origin, AT "%s fires '%.*s', which is no event of the state",
		               AT_ARGS(c), what, CL_STR_ARGS(event));
		return;
	}
	for (size_t i = 0; i < transition->need_count; i++)
		if (!can_be_filled_in(&transition->needs[i]))
			report_problem(c->report, &transition->origin,
			               AT "the clock fires '%.*s' and cannot give its '%.*s'", AT_ARGS(c),
			               CL_STR_ARGS(event), CL_STR_ARGS(transition->needs[i].name));
}

static void check_clock(const struct checked *c)
{
	const struct cl_state_rule *state = c->state;
	const struct cl_origin *origin = &state->origin;
	if (state->within.amount <= 0 && state->clock.kind == CL_CLOCK_FIXED)
		report_problem(c->report, origin, AT "no clock: say `within`", AT_ARGS(c));
	for (size_t i = 0; i < state->clock.tier_count; i++)
		if (state->clock.tiers[i].within.amount <= 0)
			report_problem(c->report, origin, AT "the time for '%.*s' runs backwards", AT_ARGS(c),
			               CL_STR_ARGS(state->clock.tiers[i].value));
	if (state->clock.otherwise.amount < 0)
		report_problem(c->report, origin, AT "`otherwise` runs backwards", AT_ARGS(c));
	if (state->again.amount < 0)
		report_problem(c->report, origin, AT "`again` runs backwards", AT_ARGS(c));
	check_clock_event(c, "the clock", state->overdue_event);
	check_clock_event(c, "the last escalation", state->finally_event);
	if (!state->overdue_event.n && state->times > 0 && !state->finally_event.n)
		report_problem(c->report, origin, AT "escalates %d times and then stops: say `finally`", AT_ARGS(c),
		               state->times);
	if (!state->overdue_event.n && state->times <= 0 && state->finally_event.n)
		report_problem(c->report, origin, AT "'%.*s' would never be fired: say `times`", AT_ARGS(c),
		               CL_STR_ARGS(state->finally_event));
	check_name(c, origin, "escalation to", state->escalate_to);
	for (size_t i = 0; i < state->reminder_count; i++) {
		if (state->reminders[i].before.amount <= 0 && state->reminders[i].after.amount <= 0)
			report_problem(c->report, origin, AT "a reminder must come before the clock ends", AT_ARGS(c));
		check_clock_event(c, "a reminder", state->reminders[i].event);
		check_name(c, origin, "reminder to", state->reminders[i].to);
	}
}

static void check_transitions(const struct checked *c)
{
	const struct cl_state_rule *state = c->state;
	for (size_t i = 0; i < state->transition_count; i++) {
		const struct cl_transition_rule *transition = &state->transitions[i];
		if (transition->target >= c->workflow->state_count)
			report_problem(c->report, &transition->origin,
			               AT "event '%.*s' leads to a state that does not exist", AT_ARGS(c),
			               CL_STR_ARGS(transition->event));
		if (cl_state_transition(state, transition->event) != transition)
			report_problem(c->report, &transition->origin, AT "event '%.*s' is declared twice", AT_ARGS(c),
			               CL_STR_ARGS(transition->event));
		for (size_t k = 0; k < transition->by_count; k++)
			if (!cl_str_is(transition->by[k], "clock"))
				check_name(c, &transition->origin, "`by`", transition->by[k]);
		for (size_t k = 0; k < transition->need_count; k++)
			if (cl_str_is(transition->needs[k].name, "party") ||
			    cl_str_is(transition->needs[k].name, "partner") ||
			    cl_str_is(transition->needs[k].name, "escalations"))
				report_problem(c->report, &transition->origin,
				               AT "data named '%.*s' is the core's own: choose another name",
				               AT_ARGS(c), CL_STR_ARGS(transition->needs[k].name));
	}
}

/* May somebody of this organization, being `party` (NULL: the workflow has none), fire it without the other side? */
static bool fires_alone(const struct checked *c, const struct cl_transition_rule *transition,
                        const struct cl_party *party)
{
	if (is_fired_by_clock(c->state, transition) || c->workflow->recorder_count)
		return true;
	size_t count = transition->by_count ? transition->by_count : 1;
	const struct cl_str *names = transition->by_count ? transition->by : &c->state->owner;
	for (size_t i = 0; i < count; i++) {
		const struct cl_party *named = cl_workflow_party(c->workflow, names[i]);
		if (!named || named == party)
			return true;
	}
	return false;
}

static bool has_exit(const struct checked *c, const struct cl_party *party)
{
	for (size_t i = 0; i < c->state->transition_count; i++) {
		const struct cl_transition_rule *transition = &c->state->transitions[i];
		if (&c->workflow->states[transition->target] != c->state && fires_alone(c, transition, party))
			return true;
	}
	return false;
}

/* Most partners never log in (domain.md section 0 row 13): each side needs a way on that it can take alone. */
static void check_exits(const struct checked *c)
{
	for (size_t i = 0; i < c->workflow->party_count; i++)
		if (!has_exit(c, &c->workflow->parties[i]))
			report_problem(c->report, &c->state->origin,
			               AT "the side '%.*s' cannot leave it alone: let a clock fire an event "
			                  "(`finally`), or name `recorders`",
			               AT_ARGS(c), CL_STR_ARGS(c->workflow->parties[i].name));
}

static bool is_task_status(struct cl_str status)
{
	for (size_t i = 0; i < sizeof task_statuses / sizeof *task_statuses; i++)
		if (cl_str_is(status, task_statuses[i]))
			return true;
	return false;
}

static void check_state(const struct checked *c, bool targets_exist)
{
	const struct cl_state_rule *state = c->state;
	const struct cl_origin *origin = &state->origin;
	if (cl_workflow_state(c->workflow, state->name) != (int)(state - c->workflow->states))
		report_problem(c->report, origin, AT "declared twice", AT_ARGS(c));
	if (!is_task_status(state->status))
		report_problem(c->report, origin, AT "status '%.*s' is no status of a FHIR R4 Task", AT_ARGS(c),
		               CL_STR_ARGS(state->status));
	check_transitions(c);
	if (state->final) {
		if (state->transition_count)
			report_problem(c->report, origin, AT "is final and has events: nothing may follow", AT_ARGS(c));
		return;
	}
	if (!state->owner.n)
		report_problem(c->report, origin, AT "no owner: who has the next action?", AT_ARGS(c));
	check_name(c, origin, "owner", state->owner);
	check_clock(c);
	if (targets_exist)
		check_exits(c);
}

/* ---- what the states say together -------------------------------------------------------------------------------- */

static bool targets_exist(const struct cl_workflow *workflow)
{
	for (size_t s = 0; s < workflow->state_count; s++)
		for (size_t i = 0; i < workflow->states[s].transition_count; i++)
			if (workflow->states[s].transitions[i].target >= workflow->state_count)
				return false;
	return true;
}

/* Spreads marks along the transitions until nothing changes: forwards from the start, or backwards from the final
 * states. */
static void spread(const struct cl_workflow *workflow, bool *marked, bool backwards)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (size_t s = 0; s < workflow->state_count; s++)
			for (size_t i = 0; i < workflow->states[s].transition_count; i++) {
				size_t from = s, to = workflow->states[s].transitions[i].target;
				bool *next = backwards ? &marked[from] : &marked[to];
				bool spreads = (backwards ? marked[to] : marked[from]) && !*next;
				*next |= spreads;
				changed |= spreads;
			}
	}
}

static void check_paths(struct report *report, const struct cl_workflow *workflow)
{
	bool *reached = calloc(workflow->state_count * 2, sizeof *reached), *ends = reached + workflow->state_count;
	if (!reached)
		cl_die("out of memory (workflow check)");
	reached[workflow->start] = true;
	for (size_t s = 0; s < workflow->state_count; s++)
		ends[s] = workflow->states[s].final;
	spread(workflow, reached, false);
	spread(workflow, ends, true);
	for (size_t s = 0; s < workflow->state_count; s++) {
		struct checked c = {.workflow = workflow, .state = &workflow->states[s]};
		if (!reached[s])
			report_problem(report, &c.state->origin, AT "cannot be reached from '%.*s'", AT_ARGS(&c),
			               CL_STR_ARGS(workflow->states[workflow->start].name));
		if (!ends[s])
			report_problem(report, &c.state->origin, AT "is a dead end: no way leads to a final state",
			               AT_ARGS(&c));
	}
	free(reached);
}

static void check_workflow(struct report *report, const struct cl_catalog *catalog, const struct cl_workflow *workflow)
{
	if (!workflow->state_count || workflow->start >= workflow->state_count) {
		report_problem(report, &workflow->origin,
		               "workflow '%.*s': no start: say `start = \"state\"` and declare that state",
		               CL_STR_ARGS(workflow->name));
		return;
	}
	bool whole = targets_exist(workflow);
	for (size_t s = 0; s < workflow->state_count; s++) {
		struct checked c = {report, catalog, workflow, &workflow->states[s]};
		check_state(&c, whole);
	}
	for (size_t i = 0; i < workflow->migrate_count; i++)
		if (cl_workflow_state(workflow, workflow->migrate[i].to) < 0)
			report_problem(report, &workflow->origin,
			               "workflow '%.*s': migrates '%.*s' to '%.*s', which does not exist",
			               CL_STR_ARGS(workflow->name), CL_STR_ARGS(workflow->migrate[i].from),
			               CL_STR_ARGS(workflow->migrate[i].to));
	for (size_t i = 0; i < workflow->conflict_count; i++) {
		const struct cl_conflict *conflict = &workflow->conflicts[i];
		if (catalog && conflict->tell.n && !cl_catalog_has_role(catalog, conflict->tell))
			report_problem(report, &conflict->origin, "conflict '%.*s': '%.*s' is no role",
			               CL_STR_ARGS(conflict->name), CL_STR_ARGS(conflict->tell));
	}
	if (whole)
		check_paths(report, workflow);
}

int cl_workflow_check(const struct cl_workflow *workflow, struct cl_buf *all, struct cl_err *e)
{
	struct report report = {.all = all, .e = e};
	check_workflow(&report, NULL, workflow);
	return report.failed ? CL_E_PLUGIN : 0;
}

/* ---- metrics and views ------------------------------------------------------------------------------------------- */

static const struct cl_workflow *check_named_workflow(struct report *report, const struct cl_catalog *catalog,
                                                      const char *what, struct cl_str name, struct cl_str wanted,
                                                      const struct cl_origin *origin)
{
	const struct cl_workflow *workflow = cl_catalog_workflow(catalog, wanted);
	if (!workflow)
		report_problem(report, origin, "%s '%.*s': there is no workflow '%.*s'", what, CL_STR_ARGS(name),
		               CL_STR_ARGS(wanted));
	return workflow;
}

static void check_named_state(struct report *report, const struct cl_workflow *workflow, const char *what,
                              struct cl_str name, struct cl_str state, const struct cl_origin *origin)
{
	if (workflow && state.n && cl_workflow_state(workflow, state) < 0)
		report_problem(report, origin, "%s '%.*s': workflow '%.*s' has no state '%.*s'", what,
		               CL_STR_ARGS(name), CL_STR_ARGS(workflow->name), CL_STR_ARGS(state));
}

static void check_metric(struct report *report, const struct cl_catalog *catalog, const struct cl_metric *metric)
{
	if (metric->measure == CL_MEASURE_FUNCTION)
		return;
	const struct cl_workflow *workflow =
	        check_named_workflow(report, catalog, "metric", metric->name, metric->workflow, &metric->origin);
	check_named_state(report, workflow, "metric", metric->name, metric->cohort_state, &metric->origin);
	check_named_state(report, workflow, "metric", metric->name, metric->from_state, &metric->origin);
	check_named_state(report, workflow, "metric", metric->name, metric->to_state, &metric->origin);
	for (size_t i = 0; i < metric->reached_count; i++)
		check_named_state(report, workflow, "metric", metric->name, metric->reached[i], &metric->origin);
}

static void check_view(struct report *report, const struct cl_catalog *catalog, const struct cl_view *view)
{
	if (!view->workflow.n)
		return;
	const struct cl_workflow *workflow =
	        check_named_workflow(report, catalog, "view", view->name, view->workflow, &view->origin);
	for (size_t i = 0; i < view->state_count; i++)
		check_named_state(report, workflow, "view", view->name, view->states[i], &view->origin);
}

static void check_rule(struct report *report, const struct cl_catalog *catalog, const struct cl_data_rule *rule)
{
	if (rule->tell.n && !cl_catalog_has_role(catalog, rule->tell))
		report_problem(report, &rule->origin, "rule '%.*s': '%.*s' is no role", CL_STR_ARGS(rule->name),
		               CL_STR_ARGS(rule->tell));
	for (size_t i = 0; i < rule->role_count; i++)
		if (!cl_catalog_has_role(catalog, rule->roles[i]))
			report_problem(report, &rule->origin, "rule '%.*s': '%.*s' is no role", CL_STR_ARGS(rule->name),
			               CL_STR_ARGS(rule->roles[i]));
}

int cl_catalog_check(const struct cl_catalog *catalog, struct cl_buf *all, struct cl_err *e)
{
	struct report report = {.all = all, .e = e};
	for (size_t i = 0; i < catalog->workflow_count; i++)
		check_workflow(&report, catalog, &catalog->workflows[i]);
	for (size_t i = 0; i < catalog->metric_count; i++)
		check_metric(&report, catalog, &catalog->metrics[i]);
	for (size_t i = 0; i < catalog->view_count; i++)
		check_view(&report, catalog, &catalog->views[i]);
	for (size_t i = 0; i < catalog->rule_count; i++)
		check_rule(&report, catalog, &catalog->rules[i]);
	return report.failed ? CL_E_PLUGIN : 0;
}
