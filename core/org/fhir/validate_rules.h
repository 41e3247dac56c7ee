/* validate_rules.h: helpers that invariants are written with. Not for other rooms. */
#pragma once
#include "org/fhir/validate_internal.h"

/* FHIRPath's exists(): the member or its `_name` companion. */
bool cl_rule_has(const struct cl_json *object, const char *name);
/* The first member of the choice base[x] (or its companion), or NULL. */
const struct cl_json *cl_rule_choice(const struct cl_json *object, const char *base);
/* Does a CodeableConcept have this coding? NULL system = any. */
bool cl_rule_coded(const struct cl_json *concept, const char *system, const char *code);
/* An array member; empty when absent or no array. Look it up once, before the loop: an object may have very many
 * members. */
struct cl_rule_list {
	const struct cl_json *items;
	uint32_t count;
};
struct cl_rule_list cl_rule_list(const struct cl_json *object, const char *name);
void cl_rule_sort(struct cl_str *texts, size_t count);

/* The invariants of resource types and their backbone elements. */
void cl_validate_resource_rules(struct cl_validator *v, const struct cl_place *place, unsigned rule,
                                const struct cl_json *object);
