/* stream.c: event streams: ids only, and only those that the stream's principal may read (pitfalls 19). */
#include "org/engine/engine.h"
#include "base/log.h"
#include "org/fhir/types.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CL_STREAM_RESUME 10000 /* events looked through on resume; further back the client must resync */

static const char *const operation_words[] = {"", "create", "update", "delete"};

static bool may_hear(struct cl_engine *engine, struct cl_arena *arena, const struct cl_principal *principal, uint16_t type,
		     struct cl_str id, bool deleted)
{
	struct cl_version version;
	struct cl_str rule;
	struct cl_err e = {0};
	if (cl_access_may(engine->rules->access, principal, CL_ACCESS_READ, type, &rule, &e))
		return false;
	if (deleted)
		return true;
	if (cl_store_get(engine->reader, arena, type, id, &version, &e) || version.operation == CL_OP_DELETE)
		return false;
	return !cl_access_decide_row(engine->rules->access, engine->reader, arena, principal, CL_ACCESS_READ, type, version.row,
				     &rule, &e);
}

struct cl_resume {
	struct cl_engine *engine;
	struct cl_arena *arena;
	struct cl_stream *stream;
	const struct cl_principal *principal;
};

static int resume_event(const struct cl_stored_event *stored, void *context)
{
	struct cl_resume *resume = context;
	bool deleted = cl_str_is(stored->kind, "delete");
	if (!stored->type || (!deleted && !cl_str_is(stored->kind, "create") && !cl_str_is(stored->kind, "update")))
		return 0;
	if (!may_hear(resume->engine, resume->arena, resume->principal, stored->type, stored->id, deleted))
		return 0;
	struct cl_event event = {
		.sequence = stored->sequence,
		.incarnation = cl_store_incarnation(resume->engine->reader),
		.kind = stored->kind,
		.type = cl_fhir_type_name(stored->type),
		.id = stored->id,
	};
	return cl_channel_send_event(resume->stream->link->channel, CL_FRAME_EVENT, resume->stream->frame, &event);
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

void cl_stream_open(struct cl_engine *engine, struct cl_job *job, const struct cl_principal *principal)
{
	struct cl_response response = {.status = 200, .stream = true};
	struct cl_stream *stream = calloc(1, sizeof *stream);
	stream->link = job->link;
	stream->link->references++;
	stream->frame = job->frame;
	stream->courier = !principal;
	if (principal)
		stream->principal = (struct cl_str){strndup(principal->name.p, principal->name.n), principal->name.n};
	stream->next = engine->streams;
	engine->streams = stream;
	cl_response_add_header(job->arena, &response, "content-type", CL_STR("text/event-stream"));
	cl_channel_send_response(job->link->channel, job->frame, &response);
	if (!principal) {
		cl_stream_outbox(engine);
		return;
	}
	uint64_t incarnation, sequence, last = cl_store_last_sequence(engine->reader);
	struct cl_str given = cl_request_header(&job->request, "last-event-id");
	if (!given.n)
		return;
	if (!parse_last(given, &incarnation, &sequence) || incarnation != cl_store_incarnation(engine->reader) ||
	    sequence > last || last - sequence > CL_STREAM_RESUME) {
		struct cl_event event = {.sequence = last, .incarnation = cl_store_incarnation(engine->reader),
					 .kind = CL_STR("resync")};
		cl_channel_send_event(job->link->channel, CL_FRAME_RESYNC, job->frame, &event);
		return;
	}
	struct cl_err e = {0};
	struct cl_resume resume = {engine, job->arena, stream, principal};
	cl_store_events(engine->reader, sequence, CL_STREAM_RESUME, resume_event, &resume, &e);
}

void cl_stream_publish(struct cl_engine *engine, const struct cl_change *changes)
{
	if (!changes || !engine->streams)
		return;
	struct cl_arena *arena = cl_arena_new(0);
	for (const struct cl_change *change = changes; change; change = change->next) {
		char detail[256] = "";
		if (change->workflow.n)
			snprintf(detail, sizeof detail, "%.*s:%.*s>%.*s", CL_STR_ARGS(change->workflow), CL_STR_ARGS(change->from),
				 CL_STR_ARGS(change->to));
		struct cl_event event = {
			.sequence = change->sequence,
			.incarnation = cl_store_incarnation(engine->reader),
			.kind = change->workflow.n ? CL_STR("transition") : cl_str_of(operation_words[change->operation & 3]),
			.type = cl_fhir_type_name(change->type),
			.id = change->id,
			.detail = cl_str_of(detail),
		};
		for (struct cl_stream *stream = engine->streams; stream; stream = stream->next) {
			if (stream->courier || !stream->link->channel)
				continue;
			const struct cl_principal *principal = cl_access_principal(engine->rules->access, stream->principal);
			if (principal && may_hear(engine, arena, principal, change->type, change->id,
						  change->operation == CL_OP_DELETE))
				cl_channel_send_event(stream->link->channel, CL_FRAME_EVENT, stream->frame, &event);
		}
		cl_arena_reset(arena);
	}
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
		*place = stream->next;
		stream->link->references--;
		free((char *)(uintptr_t)stream->principal.p);
		free(stream);
	}
}
