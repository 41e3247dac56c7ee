/* bundle.h: entries of a batch or transaction as requests of their own, and their answers. Not for other rooms. */
#pragma once
#include "org/engine/run.h"

#define CL_BUNDLE_ENTRIES 5000 /* conformance.md section 4, stated limit */

struct cl_entry {
	struct cl_json *entry;
	struct cl_str full_url;
	struct cl_str method;
	struct cl_str url;
	struct cl_request request; /* as if it had come alone; without a body */
	struct cl_route route;
	struct cl_write write; /* transactions */
	struct cl_response response;
	cl_instant modified; /* of the version that the response is about; 0 when there is none */
	uint32_t index;
};

/* Puts the entry's place before the one that `e` has: "Bundle.entry[3].resource.gender". Returns e->code. */
int cl_entry_error(struct cl_err *e, uint32_t index, const char *element);
/* Bundle.entry, NULL when there is none; CL_E_TOO_LARGE past CL_BUNDLE_ENTRIES. */
int cl_entries_of(struct cl_json *bundle, struct cl_json **out, struct cl_err *e);
/* What one entry wants; its parts borrow from the bundle. */
int cl_entry_read(struct cl_interaction_context *context, struct cl_json *json, uint32_t index, struct cl_entry *out,
                  struct cl_err *e);
/* The text of the patch that a PATCH entry carries as a Binary (http.html section 3.1.0.11); sets its Content-Type. */
int cl_entry_patch(struct cl_interaction_context *context, struct cl_entry *entry, struct cl_str *out,
                   struct cl_err *e);
/* The answer to the Bundle: an entry for each, in the order they came. */
void cl_entries_answer(struct cl_arena *arena, const char *type, const struct cl_entry *entries, uint32_t count,
                       struct cl_response *response);
