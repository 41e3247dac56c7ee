/* console_flow.c: commands about workflows, timers, metrics, views and plugins. */
#include "org/engine/console.h"
#include "org/flow/instance.h"
#include "org/engine/report.h"
#include "org/fhir/types.h"
#include <math.h>
#include <stdio.h>

static int workflows(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"workflow", "summary", "subject", "states", "live", "from", NULL};
	const struct cl_catalog *catalog = c->context->rules->catalog;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < catalog->workflow_count; i++) {
		const struct cl_workflow *w = &catalog->workflows[i];
		struct cl_instance_list live;
		int code = cl_store_instances(c->context->store, c->arena, w->name, CL_STR_NONE, CL_STR_NONE, true,
		                              100000, &live, e);
		if (code)
			return code;
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, w->name);
		cl_console_cell(c, row, w->summary);
		cl_console_cell(c, row, w->subject);
		cl_console_cell_number(c, row, (int64_t)w->state_count);
		cl_console_cell_number(c, row, (int64_t)live.count);
		cl_console_cell(c, row,
		                cl_arena_printf(c->arena, "%.*s:%d", CL_STR_ARGS(w->origin.file), w->origin.line));
	}
	return 0;
}

static int need_workflow(struct cl_console *c, const char *argument, const struct cl_workflow **out, struct cl_err *e)
{
	struct cl_str name;
	int code = cl_console_need(c, argument, &name, e);
	if (code)
		return code;
	*out = cl_catalog_workflow(c->context->rules->catalog, name);
	return *out ? 0 : cl_fail(e, CL_E_NOT_FOUND, "there is no workflow '%.*s'", CL_STR_ARGS(name));
}

static int workflow(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"state", "status", "owner", "within", "event", "to", "by", "rule", NULL};
	const struct cl_workflow *w;
	int code = need_workflow(c, "name", &w, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (size_t s = 0; s < w->state_count; s++) {
		const struct cl_state_rule *state = &w->states[s];
		size_t lines = state->transition_count ? state->transition_count : 1;
		for (size_t t = 0; t < lines; t++) {
			struct cl_json *row = cl_console_row(c);
			cl_console_cell(c, row, t ? CL_STR("") : state->name);
			cl_console_cell(c, row, t ? CL_STR("") : state->status);
			cl_console_cell(c, row, t ? CL_STR("") : state->owner);
			struct cl_buf clock;
			cl_buf_init(&clock, 0);
			if (!t)
				cl_state_clock_write(&clock, state);
			cl_console_cell(c, row, clock.n ? cl_buf_str(&clock) : CL_STR(""));
			cl_buf_free(&clock);
			const struct cl_transition_rule *rule = state->transition_count ? &state->transitions[t] : NULL;
			struct cl_buf by;
			cl_buf_init(&by, 0);
			for (size_t i = 0; rule && i < rule->by_count; i++)
				cl_buf_printf(&by, "%s%.*s", i ? ", " : "", CL_STR_ARGS(rule->by[i]));
			cl_console_cell(c, row, rule ? rule->event : CL_STR(""));
			cl_console_cell(c, row, rule ? w->states[rule->target].name : CL_STR(""));
			cl_console_cell(c, row, cl_buf_str(&by));
			cl_console_cell(c, row, rule ? rule->rule : CL_STR(""));
			cl_buf_free(&by);
		}
	}
	return 0;
}

static int machine(struct cl_console *c, struct cl_err *e)
{
	const struct cl_workflow *w;
	int code = need_workflow(c, "name", &w, e);
	if (!code)
		cl_workflow_diagram(w, &c->text);
	return code;
}

static int instances(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"task", "workflow", "state", "owner", "due", "started", "patient", NULL};
	struct cl_instance_list list;
	int code = cl_store_instances(c->context->store, c->arena, cl_console_argument(c, "workflow"),
	                              cl_console_argument(c, "state"), CL_STR_NONE, !cl_console_argument(c, "state").n,
	                              200, &list, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < list.count; i++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, list.items[i].task);
		cl_console_cell(c, row, list.items[i].workflow);
		cl_console_cell(c, row, list.items[i].state);
		cl_console_cell(c, row, list.items[i].owner);
		cl_console_cell_time(c, row, list.items[i].due);
		cl_console_cell_time(c, row, list.items[i].started);
		cl_console_cell(c, row, list.items[i].patient);
	}
	return 0;
}

struct cl_history_rows {
	struct cl_console *console;
};

static int history_row(const struct cl_stored_transition *t, void *context)
{
	struct cl_console *c = context;
	struct cl_json *row = cl_console_row(c);
	cl_console_cell_time(c, row, t->at);
	cl_console_cell(c, row, t->event);
	cl_console_cell(c, row, t->from);
	cl_console_cell(c, row, t->to);
	cl_console_cell(c, row, t->actor);
	cl_console_cell(c, row, t->on_behalf_of);
	cl_console_cell(c, row, t->source);
	cl_console_cell(c, row, (struct cl_str){t->plugins.p, t->plugins.n > 12 ? 12 : t->plugins.n});
	return 0;
}

static int undo(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"not reversed", NULL};
	struct cl_undo wish = {0};
	struct cl_stored_instance instance;
	struct cl_err ignored = {0};
	struct cl_json *left = NULL;
	int code = cl_console_need(c, "task", &wish.task, e);
	if (!code)
		code = cl_console_need(c, "reason", &wish.reason, e);
	wish.task = cl_console_id(wish.task);
	if (!code)
		code = cl_instance_undo(c->unit, &wish, &left, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (uint32_t i = 0; i < left->count; i++)
		cl_console_cell(c, cl_console_row(c), cl_json_text(&left->items[i]));
	if (cl_store_instance_get(c->context->store, c->arena, wish.task, &instance, &ignored))
		cl_buf_printf(&c->text, "%.*s never began", CL_STR_ARGS(wish.task));
	else
		cl_buf_printf(&c->text, "%.*s is back in '%.*s'", CL_STR_ARGS(wish.task), CL_STR_ARGS(instance.state));
	return 0;
}

static int trace(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"at",           "event",  "from",    "to", "actor",
	                                      "on behalf of", "source", "plugins", NULL};
	struct cl_stored_instance instance;
	struct cl_str task;
	int code = cl_console_need(c, "task", &task, e);
	if (code)
		return code;
	task = cl_console_id(task);
	code = cl_store_instance_get(c->context->store, c->arena, task, &instance, e);
	if (code)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no workflow instance '%.*s'", CL_STR_ARGS(task));
	cl_console_columns(c, columns);
	code = cl_store_transitions_all(c->context->store, task, history_row, c, e);
	if (code)
		return code;
	const struct cl_workflow *w = cl_catalog_workflow(c->context->rules->catalog, instance.workflow);
	int state = w ? cl_workflow_state(w, instance.state) : -1;
	cl_buf_printf(&c->text, "%.*s %.*s is in '%.*s'", CL_STR_ARGS(instance.workflow), CL_STR_ARGS(task),
	              CL_STR_ARGS(instance.state));
	if (state >= 0 && !instance.final) {
		struct cl_str legal = cl_instance_legal(c->arena, w, state);
		struct cl_str due =
		        instance.due ? cl_zone_text(c->arena, c->context->rules->facts->calendar.zone, instance.due)
		                     : CL_STR("-");
		cl_buf_printf(&c->text, "; next: %.*s (%.*s) until %.*s; legal: %.*s",
		              CL_STR_ARGS(w->states[state].action), CL_STR_ARGS(instance.owner), CL_STR_ARGS(due),
		              CL_STR_ARGS(legal));
	}
	return 0;
}

static int timers(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"due", "timer", "task", "plugin", "generation", NULL};
	struct cl_timer_list list;
	int code = cl_store_timers(c->context->store, c->arena, cl_console_id(cl_console_argument(c, "task")), 200,
	                           &list, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < list.count; i++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell_time(c, row, list.items[i].due);
		cl_console_cell(c, row, list.items[i].name);
		cl_console_cell(c, row, list.items[i].task);
		cl_console_cell(c, row, list.items[i].plugin);
		cl_console_cell_number(c, row, list.items[i].generation);
	}
	return 0;
}

static int quarantine(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"timer", "was due", "task", "plugin", "why", NULL};
	struct cl_timer_list list;
	int code = cl_store_timers_quarantined(c->context->store, c->arena, 1000, &list, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < list.count; i++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, list.items[i].name);
		cl_console_cell_time(c, row, list.items[i].due);
		cl_console_cell(c, row, list.items[i].task);
		cl_console_cell(c, row, list.items[i].plugin);
		cl_console_cell(c, row, list.items[i].rule);
	}
	return 0;
}

static struct cl_str number_text(struct cl_arena *arena, double value)
{
	return isnan(value) ? CL_STR("") : cl_arena_printf(arena, "%.4g", value);
}

static void metric_row(struct cl_console *c, const struct cl_metric *metric, const struct cl_metric_result *result)
{
	struct cl_json *row = cl_console_row(c);
	cl_console_cell(c, row, metric->name);
	cl_console_cell(c, row, metric->category);
	cl_console_cell(c, row, cl_metric_period(c->unit, result));
	cl_console_cell(c, row, number_text(c->arena, result->value));
	cl_console_cell(c, row, metric->unit);
	cl_console_cell(c, row,
	                isnan(result->denominator)
	                        ? cl_arena_printf(c->arena, "n=%lld", (long long)result->n)
	                        : cl_arena_printf(c->arena, "%.6g/%.6g", result->numerator, result->denominator));
	cl_console_cell(c, row, number_text(c->arena, metric->baseline));
	cl_console_cell(c, row, number_text(c->arena, metric->target));
	cl_console_cell(c, row, metric->higher_is_better ? CL_STR("higher") : CL_STR("lower"));
}

static const char *const metric_columns[] = {"metric", "category", "period", "value",  "unit",
                                             "cases",  "baseline", "target", "better", NULL};

static int metrics(struct cl_console *c, struct cl_err *e)
{
	const struct cl_catalog *catalog = c->context->rules->catalog;
	struct cl_str month = cl_console_argument(c, "month");
	cl_instant at = c->context->now;
	if (month.n) {
		struct cl_moment moment;
		int code =
		        cl_moment_parse(month, cl_zone_offset(c->context->rules->facts->calendar.zone, at), &moment, e);
		if (code)
			return code;
		at = moment.lower + 12 * CL_HOUR;
	}
	cl_console_columns(c, metric_columns);
	for (size_t i = 0; i < catalog->metric_count; i++) {
		struct cl_metric_result result;
		int code = cl_metric_month(c->unit, &catalog->metrics[i], at, &result, e);
		if (code)
			return code;
		metric_row(c, &catalog->metrics[i], &result);
	}
	return 0;
}

static int metric(struct cl_console *c, struct cl_err *e)
{
	struct cl_str name;
	int code = cl_console_need(c, "name", &name, e);
	if (code)
		return code;
	const struct cl_metric *found = cl_catalog_metric(c->context->rules->catalog, name);
	if (!found)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no metric '%.*s'", CL_STR_ARGS(name));
	int64_t count = cl_console_number(c, "count", 12);
	bool week = cl_str_is(cl_console_argument(c, "period"), "weeks");
	if (count < 1 || count > 120)
		return cl_fail(e, CL_E_INVALID, "the number of months or weeks is 1 to 120");
	cl_console_columns(c, metric_columns);
	const struct cl_calendar *calendar = &c->context->rules->facts->calendar;
	for (int64_t i = count - 1; i >= 0; i--) {
		struct cl_metric_result result;
		code = week ? cl_metric_week(c->unit, found, cl_calendar_week_start(calendar, c->context->now, (int)-i),
		                             &result, e)
		            : cl_metric_month(c->unit, found,
		                              cl_calendar_month_start(calendar, c->context->now, (int)-i), &result, e);
		if (code)
			return code;
		metric_row(c, found, &result);
	}
	cl_buf_printf(&c->text, "%.*s%s%.*s", CL_STR_ARGS(found->summary), found->source.n ? "; source: " : "",
	              CL_STR_ARGS(found->source));
	return 0;
}

static int views(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"view", "summary", "from", NULL};
	const struct cl_catalog *catalog = c->context->rules->catalog;
	(void)e;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < catalog->view_count; i++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, catalog->views[i].name);
		cl_console_cell(c, row, catalog->views[i].summary);
		cl_console_cell(c, row,
		                cl_arena_printf(c->arena, "%.*s:%d", CL_STR_ARGS(catalog->views[i].origin.file),
		                                catalog->views[i].origin.line));
	}
	return 0;
}

static int view(struct cl_console *c, struct cl_err *e)
{
	struct cl_str name;
	int code = cl_console_need(c, "name", &name, e);
	if (code)
		return code;
	const struct cl_view *found = cl_catalog_view(c->context->rules->catalog, name);
	if (!found)
		return cl_fail(e, CL_E_NOT_FOUND, "there is no view '%.*s'", CL_STR_ARGS(name));
	c->columns = cl_json_new(c->arena, CL_JSON_ARRAY);
	for (size_t i = 0; i < found->column_count; i++)
		cl_json_append_text(c->arena, c->columns, found->columns[i]);
	return cl_view_all_rows(c->context, found, &c->rows, e);
}

static int plugins(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"plugin", "summary", "folder", "hash", NULL};
	const struct cl_catalog *catalog = c->context->rules->catalog;
	(void)e;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < catalog->plugin_count; i++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, catalog->plugins[i].name);
		cl_console_cell(c, row, catalog->plugins[i].summary);
		cl_console_cell(c, row, catalog->plugins[i].folder);
		cl_console_cell(c, row,
		                (struct cl_str){catalog->plugins[i].hash.p,
		                                catalog->plugins[i].hash.n > 12 ? 12 : catalog->plugins[i].hash.n});
	}
	cl_buf_printf(&c->text, "in force: %.*s; Lua memory %zu KiB", CL_STR_ARGS(catalog->hash),
	              cl_lua_memory(c->context->rules->lua) / 1024);
	return 0;
}

static void explain_line(struct cl_console *c, const char *kind, struct cl_str name, const struct cl_origin *origin,
                         struct cl_str what)
{
	if (what.n && !memmem(name.p, name.n, what.p, what.n))
		return;
	struct cl_json *row = cl_console_row(c);
	cl_console_cell(c, row, cl_str_of(kind));
	cl_console_cell(c, row, name);
	cl_console_cell(c, row, origin->plugin);
	cl_console_cell(c, row, cl_arena_printf(c->arena, "%.*s:%d", CL_STR_ARGS(origin->file), origin->line));
}

static int explain(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"part", "name", "plugin", "from", NULL};
	const struct cl_catalog *catalog = c->context->rules->catalog;
	struct cl_str what = cl_console_argument(c, "what");
	(void)e;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < catalog->workflow_count; i++) {
		const struct cl_workflow *w = &catalog->workflows[i];
		explain_line(c, "workflow", w->name, &w->origin, what);
		for (size_t s = 0; s < w->state_count; s++) {
			struct cl_str name = cl_arena_printf(c->arena, "%.*s.%.*s", CL_STR_ARGS(w->name),
			                                     CL_STR_ARGS(w->states[s].name));
			explain_line(c, "state", name, &w->states[s].origin, what);
			for (size_t t = 0; t < w->states[s].transition_count; t++)
				explain_line(c, "event",
				             cl_arena_printf(c->arena, "%.*s.%.*s", CL_STR_ARGS(name),
				                             CL_STR_ARGS(w->states[s].transitions[t].event)),
				             &w->states[s].transitions[t].origin, what);
		}
	}
	for (size_t i = 0; i < catalog->metric_count; i++)
		explain_line(c, "metric", catalog->metrics[i].name, &catalog->metrics[i].origin, what);
	for (size_t i = 0; i < catalog->view_count; i++)
		explain_line(c, "view", catalog->views[i].name, &catalog->views[i].origin, what);
	for (size_t i = 0; i < catalog->rule_count; i++)
		explain_line(c, "rule", catalog->rules[i].name, &catalog->rules[i].origin, what);
	for (size_t i = 0; i < catalog->role_count; i++)
		explain_line(c, "role", catalog->roles[i].name, &catalog->roles[i].origin, what);
	for (size_t i = 0; i < catalog->handler_count; i++)
		explain_line(c, "on", catalog->handlers[i].event, &catalog->handlers[i].origin, what);
	return 0;
}

static int settings(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"plugin", "setting", "value", "default", "help", "source", NULL};
	const struct cl_catalog *catalog = c->context->rules->catalog;
	(void)e;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < catalog->setting_count; i++) {
		const struct cl_setting *s = &catalog->settings[i];
		struct cl_buf value, standard;
		cl_buf_init(&value, 0);
		cl_buf_init(&standard, 0);
		if (s->value)
			cl_json_write(&value, s->value);
		if (s->standard)
			cl_json_write(&standard, s->standard);
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, s->plugin);
		cl_console_cell(c, row, s->name);
		cl_console_cell(c, row, cl_buf_str(&value));
		cl_console_cell(c, row, cl_buf_str(&standard));
		cl_console_cell(c, row, s->help);
		cl_console_cell(c, row, s->source);
		cl_buf_free(&value);
		cl_buf_free(&standard);
	}
	return 0;
}

static int advance(struct cl_console *c, struct cl_err *e)
{
	struct cl_advance advance = {0};
	struct cl_version version;
	int code = cl_console_need(c, "task", &advance.task, e);
	if (!code)
		code = cl_console_need(c, "event", &advance.event, e);
	if (code)
		return code;
	advance.task = cl_console_id(advance.task);
	advance.on_behalf_of = cl_console_argument(c, "on_behalf_of");
	advance.source = cl_console_argument(c, "source");
	struct cl_json *data = cl_json_get(c->arguments, "data");
	advance.data = data && data->kind == CL_JSON_OBJECT ? data : cl_json_new(c->arena, CL_JSON_OBJECT);
	code = cl_instance_advance(c->unit, &advance, &version, c->context->issues, e);
	if (!code)
		cl_buf_printf(&c->text, "Task/%.*s is at version %lld", CL_STR_ARGS(version.id),
		              (long long)version.version);
	return code;
}

static int lua(struct cl_console *c, struct cl_err *e)
{
	struct cl_str text;
	int code = cl_console_need(c, "code", &text, e);
	return code ? code : cl_lua_evaluate(c->context->rules->lua, c->unit, text, c->write, &c->text, e);
}

const struct cl_console_command cl_console_flow_commands[] = {
        {"workflows", workflows, false},
        {"workflow", workflow, false},
        {"machine", machine, false},
        {"instances", instances, false},
        {"instance", trace, false},
        {"trace", trace, false},
        {"undo", undo, true},
        {"quarantine", quarantine, false},
        {"timers", timers, false},
        {"metrics", metrics, false},
        {"metric", metric, false},
        {"measures", cl_console_measures, false},
        {"explain-measure", cl_console_explain_measure, false},
        {"views", views, false},
        {"view", view, false},
        {"plugins", plugins, false},
        {"explain", explain, false},
        {"settings", settings, false},
        {"advance", advance, true},
        {"lua", lua, true},
        {NULL, NULL, false},
};
