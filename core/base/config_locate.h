/* config_locate.h: finds where the values of a configuration tree stand in their Lua source. */
#pragma once
#include "base/json.h"

/* Follows the literal table after the last top-level `return` and sets `offset` of the values of `root` that are
 * written there. What is computed elsewhere keeps offset 0. CL_E_INVALID with line and column when one literal table
 * gives the same name twice (Lua would silently keep the last). `text` must have compiled as Lua. */
int cl_config_locate(struct cl_str text, struct cl_json *root, struct cl_err *e);
