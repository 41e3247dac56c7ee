/* query.h: a question about resources as a tree. The same tree has two faces (pitfalls 18): SQL for searches, totals and
 * streams, and a decision on one resource's index values in memory. Search parameters and access rules both become it. */
#pragma once
#include "base/clock.h"
#include "base/error.h"
#include "org/store/index.h"

enum cl_criterion_kind {
	CL_TRUE = 1,
	CL_FALSE,
	CL_AND, /* all of `children`; none = true */
	CL_OR, /* any of `children`; none = false */
	CL_NOT, /* not the single child; a missing value is "not" too, as FHIR's :not wants */
	CL_ID, /* id == b */
	CL_UPDATED, /* lastUpdated in [lower, upper) per `relation` */
	CL_TOKEN, /* parameter has token; match says which of a (system) and b (code) count */
	CL_STRING, /* parameter has folded string; match says prefix, contains, whole, or exact as written */
	CL_DATE, /* relation of the stored interval to [lower, upper) */
	CL_REFERENCE, /* parameter refers to a/b; a empty = any type */
	CL_NUMBER, /* relation to [low, high) */
	CL_QUANTITY, /* same; a, b restrict system and code when not empty */
	CL_URI, /* uri == a; match CL_MATCH_PREFIX for :below */
	CL_PRESENT, /* parameter has any value (:missing=false) */
	CL_COMPARTMENT, /* in the compartment of patient b */
	CL_CHAIN, /* parameter refers to a resource of `type` that satisfies the single child */
	CL_REVERSE, /* some resource of `type` that satisfies the single child refers to this one by `parameter` (_has) */
	CL_CARE_TEAM, /* the resource is in the compartment of a patient (or is that patient) for whom an active CareTeam has a
			 participant among `members`; parameter = CareTeam participant, other = CareTeam patient,
			 status = CareTeam status */
	CL_GROUP, /* one group of `parameter` in which each child holds for its part; a child's own parameter has the rows that
		     find candidates, 0 = none */
};

enum cl_match {
	CL_MATCH_CODE = 1,
	CL_MATCH_SYSTEM_CODE,
	CL_MATCH_NO_SYSTEM_CODE,
	CL_MATCH_SYSTEM,
	CL_MATCH_PREFIX,
	CL_MATCH_CONTAINS,
	CL_MATCH_WHOLE,
	CL_MATCH_EXACT /* strings: a as written; b = the same, folded */
};

/* FHIR R4 search prefixes (section 3.1.1.4.6), on intervals. */
enum cl_relation { CL_EQ = 1, CL_NE, CL_GT, CL_LT, CL_GE, CL_LE, CL_SA, CL_EB, CL_AP };

struct cl_criterion {
	uint8_t kind; /* enum cl_criterion_kind */
	uint8_t match; /* enum cl_match */
	uint8_t relation; /* enum cl_relation */
	uint16_t type; /* of the other resource: CHAIN, REVERSE; 0 = any */
	uint16_t parameter;
	uint16_t other, status;
	struct cl_str a, b;
	int64_t lower, upper;
	double low, high;
	struct cl_str *members; /* "Practitioner/x" references: CARE_TEAM */
	size_t member_count;
	struct cl_criterion *children; /* array */
	size_t child_count;
};

struct cl_sort {
	uint16_t parameter; /* 0: lastUpdated when !by_id, else id */
	uint8_t kind; /* enum cl_index_kind of the parameter */
	bool by_id;
	bool descending;
};

struct cl_query {
	uint16_t type;
	struct cl_criterion *where; /* NULL = all */
	struct cl_criterion *access; /* NULL = all; kept apart so that it can be explained */
	struct cl_sort *sorts;
	size_t sort_count;
	uint32_t limit; /* rows wanted; the store returns one more to tell whether a next page exists */
	/* Paging: rows after this place in the sort order: cl_search_result.after of the page before; empty on the first page.
	 * All pages show the file as it was when the first one was asked for, so that none repeats or leaves out a row: what was
	 * made later is left out, and what was changed later is found and shown as it was, when `access` allows both. What was
	 * deleted later is gone. CL_E_INVALID for another search's place, CL_E_GONE when too much has changed. */
	struct cl_str after;
	struct cl_str question; /* the search as text: a place of another text is refused; may be empty */
	/* The index values of an earlier version's text, for what was changed between two pages; NULL: it is found as it is now. */
	int (*extract)(struct cl_arena *arena, uint16_t type, struct cl_str body, struct cl_index *out,
	               struct cl_err *e);
	bool across; /* one type of several whose pages are merged: sorted by nothing, id or lastUpdated; places hold for all */
	bool want_total; /* exact count of where AND access */
	bool bodies; /* false: only ids and versions */
};
