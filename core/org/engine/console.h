/* console.h: administrators' commands inside one organization: a table of handlers, each filling rows or text. */
#pragma once
#include "org/engine/interaction.h"

struct cl_console {
	struct cl_interaction_context *context;
	struct cl_arena *arena;
	struct cl_unit *unit;
	const struct cl_json *arguments;
	struct cl_json *columns, *rows; /* a table, when columns are set */
	struct cl_buf text; /* or text */
	bool write; /* the administrator asked for it */
};

struct cl_console_command {
	const char *name;
	int (*run)(struct cl_console *console, struct cl_err *e);
	bool changes;
};

extern const struct cl_console_command cl_console_flow_commands[]; /* ends with a NULL name */
extern const struct cl_console_command cl_console_data_commands[];
extern const struct cl_console_command cl_console_subscription_commands[];
extern const struct cl_console_command cl_console_client_commands[];

struct cl_str cl_console_argument(const struct cl_console *console, const char *name);
/* CL_E_INVALID with usage words when it is missing. */
int cl_console_need(const struct cl_console *console, const char *name, struct cl_str *out, struct cl_err *e);
/* The one that the argument `principal` names. */
int cl_console_need_principal(struct cl_console *console, const struct cl_principal **out, struct cl_err *e);
int64_t cl_console_number(const struct cl_console *console, const char *name, int64_t otherwise);
void cl_console_columns(struct cl_console *console, const char *const *names);
struct cl_json *cl_console_row(struct cl_console *console);
void cl_console_cell(struct cl_console *console, struct cl_json *row, struct cl_str text);
void cl_console_cell_number(struct cl_console *console, struct cl_json *row, int64_t number);
void cl_console_cell_time(struct cl_console *console, struct cl_json *row, cl_instant at);
/* "Task/x" or "x" -> "x". */
struct cl_str cl_console_id(struct cl_str reference);
/* Does this command, as it came, change the organization? */
bool cl_console_changes(struct cl_arena *arena, struct cl_str body);
/* console_measure.c */
int cl_console_measures(struct cl_console *console, struct cl_err *e);
int cl_console_explain_measure(struct cl_console *console, struct cl_err *e);
