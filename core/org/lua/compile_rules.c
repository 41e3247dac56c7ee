/* compile_rules.c: handlers, recurrences, timers, receivers, operations, roles and settings. */
#include "org/lua/compile.h"

static struct cl_lua *begin(lua_State *L, int index, const char *name, size_t *count)
{
	*count = cl_push_list(L, index, name);
	return cl_lua_of(L);
}

static int push_item(lua_State *L, size_t i)
{
	lua_rawgeti(L, -1, (lua_Integer)i + 1);
	return lua_gettop(L);
}

static void compile_on(lua_State *L, int index)
{
	size_t count;
	struct cl_lua *lua = begin(L, index, "handlers", &count);
	struct cl_catalog *catalog = &lua->catalog;
	catalog->handlers = count ? CL_NEW_ARRAY(lua->arena, struct cl_handler, count) : NULL;
	lua->hearings = count ? CL_NEW_ARRAY(lua->arena, struct cl_lua_hearing, count) : NULL;
	catalog->handler_count = count;
	for (size_t i = 0; i < count; i++) {
		int at = push_item(L, i);
		struct cl_handler *handler = &catalog->handlers[i];
		*handler = (struct cl_handler){
		        .event = cl_field_text(L, at, "name"),
		        .plugin = cl_field_text(L, at, "plugin"),
		        .after = cl_field_text(L, at, "after"),
		        .origin = cl_field_origin(L, at),
		};
		handler->function =
		        cl_field_function(L, at, "body", &handler->origin, "on %.*s", CL_STR_ARGS(handler->event));
		lua->hearings[i] = (struct cl_lua_hearing){
		        .type = cl_fhir_type(cl_field_text(L, at, "type")),
		        .operation = (uint8_t)cl_field_integer(L, at, "operation", 0),
		        .word = cl_field_text(L, at, "word"),
		        .workflow = cl_field_text(L, at, "workflow"),
		};
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_every(lua_State *L, int index)
{
	size_t count;
	struct cl_lua *lua = begin(L, index, "recurring", &count);
	lua->catalog.recurring = count ? CL_NEW_ARRAY(lua->arena, struct cl_recurring, count) : NULL;
	lua->catalog.recurring_count = count;
	for (size_t i = 0; i < count; i++) {
		int at = push_item(L, i);
		struct cl_recurring *recurring = &lua->catalog.recurring[i];
		recurring->plugin = cl_field_text(L, at, "plugin");
		recurring->number = (uint32_t)cl_field_integer(L, at, "number", 0);
		recurring->origin = cl_field_origin(L, at);
		lua_getfield(L, at, "body");
		int body = lua_gettop(L);
		struct cl_str time = cl_field_text(L, body, "time"), days = cl_field_text(L, body, "days");
		if (cl_recurrence_parse(time, days, &recurring->rule, NULL))
			recurring->rule = (struct cl_recurrence){0}; /* schema.lua has refused it */
		recurring->function = cl_field_function(L, body, "body", &recurring->origin, "every %.*s %.*s",
		                                        CL_STR_ARGS(time), CL_STR_ARGS(days));
		lua_pop(L, 2);
	}
	lua_pop(L, 1);
}

static void compile_timers(lua_State *L, int index)
{
	size_t count;
	struct cl_lua *lua = begin(L, index, "timers", &count);
	lua->catalog.timers = count ? CL_NEW_ARRAY(lua->arena, struct cl_timer_handler, count) : NULL;
	lua->catalog.timer_count = count;
	for (size_t i = 0; i < count; i++) {
		int at = push_item(L, i);
		struct cl_timer_handler *timer = &lua->catalog.timers[i];
		timer->plugin = cl_field_text(L, at, "scope");
		timer->key = cl_field_text(L, at, "name");
		timer->origin = cl_field_origin(L, at);
		timer->function =
		        cl_field_function(L, at, "body", &timer->origin, "timer %.*s", CL_STR_ARGS(timer->key));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_receivers(lua_State *L, int index)
{
	size_t count;
	struct cl_lua *lua = begin(L, index, "receivers", &count);
	lua->catalog.receivers = count ? CL_NEW_ARRAY(lua->arena, struct cl_receiver, count) : NULL;
	lua->catalog.receiver_count = count;
	for (size_t i = 0; i < count; i++) {
		int at = push_item(L, i);
		struct cl_receiver *receiver = &lua->catalog.receivers[i];
		receiver->event = cl_field_text(L, at, "name");
		receiver->plugin = cl_field_text(L, at, "plugin");
		receiver->origin = cl_field_origin(L, at);
		receiver->function = cl_field_function(L, at, "body", &receiver->origin, "receive %.*s",
		                                       CL_STR_ARGS(receiver->event));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_operations(lua_State *L, int index)
{
	size_t count;
	struct cl_lua *lua = begin(L, index, "operations", &count);
	lua->catalog.operations = count ? CL_NEW_ARRAY(lua->arena, struct cl_operation_rule, count) : NULL;
	lua->catalog.operation_count = count;
	for (size_t i = 0; i < count; i++) {
		int at = push_item(L, i);
		struct cl_operation_rule *operation = &lua->catalog.operations[i];
		operation->name = cl_field_text(L, at, "name");
		operation->summary = cl_field_text(L, at, "summary");
		operation->roles = cl_field_texts(L, at, "roles", &operation->role_count);
		operation->origin = cl_field_origin(L, at);
		operation->function = cl_field_function(L, at, "run", &operation->origin, "operation %.*s",
		                                        CL_STR_ARGS(operation->name));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

void cl_compile_handlers(lua_State *L, int index)
{
	compile_on(L, index);
	compile_every(L, index);
	compile_timers(L, index);
	compile_receivers(L, index);
	compile_operations(L, index);
}

/* ---- roles ---- */

/* Labels that no grant reaches unless it says so (design §7): restricted and very restricted, counselling and psychotherapy
 * notes, substance use. */
static const char *const restricted[] = {"R", "V", "SUDNOTE", "PSYTHPN", "ETH"};

static void except_restricted(struct cl_arena *arena, struct cl_grant *grant)
{
	grant->except_count = sizeof restricted / sizeof *restricted;
	grant->except_labels = CL_NEW_ARRAY(arena, struct cl_str, grant->except_count);
	for (size_t i = 0; i < grant->except_count; i++)
		grant->except_labels[i] = cl_str_of(restricted[i]);
}

static void compile_grants(lua_State *L, int index, struct cl_role_rule *role)
{
	struct cl_lua *lua = cl_lua_of(L);
	role->grant_count = cl_push_list(L, index, "allow");
	role->grants = role->grant_count ? CL_NEW_ARRAY(lua->arena, struct cl_grant, role->grant_count) : NULL;
	for (size_t i = 0; i < role->grant_count; i++) {
		int at = push_item(L, i);
		struct cl_grant *grant = &role->grants[i];
		grant->name = cl_arena_printf(lua->arena, "%.*s#%zu", CL_STR_ARGS(role->name), i + 1);
		grant->interactions = cl_field_text(L, at, "interactions");
		grant->types = cl_field_texts(L, at, "types", &grant->type_count);
		grant->workflow = cl_field_text(L, at, "workflow");
		grant->where = cl_field_text(L, at, "where");
		grant->origin = cl_field_origin(L, at);
		/* An empty list reaches everything; none at all means the default. */
		bool stated = lua_getfield(L, at, "except_labels") == LUA_TTABLE;
		lua_pop(L, 1);
		if (stated)
			grant->except_labels = cl_field_texts(L, at, "except_labels", &grant->except_count);
		else
			except_restricted(lua->arena, grant);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

void cl_compile_roles(lua_State *L, int index)
{
	size_t count;
	struct cl_lua *lua = begin(L, index, "roles", &count);
	lua->catalog.roles = count ? CL_NEW_ARRAY(lua->arena, struct cl_role_rule, count) : NULL;
	lua->catalog.role_count = count;
	for (size_t i = 0; i < count; i++) {
		int at = push_item(L, i);
		struct cl_role_rule *role = &lua->catalog.roles[i];
		role->name = cl_field_text(L, at, "name");
		role->summary = cl_field_text(L, at, "summary");
		role->origin = cl_field_origin(L, at);
		compile_grants(L, at, role);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* ---- settings ---- */

struct converting {
	struct cl_arena *arena;
	struct cl_json *out;
};

/* Arguments: the struct, the value. */
static int convert(lua_State *L)
{
	struct converting *converting = lua_touserdata(L, 1);
	converting->out = cl_take_json(L, 2, converting->arena, "the value");
	return 0;
}

static struct cl_json *setting_value(lua_State *L, int index, const char *field, const struct cl_setting *setting)
{
	struct cl_lua *lua = cl_lua_of(L);
	struct converting converting = {.arena = lua->arena};
	if (lua_getfield(L, index, field) == LUA_TNIL) {
		lua_pop(L, 1);
		return cl_json_new(lua->arena, CL_JSON_NULL);
	}
	lua_pushcfunction(L, convert);
	lua_insert(L, -2);
	lua_pushlightuserdata(L, &converting);
	lua_insert(L, -2);
	if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
		if (lua->stop != CL_STOP_NONE)
			cl_raise_stop(L);
		cl_problem(lua, setting->origin.file, setting->origin.line, "setting '%.*s': %s",
		           CL_STR_ARGS(setting->name),
		           lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "the value cannot be kept");
		lua_pop(L, 1);
		return cl_json_new(lua->arena, CL_JSON_NULL);
	}
	/* An empty table says nothing; the type does. */
	if (converting.out->count == 0 && converting.out->kind >= CL_JSON_ARRAY)
		converting.out->kind = cl_str_is(setting->type, "list") ? CL_JSON_ARRAY : CL_JSON_OBJECT;
	return converting.out;
}

void cl_compile_settings(lua_State *L, int index)
{
	size_t count;
	struct cl_lua *lua = begin(L, index, "settings", &count);
	lua->catalog.settings = count ? CL_NEW_ARRAY(lua->arena, struct cl_setting, count) : NULL;
	lua->catalog.setting_count = count;
	for (size_t i = 0; i < count; i++) {
		int at = push_item(L, i);
		struct cl_setting *setting = &lua->catalog.settings[i];
		setting->plugin = cl_field_text(L, at, "plugin");
		setting->name = cl_field_text(L, at, "name");
		setting->type = cl_field_text(L, at, "type");
		setting->help = cl_field_text(L, at, "help");
		setting->source = cl_field_text(L, at, "source");
		setting->origin = cl_field_origin(L, at);
		setting->standard = setting_value(L, at, "default", setting);
		setting->value = setting_value(L, at, "value", setting);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}
