/* timezone.c: TZif (RFC 8536) files, and the POSIX rule at their end.
 *
 * A zone is a row of periods of constant offset: those between the file's transitions, then those that the rule
 * makes. Everything is answered from `find_period`, so gaps and overlaps need no special knowledge of either. Times
 * in here are seconds since 1970-01-01T00:00:00Z. */
#include "base/timezone.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZONE_FOLDER "/usr/share/zoneinfo/"
#define LONGEST_NAME 64
#define LARGEST_FILE ((size_t)256 * 1024) /* real ones are below 4 KiB */
#define DAY_SECONDS 86400
#define FARTHEST_OFFSET (26 * 3600) /* RFC 8536: between -25 and +26 hours */
#define FARTHEST_TIME INT64_C(9200000000000) /* the seconds of a cl_instant, and a little less */

/* When in a year the clocks change. */
struct change {
	char kind; /* 'M' month.week.day, 'J' day 1-365 without leap day, 'n' day 0-365 */
	int month, week, day;
	int32_t time; /* seconds after local midnight; may be negative or beyond a day */
};

struct rule {
	bool present, has_summer;
	int32_t standard, summer; /* seconds east of UTC */
	struct change to_summer, to_standard;
};

struct cl_zone {
	char name[LONGEST_NAME];
	size_t transitions;
	int64_t *at; /* strictly ascending */
	int32_t *offsets; /* one more than transitions: offsets[0] is before the first, offsets[i + 1] from at[i] on */
	struct rule rule; /* from the last transition on */
};

struct period {
	int64_t begin, end; /* end exclusive */
	int32_t offset;
};

/* ---- the POSIX rule ---------------------------------------------------------------------------------------------- */

struct cursor {
	const char *p, *end;
};

static bool take(struct cursor *c, char wanted)
{
	if (c->p == c->end || *c->p != wanted)
		return false;
	c->p++;
	return true;
}

static bool number(struct cursor *c, int least, int most, int *out)
{
	const char *start = c->p;
	int value = 0;

	while (c->p < c->end && *c->p >= '0' && *c->p <= '9') {
		if (c->p - start == 4)
			return false;
		value = value * 10 + (*c->p++ - '0');
	}
	*out = value;
	return c->p > start && value >= least && value <= most;
}

/* "EST" or "<-03>": only skipped. */
static bool designation(struct cursor *c)
{
	bool quoted = take(c, '<');
	const char *start = c->p;

	while (c->p < c->end && ((*c->p >= 'A' && *c->p <= 'Z') || (*c->p >= 'a' && *c->p <= 'z') ||
	                         (quoted && ((*c->p >= '0' && *c->p <= '9') || *c->p == '+' || *c->p == '-'))))
		c->p++;
	return c->p - start >= 3 && (!quoted || take(c, '>'));
}

/* [+-]hh[:mm[:ss]] in seconds. */
static bool clock_time(struct cursor *c, int most_hours, int32_t *out)
{
	int hour, minute = 0, second = 0;
	bool negative = take(c, '-');

	if (!negative)
		take(c, '+');
	if (!number(c, 0, most_hours, &hour))
		return false;
	if (take(c, ':') && (!number(c, 0, 59, &minute) || (take(c, ':') && !number(c, 0, 59, &second))))
		return false;
	*out = hour * 3600 + minute * 60 + second;
	if (negative)
		*out = -*out;
	return true;
}

static bool read_change(struct cursor *c, struct change *out)
{
	if (!take(c, ','))
		return false;
	out->time = 2 * 3600;
	if (take(c, 'M')) {
		out->kind = 'M';
		if (!number(c, 1, 12, &out->month) || !take(c, '.') || !number(c, 1, 5, &out->week) || !take(c, '.') ||
		    !number(c, 0, 6, &out->day))
			return false;
	} else if (take(c, 'J')) {
		out->kind = 'J';
		if (!number(c, 1, 365, &out->day))
			return false;
	} else {
		out->kind = 'n';
		if (!number(c, 0, 365, &out->day))
			return false;
	}
	return !take(c, '/') || clock_time(c, 167, &out->time);
}

static bool read_rule(struct cl_str text, struct rule *out)
{
	if (text.n == 0)
		return true;
	struct cursor c = {text.p, text.p + text.n};
	out->present = true;
	if (!designation(&c) || !clock_time(&c, 24, &out->standard))
		return false;
	out->standard = -out->standard; /* POSIX counts west of UTC */
	if (c.p == c.end)
		return true;
	out->has_summer = true;
	out->summer = out->standard + 3600;
	if (!designation(&c))
		return false;
	if (c.p < c.end && *c.p != ',') {
		if (!clock_time(&c, 24, &out->summer))
			return false;
		out->summer = -out->summer;
	}
	return read_change(&c, &out->to_summer) && read_change(&c, &out->to_standard) && c.p == c.end;
}

/* Local seconds of a change in a year, still without the offset. */
static int64_t change_in_year(const struct change *change, int year)
{
	struct cl_date first = {year, 1, 1};
	int64_t day;

	if (change->kind == 'M') {
		first.month = change->month;
		day = cl_date_to_days(first);
		int sunday_based = (cl_date_weekday(day) + 1) % 7;
		int in_month = (change->day - sunday_based + 7) % 7 + (change->week - 1) * 7;
		while (in_month >= cl_date_month_length(year, change->month)) /* week 5 is the last one */
			in_month -= 7;
		day += in_month;
	} else {
		day = cl_date_to_days(first) + change->day;
		if (change->kind == 'J' && !(change->day >= 60 && cl_date_month_length(year, 2) == 29))
			day--;
	}
	return day * DAY_SECONDS + change->time;
}

/* Rounds down, also before 1970. */
static int64_t divide(int64_t value, int64_t by)
{
	return value / by - (value % by < 0);
}

static int64_t day_of(int64_t seconds)
{
	return divide(seconds, DAY_SECONDS);
}

static struct period period_by_rule(const struct rule *rule, int64_t time)
{
	struct period period = {INT64_MIN, INT64_MAX, rule->standard};

	if (!rule->has_summer)
		return period;
	/* Times of change may lie up to a week outside their year, so its neighbours are asked too. Of changes at
	 * the same second the later in the row counts: that is how rules write "summer time all year". */
	int year = cl_date_from_days(day_of(time)).year;
	for (int i = year - 2; i <= year + 1; i++) {
		struct {
			int64_t at;
			int32_t offset;
		} changes[2] = {{change_in_year(&rule->to_summer, i) - rule->standard, rule->summer},
		                {change_in_year(&rule->to_standard, i) - rule->summer, rule->standard}};
		int earlier = changes[1].at < changes[0].at;
		for (int k = 0; k < 2; k++) {
			int which = k ? !earlier : earlier;
			if (changes[which].at <= time && changes[which].at >= period.begin) {
				period.begin = changes[which].at;
				period.offset = changes[which].offset;
			} else if (changes[which].at > time && changes[which].at < period.end) {
				period.end = changes[which].at;
			}
		}
	}
	return period;
}

/* ---- periods ----------------------------------------------------------------------------------------------------- */

static struct period find_period(const struct cl_zone *zone, int64_t time)
{
	size_t n = zone->transitions;

	if (n == 0 || time >= zone->at[n - 1]) {
		int64_t begin = n ? zone->at[n - 1] : INT64_MIN;
		if (!zone->rule.present)
			return (struct period){begin, INT64_MAX, zone->offsets[n]};
		struct period period = period_by_rule(&zone->rule, time);
		if (period.begin < begin)
			period.begin = begin;
		return period;
	}
	size_t low = 0, high = n - 1; /* the first transition after `time` is in [low, high] */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (zone->at[middle] > time)
			high = middle;
		else
			low = middle + 1;
	}
	return (struct period){low ? zone->at[low - 1] : INT64_MIN, zone->at[low], zone->offsets[low]};
}

static int64_t seconds_of(cl_instant instant)
{
	return divide(instant, CL_SECOND);
}

int32_t cl_zone_offset(const struct cl_zone *zone, cl_instant instant)
{
	return find_period(zone, seconds_of(instant)).offset;
}

static struct cl_local split(int64_t local)
{
	int64_t days = day_of(local);
	int second = (int)(local - days * DAY_SECONDS);

	return (struct cl_local){.date = cl_date_from_days(days),
	                         .hour = second / 3600,
	                         .minute = second / 60 % 60,
	                         .second = second % 60,
	                         .weekday = cl_date_weekday(days)};
}

struct cl_local cl_zone_local(const struct cl_zone *zone, cl_instant instant)
{
	int64_t time = seconds_of(instant);
	return split(time + find_period(zone, time).offset);
}

cl_instant cl_zone_instant(const struct cl_zone *zone, struct cl_date date, int hour, int minute, int second)
{
	int64_t local = cl_date_to_days(date) * DAY_SECONDS + (int64_t)hour * 3600 + (int64_t)minute * 60 + second;
	if (local > FARTHEST_TIME)
		local = FARTHEST_TIME;
	if (local < -FARTHEST_TIME)
		local = -FARTHEST_TIME;

	/* All periods that could have `local`, in their order. Where one ends before it locally and the next begins
	 * after it is a gap, which counts only when no later period has `local` after all. */
	struct period period = find_period(zone, local - FARTHEST_OFFSET);
	int32_t before = period.offset;
	bool in_gap = false;
	int64_t moved = 0;
	for (;;) {
		int64_t time = local - period.offset;
		if (time < period.end) {
			if (time >= period.begin)
				return time * CL_SECOND;
			if (!in_gap)
				moved = local - before;
			in_gap = true;
		}
		if (period.end > local + FARTHEST_OFFSET)
			return moved * CL_SECOND;
		before = period.offset;
		period = find_period(zone, period.end);
	}
}

struct cl_str cl_zone_text(struct cl_arena *arena, const struct cl_zone *zone, cl_instant instant)
{
	int64_t time = seconds_of(instant);
	/* Offsets before standard time have seconds, which the format has not: the instant stays right by using the
	 * same whole minutes for both parts. */
	int32_t minutes = find_period(zone, time).offset / 60;
	struct cl_local local = split(time + minutes * 60);
	int distance = minutes < 0 ? -minutes : minutes;
	return cl_arena_printf(arena, "%04d-%02d-%02dT%02d:%02d:%02d%c%02d:%02d", local.date.year, local.date.month,
	                       local.date.day, local.hour, local.minute, local.second, minutes < 0 ? '-' : '+',
	                       distance / 60, distance % 60);
}

const char *cl_zone_name(const struct cl_zone *zone)
{
	return zone->name;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

struct header {
	size_t utc_flags, wall_flags, leaps, times, types, letters; /* counts */
};

#define HEADER_SIZE 44

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t get64(const unsigned char *p)
{
	return (int64_t)((uint64_t)get32(p) << 32 | get32(p + 4));
}

static bool read_header(const unsigned char *p, size_t left, struct header *out)
{
	if (left < HEADER_SIZE || memcmp(p, "TZif", 4) != 0)
		return false;
	*out = (struct header){get32(p + 20), get32(p + 24), get32(p + 28),
	                       get32(p + 32), get32(p + 36), get32(p + 40)};
	return true;
}

/* Bytes of a data block whose times are `width` wide. Counts are 32 bits, so this cannot overflow. */
static size_t data_size(const struct header *h, size_t width)
{
	return h->times * width + h->times + h->types * 6 + h->letters + h->leaps * (width + 4) + h->wall_flags +
	       h->utc_flags;
}

static bool name_is_legal(const char *name)
{
	size_t n = strnlen(name, LONGEST_NAME);
	const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/";

	return n > 0 && n < LONGEST_NAME && strspn(name, allowed) == n && name[0] != '/' && name[n - 1] != '/' &&
	       !strstr(name, "//");
}

/* Fills the zone from a checked block. NULL, or what is wrong. */
static const char *read_block(struct cl_zone *zone, const unsigned char *p, const struct header *h)
{
	const unsigned char *times = p, *indexes = times + h->times * 8, *types = indexes + h->times;
	size_t n = h->times;

	zone->at = malloc((n + 1) * sizeof *zone->at);
	zone->offsets = malloc((n + 1) * sizeof *zone->offsets);
	if (!zone->at || !zone->offsets)
		cl_die("out of memory (timezone)");
	for (size_t i = 0; i < h->types; i++) {
		int32_t offset = (int32_t)get32(types + i * 6);
		if (offset <= -FARTHEST_OFFSET || offset >= FARTHEST_OFFSET)
			return "an offset is out of range";
	}
	zone->offsets[0] = (int32_t)get32(types);
	zone->transitions = n;
	for (size_t i = 0; i < n; i++) {
		zone->at[i] = get64(times + i * 8);
		if (i && zone->at[i] <= zone->at[i - 1])
			return "its transitions are not in order";
		if (indexes[i] >= h->types)
			return "a transition has no type";
		zone->offsets[i + 1] = (int32_t)get32(types + indexes[i] * 6);
	}
	return NULL;
}

static const char *read_file(struct cl_zone *zone, struct cl_str bytes)
{
	const unsigned char *p = (const unsigned char *)(bytes.p ? bytes.p : ""), *end = p + bytes.n;
	struct header header;

	if (!read_header(p, bytes.n, &header))
		return "it does not begin as a TZif file";
	if (p[4] < '2')
		return "it is of version 1, which has no 64-bit times";
	size_t skip = HEADER_SIZE + data_size(&header, 4);
	if (skip > bytes.n || !read_header(p + skip, bytes.n - skip, &header))
		return "its 64-bit part is missing";
	p += skip + HEADER_SIZE;
	size_t size = data_size(&header, 8);
	if (size > (size_t)(end - p))
		return "it is cut short";
	if (header.types == 0 || header.types > 256)
		return "it has no local time types, or too many";
	if (header.leaps)
		return "it counts leap seconds, which Careloop does not";
	const char *wrong = read_block(zone, p, &header);
	if (wrong)
		return wrong;
	p += size;
	if (p == end || *p != '\n')
		return "its rule is missing";
	p++;
	const unsigned char *newline = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
	if (!newline)
		return "its rule is cut short";
	if (!read_rule((struct cl_str){(const char *)p, (size_t)(newline - p)}, &zone->rule))
		return "its rule cannot be read";
	return NULL;
}

int cl_zone_parse(const char *name, struct cl_str bytes, struct cl_zone **out, struct cl_err *e)
{
	*out = NULL;
	if (!name_is_legal(name))
		return cl_fail(e, CL_E_INVALID, "\"%.80s\" is no time zone name; write one such as \"America/Chicago\"",
		               name);
	struct cl_zone *zone = calloc(1, sizeof *zone);
	if (!zone)
		cl_die("out of memory (timezone)");
	memcpy(zone->name, name, strlen(name) + 1);
	const char *wrong = read_file(zone, bytes);
	if (wrong) {
		cl_zone_free(zone);
		return cl_fail(e, CL_E_CORRUPT, "the data of time zone %s cannot be used: %s", name, wrong);
	}
	*out = zone;
	return 0;
}

void cl_zone_free(struct cl_zone *zone)
{
	if (!zone)
		return;
	free(zone->at);
	free(zone->offsets);
	free(zone);
}

/* At most `size` bytes of a regular file; -1 with errno. */
static ssize_t read_bytes(const char *path, char *out, size_t size)
{
	struct stat status;
	size_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return -1;
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
		close(fd);
		errno = ENOENT;
		return -1;
	}
	while (n < size) {
		ssize_t got = read(fd, out + n, size - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int saved = errno;
			close(fd);
			errno = saved;
			return -1;
		}
		if (got == 0)
			break;
		n += (size_t)got;
	}
	close(fd);
	return (ssize_t)n;
}

int cl_zone_open(const char *name, struct cl_zone **out, struct cl_err *e)
{
	char path[sizeof ZONE_FOLDER + LONGEST_NAME];

	*out = NULL;
	if (!name || !name_is_legal(name))
		return cl_fail(e, CL_E_INVALID, "\"%.80s\" is no time zone name; write one such as \"America/Chicago\"",
		               name ? name : "");
	snprintf(path, sizeof path, "%s%s", ZONE_FOLDER, name);
	char *bytes = malloc(LARGEST_FILE);
	if (!bytes)
		cl_die("out of memory (timezone)");
	ssize_t n = read_bytes(path, bytes, LARGEST_FILE);
	int rc;
	if (n >= 0)
		rc = cl_zone_parse(name, (struct cl_str){bytes, (size_t)n}, out, e);
	else if (errno == ENOENT || errno == ENOTDIR)
		rc = cl_fail(e, CL_E_NOT_FOUND, "there is no time zone \"%s\" in %s", name, ZONE_FOLDER);
	else
		rc = cl_fail(e, CL_E_IO, "time zone %s cannot be read: %m", name);
	free(bytes);
	return rc;
}

static char version[32] = "unknown";
static pthread_once_t version_found = PTHREAD_ONCE_INIT;

static bool copy_version(const char *text)
{
	size_t n = strcspn(text, " \t\r\n");

	if (n == 0 || n >= sizeof version)
		return false;
	memcpy(version, text, n);
	version[n] = 0;
	return true;
}

static void find_version(void)
{
	static const char mark[] = "# version ";
	char line[128];

	ssize_t n = read_bytes(ZONE_FOLDER "tzdata.zi", line, sizeof line - 1);
	if (n > 0) {
		line[n] = 0;
		if (strncmp(line, mark, sizeof mark - 1) == 0 && copy_version(line + sizeof mark - 1))
			return;
	}
	n = read_bytes(ZONE_FOLDER "+VERSION", line, sizeof line - 1);
	if (n > 0) {
		line[n] = 0;
		copy_version(line);
	}
}

const char *cl_zone_data_version(void)
{
	pthread_once(&version_found, find_version);
	return version;
}
