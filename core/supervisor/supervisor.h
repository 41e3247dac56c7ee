/* supervisor.h: `careloop serve`: the first process, which starts and watches all others.
 *
 * What it says and hears on the control channels (CONTROL frames, one JSON object):
 *   to all           {"do":"stop"}  {"do":"log","level":"debug"}
 *   to gateways      {"do":"reload"}                    certificates, organizations; answered by "reload" or "reloaded"
 *                    {"do":"status","id":N}             answered by {"do":"status","id":N, name: value ...}
 *   to organizations {"do":"reload","archive":"staged.json"}  after `careloop organization --stage` made that file
 *   from all         {"do":"ready"}                     once, when it serves
 *                    {"do":"reloaded","ok":true|false,"error":"...","where":"...","errors":["..."]}
 *   from organizations {"do":"head","size":N,"root":hex,"at":microseconds or text}
 * A process that ends by a signal crashed: what its watch page says is held against it. One that exits is only
 * restarted. */
#pragma once

/* Arguments as main's: argv[0] is "serve". Returns the exit code: 0 after an orderly stop, 1 when it could not
 * start, 2 for usage. */
int cl_supervisor_main(int argc, char **argv);
