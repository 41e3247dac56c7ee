/* stream.h: events as server-sent events. What a subscriber sees of an EVENT or RESYNC frame:
 *
 *   id: <incarnation>-<sequence>
 *   event: <kind>                      ("resync" when the stream could not be resumed: read everything again)
 *   data: {"type":..,"id":..,"kind":..,"detail":..}
 *
 * Ids, never content (pitfalls 19). */
#pragma once
#include "base/buffer.h"
#include "wire/frame.h"

/* Between two comments that keep the connection alive. */
#define CL_STREAM_HEARTBEAT (15 * CL_SECOND)
/* Bytes that a subscriber may be behind before it is cut off; it comes back with Last-Event-ID. */
#define CL_STREAM_OUTPUT_MAX ((size_t)1024 * 1024)

void cl_stream_event(struct cl_buf *out, enum cl_frame_type type, const struct cl_event *event);
void cl_stream_heartbeat(struct cl_buf *out);
/* What a stream begins with: `position` is "<incarnation>-<sequence>" where known, so that a client that is cut off before
 * its first event comes back to the right place. */
void cl_stream_opening(struct cl_buf *out, struct cl_str position);
