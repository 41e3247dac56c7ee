/* table.c: see table.h. Widths are those of utf8proc. */
#include "console/table.h"
#include <stdlib.h>
#include <utf8proc.h>

#define GAP 2 /* spaces between columns */
#define NARROWEST 4 /* a column is not cut below this */
#define COLUMNS_MAXIMUM 64
#define ELLIPSIS "\xe2\x80\xa6"

/* One character as it is shown. Returns the bytes it takes in the text; broken UTF-8 and control characters become
 * "?". */
static size_t next_character(struct cl_str text, size_t at, const char **shown, size_t *shown_n, int *width)
{
	utf8proc_int32_t point;
	utf8proc_ssize_t n =
	        utf8proc_iterate((const utf8proc_uint8_t *)text.p + at, (utf8proc_ssize_t)(text.n - at), &point);
	*shown = text.p + at;
	if (n <= 0 || point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0x200e && point <= 0x200f) ||
	    (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069)) {
		bool space = n > 0 && (point == '\n' || point == '\t' || point == '\r');
		*shown = space ? " " : "?";
		*shown_n = 1;
		*width = 1;
		return n > 0 ? (size_t)n : 1;
	}
	*shown_n = (size_t)n;
	*width = utf8proc_charwidth(point);
	return (size_t)n;
}

int cl_table_text_width(struct cl_str text)
{
	int total = 0, width;
	const char *shown;
	size_t n;
	for (size_t at = 0; at < text.n; total += width)
		at += next_character(text, at, &shown, &n, &width);
	return total;
}

/* Writes the text in at most `width` columns. Returns the columns used. */
static int print_text(struct cl_buf *out, struct cl_str text, int width)
{
	bool cut = cl_table_text_width(text) > width;
	int used = 0, one, room = cut ? width - 1 : width;
	const char *shown;
	size_t n;
	for (size_t at = 0; at < text.n;) {
		at += next_character(text, at, &shown, &n, &one);
		if (used + one > room)
			break;
		cl_buf_add(out, shown, n);
		used += one;
	}
	if (cut) {
		cl_buf_add_cstring(out, ELLIPSIS);
		used++;
	}
	return used;
}

/* What a cell shows: texts and numbers as they are, nothing for null, JSON for what is nested. */
static struct cl_str cell_text(struct cl_arena *arena, const struct cl_json *cell)
{
	if (!cell || cell->kind == CL_JSON_NULL)
		return CL_STR_NONE;
	if (cell->kind == CL_JSON_STRING || cell->kind == CL_JSON_NUMBER)
		return cell->text;
	if (cell->kind == CL_JSON_TRUE)
		return CL_STR("yes");
	if (cell->kind == CL_JSON_FALSE)
		return CL_STR("no");
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_write(&text, cell);
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

static const struct cl_json *array_of(const struct cl_json *answer, const char *name)
{
	const struct cl_json *value = cl_json_get(answer, name);
	return value && value->kind == CL_JSON_ARRAY ? value : NULL;
}

static const struct cl_json *cell_at(const struct cl_json *row, uint32_t column)
{
	return row->kind == CL_JSON_ARRAY && column < row->count ? &row->items[column] : NULL;
}

static uint32_t column_count(const struct cl_json *columns)
{
	return columns->count < COLUMNS_MAXIMUM ? columns->count : COLUMNS_MAXIMUM;
}

struct layout {
	int width[COLUMNS_MAXIMUM];
	bool right[COLUMNS_MAXIMUM];
};

/* Natural widths, then the widest column gives way until all fit. */
static void measure(struct cl_arena *arena, const struct cl_json *columns, const struct cl_json *rows, int terminal,
                    struct layout *layout)
{
	uint32_t count = column_count(columns);
	int total = count ? GAP * ((int)count - 1) : 0;
	for (uint32_t c = 0; c < count; c++) {
		bool number = rows->count > 0;
		layout->width[c] = cl_table_text_width(cell_text(arena, &columns->items[c]));
		for (uint32_t r = 0; r < rows->count; r++) {
			const struct cl_json *cell = cell_at(&rows->items[r], c);
			int width = cl_table_text_width(cell_text(arena, cell));
			number &= !cell || cell->kind == CL_JSON_NUMBER || cell->kind == CL_JSON_NULL;
			if (width > layout->width[c])
				layout->width[c] = width;
		}
		layout->right[c] = number;
		total += layout->width[c];
	}
	while (terminal > 0 && total > terminal) {
		uint32_t widest = 0;
		for (uint32_t c = 1; c < count; c++)
			if (layout->width[c] > layout->width[widest])
				widest = c;
		if (layout->width[widest] <= NARROWEST)
			break;
		int second = NARROWEST;
		for (uint32_t c = 0; c < count; c++)
			if (c != widest && layout->width[c] > second)
				second = layout->width[c];
		int less = layout->width[widest] - second;
		if (less < 1)
			less = 1;
		if (less > total - terminal)
			less = total - terminal;
		layout->width[widest] -= less;
		total -= less;
	}
}

static void spaces(struct cl_buf *out, int count)
{
	for (; count > 0; count--)
		cl_buf_add_byte(out, ' ');
}

static void print_row(struct cl_buf *out, struct cl_arena *arena, const struct cl_json *row, uint32_t count,
                      const struct layout *layout)
{
	for (uint32_t c = 0; c < count; c++) {
		struct cl_str text = cell_text(arena, cell_at(row, c));
		int width = layout->width[c], own = cl_table_text_width(text);
		int blank = own < width ? width - own : 0;
		if (layout->right[c])
			spaces(out, blank);
		int used = print_text(out, text, width) + (layout->right[c] ? blank : 0);
		if (c + 1 < count)
			spaces(out, width - used + GAP);
	}
	cl_buf_add_byte(out, '\n');
}

/* A text of several lines: line breaks and tabs stay, nothing else gets through to the terminal. */
static void print_lines(struct cl_buf *out, struct cl_str text)
{
	const char *shown;
	size_t n;
	int width;
	for (size_t at = 0; at < text.n;) {
		char c = text.p[at];
		size_t bytes = next_character(text, at, &shown, &n, &width);
		if (c == '\n' || c == '\t')
			cl_buf_add_byte(out, c);
		else
			cl_buf_add(out, shown, n);
		at += bytes;
	}
	if (text.n && text.p[text.n - 1] != '\n')
		cl_buf_add_byte(out, '\n');
}

void cl_table_print(struct cl_buf *out, const struct cl_json *answer, const struct cl_table_style *style)
{
	const struct cl_json *columns = array_of(answer, "columns"), *rows = array_of(answer, "rows");
	struct cl_str text = cl_json_get_text(answer, "text");
	if (columns && rows) {
		struct layout layout;
		struct cl_arena *arena = cl_arena_new(0);
		uint32_t count = column_count(columns);
		measure(arena, columns, rows, style->width, &layout);
		if (style->colour)
			cl_buf_add_cstring(out, "\x1b[1m");
		print_row(out, arena, columns, count, &layout);
		if (style->colour)
			cl_buf_add_cstring(out, "\x1b[0m");
		for (uint32_t r = 0; r < rows->count; r++)
			print_row(out, arena, &rows->items[r], count, &layout);
		cl_buf_printf(out, "(%u row%s)\n", rows->count, rows->count == 1 ? "" : "s");
		cl_arena_free(arena);
	}
	print_lines(out, text);
}

static void csv_cell(struct cl_buf *out, struct cl_str text)
{
	bool quote = false;
	for (size_t i = 0; i < text.n; i++)
		quote |= text.p[i] == ',' || text.p[i] == '"' || text.p[i] == '\n' || text.p[i] == '\r';
	if (!quote) {
		cl_buf_add_str(out, text);
		return;
	}
	cl_buf_add_byte(out, '"');
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"')
			cl_buf_add_byte(out, '"');
		cl_buf_add_byte(out, text.p[i]);
	}
	cl_buf_add_byte(out, '"');
}

static void csv_row(struct cl_buf *out, struct cl_arena *arena, const struct cl_json *row, uint32_t count)
{
	for (uint32_t c = 0; c < count; c++) {
		if (c)
			cl_buf_add_byte(out, ',');
		csv_cell(out, cell_text(arena, cell_at(row, c)));
	}
	cl_buf_add_cstring(out, "\r\n");
}

void cl_table_csv(struct cl_buf *out, const struct cl_json *answer)
{
	const struct cl_json *columns = array_of(answer, "columns"), *rows = array_of(answer, "rows");
	if (!columns || !rows) {
		struct cl_str text = cl_json_get_text(answer, "text");
		cl_buf_add_str(out, text);
		if (text.n && text.p[text.n - 1] != '\n')
			cl_buf_add_byte(out, '\n');
		return;
	}
	struct cl_arena *arena = cl_arena_new(0);
	csv_row(out, arena, columns, columns->count);
	for (uint32_t r = 0; r < rows->count; r++)
		csv_row(out, arena, &rows->items[r], columns->count);
	cl_arena_free(arena);
}

void cl_table_json(struct cl_buf *out, const struct cl_json *answer)
{
	const struct cl_json *columns = array_of(answer, "columns"), *rows = array_of(answer, "rows");
	if (!columns || !rows) {
		cl_buf_add_cstring(out, "{\"text\":");
		cl_json_write_text(out, cl_json_get_text(answer, "text"));
		cl_buf_add_cstring(out, "}\n");
		return;
	}
	cl_buf_add_byte(out, '[');
	for (uint32_t r = 0; r < rows->count; r++) {
		cl_buf_add_cstring(out, r ? ",{" : "{");
		for (uint32_t c = 0; c < columns->count; c++) {
			const struct cl_json *cell = cell_at(&rows->items[r], c);
			if (c)
				cl_buf_add_byte(out, ',');
			cl_json_write_text(out, cl_json_text(&columns->items[c]));
			cl_buf_add_byte(out, ':');
			if (cell)
				cl_json_write(out, cell);
			else
				cl_buf_add_cstring(out, "null");
		}
		cl_buf_add_byte(out, '}');
	}
	cl_buf_add_cstring(out, "]\n");
}
