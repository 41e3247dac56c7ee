/* operations.c: one function for each command of the supervisor, and the table of them. */
#include "supervisor/operations.h"
#include "base/closest.h"
#include "base/hash.h"
#include "base/log.h"
#include "supervisor/reload.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INQUIRY_PATIENCE_SECONDS 1

static struct cl_str argument(const struct cl_admin_call *call, const char *name)
{
	return cl_json_get_text(call->arguments, name);
}

/* "3d 4h", "5m 12s" */
static const char *duration(struct cl_arena *arena, int64_t microseconds)
{
	long long seconds = (long long)(microseconds / CL_SECOND);
	if (seconds >= 86400)
		return cl_arena_printf(arena, "%lldd %lldh", seconds / 86400, seconds % 86400 / 3600).p;
	if (seconds >= 3600)
		return cl_arena_printf(arena, "%lldh %lldm", seconds / 3600, seconds % 3600 / 60).p;
	if (seconds >= 60)
		return cl_arena_printf(arena, "%lldm %llds", seconds / 60, seconds % 60).p;
	return cl_arena_printf(arena, "%llds", seconds).p;
}

static const char *up_time(struct cl_arena *arena, const struct cl_child *child)
{
	return child->pid ? duration(arena, cl_monotonic() - child->started) : "";
}

static void status_row(struct cl_admin_call *call, struct cl_json *answer, const char *name, const char *value)
{
	struct cl_json *row = cl_admin_row(call, answer);
	cl_admin_cell_text(call, row, "%s", name);
	cl_admin_cell_text(call, row, "%s", value);
}

static void run_status(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const columns[] = {"name", "value", NULL};
	static const char *const phases[] = {"running", "stopping", "stopping", "stopping", "stopped"};
	struct cl_json *answer = cl_admin_table(call, columns);
	struct cl_tree_count count = cl_tree_count(supervisor);
	status_row(call, answer, "version", CL_VERSION);
	status_row(call, answer, "state",
	           supervisor->phase == CL_TREE_RUNNING && !supervisor->ready ? "starting" : phases[supervisor->phase]);
	status_row(call, answer, "process", cl_arena_printf(call->arena, "%d", (int)getpid()).p);
	status_row(call, answer, "up", duration(call->arena, cl_monotonic() - supervisor->started));
	status_row(call, answer, "configuration", supervisor->config);
	status_row(call, answer, "data", supervisor->data);
	status_row(call, answer, "organizations",
	           cl_arena_printf(call->arena, "%d of %d ready", count.organizations_ready, count.organizations).p);
	status_row(call, answer, "gateways",
	           cl_arena_printf(call->arena, "%d of %d ready", count.gateways_ready, supervisor->gateway_count).p);
	status_row(call, answer, "courier", cl_child_state_name(supervisor->courier.state));
	status_row(call, answer, "audit heads",
	           supervisor->heads_problem[0] ? supervisor->heads_problem : "chain is whole");
	cl_admin_answer(call, answer);
}

static void run_organizations(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const columns[] = {"organization", "state",       "process",   "up", "restarts",
	                                      "commits",      "quarantined", "last exit", NULL};
	struct cl_json *answer = cl_admin_table(call, columns);
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next) {
		const struct cl_child *child = &seat->child;
		int plugins = 0;
		for (int i = 0; i < CL_WATCHDOG_PLUGINS; i++)
			plugins += seat->memory.plugins[i][0] != '\0';
		struct cl_json *row = cl_admin_row(call, answer);
		cl_admin_cell_text(call, row, "%s", seat->id);
		cl_admin_cell_text(call, row, "%s", cl_child_state_name(child->state));
		cl_admin_cell_number(call, row, child->pid);
		cl_admin_cell_text(call, row, "%s", up_time(call->arena, child));
		cl_admin_cell_number(call, row, child->restarts);
		cl_admin_cell_number(call, row, (int64_t)atomic_load(&seat->page->ticks));
		cl_admin_cell_number(call, row, seat->memory.quarantined_count + plugins);
		cl_admin_cell_text(call, row, "%s", child->last_exit);
	}
	cl_admin_answer(call, answer);
}

/* Resident memory in KiB, 0 when unknown. */
static int64_t resident_memory(pid_t pid)
{
	char path[40];
	long pages = 0;
	snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	if (fscanf(file, "%*d %ld", &pages) != 1)
		pages = 0;
	fclose(file);
	return (int64_t)pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void process_row(struct cl_admin_call *call, struct cl_json *answer, const struct cl_child *child)
{
	struct cl_json *row = cl_admin_row(call, answer);
	cl_admin_cell_text(call, row, "%s", child->name);
	cl_admin_cell_number(call, row, child->pid);
	cl_admin_cell_text(call, row, "%s", cl_child_state_name(child->state));
	cl_admin_cell_text(call, row, "%s", up_time(call->arena, child));
	cl_admin_cell_number(call, row, child->restarts);
	cl_admin_cell_number(call, row, child->pid ? resident_memory(child->pid) : 0);
	cl_admin_cell_text(call, row, "%s", child->last_exit);
}

static void run_processes(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const columns[] = {"name",     "process",    "state",     "up",
	                                      "restarts", "memory KiB", "last exit", NULL};
	struct cl_json *answer = cl_admin_table(call, columns);
	const struct cl_child self = {
	        .name = "supervisor", .pid = getpid(), .state = CL_CHILD_READY, .started = supervisor->started};
	process_row(call, answer, &self);
	for (int i = 0; i < supervisor->gateway_count; i++)
		process_row(call, answer, &supervisor->gateways[i].child);
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		process_row(call, answer, &seat->child);
	process_row(call, answer, &supervisor->courier);
	cl_admin_answer(call, answer);
}

/* ---- connections: asks every gateway ---- */

struct cl_inquiry {
	struct cl_supervisor *supervisor;
	struct cl_admin_call *call;
	struct cl_json *answer;
	struct event *patience;
	uint64_t number;
	int awaited;
};

static void finish_inquiry(struct cl_inquiry *inquiry)
{
	struct cl_admin_call *call = inquiry->call;
	struct cl_json *answer = inquiry->answer;
	inquiry->supervisor->inquiry = NULL;
	event_free(inquiry->patience);
	free(inquiry);
	cl_admin_answer(call, answer);
}

static void on_inquiry_patience(evutil_socket_t socket, short what, void *context)
{
	struct cl_inquiry *inquiry = context;
	(void)socket;
	(void)what;
	cl_json_set_text(inquiry->call->arena, inquiry->answer, "text",
	                 cl_arena_printf(inquiry->call->arena, "%d gateway(s) did not answer within %d s",
	                                 inquiry->awaited, INQUIRY_PATIENCE_SECONDS));
	finish_inquiry(inquiry);
}

static void run_connections(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const columns[] = {"gateway", "what", "value", NULL};
	static uint64_t number;
	if (supervisor->inquiry) {
		cl_admin_fail(call, 409, "somebody else is asking just now; try again");
		return;
	}
	struct cl_inquiry *inquiry = calloc(1, sizeof *inquiry);
	if (!inquiry)
		abort();
	*inquiry = (struct cl_inquiry){
	        .supervisor = supervisor, .call = call, .number = ++number, .answer = cl_admin_table(call, columns)};
	inquiry->patience = event_new(supervisor->base, -1, 0, on_inquiry_patience, inquiry);
	if (!inquiry->patience)
		abort();
	struct cl_str question =
	        cl_arena_printf(call->arena, "{\"do\":\"status\",\"id\":%" PRIu64 "}", inquiry->number);
	for (int i = 0; i < supervisor->gateway_count; i++)
		inquiry->awaited += cl_child_send(&supervisor->gateways[i].child, question) == CL_OK;
	supervisor->inquiry = inquiry;
	if (inquiry->awaited)
		event_add(inquiry->patience, &(struct timeval){INQUIRY_PATIENCE_SECONDS, 0});
	else
		finish_inquiry(inquiry);
}

/* A row for each value; "organizations.riverside" for what is nested. */
static void add_values(struct cl_inquiry *inquiry, const struct cl_child *child, const char *prefix,
                       const struct cl_json *object)
{
	struct cl_admin_call *call = inquiry->call;
	for (uint32_t i = 0; object->kind == CL_JSON_OBJECT && i < object->count; i++) {
		struct cl_str name = object->members[i].name;
		const struct cl_json *value = &object->members[i].value;
		if (*prefix == '\0' && (cl_str_is(name, "do") || cl_str_is(name, "id") || cl_str_is(name, "ok")))
			continue;
		if (*prefix == '\0' && value->kind == CL_JSON_OBJECT) {
			add_values(inquiry, child, cl_arena_printf(call->arena, "%.*s.", CL_STR_ARGS(name)).p, value);
			continue;
		}
		struct cl_json *row = cl_admin_row(call, inquiry->answer);
		cl_admin_cell_text(call, row, "%s", child->name);
		cl_admin_cell_text(call, row, "%s%.*s", prefix, CL_STR_ARGS(name));
		*cl_json_append(call->arena, row) = *cl_json_copy(call->arena, value);
	}
}

void cl_operations_answered(struct cl_supervisor *supervisor, const struct cl_child *child,
                            const struct cl_json *message)
{
	struct cl_inquiry *inquiry = supervisor->inquiry;
	int64_t number;
	if (!inquiry || !cl_json_integer(cl_json_get(message, "id"), &number) || (uint64_t)number != inquiry->number)
		return;
	add_values(inquiry, child, "", message);
	if (--inquiry->awaited == 0)
		finish_inquiry(inquiry);
}

void cl_operations_abandon(struct cl_supervisor *supervisor)
{
	if (!supervisor->inquiry)
		return;
	event_free(supervisor->inquiry->patience);
	free(supervisor->inquiry);
	supervisor->inquiry = NULL;
}

/* ---- the rest ---- */

static void run_reload(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	struct cl_str id = argument(call, "organization");
	struct cl_seat *only = id.n ? cl_tree_organization(supervisor, id) : NULL;
	if (id.n && !only)
		cl_admin_fail(call, 404, "there is no organization \"%.*s\"", CL_STR_ARGS(id));
	else
		cl_reload_begin(supervisor, call, only);
}

static void run_quarantine_list(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const columns[] = {"organization", "kind", "plugin", "what", "subject", NULL};
	static const char *const kinds[] = {"", "request", "timer", "load"};
	struct cl_json *answer = cl_admin_table(call, columns);
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next) {
		const struct cl_watchdog_memory *memory = &seat->memory;
		for (int i = 0; i < memory->quarantined_count; i++) {
			char subject[33];
			struct cl_json *row = cl_admin_row(call, answer);
			cl_hex(memory->quarantined[i].subject.bytes, sizeof memory->quarantined[i].subject.bytes,
			       subject);
			cl_admin_cell_text(call, row, "%s", seat->id);
			cl_admin_cell_text(call, row, "%s", kinds[memory->quarantined[i].kind]);
			cl_admin_cell_text(call, row, "%s", memory->quarantined[i].plugin);
			cl_admin_cell_text(call, row, "%s", memory->quarantined[i].what);
			cl_admin_cell_text(call, row, "%s", subject);
		}
		for (int i = 0; i < CL_WATCHDOG_PLUGINS; i++) {
			if (!memory->plugins[i][0])
				continue;
			struct cl_json *row = cl_admin_row(call, answer);
			cl_admin_cell_text(call, row, "%s", seat->id);
			cl_admin_cell_text(call, row, "plugin");
			cl_admin_cell_text(call, row, "%s", memory->plugins[i]);
			cl_admin_cell_text(call, row, "crashed twice while loading");
			cl_admin_cell_text(call, row, "%s", "");
		}
	}
	cl_admin_answer(call, answer);
}

static void run_quarantine_clear(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	struct cl_str id = argument(call, "organization");
	struct cl_seat *seat = cl_tree_organization(supervisor, id);
	if (!seat) {
		cl_admin_fail(call, 404, "there is no organization \"%.*s\"", CL_STR_ARGS(id));
		return;
	}
	int count = cl_seat_forgive(seat);
	cl_log(CL_LOG_INFO, "quarantine-cleared", "organization=%s entries=%d user=%s", seat->id, count, call->user);
	struct cl_json *answer = cl_json_new(call->arena, CL_JSON_OBJECT);
	cl_json_set_text(call->arena, answer, "text",
	                 cl_arena_printf(call->arena,
	                                 "%d entries of %s were let go; a plugin among them is loaded again by "
	                                 "reload",
	                                 count, seat->id));
	cl_admin_answer(call, answer);
}

static void run_heads(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const columns[] = {"organization", "size", "root", "at", NULL};
	struct cl_json *answer = cl_admin_table(call, columns);
	const struct cl_head *heads;
	size_t count = cl_heads_list(supervisor->heads, &heads);
	for (size_t i = 0; i < count; i++) {
		char root[65];
		struct cl_json *row = cl_admin_row(call, answer);
		cl_hex(heads[i].root, sizeof heads[i].root, root);
		cl_admin_cell_text(call, row, "%s", heads[i].organization);
		cl_admin_cell_number(call, row, (int64_t)heads[i].size);
		cl_admin_cell_text(call, row, "%s", root);
		cl_admin_cell_text(call, row, "%s", heads[i].at);
	}
	if (supervisor->heads_problem[0])
		cl_json_set_text(call->arena, answer, "text", cl_str_of(supervisor->heads_problem));
	cl_admin_answer(call, answer);
}

static void run_log_level(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	struct cl_str level = argument(call, "level");
	int found = -1;
	for (int i = 0; i < 4; i++)
		if (cl_str_is(level, names[i]))
			found = i;
	if (found < 0) {
		cl_admin_fail(call, 400, "level must be debug, info, warning or error");
		return;
	}
	cl_log_set_level((enum cl_log_level)found);
	cl_tree_tell_all(supervisor, cl_arena_printf(call->arena, "{\"do\":\"log\",\"level\":\"%s\"}", names[found]));
	struct cl_json *answer = cl_json_new(call->arena, CL_JSON_OBJECT);
	cl_json_set_text(call->arena, answer, "text", cl_arena_printf(call->arena, "log level is %s", names[found]));
	cl_admin_answer(call, answer);
}

static void run_stop(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	struct cl_json *answer = cl_json_new(call->arena, CL_JSON_OBJECT);
	cl_log(CL_LOG_INFO, "stop-asked", "user=%s pid=%d", call->user, (int)call->pid);
	cl_json_set_text(call->arena, answer, "text", CL_STR("stopping"));
	cl_admin_answer(call, answer);
	if (supervisor->phase == CL_TREE_RUNNING)
		cl_tree_stop(supervisor);
}

static const struct operation {
	const char *name;
	void (*run)(struct cl_supervisor *supervisor, struct cl_admin_call *call);
} operations[] = {
        {"status", run_status},
        {"organizations", run_organizations},
        {"processes", run_processes},
        {"connections", run_connections},
        {"reload", run_reload},
        {"quarantine list", run_quarantine_list},
        {"quarantine clear", run_quarantine_clear},
        {"heads", run_heads},
        {"log level", run_log_level},
        {"stop", run_stop},
};

void cl_operations_run(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	struct cl_closest closest = {.wanted = call->command};
	if (call->organization.n) {
		struct cl_seat *seat = cl_tree_organization(supervisor, call->organization);
		for (const struct cl_seat *other = supervisor->organizations; other; other = other->next)
			closest.wanted = call->organization, cl_closest_offer(&closest, other->id);
		if (seat && !seat->removed)
			cl_admin_forward(call, seat->relay);
		else
			cl_admin_fail(call, 404, "there is no organization \"%.*s\"%s%s%s",
			              CL_STR_ARGS(call->organization), closest.best ? " (did you mean \"" : "",
			              closest.best ? closest.best : "", closest.best ? "\"?)" : "");
		return;
	}
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
		if (cl_str_is(call->command, operations[i].name)) {
			operations[i].run(supervisor, call);
			return;
		}
		cl_closest_offer(&closest, operations[i].name);
	}
	cl_admin_fail(call, 400, "the supervisor knows no command \"%.*s\"%s%s%s", CL_STR_ARGS(call->command),
	              closest.best ? " (did you mean \"" : "", closest.best ? closest.best : "",
	              closest.best ? "\"?)" : "");
}
