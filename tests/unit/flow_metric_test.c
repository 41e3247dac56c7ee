/* flow_metric_test.c: measures against values computed by hand; reports and definitions are valid R4; views. */
#include "support/flow_fixture.h"
#include "org/fhir/types.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static struct flow_fixture fixture, *f = &fixture;
static struct cl_workflow *w;

static int set_up(void **state)
{
	(void)state;
	flow_open(f);
	flow_roles(f, "front_desk");
	w = flow_workflow(f, "callback", "Patient");
	flow_state(f, w, "asked", "requested", "front_desk", "12 months")->action = CL_STR("Call");
	flow_state(f, w, "calling", "in-progress", "front_desk", "12 months");
	flow_state(f, w, "done", "completed!", "", "");
	flow_state(f, w, "declined", "rejected!", "", "");
	flow_on(f, w, "asked", "call", "calling", "");
	flow_on(f, w, "calling", "again", "calling", "");
	flow_on(f, w, "calling", "back", "asked", "");
	flow_on(f, w, "calling", "reached", "done", "");
	flow_on(f, w, "asked", "decline", "declined", "");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	flow_close(f);
	return 0;
}

static void right(int code)
{
	if (code)
		fail_msg("%d: %s [%s]", code, f->e.message, f->e.where);
}

static void near(double is, double expected)
{
	if (isnan(expected) ? !isnan(is) : !(fabs(is - expected) < 1e-9))
		fail_msg("%f instead of %f", is, expected);
}

static struct cl_metric *new_metric(const char *name, uint8_t measure)
{
	struct cl_metric *metric = &f->catalog.metrics[f->catalog.metric_count++];
	*metric = (struct cl_metric){.name = flow_text(f, name),
	                             .summary = CL_STR("What it says"),
	                             .category = CL_STR("operations"),
	                             .workflow = CL_STR("callback"),
	                             .cohort = CL_COHORT_STARTED,
	                             .measure = measure,
	                             .baseline = NAN,
	                             .target = NAN,
	                             .higher_is_better = true};
	return metric;
}

static struct cl_metric_result compute(const struct cl_metric *metric, const char *at)
{
	struct cl_metric_result result;
	struct cl_unit *unit = flow_begin(f);
	right(cl_metric_month(unit, metric, flow_instant(at), &result, &f->e));
	/* Whatever comes out is good FHIR. */
	flow_valid(f, cl_metric_report(unit, metric, &result));
	flow_valid(f, cl_metric_measure(unit, metric));
	flow_rollback(f);
	return result;
}

/* A callback asked for, called and reached at these times ("" = never). */
static void story(const char *asked, const char *called, const char *reached)
{
	flow_at(f, asked);
	struct cl_str id = flow_start(f, "callback", "", "", "");
	if (*called) {
		flow_at(f, called);
		flow_move(f, id, "call", NULL);
	}
	if (*reached) {
		flow_at(f, reached);
		flow_move(f, id, "reached", NULL);
	}
}

/* Five in November: reached after 1, 3 and 10 days, one never, one declined; one each in October and December, at the
 * edges. */
static void five_stories(void)
{
	story("2026-10-31T23:59:59-05:00", "2026-11-01T00:00:00-05:00", "2026-11-01T12:00:00-06:00");
	story("2026-11-01T00:00:00-05:00", "2026-11-01T08:00:00-06:00", "2026-11-02T00:00:00-06:00");
	story("2026-11-04T09:00:00-06:00", "2026-11-05T09:00:00-06:00", "2026-11-07T09:00:00-06:00");
	story("2026-11-16T09:00:00-06:00", "2026-11-20T15:00:00-06:00", "2026-11-26T09:00:00-06:00");
	story("2026-11-30T23:59:59-06:00", "2026-12-01T09:00:00-06:00", "");
	flow_at(f, "2026-11-10T09:00:00-06:00");
	flow_move(f, flow_start(f, "callback", "", "", ""), "decline", NULL);
	story("2026-12-01T00:00:00-06:00", "", "");
}

static void counting(void **state)
{
	(void)state;
	five_stories();
	struct cl_metric *metric = new_metric("asked_for", CL_MEASURE_COUNT);
	metric->show = CL_SHOW_COUNT;
	struct cl_metric_result result = compute(metric, "2026-11-15T12:00:00Z");
	assert_int_equal(result.from, flow_instant("2026-11-01T00:00:00-05:00"));
	assert_int_equal(result.to, flow_instant("2026-12-01T00:00:00-06:00"));
	near(result.value, 5);
	assert_int_equal(result.n, 5);
	near(result.denominator, NAN);
	near(compute(metric, "2026-10-15T12:00:00Z").value, 1);
	near(compute(metric, "2026-12-15T12:00:00Z").value, 1);
	near(compute(metric, "2026-09-15T12:00:00Z").value, 0);
}

static void reaching(void **state)
{
	(void)state;
	five_stories();
	struct cl_metric *metric = new_metric("reached", CL_MEASURE_REACHED);
	metric->show = CL_SHOW_PERCENT;
	metric->unit = CL_STR("%");
	flow_words(f, "done", &metric->reached, &metric->reached_count);
	struct cl_metric_result result = compute(metric, "2026-11-15T12:00:00Z");
	near(result.numerator, 3);
	near(result.denominator, 5);
	near(result.value, 60);
	assert_int_equal(result.n, 5);
	metric->within = flow_duration("3 days"); /* the end counts */
	near(compute(metric, "2026-11-15T12:00:00Z").value, 40);
	metric->within = flow_duration("71 hours");
	near(compute(metric, "2026-11-15T12:00:00Z").value, 20);
	metric->within = (struct cl_duration){0};
	flow_words(f, "done declined", &metric->reached, &metric->reached_count);
	near(compute(metric, "2026-11-15T12:00:00Z").value, 80);
	/* A month without cases says nothing. */
	result = compute(metric, "2026-09-15T12:00:00Z");
	near(result.value, NAN);
	near(result.denominator, 0);
	metric->show = CL_SHOW_COUNT;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 4);
}

static void entering(void **state)
{
	(void)state;
	five_stories();
	struct cl_metric *metric = new_metric("called", CL_MEASURE_REACHED);
	metric->unit = CL_STR("%");
	metric->cohort = CL_COHORT_ENTERED;
	metric->cohort_state = CL_STR("calling");
	flow_words(f, "done", &metric->reached, &metric->reached_count);
	/* In November: those asked for on 31 October and 1, 4, 16 November. */
	struct cl_metric_result result = compute(metric, "2026-11-15T12:00:00Z");
	near(result.denominator, 4);
	near(result.numerator, 4);
	/* In December one, not reached; who comes back into the state is not counted again. */
	result = compute(metric, "2026-12-15T12:00:00Z");
	near(result.denominator, 1);
	near(result.numerator, 0);
	flow_at(f, "2026-11-28T09:00:00-06:00");
	struct cl_str id = flow_start(f, "callback", "", "", "");
	flow_move(f, id, "call", NULL);
	flow_move(f, id, "again", NULL);
	flow_at(f, "2026-12-05T09:00:00-06:00");
	flow_move(f, id, "back", NULL);
	flow_move(f, id, "call", NULL);
	near(compute(metric, "2026-11-15T12:00:00Z").denominator, 5);
	near(compute(metric, "2026-12-15T12:00:00Z").denominator, 1);
}

static void elapsing(void **state)
{
	(void)state;
	five_stories();
	struct cl_metric *metric = new_metric("days_to_reach", CL_MEASURE_ELAPSED);
	metric->to_state = CL_STR("done");
	metric->elapsed_unit = CL_DAYS;
	metric->unit = CL_STR("days");
	metric->show = CL_SHOW_MEDIAN;
	/* 25 hours of a Sunday, 3 days, 10 days. */
	struct cl_metric_result result = compute(metric, "2026-11-15T12:00:00Z");
	near(result.value, 3);
	assert_int_equal(result.n, 3);
	metric->show = CL_SHOW_MEAN;
	near(compute(metric, "2026-11-15T12:00:00Z").value, (25.0 / 24 + 3 + 10) / 3);
	metric->show = CL_SHOW_P90;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 10);
	metric->show = CL_SHOW_SUM;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 25.0 / 24 + 13);
	metric->show = CL_SHOW_COUNT;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 3);
	metric->show = CL_SHOW_MEAN;
	metric->elapsed_unit = CL_HOURS;
	near(compute(metric, "2026-11-15T12:00:00Z").value, (25 + 72 + 240) / 3.0);
	metric->elapsed_unit = CL_MINUTES;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 60 * (25 + 72 + 240) / 3.0);
	/* Sunday to Monday 1; Wednesday to Saturday 2; Monday over a week to the holiday Thursday 7. */
	metric->elapsed_unit = CL_BUSINESS_DAYS;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 10 / 3.0);
	near(compute(metric, "2026-12-15T12:00:00Z").value, NAN);
	/* From one state to another: calling to done: 16 hours; 2 days; 5 days 18 hours. */
	metric->from_state = CL_STR("calling");
	metric->elapsed_unit = CL_HOURS;
	metric->show = CL_SHOW_MEDIAN;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 48);
	story("2026-11-29T09:00:00-06:00", "2026-11-29T10:00:00-06:00", "2026-11-29T16:00:00-06:00");
	near(compute(metric, "2026-11-15T12:00:00Z").value, 32); /* between 16 and 48 */
}

static void percentiles(void **state)
{
	char text[40];
	(void)state;
	for (int i = 1; i <= 10; i++) {
		snprintf(text, sizeof text, "2026-11-09T%02d:00:00-06:00", 9 + i);
		story("2026-11-09T09:00:00-06:00", "2026-11-09T09:00:00-06:00", text);
	}
	struct cl_metric *metric = new_metric("hours", CL_MEASURE_ELAPSED);
	metric->to_state = CL_STR("done");
	metric->elapsed_unit = CL_HOURS;
	metric->show = CL_SHOW_P90;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 9);
	metric->show = CL_SHOW_MEDIAN;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 5.5);
}

/* A clock that ran out is no entry. */
static void overdue_is_no_entry(void **state)
{
	(void)state;
	w->states[1].within = flow_duration("1 day");
	story("2026-11-29T09:00:00-06:00", "2026-11-29T09:00:00-06:00", "");
	flow_advance_to(f, flow_instant("2026-12-03T09:00:00-06:00"));
	struct cl_metric *metric = new_metric("called", CL_MEASURE_COUNT);
	metric->cohort = CL_COHORT_ENTERED;
	metric->cohort_state = CL_STR("calling");
	near(compute(metric, "2026-11-15T12:00:00Z").value, 1);
	near(compute(metric, "2026-12-15T12:00:00Z").value, 0);
}

static void functions(void **state)
{
	(void)state;
	struct cl_metric *metric = new_metric("by_plugin", CL_MEASURE_FUNCTION);
	metric->unit = CL_STR("%");
	metric->function = 3;
	f->metric_numerator = 3;
	f->metric_denominator = 10;
	struct cl_metric_result result = compute(metric, "2026-11-15T12:00:00Z");
	near(result.value, 30);
	assert_int_equal(result.n, 10);
	metric->unit = CL_STR("USD");
	f->metric_numerator = 12.5;
	f->metric_denominator = NAN;
	near(compute(metric, "2026-11-15T12:00:00Z").value, 12.5);
	f->metric_numerator = NAN;
	result = compute(metric, "2026-11-15T12:00:00Z");
	near(result.value, NAN);
	assert_int_equal(result.n, 0);
	f->script.metric = NULL;
	struct cl_unit *unit = flow_begin(f);
	assert_int_equal(cl_metric_month(unit, metric, f->now, &result, &f->e), CL_E_UNSUPPORTED);
	flow_rollback(f);
}

static void the_report(void **state)
{
	struct cl_metric_result result;
	(void)state;
	five_stories();
	struct cl_metric *metric = new_metric("loop_closed", CL_MEASURE_REACHED);
	metric->unit = CL_STR("%");
	metric->version = CL_STR("2");
	metric->baseline = 34;
	metric->target = 70.5;
	metric->source = CL_STR("CMS50");
	metric->within = flow_duration("60 days");
	flow_words(f, "done", &metric->reached, &metric->reached_count);
	struct cl_unit *unit = flow_begin(f);
	right(cl_metric_month(unit, metric, flow_instant("2026-11-15T12:00:00Z"), &result, &f->e));
	struct cl_json *report = cl_metric_report(unit, metric, &result);
	flow_valid(f, report);
	flow_text_is(cl_json_get_text(report, "id"), "loop-closed-2026-11");
	flow_text_is(cl_json_get_text(report, "type"), "summary");
	flow_text_is(cl_json_get_text(report, "measure"), "urn:careloop:metric:loop_closed|2");
	flow_text_is(cl_json_text(cl_json_path(report, "period", "start", NULL)), "2026-11-01");
	flow_text_is(cl_json_text(cl_json_path(report, "period", "end", NULL)), "2026-11-30");
	flow_text_is(cl_json_text(cl_json_path(report, "reporter", "reference", NULL)), "Organization/riverside");
	flow_text_is(cl_json_text(cl_json_path(report, "improvementNotation", "coding", "0", "code", NULL)),
	             "increase");
	flow_text_is(cl_json_text(cl_json_path(report, "group", "0", "measureScore", "value", NULL)), "60");
	flow_text_is(cl_json_text(cl_json_path(report, "group", "0", "population", "1", "count", NULL)), "3");
	flow_text_is(cl_json_text(cl_json_path(report, "group", "0", "population", "0", "code", "coding", "0", "code",
	                                       NULL)),
	             "denominator");
	struct cl_json *measure = cl_metric_measure(unit, metric);
	flow_valid(f, measure);
	flow_text_is(cl_json_get_text(measure, "url"), "urn:careloop:metric:loop_closed");
	flow_text_is(cl_json_get_text(measure, "name"), "LoopClosed");
	flow_text_is(cl_json_text(cl_json_path(measure, "scoring", "coding", "0", "code", NULL)), "proportion");
	flow_text_is(cl_json_text(cl_json_path(measure, "extension", "1", "valueDecimal", NULL)), "70.5");
	flow_text_is(
	        cl_json_text(cl_json_path(measure, "group", "0", "population", "2", "criteria", "expression", NULL)),
	        "reached done within 60 days");
	/* It can be stored as it is. */
	right(cl_change_update(unit, report, 0, NULL, &f->issues, &f->e));
	right(cl_change_update(unit, measure, 0, NULL, &f->issues, &f->e));
	flow_rollback(f);
}

/* ---- views ---- */

static void rows_are(const struct cl_view *view, uint32_t limit, const char *expected)
{
	struct cl_json *rows;
	struct cl_buf out;
	struct cl_unit *unit = flow_begin(f);
	right(cl_view_rows(unit, view, limit, &rows, &f->e));
	cl_buf_init(&out, 0);
	cl_json_write(&out, rows);
	flow_text_is(cl_buf_str(&out), expected);
	cl_buf_free(&out);
	flow_rollback(f);
}

static void views(void **state)
{
	(void)state;
	struct cl_unit *unit = flow_begin(f);
	right(cl_change_create(
	        unit,
	        flow_json(f, "{\"resourceType\":\"Patient\",\"name\":[{\"use\":\"usual\",\"text\":\"Bo\"},{\"use\":"
	                     "\"official\",\"given\":[\"Ana\",\"Maria\"],\"family\":\"Rivera\"}]}"),
	        CL_STR("p"), NULL, &f->issues, &f->e));
	flow_commit(f);
	w->states[0].within = flow_duration("2 business days");
	struct cl_str first = flow_start(f, "callback", "", "", "");
	f->now += CL_HOUR;
	struct cl_str second = flow_start(f, "callback", "", "", "");
	flow_move(f, second, "call", "{\"reason\":\"asked twice\",\"attempts\":2}");
	struct cl_str third = flow_start(f, "callback", "done", "", "");
	(void)third;
	struct cl_view *view = &f->catalog.views[f->catalog.view_count++];
	*view = (struct cl_view){.name = CL_STR("who"), .workflow = CL_STR("callback")};
	flow_words(f,
	           "patient patient_name subject state action owner due overdue age_days started data.reason "
	           "data.attempts",
	           &view->columns, &view->column_count);
	rows_are(
	        view, 100,
	        "[[\"Patient/p\",\"Ana "
	        "Rivera\",\"Patient/p\",\"asked\",\"Call\",\"front_desk\",\"2026-11-04T09:00:00-06:00\",false,0,"
	        "\"2026-11-02T09:00:00-06:00\",null,null],[\"Patient/p\",\"Ana Rivera\",\"Patient/p\",\"calling\",null,"
	        "\"front_desk\",\"2027-11-02T10:00:00-05:00\",false,0,\"2026-11-02T10:00:00-06:00\",\"asked "
	        "twice\",2]]");
	/* Escalated ones stay overdue although their clock runs again. */
	flow_words(f, "state overdue age_days", &view->columns, &view->column_count);
	flow_advance_to(f, flow_instant("2026-11-05T09:00:00-06:00"));
	rows_are(view, 100, "[[\"asked\",true,3],[\"calling\",false,2]]");
	flow_words(f, "calling asked", &view->states, &view->state_count);
	rows_are(view, 100, "[[\"asked\",true,3],[\"calling\",false,2]]");
	rows_are(view, 1, "[[\"asked\",true,3]]");
	flow_words(f, "calling", &view->states, &view->state_count);
	flow_words(f, "task unknown", &view->columns, &view->column_count);
	char expected[80];
	snprintf(expected, sizeof expected, "[[\"Task/%.*s\",null]]", CL_STR_ARGS(second));
	rows_are(view, 100, expected);
	(void)first;
	struct cl_json *rows;
	unit = flow_begin(f);
	view->workflow = CL_STR_NONE;
	assert_int_equal(cl_view_rows(unit, view, 10, &rows, &f->e), CL_E_UNSUPPORTED);
	flow_rollback(f);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	        TEST(counting),  TEST(reaching),    TEST(entering),
	        TEST(elapsing),  TEST(percentiles), TEST(overdue_is_no_entry),
	        TEST(functions), TEST(the_report),  TEST(views),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
