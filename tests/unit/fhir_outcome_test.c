/* fhir_outcome_test.c: OperationOutcome, CapabilityStatement, and resources cut down by _elements and _summary. */
#include "unit/fhir_support.h"
#include "org/fhir/capability.h"
#include "org/fhir/subset.h"
#include "org/fhir/validate.h"

static struct cl_json *written(struct cl_buf *buffer)
{
	struct cl_json *value = parse_text(cl_arena_copy(arena, cl_buf_str(buffer)));
	cl_buf_free(buffer);
	struct cl_issues issues;
	cl_issues_init(&issues, arena, 0);
	/* What this server says is itself valid FHIR. */
	if (cl_fhir_validate(arena, value, CL_STR_NONE, &issues))
		fail_msg("%.*s", CL_STR_ARGS(issues.items[0].diagnostics));
	return value;
}

static struct cl_str issue_text(const struct cl_json *outcome, const char *i, const char *name)
{
	return cl_json_get_text(cl_json_path(outcome, "issue", i, NULL), name);
}

static void outcomes(void **state)
{
	(void)state;
	struct cl_buf out;
	struct cl_issues issues;
	cl_buf_init(&out, 0);
	cl_issues_init(&issues, arena, 2);
	cl_outcome_write(&out, &issues);
	struct cl_json *outcome = written(&out);
	assert_text(issue_text(outcome, "0", "severity"), "information");
	assert_text(issue_text(outcome, "0", "diagnostics"), "All OK");

	struct cl_issue *issue = cl_issues_add(&issues, CL_SEVERITY_ERROR, "value", CL_STR("Patient.name[0]"),
	                                       "\"%s\" is\nwrong", "x\\y");
	issue->line = 3;
	issue->column = 14;
	cl_issues_add(&issues, CL_SEVERITY_WARNING, "invariant", CL_STR_NONE, "careful");
	assert_null(cl_issues_add(&issues, CL_SEVERITY_ERROR, "value", CL_STR_NONE, "no room"));
	assert_int_equal(issues.errors, 2);
	cl_buf_init(&out, 0);
	cl_outcome_write(&out, &issues);
	outcome = written(&out);
	assert_text(issue_text(outcome, "0", "diagnostics"), "Line 3 column 14: \"x\\y\" is\nwrong");
	assert_text(issue_text(outcome, "0", "code"), "value");
	assert_text(cl_json_text(cl_json_path(outcome, "issue", "0", "expression", "0", NULL)), "Patient.name[0]");
	assert_text(issue_text(outcome, "1", "severity"), "warning");
	assert_null(cl_json_path(outcome, "issue", "1", "expression", NULL));
	assert_text(issue_text(outcome, "2", "diagnostics"), "1 more issues are not shown.");
	assert_int_equal(cl_issues_first_error(&issues, CL_E_RULE, &error), CL_E_RULE);
	assert_string_equal(error.where, "Patient.name[0]");
	assert_int_equal(error.line, 3);
}

static void errors(void **state)
{
	(void)state;
	static const struct {
		int code;
		const char *issue;
	} cases[] = {
	        {CL_E_INVALID, "invalid"},
	        {CL_E_RULE, "business-rule"},
	        {CL_E_NOT_FOUND, "not-found"},
	        {CL_E_GONE, "deleted"},
	        {CL_E_CONFLICT, "conflict"},
	        {CL_E_PRECONDITION, "conflict"},
	        {CL_E_UNAUTHENTICATED, "login"},
	        {CL_E_FORBIDDEN, "forbidden"},
	        {CL_E_TOO_LARGE, "too-long"},
	        {CL_E_UNSUPPORTED, "not-supported"},
	        {CL_E_BUSY, "transient"},
	        {CL_E_FULL, "no-store"},
	        {CL_E_IO, "exception"},
	        {CL_E_PLUGIN, "exception"},
	        {CL_E_INTERNAL, "exception"},
	        {CL_E_MEDIA_TYPE, "not-supported"},
	        {CL_E_NOT_ACCEPTABLE, "not-supported"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct cl_buf out;
		cl_buf_init(&out, 0);
		cl_fail(&error, cases[i].code, "It went \"wrong\".");
		cl_fail_at(&error, "Patient.id");
		cl_outcome_write_error(&out, &error);
		struct cl_json *outcome = written(&out);
		assert_text(issue_text(outcome, "0", "code"), cases[i].issue);
		assert_text(issue_text(outcome, "0", "diagnostics"), "It went \"wrong\".");
		assert_text(cl_json_text(cl_json_path(outcome, "issue", "0", "expression", "0", NULL)), "Patient.id");
	}
	struct cl_json *value;
	assert_int_not_equal(cl_json_parse(arena, CL_STR("{\n \"a\": }"), NULL, &value, &error), 0);
	assert_string_equal(cl_issue_code_of(&error), "structure");
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_outcome_write_error(&out, &error);
	struct cl_str text = issue_text(written(&out), "0", "diagnostics");
	assert_true(cl_str_starts(text, "Line 2 column "));
	struct cl_issues issues;
	cl_issues_init(&issues, arena, 0);
	cl_issues_add_error(&issues, &error);
	assert_int_equal(issues.items[0].line, 2);
}

static void capability(void **state)
{
	(void)state;
	static const struct cl_capability_operation operations[] = {
	        {CL_TYPE_PATIENT,
	         {"everything", 10},
	         {"http://hl7.org/fhir/OperationDefinition/Patient-everything", 58},
	         {"Every \"thing\"", 13}},
	        {0, {"export", 6}, {"http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export", 58}, {NULL, 0}},
	};
	struct cl_capability what = {.base = CL_STR("https://here.example/fhir"),
	                             .date = CL_STR("2026-11-22T00:00:00Z"),
	                             .software = CL_STR("0.1.0"),
	                             .name = CL_STR("Riverside \"Clinic\""),
	                             .json_patch = true,
	                             .operations = operations,
	                             .operation_count = 2};
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_fhir_capability_write(&out, &what);
	assert_true(out.n < 1200000);
	struct cl_json *statement = written(&out);
	assert_text(cl_json_get_text(statement, "fhirVersion"), "4.0.1");
	const struct cl_json *rest = cl_json_path(statement, "rest", "0", NULL);
	const struct cl_json *resources = cl_json_get(rest, "resource");
	assert_int_equal(resources->count, cl_fhir_type_count());
	const struct cl_json *patient = &resources->items[CL_TYPE_PATIENT - 1];
	assert_text(cl_json_get_text(patient, "type"), "Patient");
	assert_int_equal(cl_json_get(patient, "interaction")->count, 9);
	assert_text(cl_json_get_text(cl_json_path(patient, "operation", "0", NULL), "name"), "everything");
	assert_null(cl_json_get(&resources->items[0], "operation"));
	assert_text(cl_json_get_text(cl_json_path(rest, "operation", "0", NULL), "name"), "export");
	/* fhirclient looks for a parameter named patient or subject before it searches. */
	const struct cl_json *condition = cl_json_get(&resources->items[CL_TYPE_CONDITION - 1], "searchParam");
	bool found = false;
	for (uint32_t i = 0; i < condition->count; i++)
		found |= cl_str_is(cl_json_get_text(&condition->items[i], "name"), "patient");
	assert_true(found);

	static const uint16_t types[] = {CL_TYPE_TASK, CL_TYPE_PATIENT};
	what = (struct cl_capability){.date = CL_STR("2026"), .types = types, .type_count = 2};
	cl_buf_init(&out, 0);
	cl_fhir_capability_write(&out, &what);
	statement = written(&out);
	assert_int_equal(cl_json_path(statement, "rest", "0", "resource", NULL)->count, 2);
	assert_int_equal(cl_json_path(statement, "rest", "0", "resource", "0", "interaction", NULL)->count, 8);
}

static struct cl_str cut(const char *name, const char *const *elements, enum cl_fhir_summary summary)
{
	struct cl_json *resource = fixture(name);
	struct cl_str list[8];
	size_t count = 0;
	for (; elements && elements[count]; count++)
		list[count] = cl_str_of(elements[count]);
	cl_fhir_subset(arena, resource, list, count, summary);
	struct cl_buf names;
	cl_buf_init(&names, 0);
	for (uint32_t i = 0; i < resource->count; i++)
		cl_buf_printf(&names, "%s%.*s", i ? " " : "", CL_STR_ARGS(resource->members[i].name));
	bool tagged = false;
	const struct cl_json *tags = cl_json_path(resource, "meta", "tag", NULL);
	for (uint32_t i = 0; tags && i < tags->count; i++)
		tagged |= cl_str_is(cl_json_get_text(&tags->items[i], "code"), "SUBSETTED");
	assert_true(tagged == (count > 0 || summary != CL_SUMMARY_FALSE));
	struct cl_str text = cl_arena_copy(arena, cl_buf_str(&names));
	cl_buf_free(&names);
	return text;
}

static void subsets(void **state)
{
	(void)state;
	static const char *const some[] = {"birthDate", "name", NULL}, *const value[] = {"value", NULL};
	assert_text(cut("patient", some, CL_SUMMARY_FALSE),
	            "resourceType id meta active name birthDate _birthDate deceasedBoolean link");
	assert_text(cut("observation", value, CL_SUMMARY_FALSE), "resourceType id status code valueQuantity meta");
	assert_text(cut("patient", NULL, CL_SUMMARY_TEXT), "resourceType id meta text");
	assert_text(cut("patient", NULL, CL_SUMMARY_TRUE), "resourceType id meta identifier active name telecom gender "
	                                                   "birthDate _birthDate deceasedBoolean address "
	                                                   "managingOrganization link");
	struct cl_str data = cut("patient", NULL, CL_SUMMARY_DATA);
	assert_null(memmem(data.p, data.n, " text", 5));
	assert_non_null(memmem(data.p, data.n, "contact", 7));
	cut("patient", NULL, CL_SUMMARY_FALSE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(outcomes, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(errors, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(capability, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(subsets, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
