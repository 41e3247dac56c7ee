/* calendar_text.c: durations and recurrences as people write them. */
#include "base/closest.h"
#include "org/flow/calendar.h"

static const struct unit_name {
	const char *one, *many;
	enum cl_duration_unit unit;
} units[] = {
        {"minute", "minutes", CL_MINUTES},
        {"hour", "hours", CL_HOURS},
        {"business hour", "business hours", CL_BUSINESS_HOURS},
        {"day", "days", CL_DAYS},
        {"business day", "business days", CL_BUSINESS_DAYS},
        {"week", "weeks", CL_WEEKS},
        {"month", "months", CL_MONTHS},
        {"year", "years", CL_YEARS},
};
#define UNIT_COUNT (sizeof units / sizeof *units)
#define UNIT_LONGEST 32

static const char *const weekdays[] = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static struct cl_str trim(struct cl_str text)
{
	while (text.n && is_space(text.p[0]))
		text = (struct cl_str){text.p + 1, text.n - 1};
	while (text.n && is_space(text.p[text.n - 1]))
		text.n--;
	return text;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Takes digits from the front; false when there are none or more than nine. */
static bool take_number(struct cl_str *text, int32_t *out)
{
	size_t n = 0;
	int32_t value = 0;
	for (; n < text->n && is_digit(text->p[n]) && n < 9; n++)
		value = value * 10 + (text->p[n] - '0');
	if (n == 0 || (n < text->n && is_digit(text->p[n])))
		return false;
	*text = (struct cl_str){text->p + n, text->n - n};
	*out = value;
	return true;
}

/* Words with single spaces between them, so that "business  days" is known too. */
static struct cl_str single_spaced(struct cl_str text, char out[UNIT_LONGEST])
{
	size_t n = 0;
	for (size_t i = 0; i < text.n && n < UNIT_LONGEST; i++)
		if (!is_space(text.p[i]) || !is_space(text.p[i - 1]))
			out[n++] = is_space(text.p[i]) ? ' ' : text.p[i];
	return (struct cl_str){out, n};
}

static int no_duration(struct cl_str text, struct cl_str unit, struct cl_err *e)
{
	struct cl_closest closest = {.wanted = unit};
	for (size_t i = 0; i < UNIT_COUNT; i++)
		cl_closest_offer(&closest, units[i].many);
	if (closest.best)
		return cl_fail(e, CL_E_INVALID, "'%.*s' is no duration: did you mean '%s'?", CL_STR_ARGS(text),
		               closest.best);
	return cl_fail(
	        e, CL_E_INVALID,
	        "'%.*s' is no duration: write a whole number and minutes, hours, business hours, days, business days, "
	        "weeks, months or years, such as '2 business days'",
	        CL_STR_ARGS(text));
}

int cl_duration_parse(struct cl_str text, struct cl_duration *out, struct cl_err *e)
{
	struct cl_str rest = trim(text);
	char words[UNIT_LONGEST];
	bool negative = rest.n && rest.p[0] == '-';
	int32_t amount;
	if (negative)
		rest = (struct cl_str){rest.p + 1, rest.n - 1};
	if (!take_number(&rest, &amount) || !rest.n || !is_space(rest.p[0]))
		return no_duration(text, CL_STR_NONE, e);
	struct cl_str unit = single_spaced(trim(rest), words);
	for (size_t i = 0; i < UNIT_COUNT; i++) {
		if (!cl_str_is(unit, units[i].one) && !cl_str_is(unit, units[i].many))
			continue;
		if (amount > cl_duration_most(units[i].unit))
			return cl_fail(e, CL_E_INVALID, "'%.*s' is too long: at most %d %s", CL_STR_ARGS(text),
			               (int)cl_duration_most(units[i].unit), units[i].many);
		*out = (struct cl_duration){negative ? -amount : amount, (uint8_t)units[i].unit};
		return 0;
	}
	return no_duration(text, unit, e);
}

struct cl_str cl_duration_text(struct cl_arena *arena, struct cl_duration duration)
{
	for (size_t i = 0; i < UNIT_COUNT; i++)
		if ((uint8_t)units[i].unit == duration.unit)
			return cl_arena_printf(arena, "%d %s", (int)duration.amount,
			                       duration.amount == 1 || duration.amount == -1 ? units[i].one
			                                                                     : units[i].many);
	return CL_STR("none");
}

/* ---- recurrences ------------------------------------------------------------------------------------------------- */

static bool parse_time(struct cl_str text, int16_t *out)
{
	int32_t hour, minute;
	if (!take_number(&text, &hour) || text.n != 3 || text.p[0] != ':')
		return false;
	text = (struct cl_str){text.p + 1, 2};
	if (!take_number(&text, &minute) || text.n || hour > 23 || minute > 59)
		return false;
	*out = (int16_t)(hour * 60 + minute);
	return true;
}

static bool parse_monthly(struct cl_str days, uint8_t *out)
{
	int32_t day = 1;
	days = trim((struct cl_str){days.p + 7, days.n - 7});
	if (days.n && (!take_number(&days, &day) || days.n))
		return false;
	*out = (uint8_t)day;
	return day >= 1 && day <= 28;
}

static int no_days(struct cl_str days, struct cl_err *e)
{
	static const char *const known[] = {"daily", "weekdays", "business days", "monthly"};
	struct cl_closest closest = {.wanted = days};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		cl_closest_offer(&closest, known[i]);
	for (size_t i = 0; i < sizeof weekdays / sizeof *weekdays; i++)
		cl_closest_offer(&closest, weekdays[i]);
	if (closest.best)
		return cl_fail(e, CL_E_INVALID, "'%.*s' are no days: did you mean '%s'?", CL_STR_ARGS(days),
		               closest.best);
	return cl_fail(e, CL_E_INVALID,
	               "'%.*s' are no days: write 'daily', 'weekdays', 'business days', a weekday such as 'monday', "
	               "'monthly', or "
	               "'monthly 15' (1 to 28)",
	               CL_STR_ARGS(days));
}

int cl_recurrence_parse(struct cl_str time, struct cl_str days, struct cl_recurrence *out, struct cl_err *e)
{
	*out = (struct cl_recurrence){0};
	days = trim(days);
	if (!parse_time(trim(time), &out->minute))
		return cl_fail(e, CL_E_INVALID, "'%.*s' is no time of day: write '07:00' or '16:30'",
		               CL_STR_ARGS(time));
	if (cl_str_is(days, "daily")) {
		out->days = CL_EVERY_DAY;
	} else if (cl_str_is(days, "weekdays")) {
		out->days = CL_WEEKDAYS;
	} else if (cl_str_is(days, "business days")) {
		out->days = CL_EVERY_BUSINESS_DAY;
	} else if (cl_str_starts(days, "monthly")) {
		if (!parse_monthly(days, &out->day))
			return cl_fail(e, CL_E_INVALID,
			               "'%.*s' are no days: write 'monthly', or 'monthly 15' (1 to 28)",
			               CL_STR_ARGS(days));
		out->days = CL_MONTHLY;
	} else {
		for (uint8_t i = 0; i < 7; i++)
			if (cl_str_is(days, weekdays[i])) {
				out->days = CL_WEEKLY;
				out->weekday = i;
			}
	}
	return out->days ? 0 : no_days(days, e);
}
