/* child.h: one process of the tree: forked and exec'ed, spoken to over a control channel, restarted with back-off. */
#pragma once
#include "base/json.h"
#include "wire/channel.h"
#include <sys/types.h>

enum cl_child_state {
	CL_CHILD_STOPPED, /* not started, or stopped on request */
	CL_CHILD_STARTING, /* runs, has not said "ready" */
	CL_CHILD_READY,
	CL_CHILD_WAITING, /* ended by itself; starts again when its back-off is over */
	CL_CHILD_STOPPING, /* was asked to stop */
};
/* "ready" and so on, for people. */
const char *cl_child_state_name(enum cl_child_state state);

#define CL_CHILD_FILES 3
#define CL_CHILD_ARGUMENTS 16

struct cl_child;

struct cl_child_callbacks {
	/* Just before each fork. May be NULL. */
	void (*starting)(struct cl_child *child, void *context);
	/* There is a process: its number is child->pid, and it can be sent messages. May be NULL. */
	void (*started)(struct cl_child *child, void *context);
	/* A CONTROL message other than "ready". `what` is its "do". */
	void (*control)(struct cl_child *child, struct cl_str what, const struct cl_json *message, void *context);
	/* State changed: ready, ended (child->last_exit says how), stopped. `crashed`: ended by a signal, unasked. A
	 * process that exits by itself (a failed COMMIT, a plugin that does not load) chose to, and blames nothing. */
	void (*changed)(struct cl_child *child, bool crashed, void *context);
};

struct cl_child {
	/* Set before cl_child_start; strings are borrowed. */
	struct event_base *base;
	const char *name; /* "org/riverside", as its log lines say */
	const char *executable;
	const char *
	        arguments[CL_CHILD_ARGUMENTS]; /* after the program's name; "--control-fd N" is added. NULL ends them */
	int files[CL_CHILD_FILES]; /* descriptors it inherits under the same numbers; -1 for none */
	struct cl_child_callbacks callbacks;
	void *context;

	/* To be read. */
	enum cl_child_state state;
	pid_t pid; /* 0 when there is no process */
	int64_t started; /* monotonic, of the process */
	int64_t ready_at; /* monotonic, 0 before */
	unsigned restarts; /* since the supervisor started */
	unsigned failures; /* in a row; forgotten after 2 s up */
	char last_exit[64]; /* "signal 11 (Segmentation fault)", "exit code 1"; empty before the first */

	/* Private. */
	struct cl_channel *channel;
	struct event *timer; /* next start, or SIGKILL of one that does not stop, or the end of its last words */
	bool reaped;
	int wait_status;
};

/* Prepares a zeroed child whose settings are filled in. */
void cl_child_init(struct cl_child *child);
/* Frees what cl_child_init and the process's channel hold. The process must have ended or is killed. */
void cl_child_release(struct cl_child *child);
void cl_child_start(struct cl_child *child);
/* Asks it to stop ({"do":"stop"}), kills it after 10 s; `changed` is called with CL_CHILD_STOPPED when it is over,
 * at once when nothing runs. */
void cl_child_stop(struct cl_child *child);
/* SIGKILL now; it is restarted as after a crash. */
void cl_child_kill(struct cl_child *child);
/* Starts at once when it waits for its back-off, and forgets past failures. */
void cl_child_hurry(struct cl_child *child);
/* Sends a CONTROL message (a JSON object). CL_E_CLOSED when there is no process to hear it. */
int cl_child_send(struct cl_child *child, struct cl_str message);
/* The supervisor's SIGCHLD handler found this child's end. */
void cl_child_reaped(struct cl_child *child, int wait_status);
/* How long to wait before the start that follows this many failures in a row, microseconds: 0, 100 ms, 200 ms ... 10
 * s. */
int64_t cl_child_back_off(unsigned failures);
