/* fair_queue_test.c: who has used the search threads least is served next, nobody gets all of them, what is taken back is told. */
#include "unit/fhir_support.h"
#include "org/engine/engine.h"
#include <stdlib.h>
#include <unistd.h>

static struct cl_job *job_of(const char *name, uint64_t frame)
{
	struct cl_job *job = calloc(1, sizeof *job);
	job->request.credential.name = cl_str_of(name);
	job->frame = frame;
	return job;
}

static uint64_t take(struct cl_fair_queue *queue, unsigned microseconds)
{
	struct cl_job *job = cl_fair_take(queue);
	uint64_t frame = job->frame;
	usleep(microseconds);
	cl_fair_done(queue, job);
	free(job);
	return frame;
}

static void turns(void **state)
{
	(void)state;
	static struct cl_fair_queue queue;
	cl_fair_init(&queue);
	/* Many of one client, then few of two others: those do not wait for the many. */
	for (uint64_t i = 0; i < 20; i++)
		assert_true(cl_fair_push(&queue, job_of("many", 100 + i)));
	assert_int_equal(take(&queue, 20000), 100);
	assert_true(cl_fair_push(&queue, job_of("few", 1)));
	assert_true(cl_fair_push(&queue, job_of("few", 2)));
	assert_true(cl_fair_push(&queue, job_of("other", 3)));
	uint64_t sum = 0;
	for (int i = 0; i < 3; i++)
		sum += take(&queue, 100);
	assert_int_equal(sum, 1 + 2 + 3);
	for (uint64_t i = 1; i < 20; i++)
		assert_int_equal(take(&queue, 0), 100 + i);
	assert_int_equal(queue.count, 0);
	/* Who was away has saved up no turns: after a while alone, the other is not served many times over. */
	for (int i = 0; i < 6; i++) {
		cl_fair_push(&queue, job_of("many", 200));
		take(&queue, 5000);
	}
	for (int i = 0; i < 4; i++) {
		cl_fair_push(&queue, job_of("few", 300));
		cl_fair_push(&queue, job_of("many", 200));
	}
	unsigned others = 0;
	for (int i = 0; i < 4; i++)
		others += take(&queue, 3000) == 200;
	assert_true(others >= 1);
	while (queue.count)
		take(&queue, 0);
}

static void threads(void **state)
{
	(void)state;
	static struct cl_fair_queue queue;
	cl_fair_init(&queue);
	for (uint64_t i = 0; i < 6; i++)
		cl_fair_push(&queue, job_of("one", i));
	struct cl_job *first = cl_fair_take(&queue), *second = cl_fair_take(&queue);
	assert_int_equal(second->frame, 1);
	/* The last thread is for somebody else. */
	cl_fair_push(&queue, job_of("two", 50));
	struct cl_job *third = cl_fair_take(&queue);
	assert_int_equal(third->frame, 50);
	cl_fair_done(&queue, third);
	/* Heavy searches get one thread. */
	usleep(60000);
	cl_fair_done(&queue, second);
	cl_fair_push(&queue, job_of("two", 51));
	struct cl_job *next = cl_fair_take(&queue);
	assert_int_equal(next->frame, 51);
	/* Taken back: running and waiting ones. */
	first->link = (struct cl_link *)&queue;
	cl_fair_cancel(&queue, first->link, first->frame);
	assert_true(first->cancelled);
	cl_fair_cancel(&queue, NULL, 3);
	assert_false(next->cancelled);
	bool told = false;
	for (struct cl_job *job = queue.first; job; job = job->next)
		told |= job->frame == 3 && job->cancelled;
	assert_true(told);
	cl_fair_done(&queue, next);
	cl_fair_done(&queue, first);
	free(first), free(second), free(third), free(next);
	while (queue.count)
		take(&queue, 0);
}

static void bounds(void **state)
{
	(void)state;
	static struct cl_fair_queue queue;
	cl_fair_init(&queue);
	unsigned pushed = 0;
	struct cl_job *refused;
	while (cl_fair_push(&queue, refused = job_of("flood", pushed)))
		pushed++;
	free(refused);
	assert_int_equal(pushed, CL_ENGINE_QUEUE / 4);
	/* The flood fills its own room only. */
	assert_true(cl_fair_push(&queue, job_of("somebody", 1)));
	while (queue.count)
		take(&queue, 0);
	cl_fair_stop(&queue);
	assert_null(cl_fair_take(&queue));
	refused = job_of("late", 1);
	assert_false(cl_fair_push(&queue, refused));
	free(refused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(turns), cmocka_unit_test(threads),
	                                   cmocka_unit_test(bounds)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
