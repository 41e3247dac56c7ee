/* binary.c: the resource that is somebody else's format (FHIR R4 binary.html section 2.43): taken in and given out as it is. What
 * comes out is for saving, never for showing: a page in it must not run with the organization's name (pitfalls 17). */
#include "org/engine/interaction.h"
#include "base/hash.h"
#include "org/fhir/types.h"

#define CL_TYPE_LONGEST 200

bool cl_binary_is_raw(const struct cl_interaction_context *context)
{
	struct cl_str type = cl_request_header(context->request, "content-type");
	struct cl_json *resource;
	struct cl_err ignored = {0};
	if (!cl_str_is(cl_fhir_type_name(context->route->type), "Binary") ||
	    cl_format_is(type, "application/fhir+json") || cl_format_is(type, "application/json+fhir"))
		return false;
	/* JSON of any kind may be the content; a Binary resource is one. */
	return !cl_format_is_json(type) ||
	       cl_json_parse(context->arena, context->request->body, NULL, &resource, &ignored) ||
	       !cl_str_is(cl_json_get_text(resource, "resourceType"), "Binary");
}

int cl_binary_wrap(struct cl_interaction_context *context, struct cl_json **out, struct cl_err *e)
{
	struct cl_arena *arena = context->arena;
	struct cl_str body = context->request->body, type = cl_request_header(context->request, "content-type");
	struct cl_str about = cl_request_header(context->request, "x-security-context");
	if (body.n > CL_BODY_MAX / 4 * 3 - 1024)
		return cl_fail(e, CL_E_TOO_LARGE,
		               "a Binary may hold at most %d bytes: as a resource it must fit into %d MiB",
		               CL_BODY_MAX / 4 * 3 - 1024, CL_BODY_MAX >> 20);
	if (!type.n)
		return cl_fail(e, CL_E_MEDIA_TYPE, "say with Content-Type what the content is");
	if (type.n > CL_TYPE_LONGEST)
		return cl_fail(e, CL_E_MEDIA_TYPE, "the Content-Type is longer than %d bytes", CL_TYPE_LONGEST);
	struct cl_json *resource = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, resource, "resourceType", CL_STR("Binary"));
	if (context->route->id.n)
		cl_json_set_text(arena, resource, "id", context->route->id);
	cl_json_set_text(arena, resource, "contentType", type);
	if (about.n)
		cl_json_set_text(arena, cl_json_set_object(arena, resource, "securityContext"), "reference", about);
	if (body.n) {
		struct cl_json *data = cl_json_set(arena, resource, CL_STR("data"));
		*data = (struct cl_json){.kind = CL_JSON_STRING, .text = cl_base64(arena, body)};
	}
	*out = resource;
	return 0;
}

/* "text/plain; charset=utf-8": what a header may hold. */
static bool is_header_text(struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < 0x20 || text.p[i] > 0x7e)
			return false;
	return text.n > 0 && text.n <= CL_TYPE_LONGEST && memchr(text.p, '/', text.n);
}

int cl_binary_content(struct cl_arena *arena, struct cl_str data, struct cl_str *out, struct cl_err *e)
{
	/* FHIR allows white space between the letters. */
	char *letters = cl_arena_alloc(arena, data.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < data.n; i++)
		if (data.p[i] != ' ' && data.p[i] != '\n' && data.p[i] != '\r' && data.p[i] != '\t')
			letters[n++] = data.p[i];
	return cl_base64_decode(arena, (struct cl_str){letters, n}, out, e);
}

int cl_binary_answer(struct cl_interaction_context *context, const struct cl_version *version, struct cl_err *e)
{
	struct cl_json *resource;
	struct cl_str content;
	int code = cl_json_parse(context->arena, version->body, NULL, &resource, e);
	if (code)
		return code;
	struct cl_str type = cl_json_get_text(resource, "contentType");
	if (!cl_format_wants_content(context->request, context->route, type)) {
		cl_interaction_answer_version(context, 200, version, false);
		return 0;
	}
	code = cl_binary_content(context->arena, cl_json_get_text(resource, "data"), &content, e);
	if (code)
		return cl_fail(e, CL_E_RULE, "the data of this Binary is no base64; ask for application/fhir+json");
	cl_interaction_answer_version(context, 200, version, false);
	struct cl_response *response = context->response;
	response->body = content;
	for (size_t i = 0; i < response->header_count; i++)
		if (cl_str_is(response->headers[i].name, "content-type"))
			response->headers[i].value = is_header_text(type) ? type : CL_STR("application/octet-stream");
	cl_response_add_header(context->arena, response, "content-disposition", CL_STR("attachment"));
	struct cl_str about = cl_json_get_text(cl_json_get(resource, "securityContext"), "reference");
	if (about.n && is_header_text(about))
		cl_response_add_header(context->arena, response, "x-security-context", about);
	return 0;
}
