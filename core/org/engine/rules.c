/* rules.c: the rules in force, counted by the threads that use them. */
#include "org/engine/organization.h"
#include <stdlib.h>

int cl_rules_new(const struct cl_json *archive, const struct cl_lua_limits *limits, struct cl_watch *watch,
                 struct cl_rules **out, struct cl_buf *problems, struct cl_err *e)
{
	struct cl_rules *rules = calloc(1, sizeof *rules);
	if (!rules)
		abort();
	int code = cl_lua_open(archive, limits, watch, &rules->lua, problems, e);
	if (code) {
		free(rules);
		return code;
	}
	rules->references = 1;
	rules->loaded = cl_clock_now(&(struct cl_clock){0}) / CL_SECOND * CL_SECOND;
	pthread_mutex_init(&rules->statement_lock, NULL);
	rules->catalog = cl_lua_catalog(rules->lua);
	rules->facts = cl_lua_facts(rules->lua);
	code = cl_access_new(rules->catalog, rules->facts, &rules->access, e);
	if (code) {
		cl_lua_close(rules->lua);
		free(rules);
		return code;
	}
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, archive);
	rules->archive_text = cl_buf_str(&text);
	*out = rules;
	return 0;
}

struct cl_rules *cl_rules_keep(struct cl_rules *rules)
{
	atomic_fetch_add(&rules->references, 1);
	return rules;
}

void cl_rules_release(struct cl_rules *rules)
{
	if (!rules || atomic_fetch_sub(&rules->references, 1) != 1)
		return;
	cl_statements_free(rules);
	cl_access_free(rules->access);
	cl_lua_close(rules->lua);
	free((char *)(uintptr_t)rules->archive_text.p);
	free(rules);
}
