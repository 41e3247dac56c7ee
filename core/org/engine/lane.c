/* lane.c: a bounded queue of jobs between two threads. */
#include "org/engine/engine.h"
#include <time.h>

void cl_lane_init(struct cl_lane_queue *lane)
{
	pthread_condattr_t attributes;
	*lane = (struct cl_lane_queue){0};
	lane->end = &lane->first;
	lane->limit = CL_ENGINE_QUEUE;
	pthread_mutex_init(&lane->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&lane->wake, &attributes);
	pthread_condattr_destroy(&attributes);
}

bool cl_lane_push(struct cl_lane_queue *lane, struct cl_job *job)
{
	pthread_mutex_lock(&lane->lock);
	bool room = lane->count < lane->limit && !lane->stop;
	if (room) {
		job->next = NULL;
		*lane->end = job;
		lane->end = &job->next;
		lane->count++;
		if (lane->count == 1)
			pthread_cond_signal(&lane->wake);
	}
	pthread_mutex_unlock(&lane->lock);
	return room;
}

struct cl_job *cl_lane_take(struct cl_lane_queue *lane, size_t limit, int64_t deadline)
{
	struct timespec until = {deadline / 1000000, (deadline % 1000000) * 1000};
	pthread_mutex_lock(&lane->lock);
	while (!lane->first && !lane->stop) {
		if (deadline == INT64_MAX)
			pthread_cond_wait(&lane->wake, &lane->lock);
		else if (pthread_cond_timedwait(&lane->wake, &lane->lock, &until))
			break;
	}
	struct cl_job *first = lane->first, *last = first;
	for (size_t n = 1; last && n < limit && last->next; n++)
		last = last->next;
	for (struct cl_job *job = first; job; job = job == last ? NULL : job->next)
		lane->count--;
	if (last) {
		lane->first = last->next;
		if (!lane->first)
			lane->end = &lane->first;
		else
			pthread_cond_signal(&lane->wake);
		last->next = NULL;
	}
	pthread_mutex_unlock(&lane->lock);
	return first;
}

void cl_lane_stop(struct cl_lane_queue *lane)
{
	pthread_mutex_lock(&lane->lock);
	lane->stop = true;
	pthread_cond_broadcast(&lane->wake);
	pthread_mutex_unlock(&lane->lock);
}
