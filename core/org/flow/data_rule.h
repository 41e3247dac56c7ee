/* data_rule.h: what plugins say of right data (`rule`): looked at when a version is written, whoever writes it. A rule refuses,
 * or lets it pass and keeps a DetectedIssue that says what is wrong until the data are put right. */
#pragma once
#include "org/flow/unit.h"

#define CL_RULE_SYSTEM "urn:careloop:rule" /* DetectedIssue.code.coding.system; code = the rule's name */

/* What the rules said of one version before it is written. */
struct cl_rule_findings {
	struct cl_rule_finding *first, **end;
};
struct cl_rule_finding {
	struct cl_rule_finding *next;
	const struct cl_data_rule *rule;
	struct cl_str words; /* empty: the data are right */
};

/* Asks every rule that the version concerns: by its new values, and, for rules that keep others from writing, by its former
 * ones. CL_E_RULE names the rule that refuses. `resource` is NULL for a deletion, `former` for a new one; `before` and `after`
 * are their index values. */
int cl_data_rules_ask(struct cl_unit *unit, uint16_t type, struct cl_str id, const struct cl_json *resource,
                      const struct cl_json *former, const struct cl_index *before, const struct cl_index *after,
                      struct cl_rule_findings *out, struct cl_err *e);
/* Once the version is written: opens DetectedIssues for what is wrong, closes those of what is right again. */
int cl_data_rules_keep(struct cl_unit *unit, uint16_t type, struct cl_str id, const struct cl_json *resource,
                       const struct cl_rule_findings *findings, struct cl_err *e);
