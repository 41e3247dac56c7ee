/* parameters.c: lookups in the generated search tables. Constant data only. */
#include "org/fhir/parameters.h"

struct range {
	uint16_t first, count;
};
struct compartment {
	uint16_t compartment, type, first, count;
};

#include "org/fhir/generated/search.inc"

static struct cl_str code_of(const struct cl_fhir_parameter *parameter)
{
	return (struct cl_str){search_texts + parameter->code, parameter->code_n};
}

const struct cl_fhir_parameter *cl_fhir_search_parameter(uint16_t type, struct cl_str code)
{
	if (type == 0 || type > cl_fhir_type_count())
		return NULL;
	unsigned low = parameter_ranges[type].first, high = low + parameter_ranges[type].count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		int order = cl_str_compare(code, code_of(&parameters[middle]));
		if (order == 0)
			return &parameters[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

const struct cl_fhir_parameter *cl_fhir_parameter_by_number(uint16_t number)
{
	if (number >= sizeof(parameters_by_number) / sizeof(*parameters_by_number))
		return NULL;
	unsigned place = parameters_by_number[number];
	return place < sizeof(parameters) / sizeof(*parameters) ? &parameters[place] : NULL;
}

const struct cl_fhir_parameter *cl_fhir_parameter_at(uint16_t type, unsigned i)
{
	if (type == 0 || type > cl_fhir_type_count() || i >= parameter_ranges[type].count)
		return NULL;
	return &parameters[parameter_ranges[type].first + i];
}

struct cl_str cl_fhir_parameter_code(const struct cl_fhir_parameter *parameter)
{
	return code_of(parameter);
}

const char *cl_fhir_search_kind_name(unsigned kind)
{
	static const char *const names[] = {"",          "number",   "date", "string",    "token",
	                                    "reference", "quantity", "uri",  "composite", "special"};
	return names[kind < sizeof(names) / sizeof(*names) ? kind : 0];
}

const uint16_t *cl_fhir_parameter_targets(const struct cl_fhir_parameter *parameter, unsigned *count)
{
	*count = parameter->kind == CL_SEARCH_COMPOSITE ? 0 : parameter->targets;
	return *count ? search_targets + parameter->first_target : NULL;
}

const uint16_t *cl_fhir_parameter_parts(const struct cl_fhir_parameter *parameter, unsigned *count)
{
	*count = parameter->kind == CL_SEARCH_COMPOSITE ? parameter->targets : 0;
	return *count ? search_targets + parameter->first_target : NULL;
}

const uint16_t *cl_fhir_compartment(uint16_t compartment, uint16_t type, unsigned *count)
{
	unsigned low = 0, high = sizeof(compartments) / sizeof(*compartments);
	uint32_t wanted = (uint32_t)compartment << 16 | type;
	*count = 0;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct compartment *row = &compartments[middle];
		uint32_t key = (uint32_t)row->compartment << 16 | row->type;
		if (key == wanted) {
			*count = row->count;
			return compartment_parameters + row->first;
		}
		if (key < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

struct cl_str cl_fhir_parameter_system(const struct cl_fhir_parameter *parameter)
{
	return cl_str_of(implied_systems[parameter->system]);
}

enum cl_index_kind cl_fhir_parameter_index_kind(const struct cl_fhir_parameter *parameter)
{
	static const uint8_t kinds[] = {
	        [CL_SEARCH_NUMBER] = CL_INDEX_NUMBER,
	        [CL_SEARCH_DATE] = CL_INDEX_DATE,
	        [CL_SEARCH_STRING] = CL_INDEX_STRING,
	        [CL_SEARCH_TOKEN] = CL_INDEX_TOKEN,
	        [CL_SEARCH_REFERENCE] = CL_INDEX_REFERENCE,
	        [CL_SEARCH_QUANTITY] = CL_INDEX_QUANTITY,
	        [CL_SEARCH_URI] = CL_INDEX_URI,
	        [CL_SEARCH_COMPOSITE] = 0,
	        [CL_SEARCH_SPECIAL] = 0,
	};
	return parameter->indexed ? (enum cl_index_kind)kinds[parameter->kind] : (enum cl_index_kind)0;
}

bool cl_fhir_parameter_of_identifiers(const struct cl_fhir_parameter *parameter)
{
	for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		if (&parameters[actions[i].parameter] == parameter && actions[i].data == CL_DATA_IDENTIFIER)
			return true;
	return false;
}

const struct cl_fhir_program *cl_fhir_program(uint16_t type)
{
	return type > 0 && type <= cl_fhir_type_count() ? &programs[type] : NULL;
}

const struct cl_fhir_group *cl_fhir_group(unsigned i)
{
	return &groups[i];
}

const struct cl_fhir_part *cl_fhir_part(unsigned i)
{
	return &parts[i];
}

const struct cl_fhir_step *cl_fhir_step(unsigned i)
{
	return &steps[i];
}

const struct cl_fhir_action *cl_fhir_action(unsigned i)
{
	return &actions[i];
}

const struct cl_fhir_parameter *cl_fhir_parameter_of(const struct cl_fhir_action *action)
{
	return &parameters[action->parameter];
}

const char *cl_fhir_search_text(unsigned offset)
{
	return search_texts + offset;
}
