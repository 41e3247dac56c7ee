/* line.h: one line of the console: words, quotes, the command it names and its arguments checked against the table. */
#pragma once
#include "base/json.h"
#include "console/commands.h"

#define CL_LINE_MAXIMUM ((size_t)64 * 1024)

struct cl_word {
	struct cl_str text; /* quotes and escapes resolved */
	size_t start, end; /* in the line */
};

struct cl_words {
	struct cl_word *items;
	size_t count;
	bool open; /* the line ends inside a quotation */
};

struct cl_line {
	const struct cl_command *command; /* NULL for an empty line or a comment (# ...) */
	struct cl_json *arguments; /* object */
	struct cl_str text; /* the line without surrounding white space; without its secret, if it has one */
	bool write; /* may change something */
	bool is_secret;
};

/* Splits at white space; "..." with backslash escapes, '...' literally. Everything is copied into the arena.
 * CL_E_TOO_LARGE beyond CL_LINE_MAXIMUM. */
int cl_line_split(struct cl_arena *arena, struct cl_str line, struct cl_words *out, struct cl_err *e);
/* `organization` is the selected one (empty: none), the default of arguments of that kind. CL_E_INVALID says what is
 * missing or wrong, and what was probably meant. */
int cl_line_parse(struct cl_arena *arena, struct cl_str line, struct cl_str organization, struct cl_line *out,
                  struct cl_err *e);
/* "advance TASK EVENT [KEY=VALUE ...]" */
struct cl_str cl_line_usage(struct cl_arena *arena, const struct cl_command *command);
/* Does it look as if it contained a token or a password? Then it is not kept. */
bool cl_line_has_secret(struct cl_str line);

/* Words that can stand where the line ends, each completing what was begun there: command words, choices,
 * `organizations` where one is wanted. */
struct cl_completion {
	const char **items; /* sorted, without duplicates */
	size_t count;
	size_t begun; /* length of what stands there already */
};
void cl_line_complete(struct cl_arena *arena, struct cl_str line, const char *const *organizations,
                      size_t organization_count, struct cl_completion *out);
