/* process.c: `careloop organization`: reads its plugins, opens its file, locks itself in, serves. With --stage it only loads
 * and checks the plugins and writes what a running organization may swap in. */
#include "org/engine/process.h"
#include "base/config.h"
#include "base/log.h"
#include "org/engine/confine.h"
#include "org/engine/engine.h"
#include "org/engine/settings.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct cl_process_options {
	const char *config, *id;
	int listener, watch, control;
	bool stage;
};

static int parse_options(int argc, char **argv, struct cl_process_options *out)
{
	static const struct option options[] = {
	        {"config", required_argument, NULL, 'c'},
	        {"id", required_argument, NULL, 'i'},
	        {"listen-fd", required_argument, NULL, 'l'},
	        {"watch-fd", required_argument, NULL, 'w'},
	        {"control-fd", required_argument, NULL, 'k'},
	        {"stage", no_argument, NULL, 's'},
	        {NULL, 0, NULL, 0},
	};
	*out = (struct cl_process_options){.listener = -1, .watch = -1, .control = -1};
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'c':
			out->config = optarg;
			break;
		case 'i':
			out->id = optarg;
			break;
		case 'l':
			out->listener = (int)strtol(optarg, NULL, 10);
			break;
		case 'w':
			out->watch = (int)strtol(optarg, NULL, 10);
			break;
		case 'k':
			out->control = (int)strtol(optarg, NULL, 10);
			break;
		case 's':
			out->stage = true;
			break;
		default:
			return CL_E_INVALID;
		}
	}
	return out->config && out->id ? 0 : CL_E_INVALID;
}

static int write_file(const char *path, struct cl_str text, struct cl_err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	while (fd >= 0 && text.n) {
		ssize_t n = write(fd, text.p, text.n);
		if (n < 0)
			break;
		text = (struct cl_str){text.p + n, text.n - (size_t)n};
	}
	if (fd < 0 || text.n || fsync(fd)) {
		int problem = errno;
		if (fd >= 0)
			close(fd);
		return cl_fail(e, CL_E_IO, "cannot write %s: %s", path, strerror(problem));
	}
	close(fd);
	return 0;
}

/* Prints every problem, one a line; exit 0 when the plugins may be swapped in. */
static int stage(const struct cl_json *archive, const char *folder, struct cl_err *e)
{
	struct cl_rules *rules;
	struct cl_buf problems, text;
	cl_buf_init(&problems, 1024 * 1024);
	cl_buf_init(&text, 0);
	int code = 0;
#ifndef CL_SANITIZE /* whose search for leaks at the end reads /proc, and fails the stage when it cannot */
	/* Nobody has tried these plugins yet. */
	code = cl_confine(folder, e);
#endif
	if (!code)
		code = cl_rules_new(archive, NULL, NULL, &rules, &problems, e);
	if (!code) {
		char path[4096];
		cl_json_write(&text, archive);
		snprintf(path, sizeof path, "%s/staged.json", folder);
		code = write_file(path, cl_buf_str(&text), e);
		printf("%.*s\n", CL_STR_ARGS(rules->catalog->hash));
		cl_rules_release(rules);
	}
	if (code && problems.n)
		fwrite(problems.p, 1, problems.n, stderr);
	else if (code)
		fprintf(stderr, "%s%s%s\n", e->where, e->where[0] ? ": " : "", e->message);
	cl_buf_free(&problems);
	cl_buf_free(&text);
	return code;
}

static struct cl_watch *map_watch(int fd)
{
	if (fd < 0)
		return NULL;
	void *page = mmap(NULL, sizeof(struct cl_watch), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return page == MAP_FAILED ? NULL : page;
}

/* The plugins that were in force last, out of the organization's own file. */
static int last_good(const char *folder, const char *id, struct cl_watch *watch, struct cl_rules **rules,
                     struct cl_err *e)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_store *store;
	struct cl_str hash, text;
	struct cl_json *archive;
	int code = cl_store_open(folder, id, CL_STORE_READER, &store, e);
	if (!code) {
		code = cl_store_meta_get(store, arena, "plugins", &hash, e);
		if (!code)
			code = cl_store_plugins_get(store, arena, hash, &text, e);
		if (!code)
			code = cl_json_parse(arena, text, NULL, &archive, e);
		if (!code)
			code = cl_rules_new(archive, NULL, watch, rules, NULL, e);
		cl_store_close(store);
	}
	cl_arena_free(arena);
	return code;
}

static void refused(const struct cl_err *e)
{
	cl_log(CL_LOG_ERROR, "plugins-refused", "where=%s message=\"%s\" serving=\"the last good ones\"", e->where,
	       e->message);
}

/* Plugins with mistakes do not keep a clinic closed: it opens with those that were in force, and the log says so. */
static int open_organization(const struct cl_process_options *options, const struct cl_json *archive,
                             const char *folder, struct cl_clock *clock, struct cl_watch *watch,
                             struct cl_organization **out, struct cl_err *e)
{
	struct cl_rules *rules;
	struct cl_err problem = {0};
	/* Before the first line of a plugin runs; everything outside the folder was read by now. */
	int code = cl_confine(folder, e);
	if (code)
		return code;
	code = cl_rules_new(archive, NULL, watch, &rules, NULL, e);
	bool fallen_back = code && !last_good(folder, options->id, watch, &rules, &problem);
	if (fallen_back) {
		refused(e);
		code = 0;
	}
	if (code)
		return code;
	code = cl_organization_open(folder, options->id, rules, clock, watch, out, e);
	cl_rules_release(rules);
	/* Instances in flight that the new machines have no place for. */
	if (code == CL_E_RULE && !fallen_back && !last_good(folder, options->id, watch, &rules, &problem)) {
		refused(e);
		code = cl_organization_open(folder, options->id, rules, clock, watch, out, e);
		cl_rules_release(rules);
	}
	return code;
}

static int serve(const struct cl_process_options *options, const struct cl_json *config, const struct cl_json *archive,
                 const char *folder, struct cl_err *e)
{
	static struct cl_clock clock;
	struct cl_organization *organization;
	struct cl_watch *watch = map_watch(options->watch);
	if (watch)
		atomic_store(&watch->kind, (uint32_t)CL_WATCH_LOAD);
	int code = open_organization(options, archive, folder, &clock, watch, &organization, e);
	if (watch)
		atomic_store(&watch->kind, (uint32_t)CL_WATCH_IDLE);
	if (code)
		return code;
	struct cl_export_settings exports = cl_settings_exports(config);
	code = cl_engine_run(organization, folder, options->listener, options->control, &exports, e);
	cl_organization_close(organization);
	return code;
}

int cl_organization_main(int argc, char **argv)
{
	struct cl_process_options options;
	struct cl_err e = {0};
	struct cl_json *config, *archive;
	char name[128];
	if (parse_options(argc, argv, &options)) {
		fprintf(stderr,
		        "usage: careloop organization --config FILE --id ID (--stage | --listen-fd N [--watch-fd N] "
		        "[--control-fd N])\n");
		return 2;
	}
	snprintf(name, sizeof name, "org/%s", options.id);
	cl_log_start(name, CL_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0);
	umask(0077);
	struct cl_arena *arena = cl_arena_new(0);
	int code = cl_config_load(arena, options.config, &config, &e);
	char *folder = NULL;
	if (!code)
		code = cl_settings_folder(arena, options.config, config, options.id, &folder, &e);
	if (!code)
		code = cl_settings_archive(arena, options.config, config, options.id, &archive, &e);
	if (!code)
		code = options.stage ? stage(archive, folder, &e) : serve(&options, config, archive, folder, &e);
	else if (options.stage)
		fprintf(stderr, "%s%s%s\n", e.where, e.where[0] ? ": " : "", e.message);
	if (code && !options.stage)
		cl_log(CL_LOG_ERROR, "stopped", "code=%s where=%s message=%s", cl_code_name(code), e.where, e.message);
	cl_arena_free(arena);
	return code ? 1 : 0;
}
