/* answer.h: how answers look on the wire: status lines, the headers that every answer has, refusals as OperationOutcome. */
#pragma once
#include "base/buffer.h"
#include "wire/frame.h"

struct cl_answer_style {
	const char *request_id; /* 32 hex digits */
	const char *date; /* IMF-fixdate */
	bool close; /* the connection ends after this answer */
	bool no_cookies; /* Set-Cookie is dropped: paths of several organizations share one browser origin */
};

/* Appends status line and headers with the empty line. Content-Length is that of response->body, which the caller sends
 * after it unless the request was HEAD; a stream has none. Of the response's own headers those are dropped that are not
 * its to say (framing, connection, CORS) or that are malformed. What is neither JSON, CSV, plain text nor an event stream
 * is marked as an attachment: a stored page must not run with the organization's origin (pitfalls 17). */
void cl_answer_head(struct cl_buf *out, const struct cl_response *response, const struct cl_answer_style *style);
/* As above for files that the gateway itself trusts: `policy` is their Content-Security-Policy; never an attachment. */
void cl_answer_file_head(struct cl_buf *out, const struct cl_response *response, const char *policy,
                         const struct cl_answer_style *style);
/* Whether an answer with that status has a body at all. */
bool cl_answer_has_body(int status);
/* Fills a response with an OperationOutcome as its body; memory from the arena. `text` says what was wrong and what to do.
 * `retry_after` in seconds, 0 for none. */
void cl_answer_refusal(struct cl_arena *arena, struct cl_response *out, int status, const char *text,
                       unsigned retry_after);
/* "Sun, 22 Nov 2026 05:16:07 GMT" */
void cl_answer_date(cl_instant now, char out[32]);
