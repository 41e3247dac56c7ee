/* sort.c: merges runs of growing length. Looks at the budget, because no hook runs in between when the comparison is C. */
#include "org/lua/sort.h"
#include "org/lua/internal.h"

void cl_sort(lua_State *L, uint32_t *places, uint32_t *scratch, uint32_t n,
             bool (*less)(lua_State *L, void *context, uint32_t a, uint32_t b), void *context)
{
	for (uint64_t width = 1; width < n; width *= 2) {
		for (uint64_t start = 0; start < n; start += 2 * width) {
			uint64_t middle = start + width < n ? start + width : n;
			uint64_t end = start + 2 * width < n ? start + 2 * width : n;
			uint64_t left = start, right = middle;
			for (uint64_t out = start; out < end; out++) {
				if ((out & 0x3ff) == 0)
					cl_poll(L);
				/* The right one only when it is truly less: equals keep their order. */
				if (left < middle && (right >= end || !less(L, context, places[right], places[left])))
					scratch[out] = places[left++];
				else
					scratch[out] = places[right++];
			}
		}
		memcpy(places, scratch, n * sizeof *places);
	}
}
