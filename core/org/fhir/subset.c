/* subset.c: _elements and _summary. */
#include "org/fhir/subset.h"

struct wanted {
	const struct cl_str *elements;
	size_t count;
	enum cl_fhir_summary summary;
};

static bool keeps(const struct wanted *wanted, const struct cl_fhir_node *node, struct cl_str name)
{
	if (cl_str_is(name, "resourceType") || cl_str_is(name, "id") || cl_str_is(name, "meta"))
		return true;
	if (name.n && name.p[0] == '_')
		name = (struct cl_str){name.p + 1, name.n - 1};
	const struct cl_fhir_element *element = cl_fhir_element(node, name);
	if (!element)
		return false;
	if (element->flags & CL_FHIR_REQUIRED)
		return true;
	/* What changes the meaning of the rest must not silently go. */
	if (element->flags & CL_FHIR_MODIFIER && wanted->summary != CL_SUMMARY_TEXT)
		return true;
	for (size_t i = 0; i < wanted->count; i++) {
		if (cl_str_equal(wanted->elements[i], cl_fhir_element_base_name(element)))
			return true;
	}
	if (wanted->count)
		return false;
	switch (wanted->summary) {
	case CL_SUMMARY_TRUE:
		return element->flags & CL_FHIR_SUMMARY;
	case CL_SUMMARY_DATA:
		return !cl_str_is(name, "text");
	case CL_SUMMARY_TEXT:
		return cl_str_is(name, "text");
	default:
		return true;
	}
}

/* Backbone elements below a kept one have summary flags of their own. */
static void cut_deep(const struct wanted *wanted, const struct cl_fhir_node *node, struct cl_json *object, int depth)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < object->count; i++) {
		struct cl_json_member *member = &object->members[i];
		if (!keeps(wanted, node, member->name))
			continue;
		const struct cl_fhir_element *element = cl_fhir_element(node, member->name);
		if (wanted->summary == CL_SUMMARY_TRUE && !wanted->count && element &&
		    element->data == CL_DATA_BACKBONE && depth < 64) {
			const struct cl_fhir_node *below = cl_fhir_element_node(element);
			if (member->value.kind == CL_JSON_OBJECT)
				cut_deep(wanted, below, &member->value, depth + 1);
			for (uint32_t k = 0; member->value.kind == CL_JSON_ARRAY && k < member->value.count; k++) {
				if (member->value.items[k].kind == CL_JSON_OBJECT)
					cut_deep(wanted, below, &member->value.items[k], depth + 1);
			}
		}
		object->members[kept++] = *member;
	}
	object->count = kept;
}

static void add_tag(struct cl_arena *arena, struct cl_json *resource)
{
	static const char system[] = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
	struct cl_json *meta = cl_json_get(resource, "meta");
	if (!meta || meta->kind != CL_JSON_OBJECT)
		meta = cl_json_set_object(arena, resource, "meta");
	struct cl_json *tags = cl_json_get(meta, "tag");
	if (!tags || tags->kind != CL_JSON_ARRAY)
		tags = cl_json_set_array(arena, meta, "tag");
	for (uint32_t i = 0; i < tags->count; i++) {
		if (cl_str_is(cl_json_get_text(&tags->items[i], "code"), "SUBSETTED"))
			return;
	}
	struct cl_json *tag = cl_json_append(arena, tags);
	tag->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, tag, "system", CL_STR(system));
	cl_json_set_text(arena, tag, "code", CL_STR("SUBSETTED"));
}

void cl_fhir_subset(struct cl_arena *arena, struct cl_json *resource, const struct cl_str *elements,
                    size_t element_count, enum cl_fhir_summary summary)
{
	struct wanted wanted = {elements, element_count, summary};
	const struct cl_fhir_node *node = cl_fhir_type_node(cl_fhir_type(cl_json_get_text(resource, "resourceType")));
	if (!node || (element_count == 0 && (summary == CL_SUMMARY_FALSE || summary == CL_SUMMARY_COUNT)))
		return;
	cut_deep(&wanted, node, resource, 0);
	add_tag(arena, resource);
}
