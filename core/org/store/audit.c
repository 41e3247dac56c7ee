/* audit.c: the Merkle log of who did what (RFC 6962 section 2.1). Each leaf has its record and its hash; of the inner
 * nodes only the peaks of the complete subtrees are kept, from which the root follows and to which a leaf is added in a
 * few hashes. */
#include "org/store/internal.h"
#include "org/store/audit.h"
#include "base/hash.h"
#include "base/json.h"

#define FRONTIER "audit.frontier"

static void node_hash(const uint8_t left[32], const uint8_t right[32], uint8_t out[32])
{
	char bytes[65];
	bytes[0] = 1;
	memcpy(bytes + 1, left, 32);
	memcpy(bytes + 33, right, 32);
	cl_sha256_of((struct cl_str){bytes, sizeof(bytes)}, out);
}

static void add_leaf(struct cl_frontier *frontier, const uint8_t leaf[32])
{
	uint8_t node[32];
	memcpy(node, leaf, 32);
	for (uint64_t size = frontier->size; size & 1; size >>= 1)
		node_hash(frontier->peaks[--frontier->count], node, node);
	memcpy(frontier->peaks[frontier->count++], node, 32);
	frontier->size++;
}

static void root_of(const struct cl_frontier *frontier, uint8_t out[32])
{
	if (!frontier->count) {
		cl_sha256_of(CL_STR_NONE, out);
		return;
	}
	memcpy(out, frontier->peaks[frontier->count - 1], 32);
	for (unsigned i = frontier->count - 1; i-- > 0;)
		node_hash(frontier->peaks[i], out, out);
}

/* The canonical text: one JSON array, members in this order, compact. What auditors recompute. */
static void leaf_hash(struct cl_buf *text, const struct cl_audit_record *record, uint8_t out[32])
{
	const struct cl_str fields[] = {record->principal, record->action,  record->target,
	                                record->rule,      record->outcome, record->request};
	cl_buf_clear(text);
	cl_buf_add_byte(text, 0);
	cl_buf_printf(text, "[%llu,%lld", (unsigned long long)record->sequence, (long long)record->at);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		cl_buf_add_byte(text, ',');
		cl_json_write_text(text, fields[i]);
	}
	cl_buf_add_byte(text, ']');
	cl_sha256_of(cl_buf_str(text), out);
}

/* ---- the frontier ---- */

static int read_frontier(struct cl_store *store, struct cl_frontier *out, struct cl_err *e)
{
	*out = (struct cl_frontier){0};
	sqlite3_stmt *statement = cl_statement(store, "SELECT value FROM meta WHERE name = '" FRONTIER "'", e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code;
	struct cl_str value = cl_column_borrow(statement, 0);
	unsigned peaks = 0;
	if (value.n >= 8) {
		memcpy(&out->size, value.p, 8);
		peaks = (unsigned)__builtin_popcountll(out->size);
	}
	if (value.n < 8 || value.n != 8 + 32 * (size_t)peaks) {
		sqlite3_reset(statement);
		return cl_fail(e, CL_E_CORRUPT, "the audit log's frontier cannot be read");
	}
	out->count = peaks;
	memcpy(out->peaks, value.p + 8, 32 * (size_t)peaks);
	sqlite3_reset(statement);
	return 0;
}

int cl_audit_frontier_load(struct cl_store *store, struct cl_err *e)
{
	int code = read_frontier(store, &store->frontier, e);
	store->frontier_changed = false;
	return code;
}

int cl_audit_frontier_save(struct cl_store *store, struct cl_err *e)
{
	char bytes[8 + sizeof(store->frontier.peaks)];
	size_t n = 32 * (size_t)store->frontier.count;

	if (!store->frontier_changed)
		return 0;
	memcpy(bytes, &store->frontier.size, 8);
	memcpy(bytes + 8, store->frontier.peaks, n);
	int code = cl_store_meta_set(store, FRONTIER, (struct cl_str){bytes, 8 + n}, e);
	if (!code)
		store->frontier_changed = false;
	return code;
}

/* ---- appending ---- */

int cl_audit_append(struct cl_store *store, struct cl_audit_record *record, struct cl_err *e)
{
	uint8_t hash[32];

	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT INTO audit(leaf, at, principal, action, target, rule, outcome,"
	                                       " request, hash) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	record->sequence = store->frontier.size;
	leaf_hash(&store->buffer, record, hash);
	sqlite3_bind_int64(statement, 1, (int64_t)record->sequence);
	sqlite3_bind_int64(statement, 2, record->at);
	cl_bind_text(statement, 3, record->principal);
	cl_bind_text(statement, 4, record->action);
	cl_bind_text(statement, 5, record->target);
	cl_bind_text(statement, 6, record->rule);
	cl_bind_text(statement, 7, record->outcome);
	cl_bind_text(statement, 8, record->request);
	cl_bind_blob(statement, 9, (struct cl_str){(const char *)hash, sizeof(hash)});
	code = cl_run(store, statement, e);
	if (!code) {
		add_leaf(&store->frontier, hash);
		store->frontier_changed = true;
	}
	return code;
}

int cl_audit_head(struct cl_store *store, struct cl_audit_head *out, struct cl_err *e)
{
	struct cl_frontier frontier;
	int code = 0;

	if (!store->writer)
		code = read_frontier(store, &frontier, e);
	else
		frontier = store->frontier;
	if (code)
		return code;
	out->size = frontier.size;
	root_of(&frontier, out->root);
	return 0;
}

/* ---- looking back ---- */

#define COLUMNS "leaf, at, principal, action, target, rule, outcome, request"

static struct cl_audit_record record_of(sqlite3_stmt *statement)
{
	return (struct cl_audit_record){
	        .sequence = (uint64_t)sqlite3_column_int64(statement, 0),
	        .at = sqlite3_column_int64(statement, 1),
	        .principal = cl_column_borrow(statement, 2),
	        .action = cl_column_borrow(statement, 3),
	        .target = cl_column_borrow(statement, 4),
	        .rule = cl_column_borrow(statement, 5),
	        .outcome = cl_column_borrow(statement, 6),
	        .request = cl_column_borrow(statement, 7),
	};
}

static int check_known(const struct cl_frontier *frontier, const struct cl_audit_head *known, struct cl_err *e)
{
	uint8_t root[32];
	if (!known || frontier->size != known->size)
		return 0;
	root_of(frontier, root);
	if (memcmp(root, known->root, 32) == 0)
		return 0;
	return cl_fail(e, CL_E_CORRUPT,
	               "the audit log is not the one whose head was known: the first %llu leaves were rewritten",
	               (unsigned long long)known->size);
}

static int check_leaf(struct cl_buf *text, sqlite3_stmt *statement, struct cl_frontier *frontier, struct cl_err *e)
{
	uint8_t hash[32];
	struct cl_audit_record record = record_of(statement);
	struct cl_str stored = cl_column_borrow(statement, 8);

	if (record.sequence != frontier->size)
		return cl_fail(e, CL_E_CORRUPT, "audit leaf %llu is missing", (unsigned long long)frontier->size);
	leaf_hash(text, &record, hash);
	if (stored.n != 32 || memcmp(stored.p, hash, 32) != 0)
		return cl_fail(e, CL_E_CORRUPT, "audit leaf %llu was changed", (unsigned long long)record.sequence);
	add_leaf(frontier, hash);
	return 0;
}

static int verify(struct cl_store *store, const struct cl_audit_head *known, struct cl_frontier *frontier,
                  struct cl_err *e)
{
	struct cl_frontier kept;
	struct cl_buf text;
	uint8_t root[32], kept_root[32];

	int code = read_frontier(store, &kept, e);
	if (store->writer && store->transaction)
		kept = store->frontier;
	if (!code)
		code = check_known(frontier, known, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "SELECT " COLUMNS ", hash FROM audit ORDER BY leaf", e);
	if (!statement)
		return cl_unprepared(e);
	cl_buf_init(&text, 0);
	while ((code = cl_step(store, statement, e)) == 1) {
		if ((code = check_leaf(&text, statement, frontier, e)) != 0 ||
		    (code = check_known(frontier, known, e)) != 0 || (code = cl_work(store, 1, e)) != 0)
			break;
	}
	sqlite3_reset(statement);
	cl_buf_free(&text);
	if (code)
		return code;
	if (frontier->size < kept.size || (known && frontier->size < known->size))
		return cl_fail(e, CL_E_CORRUPT, "audit leaf %llu is missing: the log was cut",
		               (unsigned long long)frontier->size);
	root_of(frontier, root);
	root_of(&kept, kept_root);
	if (frontier->size != kept.size || memcmp(root, kept_root, 32) != 0)
		return cl_fail(e, CL_E_CORRUPT, "audit leaf %llu does not belong to the log: its root differs",
		               (unsigned long long)kept.size);
	return 0;
}

int cl_audit_verify(struct cl_store *store, const struct cl_audit_head *known, struct cl_audit_head *out,
                    struct cl_err *e)
{
	struct cl_frontier frontier = {0};
	bool opened;

	int code = cl_read_begin(store, &opened, e);
	if (code)
		return code;
	code = verify(store, known, &frontier, e);
	cl_read_end(store, opened);
	if (!code && out) {
		out->size = frontier.size;
		root_of(&frontier, out->root);
	}
	return code;
}

int cl_audit_list(struct cl_store *store, struct cl_str principal, struct cl_str target, uint32_t limit,
                  cl_audit_visitor visit, void *context, struct cl_err *e)
{
	int code;

	sqlite3_stmt *statement = cl_statement(store,
	                                       "SELECT " COLUMNS " FROM audit WHERE (?1 = '' OR principal = ?1)"
	                                       " AND (?2 = '' OR target = ?2) ORDER BY leaf DESC LIMIT ?3",
	                                       e);
	if (!statement)
		return cl_unprepared(e);
	if (sqlite3_stmt_busy(statement))
		return cl_fail(e, CL_E_INTERNAL, "the audit log is being listed already");
	cl_bind_text(statement, 1, principal);
	cl_bind_text(statement, 2, target);
	sqlite3_bind_int64(statement, 3, limit);
	while ((code = cl_step(store, statement, e)) == 1) {
		struct cl_audit_record record = record_of(statement);
		if (visit(&record, context))
			break;
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}
