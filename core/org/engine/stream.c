/* stream.c: event streams: ids only, and only those that the stream's principal may read (pitfalls 19). */
#include "org/engine/engine.h"
#include "base/log.h"
#include "org/fhir/index.h"
#include "org/fhir/types.h"
#include "org/flow/subscription.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CL_STREAM_RESUME 10000 /* events looked through on resume; further back the client must resync */
#define CL_STREAM_VERSIONS 1000 /* versions read on resume to see whether they were watched; the same */

static const char *const operation_words[] = {"", "create", "update", "delete"};

/* Of a deletion hears who could read what was deleted. */
static bool may_hear(struct cl_engine *engine, struct cl_arena *arena, const struct cl_principal *principal,
                     uint16_t type, struct cl_str id, bool deleted)
{
	struct cl_version version;
	struct cl_str rule;
	struct cl_err e = {0};
	if (cl_access_may(engine->rules->access, principal, CL_ACCESS_READ, type, &rule, &e))
		return false;
	if (cl_store_get(engine->reader, arena, type, id, &version, &e) ||
	    (!deleted && version.operation == CL_OP_DELETE))
		return false;
	return !cl_interaction_may_see(engine->rules, engine->reader, arena, principal, CL_ACCESS_READ, &version,
	                               &version, &rule, &e);
}

/* ---- what is watched ---- */

/* Looks at the criteria again when other rules are in force: what chains may see hangs on them. */
static void watch(struct cl_engine *engine, struct cl_stream *stream, const struct cl_principal *principal)
{
	struct cl_str query;
	struct cl_err problem = {0};
	if (!stream->watched.n || stream->rules == engine->rules)
		return;
	cl_rules_release(stream->rules);
	cl_arena_free(stream->compiled);
	stream->rules = cl_rules_keep(engine->rules);
	stream->compiled = cl_arena_new(0);
	if (cl_subscription_criteria(stream->compiled, stream->watched, stream->opened, &stream->type, &stream->where,
	                             &query, &problem)) {
		stream->where = CL_NEW(stream->compiled, struct cl_criterion);
		stream->where->kind = CL_FALSE;
	}
	cl_access_guard(engine->rules->access, stream->compiled, principal, stream->where);
}

/* The criteria apply to the new value of a resource (R4 section 2.46): deletions satisfy none. */
static bool is_watched(struct cl_engine *engine, const struct cl_stream *stream, uint16_t type, struct cl_str id,
                       const struct cl_index *values)
{
	bool matches = false;
	struct cl_err problem = {0};
	if (!stream->watched.n)
		return true;
	if (type != stream->type || !values)
		return false;
	return !stream->where ||
	       (!cl_criterion_decide(engine->reader, stream->where, type, id, values, &matches, &problem) && matches);
}

/* The same of a version that was stored long ago. */
static bool was_watched(struct cl_engine *engine, struct cl_arena *arena, const struct cl_stream *stream,
                        const struct cl_stored_event *stored)
{
	struct cl_version version;
	struct cl_json *resource;
	struct cl_index values;
	struct cl_err problem = {0};
	if (!stream->watched.n)
		return true;
	return stored->type == stream->type &&
	       !cl_store_get_version(engine->reader, arena, stored->type, stored->id, stored->version, &version,
	                             &problem) &&
	       version.operation != CL_OP_DELETE && !cl_json_parse(arena, version.body, NULL, &resource, &problem) &&
	       !cl_fhir_index(arena, stored->type, resource, &values, &problem) &&
	       is_watched(engine, stream, stored->type, stored->id, &values);
}

static struct cl_str transition_text(struct cl_arena *arena, struct cl_str workflow, struct cl_str from,
                                     struct cl_str to)
{
	return cl_arena_printf(arena, "%.*s:%.*s>%.*s", CL_STR_ARGS(workflow), CL_STR_ARGS(from), CL_STR_ARGS(to));
}

/* An event that finds no room is not lost silently: the stream will resync. */
static int send_event(struct cl_engine *engine, struct cl_stream *stream, const struct cl_event *event)
{
	int code = cl_channel_send_event(stream->link->channel, CL_FRAME_EVENT, stream->frame, event);
	if (code) {
		stream->behind = true;
		cl_engine_retry_soon(engine);
	}
	return code;
}

struct cl_resume {
	struct cl_engine *engine;
	struct cl_arena *arena; /* for one event */
	struct cl_stream *stream;
	const struct cl_principal *principal;
	size_t versions; /* read to see whether they were watched */
	struct cl_stored_event held; /* a change whose transition may follow; sequence 0 = none */
	struct cl_arena *held_arena;
};

/* `transition` is the detail of its event, or empty. */
static int send_held(struct cl_resume *resume, struct cl_str transition)
{
	struct cl_stored_event *held = &resume->held;
	struct cl_json *json = NULL;
	struct cl_err ignored = {0};
	if (!held->sequence)
		return 0;
	struct cl_event event = {
	        .sequence = held->sequence,
	        .incarnation = cl_store_incarnation(resume->engine->reader),
	        .kind = held->kind,
	        .type = cl_fhir_type_name(held->type),
	        .id = held->id,
	};
	held->sequence = 0;
	cl_arena_reset(resume->arena);
	if (!may_hear(resume->engine, resume->arena, resume->principal, held->type, held->id,
	              cl_str_is(held->kind, "delete")))
		return 0;
	if (resume->stream->watched.n && held->type == resume->stream->type &&
	    ++resume->versions > CL_STREAM_VERSIONS) {
		resume->stream->behind = true;
		cl_engine_retry_soon(resume->engine);
		return CL_E_LIMIT;
	}
	if (!was_watched(resume->engine, resume->arena, resume->stream, held))
		return 0;
	if (transition.n && !cl_json_parse(resume->arena, transition, NULL, &json, &ignored)) {
		event.kind = CL_STR("transition");
		event.detail = transition_text(resume->arena, cl_json_get_text(json, "workflow"),
		                               cl_json_get_text(json, "from"), cl_json_get_text(json, "to"));
	}
	return send_event(resume->engine, resume->stream, &event);
}

/* Live, the change that moves an instance is told as its transition; in the log the transition stands behind the change. */
static int resume_event(const struct cl_stored_event *stored, void *context)
{
	struct cl_resume *resume = context;
	if (stored->sequence > resume->stream->after)
		return 1;
	bool transition = cl_str_is(stored->kind, "transition") && cl_str_equal(stored->id, resume->held.id) &&
	                  stored->version == resume->held.version;
	int code = send_held(resume, transition ? stored->detail : CL_STR_NONE);
	if (code || !stored->type || cl_str_is(stored->kind, "transition"))
		return code;
	cl_arena_reset(resume->held_arena);
	resume->held = *stored;
	resume->held.kind = cl_arena_copy(resume->held_arena, stored->kind);
	resume->held.id = cl_arena_copy(resume->held_arena, stored->id);
	return 0;
}

static struct cl_credential copy_credential(struct cl_arena *arena, const struct cl_credential *credential)
{
	return (struct cl_credential){
	        .kind = credential->kind,
	        .anchor = cl_arena_copy(arena, credential->anchor),
	        .name = cl_arena_copy(arena, credential->name),
	        .fingerprint = cl_arena_copy(arena, credential->fingerprint),
	        .token = cl_arena_copy(arena, credential->token),
	};
}

/* "3-1207": incarnation and sequence. */
static bool parse_last(struct cl_str text, uint64_t *incarnation, uint64_t *sequence)
{
	char copy[48];
	if (!text.n || text.n >= sizeof copy)
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = 0;
	return sscanf(copy, "%" SCNu64 "-%" SCNu64, incarnation, sequence) == 2;
}

void cl_stream_open(struct cl_engine *engine, struct cl_job *job, const struct cl_principal *principal,
                    const struct cl_interaction_context *context)
{
	struct cl_response response = {.status = 200, .stream = true};
	struct cl_stream *stream = calloc(1, sizeof *stream);
	stream->link = job->link;
	stream->link->references++;
	stream->frame = job->frame;
	stream->courier = !principal;
	stream->arena = cl_arena_new(0);
	stream->credential = copy_credential(stream->arena, &job->request.credential);
	if (context) {
		stream->watched = cl_arena_copy(stream->arena, context->watched);
		stream->subscription = cl_arena_copy(stream->arena, context->subscription);
		stream->opened = context->now;
		watch(engine, stream, principal);
	}
	/* What is committed but not published yet comes from the store on resume, and is not told twice. */
	uint64_t incarnation, sequence, last = cl_store_last_sequence(engine->reader);
	stream->after = last;
	stream->next = engine->streams;
	engine->streams = stream;
	cl_response_add_header(job->arena, &response, "content-type", CL_STR("text/event-stream"));
	struct cl_str given = cl_request_header(&job->request, "last-event-id");
	/* Where it begins, so that a gateway that loses it before its first event can open it again without a gap. */
	if (principal && !given.n)
		cl_response_add_header(job->arena, &response, "last-event-id",
		                       cl_arena_printf(job->arena, "%" PRIu64 "-%" PRIu64,
		                                       cl_store_incarnation(engine->reader), last));
	cl_channel_send_response(job->link->channel, job->frame, &response);
	if (!principal) {
		cl_stream_outbox(engine);
		return;
	}
	if (!given.n)
		return;
	if (!parse_last(given, &incarnation, &sequence) || incarnation != cl_store_incarnation(engine->reader) ||
	    sequence > last || last - sequence > CL_STREAM_RESUME) {
		stream->behind = true;
		if (!cl_stream_catch_up(engine))
			cl_engine_retry_soon(engine);
		return;
	}
	struct cl_err e = {0};
	struct cl_resume resume = {.engine = engine,
	                           .arena = cl_arena_new(0),
	                           .stream = stream,
	                           .principal = principal,
	                           .held_arena = cl_arena_new(0)};
	if (cl_store_events(engine->reader, sequence, CL_STREAM_RESUME, resume_event, &resume, &e)) {
		stream->behind = true;
		cl_engine_retry_soon(engine);
	} else if (!stream->behind) {
		send_held(&resume, CL_STR_NONE);
	}
	cl_arena_free(resume.held_arena);
	cl_arena_free(resume.arena);
}

static void end_stream(struct cl_stream **place)
{
	struct cl_stream *stream = *place;
	*place = stream->next;
	stream->link->references--;
	cl_rules_release(stream->rules);
	cl_arena_free(stream->compiled);
	cl_arena_free(stream->arena);
	free(stream);
}

bool cl_stream_catch_up(struct cl_engine *engine)
{
	bool all = true;
	for (struct cl_stream *stream = engine->streams; stream; stream = stream->next) {
		if (!stream->behind)
			continue;
		struct cl_event event = {.sequence = cl_store_last_sequence(engine->reader),
		                         .incarnation = cl_store_incarnation(engine->reader),
		                         .kind = CL_STR("resync")};
		if (cl_channel_send_event(stream->link->channel, CL_FRAME_RESYNC, stream->frame, &event)) {
			all = false;
			continue;
		}
		stream->behind = false;
		stream->after = event.sequence;
	}
	return all;
}

/* Who listens now: a token may have been revoked since, a principal removed. NULL: the stream has ended. */
static const struct cl_principal *listener(struct cl_engine *engine, struct cl_arena *arena, struct cl_stream **place)
{
	struct cl_stream *stream = *place;
	const struct cl_principal *principal;
	struct cl_err e = {0};
	int code = cl_access_resolve(engine->rules->access, engine->reader, arena, &stream->credential,
	                             cl_clock_now(engine->organization->clock), &principal, &e);
	if (!code) {
		watch(engine, stream, principal);
		return principal;
	}
	/* Unsent, it is found again with the next event. */
	if (!cl_channel_send(stream->link->channel, CL_FRAME_CANCEL, stream->frame, CL_STR_NONE, -1))
		end_stream(place);
	return NULL;
}

/* A stream of a Subscription ends when that does. */
static void end_with_subscriptions(struct cl_engine *engine, const struct cl_change *changes)
{
	for (const struct cl_change *change = changes; change; change = change->next) {
		if (change->type != CL_TYPE_SUBSCRIPTION ||
		    (change->resource &&
		     (cl_str_is(change->status, "active") || cl_str_is(change->status, "requested"))))
			continue;
		for (struct cl_stream **place = &engine->streams; *place;) {
			struct cl_stream *stream = *place;
			if (cl_str_equal(stream->subscription, change->id) &&
			    !cl_channel_send(stream->link->channel, CL_FRAME_CANCEL, stream->frame, CL_STR_NONE, -1))
				end_stream(place);
			else
				place = &stream->next;
		}
	}
}

void cl_stream_publish(struct cl_engine *engine, const struct cl_change *changes)
{
	if (!changes || !engine->streams)
		return;
	struct cl_arena *arena = cl_arena_new(0), *names = cl_arena_new(0);
	struct cl_stream *heard = NULL;
	for (struct cl_stream **place = &engine->streams; *place;) {
		struct cl_stream *stream = *place;
		const struct cl_principal *principal =
		        stream->courier || stream->behind ? NULL : listener(engine, names, place);
		if (*place != stream)
			continue;
		stream->listener = principal;
		heard = principal ? stream : heard;
		place = &stream->next;
	}
	if (heard)
		end_with_subscriptions(engine, changes);
	for (const struct cl_change *change = heard ? changes : NULL; change; change = change->next) {
		struct cl_event event = {
		        .sequence = change->sequence,
		        .incarnation = cl_store_incarnation(engine->reader),
		        .kind = change->workflow.n ? CL_STR("transition")
		                                   : cl_str_of(operation_words[change->operation & 3]),
		        .type = cl_fhir_type_name(change->type),
		        .id = change->id,
		        .detail = change->workflow.n
		                          ? transition_text(names, change->workflow, change->from, change->to)
		                          : CL_STR_NONE,
		};
		for (struct cl_stream *stream = engine->streams; stream; stream = stream->next)
			if (stream->listener && !stream->behind && change->sequence > stream->after &&
			    is_watched(engine, stream, change->type, change->id, change->values) &&
			    may_hear(engine, arena, stream->listener, change->type, change->id,
			             change->operation == CL_OP_DELETE))
				send_event(engine, stream, &event);
		cl_arena_reset(arena);
	}
	cl_arena_free(names);
	cl_arena_free(arena);
}

void cl_stream_outbox(struct cl_engine *engine)
{
	struct cl_event event = {.kind = CL_STR("outbox"), .incarnation = cl_store_incarnation(engine->reader)};
	for (struct cl_stream *stream = engine->streams; stream; stream = stream->next)
		if (stream->courier && stream->link->channel)
			cl_channel_send_event(stream->link->channel, CL_FRAME_EVENT, stream->frame, &event);
}

void cl_stream_drop(struct cl_engine *engine, const struct cl_link *link, uint64_t frame, bool all)
{
	for (struct cl_stream **place = &engine->streams; *place;) {
		struct cl_stream *stream = *place;
		if (stream->link != link || (!all && stream->frame != frame)) {
			place = &stream->next;
			continue;
		}
		end_stream(place);
	}
}
