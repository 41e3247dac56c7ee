/* roles.c: compiles the roles that plugins declare and the principals that the organization names into permissions. */
#include "org/access/access_internal.h"
#include "base/json.h"
#include "jose/jwk.h"
#include "org/access/scope.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"

static const struct {
	const char *word;
	unsigned bit;
} interaction_words[] = {
        {"read", CL_ACCESS_READ},
        {"search", CL_ACCESS_SEARCH},
        {"history", CL_ACCESS_HISTORY},
        {"create", CL_ACCESS_CREATE},
        {"update", CL_ACCESS_UPDATE},
        {"delete", CL_ACCESS_DELETE},
        {"transition", CL_ACCESS_TRANSITION},
        {"undo", CL_ACCESS_UNDO},
        {"message", CL_ACCESS_MESSAGE},
        {"events", CL_ACCESS_EVENTS},
        {"metrics", CL_ACCESS_METRICS},
        {"admin", CL_ACCESS_ADMIN},
};

int cl_interaction_parse(struct cl_str word, unsigned *out)
{
	for (size_t i = 0; i < sizeof interaction_words / sizeof *interaction_words; i++)
		if (cl_str_is(word, interaction_words[i].word)) {
			*out = interaction_words[i].bit;
			return 0;
		}
	return CL_E_INVALID;
}

static int parse_interactions(const struct cl_grant *grant, unsigned *out, struct cl_err *e)
{
	struct cl_str rest = grant->interactions;
	*out = 0;
	while (rest.n) {
		size_t n = 0;
		while (n < rest.n && rest.p[n] != ' ' && rest.p[n] != ',')
			n++;
		unsigned bit;
		if (n) {
			struct cl_str word = {rest.p, n};
			if (cl_interaction_parse(word, &bit)) {
				cl_fail(e, CL_E_RULE,
				        "grant %.*s: '%.*s' is no interaction; known: read search history create "
				        "update delete "
				        "transition undo message events metrics admin",
				        CL_STR_ARGS(grant->name), CL_STR_ARGS(word));
				return cl_fail_at(e, "%.*s:%d", CL_STR_ARGS(grant->origin.file), grant->origin.line);
			}
			*out |= bit;
		}
		rest = n < rest.n ? (struct cl_str){rest.p + n + 1, rest.n - n - 1} : CL_STR_NONE;
	}
	return 0;
}

/* Puts the principal's own references in place of @self and @organization. */
static struct cl_str fill_variables(struct cl_arena *arena, struct cl_str text, const struct cl_principal *principal,
                                    const struct cl_organization_facts *organization)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	for (size_t i = 0; i < text.n;) {
		struct cl_str rest = {text.p + i, text.n - i};
		if (cl_str_starts(rest, "@self")) {
			cl_buf_add_str(&out,
			               principal->reference.n ? principal->reference : CL_STR("Practitioner/-nobody-"));
			i += 5;
		} else if (cl_str_starts(rest, "@organization")) {
			cl_buf_add_str(&out, organization->reference);
			i += 13;
		} else {
			cl_buf_add_byte(&out, text.p[i++]);
		}
	}
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&out));
	cl_buf_free(&out);
	return copy;
}

static int compile_permission(struct cl_access *access, const struct cl_grant *grant,
                              const struct cl_principal *principal, const struct cl_organization_facts *organization,
                              struct cl_permission *out, struct cl_err *e)
{
	*out = (struct cl_permission){.grant = grant};
	int code = parse_interactions(grant, &out->interactions, e);
	if (code)
		return code;
	out->types = CL_NEW_ARRAY(access->arena, uint16_t, grant->type_count + 1);
	for (size_t i = 0; i < grant->type_count; i++) {
		if (cl_str_is(grant->types[i], "*")) {
			out->all_types = true;
			continue;
		}
		uint16_t type = cl_fhir_type(grant->types[i]);
		if (!type) {
			cl_fail(e, CL_E_RULE, "grant %.*s: '%.*s' is no FHIR R4 resource type",
			        CL_STR_ARGS(grant->name), CL_STR_ARGS(grant->types[i]));
			return cl_fail_at(e, "%.*s:%d", CL_STR_ARGS(grant->origin.file), grant->origin.line);
		}
		out->types[out->type_count++] = type;
	}
	if (!grant->where.n)
		return 0;
	if (cl_str_is(grant->where, "care team")) {
		out->care_team = true;
		return 0;
	}
	if (out->all_types || !out->type_count) {
		cl_fail(e, CL_E_RULE,
		        "grant %.*s: a search condition needs the types named, '*' has no search parameters of its own",
		        CL_STR_ARGS(grant->name));
		return cl_fail_at(e, "%.*s:%d", CL_STR_ARGS(grant->origin.file), grant->origin.line);
	}
	struct cl_str where = fill_variables(access->arena, grant->where, principal, organization);
	out->conditions = CL_NEW_ARRAY(access->arena, struct cl_condition, out->type_count);
	for (size_t i = 0; i < out->type_count; i++) {
		struct cl_err problem = {0};
		struct cl_fhir_search search;
		struct cl_fhir_search_context context = {.type = out->types[i]};
		if (cl_fhir_search_parse(access->arena, &context, where, &search, &problem)) {
			struct cl_str name = cl_fhir_type_name(out->types[i]);
			cl_fail(e, CL_E_RULE, "grant %.*s: condition '%.*s' on %.*s: %s", CL_STR_ARGS(grant->name),
			        CL_STR_ARGS(grant->where), CL_STR_ARGS(name), problem.message);
			return cl_fail_at(e, "%.*s:%d", CL_STR_ARGS(grant->origin.file), grant->origin.line);
		}
		/* "_count=5" finds everything: no condition at all. */
		if (!search.query.where) {
			cl_fail(e, CL_E_RULE, "grant %.*s: '%.*s' restricts nothing", CL_STR_ARGS(grant->name),
			        CL_STR_ARGS(grant->where));
			return cl_fail_at(e, "%.*s:%d", CL_STR_ARGS(grant->origin.file), grant->origin.line);
		}
		out->conditions[out->condition_count++] = (struct cl_condition){out->types[i], search.query.where};
	}
	return 0;
}

static const struct cl_role_rule *find_role(const struct cl_catalog *catalog, struct cl_str name)
{
	for (size_t i = 0; i < catalog->role_count; i++)
		if (cl_str_equal(catalog->roles[i].name, name))
			return &catalog->roles[i];
	return NULL;
}

static int compile_holder(struct cl_access *access, const struct cl_catalog *catalog,
                          const struct cl_organization_facts *organization, struct cl_holder *holder, struct cl_err *e)
{
	size_t total = 0;
	for (size_t i = 0; i < holder->principal.role_count; i++) {
		const struct cl_role_rule *role = find_role(catalog, holder->principal.roles[i]);
		if (!role) {
			cl_fail(e, CL_E_RULE, "principal '%.*s' has the role '%.*s', which no plugin declares",
			        CL_STR_ARGS(holder->principal.name), CL_STR_ARGS(holder->principal.roles[i]));
			return cl_fail_at(e, "principals.%.*s.roles", CL_STR_ARGS(holder->principal.name));
		}
		total += role->grant_count;
	}
	holder->permissions = CL_NEW_ARRAY(access->arena, struct cl_permission, total + 1);
	for (size_t i = 0; i < holder->principal.role_count; i++) {
		const struct cl_role_rule *role = find_role(catalog, holder->principal.roles[i]);
		for (size_t g = 0; g < role->grant_count; g++) {
			int code = compile_permission(access, &role->grants[g], &holder->principal, organization,
			                              &holder->permissions[holder->permission_count], e);
			if (code)
				return code;
			holder->permission_count++;
		}
	}
	return 0;
}

static void read_principal(struct cl_access *access, struct cl_str name, const struct cl_json *entry,
                           struct cl_principal *out)
{
	struct cl_arena *arena = access->arena;
	*out = (struct cl_principal){
	        .name = cl_arena_copy(arena, name),
	        .kind = cl_arena_copy(arena, cl_json_get_text(entry, "kind")),
	        .reference = cl_arena_copy(arena, cl_json_get_text(entry, "reference")),
	        .anchor = cl_arena_copy(arena, cl_json_get_text(entry, "anchor")),
	        .certificate = cl_arena_copy(arena, cl_json_get_text(entry, "certificate")),
	        .registered = cl_arena_copy(arena, cl_json_get_text(entry, "scopes")),
	};
	const struct cl_json *keys = cl_json_get(entry, "jwks");
	out->keys = keys ? cl_json_copy(arena, keys) : NULL;
	const struct cl_json *roles = cl_json_get(entry, "roles");
	if (roles && roles->kind == CL_JSON_ARRAY) {
		out->roles = CL_NEW_ARRAY(arena, struct cl_str, roles->count + 1);
		for (uint32_t i = 0; i < roles->count; i++)
			out->roles[out->role_count++] = cl_arena_copy(arena, cl_json_text(&roles->items[i]));
	}
}

/* A name is who somebody is: in the audit, for idempotency keys, in the event log. No two may share one, and none may be
 * taken for one of the server's own. */
static int check_name(const struct cl_access *access, size_t place, struct cl_err *e)
{
	static const char *const own[] = {"console", "courier", "clock", "system", "-"};
	struct cl_str name = access->holders[place].principal.name;
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (cl_str_is(name, own[i])) {
			cl_fail(e, CL_E_RULE, "'%s' is a name of the server's own; give the principal another one",
			        own[i]);
			return cl_fail_at(e, "principals.%s", own[i]);
		}
	for (size_t i = 0; i < place; i++)
		if (cl_str_equal(access->holders[i].principal.name, name)) {
			cl_fail(e, CL_E_RULE,
			        "'%.*s' is the name of a principal and of a partner; they need different ones",
			        CL_STR_ARGS(name));
			return cl_fail_at(e, "partners.%.*s", CL_STR_ARGS(name));
		}
	return 0;
}

/* What a client proves itself with must be right before it comes. */
static int check_client(struct cl_access *access, const struct cl_principal *principal, struct cl_err *e)
{
	struct cl_jwks keys;
	struct cl_scopes scopes;
	struct cl_err problem = {0};
	if (principal->keys) {
		if (cl_jwks_parse(access->arena, principal->keys, &keys, &problem)) {
			cl_fail(e, CL_E_RULE, "principal '%.*s': %s", CL_STR_ARGS(principal->name), problem.message);
			return cl_fail_at(e, "principals.%.*s.jwks.%s", CL_STR_ARGS(principal->name), problem.where);
		}
		cl_jwks_free(&keys);
	}
	if (cl_scopes_parse(access->arena, principal->registered, &scopes, &problem)) {
		cl_fail(e, CL_E_RULE, "principal '%.*s': %s", CL_STR_ARGS(principal->name), problem.message);
		return cl_fail_at(e, "principals.%.*s.scopes", CL_STR_ARGS(principal->name));
	}
	return 0;
}

int cl_access_new(const struct cl_catalog *catalog, const struct cl_organization_facts *organization,
                  struct cl_access **out, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_access *access = CL_NEW(arena, struct cl_access);
	access->arena = arena;
	access->catalog = catalog;
	access->console = (struct cl_principal){.name = CL_STR("console"), .kind = CL_STR("system"), .console = true};
	access->courier = (struct cl_principal){.name = CL_STR("courier"), .kind = CL_STR("system"), .console = true};
	const struct cl_json *principals = cl_json_get(organization->config, "principals");
	const struct cl_json *partners = cl_json_get(organization->config, "partners");
	size_t count = (principals && principals->kind == CL_JSON_OBJECT ? principals->count : 0) +
	               (partners && partners->kind == CL_JSON_OBJECT ? partners->count : 0);
	access->holders = CL_NEW_ARRAY(arena, struct cl_holder, count + 1);
	access->principals = CL_NEW_ARRAY(arena, struct cl_principal, count + 1);
	int code = 0;
	for (uint32_t i = 0; principals && principals->kind == CL_JSON_OBJECT && i < principals->count; i++) {
		struct cl_holder *holder = &access->holders[access->holder_count++];
		read_principal(access, principals->members[i].name, &principals->members[i].value, &holder->principal);
	}
	/* A partner organization is a principal by being named: its role is "partner" unless the configuration says more. */
	for (uint32_t i = 0; partners && partners->kind == CL_JSON_OBJECT && i < partners->count; i++) {
		struct cl_holder *holder = &access->holders[access->holder_count++];
		read_principal(access, partners->members[i].name, &partners->members[i].value, &holder->principal);
		holder->principal.kind = CL_STR("partner");
		if (!holder->principal.role_count) {
			holder->principal.roles = CL_NEW_ARRAY(arena, struct cl_str, 1);
			holder->principal.roles[0] = CL_STR("partner");
			holder->principal.role_count = 1;
		}
	}
	for (size_t i = 0; i < access->holder_count && !code; i++) {
		code = check_name(access, i, e);
		if (!code)
			code = compile_holder(access, catalog, organization, &access->holders[i], e);
		if (!code)
			code = check_client(access, &access->holders[i].principal, e);
		access->principals[i] = access->holders[i].principal;
	}
	if (code) {
		cl_arena_free(arena);
		return code;
	}
	*out = access;
	return 0;
}

void cl_access_free(struct cl_access *access)
{
	if (access)
		cl_arena_free(access->arena);
}

const struct cl_holder *cl_access_holder(const struct cl_access *access, const struct cl_principal *principal)
{
	for (size_t i = 0; i < access->holder_count; i++)
		if (&access->principals[i] == principal || &access->holders[i].principal == principal ||
		    cl_str_equal(access->holders[i].principal.name, principal->name))
			return &access->holders[i];
	return NULL;
}

const struct cl_principal *cl_access_principal(const struct cl_access *access, struct cl_str name)
{
	for (size_t i = 0; i < access->holder_count; i++)
		if (cl_str_equal(access->principals[i].name, name))
			return &access->principals[i];
	return NULL;
}

int cl_access_client(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena, struct cl_str id,
                     struct cl_client *out, struct cl_err *e)
{
	struct cl_stored_client stored;
	struct cl_json *keys = NULL;
	const struct cl_principal *principal = cl_access_principal(access, id);
	if (principal && (principal->keys || principal->certificate.n)) {
		*out = (struct cl_client){.id = principal->name,
		                          .principal = principal,
		                          .keys = principal->keys,
		                          .scope = principal->registered};
		return 0;
	}
	int code = cl_store_client_get(store, arena, id, &stored, e);
	if (!code && stored.keys.n && cl_json_parse(arena, stored.keys, NULL, &keys, e))
		code = CL_E_CORRUPT;
	if (code)
		return code;
	*out = (struct cl_client){.id = stored.id,
	                          .principal = cl_access_principal(access, stored.principal),
	                          .keys = keys,
	                          .secret = stored.secret,
	                          .scope = stored.scope};
	return out->principal ? 0 : cl_fail(e, CL_E_NOT_FOUND, "the client's principal is gone");
}

size_t cl_access_principals(const struct cl_access *access, const struct cl_principal **out)
{
	*out = access->principals;
	return access->holder_count;
}

struct cl_actor cl_access_actor(const struct cl_principal *principal)
{
	return (struct cl_actor){.name = principal->name,
	                         .kind = principal->kind,
	                         .reference = principal->reference,
	                         .roles = principal->roles,
	                         .role_count = principal->role_count};
}
