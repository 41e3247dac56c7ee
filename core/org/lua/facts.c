/* facts.c: what rules need to know of the organization, from its configuration: zone, holidays, hours, partners. */
#include "base/closest.h"
#include "base/destination.h"
#include "org/lua/internal.h"
#include <stdlib.h>

struct reading {
	struct cl_lua *lua;
	struct cl_str file; /* "riverside.lua", for problems */
};

#define PROBLEM(reading, ...) cl_problem((reading)->lua, (reading)->file, 0, __VA_ARGS__)

/* Names that some part of Careloop reads; a slip of the pen must not be passed over in silence. */
static const char *const known_fields[] = {
        "id",          "name",          "zone",          "hours",         "holidays",   "reference",
        "url",         "model",         "programs",      "services",      "connectors", "plugins",
        "partners",    "principals",    "settings",      "metrics",       "host",       "hosts",
        "summary",     "logo",          "limits",        "witness",       "retention",  "mail",
        "courier",     "sessions",      "import_spread", "hold_outgoing", "digests",    "escalation_ceilings",
        "reply_links", "subscriptions",
};

static void check_fields(const struct reading *reading, const struct cl_json *organization)
{
	for (uint32_t i = 0; i < organization->count; i++) {
		struct cl_str name = organization->members[i].name;
		struct cl_closest closest = {.wanted = name};
		bool found = false;
		for (size_t k = 0; k < sizeof known_fields / sizeof *known_fields && !found; k++) {
			found = cl_str_is(name, known_fields[k]);
			cl_closest_offer(&closest, known_fields[k]);
		}
		if (!found && closest.best)
			PROBLEM(reading, "unknown field '%.*s'; did you mean '%s'?", CL_STR_ARGS(name), closest.best);
		else if (!found)
			PROBLEM(reading, "unknown field '%.*s'", CL_STR_ARGS(name));
	}
}

static struct cl_str text_field(const struct reading *reading, const struct cl_json *organization, const char *name)
{
	const struct cl_json *value = cl_json_get(organization, name);
	if (value && value->kind != CL_JSON_STRING)
		PROBLEM(reading, "%s must be text", name);
	return value && value->kind == CL_JSON_STRING ? cl_json_text(value) : CL_STR_NONE;
}

static void read_zone(const struct reading *reading, const struct cl_json *organization)
{
	struct cl_str name = text_field(reading, organization, "zone");
	struct cl_err e = {0};
	if (!name.n)
		PROBLEM(reading, "zone is missing: say zone = \"America/Chicago\", an IANA time zone");
	else if (cl_zone_open(cl_arena_cstring(reading->lua->arena, name), &reading->lua->zone, &e))
		PROBLEM(reading, "zone '%.*s': %s", CL_STR_ARGS(name), e.message);
	reading->lua->facts.calendar.zone = reading->lua->zone;
}

static int compare_days(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void read_holidays(const struct reading *reading, const struct cl_json *list)
{
	struct cl_calendar *calendar = &reading->lua->facts.calendar;
	if (!list || (list->kind == CL_JSON_ARRAY && list->count == 0))
		return;
	if (list->kind != CL_JSON_ARRAY) {
		PROBLEM(reading, "holidays must be a list of dates");
		return;
	}
	int64_t *days = CL_NEW_ARRAY(reading->lua->arena, int64_t, list->count);
	for (uint32_t i = 0; i < list->count; i++) {
		struct cl_str text = cl_json_text(&list->items[i]);
		struct cl_moment moment;
		if (cl_moment_parse(text, 0, &moment, NULL) || moment.precision != CL_DAY_PRECISION) {
			PROBLEM(reading, "holidays[%u]: '%.*s' is no date such as 2026-11-26", i + 1,
			        CL_STR_ARGS(text));
			continue;
		}
		days[calendar->holiday_count++] = moment.lower / CL_DAY;
	}
	qsort(days, calendar->holiday_count, sizeof *days, compare_days);
	calendar->holidays = days;
}

/* "08:00" in minutes after midnight; -1 when it is none. */
static int read_minute(struct cl_str text)
{
	if (text.n != 5 || text.p[2] != ':')
		return -1;
	for (size_t i = 0; i < 5; i++)
		if (i != 2 && (text.p[i] < '0' || text.p[i] > '9'))
			return -1;
	int hour = (text.p[0] - '0') * 10 + text.p[1] - '0', minute = (text.p[3] - '0') * 10 + text.p[4] - '0';
	return hour > 24 || minute > 59 || (hour == 24 && minute) ? -1 : hour * 60 + minute;
}

static void read_workdays(const struct reading *reading, const struct cl_json *list)
{
	static const char *const names[] = {"monday", "tuesday",  "wednesday", "thursday",
	                                    "friday", "saturday", "sunday"};
	struct cl_calendar *calendar = &reading->lua->facts.calendar;
	if (!list)
		return;
	if (list->kind != CL_JSON_ARRAY || !list->count) {
		PROBLEM(reading, "hours.days must be a list such as { \"monday\", \"tuesday\" }");
		return;
	}
	calendar->workdays = 0;
	for (uint32_t i = 0; i < list->count; i++) {
		unsigned day = 0;
		while (day < 7 && !cl_str_is(cl_json_text(&list->items[i]), names[day]))
			day++;
		if (day == 7)
			PROBLEM(reading, "hours.days[%u]: '%.*s' is no day of the week", i + 1,
			        CL_STR_ARGS(cl_json_text(&list->items[i])));
		else
			calendar->workdays |= (uint8_t)(1u << day);
	}
}

static void read_hours(const struct reading *reading, const struct cl_json *hours)
{
	struct cl_calendar *calendar = &reading->lua->facts.calendar;
	calendar->workdays = 0x1f;
	calendar->opens = 8 * 60;
	calendar->closes = 17 * 60;
	if (!hours)
		return;
	if (hours->kind != CL_JSON_OBJECT) {
		PROBLEM(reading, "hours must be a table: { opens = \"08:00\", closes = \"17:00\", days = { ... } }");
		return;
	}
	for (uint32_t i = 0; i < hours->count; i++) {
		struct cl_str name = hours->members[i].name;
		const struct cl_json *value = &hours->members[i].value;
		if (cl_str_is(name, "days")) {
			read_workdays(reading, value);
		} else if (cl_str_is(name, "opens") || cl_str_is(name, "closes")) {
			int minute = read_minute(cl_json_text(value));
			if (minute < 0)
				PROBLEM(reading, "hours.%.*s must be a time such as \"08:00\"", CL_STR_ARGS(name));
			else if (cl_str_is(name, "opens"))
				calendar->opens = (int16_t)minute;
			else
				calendar->closes = (int16_t)minute;
		} else {
			PROBLEM(reading, "unknown field 'hours.%.*s'; it has opens, closes and days",
			        CL_STR_ARGS(name));
		}
	}
	if (calendar->opens >= calendar->closes)
		PROBLEM(reading, "hours.opens must be before hours.closes");
}

static void read_partners(const struct reading *reading, const struct cl_json *partners)
{
	struct cl_organization_facts *facts = &reading->lua->facts;
	if (!partners || (partners->kind == CL_JSON_ARRAY && partners->count == 0))
		return;
	if (partners->kind != CL_JSON_OBJECT) {
		PROBLEM(reading, "partners must be a table by id: { lakeside = { name = ... } }");
		return;
	}
	facts->partners = CL_NEW_ARRAY(reading->lua->arena, struct cl_str, partners->count);
	for (uint32_t i = 0; i < partners->count; i++) {
		if (partners->members[i].value.kind != CL_JSON_OBJECT)
			PROBLEM(reading, "partners.%.*s must be a table", CL_STR_ARGS(partners->members[i].name));
		/* Notifications stand in the outbox beside messages, as "subscription:<id>". */
		if (memchr(partners->members[i].name.p, ':', partners->members[i].name.n))
			PROBLEM(reading, "partners.%.*s: an id has no ':'", CL_STR_ARGS(partners->members[i].name));
		facts->partners[facts->partner_count++] = partners->members[i].name;
	}
}

/* A duration that the core reads where it needs it. */
static void check_duration(const struct reading *reading, const struct cl_json *organization, const char *name)
{
	const struct cl_json *value = cl_json_get(organization, name);
	struct cl_duration duration;
	struct cl_err e = {0};
	if (value && (value->kind != CL_JSON_STRING || cl_duration_parse(cl_json_text(value), &duration, &e)))
		PROBLEM(reading, "%s must be a duration such as \"10 business days\"", name);
}

/* { role = "08:00" } or { role = 20 } */
static void check_by_role(const struct reading *reading, const struct cl_json *table, bool time)
{
	if (!table || (table->kind == CL_JSON_ARRAY && !table->count))
		return;
	for (uint32_t i = 0; table->kind == CL_JSON_OBJECT && i < table->count; i++) {
		struct cl_str role = table->members[i].name;
		const struct cl_json *value = &table->members[i].value;
		int64_t number = 0;
		if (time && read_minute(cl_json_text(value)) < 0)
			PROBLEM(reading, "digests.%.*s must be a time of day such as \"08:00\"", CL_STR_ARGS(role));
		if (!time && (!cl_json_integer(value, &number) || number < 1))
			PROBLEM(reading, "escalation_ceilings.%.*s must be a whole number from 1", CL_STR_ARGS(role));
	}
	if (table->kind != CL_JSON_OBJECT)
		PROBLEM(reading, "%s must be a table by role", time ? "digests" : "escalation_ceilings");
}

/* subscriptions = { destinations = { "https://hooks.example.org/careloop" }, most = 100, http = true, private_addresses = true } */
static void read_subscriptions(const struct reading *reading, const struct cl_json *table)
{
	struct cl_subscription_facts *facts = &reading->lua->facts.subscriptions;
	facts->most = CL_SUBSCRIPTIONS_MOST;
	if (!table || (table->kind == CL_JSON_ARRAY && table->count == 0))
		return;
	if (table->kind != CL_JSON_OBJECT) {
		PROBLEM(reading, "subscriptions must be a table: { destinations = { \"https://...\" } }");
		return;
	}
	for (uint32_t i = 0; i < table->count; i++) {
		struct cl_str name = table->members[i].name;
		const struct cl_json *value = &table->members[i].value;
		bool flag = value->kind == CL_JSON_TRUE || value->kind == CL_JSON_FALSE;
		if (cl_str_is(name, "http") && flag)
			facts->http = cl_json_is_true(value);
		else if (cl_str_is(name, "private_addresses") && flag)
			facts->private_addresses = cl_json_is_true(value);
		else if (cl_str_is(name, "most") && cl_json_integer(value, &facts->most) && facts->most >= 0)
			continue;
		else if (cl_str_is(name, "destinations") && value->kind == CL_JSON_ARRAY)
			facts->destinations = value;
		else
			PROBLEM(reading,
			        "subscriptions.%.*s: known are destinations (a list of addresses), most (a number), "
			        "http and "
			        "private_addresses (true or false)",
			        CL_STR_ARGS(name));
	}
	for (uint32_t i = 0; facts->destinations && i < facts->destinations->count; i++) {
		struct cl_err e = {0};
		struct cl_str text = cl_json_text(&facts->destinations->items[i]);
		if (cl_destination_check_pattern(text, &e))
			PROBLEM(reading, "subscriptions.destinations[%u] '%.*s': %s", i + 1, CL_STR_ARGS(text),
			        e.message);
		else if (cl_str_starts(text, "http://") && !facts->http)
			PROBLEM(reading, "subscriptions.destinations[%u]: http:// needs subscriptions.http = true",
			        i + 1);
	}
}

void cl_facts_read(struct cl_lua *lua, const struct cl_json *organization)
{
	struct cl_organization_facts *facts = &lua->facts;
	facts->config = cl_json_copy(lua->arena, organization);
	facts->id = cl_json_get_text(facts->config, "id");
	struct reading reading = {lua, cl_arena_printf(lua->arena, "%.*s.lua", CL_STR_ARGS(facts->id))};
	if (facts->config->kind != CL_JSON_OBJECT) {
		PROBLEM(&reading, "the configuration is no table");
		return;
	}
	if (!facts->id.n)
		PROBLEM(&reading, "the organization has no id");
	check_fields(&reading, facts->config);
	facts->name = text_field(&reading, facts->config, "name");
	if (!facts->name.n)
		facts->name = facts->id;
	facts->reference = text_field(&reading, facts->config, "reference");
	if (!facts->reference.n)
		facts->reference = cl_arena_printf(lua->arena, "Organization/%.*s", CL_STR_ARGS(facts->id));
	const struct cl_json *model = cl_json_get(facts->config, "model");
	facts->model = model && model->kind == CL_JSON_ARRAY && model->count
	                       ? cl_json_text(&model->items[0])
	                       : text_field(&reading, facts->config, "model");
	read_zone(&reading, facts->config);
	read_holidays(&reading, cl_json_get(facts->config, "holidays"));
	read_hours(&reading, cl_json_get(facts->config, "hours"));
	read_partners(&reading, cl_json_get(facts->config, "partners"));
	check_duration(&reading, facts->config, "import_spread");
	check_by_role(&reading, cl_json_get(facts->config, "digests"), true);
	check_by_role(&reading, cl_json_get(facts->config, "escalation_ceilings"), false);
	check_duration(&reading, facts->config, "hold_outgoing");
	read_subscriptions(&reading, cl_json_get(facts->config, "subscriptions"));
}
