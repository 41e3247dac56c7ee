/* id.h: identifiers. Random ones for what happens outside, derived ones for what a replay must give again. */
#pragma once
#include "base/arena.h"
#include "base/clock.h"
#include <stdint.h>

/* Fills with the system's random source (libsodium); aborts when it fails. */
void cl_random(void *out, size_t n);
/* A time-ordered id of 26 characters of Crockford base 32 in lower case (48 bits of milliseconds, 80 random bits): a
 * legal FHIR id that keeps b-trees compact. */
void cl_id_new(cl_instant now, char out[27]);
/* The same shape, but the 80 bits are HMAC-SHA-256(secret, event \0 key \0 ordinal): changing how many ids one event
 * draws shifts no other event's ids. `event` holds no NUL. */
void cl_id_derive(const uint8_t secret[32], cl_instant now, struct cl_str event, struct cl_str key, uint32_t ordinal,
                  char out[27]);
/* FHIR id: [A-Za-z0-9\-\.]{1,64} */
bool cl_is_fhir_id(struct cl_str text);
/* RFC 4122 version 4, 36 characters. */
void cl_uuid_new(char out[37]);
