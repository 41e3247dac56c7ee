/* throttle.c: a leaky bucket for each address that failed, in a table of fixed size. */
#include "org/engine/throttle.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/id.h"
#include <arpa/inet.h>
#include <stdlib.h>

#define SETS 256
#define WAYS 8 /* addresses that share a set; the one that failed longest ago makes room */

struct bucket {
	uint64_t address; /* hash; 0 = free */
	cl_instant empty; /* when all its failures are forgotten */
};

struct cl_throttle {
	uint8_t key[32]; /* so that nobody can choose addresses that push others out */
	struct bucket buckets[SETS][WAYS];
};

struct cl_throttle *cl_throttle_new(void)
{
	struct cl_throttle *throttle = calloc(1, sizeof *throttle);
	if (!throttle)
		cl_die("out of memory (throttle)");
	cl_random(throttle->key, sizeof throttle->key);
	return throttle;
}

void cl_throttle_free(struct cl_throttle *throttle)
{
	free(throttle);
}

static uint64_t hash_of(const struct cl_throttle *throttle, struct cl_str address)
{
	uint8_t hash[CL_SHA256_SIZE];
	struct in6_addr binary;
	char text[INET6_ADDRSTRLEN];
	uint64_t number;
	if (address.n < sizeof text) {
		memcpy(text, address.p ? address.p : "", address.n);
		text[address.n] = 0;
		if (inet_pton(AF_INET6, text, &binary) == 1 && !IN6_IS_ADDR_V4MAPPED(&binary))
			address = (struct cl_str){(const char *)binary.s6_addr, 8};
	}
	cl_hmac_sha256(throttle->key, sizeof throttle->key, address, hash);
	memcpy(&number, hash, sizeof number);
	return number ? number : 1;
}

unsigned cl_throttle_wait(const struct cl_throttle *throttle, struct cl_str address, cl_instant now)
{
	uint64_t hash = hash_of(throttle, address);
	const struct bucket *set = throttle->buckets[hash % SETS];
	for (size_t i = 0; i < WAYS; i++) {
		cl_instant full = set[i].empty - CL_THROTTLE_BURST * CL_THROTTLE_FORGET;
		if (set[i].address == hash && full >= now)
			return (unsigned)((full - now) / CL_SECOND) + 1;
	}
	return 0;
}

void cl_throttle_failed(struct cl_throttle *throttle, struct cl_str address, cl_instant now)
{
	uint64_t hash = hash_of(throttle, address);
	struct bucket *set = throttle->buckets[hash % SETS], *place = set;
	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].address == hash) {
			place = &set[i];
			break;
		}
		if (set[i].empty < place->empty)
			place = &set[i];
	}
	if (place->address != hash)
		*place = (struct bucket){.address = hash};
	place->empty = (place->empty > now ? place->empty : now) + CL_THROTTLE_FORGET;
}
