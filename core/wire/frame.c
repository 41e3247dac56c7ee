/* frame.c: payloads as little-endian numbers and length-prefixed texts; large bodies as sealed memory files.
 *
 * request   id[16] flags u8 credential u8 deadline i64 | anchor name fingerprint token address method target base |
 *           headers u16 (name value)* | body u32 [bytes]
 * response  status u16 flags u8 | headers u16 (name value)* | body u32 [bytes], or the size u64 of a file that is the body
 * event     sequence u64 incarnation u64 | kind type id detail
 * Every text is its length as u32 and its bytes. The body's bytes are absent when flags say that they are in the file. */
#include "wire/frame.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLAG_RESENT 1 /* request */
#define FLAG_STREAM 1 /* response */
#define FLAG_FILE 2
#define FLAG_OWN_FILE 4 /* response: the body is the file itself, to be read when it is sent on */

#define HEADERS_MAX 128
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

bool cl_request_header_known(struct cl_str lower_case_name)
{
	static const char *const known[] = {
	        "accept",        "content-type",       "prefer",          "if-match",      "if-none-match",
	        "if-none-exist", "if-modified-since",  "idempotency-key", "last-event-id", "x-request-id",
	        "origin",        "x-security-context",
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (cl_str_is(lower_case_name, known[i]))
			return true;
	return false;
}

static struct cl_str find_header(const struct cl_header *headers, size_t count, const char *name)
{
	struct cl_str wanted = cl_str_of(name);
	for (size_t i = 0; i < count; i++)
		if (cl_str_equal(headers[i].name, wanted))
			return headers[i].value;
	return CL_STR_NONE;
}

struct cl_str cl_request_header(const struct cl_request *request, const char *name)
{
	return find_header(request->headers, request->header_count, name);
}

struct cl_str cl_response_header(const struct cl_response *response, const char *name)
{
	return find_header(response->headers, response->header_count, name);
}

void cl_response_add_header(struct cl_arena *arena, struct cl_response *response, const char *name, struct cl_str value)
{
	/* A new array each time: the old one may be the caller's own, of unknown room, and there are few headers. */
	size_t n = response->header_count;
	struct cl_header *larger = CL_NEW_ARRAY(arena, struct cl_header, n + 1);
	if (n)
		memcpy(larger, response->headers, n * sizeof *larger);
	response->headers = larger;
	response->headers[n] = (struct cl_header){cl_str_of(name), value};
	response->header_count = n + 1;
}

/* Writing: the caller reserved what all parts need. */

static char *put(char *at, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		at[i] = (char)(value >> (8 * i) & 0xff);
	return at + width;
}

static char *put_bytes(char *at, struct cl_str bytes)
{
	if (bytes.n)
		memcpy(at, bytes.p, bytes.n);
	return at + bytes.n;
}

static char *put_text(char *at, struct cl_str text)
{
	return put_bytes(put(at, text.n, 4), text);
}

static char *put_headers(char *at, const struct cl_header *headers, size_t count)
{
	at = put(at, count, 2);
	for (size_t i = 0; i < count; i++)
		at = put_text(put_text(at, headers[i].name), headers[i].value);
	return at;
}

static size_t headers_size(const struct cl_header *headers, size_t count)
{
	size_t size = 2;
	for (size_t i = 0; i < count; i++)
		size += 8 + headers[i].name.n + headers[i].value.n;
	return size;
}

/* A sealed memory file with these bytes. */
static int body_file(struct cl_str body, int *out, struct cl_err *e)
{
	int descriptor = memfd_create("careloop-body", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (descriptor < 0)
		return cl_fail(e, errno == EMFILE || errno == ENFILE ? CL_E_BUSY : CL_E_IO,
		               "cannot make a memory file: %s", strerror(errno));
	for (size_t done = 0; done < body.n;) {
		ssize_t n = write(descriptor, body.p + done, body.n - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int code = cl_fail(e, CL_E_IO, "cannot write a memory file of %zu bytes: %s", body.n,
			                   strerror(errno));
			close(descriptor);
			return code;
		}
		done += (size_t)n;
	}
	if (fcntl(descriptor, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0) {
		int code = cl_fail(e, CL_E_IO, "cannot seal a memory file: %s", strerror(errno));
		close(descriptor);
		return code;
	}
	*out = descriptor;
	return 0;
}

/* Decides where the body goes, and reserves the payload. `head` is the size of everything but the body's bytes. */
static int begin(struct cl_buf *out, size_t head, size_t header_count, struct cl_str body, char **at, int *descriptor,
                 struct cl_err *e)
{
	*descriptor = -1;
	if (header_count > HEADERS_MAX || head > CL_FRAME_PAYLOAD_MAX)
		return cl_fail(e, CL_E_TOO_LARGE,
		               "the head of a frame has %zu headers and %zu bytes; at most %d and %d", header_count,
		               head, HEADERS_MAX, CL_FRAME_PAYLOAD_MAX);
	if (body.n > CL_BODY_MAX)
		return cl_fail(e, CL_E_TOO_LARGE, "a body of %zu bytes; at most %d", body.n, CL_BODY_MAX);
	bool file = body.n > CL_BODY_INLINE_MAX || head + body.n > CL_FRAME_PAYLOAD_MAX;
	size_t size = head + (file ? 0 : body.n);
	*at = cl_buf_reserve(out, size);
	if (!*at)
		return cl_fail(e, CL_E_TOO_LARGE, "a frame of %zu bytes does not fit its buffer", size);
	if (file) {
		int code = body_file(body, descriptor, e);
		if (code)
			return code;
	}
	out->n += size;
	return 0;
}

int cl_request_encode(struct cl_buf *out, const struct cl_request *request, int *descriptor, struct cl_err *e)
{
	const struct cl_credential *credential = &request->credential;
	const struct cl_str texts[] = {credential->anchor, credential->name,    credential->fingerprint,
	                               credential->token,  credential->address, request->method,
	                               request->target,    request->base};
	size_t text_count = sizeof texts / sizeof *texts;
	size_t size = 16 + 1 + 1 + 8 + 4 + headers_size(request->headers, request->header_count);
	for (size_t i = 0; i < text_count; i++)
		size += 4 + texts[i].n;
	char *at;
	int code = begin(out, size, request->header_count, request->body, &at, descriptor, e);
	if (code)
		return code;
	at = put_bytes(at, (struct cl_str){(const char *)request->id, sizeof request->id});
	at = put(at, (request->resent ? FLAG_RESENT : 0u) | (*descriptor >= 0 ? FLAG_FILE : 0u), 1);
	at = put(at, credential->kind, 1);
	at = put(at, (uint64_t)request->deadline, 8);
	for (size_t i = 0; i < text_count; i++)
		at = put_text(at, texts[i]);
	at = put_headers(at, request->headers, request->header_count);
	at = put(at, request->body.n, 4);
	if (*descriptor < 0)
		put_bytes(at, request->body);
	return 0;
}

int cl_response_encode(struct cl_buf *out, const struct cl_response *response, int *descriptor, struct cl_err *e)
{
	struct cl_body_file *file = response->file;
	struct cl_str body = file ? CL_STR_NONE : response->body;
	size_t size = 2 + 1 + (file ? 8u : 4u) + headers_size(response->headers, response->header_count);
	char *at;
	int code = begin(out, size, response->header_count, body, &at, descriptor, e);
	if (code)
		return code;
	if (file) {
		*descriptor = fcntl(file->descriptor, F_DUPFD_CLOEXEC, 0);
		if (*descriptor < 0)
			return cl_fail(e, CL_E_BUSY, "cannot pass a file on: %s", strerror(errno));
	}
	at = put(at, (uint64_t)response->status, 2);
	at = put(at,
	         (response->stream ? FLAG_STREAM : 0u) | (file               ? FLAG_OWN_FILE
	                                                  : *descriptor >= 0 ? FLAG_FILE
	                                                                     : 0u),
	         1);
	at = put_headers(at, response->headers, response->header_count);
	if (file) {
		put(at, file->size, 8);
		return 0;
	}
	at = put(at, response->body.n, 4);
	if (*descriptor < 0)
		put_bytes(at, response->body);
	return 0;
}

void cl_event_encode(struct cl_buf *out, const struct cl_event *event)
{
	const struct cl_str texts[] = {event->kind, event->type, event->id, event->detail};
	size_t size = 16;
	for (size_t i = 0; i < 4; i++)
		size += 4 + texts[i].n;
	char *at = cl_buf_reserve(out, size);
	if (!at)
		return;
	at = put(at, event->sequence, 8);
	at = put(at, event->incarnation, 8);
	for (size_t i = 0; i < 4; i++)
		at = put_text(at, texts[i]);
	out->n += size;
}

/* Reading: every length is checked against what is left; the first violation makes the whole payload invalid. */

struct reader {
	const char *at, *end;
	bool failed;
};

static uint64_t get(struct reader *reader, size_t width)
{
	if ((size_t)(reader->end - reader->at) < width) {
		reader->failed = true;
		return 0;
	}
	uint64_t value = 0;
	for (size_t i = 0; i < width; i++)
		value |= (uint64_t)(unsigned char)reader->at[i] << (8 * i);
	reader->at += width;
	return value;
}

static struct cl_str get_bytes(struct reader *reader, size_t n)
{
	if (reader->failed || (size_t)(reader->end - reader->at) < n) {
		reader->failed = true;
		return CL_STR_NONE;
	}
	struct cl_str bytes = {reader->at, n};
	reader->at += n;
	return bytes;
}

static struct cl_str get_text(struct reader *reader)
{
	return get_bytes(reader, (size_t)get(reader, 4));
}

static struct cl_header *get_headers(struct reader *reader, struct cl_arena *arena, size_t *count)
{
	*count = 0;
	size_t n = (size_t)get(reader, 2);
	/* Each takes 8 bytes at least: a false count cannot make a large allocation. */
	if (n > HEADERS_MAX || n * 8 > (size_t)(reader->end - reader->at)) {
		reader->failed = true;
		return NULL;
	}
	if (n == 0)
		return NULL;
	struct cl_header *headers = CL_NEW_ARRAY(arena, struct cl_header, n);
	for (size_t i = 0; i < n; i++) {
		headers[i].name = get_text(reader);
		headers[i].value = get_text(reader);
	}
	*count = n;
	return headers;
}

static int read_file(struct cl_arena *arena, int descriptor, size_t size, struct cl_str *out, struct cl_err *e)
{
	struct stat status;
	if (fstat(descriptor, &status) < 0)
		return cl_fail(e, CL_E_IO, "cannot inspect a passed descriptor: %s", strerror(errno));
	if (!S_ISREG(status.st_mode))
		return cl_fail(e, CL_E_INVALID, "a passed descriptor is no regular file");
	int seals = fcntl(descriptor, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS) != SEALS)
		return cl_fail(e, CL_E_INVALID, "a passed file is not sealed");
	if (size > CL_BODY_MAX || status.st_size < 0 || (uint64_t)status.st_size != size)
		return cl_fail(e, CL_E_INVALID,
		               "a passed file has %lld bytes, its frame says %zu, at most %d are accepted",
		               (long long)status.st_size, size, CL_BODY_MAX);
	char *bytes = cl_arena_try(arena, size);
	if (!bytes)
		return cl_fail(e, CL_E_TOO_LARGE, "a body of %zu bytes does not fit the request's memory", size);
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(descriptor, bytes + done, size - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return cl_fail(e, CL_E_IO, "cannot read a passed file: %s",
			               n < 0 ? strerror(errno) : "it is shorter than it was");
		done += (size_t)n;
	}
	*out = (struct cl_str){bytes, size};
	return 0;
}

static int get_body(struct reader *reader, struct cl_arena *arena, bool file, int descriptor, struct cl_str *out,
                    struct cl_err *e)
{
	size_t size = (size_t)get(reader, 4);
	if (file != (descriptor >= 0))
		return cl_fail(e, CL_E_INVALID,
		               file ? "a frame's body should be in a file, but none came with it"
		                    : "a file came with a frame that has none");
	*out = file ? CL_STR_NONE : get_bytes(reader, size);
	if (reader->failed || reader->at != reader->end)
		return cl_fail(e, CL_E_INVALID, "a frame's payload is cut short or has bytes left over");
	return file ? read_file(arena, descriptor, size, out, e) : 0;
}

static struct reader reader_of(struct cl_arena *arena, struct cl_str payload)
{
	struct cl_str copy = cl_arena_copy(arena, payload);
	return (struct reader){.at = copy.p, .end = copy.p + copy.n};
}

int cl_request_decode(struct cl_arena *arena, struct cl_str payload, int descriptor, struct cl_request *out,
                      struct cl_err *e)
{
	*out = (struct cl_request){0};
	if (payload.n > CL_FRAME_PAYLOAD_MAX)
		return cl_fail(e, CL_E_INVALID, "a frame's payload has %zu bytes", payload.n);
	struct reader reader = reader_of(arena, payload);
	struct cl_str id = get_bytes(&reader, sizeof out->id);
	if (id.n)
		memcpy(out->id, id.p, sizeof out->id);
	uint64_t flags = get(&reader, 1);
	out->resent = flags & FLAG_RESENT;
	out->credential.kind = (uint8_t)get(&reader, 1);
	out->deadline = (cl_instant)get(&reader, 8);
	out->credential.anchor = get_text(&reader);
	out->credential.name = get_text(&reader);
	out->credential.fingerprint = get_text(&reader);
	out->credential.token = get_text(&reader);
	out->credential.address = get_text(&reader);
	out->method = get_text(&reader);
	out->target = get_text(&reader);
	out->base = get_text(&reader);
	out->headers = get_headers(&reader, arena, &out->header_count);
	if (reader.failed || flags & ~(uint64_t)(FLAG_RESENT | FLAG_FILE) || out->credential.kind > CL_CREDENTIAL_BASIC)
		return cl_fail(e, CL_E_INVALID, "a request frame cannot be read");
	return get_body(&reader, arena, flags & FLAG_FILE, descriptor, &out->body, e);
}

/* Not sealed and not read here: who sends it on takes what is there, and stops when it is less than was said. */
static int get_own_file(struct reader *reader, struct cl_arena *arena, uint64_t flags, int descriptor,
                        struct cl_body_file **out, struct cl_err *e)
{
	struct stat status;
	uint64_t size = get(reader, 8);
	if (reader->failed || reader->at != reader->end || flags & (FLAG_STREAM | FLAG_FILE) || descriptor < 0)
		return cl_fail(e, CL_E_INVALID, "a response frame cannot be read");
	if (fstat(descriptor, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < 0 ||
	    (uint64_t)status.st_size < size)
		return cl_fail(e, CL_E_INVALID,
		               "a passed descriptor is no regular file of the size that its frame says");
	*out = CL_NEW(arena, struct cl_body_file);
	**out = (struct cl_body_file){descriptor, size};
	return 0;
}

int cl_response_decode(struct cl_arena *arena, struct cl_str payload, int descriptor, struct cl_response *out,
                       struct cl_err *e)
{
	*out = (struct cl_response){0};
	if (payload.n > CL_FRAME_PAYLOAD_MAX)
		return cl_fail(e, CL_E_INVALID, "a frame's payload has %zu bytes", payload.n);
	struct reader reader = reader_of(arena, payload);
	out->status = (int)get(&reader, 2);
	uint64_t flags = get(&reader, 1);
	out->stream = flags & FLAG_STREAM;
	out->headers = get_headers(&reader, arena, &out->header_count);
	if (reader.failed || flags & ~(uint64_t)(FLAG_STREAM | FLAG_FILE | FLAG_OWN_FILE) || out->status < 100 ||
	    out->status > 599)
		return cl_fail(e, CL_E_INVALID, "a response frame cannot be read");
	if (flags & FLAG_OWN_FILE)
		return get_own_file(&reader, arena, flags, descriptor, &out->file, e);
	return get_body(&reader, arena, flags & FLAG_FILE, descriptor, &out->body, e);
}

int cl_event_decode(struct cl_arena *arena, struct cl_str payload, struct cl_event *out, struct cl_err *e)
{
	*out = (struct cl_event){0};
	if (payload.n > CL_FRAME_PAYLOAD_MAX)
		return cl_fail(e, CL_E_INVALID, "a frame's payload has %zu bytes", payload.n);
	struct reader reader = reader_of(arena, payload);
	out->sequence = get(&reader, 8);
	out->incarnation = get(&reader, 8);
	out->kind = get_text(&reader);
	out->type = get_text(&reader);
	out->id = get_text(&reader);
	out->detail = get_text(&reader);
	if (reader.failed || reader.at != reader.end)
		return cl_fail(e, CL_E_INVALID, "an event frame cannot be read");
	return 0;
}
