/* log.h: one line an event to standard error, key=value. Never health information: log ids. */
#pragma once
#include "base/text.h"

enum cl_log_level { CL_LOG_DEBUG, CL_LOG_INFO, CL_LOG_WARNING, CL_LOG_ERROR };

/* `process` is the name shown on every line ("gateway/0", "org/riverside"); copied. */
void cl_log_start(const char *process, enum cl_log_level level);
/* cl_log(CL_LOG_INFO, "listening", "port=%d", 8443) writes
 * 2026-11-22T05:16:07.123Z info gateway/0 listening port=8443
 * One write() a line, at most 1,000 bytes, control characters escaped. Thread-safe. `detail` may be NULL. */
void cl_log(enum cl_log_level level, const char *event, const char *detail, ...) __attribute__((format(printf, 3, 4)));
void cl_log_set_level(enum cl_log_level level);
/* "debug", "info", "warning" or "error"; false for anything else. */
bool cl_log_level_of(struct cl_str name, enum cl_log_level *out);
