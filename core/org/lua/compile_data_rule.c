/* compile_data_rule.c: `rule`: named rules of right data. */
#include "org/fhir/search.h"
#include "org/lua/compile.h"

/* "Type" or "Type?search" */
static void compile_of(struct cl_lua *lua, struct cl_data_rule *rule)
{
	struct cl_str type = rule->of, query = CL_STR_NONE;
	struct cl_fhir_search search = {0};
	struct cl_err e = {0};
	const char *mark = rule->of.n ? memchr(rule->of.p, '?', rule->of.n) : NULL;
	if (mark) {
		type.n = (size_t)(mark - rule->of.p);
		query = (struct cl_str){mark + 1, rule->of.n - type.n - 1};
	}
	rule->type = cl_fhir_type(type);
	struct cl_fhir_search_context context = {.type = rule->type};
	if (!rule->type || !query.n)
		return;
	int code = cl_fhir_search_parse(lua->arena, &context, query, &search, &e);
	if (!code && (search.include_count || search.element_count || search.query.sort_count || search.page.n))
		code = cl_fail(&e, CL_E_RULE,
		               "only what a resource is like counts: no _include, _sort, _elements or _page");
	if (code)
		cl_problem(lua, rule->origin.file, rule->origin.line, "rule '%.*s': of: %s%s%s",
		           CL_STR_ARGS(rule->name), e.message, e.where[0] ? " at " : "", e.where);
	rule->where = search.query.where;
}

void cl_compile_data_rules(lua_State *L, int index)
{
	struct cl_lua *lua = cl_lua_of(L);
	size_t count = cl_push_list(L, index, "rules");
	lua->catalog.rules = count ? CL_NEW_ARRAY(lua->arena, struct cl_data_rule, count) : NULL;
	lua->catalog.rule_count = count;
	for (size_t i = 0; i < count; i++) {
		struct cl_data_rule *rule = &lua->catalog.rules[i];
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		int at = lua_gettop(L);
		*rule = (struct cl_data_rule){
		        .name = cl_field_text(L, at, "name"),
		        .plugin = cl_field_text(L, at, "scope"),
		        .summary = cl_field_text(L, at, "summary"),
		        .source = cl_field_text(L, at, "source"),
		        .of = cl_field_text(L, at, "of"),
		        .flags = cl_field_flag(L, at, "flags"),
		        .tell = cl_field_text(L, at, "tell"),
		        .severity = cl_field_text(L, at, "severity"),
		        .exclusive = cl_field_flag(L, at, "exclusive"),
		        .origin = cl_field_origin(L, at),
		};
		rule->writers = cl_field_texts(L, at, "writers", &rule->writer_count);
		rule->roles = cl_field_texts(L, at, "roles", &rule->role_count);
		rule->check = cl_field_function(L, at, "check", &rule->origin, "rule %.*s", CL_STR_ARGS(rule->name));
		compile_of(lua, rule);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}
