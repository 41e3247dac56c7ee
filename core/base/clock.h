/* clock.h: time is an argument. The only place that asks the system what time it is. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Microseconds since 1970-01-01T00:00:00Z, leap seconds ignored. */
typedef int64_t cl_instant;

#define CL_SECOND ((cl_instant)1000000)
#define CL_MINUTE (60 * CL_SECOND)
#define CL_HOUR (60 * CL_MINUTE)
#define CL_DAY (24 * CL_HOUR)

/* Real, or virtual: then `now` is what tests set. */
struct cl_clock {
	bool is_virtual;
	cl_instant now; /* virtual clocks only */
};

cl_instant cl_clock_now(const struct cl_clock *clock);
/* Virtual clocks only; aborts when it would run backwards. */
void cl_clock_set(struct cl_clock *clock, cl_instant now);
/* Monotonic microseconds for intervals and deadlines; unrelated to the date. */
int64_t cl_monotonic(void);
/* CPU time of the calling thread, microseconds. */
int64_t cl_thread_cpu(void);
