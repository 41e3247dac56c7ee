/* export_test.c: an export shows one place in the commit order, to one principal, however it is interrupted. Slices run here by
 * hand, under a virtual clock. */
#include "org/engine/export.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static const char config[] =
        "return { name = 'Test Clinic', zone = 'America/Chicago', plugins = { 'own' }, reference = "
        "'Organization/test',\n"
        "  principals = { ehr = { kind = 'client', roles = { 'all' }, certificate = 'urn:ehr' },\n"
        "    ana = { kind = 'person', roles = { 'clinician' }, certificate = 'urn:ana', reference = 'Practitioner/ana' "
        "},\n"
        "    bo = { kind = 'person', roles = { 'clinician', 'codes' }, certificate = 'urn:bo', reference = "
        "'Practitioner/bo' },\n"
        "    cy = { kind = 'person', roles = { 'codes' }, certificate = 'urn:cy', reference = 'Practitioner/cy' },\n"
        "    nobody = { kind = 'person', roles = { 'messages' }, certificate = 'urn:nobody' } } }\n";

static const char plugin_text[] =
        "return plugin { name = 'own', api = 1, summary = 'test', roles = {\n"
        "  all = { summary = 'a', allow = { { 'read search history create update delete', types = '*', except_labels = "
        "{} } } },\n"
        "  clinician = { summary = 'c', allow = { { 'read search', types = '*', where = 'care team', except_labels = { "
        "'R' } } } },\n"
        "  codes = { summary = 'o', allow = { { 'read search', types = { 'Observation' }, where = 'code=1' },\n"
        "    { 'read search', types = { 'Group' } } } },\n"
        "  messages = { summary = 'm', allow = { { 'message', types = '*' } } } } }\n";

struct fixture {
	char folder[64];
	struct cl_clock clock;
	struct cl_arena *arena;
	struct cl_organization *organization;
	struct cl_store *reader;
	struct cl_exports *exports;
	uint64_t requests;
};

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

static void write_text(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static void open_exports(struct fixture *f, const struct cl_export_settings *settings)
{
	struct cl_err e = {0};
	if (cl_exports_open(f->folder, settings, f->organization->rules, &f->exports, &e))
		fail_msg("%s", e.message);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char path[256], organizations[128];
	struct cl_err e = {0};
	struct cl_json *archive;
	struct cl_rules *rules;
	snprintf(f->folder, sizeof f->folder, "/tmp/careloop-export-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(organizations, sizeof organizations, "%s/orgs", f->folder);
	mkdir(organizations, 0700);
	snprintf(path, sizeof path, "%s/test", organizations);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/test/own", organizations);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/test/own/plugin.lua", organizations);
	write_text(path, plugin_text);
	snprintf(path, sizeof path, "%s/test.lua", organizations);
	write_text(path, config);
	f->arena = cl_arena_new(0);
	f->clock = (struct cl_clock){.is_virtual = true, .now = (cl_instant)1793631600 * CL_SECOND};
	seed = 20261128;
	if (cl_lua_archive(f->arena, organizations, f->folder, "test", &archive, &e) ||
	    cl_rules_new(archive, NULL, NULL, &rules, NULL, &e) ||
	    cl_organization_open(f->folder, "test", rules, &f->clock, NULL, &f->organization, &e) ||
	    cl_store_open(f->folder, "test", CL_STORE_READER, &f->reader, &e))
		fail_msg("%s %s", e.where, e.message);
	cl_rules_release(rules);
	struct cl_export_settings settings = CL_EXPORT_SETTINGS;
	settings.reserve = 0;
	open_exports(f, &settings);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];
	cl_exports_close(f->exports);
	cl_store_close(f->reader);
	cl_organization_close(f->organization);
	cl_arena_free(f->arena);
	snprintf(command, sizeof command, "rm -rf %s", f->folder);
	int ignored = system(command);
	free(f);
	return ignored;
}

/* ---- asking ---- */

static struct cl_request request(struct fixture *f, const char *who, const char *method, struct cl_str target,
                                 struct cl_str body, const char *prefer)
{
	struct cl_header *headers = CL_NEW_ARRAY(f->arena, struct cl_header, 2);
	headers[0] = (struct cl_header){CL_STR("content-type"), CL_STR("application/fhir+json")};
	headers[1] = (struct cl_header){CL_STR("prefer"), cl_str_of(prefer)};
	struct cl_request made = {.method = cl_str_of(method),
	                          .target = target,
	                          .base = CL_STR("https://test.localhost"),
	                          .body = body,
	                          .headers = headers,
	                          .header_count = 2,
	                          .credential = {.kind = CL_CREDENTIAL_CERTIFICATE, .name = cl_str_of(who)}};
	f->requests++;
	memcpy(made.id, &f->requests, sizeof f->requests);
	return made;
}

/* Writes, and searches for comparison. */
static struct cl_json *run(struct fixture *f, const char *who, const char *method, const char *target,
                           struct cl_str body, int status)
{
	struct cl_response response = {0};
	struct cl_json *out = NULL;
	struct cl_err e = {0};
	f->clock.now += CL_SECOND;
	struct cl_request made = request(f, who, method, cl_arena_copy(f->arena, cl_str_of(target)), body, "");
	cl_organization_execute(f->organization, f->arena, &made, &response);
	if (response.status != status)
		fail_msg("%s %s: %d %.*s", method, target, response.status, CL_STR_ARGS(response.body));
	if (response.body.n && cl_json_parse(f->arena, response.body, NULL, &out, &e))
		fail_msg("%s", e.message);
	return out;
}

static struct cl_response ask(struct fixture *f, const char *who, const char *method, const char *target,
                              const char *body, const char *prefer)
{
	struct cl_response response = {0};
	struct cl_err e = {0};
	struct cl_route route;
	struct cl_issues issues;
	const struct cl_principal *principal;
	struct cl_request *made = CL_NEW(f->arena, struct cl_request);
	*made = request(f, who, method, cl_arena_copy(f->arena, cl_str_of(target)), cl_str_of(body), prefer);
	cl_issues_init(&issues, f->arena, 0);
	if (cl_route_find(f->arena, made, &route, &e) ||
	    cl_interaction_principal(f->organization->rules, f->reader, f->arena, made, &route, f->clock.now,
	                             &principal, &e)) {
		cl_interaction_answer_error(f->arena, NULL, &e, &response);
		return response;
	}
	struct cl_interaction_context context = {.arena = f->arena,
	                                         .store = f->reader,
	                                         .rules = f->organization->rules,
	                                         .request = made,
	                                         .route = &route,
	                                         .principal = principal,
	                                         .now = f->clock.now,
	                                         .response = &response,
	                                         .issues = &issues,
	                                         .exports = f->exports};
	cl_interaction_run_read(&context, f->organization->tail);
	return response;
}

/* "/exports/id" of a new export. */
static const char *begin(struct fixture *f, const char *who, const char *target)
{
	struct cl_response response = ask(f, who, "GET", target, "", "respond-async");
	if (response.status != 202)
		fail_msg("%s: %d %.*s", target, response.status, CL_STR_ARGS(response.body));
	struct cl_str at = cl_response_header(&response, "content-location");
	return cl_arena_cstring(f->arena, at) + strlen("https://test.localhost");
}

static void work(struct fixture *f, int slices)
{
	while (slices-- && cl_exports_work(f->exports, f->reader, NULL, f->organization->tail, f->clock.now) == 0)
		;
}

static struct cl_json *manifest(struct fixture *f, const char *who, const char *status)
{
	struct cl_json *out;
	struct cl_err e = {0};
	struct cl_response response = ask(f, who, "GET", status, "", "");
	if (response.status != 200)
		fail_msg("%s: %d %.*s", status, response.status, CL_STR_ARGS(response.body));
	assert_int_equal(cl_json_parse(f->arena, response.body, NULL, &out, &e), 0);
	return out;
}

/* ---- sets of "Type/id vN", for comparison ---- */

struct set {
	char (*items)[100];
	size_t count;
};

static void set_add(struct set *set, const struct cl_json *resource)
{
	set->items = realloc(set->items, (set->count + 1) * sizeof *set->items);
	snprintf(set->items[set->count++], sizeof *set->items, "%.*s/%.*s v%.*s",
	         CL_STR_ARGS(cl_json_get_text(resource, "resourceType")), CL_STR_ARGS(cl_json_get_text(resource, "id")),
	         CL_STR_ARGS(cl_json_text(cl_json_path(resource, "meta", "versionId", NULL))));
}

static int compare_items(const void *x, const void *y)
{
	return strcmp(x, y);
}

static void set_equal(struct set *x, struct set *y)
{
	qsort(x->items, x->count, sizeof *x->items, compare_items);
	qsort(y->items, y->count, sizeof *y->items, compare_items);
	for (size_t i = 0; i < x->count && i < y->count; i++)
		assert_string_equal(x->items[i], y->items[i]);
	assert_int_equal(x->count, y->count);
	free(x->items);
	free(y->items);
}

/* What the files of one list of the manifest hold. */
static struct set fetch(struct fixture *f, const char *who, const struct cl_json *from, const char *list)
{
	struct set out = {0};
	const struct cl_json *files = cl_json_get(from, list);
	for (uint32_t i = 0; i < files->count; i++) {
		const char *url = cl_arena_cstring(f->arena, cl_json_get_text(&files->items[i], "url"));
		struct cl_response response = ask(f, who, "GET", url + strlen("https://test.localhost"), "", "");
		assert_int_equal(response.status, 200);
		assert_non_null(response.file);
		char *text = malloc(response.file->size);
		assert_int_equal(pread(response.file->descriptor, text, response.file->size, 0), response.file->size);
		close(response.file->descriptor);
		int64_t count = 0, said = -1;
		for (char *at = text, *end = text + response.file->size; at < end;) {
			char *line = memchr(at, '\n', (size_t)(end - at));
			struct cl_json *resource;
			struct cl_err e = {0};
			assert_non_null(line);
			struct cl_str copy = cl_arena_copy(f->arena, (struct cl_str){at, (size_t)(line - at)});
			if (cl_json_parse(f->arena, copy, NULL, &resource, &e))
				fail_msg("%s: %s", url, e.message);
			set_add(&out, resource);
			count++;
			at = line + 1;
		}
		free(text);
		assert_true(cl_json_integer(cl_json_get(&files->items[i], "count"), &said));
		assert_int_equal(count, said);
	}
	return out;
}

static bool in_group(const struct cl_json *resource, bool only_group)
{
	struct cl_str subject = cl_json_text(cl_json_path(resource, "subject", "reference", NULL));
	struct cl_str id = cl_json_get_text(resource, "id");
	if (cl_str_is(cl_json_get_text(resource, "resourceType"), "Patient"))
		return !only_group || cl_str_is(id, "p1") || cl_str_is(id, "p3");
	if (cl_str_is(cl_json_get_text(resource, "resourceType"), "Group"))
		return true; /* p1 and p3 are its members, so it is in their compartments */
	return only_group ? cl_str_is(subject, "Patient/p1") || cl_str_is(subject, "Patient/p3") : subject.n > 0;
}

/* What searches find: level 0 everything, 1 with a patient, 2 of patients p1 and p3. */
static struct set searched(struct fixture *f, const char *who, const char *type, int level)
{
	struct set out = {0};
	char target[2000];
	snprintf(target, sizeof target, "/fhir/%s?_count=100", type);
	for (;;) {
		struct cl_json *bundle = run(f, who, "GET", target, CL_STR_NONE, 200);
		const struct cl_json *entries = cl_json_get(bundle, "entry"), *links = cl_json_get(bundle, "link");
		struct cl_str next = CL_STR_NONE;
		for (uint32_t i = 0; entries && i < entries->count; i++) {
			const struct cl_json *resource = cl_json_get(&entries->items[i], "resource");
			if (!level || in_group(resource, level == 2))
				set_add(&out, resource);
		}
		for (uint32_t i = 0; links && i < links->count; i++)
			if (cl_str_is(cl_json_get_text(&links->items[i], "relation"), "next"))
				next = cl_json_get_text(&links->items[i], "url");
		if (!next.n)
			return out;
		snprintf(target, sizeof target, "%.*s", (int)(next.n - 22), next.p + 22);
	}
}

static void set_join(struct set *set, struct set more)
{
	set->items = realloc(set->items, (set->count + more.count + 1) * sizeof *set->items);
	memcpy(set->items + set->count, more.items ? (void *)more.items : (void *)"", more.count * sizeof *set->items);
	set->count += more.count;
	free(more.items);
}

/* ---- data ---- */

#define OBSERVATIONS 1300

static const char *random_label(void)
{
	static const char *const choices[] = {"", "\"meta\":{\"security\":[{\"code\":\"R\"}]},",
	                                      "\"meta\":{\"security\":[{\"code\":\"N\"}]},"};
	return choices[draw(3)];
}

static void add(struct cl_buf *bundle, const char *type, const char *id, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
static void add(struct cl_buf *bundle, const char *type, const char *id, const char *format, ...)
{
	char text[800];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	cl_buf_printf(
	        bundle,
	        "%s{\"resource\":{\"resourceType\":\"%s\",\"id\":\"%s\",%s},\"request\":{\"method\":\"PUT\",\"url\":"
	        "\"%s/%s\"}}",
	        bundle->p[bundle->n - 1] == '[' ? "" : ",", type, id, text, type, id);
}

static void fill(struct fixture *f)
{
	static const char *const people[] = {"ana", "bo", "cy"};
	struct cl_buf bundle;
	char id[20];
	cl_buf_init(&bundle, 0);
	cl_buf_add_cstring(&bundle, "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[");
	for (int i = 0; i < 6; i++) {
		snprintf(id, sizeof id, "p%d", i);
		add(&bundle, "Patient", id, "%s\"active\":true", random_label());
		snprintf(id, sizeof id, "t%d", i);
		add(&bundle, "CareTeam", id,
		    "\"status\":\"%s\",\"subject\":{\"reference\":\"Patient/p%d\"},\"participant\":[{\"member\":{"
		    "\"reference\":\"Practitioner/%s\"}}]",
		    i % 4 ? "active" : "inactive", i, people[i % 3]);
	}
	for (int i = 0; i < OBSERVATIONS; i++) {
		char subject[80] = "";
		if (draw(10))
			snprintf(subject, sizeof subject, "\"subject\":{\"reference\":\"Patient/p%u\"},", draw(6));
		snprintf(id, sizeof id, "o%d", i);
		add(&bundle, "Observation", id,
		    "%s%s\"status\":\"final\",\"code\":{\"coding\":[{\"system\":\"urn:x\",\"code\":\"%u\"}]}",
		    random_label(), subject, draw(3));
	}
	add(&bundle, "Organization", "here", "\"name\":\"Here\"");
	add(&bundle, "Group", "g",
	    "\"type\":\"person\",\"actual\":true,\"member\":[{\"entity\":{\"reference\":\"Patient/p3\"}},{\"entity\":{"
	    "\"reference\":\"Patient/p1\"}},{\"entity\":{\"reference\":\"Patient/p2\"},\"inactive\":true}]");
	cl_buf_add_cstring(&bundle, "]}");
	run(f, "urn:ehr", "POST", "/fhir", cl_arena_copy(f->arena, cl_buf_str(&bundle)), 200);
	cl_buf_free(&bundle);
}

static const char *const types[] = {"CareTeam", "Group", "Observation", "Organization", "Patient"};
#define ALL_TYPES "_type=CareTeam,Group,Observation,Organization,Patient"

/* ---- tests ---- */

static void exported_is_what_searches_show(void **state)
{
	struct fixture *f = *state;
	static const char *const people[] = {"urn:ehr", "urn:ana", "urn:bo"};
	static const char *const targets[] = {"/fhir/$export?" ALL_TYPES, "/fhir/Patient/$export",
	                                      "/fhir/Group/g/$export?"};
	fill(f);
	for (size_t p = 0; p < 3; p++) {
		for (int level = 0; level < 3; level++) {
			/* A clinician does not see the group: it is in the compartment of a patient not theirs. */
			struct set wanted = {0};
			if (level == 2 && p)
				continue;
			const char *status = begin(f, people[p], targets[level]);
			work(f, 1000);
			struct set found = fetch(f, people[p], manifest(f, people[p], status), "output");
			for (size_t t = 0; t < sizeof types / sizeof *types; t++)
				if (level == 0 || strcmp(types[t], "Organization") != 0)
					set_join(&wanted, searched(f, people[p], types[t], level));
			assert_true(wanted.count > 50);
			set_equal(&found, &wanted);
		}
	}
	/* Who may read some Observations and Groups only. */
	const char *status = begin(f, "urn:cy", "/fhir/$export");
	work(f, 1000);
	struct set found = fetch(f, "urn:cy", manifest(f, "urn:cy", status), "output");
	struct set wanted = searched(f, "urn:cy", "Observation", 0);
	set_join(&wanted, searched(f, "urn:cy", "Group", 0));
	set_equal(&found, &wanted);
	assert_int_equal(ask(f, "urn:nobody", "GET", "/fhir/$export", "", "respond-async").status, 403);
}

static void shows_one_moment(void **state)
{
	struct fixture *f = *state;
	fill(f);
	struct set wanted = {0}, late = {0};
	for (size_t t = 0; t < sizeof types / sizeof *types; t++)
		set_join(&wanted, searched(f, "urn:ehr", types[t], 0));
	const char *status = begin(f, "urn:ehr", "/fhir/$export?_type=Observation,Patient,Group,CareTeam,Organization");
	/* CareTeams, the Group, and the first 500 Observations. */
	work(f, 3);
	static const char body[] =
	        "{\"resourceType\":\"Observation\",\"id\":\"%s\",\"status\":\"amended\",\"code\":{\"text\":\"x\"}}";
	static const char *const changed[] = {"o3", "o1200", "o1201", "new"};
	for (size_t i = 0; i < 4; i++) {
		char text[300], target[60];
		snprintf(text, sizeof text, body, changed[i]);
		snprintf(target, sizeof target, "/fhir/Observation/%s", changed[i]);
		set_add(&late,
		        run(f, "urn:ehr", "PUT", target, cl_arena_copy(f->arena, cl_str_of(text)), i == 3 ? 201 : 200));
	}
	run(f, "urn:ehr", "DELETE", "/fhir/Observation/o1202", CL_STR_NONE, 204);
	work(f, 1000);
	struct cl_json *first = manifest(f, "urn:ehr", status);
	struct set found = fetch(f, "urn:ehr", first, "output");
	set_equal(&found, &wanted);

	/* From there on, exactly what has changed since. */
	char target[200];
	snprintf(target, sizeof target, "/fhir/$export?_since=%.*s",
	         CL_STR_ARGS(cl_json_get_text(first, "transactionTime")));
	f->clock.now += CL_SECOND;
	status = begin(f, "urn:ehr", target);
	work(f, 1000);
	struct cl_json *second = manifest(f, "urn:ehr", status);
	struct set found_late = {0}, all = fetch(f, "urn:ehr", second, "output");
	for (size_t i = 0; i < all.count; i++) /* what was written at that very time comes again */
		for (size_t l = 0; l < late.count; l++)
			if (strcmp(all.items[i], late.items[l]) == 0) {
				found_late.items =
				        realloc(found_late.items, (found_late.count + 1) * sizeof *all.items);
				memcpy(found_late.items[found_late.count++], all.items[i], sizeof *all.items);
			}
	free(all.items);
	set_equal(&found_late, &late);
	struct set gone = fetch(f, "urn:ehr", second, "deleted");
	assert_int_equal(gone.count, 1);
	free(gone.items);
}

static void goes_on_after_a_restart(void **state)
{
	struct fixture *f = *state;
	struct cl_export_settings settings = f->exports->settings;
	char command[400];
	fill(f);
	struct set wanted = {0}, again = {0};
	for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
		set_join(&wanted, searched(f, "urn:ehr", types[t], 0));
		set_join(&again, searched(f, "urn:ehr", types[t], 0));
	}
	const char *status = begin(f, "urn:ehr", "/fhir/$export?" ALL_TYPES);
	work(f, 4);
	cl_exports_close(f->exports);
	open_exports(f, &settings);
	assert_int_equal(ask(f, "urn:ehr", "GET", status, "", "").status, 202);
	work(f, 1000);
	struct set found = fetch(f, "urn:ehr", manifest(f, "urn:ehr", status), "output");
	set_equal(&found, &wanted);
	/* After a power cut a file may be shorter than was noted: all of it is made again, and shows the same. */
	snprintf(command, sizeof command, "truncate -s 100 %s%s/Observation.ndjson", f->folder, status);
	assert_int_equal(system(command), 0);
	cl_exports_close(f->exports);
	open_exports(f, &settings);
	assert_int_equal(ask(f, "urn:ehr", "GET", status, "", "").status, 202);
	work(f, 1000);
	found = fetch(f, "urn:ehr", manifest(f, "urn:ehr", status), "output");
	set_equal(&found, &again);
	/* What cannot be read goes. */
	snprintf(command, sizeof command, "%s%s/request.json", f->folder, status);
	write_text(command, "{}");
	cl_exports_close(f->exports);
	open_exports(f, &settings);
	assert_int_equal(ask(f, "urn:ehr", "GET", status, "", "").status, 404);
	snprintf(command, sizeof command, "%s%s", f->folder, status);
	assert_int_equal(access(command, F_OK), -1);
}

static void belongs_to_who_asked_and_expires(void **state)
{
	struct fixture *f = *state;
	char path[200];
	fill(f);
	const char *status = begin(f, "urn:ehr", "/fhir/$export?_type=Patient");
	work(f, 1000);
	snprintf(path, sizeof path, "%s/Patient.ndjson", status);
	assert_int_equal(ask(f, "urn:ana", "GET", status, "", "").status, 404);
	assert_int_equal(ask(f, "urn:ana", "GET", path, "", "").status, 404);
	assert_int_equal(ask(f, "urn:ana", "DELETE", status, "", "").status, 404);
	struct cl_response response = ask(f, "urn:ehr", "GET", path, "", "");
	assert_int_equal(response.status, 200);
	close(response.file->descriptor);
	snprintf(path, sizeof path, "%s/../request.json", status);
	assert_int_equal(ask(f, "urn:ehr", "GET", path, "", "").status, 404);
	snprintf(path, sizeof path, "%s/request.json", status);
	assert_int_equal(ask(f, "urn:ehr", "GET", path, "", "").status, 404);
	f->clock.now += CL_DAY - CL_MINUTE;
	work(f, 10);
	assert_int_equal(ask(f, "urn:ehr", "GET", status, "", "").status, 200);
	f->clock.now += 2 * CL_MINUTE;
	work(f, 10);
	assert_int_equal(ask(f, "urn:ehr", "GET", status, "", "").status, 404);
	snprintf(path, sizeof path, "%s%s", f->folder, status);
	assert_int_equal(access(path, F_OK), -1);
}

static void bounded_and_cancelled(void **state)
{
	struct fixture *f = *state;
	const char *status[4];
	fill(f);
	for (int i = 0; i < 4; i++)
		status[i] = begin(f, "urn:ehr", "/fhir/$export");
	assert_int_equal(ask(f, "urn:ehr", "GET", "/fhir/$export", "", "respond-async").status, 429);
	assert_int_equal(ask(f, "urn:ehr", "DELETE", status[0], "", "").status, 202);
	assert_int_equal(ask(f, "urn:ehr", "GET", status[0], "", "").status, 404);
	assert_int_equal(ask(f, "urn:ehr", "GET", "/fhir/$export", "", "respond-async").status, 202);
	work(f, 10000);
	for (int i = 1; i < 4; i++)
		assert_int_equal(ask(f, "urn:ehr", "GET", status[i], "", "").status, 200);
}

static void a_full_disk_ends_it(void **state)
{
	struct fixture *f = *state;
	char path[200];
	fill(f);
	f->exports->settings.reserve = INT64_MAX / 2;
	const char *status = begin(f, "urn:ehr", "/fhir/$export");
	work(f, 1000);
	struct cl_response response = ask(f, "urn:ehr", "GET", status, "", "");
	assert_int_equal(response.status, 507);
	assert_non_null(memmem(response.body.p, response.body.n, "disk is nearly full", 19));
	assert_null(memmem(response.body.p, response.body.n, f->folder, strlen(f->folder)));
	snprintf(path, sizeof path, "%s%s/CareTeam.ndjson", f->folder, status);
	assert_int_equal(access(path, F_OK), -1);
	run(f, "urn:ehr", "PUT", "/fhir/Patient/after", CL_STR("{\"resourceType\":\"Patient\",\"id\":\"after\"}"), 201);
}

static void a_restore_ends_it(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	fill(f);
	const char *status = begin(f, "urn:ehr", "/fhir/$export?" ALL_TYPES);
	work(f, 3);
	assert_int_equal(cl_store_raise_incarnation(f->organization->store, &e), 0);
	cl_store_close(f->reader);
	assert_int_equal(cl_store_open(f->folder, "test", CL_STORE_READER, &f->reader, &e), 0);
	work(f, 1000);
	assert_int_equal(ask(f, "urn:ehr", "GET", status, "", "").status, 410);
}

static void parameters_are_strict_or_lenient(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {"/fhir/$export?_type=Patiend",
	                                  "/fhir/$export?_since=yesterday",
	                                  "/fhir/$export?_outputFormat=text/csv",
	                                  "/fhir/$export?includeAssociatedData=x",
	                                  "/fhir/$export?_typeFilter=Patient%3Fnonsense%3Dx",
	                                  "/fhir/$export?patient=Patient/p1",
	                                  "/fhir/Patient/$export?patient=Practitioner/x"};
	fill(f);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(ask(f, "urn:ehr", "GET", bad[i], "", "respond-async").status, 400);
	assert_int_equal(ask(f, "urn:ehr", "GET", "/fhir/$export", "", "").status, 400);
	assert_int_equal(ask(f, "urn:ehr", "GET", "/fhir/Group/none/$export", "", "respond-async").status, 404);
	assert_int_equal(ask(f, "urn:ehr", "GET", "/fhir/Observation/$export", "", "respond-async").status, 404);
	/* Lenient: done without, and said. */
	struct cl_response response = ask(
	        f, "urn:ehr", "GET", "/fhir/Patient/$export?_type=Patient,Organization&_magic=1&_outputFormat=ndjson",
	        "", "respond-async, handling=lenient");
	assert_int_equal(response.status, 202);
	work(f, 1000);
	const char *status = cl_arena_cstring(f->arena, cl_response_header(&response, "content-location"));
	struct cl_json *lenient = manifest(f, "urn:ehr", status + strlen("https://test.localhost"));
	struct set notes = fetch(f, "urn:ehr", lenient, "error");
	assert_int_equal(notes.count, 2);
	free(notes.items);
	/* As Parameters; a filter and elements. */
	static const char parameters[] =
	        "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"_type\",\"valueString\":\"Observation\"},"
	        "{\"name\":\"patient\",\"valueReference\":{\"reference\":\"Patient/p1\"}},"
	        "{\"name\":\"_typeFilter\",\"valueString\":\"Observation?code=1\"},"
	        "{\"name\":\"_elements\",\"valueString\":\"Observation.status\"}]}";
	response = ask(f, "urn:ehr", "POST", "/fhir/Patient/$export", parameters, "respond-async");
	assert_int_equal(response.status, 202);
	work(f, 1000);
	status = cl_arena_cstring(f->arena, cl_response_header(&response, "content-location"));
	struct set found =
	        fetch(f, "urn:ehr", manifest(f, "urn:ehr", status + strlen("https://test.localhost")), "output");
	struct set wanted = searched(f, "urn:ehr", "Observation", 0);
	free(wanted.items);
	wanted = (struct set){0};
	struct cl_json *bundle =
	        run(f, "urn:ehr", "GET", "/fhir/Observation?code=1&subject=Patient/p1&_count=1000", CL_STR_NONE, 200);
	const struct cl_json *entries = cl_json_get(bundle, "entry");
	for (uint32_t i = 0; i < entries->count; i++)
		set_add(&wanted, cl_json_get(&entries->items[i], "resource"));
	assert_true(wanted.count > 10);
	set_equal(&found, &wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(exported_is_what_searches_show, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(shows_one_moment, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(goes_on_after_a_restart, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(belongs_to_who_asked_and_expires, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(bounded_and_cancelled, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_full_disk_ends_it, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_restore_ends_it, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(parameters_are_strict_or_lenient, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
