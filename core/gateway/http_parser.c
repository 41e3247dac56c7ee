/* http_parser.c: the head is collected until its empty line and then read at once; bodies go byte by byte where framing is
 * decided, in runs where it is not. */
#include "gateway/http_parser.h"
#include <strings.h>

enum state {
	HEAD,
	BODY_START,
	LENGTH,
	CHUNK_SIZE,
	CHUNK_EXTENSION,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	TRAILER_START,
	TRAILER_NAME,
	TRAILER_VALUE,
	TRAILER_LF,
	END_LF,
	DONE,
	REFUSED
};

#define FIRST_LINE_MAX (CL_HTTP_TARGET_MAX + 64)
#define CHUNK_DIGITS_MAX 8
#define KEEP_BODY_CAPACITY ((size_t)64 * 1024)

#define TOKEN 1 /* tchar of RFC 9110 */
#define VALUE 2 /* field values: HTAB, SP, visible, obs-text */
#define TARGET 4 /* visible ASCII but " # < > \ ^ ` { }, of which none may stand unescaped in a URI */
#define HOST 8 /* registered names and IPv4 addresses */
#define DIGIT 16
#define HEX 32

static uint8_t class_of(unsigned char c)
{
	uint8_t class = 0;
	bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
	if (alphanumeric || (c && strchr("!#$%&'*+-.^_`|~", c)))
		class |= TOKEN;
	if (c == '\t' || (c >= 0x20 && c != 0x7f))
		class |= VALUE;
	if (c > 0x20 && c < 0x7f && !strchr("\"#<>\\^`{}", c))
		class |= TARGET;
	if (alphanumeric || c == '.' || c == '-')
		class |= HOST;
	if (c >= '0' && c <= '9')
		class |= DIGIT;
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
		class |= HEX;
	return class;
}

static uint8_t classes[256];

__attribute__((constructor)) static void fill_classes(void)
{
	for (unsigned c = 0; c < 256; c++)
		classes[c] = class_of((unsigned char)c);
}

static inline bool is(char c, uint8_t class)
{
	return classes[(unsigned char)c] & class;
}

static bool all(struct cl_str text, uint8_t class)
{
	for (size_t i = 0; i < text.n; i++)
		if (!is(text.p[i], class))
			return false;
	return true;
}

static enum cl_http_step refuse(struct cl_http_parser *parser, int status, const char *reason)
{
	parser->state = REFUSED;
	parser->status = status;
	parser->reason = reason;
	return CL_HTTP_REFUSED;
}

/* The head */

static const struct {
	const char *name;
	enum cl_http_method method;
} methods[] = {
        {"GET", CL_HTTP_GET},     {"HEAD", CL_HTTP_HEAD},     {"POST", CL_HTTP_POST},       {"PUT", CL_HTTP_PUT},
        {"PATCH", CL_HTTP_PATCH}, {"DELETE", CL_HTTP_DELETE}, {"OPTIONS", CL_HTTP_OPTIONS},
};

/* Headers of which a second one would leave open which counts. */
static const char *const singular[] = {
        "host",          "content-length",    "transfer-encoding", "content-type",  "authorization", "expect",
        "if-none-exist", "if-modified-since", "idempotency-key",   "last-event-id", "x-request-id",  "origin",
        "cookie",
};

static int refuse_line(struct cl_http_parser *parser, int status, const char *reason)
{
	refuse(parser, status, reason);
	return -1;
}

static bool escapes_good(struct cl_str target)
{
	const char *end = target.p + target.n;
	for (const char *p = target.p; (p = memchr(p, '%', (size_t)(end - p))); p += 3)
		if (end - p < 3 || !is(p[1], HEX) || !is(p[2], HEX) || (p[1] == '0' && p[2] == '0'))
			return false;
	return true;
}

static int read_target(struct cl_http_parser *parser, struct cl_str target)
{
	if (target.n > CL_HTTP_TARGET_MAX)
		return refuse_line(parser, 414, "the target is longer than 8192 bytes");
	if (target.n == 0 || target.p[0] != '/' || (target.n > 1 && target.p[1] == '/'))
		return refuse_line(parser, 400, "the target must be a path that starts with one slash");
	if (!all(target, TARGET) || !escapes_good(target))
		return refuse_line(parser, 400,
		                   "the target has characters that must be percent-encoded, or a bad escape");
	parser->request.target = target;
	return 0;
}

static int read_request_line(struct cl_http_parser *parser, struct cl_str line)
{
	struct cl_http_request *request = &parser->request;
	const char *end = line.p + line.n;
	const char *space = memchr(line.p, ' ', line.n);
	if (!space || space == line.p)
		return refuse_line(parser, 400, "the request line must be METHOD TARGET VERSION");
	request->method_name = (struct cl_str){line.p, (size_t)(space - line.p)};
	if (!all(request->method_name, TOKEN))
		return refuse_line(parser, 400, "the method is no token");
	const char *target = space + 1;
	space = memchr(target, ' ', (size_t)(end - target));
	if (!space)
		return refuse_line(parser, line.n > CL_HTTP_TARGET_MAX ? 414 : 400,
		                   "the request line must be METHOD TARGET VERSION");
	struct cl_str version = {space + 1, (size_t)(end - space - 1)};
	bool one =
	        version.n == 8 && memcmp(version.p, "HTTP/1.", 7) == 0 && (version.p[7] == '0' || version.p[7] == '1');
	if (!one) {
		bool other = version.n == 8 && memcmp(version.p, "HTTP/", 5) == 0 && is(version.p[5], DIGIT) &&
		             version.p[6] == '.' && is(version.p[7], DIGIT);
		return refuse_line(parser, other ? 505 : 400, "the version must be HTTP/1.1");
	}
	request->minor_version = version.p[7] - '0';
	if (read_target(parser, (struct cl_str){target, (size_t)(space - target)}))
		return -1;
	for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
		if (cl_str_is(request->method_name, methods[i].name)) {
			request->method = methods[i].method;
			return 0;
		}
	return refuse_line(parser, 501, "the method is not known here");
}

static int read_header(struct cl_http_parser *parser, char *line, size_t n)
{
	struct cl_http_request *request = &parser->request;
	if (line[0] == ' ' || line[0] == '\t')
		return refuse_line(parser, 400, "a folded header line");
	char *colon = memchr(line, ':', n);
	if (!colon || colon == line)
		return refuse_line(parser, 400, "a header line without a name and a colon");
	struct cl_str name = {line, (size_t)(colon - line)};
	if (!all(name, TOKEN))
		return refuse_line(parser, 400, "a header's name is no token");
	for (char *p = line; p < colon; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + ('a' - 'A'));
	struct cl_str value = {colon + 1, n - name.n - 1};
	while (value.n && (value.p[0] == ' ' || value.p[0] == '\t'))
		value.p++, value.n--;
	while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
		value.n--;
	if (!all(value, VALUE))
		return refuse_line(parser, 400, "a header's value has a control character");
	if (request->header_count == CL_HTTP_HEADERS_MAX)
		return refuse_line(parser, 431, "more than 100 headers");
	request->headers[request->header_count++] = (struct cl_header){name, value};
	return 0;
}

/* A registered name, an IPv4 address or a bracketed IPv6 address, and a port. Lower-cases it in place. */
static bool read_host(struct cl_str value, struct cl_str *out)
{
	size_t name = 0;
	char *p = (char *)value.p; /* points into the parser's own buffer */
	if (value.n && p[0] == '[') {
		while (name < value.n && p[name] != ']')
			if (name++ && !is(p[name - 1], HEX) && p[name - 1] != ':' && p[name - 1] != '.')
				return false;
		if (name == value.n || name < 3)
			return false;
		name++;
	} else {
		while (name < value.n && is(p[name], HOST))
			name++;
	}
	if (name == 0 || name > 255)
		return false;
	if (name < value.n) {
		struct cl_str port = {p + name + 1, value.n - name - 1};
		if (p[name] != ':' || port.n == 0 || port.n > 5 || !all(port, DIGIT))
			return false;
	}
	for (size_t i = 0; i < name; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			p[i] = (char)(p[i] + ('a' - 'A'));
	*out = value;
	return true;
}

static int read_length(struct cl_http_parser *parser, struct cl_str value)
{
	if (value.n == 0 || !all(value, DIGIT))
		return refuse_line(parser, 400, "Content-Length must be digits only");
	uint64_t length = 0;
	for (size_t i = 0; i < value.n; i++) {
		length = length * 10 + (uint64_t)(value.p[i] - '0');
		if (length > parser->body_limit)
			return refuse_line(parser, 413, "the body is larger than is accepted here");
	}
	parser->request.content_length = length;
	return 0;
}

static const struct cl_header *find(const struct cl_http_request *request, const char *name, size_t *count)
{
	const struct cl_header *found = NULL;
	struct cl_str wanted = cl_str_of(name);
	*count = 0;
	for (size_t i = 0; i < request->header_count; i++)
		if (cl_str_equal(request->headers[i].name, wanted) && (*count)++ == 0)
			found = &request->headers[i];
	return found;
}

/* What the headers say about the message: where it ends and whom it is for. */
static int read_framing(struct cl_http_parser *parser)
{
	struct cl_http_request *request = &parser->request;
	const struct cl_header *one[sizeof singular / sizeof *singular];
	size_t count;
	for (size_t i = 0; i < sizeof singular / sizeof *singular; i++) {
		one[i] = find(request, singular[i], &count);
		if (count > 1)
			return refuse_line(parser, 400, "a header came twice that may come once");
	}
	const struct cl_header *host = one[0], *length = one[1], *encoding = one[2], *expect = one[5];
	if (!host && request->minor_version == 1)
		return refuse_line(parser, 400, "HTTP/1.1 needs a Host header");
	if (host && !read_host(host->value, &request->host))
		return refuse_line(parser, 400, "the Host header is no host name");
	if (encoding && length)
		return refuse_line(parser, 400, "Content-Length and Transfer-Encoding together");
	if (encoding && (request->minor_version == 0 || !cl_str_is(encoding->value, "chunked")))
		return refuse_line(parser, 400, "the only Transfer-Encoding is chunked, in HTTP/1.1");
	request->chunked = encoding;
	if (length && read_length(parser, length->value))
		return -1;
	bool no_body = request->method == CL_HTTP_GET || request->method == CL_HTTP_HEAD;
	if (no_body && (request->chunked || request->content_length > 0))
		return refuse_line(parser, 400, "GET and HEAD have no body");
	struct cl_str connection = CL_STR_NONE;
	request->keep_alive = request->minor_version == 1;
	for (size_t i = 0; i < request->header_count; i++)
		if (cl_str_is(request->headers[i].name, "connection")) {
			connection = request->headers[i].value;
			if (cl_http_list_has(connection, "close"))
				request->keep_alive = false;
		}
	if (expect && request->minor_version == 1) {
		if (expect->value.n != 12 || strncasecmp(expect->value.p, "100-continue", 12) != 0)
			return refuse_line(parser, 417, "the only expectation met here is 100-continue");
		request->expects_continue = request->chunked || request->content_length > 0;
	}
	return 0;
}

static enum cl_http_step read_head(struct cl_http_parser *parser)
{
	char *at = parser->head.p, *end = parser->head.p + parser->head.n - 2;
	for (bool first = true; at < end; first = false) {
		char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t n = (size_t)(newline - at) - 1;
		int code = first ? read_request_line(parser, (struct cl_str){at, n}) : read_header(parser, at, n);
		if (code)
			return CL_HTTP_REFUSED;
		at = newline + 1;
	}
	if (read_framing(parser))
		return CL_HTTP_REFUSED;
	parser->state = BODY_START;
	return CL_HTTP_HEADERS;
}

/* Collects lines until the empty one. Only the place of line ends and the sizes are judged here. */
static enum cl_http_step take_head(struct cl_http_parser *parser, const char *bytes, size_t n, size_t *consumed)
{
	struct cl_buf *head = &parser->head;
	while (*consumed < n) {
		const char *start = bytes + *consumed;
		size_t room = CL_HTTP_HEAD_MAX - head->n;
		bool first_line = parser->line_start == 0;
		if (first_line && room > FIRST_LINE_MAX - head->n)
			room = FIRST_LINE_MAX - head->n;
		size_t available = n - *consumed;
		if (available > room)
			available = room;
		const char *newline = memchr(start, '\n', available);
		size_t taken = newline ? (size_t)(newline - start) + 1 : available;
		cl_buf_add(head, start, taken);
		*consumed += taken;
		if (!newline) {
			if (available < room)
				continue;
			if (first_line)
				return refuse(parser, 414, "the request line is too long");
			return refuse(parser, 431, "the headers are longer than 16384 bytes");
		}
		size_t length = head->n - parser->line_start;
		if (length < 2 || head->p[head->n - 2] != '\r')
			return refuse(parser, 400, "a line ends without a carriage return");
		if (length == 2)
			return first_line ? refuse(parser, 400, "an empty line before the request line")
			                  : read_head(parser);
		parser->line_start = head->n;
	}
	return CL_HTTP_MORE;
}

/* The body */

static enum cl_http_step finish(struct cl_http_parser *parser)
{
	parser->state = DONE;
	parser->request.body = cl_buf_str(&parser->body);
	return CL_HTTP_DONE;
}

static enum cl_http_step start_body(struct cl_http_parser *parser)
{
	const struct cl_http_request *request = &parser->request;
	if (!request->chunked && request->content_length == 0)
		return finish(parser);
	parser->state = request->chunked ? CHUNK_SIZE : LENGTH;
	parser->remaining = request->content_length;
	return CL_HTTP_MORE;
}

static void take_run(struct cl_http_parser *parser, const char *bytes, size_t n, size_t *consumed)
{
	size_t run = n - *consumed;
	if (run > parser->remaining)
		run = (size_t)parser->remaining;
	cl_buf_add(&parser->body, bytes + *consumed, run);
	*consumed += run;
	parser->remaining -= run;
	parser->received += run;
}

static enum cl_http_step end_chunk_size(struct cl_http_parser *parser)
{
	if (parser->digits == 0)
		return refuse(parser, 400, "a chunk without a size");
	if (parser->remaining > parser->body_limit - parser->received)
		return refuse(parser, 413, "the body is larger than is accepted here");
	return CL_HTTP_MORE;
}

static enum cl_http_step take_chunk_size(struct cl_http_parser *parser, char c)
{
	if (is(c, HEX)) {
		if (++parser->digits > CHUNK_DIGITS_MAX)
			return refuse(parser, 400, "a chunk size with more than 8 digits");
		unsigned digit = (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
		parser->remaining = parser->remaining * 16 + digit;
		return CL_HTTP_MORE;
	}
	if (c != '\r' && c != ';')
		return refuse(parser, 400, "a chunk size must be hexadecimal digits");
	parser->state = c == ';' ? CHUNK_EXTENSION : CHUNK_SIZE_LF;
	return end_chunk_size(parser);
}

/* One byte of a chunk extension or of a trailer. Both are checked like headers, share one allowance and are dropped. */
static enum cl_http_step take_ignored(struct cl_http_parser *parser, char c)
{
	if (++parser->trailer_bytes > CL_HTTP_TRAILER_MAX)
		return refuse(parser, 400, "chunk extensions and trailers are too long");
	switch (parser->state) {
	case CHUNK_EXTENSION:
		if (c == '\r')
			parser->state = CHUNK_SIZE_LF;
		else if (!is(c, VALUE))
			return refuse(parser, 400, "a chunk extension has a control character");
		return CL_HTTP_MORE;
	case TRAILER_START:
		parser->state = c == '\r' ? END_LF : TRAILER_NAME;
		if (c != '\r' && !is(c, TOKEN))
			return refuse(parser, 400, "a trailer's name is no token");
		return CL_HTTP_MORE;
	case TRAILER_NAME:
		if (c == ':')
			parser->state = TRAILER_VALUE;
		else if (!is(c, TOKEN))
			return refuse(parser, 400, "a trailer's name is no token");
		return CL_HTTP_MORE;
	default:
		if (c == '\r')
			parser->state = TRAILER_LF;
		else if (!is(c, VALUE))
			return refuse(parser, 400, "a trailer's value has a control character");
		return CL_HTTP_MORE;
	}
}

/* One byte that must be the line feed of a CRLF. */
static enum cl_http_step take_line_feed(struct cl_http_parser *parser, char c)
{
	if (c != '\n')
		return refuse(parser, 400, "a carriage return without a line feed in a chunked body");
	switch (parser->state) {
	case CHUNK_SIZE_LF:
		parser->state = parser->remaining ? CHUNK_DATA : TRAILER_START;
		return CL_HTTP_MORE;
	case CHUNK_DATA_LF:
		parser->state = CHUNK_SIZE;
		parser->digits = 0;
		return CL_HTTP_MORE;
	case TRAILER_LF:
		parser->state = TRAILER_START;
		return CL_HTTP_MORE;
	default:
		return finish(parser);
	}
}

static enum cl_http_step take_chunked(struct cl_http_parser *parser, const char *bytes, size_t n, size_t *consumed)
{
	while (*consumed < n) {
		if (parser->state == CHUNK_DATA) {
			take_run(parser, bytes, n, consumed);
			if (parser->remaining == 0)
				parser->state = CHUNK_DATA_CR;
			continue;
		}
		char c = bytes[(*consumed)++];
		enum cl_http_step step = CL_HTTP_MORE;
		switch (parser->state) {
		case CHUNK_SIZE:
			step = take_chunk_size(parser, c);
			break;
		case CHUNK_DATA_CR:
			parser->state = CHUNK_DATA_LF;
			if (c != '\r')
				return refuse(parser, 400, "a chunk is longer than its size");
			break;
		case CHUNK_SIZE_LF:
		case CHUNK_DATA_LF:
		case TRAILER_LF:
		case END_LF:
			step = take_line_feed(parser, c);
			break;
		default:
			step = take_ignored(parser, c);
		}
		if (step != CL_HTTP_MORE)
			return step;
	}
	return CL_HTTP_MORE;
}

enum cl_http_step cl_http_parser_feed(struct cl_http_parser *parser, const char *bytes, size_t n, size_t *consumed)
{
	*consumed = 0;
	if (parser->state == HEAD)
		return take_head(parser, bytes, n, consumed);
	if (parser->state == BODY_START && start_body(parser) == CL_HTTP_DONE)
		return CL_HTTP_DONE;
	switch (parser->state) {
	case LENGTH:
		take_run(parser, bytes, n, consumed);
		return parser->remaining ? CL_HTTP_MORE : finish(parser);
	case DONE:
		return CL_HTTP_DONE;
	case REFUSED:
		return CL_HTTP_REFUSED;
	default:
		return take_chunked(parser, bytes, n, consumed);
	}
}

/* Life */

void cl_http_parser_init(struct cl_http_parser *parser, size_t body_limit)
{
	memset(parser, 0, sizeof *parser);
	parser->body_limit = body_limit;
	cl_buf_init(&parser->head, CL_HTTP_HEAD_MAX);
	cl_buf_init(&parser->body, body_limit);
}

void cl_http_parser_free(struct cl_http_parser *parser)
{
	cl_buf_free(&parser->head);
	cl_buf_free(&parser->body);
}

void cl_http_parser_reset(struct cl_http_parser *parser)
{
	struct cl_http_request *request = &parser->request;
	/* Not the array of headers: it is large, and its count says what is in it. */
	request->host = request->body = CL_STR_NONE;
	request->keep_alive = request->expects_continue = request->chunked = false;
	request->content_length = 0;
	request->header_count = 0;
	parser->status = 0;
	parser->reason = NULL;
	parser->received = parser->remaining = 0;
	parser->state = HEAD;
	parser->digits = 0;
	parser->line_start = parser->trailer_bytes = 0;
	cl_buf_clear(&parser->head);
	cl_buf_clear(&parser->body);
	if (parser->body.capacity > KEEP_BODY_CAPACITY)
		cl_buf_free(&parser->body);
}

bool cl_http_parser_idle(const struct cl_http_parser *parser)
{
	return parser->state == HEAD && parser->head.n == 0;
}

struct cl_str cl_http_header(const struct cl_http_request *request, const char *name)
{
	size_t count;
	const struct cl_header *header = find(request, name, &count);
	return header ? header->value : CL_STR_NONE;
}

bool cl_http_list_has(struct cl_str list, const char *token)
{
	size_t wanted = strlen(token);
	const char *at = list.p, *end = list.p + list.n;
	while (at < end) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;
		while (at < stop && (*at == ' ' || *at == '\t'))
			at++;
		const char *last = stop;
		while (last > at && (last[-1] == ' ' || last[-1] == '\t'))
			last--;
		if ((size_t)(last - at) == wanted && strncasecmp(at, token, wanted) == 0)
			return true;
		at = stop + 1;
	}
	return false;
}
