/* engine_bundle_test.c: what a batch and a transaction do, in which order, and what they refuse (FHIR R4 http.html section
 * 3.1.0.11). */
#include "engine_support.h"
#include "base/json.h"

static struct cl_json *post(struct fixture *f, const char *bundle, int status)
{
	return parse(f, send(f, "POST", "/fhir", q(f, bundle), status).body);
}

static struct cl_str at(const struct cl_json *answer, const char *entry, const char *part, const char *member)
{
	return cl_json_text(cl_json_path(answer, "entry", entry, part, member, NULL));
}

static void expect_status(const struct cl_json *answer, const char *entry, const char *status)
{
	if (!cl_str_is(status_of(answer, entry), status))
		fail_msg("entry %s: %.*s instead of %s", entry, CL_STR_ARGS(status_of(answer, entry)), status);
}

#define TRANSACTION(entries) "{'resourceType':'Bundle','type':'transaction','entry':[" entries "]}"
#define BATCH(entries) "{'resourceType':'Bundle','type':'batch','entry':[" entries "]}"
#define PATIENT(id, more) "{'resourceType':'Patient','id':'" id "'" more "}"
/* [{"op":"replace","path":"/active","value":false}] */
#define PATCH                                                                                                          \
	"{'resourceType':'Binary','contentType':'application/json-patch+json',"                                        \
	"'data':'W3sib3AiOiJyZXBsYWNlIiwicGF0aCI6Ii9hY3RpdmUiLCJ2YWx1ZSI6ZmFsc2V9XQ=='}"

/* Sent in the opposite order of what happens. */
static void entries_run_in_the_standard_s_order(void **state)
{
	struct fixture *f = *state;
	send(f, "PUT", "/fhir/Patient/old", q(f, PATIENT("old", ",'active':true")), 201);
	send(f, "PUT", "/fhir/Patient/kept", q(f, PATIENT("kept", ",'active':true")), 201);
	struct cl_json *answer = post(
	        f,
	        TRANSACTION("{'request':{'method':'GET','url':'Patient?_summary=count'}},"
	                    "{'request':{'method':'HEAD','url':'Patient/kept'}},"
	                    "{'resource':" PATCH ",'request':{'method':'PATCH','url':'Patient/kept'}},"
	                    "{'resource':" PATIENT("new", "") ",'request':{'method':'PUT','url':'Patient/new'}},"
	                                                      "{'resource':{'resourceType':'Patient'},'request':{'"
	                                                      "method':'POST','url':'Patient'}},"
	                                                      "{'request':{'method':'DELETE','url':'Patient/old'}}"),
	        200);
	static const char *const statuses[] = {"200", "200", "200", "201", "201", "204"};
	for (int i = 0; i < 6; i++) {
		char entry[4];
		snprintf(entry, sizeof entry, "%d", i);
		expect_status(answer, entry, statuses[i]);
	}
	/* The read saw what all the others did: kept, new and the one without a name, not old. */
	int64_t count = 0;
	assert_true(cl_json_integer(cl_json_path(answer, "entry", "0", "resource", "total", NULL), &count));
	assert_int_equal(count, 3);
	assert_null(cl_json_path(answer, "entry", "1", "resource", NULL));
	assert_true(cl_str_is(at(answer, "1", "response", "etag"), "W/\"2\""));
	assert_true(cl_json_get(cl_json_path(answer, "entry", "2", "resource", NULL), "active")->kind == CL_JSON_FALSE);
	assert_true(cl_str_is(at(answer, "3", "response", "lastModified"), "2026-11-02T15:00:00.000Z"));
	assert_true(memmem(at(answer, "3", "response", "location").p, at(answer, "3", "response", "location").n,
	                   "/Patient/new/_history/1", 23) != NULL);
	assert_true(cl_str_is(at(answer, "5", "response", "etag"), "W/\"2\""));
}

static void conditions_name_what_references_lead_to(void **state)
{
	struct fixture *f = *state;
	static const char bundle[] = TRANSACTION(
	        "{'fullUrl':'urn:uuid:found','resource':{'resourceType':'Patient','identifier':[{'value':'v'}],'active'"
	        ":false},"
	        "'request':{'method':'PUT','url':'Patient?identifier=v'}},"
	        "{'fullUrl':'urn:uuid:made','resource':{'resourceType':'Patient','identifier':[{'value':'w'}]},"
	        "'request':{'method':'PUT','url':'Patient?identifier=w'}},"
	        "{'resource':{'resourceType':'Basic','code':{'text':'x'},'subject':{'reference':'urn:uuid:found'}},"
	        "'request':{'method':'POST','url':'Basic'}},"
	        "{'resource':{'resourceType':'Basic','code':{'text':'x'},'subject':{'reference':'urn:uuid:made'}},"
	        "'request':{'method':'POST','url':'Basic'}},"
	        "{'resource':{'resourceType':'Basic','code':{'text':'x'},'subject':{'reference':'Patient?identifier="
	        "other'}},"
	        "'request':{'method':'POST','url':'Basic'}},"
	        "{'request':{'method':'DELETE','url':'Patient?identifier=gone'}},"
	        "{'request':{'method':'DELETE','url':'Patient?identifier=nobody'}}");
	send(f, "PUT", "/fhir/Patient/p", q(f, PATIENT("p", ",'identifier':[{'value':'v'}]")), 201);
	send(f, "PUT", "/fhir/Patient/o", q(f, PATIENT("o", ",'identifier':[{'value':'other'}]")), 201);
	send(f, "PUT", "/fhir/Patient/g", q(f, PATIENT("g", ",'identifier':[{'value':'gone'}]")), 201);
	struct cl_json *answer = post(f, bundle, 200);
	expect_status(answer, "0", "200");
	expect_status(answer, "1", "201");
	expect_status(answer, "5", "204");
	expect_status(answer, "6", "204");
	assert_true(
	        cl_str_is(cl_json_text(cl_json_path(answer, "entry", "2", "resource", "subject", "reference", NULL)),
	                  "Patient/p"));
	struct cl_str made = at(answer, "1", "resource", "id");
	struct cl_str to = cl_json_text(cl_json_path(answer, "entry", "3", "resource", "subject", "reference", NULL));
	assert_true(to.n == 8 + made.n && !memcmp(to.p + 8, made.p, made.n));
	assert_true(
	        cl_str_is(cl_json_text(cl_json_path(answer, "entry", "4", "resource", "subject", "reference", NULL)),
	                  "Patient/o"));
	send(f, "GET", "/fhir/Patient/g", "", 410);
	/* Again: it is the same, and the second is found now. */
	answer = post(f, bundle, 200);
	expect_status(answer, "1", "200");
	assert_int_equal(total(f, "Patient"), 3);
}

/* Each is refused as a whole and changes nothing. */
static void what_a_transaction_refuses(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *bundle;
		int status;
		const char *words;
	} cases[] = {
	        /* One identity twice, also by a condition. */
	        {TRANSACTION("{'resource':" PATIENT("p", "") ",'request':{'method':'PUT','url':'Patient/p'}},"
	                                                     "{'resource':{'resourceType':'Patient'},'request':{'"
	                                                     "method':'PUT','url':'Patient?identifier=v'}}"),
	         400, "Bundle.entry[1].request.url"},
	        {TRANSACTION("{'request':{'method':'DELETE','url':'Patient?identifier=v'}},"
	                     "{'resource':" PATCH ",'request':{'method':'PATCH','url':'Patient/p'}}"),
	         400, "same resource"},
	        {TRANSACTION("{'resource':{'resourceType':'Patient','identifier':[{'value':'n'}]},'request':{'method':'"
	                     "POST','url':'Patient'}},"
	                     "{'resource':{'resourceType':'Patient','identifier':[{'value':'n'}]},'request':{'method':'"
	                     "PUT','url':'Patient?identifier=n'}}"),
	         412, "Bundle.entry[1]"},
	        {TRANSACTION("{'request':{'method':'DELETE','url':'Patient?active=true'}}"), 412,
	         "Bundle.entry[0].request.url"},
	        {TRANSACTION("{'request':{'method':'DELETE','url':'Patient?shoe=1'}}"), 400,
	         "Bundle.entry[0].request.url"},
	        {TRANSACTION("{'request':{'method':'DELETE','url':'Patient'}}"), 405, "Bundle.entry[0].request.url"},
	        /* References. */
	        {TRANSACTION("{'resource':{'resourceType':'Basic','code':{'text':'x'},'subject':{'reference':'urn:uuid:"
	                     "none'}},"
	                     "'request':{'method':'POST','url':'Basic'}}"),
	         422, "Bundle.entry[0].resource"},
	        {TRANSACTION("{'resource':{'resourceType':'Basic','code':{'text':'x'},'subject':{'reference':'Patient?"
	                     "identifier=none'}},"
	                     "'request':{'method':'POST','url':'Basic'}}"),
	         412, "matches no resource"},
	        {TRANSACTION("{'resource':{'resourceType':'Basic','code':{'text':'x'},'subject':{'reference':'Patient?"
	                     "active=true'}},"
	                     "'request':{'method':'POST','url':'Basic'}}"),
	         412, "more than one"},
	        /* fullUrl. */
	        {TRANSACTION("{'fullUrl':'urn:uuid:a','resource':{'resourceType':'Patient'},'request':{'method':'POST',"
	                     "'url':'Patient'}},"
	                     "{'fullUrl':'urn:uuid:a','resource':{'resourceType':'Patient'},'request':{'method':'POST',"
	                     "'url':'Patient'}}"),
	         400, "Bundle.entry[1].fullUrl"},
	        {TRANSACTION(
	                 "{'fullUrl':'https://a.example/Patient/1/_history/2','resource':{'resourceType':'Patient'},"
	                 "'request':{'method':'POST','url':'Patient'}}"),
	         422, "Bundle.entry[0].fullUrl"},
	        {TRANSACTION("{'fullUrl':'https://a.example/Patient/1','resource':" PATIENT(
	                 "2", "") ",'request':{'method':'PUT','url':'Patient/2'}}"),
	         422, "Bundle.entry[0].fullUrl"},
	        {TRANSACTION("{'fullUrl':'https://a.example/Group/"
	                     "1','resource':{'resourceType':'Patient'},'request':{'method':'POST','url':'Patient'}}"),
	         422, "Bundle.entry[0].fullUrl"},
	        /* A misspelled condition is no write without one. */
	        {TRANSACTION(
	                 "{'resource':" PATIENT("p", "") ",'request':{'method':'PUT','url':'Patient/p','ifMach':'x'}}"),
	         422, "ifMach"},
	        {TRANSACTION(
	                 "{'resource':" PATIENT("p", "") ",'request':{'method':'PUT','url':'Patient/p','ifMatch':1}}"),
	         400, "ifMatch"},
	        {TRANSACTION("{'resource':" PATIENT("p",
	                                            "") ",'request':{'method':'PUT','url':'Patient/p','ifMatch':'1'}}"),
	         412, "version 1"},
	        {TRANSACTION("{'resource':" PATIENT("q", "") ",'request':{'method':'PUT','url':'Patient/p'}}"), 400,
	         "Bundle.entry[0].Patient.id"},
	        {TRANSACTION("{'request':{'method':'PUT','url':'Patient/p'}}"), 400, "Bundle.entry[0].resource"},
	        {TRANSACTION("{'resource':'x','request':{'method':'PUT','url':'Patient/p'}}"), 400,
	         "Bundle.entry[0].resource"},
	        {TRANSACTION("{'resource':" PATIENT("p", "") "}"), 400, "Bundle.entry[0].request"},
	        {TRANSACTION("{'request':{'method':'TRACE','url':'Patient/p'}}"), 400,
	         "Bundle.entry[0].request.method"},
	        {TRANSACTION("{'request':{'method':'GET','url':'Patient/none'}}"), 404, "Bundle.entry[0]"},
	        {TRANSACTION("{'resource':{'resourceType':'Parameters'},'request':{'method':'POST','url':'Patient/"
	                     "$validate'}}"),
	         422, "not POST"},
	        {TRANSACTION(
	                 "{'resource':{'resourceType':'Parameters'},'request':{'method':'PATCH','url':'Patient/p'}}"),
	         400, "json-patch"},
	        {TRANSACTION("{'resource':{'resourceType':'Binary','contentType':'text/"
	                     "plain','data':'W10='},'request':{'method':'PATCH','url':'Patient/p'}}"),
	         415, "contentType"},
	        {TRANSACTION("{'resource':{'resourceType':'Binary','contentType':'application/"
	                     "json-patch+json','data':'e30='},'request':{'method':'PATCH','url':'Patient/p'}}"),
	         400, "array of operations"},
	        {TRANSACTION("1"), 400, "Bundle.entry[0]"},
	        {"{'resourceType':'Bundle','type':'transaction','entry':{}}", 400, "array"},
	        {"{'resourceType':'Bundle','type':'collection'}", 400, "Bundle.type"},
	        {"{'resourceType':'Patient'}", 400, "Bundle.type"},
	};
	send(f, "PUT", "/fhir/Patient/p", q(f, PATIENT("p", ",'active':true,'identifier':[{'value':'v'}]")), 201);
	send(f, "PUT", "/fhir/Patient/o", q(f, PATIENT("o", ",'active':true")), 201);
	uint64_t before = cl_store_last_sequence(f->organization->store);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_response response = send(f, "POST", "/fhir", q(f, cases[i].bundle), cases[i].status);
		says(&response, cases[i].words);
	}
	assert_int_equal(cl_store_last_sequence(f->organization->store), before);
}

/* http.html section 3.1.0.11.2: references, addresses and narratives are replaced, canonical URLs are not. */
static void what_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct cl_json *answer =
	        post(f,
	             TRANSACTION("{'fullUrl':'urn:uuid:b','resource':{'resourceType':'Binary','contentType':'text/"
	                         "plain','data':'SGVsbG8='},"
	                         "'request':{'method':'POST','url':'Binary'}},"
	                         "{'resource':{'resourceType':'DocumentReference','status':'current','text':{'status':'"
	                         "generated','div':"
	                         "'<div xmlns=\\\"http://www.w3.org/1999/xhtml\\\"><a "
	                         "href=\\\"urn:uuid:b\\\">it</a><img src=\\\"urn:uuid:b\\\" alt=\\\"urn:uuid:b\\\"/>"
	                         "<a href=\\\"urn:uuid:other\\\">no</a></div>'},"
	                         "'content':[{'attachment':{'url':'urn:uuid:b'}}]},'request':{'method':'POST','url':'"
	                         "DocumentReference'}},"
	                         "{'resource':{'resourceType':'Task','status':'draft','intent':'order','"
	                         "instantiatesCanonical':'urn:uuid:b',"
	                         "'instantiatesUri':'urn:uuid:b'},'request':{'method':'POST','url':'Task'}}"),
	             200);
	char expected[200];
	struct cl_str id = at(answer, "0", "resource", "id");
	struct cl_str text = cl_json_text(cl_json_path(answer, "entry", "1", "resource", "text", "div", NULL));
	snprintf(expected, sizeof expected,
	         "<a href=\"Binary/%.*s\">it</a><img src=\"Binary/%.*s\" alt=\"urn:uuid:b\"/><a "
	         "href=\"urn:uuid:other\">",
	         CL_STR_ARGS(id), CL_STR_ARGS(id));
	if (!memmem(text.p, text.n, expected, strlen(expected)))
		fail_msg("%.*s", CL_STR_ARGS(text));
	snprintf(expected, sizeof expected, "Binary/%.*s", CL_STR_ARGS(id));
	assert_true(cl_str_is(
	        cl_json_text(cl_json_path(answer, "entry", "1", "resource", "content", "0", "attachment", "url", NULL)),
	        expected));
	assert_true(cl_str_is(at(answer, "2", "resource", "instantiatesUri"), expected));
	assert_true(cl_str_is(at(answer, "2", "resource", "instantiatesCanonical"), "urn:uuid:b"));
}

static void a_batch_s_entries_have_conditions_of_their_own(void **state)
{
	struct fixture *f = *state;
	send(f, "PUT", "/fhir/Patient/p", q(f, PATIENT("p", ",'active':true")), 201);
	send(f, "PUT", "/fhir/Binary/b",
	     q(f, "{'resourceType':'Binary','id':'b','contentType':'text/plain','data':'SGVsbG8='}"), 201);
	struct cl_json *answer = post(
	        f,
	        BATCH("{'request':{'method':'GET','url':'Patient/p','ifNoneMatch':'W/\\u00221\\u0022'}},"
	              "{'request':{'method':'GET','url':'Patient/p','ifModifiedSince':'2026-11-02T15:00:00.000Z'}},"
	              "{'request':{'method':'HEAD','url':'Patient/p'}},"
	              "{'request':{'method':'GET','url':'Binary/b'}},"
	              "{'request':{'method':'PUT','url':'Patient/p','ifMatch':'W/"
	              "\\u00227\\u0022'},'resource':" PATIENT(
	                      "p", "") "},"
	                               "{'request':{'method':'PATCH','url':'Patient/p','ifMatch':'W/"
	                               "\\u00221\\u0022'},'resource':" PATCH "},"
	                               "{'request':{'method':'PUT','url':'Patient?_id=p'},'resource':{'resourceType':'"
	                               "Patient','active':true}},"
	                               "{'request':{'method':'DELETE','url':'Patient?active=true'}},"
	                               "{'request':{'method':'POST','url':'','ifNoneExist':'x'}},"
	                               "{'request':{'method':'POST','url':'/'}},"
	                               "{'request':{'method':'GET','url':'https://test.localhost/fhir/Patient/p'}},"
	                               "{'request':{'method':'GET','url':'Patient?_summary=count'}}"),
	        200);
	static const char *const statuses[] = {"304", "304", "200", "200", "412", "200",
	                                       "200", "204", "400", "422", "410", "200"};
	for (int i = 0; i < 12; i++) {
		char entry[4];
		snprintf(entry, sizeof entry, "%d", i);
		expect_status(answer, entry, statuses[i]);
	}
	assert_true(cl_str_is(at(answer, "3", "resource", "contentType"), "text/plain"));
	assert_true(cl_str_is(at(answer, "2", "response", "lastModified"), "2026-11-02T15:00:00.000Z"));
	assert_null(cl_json_path(answer, "entry", "2", "resource", NULL));
	assert_non_null(cl_json_path(answer, "entry", "4", "response", "outcome", "issue", NULL));
}

static void preferences_hold_for_entries(void **state)
{
	struct fixture *f = *state;
	static const char *const types[] = {"transaction", "batch"};
	char bundle[300];
	for (int i = 0; i < 2; i++) {
		snprintf(bundle, sizeof bundle,
		         "{'resourceType':'Bundle','type':'%s','entry':[{'resource':{'resourceType':'Patient'},'"
		         "request':{"
		         "'method':'POST','url':'Patient'}}]}",
		         types[i]);
		struct cl_json *answer = parse(f, send_as(f, "urn:ehr", "POST", "/fhir", q(f, bundle), "prefer",
		                                          "return=OperationOutcome", 200)
		                                          .body);
		assert_null(cl_json_path(answer, "entry", "0", "resource", NULL));
		assert_true(cl_str_is(
		        cl_json_text(cl_json_path(answer, "entry", "0", "response", "outcome", "resourceType", NULL)),
		        "OperationOutcome"));
	}
}

static void entries_are_counted(void **state)
{
	struct fixture *f = *state;
	struct cl_buf text;
	cl_buf_init(&text, 0);
	for (int over = 0; over < 2; over++)
		for (int batch = 0; batch < 2; batch++) {
			cl_buf_clear(&text);
			cl_buf_printf(&text, "{\"resourceType\":\"Bundle\",\"type\":\"%s\",\"entry\":[",
			              batch ? "batch" : "transaction");
			for (int i = 0; i < 5000 + over; i++)
				cl_buf_printf(&text, "%s{\"request\":{\"method\":\"HEAD\",\"url\":\"Patient/p\"}}",
				              i ? "," : "");
			cl_buf_add_cstring(&text, "]}");
			struct cl_response response =
			        send(f, "POST", "/fhir", cl_arena_cstring(f->arena, cl_buf_str(&text)),
			             over    ? 413
			             : batch ? 200
			                     : 404);
			if (over)
				says(&response, "5001");
		}
	cl_buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(entries_run_in_the_standard_s_order),
	        TEST(conditions_name_what_references_lead_to),
	        TEST(what_a_transaction_refuses),
	        TEST(what_is_replaced),
	        TEST(a_batch_s_entries_have_conditions_of_their_own),
	        TEST(preferences_hold_for_entries),
	        TEST(entries_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
