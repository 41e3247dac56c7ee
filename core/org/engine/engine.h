/* engine.h: the threads of an organization process (design §2). The loop thread owns the frames and reads by id; the writer
 * thread owns Lua and the only connection that writes; search threads run searches on read-only connections; the measure thread
 * computes metrics and measures, in slices, on another one and with a Lua of its own. Jobs travel loop -> lane -> loop, one way
 * round; what has to be proved goes loop -> prover -> writer -> loop. */
#pragma once
#include "org/engine/export.h"
#include "org/engine/token.h"
#include "wire/channel.h"
#include <event2/event.h>
#include <pthread.h>

#define CL_ENGINE_QUEUE 4096 /* jobs waiting for one lane; more are answered 503 at once */
#define CL_ENGINE_TICK_JOBS 256
#define CL_ENGINE_TICK_TIME (20 * 1000) /* microseconds of running before a tick commits what it has */
#define CL_ENGINE_SEARCHERS 3
#define CL_ENGINE_PROOFS 64 /* jobs that wait for the prover; each may take it 20 ms */
#define CL_ENGINE_WAL (16 * 1024 * 1024)
#define CL_ENGINE_FOLD (100 * 1000) /* read leaves are folded within this many microseconds (design §7) */
#define CL_ENGINE_LAST_WORDS                                                                                           \
	(2 * 1000 * 1000) /* microseconds that the last answers may take to leave a process that ends */

/* A gateway's, courier's or supervisor's connection; outlives the channel while jobs refer to it. Loop thread only. */
struct cl_link {
	struct cl_link *next;
	struct cl_engine *engine;
	struct cl_channel *channel; /* NULL once closed */
	pid_t peer; /* the process at its other end, as the kernel says (SO_PEERCRED) */
	int references;
	uint64_t cancelled[16]; /* ids of requests whose client went away, newest last */
	unsigned cancelled_next;
	uint64_t last; /* highest id of a request that came; its peer counts up */
	struct cl_job *unsent, **unsent_end; /* answers that wait for room in the channel's queue, in order */
};

struct cl_job {
	struct cl_job *next;
	struct cl_arena *arena;
	struct cl_request request;
	struct cl_route route;
	struct cl_link *link;
	uint64_t frame;
	struct cl_rules *
	        rules; /* searches and measures: the rules when it came; finished writes: those they ran under, which changes
				     * borrow names from */
	struct cl_token_proof proof; /* what the prover found out, when it had this job */
	struct cl_outcome outcome;
	/* Searches: */
	struct cl_fair_client *client;
	int64_t begun; /* cl_monotonic */
	_Atomic bool cancelled; /* nobody waits for the answer any more */
};

struct cl_lane_queue {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct cl_job *first, **end;
	size_t count, limit;
	bool stop;
};

void cl_lane_init(struct cl_lane_queue *lane);
/* False when the lane is full. */
bool cl_lane_push(struct cl_lane_queue *lane, struct cl_job *job);
/* Takes up to `limit` jobs, waiting at most until `deadline` (cl_monotonic; INT64_MAX = for ever). NULL on time-out or stop. */
struct cl_job *cl_lane_take(struct cl_lane_queue *lane, size_t limit, int64_t deadline);
void cl_lane_stop(struct cl_lane_queue *lane);

/* Where searches wait (fair_queue.c). */
#define CL_FAIR_CLIENTS 256
struct cl_fair_client {
	int64_t clock, typical; /* microseconds */
	unsigned waiting, running;
};

struct cl_fair_queue {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct cl_job *first, **end;
	size_t count;
	bool stop;
	int64_t clock; /* of the client that was served last */
	struct cl_job *running[CL_ENGINE_SEARCHERS];
	struct cl_fair_client clients[CL_FAIR_CLIENTS];
};

void cl_fair_init(struct cl_fair_queue *queue);
/* False when there is no room, for anybody or for this client. */
bool cl_fair_push(struct cl_fair_queue *queue, struct cl_job *job);
/* Waits for a job; NULL once it is stopped. Each one taken is to be given to cl_fair_done. */
struct cl_job *cl_fair_take(struct cl_fair_queue *queue);
void cl_fair_done(struct cl_fair_queue *queue, struct cl_job *job);
/* Loop thread: the client went away. */
void cl_fair_cancel(struct cl_fair_queue *queue, const struct cl_link *link, uint64_t frame);
void cl_fair_stop(struct cl_fair_queue *queue);

/* An open event stream. Loop thread only. */
struct cl_stream {
	struct cl_stream *next;
	struct cl_link *link;
	struct cl_arena *arena; /* its own */
	uint64_t frame;
	struct cl_credential credential; /* resolved again for what is published, so that revocation ends the stream */
	const struct cl_principal *listener; /* while changes are published: who hears them; NULL = nobody */
	uint64_t after; /* what was committed up to here it knows, or has no part in */
	/* Only what satisfies these criteria is told; empty = everything. Compiled under `rules`, anew when others are in force. */
	struct cl_str watched;
	struct cl_str subscription; /* id of the Subscription that they are of; the stream ends with it */
	cl_instant opened;
	struct cl_rules *rules;
	struct cl_arena *compiled;
	uint16_t type;
	struct cl_criterion *where;
	bool courier; /* hears only that the outbox changed */
	bool behind; /* an event found no room in the channel's queue: it must resync */
};

struct cl_engine {
	struct event_base *base;
	struct cl_organization *organization; /* the writer's */
	const char *folder;
	struct cl_rules *rules; /* the loop's */
	struct cl_store *reader; /* the loop's */
	struct cl_link *links;
	struct cl_stream *streams;
	struct cl_channel *control;
	pid_t supervisor, courier; /* processes that may speak for administrators, and as the courier; 0 = none yet */
	struct event *listener, *completed_event, *term;
	struct event *retry; /* for what found no room in a channel's queue */
	int completed_fd;
	struct cl_lane_queue writer, prover, measurer;
	struct cl_fair_queue searcher;
	pthread_t writer_thread, search_threads[CL_ENGINE_SEARCHERS], export_thread, prover_thread, measure_thread;
	struct cl_exports *exports;
	_Atomic bool gate_wanted; /* the log is so long that searches which have had their time must end */
	pthread_rwlock_t
	        gate; /* searches hold it for reading; a checkpoint that restarts the log holds it for writing */
	/* Finished jobs on their way back to the loop, and notes from the writer. */
	pthread_mutex_t completed_lock;
	struct cl_job *completed, **completed_end;
	struct cl_rules *published; /* new rules for the loop, or NULL */
	struct cl_audit_head head;
	bool head_new, outbox_new;
	/* A reload that waits for the writer: the file in the organization's folder, empty when there is none. */
	pthread_mutex_t reload_lock;
	char reload_file[256];
	struct cl_err reload_problem;
	bool reload_done;
	_Atomic bool stopping;
};

/* Serves on the listening socket until told to stop. `control` is the supervisor's channel descriptor or -1. */
int cl_engine_run(struct cl_organization *organization, const char *folder, int listener, int control,
                  const struct cl_export_settings *exports, struct cl_err *e);

/* writer.c, searcher.c, exporter.c, prover.c, measurer.c: the bodies of the threads. */
void *cl_engine_writer(void *engine);
void *cl_engine_searcher(void *engine);
void *cl_engine_exporter(void *engine);
void *cl_engine_prover(void *engine);
void *cl_engine_measurer(void *engine);
/* Any thread: hands a finished list of jobs back to the loop. */
void cl_engine_complete(struct cl_engine *engine, struct cl_job *first);
void cl_engine_poke(struct cl_engine *engine);
/* Loop thread: tries again soon what found no room in a channel's queue. */
void cl_engine_retry_soon(struct cl_engine *engine);
/* stream.c: loop thread. */
/* `context` says what is watched; NULL with `principal` for the courier's. */
void cl_stream_open(struct cl_engine *engine, struct cl_job *job, const struct cl_principal *principal,
                    const struct cl_interaction_context *context);
void cl_stream_publish(struct cl_engine *engine, const struct cl_change *changes);
void cl_stream_outbox(struct cl_engine *engine);
void cl_stream_drop(struct cl_engine *engine, const struct cl_link *link, uint64_t frame, bool all);
/* Streams that are behind hear that they must resync. False while one could not be told. */
bool cl_stream_catch_up(struct cl_engine *engine);
