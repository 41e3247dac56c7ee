/* limits.c: counters, a hash table of addresses, a token bucket. */
#include "gateway/limits.h"
#include "base/error.h"
#include "base/id.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096 /* chains stay short: 10,000 connections at most, usually from few addresses */

struct peer {
	struct peer *next;
	uint8_t key[8]; /* IPv4 address, or the first half of an IPv6 one */
	uint8_t family;
	uint32_t count;
};

struct cl_limits {
	struct cl_limits_settings settings;
	uint32_t connections, in_flight;
	size_t held;
	uint64_t refused;
	int64_t allowance; /* handshakes, in millionths */
	int64_t refilled; /* monotonic */
	uint64_t secret; /* so that nobody can choose addresses that share a chain */
	struct peer *peers[BUCKETS];
};

struct cl_limits *cl_limits_new(const struct cl_limits_settings *settings)
{
	struct cl_limits *limits = calloc(1, sizeof *limits);
	if (!limits)
		cl_die("out of memory (limits)");
	limits->settings = *settings;
	cl_random(&limits->secret, sizeof limits->secret);
	return limits;
}

void cl_limits_free(struct cl_limits *limits)
{
	if (!limits)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		while (limits->peers[i]) {
			struct peer *next = limits->peers[i]->next;
			free(limits->peers[i]);
			limits->peers[i] = next;
		}
	free(limits);
}

void cl_limits_set(struct cl_limits *limits, const struct cl_limits_settings *settings)
{
	limits->settings = *settings;
}

static void key_of(const struct sockaddr *address, struct peer *key)
{
	*key = (struct peer){0};
	if (address->sa_family == AF_INET) {
		memcpy(key->key, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
		key->family = 4;
		return;
	}
	const struct in6_addr *long_address = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
	bool mapped = IN6_IS_ADDR_V4MAPPED(long_address);
	memcpy(key->key, long_address->s6_addr + (mapped ? 12 : 0), mapped ? 4 : 8);
	key->family = mapped ? 4 : 6;
}

/* Where the entry is linked, or where a new one would be. */
static struct peer **find(struct cl_limits *limits, const struct peer *key)
{
	uint64_t hash = limits->secret ^ key->family;
	for (size_t i = 0; i < sizeof key->key; i++)
		hash = (hash ^ key->key[i]) * 0x100000001b3;
	struct peer **link = &limits->peers[(hash ^ hash >> 32) % BUCKETS];
	while (*link && ((*link)->family != key->family || memcmp((*link)->key, key->key, sizeof key->key) != 0))
		link = &(*link)->next;
	return link;
}

bool cl_limits_connect(struct cl_limits *limits, const struct sockaddr *address)
{
	struct peer key;
	key_of(address, &key);
	struct peer **link = find(limits, &key);
	if (limits->connections >= limits->settings.connections ||
	    (*link && (*link)->count >= limits->settings.connections_per_address)) {
		limits->refused++;
		return false;
	}
	if (!*link) {
		struct peer *made = malloc(sizeof *made);
		if (!made)
			cl_die("out of memory (limits)");
		*made = key;
		*link = made;
	}
	(*link)->count++;
	limits->connections++;
	return true;
}

void cl_limits_disconnect(struct cl_limits *limits, const struct sockaddr *address)
{
	struct peer key;
	key_of(address, &key);
	struct peer **link = find(limits, &key), *peer = *link;
	if (!peer)
		cl_die("a connection was given back that was never counted");
	limits->connections--;
	if (--peer->count == 0) {
		*link = peer->next;
		free(peer);
	}
}

int64_t cl_limits_handshake(struct cl_limits *limits, int64_t now)
{
	int64_t rate = limits->settings.handshakes_per_second, full = rate * CL_SECOND;
	int64_t passed = limits->refilled ? now - limits->refilled : 2 * CL_SECOND;
	limits->refilled = now;
	limits->allowance = passed >= 2 * CL_SECOND ? full : limits->allowance + passed * rate;
	if (limits->allowance > full)
		limits->allowance = full;
	limits->allowance -= CL_SECOND;
	return limits->allowance >= 0 ? 0 : -limits->allowance / rate + 1;
}

bool cl_limits_begin(struct cl_limits *limits)
{
	if (limits->in_flight >= limits->settings.in_flight) {
		limits->refused++;
		return false;
	}
	limits->in_flight++;
	return true;
}

void cl_limits_end(struct cl_limits *limits)
{
	limits->in_flight--;
}

bool cl_limits_hold(struct cl_limits *limits, size_t bytes)
{
	if (bytes > limits->settings.held || limits->held > limits->settings.held - bytes) {
		limits->refused++;
		return false;
	}
	limits->held += bytes;
	return true;
}

void cl_limits_force(struct cl_limits *limits, size_t bytes)
{
	limits->held += bytes;
}

void cl_limits_release(struct cl_limits *limits, size_t bytes)
{
	limits->held -= bytes;
}

uint32_t cl_limits_connections(const struct cl_limits *limits)
{
	return limits->connections;
}

uint32_t cl_limits_in_flight(const struct cl_limits *limits)
{
	return limits->in_flight;
}

size_t cl_limits_held(const struct cl_limits *limits)
{
	return limits->held;
}

uint64_t cl_limits_refused(const struct cl_limits *limits)
{
	return limits->refused;
}
