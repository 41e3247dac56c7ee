/* validate.c: walks a resource and the generated tables side by side. */
#include "org/fhir/validate_internal.h"
#include "base/closest.h"
#include "org/fhir/primitive.h"
#include <stdio.h>

static void check_object(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_node *node,
                         const struct cl_json *object, bool is_resource);
static void check_resource(struct cl_validator *v, const struct cl_place *place, const struct cl_json *resource);

/* ---- reporting ---- */

static void write_place(struct cl_buf *out, const struct cl_place *place)
{
	if (place->parent) {
		write_place(out, place->parent);
		cl_buf_add_byte(out, '.');
	}
	cl_buf_add_str(out, place->name);
	if (place->index >= 0)
		cl_buf_printf(out, "[%d]", place->index);
}

static struct cl_issue *report(struct cl_validator *v, const struct cl_place *place, const struct cl_json *at,
                               enum cl_severity severity, const char *code, const char *format, va_list arguments)
{
	struct cl_issue *issue = cl_issues_add(v->issues, severity, code, CL_STR_NONE, "%s", "");
	if (!issue)
		return NULL;
	struct cl_buf text;
	cl_buf_init(&text, 4096);
	write_place(&text, place);
	issue->expression = cl_arena_copy(v->issues->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	/* Messages begin with the place, because many clients show nothing else. */
	struct cl_str message = cl_arena_vprintf(v->arena, format, arguments);
	issue->diagnostics =
	        cl_arena_printf(v->issues->arena, "%.*s: %.*s", CL_STR_ARGS(issue->expression), CL_STR_ARGS(message));
	if (v->source.n && at && at->offset <= v->source.n)
		cl_json_place(v->source, at->offset, &issue->line, &issue->column);
	return issue;
}

void cl_validate_report(struct cl_validator *v, const struct cl_place *place, const struct cl_json *at,
                        enum cl_severity severity, const char *code, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	report(v, place, at, severity, code, format, arguments);
	va_end(arguments);
}

static void wrong(struct cl_validator *v, const struct cl_place *place, const struct cl_json *at, const char *code,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

static void wrong(struct cl_validator *v, const struct cl_place *place, const struct cl_json *at, const char *code,
                  const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	report(v, place, at, CL_SEVERITY_ERROR, code, format, arguments);
	va_end(arguments);
}

/* "40 characters of it…" for messages: a value may be long, and must not be repeated at length. */
static struct cl_str shown(struct cl_str text)
{
	size_t n = text.n < 60 ? text.n : 60;
	while (n > 0 && n < text.n && ((unsigned char)text.p[n] & 0xc0) == 0x80)
		n--;
	return (struct cl_str){text.p, n};
}

static const char *kind_name(const struct cl_json *value)
{
	static const char *const names[] = {"null",     "a boolean", "a boolean", "a number",
	                                    "a string", "an array",  "an object"};
	return value->kind < sizeof(names) / sizeof(*names) ? names[value->kind] : "nothing known";
}

static void report_unknown(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_node *node,
                           const struct cl_json_member *member)
{
	struct cl_place here = {place, shown(member->name), -1, place->depth + 1};
	struct cl_closest closest = {.wanted = member->name};
	const struct cl_fhir_element *element;
	if (v->issues->count >= v->issues->maximum) {
		/* Counted only: what it was meant to be costs more than the rest of the walk. */
		wrong(v, place, &member->value, "structure", "unknown element");
		return;
	}
	for (unsigned i = 0; (element = cl_fhir_element_at(node, i)) != NULL; i++)
		cl_closest_offer(&closest, cl_fhir_element_name(element).p);
	if (closest.best)
		wrong(v, &here, &member->value, "structure", "%.*s has no element \"%.*s\"; did you mean \"%s\"?",
		      CL_STR_ARGS(cl_fhir_node_name(node)), CL_STR_ARGS(shown(member->name)), closest.best);
	else
		wrong(v, &here, &member->value, "structure",
		      "%.*s has no element \"%.*s\"; remove it or use an extension.",
		      CL_STR_ARGS(cl_fhir_node_name(node)), CL_STR_ARGS(shown(member->name)));
}

/* ---- values ---- */

/* A CodeableConcept with a required binding needs one coding from the set; only an extension may stand in for it. */
static void check_concept(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_element *element,
                          const struct cl_json *concept)
{
	const struct cl_json *codings = cl_json_get(concept, "coding");
	if (concept->kind != CL_JSON_OBJECT || (codings && codings->kind != CL_JSON_ARRAY))
		return; /* reported already */
	for (uint32_t i = 0; codings && i < codings->count; i++) {
		if (cl_fhir_coding_allowed(element->codes, cl_json_get_text(&codings->items[i], "system"),
		                           cl_json_get_text(&codings->items[i], "code")))
			return;
	}
	if (!codings && !cl_json_get(concept, "text") && cl_json_get(concept, "extension"))
		return;
	char list[200];
	cl_fhir_codes_list(element->codes, list, sizeof(list));
	wrong(v, place, concept, "code-invalid", "needs a coding with its system from %.*s: %s.",
	      CL_STR_ARGS(cl_fhir_codes_url(element->codes)), list);
}

static void check_primitive(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_element *element,
                            const struct cl_json *value)
{
	bool empty = false;
	const char *why = element->data == CL_DATA_XHTML && value->kind == CL_JSON_STRING
	                          ? cl_fhir_check_narrative(value->text, &empty)
	                          : cl_fhir_check_primitive(element->data, value);
	/* An error by the specification, whose own examples have such narratives. */
	if (!why && empty)
		cl_validate_report(v, place, value, CL_SEVERITY_WARNING, "invariant",
		                   "txt-2: the narrative shows nothing.");
	if (why) {
		struct cl_str name = cl_fhir_data_name(element->data);
		if (value->kind == CL_JSON_STRING && value->text.n && element->data != CL_DATA_XHTML)
			wrong(v, place, value, "value", "\"%.*s\" is no %.*s: it %s.", CL_STR_ARGS(shown(value->text)),
			      CL_STR_ARGS(name), why);
		else
			wrong(v, place, value, value->kind <= CL_JSON_STRING ? "value" : "structure",
			      "this %.*s %s, found %s.", CL_STR_ARGS(name), why, kind_name(value));
		return;
	}
	if (element->codes && element->data == CL_DATA_CODE && !cl_fhir_code_allowed(element->codes, value->text)) {
		char list[200];
		cl_fhir_codes_list(element->codes, list, sizeof(list));
		wrong(v, place, value, "code-invalid", "\"%.*s\" is not in the required value set %.*s: use %s.",
		      CL_STR_ARGS(shown(value->text)), CL_STR_ARGS(cl_fhir_codes_url(element->codes)), list);
	}
}

/* One value of an element, not an array. */
static void check_value(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_element *element,
                        const struct cl_json *value)
{
	if (cl_fhir_is_primitive(element->data)) {
		check_primitive(v, place, element, value);
		return;
	}
	if (value->kind != CL_JSON_OBJECT) {
		struct cl_str name = cl_fhir_data_name(element->data);
		wrong(v, place, value, "structure", "must be an object (%.*s), found %s.", CL_STR_ARGS(name),
		      kind_name(value));
		return;
	}
	if (element->data == CL_DATA_RESOURCE) {
		check_resource(v, place, value);
		return;
	}
	check_object(v, place, cl_fhir_element_node(element), value, false);
	if (element->data == CL_DATA_REFERENCE)
		cl_validate_target(v, place, element, value);
	if (element->codes && element->data == CL_DATA_CODEABLE_CONCEPT)
		check_concept(v, place, element, value);
}

/* The object that holds a primitive's id and extensions: the value of `_name`, or one element of its array. */
static void check_companion(struct cl_validator *v, const struct cl_place *place, const struct cl_json *value)
{
	/* An element without a value of its own: its node is that of Element, the part which every data type shares. */
	if (value->kind != CL_JSON_OBJECT) {
		wrong(v, place, value, "structure",
		      "the companion of a primitive must be an object with id or extension, found %s.",
		      kind_name(value));
		return;
	}
	const struct cl_fhir_node *node = cl_fhir_data_node(CL_DATA_PERIOD);
	bool content = false;
	for (uint32_t i = 0; i < value->count; i++) {
		const struct cl_json_member *member = &value->members[i];
		struct cl_place here = {place, member->name, -1, place->depth + 1};
		if (cl_str_is(member->name, "id")) {
			check_value(v, &here, cl_fhir_element(node, member->name), &member->value);
		} else if (cl_str_is(member->name, "extension")) {
			content = true;
			if (member->value.kind != CL_JSON_ARRAY || member->value.count == 0) {
				wrong(v, &here, &member->value, "structure",
				      "must be an array with at least one element.");
				continue;
			}
			for (uint32_t k = 0; k < member->value.count; k++) {
				here.index = (int)k;
				check_value(v, &here, cl_fhir_element(node, member->name), &member->value.items[k]);
			}
		} else {
			wrong(v, &here, &member->value, "structure",
			      "the companion of a primitive has only id and extension.");
		}
	}
	if (!content)
		wrong(v, place, value, "invariant",
		      "ele-1: an element needs a value or children; this one has neither.");
}

static bool holds_null(const struct cl_json *array)
{
	for (uint32_t i = 0; i < array->count; i++) {
		if (array->items[i].kind == CL_JSON_NULL)
			return true;
	}
	return false;
}

/* The array of `name` or of `_name`. The two are paired by position, with null where one has nothing (R4 section
 * 2.6.2). */
static void check_array(struct cl_validator *v, struct cl_place *place, const struct cl_fhir_element *element,
                        const struct cl_json *object, const struct cl_json *array, bool companion)
{
	if (array->count == 0) {
		wrong(v, place, array, "structure", "must not be an empty array: leave it out.");
		return;
	}
	bool primitive = cl_fhir_is_primitive(element->data);
	const struct cl_json *other = NULL;
	if (primitive && (companion || holds_null(array))) {
		char name[72];
		struct cl_str plain = cl_fhir_element_name(element);
		int n = snprintf(name, sizeof(name), "%s%.*s", companion ? "" : "_", CL_STR_ARGS(plain));
		other = cl_json_get_str(object, (struct cl_str){name, (size_t)n});
		if (other && other->kind != CL_JSON_ARRAY)
			other = NULL;
		if (companion && other && other->count != array->count)
			wrong(v, place, array, "structure", "%.*s and _%.*s must have the same length; pad with null.",
			      CL_STR_ARGS(plain), CL_STR_ARGS(plain));
	}
	for (uint32_t i = 0; i < array->count; i++) {
		const struct cl_json *item = &array->items[i];
		place->index = (int)i;
		if (item->kind == CL_JSON_NULL && primitive) {
			/* Where both have null, or only `_name` is there and has it, the element is nothing at all.
			 * Said once. */
			bool paired = other && i < other->count && other->items[i].kind != CL_JSON_NULL;
			bool said = companion && other && i < other->count;
			if (!paired && !said)
				wrong(v, place, item, "structure",
				      "null is allowed only where the companion has something.");
		} else if (companion) {
			check_companion(v, place, item);
		} else {
			check_value(v, place, element, item);
		}
	}
	place->index = -1;
}

/* ---- objects ---- */

static void check_member(struct cl_validator *v, const struct cl_place *parent, const struct cl_fhir_element *element,
                         const struct cl_json *object, const struct cl_json *value, bool companion)
{
	struct cl_place place = {parent, cl_fhir_element_base_name(element), -1, parent->depth + 1};
	if (element->flags & CL_FHIR_REPEAT) {
		if (value->kind == CL_JSON_ARRAY)
			check_array(v, &place, element, object, value, companion);
		else
			wrong(v, &place, value, "structure", "must be an array, because it may repeat; found %s.",
			      kind_name(value));
	} else if (value->kind == CL_JSON_ARRAY) {
		wrong(v, &place, value, "structure", "must not be an array, because it may not repeat.");
	} else if (value->kind == CL_JSON_NULL) {
		wrong(v, &place, value, "structure", "must not be null: leave it out.");
	} else if (companion) {
		check_companion(v, &place, value);
	} else {
		check_value(v, &place, element, value);
	}
}

static void report_missing(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_node *node,
                           const struct cl_json *object, uint64_t missing)
{
	const struct cl_fhir_element *element;
	for (unsigned i = 0; missing && (element = cl_fhir_element_at(node, i)) != NULL; i++) {
		uint64_t bit = UINT64_C(1) << element->slot;
		if (!(missing & bit))
			continue;
		missing &= ~bit;
		bool choice = element->flags & CL_FHIR_CHOICE;
		wrong(v, place, object, "required", "%.*s.%.*s%s is required.", CL_STR_ARGS(cl_fhir_node_name(node)),
		      CL_STR_ARGS(cl_fhir_element_base_name(element)), choice ? "[x]" : "");
	}
}

static void check_object(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_node *node,
                         const struct cl_json *object, bool is_resource)
{
	uint64_t seen = 0;
	const struct cl_fhir_element *first[64]; /* which member of a choice came; valid where `seen` has the bit */
	bool content = is_resource;
	if (place->depth > CL_VALIDATE_DEPTH) {
		wrong(v, place, object, "too-costly", "nested deeper than %d levels; not checked further.",
		      CL_VALIDATE_DEPTH);
		return;
	}
	for (uint32_t i = 0; i < object->count; i++) {
		const struct cl_json_member *member = &object->members[i];
		struct cl_str name = member->name;
		bool companion = name.n > 1 && name.p[0] == '_';
		if (companion) {
			name.p++;
			name.n--;
		}
		const struct cl_fhir_element *element = cl_fhir_element(node, name);
		if (!element || (companion && !cl_fhir_is_primitive(element->data))) {
			if (!is_resource || !cl_str_is(member->name, "resourceType"))
				report_unknown(v, place, node, member);
			content = true;
			continue;
		}
		uint64_t bit = UINT64_C(1) << element->slot;
		if (!(seen & bit)) {
			seen |= bit;
			first[element->slot] = element;
		} else if (first[element->slot] != element) {
			struct cl_place here = {place, cl_fhir_element_base_name(element), -1, place->depth + 1};
			wrong(v, &here, &member->value, "structure", "%.*s[x] can have one type only: %.*s or %.*s.",
			      CL_STR_ARGS(here.name), CL_STR_ARGS(cl_fhir_element_name(first[element->slot])),
			      CL_STR_ARGS(cl_fhir_element_name(element)));
		}
		content |= !(name.n == 2 && name.p[0] == 'i' && name.p[1] == 'd');
		check_member(v, place, element, object, &member->value, companion);
	}
	if (!content)
		wrong(v, place, object, "invariant",
		      "ele-1: an element needs a value or children; this one has neither.");
	if (node->required & ~seen)
		report_missing(v, place, node, object, node->required & ~seen);
	if (node->rule != CL_RULE_NONE)
		cl_validate_rules(v, place, node, object);
}

static void check_resource(struct cl_validator *v, const struct cl_place *place, const struct cl_json *resource)
{
	const struct cl_json *name = cl_json_get(resource, "resourceType");
	uint16_t type = name && name->kind == CL_JSON_STRING ? cl_fhir_type(name->text) : 0;
	if (type == 0) {
		if (!name)
			wrong(v, place, resource, "structure",
			      "resourceType is required: without it the resource's type is unknown.");
		else
			wrong(v, place, name, "structure", "\"%.*s\" is no FHIR R4 resource type.",
			      CL_STR_ARGS(shown(cl_json_text(name))));
		return;
	}
	/* A resource within `contained` belongs to the one around it; one in an entry or a parameter stands for
	 * itself. */
	bool contained = place->parent && cl_str_is(place->name, "contained");
	struct cl_validator outer = *v;
	if (contained) {
		v->in_contained = true;
	} else {
		v->root = resource;
		v->contained_known = false;
		v->in_contained = false;
	}
	check_object(v, place, cl_fhir_type_node(type), resource, true);
	if (cl_json_get(resource, "contained"))
		cl_validate_contained(v, place, resource);
	v->in_contained = outer.in_contained;
	if (!contained) {
		v->root = outer.root;
		v->contained = outer.contained;
		v->contained_count = outer.contained_count;
		v->contained_known = outer.contained_known;
	}
}

int cl_fhir_validate(struct cl_arena *arena, const struct cl_json *resource, struct cl_str source_text,
                     struct cl_issues *out)
{
	size_t errors = out->errors;
	struct cl_validator v = {.arena = arena, .issues = out, .source = source_text, .root = resource};
	struct cl_str name = cl_json_get_text(resource, "resourceType");
	struct cl_place place = {NULL, cl_fhir_type(name) ? name : CL_STR("Resource"), -1, 0};
	if (!resource || resource->kind != CL_JSON_OBJECT)
		wrong(&v, &place, resource, "structure", "a resource must be a JSON object.");
	else
		check_resource(&v, &place, resource);
	return out->errors > errors ? CL_E_RULE : 0;
}

void cl_fhir_validate_limits(const struct cl_json *resource, struct cl_issues *out)
{
	struct cl_str name = cl_json_get_text(resource, "resourceType");
	const struct cl_json *profiles = cl_json_get(cl_json_get(resource, "meta"), "profile");
	struct cl_str invariants = cl_fhir_unchecked_invariants(cl_fhir_type(name));
	struct cl_str place = cl_fhir_type(name) ? cl_arena_copy(out->arena, name) : CL_STR_NONE;
	cl_issues_add(
	        out, CL_SEVERITY_INFORMATION, "informational", place,
	        "Not checked: profiles, example, preferred and extensible bindings, units and language codes, and "
	        "whether what is referred to exists.");
	if (profiles && profiles->kind == CL_JSON_ARRAY && profiles->count)
		cl_issues_add(out, CL_SEVERITY_INFORMATION, "not-supported", place,
		              "Not checked: the %u profile%s that meta.profile names.", profiles->count,
		              profiles->count == 1 ? "" : "s");
	if (invariants.n)
		cl_issues_add(out, CL_SEVERITY_INFORMATION, "not-supported", place, "Not checked: the invariants %.*s.",
		              CL_STR_ARGS(invariants));
}
