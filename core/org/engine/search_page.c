/* search_page.c: matches, what is included with them, and the links of a searchset Bundle (R4 section 3.1.1.5.4 ff.). */
#include "org/engine/search_page.h"
#include "org/fhir/subset.h"
#include "org/fhir/types.h"
#include <stdlib.h>

#define INCLUDE_MOST 1000 /* resources beside the matches of one page */
#define INCLUDE_DEPTH 3 /* how far :iterate goes */

struct writer {
	struct cl_search_page *page;
	struct cl_buf out;
	bool any;
};

static struct cl_str shown_body(const struct cl_search_page *page, const struct cl_version *version)
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

static void open_entry(struct writer *writer)
{
	cl_buf_add_cstring(&writer->out, writer->any ? "," : ",\"entry\":[");
	writer->any = true;
}

static void add_entry(struct writer *writer, const struct cl_version *version, const char *mode)
{
	struct cl_str name = cl_fhir_type_name(version->type);
	open_entry(writer);
	cl_buf_printf(&writer->out, "{\"fullUrl\":\"%.*s/fhir/%.*s/%.*s\",\"resource\":",
	              CL_STR_ARGS(writer->page->context->request->base), CL_STR_ARGS(name), CL_STR_ARGS(version->id));
	cl_buf_add_str(&writer->out, shown_body(writer->page, version));
	cl_buf_printf(&writer->out, ",\"search\":{\"mode\":\"%s\"}}", mode);
}

/* What the client should know about the answer: never an error, for those have no Bundle. */
static void add_warning(struct writer *writer, const char *text)
{
	open_entry(writer);
	cl_buf_printf(&writer->out,
	              "{\"resource\":{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"warning\","
	              "\"code\":\"too-costly\",\"diagnostics\":\"%s\"}]},\"search\":{\"mode\":\"outcome\"}}",
	              text);
}

/* ---- includes ---- */

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

/* Matches and included resources: the first `count` of `items`; `rows` finds them, 0 = free. */
struct found {
	struct cl_version *items;
	size_t count;
	int64_t *rows;
	size_t capacity;
};

static bool find(struct found *found, const struct cl_version *version)
{
	size_t place = ((uint64_t)version->row * 0x9E3779B97F4A7C15u >> 20) & (found->capacity - 1);
	for (; found->rows[place]; place = (place + 1) & (found->capacity - 1))
		if (found->rows[place] == version->row)
			return true;
	found->rows[place] = version->row;
	found->items[found->count++] = *version;
	return false;
}

/* Those of items[from..until) that the include starts at: holders of the reference, or what it must refer to. */
static size_t starts(const struct cl_fhir_include *include, const struct found *found, size_t from, size_t until,
                     struct cl_version *out)
{
	uint16_t type = include->reverse ? include->target : include->source;
	size_t count = 0;
	for (size_t i = from; i < until; i++)
		if (!type || found->items[i].type == type)
			out[count++] = found->items[i];
	return count;
}

static int add_one_include(struct writer *writer, const struct cl_fhir_include *include, struct found *found,
                           size_t from, size_t until, bool *cut, struct cl_err *e)
{
	struct cl_interaction_context *context = writer->page->context;
	struct cl_version *begin = CL_NEW_ARRAY(context->arena, struct cl_version, until - from + 1);
	size_t count = starts(include, found, from, until, begin), most = writer->page->count + INCLUDE_MOST;
	struct cl_version_list list;
	if (!count)
		return 0;
	int code = cl_store_include(context->store, context->arena, begin, count, include->reverse, include->parameter,
	                            include->reverse ? include->source : include->target, INCLUDE_MOST, include_access,
	                            context, &list, e);
	if (code)
		return code;
	*cut |= list.more;
	for (size_t i = 0; i < list.count; i++) {
		if (found->count == most) {
			*cut = true;
			break;
		}
		if (!find(found, &list.items[i]))
			add_entry(writer, &list.items[i], "include");
	}
	return 0;
}

/* Without :iterate only the matches are looked at; with it what was included is, too. */
static int add_includes(struct writer *writer, struct cl_err *e)
{
	struct cl_search_page *page = writer->page;
	struct cl_arena *arena = page->context->arena;
	struct found found = {.capacity = 4096};
	size_t from = 0;
	bool cut = false;
	int code = 0;
	if (!page->search->include_count)
		return 0;
	found.items = CL_NEW_ARRAY(arena, struct cl_version, page->count + INCLUDE_MOST);
	found.rows = CL_NEW_ARRAY(arena, int64_t, found.capacity);
	for (size_t i = 0; i < page->count; i++)
		find(&found, &page->items[i]);
	for (int depth = 0; !code && depth < INCLUDE_DEPTH && from < found.count; depth++) {
		size_t until = found.count;
		for (size_t i = 0; !code && i < page->search->include_count; i++)
			if (!depth || page->search->includes[i].iterate)
				code = add_one_include(writer, &page->search->includes[i], &found, from, until, &cut,
				                       e);
		from = until;
	}
	if (!code && cut)
		add_warning(writer, "More than 1000 resources would be included; some are left out. Ask for less with "
		                    "_count.");
	return code;
}

/* ---- the Bundle ---- */

static void add_links(struct writer *writer)
{
	struct cl_search_page *page = writer->page;
	struct cl_arena *arena = page->context->arena;
	struct cl_str self = page->search->self;
	cl_buf_add_cstring(&writer->out, ",\"link\":[{\"relation\":\"self\",\"url\":");
	cl_json_write_text(&writer->out, cl_arena_printf(arena, "%.*s%s%.*s", CL_STR_ARGS(page->path),
	                                                 self.n ? "?" : "", CL_STR_ARGS(self)));
	cl_buf_add_byte(&writer->out, '}');
	if (page->after.n) {
		cl_buf_add_cstring(&writer->out, ",{\"relation\":\"next\",\"url\":");
		cl_json_write_text(&writer->out,
		                   cl_arena_printf(arena, "%.*s?%.*s%s_page=%.*s", CL_STR_ARGS(page->path),
		                                   CL_STR_ARGS(self), self.n ? "&" : "", CL_STR_ARGS(page->after)));
		cl_buf_add_byte(&writer->out, '}');
	}
	cl_buf_add_byte(&writer->out, ']');
}

int cl_search_page_write(struct cl_search_page *page, struct cl_err *e)
{
	struct cl_interaction_context *context = page->context;
	struct writer writer = {.page = page};
	int code;
	cl_buf_init(&writer.out, CL_BODY_MAX);
	cl_buf_add_cstring(&writer.out, "{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
	if (page->total >= 0)
		cl_buf_printf(&writer.out, ",\"total\":%lld", (long long)page->total);
	add_links(&writer);
	for (size_t i = 0; i < page->count; i++)
		add_entry(&writer, &page->items[i], "match");
	code = add_includes(&writer, e);
	cl_buf_add_cstring(&writer.out, writer.any ? "]}" : "}");
	if (!code && writer.out.overflow)
		code = cl_fail(e, CL_E_TOO_LARGE, "the answer would be larger than %d MiB; ask for less with _count",
		               CL_BODY_MAX >> 20);
	if (!code)
		cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8",
		                            cl_arena_copy(context->arena, cl_buf_str(&writer.out)));
	cl_buf_free(&writer.out);
	return code;
}
