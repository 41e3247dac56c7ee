/* answer.c: what goes back: status, headers and body of an interaction (FHIR R4 http.html sections 3.1.0.1 and 3.1.0.6). */
#include "org/engine/interaction.h"
#include "org/fhir/types.h"
#include <strings.h>

#define CL_FHIR_JSON "application/fhir+json; charset=utf-8"

/* RFC 7240: "return=minimal; x=y, handling=strict". What is not known is as if it were not said. */
static bool prefers(const struct cl_request *request, const char *value)
{
	struct cl_str rest = cl_request_header(request, "prefer");
	size_t n = strlen(value);
	while (rest.n) {
		size_t length = 0;
		while (length < rest.n && rest.p[length] != ',' && rest.p[length] != ';')
			length++;
		struct cl_str one = {rest.p, length};
		rest = length < rest.n ? (struct cl_str){rest.p + length + 1, rest.n - length - 1} : CL_STR_NONE;
		while (one.n && one.p[0] == ' ')
			one = (struct cl_str){one.p + 1, one.n - 1};
		while (one.n && one.p[one.n - 1] == ' ')
			one.n--;
		if (one.n == 7 + n && strncasecmp(one.p, "return=", 7) == 0 && strncasecmp(one.p + 7, value, n) == 0)
			return true;
	}
	return false;
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
	context->modified = version->updated;
	cl_response_add_header(arena, response, "etag",
	                       cl_arena_printf(arena, "W/\"%lld\"", (long long)version->version));
	cl_response_add_header(arena, response, "last-modified", cl_http_date(arena, version->updated));
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

void cl_interaction_answer_deletion(struct cl_interaction_context *context, const struct cl_version *version)
{
	struct cl_arena *arena = context->arena;
	context->response->status = 204;
	context->modified = version->updated;
	if (!version->version)
		return;
	cl_response_add_header(arena, context->response, "etag",
	                       cl_arena_printf(arena, "W/\"%lld\"", (long long)version->version));
	cl_response_add_header(arena, context->response, "last-modified", cl_http_date(arena, version->updated));
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
	if (e->allow) {
		response->status = 405;
		cl_response_add_header(arena, response, "allow", cl_str_of(e->allow));
	}
	response->body = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	cl_response_add_header(arena, response, "content-type", CL_STR(CL_FHIR_JSON));
	if (e->code == CL_E_UNAUTHENTICATED)
		cl_response_add_header(arena, response, "www-authenticate", CL_STR("Bearer realm=\"careloop\""));
	if (e->code == CL_E_BUSY || e->code == CL_E_FULL)
		cl_response_add_header(arena, response, "retry-after", CL_STR("1"));
}

void cl_interaction_answer_stranger(struct cl_arena *arena, const struct cl_request *request, const struct cl_err *e,
                                    struct cl_response *response)
{
	cl_interaction_answer_error(arena, NULL, e, response);
	if (e->code != CL_E_UNAUTHENTICATED || request->credential.kind != CL_CREDENTIAL_BEARER)
		return;
	for (size_t i = 0; i < response->header_count; i++)
		if (cl_str_is(response->headers[i].name, "www-authenticate"))
			response->headers[i].value = CL_STR("Bearer realm=\"careloop\", error=\"invalid_token\"");
}

int cl_interaction_body(struct cl_interaction_context *context, struct cl_json **out, struct cl_err *e)
{
	struct cl_str type = cl_request_header(context->request, "content-type");
	if (!cl_format_is_json(type))
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
