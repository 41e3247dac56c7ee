/* replay_command.c: `careloop replay --config FILE --organization ID`: works on a copy, so the server may run. */
#include "org/engine/replay_command.h"
#include "base/config.h"
#include "base/log.h"
#include "org/engine/organization.h"
#include "org/engine/settings.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	return remove(path);
}

/* The copy is one moment of the file; replaying against the live one would race with its writer. */
static int replay_copy(const char *folder, const char *id, const char *temporary, struct cl_err *e)
{
	char copy[4096], copied[4200], fresh[4200];
	struct cl_store *live, *from;
	snprintf(copied, sizeof copied, "%s/copy", temporary);
	snprintf(fresh, sizeof fresh, "%s/fresh", temporary);
	snprintf(copy, sizeof copy, "%.3900s/copy/%.80s.db", temporary, id);
	mkdir(copied, 0700);
	mkdir(fresh, 0700);
	int code = cl_store_open(folder, id, CL_STORE_READER, &live, e);
	if (code)
		return code;
	code = cl_store_backup(live, copy, e);
	cl_store_close(live);
	if (code)
		return code;
	code = cl_store_open(copied, id, CL_STORE_WRITER, &from, e);
	if (code)
		return code;
	code = cl_organization_replay(from, fresh, id, e);
	if (!code)
		printf("%s: %llu events replayed, every row equal\n", id,
		       (unsigned long long)cl_store_last_sequence(from));
	cl_store_close(from);
	return code;
}

int cl_replay_main(int argc, char **argv)
{
	const char *config_path = NULL, *id = NULL;
	struct cl_err e = {0};
	struct cl_json *config;
	char *folder, temporary[] = "/tmp/careloop-replay-XXXXXX";
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--config"))
			config_path = argv[i + 1];
		else if (!strcmp(argv[i], "--organization"))
			id = argv[i + 1];
	}
	if (!config_path || !id) {
		fprintf(stderr, "usage: careloop replay --config FILE --organization ID\n");
		return 2;
	}
	cl_log_start("replay", CL_LOG_ERROR);
	struct cl_arena *arena = cl_arena_new(0);
	int code = cl_config_load(arena, config_path, &config, &e);
	if (!code)
		code = cl_settings_folder(arena, config_path, config, id, &folder, &e);
	if (!code && !mkdtemp(temporary))
		code = cl_fail(&e, CL_E_IO, "cannot make a temporary folder");
	if (!code) {
		code = replay_copy(folder, id, temporary, &e);
		nftw(temporary, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	}
	if (code)
		fprintf(stderr, "%s%s%s\n", e.where, e.where[0] ? ": " : "", e.message);
	cl_arena_free(arena);
	return code ? 1 : 0;
}
