/* validate_internal.h: what the parts of the validator share. Not for other rooms. */
#pragma once
#include "org/fhir/types.h"
#include "org/fhir/validate.h"

/* Objects within objects. The JSON reader allows 64 containers; trees made in memory could be deeper. */
#define CL_VALIDATE_DEPTH 100

/* The way from the root to what is being looked at; lives on the C stack, and becomes text only for an issue. */
struct cl_place {
	const struct cl_place *parent;
	struct cl_str name;
	int index; /* within an array, or -1 */
	int depth;
};

/* A contained resource by its id. */
struct cl_contained_id {
	struct cl_str id;
	uint16_t type; /* 0 when it has none */
};

struct cl_validator {
	struct cl_arena *arena;
	struct cl_issues *issues;
	struct cl_str source;
	/* What "#id" refers to: the ids of the resources contained in `root`, sorted when first needed. */
	const struct cl_json *root;
	struct cl_contained_id *contained;
	size_t contained_count;
	bool contained_known;
	bool in_contained; /* below root.contained */
};

/* `at` gives line and column. `code` is a FHIR issue type, static. */
void cl_validate_report(struct cl_validator *v, const struct cl_place *place, const struct cl_json *at,
                        enum cl_severity severity, const char *code, const char *format, ...)
        __attribute__((format(printf, 6, 7)));
/* The invariants of one object (node->rule) and of the data type. */
void cl_validate_rules(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_node *node,
                       const struct cl_json *object);
/* Is a reference to what the element allows: by its text, its type, or the contained resource that it is to? */
void cl_validate_target(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_element *element,
                        const struct cl_json *reference);
/* dom-2 to dom-5, for a resource that contains others. */
void cl_validate_contained(struct cl_validator *v, const struct cl_place *place, const struct cl_json *resource);
