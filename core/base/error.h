/* error.h: what went wrong, where, and what to do about it. Every fallible function fills one of these. */
#pragma once

/* Codes are negative so that `int` results read as "0 or the reason". The comment names the HTTP status it becomes. */
enum cl_code {
	CL_OK = 0,
	CL_E_INVALID = -1, /* 400: the input cannot be read (syntax) */
	CL_E_RULE = -2, /* 422: readable, but a rule of FHIR or of a workflow refuses it */
	CL_E_NOT_FOUND = -3, /* 404 */
	CL_E_GONE = -4, /* 410: deleted */
	CL_E_CONFLICT = -5, /* 409: a uniqueness or reference rule of the store */
	CL_E_PRECONDITION = -6, /* 412: If-Match, If-None-Exist with several matches */
	CL_E_UNAUTHENTICATED = -7, /* 401: no usable credential */
	CL_E_FORBIDDEN = -8, /* 403 */
	CL_E_TOO_LARGE = -9, /* 413 */
	CL_E_UNSUPPORTED = -10, /* 501, or 405 where `allow` says what is possible: known, not served here */
	CL_E_LIMIT = -11, /* 429 or 422: a budget or a count was exceeded; the request changed nothing */
	CL_E_BUSY = -12, /* 503 with Retry-After: try again later */
	CL_E_FULL = -13, /* 507: storage is full */
	CL_E_IO = -14, /* 500: the outcome of a write may be unknown */
	CL_E_CORRUPT = -15, /* 500: stored data fails its own checks */
	CL_E_MEMORY = -16, /* 500 */
	CL_E_PLUGIN = -17, /* 500: a plugin's own fault; message names file and line */
	CL_E_INTERNAL = -18, /* 500: a defect of Careloop */
	CL_E_MEDIA_TYPE = -19, /* 415: the body is in a form that is not understood */
	CL_E_CLOSED = -20, /* peer closed, or shutting down */
	CL_E_NOT_ACCEPTABLE = -21, /* 406: the answer cannot be given in a form that is wanted */
};

/* Caller-owned error report. Zero-initialize. Never holds health information in `message` when code is
 * UNAUTHENTICATED or FORBIDDEN. */
struct cl_err {
	int code;
	int line, column; /* 1-based place in the input text, 0 when not applicable */
	char message[480]; /* what was wrong and what to do; UTF-8, no newline */
	char where[240]; /* FHIRPath expression, JSON path, or file:line; empty when unknown */
	const char *allow; /* CL_E_UNSUPPORTED: the methods that are possible here, "GET, HEAD"; static; else NULL */
};

/* Fills `e` (may be NULL) and returns `code`, so that callers can write `return cl_fail(e, CL_E_RULE, ...)`. */
int cl_fail(struct cl_err *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Adds the place to an error that was already filled. Returns e->code. */
int cl_fail_at(struct cl_err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The HTTP status that a code becomes. 200 for CL_OK. */
int cl_code_http_status(int code);
/* A stable lower-case word for logs and metrics ("not-found"). */
const char *cl_code_name(int code);
/* Last words to standard error, then abort: for what no caller can handle (no memory, no randomness, a broken
 * invariant). */
_Noreturn void cl_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
