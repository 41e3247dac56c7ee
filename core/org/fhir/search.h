/* search.h: reads a FHIR search ("name=peter&_count=10") into the tree that the store answers (R4 section 3.1.1). */
#pragma once
#include "base/json.h"
#include "org/fhir/parameters.h"
#include "org/store/query.h"

#define CL_FHIR_COUNT_DEFAULT 50
#define CL_FHIR_COUNT_MAXIMUM 1000
/* Values that one search may compare with, all parameters together. */
#define CL_FHIR_SEARCH_VALUES 2000

enum cl_fhir_summary {
	CL_SUMMARY_FALSE = 0, /* everything */
	CL_SUMMARY_TRUE,
	CL_SUMMARY_TEXT,
	CL_SUMMARY_DATA,
	CL_SUMMARY_COUNT, /* no entries, only the total */
};

/* _include=Task:patient:Patient, or _revinclude of the same form. */
struct cl_fhir_include {
	bool reverse;
	bool iterate; /* also from what was included */
	uint16_t source; /* type that holds the reference; 0 = any */
	uint16_t parameter; /* number of a reference parameter of `source`; 0 = all of them ("*") */
	uint16_t target; /* only resources of this type; 0 = any */
};

struct cl_fhir_search {
	struct cl_query query; /* type, where, sorts, limit, want_total; access, after and bodies are the caller's */
	struct cl_fhir_include *includes;
	size_t include_count;
	struct cl_str *elements; /* _elements; the caller cuts the resources down (subset.h) */
	size_t element_count;
	enum cl_fhir_summary summary;
	struct cl_str page; /* value of _page, the opaque place of a next link; empty on the first page */
	struct cl_str self; /* the query as understood, for Bundle.link: without _page and what was ignored */
	struct cl_str *ignored; /* lenient handling: what was not known and left out, "name=value" as sent */
	size_t ignored_count;
};

struct cl_fhir_search_context {
	uint16_t type; /* searched type */
	struct cl_str base; /* our address without a slash at its end: references below it are local; may be empty */
	cl_instant now; /* for the prefix ap */
	bool across; /* one of several types that are searched together: _type is passed over, sorted by _id and _lastUpdated only */
	bool lenient; /* Prefer: handling=lenient: unknown parameters are left out, not refused */
};

/* `text` is the query string, or the body of POST _search, still percent-encoded; both joined by & when there are
 * both. The result lives in the arena and borrows from `text`. _format and _pretty are passed over. CL_E_INVALID
 * says which parameter (e->where) was refused and what is known instead; CL_E_LIMIT for more than
 * CL_FHIR_SEARCH_VALUES values. */
int cl_fhir_search_parse(struct cl_arena *arena, const struct cl_fhir_search_context *context, struct cl_str text,
                         struct cl_fhir_search *out, struct cl_err *e);

/* One criterion from a decoded name and value ("subject:Patient.name", "peter,paul"), for If-None-Exist parts, rules
 * and plugins. */
int cl_fhir_search_criterion(struct cl_arena *arena, const struct cl_fhir_search_context *context, struct cl_str name,
                             struct cl_str value, struct cl_criterion *out, struct cl_err *e);

/* Percent-decoding with + as a space. CL_E_INVALID for a broken escape, U+0000 and what is no UTF-8. */
int cl_fhir_url_decode(struct cl_arena *arena, struct cl_str text, struct cl_str *out, struct cl_err *e);
