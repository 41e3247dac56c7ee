/* capability.c: R4 CapabilityStatement (section 5.2), written straight as text. */
#include "org/fhir/capability.h"
#include "base/json.h"
#include "org/fhir/parameters.h"

static void member(struct cl_buf *out, const char *name, struct cl_str text)
{
	cl_buf_printf(out, ",\"%s\":", name);
	cl_json_write_text(out, text);
}

static void write_interactions(struct cl_buf *out, const char *const *codes)
{
	cl_buf_add_cstring(out, "\"interaction\":[");
	for (size_t i = 0; codes[i]; i++)
		cl_buf_printf(out, "%s{\"code\":\"%s\"}", i ? "," : "", codes[i]);
	cl_buf_add_byte(out, ']');
}

static void write_operations(struct cl_buf *out, const struct cl_capability *capability, uint16_t type)
{
	size_t written = 0;
	for (size_t i = 0; i < capability->operation_count; i++) {
		const struct cl_capability_operation *operation = &capability->operations[i];
		if (operation->type != type)
			continue;
		cl_buf_add_cstring(out, written++ ? "," : ",\"operation\":[");
		cl_buf_add_cstring(out, "{\"name\":");
		cl_json_write_text(out, operation->name);
		member(out, "definition", operation->definition);
		if (operation->documentation.n)
			member(out, "documentation", operation->documentation);
		cl_buf_add_byte(out, '}');
	}
	if (written)
		cl_buf_add_byte(out, ']');
}

/* How a parameter is asked for: what search_criterion.c and search_value.c take. */
static const char *documentation_of(const struct cl_fhir_parameter *parameter)
{
	switch (parameter->kind) {
	case CL_SEARCH_STRING:
		return "Beginning of the text, whatever its case and accents; :exact, :contains, :missing";
	case CL_SEARCH_TOKEN:
		return "[system|]code; :not, :text, :missing, identifiers also :of-type";
	case CL_SEARCH_DATE:
		return "With eq, ne, gt, lt, ge, le, sa, eb, ap; partial dates are periods; :missing";
	case CL_SEARCH_NUMBER:
	case CL_SEARCH_QUANTITY:
		return "With eq, ne, gt, lt, ge, le, sa, eb, ap, to the precision that is written; :missing";
	case CL_SEARCH_URI:
		return "The whole address; :below, :missing";
	default:
		return NULL;
	}
}

static void write_documentation(struct cl_buf *out, const struct cl_fhir_parameter *parameter)
{
	unsigned count;
	const uint16_t *targets = cl_fhir_parameter_targets(parameter, &count);
	if (parameter->kind != CL_SEARCH_REFERENCE) {
		if (documentation_of(parameter))
			member(out, "documentation", cl_str_of(documentation_of(parameter)));
		return;
	}
	cl_buf_add_cstring(out, ",\"documentation\":\"");
	for (unsigned i = 0; i < count && count <= 8; i++)
		cl_buf_printf(out, "%s%.*s", i ? " or " : "", CL_STR_ARGS(cl_fhir_type_name(targets[i])));
	cl_buf_printf(out, "%sas Type/id, id or address; chained (.name), :identifier, :[type], :missing\"",
	              count && count <= 8 ? ", " : "");
}

static void write_parameters(struct cl_buf *out, uint16_t type)
{
	const struct cl_fhir_parameter *parameter;
	cl_buf_add_cstring(out, ",\"searchParam\":["
	                        "{\"name\":\"_id\",\"type\":\"token\",\"documentation\":\"The id\"},"
	                        "{\"name\":\"_lastUpdated\",\"type\":\"date\",\"documentation\":"
	                        "\"When this version was made\"}");
	for (unsigned i = 0; (parameter = cl_fhir_parameter_at(type, i)) != NULL; i++) {
		struct cl_str code = cl_fhir_parameter_code(parameter);
		if (parameter->indexed) {
			cl_buf_printf(out, ",{\"name\":\"%.*s\",\"type\":\"%s\"", CL_STR_ARGS(code),
			              cl_fhir_search_kind_name(parameter->kind));
			write_documentation(out, parameter);
			cl_buf_add_byte(out, '}');
		}
	}
	cl_buf_add_byte(out, ']');
}

static void write_includes(struct cl_buf *out, uint16_t type)
{
	const struct cl_fhir_parameter *parameter;
	struct cl_str name = cl_fhir_type_name(type);
	size_t written = 0;
	for (unsigned i = 0; (parameter = cl_fhir_parameter_at(type, i)) != NULL; i++) {
		struct cl_str code = cl_fhir_parameter_code(parameter);
		if (parameter->kind == CL_SEARCH_REFERENCE && parameter->indexed)
			cl_buf_printf(out, "%s\"%.*s:%.*s\"", written++ ? "," : ",\"searchInclude\":[",
			              CL_STR_ARGS(name), CL_STR_ARGS(code));
	}
	if (written)
		cl_buf_add_byte(out, ']');
}

static bool may_target(const struct cl_fhir_parameter *parameter, uint16_t type)
{
	unsigned count;
	const uint16_t *targets = cl_fhir_parameter_targets(parameter, &count);
	for (unsigned i = 0; i < count; i++)
		if (targets[i] == type)
			return true;
	return count == 0;
}

/* Every reference parameter that may lead to the type. */
static void write_reverse_includes(struct cl_buf *out, uint16_t type)
{
	const struct cl_fhir_parameter *parameter;
	size_t written = 0;
	for (uint16_t source = 1; source <= cl_fhir_type_count(); source++) {
		struct cl_str name = cl_fhir_type_name(source);
		for (unsigned i = 0; (parameter = cl_fhir_parameter_at(source, i)) != NULL; i++) {
			struct cl_str code = cl_fhir_parameter_code(parameter);
			if (parameter->kind == CL_SEARCH_REFERENCE && parameter->indexed && may_target(parameter, type))
				cl_buf_printf(out, "%s\"%.*s:%.*s\"", written++ ? "," : ",\"searchRevInclude\":[",
				              CL_STR_ARGS(name), CL_STR_ARGS(code));
		}
	}
	if (written)
		cl_buf_add_byte(out, ']');
}

/* What no other member of the statement can say. */
static const char search_documentation[] =
        "Search modifiers: every parameter takes :missing; strings :exact and :contains; tokens :not and :text, those "
        "over "
        "identifiers :of-type; references :identifier and :[type]; uris :below. Prefixes of dates, numbers and "
        "quantities: eq ne "
        "gt lt ge le sa eb ap. Chains and _has, also within each other, go two references deep. _include and "
        "_revinclude take "
        ":iterate (three deep) and Type:*; _include also *. Result parameters: _sort _count _total _summary _elements. "
        "Searches of "
        "several types (GET [base]?_type=..., GET [base]/Patient/[id]/*) take the parameters that all of the types "
        "have, and sort "
        "by _id and _lastUpdated. Unknown parameters are refused, or left out with Prefer: handling=lenient; the self "
        "link says "
        "what was used. Pages show everything as it was when the first one was asked for.";

static void write_search(struct cl_buf *out)
{
	static const char *const common[][2] = {{"_id", "token"},     {"_lastUpdated", "date"}, {"_tag", "token"},
	                                        {"_profile", "uri"},  {"_security", "token"},   {"_source", "uri"},
	                                        {"_type", "special"}, {"_has", "special"}};
	static const char *const compartments[] = {"device", "encounter", "patient", "practitioner", "relatedPerson"};
	cl_buf_add_cstring(out, ",\"searchParam\":[");
	for (size_t i = 0; i < sizeof(common) / sizeof(*common); i++)
		cl_buf_printf(out, "%s{\"name\":\"%s\",\"type\":\"%s\"}", i ? "," : "", common[i][0], common[i][1]);
	cl_buf_add_cstring(out, "],\"compartment\":[");
	for (size_t i = 0; i < sizeof(compartments) / sizeof(*compartments); i++)
		cl_buf_printf(out, "%s\"http://hl7.org/fhir/CompartmentDefinition/%s\"", i ? "," : "", compartments[i]);
	cl_buf_add_byte(out, ']');
}

static void write_type(struct cl_buf *out, const struct cl_capability *capability, uint16_t type)
{
	static const char *const with_patch[] = {"read",        "vread",  "create",           "update",
	                                         "patch",       "delete", "history-instance", "history-type",
	                                         "search-type", NULL};
	static const char *const without[] = {
	        "read", "vread", "create", "update", "delete", "history-instance", "history-type", "search-type", NULL};
	struct cl_str name = cl_fhir_type_name(type);
	cl_buf_printf(out, "{\"type\":\"%.*s\",\"profile\":\"http://hl7.org/fhir/StructureDefinition/%.*s\",",
	              CL_STR_ARGS(name), CL_STR_ARGS(name));
	write_interactions(out, capability->json_patch ? with_patch : without);
	cl_buf_add_cstring(out,
	                   ",\"versioning\":\"versioned\",\"readHistory\":true,\"updateCreate\":true,"
	                   "\"conditionalCreate\":true,\"conditionalRead\":\"full-support\",\"conditionalUpdate\":true,"
	                   "\"conditionalDelete\":\"single\",\"referencePolicy\":[\"literal\",\"logical\",\"local\"]");
	write_includes(out, type);
	write_reverse_includes(out, type);
	write_parameters(out, type);
	write_operations(out, capability, type);
	cl_buf_add_byte(out, '}');
}

/* SMART App Launch 1.0's extension: older clients look here for what smart-configuration says. */
static void write_security(struct cl_buf *out, struct cl_str oauth)
{
	static const char system[] = "http://terminology.hl7.org/CodeSystem/restful-security-service";
	static const char *const names[] = {"token", "revoke"};
	cl_buf_printf(out, ",\"security\":{\"extension\":[{\"url\":\"http://fhir-registry.smarthealthit.org/"
	                   "StructureDefinition/oauth-uris\",\"extension\":[");
	for (size_t i = 0; i < 2; i++) {
		struct cl_buf address;
		cl_buf_init(&address, 0);
		cl_buf_printf(&address, "%.*s/%s", CL_STR_ARGS(oauth), names[i]);
		cl_buf_printf(out, "%s{\"url\":\"%s\",\"valueUri\":", i ? "," : "", names[i]);
		cl_json_write_text(out, cl_buf_str(&address));
		cl_buf_add_byte(out, '}');
		cl_buf_free(&address);
	}
	cl_buf_printf(out,
	              "]}],\"cors\":false,\"service\":[{\"coding\":[{\"system\":\"%s\",\"code\":\"SMART-on-FHIR\"}]},"
	              "{\"coding\":[{\"system\":\"%s\",\"code\":\"Certificates\"}]}]}",
	              system, system);
}

void cl_fhir_capability_write(struct cl_buf *out, const struct cl_capability *capability)
{
	static const char *const system[] = {"batch", "transaction", "history-system", "search-system", NULL};
	size_t count = capability->type_count ? capability->type_count : cl_fhir_type_count();
	cl_buf_add_cstring(out, "{\"resourceType\":\"CapabilityStatement\",\"status\":\"active\"");
	member(out, "date", capability->date);
	cl_buf_add_cstring(out, ",\"kind\":\"instance\",\"instantiates\":["
	                        "\"http://hl7.org/fhir/uv/bulkdata/CapabilityStatement/"
	                        "bulk-data\"],\"software\":{\"name\":\"Careloop\"");
	if (capability->software.n)
		member(out, "version", capability->software);
	cl_buf_add_cstring(out, "},\"implementation\":{\"description\":");
	cl_json_write_text(out, capability->name.n ? capability->name : CL_STR("Careloop"));
	if (capability->base.n)
		member(out, "url", capability->base);
	cl_buf_add_cstring(out, "},\"fhirVersion\":\"4.0.1\",\"format\":[\"application/fhir+json\",\"json\"]");
	if (capability->json_patch)
		cl_buf_add_cstring(out, ",\"patchFormat\":[\"application/json-patch+json\"]");
	cl_buf_add_cstring(out, ",\"rest\":[{\"mode\":\"server\"");
	member(out, "documentation", cl_str_of(search_documentation));
	if (capability->oauth.n)
		write_security(out, capability->oauth);
	cl_buf_add_cstring(out, ",\"resource\":[");
	for (size_t i = 0; i < count; i++) {
		if (i)
			cl_buf_add_byte(out, ',');
		write_type(out, capability, capability->type_count ? capability->types[i] : (uint16_t)(i + 1));
	}
	cl_buf_add_cstring(out, "],");
	write_interactions(out, system);
	write_search(out);
	write_operations(out, capability, 0);
	cl_buf_add_cstring(out, "}]}");
}
