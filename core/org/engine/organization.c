/* organization.c: opening an organization, its timers, and whole steps for tests and tools. */
#include "org/engine/pending.h"
#include "org/engine/run.h"
#include "org/engine/subscribe.h"
#include "org/engine/throttle.h"
#include "base/hash.h"
#include "base/log.h"
#include "org/engine/reindex.h"
#include "org/fhir/types.h"
#include "org/flow/instance.h"
#include "org/flow/subscription.h"
#include <stdlib.h>

#define CL_TIMER_FAILURES 5 /* then the timer is quarantined and waits for a person */

static struct cl_str recurring_name(struct cl_arena *arena, const struct cl_recurring *recurring)
{
	return cl_arena_printf(arena, "every:%.*s:%u", CL_STR_ARGS(recurring->plugin), recurring->number);
}

static const struct cl_recurring *find_recurring(const struct cl_catalog *catalog, struct cl_arena *arena,
                                                 struct cl_str name)
{
	for (size_t i = 0; i < catalog->recurring_count; i++)
		if (cl_str_equal(recurring_name(arena, &catalog->recurring[i]), name))
			return &catalog->recurring[i];
	return NULL;
}

static int set_recurring(struct cl_organization *organization, struct cl_arena *arena,
                         const struct cl_recurring *recurring, cl_instant after, struct cl_err *e)
{
	const struct cl_calendar *calendar = &organization->rules->facts->calendar;
	struct cl_stored_timer timer = {
	        .name = recurring_name(arena, recurring),
	        .due = cl_recurrence_next(calendar, &recurring->rule, after),
	        .plugin = recurring->plugin,
	        .rule = cl_arena_printf(arena, "{\"minute\":%d,\"days\":%u,\"weekday\":%u,\"day\":%u,\"zone\":\"%s\"}",
	                                recurring->rule.minute, recurring->rule.days, recurring->rule.weekday,
	                                recurring->rule.day, cl_zone_name(calendar->zone)),
	        .data = CL_STR("{}"),
	};
	return cl_store_timer_set(organization->store, &timer, e);
}

/* Timers of recurrences follow the rules in force: new ones are set, vanished ones cleared, known ones keep their time. */
static int align_recurring(struct cl_organization *organization, struct cl_arena *arena, cl_instant now, bool reset,
                           struct cl_err *e)
{
	const struct cl_catalog *catalog = organization->rules->catalog;
	struct cl_timer_list present;
	int code = cl_store_timers(organization->store, arena, CL_STR_NONE, 100000, &present, e);
	if (code)
		return code;
	for (size_t i = 0; i < present.count && !code; i++)
		if (cl_str_starts(present.items[i].name, "every:") &&
		    (reset || !find_recurring(catalog, arena, present.items[i].name)))
			code = cl_store_timer_clear(organization->store, present.items[i].name, e);
	for (size_t r = 0; r < catalog->recurring_count && !code; r++) {
		bool known = false;
		struct cl_str name = recurring_name(arena, &catalog->recurring[r]);
		for (size_t i = 0; i < present.count && !reset; i++)
			known = known || cl_str_equal(present.items[i].name, name);
		if (!known)
			code = set_recurring(organization, arena, &catalog->recurring[r], now, e);
	}
	return code;
}

static int record_load(struct cl_organization *organization, struct cl_arena *arena, const struct cl_catalog *former,
                       struct cl_err *e)
{
	struct cl_store *store = organization->store;
	struct cl_rules *rules = organization->rules;
	cl_instant now = cl_clock_now(organization->clock);
	struct cl_str known;
	int code = cl_store_meta_get(store, arena, "plugins", &known, e);
	if (code && code != CL_E_NOT_FOUND)
		return code;
	if (!code && cl_str_equal(known, rules->catalog->hash))
		return align_recurring(organization, arena, now, false, e);
	*e = (struct cl_err){0};
	code = cl_store_plugins_put(store, rules->catalog->hash, rules->archive_text, now, e);
	if (!code)
		code = cl_store_meta_set(store, "plugins", rules->catalog->hash, e);
	struct cl_stored_event event = {
	        .at = now,
	        .kind = CL_STR("load"),
	        .actor = CL_STR("system"),
	        .key = rules->catalog->hash,
	        .outcome = CL_STR("ok"),
	        .plugins = rules->catalog->hash,
	        .zone_data = cl_str_of(cl_zone_data_version()),
	};
	if (!code)
		code = cl_store_event_append(store, &event, e);
	if (!code)
		code = align_recurring(organization, arena, now, true, e);
	if (!code) {
		struct cl_unit unit;
		cl_unit_begin(&unit, store, arena, rules->catalog, rules->facts, cl_lua_script(rules->lua), now);
		unit.actor = (struct cl_actor){.name = CL_STR("system"), .kind = CL_STR("system")};
		unit.cause = event.sequence;
		unit.key = rules->catalog->hash;
		cl_lua_unit_begin(rules->lua, &unit);
		code = cl_instance_migrate(&unit, former, e);
		if (!code)
			code = cl_subscribers_tell(organization, &unit, e);
	}
	return code;
}

static int name_types(struct cl_store *store, struct cl_err *e)
{
	struct cl_str names[256] = {{0}};
	uint16_t count = cl_fhir_type_count();
	for (uint16_t type = 1; type <= count && type < 256; type++)
		names[type] = cl_fhir_type_name(type);
	return cl_store_name_types(store, names, (size_t)count + 1, e);
}

int cl_organization_open(const char *folder, const char *id, struct cl_rules *rules, struct cl_clock *clock,
                         struct cl_watch *watch, struct cl_organization **out, struct cl_err *e)
{
	struct cl_organization *organization = calloc(1, sizeof *organization);
	if (!organization)
		abort();
	organization->clock = clock;
	organization->watch = watch ? watch : &organization->own_watch;
	organization->rules = cl_rules_keep(rules);
	organization->id = cl_str_of(id);
	organization->folder = folder;
	organization->throttle = cl_throttle_new();
	struct cl_arena *arena = cl_arena_new(0);
	int code = cl_store_open(folder, id, CL_STORE_WRITER, &organization->store, e);
	if (!code)
		code = name_types(organization->store, e);
	if (!code)
		code = cl_reindex(organization->store, e);
	if (!code)
		code = cl_audit_tail_open(folder, id, &organization->tail, e);
	if (!code)
		code = cl_store_begin(organization->store, e);
	if (!code) {
		code = record_load(organization, arena, NULL, e);
		if (code)
			cl_store_rollback(organization->store);
		else
			code = cl_store_commit(organization->store, e);
	}
	cl_arena_free(arena);
	if (code) {
		cl_organization_close(organization);
		return code;
	}
	*out = organization;
	return 0;
}

void cl_organization_close(struct cl_organization *organization)
{
	if (!organization)
		return;
	if (organization->tail)
		cl_audit_tail_close(organization->tail);
	if (organization->store)
		cl_store_close(organization->store);
	cl_subscribers_free(organization->subscribers);
	cl_rules_release(organization->rules);
	cl_throttle_free(organization->throttle);
	free(organization);
}

int cl_organization_reload(struct cl_organization *organization, struct cl_rules *rules, struct cl_err *e)
{
	struct cl_rules *former = organization->rules;
	struct cl_arena *arena = cl_arena_new(0);
	int code = cl_store_savepoint(organization->store, e);
	if (!code) {
		organization->rules = cl_rules_keep(rules);
		code = record_load(organization, arena, former->catalog, e);
		if (!code)
			code = cl_store_release(organization->store, e);
		if (code) {
			struct cl_err ignored = {0};
			organization->rules = former;
			cl_rules_release(rules);
			cl_store_rollback_to(organization->store, &ignored);
			cl_store_release(organization->store, &ignored);
		} else {
			cl_rules_release(former);
			organization->timers_changed = true;
		}
	}
	cl_arena_free(arena);
	return code;
}

/* ---- timers ---- */

static int run_timer(struct cl_organization *organization, struct cl_unit *unit, const struct cl_stored_timer *timer,
                     struct cl_err *e)
{
	struct cl_rules *rules = organization->rules;
	int code = 0;
	if (cl_str_starts(timer->name, "every:")) {
		const struct cl_recurring *recurring = find_recurring(rules->catalog, unit->arena, timer->name);
		if (!recurring)
			return 0;
		code = set_recurring(organization, unit->arena, recurring,
		                     unit->now > timer->due ? unit->now : timer->due, e);
		if (!code)
			code = cl_lua_recur(rules->lua, unit, recurring, e);
	} else if (cl_str_starts(timer->name, "digest:")) {
		code = cl_digest_timer(unit, timer, e);
	} else if (cl_str_starts(timer->name, CL_SUBSCRIPTION_TIMER)) {
		code = cl_subscription_timer(unit, timer, e);
	} else if (cl_str_starts(timer->name, "set:")) {
		code = cl_lua_timer(rules->lua, unit, timer, e);
	} else {
		code = cl_instance_timer(unit, timer, e);
	}
	return code ? code : cl_run_reactions(organization, unit, e);
}

/* A timer that failed changed nothing; it comes again later, or waits for a person. */
static int put_off(struct cl_organization *organization, struct cl_arena *arena, const struct cl_stored_timer *timer,
                   cl_instant now, bool budget, const struct cl_err *why, struct cl_err *e)
{
	struct cl_json *data = NULL;
	struct cl_err ignored = {0};
	int64_t failures = 0;
	if (cl_json_parse(arena, timer->data.n ? timer->data : CL_STR("{}"), NULL, &data, &ignored) ||
	    data->kind != CL_JSON_OBJECT)
		data = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_json *counter = cl_json_get(data, "failures");
	if (counter)
		cl_json_integer(counter, &failures);
	failures++;
	if (failures >= CL_TIMER_FAILURES) {
		/* What is stored must come out of a replay too, which stops where the record says and measures nothing. */
		const char *message = budget ? "it used more CPU time or memory than it may" : why->message;
		struct cl_str text = cl_arena_printf(arena, "%s %s", message, why->where);
		cl_log(CL_LOG_ERROR, "timer-quarantined", "timer=%.*s problem=%s", CL_STR_ARGS(timer->name),
		       why->where);
		return cl_store_timer_quarantine(organization->store, timer->name, text, e);
	}
	cl_json_set_integer(arena, data, "failures", failures);
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, data);
	struct cl_stored_timer again = *timer;
	again.due = now + 5 * CL_MINUTE;
	again.data = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	int code = cl_store_timer_set(organization->store, &again, e);
	return code;
}

static struct cl_stored_event timer_event(struct cl_organization *organization, struct cl_arena *arena,
                                          const struct cl_stored_timer *timer)
{
	return (struct cl_stored_event){
	        .at = cl_clock_now(organization->clock),
	        .kind = CL_STR("timer"),
	        .actor = CL_STR("clock"),
	        .key = cl_arena_printf(arena, "%.*s#%lld", CL_STR_ARGS(timer->name), (long long)timer->generation),
	        .outcome = CL_STR("ok"),
	        .plugins = organization->rules->catalog->hash,
	        .zone_data = cl_str_of(cl_zone_data_version()),
	};
}

int cl_organization_set_aside(struct cl_organization *organization, struct cl_arena *arena,
                              const struct cl_stored_timer *timer, struct cl_err *e)
{
	struct cl_stored_event event = timer_event(organization, arena, timer);
	event.outcome = CL_STR(CL_SET_ASIDE);
	cl_log(CL_LOG_ERROR, "timer-quarantined", "timer=%.*s problem=crashed", CL_STR_ARGS(timer->name));
	int code = cl_store_event_append(organization->store, &event, e);
	return code ? code
	            : cl_store_timer_quarantine(organization->store, timer->name,
	                                        CL_STR("its run crashed the process twice"), e);
}

/* Leaves no savepoint open behind a failure: what else the tick did is still committed. */
static int give_up(struct cl_store *store, int code)
{
	struct cl_err ignored = {0};
	if (cl_store_in_transaction(store)) {
		cl_store_rollback_to(store, &ignored);
		cl_store_release(store, &ignored);
	}
	return code;
}

int cl_organization_fire_one(struct cl_organization *organization, struct cl_arena *arena,
                             const struct cl_stored_timer *timer, struct cl_change **changes, struct cl_err *e)
{
	struct cl_store *store = organization->store;
	struct cl_stored_event event = timer_event(organization, arena, timer);
	cl_instant now = event.at;
	struct cl_unit unit;
	struct cl_err problem = {0};
	int code = cl_store_savepoint(store, e);
	if (code)
		return code;
	/* An earlier timer of the same batch may have cleared this one, or set it anew: then it is not this one's turn. */
	code = cl_store_timer_fired(store, timer->name, timer->generation, &problem);
	if (code) {
		if (code != CL_E_CONFLICT || !cl_store_in_transaction(store)) {
			*e = problem;
			return give_up(store, code);
		}
		code = cl_store_rollback_to(store, e);
		return code ? code : cl_store_release(store, e);
	}
	cl_run_watch(organization, CL_WATCH_TIMER, event.key, "timer", timer->name);
	code = cl_store_event_append(store, &event, &problem);
	if (!code) {
		cl_unit_begin(&unit, store, arena, organization->rules->catalog, organization->rules->facts,
		              cl_lua_script(organization->rules->lua), now);
		unit.actor = (struct cl_actor){.name = CL_STR("clock"), .kind = CL_STR("system")};
		unit.cause = event.sequence;
		unit.key = event.key;
		unit.rule = CL_STR("clock");
		cl_lua_unit_begin(organization->rules->lua, &unit);
		code = run_timer(organization, &unit, timer, &problem);
	}
	cl_run_watch_end(organization);
	if (!code) {
		code = cl_store_release(store, e);
		organization->outbox_changed |= unit.outbox_changed;
		cl_run_note_pending(organization, unit.changes);
		if (!code && changes)
			*changes = unit.changes;
		return code;
	}
	if (!cl_store_in_transaction(store)) {
		*e = problem;
		return code;
	}
	struct cl_str budget = cl_lua_budget_outcome(organization->rules->lua);
	organization->failed_timers++;
	cl_log(CL_LOG_WARNING, "timer-failed", "timer=%.*s code=%s where=%s", CL_STR_ARGS(timer->name),
	       cl_code_name(code), problem.where);
	code = cl_store_rollback_to(store, e);
	event.sequence = 0;
	event.outcome = budget.n ? cl_arena_copy(arena, budget) : cl_str_of(cl_code_name(problem.code));
	if (!code)
		code = cl_store_event_append(store, &event, e);
	if (!code) {
		const struct cl_recurring *recurring =
		        cl_str_starts(timer->name, "every:")
		                ? find_recurring(organization->rules->catalog, arena, timer->name)
		                : NULL;
		code = recurring ? set_recurring(organization, arena, recurring, now > timer->due ? now : timer->due, e)
		                 : put_off(organization, arena, timer, now, budget.n > 0, &problem, e);
	}
	if (!code)
		code = cl_store_release(store, e);
	return code ? give_up(store, code) : 0;
}

int cl_organization_fire(struct cl_organization *organization, struct cl_arena *arena, uint32_t limit,
                         struct cl_change **changes, struct cl_err *e)
{
	struct cl_timer_list due;
	int fired = 0;
	struct cl_change **end = changes;
	int code = cl_store_timers_due(organization->store, arena, cl_clock_now(organization->clock), limit, &due, e);
	for (size_t i = 0; i < due.count && !code; i++) {
		struct cl_change *made = NULL;
		if (cl_run_quarantined(organization, cl_arena_printf(arena, "%.*s#%lld", CL_STR_ARGS(due.items[i].name),
		                                                     (long long)due.items[i].generation))) {
			code = cl_organization_set_aside(organization, arena, &due.items[i], e);
			continue;
		}
		code = cl_organization_fire_one(organization, arena, &due.items[i], &made, e);
		fired++;
		if (end) {
			*end = made;
			while (*end)
				end = &(*end)->next;
		}
	}
	organization->timers_changed |= due.count > 0;
	return code ? code : fired;
}

/* ---- whole steps ---- */

void cl_organization_execute(struct cl_organization *organization, struct cl_arena *arena,
                             const struct cl_request *request, struct cl_response *response)
{
	struct cl_err problem = {0};
	struct cl_outcome outcome = {0};
	int code = cl_store_begin(organization->store, &problem);
	if (!code) {
		cl_organization_run(organization, arena, request, &outcome);
		if (!outcome.lost)
			code = cl_audit_tail_fold(organization->tail, organization->store, 100000, &problem);
		if (outcome.lost)
			code = problem.code ? problem.code : CL_E_FULL;
		else if (code)
			cl_store_rollback(organization->store);
		else
			code = cl_store_commit(organization->store, &problem);
	}
	if (!code)
		code = cl_audit_tail_folded(organization->tail, organization->store, &problem);
	if (code)
		cl_store_rollback(organization->store);
	if (code && !outcome.lost)
		cl_interaction_answer_error(arena, NULL, &problem, &outcome.response);
	*response = outcome.response;
}

int64_t cl_organization_advance(struct cl_organization *organization, cl_instant until, struct cl_err *e)
{
	int64_t fired = 0;
	bool own = !cl_store_in_transaction(organization->store);
	struct cl_arena *arena = cl_arena_new(0);
	for (;;) {
		cl_instant next = cl_store_timer_next(organization->store);
		if (next > until)
			break;
		if (next > cl_clock_now(organization->clock))
			cl_clock_set(organization->clock, next);
		int code = own ? cl_store_begin(organization->store, e) : 0;
		int count = code ? code : cl_organization_fire(organization, arena, 64, NULL, e);
		if (count < 0) {
			cl_store_rollback(organization->store);
			cl_arena_free(arena);
			return count;
		}
		code = own ? cl_store_commit(organization->store, e) : 0;
		if (code) {
			cl_arena_free(arena);
			return code;
		}
		fired += count;
		cl_arena_reset(arena);
		if (organization->measures_pending) {
			organization->measures_pending = false;
			code = cl_pending_run(organization, e);
			if (code) {
				cl_arena_free(arena);
				return code;
			}
		}
		if (!count)
			break;
	}
	cl_arena_free(arena);
	if (until > cl_clock_now(organization->clock))
		cl_clock_set(organization->clock, until);
	return fired;
}
