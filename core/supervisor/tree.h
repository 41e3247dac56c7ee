/* tree.h: the process tree: what runs, when all of it is ready, how it stops. One struct holds everything that the
 * supervisor knows; the files of this room work on it. */
#pragma once
#include "supervisor/admin.h"
#include "supervisor/heads.h"
#include "supervisor/seat.h"
#include "supervisor/settings.h"

struct cl_reload;
struct cl_inquiry;

enum cl_tree_phase {
	CL_TREE_RUNNING,
	CL_TREE_STOPPING_GATEWAYS, /* first, so that nothing new comes in */
	CL_TREE_STOPPING_ORGANIZATIONS,
	CL_TREE_STOPPING_COURIER,
	CL_TREE_STOPPED,
};

struct cl_tree_gateway {
	struct cl_child child;
	char name[24]; /* "gateway/0" */
	char index_text[12];
	bool reloading; /* its answer to {"do":"reload"} is awaited */
};

struct cl_supervisor {
	struct event_base *base;
	const char *executable; /* what is exec'ed for children; owned by main */
	const char *config; /* absolute path of the configuration file; owned by main */
	const char *data; /* owned by main: cannot change while running */
	char run_folder[256];
	struct cl_arena *arena; /* holds `settings`; replaced with them on reload */
	struct cl_server_settings settings;
	struct cl_heads *heads;
	struct cl_journal *journal;
	struct cl_admin *admin;
	struct cl_seat *organizations; /* sorted by id */
	struct cl_tree_gateway *gateways;
	int gateway_count;
	struct cl_child courier;
	enum cl_tree_phase phase;
	bool ready; /* said "ready" once */
	char heads_problem[256]; /* why the chain of heads is not whole; empty when it is */
	int64_t started; /* monotonic */
	struct event *advance; /* looks at the phase after a child changed */
	struct cl_reload *reload; /* under way, or NULL */
	struct cl_inquiry *inquiry; /* asks the gateways something, or NULL */
};

/* Makes and starts every process that the settings name. */
int cl_tree_start(struct cl_supervisor *supervisor, struct cl_err *e);
/* Begins an orderly stop; the loop is left when it is over. A second call kills what is left. */
void cl_tree_stop(struct cl_supervisor *supervisor);
void cl_tree_free(struct cl_supervisor *supervisor);
/* Called every 50 ms: watch pages; organizations that were removed and have stopped are freed. */
void cl_tree_watch(struct cl_supervisor *supervisor);
/* SIGCHLD. */
void cl_tree_reap(struct cl_supervisor *supervisor);

struct cl_seat *cl_tree_organization(const struct cl_supervisor *supervisor, struct cl_str id);
/* Makes and starts one, or takes a removed one back. */
int cl_tree_add(struct cl_supervisor *supervisor, const char *id, struct cl_err *e);
/* Stops one and forgets it. */
void cl_tree_remove(struct cl_seat *seat);
/* The same CONTROL message to all processes of a kind that run. */
void cl_tree_tell_gateways(struct cl_supervisor *supervisor, struct cl_str message);
void cl_tree_tell_all(struct cl_supervisor *supervisor, struct cl_str message);
/* How many organizations and gateways there are, and are ready. */
struct cl_tree_count {
	int organizations, organizations_ready, gateways_ready;
};
struct cl_tree_count cl_tree_count(const struct cl_supervisor *supervisor);
