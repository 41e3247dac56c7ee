/* answer.c: heads of answers are built by appending; one pass over the organization's headers. */
#include "gateway/answer.h"
#include "base/json.h"
#include <stdio.h>
#include <strings.h>
#include <time.h>

static const char *phrase_of(int status)
{
	static const struct {
		int status;
		const char *phrase;
	} phrases[] = {
	        {200, "OK"},
	        {201, "Created"},
	        {202, "Accepted"},
	        {204, "No Content"},
	        {206, "Partial Content"},
	        {301, "Moved Permanently"},
	        {302, "Found"},
	        {303, "See Other"},
	        {304, "Not Modified"},
	        {307, "Temporary Redirect"},
	        {308, "Permanent Redirect"},
	        {400, "Bad Request"},
	        {401, "Unauthorized"},
	        {403, "Forbidden"},
	        {404, "Not Found"},
	        {405, "Method Not Allowed"},
	        {406, "Not Acceptable"},
	        {408, "Request Timeout"},
	        {409, "Conflict"},
	        {410, "Gone"},
	        {412, "Precondition Failed"},
	        {413, "Content Too Large"},
	        {414, "URI Too Long"},
	        {415, "Unsupported Media Type"},
	        {417, "Expectation Failed"},
	        {421, "Misdirected Request"},
	        {422, "Unprocessable Content"},
	        {429, "Too Many Requests"},
	        {431, "Request Header Fields Too Large"},
	        {500, "Internal Server Error"},
	        {501, "Not Implemented"},
	        {502, "Bad Gateway"},
	        {503, "Service Unavailable"},
	        {505, "HTTP Version Not Supported"},
	        {507, "Insufficient Storage"},
	};
	for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
		if (phrases[i].status == status)
			return phrases[i].phrase;
	return "Other";
}

/* Code of the OperationOutcome's issue (FHIR's IssueType). */
static const char *issue_of(int status)
{
	switch (status) {
	case 404:
		return "not-found";
	case 405:
	case 501:
	case 505:
		return "not-supported";
	case 408:
		return "timeout";
	case 413:
	case 414:
	case 431:
		return "too-long";
	case 429:
		return "throttled";
	case 500:
	case 502:
		return "exception";
	case 503:
		return "transient";
	default:
		return "invalid";
	}
}

bool cl_answer_has_body(int status)
{
	return status >= 200 && status != 204 && status != 304;
}

/* A status line, most often the same: nothing is formatted for 200. */
static void add_status(struct cl_buf *out, int status)
{
	static const char good[] = "HTTP/1.1 200 OK\r\n";
	if (status == 200)
		cl_buf_add(out, good, sizeof good - 1);
	else
		cl_buf_printf(out, "HTTP/1.1 %03d %s\r\n", status, phrase_of(status));
}

static void add_header(struct cl_buf *out, struct cl_str name, struct cl_str value)
{
	char *at = cl_buf_reserve(out, name.n + value.n + 4);
	if (!at)
		return;
	memcpy(at, name.p, name.n);
	at[name.n] = ':';
	at[name.n + 1] = ' ';
	if (value.n)
		memcpy(at + name.n + 2, value.p, value.n);
	memcpy(at + name.n + 2 + value.n, "\r\n", 2);
	out->n += name.n + value.n + 4;
}

static void add_number(struct cl_buf *out, const char *name, uint64_t number)
{
	char digits[24], *at = digits + sizeof digits;
	do
		*--at = (char)('0' + number % 10);
	while (number /= 10);
	add_header(out, cl_str_of(name), (struct cl_str){at, (size_t)(digits + sizeof digits - at)});
}

static bool well_formed(const struct cl_header *header)
{
	if (header->name.n == 0 || header->name.n > 64)
		return false;
	for (size_t i = 0; i < header->name.n; i++) {
		char c = header->name.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	for (size_t i = 0; i < header->value.n; i++) {
		unsigned char c = (unsigned char)header->value.p[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

/* Said by the gateway, or by nobody. */
static bool is_ours(struct cl_str name)
{
	static const char *const ours[] = {
	        "content-length",
	        "transfer-encoding",
	        "connection",
	        "keep-alive",
	        "upgrade",
	        "trailer",
	        "te",
	        "date",
	        "server",
	        "x-request-id",
	        "x-content-type-options",
	        "strict-transport-security",
	        "content-security-policy",
	        "content-disposition",
	        "last-event-id",
	};
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
		if (cl_str_is(name, ours[i]))
			return true;
	return cl_str_starts(name, "access-control-") || cl_str_starts(name, "proxy-");
}

/* Types that a browser shows as data and never runs. */
static bool is_harmless(struct cl_str type)
{
	static const char *const known[] = {
	        "application/fhir+json",
	        "application/json",
	        "application/json-patch+json",
	        "application/fhir+ndjson",
	        "application/ndjson",
	        "application/schema+json",
	        "text/csv",
	        "text/plain",
	        "text/event-stream",
	};
	const char *semicolon = type.n ? memchr(type.p, ';', type.n) : NULL;
	size_t n = semicolon ? (size_t)(semicolon - type.p) : type.n;
	while (n && type.p[n - 1] == ' ')
		n--;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strlen(known[i]) == n && strncasecmp(type.p, known[i], n) == 0)
			return true;
	return false;
}

/* Everything but what depends on who wrote the body. */
static void add_common(struct cl_buf *out, const struct cl_response *response, const struct cl_answer_style *style,
                       struct cl_str *type, struct cl_str *disposition)
{
	static const char always[] =
	        "Strict-Transport-Security: max-age=31536000\r\nX-Content-Type-Options: nosniff\r\n";
	bool cached = false, has_body = cl_answer_has_body(response->status);
	*type = *disposition = CL_STR_NONE;
	add_status(out, response->status);
	for (size_t i = 0; i < response->header_count; i++) {
		const struct cl_header *header = &response->headers[i];
		if (cl_str_is(header->name, "content-disposition"))
			*disposition = header->value;
		if (!well_formed(header) || is_ours(header->name))
			continue;
		if (cl_str_is(header->name, "content-type"))
			*type = header->value;
		else if (cl_str_is(header->name, "cache-control"))
			cached = true;
		else if (style->no_cookies && cl_str_is(header->name, "set-cookie"))
			continue;
		add_header(out, header->name, header->value);
	}
	if (response->body.n && !type->n && has_body) {
		*type = CL_STR("application/octet-stream");
		add_header(out, CL_STR("Content-Type"), *type);
	}
	if (!cached)
		add_header(out, CL_STR("Cache-Control"), CL_STR("no-store"));
	if (!response->stream && has_body)
		add_number(out, "Content-Length", response->file ? response->file->size : response->body.n);
	if (response->stream)
		add_header(out, CL_STR("X-Accel-Buffering"), CL_STR("no"));
	cl_buf_add(out, always, sizeof always - 1);
	add_header(out, CL_STR("X-Request-Id"), (struct cl_str){style->request_id, 32});
	add_header(out, CL_STR("Date"), cl_str_of(style->date));
	if (style->close)
		add_header(out, CL_STR("Connection"), CL_STR("close"));
}

void cl_answer_head(struct cl_buf *out, const struct cl_response *response, const struct cl_answer_style *style)
{
	struct cl_str type, disposition;
	add_common(out, response, style, &type, &disposition);
	if (type.n && (!is_harmless(type) || disposition.n)) {
		bool named = disposition.n > 10 && strncasecmp(disposition.p, "attachment", 10) == 0;
		struct cl_header own = {CL_STR("content-disposition"), disposition};
		bool use = named && well_formed(&own);
		add_header(out, CL_STR("Content-Disposition"), use ? disposition : CL_STR("attachment"));
		add_header(out, CL_STR("Content-Security-Policy"), CL_STR("default-src 'none'; sandbox"));
	}
	cl_buf_add(out, "\r\n", 2);
}

void cl_answer_file_head(struct cl_buf *out, const struct cl_response *response, const char *policy,
                         const struct cl_answer_style *style)
{
	struct cl_str type, disposition;
	add_common(out, response, style, &type, &disposition);
	add_header(out, CL_STR("Content-Security-Policy"), cl_str_of(policy));
	add_header(out, CL_STR("Referrer-Policy"), CL_STR("no-referrer"));
	cl_buf_add(out, "\r\n", 2);
}

void cl_answer_refusal(struct cl_arena *arena, struct cl_response *out, int status, const char *text,
                       unsigned retry_after)
{
	struct cl_buf body;
	cl_buf_init(&body, 4096);
	cl_buf_printf(&body,
	              "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":\"%s\","
	              "\"diagnostics\":",
	              issue_of(status));
	cl_json_write_text(&body, cl_str_of(text));
	cl_buf_add_cstring(&body, "}]}");
	*out = (struct cl_response){.status = status, .body = cl_arena_copy(arena, cl_buf_str(&body))};
	cl_buf_free(&body);
	cl_response_add_header(arena, out, "content-type", CL_STR("application/fhir+json; charset=utf-8"));
	if (retry_after)
		cl_response_add_header(arena, out, "retry-after", cl_arena_printf(arena, "%u", retry_after));
}

void cl_answer_date(cl_instant now, char out[32])
{
	static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = (time_t)(now / CL_SECOND);
	struct tm time;
	gmtime_r(&seconds, &time);
	snprintf(out, 32, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[time.tm_wday % 7], time.tm_mday % 100,
	         months[time.tm_mon % 12], (time.tm_year + 1900) % 10000, time.tm_hour % 100, time.tm_min % 100,
	         time.tm_sec % 100);
}
