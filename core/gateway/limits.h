/* limits.h: what one gateway process will hold at once. Counters only: who asks first gets, who asks too late is refused at
 * once, nothing waits here. Single-threaded. */
#pragma once
#include "base/clock.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct cl_limits_settings {
	uint32_t connections;
	uint32_t connections_per_address; /* IPv6 addresses count by their /64 */
	uint32_t in_flight; /* requests under way to organizations; open streams do not count */
	uint32_t handshakes_per_second; /* also the burst */
	size_t held; /* bytes of request bodies, and of large answers not yet read by their clients */
};

struct cl_limits;

/* Never NULL. Settings may be changed later with cl_limits_set; what is over a lower limit then runs out by itself. */
struct cl_limits *cl_limits_new(const struct cl_limits_settings *settings);
void cl_limits_free(struct cl_limits *limits);
void cl_limits_set(struct cl_limits *limits, const struct cl_limits_settings *settings);

/* Counts a connection from that address, or says no. Each yes is given back with cl_limits_disconnect. */
bool cl_limits_connect(struct cl_limits *limits, const struct sockaddr *address);
void cl_limits_disconnect(struct cl_limits *limits, const struct sockaddr *address);
/* Takes one handshake from the allowance. How long none may follow, in microseconds. `now` is monotonic. */
int64_t cl_limits_handshake(struct cl_limits *limits, int64_t now);

bool cl_limits_begin(struct cl_limits *limits);
void cl_limits_end(struct cl_limits *limits);
/* Counts bytes in memory, or says no. Each yes is given back with cl_limits_release. */
bool cl_limits_hold(struct cl_limits *limits, size_t bytes);
void cl_limits_release(struct cl_limits *limits, size_t bytes);
/* Counts bytes that are there already, whatever the limit. */
void cl_limits_force(struct cl_limits *limits, size_t bytes);

uint32_t cl_limits_connections(const struct cl_limits *limits);
uint32_t cl_limits_in_flight(const struct cl_limits *limits);
size_t cl_limits_held(const struct cl_limits *limits);
/* Connections and requests refused so far. */
uint64_t cl_limits_refused(const struct cl_limits *limits);
