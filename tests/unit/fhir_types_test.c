/* fhir_types_test.c: the generated tables of types, elements, code sets and search parameters, and references. */
#include "unit/fhir_support.h"
#include "org/fhir/parameters.h"
#include "org/fhir/reference.h"

static void types_are_numbered_by_name(void **state)
{
	(void)state;
	assert_int_equal(cl_fhir_type_count(), CL_TYPE_END - 1);
	assert_int_equal(cl_fhir_type(CL_STR("Account")), 1);
	assert_int_equal(cl_fhir_type(CL_STR("Patient")), CL_TYPE_PATIENT);
	assert_int_equal(cl_fhir_type(CL_STR("VisionPrescription")), cl_fhir_type_count());
	assert_int_equal(cl_fhir_type(CL_STR("patient")), 0);
	assert_int_equal(cl_fhir_type(CL_STR("Resource")), 0);
	assert_int_equal(cl_fhir_type(CL_STR("DomainResource")), 0);
	assert_int_equal(cl_fhir_type(CL_STR_NONE), 0);
	assert_int_equal(cl_fhir_type_name(0).n, 0);
	assert_int_equal(cl_fhir_type_name(60000).n, 0);
	for (uint16_t i = 1; i <= cl_fhir_type_count(); i++) {
		assert_int_equal(cl_fhir_type(cl_fhir_type_name(i)), i);
		assert_true(i == 1 || cl_str_compare(cl_fhir_type_name((uint16_t)(i - 1)), cl_fhir_type_name(i)) < 0);
	}
}

static void every_element_is_found_by_name(void **state)
{
	(void)state;
	for (uint16_t type = 1; type <= cl_fhir_type_count(); type++) {
		const struct cl_fhir_node *node = cl_fhir_type_node(type);
		const struct cl_fhir_element *element;
		for (unsigned i = 0; (element = cl_fhir_element_at(node, i)) != NULL; i++) {
			assert_ptr_equal(cl_fhir_element(node, cl_fhir_element_name(element)), element);
			if (!cl_fhir_is_primitive(element->data) && element->data != CL_DATA_RESOURCE)
				assert_non_null(cl_fhir_element_node(element));
		}
		assert_null(cl_fhir_element(node, CL_STR("nothing")));
		assert_null(cl_fhir_element(node, CL_STR("")));
	}
	assert_string_equal(cl_fhir_data_name(CL_DATA_DATE_TIME).p, "dateTime");
	assert_string_equal(cl_fhir_data_name(CL_DATA_HUMAN_NAME).p, "HumanName");
}

static void choices_are_unrolled(void **state)
{
	(void)state;
	const struct cl_fhir_node *node = cl_fhir_type_node(CL_TYPE_OBSERVATION);
	const struct cl_fhir_element *quantity = cl_fhir_element(node, CL_STR("valueQuantity"));
	const struct cl_fhir_element *text = cl_fhir_element(node, CL_STR("valueString"));
	assert_null(cl_fhir_element(node, CL_STR("value")));
	assert_null(cl_fhir_element(node, CL_STR("valueAddress")));
	assert_int_equal(quantity->data, CL_DATA_QUANTITY);
	assert_int_equal(text->data, CL_DATA_STRING);
	assert_int_equal(quantity->slot, text->slot);
	assert_true(quantity->flags & CL_FHIR_CHOICE);
	assert_text(cl_fhir_element_base_name(quantity), "value");
	/* contentReference: a component's reference ranges look like the observation's. */
	const struct cl_fhir_node *component = cl_fhir_element_node(cl_fhir_element(node, CL_STR("component")));
	assert_ptr_equal(cl_fhir_element_node(cl_fhir_element(component, CL_STR("referenceRange"))),
	                 cl_fhir_element_node(cl_fhir_element(node, CL_STR("referenceRange"))));
}

static void codes(void **state)
{
	(void)state;
	char list[64];
	const struct cl_fhir_node *patient = cl_fhir_type_node(CL_TYPE_PATIENT);
	uint16_t gender = cl_fhir_element(patient, CL_STR("gender"))->codes;
	assert_true(cl_fhir_code_allowed(gender, CL_STR("female")));
	assert_false(cl_fhir_code_allowed(gender, CL_STR("Female")));
	assert_false(cl_fhir_code_allowed(gender, CL_STR("")));
	cl_fhir_codes_list(gender, list, sizeof list);
	assert_string_equal(list, "female, male, other, unknown");
	cl_fhir_codes_list(gender, list, 16);
	assert_string_equal(list, "female, ...");
	assert_text(cl_fhir_codes_url(gender), "http://hl7.org/fhir/ValueSet/administrative-gender");
	uint16_t clinical = cl_fhir_element(cl_fhir_type_node(CL_TYPE_CONDITION), CL_STR("clinicalStatus"))->codes;
	assert_true(cl_fhir_coding_allowed(clinical, CL_STR("http://terminology.hl7.org/CodeSystem/condition-clinical"),
	                                   CL_STR("active")));
	assert_false(cl_fhir_coding_allowed(clinical, CL_STR("http://example.org"), CL_STR("active")));
	uint16_t mime = cl_fhir_element(cl_fhir_data_node(CL_DATA_ATTACHMENT), CL_STR("contentType"))->codes;
	assert_true(cl_fhir_code_allowed(mime, CL_STR("text/plain; charset=UTF-8")));
	assert_false(cl_fhir_code_allowed(mime, CL_STR("text")));
	uint16_t currency = cl_fhir_element(cl_fhir_data_node(CL_DATA_MONEY), CL_STR("currency"))->codes;
	assert_true(cl_fhir_code_allowed(currency, CL_STR("USD")));
	assert_false(cl_fhir_code_allowed(currency, CL_STR("usd")));
}

static void parameters(void **state)
{
	(void)state;
	const struct cl_fhir_parameter *parameter;
	for (uint16_t type = 1; type <= cl_fhir_type_count(); type++) {
		unsigned i;
		for (i = 0; (parameter = cl_fhir_parameter_at(type, i)) != NULL; i++) {
			assert_int_equal(parameter->type, type);
			assert_ptr_equal(cl_fhir_search_parameter(type, cl_fhir_parameter_code(parameter)), parameter);
			assert_ptr_equal(cl_fhir_parameter_by_number(parameter->number), parameter);
		}
		assert_true(i >= 4); /* _profile, _security, _source, _tag */
	}
	assert_null(cl_fhir_parameter_by_number(0));
	assert_null(cl_fhir_parameter_by_number(65535));
	assert_null(cl_fhir_search_parameter(CL_TYPE_PATIENT, CL_STR("_id")));
	parameter = cl_fhir_search_parameter(CL_TYPE_PATIENT, CL_STR("gender"));
	assert_text(cl_fhir_parameter_system(parameter), "http://hl7.org/fhir/administrative-gender");
	assert_false(cl_fhir_search_parameter(CL_TYPE_LOCATION, CL_STR("near"))->indexed);
	assert_true(cl_fhir_search_parameter(CL_TYPE_OBSERVATION, CL_STR("code-value-quantity"))->indexed);
	assert_true(cl_fhir_search_parameter(CL_TYPE_OBSERVATION, CL_STR("code-value-quantity"))->whole);
	assert_false(cl_fhir_search_parameter(CL_TYPE_OBSERVATION, CL_STR("combo-code-value-quantity"))->whole);
	unsigned count;
	const uint16_t *targets =
	        cl_fhir_parameter_targets(cl_fhir_search_parameter(CL_TYPE_TASK, CL_STR("patient")), &count);
	assert_int_equal(count, 1);
	assert_int_equal(targets[0], CL_TYPE_PATIENT);
	assert_null(cl_fhir_parameter_targets(cl_fhir_search_parameter(CL_TYPE_TASK, CL_STR("subject")), &count));
}

/* Stored rows carry these numbers: they must never change. */
static void numbers_are_for_good(void **state)
{
	(void)state;
	char path[512], type[64], code[64], line[256];
	unsigned number, last = 0;
	snprintf(path, sizeof path, "%s/core/org/fhir/search-parameter-numbers.txt", CL_SOURCE_DIR);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	while (fgets(line, sizeof line, file)) {
		if (line[0] == '#')
			continue;
		assert_int_equal(sscanf(line, "%u %63s %63s", &number, type, code), 3);
		assert_int_equal(number, ++last);
		const struct cl_fhir_parameter *parameter =
		        cl_fhir_search_parameter(cl_fhir_type(cl_str_of(type)), cl_str_of(code));
		assert_non_null(parameter);
		assert_int_equal(parameter->number, number);
	}
	fclose(file);
	assert_true(last >= 2281);
	assert_int_equal(cl_fhir_search_parameter(CL_TYPE_ACCOUNT, CL_STR("_profile"))->number, 1);
	assert_int_equal(cl_fhir_search_parameter(CL_TYPE_VISION_PRESCRIPTION, CL_STR("status"))->number, 2281);
}

static void references(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int form;
		const char *type, *id, *version, *base;
	} cases[] = {
	        {"Patient/1", CL_FHIR_REFERENCE_RELATIVE, "Patient", "1", "", ""},
	        {"Patient/1/_history/2", CL_FHIR_REFERENCE_RELATIVE, "Patient", "1", "2", ""},
	        {"#", CL_FHIR_REFERENCE_LOCAL, "", "", "", ""},
	        {"#a", CL_FHIR_REFERENCE_LOCAL, "", "a", "", ""},
	        {"urn:uuid:x", CL_FHIR_REFERENCE_URN, "", "", "", ""},
	        {"http://a.b/fhir/Patient/1", CL_FHIR_REFERENCE_ABSOLUTE, "Patient", "1", "", "http://a.b/fhir"},
	        {"http://a.b/Patient/1/_history/2", CL_FHIR_REFERENCE_ABSOLUTE, "Patient", "1", "2", "http://a.b"},
	        {"http://a.b/x", CL_FHIR_REFERENCE_ABSOLUTE, "", "", "", ""},
	        {"http://Patient/1", CL_FHIR_REFERENCE_ABSOLUTE, "", "", "", ""},
	        {"Patient?identifier=s|1", CL_FHIR_REFERENCE_CONDITIONAL, "Patient", "identifier=s|1", "", ""},
	        {"", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"Patient", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"/Patient/1", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"x/Patient/1", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"patient/1", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"Patient/a b", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"Patient/1/", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"Patient/1/_history/", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"_history/1", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	        {"Foo?x=1", CL_FHIR_REFERENCE_NONE, "", "", "", ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct cl_fhir_reference found = cl_fhir_reference_parse(cl_str_of(cases[i].text));
		if (found.form != cases[i].form)
			fail_msg("%s has form %d", cases[i].text, found.form);
		assert_text(cl_fhir_type_name(found.type), cases[i].type);
		assert_text(found.id, cases[i].id);
		assert_text(found.version, cases[i].version);
		assert_text(found.base, cases[i].base);
	}
}

struct links {
	struct cl_buf text;
	int stop_at, seen;
};

static int note_link(void *context, enum cl_fhir_link kind, struct cl_json *text)
{
	struct links *links = context;
	cl_buf_printf(&links->text, "%d %.*s\n", (int)kind, CL_STR_ARGS(text->text));
	if (cl_str_starts(text->text, "urn:uuid:"))
		text->text = CL_STR("Patient/new");
	return ++links->seen == links->stop_at ? 7 : 0;
}

static void links_are_visited_and_rewritten(void **state)
{
	(void)state;
	struct links links = {0};
	cl_buf_init(&links.text, 0);
	struct cl_json *resource =
	        parse("{'resourceType':'Task','instantiatesCanonical':'http://"
	              "p|1','instantiatesUri':'urn:uuid:a','for':{'reference':"
	              "'urn:uuid:a','display':'urn:uuid:a'},'_status':{'extension':[{'url':'http://"
	              "e','valueReference':{'reference':'Group/1'"
	              "}}]},'contained':[{'resourceType':'Media','content':{'url':'http://"
	              "picture'},'subject':{'reference':'Patient/2'}}],"
	              "'text':{'div':'<div><a "
	              "href=\\\"urn:uuid:a\\\">x</a></div>'},'madeUp':{'reference':'Patient/3'},'note':[{"
	              "'authorReference':{'reference':'Practitioner/4'}}],'owner':[1,null,{'reference':5}]}");
	assert_int_equal(cl_fhir_visit_links(resource, note_link, &links), 0);
	cl_buf_add_byte(&links.text, 0);
	assert_string_equal(links.text.p,
	                    "2 http://p|1\n3 urn:uuid:a\n1 urn:uuid:a\n1 Group/1\n3 http://picture\n1 Patient/2\n"
	                    "4 <div><a href=\"urn:uuid:a\">x</a></div>\n1 Practitioner/4\n");
	assert_text(cl_json_get_text(cl_json_get(resource, "for"), "reference"), "Patient/new");
	assert_text(cl_json_get_text(cl_json_get(resource, "for"), "display"), "urn:uuid:a");
	links.seen = 0;
	links.stop_at = 2;
	assert_int_equal(cl_fhir_visit_links(resource, note_link, &links), 7);
	assert_int_equal(links.seen, 2);
	assert_int_equal(cl_fhir_visit_links(parse("{'resourceType':'Nothing'}"), note_link, &links), 0);
	cl_buf_free(&links.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(types_are_numbered_by_name, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(every_element_is_found_by_name, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(choices_are_unrolled, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(codes, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(parameters, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(numbers_are_for_good, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(references, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(links_are_visited_and_rewritten, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
