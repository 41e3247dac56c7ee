/* gateway_parts_test.c: the gateway's pure parts: limits, heads of answers, event streams, credentials. What they do
 * together is in tests/api/gateway_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gateway/answer.h"
#include "gateway/credential.h"
#include "gateway/limits.h"
#include "gateway/settings.h"
#include "gateway/stream.h"
#include <arpa/inet.h>
#include <stdio.h>

static struct sockaddr_in6 address(const char *text)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct sockaddr_in four = {.sin_family = AF_INET};
	if (inet_pton(AF_INET6, text, &six.sin6_addr) == 1)
		return six;
	assert_int_equal(inet_pton(AF_INET, text, &four.sin_addr), 1);
	memcpy(&six, &four, sizeof four);
	return six;
}

static bool come(struct cl_limits *limits, const char *text)
{
	struct sockaddr_in6 from = address(text);
	return cl_limits_connect(limits, (struct sockaddr *)&from);
}

static void go(struct cl_limits *limits, const char *text)
{
	struct sockaddr_in6 from = address(text);
	cl_limits_disconnect(limits, (struct sockaddr *)&from);
}

static const struct cl_limits_settings few = {
        .connections = 4, .connections_per_address = 2, .in_flight = 3, .handshakes_per_second = 10, .held = 100};

static void connections(void **state)
{
	(void)state;
	struct cl_limits *limits = cl_limits_new(&few);
	assert_true(come(limits, "10.0.0.1"));
	assert_true(come(limits, "::ffff:10.0.0.1")); /* the same */
	assert_false(come(limits, "10.0.0.1"));
	assert_true(come(limits, "2001:db8:1:2::1"));
	assert_true(come(limits, "2001:db8:1:2:ffff::9")); /* the same /64 */
	assert_false(come(limits, "2001:db8:1:2::3"));
	assert_false(come(limits, "10.0.0.2")); /* full */
	assert_int_equal(cl_limits_refused(limits), 3);
	go(limits, "10.0.0.1");
	assert_true(come(limits, "2001:db8:1:3::1"));
	assert_int_equal(cl_limits_connections(limits), 4);
	go(limits, "::ffff:10.0.0.1");
	go(limits, "2001:db8:1:2::1");
	go(limits, "2001:db8:1:2::1");
	go(limits, "2001:db8:1:3::1");
	assert_int_equal(cl_limits_connections(limits), 0);
	for (int round = 0; round < 3; round++) {
		char text[32];
		const struct cl_limits_settings many = {.connections = 100000, .connections_per_address = 1};
		cl_limits_set(limits, &many);
		for (int i = 0; i < 20000; i++) {
			snprintf(text, sizeof text, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
			assert_true(come(limits, text));
		}
		for (int i = 0; i < 20000; i++) {
			snprintf(text, sizeof text, "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
			go(limits, text);
		}
	}
	cl_limits_free(limits);
}

static void requests_and_bytes(void **state)
{
	(void)state;
	struct cl_limits *limits = cl_limits_new(&few);
	assert_true(cl_limits_begin(limits) && cl_limits_begin(limits) && cl_limits_begin(limits));
	assert_false(cl_limits_begin(limits));
	cl_limits_end(limits);
	assert_true(cl_limits_begin(limits));
	assert_int_equal(cl_limits_in_flight(limits), 3);
	assert_true(cl_limits_hold(limits, 60));
	assert_false(cl_limits_hold(limits, 41));
	assert_false(cl_limits_hold(limits, SIZE_MAX));
	assert_true(cl_limits_hold(limits, 40));
	cl_limits_force(limits, 1000);
	assert_false(cl_limits_hold(limits, 0));
	cl_limits_release(limits, 1100);
	assert_int_equal(cl_limits_held(limits), 0);
	cl_limits_free(limits);
}

static void handshakes(void **state)
{
	(void)state;
	struct cl_limits *limits = cl_limits_new(&few);
	int64_t now = 5 * CL_SECOND;
	for (int i = 0; i < 10; i++)
		assert_int_equal(cl_limits_handshake(limits, now), 0);
	/* Each beyond the burst waits for its tenth of a second: obeying that gives ten a second. */
	int64_t begun = now;
	for (int i = 0; i < 100; i++)
		now += cl_limits_handshake(limits, now);
	assert_in_range(now - begun, 99 * CL_SECOND / 10, 101 * CL_SECOND / 10);
	now += 3600 * CL_SECOND;
	for (int i = 0; i < 10; i++)
		assert_int_equal(cl_limits_handshake(limits, now), 0);
	assert_true(cl_limits_handshake(limits, now) > 0);
	cl_limits_free(limits);
}

static const struct cl_answer_style style = {"00112233445566778899aabbccddeeff", "Sun, 22 Nov 2026 05:16:07 GMT", false,
                                             false};

static void heads(void **state)
{
	(void)state;
	struct cl_header headers[] = {{CL_STR("content-type"), CL_STR("application/fhir+json; charset=utf-8")},
	                              {CL_STR("etag"), CL_STR("W/\"1\"")}};
	struct cl_response response = {.status = 200, .headers = headers, .header_count = 2, .body = CL_STR("{}")};
	struct cl_buf out = {0};
	cl_answer_head(&out, &response, &style);
	cl_buf_add_byte(&out, 0);
	assert_string_equal(
	        out.p, "HTTP/1.1 200 OK\r\ncontent-type: application/fhir+json; charset=utf-8\r\netag: W/\"1\"\r\n"
	               "Cache-Control: no-store\r\nContent-Length: 2\r\n"
	               "Strict-Transport-Security: max-age=31536000\r\nX-Content-Type-Options: nosniff\r\n"
	               "X-Request-Id: 00112233445566778899aabbccddeeff\r\nDate: Sun, 22 Nov 2026 05:16:07 GMT\r\n\r\n");
	cl_buf_free(&out);
}

static const char *head_of(struct cl_buf *out, const char *type, const char *disposition)
{
	struct cl_header headers[] = {{CL_STR("content-type"), cl_str_of(type)},
	                              {CL_STR("content-disposition"), cl_str_of(disposition)}};
	struct cl_response response = {
	        .status = 200, .headers = headers, .header_count = disposition ? 2 : 1, .body = CL_STR("x")};
	cl_buf_clear(out);
	cl_answer_head(out, &response, &style);
	cl_buf_add_byte(out, 0);
	return out->p;
}

static void what_may_be_shown(void **state)
{
	(void)state;
	static const char *const shown[] = {
	        "application/fhir+json",   "APPLICATION/JSON",  "application/json ; charset=utf-8", "text/plain",
	        "text/csv;header=present", "text/event-stream", "application/fhir+ndjson"};
	static const char *const attached[] = {"text/html",
	                                       "image/svg+xml",
	                                       "application/pdf",
	                                       "application/xhtml+xml",
	                                       "text/plainx",
	                                       "text/xml",
	                                       "application/javascript",
	                                       "x",
	                                       ";text/plain",
	                                       "text/html;text/plain",
	                                       " text/plain"};
	struct cl_buf out = {0};
	for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
		assert_null(strstr(head_of(&out, shown[i], NULL), "Content-Disposition"));
	for (size_t i = 0; i < sizeof attached / sizeof *attached; i++) {
		assert_non_null(strstr(head_of(&out, attached[i], NULL), "Content-Disposition: attachment\r\n"));
		assert_non_null(strstr(out.p, "Content-Security-Policy: default-src 'none'; sandbox\r\n"));
		assert_non_null(strstr(head_of(&out, attached[i], "inline"), "Content-Disposition: attachment\r\n"));
		assert_null(strstr(out.p, "inline"));
	}
	assert_non_null(strstr(head_of(&out, "application/pdf", "attachment; filename=\"a.pdf\""),
	                       "Content-Disposition: attachment; filename=\"a.pdf\"\r\n"));
	assert_null(strstr(head_of(&out, "application/pdf", "attachment; \r\nX: y"), "X: y"));
	cl_buf_free(&out);
}

static void refusals(void **state)
{
	(void)state;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_response response;
	cl_answer_refusal(arena, &response, 503, "say \"please\"", 7);
	assert_true(cl_str_is(response.body,
	                      "{\"resourceType\":\"OperationOutcome\",\"issue\":[{\"severity\":\"error\",\"code\":"
	                      "\"transient\",\"diagnostics\":\"say \\\"please\\\"\"}]}"));
	assert_true(cl_str_is(cl_response_header(&response, "retry-after"), "7"));
	char date[32];
	cl_answer_date(1582934400 * CL_SECOND, date);
	assert_string_equal(date, "Sat, 29 Feb 2020 00:00:00 GMT");
	cl_arena_free(arena);
}

static void streams(void **state)
{
	(void)state;
	struct cl_event event = {.sequence = 12,
	                         .incarnation = 3,
	                         .kind = CL_STR("transition"),
	                         .type = CL_STR("Task"),
	                         .id = CL_STR("a1"),
	                         .detail = CL_STR("referral:draft>sent")};
	struct cl_buf out = {0};
	cl_stream_event(&out, CL_FRAME_EVENT, &event);
	assert_true(cl_str_is(cl_buf_str(&out),
	                      "id: 3-12\nevent: transition\ndata: {\"type\":\"Task\",\"id\":\"a1\",\"kind\":"
	                      "\"transition\",\"detail\":\"referral:draft>sent\"}\n\n"));
	cl_buf_clear(&out);
	cl_stream_event(&out, CL_FRAME_RESYNC, &event);
	assert_true(cl_str_starts(cl_buf_str(&out), "id: 3-12\nevent: resync\n"));
	cl_buf_clear(&out);
	event.kind = CL_STR("a\nevent: forged");
	event.detail = CL_STR("line\n\nid: 9-9");
	cl_stream_event(&out, CL_FRAME_EVENT, &event);
	assert_true(cl_str_starts(cl_buf_str(&out), "id: 3-12\nevent: change\ndata: {"));
	assert_null(memmem(out.p, out.n, "forged", 6));
	assert_ptr_equal(memmem(out.p, out.n, "\n\n", 2), out.p + out.n - 2);
	cl_buf_clear(&out);
	cl_stream_heartbeat(&out);
	assert_true(cl_str_is(cl_buf_str(&out), ":\n\n"));
	cl_buf_clear(&out);
	cl_stream_opening(&out, CL_STR("3-12"));
	assert_true(cl_str_is(cl_buf_str(&out), "id: 3-12\n\n"));
	cl_buf_clear(&out);
	cl_stream_opening(&out, CL_STR("3-12\ndata: x"));
	assert_true(cl_str_is(cl_buf_str(&out), ":\n\n"));
	cl_buf_free(&out);
}

static struct cl_credential credential_of(const char *name, const char *value, const struct cl_tls_peer *peer)
{
	static struct cl_http_request request;
	struct cl_credential credential;
	request.headers[0] = (struct cl_header){cl_str_of(name), cl_str_of(value)};
	request.header_count = 1;
	cl_credential_of(&request, peer, "::1", true, &credential);
	return credential;
}

static void credentials(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value;
		enum cl_credential_kind kind;
		const char *token;
	} cases[] = {
	        {"authorization", "Bearer abc", CL_CREDENTIAL_BEARER, "abc"},
	        {"authorization", "BEARER   abc", CL_CREDENTIAL_BEARER, "abc"},
	        {"authorization", "Bearer", CL_CREDENTIAL_NONE, ""},
	        {"authorization", "Bearer ", CL_CREDENTIAL_NONE, ""},
	        {"authorization", "Bearer a b", CL_CREDENTIAL_NONE, ""},
	        {"authorization", "Bearerabc", CL_CREDENTIAL_NONE, ""},
	        {"authorization", "Basic YTpi", CL_CREDENTIAL_NONE, ""},
	        {"cookie", "__Host-careloop=x", CL_CREDENTIAL_SESSION, "x"},
	        {"cookie", "a=b;  __Host-careloop=x=y ;c", CL_CREDENTIAL_SESSION, "x=y "},
	        {"cookie", "__Host-careloop=", CL_CREDENTIAL_NONE, ""},
	        {"cookie", "a__Host-careloop=x", CL_CREDENTIAL_NONE, ""},
	        {"cookie", "__host-careloop=x", CL_CREDENTIAL_NONE, ""},
	        {"cookie", "__Host-careloop=x; __Host-careloop=x", CL_CREDENTIAL_NONE, ""},
	        {"x-authorization", "Bearer abc", CL_CREDENTIAL_NONE, ""},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct cl_credential got = credential_of(cases[i].name, cases[i].value, NULL);
		assert_int_equal(got.kind, cases[i].kind);
		assert_true(cl_str_is(got.token, cases[i].token));
		assert_true(cl_str_is(got.address, "::1"));
		assert_int_equal(got.name.n, 0);
	}
	/* Basic counts at the token endpoint only, and then in place of a certificate. */
	static const struct {
		const char *value;
		enum cl_credential_kind kind;
		const char *token;
	} basics[] = {{"Basic YTpi", CL_CREDENTIAL_BASIC, "YTpi"},
	              {"bAsIc  YTpi", CL_CREDENTIAL_BASIC, "YTpi"},
	              {"Basic", CL_CREDENTIAL_NONE, ""},
	              {"Basic ", CL_CREDENTIAL_NONE, ""},
	              {"Basic YT pi", CL_CREDENTIAL_NONE, ""},
	              {"BasicYTpi", CL_CREDENTIAL_NONE, ""},
	              {"Bearer YTpi", CL_CREDENTIAL_BEARER, "YTpi"}};
	for (size_t i = 0; i < sizeof basics / sizeof *basics; i++) {
		static struct cl_http_request request;
		request.headers[0] = (struct cl_header){CL_STR("authorization"), cl_str_of(basics[i].value)};
		request.header_count = 1;
		struct cl_credential both = credential_of("authorization", basics[i].value, NULL);
		cl_credential_basic(&request, &both);
		assert_int_equal(both.kind, basics[i].kind);
		assert_true(cl_str_is(both.token, basics[i].token));
	}
	static const struct cl_tls_peer peer = {.anchor = "aa", .fingerprint = "bb", .name = "urn:x"};
	struct cl_credential got = credential_of("accept", "x", &peer);
	assert_int_equal(got.kind, CL_CREDENTIAL_CERTIFICATE);
	assert_true(cl_str_is(got.name, "urn:x") && cl_str_is(got.anchor, "aa") && cl_str_is(got.fingerprint, "bb"));
}

static void ids_of_organizations(void **state)
{
	(void)state;
	static const char *const good[] = {"a", "riverside", "0-9", "a-b-c"};
	static const char *const bad[] = {"",     "-a",    "A",       "a.b",    "a/b",    "..",      "a b",
	                                  "fhir", "board", "healthz", "readyz", "oauth2", "\xc3\xb1"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_true(cl_organization_id_good(cl_str_of(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(cl_organization_id_good(cl_str_of(bad[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(connections),
	        cmocka_unit_test(requests_and_bytes),
	        cmocka_unit_test(handshakes),
	        cmocka_unit_test(heads),
	        cmocka_unit_test(what_may_be_shown),
	        cmocka_unit_test(refusals),
	        cmocka_unit_test(streams),
	        cmocka_unit_test(credentials),
	        cmocka_unit_test(ids_of_organizations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
