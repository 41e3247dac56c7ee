/* closest.c: optimal string alignment distance on three rows. */
#include "base/closest.h"

#define LENGTH_MAXIMUM 64

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned distance(struct cl_str a, struct cl_str b)
{
	unsigned rows[3][LENGTH_MAXIMUM + 1];
	unsigned *older = rows[0], *old = rows[1], *now = rows[2];
	for (size_t j = 0; j <= b.n; j++)
		old[j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			unsigned changed = a.p[i - 1] == b.p[j - 1] ? 0 : 1;
			now[j] = least(least(old[j] + 1, now[j - 1] + 1), old[j - 1] + changed);
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
				now[j] = least(now[j], older[j - 2] + 1);
		}
		unsigned *free_row = older;
		older = old;
		old = now;
		now = free_row;
	}
	return old[b.n];
}

void cl_closest_offer(struct cl_closest *closest, const char *candidate)
{
	struct cl_str known = cl_str_of(candidate);
	if (known.n > LENGTH_MAXIMUM || closest->wanted.n > LENGTH_MAXIMUM || closest->wanted.n == 0)
		return;
	unsigned changes = distance(closest->wanted, known);
	size_t longer = known.n > closest->wanted.n ? known.n : closest->wanted.n;
	if (changes > (longer + 2) / 3 || changes >= longer || (closest->best && changes >= closest->distance))
		return;
	closest->best = candidate;
	closest->distance = changes;
}
