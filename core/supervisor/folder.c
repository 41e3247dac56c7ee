/* folder.c: see folder.h. */
#include "supervisor/folder.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int make_folder(const char *path, struct cl_err *e)
{
	struct stat status;
	if (mkdir(path, 0700) && errno != EEXIST)
		return cl_fail(e, CL_E_IO, "the folder %s cannot be made: %s", path, strerror(errno));
	if (stat(path, &status) || !S_ISDIR(status.st_mode))
		return cl_fail(e, CL_E_IO, "%s is no folder", path);
	if (status.st_uid != geteuid())
		return cl_fail(e, CL_E_FORBIDDEN, "the folder %s belongs to another user (uid %u)", path,
		               (unsigned)status.st_uid);
	if ((status.st_mode & 077) && chmod(path, 0700))
		return cl_fail(e, CL_E_IO, "the folder %s cannot be made private: %s", path, strerror(errno));
	return CL_OK;
}

int cl_folder_take(const char *data, const char *run, int *lock_file, struct cl_err *e)
{
	char path[PATH_MAX], owner[32] = "";
	*lock_file = -1;
	int result = make_folder(data, e);
	if (result == CL_OK)
		result = make_folder(run, e);
	if (result)
		return result;
	if (snprintf(path, sizeof path, "%s/careloop.lock", data) >= (int)sizeof path)
		return cl_fail(e, CL_E_INVALID, "the path of the data folder is too long");
	int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		return cl_fail(e, CL_E_IO, "%s: %s", path, strerror(errno));
	if (flock(file, LOCK_EX | LOCK_NB)) {
		ssize_t n = read(file, owner, sizeof owner - 1);
		close(file);
		return cl_fail(e, CL_E_BUSY, "the data folder %s is in use by another supervisor (process %ld)", data,
		               n > 0 ? strtol(owner, NULL, 10) : 0L);
	}
	int length = snprintf(owner, sizeof owner, "%d\n", (int)getpid());
	if (ftruncate(file, 0) || write(file, owner, (size_t)length) != length) {
		result = cl_fail(e, CL_E_IO, "%s: %s", path, strerror(errno));
		close(file);
		return result;
	}
	*lock_file = file;
	return CL_OK;
}
