/* internal.h: what the files of this room share. Not for other rooms. */
#pragma once
#include "org/store/store.h"
#include <sqlite3.h>
#include <stdatomic.h>

#define CL_BALLAST_SIZE (8 << 20) /* bytes given back to a full disk, so that audit and shutdown still work */
#define CL_WAL_KEEP (32 << 20) /* bytes of write-ahead log kept for reuse after a checkpoint */
#define CL_STATEMENT_SLOTS 512 /* power of two, well above the number of statements of this room */
#define CL_SCRATCH_DEPTH 16 /* resources within chains within chains */
#define CL_CRITERION_DEPTH 64 /* criteria within criteria */

/* Row numbers carry the type in their upper bits: all resources of a type are neighbours in the row order. */
#define CL_ROW_SHIFT 32
static inline int64_t cl_row_first(uint16_t type)
{
	return (int64_t)type << CL_ROW_SHIFT;
}
static inline int64_t cl_row_last(uint16_t type)
{
	return cl_row_first(type) | (int64_t)UINT32_MAX;
}
static inline uint16_t cl_row_type(int64_t row)
{
	return (uint16_t)(row >> CL_ROW_SHIFT);
}

/* ---- symbols: texts that repeat (code systems, type names, plugin hashes), stored once (symbol.c) ---- */
struct cl_symbol {
	int64_t number;
	size_t n;
	char text[];
};
struct cl_symbols {
	struct cl_symbol **by_text; /* open addressing; capacity is a power of two */
	size_t capacity, count;
	struct cl_symbol **by_number;
	size_t by_number_capacity;
	int64_t most; /* numbers from here on are not cached: a flood of made-up code systems costs time, not memory */
	int64_t next; /* writer: the number that the next new text gets */
};

/* ---- the compact range of the audit tree: one peak for each bit set in size, largest first (audit.c) ---- */
struct cl_frontier {
	uint64_t size;
	unsigned count;
	uint8_t peaks[64][32];
};

/* ---- index values of one resource, decoded (values.c) ---- */
struct cl_values {
	struct cl_index index;
	size_t capacity;
	char *bytes; /* copy of the encoded form; texts point into it */
	size_t bytes_capacity;
	char **rare; /* symbol texts that were not in the cache; owned */
	size_t rare_count, rare_capacity;
};

struct cl_store {
	sqlite3 *db;
	bool writer;
	bool broken; /* a commit ended in an unknown state: nothing more is written (reliability.md decision 3) */
	bool transaction; /* writer: between begin and commit or rollback, as far as this room knows */
	bool savepoint;
	bool snapshot; /* reader: between snapshot_begin and snapshot_end */
	char *folder, *name, *path;
	int lock; /* descriptor of the sidecar lock; -1 for readers */
	bool ballast;
	int64_t wal_frames; /* in the log after the last commit */
	int page_size;

	struct cl_arena *arena; /* lives as long as the store: identity, type names */
	struct cl_str uuid;
	uint64_t incarnation;
	uint8_t secret[32];
	struct cl_str *types; /* by number */
	size_t type_count;

	struct {
		const char *text; /* the key is the address of a constant */
		sqlite3_stmt *statement;
	} statements[CL_STATEMENT_SLOTS];
	size_t statement_count;

	bool selecting; /* the running statement is a SELECT: only these may be stopped (pitfalls 3) */
	int (*progress)(void *context);
	void *progress_context;
	unsigned work; /* units since the last look at progress and interruption */
	atomic_bool interrupted;

	struct cl_symbols symbols;
	int64_t symbols_at_begin, symbols_at_savepoint;
	uint64_t subscription_generation;
	bool subscriptions_touched; /* in this transaction */
	uint64_t last_sequence; /* writer's cache */
	bool last_sequence_known;
	int64_t *next_rows; /* writer's cache by type; 0 = ask the file */
	uint16_t next_rows_low, next_rows_high;
	struct cl_frontier frontier, frontier_at_begin, frontier_at_savepoint;
	bool frontier_changed;

	/* How a search is planned (search.c, rows.c): index rows of each alternative that are looked at first;
	 * candidates that are cheaper to look at than anything else; index rows walked in the order of the search
	 * before its candidates are listed after all. Fields only so that tests can reach every plan with little data.
	 * */
	struct {
		size_t first_look, few, walk_first;
	} plan;
	struct cl_values *scratch[CL_SCRATCH_DEPTH]; /* one for each level of decisions within decisions */
	unsigned scratch_depth;
	int index_version; /* of the extraction rules, beside each row (pitfalls 15) */
	struct cl_buf buffer; /* scratch of one function; never across calls of this room's other functions */
};

/* ---- statement.c ---- */
/* What moves transactions is prepared at opening: ending one must not need memory. */
extern const char cl_text_begin[], cl_text_begin_read[], cl_text_commit[], cl_text_rollback[], cl_text_savepoint[],
        cl_text_release[], cl_text_rollback_to[];
int cl_statements_open(struct cl_store *store, struct cl_err *e);
/* The prepared statement of a constant text, reset. NULL with `e` filled when it cannot be prepared. */
sqlite3_stmt *cl_statement(struct cl_store *store, const char *text, struct cl_err *e);
/* The code of an error that cl_statement has filled. */
static inline int cl_unprepared(const struct cl_err *e)
{
	return e && e->code ? e->code : CL_E_INTERNAL;
}
/* 1 = a row, 0 = done (the statement is reset), else the error (reset too). Leave a loop early only with sqlite3_reset.
 * */
int cl_step(struct cl_store *store, sqlite3_stmt *statement, struct cl_err *e);
/* For statements without rows: steps, resets, 0 or the error. */
int cl_run(struct cl_store *store, sqlite3_stmt *statement, struct cl_err *e);
/* A constant text without parameters and rows, prepared for once only. */
int cl_execute(struct cl_store *store, const char *text, struct cl_err *e);
/* Texts and blobs are bound by reference: they must live until the statement has been reset. */
void cl_bind_text(sqlite3_stmt *statement, int place, struct cl_str text);
void cl_bind_blob(sqlite3_stmt *statement, int place, struct cl_str bytes);
/* Copies into the arena. NULL columns read as empty. */
struct cl_str cl_column(struct cl_arena *arena, sqlite3_stmt *statement, int place);
/* Borrowed until the statement moves on. */
struct cl_str cl_column_borrow(sqlite3_stmt *statement, int place);
/* Maps a result code, notices when SQLite has rolled everything back, releases the ballast when the disk is full. */
int cl_sqlite_fail(struct cl_store *store, int result, const char *doing, struct cl_err *e);
/* Counts `units` of about a microsecond of reading; CL_E_LIMIT when the caller should stop. */
int cl_work(struct cl_store *store, unsigned units, struct cl_err *e);
/* Several reads of one call see one commit. `opened` is handed back to cl_read_end. */
int cl_read_begin(struct cl_store *store, bool *opened, struct cl_err *e);
void cl_read_end(struct cl_store *store, bool opened);
/* CL_E_INTERNAL unless this is the writer inside a transaction. */
int cl_need_transaction(struct cl_store *store, struct cl_err *e);
/* Memory of a growing array; aborts when there is none. `capacity` is in elements. */
void *cl_grow(void *array, size_t *capacity, size_t needed, size_t element);
/* Room for one more element of an array in the arena. */
void *cl_arena_grow(struct cl_arena *arena, void *array, size_t *capacity, size_t count, size_t element);

/* ---- store.c ---- */
int cl_store_load_identity(struct cl_store *store, struct cl_err *e);
/* Empty when the number has no name. */
struct cl_str cl_type_name(struct cl_store *store, uint16_t type);
uint16_t cl_type_number(struct cl_store *store, struct cl_str name);
void cl_ballast_fill(struct cl_store *store);
void cl_ballast_release(struct cl_store *store);

/* ---- transaction.c ---- */
/* Forgets what was cached since begin (or since the savepoint). */
void cl_store_forget(struct cl_store *store, bool to_savepoint);

/* ---- schema.c ---- */
struct cl_migration {
	int version;
	const char *sql;
};
extern const struct cl_migration cl_migrations[];
extern const size_t cl_migration_count;
/* Brings the file to the last of `migrations`, each in its own transaction; a file that already has tables is copied to
 * <folder>/<name>.db.before-<version> first. CL_E_UNSUPPORTED when the file is newer. */
int cl_schema_migrate(struct cl_store *store, const struct cl_migration *migrations, size_t count, struct cl_err *e);
int cl_schema_check(struct cl_store *store, struct cl_err *e); /* readers: the version must be the known one */

/* ---- symbol.c ---- */
/* The number of a text; 0 is the empty text. Not found: -1, or with `add` (writer) a new one. */
int cl_symbol_number(struct cl_store *store, struct cl_str text, bool add, int64_t *out, struct cl_err *e);
/* The text of a number. Cached ones live until a rollback; others are kept by `values`. */
int cl_symbol_text(struct cl_store *store, int64_t number, struct cl_values *values, struct cl_str *out,
                   struct cl_err *e);
int cl_symbols_open(struct cl_store *store, struct cl_err *e);
void cl_symbols_drop(struct cl_store *store, int64_t from); /* numbers >= from were rolled back */
void cl_symbols_free(struct cl_store *store);

/* ---- values.c ---- */
/* Encodes into `out` (emptied first). Adds symbols. */
int cl_values_encode(struct cl_store *store, const struct cl_index *index, struct cl_buf *out, struct cl_err *e);
/* Copies `encoded`; the order is that of encoding. */
int cl_values_decode(struct cl_store *store, struct cl_str encoded, struct cl_values *out, struct cl_err *e);
void cl_values_free(struct cl_values *values);
/* The stored values of a live resource: 1 = found, 0 = not live. `updated` may be NULL. */
int cl_values_load(struct cl_store *store, int64_t row, struct cl_values *out, cl_instant *updated, struct cl_err *e);
/* First value of (kind, parameter) and how many follow. For compartments the parameter is not looked at. */
size_t cl_values_find(const struct cl_index *index, uint8_t kind, uint16_t parameter,
                      const struct cl_index_value **first);

/* ---- resource.c ---- */
/* The live resource with this type and id: 1 = found, 0 = none. */
int cl_resource_row(struct cl_store *store, uint16_t type, struct cl_str id, int64_t *row, struct cl_err *e);
/* From a statement whose columns are row, type, id, version, operation, updated, sequence and, with `body`, body. */
void cl_version_fill(struct cl_arena *arena, sqlite3_stmt *statement, bool body, struct cl_version *out);
/* Fills a version from the current state of `row`: 1 = found. */
int cl_resource_by_row(struct cl_store *store, struct cl_arena *arena, int64_t row, bool body, struct cl_version *out,
                       struct cl_err *e);

/* Binds one value to a statement on its index table: ?1 parameter, ?2 and ?3 the key, ?4 row, ?5 and ?6 code and
 * system. */
int cl_bind_value(struct cl_store *store, sqlite3_stmt *statement, const struct cl_index_value *value, int64_t row,
                  struct cl_err *e);

/* ---- relation.c: a relation to an interval is at most two boxes in the plane of (lower, upper), bounds included ----
 * */
struct cl_box {
	int64_t lower_least, lower_most, upper_least, upper_most;
};
struct cl_number_box {
	double low_least, low_most, high_least, high_most;
};
/* How many boxes (0-2) were written. They do not overlap. */
unsigned cl_relation_boxes(uint8_t relation, int64_t lower, int64_t upper, struct cl_box out[2]);
unsigned cl_relation_number_boxes(uint8_t relation, double low, double high, struct cl_number_box out[2]);
bool cl_relation_holds(uint8_t relation, int64_t lower, int64_t upper, int64_t stored_lower, int64_t stored_upper);
bool cl_relation_holds_number(uint8_t relation, double low, double high, double stored_low, double stored_high);
/* The smallest text greater than every text that starts with `prefix`; false when there is none. */
bool cl_prefix_end(struct cl_buf *out, struct cl_str prefix);

/* ---- criterion.c ---- */
#define CL_ID_MAXIMUM 64 /* bytes: FHIR's own limit, enforced by cl_store_put */
/* What is being decided on. Unknown parts are looked up by row when a criterion asks for them. */
struct cl_subject {
	int64_t row; /* 0 = not known */
	uint16_t type;
	bool has_id, has_updated;
	struct cl_str id;
	cl_instant updated;
	const struct cl_index *values;
	char id_bytes[CL_ID_MAXIMUM];
};
struct cl_team_answer {
	const struct cl_criterion *criterion;
	uint64_t hash;
	bool member;
	struct cl_str patient; /* owned */
};
/* Answers for one question, so that the same patient's care team is looked up once. Set `store`, else zero-initialize;
 * end with cl_decider_free. */
struct cl_decider {
	struct cl_store *store;
	unsigned nesting;
	struct cl_team_answer *teams; /* open addressing; capacity is a power of two */
	size_t team_count, team_capacity;
};
void cl_decider_free(struct cl_decider *decider);
int cl_decide(struct cl_decider *decider, const struct cl_criterion *criterion, struct cl_subject *subject, bool *out,
              struct cl_err *e);
/* The row's stored values against the criterion; false when it is not live. */
int cl_decide_row(struct cl_decider *decider, const struct cl_criterion *criterion, int64_t row, bool *out,
                  struct cl_err *e);
/* Fills subject->id. */
int cl_subject_id(struct cl_store *store, struct cl_subject *subject, struct cl_err *e);
/* Is this CareTeam active, with a participant among the members? */
bool cl_team_counts(const struct cl_criterion *criterion, const struct cl_index *team);
/* A scratch for stored values; nests, leave in reverse order. CL_E_LIMIT when too deep. */
int cl_scratch_enter(struct cl_store *store, struct cl_values **out, struct cl_err *e);
void cl_scratch_leave(struct cl_store *store);

/* ---- leaf.c: rows from one index ---- */
struct cl_rows {
	int64_t *items;
	size_t count, capacity;
};
void cl_rows_add(struct cl_rows *rows, int64_t row);
void cl_rows_free(struct cl_rows *rows);
/* Sorts and removes duplicates. */
void cl_rows_normalize(struct cl_rows *rows);
/* Is there an index for it? */
bool cl_leaf_listable(const struct cl_criterion *criterion);
/* Is it one key of one index, so that rows come in order and each once? */
bool cl_leaf_exact(const struct cl_criterion *criterion);
/* Appends the rows of a listable leaf, in any order and possibly more than once; looks at no more than `most` index
 * rows, then `complete` is false. */
int cl_leaf_list(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, size_t most,
                 struct cl_rows *out, bool *complete, struct cl_err *e);
/* For exact ones: appends the next rows after `after`, at most `most`, in order. */
int cl_leaf_next(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, int64_t after,
                 size_t most, struct cl_rows *out, struct cl_err *e);
/* For exact ones: is this row among them? Cheaper than its stored values, where many rows are not. */
int cl_leaf_has(struct cl_store *store, const struct cl_criterion *criterion, int64_t row, bool *out, struct cl_err *e);
/* For exact ones: how many. */
int cl_leaf_count(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, int64_t *out,
                  struct cl_err *e);

/* ---- rows.c: rows of whole criteria ---- */
/* Can the rows be listed from indexes without looking at every resource of the type? */
bool cl_rows_listable(const struct cl_criterion *criterion);
/* All rows of the type that satisfy a listable criterion, sorted, each once; or, when that would look at more than
 * about `most` index rows, some of them and `complete` false. `out` is emptied first. */
int cl_rows_list(struct cl_decider *decider, const struct cl_criterion *criterion, uint16_t type, size_t most,
                 struct cl_rows *out, bool *complete, struct cl_err *e);
/* The rows of whichever of `terms` has the fewest, counting each to `most` at most; `chosen` is its place. When none
 * was complete, `chosen` is a listable one, exact if possible; `count` when there is none. */
int cl_rows_pick(struct cl_decider *decider, const struct cl_criterion *const *terms, size_t count, uint16_t type,
                 size_t most, struct cl_rows *out, size_t *chosen, bool *complete, struct cl_err *e);

/* ---- page.c: the best few rows in the order of a search, and the place where the next page begins ---- */
#define CL_SORT_MAXIMUM 8
struct cl_key {
	bool missing;
	uint8_t form; /* what counts: 'i' integer, 'r' real, 't' text */
	int64_t integer;
	double real;
	struct cl_str text;
};
struct cl_entry {
	int64_t row;
	int64_t version; /* that is shown: 0 = the current one */
	struct cl_key *keys; /* one for each sort */
};
struct cl_page {
	struct cl_store *store;
	struct cl_arena *arena;
	const struct cl_query *query;
	size_t most; /* limit + 1 */
	struct cl_entry *entries; /* a heap with the worst on top, until cl_page_finish sorts it */
	size_t count, capacity;
	bool has_after;
	struct cl_entry after;
	uint64_t sequence; /* the last when the first page was asked for */
	int64_t last_row; /* rows made after the first page was asked for are left out */
};
/* CL_E_INVALID when query->after is not a place of this search in this file. */
int cl_page_open(struct cl_page *page, struct cl_store *store, struct cl_arena *arena, const struct cl_query *query,
                 struct cl_err *e);
void cl_page_free(struct cl_page *page);
/* The sort keys of a row, borrowing from its values and subject. `keys` holds sort_count. */
int cl_page_keys(struct cl_page *page, struct cl_subject *subject, struct cl_key *keys, struct cl_err *e);
/* Missing ones are last in both directions. */
int cl_key_compare(const struct cl_key *x, const struct cl_key *y, bool descending);
/* Keeps it if it comes after the place and is among the best. Copies what it keeps. */
void cl_page_offer(struct cl_page *page, int64_t row, int64_t version, const struct cl_key *keys);
bool cl_page_has(const struct cl_page *page, int64_t row);
bool cl_page_full(const struct cl_page *page);
void cl_page_finish(struct cl_page *page);
/* The opaque place after `entry`. */
int cl_page_place(struct cl_page *page, const struct cl_entry *entry, struct cl_str *out, struct cl_err *e);

/* ---- history.c ---- */
/* An earlier version by row and number; CL_E_CORRUPT when there is none. */
int cl_history_version(struct cl_store *store, struct cl_arena *arena, int64_t row, int64_t version, bool body,
                       struct cl_version *out, struct cl_err *e);

/* ---- audit.c ---- */
int cl_audit_frontier_load(struct cl_store *store, struct cl_err *e);
/* Writes the compact range when leaves were added in this transaction. */
int cl_audit_frontier_save(struct cl_store *store, struct cl_err *e);
