/* json_patch.h: JSON Patch (RFC 6902) with JSON Pointers (RFC 6901), applied to a parsed tree. */
#pragma once
#include "base/json.h"

#define CL_JSON_PATCH_OPERATIONS 1000 /* a patch with more is refused: send the whole instead */

/* Applies `patch`, an array of operations, to `*document` in place; what is taken over from the patch is copied into the
 * arena. On failure the document is half changed and to be thrown away. CL_E_INVALID: this is no patch; CL_E_RULE: it does
 * not fit the document, or one of its tests fails; CL_E_TOO_LARGE: it makes more of the document than its reader would take.
 * `e` says which operation, as "[3].path". */
int cl_json_patch(struct cl_arena *arena, struct cl_json *document, const struct cl_json *patch, struct cl_err *e);

/* The value a JSON Pointer points at, or NULL. An undecodable pointer points at nothing. */
struct cl_json *cl_json_pointer(struct cl_arena *arena, struct cl_json *document, struct cl_str pointer);

/* Takes away the arrays and objects that removals of `patch` left empty, and what they leave empty in turn: FHIR has neither
 * (json.html section 2.6.2). The document itself stays. */
void cl_json_patch_prune(struct cl_arena *arena, struct cl_json *document, const struct cl_json *patch);
