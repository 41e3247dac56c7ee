/* settings.c: reads the tree that the configuration file gives. */
#include "gateway/settings.h"
#include "base/config.h"
#include "wire/frame.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct reading {
	struct cl_arena *arena;
	struct cl_str folder; /* of the configuration file, with its slash; may be empty */
	const char *file;
	struct cl_err *e;
};

static int refuse(const struct reading *reading, const char *where, const char *what)
{
	int code = cl_fail(reading->e, CL_E_INVALID, "%s", what);
	cl_fail_at(reading->e, "%s: %s", reading->file, where);
	return code;
}

static int only(const struct reading *reading, const struct cl_json *object, const char *where,
                const char *const *names)
{
	if (!object)
		return 0;
	if (object->kind == CL_JSON_ARRAY && object->count == 0)
		return 0; /* an empty Lua table */
	if (object->kind != CL_JSON_OBJECT)
		return refuse(reading, where, "must be a table with names");
	for (uint32_t i = 0; i < object->count; i++) {
		const char *const *name = names;
		while (*name && !cl_str_is(object->members[i].name, *name))
			name++;
		if (*name)
			continue;
		char place[160];
		snprintf(place, sizeof place, "%s.%.*s", where, CL_STR_ARGS(object->members[i].name));
		return refuse(reading, place,
		              "is no known setting; look at config/careloop.lua for those that there are");
	}
	return 0;
}

static int number(const struct reading *reading, const struct cl_json *object, const char *table, const char *name,
                  int64_t least, int64_t most, int64_t *value)
{
	const struct cl_json *found = cl_json_get(object, name);
	if (!found)
		return 0;
	char place[96], problem[120];
	if (cl_json_integer(found, value) && *value >= least && *value <= most)
		return 0;
	snprintf(place, sizeof place, "%s.%s", table, name);
	snprintf(problem, sizeof problem, "must be a whole number from %lld to %lld", (long long)least,
	         (long long)most);
	return refuse(reading, place, problem);
}

static struct cl_str path(const struct reading *reading, struct cl_str name)
{
	if (name.n == 0)
		return CL_STR_NONE;
	if (name.p[0] == '/')
		return cl_arena_copy(reading->arena, name);
	return cl_arena_printf(reading->arena, "%.*s%.*s", CL_STR_ARGS(reading->folder), CL_STR_ARGS(name));
}

static uint32_t length(const struct cl_json *array)
{
	return array && array->kind == CL_JSON_ARRAY ? array->count : 0;
}

static int read_listeners(const struct reading *reading, const struct cl_json *root, struct cl_settings *out)
{
	static const char *const names[] = {"address", "port", "client_certificates", NULL};
	const struct cl_json *array = cl_json_get(root, "listen");
	out->listen_count = length(array);
	if (out->listen_count == 0)
		return refuse(
		        reading, "listen",
		        "must be a list with one listener at least: { { address = \"127.0.0.1\", port = 8443 } }");
	out->listen = CL_NEW_ARRAY(reading->arena, struct cl_listen_settings, out->listen_count);
	for (uint32_t i = 0; i < out->listen_count; i++) {
		const struct cl_json *item = &array->items[i];
		int64_t port = 8443;
		unsigned char binary[sizeof(struct in6_addr)];
		if (only(reading, item, "listen", names) || number(reading, item, "listen", "port", 0, 65535, &port))
			return CL_E_INVALID;
		struct cl_listen_settings *listen = &out->listen[i];
		listen->port = (uint16_t)port;
		listen->address = cl_json_get_text(item, "address");
		if (listen->address.n == 0)
			listen->address = CL_STR("127.0.0.1");
		listen->address = cl_arena_copy(reading->arena, listen->address);
		if (inet_pton(AF_INET, listen->address.p, binary) != 1 &&
		    inet_pton(AF_INET6, listen->address.p, binary) != 1)
			return refuse(reading, "listen.address",
			              "must be a numeric address such as 127.0.0.1, 0.0.0.0 or ::");
		struct cl_str ask = cl_json_get_text(item, "client_certificates");
		listen->ask_certificate = ask.n == 0 || cl_str_is(ask, "optional");
		if (!listen->ask_certificate && !cl_str_is(ask, "none"))
			return refuse(reading, "listen.client_certificates", "must be \"optional\" or \"none\"");
	}
	return 0;
}

static int read_certificate(const struct reading *reading, const struct cl_json *item,
                            struct cl_certificate_settings *out)
{
	out->certificate = path(reading, cl_json_get_text(item, "certificate"));
	out->key = path(reading, cl_json_get_text(item, "key"));
	if (out->certificate.n && out->key.n)
		return 0;
	return refuse(reading, "tls",
	              "needs certificate = \"file.pem\" and key = \"file.pem\"; nothing is served without TLS");
}

static int read_tls(const struct reading *reading, const struct cl_json *root, struct cl_settings *out)
{
	static const char *const names[] = {"certificate", "key", "client_authorities", "crl", "certificates", NULL};
	static const char *const pair[] = {"certificate", "key", NULL};
	const struct cl_json *tls = cl_json_get(root, "tls"), *more = cl_json_get(tls, "certificates");
	const struct cl_json *authorities = cl_json_get(tls, "client_authorities");
	if (only(reading, tls, "tls", names))
		return CL_E_INVALID;
	out->certificate_count = 1 + length(more);
	out->certificates = CL_NEW_ARRAY(reading->arena, struct cl_certificate_settings, out->certificate_count);
	if (read_certificate(reading, tls, &out->certificates[0]))
		return CL_E_INVALID;
	for (uint32_t i = 0; i < length(more); i++)
		if (only(reading, &more->items[i], "tls.certificates", pair) ||
		    read_certificate(reading, &more->items[i], &out->certificates[1 + i]))
			return CL_E_INVALID;
	out->authority_count = length(authorities);
	out->authorities = CL_NEW_ARRAY(reading->arena, struct cl_str, out->authority_count);
	for (uint32_t i = 0; i < out->authority_count; i++)
		out->authorities[i] = path(reading, cl_json_text(&authorities->items[i]));
	out->crl = path(reading, cl_json_get_text(tls, "crl"));
	return 0;
}

bool cl_organization_id_good(struct cl_str id)
{
	static const char *const taken[] = {"board", "fhir", "healthz", "oauth2", "readyz"};
	if (id.n == 0 || id.n > 63 || id.p[0] == '-')
		return false;
	for (size_t i = 0; i < id.n; i++) {
		char c = id.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
			return false;
	}
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		if (cl_str_is(id, taken[i]))
			return false;
	return true;
}

static struct cl_str lower_case(struct cl_arena *arena, struct cl_str text)
{
	char *copy = cl_arena_cstring(arena, text);
	for (size_t i = 0; i < text.n; i++)
		if (copy[i] >= 'A' && copy[i] <= 'Z')
			copy[i] = (char)(copy[i] + ('a' - 'A'));
	return (struct cl_str){copy, text.n};
}

static int read_organization(const struct reading *reading, struct cl_str id, const struct cl_json *item,
                             struct cl_str data, struct cl_organization_settings *out)
{
	const struct cl_json *hosts = cl_json_get(item, "hosts");
	if (!cl_organization_id_good(id)) {
		char place[120];
		snprintf(place, sizeof place, "organizations: \"%.*s\"", CL_STR_ARGS(id));
		return refuse(reading, place,
		              "an organization's id has lower-case letters, digits and hyphens, and is not "
		              "board, fhir, healthz, oauth2 or readyz");
	}
	out->id = cl_arena_copy(reading->arena, id);
	out->socket = cl_arena_printf(reading->arena, "%.*s/run/%.*s.sock", CL_STR_ARGS(data), CL_STR_ARGS(id));
	out->host_count = length(hosts);
	out->hosts = CL_NEW_ARRAY(reading->arena, struct cl_str, out->host_count);
	for (uint32_t i = 0; i < out->host_count; i++)
		out->hosts[i] = lower_case(reading->arena, cl_json_text(&hosts->items[i]));
	return 0;
}

/* The ids that the folder's files name. They are few: read twice, counted first. */
static int read_folder(const struct reading *reading, struct cl_str folder, struct cl_str data, struct cl_settings *out)
{
	DIR *listing = opendir(folder.p);
	if (!listing)
		return refuse(reading, "organizations_folder", strerror(errno));
	size_t room = 0;
	while (readdir(listing))
		room++;
	rewinddir(listing);
	out->organizations = CL_NEW_ARRAY(reading->arena, struct cl_organization_settings, room);
	int code = 0;
	const struct dirent *entry;
	while (!code && (entry = readdir(listing)) && out->organization_count < room) {
		struct cl_str name = cl_str_of(entry->d_name);
		if (name.n > 4 && name.p[0] != '.' && strcmp(name.p + name.n - 4, ".lua") == 0)
			code = read_organization(reading, (struct cl_str){name.p, name.n - 4}, NULL, data,
			                         &out->organizations[out->organization_count++]);
	}
	closedir(listing);
	return code;
}

static int compare_ids(const void *a, const void *b)
{
	const struct cl_organization_settings *left = a, *right = b;
	return cl_str_compare(left->id, right->id);
}

static int compare_texts(const void *a, const void *b)
{
	const struct cl_str *left = a, *right = b;
	return cl_str_compare(*left, *right);
}

/* No host name may stand for two organizations. Also finds an id that is there twice: it gives the same host name. */
static int check_hosts(const struct reading *reading, const struct cl_settings *out)
{
	size_t count = 0;
	for (size_t i = 0; i < out->organization_count; i++)
		count += 1 + out->organizations[i].host_count;
	struct cl_str *names = CL_NEW_ARRAY(reading->arena, struct cl_str, count);
	count = 0;
	for (size_t i = 0; i < out->organization_count; i++) {
		const struct cl_organization_settings *one = &out->organizations[i];
		names[count++] =
		        cl_arena_printf(reading->arena, "%.*s.%.*s", CL_STR_ARGS(one->id), CL_STR_ARGS(out->domain));
		for (size_t j = 0; j < one->host_count; j++)
			names[count++] = one->hosts[j];
	}
	if (count)
		qsort(names, count, sizeof *names, compare_texts);
	for (size_t i = 1; i < count; i++)
		if (cl_str_equal(names[i - 1], names[i])) {
			char place[300];
			snprintf(place, sizeof place, "organizations: %.*s", CL_STR_ARGS(names[i]));
			return refuse(reading, place,
			              "this name is there twice; it must say which organization is meant");
		}
	return 0;
}

static int read_organizations(const struct reading *reading, const struct cl_json *root, struct cl_settings *out)
{
	const struct cl_json *array = cl_json_get(root, "organizations");
	struct cl_str data = path(reading, cl_json_get_text(root, "data"));
	struct cl_str folder = path(reading, cl_json_get_text(root, "organizations_folder"));
	if (data.n == 0)
		return refuse(reading, "data", "must be the path of the data folder");
	int code = 0;
	if (array) {
		out->organizations = CL_NEW_ARRAY(reading->arena, struct cl_organization_settings, length(array));
		for (uint32_t i = 0; !code && i < length(array); i++) {
			const struct cl_json *item = &array->items[i];
			struct cl_str id =
			        item->kind == CL_JSON_OBJECT ? cl_json_get_text(item, "id") : cl_json_text(item);
			code = read_organization(reading, id, item, data,
			                         &out->organizations[out->organization_count++]);
		}
	} else if (folder.n) {
		code = read_folder(reading, folder, data, out);
	} else {
		return refuse(reading, "organizations", "name them here, or give organizations_folder");
	}
	if (code)
		return code;
	if (out->organization_count)
		qsort(out->organizations, out->organization_count, sizeof *out->organizations, compare_ids);
	return check_hosts(reading, out);
}

static int read_limits(const struct reading *reading, const struct cl_json *root, struct cl_settings *out)
{
	static const char *const names[] = {"body",
	                                    "connections",
	                                    "connections_per_address",
	                                    "in_flight",
	                                    "in_flight_per_organization",
	                                    "handshakes_per_second",
	                                    "held",
	                                    NULL};
	static const char *const times[] = {"handshake", "head", "idle", "body", "request", NULL};
	const struct cl_json *limits = cl_json_get(root, "limits"), *timeouts = cl_json_get(root, "timeouts");
	int64_t body = CL_BODY_MAX, connections = 10000, per_address = 256, in_flight = 2048, per_organization = 1024,
	        handshakes = 1000, held = 256 << 20;
	if (only(reading, limits, "limits", names) || only(reading, timeouts, "timeouts", times) ||
	    number(reading, limits, "limits", "body", 1, CL_BODY_MAX, &body) ||
	    number(reading, limits, "limits", "connections", 1, 1000000, &connections) ||
	    number(reading, limits, "limits", "connections_per_address", 1, 1000000, &per_address) ||
	    number(reading, limits, "limits", "in_flight", 1, 1000000, &in_flight) ||
	    number(reading, limits, "limits", "in_flight_per_organization", 1, 1000000, &per_organization) ||
	    number(reading, limits, "limits", "handshakes_per_second", 1, 1000000, &handshakes) ||
	    number(reading, limits, "limits", "held", 1, (int64_t)1 << 40, &held))
		return CL_E_INVALID;
	out->body_limit = (size_t)body;
	out->limits = (struct cl_limits_settings){.connections = (uint32_t)connections,
	                                          .connections_per_address = (uint32_t)per_address,
	                                          .in_flight = (uint32_t)in_flight,
	                                          .handshakes_per_second = (uint32_t)handshakes,
	                                          .held = (size_t)held};
	out->in_flight_per_organization = (uint32_t)per_organization;
	struct {
		const char *name;
		int64_t seconds, *out;
	} each[] = {{"handshake", 5, &out->timeouts.handshake},
	            {"head", 10, &out->timeouts.head},
	            {"idle", 75, &out->timeouts.idle},
	            {"body", 300, &out->timeouts.body},
	            {"request", 30, &out->timeouts.request}};
	for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
		if (number(reading, timeouts, "timeouts", each[i].name, 1, 3600, &each[i].seconds))
			return CL_E_INVALID;
		*each[i].out = each[i].seconds * CL_SECOND;
	}
	return 0;
}

int cl_settings_load(struct cl_arena *arena, const char *file, struct cl_settings *out, struct cl_err *e)
{
	struct cl_json *root;
	int code = cl_config_load(arena, file, &root, e);
	if (code)
		return code;
	const char *slash = strrchr(file, '/');
	struct reading reading = {arena, {file, slash ? (size_t)(slash - file) + 1 : 0}, file, e};
	*out = (struct cl_settings){0};
	out->domain = lower_case(arena, cl_json_get_text(root, "domain"));
	if (out->domain.n == 0)
		out->domain = CL_STR("localhost");
	out->board = path(&reading, cl_json_get_text(root, "board"));
	out->log = CL_LOG_INFO;
	if (cl_json_get(root, "log") && !cl_log_level_of(cl_json_get_text(root, "log"), &out->log))
		return refuse(&reading, "log", "must be debug, info, warning or error");
	if (read_listeners(&reading, root, out) || read_tls(&reading, root, out) ||
	    read_organizations(&reading, root, out) || read_limits(&reading, root, out))
		return CL_E_INVALID;
	return 0;
}
