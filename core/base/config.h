/* config.h: configuration files are Lua tables evaluated in an empty environment, read as a JSON tree. */
#pragma once
#include "base/json.h"

/* Evaluates the file (text chunks only, no globals, bounded memory and instructions) and converts the table it returns.
 * Sequences become arrays, other tables objects with sorted names; functions, mixed tables and cycles are refused.
 * Errors carry file:line in `where`. */
int cl_config_load(struct cl_arena *arena, const char *path, struct cl_json **out, struct cl_err *e);
