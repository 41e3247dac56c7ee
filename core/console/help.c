/* help.c: see help.h. */
#include "console/help.h"
#include "console/table.h"
#include <stdio.h>

static void print_one(struct cl_arena *arena, const struct cl_command *command)
{
	static const char *const effects[] = {"changes nothing", "changes something",
	                                      "changes something and asks first"};
	static const char *const scopes[] = {"this console", "the server", "the selected organization"};
	printf("%.*s\n    %s.\n    Concerns %s; %s.\n    Example: %s\n", CL_STR_ARGS(cl_line_usage(arena, command)),
	       command->help, scopes[command->scope], effects[command->effect], command->example);
}

static void print_group(struct cl_arena *arena, enum cl_command_scope scope, const char *heading, bool colour)
{
	size_t count;
	int widest = 0;
	const struct cl_command *commands = cl_commands(&count);
	printf("%s%s%s\n", colour ? "\x1b[1m" : "", heading, colour ? "\x1b[0m" : "");
	for (size_t i = 0; i < count; i++) {
		int width = cl_table_text_width(cl_line_usage(arena, &commands[i]));
		if (width > widest && width <= 40)
			widest = width;
	}
	for (size_t i = 0; i < count; i++) {
		if (commands[i].scope != scope)
			continue;
		struct cl_str usage = cl_line_usage(arena, &commands[i]);
		printf("  %-*.*s  %s%s\n", widest, CL_STR_ARGS(usage), commands[i].help,
		       commands[i].effect == CL_COMMAND_DANGER ? " (asks first)" : "");
	}
}

enum cl_session_result cl_help(struct cl_session *session, struct cl_arena *arena, struct cl_str topic)
{
	size_t count;
	const struct cl_command *commands = cl_commands(&count), *found = cl_command_find(topic);
	bool any = found != NULL;
	if (topic.n == 0) {
		print_group(arena, CL_COMMAND_ORGANIZATION, "The selected organization", session->colour_out);
		print_group(arena, CL_COMMAND_SUPERVISOR, "The server", session->colour_out);
		print_group(arena, CL_COMMAND_LOCAL, "This console", session->colour_out);
		printf("help COMMAND says more. Tab completes. > EXPRESSION evaluates Lua.\n");
		return CL_SESSION_OK;
	}
	if (found)
		print_one(arena, found);
	for (size_t i = 0; i < count; i++) {
		size_t n = strcspn(commands[i].name, " ");
		if (&commands[i] == found || n != topic.n || memcmp(commands[i].name, topic.p, n) != 0 ||
		    !commands[i].name[n])
			continue;
		print_one(arena, &commands[i]);
		any = true;
	}
	if (any)
		return CL_SESSION_OK;
	const char *best = cl_command_closest(topic);
	fprintf(stderr, "error: there is no command \"%.*s\"%s%s%s\n", CL_STR_ARGS(topic),
	        best ? " (did you mean \"" : "", best ? best : "", best ? "\"?)" : "");
	return CL_SESSION_USAGE;
}
