/* fhir_validate_test.c: what the validator accepts, and each thing it refuses with its issue code and expression. */
#include "unit/fhir_support.h"
#include "org/fhir/primitive.h"
#include "org/fhir/validate.h"

static struct cl_issues validate(struct cl_json *resource, struct cl_str source)
{
	struct cl_issues issues;
	cl_issues_init(&issues, arena, 0);
	int code = cl_fhir_validate(arena, resource, source, &issues);
	assert_int_equal(code, issues.errors ? CL_E_RULE : 0);
	return issues;
}

static void accepts(const char *quoted)
{
	struct cl_issues issues = validate(parse(quoted), CL_STR_NONE);
	if (issues.count)
		fail_msg("%s\n%.*s", quoted, CL_STR_ARGS(issues.items[0].diagnostics));
}

/* Exactly one error: its code, its expression, and a piece of its text. */
static void refuses(const char *quoted, const char *code, const char *expression, const char *piece)
{
	struct cl_issues issues = validate(parse(quoted), CL_STR_NONE);
	if (issues.count != 1) {
		struct cl_str second = issues.count > 1 ? issues.items[1].diagnostics : CL_STR_NONE;
		fail_msg("%s\n%zu issues; the second: %.*s", quoted, issues.count, CL_STR_ARGS(second));
	}
	struct cl_issue *issue = &issues.items[0];
	if (strcmp(issue->code, code) != 0 || !cl_str_is(issue->expression, expression) ||
	    !memmem(issue->diagnostics.p, issue->diagnostics.n, piece, strlen(piece)))
		fail_msg("%s\nfound %s at %.*s: %.*s", quoted, issue->code, CL_STR_ARGS(issue->expression),
		         CL_STR_ARGS(issue->diagnostics));
}

static void fixtures_are_valid(void **state)
{
	(void)state;
	static const char *const names[] = {
	        "patient",    "task",        "service-request", "observation", "bundle-transaction",
	        "parameters", "appointment", "condition"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct cl_issues issues = validate(fixture(names[i]), CL_STR_NONE);
		if (issues.count)
			fail_msg("%s: %.*s", names[i], CL_STR_ARGS(issues.items[0].diagnostics));
	}
}

static void structure(void **state)
{
	(void)state;
	refuses("[]", "structure", "Resource", "JSON object");
	refuses("{}", "structure", "Resource", "resourceType is required");
	refuses("{'resourceType':5}", "structure", "Resource", "no FHIR R4 resource type");
	refuses("{'resourceType':'Patients'}", "structure", "Resource", "\"Patients\" is no FHIR R4 resource type");
	refuses("{'resourceType':'DomainResource'}", "structure", "Resource", "no FHIR R4 resource type");
	refuses("{'resourceType':'Patient','brithDate':'1984'}", "structure", "Patient.brithDate",
	        "did you mean \"birthDate\"?");
	refuses("{'resourceType':'Patient','favouriteColour':'red'}", "structure", "Patient.favouriteColour",
	        "use an extension");
	refuses("{'resourceType':'Patient','fhir_comments':['x']}", "structure", "Patient.fhir_comments", "no element");
	refuses("{'resourceType':'Patient','contact':[{'name':{'famly':'X'}}]}", "structure",
	        "Patient.contact[0].name.famly", "did you mean \"family\"?");
	refuses("{'resourceType':'Patient','contact':[{'name':{'text':'X'},'resourceType':'X'}]}", "structure",
	        "Patient.contact[0].resourceType", "no element");
	refuses("{'resourceType':'Patient','name':{'text':'X'}}", "structure", "Patient.name", "must be an array");
	refuses("{'resourceType':'Patient','gender':['male']}", "structure", "Patient.gender", "must not be an array");
	refuses("{'resourceType':'Patient','name':[]}", "structure", "Patient.name", "empty array");
	refuses("{'resourceType':'Patient','name':['X']}", "structure", "Patient.name[0]",
	        "must be an object (HumanName), found a string");
	refuses("{'resourceType':'Patient','name':[null]}", "structure", "Patient.name[0]", "must be an object");
	refuses("{'resourceType':'Patient','maritalStatus':null}", "structure", "Patient.maritalStatus",
	        "must not be null");
	refuses("{'resourceType':'Patient','maritalStatus':{}}", "invariant", "Patient.maritalStatus", "ele-1");
	refuses("{'resourceType':'Patient','maritalStatus':{'id':'a'}}", "invariant", "Patient.maritalStatus", "ele-1");
	refuses("{'resourceType':'Patient','_name':[{'id':'a'}]}", "structure", "Patient._name", "no element");
	refuses("{'resourceType':'Patient','contained':[{'id':'a'}],'link':[{'type':'refer','other':{'reference':'#a'}}"
	        "]}",
	        "structure", "Patient.contained[0]", "resourceType is required");
	accepts("{'resourceType':'Patient'}");
	accepts("{'resourceType':'Patient','id':'a.B-9'}");
}

static void cardinality(void **state)
{
	(void)state;
	refuses("{'resourceType':'Task','intent':'order'}", "required", "Task", "Task.status is required");
	refuses("{'resourceType':'Patient','link':[{'type':'refer'}]}", "required", "Patient.link[0]",
	        "Patient.link.other is required");
	refuses("{'resourceType':'MedicationRequest','status':'active','intent':'order','subject':{'reference':'"
	        "Patient/1'}}",
	        "required", "MedicationRequest", "MedicationRequest.medication[x] is required");
	refuses("{'resourceType':'Patient','extension':[{'valueString':'x'}]}", "required", "Patient.extension[0]",
	        "Extension.url is required");
	/* An extension can stand in for a required primitive. */
	accepts("{'resourceType':'Task','_status':{'extension':[{'url':'http://"
	        "e','valueCode':'unknown'}]},'intent':'order'}");
	struct cl_issues issues = validate(parse("{'resourceType':'Observation'}"), CL_STR_NONE);
	assert_int_equal(issues.count, 2); /* status and code: no early exit */
}

static void choices(void **state)
{
	(void)state;
	refuses("{'resourceType':'Patient','deceasedBoolean':true,'deceasedDateTime':'2020'}", "structure",
	        "Patient.deceased", "one type only: deceasedBoolean or deceasedDateTime");
	refuses("{'resourceType':'Patient','deceasedBoolean':true,'_deceasedDateTime':{'extension':[{'url':'http://"
	        "e','valueCode':"
	        "'x'}]}}",
	        "structure", "Patient.deceased", "one type only");
	refuses("{'resourceType':'Patient','deceased':true}", "structure", "Patient.deceased", "no element");
	refuses("{'resourceType':'Patient','deceasedString':'x'}", "structure", "Patient.deceasedString", "no element");
	refuses("{'resourceType':'Observation','status':'final','code':{'text':'x'},'valueQuantity':{'value':'12'}}",
	        "value", "Observation.value.value", "must be a number");
	accepts("{'resourceType':'Patient','deceasedDateTime':'2020','_deceasedDateTime':{'extension':[{'url':'http://"
	        "e','valueCode':"
	        "'x'}]}}");
}

static void primitives(void **state)
{
	(void)state;
	static const struct {
		int data;
		const char *good, *bad; /* JSON texts with ', separated by | */
	} cases[] = {
	        {CL_DATA_BOOLEAN, "true|false", "'true'|1|null"},
	        {CL_DATA_INTEGER, "0|-2147483648|2147483647|7", "2147483648|-2147483649|1.0|1e2|-0|'1'|true"},
	        {CL_DATA_UNSIGNED_INT, "0|2147483647", "-1|2147483648|0.5"},
	        {CL_DATA_POSITIVE_INT, "1|2147483647", "0|-1|2147483648"},
	        {CL_DATA_DECIMAL, "0|-1.50|1e-7|12345678901234567890.5", "'1.5'|null"},
	        {CL_DATA_STRING, "'x'|' '|'a\\nb\\tc'|'\\u00e9'", "''|'\\u0001'|'a\\u001fb'|5"},
	        {CL_DATA_MARKDOWN, "'**x**'", "''"},
	        {CL_DATA_CODE, "'a'|'a b'|'a-b'", "''|' a'|'a '|'a  b'|'a\\u0002b'"},
	        {CL_DATA_ID, "'a'|'A.b-9'|'0123456789012345678901234567890123456789012345678901234567890123'",
	         "''|'a_b'|'a b'|'01234567890123456789012345678901234567890123456789012345678901234'"},
	        {CL_DATA_URI, "'http://a.b/c?d#e'|'urn:x'|'a'", "''|'a b'|'a\\nb'"},
	        {CL_DATA_URL, "'mailto:a@b'", "'a b'"},
	        {CL_DATA_CANONICAL, "'http://a/b|1.0#c'", "'http://a/ b'"},
	        {CL_DATA_OID, "'urn:oid:1.2.3'|'urn:oid:2.16.840.1.113883'|'urn:oid:0.0'",
	         "'1.2.3'|'urn:oid:3.1'|'urn:oid:1.'|'urn:oid:1.02'|'urn:oid:1'|'urn:oid:'|'urn:oid:1..2'"},
	        {CL_DATA_UUID, "'urn:uuid:c757873d-ec9a-4326-a141-556f43239520'",
	         "'c757873d-ec9a-4326-a141-556f43239520'|'urn:uuid:C757873D-EC9A-4326-A141-556F43239520'|'urn:uuid:"
	         "c757873d'"},
	        {CL_DATA_BASE64_BINARY, "'QQ=='|'QUI='|'QUJD'|'QUJD\\nQUJD'",
	         "''|'Q'|'QQ'|'Q=Q='|'QQ==='|'Q*=='|'Q==='"},
	        {CL_DATA_DATE, "'2026'|'2026-02'|'2024-02-29'",
	         "'26'|'2026-13'|'2026-02-29'|'2026-11-22T00:00:00Z'|'2026-1-1'|''"},
	        {CL_DATA_DATE_TIME,
	         "'2026'|'2026-11-22T23:59:59Z'|'2026-11-22T05:16:07.123-05:00'|'2016-12-31T23:59:60Z'",
	         "'2026-11-22T24:00:00Z'|'2026-11-22T05:16:07'|'2026-11-22T05:16Z'|'2026-11-22 05:16:07Z'"},
	        {CL_DATA_INSTANT, "'2026-11-22T05:16:07.123Z'|'2026-11-22T05:16:07+14:00'",
	         "'2026-11-22'|'2026-11-22T05:16:07'"},
	        {CL_DATA_TIME, "'23:59:59'|'00:00:00.5'", "'24:00:00'|'5:16:07'|'05:16'|'05:16:07Z'"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		for (int good = 0; good < 2; good++) {
			const char *p = good ? cases[i].good : cases[i].bad;
			while (*p) {
				/* A bar within quotes belongs to the value. */
				size_t n = 0;
				for (bool inside = false; p[n] && (inside || p[n] != '|'); n++)
					inside ^= p[n] == '\'';
				struct cl_str one = cl_arena_copy(arena, (struct cl_str){p, n});
				const char *why =
				        cl_fhir_check_primitive((enum cl_fhir_data)cases[i].data, parse(one.p));
				if ((why == NULL) != good)
					fail_msg("%.*s: %s %s",
					         CL_STR_ARGS(cl_fhir_data_name((enum cl_fhir_data)cases[i].data)),
					         one.p, why ? why : "was accepted");
				p += n + (p[n] == '|');
			}
		}
	}
	refuses("{'resourceType':'Patient','birthDate':'22.11.2026'}", "value", "Patient.birthDate",
	        "\"22.11.2026\" is no date");
	refuses("{'resourceType':'Patient','birthDate':1984}", "value", "Patient.birthDate",
	        "must be a string, found a number");
	refuses("{'resourceType':'Patient','id':'a b'}", "value", "Patient.id", "1 to 64 letters");
	refuses("{'resourceType':'Patient','name':[{'given':['A','']}]}", "value", "Patient.name[0].given[1]",
	        "must not be empty");
	refuses("{'resourceType':'Patient','name':[{'given':['A',{}]}]}", "structure", "Patient.name[0].given[1]",
	        "must be a string");
	refuses("{'resourceType':'Binary','contentType':'text/plain','data':'?'}", "value", "Binary.data", "base64");
}

static void companions(void **state)
{
	(void)state;
	accepts("{'resourceType':'Patient','name':[{'given':['A',null],'_given':[null,{'extension':[{'url':'http://"
	        "e','valueCode':"
	        "'x'}]}]}]}");
	accepts("{'resourceType':'Patient','birthDate':'1984','_birthDate':{'id':'b','extension':[{'url':'http://"
	        "e','valueCode':'x'}]}}");
	refuses("{'resourceType':'Patient','name':[{'given':['A',null]}]}", "structure", "Patient.name[0].given[1]",
	        "null is allowed only");
	refuses("{'resourceType':'Patient','name':[{'given':[null,'A'],'_given':[null,null]}]}", "structure",
	        "Patient.name[0].given[0]", "null is allowed only");
	refuses("{'resourceType':'Patient','birthDate':'1984','_birthDate':'x'}", "structure", "Patient.birthDate",
	        "companion of a primitive must be an object");
	refuses("{'resourceType':'Patient','birthDate':'1984','_birthDate':{'extension':[]}}", "structure",
	        "Patient.birthDate.extension", "at least one");
	refuses("{'resourceType':'Patient','birthDate':'1984','_birthDate':{'value':'x','extension':[{'url':'u','"
	        "valueCode':'x'}]}}",
	        "structure", "Patient.birthDate.value", "only id and extension");
	refuses("{'resourceType':'Patient','_birthDate':{'id':'a'}}", "invariant", "Patient.birthDate", "ele-1");
	refuses("{'resourceType':'Patient','birthDate':'1984','_birthDate':{'extension':[{'url':'http://"
	        "e','valueDate':'x'}]}}",
	        "value", "Patient.birthDate.extension[0].value", "is no date");
	refuses("{'resourceType':'Patient','name':[{'given':['A'],'_given':[null,{'extension':[{'url':'u','valueCode':'"
	        "x'}]}]}]}",
	        "structure", "Patient.name[0].given", "same length");
}

static void bindings(void **state)
{
	(void)state;
	refuses("{'resourceType':'Patient','gender':'F'}", "code-invalid", "Patient.gender",
	        "use female, male, other, unknown");
	refuses("{'resourceType':'Patient','telecom':[{'system':'telefon','value':'1'}]}", "code-invalid",
	        "Patient.telecom[0].system", "contact-point-system");
	refuses("{'resourceType':'Condition','subject':{'reference':'Patient/"
	        "1'},'clinicalStatus':{'coding':[{'system':'http://x',"
	        "'code':'active'}]}}",
	        "code-invalid", "Condition.clinicalStatus", "condition-clinical");
	refuses("{'resourceType':'Condition','subject':{'reference':'Patient/1'},'clinicalStatus':{'text':'active'}}",
	        "code-invalid", "Condition.clinicalStatus", "needs a coding");
	accepts("{'resourceType':'Condition','subject':{'reference':'Patient/"
	        "1'},'clinicalStatus':{'extension':[{'url':'http://e',"
	        "'valueCode':'unknown'}]}}");
	refuses("{'resourceType':'Binary','contentType':'plain'}", "code-invalid", "Binary.contentType",
	        "a media type");
}

static void narratives(void **state)
{
	(void)state;
	static const char *const good[] = {
	        "<div>x</div>",
	        "<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>a&nbsp;&#160;&lt;b<br/></p><!-- c --></div>",
	        " <div><table><tr><td colspan='2'>1</td></tr></table></div> ",
	        ("<div><a href=\"https://a.b/?c=d&amp;e=f#g\">x</a><a href=\"#top\">y</a><img "
	         "src=\"data:image/png;base64,QQ==\"/></div>"),
	        "<div style=\"color: red\">x</div>",
	};
	static const char *const bad[] = {
	        "x",
	        "<p>x</p>",
	        "<divx>y</divx>",
	        "<div>x",
	        "<div>x</p>",
	        "<div>x</div><div>y</div>",
	        "<div>a & b</div>",
	        "<div>a < b</div>",
	        "<div><script>alert(1)</script></div>",
	        "<div onclick=\"x\">y</div>",
	        "<div><a href=\"javascript:alert(1)\">x</a></div>",
	        "<div><a href=\"java&#115;cript:alert(1)\">x</a></div>",
	        "<div><a href=\"java&Tab;script:alert(1)\">x</a></div>",
	        "<div><a href=\" javascript:x\">x</a></div>",
	        "<div><a href=\"data:text/html,x\">x</a></div>",
	        "<div><img src=\"data:image/svg+xml,x\"/></div>",
	        "<div style=\"background: url(http://x)\">y</div>",
	        "<div><iframe src=\"http://x\"></iframe></div>",
	        "<div><form><input/></form></div>",
	        "<div class=x>y</div>",
	        "<div class>y</div>",
	        "<div class=\"x>y</div>",
	        "<div><![CDATA[x]]></div>",
	        "<?xml version=\"1.0\"?><div>x</div>",
	        "<div><style>x</style></div>",
	        "<div",
	        "<div ",
	        "<div a",
	        "<div><!-- x</div>",
	        "<div>&</div>",
	        "<div>&;</div>",
	};
	bool empty;
	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
		const char *why = cl_fhir_check_narrative(cl_str_of(good[i]), &empty);
		if (why || empty)
			fail_msg("%s: %s", good[i], why ? why : "empty");
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		if (!cl_fhir_check_narrative(cl_str_of(bad[i]), &empty))
			fail_msg("%s was accepted", bad[i]);
	}
	assert_null(cl_fhir_check_narrative(CL_STR("<div> <p/></div>"), &empty));
	assert_true(empty);
	refuses("{'resourceType':'Patient','text':{'status':'generated','div':'hello'}}", "value", "Patient.text.div",
	        "starts with <div");
	struct cl_issues issues = validate(
	        parse("{'resourceType':'Patient','text':{'status':'generated','div':'<div> </div>'}}"), CL_STR_NONE);
	assert_int_equal(issues.errors, 0);
	assert_int_equal(issues.count, 1);
	assert_int_equal(issues.items[0].severity, CL_SEVERITY_WARNING);
}

static void reference_rules(void **state)
{
	(void)state;
#define WITH(reference) "{'resourceType':'Patient','managingOrganization':{" reference "}}"
	accepts(WITH("'reference':'Organization/1'"));
	accepts(WITH("'reference':'Organization/1/_history/3'"));
	accepts(WITH("'reference':'https://a.b/fhir/Organization/1'"));
	accepts(WITH("'reference':'urn:uuid:c757873d-ec9a-4326-a141-556f43239520'"));
	accepts(WITH("'reference':'Organization?identifier=x'"));
	accepts(WITH("'identifier':{'value':'x'},'type':'Organization'"));
	refuses(WITH("'reference':'Organisation/1'"), "value", "Patient.managingOrganization.reference",
	        "is no reference");
	refuses(WITH("'reference':'Organization/a_b'"), "value", "Patient.managingOrganization.reference",
	        "is no reference");
	refuses(WITH("'reference':'1'"), "value", "Patient.managingOrganization.reference", "is no reference");
	refuses(WITH("'reference':'Organization/1','type':'Patient'"), "value",
	        "Patient.managingOrganization.reference", "refers to Organization, but type says Patient");
	refuses(WITH("'reference':'#a'"), "invariant", "Patient.managingOrganization.reference", "ref-1");
	refuses(WITH("'reference':'#'"), "invariant", "Patient.managingOrganization.reference", "ref-1");
#undef WITH
}

/* Wrong targets are warnings, because published examples have them. */
static void reference_targets(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expression, *piece;
	} cases[] = {
	        {"{'resourceType':'Patient','managingOrganization':{'reference':'Patient/1'}}",
	         "Patient.managingOrganization", "of type Patient; allowed: Organization."},
	        {"{'resourceType':'Patient','managingOrganization':{'type':'Group','display':'x'}}",
	         "Patient.managingOrganization", "of type Group"},
	        {"{'resourceType':'Patient','generalPractitioner':[{'reference':'Organization/1'},{'reference':"
	         "'https://there.example/fhir/Group/1/_history/2'}]}",
	         "Patient.generalPractitioner[1]",
	         "of type Group; allowed: Organization, Practitioner, PractitionerRole."},
	        {"{'resourceType':'Patient','contained':[{'resourceType':'Flag','id':'a','status':'active','code':{'"
	         "text':"
	         "'x'},'subject':{'reference':'#'}}],'managingOrganization':{'reference':'#a'}}",
	         "Patient.managingOrganization", "of type Flag"},
	        {"{'resourceType':'Basic','code':{'text':'y'},'contained':[{'resourceType':'Flag','id':'a','status':'"
	         "active','code':{"
	         "'text':'x'},'subject':{'reference':'#'}}]}",
	         "Basic.contained[0].subject", "of type Basic"},
	        {"{'resourceType':'MedicationRequest','status':'active','intent':'order','medicationReference':{"
	         "'reference':'Patient/1'},'subject':{'reference':'Patient/1'}}",
	         "MedicationRequest.medication", "allowed: Medication."},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct cl_issues issues = validate(parse(cases[i].text), CL_STR_NONE);
		if (issues.count != 1 || issues.errors)
			fail_msg("%s: %zu issues, %zu errors", cases[i].text, issues.count, issues.errors);
		assert_string_equal(issues.items[0].code, "value");
		assert_int_equal(issues.items[0].severity, CL_SEVERITY_WARNING);
		if (!cl_str_is(issues.items[0].expression, cases[i].expression) ||
		    !memmem(issues.items[0].diagnostics.p, issues.items[0].diagnostics.n, cases[i].piece,
		            strlen(cases[i].piece)))
			fail_msg("%.*s: %.*s", CL_STR_ARGS(issues.items[0].expression),
			         CL_STR_ARGS(issues.items[0].diagnostics));
	}
	/* What does not tell its type may be anything; so may targets that are any resource. */
	accepts("{'resourceType':'Patient','managingOrganization':{'reference':'urn:uuid:0e6b2c4e-8a3c-4b59-9f83-"
	        "6f4c1b3f7a11'}}");
	accepts("{'resourceType':'Patient','managingOrganization':{'reference':'https://there.example/x'}}");
	accepts("{'resourceType':'Patient','managingOrganization':{'identifier':{'value':'1'}}}");
	accepts("{'resourceType':'Task','status':'draft','intent':'order','focus':{'reference':'Claim/1'}}");
	accepts("{'resourceType':'Patient','extension':[{'url':'urn:x','valueReference':{'reference':'Claim/1'}}]}");
}

static bool says(const struct cl_issues *issues, const char *piece)
{
	for (size_t i = 0; i < issues->count; i++)
		if (memmem(issues->items[i].diagnostics.p, issues->items[i].diagnostics.n, piece, strlen(piece)))
			return issues->items[i].severity == CL_SEVERITY_INFORMATION;
	return false;
}

static void limits_are_said(void **state)
{
	(void)state;
	struct cl_issues issues =
	        validate(parse("{'resourceType':'Patient','meta':{'profile':['urn:x','urn:y']}}"), CL_STR_NONE);
	assert_int_equal(issues.count, 0);
	cl_fhir_validate_limits(parse("{'resourceType':'Patient','meta':{'profile':['urn:x','urn:y']}}"), &issues);
	assert_true(says(&issues, "profiles, example, preferred and extensible"));
	assert_true(says(&issues, "the 2 profiles"));
	assert_true(says(&issues, "invariants dom-6"));
	assert_int_equal(issues.errors, 0);
	/* What is checked is not among what is not. */
	for (uint16_t type = 1; type <= cl_fhir_type_count(); type++) {
		struct cl_str left = cl_fhir_unchecked_invariants(type);
		assert_false(memmem(left.p, left.n, "obs-6", 5) || memmem(left.p, left.n, "ele-1", 5) ||
		             memmem(left.p, left.n, "bdl-7", 5) || memmem(left.p, left.n, "ref-1", 5));
	}
	struct cl_str left = cl_fhir_unchecked_invariants(CL_TYPE_STRUCTURE_DEFINITION);
	assert_true(memmem(left.p, left.n, "sdf-9", 5) && memmem(left.p, left.n, "eld-3", 5));
}

static void contained_resources(void **state)
{
	(void)state;
#define PATIENT(rest, reference)                                                                                       \
	"{'resourceType':'Patient','contained':[" rest "],'managingOrganization':{'reference':'" reference "'}}"
	accepts(PATIENT("{'resourceType':'Organization','id':'a','name':'A'}", "#a"));
	accepts(PATIENT(
	        "{'resourceType':'Organization','id':'a','name':'A','partOf':{'reference':'#b'}},{'resourceType':"
	        "'Organization','id':'b','name':'B'}",
	        "#a"));
	accepts(PATIENT("{'resourceType':'Flag','status':'active','code':{'text':'x'},'subject':{'reference':'#'}}",
	                "Organization/1"));
	refuses(PATIENT("{'resourceType':'Organization','id':'a','name':'A'}", "Organization/1"), "invariant",
	        "Patient.contained[0]", "dom-3");
	refuses(PATIENT("{'resourceType':'Organization','id':'a'}", "#a"), "invariant", "Patient.contained[0]",
	        "org-1");
	refuses(PATIENT("{'resourceType':'Organization','id':'a','name':'A','meta':{'versionId':'1'}}", "#a"),
	        "invariant", "Patient.contained[0]", "dom-4");
	refuses(PATIENT("{'resourceType':'Organization','id':'a','name':'A','meta':{'security':[{'code':'R'}]}}", "#a"),
	        "invariant", "Patient.contained[0]", "dom-5");
	refuses(PATIENT("{'resourceType':'Organization','id':'a','name':'A','contained':[{'resourceType':'Patient','id'"
	                ":'a'}]}",
	                "#a"),
	        "invariant", "Patient.contained[0]", "dom-2");
	refuses(PATIENT("{'resourceType':'Organization','id':'a','nme':'A','name':'B'}", "#a"), "structure",
	        "Patient.contained[0].nme", "no element");
#undef PATIENT
}

static void data_type_rules(void **state)
{
	(void)state;
#define EXTENSION(value) "{'resourceType':'Patient','extension':[{'url':'http://e'," value "}]}"
	static const char at[] = "Patient.extension[0].value";
	refuses("{'resourceType':'Patient','extension':[{'url':'http://e'}]}", "invariant", "Patient.extension[0]",
	        "ext-1");
	refuses(EXTENSION("'valueCode':'x','extension':[{'url':'f','valueCode':'y'}]"), "invariant",
	        "Patient.extension[0]", "ext-1");
	refuses(EXTENSION("'valuePeriod':{'start':'2026-02','end':'2026-01-31'}"), "invariant", at, "per-1");
	accepts(EXTENSION("'valuePeriod':{'start':'2026-02','end':'2026-02-01'}"));
	accepts(EXTENSION("'valuePeriod':{'start':'2026-02-02T01:00:00+10:00','end':'2026-02-01'}"));
	refuses(EXTENSION("'valueQuantity':{'value':1,'code':'mg'}"), "invariant", at, "qty-3");
	refuses(EXTENSION("'valueAge':{'value':-1,'code':'a','system':'http://unitsofmeasure.org'}"), "invariant", at,
	        "age-1");
	refuses(EXTENSION("'valueCount':{'value':1.5,'code':'1','system':'http://unitsofmeasure.org'}"), "invariant",
	        at, "cnt-3");
	refuses(EXTENSION("'valueDistance':{'value':1,'unit':'m'}"), "invariant", at, "dis-1");
	refuses(EXTENSION("'valueDuration':{'value':1,'code':'h','system':'http://x'}"), "invariant", at, "drt-1");
	refuses(EXTENSION("'valueRange':{'low':{'value':2},'high':{'value':1}}"), "invariant", at, "rng-2");
	accepts(EXTENSION("'valueRange':{'low':{'value':2,'unit':'g'},'high':{'value':1,'unit':'kg'}}"));
	refuses(EXTENSION("'valueRatio':{'numerator':{'value':1}}"), "invariant", at, "rat-1");
	refuses(EXTENSION("'valueAttachment':{'data':'QQ=='}"), "invariant", at, "att-1");
	refuses(EXTENSION("'valueContactPoint':{'value':'1'}"), "invariant", at, "cpt-2");
	refuses(EXTENSION("'valueExpression':{'language':'text/cql'}"), "invariant", at, "exp-1");
	refuses(EXTENSION("'valueTriggerDefinition':{'type':'named-event'}"), "invariant", at, "trd-3");
	static const char *const repeats[][2] = {
	        {"'duration':1", "tim-1"},
	        {"'period':1", "tim-2"},
	        {"'duration':-1,'durationUnit':'h'", "tim-4"},
	        {"'period':-1,'periodUnit':'h'", "tim-5"},
	        {"'periodMax':1", "tim-6"},
	        {"'durationMax':1", "tim-7"},
	        {"'countMax':1", "tim-8"},
	        {"'offset':1", "tim-9"},
	        {"'offset':1,'when':['C']", "tim-9"},
	        {"'timeOfDay':['10:00:00'],'when':['AC']", "tim-10"},
	};
	for (size_t i = 0; i < sizeof(repeats) / sizeof(*repeats); i++) {
		char text[256];
		snprintf(text, sizeof text, EXTENSION("'valueTiming':{'repeat':{%s}}"), repeats[i][0]);
		refuses(text, "invariant", "Patient.extension[0].value.repeat", repeats[i][1]);
	}
#undef EXTENSION
}

static void resource_rules(void **state)
{
	(void)state;
#define OBSERVATION "{'resourceType':'Observation','status':'final','code':{'coding':[{'system':'s','code':'c'}]},"
#define APPOINTMENT                                                                                                    \
	"{'resourceType':'Appointment','participant':[{'actor':{'reference':'Patient/1'},'status':'accepted'}],"
#define CONDITION "{'resourceType':'Condition','subject':{'reference':'Patient/1'},"
#define CLINICAL(code)                                                                                                 \
	"'clinicalStatus':{'coding':[{'system':'http://terminology.hl7.org/CodeSystem/"                                \
	"condition-clinical','code':'" code "'}]}"
#define VERIFICATION(code)                                                                                             \
	"'verificationStatus':{'coding':[{'system':'http://terminology.hl7.org/CodeSystem/"                            \
	"condition-ver-status','code':'" code "'}]}"
	static const char *const cases[][3] = {
	        {"{'resourceType':'Patient','contact':[{'gender':'male'}]}", "Patient.contact[0]", "pat-1"},
	        {OBSERVATION "'valueString':'x','dataAbsentReason':{'text':'y'}}", "Observation", "obs-6"},
	        {OBSERVATION "'valueString':'x','component':[{'code':{'coding':[{'system':'s','code':'c'}]}}]}",
	         "Observation.component[0]", "obs-7"},
	        {OBSERVATION "'referenceRange':[{'type':{'text':'x'}}]}", "Observation.referenceRange[0]", "obs-3"},
	        {APPOINTMENT "'status':'proposed','start':'2026-11-23T09:00:00Z'}", "Appointment", "app-2"},
	        {APPOINTMENT "'status':'booked'}", "Appointment", "app-3"},
	        {APPOINTMENT "'status':'proposed','cancelationReason':{'text':'x'}}", "Appointment", "app-4"},
	        {"{'resourceType':'Appointment','status':'proposed','participant':[{'status':'accepted'}]}",
	         "Appointment.participant[0]", "app-1"},
	        {CONDITION CLINICAL("active") ",'abatementString':'x'}", "Condition", "con-4"},
	        {CONDITION CLINICAL("active") "," VERIFICATION("entered-in-error") "}", "Condition", "con-5"},
	        {CONDITION "'stage':[{'type':{'text':'x'}}]}", "Condition.stage[0]", "con-1"},
	        {CONDITION "'evidence':[{'extension':[{'url':'u','valueCode':'x'}]}]}", "Condition.evidence[0]",
	         "con-2"},
	        {"{'resourceType':'AllergyIntolerance','patient':{'reference':'Patient/1'}}", "AllergyIntolerance",
	         "ait-1"},
	        {"{'resourceType':'Organization','name':'x','telecom':[{'system':'phone','use':'home'}]}",
	         "Organization.telecom[0]", "org-3"},
	        {"{'resourceType':'CarePlan','status':'active','intent':'plan','subject':{'reference':'Patient/"
	         "1'},'activity':[{"
	         "'reference':{'reference':'Task/1'},'detail':{'status':'scheduled'}}]}",
	         "CarePlan.activity[0]", "cpl-3"},
	        {"{'resourceType':'CareTeam','participant':[{'member':{'reference':'Patient/"
	         "1'},'onBehalfOf':{'reference':"
	         "'Organization/1'}}]}",
	         "CareTeam.participant[0]", "ctm-1"},
	        {"{'resourceType':'Goal','lifecycleStatus':'active','description':{'text':'x'},'subject':{'reference':'"
	         "Patient/1'},"
	         "'target':[{'detailString':'x'}]}",
	         "Goal.target[0]", "gol-1"},
	        {"{'resourceType':'Group','type':'person','actual':false,'member':[{'entity':{'reference':'Patient/"
	         "1'}}]}",
	         "Group", "grp-1"},
	        {"{'resourceType':'List','status':'current','mode':'working','entry':[{'deleted':true,'item':{'"
	         "reference':'Task/1'}}]}",
	         "List", "lst-2"},
	        {"{'resourceType':'Parameters','parameter':[{'name':'x'}]}", "Parameters.parameter[0]", "inv-1"},
	        {"{'resourceType':'Questionnaire','status':'draft','item':[{'linkId':'1','type':'string'},{'linkId':'1'"
	         ",'type':'date'}]}",
	         "Questionnaire", "que-2"},
	        {"{'resourceType':'Questionnaire','status':'draft','item':[{'linkId':'1','type':'group'}]}",
	         "Questionnaire.item[0]", "que-1"},
	        {"{'resourceType':'QuestionnaireResponse','status':'completed','item':[{'linkId':'1','answer':[{'"
	         "valueString':'x'}],"
	         "'item':[{'linkId':'2'}]}]}",
	         "QuestionnaireResponse.item[0]", "qrs-1"},
	        {"{'resourceType':'ServiceRequest','status':'active','intent':'order','subject':{'reference':'Patient/"
	         "1'},'orderDetail':"
	         "[{'text':'x'}]}",
	         "ServiceRequest", "prr-1"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		refuses(cases[i][0], "invariant", cases[i][1], cases[i][2]);
	/* con-3 is a warning. */
	struct cl_issues issues =
	        validate(parse(CONDITION "'category':[{'coding':[{'code':'problem-list-item'}]}]}"), CL_STR_NONE);
	assert_int_equal(issues.errors, 0);
	assert_int_equal(issues.count, 1);
	assert_non_null(memmem(issues.items[0].diagnostics.p, issues.items[0].diagnostics.n, "con-3", 5));
}

static void bundles(void **state)
{
	(void)state;
#define GET "'request':{'method':'GET','url':'x'}"
#define PATIENT "'resource':{'resourceType':'Patient'}"
	static const char *const cases[][3] = {
	        {"{'resourceType':'Bundle','type':'collection','total':1}", "Bundle", "bdl-1"},
	        {"{'resourceType':'Bundle','type':'collection','entry':[{" PATIENT ",'search':{'mode':'match'}}]}",
	         "Bundle.entry[0]", "bdl-2"},
	        {"{'resourceType':'Bundle','type':'transaction','entry':[{" GET "},{" PATIENT "}]}", "Bundle.entry[1]",
	         "bdl-3"},
	        {"{'resourceType':'Bundle','type':'searchset','entry':[{" PATIENT "," GET "}]}", "Bundle.entry[0]",
	         "bdl-3"},
	        {"{'resourceType':'Bundle','type':'batch-response','entry':[{" PATIENT "}]}", "Bundle.entry[0]",
	         "bdl-4"},
	        {"{'resourceType':'Bundle','type':'collection','entry':[{'fullUrl':'http://x/Patient/1'}]}",
	         "Bundle.entry[0]", "bdl-5"},
	        {"{'resourceType':'Bundle','type':'collection','entry':[{'fullUrl':'urn:a'," PATIENT
	         "},{'fullUrl':'urn:b'," PATIENT "},{'fullUrl':'urn:a'," PATIENT "}]}",
	         "Bundle", "bdl-7"},
	        {"{'resourceType':'Bundle','type':'collection','entry':[{'fullUrl':'http://x/Patient/1/_history/"
	         "1'," PATIENT "}]}",
	         "Bundle.entry[0]", "bdl-8"},
	        {"{'resourceType':'Bundle','type':'message','entry':[{" PATIENT "}]}", "Bundle", "bdl-12"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		refuses(cases[i][0], "invariant", cases[i][1], cases[i][2]);
	accepts("{'resourceType':'Bundle','type':'collection','entry':[{'fullUrl':'urn:a','resource':{'resourceType':'"
	        "Patient','meta':{"
	        "'versionId':'1'}}},{'fullUrl':'urn:a','resource':{'resourceType':'Patient','meta':{'versionId':'2'}}}]"
	        "}");
	refuses("{'resourceType':'Bundle','type':'collection','entry':[{'resource':{'resourceType':'Patient','gender':'"
	        "x'}}]}",
	        "code-invalid", "Bundle.entry[0].resource.gender", "administrative-gender");
	refuses("{'resourceType':'Parameters','parameter':[{'name':'x','part':[{'name':'y','resource':{'resourceType':'"
	        "Patient',"
	        "'gender':'x'}}]}]}",
	        "code-invalid", "Parameters.parameter[0].part[0].resource.gender", "administrative-gender");
	/* An entry's contained resources are its own. */
	refuses("{'resourceType':'Bundle','type':'collection','entry':[{'resource':{'resourceType':'Patient','"
	        "contained':[{"
	        "'resourceType':'Organization','id':'a','name':'A'}],'managingOrganization':{'reference':'#a'}}},{'"
	        "resource':{"
	        "'resourceType':'Patient','managingOrganization':{'reference':'#a'}}}]}",
	        "invariant", "Bundle.entry[1].resource.managingOrganization.reference", "ref-1");
#undef GET
#undef PATIENT
}

static void places_and_limits(void **state)
{
	(void)state;
	struct cl_str source =
	        quotes("{\n  'resourceType': 'Patient',\n  'name': [\n    {'given': ['A',\n      '']}\n  ]\n}");
	struct cl_issues issues = validate(parse_text(source), source);
	assert_int_equal(issues.count, 1);
	assert_int_equal(issues.items[0].line, 5);
	assert_int_equal(issues.items[0].column, 7);

	/* Fifty are kept, all are counted. */
	struct cl_buf many;
	cl_buf_init(&many, 0);
	cl_buf_add_cstring(&many, "{\"resourceType\":\"Patient\",\"name\":[");
	for (int i = 0; i < 80; i++)
		cl_buf_printf(&many, "%s{\"given\":[\"\"]}", i ? "," : "");
	cl_buf_add_cstring(&many, "]}");
	issues = validate(parse_text(cl_buf_str(&many)), CL_STR_NONE);
	assert_int_equal(issues.count, 50);
	assert_int_equal(issues.errors, 80);
	assert_int_equal(issues.left_out, 30);

	/* Deeper than any reader allows: a tree made in memory. */
	struct cl_json *resource = parse("{'resourceType':'Questionnaire','status':'draft'}"), *at = resource;
	for (int i = 0; i < 150; i++) {
		struct cl_json *item = cl_json_append(arena, cl_json_set_array(arena, at, "item"));
		*item = *parse("{'type':'group'}");
		cl_json_set_text(arena, item, "linkId", cl_arena_printf(arena, "%d", i));
		at = item;
	}
	issues = validate(resource, CL_STR_NONE);
	assert_true(issues.errors >= 1);
	assert_string_equal(issues.items[0].code, "too-costly");

	/* A long unknown name is not repeated at length. */
	cl_buf_clear(&many);
	cl_buf_add_cstring(&many, "{\"resourceType\":\"Patient\",\"");
	for (int i = 0; i < 5000; i++)
		cl_buf_add_cstring(&many, "é");
	cl_buf_add_cstring(&many, "\":1}");
	issues = validate(parse_text(cl_buf_str(&many)), CL_STR_NONE);
	assert_int_equal(issues.count, 1);
	assert_true(issues.items[0].diagnostics.n < 400);
	cl_buf_free(&many);
}

/* Rules that compare many things with many must not take n times m steps. */
static void hostile_sizes(void **state)
{
	(void)state;
	struct cl_buf many;
	cl_buf_init(&many, 0);
	cl_buf_add_cstring(&many, "{\"resourceType\":\"Patient\",\"contained\":[");
	for (int i = 0; i < 20000; i++)
		cl_buf_printf(&many, "%s{\"resourceType\":\"Practitioner\",\"id\":\"p%d\"}", i ? "," : "", i);
	cl_buf_add_cstring(&many, "],\"generalPractitioner\":[");
	for (int i = 0; i < 20000; i++)
		cl_buf_printf(&many, "%s{\"reference\":\"#p%d\"}", i ? "," : "", i);
	cl_buf_add_cstring(&many, "]}");
	struct cl_issues issues = validate(parse_text(cl_buf_str(&many)), CL_STR_NONE);
	assert_int_equal(issues.count, 0);
	cl_buf_clear(&many);
	cl_buf_add_cstring(&many, "{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[");
	for (int i = 0; i < 20000; i++)
		cl_buf_printf(&many, "%s{\"fullUrl\":\"urn:x:%d\",\"resource\":{\"resourceType\":\"Patient\"}}",
		              i ? "," : "", i / 2);
	cl_buf_add_cstring(&many, "]}");
	issues = validate(parse_text(cl_buf_str(&many)), CL_STR_NONE);
	assert_int_equal(issues.errors, 10000);
	/* Many members beside many entries: nothing may be looked up once for each. */
	cl_buf_clear(&many);
	cl_buf_add_cstring(&many, "{\"resourceType\":\"Bundle\"");
	for (int i = 0; i < 200000; i++)
		cl_buf_printf(&many, ",\"x%d\":1", i);
	cl_buf_add_cstring(&many, ",\"type\":\"collection\",\"entry\":[{}");
	for (int i = 0; i < 200000; i++)
		cl_buf_add_cstring(&many, ",{}");
	cl_buf_add_cstring(&many, "]}");
	issues = validate(parse_text(cl_buf_str(&many)), CL_STR_NONE);
	assert_true(issues.errors > 400000);
	cl_buf_free(&many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(fixtures_are_valid, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(structure, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(cardinality, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(choices, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(primitives, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(companions, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(bindings, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(narratives, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(reference_rules, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(reference_targets, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(limits_are_said, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(contained_resources, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(data_type_rules, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(resource_rules, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(bundles, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(places_and_limits, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(hostile_sizes, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
