/* validate_rules.c: invariants of the data types, and those of contained resources and local references. Those of
 * resource types are in validate_resources.c. Each is called with an object whose structure was looked at already,
 * so it may be wrong in any way: only what is there and of the right kind counts. */
#include "org/fhir/validate_rules.h"
#include "base/date.h"
#include "org/fhir/reference.h"
#include <stdlib.h>

/* ---- helpers ---- */

bool cl_rule_has(const struct cl_json *object, const char *name)
{
	if (cl_json_get(object, name))
		return true;
	char companion[64];
	size_t n = strlen(name);
	if (n + 1 >= sizeof(companion))
		return false;
	companion[0] = '_';
	memcpy(companion + 1, name, n + 1);
	return cl_json_get(object, companion) != NULL;
}

const struct cl_json *cl_rule_choice(const struct cl_json *object, const char *base)
{
	size_t n = strlen(base);
	for (uint32_t i = 0; i < object->count; i++) {
		struct cl_str name = object->members[i].name;
		if (name.n && name.p[0] == '_') {
			name.p++;
			name.n--;
		}
		if (name.n > n && memcmp(name.p, base, n) == 0 && name.p[n] >= 'A' && name.p[n] <= 'Z')
			return &object->members[i].value;
	}
	return NULL;
}

bool cl_rule_coded(const struct cl_json *concept, const char *system, const char *code)
{
	const struct cl_json *codings = cl_json_get(concept, "coding");
	for (uint32_t i = 0; codings && codings->kind == CL_JSON_ARRAY && i < codings->count; i++) {
		if (cl_str_is(cl_json_get_text(&codings->items[i], "code"), code) &&
		    (!system || cl_str_is(cl_json_get_text(&codings->items[i], "system"), system)))
			return true;
	}
	return false;
}

struct cl_rule_list cl_rule_list(const struct cl_json *object, const char *name)
{
	const struct cl_json *array = cl_json_get(object, name);
	if (!array || array->kind != CL_JSON_ARRAY)
		return (struct cl_rule_list){NULL, 0};
	return (struct cl_rule_list){array->items, array->count};
}

static int compare_texts(const void *a, const void *b)
{
	return cl_str_compare(*(const struct cl_str *)a, *(const struct cl_str *)b);
}

void cl_rule_sort(struct cl_str *texts, size_t count)
{
	if (count > 1)
		qsort(texts, count, sizeof(*texts), compare_texts);
}

/* ---- contained resources: dom-2 to dom-5, ref-1 ---- */

struct texts {
	struct cl_str *items;
	size_t count, capacity;
};

static void add_text(struct cl_validator *v, struct texts *texts, struct cl_str text)
{
	if (texts->count == texts->capacity) {
		size_t capacity = texts->capacity ? texts->capacity * 2 : 16;
		struct cl_str *items = CL_NEW_ARRAY(v->arena, struct cl_str, capacity);
		if (texts->count)
			memcpy(items, texts->items, texts->count * sizeof(*items));
		texts->items = items;
		texts->capacity = capacity;
	}
	texts->items[texts->count++] = text;
}

/* Every string that starts with #, at any depth. Wider than dom-3's reference, canonical, uri and url, and cheap. */
static void collect_local(struct cl_validator *v, const struct cl_json *value, struct texts *texts, int depth)
{
	if (value->kind == CL_JSON_STRING) {
		if (value->text.n && value->text.p[0] == '#')
			add_text(v, texts, (struct cl_str){value->text.p + 1, value->text.n - 1});
	} else if (depth < CL_VALIDATE_DEPTH && value->kind == CL_JSON_ARRAY) {
		for (uint32_t i = 0; i < value->count; i++)
			collect_local(v, &value->items[i], texts, depth + 1);
	} else if (depth < CL_VALIDATE_DEPTH && value->kind == CL_JSON_OBJECT) {
		for (uint32_t i = 0; i < value->count; i++)
			collect_local(v, &value->members[i].value, texts, depth + 1);
	}
}

static bool found(const struct cl_str *texts, size_t count, struct cl_str text)
{
	return count && bsearch(&text, texts, count, sizeof(*texts), compare_texts);
}

void cl_validate_contained(struct cl_validator *v, const struct cl_place *place, const struct cl_json *resource)
{
	struct cl_rule_list contained = cl_rule_list(resource, "contained");
	if (v->in_contained) {
		cl_validate_report(v, place, cl_json_get(resource, "contained"), CL_SEVERITY_ERROR, "invariant",
		                   "dom-2: a contained resource must not contain resources.");
		return;
	}
	struct texts used = {0};
	collect_local(v, resource, &used, 0);
	cl_rule_sort(used.items, used.count);
	for (uint32_t i = 0; i < contained.count; i++) {
		const struct cl_json *inner = &contained.items[i];
		struct cl_place here = {place, CL_STR("contained"), (int)i, place->depth + 1};
		struct cl_str id = cl_json_get_text(inner, "id");
		struct texts back = {0};
		if (id.n == 0 || !found(used.items, used.count, id)) {
			/* It may point to what contains it instead: a reference that is "#" alone. */
			collect_local(v, inner, &back, 0);
			cl_rule_sort(back.items, back.count);
			if (!found(back.items, back.count, CL_STR("")))
				cl_validate_report(v, &here, inner, CL_SEVERITY_ERROR, "invariant",
				                   "dom-3: nothing refers to this contained resource (\"#%.*s\").",
				                   CL_STR_ARGS(id));
		}
		const struct cl_json *meta = cl_json_get(inner, "meta");
		if (cl_json_get(meta, "versionId") || cl_json_get(meta, "lastUpdated"))
			cl_validate_report(
			        v, &here, meta, CL_SEVERITY_ERROR, "invariant",
			        "dom-4: a contained resource must not have meta.versionId or meta.lastUpdated.");
		if (cl_json_get(meta, "security"))
			cl_validate_report(v, &here, meta, CL_SEVERITY_ERROR, "invariant",
			                   "dom-5: a contained resource must not have a security label.");
	}
}

static int compare_contained(const void *a, const void *b)
{
	const struct cl_contained_id *x = a, *y = b;
	return cl_str_compare(x->id, y->id);
}

/* NULL when there is none. */
static const struct cl_contained_id *find_contained(struct cl_validator *v, struct cl_str id)
{
	if (!v->contained_known) {
		struct cl_rule_list contained = cl_rule_list(v->root, "contained");
		v->contained = contained.count ? CL_NEW_ARRAY(v->arena, struct cl_contained_id, contained.count) : NULL;
		v->contained_count = contained.count;
		for (uint32_t i = 0; i < contained.count; i++)
			v->contained[i] = (struct cl_contained_id){
			        cl_json_get_text(&contained.items[i], "id"),
			        cl_fhir_type(cl_json_get_text(&contained.items[i], "resourceType"))};
		if (contained.count > 1)
			qsort(v->contained, contained.count, sizeof(*v->contained), compare_contained);
		v->contained_known = true;
	}
	const struct cl_contained_id wanted = {.id = id};
	return v->contained_count
	               ? bsearch(&wanted, v->contained, v->contained_count, sizeof(wanted), compare_contained)
	               : NULL;
}

/* ---- references ---- */

/* "Patient" of Reference.type, which is a URI; 0 when it is none of ours. */
static uint16_t said_type(const struct cl_json *reference)
{
	static const char core[] = "http://hl7.org/fhir/StructureDefinition/";
	struct cl_str said = cl_json_get_text(reference, "type");
	if (cl_str_starts(said, core))
		said = (struct cl_str){said.p + sizeof(core) - 1, said.n - sizeof(core) + 1};
	return cl_fhir_type(said);
}

void cl_validate_target(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_element *element,
                        const struct cl_json *reference)
{
	struct cl_fhir_reference parsed = cl_fhir_reference_parse(cl_json_get_text(reference, "reference"));
	uint16_t type = parsed.type;
	if (parsed.form == CL_FHIR_REFERENCE_LOCAL) {
		const struct cl_contained_id *contained = parsed.id.n ? find_contained(v, parsed.id) : NULL;
		type = contained ? contained->type : 0;
		if (!parsed.id.n && v->in_contained)
			type = cl_fhir_type(cl_json_get_text(v->root, "resourceType"));
	}
	if (!type)
		type = said_type(reference);
	if (!type || cl_fhir_target_allowed(element, type))
		return;
	char list[200];
	cl_fhir_targets_list(element, list, sizeof(list));
	/* An error by the specification, whose own examples have such references. */
	cl_validate_report(v, place, reference, CL_SEVERITY_WARNING, "value",
	                   "refers to a resource of type %.*s; allowed: %s.", CL_STR_ARGS(cl_fhir_type_name(type)),
	                   list);
}

static void rule_reference(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	const struct cl_json *value = cl_json_get(object, "reference");
	if (!value || value->kind != CL_JSON_STRING || value->text.n == 0)
		return;
	struct cl_str text = value->text;
	struct cl_fhir_reference parsed = cl_fhir_reference_parse(text);
	struct cl_place here = {place, CL_STR("reference"), -1, place->depth + 1};
	if (parsed.form == CL_FHIR_REFERENCE_LOCAL) {
		/* "#" alone is the containing resource, for use within a contained one. */
		if (parsed.id.n == 0 ? !v->in_contained : !find_contained(v, parsed.id))
			cl_validate_report(v, &here, value, CL_SEVERITY_ERROR, "invariant",
			                   "ref-1: no contained resource has the id \"%.*s\".", CL_STR_ARGS(text));
		return;
	}
	if (parsed.form == CL_FHIR_REFERENCE_NONE) {
		cl_validate_report(v, &here, value, CL_SEVERITY_ERROR, "value",
		                   "\"%.*s\" is no reference: write Type/id with a FHIR R4 type, #id, urn:uuid:... or "
		                   "a whole URL.",
		                   (int)(text.n < 80 ? text.n : 80), text.p);
		return;
	}
	uint16_t said = said_type(object);
	if (said && parsed.type && parsed.type != said)
		cl_validate_report(v, &here, value, CL_SEVERITY_ERROR, "value", "refers to %.*s, but type says %.*s.",
		                   CL_STR_ARGS(cl_fhir_type_name(parsed.type)), CL_STR_ARGS(cl_fhir_type_name(said)));
}

/* ---- data types ---- */

static void broken(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object, const char *text)
{
	cl_validate_report(v, place, object, CL_SEVERITY_ERROR, "invariant", "%s", text);
}

static void rule_period(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	struct cl_moment start, end;
	struct cl_str from = cl_json_get_text(object, "start"), to = cl_json_get_text(object, "end");
	if (from.n == 0 || to.n == 0 || cl_moment_parse(from, 0, &start, NULL) || cl_moment_parse(to, 0, &end, NULL))
		return;
	/* FHIRPath compares what both are precise enough to tell. A date without zone may be 14 hours off either
	 * way. */
	cl_instant slack = start.has_zone != end.has_zone ? 14 * CL_HOUR : 0;
	if (start.lower >= end.upper + slack)
		broken(v, place, object, "per-1: start must not be after end.");
}

static bool is_ucum(const struct cl_json *quantity)
{
	return cl_str_is(cl_json_get_text(quantity, "system"), "http://unitsofmeasure.org");
}

static void rule_quantity(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object,
                          unsigned rule)
{
	const struct cl_json *value = cl_json_get(object, "value");
	bool has_code = cl_rule_has(object, "code"), has_system = cl_rule_has(object, "system");
	if (has_code && !has_system)
		broken(v, place, object, "qty-3: a code for the unit needs its system.");
	bool dimensioned = (has_code || !value) && (!has_system || is_ucum(object));
	switch (rule) {
	case CL_RULE_AGE:
		if (!dimensioned || (value && value->kind == CL_JSON_NUMBER && cl_json_double(value, 1) <= 0))
			broken(v, place, object, "age-1: an age needs a positive value with a UCUM code of time.");
		break;
	case CL_RULE_COUNT:
		if (!dimensioned || (has_code && !cl_str_is(cl_json_get_text(object, "code"), "1")) ||
		    (value && value->kind == CL_JSON_NUMBER && memchr(value->text.p, '.', value->text.n)))
			broken(v, place, object, "cnt-3: a count needs a whole number with the UCUM code 1.");
		break;
	case CL_RULE_DISTANCE:
		if (!dimensioned)
			broken(v, place, object, "dis-1: a distance needs a value with a UCUM code of length.");
		break;
	case CL_RULE_DURATION:
		if (has_code && !(is_ucum(object) && value))
			broken(v, place, object, "drt-1: a duration needs a value with a UCUM code of time.");
		break;
	default:
		break;
	}
}

static void rule_range(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	const struct cl_json *low = cl_json_get(object, "low"), *high = cl_json_get(object, "high");
	const struct cl_json *from = cl_json_get(low, "value"), *to = cl_json_get(high, "value");
	if (!from || !to || from->kind != CL_JSON_NUMBER || to->kind != CL_JSON_NUMBER)
		return;
	if (cl_str_equal(cl_json_get_text(low, "code"), cl_json_get_text(high, "code")) &&
	    cl_str_equal(cl_json_get_text(low, "unit"), cl_json_get_text(high, "unit")) &&
	    cl_json_double(from, 0) > cl_json_double(to, 0))
		broken(v, place, object, "rng-2: low must not be above high.");
}

static void rule_ratio(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	bool numerator = cl_rule_has(object, "numerator"), denominator = cl_rule_has(object, "denominator");
	if (numerator != denominator || (!numerator && !cl_rule_has(object, "extension")))
		broken(v, place, object,
		       "rat-1: numerator and denominator must both be present, or an extension instead of both.");
}

static void rule_trigger(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	bool data = cl_rule_has(object, "data"), timing = cl_rule_choice(object, "timing") != NULL;
	struct cl_str type = cl_json_get_text(object, "type");
	if (data && timing)
		broken(v, place, object, "trd-1: either timing or data, not both.");
	if (cl_rule_has(object, "condition") && !data)
		broken(v, place, object, "trd-2: a condition needs data.");
	if ((cl_str_is(type, "named-event") && !cl_rule_has(object, "name")) ||
	    (cl_str_is(type, "periodic") && !timing) || (cl_str_starts(type, "data-") && !data))
		broken(v, place, object,
		       "trd-3: a named event needs a name, a periodic event timing, a data event data.");
}

static void rule_timing(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	static const struct {
		const char *name, *needs, *text;
	} pairs[] = {
	        {"duration", "durationUnit", "tim-1: duration needs durationUnit."},
	        {"period", "periodUnit", "tim-2: period needs periodUnit."},
	        {"periodMax", "period", "tim-6: periodMax needs period."},
	        {"durationMax", "duration", "tim-7: durationMax needs duration."},
	        {"countMax", "count", "tim-8: countMax needs count."},
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		if (cl_rule_has(object, pairs[i].name) && !cl_rule_has(object, pairs[i].needs))
			broken(v, place, object, pairs[i].text);
	}
	if (cl_json_double(cl_json_get(object, "duration"), 0) < 0)
		broken(v, place, object, "tim-4: duration must not be negative.");
	if (cl_json_double(cl_json_get(object, "period"), 0) < 0)
		broken(v, place, object, "tim-5: period must not be negative.");
	if (cl_rule_has(object, "offset")) {
		bool right = cl_rule_has(object, "when");
		struct cl_rule_list whens = cl_rule_list(object, "when");
		for (uint32_t i = 0; i < whens.count; i++) {
			struct cl_str when = cl_json_text(&whens.items[i]);
			if (cl_str_is(when, "C") || cl_str_is(when, "CM") || cl_str_is(when, "CD") ||
			    cl_str_is(when, "CV"))
				right = false;
		}
		if (!right)
			broken(v, place, object, "tim-9: offset needs a when other than C, CM, CD and CV.");
	}
	if (cl_rule_has(object, "timeOfDay") && cl_rule_has(object, "when"))
		broken(v, place, object, "tim-10: either timeOfDay or when, not both.");
}

void cl_validate_rules(struct cl_validator *v, const struct cl_place *place, const struct cl_fhir_node *node,
                       const struct cl_json *object)
{
	switch (node->rule) {
	case CL_RULE_EXTENSION:
		if (cl_rule_has(object, "extension") == (cl_rule_choice(object, "value") != NULL))
			broken(v, place, object, "ext-1: an extension needs either a value or extensions, not both.");
		break;
	case CL_RULE_REFERENCE:
		rule_reference(v, place, object);
		break;
	case CL_RULE_PERIOD:
		rule_period(v, place, object);
		break;
	case CL_RULE_QUANTITY:
	case CL_RULE_AGE:
	case CL_RULE_COUNT:
	case CL_RULE_DISTANCE:
	case CL_RULE_DURATION:
		rule_quantity(v, place, object, node->rule);
		break;
	case CL_RULE_RANGE:
		rule_range(v, place, object);
		break;
	case CL_RULE_RATIO:
		rule_ratio(v, place, object);
		break;
	case CL_RULE_ATTACHMENT:
		if (cl_rule_has(object, "data") && !cl_rule_has(object, "contentType"))
			broken(v, place, object, "att-1: data needs contentType.");
		break;
	case CL_RULE_CONTACT_POINT:
		if (cl_rule_has(object, "value") && !cl_rule_has(object, "system"))
			broken(v, place, object, "cpt-2: value needs system (phone, email ...).");
		break;
	case CL_RULE_EXPRESSION:
		if (!cl_rule_has(object, "expression") && !cl_rule_has(object, "reference"))
			broken(v, place, object, "exp-1: expression or reference is required.");
		break;
	case CL_RULE_TRIGGER_DEFINITION:
		rule_trigger(v, place, object);
		break;
	case CL_RULE_TIMING_REPEAT:
		rule_timing(v, place, object);
		break;
	default:
		cl_validate_resource_rules(v, place, node->rule, object);
		break;
	}
}
