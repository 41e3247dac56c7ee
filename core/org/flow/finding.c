/* finding.c: DetectedIssues that the core opens (FHIR R4 DetectedIssue: preliminary while it is open, final once somebody or the
 * data have settled it). */
#include "org/flow/finding.h"
#include "base/hash.h"
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

struct cl_str cl_finding_id(struct cl_unit *unit, const struct cl_finding *issue)
{
	uint8_t hash[CL_SHA256_SIZE];
	char hex[2 * CL_SHA256_SIZE + 1];
	struct cl_str first = issue->implicated[0], second = issue->implicated[1];
	if (second.n && cl_str_compare(second, first) < 0) { /* whichever of the two found the other */
		first = issue->implicated[1];
		second = issue->implicated[0];
	}
	cl_sha256_of(cl_arena_printf(unit->arena, "%.*s\n%.*s\n%.*s\n%.*s", CL_STR_ARGS(issue->system),
	                             CL_STR_ARGS(issue->name), CL_STR_ARGS(first), CL_STR_ARGS(second)),
	             hash);
	cl_hex(hash, sizeof hash, hex);
	return cl_arena_printf(unit->arena, "issue-%.32s", hex);
}

static struct cl_str now_text(struct cl_unit *unit)
{
	return cl_zone_text(unit->arena, unit->organization->calendar.zone, unit->now);
}

static void add_mitigation(struct cl_unit *unit, struct cl_json *issue, struct cl_str words)
{
	struct cl_json *mitigation = cl_json_append(unit->arena, cl_json_set_array(unit->arena, issue, "mitigation"));
	mitigation->kind = CL_JSON_OBJECT;
	cl_json_set_text(unit->arena, cl_json_set_object(unit->arena, mitigation, "action"), "text", words);
	cl_json_set_text(unit->arena, mitigation, "date", now_text(unit));
	if (cl_str_starts(unit->actor.reference, "Practitioner/") ||
	    cl_str_starts(unit->actor.reference, "PractitionerRole/"))
		cl_set_reference(unit->arena, mitigation, "author", unit->actor.reference);
}

static void describe(struct cl_unit *unit, const struct cl_finding *issue, struct cl_json *resource)
{
	struct cl_arena *arena = unit->arena;
	cl_json_set_text(arena, resource, "resourceType", CL_STR("DetectedIssue"));
	cl_json_set_text(arena, resource, "status", issue->settled_by.n ? CL_STR("final") : CL_STR("preliminary"));
	cl_fill_concept(arena, cl_json_set(arena, resource, CL_STR("code")), issue->system, issue->name,
	                issue->summary);
	cl_json_set_text(arena, resource, "severity", issue->severity.n ? issue->severity : CL_STR("moderate"));
	if (issue->patient.n)
		cl_set_reference(arena, resource, "patient", issue->patient);
	cl_json_set_text(arena, resource, "identifiedDateTime", now_text(unit));
	struct cl_json *implicated = cl_json_set_array(arena, resource, "implicated");
	for (size_t i = 0; i < 2 && issue->implicated[i].n; i++) {
		struct cl_json *item = cl_json_append(arena, implicated);
		item->kind = CL_JSON_OBJECT;
		cl_json_set_text(arena, item, "reference", issue->implicated[i]);
	}
	cl_json_set_text(arena, resource, "detail", issue->words);
	cl_json_remove(resource, "mitigation");
	if (issue->settled_by.n)
		add_mitigation(unit, resource, issue->settled_by);
}

/* Somebody is asked to look at it. */
static int ask_role(struct cl_unit *unit, const struct cl_finding *issue, struct cl_str id, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *task = cl_json_new(arena, CL_JSON_OBJECT);
	cl_json_set_text(arena, task, "resourceType", CL_STR("Task"));
	cl_json_set_text(arena, task, "status", CL_STR("requested"));
	cl_json_set_text(arena, task, "intent", CL_STR("order"));
	bool rule = !issue->implicated[1].n;
	cl_fill_concept(arena, cl_json_set(arena, task, CL_STR("code")), CL_STR(CL_TASK_SYSTEM),
	                rule ? CL_STR("data-issue") : CL_STR("conflict"),
	                rule ? CL_STR("Wrong data") : CL_STR("Conflict of workflows"));
	cl_json_set_text(
	        arena, task, "description",
	        issue->summary.n && !cl_str_equal(issue->summary, issue->words)
	                ? cl_arena_printf(arena, "%.*s: %.*s", CL_STR_ARGS(issue->summary), CL_STR_ARGS(issue->words))
	                : issue->words);
	cl_set_reference(arena, task, "focus", issue->implicated[0]);
	if (issue->patient.n)
		cl_set_reference(arena, task, "for", issue->patient);
	cl_json_set_text(arena, task, "authoredOn", now_text(unit));
	cl_json_set_text(arena, task, "lastModified", now_text(unit));
	cl_fill_concept(arena, cl_json_append(arena, cl_json_set_array(arena, task, "performerType")),
	                CL_STR(CL_ROLE_SYSTEM), issue->tell, CL_STR_NONE);
	cl_set_reference(arena, task, "reasonReference", cl_arena_printf(arena, "DetectedIssue/%.*s", CL_STR_ARGS(id)));
	struct cl_version none = {.type = CL_TYPE_TASK};
	return cl_unit_put_over(unit, CL_OP_CREATE, CL_TYPE_TASK, cl_unit_id(unit, CL_STR("issue")), task,
	                        CL_PUT_TRUSTED, &none, NULL, NULL, NULL, e);
}

static int find(struct cl_unit *unit, struct cl_str id, struct cl_version *former, struct cl_json **resource,
                struct cl_err *e)
{
	*resource = NULL;
	int code = cl_unit_current(unit, CL_TYPE_DETECTED_ISSUE, id, former, e);
	if (code || !former->version || former->operation == CL_OP_DELETE)
		return code;
	return cl_json_parse(unit->arena, former->body, NULL, resource, e);
}

static bool is_open(const struct cl_json *resource)
{
	return resource && cl_str_is(cl_json_get_text(resource, "status"), "preliminary");
}

static int put(struct cl_unit *unit, struct cl_str id, struct cl_json *resource, const struct cl_version *former,
               struct cl_err *e)
{
	bool exists = former->version && former->operation != CL_OP_DELETE;
	return cl_unit_put_over(unit, exists ? CL_OP_UPDATE : CL_OP_CREATE, CL_TYPE_DETECTED_ISSUE, id, resource, 0,
	                        former, NULL, NULL, NULL, e);
}

int cl_finding_open(struct cl_unit *unit, const struct cl_finding *issue, struct cl_err *e)
{
	struct cl_str id = cl_finding_id(unit, issue);
	struct cl_version former;
	struct cl_json *resource;
	int code = find(unit, id, &former, &resource, e);
	if (code)
		return code;
	bool open = is_open(resource);
	bool same = resource && cl_str_equal(cl_json_get_text(resource, "detail"), issue->words);
	/* One that the core settled has a mitigation; that a person settled as it stands may have none. */
	if (same && (open || !cl_json_get(resource, "mitigation")) && !issue->settled_by.n)
		return 0;
	if (!resource)
		resource = cl_json_new(unit->arena, CL_JSON_OBJECT);
	describe(unit, issue, resource);
	code = put(unit, id, resource, &former, e);
	return !code && issue->tell.n && !open ? ask_role(unit, issue, id, e) : code;
}

int cl_finding_settle(struct cl_unit *unit, struct cl_str id, struct cl_str words, struct cl_err *e)
{
	struct cl_version former;
	struct cl_json *resource;
	int code = find(unit, id, &former, &resource, e);
	if (code || !is_open(resource))
		return code;
	cl_json_set_text(unit->arena, resource, "status", CL_STR("final"));
	add_mitigation(unit, resource, words);
	return put(unit, id, resource, &former, e);
}
