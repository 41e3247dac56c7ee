/* settings.h: config/careloop.lua as the supervisor reads it: checked against a table of rules, defaults filled in,
 * paths made absolute. */
#pragma once
#include "base/arena.h"
#include "base/json.h"
#include "base/log.h"

/* Everything borrowed from the arena given to cl_server_settings_load. */
struct cl_server_settings {
	const char *file; /* absolute path of the configuration file */
	const char *data; /* absolute path of the data folder */
	const char *organizations_folder; /* absolute; <id>.lua describes one organization */
	int gateways; /* processes */
	int64_t lua_limit; /* microseconds that one Lua call may take before the process is killed */
	enum cl_log_level log;
	const char **organizations; /* ids, sorted */
	size_t organization_count;
	struct cl_json *tree; /* the whole file with defaults; paths absolute */
	struct cl_json *written; /* the file as it stands, for cl_config_line */
};

/* All that is wrong, for `config check`. */
struct cl_server_problem {
	const char *where; /* file:line, or the file */
	const char *message;
	struct cl_server_problem *next;
};

/* Fails on the first problem when `problems` is NULL; otherwise gathers all of them (in order) and returns
 * CL_E_INVALID when there were any. Organization files are only listed, not read: one broken organization must not
 * stop the others. */
int cl_server_settings_load(struct cl_arena *arena, const char *path, struct cl_server_settings *out,
                            struct cl_server_problem **problems, struct cl_err *e);
/* Is this a legal organization id: a host name label of a to z, digits and hyphens that is not reserved? */
bool cl_server_settings_id_good(struct cl_str id);
/* The effective settings as a Lua table with a comment on where each came from. */
void cl_server_settings_dump(const struct cl_server_settings *settings, struct cl_buf *out);
