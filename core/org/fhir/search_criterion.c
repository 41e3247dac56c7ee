/* search_criterion.c: one search parameter with its modifier, chain or _has, as a criterion (R4 sections 3.1.1.4.3 to
 * 3.1.1.4.5 and 3.1.1.5). */
#include "org/fhir/search_internal.h"
#include "base/closest.h"
#include "base/id.h"
#include <stdio.h>

/* Chains and _has within each other. */
#define DEEPEST 2

static int refuse(struct cl_err *e, struct cl_str name, const char *format, ...) __attribute__((format(printf, 3, 4)));

static int refuse(struct cl_err *e, struct cl_str name, const char *format, ...)
{
	char message[360];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	cl_fail(e, CL_E_INVALID, "Search parameter \"%.*s\": %s", (int)(name.n < 80 ? name.n : 80), name.p, message);
	cl_fail_at(e, "%.*s", CL_STR_ARGS(name));
	return CL_E_INVALID;
}

int cl_search_unknown(struct cl_search_reader *reader, uint16_t type, struct cl_str name, struct cl_err *e)
{
	static const char *const common[] = {"_id",      "_lastUpdated", "_count",   "_sort",       "_total",
	                                     "_summary", "_elements",    "_include", "_revinclude", "_has"};
	struct cl_str type_name = cl_fhir_type_name(type);
	struct cl_closest closest = {.wanted = name};
	const struct cl_fhir_parameter *parameter;
	char known[300] = "";
	size_t n = 0;
	reader->unknown = true;
	for (unsigned i = 0; i < sizeof(common) / sizeof(*common); i++)
		cl_closest_offer(&closest, common[i]);
	for (unsigned i = 0; (parameter = cl_fhir_parameter_at(type, i)) != NULL; i++) {
		struct cl_str code = cl_fhir_parameter_code(parameter);
		if (!parameter->indexed)
			continue;
		cl_closest_offer(&closest, code.p);
		if (code.p[0] == '_')
			continue;
		if (n + code.n + 8 < sizeof(known))
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "", code.p);
		else if (n < sizeof(known) - 5 && known[n - 1] != '.')
			n += (size_t)snprintf(known + n, sizeof(known) - n, " ...");
	}
	cl_fail(e, CL_E_INVALID, "%.*s has no search parameter \"%.*s\"%s%s%s Known: %s", CL_STR_ARGS(type_name),
	        (int)(name.n < 60 ? name.n : 60), name.p, closest.best ? "; did you mean \"" : ".",
	        closest.best ? closest.best : "", closest.best ? "\"?" : "", known);
	cl_fail_at(e, "%.*s", CL_STR_ARGS(name));
	return CL_E_INVALID;
}

/* ---- modifiers ---- */

static int check_modifier(const struct cl_fhir_parameter *parameter, struct cl_str name, struct cl_str modifier,
                          struct cl_err *e)
{
	static const struct {
		uint8_t kind;
		const char *modifiers; /* separated by spaces */
	} allowed[] = {
	        {CL_SEARCH_STRING, "missing exact contains"},
	        {CL_SEARCH_TOKEN, "missing not text of-type"},
	        {CL_SEARCH_URI, "missing below"},
	        {CL_SEARCH_REFERENCE, "missing identifier"},
	        {CL_SEARCH_DATE, "missing"},
	        {CL_SEARCH_NUMBER, "missing"},
	        {CL_SEARCH_QUANTITY, "missing"},
	        {CL_SEARCH_COMPOSITE, "missing"},
	};
	if (modifier.n == 0)
		return 0;
	if (parameter->kind == CL_SEARCH_REFERENCE && cl_fhir_type(modifier))
		return 0;
	if (cl_str_is(modifier, "of-type") && !cl_fhir_parameter_of_identifiers(parameter))
		return refuse(e, name, "only identifiers have types that :of-type could ask for.");
	for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++) {
		if (allowed[i].kind != parameter->kind)
			continue;
		for (const char *p = allowed[i].modifiers; *p;) {
			size_t n = strcspn(p, " ");
			if (n == modifier.n && memcmp(p, modifier.p, n) == 0)
				return 0;
			p += n + (p[n] == ' ');
		}
		return refuse(e, name, "the modifier :%.*s is not supported. A %s parameter takes :%s%s.",
		              (int)(modifier.n < 40 ? modifier.n : 40), modifier.p,
		              cl_fhir_search_kind_name(parameter->kind), allowed[i].modifiers,
		              parameter->kind == CL_SEARCH_REFERENCE ? " and :[type], separately" : "");
	}
	return refuse(e, name, "%s parameters are not supported yet.", cl_fhir_search_kind_name(parameter->kind));
}

/* Comma-separated values: any of them. `each` turns one into a criterion. */
typedef int (*read_each)(struct cl_search_reader *reader, const void *what, struct cl_str escaped,
                         struct cl_criterion *out, struct cl_err *e);

static int any_of(struct cl_search_reader *reader, struct cl_str value, read_each each, const void *what,
                  struct cl_criterion *out, struct cl_err *e)
{
	size_t count = 1;
	for (struct cl_str rest = value; cl_search_find(rest, ',') < rest.n; count++) {
		size_t at = cl_search_find(rest, ',') + 1;
		rest = (struct cl_str){rest.p + at, rest.n - at};
		if (count > CL_FHIR_SEARCH_VALUES)
			return cl_fail(e, CL_E_LIMIT, "A search may compare with %d values at most.",
			               CL_FHIR_SEARCH_VALUES);
	}
	if (count == 1)
		return each(reader, what, value, out, e);
	*out = (struct cl_criterion){.kind = CL_OR,
	                             .children = CL_NEW_ARRAY(reader->arena, struct cl_criterion, count)};
	for (size_t i = 0; i < count; i++) {
		size_t at = cl_search_find(value, ',');
		int code = each(reader, what, (struct cl_str){value.p, at}, &out->children[i], e);
		if (code)
			return code;
		out->child_count++;
		value = (struct cl_str){value.p + at + (at < value.n), value.n - at - (at < value.n)};
	}
	return 0;
}

struct one {
	const struct cl_fhir_parameter *parameter;
	struct cl_str name, modifier;
};

static int read_one(struct cl_search_reader *reader, const void *what, struct cl_str escaped, struct cl_criterion *out,
                    struct cl_err *e)
{
	const struct one *one = what;
	return cl_search_value(reader, one->parameter, one->modifier, escaped, out, e);
}

static void negate(struct cl_search_reader *reader, struct cl_criterion *criterion)
{
	struct cl_criterion *child = CL_NEW(reader->arena, struct cl_criterion);
	*child = *criterion;
	*criterion = (struct cl_criterion){.kind = CL_NOT, .children = child, .child_count = 1};
}

static int read_missing(struct cl_search_reader *reader, const struct cl_fhir_parameter *parameter, struct cl_str name,
                        struct cl_str value, struct cl_criterion *out, struct cl_err *e)
{
	bool missing = cl_str_is(value, "true");
	if (!missing && !cl_str_is(value, "false"))
		return refuse(e, name, ":missing takes true or false.");
	if (!parameter) {
		/* _id and _lastUpdated, which nothing lacks. */
		*out = (struct cl_criterion){.kind = missing ? CL_FALSE : CL_TRUE};
		return 0;
	}
	*out = (struct cl_criterion){.kind = CL_PRESENT, .parameter = parameter->number};
	if (parameter->whole) {
		unsigned count;
		const uint16_t *parts = cl_fhir_parameter_parts(parameter, &count);
		*out = (struct cl_criterion){.kind = CL_AND,
		                             .children = CL_NEW_ARRAY(reader->arena, struct cl_criterion, count)};
		while (out->child_count < count) {
			out->children[out->child_count] =
			        (struct cl_criterion){.kind = CL_PRESENT, .parameter = parts[out->child_count]};
			out->child_count++;
		}
	}
	if (missing)
		negate(reader, out);
	return 0;
}

/* ---- _id and _lastUpdated, which the store has without an index ---- */

static int read_id(struct cl_search_reader *reader, const void *what, struct cl_str escaped, struct cl_criterion *out,
                   struct cl_err *e)
{
	const struct one *one = what;
	if (++reader->values > CL_FHIR_SEARCH_VALUES)
		return cl_fail(e, CL_E_LIMIT, "A search may compare with %d values at most.", CL_FHIR_SEARCH_VALUES);
	if (!cl_is_fhir_id(escaped))
		return refuse(e, one->name, "\"%.*s\" is no FHIR id.", (int)(escaped.n < 80 ? escaped.n : 80),
		              escaped.p);
	*out = (struct cl_criterion){.kind = CL_ID, .b = escaped};
	return 0;
}

static int read_updated(struct cl_search_reader *reader, const void *what, struct cl_str escaped,
                        struct cl_criterion *out, struct cl_err *e)
{
	const struct one *one = what;
	*out = (struct cl_criterion){.kind = CL_UPDATED};
	if (++reader->values > CL_FHIR_SEARCH_VALUES)
		return cl_fail(e, CL_E_LIMIT, "A search may compare with %d values at most.", CL_FHIR_SEARCH_VALUES);
	return cl_search_date(reader, one->name, escaped, out, e);
}

/* ---- composites ---- */

/* "8480-6$gt140": all parts hold within one group of elements. Parts of whole resources are parameters like any other. */
static int read_composite(struct cl_search_reader *reader, const void *what, struct cl_str escaped,
                          struct cl_criterion *out, struct cl_err *e)
{
	const struct one *one = what;
	unsigned count, found = 1;
	const uint16_t *parts = cl_fhir_parameter_parts(one->parameter, &count);
	for (struct cl_str rest = escaped; cl_search_find(rest, '$') < rest.n; found++) {
		size_t at = cl_search_find(rest, '$') + 1;
		rest = (struct cl_str){rest.p + at, rest.n - at};
	}
	if (found != count)
		return refuse(e, one->name, "it takes %u values joined by $, like code$value.", count);
	*out = (struct cl_criterion){.kind = one->parameter->whole ? CL_AND : CL_GROUP,
	                             .parameter = one->parameter->number,
	                             .children = CL_NEW_ARRAY(reader->arena, struct cl_criterion, count)};
	for (unsigned i = 0; i < count; i++) {
		size_t at = cl_search_find(escaped, '$');
		const struct cl_fhir_parameter *part = cl_fhir_parameter_by_number(parts[i]);
		struct cl_criterion *child = &out->children[i];
		int code = cl_search_value(reader, part, CL_STR_NONE, (struct cl_str){escaped.p, at}, child, e);
		if (code)
			return code;
		/* The code of another system than the one that all values have. */
		if (child->kind == CL_FALSE) {
			*out = (struct cl_criterion){.kind = CL_FALSE};
			return 0;
		}
		out->child_count++;
		escaped = (struct cl_str){escaped.p + at + (at < escaped.n), escaped.n - at - (at < escaped.n)};
	}
	return 0;
}

/* ---- chains and _has ---- */

static bool may_target(const struct cl_fhir_parameter *parameter, uint16_t type)
{
	unsigned count;
	const uint16_t *targets = cl_fhir_parameter_targets(parameter, &count);
	for (unsigned i = 0; i < count; i++) {
		if (targets[i] == type)
			return true;
	}
	return count == 0;
}

/* "patient.identifier" or "subject:Patient.name": `first` is what stands before the dot. */
static int read_chain(struct cl_search_reader *reader, uint16_t type, struct cl_str name, struct one *first,
                      struct cl_str rest, struct cl_str value, int depth, struct cl_criterion *out, struct cl_err *e)
{
	unsigned count;
	const uint16_t *targets = cl_fhir_parameter_targets(first->parameter, &count);
	uint16_t wanted = cl_fhir_type(first->modifier);
	if (first->parameter->kind != CL_SEARCH_REFERENCE)
		return refuse(e, name, "only a reference can be followed with a dot; %.*s of %.*s is a %s.",
		              CL_STR_ARGS(cl_fhir_parameter_code(first->parameter)),
		              CL_STR_ARGS(cl_fhir_type_name(type)), cl_fhir_search_kind_name(first->parameter->kind));
	if (depth >= DEEPEST)
		return refuse(e, name, "references can be followed %d deep.", DEEPEST);
	if (first->modifier.n && !wanted)
		return refuse(e, name, "\"%.*s\" is no FHIR R4 resource type.", CL_STR_ARGS(first->modifier));
	if (wanted && !may_target(first->parameter, wanted))
		return refuse(e, name, "it never refers to the type %.*s.", CL_STR_ARGS(first->modifier));
	if (!wanted && count == 0)
		return refuse(e, name, "it may refer to anything; say which type, like %.*s:Patient.%.*s.",
		              CL_STR_ARGS(cl_fhir_parameter_code(first->parameter)), CL_STR_ARGS(rest));
	struct cl_str plain = {rest.p, strcspn(rest.p, ":.")}; /* names are NUL-terminated copies */
	bool has = cl_str_starts(rest, "_has:");
	struct cl_criterion *any = CL_NEW_ARRAY(reader->arena, struct cl_criterion, wanted ? 1 : count);
	size_t found = 0;
	for (unsigned i = 0; i < (wanted ? 1 : count); i++) {
		uint16_t target = wanted ? wanted : targets[i];
		/* Without a type, the types that have no such parameter are passed over. */
		if (!wanted && count > 1 && !cl_fhir_search_parameter(target, plain) && !cl_str_is(plain, "_id") &&
		    !cl_str_is(plain, "_lastUpdated") && !has)
			continue;
		struct cl_criterion *child = CL_NEW(reader->arena, struct cl_criterion);
		struct cl_err problem = {0};
		int code = cl_search_read(reader, target, rest, value, depth + 1, child, &problem);
		/* What the other end of a _has never refers to is passed over, too. */
		if (code == CL_E_INVALID && has && !wanted && (found || i + 1 < count))
			continue;
		if (code) {
			*e = problem;
			return code;
		}
		any[found++] = (struct cl_criterion){.kind = CL_CHAIN,
		                                     .parameter = first->parameter->number,
		                                     .type = target,
		                                     .children = child,
		                                     .child_count = 1};
	}
	if (found == 0)
		return refuse(e, name, "none of the types it refers to has a search parameter \"%.*s\".",
		              CL_STR_ARGS(plain));
	*out = found == 1 ? any[0] : (struct cl_criterion){.kind = CL_OR, .children = any, .child_count = found};
	return 0;
}

/* "_has:Observation:patient:code": some Observation whose `patient` is this resource and whose code is as asked. */
static int read_has(struct cl_search_reader *reader, uint16_t type, struct cl_str name, struct cl_str value, int depth,
                    struct cl_criterion *out, struct cl_err *e)
{
	static const char form[] = "write _has:Type:reference:parameter, like _has:Observation:patient:code.";
	struct cl_str rest = {name.p + 5, name.n - 5}, parts[2];
	for (int i = 0; i < 2; i++) {
		const char *colon = memchr(rest.p, ':', rest.n);
		if (!colon)
			return refuse(e, name, form);
		parts[i] = (struct cl_str){rest.p, (size_t)(colon - rest.p)};
		rest = (struct cl_str){colon + 1, rest.n - parts[i].n - 1};
	}
	uint16_t source = cl_fhir_type(parts[0]);
	const struct cl_fhir_parameter *parameter = cl_fhir_search_parameter(source, parts[1]);
	if (!source)
		return refuse(e, name, "\"%.*s\" is no FHIR R4 resource type; %s", CL_STR_ARGS(parts[0]), form);
	if (!parameter || parameter->kind != CL_SEARCH_REFERENCE || !parameter->indexed)
		return refuse(e, name, "%.*s has no reference parameter \"%.*s\"; %s", CL_STR_ARGS(parts[0]),
		              CL_STR_ARGS(parts[1]), form);
	if (!may_target(parameter, type))
		return refuse(e, name, "%.*s of %.*s never refers to the type %.*s.", CL_STR_ARGS(parts[1]),
		              CL_STR_ARGS(parts[0]), CL_STR_ARGS(cl_fhir_type_name(type)));
	if (depth >= DEEPEST)
		return refuse(e, name, "_has and chains can be %d deep.", DEEPEST);
	struct cl_criterion *child = CL_NEW(reader->arena, struct cl_criterion);
	int code = cl_search_read(reader, source, rest, value, depth + 1, child, e);
	if (code)
		return code;
	*out = (struct cl_criterion){.kind = CL_REVERSE,
	                             .parameter = parameter->number,
	                             .type = source,
	                             .children = child,
	                             .child_count = 1};
	return 0;
}

/* ---- a parameter ---- */

int cl_search_read(struct cl_search_reader *reader, uint16_t type, struct cl_str name, struct cl_str value, int depth,
                   struct cl_criterion *out, struct cl_err *e)
{
	if (cl_str_starts(name, "_has:"))
		return read_has(reader, type, name, value, depth, out, e);
	/* name[:modifier][.rest] */
	size_t end = 0, dot = 0;
	while (end < name.n && name.p[end] != ':' && name.p[end] != '.')
		end++;
	for (dot = end; dot < name.n && name.p[dot] != '.';)
		dot++;
	struct one one = {.name = name};
	struct cl_str plain = {name.p, end};
	if (end < name.n && name.p[end] == ':')
		one.modifier = (struct cl_str){name.p + end + 1, dot - end - 1};
	bool chained = dot < name.n;
	if (end < name.n && name.p[end] == ':' && one.modifier.n == 0)
		return refuse(e, name, "a modifier must follow the colon.");

	bool id = cl_str_is(plain, "_id"), updated = cl_str_is(plain, "_lastUpdated");
	if (id || updated) {
		if (cl_str_is(one.modifier, "missing") && !chained)
			return read_missing(reader, NULL, name, value, out, e);
		bool not = id && cl_str_is(one.modifier, "not");
		if ((one.modifier.n && !not ) || chained)
			return refuse(e, name, "%.*s takes the modifiers :missing%s.", CL_STR_ARGS(plain),
			              id ? " and :not" : " only");
		int code = any_of(reader, value, id ? read_id : read_updated, &one, out, e);
		if (!code && not )
			negate(reader, out);
		return code;
	}
	one.parameter = cl_fhir_search_parameter(type, plain);
	if (!one.parameter)
		return cl_search_unknown(reader, type, plain, e);
	reader->unknown = true; /* until the modifier and the kind are seen to be supported */
	if (!one.parameter->indexed)
		return refuse(e, name, "%s parameters are not supported yet.",
		              cl_fhir_search_kind_name(one.parameter->kind));
	if (chained)
		return read_chain(reader, type, name, &one, (struct cl_str){name.p + dot + 1, name.n - dot - 1}, value,
		                  depth, out, e);
	int code = check_modifier(one.parameter, name, one.modifier, e);
	if (code)
		return code;
	reader->unknown = false;
	if (cl_str_is(one.modifier, "missing"))
		return read_missing(reader, one.parameter, name, value, out, e);
	code = any_of(reader, value, one.parameter->kind == CL_SEARCH_COMPOSITE ? read_composite : read_one, &one, out,
	              e);
	if (!code && cl_str_is(one.modifier, "not"))
		negate(reader, out);
	return code;
}

int cl_fhir_search_criterion(struct cl_arena *arena, const struct cl_fhir_search_context *context, struct cl_str name,
                             struct cl_str value, struct cl_criterion *out, struct cl_err *e)
{
	struct cl_search_reader reader = {.arena = arena, .context = context};
	*out = (struct cl_criterion){0};
	return cl_search_read(&reader, context->type, cl_arena_copy(arena, name), value, 0, out, e);
}
