/* static.h: the board's files. They are read into memory once, so a request can only name what is there: no path ever
 * reaches the file system. */
#pragma once
#include "base/arena.h"
#include "base/error.h"
#include "wire/frame.h"

/* Nothing but the board's own files may run, be framed or be talked to. */
#define CL_BOARD_POLICY                                                                                                \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src " \
	"'self'; "                                                                                                     \
	"manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

struct cl_board;

/* Reads the folder and those below it; hidden files, links and unknown kinds of files are left out. An absent or empty
 * folder gives a board without files. At most 4,000 files and 64 MiB. One reference. */
int cl_board_load(const char *folder, struct cl_board **out, struct cl_err *e);
struct cl_board *cl_board_hold(struct cl_board *board);
void cl_board_release(struct cl_board *board);

/* Fills the answer to GET of `path` (what follows "/board"). A path without a file whose last segment has no dot is the
 * board's own navigation and gets index.html. `if_none_match` may be empty. Headers come from the arena, the body belongs
 * to the board. 200, 304, 308 (to "/board/") or 404. */
int cl_board_answer(const struct cl_board *board, struct cl_arena *arena, struct cl_str path,
                    struct cl_str if_none_match, struct cl_response *out);
