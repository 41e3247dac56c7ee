/* budget.h: how long Lua may run: CPU time of the thread, measured by a timer whose signal installs a hook (a permanent count
 * hook would halve the speed of every call; wall-clock time would punish an organization for its neighbours: pitfalls 10). */
#pragma once
#include "base/error.h"
#include <lua.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct cl_budget {
	lua_State *state;
	lua_Hook hook; /* installed when time is up; must ask cl_budget_is_over first */
	timer_t timer;
	pid_t thread; /* that `timer` watches; 0 = there is no timer yet */
	int64_t started; /* microseconds of the thread's CPU time when the call began */
	int64_t limit; /* microseconds that it may take */
	uint32_t call; /* counts outermost calls */
	volatile sig_atomic_t running;
	volatile sig_atomic_t signalled; /* the timer's signal came during this call */
};

/* The hook runs in the Lua state, between two instructions. Nothing is created yet. */
void cl_budget_init(struct cl_budget *budget, lua_State *state, lua_Hook hook);
void cl_budget_close(struct cl_budget *budget);
/* Around each outermost protected call, on the thread that makes it. Fails only when the system has no timers left. */
int cl_budget_begin(struct cl_budget *budget, int64_t limit, struct cl_err *e);
void cl_budget_end(struct cl_budget *budget);
/* Has the call that runs now really used its time? A signal that came late, for the call before, says nothing. Sets the timer
 * again when it hasn't. */
bool cl_budget_is_over(struct cl_budget *budget);
/* Cheap: for loops in C, which no hook interrupts. */
static inline bool cl_budget_poll(struct cl_budget *budget)
{
	return budget->signalled && cl_budget_is_over(budget);
}
/* Microseconds used by the call that runs now. */
int64_t cl_budget_used(const struct cl_budget *budget);
