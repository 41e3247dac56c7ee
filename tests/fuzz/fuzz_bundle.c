/* fuzz_bundle.c: any body posted to [base] is answered with JSON; a transaction that is refused leaves nothing behind. */
#include "org/engine/run.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct cl_organization *organization;
static struct cl_clock virtual_clock = {.is_virtual = true, .now = (cl_instant)1793631600 * CL_SECOND};
static char folder[64];

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void write_text(const char *name, const char *text)
{
	char path[200];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *out = fopen(path, "we");
	must(out != NULL);
	fputs(text, out);
	fclose(out);
}

static void clean_up(void)
{
	char command[128];
	cl_organization_close(organization);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	if (system(command))
		perror("rm");
}

static struct cl_response run(struct cl_arena *arena, struct cl_str body)
{
	struct cl_header header = {CL_STR("content-type"), CL_STR("application/fhir+json")};
	struct cl_outcome outcome;
	struct cl_request request = {
	        .method = CL_STR("POST"),
	        .target = CL_STR("/fhir"),
	        .base = CL_STR("https://t.localhost"),
	        .headers = &header,
	        .header_count = 1,
	        .body = body,
	        .credential = {.kind = CL_CREDENTIAL_CERTIFICATE, .name = CL_STR("urn:a")},
	};
	static uint64_t count;
	memcpy(request.id, &count, sizeof count);
	count++;
	cl_organization_run(organization, arena, &request, &outcome);
	return outcome.response;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *archive;
	struct cl_rules *rules;
	struct cl_err e = {0};
	(void)argc;
	(void)argv;
	strcpy(folder, "/tmp/careloop-fuzz-XXXXXX");
	must(mkdtemp(folder) != NULL);
	char path[100], orgs[100];
	static const char *const folders[] = {"orgs", "orgs/t", "orgs/t/own", "plugins"};
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, folders[i]);
		must(mkdir(path, 0700) == 0);
	}
	write_text("orgs/t.lua", "return { name = 'T', zone = 'UTC', plugins = { 'own' }, principals = { a = { kind = "
	                         "'client', roles = { 'all' }, "
	                         "certificate = 'urn:a' } } }");
	write_text("orgs/t/own/plugin.lua", "return plugin { name = 'own', api = 1, summary = 't', roles = { all = { "
	                                    "summary = 'x', allow = { { 'read search "
	                                    "history create update delete', types = '*', except_labels = {} } } } } }");
	snprintf(orgs, sizeof orgs, "%s/orgs", folder);
	if (cl_lua_archive(arena, orgs, path, "t", &archive, &e) ||
	    cl_rules_new(archive, NULL, NULL, &rules, NULL, &e) ||
	    cl_organization_open(folder, "t", rules, &virtual_clock, NULL, &organization, &e)) {
		fprintf(stderr, "%s %s\n", e.where, e.message);
		abort();
	}
	cl_rules_release(rules);
	/* Something to find, to change and to be wrong about. */
	must(!cl_store_begin(organization->store, &e));
	must(run(arena,
	         CL_STR("{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"resource\":{"
	                "\"resourceType\":"
	                "\"Patient\",\"id\":\"p\",\"identifier\":[{\"value\":\"v\"}]},\"request\":{\"method\":\"PUT\","
	                "\"url\":\"Patient/p\"}}]}"))
	             .status == 200);
	must(!cl_store_commit(organization->store, &e));
	cl_arena_free(arena);
	atexit(clean_up);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *answer;
	struct cl_err e = {0};
	struct cl_str body = {(const char *)data, size};
	must(!cl_store_begin(organization->store, &e));
	uint64_t before = cl_store_last_sequence(organization->store);
	struct cl_response response = run(arena, body);
	must(response.status >= 200 && response.status < 600 && response.status != 500);
	must(!cl_json_parse(arena, response.body, NULL, &answer, &e));
	/* What is refused as a whole changed nothing; what is not has an answer for each entry. */
	if (response.status >= 400)
		must(cl_store_last_sequence(organization->store) == before);
	else
		must(cl_str_is(cl_json_get_text(answer, "resourceType"), "Bundle"));
	cl_store_rollback(organization->store);
	/* The quick look never takes a write for a read. */
	cl_batch_may_be_reads(body);
	cl_arena_free(arena);
	return 0;
}
