/* arena.c: bump allocation in blocks that double. The arena itself lives at the start of its first block. */
#include "base/arena.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define CL_ARENA_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CL_ARENA_POISON 1
#endif
#endif

#ifdef CL_ARENA_POISON
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#define REDZONE 16 /* bytes between neighbours, so that an overrun of a multiple of 16 is seen too */
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define REDZONE 0
#endif

#define ALIGNMENT 16
#define FIRST_BLOCK ((size_t)16 * 1024)
#define LARGEST_BLOCK ((size_t)1024 * 1024) /* larger requests get a block of their own */

struct block {
	struct block *next; /* older */
	size_t size; /* bytes after this header */
};

struct cl_arena {
	char *at, *end; /* free part of the current block */
	size_t used, limit; /* bytes handed out, alignment included */
	struct block *blocks; /* all but the first, newest first */
	size_t next_size;
	size_t first_size; /* bytes for use in the first block */
};

_Static_assert(sizeof(struct block) == ALIGNMENT, "payload of a block starts aligned");
_Static_assert(sizeof(struct cl_arena) % 8 == 0, "arena header");

#define HEADER ((sizeof(struct cl_arena) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT)

static char *first_payload(struct cl_arena *arena)
{
	return (char *)arena + HEADER;
}

struct cl_arena *cl_arena_new(size_t limit)
{
	struct cl_arena *arena = malloc(FIRST_BLOCK);
	if (!arena)
		cl_die("out of memory (arena)");
	*arena = (struct cl_arena){.limit = limit, .next_size = 2 * FIRST_BLOCK, .first_size = FIRST_BLOCK - HEADER};
	arena->at = first_payload(arena);
	arena->end = arena->at + arena->first_size;
	POISON(arena->at, arena->first_size);
	return arena;
}

static void free_blocks(struct cl_arena *arena)
{
	struct block *block = arena->blocks;
	while (block) {
		struct block *next = block->next;
		UNPOISON(block + 1, block->size);
		free(block);
		block = next;
	}
	arena->blocks = NULL;
}

void cl_arena_free(struct cl_arena *arena)
{
	if (!arena)
		return;
	free_blocks(arena);
	UNPOISON(first_payload(arena), arena->first_size);
	free(arena);
}

void cl_arena_reset(struct cl_arena *arena)
{
	free_blocks(arena);
	arena->at = first_payload(arena);
	arena->end = arena->at + arena->first_size;
	arena->used = 0;
	arena->next_size = 2 * FIRST_BLOCK;
	POISON(arena->at, arena->first_size);
}

static struct block *add_block(struct cl_arena *arena, size_t size)
{
	struct block *block = malloc(sizeof *block + size);
	if (!block)
		cl_die("out of memory (arena)");
	block->next = arena->blocks;
	block->size = size;
	arena->blocks = block;
	POISON(block + 1, size);
	return block;
}

/* `size` is already rounded and includes the red zone. A large request gets a block of its own, so that what is left of
 * the current block stays in use. */
static char *take_slowly(struct cl_arena *arena, size_t size)
{
	if (size > arena->next_size / 4)
		return (char *)(add_block(arena, size) + 1);
	struct block *block = add_block(arena, arena->next_size);
	if (arena->next_size < LARGEST_BLOCK)
		arena->next_size *= 2;
	char *p = (char *)(block + 1);
	arena->at = p + size;
	arena->end = p + block->size;
	return p;
}

/* Uninitialized memory. */
static inline char *take(struct cl_arena *arena, size_t size)
{
	if (size > PTRDIFF_MAX / 2)
		cl_die("impossible allocation size (arena)");
	size_t rounded = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	char *p;
	arena->used += rounded;
	rounded += REDZONE;
	if (rounded <= (size_t)(arena->end - arena->at)) {
		p = arena->at;
		arena->at += rounded;
	} else {
		p = take_slowly(arena, rounded);
	}
	UNPOISON(p, size);
	return p;
}

void *cl_arena_alloc(struct cl_arena *arena, size_t size)
{
	return memset(take(arena, size), 0, size);
}

void *cl_arena_try(struct cl_arena *arena, size_t size)
{
	if (size > PTRDIFF_MAX / 2)
		return NULL;
	if (arena->limit && (arena->used > arena->limit || size > arena->limit - arena->used))
		return NULL;
	return cl_arena_alloc(arena, size);
}

char *cl_arena_cstring(struct cl_arena *arena, struct cl_str text)
{
	char *p = take(arena, text.n + 1);
	if (text.n)
		memcpy(p, text.p, text.n);
	p[text.n] = 0;
	return p;
}

struct cl_str cl_arena_copy(struct cl_arena *arena, struct cl_str text)
{
	return (struct cl_str){cl_arena_cstring(arena, text), text.n};
}

struct cl_str cl_arena_vprintf(struct cl_arena *arena, const char *format, va_list arguments)
{
	char small[512];
	va_list again;
	va_copy(again, arguments);
	int n = vsnprintf(small, sizeof small, format, arguments);
	if (n < 0)
		cl_die("bad format (arena)");
	char *p = take(arena, (size_t)n + 1);
	if ((size_t)n < sizeof small)
		memcpy(p, small, (size_t)n + 1);
	else
		vsnprintf(p, (size_t)n + 1, format, again);
	va_end(again);
	return (struct cl_str){p, (size_t)n};
}

struct cl_str cl_arena_printf(struct cl_arena *arena, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	struct cl_str text = cl_arena_vprintf(arena, format, arguments);
	va_end(arguments);
	return text;
}

size_t cl_arena_used(const struct cl_arena *arena)
{
	return arena->used;
}
