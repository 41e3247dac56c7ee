/* backup.c: a copy of the file while it is in use. */
#include "org/store/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGES_A_STEP 1024

static int file_error(struct cl_err *e, const char *doing, const char *path)
{
	int code = errno == ENOSPC || errno == EDQUOT ? CL_E_FULL : CL_E_IO;
	return cl_fail(e, code, "%s %s: %s", doing, path, strerror(errno));
}

static int sync_path(const char *path, int flags)
{
	int file = open(path, flags | O_CLOEXEC);
	if (file < 0)
		return -1;
	int result = fsync(file);
	close(file);
	return result;
}

/* The copy gets its name when it is whole and synced. */
static int publish(const char *part, const char *path, struct cl_err *e)
{
	char *folder = strdup(path);
	if (!folder)
		cl_die("no memory for a path");
	char *slash = strrchr(folder, '/');
	int code = 0;

	if (sync_path(part, O_RDONLY) != 0)
		code = file_error(e, "cannot sync", part);
	else if (rename(part, path) != 0)
		code = file_error(e, "cannot rename to", path);
	else if (slash) {
		slash[slash == folder ? 1 : 0] = 0;
		if (sync_path(folder, O_RDONLY | O_DIRECTORY) != 0)
			code = file_error(e, "cannot sync", folder);
	}
	free(folder);
	return code;
}

static int copy_pages(struct cl_store *store, sqlite3 *target, struct cl_err *e)
{
	int code = 0, result;
	sqlite3_backup *backup = sqlite3_backup_init(target, "main", store->db, "main");
	if (!backup)
		return cl_fail(e, CL_E_IO, "cannot start a backup: %s", sqlite3_errmsg(target));
	do {
		result = sqlite3_backup_step(backup, PAGES_A_STEP);
		if (result == SQLITE_OK)
			code = cl_work(store, PAGES_A_STEP, e);
	} while (result == SQLITE_OK && !code);
	int finished = sqlite3_backup_finish(backup);
	if (code)
		return code;
	if (result != SQLITE_DONE || finished != SQLITE_OK) {
		result = result == SQLITE_DONE ? finished : result;
		return cl_fail(e, (result & 0xff) == SQLITE_FULL ? CL_E_FULL : CL_E_IO, "the backup failed: %s",
		               sqlite3_errstr(result));
	}
	return 0;
}

int cl_store_backup(struct cl_store *store, const char *path, struct cl_err *e)
{
	sqlite3 *target = NULL;
	char *part;
	bool opened;

	if (store->transaction)
		return cl_fail(e, CL_E_INTERNAL, "a backup inside a transaction");
	if (asprintf(&part, "%s.part", path) < 0)
		cl_die("no memory for a path");
	unlink(part);
	int file = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int code = file < 0 ? file_error(e, "cannot create", part) : 0;
	if (file >= 0)
		close(file);
	/* One read transaction around all steps: otherwise every commit would start the copy again. */
	if (!code)
		code = cl_read_begin(store, &opened, e);
	if (!code) {
		int result = sqlite3_open_v2(part, &target, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
		sqlite3_stmt *pin = cl_statement(store, "SELECT count(*) FROM sqlite_schema", e);
		if (result != SQLITE_OK)
			code = cl_fail(e, CL_E_IO, "cannot open %s: %s", part, sqlite3_errstr(result));
		else if (!pin)
			code = cl_unprepared(e);
		else if ((code = cl_step(store, pin, e)) == 1) {
			sqlite3_reset(pin);
			code = copy_pages(store, target, e);
		}
		sqlite3_close(target);
		cl_read_end(store, opened);
	}
	if (!code)
		code = publish(part, path, e);
	if (code)
		unlink(part);
	free(part);
	return code;
}
