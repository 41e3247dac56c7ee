/* form.h: what a browser sends for a plain form (application/x-www-form-urlencoded, WHATWG URL standard section 5). */
#pragma once
#include "base/json.h"

#define CL_FORM_FIELDS 100
#define CL_FORM_BYTES 65536

/* An object of texts by name; of a name that comes twice the last counts. CL_E_INVALID for what is no such form, CL_E_TOO_LARGE
 * past the limits above. */
int cl_form_parse(struct cl_arena *arena, struct cl_str text, struct cl_json **out, struct cl_err *e);
