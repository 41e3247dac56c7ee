/* fhir_search_test.c: which trees queries become, and what is refused. */
#include "unit/fhir_support.h"
#include "base/utf8.h"
#include "org/fhir/search.h"

static struct cl_fhir_search_context context;

/* The tree as one line: and(token(status,code,|active), chain(patient,Patient,string(name,prefix,peter))) */
static void show(struct cl_buf *out, const struct cl_criterion *c)
{
	static const char *const matches[] = {"",       "code",     "system-code", "no-system-code", "system",
	                                      "prefix", "contains", "whole",       "exact"};
	static const char *const relations[] = {"", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"};
	static const char *const names[] = {"",        "true",      "false", "and",     "or",          "not",
	                                    "id",      "updated",   "token", "string",  "date",        "reference",
	                                    "number",  "quantity",  "uri",   "present", "compartment", "chain",
	                                    "reverse", "care-team", "group"};
	const struct cl_fhir_parameter *parameter = cl_fhir_parameter_by_number(c->parameter);
	cl_buf_printf(out, "%s(", names[c->kind]);
	if (parameter)
		cl_buf_add_str(out, cl_fhir_parameter_code(parameter));
	if (c->type)
		cl_buf_printf(out, ",%.*s", CL_STR_ARGS(cl_fhir_type_name(c->type)));
	if (c->match)
		cl_buf_printf(out, ",%s", matches[c->match]);
	if (c->relation)
		cl_buf_printf(out, ",%s", relations[c->relation]);
	switch (c->kind) {
	case CL_DATE:
	case CL_UPDATED:
		cl_buf_printf(out, ",%.*s,%.*s", CL_STR_ARGS(cl_instant_text(arena, c->lower)),
		              CL_STR_ARGS(cl_instant_text(arena, c->upper)));
		break;
	case CL_NUMBER:
	case CL_QUANTITY:
		cl_buf_printf(out, ",%.6g,%.6g", c->low, c->high);
		break;
	default:
		break;
	}
	if (c->a.n || c->b.n)
		cl_buf_printf(out, ",%.*s|%.*s", CL_STR_ARGS(c->a), CL_STR_ARGS(c->b));
	for (size_t i = 0; i < c->child_count; i++) {
		if (i || parameter)
			cl_buf_add_byte(out, ',');
		show(out, &c->children[i]);
	}
	cl_buf_add_byte(out, ')');
}

static struct cl_fhir_search search(uint16_t type, const char *query)
{
	struct cl_fhir_search result;
	context.type = type;
	if (cl_fhir_search_parse(arena, &context, cl_str_of(query), &result, &error))
		fail_msg("%s: %s", query, error.message);
	return result;
}

static void becomes(uint16_t type, const char *query, const char *expected)
{
	struct cl_fhir_search result = search(type, query);
	struct cl_buf out;
	cl_buf_init(&out, 0);
	if (result.query.where)
		show(&out, result.query.where);
	struct cl_str text = cl_arena_copy(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	if (!cl_str_is(text, expected))
		fail_msg("%s\nexpected %s\nfound    %.*s", query, expected, CL_STR_ARGS(text));
}

static void refuses(uint16_t type, const char *query, const char *where, const char *piece)
{
	struct cl_fhir_search result;
	context.type = type;
	int code = cl_fhir_search_parse(arena, &context, cl_str_of(query), &result, &error);
	if (code != CL_E_INVALID || strcmp(error.where, where) != 0 || !strstr(error.message, piece))
		fail_msg("%s gave %d at \"%s\": %s", query, code, error.where, error.message);
}

static int set_up_search(void **state)
{
	context = (struct cl_fhir_search_context){.base = CL_STR("https://here.example/fhir"),
	                                          .now = (cl_instant)1795305600 * CL_SECOND}; /* 2026-11-22T00:00:00Z */
	return set_up(state);
}

static void tokens(void **state)
{
	(void)state;
	becomes(CL_TYPE_PATIENT, "", "");
	becomes(CL_TYPE_PATIENT, "identifier=abc", "token(identifier,code,|abc)");
	becomes(CL_TYPE_PATIENT, "identifier=http%3A%2F%2Fmrn%7C17", "token(identifier,system-code,http://mrn|17)");
	becomes(CL_TYPE_PATIENT, "identifier=%7C17", "token(identifier,no-system-code,|17)");
	becomes(CL_TYPE_PATIENT, "identifier=http://mrn|", "token(identifier,system,http://mrn|)");
	becomes(CL_TYPE_PATIENT, "identifier=s|a,s|b",
	        "or(token(identifier,system-code,s|a),token(identifier,system-code,s|b))");
	becomes(CL_TYPE_PATIENT, "identifier=s|MRN\\|17\\,4\\\\\\$", "token(identifier,system-code,s|MRN|17,4\\$)");
	becomes(CL_TYPE_PATIENT, "identifier=a\\b", "token(identifier,code,|a\\b)");
	becomes(CL_TYPE_TASK, "status:not=completed,failed",
	        "not(or(token(status,code,|completed),token(status,code,|failed)))");
	becomes(CL_TYPE_PATIENT, "gender:missing=true", "not(present(gender))");
	becomes(CL_TYPE_PATIENT, "gender:missing=false", "present(gender)");
	becomes(CL_TYPE_PATIENT, "gender=male&active=true", "and(token(gender,code,|male),token(active,code,|true))");
	/* The one system of a code element is implied. */
	becomes(CL_TYPE_PATIENT, "gender=http://hl7.org/fhir/administrative-gender|male", "token(gender,code,|male)");
	becomes(CL_TYPE_PATIENT, "gender=|male", "token(gender,code,|male)");
	becomes(CL_TYPE_PATIENT, "gender=http://hl7.org/fhir/administrative-gender|", "present(gender,code)");
	becomes(CL_TYPE_PATIENT, "gender=http://else|male", "false(gender,code,|male)");
	becomes(CL_TYPE_PATIENT, "_tag=pilot&_security=R&_profile=http://p",
	        "and(token(_tag,code,|pilot),token(_security,code,|R),uri(_profile,whole,http://p|))");
	becomes(CL_TYPE_PATIENT, "_id=a,b", "or(id(,|a),id(,|b))");
	refuses(CL_TYPE_PATIENT, "identifier=", "identifier", "it is empty");
	refuses(CL_TYPE_PATIENT, "identifier=a,,b", "identifier", "it is empty");
	refuses(CL_TYPE_PATIENT, "gender:missing=maybe", "gender:missing", "true or false");
	refuses(CL_TYPE_PATIENT, "_id=a_b", "_id", "no FHIR id");
	becomes(CL_TYPE_PATIENT, "_id:not=a", "not(id(,|a))");
	becomes(CL_TYPE_PATIENT, "_id:missing=true", "false()");
	refuses(CL_TYPE_PATIENT, "_id:exact=a", "_id:exact", ":missing and :not");
	becomes(CL_TYPE_OBSERVATION, "code:text=Body Weight", "string(code,prefix,body weight|)");
	becomes(CL_TYPE_PATIENT, "identifier:of-type=http://t|MR|17\\|4",
	        "group(identifier,token(,system-code,http://t|MR),token(identifier,code,|17|4))");
	becomes(CL_TYPE_PATIENT, "identifier:of-type=|MR|17",
	        "group(identifier,token(,code,|MR),token(identifier,code,|17))");
	refuses(CL_TYPE_PATIENT, "identifier:of-type=MR|17", "identifier", "system|code|value");
	refuses(CL_TYPE_PATIENT, "gender:of-type=a|b|c", "gender:of-type", "only identifiers");
}

static void composites(void **state)
{
	(void)state;
	becomes(CL_TYPE_OBSERVATION, "code-value-quantity=http://loinc.org|8480-6$gt140",
	        "and(code-value-quantity,token(code,system-code,http://loinc.org|8480-6),"
	        "quantity(value-quantity,gt,140,140))");
	becomes(CL_TYPE_OBSERVATION, "component-code-value-quantity=8480-6$ge140||mm[Hg],8462-4$lt9",
	        "or(group(component-code-value-quantity,token(component-code,code,|8480-6),"
	        "quantity(component-value-quantity,ge,140,140,|mm[Hg])),"
	        "group(component-code-value-quantity,token(component-code,code,|8462-4),"
	        "quantity(component-value-quantity,lt,9,9)))");
	becomes(CL_TYPE_OBSERVATION, "combo-code-value-concept=a\\$b$c",
	        "group(combo-code-value-concept,token(combo-code,code,|a$b),token(combo-value-concept,code,|c))");
	becomes(CL_TYPE_OBSERVATION, "code-value-date:missing=true", "not(and(present(code),present(value-date)))");
	becomes(CL_TYPE_OBSERVATION, "combo-code-value-quantity:missing=false", "present(combo-code-value-quantity)");
	becomes(CL_TYPE_DOCUMENT_REFERENCE, "relationship=DocumentReference/a$replaces",
	        "group(relationship,reference(relatesto,DocumentReference|a),token(relation,code,|replaces))");
	refuses(CL_TYPE_OBSERVATION, "code-value-quantity=a$b", "value-quantity", "use a number");
	refuses(CL_TYPE_PATIENT, "gender:above=male", "gender:above", ":above is not supported");
	refuses(CL_TYPE_PATIENT, "gender:=male", "gender:", "must follow the colon");
}

static void strings_and_uris(void **state)
{
	(void)state;
	becomes(CL_TYPE_PATIENT, "name=%C3%91and%C3%BA", "string(name,prefix,nandu|)");
	becomes(CL_TYPE_PATIENT, "name:contains=and+u", "string(name,contains,and u|)");
	becomes(CL_TYPE_PATIENT, "name:exact=Peter", "string(name,exact,Peter|peter)");
	becomes(CL_TYPE_PATIENT, "name=Smith\\, Jr", "string(name,prefix,smith, jr|)");
	becomes(CL_TYPE_PATIENT, "family=a&given=b,c",
	        "and(string(family,prefix,a|),or(string(given,prefix,b|),string(given,prefix,c|)))");
	becomes(CL_TYPE_LIBRARY, "url=http://a/b", "uri(url,whole,http://a/b|)");
	becomes(CL_TYPE_LIBRARY, "url:below=http://a", "uri(url,prefix,http://a|)");
	refuses(CL_TYPE_PATIENT, "name=%20", "name", "no letters");
	refuses(CL_TYPE_PATIENT, "name:text=x", "name:text", ":missing exact contains");
}

static void dates(void **state)
{
	(void)state;
	becomes(CL_TYPE_PATIENT, "birthdate=1984-03",
	        "date(birthdate,eq,1984-03-01T00:00:00.000Z,1984-04-01T00:00:00.000Z)");
	static const char *const prefixes[] = {"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++) {
		char query[64], expected[128];
		snprintf(query, sizeof query, "date=%s2026-11-22", prefixes[i]);
		snprintf(expected, sizeof expected, "date(date,%s,2026-11-22T00:00:00.000Z,2026-11-23T00:00:00.000Z)",
		         prefixes[i]);
		becomes(CL_TYPE_OBSERVATION, query, expected);
	}
	becomes(CL_TYPE_OBSERVATION, "date=ap2026-11-12",
	        "date(date,ap,2026-11-11T00:00:00.000Z,2026-11-14T00:00:00.000Z)");
	becomes(CL_TYPE_OBSERVATION, "date=ge2026-11-22T10:00%2B02:00",
	        "date(date,ge,2026-11-22T08:00:00.000Z,2026-11-22T08:01:00.000Z)");
	becomes(CL_TYPE_OBSERVATION, "date=ge2026-11-22T10:00:00+02:00",
	        "date(date,ge,2026-11-22T08:00:00.000Z,2026-11-22T08:00:01.000Z)");
	becomes(CL_TYPE_OBSERVATION, "_lastUpdated=gt2026&_lastUpdated=lt2027",
	        "and(updated(,gt,2026-01-01T00:00:00.000Z,2027-01-01T00:00:00.000Z),updated(,lt,2027-01-01T00:00:00."
	        "000Z,"
	        "2028-01-01T00:00:00.000Z))");
	refuses(CL_TYPE_OBSERVATION, "date=yesterday", "date", "use a date like");
	refuses(CL_TYPE_OBSERVATION, "date=gt", "date", "use a date like");
	refuses(CL_TYPE_OBSERVATION, "date=2026-13-01", "date", "use a date like");
	refuses(CL_TYPE_OBSERVATION, "date:exact=2026", "date:exact", "A date parameter takes :missing");
}

static void numbers(void **state)
{
	(void)state;
	becomes(CL_TYPE_RISK_ASSESSMENT, "probability=0.5", "number(probability,eq,0.45,0.55)");
	becomes(CL_TYPE_RISK_ASSESSMENT, "probability=gt0.5", "number(probability,gt,0.5,0.5)");
	becomes(CL_TYPE_RISK_ASSESSMENT, "probability=ap-10", "number(probability,ap,-11,-9)");
	becomes(CL_TYPE_OBSERVATION, "value-quantity=5.40", "quantity(value-quantity,eq,5.395,5.405)");
	becomes(CL_TYPE_OBSERVATION, "value-quantity=le5.4|http://unitsofmeasure.org|mg",
	        "quantity(value-quantity,le,5.4,5.4,http://unitsofmeasure.org|mg)");
	becomes(CL_TYPE_OBSERVATION, "value-quantity=5.4||mg", "quantity(value-quantity,eq,5.35,5.45,|mg)");
	refuses(CL_TYPE_RISK_ASSESSMENT, "probability=half", "probability", "use a number");
	refuses(CL_TYPE_RISK_ASSESSMENT, "probability=1e99999", "probability", "use a number");
	refuses(CL_TYPE_OBSERVATION, "value-quantity=5|http://x", "value-quantity", "number|system|code");
}

static void references(void **state)
{
	(void)state;
	becomes(CL_TYPE_TASK, "patient=1", "reference(patient,Patient|1)");
	becomes(CL_TYPE_TASK, "subject=1", "reference(subject,|1)");
	becomes(CL_TYPE_TASK, "subject=Patient/1", "reference(subject,Patient|1)");
	becomes(CL_TYPE_TASK, "subject:Patient=1", "reference(subject,Patient|1)");
	becomes(CL_TYPE_TASK, "subject:Patient=Group/1", "false(subject)");
	becomes(CL_TYPE_TASK, "subject=https://here.example/fhir/Patient/1", "reference(subject,Patient|1)");
	becomes(CL_TYPE_TASK, "subject=https://there.example/fhir/Patient/1",
	        "reference(subject,|https://there.example/fhir/Patient/1)");
	becomes(CL_TYPE_TASK, "subject=urn:uuid:1", "reference(subject,|urn:uuid:1)");
	becomes(CL_TYPE_TASK, "owner:identifier=s|v", "token(owner,system-code,s|v)");
	becomes(CL_TYPE_TASK, "owner:missing=true", "not(present(owner))");
	becomes(CL_TYPE_TASK, "subject=Patient/1,Patient/2",
	        "or(reference(subject,Patient|1),reference(subject,Patient|2))");
	refuses(CL_TYPE_TASK, "subject=Pat/1", "subject", "use Type/id");
	refuses(CL_TYPE_TASK, "subject:Pat=1", "subject:Pat", "modifier :Pat is not supported");
}

static void chains(void **state)
{
	(void)state;
	becomes(CL_TYPE_TASK, "patient.identifier=s|1", "chain(patient,Patient,token(identifier,system-code,s|1))");
	becomes(CL_TYPE_TASK, "subject:Patient.name=peter", "chain(subject,Patient,string(name,prefix,peter|))");
	becomes(CL_TYPE_TASK, "patient._id=1", "chain(patient,Patient,id(,|1))");
	becomes(CL_TYPE_TASK, "patient.name:exact=X", "chain(patient,Patient,string(name,exact,X|x))");
	becomes(CL_TYPE_PATIENT, "general-practitioner.name=lee",
	        "or(chain(general-practitioner,Organization,string(name,prefix,lee|)),chain(general-practitioner,"
	        "Practitioner,"
	        "string(name,prefix,lee|)))");
	becomes(CL_TYPE_PATIENT, "_has:Observation:patient:code=1234-5",
	        "reverse(patient,Observation,token(code,code,|1234-5))");
	becomes(CL_TYPE_PATIENT, "_has:Task:subject:status:not=failed",
	        "reverse(subject,Task,not(token(status,code,|failed)))");
	refuses(CL_TYPE_TASK, "status.name=x", "status.name", "only a reference");
	refuses(CL_TYPE_TASK, "subject.name=x", "subject.name", "say which type");
	becomes(CL_TYPE_TASK, "patient.organization.name=x",
	        "chain(patient,Patient,chain(organization,Organization,string(name,prefix,x|)))");
	refuses(CL_TYPE_TASK, "patient.organization.partof.name=x", "partof.name", "2 deep");
	refuses(CL_TYPE_TASK, "patient:Group.name=x", "patient:Group.name", "never refers to the type Group");
	refuses(CL_TYPE_TASK, "patient:Pat.name=x", "patient:Pat.name", "no FHIR R4 resource type");
	refuses(CL_TYPE_TASK, "patient.nme=x", "nme",
	        "Patient has no search parameter \"nme\"; did you mean \"name\"?");
	refuses(CL_TYPE_PATIENT, "general-practitioner.status=x", "general-practitioner.status", "none of the types");
	refuses(CL_TYPE_PATIENT, "_has:Observation:patient=1", "_has:Observation:patient",
	        "write _has:Type:reference:parameter");
	refuses(CL_TYPE_PATIENT, "_has:Obs:patient:code=1", "_has:Obs:patient:code", "no FHIR R4 resource type");
	refuses(CL_TYPE_PATIENT, "_has:Observation:code:code=1", "_has:Observation:code:code",
	        "no reference parameter");
	refuses(CL_TYPE_ORGANIZATION, "_has:Observation:patient:code=1", "_has:Observation:patient:code",
	        "never refers to the type Organization");
	becomes(CL_TYPE_PATIENT, "_has:Observation:patient:_has:Task:focus:status=x",
	        "reverse(patient,Observation,reverse(focus,Task,token(status,code,|x)))");
	becomes(CL_TYPE_PATIENT, "_has:Observation:patient:encounter:Encounter.status=x",
	        "reverse(patient,Observation,chain(encounter,Encounter,token(status,code,|x)))");
	becomes(CL_TYPE_TASK, "patient._has:Condition:patient:code=x",
	        "chain(patient,Patient,reverse(patient,Condition,token(code,code,|x)))");
	becomes(CL_TYPE_OBSERVATION, "subject._has:Flag:author:identifier=x",
	        "or(chain(subject,Device,reverse(author,Flag,token(identifier,code,|x))),"
	        "chain(subject,Patient,reverse(author,Flag,token(identifier,code,|x))))");
	refuses(CL_TYPE_PATIENT, "_has:Observation:patient:_has:Task:focus:patient.name=x", "patient.name", "2 deep");
	refuses(CL_TYPE_PATIENT, "_has=x", "_has", "no search parameter");
}

static void result_parameters(void **state)
{
	(void)state;
	struct cl_fhir_search s =
	        search(CL_TYPE_TASK, "_count=20&_sort=-authored-on,status,_id,-_lastUpdated&_total=accurate");
	assert_int_equal(s.query.limit, 20);
	assert_true(s.query.want_total);
	assert_int_equal(s.query.sort_count, 4);
	assert_int_equal(s.query.sorts[0].kind, CL_INDEX_DATE);
	assert_true(s.query.sorts[0].descending);
	assert_int_equal(s.query.sorts[1].kind, CL_INDEX_TOKEN);
	assert_true(s.query.sorts[2].by_id);
	assert_true(!s.query.sorts[3].by_id && s.query.sorts[3].parameter == 0 && s.query.sorts[3].descending);
	s = search(CL_TYPE_TASK, "");
	assert_int_equal(s.query.limit, CL_FHIR_COUNT_DEFAULT);
	assert_null(s.query.where);
	s = search(CL_TYPE_TASK, "_count=99999");
	assert_int_equal(s.query.limit, 1000);
	assert_text(s.self, "_count=1000");
	s = search(CL_TYPE_TASK, "_summary=count");
	assert_true(s.summary == CL_SUMMARY_COUNT && s.query.want_total && s.query.limit == 0);
	s = search(CL_TYPE_TASK, "_count=0&_summary=true");
	assert_true(s.summary == CL_SUMMARY_COUNT);
	s = search(CL_TYPE_TASK, "_elements=status,for,input&_summary=data");
	assert_int_equal(s.element_count, 3);
	assert_text(s.elements[1], "for");
	assert_int_equal(s.summary, CL_SUMMARY_DATA);
	s = search(CL_TYPE_OBSERVATION, "_elements=value");
	assert_text(s.elements[0], "value");
	s = search(CL_TYPE_TASK,
	           "_include=Task:patient&_include:iterate=Patient:organization&_revinclude=Provenance:target:Task&"
	           "_include=Task:*&_include=*");
	assert_int_equal(s.include_count, 5);
	assert_int_equal(s.includes[0].source, CL_TYPE_TASK);
	assert_int_equal(s.includes[0].parameter, cl_fhir_search_parameter(CL_TYPE_TASK, CL_STR("patient"))->number);
	assert_true(s.includes[1].iterate && !s.includes[1].reverse);
	assert_true(s.includes[2].reverse && s.includes[2].target == CL_TYPE_TASK &&
	            s.includes[2].source == CL_TYPE_PROVENANCE);
	assert_true(s.includes[3].parameter == 0 && s.includes[3].source == CL_TYPE_TASK);
	assert_true(s.includes[4].parameter == 0 && s.includes[4].source == 0);
	s = search(CL_TYPE_TASK, "status=a%20b&_page=abc&_format=json&&_pretty=true");
	assert_text(s.page, "abc");
	assert_text(s.self, "status=a%20b&_format=json&_pretty=true");

	refuses(CL_TYPE_TASK, "_count=-1", "_count", "0 to 1000");
	refuses(CL_TYPE_TASK, "_count=10&_count=20", "_count", "given once");
	refuses(CL_TYPE_TASK, "_sort=when", "when", "no search parameter");
	refuses(CL_TYPE_TASK, "_sort=owner", "_sort", "only date, string");
	refuses(CL_TYPE_TASK, "_sort=", "_sort", "name a parameter");
	refuses(CL_TYPE_TASK, "_total=some", "_total", "none, estimate or accurate");
	refuses(CL_TYPE_TASK, "_summary=maybe", "_summary", "true, text");
	refuses(CL_TYPE_TASK, "_elements=status.x", "_elements", "first level");
	refuses(CL_TYPE_TASK, "_include=Patient:organization", "_include", "use :iterate");
	refuses(CL_TYPE_TASK, "_include=Task:status", "_include", "only reference parameters");
	refuses(CL_TYPE_TASK, "_include=Task:patiet", "patiet", "did you mean \"patient\"?");
	refuses(CL_TYPE_TASK, "_include=Task:patient:Nobody", "_include", "last part");
	refuses(CL_TYPE_TASK, "_include=Task:patient:Patient:x", "_include", "write Type:parameter");
	refuses(CL_TYPE_TASK, "_include:all=Task:patient", "_include:all", "only modifier is :iterate");
	refuses(CL_TYPE_TASK, "_revinclude=*", "_revinclude", "read everything");
}

static void unknown_parameters(void **state)
{
	(void)state;
	/* What a message quotes may be cut within a character; the message is whole all the same. */
	char query[200] = "birthdate=";
	for (int i = 0; i < 40; i++)
		strcat(query, i ? "\xef\xbb\xbf" : "x");
	refuses(CL_TYPE_PATIENT, query, "birthdate", "cannot have the value");
	assert_true(cl_utf8_valid(cl_str_of(error.message)));
	refuses(CL_TYPE_PATIENT, "brthdate=1984", "brthdate",
	        "Patient has no search parameter \"brthdate\"; did you mean \"birthdate\"?");
	refuses(CL_TYPE_PATIENT, "colour=red", "colour", "Known: active, address, address-city");
	refuses(CL_TYPE_PATIENT, "_text=x", "_text", "no search parameter");
	refuses(CL_TYPE_OBSERVATION, "code-value-quantity=a", "code-value-quantity", "2 values joined by $");
	refuses(CL_TYPE_OBSERVATION, "code-value-quantity=a$1$2", "code-value-quantity", "2 values joined by $");
	refuses(CL_TYPE_OBSERVATION, "code-value-quantity:not=a$1", "code-value-quantity:not", "takes :missing");
	refuses(CL_TYPE_LOCATION, "near=1|2", "near", "special parameters are not supported");
	refuses(CL_TYPE_PATIENT, "phonetic=x", "phonetic", "special parameters are not supported");
	/* Lenient: what is not known is left out and said; what is wrong is still refused. */
	context.lenient = true;
	struct cl_fhir_search s =
	        search(CL_TYPE_PATIENT,
	               "colour=red&gender=male&name:text=x&_include=Patient:x&_elements=active,wings&_sort=size");
	assert_int_equal(s.ignored_count, 4);
	assert_text(s.ignored[0], "colour=red");
	assert_text(s.self, "gender=male&_elements=active,wings");
	assert_int_equal(s.element_count, 1);
	assert_int_equal(s.query.sort_count, 0);
	refuses(CL_TYPE_PATIENT, "birthdate=soon", "birthdate", "use a date");
	refuses(CL_TYPE_PATIENT, "_count=many", "_count", "whole number");
}

static void broken_queries(void **state)
{
	(void)state;
	static const char *const broken[] = {"name=%",   "name=%4", "name=%zz", "name=%00",
	                                     "name=%ff", "%ff=x",   "name=%c3"};
	struct cl_fhir_search result;
	context.type = CL_TYPE_PATIENT;
	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++)
		assert_int_equal(cl_fhir_search_parse(arena, &context, cl_str_of(broken[i]), &result, &error),
		                 CL_E_INVALID);
	struct cl_buf many;
	cl_buf_init(&many, 0);
	cl_buf_add_cstring(&many, "_id=a");
	for (int i = 0; i < 1999; i++)
		cl_buf_add_cstring(&many, ",a");
	assert_int_equal(cl_fhir_search_parse(arena, &context, cl_buf_str(&many), &result, &error), 0);
	cl_buf_add_cstring(&many, ",a");
	assert_int_equal(cl_fhir_search_parse(arena, &context, cl_buf_str(&many), &result, &error), CL_E_LIMIT);
	cl_buf_clear(&many);
	for (int i = 0; i < 501; i++)
		cl_buf_add_cstring(&many, "&active=true");
	assert_int_equal(cl_fhir_search_parse(arena, &context, cl_buf_str(&many), &result, &error), CL_E_LIMIT);
	cl_buf_free(&many);
	context.type = 0;
	assert_int_equal(cl_fhir_search_parse(arena, &context, CL_STR("a=b"), &result, &error), CL_E_INTERNAL);
}

static void one_criterion(void **state)
{
	(void)state;
	struct cl_criterion criterion;
	context.type = CL_TYPE_TASK;
	assert_int_equal(cl_fhir_search_criterion(arena, &context, CL_STR("patient.identifier"), CL_STR("s|1"),
	                                          &criterion, &error),
	                 0);
	assert_int_equal(criterion.kind, CL_CHAIN);
	assert_int_equal(cl_fhir_search_criterion(arena, &context, CL_STR("nothing"), CL_STR("x"), &criterion, &error),
	                 CL_E_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(tokens, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(composites, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(strings_and_uris, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(dates, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(numbers, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(references, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(chains, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(result_parameters, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(unknown_parameters, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(broken_queries, set_up_search, tear_down),
	        cmocka_unit_test_setup_teardown(one_criterion, set_up_search, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
