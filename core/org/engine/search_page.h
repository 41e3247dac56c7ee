/* search_page.h: the Bundle that answers a search. Not for others than search.c. */
#pragma once
#include "org/engine/interaction.h"
#include "org/fhir/search.h"

struct cl_search_page {
	struct cl_interaction_context *context;
	const struct cl_fhir_search *search; /* how it is shown: summary, elements, includes */
	struct cl_str path; /* of the links: "https://host/fhir/Task" */
	struct cl_version *items;
	size_t count;
	struct cl_str after; /* place of the next page; empty on the last */
	int64_t total; /* -1 unless wanted */
};

/* Fills the response. CL_E_TOO_LARGE for more than a body may hold. */
int cl_search_page_write(struct cl_search_page *page, struct cl_err *e);
