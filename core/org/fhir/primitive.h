/* primitive.h: the formats of FHIR's primitive types (R4 section 2.24.0.1). */
#pragma once
#include "base/json.h"
#include "org/fhir/types.h"

/* NULL when `value` is a right JSON value for the primitive, else why not: a static sentence part such as
 * "must be a whole number from 1 to 2147483647". Required bindings and txt-2 are not looked at. */
const char *cl_fhir_check_primitive(enum cl_fhir_data data, const struct cl_json *value);
/* NULL when `div` is XHTML that a narrative may hold (invariant txt-1), else why not. Scripts, event handlers,
 * forms, frames and active links are refused: a narrative is shown to other people. Sets `empty` when it shows
 * nothing (txt-2). */
const char *cl_fhir_check_narrative(struct cl_str div, bool *empty);
