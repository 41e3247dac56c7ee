/* spawn.c: see spawn.h. Always exec after fork: a copy of this process must not carry another's secrets (pitfalls
 * 8). */
#include "supervisor/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ARGUMENTS_MAXIMUM 24

static _Noreturn void become(const char *executable, const char *const *arguments, const int *files, size_t file_count,
                             int output, pid_t supervisor)
{
	static const int reset[] = {SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
	char *all[ARGUMENTS_MAXIMUM + 2];
	size_t count = 0;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != supervisor)
		_exit(0);
	setpgid(0, 0); /* Ctrl-C on the supervisor's terminal is the supervisor's to pass on, in its order */
	for (size_t i = 0; i < sizeof reset / sizeof *reset; i++)
		signal(reset[i], SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	int nothing = open("/dev/null", O_RDWR);
	if (nothing >= 0)
		dup2(nothing, STDIN_FILENO);
	if (output >= 0) {
		dup2(output, STDOUT_FILENO);
		dup2(output, STDERR_FILENO);
	}
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	for (size_t i = 0; i < file_count; i++)
		if (files[i] >= 0)
			fcntl(files[i], F_SETFD, 0);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	/* SQLite keeps what a savepoint changed in many blocks of 1 KiB; glibc's quick list has room for 7 of a size. */
	setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=512", 0);

	all[count++] = (char *)(uintptr_t) "careloop";
	for (; *arguments && count <= ARGUMENTS_MAXIMUM; arguments++)
		all[count++] = (char *)(uintptr_t)*arguments;
	all[count] = NULL;
	execv(executable, all);
	dprintf(STDERR_FILENO, "careloop: %s cannot be executed: %s\n", executable, strerror(errno));
	_exit(127);
}

pid_t cl_spawn(const char *executable, const char *const *arguments, const int *files, size_t file_count, int output)
{
	sigset_t all, before;
	/* No signal handler may run in the new process before it has taken them off. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t supervisor = getpid(), pid = fork();
	if (pid == 0)
		become(executable, arguments, files, file_count, output, supervisor);
	int problem = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = problem;
	return pid;
}
