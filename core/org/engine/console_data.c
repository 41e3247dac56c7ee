/* console_data.c: commands about resources, audit, messages, principals and the file itself. */
#include "org/engine/console.h"
#include "org/engine/export.h"
#include "base/hash.h"
#include "base/id.h"
#include "org/fhir/types.h"

static int resources(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"table", "rows", NULL};
	struct cl_buf text;
	struct cl_json *counts;
	int64_t number;
	cl_buf_init(&text, 0);
	int code = cl_store_counts(c->context->store, &text, e);
	if (!code)
		code = cl_json_parse(c->arena, cl_arena_copy(c->arena, cl_buf_str(&text)), NULL, &counts, e);
	cl_buf_free(&text);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (uint32_t i = 0; i < counts->count; i++) {
		if (!cl_json_integer(&counts->members[i].value, &number))
			continue;
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, counts->members[i].name);
		cl_console_cell_number(c, row, number);
	}
	return 0;
}

static int read_resource(struct cl_console *c, struct cl_err *e)
{
	struct cl_str reference;
	struct cl_version version;
	struct cl_json *json;
	int code = cl_console_need(c, "resource", &reference, e);
	if (code)
		return code;
	const char *slash = memchr(reference.p, '/', reference.n);
	uint16_t type = slash ? cl_fhir_type((struct cl_str){reference.p, (size_t)(slash - reference.p)}) : 0;
	if (!type)
		return cl_fail(e, CL_E_INVALID, "a reference is Type/id");
	code = cl_store_get(c->context->store, c->arena, type, cl_console_id(reference), &version, e);
	if (code)
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s is not known here", CL_STR_ARGS(reference));
	if (version.operation == CL_OP_DELETE)
		return cl_fail(e, CL_E_GONE, "%.*s was deleted", CL_STR_ARGS(reference));
	code = cl_json_parse(c->arena, version.body, NULL, &json, e);
	if (!code)
		cl_json_write_pretty(&c->text, json);
	return code;
}

static int search(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"reference", "version", "updated", NULL};
	struct cl_str query;
	int code = cl_console_need(c, "query", &query, e);
	if (code)
		return code;
	const char *mark = memchr(query.p, '?', query.n);
	struct cl_str name = {query.p, mark ? (size_t)(mark - query.p) : query.n};
	struct cl_query wanted = {.type = cl_fhir_type(name), .limit = 100};
	struct cl_search_result result;
	if (!wanted.type)
		return cl_fail(e, CL_E_INVALID, "'%.*s' is no resource type; write Patient?name=smith",
		               CL_STR_ARGS(name));
	code = cl_interaction_condition(c->context, wanted.type,
	                                mark ? (struct cl_str){mark + 1, query.n - name.n - 1} : CL_STR_NONE,
	                                &wanted.where, e);
	if (!code)
		code = cl_store_search(c->context->store, c->arena, &wanted, &result, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < result.count; i++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(
		        c, row,
		        cl_arena_printf(c->arena, "%.*s/%.*s", CL_STR_ARGS(name), CL_STR_ARGS(result.items[i].id)));
		cl_console_cell_number(c, row, result.items[i].version);
		cl_console_cell_time(c, row, result.items[i].updated);
	}
	return 0;
}

static int audit_row(const struct cl_audit_record *record, void *context)
{
	struct cl_console *c = context;
	struct cl_json *row = cl_console_row(c);
	cl_console_cell_number(c, row, (int64_t)record->sequence);
	cl_console_cell_time(c, row, record->at);
	cl_console_cell(c, row, record->principal);
	cl_console_cell(c, row, record->action);
	cl_console_cell(c, row, record->target);
	cl_console_cell(c, row, record->rule);
	cl_console_cell(c, row, record->outcome);
	return 0;
}

static int audit(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"leaf", "at", "principal", "action", "target", "rule", "outcome", NULL};
	int64_t limit = cl_console_number(c, "count", 20);
	cl_console_columns(c, columns);
	return cl_audit_list(c->context->store, cl_console_argument(c, "principal"), cl_console_argument(c, "target"),
	                     limit < 1       ? 20
	                     : limit > 10000 ? 10000
	                                     : (uint32_t)limit,
	                     audit_row, c, e);
}

static int audit_verify(struct cl_console *c, struct cl_err *e)
{
	struct cl_audit_head head;
	char hex[65];
	int code = cl_audit_verify(c->context->store, NULL, &head, e);
	if (code)
		return code;
	cl_hex(head.root, sizeof head.root, hex);
	cl_buf_printf(&c->text, "intact: %llu leaves, root %s", (unsigned long long)head.size, hex);
	return 0;
}

static int principals(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"principal", "kind", "roles", "reference", "certificate", NULL};
	const struct cl_principal *list;
	size_t count = cl_access_principals(c->context->rules->access, &list);
	(void)e;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < count; i++) {
		struct cl_json *row = cl_console_row(c);
		struct cl_buf roles;
		cl_buf_init(&roles, 0);
		for (size_t r = 0; r < list[i].role_count; r++)
			cl_buf_printf(&roles, "%s%.*s", r ? ", " : "", CL_STR_ARGS(list[i].roles[r]));
		cl_console_cell(c, row, list[i].name);
		cl_console_cell(c, row, list[i].kind);
		cl_console_cell(c, row, cl_buf_str(&roles));
		cl_console_cell(c, row, list[i].reference);
		cl_console_cell(c, row, list[i].certificate);
		cl_buf_free(&roles);
	}
	return 0;
}

static int exports(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"export", "principal", "state", "resources",
	                                      "bytes",  "begun",     "ended", NULL};
	static const char *const states[] = {[CL_EXPORT_RUNNING] = "running",
	                                     [CL_EXPORT_DONE] = "done",
	                                     [CL_EXPORT_FAILED] = "failed",
	                                     [CL_EXPORT_CANCELLED] = "cancelled"};
	struct cl_exports *all = c->context->organization->exports;
	(void)e;
	cl_console_columns(c, columns);
	if (!all)
		return 0;
	pthread_mutex_lock(&all->lock);
	for (const struct cl_export *job = all->first; job; job = job->next) {
		struct cl_json *row = cl_console_row(c);
		uint64_t bytes = 0;
		for (size_t i = 0; i < job->type_count + 2; i++)
			bytes += cl_export_file_of(job, i)->bytes;
		cl_console_cell(c, row, cl_arena_copy(c->arena, cl_str_of(job->id)));
		cl_console_cell(c, row, cl_arena_copy(c->arena, job->principal));
		cl_console_cell(c, row, cl_str_of(states[job->state]));
		cl_console_cell_number(c, row, (int64_t)job->resources);
		cl_console_cell_number(c, row, (int64_t)bytes);
		cl_console_cell_time(c, row, job->begun);
		cl_console_cell_time(c, row, job->ended);
	}
	pthread_mutex_unlock(&all->lock);
	return 0;
}

static int export_delete(struct cl_console *c, struct cl_err *e)
{
	struct cl_exports *all = c->context->organization->exports;
	struct cl_str id;
	bool found = false;
	int code = cl_console_need(c, "export", &id, e);
	if (code)
		return code;
	if (all) {
		pthread_mutex_lock(&all->lock);
		for (struct cl_export *job = all->first; job; job = job->next)
			if (cl_str_is(id, job->id) && job->state != CL_EXPORT_CANCELLED) {
				job->state = CL_EXPORT_CANCELLED;
				found = true;
			}
		pthread_cond_signal(&all->wake);
		pthread_mutex_unlock(&all->lock);
	}
	if (!found)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no export '%.*s'; `exports` lists them", CL_STR_ARGS(id));
	cl_buf_add_cstring(&c->text, "The export ends, and its files are deleted.\n");
	return 0;
}

int cl_console_need_principal(struct cl_console *c, const struct cl_principal **out, struct cl_err *e)
{
	struct cl_str name;
	int code = cl_console_need(c, "principal", &name, e);
	if (code)
		return code;
	*out = cl_access_principal(c->context->rules->access, name);
	return *out ? 0 : cl_fail(e, CL_E_NOT_FOUND, "there is no principal '%.*s'", CL_STR_ARGS(name));
}

/* why PRINCIPAL ACTION TARGET: "why clinician read Patient/x" decides on that resource, "... Patient" on the type. */
static int why(struct cl_console *c, struct cl_err *e)
{
	const struct cl_principal *principal;
	struct cl_str action, target, text, rule;
	unsigned interaction;
	int code = cl_console_need_principal(c, &principal, e);
	if (!code)
		code = cl_console_need(c, "action", &action, e);
	if (!code)
		code = cl_console_need(c, "target", &target, e);
	if (!code && cl_interaction_parse(action, &interaction))
		code = cl_fail(e, CL_E_INVALID, "'%.*s' is no interaction", CL_STR_ARGS(action));
	if (code)
		return code;
	const char *slash = memchr(target.p, '/', target.n);
	uint16_t type = cl_fhir_type((struct cl_str){target.p, slash ? (size_t)(slash - target.p) : target.n});
	if (!type)
		return cl_fail(e, CL_E_INVALID, "the target is Type or Type/id");
	code = cl_access_explain(c->context->rules->access, c->arena, principal, interaction, type, &text, e);
	if (code)
		return code;
	cl_buf_printf(&c->text, "%.*s: %.*s", CL_STR_ARGS(principal->name), CL_STR_ARGS(text));
	if (!slash)
		return 0;
	struct cl_version version;
	struct cl_err denied = {0};
	if (cl_store_get(c->context->store, c->arena, type, cl_console_id(target), &version, &denied) ||
	    version.operation == CL_OP_DELETE)
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s is not known here", CL_STR_ARGS(target));
	code = cl_access_decide_row(c->context->rules->access, c->context->store, c->arena, principal, interaction,
	                            type, version.row, &rule, &denied);
	if (code && code != CL_E_FORBIDDEN) {
		*e = denied;
		return code;
	}
	cl_buf_printf(&c->text, "\n%.*s: %s", CL_STR_ARGS(target), code ? "denied" : "allowed");
	return 0;
}

static int event_row(const struct cl_stored_event *event, void *context)
{
	struct cl_console *c = context;
	struct cl_json *row = cl_console_row(c);
	cl_console_cell_number(c, row, (int64_t)event->sequence);
	cl_console_cell_number(c, row, (int64_t)event->cause);
	cl_console_cell_time(c, row, event->at);
	cl_console_cell(c, row, event->kind);
	cl_console_cell(c, row, event->actor);
	cl_console_cell(c, row,
	                event->type
	                        ? cl_arena_printf(c->arena, "%.*s/%.*s", CL_STR_ARGS(cl_fhir_type_name(event->type)),
	                                          CL_STR_ARGS(event->id))
	                        : event->key);
	cl_console_cell(c, row, event->outcome);
	return 0;
}

static int events(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"sequence", "cause", "at", "kind", "actor", "what", "outcome", NULL};
	int64_t limit = cl_console_number(c, "count", 20);
	uint64_t last = cl_store_last_sequence(c->context->store);
	limit = limit < 1 || limit > 10000 ? 20 : limit;
	cl_console_columns(c, columns);
	return cl_store_events(c->context->store, last > (uint64_t)limit ? last - (uint64_t)limit : 0, (uint32_t)limit,
	                       event_row, c, e);
}

static int check(struct cl_console *c, struct cl_err *e)
{
	int code = cl_store_check(c->context->store, true, e);
	if (!code)
		cl_buf_add_cstring(&c->text, "ok");
	return code;
}

/* Into the organization's own folder: the process can write nowhere else. */
static int backup(struct cl_console *c, struct cl_err *e)
{
	struct cl_str name;
	int code = cl_console_need(c, "path", &name, e);
	if (code)
		return code;
	if (memchr(name.p, '/', name.n) || name.p[0] == '.')
		return cl_fail(e, CL_E_INVALID, "give a file name; the copy is made in the organization's own folder");
	char *path = cl_arena_cstring(
	        c->arena, cl_arena_printf(c->arena, "%s/%.*s", c->context->organization->folder, CL_STR_ARGS(name)));
	/* A copy of a connection in the middle of a transaction would wait for itself: a connection of its own reads. */
	struct cl_store *reader;
	code = cl_store_open(c->context->organization->folder, c->context->organization->id.p, CL_STORE_READER, &reader,
	                     e);
	if (!code) {
		code = cl_store_backup(reader, path, e);
		cl_store_close(reader);
	}
	if (!code)
		cl_buf_printf(&c->text, "%s", path);
	return code;
}

const struct cl_console_command cl_console_data_commands[] = {
        {"resources", resources, false},
        {"read", read_resource, false},
        {"search", search, false},
        {"audit", audit, false},
        {"audit verify", audit_verify, false},
        {"principals", principals, false},
        {"exports", exports, false},
        {"export delete", export_delete, true},
        {"why", why, false},
        {"events", events, false},
        {"check", check, false},
        {"backup", backup, false},
        {NULL, NULL, false},
};
