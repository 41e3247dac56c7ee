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

struct notice {
	struct cl_str to, priority, patient, sender;
	struct cl_json *about, *payload; /* arrays of references and texts */
};

static int create_communication(struct cl_unit *unit, const struct notice *notice, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *communication = cl_json_new(arena, CL_JSON_OBJECT);
	bool asking = notice->payload->count == 1 && asks(cl_json_text(&notice->payload->items[0]));
	cl_json_set_text(arena, communication, "resourceType", CL_STR("Communication"));
	cl_json_set_text(arena, communication, "status", asking ? CL_STR("in-progress") : CL_STR("completed"));
	if (notice->priority.n)
		cl_json_set_text(arena, communication, "priority", notice->priority);
	if (notice->patient.n)
		cl_set_reference(arena, communication, "subject", notice->patient);
	for (uint32_t i = 0; i < notice->about->count; i++) {
		struct cl_json *list = cl_json_get(communication, "about");
		struct cl_json *item =
		        cl_json_append(arena, list ? list : cl_json_set_array(arena, communication, "about"));
		item->kind = CL_JSON_OBJECT;
		cl_json_set_text(arena, item, "reference", cl_json_text(&notice->about->items[i]));
	}
	cl_json_set_text(arena, communication, "sent",
	                 cl_zone_text(arena, unit->organization->calendar.zone, unit->now));
	set_recipient(arena, communication, notice->to);
	if (notice->sender.n)
		cl_set_reference(arena, communication, "sender", notice->sender);
	struct cl_json *payload = cl_json_set_array(arena, communication, "payload");
	for (uint32_t i = 0; i < notice->payload->count; i++) {
		struct cl_json *item = cl_json_append(arena, payload);
		item->kind = CL_JSON_OBJECT;
		cl_json_set_text(arena, item, "contentString", cl_json_text(&notice->payload->items[i]));
	}
	struct cl_version none = {.type = CL_TYPE_COMMUNICATION};
	return cl_unit_put_over(unit, CL_OP_CREATE, CL_TYPE_COMMUNICATION, cl_unit_id(unit, CL_STR("Communication")),
	                        communication, 0, &none, NULL, NULL, NULL, e);
}

/* ---- digests ----------------------------------------------------------------------------------------------------- */

/* Is there a time of day at which this role is told everything at once? */
static bool has_digest(const struct cl_unit *unit, struct cl_str to, struct cl_str priority, struct cl_recurrence *when)
{
	struct cl_err ignored = {0};
	struct cl_str time = cl_json_text(cl_json_get_str(cl_json_get(unit->organization->config, "digests"), to));
	return time.n && (!priority.n || cl_str_is(priority, "routine")) &&
	       !cl_recurrence_parse(time, CL_STR("business days"), when, &ignored);
}

/* They wait in the timer's data. */
static int add_to_digest(struct cl_unit *unit, struct cl_str to, struct cl_str text, struct cl_str about,
                         const struct cl_recurrence *when, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_stored_timer timer;
	struct cl_err problem = {0};
	struct cl_json *data = NULL;
	struct cl_str name = cl_arena_printf(arena, "digest:%.*s", CL_STR_ARGS(to));
	int code = cl_store_timer_get(unit->store, arena, name, &timer, &problem);
	if (code && code != CL_E_NOT_FOUND) {
		*e = problem;
		return code;
	}
	if (code) {
		timer = (struct cl_stored_timer){
		        .name = name,
		        .due = cl_recurrence_next(&unit->organization->calendar, when, unit->now),
		        .rule = CL_STR("{}"),
		};
		data = cl_json_new(arena, CL_JSON_OBJECT);
		cl_json_set_array(arena, data, "items");
	} else if (cl_json_parse(arena, timer.data, NULL, &data, e)) {
		return CL_E_CORRUPT;
	}
	struct cl_json *item = cl_json_append(arena, cl_json_get(data, "items"));
	item->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, item, "text", text);
	if (about.n)
		cl_json_set_text(arena, item, "about", about);
	if (unit->origin)
		cl_json_set_integer(arena, item, "by", (int64_t)unit->origin);
	timer.data = cl_json_arena_text(arena, data);
	unit->timers_changed = true;
	return cl_store_timer_set(unit->store, &timer, e);
}

/* What was undone meanwhile is not told. */
static bool still_holds(struct cl_unit *unit, const struct cl_json *item)
{
	int64_t by = 0;
	return !cl_json_integer(cl_json_get(item, "by"), &by) ||
	       !cl_store_transition_is_undone(unit->store, (uint64_t)by);
}

int cl_digest_timer(struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *data;
	struct notice notice = {
	        .to = {timer->name.p + 7, timer->name.n - 7}, /* after "digest:" */
	        .sender = unit->organization->reference,
	        .about = cl_json_new(arena, CL_JSON_ARRAY),
	        .payload = cl_json_new(arena, CL_JSON_ARRAY),
	};
	if (cl_json_parse(arena, timer->data, NULL, &data, e))
		return CL_E_CORRUPT;
	const struct cl_json *items = cl_json_get(data, "items");
	for (uint32_t i = 0; items && i < items->count; i++) {
		struct cl_str about = cl_json_get_text(&items->items[i], "about");
		if (!still_holds(unit, &items->items[i]))
			continue;
		cl_json_append_text(arena, notice.payload, cl_json_get_text(&items->items[i], "text"));
		if (about.n)
			cl_json_append_text(arena, notice.about, about);
	}
	return notice.payload->count ? create_communication(unit, &notice, e) : 0;
}

int cl_change_notify(struct cl_unit *unit, struct cl_str to, struct cl_str text, struct cl_str about,
                     struct cl_str priority, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_recurrence when;
	if (!to.n || !text.n)
		return cl_fail(e, CL_E_RULE, "a notice needs `to` (a role or a reference) and `text`");
	if (!memchr(to.p, '/', to.n) && !cl_catalog_has_role(unit->catalog, to))
		return cl_fail(e, CL_E_RULE, "'%.*s' is no role that a plugin declares, and no reference",
		               CL_STR_ARGS(to));
	if (has_digest(unit, to, priority, &when))
		return add_to_digest(unit, to, text, about, &when, e);
	struct notice notice = {
	        .to = to,
	        .priority = priority,
	        .patient = about.n ? cl_unit_patient_of(unit, about) : CL_STR_NONE,
	        .sender = unit->actor.reference.n ? unit->actor.reference : unit->organization->reference,
	        .about = cl_json_new(arena, CL_JSON_ARRAY),
	        .payload = cl_json_new(arena, CL_JSON_ARRAY),
	};
	if (about.n)
		cl_json_append_text(arena, notice.about, about);
	cl_json_append_text(arena, notice.payload, text);
	return create_communication(unit, &notice, e);
}
