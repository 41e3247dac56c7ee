/* ctx.c: the object `ctx`: the only door out of a plugin. One for each plugin, so that it knows whose settings it shows; what
 * it does, it does to the unit that runs now. The calls stand in the other ctx_*.c, by what they are about. */
#include "base/closest.h"
#include "base/log.h"
#include "base/utf8.h"
#include "org/fhir/reference.h"
#include "org/lua/internal.h"

struct ctx {
	int plugin; /* index, -1 for the console */
};

static const char ctx_key, ctxs_key, setting_key;

/* ---- helpers of all calls ---- */

struct cl_str cl_unit_copy(struct cl_unit *unit, const char *text, size_t n)
{
	return cl_arena_copy(unit->arena, (struct cl_str){text, n});
}

void cl_push_str(lua_State *L, struct cl_str text)
{
	if (text.n)
		lua_pushlstring(L, text.p, text.n);
	else
		lua_pushnil(L);
}

void cl_set_str(lua_State *L, const char *name, struct cl_str text)
{
	cl_push_str(L, text);
	lua_setfield(L, -2, name);
}

void cl_set_instant(lua_State *L, const char *name, cl_instant at)
{
	char text[28];
	if (at) {
		lua_pushlstring(L, text, cl_instant_format(at, text));
		lua_setfield(L, -2, name);
	}
}

static bool is_ctx(lua_State *L, int index)
{
	if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
		return false;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &ctx_key);
	bool is = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is;
}

struct cl_unit *cl_ctx_unit(lua_State *L, const char *call, bool changing)
{
	struct cl_lua *lua = cl_lua_of(L);
	if (!is_ctx(L, 1))
		cl_raise_misuse(L, "%s: write it with a colon, ctx:%s(...)", call,
		                call + (strncmp(call, "ctx:", 4) ? 0 : 4));
	if (!lua->frame || !lua->frame->unit)
		cl_raise_misuse(L, "%s: nothing runs now that it could act on", call);
	if (changing && lua->frame->read_only)
		cl_raise_misuse(L, "%s: nothing can be changed here; guards, metrics and views only look", call);
	return lua->frame->unit;
}

static _Noreturn void refuse_type(lua_State *L, int index, const char *call, const char *name, const char *wanted)
{
	cl_raise_misuse(L, "%s: `%s` must be %s, not %s", call, name, wanted,
	                cl_is_view(L, index) ? "a resource" : luaL_typename(L, index));
	cl_die("an error was not raised");
}

struct cl_str cl_ctx_optional_text(lua_State *L, int index, const char *call, const char *name)
{
	size_t n;
	if (lua_isnoneornil(L, index))
		return CL_STR_NONE;
	if (lua_type(L, index) != LUA_TSTRING)
		refuse_type(L, index, call, name, "text");
	const char *text = lua_tolstring(L, index, &n);
	if (!cl_utf8_valid((struct cl_str){text, n}) || memchr(text, 0, n))
		cl_raise_misuse(L, "%s: `%s` is no UTF-8 text", call, name);
	return cl_unit_copy(cl_lua_of(L)->frame->unit, text, n);
}

struct cl_str cl_ctx_text(lua_State *L, int index, const char *call, const char *name)
{
	struct cl_str text = cl_ctx_optional_text(L, index, call, name);
	if (!text.n)
		refuse_type(L, index, call, name, "text");
	return text;
}

struct cl_str cl_ctx_reference(lua_State *L, int index, const char *call, const char *name)
{
	struct cl_unit *unit = cl_lua_of(L)->frame->unit;
	if (lua_type(L, index) == LUA_TTABLE || cl_is_view(L, index)) {
		const struct cl_json *value = cl_take_json(L, index, unit->arena, name);
		struct cl_str reference = cl_json_get_text(value, "reference"), id = cl_json_get_text(value, "id");
		if (reference.n)
			return reference;
		if (id.n && cl_json_get(value, "resourceType"))
			return cl_arena_printf(unit->arena, "%.*s/%.*s",
			                       CL_STR_ARGS(cl_json_get_text(value, "resourceType")), CL_STR_ARGS(id));
		refuse_type(L, index, call, name, "a reference such as \"Patient/x\"");
	}
	if (lua_type(L, index) != LUA_TSTRING)
		refuse_type(L, index, call, name, "a reference such as \"Patient/x\"");
	return cl_ctx_text(L, index, call, name);
}

struct cl_str cl_ctx_task(lua_State *L, int index, const char *call)
{
	struct cl_str text = cl_ctx_reference(L, index, call, "task");
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	if (reference.form != CL_FHIR_REFERENCE_RELATIVE || reference.type != CL_TYPE_TASK)
		cl_raise_misuse(L, "%s: '%.80s' is no reference to a Task (\"Task/x\")", call, text.p);
	return reference.id;
}

void cl_ctx_fields(lua_State *L, int index, const char *call, const char *const *known)
{
	if (lua_type(L, index) != LUA_TTABLE)
		cl_raise_misuse(L, "%s: expected a table of fields, not %s", call, luaL_typename(L, index));
	index = lua_absindex(L, index);
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
		if (lua_type(L, -2) != LUA_TSTRING)
			cl_raise_misuse(L, "%s: its fields have names", call);
		const char *name = lua_tostring(L, -2);
		struct cl_closest closest = {.wanted = cl_str_of(name)};
		bool found = false;
		for (const char *const *each = known; *each && !found; each++) {
			found = strcmp(*each, name) == 0;
			cl_closest_offer(&closest, *each);
		}
		if (!found && closest.best)
			cl_raise_misuse(L, "%s: unknown field '%.60s'; did you mean '%s'?", call, name, closest.best);
		if (!found)
			cl_raise_misuse(L, "%s: unknown field '%.60s'", call, name);
	}
}

int cl_ctx_field(lua_State *L, int index, const char *name)
{
	index = lua_absindex(L, index);
	lua_pushstring(L, name);
	return lua_rawget(L, index);
}

struct cl_str cl_ctx_field_text(lua_State *L, int index, const char *name, const char *call)
{
	cl_ctx_field(L, index, name);
	struct cl_str text = cl_ctx_optional_text(L, -1, call, name);
	lua_pop(L, 1);
	return text;
}

struct cl_str cl_ctx_field_reference(lua_State *L, int index, const char *name, const char *call)
{
	struct cl_str text = CL_STR_NONE;
	if (cl_ctx_field(L, index, name) != LUA_TNIL)
		text = cl_ctx_reference(L, lua_gettop(L), call, name);
	lua_pop(L, 1);
	return text;
}

int cl_ctx_failed(lua_State *L, struct cl_err *e, const struct cl_issues *issues)
{
	if (issues && issues->errors && (e->code == 0 || e->code == CL_E_RULE || !e->message[0]))
		cl_issues_first_error(issues, e->code ? e->code : CL_E_RULE, e);
	if (!e->code)
		cl_fail(e, CL_E_INTERNAL, "a change failed without saying why");
	if (cl_lua_of(L)->stop != CL_STOP_NONE)
		return cl_raise_stop(L);
	return cl_raise_for_good(L, e);
}

/* ---- what it shows ---- */

static void push_texts(lua_State *L, const struct cl_str *texts, size_t count)
{
	lua_createtable(L, (int)count, 0);
	for (size_t i = 0; i < count; i++) {
		lua_pushlstring(L, texts[i].p, texts[i].n);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static void push_actor(lua_State *L, const struct cl_unit *unit)
{
	lua_createtable(L, 0, 4);
	cl_set_str(L, "name", unit->actor.name);
	cl_set_str(L, "kind", unit->actor.kind);
	cl_set_str(L, "reference", unit->actor.reference);
	push_texts(L, unit->actor.roles, unit->actor.role_count);
	lua_setfield(L, -2, "roles");
}

/* What rules may need of a partner: where it is reached and by which certificate is none of a plugin's business. */
static void push_partners(lua_State *L, const struct cl_organization_facts *organization)
{
	const struct cl_json *partners = cl_json_get(organization->config, "partners");
	lua_createtable(L, 0, (int)organization->partner_count);
	for (size_t i = 0; i < organization->partner_count; i++) {
		const struct cl_json *partner = cl_json_get_str(partners, organization->partners[i]);
		lua_pushlstring(L, organization->partners[i].p, organization->partners[i].n);
		lua_createtable(L, 0, 4);
		for (uint32_t k = 0; partner && partner->kind == CL_JSON_OBJECT && k < partner->count; k++) {
			struct cl_str name = partner->members[k].name;
			if (cl_str_is(name, "url") || cl_str_is(name, "certificate") || cl_str_is(name, "anchor"))
				continue;
			lua_pushlstring(L, name.p, name.n);
			cl_push_plain(L, &partner->members[k].value);
			lua_rawset(L, -3);
		}
		lua_rawset(L, -3);
	}
}

static void push_organization(lua_State *L, const struct cl_organization_facts *organization)
{
	lua_createtable(L, 0, 6);
	cl_set_str(L, "id", organization->id);
	cl_set_str(L, "name", organization->name);
	lua_pushstring(L, organization->calendar.zone ? cl_zone_name(organization->calendar.zone) : "UTC");
	lua_setfield(L, -2, "zone");
	cl_set_str(L, "reference", organization->reference);
	cl_set_str(L, "model", organization->model);
	push_partners(L, organization);
	lua_setfield(L, -2, "partners");
}

/* ---- settings ---- */

/* Scalars as they are; lists and tables as a view, of which an assignment changes a private copy only. */
static void push_setting(lua_State *L, const struct cl_json *value)
{
	if (value && (value->kind == CL_JSON_ARRAY || value->kind == CL_JSON_OBJECT))
		cl_push_view(L, value, CL_STR_NONE, 0);
	else
		cl_push_plain(L, value);
}

static const struct cl_setting *find_setting(const struct cl_lua *lua, struct cl_str plugin, struct cl_str name)
{
	for (size_t i = 0; i < lua->catalog.setting_count; i++)
		if (cl_str_equal(lua->catalog.settings[i].name, name) &&
		    cl_str_equal(lua->catalog.settings[i].plugin, plugin))
			return &lua->catalog.settings[i];
	return NULL;
}

/* Likeness costs more than the search: it is looked for only when there is something to say. */
static struct cl_closest like_setting(const struct cl_lua *lua, struct cl_str plugin, struct cl_str name)
{
	struct cl_closest closest = {.wanted = name};
	for (size_t i = 0; i < lua->catalog.setting_count; i++)
		if (cl_str_equal(lua->catalog.settings[i].plugin, plugin))
			cl_closest_offer(&closest, lua->catalog.settings[i].name.p);
	return closest;
}

static struct cl_str scope_name(const struct cl_lua *lua, int plugin)
{
	return plugin >= 0 ? lua->plugins[lua->plugins[plugin].scope].name : CL_STR_NONE;
}

static void push_setting_of(lua_State *L, struct cl_str plugin, struct cl_str name)
{
	const struct cl_setting *setting = find_setting(cl_lua_of(L), plugin, name);
	struct cl_closest closest = {0};
	if (!setting)
		closest = like_setting(cl_lua_of(L), plugin, name);
	if (!setting && closest.best)
		cl_raise_misuse(L, "plugin %.*s has no setting '%.*s'; did you mean '%s'?", CL_STR_ARGS(plugin),
		                CL_STR_ARGS(name), closest.best);
	if (!setting)
		cl_raise_misuse(L, "plugin %.*s has no setting '%.*s'", CL_STR_ARGS(plugin), CL_STR_ARGS(name));
	push_setting(L, setting->value);
}

static int setting_index(lua_State *L)
{
	const struct ctx *ctx = lua_touserdata(L, 1);
	struct cl_str name;
	if (lua_type(L, 2) != LUA_TSTRING)
		return cl_raise_misuse(L, "ctx.setting: settings have names");
	name.p = lua_tolstring(L, 2, &name.n);
	push_setting_of(L, scope_name(cl_lua_of(L), ctx->plugin), name);
	return 1;
}

static int setting_pairs(lua_State *L)
{
	const struct ctx *ctx = lua_touserdata(L, 1);
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_str plugin = scope_name(lua, ctx->plugin);
	lua_newtable(L);
	for (size_t i = 0; i < lua->catalog.setting_count; i++) {
		const struct cl_setting *setting = &lua->catalog.settings[i];
		if (!cl_str_equal(setting->plugin, plugin))
			continue;
		lua_pushlstring(L, setting->name.p, setting->name.n);
		push_setting(L, setting->value);
		lua_rawset(L, -3);
	}
	return cl_push_pairs(L, -1);
}

/* ctx.setting_of("plugin", "name"), with a dot or a colon. */
static int setting_of(lua_State *L)
{
	int first = is_ctx(L, 1) ? 2 : 1;
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_str plugin = cl_ctx_text(L, first, "ctx.setting_of", "plugin");
	struct cl_str name = cl_ctx_text(L, first + 1, "ctx.setting_of", "name");
	for (int i = 0; i < lua->plugin_count; i++)
		if (cl_str_equal(lua->plugins[i].name, plugin)) {
			push_setting_of(L, scope_name(lua, i), name);
			return 1;
		}
	return cl_raise_misuse(L, "ctx.setting_of: this organization uses no plugin '%.*s'", CL_STR_ARGS(plugin));
}

/* ---- refusing and logging ---- */

static int refuse(lua_State *L)
{
	static const char call[] = "ctx:refuse";
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_err e = {0};
	cl_ctx_unit(L, call, false);
	struct cl_str words = cl_ctx_text(L, 2, call, "words"), place = cl_ctx_optional_text(L, 3, call, "place");
	cl_fail(&e, CL_E_RULE, "%.*s", CL_STR_ARGS(words));
	cl_fail_at(&e, "%.*s", CL_STR_ARGS(place));
	/* A guard's refusal concerns its event only: a clock whose event is refused goes on. */
	return lua->frame->read_only ? cl_raise_plainly(L, &e) : cl_raise_refusal(L, &e);
}

static int log_line(lua_State *L)
{
	struct cl_lua *lua = cl_lua_of(L);
	cl_ctx_unit(L, "ctx:log", false);
	struct cl_str text = cl_ctx_text(L, 2, "ctx:log", "text"), file;
	int line;
	cl_lua_place(L, 0, &file, &line);
	if (lua->printed) {
		cl_buf_add_str(lua->printed, text);
		cl_buf_add_byte(lua->printed, '\n');
	}
	cl_log(CL_LOG_INFO, "plugin", "plugin=%.*s at=%.*s:%d text=%.*s", CL_STR_ARGS(lua->frame->unit->plugin),
	       CL_STR_ARGS(file), line, (int)(text.n < 300 ? text.n : 300), text.p);
	return 0;
}

/* ---- the object ---- */

/* Upvalue 1: table of calls. */
static int ctx_index(lua_State *L)
{
	const struct ctx *ctx = lua_touserdata(L, 1);
	lua_pushvalue(L, 2);
	if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
		return 1;
	const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
	const struct cl_frame *frame = cl_lua_of(L)->frame;
	if (!frame || !frame->unit)
		return cl_raise_misuse(L, "ctx.%s: nothing runs now", name);
	if (strcmp(name, "setting") == 0) {
		struct ctx *setting = lua_newuserdatauv(L, sizeof *setting, 0);
		*setting = *ctx;
		lua_rawgetp(L, LUA_REGISTRYINDEX, &setting_key);
		lua_setmetatable(L, -2);
	} else if (strcmp(name, "actor") == 0) {
		push_actor(L, frame->unit);
	} else if (strcmp(name, "organization") == 0) {
		push_organization(L, frame->unit->organization);
	} else {
		struct cl_closest closest = {.wanted = cl_str_of(name)};
		for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)); lua_pop(L, 1))
			cl_closest_offer(&closest, lua_tostring(L, -2));
		cl_closest_offer(&closest, "actor");
		cl_closest_offer(&closest, "organization");
		cl_closest_offer(&closest, "setting");
		return closest.best ? cl_raise_misuse(L, "ctx has no '%.60s'; did you mean '%s'?", name, closest.best)
		                    : cl_raise_misuse(L, "ctx has no '%.60s'", name);
	}
	return 1;
}

static int ctx_assign(lua_State *L)
{
	return cl_raise_misuse(L, "ctx and its settings cannot be changed");
}

static int ctx_text(lua_State *L)
{
	lua_pushliteral(L, "ctx");
	return 1;
}

static void add_guards(lua_State *L)
{
	lua_pushcfunction(L, ctx_assign);
	lua_setfield(L, -2, "__newindex");
	lua_pushcfunction(L, ctx_text);
	lua_setfield(L, -2, "__tostring");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
}

void cl_ctx_push(lua_State *L, int plugin)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, &ctxs_key);
	lua_rawgeti(L, -1, plugin + 2);
	lua_remove(L, -2);
}

void cl_ctx_open(lua_State *L)
{
	static const luaL_Reg own[] = {
	        {"refuse", refuse},
	        {"log", log_line},
	        {"setting_of", setting_of},
	        {NULL, NULL},
	};
	struct cl_lua *lua = cl_lua_of(L);
	lua_createtable(L, 0, 4); /* ctx */
	lua_createtable(L, 0, 32);
	luaL_setfuncs(L, own, 0);
	luaL_setfuncs(L, cl_ctx_read_calls, 0);
	luaL_setfuncs(L, cl_ctx_instance_calls, 0);
	luaL_setfuncs(L, cl_ctx_change_calls, 0);
	luaL_setfuncs(L, cl_ctx_flow_calls, 0);
	luaL_setfuncs(L, cl_ctx_time_calls, 0);
	luaL_setfuncs(L, cl_ctx_send_calls, 0);
	luaL_setfuncs(L, cl_ctx_codes_calls, 0);
	lua_pushcclosure(L, ctx_index, 1);
	lua_setfield(L, -2, "__index");
	add_guards(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &ctx_key);

	lua_createtable(L, 0, 5); /* ctx.setting */
	lua_pushcfunction(L, setting_index);
	lua_setfield(L, -2, "__index");
	lua_pushcfunction(L, setting_pairs);
	lua_setfield(L, -2, "__pairs");
	add_guards(L);
	lua_rawsetp(L, LUA_REGISTRYINDEX, &setting_key);

	lua_createtable(L, lua->plugin_count + 1, 0);
	for (int plugin = -1; plugin < lua->plugin_count; plugin++) {
		struct ctx *ctx = lua_newuserdatauv(L, sizeof *ctx, 0);
		ctx->plugin = plugin;
		lua_rawgetp(L, LUA_REGISTRYINDEX, &ctx_key);
		lua_setmetatable(L, -2);
		lua_rawseti(L, -2, plugin + 2);
	}
	lua_rawsetp(L, LUA_REGISTRYINDEX, &ctxs_key);
}
