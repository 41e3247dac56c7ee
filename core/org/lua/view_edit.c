/* view_edit.c: assignments to resources. The first one makes a private copy of the whole resource, so that what the engine and
 * other handlers see does not change; then values are edited in place, and the nodes of views follow values that move. */
#include "org/lua/view.h"

/* Makes the document's tree its own. No edit has moved anything yet, so names and positions lead every node to its copy. */
static void own(struct cl_document *document)
{
	if (document->owned)
		return;
	document->root = cl_json_copy(document->arena, document->root);
	document->owned = true;
	for (struct cl_view_node *node = document->nodes; node; node = node->next) {
		if (!node->parent)
			node->place = document->root;
		else if (node->parent->place->kind == CL_JSON_OBJECT)
			node->place = cl_json_get_str(node->parent->place, node->name);
		else
			node->place = &node->parent->place->items[node->index];
	}
	cl_document_index(document);
}

static void *array_of(const struct cl_json *container)
{
	return container->kind == CL_JSON_OBJECT ? (void *)container->members : (void *)container->items;
}

static size_t stride_of(const struct cl_json *container)
{
	return container->kind == CL_JSON_OBJECT ? sizeof(struct cl_json_member) : sizeof(struct cl_json);
}

/* The value at `place` is about to be overwritten or removed: views of it keep what they show. */
static void detach(struct cl_document *document, const struct cl_json *place)
{
	struct cl_json *kept = NULL;
	for (struct cl_view_node *node = document->nodes; node; node = node->next) {
		if (node->place != place)
			continue;
		if (!kept) {
			kept = CL_NEW(document->arena, struct cl_json);
			*kept = *place;
		}
		node->place = kept;
	}
}

/* The `bytes` at `from` now lie at `to`. */
static void follow(struct cl_document *document, const void *from, const void *to, size_t bytes)
{
	uintptr_t start = (uintptr_t)from, end = start + bytes;
	for (struct cl_view_node *node = document->nodes; node; node = node->next) {
		uintptr_t place = (uintptr_t)node->place;
		if (place >= start && place < end)
			node->place = (struct cl_json *)(void *)((char *)(uintptr_t)to + (place - start));
	}
}

/* Room for one more element or member at the end; returns its place (kind null). */
static struct cl_json *grow(struct cl_document *document, struct cl_json *container, struct cl_str name)
{
	void *former = array_of(container);
	size_t bytes = container->count * stride_of(container);
	struct cl_json *place = container->kind == CL_JSON_OBJECT ? cl_json_set(document->arena, container, name)
	                                                          : cl_json_append(document->arena, container);
	if (former != array_of(container))
		follow(document, former, array_of(container), bytes);
	return place;
}

static void close_gap(struct cl_document *document, struct cl_json *container, uint32_t i)
{
	size_t stride = stride_of(container);
	char *at = (char *)array_of(container) + i * stride;
	size_t bytes = (container->count - i - 1) * stride;
	follow(document, at + stride, at, bytes);
	memmove(at, at + stride, bytes);
	container->count--;
}

static void open_gap(struct cl_document *document, struct cl_json *array, uint32_t i)
{
	char *at = (char *)&array->items[i];
	size_t bytes = (array->count - 1 - i) * sizeof *array->items;
	follow(document, at, at + sizeof *array->items, bytes);
	memmove(at + sizeof *array->items, at, bytes);
}

static void overwrite(struct cl_document *document, struct cl_json *place, const struct cl_json *value)
{
	detach(document, place);
	*place = *value;
}

/* The node at argument 1, in a document that may be edited. */
static struct cl_view_node *editable(lua_State *L, int index)
{
	struct cl_view_node *node = cl_view_node(L, index);
	own(node->document);
	return node;
}

static void assign_member(lua_State *L, struct cl_view_node *node)
{
	struct cl_document *document = node->document;
	struct cl_str name;
	name.p = lua_tolstring(L, 2, &name.n);
	if (node->place->kind == CL_JSON_ARRAY && node->place->count == 0)
		node->place->kind = CL_JSON_OBJECT;
	if (node->place->kind != CL_JSON_OBJECT)
		cl_raise_misuse(L, "'%.100s' cannot be assigned: this is a list, its elements have numbers", name.p);
	struct cl_json *place = cl_json_get_str(node->place, name);
	if (lua_isnil(L, 3)) {
		if (!place)
			return;
		detach(document, place);
		close_gap(document, node->place,
		          (uint32_t)(((char *)place - (char *)&node->place->members[0].value) /
		                     (ptrdiff_t)sizeof(struct cl_json_member)));
	} else {
		struct cl_json value;
		cl_take_json_into(L, 3, document->arena, name.p, &value);
		if (place)
			overwrite(document, place, &value);
		else
			*grow(document, node->place, cl_arena_copy(document->arena, name)) = value;
	}
	cl_document_index(document);
}

static void assign_element(lua_State *L, struct cl_view_node *node)
{
	struct cl_document *document = node->document;
	lua_Integer i = lua_tointeger(L, 2), count;
	/* What was assigned as {} had no kind yet. */
	if (node->place->kind == CL_JSON_OBJECT && node->place->count == 0)
		node->place->kind = CL_JSON_ARRAY;
	if (node->place->kind != CL_JSON_ARRAY)
		cl_raise_misuse(L, "[%lld] cannot be assigned: this is no list", (long long)i);
	count = node->place->count;
	if (i < 1 || i > count + 1)
		cl_raise_misuse(L, "[%lld] cannot be assigned: the list has %lld elements and grows at its end",
		                (long long)i, (long long)count);
	if (lua_isnil(L, 3)) {
		if (i > count)
			return;
		if (i < count)
			cl_raise_misuse(L, "[%lld] cannot be nil: lists have no holes; use table.remove(list, %lld)",
			                (long long)i, (long long)i);
		detach(document, &node->place->items[i - 1]);
		node->place->count--;
	} else {
		struct cl_json value;
		cl_take_json_into(L, 3, document->arena, "element", &value);
		if (i <= count)
			overwrite(document, &node->place->items[i - 1], &value);
		else
			*grow(document, node->place, CL_STR_NONE) = value;
	}
	cl_document_index(document);
}

int cl_view_assign(lua_State *L)
{
	struct cl_view_node *node = editable(L, 1);
	if (lua_type(L, 2) == LUA_TSTRING)
		assign_member(L, node);
	else if (lua_type(L, 2) == LUA_TNUMBER && lua_tointegerx(L, 2, NULL) != 0)
		assign_element(L, node);
	else
		return cl_raise_misuse(L, "elements of a resource have names or numbers from 1");
	return 0;
}

void cl_view_insert(lua_State *L, int index, lua_Integer i)
{
	struct cl_view_node *node = editable(L, index);
	struct cl_json value;
	if (node->place->kind == CL_JSON_OBJECT && node->place->count == 0)
		node->place->kind = CL_JSON_ARRAY;
	if (node->place->kind != CL_JSON_ARRAY)
		cl_raise_misuse(L, "table.insert: this is no list");
	cl_take_json_into(L, -1, node->document->arena, "element", &value);
	grow(node->document, node->place, CL_STR_NONE);
	open_gap(node->document, node->place, (uint32_t)(i - 1));
	node->place->items[i - 1] = value;
	cl_document_index(node->document);
	lua_pop(L, 1);
}

void cl_view_remove(lua_State *L, int index, lua_Integer i)
{
	struct cl_view_node *node = editable(L, index);
	detach(node->document, &node->place->items[i - 1]);
	close_gap(node->document, node->place, (uint32_t)(i - 1));
	cl_document_index(node->document);
}
