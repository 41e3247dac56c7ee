/* route.c: names to organizations. */
#include "gateway/route.h"
#include <arpa/inet.h>
#include <stdlib.h>

struct entry {
	struct cl_str name;
	struct cl_organization *organization;
};

struct cl_router {
	struct cl_str domain;
	struct entry *hosts, *ids; /* sorted by name */
	size_t host_count, id_count;
	struct cl_arena *arena;
};

enum host_kind { HOST_ORGANIZATION, HOST_BARE, HOST_UNKNOWN, HOST_FOREIGN };

struct host {
	enum host_kind kind;
	struct cl_organization *organization;
};

static int compare_entries(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;
	return cl_str_compare(left->name, right->name);
}

struct cl_router *cl_router_new(const struct cl_settings *settings, struct cl_organization *const *organizations)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_router *router = CL_NEW(arena, struct cl_router);
	size_t names = 0;
	for (size_t i = 0; i < settings->organization_count; i++)
		names += 1 + settings->organizations[i].host_count;
	router->arena = arena;
	router->domain = settings->domain;
	router->hosts = CL_NEW_ARRAY(arena, struct entry, names);
	router->ids = CL_NEW_ARRAY(arena, struct entry, settings->organization_count);
	for (size_t i = 0; i < settings->organization_count; i++) {
		const struct cl_organization_settings *one = &settings->organizations[i];
		struct cl_str host =
		        cl_arena_printf(arena, "%.*s.%.*s", CL_STR_ARGS(one->id), CL_STR_ARGS(settings->domain));
		router->ids[router->id_count++] = (struct entry){one->id, organizations[i]};
		router->hosts[router->host_count++] = (struct entry){host, organizations[i]};
		for (size_t j = 0; j < one->host_count; j++)
			router->hosts[router->host_count++] = (struct entry){one->hosts[j], organizations[i]};
	}
	if (router->host_count)
		qsort(router->hosts, router->host_count, sizeof *router->hosts, compare_entries);
	if (router->id_count)
		qsort(router->ids, router->id_count, sizeof *router->ids, compare_entries);
	return router;
}

void cl_router_free(struct cl_router *router)
{
	if (router)
		cl_arena_free(router->arena);
}

static struct cl_organization *find(const struct entry *entries, size_t count, struct cl_str name)
{
	struct entry wanted = {name, NULL};
	const struct entry *found = count ? bsearch(&wanted, entries, count, sizeof wanted, compare_entries) : NULL;
	return found ? found->organization : NULL;
}

/* Of "name:port" or "[address]:port" the name or the address. */
static struct cl_str without_port(struct cl_str host)
{
	if (host.n && host.p[0] == '[') {
		const char *end = memchr(host.p, ']', host.n);
		return (struct cl_str){host.p + 1, end ? (size_t)(end - host.p) - 1 : host.n - 1};
	}
	const char *colon = host.n ? memchr(host.p, ':', host.n) : NULL;
	return (struct cl_str){host.p, colon ? (size_t)(colon - host.p) : host.n};
}

static bool is_address(struct cl_str name)
{
	char text[64];
	unsigned char binary[sizeof(struct in6_addr)];
	if (name.n >= sizeof text || name.n == 0)
		return false;
	memcpy(text, name.p, name.n);
	text[name.n] = 0;
	return inet_pton(AF_INET, text, binary) == 1 || inet_pton(AF_INET6, text, binary) == 1;
}

static struct host classify(const struct cl_router *router, struct cl_str name)
{
	struct cl_organization *organization = find(router->hosts, router->host_count, name);
	if (organization)
		return (struct host){HOST_ORGANIZATION, organization};
	if (name.n == 0 || cl_str_equal(name, router->domain) || cl_str_is(name, "localhost") || is_address(name))
		return (struct host){HOST_BARE, NULL};
	struct cl_str domain = router->domain;
	bool below = name.n > domain.n + 1 && name.p[name.n - domain.n - 1] == '.' &&
	             memcmp(name.p + name.n - domain.n, domain.p, domain.n) == 0;
	return (struct host){below ? HOST_UNKNOWN : HOST_FOREIGN, NULL};
}

/* Length of "." in one of its spellings at the start, or 0. */
static size_t dot(const char *p, size_t n)
{
	if (n >= 1 && p[0] == '.')
		return 1;
	return n >= 3 && p[0] == '%' && p[1] == '2' && (p[2] | 0x20) == 'e' ? 3 : 0;
}

/* Whether a segment is "." or "..": readers differ in what they make of these. */
static bool has_dot_segment(struct cl_str path)
{
	const char *at = path.p, *end = path.p + path.n;
	while (at < end) {
		at++; /* the slash */
		const char *slash = memchr(at, '/', (size_t)(end - at));
		const char *stop = slash ? slash : end, *p = at;
		size_t n;
		int dots = 0;
		while (dots < 3 && (n = dot(p, (size_t)(stop - p))) > 0)
			p += n, dots++;
		if (p == stop && (dots == 1 || dots == 2))
			return true;
		at = stop;
	}
	return false;
}

static void refuse(struct cl_route *out, int status, const char *reason)
{
	out->kind = CL_ROUTE_REFUSED;
	out->status = status;
	out->reason = reason;
}

void cl_route(const struct cl_router *router, const struct cl_http_request *request, struct cl_str server_name,
              struct cl_route *out)
{
	struct cl_str target = request->target;
	const char *query = memchr(target.p, '?', target.n);
	struct cl_str path = {target.p, query ? (size_t)(query - target.p) : target.n};
	*out = (struct cl_route){.target = target, .host = request->host};
	if (out->host.n == 0)
		out->host = server_name.n ? server_name : router->domain;
	if (cl_str_is(path, "/healthz") || cl_str_is(path, "/readyz")) {
		out->kind = path.p[1] == 'h' ? CL_ROUTE_HEALTH : CL_ROUTE_READY;
		return;
	}
	if (memchr(path.p, '.', path.n) || memchr(path.p, '%', path.n))
		if (has_dot_segment(path)) {
			refuse(out, 400, "the path has . or .. as a segment");
			return;
		}

	struct host host = classify(router, without_port(out->host));
	struct host asked = server_name.n ? classify(router, server_name) : host;
	if (host.kind == HOST_FOREIGN || (asked.kind == HOST_ORGANIZATION && asked.organization != host.organization)) {
		refuse(out, 421, "this server does not answer for that host name on this connection");
		return;
	}
	if (host.kind == HOST_UNKNOWN) {
		refuse(out, 404, "no organization of that name is served here");
		return;
	}

	const char *slash = memchr(path.p + 1, '/', path.n - 1);
	struct cl_str segment = {path.p + 1, (slash ? (size_t)(slash - path.p) : path.n) - 1};
	struct cl_organization *named = find(router->ids, router->id_count, segment);
	if (host.kind == HOST_ORGANIZATION && named && named != host.organization) {
		refuse(out, 421, "host name and path name two different organizations");
		return;
	}
	if (named) {
		out->alias = segment;
		out->organization = named;
		out->target.p += 1 + segment.n;
		out->target.n -= 1 + segment.n;
		if (out->target.n == 0)
			out->target = CL_STR("/");
		if (out->target.p[0] != '/' || cl_str_starts(out->target, "//")) {
			refuse(out, 400, "one slash must follow the organization's name");
			return;
		}
	} else if (host.kind == HOST_BARE) {
		refuse(out, 404, "the path names no organization that is served here");
		return;
	} else {
		out->organization = host.organization;
		if (cl_str_is(segment, "board")) {
			out->kind = CL_ROUTE_BOARD;
			out->target = (struct cl_str){path.p + 6, path.n - 6};
			return;
		}
	}
	out->kind = CL_ROUTE_ORGANIZATION;
}
