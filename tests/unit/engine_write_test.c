/* engine_write_test.c: conditional interactions, patches, forms of bodies: what clients may write and how they are answered. */
#include "engine_support.h"

static struct cl_response ask(struct fixture *f, const char *method, const char *target, const char *body,
                              const char *header, const char *value, int status)
{
	return send_as(f, "urn:ehr", method, target, q(f, body), header, value, status);
}

/* With another Content-Type than FHIR's. */
static struct cl_response send_typed(struct fixture *f, const char *method, const char *target, const char *type,
                                     const char *body, int status)
{
	struct cl_response response;
	struct cl_request made = request(f, method, target, q(f, body));
	made.headers[0].value = cl_str_of(type);
	cl_organization_execute(f->organization, f->arena, &made, &response);
	if (response.status != status)
		fail_msg("%s %s: %d instead of %d: %.*s", method, target, response.status, status,
		         CL_STR_ARGS(response.body));
	return response;
}

static struct cl_response patch(struct fixture *f, const char *target, const char *body, int status)
{
	return send_typed(f, "PATCH", target, "application/json-patch+json", body, status);
}

static const char identified[] = "{'resourceType':'Patient','identifier':[{'system':'s','value':'v'}],'active':true}";

/* FHIR R4 http.html section 3.1.0.4.3: all cases. */
static void conditional_updates(void **state)
{
	struct fixture *f = *state;
	struct cl_response made = ask(f, "PUT", "/fhir/Patient?identifier=s|v", identified, NULL, NULL, 201);
	struct cl_str id = cl_json_get_text(parse(f, made.body), "id");
	char body[300];
	assert_true(cl_response_header(&made, "location").n > 0);
	has_header(&made, "etag", "W/\"1\"");
	/* One match: without id, with its id, with another. */
	snprintf(body, sizeof body,
	         "{'resourceType':'Patient','id':'%.*s','identifier':[{'system':'s','value':'v'}],'active':false}",
	         CL_STR_ARGS(id));
	made = ask(f, "PUT", "/fhir/Patient?identifier=s|v", body, NULL, NULL, 200);
	has_header(&made, "etag", "W/\"2\"");
	made = ask(f, "PUT", "/fhir/Patient?identifier=s|v", identified, NULL, NULL, 200);
	has_header(&made, "etag", "W/\"3\"");
	/* The same again is no new version. */
	made = ask(f, "PUT", "/fhir/Patient?identifier=s|v&_format=json", identified, NULL, NULL, 200);
	has_header(&made, "etag", "W/\"3\"");
	made = ask(f, "PUT", "/fhir/Patient?identifier=s|v", "{'resourceType':'Patient','id':'another'}", NULL, NULL,
	           400);
	says(&made, "Patient.id");
	/* No match, with an id: it is made; when the id is taken, it is a conflict. */
	ask(f, "PUT", "/fhir/Patient?identifier=s|w",
	    "{'resourceType':'Patient','id':'own','identifier':[{'system':'s','value':'w'}]}", NULL, NULL, 201);
	send(f, "GET", "/fhir/Patient/own", "", 200);
	ask(f, "PUT", "/fhir/Patient?identifier=s|x", "{'resourceType':'Patient','id':'own'}", NULL, NULL, 409);
	/* Several. */
	send(f, "PUT", "/fhir/Patient/twin",
	     q(f, "{'resourceType':'Patient','id':'twin','identifier':[{'system':'s','value':'v'}]}"), 201);
	ask(f, "PUT", "/fhir/Patient?identifier=s|v", identified, NULL, NULL, 412);
	ask(f, "PUT", "/fhir/Patient?shoe=1", identified, NULL, NULL, 400);
	/* Without a condition it would be every resource. */
	made = ask(f, "PUT", "/fhir/Patient", identified, NULL, NULL, 405);
	has_header(&made, "allow", "GET, HEAD, POST");
	ask(f, "PUT", "/fhir/Patient?_format=json", identified, NULL, NULL, 405);
	/* Versions guard it as others. */
	ask(f, "PUT", "/fhir/Patient?identifier=s|w", "{'resourceType':'Patient','active':true}", "if-match", "W/\"9\"",
	    412);
	ask(f, "PUT", "/fhir/Patient?identifier=s|w", "{'resourceType':'Patient','active':true}", "if-match",
	    "W/\"9\", W/\"1\"", 200);
	assert_int_equal(total(f, "Patient"), 3);
}

static void what_may_not_be_seen_matches_no_condition(void **state)
{
	struct fixture *f = *state;
	send(f, "PUT", "/fhir/Patient/hidden",
	     q(f, "{'resourceType':'Patient','id':'hidden','meta':{'security':[{'code':'R'}]},'identifier':[{'value':'"
	          "v'}]}"),
	     201);
	struct cl_response made =
	        send_as(f, "urn:limited", "PUT", "/fhir/Patient?identifier=v",
	                q(f, "{'resourceType':'Patient','identifier':[{'value':'v'}]}"), NULL, NULL, 201);
	assert_false(memmem(made.body.p, made.body.n, "hidden", 6));
	send_as(f, "urn:limited", "PUT", "/fhir/Patient?identifier=w", q(f, "{'resourceType':'Patient','id':'hidden'}"),
	        NULL, NULL, 409);
}

static void conditional_deletes(void **state)
{
	struct fixture *f = *state;
	struct cl_response gone;
	send(f, "PUT", "/fhir/Patient/a", q(f, "{'resourceType':'Patient','id':'a','active':true}"), 201);
	send(f, "PUT", "/fhir/Patient/b", q(f, "{'resourceType':'Patient','id':'b','active':true}"), 201);
	send(f, "DELETE", "/fhir/Patient?active=true", "", 412);
	send(f, "DELETE", "/fhir/Patient?active=false", "", 204);
	gone = send(f, "DELETE", "/fhir/Patient?_id=a", "", 204);
	has_header(&gone, "etag", "W/\"2\"");
	send(f, "GET", "/fhir/Patient/a", "", 410);
	send(f, "DELETE", "/fhir/Patient?active=true", "", 204);
	send(f, "DELETE", "/fhir/Patient", "", 405);
	send(f, "DELETE", "/fhir/Patient?shoe=1", "", 400);
	assert_int_equal(total(f, "Patient"), 0);
	/* Versions of what was deleted can be read, but not the one that says it is gone. */
	send(f, "GET", "/fhir/Patient/a/_history/1", "", 200);
	send(f, "GET", "/fhir/Patient/a/_history/2", "", 410);
	send(f, "HEAD", "/fhir/Patient/a", "", 410);
}

static void patches(void **state)
{
	struct fixture *f = *state;
	struct cl_response made;
	send(f, "PUT", "/fhir/Observation/o",
	     q(f, "{'resourceType':'Observation','id':'o','status':'preliminary','code':{'text':'x'},'valueQuantity':{'"
	          "value':1.10}}"),
	     201);
	made = patch(f, "/fhir/Observation/o", "[{'op':'replace','path':'/status','value':'final'}]", 200);
	has_header(&made, "etag", "W/\"2\"");
	says(&made, "\"value\":1.10");
	made = patch(f, "/fhir/Observation/o",
	             "[{'op':'test','path':'/valueQuantity/value','value':1.1},{'op':'replace','path':'/valueQuantity/"
	             "value','value':2.00},"
	             "{'op':'add','path':'/note','value':[{'text':'n'}]}]",
	             200);
	says(&made, "\"value\":2.00");
	/* The last note takes the array with it. */
	made = patch(f, "/fhir/Observation/o", "[{'op':'remove','path':'/note/0'}]", 200);
	assert_null(memmem(made.body.p, made.body.n, "note", 4));
	made = patch(f, "/fhir/Observation/o", "[{'op':'test','path':'/status','value':'final'}]", 200);
	has_header(&made, "etag", "W/\"4\"");
	/* Refused, and nothing was changed. */
	made = patch(f, "/fhir/Observation/o",
	             "[{'op':'remove','path':'/valueQuantity'},{'op':'test','path':'/status','value':'x'}]", 422);
	says(&made, "[1].path");
	made = patch(f, "/fhir/Observation/o", "[{'op':'replace','path':'/status','value':'x'}]", 422);
	says(&made, "Observation.status");
	patch(f, "/fhir/Observation/o", "[{'op':'replace','path':'/id','value':'p'}]", 422);
	patch(f, "/fhir/Observation/o", "[{'op':'replace','path':'','value':1}]", 422);
	patch(f, "/fhir/Observation/o", "{'op':'test'}", 400);
	patch(f, "/fhir/Observation/o", "[{'op':'test'", 400);
	patch(f, "/fhir/Observation/none", "[]", 404);
	send_typed(f, "PATCH", "/fhir/Observation/o", "application/merge-patch+json", "{}", 415);
	made = send(f, "GET", "/fhir/Observation/o", "", 200);
	has_header(&made, "etag", "W/\"4\"");
	/* By condition. */
	patch(f, "/fhir/Observation?status=final", "[{'op':'replace','path':'/status','value':'amended'}]", 200);
	patch(f, "/fhir/Observation?status=final", "[]", 404);
	send(f, "POST", "/fhir/Observation",
	     q(f, "{'resourceType':'Observation','status':'amended','code':{'text':'x'}}"), 201);
	patch(f, "/fhir/Observation?status=amended", "[]", 412);
	send(f, "DELETE", "/fhir/Observation/o", "", 204);
	patch(f, "/fhir/Observation/o", "[]", 410);
}

static void a_patch_needs_the_version_it_was_made_for(void **state)
{
	struct fixture *f = *state;
	struct cl_response response;
	send(f, "PUT", "/fhir/Patient/p", q(f, "{'resourceType':'Patient','id':'p','active':true}"), 201);
	for (int i = 0; i < 2; i++) {
		struct cl_request made = request(f, "PATCH", "/fhir/Patient/p",
		                                 q(f, "[{'op':'replace','path':'/active','value':false}]"));
		made.headers[0].value = CL_STR("application/json-patch+json");
		made.headers[made.header_count++] =
		        (struct cl_header){CL_STR("if-match"), i ? CL_STR("W/\"1\"") : CL_STR("W/\"2\"")};
		cl_organization_execute(f->organization, f->arena, &made, &response);
		assert_int_equal(response.status, i ? 200 : 412);
	}
}

/* A patch that moves a workflow obeys its machine. */
static void a_patch_moves_a_task_as_an_update_does(void **state)
{
	struct fixture *f = *state;
	send(f, "PUT", "/fhir/Patient/p", q(f, "{'resourceType':'Patient','id':'p'}"), 201);
	struct cl_json *task = parse(
	        f, send(f, "POST", "/fhir/Task",
	                q(f, "{'resourceType':'Task','status':'requested','intent':'order','code':{'coding':[{'system':"
	                     "'urn:careloop:workflow','code':'callback'}]},'focus':{'reference':'Patient/p'},'for':{"
	                     "'reference':'Patient/p'}}"),
	                201)
	                   .body);
	char target[100];
	snprintf(target, sizeof target, "/fhir/Task/%.*s", CL_STR_ARGS(cl_json_get_text(task, "id")));
	struct cl_response refused = patch(f, target, "[{'op':'replace','path':'/status','value':'failed'}]", 403);
	says(&refused, "give_up");
	refused = patch(f, target, "[{'op':'replace','path':'/status','value':'accepted'}]", 422);
	says(&refused, "legal");
	refused = patch(f, target, "[{'op':'replace','path':'/status','value':'completed'}]", 422);
	says(&refused, "result");
	struct cl_response moved =
	        patch(f, target,
	              "[{'op':'replace','path':'/status','value':'completed'},"
	              "{'op':'add','path':'/input','value':[{'type':{'text':'result'},'valueString':'fine'}]}]",
	              200);
	says(&moved, "\"status\":\"completed\"");
}

static void conditional_reads(void **state)
{
	struct fixture *f = *state;
	static const char at[] = "Mon, 02 Nov 2026 15:00:00 GMT";
	struct cl_response made = send(f, "PUT", "/fhir/Patient/p", q(f, "{'resourceType':'Patient','id':'p'}"), 201);
	has_header(&made, "last-modified", at);
	static const struct {
		const char *name, *value;
		int status;
	} cases[] = {
	        {"if-none-match", "W/\"1\"", 304},
	        {"if-none-match", "W/\"7\",W/\"1\"", 304},
	        {"if-none-match", "\"1\"", 304},
	        {"if-none-match", "*", 304},
	        {"if-none-match", "W/\"2\"", 200},
	        {"if-none-match", "1", 200},
	        {"if-modified-since", at, 304},
	        {"if-modified-since", "Mon, 02 Nov 2026 14:59:59 GMT", 200},
	        {"if-modified-since", "Monday, 02-Nov-26 15:00:01 GMT", 304},
	        {"if-modified-since", "Mon Nov  2 15:00:00 2026", 304},
	        {"if-modified-since", "2026-11-02T15:00:00Z", 304},
	        {"if-modified-since", "2026-11-02T08:59:59-06:00", 200},
	        {"if-modified-since", "yesterday", 200},
	        {"prefer", "return=minimal", 200},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		made = ask(f, "GET", "/fhir/Patient/p", "", cases[i].name, cases[i].value, cases[i].status);
		has_header(&made, "etag", "W/\"1\"");
		assert_true((made.body.n > 0) == (cases[i].status == 200));
	}
}

static void preferences(void **state)
{
	struct fixture *f = *state;
	struct cl_response made = ask(f, "POST", "/fhir/Patient", identified, "prefer", "return=minimal", 201);
	assert_int_equal(made.body.n, 0);
	assert_true(cl_response_header(&made, "location").n > 0);
	made = ask(f, "POST", "/fhir/Patient", identified, "prefer", "handling=strict, return=OperationOutcome", 201);
	says(&made, "OperationOutcome");
	made = ask(f, "POST", "/fhir/Patient", identified, "prefer", "return=representation", 201);
	says(&made, "\"Patient\"");
	/* Sic: a client sends it. */
	made = ask(f, "POST", "/fhir/Patient", identified, "prefer", "return=presentation", 201);
	says(&made, "\"Patient\"");
	made = ask(f, "POST", "/fhir/Patient", identified, "prefer", "return=minimalist", 201);
	says(&made, "\"Patient\"");
}

static void forms_of_answers(void **state)
{
	struct fixture *f = *state;
	send(f, "PUT", "/fhir/Patient/p", q(f, "{'resourceType':'Patient','id':'p'}"), 201);
	static const struct {
		const char *target, *accept;
		int status;
	} cases[] = {
	        {"/fhir/Patient/p", "application/fhir+json", 200},
	        {"/fhir/Patient/p", "application/json", 200},
	        {"/fhir/Patient/p", "text/json", 200},
	        {"/fhir/Patient/p", "json", 200},
	        {"/fhir/Patient/p", "*/*", 200},
	        {"/fhir/Patient/p", "application/fhir+json, */*; q=0.1", 200},
	        {"/fhir/Patient/p", "application/fhir+xml;q=1.0, application/fhir+json;q=0.5", 200},
	        {"/fhir/Patient/p", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 200},
	        {"/fhir/Patient/p", "application/fhir+json; fhirVersion=4.0", 200},
	        {"/fhir/Patient/p", "application/fhir+json; fhirVersion=3.0", 406},
	        {"/fhir/Patient/p", "application/fhir+xml", 406},
	        {"/fhir/Patient/p", "application/fhir+json;q=0", 406},
	        {"/fhir/Patient/p?_format=json", "application/fhir+xml", 200},
	        {"/fhir/Patient/p?_format=application/fhir+json", "text/html", 200},
	        {"/fhir/Patient/p?_format=application%2Ffhir%2Bjson&_pretty=true", "text/html", 200},
	        {"/fhir/Patient/p?_format=xml", "application/fhir+json", 406},
	        {"/fhir/Patient?_format=json&active:missing=true&_pretty=true", "*/*", 200},
	        {"/fhir/R4/Patient/p", "*/*", 200},
	        {"/fhir/R4/Patient/p/", "*/*", 200},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		ask(f, "GET", cases[i].target, "", "accept", cases[i].accept, cases[i].status);
	for (size_t i = 0; i < 2; i++)
		send(f, "POST", i ? "/fhir" : "/fhir/", q(f, "{'resourceType':'Bundle','type':'batch'}"), 200);
	send_typed(f, "POST", "/fhir/Patient", "application/fhir+xml", "<Patient/>", 415);
	send_typed(f, "POST", "/fhir/Patient", "application/fhir+json; fhirVersion=3.0", "{'resourceType':'Patient'}",
	           415);
	send_typed(f, "POST", "/fhir/Patient", "application/json;charset=UTF-8", "{'resourceType':'Patient'}", 201);
}

static void binaries(void **state)
{
	struct fixture *f = *state;
	char target[120];
	struct cl_response made = send_typed(f, "POST", "/fhir/Binary", "text/plain", "Hello, <b>you</b>", 201);
	struct cl_json *resource = parse(f, made.body);
	assert_true(cl_str_is(cl_json_get_text(resource, "contentType"), "text/plain"));
	assert_true(cl_str_is(cl_json_get_text(resource, "data"), "SGVsbG8sIDxiPnlvdTwvYj4="));
	snprintf(target, sizeof target, "/fhir/Binary/%.*s", CL_STR_ARGS(cl_json_get_text(resource, "id")));
	static const struct {
		const char *accept;
		bool content;
	} cases[] = {{"*/*", true},
	             {"text/plain", true},
	             {"image/png, */*;q=0.1", true},
	             {"application/fhir+json", false},
	             {"application/json", false},
	             {"application/fhir+json, */*; q=0.1", false},
	             {"application/fhir+json;q=0.5, text/plain", true},
	             {"text/plain;q=0.5, application/fhir+json", false}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		made = ask(f, "GET", target, "", "accept", cases[i].accept, 200);
		has_header(&made, "content-type",
		           cases[i].content ? "text/plain" : "application/fhir+json; charset=utf-8");
		has_header(&made, "content-disposition", cases[i].content ? "attachment" : "");
		says(&made, cases[i].content ? "Hello, <b>you</b>" : "\"resourceType\":\"Binary\"");
	}
	/* As a resource, too; white space in base64 is FHIR's; JSON of another kind is content. */
	send(f, "PUT", "/fhir/Binary/r",
	     q(f, "{'resourceType':'Binary','id':'r','contentType':'text/plain','data':'SGVs bG8='}"), 201);
	made = ask(f, "GET", "/fhir/Binary/r", "", "accept", "*/*", 200);
	assert_true(cl_str_is(made.body, "Hello"));
	send_typed(f, "PUT", "/fhir/Binary/r", "application/json", "{'a':1}", 200);
	made = ask(f, "GET", "/fhir/Binary/r/_history/2", "", NULL, NULL, 200);
	says(&made, "{\"a\":1}");
	/* Nothing gets into a header that does not belong there. */
	send_typed(f, "POST", "/fhir/Binary", "text", "Hello", 422);
	send_typed(f, "POST", "/fhir/Binary", "text/plain\r\nx: y", "Hello", 422);
	send_typed(f, "POST", "/fhir/Binary", "", "Hello", 415);
	send_typed(f, "PUT", "/fhir/Binary/t?x=1", "image/png", "abc", 201);
	send_typed(f, "PUT", "/fhir/Binary?_id=u", "image/png", "abc", 201);
}

/* Every answer is 200: what was found is the answer. */
static void validation(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *target, *body;
		int status;
		const char *words; /* NULL: nothing is wrong with it */
	} cases[] = {
	        {"/fhir/$validate", "{'resourceType':'Patient'}", 200, NULL},
	        {"/fhir/Patient/$validate", "{'resourceType':'Patient','gender':'x'}", 200, "Patient.gender"},
	        {"/fhir/Observation/$validate", "{'resourceType':'Patient'}", 200, "validates Observation"},
	        {"/fhir/Patient/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'resource','resource':{'resourceType':'Patient','"
	         "gender':'x'}}]}",
	         200, "Patient.gender"},
	        {"/fhir/Patient/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'create'},{'name':'resource','"
	         "resource':{'resourceType':"
	         "'Patient'}}]}",
	         200, NULL},
	        {"/fhir/Patient/p/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'update'},{'name':'resource','"
	         "resource':{'resourceType':"
	         "'Patient','id':'q'}}]}",
	         200, "Patient.id"},
	        {"/fhir/Patient/p/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'delete'}]}", 200, NULL},
	        {"/fhir/Patient/none/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'delete'}]}", 200,
	         "would change nothing"},
	        {"/fhir/Patient/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'profile','valueUri':'http://a.example/"
	         "p'},{'name':'resource','resource':{"
	         "'resourceType':'Patient'}}]}",
	         200, "not known here"},
	        {"/fhir/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'profile','valueUri':'http://hl7.org/fhir/"
	         "StructureDefinition/Group'},{'name':"
	         "'resource','resource':{'resourceType':'Patient'}}]}",
	         200, "another type"},
	        /* A Parameters that is meant itself. */
	        {"/fhir/Parameters/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'x','valueString':'y'}]}", 200, NULL},
	        {"/fhir/Patient/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'x'}]}", 400, "mode is"},
	        {"/fhir/Patient/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'delete'}]}", 400, "address"},
	        {"/fhir/Patient/$validate",
	         "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'create'}]}", 400, "resource"},
	        {"/fhir/Patient/$validate", "{'resourceType':", 400, "ine 1"},
	};
	send(f, "PUT", "/fhir/Patient/p", q(f, "{'resourceType':'Patient','id':'p'}"), 201);
	uint64_t before = cl_store_last_sequence(f->organization->store);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_response response = send(f, "POST", cases[i].target, q(f, cases[i].body), cases[i].status);
		if (cases[i].words)
			says(&response, cases[i].words);
		else
			assert_null(memmem(response.body.p, response.body.n, "\"severity\":\"error\"", 18));
	}
	assert_int_equal(cl_store_last_sequence(f->organization->store), before);
	/* What may not be done is told, too. */
	static const char deleting[] =
	        "{'resourceType':'Parameters','parameter':[{'name':'mode','valueCode':'delete'}]}";
	struct cl_response told =
	        send_as(f, "urn:limited", "POST", "/fhir/Patient/p/$validate", q(f, deleting), NULL, NULL, 200);
	says(&told, "forbidden");
	told = send(f, "GET", "/fhir/Patient/$validate", "", 405);
	has_header(&told, "allow", "POST");
}

static void labels(void **state)
{
	struct fixture *f = *state;
	static const char given[] = "{'resourceType':'Parameters','parameter':[{'name':'meta','valueMeta':{'tag':[{'"
	                            "system':'s','code':'a'}],'profile':['http://p'],"
	                            "'security':[{'code':'R'}]}}]}";
	send(f, "PUT", "/fhir/Patient/p",
	     q(f, "{'resourceType':'Patient','id':'p','meta':{'tag':[{'system':'s','code':'b','display':'B'}]}}"), 201);
	struct cl_response meta = send(f, "GET", "/fhir/Patient/p/$meta", "", 200);
	says(&meta, "\"valueMeta\":{\"tag\"");
	has_header(&meta, "etag", "W/\"1\"");
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p/$meta", "", NULL, NULL, 200);
	for (int i = 0; i < 2; i++) {
		meta = send(f, "POST", "/fhir/Patient/p/$meta-add", q(f, given), 200);
		has_header(&meta, "etag", "W/\"2\"");
	}
	assert_int_equal(total(f, "Patient?_tag=s|a&_tag=s|b&_security=R&_profile=http://p"), 1);
	/* A label that was added hides it, and nobody who cannot see it takes the label away. */
	send_as(f, "urn:limited", "GET", "/fhir/Patient/p/$meta", "", NULL, NULL, 403);
	send_as(f, "urn:limited", "POST", "/fhir/Patient/p/$meta-delete", q(f, given), NULL, NULL, 403);
	send_as(f, "urn:ehr", "POST", "/fhir/Patient/p/$meta-delete", q(f, given), "if-match", "W/\"1\"", 412);
	send(f, "POST", "/fhir/Patient/p/$meta-delete", q(f, given), 200);
	assert_int_equal(total(f, "Patient?_tag=s|b"), 1);
	assert_int_equal(total(f, "Patient?_tag=s|a"), 0);
	struct cl_response after = send(f, "GET", "/fhir/Patient/p", "", 200);
	assert_null(memmem(after.body.p, after.body.n, "security", 8));
	send(f, "POST", "/fhir/Patient/p/$meta-add", q(f, "{'resourceType':'Parameters'}"), 400);
	send(f, "POST", "/fhir/Patient/none/$meta-add", q(f, given), 404);
	send(f, "GET", "/fhir/Patient/p/$meta-add", "", 405);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(conditional_updates),
	        TEST(what_may_not_be_seen_matches_no_condition),
	        TEST(conditional_deletes),
	        TEST(patches),
	        TEST(a_patch_needs_the_version_it_was_made_for),
	        TEST(a_patch_moves_a_task_as_an_update_does),
	        TEST(conditional_reads),
	        TEST(preferences),
	        TEST(forms_of_answers),
	        TEST(binaries),
	        TEST(validation),
	        TEST(labels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
