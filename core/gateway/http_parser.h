/* http_parser.h: strict, incremental HTTP/1.1 requests. Bytes in, requests or refusals out; no input or output of its own.
 *
 * Stricter than the grammar wherever two readers could disagree about where a request ends or what it asks for: exact
 * CRLF, no folding, no leading empty lines, origin-form targets only (absolute-form and asterisk-form are refused with
 * 400), one Host, one length in digits, Transfer-Encoding only "chunked" and never with a length, no body on GET and HEAD.
 * How the input is cut into pieces never changes the outcome. After a refusal the connection must be closed. */
#pragma once
#include "base/buffer.h"
#include "wire/frame.h"

#define CL_HTTP_HEAD_MAX 16384 /* bytes of request line, headers and the empty line: 431 */
#define CL_HTTP_TARGET_MAX 8192 /* bytes: 414 */
#define CL_HTTP_HEADERS_MAX 100 /* 431 */
#define CL_HTTP_TRAILER_MAX 4096 /* bytes of chunk extensions and trailers, all chunks together: 400 */

enum cl_http_method {
	CL_HTTP_GET,
	CL_HTTP_HEAD,
	CL_HTTP_POST,
	CL_HTTP_PUT,
	CL_HTTP_PATCH,
	CL_HTTP_DELETE,
	CL_HTTP_OPTIONS
};

/* Texts point into the parser and live until its next reset. Values of obs-text are passed on as they are. */
struct cl_http_request {
	enum cl_http_method method;
	struct cl_str method_name;
	struct cl_str target; /* visible ASCII, starts with one "/" */
	struct cl_str host; /* lower case, with the port if one was sent; empty only for HTTP/1.0 */
	int minor_version; /* 0 or 1 */
	bool keep_alive;
	bool expects_continue; /* the client waits for "100 Continue" before it sends the body */
	bool chunked;
	uint64_t content_length; /* 0 when chunked or absent */
	struct cl_header headers[CL_HTTP_HEADERS_MAX]; /* names in lower case */
	size_t header_count;
	struct cl_str body; /* complete after CL_HTTP_DONE */
};

enum cl_http_step {
	CL_HTTP_MORE, /* all bytes were taken, more are needed */
	CL_HTTP_HEADERS, /* the head is complete and good; feed on for the body (with no bytes if there are none) */
	CL_HTTP_DONE, /* the request is complete; reset before the next */
	CL_HTTP_REFUSED, /* status and reason say why; feeding on gives the same again */
};

struct cl_http_parser {
	struct cl_http_request request;
	int status; /* of a refusal: 400, 413, 414, 417, 431, 501, 505 */
	const char *reason; /* static text for people */
	uint64_t received; /* bytes of body so far */
	/* Private. */
	size_t body_limit;
	int state;
	struct cl_buf head, body;
	size_t line_start; /* in head: where the line that is being received begins */
	uint64_t remaining; /* of the body, or of the chunk */
	unsigned digits; /* of the chunk size */
	size_t trailer_bytes;
};

/* `body_limit` in bytes; longer bodies are refused with 413. Free with cl_http_parser_free. */
void cl_http_parser_init(struct cl_http_parser *parser, size_t body_limit);
void cl_http_parser_free(struct cl_http_parser *parser);
/* Forgets the request, keeps small buffers. */
void cl_http_parser_reset(struct cl_http_parser *parser);
/* True when no byte of a request has come yet. */
bool cl_http_parser_idle(const struct cl_http_parser *parser);
/* Takes bytes up to the next step; *consumed says how many. */
enum cl_http_step cl_http_parser_feed(struct cl_http_parser *parser, const char *bytes, size_t n, size_t *consumed);

/* Value of the first header with that lower-case name, or an empty text. */
struct cl_str cl_http_header(const struct cl_http_request *request, const char *name);
/* Whether a comma-separated list of tokens contains this one, without regard to case. */
bool cl_http_list_has(struct cl_str list, const char *token);
