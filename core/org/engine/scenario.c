/* scenario.c: the primitives under scenario.lua: organizations on files, requests as principals, the clock. The driver's Lua is
 * not the organizations': it is an ordinary state that only calls what a client could call. */
#include "org/engine/scenario.h"
#include "base/hash.h"
#include "base/id.h"
#include "org/engine/pending.h"
#include "org/engine/run.h"
#include "org/engine/scenario_lua.h"
#include "org/engine/settings.h"
#include "org/fhir/types.h"
#include "org/flow/metric.h"
#include <lauxlib.h>
#include <libgen.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CL_HANDLE "careloop.organization"
#define CL_CLOCK "careloop.clock"

struct cl_handle {
	struct cl_organization *organization;
	struct cl_clock *clock;
	char folder[PATH_MAX];
	char id[64];
	uint64_t requests;
	uint32_t pending; /* requests and timers that the open transaction holds */
};

static struct cl_scenario *test_of(lua_State *L)
{
	lua_getfield(L, LUA_REGISTRYINDEX, "careloop.test");
	struct cl_scenario *test = lua_touserdata(L, -1);
	lua_pop(L, 1);
	return test;
}

/* ---- the clock ---- */

static cl_instant parse_time(lua_State *L, int index)
{
	struct cl_moment moment;
	struct cl_err e = {0};
	if (cl_moment_parse(cl_str_of(luaL_checkstring(L, index)), 0, &moment, &e))
		luaL_error(L, "%s", e.message);
	return moment.lower;
}

/* engine.clock([dateTime]): where it begins; without one 2026-01-01. */
static int clock_new(lua_State *L)
{
	cl_instant start = lua_isnoneornil(L, 1) ? (cl_instant)1767225600 * CL_SECOND : parse_time(L, 1);
	struct cl_clock *clock = lua_newuserdatauv(L, sizeof *clock, 0);
	*clock = (struct cl_clock){.is_virtual = true, .now = start};
	luaL_setmetatable(L, CL_CLOCK);
	return 1;
}

static int clock_now(lua_State *L)
{
	char text[28];
	struct cl_clock *clock = luaL_checkudata(L, 1, CL_CLOCK);
	lua_pushlstring(L, text, cl_instant_format(clock->now, text));
	return 1;
}

static int clock_set(lua_State *L)
{
	struct cl_clock *clock = luaL_checkudata(L, 1, CL_CLOCK);
	cl_instant when = parse_time(L, 2);
	if (when < clock->now)
		return luaL_error(L, "the clock cannot go back to %s", lua_tostring(L, 2));
	clock->now = when;
	return 0;
}

/* ---- transactions: as on a server, many requests share one ---- */

#define PENDING_MOST 500

static int settle(struct cl_handle *handle, struct cl_err *e)
{
	struct cl_organization *organization = handle->organization;
	if (!organization || !handle->pending)
		return 0;
	handle->pending = 0;
	int code = cl_audit_tail_fold(organization->tail, organization->store, 100000, e);
	if (!code)
		code = cl_store_commit(organization->store, e);
	return code ? code : cl_audit_tail_folded(organization->tail, organization->store, e);
}

static int enter(struct cl_handle *handle, struct cl_err *e)
{
	int code = handle->pending >= PENDING_MOST ? settle(handle, e) : 0;
	if (!code && !handle->pending)
		code = cl_store_begin(handle->organization->store, e);
	handle->pending++;
	return code;
}

static void must_settle(lua_State *L, struct cl_handle *handle)
{
	struct cl_err e = {0};
	if (settle(handle, &e))
		luaL_error(L, "%s", e.message);
}

/* ---- organizations ---- */

static struct cl_handle *handle_of(lua_State *L, int index)
{
	return *(struct cl_handle **)luaL_checkudata(L, index, CL_HANDLE);
}

static int write_config(struct cl_scenario *test, lua_State *L, int index, const char *id)
{
	char path[PATH_MAX + 160], own[PATH_MAX + 160], link[PATH_MAX + 420];
	struct cl_buf text;
	struct cl_json *json;
	struct cl_err e = {0};
	struct cl_arena *arena = cl_arena_new(0);
	cl_buf_init(&text, 0);
	cl_scenario_write_json(L, index, &text);
	int code = cl_json_parse(arena, cl_buf_str(&text), NULL, &json, &e);
	snprintf(path, sizeof path, "%s/%s.lua", test->temporary, id);
	FILE *out = code ? NULL : fopen(path, "we");
	if (out) {
		fputs("return ", out);
		cl_scenario_write_lua(json, out);
		fclose(out);
	}
	/* Own plugins of the configuration: the plugin under test, wherever it lies. */
	snprintf(own, sizeof own, "%s/%s", test->temporary, id);
	mkdir(own, 0700);
	const struct cl_json *plugins = code ? NULL : cl_json_get(json, "plugins");
	for (uint32_t i = 0; plugins && plugins->kind == CL_JSON_ARRAY && i < plugins->count; i++) {
		snprintf(link, sizeof link, "%s/%.*s", own, CL_STR_ARGS(cl_json_text(&plugins->items[i])));
		if (symlink(test->under_test, link) && access(link, F_OK))
			code = CL_E_IO;
	}
	cl_buf_free(&text);
	cl_arena_free(arena);
	return code;
}

static int open_temporary(struct cl_scenario *test, struct cl_handle *handle, struct cl_arena *arena,
                          const char *folder, struct cl_json **archive, struct cl_err *e)
{
	snprintf(handle->folder, sizeof handle->folder, "%.*s/%d", PATH_MAX - 32, test->temporary, ++test->opened);
	mkdir(handle->folder, 0700);
	return cl_lua_archive(arena, folder, test->plugins, handle->id, archive, e);
}

/* A file whose UUID and secret follow from a text: the same story gives the same file, to the byte. */
static int seed_identity(const struct cl_handle *handle, const char *seed, struct cl_err *e)
{
	struct cl_store *store;
	uint8_t secret[CL_SHA256_SIZE];
	char uuid[2 * CL_SHA256_SIZE + 1];
	char text[400];
	snprintf(text, sizeof text, "%s %s", handle->id, seed);
	cl_sha256_of(cl_str_of(text), secret);
	cl_hex(secret, 16, uuid);
	int code = cl_store_open(handle->folder, handle->id, CL_STORE_WRITER, &store, e);
	if (code)
		return code;
	code = cl_store_begin(store, e);
	if (!code)
		code = cl_store_meta_set(store, "uuid", cl_str_of(uuid), e);
	if (!code)
		code = cl_store_meta_set(store, "secret", (struct cl_str){(const char *)secret, sizeof secret}, e);
	if (!code)
		code = cl_store_commit(store, e);
	cl_store_close(store);
	return code;
}

/* The server's own file, which must be new: a demonstration never adds to real data. */
static int open_real(struct cl_scenario *test, struct cl_handle *handle, struct cl_arena *arena,
                     struct cl_json **archive, struct cl_err *e)
{
	char *folder;
	int code = cl_settings_folder(arena, test->config_path, test->config, handle->id, &folder, e);
	if (code)
		return code;
	snprintf(handle->folder, sizeof handle->folder, "%s", folder);
	char *file = cl_arena_cstring(arena, cl_arena_printf(arena, "%s/%s.db", folder, handle->id));
	if (!access(file, F_OK))
		return cl_fail(e, CL_E_CONFLICT, "%s exists already; a demonstration needs a new one", file);
	code = test->seed ? seed_identity(handle, test->seed, e) : 0;
	return code ? code : cl_settings_archive(arena, test->config_path, test->config, handle->id, archive, e);
}

static int organization_open(lua_State *L)
{
	struct cl_scenario *test = test_of(L);
	struct cl_clock *clock = luaL_checkudata(L, 2, CL_CLOCK);
	struct cl_err e = {0};
	struct cl_json *archive;
	struct cl_rules *rules = NULL;
	struct cl_buf problems;
	struct cl_handle *handle = calloc(1, sizeof *handle);
	struct cl_handle **box = lua_newuserdatauv(L, sizeof *box, 1);
	*box = handle;
	luaL_setmetatable(L, CL_HANDLE);
	lua_pushvalue(L, 2);
	lua_setiuservalue(L, -2, 1);
	handle->clock = clock;
	const char *folder = test->organizations;
	if (lua_istable(L, 1)) {
		lua_getfield(L, 1, "id");
		snprintf(handle->id, sizeof handle->id, "%s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "clinic");
		lua_pop(L, 1);
		lua_pushnil(L);
		lua_setfield(L, 1, "id");
		if (write_config(test, L, 1, handle->id))
			return luaL_error(L, "the configuration cannot be written");
		folder = test->temporary;
	} else {
		snprintf(handle->id, sizeof handle->id, "%s", luaL_checkstring(L, 1));
	}
	struct cl_arena *arena = cl_arena_new(0);
	cl_buf_init(&problems, 65536);
	int code = test->config ? open_real(test, handle, arena, &archive, &e)
	                        : open_temporary(test, handle, arena, folder, &archive, &e);
	if (!code)
		code = cl_rules_new(archive, NULL, NULL, &rules, &problems, &e);
	if (!code)
		code = cl_organization_open(handle->folder, handle->id, rules, clock, NULL, &handle->organization, &e);
	/* What a test or a seed made can be made again. */
	if (!code && (!test->config || test->seed))
		code = cl_store_forgo_durability(handle->organization->store, &e);
	cl_rules_release(rules);
	cl_arena_free(arena);
	if (code) {
		lua_pushfstring(L, "%s%s%s", e.where, e.where[0] ? ": " : "", problems.n ? "" : e.message);
		lua_pushlstring(L, problems.p ? problems.p : "", problems.n);
		lua_concat(L, 2);
		cl_buf_free(&problems);
		return lua_error(L);
	}
	cl_buf_free(&problems);
	return 1;
}

static int handle_free(lua_State *L)
{
	struct cl_handle **box = luaL_checkudata(L, 1, CL_HANDLE);
	free(*box);
	*box = NULL;
	return 0;
}

static int organization_id(lua_State *L)
{
	lua_pushstring(L, handle_of(L, 1)->id);
	return 1;
}

static int organization_close(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_err e = {0};
	char folder[PATH_MAX + 16];
	int code = 0;
	if (!handle->organization)
		return 0;
	must_settle(L, handle);
	if (lua_toboolean(L, 2)) {
		snprintf(folder, sizeof folder, "%s.replay", handle->folder);
		mkdir(folder, 0700);
		code = cl_organization_replay(handle->organization->store, folder, handle->id, &e);
	}
	long failed = handle->organization->failed_timers;
	cl_organization_close(handle->organization);
	handle->organization = NULL;
	lua_pushboolean(L, code == 0);
	lua_pushfstring(L, "replay: %s %s", e.message, e.where);
	lua_pushinteger(L, failed);
	return 3;
}

static int organization_advance(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_err e = {0};
	must_settle(L, handle);
	if (cl_organization_advance(handle->organization, handle->clock->now, &e) < 0)
		return luaL_error(L, "%s", e.message);
	return 0;
}

/* All organizations go forward together, timer by timer. */
static int go_to(lua_State *L, struct cl_clock *clock, cl_instant until)
{
	struct cl_err e = {0};
	lua_getfield(L, LUA_REGISTRYINDEX, "careloop.handles");
	for (;;) {
		struct cl_handle *next = NULL;
		cl_instant soonest = INT64_MAX;
		lua_pushnil(L);
		while (lua_next(L, -2)) {
			struct cl_handle *handle = *(struct cl_handle **)lua_touserdata(L, -2);
			cl_instant due = handle->organization && handle->clock == clock
			                         ? cl_store_timer_next(handle->organization->store)
			                         : INT64_MAX;
			if (due < soonest) {
				soonest = due;
				next = handle;
			}
			lua_pop(L, 1);
		}
		if (!next || soonest > until)
			break;
		if (soonest < clock->now)
			soonest = clock->now;
		if (enter(next, &e) || cl_organization_advance(next->organization, soonest, &e) < 0)
			return luaL_error(L, "%s", e.message);
	}
	clock->now = until;
	return 0;
}

/* clock, organization whose calendar counts, duration */
static int advance_all(lua_State *L)
{
	struct cl_clock *clock = luaL_checkudata(L, 1, CL_CLOCK);
	struct cl_handle *first = handle_of(L, 2);
	struct cl_duration duration;
	struct cl_err e = {0};
	if (cl_duration_parse(cl_str_of(luaL_checkstring(L, 3)), &duration, &e))
		return luaL_error(L, "%s", e.message);
	return go_to(L, clock, cl_calendar_add(&first->organization->rules->facts->calendar, clock->now, duration));
}

/* clock, dateTime */
static int advance_until(lua_State *L)
{
	struct cl_clock *clock = luaL_checkudata(L, 1, CL_CLOCK);
	cl_instant until = parse_time(L, 2);
	return until > clock->now ? go_to(L, clock, until) : 0;
}

/* organization, principal, method, target, body, headers -> status, headers, body */
static int organization_request(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_organization *organization = handle->organization;
	const char *principal_name = luaL_checkstring(L, 2);
	struct cl_err e = {0};
	struct cl_outcome outcome;
	struct cl_buf body;
	const struct cl_principal console = {.name = CL_STR("console"), .kind = CL_STR("system"), .console = true};
	const struct cl_principal *principal =
	        !strcmp(principal_name, "console")
	                ? &console
	                : cl_access_principal(organization->rules->access, cl_str_of(principal_name));
	if (!principal)
		return luaL_error(L, "the organization '%s' has no principal '%s'", handle->id, principal_name);
	struct cl_arena *arena = cl_arena_new(0);
	cl_buf_init(&body, 0);
	if (lua_isstring(L, 5)) {
		size_t n;
		const char *text = lua_tolstring(L, 5, &n);
		cl_buf_add(&body, text, n);
	} else if (!lua_isnoneornil(L, 5)) {
		cl_scenario_write_json(L, 5, &body);
	}
	struct cl_request request = {
	        .method = cl_arena_copy(arena, cl_str_of(luaL_checkstring(L, 3))),
	        .target = cl_arena_copy(arena, cl_str_of(luaL_checkstring(L, 4))),
	        .base = CL_STR("https://test.localhost"),
	        .body = cl_arena_copy(arena, cl_buf_str(&body)),
	        .headers = CL_NEW_ARRAY(arena, struct cl_header, 20),
	};
	cl_buf_free(&body);
	request.headers[request.header_count++] =
	        (struct cl_header){CL_STR("content-type"), CL_STR("application/fhir+json")};
	lua_pushnil(L);
	while (lua_istable(L, 6) && lua_next(L, 6)) {
		if (request.header_count < 20 && lua_isstring(L, -1) && lua_type(L, -2) == LUA_TSTRING)
			request.headers[request.header_count++] =
			        (struct cl_header){cl_arena_copy(arena, cl_str_of(lua_tostring(L, -2))),
			                           cl_arena_copy(arena, cl_str_of(lua_tostring(L, -1)))};
		lua_pop(L, 1);
	}
	handle->requests++;
	for (int i = 0; i < 8; i++)
		request.id[15 - i] = (uint8_t)(handle->requests >> (8 * i));
	int code = enter(handle, &e);
	if (!code)
		cl_run_as(organization, arena, &request, principal, cl_request_hex(arena, &request), &outcome);
	if (!code && organization->measures_pending) {
		organization->measures_pending = false;
		code = cl_pending_run(organization, &e);
	}
	if (code) {
		cl_arena_free(arena);
		return luaL_error(L, "%s", e.message);
	}
	lua_pushinteger(L, outcome.response.status);
	lua_newtable(L);
	for (size_t i = 0; i < outcome.response.header_count; i++) {
		lua_pushlstring(L, outcome.response.headers[i].name.p, outcome.response.headers[i].name.n);
		lua_pushlstring(L, outcome.response.headers[i].value.p, outcome.response.headers[i].value.n);
		lua_rawset(L, -3);
	}
	struct cl_json *json;
	if (outcome.response.body.n && !cl_json_parse(arena, outcome.response.body, NULL, &json, &e))
		cl_scenario_push_json(L, json);
	else
		lua_pushlstring(L, outcome.response.body.p ? outcome.response.body.p : "", outcome.response.body.n);
	cl_arena_free(arena);
	return 3;
}

/* ---- what instances and messages look like from outside ---- */

static void set_text(lua_State *L, const char *name, struct cl_str text)
{
	lua_pushlstring(L, text.p ? text.p : "", text.n);
	lua_setfield(L, -2, name);
}

static void set_time(lua_State *L, const char *name, cl_instant at)
{
	char text[28];
	if (!at)
		return;
	lua_pushlstring(L, text, cl_instant_format(at, text));
	lua_setfield(L, -2, name);
}

static void set_data(lua_State *L, struct cl_arena *arena, struct cl_str data)
{
	struct cl_json *json;
	struct cl_err e = {0};
	if (data.n && !cl_json_parse(arena, data, NULL, &json, &e))
		cl_scenario_push_json(L, json);
	else
		lua_newtable(L);
	lua_setfield(L, -2, "data");
}

static int organization_instance(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_stored_instance instance;
	struct cl_err e = {0};
	struct cl_arena *arena = cl_arena_new(0);
	if (cl_store_instance_get(handle->organization->store, arena, cl_str_of(luaL_checkstring(L, 2)), &instance,
	                          &e)) {
		cl_arena_free(arena);
		return 0;
	}
	lua_newtable(L);
	set_text(L, "workflow", instance.workflow);
	set_text(L, "state", instance.state);
	set_text(L, "subject", instance.subject);
	set_text(L, "patient", instance.patient);
	set_text(L, "owner", instance.owner);
	set_time(L, "due", instance.due);
	set_time(L, "started", instance.started);
	set_time(L, "entered", instance.entered);
	lua_pushboolean(L, instance.final);
	lua_setfield(L, -2, "final");
	set_data(L, arena, instance.data);
	static const char *const sides[] = {"party", "partner"};
	for (size_t i = 0; i < 2; i++) {
		lua_getfield(L, -1, "data");
		lua_getfield(L, -1, sides[i]);
		lua_setfield(L, -3, sides[i]);
		lua_pop(L, 1);
	}
	cl_arena_free(arena);
	return 1;
}

struct cl_history_list {
	lua_State *L;
	struct cl_arena *arena;
	lua_Integer count;
};

static int history_entry(const struct cl_stored_transition *t, void *context)
{
	struct cl_history_list *list = context;
	lua_State *L = list->L;
	lua_newtable(L);
	set_text(L, "event", t->event);
	set_text(L, "from", t->from);
	set_text(L, "to", t->to);
	set_text(L, "actor", t->actor);
	set_text(L, "on_behalf_of", t->on_behalf_of);
	set_text(L, "source", t->source);
	set_time(L, "at", t->at);
	lua_pushboolean(L, t->undone != 0);
	lua_setfield(L, -2, "undone");
	set_data(L, list->arena, t->data);
	lua_rawseti(L, -2, ++list->count);
	return 0;
}

static int organization_history(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_err e = {0};
	struct cl_history_list list = {.L = L, .arena = cl_arena_new(0)};
	lua_newtable(L);
	cl_store_transitions_all(handle->organization->store, cl_str_of(luaL_checkstring(L, 2)), history_entry, &list,
	                         &e);
	cl_arena_free(list.arena);
	return 1;
}

static void set_number(lua_State *L, const char *name, double value)
{
	if (isnan(value))
		return;
	lua_pushnumber(L, value);
	lua_setfield(L, -2, name);
}

static int organization_metric(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_organization *organization = handle->organization;
	struct cl_rules *rules = organization->rules;
	const struct cl_metric *metric = cl_catalog_metric(rules->catalog, cl_str_of(luaL_checkstring(L, 2)));
	struct cl_metric_result result;
	cl_instant at;
	bool week;
	struct cl_unit unit;
	struct cl_err e = {0};
	if (!metric)
		return luaL_error(L, "there is no metric '%s'", lua_tostring(L, 2));
	if (cl_calendar_period_parse(&rules->facts->calendar, cl_str_of(luaL_checkstring(L, 3)), &at, &week, &e))
		return luaL_error(L, "%s", e.message);
	struct cl_arena *arena = cl_arena_new(0);
	cl_unit_begin(&unit, organization->store, arena, rules->catalog, rules->facts, cl_lua_script(rules->lua),
	              cl_clock_now(organization->clock));
	unit.actor = (struct cl_actor){.name = CL_STR("console"), .kind = CL_STR("system")};
	cl_lua_unit_begin(rules->lua, &unit);
	int code = settle(handle, &e);
	if (!code)
		code = cl_store_begin(organization->store, &e);
	if (!code)
		code = week ? cl_metric_week(&unit, metric, at, &result, &e)
		            : cl_metric_month(&unit, metric, at, &result, &e);
	cl_store_rollback(organization->store);
	cl_arena_free(arena);
	if (code)
		return luaL_error(L, "%s %s", e.message, e.where);
	lua_newtable(L);
	set_number(L, "numerator", result.numerator);
	set_number(L, "denominator", result.denominator);
	set_number(L, "value", result.value);
	lua_pushinteger(L, result.n);
	lua_setfield(L, -2, "n");
	return 1;
}

static int organization_outbox(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_outgoing_list list;
	struct cl_err e = {0};
	struct cl_arena *arena = cl_arena_new(0);
	lua_newtable(L);
	if (!cl_store_outbox_list(handle->organization->store, arena, CL_STR("waiting"), 1000, &list, &e))
		for (size_t i = 0; i < list.count; i++) {
			struct cl_json *body;
			lua_newtable(L);
			lua_pushinteger(L, list.items[i].number);
			lua_setfield(L, -2, "number");
			set_text(L, "destination", list.items[i].destination);
			set_text(L, "key", list.items[i].key);
			if (!cl_json_parse(arena, list.items[i].body, NULL, &body, &e)) {
				cl_scenario_push_json(L, body);
				lua_setfield(L, -2, "body");
				struct cl_str event = cl_json_text(
				        cl_json_path(body, "entry", "0", "resource", "eventCoding", "code", NULL));
				set_text(L, "event", event);
			}
			lua_rawseti(L, -2, (lua_Integer)i + 1);
		}
	cl_arena_free(arena);
	return 1;
}

/* The courier's report, by the same door as the courier. */
static int organization_delivered(lua_State *L)
{
	struct cl_handle *handle = handle_of(L, 1);
	struct cl_organization *organization = handle->organization;
	struct cl_err e = {0};
	struct cl_outcome outcome;
	struct cl_arena *arena = cl_arena_new(0);
	const struct cl_principal courier = {.name = CL_STR("courier"), .kind = CL_STR("system"), .console = true};
	struct cl_request request = {
	        .method = CL_STR("COURIER"),
	        .target = CL_STR("/outbox/report"),
	        .body = cl_arena_printf(arena, "{\"number\":%lld,\"attempts\":0,\"status\":200}",
	                                (long long)luaL_checkinteger(L, 2)),
	};
	handle->requests++;
	for (int i = 0; i < 8; i++)
		request.id[15 - i] = (uint8_t)(handle->requests >> (8 * i));
	int code = enter(handle, &e);
	if (!code)
		cl_run_as(organization, arena, &request, &courier, cl_request_hex(arena, &request), &outcome);
	cl_arena_free(arena);
	return code ? luaL_error(L, "%s", e.message) : 0;
}

/* ---- the driver ---- */

/* A small configuration that uses the plugin under test: models/x, programs/x, services/x or a folder of one's own. */
static int standard_config(lua_State *L)
{
	struct cl_scenario *test = test_of(L);
	char copy[PATH_MAX], kind[PATH_MAX];
	snprintf(copy, sizeof copy, "%s", test->under_test);
	snprintf(kind, sizeof kind, "%s", basename(dirname(copy)));
	const char *slash = strrchr(test->under_test, '/');
	const char *name = slash ? slash + 1 : test->under_test;
	lua_newtable(L);
	lua_pushstring(L, "Test Clinic");
	lua_setfield(L, -2, "name");
	lua_pushstring(L, "America/Chicago");
	lua_setfield(L, -2, "zone");
	if (!strcmp(kind, "models")) {
		lua_pushstring(L, name);
		lua_setfield(L, -2, "model");
	} else if (strcmp(name, "lib") != 0) {
		lua_newtable(L);
		lua_pushstring(L, name);
		lua_rawseti(L, -2, 1);
		lua_setfield(L, -2,
		             !strcmp(kind, "programs")   ? "programs"
		             : !strcmp(kind, "services") ? "services"
		                                         : "plugins");
	}
	return 1;
}

/* `require "lib/scores"` of tests: the shared libraries, by path. */
static int require_lib(lua_State *L)
{
	struct cl_scenario *test = test_of(L);
	const char *name = luaL_checkstring(L, 1);
	if (strstr(name, ".."))
		return luaL_error(L, "no such module: %s", name);
	lua_getfield(L, LUA_REGISTRYINDEX, "careloop.modules");
	lua_getfield(L, -1, name);
	if (!lua_isnil(L, -1))
		return 1;
	lua_pop(L, 1);
	lua_pushfstring(L, "%s/%s.lua", test->plugins, name);
	if (access(lua_tostring(L, -1), R_OK)) {
		lua_pop(L, 1);
		lua_pushfstring(L, "%s/%s.lua", test->under_test, name);
	}
	if (luaL_loadfilex(L, lua_tostring(L, -1), "t"))
		return lua_error(L);
	lua_call(L, 0, 1);
	lua_pushvalue(L, -1);
	lua_setfield(L, -4, name);
	return 1;
}

static int open_and_keep(lua_State *L)
{
	int results = organization_open(L);
	lua_getfield(L, LUA_REGISTRYINDEX, "careloop.handles");
	lua_pushvalue(L, -2);
	lua_pushboolean(L, 1);
	lua_rawset(L, -3);
	lua_pop(L, 1);
	return results;
}

static const luaL_Reg engine_functions[] = {
        {"open", open_and_keep},
        {"id", organization_id},
        {"close", organization_close},
        {"advance", organization_advance},
        {"advance_all", advance_all},
        {"advance_until", advance_until},
        {"request", organization_request},
        {"instance", organization_instance},
        {"history", organization_history},
        {"metric", organization_metric},
        {"outbox", organization_outbox},
        {"delivered", organization_delivered},
        {"clock", clock_new},
        {"standard", standard_config},
        {NULL, NULL},
};

static const luaL_Reg clock_methods[] = {{"now", clock_now}, {"set", clock_set}, {NULL, NULL}};

static void open_driver(lua_State *L, struct cl_scenario *test)
{
	luaL_openlibs(L);
	lua_pushlightuserdata(L, test);
	lua_setfield(L, LUA_REGISTRYINDEX, "careloop.test");
	lua_newtable(L);
	lua_setfield(L, LUA_REGISTRYINDEX, "careloop.modules");
	lua_newtable(L);
	lua_setfield(L, LUA_REGISTRYINDEX, "careloop.handles");
	luaL_newmetatable(L, CL_HANDLE);
	lua_pushcfunction(L, handle_free);
	lua_setfield(L, -2, "__gc");
	lua_pop(L, 1);
	luaL_newmetatable(L, CL_CLOCK);
	luaL_newlib(L, clock_methods);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	lua_pushcfunction(L, require_lib);
	lua_setglobal(L, "require");
}

lua_State *cl_scenario_open(struct cl_scenario *test)
{
	lua_State *L = luaL_newstate();
	open_driver(L, test);
	if (luaL_loadbufferx(L, (const char *)cl_scenario_lua, sizeof cl_scenario_lua, "=scenario.lua", "t"))
		return L;
	luaL_newlib(L, engine_functions);
	if (test->config) {
		char text[28];
		lua_pushlstring(L, text, cl_instant_format(test->start, text));
		lua_setfield(L, -2, "start");
		lua_pushlstring(L, text, cl_instant_format(test->finish, text));
		lua_setfield(L, -2, "finish");
	}
	lua_pcall(L, 1, 1, 0);
	return L;
}
