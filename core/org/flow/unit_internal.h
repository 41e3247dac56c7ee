/* unit_internal.h: what the files of this room share about units of work. Not for other rooms. */
#pragma once
#include "org/flow/unit.h"

enum cl_put_flag {
	CL_PUT_TRUSTED = 1, /* made here: not validated again */
	CL_PUT_ALWAYS = 2, /* a new version even when nothing changed */
};

/* As cl_unit_put, but the current version is known: `former` with operation CL_OP_DELETE or version 0 for none. Its
 * parsed body may come along (else NULL); neither is changed. */
int cl_unit_put_over(struct cl_unit *unit, enum cl_operation operation, uint16_t type, struct cl_str id,
                     struct cl_json *resource, unsigned flags, const struct cl_version *former,
                     const struct cl_json *former_tree, struct cl_version *out, struct cl_issues *issues,
                     struct cl_err *e);
/* The version that is there: version 0 when there never was one. Only other failures are errors. */
int cl_unit_current(struct cl_unit *unit, uint16_t type, struct cl_str id, struct cl_version *out, struct cl_err *e);
/* The change made last in this unit, or NULL. */
struct cl_change *cl_unit_last_change(struct cl_unit *unit);
/* Adds an empty change with the unit's depth. CL_E_LIMIT past CL_UNIT_CHANGES. */
int cl_unit_add_change(struct cl_unit *unit, struct cl_change **out, struct cl_err *e);
/* "ana", or "plugin referral for ana" while a plugin's function runs. */
struct cl_str cl_unit_principal(const struct cl_unit *unit);
/* Detail of an event that is made under a transition: {"by":17}; else empty. */
struct cl_str cl_unit_origin(const struct cl_unit *unit);
int cl_unit_audit(struct cl_unit *unit, struct cl_str action, struct cl_str target, struct cl_err *e);

/* A compact JSON text in the arena. */
struct cl_str cl_json_arena_text(struct cl_arena *arena, const struct cl_json *value);
/* "Patient/x" of what a resource is about: its own reference for a Patient, else subject, patient, for or beneficiary.
 * Empty when none is said. */
struct cl_str cl_patient_reference(struct cl_arena *arena, const struct cl_json *resource);
/* The same for a stored resource; empty when it cannot be read. */
struct cl_str cl_unit_patient_of(struct cl_unit *unit, struct cl_str reference);
/* "Type/id" as its parts; false for anything else (absolute, urn:, contained). A version at its end is left out. */
bool cl_reference_parts(struct cl_str reference, uint16_t *type, struct cl_str *id);
/* An object { "reference": text } as member `name` of `object`. */
struct cl_json *cl_set_reference(struct cl_arena *arena, struct cl_json *object, const char *name,
                                 struct cl_str reference);
/* A CodeableConcept with one coding, into `value`; texts may be empty. */
void cl_fill_concept(struct cl_arena *arena, struct cl_json *value, struct cl_str system, struct cl_str code,
                     struct cl_str display);
/* The code that a CodeableConcept has in `system`; empty when none. */
struct cl_str cl_concept_code(const struct cl_json *concept, struct cl_str system);
