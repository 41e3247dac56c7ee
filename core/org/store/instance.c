/* instance.c: workflow instances and the transitions they made. */
#include "org/store/internal.h"

#define COLUMNS "task, row, workflow, state, plugins, subject, patient, owner, started, entered, due, final, data"

int cl_store_instance_put(struct cl_store *store, const struct cl_stored_instance *instance, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store,
	                                       "INSERT OR REPLACE INTO instance(" COLUMNS ")"
	                                       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
	                                       e);
	if (statement) {
		cl_bind_text(statement, 1, instance->task);
		sqlite3_bind_int64(statement, 2, instance->row);
		cl_bind_text(statement, 3, instance->workflow);
		cl_bind_text(statement, 4, instance->state);
		cl_bind_text(statement, 5, instance->plugins);
		cl_bind_text(statement, 6, instance->subject);
		cl_bind_text(statement, 7, instance->patient);
		cl_bind_text(statement, 8, instance->owner);
		sqlite3_bind_int64(statement, 9, instance->started);
		sqlite3_bind_int64(statement, 10, instance->entered);
		sqlite3_bind_int64(statement, 11, instance->due);
		sqlite3_bind_int(statement, 12, instance->final);
		cl_bind_text(statement, 13, instance->data);
	}
	return cl_run(store, statement, e);
}

static void fill(struct cl_arena *arena, sqlite3_stmt *statement, struct cl_stored_instance *out)
{
	*out = (struct cl_stored_instance){
	        .task = cl_column(arena, statement, 0),
	        .row = sqlite3_column_int64(statement, 1),
	        .workflow = cl_column(arena, statement, 2),
	        .state = cl_column(arena, statement, 3),
	        .plugins = cl_column(arena, statement, 4),
	        .subject = cl_column(arena, statement, 5),
	        .patient = cl_column(arena, statement, 6),
	        .owner = cl_column(arena, statement, 7),
	        .started = sqlite3_column_int64(statement, 8),
	        .entered = sqlite3_column_int64(statement, 9),
	        .due = sqlite3_column_int64(statement, 10),
	        .final = sqlite3_column_int(statement, 11) != 0,
	        .data = cl_column(arena, statement, 12),
	};
}

int cl_store_instance_get(struct cl_store *store, struct cl_arena *arena, struct cl_str task,
                          struct cl_stored_instance *out, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, "SELECT " COLUMNS " FROM instance WHERE task = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, task);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		fill(arena, statement, out);
		sqlite3_reset(statement);
		return 0;
	}
	return code ? code : cl_fail(e, CL_E_NOT_FOUND, "Task/%.*s is not a workflow instance", CL_STR_ARGS(task));
}

/* One text for each index that can answer; the rest of the conditions is checked on its rows. */
static const char *instances_text(struct cl_str workflow, struct cl_str state, struct cl_str patient, bool live_only)
{
#define REST                                                                                                           \
	" AND (?1 = '' OR workflow = ?1) AND (?2 = '' OR state = ?2) AND (?3 = '' OR patient = ?3)"                    \
	" AND (?4 = 0 OR final = 0) ORDER BY due, task LIMIT ?5"
	if (patient.n)
		return "SELECT " COLUMNS " FROM instance INDEXED BY instance_patient WHERE patient = ?3" REST;
	if (workflow.n && state.n)
		return "SELECT " COLUMNS
		       " FROM instance INDEXED BY instance_state WHERE workflow = ?1 AND state = ?2" REST;
	if (live_only)
		return "SELECT " COLUMNS " FROM instance INDEXED BY instance_live WHERE final = 0" REST;
	if (workflow.n)
		return "SELECT " COLUMNS " FROM instance INDEXED BY instance_state WHERE workflow = ?1" REST;
	return "SELECT " COLUMNS " FROM instance WHERE 1" REST;
#undef REST
}

static int gather(struct cl_store *store, sqlite3_stmt *statement, struct cl_arena *arena, struct cl_instance_list *out,
                  struct cl_err *e)
{
	size_t capacity = 0;
	int code;
	while ((code = cl_step(store, statement, e)) == 1) {
		out->items = cl_arena_grow(arena, out->items, &capacity, out->count, sizeof(*out->items));
		fill(arena, statement, &out->items[out->count++]);
	}
	return code;
}

int cl_store_instances(struct cl_store *store, struct cl_arena *arena, struct cl_str workflow, struct cl_str state,
                       struct cl_str patient, bool live_only, uint32_t limit, struct cl_instance_list *out,
                       struct cl_err *e)
{
	*out = (struct cl_instance_list){0};
	sqlite3_stmt *statement = cl_statement(store, instances_text(workflow, state, patient, live_only), e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, workflow);
	cl_bind_text(statement, 2, state);
	cl_bind_text(statement, 3, patient);
	sqlite3_bind_int(statement, 4, live_only);
	sqlite3_bind_int64(statement, 5, limit);
	return gather(store, statement, arena, out, e);
}

int cl_store_instances_after(struct cl_store *store, struct cl_arena *arena, struct cl_str workflow,
                             struct cl_str state, struct cl_str patient, bool live_only, struct cl_str after,
                             uint32_t limit, struct cl_instance_list *out, struct cl_err *e)
{
	*out = (struct cl_instance_list){0};
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "SELECT " COLUMNS " FROM instance WHERE task > ?1 AND (?2 = '' OR workflow = ?2)"
	                     " AND (?3 = '' OR state = ?3) AND (?4 = '' OR patient = ?4) AND (?5 = 0 OR final = 0)"
	                     " ORDER BY task LIMIT ?6",
	                     e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, after);
	cl_bind_text(statement, 2, workflow);
	cl_bind_text(statement, 3, state);
	cl_bind_text(statement, 4, patient);
	sqlite3_bind_int(statement, 5, live_only);
	sqlite3_bind_int64(statement, 6, limit);
	return gather(store, statement, arena, out, e);
}

/* ---- transitions ---- */

int cl_store_transition_append(struct cl_store *store, const struct cl_stored_transition *transition, struct cl_err *e)
{
	int64_t plugins;
	int code = cl_need_transaction(store, e);
	if (!code)
		code = cl_symbol_number(store, transition->plugins, true, &plugins, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store,
	                     "INSERT INTO transition(sequence, task, workflow, event, state_from, state_to,"
	                     " at, actor, on_behalf_of, source, data, plugins, former, undone)"
	                     " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
	                     e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, (int64_t)transition->sequence);
		cl_bind_text(statement, 2, transition->task);
		cl_bind_text(statement, 3, transition->workflow);
		cl_bind_text(statement, 4, transition->event);
		cl_bind_text(statement, 5, transition->from);
		cl_bind_text(statement, 6, transition->to);
		sqlite3_bind_int64(statement, 7, transition->at);
		cl_bind_text(statement, 8, transition->actor);
		cl_bind_text(statement, 9, transition->on_behalf_of);
		cl_bind_text(statement, 10, transition->source);
		cl_bind_text(statement, 11, transition->data);
		sqlite3_bind_int64(statement, 12, plugins);
		cl_bind_text(statement, 13, transition->former);
		sqlite3_bind_int64(statement, 14, (int64_t)transition->undone);
	}
	return cl_run(store, statement, e);
}

static const char *transitions_text(struct cl_str workflow, struct cl_str task)
{
#define SELECT                                                                                                         \
	"SELECT sequence, task, workflow, event, state_from, state_to, at, actor, on_behalf_of, source, data, s.text," \
	" former, undone FROM transition "
#define JOIN " LEFT JOIN symbol s ON s.number = plugins"
#define REST                                                                                                           \
	" AND (?1 = '' OR workflow = ?1) AND (?2 = '' OR task = ?2) AND at >= ?3 AND at < ?4"                          \
	" AND (?5 OR undone = 0) ORDER BY sequence, task"
	if (task.n)
		return SELECT "INDEXED BY transition_task" JOIN " WHERE task = ?2" REST;
	if (workflow.n)
		return SELECT "INDEXED BY transition_workflow" JOIN " WHERE workflow = ?1" REST;
	return SELECT "NOT INDEXED" JOIN " WHERE 1" REST;
#undef SELECT
#undef JOIN
#undef REST
}

static int visit_transitions(struct cl_store *store, struct cl_str workflow, struct cl_str task, cl_instant from,
                             cl_instant to, bool undone, cl_transition_visitor visit, void *context, struct cl_err *e)
{
	int code;

	sqlite3_stmt *statement = cl_statement(store, transitions_text(workflow, task), e);
	if (!statement)
		return cl_unprepared(e);
	if (sqlite3_stmt_busy(statement))
		return cl_fail(e, CL_E_INTERNAL, "transitions are being visited already");
	cl_bind_text(statement, 1, workflow);
	cl_bind_text(statement, 2, task);
	sqlite3_bind_int64(statement, 3, from);
	sqlite3_bind_int64(statement, 4, to);
	sqlite3_bind_int(statement, 5, undone);
	while ((code = cl_step(store, statement, e)) == 1) {
		struct cl_stored_transition transition = {
		        .sequence = (uint64_t)sqlite3_column_int64(statement, 0),
		        .task = cl_column_borrow(statement, 1),
		        .workflow = cl_column_borrow(statement, 2),
		        .event = cl_column_borrow(statement, 3),
		        .from = cl_column_borrow(statement, 4),
		        .to = cl_column_borrow(statement, 5),
		        .at = sqlite3_column_int64(statement, 6),
		        .actor = cl_column_borrow(statement, 7),
		        .on_behalf_of = cl_column_borrow(statement, 8),
		        .source = cl_column_borrow(statement, 9),
		        .data = cl_column_borrow(statement, 10),
		        .plugins = cl_column_borrow(statement, 11),
		        .former = cl_column_borrow(statement, 12),
		        .undone = (uint64_t)sqlite3_column_int64(statement, 13),
		};
		if (visit(&transition, context))
			break;
	}
	sqlite3_reset(statement);
	return code == 1 ? 0 : code;
}

int cl_store_transitions(struct cl_store *store, struct cl_str workflow, struct cl_str task, cl_instant from,
                         cl_instant to, cl_transition_visitor visit, void *context, struct cl_err *e)
{
	return visit_transitions(store, workflow, task, from, to, false, visit, context, e);
}

int cl_store_transitions_all(struct cl_store *store, struct cl_str task, cl_transition_visitor visit, void *context,
                             struct cl_err *e)
{
	return visit_transitions(store, CL_STR_NONE, task, INT64_MIN, INT64_MAX, true, visit, context, e);
}

int cl_store_transition_undone(struct cl_store *store, uint64_t sequence, struct cl_str task, uint64_t undone,
                               struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement =
	        cl_statement(store, "UPDATE transition SET undone = ?3 WHERE sequence = ?1 AND task = ?2", e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, (int64_t)sequence);
		cl_bind_text(statement, 2, task);
		sqlite3_bind_int64(statement, 3, (int64_t)undone);
	}
	return cl_run(store, statement, e);
}

bool cl_store_transition_is_undone(struct cl_store *store, uint64_t sequence)
{
	sqlite3_stmt *statement =
	        cl_statement(store, "SELECT undone <> 0 AND event <> 'undo' FROM transition WHERE sequence = ?1", NULL);
	bool undone = false;
	if (!statement)
		return false;
	sqlite3_bind_int64(statement, 1, (int64_t)sequence);
	if (cl_step(store, statement, NULL) == 1) {
		undone = sqlite3_column_int64(statement, 0) != 0;
		sqlite3_reset(statement);
	}
	return undone;
}

int cl_store_instance_delete(struct cl_store *store, struct cl_str task, struct cl_err *e)
{
	int code = cl_need_transaction(store, e);
	if (code)
		return code;
	sqlite3_stmt *statement = cl_statement(store, "DELETE FROM instance WHERE task = ?1", e);
	if (statement)
		cl_bind_text(statement, 1, task);
	return cl_run(store, statement, e);
}
