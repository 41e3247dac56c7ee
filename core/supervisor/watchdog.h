/* watchdog.h: reads an organization's watch page: is it stuck in Lua, waiting for the disk, and what crashed it?
 * Decides only; killing, logging and restarting is its caller's. */
#pragma once
#include "wire/watch.h"
#include <stdbool.h>

enum cl_watchdog_verdict {
	CL_WATCHDOG_FINE,
	CL_WATCHDOG_STALLED, /* works on something outside Lua and nothing was committed for 5 s: the disk, probably */
	CL_WATCHDOG_STUCK, /* one Lua call took longer than the limit */
};

/* What was seen so far of the running process. Zero it when the process is started. */
struct cl_watchdog {
	int64_t looked; /* monotonic time of the last look */
	uint32_t call; /* the Lua call that was seen then */
	int64_t in_call; /* time it was watched for: time that nobody ran (suspended machine) does not count */
	uint64_t ticks;
	int64_t waiting; /* time watched with work but without Lua and without a commit */
	int64_t warned; /* when a stall was last reported */
};

/* `now` is cl_monotonic(), `limit` microseconds. STALLED is returned at most once in 30 s. */
enum cl_watchdog_verdict cl_watchdog_look(struct cl_watchdog *watchdog, const struct cl_watch *page, int64_t now,
                                          int64_t limit);

/* What the page says about the moment a process ended. The page is written by a process that may have been corrupted:
 * everything is copied with bounds. */
struct cl_watchdog_scene {
	enum cl_watch_kind kind; /* CL_WATCH_IDLE: nothing is to blame */
	struct cl_watch_subject subject;
	bool in_lua;
	char plugin[64];
	char what[128];
};
void cl_watchdog_scene(const struct cl_watch *page, struct cl_watchdog_scene *out);

#define CL_WATCHDOG_REMEMBERED 64
#define CL_WATCHDOG_PLUGINS 4

/* What crashed an organization's processes, kept outside of them. Lost when the supervisor ends: then it takes two more
 * crashes. */
struct cl_watchdog_memory {
	struct cl_watchdog_scene suspects[CL_WATCHDOG_REMEMBERED]; /* crashed once; the oldest is overwritten */
	int suspect_next;
	struct cl_watchdog_scene quarantined[CL_WATCH_QUARANTINE];
	int quarantined_count;
	char plugins[CL_WATCHDOG_PLUGINS][64];
	char suspect_plugins[CL_WATCHDOG_PLUGINS][64]; /* crashed once while loading */
	int suspect_plugin_next;
};

enum cl_watchdog_judgement { CL_WATCHDOG_NOTHING, CL_WATCHDOG_SUSPECT, CL_WATCHDOG_QUARANTINED };

/* Notes a crash; the second of the same subject (or of loading the same plugin) puts it in quarantine. When
 * quarantine is full its oldest entry is let go. */
enum cl_watchdog_judgement cl_watchdog_crashed(struct cl_watchdog_memory *memory,
                                               const struct cl_watchdog_scene *scene);
/* Everything is forgiven. Returns how many entries were in quarantine. */
int cl_watchdog_forgive(struct cl_watchdog_memory *memory);
/* Makes the page ready for a new process: nothing runs, and the quarantine as remembered here, whatever the old process
 * wrote there. */
void cl_watchdog_prepare(const struct cl_watchdog_memory *memory, struct cl_watch *page);
