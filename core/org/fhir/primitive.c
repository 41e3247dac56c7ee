/* primitive.c: one check for each primitive type. Speed matters: this sees every byte of every write. */
#include "org/fhir/primitive.h"
#include "base/date.h"
#include "base/id.h"

/* R4: "strings SHALL NOT exceed 1MB in size (1024*1024 characters)". */
#define STRING_CHARACTERS (1024 * 1024)

/* A control character other than tab, line feed and carriage return. */
static bool has_control(struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
			return true;
	}
	return false;
}

static size_t characters(struct cl_str text)
{
	size_t count = 0;
	for (size_t i = 0; i < text.n; i++)
		count += ((unsigned char)text.p[i] & 0xc0) != 0x80;
	return count;
}

static const char *check_string(struct cl_str text)
{
	if (text.n == 0)
		return "must not be empty";
	if (has_control(text))
		return "must not contain control characters";
	if (text.n > STRING_CHARACTERS && characters(text) > STRING_CHARACTERS)
		return "must not be longer than 1048576 characters";
	return NULL;
}

/* Unicode white space beyond ASCII is rare enough in codes and URIs to be left alone, as the published patterns do. */
static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

static const char *check_code(struct cl_str text)
{
	if (text.n == 0)
		return "must not be empty";
	bool before = true; /* so that a leading space counts as doubled */
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		bool space = is_space(text.p[i]);
		if (space && before)
			return "must have no leading, trailing or doubled white space";
		if (c < 0x20 && !space)
			return "must not contain control characters";
		before = space;
	}
	return before ? "must have no leading, trailing or doubled white space" : NULL;
}

static const char *check_uri(struct cl_str text)
{
	if (text.n == 0)
		return "must not be empty";
	for (size_t i = 0; i < text.n; i++) {
		if ((unsigned char)text.p[i] <= 0x20)
			return "must not contain spaces or control characters";
	}
	return NULL;
}

static const char *check_oid(struct cl_str text)
{
	static const char wrong[] = "must be an OID like urn:oid:1.2.3.4";
	if (!cl_str_starts(text, "urn:oid:") || text.n < 9 || text.p[8] < '0' || text.p[8] > '2')
		return wrong;
	size_t i = 9;
	while (i < text.n) {
		if (text.p[i++] != '.' || i == text.n || text.p[i] < '0' || text.p[i] > '9')
			return wrong;
		bool zero = text.p[i] == '0';
		size_t start = i;
		while (i < text.n && text.p[i] >= '0' && text.p[i] <= '9')
			i++;
		if (zero && i - start > 1)
			return wrong;
	}
	return text.n > 9 ? NULL : wrong;
}

static const char *check_uuid(struct cl_str text)
{
	static const char wrong[] = "must be a UUID in lower case like urn:uuid:c757873d-ec9a-4326-a141-556f43239520";
	if (!cl_str_starts(text, "urn:uuid:") || text.n != 45)
		return wrong;
	for (size_t i = 9; i < 45; i++) {
		char c = text.p[i];
		bool dash = i == 17 || i == 22 || i == 27 || i == 32;
		if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return wrong;
	}
	return NULL;
}

/* RFC 4648 with padding; white space between groups is allowed by FHIR's pattern. */
static const char *check_base64(struct cl_str text)
{
	size_t digits = 0, padding = 0;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (is_space(c))
			continue;
		if (c == '=') {
			padding++;
		} else {
			bool digit = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			             c == '+' || c == '/';
			if (!digit || padding)
				return "must be base64";
			digits++;
		}
	}
	if (digits == 0)
		return "must not be empty";
	return padding > 2 || (digits + padding) % 4 ? "must be base64 in groups of four characters, padded with ="
	                                             : NULL;
}

static const char *check_integer(const struct cl_json *value, int64_t least)
{
	int64_t number;
	const char *wrong = least > 0    ? "must be a whole number from 1 to 2147483647"
	                    : least == 0 ? "must be a whole number from 0 to 2147483647"
	                                 : "must be a whole number from -2147483648 to 2147483647";
	if (value->kind != CL_JSON_NUMBER)
		return wrong;
	if (!cl_json_integer(value, &number) || number < least || number > INT32_MAX || cl_str_is(value->text, "-0"))
		return wrong;
	return NULL;
}

const char *cl_fhir_check_primitive(enum cl_fhir_data data, const struct cl_json *value)
{
	switch (data) {
	case CL_DATA_BOOLEAN:
		return value->kind == CL_JSON_TRUE || value->kind == CL_JSON_FALSE
		               ? NULL
		               : "must be true or false, without quotes";
	case CL_DATA_INTEGER:
		return check_integer(value, INT32_MIN);
	case CL_DATA_UNSIGNED_INT:
		return check_integer(value, 0);
	case CL_DATA_POSITIVE_INT:
		return check_integer(value, 1);
	case CL_DATA_DECIMAL:
		return value->kind == CL_JSON_NUMBER ? NULL : "must be a number, without quotes";
	default:
		break;
	}
	if (value->kind != CL_JSON_STRING)
		return "must be a string";
	struct cl_str text = value->text;
	bool empty;
	switch (data) {
	case CL_DATA_STRING:
	case CL_DATA_MARKDOWN:
		return check_string(text);
	case CL_DATA_CODE:
		return check_code(text);
	case CL_DATA_ID:
		return cl_is_fhir_id(text) ? NULL : "must be 1 to 64 letters, digits, hyphens and dots";
	case CL_DATA_URI:
	case CL_DATA_URL:
	case CL_DATA_CANONICAL:
		return check_uri(text);
	case CL_DATA_OID:
		return check_oid(text);
	case CL_DATA_UUID:
		return check_uuid(text);
	case CL_DATA_BASE64_BINARY:
		return check_base64(text);
	case CL_DATA_DATE:
		return cl_is_fhir_date(text) ? NULL : "must be a date like 2026, 2026-11 or 2026-11-22";
	case CL_DATA_DATE_TIME:
		return cl_is_fhir_date_time(text)
		               ? NULL
		               : "must be a date, or a time with zone like 2026-11-22T05:16:07-05:00";
	case CL_DATA_INSTANT:
		return cl_is_fhir_instant(text) ? NULL : "must be an instant with zone like 2026-11-22T05:16:07.123Z";
	case CL_DATA_TIME:
		return cl_is_fhir_time(text) ? NULL : "must be a time of day like 14:30:00";
	case CL_DATA_XHTML:
		return cl_fhir_check_narrative(text, &empty);
	default:
		return "is of a type this server does not know";
	}
}
