/* wire_frame_test.c: frames survive the way there and back; hostile ones are refused without harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "wire/frame.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static struct cl_arena *arena;

static int make_arena(void **state)
{
	(void)state;
	arena = cl_arena_new(0);
	return 0;
}

static int free_arena(void **state)
{
	(void)state;
	cl_arena_free(arena);
	return 0;
}

static void assert_text(struct cl_str text, const char *expected)
{
	assert_int_equal(text.n, strlen(expected));
	if (text.n)
		assert_memory_equal(text.p, expected, text.n);
}

static struct cl_request sample(void)
{
	static struct cl_header headers[] = {{CL_STR("accept"), CL_STR("application/fhir+json")},
	                                     {CL_STR("if-match"), CL_STR("W/\"3\"")},
	                                     {CL_STR("prefer"), CL_STR("")}};
	struct cl_request request = {.resent = true,
	                             .deadline = -5,
	                             .credential = {.kind = CL_CREDENTIAL_CERTIFICATE,
	                                            .anchor = CL_STR("aa11"),
	                                            .name = CL_STR("urn:x"),
	                                            .fingerprint = CL_STR("bb22"),
	                                            .token = CL_STR("t"),
	                                            .address = CL_STR("::1")},
	                             .method = CL_STR("POST"),
	                             .target = CL_STR("/fhir/Patient?x=1"),
	                             .base = CL_STR("https://riverside.localhost:8443"),
	                             .headers = headers,
	                             .header_count = 3,
	                             .body = CL_STR("{}")};
	for (unsigned i = 0; i < 16; i++)
		request.id[i] = (uint8_t)(i * 17);
	return request;
}

static void request_round_trip(void **state)
{
	(void)state;
	struct cl_request in = sample(), out;
	struct cl_buf buffer = {0};
	int descriptor = 7;
	assert_int_equal(cl_request_encode(&buffer, &in, &descriptor, NULL), 0);
	assert_int_equal(descriptor, -1);
	assert_int_equal(cl_request_decode(arena, cl_buf_str(&buffer), -1, &out, NULL), 0);
	memset(buffer.p, 'z', buffer.n); /* decoding copied */
	assert_memory_equal(out.id, in.id, 16);
	assert_true(out.resent);
	assert_int_equal(out.deadline, -5);
	assert_int_equal(out.credential.kind, CL_CREDENTIAL_CERTIFICATE);
	assert_text(out.credential.anchor, "aa11");
	assert_text(out.credential.name, "urn:x");
	assert_text(out.credential.fingerprint, "bb22");
	assert_text(out.credential.token, "t");
	assert_text(out.credential.address, "::1");
	assert_text(out.method, "POST");
	assert_text(out.target, "/fhir/Patient?x=1");
	assert_text(out.base, "https://riverside.localhost:8443");
	assert_int_equal(out.header_count, 3);
	assert_text(cl_request_header(&out, "if-match"), "W/\"3\"");
	assert_text(cl_request_header(&out, "prefer"), "");
	assert_text(cl_request_header(&out, "absent"), "");
	assert_text(out.body, "{}");
	cl_buf_free(&buffer);
}

static void response_round_trip(void **state)
{
	(void)state;
	struct cl_response in = {.status = 201, .stream = true, .body = CL_STR("hello")}, out;
	struct cl_buf buffer = {0};
	int descriptor;
	for (int i = 0; i < 9; i++)
		cl_response_add_header(arena, &in, i == 7 ? "etag" : "x-header", CL_STR("v"));
	assert_int_equal(in.header_count, 9);
	assert_int_equal(cl_response_encode(&buffer, &in, &descriptor, NULL), 0);
	assert_int_equal(cl_response_decode(arena, cl_buf_str(&buffer), -1, &out, NULL), 0);
	assert_int_equal(out.status, 201);
	assert_true(out.stream);
	assert_int_equal(out.header_count, 9);
	assert_text(cl_response_header(&out, "etag"), "v");
	assert_text(out.body, "hello");
	cl_response_add_header(arena, &out, "more", CL_STR("w"));
	assert_text(cl_response_header(&out, "more"), "w");
	cl_buf_free(&buffer);
}

static void adding_headers_leaves_the_callers_array_alone(void **state)
{
	(void)state;
	struct cl_header own[2] = {{CL_STR("a"), CL_STR("1")}, {CL_STR("guard"), CL_STR("guard")}};
	struct cl_response response = {.headers = own, .header_count = 1};
	cl_response_add_header(arena, &response, "b", CL_STR("2"));
	assert_text(own[1].name, "guard");
	assert_int_equal(response.header_count, 2);
	assert_text(cl_response_header(&response, "a"), "1");
}

static void event_round_trip(void **state)
{
	(void)state;
	struct cl_event in = {.sequence = UINT64_MAX,
	                      .incarnation = 3,
	                      .kind = CL_STR("transition"),
	                      .type = CL_STR("Task"),
	                      .id = CL_STR("x"),
	                      .detail = CL_STR("referral:draft>sent")},
	                out;
	struct cl_buf buffer = {0};
	cl_event_encode(&buffer, &in);
	assert_int_equal(cl_event_decode(arena, cl_buf_str(&buffer), &out, NULL), 0);
	assert_true(out.sequence == UINT64_MAX);
	assert_int_equal(out.incarnation, 3);
	assert_text(out.kind, "transition");
	assert_text(out.type, "Task");
	assert_text(out.id, "x");
	assert_text(out.detail, "referral:draft>sent");
	cl_buf_free(&buffer);
}

static void large_bodies_travel_in_sealed_files(void **state)
{
	(void)state;
	static const size_t sizes[] = {CL_BODY_INLINE_MAX, CL_BODY_INLINE_MAX + 1, 1000000, CL_BODY_MAX};
	char *bytes = malloc(CL_BODY_MAX + 1);
	for (size_t i = 0; i <= CL_BODY_MAX; i++)
		bytes[i] = (char)(i * 31 >> 3);
	for (size_t i = 0; i < 4; i++) {
		struct cl_request in = sample(), out;
		struct cl_buf buffer = {0};
		int descriptor;
		in.body = (struct cl_str){bytes, sizes[i]};
		assert_int_equal(cl_request_encode(&buffer, &in, &descriptor, NULL), 0);
		assert_int_equal(descriptor >= 0, sizes[i] > CL_BODY_INLINE_MAX);
		assert_true(buffer.n <= CL_FRAME_PAYLOAD_MAX);
		assert_int_equal(cl_request_decode(arena, cl_buf_str(&buffer), descriptor, &out, NULL), 0);
		assert_int_equal(out.body.n, sizes[i]);
		assert_memory_equal(out.body.p, bytes, sizes[i]);
		if (descriptor >= 0) {
			assert_int_equal(pwrite(descriptor, "x", 1, 0), -1); /* sealed */
			assert_int_equal(ftruncate(descriptor, 0), -1);
			close(descriptor);
		}
		cl_buf_free(&buffer);
		cl_arena_reset(arena);
	}
	struct cl_response response = {.status = 200, .body = {bytes, CL_BODY_MAX + 1}};
	struct cl_buf buffer = {0};
	int descriptor;
	assert_int_equal(cl_response_encode(&buffer, &response, &descriptor, NULL), CL_E_TOO_LARGE);
	assert_int_equal(descriptor, -1);
	assert_int_equal(buffer.n, 0);
	cl_buf_free(&buffer);
	free(bytes);
}

/* A payload that says that its body of 100,000 bytes is in a file. */
static struct cl_buf payload_with_file(int *descriptor)
{
	struct cl_response in = {.status = 200};
	struct cl_buf buffer = {0};
	char *bytes = calloc(1, 100000);
	in.body = (struct cl_str){bytes, 100000};
	assert_int_equal(cl_response_encode(&buffer, &in, descriptor, NULL), 0);
	free(bytes);
	return buffer;
}

static void files_are_checked(void **state)
{
	(void)state;
	int good, descriptor;
	struct cl_response out;
	struct cl_err e;
	struct cl_buf buffer = payload_with_file(&good);
	struct cl_str payload = cl_buf_str(&buffer);

	assert_int_equal(cl_response_decode(arena, payload, -1, &out, &e), CL_E_INVALID); /* missing */
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(cl_response_decode(arena, payload, ends[0], &out, &e), CL_E_INVALID); /* no file */
	close(ends[0]);
	close(ends[1]);
	char name[] = "/tmp/careloop-frame-XXXXXX";
	descriptor = mkstemp(name);
	unlink(name);
	assert_int_equal(ftruncate(descriptor, 100000), 0);
	assert_int_equal(cl_response_decode(arena, payload, descriptor, &out, &e), CL_E_INVALID); /* a disk's file */
	close(descriptor);
	descriptor = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(descriptor, 100000), 0);
	assert_int_equal(cl_response_decode(arena, payload, descriptor, &out, &e), CL_E_INVALID); /* not sealed */
	assert_int_equal(fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(cl_response_decode(arena, payload, descriptor, &out, &e), CL_E_INVALID); /* could be written */
	close(descriptor);
	descriptor = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(descriptor, 100001), 0);
	assert_int_equal(fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
	assert_int_equal(cl_response_decode(arena, payload, descriptor, &out, &e), CL_E_INVALID); /* another size */
	close(descriptor);

	struct cl_arena *small = cl_arena_new(50000);
	assert_int_equal(cl_response_decode(small, payload, good, &out, &e), CL_E_TOO_LARGE);
	cl_arena_free(small);

	struct cl_response plain = {.status = 200, .body = CL_STR("x")};
	struct cl_buf other = {0};
	assert_int_equal(cl_response_encode(&other, &plain, &descriptor, NULL), 0);
	assert_int_equal(cl_response_decode(arena, cl_buf_str(&other), good, &out, &e),
	                 CL_E_INVALID); /* one too many */
	close(good);
	cl_buf_free(&buffer);
	cl_buf_free(&other);
}

static void every_cut_and_every_excess_is_refused(void **state)
{
	(void)state;
	struct cl_request in = sample(), request;
	struct cl_response response;
	struct cl_event event, out_event = {.kind = CL_STR("create"), .type = CL_STR("Patient")};
	struct cl_buf buffer = {0}, events = {0};
	int descriptor;
	cl_request_encode(&buffer, &in, &descriptor, NULL);
	cl_event_encode(&events, &out_event);
	for (size_t n = 0; n < buffer.n; n++) {
		char *exact = malloc(n ? n : 1); /* so that reading past the end is seen */
		memcpy(exact, buffer.p, n);
		assert_int_equal(cl_request_decode(arena, (struct cl_str){exact, n}, -1, &request, NULL), CL_E_INVALID);
		cl_response_decode(arena, (struct cl_str){exact, n}, -1, &response, NULL);
		free(exact);
		cl_arena_reset(arena);
	}
	for (size_t n = 0; n < events.n; n++)
		assert_int_equal(cl_event_decode(arena, (struct cl_str){events.p, n}, &event, NULL), CL_E_INVALID);
	cl_buf_add_byte(&buffer, 0);
	cl_buf_add_byte(&events, 0);
	assert_int_equal(cl_request_decode(arena, cl_buf_str(&buffer), -1, &request, NULL), CL_E_INVALID);
	assert_int_equal(cl_event_decode(arena, cl_buf_str(&events), &event, NULL), CL_E_INVALID);
	cl_buf_free(&buffer);
	cl_buf_free(&events);
}

static void single_bytes_changed(void **state)
{
	(void)state;
	struct cl_request in = sample(), request;
	struct cl_buf buffer = {0};
	int descriptor;
	cl_request_encode(&buffer, &in, &descriptor, NULL);
	for (size_t i = 0; i < buffer.n; i++)
		for (int bit = 0; bit < 8; bit++) {
			buffer.p[i] = (char)(buffer.p[i] ^ 1 << bit);
			if (cl_request_decode(arena, cl_buf_str(&buffer), -1, &request, NULL) == 0)
				assert_true(request.credential.kind <= CL_CREDENTIAL_COURIER);
			buffer.p[i] = (char)(buffer.p[i] ^ 1 << bit);
			cl_arena_reset(arena);
		}
	cl_buf_free(&buffer);
}

static void too_many_headers(void **state)
{
	(void)state;
	struct cl_response in = {.status = 200};
	struct cl_header headers[129];
	for (int i = 0; i < 129; i++)
		headers[i] = (struct cl_header){CL_STR("a"), CL_STR("b")};
	struct cl_buf buffer = {0};
	int descriptor;
	in.headers = headers;
	in.header_count = 129;
	assert_int_equal(cl_response_encode(&buffer, &in, &descriptor, NULL), CL_E_TOO_LARGE);
	/* A count that promises more than there is must not make a large allocation. */
	const char lie[] = {200 - 256, 0, 0, 127, 0, 1, 2, 3};
	struct cl_response out;
	assert_int_equal(cl_response_decode(arena, (struct cl_str){lie, sizeof lie}, -1, &out, NULL), CL_E_INVALID);
	cl_buf_free(&buffer);
}

static void known_headers(void **state)
{
	(void)state;
	assert_true(cl_request_header_known(CL_STR("if-none-exist")));
	assert_true(cl_request_header_known(CL_STR("last-event-id")));
	assert_false(cl_request_header_known(CL_STR("authorization")));
	assert_false(cl_request_header_known(CL_STR("cookie")));
	assert_false(cl_request_header_known(CL_STR("x-forwarded-for")));
	assert_false(cl_request_header_known(CL_STR("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(request_round_trip, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(response_round_trip, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(adding_headers_leaves_the_callers_array_alone, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(event_round_trip, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(large_bodies_travel_in_sealed_files, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(files_are_checked, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(every_cut_and_every_excess_is_refused, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(single_bytes_changed, make_arena, free_arena),
	        cmocka_unit_test_setup_teardown(too_many_headers, make_arena, free_arena),
	        cmocka_unit_test(known_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
