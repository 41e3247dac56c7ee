/* data_rule.c: named rules of right data: who may write what, what is refused, and what is kept as a DetectedIssue (FHIR R4
 * DetectedIssue: preliminary while it is open, final once somebody or the data have settled it). */
#include "org/flow/data_rule.h"
#include "base/hash.h"
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

/* ---- which rules concern it -------------------------------------------------------------------------------------- */

static int concerns(struct cl_unit *unit, const struct cl_data_rule *rule, uint16_t type, struct cl_str id,
                    const struct cl_json *resource, const struct cl_index *values, bool *out, struct cl_err *e)
{
	*out = false;
	if (rule->type != type || !resource)
		return 0;
	*out = true;
	return rule->where ? cl_criterion_decide(unit->store, rule->where, type, id, values, out, e) : 0;
}

static bool is_one_of(struct cl_str name, const struct cl_str *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (cl_str_equal(names[i], name))
			return true;
	return false;
}

/* The plugin itself and what extends it, an administrator, whoever has one of the roles named. */
static bool may_write(const struct cl_unit *unit, const struct cl_data_rule *rule)
{
	if (unit->plugin.n && !cl_str_is(unit->plugin, "console"))
		return is_one_of(unit->plugin, rule->writers, rule->writer_count);
	if (cl_str_is(unit->actor.kind, "system"))
		return true;
	for (size_t i = 0; i < unit->actor.role_count; i++)
		if (is_one_of(unit->actor.roles[i], rule->roles, rule->role_count))
			return true;
	return false;
}

static int refuse(const struct cl_data_rule *rule, uint16_t type, struct cl_str words, struct cl_err *e)
{
	cl_fail(e, CL_E_RULE, "rule %.*s (%.*s): %.*s", CL_STR_ARGS(rule->name), CL_STR_ARGS(rule->plugin),
	        CL_STR_ARGS(words));
	return cl_fail_at(e, "%.*s", CL_STR_ARGS(cl_fhir_type_name(type)));
}

static int ask_check(struct cl_unit *unit, const struct cl_data_rule *rule, uint16_t type, struct cl_str id,
                     const struct cl_json *resource, const struct cl_json *former, struct cl_str *words,
                     struct cl_err *e)
{
	if (!unit->script || !unit->script->check)
		return cl_fail(e, CL_E_INTERNAL, "no plugins are loaded to ask the rule '%.*s'",
		               CL_STR_ARGS(rule->name));
	int code = unit->script->check(unit->script->context, unit, rule->check, type, id, resource, former, words, e);
	if (!code && words->n && cl_str_is(*words, "?"))
		*words = rule->summary;
	return code;
}

static int ask(struct cl_unit *unit, const struct cl_data_rule *rule, uint16_t type, struct cl_str id,
               const struct cl_json *resource, const struct cl_json *former, struct cl_rule_findings *out,
               struct cl_err *e)
{
	struct cl_str words = CL_STR_NONE;
	int code = ask_check(unit, rule, type, id, resource, former, &words, e);
	if (code)
		return code;
	if (words.n && !rule->flags)
		return refuse(rule, type, words, e);
	if (!rule->flags || (!words.n && !former))
		return 0;
	struct cl_rule_finding *finding = CL_NEW(unit->arena, struct cl_rule_finding);
	*finding = (struct cl_rule_finding){.rule = rule, .words = words};
	*out->end = finding;
	out->end = &finding->next;
	return 0;
}

int cl_data_rules_ask(struct cl_unit *unit, uint16_t type, struct cl_str id, const struct cl_json *resource,
                      const struct cl_json *former, const struct cl_index *before, const struct cl_index *after,
                      struct cl_rule_findings *out, struct cl_err *e)
{
	*out = (struct cl_rule_findings){0};
	out->end = &out->first;
	for (size_t i = 0; i < unit->catalog->rule_count; i++) {
		const struct cl_data_rule *rule = &unit->catalog->rules[i];
		bool was, is;
		int code = concerns(unit, rule, type, id, resource, after, &is, e);
		if (!code)
			code = concerns(unit, rule, type, id, former, before, &was, e);
		if (code)
			return code;
		if (rule->exclusive && (was || is) && !may_write(unit, rule))
			return refuse(rule, type,
			              rule->summary.n ? rule->summary
			                              : CL_STR("only the plugin that declares it writes these"),
			              e);
		if (rule->check != CL_NO_FUNCTION && is)
			code = ask(unit, rule, type, id, resource, former, out, e);
		else if (rule->flags && was) { /* the rule does not concern it any more: whatever was wrong is over */
			struct cl_rule_finding *finding = CL_NEW(unit->arena, struct cl_rule_finding);
			*finding = (struct cl_rule_finding){.rule = rule};
			*out->end = finding;
			out->end = &finding->next;
		}
		if (code)
			return code;
	}
	return 0;
}

/* ---- what is kept ------------------------------------------------------------------------------------------------ */

/* One DetectedIssue for a rule and a resource, found again by its id. */
static struct cl_str issue_id(struct cl_unit *unit, const struct cl_data_rule *rule, struct cl_str reference)
{
	uint8_t hash[CL_SHA256_SIZE];
	char hex[2 * CL_SHA256_SIZE + 1];
	cl_sha256_of(cl_arena_printf(unit->arena, "rule\n%.*s\n%.*s", CL_STR_ARGS(rule->name), CL_STR_ARGS(reference)),
	             hash);
	cl_hex(hash, sizeof hash, hex);
	return cl_arena_printf(unit->arena, "rule-%.32s", hex);
}

static void settle(struct cl_unit *unit, struct cl_json *issue)
{
	cl_json_set_text(unit->arena, issue, "status", CL_STR("final"));
	struct cl_json *mitigation = cl_json_append(unit->arena, cl_json_set_array(unit->arena, issue, "mitigation"));
	mitigation->kind = CL_JSON_OBJECT;
	cl_json_set_text(unit->arena, cl_json_set_object(unit->arena, mitigation, "action"), "text",
	                 CL_STR("The data were put right"));
	cl_json_set_text(unit->arena, mitigation, "date",
	                 cl_zone_text(unit->arena, unit->organization->calendar.zone, unit->now));
}

static void describe(struct cl_unit *unit, const struct cl_data_rule *rule, struct cl_str words,
                     struct cl_str reference, const struct cl_json *resource, struct cl_json *issue)
{
	struct cl_arena *arena = unit->arena;
	cl_json_set_text(arena, issue, "resourceType", CL_STR("DetectedIssue"));
	cl_json_set_text(arena, issue, "status", CL_STR("preliminary"));
	cl_fill_concept(arena, cl_json_set(arena, issue, CL_STR("code")), CL_STR(CL_RULE_SYSTEM), rule->name,
	                rule->summary);
	cl_json_set_text(arena, issue, "severity", rule->severity.n ? rule->severity : CL_STR("moderate"));
	struct cl_str patient = cl_patient_reference(arena, resource);
	if (patient.n)
		cl_set_reference(arena, issue, "patient", patient);
	cl_json_set_text(arena, issue, "identifiedDateTime",
	                 cl_zone_text(arena, unit->organization->calendar.zone, unit->now));
	struct cl_json *implicated = cl_json_append(arena, cl_json_set_array(arena, issue, "implicated"));
	implicated->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, implicated, "reference", reference);
	cl_json_set_text(arena, issue, "detail", words);
	cl_json_remove(issue, "mitigation");
}

/* Somebody is asked to look at it. */
static int ask_role(struct cl_unit *unit, const struct cl_data_rule *rule, struct cl_str words, struct cl_str reference,
                    struct cl_str issue, const struct cl_json *resource, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *task = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_str now = cl_zone_text(arena, unit->organization->calendar.zone, unit->now);
	struct cl_str patient = cl_patient_reference(arena, resource);
	cl_json_set_text(arena, task, "resourceType", CL_STR("Task"));
	cl_json_set_text(arena, task, "status", CL_STR("requested"));
	cl_json_set_text(arena, task, "intent", CL_STR("order"));
	cl_fill_concept(arena, cl_json_set(arena, task, CL_STR("code")), CL_STR(CL_TASK_SYSTEM), CL_STR("data-issue"),
	                CL_STR("Wrong data"));
	cl_json_set_text(arena, task, "description", words);
	cl_set_reference(arena, task, "focus", reference);
	if (patient.n)
		cl_set_reference(arena, task, "for", patient);
	cl_json_set_text(arena, task, "authoredOn", now);
	cl_json_set_text(arena, task, "lastModified", now);
	cl_fill_concept(arena, cl_json_append(arena, cl_json_set_array(arena, task, "performerType")),
	                CL_STR(CL_ROLE_SYSTEM), rule->tell, CL_STR_NONE);
	cl_set_reference(arena, task, "reasonReference",
	                 cl_arena_printf(arena, "DetectedIssue/%.*s", CL_STR_ARGS(issue)));
	struct cl_version none = {.type = CL_TYPE_TASK};
	return cl_unit_put_over(unit, CL_OP_CREATE, CL_TYPE_TASK, cl_unit_id(unit, CL_STR("data-issue")), task,
	                        CL_PUT_TRUSTED, &none, NULL, NULL, NULL, e);
}

static int keep(struct cl_unit *unit, const struct cl_rule_finding *finding, struct cl_str reference,
                const struct cl_json *resource, struct cl_err *e)
{
	const struct cl_data_rule *rule = finding->rule;
	struct cl_str id = issue_id(unit, rule, reference);
	struct cl_json *issue = NULL;
	struct cl_version former = {.type = CL_TYPE_DETECTED_ISSUE};
	int code = cl_unit_current(unit, CL_TYPE_DETECTED_ISSUE, id, &former, e);
	if (code)
		return code;
	bool exists = former.version && former.operation != CL_OP_DELETE;
	if (exists && cl_json_parse(unit->arena, former.body, NULL, &issue, e))
		return CL_E_CORRUPT;
	bool open = exists && cl_str_is(cl_json_get_text(issue, "status"), "preliminary");
	bool same = exists && cl_str_equal(cl_json_get_text(issue, "detail"), finding->words);
	bool corrected = exists && !open && cl_json_get(issue, "mitigation");
	/* What a person settled as it stands is not opened again by the same words. */
	if (finding->words.n ? (same && !corrected) : !open)
		return 0;
	if (!exists)
		issue = cl_json_new(unit->arena, CL_JSON_OBJECT);
	if (finding->words.n)
		describe(unit, rule, finding->words, reference, resource, issue);
	else
		settle(unit, issue);
	code = cl_unit_put_over(unit, exists ? CL_OP_UPDATE : CL_OP_CREATE, CL_TYPE_DETECTED_ISSUE, id, issue, 0,
	                        &former, NULL, NULL, NULL, e);
	if (!code && finding->words.n && rule->tell.n && !open)
		code = ask_role(unit, rule, finding->words, reference, id, resource, e);
	return code;
}

int cl_data_rules_keep(struct cl_unit *unit, uint16_t type, struct cl_str id, const struct cl_json *resource,
                       const struct cl_rule_findings *findings, struct cl_err *e)
{
	struct cl_str reference = CL_STR_NONE;
	for (const struct cl_rule_finding *finding = findings->first; finding; finding = finding->next) {
		if (!reference.n)
			reference = cl_arena_printf(unit->arena, "%.*s/%.*s", CL_STR_ARGS(cl_fhir_type_name(type)),
			                            CL_STR_ARGS(id));
		int code = keep(unit, finding, reference, resource, e);
		if (code)
			return code;
	}
	return 0;
}
