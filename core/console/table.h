/* table.h: an answer of the server as text for people, as CSV, or as JSON. */
#pragma once
#include "base/json.h"

struct cl_table_style {
	int width; /* columns of the terminal; 0: as wide as needed */
	bool colour; /* escape sequences for the heading */
};

/* `answer` is an object with "columns" and "rows", "text", or both. Cells that do not fit end in "…"; control
 * characters are shown as "?", so that data cannot move the cursor. Numbers stand right. */
void cl_table_print(struct cl_buf *out, const struct cl_json *answer, const struct cl_table_style *style);
/* RFC 4180 with a heading. An answer without a table gives its text. */
void cl_table_csv(struct cl_buf *out, const struct cl_json *answer);
/* One line: an array of objects named by the columns, or {"text":...}. */
void cl_table_json(struct cl_buf *out, const struct cl_json *answer);
/* How many terminal columns a text takes. */
int cl_table_text_width(struct cl_str text);
