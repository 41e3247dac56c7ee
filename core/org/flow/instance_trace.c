/* instance_trace.c: how an instance came to where it is. */
#include "base/date.h"
#include "org/flow/instance_internal.h"

struct trace {
	struct cl_arena *arena;
	struct cl_buf *json;
	size_t count;
};

static void write_member(struct cl_buf *json, const char *name, struct cl_str text)
{
	if (!text.n)
		return;
	cl_buf_printf(json, ",\"%s\":", name);
	cl_json_write_text(json, text);
}

static int write_row(const struct cl_stored_transition *transition, void *context)
{
	struct trace *trace = context;
	cl_buf_printf(trace->json, "%s{\"sequence\":%llu", trace->count++ ? "," : "",
	              (unsigned long long)transition->sequence);
	write_member(trace->json, "at", cl_instant_text(trace->arena, transition->at));
	write_member(trace->json, "event", transition->event);
	write_member(trace->json, "from", transition->from);
	write_member(trace->json, "to", transition->to);
	write_member(trace->json, "actor", transition->actor);
	write_member(trace->json, "on_behalf_of", transition->on_behalf_of);
	write_member(trace->json, "source", transition->source);
	if (transition->undone)
		cl_buf_printf(trace->json, ",\"undone\":%llu", (unsigned long long)transition->undone);
	if (transition->data.n) {
		cl_buf_add_cstring(trace->json, ",\"data\":");
		cl_buf_add_str(trace->json, transition->data);
	}
	cl_buf_add_byte(trace->json, '}');
	return 0;
}

int cl_instance_trace(struct cl_unit *unit, struct cl_str task, struct cl_buf *json, struct cl_err *e)
{
	struct trace trace = {.arena = unit->arena, .json = json};
	cl_buf_add_byte(json, '[');
	int code = cl_store_transitions_all(unit->store, task, write_row, &trace, e);
	cl_buf_add_byte(json, ']');
	if (!code && !trace.count)
		return cl_fail(e, CL_E_NOT_FOUND, "Task/%.*s is no workflow instance", CL_STR_ARGS(task));
	return code;
}
