/* notify.h: tells systemd how the service is (sd_notify by hand: one datagram). */
#pragma once
#include <stdint.h>

/* Sends "READY=1", "STATUS=...", "STOPPING=1", several separated by newlines. Nothing happens without NOTIFY_SOCKET. */
void cl_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* RELOADING=1 with the monotonic time that systemd wants beside it. */
void cl_notify_reloading(void);
/* Microseconds between two WATCHDOG=1 (half of what systemd allows), or 0 when it does not watch this process. */
int64_t cl_notify_watchdog_interval(void);
