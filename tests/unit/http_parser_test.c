/* http_parser_test.c: what the parser takes, what it refuses and with which status, however the input is cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gateway/http_parser.h"
#include <stdio.h>
#include <stdlib.h>

#define LIMIT 1000

struct outcome {
	int status; /* 200 = complete, 0 = more is needed, else the refusal's */
	size_t consumed; /* of the input, when complete */
	uint64_t hash; /* of all that was parsed */
};

static void mix(uint64_t *hash, struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++)
		*hash = (*hash ^ (unsigned char)text.p[i]) * 0x100000001b3;
	*hash = (*hash ^ text.n) * 0x100000001b3;
}

static uint64_t hash_of(const struct cl_http_request *request)
{
	uint64_t hash =
	        0xcbf29ce484222325 + request->keep_alive + 2u * request->expects_continue + 4u * request->chunked;
	mix(&hash, request->method_name);
	mix(&hash, request->target);
	mix(&hash, request->host);
	mix(&hash, request->body);
	for (size_t i = 0; i < request->header_count; i++) {
		mix(&hash, request->headers[i].name);
		mix(&hash, request->headers[i].value);
	}
	return hash;
}

/* Feeds pieces of `piece` bytes. */
static struct outcome parse(struct cl_http_parser *parser, struct cl_str input, size_t piece)
{
	struct outcome outcome = {0};
	cl_http_parser_reset(parser);
	size_t at = 0;
	for (;;) {
		size_t n = input.n - at < piece ? input.n - at : piece, consumed;
		char *exact = malloc(n ? n : 1); /* so that reading past the piece is seen */
		memcpy(exact, input.p + at, n);
		enum cl_http_step step = cl_http_parser_feed(parser, exact, n, &consumed);
		free(exact);
		assert_true(consumed <= n);
		at += consumed;
		if (step == CL_HTTP_DONE) {
			outcome = (struct outcome){200, at, hash_of(&parser->request)};
			break;
		}
		if (step == CL_HTTP_REFUSED) {
			assert_non_null(parser->reason);
			outcome.status = parser->status;
			assert_int_equal(cl_http_parser_feed(parser, "x", 1, &consumed), CL_HTTP_REFUSED);
			assert_int_equal(consumed, 0);
			break;
		}
		if (step == CL_HTTP_MORE && at == input.n)
			break;
	}
	return outcome;
}

static void expect(struct cl_str input, int status, size_t rest)
{
	struct cl_http_parser parser;
	cl_http_parser_init(&parser, LIMIT);
	struct outcome whole = parse(&parser, input, SIZE_MAX);
	if (whole.status != status)
		print_error("%.*s\n%s\n", CL_STR_ARGS(input), parser.reason ? parser.reason : "no reason");
	assert_int_equal(whole.status, status);
	if (status == 200)
		assert_int_equal(whole.consumed, input.n - rest);
	for (size_t piece = 1; piece < 70 && piece <= input.n; piece += piece < 8 ? 1 : 13) {
		struct outcome pieces = parse(&parser, input, piece);
		assert_int_equal(pieces.status, whole.status);
		assert_int_equal(pieces.consumed, whole.consumed);
		assert_true(pieces.hash == whole.hash);
	}
	cl_http_parser_free(&parser);
}

#define H "Host: riverside.localhost\r\n"
#define POST "POST /fhir HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct {
	int status;
	const char *input;
} cases[] = {
        /* Good */
        {200, "GET / HTTP/1.1\r\n" H "\r\n"},
        {200, "GET /fhir/Patient?identifier=http://x|1&name=%C3%B1 HTTP/1.1\r\n" H "\r\n"},
        {200, "GET /a:b@c!$&'()*+,;=~-._[] HTTP/1.1\r\n" H "\r\n"},
        {200, "HEAD / HTTP/1.1\r\n" H "\r\n"},
        {200, "DELETE /fhir/Patient/1 HTTP/1.1\r\n" H "\r\n"},
        {200, "OPTIONS / HTTP/1.1\r\n" H "\r\n"},
        {200, "GET / HTTP/1.1\r\nhost:x\r\n\r\n"},
        {200, "GET / HTTP/1.1\r\nHost: \t x:8443 \t \r\n\r\n"},
        {200, "GET / HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n"},
        {200, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"},
        {200, "GET / HTTP/1.0\r\n\r\n"},
        {200, "GET / HTTP/1.0\r\n" H "\r\n"},
        {200, "GET / HTTP/1.1\r\n" H "X-Empty:\r\nX-Utf8: \xc3\xb1\r\n\r\n"},
        {200, "GET / HTTP/1.1\r\n" H "Accept: a\r\nAccept: b\r\n\r\n"},
        {200, "GET / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"},
        {200, POST "\r\n"},
        {200, POST "Content-Length: 5\r\n\r\nhello"},
        {200, POST "Content-Length: 0005\r\n\r\nhello"},
        {200, "PUT /a HTTP/1.1\r\n" H "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n%1000"},
        {200, "PATCH /a HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx"},
        {200, CHUNKED "5\r\nhello\r\n0\r\n\r\n"},
        {200, CHUNKED "00000005\r\nhello\r\n000\r\n\r\n"},
        {200, CHUNKED "a\r\n0123456789\r\nB;x=y;z=\"q\"\r\n01234567890\r\n0\r\n\r\n"},
        {200, CHUNKED "0;last\r\nTrailer: dropped\r\nContent-Length: 5\r\n\r\n"},
        {200, CHUNKED "3e8\r\n%1000\r\n0\r\n\r\n"},
        {200, "GET / HTTP/1.1\r\n" H "Connection: Upgrade, Keep-Alive\r\nUpgrade: h2c\r\n\r\n"},
        /* Unfinished */
        {0, ""},
        {0, "GET / HTTP/1.1"},
        {0, "GET / HTTP/1.1\r\n" H},
        {0, "GET / HTTP/1.1\r\n" H "\r"},
        {0, POST "Content-Length: 5\r\n\r\nhell"},
        {0, CHUNKED "5\r\nhello\r\n0\r\n"},
        {0, CHUNKED "5\r\nhello"},
        /* Line ends */
        {400, "GET / HTTP/1.1\n" H "\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: x\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "\n"},
        {400, "\r\nGET / HTTP/1.1\r\n" H "\r\n"},
        {400, "\nGET / HTTP/1.1\r\n" H "\r\n"},
        {400, "GET / HTTP/1.1\r\r\n" H "\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A: b\r\r\n\r\n"},
        /* Request line */
        {400, "GET  / HTTP/1.1\r\n" H "\r\n"},
        {400, "GET / HTTP/1.1 \r\n" H "\r\n"},
        {400, " GET / HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /\r\n" H "\r\n"},
        {400, "GET\r\n" H "\r\n"},
        {400, "GET / a HTTP/1.1\r\n" H "\r\n"},
        {400, "GET\t/ HTTP/1.1\r\n" H "\r\n"},
        {400, "G(T / HTTP/1.1\r\n" H "\r\n"},
        {400, "GET / http/1.1\r\n" H "\r\n"},
        {400, "GET / HTTP/1.1x\r\n" H "\r\n"},
        {400, "GET / HTTP/11\r\n" H "\r\n"},
        {400, "GET / HTTP/1.\r\n" H "\r\n"},
        {505, "GET / HTTP/2.0\r\n" H "\r\n"},
        {505, "GET / HTTP/1.2\r\n" H "\r\n"},
        {505, "GET / HTTP/0.9\r\n" H "\r\n"},
        {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n*"},
        {501, "get / HTTP/1.1\r\n" H "\r\n"},
        {501, "TRACE / HTTP/1.1\r\n" H "\r\n"},
        {501, "BREW /pot HTTP/1.1\r\n" H "\r\n"},
        {400, "CONNECT a:443 HTTP/1.1\r\n" H "\r\n"},
        /* Target */
        {400, "GET http://riverside.localhost/ HTTP/1.1\r\n" H "\r\n"},
        {400, "GET * HTTP/1.1\r\n" H "\r\n"},
        {400, "GET fhir HTTP/1.1\r\n" H "\r\n"},
        {400, "GET //evil/ HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a#b HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a\"b HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a<b> HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a\\b HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a{b} HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /\xc3\xb1 HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a\x01 HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a\x7f HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /% HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /%4 HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /%4g HTTP/1.1\r\n" H "\r\n"},
        {400, "GET /a%00b HTTP/1.1\r\n" H "\r\n"},
        /* Headers */
        {400, "GET / HTTP/1.1\r\n" H "Bad Name: x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "Bad : x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "Bad\t: x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H ": x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "NoColon\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A: b\r\n folded\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A: b\r\n\tfolded\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n first: x\r\n" H "\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A: b\x01\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A: b\x7f\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A\xc3: b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "A(b): c\r\n\r\n"},
        /* Host */
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H H "\r\n"},
        {400, "GET / HTTP/1.0\r\n" H H "\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a_b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a:\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a:80a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: :80\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: []\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: [x::1]\r\n\r\n"},
        /* Length and encoding: the smuggler's tools */
        {400, POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"},
        {400, POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
        {400, POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
        {400, POST "Content-Length: 5, 5\r\n\r\nhello"},
        {400, POST "Content-Length: +5\r\n\r\nhello"},
        {400, POST "Content-Length: -5\r\n\r\nhello"},
        {400, POST "Content-Length: 0x5\r\n\r\nhello"},
        {400, POST "Content-Length: 5 5\r\n\r\nhello"},
        {400, POST "Content-Length: 5.0\r\n\r\nhello"},
        {400, POST "Content-Length:\r\n\r\nhello"},
        {400, POST "Content-Length : 5\r\n\r\nhello"},
        {413, POST "Content-Length: 1001\r\n\r\n"},
        {413, POST "Content-Length: 99999999999999999999999999\r\n\r\n"},
        {413, POST "Content-Length: 18446744073709551621\r\n\r\nhello"},
        {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding: identity\r\n\r\n"},
        {400, POST "Transfer-Encoding:\r\n\r\n"},
        {400, POST "Transfer-Encoding:\x0b"
                   "chunked\r\n\r\n0\r\n\r\n"},
        {400, POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
        {400, "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nhello"},
        {400, "HEAD / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
        {400, POST "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"},
        {400, POST "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n"},
        {400, POST "If-None-Exist: a=b\r\nIf-None-Exist: c=d\r\n\r\n"},
        /* Chunks */
        {400, CHUNKED "\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "0x5\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "+5\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "-5\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED " 5\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "5 \r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "5 ;a\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "5g\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "5\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "5\rhello\r\n0\r\n\r\n"},
        {400, CHUNKED "5\r\nhello\n0\r\n\r\n"},
        {400, CHUNKED "5\r\nhello0\r\n\r\n"},
        {400, CHUNKED "4\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED ";a\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "000000005\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "100000000\r\n"},
        {413, CHUNKED "ffffffff\r\n"},
        {413, CHUNKED "3e9\r\n"},
        {413, CHUNKED "3e8\r\n%1000\r\n1\r\nx\r\n0\r\n\r\n"},
        {400, CHUNKED "5;\x01\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "5;a\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "0\r\nBad Trailer: x\r\n\r\n"},
        {400, CHUNKED "0\r\n folded\r\n\r\n"},
        {400, CHUNKED "0\r\nA: \x01\r\n\r\n"},
        {400, CHUNKED "0\r\nA: b\n\r\n"},
        {400, CHUNKED "0\r\nA\r\n\r\n"},
        {400, CHUNKED "0\r\n\n"},
        {400, CHUNKED "0\r\n\rx"},
        {400, CHUNKED "5;%5000\r\nhello\r\n0\r\n\r\n"},
        {400, CHUNKED "0\r\nA: %5000\r\n\r\n"},
        /* Expectations */
        {417, POST "Content-Length: 5\r\nExpect: 200-ok\r\n\r\nhello"},
        {417, POST "Content-Length: 5\r\nExpect: 100-continue, x\r\n\r\nhello"},
        {417, POST "Content-Length: 5\r\nExpect:\r\n\r\nhello"},
        {200, "POST / HTTP/1.0\r\n" H "Content-Length: 5\r\nExpect: else\r\n\r\nhello"},
        /* Sizes */
        {200, "GET /%8191 HTTP/1.1\r\n" H "\r\n"},
        {414, "GET /%8192 HTTP/1.1\r\n" H "\r\n"},
        {414, "GET /%9000 HTTP/1.1\r\n" H "\r\n"},
        {414, "%20000"},
        {200, "GET / HTTP/1.1\r\n" H "A: %16000\r\n\r\n"},
        {431, "GET / HTTP/1.1\r\n" H "A: %16384\r\n\r\n"},
        {431, "GET / HTTP/1.1\r\n" H "%20000"},
        {431, "GET / HTTP/1.1\r\n" H "A: %8000\r\nB: %8400\r\n\r\n"},
};

/* %N becomes N letters, unless two hexadecimal digits and nothing like a number follow. */
static struct cl_str expand(const char *text, char *out)
{
	size_t n = 0;
	for (const char *p = text; *p; p++) {
		char *end = NULL;
		long count = *p == '%' && p[1] >= '1' && p[1] <= '9' ? strtol(p + 1, &end, 10) : 0;
		if (count < 1000) {
			out[n++] = *p;
			continue;
		}
		memset(out + n, 'a', (size_t)count);
		n += (size_t)count;
		p = end - 1;
	}
	return (struct cl_str){out, n};
}

static void the_table(void **state)
{
	(void)state;
	char *room = malloc(100000);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		expect(expand(cases[i].input, room), cases[i].status, 0);
	free(room);
}

static void nul_bytes(void **state)
{
	(void)state;
	static const char target[] = "GET /a\0b HTTP/1.1\r\n" H "\r\n",
	                  name[] = "GET / HTTP/1.1\r\n" H "A\0: b\r\n\r\n",
	                  value[] = "GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n", method[] = "G\0T / HTTP/1.1\r\n" H "\r\n",
	                  host[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", size[] = CHUNKED "5\0\r\nhello\r\n0\r\n\r\n",
	                  body[] = CHUNKED "5\r\nhe\0lo\r\n0\r\n\r\n";
	expect((struct cl_str){target, sizeof target - 1}, 400, 0);
	expect((struct cl_str){name, sizeof name - 1}, 400, 0);
	expect((struct cl_str){value, sizeof value - 1}, 400, 0);
	expect((struct cl_str){method, sizeof method - 1}, 400, 0);
	expect((struct cl_str){host, sizeof host - 1}, 400, 0);
	expect((struct cl_str){size, sizeof size - 1}, 400, 0);
	expect((struct cl_str){body, sizeof body - 1}, 200, 0); /* bodies may hold anything */
}

static void stops_where_the_request_ends(void **state)
{
	(void)state;
	static const char *const first[] = {
	        "GET / HTTP/1.1\r\n" H "\r\n",
	        POST "Content-Length: 5\r\n\r\nhello",
	        CHUNKED "5\r\nhello\r\n0\r\n\r\n",
	        CHUNKED "0\r\nA: b\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
		char both[400];
		int n = snprintf(both, sizeof both, "%sGET /next HTTP/1.1\r\n", first[i]);
		expect((struct cl_str){both, (size_t)n}, 200, 20);
	}
}

static void header_counts(void **state)
{
	(void)state;
	for (int count = 98; count < 103; count++) {
		char *text = malloc(4000);
		size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" H);
		for (int i = 0; i < count; i++)
			n += (size_t)sprintf(text + n, "X-%d: y\r\n", i);
		n += (size_t)sprintf(text + n, "\r\n");
		expect((struct cl_str){text, n}, count < 100 ? 200 : 431, 0);
		free(text);
	}
}

static void what_is_read(void **state)
{
	(void)state;
	struct cl_http_parser parser;
	size_t consumed, at = 0;
	static const char text[] =
	        "PATCH /fhir/Task/1?x=y HTTP/1.1\r\nHOST: RiverSide.LocalHost:8443\r\nX-Mixed:  Kept As Is \r\n"
	        "Connection: foo, CLOSE\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
	        "3\r\nabc\r\n2;e=1\r\nde\r\n0\r\n\r\n";
	cl_http_parser_init(&parser, LIMIT);
	assert_true(cl_http_parser_idle(&parser));
	assert_int_equal(cl_http_parser_feed(&parser, text, sizeof text - 1, &consumed), CL_HTTP_HEADERS);
	assert_false(cl_http_parser_idle(&parser));
	const struct cl_http_request *request = &parser.request;
	assert_int_equal(request->method, CL_HTTP_PATCH);
	assert_true(cl_str_is(request->method_name, "PATCH"));
	assert_true(cl_str_is(request->target, "/fhir/Task/1?x=y"));
	assert_true(cl_str_is(request->host, "riverside.localhost:8443"));
	assert_true(cl_str_is(cl_http_header(request, "x-mixed"), "Kept As Is"));
	assert_int_equal(cl_http_header(request, "absent").n, 0);
	assert_false(request->keep_alive);
	assert_true(request->expects_continue);
	assert_true(request->chunked);
	assert_int_equal(request->minor_version, 1);
	at += consumed;
	assert_int_equal(cl_http_parser_feed(&parser, text + at, sizeof text - 1 - at, &consumed), CL_HTTP_DONE);
	assert_int_equal(at + consumed, sizeof text - 1);
	assert_true(cl_str_is(request->body, "abcde"));
	assert_int_equal(parser.received, 5);
	cl_http_parser_reset(&parser);
	assert_true(cl_http_parser_idle(&parser));
	static const char old[] = "GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
	assert_int_equal(cl_http_parser_feed(&parser, old, sizeof old - 1, &consumed), CL_HTTP_HEADERS);
	assert_int_equal(cl_http_parser_feed(&parser, NULL, 0, &consumed), CL_HTTP_DONE);
	assert_int_equal(request->host.n, 0);
	assert_int_equal(request->minor_version, 0);
	assert_false(request->keep_alive);
	assert_false(request->expects_continue);
	assert_int_equal(request->body.n, 0);
	cl_http_parser_free(&parser);
}

static void lists(void **state)
{
	(void)state;
	assert_true(cl_http_list_has(CL_STR("close"), "close"));
	assert_true(cl_http_list_has(CL_STR("a , ClOsE\t,b"), "close"));
	assert_false(cl_http_list_has(CL_STR("closed, xclose"), "close"));
	assert_false(cl_http_list_has(CL_STR_NONE, "close"));
	assert_false(cl_http_list_has(CL_STR(",,,"), "close"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(the_table),
	        cmocka_unit_test(nul_bytes),
	        cmocka_unit_test(stops_where_the_request_ends),
	        cmocka_unit_test(header_counts),
	        cmocka_unit_test(what_is_read),
	        cmocka_unit_test(lists),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
