/* flow_fixture.c: see flow_fixture.h. */
#include "support/flow_fixture.h"
#include "base/date.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- the fake script --------------------------------------------------------------------------------------------- */

static void note_call(struct flow_fixture *f, bool guard, int function, struct cl_str task,
                      const struct cl_json *resource)
{
	if (f->call_count == sizeof f->calls / sizeof *f->calls)
		return;
	struct flow_call *call = &f->calls[f->call_count++];
	call->guard = guard;
	call->function = function;
	snprintf(call->task, sizeof call->task, "%.*s", CL_STR_ARGS(task));
	snprintf(call->status, sizeof call->status, "%.*s", CL_STR_ARGS(cl_json_get_text(resource, "status")));
}

static int guard(void *context, struct cl_unit *unit, int function, struct cl_str task, const struct cl_json *resource,
                 const struct cl_json *data, struct cl_err *e)
{
	struct flow_fixture *f = context;
	(void)unit;
	(void)data;
	note_call(f, true, function, task, resource);
	return function == f->refusing_guard ? cl_fail(e, CL_E_RULE, "the guard says no") : 0;
}

static int effect(void *context, struct cl_unit *unit, int function, struct cl_str task, const struct cl_json *resource,
                  const struct cl_json *data, struct cl_err *e)
{
	struct flow_fixture *f = context;
	(void)data;
	note_call(f, false, function, task, resource);
	if (function == f->failing_effect)
		return cl_fail(e, CL_E_PLUGIN, "the effect fails");
	if (function == f->updating_effect) {
		struct cl_json *copy = cl_json_copy(unit->arena, resource);
		cl_json_set_text(unit->arena, copy, "description", CL_STR("written by an effect"));
		return cl_change_update(unit, copy, 0, NULL, NULL, e);
	}
	return 0;
}

static int metric(void *context, struct cl_unit *unit, int function, cl_instant from, cl_instant to, double *numerator,
                  double *denominator, int64_t *cases, struct cl_err *e)
{
	(void)cases;
	struct flow_fixture *f = context;
	(void)unit;
	(void)function;
	(void)from;
	(void)to;
	(void)e;
	*numerator = f->metric_numerator;
	*denominator = f->metric_denominator;
	return 0;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static void fail_with(struct flow_fixture *f, const char *what)
{
	fail_msg("%s: code %d: %s [%s]", what, f->e.code, f->e.message, f->e.where);
}

cl_instant flow_instant(const char *text)
{
	struct cl_moment moment;
	struct cl_err e = {0};
	if (cl_moment_parse(cl_str_of(text), 0, &moment, &e))
		fail_msg("%s: %s", text, e.message);
	return moment.lower;
}

void flow_open(struct flow_fixture *f)
{
	*f = (struct flow_fixture){0};
	f->refusing_guard = f->failing_effect = f->updating_effect = -1;
	strcpy(f->folder, "/tmp/careloop-flow-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->lasting = cl_arena_new(0);
	f->arena = cl_arena_new(0);
	f->script = (struct cl_script){.context = f, .guard = guard, .effect = effect, .metric = metric};
	if (cl_zone_open("America/Chicago", &f->zone, &f->e) ||
	    cl_store_open(f->folder, "org", CL_STORE_WRITER, &f->store, &f->e))
		fail_with(f, "open");
	int64_t *holidays = CL_NEW_ARRAY(f->lasting, int64_t, 4);
	holidays[0] = cl_date_to_days((struct cl_date){2026, 11, 26});
	holidays[1] = cl_date_to_days((struct cl_date){2026, 12, 25});
	holidays[2] = cl_date_to_days((struct cl_date){2027, 1, 1});
	f->facts = (struct cl_organization_facts){
	        .id = CL_STR("riverside"),
	        .name = CL_STR("Riverside"),
	        .reference = CL_STR("Organization/riverside"),
	        .calendar = {.zone = f->zone, .holidays = holidays, .holiday_count = 3},
	        .config = flow_json(f, "{\"partners\":{\"lakeside\":{\"reference\":\"Organization/lakeside\"},"
	                               "\"hillside\":{\"reference\":\"Organization/hillside\"}}}"),
	};
	f->facts.config = cl_json_copy(f->lasting, f->facts.config);
	flow_words(f, "lakeside hillside", &f->facts.partners, &f->facts.partner_count);
	f->catalog.hash = CL_STR("0123456789abcdef");
	f->catalog.workflows = CL_NEW_ARRAY(f->lasting, struct cl_workflow, 8);
	f->catalog.metrics = CL_NEW_ARRAY(f->lasting, struct cl_metric, 16);
	f->catalog.views = CL_NEW_ARRAY(f->lasting, struct cl_view, 8);
	f->catalog.roles = CL_NEW_ARRAY(f->lasting, struct cl_role_rule, 16);
	flow_at(f, "2026-11-02T09:00:00-06:00");
	flow_as(f, "desk", "person", "front_desk");
}

void flow_close(struct flow_fixture *f)
{
	char command[128];
	cl_store_close(f->store);
	cl_zone_free(f->zone);
	cl_arena_free(f->arena);
	cl_arena_free(f->lasting);
	free(f->fired);
	snprintf(command, sizeof command, "rm -rf %s", f->folder);
	assert_int_equal(system(command), 0);
}

void flow_at(struct flow_fixture *f, const char *text)
{
	f->now = flow_instant(text);
}

void flow_as(struct flow_fixture *f, const char *name, const char *kind, const char *roles)
{
	f->actor = (struct cl_actor){.name = flow_text(f, name), .kind = flow_text(f, kind)};
	flow_words(f, roles, &f->actor.roles, &f->actor.role_count);
	char reference[64];
	if (!strcmp(kind, "partner") || !strcmp(kind, "person")) {
		snprintf(reference, sizeof reference, "%s/%s",
		         strcmp(kind, "partner") ? "Practitioner" : "Organization", name);
		f->actor.reference = flow_text(f, reference);
	}
}

static void begin_unit(struct flow_fixture *f, struct cl_str kind, struct cl_str key)
{
	struct cl_stored_event event = {
	        .at = f->now, .kind = kind, .actor = f->actor.name, .key = key, .outcome = CL_STR("ok")};
	if (cl_store_event_append(f->store, &event, &f->e))
		fail_with(f, "event");
	cl_unit_begin(&f->unit, f->store, f->arena, &f->catalog, &f->facts, &f->script, f->now);
	f->unit.actor = f->actor;
	f->unit.key = key;
	f->unit.cause = event.sequence;
	f->unit.rule = CL_STR("test");
	cl_issues_init(&f->issues, f->arena, 0);
}

struct cl_unit *flow_begin(struct flow_fixture *f)
{
	f->e = (struct cl_err){0};
	cl_arena_reset(f->arena);
	if (cl_store_begin(f->store, &f->e))
		fail_with(f, "begin");
	begin_unit(f, CL_STR("request"), cl_arena_printf(f->arena, "request-%llu", (unsigned long long)++f->inputs));
	return &f->unit;
}

void flow_commit(struct flow_fixture *f)
{
	if (cl_store_commit(f->store, &f->e))
		fail_with(f, "commit");
	cl_store_assert_idle(f->store);
}

void flow_rollback(struct flow_fixture *f)
{
	cl_store_rollback(f->store);
	cl_store_assert_idle(f->store);
}

static void note_fired(struct flow_fixture *f, const struct cl_stored_timer *timer)
{
	if (f->fired_count == f->fired_capacity) {
		f->fired_capacity = f->fired_capacity ? 2 * f->fired_capacity : 256;
		f->fired = realloc(f->fired, f->fired_capacity * sizeof *f->fired);
		assert_non_null(f->fired);
	}
	struct flow_fired *fired = &f->fired[f->fired_count++];
	snprintf(fired->name, sizeof fired->name, "%.*s#%lld", CL_STR_ARGS(timer->name), (long long)timer->generation);
	fired->due = timer->due;
	fired->at = f->now;
}

void flow_advance_to(struct flow_fixture *f, cl_instant until)
{
	struct cl_actor actor = f->actor;
	f->actor = (struct cl_actor){.name = CL_STR("clock"), .kind = CL_STR("system")};
	f->e = (struct cl_err){0};
	for (cl_instant next; (next = cl_store_timer_next(f->store)) <= until;) {
		struct cl_timer_list due;
		if (next > f->now)
			f->now = next;
		cl_arena_reset(f->arena);
		if (cl_store_begin(f->store, &f->e) || cl_store_timers_due(f->store, f->arena, f->now, 1, &due, &f->e))
			fail_with(f, "timers");
		assert_int_equal(due.count, 1);
		struct cl_stored_timer *timer = &due.items[0];
		note_fired(f, timer);
		begin_unit(
		        f, CL_STR("timer"),
		        cl_arena_printf(f->arena, "%.*s#%lld", CL_STR_ARGS(timer->name), (long long)timer->generation));
		if (cl_store_timer_fired(f->store, timer->name, timer->generation, &f->e) ||
		    cl_instance_timer(&f->unit, timer, &f->e))
			fail_with(f, "timer");
		flow_commit(f);
	}
	f->now = until;
	f->actor = actor;
}

/* ---- the catalog ------------------------------------------------------------------------------------------------- */

struct cl_str flow_text(struct flow_fixture *f, const char *text)
{
	return cl_arena_copy(f->lasting, cl_str_of(text));
}

void flow_words(struct flow_fixture *f, const char *text, struct cl_str **out, size_t *count)
{
	*out = CL_NEW_ARRAY(f->lasting, struct cl_str, 16);
	*count = 0;
	while (*text) {
		size_t n = strcspn(text, " ");
		if (n)
			(*out)[(*count)++] = cl_arena_copy(f->lasting, (struct cl_str){text, n});
		text += n + (text[n] == ' ');
	}
}

void flow_roles(struct flow_fixture *f, const char *roles)
{
	struct cl_str *words;
	size_t count;
	flow_words(f, roles, &words, &count);
	for (size_t i = 0; i < count; i++)
		f->catalog.roles[f->catalog.role_count++].name = words[i];
}

struct cl_workflow *flow_workflow(struct flow_fixture *f, const char *name, const char *subject)
{
	struct cl_workflow *w = &f->catalog.workflows[f->catalog.workflow_count++];
	w->name = flow_text(f, name);
	w->subject = flow_text(f, subject);
	w->states = CL_NEW_ARRAY(f->lasting, struct cl_state_rule, FLOW_STATES);
	w->parties = CL_NEW_ARRAY(f->lasting, struct cl_party, 4);
	w->migrate = CL_NEW_ARRAY(f->lasting, struct cl_state_map, 8);
	w->origin = (struct cl_origin){flow_text(f, name), CL_STR("plugin.lua"), 1};
	return w;
}

struct cl_duration flow_duration(const char *text)
{
	struct cl_duration duration = {0};
	struct cl_err e = {0};
	if (*text && cl_duration_parse(cl_str_of(text), &duration, &e))
		fail_msg("%s", e.message);
	return duration;
}

struct cl_state_rule *flow_state(struct flow_fixture *f, struct cl_workflow *w, const char *name, const char *status,
                                 const char *owner, const char *within)
{
	struct cl_state_rule *state = &w->states[w->state_count++];
	state->name = flow_text(f, name);
	state->status = flow_text(f, status);
	if (state->status.n && state->status.p[state->status.n - 1] == '!') {
		state->status.n--;
		state->final = true;
	}
	state->business_system = cl_arena_printf(f->lasting, "urn:careloop:%.*s", CL_STR_ARGS(w->name));
	state->business_code = state->name;
	state->owner = flow_text(f, owner);
	state->within = flow_duration(within);
	state->transitions = CL_NEW_ARRAY(f->lasting, struct cl_transition_rule, FLOW_TRANSITIONS);
	state->reminders = CL_NEW_ARRAY(f->lasting, struct cl_reminder, 4);
	state->origin = (struct cl_origin){w->name, CL_STR("plugin.lua"), (int)(10 * w->state_count)};
	return state;
}

static struct cl_state_rule *state_named(struct cl_workflow *w, const char *name)
{
	int state = cl_workflow_state(w, cl_str_of(name));
	if (state < 0)
		fail_msg("no state %s", name);
	return &w->states[state];
}

struct cl_transition_rule *flow_on(struct flow_fixture *f, struct cl_workflow *w, const char *from, const char *event,
                                   const char *to, const char *by)
{
	struct cl_state_rule *state = state_named(w, from);
	struct cl_transition_rule *transition = &state->transitions[state->transition_count++];
	assert_true(state->transition_count <= FLOW_TRANSITIONS);
	transition->event = flow_text(f, event);
	transition->target = (uint16_t)(state_named(w, to) - w->states);
	flow_words(f, by, &transition->by, &transition->by_count);
	transition->needs = CL_NEW_ARRAY(f->lasting, struct cl_needed, 8);
	transition->origin =
	        (struct cl_origin){w->name, CL_STR("plugin.lua"), state->origin.line + (int)state->transition_count};
	return transition;
}

struct cl_needed *flow_need(struct flow_fixture *f, struct cl_transition_rule *transition, const char *name,
                            const char *type)
{
	struct cl_needed *need = &transition->needs[transition->need_count++];
	need->name = flow_text(f, name);
	need->type = flow_text(f, type);
	return need;
}

void flow_party(struct flow_fixture *f, struct cl_workflow *w, const char *name, const char *roles)
{
	struct cl_party *party = &w->parties[w->party_count++];
	party->name = flow_text(f, name);
	flow_words(f, roles, &party->roles, &party->role_count);
}

void flow_recorders(struct flow_fixture *f, struct cl_workflow *w, const char *roles)
{
	flow_words(f, roles, &w->recorders, &w->recorder_count);
}

void flow_remind(struct flow_fixture *f, struct cl_workflow *w, const char *state, const char *before, const char *to)
{
	struct cl_state_rule *rule = state_named(w, state);
	rule->reminders[rule->reminder_count++] =
	        (struct cl_reminder){.before = flow_duration(before), .to = flow_text(f, to)};
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static struct cl_str keep(struct flow_fixture *f, struct cl_str text)
{
	return cl_arena_copy(f->lasting, text);
}

struct cl_str flow_start(struct flow_fixture *f, const char *workflow, const char *state, const char *party,
                         const char *partner)
{
	struct cl_version version;
	const struct cl_workflow *w = cl_catalog_workflow(&f->catalog, cl_str_of(workflow));
	struct cl_unit *unit = flow_begin(f);
	struct cl_start start = {
	        .workflow = cl_str_of(workflow),
	        .state = cl_str_of(state),
	        .focus = w && w->subject.n ? cl_arena_printf(f->arena, "%.*s/p", CL_STR_ARGS(w->subject)) : CL_STR_NONE,
	        .patient = CL_STR("Patient/p"),
	        .party = cl_str_of(party),
	        .partner = cl_str_of(partner),
	};
	if (cl_instance_start(unit, &start, &version, &f->issues, &f->e))
		fail_with(f, "start");
	struct cl_str id = keep(f, version.id);
	flow_commit(f);
	return id;
}

static int advance(struct flow_fixture *f, struct cl_str task, const char *event, const char *data_json)
{
	struct cl_version version;
	struct cl_unit *unit = flow_begin(f);
	struct cl_advance move = {.task = task, .event = cl_str_of(event)};
	if (data_json)
		move.data = flow_json(f, data_json);
	return cl_instance_advance(unit, &move, &version, &f->issues, &f->e);
}

void flow_move(struct flow_fixture *f, struct cl_str task, const char *event, const char *data_json)
{
	if (advance(f, task, event, data_json))
		fail_with(f, event);
	flow_commit(f);
}

void flow_refuse(struct flow_fixture *f, struct cl_str task, const char *event, const char *data_json, int code,
                 const char *words)
{
	uint64_t before = cl_store_last_sequence(f->store);
	int result = advance(f, task, event, data_json);
	if (result != code)
		fail_msg("%s: %d instead of %d: %s", event, result, code, f->e.message);
	/* Only the input event of the step itself was written: refusals come before anything else. */
	assert_int_equal(cl_store_last_sequence(f->store), before + 1);
	flow_contains(cl_str_of(f->e.message), words);
	struct cl_err e = f->e;
	flow_rollback(f);
	f->e = e;
}

struct cl_stored_instance flow_instance(struct flow_fixture *f, struct cl_str task)
{
	struct cl_stored_instance instance = {0};
	if (cl_store_instance_get(f->store, f->arena, task, &instance, &f->e))
		fail_with(f, "instance");
	return instance;
}

void flow_is_in(struct flow_fixture *f, struct cl_str task, const char *state)
{
	flow_text_is(flow_instance(f, task).state, state);
}

struct cl_json *flow_json(struct flow_fixture *f, const char *text)
{
	struct cl_json *value;
	if (cl_json_parse(f->arena, cl_arena_copy(f->arena, cl_str_of(text)), NULL, &value, &f->e))
		fail_with(f, text);
	return value;
}

struct cl_json *flow_read(struct flow_fixture *f, uint16_t type, struct cl_str id)
{
	struct cl_version version;
	struct cl_json *value = NULL;
	if (cl_store_get(f->store, f->arena, type, id, &version, &f->e) ||
	    cl_json_parse(f->arena, version.body, NULL, &value, &f->e))
		fail_with(f, "read");
	return value;
}

size_t flow_count(struct flow_fixture *f, uint16_t type, const char *words)
{
	struct cl_query query = {.type = type, .limit = 10000, .bodies = true};
	struct cl_search_result result;
	struct cl_arena *arena = cl_arena_new(0);
	size_t count = 0;
	if (cl_store_search(f->store, arena, &query, &result, &f->e))
		fail_with(f, "search");
	for (size_t i = 0; i < result.count; i++)
		count += !words || memmem(result.items[i].body.p, result.items[i].body.n, words, strlen(words)) != NULL;
	cl_arena_free(arena);
	return count;
}

void flow_valid(struct flow_fixture *f, const struct cl_json *resource)
{
	struct cl_issues issues;
	cl_issues_init(&issues, f->arena, 0);
	if (cl_fhir_validate(f->arena, resource, CL_STR_NONE, &issues))
		fail_msg("%.*s: %.*s", CL_STR_ARGS(issues.items[0].expression),
		         CL_STR_ARGS(issues.items[0].diagnostics));
}

void flow_contains(struct cl_str text, const char *words)
{
	if (!memmem(text.p ? text.p : "", text.n, words, strlen(words)))
		fail_msg("'%s' is not in: %.*s", words, CL_STR_ARGS(text));
}

void flow_text_is(struct cl_str text, const char *expected)
{
	if (!cl_str_is(text, expected))
		fail_msg("'%.*s' instead of '%s'", CL_STR_ARGS(text), expected);
}
