/* issue.h: what was found wrong with a resource or a request, and the OperationOutcome that says so (R4 section
 * 2.28). */
#pragma once
#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"

enum cl_severity { CL_SEVERITY_FATAL = 1, CL_SEVERITY_ERROR, CL_SEVERITY_WARNING, CL_SEVERITY_INFORMATION };

struct cl_issue {
	uint8_t severity; /* enum cl_severity */
	const char *code; /* FHIR issue type: "structure", "required", "value", "invariant" ...; static */
	struct cl_str diagnostics; /* one sentence for people: what is wrong and what to do */
	struct cl_str expression; /* simple FHIRPath of the place: "Patient.name[0].given[1]"; empty when unknown */
	int line, column; /* 1-based place in the source text; 0 when unknown */
};

/* A list that keeps the first `maximum` issues and counts the rest. Everything lives in the arena. */
struct cl_issues {
	struct cl_arena *arena;
	struct cl_issue *items;
	size_t count, capacity, maximum;
	size_t errors; /* fatal ones and errors, kept or not */
	size_t left_out;
};

#define CL_ISSUES_MAXIMUM 50

/* `maximum` 0 means CL_ISSUES_MAXIMUM. Allocates nothing yet. */
void cl_issues_init(struct cl_issues *issues, struct cl_arena *arena, size_t maximum);
/* `code` must be static; `expression` must live as long as the arena. Returns the issue, or NULL when the list is
 * full. */
struct cl_issue *cl_issues_add(struct cl_issues *issues, enum cl_severity severity, const char *code,
                               struct cl_str expression, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The FHIR issue type that an error's code becomes: "not-found", "conflict", "login", "throttled" ... Static text. */
const char *cl_issue_code_of(const struct cl_err *e);
/* Adds what `e` says as one issue of severity error. */
void cl_issues_add_error(struct cl_issues *issues, const struct cl_err *e);
/* Fills `e` with the first error of the list, for callers that have room for one only. Returns e->code: `code` as
 * given. */
int cl_issues_first_error(const struct cl_issues *issues, int code, struct cl_err *e);

/* An OperationOutcome as JSON text. Without issues it says "All OK" (information). Places come as "Line N column M:
 * ". */
void cl_outcome_write(struct cl_buf *out, const struct cl_issues *issues);
/* An OperationOutcome with the one issue that `e` describes. */
void cl_outcome_write_error(struct cl_buf *out, const struct cl_err *e);
