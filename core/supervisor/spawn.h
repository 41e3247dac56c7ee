/* spawn.h: fork and exec of one process that inherits nothing but what is named, and ends when the supervisor ends. */
#pragma once
#include <stddef.h>
#include <sys/types.h>

/* Runs `executable` with argv[0] "careloop" and `arguments` (ended by NULL). `files` (entries of -1 are skipped)
 * keep their numbers; every other descriptor is closed. Standard input is empty; `output` (or -1) becomes standard
 * output and error. It is the leader of its own process group, with default signals, and gets SIGTERM when the
 * supervisor dies. Returns its id, or -1 with errno. When exec fails it says so on standard error and exits with
 * 127. */
pid_t cl_spawn(const char *executable, const char *const *arguments, const int *files, size_t file_count, int output);
