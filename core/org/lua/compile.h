/* compile.h: reading the merged declarations (tables of overlay.lua and merge.lua) into the catalog's structs. */
#pragma once
#include "org/lua/internal.h"

/* All read a field of the table at `index`; absent ones give nothing. Texts are copied into the state's arena. */
CL_MAY_LJMP struct cl_str cl_field_text(lua_State *L, int index, const char *name);
CL_MAY_LJMP lua_Integer cl_field_integer(lua_State *L, int index, const char *name, lua_Integer otherwise);
CL_MAY_LJMP double cl_field_number(lua_State *L, int index, const char *name, double otherwise);
CL_MAY_LJMP bool cl_field_flag(lua_State *L, int index, const char *name);
CL_MAY_LJMP struct cl_str *cl_field_texts(lua_State *L, int index, const char *name, size_t *count);
CL_MAY_LJMP struct cl_duration cl_field_duration(lua_State *L, int index, const char *name);
/* Plugin, file and line of the table's `at`. */
CL_MAY_LJMP struct cl_origin cl_field_origin(lua_State *L, int index);
/* Registers the function of that name; CL_NO_FUNCTION when there is none. */
CL_MAY_LJMP int cl_field_function(lua_State *L, int index, const char *name, const struct cl_origin *declared,
                                  const char *what, ...) __attribute__((format(printf, 5, 6)));
/* Pushes the list of that name (an empty one when absent) and returns its length. */
CL_MAY_LJMP size_t cl_push_list(lua_State *L, int index, const char *name);
int cl_plugin_index(const struct cl_lua *lua, struct cl_str name);
