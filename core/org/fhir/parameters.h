/* parameters.h: the search parameters of each resource type, generated from FHIR R4 and numbered for good in
 * search-parameter-numbers.txt. */
#pragma once
#include "org/fhir/types.h"
#include "org/store/index.h"

enum cl_fhir_search_kind {
	CL_SEARCH_NUMBER = 1,
	CL_SEARCH_DATE,
	CL_SEARCH_STRING,
	CL_SEARCH_TOKEN,
	CL_SEARCH_REFERENCE,
	CL_SEARCH_QUANTITY,
	CL_SEARCH_URI,
	CL_SEARCH_COMPOSITE, /* several parameters of one resource, or of one group of its elements */
	CL_SEARCH_SPECIAL, /* near, phonetic: numbered, not indexed */
};

struct cl_fhir_parameter {
	uint16_t number; /* in index rows; never 0 */
	uint16_t type; /* resource type */
	uint16_t code; /* internal: cl_fhir_parameter_code */
	uint8_t code_n;
	uint8_t kind; /* enum cl_fhir_search_kind */
	uint16_t first_target; /* internal: cl_fhir_parameter_targets */
	uint8_t targets;
	uint8_t system; /* internal: cl_fhir_parameter_system */
	bool compartment; /* its references to a Patient put the resource in that Patient's compartment */
	bool indexed; /* false: known to FHIR, not searchable here */
	bool whole; /* composites: the group is the whole resource, so the parts are decided like any parameters */
};

/* NULL when the type has no such parameter. _tag, _security, _profile and _source have numbers; _id and _lastUpdated
 * are no index values and are not found here. All results are static. */
const struct cl_fhir_parameter *cl_fhir_search_parameter(uint16_t type, struct cl_str code);
const struct cl_fhir_parameter *cl_fhir_parameter_by_number(uint16_t number);
/* The type's parameters sorted by code; NULL past the end. */
const struct cl_fhir_parameter *cl_fhir_parameter_at(uint16_t type, unsigned i);
/* NUL-terminated. */
struct cl_str cl_fhir_parameter_code(const struct cl_fhir_parameter *parameter);
/* "token", "reference" ... as a CapabilityStatement says it. */
const char *cl_fhir_search_kind_name(unsigned kind);
/* Resource types that a reference parameter may point to; NULL and 0 for any type. */
const uint16_t *cl_fhir_parameter_targets(const struct cl_fhir_parameter *parameter, unsigned *count);
/* The system that a parameter over `code` elements implies (Patient.gender); empty when none. Index rows leave it
 * out. */
struct cl_str cl_fhir_parameter_system(const struct cl_fhir_parameter *parameter);
/* The parameters whose values a composite joins with $, in this order; their numbers. */
const uint16_t *cl_fhir_parameter_parts(const struct cl_fhir_parameter *parameter, unsigned *count);
/* The reference parameters that put a resource of `type` into the compartment of a Device, Encounter, Practitioner or
 * RelatedPerson; among them 0 when a resource is in its own compartment. NULL and 0 when the type is in no such
 * compartment. A patient's compartment has index values of its own. */
const uint16_t *cl_fhir_compartment(uint16_t compartment, uint16_t type, unsigned *count);
/* Does it look at Identifiers, so that :of-type makes sense? */
bool cl_fhir_parameter_of_identifiers(const struct cl_fhir_parameter *parameter);
/* The kind of index rows that the parameter has; 0 when it has none of its own. */
enum cl_index_kind cl_fhir_parameter_index_kind(const struct cl_fhir_parameter *parameter);

/* ---- how values are found: a tree of JSON members for each type, walked by index.c ---- */

/* One JSON member below the step before. */
struct cl_fhir_step {
	uint16_t name;
	uint8_t name_n;
	bool first_only; /* [0] */
	uint16_t where, value; /* only objects whose member `where` is the string `value`; 0 = all */
	uint16_t first_child;
	uint8_t children;
	uint8_t actions; /* what to do with the values found here */
	uint16_t first_action;
};

/* In place of a data type. */
enum {
	CL_FHIR_SPECIAL_GROUP = 254, /* a composite's group begins here: `only` is its place among the groups */
	CL_FHIR_SPECIAL_DECEASED = 255, /* Patient.deceased as a boolean */
};

struct cl_fhir_action {
	uint16_t parameter; /* place in the table: cl_fhir_parameter_of */
	uint8_t data; /* enum cl_fhir_data of the value */
	uint16_t only; /* where(resolve() is T): only references to this type; 0 = all */
};

struct cl_fhir_program {
	uint16_t first_child;
	uint16_t children;
	uint16_t first_action;
	uint16_t actions;
};

/* The parts of a composite within one group. */
struct cl_fhir_group {
	uint16_t first_part;
	uint8_t parts;
};

struct cl_fhir_part {
	struct cl_fhir_program program;
	bool whole; /* it looks at the resource, not at the group's node */
};

const struct cl_fhir_group *cl_fhir_group(unsigned i);
const struct cl_fhir_part *cl_fhir_part(unsigned i);
const struct cl_fhir_program *cl_fhir_program(uint16_t type);
const struct cl_fhir_step *cl_fhir_step(unsigned i);
const struct cl_fhir_action *cl_fhir_action(unsigned i);
const struct cl_fhir_parameter *cl_fhir_parameter_of(const struct cl_fhir_action *action);
/* Offset into the table's texts; NUL-terminated. */
const char *cl_fhir_search_text(unsigned offset);
