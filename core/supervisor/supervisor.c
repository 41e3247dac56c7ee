/* supervisor.c: options, data folder, signals, timers, the loop. */
#include "supervisor/supervisor.h"
#include "base/log.h"
#include "supervisor/folder.h"
#include "supervisor/listen.h"
#include "supervisor/notify.h"
#include "supervisor/operations.h"
#include "supervisor/reload.h"
#include "supervisor/tree.h"
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define WATCH_MICROSECONDS 50000

static void on_stop_signal(evutil_socket_t signal_number, short what, void *context)
{
	(void)what;
	cl_log(CL_LOG_INFO, "signal", "number=%d", (int)signal_number);
	cl_tree_stop(context);
}

static void on_hang_up(evutil_socket_t signal_number, short what, void *context)
{
	(void)signal_number;
	(void)what;
	cl_reload_begin(context, NULL, NULL);
}

static void on_child_signal(evutil_socket_t signal_number, short what, void *context)
{
	(void)signal_number;
	(void)what;
	cl_tree_reap(context);
}

static void on_watch(evutil_socket_t socket, short what, void *context)
{
	(void)socket;
	(void)what;
	cl_tree_watch(context);
}

static void on_second(evutil_socket_t socket, short what, void *context)
{
	struct cl_supervisor *supervisor = context;
	struct cl_err e = {0};
	(void)socket;
	(void)what;
	if (cl_heads_sync(supervisor->heads, &e))
		cl_log(CL_LOG_ERROR, "audit-heads-not-durable", "error=\"%s\"", e.message);
}

static void on_alive(evutil_socket_t socket, short what, void *context)
{
	(void)socket;
	(void)what;
	(void)context;
	cl_notify("WATCHDOG=1");
}

static void on_command(struct cl_admin_call *call, void *context)
{
	cl_operations_run(context, call);
}

enum timers { TIMER_WATCH, TIMER_SECOND, TIMER_ALIVE, TIMERS };
static const int handled_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
#define SIGNALS (sizeof handled_signals / sizeof *handled_signals)

static struct event *repeat(struct cl_supervisor *supervisor, int64_t microseconds, event_callback_fn run)
{
	struct event *event = event_new(supervisor->base, -1, EV_PERSIST, run, supervisor);
	struct timeval interval = {microseconds / CL_SECOND, microseconds % CL_SECOND};
	if (!event || event_add(event, &interval))
		abort();
	return event;
}

static struct event *on_signal(struct cl_supervisor *supervisor, int number)
{
	event_callback_fn run = number == SIGHUP ? on_hang_up : number == SIGCHLD ? on_child_signal : on_stop_signal;
	struct event *event = evsignal_new(supervisor->base, number, run, supervisor);
	if (!event || event_add(event, NULL))
		abort();
	return event;
}

/* Health data must not land in core files; gateways need many descriptors. */
static void set_limits(void)
{
	struct rlimit files;
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	umask(077);
	signal(SIGPIPE, SIG_IGN);
}

static int open_records(struct cl_supervisor *supervisor, struct cl_err *e)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/admin.log", supervisor->data);
	int result = cl_journal_open(path, &supervisor->journal, e);
	if (result)
		return result;
	snprintf(path, sizeof path, "%s/audit-heads.log", supervisor->data);
	result = cl_heads_open(path, &supervisor->heads, e);
	if (result != CL_E_CORRUPT)
		return result;
	snprintf(supervisor->heads_problem, sizeof supervisor->heads_problem, "%.100s: %.140s", e->where, e->message);
	cl_log(CL_LOG_ERROR, "audit-heads-broken", "where=\"%s\" error=\"%s\"", e->where, e->message);
	*e = (struct cl_err){0};
	return CL_OK;
}

static int serve(struct cl_supervisor *supervisor, struct cl_err *e)
{
	char path[PATH_MAX];
	struct event *timers[TIMERS] = {NULL}, *signals[SIGNALS] = {NULL};
	int lock_file = -1;
	int result = cl_folder_take(supervisor->data, supervisor->run_folder, &lock_file, e);
	if (result)
		goto done;
	result = open_records(supervisor, e);
	if (result)
		goto done;
	snprintf(path, sizeof path, "%s/admin.sock", supervisor->run_folder);
	result = cl_admin_open(supervisor->base, path, supervisor->journal, on_command, supervisor, &supervisor->admin,
	                       e);
	if (result)
		goto done;
	for (size_t i = 0; i < SIGNALS; i++)
		signals[i] = on_signal(supervisor, handled_signals[i]);
	timers[TIMER_WATCH] = repeat(supervisor, WATCH_MICROSECONDS, on_watch);
	timers[TIMER_SECOND] = repeat(supervisor, CL_SECOND, on_second);
	if (cl_notify_watchdog_interval())
		timers[TIMER_ALIVE] = repeat(supervisor, cl_notify_watchdog_interval(), on_alive);
	result = cl_listen_check(supervisor->settings.tree, e);
	if (result)
		goto done;
	result = cl_tree_start(supervisor, e);
	if (result == CL_OK) {
		event_base_dispatch(supervisor->base);
		cl_log(CL_LOG_INFO, "stopped", NULL);
	}
done:
	cl_reload_abandon(supervisor);
	cl_operations_abandon(supervisor);
	cl_admin_close(supervisor->admin);
	cl_tree_free(supervisor);
	cl_heads_close(supervisor->heads);
	cl_journal_close(supervisor->journal);
	for (size_t i = 0; i < TIMERS; i++)
		if (timers[i])
			event_free(timers[i]);
	for (size_t i = 0; i < SIGNALS; i++)
		if (signals[i])
			event_free(signals[i]);
	if (lock_file >= 0)
		close(lock_file);
	return result;
}

static int usage(FILE *out, int code)
{
	fprintf(out, "usage: careloop serve --config FILE\n"
	             "Starts the server in the foreground. Logs go to standard error.\n"
	             "  --config FILE      the configuration, config/careloop.lua\n"
	             "  --executable FILE  run FILE instead of this program for the other processes (tests)\n");
	return code;
}

int cl_supervisor_main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"executable", required_argument, NULL, 'x'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {NULL, 0, NULL, 0}};
	char executable[PATH_MAX] = "";
	const char *config = NULL;
	struct cl_err e = {0};
	int option;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (option == 'c')
			config = optarg;
		else if (option == 'x' && realpath(optarg, executable))
			continue;
		else
			return usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
	}
	if (!config || optind < argc)
		return usage(stderr, 2);
	if (!executable[0] && !realpath("/proc/self/exe", executable)) {
		fprintf(stderr, "careloop: /proc/self/exe cannot be read; is /proc mounted?\n");
		return 1;
	}
	struct cl_supervisor supervisor = {.executable = executable, .arena = cl_arena_new(0)};
	cl_log_start("supervisor", CL_LOG_INFO);
	int result = cl_server_settings_load(supervisor.arena, config, &supervisor.settings, NULL, &e);
	if (result) {
		fprintf(stderr, "careloop: %s%s%s\n", e.where, e.where[0] ? ": " : "", e.message);
		cl_arena_free(supervisor.arena);
		return 1;
	}
	cl_log_set_level(supervisor.settings.log);
	set_limits();
	char *config_kept = strdup(supervisor.settings.file), *data_kept = strdup(supervisor.settings.data);
	supervisor.base = event_base_new();
	if (!config_kept || !data_kept || !supervisor.base)
		abort();
	supervisor.config = config_kept;
	supervisor.data = data_kept;
	if (snprintf(supervisor.run_folder, sizeof supervisor.run_folder, "%s/run", data_kept) >=
	    (int)sizeof supervisor.run_folder)
		result = cl_fail(&e, CL_E_INVALID, "the path of the data folder is too long");
	else
		result = serve(&supervisor, &e);
	if (result)
		fprintf(stderr, "careloop: %s%s%s\n", e.where, e.where[0] ? ": " : "", e.message);
	event_base_free(supervisor.base);
	cl_arena_free(supervisor.arena);
	free(config_kept);
	free(data_kept);
	return result ? 1 : 0;
}
