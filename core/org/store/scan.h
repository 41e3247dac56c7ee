/* scan.h: all resources of a type as they stood at a place in the commit order, in slices: for exports, which must neither see
 * half of a change nor keep one snapshot open for as long as they take (pitfalls 6). */
#pragma once
#include "org/store/store.h"

/* `version` borrows from the file and is valid during the call only. `values` are its index values, or NULL when the version is
 * no longer the current one: then the caller finds them, and decides, by the text. Deleted ones come with CL_OP_DELETE.
 * 0 goes on, 1 ends the scan after this row, negative is an error. */
typedef int (*cl_scan_visitor)(const struct cl_version *version, const struct cl_index *values, void *context);

struct cl_scan {
	uint16_t type;
	int64_t after; /* in: rows after this one; out: the last row that was looked at. 0 = from the first */
	uint64_t sequence; /* versions made by events up to this one */
	/* Looked at before `where`, for current versions; NULL = all. */
	bool (*wanted)(const struct cl_index *values, void *context);
	const struct cl_criterion *where; /* decided for current versions; NULL = all */
	cl_scan_visitor visit;
	void *context;
	bool done; /* out: there are no more rows */
};

/* Looks at no more than `limit` rows. Call it within a snapshot of a reader. */
int cl_store_scan(struct cl_store *store, struct cl_scan *scan, uint32_t limit, struct cl_err *e);
