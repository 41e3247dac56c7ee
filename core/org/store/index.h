/* index.h: the search values of one resource, as the side tables of the store hold them (conformance.md §4). */
#pragma once
#include "base/arena.h"
#include <stdint.h>

enum cl_index_kind {
	CL_INDEX_TOKEN = 1, /* a = system ("" if none), b = code */
	CL_INDEX_STRING, /* a = folded text */
	CL_INDEX_DATE, /* lower inclusive, upper exclusive, UTC microseconds; INT64_MIN/MAX for open ends */
	CL_INDEX_REFERENCE, /* a = type name ("" for absolute URLs and urn:), b = id or the whole URL */
	CL_INDEX_NUMBER, /* low inclusive, high exclusive: the written decimal with its implicit precision */
	CL_INDEX_QUANTITY, /* as number; a = system, b = code or unit */
	CL_INDEX_URI, /* a = uri */
	CL_INDEX_COMPARTMENT, /* b = patient id: member of that Patient's compartment; parameter is 0 */
	/* Kept beside the resource only: without rows of their own, they decide on what other values' rows have found. */
	CL_INDEX_EXACT, /* a = a string as it is written, for what asks for case and accents too */
	CL_INDEX_MEMBER, /* a value within a group (composites, :of-type): lower = number of the group, upper = CL_MEMBER_OF;
			    a, b, low, high as its own kind has them, with low and high 0 in tokens and references */
};

/* Which part of the group a member is, and the kind of its value: token, reference, number or quantity. */
#define CL_MEMBER_OF(part, kind) ((int64_t)(part) << 8 | (kind))
#define CL_MEMBER_PART(upper) ((unsigned)((upper) >> 8))
#define CL_MEMBER_KIND(upper) ((uint8_t)((upper)&0xff))

struct cl_index_value {
	uint16_t parameter; /* number of (type, search parameter), from search-parameter-numbers.txt */
	uint8_t kind; /* enum cl_index_kind */
	struct cl_str a, b;
	int64_t lower, upper;
	double low, high;
};

/* Sorted by cl_index_compare and without duplicates, so that two versions can be merged as a difference. */
struct cl_index {
	struct cl_index_value *values;
	size_t count;
};

int cl_index_compare(const struct cl_index_value *x, const struct cl_index_value *y);
/* Sorts and removes duplicates in place. */
void cl_index_normalize(struct cl_index *index);
