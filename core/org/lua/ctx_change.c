/* ctx_change.c: ctx:create, ctx:update, ctx:delete, ctx:notify. */
#include "org/fhir/reference.h"
#include "org/lua/internal.h"

static uint16_t type_of(lua_State *L, const struct cl_json *resource, const char *call)
{
	struct cl_str name = cl_json_get_text(resource, "resourceType");
	uint16_t type = cl_fhir_type(name);
	if (!name.n)
		cl_raise_misuse(L, "%s: the resource has no resourceType", call);
	if (!type)
		cl_raise_misuse(L, "%s: '%.*s' is no type of FHIR R4", call, CL_STR_ARGS(name));
	return type;
}

static struct cl_json *take_resource(lua_State *L, struct cl_unit *unit, const char *call)
{
	if (!lua_istable(L, 2) && !cl_is_view(L, 2))
		cl_raise_misuse(L, "%s: expected a resource (a table, or what ctx:read gave), not %s", call,
		                luaL_typename(L, 2));
	struct cl_json *resource = cl_take_json(L, 2, unit->arena, "resource");
	if (resource->kind != CL_JSON_OBJECT)
		cl_raise_misuse(L, "%s: a list is no resource", call);
	return resource;
}

static int push_reference(lua_State *L, uint16_t type, struct cl_str id)
{
	struct cl_str name = cl_fhir_type_name(type);
	lua_pushlstring(L, name.p, name.n);
	lua_pushliteral(L, "/");
	lua_pushlstring(L, id.p, id.n);
	lua_concat(L, 3);
	return 1;
}

static int create(lua_State *L)
{
	static const char call[] = "ctx:create";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_json *resource = take_resource(L, unit, call);
	uint16_t type = type_of(L, resource, call);
	struct cl_version version = {0};
	struct cl_issues issues;
	struct cl_err e = {0};
	cl_issues_init(&issues, unit->arena, 0);
	cl_json_remove(resource, "id"); /* as FHIR's create: the server chooses */
	if (cl_change_create(unit, resource, CL_STR_NONE, &version, &issues, &e))
		return cl_ctx_failed(L, &e, &issues);
	return push_reference(L, type, version.id);
}

static int update(lua_State *L)
{
	static const char call[] = "ctx:update";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_json *resource = take_resource(L, unit, call);
	uint16_t type = type_of(L, resource, call);
	struct cl_version version = {0};
	struct cl_issues issues;
	struct cl_err e = {0};
	cl_issues_init(&issues, unit->arena, 0);
	if (!cl_json_get_text(resource, "id").n)
		return cl_raise_misuse(L, "%s: the resource has no id; ctx:create makes new ones", call);
	/* What was read before another handler changed it must not undo that change. */
	int64_t expected = cl_is_view(L, 2) ? cl_view_version(L, 2) : 0;
	if (cl_change_update(unit, resource, expected, &version, &issues, &e))
		return cl_ctx_failed(L, &e, &issues);
	if (cl_is_view(L, 2) && version.version)
		cl_view_set_version(L, 2, version.version);
	return push_reference(L, type, cl_json_get_text(resource, "id"));
}

static int delete_resource(lua_State *L)
{
	static const char call[] = "ctx:delete";
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_str text = cl_ctx_reference(L, 2, call, "reference");
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	struct cl_version version = {0};
	struct cl_err e = {0};
	if (reference.form != CL_FHIR_REFERENCE_RELATIVE || !reference.id.n)
		return cl_raise_misuse(L, "%s: '%.80s' is no reference such as \"Flag/x\"", call, text.p);
	if (cl_change_delete(unit, reference.type, reference.id, 0, &version, &e))
		return cl_ctx_failed(L, &e, NULL);
	return push_reference(L, reference.type, reference.id);
}

static int notify(lua_State *L)
{
	static const char call[] = "ctx:notify";
	static const char *const known[] = {"to", "text", "about", "priority", NULL};
	struct cl_unit *unit = cl_ctx_unit(L, call, true);
	struct cl_err e = {0};
	cl_ctx_fields(L, 2, call, known);
	struct cl_str to = cl_ctx_field_reference(L, 2, "to", call), text = cl_ctx_field_text(L, 2, "text", call);
	struct cl_str about = cl_ctx_field_reference(L, 2, "about", call);
	struct cl_str priority = cl_ctx_field_text(L, 2, "priority", call);
	if (!to.n || !text.n)
		return cl_raise_misuse(L, "%s: needs `to` (a role or a reference) and `text`", call);
	struct cl_change **end = unit->changes_end;
	if (cl_change_notify(unit, to, text, about, priority, &e))
		return cl_ctx_failed(L, &e, NULL);
	for (const struct cl_change *change = end ? *end : unit->changes; change; change = change->next)
		if (change->type == CL_TYPE_COMMUNICATION && change->operation == CL_OP_CREATE)
			return push_reference(L, change->type, change->id);
	return 0;
}

const luaL_Reg cl_ctx_change_calls[] = {
        {"create", create}, {"update", update}, {"delete", delete_resource}, {"notify", notify}, {NULL, NULL},
};
