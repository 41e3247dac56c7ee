/* buffer.h: a growing run of bytes with a maximum. Past the maximum it keeps what it has and remembers the overflow,
 * so that a long chain of additions needs one check at its end. */
#pragma once
#include "base/text.h"
#include <stdint.h>

struct cl_buf {
	char *p;
	size_t n, capacity, maximum; /* maximum 0 means no bound */
	bool overflow; /* something did not fit; contents are incomplete */
};

void cl_buf_init(struct cl_buf *buffer, size_t maximum);
void cl_buf_free(struct cl_buf *buffer);
/* Empties without giving memory back. */
void cl_buf_clear(struct cl_buf *buffer);
void cl_buf_add(struct cl_buf *buffer, const void *bytes, size_t n);
void cl_buf_add_str(struct cl_buf *buffer, struct cl_str text);
void cl_buf_add_cstring(struct cl_buf *buffer, const char *text);
void cl_buf_add_byte(struct cl_buf *buffer, char byte);
void cl_buf_printf(struct cl_buf *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ensures room for n more bytes and returns where they go (NULL past the maximum); add to buffer->n what was
 * written. */
char *cl_buf_reserve(struct cl_buf *buffer, size_t n);
/* Removes the first n bytes. */
void cl_buf_consume(struct cl_buf *buffer, size_t n);
static inline struct cl_str cl_buf_str(const struct cl_buf *buffer)
{
	return (struct cl_str){buffer->p, buffer->n};
}
