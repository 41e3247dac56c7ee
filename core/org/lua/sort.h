/* sort.h: a stable merge sort whose comparison may raise a Lua error, and that any comparison, however inconsistent, ends. */
#pragma once
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

/* Orders the `n` numbers in `places`; `scratch` has room for as many. Both must belong to Lua or to the C stack. */
void cl_sort(lua_State *L, uint32_t *places, uint32_t *scratch, uint32_t n,
             bool (*less)(lua_State *L, void *context, uint32_t a, uint32_t b), void *context);
