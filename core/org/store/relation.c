/* relation.c: FHIR's prefixes (R4 section 3.1.1.4.6) on intervals, as boxes in the plane of (lower, upper). Both faces
 * of a criterion use the same boxes, so they cannot disagree.
 *
 *   eq  the searched interval contains the stored one       ne  it does not
 *   gt  the stored one reaches above the searched one       lt  it begins below it
 *   ge  gt or eq                                            le  lt or eq
 *   sa  it begins at or after the searched one's end        eb  it ends at or before its beginning
 *   ap  they overlap, the searched one widened: times by a tenth of its length on both sides, numbers to a tenth of the
 *       value. A caller that wants R4's tenth of the distance from now widens the interval itself. */
#include "org/store/internal.h"
#include <math.h>

static int64_t saturated_add(int64_t a, int64_t b)
{
	int64_t sum;
	return __builtin_add_overflow(a, b, &sum) ? (b < 0 ? INT64_MIN : INT64_MAX) : sum;
}

static bool add_box(struct cl_box *box, int64_t lower_least, int64_t lower_most, int64_t upper_least,
                    int64_t upper_most)
{
	*box = (struct cl_box){lower_least, lower_most, upper_least, upper_most};
	return lower_least <= lower_most && upper_least <= upper_most;
}

unsigned cl_relation_boxes(uint8_t relation, int64_t lower, int64_t upper, struct cl_box out[2])
{
	/* An excluded bound is the next integer; past the ends of time nothing is left. */
	const int64_t low = INT64_MIN, high = INT64_MAX;
	bool has_below = lower > low, has_above = upper < high;
	int64_t below = has_below ? lower - 1 : low, above = has_above ? upper + 1 : high;
	unsigned n = 0;

	switch (relation) {
	case CL_EQ:
		n += add_box(&out[n], lower, high, low, upper);
		break;
	case CL_NE:
		n += has_below && add_box(&out[n], low, below, low, high);
		n += has_above && add_box(&out[n], lower, high, above, high);
		break;
	case CL_GT:
		n += has_above && add_box(&out[n], low, high, above, high);
		break;
	case CL_LT:
		n += has_below && add_box(&out[n], low, below, low, high);
		break;
	case CL_GE:
		n += add_box(&out[n], lower, high, low, high);
		n += has_below && has_above && add_box(&out[n], low, below, above, high);
		break;
	case CL_LE:
		n += has_below && add_box(&out[n], low, below, low, high);
		n += add_box(&out[n], lower, high, low, upper);
		break;
	case CL_SA:
		n += add_box(&out[n], upper, high, low, high);
		break;
	case CL_EB:
		n += add_box(&out[n], low, high, low, lower);
		break;
	case CL_AP: {
		int64_t length = saturated_add(upper, lower == low ? high : -lower);
		int64_t margin = length > 0 ? length / 10 : 0;
		int64_t least = saturated_add(lower, -margin), most = saturated_add(upper, margin);
		if (least < high && most > low)
			n += add_box(&out[n], low, most - 1, least + 1, high);
		break;
	}
	default:
		break;
	}
	return n;
}

bool cl_relation_holds(uint8_t relation, int64_t lower, int64_t upper, int64_t stored_lower, int64_t stored_upper)
{
	struct cl_box boxes[2];
	/* One that ends before it begins is nowhere. */
	unsigned n = stored_lower <= stored_upper ? cl_relation_boxes(relation, lower, upper, boxes) : 0;
	for (unsigned i = 0; i < n; i++)
		if (stored_lower >= boxes[i].lower_least && stored_lower <= boxes[i].lower_most &&
		    stored_upper >= boxes[i].upper_least && stored_upper <= boxes[i].upper_most)
			return true;
	return false;
}

static unsigned number_box(struct cl_number_box *box, double low_least, double low_most, double high_least,
                           double high_most)
{
	*box = (struct cl_number_box){low_least, low_most, high_least, high_most};
	return low_least <= low_most && high_least <= high_most;
}

unsigned cl_relation_number_boxes(uint8_t relation, double low, double high, struct cl_number_box out[2])
{
	/* An excluded bound is the next double. Nothing lies beyond infinity. */
	const double least = -INFINITY, most = INFINITY;
	bool has_below = low > least, has_above = high < most;
	double below = nextafter(low, least), above = nextafter(high, most);
	unsigned n = 0;

	switch (relation) {
	case CL_EQ:
		n += number_box(&out[n], low, most, least, high);
		break;
	case CL_NE:
		n += has_below && number_box(&out[n], least, below, least, most);
		n += has_above && number_box(&out[n], low, most, above, most);
		break;
	case CL_GT:
		n += has_above && number_box(&out[n], least, most, above, most);
		break;
	case CL_LT:
		n += has_below && number_box(&out[n], least, below, least, most);
		break;
	case CL_GE:
		n += number_box(&out[n], low, most, least, most);
		n += has_below && has_above && number_box(&out[n], least, below, above, most);
		break;
	case CL_LE:
		n += has_below && number_box(&out[n], least, below, least, most);
		n += number_box(&out[n], low, most, least, high);
		break;
	case CL_SA:
		n += number_box(&out[n], high, most, least, most);
		break;
	case CL_EB:
		n += number_box(&out[n], least, most, least, low);
		break;
	case CL_AP: {
		double middle = low / 2 + high / 2, margin = fabs(middle) / 10;
		double from = fmin(low, middle - margin), to = fmax(high, middle + margin);
		n += number_box(&out[n], least, nextafter(to, least), nextafter(from, most), most);
		break;
	}
	default:
		break;
	}
	return n;
}

bool cl_relation_holds_number(uint8_t relation, double low, double high, double stored_low, double stored_high)
{
	struct cl_number_box boxes[2];
	unsigned n = cl_relation_number_boxes(relation, low, high, boxes);
	for (unsigned i = 0; i < n; i++)
		if (stored_low >= boxes[i].low_least && stored_low <= boxes[i].low_most &&
		    stored_high >= boxes[i].high_least && stored_high <= boxes[i].high_most)
			return true;
	return false;
}

bool cl_prefix_end(struct cl_buf *out, struct cl_str prefix)
{
	cl_buf_clear(out);
	while (prefix.n && (unsigned char)prefix.p[prefix.n - 1] == 0xff)
		prefix.n--;
	if (!prefix.n)
		return false;
	cl_buf_add_str(out, prefix);
	out->p[out->n - 1] = (char)((unsigned char)out->p[out->n - 1] + 1);
	return true;
}
