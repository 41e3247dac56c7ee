/* utf8.c: validation by hand (it is on every request's path), folding by utf8proc with a fast path for ASCII. */
#include "base/utf8.h"
#include "base/buffer.h"
#include "base/error.h"
#include <utf8proc.h>

bool cl_utf8_valid(struct cl_str text)
{
	const unsigned char *p = (const unsigned char *)(text.p ? text.p : ""), *end = p + text.n;

	while (p < end) {
		uint64_t eight;
		while (end - p >= 8 && (memcpy(&eight, p, 8), (eight & UINT64_C(0x8080808080808080)) == 0))
			p += 8;
		if (p == end)
			break;
		size_t n = cl_utf8_length(p, end);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

static bool is_space(int32_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	       (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Letters with a stroke have no decomposition in Unicode, yet a search for "lukasz" should find "Łukasz". */
static int32_t without_stroke(int32_t c)
{
	switch (c) {
	case 0x111: /* đ */
		return 'd';
	case 0x127: /* ħ */
		return 'h';
	case 0x131: /* ı */
		return 'i';
	case 0x142: /* ł */
		return 'l';
	case 0xf8: /* ø */
		return 'o';
	case 0x167: /* ŧ */
		return 't';
	default:
		return c;
	}
}

struct folder {
	struct cl_buf out;
	bool space; /* a space is due before the next character */
};

static void add(struct folder *folder, int32_t c)
{
	utf8proc_uint8_t bytes[4];

	if (is_space(c)) {
		folder->space = folder->out.n > 0;
		return;
	}
	if (folder->space)
		cl_buf_add_byte(&folder->out, ' ');
	folder->space = false;
	cl_buf_add(&folder->out, bytes, (size_t)utf8proc_encode_char(without_stroke(c), bytes));
}

/* The longest compatibility decomposition of one character is 18 long (U+FDFA). */
#define LONGEST_DECOMPOSITION 32

static void fold_character(struct folder *folder, int32_t c)
{
	utf8proc_int32_t parts[LONGEST_DECOMPOSITION];
	int boundary = 0;
	utf8proc_ssize_t n = utf8proc_decompose_char(
	        c, parts, LONGEST_DECOMPOSITION,
	        UTF8PROC_CASEFOLD | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_IGNORE, &boundary);
	if (n < 0 || n > LONGEST_DECOMPOSITION) {
		add(folder, c);
		return;
	}
	for (utf8proc_ssize_t i = 0; i < n; i++) {
		/* Accents and points have a combining class above 9; below are nukta, voicing marks and virama, which
		 * make another letter rather than an accented one. */
		if (utf8proc_get_property(parts[i])->combining_class <= 9)
			add(folder, parts[i]);
	}
}

static bool fold_ascii(struct cl_str text, char *out, size_t *out_n)
{
	size_t n = 0;
	bool space = false;

	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c >= 0x80)
			return false;
		if (is_space(c)) {
			space = n > 0;
			continue;
		}
		if (space)
			out[n++] = ' ';
		space = false;
		out[n++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	out[n] = 0;
	*out_n = n;
	return true;
}

struct cl_str cl_utf8_fold(struct cl_arena *arena, struct cl_str text)
{
	char *plain = cl_arena_alloc(arena, text.n + 1);
	size_t plain_n;
	if (fold_ascii(text, plain, &plain_n))
		return (struct cl_str){plain, plain_n};

	struct folder folder = {.space = false};
	const unsigned char *p = (const unsigned char *)text.p, *end = p + text.n;
	while (p < end) {
		size_t n = cl_utf8_length(p, end);
		utf8proc_int32_t c = 0xfffd;
		if (n)
			utf8proc_iterate(p, (utf8proc_ssize_t)n, &c);
		fold_character(&folder, c);
		p += n ? n : 1;
	}
	struct cl_str folded = cl_arena_copy(arena, cl_buf_str(&folder.out));
	cl_buf_free(&folder.out);
	return folded;
}

void cl_utf8_mend(char *text, size_t n)
{
	const unsigned char *p = (const unsigned char *)text, *end = p + n;
	for (size_t length; p < end; p += length) {
		length = cl_utf8_length(p, end);
		if (!length) {
			text[p - (const unsigned char *)text] = '?';
			length = 1;
		}
	}
}
