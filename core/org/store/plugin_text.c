/* plugin_text.c: every plugin set that was ever in force, by hash, for explain and replay. */
#include "org/store/internal.h"

int cl_store_plugins_put(struct cl_store *store, struct cl_str hash, struct cl_str archive_json, cl_instant at,
                         struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	/* The hash is that of the text: a second put changes nothing. */
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT INTO plugin_text(hash, archive, at) VALUES(?1, ?2, ?3)"
	                                       " ON CONFLICT DO NOTHING",
	                                       e);
	if (statement) {
		cl_bind_text(statement, 1, hash);
		cl_bind_text(statement, 2, archive_json);
		sqlite3_bind_int64(statement, 3, at);
	}
	return cl_run(store, statement, e);
}

int cl_store_plugins_get(struct cl_store *store, struct cl_arena *arena, struct cl_str hash,
                         struct cl_str *archive_json, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, "SELECT archive FROM plugin_text WHERE hash = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, hash);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_NOT_FOUND, "no plugin set %.*s is kept", CL_STR_ARGS(hash));
	*archive_json = cl_column(arena, statement, 0);
	sqlite3_reset(statement);
	return 0;
}
