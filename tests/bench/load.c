/* load.c: a load generator over TLS with client certificates, which wrk does not have. N connections on one thread; each sends
 * the next request when the last was answered. Prints one line of JSON: requests, seconds, rate, latencies in microseconds.
 *
 *   load --port 8443 --host riverside.localhost --connections 64 --seconds 3 --cert a.pem --key a.key
 *        [--method POST --body FILE] TARGET
 *
 * In a body "@N" becomes a number that is different in every request, and in the target and the body "@C" the number of the
 * connection, 0 to N-1. Traffic goes to 127.0.0.1 only. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SAMPLES_MAX 4000000
#define ANSWER_MAX (32 * 1024 * 1024)

struct options {
	int port, connections;
	double seconds;
	long requests; /* per connection; 0 = until the time is over */
	const char *host, *method, *target, *body_file, *certificate, *key, *header;
	char *body;
	size_t body_n;
};

struct connection {
	int fd;
	SSL *ssl;
	char *out, *in;
	size_t out_n, out_at, in_n, in_capacity;
	int64_t begun;
	long sent;
	unsigned number;
	bool writing, handshaking, closed;
};

static struct options options = {.port = 8443, .connections = 16, .seconds = 3, .host = "localhost", .method = "GET"};
static uint32_t *samples;
static size_t sample_count;
static long errors, answered;
static uint64_t number;

static int64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Copies `n` bytes of text with its marks replaced; `out` has room for 64 marks. */
static size_t fill(char *out, const char *text, size_t n, const struct connection *c)
{
	size_t at = 0;
	for (size_t i = 0; i < n;) {
		if (text[i] == '@' && i + 1 < n && (text[i + 1] == 'N' || text[i + 1] == 'C')) {
			at += (size_t)snprintf(out + at, 24, "%llu",
			                       text[i + 1] == 'N' ? (unsigned long long)number
			                                          : (unsigned long long)c->number);
			i += 2;
		} else {
			out[at++] = text[i++];
		}
	}
	return at;
}

static void prepare(struct connection *c)
{
	char target[4096];
	char *body = malloc(options.body_n + 64 * 40);
	number++;
	size_t body_n = fill(body, options.body, options.body_n, c);
	target[fill(target, options.target, strlen(options.target), c)] = 0;
	c->out = realloc(c->out, body_n + 8192);
	c->out_n = (size_t)snprintf(c->out, 8192,
	                            "%s %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/fhir+json\r\n%s%s"
	                            "Content-Length: %zu\r\n\r\n",
	                            options.method, target, options.host, options.port,
	                            options.header ? options.header : "", options.header ? "\r\n" : "", body_n);
	if (body_n)
		memcpy(c->out + c->out_n, body, body_n);
	c->out_n += body_n;
	c->out_at = 0;
	c->in_n = 0;
	c->writing = true;
	c->begun = now();
	free(body);
}

/* Total length of the answer once the head is there; 0 before. */
static size_t answer_length(struct connection *c, int *status)
{
	char *end = c->in_n > 4 ? memmem(c->in, c->in_n, "\r\n\r\n", 4) : NULL;
	if (!end)
		return 0;
	*status = atoi(c->in + 9);
	size_t head = (size_t)(end - c->in) + 4;
	*end = 0;
	char *length = strcasestr(c->in, "\r\ncontent-length:");
	*end = '\r';
	return head + (length ? (size_t)strtoul(length + 17, NULL, 10) : 0);
}

static bool step(struct connection *c, int64_t deadline)
{
	for (;;) {
		int n;
		if (c->handshaking) {
			n = SSL_connect(c->ssl);
			if (n == 1) {
				c->handshaking = false;
				prepare(c);
				continue;
			}
		} else if (c->writing) {
			n = SSL_write(c->ssl, c->out + c->out_at, (int)(c->out_n - c->out_at));
			if (n > 0) {
				c->out_at += (size_t)n;
				c->writing = c->out_at < c->out_n;
				continue;
			}
		} else {
			if (c->in_capacity - c->in_n < 65536) {
				c->in_capacity += 262144;
				if (c->in_capacity > ANSWER_MAX)
					return false;
				c->in = realloc(c->in, c->in_capacity);
			}
			n = SSL_read(c->ssl, c->in + c->in_n, 65535);
			if (n > 0) {
				int status = 0;
				c->in_n += (size_t)n;
				size_t length = answer_length(c, &status);
				if (!length || c->in_n < length)
					continue;
				if (sample_count < SAMPLES_MAX)
					samples[sample_count++] = (uint32_t)(now() - c->begun);
				answered++;
				if (status >= 400 || status < 200) {
					if (!errors)
						fprintf(stderr, "%.*s\n", (int)(c->in_n < 600 ? c->in_n : 600), c->in);
					errors++;
				}
				c->sent++;
				if (now() >= deadline || (options.requests && c->sent >= options.requests))
					return false;
				prepare(c);
				continue;
			}
		}
		int reason = SSL_get_error(c->ssl, n);
		if (reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE)
			return true;
		ERR_print_errors_fp(stderr);
		errors++;
		return false;
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static uint32_t percentile(double share)
{
	return sample_count ? samples[(size_t)((double)(sample_count - 1) * share)] : 0;
}

static void read_body(void)
{
	FILE *in = fopen(options.body_file, "r");
	if (!in)
		die(options.body_file);
	fseek(in, 0, SEEK_END);
	options.body_n = (size_t)ftell(in);
	rewind(in);
	options.body = malloc(options.body_n + 1);
	if (fread(options.body, 1, options.body_n, in) != options.body_n)
		die(options.body_file);
	fclose(in);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
	        {"port", 1, NULL, 'p'},     {"host", 1, NULL, 'h'},   {"connections", 1, NULL, 'c'},
	        {"seconds", 1, NULL, 's'},  {"method", 1, NULL, 'm'}, {"body", 1, NULL, 'b'},
	        {"cert", 1, NULL, 'C'},     {"key", 1, NULL, 'K'},    {"header", 1, NULL, 'H'},
	        {"requests", 1, NULL, 'n'}, {NULL, 0, NULL, 0},
	};
	for (int o; (o = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		switch (o) {
		case 'p':
			options.port = (int)strtol(optarg, NULL, 10);
			break;
		case 'h':
			options.host = optarg;
			break;
		case 'c':
			options.connections = (int)strtol(optarg, NULL, 10);
			break;
		case 's':
			options.seconds = strtod(optarg, NULL);
			break;
		case 'm':
			options.method = optarg;
			break;
		case 'b':
			options.body_file = optarg;
			break;
		case 'C':
			options.certificate = optarg;
			break;
		case 'K':
			options.key = optarg;
			break;
		case 'H':
			options.header = optarg;
			break;
		case 'n':
			options.requests = strtol(optarg, NULL, 10);
			break;
		default:
			return 2;
		}
	}
	if (optind >= argc || strlen(argv[optind]) > 2000)
		return 2;
	options.target = argv[optind];
	if (options.body_file)
		read_body();
	samples = malloc(sizeof *samples * SAMPLES_MAX);
	number = (uint64_t)now();
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (options.certificate && (SSL_CTX_use_certificate_chain_file(context, options.certificate) != 1 ||
	                            SSL_CTX_use_PrivateKey_file(context, options.key, SSL_FILETYPE_PEM) != 1)) {
		ERR_print_errors_fp(stderr);
		return 1;
	}
	int poll = epoll_create1(0), open_count = 0;
	struct connection *all = calloc((size_t)options.connections, sizeof *all);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
	inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
	int64_t begun = now(), deadline = begun + (int64_t)(options.seconds * 1e6);
	for (int i = 0; i < options.connections; i++) {
		struct connection *c = &all[i];
		int one = 1;
		c->number = (unsigned)i;
		c->fd = socket(AF_INET, SOCK_STREAM, 0);
		if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address))
			die("connect");
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		fcntl(c->fd, F_SETFL, O_NONBLOCK);
		c->ssl = SSL_new(context);
		SSL_set_fd(c->ssl, c->fd);
		SSL_set_tlsext_host_name(c->ssl, options.host);
		c->handshaking = true;
		struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
		epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event);
		open_count++;
	}
	while (open_count && now() < deadline + 30000000) {
		struct epoll_event events[128];
		int count = epoll_wait(poll, events, 128, 100);
		for (int i = 0; i < count; i++) {
			struct connection *c = events[i].data.ptr;
			if (c->closed || step(c, deadline))
				continue;
			c->closed = true;
			close(c->fd);
			open_count--;
		}
	}
	double seconds = (double)(now() - begun) / 1e6;
	qsort(samples, sample_count, sizeof *samples, compare);
	printf("{\"requests\":%ld,\"errors\":%ld,\"seconds\":%.3f,\"rate\":%.1f,\"p50\":%u,\"p90\":%u,\"p99\":%u,"
	       "\"max\":%u}\n",
	       answered, errors, seconds, (double)answered / seconds, percentile(0.5), percentile(0.9),
	       percentile(0.99), percentile(1));
	return errors ? 1 : 0;
}
