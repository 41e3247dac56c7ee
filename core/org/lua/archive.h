/* archive.h: an organization's configuration and the texts of its plugins as one JSON object. */
#pragma once
#include "org/lua/lua_state.h"

/* A copy whose objects have their members in the order of their names: the canonical form that is hashed. */
struct cl_json *cl_archive_sorted(struct cl_arena *arena, const struct cl_json *archive);
