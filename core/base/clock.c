/* clock.c: the system's clocks, and the one that tests set. */
#include "base/clock.h"
#include "base/error.h"
#include <stddef.h>
#include <time.h>

static int64_t read_clock(clockid_t which)
{
	struct timespec time;
	if (clock_gettime(which, &time) != 0)
		cl_die("the system's clock cannot be read");
	return (int64_t)time.tv_sec * CL_SECOND + time.tv_nsec / 1000;
}

cl_instant cl_clock_now(const struct cl_clock *clock)
{
	/* Atomic: a test may set the clock while another thread of the organization's process reads it. */
	if (clock && clock->is_virtual)
		return __atomic_load_n(&clock->now, __ATOMIC_ACQUIRE);
	return read_clock(CLOCK_REALTIME);
}

void cl_clock_set(struct cl_clock *clock, cl_instant now)
{
	if (!clock->is_virtual)
		cl_die("a real clock cannot be set");
	if (now < clock->now)
		cl_die("a virtual clock cannot run backwards");
	__atomic_store_n(&clock->now, now, __ATOMIC_RELEASE);
}

int64_t cl_monotonic(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t cl_thread_cpu(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}
