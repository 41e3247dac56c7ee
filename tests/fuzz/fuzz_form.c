/* fuzz_form.c: forms of browsers: what is read has names and valid texts, within the limits. */
#include "base/utf8.h"
#include "org/engine/form.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *form = NULL;
	struct cl_err e = {0};
	if (cl_form_parse(arena, (struct cl_str){(const char *)data, size}, &form, &e) == 0) {
		if (form->kind != CL_JSON_OBJECT || form->count > CL_FORM_FIELDS)
			abort();
		for (uint32_t i = 0; i < form->count; i++)
			if (!form->members[i].name.n || !cl_utf8_valid(form->members[i].name) ||
			    !cl_utf8_valid(form->members[i].value.text))
				abort();
	} else if (!e.message[0]) {
		abort();
	}
	cl_arena_free(arena);
	return 0;
}
