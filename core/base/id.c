/* id.c: random and derived identifiers. */
#include "base/id.h"
#include "base/error.h"
#include "base/hash.h"
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

static pthread_once_t started = PTHREAD_ONCE_INIT;

static void start(void)
{
	if (sodium_init() < 0)
		cl_die("libsodium cannot start");
}

void cl_random(void *out, size_t n)
{
	pthread_once(&started, start);
	randombytes_buf(out, n);
}

/* 2 zero bits, then 48 of time and 80 of `low`, in 26 characters of 5 bits. Text order is the order of the numbers. */
static void write_id(cl_instant now, const uint8_t low[10], char out[27])
{
	static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint64_t milliseconds = now < 0 ? 0 : (uint64_t)now / 1000;
	uint8_t bytes[16];

	for (int i = 0; i < 6; i++)
		bytes[i] = (uint8_t)(milliseconds >> (40 - 8 * i));
	memcpy(bytes + 6, low, 10);
	uint32_t bits = 0;
	unsigned held = 2;
	size_t written = 0;
	for (size_t i = 0; i < sizeof bytes; i++) {
		bits = bits << 8 | bytes[i];
		held += 8;
		while (held >= 5) {
			held -= 5;
			out[written++] = alphabet[bits >> held & 31];
		}
	}
	out[26] = 0;
}

void cl_id_new(cl_instant now, char out[27])
{
	uint8_t low[10];
	cl_random(low, sizeof low);
	write_id(now, low, out);
}

void cl_id_derive(const uint8_t secret[32], cl_instant now, struct cl_str event, struct cl_str key, uint32_t ordinal,
                  char out[27])
{
	/* Four bytes of ordinal at the end and an event without NUL keep the three parts apart whatever the key
	 * holds. */
	uint8_t small[256], *input = small, mac[CL_SHA256_SIZE];
	size_t n = event.n + key.n + 6;
	if (n > sizeof small && !(input = malloc(n)))
		cl_die("out of memory (id)");
	uint8_t *p = input;
	if (event.n)
		memcpy(p, event.p, event.n);
	p += event.n;
	*p++ = 0;
	if (key.n)
		memcpy(p, key.p, key.n);
	p += key.n;
	*p++ = 0;
	for (int shift = 24; shift >= 0; shift -= 8)
		*p++ = (uint8_t)(ordinal >> shift);
	cl_hmac_sha256(secret, 32, (struct cl_str){(const char *)input, n}, mac);
	if (input != small)
		free(input);
	write_id(now, mac, out);
}

bool cl_is_fhir_id(struct cl_str text)
{
	if (text.n < 1 || text.n > 64)
		return false;
	for (size_t i = 0; i < text.n; i++) {
		char c = text.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
		      c == '.'))
			return false;
	}
	return true;
}

void cl_uuid_new(char out[37])
{
	uint8_t bytes[16];
	char hex[33];

	cl_random(bytes, sizeof bytes);
	bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
	bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
	cl_hex(bytes, sizeof bytes, hex);
	char *p = out;
	for (size_t i = 0; i < 32; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			*p++ = '-';
		*p++ = hex[i];
	}
	*p = 0;
}
