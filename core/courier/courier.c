/* courier.c: listens to every organization's outbox, delivers what is due, reports what became of it. Holds no state that a
 * crash could lose: what was not reported is delivered again, under the same key. */
#include "courier/courier.h"
#include "base/config.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "courier/delivery.h"
#include "wire/channel.h"
#include <curl/curl.h>
#include <dirent.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CL_COURIER_POLL 5 /* seconds: retries become due without an event */
#define CL_COURIER_RETRY 1 /* seconds between attempts to reach an organization's socket */
#define CL_COURIER_FLIGHT 64

struct cl_courier {
	struct event_base *base;
	struct cl_delivery *delivery;
	struct cl_channel *control;
	struct cl_mailbag *mailbags;
	char authority[4096];
	bool has_authority;
};

/* One organization's outgoing mail. */
struct cl_mailbag {
	struct cl_mailbag *next;
	struct cl_courier *courier;
	struct cl_channel *channel;
	struct event *timer;
	char id[80], socket[4096], certificate[4096], key[4096];
	uint64_t frames, stream, listing; /* frame ids; listing = 0 when none is asked for */
	bool again; /* the outbox changed while a listing was on its way */
	bool stale; /* a report was made while a listing was on its way */
	int64_t flight[CL_COURIER_FLIGHT]; /* numbers being delivered; 0 = free */
};

struct cl_letter {
	struct cl_mailbag *mailbag;
	int64_t number, attempts;
};

static void ask(struct cl_mailbag *mailbag, const char *target, struct cl_str body, uint64_t *frame)
{
	struct cl_request request = {.method = CL_STR("COURIER"), .target = cl_str_of(target), .body = body};
	request.credential.kind = CL_CREDENTIAL_COURIER;
	cl_random(request.id, sizeof request.id);
	mailbag->frames++;
	if (mailbag->channel && !cl_channel_send_request(mailbag->channel, mailbag->frames, &request) && frame)
		*frame = mailbag->frames;
}

static void list_outbox(struct cl_mailbag *mailbag)
{
	if (!mailbag->channel)
		return; /* asked for again when it is connected; a question that was never sent would be waited for for ever */
	if (mailbag->listing) {
		mailbag->again = true;
		return;
	}
	ask(mailbag, "/outbox", CL_STR_NONE, &mailbag->listing);
}

static void report(struct cl_mailbag *mailbag, const struct cl_letter *letter, long status, const char *problem)
{
	struct cl_buf body;
	cl_buf_init(&body, 4096);
	cl_buf_printf(&body,
	              "{\"number\":%lld,\"attempts\":%lld,\"status\":%ld,\"problem\":", (long long)letter->number,
	              (long long)letter->attempts, status);
	cl_json_write_text(&body, cl_str_of(problem));
	cl_buf_add_byte(&body, '}');
	ask(mailbag, "/outbox/report", cl_buf_str(&body), NULL);
	cl_buf_free(&body);
}

static void on_delivered(void *context, long status, const char *problem)
{
	struct cl_letter *letter = context;
	struct cl_mailbag *mailbag = letter->mailbag;
	char words[160];
	snprintf(words, sizeof words, "%s", problem[0] ? problem : "");
	if (status >= 300)
		snprintf(words, sizeof words, "the partner answered %ld", status);
	if (status < 200 || status >= 300)
		cl_log(CL_LOG_WARNING, "undelivered", "organization=%s message=%lld attempt=%lld problem=%s",
		       mailbag->id, (long long)letter->number, (long long)letter->attempts + 1, words);
	for (size_t i = 0; i < CL_COURIER_FLIGHT; i++)
		if (mailbag->flight[i] == letter->number)
			mailbag->flight[i] = 0;
	report(mailbag, letter, status, words);
	free(letter);
	/* A listing that is on its way may have been made before the report: this letter would go out once more. */
	mailbag->stale = mailbag->listing != 0;
	list_outbox(mailbag);
}

static void send_letter(struct cl_mailbag *mailbag, const struct cl_json *message)
{
	struct cl_courier *courier = mailbag->courier;
	struct cl_err e = {0};
	struct cl_letter *letter = calloc(1, sizeof *letter);
	size_t slot = CL_COURIER_FLIGHT;
	letter->mailbag = mailbag;
	cl_json_integer(cl_json_get(message, "number"), &letter->number);
	cl_json_integer(cl_json_get(message, "attempts"), &letter->attempts);
	for (size_t i = 0; i < CL_COURIER_FLIGHT; i++) {
		if (mailbag->flight[i] == letter->number) {
			free(letter);
			return;
		}
		if (!mailbag->flight[i])
			slot = i;
	}
	if (slot == CL_COURIER_FLIGHT) {
		free(letter);
		return;
	}
	struct cl_delivery_identity identity = {.certificate = mailbag->certificate,
	                                        .key = mailbag->key,
	                                        .authority = courier->has_authority ? courier->authority : NULL};
	if (cl_delivery_send(courier->delivery, cl_json_get_text(message, "url"), cl_json_get_text(message, "key"),
	                     cl_json_get_text(message, "body"), &identity, on_delivered, letter, &e)) {
		/* No address to send to: refused like a partner's 400, so that it does not block the messages behind it. */
		report(mailbag, letter, 400, e.message);
		free(letter);
		return;
	}
	mailbag->flight[slot] = letter->number;
}

static void on_listing(struct cl_mailbag *mailbag, const struct cl_response *response, struct cl_arena *arena)
{
	struct cl_json *body;
	struct cl_err e = {0};
	bool stale = mailbag->stale;
	mailbag->listing = 0;
	mailbag->stale = false;
	if (response->status != 200 || cl_json_parse(arena, response->body, NULL, &body, &e))
		return;
	const struct cl_json *messages = cl_json_get(body, "messages");
	for (uint32_t i = 0; messages && !stale && i < messages->count; i++)
		send_letter(mailbag, &messages->items[i]);
	if (mailbag->again) {
		mailbag->again = false;
		list_outbox(mailbag);
	}
}

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_mailbag *mailbag = context;
	struct cl_response response;
	struct cl_err e = {0};
	(void)channel;
	if (type == CL_FRAME_EVENT) {
		list_outbox(mailbag);
	} else if (type == CL_FRAME_RESPONSE && id == mailbag->listing) {
		struct cl_arena *arena = cl_arena_new(0);
		if (!cl_response_decode(arena, payload, descriptor, &response, &e))
			on_listing(mailbag, &response, arena);
		else
			mailbag->listing = 0;
		cl_arena_free(arena);
	}
	if (descriptor >= 0)
		close(descriptor);
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_mailbag *mailbag = context;
	(void)reason;
	cl_channel_free(channel);
	mailbag->channel = NULL;
	mailbag->listing = 0;
	mailbag->stale = false;
	struct timeval wait = {CL_COURIER_RETRY, 0};
	event_add(mailbag->timer, &wait);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	static const struct cl_channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};
	struct cl_mailbag *mailbag = context;
	struct timeval wait = {CL_COURIER_RETRY, 0};
	struct cl_err e = {0};
	int socket;
	(void)fd;
	(void)what;
	if (!mailbag->channel && !cl_channel_connect(mailbag->socket, &socket, &e)) {
		mailbag->channel = cl_channel_new(mailbag->courier->base, socket, CL_ROLE_COURIER, &callbacks, mailbag);
		ask(mailbag, "/outbox/stream", CL_STR_NONE, &mailbag->stream);
	}
	if (mailbag->channel) {
		list_outbox(mailbag);
		wait.tv_sec = CL_COURIER_POLL;
	}
	event_add(mailbag->timer, &wait);
}

static void add_mailbag(struct cl_courier *courier, const char *data, const char *pki, const char *id)
{
	struct timeval now = {0, 0};
	struct cl_mailbag *mailbag = calloc(1, sizeof *mailbag);
	mailbag->courier = courier;
	snprintf(mailbag->id, sizeof mailbag->id, "%s", id);
	snprintf(mailbag->socket, sizeof mailbag->socket, "%s/run/%s.sock", data, id);
	snprintf(mailbag->certificate, sizeof mailbag->certificate, "%s/%s-partner.pem", pki, id);
	snprintf(mailbag->key, sizeof mailbag->key, "%s/%s-partner.key", pki, id);
	mailbag->timer = event_new(courier->base, -1, 0, on_timer, mailbag);
	event_add(mailbag->timer, &now);
	mailbag->next = courier->mailbags;
	courier->mailbags = mailbag;
}

/* ---- the supervisor ---- */

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
			event_base_loopbreak(courier->base);
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
	event_base_loopbreak(courier->base);
}

static void resolve(char *out, size_t size, const char *config, struct cl_str path)
{
	const char *slash = strrchr(config, '/');
	if (path.n && path.p[0] == '/')
		snprintf(out, size, "%.*s", CL_STR_ARGS(path));
	else
		snprintf(out, size, "%.*s%s%.*s", slash ? (int)(slash - config) : 1, slash ? config : ".", "/",
		         CL_STR_ARGS(path));
}

static int start(struct cl_courier *courier, const char *config_path, struct cl_err *e)
{
	char data[3000], pki[3000], folder[3000];
	struct cl_json *config;
	struct cl_arena *arena = cl_arena_new(0);
	int code = cl_config_load(arena, config_path, &config, e);
	if (code) {
		cl_arena_free(arena);
		return code;
	}
	struct cl_json *own = cl_json_get(config, "courier");
	struct cl_str certificates = cl_json_get_text(own, "certificates"),
	              authority = cl_json_get_text(own, "authority");
	struct cl_str organizations = cl_json_get_text(config, "organizations_folder");
	resolve(data, sizeof data, config_path, cl_json_get_text(config, "data"));
	resolve(pki, sizeof pki, config_path, certificates);
	resolve(folder, sizeof folder, config_path, organizations.n ? organizations : CL_STR("orgs"));
	courier->has_authority = authority.n > 0;
	resolve(courier->authority, sizeof courier->authority, config_path, authority);
	struct cl_json *list = cl_json_get(config, "organizations");
	if (list && list->kind == CL_JSON_ARRAY) {
		for (uint32_t i = 0; i < list->count; i++) {
			struct cl_str id = cl_json_text(&list->items[i]);
			add_mailbag(courier, data, pki,
			            cl_arena_cstring(arena, id.n ? id : cl_json_get_text(&list->items[i], "id")));
		}
	} else {
		DIR *entries = opendir(folder);
		for (struct dirent *entry; entries && (entry = readdir(entries));) {
			size_t n = strlen(entry->d_name);
			if (n > 4 && entry->d_name[0] != '.' && !strcmp(entry->d_name + n - 4, ".lua")) {
				entry->d_name[n - 4] = 0;
				add_mailbag(courier, data, pki, entry->d_name);
			}
		}
		if (entries)
			closedir(entries);
	}
	cl_arena_free(arena);
	return 0;
}

int cl_courier_main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"control-fd", required_argument, NULL, 'k'},
	                                        {NULL, 0, NULL, 0}};
	static const struct cl_channel_callbacks callbacks = {.frame = on_control, .closed = on_control_closed};
	struct cl_courier courier = {0};
	struct cl_err e = {0};
	const char *config = NULL;
	int control = -1;
	optind = 1;
	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'c')
			config = optarg;
		else if (c == 'k')
			control = (int)strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (!config) {
		fprintf(stderr, "usage: careloop courier --config FILE [--control-fd N]\n");
		return 2;
	}
	cl_log_start("courier", CL_LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_DUMPABLE, 0);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	courier.base = event_base_new();
	courier.delivery = cl_delivery_new(courier.base);
	if (start(&courier, config, &e)) {
		cl_log(CL_LOG_ERROR, "stopped", "where=%s message=%s", e.where, e.message);
		return 1;
	}
	if (control >= 0) {
		courier.control = cl_channel_new(courier.base, control, CL_ROLE_COURIER, &callbacks, &courier);
		cl_channel_send(courier.control, CL_FRAME_CONTROL, 0, CL_STR("{\"do\":\"ready\"}"), -1);
	}
	event_base_dispatch(courier.base);
	/* Letters on their way end unreported and are sent again by the next courier, under the same keys. */
	return 0;
}
