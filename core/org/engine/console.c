/* console.c: takes an administrator's command, runs it from the tables, answers and audits it (architecture.md section 3f). */
#include "org/engine/console.h"
#include <stdlib.h>

struct cl_str cl_console_argument(const struct cl_console *console, const char *name)
{
	const struct cl_json *value = cl_json_get(console->arguments, name);
	return value && (value->kind == CL_JSON_STRING || value->kind == CL_JSON_NUMBER) ? value->text : CL_STR_NONE;
}

int cl_console_need(const struct cl_console *console, const char *name, struct cl_str *out, struct cl_err *e)
{
	*out = cl_console_argument(console, name);
	return out->n ? 0 : cl_fail(e, CL_E_INVALID, "say which %s", name);
}

int64_t cl_console_number(const struct cl_console *console, const char *name, int64_t otherwise)
{
	struct cl_str text = cl_console_argument(console, name);
	char copy[24];
	if (!text.n || text.n >= sizeof copy)
		return otherwise;
	memcpy(copy, text.p, text.n);
	copy[text.n] = 0;
	char *end;
	long long value = strtoll(copy, &end, 10);
	return *end ? otherwise : value;
}

void cl_console_columns(struct cl_console *console, const char *const *names)
{
	console->columns = cl_json_new(console->arena, CL_JSON_ARRAY);
	console->rows = cl_json_new(console->arena, CL_JSON_ARRAY);
	for (; *names; names++)
		cl_json_append_text(console->arena, console->columns, cl_str_of(*names));
}

struct cl_json *cl_console_row(struct cl_console *console)
{
	struct cl_json *row = cl_json_append(console->arena, console->rows);
	*row = *cl_json_new(console->arena, CL_JSON_ARRAY);
	return row;
}

void cl_console_cell(struct cl_console *console, struct cl_json *row, struct cl_str text)
{
	cl_json_append_text(console->arena, row, cl_arena_copy(console->arena, text));
}

void cl_console_cell_number(struct cl_console *console, struct cl_json *row, int64_t number)
{
	struct cl_json *cell = cl_json_append(console->arena, row);
	cell->kind = CL_JSON_NUMBER;
	cell->text = cl_arena_printf(console->arena, "%lld", (long long)number);
}

void cl_console_cell_time(struct cl_console *console, struct cl_json *row, cl_instant at)
{
	if (!at || at == INT64_MAX)
		cl_console_cell(console, row, CL_STR(""));
	else
		cl_console_cell(console, row,
		                cl_zone_text(console->arena, console->context->rules->facts->calendar.zone, at));
}

struct cl_str cl_console_id(struct cl_str reference)
{
	const char *slash = reference.n ? memchr(reference.p, '/', reference.n) : NULL;
	return slash ? (struct cl_str){slash + 1, reference.n - (size_t)(slash + 1 - reference.p)} : reference;
}

static const struct cl_console_command *find(struct cl_str name)
{
	static const struct cl_console_command *const tables[] = {cl_console_flow_commands, cl_console_data_commands,
	                                                          cl_console_subscription_commands,
	                                                          cl_console_client_commands};
	for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
		for (const struct cl_console_command *command = tables[t]; command->name; command++)
			if (cl_str_is(name, command->name))
				return command;
	return NULL;
}

bool cl_console_changes(struct cl_arena *arena, struct cl_str body)
{
	struct cl_json *json;
	struct cl_err ignored = {0};
	if (cl_json_parse(arena, body, NULL, &json, &ignored))
		return false;
	const struct cl_console_command *command = find(cl_json_get_text(json, "command"));
	if (command && !strcmp(command->name, "lua"))
		return cl_json_is_true(cl_json_get(json, "write"));
	return command && command->changes;
}

static void answer(struct cl_console *console)
{
	struct cl_json *body = cl_json_new(console->arena, CL_JSON_OBJECT);
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_set_boolean(console->arena, body, "ok", true);
	if (console->columns) {
		*cl_json_set(console->arena, body, CL_STR("columns")) = *console->columns;
		*cl_json_set(console->arena, body, CL_STR("rows")) = *console->rows;
	}
	if (console->text.n)
		cl_json_set_text(console->arena, body, "text",
		                 cl_arena_copy(console->arena, cl_buf_str(&console->text)));
	cl_json_write(&out, body);
	cl_interaction_answer_bytes(console->context, 200, "application/json",
	                            cl_arena_copy(console->arena, cl_buf_str(&out)));
	cl_buf_free(&out);
}

/* Failed commands are answers too: the console shows them, and the audit has them. */
static void answer_failure(struct cl_console *console, const struct cl_err *problem)
{
	struct cl_json *body = cl_json_new(console->arena, CL_JSON_OBJECT);
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_set_boolean(console->arena, body, "ok", false);
	cl_json_set_text(console->arena, body, "error", cl_str_of(problem->message));
	if (problem->where[0])
		cl_json_set_text(console->arena, body, "where", cl_str_of(problem->where));
	cl_json_write(&out, body);
	cl_interaction_answer_bytes(console->context, cl_code_http_status(problem->code), "application/json",
	                            cl_arena_copy(console->arena, cl_buf_str(&out)));
	cl_buf_free(&out);
}

static int audit(struct cl_console *console, struct cl_str command, struct cl_str user, int code, struct cl_err *e)
{
	struct cl_audit_record record = {
	        .at = console->context->now,
	        .principal = cl_arena_printf(console->arena, "console:%.*s", CL_STR_ARGS(user)),
	        .action = CL_STR("console"),
	        .target = command,
	        .rule = CL_STR("console"),
	        .outcome = cl_str_of(code ? cl_code_name(code) : "ok"),
	        .request = cl_request_hex(console->arena, console->context->request),
	};
	return cl_audit_append(console->context->store, &record, e);
}

/* Secrets never stand in the log: of a command's arguments only ids and names are kept. */
static struct cl_str describe(struct cl_console *console, struct cl_str name)
{
	struct cl_buf text;
	static const char *const shown[] = {"workflow", "state",  "task",   "name",   "what", "principal", "event",
	                                    "resource", "reason", "client", "scopes", "id",   "subject"};
	cl_buf_init(&text, 200);
	cl_buf_add_str(&text, name);
	for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
		struct cl_str value = cl_console_argument(console, shown[i]);
		if (value.n)
			cl_buf_printf(&text, " %s=%.*s", shown[i], CL_STR_ARGS(value));
	}
	struct cl_str copy = cl_arena_copy(console->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

int cl_interaction_console(struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_err problem = {0};
	struct cl_json *body;
	context->target = CL_STR("console");
	/* Here and not only where frames come in: an entry of a batch names its method itself. */
	if (!context->principal->console)
		return cl_fail(e, CL_E_FORBIDDEN, "only administrators may use the console");
	int code = cl_json_parse(context->arena, context->request->body, NULL, &body, e);
	if (code)
		return code;
	struct cl_console console = {
	        .context = context,
	        .arena = context->arena,
	        .unit = context->unit,
	        .arguments = cl_json_get(body, "arguments"),
	        .write = cl_json_is_true(cl_json_get(body, "write")),
	};
	cl_buf_init(&console.text, 16 * 1024 * 1024);
	struct cl_str name = cl_json_get_text(body, "command");
	const struct cl_console_command *command = find(name);
	context->target = describe(&console, name);
	if (!command)
		code = cl_fail(&problem, CL_E_NOT_FOUND, "the organization knows no command '%.*s'", CL_STR_ARGS(name));
	else
		code = command->run(&console, &problem);
	if (code && command && command->changes) {
		/* Half-done work is rolled back by the caller; the refusal is audited there. */
		cl_buf_free(&console.text);
		*e = problem;
		return code;
	}
	if (code)
		answer_failure(&console, &problem);
	else
		answer(&console);
	cl_buf_free(&console.text);
	return audit(&console, context->target, context->request->credential.name, code, e);
}
