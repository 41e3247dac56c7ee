/* editor.h: the prompt: line editing, history and completion over libedit. */
#pragma once
#include "console/session.h"

struct cl_editor;

/* On standard input and output, which are terminals. The history is kept in $XDG_STATE_HOME/careloop/history or
 * ~/.local/state/careloop/history, readable by its owner only. */
struct cl_editor *cl_editor_new(struct cl_session *session);
void cl_editor_free(struct cl_editor *editor);

enum cl_editor_result { CL_EDITOR_LINE, CL_EDITOR_CANCELLED, CL_EDITOR_END };
/* Reads one line (lines, while one of Lua is incomplete). *line is valid until the next call. */
enum cl_editor_result cl_editor_read(struct cl_editor *editor, struct cl_str *line);
/* Remembers a line, unless it has something secret in it. */
void cl_editor_remember(struct cl_editor *editor, struct cl_str line);
/* Reads an answer to a question, without history and completion; false at the end of input and on Ctrl-C. */
bool cl_editor_question(struct cl_editor *editor, const char *prompt, char *answer, size_t size);
