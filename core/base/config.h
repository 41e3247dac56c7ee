/* config.h: configuration files are Lua tables evaluated in an empty environment, read as a JSON tree. */
#pragma once
#include "base/json.h"

/* Evaluates the file (text chunks only, no globals, bounded memory and instructions) and converts the table it
 * returns. Sequences become arrays, other tables objects with sorted names; functions, mixed tables and cycles are
 * refused. Errors carry file:line in `where`.
 *
 * An empty table becomes an empty array: Lua cannot tell which was meant, so readers accept both. Values that stand
 * in a literal table have their byte offset in the source; names written twice in one literal table are refused.
 * Codes: CL_E_NOT_FOUND (no such file), CL_E_IO, CL_E_INVALID, CL_E_LIMIT (too large, too deep, too long running). */
int cl_config_load(struct cl_arena *arena, const char *path, struct cl_json **out, struct cl_err *e);
/* As above on text that was read already; `name` stands for the path in messages. The tree does not point into
 * `text`. */
int cl_config_load_text(struct cl_arena *arena, const char *name, struct cl_str text, struct cl_json **out,
                        struct cl_err *e);
/* 1-based line of a value that cl_config_load read from `path`, or 0 when it was computed rather than written. Reads
 * the file again: for messages to people. */
int cl_config_line(const char *path, const struct cl_json *value);
