/* error.c: filling error reports, and what their codes are called elsewhere. */
#include "base/error.h"
#include "base/utf8.h"
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One line of whole characters: control characters become spaces, a character that truncation cut in half goes, and one that
 * was cut within becomes a question mark. */
static void tidy(char *text)
{
	size_t n = strlen(text);

	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			text[i] = ' ';
	size_t lead = n;
	while (lead > 0 && n - lead < 3 && ((unsigned char)text[lead - 1] & 0xc0) == 0x80)
		lead--;
	if (lead > 0) {
		unsigned char c = (unsigned char)text[lead - 1];
		size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
		if (want > n - lead + 1)
			text[lead - 1] = 0;
	}
	cl_utf8_mend(text, strlen(text));
}

int cl_fail(struct cl_err *e, int code, const char *format, ...)
{
	if (!e)
		return code;
	int saved = errno;
	char message[sizeof e->message];
	va_list arguments;
	va_start(arguments, format);
	/* Not straight into e->message: an argument may be the message of an earlier report in the same place. */
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	tidy(message);
	memcpy(e->message, message, strlen(message) + 1);
	e->code = code;
	e->line = 0;
	e->column = 0;
	e->where[0] = 0;
	e->allow = NULL;
	errno = saved;
	return code;
}

int cl_fail_at(struct cl_err *e, const char *format, ...)
{
	if (!e)
		return CL_E_INTERNAL;
	int saved = errno;
	char where[sizeof e->where];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(where, sizeof where, format, arguments);
	va_end(arguments);
	tidy(where);
	memcpy(e->where, where, strlen(where) + 1);
	errno = saved;
	return e->code;
}

void cl_die(const char *format, ...)
{
	static const char prefix[] = "careloop: fatal: ";
	char line[512];
	size_t n = sizeof prefix - 1;
	va_list arguments;

	memcpy(line, prefix, sizeof prefix);
	va_start(arguments, format);
	vsnprintf(line + n, sizeof line - n - 1, format, arguments);
	va_end(arguments);
	tidy(line);
	n = strlen(line);
	line[n++] = '\n';
	/* No stdio stream and no allocation: this may be the end of memory. */
	if (write(STDERR_FILENO, line, n) < 0) {
		/* Nobody is left to tell. */
	}
	abort();
}

static const struct {
	int code;
	int status;
	const char *name;
} codes[] = {
        {CL_OK, 200, "ok"},
        {CL_E_INVALID, 400, "invalid"},
        {CL_E_RULE, 422, "rule"},
        {CL_E_NOT_FOUND, 404, "not-found"},
        {CL_E_GONE, 410, "gone"},
        {CL_E_CONFLICT, 409, "conflict"},
        {CL_E_PRECONDITION, 412, "precondition"},
        {CL_E_UNAUTHENTICATED, 401, "unauthenticated"},
        {CL_E_FORBIDDEN, 403, "forbidden"},
        {CL_E_TOO_LARGE, 413, "too-large"},
        {CL_E_UNSUPPORTED, 501, "unsupported"},
        {CL_E_LIMIT, 429, "limit"},
        {CL_E_BUSY, 503, "busy"},
        {CL_E_FULL, 507, "full"},
        {CL_E_IO, 500, "io"},
        {CL_E_CORRUPT, 500, "corrupt"},
        {CL_E_MEMORY, 500, "memory"},
        {CL_E_PLUGIN, 500, "plugin"},
        {CL_E_INTERNAL, 500, "internal"},
        {CL_E_MEDIA_TYPE, 415, "media-type"},
        {CL_E_CLOSED, 503, "closed"},
        {CL_E_NOT_ACCEPTABLE, 406, "not-acceptable"},
};

int cl_code_http_status(int code)
{
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (codes[i].code == code)
			return codes[i].status;
	return 500;
}

const char *cl_code_name(int code)
{
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (codes[i].code == code)
			return codes[i].name;
	return "unknown";
}
