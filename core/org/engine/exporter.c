/* exporter.c: the thread that runs exports, a slice at a time and behind everybody else. */
#include "org/engine/engine.h"
#include "base/log.h"
#include "org/engine/export.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

#define NICENESS 10 /* of 19: others' requests come first, but who waits for the gate does not wait long */

static void wait_for_work(struct cl_exports *exports, int64_t most)
{
	int64_t end = cl_monotonic() + (most > CL_HOUR ? CL_HOUR : most);
	struct timespec until = {end / CL_SECOND, (end % CL_SECOND) * 1000};
	pthread_mutex_lock(&exports->lock);
	bool idle = !exports->stop;
	for (struct cl_export *job = exports->first; job; job = job->next)
		idle &= job->state == CL_EXPORT_DONE || job->state == CL_EXPORT_FAILED;
	if (idle)
		pthread_cond_timedwait(&exports->wake, &exports->lock, &until);
	pthread_mutex_unlock(&exports->lock);
}

void *cl_engine_exporter(void *argument)
{
	struct cl_engine *engine = argument;
	struct cl_exports *exports = engine->exports;
	struct cl_store *store;
	struct cl_err e = {0};
	/* Of this thread only: to Linux, threads are processes here. */
	if (setpriority(PRIO_PROCESS, 0, NICENESS))
		cl_log(CL_LOG_WARNING, "export-priority", "errno=%d", errno);
	if (cl_store_open(engine->folder, engine->organization->id.p, CL_STORE_READER, &store, &e)) {
		cl_log(CL_LOG_ERROR, "exporter-open", "message=%s", e.message);
		abort();
	}
	for (;;) {
		pthread_mutex_lock(&exports->lock);
		bool stop = exports->stop;
		pthread_mutex_unlock(&exports->lock);
		if (stop)
			break;
		int64_t wait = cl_exports_work(exports, store, &engine->gate, engine->organization->tail,
		                               cl_clock_now(engine->organization->clock));
		if (wait)
			wait_for_work(exports, wait);
	}
	cl_store_close(store);
	return NULL;
}
