/* search_value.c: one value of one search parameter, by the parameter's kind (R4 sections 3.1.1.4.6 to 3.1.1.4.12). */
#include "org/fhir/search_internal.h"
#include "base/date.h"
#include "base/id.h"
#include "base/utf8.h"
#include "org/fhir/index.h"
#include "org/fhir/reference.h"
#include <math.h>

size_t cl_search_find(struct cl_str escaped, char separator)
{
	for (size_t i = 0; i < escaped.n; i++) {
		if (escaped.p[i] == '\\')
			i++;
		else if (escaped.p[i] == separator)
			return i;
	}
	return escaped.n;
}

struct cl_str cl_search_unescape(struct cl_arena *arena, struct cl_str escaped)
{
	if (!escaped.n || !memchr(escaped.p, '\\', escaped.n))
		return escaped;
	char *out = cl_arena_alloc(arena, escaped.n);
	size_t n = 0;
	for (size_t i = 0; i < escaped.n; i++) {
		if (escaped.p[i] == '\\' && i + 1 < escaped.n && strchr(",|$\\", escaped.p[i + 1]))
			i++;
		out[n++] = escaped.p[i];
	}
	return (struct cl_str){out, n};
}

static struct cl_str cut(struct cl_str *rest, char separator)
{
	size_t at = cl_search_find(*rest, separator);
	struct cl_str part = {rest->p, at};
	size_t taken = at < rest->n ? at + 1 : at;
	*rest = (struct cl_str){rest->p + taken, rest->n - taken};
	return part;
}

/* eq, ne, gt, lt, ge, le, sa, eb, ap before a digit or sign; takes it off. Without one it is eq. */
static enum cl_relation take_prefix(struct cl_str *value)
{
	static const char names[][3] = {"eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"};
	static const uint8_t relations[] = {CL_EQ, CL_NE, CL_GT, CL_LT, CL_GE, CL_LE, CL_SA, CL_EB, CL_AP};
	for (size_t i = 0; value->n >= 2 && i < sizeof(relations); i++) {
		if (memcmp(value->p, names[i], 2) == 0) {
			value->p += 2;
			value->n -= 2;
			return (enum cl_relation)relations[i];
		}
	}
	return CL_EQ;
}

static int refuse(struct cl_err *e, struct cl_str name, struct cl_str value, const char *why)
{
	cl_fail(e, CL_E_INVALID, "Search parameter \"%.*s\" cannot have the value \"%.*s\": %s.",
	        (int)(name.n < 60 ? name.n : 60), name.p, (int)(value.n < 100 ? value.n : 100), value.p ? value.p : "",
	        why);
	cl_fail_at(e, "%.*s", CL_STR_ARGS(name));
	return CL_E_INVALID;
}

int cl_search_date(struct cl_search_reader *reader, struct cl_str name, struct cl_str value, struct cl_criterion *out,
                   struct cl_err *e)
{
	struct cl_str text = value;
	struct cl_moment moment;
	out->relation = (uint8_t)take_prefix(&text);
	/* A zone's plus that the client forgot to encode arrives as a space. */
	if (text.n > 16 && memchr(text.p, ' ', text.n)) {
		char *fixed = cl_arena_cstring(reader->arena, text);
		for (size_t i = 16; i < text.n; i++)
			fixed[i] = fixed[i] == ' ' ? '+' : fixed[i];
		text.p = fixed;
	}
	if (cl_moment_parse(text, 0, &moment, NULL))
		return refuse(e, name, value,
		              "use a date like 2026-11-22 or 2026-11-22T05:16:07Z, with a prefix eq ne gt lt ge le "
		              "sa eb ap if need be");
	out->lower = moment.lower;
	out->upper = moment.upper;
	if (out->relation == CL_AP) {
		/* A tenth of the distance to now to each side, as the specification recommends. */
		cl_instant gap = moment.lower - reader->context->now;
		gap = (gap < 0 ? -gap : gap) / 10;
		out->lower -= gap;
		out->upper += gap;
	}
	return 0;
}

/* Interval of a number with prefix. Written precision counts for eq and ne only; the other prefixes compare with the
 * exact number, which then is both ends. */
static int read_number(struct cl_str name, struct cl_str value, struct cl_str number, struct cl_criterion *out,
                       struct cl_err *e)
{
	double exact;
	out->relation = (uint8_t)take_prefix(&number);
	if (!cl_fhir_decimal_interval(number, &out->low, &out->high, &exact) || !isfinite(exact))
		return refuse(e, name, value,
		              "use a number like 5.40, with a prefix eq ne gt lt ge le sa eb ap if need be");
	if (out->relation == CL_AP) {
		out->low = exact - fabs(exact) / 10;
		out->high = exact + fabs(exact) / 10;
	} else if (out->relation == CL_SA || out->relation == CL_EB) {
		/* A point has no room between its ends: what starts after it is greater, what ends before it is less. */
		out->low = out->high = nextafter(exact, out->relation == CL_SA ? HUGE_VAL : -HUGE_VAL);
	} else if (out->relation != CL_EQ && out->relation != CL_NE) {
		out->low = out->high = exact;
	} else {
		out->high = nextafter(out->high, -HUGE_VAL); /* the upper end is not part of it; points are stored */
	}
	return 0;
}

static int read_quantity(struct cl_search_reader *reader, struct cl_str name, struct cl_str escaped,
                         struct cl_criterion *out, struct cl_err *e)
{
	struct cl_str rest = escaped, number = cut(&rest, '|');
	bool more = number.n < escaped.n;
	out->kind = CL_QUANTITY;
	if (more) {
		struct cl_str system = cut(&rest, '|');
		out->a = cl_search_unescape(reader->arena, system);
		out->b = cl_search_unescape(reader->arena, rest);
	}
	if (more && out->a.n && !out->b.n)
		return refuse(e, name, escaped, "write number, number|system|code or number||unit");
	return read_number(name, escaped, number, out, e);
}

static void read_token(struct cl_search_reader *reader, const struct cl_fhir_parameter *parameter,
                       struct cl_str escaped, struct cl_criterion *out)
{
	struct cl_str rest = escaped, first = cut(&rest, '|');
	out->kind = CL_TOKEN;
	if (first.n == escaped.n) {
		out->match = CL_MATCH_CODE;
		out->b = cl_search_unescape(reader->arena, first);
		return;
	}
	out->a = cl_search_unescape(reader->arena, first);
	out->b = cl_search_unescape(reader->arena, rest);
	struct cl_str implied = cl_fhir_parameter_system(parameter);
	if (implied.n) {
		/* All values have the one system, which the index therefore leaves out. */
		if (out->a.n && !cl_str_equal(out->a, implied))
			out->kind = CL_FALSE;
		else if (out->b.n == 0)
			out->kind = CL_PRESENT;
		out->match = CL_MATCH_CODE;
		out->a = CL_STR_NONE;
		return;
	}
	out->match = out->a.n == 0 ? CL_MATCH_NO_SYSTEM_CODE : out->b.n == 0 ? CL_MATCH_SYSTEM : CL_MATCH_SYSTEM_CODE;
}

/* "identifier:of-type=system|code|value": the type and the value of one identifier. */
static int read_typed(struct cl_search_reader *reader, struct cl_str name, struct cl_str escaped,
                      struct cl_criterion *out, struct cl_err *e)
{
	struct cl_str rest = escaped, system = cut(&rest, '|'), code = cut(&rest, '|');
	if (!code.n || !rest.n || cl_search_find(rest, '|') < rest.n)
		return refuse(e, name, escaped, "write system|code|value, with the type's system and code");
	out->kind = CL_GROUP;
	out->children = CL_NEW_ARRAY(reader->arena, struct cl_criterion, 2);
	out->child_count = 2;
	out->children[0] = (struct cl_criterion){.kind = CL_TOKEN,
	                                         .match = system.n ? CL_MATCH_SYSTEM_CODE : CL_MATCH_CODE,
	                                         .a = cl_search_unescape(reader->arena, system),
	                                         .b = cl_search_unescape(reader->arena, code)};
	out->children[1] = (struct cl_criterion){.kind = CL_TOKEN,
	                                         .match = CL_MATCH_CODE,
	                                         .parameter = out->parameter,
	                                         .b = cl_search_unescape(reader->arena, rest)};
	return 0;
}

/* What a string is compared with. */
static int read_string(struct cl_search_reader *reader, struct cl_str name, struct cl_str escaped, uint8_t match,
                       struct cl_criterion *out, struct cl_err *e)
{
	struct cl_str text = cl_search_unescape(reader->arena, escaped);
	struct cl_str folded = cl_utf8_fold(reader->arena, text);
	out->kind = CL_STRING;
	out->match = match;
	out->a = match == CL_MATCH_EXACT ? text : folded;
	out->b = match == CL_MATCH_EXACT ? folded : CL_STR_NONE;
	return folded.n ? 0 : refuse(e, name, escaped, "it has no letters or digits");
}

/* What a reference value looks like in the index. `modifier` is empty or a type's name. */
static int read_reference(struct cl_search_reader *reader, const struct cl_fhir_parameter *parameter,
                          struct cl_str modifier, struct cl_str text, struct cl_criterion *out, struct cl_err *e)
{
	struct cl_str name = cl_fhir_parameter_code(parameter), base = reader->context->base;
	uint16_t wanted = cl_fhir_type(modifier);
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	unsigned count;
	const uint16_t *targets = cl_fhir_parameter_targets(parameter, &count);
	out->kind = CL_REFERENCE;
	if (base.n && reference.form == CL_FHIR_REFERENCE_ABSOLUTE && reference.type &&
	    cl_str_equal(reference.base, base))
		reference.form = CL_FHIR_REFERENCE_RELATIVE;
	if (reference.form == CL_FHIR_REFERENCE_RELATIVE) {
		if (wanted && wanted != reference.type) {
			out->kind = CL_FALSE;
			return 0;
		}
		out->a = cl_fhir_type_name(reference.type);
		out->b = reference.id;
		return 0;
	}
	if (reference.form == CL_FHIR_REFERENCE_ABSOLUTE || reference.form == CL_FHIR_REFERENCE_URN) {
		if (wanted && reference.type != wanted)
			out->kind = CL_FALSE;
		out->b = text;
		return 0;
	}
	if (!cl_is_fhir_id(text))
		return refuse(e, name, text, "use Type/id with a FHIR R4 type, an id, or a whole URL");
	out->a = wanted ? cl_fhir_type_name(wanted) : count == 1 ? cl_fhir_type_name(targets[0]) : CL_STR_NONE;
	out->b = text;
	return 0;
}

int cl_search_value(struct cl_search_reader *reader, const struct cl_fhir_parameter *parameter, struct cl_str modifier,
                    struct cl_str escaped, struct cl_criterion *out, struct cl_err *e)
{
	struct cl_str name = cl_fhir_parameter_code(parameter);
	*out = (struct cl_criterion){.parameter = parameter->number};
	if (escaped.n == 0)
		return refuse(e, name, escaped, "it is empty; use :missing=true to ask for resources without a value");
	if (++reader->values > CL_FHIR_SEARCH_VALUES)
		return cl_fail(e, CL_E_LIMIT, "A search may compare with %d values at most.", CL_FHIR_SEARCH_VALUES);
	switch (parameter->kind) {
	case CL_SEARCH_TOKEN:
		if (cl_str_is(modifier, "text"))
			return read_string(reader, name, escaped, CL_MATCH_PREFIX, out, e);
		if (cl_str_is(modifier, "of-type"))
			return read_typed(reader, name, escaped, out, e);
		read_token(reader, parameter, escaped, out);
		return 0;
	case CL_SEARCH_STRING:
		return read_string(reader, name, escaped,
		                   cl_str_is(modifier, "exact")      ? CL_MATCH_EXACT
		                   : cl_str_is(modifier, "contains") ? CL_MATCH_CONTAINS
		                                                     : CL_MATCH_PREFIX,
		                   out, e);
	case CL_SEARCH_DATE:
		out->kind = CL_DATE;
		return cl_search_date(reader, name, cl_search_unescape(reader->arena, escaped), out, e);
	case CL_SEARCH_NUMBER:
		out->kind = CL_NUMBER;
		return read_number(name, escaped, escaped, out, e);
	case CL_SEARCH_QUANTITY:
		return read_quantity(reader, name, escaped, out, e);
	case CL_SEARCH_URI:
		out->kind = CL_URI;
		out->match = cl_str_is(modifier, "below") ? CL_MATCH_PREFIX : CL_MATCH_WHOLE;
		out->a = cl_search_unescape(reader->arena, escaped);
		return 0;
	case CL_SEARCH_REFERENCE:
		if (cl_str_is(modifier, "identifier")) {
			/* Logical references are tokens on the same parameter. */
			read_token(reader, parameter, escaped, out);
			return 0;
		}
		return read_reference(reader, parameter, modifier, cl_search_unescape(reader->arena, escaped), out, e);
	default:
		return refuse(e, name, escaped, "it is a composite of other parameters");
	}
}
