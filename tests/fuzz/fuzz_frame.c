/* fuzz_frame.c: payloads from a peer. The first byte says of which kind; what can be read is written again and must come
 * out the same. */
#include "wire/frame.h"
#include <stdlib.h>
#include <unistd.h>

#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			abort();                                                                                       \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct cl_buf *again, int descriptor, struct cl_str payload)
{
	REQUIRE(descriptor == -1);
	REQUIRE(cl_str_equal(cl_buf_str(again), payload));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_str payload = {(const char *)data + 1, size - 1};
	struct cl_buf again = {0};
	struct cl_err e = {0};
	int descriptor = -1;
	if (data[0] % 3 == 0) {
		struct cl_request request;
		if (cl_request_decode(arena, payload, -1, &request, &e) == 0 && request.body.n <= CL_BODY_INLINE_MAX) {
			REQUIRE(cl_request_encode(&again, &request, &descriptor, &e) == 0);
			same(&again, descriptor, payload);
		}
	} else if (data[0] % 3 == 1) {
		struct cl_response response;
		if (cl_response_decode(arena, payload, -1, &response, &e) == 0 &&
		    response.body.n <= CL_BODY_INLINE_MAX) {
			REQUIRE(cl_response_encode(&again, &response, &descriptor, &e) == 0);
			same(&again, descriptor, payload);
		}
	} else {
		struct cl_event event;
		if (cl_event_decode(arena, payload, &event, &e) == 0) {
			cl_event_encode(&again, &event);
			same(&again, -1, payload);
		}
	}
	cl_buf_free(&again);
	cl_arena_free(arena);
	return 0;
}
