/* fuzz_read_much.c: whatever a client asks of $export and $everything is answered or refused, never worse. The first byte chooses the
 * operation and the method; the rest is the query or the body. One small organization, made once; exports are read and then refused
 * for want of a place. */
#include "org/engine/export.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static char folder[64];
static struct cl_clock fixed_clock = {.is_virtual = true, .now = (cl_instant)1793631600 * CL_SECOND};
static struct cl_organization *organization;
static struct cl_store *reader;
static struct cl_exports *exports;

static void write_text(const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *out = fopen(path, "w");
	if (!out || fputs(text, out) < 0 || fclose(out))
		abort();
}

static void make_folder(const char *name)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (mkdir(path, 0700))
		abort();
}

static void clean_up(void)
{
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", folder);
	if (system(command))
		return;
}

static struct cl_request request(const char *method, struct cl_str target, struct cl_str body)
{
	static struct cl_header headers[] = {{{"content-type", 12}, {"application/fhir+json", 21}},
	                                     {{"prefer", 6}, {"respond-async", 13}}};
	return (struct cl_request){.method = cl_str_of(method),
	                           .target = target,
	                           .base = CL_STR("https://test.localhost"),
	                           .headers = headers,
	                           .header_count = 2,
	                           .body = body,
	                           .credential = {.kind = CL_CREDENTIAL_CERTIFICATE, .name = CL_STR("urn:ehr")}};
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *archive;
	struct cl_rules *rules;
	struct cl_err e = {0};
	char path[128];
	(void)argc;
	(void)argv;
	snprintf(folder, sizeof folder, "/tmp/careloop-fuzz-XXXXXX");
	if (!mkdtemp(folder))
		abort();
	atexit(clean_up);
	make_folder("orgs");
	make_folder("orgs/test");
	make_folder("orgs/test/own");
	write_text("orgs/test.lua", "return { name = 'T', zone = 'America/Chicago', plugins = { 'own' }, reference = "
	                            "'Organization/test', principals = { ehr = { kind = 'client', roles = { 'all' }, "
	                            "certificate = 'urn:ehr' } } }");
	write_text("orgs/test/own/plugin.lua",
	           "return plugin { name = 'own', api = 1, summary = 't', roles = { all = { summary = 'a', allow = { { "
	           "'read "
	           "search history create update delete', types = '*', except_labels = { 'R' } } } } } }");
	snprintf(path, sizeof path, "%s/orgs", folder);
	struct cl_export_settings settings = CL_EXPORT_SETTINGS;
	settings.running = 0;
	if (cl_lua_archive(arena, path, folder, "test", &archive, &e) ||
	    cl_rules_new(archive, NULL, NULL, &rules, NULL, &e) ||
	    cl_organization_open(folder, "test", rules, &fixed_clock, NULL, &organization, &e) ||
	    cl_store_open(folder, "test", CL_STORE_READER, &reader, &e) ||
	    cl_exports_open(folder, &settings, rules, &exports, &e)) {
		fprintf(stderr, "%s %s\n", e.where, e.message);
		abort();
	}
	struct cl_response response = {0};
	struct cl_request made = request(
	        "POST", CL_STR("/fhir"),
	        CL_STR("{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":["
	               "{\"resource\":{\"resourceType\":\"Patient\",\"id\":\"p\"},\"request\":{\"method\":\"PUT\","
	               "\"url\":"
	               "\"Patient/"
	               "p\"}},{\"resource\":{\"resourceType\":\"Group\",\"id\":\"g\",\"type\":\"person\",\"actual\":"
	               "true,"
	               "\"member\":[{\"entity\":{\"reference\":\"Patient/"
	               "p\"}}]},\"request\":{\"method\":\"PUT\",\"url\":\"Group/"
	               "g\"}},{\"resource\":{\"resourceType\":\"Basic\",\"id\":\"b\",\"code\":{\"text\":\"x\"},"
	               "\"subject\":{"
	               "\"reference\":\"Patient/p\"}},\"request\":{\"method\":\"PUT\",\"url\":\"Basic/b\"}}]}"));
	cl_organization_execute(organization, arena, &made, &response);
	if (response.status != 200)
		abort();
	cl_arena_free(arena);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const targets[] = {"/fhir/$export?", "/fhir/Patient/$export?", "/fhir/Group/g/$export?",
	                                      "/fhir/Patient/p/$everything?"};
	if (!n)
		return 0;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str text = cl_arena_copy(arena, (struct cl_str){(const char *)data + 1, n - 1});
	bool post = data[0] & 4;
	struct cl_str target = cl_arena_printf(arena, "%s%.*s", targets[data[0] & 3], post ? 0 : (int)text.n, text.p);
	struct cl_request made = request(post ? "POST" : "GET", target, post ? text : CL_STR_NONE);
	struct cl_response response = {0};
	struct cl_route route;
	struct cl_issues issues;
	struct cl_err e = {0};
	const struct cl_principal *principal;
	cl_issues_init(&issues, arena, 0);
	if (!cl_route_find(arena, &made, &route, &e) &&
	    !cl_interaction_principal(organization->rules, reader, arena, &made, &route, fixed_clock.now, &principal,
	                              &e)) {
		struct cl_interaction_context context = {.arena = arena,
		                                         .store = reader,
		                                         .rules = organization->rules,
		                                         .request = &made,
		                                         .route = &route,
		                                         .principal = principal,
		                                         .now = fixed_clock.now,
		                                         .response = &response,
		                                         .issues = &issues,
		                                         .exports = exports};
		cl_interaction_run_read(&context, organization->tail);
		if (response.status < 200 || response.status >= 500)
			abort();
	}
	cl_arena_free(arena);
	return 0;
}
