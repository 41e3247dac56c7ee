/* subset.h: cuts a resource down to what _elements or _summary ask for (R4 section 3.1.1.5.8 and .9). */
#pragma once
#include "org/fhir/search.h"

/* Changes `resource` in place and marks it with the tag SUBSETTED when anything may have gone; edits allocate from
 * `arena`. Mandatory elements, id and meta always stay, and `resourceType`. `elements` wins over `summary` when both
 * are given; CL_SUMMARY_FALSE without elements changes nothing. CL_SUMMARY_COUNT leaves nothing to change. */
void cl_fhir_subset(struct cl_arena *arena, struct cl_json *resource, const struct cl_str *elements,
                    size_t element_count, enum cl_fhir_summary summary);
