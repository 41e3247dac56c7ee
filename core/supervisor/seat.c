/* seat.c: see seat.h. */
#include "supervisor/seat.h"
#include "base/hash.h"
#include "base/log.h"
#include "supervisor/relay.h"
#include "supervisor/stage.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512

static int make_listener(struct cl_seat *seat, struct cl_err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(seat->socket_path);
	if (length >= sizeof address.sun_path)
		return cl_fail(e, CL_E_INVALID,
		               "the socket path %s is longer than %zu bytes; choose a shorter data folder",
		               seat->socket_path, sizeof address.sun_path - 1);
	memcpy(address.sun_path, seat->socket_path, length);
	seat->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (seat->listener < 0)
		return cl_fail(e, CL_E_IO, "socket: %s", strerror(errno));
	unlink(seat->socket_path);
	if (bind(seat->listener, (const struct sockaddr *)&address, sizeof address) || chmod(seat->socket_path, 0600) ||
	    listen(seat->listener, BACKLOG))
		return cl_fail(e, CL_E_IO, "%s: %s", seat->socket_path, strerror(errno));
	return CL_OK;
}

static int make_page(struct cl_seat *seat, struct cl_err *e)
{
	seat->page_file = memfd_create(seat->name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (seat->page_file < 0 || ftruncate(seat->page_file, sizeof *seat->page) ||
	    fcntl(seat->page_file, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
		return cl_fail(e, CL_E_IO, "watch page: %s", strerror(errno));
	void *page = mmap(NULL, sizeof *seat->page, PROT_READ | PROT_WRITE, MAP_SHARED, seat->page_file, 0);
	if (page == MAP_FAILED)
		return cl_fail(e, CL_E_IO, "watch page: %s", strerror(errno));
	seat->page = page;
	return CL_OK;
}

int cl_seat_new(struct event_base *base, const char *id, const char *run_folder, const char *executable,
                const char *config, const struct cl_child_callbacks *callbacks, void *context, struct cl_seat **out,
                struct cl_err *e)
{
	struct cl_seat *seat = calloc(1, sizeof *seat);
	*out = NULL;
	if (!seat)
		abort();
	seat->listener = seat->page_file = -1;
	seat->context = context;
	snprintf(seat->id, sizeof seat->id, "%s", id);
	snprintf(seat->name, sizeof seat->name, "org/%s", seat->id);
	int length = snprintf(seat->socket_path, sizeof seat->socket_path, "%s/%s.sock", run_folder, id);
	int result = CL_OK;
	if ((size_t)length >= sizeof seat->socket_path)
		result = cl_fail(e, CL_E_INVALID,
		                 "the path of socket %s/%s.sock is longer than 107 bytes; choose a shorter "
		                 "data folder",
		                 run_folder, id);
	if (result == CL_OK)
		result = make_listener(seat, e);
	if (result == CL_OK)
		result = make_page(seat, e);
	if (result) {
		cl_seat_free(seat);
		return result;
	}
	snprintf(seat->listen_text, sizeof seat->listen_text, "%d", seat->listener);
	snprintf(seat->watch_text, sizeof seat->watch_text, "%d", seat->page_file);
	seat->child = (struct cl_child){
	        .base = base,
	        .name = seat->name,
	        .executable = executable,
	        .arguments = {"organization", "--config", config, "--id", seat->id, "--listen-fd", seat->listen_text,
	                      "--watch-fd", seat->watch_text},
	        .files = {seat->listener, seat->page_file, -1},
	        .callbacks = *callbacks,
	        .context = seat,
	};
	cl_child_init(&seat->child);
	seat->relay = cl_relay_new(base, seat->socket_path);
	*out = seat;
	return CL_OK;
}

void cl_seat_free(struct cl_seat *seat)
{
	if (!seat)
		return;
	cl_stage_abandon(seat->stage);
	cl_relay_free(seat->relay);
	cl_child_release(&seat->child);
	if (seat->page)
		munmap(seat->page, sizeof *seat->page);
	if (seat->page_file >= 0)
		close(seat->page_file);
	if (seat->listener >= 0) {
		unlink(seat->socket_path);
		close(seat->listener);
	}
	free(seat);
}

void cl_seat_prepare(struct cl_seat *seat)
{
	seat->watchdog = (struct cl_watchdog){0};
	seat->killed_for_lua = false;
	cl_watchdog_prepare(&seat->memory, seat->page);
}

void cl_seat_crashed(struct cl_seat *seat)
{
	static const char *const kinds[] = {"nothing", "request", "timer", "load"};
	struct cl_watchdog_scene scene;
	char subject[33];
	cl_watchdog_scene(seat->page, &scene);
	if (scene.kind == CL_WATCH_IDLE)
		return;
	cl_hex(scene.subject.bytes, sizeof scene.subject.bytes, subject);
	bool quarantined = cl_watchdog_crashed(&seat->memory, &scene) == CL_WATCHDOG_QUARANTINED;
	cl_log(CL_LOG_ERROR, quarantined ? "quarantined" : "crashed-while-running",
	       "organization=%s kind=%s subject=%s plugin=\"%s\" what=\"%s\" in_lua=%s", seat->id, kinds[scene.kind],
	       subject, scene.plugin, scene.what, scene.in_lua ? "yes" : "no");
}

void cl_seat_watch(struct cl_seat *seat, int64_t lua_limit)
{
	struct cl_watchdog_scene scene;
	if (seat->child.pid == 0 || seat->child.reaped || seat->killed_for_lua)
		return;
	switch (cl_watchdog_look(&seat->watchdog, seat->page, cl_monotonic(), lua_limit)) {
	case CL_WATCHDOG_STUCK:
		cl_watchdog_scene(seat->page, &scene);
		cl_log(CL_LOG_ERROR, "stuck-in-lua",
		       "organization=%s pid=%d plugin=\"%s\" what=\"%s\" limit_milliseconds=%lld "
		       "action=SIGKILL",
		       seat->id, (int)seat->child.pid, scene.plugin, scene.what, (long long)(lua_limit / 1000));
		seat->killed_for_lua = true;
		cl_child_kill(&seat->child);
		break;
	case CL_WATCHDOG_STALLED:
		cl_watchdog_scene(seat->page, &scene);
		cl_log(CL_LOG_WARNING, "stalled",
		       "organization=%s pid=%d what=\"%s\" for_seconds=%lld cause=\"outside Lua, "
		       "probably the disk\"",
		       seat->id, (int)seat->child.pid, scene.what, (long long)(seat->watchdog.waiting / CL_SECOND));
		break;
	default:
		break;
	}
}

int cl_seat_forgive(struct cl_seat *seat)
{
	atomic_store(&seat->page->quarantine_count, 0);
	memset(seat->page->quarantined_plugin, 0, sizeof seat->page->quarantined_plugin);
	return cl_watchdog_forgive(&seat->memory);
}
