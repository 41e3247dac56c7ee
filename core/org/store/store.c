/* store.c: opening and closing one organization's file, its identity and its small named values. */
#include "org/store/internal.h"
#include "base/id.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define WRITER_CACHE_KIB 65536
#define READER_CACHE_KIB 16384
#define READER_WAIT_MS 5000 /* only while the file is being recovered after a crash */

static char *join(const char *folder, const char *name, const char *suffix)
{
	char *path;
	if (asprintf(&path, "%s/%s%s", folder, name, suffix) < 0)
		cl_die("no memory for a path");
	return path;
}

static bool plain_name(const char *name)
{
	return name && *name && *name != '.' && !strchr(name, '/') && strlen(name) <= 200;
}

/* A name in a folder is on the disk once the folder is synced. What may not be opened is somebody else's to sync. */
static int sync_parent(const char *path)
{
	char *folder = join(path, "..", "");
	int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result = 0;
	if (file >= 0) {
		result = fsync(file);
		close(file);
	}
	free(folder);
	return result;
}

static int make_folder(const char *path, struct cl_err *e)
{
	if (mkdir(path, 0700) == 0 ? sync_parent(path) == 0 : errno == EEXIST)
		return 0;
	return cl_fail(e, errno == ENOSPC ? CL_E_FULL : CL_E_IO, "cannot make the folder %s: %s", path,
	               strerror(errno));
}

static int prepare_folder(struct cl_store *store, struct cl_err *e)
{
	char *temporary = join(store->folder, "tmp", "");
	int code = make_folder(store->folder, e);
	if (!code)
		code = make_folder(temporary, e);
	free(temporary);
	return code;
}

static int take_lock(struct cl_store *store, struct cl_err *e)
{
	char *path = join(store->folder, store->name, ".lock");
	int code = 0;

	store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock < 0)
		code = cl_fail(e, errno == ENOSPC ? CL_E_FULL : CL_E_IO, "cannot open %s: %s", path, strerror(errno));
	else if (flock(store->lock, LOCK_EX | LOCK_NB) != 0)
		code = cl_fail(e, CL_E_BUSY, "%s is open for writing in another process: only one may write",
		               store->path);
	free(path);
	return code;
}

void cl_ballast_fill(struct cl_store *store)
{
	if (store->ballast)
		return;
	char *path = join(store->folder, store->name, ".ballast");
	int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file >= 0) {
		store->ballast = posix_fallocate(file, 0, CL_BALLAST_SIZE) == 0;
		close(file);
		if (!store->ballast)
			unlink(path);
	}
	if (!store->ballast)
		cl_log(CL_LOG_WARNING, "store-ballast", "file=%s no room for %d bytes: the disk is nearly full", path,
		       CL_BALLAST_SIZE);
	free(path);
}

void cl_ballast_release(struct cl_store *store)
{
	if (!store->ballast)
		return;
	char *path = join(store->folder, store->name, ".ballast");
	if (unlink(path) == 0)
		cl_log(CL_LOG_ERROR, "store-full", "file=%s the disk is full; ballast released", store->path);
	store->ballast = false;
	free(path);
}

static int keep_frames(void *context, sqlite3 *db, const char *schema, int frames)
{
	struct cl_store *store = context;
	(void)db;
	(void)schema;
	store->wal_frames = frames;
	return SQLITE_OK;
}

/* A write must never be stopped half-way: SQLite would roll the whole transaction back (pitfalls 3). */
static int look(void *context)
{
	struct cl_store *store = context;
	return store->selecting && store->progress && store->progress(store->progress_context);
}

static int configure(struct cl_store *store, struct cl_err *e)
{
	char cache[64];
	static const struct {
		int option, value;
	} options[] = {
	        {SQLITE_DBCONFIG_DEFENSIVE, 1},   {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0}, {SQLITE_DBCONFIG_DQS_DML, 0},
	        {SQLITE_DBCONFIG_DQS_DDL, 0},     {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}, {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
	        {SQLITE_DBCONFIG_ENABLE_FKEY, 1},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		sqlite3_db_config(store->db, options[i].option, options[i].value, (int *)NULL);
	if (!store->writer) {
		sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
		sqlite3_busy_timeout(store->db, READER_WAIT_MS);
	}
	/* Sorts and statement journals hold health information: they stay in memory, never in the system's temporary
	 * folder (pitfalls 8). */
	int code = cl_execute(store, "PRAGMA temp_store=MEMORY; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0", e);
	snprintf(cache, sizeof(cache), "PRAGMA cache_size=-%d", store->writer ? WRITER_CACHE_KIB : READER_CACHE_KIB);
	if (!code)
		code = cl_execute(store, cache, e);
	if (!code && store->writer) {
		snprintf(cache, sizeof(cache), "PRAGMA journal_size_limit=%d", CL_WAL_KEEP);
		code = cl_execute(store,
		                  "PRAGMA auto_vacuum=NONE; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		                  "PRAGMA wal_autocheckpoint=0",
		                  e);
		if (!code)
			code = cl_execute(store, cache, e);
		sqlite3_wal_hook(store->db, keep_frames, store);
	}
	sqlite3_progress_handler(store->db, 10000, look, store);
	return code ? code : cl_statements_open(store, e);
}

/* Without SQLite's own count of its memory no allocation takes a lock that all threads share. Too late does no harm. */
static void settle_library(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

static int open_file(struct cl_store *store, struct cl_err *e)
{
	static pthread_once_t settled = PTHREAD_ONCE_INIT;
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

	pthread_once(&settled, settle_library);
	if (store->writer) {
		flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
		/* SQLite would create it readable for others. Only when absent: closing another descriptor of an open
		 * file drops this process's locks on it. */
		int file = open(store->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (file >= 0)
			close(file);
	} else {
		flags |= SQLITE_OPEN_READONLY;
		if (access(store->path, F_OK) != 0)
			return cl_fail(e, CL_E_NOT_FOUND, "there is no file %s; open it for writing first",
			               store->path);
	}
	int result = sqlite3_open_v2(store->path, &store->db, flags, NULL);
	if (result != SQLITE_OK)
		return cl_sqlite_fail(store, result, store->path, e);
	return configure(store, e);
}

static int read_number(struct cl_store *store, const char *text, int64_t *out, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, text, e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
	}
	return code < 0 ? code : 0;
}

/* ---- identity ---- */

static int create_identity(struct cl_store *store, struct cl_err *e)
{
	char uuid[37];
	uint8_t secret[32];
	struct cl_str present;

	int code = cl_store_begin(store, e);
	if (!code)
		code = cl_store_meta_get(store, store->arena, "uuid", &present, e);
	if (!code && !present.n) {
		cl_uuid_new(uuid);
		cl_random(secret, sizeof(secret));
		code = cl_store_meta_set(store, "uuid", cl_str_of(uuid), e);
		if (!code)
			code = cl_store_meta_set(store, "secret", (struct cl_str){(const char *)secret, sizeof(secret)},
			                         e);
		if (!code)
			code = cl_store_meta_set(store, "incarnation", CL_STR("1"), e);
	}
	if (!code)
		return cl_store_commit(store, e);
	cl_store_rollback(store);
	return code;
}

int cl_store_load_identity(struct cl_store *store, struct cl_err *e)
{
	struct cl_str secret, incarnation;
	int code = cl_store_meta_get(store, store->arena, "uuid", &store->uuid, e);
	if (!code)
		code = cl_store_meta_get(store, store->arena, "secret", &secret, e);
	if (!code)
		code = cl_store_meta_get(store, store->arena, "incarnation", &incarnation, e);
	if (code)
		return code;
	if (secret.n != sizeof(store->secret) || !incarnation.n || !store->uuid.n)
		return cl_fail(e, CL_E_CORRUPT, "%s has no identity: restore it from a backup", store->path);
	memcpy(store->secret, secret.p, sizeof(store->secret));
	store->incarnation = strtoull(cl_arena_cstring(store->arena, incarnation), NULL, 10);
	return 0;
}

struct cl_str cl_store_uuid(const struct cl_store *store)
{
	return store->uuid;
}

uint64_t cl_store_incarnation(const struct cl_store *store)
{
	return store->incarnation;
}

int cl_store_forgo_durability(struct cl_store *store, struct cl_err *e)
{
	int result = sqlite3_exec(store->db, "PRAGMA synchronous=OFF", NULL, NULL, NULL);
	return result == SQLITE_OK ? 0 : cl_sqlite_fail(store, result, "setting synchronous", e);
}

const uint8_t *cl_store_secret(const struct cl_store *store)
{
	return store->secret;
}

int cl_store_raise_incarnation(struct cl_store *store, struct cl_err *e)
{
	char text[24];
	int code = cl_store_begin(store, e);
	if (code)
		return code;
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)store->incarnation + 1);
	code = cl_store_meta_set(store, "incarnation", (struct cl_str){text, (size_t)n}, e);
	if (!code)
		return cl_store_commit(store, e);
	cl_store_rollback(store);
	return code;
}

/* ---- named values ---- */

int cl_store_meta_get(struct cl_store *store, struct cl_arena *arena, const char *name, struct cl_str *out,
                      struct cl_err *e)
{
	*out = CL_STR_NONE;
	sqlite3_stmt *statement = cl_statement(store, "SELECT value FROM meta WHERE name = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, cl_str_of(name));
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*out = cl_column(arena, statement, 0);
		sqlite3_reset(statement);
		code = 0;
	}
	return code;
}

int cl_store_meta_set(struct cl_store *store, const char *name, struct cl_str value, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT INTO meta(name, value) VALUES(?1, ?2)"
	                                       " ON CONFLICT(name) DO UPDATE SET value = excluded.value",
	                                       e);
	if (statement) {
		cl_bind_text(statement, 1, cl_str_of(name));
		cl_bind_blob(statement, 2, value);
	}
	code = cl_run(store, statement, e);
	/* A replay gives the copy the identity of the original. */
	bool identity = strcmp(name, "uuid") == 0 || strcmp(name, "secret") == 0 || strcmp(name, "incarnation") == 0;
	return !code && identity && store->uuid.n ? cl_store_load_identity(store, e) : code;
}

/* ---- names of types ---- */

static int load_types(struct cl_store *store, struct cl_err *e)
{
	int64_t most = 0;
	int code = read_number(store, "SELECT max(number) FROM type_name", &most, e);
	if (code)
		return code;
	struct cl_str *types = CL_NEW_ARRAY(store->arena, struct cl_str, (size_t)most + 1);
	sqlite3_stmt *statement = cl_statement(store, "SELECT number, name FROM type_name WHERE number <= ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, most);
	while ((code = cl_step(store, statement, e)) == 1)
		types[sqlite3_column_int64(statement, 0)] = cl_column(store->arena, statement, 1);
	if (code)
		return code;
	store->types = types;
	store->type_count = (size_t)most + 1;
	return 0;
}

static int add_types(struct cl_store *store, const struct cl_str *names, size_t count, struct cl_err *e)
{
	int code = cl_store_begin(store, e);
	for (size_t i = store->type_count; !code && i < count; i++) {
		if (!names[i].n)
			continue;
		sqlite3_stmt *statement = cl_statement(store, "INSERT INTO type_name(number, name) VALUES(?1, ?2)", e);
		if (statement) {
			sqlite3_bind_int64(statement, 1, (int64_t)i);
			cl_bind_text(statement, 2, names[i]);
		}
		code = cl_run(store, statement, e);
	}
	if (!code)
		code = cl_store_commit(store, e);
	else
		cl_store_rollback(store);
	return code ? code : load_types(store, e);
}

int cl_store_name_types(struct cl_store *store, const struct cl_str *names, size_t count, struct cl_err *e)
{
	int code = store->types ? 0 : load_types(store, e);
	if (code)
		return code;
	for (size_t i = 1; i < count && i < store->type_count; i++)
		if (names[i].n && store->types[i].n && !cl_str_equal(names[i], store->types[i]))
			return cl_fail(
			        e, CL_E_CORRUPT,
			        "type %zu is '%.*s' in %s and '%.*s' in this careloop: type numbers may not change", i,
			        CL_STR_ARGS(store->types[i]), store->path, CL_STR_ARGS(names[i]));
	/* Numbers below type_count that had no name stay unnamed: type numbers only grow. */
	return count > store->type_count ? add_types(store, names, count, e) : 0;
}

struct cl_str cl_type_name(struct cl_store *store, uint16_t type)
{
	struct cl_err ignored = {0};
	/* A reader that was opened before the writer named the types looks again. */
	if (store->type_count <= 1 && (store->writer || load_types(store, &ignored) != 0))
		return CL_STR_NONE;
	return type < store->type_count ? store->types[type] : CL_STR_NONE;
}

uint16_t cl_type_number(struct cl_store *store, struct cl_str name)
{
	cl_type_name(store, 1);
	for (size_t i = 1; name.n && i < store->type_count; i++)
		if (cl_str_equal(store->types[i], name))
			return (uint16_t)i;
	return 0;
}

/* ---- open and close ---- */

static int open_writer(struct cl_store *store, struct cl_err *e)
{
	int64_t page_size = 4096;
	int code = prepare_folder(store, e);
	if (!code)
		code = take_lock(store, e);
	if (!code)
		code = open_file(store, e);
	if (!code)
		code = cl_schema_migrate(store, cl_migrations, cl_migration_count, e);
	if (!code)
		code = read_number(store, "PRAGMA page_size", &page_size, e);
	store->page_size = (int)page_size;
	if (!code)
		code = cl_symbols_open(store, e);
	if (!code)
		code = create_identity(store, e);
	if (!code)
		code = load_types(store, e);
	if (!code)
		code = cl_audit_frontier_load(store, e);
	if (!code) {
		/* What a crash left in the log goes into the file now, not beside the first requests. */
		struct cl_err busy = {0};
		code = cl_store_checkpoint(store, true, &busy);
		if (code == CL_E_BUSY)
			code = 0;
		else if (code && e)
			*e = busy;
	}
	if (!code)
		cl_ballast_fill(store);
	return code;
}

int cl_store_open(const char *folder, const char *name, enum cl_store_mode mode, struct cl_store **out,
                  struct cl_err *e)
{
	*out = NULL;
	if (!plain_name(name))
		return cl_fail(e, CL_E_INVALID, "'%.100s' is no name for an organization's file", name ? name : "");
	struct cl_store *store = calloc(1, sizeof(*store));
	if (!store)
		cl_die("no memory for a store");
	store->writer = mode == CL_STORE_WRITER;
	store->plan.first_look = 64;
	store->plan.few = 2048;
	store->plan.walk_first = 20000;
	store->lock = -1;
	store->folder = strdup(folder);
	store->name = strdup(name);
	store->path = join(folder, name, ".db");
	store->arena = cl_arena_new(0);
	cl_buf_init(&store->buffer, 0);
	int code = store->writer ? open_writer(store, e) : open_file(store, e);
	if (!code && !store->writer) {
		code = cl_schema_check(store, e);
		if (!code)
			code = cl_symbols_open(store, e);
	}
	if (!code)
		code = cl_store_load_identity(store, e);
	if (code) {
		cl_store_close(store);
		return code;
	}
	*out = store;
	return 0;
}

void cl_store_close(struct cl_store *store)
{
	if (!store)
		return;
	if (store->writer && store->db && store->transaction)
		cl_store_rollback(store);
	for (size_t i = 0; i < CL_STATEMENT_SLOTS; i++)
		sqlite3_finalize(store->statements[i].statement);
	/* The writer's close checkpoints when no reader is left. A broken file is left as it is for recovery. */
	if (store->db && store->broken)
		sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	int result = sqlite3_close(store->db);
	if (result != SQLITE_OK)
		cl_log(CL_LOG_ERROR, "store-close", "file=%s result=%d a statement was left open", store->path, result);
	if (store->lock >= 0)
		close(store->lock);
	for (size_t i = 0; i < CL_SCRATCH_DEPTH; i++)
		if (store->scratch[i]) {
			cl_values_free(store->scratch[i]);
			free(store->scratch[i]);
		}
	cl_symbols_free(store);
	free(store->next_rows);
	cl_buf_free(&store->buffer);
	cl_arena_free(store->arena);
	explicit_bzero(store->secret, sizeof(store->secret));
	free(store->folder);
	free(store->name);
	free(store->path);
	free(store);
}
