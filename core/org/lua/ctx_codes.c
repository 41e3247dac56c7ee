/* ctx_codes.c: ctx:code_in, ctx:has_codes: code lists by name. */
#include "org/flow/codes.h"
#include "org/lua/internal.h"

static const struct cl_codes *codes_at(lua_State *L, struct cl_unit *unit, int index, const char *call)
{
	const struct cl_codes *codes = NULL;
	struct cl_err e = {0};
	struct cl_str name = cl_ctx_text(L, index, call, "code list");
	int code = cl_codes_find(unit, name, &codes, &e);
	if (code == CL_E_NOT_FOUND)
		cl_raise_misuse(L, "%s: no plugin declares a code list '%.60s'", call, name.p);
	if (code)
		cl_raise_for_good(L, &e);
	return codes;
}

/* ctx:code_in(condition.code, "diabetes"): the code that is in the list, or nil. */
static int code_in(lua_State *L)
{
	static const char call[] = "ctx:code_in";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	const struct cl_codes *codes = codes_at(L, unit, 3, call);
	const struct cl_json *concept = NULL;
	if (cl_is_view(L, 2))
	concept = cl_view_json(L, 2);
	else if (lua_istable(L, 2)) concept = cl_take_json(L, 2, unit->arena, "the concept");
	else if (!lua_isnoneornil(L, 2)) return cl_raise_misuse(
	        L, "%s: the first argument is a CodeableConcept, a Coding or a list of them", call);
	if (codes->problem.n)
		return cl_raise_misuse(L, "%s: the code list '%.60s' %.80s; name it in needs_codes", call,
		                       codes->name.p, codes->problem.p);
	cl_push_str(L, cl_codes_match(codes, concept));
	return 1;
}

/* ctx:has_codes("diabetes"): true, or false and why not. */
static int has_codes(lua_State *L)
{
	static const char call[] = "ctx:has_codes";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	const struct cl_codes *codes = codes_at(L, unit, 2, call);
	lua_pushboolean(L, !codes->problem.n);
	cl_push_str(L, codes->problem);
	return 2;
}

const luaL_Reg cl_ctx_codes_calls[] = {{"code_in", code_in}, {"has_codes", has_codes}, {NULL, NULL}};
