/* values.c: the index values of one resource as one blob beside it, so that a criterion can be decided and a sort key
 * read without touching the index tables. Form: for each value in order a kind byte, the parameter, then what its kind
 * needs; numbers as LEB128, bounds as 8 bytes little-endian, texts with their length before them. */
#include "org/store/internal.h"
#include <stdlib.h>

static void add_number(struct cl_buf *out, uint64_t number)
{
	char bytes[10];
	size_t n = 0;
	do {
		bytes[n] = (char)(number & 0x7f);
		number >>= 7;
		if (number)
			bytes[n] = (char)(bytes[n] | (char)0x80);
		n++;
	} while (number);
	cl_buf_add(out, bytes, n);
}

static void add_text(struct cl_buf *out, struct cl_str text)
{
	add_number(out, text.n);
	cl_buf_add(out, text.n ? text.p : "", text.n);
}

static int add_symbol(struct cl_store *store, struct cl_buf *out, struct cl_str text, struct cl_err *e)
{
	int64_t number;
	int code = cl_symbol_number(store, text, true, &number, e);
	if (!code)
		add_number(out, (uint64_t)number);
	return code;
}

static bool is_measured(int64_t member)
{
	return CL_MEMBER_KIND(member) == CL_INDEX_NUMBER || CL_MEMBER_KIND(member) == CL_INDEX_QUANTITY;
}

int cl_values_encode(struct cl_store *store, const struct cl_index *index, struct cl_buf *out, struct cl_err *e)
{
	int code = 0;

	cl_buf_clear(out);
	for (size_t i = 0; !code && i < index->count; i++) {
		const struct cl_index_value *value = &index->values[i];
		cl_buf_add_byte(out, (char)value->kind);
		add_number(out, value->parameter);
		switch (value->kind) {
		case CL_INDEX_TOKEN:
		case CL_INDEX_REFERENCE:
			code = add_symbol(store, out, value->a, e);
			add_text(out, value->b);
			break;
		case CL_INDEX_DATE:
			cl_buf_add(out, &value->lower, 8);
			cl_buf_add(out, &value->upper, 8);
			break;
		case CL_INDEX_NUMBER:
		case CL_INDEX_QUANTITY:
			cl_buf_add(out, &value->low, 8);
			cl_buf_add(out, &value->high, 8);
			if (value->kind == CL_INDEX_QUANTITY) {
				code = add_symbol(store, out, value->a, e);
				add_text(out, value->b);
			}
			break;
		case CL_INDEX_STRING:
		case CL_INDEX_URI:
		case CL_INDEX_EXACT:
			add_text(out, value->a);
			break;
		case CL_INDEX_MEMBER:
			add_number(out, (uint64_t)value->lower);
			add_number(out, (uint64_t)value->upper);
			if (is_measured(value->upper)) {
				cl_buf_add(out, &value->low, 8);
				cl_buf_add(out, &value->high, 8);
			}
			code = add_symbol(store, out, value->a, e);
			add_text(out, value->b);
			break;
		case CL_INDEX_COMPARTMENT:
			add_text(out, value->b);
			break;
		default:
			return cl_fail(e, CL_E_INTERNAL, "index value of unknown kind %u", value->kind);
		}
	}
	return code;
}

struct reader {
	const unsigned char *p, *end;
	bool bad;
};

static uint64_t take_number(struct reader *in)
{
	uint64_t number = 0;
	for (unsigned shift = 0; in->p < in->end && shift < 64; shift += 7) {
		unsigned char byte = *in->p++;
		number |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return number;
	}
	in->bad = true;
	return 0;
}

static void take(struct reader *in, void *out, size_t n)
{
	if ((size_t)(in->end - in->p) < n) {
		in->bad = true;
		return;
	}
	memcpy(out, in->p, n);
	in->p += n;
}

static struct cl_str take_text(struct reader *in)
{
	uint64_t n = take_number(in);
	if (in->bad || n > (uint64_t)(in->end - in->p)) {
		in->bad = true;
		return CL_STR_NONE;
	}
	struct cl_str text = {(const char *)in->p, (size_t)n};
	in->p += n;
	return text;
}

static int take_value(struct cl_store *store, struct cl_values *values, struct reader *in, struct cl_index_value *value,
                      struct cl_err *e)
{
	value->kind = *in->p++;
	value->parameter = (uint16_t)take_number(in);
	switch (value->kind) {
	case CL_INDEX_DATE:
		take(in, &value->lower, 8);
		take(in, &value->upper, 8);
		return 0;
	case CL_INDEX_STRING:
	case CL_INDEX_URI:
	case CL_INDEX_EXACT:
		value->a = take_text(in);
		return 0;
	case CL_INDEX_MEMBER:
		value->lower = (int64_t)take_number(in);
		value->upper = (int64_t)take_number(in);
		if (is_measured(value->upper)) {
			take(in, &value->low, 8);
			take(in, &value->high, 8);
		}
		break;
	case CL_INDEX_COMPARTMENT:
		value->b = take_text(in);
		return 0;
	case CL_INDEX_NUMBER:
	case CL_INDEX_QUANTITY:
		take(in, &value->low, 8);
		take(in, &value->high, 8);
		if (value->kind == CL_INDEX_NUMBER)
			return 0;
		break;
	case CL_INDEX_TOKEN:
	case CL_INDEX_REFERENCE:
		break;
	default:
		in->bad = true;
		return 0;
	}
	uint64_t symbol = take_number(in);
	value->b = take_text(in);
	return in->bad ? 0 : cl_symbol_text(store, (int64_t)symbol, values, &value->a, e);
}

int cl_values_decode(struct cl_store *store, struct cl_str encoded, struct cl_values *out, struct cl_err *e)
{
	while (out->rare_count)
		free(out->rare[--out->rare_count]);
	out->bytes = cl_grow(out->bytes, &out->bytes_capacity, encoded.n + 1, 1);
	if (encoded.n)
		memcpy(out->bytes, encoded.p, encoded.n);
	struct reader in = {(const unsigned char *)out->bytes, (const unsigned char *)out->bytes + encoded.n, false};
	size_t count = 0;
	int code = 0;
	while (!code && in.p < in.end && !in.bad) {
		out->index.values = cl_grow(out->index.values, &out->capacity, count + 1, sizeof(*out->index.values));
		struct cl_index_value *value = &out->index.values[count++];
		*value = (struct cl_index_value){0};
		code = take_value(store, out, &in, value, e);
	}
	out->index.count = count;
	if (!code && in.bad)
		return cl_fail(e, CL_E_CORRUPT, "stored index values cannot be read");
	return code;
}

void cl_values_free(struct cl_values *values)
{
	while (values->rare_count)
		free(values->rare[--values->rare_count]);
	free(values->rare);
	free(values->bytes);
	free(values->index.values);
	*values = (struct cl_values){0};
}

int cl_values_load(struct cl_store *store, int64_t row, struct cl_values *out, cl_instant *updated, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, "SELECT updated, content FROM live WHERE row = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, row);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code;
	if (updated)
		*updated = sqlite3_column_int64(statement, 0);
	code = cl_values_decode(store, cl_column_borrow(statement, 1), out, e);
	sqlite3_reset(statement);
	return code ? code : 1;
}

size_t cl_values_find(const struct cl_index *index, uint8_t kind, uint16_t parameter,
                      const struct cl_index_value **first)
{
	size_t low = 0, high = index->count;
	bool any = kind == CL_INDEX_COMPARTMENT;

	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct cl_index_value *value = &index->values[middle];
		if (value->kind < kind || (value->kind == kind && !any && value->parameter < parameter))
			low = middle + 1;
		else
			high = middle;
	}
	*first = index->values + low;
	size_t end = low;
	while (end < index->count && index->values[end].kind == kind &&
	       (any || index->values[end].parameter == parameter))
		end++;
	return end - low;
}
