/* fair_queue.c: searches wait here. Whoever has used the search threads least comes first, so that one client's many or heavy
 * searches delay its own and nobody else's: each client has a clock of its own that runs while its searches do, and the client
 * whose clock is furthest behind is served next (start-time fair queueing). */
#include "org/engine/engine.h"
#include <stdlib.h>

/* A client whose searches take longer than this gets one thread; no client gets all of them. */
#define HEAVY (50 * 1000)
#define MOST_RUNNING (CL_ENGINE_SEARCHERS - 1)
#define MOST_WAITING (CL_ENGINE_QUEUE / 4)

void cl_fair_init(struct cl_fair_queue *queue)
{
	*queue = (struct cl_fair_queue){0};
	queue->end = &queue->first;
	pthread_mutex_init(&queue->lock, NULL);
	pthread_cond_init(&queue->wake, NULL);
}

/* Clients that share a place share its turns. */
static struct cl_fair_client *client_of(struct cl_fair_queue *queue, const struct cl_job *job)
{
	const struct cl_credential *credential = &job->request.credential;
	const struct cl_str parts[] = {credential->anchor, credential->name, credential->token};
	uint32_t hash = 2166136261u;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		for (size_t k = 0; k < parts[i].n; k++)
			hash = (hash ^ (unsigned char)parts[i].p[k]) * 16777619u;
	return &queue->clients[(hash ^ hash >> 15) % CL_FAIR_CLIENTS];
}

bool cl_fair_push(struct cl_fair_queue *queue, struct cl_job *job)
{
	pthread_mutex_lock(&queue->lock);
	struct cl_fair_client *client = client_of(queue, job);
	bool room = queue->count < CL_ENGINE_QUEUE && client->waiting < MOST_WAITING && !queue->stop;
	if (room) {
		/* Who was away has saved up no turns. */
		if (!client->waiting && !client->running && client->clock < queue->clock)
			client->clock = queue->clock;
		client->waiting++;
		job->client = client;
		job->next = NULL;
		*queue->end = job;
		queue->end = &job->next;
		queue->count++;
		pthread_cond_signal(&queue->wake);
	}
	pthread_mutex_unlock(&queue->lock);
	return room;
}

static bool may_run(const struct cl_fair_queue *queue, const struct cl_fair_client *client, int64_t now)
{
	if (!client->running)
		return true;
	if (client->running >= MOST_RUNNING || client->typical > HEAVY)
		return false;
	for (size_t i = 0; i < CL_ENGINE_SEARCHERS; i++)
		if (queue->running[i] && queue->running[i]->client == client && now - queue->running[i]->begun > HEAVY)
			return false;
	return true;
}

static struct cl_job *choose(struct cl_fair_queue *queue)
{
	struct cl_job **best = NULL;
	int64_t now = cl_monotonic();
	for (struct cl_job **place = &queue->first; *place; place = &(*place)->next)
		if (may_run(queue, (*place)->client, now) &&
		    (!best || (*place)->client->clock < (*best)->client->clock))
			best = place;
	if (!best)
		return NULL;
	struct cl_job *job = *best;
	*best = job->next;
	if (queue->end == &job->next)
		queue->end = best;
	job->next = NULL;
	queue->count--;
	queue->clock = job->client->clock;
	job->client->clock += job->client->typical;
	job->client->waiting--;
	job->client->running++;
	job->begun = now;
	for (size_t i = 0; i < CL_ENGINE_SEARCHERS; i++)
		if (!queue->running[i]) {
			queue->running[i] = job;
			break;
		}
	return job;
}

struct cl_job *cl_fair_take(struct cl_fair_queue *queue)
{
	struct cl_job *job = NULL;
	pthread_mutex_lock(&queue->lock);
	while (!queue->stop && !(job = choose(queue)))
		pthread_cond_wait(&queue->wake, &queue->lock);
	pthread_mutex_unlock(&queue->lock);
	return job;
}

void cl_fair_done(struct cl_fair_queue *queue, struct cl_job *job)
{
	pthread_mutex_lock(&queue->lock);
	struct cl_fair_client *client = job->client;
	int64_t spent = cl_monotonic() - job->begun;
	client->clock += spent - client->typical;
	client->typical += (spent - client->typical) / 4;
	client->running--;
	for (size_t i = 0; i < CL_ENGINE_SEARCHERS; i++)
		if (queue->running[i] == job)
			queue->running[i] = NULL;
	/* A job of this client may have waited for this one to end. */
	pthread_cond_broadcast(&queue->wake);
	pthread_mutex_unlock(&queue->lock);
}

void cl_fair_cancel(struct cl_fair_queue *queue, const struct cl_link *link, uint64_t frame)
{
	pthread_mutex_lock(&queue->lock);
	for (struct cl_job *job = queue->first; job; job = job->next)
		if (job->link == link && job->frame == frame)
			atomic_store(&job->cancelled, true);
	for (size_t i = 0; i < CL_ENGINE_SEARCHERS; i++)
		if (queue->running[i] && queue->running[i]->link == link && queue->running[i]->frame == frame)
			atomic_store(&queue->running[i]->cancelled, true);
	pthread_mutex_unlock(&queue->lock);
}

void cl_fair_stop(struct cl_fair_queue *queue)
{
	pthread_mutex_lock(&queue->lock);
	queue->stop = true;
	pthread_cond_broadcast(&queue->wake);
	pthread_mutex_unlock(&queue->lock);
}
