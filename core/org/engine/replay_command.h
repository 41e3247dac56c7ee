/* replay_command.h: `careloop replay`: proves that an organization's event log gives its file again. */
#pragma once
int cl_replay_main(int argc, char **argv);
