/* plugin_test.c: `careloop plugin test`: every tests folder, every test, then a replay of what it did. */
#include "org/engine/plugin_test.h"
#include "base/log.h"
#include "org/engine/scenario.h"
#include <dirent.h>
#include <ftw.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* One file of tests; adds to passed and failed. */
static void run_file(struct cl_scenario *test, const char *path, int *passed, int *failed)
{
	lua_State *L = cl_scenario_open(test);
	printf("%s\n", path);
	bool good = lua_isfunction(L, -1) && !luaL_dofile(L, path);
	if (good) {
		lua_settop(L, 1);
		good = !lua_pcall(L, 0, 2, 0);
	}
	if (good) {
		*passed += (int)lua_tointeger(L, -2);
		*failed += (int)lua_tointeger(L, -1);
	} else {
		printf("FAILED  %s\n", lua_tostring(L, -1));
		(*failed)++;
	}
	fflush(stdout);
	lua_close(L);
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
	(void)status;
	(void)kind;
	(void)walk;
	return remove(path);
}

static int compare_paths(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void run_folder(struct cl_scenario *test, const char *folder, int *passed, int *failed)
{
	char tests[PATH_MAX + 8], path[PATH_MAX + 300];
	struct dirent **entries;
	if (!realpath(folder, test->under_test)) {
		printf("FAILED  %s: no such folder\n", folder);
		(*failed)++;
		return;
	}
	snprintf(tests, sizeof tests, "%s/tests", test->under_test);
	int count = scandir(tests, &entries, NULL, compare_paths);
	for (int i = 0; i < count; i++) {
		size_t n = strlen(entries[i]->d_name);
		snprintf(path, sizeof path, "%s/%s", tests, entries[i]->d_name);
		if (n > 4 && !strcmp(entries[i]->d_name + n - 4, ".lua"))
			run_file(test, path, passed, failed);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

int cl_plugin_main(int argc, char **argv)
{
	struct cl_scenario test = {0};
	int passed = 0, failed = 0, first = 3;
	snprintf(test.plugins, sizeof test.plugins, "plugins");
	snprintf(test.organizations, sizeof test.organizations, "config/orgs");
	if (argc < 3 || strcmp(argv[1], "test") != 0) {
		fprintf(stderr, "usage: careloop plugin test [--plugins FOLDER] [--organizations FOLDER] PLUGIN...\n");
		return 2;
	}
	argv++;
	argc--;
	first = 1;
	while (first + 1 < argc && !strncmp(argv[first], "--", 2)) {
		if (!strcmp(argv[first], "--plugins"))
			snprintf(test.plugins, sizeof test.plugins, "%s", argv[first + 1]);
		else if (!strcmp(argv[first], "--organizations"))
			snprintf(test.organizations, sizeof test.organizations, "%s", argv[first + 1]);
		first += 2;
	}
	snprintf(test.temporary, sizeof test.temporary, "%s/careloop-test-XXXXXX",
	         getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(test.temporary)) {
		perror(test.temporary);
		return 1;
	}
	cl_log_start("plugin-test", getenv("CL_LOG") ? CL_LOG_DEBUG : CL_LOG_ERROR);
	for (int i = first; i < argc; i++)
		run_folder(&test, argv[i], &passed, &failed);
	nftw(test.temporary, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	printf("%d passed, %d failed\n", passed, failed);
	return failed || !passed ? 1 : 0;
}
