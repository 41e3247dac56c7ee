/* view.c: resources as plugins see them: a window on the parsed JSON instead of a copy of it, because the conversion, not the
 * script, would be the cost (performance.md §3.2). Nothing is copied until something is assigned. */
#include "org/lua/view.h"
#include "org/lua/sort.h"

#define FEW 8 /* nodes that are found by looking at each */

static const char view_key;

/* ---- nodes ---- */

static uint32_t slot_of(const struct cl_document *document, const struct cl_json *place)
{
	uint64_t address = (uint64_t)(uintptr_t)place;
	return (uint32_t)((address >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (document->slot_count - 1);
}

static void put_slot(struct cl_document *document, struct cl_view_node *node)
{
	uint32_t slot = slot_of(document, node->place);
	while (document->slots[slot])
		slot = (slot + 1) & (document->slot_count - 1);
	document->slots[slot] = node;
}

void cl_document_index(struct cl_document *document)
{
	if (document->node_count <= FEW)
		return;
	if (document->slot_count < 2 * document->node_count) {
		document->slot_count = 32;
		while (document->slot_count < 4 * document->node_count)
			document->slot_count *= 2;
		document->slots = CL_NEW_ARRAY(document->arena, struct cl_view_node *, document->slot_count);
	} else {
		memset(document->slots, 0, document->slot_count * sizeof(struct cl_view_node *));
	}
	for (struct cl_view_node *node = document->nodes; node; node = node->next)
		put_slot(document, node);
}

static struct cl_view_node *find_node(struct cl_document *document, const struct cl_json *place)
{
	if (!document->slots) {
		for (struct cl_view_node *node = document->nodes; node; node = node->next)
			if (node->place == place)
				return node;
		return NULL;
	}
	for (uint32_t slot = slot_of(document, place); document->slots[slot];
	     slot = (slot + 1) & (document->slot_count - 1))
		if (document->slots[slot]->place == place)
			return document->slots[slot];
	return NULL;
}

static struct cl_view_node *add_node(struct cl_document *document, struct cl_json *place)
{
	struct cl_view_node *node = CL_NEW(document->arena, struct cl_view_node);
	node->document = document;
	node->place = place;
	*document->end = node;
	document->end = &node->next;
	document->node_count++;
	if (document->slots && document->slot_count >= 2 * document->node_count)
		put_slot(document, node);
	else
		cl_document_index(document);
	return node;
}

struct cl_view_node *cl_view_child(struct cl_view_node *parent, struct cl_json *place, struct cl_str name,
                                   uint32_t index)
{
	struct cl_view_node *node = find_node(parent->document, place);
	if (node)
		return node;
	node = add_node(parent->document, place);
	node->parent = parent;
	node->name = name;
	node->index = index;
	return node;
}

/* ---- userdata ---- */

void cl_push_node(lua_State *L, struct cl_view_node *node)
{
	struct cl_view_handle *view = lua_newuserdatauv(L, sizeof *view, 0);
	view->node = node;
	view->generation = cl_lua_of(L)->generation;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &view_key);
	lua_setmetatable(L, -2);
}

void cl_push_view(lua_State *L, const struct cl_json *root, struct cl_str body, int64_t version)
{
	struct cl_document *document = CL_NEW(cl_lua_of(L)->frame->unit->arena, struct cl_document);
	document->arena = cl_lua_of(L)->frame->unit->arena;
	document->root = (struct cl_json *)root; /* not written to before it is `owned` */
	document->body = body;
	document->version = version;
	document->end = &document->nodes;
	cl_push_node(L, add_node(document, document->root));
}

bool cl_is_view(lua_State *L, int index)
{
	if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
		return false;
	lua_rawgetp(L, LUA_REGISTRYINDEX, &view_key);
	bool is = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return is;
}

struct cl_view_node *cl_view_node(lua_State *L, int index)
{
	struct cl_view_handle *view = lua_touserdata(L, index);
	if (view->generation != cl_lua_of(L)->generation)
		cl_raise_misuse(
		        L, "this resource was used after its request ended; keep plain(resource), or read it again");
	struct cl_view_node *node = view->node;
	if (!node->place) { /* the root of a document that nobody has looked at so far */
		struct cl_document *document = node->document;
		struct cl_err e = {0};
		if (cl_json_parse(document->arena, document->body, NULL, &document->root, &e)) {
			cl_fail(&e, CL_E_CORRUPT, "a stored resource is no JSON");
			cl_raise_for_good(L, &e);
		}
		node->place = document->root;
		cl_document_index(document);
	}
	return node;
}

const struct cl_json *cl_view_json(lua_State *L, int index)
{
	return cl_view_node(L, index)->place;
}

int64_t cl_view_version(lua_State *L, int index)
{
	const struct cl_view_node *node = cl_view_node(L, index);
	return node->parent ? 0 : node->document->version;
}

void cl_view_set_version(lua_State *L, int index, int64_t version)
{
	cl_view_node(L, index)->document->version = version;
}

/* ---- reading ---- */

void cl_push_child(lua_State *L, struct cl_view_node *parent, struct cl_json *place, struct cl_str name, uint32_t index)
{
	if (!place)
		lua_pushnil(L);
	else if (place->kind == CL_JSON_ARRAY || place->kind == CL_JSON_OBJECT)
		cl_push_node(L, cl_view_child(parent, place, name, index));
	else
		cl_push_plain(L, place);
}

static void push_named(lua_State *L, struct cl_view_node *node, struct cl_str name)
{
	struct cl_json *place = cl_json_get_str(node->place, name);
	/* The member's own name: the Lua string may be collected. */
	if (place && place->kind >= CL_JSON_ARRAY)
		name = ((struct cl_json_member *)(void *)((char *)place - offsetof(struct cl_json_member, value)))
		               ->name;
	cl_push_child(L, node, place, name, 0);
}

void cl_view_push_element(lua_State *L, int index, lua_Integer i)
{
	struct cl_view_node *node = cl_view_node(L, index);
	if (node->place->kind != CL_JSON_ARRAY || i < 1 || i > (lua_Integer)node->place->count)
		lua_pushnil(L);
	else
		cl_push_child(L, node, &node->place->items[i - 1], CL_STR_NONE, (uint32_t)(i - 1));
}

static int view_index(lua_State *L)
{
	if (lua_type(L, 2) == LUA_TSTRING) {
		struct cl_str name;
		name.p = lua_tolstring(L, 2, &name.n);
		push_named(L, cl_view_node(L, 1), name);
	} else if (lua_type(L, 2) == LUA_TNUMBER) {
		cl_view_push_element(L, 1, lua_tointeger(L, 2));
	} else {
		lua_pushnil(L);
	}
	return 1;
}

lua_Integer cl_view_length(lua_State *L, int index)
{
	const struct cl_json *value = cl_view_json(L, index);
	return value->kind == CL_JSON_ARRAY ? (lua_Integer)value->count : 0;
}

static int view_length(lua_State *L)
{
	lua_pushinteger(L, cl_view_length(L, 1));
	return 1;
}

static int view_equal(lua_State *L)
{
	bool equal = cl_is_view(L, 1) && cl_is_view(L, 2) && cl_view_node(L, 1) == cl_view_node(L, 2);
	lua_pushboolean(L, equal);
	return 1;
}

static int view_text(lua_State *L)
{
	const struct cl_view_node *node = cl_view_node(L, 1);
	struct cl_str type = cl_json_get_text(node->place, "resourceType"), id = cl_json_get_text(node->place, "id");
	if (type.n) {
		lua_pushlstring(L, type.p, type.n);
		lua_pushliteral(L, "/");
		lua_pushlstring(L, id.n ? id.p : "?", id.n ? id.n : 1);
		lua_concat(L, 3);
	} else {
		lua_pushliteral(L, "part of a resource");
	}
	return 1;
}

/* ---- pairs ---- */

static bool name_less(lua_State *L, void *context, uint32_t a, uint32_t b)
{
	(void)L;
	const struct cl_json *object = context;
	return cl_str_compare(object->members[a].name, object->members[b].name) < 0;
}

/* Upvalues: names in order, how far it has come. */
static int members_step(lua_State *L)
{
	struct cl_view_node *node = cl_view_node(L, 1);
	lua_Integer at = lua_tointeger(L, lua_upvalueindex(2));
	struct cl_json *place;
	struct cl_str name;
	do {
		if (lua_rawgeti(L, lua_upvalueindex(1), ++at) == LUA_TNIL)
			return 1;
		name.p = lua_tolstring(L, -1, &name.n);
		place = cl_json_get_str(node->place, name); /* NULL when it was removed on the way */
		if (!place)
			lua_pop(L, 1);
	} while (!place);
	lua_pushinteger(L, at);
	lua_replace(L, lua_upvalueindex(2));
	push_named(L, node, name);
	return 2;
}

static int elements_step(lua_State *L)
{
	lua_Integer i = lua_tointeger(L, 2) + 1;
	if (i > cl_view_length(L, 1)) {
		lua_pushnil(L);
		return 1;
	}
	lua_pushinteger(L, i);
	cl_view_push_element(L, 1, i);
	return 2;
}

int cl_view_pairs(lua_State *L, int index)
{
	index = lua_absindex(L, index);
	struct cl_json *value = cl_view_node(L, index)->place;
	if (value->kind == CL_JSON_ARRAY) {
		lua_pushcfunction(L, elements_step);
		lua_pushvalue(L, index);
		lua_pushinteger(L, 0);
		return 3;
	}
	uint32_t few[64], *places = few, n = value->count;
	if (n > 32)
		places = lua_newuserdatauv(L, 2 * (size_t)n * sizeof *places, 0);
	for (uint32_t i = 0; i < n; i++)
		places[i] = i;
	cl_sort(L, places, places + n, n, name_less, value);
	lua_createtable(L, (int)n, 0);
	for (uint32_t i = 0; i < n; i++) {
		lua_pushlstring(L, value->members[places[i]].name.p, value->members[places[i]].name.n);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	lua_pushinteger(L, 0);
	lua_pushcclosure(L, members_step, 2);
	lua_pushvalue(L, index);
	lua_pushnil(L);
	return 3;
}

static int view_pairs(lua_State *L)
{
	return cl_view_pairs(L, 1);
}

void cl_view_open(lua_State *L)
{
	static const luaL_Reg methods[] = {
	        {"__index", view_index},   {"__newindex", cl_view_assign}, {"__len", view_length}, {"__eq", view_equal},
	        {"__tostring", view_text}, {"__pairs", view_pairs},        {NULL, NULL},
	};
	luaL_newlib(L, methods);
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
	lua_pushliteral(L, "resource");
	lua_setfield(L, -2, "__name");
	lua_rawsetp(L, LUA_REGISTRYINDEX, &view_key);
}
