/* confine.h: locks an organization process in: its own folder, its inherited descriptors, nothing else (design §2). */
#pragma once
#include "base/error.h"

/* After this the process can read and write below `folder` and read time-zone data; it cannot open sockets, run programs,
 * trace or signal others. Call before threads start and after everything else was read. Where the kernel has no Landlock the
 * lack is logged and seccomp alone holds. */
int cl_confine(const char *folder, struct cl_err *e);
