/* instance_start.c: a workflow begins: by a client's Task, by a plugin, or taken over from elsewhere. */
#include "base/closest.h"
#include "base/date.h"
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

static int refuse_workflow(struct cl_unit *unit, struct cl_str name, struct cl_err *e)
{
	struct cl_closest closest = {.wanted = name};
	for (size_t i = 0; i < unit->catalog->workflow_count; i++)
		cl_closest_offer(&closest, cl_arena_cstring(unit->arena, unit->catalog->workflows[i].name));
	if (closest.best)
		cl_fail(e, CL_E_RULE, "there is no workflow '%.*s': did you mean '%s'?", CL_STR_ARGS(name),
		        closest.best);
	else
		cl_fail(e, CL_E_RULE, "there is no workflow '%.*s' in this organization", CL_STR_ARGS(name));
	return cl_fail_at(e, "Task.code");
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static void take_object(struct cl_unit *unit, struct cl_move *move, const struct cl_json *data)
{
	for (uint32_t i = 0; data && data->kind == CL_JSON_OBJECT && i < data->count; i++)
		if (!cl_str_is(data->members[i].name, "escalations"))
			*cl_json_set(unit->arena, move->record, data->members[i].name) =
			        cl_plain_value(&data->members[i].value);
}

static void take_inputs(struct cl_unit *unit, struct cl_move *move)
{
	const struct cl_json *inputs = cl_json_get(move->task, "input");
	for (uint32_t i = 0; inputs && inputs->kind == CL_JSON_ARRAY && i < inputs->count; i++) {
		struct cl_str name = cl_json_get_text(cl_json_get(&inputs->items[i], "type"), "text");
		const struct cl_json *value = cl_value_of(&inputs->items[i]);
		if (name.n && value && !cl_str_is(name, "escalations"))
			*cl_json_set(unit->arena, move->record, name) = cl_plain_value(value);
	}
}

static struct cl_str reference_of(const struct cl_json *resource, const char *name)
{
	return cl_json_get_text(cl_json_get(resource, name), "reference");
}

static struct cl_str partner_by_reference(struct cl_unit *unit, struct cl_str reference)
{
	for (size_t i = 0; reference.n && i < unit->organization->partner_count; i++)
		if (cl_str_equal(cl_partner_reference(unit, unit->organization->partners[i]), reference))
			return unit->organization->partners[i];
	return CL_STR_NONE;
}

static bool is_partner(const struct cl_unit *unit, struct cl_str partner)
{
	for (size_t i = 0; i < unit->organization->partner_count; i++)
		if (cl_str_equal(unit->organization->partners[i], partner))
			return true;
	return false;
}

/* Which side is this organization, and who is the other? */
static int settle_parties(struct cl_unit *unit, struct cl_move *move, const struct cl_start *start, struct cl_err *e)
{
	struct cl_str party = start->party.n ? start->party : cl_json_get_text(move->record, "party");
	struct cl_str partner = start->partner.n ? start->partner : cl_record_partner(move->record);
	if (party.n && !cl_workflow_party(move->workflow, party)) {
		cl_fail(e, CL_E_RULE, "'%.*s' is no party of %.*s", CL_STR_ARGS(party),
		        CL_STR_ARGS(move->workflow->name));
		return cl_fail_at(e, "party");
	}
	if (!party.n && move->workflow->party_count)
		party = move->workflow->parties[0].name;
	if (!partner.n && move->workflow->party_count) {
		partner = partner_by_reference(unit, reference_of(move->task, "owner"));
		if (!partner.n)
			partner = partner_by_reference(unit, reference_of(move->task, "requester"));
	}
	if (partner.n && !is_partner(unit, partner)) {
		cl_fail(e, CL_E_RULE, "'%.*s' is no partner of this organization", CL_STR_ARGS(partner));
		return cl_fail_at(e, "partner");
	}
	if (party.n)
		cl_json_set_text(unit->arena, move->record, "party", party);
	if (partner.n)
		cl_json_set_text(unit->arena, move->record, "partner", partner);
	return 0;
}

/* ---- the Task ---------------------------------------------------------------------------------------------------- */

static int settle_state(struct cl_move *move, const struct cl_start *start, struct cl_err *e)
{
	const struct cl_workflow *workflow = move->workflow;
	const struct cl_state_rule *first = &workflow->states[workflow->start];
	struct cl_str status = cl_json_get_text(start->task, "status");
	move->target = start->state.n ? cl_workflow_state(workflow, start->state) : workflow->start;
	if (move->target < 0)
		return cl_fail(e, CL_E_RULE, "%.*s has no state '%.*s'", CL_STR_ARGS(workflow->name),
		               CL_STR_ARGS(start->state));
	if (!status.n || start->state.n || cl_str_equal(status, first->status) || cl_str_is(status, "draft") ||
	    cl_str_is(status, "requested"))
		return 0;
	cl_fail(e, CL_E_RULE, "a new %.*s starts in state %.*s: create its Task with status '%.*s', then move it",
	        CL_STR_ARGS(workflow->name), CL_STR_ARGS(first->name), CL_STR_ARGS(first->status));
	return cl_fail_at(e, "Task.status");
}

static bool is_of_type(struct cl_str reference, struct cl_str type)
{
	return reference.n > type.n + 1 && !memcmp(reference.p, type.p, type.n) && reference.p[type.n] == '/';
}

static int settle_focus(struct cl_unit *unit, struct cl_move *move, struct cl_err *e)
{
	struct cl_json *task = move->task;
	struct cl_str wanted = move->workflow->subject, focus = reference_of(task, "focus"),
	              patient = reference_of(task, "for");
	if (!patient.n && focus.n) {
		patient = cl_unit_patient_of(unit, focus);
		if (patient.n)
			cl_set_reference(unit->arena, task, "for", patient);
	}
	if (!focus.n && cl_str_is(wanted, "Patient") && patient.n) {
		focus = patient;
		cl_set_reference(unit->arena, task, "focus", focus);
	}
	if (wanted.n && !is_of_type(focus, wanted)) {
		cl_fail(e, CL_E_RULE, "a %.*s is about a %.*s: say which in focus", CL_STR_ARGS(move->workflow->name),
		        CL_STR_ARGS(wanted));
		return cl_fail_at(e, "Task.focus");
	}
	move->instance.subject = cl_arena_copy(unit->arena, focus);
	if (is_of_type(patient, CL_STR("Patient")))
		move->instance.patient = cl_arena_copy(unit->arena, (struct cl_str){patient.p + 8, patient.n - 8});
	return 0;
}

static void fill_task(struct cl_unit *unit, struct cl_move *move, const struct cl_start *start)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *task = move->task;
	if (!cl_json_get(task, "resourceType"))
		cl_json_set_text(arena, task, "resourceType", CL_STR("Task"));
	if (!cl_concept_code(cl_json_get(task, "code"), CL_STR(CL_WORKFLOW_SYSTEM)).n)
		cl_fill_concept(arena, cl_json_set(arena, task, CL_STR("code")), CL_STR(CL_WORKFLOW_SYSTEM),
		                start->workflow, CL_STR_NONE);
	if (!cl_json_get(task, "intent"))
		cl_json_set_text(arena, task, "intent", CL_STR("order"));
	if (start->focus.n)
		cl_set_reference(arena, task, "focus", start->focus);
	if (start->patient.n)
		cl_set_reference(arena, task, "for", start->patient);
	if (start->requester.n)
		cl_set_reference(arena, task, "requester", start->requester);
	if (start->owner.n)
		cl_set_reference(arena, task, "owner", start->owner);
	if (!cl_json_get(task, "authoredOn"))
		cl_json_set_text(arena, task, "authoredOn",
		                 cl_zone_text(arena, unit->organization->calendar.zone, unit->now));
}

/* One live instance a patient; without a patient, one a focus. */
static int check_single(struct cl_unit *unit, const struct cl_move *move, struct cl_err *e)
{
	struct cl_instance_list list;
	const struct cl_stored_instance *instance = &move->instance;
	if (!move->workflow->single || (!instance->patient.n && !instance->subject.n))
		return 0;
	int code = cl_store_instances(unit->store, unit->arena, move->workflow->name, CL_STR_NONE, instance->patient,
	                              true, instance->patient.n ? 100 : UINT32_MAX, &list, e);
	if (code)
		return code;
	for (size_t i = 0; i < list.count; i++) {
		const struct cl_stored_instance *other = &list.items[i];
		if (instance->patient.n || cl_str_equal(other->subject, instance->subject))
			return cl_fail(e, CL_E_CONFLICT, "there is a live %.*s already: Task/%.*s in state %.*s",
			               CL_STR_ARGS(move->workflow->name), CL_STR_ARGS(other->task),
			               CL_STR_ARGS(other->state));
	}
	return 0;
}

/* Began elsewhere: its history here is its start and the coming into its present state, each by its true date. */
static int take_over(struct cl_unit *unit, struct cl_move *move, const struct cl_start *start, struct cl_version *out,
                     struct cl_issues *issues, struct cl_err *e)
{
	cl_instant entered = start->entered ? start->entered : unit->now;
	if (move->instance.started > entered || entered > unit->now) {
		cl_fail(e, CL_E_RULE,
		        "what is taken over began (started) before it came into its state (entered), and "
		        "neither lies in the future");
		return cl_fail_at(e, "entered");
	}
	struct cl_json *meta = cl_json_get(move->task, "meta");
	if (!meta || meta->kind != CL_JSON_OBJECT)
		meta = cl_json_set_object(unit->arena, move->task, "meta");
	struct cl_json *tags = cl_json_get(meta, "tag");
	if (!tags || tags->kind != CL_JSON_ARRAY)
		tags = cl_json_set_array(unit->arena, meta, "tag");
	struct cl_json *tag = cl_json_append(unit->arena, tags);
	tag->kind = CL_JSON_OBJECT;
	cl_json_set_text(unit->arena, tag, "system", CL_STR(CL_TASK_SYSTEM));
	cl_json_set_text(unit->arena, tag, "code", CL_STR("imported"));
	cl_json_set_text(unit->arena, move->task, "authoredOn",
	                 cl_zone_text(unit->arena, unit->organization->calendar.zone, move->instance.started));
	move->imported = true;
	move->occurred = entered;
	move->source = CL_STR("import");
	return cl_move_apply(unit, move, out, issues, e);
}

int cl_instance_start(struct cl_unit *unit, const struct cl_start *start, struct cl_version *out,
                      struct cl_issues *issues, struct cl_err *e)
{
	struct cl_move move = {
	        .workflow = cl_catalog_workflow(unit->catalog, start->workflow),
	        .record = cl_json_new(unit->arena, CL_JSON_OBJECT),
	        .task = start->task ? start->task : cl_json_new(unit->arena, CL_JSON_OBJECT),
	        .former = {.type = CL_TYPE_TASK},
	        .from = -1,
	        .event = CL_STR("start"),
	        .occurred = unit->now,
	};
	if (!move.workflow)
		return refuse_workflow(unit, start->workflow, e);
	int code = start->id.n ? cl_unit_current(unit, CL_TYPE_TASK, start->id, &move.former, e) : 0;
	if (!code && move.former.version && move.former.operation != CL_OP_DELETE)
		code = cl_fail(e, CL_E_CONFLICT, "Task/%.*s exists already", CL_STR_ARGS(start->id));
	if (!code)
		code = settle_state(&move, start, e);
	if (code)
		return code;
	move.instance = (struct cl_stored_instance){
	        .task = start->id.n ? cl_arena_copy(unit->arena, start->id) : cl_unit_id(unit, CL_STR("Task")),
	        .workflow = move.workflow->name,
	        .started = start->started ? start->started : unit->now,
	};
	fill_task(unit, &move, start);
	take_inputs(unit, &move);
	take_object(unit, &move, start->data);
	code = settle_parties(unit, &move, start, e);
	if (!code)
		code = settle_focus(unit, &move, e);
	if (!code)
		code = check_single(unit, &move, e);
	if (code)
		return code;
	move.data = cl_json_copy(unit->arena, move.record);
	if (start->started || start->entered)
		return take_over(unit, &move, start, out, issues, e);
	return cl_move_apply(unit, &move, out, issues, e);
}
