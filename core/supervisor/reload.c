/* reload.c: see reload.h. */
#include "supervisor/reload.h"
#include "base/log.h"
#include "base/utf8.h"
#include "supervisor/notify.h"
#include "supervisor/stage.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define PATIENCE_SECONDS 90 /* without any progress; a stage is killed after 60 s */
#define STAGES_AT_ONCE 2

struct cl_reload {
	struct cl_supervisor *supervisor;
	struct cl_admin_call *call; /* NULL for SIGHUP */
	struct cl_arena *arena; /* for `answer` when there is no call */
	struct cl_json *answer; /* table: what, outcome, detail */
	struct event *patience;
	int staging;
	int failed;
	struct cl_buf problems; /* all lines of what was refused */
};

static void __attribute__((format(printf, 4, 5)))
add_row(struct cl_reload *reload, const char *what, const char *outcome, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	struct cl_str detail = cl_arena_vprintf(reload->arena, format, arguments);
	va_end(arguments);
	struct cl_json *row = cl_json_append(reload->arena, cl_json_get(reload->answer, "rows"));
	*row = *cl_json_new(reload->arena, CL_JSON_ARRAY);
	cl_json_append_text(reload->arena, row, cl_arena_copy(reload->arena, cl_str_of(what)));
	cl_json_append_text(reload->arena, row, cl_str_of(outcome));
	cl_json_append_text(reload->arena, row, detail);
	bool bad = strcmp(outcome, "refused") == 0 || strcmp(outcome, "no answer") == 0;
	reload->failed += bad;
	cl_log(bad ? CL_LOG_ERROR : CL_LOG_INFO, "reload", "what=%s outcome=\"%s\" detail=\"%.*s\"", what, outcome,
	       CL_STR_ARGS(detail));
}

static void free_reload(struct cl_reload *reload)
{
	reload->supervisor->reload = NULL;
	event_free(reload->patience);
	cl_buf_free(&reload->problems);
	if (!reload->call)
		cl_arena_free(reload->arena);
	free(reload);
}

/* "plugin.lua:12: first; second" of the errors of an answer. */
static struct cl_str join_errors(struct cl_reload *reload, const struct cl_json *message)
{
	struct cl_buf text;
	cl_buf_init(&text, 4000);
	const struct cl_json *errors = cl_json_get(message, "errors");
	for (uint32_t i = 0; errors && errors->kind == CL_JSON_ARRAY && i < errors->count; i++)
		cl_buf_printf(&text, "%s%.*s", i ? "; " : "", CL_STR_ARGS(cl_json_text(&errors->items[i])));
	struct cl_str where = cl_json_get_text(message, "where"), error = cl_json_get_text(message, "error");
	if (text.n == 0 && error.n)
		cl_buf_printf(&text, "%.*s%s%.*s", CL_STR_ARGS(where), where.n ? ": " : "", CL_STR_ARGS(error));
	struct cl_str joined = cl_arena_copy(reload->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return joined;
}

static void finish(struct cl_reload *reload)
{
	struct cl_supervisor *supervisor = reload->supervisor;
	struct cl_admin_call *call = reload->call;
	struct cl_json *answer = reload->answer;
	int failed = reload->failed;
	cl_log(failed ? CL_LOG_WARNING : CL_LOG_INFO, "reloaded", "problems=%d", failed);
	if (supervisor->phase == CL_TREE_RUNNING)
		cl_notify("READY=1");
	if (call && failed) {
		cl_json_set_boolean(call->arena, answer, "failed", true);
		cl_json_set_text(call->arena, answer, "text",
		                 cl_arena_printf(call->arena,
		                                 "%.*s%d of these did not take the new version; they go on with "
		                                 "the old one",
		                                 CL_STR_ARGS(cl_buf_str(&reload->problems)), failed));
	}
	free_reload(reload);
	if (call)
		cl_admin_answer(call, answer);
}

static void go_on(struct cl_reload *reload);

static void arm(struct cl_reload *reload)
{
	event_add(reload->patience, &(struct timeval){PATIENCE_SECONDS, 0});
}

/* What a process printed, as text that JSON can carry. */
static struct cl_str readable(struct cl_reload *reload, struct cl_str output)
{
	char *copy = cl_arena_cstring(reload->arena, output);
	size_t n = output.n;
	while (n && copy[n - 1] == '\n')
		n--;
	bool valid = cl_utf8_valid((struct cl_str){copy, n});
	for (size_t i = 0; i < n && !valid; i++)
		if ((unsigned char)copy[i] >= 0x80)
			copy[i] = '?';
	return (struct cl_str){copy, n};
}

/* The first problem in the table, all of them below it. */
static void add_refusal(struct cl_reload *reload, const char *organization, struct cl_str output)
{
	size_t first = 0, lines = 1;
	while (first < output.n && output.p[first] != '\n')
		first++;
	for (size_t i = first; i < output.n; i++)
		lines += output.p[i] == '\n';
	if (lines > 1) {
		add_row(reload, organization, "refused", "%.*s (and %zu more)", (int)first, output.p, lines - 1);
		cl_buf_printf(&reload->problems, "%s:\n%.*s\n", organization, CL_STR_ARGS(output));
	} else {
		add_row(reload, organization, "refused", "%.*s", CL_STR_ARGS(output));
	}
}

/* The new plugins are good: the running process swaps them in. */
static void on_staged(bool good, struct cl_str output, void *context)
{
	struct cl_seat *seat = context;
	struct cl_supervisor *supervisor = seat->context;
	struct cl_reload *reload = supervisor->reload;
	seat->stage = NULL;
	seat->reload = CL_SEAT_AS_IT_IS;
	if (!reload)
		return;
	reload->staging--;
	output = readable(reload, output);
	if (!good)
		add_refusal(reload, seat->id, output);
	else if (cl_child_send(&seat->child, CL_STR("{\"do\":\"reload\",\"archive\":\"staged.json\"}")) == CL_OK)
		seat->reload = CL_SEAT_SWAPPING;
	else
		add_row(reload, seat->id, "checked", "the process is restarting and loads them");
	go_on(reload);
}

static void start_stage(struct cl_reload *reload, struct cl_seat *seat)
{
	struct cl_supervisor *supervisor = reload->supervisor;
	seat->stage =
	        cl_stage_start(supervisor->base, supervisor->executable, supervisor->config, seat->id, on_staged, seat);
	seat->reload = seat->stage ? CL_SEAT_STAGING : CL_SEAT_AS_IT_IS;
	if (seat->stage)
		reload->staging++;
	else
		add_row(reload, seat->id, "refused", "no process to check it could be started: %s", strerror(errno));
}

/* Starts what may start; finishes when nothing is left to do. */
static void go_on(struct cl_reload *reload)
{
	bool busy = false;
	arm(reload);
	for (struct cl_seat *seat = reload->supervisor->organizations; seat; seat = seat->next) {
		if (seat->reload == CL_SEAT_QUEUED && reload->staging < STAGES_AT_ONCE)
			start_stage(reload, seat);
		busy |= seat->reload != CL_SEAT_AS_IT_IS;
	}
	for (int i = 0; i < reload->supervisor->gateway_count; i++)
		busy |= reload->supervisor->gateways[i].reloading;
	if (!busy)
		finish(reload);
}

static void on_patience(evutil_socket_t socket, short what, void *context)
{
	struct cl_reload *reload = context;
	(void)socket;
	(void)what;
	for (struct cl_seat *seat = reload->supervisor->organizations; seat; seat = seat->next) {
		if (seat->reload == CL_SEAT_AS_IT_IS)
			continue;
		cl_stage_abandon(seat->stage);
		seat->stage = NULL;
		seat->reload = CL_SEAT_AS_IT_IS;
		add_row(reload, seat->id, "no answer", "not within %d seconds", PATIENCE_SECONDS);
	}
	for (int i = 0; i < reload->supervisor->gateway_count; i++) {
		struct cl_tree_gateway *gateway = &reload->supervisor->gateways[i];
		if (gateway->reloading)
			add_row(reload, gateway->name, "no answer", "not within %d seconds", PATIENCE_SECONDS);
		gateway->reloading = false;
	}
	finish(reload);
}

static bool differs(const struct cl_server_settings *old, const struct cl_server_settings *new, const char *name)
{
	const struct cl_json *a = cl_json_get(old->tree, name), *b = cl_json_get(new->tree, name);
	return (a == NULL) != (b == NULL) || (a && !cl_json_equal(a, b));
}

static bool is_listed(const struct cl_server_settings *settings, const char *id)
{
	for (size_t i = 0; i < settings->organization_count; i++)
		if (strcmp(settings->organizations[i], id) == 0)
			return true;
	return false;
}

static void reload_one(struct cl_reload *reload, struct cl_seat *seat)
{
	if (seat->child.state == CL_CHILD_WAITING) {
		add_row(reload, seat->id, "started", "it was waiting to be restarted");
		cl_child_hurry(&seat->child);
	} else {
		seat->reload = CL_SEAT_QUEUED;
	}
}

/* Added, removed and kept organizations. */
static void apply_organizations(struct cl_reload *reload)
{
	struct cl_supervisor *supervisor = reload->supervisor;
	struct cl_err e = {0};
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next) {
		if (seat->removed)
			continue;
		if (is_listed(&supervisor->settings, seat->id)) {
			reload_one(reload, seat);
			continue;
		}
		add_row(reload, seat->id, "removed", "stopping; its data stays in its folder");
		cl_tree_remove(seat);
	}
	for (size_t i = 0; i < supervisor->settings.organization_count; i++) {
		const char *id = supervisor->settings.organizations[i];
		const struct cl_seat *known = cl_tree_organization(supervisor, cl_str_of(id));
		if (known && !known->removed)
			continue;
		if (cl_tree_add(supervisor, id, &e))
			add_row(reload, id, "refused", "%s", e.message);
		else
			add_row(reload, id, "added", "starting");
	}
}

/* What a running server cannot change. */
static void note_fixed(struct cl_reload *reload, const struct cl_server_settings *old,
                       const struct cl_server_settings *new)
{
	static const char *const fixed[] = {"gateways", "listen", "limits", "timeouts"};
	for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
		if (differs(old, new, fixed[i]))
			add_row(reload, fixed[i], "at next start", "a running server keeps its former value");
}

static struct cl_reload *new_reload(struct cl_supervisor *supervisor, struct cl_admin_call *call)
{
	static const char *const columns[] = {"what", "outcome", "detail"};
	struct cl_reload *reload = calloc(1, sizeof *reload);
	if (!reload)
		abort();
	reload->supervisor = supervisor;
	reload->call = call;
	reload->arena = call ? call->arena : cl_arena_new(0);
	reload->answer = cl_json_new(reload->arena, CL_JSON_OBJECT);
	struct cl_json *names = cl_json_set_array(reload->arena, reload->answer, "columns");
	for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
		cl_json_append_text(reload->arena, names, cl_str_of(columns[i]));
	cl_json_set_array(reload->arena, reload->answer, "rows");
	reload->patience = event_new(supervisor->base, -1, 0, on_patience, reload);
	if (!reload->patience)
		abort();
	cl_buf_init(&reload->problems, 256 * 1024);
	supervisor->reload = reload;
	return reload;
}

/* The configuration as it stands now, checked, in an arena of its own. */
static int read_settings(struct cl_supervisor *supervisor, struct cl_arena **arena, struct cl_server_settings *settings,
                         struct cl_err *e)
{
	*arena = cl_arena_new(0);
	int result = cl_server_settings_load(*arena, supervisor->config, settings, NULL, e);
	if (result == CL_OK && strcmp(settings->data, supervisor->data) != 0)
		result = cl_fail(e, CL_E_RULE, "the data folder of a running server cannot change from %s to %s",
		                 supervisor->data, settings->data);
	if (result)
		cl_arena_free(*arena);
	return result;
}

void cl_reload_begin(struct cl_supervisor *supervisor, struct cl_admin_call *call, struct cl_seat *only)
{
	struct cl_server_settings settings;
	struct cl_arena *arena;
	struct cl_err e = {0};
	if (supervisor->reload || supervisor->phase != CL_TREE_RUNNING) {
		const char *why = supervisor->reload ? "a reload is under way already" : "the server is stopping";
		cl_log(CL_LOG_WARNING, "reload-refused", "reason=\"%s\"", why);
		if (call)
			cl_admin_fail(call, 409, "%s", why);
		return;
	}
	if (only) {
		struct cl_reload *reload = new_reload(supervisor, call);
		reload_one(reload, only);
		go_on(reload);
		return;
	}
	if (read_settings(supervisor, &arena, &settings, &e)) {
		cl_log(CL_LOG_ERROR, "reload-refused", "where=\"%s\" error=\"%s\"", e.where, e.message);
		if (call)
			cl_admin_fail(call, 422, "%s%s%s; nothing was changed", e.where, e.where[0] ? ": " : "",
			              e.message);
		return;
	}
	cl_notify_reloading();
	struct cl_reload *reload = new_reload(supervisor, call);
	note_fixed(reload, &supervisor->settings, &settings);
	if (settings.log != supervisor->settings.log)
		cl_log_set_level(settings.log);
	cl_arena_free(supervisor->arena);
	supervisor->arena = arena;
	supervisor->settings = settings;
	for (int i = 0; i < supervisor->gateway_count; i++)
		supervisor->gateways[i].reloading =
		        cl_child_send(&supervisor->gateways[i].child, CL_STR("{\"do\":\"reload\"}")) == CL_OK;
	cl_child_send(&supervisor->courier, CL_STR("{\"do\":\"reload\"}"));
	apply_organizations(reload);
	go_on(reload);
}

void cl_reload_answered(struct cl_supervisor *supervisor, struct cl_seat *seat, const struct cl_json *message)
{
	struct cl_reload *reload = supervisor->reload;
	if (!reload || seat->reload != CL_SEAT_SWAPPING)
		return;
	seat->reload = CL_SEAT_AS_IT_IS;
	bool good = cl_json_is_true(cl_json_get(message, "ok"));
	struct cl_str detail = good ? cl_json_get_text(message, "plugins") : join_errors(reload, message);
	add_row(reload, seat->id, good ? "reloaded" : "refused", "%.*s", CL_STR_ARGS(detail));
	go_on(reload);
}

static struct cl_tree_gateway *find_gateway(struct cl_supervisor *supervisor, const struct cl_child *child)
{
	for (int i = 0; i < supervisor->gateway_count; i++)
		if (&supervisor->gateways[i].child == child)
			return &supervisor->gateways[i];
	return NULL;
}

void cl_reload_answered_other(struct cl_supervisor *supervisor, struct cl_child *child, const struct cl_json *message)
{
	struct cl_reload *reload = supervisor->reload;
	bool good = cl_json_is_true(cl_json_get(message, "ok"));
	struct cl_tree_gateway *gateway = find_gateway(supervisor, child);
	if (reload) {
		struct cl_str detail = join_errors(reload, message);
		add_row(reload, child->name, good ? "reloaded" : "refused", "%.*s", CL_STR_ARGS(detail));
		if (gateway)
			gateway->reloading = false;
		go_on(reload);
	} else if (!good) {
		struct cl_str error = cl_json_get_text(message, "error");
		cl_log(CL_LOG_ERROR, "reload", "what=%s outcome=refused detail=\"%.*s\"", child->name,
		       CL_STR_ARGS(error));
	}
}

void cl_reload_lost(struct cl_supervisor *supervisor, struct cl_seat *seat)
{
	struct cl_reload *reload = supervisor->reload;
	if (!reload || seat->reload != CL_SEAT_SWAPPING)
		return;
	seat->reload = CL_SEAT_AS_IT_IS;
	add_row(reload, seat->id, "refused", "the process ended (%s); it restarts by itself", seat->child.last_exit);
	go_on(reload);
}

void cl_reload_lost_other(struct cl_supervisor *supervisor, struct cl_child *child)
{
	struct cl_tree_gateway *gateway = find_gateway(supervisor, child);
	if (!gateway || !gateway->reloading)
		return;
	gateway->reloading = false;
	if (!supervisor->reload)
		return;
	add_row(supervisor->reload, child->name, "refused", "the process ended (%s); it restarts by itself",
	        child->last_exit);
	go_on(supervisor->reload);
}

void cl_reload_abandon(struct cl_supervisor *supervisor)
{
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next) {
		cl_stage_abandon(seat->stage);
		seat->stage = NULL;
		seat->reload = CL_SEAT_AS_IT_IS;
	}
	if (supervisor->reload)
		free_reload(supervisor->reload);
}
