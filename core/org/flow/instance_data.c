/* instance_data.c: what an event must bring, checked against the declaration. */
#include "org/flow/instance_internal.h"
#include "base/date.h"

#define MESSAGE_MAXIMUM 420 /* leaves room in cl_err for its beginning */
#define HELP_MAXIMUM 320 /* past it help is left out, so that every name has its place */

struct cl_json *cl_value_of(const struct cl_json *element)
{
	for (uint32_t i = 0; element && element->kind == CL_JSON_OBJECT && i < element->count; i++)
		if (cl_str_starts(element->members[i].name, "value"))
			return &element->members[i].value;
	return NULL;
}

struct cl_json cl_plain_value(const struct cl_json *value)
{
	const struct cl_json *plain = NULL;
	if (value->kind == CL_JSON_OBJECT) {
		plain = cl_json_get(value, "reference");
		if (!plain)
			plain = cl_json_path(value, "coding", "0", "code", NULL);
		if (!plain && cl_json_get(value, "code") && !cl_json_get(value, "value"))
			plain = cl_json_get(value, "code");
		if (!plain && value->count == 1)
			plain = cl_json_get(value, "text");
	}
	return plain && plain->kind == CL_JSON_STRING ? *plain : *value;
}

static bool is_blank(struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] != ' ' && text.p[i] != '\t' && text.p[i] != '\n' && text.p[i] != '\r')
			return false;
	return true;
}

static bool is_choice(const struct cl_needed *need, struct cl_str text)
{
	for (size_t i = 0; i < need->choice_count; i++)
		if (cl_str_equal(need->choices[i], text))
			return true;
	return false;
}

/* "Type/id", an absolute address or a urn. */
static bool is_reference(struct cl_str text)
{
	uint16_t type;
	struct cl_str id;
	return cl_reference_parts(text, &type, &id) || cl_str_starts(text, "https://") ||
	       cl_str_starts(text, "http://") || cl_str_starts(text, "urn:");
}

/* What the value should have been, or NULL when it is right. */
static const char *why_not(const struct cl_needed *need, const struct cl_json *value)
{
	struct cl_str text = cl_json_text(value), type = need->type;
	bool is_text = value->kind == CL_JSON_STRING && !is_blank(text);
	int64_t number;
	if (cl_str_is(type, "integer"))
		return cl_json_integer(value, &number) ? NULL : "must be a whole number";
	if (cl_str_is(type, "number"))
		return value->kind == CL_JSON_NUMBER ? NULL : "must be a number";
	if (cl_str_is(type, "boolean"))
		return value->kind == CL_JSON_TRUE || value->kind == CL_JSON_FALSE ? NULL : "must be true or false";
	if (cl_str_is(type, "date"))
		return is_text && cl_is_fhir_date(text) ? NULL : "must be a date such as 2026-11-22";
	if (cl_str_is(type, "dateTime"))
		return is_text && cl_is_fhir_date_time(text) ? NULL
		                                             : "must be a dateTime such as 2026-11-22T09:00:00-06:00";
	if (cl_str_is(type, "reference"))
		return is_text && is_reference(text) ? NULL : "must be a reference such as Appointment/x";
	if (cl_str_is(type, "choice"))
		return is_text && is_choice(need, text) ? NULL : "must be one of: ";
	if (cl_str_is(type, "code"))
		return is_text && !memchr(text.p, ' ', text.n) ? NULL : "must be a code without spaces";
	return is_text ? NULL : "must be a text";
}

static void write_choices(struct cl_buf *out, const struct cl_needed *need)
{
	for (size_t i = 0; i < need->choice_count; i++)
		cl_buf_printf(out, "%s%.*s", i ? ", " : "", CL_STR_ARGS(need->choices[i]));
}

static void write_problem(struct cl_buf *out, const struct cl_needed *need, const char *problem)
{
	cl_buf_printf(out, "%s%.*s", out->n ? "; " : "", CL_STR_ARGS(need->name));
	bool choice = cl_str_is(need->type, "choice");
	if (problem)
		cl_buf_printf(out, " %s", problem);
	if (choice) {
		cl_buf_add_cstring(out, problem ? "" : ", one of: ");
		write_choices(out, need);
	}
	if (need->help.n && out->n + need->help.n < HELP_MAXIMUM)
		cl_buf_printf(out, " (%.*s)", CL_STR_ARGS(need->help));
}

int cl_needs_check(const struct cl_transition_rule *transition, const struct cl_json *data, struct cl_err *e)
{
	struct cl_buf problems;
	struct cl_str first = CL_STR_NONE;
	cl_buf_init(&problems, MESSAGE_MAXIMUM);
	for (size_t i = 0; i < transition->need_count; i++) {
		const struct cl_needed *need = &transition->needs[i];
		const struct cl_json *value = cl_json_get_str(data, need->name);
		if (value && value->kind == CL_JSON_NULL)
			value = NULL;
		const char *problem = value ? why_not(need, value) : NULL;
		if (!problem && (value || need->optional))
			continue;
		if (!first.n)
			first = need->name;
		write_problem(&problems, need, problem);
	}
	if (first.n) {
		cl_fail(e, CL_E_RULE, "'%.*s' needs %.*s", CL_STR_ARGS(transition->event),
		        CL_STR_ARGS(cl_buf_str(&problems)));
		cl_fail_at(e, "data.%.*s", CL_STR_ARGS(first));
	}
	cl_buf_free(&problems);
	return first.n ? CL_E_RULE : 0;
}
