/* delivery.c: libcurl's multi interface on libevent. */
#include "courier/delivery.h"
#include "base/log.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#define CL_DELIVERY_SECONDS 30L
#define CL_DELIVERY_PER_HOST 4L
#define CL_DELIVERY_ANSWER (64 * 1024) /* of the partner's answer only the status counts */

struct cl_delivery {
	struct event_base *base;
	CURLM *multi;
	struct event *timer;
	size_t running;
};

struct cl_transfer {
	struct cl_delivery *delivery;
	CURL *easy;
	struct curl_slist *headers;
	char *body;
	size_t answer;
	char problem[CURL_ERROR_SIZE];
	cl_delivery_done done;
	void *context;
};

static void finish(struct cl_transfer *transfer, CURLcode result)
{
	long status = 0;
	struct cl_delivery *delivery = transfer->delivery;
	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_multi_remove_handle(delivery->multi, transfer->easy);
	delivery->running--;
	/* An answer that broke off after its status did arrive as a status. */
	if (result != CURLE_OK && status < 200)
		status = 0;
	transfer->done(transfer->context, status,
	               result == CURLE_OK     ? ""
	               : transfer->problem[0] ? transfer->problem
	                                      : curl_easy_strerror(result));
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

int cl_delivery_send(struct cl_delivery *delivery, struct cl_str url, struct cl_str key, struct cl_str body,
                     const struct cl_delivery_identity *identity, cl_delivery_done done, void *context,
                     struct cl_err *e)
{
	char address[2048], idempotency[300];
	if (!cl_str_starts(url, "https://") || url.n + 40 > sizeof address)
		return cl_fail(e, CL_E_RULE, "a partner's url must begin with https://");
	/* It becomes a line of the request: a plugin must not be able to write others (attack: a line break in the key). */
	for (size_t i = 0; i < key.n; i++)
		if (key.p[i] < '!' || key.p[i] > '~')
			return cl_fail(e, CL_E_RULE, "a message's key has characters that no header may have");
	snprintf(address, sizeof address, "%.*s/fhir/$process-message", CL_STR_ARGS(url));
	snprintf(idempotency, sizeof idempotency, "Idempotency-Key: %.*s", CL_STR_ARGS(key));
	struct cl_transfer *transfer = calloc(1, sizeof *transfer);
	transfer->delivery = delivery;
	transfer->done = done;
	transfer->context = context;
	transfer->body = malloc(body.n + 1);
	memcpy(transfer->body, body.p, body.n);
	transfer->headers = curl_slist_append(NULL, "Content-Type: application/fhir+json");
	transfer->headers = curl_slist_append(transfer->headers, "Accept: application/fhir+json");
	transfer->headers = curl_slist_append(transfer->headers, "Expect:");
	transfer->headers = curl_slist_append(transfer->headers, idempotency);
	CURL *easy = transfer->easy = curl_easy_init();
	curl_easy_setopt(easy, CURLOPT_URL, address);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n);
	curl_easy_setopt(easy, CURLOPT_SSLCERT, identity->certificate);
	curl_easy_setopt(easy, CURLOPT_SSLKEY, identity->key);
	if (identity->authority)
		curl_easy_setopt(easy, CURLOPT_CAINFO, identity->authority);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, CL_DELIVERY_SECONDS);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, 5L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_answer);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->problem);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	delivery->running++;
	curl_multi_add_handle(delivery->multi, easy);
	return 0;
}

size_t cl_delivery_running(const struct cl_delivery *delivery)
{
	return delivery->running;
}
