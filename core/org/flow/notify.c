/* notify.c: what leaves a unit for people and partners: Communications here, messages in the outbox. */
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

static bool is_partner(const struct cl_organization_facts *organization, struct cl_str partner)
{
	for (size_t i = 0; i < organization->partner_count; i++)
		if (cl_str_equal(organization->partners[i], partner))
			return true;
	return false;
}

static int refuse_partner(struct cl_unit *unit, struct cl_str partner, struct cl_err *e)
{
	struct cl_buf known;
	cl_buf_init(&known, 0);
	for (size_t i = 0; i < unit->organization->partner_count; i++)
		cl_buf_printf(&known, "%s%.*s", i ? ", " : "", CL_STR_ARGS(unit->organization->partners[i]));
	cl_fail(e, CL_E_RULE, "'%.*s' is no partner of this organization; known: %.*s", CL_STR_ARGS(partner),
	        CL_STR_ARGS(known.n ? cl_buf_str(&known) : CL_STR("none")));
	cl_buf_free(&known);
	return CL_E_RULE;
}

int cl_change_send(struct cl_unit *unit, struct cl_str partner, struct cl_str key, struct cl_json *bundle,
                   struct cl_err *e)
{
	struct cl_str text = cl_json_get_text(unit->organization->config, "hold_outgoing");
	struct cl_duration hold = {0};
	struct cl_err ignored = {0};
	if (text.n)
		cl_duration_parse(text, &hold, &ignored);
	return cl_change_send_held(unit, partner, key, bundle, hold, e);
}

/* So that an undo finds it. */
static int note_message(struct cl_unit *unit, const struct cl_outgoing *message, struct cl_err *e)
{
	if (!unit->origin)
		return 0;
	struct cl_json *detail = cl_json_new(unit->arena, CL_JSON_OBJECT);
	cl_json_set_integer(unit->arena, detail, "by", (int64_t)unit->origin);
	cl_json_set_text(unit->arena, detail, "key", message->key);
	struct cl_stored_event event = {
	        .cause = unit->cause,
	        .at = unit->now,
	        .kind = CL_STR("send"),
	        .actor = cl_unit_principal(unit),
	        .detail = cl_json_arena_text(unit->arena, detail),
	        .outcome = CL_STR("ok"),
	};
	return cl_store_event_append(unit->store, &event, e);
}

int cl_change_send_held(struct cl_unit *unit, struct cl_str partner, struct cl_str key, struct cl_json *bundle,
                        struct cl_duration hold, struct cl_err *e)
{
	if (!is_partner(unit->organization, partner))
		return refuse_partner(unit, partner, e);
	if (!key.n)
		key = cl_unit_id(unit, partner);
	struct cl_outgoing message = {
	        .key = cl_arena_printf(unit->arena, "%llu-%.*s", (unsigned long long)cl_store_incarnation(unit->store),
	                               CL_STR_ARGS(key)),
	        .destination = partner,
	        .body = cl_json_arena_text(unit->arena, bundle),
	        .created = unit->now,
	        .due = hold.amount > 0 ? cl_calendar_add(&unit->organization->calendar, unit->now, hold) : unit->now,
	        .state = CL_STR("waiting"),
	};
	int code = cl_store_outbox_append(unit->store, &message, e);
	if (!code)
		code = note_message(unit, &message, e);
	if (code)
		return code;
	unit->outbox_changed = true;
	return cl_unit_audit(
	        unit, CL_STR("send"),
	        cl_arena_printf(unit->arena, "message/%.*s to %.*s", CL_STR_ARGS(message.key), CL_STR_ARGS(partner)),
	        e);
}

/* ---- people ------------------------------------------------------------------------------------------------------ */

static bool asks(struct cl_str text)
{
	while (text.n && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\n'))
		text.n--;
	return text.n && text.p[text.n - 1] == '?';
}

/* A role has no resource: it stands as an identifier, and as a category because that can be searched. */
static void set_recipient(struct cl_arena *arena, struct cl_json *communication, struct cl_str to)
{
	struct cl_json *recipient = cl_json_append(arena, cl_json_set_array(arena, communication, "recipient"));
	recipient->kind = CL_JSON_OBJECT;
	if (memchr(to.p, '/', to.n)) {
		cl_json_set_text(arena, recipient, "reference", to);
		return;
	}
	struct cl_json *identifier = cl_json_set_object(arena, recipient, "identifier");
	cl_json_set_text(arena, identifier, "system", CL_STR(CL_ROLE_SYSTEM));
	cl_json_set_text(arena, identifier, "value", to);
	cl_fill_concept(arena, cl_json_append(arena, cl_json_set_array(arena, communication, "category")),
	                CL_STR(CL_ROLE_SYSTEM), to, CL_STR_NONE);
}

int cl_change_notify(struct cl_unit *unit, struct cl_str to, struct cl_str text, struct cl_str about,
                     struct cl_str priority, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	if (!to.n || !text.n)
		return cl_fail(e, CL_E_RULE, "a notice needs `to` (a role or a reference) and `text`");
	if (!memchr(to.p, '/', to.n) && !cl_catalog_has_role(unit->catalog, to))
		return cl_fail(e, CL_E_RULE, "'%.*s' is no role that a plugin declares, and no reference",
		               CL_STR_ARGS(to));
	struct cl_json *communication = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, communication, "resourceType", CL_STR("Communication"));
	cl_json_set_text(arena, communication, "status", asks(text) ? CL_STR("in-progress") : CL_STR("completed"));
	if (priority.n)
		cl_json_set_text(arena, communication, "priority", priority);
	struct cl_str patient = about.n ? cl_unit_patient_of(unit, about) : CL_STR_NONE;
	if (patient.n)
		cl_set_reference(arena, communication, "subject", patient);
	if (about.n) {
		struct cl_json *item = cl_json_append(arena, cl_json_set_array(arena, communication, "about"));
		item->kind = CL_JSON_OBJECT;
		cl_json_set_text(arena, item, "reference", about);
	}
	cl_json_set_text(arena, communication, "sent",
	                 cl_zone_text(arena, unit->organization->calendar.zone, unit->now));
	set_recipient(arena, communication, to);
	struct cl_str sender = unit->actor.reference.n ? unit->actor.reference : unit->organization->reference;
	if (sender.n)
		cl_set_reference(arena, communication, "sender", sender);
	struct cl_json *payload = cl_json_append(arena, cl_json_set_array(arena, communication, "payload"));
	payload->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, payload, "contentString", text);
	struct cl_version none = {.type = CL_TYPE_COMMUNICATION};
	return cl_unit_put_over(unit, CL_OP_CREATE, CL_TYPE_COMMUNICATION, cl_unit_id(unit, CL_STR("Communication")),
	                        communication, 0, &none, NULL, NULL, NULL, e);
}
