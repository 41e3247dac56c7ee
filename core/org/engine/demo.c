/* demo.c: `careloop demo --config FILE [--weeks N] [--until DATETIME] [--seed TEXT] SCRIPT`. With --until and --seed
 * the same story gives the same files, to the byte. */
#include "org/engine/demo.h"
#include "base/config.h"
#include "base/date.h"
#include "base/log.h"
#include "org/engine/scenario.h"
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CL_DEMO_WEEKS 8

int cl_demo_main(int argc, char **argv)
{
	struct cl_scenario scenario = {0};
	struct cl_err e = {0};
	struct cl_json *config;
	const char *script = NULL;
	const char *until = NULL;
	long weeks = CL_DEMO_WEEKS;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--config") && i + 1 < argc)
			scenario.config_path = argv[++i];
		else if (!strcmp(argv[i], "--weeks") && i + 1 < argc)
			weeks = strtol(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--until") && i + 1 < argc)
			until = argv[++i];
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			scenario.seed = argv[++i];
		else
			script = argv[i];
	}
	if (!scenario.config_path || !script || weeks < 1 || weeks > 520) {
		fprintf(stderr,
		        "usage: careloop demo --config FILE [--weeks N] [--until DATETIME] [--seed TEXT] SCRIPT\n");
		return 2;
	}
	cl_log_start("demo", CL_LOG_WARNING);
	struct cl_arena *arena = cl_arena_new(0);
	if (cl_config_load(arena, scenario.config_path, &config, &e)) {
		fprintf(stderr, "%s: %s\n", e.where, e.message);
		cl_arena_free(arena);
		return 1;
	}
	scenario.config = config;
	scenario.finish = cl_clock_now(&(struct cl_clock){0});
	if (until) {
		struct cl_moment moment;
		if (cl_moment_parse(cl_str_of(until), 0, &moment, &e)) {
			fprintf(stderr, "--until: %s\n", e.message);
			cl_arena_free(arena);
			return 2;
		}
		scenario.finish = moment.lower;
	}
	scenario.start = scenario.finish - weeks * 7 * CL_DAY;
	lua_State *L = cl_scenario_open(&scenario);
	int code = 0;
	if (!lua_isfunction(L, -1) || luaL_dofile(L, script)) {
		fprintf(stderr, "%s\n", lua_tostring(L, -1));
		code = 1;
	}
	lua_close(L);
	cl_arena_free(arena);
	return code;
}
