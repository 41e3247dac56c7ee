/* unit.c: one change is one change: a version with its index, its event, its audit leaf and its place in the queue. */
#include "org/flow/data_rule.h"
#include "org/flow/subscription.h"
#include "org/flow/unit_internal.h"
#include "base/date.h"
#include "base/id.h"
#include <stdio.h>
#include "org/fhir/index.h"
#include "org/fhir/types.h"
#include "org/fhir/validate.h"

void cl_unit_begin(struct cl_unit *unit, struct cl_store *store, struct cl_arena *arena,
                   const struct cl_catalog *catalog, const struct cl_organization_facts *organization,
                   const struct cl_script *script, cl_instant now)
{
	*unit = (struct cl_unit){
	        .store = store,
	        .arena = arena,
	        .catalog = catalog,
	        .organization = organization,
	        .script = script,
	        .now = now,
	};
	unit->changes_end = &unit->changes;
}

struct cl_str cl_unit_id(struct cl_unit *unit, struct cl_str hint)
{
	char id[27];
	cl_id_derive(cl_store_secret(unit->store), unit->now, unit->key, hint, unit->ordinal++, id);
	return cl_arena_copy(unit->arena, (struct cl_str){id, sizeof id - 1});
}

struct cl_str cl_unit_principal(const struct cl_unit *unit)
{
	if (!unit->plugin.n)
		return unit->actor.name;
	return cl_arena_printf(unit->arena, "plugin %.*s for %.*s", CL_STR_ARGS(unit->plugin),
	                       CL_STR_ARGS(unit->actor.name));
}

struct cl_str cl_unit_origin(const struct cl_unit *unit)
{
	return unit->origin ? cl_arena_printf(unit->arena, "{\"by\":%llu}", (unsigned long long)unit->origin)
	                    : CL_STR_NONE;
}

int cl_unit_audit(struct cl_unit *unit, struct cl_str action, struct cl_str target, struct cl_err *e)
{
	struct cl_audit_record record = {
	        .at = unit->now,
	        .principal = cl_unit_principal(unit),
	        .action = action,
	        .target = target,
	        .rule = unit->rule,
	        .outcome = CL_STR("ok"),
	        .request = unit->request,
	};
	return cl_audit_append(unit->store, &record, e);
}

struct cl_change *cl_unit_last_change(struct cl_unit *unit)
{
	if (!unit->changes)
		return NULL;
	return (struct cl_change *)(void *)((char *)unit->changes_end - offsetof(struct cl_change, next));
}

int cl_unit_add_change(struct cl_unit *unit, struct cl_change **out, struct cl_err *e)
{
	if (unit->change_count >= CL_UNIT_CHANGES)
		return cl_fail(e, CL_E_LIMIT, "one request may change at most %d resources; send it in parts",
		               CL_UNIT_CHANGES);
	struct cl_change *change = CL_NEW(unit->arena, struct cl_change);
	change->depth = unit->depth;
	change->origin = unit->origin;
	change->quiet = unit->undoing;
	*unit->changes_end = change;
	unit->changes_end = &change->next;
	unit->change_count++;
	*out = change;
	return 0;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

int cl_unit_current(struct cl_unit *unit, uint16_t type, struct cl_str id, struct cl_version *out, struct cl_err *e)
{
	struct cl_err problem = {0};
	int code = cl_store_get(unit->store, unit->arena, type, id, out, &problem);
	if (code == CL_E_NOT_FOUND) {
		*out = (struct cl_version){.type = type, .id = id};
		return 0;
	}
	if (code && e)
		*e = problem;
	return code;
}

int cl_unit_read(struct cl_unit *unit, uint16_t type, struct cl_str id, struct cl_json **out,
                 struct cl_version *version_out, struct cl_err *e)
{
	struct cl_version version;
	struct cl_str name = cl_fhir_type_name(type);
	int code = cl_unit_current(unit, type, id, &version, e);
	if (code)
		return code;
	if (!version.version)
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s/%.*s is not known here", CL_STR_ARGS(name), CL_STR_ARGS(id));
	if (version.operation == CL_OP_DELETE)
		return cl_fail(e, CL_E_GONE, "%.*s/%.*s was deleted", CL_STR_ARGS(name), CL_STR_ARGS(id));
	if (version_out)
		*version_out = version;
	if (cl_json_parse(unit->arena, version.body, NULL, out, e))
		return cl_fail(e, CL_E_CORRUPT, "the stored text of %.*s/%.*s is no JSON", CL_STR_ARGS(name),
		               CL_STR_ARGS(id));
	return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* resourceType, id and meta first, as people expect them. New members get their place only. */
static void put_heads_first(struct cl_arena *arena, struct cl_json *resource)
{
	static const char *const heads[] = {"resourceType", "id", "meta"};
	enum { HEADS = 3 };
	uint32_t i = 0;
	while (i < HEADS && i < resource->count && cl_str_is(resource->members[i].name, heads[i]))
		i++;
	if (i == HEADS)
		return;
	struct cl_json_member *members = CL_NEW_ARRAY(arena, struct cl_json_member, resource->count + HEADS);
	for (i = 0; i < HEADS; i++) {
		struct cl_json *value = cl_json_get(resource, heads[i]);
		members[i].name = cl_str_of(heads[i]);
		if (value)
			members[i].value = *value;
	}
	uint32_t count = HEADS;
	for (i = 0; i < resource->count; i++) {
		struct cl_str name = resource->members[i].name;
		if (!cl_str_is(name, heads[0]) && !cl_str_is(name, heads[1]) && !cl_str_is(name, heads[2]))
			members[count++] = resource->members[i];
	}
	resource->members = members;
	resource->capacity = resource->count + HEADS;
	resource->count = count;
}

static void set_meta(struct cl_unit *unit, struct cl_json *resource, struct cl_str version, struct cl_str updated)
{
	struct cl_json *meta = cl_json_get(resource, "meta");
	meta->kind = CL_JSON_OBJECT; /* a new one is null so far */
	cl_json_set_text(unit->arena, meta, "versionId", version);
	cl_json_set_text(unit->arena, meta, "lastUpdated", updated);
}

/* With the former version's own version and time put in, an update that changes nothing else is equal as a whole.
 * Members' order does not count. */
static bool says_the_same(struct cl_unit *unit, struct cl_json *resource, const struct cl_json *former)
{
	const struct cl_json *meta = cl_json_get(former, "meta");
	set_meta(unit, resource, cl_json_get_text(meta, "versionId"), cl_json_get_text(meta, "lastUpdated"));
	return cl_json_equal(resource, former);
}

static int validate(struct cl_unit *unit, const struct cl_json *resource, struct cl_issues *issues, struct cl_err *e)
{
	struct cl_issues own;
	if (!issues) {
		issues = &own;
		cl_issues_init(issues, unit->arena, 0);
	}
	int code = cl_fhir_validate(unit->arena, resource, resource == unit->source_of ? unit->source : CL_STR_NONE,
	                            issues);
	return code ? cl_issues_first_error(issues, code, e) : 0;
}

static struct cl_str status_of(const struct cl_json *resource)
{
	return cl_json_get_text(resource, "status");
}

static const char *operation_kind(enum cl_operation operation)
{
	return operation == CL_OP_CREATE ? "create" : operation == CL_OP_UPDATE ? "update" : "delete";
}

/* Event, row, audit leaf, change. The event comes first: the version carries its sequence. */
static int record(struct cl_unit *unit, struct cl_version *version, struct cl_json *resource,
                  struct cl_str former_status, const struct cl_index *before, const struct cl_index *after,
                  struct cl_err *e)
{
	struct cl_change *change = NULL;
	int64_t number = version->version;
	struct cl_str kind = cl_str_of(operation_kind(version->operation));
	struct cl_stored_event event = {
	        .cause = unit->cause,
	        .at = unit->now,
	        .kind = kind,
	        .actor = cl_unit_principal(unit),
	        .type = version->type,
	        .id = version->id,
	        .version = number,
	        .detail = cl_unit_origin(unit),
	        .outcome = CL_STR("ok"),
	};
	int code = cl_store_event_append(unit->store, &event, e);
	if (code)
		return code;
	version->sequence = event.sequence;
	code = cl_store_put(unit->store, version, before, after, e);
	if (code)
		return code;
	if (version->version != number)
		return cl_fail(e, CL_E_INTERNAL, "version %lld of %.*s/%.*s was stored as %lld", (long long)number,
		               CL_STR_ARGS(cl_fhir_type_name(version->type)), CL_STR_ARGS(version->id),
		               (long long)version->version);
	struct cl_str target = cl_arena_printf(unit->arena, "%.*s/%.*s", CL_STR_ARGS(cl_fhir_type_name(version->type)),
	                                       CL_STR_ARGS(version->id));
	code = cl_unit_audit(unit, kind, target, e);
	if (!code)
		code = cl_unit_add_change(unit, &change, e);
	if (code)
		return code;
	change->sequence = event.sequence;
	change->operation = version->operation;
	change->type = version->type;
	change->id = version->id;
	change->version = number;
	change->row = version->row;
	change->resource = resource;
	if (resource) {
		change->values = CL_NEW(unit->arena, struct cl_index);
		*change->values = *after;
	}
	change->status = status_of(resource);
	change->former_status = former_status;
	return 0;
}

static int put_body(struct cl_unit *unit, struct cl_version *version, struct cl_json *resource, unsigned flags,
                    const struct cl_json *former, struct cl_issues *issues, struct cl_err *e)
{
	struct cl_index before = {0}, after = {0};
	struct cl_rule_findings findings;
	char digits[24];
	int n = snprintf(digits, sizeof digits, "%lld", (long long)version->version);
	set_meta(unit, resource, (struct cl_str){digits, (size_t)n}, cl_instant_text(unit->arena, unit->now));
	int code = flags & CL_PUT_TRUSTED ? 0 : validate(unit, resource, issues, e);
	if (!code && version->type == CL_TYPE_SUBSCRIPTION && !(flags & CL_PUT_TRUSTED))
		code = cl_subscription_take(unit, version, resource, e);
	if (!code)
		code = cl_fhir_index(unit->arena, version->type, resource, &after, e);
	if (!code && former)
		code = cl_fhir_index(unit->arena, version->type, former, &before, e);
	if (!code)
		code = cl_data_rules_ask(unit, version->type, version->id, resource, former, &before, &after, &findings,
		                         e);
	if (code)
		return code;
	version->body = cl_json_arena_text(unit->arena, resource);
	code = record(unit, version, resource, status_of(former), &before, &after, e);
	return code ? code : cl_data_rules_keep(unit, version->type, version->id, resource, &findings, e);
}

int cl_unit_put_over(struct cl_unit *unit, enum cl_operation operation, uint16_t type, struct cl_str id,
                     struct cl_json *resource, unsigned flags, const struct cl_version *former,
                     const struct cl_json *former_tree, struct cl_version *out, struct cl_issues *issues,
                     struct cl_err *e)
{
	struct cl_version version = {
	        .row = former->row,
	        .type = type,
	        .id = cl_arena_copy(unit->arena, id),
	        .version = former->version + 1,
	        .operation = (uint8_t)operation,
	        .updated = unit->now,
	};
	bool exists = former->version && former->operation != CL_OP_DELETE;
	struct cl_json *parsed = NULL;
	int code = 0;
	if (exists && !former_tree) {
		if (cl_json_parse(unit->arena, former->body, NULL, &parsed, e))
			return cl_fail(e, CL_E_CORRUPT, "the stored text of %.*s/%.*s is no JSON",
			               CL_STR_ARGS(cl_fhir_type_name(type)), CL_STR_ARGS(id));
		former_tree = parsed;
	}
	if (operation == CL_OP_DELETE) {
		struct cl_index before = {0}, after = {0};
		struct cl_rule_findings findings;
		code = cl_fhir_index(unit->arena, type, former_tree, &before, e);
		if (!code && type == CL_TYPE_SUBSCRIPTION)
			code = cl_subscription_forget(unit, version.id, e);
		if (!code)
			code = cl_data_rules_ask(unit, type, version.id, NULL, former_tree, &before, &after, &findings,
			                         e);
		if (!code)
			code = record(unit, &version, NULL, status_of(former_tree), &before, &after, e);
		if (!code)
			code = cl_data_rules_keep(unit, type, version.id, NULL, &findings, e);
	} else {
		const struct cl_json *meta = cl_json_get(resource, "meta");
		if (meta && meta->kind != CL_JSON_OBJECT) {
			cl_fail(e, CL_E_RULE, "meta must be an object");
			return cl_fail_at(e, "%.*s.meta", CL_STR_ARGS(cl_fhir_type_name(type)));
		}
		put_heads_first(unit->arena, resource);
		cl_json_set_text(unit->arena, resource, "id", id);
		version.operation = exists ? CL_OP_UPDATE : CL_OP_CREATE;
		if (exists && !(flags & CL_PUT_ALWAYS) && says_the_same(unit, resource, former_tree)) {
			if (out)
				*out = *former;
			return 0;
		}
		code = put_body(unit, &version, resource, flags, exists ? former_tree : NULL, issues, e);
	}
	if (!code && out)
		*out = version;
	return code;
}

int cl_unit_put(struct cl_unit *unit, enum cl_operation operation, uint16_t type, struct cl_str id,
                struct cl_json *resource, bool trusted, struct cl_version *out, struct cl_issues *issues,
                struct cl_err *e)
{
	struct cl_version former;
	struct cl_str name = cl_fhir_type_name(type);
	int code = cl_unit_current(unit, type, id, &former, e);
	if (code)
		return code;
	bool exists = former.version && former.operation != CL_OP_DELETE;
	if (operation == CL_OP_CREATE && exists)
		return cl_fail(e, CL_E_CONFLICT, "%.*s/%.*s exists already: update it, or let the server choose an id",
		               CL_STR_ARGS(name), CL_STR_ARGS(id));
	if (operation == CL_OP_DELETE && !former.version)
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s/%.*s is not known here", CL_STR_ARGS(name), CL_STR_ARGS(id));
	if (operation == CL_OP_DELETE && !exists)
		return cl_fail(e, CL_E_GONE, "%.*s/%.*s was deleted", CL_STR_ARGS(name), CL_STR_ARGS(id));
	return cl_unit_put_over(unit, operation, type, id, resource, trusted ? CL_PUT_TRUSTED : 0, &former, NULL, out,
	                        issues, e);
}
