/* folder.h: the data folder of one server: made if absent, private, and held by one supervisor at a time. */
#pragma once
#include "base/error.h"

/* Makes `data` and `run` (both 0700) and locks <data>/careloop.lock. *lock_file stays open as long as the lock is
 * wanted. CL_E_BUSY when another supervisor has it; the message says its process id. */
int cl_folder_take(const char *data, const char *run, int *lock_file, struct cl_err *e);
