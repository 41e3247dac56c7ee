/* reindex.c: index values made by other extraction rules are made again (pitfalls 15). */
#include "org/engine/reindex.h"
#include "base/json.h"
#include "base/log.h"
#include "org/fhir/index.h"
#include <stdlib.h>

#define BATCH 500

static int64_t read_number(struct cl_store *store, struct cl_arena *arena, const char *name, int *code,
                           struct cl_err *e)
{
	struct cl_str text = CL_STR_NONE;
	if (!*code)
		*code = cl_store_meta_get(store, arena, name, &text, e);
	return *code || !text.n ? 0 : strtoll(cl_arena_cstring(arena, text), NULL, 10);
}

static int write_number(struct cl_store *store, struct cl_arena *arena, const char *name, int64_t number,
                        struct cl_err *e)
{
	return cl_store_meta_set(store, name, cl_arena_printf(arena, "%lld", (long long)number), e);
}

static int reindex_one(struct cl_store *store, struct cl_arena *arena, const struct cl_version *version,
                       struct cl_err *e)
{
	struct cl_index values;
	int code = cl_fhir_index_text(arena, version->type, version->body, &values, e);
	return code ? code : cl_store_reindex(store, version->row, &values, e);
}

/* One batch, in a transaction that also says how far it is. */
static int run_batch(struct cl_store *store, struct cl_arena *arena, int64_t *after, bool *more, struct cl_err *e)
{
	struct cl_version_list list = {0};
	int code = cl_store_begin(store, e);
	if (code)
		return code;
	code = cl_store_stale(store, arena, *after, BATCH, &list, e);
	for (size_t i = 0; !code && i < list.count; i++) {
		*after = list.items[i].row;
		code = reindex_one(store, arena, &list.items[i], e);
	}
	*more = list.more;
	if (!code && list.more)
		code = write_number(store, arena, "index_row", *after, e);
	else if (!code)
		code = write_number(store, arena, "index_row", 0, e);
	if (!code && !list.more)
		code = write_number(store, arena, "index_version", CL_FHIR_INDEX_VERSION, e);
	if (!code)
		return cl_store_commit(store, e);
	cl_store_rollback(store);
	return code;
}

int cl_reindex(struct cl_store *store, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	bool more = true;
	int code = 0, said = 0;
	cl_store_set_index_version(store, CL_FHIR_INDEX_VERSION);
	int64_t version = read_number(store, arena, "index_version", &code, e);
	int64_t after = read_number(store, arena, "index_row", &code, e);
	if (!code && version == CL_FHIR_INDEX_VERSION)
		more = false;
	while (!code && more) {
		cl_arena_reset(arena);
		code = run_batch(store, arena, &after, &more, e);
		if (!code && more && !said++)
			cl_log(CL_LOG_INFO, "reindex", "from=%lld to=%d", (long long)version, CL_FHIR_INDEX_VERSION);
	}
	if (!code && said)
		cl_log(CL_LOG_INFO, "reindex-done", "version=%d", CL_FHIR_INDEX_VERSION);
	cl_arena_free(arena);
	return code;
}
