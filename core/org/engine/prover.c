/* prover.c: the thread that proves clients at the token endpoint: signatures and argon2id take time that neither the loop nor the
 * writer has. What it found out goes with the job to the writer. */
#include "org/engine/engine.h"
#include "base/log.h"
#include <stdlib.h>

void *cl_engine_prover(void *argument)
{
	struct cl_engine *engine = argument;
	struct cl_store *store;
	struct cl_err e = {0};
	if (cl_store_open(engine->folder, engine->organization->id.p, CL_STORE_READER, &store, &e)) {
		cl_log(CL_LOG_ERROR, "prover-open", "message=%s", e.message);
		abort();
	}
	struct cl_job *job;
	while ((job = cl_lane_take(&engine->prover, 1, INT64_MAX))) {
		if (job->route.kind == CL_ROUTE_CONSOLE) {
			cl_token_make_secret(job->arena, &job->proof);
			job->proof.made = true;
		} else {
			cl_token_prove(engine->organization, job->rules, store, job->arena, &job->request, &job->route,
			               &job->proof);
		}
		cl_rules_release(job->rules);
		job->rules = NULL;
		if (cl_lane_push(&engine->writer, job))
			continue;
		cl_fail(&e, CL_E_BUSY, "the organization is busy; try again in a moment");
		cl_token_refuse(job->arena, &e, &job->outcome.response);
		cl_engine_complete(engine, job);
	}
	cl_store_close(store);
	return NULL;
}
