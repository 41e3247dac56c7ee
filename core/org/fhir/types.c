/* types.c: lookups in the generated tables. Everything here is constant data; nothing allocates. */
#include "org/fhir/types.h"
#include <stdio.h>

struct code {
	uint16_t text;
	uint8_t n;
	uint8_t system;
};

struct code_set {
	uint16_t first;
	uint16_t count;
	uint8_t kind;
	uint8_t system; /* the only system of the set, or 0 */
	uint16_t url;
};

/* Short names for the generated flag column. */
enum {
	R = CL_FHIR_REPEAT,
	M = CL_FHIR_REQUIRED,
	S = CL_FHIR_SUMMARY,
	X = CL_FHIR_MODIFIER,
	C = CL_FHIR_CHOICE,
};

#include "org/fhir/generated/elements.inc"
#include "org/fhir/generated/codes.inc"
#include "org/fhir/generated/invariants.inc"

static struct cl_str node_text(const struct cl_fhir_node *node)
{
	return (struct cl_str){element_texts + node->name, node->name_n};
}

uint16_t cl_fhir_type(struct cl_str name)
{
	unsigned low = 0, high = RESOURCE_COUNT;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		int order = cl_str_compare(name, node_text(&nodes[FIRST_RESOURCE_NODE + middle]));
		if (order == 0)
			return (uint16_t)(middle + 1);
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return 0;
}

struct cl_str cl_fhir_type_name(uint16_t type)
{
	const struct cl_fhir_node *node = cl_fhir_type_node(type);
	return node ? node_text(node) : CL_STR_NONE;
}

uint16_t cl_fhir_type_count(void)
{
	return RESOURCE_COUNT;
}

const struct cl_fhir_node *cl_fhir_type_node(uint16_t type)
{
	return type >= 1 && type <= RESOURCE_COUNT ? &nodes[FIRST_RESOURCE_NODE + type - 1] : NULL;
}

const struct cl_fhir_node *cl_fhir_data_node(enum cl_fhir_data data)
{
	if (data <= CL_DATA_BACKBONE || data >= CL_DATA_END)
		return NULL;
	return &nodes[FIRST_DATA_NODE + (unsigned)data - CL_DATA_BACKBONE - 1];
}

const struct cl_fhir_element *cl_fhir_element(const struct cl_fhir_node *node, struct cl_str name)
{
	uint32_t hash = 0x811C9DC5;
	for (size_t i = 0; i < name.n; i++)
		hash = (hash ^ (uint8_t)name.p[i]) * 0x01000193;
	/* FNV-1a, then one multiplication that the generator chose so that no two names of the node meet. */
	unsigned place = places[node->places + ((hash * node->multiplier) >> (32 - node->bits))];
	if (place == 0)
		return NULL;
	const struct cl_fhir_element *element = &elements[node->first + place - 1];
	if (element->name_n != name.n || memcmp(element_texts + element->name, name.p, name.n) != 0)
		return NULL;
	return element;
}

const struct cl_fhir_element *cl_fhir_element_at(const struct cl_fhir_node *node, unsigned i)
{
	return i < node->count ? &elements[node->first + i] : NULL;
}

const struct cl_fhir_node *cl_fhir_element_node(const struct cl_fhir_element *element)
{
	return element->node ? &nodes[element->node] : NULL;
}

bool cl_fhir_target_allowed(const struct cl_fhir_element *element, uint16_t type)
{
	return !element->targets || target_sets[element->targets][type / 64] >> type % 64 & 1;
}

void cl_fhir_targets_list(const struct cl_fhir_element *element, char *out, size_t size)
{
	size_t n = 0;
	out[0] = 0;
	for (uint16_t type = 1; type <= RESOURCE_COUNT; type++) {
		struct cl_str name = cl_fhir_type_name(type);
		if (!cl_fhir_target_allowed(element, type))
			continue;
		if (n + name.n + 8 > size) {
			snprintf(out + n, size - n, " ...");
			return;
		}
		n += (size_t)snprintf(out + n, size - n, "%s%.*s", n ? ", " : "", CL_STR_ARGS(name));
	}
}

struct cl_str cl_fhir_unchecked_invariants(uint16_t type)
{
	return type <= RESOURCE_COUNT ? cl_str_of(invariant_texts + unchecked_invariants[type]) : CL_STR("");
}

struct cl_str cl_fhir_element_name(const struct cl_fhir_element *element)
{
	return (struct cl_str){element_texts + element->name, element->name_n};
}

struct cl_str cl_fhir_element_base_name(const struct cl_fhir_element *element)
{
	return (struct cl_str){element_texts + element->name, element->base_n};
}

struct cl_str cl_fhir_node_name(const struct cl_fhir_node *node)
{
	return node_text(node);
}

struct cl_str cl_fhir_data_name(enum cl_fhir_data data)
{
	static const char *const primitives[] = {
	        "",         "boolean",      "integer", "unsignedInt", "positiveInt", "decimal",   "string",
	        "markdown", "code",         "id",      "uri",         "url",         "canonical", "oid",
	        "uuid",     "base64Binary", "date",    "dateTime",    "instant",     "time",      "xhtml"};
	_Static_assert(sizeof(primitives) / sizeof(*primitives) == CL_DATA_PRIMITIVE_END,
	               "one name for each primitive type");
	if (data < CL_DATA_PRIMITIVE_END)
		return cl_str_of(primitives[data]);
	if (data == CL_DATA_RESOURCE)
		return CL_STR("Resource");
	const struct cl_fhir_node *node = cl_fhir_data_node(data);
	return node ? node_text(node) : CL_STR("BackboneElement");
}

static const struct code_set *code_set(uint16_t set)
{
	return set > 0 && set < sizeof(code_sets) / sizeof(*code_sets) ? &code_sets[set] : NULL;
}

/* The first code of the set that is not below `code`. */
static unsigned code_search(const struct code_set *set, struct cl_str code)
{
	unsigned low = set->first, high = (unsigned)set->first + set->count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (cl_str_compare((struct cl_str){code_texts + codes[middle].text, codes[middle].n}, code) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool code_at(const struct code_set *set, unsigned i, struct cl_str code)
{
	return i < (unsigned)set->first + set->count && codes[i].n == code.n &&
	       memcmp(code_texts + codes[i].text, code.p, code.n) == 0;
}

static bool is_media_type(struct cl_str text)
{
	/* CapabilityStatement.format allows the short names besides media types. */
	if (cl_str_is(text, "xml") || cl_str_is(text, "json") || cl_str_is(text, "ttl"))
		return true;
	const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
	if (!slash || slash == text.p || slash + 1 == text.p + text.n)
		return false;
	for (size_t i = 0; i < text.n && text.p[i] != ';'; i++) {
		unsigned char byte = (unsigned char)text.p[i];
		bool word =
		        (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
		if (!word && (byte == 0 || !strchr("!#$&-^_.+*/", byte)))
			return false;
	}
	return true;
}

static bool is_currency(struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < 'A' || text.p[i] > 'Z')
			return false;
	}
	return text.n == 3;
}

bool cl_fhir_code_allowed(uint16_t set, struct cl_str code)
{
	const struct code_set *found = code_set(set);
	if (!found)
		return true;
	if (found->kind == CL_FHIR_CODES_MIME)
		return is_media_type(code);
	if (found->kind == CL_FHIR_CODES_CURRENCY)
		return is_currency(code);
	return code_at(found, code_search(found, code), code);
}

bool cl_fhir_coding_allowed(uint16_t set, struct cl_str system, struct cl_str code)
{
	const struct code_set *found = code_set(set);
	if (!found || found->kind != CL_FHIR_CODES_LIST)
		return cl_fhir_code_allowed(set, code);
	for (unsigned i = code_search(found, code); code_at(found, i, code); i++) {
		if (cl_str_is(system, code_systems[codes[i].system]))
			return true;
	}
	return false;
}

struct cl_str cl_fhir_codes_url(uint16_t set)
{
	const struct code_set *found = code_set(set);
	return found ? cl_str_of(code_texts + found->url) : CL_STR_NONE;
}

void cl_fhir_codes_list(uint16_t set, char *out, size_t size)
{
	const struct code_set *found = code_set(set);
	size_t n = 0;
	out[0] = 0;
	if (!found)
		return;
	if (found->kind != CL_FHIR_CODES_LIST) {
		snprintf(out, size, "%s",
		         found->kind == CL_FHIR_CODES_MIME ? "a media type like text/plain" : "a currency like USD");
		return;
	}
	for (unsigned i = 0; i < found->count; i++) {
		const struct code *code = &codes[found->first + i];
		if (n + code->n + 2 + sizeof(", ...") > size) {
			snprintf(out + n, size - n, ", ...");
			return;
		}
		n += (size_t)snprintf(out + n, size - n, "%s%.*s", n ? ", " : "", code->n, code_texts + code->text);
	}
}
