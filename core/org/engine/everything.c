/* everything.c: Patient/id/$everything (FHIR R4 patient-operation-everything.html): what is in the patient's compartment, type by
 * type and by age, and then what that refers to outside of any patient's compartment (practitioners, organizations, locations,
 * medications ...). Pages hold still: what was made after the first one is left out, and nothing comes twice. */
#include "org/engine/export.h"
#include "base/date.h"
#include "base/hash.h"
#include "org/fhir/parameters.h"
#include "org/fhir/reference.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <stdio.h>
#include <stdlib.h>

#define COUNT_MAX 1000 /* also when the client does not say */
#define CHUNK 50 /* resources between two looks at the size */
#define PAGE_BYTES ((size_t)8 * 1024 * 1024) /* a page that has reached it ends */
#define SUPPORT_MAX 20000 /* resources that one patient's may refer to */
#define SUPPORT_DEPTH 2 /* a role's practitioner and organization, a location's organization */

struct place {
	uint64_t sequence; /* of the first page: what was made later is left out */
	uint16_t type; /* compartment: the type under way */
	bool support; /* the second part has begun */
	struct cl_str after; /* compartment: the store's own place; support: the last "Type/id" */
};

struct everything {
	struct cl_interaction_context *context;
	struct cl_arena *arena;
	struct cl_str id;
	bool types[1 << 10]; /* by number; all false = any */
	bool any_type;
	bool has_since;
	struct cl_moment since_moment, start, end;
	bool has_start, has_end;
	uint32_t count, left;
	struct cl_str place_text;
	struct cl_buf self; /* the query without the place */
	struct place place, next;
	bool more;
	struct cl_buf out;
	bool any;
};

/* ---- what was asked ---- */

static int take_types(struct everything *all, struct cl_str text, struct cl_err *e)
{
	while (text.n) {
		const char *comma = memchr(text.p, ',', text.n);
		struct cl_str name = {text.p, comma ? (size_t)(comma - text.p) : text.n};
		text = comma ? (struct cl_str){comma + 1, text.n - name.n - 1} : CL_STR_NONE;
		uint16_t type = cl_fhir_type(name);
		if (!type) {
			cl_fail(e, CL_E_INVALID, "'%.*s' is no FHIR R4 resource type", (int)(name.n < 80 ? name.n : 80),
			        name.p);
			return cl_fail_at(e, "_type");
		}
		all->types[type] = true;
		all->any_type = false;
	}
	return 0;
}

static int take_moment(struct cl_str name, struct cl_str value, struct cl_moment *out, bool *has, struct cl_err *e)
{
	*has = true;
	return cl_moment_parse(value, 0, out, e) ? cl_fail_at(e, "%.*s", CL_STR_ARGS(name)) : 0;
}

static int take(struct everything *all, struct cl_str name, struct cl_str value, struct cl_err *e)
{
	char digits[24] = "";
	if (cl_str_is(name, "_page")) {
		all->place_text = value;
		return 0;
	}
	if (cl_str_is(name, "_format") || cl_str_is(name, "_pretty"))
		return 0;
	cl_buf_printf(&all->self, "%s%.*s=", all->self.n ? "&" : "", CL_STR_ARGS(name));
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		             memchr("-._~:,", c, 6);
		cl_buf_printf(&all->self, plain ? "%c" : "%%%02X", (unsigned char)c);
	}
	if (cl_str_is(name, "_type"))
		return take_types(all, value, e);
	if (cl_str_is(name, "_since"))
		return take_moment(name, value, &all->since_moment, &all->has_since, e);
	if (cl_str_is(name, "start"))
		return take_moment(name, value, &all->start, &all->has_start, e);
	if (cl_str_is(name, "end"))
		return take_moment(name, value, &all->end, &all->has_end, e);
	if (cl_str_is(name, "_count")) {
		if (value.n && value.n < 18)
			memcpy(digits, value.p, value.n);
		if (!digits[0] || strspn(digits, "0123456789") != value.n || strtoll(digits, NULL, 10) == 0) {
			cl_fail(e, CL_E_INVALID, "_count is a whole number, 1 to %d", COUNT_MAX);
			return cl_fail_at(e, "_count");
		}
		long long n = strtoll(digits, NULL, 10);
		all->count = n > COUNT_MAX ? COUNT_MAX : (uint32_t)n;
		return 0;
	}
	cl_fail(e, CL_E_INVALID, "$everything has no parameter '%.*s'; start, end, _since, _type and _count are known",
	        (int)(name.n < 80 ? name.n : 80), name.p);
	return cl_fail_at(e, "%.*s", (int)(name.n < 80 ? name.n : 80), name.p);
}

static int take_query(struct everything *all, struct cl_str query, struct cl_err *e)
{
	while (query.n) {
		const char *amp = memchr(query.p, '&', query.n);
		struct cl_str pair = {query.p, amp ? (size_t)(amp - query.p) : query.n}, name, value;
		query = amp ? (struct cl_str){amp + 1, query.n - pair.n - 1} : CL_STR_NONE;
		const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		if (!pair.n)
			continue;
		struct cl_str raw = {pair.p, equals ? (size_t)(equals - pair.p) : pair.n};
		struct cl_str rest = equals ? (struct cl_str){equals + 1, pair.n - raw.n - 1} : CL_STR_NONE;
		int code = cl_fhir_url_decode(all->arena, raw, &name, e);
		if (!code)
			code = cl_fhir_url_decode(all->arena, rest, &value, e);
		if (!code)
			code = take(all, name, value, e);
		if (code)
			return code;
	}
	return 0;
}

static int take_body(struct everything *all, struct cl_err *e)
{
	struct cl_json *body;
	if (!cl_str_is(all->context->request->method, "POST") || !all->context->request->body.n)
		return 0;
	int code = cl_interaction_body(all->context, &body, e);
	if (code)
		return code;
	if (!cl_str_is(cl_json_get_text(body, "resourceType"), "Parameters")) {
		cl_fail(e, CL_E_INVALID, "$everything takes a Parameters resource, or nothing");
		return cl_fail_at(e, "resourceType");
	}
	const struct cl_json *parameters = cl_json_get(body, "parameter");
	for (uint32_t i = 0; !code && parameters && i < parameters->count; i++) {
		const struct cl_json *parameter = &parameters->items[i];
		struct cl_str value = CL_STR_NONE;
		for (uint32_t m = 0; m < parameter->count; m++)
			if (cl_str_starts(parameter->members[m].name, "value"))
				value = cl_json_text(&parameter->members[m].value);
		code = take(all, cl_json_get_text(parameter, "name"), value, e);
	}
	return code;
}

/* ---- the place of a page: readable, but nobody else can make one ---- */

static void tag_of(const struct everything *all, struct cl_str plain, uint8_t tag[CL_SHA256_SIZE])
{
	struct cl_buf text;
	uint64_t incarnation = cl_store_incarnation(all->context->store);
	cl_buf_init(&text, 0);
	cl_buf_printf(&text, "everything %llu %.*s ? %.*s : ", (unsigned long long)incarnation, CL_STR_ARGS(all->id),
	              CL_STR_ARGS(cl_buf_str(&all->self)));
	cl_buf_add_str(&text, plain);
	cl_hmac_sha256(cl_store_secret(all->context->store), 32, cl_buf_str(&text), tag);
	cl_buf_free(&text);
}

static struct cl_str write_place(const struct everything *all, const struct place *place)
{
	uint8_t tag[CL_SHA256_SIZE];
	struct cl_buf sealed;
	struct cl_str plain = cl_arena_printf(all->arena, "%llu %d %u %.*s", (unsigned long long)place->sequence,
	                                      place->support, place->type, CL_STR_ARGS(place->after));
	tag_of(all, plain, tag);
	cl_buf_init(&sealed, 0);
	cl_buf_add(&sealed, tag, 16);
	cl_buf_add_str(&sealed, plain);
	struct cl_str out = cl_base64url(all->arena, cl_buf_str(&sealed));
	cl_buf_free(&sealed);
	return out;
}

static int read_place(const struct everything *all, struct place *out, struct cl_err *e)
{
	uint8_t tag[CL_SHA256_SIZE];
	struct cl_str sealed;
	unsigned long long sequence;
	unsigned support, type;
	int end = 0;
	if (cl_base64_decode(all->arena, all->place_text, &sealed, NULL) || sealed.n <= 16)
		return cl_fail(e, CL_E_INVALID, "this is no next link of this $everything; start with the first page");
	const char *plain = cl_arena_cstring(all->arena, (struct cl_str){sealed.p + 16, sealed.n - 16});
	tag_of(all, (struct cl_str){plain, sealed.n - 16}, tag);
	if (!cl_equal_secret(tag, sealed.p, 16) || sscanf(plain, "%llu %u %u %n", &sequence, &support, &type, &end) < 3)
		return cl_fail(e, CL_E_INVALID, "this is no next link of this $everything; start with the first page");
	*out = (struct place){
	        .sequence = sequence, .support = support, .type = (uint16_t)type, .after = cl_str_of(plain + end)};
	return 0;
}

/* ---- the compartment ---- */

static struct cl_criterion *add_child(struct cl_arena *arena, struct cl_criterion *parent, struct cl_criterion child)
{
	if (!parent->children)
		parent->children = CL_NEW_ARRAY(arena, struct cl_criterion, 4);
	parent->children[parent->child_count] = child;
	return &parent->children[parent->child_count++];
}

/* The parameter that says when the care took place; 0 when the type has none. */
static uint16_t care_date(uint16_t type)
{
	static const char *const codes[] = {"date",    "onset-date", "authored",       "authoredon", "authored-on",
	                                    "period",  "effective",  "effective-time", "occurrence", "started",
	                                    "created", "issued",     "sent",           "recorded",   "performed-date",
	                                    "study",   "when",       "whenprepared"};
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		const struct cl_fhir_parameter *parameter = cl_fhir_search_parameter(type, cl_str_of(codes[i]));
		if (parameter && parameter->kind == CL_SEARCH_DATE && parameter->indexed)
			return parameter->number;
	}
	return 0;
}

static struct cl_criterion *compartment(const struct everything *all, uint16_t type)
{
	struct cl_arena *arena = all->arena;
	struct cl_criterion *where = CL_NEW(arena, struct cl_criterion);
	uint16_t date = care_date(type);
	where->kind = CL_AND;
	add_child(arena, where, (struct cl_criterion){.kind = CL_COMPARTMENT, .b = all->id});
	if (all->has_since)
		add_child(arena, where,
		          (struct cl_criterion){.kind = CL_UPDATED,
		                                .relation = CL_GE,
		                                .lower = all->since_moment.lower,
		                                .upper = all->since_moment.upper});
	/* What has no date of care, such as an allergy, belongs to any time. */
	if ((all->has_start || all->has_end) && date) {
		struct cl_criterion *either = add_child(arena, where, (struct cl_criterion){.kind = CL_OR});
		struct cl_criterion *undated = add_child(arena, either, (struct cl_criterion){.kind = CL_NOT});
		add_child(arena, undated, (struct cl_criterion){.kind = CL_PRESENT, .parameter = date});
		struct cl_criterion *within = add_child(arena, either, (struct cl_criterion){.kind = CL_AND});
		if (all->has_start)
			add_child(arena, within,
			          (struct cl_criterion){.kind = CL_DATE,
			                                .parameter = date,
			                                .relation = CL_GE,
			                                .lower = all->start.lower,
			                                .upper = all->start.upper});
		if (all->has_end)
			add_child(arena, within,
			          (struct cl_criterion){.kind = CL_DATE,
			                                .parameter = date,
			                                .relation = CL_LE,
			                                .lower = all->end.lower,
			                                .upper = all->end.upper});
	}
	return where;
}

/* The next resources of a type; none when the principal may not search it. */
static int find(struct everything *all, uint16_t type, struct cl_str after, uint32_t limit,
                struct cl_search_result *out, struct cl_err *e)
{
	struct cl_interaction_context *context = all->context;
	struct cl_str rule;
	struct cl_err denied = {0};
	struct cl_query query = {.type = type, .limit = limit, .after = after, .bodies = true};
	*out = (struct cl_search_result){0};
	if (cl_access_predicate(context->rules->access, all->arena, context->principal, CL_ACCESS_SEARCH, type,
	                        &query.access, &rule, &denied))
		return 0;
	query.where = compartment(all, type);
	return cl_store_search(context->store, all->arena, &query, out, e);
}

/* Made after the first page was asked for. */
static bool is_late(struct everything *all, const struct cl_version *version)
{
	struct cl_version first;
	if (version->sequence <= all->place.sequence)
		return false;
	return version->version == 1 ||
	       cl_store_get_version(all->context->store, all->arena, version->type, version->id, 1, &first, NULL) ||
	       first.sequence > all->place.sequence;
}

static void add_entry(struct everything *all, const struct cl_version *version, const char *mode)
{
	struct cl_str base = all->context->request->base, name = cl_fhir_type_name(version->type);
	cl_buf_printf(&all->out,
	              "%s{\"fullUrl\":\"%.*s/fhir/%.*s/%.*s\",\"resource\":", all->any ? "," : ",\"entry\":[",
	              CL_STR_ARGS(base), CL_STR_ARGS(name), CL_STR_ARGS(version->id));
	cl_buf_add_str(&all->out, version->body);
	cl_buf_printf(&all->out, ",\"search\":{\"mode\":\"%s\"}}", mode);
	all->any = true;
	all->left--;
}

static bool is_full(const struct everything *all)
{
	return all->left == 0 || all->out.n >= PAGE_BYTES;
}

static int add_compartment(struct everything *all, struct cl_err *e)
{
	uint16_t patient = cl_fhir_type(CL_STR("Patient")), end = (uint16_t)(cl_fhir_type_count() + 1);
	/* The patient first, then the other types by number: type 0 stands for the patient here. */
	for (uint16_t step = all->place.type; step < end; step++) {
		uint16_t type = step ? step : patient;
		struct cl_str after = step == all->place.type ? all->place.after : CL_STR_NONE;
		if ((step && type == patient) || !cl_export_in_compartment(type) ||
		    (!all->any_type && !all->types[type]))
			continue;
		do {
			struct cl_search_result found;
			uint32_t limit = all->left < CHUNK ? all->left : CHUNK;
			if (is_full(all)) {
				all->more = true;
				all->next = (struct place){all->place.sequence, step, false, after};
				return 0;
			}
			int code = find(all, type, after, limit, &found, e);
			if (code)
				return code;
			for (size_t i = 0; i < found.count; i++)
				if (!is_late(all, &found.items[i]))
					add_entry(all, &found.items[i], "match");
			after = found.after;
		} while (after.n);
	}
	all->place.after = CL_STR_NONE;
	return 0;
}

/* ---- what it refers to ---- */

struct support {
	struct everything *all;
	struct cl_str *texts; /* "Type/id", sorted when it is whole */
	size_t count, capacity;
};

static int note_link(void *context, enum cl_fhir_link kind, struct cl_json *text)
{
	struct support *support = context;
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text->text);
	struct cl_str base = support->all->context->request->base;
	bool own = reference.form == CL_FHIR_REFERENCE_ABSOLUTE && reference.base.n == base.n + 5 &&
	           memcmp(reference.base.p, base.p, base.n) == 0;
	if (kind != CL_FHIR_LINK_REFERENCE || (reference.form != CL_FHIR_REFERENCE_RELATIVE && !own) ||
	    !reference.type || cl_export_in_compartment(reference.type) || support->count >= SUPPORT_MAX)
		return 0;
	if (support->count == support->capacity) {
		support->capacity = support->capacity ? support->capacity * 2 : 256;
		support->texts = realloc(support->texts, support->capacity * sizeof *support->texts);
		if (!support->texts)
			cl_die("out of memory (everything)");
	}
	support->texts[support->count++] =
	        cl_arena_printf(support->all->arena, "%.*s/%.*s", CL_STR_ARGS(cl_fhir_type_name(reference.type)),
	                        CL_STR_ARGS(reference.id));
	return 0;
}

static int note_links(struct support *support, struct cl_str body, struct cl_err *e)
{
	struct cl_arena *scratch = cl_arena_new(0);
	struct cl_json *resource;
	int code = cl_json_parse(scratch, body, NULL, &resource, e);
	if (!code)
		cl_fhir_visit_links(resource, note_link, support);
	cl_arena_free(scratch);
	return code;
}

static int compare_texts(const void *x, const void *y)
{
	return cl_str_compare(*(const struct cl_str *)x, *(const struct cl_str *)y);
}

/* Sorts what was noted and drops what came twice. */
static void settle(struct support *support)
{
	size_t kept = 0;
	if (support->count)
		qsort(support->texts, support->count, sizeof *support->texts, compare_texts);
	for (size_t i = 0; i < support->count; i++)
		if (!kept || !cl_str_equal(support->texts[kept - 1], support->texts[i]))
			support->texts[kept++] = support->texts[i];
	support->count = kept;
}

/* 1 when the principal may see it, it was there, and it was asked for as far as `_since` goes. */
static int fetch(struct everything *all, struct cl_str text, struct cl_version *out, struct cl_err *e)
{
	struct cl_interaction_context *context = all->context;
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	struct cl_criterion *access;
	struct cl_str rule;
	struct cl_err denied = {0};
	bool allowed = true;
	int code = cl_store_get(context->store, all->arena, reference.type, reference.id, out, &denied);
	if (code || out->operation == CL_OP_DELETE || is_late(all, out))
		return code == CL_E_NOT_FOUND ? 0 : code;
	if (cl_access_predicate(context->rules->access, all->arena, context->principal, CL_ACCESS_SEARCH,
	                        reference.type, &access, &rule, &denied))
		return 0;
	if (access)
		code = cl_store_matches(context->store, out->row, access, &allowed, e);
	return code ? code : allowed;
}

/* All that the compartment refers to, whatever `_type` says: that is for what is shown. */
static int collect(struct support *support, struct cl_err *e)
{
	struct everything *all = support->all;
	int code = 0;
	for (uint16_t type = 1; !code && type <= cl_fhir_type_count(); type++) {
		struct cl_str after = CL_STR_NONE;
		if (!cl_export_in_compartment(type))
			continue;
		do {
			struct cl_search_result found;
			code = find(all, type, after, CHUNK, &found, e);
			for (size_t i = 0; !code && i < found.count; i++)
				if (!is_late(all, &found.items[i]))
					code = note_links(support, found.items[i].body, e);
			after = found.after;
		} while (!code && after.n);
	}
	settle(support);
	for (int depth = 1; !code && depth < SUPPORT_DEPTH; depth++) {
		size_t before = support->count;
		for (size_t i = 0; !code && i < before; i++) {
			struct cl_version version;
			int seen = fetch(all, support->texts[i], &version, e);
			code = seen < 0 ? seen : seen ? note_links(support, version.body, e) : 0;
		}
		settle(support);
	}
	return code;
}

static bool wants_support(const struct everything *all)
{
	for (uint16_t type = 1; !all->any_type && type <= cl_fhir_type_count(); type++)
		if (all->types[type] && !cl_export_in_compartment(type))
			return true;
	return all->any_type;
}

static int add_support(struct everything *all, struct cl_err *e)
{
	struct support support = {.all = all};
	struct cl_str last = all->place.support ? all->place.after : CL_STR_NONE;
	int code = collect(&support, e);
	for (size_t i = 0; !code && i < support.count; i++) {
		struct cl_version version;
		struct cl_str text = support.texts[i];
		uint16_t type = cl_fhir_reference_parse(text).type;
		if ((last.n && cl_str_compare(text, last) <= 0) || (!all->any_type && !all->types[type]))
			continue;
		if (is_full(all)) {
			all->more = true;
			all->next = (struct place){all->place.sequence, 0, true, last};
			break;
		}
		int seen = fetch(all, text, &version, e);
		code = seen < 0 ? seen : 0;
		if (seen > 0 && !(all->has_since && version.updated < all->since_moment.lower))
			add_entry(all, &version, "include");
		last = text;
	}
	free(support.texts);
	return code;
}

/* ---- the whole ---- */

static int may_read(struct everything *all, struct cl_err *e)
{
	struct cl_interaction_context *context = all->context;
	struct cl_version patient;
	uint16_t type = context->route->type;
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_READ, type, &context->rule, e);
	if (!code)
		code = cl_store_get(context->store, all->arena, type, all->id, &patient, e);
	if (code == CL_E_NOT_FOUND)
		return cl_fail(e, code, "Patient/%.*s is not known here", CL_STR_ARGS(all->id));
	if (!code)
		code = cl_interaction_may_see(context->rules, context->store, all->arena, context->principal,
		                              CL_ACCESS_READ, &patient, &patient, &context->rule, e);
	if (!code && patient.operation == CL_OP_DELETE)
		return cl_fail(e, CL_E_GONE, "Patient/%.*s was deleted", CL_STR_ARGS(all->id));
	return code;
}

static void add_link(struct everything *all, const char *relation, struct cl_str place)
{
	struct cl_str self = cl_buf_str(&all->self);
	cl_buf_printf(&all->out, "{\"relation\":\"%s\",\"url\":", relation);
	cl_json_write_text(&all->out, cl_arena_printf(all->arena, "%.*s/fhir/Patient/%.*s/$everything%s%.*s%s%.*s",
	                                              CL_STR_ARGS(all->context->request->base), CL_STR_ARGS(all->id),
	                                              self.n || place.n ? "?" : "", CL_STR_ARGS(self),
	                                              !place.n ? ""
	                                              : self.n ? "&_page="
	                                                       : "_page=",
	                                              CL_STR_ARGS(place)));
	cl_buf_add_byte(&all->out, '}');
}

static int answer(struct everything *all, struct cl_err *e)
{
	cl_buf_add_cstring(&all->out, "{\"resourceType\":\"Bundle\",\"type\":\"searchset\"");
	int code = all->place.support ? 0 : add_compartment(all, e);
	if (!code && !all->more && wants_support(all))
		code = add_support(all, e);
	if (code)
		return code;
	cl_buf_add_cstring(&all->out, all->any ? "],\"link\":[" : ",\"link\":[");
	add_link(all, "self", all->place_text);
	if (all->more) {
		cl_buf_add_byte(&all->out, ',');
		add_link(all, "next", write_place(all, &all->next));
	}
	cl_buf_add_cstring(&all->out, "]}");
	if (all->out.overflow)
		return cl_fail(e, CL_E_TOO_LARGE, "the answer would be larger than %d MiB; ask for less with _count",
		               CL_BODY_MAX >> 20);
	cl_interaction_answer_bytes(all->context, 200, "application/fhir+json; charset=utf-8",
	                            cl_arena_copy(all->arena, cl_buf_str(&all->out)));
	return 0;
}

int cl_interaction_everything(struct cl_interaction_context *context, struct cl_err *e)
{
	struct everything *all = CL_NEW(context->arena, struct everything);
	*all = (struct everything){.context = context,
	                           .arena = context->arena,
	                           .id = context->route->id,
	                           .any_type = true,
	                           .count = COUNT_MAX};
	context->target = cl_arena_printf(context->arena, "Patient/%.*s/$everything", CL_STR_ARGS(all->id));
	cl_buf_init(&all->out, CL_BODY_MAX);
	cl_buf_init(&all->self, 0);
	int code = take_query(all, context->route->query, e);
	if (!code)
		code = take_body(all, e);
	if (!code)
		code = may_read(all, e);
	all->left = all->count;
	all->place.sequence = cl_store_last_sequence(context->store);
	if (!code && all->place_text.n)
		code = read_place(all, &all->place, e);
	if (!code)
		code = answer(all, e);
	cl_buf_free(&all->out);
	cl_buf_free(&all->self);
	return code;
}
