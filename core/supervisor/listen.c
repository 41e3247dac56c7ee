/* listen.c: see listen.h. */
#include "supervisor/listen.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

union address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

/* Length of the address, 0 when it is none; the gateway says so with more words. */
static socklen_t parse(const char *text, int port, union address *out)
{
	*out = (union address){.six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)}};
	if (inet_pton(AF_INET6, text, &out->six.sin6_addr) == 1)
		return sizeof out->six;
	*out = (union address){.four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}};
	return inet_pton(AF_INET, text, &out->four.sin_addr) == 1 ? sizeof out->four : 0;
}

static bool is_taken(const char *text, int port)
{
	union address address;
	int on = 1;
	socklen_t n = parse(text, port, &address);
	int probe = n ? socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
	if (probe < 0)
		return false;
	/* Connections of a server that has just ended do not count, only somebody who listens. */
	setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	bool taken = bind(probe, &address.any, n) && errno == EADDRINUSE;
	close(probe);
	return taken;
}

int cl_listen_check(const struct cl_json *tree, struct cl_err *e)
{
	const struct cl_json *list = cl_json_get(tree, "listen");
	for (uint32_t i = 0; list && list->kind == CL_JSON_ARRAY && i < list->count; i++) {
		char address[64] = "127.0.0.1";
		int64_t port = 8443;
		struct cl_str text = cl_json_get_text(&list->items[i], "address");
		cl_json_integer(cl_json_get(&list->items[i], "port"), &port);
		if (text.n && text.n < sizeof address) {
			memcpy(address, text.p, text.n);
			address[text.n] = 0;
		}
		if (port > 0 && port < 65536 && is_taken(address, (int)port))
			return cl_fail(e, CL_E_CONFLICT, "port %d of %s is in use by another program", (int)port,
			               address);
	}
	return CL_OK;
}
