/* throttle.h: how often an address may fail to prove who it is, before it has to wait. One thread at a time. */
#pragma once
#include "base/clock.h"
#include "base/text.h"

/* Failures that are forgiven at once, and the time after which one is forgotten. */
#define CL_THROTTLE_BURST 20
#define CL_THROTTLE_FORGET (3 * CL_SECOND)

struct cl_throttle;

struct cl_throttle *cl_throttle_new(void); /* never NULL */
void cl_throttle_free(struct cl_throttle *throttle);
/* 0, or the seconds after which the address may try again. IPv6 addresses count by their first 64 bits. */
unsigned cl_throttle_wait(const struct cl_throttle *throttle, struct cl_str address, cl_instant now);
void cl_throttle_failed(struct cl_throttle *throttle, struct cl_str address, cl_instant now);
