/* capability.h: the CapabilityStatement: what this server can do, for programs that ask before they try. */
#pragma once
#include "base/buffer.h"
#include "base/error.h"
#include "org/fhir/types.h"

/* A named operation, on the system (type 0) or on a type ("Patient/$everything"). */
struct cl_capability_operation {
	uint16_t type;
	struct cl_str name; /* without the $ */
	struct cl_str definition; /* canonical URL of its OperationDefinition */
	struct cl_str documentation; /* may be empty */
};

struct cl_capability {
	struct cl_str base; /* our FHIR address, without a slash at its end */
	struct cl_str oauth; /* address below which token and revoke are; empty = not told */
	struct cl_str date; /* FHIR dateTime of the statement: when this build or configuration came into force */
	struct cl_str software; /* version of the software */
	struct cl_str name; /* organization's name for people; may be empty */
	bool json_patch; /* the patch interaction with application/json-patch+json */
	const struct cl_capability_operation *operations;
	size_t operation_count;
	/* Types that are served, NULL and 0 for all of them. */
	const uint16_t *types;
	size_t type_count;
};

/* Writes it as compact JSON text, about 1 MB with all types: make it once and keep it. */
void cl_fhir_capability_write(struct cl_buf *out, const struct cl_capability *capability);
