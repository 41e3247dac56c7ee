/* child.c: fork, exec, back-off and the control channel of one process. */
#include "supervisor/child.h"
#include "base/log.h"
#include "supervisor/spawn.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_PATIENCE (10 * CL_SECOND)
#define HANG_UP_PATIENCE (2 * CL_SECOND) /* a process without its control channel is given this long to end */
#define LAST_WORDS_PATIENCE (50 * CL_SECOND / 1000) /* to read what an ended process still said */
/* Who served that long did not fail by how it starts: back at once, service waits for it. */
#define HEALTHY_AFTER (2 * CL_SECOND)
#define BACK_OFF_FIRST (100 * CL_SECOND / 1000)
#define BACK_OFF_MOST (10 * CL_SECOND)

const char *cl_child_state_name(enum cl_child_state state)
{
	static const char *const names[] = {"stopped", "starting", "ready", "waiting", "stopping"};
	return names[state];
}

int64_t cl_child_back_off(unsigned failures)
{
	if (failures == 0)
		return 0;
	if (failures > 7)
		return BACK_OFF_MOST;
	int64_t delay = BACK_OFF_FIRST << (failures - 1);
	return delay < BACK_OFF_MOST ? delay : BACK_OFF_MOST;
}

static void arm(struct cl_child *child, int64_t microseconds)
{
	struct timeval delay = {microseconds / CL_SECOND, microseconds % CL_SECOND};
	event_add(child->timer, &delay);
}

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_child *child = context;
	struct cl_json *message;
	struct cl_err e = {0};
	(void)channel;
	(void)id;
	if (descriptor >= 0)
		close(descriptor);
	if (type != CL_FRAME_CONTROL)
		return;
	struct cl_arena *arena = cl_arena_new(0);
	if (cl_json_parse(arena, payload, NULL, &message, &e)) {
		cl_log(CL_LOG_WARNING, "control-message-unreadable", "child=%s error=\"%s\"", child->name, e.message);
	} else {
		struct cl_str what = cl_json_get_text(message, "do");
		if (!cl_str_is(what, "ready")) {
			child->callbacks.control(child, what, message, child->context);
		} else if (child->state == CL_CHILD_STARTING) {
			child->state = CL_CHILD_READY;
			child->ready_at = cl_monotonic();
			cl_log(CL_LOG_INFO, "child-ready", "child=%s pid=%d milliseconds=%lld", child->name,
			       (int)child->pid, (long long)((child->ready_at - child->started) / 1000));
			child->callbacks.changed(child, false, child->context);
		}
	}
	cl_arena_free(arena);
}

static void finish(struct cl_child *child);

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_child *child = context;
	cl_channel_free(channel);
	child->channel = NULL;
	if (child->reaped) {
		finish(child);
	} else if (child->state == CL_CHILD_STARTING || child->state == CL_CHILD_READY) {
		cl_log(CL_LOG_DEBUG, "control-channel-closed", "child=%s reason=\"%s\"", child->name, reason);
		arm(child, HANG_UP_PATIENCE);
	}
}

static void retry_later(struct cl_child *child, const char *problem)
{
	cl_log(CL_LOG_ERROR, "child-not-started", "child=%s error=\"%s: %s\"", child->name, problem, strerror(errno));
	child->state = CL_CHILD_WAITING;
	child->failures++;
	arm(child, cl_child_back_off(child->failures));
}

void cl_child_start(struct cl_child *child)
{
	static const struct cl_channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};
	char number[16];
	const char *arguments[CL_CHILD_ARGUMENTS + 3];
	int ends[2], files[CL_CHILD_FILES + 1], count = 0;

	event_del(child->timer);
	if (child->callbacks.starting)
		child->callbacks.starting(child, child->context);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
		retry_later(child, "socketpair");
		return;
	}
	snprintf(number, sizeof number, "%d", ends[1]);
	for (; count < CL_CHILD_ARGUMENTS && child->arguments[count]; count++)
		arguments[count] = child->arguments[count];
	arguments[count++] = "--control-fd";
	arguments[count++] = number;
	arguments[count] = NULL;
	memcpy(files, child->files, sizeof child->files);
	files[CL_CHILD_FILES] = ends[1];
	pid_t pid = cl_spawn(child->executable, arguments, files, CL_CHILD_FILES + 1, -1);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		retry_later(child, "fork");
		return;
	}
	child->pid = pid;
	child->reaped = false;
	child->state = CL_CHILD_STARTING;
	child->started = cl_monotonic();
	child->ready_at = 0;
	child->channel = cl_channel_new(child->base, ends[0], CL_ROLE_SUPERVISOR, &callbacks, child);
	cl_log(CL_LOG_INFO, "child-started", "child=%s pid=%d", child->name, (int)pid);
	if (child->callbacks.started)
		child->callbacks.started(child, child->context);
}

static void describe_exit(struct cl_child *child)
{
	int status = child->wait_status;
	if (WIFSIGNALED(status))
		snprintf(child->last_exit, sizeof child->last_exit, "signal %d (%s)", WTERMSIG(status),
		         strsignal(WTERMSIG(status)));
	else
		snprintf(child->last_exit, sizeof child->last_exit, "exit code %d", WEXITSTATUS(status));
}

/* The process has ended and everything it said was read. */
static void finish(struct cl_child *child)
{
	bool stopping = child->state == CL_CHILD_STOPPING;
	event_del(child->timer);
	cl_channel_free(child->channel);
	child->channel = NULL;
	child->pid = 0;
	child->reaped = false;
	describe_exit(child);
	if (stopping) {
		child->state = CL_CHILD_STOPPED;
		cl_log(CL_LOG_INFO, "child-stopped", "child=%s how=\"%s\"", child->name, child->last_exit);
		child->callbacks.changed(child, false, child->context);
		return;
	}
	if (cl_monotonic() - child->started >= HEALTHY_AFTER)
		child->failures = 0;
	int64_t delay = cl_child_back_off(child->failures);
	child->failures++;
	child->restarts++;
	child->state = CL_CHILD_WAITING;
	cl_log(CL_LOG_ERROR, "child-ended", "child=%s how=\"%s\" restart_in_milliseconds=%lld", child->name,
	       child->last_exit, (long long)(delay / 1000));
	child->callbacks.changed(child, WIFSIGNALED(child->wait_status), child->context);
	if (child->state != CL_CHILD_WAITING) /* the callback decided otherwise */
		return;
	if (delay == 0)
		cl_child_start(child);
	else
		arm(child, delay);
}

static void on_timer(evutil_socket_t socket, short what, void *context)
{
	struct cl_child *child = context;
	(void)socket;
	(void)what;
	if (child->reaped) {
		finish(child);
	} else if (child->state == CL_CHILD_WAITING) {
		cl_child_start(child);
	} else if (child->pid) {
		cl_log(CL_LOG_WARNING, "child-does-not-stop", "child=%s pid=%d action=SIGKILL", child->name,
		       (int)child->pid);
		kill(child->pid, SIGKILL);
	}
}

void cl_child_init(struct cl_child *child)
{
	child->timer = event_new(child->base, -1, 0, on_timer, child);
	if (!child->timer)
		abort();
}

void cl_child_release(struct cl_child *child)
{
	if (child->pid && !child->reaped) {
		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
	}
	cl_channel_free(child->channel);
	child->channel = NULL;
	child->pid = 0;
	if (child->timer)
		event_free(child->timer);
	child->timer = NULL;
}

void cl_child_stop(struct cl_child *child)
{
	switch (child->state) {
	case CL_CHILD_STOPPED:
	case CL_CHILD_STOPPING:
		return;
	case CL_CHILD_WAITING:
		event_del(child->timer);
		child->state = CL_CHILD_STOPPED;
		child->callbacks.changed(child, false, child->context);
		return;
	default:
		break;
	}
	child->state = CL_CHILD_STOPPING;
	if (child->reaped)
		return;
	if (cl_child_send(child, CL_STR("{\"do\":\"stop\"}")))
		kill(child->pid, SIGTERM);
	arm(child, STOP_PATIENCE);
}

void cl_child_kill(struct cl_child *child)
{
	if (child->pid && !child->reaped)
		kill(child->pid, SIGKILL);
}

void cl_child_hurry(struct cl_child *child)
{
	child->failures = 0;
	if (child->state == CL_CHILD_WAITING)
		cl_child_start(child);
}

int cl_child_send(struct cl_child *child, struct cl_str message)
{
	if (!child->channel)
		return CL_E_CLOSED;
	return cl_channel_send(child->channel, CL_FRAME_CONTROL, 0, message, -1);
}

void cl_child_reaped(struct cl_child *child, int wait_status)
{
	child->reaped = true;
	child->wait_status = wait_status;
	if (child->channel)
		arm(child, LAST_WORDS_PATIENCE);
	else
		finish(child);
}
