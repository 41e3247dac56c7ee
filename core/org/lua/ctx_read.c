/* ctx_read.c: ctx:read, ctx:search, ctx:each. */
#include "org/fhir/reference.h"
#include "org/fhir/search.h"
#include "org/lua/internal.h"
#include <ctype.h>

/* ---- one resource ---- */

static int read_resource(lua_State *L)
{
	static const char call[] = "ctx:read";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_str text = cl_ctx_reference(L, 2, call, "reference");
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	struct cl_version version = {0};
	struct cl_json *resource = NULL;
	struct cl_err e = {0};
	if (!reference.type || !reference.id.n)
		return cl_raise_misuse(L, "%s: '%.80s' is no reference such as \"Patient/x\"", call, text.p);
	if (reference.form != CL_FHIR_REFERENCE_RELATIVE) { /* it lives elsewhere */
		lua_pushnil(L);
		return 1;
	}
	int code = cl_unit_read(unit, reference.type, reference.id, &resource, &version, &e);
	if (code == CL_E_NOT_FOUND || code == CL_E_GONE)
		lua_pushnil(L);
	else if (code)
		return cl_raise_for_good(L, &e);
	else
		cl_push_view(L, resource, CL_STR_NONE, version.version);
	return 1;
}

/* ---- search ---- */

#define VALUE_MAXIMUM 1000 /* bytes */

/* `out` has three bytes for each of the text. */
static size_t encode(struct cl_str text, char *out)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (isalnum(c) || (c && strchr("-._~:/|,$", c))) {
			out[n++] = (char)c;
		} else {
			out[n++] = '%';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		}
	}
	return n;
}

/* Replaces the value on top of the stack by "name=value", encoded. */
static void make_parameter(lua_State *L, const char *name)
{
	struct cl_str text;
	char encoded[3 * VALUE_MAXIMUM];
	if (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TNUMBER && lua_type(L, -1) != LUA_TBOOLEAN)
		cl_raise_misuse(L, "ctx:search: the value of '%s' is a %s, not text", name, luaL_typename(L, -1));
	text.p = luaL_tolstring(L, -1, &text.n);
	if (text.n > VALUE_MAXIMUM)
		cl_raise_misuse(L, "ctx:search: the value of '%s' is longer than %d bytes", name, VALUE_MAXIMUM);
	size_t n = encode(text, encoded);
	lua_pop(L, 2);
	lua_pushfstring(L, "%s=", name);
	lua_pushlstring(L, encoded, n);
	lua_concat(L, 2);
}

/* Pushes the query text of the table at `index`: parameters sorted by name; a list is one parameter several times, which all
 * must hold. */
static void push_query(lua_State *L, int index, bool *counted)
{
	lua_newtable(L);
	int parts = lua_gettop(L);
	lua_Integer count = 0, names = cl_push_sorted_keys(L, index);
	int keys = lua_gettop(L);
	for (lua_Integer i = 1; i <= names; i++) {
		lua_rawgeti(L, keys, i);
		if (lua_type(L, -1) != LUA_TSTRING)
			cl_raise_misuse(L, "ctx:search: parameters have names");
		const char *name = lua_tostring(L, -1);
		if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:.-") != strlen(name))
			cl_raise_misuse(L, "ctx:search: '%.60s' is no name of a parameter", name);
		*counted |= strcmp(name, "_count") == 0;
		lua_pushvalue(L, -1);
		lua_rawget(L, index);
		if (lua_type(L, -1) == LUA_TTABLE) {
			lua_Integer values = (lua_Integer)lua_rawlen(L, -1);
			for (lua_Integer k = 1; k <= values; k++) {
				lua_rawgeti(L, -1, k);
				make_parameter(L, name);
				lua_rawseti(L, parts, ++count);
			}
			lua_pop(L, 1);
		} else {
			make_parameter(L, name);
			lua_rawseti(L, parts, ++count);
		}
		lua_pop(L, 1);
	}
	luaL_Buffer query;
	luaL_buffinit(L, &query);
	for (lua_Integer i = 1; i <= count; i++) {
		if (i > 1)
			luaL_addchar(&query, '&');
		lua_rawgeti(L, parts, i);
		luaL_addvalue(&query);
	}
	luaL_pushresult(&query);
}

static bool mentions_count(struct cl_str query)
{
	static const char name[] = "_count=";
	for (size_t i = 0; i + sizeof name - 1 <= query.n; i++)
		if ((i == 0 || query.p[i - 1] == '&') && memcmp(query.p + i, name, sizeof name - 1) == 0)
			return true;
	return false;
}

/* The hook does not fire inside SQLite; this does (pitfalls 10). */
int cl_ctx_progress(void *context)
{
	struct cl_lua *lua = context;
	return cl_budget_poll(&lua->budget);
}

struct question {
	uint16_t type;
	struct cl_str query;
	bool counted; /* says itself how many are enough */
	uint32_t page; /* rows of a page; 0 = all of them, within the limit */
	struct cl_str after; /* place of the page; empty = the first */
};

/* Everything that can fail, without Lua. */
static int run_search(struct cl_lua *lua, struct cl_unit *unit, const struct question *question,
                      struct cl_search_result *out, struct cl_err *e)
{
	uint16_t type = question->type;
	struct cl_str query = question->query;
	bool counted = question->counted;
	struct cl_fhir_search search = {0};
	struct cl_fhir_search_context context = {.type = type, .now = unit->now};
	uint32_t most = lua->limits.search_rows;
	int code = cl_fhir_search_parse(unit->arena, &context, query, &search, e);
	if (code)
		return code;
	if (search.include_count || search.element_count || search.summary != CL_SUMMARY_FALSE || search.page.n)
		return cl_fail(e, CL_E_RULE,
		               "ctx:search gives whole resources: no _include, _elements, _summary or _page");
	if (!counted || search.query.limit > most)
		search.query.limit = most;
	search.query.bodies = true;
	search.query.want_total = false;
	if (question->page) {
		search.query.limit = question->page;
		search.query.after = question->after;
		counted = true;
	}
	cl_store_set_progress(unit->store, cl_ctx_progress, lua);
	code = cl_store_search(unit->store, unit->arena, &search.query, out, e);
	cl_store_set_progress(unit->store, NULL, NULL);
	if (!code && !counted && out->after.n)
		return cl_fail(
		        e, CL_E_LIMIT,
		        "ctx:search finds more than %u; narrow it, or say with _count that the first ones are enough",
		        most);
	return code;
}

/* The type at 2 and the query at 3: a table, a view of one, or a query string. */
static struct question take_question(lua_State *L, const char *call)
{
	struct question question = {0};
	struct cl_str name = cl_ctx_text(L, 2, call, "type");
	question.type = cl_fhir_type(name);
	if (!question.type)
		cl_raise_misuse(L, "%s: '%.60s' is no type of FHIR R4", call, name.p);
	if (cl_is_view(L, 3)) {
		cl_push_plain(L, cl_view_json(L, 3));
		lua_replace(L, 3);
	}
	if (lua_istable(L, 3)) {
		push_query(L, 3, &question.counted);
		question.query = cl_ctx_optional_text(L, -1, call, "query");
	} else if (!lua_isnoneornil(L, 3)) {
		question.query = cl_ctx_optional_text(L, 3, call, "query");
		question.counted = mentions_count(question.query);
	}
	return question;
}

/* A search that was made already while measures look at one subject: its resources stay parsed, too. */
struct cl_search_memo {
	struct cl_search_memo *next;
	uint16_t type;
	struct cl_str query;
	struct cl_search_result result;
	struct cl_json **roots; /* one for each item; NULL = not looked at yet */
};

static struct cl_search_memo *remembered(struct cl_unit *unit, const struct question *question)
{
	struct cl_search_memo *memo = unit->searches;
	while (memo && !(memo->type == question->type && cl_str_equal(memo->query, question->query)))
		memo = memo->next;
	return memo;
}

static struct cl_search_memo *remember(struct cl_unit *unit, const struct question *question,
                                       const struct cl_search_result *result)
{
	struct cl_search_memo *memo = CL_NEW(unit->arena, struct cl_search_memo);
	memo->type = question->type;
	memo->query = cl_arena_copy(unit->arena, question->query);
	memo->result = *result;
	memo->roots = CL_NEW_ARRAY(unit->arena, struct cl_json *, result->count + 1);
	memo->next = unit->searches;
	unit->searches = memo;
	return memo;
}

static void push_remembered(lua_State *L, struct cl_unit *unit, struct cl_search_memo *memo)
{
	struct cl_err e = {0};
	lua_createtable(L, (int)memo->result.count, 0);
	for (size_t i = 0; i < memo->result.count; i++) {
		const struct cl_version *item = &memo->result.items[i];
		if (!memo->roots[i] && cl_json_parse(unit->arena, item->body, NULL, &memo->roots[i], &e))
			cl_raise_for_good(L, &e);
		cl_push_view(L, memo->roots[i], CL_STR_NONE, item->version);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

/* Pushes the rows as a list. */
static void push_found(lua_State *L, struct cl_unit *unit, const struct question *question,
                       struct cl_search_result *result)
{
	struct cl_err e = {0};
	bool keep = unit->remember_searches && !question->page;
	struct cl_search_memo *memo = keep ? remembered(unit, question) : NULL;
	if (memo) {
		push_remembered(L, unit, memo);
		return;
	}
	int code = run_search(cl_lua_of(L), unit, question, result, &e);
	cl_poll(L);
	if (code == CL_E_INVALID || code == CL_E_RULE) { /* the plugin's question was wrong, not the request */
		e.code = CL_E_PLUGIN;
		cl_raise(L, &e);
	}
	if (code)
		cl_raise_for_good(L, &e);
	if (keep) {
		push_remembered(L, unit, remember(unit, question, result));
		return;
	}
	lua_createtable(L, (int)result->count, 0);
	for (size_t i = 0; i < result->count; i++) {
		cl_push_view(L, NULL, result->items[i].body, result->items[i].version);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

static int search(lua_State *L)
{
	static const char call[] = "ctx:search";
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	struct cl_search_result result = {0};
	struct question question = take_question(L, call);
	push_found(L, unit, &question, &result);
	return 1;
}

/* ---- all of them, page by page ---- */

#define PAGE 200

/* Upvalues of the iterator. */
enum { EACH_CTX = 1, EACH_TYPE, EACH_QUERY, EACH_AFTER /* nil: no page follows */, EACH_ROWS, EACH_PLACE };

static int each_next(lua_State *L)
{
	static const char call[] = "ctx:each";
	lua_settop(L, 0);
	lua_pushvalue(L, lua_upvalueindex(EACH_CTX));
	struct cl_unit *unit = cl_ctx_unit(L, call, false);
	lua_Integer place = lua_tointeger(L, lua_upvalueindex(EACH_PLACE)) + 1;
	lua_pushvalue(L, lua_upvalueindex(EACH_ROWS));
	if (place > (lua_Integer)lua_rawlen(L, -1)) {
		struct cl_search_result result = {0};
		if (lua_isnil(L, lua_upvalueindex(EACH_AFTER)))
			return 0;
		struct question question = {
		        .type = (uint16_t)lua_tointeger(L, lua_upvalueindex(EACH_TYPE)),
		        .query = cl_ctx_optional_text(L, lua_upvalueindex(EACH_QUERY), call, "query"),
		        .page = PAGE,
		        .after = cl_ctx_optional_text(L, lua_upvalueindex(EACH_AFTER), call, "place"),
		};
		push_found(L, unit, &question, &result);
		lua_copy(L, -1, lua_upvalueindex(EACH_ROWS));
		cl_push_str(L, result.after);
		lua_replace(L, lua_upvalueindex(EACH_AFTER));
		place = 1;
	}
	lua_pushinteger(L, place);
	lua_replace(L, lua_upvalueindex(EACH_PLACE));
	lua_rawgeti(L, -1, place);
	return 1;
}

/* for patient in ctx:each("Patient", { active = true }) do ... end. Those made meanwhile do not come. */
static int each(lua_State *L)
{
	static const char call[] = "ctx:each";
	cl_ctx_unit(L, call, false);
	struct question question = take_question(L, call);
	if (question.counted)
		return cl_raise_misuse(L, "%s goes through all of them; without _count", call);
	lua_pushvalue(L, 1);
	lua_pushinteger(L, question.type);
	lua_pushlstring(L, question.query.p ? question.query.p : "", question.query.n);
	lua_pushliteral(L, "");
	lua_newtable(L);
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, each_next, 6);
	return 1;
}

const luaL_Reg cl_ctx_read_calls[] = {
        {"read", read_resource},
        {"search", search},
        {"each", each},
        {NULL, NULL},
};
