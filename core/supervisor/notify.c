/* notify.c: the datagram protocol of sd_notify(3). */
#include "supervisor/notify.h"
#include "base/clock.h"
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

void cl_notify(const char *format, ...)
{
	char text[512];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof address.sun_path)
		return;
	memcpy(address.sun_path, path, strlen(path) + 1);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + (path[0] == '/'));
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	va_list arguments;
	va_start(arguments, format);
	int length = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (length <= 0)
		return;
	size_t n = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
	int file = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (file < 0)
		return;
	/* A busy service manager is waited for, but not long: organizations matter more. */
	setsockopt(file, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){0, 500000}, sizeof(struct timeval));
	sendto(file, text, n, MSG_NOSIGNAL, (const struct sockaddr *)&address, size);
	close(file);
}

void cl_notify_reloading(void)
{
	cl_notify("RELOADING=1\nMONOTONIC_USEC=%lld", (long long)cl_monotonic());
}

int64_t cl_notify_watchdog_interval(void)
{
	const char *allowed = getenv("WATCHDOG_USEC"), *process = getenv("WATCHDOG_PID");
	if (!allowed || (process && strtol(process, NULL, 10) != getpid()))
		return 0;
	long long microseconds = strtoll(allowed, NULL, 10);
	return microseconds > 0 ? microseconds / 2 : 0;
}
