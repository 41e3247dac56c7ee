/* tree.c: see tree.h. */
#include "supervisor/tree.h"
#include "base/date.h"
#include "base/hash.h"
#include "base/log.h"
#include "supervisor/notify.h"
#include "supervisor/operations.h"
#include "supervisor/reload.h"
#include "supervisor/stage.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

/* The server counts as started although a process crashed this often in a row: one broken organization must not keep
 * the others from being announced. */
#define FAILURES_ENDURED 5

struct cl_tree_count cl_tree_count(const struct cl_supervisor *supervisor)
{
	struct cl_tree_count count = {0};
	for (const struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		if (!seat->removed) {
			count.organizations++;
			count.organizations_ready += seat->child.state == CL_CHILD_READY;
		}
	for (int i = 0; i < supervisor->gateway_count; i++)
		count.gateways_ready += supervisor->gateways[i].child.state == CL_CHILD_READY;
	return count;
}

static bool is_settled(const struct cl_child *child)
{
	return child->state == CL_CHILD_READY || child->failures >= FAILURES_ENDURED;
}

static void announce(struct cl_supervisor *supervisor)
{
	struct cl_tree_count count = cl_tree_count(supervisor);
	if (supervisor->phase != CL_TREE_RUNNING)
		return;
	bool settled = true;
	for (const struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		settled = settled && (seat->removed || is_settled(&seat->child));
	for (int i = 0; i < supervisor->gateway_count; i++)
		settled = settled && is_settled(&supervisor->gateways[i].child);
	cl_notify("STATUS=%d of %d organizations and %d of %d gateways ready", count.organizations_ready,
	          count.organizations, count.gateways_ready, supervisor->gateway_count);
	if (!settled || supervisor->ready)
		return;
	supervisor->ready = true;
	bool all =
	        count.organizations_ready == count.organizations && count.gateways_ready == supervisor->gateway_count;
	cl_log(all ? CL_LOG_INFO : CL_LOG_WARNING, "ready", "organizations=%d/%d gateways=%d/%d milliseconds=%lld",
	       count.organizations_ready, count.organizations, count.gateways_ready, supervisor->gateway_count,
	       (long long)((cl_monotonic() - supervisor->started) / 1000));
	cl_notify("READY=1");
}

static void look_again(struct cl_supervisor *supervisor)
{
	event_add(supervisor->advance, &(struct timeval){0, 0});
}

/* ---- what children say ---- */

static void take_head(struct cl_seat *seat, const struct cl_json *message)
{
	struct cl_supervisor *supervisor = seat->context;
	struct cl_head head = {0};
	struct cl_err e = {0};
	int64_t size, at;
	const struct cl_json *time = cl_json_get(message, "at");
	struct cl_str text = cl_json_text(time);
	if (!cl_json_integer(cl_json_get(message, "size"), &size) || size < 0 || text.n >= sizeof head.at ||
	    cl_unhex(cl_json_get_text(message, "root"), head.root, sizeof head.root)) {
		cl_log(CL_LOG_WARNING, "audit-head-unreadable", "organization=%s", seat->id);
		return;
	}
	memcpy(head.organization, seat->id, sizeof head.organization);
	if (cl_json_integer(time, &at))
		cl_instant_format(at, head.at);
	else if (text.n)
		memcpy(head.at, text.p, text.n);
	head.size = (uint64_t)size;
	if (cl_heads_append(supervisor->heads, &head, cl_clock_now(&(struct cl_clock){0}), &e))
		cl_log(CL_LOG_ERROR, e.code == CL_E_CORRUPT ? "audit-head-contradicts" : "audit-head-not-kept",
		       "error=\"%s\"", e.message);
}

static void on_organization_control(struct cl_child *child, struct cl_str what, const struct cl_json *message,
                                    void *context)
{
	struct cl_seat *seat = context;
	if (cl_str_is(what, "head"))
		take_head(seat, message);
	else if (cl_str_is(what, "reloaded"))
		cl_reload_answered(seat->context, seat, message);
	else
		cl_log(CL_LOG_DEBUG, "control-message-unknown", "child=%s do=\"%.*s\"", child->name, CL_STR_ARGS(what));
}

static void on_other_control(struct cl_child *child, struct cl_str what, const struct cl_json *message, void *context)
{
	struct cl_supervisor *supervisor = context;
	if (cl_str_is(what, "status"))
		cl_operations_answered(supervisor, child, message);
	else if (cl_str_is(what, "reload") || cl_str_is(what, "reloaded"))
		cl_reload_answered_other(supervisor, child, message);
	else
		cl_log(CL_LOG_DEBUG, "control-message-unknown", "child=%s do=\"%.*s\"", child->name, CL_STR_ARGS(what));
}

static void on_organization_starting(struct cl_child *child, void *context)
{
	(void)child;
	cl_seat_prepare(context);
}

static void on_organization_changed(struct cl_child *child, bool crashed, void *context)
{
	struct cl_seat *seat = context;
	if (crashed)
		cl_seat_crashed(seat);
	if (child->state != CL_CHILD_READY)
		cl_reload_lost(seat->context, seat);
	look_again(seat->context);
}

static void on_other_changed(struct cl_child *child, bool crashed, void *context)
{
	(void)crashed;
	if (child->state != CL_CHILD_READY)
		cl_reload_lost_other(context, child);
	look_again(context);
}

/* An organization takes the courier's word only from the courier's process: what a process says of itself proves nothing. */
static void introduce_courier(const struct cl_supervisor *supervisor, struct cl_child *organization)
{
	char text[64];
	int n = snprintf(text, sizeof text, "{\"do\":\"courier\",\"pid\":%d}", (int)supervisor->courier.pid);
	if (supervisor->courier.pid && organization->pid)
		cl_child_send(organization, (struct cl_str){text, (size_t)n});
}

static void on_organization_started(struct cl_child *child, void *context)
{
	const struct cl_seat *seat = context;
	introduce_courier(seat->context, child);
}

static void on_other_started(struct cl_child *child, void *context)
{
	struct cl_supervisor *supervisor = context;
	for (struct cl_seat *seat = supervisor->organizations; seat && child == &supervisor->courier; seat = seat->next)
		introduce_courier(supervisor, &seat->child);
}

static const struct cl_child_callbacks organization_callbacks = {.starting = on_organization_starting,
                                                                 .started = on_organization_started,
                                                                 .control = on_organization_control,
                                                                 .changed = on_organization_changed};
static const struct cl_child_callbacks other_callbacks = {
        .started = on_other_started, .control = on_other_control, .changed = on_other_changed};

/* ---- stopping ---- */

static bool all_stopped(const struct cl_supervisor *supervisor, enum cl_tree_phase phase)
{
	if (phase == CL_TREE_STOPPING_COURIER)
		return supervisor->courier.state == CL_CHILD_STOPPED;
	if (phase == CL_TREE_STOPPING_ORGANIZATIONS) {
		for (const struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
			if (seat->child.state != CL_CHILD_STOPPED)
				return false;
		return true;
	}
	for (int i = 0; i < supervisor->gateway_count; i++)
		if (supervisor->gateways[i].child.state != CL_CHILD_STOPPED)
			return false;
	return true;
}

static void stop_phase(struct cl_supervisor *supervisor, enum cl_tree_phase phase)
{
	supervisor->phase = phase;
	if (phase == CL_TREE_STOPPING_GATEWAYS)
		for (int i = 0; i < supervisor->gateway_count; i++)
			cl_child_stop(&supervisor->gateways[i].child);
	else if (phase == CL_TREE_STOPPING_ORGANIZATIONS)
		for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
			cl_child_stop(&seat->child);
	else if (phase == CL_TREE_STOPPING_COURIER)
		cl_child_stop(&supervisor->courier);
	else
		event_base_loopbreak(supervisor->base);
}

static void on_advance(evutil_socket_t socket, short what, void *context)
{
	struct cl_supervisor *supervisor = context;
	(void)socket;
	(void)what;
	/* One that was removed and taken back while it stopped. */
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		if (supervisor->phase == CL_TREE_RUNNING && !seat->removed && seat->child.state == CL_CHILD_STOPPED)
			cl_child_start(&seat->child);
	announce(supervisor);
	while (supervisor->phase != CL_TREE_RUNNING && supervisor->phase != CL_TREE_STOPPED &&
	       all_stopped(supervisor, supervisor->phase))
		stop_phase(supervisor, supervisor->phase + 1);
}

void cl_tree_stop(struct cl_supervisor *supervisor)
{
	if (supervisor->phase == CL_TREE_RUNNING) {
		cl_log(CL_LOG_INFO, "stopping", NULL);
		cl_notify("STOPPING=1\nSTATUS=stopping");
		stop_phase(supervisor, CL_TREE_STOPPING_GATEWAYS);
		look_again(supervisor);
		return;
	}
	cl_log(CL_LOG_WARNING, "stopping-at-once", NULL);
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		cl_child_kill(&seat->child);
	for (int i = 0; i < supervisor->gateway_count; i++)
		cl_child_kill(&supervisor->gateways[i].child);
	cl_child_kill(&supervisor->courier);
}

/* ---- starting ---- */

struct cl_seat *cl_tree_organization(const struct cl_supervisor *supervisor, struct cl_str id)
{
	struct cl_seat *seat = supervisor->organizations;
	while (seat && !cl_str_is(id, seat->id))
		seat = seat->next;
	return seat;
}

int cl_tree_add(struct cl_supervisor *supervisor, const char *id, struct cl_err *e)
{
	struct cl_seat *seat = cl_tree_organization(supervisor, cl_str_of(id));
	if (seat) {
		seat->removed = false;
		look_again(supervisor);
		return CL_OK;
	}
	int result = cl_seat_new(supervisor->base, id, supervisor->run_folder, supervisor->executable,
	                         supervisor->config, &organization_callbacks, supervisor, &seat, e);
	if (result)
		return result;
	struct cl_seat **place = &supervisor->organizations;
	while (*place && strcmp((*place)->id, id) < 0)
		place = &(*place)->next;
	seat->next = *place;
	*place = seat;
	cl_child_start(&seat->child);
	return CL_OK;
}

void cl_tree_remove(struct cl_seat *seat)
{
	seat->removed = true;
	cl_child_stop(&seat->child);
}

static void start_other(struct cl_supervisor *supervisor, struct cl_child *child, const char *name)
{
	child->base = supervisor->base;
	child->name = name;
	child->executable = supervisor->executable;
	for (int i = 0; i < CL_CHILD_FILES; i++)
		child->files[i] = -1;
	child->callbacks = other_callbacks;
	child->context = supervisor;
	cl_child_init(child);
	cl_child_start(child);
}

int cl_tree_start(struct cl_supervisor *supervisor, struct cl_err *e)
{
	supervisor->started = cl_monotonic();
	supervisor->advance = event_new(supervisor->base, -1, 0, on_advance, supervisor);
	supervisor->gateway_count = supervisor->settings.gateways;
	supervisor->gateways = calloc((size_t)supervisor->gateway_count, sizeof *supervisor->gateways);
	if (!supervisor->advance || !supervisor->gateways)
		abort();
	for (size_t i = 0; i < supervisor->settings.organization_count; i++) {
		int result = cl_tree_add(supervisor, supervisor->settings.organizations[i], e);
		if (result)
			return result;
	}
	for (int i = 0; i < supervisor->gateway_count; i++) {
		struct cl_tree_gateway *gateway = &supervisor->gateways[i];
		snprintf(gateway->name, sizeof gateway->name, "gateway/%d", i);
		snprintf(gateway->index_text, sizeof gateway->index_text, "%d", i);
		const char *arguments[] = {"gateway", "--config", supervisor->config, "--index", gateway->index_text};
		memcpy(gateway->child.arguments, arguments, sizeof arguments);
		start_other(supervisor, &gateway->child, gateway->name);
	}
	const char *arguments[] = {"courier", "--config", supervisor->config};
	memcpy(supervisor->courier.arguments, arguments, sizeof arguments);
	start_other(supervisor, &supervisor->courier, "courier");
	look_again(supervisor);
	return CL_OK;
}

void cl_tree_free(struct cl_supervisor *supervisor)
{
	while (supervisor->organizations) {
		struct cl_seat *seat = supervisor->organizations;
		supervisor->organizations = seat->next;
		cl_seat_free(seat);
	}
	for (int i = 0; i < supervisor->gateway_count; i++)
		if (supervisor->gateways && supervisor->gateways[i].child.timer)
			cl_child_release(&supervisor->gateways[i].child);
	free(supervisor->gateways);
	if (supervisor->courier.timer)
		cl_child_release(&supervisor->courier);
	if (supervisor->advance)
		event_free(supervisor->advance);
}

/* ---- running ---- */

void cl_tree_watch(struct cl_supervisor *supervisor)
{
	for (struct cl_seat **place = &supervisor->organizations; *place;) {
		struct cl_seat *seat = *place;
		if (seat->removed && seat->child.state == CL_CHILD_STOPPED && supervisor->phase == CL_TREE_RUNNING) {
			*place = seat->next;
			cl_log(CL_LOG_INFO, "organization-removed", "organization=%s", seat->id);
			cl_seat_free(seat);
			continue;
		}
		cl_seat_watch(seat, supervisor->settings.lua_limit);
		place = &seat->next;
	}
}

static struct cl_child *find_process(struct cl_supervisor *supervisor, pid_t pid)
{
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		if (seat->child.pid == pid)
			return &seat->child;
	for (int i = 0; i < supervisor->gateway_count; i++)
		if (supervisor->gateways[i].child.pid == pid)
			return &supervisor->gateways[i].child;
	return supervisor->courier.pid == pid ? &supervisor->courier : NULL;
}

static struct cl_stage *find_stage(struct cl_supervisor *supervisor, pid_t pid)
{
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		if (seat->stage && cl_stage_process(seat->stage) == pid)
			return seat->stage;
	return NULL;
}

void cl_tree_reap(struct cl_supervisor *supervisor)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct cl_child *child = find_process(supervisor, pid);
		struct cl_stage *stage = find_stage(supervisor, pid);
		if (child)
			cl_child_reaped(child, status);
		else if (stage)
			cl_stage_reaped(stage, status);
	}
}

void cl_tree_tell_gateways(struct cl_supervisor *supervisor, struct cl_str message)
{
	for (int i = 0; i < supervisor->gateway_count; i++)
		cl_child_send(&supervisor->gateways[i].child, message);
}

void cl_tree_tell_all(struct cl_supervisor *supervisor, struct cl_str message)
{
	cl_tree_tell_gateways(supervisor, message);
	for (struct cl_seat *seat = supervisor->organizations; seat; seat = seat->next)
		cl_child_send(&seat->child, message);
	cl_child_send(&supervisor->courier, message);
}
