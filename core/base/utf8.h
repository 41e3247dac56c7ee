/* utf8.h: validation, and the folding that string search and matching use (over utf8proc). */
#pragma once
#include "base/arena.h"

/* Strict: no surrogates, no overlong forms, nothing past U+10FFFF. */
bool cl_utf8_valid(struct cl_str text);
/* Case folded, accents removed, white space runs collapsed to one space: "Ñandú  X" becomes "nandu x". */
struct cl_str cl_utf8_fold(struct cl_arena *arena, struct cl_str text);
