/* seat.h: what the supervisor keeps for one organization while its processes come and go: the listening socket, the
 * watch page, the memory of crashes, and the connection over which administrators' commands reach it. */
#pragma once
#include "supervisor/child.h"
#include "supervisor/watchdog.h"

struct cl_relay;
struct cl_stage;

/* How far a reload of the organization's plugins is. */
enum cl_seat_reload { CL_SEAT_AS_IT_IS, CL_SEAT_QUEUED, CL_SEAT_STAGING, CL_SEAT_SWAPPING };

struct cl_seat {
	struct cl_seat *next; /* of the supervisor's list, sorted by id */
	char id[48];
	char name[56]; /* "org/<id>" */
	char listen_text[16], watch_text[16];
	char socket_path[108];
	int listener, page_file;
	struct cl_watch *page;
	struct cl_child child;
	struct cl_watchdog watchdog;
	struct cl_watchdog_memory memory;
	struct cl_relay *relay;
	bool removed; /* no longer in the configuration: freed once stopped */
	bool killed_for_lua; /* the watchdog ended this process */
	enum cl_seat_reload reload;
	struct cl_stage *stage; /* while `reload` is CL_SEAT_STAGING */
	void *context; /* the supervisor */
};

/* Makes the socket <run>/<id>.sock (listening from now on) and the page; starts nothing. `callbacks` and `context`
 * are those of the child, whose `context` is the organization. */
int cl_seat_new(struct event_base *base, const char *id, const char *run_folder, const char *executable,
                const char *config, const struct cl_child_callbacks *callbacks, void *context, struct cl_seat **out,
                struct cl_err *e);
/* The process must have ended, or is killed. Removes the socket. */
void cl_seat_free(struct cl_seat *seat);
/* Before each start: a clean page with the quarantine on it. */
void cl_seat_prepare(struct cl_seat *seat);
/* After a crash: finds what ran, puts it in quarantine the second time, logs. */
void cl_seat_crashed(struct cl_seat *seat);
/* Every 50 ms: kills a process stuck in Lua, warns about one that waits. */
void cl_seat_watch(struct cl_seat *seat, int64_t lua_limit);
/* Forgets what was in quarantine, in the running process's page too. Returns how many entries. */
int cl_seat_forgive(struct cl_seat *seat);
