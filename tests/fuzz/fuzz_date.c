/* fuzz_date.c: what is a FHIR date has a moment, moments are not empty, and instants survive their own text. */
#include "base/date.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static void check_instant(cl_instant instant)
{
	char text[28];
	struct cl_moment moment;
	struct cl_str shown = {text, cl_instant_format(instant, text)};

	must(shown.n == 24 && cl_is_fhir_instant(shown) && cl_is_fhir_date_time(shown));
	must(cl_moment_parse(shown, 0, &moment, NULL) == 0 && moment.has_zone && moment.precision == CL_FRACTION);
	if (instant >= -62135596800 * CL_SECOND && instant < 253402300800 * CL_SECOND)
		must(moment.lower <= instant && instant < moment.upper && moment.upper - moment.lower == 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cl_str text = {(const char *)data, size};
	struct cl_moment moment, shifted;
	bool is_date = cl_is_fhir_date(text), is_date_time = cl_is_fhir_date_time(text),
	     is_instant = cl_is_fhir_instant(text);
	int64_t number = 0;
	int months = 0;

	must(!is_date || is_date_time);
	must(!is_instant || (is_date_time && !is_date));
	must(!cl_is_fhir_time(text) || !is_date_time);
	if (cl_moment_parse(text, 0, &moment, NULL) == 0) {
		must(moment.lower < moment.upper);
		must(moment.upper - moment.lower <= 366 * CL_DAY);
		must(is_date == (moment.precision <= CL_DAY_PRECISION));
		must(is_instant == (moment.precision >= CL_SECOND_PRECISION && moment.has_zone));
		must(cl_moment_parse(text, 3600, &shifted, NULL) == 0);
		must(moment.lower - shifted.lower == (moment.has_zone ? 0 : CL_HOUR));
		check_instant(moment.lower);
	} else {
		must(!is_date_time);
	}
	memcpy(&number, data, size < sizeof number ? size : sizeof number);
	memcpy(&months, data, size < sizeof months ? size : sizeof months);
	check_instant(number);
	cl_date_from_days(number);
	int64_t days = number % 100000000;
	struct cl_date date = cl_date_from_days(days);
	must(cl_date_valid(date) && cl_date_to_days(date) == days);
	must(cl_date_weekday(days) >= 0 && cl_date_weekday(days) <= 6);
	must(cl_date_valid(cl_date_add_months(date, months % 1000000)));
	return 0;
}
