/* index.h: the search values of a resource, by the generated search parameters. */
#pragma once
#include "base/error.h"
#include "base/json.h"
#include "org/store/index.h"

/* What one resource may give; more is refused, because each value is a row. */
#define CL_FHIR_INDEX_MAXIMUM 100000
/* Longer texts are indexed by their beginning (strings) or not at all (codes, addresses). In bytes. */
#define CL_FHIR_INDEX_TEXT 1000

/* Raised with every change to what cl_fhir_index gives: rows of other versions are indexed again when the organization
 * starts. */
#define CL_FHIR_INDEX_VERSION 2

/* Fills `out` with the sorted, distinct values; everything lives in the arena or in `resource` or is static. Reads
 * what is there and skips what is not as FHIR defines it, so the resource need not be valid. `type` must be the
 * resource's. Contained resources and references to them give nothing. CL_E_LIMIT for more than
 * CL_FHIR_INDEX_MAXIMUM values. A written number is a point (low = high): see number_point in index.c. */
int cl_fhir_index(struct cl_arena *arena, uint16_t type, const struct cl_json *resource, struct cl_index *out,
                  struct cl_err *e);

/* The same from a resource's text. */
int cl_fhir_index_text(struct cl_arena *arena, uint16_t type, struct cl_str text, struct cl_index *out,
                       struct cl_err *e);

/* The interval that a written decimal stands for, half a unit of its last digit to each side (R4 section 3.1.1.4.5):
 * "5.4" is 5.35 to 5.45. `value` (may be NULL) gets the number itself. False when `text` is no decimal. */
bool cl_fhir_decimal_interval(struct cl_str text, double *low, double *high, double *value);
