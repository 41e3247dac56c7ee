/* crash_vfs.c: see crash_vfs.h. */
#include "support/crash_vfs.h"
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define FILES 64

struct operation {
	bool truncate;
	int64_t offset; /* or the new size */
	size_t n;
	char *bytes;
};

/* What the disk holds of one file. */
struct image {
	char *path;
	char *durable;
	size_t durable_n;
	bool durably_there;
	bool deleted; /* the name is gone, but perhaps not on the disk yet */
	struct operation *pending;
	size_t pending_count, pending_capacity;
};

struct crash_file {
	sqlite3_file base;
	struct image *image; /* NULL for temporary files */
	sqlite3_file *real;
};

static struct {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	struct image images[FILES];
	uint64_t random;
	enum crash_fault fault;
	unsigned left, operations, syncs, temporary;
	bool armed, struck, dark, drop_syncs;
} world;

static void *need(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

static uint32_t dice(uint32_t n)
{
	uint64_t z = (world.random += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return (uint32_t)(((z ^ (z >> 31)) >> 32) * n >> 32);
}

/* ---- images ---- */

static void put_bytes(struct image *image, int64_t offset, const char *bytes, size_t n)
{
	size_t end = (size_t)offset + n;
	if (end > image->durable_n) {
		image->durable = need(realloc(image->durable, end));
		memset(image->durable + image->durable_n, 0, end - image->durable_n);
		image->durable_n = end;
	}
	memcpy(image->durable + offset, bytes, n);
}

static void cut(struct image *image, int64_t size)
{
	if ((size_t)size > image->durable_n) {
		image->durable = need(realloc(image->durable, (size_t)size));
		memset(image->durable + image->durable_n, 0, (size_t)size - image->durable_n);
	}
	image->durable_n = (size_t)size;
}

static void forget_pending(struct image *image)
{
	for (size_t i = 0; i < image->pending_count; i++)
		free(image->pending[i].bytes);
	image->pending_count = 0;
}

static void apply_pending(struct image *image)
{
	for (size_t i = 0; i < image->pending_count; i++) {
		struct operation *operation = &image->pending[i];
		if (operation->truncate)
			cut(image, operation->offset);
		else
			put_bytes(image, operation->offset, operation->bytes, operation->n);
	}
	forget_pending(image);
	image->durably_there = true;
}

/* Kept, dropped, or torn: each sector of its own. */
static void apply_some(struct image *image)
{
	for (size_t i = 0; i < image->pending_count; i++) {
		struct operation *operation = &image->pending[i];
		uint32_t fate = dice(3);
		if (fate == 1)
			continue;
		if (operation->truncate) {
			cut(image, operation->offset);
			continue;
		}
		if (fate == 0) {
			put_bytes(image, operation->offset, operation->bytes, operation->n);
			continue;
		}
		for (size_t at = 0; at < operation->n;) {
			size_t n = SECTOR - (size_t)(operation->offset + (int64_t)at) % SECTOR;
			if (n > operation->n - at)
				n = operation->n - at;
			if (dice(2))
				put_bytes(image, operation->offset + (int64_t)at, operation->bytes + at, n);
			at += n;
		}
	}
	forget_pending(image);
}

static void drop_image(struct image *image)
{
	forget_pending(image);
	free(image->pending);
	free(image->durable);
	free(image->path);
	*image = (struct image){0};
}

static void add_pending(struct image *image, struct operation operation, const void *bytes)
{
	if (image->pending_count == image->pending_capacity) {
		image->pending_capacity = image->pending_capacity ? image->pending_capacity * 2 : 64;
		image->pending = need(reallocarray(image->pending, image->pending_capacity, sizeof(*image->pending)));
	}
	if (bytes) {
		operation.bytes = need(malloc(operation.n + 1));
		memcpy(operation.bytes, bytes, operation.n);
	}
	image->pending[image->pending_count++] = operation;
}

static void load(struct image *image)
{
	struct stat status;
	int file = open(image->path, O_RDONLY);
	if (file < 0)
		return;
	if (fstat(file, &status) == 0 && status.st_size > 0) {
		image->durable = need(malloc((size_t)status.st_size));
		image->durable_n = (size_t)status.st_size;
		if (pread(file, image->durable, image->durable_n, 0) != (ssize_t)image->durable_n)
			abort();
	}
	image->durably_there = true;
	close(file);
}

static struct image *image_of(const char *path)
{
	struct image *free_one = NULL;
	for (size_t i = 0; i < FILES; i++) {
		if (world.images[i].path && strcmp(world.images[i].path, path) == 0)
			return &world.images[i];
		if (!world.images[i].path && !free_one)
			free_one = &world.images[i];
	}
	if (!free_one)
		abort();
	free_one->path = need(strdup(path));
	load(free_one);
	return free_one;
}

/* ---- faults ---- */

static bool strikes(enum crash_fault mine, enum crash_fault other)
{
	if (!world.armed || (world.fault != CRASH_POWER && world.fault != mine && world.fault != other))
		return false;
	if (world.left > 1) {
		world.left--;
		return false;
	}
	world.struck = true;
	if (world.fault == CRASH_POWER)
		world.dark = true;
	if (world.fault != CRASH_WRITE_FULL)
		world.armed = false;
	return true;
}

/* ---- file methods ---- */

static sqlite3_file *real_of(sqlite3_file *file)
{
	return ((struct crash_file *)file)->real;
}

static int vfs_close(sqlite3_file *file)
{
	sqlite3_file *real = real_of(file);
	int result = real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
	sqlite3_free(real);
	return result;
}

static int vfs_read(sqlite3_file *file, void *bytes, int n, sqlite3_int64 offset)
{
	return world.dark ? SQLITE_IOERR_READ : real_of(file)->pMethods->xRead(real_of(file), bytes, n, offset);
}

static int vfs_write(sqlite3_file *file, const void *bytes, int n, sqlite3_int64 offset)
{
	struct image *image = ((struct crash_file *)file)->image;
	sqlite3_file *real = real_of(file);

	if (world.dark)
		return SQLITE_IOERR_WRITE;
	world.operations++;
	struct operation operation = {.offset = offset, .n = (size_t)n};
	enum crash_fault kind =
	        world.fault == CRASH_WRITE_SHORT || world.fault == CRASH_WRITE_FULL ? world.fault : CRASH_WRITE_EIO;
	if (strikes(kind, kind)) {
		if (world.fault == CRASH_POWER && image)
			add_pending(image, operation, bytes);
		if (world.fault == CRASH_WRITE_SHORT) {
			operation.n = (size_t)n / 2;
			if (image)
				add_pending(image, operation, bytes);
			real->pMethods->xWrite(real, bytes, n / 2, offset);
		}
		return world.fault == CRASH_POWER || world.fault == CRASH_WRITE_EIO ? SQLITE_IOERR_WRITE : SQLITE_FULL;
	}
	if (image)
		add_pending(image, operation, bytes);
	return real->pMethods->xWrite(real, bytes, n, offset);
}

static int vfs_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	struct image *image = ((struct crash_file *)file)->image;

	if (world.dark)
		return SQLITE_IOERR_TRUNCATE;
	world.operations++;
	if (strikes(CRASH_POWER, CRASH_POWER))
		return SQLITE_IOERR_TRUNCATE;
	if (image)
		add_pending(image, (struct operation){.truncate = true, .offset = size}, NULL);
	return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int vfs_sync(sqlite3_file *file, int flags)
{
	struct image *image = ((struct crash_file *)file)->image;
	(void)flags;

	if (world.dark)
		return SQLITE_IOERR_FSYNC;
	world.operations++;
	world.syncs++;
	if (strikes(CRASH_SYNC_EIO, CRASH_SYNC_EIO))
		return SQLITE_IOERR_FSYNC;
	if (image && !world.drop_syncs) {
		apply_pending(image);
		/* A journalling file system writes the names with the next sync of anything. */
		for (size_t i = 0; i < FILES; i++)
			if (world.images[i].deleted)
				drop_image(&world.images[i]);
	}
	return SQLITE_OK; /* the real file need not survive anything */
}

static int vfs_size(sqlite3_file *file, sqlite3_int64 *size)
{
	return real_of(file)->pMethods->xFileSize(real_of(file), size);
}

static int vfs_lock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int vfs_unlock(sqlite3_file *file, int level)
{
	return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int vfs_check_lock(sqlite3_file *file, int *out)
{
	return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int vfs_control(sqlite3_file *file, int operation, void *argument)
{
	return real_of(file)->pMethods->xFileControl(real_of(file), operation, argument);
}

static int vfs_sector(sqlite3_file *file)
{
	return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int vfs_characteristics(sqlite3_file *file)
{
	return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int vfs_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
	return world.dark ? SQLITE_IOERR_SHMMAP
	                  : real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend, out);
}

static int vfs_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
	return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void vfs_shm_barrier(sqlite3_file *file)
{
	real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int vfs_shm_unmap(sqlite3_file *file, int delete)
{
	return real_of(file)->pMethods->xShmUnmap(real_of(file), delete);
}

static const sqlite3_io_methods methods = {
        .iVersion = 2,
        .xClose = vfs_close,
        .xRead = vfs_read,
        .xWrite = vfs_write,
        .xTruncate = vfs_truncate,
        .xSync = vfs_sync,
        .xFileSize = vfs_size,
        .xLock = vfs_lock,
        .xUnlock = vfs_unlock,
        .xCheckReservedLock = vfs_check_lock,
        .xFileControl = vfs_control,
        .xSectorSize = vfs_sector,
        .xDeviceCharacteristics = vfs_characteristics,
        .xShmMap = vfs_shm_map,
        .xShmLock = vfs_shm_lock,
        .xShmBarrier = vfs_shm_barrier,
        .xShmUnmap = vfs_shm_unmap,
};

/* ---- the VFS ---- */

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
	struct crash_file *own = (struct crash_file *)file;
	(void)vfs;

	memset(own, 0, sizeof(*own));
	if (world.dark)
		return SQLITE_IOERR;
	if (!path || flags & (SQLITE_OPEN_TEMP_DB | SQLITE_OPEN_TEMP_JOURNAL | SQLITE_OPEN_SUBJOURNAL |
	                      SQLITE_OPEN_TRANSIENT_DB))
		world.temporary++;
	own->real = sqlite3_malloc(world.real->szOsFile);
	if (!own->real)
		return SQLITE_NOMEM;
	memset(own->real, 0, (size_t)world.real->szOsFile);
	if (path && flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL)) {
		own->image = image_of(path);
		own->image->deleted = false;
	}
	int result = world.real->xOpen(world.real, path, own->real, flags, out_flags);
	if (result != SQLITE_OK) {
		sqlite3_free(own->real);
		return result;
	}
	own->base.pMethods = &methods;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int sync_folder)
{
	(void)vfs;
	if (world.dark)
		return SQLITE_IOERR_DELETE;
	for (size_t i = 0; i < FILES; i++)
		if (world.images[i].path && strcmp(world.images[i].path, path) == 0) {
			if (sync_folder && !world.drop_syncs)
				drop_image(&world.images[i]);
			else
				world.images[i].deleted = true;
		}
	return world.real->xDelete(world.real, path, 0);
}

void crash_vfs_install(uint64_t seed)
{
	memset(&world, 0, sizeof(world));
	world.random = seed;
	world.real = sqlite3_vfs_find(NULL);
	world.vfs = *world.real;
	world.vfs.zName = "careloop-crash";
	world.vfs.szOsFile = sizeof(struct crash_file);
	world.vfs.xOpen = vfs_open;
	world.vfs.xDelete = vfs_delete;
	world.vfs.pNext = NULL;
	sqlite3_vfs_register(&world.vfs, 1);
}

void crash_vfs_remove(void)
{
	sqlite3_vfs_unregister(&world.vfs);
	for (size_t i = 0; i < FILES; i++)
		if (world.images[i].path)
			drop_image(&world.images[i]);
}

void crash_vfs_arm(enum crash_fault fault, unsigned position)
{
	world.fault = fault;
	world.left = position;
	world.armed = fault != CRASH_NONE;
	world.struck = false;
	world.operations = world.syncs = 0;
}

void crash_vfs_disarm(void)
{
	world.armed = false;
}

void crash_vfs_drop_syncs(bool drop)
{
	world.drop_syncs = drop;
}

bool crash_vfs_struck(void)
{
	return world.struck;
}

unsigned crash_vfs_operations(bool syncs_only)
{
	return syncs_only ? world.syncs : world.operations;
}

unsigned crash_vfs_temporary_files(void)
{
	return world.temporary;
}

static void write_back(struct image *image)
{
	char shm[600];
	bool there =
	        image->deleted ? image->durably_there && dice(2) : image->durably_there || image->durable_n || dice(2);

	unlink(image->path);
	if (there) {
		int file = open(image->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (file < 0 ||
		    (image->durable_n && write(file, image->durable, image->durable_n) != (ssize_t)image->durable_n))
			abort();
		close(file);
	}
	snprintf(shm, sizeof(shm), "%s-shm", image->path);
	unlink(shm);
}

void crash_vfs_power_cut(void)
{
	for (size_t i = 0; i < FILES; i++)
		if (world.images[i].path) {
			apply_some(&world.images[i]);
			write_back(&world.images[i]);
			drop_image(&world.images[i]);
		}
	world.armed = world.dark = world.struck = false;
}

void crash_vfs_settle(void)
{
	for (size_t i = 0; i < FILES; i++)
		if (world.images[i].path)
			drop_image(&world.images[i]);
	world.armed = world.dark = world.struck = false;
}
