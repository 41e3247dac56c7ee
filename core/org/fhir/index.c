/* index.c: walks a resource along the tree of its type's search parameters and turns what it finds into index values
 * (R4 section 3.1.1.4 says which data type gives what to which kind of parameter). */
#include "org/fhir/index.h"
#include "base/date.h"
#include "base/utf8.h"
#include "org/fhir/parameters.h"
#include "org/fhir/reference.h"
#include <math.h>
#include <stdlib.h>

#define FOLDS 16

struct indexer {
	struct cl_arena *arena;
	struct cl_index *out;
	const struct cl_json *resource;
	size_t capacity;
	int64_t groups; /* so far */
	bool part; /* of a group: only what the rows of the part's parameter say */
	bool full;
	struct cl_index_value nowhere; /* takes what no longer fits */
	/* The same name is folded for several parameters; keyed by where its text stands. */
	struct {
		const char *p;
		struct cl_str folded;
	} folds[FOLDS];
};

/* ---- decimals ---- */

static double scaled(int64_t digits, int exponent)
{
	char text[48];
	size_t n = sizeof(text);
	/* Through text, because strtod rounds once; there is no decimal point that a locale could change. */
	text[--n] = 0;
	unsigned left = (unsigned)abs(exponent);
	do {
		text[--n] = (char)('0' + left % 10);
		left /= 10;
	} while (left);
	if (exponent < 0)
		text[--n] = '-';
	text[--n] = 'e';
	uint64_t value = digits < 0 ? (uint64_t)0 - (uint64_t)digits : (uint64_t)digits;
	do {
		text[--n] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	if (digits < 0)
		text[--n] = '-';
	return strtod(text + n, NULL);
}

bool cl_fhir_decimal_interval(struct cl_str text, double *low, double *high, double *value)
{
	int64_t digits = 0;
	int exponent = 0, count = 0, written = 0;
	size_t i = 0;
	bool negative = i < text.n && text.p[i] == '-', point = false, any = false;
	i += i < text.n && (text.p[i] == '-' || text.p[i] == '+');
	for (; i < text.n; i++) {
		char c = text.p[i];
		if (c == '.' && !point) {
			point = true;
			continue;
		}
		if (c < '0' || c > '9')
			break;
		any = true;
		if (count < 17) {
			digits = digits * 10 + (c - '0');
			count += digits != 0;
			exponent -= point;
		} else {
			exponent += !point; /* digits past a double's precision */
		}
	}
	if (!any)
		return false;
	if (i < text.n && (text.p[i] == 'e' || text.p[i] == 'E')) {
		i++;
		bool minus = i < text.n && text.p[i] == '-';
		i += i < text.n && (text.p[i] == '-' || text.p[i] == '+');
		if (i == text.n)
			return false;
		for (; i < text.n && text.p[i] >= '0' && text.p[i] <= '9'; i++)
			written = written < 10000 ? written * 10 + (text.p[i] - '0') : written;
		exponent += minus ? -written : written;
	}
	if (i != text.n)
		return false;
	if (negative)
		digits = -digits;
	*low = scaled(digits * 10 - 5, exponent - 1);
	*high = scaled(digits * 10 + 5, exponent - 1);
	if (value)
		*value = scaled(digits, exponent);
	return true;
}

/* ---- adding values ---- */

static struct cl_index_value *add(struct indexer *ix, uint16_t parameter, enum cl_index_kind kind)
{
	if (ix->out->count == ix->capacity) {
		if (ix->capacity >= CL_FHIR_INDEX_MAXIMUM) {
			ix->full = true;
			return &ix->nowhere;
		}
		size_t capacity = ix->capacity ? ix->capacity * 4 : 64;
		if (capacity > CL_FHIR_INDEX_MAXIMUM)
			capacity = CL_FHIR_INDEX_MAXIMUM;
		struct cl_index_value *values = CL_NEW_ARRAY(ix->arena, struct cl_index_value, capacity);
		if (ix->out->count)
			memcpy(values, ix->out->values, ix->out->count * sizeof(*values));
		ix->out->values = values;
		ix->capacity = capacity;
	}
	struct cl_index_value *value = &ix->out->values[ix->out->count++];
	value->parameter = parameter;
	value->kind = (uint8_t)kind;
	return value;
}

static void add_token(struct indexer *ix, uint16_t parameter, struct cl_str system, struct cl_str code)
{
	if (code.n == 0 || code.n > CL_FHIR_INDEX_TEXT || system.n > CL_FHIR_INDEX_TEXT)
		return;
	struct cl_index_value *value = add(ix, parameter, CL_INDEX_TOKEN);
	value->a = system;
	value->b = code;
}

static void add_string(struct indexer *ix, uint16_t parameter, struct cl_str text)
{
	if (text.n == 0)
		return;
	if (text.n > CL_FHIR_INDEX_TEXT) {
		text.n = CL_FHIR_INDEX_TEXT;
		while (text.n && ((unsigned char)text.p[text.n] & 0xc0) == 0x80)
			text.n--;
	}
	unsigned slot = (unsigned)(((uintptr_t)text.p >> 2) % FOLDS);
	if (ix->folds[slot].p != text.p) {
		ix->folds[slot].p = text.p;
		ix->folds[slot].folded = cl_utf8_fold(ix->arena, text);
	}
	if (ix->folds[slot].folded.n)
		add(ix, parameter, CL_INDEX_STRING)->a = ix->folds[slot].folded;
}

/* A string parameter's value: folded for the index, and as it is written for :exact. */
static void add_written(struct indexer *ix, uint16_t parameter, struct cl_str text)
{
	add_string(ix, parameter, text);
	if (text.n && text.n <= CL_FHIR_INDEX_TEXT)
		add(ix, parameter, CL_INDEX_EXACT)->a = text;
}

/* What :text compares with (R4 section 3.1.1.4.3): the words beside a code. */
static void add_words(struct indexer *ix, uint16_t parameter, const struct cl_json *object, const char *member)
{
	if (!ix->part)
		add_string(ix, parameter, cl_json_get_text(object, member));
}

static void add_member(struct indexer *ix, uint16_t parameter, int64_t group, unsigned part,
                       const struct cl_index_value *value)
{
	struct cl_index_value *member = add(ix, parameter, CL_INDEX_MEMBER);
	*member = *value;
	member->parameter = parameter;
	member->kind = CL_INDEX_MEMBER;
	member->lower = group;
	member->upper = CL_MEMBER_OF(part, value->kind);
}

/* identifier:of-type=system|code|value: type and value of one identifier make a group. */
static void add_typed(struct indexer *ix, uint16_t parameter, const struct cl_json *identifier)
{
	const struct cl_json *codings = cl_json_path(identifier, "type", "coding", NULL);
	struct cl_index_value value = {.kind = CL_INDEX_TOKEN, .b = cl_json_get_text(identifier, "value")};
	if (ix->part || !codings || codings->kind != CL_JSON_ARRAY || !value.b.n || value.b.n > CL_FHIR_INDEX_TEXT)
		return;
	ix->groups++;
	add_member(ix, parameter, ix->groups, 1, &value);
	for (uint32_t i = 0; i < codings->count; i++) {
		struct cl_index_value type = {.kind = CL_INDEX_TOKEN,
		                              .a = cl_json_get_text(&codings->items[i], "system"),
		                              .b = cl_json_get_text(&codings->items[i], "code")};
		if (type.b.n && type.b.n <= CL_FHIR_INDEX_TEXT && type.a.n <= CL_FHIR_INDEX_TEXT)
			add_member(ix, parameter, ix->groups, 0, &type);
	}
}

static void add_date(struct indexer *ix, uint16_t parameter, int64_t lower, int64_t upper)
{
	struct cl_index_value *value = add(ix, parameter, CL_INDEX_DATE);
	value->lower = lower;
	value->upper = upper;
}

static void add_reference(struct indexer *ix, const struct cl_fhir_parameter *parameter, struct cl_str type,
                          struct cl_str id)
{
	if (id.n == 0 || id.n > CL_FHIR_INDEX_TEXT)
		return;
	struct cl_index_value *value = add(ix, parameter->number, CL_INDEX_REFERENCE);
	value->a = type;
	value->b = id;
	if (parameter->compartment && !ix->part && cl_str_is(type, "Patient"))
		add(ix, 0, CL_INDEX_COMPARTMENT)->b = id;
}

static void add_quantity(struct indexer *ix, uint16_t parameter, double low, double high,
                         const struct cl_json *quantity)
{
	struct cl_str system = cl_json_get_text(quantity, "system"), code = cl_json_get_text(quantity, "code");
	struct cl_str unit = cl_json_get_text(quantity, "unit");
	if (system.n > CL_FHIR_INDEX_TEXT || code.n > CL_FHIR_INDEX_TEXT || unit.n > CL_FHIR_INDEX_TEXT)
		return;
	struct cl_index_value *value = add(ix, parameter, CL_INDEX_QUANTITY);
	value->low = low;
	value->high = high;
	value->a = code.n ? system : CL_STR_NONE;
	value->b = code.n ? code : unit;
	/* "5.4||mg" asks for the code or the printed unit: a second row where the two differ. */
	if (code.n && unit.n && !cl_str_equal(code, unit)) {
		value = add(ix, parameter, CL_INDEX_QUANTITY);
		value->low = low;
		value->high = high;
		value->b = unit;
	}
}

/* A canonical is found with and without its |version. */
static struct cl_str without_version(struct cl_str canonical)
{
	const char *bar = canonical.n ? memchr(canonical.p, '|', canonical.n) : NULL;
	return bar ? (struct cl_str){canonical.p, (size_t)(bar - canonical.p)} : canonical;
}

/* ---- one data type for one kind of parameter ---- */

static void index_token(struct indexer *ix, uint16_t parameter, unsigned data, const struct cl_json *value)
{
	const struct cl_json *codings;
	switch (data) {
	case CL_DATA_BOOLEAN:
		if (value->kind == CL_JSON_TRUE || value->kind == CL_JSON_FALSE)
			add_token(ix, parameter, CL_STR_NONE,
			          value->kind == CL_JSON_TRUE ? CL_STR("true") : CL_STR("false"));
		break;
	case CL_DATA_CODEABLE_CONCEPT:
		codings = cl_json_get(value, "coding");
		for (uint32_t i = 0; codings && codings->kind == CL_JSON_ARRAY && i < codings->count; i++) {
			add_token(ix, parameter, cl_json_get_text(&codings->items[i], "system"),
			          cl_json_get_text(&codings->items[i], "code"));
			add_words(ix, parameter, &codings->items[i], "display");
		}
		add_words(ix, parameter, value, "text");
		break;
	case CL_DATA_CODING:
		add_token(ix, parameter, cl_json_get_text(value, "system"), cl_json_get_text(value, "code"));
		add_words(ix, parameter, value, "display");
		break;
	case CL_DATA_IDENTIFIER:
		add_words(ix, parameter, cl_json_get(value, "type"), "text");
		add_typed(ix, parameter, value);
		/* fall through */
	case CL_DATA_CONTACT_POINT:
		add_token(ix, parameter, cl_json_get_text(value, "system"), cl_json_get_text(value, "value"));
		break;
	default:
		if (value->kind == CL_JSON_STRING)
			add_token(ix, parameter, CL_STR_NONE, value->text);
		break;
	}
}

static void index_string(struct indexer *ix, uint16_t parameter, unsigned data, const struct cl_json *value)
{
	static const char *const name_parts[] = {"text", "family", "given", "prefix", "suffix", NULL};
	static const char *const address_parts[] = {"text",  "line",       "city",    "district",
	                                            "state", "postalCode", "country", NULL};
	if (value->kind == CL_JSON_STRING) {
		add_written(ix, parameter, value->text);
		return;
	}
	const char *const *parts = data == CL_DATA_HUMAN_NAME ? name_parts
	                           : data == CL_DATA_ADDRESS  ? address_parts
	                                                      : NULL;
	for (; parts && *parts; parts++) {
		const struct cl_json *part = cl_json_get(value, *parts);
		if (part && part->kind == CL_JSON_STRING)
			add_written(ix, parameter, part->text);
		for (uint32_t i = 0; part && part->kind == CL_JSON_ARRAY && i < part->count; i++) {
			if (part->items[i].kind == CL_JSON_STRING)
				add_written(ix, parameter, part->items[i].text);
		}
	}
}

/* Widens [lower, upper) to hold the moment that `value` says. */
static bool widen(const struct cl_json *value, int64_t *lower, int64_t *upper)
{
	struct cl_moment moment;
	if (!value || value->kind != CL_JSON_STRING || cl_moment_parse(value->text, 0, &moment, NULL))
		return false;
	*lower = moment.lower < *lower ? moment.lower : *lower;
	*upper = moment.upper > *upper ? moment.upper : *upper;
	return true;
}

/* The limits of a Period; an open end reaches to the end of time. False when it has neither. */
static bool period(const struct cl_json *value, int64_t *lower, int64_t *upper)
{
	int64_t from = INT64_MAX, from_upper = INT64_MIN, to = INT64_MIN, to_lower = INT64_MAX;
	bool start = widen(cl_json_get(value, "start"), &from, &from_upper);
	bool end = widen(cl_json_get(value, "end"), &to_lower, &to);
	*lower = start ? from : INT64_MIN;
	*upper = end ? to : INT64_MAX;
	return (start || end) && *lower < *upper;
}

static void index_date(struct indexer *ix, uint16_t parameter, unsigned data, const struct cl_json *value)
{
	int64_t lower = INT64_MAX, upper = INT64_MIN, from, to;
	if (data == CL_DATA_PERIOD) {
		if (period(value, &from, &to))
			add_date(ix, parameter, from, to);
		return;
	}
	if (data != CL_DATA_TIMING) {
		if (widen(value, &lower, &upper))
			add_date(ix, parameter, lower, upper);
		return;
	}
	/* "The specified scheduling details are ignored and only the outer limits matter." */
	const struct cl_json *events = cl_json_get(value, "event");
	bool any = false;
	for (uint32_t i = 0; events && events->kind == CL_JSON_ARRAY && i < events->count; i++)
		any |= widen(&events->items[i], &lower, &upper);
	if (period(cl_json_path(value, "repeat", "boundsPeriod", NULL), &from, &to)) {
		lower = from < lower ? from : lower;
		upper = to > upper ? to : upper;
		any = true;
	}
	if (any)
		add_date(ix, parameter, lower, upper);
}

static void index_reference(struct indexer *ix, const struct cl_fhir_parameter *parameter,
                            const struct cl_fhir_action *action, const struct cl_json *value)
{
	if (action->data == CL_DATA_RESOURCE) { /* Bundle.entry[0].resource */
		struct cl_str type = cl_json_get_text(value, "resourceType");
		unsigned count;
		const uint16_t *targets = cl_fhir_parameter_targets(parameter, &count);
		for (unsigned i = 0; i < count; i++) {
			if (targets[i] == cl_fhir_type(type))
				add_reference(ix, parameter, type, cl_json_get_text(value, "id"));
		}
		return;
	}
	if (action->data != CL_DATA_REFERENCE) {
		struct cl_str text = cl_json_text(value);
		struct cl_fhir_reference said = cl_fhir_reference_parse(text);
		if (value->kind != CL_JSON_STRING || said.form == CL_FHIR_REFERENCE_LOCAL)
			return;
		if (said.form == CL_FHIR_REFERENCE_RELATIVE) {
			add_reference(ix, parameter, cl_fhir_type_name(said.type), said.id);
			return;
		}
		add_reference(ix, parameter, CL_STR_NONE, text);
		if (without_version(text).n < text.n)
			add_reference(ix, parameter, CL_STR_NONE, without_version(text));
		return;
	}
	struct cl_str text = cl_json_get_text(value, "reference");
	struct cl_fhir_reference reference = cl_fhir_reference_parse(text);
	if (action->only) {
		/* where(resolve() is T), decided by what the reference says of itself. */
		uint16_t type = reference.type ? reference.type : cl_fhir_type(cl_json_get_text(value, "type"));
		if (type != action->only)
			return;
	}
	if (reference.form == CL_FHIR_REFERENCE_RELATIVE)
		add_reference(ix, parameter, cl_fhir_type_name(reference.type), reference.id);
	else if (reference.form == CL_FHIR_REFERENCE_ABSOLUTE || reference.form == CL_FHIR_REFERENCE_URN)
		add_reference(ix, parameter, CL_STR_NONE, text);
	/* A logical reference: for the :identifier modifier. */
	const struct cl_json *identifier = cl_json_get(value, "identifier");
	if (identifier && !ix->part)
		add_token(ix, parameter->number, cl_json_get_text(identifier, "system"),
		          cl_json_get_text(identifier, "value"));
}

/* A written number is indexed as the point it says, low = high: with half a unit of its last digit to each side, as R4
 * reads it literally, a score of 10 would be "greater than 10". The precision of what is searched for still counts. */
static bool number_point(const struct cl_json *number, double *point)
{
	double low, high;
	return number && number->kind == CL_JSON_NUMBER && cl_fhir_decimal_interval(number->text, &low, &high, point) &&
	       isfinite(*point);
}

/* A quantity's value as an interval, which only its comparator makes wider than a point. */
static bool quantity_interval(const struct cl_json *quantity, double *low, double *high)
{
	if (!number_point(cl_json_get(quantity, "value"), low))
		return false;
	*high = *low;
	struct cl_str comparator = cl_json_get_text(quantity, "comparator");
	if (cl_str_starts(comparator, "<"))
		*low = -HUGE_VAL;
	else if (cl_str_starts(comparator, ">"))
		*high = HUGE_VAL;
	return true;
}

/* Low and high ends of a Range; false when it has neither. */
static bool range_interval(const struct cl_json *range, double *low, double *high)
{
	double ignored;
	*low = -HUGE_VAL;
	*high = HUGE_VAL;
	bool from = quantity_interval(cl_json_get(range, "low"), low, &ignored);
	bool to = quantity_interval(cl_json_get(range, "high"), &ignored, high);
	return from || to;
}

static void index_quantity(struct indexer *ix, uint16_t parameter, unsigned data, const struct cl_json *value)
{
	double low, high;
	if (data == CL_DATA_RANGE) {
		if (range_interval(value, &low, &high))
			add_quantity(ix, parameter, low, high,
			             cl_json_get(value, "low") ? cl_json_get(value, "low")
			                                       : cl_json_get(value, "high"));
		return;
	}
	if (!quantity_interval(value, &low, &high))
		return;
	if (data != CL_DATA_MONEY) {
		add_quantity(ix, parameter, low, high, value);
		return;
	}
	struct cl_str currency = cl_json_get_text(value, "currency");
	struct cl_index_value *row = add(ix, parameter, CL_INDEX_QUANTITY);
	row->low = low;
	row->high = high;
	row->a = currency.n ? CL_STR("urn:iso:std:iso:4217") : CL_STR_NONE;
	row->b = currency.n <= CL_FHIR_INDEX_TEXT ? currency : CL_STR_NONE;
}

static void index_number(struct indexer *ix, uint16_t parameter, unsigned data, const struct cl_json *value)
{
	double low, high;
	bool found = data == CL_DATA_RANGE ? range_interval(value, &low, &high) : number_point(value, &low);
	if (found && data != CL_DATA_RANGE)
		high = low;
	if (!found)
		return;
	struct cl_index_value *row = add(ix, parameter, CL_INDEX_NUMBER);
	row->low = low;
	row->high = high;
}

static void index_uri(struct indexer *ix, uint16_t parameter, unsigned data, const struct cl_json *value)
{
	if (value->kind != CL_JSON_STRING || value->text.n == 0 || value->text.n > CL_FHIR_INDEX_TEXT)
		return;
	add(ix, parameter, CL_INDEX_URI)->a = value->text;
	struct cl_str plain = without_version(value->text);
	if (data == CL_DATA_CANONICAL && plain.n && plain.n < value->text.n)
		add(ix, parameter, CL_INDEX_URI)->a = plain;
}

/* ---- the walk ---- */

static void run_program(struct indexer *ix, const struct cl_fhir_program *program, const struct cl_json *value);

/* One group of a composite: what its parts find, kept together when every part finds something. */
static void index_group(struct indexer *ix, uint16_t parameter, const struct cl_fhir_group *group,
                        const struct cl_json *value)
{
	struct cl_index found[4];
	if (group->parts > sizeof(found) / sizeof(*found))
		return;
	for (unsigned i = 0; i < group->parts; i++) {
		const struct cl_fhir_part *part = cl_fhir_part(group->first_part + i);
		struct indexer inner = {.arena = ix->arena, .out = &found[i], .resource = ix->resource, .part = true};
		found[i] = (struct cl_index){0};
		run_program(&inner, &part->program, part->whole ? ix->resource : value);
		ix->full |= inner.full;
		if (!found[i].count)
			return;
	}
	ix->groups++;
	for (unsigned i = 0; i < group->parts; i++)
		for (size_t k = 0; k < found[i].count; k++)
			add_member(ix, parameter, ix->groups, i, &found[i].values[k]);
}

static void act(struct indexer *ix, const struct cl_fhir_action *action, const struct cl_json *value)
{
	const struct cl_fhir_parameter *parameter = cl_fhir_parameter_of(action);
	if (action->data == CL_FHIR_SPECIAL_DECEASED) {
		/* Patient.deceased.exists() and Patient.deceased != false */
		bool dead = cl_json_is_true(cl_json_get(value, "deceasedBoolean")) ||
		            cl_json_get(value, "deceasedDateTime");
		add_token(ix, parameter->number, CL_STR_NONE, dead ? CL_STR("true") : CL_STR("false"));
		return;
	}
	if (action->data == CL_FHIR_SPECIAL_GROUP) {
		index_group(ix, parameter->number, cl_fhir_group(action->only), value);
		return;
	}
	switch (parameter->kind) {
	case CL_SEARCH_TOKEN:
		index_token(ix, parameter->number, action->data, value);
		break;
	case CL_SEARCH_STRING:
		index_string(ix, parameter->number, action->data, value);
		break;
	case CL_SEARCH_DATE:
		index_date(ix, parameter->number, action->data, value);
		break;
	case CL_SEARCH_REFERENCE:
		index_reference(ix, parameter, action, value);
		break;
	case CL_SEARCH_QUANTITY:
		index_quantity(ix, parameter->number, action->data, value);
		break;
	case CL_SEARCH_NUMBER:
		index_number(ix, parameter->number, action->data, value);
		break;
	case CL_SEARCH_URI:
		index_uri(ix, parameter->number, action->data, value);
		break;
	default:
		break;
	}
}

static void walk(struct indexer *ix, const struct cl_fhir_step *step, const struct cl_json *value);

static void walk_children(struct indexer *ix, unsigned first, unsigned count, const struct cl_json *object)
{
	for (unsigned i = first; i < first + count; i++) {
		const struct cl_fhir_step *step = cl_fhir_step(i);
		const struct cl_json *value =
		        cl_json_get_str(object, (struct cl_str){cl_fhir_search_text(step->name), step->name_n});
		if (value)
			walk(ix, step, value);
	}
}

static void walk(struct indexer *ix, const struct cl_fhir_step *step, const struct cl_json *value)
{
	if (value->kind == CL_JSON_ARRAY) {
		for (uint32_t i = 0; i < value->count && !(step->first_only && i > 0); i++) {
			if (value->items[i].kind != CL_JSON_ARRAY)
				walk(ix, step, &value->items[i]);
		}
		return;
	}
	if (step->where &&
	    !cl_str_is(cl_json_get_text(value, cl_fhir_search_text(step->where)), cl_fhir_search_text(step->value)))
		return;
	for (unsigned i = 0; i < step->actions; i++)
		act(ix, cl_fhir_action(step->first_action + i), value);
	if (step->children && value->kind == CL_JSON_OBJECT)
		walk_children(ix, step->first_child, step->children, value);
}

static void run_program(struct indexer *ix, const struct cl_fhir_program *program, const struct cl_json *value)
{
	for (unsigned i = 0; i < program->actions; i++)
		act(ix, cl_fhir_action(program->first_action + i), value);
	if (value->kind == CL_JSON_OBJECT)
		walk_children(ix, program->first_child, program->children, value);
}

int cl_fhir_index(struct cl_arena *arena, uint16_t type, const struct cl_json *resource, struct cl_index *out,
                  struct cl_err *e)
{
	const struct cl_fhir_program *program = cl_fhir_program(type);
	struct indexer ix = {.arena = arena, .out = out, .resource = resource};
	*out = (struct cl_index){0};
	if (!program)
		return cl_fail(e, CL_E_INTERNAL, "There is no resource type %u to index.", (unsigned)type);
	run_program(&ix, program, resource);
	struct cl_str id = cl_json_get_text(resource, "id");
	if (type == CL_TYPE_PATIENT && id.n)
		add(&ix, 0, CL_INDEX_COMPARTMENT)->b = id; /* a Patient is in its own compartment */
	if (ix.full)
		return cl_fail(e, CL_E_LIMIT, "The resource has more than %d search values; split it.",
		               CL_FHIR_INDEX_MAXIMUM);
	cl_index_normalize(out);
	return 0;
}

int cl_fhir_index_text(struct cl_arena *arena, uint16_t type, struct cl_str text, struct cl_index *out,
                       struct cl_err *e)
{
	struct cl_json *resource;
	int code = cl_json_parse(arena, text, NULL, &resource, e);
	return code ? code : cl_fhir_index(arena, type, resource, out, e);
}
