/* index.c: the order of index values, and their normal form. */
#include "org/store/index.h"
#include <stdlib.h>

static int compare_integer(int64_t x, int64_t y)
{
	return (x > y) - (x < y);
}

static int compare_double(double x, double y)
{
	return (x > y) - (x < y);
}

/* Only what the kind's table holds counts, so that two equal values are also one row. */
int cl_index_compare(const struct cl_index_value *x, const struct cl_index_value *y)
{
	int order;

	if (x->kind != y->kind)
		return compare_integer(x->kind, y->kind);
	if (x->kind == CL_INDEX_COMPARTMENT)
		return cl_str_compare(x->b, y->b);
	if (x->parameter != y->parameter)
		return compare_integer(x->parameter, y->parameter);
	switch (x->kind) {
	case CL_INDEX_TOKEN:
	case CL_INDEX_REFERENCE:
		order = cl_str_compare(x->a, y->a);
		return order ? order : cl_str_compare(x->b, y->b);
	case CL_INDEX_DATE:
		order = compare_integer(x->lower, y->lower);
		return order ? order : compare_integer(x->upper, y->upper);
	case CL_INDEX_NUMBER:
	case CL_INDEX_QUANTITY:
		order = compare_double(x->low, y->low);
		if (!order)
			order = compare_double(x->high, y->high);
		if (order || x->kind == CL_INDEX_NUMBER)
			return order;
		order = cl_str_compare(x->a, y->a);
		return order ? order : cl_str_compare(x->b, y->b);
	case CL_INDEX_MEMBER:
		order = compare_integer(x->lower, y->lower);
		if (!order)
			order = compare_integer(x->upper, y->upper);
		if (!order)
			order = compare_double(x->low, y->low);
		if (!order)
			order = compare_double(x->high, y->high);
		if (!order)
			order = cl_str_compare(x->a, y->a);
		return order ? order : cl_str_compare(x->b, y->b);
	default:
		return cl_str_compare(x->a, y->a);
	}
}

static int compare(const void *x, const void *y)
{
	return cl_index_compare(x, y);
}

void cl_index_normalize(struct cl_index *index)
{
	size_t kept = 0;

	if (index->count < 2)
		return;
	qsort(index->values, index->count, sizeof(index->values[0]), compare);
	for (size_t i = 1; i < index->count; i++)
		if (cl_index_compare(&index->values[kept], &index->values[i]) != 0)
			index->values[++kept] = index->values[i];
	index->count = kept + 1;
}
