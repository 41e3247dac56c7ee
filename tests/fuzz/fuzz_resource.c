/* fuzz_resource.c: any JSON object can be validated, indexed, walked and cut down; the outcome is readable JSON. */
#include "org/fhir/index.h"
#include "org/fhir/reference.h"
#include "org/fhir/subset.h"
#include "org/fhir/validate.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static int visit(void *context, enum cl_fhir_link kind, struct cl_json *text)
{
	(void)kind;
	*(size_t *)context += cl_fhir_reference_parse(text->text).id.n;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *resource, *outcome;
	struct cl_issues issues;
	struct cl_index index;
	char *text = malloc(n ? n : 1);
	if (n)
		memcpy(text, data, n);
	struct cl_str source = {text, n};
	if (cl_json_parse(arena, source, NULL, &resource, NULL) == 0) {
		cl_issues_init(&issues, arena, 0);
		int code = cl_fhir_validate(arena, resource, source, &issues);
		if ((code != 0) != (issues.errors > 0))
			abort();
		struct cl_buf out;
		cl_buf_init(&out, 0);
		cl_outcome_write(&out, &issues);
		if (cl_json_parse(arena, cl_buf_str(&out), NULL, &outcome, NULL))
			abort();
		cl_buf_free(&out);
		uint16_t type = cl_fhir_type(cl_json_get_text(resource, "resourceType"));
		if (type && cl_fhir_index(arena, type, resource, &index, NULL) == 0) {
			for (size_t i = 1; i < index.count; i++) {
				if (cl_index_compare(&index.values[i - 1], &index.values[i]) >= 0)
					abort();
			}
		}
		size_t length = 0;
		cl_fhir_visit_links(resource, visit, &length);
		if (resource->kind == CL_JSON_OBJECT) {
			struct cl_json *copy = cl_json_copy(arena, resource);
			cl_fhir_subset(arena, copy, NULL, 0, CL_SUMMARY_TRUE);
		}
	}
	free(text);
	cl_arena_free(arena);
	return 0;
}
