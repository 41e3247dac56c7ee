/* channel.c: one read buffer, one write buffer, one system call each way for all frames of a loop turn.
 *
 * Descriptors travel beside the bytes: a frame's flag says that one belongs to it, and both sides keep them in order. A
 * descriptor may arrive before its frame does, never after its first byte. */
#include "wire/channel.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define OUTPUT_BOUND ((size_t)8 * 1024 * 1024)
#define INPUT_SIZE ((size_t)256 * 1024)
#define READS_PER_TURN 4
#define DESCRIPTORS_QUEUED 256 /* of a whole channel, each way; a power of two */
#define DESCRIPTORS_PER_CALL 32 /* the kernel's limit is 253 */
#define FLAG_DESCRIPTOR 1
#define RETRY_AFTER_SHORTAGE_US 10000

_Static_assert(INPUT_SIZE > CL_FRAME_HEAD + CL_FRAME_PAYLOAD_MAX, "a whole frame fits the read buffer");

/* First in, first out. */
struct descriptors {
	struct {
		int descriptor;
		uint64_t position; /* output: of its frame's first byte in the stream */
	} items[DESCRIPTORS_QUEUED];
	unsigned first, count;
};

struct cl_channel {
	struct event_base *base;
	int socket;
	struct event *readable, *writable, *flush;
	struct cl_channel_callbacks callbacks;
	void *context;
	enum cl_role peer;
	char *input;
	size_t input_n;
	struct cl_buf output;
	size_t output_sent; /* bytes at the front of `output` that the kernel has */
	uint64_t output_position; /* of the first byte of `output` in the stream */
	struct descriptors incoming, outgoing;
	bool refused; /* a send was refused since the queue was last half empty */
	bool flush_waiting; /* the flush event is active, or the socket is full */
	bool write_failed; /* the peer reads no more; what it wrote before is still to be read */
	bool closed; /* `closed` was called */
	bool freed; /* cl_channel_free came from inside a callback */
	unsigned depth; /* of callbacks on the stack */
};

static void push_descriptor(struct descriptors *queue, int descriptor, uint64_t position)
{
	unsigned place = (queue->first + queue->count++) % DESCRIPTORS_QUEUED;
	queue->items[place].descriptor = descriptor;
	queue->items[place].position = position;
}

static int pop_descriptor(struct descriptors *queue)
{
	int descriptor = queue->items[queue->first].descriptor;
	queue->first = (queue->first + 1) % DESCRIPTORS_QUEUED;
	queue->count--;
	return descriptor;
}

static void close_descriptors(struct descriptors *queue)
{
	while (queue->count)
		close(pop_descriptor(queue));
}

static uint64_t little_endian(const char *bytes, size_t n)
{
	uint64_t value = 0;
	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
	return value;
}

static void destroy(struct cl_channel *channel)
{
	event_free(channel->readable);
	event_free(channel->writable);
	event_free(channel->flush);
	close(channel->socket);
	close_descriptors(&channel->incoming);
	close_descriptors(&channel->outgoing);
	cl_buf_free(&channel->output);
	free(channel->input);
	free(channel);
}

static void enter(struct cl_channel *channel)
{
	channel->depth++;
}

/* True when the channel is still there. */
static bool leave(struct cl_channel *channel)
{
	if (--channel->depth == 0 && channel->freed) {
		destroy(channel);
		return false;
	}
	return !channel->freed;
}

static void stop_events(struct cl_channel *channel)
{
	event_del(channel->readable);
	event_del(channel->writable);
	event_del(channel->flush);
}

/* Only from event callbacks, as the last thing that they do. */
static void fail(struct cl_channel *channel, const char *reason)
{
	if (channel->closed || channel->freed)
		return;
	channel->closed = true;
	stop_events(channel);
	enter(channel);
	channel->callbacks.closed(channel, reason, channel->context);
	leave(channel);
}

/* Writing */

static size_t pending(const struct cl_channel *channel)
{
	return channel->output.n - channel->output_sent;
}

static void schedule_flush(struct cl_channel *channel)
{
	if (channel->flush_waiting || channel->write_failed)
		return;
	channel->flush_waiting = true;
	event_active(channel->flush, EV_TIMEOUT, 1);
}

/* One sendmsg of everything that is queued, with the descriptors of the frames in it. Returns bytes sent or -1. */
static ssize_t send_some(struct cl_channel *channel)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_PER_CALL)];
		struct cmsghdr align;
	} control;
	struct iovec data = {channel->output.p + channel->output_sent, pending(channel)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	const struct descriptors *queue = &channel->outgoing;
	int passed[DESCRIPTORS_PER_CALL];
	unsigned count = 0;
	uint64_t start = channel->output_position + channel->output_sent;

	for (; count < queue->count; count++) {
		unsigned place = (queue->first + count) % DESCRIPTORS_QUEUED;
		if (count == DESCRIPTORS_PER_CALL) {
			data.iov_len = (size_t)(queue->items[place].position - start);
			break;
		}
		passed[count] = queue->items[place].descriptor;
	}
	if (count) {
		memset(&control, 0, sizeof control);
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int) * count);
		memcpy(CMSG_DATA(head), passed, sizeof(int) * count);
	}
	ssize_t n;
	do
		n = sendmsg(channel->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		while (count--)
			close(pop_descriptor(&channel->outgoing));
	return n;
}

/* Keeps the queued bytes at the front of the buffer, without moving large amounts often. */
static void drop_sent(struct cl_channel *channel)
{
	if (pending(channel) == 0 || channel->output_sent > channel->output.n / 2) {
		channel->output_position += channel->output_sent;
		cl_buf_consume(&channel->output, channel->output_sent);
		channel->output_sent = 0;
	}
	if (channel->output.n == 0 && channel->output.capacity > OUTPUT_BOUND / 8)
		cl_buf_free(&channel->output);
}

/* The peer reads no more. What it sent before it went is still worth reading, and the end of that is reported. */
static void abandon_output(struct cl_channel *channel)
{
	channel->write_failed = true;
	cl_buf_free(&channel->output);
	channel->output_sent = 0;
	close_descriptors(&channel->outgoing);
}

static void on_flush(evutil_socket_t socket, short what, void *context)
{
	struct cl_channel *channel = context;
	(void)socket;
	(void)what;
	channel->flush_waiting = false;
	while (pending(channel) > 0) {
		ssize_t n = send_some(channel);
		if (n > 0) {
			channel->output_sent += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EAGAIN) {
			channel->flush_waiting = true;
			event_add(channel->writable, NULL);
		} else if (n < 0 && (errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS)) {
			/* Too little kernel memory, or too many descriptors under way: both pass. */
			static const struct timeval soon = {0, RETRY_AFTER_SHORTAGE_US};
			channel->flush_waiting = true;
			event_add(channel->flush, &soon);
		} else {
			abandon_output(channel);
		}
		break;
	}
	drop_sent(channel);
	if (channel->refused && pending(channel) < OUTPUT_BOUND / 2) {
		channel->refused = false;
		if (channel->callbacks.drained) {
			enter(channel);
			channel->callbacks.drained(channel, channel->context);
			leave(channel);
		}
	}
}

/* Reserves a frame's head; its payload is appended to channel->output and sealed by end_frame. */
static int begin_frame(struct cl_channel *channel)
{
	if (channel->closed || channel->freed || channel->write_failed)
		return CL_E_CLOSED;
	if (pending(channel) >= OUTPUT_BOUND || channel->outgoing.count == DESCRIPTORS_QUEUED) {
		channel->refused = true;
		return CL_E_BUSY;
	}
	static const char blank[CL_FRAME_HEAD];
	cl_buf_add(&channel->output, blank, sizeof blank);
	return 0;
}

/* `start` is where the head was reserved. Takes the frame back and fails when it is too large for the queue. Takes
 * ownership of the descriptor. */
static int end_frame(struct cl_channel *channel, size_t start, enum cl_frame_type type, uint64_t id, int descriptor)
{
	size_t length = channel->output.n - start - CL_FRAME_HEAD;
	int code = length > CL_FRAME_PAYLOAD_MAX ? CL_E_TOO_LARGE : 0;
	if (!code && pending(channel) > OUTPUT_BOUND) {
		channel->refused = true;
		code = CL_E_BUSY;
	}
	if (code) {
		channel->output.n = start;
		if (descriptor >= 0)
			close(descriptor);
		return code;
	}
	unsigned char *head = (unsigned char *)channel->output.p + start;
	for (int i = 0; i < 4; i++)
		head[i] = (unsigned char)(length >> (8 * i) & 0xff);
	head[4] = (unsigned char)type;
	head[5] = descriptor >= 0 ? FLAG_DESCRIPTOR : 0;
	for (int i = 0; i < 8; i++)
		head[8 + i] = (unsigned char)(id >> (8 * i) & 0xff);
	if (descriptor >= 0)
		push_descriptor(&channel->outgoing, descriptor, channel->output_position + start);
	schedule_flush(channel);
	return 0;
}

int cl_channel_send(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                    int descriptor)
{
	int code = begin_frame(channel);
	if (code)
		return code;
	size_t start = channel->output.n - CL_FRAME_HEAD;
	int own = -1;
	if (descriptor >= 0 && (own = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)) < 0) {
		channel->output.n = start;
		return errno == EMFILE ? CL_E_BUSY : CL_E_IO;
	}
	cl_buf_add_str(&channel->output, payload);
	return end_frame(channel, start, type, id, own);
}

int cl_channel_send_request(struct cl_channel *channel, uint64_t id, const struct cl_request *request)
{
	int code = begin_frame(channel);
	if (code)
		return code;
	size_t start = channel->output.n - CL_FRAME_HEAD;
	int descriptor;
	code = cl_request_encode(&channel->output, request, &descriptor, NULL);
	if (code) {
		channel->output.n = start;
		return code;
	}
	return end_frame(channel, start, CL_FRAME_REQUEST, id, descriptor);
}

int cl_channel_send_response(struct cl_channel *channel, uint64_t id, const struct cl_response *response)
{
	int code = begin_frame(channel);
	if (code)
		return code;
	size_t start = channel->output.n - CL_FRAME_HEAD;
	int descriptor;
	code = cl_response_encode(&channel->output, response, &descriptor, NULL);
	if (code) {
		channel->output.n = start;
		return code;
	}
	return end_frame(channel, start, CL_FRAME_RESPONSE, id, descriptor);
}

int cl_channel_send_event(struct cl_channel *channel, enum cl_frame_type type, uint64_t id,
                          const struct cl_event *event)
{
	int code = begin_frame(channel);
	if (code)
		return code;
	size_t start = channel->output.n - CL_FRAME_HEAD;
	cl_event_encode(&channel->output, event);
	return end_frame(channel, start, type, id, -1);
}

/* Reading */

/* The channel's own frames. NULL, or why the channel ends. */
static const char *hello(struct cl_channel *channel, uint8_t type, struct cl_str payload)
{
	if (type != CL_FRAME_HELLO)
		return "the peer's first frame is no HELLO";
	if (payload.n != 5 || little_endian(payload.p, 4) != CL_WIRE_VERSION)
		return "the peer speaks another version";
	uint8_t role = (uint8_t)payload.p[4];
	if (role < CL_ROLE_GATEWAY || role > CL_ROLE_TEST)
		return "the peer has no known role";
	channel->peer = role;
	return NULL;
}

/* Delivers one whole frame. NULL, or why the channel ends. */
static const char *deliver(struct cl_channel *channel, const char *head, struct cl_str payload)
{
	uint8_t type = (uint8_t)head[4], flags = (uint8_t)head[5];
	uint64_t id = little_endian(head + 8, 8);
	if (flags & ~FLAG_DESCRIPTOR || head[6] || head[7] || type < CL_FRAME_HELLO || type > CL_FRAME_CONTROL)
		return "the peer sent no frame";
	if (!channel->peer)
		return flags ? "a descriptor came with HELLO" : hello(channel, type, payload);
	if (type == CL_FRAME_HELLO)
		return "the peer said HELLO twice";
	if (flags && !channel->incoming.count)
		return "a frame's descriptor is missing";
	int descriptor = flags ? pop_descriptor(&channel->incoming) : -1;
	if (type == CL_FRAME_PING) {
		if (descriptor >= 0)
			close(descriptor);
		cl_channel_send(channel, CL_FRAME_PONG, id, CL_STR_NONE, -1);
		return NULL;
	}
	channel->callbacks.frame(channel, type, id, payload, descriptor, channel->context);
	return NULL;
}

/* All whole frames of the read buffer. False when the channel is gone or closed. */
static bool deliver_all(struct cl_channel *channel)
{
	size_t at = 0;
	const char *problem = NULL;
	enter(channel);
	while (channel->input_n - at >= CL_FRAME_HEAD) {
		const char *head = channel->input + at;
		size_t length = (size_t)little_endian(head, 4);
		if (length > CL_FRAME_PAYLOAD_MAX) {
			problem = "the peer sent a frame that is too long";
			break;
		}
		if (channel->input_n - at < CL_FRAME_HEAD + length)
			break;
		at += CL_FRAME_HEAD + length;
		problem = deliver(channel, head, (struct cl_str){head + CL_FRAME_HEAD, length});
		if (problem || channel->freed)
			break;
	}
	if (!leave(channel))
		return false;
	if (problem) {
		fail(channel, problem);
		return false;
	}
	memmove(channel->input, channel->input + at, channel->input_n - at);
	channel->input_n -= at;
	return true;
}

/* False when there are more than a decent peer sends. */
static bool take_descriptors(struct cl_channel *channel, struct msghdr *message)
{
	bool good = !(message->msg_flags & MSG_CTRUNC);
	for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int descriptor;
			memcpy(&descriptor, CMSG_DATA(head) + i * sizeof(int), sizeof descriptor);
			if (channel->incoming.count == DESCRIPTORS_QUEUED) {
				good = false;
				close(descriptor);
			} else {
				push_descriptor(&channel->incoming, descriptor, 0);
			}
		}
	}
	return good;
}

static void on_readable(evutil_socket_t socket, short what, void *context)
{
	struct cl_channel *channel = context;
	union {
		char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_QUEUED)];
		struct cmsghdr align;
	} control;
	(void)what;

	for (int turn = 0; turn < READS_PER_TURN; turn++) {
		struct iovec space = {channel->input + channel->input_n, INPUT_SIZE - channel->input_n};
		struct msghdr message = {.msg_iov = &space,
		                         .msg_iovlen = 1,
		                         .msg_control = control.bytes,
		                         .msg_controllen = sizeof control.bytes};
		ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			fail(channel, n == 0 ? "the peer closed" : strerror(errno));
			return;
		}
		if (message.msg_controllen && !take_descriptors(channel, &message)) {
			fail(channel, "the peer passed more descriptors than can be held");
			return;
		}
		channel->input_n += (size_t)n;
		if (!deliver_all(channel))
			return;
		if ((size_t)n < space.iov_len && !message.msg_controllen)
			return;
	}
}

/* Life */

struct cl_channel *cl_channel_new(struct event_base *base, int socket, enum cl_role own_role,
                                  const struct cl_channel_callbacks *callbacks, void *context)
{
	struct cl_channel *channel = calloc(1, sizeof *channel);
	if (!channel)
		cl_die("out of memory (channel)");
	channel->base = base;
	channel->socket = socket;
	channel->callbacks = *callbacks;
	channel->context = context;
	channel->input = malloc(INPUT_SIZE);
	evutil_make_socket_nonblocking(socket);
	evutil_make_socket_closeonexec(socket);
	channel->readable = event_new(base, socket, EV_READ | EV_PERSIST, on_readable, channel);
	channel->writable = event_new(base, socket, EV_WRITE, on_flush, channel);
	channel->flush = event_new(base, -1, 0, on_flush, channel);
	if (!channel->input || !channel->readable || !channel->writable || !channel->flush)
		cl_die("out of memory (channel)");
	event_add(channel->readable, NULL);
	cl_buf_init(&channel->output, 0);
	const char payload[5] = {CL_WIRE_VERSION & 0xff, CL_WIRE_VERSION >> 8, 0, 0, (char)own_role};
	cl_channel_send(channel, CL_FRAME_HELLO, 0, (struct cl_str){payload, sizeof payload}, -1);
	return channel;
}

void cl_channel_free(struct cl_channel *channel)
{
	if (!channel || channel->freed)
		return;
	if (channel->depth == 0) {
		destroy(channel);
		return;
	}
	channel->freed = true;
	stop_events(channel);
}

enum cl_role cl_channel_peer(const struct cl_channel *channel)
{
	return channel->peer;
}

void *cl_channel_context(const struct cl_channel *channel)
{
	return channel->context;
}

size_t cl_channel_pending(const struct cl_channel *channel)
{
	return pending(channel);
}

int cl_channel_connect(const char *path, int *socket_out, struct cl_err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n = strlen(path);
	if (n >= sizeof address.sun_path)
		return cl_fail(e, CL_E_INVALID,
		               "the socket path %s is longer than %zu bytes; choose a shorter data folder", path,
		               sizeof address.sun_path - 1);
	memcpy(address.sun_path, path, n);
	int socket_made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (socket_made < 0)
		return cl_fail(e, CL_E_IO, "cannot make a socket: %s", strerror(errno));
	if (connect(socket_made, (struct sockaddr *)&address, sizeof address) == 0) {
		*socket_out = socket_made;
		return 0;
	}
	int problem = errno, code = CL_E_IO;
	if (problem == EAGAIN)
		code = CL_E_BUSY;
	else if (problem == ECONNREFUSED || problem == ENOENT)
		code = CL_E_CLOSED;
	close(socket_made);
	return cl_fail(e, code, "cannot connect to %s: %s", path, strerror(problem));
}
