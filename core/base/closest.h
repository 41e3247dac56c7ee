/* closest.h: "did you mean": the known name that a misspelt one most probably stands for. */
#pragma once
#include "base/text.h"

/* Set `wanted`, zero the rest, offer every candidate, read `best`. */
struct cl_closest {
	struct cl_str wanted;
	const char *best; /* borrowed from the offer; NULL when nothing is near enough */
	unsigned distance; /* letters changed, added, dropped or swapped */
};

/* Near enough means at most one change in three letters, and fewer than any offer before. */
void cl_closest_offer(struct cl_closest *closest, const char *candidate);
