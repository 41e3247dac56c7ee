/* validate.h: does a resource obey FHIR R4: structure, cardinality, formats, required codes and invariants. */
#pragma once
#include "base/json.h"
#include "org/fhir/issue.h"

/* Checks a whole resource, contained ones, Bundle entries and Parameters included. `source_text` is what `resource` was
 * parsed from and gives issues their line and column; it may be empty. Adds to `out` (initialized by the caller with an
 * arena that lives as long as the issues are wanted); never stops at the first issue. `arena` is for scratch.
 *
 * Checked are: unknown elements, JSON kinds, cardinality, choices, primitive formats with their `_name` companions,
 * required bindings, the types of reference targets (a wrong one is a warning), and the invariants of validate_rules.c and
 * validate_resources.c. R4's base definitions fix no values. What is not checked, cl_fhir_validate_limits says.
 *
 * Returns 0, or CL_E_RULE when `out` has at least one error (then `out` says what). Warnings alone return 0. */
int cl_fhir_validate(struct cl_arena *arena, const struct cl_json *resource, struct cl_str source_text,
                     struct cl_issues *out);
/* Adds as information what was not looked at: profiles, bindings that are not required, whether references exist, and the
 * invariants of this type that are not among those above. For who asks whether a resource is valid. */
void cl_fhir_validate_limits(const struct cl_json *resource, struct cl_issues *out);
