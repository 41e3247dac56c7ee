/* export_slice.c: the next few resources of an export as lines of NDJSON. The decision on each is that of a search of its own:
 * for what still stands as it is shown by the predicate on its row, else by both texts (read.c). */
#include "org/engine/export.h"
#include "org/fhir/index.h"
#include "org/fhir/parameters.h"
#include "org/fhir/subset.h"
#include "org/fhir/types.h"
#include "org/store/scan.h"

struct slice {
	const struct cl_export *job;
	struct cl_store *store;
	const struct cl_rules *rules;
	const struct cl_principal *principal;
	uint16_t type;
	struct cl_criterion *filter; /* of _typeFilter, or NULL */
	struct cl_str *elements;
	size_t element_count;
	struct cl_arena *scratch; /* of one resource */
	struct cl_export_slice *out;
	int64_t until; /* monotonic */
	uint32_t looked;
	struct cl_err *e;
};

bool cl_export_in_compartment(uint16_t type)
{
	const struct cl_fhir_parameter *parameter;
	if (cl_str_is(cl_fhir_type_name(type), "Patient"))
		return true;
	for (unsigned i = 0; (parameter = cl_fhir_parameter_at(type, i)) != NULL; i++)
		if (parameter->compartment)
			return true;
	return false;
}

static bool is_chosen(const struct cl_export *job, struct cl_str patient)
{
	size_t low = 0, high = job->patient_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = cl_str_compare(job->patients[middle], patient);
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool wanted(const struct cl_index *values, void *context)
{
	const struct cl_export *job = ((struct slice *)context)->job;
	if (job->level == CL_EXPORT_SYSTEM && !job->chosen)
		return true;
	for (size_t i = 0; i < values->count; i++)
		if (values->values[i].kind == CL_INDEX_COMPARTMENT &&
		    (!job->chosen || is_chosen(job, values->values[i].b)))
			return true;
	return false;
}

/* By the text: 0 and *shown. */
static int decide_text(struct slice *slice, const struct cl_version *version, bool *shown)
{
	struct cl_version current, said = *version;
	struct cl_json *resource;
	struct cl_index values;
	struct cl_str rule;
	struct cl_err denied = {0};
	*shown = false;
	int code = cl_store_get(slice->store, slice->scratch, version->type, version->id, &current, slice->e);
	if (!code && version->operation == CL_OP_DELETE)
		code = cl_store_get_version(slice->store, slice->scratch, version->type, version->id,
		                            version->version - 1, &said, slice->e);
	if (!code)
		code = cl_json_parse(slice->scratch, said.body, NULL, &resource, slice->e);
	if (!code)
		code = cl_fhir_index(slice->scratch, said.type, resource, &values, slice->e);
	if (code || !wanted(&values, slice))
		return code;
	if (slice->filter) {
		bool matches = false;
		code = cl_criterion_decide(slice->store, slice->filter, said.type, said.id, &values, &matches,
		                           slice->e);
		if (code || !matches)
			return code;
	}
	code = cl_interaction_may_see(slice->rules, slice->store, slice->scratch, slice->principal, CL_ACCESS_SEARCH,
	                              &current, version, &rule, &denied);
	*shown = code == 0;
	if (code == CL_E_FORBIDDEN)
		return 0;
	if (code)
		*slice->e = denied;
	return code;
}

static int add_line(struct slice *slice, struct cl_str body)
{
	struct cl_json *resource;
	struct cl_buf *out = &slice->out->out;
	if (!slice->element_count && !memchr(body.p, '\n', body.n)) {
		cl_buf_add_str(out, body);
	} else {
		int code = cl_json_parse(slice->scratch, body, NULL, &resource, slice->e);
		if (code)
			return code;
		if (slice->element_count)
			cl_fhir_subset(slice->scratch, resource, slice->elements, slice->element_count,
			               CL_SUMMARY_FALSE);
		cl_json_write(out, resource);
	}
	cl_buf_add_byte(out, '\n');
	slice->out->found++;
	return 0;
}

static void add_deleted(struct slice *slice, const struct cl_version *version)
{
	cl_buf_printf(&slice->out->deleted,
	              "{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{\"request\":"
	              "{\"method\":\"DELETE\",\"url\":\"%.*s/%.*s\"}}]}\n",
	              CL_STR_ARGS(cl_fhir_type_name(version->type)), CL_STR_ARGS(version->id));
	slice->out->found_deleted++;
}

static int visit(const struct cl_version *version, const struct cl_index *values, void *context)
{
	struct slice *slice = context;
	const struct cl_export *job = slice->job;
	bool deleted = version->operation == CL_OP_DELETE, shown = true;
	int code = 0;
	if (version->updated >= job->since && !(deleted && job->since == INT64_MIN)) {
		cl_arena_reset(slice->scratch);
		if (deleted || !values)
			code = decide_text(slice, version, &shown);
		if (!code && shown && deleted)
			add_deleted(slice, version);
		else if (!code && shown)
			code = add_line(slice, version->body);
	}
	if (code)
		return code;
	/* The clock is not asked for each row. */
	return slice->out->out.n >= CL_EXPORT_SLICE_BYTES ||
	       (++slice->looked % 8 == 0 && cl_monotonic() >= slice->until);
}

/* Several filters of a type: what any of them finds. */
static int make_filter(struct slice *slice, struct cl_arena *arena, cl_instant now, struct cl_err *e)
{
	const struct cl_export *job = slice->job;
	struct cl_criterion *any = CL_NEW(arena, struct cl_criterion);
	struct cl_request request = {.base = job->base};
	struct cl_interaction_context context = {.arena = arena,
	                                         .store = slice->store,
	                                         .rules = slice->rules,
	                                         .principal = slice->principal,
	                                         .request = &request,
	                                         .now = now};
	any->kind = CL_OR;
	any->children = CL_NEW_ARRAY(arena, struct cl_criterion, job->filter_count + 1);
	for (size_t i = 0; i < job->filter_count; i++) {
		struct cl_criterion *one;
		if (job->filters[i].type != slice->type)
			continue;
		int code = cl_interaction_condition(&context, slice->type, job->filters[i].query, &one, e);
		if (code)
			return code;
		any->children[any->child_count++] = one ? *one : (struct cl_criterion){.kind = CL_TRUE};
	}
	slice->filter = any->child_count ? any : NULL;
	return 0;
}

/* "Patient.name" is for Patients, "name" for all. */
static void choose_elements(struct slice *slice, struct cl_arena *arena)
{
	struct cl_str type = cl_fhir_type_name(slice->type);
	slice->elements = CL_NEW_ARRAY(arena, struct cl_str, slice->job->element_count + 1);
	for (size_t i = 0; i < slice->job->element_count; i++) {
		struct cl_str element = slice->job->elements[i];
		const char *dot = memchr(element.p, '.', element.n);
		if (!dot)
			slice->elements[slice->element_count++] = element;
		else if (cl_str_equal((struct cl_str){element.p, (size_t)(dot - element.p)}, type))
			slice->elements[slice->element_count++] =
			        (struct cl_str){dot + 1, element.n - (size_t)(dot + 1 - element.p)};
	}
}

static int run(struct slice *slice, struct cl_arena *arena, cl_instant now, struct cl_err *e)
{
	struct cl_criterion *access, *both = NULL;
	struct cl_str rule;
	struct cl_err denied = {0};
	int code = cl_access_predicate(slice->rules->access, arena, slice->principal, CL_ACCESS_SEARCH, slice->type,
	                               &access, &rule, &denied);
	if (code == CL_E_FORBIDDEN)
		return 1; /* a role was taken away meanwhile */
	if (code) {
		*e = denied;
		return code;
	}
	code = make_filter(slice, arena, now, e);
	if (code)
		return code;
	if (access && slice->filter) {
		both = CL_NEW(arena, struct cl_criterion);
		*both = (struct cl_criterion){
		        .kind = CL_AND, .children = CL_NEW_ARRAY(arena, struct cl_criterion, 2), .child_count = 2};
		both->children[0] = *access;
		both->children[1] = *slice->filter;
	}
	choose_elements(slice, arena);
	struct cl_scan scan = {.type = slice->type,
	                       .after = slice->job->after,
	                       .sequence = slice->job->sequence,
	                       .wanted = wanted,
	                       .where = both     ? both
	                                : access ? access
	                                         : slice->filter,
	                       .visit = visit,
	                       .context = slice};
	code = cl_store_snapshot_begin(slice->store, e);
	if (code)
		return code;
	code = cl_store_scan(slice->store, &scan, CL_EXPORT_SLICE_ROWS, e);
	cl_store_snapshot_end(slice->store);
	slice->out->after = scan.after;
	return code ? code : scan.done;
}

int cl_export_slice(const struct cl_export *job, struct cl_store *store, const struct cl_rules *rules, cl_instant now,
                    struct cl_export_slice *out, struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct slice slice = {.job = job,
	                      .store = store,
	                      .rules = rules,
	                      .principal = cl_access_principal(rules->access, job->principal),
	                      .type = job->types[job->at],
	                      .scratch = cl_arena_new(0),
	                      .out = out,
	                      .until = cl_monotonic() + CL_EXPORT_SLICE_TIME,
	                      .e = e};
	bool restored = job->incarnation != cl_store_incarnation(store);
	cl_buf_clear(&out->out);
	cl_buf_clear(&out->deleted);
	out->found = out->found_deleted = 0;
	out->after = job->after;
	int code = 0;
	if (restored)
		code = cl_fail(e, CL_E_GONE, "the organization was restored from a backup meanwhile; ask again");
	else if (!slice.principal)
		code = cl_fail(e, CL_E_FORBIDDEN, "who asked for this export is no longer known here");
	else if (job->scope.n)
		code = cl_access_narrow(arena, slice.principal, job->scope, &slice.principal, e);
	if (!code)
		code = run(&slice, arena, now, e);
	cl_arena_free(slice.scratch);
	cl_arena_free(arena);
	return code;
}
