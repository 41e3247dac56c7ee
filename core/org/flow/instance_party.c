/* instance_party.c: who may fire an event: roles, the two parties, recorders, plugins. */
#include "org/flow/instance_internal.h"

static bool has_role(const struct cl_actor *actor, const struct cl_str *roles, size_t count)
{
	for (size_t i = 0; i < actor->role_count; i++)
		for (size_t k = 0; k < count; k++)
			if (cl_str_equal(actor->roles[i], roles[k]))
				return true;
	return false;
}

static bool is_partner_kind(const struct cl_actor *actor)
{
	return cl_str_is(actor->kind, "partner");
}

/* Plugins' functions, and an administrator at the console, whom the audit names. */
static bool acts_for_organization(const struct cl_unit *unit)
{
	return unit->plugin.n || cl_str_is(unit->actor.kind, "system");
}

/* Is the actor the partner of this very instance? */
static bool is_the_partner(const struct cl_unit *unit, const struct cl_json *record)
{
	struct cl_str partner = cl_record_partner(record);
	const struct cl_actor *actor = &unit->actor;
	if (!partner.n || !is_partner_kind(actor))
		return false;
	struct cl_str reference = cl_partner_reference(unit, partner);
	return cl_str_equal(actor->name, partner) || (reference.n && cl_str_equal(actor->reference, reference)) ||
	       cl_str_equal(actor->reference, partner);
}

/* Recorded for somebody who did it elsewhere. `name` is who the event belongs to. */
static bool records_for(const struct cl_unit *unit, const struct cl_move *move, struct cl_str name, bool is_party)
{
	struct cl_str partner = cl_record_partner(move->record);
	bool meant = cl_str_equal(move->on_behalf_of, name) ||
	             (is_party && partner.n && cl_str_equal(move->on_behalf_of, partner));
	bool own = is_party && cl_str_equal(name, cl_record_party(move->workflow, move->record));
	if (!meant || own)
		return false;
	return acts_for_organization(unit) || is_the_partner(unit, move->record) ||
	       has_role(&unit->actor, move->workflow->recorders, move->workflow->recorder_count);
}

static bool plays(const struct cl_unit *unit, const struct cl_move *move, struct cl_str name)
{
	const struct cl_party *party = cl_workflow_party(move->workflow, name);
	if (move->on_behalf_of.n)
		return records_for(unit, move, name, party != NULL);
	if (!party)
		return acts_for_organization(unit) || has_role(&unit->actor, &name, 1);
	if (!cl_str_equal(name, cl_record_party(move->workflow, move->record)))
		return is_the_partner(unit, move->record);
	return acts_for_organization(unit) ||
	       (!is_partner_kind(&unit->actor) && has_role(&unit->actor, party->roles, party->role_count));
}

bool cl_move_may(const struct cl_unit *unit, const struct cl_move *move, const struct cl_transition_rule *transition)
{
	if (!transition->by_count)
		return plays(unit, move, move->workflow->states[move->from].owner);
	for (size_t i = 0; i < transition->by_count; i++)
		if (plays(unit, move, transition->by[i]))
			return true;
	return false;
}

bool cl_instance_may(const struct cl_unit *unit, const struct cl_workflow *workflow,
                     const struct cl_stored_instance *instance, const struct cl_transition_rule *transition)
{
	struct cl_err ignored = {0};
	struct cl_move move = {.workflow = workflow, .from = cl_workflow_state(workflow, instance->state)};
	if (move.from < 0 ||
	    cl_json_parse(unit->arena, instance->data.n ? instance->data : CL_STR("{}"), NULL, &move.record, &ignored))
		return false;
	return cl_move_may(unit, &move, transition);
}

/* ---- saying who may ---------------------------------------------------------------------------------------------- */

static void write_roles(struct cl_buf *out, const struct cl_str *roles, size_t count)
{
	for (size_t i = 0; i < count; i++)
		cl_buf_printf(out, "%s%.*s", i ? " or " : "", CL_STR_ARGS(roles[i]));
}

static void write_who(struct cl_buf *out, const struct cl_move *move, struct cl_str name)
{
	const struct cl_workflow *workflow = move->workflow;
	const struct cl_party *party = cl_workflow_party(workflow, name);
	struct cl_str partner = cl_record_partner(move->record);
	cl_buf_printf(out, "%s%.*s", out->n ? ", " : "", CL_STR_ARGS(name));
	if (!party)
		return;
	cl_buf_add_cstring(out, " (");
	if (cl_str_equal(name, cl_record_party(workflow, move->record))) {
		cl_buf_add_cstring(out, "here: ");
		write_roles(out, party->roles, party->role_count);
	} else {
		cl_buf_printf(out, "%.*s", CL_STR_ARGS(partner.n ? partner : CL_STR("the other organization")));
		if (workflow->recorder_count) {
			cl_buf_add_cstring(out, "; on its behalf, with a source: ");
			write_roles(out, workflow->recorders, workflow->recorder_count);
		}
	}
	cl_buf_add_byte(out, ')');
}

int cl_move_refuse_actor(struct cl_unit *unit, const struct cl_move *move, const struct cl_transition_rule *transition,
                         struct cl_err *e)
{
	struct cl_buf who;
	cl_buf_init(&who, 300);
	for (size_t i = 0; i < transition->by_count; i++)
		write_who(&who, move, transition->by[i]);
	if (!transition->by_count)
		write_who(&who, move, move->workflow->states[move->from].owner);
	cl_fail(e, CL_E_FORBIDDEN, "%.*s may not fire '%.*s' here; who may: %.*s", CL_STR_ARGS(unit->actor.name),
	        CL_STR_ARGS(transition->event), CL_STR_ARGS(cl_buf_str(&who)));
	cl_buf_free(&who);
	return CL_E_FORBIDDEN;
}
