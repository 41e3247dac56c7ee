/* courier.c: what the courier process asks of an organization: what is to be delivered, and what became of it. */
#include "org/engine/interaction.h"
#include <stdlib.h>

#define CL_COURIER_BATCH 32
#define CL_COURIER_ATTEMPTS 26 /* about two days with the back-off below; then a person decides */
#define CL_COURIER_BYTES ((size_t)4 * 1024 * 1024) /* of one list: it must fit an answer */

/* Half a second, one, two, four ... at most four hours: a partner that restarts is not kept waiting, one that is down is not
 * pestered. */
static cl_instant back_off(int attempts)
{
	int shift = attempts < 16 ? attempts : 16;
	cl_instant wait = ((cl_instant)1 << shift) * (CL_SECOND / 4);
	return wait > 4 * CL_HOUR ? 4 * CL_HOUR : wait;
}

static int list_due(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_outgoing_list due;
	struct cl_arena *arena = context->arena;
	int code = cl_store_outbox_due(context->store, arena, context->now, CL_COURIER_BATCH, &due, e);
	if (code)
		return code;
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_json *list = cl_json_set_array(arena, body, "messages");
	const struct cl_json *partners = cl_json_get(context->rules->facts->config, "partners");
	size_t bytes = 0;
	for (size_t i = 0; i < due.count && bytes < CL_COURIER_BYTES; i++) {
		bytes += due.items[i].body.n;
		struct cl_json *entry = cl_json_append(arena, list);
		*entry = *cl_json_new(arena, CL_JSON_OBJECT);
		struct cl_str url = cl_json_get_text(cl_json_get_str(partners, due.items[i].destination), "url");
		cl_json_set_integer(arena, entry, "number", due.items[i].number);
		cl_json_set_text(arena, entry, "key", due.items[i].key);
		cl_json_set_text(arena, entry, "destination", due.items[i].destination);
		cl_json_set_text(arena, entry, "url", url);
		cl_json_set_integer(arena, entry, "attempts", due.items[i].attempts);
		cl_json_set_text(arena, entry, "body", due.items[i].body);
	}
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_write(&out, body);
	cl_interaction_answer_bytes(context, 200, "application/json", cl_arena_copy(arena, cl_buf_str(&out)));
	cl_buf_free(&out);
	return 0;
}

/* { "number": 7, "attempts": 0, "status": 200, "problem": "" }: 2xx delivered; 4xx (but 401, 403, 408, 421, 425, 429) the
 * partner refuses it for good; everything else is tried again later. */
static int report(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_json *body;
	int64_t number, attempts, status;
	int code = cl_json_parse(context->arena, context->request->body, NULL, &body, e);
	if (code)
		return code;
	if (!cl_json_integer(cl_json_get(body, "number"), &number) ||
	    !cl_json_integer(cl_json_get(body, "attempts"), &attempts) ||
	    !cl_json_integer(cl_json_get(body, "status"), &status))
		return cl_fail(e, CL_E_INVALID, "a report has number, attempts and status");
	if (attempts < 0 || attempts > 1000000)
		return cl_fail(e, CL_E_INVALID, "attempts is a small number");
	bool sent = status >= 200 && status < 300;
	bool retry = status < 400 || status >= 500 || status == 401 || status == 403 || status == 408 ||
	             status == 421 || status == 425 || status == 429;
	attempts++;
	struct cl_str state = sent                                        ? CL_STR("sent")
	                      : !retry || attempts >= CL_COURIER_ATTEMPTS ? CL_STR("dead")
	                                                                  : CL_STR("waiting");
	code = cl_store_outbox_update(context->store, number, state, (int)attempts,
	                              context->now + back_off((int)attempts), cl_json_get_text(body, "problem"), e);
	context->response->status = 204;
	return code;
}

int cl_interaction_courier(struct cl_interaction_context *context, struct cl_err *e)
{
	context->target = context->request->target;
	if (!context->principal->console)
		return cl_fail(e, CL_E_FORBIDDEN, "only the courier may ask this");
	if (cl_str_is(context->request->target, "/outbox"))
		return list_due(context, e);
	if (cl_str_is(context->request->target, "/outbox/report"))
		return report(context, e);
	return cl_fail(e, CL_E_NOT_FOUND, "the courier may ask for /outbox and report to /outbox/report");
}
