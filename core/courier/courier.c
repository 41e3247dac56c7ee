/* courier.c: the process: its settings, what the supervisor says to it, its loop. */
#include "courier/courier.h"
#include "base/config.h"
#include "base/log.h"
#include "courier/mailbag.h"
#include "wire/channel.h"
#include <curl/curl.h>
#include <dirent.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

struct cl_courier {
	struct cl_post post;
	struct cl_channel *control;
	const char *config;
};

/* ---- settings ---- */

/* Relative to the configuration file. */
static const char *resolve(struct cl_arena *arena, const char *config, struct cl_str path)
{
	const char *slash = strrchr(config, '/');
	if (path.n && path.p[0] == '/')
		return cl_arena_cstring(arena, path);
	return cl_arena_printf(arena, "%.*s/%.*s", slash ? (int)(slash - config) : 1, slash ? config : ".",
	                       CL_STR_ARGS(path))
	        .p;
}

struct names {
	struct cl_arena *arena;
	const char **items;
	size_t count, capacity;
};

static void add_name(struct names *names, struct cl_str name)
{
	if (names->count == names->capacity) {
		size_t capacity = names->capacity ? names->capacity * 2 : 16;
		const char **items = CL_NEW_ARRAY(names->arena, const char *, capacity);
		for (size_t i = 0; i < names->count; i++)
			items[i] = names->items[i];
		names->items = items;
		names->capacity = capacity;
	}
	names->items[names->count++] = cl_arena_cstring(names->arena, name);
}

static void list_folder(struct names *names, const char *folder)
{
	DIR *entries = opendir(folder);
	for (struct dirent *entry; entries && (entry = readdir(entries));) {
		size_t n = strlen(entry->d_name);
		if (n > 4 && entry->d_name[0] != '.' && !strcmp(entry->d_name + n - 4, ".lua"))
			add_name(names, (struct cl_str){entry->d_name, n - 4});
	}
	if (entries)
		closedir(entries);
}

/* Reads the configuration, and has the mailbags follow it. On failure everything stays as it was. */
static int read_settings(struct cl_courier *courier, struct cl_err *e)
{
	struct cl_post *post = &courier->post;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *config;
	int code = cl_config_load(arena, courier->config, &config, e);
	if (code) {
		cl_arena_free(arena);
		return code;
	}
	struct cl_json *own = cl_json_get(config, "courier");
	struct cl_str authority = cl_json_get_text(own, "authority"),
	              folder = cl_json_get_text(config, "organizations_folder");
	const struct cl_json *list = cl_json_get(config, "organizations"),
	                     *destinations = cl_json_get(own, "destinations");
	struct names names = {.arena = arena};
	for (uint32_t i = 0; list && list->kind == CL_JSON_ARRAY && i < list->count; i++) {
		struct cl_str id = cl_json_text(&list->items[i]);
		add_name(&names, id.n ? id : cl_json_get_text(&list->items[i], "id"));
	}
	if (!list || list->kind != CL_JSON_ARRAY)
		list_folder(&names, resolve(arena, courier->config, folder.n ? folder : CL_STR("orgs")));
	struct cl_arena *former = post->arena;
	post->arena = arena;
	post->data = resolve(arena, courier->config, cl_json_get_text(config, "data"));
	post->certificates = resolve(arena, courier->config, cl_json_get_text(own, "certificates"));
	post->authority = authority.n ? resolve(arena, courier->config, authority) : NULL;
	post->destinations = destinations && destinations->kind == CL_JSON_ARRAY ? destinations : NULL;
	cl_mailbags_align(post, names.items, names.count);
	cl_arena_free(former);
	return 0;
}

/* ---- the supervisor ---- */

static void reload(struct cl_courier *courier)
{
	struct cl_err e = {0};
	struct cl_buf text;
	if (!read_settings(courier, &e))
		return;
	cl_log(CL_LOG_ERROR, "reload-refused", "where=%s message=\"%s\"", e.where, e.message);
	cl_buf_init(&text, 4096);
	cl_buf_add_cstring(&text, "{\"do\":\"reloaded\",\"ok\":false,\"error\":");
	cl_json_write_text(&text, cl_str_of(e.message));
	cl_buf_add_byte(&text, '}');
	cl_channel_send(courier->control, CL_FRAME_CONTROL, 0, cl_buf_str(&text), -1);
	cl_buf_free(&text);
}

static void on_control(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                       int descriptor, void *context)
{
	struct cl_courier *courier = context;
	(void)channel;
	(void)id;
	if (descriptor >= 0)
		close(descriptor);
	if (type != CL_FRAME_CONTROL)
		return;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *message;
	struct cl_err e = {0};
	enum cl_log_level level;
	if (!cl_json_parse(arena, cl_arena_copy(arena, payload), NULL, &message, &e)) {
		struct cl_str verb = cl_json_get_text(message, "do");
		if (cl_str_is(verb, "stop"))
			event_base_loopbreak(courier->post.base);
		else if (cl_str_is(verb, "reload"))
			reload(courier);
		else if (cl_str_is(verb, "log") && cl_log_level_of(cl_json_get_text(message, "level"), &level))
			cl_log_set_level(level);
	}
	cl_arena_free(arena);
}

static void on_control_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_courier *courier = context;
	(void)reason;
	cl_channel_free(channel);
	courier->control = NULL;
	event_base_loopbreak(courier->post.base);
}

int cl_courier_main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"control-fd", required_argument, NULL, 'k'},
	                                        {NULL, 0, NULL, 0}};
	static const struct cl_channel_callbacks callbacks = {.frame = on_control, .closed = on_control_closed};
	struct cl_courier courier = {0};
	struct cl_err e = {0};
	int control = -1;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'c')
			courier.config = optarg;
		else if (c == 'k')
			control = (int)strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (!courier.config) {
		fprintf(stderr, "usage: careloop courier --config FILE [--control-fd N]\n");
		return 2;
	}
	cl_log_start("courier", CL_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	courier.post.base = event_base_new();
	courier.post.delivery = cl_delivery_new(courier.post.base);
	if (read_settings(&courier, &e)) {
		cl_log(CL_LOG_ERROR, "stopped", "where=%s message=%s", e.where, e.message);
		return 1;
	}
	if (control >= 0) {
		courier.control = cl_channel_new(courier.post.base, control, CL_ROLE_COURIER, &callbacks, &courier);
		cl_channel_send(courier.control, CL_FRAME_CONTROL, 0, CL_STR("{\"do\":\"ready\"}"), -1);
	}
	event_base_dispatch(courier.post.base);
	/* Letters on their way end unreported and are sent again by the next courier, under the same keys. */
	return 0;
}
