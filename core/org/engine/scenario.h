/* scenario.h: organizations under a virtual clock, driven by Lua scripts: plugins' tests and the demonstration. The only files
 * of this room that include Lua's headers: the driver is a client, not a plugin. */
#pragma once
#include "base/clock.h"
#include "base/json.h"
#include <limits.h>
#include <lua.h>
#include <stdio.h>

struct cl_scenario {
	char plugins[PATH_MAX], organizations[PATH_MAX]; /* folders that configurations are read from */
	char under_test[PATH_MAX]; /* the plugin, for tests */
	char temporary[PATH_MAX]; /* where files are made */
	int opened;
	/* The demonstration works on the server's own files instead. */
	const char *config_path;
	const struct cl_json *config;
	cl_instant start, finish;
	const char *seed; /* the files' identity (and so every id) follows from this text; NULL: random */
};

/* A state with `engine` loaded: on top of the stack is the function that scenario.lua returned, or an error message. */
lua_State *cl_scenario_open(struct cl_scenario *scenario);

void cl_scenario_push_json(lua_State *L, const struct cl_json *value);
void cl_scenario_write_json(lua_State *L, int index, struct cl_buf *out);
/* A configuration as the Lua table that files hold. */
void cl_scenario_write_lua(const struct cl_json *value, FILE *out);
