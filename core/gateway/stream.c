/* stream.c: the text/event-stream format. */
#include "gateway/stream.h"
#include "base/json.h"

/* Kinds are words; anything else would break the format. */
static bool is_word(struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		      c == '_' || c == '.'))
			return false;
	}
	return text.n > 0;
}

static void add_member(struct cl_buf *out, const char *before, struct cl_str value)
{
	cl_buf_add_cstring(out, before);
	cl_json_write_text(out, value);
}

void cl_stream_event(struct cl_buf *out, enum cl_frame_type type, const struct cl_event *event)
{
	struct cl_str kind = is_word(event->kind) ? event->kind : CL_STR("change");
	if (type == CL_FRAME_RESYNC)
		kind = CL_STR("resync");
	cl_buf_printf(out, "id: %llu-%llu\nevent: %.*s\n", (unsigned long long)event->incarnation,
	              (unsigned long long)event->sequence, CL_STR_ARGS(kind));
	add_member(out, "data: {\"type\":", event->type);
	add_member(out, ",\"id\":", event->id);
	add_member(out, ",\"kind\":", kind);
	add_member(out, ",\"detail\":", event->detail);
	cl_buf_add_cstring(out, "}\n\n");
}

void cl_stream_heartbeat(struct cl_buf *out)
{
	cl_buf_add_cstring(out, ":\n\n");
}

void cl_stream_opening(struct cl_buf *out, struct cl_str position)
{
	for (size_t i = 0; i < position.n; i++)
		if ((position.p[i] < '0' || position.p[i] > '9') && position.p[i] != '-')
			position.n = 0;
	if (position.n)
		cl_buf_printf(out, "id: %.*s\n\n", CL_STR_ARGS(position));
	else
		cl_stream_heartbeat(out);
}
