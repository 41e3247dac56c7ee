/* conflict.c: two plans, double minutes, double outreach: live instances of one patient that plugins declare to be at odds.
 * A conflict is looked for when either of the two starts, and when the declaring one comes into one of its `states`. */
#include "org/flow/conflict.h"
#include "base/date.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include "org/flow/finding.h"

#define MOST 200 /* live instances of one patient and workflow that are looked at */

static bool is_listed(struct cl_str name, const struct cl_str *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (cl_str_equal(names[i], name))
			return true;
	return count == 0;
}

/* ---- finding ----------------------------------------------------------------------------------------------------- */

struct search {
	struct cl_unit *unit;
	const struct cl_move *move;
	struct cl_conflict_found **end;
	bool may_refuse;
};

static struct cl_json *as_json(struct cl_unit *unit, struct cl_str task, struct cl_str workflow, struct cl_str state,
                               struct cl_str subject, cl_instant started, const struct cl_json *record)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *out = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, out, "task", cl_arena_printf(arena, "Task/%.*s", CL_STR_ARGS(task)));
	cl_json_set_text(arena, out, "workflow", workflow);
	cl_json_set_text(arena, out, "state", state);
	if (subject.n)
		cl_json_set_text(arena, out, "subject", subject);
	cl_json_set_text(arena, out, "started", cl_instant_text(arena, started));
	if (record)
		*cl_json_set(arena, out, CL_STR("data")) = *record;
	return out;
}

/* The plugin's `when`: (ctx, own, other) of the declaring workflow and the other one, whichever of them moves. */
static int ask_when(const struct search *search, const struct cl_conflict *conflict,
                    const struct cl_stored_instance *other, bool own_moves, bool *is, struct cl_err *e)
{
	struct cl_unit *unit = search->unit;
	const struct cl_stored_instance *mine = &search->move->instance;
	struct cl_json *record = NULL;
	struct cl_err problem = {0};
	*is = true;
	if (conflict->when == CL_NO_FUNCTION)
		return 0;
	if (!unit->script || !unit->script->guard)
		return cl_fail(e, CL_E_INTERNAL, "no plugins are loaded to ask for the conflict '%.*s'",
		               CL_STR_ARGS(conflict->name));
	if (other->data.n && cl_json_parse(unit->arena, other->data, NULL, &record, e))
		return CL_E_CORRUPT;
	struct cl_json *moving = as_json(unit, mine->task, search->move->workflow->name,
	                                 search->move->workflow->states[search->move->target].name, mine->subject,
	                                 mine->started, search->move->record);
	struct cl_json *there =
	        as_json(unit, other->task, other->workflow, other->state, other->subject, other->started, record);
	int code = unit->script->guard(unit->script->context, unit, conflict->when, mine->task,
	                               own_moves ? moving : there, own_moves ? there : moving, &problem);
	*is = code == 0;
	if (code && code != CL_E_RULE && e)
		*e = problem;
	return code == CL_E_RULE ? 0 : code;
}

static int meet(struct search *search, const struct cl_conflict *conflict, const struct cl_stored_instance *other,
                bool own_moves, struct cl_err *e)
{
	bool is;
	struct cl_unit *unit = search->unit;
	if (cl_str_equal(other->task, search->move->instance.task))
		return 0;
	int code = ask_when(search, conflict, other, own_moves, &is, e);
	if (code || !is)
		return code;
	struct cl_str reason = cl_json_get_text(search->move->data, "override");
	bool refuses = conflict->action == CL_CONFLICT_REFUSE || (conflict->action == CL_CONFLICT_ASK && !reason.n);
	if (refuses && search->may_refuse) {
		cl_fail(e, CL_E_CONFLICT, "conflict %.*s with Task/%.*s (%.*s in state %.*s)%s%.*s%s",
		        CL_STR_ARGS(conflict->name), CL_STR_ARGS(other->task), CL_STR_ARGS(other->workflow),
		        CL_STR_ARGS(other->state), conflict->summary.n ? ": " : "", CL_STR_ARGS(conflict->summary),
		        conflict->action == CL_CONFLICT_ASK ? "; to go on all the same, say why in `override`" : "");
		return cl_fail_at(e, conflict->action == CL_CONFLICT_ASK ? "data.override" : "Task.for");
	}
	struct cl_conflict_found *found = CL_NEW(unit->arena, struct cl_conflict_found);
	*found = (struct cl_conflict_found){
	        .conflict = conflict,
	        .other = other->task,
	        .reason = conflict->action == CL_CONFLICT_ASK ? reason : CL_STR_NONE,
	};
	*search->end = found;
	search->end = &found->next;
	return 0;
}

static int look(struct search *search, const struct cl_conflict *conflict, struct cl_str workflow, bool own_moves,
                struct cl_err *e)
{
	struct cl_instance_list list;
	int code = cl_store_instances(search->unit->store, search->unit->arena, workflow, CL_STR_NONE,
	                              search->move->instance.patient, true, MOST, &list, e);
	for (size_t i = 0; i < list.count && !code; i++) {
		/* The states that matter are the declaring workflow's. */
		if (!own_moves && !is_listed(list.items[i].state, conflict->states, conflict->state_count))
			continue;
		code = meet(search, conflict, &list.items[i], own_moves, e);
	}
	return code;
}

int cl_conflicts_find(struct cl_unit *unit, const struct cl_move *move, struct cl_conflict_found **found,
                      struct cl_err *e)
{
	const struct cl_workflow *own = move->workflow;
	const struct cl_state_rule *target = &own->states[move->target];
	struct search search = {.unit = unit, .move = move, .end = found};
	bool starts = !move->former.version || move->former.operation == CL_OP_DELETE;
	int code = 0;
	*found = NULL;
	search.may_refuse = !move->by_clock && (starts || move->transition);
	if (target->final || move->quiet || move->stays || !move->instance.patient.n ||
	    (!starts && move->target == move->from))
		return 0;
	for (size_t i = 0; i < own->conflict_count && !code; i++) {
		const struct cl_conflict *conflict = &own->conflicts[i];
		if (conflict->state_count ? is_listed(target->name, conflict->states, conflict->state_count) : starts)
			code = look(&search, conflict, conflict->with, true, e);
	}
	for (size_t w = 0; w < unit->catalog->workflow_count && starts && !code; w++) {
		const struct cl_workflow *other = &unit->catalog->workflows[w];
		for (size_t i = 0; i < other->conflict_count && !code && other != own; i++)
			if (cl_str_equal(other->conflicts[i].with, own->name))
				code = look(&search, &other->conflicts[i], other->name, false, e);
	}
	return code;
}

/* ---- keeping ----------------------------------------------------------------------------------------------------- */

static int settle_open(struct cl_unit *unit, const struct cl_move *move, struct cl_err *e)
{
	struct cl_fhir_search query = {0};
	struct cl_search_result open = {0};
	struct cl_fhir_search_context context = {.type = CL_TYPE_DETECTED_ISSUE, .now = unit->now};
	int code =
	        cl_fhir_search_parse(unit->arena, &context,
	                             cl_arena_printf(unit->arena, "implicated=Task/%.*s&code=" CL_CONFLICT_SYSTEM "|",
	                                             CL_STR_ARGS(move->instance.task)),
	                             &query, e);
	query.query.limit = MOST;
	query.query.bodies = true;
	if (!code)
		code = cl_store_search(unit->store, unit->arena, &query.query, &open, e);
	for (size_t i = 0; i < open.count && !code; i++)
		code = cl_finding_settle(unit, open.items[i].id, CL_STR("One of the two has ended"), e);
	return code;
}

static bool is_involved(const struct cl_unit *unit, const struct cl_workflow *own)
{
	if (own->conflict_count)
		return true;
	for (size_t w = 0; w < unit->catalog->workflow_count; w++)
		for (size_t i = 0; i < unit->catalog->workflows[w].conflict_count; i++)
			if (cl_str_equal(unit->catalog->workflows[w].conflicts[i].with, own->name))
				return true;
	return false;
}

int cl_conflicts_keep(struct cl_unit *unit, const struct cl_move *move, const struct cl_conflict_found *found,
                      struct cl_err *e)
{
	int code = 0;
	for (; found && !code; found = found->next) {
		const struct cl_conflict *conflict = found->conflict;
		struct cl_str mine = cl_arena_printf(unit->arena, "Task/%.*s", CL_STR_ARGS(move->instance.task));
		struct cl_finding issue = {
		        .system = CL_STR(CL_CONFLICT_SYSTEM),
		        .name = conflict->name,
		        .summary = conflict->summary,
		        .words = cl_arena_printf(
		                unit->arena, "%.*s runs beside %.*s", CL_STR_ARGS(move->workflow->name),
		                CL_STR_ARGS(cl_str_equal(move->workflow->name, conflict->with) ? conflict->workflow
		                                                                               : conflict->with)),
		        .patient = cl_arena_printf(unit->arena, "Patient/%.*s", CL_STR_ARGS(move->instance.patient)),
		        .implicated = {mine, cl_arena_printf(unit->arena, "Task/%.*s", CL_STR_ARGS(found->other))},
		        .settled_by = found->reason,
		        .tell = found->reason.n ? CL_STR_NONE : conflict->tell,
		};
		code = cl_finding_open(unit, &issue, e);
	}
	if (!code && move->workflow->states[move->target].final && is_involved(unit, move->workflow))
		code = settle_open(unit, move, e);
	return code;
}
