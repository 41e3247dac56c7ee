/* replay.c: runs an event log again into a fresh file, and compares every row (principle 3). */
#include "org/engine/run.h"
#include "base/hash.h"
#include "org/fhir/types.h"
#include <stdlib.h>

struct cl_replay {
	struct cl_store *from;
	struct cl_organization *into;
	struct cl_arena *arena;
	struct cl_clock clock;
	const char *folder, *id;
	struct cl_stored_event pending; /* an input that waits for the change it refers to */
	bool has_pending;
	int code;
	struct cl_err *e;
};

static int copy_identity(struct cl_replay *replay)
{
	struct cl_store *store;
	int code = cl_store_open(replay->folder, replay->id, CL_STORE_WRITER, &store, replay->e);
	if (code)
		return code;
	code = cl_store_begin(store, replay->e);
	if (!code)
		code = cl_store_meta_set(store, "uuid", cl_store_uuid(replay->from), replay->e);
	if (!code)
		code = cl_store_meta_set(store, "secret",
		                         (struct cl_str){(const char *)cl_store_secret(replay->from), 32}, replay->e);
	if (!code)
		code = cl_store_commit(store, replay->e);
	cl_store_close(store);
	return code;
}

static int load_rules(struct cl_replay *replay, const struct cl_stored_event *event, struct cl_rules **out)
{
	struct cl_str text;
	struct cl_json *archive;
	int code = cl_store_plugins_get(replay->from, replay->arena, event->key, &text, replay->e);
	if (!code)
		code = cl_json_parse(replay->arena, text, NULL, &archive, replay->e);
	/* CPU time is no part of history: what was stopped then is stopped now because it was recorded. */
	struct cl_lua_limits limits = {.call_cpu = 60 * CL_SECOND};
	return code ? code : cl_rules_new(archive, &limits, NULL, out, NULL, replay->e);
}

static int replay_load(struct cl_replay *replay, const struct cl_stored_event *event)
{
	struct cl_rules *rules;
	int code = load_rules(replay, event, &rules);
	if (code)
		return code;
	if (!replay->into) {
		code = cl_organization_open(replay->folder, replay->id, rules, &replay->clock, NULL, &replay->into,
		                            replay->e);
	} else {
		code = cl_store_begin(replay->into->store, replay->e);
		if (!code)
			code = cl_organization_reload(replay->into, rules, replay->e);
		if (!code)
			code = cl_store_commit(replay->into->store, replay->e);
	}
	cl_rules_release(rules);
	return code;
}

static int replay_timer(struct cl_replay *replay, const struct cl_stored_event *event)
{
	struct cl_store *store = replay->into->store;
	struct cl_timer_list due;
	const char *hash = memrchr(event->key.p, '#', event->key.n);
	struct cl_str name = {event->key.p, hash ? (size_t)(hash - event->key.p) : 0};
	struct cl_change *changes;
	int code = cl_store_begin(store, replay->e);
	if (!code)
		code = cl_store_timers_due(store, replay->arena, event->at, 1000000, &due, replay->e);
	if (code)
		return code;
	for (size_t i = 0; i < due.count; i++) {
		if (!cl_str_equal(due.items[i].name, name))
			continue;
		if (cl_str_is(event->outcome, CL_SET_ASIDE)) {
			code = cl_organization_set_aside(replay->into, replay->arena, &due.items[i], replay->e);
			return code ? code : cl_store_commit(store, replay->e);
		}
		bool stopped = cl_str_starts(event->outcome, "budget:");
		if (stopped)
			cl_lua_expect_budget(replay->into->rules->lua, event->outcome);
		code = cl_organization_fire_one(replay->into, replay->arena, &due.items[i], &changes, replay->e);
		/* For this run only: the next one of the same plugin is not to be stopped. */
		if (stopped)
			cl_lua_expect_budget(replay->into->rules->lua, CL_STR_NONE);
		return code ? code : cl_store_commit(store, replay->e);
	}
	cl_store_rollback(store);
	return cl_fail(replay->e, CL_E_CORRUPT, "event %llu fired the timer '%.*s', which is not due in the replay",
	               (unsigned long long)event->sequence, CL_STR_ARGS(name));
}

static int replay_request(struct cl_replay *replay, const struct cl_stored_event *event, struct cl_str body)
{
	struct cl_arena *arena = replay->arena;
	struct cl_outcome outcome;
	struct cl_json *detail;
	struct cl_request request = {.body = body};
	int code = cl_json_parse(arena, event->detail, NULL, &detail, replay->e);
	if (code)
		return code;
	request.method = cl_json_get_text(detail, "method");
	request.target = cl_json_get_text(detail, "target");
	request.base = cl_json_get_text(detail, "base");
	struct cl_json *headers = cl_json_get(detail, "headers");
	request.headers = CL_NEW_ARRAY(arena, struct cl_header, (headers ? headers->count : 0) + 1);
	for (uint32_t i = 0; headers && i < headers->count; i++)
		request.headers[request.header_count++] =
		        (struct cl_header){headers->members[i].name, cl_json_text(&headers->members[i].value)};
	request.headers[request.header_count++] =
	        (struct cl_header){CL_STR("content-type"), CL_STR("application/fhir+json")};
	if (event->key.n >= 32)
		cl_unhex((struct cl_str){event->key.p, 32}, request.id, sizeof request.id);
	const struct cl_principal console = {.name = CL_STR("console"), .kind = CL_STR("system"), .console = true};
	const struct cl_principal *principal = cl_str_is(event->actor, "console")
	                                               ? &console
	                                               : cl_access_principal(replay->into->rules->access, event->actor);
	const struct cl_principal courier = {.name = event->actor, .kind = CL_STR("system"), .console = true};
	if (!principal && (cl_str_is(request.method, "COURIER") || cl_str_starts(request.target, "/reply/")))
		principal = &courier;
	if (!principal)
		return cl_fail(replay->e, CL_E_CORRUPT, "event %llu: the principal '%.*s' is unknown",
		               (unsigned long long)event->sequence, CL_STR_ARGS(event->actor));
	struct cl_str scope = cl_json_get_text(detail, "scope");
	code = scope.n ? cl_access_narrow(arena, principal, scope, &principal, replay->e) : 0;
	if (!code)
		code = cl_store_begin(replay->into->store, replay->e);
	if (code)
		return code;
	cl_run_as(replay->into, arena, &request, principal, event->key, &outcome);
	if (outcome.response.status >= 400) {
		cl_store_rollback(replay->into->store);
		return cl_fail(
		        replay->e, CL_E_CORRUPT, "event %llu (%.*s %.*s) succeeded then and is refused now: %.*s",
		        (unsigned long long)event->sequence, CL_STR_ARGS(request.method), CL_STR_ARGS(request.target),
		        (int)(outcome.response.body.n < 300 ? outcome.response.body.n : 300), outcome.response.body.p);
	}
	return cl_store_commit(replay->into->store, replay->e);
}

static struct cl_stored_event keep_event(struct cl_arena *arena, const struct cl_stored_event *event)
{
	struct cl_stored_event copy = *event;
	copy.kind = cl_arena_copy(arena, event->kind);
	copy.actor = cl_arena_copy(arena, event->actor);
	copy.key = cl_arena_copy(arena, event->key);
	copy.detail = cl_arena_copy(arena, event->detail);
	copy.input = cl_arena_copy(arena, event->input);
	copy.outcome = cl_arena_copy(arena, event->outcome);
	copy.id = cl_arena_copy(arena, event->id);
	return copy;
}

/* An input that changed nothing: an update equal to what is there, or a conditional create that found its resource. */
static int replay_unchanged(struct cl_replay *replay)
{
	struct cl_route route;
	struct cl_json *detail;
	struct cl_version version = {0};
	struct cl_request request = {0};
	replay->has_pending = false;
	int code = cl_json_parse(replay->arena, replay->pending.detail, NULL, &detail, replay->e);
	if (code)
		return code;
	request.method = cl_json_get_text(detail, "method");
	request.target = cl_json_get_text(detail, "target");
	code = cl_route_find(replay->arena, &request, &route, replay->e);
	if (!code && route.id.n)
		code = cl_store_get(replay->into->store, replay->arena, route.type, route.id, &version, replay->e);
	if (!code && !version.body.n)
		version.body = cl_arena_printf(replay->arena, "{\"resourceType\":\"%.*s\"}",
		                               CL_STR_ARGS(cl_fhir_type_name(route.type)));
	return code ? code : replay_request(replay, &replay->pending, version.body);
}

static int replay_event(const struct cl_stored_event *stored, void *context)
{
	struct cl_replay *replay = context;
	if (replay->has_pending) {
		/* The first change an input made is the version that it is kept by. */
		if (stored->cause == replay->pending.sequence) {
			struct cl_version version;
			replay->has_pending = false;
			replay->code = cl_store_get_version(replay->from, replay->arena, stored->type, stored->id,
			                                    stored->version, &version, replay->e);
			if (!replay->code)
				replay->code = replay_request(replay, &replay->pending, version.body);
			return replay->code;
		}
		replay->code = replay_unchanged(replay);
		if (replay->code)
			return replay->code;
	}
	if (stored->cause)
		return 0;
	cl_arena_reset(replay->arena);
	/* Not cl_clock_set: the server's clock may have been set back between two events, and times are copied into rows. */
	replay->clock.now = stored->at;
	struct cl_stored_event event = keep_event(replay->arena, stored);
	if (cl_str_is(event.kind, "load")) {
		replay->code = replay_load(replay, &event);
	} else if (cl_str_is(event.kind, "timer")) {
		replay->code = replay_timer(replay, &event);
	} else if (cl_str_is(event.kind, "request")) {
		if (!memmem(event.detail.p, event.detail.n, CL_BY_REFERENCE, sizeof CL_BY_REFERENCE - 1)) {
			replay->code = replay_request(replay, &event, event.input);
		} else {
			replay->pending = event;
			replay->has_pending = true;
		}
	}
	return replay->code;
}

struct cl_dump {
	struct cl_buf lines;
};

static int dump_line(struct cl_str json, void *context)
{
	struct cl_buf *lines = context;
	cl_buf_add_str(lines, json);
	cl_buf_add_byte(lines, '\n');
	return 0;
}

/* Without those about the audit log: how far its tail was folded, and its frontier. */
static struct cl_str next_line(struct cl_str *rest)
{
	struct cl_str line;
	do {
		const char *end = rest->n ? memchr(rest->p, '\n', rest->n) : NULL;
		line = (struct cl_str){rest->p, end ? (size_t)(end - rest->p) : rest->n};
		*rest = end ? (struct cl_str){end + 1, rest->n - line.n - 1} : CL_STR_NONE;
	} while (line.n && memmem(line.p, line.n, "\"name\":\"audit.", 14));
	return line;
}

/* Left out: the audit log, where reads stand too; kept answers and tokens, which are of the transport, not of the care. */
static const char skipped[] = "audit,request,idempotency,bearer,client,assertion";

static int compare(struct cl_store *a, struct cl_store *b, struct cl_err *e)
{
	struct cl_buf x, y;
	cl_buf_init(&x, 0);
	cl_buf_init(&y, 0);
	int code = cl_store_dump(a, skipped, dump_line, &x, e);
	if (!code)
		code = cl_store_dump(b, skipped, dump_line, &y, e);
	struct cl_str left = cl_buf_str(&x), right = cl_buf_str(&y);
	while (!code && (left.n || right.n)) {
		struct cl_str p = next_line(&left), q = next_line(&right);
		if (!cl_str_equal(p, q))
			code = cl_fail(e, CL_E_CORRUPT, "the replay differs: %.*s ... against %.*s",
			               (int)(p.n < 200 ? p.n : 200), p.p, (int)(q.n < 200 ? q.n : 200), q.p);
	}
	cl_buf_free(&x);
	cl_buf_free(&y);
	return code;
}

int cl_organization_replay(struct cl_store *from, const char *folder, const char *id, struct cl_err *e)
{
	struct cl_replay replay = {.from = from, .folder = folder, .id = id, .e = e, .clock = {.is_virtual = true}};
	replay.arena = cl_arena_new(0);
	int code = copy_identity(&replay);
	if (!code)
		code = cl_store_events(from, 0, UINT32_MAX, replay_event, &replay, e);
	if (!code)
		code = replay.code;
	if (!code && replay.has_pending)
		code = replay_unchanged(&replay);
	if (!code && !replay.into)
		code = cl_fail(e, CL_E_CORRUPT, "the event log has no 'load' event");
	if (!code)
		code = compare(from, replay.into->store, e);
	if (replay.into)
		cl_organization_close(replay.into);
	cl_arena_free(replay.arena);
	return code;
}
