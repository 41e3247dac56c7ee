/* finding.h: what the core has found and somebody should look at: one DetectedIssue for a thing found, opened and settled. */
#pragma once
#include "org/flow/unit.h"

struct cl_finding {
	struct cl_str system, name, summary; /* DetectedIssue.code */
	struct cl_str severity; /* empty = moderate */
	struct cl_str words; /* detail */
	struct cl_str patient; /* reference or empty */
	struct cl_str implicated[2]; /* references; the first makes it what it is, with the second when there is one */
	struct cl_str settled_by; /* reason for which somebody has settled it at once; empty = it is open */
	struct cl_str tell; /* role that gets a Task when it is opened, or empty */
};

/* The same thing found again has the same id. */
struct cl_str cl_finding_id(struct cl_unit *unit, const struct cl_finding *issue);
/* Opens it. One that a person has settled is not opened again for the same words. */
int cl_finding_open(struct cl_unit *unit, const struct cl_finding *issue, struct cl_err *e);
/* Settles it, with these words of what happened, when it is there and open. */
int cl_finding_settle(struct cl_unit *unit, struct cl_str id, struct cl_str words, struct cl_err *e);
