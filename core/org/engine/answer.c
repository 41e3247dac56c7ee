/* answer.c: what goes back: status, headers and body of an interaction (FHIR R4 http.html sections 3.1.0.1 and 3.1.0.6). */
#include "org/engine/interaction.h"
#include "base/date.h"
#include "org/fhir/types.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CL_FHIR_JSON "application/fhir+json; charset=utf-8"

/* RFC 9110 section 5.6.7: "Sun, 22 Nov 2026 05:16:07 GMT". */
static struct cl_str http_date(struct cl_arena *arena, cl_instant at)
{
	char text[40];
	struct tm parts;
	time_t seconds = (time_t)(at / CL_SECOND);
	gmtime_r(&seconds, &parts);
	size_t n = strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
	return cl_arena_copy(arena, (struct cl_str){text, n});
}

int64_t cl_etag_version(struct cl_str etag)
{
	if (cl_str_starts(etag, "W/"))
		etag = (struct cl_str){etag.p + 2, etag.n - 2};
	if (etag.n < 3 || etag.n > 20 || etag.p[0] != '"' || etag.p[etag.n - 1] != '"')
		return 0;
	int64_t version = 0;
	for (size_t i = 1; i + 1 < etag.n; i++) {
		if (etag.p[i] < '0' || etag.p[i] > '9')
			return 0;
		version = version * 10 + (etag.p[i] - '0');
	}
	return version;
}

static bool prefers(const struct cl_request *request, const char *value)
{
	struct cl_str prefer = cl_request_header(request, "prefer");
	char wanted[64];
	int n = snprintf(wanted, sizeof wanted, "return=%s", value);
	return prefer.n && memmem(prefer.p, prefer.n, wanted, (size_t)n);
}

void cl_interaction_answer_bytes(struct cl_interaction_context *context, int status, const char *content_type,
                                 struct cl_str body)
{
	context->response->status = status;
	context->response->body = body;
	cl_response_add_header(context->arena, context->response, "content-type", cl_str_of(content_type));
}

void cl_interaction_answer_json(struct cl_interaction_context *context, int status, const struct cl_json *body)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, body);
	cl_interaction_answer_bytes(context, status, CL_FHIR_JSON, cl_arena_copy(context->arena, cl_buf_str(&text)));
	cl_buf_free(&text);
}

void cl_interaction_answer_version(struct cl_interaction_context *context, int status, const struct cl_version *version,
                                   bool location)
{
	struct cl_arena *arena = context->arena;
	struct cl_response *response = context->response;
	response->status = status;
	cl_response_add_header(arena, response, "etag",
	                       cl_arena_printf(arena, "W/\"%lld\"", (long long)version->version));
	cl_response_add_header(arena, response, "last-modified", http_date(arena, version->updated));
	if (location)
		cl_response_add_header(arena, response, "location",
		                       cl_arena_printf(arena, "%.*s/fhir/%.*s/%.*s/_history/%lld",
		                                       CL_STR_ARGS(context->request->base),
		                                       CL_STR_ARGS(cl_fhir_type_name(version->type)),
		                                       CL_STR_ARGS(version->id), (long long)version->version));
	if (context->unit && prefers(context->request, "minimal"))
		return;
	cl_response_add_header(arena, response, "content-type", CL_STR(CL_FHIR_JSON));
	if (context->unit && prefers(context->request, "OperationOutcome")) {
		struct cl_buf text;
		cl_buf_init(&text, 0);
		cl_outcome_write(&text, context->issues);
		response->body = cl_arena_copy(arena, cl_buf_str(&text));
		cl_buf_free(&text);
		return;
	}
	response->body = version->body;
}

void cl_interaction_answer_error(struct cl_arena *arena, const struct cl_issues *issues, const struct cl_err *e,
                                 struct cl_response *response)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	if (issues && issues->errors)
		cl_outcome_write(&text, issues);
	else
		cl_outcome_write_error(&text, e);
	*response = (struct cl_response){.status = cl_code_http_status(e->code)};
	/* A path that exists but not for this method: RFC 9110 section 15.5.6. */
	if (e->code == CL_E_UNSUPPORTED)
		response->status = 405;
	response->body = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	cl_response_add_header(arena, response, "content-type", CL_STR(CL_FHIR_JSON));
	if (e->code == CL_E_UNAUTHENTICATED)
		cl_response_add_header(arena, response, "www-authenticate", CL_STR("Bearer"));
	if (e->code == CL_E_BUSY || e->code == CL_E_FULL)
		cl_response_add_header(arena, response, "retry-after", CL_STR("1"));
}

static bool is_json_type(struct cl_str type)
{
	const char *semicolon = type.n ? memchr(type.p, ';', type.n) : NULL;
	size_t n = semicolon ? (size_t)(semicolon - type.p) : type.n;
	while (n && type.p[n - 1] == ' ')
		n--;
	struct cl_str bare = {type.p, n};
	return cl_str_is(bare, "application/fhir+json") || cl_str_is(bare, "application/json") ||
	       cl_str_is(bare, "text/json") || cl_str_is(bare, "json") || cl_str_is(bare, "application/json+fhir");
}

int cl_interaction_body(struct cl_interaction_context *context, struct cl_json **out, struct cl_err *e)
{
	struct cl_str type = cl_request_header(context->request, "content-type");
	if (!is_json_type(type))
		return cl_fail(e, CL_E_MEDIA_TYPE, "send application/fhir+json; '%.*s' is not understood",
		               CL_STR_ARGS(type));
	if (!context->request->body.n)
		return cl_fail(e, CL_E_INVALID, "the request has no body; send a resource as JSON");
	int code = cl_json_parse(context->arena, context->request->body, NULL, out, e);
	if (code)
		return code;
	if ((*out)->kind != CL_JSON_OBJECT)
		return cl_fail(e, CL_E_INVALID, "a resource is a JSON object");
	return 0;
}
