/* read.c: read, vread and history. The stored bytes go out as they are; access decides on the row (design §4). */
#include "org/engine/interaction.h"
#include "base/date.h"
#include "base/hash.h"
#include "org/fhir/index.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <stdlib.h>

#define CL_HISTORY_DEFAULT 50
#define CL_HISTORY_MAXIMUM 1000

/* RFC 9110 section 13.1: If-None-Match wins over If-Modified-Since. */
static bool not_modified(const struct cl_interaction_context *context, const struct cl_version *version)
{
	struct cl_str match = cl_request_header(context->request, "if-none-match");
	if (match.n)
		return cl_etag_matches(match, version->version);
	return cl_unmodified_since(cl_request_header(context->request, "if-modified-since"), version->updated);
}

/* The decision on what one version says, by its text: old versions have no index rows. */
static int decide_text(const struct cl_rules *rules, struct cl_store *store, struct cl_arena *arena,
                       const struct cl_principal *principal, enum cl_interaction interaction,
                       const struct cl_version *version, struct cl_str *rule, struct cl_err *e)
{
	struct cl_version said = *version;
	struct cl_index values;
	struct cl_json *resource;
	int code = 0;
	if (version->operation == CL_OP_DELETE)
		code = cl_store_get_version(store, arena, version->type, version->id, version->version - 1, &said, e);
	if (!code)
		code = cl_json_parse(arena, said.body, NULL, &resource, e);
	if (!code)
		code = cl_fhir_index(arena, said.type, resource, &values, e);
	return code ? code
	            : cl_access_decide(rules->access, store, arena, principal, interaction, said.type, said.id, &values,
	                               rule, e);
}

int cl_interaction_may_see(const struct cl_rules *rules, struct cl_store *store, struct cl_arena *arena,
                           const struct cl_principal *principal, enum cl_interaction interaction,
                           const struct cl_version *current, const struct cl_version *version, struct cl_str *rule,
                           struct cl_err *e)
{
	struct cl_criterion *criterion;
	int code =
	        cl_access_predicate(rules->access, arena, principal, interaction, current->type, &criterion, rule, e);
	/* Nothing of the type can be refused: no need to look. */
	if (code || !criterion)
		return code;
	code = current->operation == CL_OP_DELETE
	               ? decide_text(rules, store, arena, principal, interaction, current, rule, e)
	               : cl_access_decide_row(rules->access, store, arena, principal, interaction, current->type,
	                                      current->row, rule, e);
	if (!code && version->version != current->version)
		code = decide_text(rules, store, arena, principal, interaction, version, rule, e);
	return code;
}

static int may_see(struct cl_interaction_context *context, enum cl_interaction interaction,
                   const struct cl_version *current, const struct cl_version *version, struct cl_err *e)
{
	return cl_interaction_may_see(context->rules, context->store, context->arena, context->principal, interaction,
	                              current, version, &context->rule, e);
}

int cl_interaction_read(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_version version, current;
	struct cl_str name = cl_fhir_type_name(route->type);
	context->target = cl_arena_printf(context->arena, "%.*s/%.*s", CL_STR_ARGS(name), CL_STR_ARGS(route->id));
	/* What an operation takes is no one's data, and its name is ours. */
	if (route->kind == CL_ROUTE_READ && cl_interaction_definition(context))
		return 0;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, route->type,
	                         &context->rule, e);
	if (code)
		return code;
	code = cl_store_get(context->store, context->arena, route->type, route->id, &current, e);
	if (code == CL_E_NOT_FOUND && cl_str_is(name, "Measure") && route->kind == CL_ROUTE_READ &&
	    cl_catalog_measure(context->rules->catalog, route->id))
		return cl_interaction_declared_measure(context, e);
	if (code == CL_E_NOT_FOUND)
		return cl_fail(e, CL_E_NOT_FOUND, "%.*s is not known here", CL_STR_ARGS(context->target));
	if (code)
		return code;
	code = may_see(context, CL_ACCESS_READ, &current, &current, e);
	if (code)
		return code;
	version = current;
	if (route->kind == CL_ROUTE_VREAD && route->version != current.version) {
		code = cl_store_get_version(context->store, context->arena, route->type, route->id, route->version,
		                            &version, e);
		if (code == CL_E_NOT_FOUND)
			return cl_fail(e, CL_E_NOT_FOUND, "%.*s has no version %lld", CL_STR_ARGS(context->target),
			               (long long)route->version);
		if (!code)
			code = may_see(context, CL_ACCESS_READ, &current, &version, e);
		if (code)
			return code;
	}
	if (version.operation == CL_OP_DELETE)
		return cl_fail(e, CL_E_GONE, "%.*s was deleted", CL_STR_ARGS(context->target));
	if (not_modified(context, &version)) {
		cl_interaction_answer_version(context, 304, &version, false);
		context->response->body = CL_STR_NONE;
		return 0;
	}
	if (cl_str_is(name, "Binary"))
		return cl_binary_answer(context, &version, e);
	cl_interaction_answer_version(context, 200, &version, false);
	return 0;
}

/* One entry of a history Bundle, as text around the stored bytes. */
static void write_history_entry(struct cl_buf *out, struct cl_arena *arena, struct cl_str base,
                                const struct cl_version *v)
{
	static const char *const methods[] = {"", "POST", "PUT", "DELETE"};
	static const char *const statuses[] = {"", "201", "200", "204"};
	struct cl_str name = cl_fhir_type_name(v->type);
	struct cl_str at = cl_instant_text(arena, v->updated);
	cl_buf_printf(out, "{\"fullUrl\":\"%.*s/fhir/%.*s/%.*s\",", CL_STR_ARGS(base), CL_STR_ARGS(name),
	              CL_STR_ARGS(v->id));
	if (v->operation != CL_OP_DELETE) {
		cl_buf_add_cstring(out, "\"resource\":");
		cl_buf_add_str(out, v->body);
		cl_buf_add_byte(out, ',');
	}
	cl_buf_printf(out, "\"request\":{\"method\":\"%s\",\"url\":\"%.*s", methods[v->operation], CL_STR_ARGS(name));
	if (v->operation != CL_OP_CREATE)
		cl_buf_printf(out, "/%.*s", CL_STR_ARGS(v->id));
	cl_buf_printf(out,
	              "\"},\"response\":{\"status\":\"%s\",\"etag\":\"W/\\\"%lld\\\"\",\"lastModified\":\"%.*s\"}}",
	              statuses[v->operation], (long long)v->version, CL_STR_ARGS(at));
}

struct history {
	struct cl_history_query query;
	struct cl_str place; /* value of _page */
	struct cl_str self; /* the rest, as it came */
};

static int read_count(struct cl_str value, uint32_t *out, struct cl_err *e)
{
	uint64_t n = 0;
	bool digits = value.n > 0 && value.n <= 18;
	for (size_t i = 0; digits && i < value.n; i++) {
		digits = value.p[i] >= '0' && value.p[i] <= '9';
		n = n * 10 + (uint64_t)(value.p[i] - '0');
	}
	if (!digits)
		return cl_fail(e, CL_E_INVALID, "_count is a whole number, 0 to %d", CL_HISTORY_MAXIMUM);
	*out = n > CL_HISTORY_MAXIMUM ? CL_HISTORY_MAXIMUM : (uint32_t)n;
	return 0;
}

/* A zone's plus that the client forgot to encode arrives as a space. */
static int read_moment(struct cl_arena *arena, struct cl_str value, struct cl_moment *out, struct cl_err *e)
{
	char *text = cl_arena_cstring(arena, value);
	for (size_t i = 0; i < value.n; i++)
		text[i] = text[i] == ' ' && i > 10 ? '+' : text[i];
	return cl_moment_parse((struct cl_str){text, value.n}, 0, out, e);
}

static int parse_history(struct cl_arena *arena, struct cl_str query, struct history *out, struct cl_err *e)
{
	struct cl_buf self;
	int code = 0;
	out->query = (struct cl_history_query){
	        .since = INT64_MIN, .at_lower = INT64_MIN, .at_upper = INT64_MAX, .limit = CL_HISTORY_DEFAULT};
	cl_buf_init(&self, 0);
	while (query.n && !code) {
		const char *amp = memchr(query.p, '&', query.n);
		struct cl_str pair = {query.p, amp ? (size_t)(amp - query.p) : query.n};
		query = amp ? (struct cl_str){amp + 1, query.n - pair.n - 1} : CL_STR_NONE;
		const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		if (!equals)
			continue;
		struct cl_str name = {pair.p, (size_t)(equals - pair.p)}, value;
		struct cl_moment moment;
		code = cl_fhir_url_decode(arena, (struct cl_str){equals + 1, pair.n - name.n - 1}, &value, e);
		if (code)
			break;
		if (cl_str_is(name, "_page")) {
			out->place = value;
			continue;
		}
		if (cl_str_is(name, "_count"))
			code = read_count(value, &out->query.limit, e);
		else if (cl_str_is(name, "_since") && !(code = read_moment(arena, value, &moment, e)))
			out->query.since = moment.lower;
		else if (cl_str_is(name, "_at") && !(code = read_moment(arena, value, &moment, e))) {
			out->query.at_lower = moment.lower;
			out->query.at_upper = moment.upper;
		}
		if (self.n)
			cl_buf_add_byte(&self, '&');
		cl_buf_add_str(&self, pair);
	}
	out->self = cl_arena_copy(arena, cl_buf_str(&self));
	cl_buf_free(&self);
	return code;
}

/* A place of a history: what it belongs to, and the sequence before which the next page begins. */
struct history_place {
	char kind[8];
	uint64_t incarnation, sequence;
	uint8_t question[16];
};

static struct history_place history_place(struct cl_interaction_context *context, const struct history *history)
{
	struct history_place place = {.kind = "history", .incarnation = cl_store_incarnation(context->store)};
	uint8_t hash[CL_SHA256_SIZE];
	cl_sha256_of(
	        cl_arena_printf(context->arena, "%.*s?%.*s", CL_STR_ARGS(context->target), CL_STR_ARGS(history->self)),
	        hash);
	memcpy(place.question, hash, sizeof place.question);
	return place;
}

static int open_history_place(struct cl_interaction_context *context, struct history *history, struct cl_err *e)
{
	struct history_place place = history_place(context, history), given;
	struct cl_str plain;
	if (!history->place.n)
		return 0;
	if (!cl_store_unseal(context->store, context->arena, history->place, &plain) || plain.n != sizeof given)
		return cl_fail(e, CL_E_INVALID, "this page link is not valid for this history; start again");
	memcpy(&given, plain.p, sizeof given);
	place.sequence = given.sequence;
	if (memcmp(&place, &given, sizeof place))
		return cl_fail(e, CL_E_INVALID, "this page link is not valid for this history; start again");
	history->query.before_sequence = given.sequence;
	return 0;
}

/* The address without what belongs to one page, and the link to the next. */
static void write_history_links(struct cl_interaction_context *context, const struct history *history,
                                const struct cl_version_list *list, struct cl_buf *out)
{
	struct cl_arena *arena = context->arena;
	/* An entry of a batch names its own target: it may hold anything. */
	struct cl_str target = context->request->target, base = context->request->base;
	const char *mark = target.n ? memchr(target.p, '?', target.n) : NULL;
	struct cl_str path = {target.p, mark ? (size_t)(mark - target.p) : target.n}, self = history->self;
	cl_buf_add_cstring(out, ",\"link\":[{\"relation\":\"self\",\"url\":");
	cl_json_write_text(out, cl_arena_printf(arena, "%.*s%.*s%s%.*s", CL_STR_ARGS(base), CL_STR_ARGS(path),
	                                        self.n ? "?" : "", CL_STR_ARGS(self)));
	cl_buf_add_byte(out, '}');
	if (list->more && list->count) {
		struct history_place place = history_place(context, history);
		place.sequence = list->items[list->count - 1].sequence;
		struct cl_str sealed =
		        cl_store_seal(context->store, arena, (struct cl_str){(const char *)&place, sizeof place});
		cl_buf_add_cstring(out, ",{\"relation\":\"next\",\"url\":");
		cl_json_write_text(out, cl_arena_printf(arena, "%.*s%.*s?%.*s%s_page=%.*s", CL_STR_ARGS(base),
		                                        CL_STR_ARGS(path), CL_STR_ARGS(self), self.n ? "&" : "",
		                                        CL_STR_ARGS(sealed)));
		cl_buf_add_byte(out, '}');
	}
	cl_buf_add_byte(out, ']');
}

/* Each version is decided on its own: type and system histories show what the principal may read, that of one resource leaves
 * out what it said when it was not for the principal. */
static bool is_shown(struct cl_interaction_context *context, struct cl_arena *scratch, const struct cl_version *version)
{
	struct cl_version current;
	struct cl_criterion *criterion;
	struct cl_str rule;
	struct cl_err denied = {0};
	if (!context->route->id.n && cl_access_scope(context->principal, CL_ACCESS_SEARCH, version->type, &denied))
		return false;
	if (cl_access_predicate(context->rules->access, scratch, context->principal, CL_ACCESS_HISTORY, version->type,
	                        &criterion, &rule, &denied))
		return false;
	return !criterion || (!cl_store_get(context->store, scratch, version->type, version->id, &current, &denied) &&
	                      !cl_interaction_may_see(context->rules, context->store, scratch, context->principal,
	                                              CL_ACCESS_HISTORY, &current, version, &rule, &denied));
}

int cl_interaction_history(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_route *route = context->route;
	struct cl_arena *arena = context->arena;
	struct history history = {0};
	struct cl_version_list list;
	context->target =
	        route->id.n ? cl_arena_printf(arena, "%.*s/%.*s/_history", CL_STR_ARGS(cl_fhir_type_name(route->type)),
	                                      CL_STR_ARGS(route->id))
	                    : cl_arena_printf(arena, "%.*s/_history", CL_STR_ARGS(cl_fhir_type_name(route->type)));
	int code = parse_history(arena, route->query, &history, e);
	if (!code)
		code = open_history_place(context, &history, e);
	if (!code)
		code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_HISTORY, route->type,
		                     &context->rule, e);
	/* Of one resource history is reading; of many it is a list. */
	if (!code && !route->id.n)
		code = cl_access_scope(context->principal, CL_ACCESS_SEARCH, route->type, e);
	if (code)
		return code;
	if (route->id.n) {
		struct cl_version current;
		code = cl_store_get(context->store, arena, route->type, route->id, &current, e);
		if (code)
			return code == CL_E_NOT_FOUND
			               ? cl_fail(e, code, "%.*s is not known here", CL_STR_ARGS(context->target))
			               : code;
		code = may_see(context, CL_ACCESS_HISTORY, &current, &current, e);
		if (code)
			return code;
	}
	history.query.type = route->type;
	history.query.id = route->id;
	code = cl_store_history_query(context->store, arena, &history.query, &list, e);
	if (code)
		return code;
	struct cl_buf out;
	cl_buf_init(&out, CL_BODY_MAX);
	cl_buf_add_cstring(&out, "{\"resourceType\":\"Bundle\",\"type\":\"history\"");
	write_history_links(context, &history, &list, &out);
	bool first = true;
	struct cl_arena *scratch = cl_arena_new(0);
	for (size_t i = 0; i < list.count && !out.overflow; i++) {
		cl_arena_reset(scratch);
		if (!is_shown(context, scratch, &list.items[i]))
			continue;
		cl_buf_add_cstring(&out, first ? ",\"entry\":[" : ",");
		first = false;
		write_history_entry(&out, arena, context->request->base, &list.items[i]);
	}
	cl_arena_free(scratch);
	cl_buf_add_cstring(&out, first ? "}" : "]}");
	if (out.overflow)
		code = cl_fail(e, CL_E_TOO_LARGE, "the answer would be larger than %d MiB; ask for less with _count",
		               CL_BODY_MAX >> 20);
	else
		cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8",
		                            cl_arena_copy(arena, cl_buf_str(&out)));
	cl_buf_free(&out);
	return code;
}
