/* arena.h: memory with the lifetime of one request. Freed all at once; nothing in it is freed alone. */
#pragma once
#include "base/text.h"
#include <stdarg.h>
#include <stdint.h>

struct cl_arena;

/* `limit` bounds what cl_arena_try may hand out in total, in bytes; 0 means no bound. Aborts when the system has no
 * memory. */
struct cl_arena *cl_arena_new(size_t limit);
void cl_arena_free(struct cl_arena *arena);
/* Forgets everything allocated; keeps the first block for reuse. */
void cl_arena_reset(struct cl_arena *arena);
/* Zeroed, aligned to 16. Never NULL: aborts when the system has no memory. For sizes that a limit elsewhere already
 * bounds. */
void *cl_arena_alloc(struct cl_arena *arena, size_t size);
/* As above, but NULL when the arena's limit would be passed. For sizes that come from outside. */
void *cl_arena_try(struct cl_arena *arena, size_t size);
/* Copies with a terminating NUL beyond the length. */
struct cl_str cl_arena_copy(struct cl_arena *arena, struct cl_str text);
char *cl_arena_cstring(struct cl_arena *arena, struct cl_str text);
struct cl_str cl_arena_printf(struct cl_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct cl_str cl_arena_vprintf(struct cl_arena *arena, const char *format, va_list arguments);
size_t cl_arena_used(const struct cl_arena *arena);

#define CL_NEW(arena, type) ((type *)cl_arena_alloc((arena), sizeof(type)))
#define CL_NEW_ARRAY(arena, type, count) ((type *)cl_arena_alloc((arena), sizeof(type) * (size_t)(count)))
