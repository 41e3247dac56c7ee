/* config_command.h: `careloop config check` and `careloop config dump`. */
#pragma once

/* argv[0] is "config". Exit codes: 0 good, 1 problems (each as file:line: error: ...), 2 usage. */
int cl_config_command_main(int argc, char **argv);
