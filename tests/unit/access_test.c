/* access_test.c: the two faces of access agree on random data; roles compile; credentials resolve to principals. */
#include "org/access/scope.h"
#include "base/hash.h"
#include "org/fhir/index.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENTS 12
#define RESOURCES 240

static uint64_t seed = 20261122;

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

struct fixture {
	struct cl_arena *arena;
	struct cl_store *store;
	struct cl_access *access;
	struct cl_catalog catalog;
	struct cl_organization_facts facts;
	char folder[64];
};

static struct cl_grant grant(const char *name, const char *interactions, struct cl_str *types, size_t count,
                             const char *where, struct cl_str *labels, size_t label_count)
{
	return (struct cl_grant){.name = cl_str_of(name),
	                         .interactions = cl_str_of(interactions),
	                         .types = types,
	                         .type_count = count,
	                         .where = cl_str_of(where),
	                         .except_labels = labels,
	                         .except_count = label_count,
	                         .origin = {CL_STR("test"), CL_STR("plugin.lua"), 7}};
}

static struct cl_str labels[] = {{"R", 1}, {"V", 1}};
static struct cl_str all_types[] = {{"*", 1}};
static struct cl_str tasks[] = {{"Task", 4}};
static struct cl_str observations[] = {{"Observation", 11}};
static struct cl_grant clinician_grants[1], owner_grants[2], auditor_grants[1];
static struct cl_role_rule roles[3];

static const char config[] =
        "{\"principals\":{"
        "\"ana\":{\"kind\":\"person\",\"roles\":[\"clinician\"],\"reference\":\"Practitioner/ana\","
        "\"certificate\":\"urn:careloop:test:person:ana\",\"anchor\":\"aa\"},"
        "\"bo\":{\"kind\":\"person\",\"roles\":[\"owner\"],\"reference\":\"Practitioner/bo\"},"
        "\"cy\":{\"kind\":\"person\",\"roles\":[\"clinician\",\"owner\"],\"reference\":\"Practitioner/cy\"},"
        "\"di\":{\"kind\":\"person\",\"roles\":[\"auditor\"],\"reference\":\"Practitioner/di\"},"
        "\"none\":{\"kind\":\"person\",\"roles\":[]}},"
        "\"partners\":{}}";

static void put(struct fixture *f, const char *text)
{
	struct cl_json *json;
	struct cl_err e = {0};
	struct cl_index values, none = {0};
	assert_int_equal(cl_json_parse(f->arena, cl_arena_copy(f->arena, cl_str_of(text)), NULL, &json, &e), 0);
	struct cl_version version = {
	        .type = cl_fhir_type(cl_json_get_text(json, "resourceType")),
	        .id = cl_json_get_text(json, "id"),
	        .operation = CL_OP_CREATE,
	        .updated = 1,
	        .sequence = 1,
	        .body = cl_str_of(text),
	};
	version.body = cl_arena_copy(f->arena, version.body);
	assert_int_equal(cl_fhir_index(f->arena, version.type, json, &values, &e), 0);
	int code = cl_store_put(f->store, &version, &none, &values, &e);
	if (code)
		fail_msg("%s", e.message);
}

static const char *random_label(void)
{
	static const char *const choices[] = {
	        "",
	        "\"meta\":{\"security\":[{\"code\":\"R\"}]},",
	        "\"meta\":{\"security\":[{\"code\":\"N\"}]},",
	        "\"meta\":{\"security\":[{\"code\":\"N\"},{\"code\":\"V\"}]},",
	};
	return choices[draw(4)];
}

static void fill(struct fixture *f)
{
	static const char *const people[] = {"ana", "bo", "cy", "di"};
	char text[600];
	for (int i = 0; i < PATIENTS; i++) {
		snprintf(text, sizeof text, "{\"resourceType\":\"Patient\",\"id\":\"p%d\",%s\"active\":true}", i,
		         random_label());
		put(f, text);
		snprintf(text, sizeof text,
		         "{\"resourceType\":\"CareTeam\",\"id\":\"t%d\",\"status\":\"%s\",\"subject\":{\"reference\":"
		         "\"Patient/p%d\"},"
		         "\"participant\":[{\"member\":{\"reference\":\"Practitioner/%s\"}}]}",
		         i, draw(3) ? "active" : "inactive", i, people[draw(4)]);
		put(f, text);
	}
	for (int i = 0; i < RESOURCES; i++) {
		int patient = (int)draw(PATIENTS);
		if (draw(2))
			snprintf(text, sizeof text,
			         "{\"resourceType\":\"Task\",\"id\":\"k%d\",%s\"status\":\"%s\",\"intent\":\"order\","
			         "\"for\":{\"reference\":\"Patient/p%d\"},\"owner\":{\"reference\":\"Practitioner/"
			         "%s\"}}",
			         i, random_label(), draw(2) ? "requested" : "completed", patient, people[draw(4)]);
		else
			snprintf(text, sizeof text,
			         "{\"resourceType\":\"Observation\",\"id\":\"o%d\",%s\"status\":\"final\",\"code\":{"
			         "\"coding\":"
			         "[{\"system\":\"http://"
			         "loinc.org\",\"code\":\"%s\"}]},\"subject\":{\"reference\":\"Patient/p%d\"}}",
			         i, random_label(), draw(2) ? "44261-6" : "70274-6", patient);
		put(f, text);
	}
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct cl_err e = {0};
	snprintf(f->folder, sizeof f->folder, "/tmp/careloop-access-XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	f->arena = cl_arena_new(0);
	clinician_grants[0] = grant("clinician#1", "read search", all_types, 1, "care team", labels, 2);
	owner_grants[0] =
	        grant("owner#1", "read search update transition", tasks, 1, "owner=@self&status=requested", labels, 1);
	owner_grants[1] = grant("owner#2", "read search", observations, 1, "code=44261-6", NULL, 0);
	auditor_grants[0] = grant("auditor#1", "read search", all_types, 1, "", NULL, 0);
	roles[0] = (struct cl_role_rule){.name = CL_STR("clinician"), .grants = clinician_grants, .grant_count = 1};
	roles[1] = (struct cl_role_rule){.name = CL_STR("owner"), .grants = owner_grants, .grant_count = 2};
	roles[2] = (struct cl_role_rule){.name = CL_STR("auditor"), .grants = auditor_grants, .grant_count = 1};
	f->catalog = (struct cl_catalog){.roles = roles, .role_count = 3};
	f->facts = (struct cl_organization_facts){.id = CL_STR("test"), .reference = CL_STR("Organization/test")};
	assert_int_equal(cl_json_parse(f->arena, cl_str_of(config), NULL, &f->facts.config, &e), 0);
	if (cl_access_new(&f->catalog, &f->facts, &f->access, &e))
		fail_msg("%s %s", e.where, e.message);
	assert_int_equal(cl_store_open(f->folder, "test", CL_STORE_WRITER, &f->store, &e), 0);
	struct cl_str names[256] = {{0}};
	for (uint16_t type = 1; type <= cl_fhir_type_count(); type++)
		names[type] = cl_fhir_type_name(type);
	assert_int_equal(cl_store_name_types(f->store, names, (size_t)cl_fhir_type_count() + 1, &e), 0);
	assert_int_equal(cl_store_begin(f->store, &e), 0);
	fill(f);
	assert_int_equal(cl_store_commit(f->store, &e), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char command[128];
	cl_access_free(f->access);
	cl_store_close(f->store);
	cl_arena_free(f->arena);
	snprintf(command, sizeof command, "rm -rf %s", f->folder);
	int ignored = system(command);
	free(f);
	return ignored;
}

/* Every resource, every principal: the search's rows, the decision on the row and the decision on the values are the same set. */
static void faces_agree(void **state)
{
	struct fixture *f = *state;
	static const char *const types[] = {"Patient", "CareTeam", "Task", "Observation"};
	const struct cl_principal *principals;
	size_t count = cl_access_principals(f->access, &principals), allowed_total = 0, refused_total = 0;
	for (size_t p = 0; p < count; p++) {
		for (size_t t = 0; t < 4; t++) {
			uint16_t type = cl_fhir_type(cl_str_of(types[t]));
			struct cl_err e = {0};
			struct cl_str rule;
			struct cl_query query = {.type = type, .limit = 1000, .bodies = true};
			struct cl_search_result everything, allowed = {0};
			assert_int_equal(cl_store_search(f->store, f->arena, &query, &everything, &e), 0);
			int may = cl_access_predicate(f->access, f->arena, &principals[p], CL_ACCESS_SEARCH, type,
			                              &query.access, &rule, &e);
			if (!may)
				assert_int_equal(cl_store_search(f->store, f->arena, &query, &allowed, &e), 0);
			for (size_t i = 0; i < everything.count; i++) {
				bool listed = false;
				for (size_t j = 0; j < allowed.count; j++)
					listed = listed || allowed.items[j].row == everything.items[i].row;
				struct cl_json *json;
				struct cl_index values;
				struct cl_err refused = {0};
				assert_int_equal(cl_json_parse(f->arena, everything.items[i].body, NULL, &json, &e), 0);
				assert_int_equal(cl_fhir_index(f->arena, type, json, &values, &e), 0);
				bool memory =
				        !cl_access_decide(f->access, f->store, f->arena, &principals[p], CL_ACCESS_READ,
				                          type, everything.items[i].id, &values, &rule, &refused);
				bool row = !cl_access_decide_row(f->access, f->store, f->arena, &principals[p],
				                                 CL_ACCESS_READ, type, everything.items[i].row, &rule,
				                                 &refused);
				if (memory != listed || row != listed)
					fail_msg("%.*s on %s/%.*s: search %d, values %d, row %d",
					         CL_STR_ARGS(principals[p].name), types[t],
					         CL_STR_ARGS(everything.items[i].id), listed, memory, row);
				allowed_total += listed;
				refused_total += !listed;
			}
		}
	}
	assert_true(allowed_total > 300);
	assert_true(refused_total > 300);
}

/* ---- scopes ---- */

static const char *const scope_types[] = {"*", "Patient", "Task", "Observation", "CareTeam"};
static const char *const scope_rights[] = {"r", "s", "rs", "cruds", "cud", "u", "crs", "read", "write", "*"};
static const struct {
	const char *type, *query, *path, *value; /* true where the text at the path is the value */
} scope_queries[] = {
        {"Task", "status=requested", "status", "requested"},
        {"Task", "owner=Practitioner/bo", "owner", "Practitioner/bo"},
        {"Observation", "code=44261-6", "code", "44261-6"},
        {"Observation", "code=http://loinc.org%7C70274-6", "code", "70274-6"},
};

struct drawn_scope {
	const char *type, *rights;
	int query; /* of scope_queries, or -1 */
};

/* What the text of a resource says about a scope, without its index and without criteria. */
static bool scope_allows(const struct drawn_scope *scope, char right, const struct cl_json *resource)
{
	struct cl_str type = cl_json_get_text(resource, "resourceType");
	const char *rights = !strcmp(scope->rights, "read")    ? "rs"
	                     : !strcmp(scope->rights, "write") ? "cud"
	                     : !strcmp(scope->rights, "*")     ? "cruds"
	                                                       : scope->rights;
	if (!strchr(rights, right) || (strcmp(scope->type, "*") != 0 && !cl_str_is(type, scope->type)))
		return false;
	if (scope->query < 0)
		return true;
	const char *path = scope_queries[scope->query].path;
	struct cl_str said = !strcmp(path, "code")
	                             ? cl_json_text(cl_json_path(resource, "code", "coding", "0", "code", NULL))
	                     : !strcmp(path, "owner") ? cl_json_text(cl_json_path(resource, "owner", "reference", NULL))
	                                              : cl_json_get_text(resource, path);
	return cl_str_is(said, scope_queries[scope->query].value);
}

static size_t draw_scopes(struct drawn_scope *out, char *text, size_t size)
{
	size_t count = 1 + draw(3), n = 0;
	for (size_t i = 0; i < count; i++) {
		out[i] = (struct drawn_scope){scope_types[draw(5)], scope_rights[draw(10)], -1};
		if (draw(2)) {
			out[i].query = (int)draw(4);
			out[i].type = scope_queries[out[i].query].type;
		}
		n += (size_t)snprintf(text + n, size - n, "%ssystem/%s.%s%s%s", i ? " " : "", out[i].type,
		                      out[i].rights, out[i].query < 0 ? "" : "?",
		                      out[i].query < 0 ? "" : scope_queries[out[i].query].query);
	}
	return count;
}

/* Every resource: role and scope, as an independent reading of the texts has them, against both faces. */
static void compare_faces(struct fixture *f, const struct cl_principal *wide, const struct cl_principal *narrow,
                          const struct drawn_scope *scopes, size_t count, size_t counts[2])
{
	static const char *const types[] = {"Patient", "CareTeam", "Task", "Observation"};
	static const struct {
		enum cl_interaction interaction;
		char right;
	} interactions[] = {{CL_ACCESS_READ, 'r'}, {CL_ACCESS_SEARCH, 's'}, {CL_ACCESS_UPDATE, 'u'}};
	for (size_t n = 0; n < 12; n++) {
		enum cl_interaction interaction = interactions[n % 3].interaction;
		uint16_t type = cl_fhir_type(cl_str_of(types[n / 3]));
		struct cl_err e = {0};
		struct cl_str rule;
		struct cl_query query = {.type = type, .limit = 1000, .bodies = true};
		struct cl_search_result everything, allowed = {0};
		assert_int_equal(cl_store_search(f->store, f->arena, &query, &everything, &e), 0);
		int may = cl_access_may(f->access, narrow, interaction, type, &rule, &e);
		int code =
		        cl_access_predicate(f->access, f->arena, narrow, interaction, type, &query.access, &rule, &e);
		assert_true(!may || code); /* what may not be at all has no rows */
		if (!code)
			assert_int_equal(cl_store_search(f->store, f->arena, &query, &allowed, &e), 0);
		for (size_t i = 0; i < everything.count; i++) {
			const struct cl_version *version = &everything.items[i];
			struct cl_json *json;
			struct cl_index values;
			struct cl_err refused = {0};
			bool listed = false, expected = false;
			for (size_t j = 0; j < allowed.count; j++)
				listed = listed || allowed.items[j].row == version->row;
			assert_int_equal(cl_json_parse(f->arena, version->body, NULL, &json, &e), 0);
			assert_int_equal(cl_fhir_index(f->arena, type, json, &values, &e), 0);
			for (size_t s = 0; s < count; s++)
				expected = expected || scope_allows(&scopes[s], interactions[n % 3].right, json);
			expected = expected && !cl_access_decide(f->access, f->store, f->arena, wide, interaction, type,
			                                         version->id, &values, &rule, &refused);
			bool memory = !cl_access_decide(f->access, f->store, f->arena, narrow, interaction, type,
			                                version->id, &values, &rule, &refused);
			bool row = !cl_access_decide_row(f->access, f->store, f->arena, narrow, interaction, type,
			                                 version->row, &rule, &refused);
			if (listed != expected || memory != expected || row != expected)
				fail_msg("%.*s with '%.*s', %c on %s/%.*s: expected %d, search %d, values %d, row %d",
				         CL_STR_ARGS(narrow->name), CL_STR_ARGS(narrow->scope),
				         interactions[n % 3].right, types[n / 3], CL_STR_ARGS(version->id), expected,
				         listed, memory, row);
			counts[expected]++;
		}
	}
}

static void scopes_narrow_on_both_faces(void **state)
{
	struct fixture *f = *state;
	static const char *const names[] = {"ana", "bo", "cy", "di"};
	size_t counts[2] = {0};
	for (int round = 0; round < 60; round++) {
		struct drawn_scope scopes[3];
		struct cl_err e = {0};
		char text[400];
		struct cl_arena *keep = f->arena;
		const struct cl_principal *wide = cl_access_principal(f->access, cl_str_of(names[round % 4])), *narrow;
		f->arena = cl_arena_new(0);
		size_t count = draw_scopes(scopes, text, sizeof text);
		if (cl_access_narrow(f->arena, wide, cl_str_of(text), &narrow, &e))
			fail_msg("%s: %s", text, e.message);
		compare_faces(f, wide, narrow, scopes, count, counts);
		cl_arena_free(f->arena);
		f->arena = keep;
	}
	assert_true(counts[0] > 5000);
	assert_true(counts[1] > 1500);
}

static bool same_scopes(struct fixture *f, const char *text, const char *expected)
{
	struct cl_scopes scopes, again;
	struct cl_err e = {0};
	if (cl_scopes_parse(f->arena, cl_str_of(text), &scopes, &e))
		fail_msg("%s: %s", text, e.message);
	struct cl_str written = cl_scopes_text(f->arena, &scopes);
	assert_int_equal(cl_scopes_parse(f->arena, written, &again, &e), 0);
	assert_true(cl_str_equal(cl_scopes_text(f->arena, &again), written));
	if (!cl_str_is(written, expected))
		print_error("%s -> %.*s, not %s\n", text, CL_STR_ARGS(written), expected);
	return cl_str_is(written, expected);
}

static void scopes_are_read(void **state)
{
	struct fixture *f = *state;
	struct cl_scopes scopes;
	static const char *const bad[] = {
	        "system/Patient",
	        "system/Patient.",
	        "system/Patient.sr",
	        "system/Patient.rr",
	        "system/Patient.x",
	        "system/Pateint.r",
	        "system/.r",
	        "system/*",
	        "system/*.rs?code=x",
	        "system/Task.r?nothing=x",
	        "user/Patient.r",
	        "patient/*.read",
	        "system/Task.r?_count=5",
	        "system/Patient.reads",
	        "system/Task.r?owner:Practitioner.name=x",
	        "system/Patient.r\"",
	        "system/Patient.r?_has:Observation:patient:code=x",
	        "system/Task.r?_sort=status",
	};
	assert_true(same_scopes(f, "system/Patient.rs", "system/Patient.rs"));
	assert_true(same_scopes(f, "system/*.read  system/Task.write", "system/*.rs system/Task.cud"));
	assert_true(same_scopes(f, "openid fhirUser launch/patient offline_access system/*.*", "system/*.cruds"));
	assert_true(same_scopes(f, "system/Task.r?status=requested", "system/Task.r?status=requested"));
	assert_true(same_scopes(f, "", ""));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct cl_err e = {0};
		if (cl_scopes_parse(f->arena, cl_str_of(bad[i]), &scopes, &e) != CL_E_INVALID)
			fail_msg("'%s' is no scope", bad[i]);
		assert_true(e.message[0] != 0);
	}
}

static void scopes_meet_and_are_trimmed(void **state)
{
	struct fixture *f = *state;
	static const char *const cases[][3] = {
	        {"system/*.rs", "system/*.cruds", "system/*.rs"},
	        {"system/*.cruds", "system/Task.rs system/Patient.r", "system/Task.rs system/Patient.r"},
	        {"system/Patient.rs", "system/Task.rs", ""},
	        {"system/Task.rs", "system/Task.cud", ""},
	        {"system/Task.rs?status=requested", "system/*.r", "system/Task.r?status=requested"},
	        {"system/Task.rs?status=requested", "system/Task.rs?owner=Practitioner/bo",
	         "system/Task.rs?status=requested&owner=Practitioner/bo"},
	        {"system/Task.rs system/*.r", "system/*.cruds", "system/Task.rs system/*.r"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_scopes a, b, met;
		struct cl_err e = {0};
		assert_int_equal(cl_scopes_parse(f->arena, cl_str_of(cases[i][0]), &a, &e), 0);
		assert_int_equal(cl_scopes_parse(f->arena, cl_str_of(cases[i][1]), &b, &e), 0);
		assert_int_equal(cl_scopes_meet(f->arena, &a, &b, &met, &e), 0);
		struct cl_str text = cl_scopes_text(f->arena, &met);
		if (!cl_str_is(text, cases[i][2]))
			fail_msg("%s and %s: %.*s", cases[i][0], cases[i][1], CL_STR_ARGS(text));
	}
	struct cl_scopes scopes;
	struct cl_err e = {0};
	assert_int_equal(
	        cl_scopes_parse(f->arena, CL_STR("system/Task.cruds system/Patient.rs system/*.ds"), &scopes, &e), 0);
	cl_scopes_trim(&scopes, f->access, cl_access_principal(f->access, CL_STR("bo")));
	struct cl_str text = cl_scopes_text(f->arena, &scopes);
	assert_string_equal(cl_arena_cstring(f->arena, text), "system/Task.rus system/*.s");
}

static void what_has_no_type_needs_its_scope(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *scope;
		enum cl_interaction interaction;
		bool covered;
	} cases[] = {
	        {"system/Task.r", CL_ACCESS_EVENTS, true},           {"system/Task.cud", CL_ACCESS_EVENTS, false},
	        {"system/MeasureReport.r", CL_ACCESS_METRICS, true}, {"system/Task.rs", CL_ACCESS_METRICS, false},
	        {"system/MessageHeader.c", CL_ACCESS_MESSAGE, true}, {"system/*.rs", CL_ACCESS_MESSAGE, false},
	        {"system/*.cruds", CL_ACCESS_ADMIN, false},          {"system/*.cruds", CL_ACCESS_METRICS, true},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_scopes scopes;
		struct cl_err e = {0};
		assert_int_equal(cl_scopes_parse(f->arena, cl_str_of(cases[i].scope), &scopes, &e), 0);
		assert_int_equal(cl_scopes_cover(&scopes, cases[i].interaction, 0), cases[i].covered);
	}
	assert_true(cl_scopes_cover(NULL, CL_ACCESS_ADMIN, 0));
	/* What outlives the token must not see more than it. */
	static const struct {
		const char *scope;
		bool covered;
	} subscribers[] = {{"system/Subscription.cu system/Patient.rs", false},
	                   {"system/Subscription.cu system/*.rs", true},
	                   {"system/*.cud", false},
	                   {"system/*.cruds", true}};
	for (size_t i = 0; i < sizeof subscribers / sizeof *subscribers; i++) {
		struct cl_scopes scopes;
		struct cl_criterion *criterion;
		struct cl_err e = {0};
		assert_int_equal(cl_scopes_parse(f->arena, cl_str_of(subscribers[i].scope), &scopes, &e), 0);
		assert_int_equal(cl_scopes_cover(&scopes, CL_ACCESS_CREATE, CL_TYPE_SUBSCRIPTION),
		                 subscribers[i].covered);
		assert_int_equal(
		        cl_scopes_criterion(&scopes, f->arena, CL_ACCESS_UPDATE, CL_TYPE_SUBSCRIPTION, &criterion),
		        subscribers[i].covered);
	}
}

static void bound_tokens_need_their_certificate(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	const struct cl_principal *who;
	struct cl_stored_token token = {
	        .principal = CL_STR("di"), .scope = CL_STR("system/Task.rs"), .bound = CL_STR("abcd"), .expires = 100};
	struct cl_credential credential = {.kind = CL_CREDENTIAL_BEARER, .token = CL_STR("bound")};
	cl_sha256_of(credential.token, token.hash);
	assert_int_equal(cl_store_begin(f->store, &e), 0);
	assert_int_equal(cl_store_token_put(f->store, &token, &e), 0);
	assert_int_equal(cl_store_commit(f->store, &e), 0);
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 1, &who, &e),
	                 CL_E_UNAUTHENTICATED);
	credential.fingerprint = CL_STR("abce");
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 1, &who, &e),
	                 CL_E_UNAUTHENTICATED);
	credential.fingerprint = CL_STR("abcd");
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 1, &who, &e), 0);
	assert_non_null(who->scopes);
	struct cl_str rule;
	assert_int_equal(cl_access_may(f->access, who, CL_ACCESS_READ, cl_fhir_type(CL_STR("Task")), &rule, &e), 0);
	assert_int_equal(cl_access_may(f->access, who, CL_ACCESS_READ, cl_fhir_type(CL_STR("Patient")), &rule, &e),
	                 CL_E_FORBIDDEN);
	assert_non_null(strstr(e.message, "scopes of this token"));
}

static void denied_by_default(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	struct cl_str rule;
	const struct cl_principal *none = cl_access_principal(f->access, CL_STR("none"));
	const struct cl_principal *bo = cl_access_principal(f->access, CL_STR("bo"));
	uint16_t patient = cl_fhir_type(CL_STR("Patient"));
	assert_int_equal(cl_access_may(f->access, none, CL_ACCESS_READ, patient, &rule, &e), CL_E_FORBIDDEN);
	assert_int_equal(cl_access_may(f->access, bo, CL_ACCESS_READ, patient, &rule, &e), CL_E_FORBIDDEN);
	assert_int_equal(cl_access_may(f->access, bo, CL_ACCESS_CREATE, cl_fhir_type(CL_STR("Task")), &rule, &e),
	                 CL_E_FORBIDDEN);
	assert_null(memmem(e.message, strlen(e.message), "p1", 2));
}

static void credentials_need_their_anchor(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	const struct cl_principal *who;
	struct cl_credential credential = {.kind = CL_CREDENTIAL_CERTIFICATE,
	                                   .anchor = CL_STR("aa"),
	                                   .name = CL_STR("urn:careloop:test:person:ana")};
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 0, &who, &e), 0);
	assert_true(cl_str_is(who->name, "ana"));
	/* The same name under another authority is nobody here (pitfalls 16). */
	credential.anchor = CL_STR("bb");
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 0, &who, &e),
	                 CL_E_UNAUTHENTICATED);
	credential = (struct cl_credential){.kind = CL_CREDENTIAL_NONE};
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 0, &who, &e),
	                 CL_E_UNAUTHENTICATED);
}

static void tokens_expire_and_are_revoked(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	const struct cl_principal *who;
	uint8_t hash[CL_SHA256_SIZE];
	struct cl_credential credential = {.kind = CL_CREDENTIAL_BEARER, .token = CL_STR("secret")};
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 0, &who, &e),
	                 CL_E_UNAUTHENTICATED);
	cl_sha256_of(credential.token, hash);
	assert_int_equal(cl_store_begin(f->store, &e), 0);
	struct cl_stored_token token = {.principal = CL_STR("bo"), .expires = 100};
	memcpy(token.hash, hash, sizeof hash);
	assert_int_equal(cl_store_token_put(f->store, &token, &e), 0);
	assert_int_equal(cl_store_commit(f->store, &e), 0);
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 99, &who, &e), 0);
	assert_true(cl_str_is(who->name, "bo"));
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 100, &who, &e),
	                 CL_E_UNAUTHENTICATED);
	assert_int_equal(cl_store_begin(f->store, &e), 0);
	assert_int_equal(cl_store_token_delete(f->store, hash, &e), 0);
	assert_int_equal(cl_store_commit(f->store, &e), 0);
	assert_int_equal(cl_access_resolve(f->access, f->store, f->arena, &credential, 50, &who, &e),
	                 CL_E_UNAUTHENTICATED);
}

static void bad_roles_are_refused_with_their_place(void **state)
{
	struct fixture *f = *state;
	struct cl_err e = {0};
	struct cl_access *access;
	struct cl_grant good = owner_grants[0];
	owner_grants[0].where = CL_STR("ownr=@self");
	assert_int_equal(cl_access_new(&f->catalog, &f->facts, &access, &e), CL_E_RULE);
	assert_string_equal(e.where, "plugin.lua:7");
	owner_grants[0] = good;
	owner_grants[0].interactions = CL_STR("read wirte");
	assert_int_equal(cl_access_new(&f->catalog, &f->facts, &access, &e), CL_E_RULE);
	assert_non_null(strstr(e.message, "wirte"));
	owner_grants[0] = good;
	/* A condition that is none. */
	owner_grants[0].where = CL_STR("_count=5");
	assert_int_equal(cl_access_new(&f->catalog, &f->facts, &access, &e), CL_E_RULE);
	assert_string_equal(e.where, "plugin.lua:7");
	owner_grants[0] = good;
}

static void names_are_nobody_else_s(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
	        "{\"principals\":{\"console\":{\"kind\":\"person\",\"roles\":[]}}}",
	        "{\"principals\":{\"clock\":{\"kind\":\"person\",\"roles\":[]}}}",
	        "{\"principals\":{\"a\":{\"kind\":\"person\",\"roles\":[]}},\"partners\":{\"a\":{\"roles\":[\"owner\"]}"
	        "}}",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct cl_organization_facts facts = f->facts;
		struct cl_access *access;
		struct cl_err e = {0};
		assert_int_equal(cl_json_parse(f->arena, cl_str_of(bad[i]), NULL, &facts.config, &e), 0);
		assert_int_equal(cl_access_new(&f->catalog, &facts, &access, &e), CL_E_RULE);
	}
}

static int64_t row_owned_by(struct fixture *f, const char *search_text)
{
	struct cl_fhir_search_context context = {.type = cl_fhir_type(CL_STR("Task"))};
	struct cl_fhir_search search;
	struct cl_search_result result;
	struct cl_err e = {0};
	assert_int_equal(cl_fhir_search_parse(f->arena, &context, cl_str_of(search_text), &search, &e), 0);
	assert_int_equal(cl_store_search(f->store, f->arena, &search.query, &result, &e), 0);
	assert_int_equal(result.count, 1);
	return result.items[0].row;
}

/* A grant for one workflow does not lift the condition of the grant for another. */
static void transitions_are_decided_by_one_grant(void **state)
{
	struct fixture *f = *state;
	static const char people[] = "{\"principals\":{\"bo\":{\"kind\":\"person\",\"roles\":[\"owner\"],"
	                             "\"reference\":\"Practitioner/bo\"}}}";
	struct cl_err e = {0};
	struct cl_str rule;
	struct cl_access *access;
	struct cl_grant grants[] = {grant("mover#1", "transition", tasks, 1, "", NULL, 0),
	                            grant("mover#2", "transition", tasks, 1, "owner=@self", NULL, 0)};
	grants[0].workflow = CL_STR("open");
	grants[1].workflow = CL_STR("own");
	struct cl_role_rule role = {.name = CL_STR("owner"), .grants = grants, .grant_count = 2};
	struct cl_catalog catalog = {.roles = &role, .role_count = 1};
	struct cl_organization_facts facts = f->facts;
	uint16_t task = cl_fhir_type(CL_STR("Task"));
	assert_int_equal(cl_json_parse(f->arena, cl_str_of(people), NULL, &facts.config, &e), 0);
	assert_int_equal(cl_access_new(&catalog, &facts, &access, &e), 0);
	const struct cl_principal *bo = cl_access_principal(access, CL_STR("bo"));
	const struct {
		const char *search, *workflow;
		int code;
	} cases[] = {
	        {"owner=Practitioner/bo&_count=1", "own", 0},
	        {"owner=Practitioner/di&_count=1", "open", 0},
	        {"owner=Practitioner/di&_count=1", "own", CL_E_FORBIDDEN},
	        {"owner=Practitioner/bo&_count=1", "third", CL_E_FORBIDDEN},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(cl_access_transition(access, f->store, f->arena, bo, task,
		                                      row_owned_by(f, cases[i].search), cl_str_of(cases[i].workflow),
		                                      &rule, &e),
		                 cases[i].code);
	cl_access_free(access);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(faces_agree),
	        cmocka_unit_test(scopes_narrow_on_both_faces),
	        cmocka_unit_test(scopes_are_read),
	        cmocka_unit_test(scopes_meet_and_are_trimmed),
	        cmocka_unit_test(what_has_no_type_needs_its_scope),
	        cmocka_unit_test(bound_tokens_need_their_certificate),
	        cmocka_unit_test(denied_by_default),
	        cmocka_unit_test(credentials_need_their_anchor),
	        cmocka_unit_test(tokens_expire_and_are_revoked),
	        cmocka_unit_test(bad_roles_are_refused_with_their_place),
	        cmocka_unit_test(names_are_nobody_else_s),
	        cmocka_unit_test(transitions_are_decided_by_one_grant),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
