/* text.h: strings as pointer and length. Never rely on a terminating NUL; never own memory. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A borrowed run of bytes. `p` may be NULL only when `n` is 0. Lifetime is that of the memory it points into. */
struct cl_str {
	const char *p;
	size_t n;
};

#define CL_STR(literal) ((struct cl_str){(literal), sizeof(literal) - 1})
#define CL_STR_NONE ((struct cl_str){NULL, 0})
/* For printf: "%.*s" with CL_STR_ARGS(s). */
#define CL_STR_ARGS(s) (int)(s).n, ((s).p ? (s).p : "")

static inline struct cl_str cl_str_of(const char *cstring)
{
	return (struct cl_str){cstring, cstring ? strlen(cstring) : 0};
}

static inline bool cl_str_equal(struct cl_str a, struct cl_str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool cl_str_is(struct cl_str a, const char *cstring)
{
	return cl_str_equal(a, cl_str_of(cstring));
}

static inline bool cl_str_starts(struct cl_str a, const char *prefix)
{
	size_t n = strlen(prefix);
	return a.n >= n && memcmp(a.p, prefix, n) == 0;
}

static inline int cl_str_compare(struct cl_str a, struct cl_str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int order = n ? memcmp(a.p, b.p, n) : 0;
	return order ? order : (a.n > b.n) - (a.n < b.n);
}
