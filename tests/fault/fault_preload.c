/* fault_preload.c: LD_PRELOAD library that makes one operation on files under a folder fail (reliability.md sections 1.1 and
 * 9). Environment:
 *   CL_FAULT_FOLDER    absolute path; only files under it count
 *   CL_FAULT_MODE      write_eio: the write fails            write_short: half of it is written, then ENOSPC
 *                      write_full: ENOSPC from here on       write_exit: half of it is written, then the process ends (99)
 *                      sync_eio: a sync fails                sync_exit: the process ends instead of syncing
 *                      truncate_eio: a truncation fails
 *   CL_FAULT_POSITION  which of these operations, from 1
 *   CL_FAULT_COUNTS    file that gets "writes syncs truncations" at exit
 *   CL_FAULT_CONTROL   instead of mode and position: a file of at least sizeof(struct control) bytes that a test of a running
 *                      server maps too, so that faults begin and end while it runs; its counters are those of all processes.
 *                      It is mapped before the process locks itself in and needs no system call afterwards. With
 *                      `clock_offset` the wall clock is another, for timers that nobody wants to wait for. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* tests/fault/fault.py knows this layout. */
struct control {
	char mode[32];
	int64_t position, writes, syncs, truncations;
	int64_t clock_offset; /* microseconds */
};

static struct control own;
static struct {
	const char *folder, *counts;
	struct control *control;
	ssize_t (*write)(int, const void *, size_t);
	ssize_t (*pwrite)(int, const void *, size_t, off_t);
	int (*fsync)(int), (*fdatasync)(int), (*ftruncate)(int, off_t);
	int (*clock_gettime)(clockid_t, struct timespec *);
} fault;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void report(void)
{
	FILE *file = fault.counts ? fopen(fault.counts, "w") : NULL;
	if (!file)
		return;
	fprintf(file, "%lld %lld %lld\n", (long long)fault.control->writes, (long long)fault.control->syncs,
	        (long long)fault.control->truncations);
	fclose(file);
}

static void *mapped(const char *path)
{
	int file = open(path, O_RDWR | O_CLOEXEC);
	void *page =
	        file < 0 ? MAP_FAILED : mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (page == MAP_FAILED) {
		perror(path);
		abort();
	}
	close(file);
	return page;
}

static void start(void)
{
	const char *position = getenv("CL_FAULT_POSITION"), *mode = getenv("CL_FAULT_MODE"),
	           *control = getenv("CL_FAULT_CONTROL");
	*(void **)&fault.write = dlsym(RTLD_NEXT, "write");
	*(void **)&fault.pwrite = dlsym(RTLD_NEXT, "pwrite64");
	*(void **)&fault.fsync = dlsym(RTLD_NEXT, "fsync");
	*(void **)&fault.fdatasync = dlsym(RTLD_NEXT, "fdatasync");
	*(void **)&fault.ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
	*(void **)&fault.clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	fault.folder = getenv("CL_FAULT_FOLDER");
	fault.counts = getenv("CL_FAULT_COUNTS");
	fault.control = control ? mapped(control) : &own;
	if (!control) {
		snprintf(own.mode, sizeof(own.mode), "%s", mode ? mode : "");
		own.position = position ? atol(position) : 0;
	}
	atexit(report);
}

/* Before the process locks itself in, not at its first write. */
__attribute__((constructor)) static void begin(void)
{
	pthread_once(&once, start);
}

static bool counts(int file)
{
	char link[64], path[1024];
	int kept = errno;
	pthread_once(&once, start);
	if (!fault.folder)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	size_t folder = strlen(fault.folder);
	errno = kept;
	/* The memory-mapped index of the log is rebuilt at will: it is no durable file. */
	return n > (ssize_t)folder && strncmp(path, fault.folder, folder) == 0 && path[folder] == '/' &&
	       !(n > 4 && memcmp(path + n - 4, "-shm", 4) == 0);
}

static bool is_mode(const char *mode)
{
	return strcmp(fault.control->mode, mode) == 0;
}

static int64_t position(void)
{
	return __atomic_load_n(&fault.control->position, __ATOMIC_SEQ_CST);
}

/* How many bytes may be written; -1 with errno set for none. */
static ssize_t allowed(int file, size_t n, bool *ends)
{
	*ends = false;
	if (!counts(file))
		return (ssize_t)n;
	int64_t number = __atomic_add_fetch(&fault.control->writes, 1, __ATOMIC_SEQ_CST);
	if (is_mode("write_full") && position() && number >= position()) {
		errno = ENOSPC;
		return -1;
	}
	if (number != position())
		return (ssize_t)n;
	if (is_mode("write_eio")) {
		errno = EIO;
		return -1;
	}
	*ends = is_mode("write_exit");
	return *ends || is_mode("write_short") ? (ssize_t)(n / 2) : (ssize_t)n;
}

static ssize_t positioned(int file, const void *bytes, size_t n, off_t offset)
{
	bool ends;
	ssize_t some = allowed(file, n, &ends);
	if (some < 0)
		return -1;
	ssize_t written = fault.pwrite(file, bytes, (size_t)some, offset);
	if (ends)
		_exit(99);
	return written;
}

ssize_t write(int file, const void *bytes, size_t n);
ssize_t write(int file, const void *bytes, size_t n)
{
	bool ends;
	ssize_t some = allowed(file, n, &ends);
	if (some < 0)
		return -1;
	ssize_t written = fault.write(file, bytes, (size_t)some);
	if (ends)
		_exit(99);
	return written;
}

ssize_t pwrite(int file, const void *bytes, size_t n, off_t offset);
ssize_t pwrite(int file, const void *bytes, size_t n, off_t offset)
{
	return positioned(file, bytes, n, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t n, off_t offset);
ssize_t pwrite64(int file, const void *bytes, size_t n, off_t offset)
{
	return positioned(file, bytes, n, offset);
}

static bool sync_fails(int file)
{
	if (!counts(file))
		return false;
	if (__atomic_add_fetch(&fault.control->syncs, 1, __ATOMIC_SEQ_CST) != position())
		return false;
	if (is_mode("sync_exit"))
		_exit(99);
	if (!is_mode("sync_eio"))
		return false;
	errno = EIO;
	return true;
}

int fsync(int file);
int fsync(int file)
{
	return sync_fails(file) ? -1 : fault.fsync(file);
}

int fdatasync(int file);
int fdatasync(int file)
{
	return sync_fails(file) ? -1 : fault.fdatasync(file);
}

static int truncated(int file, off_t size)
{
	if (counts(file) && __atomic_add_fetch(&fault.control->truncations, 1, __ATOMIC_SEQ_CST) == position() &&
	    is_mode("truncate_eio")) {
		errno = EIO;
		return -1;
	}
	return fault.ftruncate(file, size);
}

int ftruncate(int file, off_t size);
int ftruncate(int file, off_t size)
{
	return truncated(file, size);
}

int ftruncate64(int file, off_t size);
int ftruncate64(int file, off_t size)
{
	return truncated(file, size);
}

int clock_gettime(clockid_t which, struct timespec *out);
int clock_gettime(clockid_t which, struct timespec *out)
{
	pthread_once(&once, start);
	int result = fault.clock_gettime(which, out);
	int64_t offset = __atomic_load_n(&fault.control->clock_offset, __ATOMIC_SEQ_CST);
	if (result == 0 && which == CLOCK_REALTIME && offset) {
		int64_t nanoseconds = out->tv_nsec + offset % 1000000 * 1000;
		out->tv_sec += (time_t)(offset / 1000000 + nanoseconds / 1000000000);
		out->tv_nsec = (long)(nanoseconds % 1000000000);
	}
	return result;
}
