/* pattern.c: the matcher. Backtracking, as Lua 5.4 defines it (reference manual §6.4.1), but every look at a character costs a
 * step, because neither a count hook nor a memory limit can stop it: one `find` with a few lazy repeats runs for minutes. */
#include "org/lua/pattern.h"
#include <ctype.h>
#include <string.h>

#define ESCAPE '%'

static const char *match(struct cl_pattern *m, const char *s, const char *p);

static const char *give_up(struct cl_pattern *m, const char *problem)
{
	if (!m->problem)
		m->problem = problem;
	return NULL;
}

static bool spend(struct cl_pattern *m, int64_t steps)
{
	m->steps -= steps;
	if (m->steps >= 0)
		return true;
	m->exhausted = true;
	give_up(m, "pattern needs too many steps on this text; use fewer repeats or anchors");
	return false;
}

/* Strings of Lua end with a NUL, and its matcher sees that NUL; here the end is a bound, so that it is imitated. */
static unsigned char byte_at(const char *at, const char *end)
{
	return at < end ? (unsigned char)*at : 0;
}

/* One past the single-character class that begins at `p`; NULL for a malformed pattern. */
static const char *class_end(struct cl_pattern *m, const char *p)
{
	char first = *p++;
	if (first == ESCAPE) {
		if (p == m->pattern_end)
			return give_up(m, "malformed pattern (ends with '%')");
		return p + 1;
	}
	if (first != '[')
		return p;
	if (p < m->pattern_end && *p == '^')
		p++;
	do { /* the first "]" is one of the set */
		if (p == m->pattern_end)
			return give_up(m, "malformed pattern (missing ']')");
		if (*p++ == ESCAPE && p < m->pattern_end)
			p++;
	} while (p == m->pattern_end || *p != ']');
	return p + 1;
}

static bool in_class(unsigned char c, unsigned char letter)
{
	bool in;
	switch (tolower(letter)) {
	case 'a':
		in = isalpha(c);
		break;
	case 'c':
		in = iscntrl(c);
		break;
	case 'd':
		in = isdigit(c);
		break;
	case 'g':
		in = isgraph(c);
		break;
	case 'l':
		in = islower(c);
		break;
	case 'p':
		in = ispunct(c);
		break;
	case 's':
		in = isspace(c);
		break;
	case 'u':
		in = isupper(c);
		break;
	case 'w':
		in = isalnum(c);
		break;
	case 'x':
		in = isxdigit(c);
		break;
	case 'z': /* undocumented since Lua 5.2, but there */
		in = c == 0;
		break;
	default:
		return letter == c;
	}
	return isupper(letter) ? !in : in;
}

/* `p` at "[", `last` at the closing "]". */
static bool in_set(unsigned char c, const char *p, const char *last)
{
	bool found = true;
	p++;
	if (*p == '^') {
		found = false;
		p++;
	}
	for (; p < last; p++) {
		if (*p == ESCAPE) {
			p++;
			if (in_class(c, (unsigned char)*p))
				return found;
		} else if (p + 2 < last && p[1] == '-') {
			if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2])
				return found;
			p += 2;
		} else if ((unsigned char)*p == c) {
			return found;
		}
	}
	return !found;
}

/* Does the character at `s` belong to the class [p, after)? */
static bool single(const struct cl_pattern *m, const char *s, const char *p, const char *after)
{
	if (s >= m->text_end)
		return false;
	unsigned char c = (unsigned char)*s;
	switch (*p) {
	case '.':
		return true;
	case ESCAPE:
		return in_class(c, (unsigned char)p[1]);
	case '[':
		return in_set(c, p, after - 1);
	default:
		return (unsigned char)*p == c;
	}
}

/* What looking at one character against this class costs. */
static int64_t price(const char *p, const char *after)
{
	return 1 + (after - p) / 16;
}

/* %bxy */
static const char *balanced(struct cl_pattern *m, const char *s, const char *p)
{
	if (m->pattern_end - p < 2)
		return give_up(m, "malformed pattern (missing arguments to '%b')");
	if (s >= m->text_end || *s != *p)
		return NULL;
	char opening = p[0], closing = p[1];
	int64_t open = 1;
	const char *at = s + 1;
	for (; at < m->text_end; at++) {
		if (*at == closing) {
			if (--open == 0)
				break;
		} else if (*at == opening) {
			open++;
		}
	}
	if (!spend(m, at - s) || at == m->text_end)
		return NULL;
	return at + 1;
}

/* As many as there are, then fewer. */
static const char *greedy(struct cl_pattern *m, const char *s, const char *p, const char *after)
{
	ptrdiff_t count = 0;
	while (single(m, s + count, p, after))
		count++;
	if (!spend(m, (count + 1) * price(p, after)))
		return NULL;
	for (; count >= 0 && !m->problem; count--) {
		const char *end = match(m, s + count, after + 1);
		if (end)
			return end;
	}
	return NULL;
}

/* As few as will do. */
static const char *lazy(struct cl_pattern *m, const char *s, const char *p, const char *after)
{
	for (;;) {
		const char *end = match(m, s, after + 1);
		if (end || m->problem)
			return end;
		if (!spend(m, price(p, after)) || !single(m, s, p, after))
			return NULL;
		s++;
	}
}

static const char *open_capture(struct cl_pattern *m, const char *s, const char *p, ptrdiff_t kind)
{
	if (m->level >= CL_PATTERN_CAPTURES)
		return give_up(m, "too many captures");
	m->captures[m->level++] = (struct cl_capture){s, kind};
	const char *end = match(m, s, p);
	if (!end)
		m->level--;
	return end;
}

static const char *close_capture(struct cl_pattern *m, const char *s, const char *p)
{
	unsigned level = m->level;
	while (level > 0 && m->captures[level - 1].length != CL_CAPTURE_OPEN)
		level--;
	if (level == 0)
		return give_up(m, "invalid pattern capture");
	struct cl_capture *capture = &m->captures[level - 1];
	capture->length = s - capture->start;
	const char *end = match(m, s, p);
	if (!end)
		capture->length = CL_CAPTURE_OPEN;
	return end;
}

/* %1 to %9 */
static const char *repeated(struct cl_pattern *m, const char *s, unsigned char digit)
{
	unsigned index = (unsigned)(digit - '1');
	if (digit == '0' || index >= m->level || m->captures[index].length == CL_CAPTURE_OPEN) {
		m->problem_number = digit - '0';
		return give_up(m, "invalid capture index %%%d");
	}
	const struct cl_capture *capture = &m->captures[index];
	if (capture->length < 0 || m->text_end - s < capture->length)
		return NULL;
	if (!spend(m, capture->length / 64) || memcmp(capture->start, s, (size_t)capture->length))
		return NULL;
	return s + capture->length;
}

/* %f[set]: a border between what is not in the set and what is. */
static const char *frontier(struct cl_pattern *m, const char *s, const char **p)
{
	const char *set = *p;
	if (set == m->pattern_end || *set != '[')
		return give_up(m, "missing '[' after '%f' in pattern");
	const char *after = class_end(m, set);
	if (!after)
		return NULL;
	unsigned char before = s == m->text ? 0 : (unsigned char)s[-1];
	if (in_set(before, set, after - 1) || !in_set(byte_at(s, m->text_end), set, after - 1))
		return NULL;
	*p = after;
	return s;
}

/* One item of the pattern at `*p`, moved on by what was consumed. `*ended` when the result is that of the whole rest. */
static const char *item(struct cl_pattern *m, const char *s, const char **p, bool *ended)
{
	const char *at = *p, *after = class_end(m, at);
	if (!after)
		return NULL;
	char suffix = (char)byte_at(after, m->pattern_end);
	if (!single(m, s, at, after)) {
		if (suffix != '*' && suffix != '?' && suffix != '-')
			return NULL;
		*p = after + 1; /* none is enough */
		return s;
	}
	switch (suffix) {
	case '?': {
		const char *end = match(m, s + 1, after + 1);
		if (end || m->problem) {
			*ended = true;
			return end;
		}
		*p = after + 1;
		return s;
	}
	case '+':
		*ended = true;
		return greedy(m, s + 1, at, after);
	case '*':
		*ended = true;
		return greedy(m, s, at, after);
	case '-':
		*ended = true;
		return lazy(m, s, at, after);
	default:
		*p = after;
		return s + 1;
	}
}

/* Matches the rest of the pattern. Recursion happens only where a decision may have to be taken back. */
static const char *match(struct cl_pattern *m, const char *s, const char *p)
{
	if (m->depth++ >= CL_PATTERN_DEPTH)
		give_up(m, "pattern too complex");
	bool ended = false;
	while (s && !ended && p < m->pattern_end && !m->problem && spend(m, 1)) {
		switch (*p) {
		case '(':
			ended = true;
			s = p + 1 < m->pattern_end && p[1] == ')' ? open_capture(m, s, p + 2, CL_CAPTURE_POSITION)
			                                          : open_capture(m, s, p + 1, CL_CAPTURE_OPEN);
			continue;
		case ')':
			ended = true;
			s = close_capture(m, s, p + 1);
			continue;
		case '$':
			if (p + 1 != m->pattern_end)
				break;
			ended = true;
			s = s == m->text_end ? s : NULL;
			continue;
		case ESCAPE: {
			unsigned char next = byte_at(p + 1, m->pattern_end);
			if (next == 'b') {
				s = balanced(m, s, p + 2);
				p += 4;
				continue;
			}
			if (next == 'f') {
				p += 2;
				s = frontier(m, s, &p);
				continue;
			}
			if (isdigit(next)) {
				s = repeated(m, s, next);
				p += 2;
				continue;
			}
			break;
		}
		default:
			break;
		}
		s = item(m, s, &p, &ended);
	}
	m->depth--;
	return m->problem ? NULL : s;
}

const char *cl_pattern_match(struct cl_pattern *pattern, const char *at)
{
	return match(pattern, at, pattern->pattern);
}

void cl_pattern_restart(struct cl_pattern *pattern)
{
	pattern->level = 0;
	pattern->depth = 0;
}

bool cl_pattern_is_plain(const char *pattern, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (pattern[i] && strchr("^$*+?.([%-", pattern[i]))
			return false;
	return true;
}
