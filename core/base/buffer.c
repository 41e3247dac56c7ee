/* buffer.c: growing, with one byte kept spare beyond the maximum for printf's NUL. */
#include "base/buffer.h"
#include "base/error.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void cl_buf_init(struct cl_buf *buffer, size_t maximum)
{
	*buffer = (struct cl_buf){.maximum = maximum};
}

void cl_buf_free(struct cl_buf *buffer)
{
	free(buffer->p);
	*buffer = (struct cl_buf){.maximum = buffer->maximum};
}

void cl_buf_clear(struct cl_buf *buffer)
{
	buffer->n = 0;
	buffer->overflow = false;
}

static void grow(struct cl_buf *buffer, size_t need)
{
	size_t capacity = buffer->capacity < 128 ? 256 : buffer->capacity * 2;
	if (buffer->maximum && capacity > buffer->maximum + 1)
		capacity = buffer->maximum + 1;
	if (capacity < need)
		capacity = need;
	char *p = realloc(buffer->p, capacity);
	if (!p)
		cl_die("out of memory (buffer)");
	buffer->p = p;
	buffer->capacity = capacity;
}

char *cl_buf_reserve(struct cl_buf *buffer, size_t n)
{
	if (n < buffer->capacity - buffer->n && !buffer->overflow)
		return buffer->p + buffer->n;
	/* Once something is missing nothing may follow it. */
	if (buffer->overflow || n > PTRDIFF_MAX / 2 - buffer->n ||
	    (buffer->maximum && (buffer->n > buffer->maximum || n > buffer->maximum - buffer->n))) {
		buffer->overflow = true;
		return NULL;
	}
	grow(buffer, buffer->n + n + 1);
	return buffer->p + buffer->n;
}

void cl_buf_add(struct cl_buf *buffer, const void *bytes, size_t n)
{
	if (n == 0)
		return;
	char *p = cl_buf_reserve(buffer, n);
	if (!p)
		return;
	memcpy(p, bytes, n);
	buffer->n += n;
}

void cl_buf_add_str(struct cl_buf *buffer, struct cl_str text)
{
	cl_buf_add(buffer, text.p, text.n);
}

void cl_buf_add_cstring(struct cl_buf *buffer, const char *text)
{
	cl_buf_add(buffer, text, strlen(text));
}

void cl_buf_add_byte(struct cl_buf *buffer, char byte)
{
	char *p = cl_buf_reserve(buffer, 1);
	if (!p)
		return;
	*p = byte;
	buffer->n++;
}

void cl_buf_printf(struct cl_buf *buffer, const char *format, ...)
{
	va_list arguments, again;
	va_start(arguments, format);
	va_copy(again, arguments);
	size_t room = buffer->capacity - buffer->n;
	int n = vsnprintf(buffer->p ? buffer->p + buffer->n : NULL, room, format, arguments);
	if (n < 0)
		cl_die("bad format (buffer)");
	char *p = cl_buf_reserve(buffer, (size_t)n);
	if (p) {
		if ((size_t)n >= room)
			vsnprintf(p, (size_t)n + 1, format, again);
		buffer->n += (size_t)n;
	}
	va_end(again);
	va_end(arguments);
}

void cl_buf_consume(struct cl_buf *buffer, size_t n)
{
	if (n >= buffer->n) {
		buffer->n = 0;
		return;
	}
	if (n == 0)
		return;
	memmove(buffer->p, buffer->p + n, buffer->n - n);
	buffer->n -= n;
}
