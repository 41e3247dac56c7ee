/* utf8.h: validation, and the folding that string search and matching use (over utf8proc). */
#pragma once
#include "base/arena.h"

/* Strict: no surrogates, no overlong forms, nothing past U+10FFFF. */
bool cl_utf8_valid(struct cl_str text);
/* Length in bytes (1-4) of the valid character at `p`, 0 when there is none before `end`. */
static inline size_t cl_utf8_length(const unsigned char *p, const unsigned char *end)
{
	size_t left = (size_t)(end - p);
	if (left < 1)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || left < 2 || (p[1] & 0xc0) != 0x80)
		return 0;
	if (p[0] < 0xe0)
		return 2;
	if (left < 3 || (p[2] & 0xc0) != 0x80)
		return 0;
	if (p[0] < 0xf0) /* neither overlong nor a surrogate */
		return (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ? 0 : 3;
	if (left < 4 || (p[3] & 0xc0) != 0x80 || p[0] > 0xf4)
		return 0;
	return (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90) ? 0 : 4;
}
/* Puts a question mark in place of every byte that belongs to no character: of texts that were cut somewhere. */
void cl_utf8_mend(char *text, size_t n);
/* Case folded, accents removed, white space runs collapsed to one space and removed at the ends: "Ñandú  X " becomes
 * "nandu x". Vowel signs of scripts that are not accents stay. Bytes that are no UTF-8 become U+FFFD. */
struct cl_str cl_utf8_fold(struct cl_arena *arena, struct cl_str text);
