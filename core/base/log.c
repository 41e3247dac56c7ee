/* log.c: one line, one write(). */
#include "base/log.h"
#include "base/clock.h"
#include "base/date.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1000

static char process_name[64] = "careloop";
static int least_level = CL_LOG_INFO;

void cl_log_start(const char *process, enum cl_log_level level)
{
	snprintf(process_name, sizeof process_name, "%s", process);
	cl_log_set_level(level);
}

void cl_log_set_level(enum cl_log_level level)
{
	__atomic_store_n(&least_level, (int)level, __ATOMIC_RELAXED);
}

/* Appends `text` with control characters escaped, never half an escape or half a character. Returns the new length. */
static size_t add_escaped(char *line, size_t n, size_t maximum, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (const unsigned char *p = (const unsigned char *)text; *p;) {
		char piece[8];
		size_t length = 1, taken = 1;
		if (*p == '\n' || *p == '\r' || *p == '\t') {
			piece[0] = '\\';
			piece[1] = *p == '\n' ? 'n' : *p == '\r' ? 'r' : 't';
			length = 2;
		} else if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0)) {
			/* The last are C1 controls, which terminals obey too. */
			unsigned char c = *p == 0xc2 ? p[1] : *p;
			piece[0] = '\\';
			piece[1] = 'x';
			piece[2] = hex[c >> 4];
			piece[3] = hex[c & 15];
			length = 4;
			taken = *p == 0xc2 ? 2 : 1;
		} else {
			size_t want = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : *p >= 0xc0 ? 2 : 1;
			piece[0] = (char)*p;
			while (length < want && (p[length] & 0xc0) == 0x80) {
				piece[length] = (char)p[length];
				length++;
			}
			taken = length;
		}
		if (n + length > maximum)
			break;
		memcpy(line + n, piece, length);
		n += length;
		p += taken;
	}
	return n;
}

void cl_log(enum cl_log_level level, const char *event, const char *detail, ...)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	const size_t maximum = LINE_MAX_BYTES - 1; /* for the newline */
	char line[LINE_MAX_BYTES], text[LINE_MAX_BYTES + 1];

	if ((int)level < __atomic_load_n(&least_level, __ATOMIC_RELAXED))
		return;
	int saved = errno;
	size_t n = cl_instant_format(cl_clock_now(NULL), line);
	line[n++] = ' ';
	n = add_escaped(line, n, maximum, (unsigned)level <= CL_LOG_ERROR ? names[level] : "error");
	line[n++] = ' ';
	n = add_escaped(line, n, maximum, process_name);
	line[n++] = ' ';
	n = add_escaped(line, n, maximum, event);
	if (detail && n < maximum) {
		va_list arguments;
		va_start(arguments, detail);
		errno = saved; /* for %m */
		vsnprintf(text, sizeof text, detail, arguments);
		va_end(arguments);
		line[n++] = ' ';
		n = add_escaped(line, n, maximum, text);
	}
	line[n++] = '\n';
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
	errno = saved;
}

bool cl_log_level_of(struct cl_str name, enum cl_log_level *out)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	for (int i = 0; i < 4; i++)
		if (cl_str_is(name, names[i])) {
			*out = (enum cl_log_level)i;
			return true;
		}
	return false;
}
