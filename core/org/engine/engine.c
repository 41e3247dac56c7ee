/* engine.c: the loop thread: frames in, reads answered, jobs out to their lanes and back. */
#include "org/engine/engine.h"
#include "base/hash.h"
#include "base/log.h"
#include "org/engine/run.h"
#include <errno.h>
#include <stdlib.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void link_release(struct cl_link *link)
{
	if (--link->references == 0)
		free(link);
}

static void job_free(struct cl_job *job)
{
	if (job->link)
		link_release(job->link);
	if (job->outcome.response.file)
		close(job->outcome.response.file->descriptor);
	cl_rules_release(job->rules);
	cl_arena_free(job->arena);
	free(job);
}

static bool was_cancelled(const struct cl_link *link, uint64_t frame)
{
	for (size_t i = 0; i < sizeof link->cancelled / sizeof *link->cancelled; i++)
		if (link->cancelled[i] == frame && frame)
			return true;
	return false;
}

/* What was done was done, though its answer is too large for a frame; a read is refused. */
static void answer_too_large(struct cl_job *job)
{
	struct cl_response *response = &job->outcome.response;
	struct cl_err problem = {0};
	struct cl_buf text;
	int status = response->status;
	bool read = cl_str_is(job->request.method, "GET") || job->route.kind == CL_ROUTE_SEARCH;
	cl_fail(&problem, CL_E_TOO_LARGE, "the answer is larger than %d MiB; %s", CL_BODY_MAX >> 20,
	        read ? "ask for less" : "the request itself was carried out: read what it made");
	cl_interaction_answer_error(job->arena, NULL, &problem, response);
	if (read || status >= 300)
		return;
	struct cl_issues issues;
	cl_issues_init(&issues, job->arena, 0);
	cl_issues_add(&issues, CL_SEVERITY_WARNING, "too-long", CL_STR_NONE, "%s", problem.message);
	cl_buf_init(&text, 0);
	cl_outcome_write(&text, &issues);
	response->status = status;
	response->body = cl_arena_copy(job->arena, cl_buf_str(&text));
	cl_buf_free(&text);
}

/* False when the channel's queue is full: then the answer waits. */
static bool send_answer(struct cl_job *job)
{
	struct cl_channel *channel = job->link ? job->link->channel : NULL;
	if (!channel || was_cancelled(job->link, job->frame))
		return true;
	if (job->route.head)
		job->outcome.response.body = CL_STR_NONE;
	int code = cl_channel_send_response(channel, job->frame, &job->outcome.response);
	if (code == CL_E_TOO_LARGE) {
		answer_too_large(job);
		code = cl_channel_send_response(channel, job->frame, &job->outcome.response);
	}
	if (code && code != CL_E_BUSY)
		cl_log(CL_LOG_WARNING, "answer-dropped", "frame=%llu code=%s", (unsigned long long)job->frame,
		       cl_code_name(code));
	return code != CL_E_BUSY;
}

/* Sends the answer, or keeps the job until there is room for it: an answer that was dropped would leave its client to guess. */
static void finish(struct cl_engine *engine, struct cl_job *job)
{
	struct cl_link *link = job->link;
	if ((!link || !link->unsent) && send_answer(job)) {
		job_free(job);
		return;
	}
	job->next = NULL;
	if (!link->unsent)
		link->unsent_end = &link->unsent;
	*link->unsent_end = job;
	link->unsent_end = &job->next;
	cl_engine_retry_soon(engine);
}

static void answer_problem(struct cl_engine *engine, struct cl_job *job, const struct cl_err *problem)
{
	cl_interaction_answer_error(job->arena, NULL, problem, &job->outcome.response);
	finish(engine, job);
}

void cl_engine_retry_soon(struct cl_engine *engine)
{
	static const struct timeval soon = {0, 20 * 1000};
	if (!event_pending(engine->retry, EV_TIMEOUT, NULL))
		event_add(engine->retry, &soon);
}

/* True when nothing waits any more. */
static bool send_unsent(struct cl_link *link)
{
	while (link->unsent && send_answer(link->unsent)) {
		struct cl_job *job = link->unsent;
		link->unsent = job->next;
		job_free(job);
	}
	return !link->unsent;
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
	struct cl_engine *engine = context;
	bool all = true;
	(void)fd;
	(void)what;
	for (struct cl_link *link = engine->links; link; link = link->next)
		all &= send_unsent(link);
	all &= cl_stream_catch_up(engine);
	if (!all)
		cl_engine_retry_soon(engine);
}

void cl_engine_poke(struct cl_engine *engine)
{
	uint64_t one = 1;
	while (write(engine->completed_fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

void cl_engine_complete(struct cl_engine *engine, struct cl_job *first)
{
	pthread_mutex_lock(&engine->completed_lock);
	*engine->completed_end = first;
	while (*engine->completed_end)
		engine->completed_end = &(*engine->completed_end)->next;
	pthread_mutex_unlock(&engine->completed_lock);
	cl_engine_poke(engine);
}

/* ---- towards the supervisor ---- */

static void tell(struct cl_engine *engine, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct cl_engine *engine, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	if (!engine->control)
		return;
	va_start(arguments, format);
	int n = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	cl_channel_send(engine->control, CL_FRAME_CONTROL, 0, (struct cl_str){text, (size_t)n}, -1);
}

static void tell_reload(struct cl_engine *engine, const struct cl_err *problem)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *message = cl_json_new(arena, CL_JSON_OBJECT);
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_json_set_text(arena, message, "do", CL_STR("reloaded"));
	cl_json_set_text(arena, message, "organization", engine->organization->id);
	cl_json_set_boolean(arena, message, "ok", problem->code == 0);
	if (problem->code) {
		cl_json_set_text(arena, message, "error", cl_str_of(problem->message));
		cl_json_set_text(arena, message, "where", cl_str_of(problem->where));
	} else {
		cl_json_set_text(arena, message, "plugins", engine->rules->catalog->hash);
	}
	cl_json_write(&text, message);
	if (engine->control)
		cl_channel_send(engine->control, CL_FRAME_CONTROL, 0, cl_buf_str(&text), -1);
	cl_buf_free(&text);
	cl_arena_free(arena);
}

/* ---- finished work ---- */

static void on_completed(evutil_socket_t fd, short what, void *context)
{
	struct cl_engine *engine = context;
	uint64_t count;
	char hex[65];
	(void)what;
	if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
		cl_log(CL_LOG_ERROR, "eventfd", "errno=%d", errno);
	pthread_mutex_lock(&engine->completed_lock);
	struct cl_job *job = engine->completed;
	engine->completed = NULL;
	engine->completed_end = &engine->completed;
	struct cl_rules *published = engine->published;
	engine->published = NULL;
	bool head_new = engine->head_new, outbox_new = engine->outbox_new, reload_done = engine->reload_done;
	struct cl_audit_head head = engine->head;
	struct cl_err problem = engine->reload_problem;
	engine->head_new = engine->outbox_new = engine->reload_done = false;
	pthread_mutex_unlock(&engine->completed_lock);
	if (published) {
		cl_exports_set_rules(engine->exports, published);
		cl_rules_release(engine->rules);
		engine->rules = published;
	}
	while (job) {
		struct cl_job *next = job->next;
		const struct cl_change *changes = job->outcome.changes;
		/* Its memory is needed once more: the answer goes first, the job last. */
		bool sent = (!job->link || !job->link->unsent) && send_answer(job);
		cl_stream_publish(engine, changes);
		if (sent)
			job_free(job);
		else
			finish(engine, job);
		job = next;
	}
	if (outbox_new)
		cl_stream_outbox(engine);
	if (reload_done)
		tell_reload(engine, &problem);
	if (head_new) {
		cl_hex(head.root, sizeof head.root, hex);
		tell(engine, "{\"do\":\"head\",\"organization\":\"%s\",\"size\":%llu,\"root\":\"%s\",\"at\":%lld}",
		     engine->organization->id.p, (unsigned long long)head.size, hex,
		     (long long)cl_clock_now(engine->organization->clock));
	}
}

/* ---- requests ---- */

static void answer_on_loop(struct cl_engine *engine, struct cl_job *job, const struct cl_principal *principal)
{
	struct cl_issues issues;
	cl_issues_init(&issues, job->arena, 0);
	struct cl_interaction_context context = {
	        .arena = job->arena,
	        .store = engine->reader,
	        .rules = engine->rules,
	        .request = &job->request,
	        .route = &job->route,
	        .principal = principal,
	        .now = cl_clock_now(engine->organization->clock),
	        .response = &job->outcome.response,
	        .issues = &issues,
	        .exports = engine->exports,
	};
	/* One look at the file for all that the answer needs: the text and what decides on it are of one version. */
	struct cl_err ignored = {0};
	cl_store_snapshot_begin(engine->reader, &ignored);
	cl_interaction_run_read(&context, engine->organization->tail);
	cl_store_snapshot_end(engine->reader);
	if (context.streams) {
		cl_stream_open(engine, job, principal, &context);
		job_free(job);
	} else {
		finish(engine, job);
	}
}

/* `lane` NULL: that of searches, which takes turns among clients. */
static void hand_over(struct cl_engine *engine, struct cl_job *job, struct cl_lane_queue *lane)
{
	struct cl_err problem = {0};
	if (lane != &engine->writer)
		job->rules = cl_rules_keep(engine->rules);
	if (lane ? cl_lane_push(lane, job) : cl_fair_push(&engine->searcher, job))
		return;
	cl_fail(&problem, CL_E_BUSY, "the organization is busy; try again in a moment");
	if (lane == &engine->prover && job->route.kind != CL_ROUTE_CONSOLE) {
		cl_token_refuse(job->arena, &problem, &job->outcome.response);
		finish(engine, job);
		return;
	}
	answer_problem(engine, job, &problem);
}

static void on_request(struct cl_engine *engine, struct cl_link *link, uint64_t frame, struct cl_str payload,
                       int descriptor)
{
	struct cl_err problem = {0};
	const struct cl_principal *principal;
	struct cl_job *job = calloc(1, sizeof *job);
	job->arena = cl_arena_new(0);
	job->link = link;
	link->references++;
	job->frame = frame;
	link->last = frame > link->last ? frame : link->last;
	if (cl_request_decode(job->arena, payload, descriptor, &job->request, &problem)) {
		answer_problem(engine, job, &problem);
		return;
	}
	/* Only the supervisor speaks for administrators and only the courier for itself, whatever a frame or a greeting says: the
	 * kernel tells which process it is. And either does nothing but that. */
	uint8_t kind = job->request.credential.kind;
	bool courier = cl_str_is(job->request.method, "COURIER"), console = cl_str_is(job->request.method, "CONSOLE");
	if (console != (kind == CL_CREDENTIAL_CONSOLE) || courier != (kind == CL_CREDENTIAL_COURIER) ||
	    (console && link->peer != engine->supervisor) || (courier && link->peer != engine->courier)) {
		cl_fail(&problem, CL_E_FORBIDDEN, "not from this process");
		answer_problem(engine, job, &problem);
		return;
	}
	if (cl_route_find(job->arena, &job->request, &job->route, &problem)) {
		answer_problem(engine, job, &problem);
		return;
	}
	if (courier && cl_str_is(job->request.target, "/outbox/stream")) {
		cl_stream_open(engine, job, NULL, NULL);
		job_free(job);
		return;
	}
	switch (cl_route_lane(&job->route, engine->rules)) {
	case CL_LANE_WRITER:
		/* A batch that only reads need not wait for those that write. */
		hand_over(engine, job,
		          job->route.kind == CL_ROUTE_BUNDLE && cl_batch_may_be_reads(job->request.body) ? NULL
		          : console && cl_token_makes_secret(job->arena, &job->request) ? &engine->prover
		                                                                        : &engine->writer);
		return;
	case CL_LANE_PROVER:
		hand_over(engine, job, &engine->prover);
		return;
	case CL_LANE_MEASURE:
		hand_over(engine, job, &engine->measurer);
		return;
	case CL_LANE_SEARCH:
		hand_over(engine, job, NULL);
		return;
	case CL_LANE_LOOP:
		break;
	}
	if (cl_access_resolve(engine->rules->access, engine->reader, job->arena, &job->request.credential,
	                      cl_clock_now(engine->organization->clock), &principal, &problem)) {
		if (problem.code == CL_E_UNAUTHENTICATED)
			cl_interaction_audit_stranger(engine->organization->tail, &job->request, &job->route,
			                              cl_clock_now(engine->organization->clock));
		cl_interaction_answer_stranger(job->arena, &job->request, &problem, &job->outcome.response);
		finish(engine, job);
		return;
	}
	answer_on_loop(engine, job, principal);
}

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_link *link = context;
	struct cl_engine *engine = link->engine;
	switch (type) {
	case CL_FRAME_REQUEST:
		/* After GOAWAY: its sender sends it again to the next process. */
		if (!atomic_load(&engine->stopping))
			on_request(engine, link, id, payload, descriptor);
		break;
	case CL_FRAME_CANCEL:
		link->cancelled[link->cancelled_next++ % (sizeof link->cancelled / sizeof *link->cancelled)] = id;
		cl_stream_drop(engine, link, id, false);
		cl_fair_cancel(&engine->searcher, link, id);
		break;
	case CL_FRAME_PING:
		cl_channel_send(channel, CL_FRAME_PONG, id, CL_STR_NONE, -1);
		break;
	default:
		break;
	}
	if (descriptor >= 0)
		close(descriptor);
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_link *link = context;
	struct cl_engine *engine = link->engine;
	(void)reason;
	cl_stream_drop(engine, link, 0, true);
	for (struct cl_link **place = &engine->links; *place; place = &(*place)->next)
		if (*place == link) {
			*place = link->next;
			break;
		}
	link->channel = NULL;
	cl_channel_free(channel);
	send_unsent(link);
	link_release(link);
}

static void on_connection(evutil_socket_t listener, short what, void *context)
{
	static const struct cl_channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};
	struct cl_engine *engine = context;
	(void)what;
	for (int n = 0; n < 64; n++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		struct ucred peer = {0};
		socklen_t size = sizeof peer;
		struct cl_link *link = calloc(1, sizeof *link);
		link->engine = engine;
		link->peer = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) ? -1 : peer.pid;
		link->references = 1;
		link->next = engine->links;
		engine->links = link;
		link->channel = cl_channel_new(engine->base, fd, CL_ROLE_ORGANIZATION, &callbacks, link);
	}
}

/* ---- from the supervisor ---- */

static void stop(struct cl_engine *engine)
{
	if (atomic_exchange(&engine->stopping, true))
		return;
	event_base_loopbreak(engine->base);
}

/* The staged archive was loaded and tested by a staging process; the writer loads it again, because all Lua is the writer's,
 * the page that says what runs included, and swaps it in between two ticks. */
static void reload(struct cl_engine *engine, struct cl_str file)
{
	struct cl_err problem = {0};
	if (!file.n || file.n >= sizeof engine->reload_file || memchr(file.p, '/', file.n)) {
		cl_fail(&problem, CL_E_NOT_FOUND, "no staged plugins to load");
		tell_reload(engine, &problem);
		return;
	}
	pthread_mutex_lock(&engine->reload_lock);
	snprintf(engine->reload_file, sizeof engine->reload_file, "%.*s", CL_STR_ARGS(file));
	pthread_mutex_unlock(&engine->reload_lock);
	pthread_mutex_lock(&engine->writer.lock);
	pthread_cond_signal(&engine->writer.wake);
	pthread_mutex_unlock(&engine->writer.lock);
}

static void on_control(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                       int descriptor, void *context)
{
	struct cl_engine *engine = context;
	struct cl_err e = {0};
	struct cl_json *message;
	(void)channel;
	(void)id;
	if (descriptor >= 0)
		close(descriptor);
	if (type != CL_FRAME_CONTROL)
		return;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str copy = cl_arena_copy(arena, payload);
	if (!cl_json_parse(arena, copy, NULL, &message, &e)) {
		struct cl_str verb = cl_json_get_text(message, "do");
		enum cl_log_level level;
		if (cl_str_is(verb, "stop"))
			stop(engine);
		else if (cl_str_is(verb, "log") && cl_log_level_of(cl_json_get_text(message, "level"), &level))
			cl_log_set_level(level);
		else if (cl_str_is(verb, "courier")) {
			int64_t pid = 0;
			cl_json_integer(cl_json_get(message, "pid"), &pid);
			engine->courier = (pid_t)pid;
		} else if (cl_str_is(verb, "reload"))
			reload(engine, cl_json_get_text(message, "archive"));
	}
	cl_arena_free(arena);
}

static void on_control_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_engine *engine = context;
	(void)reason;
	cl_channel_free(channel);
	engine->control = NULL;
	stop(engine);
}

static void on_term(evutil_socket_t signal_number, short what, void *context)
{
	(void)signal_number;
	(void)what;
	stop(context);
}

/* ---- life ---- */

static int start_threads(struct cl_engine *engine, struct cl_err *e)
{
	if (pthread_create(&engine->writer_thread, NULL, cl_engine_writer, engine))
		return cl_fail(e, CL_E_INTERNAL, "cannot start the writer thread");
	if (pthread_create(&engine->measure_thread, NULL, cl_engine_measurer, engine))
		return cl_fail(e, CL_E_INTERNAL, "cannot start the measure thread");
	for (int i = 0; i < CL_ENGINE_SEARCHERS; i++)
		if (pthread_create(&engine->search_threads[i], NULL, cl_engine_searcher, engine))
			return cl_fail(e, CL_E_INTERNAL, "cannot start a search thread");
	if (pthread_create(&engine->export_thread, NULL, cl_engine_exporter, engine))
		return cl_fail(e, CL_E_INTERNAL, "cannot start the export thread");
	if (pthread_create(&engine->prover_thread, NULL, cl_engine_prover, engine))
		return cl_fail(e, CL_E_INTERNAL, "cannot start the prover thread");
	return 0;
}

static void say_goodbye(struct cl_engine *engine)
{
	/* What is queued is answered by the last ticks; what comes later is sent again to the next process. */
	for (struct cl_link *link = engine->links; link; link = link->next)
		cl_channel_send(link->channel, CL_FRAME_GOAWAY, link->last, CL_STR_NONE, -1);
}

/* What the threads finished goes out before the process ends, unless somebody does not take it. */
static void send_the_rest(struct cl_engine *engine)
{
	int64_t until = cl_monotonic() + CL_ENGINE_LAST_WORDS;
	bool pending = true;
	on_completed(engine->completed_fd, 0, engine);
	while (pending && cl_monotonic() < until) {
		event_base_loop(engine->base, EVLOOP_NONBLOCK);
		pending = false;
		for (struct cl_link *link = engine->links; link; link = link->next)
			pending |= link->unsent || cl_channel_pending(link->channel) > 0;
		if (pending)
			usleep(1000);
	}
}

int cl_engine_run(struct cl_organization *organization, const char *folder, int listener, int control,
                  const struct cl_export_settings *exports, struct cl_err *e)
{
	static const struct cl_channel_callbacks control_callbacks = {.frame = on_control, .closed = on_control_closed};
	struct cl_engine *engine = calloc(1, sizeof *engine);
	pthread_rwlockattr_t gate;
	engine->organization = organization;
	engine->folder = folder;
	engine->supervisor = getppid();
	engine->rules = cl_rules_keep(organization->rules);
	engine->completed_end = &engine->completed;
	pthread_mutex_init(&engine->completed_lock, NULL);
	pthread_mutex_init(&engine->reload_lock, NULL);
	pthread_rwlockattr_init(&gate);
	pthread_rwlockattr_setkind_np(&gate, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&engine->gate, &gate);
	cl_lane_init(&engine->writer);
	cl_fair_init(&engine->searcher);
	cl_lane_init(&engine->prover);
	engine->prover.limit = CL_ENGINE_PROOFS;
	cl_lane_init(&engine->measurer);
	int code = cl_store_open(folder, organization->id.p, CL_STORE_READER, &engine->reader, e);
	if (!code)
		code = cl_exports_open(folder, exports, organization->rules, &engine->exports, e);
	organization->exports = engine->exports;
	if (code)
		return code;
	engine->base = event_base_new();
	engine->completed_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	engine->completed_event =
	        event_new(engine->base, engine->completed_fd, EV_READ | EV_PERSIST, on_completed, engine);
	event_add(engine->completed_event, NULL);
	evutil_make_socket_nonblocking(listener);
	engine->listener = event_new(engine->base, listener, EV_READ | EV_PERSIST, on_connection, engine);
	event_add(engine->listener, NULL);
	engine->term = evsignal_new(engine->base, SIGTERM, on_term, engine);
	event_add(engine->term, NULL);
	engine->retry = evtimer_new(engine->base, on_retry, engine);
	if (control >= 0)
		engine->control =
		        cl_channel_new(engine->base, control, CL_ROLE_ORGANIZATION, &control_callbacks, engine);
	code = start_threads(engine, e);
	if (code)
		return code;
	atomic_store(&organization->watch->ready, 1);
	tell(engine, "{\"do\":\"ready\",\"organization\":\"%s\",\"plugins\":\"%.*s\"}", organization->id.p,
	     CL_STR_ARGS(engine->rules->catalog->hash));
	cl_log(CL_LOG_INFO, "serving", "plugins=%.12s", engine->rules->catalog->hash.p);
	event_base_dispatch(engine->base);

	event_del(engine->listener);
	say_goodbye(engine);
	atomic_store(&engine->stopping, true);
	/* First, for what it has proved goes to the writer. */
	cl_lane_stop(&engine->prover);
	pthread_join(engine->prover_thread, NULL);
	cl_lane_stop(&engine->writer);
	cl_fair_stop(&engine->searcher);
	cl_exports_stop(engine->exports);
	cl_lane_stop(&engine->measurer);
	pthread_join(engine->writer_thread, NULL);
	pthread_join(engine->measure_thread, NULL);
	for (int i = 0; i < CL_ENGINE_SEARCHERS; i++)
		pthread_join(engine->search_threads[i], NULL);
	pthread_join(engine->export_thread, NULL);
	send_the_rest(engine);
	organization->exports = NULL;
	cl_exports_close(engine->exports);
	cl_store_close(engine->reader);
	cl_rules_release(engine->rules);
	return 0;
}
