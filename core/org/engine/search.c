/* search.c: search and the CapabilityStatement. Rows come from the store with the access predicate in the same SQL. */
#include "org/engine/interaction.h"
#include "base/date.h"
#include "org/fhir/capability.h"
#include "org/fhir/search.h"
#include "org/fhir/subset.h"
#include "org/fhir/types.h"

/* Chains and _has look at other resources: only at those that a search of the principal's own would find, or their answers
 * would tell what they say (pitfalls 18). */
static void guard_chains(struct cl_interaction_context *context, struct cl_criterion *criterion)
{
	struct cl_arena *arena = context->arena;
	struct cl_criterion *access = NULL;
	struct cl_str rule;
	struct cl_err denied = {0};
	if (!criterion || context->principal->console)
		return;
	for (size_t i = 0; i < criterion->child_count; i++)
		guard_chains(context, &criterion->children[i]);
	if (criterion->kind != CL_CHAIN && criterion->kind != CL_REVERSE)
		return;
	if (!criterion->type || cl_access_predicate(context->rules->access, arena, context->principal, CL_ACCESS_SEARCH,
	                                            criterion->type, &access, &rule, &denied)) {
		*criterion = (struct cl_criterion){.kind = CL_FALSE};
		return;
	}
	if (!access)
		return;
	struct cl_criterion *both = CL_NEW(arena, struct cl_criterion);
	*both = (struct cl_criterion){
	        .kind = CL_AND, .children = CL_NEW_ARRAY(arena, struct cl_criterion, 2), .child_count = 2};
	both->children[0] = criterion->children[0];
	both->children[1] = *access;
	criterion->children = both;
}

int cl_interaction_condition(struct cl_interaction_context *context, uint16_t type, struct cl_str text,
                             struct cl_criterion **out, struct cl_err *e)
{
	struct cl_fhir_search search;
	struct cl_fhir_search_context parse = {.type = type, .base = context->request->base, .now = context->now};
	int code = cl_fhir_search_parse(context->arena, &parse, text, &search, e);
	*out = code ? NULL : search.query.where;
	guard_chains(context, *out);
	return code;
}

struct cl_page {
	struct cl_interaction_context *context;
	const struct cl_fhir_search *search;
	struct cl_buf out;
	bool any;
};

static struct cl_str shown_body(struct cl_page *page, const struct cl_version *version)
{
	const struct cl_fhir_search *search = page->search;
	struct cl_json *resource;
	struct cl_err ignored = {0};
	if ((search->summary == CL_SUMMARY_FALSE && !search->element_count) ||
	    cl_json_parse(page->context->arena, version->body, NULL, &resource, &ignored))
		return version->body;
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_fhir_subset(page->context->arena, resource, search->elements, search->element_count, search->summary);
	cl_json_write(&text, resource);
	struct cl_str copy = cl_arena_copy(page->context->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

static void add_entry(struct cl_page *page, const struct cl_version *version, const char *mode)
{
	struct cl_str name = cl_fhir_type_name(version->type);
	cl_buf_printf(&page->out,
	              "%s{\"fullUrl\":\"%.*s/fhir/%.*s/%.*s\",\"resource\":", page->any ? "," : ",\"entry\":[",
	              CL_STR_ARGS(page->context->request->base), CL_STR_ARGS(name), CL_STR_ARGS(version->id));
	cl_buf_add_str(&page->out, shown_body(page, version));
	cl_buf_printf(&page->out, ",\"search\":{\"mode\":\"%s\"}}", mode);
	page->any = true;
}

static const struct cl_criterion *include_access(uint16_t type, void *argument)
{
	static const struct cl_criterion all = {.kind = CL_TRUE};
	struct cl_interaction_context *context = argument;
	struct cl_criterion *criterion = NULL;
	struct cl_str rule;
	struct cl_err denied = {0};
	if (cl_access_predicate(context->rules->access, context->arena, context->principal, CL_ACCESS_SEARCH, type,
	                        &criterion, &rule, &denied))
		return NULL;
	return criterion ? criterion : &all;
}

static bool listed(const struct cl_version *items, size_t count, const struct cl_version *wanted)
{
	for (size_t i = 0; i < count; i++)
		if (items[i].row == wanted->row)
			return true;
	return false;
}

#define CL_INCLUDE_LIMIT 1000

static int add_includes(struct cl_page *page, const struct cl_search_result *result, struct cl_err *e)
{
	struct cl_interaction_context *context = page->context;
	struct cl_version *seen = CL_NEW_ARRAY(context->arena, struct cl_version, result->count + CL_INCLUDE_LIMIT + 1);
	size_t count = result->count;
	memcpy(seen, result->items, sizeof *seen * result->count);
	size_t from = 0;
	/* Without :iterate only the matches are looked at; with it what was included is, too, at most three deep. */
	for (int depth = 0; depth < 3 && from < count; depth++) {
		size_t until = count;
		for (size_t i = 0; i < page->search->include_count; i++) {
			const struct cl_fhir_include *include = &page->search->includes[i];
			struct cl_version_list list;
			if (depth && !include->iterate)
				continue;
			int code = cl_store_include(context->store, context->arena, seen + from, until - from,
			                            include->reverse, include->parameter,
			                            include->reverse ? include->source : include->target,
			                            CL_INCLUDE_LIMIT, include_access, context, &list, e);
			if (code)
				return code;
			for (size_t n = 0; n < list.count && count < result->count + CL_INCLUDE_LIMIT; n++)
				if (!listed(seen, count, &list.items[n])) {
					seen[count++] = list.items[n];
					add_entry(page, &list.items[n], "include");
				}
		}
		from = until;
	}
	return 0;
}

static void add_links(struct cl_page *page, const struct cl_search_result *result)
{
	struct cl_interaction_context *context = page->context;
	const struct cl_route *route = context->route;
	struct cl_str name = cl_fhir_type_name(route->type);
	struct cl_str path = route->compartment.n
	                             ? cl_arena_printf(context->arena, "%.*s/fhir/Patient/%.*s/%.*s",
	                                               CL_STR_ARGS(context->request->base),
	                                               CL_STR_ARGS(route->compartment), CL_STR_ARGS(name))
	                             : cl_arena_printf(context->arena, "%.*s/fhir/%.*s",
	                                               CL_STR_ARGS(context->request->base), CL_STR_ARGS(name));
	struct cl_str self = page->search->self;
	cl_buf_add_cstring(&page->out, ",\"link\":[{\"relation\":\"self\",\"url\":");
	cl_json_write_text(&page->out, cl_arena_printf(context->arena, "%.*s%s%.*s", CL_STR_ARGS(path),
	                                               self.n ? "?" : "", CL_STR_ARGS(self)));
	cl_buf_add_byte(&page->out, '}');
	if (result->after.n) {
		cl_buf_add_cstring(&page->out, ",{\"relation\":\"next\",\"url\":");
		cl_json_write_text(&page->out,
		                   cl_arena_printf(context->arena, "%.*s?%.*s%s_page=%.*s", CL_STR_ARGS(path),
		                                   CL_STR_ARGS(self), self.n ? "&" : "", CL_STR_ARGS(result->after)));
		cl_buf_add_byte(&page->out, '}');
	}
	cl_buf_add_byte(&page->out, ']');
}

/* What was searched for, without the values: those may be health information. The body of a POST may hold any bytes. */
static struct cl_str audit_target(struct cl_interaction_context *context, struct cl_str query)
{
	struct cl_buf text;
	cl_buf_init(&text, 400);
	cl_buf_add_str(&text, cl_fhir_type_name(context->route->type));
	bool in_value = false;
	for (size_t i = 0; i < query.n; i++) {
		if (i == 0)
			cl_buf_add_byte(&text, '?');
		if (query.p[i] == '&')
			in_value = false;
		if (!in_value)
			cl_buf_add_byte(&text, query.p[i] > ' ' && query.p[i] < 0x7f ? query.p[i] : '?');
		if (query.p[i] == '=')
			in_value = true;
	}
	struct cl_str copy = cl_arena_copy(context->arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

static bool lenient(const struct cl_request *request)
{
	struct cl_str prefer = cl_request_header(request, "prefer");
	return prefer.n && memmem(prefer.p, prefer.n, "handling=lenient", 16);
}

static int check_form(const struct cl_interaction_context *context, struct cl_err *e)
{
	struct cl_str type = cl_request_header(context->request, "content-type");
	if (!cl_str_is(context->request->method, "POST") || cl_str_starts(type, "application/x-www-form-urlencoded"))
		return 0;
	return cl_fail(e, CL_E_MEDIA_TYPE, "_search takes application/x-www-form-urlencoded");
}

int cl_interaction_search(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_fhir_search search;
	struct cl_search_result result;
	struct cl_fhir_search_context parse = {.type = route->type,
	                                       .base = context->request->base,
	                                       .now = context->now,
	                                       .lenient = lenient(context->request)};
	context->target = audit_target(context, route->query);
	int code = check_form(context, e);
	if (!code)
		code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_SEARCH, route->type,
		                     &context->rule, e);
	if (!code)
		code = cl_fhir_search_parse(context->arena, &parse, route->query, &search, e);
	if (!code)
		code = cl_access_predicate(context->rules->access, context->arena, context->principal, CL_ACCESS_SEARCH,
		                           route->type, &search.query.access, &context->rule, e);
	if (code)
		return code;
	guard_chains(context, search.query.where);
	if (route->compartment.n) {
		struct cl_criterion *both = CL_NEW(context->arena, struct cl_criterion);
		*both = (struct cl_criterion){.kind = CL_AND,
		                              .children = CL_NEW_ARRAY(context->arena, struct cl_criterion, 2)};
		both->children[both->child_count++] =
		        (struct cl_criterion){.kind = CL_COMPARTMENT, .b = route->compartment};
		if (search.query.where)
			both->children[both->child_count++] = *search.query.where;
		search.query.where = both;
	}
	bool count_only = search.summary == CL_SUMMARY_COUNT || search.query.limit == 0;
	search.query.bodies = !count_only;
	search.query.want_total |= count_only;
	search.query.after = search.page;
	code = cl_store_search(context->store, context->arena, &search.query, &result, e);
	if (code)
		return code;
	struct cl_page page = {.context = context, .search = &search};
	cl_buf_init(&page.out, CL_BODY_MAX);
	cl_buf_add_cstring(&page.out, "{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
	if (result.total >= 0)
		cl_buf_printf(&page.out, ",\"total\":%lld", (long long)result.total);
	add_links(&page, &result);
	for (size_t i = 0; i < result.count && !count_only; i++)
		add_entry(&page, &result.items[i], "match");
	if (!count_only)
		code = add_includes(&page, &result, e);
	cl_buf_add_cstring(&page.out, page.any ? "]}" : "}");
	if (!code && page.out.overflow)
		code = cl_fail(e, CL_E_TOO_LARGE, "the answer would be larger than %d MiB; ask for less with _count",
		               CL_BODY_MAX >> 20);
	if (!code)
		cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8",
		                            cl_arena_copy(context->arena, cl_buf_str(&page.out)));
	cl_buf_free(&page.out);
	return code;
}

int cl_interaction_capability(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_catalog *catalog = context->rules->catalog;
	struct cl_arena *arena = context->arena;
	size_t count = 0;
	uint16_t task = cl_fhir_type(CL_STR("Task"));
	(void)e;
	struct cl_capability_operation *operations =
	        CL_NEW_ARRAY(arena, struct cl_capability_operation, catalog->operation_count + 3);
	operations[count++] =
	        (struct cl_capability_operation){task, CL_STR("transition"),
	                                         cl_arena_printf(arena, "%.*s/fhir/OperationDefinition/Task-transition",
	                                                         CL_STR_ARGS(context->request->base))};
	operations[count++] = (struct cl_capability_operation){
	        0, CL_STR("process-message"),
	        CL_STR("http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message")};
	operations[count++] = (struct cl_capability_operation){
	        0, CL_STR("validate"), CL_STR("http://hl7.org/fhir/OperationDefinition/Resource-validate")};
	for (size_t i = 0; i < catalog->operation_count; i++) {
		struct cl_str name = catalog->operations[i].name;
		name = (struct cl_str){name.p + 1, name.n - 1};
		operations[count++] = (struct cl_capability_operation){
		        0, name,
		        cl_arena_printf(arena, "%.*s/fhir/OperationDefinition/%.*s",
		                        CL_STR_ARGS(context->request->base), CL_STR_ARGS(name))};
	}
	struct cl_capability capability = {
	        .base = cl_arena_printf(arena, "%.*s/fhir", CL_STR_ARGS(context->request->base)),
	        .date = cl_instant_text(arena, context->now),
	        .software = CL_STR(CL_VERSION),
	        .name = context->rules->facts->name,
	        .json_patch = true,
	        .operations = operations,
	        .operation_count = count,
	};
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_fhir_capability_write(&out, &capability);
	cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8",
	                            cl_arena_copy(arena, cl_buf_str(&out)));
	cl_buf_free(&out);
	return 0;
}
