/* gateway.h: the process that talks to clients: TLS, HTTP, which credential, which organization. It has no data. */
#pragma once

/* careloop gateway --config FILE [--index N] [--control-fd N]
 *
 * Serves until told to stop: by the supervisor over the control channel ({"do":"stop"}, or its end), or by SIGTERM or SIGINT.
 * Then nothing new is accepted and what is under way has 5 seconds. SIGHUP and {"do":"reload"} read the configuration
 * and the certificates again; listeners stay as they are. {"do":"status"} is answered with counters,
 * {"do":"log","level":"debug"} sets the log's level. Says {"do":"ready","listen":["127.0.0.1:8443"]} once it listens. Returns the process's exit status: 0, or 1 when it could not
 * begin (the log says why), or 2 for wrong arguments. */
int cl_gateway_main(int argc, char **argv);
