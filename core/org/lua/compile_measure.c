/* compile_measure.c: metrics and views. */
#include "org/lua/compile.h"
#include <math.h>

static void compile_cohort(lua_State *L, int at, struct cl_metric *metric)
{
	if (lua_getfield(L, at, "of") == LUA_TTABLE) {
		int of = lua_gettop(L);
		metric->workflow = cl_field_text(L, of, "workflow");
		metric->cohort_state = cl_field_text(L, of, "state");
		metric->cohort = metric->cohort_state.n ? CL_COHORT_ENTERED : CL_COHORT_STARTED;
	}
	lua_pop(L, 1);
}

static enum cl_show shown_as(struct cl_str word, enum cl_show otherwise)
{
	if (cl_str_is(word, "median"))
		return CL_SHOW_MEDIAN;
	if (cl_str_is(word, "mean"))
		return CL_SHOW_MEAN;
	if (cl_str_is(word, "p90"))
		return CL_SHOW_P90;
	if (cl_str_is(word, "count"))
		return CL_SHOW_COUNT;
	return otherwise;
}

static void compile_measure(lua_State *L, int at, struct cl_metric *metric)
{
	struct cl_str show = cl_field_text(L, at, "show");
	metric->measure = CL_MEASURE_COUNT;
	metric->show = CL_SHOW_COUNT;
	if (lua_getfield(L, at, "counts") == LUA_TTABLE) {
		metric->measure = CL_MEASURE_REACHED;
		metric->show = (uint8_t)shown_as(show, CL_SHOW_PERCENT);
		metric->reached = cl_field_texts(L, lua_gettop(L), "states", &metric->reached_count);
		metric->within = cl_field_duration(L, lua_gettop(L), "within");
	}
	if (lua_getfield(L, at, "measure") == LUA_TTABLE) {
		metric->measure = CL_MEASURE_ELAPSED;
		metric->show = (uint8_t)shown_as(show, CL_SHOW_MEDIAN);
		metric->from_state = cl_field_text(L, lua_gettop(L), "from");
		metric->to_state = cl_field_text(L, lua_gettop(L), "to");
		metric->elapsed_unit = (uint8_t)cl_ctx_duration_unit(cl_field_text(L, lua_gettop(L), "unit"));
	}
	lua_pop(L, 2);
	metric->function =
	        cl_field_function(L, at, "value", &metric->origin, "value of metric %.*s", CL_STR_ARGS(metric->name));
	if (metric->function) {
		metric->measure = CL_MEASURE_FUNCTION;
		metric->show = (uint8_t)(cl_str_is(metric->unit, "%") ? CL_SHOW_PERCENT : shown_as(show, CL_SHOW_SUM));
	}
}

static void compile_metric(lua_State *L, int at, struct cl_metric *metric)
{
	metric->name = cl_field_text(L, at, "name");
	metric->summary = cl_field_text(L, at, "summary");
	metric->unit = cl_field_text(L, at, "unit");
	metric->source = cl_field_text(L, at, "source");
	metric->version = cl_field_text(L, at, "version");
	metric->category = cl_field_text(L, at, "category");
	metric->higher_is_better = !cl_str_is(cl_field_text(L, at, "better"), "lower");
	metric->baseline = cl_field_number(L, at, "baseline", NAN);
	metric->target = cl_field_number(L, at, "target", NAN);
	metric->origin = cl_field_origin(L, at);
	compile_cohort(L, at, metric);
	compile_measure(L, at, metric);
}

void cl_compile_metrics(lua_State *L, int index)
{
	struct cl_catalog *catalog = &cl_lua_of(L)->catalog;
	catalog->metric_count = cl_push_list(L, index, "metrics");
	catalog->metrics = catalog->metric_count
	                           ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_metric, catalog->metric_count)
	                           : NULL;
	for (size_t i = 0; i < catalog->metric_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		compile_metric(L, lua_gettop(L), &catalog->metrics[i]);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_view(lua_State *L, int at, struct cl_view *view)
{
	view->name = cl_field_text(L, at, "name");
	view->summary = cl_field_text(L, at, "summary");
	view->origin = cl_field_origin(L, at);
	if (lua_getfield(L, at, "of") == LUA_TTABLE)
		view->workflow = cl_field_text(L, lua_gettop(L), "workflow");
	lua_pop(L, 1);
	view->states = cl_field_texts(L, at, "states", &view->state_count);
	view->columns = cl_field_texts(L, at, "columns", &view->column_count);
	view->roles = cl_field_texts(L, at, "roles", &view->role_count);
	view->function = cl_field_function(L, at, "rows", &view->origin, "rows of view %.*s", CL_STR_ARGS(view->name));
}

void cl_compile_views(lua_State *L, int index)
{
	struct cl_catalog *catalog = &cl_lua_of(L)->catalog;
	catalog->view_count = cl_push_list(L, index, "views");
	catalog->views =
	        catalog->view_count ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_view, catalog->view_count) : NULL;
	for (size_t i = 0; i < catalog->view_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		compile_view(L, lua_gettop(L), &catalog->views[i]);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}
