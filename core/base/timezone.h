/* timezone.h: local time of any zone, read from the system's TZif files (libc knows only one zone a process). */
#pragma once
#include "base/clock.h"
#include "base/date.h"
#include "base/error.h"

struct cl_zone;

/* IANA name such as "America/Chicago"; names with "..", a leading "/" or other characters are refused. Immutable once
 * opened, so it may be shared by threads. Free with cl_zone_free. */
int cl_zone_open(const char *name, struct cl_zone **out, struct cl_err *e);
/* The same from the bytes of a TZif file (version 2 or later, without leap seconds), which are copied. CL_E_CORRUPT
 * when they are not one. */
int cl_zone_parse(const char *name, struct cl_str bytes, struct cl_zone **out, struct cl_err *e);
void cl_zone_free(struct cl_zone *zone);
const char *cl_zone_name(const struct cl_zone *zone);
/* Seconds east of UTC at that instant. The POSIX rule at the file's end is applied beyond its last transition. */
int32_t cl_zone_offset(const struct cl_zone *zone, cl_instant instant);

struct cl_local {
	struct cl_date date;
	int hour, minute, second;
	int weekday; /* 0 = Monday */
};
struct cl_local cl_zone_local(const struct cl_zone *zone, cl_instant instant);
/* The instant of a local time. In a gap (spring) the time moves forward by the gap's length; in an overlap (autumn) the
 * first of the two is taken. */
cl_instant cl_zone_instant(const struct cl_zone *zone, struct cl_date date, int hour, int minute, int second);
/* The version of the system's zone data ("2024a"), or "unknown". Recorded with events. Read once, at the first call:
 * call it (and open zones) before a sandbox closes the file system. */
const char *cl_zone_data_version(void);
/* "2026-11-22T00:16:07-05:00" in the zone. */
struct cl_str cl_zone_text(struct cl_arena *arena, const struct cl_zone *zone, cl_instant instant);
