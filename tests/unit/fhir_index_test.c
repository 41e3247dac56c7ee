/* fhir_index_test.c: which search values resources give. */
#include "unit/fhir_support.h"
#include "org/fhir/index.h"
#include "org/fhir/parameters.h"
#include <math.h>

/* "code kind a|b", "code date lower..upper" or "code number low..high": one line for each value, in index order. */
static struct cl_str listing(const struct cl_json *resource)
{
	static const char *const kinds[] = {"",         "token", "string",      "date",  "reference", "number",
	                                    "quantity", "uri",   "compartment", "exact", "member"};
	struct cl_index index;
	uint16_t type = cl_fhir_type(cl_json_get_text(resource, "resourceType"));
	assert_int_equal(cl_fhir_index(arena, type, resource, &index, &error), 0);
	struct cl_buf out;
	cl_buf_init(&out, 0);
	for (size_t i = 0; i < index.count; i++) {
		const struct cl_index_value *value = &index.values[i];
		assert_true(i == 0 || cl_index_compare(&index.values[i - 1], value) < 0);
		const struct cl_fhir_parameter *parameter = cl_fhir_parameter_by_number(value->parameter);
		if (value->kind == CL_INDEX_COMPARTMENT) {
			assert_int_equal(value->parameter, 0);
		} else {
			assert_int_equal(parameter->type, type);
			cl_buf_printf(&out, "%.*s ", CL_STR_ARGS(cl_fhir_parameter_code(parameter)));
		}
		cl_buf_printf(&out, "%s ", kinds[value->kind]);
		switch (value->kind) {
		case CL_INDEX_DATE:
			if (value->lower == INT64_MIN)
				cl_buf_add_cstring(&out, "-");
			else
				cl_buf_add_str(&out, cl_instant_text(arena, value->lower));
			cl_buf_add_cstring(&out, "..");
			if (value->upper == INT64_MAX)
				cl_buf_add_cstring(&out, "-");
			else
				cl_buf_add_str(&out, cl_instant_text(arena, value->upper));
			break;
		case CL_INDEX_QUANTITY:
			cl_buf_printf(&out, "%.6g..%.6g %.*s|%.*s", value->low, value->high, CL_STR_ARGS(value->a),
			              CL_STR_ARGS(value->b));
			break;
		case CL_INDEX_NUMBER:
			cl_buf_printf(&out, "%.6g..%.6g", value->low, value->high);
			break;
		case CL_INDEX_STRING:
		case CL_INDEX_URI:
			cl_buf_add_str(&out, value->a);
			break;
		case CL_INDEX_EXACT:
			cl_buf_printf(&out, "%.*s", CL_STR_ARGS(value->a));
			break;
		case CL_INDEX_MEMBER:
			cl_buf_printf(&out, "%lld.%u %.6g..%.6g %.*s|%.*s", (long long)value->lower,
			              CL_MEMBER_PART(value->upper), value->low, value->high, CL_STR_ARGS(value->a),
			              CL_STR_ARGS(value->b));
			break;
		case CL_INDEX_COMPARTMENT:
			cl_buf_add_str(&out, value->b);
			break;
		default:
			cl_buf_printf(&out, "%.*s|%.*s", CL_STR_ARGS(value->a), CL_STR_ARGS(value->b));
		}
		cl_buf_add_byte(&out, '\n');
	}
	struct cl_str text = cl_arena_copy(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	return text;
}

static void indexes(const struct cl_json *resource, const char *expected)
{
	struct cl_str found = listing(resource);
	if (!cl_str_is(found, expected)) {
		fwrite(found.p, 1, found.n, stderr); /* longer than a message may be */
		fail_msg("not the values that were expected");
	}
}

static void has(const char *quoted, const char *line)
{
	struct cl_str found = listing(parse(quoted));
	struct cl_str whole = cl_arena_printf(arena, "\n%.*s", CL_STR_ARGS(found));
	struct cl_str wanted = cl_arena_printf(arena, "\n%s\n", line);
	if (!memmem(whole.p, whole.n, wanted.p, wanted.n))
		fail_msg("%s lacks \"%s\" in\n%.*s", quoted, line, CL_STR_ARGS(found));
}

static void lacks(const char *quoted, const char *piece)
{
	struct cl_str found = listing(parse(quoted));
	if (found.n && memmem(found.p, found.n, piece, strlen(piece)))
		fail_msg("%s has \"%s\" in\n%.*s", quoted, piece, CL_STR_ARGS(found));
}

static void a_patient(void **state)
{
	(void)state;
	indexes(fixture("patient"), "_security token http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R\n"
	                            "_tag token http://example.org/tags|pilot\n"
	                            "active token |true\n"
	                            "address-use token |home\n"
	                            "deceased token |false\n"
	                            "email token email|maria@example.org\n"
	                            "gender token |female\n"
	                            "general-practitioner token http://hl7.org/fhir/sid/us-npi|1234567893\n"
	                            "identifier token http://example.org/medicaid|00A-8\n"
	                            "identifier token http://example.org/mrn|MRN|17,4\n"
	                            "phone token phone|+1 555 0100\n"
	                            "telecom token email|maria@example.org\n"
	                            "telecom token phone|+1 555 0100\n"
	                            "address string 12 rio grande st\n"
	                            "address string 79901\n"
	                            "address string el paso\n"
	                            "address string tx\n"
	                            "address-city string el paso\n"
	                            "address-postalcode string 79901\n"
	                            "address-state string tx\n"
	                            "family string nanez\n"
	                            "given string jose\n"
	                            "given string maria\n"
	                            "name string jose\n"
	                            "name string mari n.\n"
	                            "name string maria\n"
	                            "name string nanez\n"
	                            "birthdate date 1984-03-01T00:00:00.000Z..1984-04-01T00:00:00.000Z\n"
	                            "general-practitioner reference Practitioner|dr-lee\n"
	                            "link reference Patient|maria-old\n"
	                            "organization reference Organization|riverside\n"
	                            "_profile uri http://example.org/fhir/StructureDefinition/client\n"
	                            "_profile uri http://example.org/fhir/StructureDefinition/client|2.0\n"
	                            "_source uri urn:example:intake\n"
	                            "compartment maria\n"
	                            "compartment maria-old\n"
	                            "address exact 12 Río Grande St\n"
	                            "address exact 79901\n"
	                            "address exact El Paso\n"
	                            "address exact TX\n"
	                            "address-city exact El Paso\n"
	                            "address-postalcode exact 79901\n"
	                            "address-state exact TX\n"
	                            "family exact Ñáñez\n"
	                            "given exact José\n"
	                            "given exact María\n"
	                            "name exact José\n"
	                            "name exact Mari  N.\n"
	                            "name exact María\n"
	                            "name exact Ñáñez\n");
}

static void a_task(void **state)
{
	(void)state;
	indexes(fixture("task"), "code token http://hl7.org/fhir/CodeSystem/task-code|fulfill\n"
	                         "identifier token http://example.org/referrals|R-1\n"
	                         "intent token |order\n"
	                         "priority token |urgent\n"
	                         "status token |requested\n"
	                         "authored-on date 2026-11-22T15:00:00.250Z..2026-11-22T15:00:00.251Z\n"
	                         "modified date 2026-11-22T15:00:00.000Z..2026-11-22T15:00:01.000Z\n"
	                         "period date 2026-11-22T15:00:00.000Z..-\n"
	                         "based-on reference ServiceRequest|food\n"
	                         "focus reference ServiceRequest|food\n"
	                         "owner reference Organization|pantry\n"
	                         "patient reference Patient|maria\n"
	                         "requester reference |https://partner.example/fhir/Organization/lakeside\n"
	                         "subject reference Patient|maria\n"
	                         "compartment maria\n"); /* R4 itself leaves Task out of the patient compartment */
}

static void a_service_request(void **state)
{
	(void)state;
	indexes(fixture("service-request"),
	        "category token http://example.org/needs|food-insecurity\n"
	        "code token http://snomed.info/sct|467771000124109\n"
	        "intent token |order\n"
	        "status token |active\n"
	        "code string assistance with application for food pantry program\n"
	        "code string food pantry\n"
	        "authored date 2026-11-22T00:00:00.000Z..2026-11-23T00:00:00.000Z\n"
	        "occurrence date 2026-11-25T00:00:00.000Z..2026-12-09T00:00:00.000Z\n"
	        "instantiates-canonical reference |http://example.org/fhir/PlanDefinition/food\n"
	        "instantiates-canonical reference |http://example.org/fhir/PlanDefinition/food|1.2\n"
	        "patient reference Patient|maria\n"
	        "performer reference Organization|pantry\n"
	        "subject reference Patient|maria\n"
	        "compartment maria\n");
}

static void an_observation(void **state)
{
	(void)state;
	indexes(fixture("observation"),
	        "code token http://loinc.org|44261-6\n"
	        "combo-code token http://loinc.org|44250-9\n"
	        "combo-code token http://loinc.org|44255-8\n"
	        "combo-code token http://loinc.org|44261-6\n"
	        "combo-data-absent-reason token "
	        "http://terminology.hl7.org/CodeSystem/data-absent-reason|asked-declined\n"
	        "component-code token http://loinc.org|44250-9\n"
	        "component-code token http://loinc.org|44255-8\n"
	        "component-data-absent-reason token "
	        "http://terminology.hl7.org/CodeSystem/data-absent-reason|asked-declined\n"
	        "status token |final\n"
	        "code string phq-9 total score\n"
	        "combo-code string phq-9 total score\n"
	        "date date 2026-11-20T17:30:00.000Z..2026-11-20T17:30:01.000Z\n"
	        "patient reference Patient|maria\n"
	        "performer reference Practitioner|dr-lee\n"
	        "subject reference Patient|maria\n"
	        "combo-value-quantity quantity 14..14 |score\n"
	        "combo-value-quantity quantity 14..14 http://unitsofmeasure.org|{score}\n"
	        "value-quantity quantity 14..14 |score\n"
	        "value-quantity quantity 14..14 http://unitsofmeasure.org|{score}\n"
	        "compartment maria\n"
	        "combo-code-value-quantity member 1.0 0..0 http://loinc.org|44261-6\n"
	        "combo-code-value-quantity member 1.1 14..14 |score\n"
	        "combo-code-value-quantity member 1.1 14..14 http://unitsofmeasure.org|{score}\n");
}

static void references_to_patients(void **state)
{
	(void)state;
#define FLAG(reference) "{'resourceType':'Flag','subject':{" reference "}}"
	has(FLAG("'reference':'Patient/1'"), "patient reference Patient|1");
	has(FLAG("'reference':'Patient/1/_history/4'"), "patient reference Patient|1");
	has(FLAG("'reference':'Patient/1'"), "compartment 1");
	has(FLAG("'reference':'http://a.b/fhir/Patient/1'"), "patient reference |http://a.b/fhir/Patient/1");
	lacks(FLAG("'reference':'http://a.b/fhir/Patient/1'"), "compartment");
	has(FLAG("'reference':'urn:uuid:1','type':'Patient'"), "patient reference |urn:uuid:1");
	has(FLAG("'identifier':{'system':'s','value':'v'},'type':'Patient'"), "patient token s|v");
	lacks(FLAG("'reference':'urn:uuid:1'"), "patient");
	lacks(FLAG("'reference':'Group/1'"), "patient");
	lacks(FLAG("'reference':'Group/1'"), "compartment");
	has(FLAG("'reference':'Group/1'"), "subject reference Group|1");
	lacks(FLAG("'reference':'#a'"), "reference");
	lacks(FLAG("'reference':'nonsense'"), "reference");
	/* Only the parameters that CompartmentDefinition names count: List.subject does, List.item does not. */
	has("{'resourceType':'List','subject':{'reference':'Patient/1'}}", "compartment 1");
	lacks("{'resourceType':'List','entry':[{'item':{'reference':'Patient/1'}}]}", "compartment");
#undef FLAG
}

static void odd_parameters(void **state)
{
	(void)state;
	has("{'resourceType':'Patient','deceasedDateTime':'2020'}", "deceased token |true");
	has("{'resourceType':'Patient','deceasedBoolean':true}", "deceased token |true");
	has("{'resourceType':'Patient'}", "deceased token |false");
	has("{'resourceType':'Bundle','entry':[{'resource':{'resourceType':'Composition','id':'c'}},{'resource':{'"
	    "resourceType':"
	    "'Composition','id':'d'}}]}",
	    "composition reference Composition|c");
	lacks("{'resourceType':'Bundle','entry':[{'resource':{'resourceType':'Patient','id':'c'}},{'resource':{'"
	      "resourceType':"
	      "'Composition','id':'d'}}]}",
	      "Composition");
	has("{'resourceType':'Library','relatedArtifact':[{'type':'depends-on','resource':'http://"
	    "a'},{'type':'citation','resource':"
	    "'http://b'}]}",
	    "depends-on reference |http://a");
	lacks("{'resourceType':'Library','relatedArtifact':[{'type':'depends-on','resource':'http://"
	      "a'},{'type':'citation','resource':"
	      "'http://b'}]}",
	      "http://b");
	has("{'resourceType':'Observation','valueCodeableConcept':{'text':'Ünsure'}}", "value-string string unsure");
	has("{'resourceType':'QuestionnaireResponse','questionnaire':'Questionnaire/q'}",
	    "questionnaire reference Questionnaire|q");
}

static void dates(void **state)
{
	(void)state;
	has("{'resourceType':'Encounter','period':{'end':'2026-11'}}", "date date -..2026-12-01T00:00:00.000Z");
	lacks("{'resourceType':'Encounter','period':{'extension':[]}}", "date");
	lacks("{'resourceType':'Encounter','period':{'start':'2027','end':'2026'}}", "date");
	lacks("{'resourceType':'Patient','birthDate':'1984-13'}", "birthdate");
	has("{'resourceType':'ServiceRequest','occurrenceTiming':{'repeat':{'boundsPeriod':{'start':'2026'}}}}",
	    "occurrence date 2026-01-01T00:00:00.000Z..-");
	lacks("{'resourceType':'ServiceRequest','occurrenceTiming':{'code':{'text':'BID'}}}", "occurrence");
}

static void numbers_and_quantities(void **state)
{
	(void)state;
	double low, high, value;
	static const struct {
		const char *text;
		double low, high, value;
	} cases[] = {
	        {"100", 99.5, 100.5, 100},        {"100.00", 99.995, 100.005, 100},     {"1e2", 50, 150, 100},
	        {"5.4", 5.35, 5.45, 5.4},         {"-5.4", -5.45, -5.35, -5.4},         {"0", -0.5, 0.5, 0},
	        {"0.001", 0.0005, 0.0015, 0.001}, {"1.5E-3", 0.00145, 0.00155, 0.0015},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_true(cl_fhir_decimal_interval(cl_str_of(cases[i].text), &low, &high, &value));
		if (low != cases[i].low || high != cases[i].high || value != cases[i].value)
			fail_msg("%s is %.17g..%.17g, %.17g", cases[i].text, low, high, value);
	}
	static const char *const wrong[] = {"", "-", ".", "e5", "5e", "5x", "1.2.3", "--5", "0x10", "nan", "inf", " 5"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_false(cl_fhir_decimal_interval(cl_str_of(wrong[i]), &low, &high, &value));
	assert_true(cl_fhir_decimal_interval(CL_STR("123456789012345678901234567890"), &low, &high, &value));
	assert_true(value > 1.2345678901234e29 && value < 1.2345678901235e29);
	assert_true(cl_fhir_decimal_interval(CL_STR("1e999999"), &low, &high, &value));
	assert_true(isinf(value));

	has("{'resourceType':'RiskAssessment','prediction':[{'probabilityDecimal':0.02}]}",
	    "probability number 0.02..0.02");
	has("{'resourceType':'RiskAssessment','prediction':[{'probabilityRange':{'low':{'value':1}}}]}",
	    "probability number 1..inf");
	has("{'resourceType':'Observation','valueQuantity':{'value':5,'comparator':'<','unit':'mg'}}",
	    "value-quantity quantity -inf..5 |mg");
	has("{'resourceType':'Observation','valueQuantity':{'value':5,'comparator':'>=','unit':'mg'}}",
	    "value-quantity quantity 5..inf |mg");
	has("{'resourceType':'Invoice','totalNet':{'value':12.50,'currency':'USD'}}",
	    "totalnet quantity 12.5..12.5 urn:iso:std:iso:4217|USD");
	lacks("{'resourceType':'Observation','valueQuantity':{'unit':'mg'}}", "quantity");
}

static void long_and_wrong_values(void **state)
{
	(void)state;
	struct cl_json *resource = parse("{'resourceType':'Library'}");
	char *text = cl_arena_alloc(arena, 5001);
	for (int i = 0; i < 2500; i++)
		memcpy(text + 2 * i, "\xc3\xa9", 2);
	cl_json_set_text(arena, resource, "description", cl_str_of(text));
	cl_json_set_text(arena, resource, "url", cl_str_of(text));
	struct cl_index index;
	assert_int_equal(cl_fhir_index(arena, CL_TYPE_LIBRARY, resource, &index, &error), 0);
	assert_int_equal(index.count, 1); /* the address is left out, the text cut and folded */
	assert_int_equal(index.values[0].a.n, CL_FHIR_INDEX_TEXT / 2);
	listing(parse("{'resourceType':'Patient','name':'x','identifier':[1,null,{'value':7}],'telecom':{},'birthDate':"
	              "5,'gender':{},"
	              "'generalPractitioner':[[{'reference':'Practitioner/1'}]],'meta':[],'link':[{'other':'x'}]}"));
	assert_int_equal(cl_fhir_index(arena, 0, resource, &index, &error), CL_E_INTERNAL);
	assert_int_equal(cl_fhir_index(arena, 9999, resource, &index, &error), CL_E_INTERNAL);

	struct cl_json *group = parse("{'resourceType':'Group'}");
	struct cl_json *members = cl_json_set_array(arena, group, "member");
	struct cl_json *member = parse("{'entity':{'reference':'Patient/1'}}");
	for (int i = 0; i < 50001; i++)
		*cl_json_append(arena, members) = *member;
	assert_int_equal(cl_fhir_index(arena, CL_TYPE_GROUP, group, &index, &error), CL_E_LIMIT);
	members->count = 40000;
	assert_int_equal(cl_fhir_index(arena, CL_TYPE_GROUP, group, &index, &error), 0);
	assert_int_equal(index.count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_patient, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_task, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_service_request, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(an_observation, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(references_to_patients, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(odd_parameters, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(dates, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(numbers_and_quantities, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(long_and_wrong_values, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
