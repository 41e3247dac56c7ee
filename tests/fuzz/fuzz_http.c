/* fuzz_http.c: requests in one piece and in pieces must come out the same, and what is taken must be unambiguous. The first
 * byte says how the rest is cut. */
#include "gateway/http_parser.h"
#include <stdlib.h>

#define LIMIT 300
#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			abort();                                                                                       \
	} while (0)

struct outcome {
	int status;
	size_t consumed;
	uint64_t hash;
	unsigned requests;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void mix(uint64_t *hash, struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++)
		*hash = (*hash ^ (unsigned char)text.p[i]) * 0x100000001b3;
	*hash = (*hash ^ text.n) * 0x100000001b3;
}

static void check(const struct cl_http_request *request, uint64_t *hash)
{
	REQUIRE(request->target.n >= 1 && request->target.n <= CL_HTTP_TARGET_MAX && request->target.p[0] == '/');
	REQUIRE(request->host.n || request->minor_version == 0);
	REQUIRE(request->header_count <= CL_HTTP_HEADERS_MAX);
	REQUIRE(request->body.n <= LIMIT);
	REQUIRE(request->chunked || request->body.n == request->content_length);
	size_t lengths = 0, encodings = 0, hosts = 0;
	for (size_t i = 0; i < request->header_count; i++) {
		const struct cl_header *header = &request->headers[i];
		REQUIRE(header->name.n);
		for (size_t j = 0; j < header->name.n; j++)
			REQUIRE(header->name.p[j] > 0x20 && header->name.p[j] < 0x7f && header->name.p[j] != ':');
		for (size_t j = 0; j < header->value.n; j++)
			REQUIRE((unsigned char)header->value.p[j] >= 0x20 || header->value.p[j] == '\t');
		lengths += cl_str_is(header->name, "content-length");
		encodings += cl_str_is(header->name, "transfer-encoding");
		hosts += cl_str_is(header->name, "host");
		mix(hash, header->name);
		mix(hash, header->value);
	}
	REQUIRE(lengths + encodings <= 1 && hosts <= 1);
	mix(hash, request->method_name);
	mix(hash, request->target);
	mix(hash, request->host);
	mix(hash, request->body);
	*hash += request->keep_alive + 2u * request->expects_continue;
}

/* As a connection does it: request after request until the input ends or one is refused. */
static struct outcome run(const char *input, size_t n, unsigned seed)
{
	struct cl_http_parser parser;
	struct outcome outcome = {0};
	size_t at = 0;
	cl_http_parser_init(&parser, LIMIT);
	for (;;) {
		size_t piece = n - at, consumed;
		if (seed && piece) {
			seed = seed * 1103515245 + 12345;
			size_t most = 1 + (seed >> 16) % 40;
			piece = piece < most ? piece : most;
		}
		char *exact = malloc(piece ? piece : 1);
		if (piece)
			memcpy(exact, input + at, piece);
		enum cl_http_step step = cl_http_parser_feed(&parser, exact, piece, &consumed);
		free(exact);
		REQUIRE(consumed <= piece);
		at += consumed;
		if (step == CL_HTTP_REFUSED) {
			outcome.status = parser.status;
			REQUIRE(parser.status >= 400 && parser.reason);
			break;
		}
		if (step == CL_HTTP_DONE) {
			outcome.requests++;
			check(&parser.request, &outcome.hash);
			cl_http_parser_reset(&parser);
		} else if (step == CL_HTTP_MORE) {
			REQUIRE(consumed == piece);
			if (at == n)
				break;
		}
	}
	if (outcome.status == 0)
		outcome.consumed = at;
	cl_http_parser_free(&parser);
	return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const char *input = (const char *)data + 1;
	struct outcome whole = run(input, size - 1, 0), pieces = run(input, size - 1, data[0] + 1u);
	REQUIRE(whole.status == pieces.status);
	REQUIRE(whole.requests == pieces.requests);
	REQUIRE(whole.hash == pieces.hash);
	REQUIRE(whole.consumed == pieces.consumed);
	return 0;
}
