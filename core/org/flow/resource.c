/* resource.c: small things that every part of this room does with resources as JSON trees. */
#include "org/fhir/types.h"
#include "org/flow/unit_internal.h"

struct cl_str cl_json_arena_text(struct cl_arena *arena, const struct cl_json *value)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_buf_reserve(&text, 4096);
	cl_json_write(&text, value);
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

bool cl_reference_parts(struct cl_str reference, uint16_t *type, struct cl_str *id)
{
	const char *slash = reference.n ? memchr(reference.p, '/', reference.n) : NULL;
	if (!slash)
		return false;
	*type = cl_fhir_type((struct cl_str){reference.p, (size_t)(slash - reference.p)});
	*id = (struct cl_str){slash + 1, reference.n - (size_t)(slash + 1 - reference.p)};
	const char *end = id->n ? memchr(id->p, '/', id->n) : NULL;
	if (end && !cl_str_starts((struct cl_str){end, (size_t)(id->p + id->n - end)}, "/_history/"))
		return false;
	if (end)
		id->n = (size_t)(end - id->p);
	return *type && id->n;
}

static bool is_patient(struct cl_str reference)
{
	return cl_str_starts(reference, "Patient/") && reference.n > 8;
}

struct cl_str cl_patient_reference(struct cl_arena *arena, const struct cl_json *resource)
{
	static const char *const places[] = {"subject", "patient", "for", "beneficiary", "individual"};
	if (cl_str_is(cl_json_get_text(resource, "resourceType"), "Patient"))
		return cl_arena_printf(arena, "Patient/%.*s", CL_STR_ARGS(cl_json_get_text(resource, "id")));
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct cl_str reference = cl_json_get_text(cl_json_get(resource, places[i]), "reference");
		if (is_patient(reference))
			return reference;
	}
	return CL_STR_NONE;
}

struct cl_str cl_unit_patient_of(struct cl_unit *unit, struct cl_str reference)
{
	struct cl_json *resource;
	struct cl_err ignored = {0};
	struct cl_str id;
	uint16_t type;
	if (is_patient(reference))
		return reference;
	if (!cl_reference_parts(reference, &type, &id) || cl_unit_read(unit, type, id, &resource, NULL, &ignored))
		return CL_STR_NONE;
	return cl_patient_reference(unit->arena, resource);
}

struct cl_json *cl_set_reference(struct cl_arena *arena, struct cl_json *object, const char *name,
                                 struct cl_str reference)
{
	struct cl_json *value = cl_json_set_object(arena, object, name);
	cl_json_set_text(arena, value, "reference", reference);
	return value;
}

void cl_fill_concept(struct cl_arena *arena, struct cl_json *value, struct cl_str system, struct cl_str code,
                     struct cl_str display)
{
	*value = (struct cl_json){.kind = CL_JSON_OBJECT};
	struct cl_json *coding = cl_json_append(arena, cl_json_set_array(arena, value, "coding"));
	coding->kind = CL_JSON_OBJECT;
	if (system.n)
		cl_json_set_text(arena, coding, "system", system);
	cl_json_set_text(arena, coding, "code", code);
	if (display.n)
		cl_json_set_text(arena, coding, "display", display);
}

struct cl_str cl_concept_code(const struct cl_json *concept, struct cl_str system)
{
	const struct cl_json *codings = cl_json_get(concept, "coding");
	if (!codings || codings->kind != CL_JSON_ARRAY)
		return CL_STR_NONE;
	for (uint32_t i = 0; i < codings->count; i++)
		if (cl_str_equal(cl_json_get_text(&codings->items[i], "system"), system))
			return cl_json_get_text(&codings->items[i], "code");
	return CL_STR_NONE;
}
