/* crash_vfs.h: a SQLite VFS over the default one that can lose power. Writes reach the real files, so that everything
 * goes on as usual; beside them it keeps what a disk would hold: the content at the last sync, and the writes since. At
 * a power cut each of those writes is kept, dropped or torn by sectors of 512 bytes, as the seed says. One thread only.
 * */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum crash_fault {
	CRASH_NONE,
	CRASH_POWER, /* the power goes during this operation: it and all later ones fail */
	CRASH_WRITE_EIO, /* one write fails */
	CRASH_WRITE_SHORT, /* one write is half done, then the disk is full */
	CRASH_WRITE_FULL, /* this write and all later ones find the disk full, until crash_vfs_disarm */
	CRASH_SYNC_EIO, /* one sync fails; nothing was synced */
};

/* Becomes the default VFS until crash_vfs_remove. */
void crash_vfs_install(uint64_t seed);
void crash_vfs_remove(void);
/* The fault happens at the `position`th operation from now (1 = the next). Writes, truncations and syncs count; for
 * SYNC_EIO syncs only, for WRITE_... writes only. */
void crash_vfs_arm(enum crash_fault fault, unsigned position);
void crash_vfs_disarm(void);
/* Syncs report success and do nothing: the negative control. */
void crash_vfs_drop_syncs(bool drop);
/* Has the fault happened? */
bool crash_vfs_struck(void);
/* Operations since the last arming. */
unsigned crash_vfs_operations(bool syncs_only);
/* Leaves in the real files what the disk would hold; all connections must be closed. Then the power is back. */
void crash_vfs_power_cut(void);
/* A process that died keeps what it wrote: forget what was not synced as if it had been. */
void crash_vfs_settle(void);
/* Files opened as temporary: must stay 0 (pitfalls 8). */
unsigned crash_vfs_temporary_files(void);
