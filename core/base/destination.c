/* destination.c: see destination.h. */
#include "base/destination.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define ANY_PORT (-1)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_label(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static bool fits_address(int family, struct cl_str text)
{
	char copy[64];
	uint8_t bytes[16];
	/* Found by fuzzing: what reads C strings stops at a zero byte. */
	if (!text.n || text.n >= sizeof copy || memchr(text.p, 0, text.n))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = 0;
	return inet_pton(family, copy, bytes) == 1;
}

/* A last label of digits is an IP address to some readers ("127.1", "0x7f.1", "2130706433"): only the plain form is taken. */
static int read_name(struct cl_str host, bool *literal, struct cl_err *e)
{
	size_t label = 0;
	for (size_t i = 0; i <= host.n; i++) {
		if (i < host.n && host.p[i] != '.') {
			if (!is_label(host.p[i]))
				return cl_fail(e, CL_E_INVALID,
				               "the host of an address is letters, digits, '-' and '.'");
			continue;
		}
		if (i == label || i - label > 63)
			return cl_fail(e, CL_E_INVALID, "the host of an address has an empty or too long part");
		if (i < host.n)
			label = i + 1;
	}
	*literal = false;
	if (!is_digit(host.p[label]))
		return 0;
	*literal = fits_address(AF_INET, host);
	return *literal ? 0 : cl_fail(e, CL_E_INVALID, "an IP address is written as four numbers, as in 192.0.2.7");
}

static int read_port(struct cl_str text, bool pattern, int *port, struct cl_err *e)
{
	int64_t value = 0;
	if (pattern && cl_str_is(text, "*")) {
		*port = ANY_PORT;
		return 0;
	}
	for (size_t i = 0; i < text.n && i < 6; i++)
		value = is_digit(text.p[i]) ? value * 10 + (text.p[i] - '0') : 100000;
	if (!text.n || text.n > 5 || value < 1 || value > 65535)
		return cl_fail(e, CL_E_INVALID, "the port of an address is a number from 1 to 65535");
	*port = (int)value;
	return 0;
}

/* Path and query: what RFC 3986 (section 3.3) allows in them, without dot segments. */
static int check_path(struct cl_str text, struct cl_err *e)
{
	static const char allowed[] = "-._~!$&'()*+,;=:@/?";
	size_t segment = 0;
	bool query = false;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		bool escape = c == '%' && i + 2 < text.n && is_hex(text.p[i + 1]) && is_hex(text.p[i + 2]);
		if (!escape && !is_label(c) && (!c || !strchr(allowed, c)))
			return cl_fail(e, CL_E_INVALID,
			               "an address has a character that must be written as %%XX, or a '#'");
		/* An escaped dot or slash is another one to the next reader. */
		if (escape && !query &&
		    ((text.p[i + 1] == '2' && strchr("eEfF", text.p[i + 2])) ||
		     (text.p[i + 1] == '5' && strchr("cC", text.p[i + 2]))))
			return cl_fail(e, CL_E_INVALID, "an address has an escaped dot or slash in its path");
		query |= c == '?';
		bool ends = i + 1 == text.n || text.p[i + 1] == '/' || text.p[i + 1] == '?';
		if (c == '/')
			segment = i + 1;
		else if (!query && ends && c == '.' && (i == segment || (i == segment + 1 && text.p[segment] == '.')))
			return cl_fail(e, CL_E_INVALID, "an address has '.' or '..' in its path");
	}
	return 0;
}

static int read_authority(struct cl_str text, bool pattern, struct cl_destination *out, struct cl_err *e)
{
	struct cl_str port = CL_STR_NONE;
	const char *end;
	if (memchr(text.p, '@', text.n))
		return cl_fail(e, CL_E_INVALID, "an address must not hold a user name; use a header");
	if (text.p[0] == '[') {
		end = memchr(text.p, ']', text.n);
		if (!end)
			return cl_fail(e, CL_E_INVALID, "an IP address of version 6 ends with ']'");
		out->host = (struct cl_str){text.p + 1, (size_t)(end - text.p) - 1};
		out->literal = true;
		if (!fits_address(AF_INET6, out->host))
			return cl_fail(e, CL_E_INVALID, "what stands in [] is no IP address of version 6");
		end++;
	} else {
		end = memchr(text.p, ':', text.n);
		if (!end)
			end = text.p + text.n;
		out->host = (struct cl_str){text.p, (size_t)(end - text.p)};
		struct cl_str name = out->host;
		if (pattern && cl_str_starts(name, "*."))
			name = (struct cl_str){name.p + 2, name.n - 2};
		if (!name.n || name.n > 253)
			return cl_fail(e, CL_E_INVALID, "an address needs a host");
		int code = read_name(name, &out->literal, e);
		if (code)
			return code;
	}
	size_t rest = text.n - (size_t)(end - text.p);
	if (!rest)
		return 0;
	if (*end != ':')
		return cl_fail(e, CL_E_INVALID, "what follows the host of an address is no port");
	port = (struct cl_str){end + 1, rest - 1};
	return read_port(port, pattern, &out->port, e);
}

static int read_any(struct cl_str url, bool pattern, struct cl_destination *out, struct cl_err *e)
{
	*out = (struct cl_destination){0};
	if (url.n > CL_DESTINATION_LONGEST)
		return cl_fail(e, CL_E_INVALID, "an address has at most %d characters", CL_DESTINATION_LONGEST);
	out->secure = cl_str_starts(url, "https://");
	if (!out->secure && !cl_str_starts(url, "http://"))
		return cl_fail(e, CL_E_INVALID, "an address begins with https://");
	out->port = out->secure ? 443 : 80;
	size_t begin = out->secure ? 8 : 7, end = begin;
	while (end < url.n && url.p[end] != '/' && url.p[end] != '?' && url.p[end] != '#')
		end++;
	if (end == begin)
		return cl_fail(e, CL_E_INVALID, "an address needs a host");
	int code = read_authority((struct cl_str){url.p + begin, end - begin}, pattern, out, e);
	struct cl_str rest = {url.p + end, url.n - end};
	if (!code)
		code = check_path(rest, e);
	if (code || !rest.n)
		return code;
	const char *mark = memchr(rest.p, '?', rest.n);
	out->path = (struct cl_str){rest.p, mark ? (size_t)(mark - rest.p) : rest.n};
	if (mark)
		out->query = (struct cl_str){mark + 1, rest.n - out->path.n - 1};
	return 0;
}

int cl_destination_read(struct cl_str url, struct cl_destination *out, struct cl_err *e)
{
	return read_any(url, false, out, e);
}

int cl_destination_check_pattern(struct cl_str pattern, struct cl_err *e)
{
	struct cl_destination out;
	int code = read_any(pattern, true, &out, e);
	if (!code && out.query.n)
		code = cl_fail(e, CL_E_INVALID, "the beginning of an address has no '?'");
	return code;
}

static bool same_name(struct cl_str a, struct cl_str b)
{
	return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

bool cl_destination_allowed(const struct cl_destination *destination, struct cl_str pattern)
{
	struct cl_destination allowed;
	if (read_any(pattern, true, &allowed, NULL) || allowed.secure != destination->secure ||
	    (allowed.port != ANY_PORT && allowed.port != destination->port))
		return false;
	struct cl_str host = destination->host, name = allowed.host;
	if (cl_str_starts(name, "*.")) {
		name = (struct cl_str){name.p + 1, name.n - 1};
		if (destination->literal || host.n <= name.n)
			return false;
		host = (struct cl_str){host.p + host.n - name.n, name.n};
	}
	if (!same_name(host, name))
		return false;
	struct cl_str path = allowed.path, given = destination->path;
	while (path.n && path.p[path.n - 1] == '/')
		path.n--;
	if (given.n < path.n || (path.n && memcmp(given.p, path.p, path.n)))
		return false;
	return given.n == path.n || given.p[path.n] == '/';
}

/* ---- inside or outside ---- */

static bool is_private_4(uint32_t address)
{
	/* RFC 6890, section 2.2.2, and multicast and what is above it. */
	static const struct {
		uint32_t network;
		int bits;
	} inside[] = {{0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},  {0xa9fe0000, 16},
	              {0xac100000, 12}, {0xc0000000, 24}, {0xc0000200, 24}, {0xc0a80000, 16}, {0xc6120000, 15},
	              {0xc6336400, 24}, {0xcb007100, 24}, {0xe0000000, 3}};
	for (size_t i = 0; i < sizeof inside / sizeof *inside; i++)
		if ((address ^ inside[i].network) >> (32 - inside[i].bits) == 0)
			return true;
	return false;
}

static bool is_private_6(const uint8_t bytes[16])
{
	static const uint8_t zero[12];
	uint32_t last = (uint32_t)bytes[12] << 24 | (uint32_t)bytes[13] << 16 | (uint32_t)bytes[14] << 8 | bytes[15];
	/* ::, ::1 and addresses of version 4 in version 6's clothes: ::a.b.c.d, ::ffff:a.b.c.d, 64:ff9b::a.b.c.d, 2002:aabb:ccdd:: */
	if (!memcmp(bytes, zero, 12))
		return last <= 1 || is_private_4(last);
	if (!memcmp(bytes, zero, 10) && bytes[10] == 0xff && bytes[11] == 0xff)
		return is_private_4(last);
	if (bytes[0] == 0 && bytes[1] == 0x64 && bytes[2] == 0xff && bytes[3] == 0x9b)
		return is_private_4(last);
	if (bytes[0] == 0x20 && bytes[1] == 0x02)
		return is_private_4((uint32_t)bytes[2] << 24 | (uint32_t)bytes[3] << 16 | (uint32_t)bytes[4] << 8 |
		                    bytes[5]);
	/* Only 2000::/3 is given out to hosts; of it 2001:db8::/32 is for books, 2001::/32 tunnels. */
	if ((bytes[0] & 0xe0) != 0x20)
		return true;
	return bytes[0] == 0x20 && bytes[1] == 0x01 &&
	       ((bytes[2] == 0x0d && bytes[3] == 0xb8) || (bytes[2] == 0 && bytes[3] == 0));
}

bool cl_address_is_private(const struct sockaddr *address)
{
	if (address->sa_family == AF_INET) {
		struct sockaddr_in four;
		memcpy(&four, address, sizeof four);
		return is_private_4(ntohl(four.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6) {
		struct sockaddr_in6 six;
		memcpy(&six, address, sizeof six);
		return is_private_6(six.sin6_addr.s6_addr);
	}
	return true;
}

static bool ends_with(struct cl_str text, const char *end)
{
	size_t n = strlen(end);
	return text.n >= n && same_name((struct cl_str){text.p + text.n - n, n}, (struct cl_str){end, n});
}

bool cl_destination_is_private(const struct cl_destination *destination)
{
	char copy[64];
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	struct cl_str host = destination->host;
	if (!destination->literal)
		return same_name(host, CL_STR("localhost")) || ends_with(host, ".localhost") ||
		       ends_with(host, ".local") || ends_with(host, ".internal") || !memchr(host.p, '.', host.n);
	if (host.n >= sizeof copy)
		return true;
	memcpy(copy, host.p, host.n);
	copy[host.n] = 0;
	if (inet_pton(AF_INET, copy, &four.sin_addr) == 1)
		return cl_address_is_private((struct sockaddr *)&four);
	return inet_pton(AF_INET6, copy, &six.sin6_addr) != 1 || cl_address_is_private((struct sockaddr *)&six);
}

struct cl_str cl_destination_origin(struct cl_arena *arena, const struct cl_destination *destination)
{
	bool six = destination->literal && memchr(destination->host.p, ':', destination->host.n);
	struct cl_str text =
	        cl_arena_printf(arena, "%s://%s%.*s%s:%d", destination->secure ? "https" : "http", six ? "[" : "",
	                        CL_STR_ARGS(destination->host), six ? "]" : "", destination->port);
	char *p = cl_arena_cstring(arena, text);
	for (size_t i = 0; i < text.n; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			p[i] = (char)(p[i] + 32);
	return (struct cl_str){p, text.n};
}
