/* reference.c: reading references and finding them by the generated tables. */
#include "org/fhir/reference.h"
#include "base/id.h"

#define DEEPEST 100

static bool has_scheme(struct cl_str text, size_t *colon)
{
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		*colon = i;
		if (c == ':')
			return i > 0;
		if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.')))
			return false;
	}
	return false;
}

/* Cuts the last path segment off `path`. */
static struct cl_str last_segment(struct cl_str *path)
{
	size_t slash = path->n;
	while (slash > 0 && path->p[slash - 1] != '/')
		slash--;
	struct cl_str segment = {path->p + slash, path->n - slash};
	path->n = slash ? slash - 1 : 0;
	return segment;
}

struct cl_fhir_reference cl_fhir_reference_parse(struct cl_str text)
{
	struct cl_fhir_reference out = {0};
	size_t colon;
	if (text.n == 0)
		return out;
	if (text.p[0] == '#') {
		out.form = CL_FHIR_REFERENCE_LOCAL;
		out.id = (struct cl_str){text.p + 1, text.n - 1};
		return out;
	}
	bool absolute = has_scheme(text, &colon);
	if (absolute && (text.n < colon + 3 || memcmp(text.p + colon, "://", 3) != 0)) {
		out.form = CL_FHIR_REFERENCE_URN;
		return out;
	}
	const char *question = memchr(text.p, '?', text.n);
	if (question && !absolute) {
		out.type = cl_fhir_type((struct cl_str){text.p, (size_t)(question - text.p)});
		if (out.type == 0)
			return out;
		out.form = CL_FHIR_REFERENCE_CONDITIONAL;
		out.id = (struct cl_str){question + 1, (size_t)(text.p + text.n - question - 1)};
		return out;
	}
	struct cl_str path = text;
	struct cl_str id = last_segment(&path), type = last_segment(&path);
	bool versioned = cl_str_is(type, "_history");
	if (versioned) {
		out.version = id;
		id = last_segment(&path);
		type = last_segment(&path);
	}
	out.type = cl_fhir_type(type);
	bool plain = out.type && cl_is_fhir_id(id) && (!versioned || cl_is_fhir_id(out.version));
	if (plain && (absolute ? path.n > colon + 3 : type.p == text.p)) {
		out.id = id;
		out.base = absolute ? path : CL_STR_NONE;
		out.form = absolute ? CL_FHIR_REFERENCE_ABSOLUTE : CL_FHIR_REFERENCE_RELATIVE;
		return out;
	}
	return (struct cl_fhir_reference){.form = absolute ? CL_FHIR_REFERENCE_ABSOLUTE : CL_FHIR_REFERENCE_NONE};
}

/* ---- the walk ---- */

struct walk {
	cl_fhir_link_visitor visit;
	void *context;
};

static int walk_object(struct walk *walk, const struct cl_fhir_node *node, struct cl_json *object, int depth);

static int walk_value(struct walk *walk, const struct cl_fhir_node *parent, const struct cl_fhir_element *element,
                      struct cl_json *value, int depth)
{
	if (value->kind == CL_JSON_STRING) {
		switch (element->data) {
		case CL_DATA_CANONICAL:
			return walk->visit(walk->context, CL_FHIR_LINK_CANONICAL, value);
		case CL_DATA_URI:
		case CL_DATA_URL:
		case CL_DATA_OID:
		case CL_DATA_UUID:
			if (parent->data == CL_DATA_EXTENSION)
				return cl_str_is(cl_fhir_element_name(element), "url")
				               ? 0
				               : walk->visit(walk->context, CL_FHIR_LINK_URI, value);
			return walk->visit(walk->context, CL_FHIR_LINK_URI, value);
		case CL_DATA_XHTML:
			return walk->visit(walk->context, CL_FHIR_LINK_NARRATIVE, value);
		case CL_DATA_STRING:
			if (parent->data == CL_DATA_REFERENCE && cl_str_is(cl_fhir_element_name(element), "reference"))
				return walk->visit(walk->context, CL_FHIR_LINK_REFERENCE, value);
			return 0;
		default:
			return 0;
		}
	}
	if (value->kind != CL_JSON_OBJECT)
		return 0;
	const struct cl_fhir_node *node =
	        element->data == CL_DATA_RESOURCE
	                ? cl_fhir_type_node(cl_fhir_type(cl_json_get_text(value, "resourceType")))
	                : cl_fhir_element_node(element);
	return node ? walk_object(walk, node, value, depth + 1) : 0;
}

static int walk_object(struct walk *walk, const struct cl_fhir_node *node, struct cl_json *object, int depth)
{
	if (depth > DEEPEST)
		return 0;
	for (uint32_t i = 0; i < object->count; i++) {
		struct cl_str name = object->members[i].name;
		struct cl_json *value = &object->members[i].value;
		int result = 0;
		if (name.n > 1 && name.p[0] == '_') {
			/* A primitive's companion holds extensions only, on one object or on several. */
			const struct cl_fhir_node *element = cl_fhir_data_node(CL_DATA_PERIOD);
			if (value->kind == CL_JSON_OBJECT)
				result = walk_object(walk, element, value, depth + 1);
			for (uint32_t k = 0; !result && value->kind == CL_JSON_ARRAY && k < value->count; k++) {
				if (value->items[k].kind == CL_JSON_OBJECT)
					result = walk_object(walk, element, &value->items[k], depth + 1);
			}
			if (result)
				return result;
			continue;
		}
		const struct cl_fhir_element *element = cl_fhir_element(node, name);
		if (!element)
			continue;
		if (value->kind != CL_JSON_ARRAY)
			result = walk_value(walk, node, element, value, depth);
		for (uint32_t k = 0; !result && value->kind == CL_JSON_ARRAY && k < value->count; k++)
			result = walk_value(walk, node, element, &value->items[k], depth);
		if (result)
			return result;
	}
	return 0;
}

int cl_fhir_visit_links(struct cl_json *resource, cl_fhir_link_visitor visit, void *context)
{
	struct walk walk = {visit, context};
	const struct cl_fhir_node *node = cl_fhir_type_node(cl_fhir_type(cl_json_get_text(resource, "resourceType")));
	return node ? walk_object(&walk, node, resource, 0) : 0;
}
