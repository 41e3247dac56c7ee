/* codes.h: code lists (value sets) by the name that plugins gave them: what the plugin lists, or, when the organization has
 * loaded a ValueSet with the list's url, what that says. Licensed lists come in this way only. */
#pragma once
#include "org/flow/unit.h"

struct cl_coded {
	struct cl_str system, code; /* system empty = any; a `prefix` code stands for all that begin so */
	bool prefix;
};

struct cl_codes {
	struct cl_str name;
	struct cl_coded *items; /* whole codes first, sorted by code and system; then the prefixes */
	size_t whole, count;
	struct cl_str problem; /* why it cannot be used; empty when it can */
};

/* Found lists, kept in `arena`: a unit of its own for as long as nothing changes, or for a run of measures. */
struct cl_codes_cache *cl_codes_cache_new(struct cl_arena *arena);
/* Never NULL without an error: a list that is not loaded has a `problem`. CL_E_NOT_FOUND when no plugin declares it. */
int cl_codes_find(struct cl_unit *unit, struct cl_str name, const struct cl_codes **out, struct cl_err *e);
bool cl_codes_have(const struct cl_codes *codes, struct cl_str system, struct cl_str code);
/* The first code of a Coding, CodeableConcept, or list of either, that is in the list; empty when there is none. */
struct cl_str cl_codes_match(const struct cl_codes *codes, const struct cl_json *concept);
