/* access.h: one function decides every access (design §7). Roles are data; deny by default; the same rule is a decision on a
 * resource and a predicate for searches (pitfalls 18). */
#pragma once
#include "org/flow/unit.h"
#include "wire/frame.h"

enum cl_interaction {
	CL_ACCESS_READ = 1u << 0,
	CL_ACCESS_SEARCH = 1u << 1,
	CL_ACCESS_HISTORY = 1u << 2,
	CL_ACCESS_CREATE = 1u << 3,
	CL_ACCESS_UPDATE = 1u << 4,
	CL_ACCESS_DELETE = 1u << 5,
	CL_ACCESS_TRANSITION = 1u << 6,
	CL_ACCESS_MESSAGE = 1u << 7, /* $process-message, for partners */
	CL_ACCESS_EVENTS = 1u << 8, /* open an event stream; each event is decided as READ */
	CL_ACCESS_METRICS = 1u << 9,
	CL_ACCESS_UNDO = 1u << 20, /* take back an event of a workflow */
	CL_ACCESS_ADMIN = 1u << 10, /* tokens, reload ... over HTTP */
};

struct cl_principal {
	struct cl_str name, kind, reference;
	struct cl_str *roles;
	size_t role_count;
	struct cl_str anchor, certificate; /* what proves it: (trust anchor, name) */
	bool console; /* an administrator on the admin socket: may all, audited as such */
	/* What its token is narrowed to (scope.h); NULL = nothing. With it, the principal lives as long as the arena in which it was
	 * resolved. */
	const struct cl_scopes *scopes;
	struct cl_str scope; /* the same as text */
	struct cl_str client; /* to whom the token was issued, if it was to a client */
	const struct cl_json *keys; /* JSON Web Key Set of a client that the configuration names, or NULL */
	struct cl_str registered; /* the most that it may ask for, or empty */
};
struct cl_scopes;

/* How a client that asks for a token can prove itself, and what it may ask for: it is a principal of the configuration with keys
 * or a certificate, or one that an administrator registered for a principal. */
struct cl_client {
	struct cl_str id;
	const struct cl_principal *principal;
	const struct cl_json *keys; /* or NULL */
	struct cl_str secret; /* argon2id hash, or empty */
	struct cl_str scope; /* empty = whatever its roles allow */
};

/* Compiled from the catalog's roles and the organization's principals; immutable, replaced with the catalog. */
struct cl_access;
int cl_access_new(const struct cl_catalog *catalog, const struct cl_organization_facts *organization,
                  struct cl_access **out, struct cl_err *e);
void cl_access_free(struct cl_access *access);

/* Who presents this credential? CL_E_UNAUTHENTICATED without saying why in detail. Tokens are looked up in the store. */
int cl_access_resolve(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                      const struct cl_credential *credential, cl_instant now, const struct cl_principal **out,
                      struct cl_err *e);
/* Before anything is parsed: may this principal do this to the type at all? `rule` names the first grant that could allow. */
int cl_access_may(const struct cl_access *access, const struct cl_principal *principal, enum cl_interaction interaction,
                  uint16_t type, struct cl_str *rule, struct cl_err *e);
/* The same for its token's scopes alone. */
int cl_access_scope(const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                    struct cl_err *e);
/* The decision on one resource (its index values as stored or as about to be stored). CL_E_FORBIDDEN when no grant allows. */
int cl_access_decide(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                     const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                     struct cl_str id, const struct cl_index *values, struct cl_str *rule, struct cl_err *e);
/* The decision on a stored row by SQL (reads by id never parse JSON). `unconditional` tells that no row can be refused. */
int cl_access_decide_row(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                         const struct cl_principal *principal, enum cl_interaction interaction, uint16_t type,
                         int64_t row, struct cl_str *rule, struct cl_err *e);
/* The predicate for a search of the type; NULL = every row. CL_E_FORBIDDEN when none. */
int cl_access_predicate(const struct cl_access *access, struct cl_arena *arena, const struct cl_principal *principal,
                        enum cl_interaction interaction, uint16_t type, struct cl_criterion **out, struct cl_str *rule,
                        struct cl_err *e);
/* Chains and _has look at other resources: only at those that a search of the principal's own would find, or their answers
 * would tell what they say (pitfalls 18). Changes the criterion (may be NULL) in place. */
void cl_access_guard(const struct cl_access *access, struct cl_arena *arena, const struct cl_principal *principal,
                     struct cl_criterion *criterion);
/* May the principal fire transitions of the workflow on this row at all (the machine's `by` decides which)? One grant must allow
 * both: that for another workflow does not lift the condition of the one for this. */
int cl_access_transition(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                         const struct cl_principal *principal, uint16_t type, int64_t row, struct cl_str workflow,
                         struct cl_str *rule, struct cl_err *e);
/* The same for taking back an event. */
int cl_access_undo(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena,
                   const struct cl_principal *principal, uint16_t type, int64_t row, struct cl_str workflow,
                   struct cl_str *rule, struct cl_err *e);
/* CL_E_NOT_FOUND when nobody registered it, or its principal is gone. */
int cl_access_client(const struct cl_access *access, struct cl_store *store, struct cl_arena *arena, struct cl_str id,
                     struct cl_client *out, struct cl_err *e);
/* The principal narrowed to the scope, in the arena. CL_E_CORRUPT when the text cannot be read. */
int cl_access_narrow(struct cl_arena *arena, const struct cl_principal *principal, struct cl_str scope,
                     const struct cl_principal **out, struct cl_err *e);
const struct cl_principal *cl_access_principal(const struct cl_access *access, struct cl_str name);
size_t cl_access_principals(const struct cl_access *access, const struct cl_principal **out);
struct cl_actor cl_access_actor(const struct cl_principal *principal);
/* "ana may read Patient: role clinician, grant clinician#1 (care team)" for the console. */
int cl_access_explain(const struct cl_access *access, struct cl_arena *arena, const struct cl_principal *principal,
                      enum cl_interaction interaction, uint16_t type, struct cl_str *out, struct cl_err *e);
int cl_interaction_parse(struct cl_str word, unsigned *out);
