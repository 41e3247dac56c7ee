/* schema.c: the tables, as numbered migrations. A released migration is never edited; add the next one below it. */
#include "org/store/internal.h"
#include "base/log.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* "CLOP": care loop, one organization's file. */
#define APPLICATION_ID 0x434c4f50

/* row = type << 32 | counter (internal.h). `live` holds what searches need to know about each resource that is not
 * deleted: its index values as one blob (values.c), so that a criterion can be decided and a sort key read by row; the
 * index_ tables hold the same values by value. Texts that repeat are numbers of `symbol`. */
/* clang-format off: statements, not prose */
static const char version_1[] =
        "CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE symbol(number INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT;"
        "CREATE TABLE type_name(number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;"
        "CREATE TABLE resource(row INTEGER PRIMARY KEY, type INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER"
        " NOT NULL, operation INTEGER NOT NULL, updated INTEGER NOT NULL, sequence INTEGER NOT NULL, body TEXT"
        " NOT NULL) STRICT;"
        "CREATE UNIQUE INDEX resource_id ON resource(type, id);"
        "CREATE INDEX resource_sequence ON resource(type, sequence);"
        "CREATE TABLE history(number INTEGER PRIMARY KEY, row INTEGER NOT NULL, type INTEGER NOT NULL, id TEXT"
        " NOT NULL, version INTEGER NOT NULL, operation INTEGER NOT NULL, updated INTEGER NOT NULL, sequence"
        " INTEGER NOT NULL, body TEXT NOT NULL) STRICT;"
        "CREATE UNIQUE INDEX history_version ON history(row, version);"
        "CREATE INDEX history_sequence ON history(type, sequence);"
        "CREATE TABLE live(row INTEGER PRIMARY KEY, type INTEGER NOT NULL, updated INTEGER NOT NULL, indexed"
        " INTEGER NOT NULL, content BLOB NOT NULL) STRICT;"
        "CREATE INDEX live_updated ON live(type, updated);"
        "CREATE TABLE index_token(parameter INTEGER NOT NULL, code TEXT NOT NULL, system INTEGER NOT NULL, row"
        " INTEGER NOT NULL, PRIMARY KEY(parameter, code, system, row)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE index_string(parameter INTEGER NOT NULL, folded TEXT NOT NULL, row INTEGER NOT NULL,"
        " PRIMARY KEY(parameter, folded, row)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE index_date(parameter INTEGER NOT NULL, lower INTEGER NOT NULL, upper INTEGER NOT NULL, row"
        " INTEGER NOT NULL, PRIMARY KEY(parameter, lower, upper, row)) STRICT, WITHOUT ROWID;"
        /* Intervals longer than a day and an hour, by their end: the others are found by their beginning (leaf.c). */
        "CREATE INDEX index_date_long ON index_date(parameter, upper) WHERE upper - lower > 90000000000;"
        "CREATE TABLE index_reference(parameter INTEGER NOT NULL, target TEXT NOT NULL, target_type INTEGER NOT"
        " NULL, row INTEGER NOT NULL, PRIMARY KEY(parameter, target, target_type, row)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE index_number(parameter INTEGER NOT NULL, low REAL NOT NULL, high REAL NOT NULL, row INTEGER"
        " NOT NULL, PRIMARY KEY(parameter, low, high, row)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE index_quantity(parameter INTEGER NOT NULL, low REAL NOT NULL, high REAL NOT NULL, code TEXT"
        " NOT NULL, system INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY(parameter, low, high, code,"
        " system, row)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE index_uri(parameter INTEGER NOT NULL, uri TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY"
        " KEY(parameter, uri, row)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE compartment(patient TEXT NOT NULL, row INTEGER NOT NULL, PRIMARY KEY(patient, row)) STRICT,"
        " WITHOUT ROWID;"
        "CREATE TABLE event(sequence INTEGER PRIMARY KEY, cause INTEGER NOT NULL, at INTEGER NOT NULL, kind TEXT"
        " NOT NULL, actor TEXT NOT NULL, key BLOB NOT NULL, type INTEGER NOT NULL, id TEXT NOT NULL, version"
        " INTEGER NOT NULL, detail TEXT NOT NULL, input BLOB NOT NULL, outcome TEXT NOT NULL, plugins INTEGER NOT"
        " NULL, zone_data TEXT NOT NULL) STRICT;"
        "CREATE TABLE instance(task TEXT PRIMARY KEY, row INTEGER NOT NULL, workflow TEXT NOT NULL, state TEXT"
        " NOT NULL, plugins TEXT NOT NULL, subject TEXT NOT NULL, patient TEXT NOT NULL, owner TEXT NOT NULL,"
        " started INTEGER NOT NULL, entered INTEGER NOT NULL, due INTEGER NOT NULL, final INTEGER NOT NULL, data"
        " TEXT NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE INDEX instance_state ON instance(workflow, state, due);"
        "CREATE INDEX instance_patient ON instance(patient, due);"
        "CREATE INDEX instance_live ON instance(due) WHERE final = 0;"
        "CREATE TABLE transition(sequence INTEGER NOT NULL, task TEXT NOT NULL, workflow TEXT NOT NULL, event"
        " TEXT NOT NULL, state_from TEXT NOT NULL, state_to TEXT NOT NULL, at INTEGER NOT NULL, actor TEXT NOT"
        " NULL, on_behalf_of TEXT NOT NULL, source TEXT NOT NULL, data TEXT NOT NULL, plugins INTEGER NOT NULL,"
        " PRIMARY KEY(sequence, task)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX transition_task ON transition(task);"
        "CREATE INDEX transition_workflow ON transition(workflow);"
        /* One row a name for ever: `fired` is the last generation that fired, `due` is NULL while none is set. */
        "CREATE TABLE timer(name TEXT PRIMARY KEY, generation INTEGER NOT NULL, fired INTEGER NOT NULL, due"
        " INTEGER, task TEXT NOT NULL, plugin TEXT NOT NULL, rule TEXT NOT NULL, data TEXT NOT NULL, quarantine"
        " TEXT) STRICT, WITHOUT ROWID;"
        "CREATE INDEX timer_due ON timer(due, name) WHERE due IS NOT NULL AND quarantine IS NULL;"
        "CREATE INDEX timer_task ON timer(task) WHERE due IS NOT NULL AND task <> '';"
        "CREATE TABLE outbox(number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, destination TEXT"
        " NOT NULL, body TEXT NOT NULL, created INTEGER NOT NULL, due INTEGER NOT NULL, attempts INTEGER NOT"
        " NULL, state TEXT NOT NULL, problem TEXT NOT NULL) STRICT;"
        "CREATE INDEX outbox_waiting ON outbox(destination, number) WHERE state = 'waiting';"
        "CREATE INDEX outbox_state ON outbox(state, number);"
        "CREATE TABLE inbox(sender TEXT NOT NULL, key TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(sender,"
        " key)) STRICT, WITHOUT ROWID;"
        /* Two tables because request ids are forgotten sooner than idempotency keys; numbers grow with time in
	 * each. */
        "CREATE TABLE request(number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, body_hash BLOB NOT NULL, at"
        " INTEGER NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL, type INTEGER NOT"
        " NULL, id TEXT NOT NULL, version INTEGER NOT NULL) STRICT;"
        "CREATE TABLE idempotency(number INTEGER PRIMARY KEY, principal TEXT NOT NULL, key BLOB NOT NULL,"
        " body_hash BLOB NOT NULL, at INTEGER NOT NULL, status INTEGER NOT NULL, headers TEXT NOT NULL, body BLOB"
        " NOT NULL, type INTEGER NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, UNIQUE(principal, key))"
        " STRICT;"
        "CREATE TABLE plugin_text(hash TEXT PRIMARY KEY, archive TEXT NOT NULL, at INTEGER NOT NULL) STRICT;"
        "CREATE TABLE bearer(hash BLOB PRIMARY KEY, principal TEXT NOT NULL, expires INTEGER NOT NULL, scope TEXT"
        " NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE audit(leaf INTEGER PRIMARY KEY, at INTEGER NOT NULL, principal TEXT NOT NULL, action TEXT"
        " NOT NULL, target TEXT NOT NULL, rule TEXT NOT NULL, outcome TEXT NOT NULL, request TEXT NOT NULL, hash"
        " BLOB NOT NULL) STRICT;";
/* clang-format on */

/* The blobs of `live` got kinds of values that version 1 cannot read; what they are made of comes with the next pass over
 * the rows, which this makes due. */
static const char version_2[] = "DELETE FROM meta WHERE name IN ('index_version', 'index_row')";

/* What an undo needs: what the instance was before a transition, and whether one was taken back. */
static const char version_3[] = "ALTER TABLE transition ADD COLUMN former TEXT NOT NULL DEFAULT '';"
                                "ALTER TABLE transition ADD COLUMN undone INTEGER NOT NULL DEFAULT 0";

/* clang-format off: statements, not prose */
/* The criteria of a Subscription, whose rights it has, and what its resource must not show. */
static const char version_4[] =
        "CREATE TABLE subscription(id TEXT PRIMARY KEY, version INTEGER NOT NULL, state TEXT NOT NULL, type INTEGER"
        " NOT NULL, criteria TEXT NOT NULL, principal TEXT NOT NULL, made INTEGER NOT NULL, until INTEGER NOT NULL,"
        " endpoint TEXT NOT NULL, payload TEXT NOT NULL, headers TEXT NOT NULL, failures INTEGER NOT NULL, delivered"
        " INTEGER NOT NULL, delivered_at INTEGER NOT NULL, problem TEXT NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE INDEX outbox_destination ON outbox(destination, state, number);";

/* Clients that administrators registered, the assertions they have used, and whose a token is. */
static const char version_5[] =
        "ALTER TABLE bearer ADD COLUMN client TEXT NOT NULL DEFAULT '';"
        "ALTER TABLE bearer ADD COLUMN bound TEXT NOT NULL DEFAULT '';"
        "CREATE INDEX bearer_expires ON bearer(expires);"
        "CREATE TABLE client(id TEXT PRIMARY KEY, principal TEXT NOT NULL, keys TEXT NOT NULL, secret TEXT NOT"
        " NULL, scope TEXT NOT NULL, created INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE assertion(client TEXT NOT NULL, hash BLOB NOT NULL, expires INTEGER NOT NULL, request BLOB"
        " NOT NULL, PRIMARY KEY(client, hash)) STRICT, WITHOUT ROWID;"
        "CREATE INDEX assertion_expires ON assertion(expires);";
/* clang-format on */

const struct cl_migration cl_migrations[] = {
        {1, version_1}, {2, version_2}, {3, version_3}, {4, version_4}, {5, version_5},
};
const size_t cl_migration_count = sizeof(cl_migrations) / sizeof(cl_migrations[0]);

static int pragma_number(struct cl_store *store, const char *text, int64_t *out, struct cl_err *e)
{
	sqlite3_stmt *statement;
	int result = sqlite3_prepare_v2(store->db, text, -1, &statement, NULL);
	if (result != SQLITE_OK)
		return cl_sqlite_fail(store, result, "reading the schema version", e);
	if (sqlite3_step(statement) == SQLITE_ROW)
		*out = sqlite3_column_int64(statement, 0);
	result = sqlite3_finalize(statement);
	return result == SQLITE_OK ? 0 : cl_sqlite_fail(store, result, "reading the schema version", e);
}

static int read_versions(struct cl_store *store, int64_t *application, int64_t *version, struct cl_err *e)
{
	int code = pragma_number(store, "PRAGMA application_id", application, e);
	return code ? code : pragma_number(store, "PRAGMA user_version", version, e);
}

static int is_ours(struct cl_store *store, int64_t application, int64_t version, int64_t newest, struct cl_err *e)
{
	if (application != APPLICATION_ID)
		return cl_fail(e, CL_E_CORRUPT, "%s is not a Careloop organization file", store->path);
	if (version > newest)
		return cl_fail(e, CL_E_UNSUPPORTED,
		               "%s has schema version %lld, this careloop knows up to %lld: use the newer one",
		               store->path, (long long)version, (long long)newest);
	return 0;
}

static int apply(struct cl_store *store, const struct cl_migration *migration, struct cl_err *e)
{
	char versions[120];
	snprintf(versions, sizeof(versions), "PRAGMA user_version=%d; PRAGMA application_id=%d; COMMIT",
	         migration->version, APPLICATION_ID);
	int code = cl_execute(store, "BEGIN IMMEDIATE", e);
	if (!code)
		code = cl_execute(store, migration->sql, e);
	if (!code)
		code = cl_execute(store, versions, e);
	if (code && !sqlite3_get_autocommit(store->db))
		cl_execute(store, "ROLLBACK", NULL);
	return code;
}

int cl_schema_migrate(struct cl_store *store, const struct cl_migration *migrations, size_t count, struct cl_err *e)
{
	int64_t application = 0, version = 0, tables = 0;
	int newest = migrations[count - 1].version;
	int code = read_versions(store, &application, &version, e);
	if (!code)
		code = pragma_number(store, "SELECT count(*) FROM sqlite_schema", &tables, e);
	if (code)
		return code;
	bool fresh = tables == 0 && version == 0 && application == 0;
	if (!fresh && (code = is_ours(store, application, version, newest, e)) != 0)
		return code;
	if (version == newest)
		return 0;
	if (!fresh) {
		struct cl_buf path;
		cl_buf_init(&path, 0);
		cl_buf_printf(&path, "%s.before-%d", store->path, newest);
		cl_buf_add_byte(&path, 0);
		code = access(path.p, F_OK) == 0 ? 0 : cl_store_backup(store, path.p, e);
		if (!code)
			cl_log(CL_LOG_INFO, "store-migrate", "file=%s from=%lld to=%d backup=%s", store->path,
			       (long long)version, newest, path.p);
		cl_buf_free(&path);
	}
	for (size_t i = 0; !code && i < count; i++)
		if (migrations[i].version > version)
			code = apply(store, &migrations[i], e);
	return code;
}

int cl_schema_check(struct cl_store *store, struct cl_err *e)
{
	int64_t application = 0, version = 0, newest = cl_migrations[cl_migration_count - 1].version;
	int code = read_versions(store, &application, &version, e);
	if (!code)
		code = is_ours(store, application, version, newest, e);
	if (!code && version < newest)
		code = cl_fail(e, CL_E_BUSY, "%s has schema version %lld: open it for writing first", store->path,
		               (long long)version);
	return code;
}
