/* commands.h: the table of console commands. The prompt, one-shot use, help, completion and the checks of arguments
 * all read it; organizations implement what has scope CL_COMMAND_ORGANIZATION under the same names, arguments as a
 * JSON object. */
#pragma once
#include "base/text.h"

enum cl_command_scope {
	CL_COMMAND_LOCAL, /* this console */
	CL_COMMAND_SUPERVISOR,
	CL_COMMAND_ORGANIZATION, /* needs a selected organization */
};

enum cl_command_effect {
	CL_COMMAND_READ,
	CL_COMMAND_CHANGE,
	CL_COMMAND_DANGER, /* asks for the name of what it happens to */
};

enum cl_argument_kind {
	CL_ARGUMENT_WORD,
	CL_ARGUMENT_NUMBER, /* whole number from 0: a JSON number */
	CL_ARGUMENT_CHOICE, /* one of `choices` */
	CL_ARGUMENT_MONTH, /* 2026-11 */
	CL_ARGUMENT_RESOURCE, /* Type/id */
	CL_ARGUMENT_ORGANIZATION, /* defaults to the selected one, if any */
	CL_ARGUMENT_COMMAND, /* the rest of the line as it stands, completed as a command */
	CL_ARGUMENT_REST, /* the rest of the line as it stands */
	CL_ARGUMENT_PAIRS, /* key=value ...: a JSON object of texts */
};

#define CL_COMMAND_ARGUMENTS 4

struct cl_command_argument {
	const char *name; /* NULL ends the list; the JSON member's name, in help as NAME */
	enum cl_argument_kind kind;
	bool optional;
	const char *choices; /* separated by one space */
};

struct cl_command {
	const char *name; /* one or two words */
	enum cl_command_scope scope;
	enum cl_command_effect effect;
	bool secret; /* its line is neither kept in the history nor sent as text */
	struct cl_command_argument arguments[CL_COMMAND_ARGUMENTS];
	const char *help; /* one line */
	const char *example;
};

/* Sorted by scope, then by name. */
const struct cl_command *cl_commands(size_t *count);
/* By its whole name; NULL when there is none. */
const struct cl_command *cl_command_find(struct cl_str name);
/* The known name nearest to a misspelt one ("did you mean"), or NULL. */
const char *cl_command_closest(struct cl_str name);
