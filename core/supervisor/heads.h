/* heads.h: <data>/audit-heads.log, the supervisor's own record of the heads of every organization's audit log. Who
 * changes an organization's file cannot change what was written here before (reliability.md §2.5).
 *
 * One JSON object a line: {"at":...,"organization":...,"size":...,"root":...,"previous":...}; `previous` is the
 * SHA-256 in hex of the line before without its newline (64 zeros on the first). What a power cut tore stays, and
 * counts with its newline as a part of the line before it. */
#pragma once
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include <stdint.h>

struct cl_head {
	char organization[48];
	uint64_t size; /* leaves */
	uint8_t root[32];
	char at[32]; /* the organization's own time of the head, ISO 8601 */
};

struct cl_heads;

/* Opens for appending and checks the chain of what is there. CL_E_CORRUPT names the first line that does not follow
 * from the one before; the log is opened all the same (*out is set), because refusing to witness would help whoever
 * broke it. */
int cl_heads_open(const char *path, struct cl_heads **out, struct cl_err *e);
void cl_heads_close(struct cl_heads *heads);
/* Appends at once; cl_heads_sync makes it durable. A head equal to the organization's last one is not written again.
 * CL_E_CORRUPT when the head is written but contradicts an earlier one: the tree shrank, or changed at the same
 * size. */
int cl_heads_append(struct cl_heads *heads, const struct cl_head *head, cl_instant now, struct cl_err *e);
/* fsync when something was appended since the last time. The caller calls it once a second. */
int cl_heads_sync(struct cl_heads *heads, struct cl_err *e);
/* The newest head of each organization, in order of first appearance. Valid until the next append. */
size_t cl_heads_list(const struct cl_heads *heads, const struct cl_head **out);
/* Reads a log without holding it open: the newest head of one organization. CL_E_NOT_FOUND when there is none,
 * CL_E_CORRUPT as above. */
int cl_heads_read(const char *path, const char *organization, struct cl_head *out, struct cl_err *e);
