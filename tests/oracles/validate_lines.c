/* validate_lines.c: our validator for comparison with others: one resource a line in, one OperationOutcome a line out. */
#include "org/fhir/validate.h"
#include <stdio.h>
#include <stdlib.h>

static void judge(struct cl_arena *arena, struct cl_str line)
{
	struct cl_json *resource;
	struct cl_issues issues;
	struct cl_err e = {0};
	struct cl_buf out;
	cl_issues_init(&issues, arena, 1000);
	cl_buf_init(&out, 0);
	if (cl_json_parse(arena, line, NULL, &resource, &e)) {
		cl_issues_add_error(&issues, &e);
	} else {
		cl_fhir_validate(arena, resource, line, &issues);
		cl_fhir_validate_limits(resource, &issues);
	}
	cl_outcome_write(&out, &issues);
	printf("%.*s\n", (int)out.n, out.p);
	cl_buf_free(&out);
}

int main(void)
{
	char *line = NULL;
	size_t capacity = 0;
	ssize_t n;
	while ((n = getline(&line, &capacity, stdin)) > 0) {
		struct cl_arena *arena = cl_arena_new(0);
		judge(arena, (struct cl_str){line, (size_t)n - (line[n - 1] == '\n')});
		cl_arena_free(arena);
	}
	free(line);
	return ferror(stdout) != 0;
}
