/* instance.c: finding an instance with its machine, and saying where it stands. */
#include "org/flow/instance_internal.h"
#include "org/fhir/types.h"

struct cl_str cl_record_party(const struct cl_workflow *workflow, const struct cl_json *record)
{
	struct cl_str party = cl_json_get_text(record, "party");
	return party.n || !workflow->party_count ? party : workflow->parties[0].name;
}

struct cl_str cl_record_partner(const struct cl_json *record)
{
	return cl_json_get_text(record, "partner");
}

struct cl_str cl_partner_reference(const struct cl_unit *unit, struct cl_str partner)
{
	const struct cl_json *partners = cl_json_get(unit->organization->config, "partners");
	return partner.n ? cl_json_get_text(cl_json_get_str(partners, partner), "reference") : CL_STR_NONE;
}

int cl_move_load(struct cl_unit *unit, struct cl_str task, struct cl_move *move, struct cl_err *e)
{
	struct cl_err problem = {0};
	*move = (struct cl_move){.occurred = unit->now, .trusted = true};
	int code = cl_store_instance_get(unit->store, unit->arena, task, &move->instance, &problem);
	if (code == CL_E_NOT_FOUND)
		return cl_fail(e, CL_E_NOT_FOUND, "Task/%.*s is no workflow instance", CL_STR_ARGS(task));
	if (code) {
		if (e)
			*e = problem;
		return code;
	}
	const struct cl_stored_instance *instance = &move->instance;
	move->workflow = cl_catalog_workflow(unit->catalog, instance->workflow);
	if (!move->workflow)
		return cl_fail(e, CL_E_RULE, "Task/%.*s follows the workflow '%.*s', which no plugin declares any more",
		               CL_STR_ARGS(task), CL_STR_ARGS(instance->workflow));
	move->from = cl_workflow_state(move->workflow, instance->state);
	move->target = move->from;
	if (cl_json_parse(unit->arena, instance->data.n ? instance->data : CL_STR("{}"), NULL, &move->record,
	                  &problem) ||
	    move->record->kind != CL_JSON_OBJECT)
		return cl_fail(e, CL_E_CORRUPT, "the data of Task/%.*s is no JSON object", CL_STR_ARGS(task));
	return cl_unit_read(unit, CL_TYPE_TASK, task, &move->task, &move->former, e);
}

struct cl_str cl_move_place(struct cl_unit *unit, const struct cl_move *move)
{
	return cl_arena_printf(unit->arena, "Task/%.*s (%.*s) is in state %.*s", CL_STR_ARGS(move->instance.task),
	                       CL_STR_ARGS(move->instance.workflow), CL_STR_ARGS(move->instance.state));
}

struct cl_roles cl_local_roles(const struct cl_workflow *workflow, const struct cl_json *record,
                               const struct cl_str *name)
{
	const struct cl_party *party = cl_workflow_party(workflow, *name);
	if (!party)
		return (struct cl_roles){name, name->n ? 1 : 0, false};
	struct cl_str own = cl_record_party(workflow, record);
	bool is_partner = !cl_str_equal(party->name, own);
	if (is_partner)
		party = cl_workflow_party(workflow, own);
	if (party && party->role_count)
		return (struct cl_roles){party->roles, party->role_count, is_partner};
	return (struct cl_roles){workflow->recorders, workflow->recorder_count, is_partner};
}

struct cl_str cl_transition_by(struct cl_arena *arena, const struct cl_state_rule *state,
                               const struct cl_transition_rule *transition)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	for (size_t i = 0; i < transition->by_count; i++)
		cl_buf_printf(&text, "%s%.*s", i ? " or " : "", CL_STR_ARGS(transition->by[i]));
	if (!transition->by_count)
		cl_buf_add_str(&text, state->owner);
	struct cl_str out = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return out;
}

static void write_legal(struct cl_arena *arena, struct cl_buf *out, const struct cl_state_rule *state,
                        const struct cl_transition_rule *transition)
{
	size_t needed = 0;
	cl_buf_printf(out, "%s%.*s (%.*s", out->n ? ", " : "", CL_STR_ARGS(transition->event),
	              CL_STR_ARGS(cl_transition_by(arena, state, transition)));
	for (size_t i = 0; i < transition->need_count; i++)
		if (!transition->needs[i].optional)
			cl_buf_printf(out, "%s%.*s", needed++ ? ", " : "; needs ",
			              CL_STR_ARGS(transition->needs[i].name));
	cl_buf_add_byte(out, ')');
}

struct cl_str cl_instance_legal(struct cl_arena *arena, const struct cl_workflow *workflow, int state)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	for (size_t i = 0; i < workflow->states[state].transition_count; i++)
		write_legal(arena, &text, &workflow->states[state], &workflow->states[state].transitions[i]);
	struct cl_str out = text.n ? cl_arena_copy(arena, cl_buf_str(&text)) : CL_STR("none");
	cl_buf_free(&text);
	return out;
}

int cl_move_refuse_event(struct cl_unit *unit, const struct cl_move *move, struct cl_err *e)
{
	struct cl_str place = cl_move_place(unit, move);
	if (move->from < 0)
		return cl_fail(e, CL_E_RULE, "%.*s, which no plugin declares any more: reload plugins that migrate it",
		               CL_STR_ARGS(place));
	if (move->workflow->states[move->from].final)
		return cl_fail(e, CL_E_RULE, "%.*s, which is final: nothing further happens", CL_STR_ARGS(place));
	return cl_fail(e, CL_E_RULE, "%.*s, where '%.*s' is no event; legal: %.*s", CL_STR_ARGS(place),
	               CL_STR_ARGS(move->event),
	               CL_STR_ARGS(cl_instance_legal(unit->arena, move->workflow, move->from)));
}
