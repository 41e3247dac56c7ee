/* data_rule.c: named rules of right data: who may write what, what is refused, and what is kept as a DetectedIssue (FHIR R4
 * DetectedIssue: preliminary while it is open, final once somebody or the data have settled it). */
#include "org/flow/data_rule.h"
#include "org/fhir/types.h"
#include "org/flow/finding.h"
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

static int keep(struct cl_unit *unit, const struct cl_rule_finding *finding, struct cl_str reference,
                const struct cl_json *resource, struct cl_err *e)
{
	const struct cl_data_rule *rule = finding->rule;
	struct cl_finding issue = {
	        .system = CL_STR(CL_RULE_SYSTEM),
	        .name = rule->name,
	        .summary = rule->summary,
	        .severity = rule->severity,
	        .words = finding->words,
	        .patient = cl_patient_reference(unit->arena, resource),
	        .implicated = {reference},
	        .tell = rule->tell,
	};
	if (finding->words.n)
		return cl_finding_open(unit, &issue, e);
	return cl_finding_settle(unit, cl_finding_id(unit, &issue), CL_STR("The data were put right"), e);
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
