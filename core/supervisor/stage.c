/* stage.c: see stage.h. */
#include "supervisor/stage.h"
#include "base/buffer.h"
#include "supervisor/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAXIMUM ((size_t)16 * 1024)
#define PATIENCE_SECONDS 60

struct cl_stage {
	pid_t pid;
	int pipe;
	struct event *readable, *patience;
	struct cl_buf output;
	bool late;
	cl_stage_done done;
	void *context;
};

/* Reads what is there; past the maximum it is thrown away. */
static void drain(struct cl_stage *stage)
{
	char block[4096];
	ssize_t n;
	while ((n = read(stage->pipe, block, sizeof block)) > 0)
		if (stage->output.n < OUTPUT_MAXIMUM)
			cl_buf_add(&stage->output, block, (size_t)n);
	if (n == 0)
		event_del(stage->readable);
}

static void on_readable(evutil_socket_t pipe, short what, void *context)
{
	(void)pipe;
	(void)what;
	drain(context);
}

static void on_patience(evutil_socket_t socket, short what, void *context)
{
	struct cl_stage *stage = context;
	(void)socket;
	(void)what;
	stage->late = true;
	kill(stage->pid, SIGKILL);
}

static void free_stage(struct cl_stage *stage)
{
	event_free(stage->readable);
	event_free(stage->patience);
	close(stage->pipe);
	cl_buf_free(&stage->output);
	free(stage);
}

struct cl_stage *cl_stage_start(struct event_base *base, const char *executable, const char *config,
                                const char *organization, cl_stage_done done, void *context)
{
	const char *arguments[] = {"organization", "--config", config, "--id", organization, "--stage", NULL};
	int ends[2];
	if (pipe2(ends, O_CLOEXEC))
		return NULL;
	pid_t pid = cl_spawn(executable, arguments, NULL, 0, ends[1]);
	int problem = errno;
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		errno = problem;
		return NULL;
	}
	struct cl_stage *stage = calloc(1, sizeof *stage);
	if (!stage)
		abort();
	*stage = (struct cl_stage){.pid = pid, .pipe = ends[0], .done = done, .context = context};
	evutil_make_socket_nonblocking(stage->pipe);
	cl_buf_init(&stage->output, 0);
	stage->readable = event_new(base, stage->pipe, EV_READ | EV_PERSIST, on_readable, stage);
	stage->patience = event_new(base, -1, 0, on_patience, stage);
	if (!stage->readable || !stage->patience)
		abort();
	event_add(stage->readable, NULL);
	event_add(stage->patience, &(struct timeval){PATIENCE_SECONDS, 0});
	return stage;
}

pid_t cl_stage_process(const struct cl_stage *stage)
{
	return stage->pid;
}

void cl_stage_reaped(struct cl_stage *stage, int wait_status)
{
	drain(stage);
	if (stage->late)
		cl_buf_add_cstring(&stage->output, "the plugins were not loaded and tested within 60 seconds\n");
	else if (WIFSIGNALED(wait_status))
		cl_buf_printf(&stage->output, "loading or testing the plugins crashed: signal %d\n",
		              WTERMSIG(wait_status));
	bool good = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
	stage->done(good, cl_buf_str(&stage->output), stage->context);
	free_stage(stage);
}

void cl_stage_abandon(struct cl_stage *stage)
{
	if (!stage)
		return;
	kill(stage->pid, SIGKILL);
	waitpid(stage->pid, NULL, 0);
	free_stage(stage);
}
