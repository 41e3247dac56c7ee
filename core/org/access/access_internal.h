/* access_internal.h: how roles are held once compiled; shared by the files of this room only. */
#pragma once
#include "org/access/access.h"

/* A grant's condition on one type, compiled for one principal. */
struct cl_condition {
	uint16_t type;
	struct cl_criterion *where; /* NULL = none */
};

/* One grant as one principal holds it. */
struct cl_permission {
	const struct cl_grant *grant;
	unsigned interactions; /* enum cl_interaction bits */
	bool all_types;
	uint16_t *types;
	size_t type_count;
	bool care_team;
	struct cl_condition *conditions; /* for grants with a search as condition: one per type */
	size_t condition_count;
};

struct cl_holder {
	struct cl_principal principal;
	struct cl_permission *permissions;
	size_t permission_count;
};

struct cl_access {
	struct cl_arena *arena;
	const struct cl_catalog *catalog;
	struct cl_holder *holders;
	struct cl_principal *principals; /* copies, in the same order, for listing */
	size_t holder_count;
	struct cl_principal console, courier;
};

const struct cl_holder *cl_access_holder(const struct cl_access *access, const struct cl_principal *principal);
bool cl_permission_covers(const struct cl_permission *permission, unsigned interaction, uint16_t type);
/* Where both hold; NULL = everywhere. */
struct cl_criterion *cl_criterion_both(struct cl_arena *arena, struct cl_criterion *a, struct cl_criterion *b);
/* The whole condition of a permission on a type, labels included; NULL = none. */
struct cl_criterion *cl_permission_criterion(const struct cl_permission *permission, struct cl_arena *arena,
                                             uint16_t type, const struct cl_principal *principal);
