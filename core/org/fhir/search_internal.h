/* search_internal.h: what the parts of the search reader share. Not for other rooms. */
#pragma once
#include "org/fhir/search.h"

struct cl_search_reader {
	struct cl_arena *arena;
	const struct cl_fhir_search_context *context;
	size_t values; /* compared with so far */
	bool unknown; /* the refusal was for something not known or not supported: lenient handling leaves it out */
};

/* A criterion for parameter `name` (with modifier and chain) of `type`. `depth` counts the chains and _has around
 * it. */
int cl_search_read(struct cl_search_reader *reader, uint16_t type, struct cl_str name, struct cl_str value, int depth,
                   struct cl_criterion *out, struct cl_err *e);
/* "Patient has no search parameter ...", with the nearest and all known names. */
int cl_search_unknown(struct cl_search_reader *reader, uint16_t type, struct cl_str name, struct cl_err *e);
/* One value of a parameter without modifier, by its kind. `escaped` still has its backslashes. */
int cl_search_value(struct cl_search_reader *reader, const struct cl_fhir_parameter *parameter, struct cl_str modifier,
                    struct cl_str escaped, struct cl_criterion *out, struct cl_err *e);
/* A date with prefix, as an interval. */
int cl_search_date(struct cl_search_reader *reader, struct cl_str name, struct cl_str value, struct cl_criterion *out,
                   struct cl_err *e);
/* Where `escaped` has `separator` without a backslash before it; its length when nowhere. */
size_t cl_search_find(struct cl_str escaped, char separator);
/* Takes the backslashes of \, \| \$ \\ off. */
struct cl_str cl_search_unescape(struct cl_arena *arena, struct cl_str escaped);
