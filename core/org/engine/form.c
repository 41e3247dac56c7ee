/* form.c: name=value&name=value, percent-decoded. */
#include "org/engine/form.h"
#include "org/fhir/search.h"

static struct cl_str take(struct cl_str *rest, char end)
{
	const char *at = rest->n ? memchr(rest->p, end, rest->n) : NULL;
	struct cl_str piece = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
	*rest = at ? (struct cl_str){at + 1, rest->n - piece.n - 1} : CL_STR_NONE;
	return piece;
}

int cl_form_parse(struct cl_arena *arena, struct cl_str text, struct cl_json **out, struct cl_err *e)
{
	*out = cl_json_new(arena, CL_JSON_OBJECT);
	if (text.n > CL_FORM_BYTES)
		return cl_fail(e, CL_E_TOO_LARGE, "a form has at most %d bytes", CL_FORM_BYTES);
	for (size_t count = 0; text.n; count++) {
		struct cl_str rest = take(&text, '&'), name, value;
		if (!rest.n)
			continue;
		if (count >= CL_FORM_FIELDS)
			return cl_fail(e, CL_E_TOO_LARGE, "a form has at most %d fields", CL_FORM_FIELDS);
		struct cl_str raw = take(&rest, '=');
		int code = cl_fhir_url_decode(arena, raw, &name, e);
		if (!code)
			code = cl_fhir_url_decode(arena, rest, &value, e);
		if (code)
			return code;
		if (!name.n)
			return cl_fail(e, CL_E_INVALID, "a field of the form has no name");
		struct cl_json *member = cl_json_set(arena, *out, name);
		*member = (struct cl_json){.kind = CL_JSON_STRING, .text = value};
	}
	return 0;
}
