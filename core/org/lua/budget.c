/* budget.c: one timer for each Lua state, on the CPU clock of the thread that uses it. */
#include "org/lua/budget.h"
#include "base/clock.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* glibc 2.36 has the member, but no name for it. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* The first real-time signal is left to others (libraries like to take it). */
#define BUDGET_SIGNAL (SIGRTMIN + 3)

/* What runs on this thread, for the handler: a signal that comes when nothing runs finds NULL. Nothing here is shared between
 * organizations or threads. */
static _Thread_local struct cl_budget *volatile current;

static void on_signal(int signal, siginfo_t *info, void *machine)
{
	(void)signal;
	(void)info;
	(void)machine;
	struct cl_budget *budget = current;
	if (!budget || !budget->running)
		return;
	budget->signalled = 1;
	/* ldebug.c: safe to call from a signal handler. */
	lua_sethook(budget->state, budget->hook, LUA_MASKCOUNT, 1);
}

static void install_handler(void)
{
	struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigemptyset(&action.sa_mask);
	sigaction(BUDGET_SIGNAL, &action, NULL);
}

void cl_budget_init(struct cl_budget *budget, lua_State *state, lua_Hook hook)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, install_handler);
	*budget = (struct cl_budget){.state = state, .hook = hook};
}

void cl_budget_close(struct cl_budget *budget)
{
	if (current == budget)
		current = NULL;
	if (budget->thread)
		timer_delete(budget->timer);
	budget->thread = 0;
}

static void set_timer(struct cl_budget *budget, int64_t microseconds)
{
	struct itimerspec time = {
	        .it_value = {.tv_sec = microseconds / CL_SECOND, .tv_nsec = microseconds % CL_SECOND * 1000},
	};
	timer_settime(budget->timer, 0, &time, NULL);
}

int cl_budget_begin(struct cl_budget *budget, int64_t limit, struct cl_err *e)
{
	static _Thread_local pid_t thread;
	if (!thread)
		thread = gettid();
	if (budget->thread != thread) { /* the first call, or the state was built on another thread */
		if (budget->thread)
			timer_delete(budget->timer);
		struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = BUDGET_SIGNAL};
		event.sigev_notify_thread_id = thread;
		budget->thread = 0;
		if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &budget->timer))
			return cl_fail(e, CL_E_BUSY, "no timer for a plugin's time budget: %s", strerror(errno));
		budget->thread = thread;
		/* A thread that leaves signals to another one must hear this one. */
		sigset_t signals;
		sigemptyset(&signals);
		sigaddset(&signals, BUDGET_SIGNAL);
		pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
	}
	budget->call++;
	budget->limit = limit > 0 ? limit : 1;
	budget->signalled = 0;
	budget->started = cl_thread_cpu();
	budget->running = 1;
	current = budget;
	set_timer(budget, budget->limit);
	return 0;
}

void cl_budget_end(struct cl_budget *budget)
{
	budget->running = 0;
	current = NULL;
	set_timer(budget, 0);
	if (budget->signalled)
		lua_sethook(budget->state, NULL, 0, 0);
	budget->signalled = 0;
}

int64_t cl_budget_used(const struct cl_budget *budget)
{
	return cl_thread_cpu() - budget->started;
}

bool cl_budget_is_over(struct cl_budget *budget)
{
	if (!budget->running)
		return false;
	int64_t left = budget->limit - cl_budget_used(budget);
	if (left <= 0)
		return true;
	budget->signalled = 0;
	lua_sethook(budget->state, NULL, 0, 0);
	set_timer(budget, left);
	return false;
}
