/* subscription.c: the life of a subscription, and its letters. */
#include "org/flow/subscription_internal.h"
#include "base/date.h"
#include "base/hash.h"
#include "base/log.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include "org/flow/unit_internal.h"

void cl_subscription_key(const struct cl_store *store, struct cl_str id, uint8_t key[32])
{
	char text[100] = "subscription-key:";
	size_t n = strlen(text), room = sizeof text - n;
	memcpy(text + n, id.p, id.n < room ? id.n : room);
	n += id.n < room ? id.n : room;
	cl_hmac_sha256(cl_store_secret(store), 32, (struct cl_str){text, n}, key);
}

struct cl_str cl_subscription_destination(struct cl_arena *arena, struct cl_str id, bool handshake)
{
	return cl_arena_printf(arena, "%s%.*s%s", CL_SUBSCRIPTION_TIMER, CL_STR_ARGS(id),
	                       handshake ? ":handshake" : "");
}

struct cl_str cl_subscription_of(struct cl_str destination, bool *handshake)
{
	*handshake = false;
	size_t n = sizeof CL_SUBSCRIPTION_TIMER - 1;
	if (!cl_str_starts(destination, CL_SUBSCRIPTION_TIMER))
		return CL_STR_NONE;
	struct cl_str id = {destination.p + n, destination.n - n};
	const char *colon = id.n ? memchr(id.p, ':', id.n) : NULL;
	if (colon) {
		*handshake = true;
		id.n = (size_t)(colon - id.p);
	}
	return id;
}

int cl_subscription_criteria(struct cl_arena *arena, struct cl_str text, cl_instant now, uint16_t *type,
                             struct cl_criterion **where, struct cl_str *query, struct cl_err *e)
{
	struct cl_fhir_search search;
	const char *mark = text.n ? memchr(text.p, '?', text.n) : NULL;
	struct cl_str name = {text.p, mark ? (size_t)(mark - text.p) : text.n};
	*query = mark ? (struct cl_str){mark + 1, text.n - name.n - 1} : CL_STR_NONE;
	*type = cl_fhir_type(name);
	if (!*type)
		return cl_fail(e, CL_E_RULE,
		               "criteria are a search such as Task?status=requested; '%.*s' is no resource type%s",
		               (int)(name.n < 100 ? name.n : 100), name.p,
		               cl_str_starts(text, "http") ? " (topics are not supported)" : "");
	struct cl_fhir_search_context context = {.type = *type, .now = now};
	int code = cl_fhir_search_parse(arena, &context, *query, &search, e);
	if (code)
		return code == CL_E_INVALID && e ? (e->code = CL_E_RULE) : code;
	if (search.include_count || search.query.sort_count || search.element_count || search.summary || search.page.n)
		return cl_fail(
		        e, CL_E_RULE,
		        "criteria say which resources, not how an answer looks: leave out _include, _revinclude, "
		        "_sort, _elements, _summary");
	*where = search.query.where;
	return 0;
}

/* ---- letters ---- */

static int put_letter(struct cl_unit *unit, struct cl_str id, bool handshake, struct cl_str key,
                      const struct cl_json *body, struct cl_err *e)
{
	struct cl_outgoing letter = {
	        .key = key,
	        .destination = cl_subscription_destination(unit->arena, id, handshake),
	        .body = cl_json_arena_text(unit->arena, body),
	        .created = unit->now,
	        .due = unit->now,
	        .state = CL_STR("waiting"),
	};
	unit->outbox_changed = true;
	return cl_store_outbox_append(unit->store, &letter, e);
}

int cl_subscription_notify(struct cl_unit *unit, struct cl_str id, const struct cl_change *change, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, body, "event", change->operation == CL_OP_CREATE ? CL_STR("create") : CL_STR("update"));
	cl_json_set_text(arena, body, "type", cl_fhir_type_name(change->type));
	cl_json_set_text(arena, body, "id", change->id);
	cl_json_set_integer(arena, body, "version", change->version);
	return put_letter(unit, id, false,
	                  cl_arena_printf(arena, "%llu-%llu-%.*s",
	                                  (unsigned long long)cl_store_incarnation(unit->store),
	                                  (unsigned long long)change->sequence, CL_STR_ARGS(id)),
	                  body, e);
}

static int ask_endpoint(struct cl_unit *unit, struct cl_str id, int64_t version, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, body, "event", CL_STR("handshake"));
	cl_json_set_integer(arena, body, "version", version);
	int code =
	        cl_store_outbox_move(unit->store, cl_subscription_destination(arena, id, true), CL_STR("waiting"),
	                             CL_STR("withheld"), unit->now, CL_STR("a newer handshake replaces it"), NULL, e);
	/* The last event's sequence makes the key another one when a version is asked about twice. */
	return code ? code
	            : put_letter(
	                      unit, id, true,
	                      cl_arena_printf(arena, "%llu-handshake-%lld-%llu-%.*s",
	                                      (unsigned long long)cl_store_incarnation(unit->store), (long long)version,
	                                      (unsigned long long)cl_store_last_sequence(unit->store), CL_STR_ARGS(id)),
	                      body, e);
}

/* What waits, under both of its names. */
static int move_letters(struct cl_unit *unit, struct cl_str id, const char *state, struct cl_str problem,
                        struct cl_err *e)
{
	int code = 0;
	for (int handshake = 0; !code && handshake < 2; handshake++)
		code = cl_store_outbox_move(unit->store, cl_subscription_destination(unit->arena, id, handshake),
		                            CL_STR("waiting"), cl_str_of(state), unit->now, problem, NULL, e);
	return code;
}

/* ---- life ---- */

static int set_end(struct cl_unit *unit, struct cl_str id, cl_instant until, struct cl_err *e)
{
	struct cl_stored_timer timer = {
	        .name = cl_subscription_destination(unit->arena, id, false),
	        .due = until,
	        .rule = CL_STR("{}"),
	        .data = CL_STR("{}"),
	};
	unit->timers_changed = true;
	return until ? cl_store_timer_set(unit->store, &timer, e) : cl_store_timer_clear(unit->store, timer.name, e);
}

/* 0 also when there is none: then its state is empty. */
static int find(struct cl_unit *unit, struct cl_str id, struct cl_stored_subscription *out, struct cl_err *e)
{
	struct cl_err problem = {0};
	int code = cl_store_subscription_get(unit->store, unit->arena, id, out, &problem);
	if (code == CL_E_NOT_FOUND) {
		*out = (struct cl_stored_subscription){.id = id};
		return 0;
	}
	if (code && e)
		*e = problem;
	return code;
}

/* It acts with the rights of who made it: nobody else may say where to, or what. */
static int check_maker(struct cl_unit *unit, const struct cl_stored_subscription *former, struct cl_err *e)
{
	if (cl_str_is(unit->actor.kind, "system")) {
		cl_fail(e, CL_E_RULE,
		        "a Subscription acts with the rights of who makes it: '%.*s' has none; a principal must make "
		        "it",
		        CL_STR_ARGS(unit->actor.name));
		return cl_fail_at(e, "Subscription.status");
	}
	if (!former->principal.n || cl_str_equal(former->principal, unit->actor.name))
		return 0;
	cl_fail(e, CL_E_FORBIDDEN,
	        "only who made this Subscription may change what it asks for; others may set its status to off, delete "
	        "it, "
	        "or make their own");
	return cl_fail_at(e, "Subscription");
}

static int check_number(struct cl_unit *unit, const struct cl_stored_subscription *former, struct cl_err *e)
{
	int64_t active = 0, most = unit->organization->subscriptions.most;
	if (cl_subscription_runs(former))
		return 0;
	int code = cl_store_subscription_count(unit->store, &active, e);
	if (!code && active >= most)
		code = cl_fail(e, CL_E_LIMIT,
		               "this organization has %lld active Subscriptions, as many as its configuration allows "
		               "(subscriptions.most); turn one off first",
		               (long long)active);
	return code;
}

static bool same_channel(const struct cl_stored_subscription *a, const struct cl_stored_subscription *b)
{
	return a->type == b->type && cl_str_equal(a->criteria, b->criteria) && cl_str_equal(a->endpoint, b->endpoint) &&
	       cl_str_equal(a->payload, b->payload) && cl_str_equal(a->headers, b->headers);
}

bool cl_subscription_runs(const struct cl_stored_subscription *subscription)
{
	return cl_str_is(subscription->state, "active") || cl_str_is(subscription->state, "requested");
}

int cl_subscription_take(struct cl_unit *unit, const struct cl_version *version, struct cl_json *resource,
                         struct cl_err *e)
{
	struct cl_stored_subscription former, row;
	struct cl_moment end = {0};
	struct cl_str status = cl_json_get_text(resource, "status"), end_text = cl_json_get_text(resource, "end");
	int code = find(unit, version->id, &former, e);
	if (!code && end_text.n)
		code = cl_moment_parse(end_text, 0, &end, e);
	if (code)
		return code;
	bool wanted = cl_str_is(status, "requested") || cl_str_is(status, "active");
	bool record = !wanted || (end_text.n && end.lower <= unit->now);
	row = (struct cl_stored_subscription){
	        .id = version->id,
	        .version = version->version,
	        .state = CL_STR("off"),
	        .principal = former.principal.n ? former.principal : unit->actor.name,
	        .made = unit->now,
	        .until = record ? 0 : end.lower,
	        .delivered = former.delivered,
	        .delivered_at = former.delivered_at,
	};
	code = cl_subscription_read_headers(unit, resource, &former, !record, &row, e);
	if (!code && !record)
		code = check_maker(unit, &former, e);
	if (!code && !record)
		code = cl_subscription_read_channel(unit, resource, &row, e);
	if (!code && !record)
		code = check_number(unit, &former, e);
	if (code)
		return code;
	if (record) {
		if (cl_subscription_runs(&former))
			code = move_letters(unit, row.id, "withheld", CL_STR("the subscription was turned off"), e);
	} else {
		/* What is active and asks for the same of the same stays so; everything else is asked about. */
		bool stays =
		        cl_str_is(status, "active") && cl_str_is(former.state, "active") && same_channel(&former, &row);
		row.state = stays ? CL_STR("active") : CL_STR("requested");
		cl_json_set_text(unit->arena, resource, "status", row.state);
		cl_json_remove(resource, "error");
		if (!stays)
			code = ask_endpoint(unit, row.id, row.version, e);
	}
	if (!code)
		code = set_end(unit, row.id, row.until, e);
	return code ? code : cl_store_subscription_put(unit->store, &row, e);
}

int cl_subscription_forget(struct cl_unit *unit, struct cl_str id, struct cl_err *e)
{
	int code = move_letters(unit, id, "withheld", CL_STR("the subscription was deleted"), e);
	if (!code)
		code = set_end(unit, id, 0, e);
	return code ? code : cl_store_subscription_remove(unit->store, id, e);
}

int cl_subscription_set(struct cl_unit *unit, struct cl_stored_subscription *subscription, const char *state,
                        struct cl_str problem, struct cl_err *e)
{
	struct cl_json *resource;
	struct cl_version version;
	bool error = !strcmp(state, "error"), runs = !error && strcmp(state, "off") != 0;
	int code = cl_unit_read(unit, CL_TYPE_SUBSCRIPTION, subscription->id, &resource, NULL, e);
	if (code)
		return code;
	cl_json_set_text(unit->arena, resource, "status", cl_str_of(state));
	if (problem.n)
		cl_json_set_text(unit->arena, resource, "error", problem);
	else
		cl_json_remove(resource, "error");
	code = cl_unit_put(unit, CL_OP_UPDATE, CL_TYPE_SUBSCRIPTION, subscription->id, resource, true, &version, NULL,
	                   e);
	if (!code && !runs)
		code = move_letters(unit, subscription->id, error ? "dead" : "withheld",
		                    error ? problem : CL_STR("the subscription was turned off"), e);
	if (!code && !runs)
		code = set_end(unit, subscription->id, 0, e);
	if (code)
		return code;
	subscription->state = cl_str_of(state);
	subscription->version = version.version;
	subscription->problem = problem;
	subscription->failures = 0;
	if (error)
		cl_log(CL_LOG_WARNING, "subscription-error", "subscription=%.*s problem=\"%.*s\"",
		       CL_STR_ARGS(subscription->id), CL_STR_ARGS(problem));
	return cl_store_subscription_put(unit->store, subscription, e);
}

int cl_subscription_timer(struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e)
{
	struct cl_stored_subscription row;
	bool handshake;
	int code = find(unit, cl_subscription_of(timer->name, &handshake), &row, e);
	return code || !cl_subscription_runs(&row) ? code : cl_subscription_set(unit, &row, "off", CL_STR_NONE, e);
}

int cl_subscription_restart(struct cl_unit *unit, struct cl_str id, int64_t *letters, struct cl_err *e)
{
	struct cl_stored_subscription row;
	int code = cl_store_subscription_get(unit->store, unit->arena, id, &row, e);
	if (!code && !row.type)
		code = cl_fail(e, CL_E_RULE, "Subscription/%.*s is a record: it never asked for anything here",
		               CL_STR_ARGS(id));
	if (!code && row.until && row.until <= unit->now)
		code = cl_fail(e, CL_E_RULE, "the end of Subscription/%.*s is past", CL_STR_ARGS(id));
	if (!code)
		code = check_number(unit, &row, e);
	if (!code)
		code = cl_store_outbox_move(unit->store, cl_subscription_destination(unit->arena, id, false),
		                            CL_STR("dead"), CL_STR("waiting"), unit->now, CL_STR_NONE, letters, e);
	if (!code)
		code = cl_subscription_set(unit, &row, "requested", CL_STR_NONE, e);
	if (!code)
		code = set_end(unit, id, row.until, e);
	return code ? code : ask_endpoint(unit, id, row.version, e);
}
