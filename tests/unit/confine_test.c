/* confine_test.c: what a locked-in organization process can and cannot do (design §2, pitfalls 8). */
#include "org/engine/confine.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void *thread_body(void *argument)
{
	*(int *)argument = 1;
	return NULL;
}

/* Each returns 0 when the process behaves as it must; run in a child, confined to `folder`. */
static int own_folder_works(const char *folder)
{
	char path[200];
	snprintf(path, sizeof path, "%s/file", folder);
	int fd = open(path, O_CREAT | O_RDWR, 0600);
	int bad = fd < 0 || write(fd, "x", 1) != 1 || fsync(fd);
	close(fd);
	return bad || unlink(path);
}

static int other_files_are_closed(const char *folder)
{
	(void)folder;
	return open("/etc/passwd", O_RDONLY) >= 0 || open("/tmp/careloop-escape", O_CREAT | O_WRONLY, 0600) >= 0 ||
	       open("/proc/self/mem", O_RDWR) >= 0;
}

static int zones_are_readable(const char *folder)
{
	(void)folder;
	return open("/usr/share/zoneinfo/Europe/Berlin", O_RDONLY) < 0;
}

static int threads_start(const char *folder)
{
	pthread_t thread;
	int ran = 0;
	(void)folder;
	return pthread_create(&thread, NULL, thread_body, &ran) || pthread_join(thread, NULL) || !ran;
}

#ifndef CL_SANITIZE
static int no_sockets(const char *folder)
{
	(void)folder;
	return socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static int no_programs(const char *folder)
{
	char *arguments[] = {(char[]){"/bin/true"}, NULL};
	(void)folder;
	execv(arguments[0], arguments); /* returns only when refused */
	_exit(errno == EPERM || errno == EACCES ? 7 : 8);
}

static int no_tracing_no_killing(const char *folder)
{
	(void)folder;
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 || kill(getppid(), 0) == 0;
}
#endif

static int run_confined(int (*body)(const char *))
{
	char folder[] = "/tmp/careloop-confine-XXXXXX";
	int status;
	assert_non_null(mkdtemp(folder));
	pid_t child = fork();
	if (child == 0) {
		struct cl_err e = {0};
		if (cl_confine(folder, &e))
			_exit(100);
		_exit(body(folder) ? 1 : 0);
	}
	waitpid(child, &status, 0);
	rmdir(folder);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void confined(void **state)
{
	(void)state;
	assert_int_equal(run_confined(own_folder_works), 0);
	assert_int_equal(run_confined(other_files_are_closed), 0);
	assert_int_equal(run_confined(zones_are_readable), 0);
	assert_int_equal(run_confined(threads_start), 0);
#ifndef CL_SANITIZE
	assert_int_equal(run_confined(no_sockets), 0);
	assert_int_equal(run_confined(no_tracing_no_killing), 0);
	assert_int_equal(run_confined(no_programs), 7);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(confined)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
