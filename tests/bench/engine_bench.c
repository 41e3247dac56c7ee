/* engine_bench.c: what one organization does in a second on its writer's connection, at the group size that 32 clients give:
 * create, update, transition with a Lua guard and effect, all with access, validation, audit and commit. Prints rates, the ratio
 * of the last two, and the CPU time that each took, which other users of the machine disturb less; asserts nothing. Then what subscriptions cost an update of a Patient: the ratio
 * of CPU times with and without, in turns. Use: engine_bench [seconds] */
#include "org/engine/organization.h"
#include "org/fhir/types.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define GROUP 32

static const char config[] =
        "return { name = 'Bench', zone = 'America/Chicago', plugins = { 'own' }, reference = 'Organization/bench',\n"
        "  principals = { ehr = { kind = 'client', roles = { 'all' }, certificate = 'urn:ehr' } } }\n";

static const char plugin_text[] =
        "return plugin { name = 'own', api = 1, summary = 'bench',\n"
        "  roles = { all = { summary = 'everything', allow = { { 'read search create update transition', types = '*' } "
        "} } },\n"
        "  workflow 'loop' { summary = 'back and forth', subject = 'Patient', start = 'here',\n"
        "    here = { status = 'requested', owner = 'all', action = 'go', within = '2 days', on = { go = { 'there',\n"
        "      guard = function (ctx, task, data) return task.intent == 'order' end,\n"
        "      effect = function (ctx, task, data) ctx:set_timer('look:' .. task.id, '1 day', {}) end } } },\n"
        "    there = { status = 'in-progress', owner = 'all', action = 'come back', within = '2 days',\n"
        "      on = { back = { 'here', guard = function (ctx, task) return task.status == 'in-progress' end }, stop = "
        "'gone' } },\n"
        "    gone = { status = 'completed', final = true } },\n"
        "  timer 'look' (function (ctx, data) end) }\n";

static const char patient[] =
        "{\"resourceType\":\"Patient\",\"active\":true,\"identifier\":[{\"use\":\"usual\",\"system\":\"urn:oid:1.2.36."
        "146.595.217.0.1\","
        "\"value\":\"%llu\"}],\"name\":[{\"use\":\"official\",\"family\":\"Chalmers\",\"given\":[\"Peter\",\"James\"]},"
        "{\"use\":\"usual\","
        "\"given\":[\"Jim\"]}],\"telecom\":[{\"system\":\"phone\",\"value\":\"(03) 5555 "
        "6473\",\"use\":\"work\",\"rank\":1}],"
        "\"gender\":\"male\",\"birthDate\":\"1974-12-%02llu\",\"address\":[{\"use\":\"home\",\"type\":\"both\","
        "\"line\":[\"534 Erewhon St\"],"
        "\"city\":\"PleasantVille\",\"district\":\"Rainbow\",\"state\":\"Vic\",\"postalCode\":\"3999\"}]%s}";

static struct cl_organization *organization;
static uint64_t requests;

static void must(int code, const struct cl_err *e)
{
	if (code) {
		fprintf(stderr, "%s %s\n", e->where, e->message);
		exit(1);
	}
}

static struct cl_response run(struct cl_arena *arena, const char *method, struct cl_str target, struct cl_str body)
{
	static struct cl_header headers[] = {{{"content-type", 12}, {"application/fhir+json", 21}}};
	struct cl_request request = {.method = cl_str_of(method),
	                             .target = target,
	                             .body = body,
	                             .base = CL_STR("https://b"),
	                             .headers = headers,
	                             .header_count = 1,
	                             .credential = {.kind = CL_CREDENTIAL_CERTIFICATE, .name = CL_STR("urn:ehr")}};
	struct cl_outcome outcome;
	requests++;
	for (int i = 0; i < 8; i++)
		request.id[15 - i] = (uint8_t)(requests >> (8 * i));
	cl_organization_run(organization, arena, &request, &outcome);
	if (outcome.response.status >= 400) {
		fprintf(stderr, "%d %.*s\n", outcome.response.status, CL_STR_ARGS(outcome.response.body));
		exit(1);
	}
	return outcome.response;
}

struct subject {
	char id[40];
	bool there;
};
static struct subject tasks[GROUP], patients[GROUP];

enum work { CREATE, UPDATE, TRANSITION };

static void one(struct cl_arena *arena, enum work work, int slot)
{
	static uint64_t n;
	n++;
	switch (work) {
	case CREATE:
		run(arena, "POST", CL_STR("/fhir/Patient"),
		    cl_arena_printf(arena, patient, (unsigned long long)n, (unsigned long long)n % 28 + 1, ""));
		break;
	case UPDATE: {
		struct cl_str id = cl_arena_printf(arena, ",\"id\":\"%s\"", patients[slot].id);
		run(arena, "PUT", cl_arena_printf(arena, "/fhir/Patient/%s", patients[slot].id),
		    cl_arena_printf(arena, patient, (unsigned long long)n, (unsigned long long)n % 28 + 1, id.p));
		break;
	}
	case TRANSITION:
		run(arena, "POST", cl_arena_printf(arena, "/fhir/Task/%s/$transition", tasks[slot].id),
		    cl_arena_printf(arena,
		                    "{\"resourceType\":\"Parameters\",\"parameter\":[{\"name\":\"event\","
		                    "\"valueString\":\"%s\"}]}",
		                    tasks[slot].there ? "back" : "go"));
		tasks[slot].there = !tasks[slot].there;
		break;
	}
}

/* CPU time of the process in microseconds. */
static double cpu_time(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double measure(enum work work, double seconds, double *cost)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_err e = {0};
	int64_t begun = cl_monotonic(), until = begun + (int64_t)(seconds * 1e6);
	long count = 0;
	double cpu = cpu_time();
	while (cl_monotonic() < until) {
		must(cl_store_begin(organization->store, &e), &e);
		for (int i = 0; i < GROUP; i++, count++)
			one(arena, work, i);
		must(cl_store_commit(organization->store, &e), &e);
		if (cl_store_wal_size(organization->store) > 16 * 1024 * 1024)
			cl_store_checkpoint(organization->store, true, &e);
		cl_arena_reset(arena);
	}
	cl_arena_free(arena);
	*cost = (cpu_time() - cpu) / (double)count;
	return (double)count / ((double)(cl_monotonic() - begun) / 1e6);
}

static void take_id(struct cl_arena *arena, struct cl_str body, char out[40])
{
	struct cl_json *json;
	struct cl_err e = {0};
	must(cl_json_parse(arena, body, NULL, &json, &e), &e);
	snprintf(out, 40, "%.*s", CL_STR_ARGS(cl_json_get_text(json, "id")));
}

static void write_text(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	fputs(text, out);
	fclose(out);
}

/* `count` subscriptions of Patients, whose criteria are `format` with their number; active or off. */
static void subscribe(const char *format, int count, bool active)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_err e = {0};
	char criteria[100];
	static int64_t version;
	version++;
	must(cl_store_begin(organization->store, &e), &e);
	for (int i = 0; i < count; i++) {
		snprintf(criteria, sizeof criteria, "%s%d", format, 1800 + i);
		struct cl_stored_subscription row = {
		        .id = cl_arena_printf(arena, "s%d", i),
		        .version = version,
		        .state = active ? CL_STR("active") : CL_STR("off"),
		        .type = CL_TYPE_PATIENT,
		        .criteria = cl_str_of(criteria),
		        .principal = CL_STR("ehr"),
		        .endpoint = CL_STR("https://hooks.example.org"),
		        .headers = CL_STR("[]"),
		};
		must(cl_store_subscription_put(organization->store, &row, &e), &e);
	}
	must(cl_store_commit(organization->store, &e), &e);
	cl_arena_free(arena);
}

static int compare_ratios(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void measure_subscriptions(const char *what, const char *format, int count, double seconds)
{
	double ratios[7], ignored, without, with;
	for (int i = 0; i < 7; i++) {
		subscribe(format, count, false);
		measure(UPDATE, seconds / 50, &ignored);
		measure(UPDATE, seconds / 10, &without);
		subscribe(format, count, true);
		measure(UPDATE, seconds / 50, &ignored); /* they are compiled with the first change */
		measure(UPDATE, seconds / 10, &with);
		ratios[i] = with / without;
	}
	subscribe(format, count, false);
	qsort(ratios, 7, sizeof *ratios, compare_ratios);
	printf("update with %d subscriptions %s: CPU x%.2f (x%.2f to x%.2f)\n", count, what, ratios[3], ratios[0],
	       ratios[6]);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
	char folder[] = "/tmp/careloop-bench-XXXXXX", path[200], plugins[100], organizations[100], command[120];
	struct cl_json *archive;
	struct cl_rules *rules;
	struct cl_clock clock = {0};
	struct cl_err e = {0};
	if (!mkdtemp(folder))
		return 1;
	snprintf(plugins, sizeof plugins, "%s/plugins", folder);
	snprintf(organizations, sizeof organizations, "%s/orgs", folder);
	mkdir(plugins, 0700);
	mkdir(organizations, 0700);
	snprintf(path, sizeof path, "%s/bench", organizations);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/bench/own", organizations);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/bench.lua", organizations);
	write_text(path, config);
	snprintf(path, sizeof path, "%s/bench/own/plugin.lua", organizations);
	write_text(path, plugin_text);
	struct cl_arena *arena = cl_arena_new(0);
	must(cl_lua_archive(arena, organizations, plugins, "bench", &archive, &e), &e);
	must(cl_rules_new(archive, NULL, NULL, &rules, NULL, &e), &e);
	must(cl_organization_open(folder, "bench", rules, &clock, NULL, &organization, &e), &e);
	printf("memory of the plugin state: %zu KiB\n", cl_lua_memory(rules->lua) / 1024);
	must(cl_store_begin(organization->store, &e), &e);
	for (int i = 0; i < GROUP; i++) {
		take_id(arena,
		        run(arena, "POST", CL_STR("/fhir/Patient"), cl_arena_printf(arena, patient, 0ull, 1ull, ""))
		                .body,
		        patients[i].id);
		struct cl_str body = cl_arena_printf(
		        arena,
		        "{\"resourceType\":\"Task\",\"status\":\"draft\",\"intent\":\"order\",\"code\":{\"coding\":"
		        "[{\"system\":\"urn:careloop:workflow\",\"code\":\"loop\"}]},\"focus\":{\"reference\":"
		        "\"Patient/%s\"},"
		        "\"for\":{\"reference\":\"Patient/%s\"}}",
		        patients[i].id, patients[i].id);
		take_id(arena, run(arena, "POST", CL_STR("/fhir/Task"), body).body, tasks[i].id);
	}
	must(cl_store_commit(organization->store, &e), &e);
	double create[5], update[5], transition[5];
	for (int i = 0; i < 5; i++) {
		double costs[3];
		create[i] = measure(CREATE, seconds / 5, &costs[0]);
		update[i] = measure(UPDATE, seconds / 5, &costs[1]);
		transition[i] = measure(TRANSITION, seconds / 5, &costs[2]);
		printf("create %.0f/s  update %.0f/s  transition %.0f/s  transition/update %.2f  CPU %.0f %.0f %.0f "
		       "us\n",
		       create[i], update[i], transition[i], transition[i] / update[i], costs[0], costs[1], costs[2]);
	}
	measure_subscriptions("for other identifiers", "identifier=urn:x|other-", 1000, seconds);
	measure_subscriptions("whose criteria must be decided one by one", "birthdate=lt", 100, seconds);
	measure_subscriptions("whose criteria must be decided one by one", "death-date=", 1000, seconds);
	measure_subscriptions("that match", "gender=male&birthdate=gt", 10, seconds);
	cl_organization_close(organization);
	cl_rules_release(rules);
	cl_arena_free(arena);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	return system(command);
}
