/* json_inside.h: what the two halves of json.h share; nobody else includes it. */
#pragma once
#include "base/json.h"

#define CL_JSON_FEW_MEMBERS 16 /* up to here names are compared in pairs, beyond they are sorted */

/* A member and the hash of its name, for sorting. */
struct cl_json_named {
	uint64_t hash;
	const struct cl_json_member *member;
};

/* Sorted by name in some order that is the same for equal sets of names; free() it. NULL without memory. */
struct cl_json_named *cl_json_sort_names(const struct cl_json_member *members, uint32_t count);

#define CL_JSON_ONES UINT64_C(0x0101010101010101)
#define CL_JSON_HIGHS UINT64_C(0x8080808080808080)

/* High bits of the bytes that need a look in a string: quote, backslash, control, and with `non_ascii` also 0x80-0xff.
 * Bits above the lowest one set may be wrong (borrows), the lowest is exact. */
static inline uint64_t cl_json_special_bytes(uint64_t eight, bool non_ascii)
{
	uint64_t quote = eight ^ (CL_JSON_ONES * '"'), backslash = eight ^ (CL_JSON_ONES * '\\');
	uint64_t found = ((eight - CL_JSON_ONES * 0x20) | (quote - CL_JSON_ONES) | (backslash - CL_JSON_ONES)) & ~eight;
	return (non_ascii ? found | eight : found) & CL_JSON_HIGHS;
}

/* Length of the run that has no such byte. */
static inline size_t cl_json_plain_run(const unsigned char *p, const unsigned char *end, bool non_ascii)
{
	const unsigned char *start = p;

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	while (end - p >= 8) {
		uint64_t eight;
		memcpy(&eight, p, 8);
		uint64_t found = cl_json_special_bytes(eight, non_ascii);
		if (found)
			return (size_t)(p - start) + (size_t)__builtin_ctzll(found) / 8;
		p += 8;
	}
#endif
	while (p < end && *p >= 0x20 && *p != '"' && *p != '\\' && !(non_ascii && *p >= 0x80))
		p++;
	return (size_t)(p - start);
}
