/* process.c: `careloop organization`: reads its plugins, opens its file, locks itself in, serves. With --stage it only loads
 * and checks the plugins and writes what a running organization may swap in. */
#include "org/engine/process.h"
#include "base/config.h"
#include "base/hash.h"
#include "base/log.h"
#include "org/engine/confine.h"
#include "org/engine/engine.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
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
		{"config", required_argument, NULL, 'c'},  {"id", required_argument, NULL, 'i'},
		{"listen-fd", required_argument, NULL, 'l'}, {"watch-fd", required_argument, NULL, 'w'},
		{"control-fd", required_argument, NULL, 'k'}, {"stage", no_argument, NULL, 's'},
		{NULL, 0, NULL, 0},
	};
	*out = (struct cl_process_options){.listener = -1, .watch = -1, .control = -1};
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (c) {
		case 'c': out->config = optarg; break;
		case 'i': out->id = optarg; break;
		case 'l': out->listener = atoi(optarg); break;
		case 'w': out->watch = atoi(optarg); break;
		case 'k': out->control = atoi(optarg); break;
		case 's': out->stage = true; break;
		default: return CL_E_INVALID;
		}
	}
	return out->config && out->id ? 0 : CL_E_INVALID;
}

/* A path of the configuration, relative to the file that names it. */
static char *resolve(struct cl_arena *arena, const char *config, struct cl_str path)
{
	const char *slash = strrchr(config, '/');
	if (!path.n || path.p[0] == '/' || !slash)
		return cl_arena_cstring(arena, path);
	return cl_arena_cstring(arena, cl_arena_printf(arena, "%.*s/%.*s", (int)(slash - config), config, CL_STR_ARGS(path)));
}

/* The fingerprint of the first certificate in a file, as the gateway computes it for trust anchors. */
static int fingerprint(const char *path, char hex[65], struct cl_err *e)
{
	FILE *in = fopen(path, "re");
	X509 *certificate = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	if (in)
		fclose(in);
	if (!certificate || !X509_digest(certificate, EVP_sha256(), hash, &n)) {
		X509_free(certificate);
		return cl_fail(e, CL_E_NOT_FOUND, "'%s' holds no certificate", path);
	}
	X509_free(certificate);
	cl_hex(hash, n, hex);
	return 0;
}

static int fill_anchors(struct cl_arena *arena, const char *config_path, struct cl_json *entries, const char *standard,
			struct cl_err *e)
{
	for (uint32_t i = 0; entries && entries->kind == CL_JSON_OBJECT && i < entries->count; i++) {
		struct cl_json *entry = &entries->members[i].value;
		struct cl_str named = cl_json_get_text(entry, "anchor");
		char hex[65];
		if (entry->kind != CL_JSON_OBJECT)
			continue;
		if (named.n && fingerprint(resolve(arena, config_path, named), hex, e))
			return cl_fail_at(e, "%.*s.anchor", CL_STR_ARGS(entries->members[i].name));
		cl_json_set_text(arena, entry, "anchor", named.n ? cl_arena_copy(arena, cl_str_of(hex)) : cl_str_of(standard));
	}
	return 0;
}

/* Everything that is read from outside the organization's folder. */
static int read_archive(struct cl_arena *arena, const char *config_path, const struct cl_json *config, const char *id,
			struct cl_json **archive, struct cl_err *e)
{
	char standard[65] = "";
	struct cl_str organizations = cl_json_get_text(config, "organizations_folder");
	struct cl_str plugins = cl_json_get_text(config, "plugins");
	char *folder = resolve(arena, config_path, organizations.n ? organizations : CL_STR("orgs"));
	int code = cl_lua_archive(arena, folder, resolve(arena, config_path, plugins.n ? plugins : CL_STR("../plugins")), id,
				  archive, e);
	if (code)
		return code;
	struct cl_str authority = cl_json_text(cl_json_path(config, "tls", "client_authorities", "0", NULL));
	if (authority.n) {
		code = fingerprint(resolve(arena, config_path, authority), standard, e);
		if (code)
			return code;
	}
	struct cl_str anchor = cl_arena_copy(arena, cl_str_of(standard));
	struct cl_json *organization = cl_json_get(*archive, "organization");
	code = fill_anchors(arena, config_path, cl_json_get(organization, "principals"), anchor.p, e);
	return code ? code : fill_anchors(arena, config_path, cl_json_get(organization, "partners"), anchor.p, e);
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
	int code = cl_rules_new(archive, NULL, NULL, &rules, &problems, e);
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

static int serve(const struct cl_process_options *options, const struct cl_json *archive, const char *folder, struct cl_err *e)
{
	static struct cl_clock clock;
	struct cl_rules *rules;
	struct cl_organization *organization;
	struct cl_watch *watch = map_watch(options->watch);
	if (watch)
		atomic_store(&watch->kind, (uint32_t)CL_WATCH_LOAD);
	int code = cl_rules_new(archive, NULL, watch, &rules, NULL, e);
	if (!code)
		code = cl_confine(folder, e);
	if (!code)
		code = cl_organization_open(folder, options->id, rules, &clock, watch, &organization, e);
	if (watch)
		atomic_store(&watch->kind, (uint32_t)CL_WATCH_IDLE);
	if (code)
		return code;
	cl_rules_release(rules);
	code = cl_engine_run(organization, folder, options->listener, options->control, e);
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
		fprintf(stderr, "usage: careloop organization --config FILE --id ID (--stage | --listen-fd N [--watch-fd N] "
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
	if (!code) {
		struct cl_str data = cl_json_get_text(config, "data");
		folder = cl_arena_cstring(arena, cl_arena_printf(arena, "%s/organizations/%s",
								 resolve(arena, options.config, data), options.id));
		char *parent = cl_arena_cstring(arena, cl_arena_printf(arena, "%s/organizations", resolve(arena, options.config, data)));
		if ((mkdir(parent, 0700) && errno != EEXIST) || (mkdir(folder, 0700) && errno != EEXIST))
			code = cl_fail(&e, CL_E_IO, "cannot make %s: %s", folder, strerror(errno));
	}
	if (!code)
		code = read_archive(arena, options.config, config, options.id, &archive, &e);
	if (!code)
		code = options.stage ? stage(archive, folder, &e) : serve(&options, archive, folder, &e);
	else if (options.stage)
		fprintf(stderr, "%s%s%s\n", e.where, e.where[0] ? ": " : "", e.message);
	if (code && !options.stage)
		cl_log(CL_LOG_ERROR, "stopped", "code=%s where=%s message=%s", cl_code_name(code), e.where, e.message);
	cl_arena_free(arena);
	return code ? 1 : 0;
}
