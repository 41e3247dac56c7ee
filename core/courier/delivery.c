/* delivery.c: libcurl's multi interface on libevent. */
#include "courier/delivery.h"
#include "base/destination.h"
#include "base/log.h"
#include <curl/curl.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CL_DELIVERY_PER_HOST 4L
#define CL_DELIVERY_ANSWER (64 * 1024) /* of the partner's answer only the status counts */

struct cl_delivery {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
};

struct cl_transfer {
	struct cl_delivery *delivery;
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	size_t answer;
	bool outside_only, inside; /* inside: its name led to an address that it may not call */
	char problem[CURL_ERROR_SIZE];
	cl_delivery_done done;
	void *context;
};

static void finish(struct cl_transfer *transfer, CURLcode code)
{
	struct cl_delivery_result result = {.problem = ""};
	curl_off_t wait = 0;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &result.status);
	curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &wait);
	curl_multi_remove_handle(transfer->delivery->multi, transfer->easy);
	/* An answer that broke off after its status did arrive as a status. */
	if (code != CURLE_OK && result.status < 200)
		result.status = 0;
	if ((result.status == 429 || result.status == 503) && wait > 0)
		result.retry_after = wait < 1000000 ? (long)wait : 1000000;
	if (transfer->inside)
		result.problem = "the name leads to an address of this machine or its own network";
	else if (code != CURLE_OK)
		result.problem = transfer->problem[0] ? transfer->problem : curl_easy_strerror(code);
	transfer->done(transfer->context, &result);
	curl_easy_cleanup(transfer->easy);
	curl_slist_free_all(transfer->headers);
	free(transfer->body);
	free(transfer);
}

static void collect(struct cl_delivery *delivery)
{
	CURLMsg *message;
	int left;
	while ((message = curl_multi_info_read(delivery->multi, &left))) {
		struct cl_transfer *transfer;
		if (message->msg != CURLMSG_DONE)
			continue;
		CURLcode result = message->data.result;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
		finish(transfer, result);
	}
}

static void on_socket_event(evutil_socket_t fd, short what, void *context)
{
	struct cl_delivery *delivery = context;
	int running;
	int action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
	curl_multi_socket_action(delivery->multi, fd, action, &running);
	collect(delivery);
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct cl_delivery *delivery = context;
	int running;
	(void)fd;
	(void)what;
	curl_multi_socket_action(delivery->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	collect(delivery);
}

static int set_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *per_socket)
{
	struct cl_delivery *delivery = context;
	struct event *event = per_socket;
	(void)easy;
	if (event) {
		event_free(event);
		curl_multi_assign(delivery->multi, socket, NULL);
	}
	if (what == CURL_POLL_REMOVE)
		return 0;
	short kind = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
	event = event_new(delivery->base, socket, kind, on_socket_event, delivery);
	event_add(event, NULL);
	curl_multi_assign(delivery->multi, socket, event);
	return 0;
}

static int set_timer(CURLM *multi, long milliseconds, void *context)
{
	struct cl_delivery *delivery = context;
	struct timeval wait = {milliseconds / 1000, (milliseconds % 1000) * 1000};
	(void)multi;
	if (milliseconds < 0)
		event_del(delivery->timer);
	else
		event_add(delivery->timer, &wait);
	return 0;
}

struct cl_delivery *cl_delivery_new(struct event_base *base)
{
	struct cl_delivery *delivery = calloc(1, sizeof *delivery);
	if (!delivery)
		abort();
	delivery->base = base;
	delivery->timer = event_new(base, -1, 0, on_timer, delivery);
	delivery->multi = curl_multi_init();
	curl_multi_setopt(delivery->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(delivery->multi, CURLMOPT_SOCKETDATA, delivery);
	curl_multi_setopt(delivery->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(delivery->multi, CURLMOPT_TIMERDATA, delivery);
	curl_multi_setopt(delivery->multi, CURLMOPT_MAX_HOST_CONNECTIONS, CL_DELIVERY_PER_HOST);
	return delivery;
}

void cl_delivery_free(struct cl_delivery *delivery)
{
	if (!delivery)
		return;
	curl_multi_cleanup(delivery->multi);
	event_free(delivery->timer);
	free(delivery);
}

static size_t take_answer(char *bytes, size_t size, size_t count, void *context)
{
	struct cl_transfer *transfer = context;
	(void)bytes;
	transfer->answer += size * count;
	return transfer->answer > CL_DELIVERY_ANSWER ? 0 : size * count;
}

/* After names were looked up and before anything is sent: what a name means may have changed since it was checked. */
static curl_socket_t open_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct cl_transfer *transfer = context;
	(void)purpose;
	if (transfer->outside_only && cl_address_is_private(&address->addr)) {
		transfer->inside = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* Each becomes a line of the request: nobody who wrote a part of one must be able to write others. */
static int check_line(struct cl_str line, struct cl_err *e)
{
	for (size_t i = 0; i < line.n; i++)
		if ((line.p[i] < ' ' || line.p[i] > '~') && line.p[i] != '\t')
			return cl_fail(e, CL_E_RULE, "a header has characters that no header may have");
	return 0;
}

static void add_line(struct cl_transfer *transfer, struct cl_str line)
{
	char *copy = strndup(line.p, line.n);
	transfer->headers = curl_slist_append(transfer->headers, copy);
	free(copy);
}

static void set_trust(CURL *easy, const struct cl_delivery_letter *letter)
{
	if (letter->certificate) {
		curl_easy_setopt(easy, CURLOPT_SSLCERT, letter->certificate);
		curl_easy_setopt(easy, CURLOPT_SSLKEY, letter->key);
	}
	if (letter->authority) {
		curl_easy_setopt(easy, CURLOPT_CAINFO, letter->authority);
		if (!letter->system_authorities)
			curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
}

static void set_request(struct cl_transfer *transfer, const struct cl_delivery_letter *letter, const char *url,
                        const char *method)
{
	CURL *easy = transfer->easy;
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, letter->http ? "https,http" : "https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "Careloop");
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)letter->body.n);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, letter->seconds);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, 5L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	/* A connection into the house must not be found open by a letter that may only go outside. */
	if (!letter->outside_only)
		curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, letter->certificate ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->problem);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
}

int cl_delivery_send(struct cl_delivery *delivery, const struct cl_delivery_letter *letter, cl_delivery_done done,
                     void *context, struct cl_err *e)
{
	bool typed = false;
	if (!cl_str_starts(letter->url, "https://") && !(letter->http && cl_str_starts(letter->url, "http://")))
		return cl_fail(e, CL_E_RULE, "the address must begin with https://");
	if (letter->url.n > 2048 || memchr(letter->url.p, 0, letter->url.n))
		return cl_fail(e, CL_E_RULE, "the address is too long");
	int code = check_line(letter->method, e);
	for (size_t i = 0; !code && i < letter->header_count; i++)
		code = check_line(letter->headers[i], e);
	if (code)
		return code;
	struct cl_transfer *transfer = calloc(1, sizeof *transfer);
	if (!transfer || !(transfer->body = malloc(letter->body.n + 1)) || !(transfer->easy = curl_easy_init()))
		cl_die("no memory for a letter");
	transfer->delivery = delivery;
	transfer->done = done;
	transfer->context = context;
	transfer->outside_only = letter->outside_only;
	memcpy(transfer->body, letter->body.n ? letter->body.p : "", letter->body.n);
	for (size_t i = 0; i < letter->header_count; i++) {
		typed |= cl_str_starts(letter->headers[i], "Content-Type:");
		add_line(transfer, letter->headers[i]);
	}
	add_line(transfer, CL_STR("Expect:"));
	if (!typed)
		add_line(transfer, CL_STR("Content-Type:"));
	char *url = strndup(letter->url.p, letter->url.n), *method = strndup(letter->method.p, letter->method.n);
	set_request(transfer, letter, url, method);
	set_trust(transfer->easy, letter);
	free(url);
	free(method);
	curl_multi_add_handle(delivery->multi, transfer->easy);
	return 0;
}
