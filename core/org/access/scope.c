/* scope.c: SMART scopes. */
#include "org/access/scope.h"
#include "org/access/access_internal.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"

static const char letters[] = "cruds";

/* ---- reading ---- */

/* A condition that asks about other resources would tell about what the client may not read. */
static bool asks_elsewhere(const struct cl_criterion *criterion)
{
	if (criterion->kind == CL_CHAIN || criterion->kind == CL_REVERSE)
		return true;
	for (size_t i = 0; i < criterion->child_count; i++)
		if (asks_elsewhere(&criterion->children[i]))
			return true;
	return false;
}

static int parse_query(struct cl_arena *arena, struct cl_scope *scope, struct cl_err *e)
{
	struct cl_fhir_search search;
	struct cl_fhir_search_context context = {.type = scope->type};
	if (!scope->type)
		return cl_fail(e, CL_E_INVALID, "a condition needs a type: \"*\" has no search parameters of its own");
	int code = cl_fhir_search_parse(arena, &context, scope->query, &search, e);
	if (code)
		return CL_E_INVALID;
	if (!search.query.where || search.include_count || search.query.sort_count || search.page.n)
		return cl_fail(e, CL_E_INVALID, "its condition restricts nothing, or does more than that");
	if (asks_elsewhere(search.query.where))
		return cl_fail(e, CL_E_INVALID, "its condition may not ask about other resources");
	scope->where = search.query.where;
	return 0;
}

/* v2: letters of "cruds" in this order. v1: read, write, *. */
static unsigned parse_rights(struct cl_str text)
{
	unsigned rights = 0;
	if (cl_str_is(text, "read"))
		return CL_SCOPE_READ | CL_SCOPE_SEARCH;
	if (cl_str_is(text, "write"))
		return CL_SCOPE_CREATE | CL_SCOPE_UPDATE | CL_SCOPE_DELETE;
	if (cl_str_is(text, "*"))
		return CL_SCOPE_ALL;
	for (size_t i = 0, at = 0; i < text.n; i++, at++) {
		while (letters[at] && letters[at] != text.p[i])
			at++;
		if (!letters[at])
			return 0;
		rights |= 1u << at;
	}
	return rights;
}

static int parse_scope(struct cl_arena *arena, struct cl_str word, struct cl_scope *out, struct cl_err *e)
{
	struct cl_str rest = {word.p + 7, word.n - 7};
	const char *dot = rest.n ? memchr(rest.p, '.', rest.n) : NULL;
	const char *mark = rest.n ? memchr(rest.p, '?', rest.n) : NULL;
	*out = (struct cl_scope){0};
	if (!dot || (mark && mark < dot))
		return cl_fail(e, CL_E_INVALID, "scopes are system/Type.cruds");
	struct cl_str type = {rest.p, (size_t)(dot - rest.p)};
	struct cl_str rights = {dot + 1, (size_t)((mark ? mark : rest.p + rest.n) - dot) - 1};
	out->type = cl_str_is(type, "*") ? 0 : cl_fhir_type(type);
	if (!out->type && !cl_str_is(type, "*"))
		return cl_fail(e, CL_E_INVALID, "its type is no FHIR R4 resource type");
	out->rights = parse_rights(rights);
	if (!out->rights)
		return cl_fail(e, CL_E_INVALID, "its rights are letters of \"cruds\" in this order, or read, write, *");
	if (!mark)
		return 0;
	out->query = (struct cl_str){mark + 1, (size_t)(rest.p + rest.n - mark) - 1};
	return parse_query(arena, out, e);
}

static bool is_scope_text(struct cl_str word)
{
	/* RFC 6749 section 3.3: scope-token. */
	for (size_t i = 0; i < word.n; i++)
		if (word.p[i] <= 0x20 || word.p[i] >= 0x7f || word.p[i] == '"' || word.p[i] == '\\')
			return false;
	return true;
}

int cl_scopes_parse(struct cl_arena *arena, struct cl_str text, struct cl_scopes *out, struct cl_err *e)
{
	struct cl_str rest = text;
	*out = (struct cl_scopes){.items = CL_NEW_ARRAY(arena, struct cl_scope, CL_SCOPES_MAX)};
	while (rest.n) {
		const char *space = memchr(rest.p, ' ', rest.n);
		struct cl_str word = {rest.p, space ? (size_t)(space - rest.p) : rest.n};
		rest = space ? (struct cl_str){space + 1, rest.n - word.n - 1} : CL_STR_NONE;
		if (!word.n)
			continue;
		if (!is_scope_text(word))
			return cl_fail(e, CL_E_INVALID, "a scope holds a character that scopes have not");
		if (cl_str_starts(word, "user/") || cl_str_starts(word, "patient/"))
			return cl_fail(
			        e, CL_E_INVALID,
			        "'%.*s' is given with a person's login only, which this server does not offer; ask "
			        "for system/ scopes",
			        (int)(word.n < 80 ? word.n : 80), word.p);
		if (!cl_str_starts(word, "system/"))
			continue;
		struct cl_err problem = {0};
		if (out->count == CL_SCOPES_MAX)
			return cl_fail(e, CL_E_INVALID, "more than %d scopes", CL_SCOPES_MAX);
		if (parse_scope(arena, word, &out->items[out->count], &problem))
			return cl_fail(e, CL_E_INVALID, "scope '%.*s': %s", (int)(word.n < 80 ? word.n : 80), word.p,
			               problem.message);
		out->count++;
	}
	return 0;
}

/* ---- set operations ---- */

struct cl_criterion *cl_criterion_both(struct cl_arena *arena, struct cl_criterion *a, struct cl_criterion *b)
{
	if (!a || !b)
		return a ? a : b;
	struct cl_criterion *all = CL_NEW(arena, struct cl_criterion);
	all->kind = CL_AND;
	all->children = CL_NEW_ARRAY(arena, struct cl_criterion, 2);
	all->children[0] = *a;
	all->children[1] = *b;
	all->child_count = 2;
	return all;
}

static bool is_within(const struct cl_scope *inner, const struct cl_scope *outer)
{
	return (!outer->type || outer->type == inner->type) && !(inner->rights & ~outer->rights) &&
	       (!outer->query.n || cl_str_equal(outer->query, inner->query));
}

static int add(struct cl_scopes *scopes, const struct cl_scope *scope, struct cl_err *e)
{
	for (size_t i = 0; i < scopes->count; i++)
		if (is_within(scope, &scopes->items[i]))
			return 0;
	if (scopes->count == CL_SCOPES_MAX)
		return cl_fail(e, CL_E_LIMIT, "more than %d scopes would be granted; ask for fewer", CL_SCOPES_MAX);
	scopes->items[scopes->count++] = *scope;
	return 0;
}

int cl_scopes_meet(struct cl_arena *arena, const struct cl_scopes *a, const struct cl_scopes *b, struct cl_scopes *out,
                   struct cl_err *e)
{
	int code = 0;
	*out = (struct cl_scopes){.items = CL_NEW_ARRAY(arena, struct cl_scope, CL_SCOPES_MAX)};
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < b->count && !code; j++) {
			const struct cl_scope *x = &a->items[i], *y = &b->items[j];
			struct cl_scope met = {.type = x->type ? x->type : y->type, .rights = x->rights & y->rights};
			if ((x->type && y->type && x->type != y->type) || !met.rights)
				continue;
			bool same = cl_str_equal(x->query, y->query);
			met.where = same ? x->where : cl_criterion_both(arena, x->where, y->where);
			met.query = !x->query.n || same ? y->query
			            : !y->query.n       ? x->query
			                                : cl_arena_printf(arena, "%.*s&%.*s", CL_STR_ARGS(x->query),
			                                                  CL_STR_ARGS(y->query));
			code = add(out, &met, e);
		}
	return code;
}

struct cl_str cl_scopes_text(struct cl_arena *arena, const struct cl_scopes *scopes)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	for (size_t i = 0; i < scopes->count; i++) {
		const struct cl_scope *scope = &scopes->items[i];
		struct cl_str name = scope->type ? cl_fhir_type_name(scope->type) : CL_STR("*");
		cl_buf_printf(&text, "%ssystem/%.*s.", i ? " " : "", CL_STR_ARGS(name));
		for (unsigned l = 0; letters[l]; l++)
			if (scope->rights & 1u << l)
				cl_buf_add_byte(&text, letters[l]);
		if (scope->query.n)
			cl_buf_printf(&text, "?%.*s", CL_STR_ARGS(scope->query));
	}
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

/* ---- deciding ---- */

/* What is no interaction with a type counts as one with what it shows or takes. */
static unsigned right_of(enum cl_interaction interaction, uint16_t *type)
{
	switch (interaction) {
	case CL_ACCESS_READ:
	case CL_ACCESS_HISTORY:
	case CL_ACCESS_EVENTS: /* each event is decided as a read of its own */
		return CL_SCOPE_READ;
	case CL_ACCESS_SEARCH:
		return CL_SCOPE_SEARCH;
	case CL_ACCESS_CREATE:
		return CL_SCOPE_CREATE;
	case CL_ACCESS_UPDATE:
	case CL_ACCESS_TRANSITION:
	case CL_ACCESS_UNDO:
		return CL_SCOPE_UPDATE;
	case CL_ACCESS_DELETE:
		return CL_SCOPE_DELETE;
	case CL_ACCESS_MESSAGE:
		*type = cl_fhir_type(CL_STR("MessageHeader"));
		return CL_SCOPE_CREATE;
	case CL_ACCESS_METRICS:
		*type = cl_fhir_type(CL_STR("MeasureReport"));
		return CL_SCOPE_READ;
	case CL_ACCESS_ADMIN:
		break;
	}
	return 0; /* nobody administers with a scoped token */
}

static bool covers(const struct cl_scope *scope, unsigned right, uint16_t type)
{
	return scope->rights & right && (!scope->type || !type || scope->type == type);
}

/* A subscription outlives the token that made it: what it delivers is decided by the roles of who made it. So only a token that is
 * no narrower for reading may make one. */
static bool outlives(const struct cl_scopes *scopes, unsigned right, uint16_t type)
{
	return type == CL_TYPE_SUBSCRIPTION && right & (CL_SCOPE_CREATE | CL_SCOPE_UPDATE) &&
	       !cl_scopes_cover_all(scopes, CL_SCOPE_READ | CL_SCOPE_SEARCH);
}

bool cl_scopes_cover(const struct cl_scopes *scopes, enum cl_interaction interaction, uint16_t type)
{
	unsigned right = right_of(interaction, &type);
	if (outlives(scopes, right, type))
		return false;
	for (size_t i = 0; scopes && i < scopes->count; i++)
		if (covers(&scopes->items[i], right, type))
			return true;
	return !scopes;
}

bool cl_scopes_cover_all(const struct cl_scopes *scopes, unsigned rights)
{
	for (size_t i = 0; scopes && i < scopes->count; i++)
		if (!scopes->items[i].type && !scopes->items[i].where && !(rights & ~scopes->items[i].rights))
			return true;
	return !scopes;
}

bool cl_scopes_criterion(const struct cl_scopes *scopes, struct cl_arena *arena, enum cl_interaction interaction,
                         uint16_t type, struct cl_criterion **out)
{
	unsigned right = right_of(interaction, &type);
	struct cl_criterion *any = NULL;
	*out = NULL;
	if (!scopes)
		return true;
	if (outlives(scopes, right, type))
		return false;
	for (size_t i = 0; i < scopes->count; i++) {
		if (!covers(&scopes->items[i], right, type))
			continue;
		if (!scopes->items[i].where)
			return true;
		if (!any) {
			any = CL_NEW(arena, struct cl_criterion);
			any->kind = CL_OR;
			any->children = CL_NEW_ARRAY(arena, struct cl_criterion, scopes->count);
		}
		any->children[any->child_count++] = *scopes->items[i].where;
	}
	*out = any && any->child_count == 1 ? any->children : any;
	return any != NULL;
}

void cl_scopes_trim(struct cl_scopes *scopes, const struct cl_access *access, const struct cl_principal *principal)
{
	static const enum cl_interaction interactions[] = {CL_ACCESS_READ,       CL_ACCESS_SEARCH,  CL_ACCESS_HISTORY,
	                                                   CL_ACCESS_CREATE,     CL_ACCESS_UPDATE,  CL_ACCESS_DELETE,
	                                                   CL_ACCESS_TRANSITION, CL_ACCESS_MESSAGE, CL_ACCESS_METRICS};
	const struct cl_holder *holder = cl_access_holder(access, principal);
	size_t kept = 0;
	for (size_t i = 0; i < scopes->count; i++) {
		struct cl_scope scope = scopes->items[i];
		unsigned possible = 0;
		for (size_t p = 0; holder && p < holder->permission_count; p++)
			for (size_t n = 0; n < sizeof interactions / sizeof *interactions; n++) {
				uint16_t type = scope.type;
				unsigned right = right_of(interactions[n], &type);
				if ((!scope.type || type == scope.type) &&
				    cl_permission_covers(&holder->permissions[p], interactions[n], scope.type))
					possible |= right;
			}
		scope.rights &= possible;
		if (scope.rights)
			scopes->items[kept++] = scope;
	}
	scopes->count = kept;
}
