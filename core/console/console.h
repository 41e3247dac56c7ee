/* console.h: `careloop console`: the administrator's prompt, one-shot commands and scripts. */
#pragma once

/* argv[0] is "console". Exit codes: 0 good, 1 a command failed, 2 usage, 3 no server, 4 refused. */
int cl_console_main(int argc, char **argv);
