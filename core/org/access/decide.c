/* decide.c: the one function that decides every access, with its two faces: a decision and a predicate (pitfalls 18). */
#include "org/access/access_internal.h"
#include "base/hash.h"
#include "org/fhir/parameters.h"
#include "org/access/scope.h"
#include "org/fhir/types.h"

static uint16_t parameter_number(uint16_t type, struct cl_str code)
{
	const struct cl_fhir_parameter *parameter = cl_fhir_search_parameter(type, code);
	return parameter ? parameter->number : 0;
}

bool cl_permission_covers(const struct cl_permission *permission, unsigned interaction, uint16_t type)
{
	if (!(permission->interactions & interaction))
		return false;
	/* Interactions without a type (messages, metrics, streams) are covered by any grant that names them. */
	if (permission->all_types || !type)
		return true;
	for (size_t i = 0; i < permission->type_count; i++)
		if (permission->types[i] == type)
			return true;
	return false;
}

static struct cl_criterion *labels_excluded(const struct cl_permission *permission, struct cl_arena *arena,
                                            uint16_t type)
{
	uint16_t security = parameter_number(type, CL_STR("_security"));
	if (!permission->grant->except_count || !security)
		return NULL;
	struct cl_criterion *any = CL_NEW(arena, struct cl_criterion);
	any->kind = CL_OR;
	any->children = CL_NEW_ARRAY(arena, struct cl_criterion, permission->grant->except_count);
	for (size_t i = 0; i < permission->grant->except_count; i++)
		any->children[any->child_count++] = (struct cl_criterion){.kind = CL_TOKEN,
		                                                          .match = CL_MATCH_CODE,
		                                                          .parameter = security,
		                                                          .b = permission->grant->except_labels[i]};
	struct cl_criterion *not = CL_NEW(arena, struct cl_criterion);
	not ->kind = CL_NOT;
	not ->children = any;
	not ->child_count = 1;
	return not ;
}

static struct cl_criterion *care_team(struct cl_arena *arena, const struct cl_principal *principal)
{
	uint16_t team = cl_fhir_type(CL_STR("CareTeam"));
	struct cl_criterion *criterion = CL_NEW(arena, struct cl_criterion);
	criterion->kind = principal->reference.n ? CL_CARE_TEAM : CL_FALSE;
	criterion->parameter = parameter_number(team, CL_STR("participant"));
	criterion->other = parameter_number(team, CL_STR("patient"));
	criterion->status = parameter_number(team, CL_STR("status"));
	criterion->members = CL_NEW_ARRAY(arena, struct cl_str, 1);
	criterion->members[0] = principal->reference;
	criterion->member_count = 1;
	return criterion;
}

struct cl_criterion *cl_permission_criterion(const struct cl_permission *permission, struct cl_arena *arena,
                                             uint16_t type, const struct cl_principal *principal)
{
	struct cl_criterion *parts[3];
	size_t count = 0;
	struct cl_criterion *labels = labels_excluded(permission, arena, type);
	if (labels)
		parts[count++] = labels;
	if (permission->care_team)
		parts[count++] = care_team(arena, principal);
	for (size_t i = 0; i < permission->condition_count; i++)
		if (permission->conditions[i].type == type && permission->conditions[i].where)
			parts[count++] = permission->conditions[i].where;
	if (count == 0)
		return NULL;
	if (count == 1)
		return parts[0];
	struct cl_criterion *all = CL_NEW(arena, struct cl_criterion);
	all->kind = CL_AND;
	all->children = CL_NEW_ARRAY(arena, struct cl_criterion, count);
	for (size_t i = 0; i < count; i++)
		all->children[all->child_count++] = *parts[i];
	return all;
}

/* Strangers learn only that it is not allowed, never whether something exists. */
static int refuse(const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                  struct cl_err *e)
{
	const char *word = "do this";
	switch (interaction) {
	case CL_ACCESS_READ:
		word = "read";
		break;
	case CL_ACCESS_SEARCH:
		word = "search";
		break;
	case CL_ACCESS_HISTORY:
		word = "read the history of";
		break;
	case CL_ACCESS_CREATE:
		word = "create";
		break;
	case CL_ACCESS_UPDATE:
		word = "update";
		break;
	case CL_ACCESS_DELETE:
		word = "delete";
		break;
	case CL_ACCESS_TRANSITION:
		word = "move workflows with";
		break;
	case CL_ACCESS_UNDO:
		word = "undo events of";
		break;
	case CL_ACCESS_MESSAGE:
		word = "send messages about";
		break;
	case CL_ACCESS_EVENTS:
		word = "open streams of";
		break;
	case CL_ACCESS_METRICS:
		word = "see metrics of";
		break;
	case CL_ACCESS_ADMIN:
		word = "administer";
		break;
	}
	struct cl_str name = type ? cl_fhir_type_name(type) : CL_STR("this organization");
	return cl_fail(e, CL_E_FORBIDDEN, "'%.*s' may not %s %.*s: no role allows it%s", CL_STR_ARGS(principal->name),
	               word, CL_STR_ARGS(name), principal->scopes ? " within the scopes of this token" : "");
}

int cl_access_may(const struct cl_access *access, const struct cl_principal *principal, enum cl_interaction interaction,
                  uint16_t type, struct cl_str *rule, struct cl_err *e)
{
	if (principal->console) {
		*rule = CL_STR("console");
		return 0;
	}
	const struct cl_holder *holder =
	        cl_scopes_cover(principal->scopes, interaction, type) ? cl_access_holder(access, principal) : NULL;
	for (size_t i = 0; holder && i < holder->permission_count; i++)
		if (cl_permission_covers(&holder->permissions[i], interaction, type)) {
			*rule = holder->permissions[i].grant->name;
			return 0;
		}
	return refuse(principal, interaction, type, e);
}

int cl_access_scope(const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                    struct cl_err *e)
{
	return cl_scopes_cover(principal->scopes, interaction, type) ? 0 : refuse(principal, interaction, type, e);
}

int cl_access_decide(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                     const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                     struct cl_str id, const struct cl_index *values, struct cl_str *rule, struct cl_err *e)
{
	if (principal->console) {
		*rule = CL_STR("console");
		return 0;
	}
	const struct cl_holder *holder = cl_access_holder(access, principal);
	struct cl_criterion *scope;
	bool within = cl_scopes_criterion(principal->scopes, arena, interaction, type, &scope);
	if (within && scope) {
		int code = cl_criterion_decide(store, scope, type, id, values, &within, e);
		if (code)
			return code;
	}
	for (size_t i = 0; within && holder && i < holder->permission_count; i++) {
		const struct cl_permission *permission = &holder->permissions[i];
		if (!cl_permission_covers(permission, interaction, type))
			continue;
		const struct cl_criterion *criterion = cl_permission_criterion(permission, arena, type, principal);
		bool allowed = true;
		if (criterion) {
			int code = cl_criterion_decide(store, criterion, type, id, values, &allowed, e);
			if (code)
				return code;
		}
		if (allowed) {
			*rule = permission->grant->name;
			return 0;
		}
	}
	return refuse(principal, interaction, type, e);
}

int cl_access_decide_row(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                         const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                         int64_t row, struct cl_str *rule, struct cl_err *e)
{
	struct cl_criterion *criterion = NULL;
	int code = cl_access_predicate(access, arena, principal, interaction, type, &criterion, rule, e);
	if (code || !criterion)
		return code;
	bool allowed = false;
	code = cl_store_matches(store, row, criterion, &allowed, e);
	if (code)
		return code;
	return allowed ? 0 : refuse(principal, interaction, type, e);
}

/* `workflow` (or NULL) leaves out the grants for transitions of others. */
static int make_predicate(const struct cl_access *access, struct cl_arena *arena, const struct cl_principal *principal,
                          enum cl_interaction interaction, uint16_t type, const struct cl_str *workflow,
                          struct cl_criterion **out, struct cl_str *rule, struct cl_err *e)
{
	*out = NULL;
	if (principal->console) {
		*rule = CL_STR("console");
		return 0;
	}
	const struct cl_holder *holder = cl_access_holder(access, principal);
	struct cl_criterion *any = CL_NEW(arena, struct cl_criterion), *scope;
	any->kind = CL_OR;
	any->children = holder ? CL_NEW_ARRAY(arena, struct cl_criterion, holder->permission_count + 1) : NULL;
	if (!cl_scopes_criterion(principal->scopes, arena, interaction, type, &scope))
		return refuse(principal, interaction, type, e);
	for (size_t i = 0; holder && i < holder->permission_count; i++) {
		const struct cl_permission *permission = &holder->permissions[i];
		if (!cl_permission_covers(permission, interaction, type))
			continue;
		if (workflow && permission->grant->workflow.n && !cl_str_equal(permission->grant->workflow, *workflow))
			continue;
		if (!any->child_count)
			*rule = permission->grant->name;
		struct cl_criterion *criterion = cl_permission_criterion(permission, arena, type, principal);
		if (!criterion) {
			*rule = permission->grant->name;
			*out = scope;
			return 0;
		}
		any->children[any->child_count++] = *criterion;
	}
	if (!any->child_count)
		return refuse(principal, interaction, type, e);
	*out = cl_criterion_both(arena, any->child_count == 1 ? any->children : any, scope);
	return 0;
}

int cl_access_predicate(const struct cl_access *access, struct cl_arena *arena, const struct cl_principal *principal,
                        enum cl_interaction interaction, uint16_t type, struct cl_criterion **out, struct cl_str *rule,
                        struct cl_err *e)
{
	return make_predicate(access, arena, principal, interaction, type, NULL, out, rule, e);
}

void cl_access_guard(const struct cl_access *access, struct cl_arena *arena, const struct cl_principal *principal,
                     struct cl_criterion *criterion)
{
	struct cl_criterion *seen = NULL;
	struct cl_str rule;
	struct cl_err denied = {0};
	if (!criterion || principal->console)
		return;
	for (size_t i = 0; i < criterion->child_count; i++)
		cl_access_guard(access, arena, principal, &criterion->children[i]);
	if (criterion->kind != CL_CHAIN && criterion->kind != CL_REVERSE)
		return;
	if (!criterion->type ||
	    cl_access_predicate(access, arena, principal, CL_ACCESS_SEARCH, criterion->type, &seen, &rule, &denied)) {
		*criterion = (struct cl_criterion){.kind = CL_FALSE};
		return;
	}
	if (!seen)
		return;
	struct cl_criterion *both = CL_NEW(arena, struct cl_criterion);
	*both = (struct cl_criterion){
	        .kind = CL_AND, .children = CL_NEW_ARRAY(arena, struct cl_criterion, 2), .child_count = 2};
	both->children[0] = criterion->children[0];
	both->children[1] = *seen;
	criterion->children = both;
}

static int decide_workflow(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                           const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                           int64_t row, struct cl_str workflow, struct cl_str *rule, struct cl_err *e)
{
	struct cl_criterion *criterion = NULL;
	struct cl_err ignored = {0};
	bool allowed = true;
	int code = make_predicate(access, arena, principal, interaction, type, &workflow, &criterion, rule, &ignored);
	if (!code && criterion) {
		code = cl_store_matches(store, row, criterion, &allowed, e);
		if (code)
			return code;
	}
	if (!code && allowed)
		return 0;
	return cl_fail(e, CL_E_FORBIDDEN, "'%.*s' may not %s '%.*s' workflows: no role allows it",
	               CL_STR_ARGS(principal->name), interaction == CL_ACCESS_UNDO ? "undo events of" : "move",
	               CL_STR_ARGS(workflow));
}

int cl_access_transition(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                         const struct cl_principal *principal, uint16_t type, int64_t row, struct cl_str workflow,
                         struct cl_str *rule, struct cl_err *e)
{
	return decide_workflow(access, store, arena, principal, CL_ACCESS_TRANSITION, type, row, workflow, rule, e);
}

int cl_access_undo(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                   const struct cl_principal *principal, uint16_t type, int64_t row, struct cl_str workflow,
                   struct cl_str *rule, struct cl_err *e)
{
	return decide_workflow(access, store, arena, principal, CL_ACCESS_UNDO, type, row, workflow, rule, e);
}

int cl_access_narrow(struct cl_arena *arena, const struct cl_principal *principal, struct cl_str scope,
                     const struct cl_principal **out, struct cl_err *e)
{
	struct cl_scopes *scopes = CL_NEW(arena, struct cl_scopes);
	struct cl_principal *narrowed = CL_NEW(arena, struct cl_principal);
	if (cl_scopes_parse(arena, scope, scopes, e))
		return cl_fail(e, CL_E_CORRUPT, "the scope of a token cannot be read");
	*narrowed = *principal;
	narrowed->scopes = scopes;
	narrowed->scope = scope;
	*out = narrowed;
	return 0;
}

static int resolve_token(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                         const struct cl_credential *credential, cl_instant now, const struct cl_principal **out,
                         struct cl_err *e)
{
	uint8_t hash[CL_SHA256_SIZE];
	struct cl_stored_token token;
	struct cl_err problem = {0};
	cl_sha256_of(credential->token, hash);
	int code = cl_store_token_get(store, arena, hash, &token, &problem);
	if (code && code != CL_E_NOT_FOUND) {
		*e = problem;
		return code;
	}
	const struct cl_principal *principal = code ? NULL : cl_access_principal(access, token.principal);
	if (!principal || token.expires <= now)
		return cl_fail(e, CL_E_UNAUTHENTICATED, "the token is unknown or has expired; ask for a new one");
	/* RFC 8705 section 3: stolen, it is of no use without the certificate's key. */
	if (token.bound.n && !cl_str_equal(token.bound, credential->fingerprint))
		return cl_fail(e, CL_E_UNAUTHENTICATED,
		               "the token is bound to a client certificate that this connection does not show");
	*out = principal;
	return token.scope.n ? cl_access_narrow(arena, principal, token.scope, out, e) : 0;
}

int cl_access_resolve(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                      const struct cl_credential *credential, cl_instant now, const struct cl_principal **out,
                      struct cl_err *e)
{
	switch (credential->kind) {
	case CL_CREDENTIAL_CERTIFICATE:
		for (size_t i = 0; i < access->holder_count; i++) {
			const struct cl_principal *principal = &access->principals[i];
			if (principal->certificate.n && cl_str_equal(principal->certificate, credential->name) &&
			    cl_str_equal(principal->anchor, credential->anchor)) {
				*out = principal;
				return 0;
			}
		}
		return cl_fail(e, CL_E_UNAUTHENTICATED, "this certificate is not a principal of this organization");
	case CL_CREDENTIAL_BEARER:
	case CL_CREDENTIAL_SESSION:
		return resolve_token(access, store, arena, credential, now, out, e);
	case CL_CREDENTIAL_CONSOLE:
		*out = &access->console;
		return 0;
	case CL_CREDENTIAL_COURIER: /* the engine takes these from the courier's own connection only */
		*out = &access->courier;
		return 0;
	default:
		return cl_fail(e, CL_E_UNAUTHENTICATED, "present a client certificate or a bearer token");
	}
}

int cl_access_explain(const struct cl_access *access, struct cl_arena *arena, const struct cl_principal *principal,
                      enum cl_interaction interaction, uint16_t type, struct cl_str *out, struct cl_err *e)
{
	(void)e;
	const struct cl_holder *holder = cl_access_holder(access, principal);
	struct cl_buf text;
	cl_buf_init(&text, 0);
	for (size_t i = 0; holder && i < holder->permission_count; i++) {
		const struct cl_permission *permission = &holder->permissions[i];
		if (!cl_permission_covers(permission, interaction, type))
			continue;
		const struct cl_grant *grant = permission->grant;
		cl_buf_printf(&text, "%sallowed by %.*s (%.*s:%d)", text.n ? "; " : "", CL_STR_ARGS(grant->name),
		              CL_STR_ARGS(grant->origin.file), grant->origin.line);
		if (grant->where.n)
			cl_buf_printf(&text, " where %.*s", CL_STR_ARGS(grant->where));
		for (size_t l = 0; l < grant->except_count; l++)
			cl_buf_printf(&text, "%s%.*s", l ? ", " : ", not labelled ",
			              CL_STR_ARGS(grant->except_labels[l]));
	}
	if (!text.n)
		cl_buf_add_cstring(&text, "denied: no grant of its roles covers this");
	*out = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return 0;
}
