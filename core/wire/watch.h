/* watch.h: a page of memory that an organization process shares with the supervisor. It says what runs, so that a process
 * stuck in Lua can be told from one that waits for the disk, and what crashed it can be quarantined (pitfalls 9). */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#define CL_WATCH_QUARANTINE 32

enum cl_watch_kind { CL_WATCH_IDLE = 0, CL_WATCH_REQUEST, CL_WATCH_TIMER, CL_WATCH_LOAD };

/* Hash of the thing that runs: first 16 bytes of SHA-256 over the request's id, or the timer's name. */
struct cl_watch_subject {
	uint8_t bytes[16];
};

struct cl_watch {
	/* Written by the organization's writer thread. */
	_Atomic uint32_t kind; /* enum cl_watch_kind; set last when work begins, first when it ends */
	_Atomic int64_t lua_since; /* cl_monotonic() when the current Lua call began; 0 outside Lua */
	_Atomic uint32_t lua_call; /* counts Lua calls, so that the supervisor does not blame the next one */
	_Atomic uint64_t ready; /* 1 when the process serves */
	_Atomic uint64_t ticks; /* commits so far: a stalled disk shows as kind != 0 with lua_since == 0 */
	struct cl_watch_subject subject;
	char plugin[64]; /* the plugin whose Lua runs; NUL-terminated */
	char what[128]; /* for people: "timer referral.overdue", "POST /fhir/Task"; no ids of patients */
	/* Written by the supervisor before it starts the process again. */
	_Atomic uint32_t quarantine_count;
	struct cl_watch_subject quarantine[CL_WATCH_QUARANTINE];
	char quarantined_plugin[4][64]; /* plugins that must not be loaded; empty strings otherwise */
};
