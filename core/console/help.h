/* help.h: the help of the console, made from the command table. */
#pragma once
#include "console/session.h"

/* Prints all commands (empty `topic`), or one, or those whose first word is `topic`. */
enum cl_session_result cl_help(struct cl_session *session, struct cl_arena *arena, struct cl_str topic);
