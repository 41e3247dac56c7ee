/* fuzz_timezone.c: hostile TZif files are refused, or give a zone in which every local time leads back. */
#include "base/timezone.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static bool same_local(struct cl_local a, struct cl_local b)
{
	return a.date.year == b.date.year && a.date.month == b.date.month && a.date.day == b.date.day &&
	       a.hour == b.hour && a.minute == b.minute && a.second == b.second;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int64_t times[] = {-5000000000, -1,         0,          951782400,   1078099200,
	                                1795324567,  2871763199, 4102444800, 250000000000};
	struct cl_zone *zone;
	struct cl_err error = {0};

	int rc = cl_zone_parse("Fuzz/Zone", (struct cl_str){(const char *)data, size}, &zone, &error);
	if (rc != 0) {
		must(rc == CL_E_CORRUPT && zone == NULL && error.message[0] != 0);
		return 0;
	}
	struct cl_arena *arena = cl_arena_new(0);
	for (size_t i = 0; i < sizeof times / sizeof *times; i++)
		for (int step = -3; step <= 3; step++) {
			cl_instant instant = (times[i] + step * 40009) * CL_SECOND;
			int32_t offset = cl_zone_offset(zone, instant);
			must(offset > -26 * 3600 && offset < 26 * 3600);
			struct cl_local local = cl_zone_local(zone, instant);
			cl_instant back = cl_zone_instant(zone, local.date, local.hour, local.minute, local.second);
			must(back <= instant && same_local(cl_zone_local(zone, back), local));
			cl_zone_text(arena, zone, instant);
		}
	cl_zone_offset(zone, INT64_MIN);
	cl_zone_offset(zone, INT64_MAX);
	cl_zone_instant(zone, (struct cl_date){INT32_MAX, 1, 1}, 0, 0, 0);
	cl_zone_instant(zone, (struct cl_date){INT32_MIN, 1, 1}, 0, 0, 0);
	cl_arena_free(arena);
	cl_zone_free(zone);
	return 0;
}
