/* mailbag.c: see mailbag.h. */
#include "courier/mailbag.h"
#include "base/destination.h"
#include "base/id.h"
#include "base/log.h"
#include "wire/channel.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CL_MAILBAG_POLL 5 /* seconds: retries become due without an event */
#define CL_MAILBAG_RETRY 1 /* seconds between attempts to reach an organization's socket */
#define CL_MAILBAG_FLIGHTS 64 /* of one organization at a time */
#define CL_MAILBAG_ORIGIN 8 /* to one server at a time, of all organizations */
#define CL_MESSAGE_SECONDS 30L
#define CL_HOOK_SECONDS 15L

struct cl_mailbag {
	struct cl_mailbag *next;
	struct cl_post *post;
	struct cl_channel *channel;
	struct event *timer;
	char id[80], socket[4096], certificate[4096], key[4096];
	uint64_t frames, stream, listing; /* frame ids; listing = 0 when none is asked for */
	size_t flights;
	bool again; /* the outbox changed while a listing was on its way */
	bool stale; /* a report was made while a listing was on its way */
	bool removed; /* its organization is no longer served */
	bool wanted; /* while mailbags are aligned */
};

/* One letter on its way. */
struct cl_flight {
	struct cl_flight *next;
	struct cl_mailbag *mailbag;
	int64_t number, attempts;
	bool hook;
	char origin[300];
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

static size_t count_to(const struct cl_post *post, const char *origin)
{
	size_t count = 0;
	for (const struct cl_flight *flight = post->flights; flight; flight = flight->next)
		count += !strcmp(flight->origin, origin);
	return count;
}

/* Told with each question, so that what is listed can be sent. */
static void write_busy(const struct cl_mailbag *mailbag, struct cl_buf *body)
{
	bool first = true;
	cl_buf_add_cstring(body, "{\"flight\":[");
	for (const struct cl_flight *flight = mailbag->post->flights; flight; flight = flight->next) {
		if (flight->mailbag != mailbag)
			continue;
		cl_buf_printf(body, "%s%lld", first ? "" : ",", (long long)flight->number);
		first = false;
	}
	cl_buf_add_cstring(body, "],\"full\":[");
	first = true;
	for (const struct cl_flight *flight = mailbag->post->flights; flight; flight = flight->next) {
		if (count_to(mailbag->post, flight->origin) < CL_MAILBAG_ORIGIN)
			continue;
		cl_buf_add_cstring(body, first ? "" : ",");
		cl_json_write_text(body, cl_str_of(flight->origin));
		first = false;
	}
	cl_buf_add_cstring(body, "]}");
}

static void list_outbox(struct cl_mailbag *mailbag)
{
	struct cl_buf body;
	if (!mailbag->channel || mailbag->removed)
		return; /* asked for again when it is connected; a question that was never sent would be waited for for ever */
	if (mailbag->listing) {
		mailbag->again = true;
		return;
	}
	cl_buf_init(&body, 256 * 1024);
	write_busy(mailbag, &body);
	ask(mailbag, "/outbox", cl_buf_str(&body), &mailbag->listing);
	cl_buf_free(&body);
}

struct cl_mail_report {
	int64_t number, attempts;
	long status, retry_after;
	bool withheld;
	const char *problem;
};

static void report(struct cl_mailbag *mailbag, const struct cl_mail_report *made)
{
	struct cl_buf body;
	cl_buf_init(&body, 4096);
	cl_buf_printf(
	        &body,
	        "{\"number\":%lld,\"attempts\":%lld,\"status\":%ld,\"retry_after\":%ld,\"withheld\":%s,\"problem\":",
	        (long long)made->number, (long long)made->attempts, made->status, made->retry_after,
	        made->withheld ? "true" : "false");
	cl_json_write_text(&body, cl_str_of(made->problem));
	cl_buf_add_byte(&body, '}');
	ask(mailbag, "/outbox/report", cl_buf_str(&body), NULL);
	cl_buf_free(&body);
}

static void free_mailbag(struct cl_mailbag *mailbag)
{
	for (struct cl_mailbag **place = &mailbag->post->mailbags; *place; place = &(*place)->next)
		if (*place == mailbag) {
			*place = mailbag->next;
			break;
		}
	event_free(mailbag->timer);
	cl_channel_free(mailbag->channel);
	free(mailbag);
}

static void on_delivered(void *context, const struct cl_delivery_result *result)
{
	struct cl_flight *flight = context;
	struct cl_mailbag *mailbag = flight->mailbag;
	struct cl_post *post = mailbag->post;
	char words[200];
	bool full = count_to(post, flight->origin) >= CL_MAILBAG_ORIGIN;
	snprintf(words, sizeof words, "%s", result->problem);
	if (result->status >= 300)
		snprintf(words, sizeof words, "the %s answered %ld%s", flight->hook ? "receiver" : "partner",
		         result->status, result->status < 400 ? "; redirects are not followed" : "");
	if (result->status < 200 || result->status >= 300)
		cl_log(CL_LOG_WARNING, "undelivered", "organization=%s message=%lld attempt=%lld problem=\"%s\"",
		       mailbag->id, (long long)flight->number, (long long)flight->attempts + 1, words);
	for (struct cl_flight **place = &post->flights; *place; place = &(*place)->next)
		if (*place == flight) {
			*place = flight->next;
			break;
		}
	mailbag->flights--;
	struct cl_mail_report made = {.number = flight->number,
	                              .attempts = flight->attempts,
	                              .status = result->status,
	                              .retry_after = result->retry_after,
	                              .problem = words};
	report(mailbag, &made);
	free(flight);
	if (mailbag->removed && !mailbag->flights) {
		free_mailbag(mailbag);
	} else {
		/* A listing that is on its way may have been made before the report: this letter would go out once more. */
		mailbag->stale = mailbag->listing != 0;
		list_outbox(mailbag);
	}
	/* A place became free that others wait for. */
	for (struct cl_mailbag *other = post->mailbags; full && other; other = other->next)
		list_outbox(other);
}

/* The second wall: what an organization's own list allows is held against the server's, too. */
static int check_destination(const struct cl_post *post, struct cl_str url, char *origin, size_t room, struct cl_err *e)
{
	struct cl_destination destination;
	struct cl_arena *arena = cl_arena_new(0);
	bool allowed = !post->destinations;
	int code = cl_destination_read(url, &destination, e);
	for (uint32_t i = 0; !code && !allowed && i < post->destinations->count; i++)
		allowed = cl_destination_allowed(&destination, cl_json_text(&post->destinations->items[i]));
	if (!code && !allowed)
		code = cl_fail(e, CL_E_RULE,
		               "the server's configuration does not allow this address (courier.destinations)");
	if (!code)
		snprintf(origin, room, "%.*s", CL_STR_ARGS(cl_destination_origin(arena, &destination)));
	cl_arena_free(arena);
	return code;
}

/* A message to a partner goes to its $process-message, with the organization's certificate. */
static void address_message(struct cl_arena *arena, const struct cl_mailbag *mailbag, const struct cl_json *message,
                            struct cl_delivery_letter *letter)
{
	struct cl_str url = cl_json_get_text(message, "url");
	letter->url = url.n ? cl_arena_printf(arena, "%.*s/fhir/$process-message", CL_STR_ARGS(url)) : url;
	letter->method = CL_STR("POST");
	letter->headers = CL_NEW_ARRAY(arena, struct cl_str, 3);
	letter->headers[letter->header_count++] = CL_STR("Content-Type: application/fhir+json");
	letter->headers[letter->header_count++] = CL_STR("Accept: application/fhir+json");
	letter->headers[letter->header_count++] =
	        cl_arena_printf(arena, "Idempotency-Key: %.*s", CL_STR_ARGS(cl_json_get_text(message, "key")));
	letter->certificate = mailbag->certificate;
	letter->key = mailbag->key;
	letter->seconds = CL_MESSAGE_SECONDS;
}

/* A notification carries what proves it in its own headers; its receiver learns nothing of the certificate. */
static void address_hook(struct cl_arena *arena, const struct cl_json *message, struct cl_delivery_letter *letter)
{
	const struct cl_json *headers = cl_json_get(message, "headers");
	uint32_t count = headers && headers->kind == CL_JSON_ARRAY ? headers->count : 0;
	letter->url = cl_json_get_text(message, "url");
	letter->method = cl_json_get_text(message, "method");
	letter->headers = CL_NEW_ARRAY(arena, struct cl_str, count + 1);
	for (uint32_t i = 0; i < count; i++)
		letter->headers[letter->header_count++] = cl_json_text(&headers->items[i]);
	letter->system_authorities = true;
	letter->http = cl_json_is_true(cl_json_get(message, "http"));
	letter->outside_only = !cl_json_is_true(cl_json_get(message, "private_addresses"));
	letter->seconds = CL_HOOK_SECONDS;
}

static void send_letter(struct cl_mailbag *mailbag, const struct cl_json *message)
{
	struct cl_post *post = mailbag->post;
	struct cl_err e = {0};
	struct cl_mail_report refused = {.status = 400};
	cl_json_integer(cl_json_get(message, "number"), &refused.number);
	cl_json_integer(cl_json_get(message, "attempts"), &refused.attempts);
	struct cl_str withheld = cl_json_get_text(message, "withheld");
	for (const struct cl_flight *other = post->flights; other; other = other->next)
		if (other->mailbag == mailbag && other->number == refused.number)
			return;
	if (mailbag->flights == CL_MAILBAG_FLIGHTS)
		return;
	struct cl_arena *arena = cl_arena_new(0);
	if (withheld.n) {
		refused.withheld = true;
		refused.status = 0;
		refused.problem = cl_arena_cstring(arena, withheld);
		report(mailbag, &refused);
		cl_arena_free(arena);
		return;
	}
	struct cl_flight *flight = calloc(1, sizeof *flight);
	if (!flight)
		cl_die("no memory for a letter");
	flight->mailbag = mailbag;
	flight->number = refused.number;
	flight->attempts = refused.attempts;
	flight->hook = cl_json_is_true(cl_json_get(message, "hook"));
	struct cl_delivery_letter letter = {.body = cl_json_get_text(message, "body"), .authority = post->authority};
	if (flight->hook)
		address_hook(arena, message, &letter);
	else
		address_message(arena, mailbag, message, &letter);
	int code = check_destination(post, letter.url, flight->origin, sizeof flight->origin, &e);
	if (!code && count_to(post, flight->origin) >= CL_MAILBAG_ORIGIN) {
		free(flight);
		cl_arena_free(arena);
		return;
	}
	if (!code)
		code = cl_delivery_send(post->delivery, &letter, on_delivered, flight, &e);
	if (code) {
		/* Refused like a receiver's 400, so that it does not block the messages behind it. */
		refused.problem = e.message;
		report(mailbag, &refused);
		free(flight);
	} else {
		flight->next = post->flights;
		post->flights = flight;
		mailbag->flights++;
	}
	cl_arena_free(arena);
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
	bool refused = false;
	(void)channel;
	if (type == CL_FRAME_EVENT) {
		list_outbox(mailbag);
	} else if (type == CL_FRAME_RESPONSE && (id == mailbag->listing || id == mailbag->stream)) {
		struct cl_arena *arena = cl_arena_new(0);
		bool good = !cl_response_decode(arena, payload, descriptor, &response, &e);
		refused = good && response.status == 403;
		if (id == mailbag->listing && good)
			on_listing(mailbag, &response, arena);
		else if (id == mailbag->listing)
			mailbag->listing = 0;
		cl_arena_free(arena);
	}
	if (descriptor >= 0)
		close(descriptor);
	/* It does not know this process as the courier yet: its supervisor is about to tell it. */
	if (refused) {
		mailbag->stream = 0;
		event_add(mailbag->timer, &(struct timeval){CL_MAILBAG_RETRY, 0});
	}
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct cl_mailbag *mailbag = context;
	(void)reason;
	cl_channel_free(channel);
	mailbag->channel = NULL;
	mailbag->listing = 0;
	mailbag->stale = false;
	event_add(mailbag->timer, &(struct timeval){CL_MAILBAG_RETRY, 0});
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	static const struct cl_channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};
	struct cl_mailbag *mailbag = context;
	struct timeval wait = {CL_MAILBAG_RETRY, 0};
	struct cl_err e = {0};
	int socket;
	(void)fd;
	(void)what;
	if (mailbag->removed)
		return;
	if (!mailbag->channel && !cl_channel_connect(mailbag->socket, &socket, &e)) {
		mailbag->channel = cl_channel_new(mailbag->post->base, socket, CL_ROLE_COURIER, &callbacks, mailbag);
		mailbag->stream = 0;
	}
	/* Before the outbox is listed: what is queued between the two is told. */
	if (mailbag->channel && !mailbag->stream)
		ask(mailbag, "/outbox/stream", CL_STR_NONE, &mailbag->stream);
	if (mailbag->channel) {
		list_outbox(mailbag);
		wait.tv_sec = CL_MAILBAG_POLL;
	}
	event_add(mailbag->timer, &wait);
}

static void add_mailbag(struct cl_post *post, const char *id)
{
	struct cl_mailbag *mailbag = calloc(1, sizeof *mailbag);
	if (!mailbag)
		cl_die("no memory for an organization");
	mailbag->post = post;
	mailbag->wanted = true;
	snprintf(mailbag->id, sizeof mailbag->id, "%s", id);
	mailbag->timer = event_new(post->base, -1, 0, on_timer, mailbag);
	event_add(mailbag->timer, &(struct timeval){0, 0});
	mailbag->next = post->mailbags;
	post->mailbags = mailbag;
}

static struct cl_mailbag *find_mailbag(const struct cl_post *post, const char *id)
{
	struct cl_mailbag *mailbag = post->mailbags;
	while (mailbag && (mailbag->removed || strcmp(mailbag->id, id) != 0))
		mailbag = mailbag->next;
	return mailbag;
}

void cl_mailbags_align(struct cl_post *post, const char *const *organizations, size_t count)
{
	for (struct cl_mailbag *mailbag = post->mailbags; mailbag; mailbag = mailbag->next)
		mailbag->wanted = false;
	for (size_t i = 0; i < count; i++) {
		struct cl_mailbag *known = find_mailbag(post, organizations[i]);
		if (known)
			known->wanted = true;
		else
			add_mailbag(post, organizations[i]);
	}
	for (struct cl_mailbag *mailbag = post->mailbags, *next; mailbag; mailbag = next) {
		next = mailbag->next;
		snprintf(mailbag->socket, sizeof mailbag->socket, "%s/run/%s.sock", post->data, mailbag->id);
		snprintf(mailbag->certificate, sizeof mailbag->certificate, "%s/%s-partner.pem", post->certificates,
		         mailbag->id);
		snprintf(mailbag->key, sizeof mailbag->key, "%s/%s-partner.key", post->certificates, mailbag->id);
		mailbag->removed |= !mailbag->wanted;
		if (mailbag->removed && !mailbag->flights)
			free_mailbag(mailbag);
	}
}
