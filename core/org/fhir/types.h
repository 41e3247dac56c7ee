/* types.h: what FHIR R4 says a resource looks like: generated tables of types, elements and code sets, and lookups. */
#pragma once
#include "base/text.h"
#include "org/fhir/generated/numbers.h"
#include <stdint.h>

/* ---- resource types: 1 ... CL_TYPE_END - 1, alphabetical; 0 means none or unknown ---- */

uint16_t cl_fhir_type(struct cl_str name);
/* Static text; empty for 0 and unknown numbers. */
struct cl_str cl_fhir_type_name(uint16_t type);
/* How many there are: numbers run from 1 to this. */
uint16_t cl_fhir_type_count(void);

/* ---- elements ---- */

enum cl_fhir_element_flag {
	CL_FHIR_REPEAT = 1, /* a JSON array */
	CL_FHIR_REQUIRED = 2, /* at least one; for a choice, one of its members */
	CL_FHIR_SUMMARY = 4, /* in _summary=true */
	CL_FHIR_MODIFIER = 8, /* changes the meaning of what contains it */
	CL_FHIR_CHOICE = 16, /* valueString of value[x] */
};

/* One JSON member that an object may have. A choice value[x] is one of these per type. */
struct cl_fhir_element {
	uint16_t name; /* internal: cl_fhir_element_name */
	uint8_t name_n;
	uint8_t base_n; /* length of the element's own name: that of "value" in "valueString" */
	uint8_t data; /* enum cl_fhir_data */
	uint8_t flags; /* enum cl_fhir_element_flag */
	uint16_t node; /* internal: cl_fhir_element_node */
	uint16_t codes; /* code set that the binding requires, or 0 */
	uint8_t slot; /* number of the element within its node, below 64; the members of a choice share it */
	uint8_t targets; /* internal: cl_fhir_target_allowed */
};

/* Something with elements: a resource type, a data type, or a backbone element such as Patient.contact. */
struct cl_fhir_node {
	uint16_t name; /* internal: cl_fhir_node_name */
	uint8_t name_n;
	uint16_t first;
	uint8_t count; /* elements, choices unrolled */
	uint8_t bits;
	uint8_t rule; /* enum cl_fhir_rule: the invariants to check */
	uint8_t data; /* enum cl_fhir_data: CL_DATA_RESOURCE, CL_DATA_BACKBONE or the data type itself */
	uint32_t multiplier;
	uint32_t places;
	uint64_t required; /* bit per slot */
};

/* NULL for an unknown type. */
const struct cl_fhir_node *cl_fhir_type_node(uint16_t type);
/* The node of a complex data type; NULL for primitives, resources and backbones. */
const struct cl_fhir_node *cl_fhir_data_node(enum cl_fhir_data data);
/* By JSON name, choices unrolled ("valueString"); NULL when the node has no such element. Constant time. */
const struct cl_fhir_element *cl_fhir_element(const struct cl_fhir_node *node, struct cl_str name);
/* In the order of the definition; NULL past the end. */
const struct cl_fhir_element *cl_fhir_element_at(const struct cl_fhir_node *node, unsigned i);
/* What the element's objects look like; NULL for primitives and for resources (ask resourceType). */
const struct cl_fhir_node *cl_fhir_element_node(const struct cl_fhir_element *element);
/* May a reference of this element be to a resource of the type? */
bool cl_fhir_target_allowed(const struct cl_fhir_element *element, uint16_t type);
/* Writes the types it may be to, "Patient, Group", like cl_fhir_codes_list. */
void cl_fhir_targets_list(const struct cl_fhir_element *element, char *out, size_t size);
/* The invariants of the type and of the data types that it uses which the validator does not check: "dom-6, tim-3"; static. */
struct cl_str cl_fhir_unchecked_invariants(uint16_t type);
/* "valueString"; and "value". Static text, NUL-terminated the first only. */
struct cl_str cl_fhir_element_name(const struct cl_fhir_element *element);
struct cl_str cl_fhir_element_base_name(const struct cl_fhir_element *element);
/* "Patient", "HumanName", "Patient.contact". Static text. */
struct cl_str cl_fhir_node_name(const struct cl_fhir_node *node);
/* "string", "HumanName", "BackboneElement", "Resource". Static text. */
struct cl_str cl_fhir_data_name(enum cl_fhir_data data);
static inline bool cl_fhir_is_primitive(unsigned data)
{
	return data > CL_DATA_NONE && data < CL_DATA_PRIMITIVE_END;
}

/* ---- code sets of required bindings ---- */

enum cl_fhir_codes_kind {
	CL_FHIR_CODES_LIST = 1,
	CL_FHIR_CODES_MIME, /* a media type, by its grammar (BCP 13) */
	CL_FHIR_CODES_CURRENCY, /* three capital letters (ISO 4217) */
};

/* Is `code` in the set, whatever its system? True for set 0. */
bool cl_fhir_code_allowed(uint16_t set, struct cl_str code);
/* Is it in the set with exactly this system? For CodeableConcept and Coding. */
bool cl_fhir_coding_allowed(uint16_t set, struct cl_str system, struct cl_str code);
/* The value set's canonical URL; static text. */
struct cl_str cl_fhir_codes_url(uint16_t set);
/* Writes "male, female, other, unknown" into `out` (at most `size` - 1 bytes and a NUL; "..." when cut). */
void cl_fhir_codes_list(uint16_t set, char *out, size_t size);
