/* engine_support.h: one organization under a virtual clock, with requests, and a replay of what happened at the end of each test. */
#pragma once
#include "org/engine/organization.h"
#include "base/hash.h"
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
        "  partners = { lakeside = { name = 'Lakeside', url = 'https://lakeside.localhost:1', reference = "
        "'Organization/l' } },\n"
        "  principals = { ehr = { kind = 'client', roles = { 'all' }, certificate = 'urn:ehr' },\n"
        "                 other = { kind = 'client', roles = { 'all' }, certificate = 'urn:other' },\n"
        "                 limited = { kind = 'person', roles = { 'limited' }, certificate = 'urn:limited' } } }\n";

static const char plugin_text[] =
        "return plugin { name = 'own', api = 1, summary = 'test',\n"
        "  settings = { call_within = { type = 'duration', default = '1 day', help = 'x' } },\n"
        "  roles = { all = { summary = 'everything', allow = { { 'read search history create update delete transition "
        "message events "
        "metrics', types = '*', except_labels = {} } } },\n"
        "            limited = { summary = 'nothing labelled', allow = { { 'read search history create update', types "
        "= '*',\n"
        "              except_labels = { 'R' } } } },\n"
        "            partner = { summary = 'partner', allow = { { 'message', types = '*' } } } },\n"
        "  workflow 'callback' { summary = 'c', subject = 'Patient', start = 'asked',\n"
        "    asked = { status = 'requested', owner = 'all', action = 'call', within = setting 'call_within',\n"
        "              overdue = escalate('all', { again = '1 day', times = 2, finally = 'give_up' }),\n"
        "              on = { reached = { 'done', needs = { result = 'string' } }, give_up = { 'unreached', by = "
        "'clock' } } },\n"
        "    done = { status = 'completed', final = true }, unreached = { status = 'failed', final = true } },\n"
        "  on 'Patient.create' (function (ctx, change)\n"
        "    local p = change.resource\n"
        "    if p.gender == 'other' then ctx:refuse('no such patients', 'Patient.gender') end\n"
        "    if p.gender == 'female' then ctx:create { resourceType = 'Flag', status = 'active', code = { text = "
        "'seen' },\n"
        "       subject = { reference = change.reference } } end\n"
        "  end),\n"
        "  every('07:00', 'weekdays', function (ctx)\n"
        "    ctx:create { resourceType = 'List', status = 'current', mode = 'snapshot', title = ctx:today() }\n"
        "  end),\n"
        "  timer 'poison' (function (ctx, data) error('poison') end),\n"
        "  operation '$poison' { summary = 'x', roles = { 'all' }, run = function (ctx) ctx:set_timer('poison:1', '1 "
        "hour', {}) end },\n"
        "}\n";

struct fixture {
	char folder[64], plugins[128], organizations[128];
	struct cl_clock clock;
	struct cl_arena *arena;
	struct cl_organization *organization;
	uint64_t requests;
};

static inline void write_text(const char *path, const char *text)
{
	FILE *out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static inline struct cl_rules *load(struct fixture *f, const char *text)
{
	char path[256];
	struct cl_json *archive;
	struct cl_rules *rules;
	struct cl_err e = {0};
	struct cl_buf problems;
	cl_buf_init(&problems, 10000);
	snprintf(path, sizeof path, "%s/test/own/plugin.lua", f->organizations);
	write_text(path, text);
	if (cl_lua_archive(f->arena, f->organizations, f->plugins, "test", &archive, &e))
		fail_msg("%s %s", e.where, e.message);
	if (cl_rules_new(archive, NULL, NULL, &rules, &problems, &e))
		fail_msg("%s %s\n%.*s", e.where, e.message, CL_STR_ARGS(cl_buf_str(&problems)));
	cl_buf_free(&problems);
	return rules;
}

static inline int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	char path[256];
	struct cl_err e = {0};
	snprintf(f->folder, sizeof f->folder, "/tmp/careloop-engine-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->plugins, sizeof f->plugins, "%s/plugins", f->folder);
	snprintf(f->organizations, sizeof f->organizations, "%s/orgs", f->folder);
	mkdir(f->plugins, 0700);
	mkdir(f->organizations, 0700);
	snprintf(path, sizeof path, "%s/test", f->organizations);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/test/own", f->organizations);
	mkdir(path, 0700);
	snprintf(path, sizeof path, "%s/test.lua", f->organizations);
	write_text(path, config);
	f->arena = cl_arena_new(0);
	/* Monday 2026-11-02 09:00 in Chicago. */
	f->clock = (struct cl_clock){.is_virtual = true, .now = (cl_instant)1793631600 * CL_SECOND};
	struct cl_rules *rules = load(f, plugin_text);
	if (cl_organization_open(f->folder, "test", rules, &f->clock, NULL, &f->organization, &e))
		fail_msg("%s %s", e.where, e.message);
	cl_rules_release(rules);
	*state = f;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];
	struct cl_err e = {0};
	char replay[128];
	snprintf(replay, sizeof replay, "%s/replay", f->folder);
	mkdir(replay, 0700);
	/* Whatever a test did: the event log gives the same file again. */
	int code = cl_organization_replay(f->organization->store, replay, "test", &e);
	if (code)
		print_error("replay: %s %s\n", e.message, e.where);
	struct cl_audit_head head;
	if (cl_audit_verify(f->organization->store, NULL, &head, &e)) {
		print_error("audit: %s\n", e.message);
		code = -1;
	}
	cl_organization_close(f->organization);
	cl_arena_free(f->arena);
	snprintf(command, sizeof command, "rm -rf %s", f->folder);
	int ignored = system(command);
	(void)ignored;
	free(f);
	return code;
}

static inline struct cl_request request(struct fixture *f, const char *method, const char *target, const char *body)
{
	static struct cl_header headers[2][4];
	static int turn;
	struct cl_request made = {
	        .method = cl_str_of(method),
	        .target = cl_str_of(target),
	        .base = CL_STR("https://test.localhost"),
	        .body = cl_arena_copy(f->arena, cl_str_of(body)),
	        .credential = {.kind = CL_CREDENTIAL_CERTIFICATE, .name = CL_STR("urn:ehr")},
	};
	made.headers = headers[turn++ & 1];
	made.headers[made.header_count++] = (struct cl_header){CL_STR("content-type"), CL_STR("application/fhir+json")};
	f->requests++;
	for (int i = 0; i < 8; i++)
		made.id[15 - i] = (uint8_t)(f->requests >> (8 * i));
	return made;
}

static inline struct cl_response send(struct fixture *f, const char *method, const char *target, const char *body,
                                      int status)
{
	struct cl_response response;
	struct cl_request made = request(f, method, target, body);
	cl_organization_execute(f->organization, f->arena, &made, &response);
	if (response.status != status)
		fail_msg("%s %s: %d instead of %d: %.*s", method, target, response.status, status,
		         CL_STR_ARGS(response.body));
	return response;
}

static inline struct cl_json *parse(struct fixture *f, struct cl_str text)
{
	struct cl_json *json;
	struct cl_err e = {0};
	if (cl_json_parse(f->arena, text, NULL, &json, &e))
		fail_msg("%s in %.*s", e.message, CL_STR_ARGS(text));
	return json;
}

static inline int64_t total(struct fixture *f, const char *search)
{
	char target[200];
	int64_t count = -1;
	snprintf(target, sizeof target, "/fhir/%s%c_summary=count", search, strchr(search, '?') ? '&' : '?');
	struct cl_json *bundle = parse(f, send(f, "GET", target, "", 200).body);
	assert_true(cl_json_integer(cl_json_get(bundle, "total"), &count));
	return count;
}

/* As another principal, with one more header (NULL: none). */
static inline struct cl_response send_as(struct fixture *f, const char *certificate, const char *method,
                                         const char *target, const char *body, const char *header, const char *value,
                                         int status)
{
	struct cl_response response;
	struct cl_request made = request(f, method, target, body);
	made.credential.name = cl_str_of(certificate);
	if (header)
		made.headers[made.header_count++] = (struct cl_header){cl_str_of(header), cl_str_of(value)};
	cl_organization_execute(f->organization, f->arena, &made, &response);
	if (response.status != status)
		fail_msg("%s %s: %d instead of %d: %.*s", method, target, response.status, status,
		         CL_STR_ARGS(response.body));
	return response;
}

static inline int count_leaf(const struct cl_audit_record *record, void *context)
{
	(void)record;
	(*(int *)context)++;
	return 0;
}

/* Leaves about a target. */
static inline int leaves(struct fixture *f, const char *target)
{
	int count = 0;
	struct cl_err e = {0};
	assert_int_equal(
	        cl_audit_list(f->organization->store, CL_STR_NONE, cl_str_of(target), 1000, count_leaf, &count, &e), 0);
	return count;
}

static inline struct cl_str status_of(const struct cl_json *bundle, const char *entry)
{
	return cl_json_text(cl_json_path(bundle, "entry", entry, "response", "status", NULL));
}

/* JSON in single quotes. */
static inline const char *q(struct fixture *f, const char *text)
{
	char *copy = cl_arena_cstring(f->arena, cl_str_of(text));
	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	return copy;
}

static inline void says(const struct cl_response *response, const char *words)
{
	if (!response->body.n || !memmem(response->body.p, response->body.n, words, strlen(words)))
		fail_msg("'%s' is not in %.*s", words, CL_STR_ARGS(response->body));
}

static inline void has_header(const struct cl_response *response, const char *name, const char *value)
{
	struct cl_str is = cl_response_header(response, name);
	if (!cl_str_is(is, value))
		fail_msg("%s is '%.*s' instead of '%s'", name, CL_STR_ARGS(is), value);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
