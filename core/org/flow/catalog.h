/* catalog.h: what the plugins of one organization declare, compiled and checked. Built by the Lua loader, immutable
 * afterwards, replaced as a whole on reload. Function references are opaque numbers that only the lua room
 * understands. */
#pragma once
#include "base/arena.h"
#include "base/json.h"
#include "org/flow/calendar.h"
#include "org/store/query.h"

#define CL_NO_FUNCTION 0

/* Where a declaration stands, for errors and `explain`. */
struct cl_origin {
	struct cl_str plugin;
	struct cl_str file;
	int line;
};

struct cl_needed {
	struct cl_str name;
	struct cl_str type; /* "string" "date" "dateTime" "integer" "boolean" "reference" "choice" "code" */
	struct cl_str *choices; /* type "choice" */
	size_t choice_count;
	bool optional;
	struct cl_str help;
};

/* A clock that depends on the instance. CL_CLOCK_FIXED: the state's `within`. */
enum cl_clock_kind { CL_CLOCK_FIXED = 0, CL_CLOCK_FIELD, CL_CLOCK_TIER, CL_CLOCK_FUNCTION };

struct cl_tier {
	struct cl_str value; /* of the field: "urgent" */
	struct cl_duration within;
};

struct cl_clock_rule {
	uint8_t kind; /* enum cl_clock_kind */
	struct cl_str field; /* of the instance's data. FIELD: a date, dateTime or duration; TIER: one of the values */
	struct cl_duration offset; /* FIELD: added to what the field says; negative for "before" */
	struct cl_duration otherwise; /* when the field says nothing; amount 0: then the move is refused */
	struct cl_tier *tiers;
	size_t tier_count;
	int function; /* (ctx, task, data) -> a duration, dateTime or date */
};

struct cl_transition_rule {
	struct cl_str event; /* "accept" */
	uint16_t target; /* index into states */
	struct cl_str *by; /* roles or parties that may fire it; none = the state's owner. "clock" = timers only */
	size_t by_count;
	struct cl_needed
	        *needs; /* a clock has no data: it fills in a `reason` ("expired"), and the check refuses other needs */
	size_t need_count;
	int guard, effect; /* functions or CL_NO_FUNCTION */
	bool keep_clock; /* the running clock goes on; back to the same state, which is not entered anew then */
	struct cl_str help; /* what it means, for people */
	struct cl_str rule; /* source in a standard: "BSeR TID 02" */
	struct cl_origin origin;
};

struct cl_reminder {
	struct cl_duration before; /* before the clock runs out ... */
	struct cl_duration after; /* ... or after the state was entered; one of the two has an amount */
	struct cl_str to; /* role or party; empty = the owner */
	struct cl_str text; /* words for people; empty = the state's action */
	struct cl_str event; /* fired instead of telling anybody: a second clock of the state */
};

struct cl_state_rule {
	struct cl_str name;
	struct cl_str status; /* Task.status code */
	struct cl_str business_system, business_code, business_display; /* Task.businessStatus.coding */
	struct cl_str *accepts; /* other businessStatus codes that mean this state on input */
	size_t accept_count;
	struct cl_str owner; /* role or party with the next action */
	struct cl_str action; /* the next action, for people */
	bool final;
	struct cl_duration within; /* the clock, when it is the same for every instance */
	struct cl_clock_rule clock;
	struct cl_str within_setting; /* name of the setting it came from, or empty */
	/* When the clock runs out: fire `overdue_event` when not empty; else escalate to `escalate_to` and start the
	 * clock again with `again` (default: within), at most `times` times (0 = without end), then fire
	 * `finally_event` when not empty. A clock's event that its guard refuses escalates instead. An escalate_to that
	 * is empty means the owner. */
	struct cl_str overdue_event;
	struct cl_str escalate_to;
	struct cl_duration again;
	int times;
	struct cl_str finally_event;
	struct cl_reminder *reminders;
	size_t reminder_count;
	struct cl_transition_rule *transitions;
	size_t transition_count;
	int enter; /* function run after entering, or CL_NO_FUNCTION */
	struct cl_origin origin;
};

/* A side of a workflow that two organizations share. */
struct cl_party {
	struct cl_str name; /* "initiator" */
	struct cl_str *roles; /* local roles that act for it when this organization is that party */
	size_t role_count;
};

struct cl_state_map {
	struct cl_str from, to; /* old state name -> new one, for instances in flight */
};

/* Another workflow of the same patient that this one must not run beside unseen. */
enum cl_conflict_action { CL_CONFLICT_REFUSE = 1, CL_CONFLICT_WARN, CL_CONFLICT_ASK };

struct cl_conflict {
	struct cl_str name, summary;
	struct cl_str workflow; /* that declares it */
	struct cl_str with; /* the other one */
	struct cl_str *states; /* of the declaring workflow: only in these; none = in every live one */
	size_t state_count;
	uint8_t action; /* enum cl_conflict_action */
	struct cl_str tell; /* role that gets a Task when it only warns, or empty */
	int when; /* (ctx, own, other) -> is it one?, or CL_NO_FUNCTION: always */
	struct cl_origin origin;
};

struct cl_workflow {
	struct cl_str name, summary;
	struct cl_str subject; /* type of Task.focus; empty = any */
	uint16_t start;
	struct cl_state_rule *states;
	size_t state_count;
	struct cl_party *parties;
	size_t party_count;
	struct cl_str *recorders; /* roles that may record a partner's event on its behalf */
	size_t recorder_count;
	struct cl_conflict *conflicts;
	size_t conflict_count;
	struct cl_state_map *migrate;
	size_t migrate_count;
	bool single; /* at most one live instance for a patient and subject */
	struct cl_origin origin;
};

enum cl_cohort_kind { CL_COHORT_STARTED = 1, CL_COHORT_ENTERED };
enum cl_measure_kind { CL_MEASURE_COUNT = 1, CL_MEASURE_REACHED, CL_MEASURE_ELAPSED, CL_MEASURE_FUNCTION };
enum cl_show { CL_SHOW_PERCENT = 1, CL_SHOW_MEDIAN, CL_SHOW_MEAN, CL_SHOW_P90, CL_SHOW_COUNT, CL_SHOW_SUM };

struct cl_metric {
	struct cl_str name, summary, unit, source, version;
	struct cl_str category; /* "outcomes" "operations" "finance" */
	bool higher_is_better;
	uint8_t cohort; /* enum cl_cohort_kind: whom the month counts */
	struct cl_str workflow;
	struct cl_str cohort_state; /* CL_COHORT_ENTERED */
	uint8_t measure; /* enum cl_measure_kind */
	struct cl_str *reached; /* states that count (CL_MEASURE_REACHED), any of them */
	size_t reached_count;
	struct cl_duration within; /* of the cohort's moment; amount 0 = whenever */
	struct cl_str from_state, to_state; /* CL_MEASURE_ELAPSED: from entering the one to first entering the other */
	uint8_t elapsed_unit; /* enum cl_duration_unit of the value shown */
	uint8_t show; /* enum cl_show */
	int function; /* CL_MEASURE_FUNCTION: (ctx, month) -> { numerator=, denominator= } or { value=, n= } */
	double baseline, target; /* NAN when not stated */
	struct cl_origin origin;
};

enum cl_scoring { CL_SCORING_PROPORTION = 1, CL_SCORING_RATIO, CL_SCORING_CONTINUOUS };
enum cl_measure_span { CL_SPAN_MONTH = 1, CL_SPAN_QUARTER, CL_SPAN_YEAR, CL_SPAN_ROLLING_YEAR };

/* A measure of a population: computed subject by subject from resources, by a plugin's function. */
struct cl_measure {
	struct cl_str name, summary, unit, source, version;
	struct cl_str category; /* "outcomes" "operations" "finance" */
	struct cl_str initial, denominator, exclusions, numerator; /* what each population is, in words */
	struct cl_str counts; /* what one case is: "patients", "discharges" */
	struct cl_str definition; /* hex SHA-256 of all that makes it what it is: another one starts a new series */
	bool higher_is_better;
	uint8_t scoring; /* enum cl_scoring */
	uint8_t show; /* enum cl_show: how the values of CL_SCORING_CONTINUOUS are summed up */
	uint8_t span; /* enum cl_measure_span */
	uint16_t basis; /* resource type of the subjects */
	double scale; /* ratios are multiplied by it: 12,000 for "per 1,000 member-years" of member-months */
	struct cl_str
	        *candidates; /* searches "Type?query"; subjects are those that the hits are or refer to; none = all */
	size_t candidate_count;
	struct cl_str *codes; /* names of code lists without which it cannot be computed */
	size_t code_count;
	int function; /* (ctx, subject, period) -> a case, a list of cases, or nil */
	double baseline, target; /* NAN when not stated */
	struct cl_origin origin;
};

/* A code list that plugins ask by name. The organization may replace its codes by a ValueSet resource with this url. */
struct cl_code_list {
	struct cl_str name, summary, source, version, url;
	struct cl_str *systems, *codes; /* pairs; a code that ends in '*' stands for all that begin so */
	size_t count;
	struct cl_origin origin;
};

struct cl_view {
	struct cl_str name, summary;
	struct cl_str workflow; /* rows are its live instances, when not empty */
	struct cl_str *states; /* only these, when any */
	size_t state_count;
	struct cl_str *columns; /* names of columns */
	size_t column_count;
	int function; /* (ctx) -> array of rows, when no workflow */
	struct cl_str *roles; /* who may see it; none = whoever may search Task */
	size_t role_count;
	struct cl_origin origin;
};

struct cl_handler {
	struct cl_str event; /* "Appointment.noshow" "Task.create" "referral.accepted" */
	struct cl_str plugin;
	struct cl_str after; /* plugin whose handlers of the same event run first */
	int function;
	struct cl_origin origin;
};

struct cl_recurring {
	struct cl_str plugin;
	uint32_t number; /* position in its plugin */
	struct cl_recurrence rule;
	int function;
	struct cl_origin origin;
};

struct cl_receiver {
	struct cl_str event; /* MessageHeader.eventCoding.code */
	struct cl_str plugin;
	int function; /* (ctx, message) */
	struct cl_origin origin;
};

struct cl_timer_handler {
	struct cl_str plugin, key; /* key before the first ":" of ctx:set_timer's key */
	int function;
	struct cl_origin origin;
};

struct cl_operation_rule {
	struct cl_str name; /* "$screen": POST /fhir/$screen or /fhir/Type/id/$screen */
	struct cl_str summary;
	struct cl_str *roles;
	size_t role_count;
	int function; /* (ctx, input, target) -> resource */
	struct cl_origin origin;
};

/* One line of a role: which interactions on which types, under which condition. Compiled further by the access room. */
struct cl_grant {
	struct cl_str name; /* "referral_coordinator#2", shown in audit and `why` */
	struct cl_str interactions; /* words: "read search history create update delete transition" */
	struct cl_str *types; /* "*" = all */
	size_t type_count;
	struct cl_str workflow; /* for "transition"; empty = any */
	struct cl_str where; /* "" = no condition; "care team"; or a search with @self, @organization */
	struct cl_str *except_labels; /* security labels (codes) it does not reach; default: the restricted ones */
	size_t except_count;
	struct cl_origin origin;
};

struct cl_role_rule {
	struct cl_str name, summary;
	struct cl_grant *grants;
	size_t grant_count;
	struct cl_origin origin;
};

/* What is right of data of a kind, or who may write it. Looked at by data_rule.c. */
struct cl_data_rule {
	struct cl_str name, plugin, summary, source;
	struct cl_str of; /* "Observation?code=http://loinc.org|44261-6", as declared */
	uint16_t type;
	const struct cl_criterion *where; /* of `of`; NULL = all of the type */
	int check; /* (ctx, resource, former) -> nothing when right, else words; CL_NO_FUNCTION: none */
	bool flags; /* what is wrong is kept as a DetectedIssue; else it is refused */
	struct cl_str tell; /* role that gets a Task for it, or empty */
	struct cl_str severity; /* of the DetectedIssue: high, moderate, low */
	bool exclusive; /* only `writers` (the plugin and what extends it) and these roles write such resources */
	struct cl_str *writers, *roles;
	size_t writer_count, role_count;
	struct cl_origin origin;
};

struct cl_setting {
	struct cl_str plugin, name, type, help, source;
	struct cl_json *value; /* after the organization's override */
	struct cl_json *standard; /* the plugin's default */
	struct cl_origin origin;
};

struct cl_plugin_info {
	struct cl_str name, summary, folder, hash;
	int api;
};

struct cl_catalog {
	struct cl_str hash; /* of all plugin texts and the organization's configuration, hex */
	struct cl_plugin_info *plugins;
	size_t plugin_count;
	struct cl_workflow *workflows;
	size_t workflow_count;
	struct cl_metric *metrics;
	size_t metric_count;
	struct cl_measure *measures;
	size_t measure_count;
	struct cl_code_list *code_lists;
	size_t code_list_count;
	struct cl_view *views;
	size_t view_count;
	struct cl_handler *handlers;
	size_t handler_count; /* in the order they run */
	struct cl_recurring *recurring;
	size_t recurring_count;
	struct cl_receiver *receivers;
	size_t receiver_count;
	struct cl_timer_handler *timers;
	size_t timer_count;
	struct cl_operation_rule *operations;
	size_t operation_count;
	struct cl_role_rule *roles;
	size_t role_count;
	struct cl_data_rule *rules;
	size_t rule_count;
	struct cl_setting *settings;
	size_t setting_count;
};

struct cl_workflow *cl_catalog_workflow(const struct cl_catalog *catalog, struct cl_str name);
struct cl_metric *cl_catalog_metric(const struct cl_catalog *catalog, struct cl_str name);
/* By its name, or by the id of its Measure resource ("ed-visits" is "ed_visits"). */
struct cl_measure *cl_catalog_measure(const struct cl_catalog *catalog, struct cl_str name);
struct cl_code_list *cl_catalog_code_list(const struct cl_catalog *catalog, struct cl_str name);
/* The value of a plugin's setting, or NULL. */
const struct cl_json *cl_catalog_setting(const struct cl_catalog *catalog, struct cl_str plugin, struct cl_str name);
struct cl_view *cl_catalog_view(const struct cl_catalog *catalog, struct cl_str name);
int cl_workflow_state(const struct cl_workflow *workflow, struct cl_str name); /* -1 when absent */
const struct cl_transition_rule *cl_state_transition(const struct cl_state_rule *state,
                                                     struct cl_str event); /* or NULL */
const struct cl_party *cl_workflow_party(const struct cl_workflow *workflow, struct cl_str name); /* or NULL */
bool cl_catalog_has_role(const struct cl_catalog *catalog, struct cl_str name);

/* Principle 5: unreachable states, dead ends, states without owner or clock, escalation to nobody, states that no local
 * side and no clock can leave alone, unknown targets: each is an error with the plugin's file and line. Fills the first
 * into e and, when `all` is not NULL, every one as a line of text. */
int cl_workflow_check(const struct cl_workflow *workflow, struct cl_buf *all, struct cl_err *e);
/* The same for every workflow of the catalog, and what one workflow alone cannot tell: owners, `by`, escalations and
 * reminders that name neither a role of the catalog nor a party, and metrics and views of workflows or states that do
 * not exist. */
int cl_catalog_check(const struct cl_catalog *catalog, struct cl_buf *all, struct cl_err *e);
/* Mermaid stateDiagram-v2. */
/* Does a clock of the state (overdue, finally, a reminder that fires) fire this event, whoever else may? */
bool cl_state_clock_fires(const struct cl_state_rule *state, struct cl_str event);
/* The state's clock in words: "2 days", "by urgency, emergent 15 minutes, otherwise 2 days". */
void cl_state_clock_write(struct cl_buf *out, const struct cl_state_rule *state);
void cl_workflow_diagram(const struct cl_workflow *workflow, struct cl_buf *out);
