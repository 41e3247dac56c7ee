/* view.c: a named list of live instances, as the board, CSV and the console show it. */
#include "base/date.h"
#include "org/fhir/types.h"
#include "org/flow/metric.h"
#include "org/flow/unit_internal.h"
#include <stdlib.h>

struct row {
	const struct cl_workflow *workflow;
	const struct cl_stored_instance *instance;
	struct cl_json *data;
	int state; /* -1 when the machine lost it */
};

static void set_text(struct cl_json *cell, struct cl_str text)
{
	cell->kind = text.n ? CL_JSON_STRING : CL_JSON_NULL;
	if (text.n)
		cell->text = text;
}

/* "Ana Rivera": the official or first name's text, or its parts. */
static struct cl_str name_of(struct cl_arena *arena, const struct cl_json *patient)
{
	const struct cl_json *names = cl_json_get(patient, "name");
	const struct cl_json *name = cl_json_path(names, "0", NULL);
	for (uint32_t i = 0; names && names->kind == CL_JSON_ARRAY && i < names->count; i++)
		if (cl_str_is(cl_json_get_text(&names->items[i], "use"), "official"))
			name = &names->items[i];
	struct cl_str text = cl_json_get_text(name, "text");
	if (text.n)
		return text;
	struct cl_str given = cl_json_text(cl_json_path(name, "given", "0", NULL)),
	              family = cl_json_get_text(name, "family");
	return cl_arena_printf(arena, "%.*s%s%.*s", CL_STR_ARGS(given), given.n && family.n ? " " : "",
	                       CL_STR_ARGS(family));
}

static void set_patient_name(struct cl_unit *unit, struct cl_json *cell, struct cl_str id)
{
	struct cl_json *patient;
	struct cl_err ignored = {0};
	if (id.n && !cl_unit_read(unit, CL_TYPE_PATIENT, id, &patient, NULL, &ignored))
		set_text(cell, name_of(unit->arena, patient));
}

static void set_instant(struct cl_unit *unit, struct cl_json *cell, cl_instant at)
{
	if (at)
		set_text(cell, cl_zone_text(unit->arena, unit->organization->calendar.zone, at));
}

static void set_age(struct cl_unit *unit, struct cl_json *cell, cl_instant since)
{
	cell->kind = CL_JSON_NUMBER;
	cell->text = cl_arena_printf(unit->arena, "%lld", (long long)((unit->now - since) / CL_DAY));
}

/* Late now, or was when somebody was asked to look at it. */
static bool is_overdue(const struct cl_unit *unit, const struct row *row)
{
	const struct cl_json *escalations = cl_json_get(row->data, "escalations");
	return (row->instance->due && row->instance->due < unit->now) || (escalations && escalations->count);
}

static void fill_cell(struct cl_unit *unit, const struct row *row, struct cl_str column, struct cl_json *cell)
{
	const struct cl_stored_instance *instance = row->instance;
	if (cl_str_is(column, "task")) {
		set_text(cell, cl_arena_printf(unit->arena, "Task/%.*s", CL_STR_ARGS(instance->task)));
	} else if (cl_str_is(column, "patient")) {
		if (instance->patient.n)
			set_text(cell, cl_arena_printf(unit->arena, "Patient/%.*s", CL_STR_ARGS(instance->patient)));
	} else if (cl_str_is(column, "patient_name")) {
		set_patient_name(unit, cell, instance->patient);
	} else if (cl_str_is(column, "subject")) {
		set_text(cell, instance->subject);
	} else if (cl_str_is(column, "state")) {
		set_text(cell, instance->state);
	} else if (cl_str_is(column, "action")) {
		if (row->state >= 0)
			set_text(cell, row->workflow->states[row->state].action);
	} else if (cl_str_is(column, "owner")) {
		set_text(cell, instance->owner);
	} else if (cl_str_is(column, "due")) {
		set_instant(unit, cell, instance->due);
	} else if (cl_str_is(column, "overdue")) {
		cell->kind = is_overdue(unit, row) ? CL_JSON_TRUE : CL_JSON_FALSE;
	} else if (cl_str_is(column, "age_days")) {
		set_age(unit, cell, instance->started);
	} else if (cl_str_is(column, "started")) {
		set_instant(unit, cell, instance->started);
	} else if (cl_str_starts(column, "data.")) {
		const struct cl_json *value = cl_json_get_str(row->data, (struct cl_str){column.p + 5, column.n - 5});
		if (value)
			*cell = *value;
	}
}

static int compare_due(const void *left, const void *right)
{
	const struct cl_stored_instance *a = left, *b = right;
	if (a->due != b->due)
		return a->due < b->due ? -1 : 1;
	return cl_str_compare(a->task, b->task);
}

/* The first `limit` of the view's states together, by due. */
static int find_instances(struct cl_unit *unit, const struct cl_view *view, uint32_t limit,
                          struct cl_instance_list *out, struct cl_err *e)
{
	struct cl_instance_list part;
	*out = (struct cl_instance_list){0};
	if (!view->state_count)
		return cl_store_instances(unit->store, unit->arena, view->workflow, CL_STR_NONE, CL_STR_NONE, true,
		                          limit, out, e);
	for (size_t i = 0; i < view->state_count; i++) {
		int code = cl_store_instances(unit->store, unit->arena, view->workflow, view->states[i], CL_STR_NONE,
		                              true, limit, &part, e);
		if (code)
			return code;
		struct cl_stored_instance *items =
		        CL_NEW_ARRAY(unit->arena, struct cl_stored_instance, out->count + part.count + 1);
		if (out->count)
			memcpy(items, out->items, out->count * sizeof *items);
		if (part.count)
			memcpy(items + out->count, part.items, part.count * sizeof *items);
		out->items = items;
		out->count += part.count;
	}
	if (out->count)
		qsort(out->items, out->count, sizeof *out->items, compare_due);
	if (out->count > limit)
		out->count = limit;
	return 0;
}

int cl_view_rows(struct cl_unit *unit, const struct cl_view *view, uint32_t limit, struct cl_json **rows,
                 struct cl_err *e)
{
	struct cl_instance_list list;
	if (!view->workflow.n)
		return cl_fail(e, CL_E_UNSUPPORTED, "view '%.*s' is made by a plugin, which only the writer can ask",
		               CL_STR_ARGS(view->name));
	const struct cl_workflow *workflow = cl_catalog_workflow(unit->catalog, view->workflow);
	if (!workflow)
		return cl_fail(e, CL_E_NOT_FOUND, "view '%.*s' shows the workflow '%.*s', which no plugin declares",
		               CL_STR_ARGS(view->name), CL_STR_ARGS(view->workflow));
	int code = find_instances(unit, view, limit, &list, e);
	if (code)
		return code;
	*rows = cl_json_new(unit->arena, CL_JSON_ARRAY);
	for (size_t i = 0; i < list.count; i++) {
		struct cl_json *cells = cl_json_append(unit->arena, *rows);
		struct row row = {workflow, &list.items[i], NULL, cl_workflow_state(workflow, list.items[i].state)};
		cells->kind = CL_JSON_ARRAY;
		if (list.items[i].data.n && cl_json_parse(unit->arena, list.items[i].data, NULL, &row.data, e))
			return cl_fail(e, CL_E_CORRUPT, "the data of Task/%.*s is no JSON",
			               CL_STR_ARGS(list.items[i].task));
		for (size_t c = 0; c < view->column_count; c++)
			fill_cell(unit, &row, view->columns[c], cl_json_append(unit->arena, cells));
	}
	return 0;
}
