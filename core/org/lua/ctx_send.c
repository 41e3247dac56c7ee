/* ctx_send.c: ctx:send: a FHIR R4 message Bundle (section 2.4) for a partner, queued in the same transaction. */
#include "base/hash.h"
#include "org/flow/reply_link.h"
#include "org/lua/internal.h"
#include <stdio.h>

#define RESOURCES_MAXIMUM 200

/* A uuid that follows from the message's id, so that a replay makes the same one. */
static struct cl_str derived_urn(struct cl_arena *arena, struct cl_str id, int number)
{
	uint8_t hash[CL_SHA256_SIZE];
	char hex[33];
	cl_sha256_of(cl_arena_printf(arena, "%.*s#%d", CL_STR_ARGS(id), number), hash);
	hash[6] = (uint8_t)((hash[6] & 0x0f) | 0x80); /* RFC 9562 version 8: made in a way of our own */
	hash[8] = (uint8_t)((hash[8] & 0x3f) | 0x80);
	cl_hex(hash, 16, hex);
	return cl_arena_printf(arena, "urn:uuid:%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* References within the message ("Patient/x") resolve against a fullUrl that has the form of a RESTful address (R4 section
 * 2.36.4.1). An organization that says no `url` of its own gets one that never leads anywhere (RFC 2606). */
static struct cl_str full_url(struct cl_unit *unit, const struct cl_json *resource, struct cl_str id, int number)
{
	struct cl_arena *arena = unit->arena;
	struct cl_str own = cl_json_get_text(unit->organization->config, "url"),
	              name = cl_json_get_text(resource, "id");
	struct cl_str type = cl_json_get_text(resource, "resourceType");
	if (!name.n)
		return derived_urn(arena, id, number);
	while (own.n && own.p[own.n - 1] == '/')
		own.n--;
	if (own.n)
		return cl_arena_printf(arena, "%.*s/fhir/%.*s/%.*s", CL_STR_ARGS(own), CL_STR_ARGS(type),
		                       CL_STR_ARGS(name));
	return cl_arena_printf(arena, "https://%.*s.careloop.invalid/fhir/%.*s/%.*s",
	                       CL_STR_ARGS(unit->organization->id), CL_STR_ARGS(type), CL_STR_ARGS(name));
}

static void set_endpoint(struct cl_arena *arena, struct cl_json *object, struct cl_str organization)
{
	cl_json_set_text(arena, object, "endpoint",
	                 cl_arena_printf(arena, "urn:careloop:organization:%.*s", CL_STR_ARGS(organization)));
}

static struct cl_json *add_entry(struct cl_arena *arena, struct cl_json *entries, struct cl_str url)
{
	struct cl_json *entry = cl_json_append(arena, entries);
	entry->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, entry, "fullUrl", url);
	return cl_json_set(arena, entry, CL_STR("resource"));
}

static struct cl_json *make_header(struct cl_unit *unit, struct cl_str id, struct cl_str partner, struct cl_str event)
{
	struct cl_arena *arena = unit->arena;
	const struct cl_organization_facts *organization = unit->organization;
	const struct cl_json *known = cl_json_get_str(cl_json_get(organization->config, "partners"), partner);
	struct cl_json *header = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, header, "resourceType", CL_STR("MessageHeader"));
	cl_json_set_text(arena, header, "id", id);
	struct cl_json *coding = cl_json_set_object(arena, header, "eventCoding");
	cl_json_set_text(arena, coding, "system", CL_STR("urn:careloop:event"));
	cl_json_set_text(arena, coding, "code", event);
	struct cl_json *destination = cl_json_append(arena, cl_json_set_array(arena, header, "destination"));
	destination->kind = CL_JSON_OBJECT;
	struct cl_str name = cl_json_get_text(known, "name"), reference = cl_json_get_text(known, "reference");
	if (name.n)
		cl_json_set_text(arena, destination, "name", name);
	set_endpoint(arena, destination, partner);
	if (reference.n)
		cl_json_set_text(arena, cl_json_set_object(arena, destination, "receiver"), "reference", reference);
	if (organization->reference.n)
		cl_json_set_text(arena, cl_json_set_object(arena, header, "sender"), "reference",
		                 organization->reference);
	struct cl_json *source = cl_json_set_object(arena, header, "source");
	if (organization->name.n)
		cl_json_set_text(arena, source, "name", organization->name);
	set_endpoint(arena, source, organization->id);
	return header;
}

/* `resources` is an array of objects with resourceType. */
static struct cl_json *make_bundle(struct cl_unit *unit, struct cl_str id, struct cl_str partner, struct cl_str event,
                                   const struct cl_json *resources)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *bundle = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, bundle, "resourceType", CL_STR("Bundle"));
	cl_json_set_text(arena, bundle, "id", id);
	cl_json_set_text(arena, bundle, "type", CL_STR("message"));
	cl_json_set_text(arena, bundle, "timestamp", cl_instant_text(arena, unit->now));
	struct cl_json *header = make_header(unit, cl_unit_id(unit, CL_STR("MessageHeader")), partner, event);
	struct cl_json *entries = cl_json_set_array(arena, bundle, "entry");
	struct cl_json *first = add_entry(arena, entries, derived_urn(arena, id, 0));
	*first = *header;
	struct cl_json focus = {.kind = CL_JSON_ARRAY};
	for (uint32_t i = 0; i < resources->count; i++) {
		struct cl_str url = full_url(unit, &resources->items[i], id, (int)i + 1);
		*add_entry(arena, entries, url) = resources->items[i];
		struct cl_json *reference = cl_json_append(arena, &focus);
		reference->kind = CL_JSON_OBJECT;
		cl_json_set_text(arena, reference, "reference", url);
	}
	if (focus.count) /* the header's place may have moved while entries were added */
		*cl_json_set(arena, cl_json_get(&entries->items[0], "resource"), CL_STR("focus")) = focus;
	return bundle;
}

/* { hold = "5 minutes" }, or false: not at all. */
static struct cl_duration take_hold(lua_State *L, int index, const char *call)
{
	static const char *const known[] = {"hold", NULL};
	struct cl_duration hold = {0};
	struct cl_err e = {0};
	cl_ctx_fields(L, index, call, known);
	if (cl_ctx_field(L, index, "hold") == LUA_TSTRING) {
		struct cl_str text = cl_ctx_text(L, -1, call, "hold");
		if (cl_duration_parse(text, &hold, &e))
			cl_raise_misuse(L, "%s: %s", call, e.message);
	} else if (lua_toboolean(L, -1)) {
		cl_raise_misuse(L, "%s: `hold` is a duration such as \"5 minutes\", or false", call);
	}
	lua_pop(L, 1);
	return hold;
}

static int send(lua_State *L)
{
	static const char call[] = "ctx:send";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_err e = {0};
	struct cl_str partner = cl_ctx_text(L, 2, call, "partner"), event = cl_ctx_text(L, 3, call, "event");
	if (!lua_istable(L, 4) && !cl_is_view(L, 4))
		return cl_raise_misuse(L, "%s: expected a list of resources, not %s", call, luaL_typename(L, 4));
	struct cl_json *resources = cl_take_json(L, 4, unit->arena, "resources");
	if (resources->kind == CL_JSON_OBJECT && resources->count == 0)
		resources->kind = CL_JSON_ARRAY;
	if (resources->kind != CL_JSON_ARRAY)
		return cl_raise_misuse(L, "%s: the resources are a list, { resource, ... }", call);
	if (resources->count > RESOURCES_MAXIMUM)
		return cl_raise_misuse(L, "%s: %u resources; at most %d go into one message", call, resources->count,
		                       RESOURCES_MAXIMUM);
	for (uint32_t i = 0; i < resources->count; i++)
		if (!cl_fhir_type(cl_json_get_text(&resources->items[i], "resourceType")))
			return cl_raise_misuse(L, "%s: element %u of the list is no resource", call, i + 1);
	struct cl_duration hold = {0};
	bool held = !lua_isnoneornil(L, 5);
	if (held)
		hold = take_hold(L, 5, call);
	struct cl_str id = cl_unit_id(unit, CL_STR("message"));
	struct cl_json *bundle = make_bundle(unit, id, partner, event, resources);
	if (held ? cl_change_send_held(unit, partner, id, bundle, hold, &e)
	         : cl_change_send(unit, partner, id, bundle, &e))
		return cl_ctx_failed(L, &e, NULL);
	cl_push_str(L, id);
	return 1;
}

/* ---- reply links ---- */

static int reply_link(lua_State *L)
{
	static const char call[] = "ctx:reply_link";
	static const char *const known[] = {"task", "events", "expires", "title", "note", "show", "on_behalf_of", NULL};
	static const char *const offered[] = {"events", "title", "note", "show", "on_behalf_of"};
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_err e = {0};
	struct cl_str url, expires;
	struct cl_duration duration = {14, CL_DAYS};
	cl_ctx_fields(L, 2, call, known);
	cl_ctx_field(L, 2, "task");
	struct cl_reply_link link = {
	        .task = cl_ctx_task(L, lua_gettop(L), call),
	        .offer = cl_json_new(unit->arena, CL_JSON_OBJECT),
	};
	lua_pop(L, 1);
	expires = cl_ctx_field_text(L, 2, "expires", call);
	if (expires.n && (cl_duration_parse(expires, &duration, &e) || duration.amount <= 0))
		return cl_raise_misuse(L, "%s: `expires` is a duration such as \"14 days\"", call);
	link.expires = cl_calendar_add(&unit->organization->calendar, unit->now, duration);
	for (size_t i = 0; i < sizeof offered / sizeof *offered; i++) {
		if (cl_ctx_field(L, 2, offered[i]) != LUA_TNIL)
			*cl_json_set(unit->arena, link.offer, cl_str_of(offered[i])) =
			        *cl_take_json(L, lua_gettop(L), unit->arena, offered[i]);
		lua_pop(L, 1);
	}
	const struct cl_json *events = cl_json_get(link.offer, "events");
	if (!events || events->kind != CL_JSON_ARRAY || !events->count)
		return cl_raise_misuse(L, "%s: needs `events`, a list of those that may be answered", call);
	if (cl_reply_link_new(unit, &link, &url, &e))
		return cl_ctx_failed(L, &e, NULL);
	cl_push_str(L, url);
	return 1;
}

static int revoke_reply_links(lua_State *L)
{
	static const char call[] = "ctx:revoke_reply_links";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_err e = {0};
	return cl_reply_links_revoke(unit, cl_ctx_task(L, 2, call), &e) ? cl_ctx_failed(L, &e, NULL) : 0;
}

const luaL_Reg cl_ctx_send_calls[] = {
        {"send", send},
        {"reply_link", reply_link},
        {"revoke_reply_links", revoke_reply_links},
        {NULL, NULL},
};
