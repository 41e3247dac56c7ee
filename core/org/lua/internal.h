/* internal.h: what the files of this room share. Nobody outside includes it. */
#pragma once
#include "org/fhir/types.h"
#include "org/lua/budget.h"
#include "org/lua/lua_state.h"
#include <lauxlib.h>
#include <lua.h>

/* Marks functions that may leave by longjmp (a Lua error). Who calls one may own nothing but arena memory, Lua values and
 * what lies on the C stack: do the fallible C work in a plain function first, raise last. */
#define CL_MAY_LJMP

#define CL_LUA_DEPTH 16 /* entries within entries: guards and effects of ctx:advance within handlers */
#define CL_LUA_STRING ((size_t)16 << 20) /* bytes of one Lua string: what one uninterruptible string operation costs */
#define CL_LUA_TEXT ((size_t)4 << 20) /* bytes that string.rep, format, gsub and table.concat may make */
#define CL_LUA_LIST 100000 /* elements that table.concat, sort and unpack take */
#define CL_LUA_JSON_DEPTH 60
#define CL_LUA_JSON_NODES 100000

/* A plugin that is loaded. */
struct cl_lua_plugin {
	struct cl_str name, folder;
	int scope; /* the plugin whose settings and timers it uses: itself, or in the end the one it extends */
};

/* A function of a plugin: `number` in the catalog is its place in cl_lua.functions plus 1. */
struct cl_lua_function {
	int plugin; /* index into cl_lua.plugins, -1 for the console */
	struct cl_str what; /* for people: "guard of callback.asked.reached" */
	struct cl_origin origin;
};

/* `on "..."`, taken apart. */
struct cl_lua_hearing {
	uint16_t type; /* resource type, or 0 for a workflow's state */
	uint8_t operation; /* enum cl_operation, or 0 for a status */
	struct cl_str word; /* status or state */
	struct cl_str workflow;
};

/* Why everything that runs must end: set once, then every guarded pcall and every instruction raises it again. */
enum cl_stop { CL_STOP_NONE = 0, CL_STOP_CPU, CL_STOP_MEMORY, CL_STOP_RECORDED };

/* One entry from C; they nest (an effect that advances another instance). On the C stack. */
struct cl_frame {
	struct cl_frame *outer;
	struct cl_unit *unit;
	const struct cl_lua_function *function; /* NULL while plugins load and at the console */
	int plugin;
	struct cl_str type, instance; /* what it is about: "Task" and an id, or a name alone */
	bool read_only;
};

struct cl_lua {
	lua_State *state;
	struct cl_lua_limits limits;
	struct cl_watch *watch; /* or NULL */
	struct cl_budget budget;
	struct cl_arena *arena; /* catalog, facts, names: lives as long as the state */
	struct cl_catalog catalog;
	struct cl_organization_facts facts;
	struct cl_zone *zone;
	struct cl_script script;
	struct cl_lua_plugin *plugins;
	int plugin_count;
	struct cl_lua_function *functions;
	int function_count, function_capacity;
	struct cl_lua_hearing *hearings; /* one for each handler of the catalog */

	size_t memory; /* bytes held by the Lua state */
	bool growing; /* the allocator obeys the limit */
	struct cl_frame *frame; /* innermost; NULL outside */
	uint64_t generation; /* of resource views: raised when the outermost entry ends */

	enum cl_stop stop;
	char stop_file[200]; /* where it was stopped */
	int stop_line;
	char stop_plugin[64];
	char stop_what[200];
	char outcome[320], expected[320];
	bool replaying; /* CPU time decides nothing: the record does */

	const struct cl_unit *unit; /* that per-unit state belongs to: compared, never read */
	uint64_t cause;
	struct cl_err poison; /* code != 0: a change failed, and so will the unit, whatever the plugin catches */
	struct cl_err raised; /* what stands behind the error text that C raised last */
	bool raised_plainly; /* it is meant for people as it is: no file and line are added */

	uint64_t random[4];
	bool seeded;
	struct cl_buf *printed; /* where print and ctx:log go at the console; else NULL */

	/* While plugins load: */
	const struct cl_json *files; /* of the archive; NULL afterwards */
	struct cl_str loading; /* the plugin's file that runs */
	struct cl_buf *problems; /* or NULL */
	struct cl_err *first_problem;
	size_t problem_count;
};

static inline struct cl_lua *cl_lua_of(lua_State *L)
{
	return *(struct cl_lua **)lua_getextraspace(L);
}

/* ---- sandbox.c: state and environment ---- */

/* Creates the Lua state with its environment; cl_lua.limits must be set. */
int cl_sandbox_open(struct cl_lua *lua, struct cl_err *e);
void cl_sandbox_close(struct cl_lua *lua);
/* The table that chunks get as _ENV: looks like the allowed globals, cannot be changed. */
void cl_sandbox_push_environment(lua_State *L);
/* Fills a name of the environment with the value on top of the stack, which is popped. */
CL_MAY_LJMP void cl_sandbox_set(lua_State *L, const char *name);
/* Pushes a proxy through which the table at `index` can be read but not changed, not even by rawset. */
CL_MAY_LJMP void cl_sandbox_push_locked(lua_State *L, int index);
bool cl_sandbox_is_locked(lua_State *L, int index);

/* Each pushes its library's table, or fills the environment's table on top of the stack. */
CL_MAY_LJMP void cl_library_base(lua_State *L);
CL_MAY_LJMP void cl_library_string(lua_State *L);
CL_MAY_LJMP void cl_library_match(lua_State *L);
CL_MAY_LJMP void cl_library_table(lua_State *L);
CL_MAY_LJMP void cl_library_math(lua_State *L);
CL_MAY_LJMP void cl_library_utf8(lua_State *L);
CL_MAY_LJMP void cl_library_require(lua_State *L);
/* Text of any value without addresses; pushes it. Calls __tostring. */
CL_MAY_LJMP const char *cl_push_text(lua_State *L, int index, size_t *n);
/* pairs: pushes iterator, state and nil for the value at `index`. */
CL_MAY_LJMP int cl_push_pairs(lua_State *L, int index);
/* Pushes an array of the table's keys in order (array part first), and returns how many. */
CL_MAY_LJMP lua_Integer cl_push_sorted_keys(lua_State *L, int index);
/* "plugin.lua:12" of the innermost Lua function above `level`; false when there is none. */
bool cl_lua_place(lua_State *L, int level, struct cl_str *file, int *line);

/* ---- call.c: protected calls and what comes of their errors ---- */

/* One call of a plugin's function. `push` leaves function arguments on the stack and returns their number; `take` (may be NULL)
 * reads the `results` values on top. Both may raise. */
struct cl_call {
	struct cl_lua *lua;
	struct cl_unit *unit;
	int function; /* number in the catalog */
	struct cl_str type, instance; /* as in cl_frame */
	bool read_only;
	int results;
	CL_MAY_LJMP int (*push)(lua_State *L, struct cl_call *call);
	CL_MAY_LJMP void (*take)(lua_State *L, struct cl_call *call);
	void *context;
};
int cl_call_run(struct cl_call *call, struct cl_err *e);
/* Keeps the function on top of the stack (popped) for cl_call_run; returns its number. `what` and `origin` live in the state's
 * arena. */
CL_MAY_LJMP int cl_call_register(lua_State *L, int plugin, struct cl_str what, const struct cl_origin *origin);
/* Runs a C function of ours protected, within the budget `cpu`; `context` is its only argument, a light userdata. */
int cl_call_protected(struct cl_lua *lua, struct cl_frame *frame, int64_t cpu, struct cl_str what,
                      lua_CFunction function, void *context, struct cl_err *e);
/* Raises a Lua error whose text is e's message, prefixed with the plugin's file and line; uncaught, the entry from C returns
 * `e` itself. cl_raise_plainly leaves the place out: for words that are meant for the request's author. */
CL_MAY_LJMP int cl_raise(lua_State *L, const struct cl_err *e);
CL_MAY_LJMP int cl_raise_plainly(lua_State *L, const struct cl_err *e);
/* The same, and the unit has failed whatever happens: after a change that went wrong, a refusal, a limit. */
CL_MAY_LJMP int cl_raise_for_good(lua_State *L, const struct cl_err *e);
CL_MAY_LJMP int cl_raise_refusal(lua_State *L, const struct cl_err *e);
/* A mistake in how a function was called. */
CL_MAY_LJMP int cl_raise_misuse(lua_State *L, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What plugins write may be no UTF-8, and goes into answers: bytes that are none become question marks. */
void cl_clean_text(char *text);
void cl_clean_bytes(char *text, size_t length);
/* Raises when the call's time is over: for loops in C. */
CL_MAY_LJMP void cl_poll(lua_State *L);
/* Raises what stopped everything, again. */
CL_MAY_LJMP int cl_raise_stop(lua_State *L);
void cl_budget_hook(lua_State *L, lua_Debug *activation);
/* The allocator met the limit: remembers where. */
void cl_note_memory(struct cl_lua *lua);
/* An error of memory was seen: everything that runs ends. */
void cl_stop_for_memory(struct cl_lua *lua);

/* entry_measure.c: a measure's function for one subject (cl_script.measure). */
int cl_entry_measure(void *context, struct cl_unit *unit, const struct cl_measure *measure,
                     const struct cl_json *subject, const struct cl_measure_period *period,
                     struct cl_measure_sink *sink, struct cl_err *e);
/* entry.c: the functions through which machines ask plugins. */
struct cl_script cl_entry_script(struct cl_lua *lua);

/* ---- view.c, view_edit.c, convert.c: resources ---- */

struct cl_document;
/* Pushes a view of a resource. `root` may be NULL when `body` is its text, parsed when it is first looked at. Lives in the
 * unit's arena. */
CL_MAY_LJMP void cl_push_view(lua_State *L, const struct cl_json *root, struct cl_str body, int64_t version);
bool cl_is_view(lua_State *L, int index);
/* The JSON that a view shows now; raises when it is too old. */
CL_MAY_LJMP const struct cl_json *cl_view_json(lua_State *L, int index);
/* Version of the resource whose root this view is; 0 for parts and unknown versions. */
CL_MAY_LJMP int64_t cl_view_version(lua_State *L, int index);
void cl_view_set_version(lua_State *L, int index, int64_t version);
/* Array access for the table library: length (0 for objects), element (pushed; nil when absent). */
CL_MAY_LJMP lua_Integer cl_view_length(lua_State *L, int index);
CL_MAY_LJMP void cl_view_push_element(lua_State *L, int index, lua_Integer i);
/* Inserts the value on top of the stack (popped) before element `i`, or removes element `i`. */
CL_MAY_LJMP void cl_view_insert(lua_State *L, int index, lua_Integer i);
CL_MAY_LJMP void cl_view_remove(lua_State *L, int index, lua_Integer i);
CL_MAY_LJMP int cl_view_pairs(lua_State *L, int index);
/* Creates the metatables. */
CL_MAY_LJMP void cl_view_open(lua_State *L);

/* Pushes scalars as they are, containers as ordinary tables. */
CL_MAY_LJMP void cl_push_plain(lua_State *L, const struct cl_json *value);
/* The Lua value at `index` as JSON in `arena`. `name` is for messages. Views are copied. Raises for what has no JSON. */
CL_MAY_LJMP struct cl_json *cl_take_json(lua_State *L, int index, struct cl_arena *arena, const char *name);
CL_MAY_LJMP void cl_take_json_into(lua_State *L, int index, struct cl_arena *arena, const char *name,
                                   struct cl_json *out);
/* JSON number text of a finite double: shortest that reads back the same, no ".0". */
size_t cl_number_text(double number, char out[32]);
/* `list {}` and `plain(view)`. */
CL_MAY_LJMP int cl_lua_list(lua_State *L);
CL_MAY_LJMP int cl_lua_plain(lua_State *L);

/* ---- ctx*.c ---- */

/* Creates metatables and one ctx for each plugin (and one for the console). */
CL_MAY_LJMP void cl_ctx_open(lua_State *L);
/* Pushes the ctx of a plugin; -1 for the console. */
void cl_ctx_push(lua_State *L, int plugin);
/* Checks that argument 1 is ctx and that something runs; raises. `changing` also refuses where nothing may be changed. */
CL_MAY_LJMP struct cl_unit *cl_ctx_unit(lua_State *L, const char *call, bool changing);
/* Arguments; `call` is "ctx:advance", `name` what the argument is. Texts live in the unit's arena. */
CL_MAY_LJMP struct cl_str cl_ctx_text(lua_State *L, int index, const char *call, const char *name);
CL_MAY_LJMP struct cl_str cl_ctx_optional_text(lua_State *L, int index, const char *call, const char *name);
/* "Type/id" from such a text, a Reference ({ reference = }) or a resource. */
CL_MAY_LJMP struct cl_str cl_ctx_reference(lua_State *L, int index, const char *call, const char *name);
/* The id of "Task/id". */
CL_MAY_LJMP struct cl_str cl_ctx_task(lua_State *L, int index, const char *call);
/* Raises for fields of the table at `index` that are not among `known` (NULL-terminated), and for what is no table. */
CL_MAY_LJMP void cl_ctx_fields(lua_State *L, int index, const char *call, const char *const *known);
/* The field pushed; its type. */
int cl_ctx_field(lua_State *L, int index, const char *name);
CL_MAY_LJMP struct cl_str cl_ctx_field_text(lua_State *L, int index, const char *name, const char *call);
CL_MAY_LJMP struct cl_str cl_ctx_field_reference(lua_State *L, int index, const char *name, const char *call);
/* A date (its local midnight) or dateTime. */
CL_MAY_LJMP cl_instant cl_ctx_instant(lua_State *L, int index, const char *call, const char *name);
/* enum cl_duration_unit of "business days"; 0 when there is none of that name. */
int cl_ctx_duration_unit(struct cl_str name);
/* A failure of a changing call. */
CL_MAY_LJMP int cl_ctx_failed(lua_State *L, struct cl_err *e, const struct cl_issues *issues);
/* A text into the unit's arena, and one onto the stack (nil when empty). */
struct cl_str cl_unit_copy(struct cl_unit *unit, const char *text, size_t n);
CL_MAY_LJMP void cl_push_str(lua_State *L, struct cl_str text);
CL_MAY_LJMP void cl_set_str(lua_State *L, const char *name, struct cl_str text);
CL_MAY_LJMP void cl_set_instant(lua_State *L, const char *name, cl_instant at);
/* For cl_store_set_progress, with the cl_lua: Lua's hook does not fire inside SQLite; this does (pitfalls 10). */
int cl_ctx_progress(void *context);
extern const luaL_Reg cl_ctx_read_calls[], cl_ctx_instance_calls[], cl_ctx_change_calls[], cl_ctx_flow_calls[],
        cl_ctx_time_calls[], cl_ctx_send_calls[], cl_ctx_codes_calls[];

/* ---- loading ---- */

/* Notes a problem with a declaration; loading goes on to find more. */
void cl_problem(struct cl_lua *lua, struct cl_str file, int line, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* loader.c: runs prelude, plugins and merge; leaves the merged declarations on the stack. Called protected. */
CL_MAY_LJMP void cl_loader_run(lua_State *L, const struct cl_json *archive);
/* compile.c: the merged table at the top of the stack becomes cl_lua.catalog. */
CL_MAY_LJMP void cl_compile(lua_State *L);
CL_MAY_LJMP void cl_compile_workflows(lua_State *L, int index);
CL_MAY_LJMP void cl_compile_metrics(lua_State *L, int index);
CL_MAY_LJMP void cl_compile_measures(lua_State *L, int index); /* after settings and codes */
CL_MAY_LJMP void cl_compile_codes(lua_State *L, int index);
CL_MAY_LJMP void cl_compile_views(lua_State *L, int index);
CL_MAY_LJMP void cl_compile_data_rules(lua_State *L, int index);
CL_MAY_LJMP void cl_compile_handlers(lua_State *L, int index);
CL_MAY_LJMP void cl_compile_roles(lua_State *L, int index);
CL_MAY_LJMP void cl_compile_settings(lua_State *L, int index);
/* facts.c: the organization's configuration becomes cl_lua.facts. Problems are noted. */
void cl_facts_read(struct cl_lua *lua, const struct cl_json *organization);
/* outline.c: where the keys of a literal table stand. Pushes { ["path.to.key"] = line }, { ["path.to.key"] = order }, an array
 * of paths written twice, and the line of `word`. The table is the first after `word` and `name` at or after `line`. */
CL_MAY_LJMP void cl_push_outline(lua_State *L, struct cl_str text, int line, struct cl_str word, struct cl_str name);
