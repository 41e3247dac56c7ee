/* fuzz_destination.c: any address is read or refused, never worse; what was read allows itself, and means to libcurl what it means to
 * us: two readers that differ are how a list is got round. */
#include "base/destination.h"
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void compare(const char *url, const struct cl_destination *read)
{
	char *host = NULL, *port = NULL, *scheme = NULL, expected[16];
	CURLU *other = curl_url();
	if (curl_url_set(other, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK) {
		if (curl_url_get(other, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
		    curl_url_get(other, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
		    curl_url_get(other, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
			abort();
		const char *name = host[0] == '[' ? host + 1 : host;
		/* curl may write an address of version 6 shorter than it came. */
		if (host[0] != '[' && (strlen(name) != read->host.n || strncasecmp(name, read->host.p, read->host.n)))
			abort();
		snprintf(expected, sizeof expected, "%d", read->port);
		if (strcmp(port, expected) || strcmp(scheme, read->secure ? "https" : "http"))
			abort();
	}
	curl_free(host);
	curl_free(port);
	curl_free(scheme);
	curl_url_cleanup(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	/* Copies without a byte to spare, so that the sanitizer sees a read past the end. */
	char *text = malloc(n ? n : 1), *ended = malloc(n + 1);
	memcpy(text, data, n);
	memcpy(ended, data, n);
	ended[n] = 0;
	struct cl_str url = {text, n};
	struct cl_destination read;
	struct cl_err e = {0};
	if (cl_destination_read(url, &read, &e) == 0) {
		struct cl_arena *arena = cl_arena_new(0);
		struct cl_str origin = cl_destination_origin(arena, &read);
		struct cl_destination again;
		if (strlen(ended) != n || cl_destination_read(origin, &again, &e) || again.port != read.port ||
		    !cl_destination_allowed(&read, origin))
			abort();
		cl_destination_is_private(&read);
		compare(ended, &read);
		cl_arena_free(arena);
	} else if (!e.message[0]) {
		abort();
	}
	cl_destination_check_pattern(url, &e);
	free(text);
	free(ended);
	return 0;
}
