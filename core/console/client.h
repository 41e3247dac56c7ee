/* client.h: the console's connection to the admin socket: one command at a time, answered or interrupted. */
#pragma once
#include "base/json.h"

struct cl_client;

/* Connects at the first question, and again after the server was restarted. `socket_path` is copied. */
struct cl_client *cl_client_new(const char *socket_path);
void cl_client_free(struct cl_client *client);
/* Sends a command and waits for its answer (an object in the arena, its "ok" not yet looked at). *status is as in
 * HTTP. Ctrl-C cancels the command: CL_E_CLOSED with `cl_client_interrupted`. CL_E_UNAUTHENTICATED when there is no
 * server at the socket, CL_E_FORBIDDEN when the socket may not be opened, CL_E_CLOSED when the connection was lost
 * before the answer. */
int cl_client_ask(struct cl_client *client, struct cl_arena *arena, struct cl_str organization, struct cl_str body,
                  int *status, struct cl_json **answer, struct cl_err *e);
/* Was the last question ended by Ctrl-C? Between cl_client_hold and its release: was Ctrl-C pressed at all? */
bool cl_client_interrupted(const struct cl_client *client);
/* Takes Ctrl-C over for several questions and sleeps in a row, and gives it back. */
void cl_client_hold(struct cl_client *client, bool hold);
/* Waits, or less when Ctrl-C is pressed: then false. */
bool cl_client_sleep(struct cl_client *client, int64_t microseconds);
