/* scope.h: SMART scopes of clients without a user (SMART App Launch 2.0, "system/Type.cruds?param=value"). A scope only narrows:
 * what it allows is what the roles allow and it allows too, on the same two faces as access itself. What outlives the token is
 * decided by roles alone, so writing a Subscription needs a scope that reads every type. */
#pragma once
#include "org/access/access.h"

/* Letters of a scope, as bits, in the order in which they are written. */
enum cl_scope_right {
	CL_SCOPE_CREATE = 1u << 0,
	CL_SCOPE_READ = 1u << 1, /* a resource, its versions, its events, metrics */
	CL_SCOPE_UPDATE = 1u << 2, /* patches and moves of a workflow are updates */
	CL_SCOPE_DELETE = 1u << 3,
	CL_SCOPE_SEARCH = 1u << 4, /* also the history of a type, and lists */
	CL_SCOPE_ALL = 31u,
};

struct cl_scope {
	uint16_t type; /* 0 = every type */
	unsigned rights; /* enum cl_scope_right */
	struct cl_str query; /* "category=laboratory", as written; empty = none */
	struct cl_criterion *where; /* the same, compiled; NULL = none */
};

struct cl_scopes {
	struct cl_scope *items;
	size_t count;
};

#define CL_SCOPES_MAX 64 /* of one token */

/* Words that ask for something else than data (openid, fhirUser, launch, offline_access ...) are passed over, as RFC 6749 section
 * 3.3 allows. CL_E_INVALID names the scope that cannot be read, or that only a person's login could give (user/, patient/). */
int cl_scopes_parse(struct cl_arena *arena, struct cl_str text, struct cl_scopes *out, struct cl_err *e);
/* What both allow. CL_E_LIMIT when that takes more than CL_SCOPES_MAX. */
int cl_scopes_meet(struct cl_arena *arena, const struct cl_scopes *a, const struct cl_scopes *b, struct cl_scopes *out,
                   struct cl_err *e);
/* The form in which they are granted and stored; parses to the same. */
struct cl_str cl_scopes_text(struct cl_arena *arena, const struct cl_scopes *scopes);
/* May it do this to the type (0 = to anything) under some condition? NULL scopes narrow nothing. */
bool cl_scopes_cover(const struct cl_scopes *scopes, enum cl_interaction interaction, uint16_t type);
/* Does one scope allow all of the rights on every type, unconditionally? For what cannot be told by type. */
bool cl_scopes_cover_all(const struct cl_scopes *scopes, unsigned rights);
/* The condition under which they allow it; *out NULL = none. False when they do not. */
bool cl_scopes_criterion(const struct cl_scopes *scopes, struct cl_arena *arena, enum cl_interaction interaction,
                         uint16_t type, struct cl_criterion **out);
/* Leaves out what no role of the principal could allow, so that what is granted tells what can be done. */
void cl_scopes_trim(struct cl_scopes *scopes, const struct cl_access *access, const struct cl_principal *principal);
