/* wire_channel_test.c: two channels over a socket pair, and one against a peer that misbehaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "wire/channel.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* What one side saw. */
struct side {
	struct cl_channel *channel;
	unsigned frames, closed, drained, descriptors;
	uint64_t last_id, id_sum;
	enum cl_frame_type last_type;
	struct cl_buf last;
	int last_descriptor;
	char reason[100];
	void (*then)(struct side *side);
};

static struct event_base *base;
static struct side left, right;

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct side *side = context;
	assert_ptr_equal(channel, side->channel);
	assert_ptr_equal(cl_channel_context(channel), side);
	side->frames++;
	side->last_type = type;
	side->last_id = id;
	side->id_sum += id;
	cl_buf_clear(&side->last);
	cl_buf_add_str(&side->last, payload);
	if (descriptor >= 0) {
		side->descriptors++;
		if (side->last_descriptor >= 0)
			close(side->last_descriptor);
		side->last_descriptor = descriptor;
	}
	if (side->then)
		side->then(side);
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	struct side *side = context;
	side->closed++;
	snprintf(side->reason, sizeof side->reason, "%s", reason);
	cl_channel_free(channel);
	side->channel = NULL;
}

static void on_drained(struct cl_channel *channel, void *context)
{
	struct side *side = context;
	(void)channel;
	side->drained++;
}

static const struct cl_channel_callbacks callbacks = {on_frame, on_closed, on_drained};

static int sockets[2];

static int begin(void **state)
{
	(void)state;
	base = event_base_new();
	left = right = (struct side){.last_descriptor = -1};
	return socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
}

static void open_left(void)
{
	left.channel = cl_channel_new(base, sockets[0], CL_ROLE_GATEWAY, &callbacks, &left);
}

static void open_both(void)
{
	open_left();
	right.channel = cl_channel_new(base, sockets[1], CL_ROLE_ORGANIZATION, &callbacks, &right);
}

static int end(void **state)
{
	(void)state;
	for (struct side *side = &left; side; side = side == &left ? &right : NULL) {
		cl_channel_free(side->channel);
		cl_buf_free(&side->last);
		if (side->last_descriptor >= 0)
			close(side->last_descriptor);
	}
	event_base_free(base);
	return 0;
}

static void turn(int times)
{
	while (times--)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void says_hello_and_passes_frames(void **state)
{
	(void)state;
	open_both();
	assert_int_equal(cl_channel_peer(left.channel), 0);
	turn(3);
	assert_int_equal(cl_channel_peer(left.channel), CL_ROLE_ORGANIZATION);
	assert_int_equal(cl_channel_peer(right.channel), CL_ROLE_GATEWAY);
	assert_int_equal(left.frames + right.frames, 0); /* HELLO is the channel's own */
	for (uint64_t i = 1; i <= 1000; i++)
		assert_int_equal(cl_channel_send(left.channel, CL_FRAME_CONTROL, i, CL_STR("{\"do\":\"x\"}"), -1), 0);
	turn(5);
	assert_int_equal(right.frames, 1000);
	assert_int_equal(right.id_sum, 500500);
	assert_int_equal(right.last_id, 1000);
	assert_int_equal(right.last.n, 10);
	assert_int_equal(cl_channel_pending(left.channel), 0);
	/* PING is answered by the channel. */
	cl_channel_send(left.channel, CL_FRAME_PING, 77, CL_STR_NONE, -1);
	turn(4);
	assert_int_equal(right.frames, 1000);
	assert_int_equal(left.frames, 1);
	assert_int_equal(left.last_type, CL_FRAME_PONG);
	assert_int_equal(left.last_id, 77);
}

static void frames_of_a_turn_leave_together(void **state)
{
	(void)state;
	open_left();
	turn(2);
	char bytes[4096];
	assert_int_equal(read(sockets[1], bytes, sizeof bytes), 16 + 5);
	for (int i = 0; i < 20; i++)
		cl_channel_send(left.channel, CL_FRAME_CONTROL, 1, CL_STR("1234"), -1);
	assert_int_equal(recv(sockets[1], bytes, sizeof bytes, MSG_DONTWAIT), -1); /* not before the turn ends */
	turn(1);
	assert_int_equal(recv(sockets[1], bytes, sizeof bytes, MSG_DONTWAIT), 20 * 20);
	close(sockets[1]);
}

static void requests_responses_events(void **state)
{
	(void)state;
	open_both();
	char *large = malloc(300000);
	memset(large, 'q', 300000);
	struct cl_request request = {.method = CL_STR("PUT"), .target = CL_STR("/fhir"), .body = {large, 300000}};
	struct cl_response response = {.status = 404, .body = {large, 100}};
	struct cl_event event = {.sequence = 9, .kind = CL_STR("create")};
	struct cl_arena *arena = cl_arena_new(0);
	assert_int_equal(cl_channel_send_request(left.channel, 5, &request), 0);
	turn(4);
	assert_int_equal(right.frames, 1);
	assert_int_equal(right.descriptors, 1);
	assert_true(fcntl(right.last_descriptor, F_GETFD) & FD_CLOEXEC);
	struct cl_request got;
	assert_int_equal(cl_request_decode(arena, cl_buf_str(&right.last), right.last_descriptor, &got, NULL), 0);
	assert_int_equal(got.body.n, 300000);
	assert_memory_equal(got.body.p, large, 300000);
	assert_int_equal(cl_channel_send_response(right.channel, 5, &response), 0);
	turn(4);
	struct cl_response back;
	assert_int_equal(cl_response_decode(arena, cl_buf_str(&left.last), -1, &back, NULL), 0);
	assert_int_equal(back.status, 404);
	assert_int_equal(cl_channel_send_event(right.channel, CL_FRAME_EVENT, 5, &event), 0);
	turn(4);
	struct cl_event seen;
	assert_int_equal(left.last_type, CL_FRAME_EVENT);
	assert_int_equal(cl_event_decode(arena, cl_buf_str(&left.last), &seen, NULL), 0);
	assert_int_equal(seen.sequence, 9);
	cl_arena_free(arena);
	free(large);
}

static unsigned wrong_order;

/* The file of frame i is i + 1 bytes long. */
static void check_file(struct side *side)
{
	struct stat status;
	bool has = side->last_id % 3 == 0;
	if (has && (fstat(side->last_descriptor, &status) || (uint64_t)status.st_size != side->last_id + 1))
		wrong_order++;
}

static void descriptors_stay_with_their_frames(void **state)
{
	(void)state;
	open_both();
	right.then = check_file;
	wrong_order = 0;
	char *filler = calloc(1, 5000);
	unsigned sent = 0, files = 0;
	for (uint64_t i = 0; i < 3000; i++) {
		int file = -1;
		if (i % 3 == 0) {
			file = memfd_create("t", 0);
			assert_int_equal(ftruncate(file, (off_t)i + 1), 0);
		}
		int code = cl_channel_send(left.channel, CL_FRAME_CONTROL, i, (struct cl_str){filler, i % 5000}, file);
		if (file >= 0)
			close(file);
		if (code == 0) {
			sent++;
			files += file >= 0;
		}
		if (i % 100 == 99)
			turn(20);
	}
	turn(200);
	assert_int_equal(sent, 3000);
	assert_int_equal(right.frames, sent);
	assert_int_equal(right.descriptors, files);
	assert_int_equal(wrong_order, 0);
	free(filler);
}

static void the_queue_is_bounded(void **state)
{
	(void)state;
	open_left(); /* nobody reads the other end */
	char *payload = calloc(1, CL_FRAME_PAYLOAD_MAX + 1);
	struct cl_str full = {payload, CL_FRAME_PAYLOAD_MAX};
	assert_int_equal(cl_channel_send(left.channel, CL_FRAME_CONTROL, 1, (struct cl_str){payload, full.n + 1}, -1),
	                 CL_E_TOO_LARGE);
	int accepted = 0, code;
	while ((code = cl_channel_send(left.channel, CL_FRAME_CONTROL, 1, full, -1)) == 0) {
		accepted++;
		turn(1);
	}
	assert_int_equal(code, CL_E_BUSY);
	assert_in_range(accepted * CL_FRAME_PAYLOAD_MAX, 8 * 1024 * 1024 - CL_FRAME_PAYLOAD_MAX, 9 * 1024 * 1024);
	assert_true(cl_channel_pending(left.channel) <= 8 * 1024 * 1024);
	assert_int_equal(left.drained, 0);
	right.channel = cl_channel_new(base, sockets[1], CL_ROLE_ORGANIZATION, &callbacks, &right);
	turn(400);
	assert_int_equal(right.frames, accepted);
	assert_int_equal(left.drained, 1);
	assert_int_equal(cl_channel_pending(left.channel), 0);
	assert_int_equal(cl_channel_send(left.channel, CL_FRAME_CONTROL, 1, full, -1), 0);
	free(payload);
}

static void descriptors_in_the_queue_are_bounded(void **state)
{
	(void)state;
	open_left();
	int file = memfd_create("t", 0), accepted = 0;
	turn(1);
	while (cl_channel_send(left.channel, CL_FRAME_CONTROL, 1, CL_STR("x"), file) == 0)
		accepted++;
	assert_int_equal(accepted, 256);
	close(file);
	close(sockets[1]);
}

static void what_was_sent_before_the_end_arrives(void **state)
{
	(void)state;
	open_both();
	turn(3);
	for (int i = 0; i < 50; i++)
		cl_channel_send(right.channel, CL_FRAME_CONTROL, 3, CL_STR("bye"), -1);
	turn(1);
	cl_channel_send(left.channel, CL_FRAME_CONTROL, 3, CL_STR("unread"), -1);
	cl_channel_free(right.channel);
	right.channel = NULL;
	turn(5);
	assert_int_equal(left.frames, 50);
	assert_int_equal(left.closed, 1);
}

static void free_self(struct side *side)
{
	cl_channel_free(side->channel);
	side->channel = NULL;
}

static void may_be_freed_from_its_own_callback(void **state)
{
	(void)state;
	open_both();
	left.then = free_self;
	for (int i = 0; i < 3; i++)
		cl_channel_send(right.channel, CL_FRAME_CONTROL, 3, CL_STR("x"), -1);
	turn(5);
	assert_int_equal(left.frames, 1);
	assert_int_equal(left.closed, 0);
	assert_int_equal(right.closed, 1);
}

static void raw(const void *bytes, size_t n)
{
	assert_int_equal(write(sockets[1], bytes, n), (ssize_t)n);
	turn(3);
}

static const char good_hello[] = "\x05\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x02";

static void bad_peers_are_cut_off(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n;
		const char *reason;
	} cases[] = {
	        {"\x05\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x02", 21, "the peer speaks another version"},
	        {"\x05\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x09", 21, "the peer has no known role"},
	        {"\x04\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0", 20, "the peer speaks another version"},
	        {"\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0", 16, "the peer's first frame is no HELLO"},
	        {"\0\0\0\0\x63\0\0\0\0\0\0\0\0\0\0\0", 16, "the peer sent no frame"},
	        {"\0\0\0\0\x00\0\0\0\0\0\0\0\0\0\0\0", 16, "the peer sent no frame"},
	        {"\x01\x80\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0", 16, "the peer sent a frame that is too long"},
	        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, "the peer sent a frame that is too long"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		open_left();
		raw(cases[i].bytes, cases[i].n);
		assert_int_equal(left.closed, 1);
		assert_string_equal(left.reason, cases[i].reason);
		close(sockets[1]);
		left.closed = 0;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	}
	static const struct {
		const char *bytes;
		const char *reason;
	} after[] = {
	        {"\0\0\0\0\x02\x80\0\0\0\0\0\0\0\0\0\0", "the peer sent no frame"},
	        {"\0\0\0\0\x02\0\x01\0\0\0\0\0\0\0\0\0", "the peer sent no frame"},
	        {"\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0", "the peer said HELLO twice"},
	        {"\0\0\0\0\x02\x01\0\0\0\0\0\0\0\0\0\0", "a frame's descriptor is missing"},
	};
	for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
		open_left();
		raw(good_hello, sizeof good_hello - 1);
		assert_int_equal(left.closed, 0);
		raw(after[i].bytes, 16);
		assert_int_equal(left.closed, 1);
		assert_string_equal(left.reason, after[i].reason);
		close(sockets[1]);
		left.closed = 0;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	}
	close(sockets[0]);
	close(sockets[1]);
}

static void byte_by_byte(void **state)
{
	(void)state;
	open_left();
	char frame[16 + 3] = "\x03\0\0\0\x0a\0\0\0\x2a\0\0\0\0\0\0\0abc";
	for (size_t i = 0; i < sizeof good_hello - 1; i++)
		raw(good_hello + i, 1);
	for (size_t i = 0; i < sizeof frame; i++) {
		assert_int_equal(left.frames, 0);
		raw(frame + i, 1);
	}
	assert_int_equal(left.frames, 1);
	assert_int_equal(left.last_id, 42);
	assert_memory_equal(left.last.p, "abc", 3);
	close(sockets[1]);
}

static void connecting(void **state)
{
	(void)state;
	close(sockets[0]);
	close(sockets[1]);
	char name[64];
	int socket_out;
	struct cl_err e = {0};
	snprintf(name, sizeof name, "/tmp/careloop-channel-%d.sock", getpid());
	assert_int_equal(cl_channel_connect(name, &socket_out, &e), CL_E_CLOSED); /* absent */
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, name);
	int listening = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(listening, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(cl_channel_connect(name, &socket_out, &e), CL_E_CLOSED); /* refused */
	assert_int_equal(listen(listening, 0), 0);
	assert_int_equal(cl_channel_connect(name, &socket_out, &e), 0);
	int second, code = cl_channel_connect(name, &second, &e);
	while (code == 0) /* until the backlog is full */
		code = cl_channel_connect(name, &second, &e);
	assert_int_equal(code, CL_E_BUSY);
	char endless[300];
	memset(endless, 'a', sizeof endless - 1);
	endless[sizeof endless - 1] = 0;
	assert_int_equal(cl_channel_connect(endless, &second, &e), CL_E_INVALID);
	unlink(name);
	close(listening);
	close(socket_out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(says_hello_and_passes_frames, begin, end),
	        cmocka_unit_test_setup_teardown(frames_of_a_turn_leave_together, begin, end),
	        cmocka_unit_test_setup_teardown(requests_responses_events, begin, end),
	        cmocka_unit_test_setup_teardown(descriptors_stay_with_their_frames, begin, end),
	        cmocka_unit_test_setup_teardown(the_queue_is_bounded, begin, end),
	        cmocka_unit_test_setup_teardown(descriptors_in_the_queue_are_bounded, begin, end),
	        cmocka_unit_test_setup_teardown(what_was_sent_before_the_end_arrives, begin, end),
	        cmocka_unit_test_setup_teardown(may_be_freed_from_its_own_callback, begin, end),
	        cmocka_unit_test_setup_teardown(bad_peers_are_cut_off, begin, end),
	        cmocka_unit_test_setup_teardown(byte_by_byte, begin, end),
	        cmocka_unit_test_setup_teardown(connecting, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
