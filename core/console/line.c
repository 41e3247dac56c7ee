/* line.c: see line.h. */
#include "console/line.h"
#include "base/closest.h"
#include "base/utf8.h"
#include <stdio.h>
#include <stdlib.h>

#define PAIRS_MAXIMUM 64
#define SECRET_LENGTH 32 /* a run of token letters as long as this is taken for a secret */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int cl_line_split(struct cl_arena *arena, struct cl_str line, struct cl_words *out, struct cl_err *e)
{
	*out = (struct cl_words){0};
	if (line.n > CL_LINE_MAXIMUM)
		return cl_fail(e, CL_E_TOO_LARGE, "the line is longer than 64 KiB");
	size_t room = 0;
	char *text = cl_arena_alloc(arena, line.n + 1); /* of all words: resolving only shortens */
	for (size_t i = 0; i < line.n; i++)
		room += !is_space(line.p[i]) && (i == 0 || is_space(line.p[i - 1]));
	out->items = CL_NEW_ARRAY(arena, struct cl_word, room + 1);
	for (size_t i = 0;;) {
		while (i < line.n && is_space(line.p[i]))
			i++;
		if (i == line.n)
			return CL_OK;
		struct cl_word *word = &out->items[out->count++];
		char quote = '\0';
		size_t n = 0;
		word->start = i;
		for (; i < line.n && (quote || !is_space(line.p[i])); i++) {
			char c = line.p[i];
			if (!quote && (c == '"' || c == '\''))
				quote = c;
			else if (quote && c == quote)
				quote = '\0';
			else if (c == '\\' && quote != '\'' && i + 1 < line.n)
				text[n++] = line.p[++i];
			else
				text[n++] = c;
		}
		word->end = i;
		word->text = (struct cl_str){text, n};
		text += n;
		out->open = quote != '\0';
	}
}

static struct cl_str trim(struct cl_str text)
{
	while (text.n && is_space(text.p[0]))
		text.p++, text.n--;
	while (text.n && is_space(text.p[text.n - 1]))
		text.n--;
	return text;
}

static void upper_case(struct cl_buf *out, const char *name)
{
	for (; *name; name++)
		cl_buf_add_byte(out, (char)(*name >= 'a' && *name <= 'z' ? *name - 'a' + 'A' : *name));
}

struct cl_str cl_line_usage(struct cl_arena *arena, const struct cl_command *command)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_buf_add_cstring(&text, command->name);
	for (int i = 0; i < CL_COMMAND_ARGUMENTS && command->arguments[i].name; i++) {
		const struct cl_command_argument *argument = &command->arguments[i];
		cl_buf_add_cstring(&text, argument->optional ? " [" : " ");
		if (argument->kind == CL_ARGUMENT_CHOICE)
			for (const char *c = argument->choices; *c; c++)
				cl_buf_add_byte(&text, *c == ' ' ? '|' : *c);
		else if (argument->kind == CL_ARGUMENT_PAIRS)
			cl_buf_add_cstring(&text, "KEY=VALUE ...");
		else if (argument->kind == CL_ARGUMENT_RESOURCE)
			cl_buf_add_cstring(&text, "TYPE/ID");
		else
			upper_case(&text, argument->name);
		if (argument->optional)
			cl_buf_add_byte(&text, ']');
	}
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

bool cl_line_has_secret(struct cl_str line)
{
	size_t run = 0;
	bool digit = false, upper = false, lower = false;
	for (size_t i = 0; i < line.n; i++) {
		char c = line.p[i];
		bool is_digit = c >= '0' && c <= '9', is_upper = c >= 'A' && c <= 'Z', is_lower = c >= 'a' && c <= 'z';
		if (!is_digit && !is_upper && !is_lower && c != '_' && c != '-' && c != '+' && c != '=' && c != '.') {
			run = 0;
			digit = upper = lower = false;
			continue;
		}
		digit |= is_digit;
		upper |= is_upper;
		lower |= is_lower;
		if (++run >= SECRET_LENGTH && digit + upper + lower >= 2)
			return true;
	}
	return false;
}

/* The longest name that the first words spell. *used: how many words it has. */
static const struct cl_command *find_command(struct cl_arena *arena, const struct cl_words *words, size_t *used)
{
	if (words->count >= 2) {
		struct cl_str both = cl_arena_printf(arena, "%.*s %.*s", CL_STR_ARGS(words->items[0].text),
		                                     CL_STR_ARGS(words->items[1].text));
		const struct cl_command *command = cl_command_find(both);
		*used = 2;
		if (command)
			return command;
	}
	*used = 1;
	struct cl_str first = words->count ? words->items[0].text : CL_STR_NONE;
	return cl_command_find(cl_str_is(first, "exit") ? CL_STR("quit") : first);
}

static int unknown(struct cl_arena *arena, const struct cl_words *words, struct cl_err *e)
{
	struct cl_str wanted = words->items[0].text;
	const char *best = NULL;
	if (words->count >= 2)
		best = cl_command_closest(
		        cl_arena_printf(arena, "%.*s %.*s", CL_STR_ARGS(wanted), CL_STR_ARGS(words->items[1].text)));
	if (!best)
		best = cl_command_closest(wanted);
	if (best)
		return cl_fail(e, CL_E_INVALID, "there is no command \"%.*s\" (did you mean \"%s\"?)",
		               (int)(wanted.n < 60 ? wanted.n : 60), wanted.p, best);
	return cl_fail(e, CL_E_INVALID, "there is no command \"%.*s\"; help lists those that there are",
	               (int)(wanted.n < 60 ? wanted.n : 60), wanted.p);
}

static bool is_month(struct cl_str text)
{
	if (text.n != 7 || text.p[4] != '-')
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (i != 4 && (text.p[i] < '0' || text.p[i] > '9'))
			return false;
	int month = (text.p[5] - '0') * 10 + (text.p[6] - '0');
	return month >= 1 && month <= 12;
}

static bool is_number(struct cl_str text)
{
	if (text.n == 0 || text.n > 15)
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
	return text.n == 1 || text.p[0] != '0';
}

static bool is_resource(struct cl_str text)
{
	const char *slash = text.n ? memchr(text.p, '/', text.n) : NULL;
	return slash && slash > text.p && slash + 1 < text.p + text.n && text.p[0] >= 'A' && text.p[0] <= 'Z';
}

static bool is_choice(const char *choices, struct cl_str text, struct cl_closest *closest, char names[8][16])
{
	int count = 0;
	closest->wanted = text;
	while (*choices && count < 8) {
		size_t n = strcspn(choices, " ");
		if (text.n == n && memcmp(text.p, choices, n) == 0)
			return true;
		snprintf(names[count], sizeof names[count], "%.*s", (int)n, choices);
		cl_closest_offer(closest, names[count++]);
		choices += n + (choices[n] == ' ');
	}
	return false;
}

/* One word as the argument says. */
static int take_word(struct cl_arena *arena, const struct cl_command_argument *argument, struct cl_str word,
                     struct cl_json *arguments, struct cl_err *e)
{
	struct cl_closest closest = {0};
	char names[8][16];
	int shown = (int)(word.n < 60 ? word.n : 60);
	switch (argument->kind) {
	case CL_ARGUMENT_NUMBER:
		if (!is_number(word))
			return cl_fail(e, CL_E_INVALID, "%s must be a whole number, not \"%.*s\"", argument->name,
			               shown, word.p);
		cl_json_set_integer(arena, arguments, argument->name, strtoll(cl_arena_cstring(arena, word), NULL, 10));
		return CL_OK;
	case CL_ARGUMENT_CHOICE:
		if (is_choice(argument->choices, word, &closest, names))
			break;
		if (closest.best)
			return cl_fail(e, CL_E_INVALID, "%s must be one of %s (did you mean \"%s\"?)", argument->name,
			               argument->choices, closest.best);
		return cl_fail(e, CL_E_INVALID, "%s must be one of %s", argument->name, argument->choices);
	case CL_ARGUMENT_MONTH:
		if (!is_month(word))
			return cl_fail(e, CL_E_INVALID, "%s must look like 2026-11, not \"%.*s\"", argument->name,
			               shown, word.p);
		break;
	case CL_ARGUMENT_RESOURCE:
		if (!is_resource(word))
			return cl_fail(e, CL_E_INVALID, "%s must be a type and an id, as in Task/01k9, not \"%.*s\"",
			               argument->name, shown, word.p);
		break;
	default:
		break;
	}
	cl_json_set_text(arena, arguments, argument->name, word);
	return CL_OK;
}

static int take_pairs(struct cl_arena *arena, const struct cl_command_argument *argument, const struct cl_words *words,
                      size_t from, struct cl_json *arguments, struct cl_err *e)
{
	struct cl_json *pairs = cl_json_set_object(arena, arguments, argument->name);
	if (words->count - from > PAIRS_MAXIMUM)
		return cl_fail(e, CL_E_INVALID, "at most %d values may be given", PAIRS_MAXIMUM);
	for (size_t i = from; i < words->count; i++) {
		struct cl_str word = words->items[i].text;
		const char *equals = word.n ? memchr(word.p, '=', word.n) : NULL;
		if (!equals || equals == word.p)
			return cl_fail(e, CL_E_INVALID, "\"%.*s\" must have the form key=value",
			               (int)(word.n < 60 ? word.n : 60), word.p ? word.p : "");
		struct cl_str key = {word.p, (size_t)(equals - word.p)};
		if (cl_json_get_str(pairs, key))
			return cl_fail(e, CL_E_INVALID, "\"%.*s\" is given twice", (int)(key.n < 60 ? key.n : 60),
			               key.p);
		struct cl_json *value = cl_json_set(arena, pairs, key);
		value->kind = CL_JSON_STRING;
		value->text = (struct cl_str){equals + 1, word.n - key.n - 1};
	}
	return CL_OK;
}

static int take_arguments(struct cl_arena *arena, struct cl_str line, const struct cl_words *words, size_t next,
                          struct cl_str organization, struct cl_line *out, struct cl_err *e)
{
	const struct cl_command *command = out->command;
	struct cl_str usage = cl_line_usage(arena, command);
	for (int i = 0; i < CL_COMMAND_ARGUMENTS && command->arguments[i].name; i++) {
		const struct cl_command_argument *argument = &command->arguments[i];
		bool whole_rest = argument->kind == CL_ARGUMENT_REST || argument->kind == CL_ARGUMENT_COMMAND;
		int result = CL_OK;
		if (argument->kind == CL_ARGUMENT_PAIRS) {
			result = take_pairs(arena, argument, words, next, out->arguments, e);
			next = words->count;
		} else if (next == words->count) {
			bool fill = argument->kind == CL_ARGUMENT_ORGANIZATION && command->scope != CL_COMMAND_LOCAL &&
			            organization.n;
			if (fill)
				cl_json_set_text(arena, out->arguments, argument->name,
				                 cl_arena_copy(arena, organization));
			else if (!argument->optional)
				return cl_fail(e, CL_E_INVALID, "%s is missing: %.*s", argument->name,
				               CL_STR_ARGS(usage));
		} else if (whole_rest) {
			size_t start = words->items[next].start;
			struct cl_str rest = trim((struct cl_str){line.p + start, line.n - start});
			cl_json_set_text(arena, out->arguments, argument->name, cl_arena_copy(arena, rest));
			next = words->count;
		} else {
			result = take_word(arena, argument, words->items[next++].text, out->arguments, e);
		}
		if (result)
			return result;
	}
	if (next < words->count) {
		struct cl_str word = words->items[next].text;
		return cl_fail(e, CL_E_INVALID, "\"%.*s\" is more than the command takes: %.*s",
		               (int)(word.n < 60 ? word.n : 60), word.p, CL_STR_ARGS(usage));
	}
	return CL_OK;
}

/* "> 1 + 1" and ">! statement" */
static int parse_lua(struct cl_arena *arena, struct cl_str line, struct cl_line *out, struct cl_err *e)
{
	out->command = cl_command_find(CL_STR("lua"));
	out->write = line.n > 1 && line.p[1] == '!';
	size_t skip = out->write ? 2 : 1;
	struct cl_str code = trim((struct cl_str){line.p + skip, line.n - skip});
	if (code.n == 0)
		return cl_fail(e, CL_E_INVALID,
		               "there is nothing after \">\": > EXPRESSION, or >! STATEMENT to change something");
	cl_json_set_text(arena, out->arguments, "code", cl_arena_copy(arena, code));
	return CL_OK;
}

int cl_line_parse(struct cl_arena *arena, struct cl_str line, struct cl_str organization, struct cl_line *out,
                  struct cl_err *e)
{
	struct cl_words words;
	size_t used;
	line = trim(line);
	*out = (struct cl_line){.text = cl_arena_copy(arena, line), .arguments = cl_json_new(arena, CL_JSON_OBJECT)};
	if (line.n == 0 || line.p[0] == '#')
		return CL_OK;
	if (line.n > CL_LINE_MAXIMUM)
		return cl_fail(e, CL_E_TOO_LARGE, "the line is longer than 64 KiB");
	if (!cl_utf8_valid(line) || memchr(line.p, 0, line.n))
		return cl_fail(e, CL_E_INVALID, "the line is no UTF-8 text");
	out->is_secret = cl_line_has_secret(line);
	if (line.p[0] == '>')
		return parse_lua(arena, line, out, e);
	int result = cl_line_split(arena, line, &words, e);
	if (result)
		return result;
	out->command = find_command(arena, &words, &used);
	if (!out->command)
		return unknown(arena, &words, e);
	/* Code and commands in commands have quotations of their own. */
	enum cl_argument_kind first = out->command->arguments[0].kind;
	if (words.open &&
	    !(out->command->arguments[0].name && (first == CL_ARGUMENT_REST || first == CL_ARGUMENT_COMMAND)))
		return cl_fail(e, CL_E_INVALID, "a quotation is not closed");
	out->write = out->command->effect != CL_COMMAND_READ;
	if (out->command->secret) {
		out->is_secret = true;
		out->text = cl_arena_printf(arena, "%s ...", out->command->name);
	}
	return take_arguments(arena, line, &words, used, organization, out, e);
}

/* ---- completion ---- */

struct candidates {
	struct cl_arena *arena;
	struct cl_completion *out;
	size_t room;
	struct cl_str begun;
};

static void offer(struct candidates *candidates, struct cl_str text)
{
	if (text.n < candidates->begun.n ||
	    (candidates->begun.n && memcmp(text.p, candidates->begun.p, candidates->begun.n) != 0))
		return;
	for (size_t i = 0; i < candidates->out->count; i++)
		if (cl_str_is(text, candidates->out->items[i]))
			return;
	if (candidates->out->count == candidates->room) {
		size_t room = candidates->room ? 2 * candidates->room : 32;
		const char **more = CL_NEW_ARRAY(candidates->arena, const char *, room);
		if (candidates->out->count)
			memcpy(more, candidates->out->items, candidates->out->count * sizeof *more);
		candidates->out->items = more;
		candidates->room = room;
	}
	candidates->out->items[candidates->out->count++] = cl_arena_cstring(candidates->arena, text);
}

/* First words, or second words of commands of two words whose first is there. */
static void offer_commands(struct candidates *candidates, struct cl_str first)
{
	size_t count;
	const struct cl_command *commands = cl_commands(&count);
	for (size_t i = 0; i < count; i++) {
		const char *name = commands[i].name;
		size_t n = strcspn(name, " ");
		if (first.p == NULL)
			offer(candidates, (struct cl_str){name, n});
		else if (name[n] && first.n == n && memcmp(first.p, name, n) == 0)
			offer(candidates, cl_str_of(name + n + 1));
	}
}

static int compare_items(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void complete_argument(struct candidates *candidates, const struct cl_command_argument *argument,
                              const char *const *organizations, size_t organization_count)
{
	if (argument->kind == CL_ARGUMENT_ORGANIZATION)
		for (size_t i = 0; i < organization_count; i++)
			offer(candidates, cl_str_of(organizations[i]));
	if (argument->kind != CL_ARGUMENT_CHOICE)
		return;
	for (const char *choice = argument->choices; *choice;) {
		size_t n = strcspn(choice, " ");
		offer(candidates, (struct cl_str){choice, n});
		choice += n + (choice[n] == ' ');
	}
}

/* `nested`: within help or watch, whose own command argument is not followed further. */
static void complete(struct cl_arena *arena, struct cl_str line, const char *const *organizations,
                     size_t organization_count, bool nested, struct cl_completion *out)
{
	struct cl_words words;
	size_t used;
	*out = (struct cl_completion){0};
	if (cl_line_split(arena, line, &words, NULL) || words.open)
		return;
	struct candidates candidates = {.arena = arena, .out = out};
	size_t before = words.count; /* words that are complete */
	if (words.count && words.items[words.count - 1].end == line.n)
		candidates.begun = words.items[--before].text;
	out->begun = candidates.begun.n;
	const struct cl_words whole = {.items = words.items, .count = before};
	const struct cl_command *command = before ? find_command(arena, &whole, &used) : NULL;
	size_t place = command ? before - used : 0;
	for (size_t i = 0; command && i <= place && i < CL_COMMAND_ARGUMENTS && command->arguments[i].name; i++) {
		if (command->arguments[i].kind != CL_ARGUMENT_COMMAND || nested)
			continue;
		size_t start = used + i < words.count ? words.items[used + i].start : line.n;
		complete(arena, (struct cl_str){line.p + start, line.n - start}, organizations, organization_count,
		         true, out);
		return;
	}
	if (before == 0)
		offer_commands(&candidates, CL_STR_NONE);
	if (before == 1)
		offer_commands(&candidates, words.items[0].text);
	if (command && place < CL_COMMAND_ARGUMENTS && command->arguments[place].name)
		complete_argument(&candidates, &command->arguments[place], organizations, organization_count);
	if (out->count)
		qsort(out->items, out->count, sizeof *out->items, compare_items);
}

void cl_line_complete(struct cl_arena *arena, struct cl_str line, const char *const *organizations,
                      size_t organization_count, struct cl_completion *out)
{
	complete(arena, line, organizations, organization_count, false, out);
}
