/* courier.c: what the courier process asks of an organization: what is to be delivered, and what became of it. */
#include "org/engine/hook.h"
#include "base/destination.h"
#include "org/flow/subscription.h"

#define CL_COURIER_BATCH 32
#define CL_COURIER_LOOK 1000 /* destinations with something due that are looked at for one list */
#define CL_COURIER_ATTEMPTS 26 /* about two days with the back-off below; then a person decides */
#define CL_COURIER_BYTES ((size_t)4 * 1024 * 1024) /* of one list: it must fit an answer */

/* What the courier is busy with: numbers on their way, and servers that get no more at a time. */
struct cl_courier_busy {
	const struct cl_json *flight, *full;
};

static bool on_its_way(const struct cl_courier_busy *busy, int64_t number)
{
	int64_t given;
	for (uint32_t i = 0; busy->flight && busy->flight->kind == CL_JSON_ARRAY && i < busy->flight->count; i++)
		if (cl_json_integer(&busy->flight->items[i], &given) && given == number)
			return true;
	return false;
}

static bool is_full(struct cl_arena *arena, const struct cl_courier_busy *busy, struct cl_str url)
{
	struct cl_destination destination;
	if (!busy->full || busy->full->kind != CL_JSON_ARRAY || !busy->full->count ||
	    cl_destination_read(url, &destination, NULL))
		return false;
	struct cl_str origin = cl_destination_origin(arena, &destination);
	for (uint32_t i = 0; i < busy->full->count; i++)
		if (cl_str_equal(cl_json_text(&busy->full->items[i]), origin))
			return true;
	return false;
}

static void write_message(struct cl_interaction_context *context, const struct cl_outgoing *message,
                          struct cl_json *entry)
{
	struct cl_arena *arena = context->arena;
	const struct cl_json *partners = cl_json_get(context->rules->facts->config, "partners");
	struct cl_str url = cl_json_get_text(cl_json_get_str(partners, message->destination), "url");
	cl_json_set_integer(arena, entry, "number", message->number);
	cl_json_set_text(arena, entry, "key", message->key);
	cl_json_set_text(arena, entry, "destination", message->destination);
	cl_json_set_text(arena, entry, "url", url);
	cl_json_set_integer(arena, entry, "attempts", message->attempts);
	cl_json_set_text(arena, entry, "body", message->body);
}

/* { "flight": [ numbers ], "full": [ "https://host:port" ] }, or no body: what is due and not on its way. */
static int list_due(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_outgoing_list due;
	struct cl_json *asked = NULL;
	struct cl_arena *arena = context->arena;
	int code = context->request->body.n ? cl_json_parse(arena, context->request->body, NULL, &asked, e) : 0;
	if (!code)
		code = cl_store_outbox_due(context->store, arena, context->now, CL_COURIER_LOOK, &due, e);
	if (code)
		return code;
	struct cl_courier_busy busy = {cl_json_get(asked, "flight"), cl_json_get(asked, "full")};
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_json *list = cl_json_set_array(arena, body, "messages");
	size_t bytes = 0;
	for (size_t i = 0; i < due.count && bytes < CL_COURIER_BYTES && list->count < CL_COURIER_BATCH; i++) {
		struct cl_json entry = *cl_json_new(arena, CL_JSON_OBJECT);
		enum cl_hook_verdict verdict = CL_HOOK_SEND;
		if (on_its_way(&busy, due.items[i].number))
			continue;
		if (!cl_str_starts(due.items[i].destination, CL_SUBSCRIPTION_TIMER))
			write_message(context, &due.items[i], &entry);
		else
			code = cl_hook_letter(context, &due.items[i], &entry, &verdict, e);
		if (code)
			return code;
		if (verdict == CL_HOOK_LATER || is_full(arena, &busy, cl_json_get_text(&entry, "url")))
			continue;
		*cl_json_append(arena, list) = entry;
		bytes += cl_json_get_text(&entry, "body").n + 1000;
	}
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_write(&out, body);
	cl_interaction_answer_bytes(context, 200, "application/json", cl_arena_copy(arena, cl_buf_str(&out)));
	cl_buf_free(&out);
	return 0;
}

/* A partner's: 2xx delivered; 4xx (but 401, 403, 408, 421, 425, 429) the partner refuses it for good; everything else is tried
 * again later. */
static int settle_message(struct cl_interaction_context *context, int64_t number, int64_t attempts, int64_t status,
                          struct cl_str problem, struct cl_err *e)
{
	bool sent = status >= 200 && status < 300;
	bool retry = status < 400 || status >= 500 || status == 401 || status == 403 || status == 408 ||
	             status == 421 || status == 425 || status == 429;
	attempts++;
	struct cl_str state = sent                                        ? CL_STR("sent")
	                      : !retry || attempts >= CL_COURIER_ATTEMPTS ? CL_STR("dead")
	                                                                  : CL_STR("waiting");
	return cl_store_outbox_update(context->store, number, state, (int)attempts,
	                              context->now + cl_courier_back_off(attempts), problem, e);
}

/* { "number": 7, "attempts": 0, "status": 200, "problem": "", "retry_after": 0, "withheld": false } */
static int report(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_json *body;
	struct cl_outgoing letter;
	int64_t number, attempts, status;
	struct cl_err absent = {0};
	int code = cl_json_parse(context->arena, context->request->body, NULL, &body, e);
	if (code)
		return code;
	if (!cl_json_integer(cl_json_get(body, "number"), &number) ||
	    !cl_json_integer(cl_json_get(body, "attempts"), &attempts) ||
	    !cl_json_integer(cl_json_get(body, "status"), &status))
		return cl_fail(e, CL_E_INVALID, "a report has number, attempts and status");
	if (attempts < 0 || attempts > 1000000)
		return cl_fail(e, CL_E_INVALID, "attempts is a small number");
	struct cl_hook_report hook = {
	        .status = status,
	        .problem = cl_json_get_text(body, "problem"),
	        .withheld = cl_json_is_true(cl_json_get(body, "withheld")),
	};
	cl_json_integer(cl_json_get(body, "retry_after"), &hook.retry_after);
	if (hook.retry_after < 0 || hook.retry_after > 1000000)
		hook.retry_after = 0;
	context->response->status = 204;
	code = cl_store_outbox_get(context->store, context->arena, number, &letter, &absent);
	if (code == CL_E_NOT_FOUND)
		return 0; /* reported before, by a courier that did not hear the answer */
	if (code)
		return cl_fail(e, code, "%s", absent.message);
	return cl_str_starts(letter.destination, CL_SUBSCRIPTION_TIMER)
	               ? cl_hook_settle(context, &letter, &hook, e)
	               : settle_message(context, number, attempts, status, hook.problem, e);
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
