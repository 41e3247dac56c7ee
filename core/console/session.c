/* session.c: see session.h. */
#include "console/session.h"
#include "base/clock.h"
#include "console/help.h"
#include "console/table.h"
#include <lauxlib.h>
#include <lua.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void __attribute__((format(printf, 2, 3))) problem(const struct cl_session *session, const char *format, ...)
{
	va_list arguments;
	fflush(stdout);
	fputs(session->colour_error ? "\x1b[31merror:\x1b[0m " : "error: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
}

static int terminal_width(void)
{
	struct winsize size;
	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static void show(const struct cl_session *session, const struct cl_json *answer)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	if (session->output == CL_OUTPUT_JSON)
		cl_table_json(&text, answer);
	else if (session->output == CL_OUTPUT_CSV)
		cl_table_csv(&text, answer);
	else
		cl_table_print(&text, answer,
		               &(struct cl_table_style){.width = terminal_width(), .colour = session->colour_out});
	fwrite(text.p, 1, text.n, stdout);
	fflush(stdout);
	cl_buf_free(&text);
}

/* A message of the server: no control characters reach the terminal. */
static const char *clean(struct cl_arena *arena, struct cl_str text)
{
	char *copy = cl_arena_cstring(arena, text);
	for (size_t i = 0; i < text.n; i++)
		if ((unsigned char)copy[i] < ' ' && copy[i] != '\n')
			copy[i] = '?';
	return copy;
}

static enum cl_session_result result_of_error(const struct cl_session *session, const struct cl_err *e)
{
	problem(session, "%s", e->message);
	switch (e->code) {
	case CL_E_UNAUTHENTICATED:
		return CL_SESSION_NO_SERVER;
	case CL_E_FORBIDDEN:
		return CL_SESSION_REFUSED;
	default:
		return CL_SESSION_FAILED;
	}
}

static enum cl_session_result show_answer(const struct cl_session *session, struct cl_arena *arena, int status,
                                          const struct cl_json *answer)
{
	if (cl_json_is_true(cl_json_get(answer, "ok"))) {
		show(session, answer);
		return cl_json_is_true(cl_json_get(answer, "failed")) ? CL_SESSION_FAILED : CL_SESSION_OK;
	}
	struct cl_str where = cl_json_get_text(answer, "where"), error = cl_json_get_text(answer, "error");
	if (error.n == 0) { /* refused before it was a command: an OperationOutcome */
		error = cl_json_text(cl_json_path(answer, "issue", "0", "diagnostics", NULL));
		where = cl_json_text(cl_json_path(answer, "issue", "0", "expression", "0", NULL));
	}
	problem(session, "%s%s%s", clean(arena, where), where.n ? ": " : "",
	        error.n ? clean(arena, error) : "the server gave no reason");
	return status == 403 || status == 401 ? CL_SESSION_REFUSED
	       : status == 400                ? CL_SESSION_USAGE
	                                      : CL_SESSION_FAILED;
}

/* ---- changes ---- */

/* Dangerous commands happen to something; its name must be typed. */
static bool confirm(struct cl_session *session, struct cl_arena *arena, const struct cl_line *line)
{
	char typed[128];
	if (line->command->effect != CL_COMMAND_DANGER || session->yes)
		return true;
	struct cl_str name = cl_json_get_text(line->arguments, "organization");
	if (name.n == 0 && line->command->scope == CL_COMMAND_ORGANIZATION)
		name = cl_str_of(session->organization);
	if (name.n == 0)
		name = cl_str_of(line->command->name);
	if (!session->interactive) {
		problem(session, "%s must be confirmed with --yes", line->command->name);
		return false;
	}
	const char *prompt = cl_arena_printf(arena, "%s: %s\nType %.*s to go on: ", line->command->name,
	                                     line->command->help, CL_STR_ARGS(name))
	                             .p;
	if (session->question(session, prompt, typed, sizeof typed) && cl_str_is(name, typed))
		return true;
	problem(session, "not confirmed; nothing was done");
	return false;
}

/* Changes by Lua need a reason, which the organization audits. */
static bool find_reason(struct cl_session *session, char *reason, size_t size)
{
	if (session->reason) {
		snprintf(reason, size, "%s", session->reason);
		return true;
	}
	if (!session->interactive) {
		problem(session, "changes by Lua need --reason TEXT");
		return false;
	}
	if (session->question(session, "Reason (goes into the audit log): ", reason, size) && reason[0])
		return true;
	problem(session, "no reason was given; nothing was done");
	return false;
}

/* ---- commands of the server ---- */

static enum cl_session_result ask(struct cl_session *session, struct cl_arena *arena, struct cl_line *line)
{
	struct cl_json *answer, *request = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_err e = {0};
	struct cl_buf body;
	char reason[400] = "";
	int status = 0;
	bool organization = line->command->scope == CL_COMMAND_ORGANIZATION;
	bool lua = strcmp(line->command->name, "lua") == 0;
	if (organization && !session->organization[0]) {
		problem(session, "%s is a command of an organization: select one with use NAME, or -o NAME",
		        line->command->name);
		return CL_SESSION_USAGE;
	}
	if (lua && session->write)
		line->write = true;
	if (!confirm(session, arena, line))
		return CL_SESSION_REFUSED;
	if (lua && line->write && !find_reason(session, reason, sizeof reason))
		return CL_SESSION_USAGE;
	if (reason[0])
		cl_json_set_text(arena, line->arguments, "reason", cl_str_of(reason));
	cl_json_set_text(arena, request, "command", cl_str_of(line->command->name));
	*cl_json_set(arena, request, CL_STR("arguments")) = *line->arguments;
	cl_json_set_text(arena, request, "line", line->text);
	cl_json_set_boolean(arena, request, "write", line->write);
	cl_buf_init(&body, 0);
	cl_json_write(&body, request);
	int result =
	        cl_client_ask(session->client, arena, organization ? cl_str_of(session->organization) : CL_STR_NONE,
	                      cl_buf_str(&body), &status, &answer, &e);
	cl_buf_free(&body);
	return result ? result_of_error(session, &e) : show_answer(session, arena, status, answer);
}

/* ---- commands of the console ---- */

static enum cl_session_result run_use(struct cl_session *session, struct cl_str name)
{
	session->organizations_asked = false;
	if (name.n >= sizeof session->organization) {
		problem(session, "no organization has such a long name");
		return CL_SESSION_USAGE;
	}
	bool known = name.n == 0;
	if (name.n) {
		cl_session_load_organizations(session);
		for (size_t i = 0; i < session->organization_count; i++)
			known |= cl_str_is(name, session->organizations[i]);
	}
	if (!known && session->organization_count) {
		problem(session, "there is no organization \"%.*s\"; organizations lists those that there are",
		        CL_STR_ARGS(name));
		return CL_SESSION_FAILED;
	}
	memcpy(session->organization, name.p ? name.p : "", name.n);
	session->organization[name.n] = '\0';
	return CL_SESSION_OK;
}

static enum cl_session_result run_watch(struct cl_session *session, const struct cl_line *line)
{
	int64_t seconds = 0;
	struct cl_line inner;
	struct cl_err e = {0};
	enum cl_session_result result = CL_SESSION_OK;
	struct cl_str command = cl_json_get_text(line->arguments, "command");
	cl_json_integer(cl_json_get(line->arguments, "seconds"), &seconds);
	struct cl_arena *arena = cl_arena_new(0);
	if (cl_line_parse(arena, command, cl_str_of(session->organization), &inner, &e)) {
		problem(session, "%s", e.message);
		result = CL_SESSION_USAGE;
	} else if (!inner.command || inner.command->scope == CL_COMMAND_LOCAL || inner.write || seconds < 1) {
		problem(session, "watch takes a number of seconds from 1 and a command that changes nothing");
		result = CL_SESSION_USAGE;
	}
	cl_arena_free(arena);
	bool clear = session->colour_out && session->interactive && session->output == CL_OUTPUT_TABLE;
	cl_client_hold(session->client, true);
	while (result == CL_SESSION_OK) {
		if (clear)
			printf("\x1b[H\x1b[2Jevery %lld s: %.*s   (Ctrl-C ends)\n\n", (long long)seconds,
			       CL_STR_ARGS(command));
		result = cl_session_run(session, command);
		if (cl_client_interrupted(session->client) || !cl_client_sleep(session->client, seconds * CL_SECOND)) {
			fputc('\n', stdout);
			result = CL_SESSION_OK;
			break;
		}
	}
	cl_client_hold(session->client, false);
	return result;
}

static enum cl_session_result run_local(struct cl_session *session, struct cl_arena *arena, const struct cl_line *line)
{
	const char *name = line->command->name;
	struct cl_str state = cl_json_get_text(line->arguments, "state");
	if (strcmp(name, "help") == 0)
		return cl_help(session, arena, cl_json_get_text(line->arguments, "command"));
	if (strcmp(name, "use") == 0)
		return run_use(session, cl_json_get_text(line->arguments, "organization"));
	if (strcmp(name, "watch") == 0)
		return run_watch(session, line);
	if (strcmp(name, "quit") == 0) {
		session->quit = true;
	} else if (strcmp(name, "timing") == 0) {
		session->timing = state.n ? cl_str_is(state, "on") : !session->timing;
		printf("timing is %s\n", session->timing ? "on" : "off");
	} else {
		struct cl_str format = cl_json_get_text(line->arguments, "format");
		session->output = cl_str_is(format, "json")  ? CL_OUTPUT_JSON
		                  : cl_str_is(format, "csv") ? CL_OUTPUT_CSV
		                                             : CL_OUTPUT_TABLE;
	}
	return CL_SESSION_OK;
}

enum cl_session_result cl_session_run(struct cl_session *session, struct cl_str text)
{
	struct cl_line line;
	struct cl_err e = {0};
	enum cl_session_result result = CL_SESSION_OK;
	struct cl_arena *arena = cl_arena_new(0);
	int64_t begun = cl_monotonic();
	if (cl_line_parse(arena, text, cl_str_of(session->organization), &line, &e)) {
		problem(session, "%s", e.message);
		result = CL_SESSION_USAGE;
	} else if (line.command && line.command->scope == CL_COMMAND_LOCAL) {
		result = run_local(session, arena, &line);
	} else if (line.command) {
		result = ask(session, arena, &line);
		if (session->timing)
			fprintf(stderr, "time: %.1f ms\n", (double)(cl_monotonic() - begun) / 1000);
	}
	cl_arena_free(arena);
	fflush(stdout);
	return result;
}

/* ---- organizations ---- */

static void forget_organizations(struct cl_session *session)
{
	for (size_t i = 0; i < session->organization_count; i++)
		free(session->organizations[i]);
	free(session->organizations);
	session->organizations = NULL;
	session->organization_count = 0;
}

void cl_session_load_organizations(struct cl_session *session)
{
	struct cl_json *answer;
	int status;
	if (session->organizations_asked)
		return;
	session->organizations_asked = true;
	forget_organizations(session);
	struct cl_arena *arena = cl_arena_new(0);
	if (cl_client_ask(session->client, arena, CL_STR_NONE,
	                  CL_STR("{\"command\":\"organizations\",\"arguments\":{},\"line\":\"organizations\",\"write\":"
	                         "false}"),
	                  &status, &answer, NULL) == CL_OK) {
		const struct cl_json *rows = cl_json_get(answer, "rows");
		uint32_t count = rows && rows->kind == CL_JSON_ARRAY ? rows->count : 0;
		session->organizations = calloc((size_t)count + 1, sizeof *session->organizations);
		for (uint32_t i = 0; session->organizations && i < count; i++) {
			const struct cl_json *row = &rows->items[i];
			struct cl_str name =
			        row->kind == CL_JSON_ARRAY && row->count ? cl_json_text(&row->items[0]) : CL_STR_NONE;
			session->organizations[session->organization_count++] = strndup(name.p ? name.p : "", name.n);
		}
	}
	cl_arena_free(arena);
}

void cl_session_done(struct cl_session *session)
{
	forget_organizations(session);
	cl_client_free(session->client);
}

bool cl_session_is_incomplete(struct cl_str line)
{
	while (line.n && (line.p[0] == ' ' || line.p[0] == '\t'))
		line.p++, line.n--;
	if (line.n < 2 || line.p[0] != '>')
		return false;
	size_t skip = line.p[1] == '!' ? 2 : 1;
	struct cl_str code = {line.p + skip, line.n - skip};
	lua_State *lua = luaL_newstate();
	bool incomplete = false;
	if (!lua)
		return false;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str expression = cl_arena_printf(arena, "return %.*s", CL_STR_ARGS(code));
	if (luaL_loadbufferx(lua, expression.p, expression.n, "=c", "t") != LUA_OK &&
	    luaL_loadbufferx(lua, code.p, code.n, "=c", "t") != LUA_OK) {
		struct cl_str message = cl_str_of(lua_tostring(lua, -1));
		incomplete = message.n >= 5 && memcmp(message.p + message.n - 5, "<eof>", 5) == 0;
	}
	cl_arena_free(arena);
	lua_close(lua);
	return incomplete;
}
