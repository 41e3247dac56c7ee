/* report.c: views and metrics over HTTP: JSON, CSV, and MeasureReports. */
#include "org/engine/report.h"
#include "base/date.h"
#include "org/access/scope.h"
#include "org/fhir/types.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CL_VIEW_ROWS 1000
#define CL_METRIC_PERIODS 60 /* months or weeks */

/* Views and metrics read in a unit that never writes: on a search or the measure thread its store is read-only, on the writer its
 * savepoint is rolled back by nobody because nothing is changed. */
void cl_reading_unit(const struct cl_interaction_context *context, struct cl_unit *unit)
{
	struct cl_lua *lua = context->lua ? context->lua : context->organization ? context->rules->lua : NULL;
	cl_unit_begin(unit, context->store, context->arena, context->rules->catalog, context->rules->facts,
	              lua ? cl_lua_script(lua) : NULL, context->now);
	unit->actor = cl_access_actor(context->principal);
	unit->key = cl_request_hex(context->arena, context->request);
	if (lua)
		cl_lua_unit_begin(lua, unit);
}

static bool may_see_view(const struct cl_interaction_context *context, const struct cl_view *view, struct cl_err *e)
{
	struct cl_str rule;
	struct cl_err denied = {0};
	if (context->principal->console)
		return true;
	/* What a plugin computes may show anything; what the core lists are Tasks. */
	const struct cl_scopes *scopes = context->principal->scopes;
	bool within = view->function != CL_NO_FUNCTION
	                      ? cl_scopes_cover_all(scopes, CL_SCOPE_READ | CL_SCOPE_SEARCH)
	                      : cl_scopes_cover(scopes, CL_ACCESS_SEARCH, cl_fhir_type(CL_STR("Task")));
	if (!within) {
		cl_fail(e, CL_E_FORBIDDEN, "the scopes of this token do not cover the view '%.*s'",
		        CL_STR_ARGS(view->name));
		return false;
	}
	for (size_t i = 0; i < view->role_count; i++)
		for (size_t r = 0; r < context->principal->role_count; r++)
			if (cl_str_equal(view->roles[i], context->principal->roles[r]))
				return true;
	/* Partners may search Tasks, but only their own: rows that a plugin computes are not theirs to see unless it says so. */
	if (!view->role_count && !cl_str_is(context->principal->kind, "partner") &&
	    !cl_access_may(context->rules->access, context->principal, CL_ACCESS_SEARCH, cl_fhir_type(CL_STR("Task")),
	                   &rule, &denied))
		return true;
	cl_fail(e, CL_E_FORBIDDEN, "'%.*s' may not see the view '%.*s'", CL_STR_ARGS(context->principal->name),
	        CL_STR_ARGS(view->name));
	return false;
}

/* A workflow view shows instances; those whose Task the principal may not read are left out, as a search would. */
static void leave_out_unreadable(struct cl_interaction_context *context, const struct cl_view *view,
                                 struct cl_json *rows)
{
	size_t column = view->column_count;
	uint16_t task = cl_fhir_type(CL_STR("Task"));
	for (size_t i = 0; i < view->column_count; i++)
		if (cl_str_is(view->columns[i], "task"))
			column = i;
	if (!view->workflow.n || context->principal->console)
		return;
	if (column == view->column_count) {
		/* Nothing tells which Tasks these rows are: they are shown to who may see every Task. */
		struct cl_criterion *criterion = NULL;
		struct cl_str rule;
		struct cl_err denied = {0};
		if (cl_access_predicate(context->rules->access, context->arena, context->principal, CL_ACCESS_SEARCH,
		                        task, &criterion, &rule, &denied) ||
		    criterion)
			rows->count = 0;
		return;
	}
	uint32_t kept = 0;
	for (uint32_t i = 0; i < rows->count; i++) {
		struct cl_str reference = cl_json_text(&rows->items[i].items[column]);
		struct cl_str id = cl_str_starts(reference, "Task/") ? (struct cl_str){reference.p + 5, reference.n - 5}
		                                                     : reference;
		struct cl_version version;
		struct cl_str rule;
		struct cl_err e = {0};
		if (!cl_store_get(context->store, context->arena, task, id, &version, &e) &&
		    !cl_access_decide_row(context->rules->access, context->store, context->arena, context->principal,
		                          CL_ACCESS_SEARCH, task, version.row, &rule, &e))
			rows->items[kept++] = rows->items[i];
	}
	rows->count = kept;
}

static void write_csv_cell(struct cl_buf *out, const struct cl_json *value)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	if (!value || value->kind == CL_JSON_NULL)
		;
	else if (value->kind == CL_JSON_STRING)
		cl_buf_add_str(&text, value->text);
	else
		cl_json_write(&text, value);
	/* A cell that a spreadsheet would take for a formula is quoted with an apostrophe. */
	bool formula = text.n && strchr("=+-@\t\r", text.p[0]) && value->kind == CL_JSON_STRING;
	cl_buf_add_byte(out, '"');
	if (formula)
		cl_buf_add_byte(out, '\'');
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '"')
			cl_buf_add_byte(out, '"');
		cl_buf_add_byte(out, text.p[i]);
	}
	cl_buf_add_byte(out, '"');
	cl_buf_free(&text);
}

static void answer_rows(struct cl_interaction_context *context, const struct cl_view *view, const struct cl_json *rows)
{
	struct cl_arena *arena = context->arena;
	struct cl_str accept = cl_request_header(context->request, "accept");
	struct cl_buf out;
	cl_buf_init(&out, 0);
	if (accept.n && memmem(accept.p, accept.n, "text/csv", 8)) {
		for (size_t c = 0; c < view->column_count; c++)
			cl_buf_printf(&out, "%s%.*s", c ? "," : "", CL_STR_ARGS(view->columns[c]));
		cl_buf_add_cstring(&out, "\r\n");
		for (uint32_t r = 0; r < rows->count; r++) {
			for (uint32_t c = 0; c < rows->items[r].count; c++) {
				if (c)
					cl_buf_add_byte(&out, ',');
				write_csv_cell(&out, &rows->items[r].items[c]);
			}
			cl_buf_add_cstring(&out, "\r\n");
		}
		cl_interaction_answer_bytes(context, 200, "text/csv; charset=utf-8",
		                            cl_arena_copy(arena, cl_buf_str(&out)));
	} else {
		struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
		cl_json_set_text(arena, body, "view", view->name);
		cl_json_set_text(arena, body, "summary", view->summary);
		struct cl_json *columns = cl_json_set_array(arena, body, "columns");
		for (size_t c = 0; c < view->column_count; c++)
			cl_json_append_text(arena, columns, view->columns[c]);
		*cl_json_set(arena, body, CL_STR("rows")) = *rows;
		cl_json_write(&out, body);
		cl_interaction_answer_bytes(context, 200, "application/json; charset=utf-8",
		                            cl_arena_copy(arena, cl_buf_str(&out)));
	}
	cl_buf_free(&out);
}

int cl_view_all_rows(struct cl_interaction_context *context, const struct cl_view *view, struct cl_json **rows,
                     struct cl_err *e)
{
	struct cl_unit unit;
	struct cl_json *objects;
	cl_reading_unit(context, &unit);
	if (view->function == CL_NO_FUNCTION)
		return cl_view_rows(&unit, view, CL_VIEW_ROWS, rows, e);
	if (!context->organization)
		return cl_fail(e, CL_E_INTERNAL, "this view is computed by a plugin and needs the writer");
	int code = cl_lua_view(context->rules->lua, &unit, view, &objects, e);
	if (code)
		return code;
	*rows = cl_json_new(context->arena, CL_JSON_ARRAY);
	for (uint32_t r = 0; r < objects->count; r++) {
		struct cl_json *row = cl_json_append(context->arena, *rows);
		*row = *cl_json_new(context->arena, CL_JSON_ARRAY);
		for (size_t c = 0; c < view->column_count; c++) {
			struct cl_json *value = cl_json_get_str(&objects->items[r], view->columns[c]);
			struct cl_json *cell = cl_json_append(context->arena, row);
			if (value)
				*cell = *value;
		}
	}
	return 0;
}

int cl_interaction_views(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_catalog *catalog = context->rules->catalog;
	struct cl_arena *arena = context->arena;
	if (!context->route->name.n) {
		struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
		struct cl_json *list = cl_json_set_array(arena, body, "views");
		struct cl_err ignored = {0};
		for (size_t i = 0; i < catalog->view_count; i++) {
			if (!may_see_view(context, &catalog->views[i], &ignored))
				continue;
			struct cl_json *entry = cl_json_append(arena, list);
			*entry = *cl_json_new(arena, CL_JSON_OBJECT);
			cl_json_set_text(arena, entry, "name", catalog->views[i].name);
			cl_json_set_text(arena, entry, "summary", catalog->views[i].summary);
		}
		context->target = CL_STR("views");
		context->rule = CL_STR("views");
		struct cl_buf out;
		cl_buf_init(&out, 0);
		cl_json_write(&out, body);
		cl_interaction_answer_bytes(context, 200, "application/json; charset=utf-8",
		                            cl_arena_copy(arena, cl_buf_str(&out)));
		cl_buf_free(&out);
		return 0;
	}
	const struct cl_view *view = cl_catalog_view(catalog, context->route->name);
	struct cl_json *rows;
	context->target = cl_arena_printf(arena, "view/%.*s", CL_STR_ARGS(context->route->name));
	if (!view)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no view '%.*s'; GET /views lists them",
		               CL_STR_ARGS(context->route->name));
	if (!may_see_view(context, view, e))
		return CL_E_FORBIDDEN;
	context->rule = context->target;
	int code = cl_view_all_rows(context, view, &rows, e);
	if (code)
		return code;
	leave_out_unreadable(context, view, rows);
	answer_rows(context, view, rows);
	return 0;
}

/* ---- metrics ---- */

static long query_number(struct cl_str query, const char *name, long otherwise)
{
	char pattern[32], digits[16] = "";
	int n = snprintf(pattern, sizeof pattern, "%s=", name);
	const char *found = query.n ? memmem(query.p, query.n, pattern, (size_t)n) : NULL;
	for (size_t i = 0; found && i + 1 < sizeof digits; i++) {
		const char *c = found + n + i;
		if (c >= query.p + query.n || *c < '0' || *c > '9')
			break;
		digits[i] = *c;
	}
	return digits[0] ? strtol(digits, NULL, 10) : otherwise;
}

static struct cl_json *metric_row(struct cl_interaction_context *context, const struct cl_metric *metric,
                                  const struct cl_metric_result *result)
{
	struct cl_arena *arena = context->arena;
	struct cl_measure_sharing sharing = cl_measure_sharing(context->rules->catalog, cl_measure_is_shared(context));
	struct cl_measure_totals cases = {.n = result->n, .of = result->n};
	if (!isnan(result->denominator) && !isnan(result->numerator))
		cases.n = (int64_t)result->numerator;
	bool rate = cl_measure_may_rate(&sharing, &cases);
	struct cl_json *row = cl_json_new(arena, CL_JSON_OBJECT);
	const struct cl_unit unit = {.arena = arena, .organization = context->rules->facts};
	cl_json_set_text(arena, row, result->week ? "week" : "month", cl_metric_period(&unit, result));
	struct {
		const char *name;
		double value;
	} numbers[] = {{"value", rate ? result->value : NAN},
	               {"numerator", rate ? result->numerator : NAN},
	               {"denominator", rate ? result->denominator : NAN},
	               {"baseline", metric->baseline},
	               {"target", metric->target}};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		if (isnan(numbers[i].value))
			continue;
		struct cl_json *value = cl_json_set(arena, row, cl_str_of(numbers[i].name));
		value->kind = CL_JSON_NUMBER;
		value->text = cl_arena_printf(arena, "%.6g", numbers[i].value);
	}
	if (cl_measure_may_tell(&sharing, result->n))
		cl_json_set_integer(arena, row, "n", result->n);
	else
		cl_json_set_text(arena, row, "n", cl_arena_printf(arena, "<%lld", (long long)sharing.least));
	return row;
}

/* The last months or weeks, the present one included. */
static int metric_periods(struct cl_interaction_context *context, const struct cl_metric *metric, long count, bool week,
                          struct cl_metric_result *results, struct cl_err *e)
{
	const struct cl_calendar *calendar = &context->rules->facts->calendar;
	struct cl_unit unit;
	cl_reading_unit(context, &unit);
	for (long i = 0; i < count; i++) {
		int back = (int)(i - count + 1);
		cl_instant at = week ? cl_calendar_week_start(calendar, context->now, back)
		                     : cl_calendar_month_start(calendar, context->now, back);
		int code = week ? cl_metric_week(&unit, metric, at, &results[i], e)
		                : cl_metric_month(&unit, metric, at, &results[i], e);
		if (code)
			return code;
		/* One may take a tenth of a second, and there may be hundreds: others get at the file in between. */
		if (context->pause)
			context->pause(context->pausing);
	}
	return 0;
}

/* Patient outcomes, operations, finance: the order of every report. */
static void sort_by_category(struct cl_arena *arena, struct cl_json *list)
{
	static const char *const categories[] = {"outcomes", "operations", "finance", ""};
	struct cl_json *sorted = cl_json_new(arena, CL_JSON_ARRAY);
	for (size_t c = 0; c < sizeof categories / sizeof *categories; c++)
		for (uint32_t i = 0; i < list->count; i++)
			if (cl_str_is(cl_json_get_text(&list->items[i], "category"), categories[c]))
				*cl_json_append(arena, sorted) = list->items[i];
	*list = *sorted;
}

int cl_interaction_metrics(struct cl_interaction_context *context, struct cl_err *e)
{
	const struct cl_catalog *catalog = context->rules->catalog;
	struct cl_arena *arena = context->arena;
	struct cl_str name = context->route->name;
	context->target = name.n ? cl_arena_printf(arena, "metric/%.*s", CL_STR_ARGS(name)) : CL_STR("metrics");
	int code = cl_access_may(context->rules->access, context->principal, CL_ACCESS_METRICS, 0, &context->rule, e);
	if (code)
		return code;
	if (name.n && !cl_catalog_metric(catalog, name) && !cl_catalog_measure(catalog, name))
		return cl_fail(e, CL_E_NOT_FOUND, "there is no metric '%.*s'; GET /metrics lists them",
		               CL_STR_ARGS(name));
	long weeks = query_number(context->route->query, "weeks", -1), months = weeks;
	if (weeks < 0)
		months = query_number(context->route->query, "months", name.n ? 12 : 1);
	if (months < 1 || months > CL_METRIC_PERIODS)
		return cl_fail(e, CL_E_INVALID, "%s is 1 to %d", weeks < 0 ? "months" : "weeks", CL_METRIC_PERIODS);
	const char *periods = weeks < 0 ? "months" : "weeks";
	bool fhir =
	        context->route->query.n && memmem(context->route->query.p, context->route->query.n, "_format=fhir", 12);
	struct cl_metric_result results[CL_METRIC_PERIODS];
	struct cl_json *body = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_json *list = fhir ? NULL : cl_json_set_array(arena, body, "metrics");
	if (fhir) {
		cl_json_set_text(arena, body, "resourceType", CL_STR("Bundle"));
		cl_json_set_text(arena, body, "type", CL_STR("collection"));
		list = cl_json_set_array(arena, body, "entry");
	}
	for (size_t i = 0; i < catalog->metric_count; i++) {
		const struct cl_metric *metric = &catalog->metrics[i];
		if (name.n && !cl_str_equal(metric->name, name))
			continue;
		code = metric_periods(context, metric, months, weeks >= 0, results, e);
		if (code)
			return code;
		struct cl_json *entry = NULL;
		if (!fhir) {
			entry = cl_json_append(arena, list);
			*entry = *cl_json_new(arena, CL_JSON_OBJECT);
			cl_json_set_text(arena, entry, "name", metric->name);
			cl_json_set_text(arena, entry, "summary", metric->summary);
			cl_json_set_text(arena, entry, "category", metric->category);
			cl_json_set_text(arena, entry, "unit", metric->unit);
			cl_json_set_text(arena, entry, "better",
			                 metric->higher_is_better ? CL_STR("higher") : CL_STR("lower"));
			cl_json_set_array(arena, entry, periods);
		}
		struct cl_unit unit;
		cl_reading_unit(context, &unit);
		for (long m = 0; m < months; m++) {
			if (fhir) {
				struct cl_json *item = cl_json_append(arena, list);
				*item = *cl_json_new(arena, CL_JSON_OBJECT);
				*cl_json_set(arena, item, CL_STR("resource")) =
				        *cl_metric_report(&unit, metric, &results[m]);
			} else {
				*cl_json_append(arena, cl_json_get(entry, periods)) =
				        *metric_row(context, metric, &results[m]);
			}
		}
	}
	code = cl_measure_entries(context, name, weeks < 0 ? months : (months + 4) / 5, fhir, list, e);
	if (code)
		return code;
	if (fhir) {
		cl_interaction_answer_json(context, 200, body);
		return 0;
	}
	sort_by_category(arena, list);
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_write(&out, body);
	cl_interaction_answer_bytes(context, 200, "application/json; charset=utf-8",
	                            cl_arena_copy(arena, cl_buf_str(&out)));
	cl_buf_free(&out);
	return 0;
}
