/* session.h: what a console does with a line, whether typed, given with -e, or read from a script. */
#pragma once
#include "console/client.h"
#include "console/line.h"

/* Exit codes of the console. */
enum cl_session_result {
	CL_SESSION_OK = 0,
	CL_SESSION_FAILED = 1,
	CL_SESSION_USAGE = 2,
	CL_SESSION_NO_SERVER = 3,
	CL_SESSION_REFUSED = 4,
};

enum cl_session_output { CL_OUTPUT_TABLE, CL_OUTPUT_JSON, CL_OUTPUT_CSV };

struct cl_session {
	struct cl_client *client;
	char organization[64]; /* selected; empty for none */
	enum cl_session_output output;
	bool timing;
	bool interactive; /* a person types: questions may be asked */
	bool colour_out, colour_error;
	bool yes; /* dangerous commands need no confirmation */
	bool write; /* --write: > changes too */
	const char *reason; /* --reason for changes by Lua, or NULL */
	bool quit; /* the user wants to leave */
	/* Asks a question with `prompt` and reads a line into `answer`; false at the end of input. Only when
	 * interactive. */
	bool (*question)(struct cl_session *session, const char *prompt, char *answer, size_t size);
	/* Names for completion, asked when first needed and after `use`. */
	char **organizations;
	size_t organization_count;
	bool organizations_asked;
};

/* Runs one line; prints its answer on standard output and problems on standard error. */
enum cl_session_result cl_session_run(struct cl_session *session, struct cl_str line);
/* Asks the server once which organizations there are. */
void cl_session_load_organizations(struct cl_session *session);
void cl_session_done(struct cl_session *session);
/* Is it a line of Lua ("> ...") whose statement goes on on the next line? */
bool cl_session_is_incomplete(struct cl_str line);
