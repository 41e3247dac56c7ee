/* view.h: how views of resources are held; for view.c, view_edit.c and convert.c. */
#pragma once
#include "org/lua/internal.h"

/* One resource that a plugin looks at. In the unit's arena. */
struct cl_document {
	struct cl_arena *arena;
	struct cl_json *root; /* NULL until `body` is parsed */
	struct cl_str body;
	bool owned; /* `root` is a private copy that may be edited */
	int64_t version; /* of the resource, 0 = unknown */
	struct cl_view_node *nodes, **end; /* in the order they were made: parents before children */
	struct cl_view_node **slots; /* by place; NULL while there are few */
	uint32_t node_count, slot_count;
};

/* A place in a document that some view shows. There is one for each place, so that views of the same place are equal and a
 * loop over a resource needs no memory. `place` follows the value when edits move it, and goes with it when it is taken out. */
struct cl_view_node {
	struct cl_document *document;
	struct cl_json *place;
	struct cl_view_node *parent; /* NULL for the root */
	struct cl_str name; /* within an object */
	uint32_t index; /* within an array, from 0; as it was before the first edit */
	struct cl_view_node *next;
};

/* The userdata. Nodes live in the unit's arena: look at them only when the generation is the present one. */
struct cl_view_handle {
	struct cl_view_node *node;
	uint64_t generation;
};

/* The node that a view shows, its document parsed; raises when the view is too old. */
CL_MAY_LJMP struct cl_view_node *cl_view_node(lua_State *L, int index);
/* The node of a child value, found or made. */
struct cl_view_node *cl_view_child(struct cl_view_node *parent, struct cl_json *place, struct cl_str name,
                                   uint32_t index);
/* After places have changed. */
void cl_document_index(struct cl_document *document);
CL_MAY_LJMP void cl_push_node(lua_State *L, struct cl_view_node *node);
/* Pushes a child's value: scalars as Lua values, containers as views. */
CL_MAY_LJMP void cl_push_child(lua_State *L, struct cl_view_node *parent, struct cl_json *place, struct cl_str name,
                               uint32_t index);
/* view_edit.c: __newindex. */
CL_MAY_LJMP int cl_view_assign(lua_State *L);
